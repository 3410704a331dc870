//! What a process leaves behind: processes, and what they used.
//!
//! As process 1 of a container the probe is what every orphan in it becomes a child of, so all of
//! them can be ended and waited for. Those that had ended by themselves were never waited for by
//! their parent: their times and memory count, else work could be hidden in them. Those that still
//! run are named, since what they do is in no measurement: whoever measures them decides.

use std::fs;

/// Those that the end of a process found.
#[derive(Debug)]
pub struct Leftovers {
    /// Processes that still ran.
    pub running: u32,
    /// What the first of them call themselves.
    pub names: Vec<String>,
    /// What all of them, those that had ended too, came to.
    pub usage: libc::rusage,
}

/// How many are named.
const NAMED: usize = 5;

/// Ends everything that `pid`, which was waited for, left behind. As process 1 of a container
/// that is everything else in it; elsewhere (tests) it is the process's own session.
pub fn end(pid: libc::pid_t) -> Leftovers {
    // SAFETY: an all-zero rusage is valid.
    let mut left =
        Leftovers { running: 0, names: Vec::new(), usage: unsafe { std::mem::zeroed() } };
    if !is_init() {
        end_group(pid);
        return left;
    }
    while reap(&mut left.usage, libc::WNOHANG) {}
    // To signal all others fails only where there is none: new ones cannot slip through, since a
    // fork that is under way when its process is killed does not come about.
    while signal_all(0) {
        if left.names.is_empty() {
            left.names = names();
        }
        signal_all(libc::SIGKILL);
        // Orphans become children of this process as their parents end, so a look may be too early.
        while reap(&mut left.usage, 0) {
            left.running += 1;
        }
    }
    left
}

/// Ends everything, and waits for none of it.
pub fn kill(pid: libc::pid_t) {
    if is_init() {
        signal_all(libc::SIGKILL);
    } else {
        end_group(pid);
    }
}

fn is_init() -> bool {
    // SAFETY: cannot fail.
    unsafe { libc::getpid() == 1 }
}

fn end_group(pid: libc::pid_t) {
    // SAFETY: a signal to our own child's session.
    unsafe { libc::kill(-pid, libc::SIGKILL) };
}

/// Whether there was anybody to signal, those included that ended and were not waited for.
fn signal_all(signal: libc::c_int) -> bool {
    // SAFETY: a signal; this process is never among those that `-1` means.
    unsafe { libc::kill(-1, signal) == 0 }
}

/// Waits for one child and adds what it used. `false` when there is none (that ended).
fn reap(sum: &mut libc::rusage, flags: libc::c_int) -> bool {
    // SAFETY: both pointers are live; an all-zero rusage is valid.
    let (pid, used) = unsafe {
        let (mut status, mut used): (_, libc::rusage) = (0, std::mem::zeroed());
        (libc::wait4(-1, &mut status, flags, &mut used), used)
    };
    if pid > 0 {
        add(sum, &used);
    }
    pid > 0
}

/// Adds times and counts; of memory the largest counts.
pub fn add(sum: &mut libc::rusage, used: &libc::rusage) {
    let time = |sum: &mut libc::timeval, used: libc::timeval| {
        let micros = sum.tv_usec + used.tv_usec;
        sum.tv_sec += used.tv_sec + micros / 1_000_000;
        sum.tv_usec = micros % 1_000_000;
    };
    time(&mut sum.ru_utime, used.ru_utime);
    time(&mut sum.ru_stime, used.ru_stime);
    sum.ru_maxrss = sum.ru_maxrss.max(used.ru_maxrss);
    sum.ru_minflt += used.ru_minflt;
    sum.ru_majflt += used.ru_majflt;
    sum.ru_nvcsw += used.ru_nvcsw;
    sum.ru_nivcsw += used.ru_nivcsw;
}

fn names() -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let name = |id| fs::read(format!("/proc/{id}/comm")).ok();
    let names = ids.filter(|id| *id != 1).filter_map(name);
    let text = |name: Vec<u8>| String::from_utf8_lossy(name.trim_ascii_end()).into_owned();
    names.take(NAMED).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_processes_used_adds_up() {
        // SAFETY: an all-zero rusage is valid.
        let zero: libc::rusage = unsafe { std::mem::zeroed() };
        let of = |seconds, micros, rss| libc::rusage {
            ru_utime: libc::timeval { tv_sec: seconds, tv_usec: micros },
            ru_maxrss: rss,
            ru_minflt: 2,
            ..zero
        };
        let mut sum = of(1, 600_000, 10);
        add(&mut sum, &of(2, 700_000, 7));
        assert_eq!((sum.ru_utime.tv_sec, sum.ru_utime.tv_usec), (4, 300_000));
        assert_eq!((sum.ru_maxrss, sum.ru_minflt), (10, 4));
    }
}
