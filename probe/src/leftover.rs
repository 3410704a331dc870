//! What a process leaves behind: processes, and what they used.
//!
//! As process 1 of a container the probe is what every orphan in it becomes a child of, so all of
//! them can be ended and waited for. Those that had ended by themselves were never waited for by
//! their parent: their times and memory count, else work could be hidden in them. Those that still
//! run are named, since what they do is in no measurement: whoever measures them decides.

use std::fs;
use std::time::Duration;

use crate::sys::zero_usage;

/// Processes that were left when a process had ended.
#[derive(Debug)]
pub struct Leftovers {
    /// Processes that still ran.
    pub running: u32,
    /// What the first of these call themselves.
    pub names: Vec<String>,
    /// What all that were left used, those included that had ended.
    pub usage: libc::rusage,
}

/// The most processes that are named.
const NAMES_MAX: usize = 5;

/// The kernel's flag of a process that is on its way out (include/linux/sched.h).
const PF_EXITING: u64 = 4;

/// How often what is left is ended: ten seconds together.
const LOOKS_MAX: u32 = 10_000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// Ends everything that `pid`, which was waited for, left behind. As process 1 of a container
/// that is everything else in it; elsewhere (tests) it is the process's own session.
pub fn end_all(pid: libc::pid_t) -> Leftovers {
    let mut leftovers = Leftovers { running: 0, names: Vec::new(), usage: zero_usage() };
    if !is_init() {
        end_group(pid);
        return leftovers;
    }
    while reap(&mut leftovers.usage, libc::WNOHANG) {}
    // One that was killed already takes a moment to go, longer with much memory: it does nothing
    // more, so it counts only if it is still there, and not ending, a moment later.
    if signal_all(0) && !running().is_empty() {
        std::thread::sleep(BETWEEN_LOOKS);
        let running = running();
        leftovers.running = running.len() as u32;
        leftovers.names = running.into_iter().take(NAMES_MAX).collect();
    }
    // To signal all others fails only where there is none: new ones cannot slip through, since a
    // fork that is under way when its process is killed does not come about.
    for _ in 0..LOOKS_MAX {
        if !signal_all(0) {
            return leftovers;
        }
        signal_all(libc::SIGKILL);
        // They take a moment to end, and orphans become children of this process only as their
        // parents do. Never waited for without a bound: one may be stuck in the kernel.
        std::thread::sleep(BETWEEN_LOOKS);
        while reap(&mut leftovers.usage, libc::WNOHANG) {}
    }
    // Somebody from outside keeps processes in here. Nothing can be measured beside them, and with
    // this process everything ends.
    eprintln!("probe: processes in the container do not end: {}", leftovers.names.join(", "));
    std::process::exit(1)
}

/// Ends everything, and waits for none of it.
pub fn kill_all(pid: libc::pid_t) {
    if is_init() {
        signal_all(libc::SIGKILL);
    } else {
        end_group(pid);
    }
}

/// Whether this process is the first of a container.
pub fn is_init() -> bool {
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
    let (mut status, mut used) = (0, zero_usage());
    // SAFETY: both pointers are live.
    let pid = unsafe { libc::wait4(-1, &mut status, flags, &mut used) };
    if pid > 0 {
        add_usage(sum, &used);
    }
    pid > 0
}

/// Adds times and counts; of memory the largest counts.
pub fn add_usage(sum: &mut libc::rusage, used: &libc::rusage) {
    let add_time = |sum: &mut libc::timeval, used: libc::timeval| {
        let micros = sum.tv_usec + used.tv_usec;
        sum.tv_sec += used.tv_sec + micros / 1_000_000;
        sum.tv_usec = micros % 1_000_000;
    };
    add_time(&mut sum.ru_utime, used.ru_utime);
    add_time(&mut sum.ru_stime, used.ru_stime);
    sum.ru_maxrss = sum.ru_maxrss.max(used.ru_maxrss);
    sum.ru_minflt += used.ru_minflt;
    sum.ru_majflt += used.ru_majflt;
    sum.ru_inblock += used.ru_inblock;
    sum.ru_nvcsw += used.ru_nvcsw;
    sum.ru_nivcsw += used.ru_nivcsw;
}

/// What the processes of this container that run call themselves, this one left out.
fn running() -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let name = |id| {
        let read = |file: &str| fs::read(format!("/proc/{id}/{file}")).ok();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
        let is_ending = is_ending(&text(read("stat")?), &text(read("status")?));
        (!is_ending).then(|| read("comm").map(text)).flatten()
    };
    ids.filter(|id| *id != 1).filter_map(name).collect()
}

/// Whether a process will do nothing more, by its files in `/proc` (proc(5)): it has ended, is on
/// its way to, or was killed and does not know it yet.
fn is_ending(stat: &str, status: &str) -> bool {
    // The name may hold anything, brackets too.
    let mut fields = stat.rsplit(')').next().unwrap_or("").split_ascii_whitespace();
    let state = fields.next().unwrap_or("");
    let flags: u64 = fields.nth(5).and_then(|flags| flags.parse().ok()).unwrap_or(0);
    let is_killed = |line: &str| {
        let pending = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"));
        let signals = pending.and_then(|signals| u64::from_str_radix(signals.trim(), 16).ok());
        signals.is_some_and(|signals| signals & (1 << (libc::SIGKILL - 1)) != 0)
    };
    ["Z", "X"].contains(&state) || flags & PF_EXITING != 0 || status.lines().any(is_killed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_processes_used_adds_up() {
        let zero = zero_usage();
        let usage = |seconds, micros, rss| libc::rusage {
            ru_utime: libc::timeval { tv_sec: seconds, tv_usec: micros },
            ru_maxrss: rss,
            ru_minflt: 2,
            ..zero
        };
        let mut sum = usage(1, 600_000, 10);
        add_usage(&mut sum, &usage(2, 700_000, 7));
        assert_eq!((sum.ru_utime.tv_sec, sum.ru_utime.tv_usec), (4, 300_000));
        assert_eq!((sum.ru_maxrss, sum.ru_minflt), (10, 4));
    }

    #[test]
    fn what_is_ending_does_not_run() {
        let stat =
            |state: &str, flags: u64| format!("7 (a ) R 1) {state} 1 7 7 0 -1 {flags} 100 0");
        let status = |shared: &str| format!("Name:\ta\nSigPnd:\t0000\nShdPnd:\t{shared}\n");
        for (is_ended, stat, status) in [
            (false, stat("R", 4_194_304), status("0000000000000000")),
            (false, stat("S", 0), status("0000000000004000")),
            (true, stat("Z", 0), status("0000000000000000")),
            (true, stat("D", 4_194_308), status("0000000000000000")),
            (true, stat("R", 0), status("0000000000000100")),
        ] {
            assert_eq!(is_ending(&stat, &status), is_ended, "{stat} {status}");
        }
        let own = |file: &str| fs::read_to_string(format!("/proc/self/{file}")).unwrap();
        assert!(!is_ending(&own("stat"), &own("status")));
    }
}
