//! What a process leaves behind: processes and what they used, and files.
//!
//! As process 1 of a container the probe is what every orphan in it becomes a child of, so all of
//! them can be ended and waited for. Those that had ended by themselves were never waited for by
//! their parent: their times and memory count, else work could be hidden in them. Those that still
//! run are named, since what they do is in no measurement: whoever measures them decides.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use dyno_probe::Run;
use dyno_probe::clear::empty;

use crate::process::{become_user, pipe, wait4};

/// Where Valgrind writes its counts; `/tmp` is private to the container and emptied after each run.
pub const COUNTS: &str = "/tmp/.dyno-cachegrind.";

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

/// How often what is left is ended: ten seconds together.
const LOOKS_MAX: u32 = 10_000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

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
    for _ in 0..LOOKS_MAX {
        if !signal_all(0) {
            return left;
        }
        if left.names.is_empty() {
            left.names = names();
        }
        signal_all(libc::SIGKILL);
        // They take a moment to end, and orphans become children of this process only as their
        // parents do. Never waited for without a bound: one may be stuck in the kernel.
        std::thread::sleep(BETWEEN_LOOKS);
        while reap(&mut left.usage, libc::WNOHANG) {
            left.running += 1;
        }
    }
    // Somebody from outside keeps processes in here. Nothing can be measured beside them, and with
    // this process everything ends.
    eprintln!("probe: processes in the container do not end: {}", left.names.join(", "));
    std::process::exit(1)
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

/// Sum of the `summary:` lines of Valgrind's files, one file a process.
fn read_counts() -> Option<u64> {
    let mut sum = None;
    for entry in fs::read_dir("/tmp").ok()?.flatten() {
        let path = entry.path();
        if !path.to_string_lossy().starts_with(COUNTS) {
            continue;
        }
        let text = fs::read_to_string(&path).ok()?;
        let total = text.lines().rev().find_map(|line| line.strip_prefix("summary: "))?;
        *sum.get_or_insert(0) += total.trim().parse::<u64>().ok()?;
    }
    sum
}

/// Where the program may write, and what it wrote must not meet the next.
const WRITABLE: [&str; 3] = ["/tmp", "/dev/shm", "/dev/mqueue"];

/// Reads the counts, if the run was to count, and removes what the program wrote. Both as the
/// program's user, whose files they are; the probe has no right to them. The error is what is
/// still there.
pub fn tidy(run: &Run) -> Result<Option<u64>, String> {
    let has_entries = |folder: &&str| fs::read_dir(folder).is_ok_and(|mut e| e.next().is_some());
    if !is_init() || !WRITABLE.iter().any(has_entries) {
        return Ok(None);
    }
    let (answer, mut report) = pipe().map_err(|error| format!("pipe: {error}"))?;
    // SAFETY: one thread, so the child may use the whole library; it ends by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        if become_user(run.uid, run.gid).is_err() {
            // SAFETY: does not return.
            unsafe { libc::_exit(1) };
        }
        if let Some(count) = read_counts().filter(|_| run.count_instructions) {
            let _ = report.write_all(format!("{count}").as_bytes());
        }
        for folder in WRITABLE.iter().filter(|f| has_entries(f)) {
            if let Err(error) = empty(Path::new(folder)) {
                let _ = report.write_all(format!(" {folder}: {error}").as_bytes());
                break;
            }
        }
        // SAFETY: does not return.
        unsafe { libc::_exit(0) };
    }
    drop(report);
    let mut said = String::new();
    let read = answer.take(4096).read_to_string(&mut said);
    let ended = if pid > 0 { wait4(pid).0 } else { -1 };
    match said.split_once(' ') {
        Some((_, residue)) => Err(residue.to_string()),
        None if ended != 0 || read.is_err() => Err("nobody could empty /tmp".into()),
        None => Ok(said.parse().ok()),
    }
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
