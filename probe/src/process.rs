//! One process: started, waited for, measured, and everything it left behind ended.
//!
//! The child is forked, loses its privileges and execs; the probe then sleeps in `poll` on its
//! pidfd, so nothing but the measured process runs on the benchmark core. Output goes to memory
//! files that are read and hashed only after the end. Resource use comes from `wait4`, which
//! counts the process and all children it waited for.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use dyno_probe::{End, Exit, Program, Run, TAIL_MAX};
use sha2::{Digest, Sha256};

use crate::used::Used;
use crate::{leftover, random, sandbox};

/// Runs one process. `begin` is called right before it starts, after what is not measured; `line`
/// gets its output as it comes, if the run asks for that.
pub fn run(run: &Run, begin: &mut dyn FnMut(), line: &mut dyn FnMut(&str)) -> Exit {
    let before = Used::now();
    let mut started_ns = 0;
    let mut exit = set_up(run).map_or_else(not_started, |()| {
        begin();
        start(run).map_or_else(not_started, |child| {
            started_ns = child.started_ns;
            child.wait(run, line)
        })
    });
    let read = leftover::tidy(run);
    exit.residue = read.residue;
    if exit.end == End::Code(0) {
        exit.instructions = read.counted;
        exit.sizes = read.sizes;
    }
    exit.units = read.units.into_iter().map(|unit| unit.from(started_ns)).collect();
    exit.container_ns = Used::now().since(before);
    exit
}

/// Runs what has to be there before the process, if anything has to.
fn set_up(run: &Run) -> Result<(), String> {
    let Some(argv) = &run.setup else { return Ok(()) };
    let setup = Run {
        argv: argv.clone(),
        cwd: "/tmp".into(),
        stdin: None,
        setup: None,
        stream: false,
        count_instructions: false,
        ..run.clone()
    };
    let exit = start(&setup)?.wait(&setup, &mut |_| ());
    match exit.end {
        End::Code(0) => Ok(()),
        end => Err(format!("what comes before it failed ({end:?}): {}", exit.stderr_tail.trim())),
    }
}

struct Child {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    /// Closed by a successful exec; else carries why there was none.
    exec_error: File,
    stdout: File,
    /// The same stream as `stdout` when streaming.
    stderr: Option<File>,
    started_ns: u64,
}

fn start(run: &Run) -> Result<Child, String> {
    let words = command(run);
    let program = find(&words[0], run)?;
    let argv = c_strings(words.iter().map(String::as_str))?;
    let env: Vec<String> =
        random::environment(run).iter().map(|(k, v)| format!("{k}={v}")).collect();
    let env = c_strings(env.iter().map(String::as_str))?;
    let program = CString::new(program).map_err(|_| "a NUL in the program's name")?;
    let cwd = CString::new(run.cwd.as_str()).map_err(|_| "a NUL in the folder's name")?;

    let stdin = File::open(run.stdin.as_deref().unwrap_or("/dev/null"))
        .map_err(failed("standard input"))?;
    let (stdout, child_stdout, stderr) = if run.stream {
        let (read, write) = pipe().map_err(failed("pipe"))?;
        (read, write, None)
    } else {
        let file = memory_file().map_err(failed("memory file"))?;
        let child = file.try_clone().map_err(failed("memory file"))?;
        (file, child, Some(memory_file().map_err(failed("memory file"))?))
    };
    let child_stderr = stderr.as_ref().unwrap_or(&child_stdout).as_raw_fd();
    let (exec_error, report) = pipe().map_err(failed("pipe"))?;

    let argv_pointers = pointers(&argv);
    let env_pointers = pointers(&env);
    let streams = [stdin.as_raw_fd(), child_stdout.as_raw_fd(), child_stderr];
    let started_ns = now_ns();
    // SAFETY: the probe has one thread, so the child may do anything; it only calls the kernel
    // with pointers that live until exec or exit.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(format!("fork: {}", io::Error::last_os_error()));
    }
    if pid == 0 {
        let step = become_program(run, &cwd, &program, &argv_pointers, &env_pointers, streams);
        let message = format!("{step}: {}", io::Error::last_os_error());
        // SAFETY: writes a live buffer; _exit does not return.
        unsafe {
            libc::write(report.as_raw_fd(), message.as_ptr().cast(), message.len());
            libc::_exit(127);
        }
    }
    // SAFETY: pid is our child and not yet waited for; the descriptor is new and ours.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) as RawFd };
    if pidfd < 0 {
        return Err(format!("pidfd_open: {}", io::Error::last_os_error()));
    }
    // SAFETY: as above.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd, exec_error, stdout, stderr, started_ns })
}

/// What a program of this user is and may: asked of a process that becomes one as measured
/// programs do. Nothing of it holds where it cannot be had.
pub fn as_program(uid: u32, gid: u32) -> Program {
    let Ok((mut answer, report)) = pipe() else { return Program::default() };
    // SAFETY: one thread, so the child may use the whole library; it ends by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        if become_user(uid, gid).is_ok() {
            let _ = serde_json::to_writer(report, &sandbox::program());
        }
        // SAFETY: does not return.
        unsafe { libc::_exit(0) };
    }
    drop(report);
    let mut text = String::new();
    let _ = answer.read_to_string(&mut text);
    if pid > 0 {
        wait4(pid);
    }
    serde_json::from_str(&text).unwrap_or_default()
}

/// In a child: becomes another user, where the probe may. The error is the step that failed.
pub fn become_user(uid: u32, gid: u32) -> Result<(), &'static str> {
    // SAFETY: plain system calls.
    unsafe {
        if libc::getuid() != 0 {
            return Ok(());
        }
        if libc::setgroups(0, std::ptr::null()) != 0 {
            return Err("setgroups");
        }
        if libc::setresgid(gid, gid, gid) != 0 {
            return Err("setresgid");
        }
        if libc::setresuid(uid, uid, uid) != 0 {
            return Err("setresuid");
        }
    }
    Ok(())
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> String {
    move |error| format!("{what}: {error}")
}

/// In the child: everything from fork to exec. Returns the name of the step that failed.
fn become_program(
    run: &Run,
    cwd: &CString,
    program: &CString,
    argv: &[*const libc::c_char],
    env: &[*const libc::c_char],
    streams: [RawFd; 3],
) -> &'static str {
    let limit = |resource, value: u64| {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: reads a live struct.
        unsafe { libc::setrlimit(resource, &limit) == 0 }
    };
    // SAFETY: plain system calls with live, NUL-terminated arguments.
    unsafe {
        libc::setsid();
        // The Rust runtime ignores SIGPIPE, and ignoring is inherited.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        for (target, fd) in streams.iter().enumerate() {
            if libc::dup2(*fd, target as RawFd) < 0 {
                return "dup2";
            }
        }
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        if !limit(libc::RLIMIT_FSIZE, run.output_bytes) {
            return "setrlimit";
        }
        if libc::chdir(cwd.as_ptr()) != 0 {
            return "chdir";
        }
        // When memory runs out, any of these ends before the probe does.
        let first = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY);
        libc::write(first, c"1000".as_ptr().cast(), 4);
        libc::close(first);
        if let Err(step) = become_user(run.uid, run.gid) {
            return step;
        }
        if run.count_instructions && random::place().is_err() {
            return "placing the library of fixed randomness";
        }
        libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr());
    }
    "exec"
}

impl Child {
    fn wait(mut self, run: &Run, line: &mut dyn FnMut(&str)) -> Exit {
        let deadline_ns = self.started_ns.saturating_add(run.time_ms.saturating_mul(1_000_000));
        let mut lines = Lines::default();
        let stop = loop {
            let now = now_ns();
            if now >= deadline_ns {
                break Stop::TimeIsUp;
            }
            if lines.bytes > run.output_bytes {
                break Stop::Flood;
            }
            match self.poll(Duration::from_nanos(deadline_ns - now), run.stream) {
                Wake::Exited => break Stop::Exited,
                Wake::Output => lines.read(&mut self.stdout, line),
                Wake::Nothing => {}
                // Whoever asked is gone: nobody will read the answer, and as process 1 of the
                // container our end is the end of everything in it.
                Wake::Orphaned => std::process::exit(0),
            }
        };
        let ended_ns = now_ns();
        if stop != Stop::Exited {
            leftover::kill(self.pid);
        }
        let (status, mut usage) = wait4(self.pid);
        let left = leftover::end(self.pid);
        leftover::add(&mut usage, &left.usage);
        let mut never = String::new();
        let _ = self.exec_error.read_to_string(&mut never);
        let end = if stop == Stop::TimeIsUp {
            End::Timeout
        } else if stop == Stop::Flood {
            End::Signal(libc::SIGXFSZ)
        } else if !never.is_empty() {
            End::NotStarted(never)
        } else if libc::WIFEXITED(status) {
            End::Code(libc::WEXITSTATUS(status))
        } else {
            End::Signal(libc::WTERMSIG(status))
        };
        lines.finish(&mut self.stdout, run.stream, line);
        let (stdout_bytes, stdout_sha256, stdout_tail) = match self.stderr {
            Some(_) => digest(&mut self.stdout),
            None => (lines.bytes, String::new(), lines.tail()),
        };
        let stderr = self.stderr.as_mut().map(digest);
        let (_, stderr_sha256, stderr_tail) = stderr.unwrap_or_default();
        let count = |value: libc::c_long| value.max(0) as u64;
        Exit {
            end,
            wall_ns: ended_ns - self.started_ns,
            user_ns: nanoseconds(usage.ru_utime),
            system_ns: nanoseconds(usage.ru_stime),
            max_rss_bytes: count(usage.ru_maxrss) * 1024,
            minor_faults: count(usage.ru_minflt),
            major_faults: count(usage.ru_majflt),
            voluntary_switches: count(usage.ru_nvcsw),
            involuntary_switches: count(usage.ru_nivcsw),
            stdout_bytes,
            stdout_sha256,
            stdout_tail,
            stderr_sha256,
            stderr_tail,
            leftovers: left.running,
            leftover_names: left.names,
            residue: None,
            container_ns: 0,
            instructions: None,
            sizes: BTreeMap::new(),
            units: Vec::new(),
            counters: BTreeMap::new(),
        }
    }

    fn poll(&self, timeout: Duration, stream: bool) -> Wake {
        let watch = |fd: RawFd, events| libc::pollfd { fd, events, revents: 0 };
        let output = if stream { self.stdout.as_raw_fd() } else { -1 };
        let mut fds = [
            watch(self.pidfd.as_raw_fd(), libc::POLLIN),
            watch(output, libc::POLLIN),
            // Only the hang-up is of interest here, and it is always reported.
            watch(0, 0),
        ];
        let timeout_ms = timeout.as_millis().min(i32::MAX as u128) as i32 + 1;
        // SAFETY: passes a live array with its length.
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) };
        // The end first: someone else may hold the stream and never stop writing.
        if fds[0].revents != 0 {
            Wake::Exited
        } else if fds[1].revents & libc::POLLIN != 0 {
            Wake::Output
        } else if fds[2].revents & (libc::POLLHUP | libc::POLLERR) != 0 {
            Wake::Orphaned
        } else {
            Wake::Nothing
        }
    }
}

/// Why the probe waits no longer.
#[derive(PartialEq, Eq)]
enum Stop {
    Exited,
    TimeIsUp,
    /// A stream of more than the process may write.
    Flood,
}

enum Wake {
    Exited,
    Output,
    Orphaned,
    Nothing,
}

/// Splits a stream into lines and keeps the last of it.
#[derive(Default)]
struct Lines {
    partial: Vec<u8>,
    kept: Vec<u8>,
    bytes: u64,
}

impl Lines {
    /// The longest line sent on; the rest of a longer one follows as further lines.
    const LINE: usize = 4096;

    fn read(&mut self, from: &mut File, line: &mut dyn FnMut(&str)) {
        let mut buffer = [0; 16 << 10];
        let count = from.read(&mut buffer).unwrap_or(0);
        self.take(&buffer[..count], line);
    }

    fn take(&mut self, bytes: &[u8], line: &mut dyn FnMut(&str)) {
        self.bytes += bytes.len() as u64;
        self.kept.extend_from_slice(bytes);
        if self.kept.len() > 2 * TAIL_MAX {
            self.kept.drain(..self.kept.len() - TAIL_MAX);
        }
        for byte in bytes {
            if *byte == b'\n' || self.partial.len() >= Self::LINE {
                line(&String::from_utf8_lossy(&self.partial));
                self.partial.clear();
            }
            if *byte != b'\n' {
                self.partial.push(*byte);
            }
        }
    }

    fn finish(&mut self, from: &mut File, stream: bool, line: &mut dyn FnMut(&str)) {
        if !stream {
            return;
        }
        let mut rest = Vec::new();
        // Everything that held the other end has been ended, so this comes to an end; the pipe
        // holds 64 KiB at most.
        let _ = from.take(1 << 20).read_to_end(&mut rest);
        self.take(&rest, line);
        if !self.partial.is_empty() {
            line(&String::from_utf8_lossy(&self.partial));
        }
    }

    fn tail(&self) -> String {
        let start = self.kept.len().saturating_sub(TAIL_MAX);
        String::from_utf8_lossy(&self.kept[start..]).into_owned()
    }
}

pub fn wait4(pid: libc::pid_t) -> (i32, libc::rusage) {
    let mut status = 0;
    // SAFETY: an all-zero rusage is valid, and wait4 fills it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are live.
        let answer = unsafe { libc::wait4(pid, &mut status, 0, &mut usage) };
        if answer == pid || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return (status, usage);
        }
    }
}

fn not_started(why: String) -> Exit {
    Exit {
        end: End::NotStarted(why),
        wall_ns: 0,
        user_ns: 0,
        system_ns: 0,
        max_rss_bytes: 0,
        minor_faults: 0,
        major_faults: 0,
        voluntary_switches: 0,
        involuntary_switches: 0,
        stdout_bytes: 0,
        stdout_sha256: String::new(),
        stdout_tail: String::new(),
        stderr_sha256: String::new(),
        stderr_tail: String::new(),
        leftovers: 0,
        leftover_names: Vec::new(),
        residue: None,
        container_ns: 0,
        instructions: None,
        sizes: BTreeMap::new(),
        units: Vec::new(),
        counters: BTreeMap::new(),
    }
}

fn command(run: &Run) -> Vec<String> {
    let mut words = Vec::new();
    if run.count_instructions {
        words.extend(
            ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--quiet", "--trace-children=yes"]
                .map(String::from),
        );
        words.push(format!("--cachegrind-out-file={}%p", leftover::COUNTS));
        // What it says itself must not stand in the program's answer.
        words.push("--log-file=/tmp/.dyno-valgrind.%p".into());
        words.push("--".into());
    }
    words.extend(run.argv.iter().cloned());
    words
}

fn find(program: &str, run: &Run) -> Result<String, String> {
    if program.contains('/') {
        return Ok(program.to_string());
    }
    let path = run.env.get("PATH").map_or("/usr/bin:/bin", String::as_str);
    path.split(':')
        .map(|folder| format!("{folder}/{program}"))
        .find(|file| fs::metadata(file).is_ok_and(|found| found.is_file()))
        .ok_or_else(|| format!("no program `{program}` in {path}"))
}

fn digest(file: &mut File) -> (u64, String, String) {
    let mut hasher = Sha256::new();
    let mut tail = Vec::new();
    let mut bytes = 0;
    let mut buffer = [0; 64 << 10];
    let _ = file.seek(SeekFrom::Start(0));
    while let Ok(count) = file.read(&mut buffer)
        && count > 0
    {
        hasher.update(&buffer[..count]);
        bytes += count as u64;
        tail.extend_from_slice(&buffer[..count]);
        if tail.len() > 2 * TAIL_MAX {
            tail.drain(..tail.len() - TAIL_MAX);
        }
    }
    let start = tail.len().saturating_sub(TAIL_MAX);
    let tail = String::from_utf8_lossy(&tail[start..]).into_owned();
    (bytes, hex::encode(hasher.finalize()), tail)
}

fn memory_file() -> io::Result<File> {
    // SAFETY: a constant name; the descriptor is new and ours.
    unsafe {
        let fd = libc::memfd_create(c"dyno".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(File::from_raw_fd(fd)) }
    }
}

pub fn pipe() -> io::Result<(File, File)> {
    let mut fds = [0; 2];
    // SAFETY: fills a live array of two; both descriptors are new and ours.
    unsafe {
        if libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1])))
    }
}

fn c_strings<'a>(words: impl Iterator<Item = &'a str>) -> Result<Vec<CString>, String> {
    words.map(|word| CString::new(word).map_err(|_| format!("a NUL in {word:?}"))).collect()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

pub fn nanoseconds(time: libc::timeval) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000
}

/// CLOCK_MONOTONIC_RAW: no time daemon bends it.
pub fn now_ns() -> u64 {
    // SAFETY: fills a live struct.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC_RAW, &mut time);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn spec(argv: &[&str]) -> Run {
        Run {
            argv: argv.iter().map(ToString::to_string).collect(),
            env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            cwd: "/".into(),
            // SAFETY: cannot fail.
            uid: unsafe { libc::getuid() },
            gid: unsafe { libc::getgid() },
            stdin: None,
            setup: None,
            sizes: BTreeMap::new(),
            units: false,
            time_ms: 10_000,
            output_bytes: 1 << 20,
            stream: false,
            count_instructions: false,
        }
    }

    #[test]
    fn ends_are_told_apart() {
        let cases: &[(&[&str], End)] = &[
            (&["true"], End::Code(0)),
            (&["sh", "-c", "exit 3"], End::Code(3)),
            (&["sh", "-c", "kill -9 $$"], End::Signal(9)),
            (&["sh", "-c", "exec head -c 2000000 /dev/zero"], End::Signal(libc::SIGXFSZ)),
        ];
        for (argv, end) in cases {
            assert_eq!(run(&spec(argv), &mut || (), &mut |_| ()).end, *end, "{argv:?}");
        }
        let slow = Run { time_ms: 50, ..spec(&["sleep", "5"]) };
        assert_eq!(run(&slow, &mut || (), &mut |_| ()).end, End::Timeout);
        for (argv, why) in [
            (&["no-such-program"][..], "no program `no-such-program`"),
            (&["/etc/passwd"], "exec: Permission denied"),
        ] {
            let End::NotStarted(text) = run(&spec(argv), &mut || (), &mut |_| ()).end else {
                panic!("{argv:?}")
            };
            assert!(text.contains(why), "{text}");
        }
    }

    #[test]
    fn output_is_hashed_and_time_is_counted() {
        let exit = run(
            &spec(&["sh", "-c", "printf dyno; printf oops >&2; sleep 0.05"]),
            &mut || (),
            &mut |_| (),
        );
        assert_eq!(exit.stdout_sha256, hex::encode(Sha256::digest("dyno")));
        assert_eq!(
            (exit.stdout_bytes, &*exit.stdout_tail, &*exit.stderr_tail),
            (4, "dyno", "oops")
        );
        assert!(exit.wall_ns >= 50_000_000, "{}", exit.wall_ns);
        assert!(exit.max_rss_bytes > 0 && exit.minor_faults > 0);
        assert!(exit.container_ns >= exit.user_ns + exit.system_ns);
    }

    #[test]
    fn a_stream_comes_in_lines() {
        let mut lines = Vec::new();
        let script = "echo one; echo two >&2; printf three";
        let exit =
            run(&Run { stream: true, ..spec(&["sh", "-c", script]) }, &mut || (), &mut |l| {
                lines.push(l.to_string())
            });
        assert_eq!(lines, ["one", "two", "three"]);
        assert_eq!(exit.stdout_tail, "one\ntwo\nthree");
    }
}
