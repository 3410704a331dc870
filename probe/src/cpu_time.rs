//! Processor time that the container used: what is not its own on the core is others'.
//!
//! `getrusage` counts this process and what it, or one it waited for, has waited for. A program
//! that ignores SIGCHLD has its children waited for by the kernel, which adds them to nobody
//! (wait(2), NOTES): their time would pass for others', and every round for disturbed. The
//! container's cgroup counts them too, but is not readable everywhere; the larger one counts.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use dyno_probe::ThreadTime;

use crate::sys::{nanoseconds, zero_usage};

/// Nanoseconds since each count began.
#[derive(Clone, Copy)]
pub struct CpuTime {
    waited_ns: u64,
    cgroup_ns: Option<u64>,
}

impl CpuTime {
    /// What was used so far.
    pub fn now() -> Self {
        let waited_ns = usage_ns(libc::RUSAGE_SELF) + usage_ns(libc::RUSAGE_CHILDREN);
        static COUNTER: OnceLock<Option<CgroupCounter>> = OnceLock::new();
        let counter = COUNTER.get_or_init(CgroupCounter::find).as_ref();
        let cgroup_ns = counter.and_then(CgroupCounter::read);
        Self { waited_ns, cgroup_ns }
    }

    /// Nanoseconds of processor time between two readings.
    pub fn since(self, before: Self) -> u64 {
        let waited = self.waited_ns.saturating_sub(before.waited_ns);
        let cgroup = self.cgroup_ns.zip(before.cgroup_ns);
        waited.max(cgroup.map_or(0, |(now, before)| now.saturating_sub(before)))
    }
}

/// User and system time of `who` (getrusage(2)), in nanoseconds.
fn usage_ns(who: libc::c_int) -> u64 {
    let mut usage = zero_usage();
    // SAFETY: fills a live struct.
    unsafe { libc::getrusage(who, &mut usage) };
    nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime)
}

/// The file in which the kernel counts the processor time of this container's cgroup.
enum CgroupCounter {
    /// `cpu.stat` (cgroup v2): "usage_usec N" is one of its lines.
    Stat(PathBuf),
    /// `cpuacct.usage` (cgroup v1): nanoseconds.
    Usage(PathBuf),
}

impl CgroupCounter {
    /// The counter of this container alone; `None` outside of one, and where the mount shows
    /// another cgroup than that of process 1, the whole machine's say.
    fn find() -> Option<Self> {
        let top = PathBuf::from("/sys/fs/cgroup");
        let holds_this_process = |folder: &PathBuf| {
            let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            std::process::id() == 1 && processes.lines().any(|id| id == "1")
        };
        if holds_this_process(&top) {
            return Some(Self::Stat(top.join("cpu.stat")));
        }
        // Whatever the mount is called: "cpuacct", "cpu,cpuacct".
        let mounts = fs::read_dir(top).ok()?.flatten().map(|entry| entry.path());
        let mut counting = mounts.filter(|folder| folder.join("cpuacct.usage").exists());
        Some(Self::Usage(counting.find(holds_this_process)?.join("cpuacct.usage")))
    }

    fn read(&self) -> Option<u64> {
        match self {
            Self::Stat(file) => cpu_stat_ns(&fs::read_to_string(file).ok()?),
            Self::Usage(file) => fs::read_to_string(file).ok()?.trim().parse().ok(),
        }
    }
}

/// Nanoseconds in the text of a `cpu.stat`.
fn cpu_stat_ns(text: &str) -> Option<u64> {
    let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    usage.trim().parse::<u64>().ok()?.checked_mul(1000)
}

/// How the first thread of a process was scheduled, which may have ended but is not yet waited for.
pub fn thread_time(pid: libc::pid_t) -> Option<ThreadTime> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    let mut fields = text.split_ascii_whitespace().map(|word| word.parse().ok());
    Some(ThreadTime { running_ns: fields.next()??, waiting_ns: fields.next()?? })
}

#[cfg(test)]
mod tests {
    use dyno_probe::End;

    use super::*;
    use crate::process::tests::{run, spec};

    #[test]
    fn the_larger_count_is_taken() {
        assert_eq!(cpu_stat_ns("usage_usec 12\nuser_usec 8\nsystem_usec 4\n"), Some(12_000));
        assert_eq!(cpu_stat_ns("nr_periods 0\n"), None);
        let used = |waited_ns, cgroup_ns| CpuTime { waited_ns, cgroup_ns };
        for (before, now, expected) in [
            (used(5, Some(100)), used(9, Some(170)), 70),
            (used(5, Some(100)), used(90, Some(170)), 85),
            (used(5, None), used(9, Some(170)), 4),
            (used(5, Some(100)), used(9, None), 4),
        ] {
            assert_eq!(now.since(before), expected);
        }
    }

    /// Beside a thread that never sleeps on the same core, who computes waits for the core half of
    /// the time, and who sleeps hardly ever.
    #[test]
    fn who_waits_for_a_core_is_known() {
        let this_core = || {
            // SAFETY: fills and reads live structs; pins the calling thread, and what it starts.
            unsafe {
                let mut cores: libc::cpu_set_t = std::mem::zeroed();
                libc::CPU_SET(libc::sched_getcpu() as usize, &mut cores);
                libc::sched_setaffinity(0, size_of_val(&cores), &cores);
            }
        };
        this_core();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        let waiting_share = |argv: &[&str]| {
            let exit = run(&spec(argv), &mut || (), &mut |_| ());
            assert_eq!(exit.end, End::Code(0));
            let thread = exit.first_thread.expect("this kernel counts it");
            (thread.waiting_ns as f64 / exit.wall_ns as f64, thread, exit)
        };
        let ([computing, sleeping], thread, exit) = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let counting = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
            let (computing, thread, exit) = waiting_share(&["sh", "-c", counting]);
            let (sleeping, ..) = waiting_share(&["sleep", "0.5"]);
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            ([computing, sleeping], thread, exit)
        });
        assert!(computing > 0.25, "{computing} {thread:?}");
        assert!(sleeping < 0.15, "{sleeping}");
        let used = (exit.user_ns + exit.system_ns) as f64;
        assert!((thread.running_ns as f64 / used - 1.0).abs() < 0.1, "{thread:?} {used}");
    }
}
