//! One process: started, waited for, measured, and everything it left behind ended.
//!
//! The child is forked, loses its privileges and execs; the probe then sleeps in `poll` on its
//! pidfd, so nothing but the measured process runs on the benchmark core. Output goes to memory
//! files that are read and hashed only after the end. Resource use comes from `wait4`, which
//! counts the process and all children it waited for.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use dyno_probe::{End, Exit, Program, Spawn, Stream};

use crate::counts::BeginWatch;
use crate::cpu_time::{CpuTime, thread_time};
use crate::output::{Lines, digest};
use crate::streams::{OpenWatch, Outputs, stream_file};
use crate::sys::{become_user, nanoseconds, now_ns, pipe, wait4};
use crate::{counts, leftover, random, repeat, sandbox, written};

/// Runs what `spawn` asks for. `begin` is called right before it starts, after what is not measured;
/// `line` gets its output as it comes, if `spawn` asks for that; else `outputs` has it afterwards.
pub fn run(
    spawn: &Spawn,
    outputs: &mut Outputs,
    begin: &mut dyn FnMut(),
    line: &mut dyn FnMut(&str),
) -> Exit {
    let before = CpuTime::now();
    let deadline_ns = now_ns().saturating_add(spawn.time_ms.saturating_mul(1_000_000));
    let mut exit = run_once(spawn, outputs, begin, line);
    for _ in 1..spawn.repeat {
        if !repeat::may_go_on(&exit) {
            break;
        }
        let time_ms = deadline_ns.saturating_sub(now_ns()) / 1_000_000;
        let mut next_outputs = Outputs::default();
        let next =
            run_once(&Spawn { time_ms, ..spawn.clone() }, &mut next_outputs, &mut || (), line);
        let (varied, is_same_end) = (exit.varied.clone(), exit.end == next.end);
        exit = repeat::add(exit, next);
        for stream in exit.varied.difference(&varied) {
            match stream {
                Stream::Stdout => outputs.stdout = next_outputs.stdout.take(),
                Stream::Stderr => outputs.stderr = next_outputs.stderr.take(),
            }
        }
        if !is_same_end {
            break;
        }
    }
    exit.container_ns = CpuTime::now().since(before);
    exit
}

/// Runs one process, and clears away what it wrote.
fn run_once(
    spawn: &Spawn,
    outputs: &mut Outputs,
    begin: &mut dyn FnMut(),
    line: &mut dyn FnMut(&str),
) -> Exit {
    let mut started_ns = 0;
    let mut exit = set_up(spawn).map_or_else(not_started, |()| {
        begin();
        start(spawn).map_or_else(not_started, |child| {
            started_ns = child.started_ns;
            child.wait(spawn, outputs, line)
        })
    });
    let collected = written::collect_and_clean(spawn);
    exit.residue = collected.residue;
    if matches!(exit.end, End::Code(_)) {
        match (exit.not_counted.take(), collected.instructions) {
            (None, Some(Ok(count))) => exit.instructions = Some(count),
            (None, counted) => exit.not_counted = counted.and_then(Result::err),
            (lost, _) => exit.not_counted = lost,
        }
        exit.sizes = collected.sizes;
    }
    exit.units = collected.units.into_iter().map(|unit| unit.relative_to(started_ns)).collect();
    exit
}

fn not_started(why: String) -> Exit {
    Exit::new(End::NotStarted(why))
}

/// Runs what has to be there before the process, if anything has to.
fn set_up(spawn: &Spawn) -> Result<(), String> {
    let Some(argv) = &spawn.setup else { return Ok(()) };
    let setup = Spawn {
        argv: argv.clone(),
        cwd: "/tmp".into(),
        stdin: None,
        setup: None,
        stream: false,
        repeat: 1,
        count_instructions: false,
        ..spawn.clone()
    };
    let exit = start(&setup)?.wait(&setup, &mut Outputs::default(), &mut |_| ());
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
    /// Who opens its streams, where they are files.
    opens: Option<OpenWatch>,
    /// Who begins under Valgrind, where instructions are counted.
    begins: Option<Result<BeginWatch, String>>,
}

fn start(spawn: &Spawn) -> Result<Child, String> {
    let words = command(spawn);
    let program = find_program(&words[0], spawn)?;
    let argv = c_strings(words.iter().map(String::as_str))?;
    let env: Vec<String> =
        random::environment(spawn).iter().map(|(k, v)| format!("{k}={v}")).collect();
    let env = c_strings(env.iter().map(String::as_str))?;
    let program = CString::new(program).map_err(|_| "a NUL in the program's name")?;
    let cwd = CString::new(spawn.cwd.as_str()).map_err(|_| "a NUL in the folder's name")?;

    let stdin = File::open(spawn.stdin.as_deref().unwrap_or("/dev/null"))
        .map_err(failed("standard input"))?;
    let (stdout, child_stdout, stderr) = if spawn.stream {
        let (read, write) = pipe().map_err(failed("pipe"))?;
        (read, write, None)
    } else {
        let (file, child) = stream_file().map_err(failed("memory file"))?;
        (file, child, Some(stream_file().map_err(failed("memory file"))?))
    };
    let child_stderr = stderr.as_ref().map_or(&child_stdout, |(_, child)| child).as_raw_fd();
    let streams = |stderr| [(&stdout, Stream::Stdout), (stderr, Stream::Stderr)];
    let opens = stderr.as_ref().and_then(|(stderr, _)| OpenWatch::start(streams(stderr)));
    let (exec_error, report) = pipe().map_err(failed("pipe"))?;

    let argv_pointers = pointers(&argv);
    let env_pointers = pointers(&env);
    let streams = [stdin.as_raw_fd(), child_stdout.as_raw_fd(), child_stderr];
    let begins = spawn.count_instructions.then(BeginWatch::start);
    let started_ns = now_ns();
    // SAFETY: the probe has one thread, so the child may do anything; it only calls the kernel
    // with pointers that live until exec or exit.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(format!("fork: {}", io::Error::last_os_error()));
    }
    if pid == 0 {
        let step = become_program(spawn, &cwd, &program, &argv_pointers, &env_pointers, streams);
        let error = io::Error::last_os_error();
        let message = match step {
            "exec" => format!("exec {}: {error}", program.to_string_lossy()),
            step => format!("{step}: {error}"),
        };
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
    let stderr = stderr.map(|(file, _)| file);
    Ok(Child { pid, pidfd, exec_error, stdout, stderr, started_ns, opens, begins })
}

/// What a program of this user is and may: asked of a process that becomes one as measured
/// programs do. Nothing of it holds where it cannot be had.
pub fn inspect_program(uid: u32, gid: u32) -> Program {
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

fn failed(what: &'static str) -> impl Fn(io::Error) -> String {
    move |error| format!("{what}: {error}")
}

/// Does in the child everything from fork to exec. Returns the name of the step that failed.
fn become_program(
    spawn: &Spawn,
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
        if !limit(libc::RLIMIT_FSIZE, spawn.output_bytes) {
            return "setrlimit";
        }
        if libc::chdir(cwd.as_ptr()) != 0 {
            return "chdir";
        }
        // When memory runs out, any of these ends before the probe does.
        let first = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY);
        libc::write(first, c"1000".as_ptr().cast(), 4);
        libc::close(first);
        if let Err(step) = become_user(spawn.uid, spawn.gid) {
            return step;
        }
        if spawn.count_instructions && random::place_library().is_err() {
            return "placing the library of fixed randomness";
        }
        libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr());
    }
    "exec"
}

impl Child {
    /// Waits for the end of the process and ends all that it left behind.
    fn wait(mut self, spawn: &Spawn, outputs: &mut Outputs, line: &mut dyn FnMut(&str)) -> Exit {
        let mut lines = Lines::default();
        let stop = self.wait_for_stop(spawn, &mut lines, line);
        let ended_ns = now_ns();
        if stop != Stop::Exited {
            leftover::kill_all(self.pid);
        }
        let first_thread = thread_time(self.pid);
        let (status, mut usage) = wait4(self.pid);
        let leftovers = leftover::end_all(self.pid);
        leftover::add_usage(&mut usage, &leftovers.usage);
        let mut exec_error = String::new();
        let _ = self.exec_error.read_to_string(&mut exec_error);
        lines.finish(&mut self.stdout, spawn.stream, line);
        let (stdout_bytes, stdout_sha256, stdout_tail) = match self.stderr {
            Some(_) => digest(&mut self.stdout),
            None => (lines.bytes(), String::new(), lines.tail()),
        };
        let stderr = self.stderr.as_mut().map(digest);
        let (_, stderr_sha256, stderr_tail) = stderr.unwrap_or_default();
        *outputs = match self.stderr {
            Some(stderr) => Outputs { stdout: Some(self.stdout), stderr: Some(stderr) },
            None => Outputs::default(),
        };
        let count = |value: libc::c_long| value.max(0) as u64;
        let not_counted = self.begins.and_then(|begins| match begins {
            Ok(watch) => watch.loss(self.pid),
            Err(why) => Some(why),
        });
        Exit {
            not_counted,
            first_thread,
            // In blocks of 512 bytes, whatever the disk's are (getrusage(2)).
            disk_read_bytes: count(usage.ru_inblock) * 512,
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
            opened: self.opens.map(OpenWatch::opened).unwrap_or_default(),
            leftovers: leftovers.running,
            leftover_names: leftovers.names,
            ..Exit::new(stop.end(status, exec_error))
        }
    }

    /// Waits until there is nothing more to wait for, and passes output on meanwhile.
    fn wait_for_stop(
        &mut self,
        spawn: &Spawn,
        lines: &mut Lines,
        line: &mut dyn FnMut(&str),
    ) -> Stop {
        let deadline_ns = self.started_ns.saturating_add(spawn.time_ms.saturating_mul(1_000_000));
        loop {
            let now = now_ns();
            if now >= deadline_ns {
                return Stop::TimeIsUp;
            }
            if lines.bytes() > spawn.output_bytes {
                return Stop::Flood;
            }
            match self.poll(Duration::from_nanos(deadline_ns - now), spawn.stream) {
                Wake::Exited => return Stop::Exited,
                Wake::Output => lines.read(&mut self.stdout, line),
                Wake::Begin => {
                    if let Some(Ok(watch)) = &mut self.begins {
                        watch.read();
                    }
                }
                Wake::Nothing => {}
                // Whoever asked is gone: nobody will read the answer, and as process 1 of the
                // container our end is the end of everything in it.
                Wake::Orphaned => std::process::exit(0),
            }
        }
    }

    fn poll(&self, timeout: Duration, stream: bool) -> Wake {
        let watch = |fd: RawFd, events| libc::pollfd { fd, events, revents: 0 };
        let output = if stream { self.stdout.as_raw_fd() } else { -1 };
        let begins = match &self.begins {
            Some(Ok(watch)) => watch.descriptor(),
            _ => -1,
        };
        let mut fds = [
            watch(self.pidfd.as_raw_fd(), libc::POLLIN),
            watch(output, libc::POLLIN),
            // Only the hang-up is of interest here, and it is always reported.
            watch(0, 0),
            watch(begins, libc::POLLIN),
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
        } else if fds[3].revents & libc::POLLIN != 0 {
            Wake::Begin
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

impl Stop {
    /// How the process ended, by its status and what kept it from executing (empty if nothing did).
    fn end(&self, status: libc::c_int, exec_error: String) -> End {
        match self {
            Self::TimeIsUp => End::Timeout,
            Self::Flood => End::Signal(libc::SIGXFSZ),
            Self::Exited if !exec_error.is_empty() => End::NotStarted(exec_error),
            Self::Exited if libc::WIFEXITED(status) => End::Code(libc::WEXITSTATUS(status)),
            Self::Exited => End::Signal(libc::WTERMSIG(status)),
        }
    }
}

enum Wake {
    Exited,
    Output,
    /// A process has begun under Valgrind, or opened a file.
    Begin,
    Orphaned,
    Nothing,
}

/// The words to execute: those asked for, under Valgrind where instructions are counted.
fn command(spawn: &Spawn) -> Vec<String> {
    let mut words = Vec::new();
    if spawn.count_instructions {
        // Threads take turns where that can be had: one that spins until another has done something
        // would else keep it from doing so.
        let options = ["--cache-sim=no", "--quiet", "--trace-children=yes", "--fair-sched=try"];
        words
            .extend(["valgrind", "--tool=cachegrind"].into_iter().chain(options).map(String::from));
        words.extend(counts::options());
        words.push("--".into());
    }
    words.extend(spawn.argv.iter().cloned());
    words
}

fn find_program(program: &str, spawn: &Spawn) -> Result<String, String> {
    if program.contains('/') {
        return Ok(program.to_string());
    }
    let path = spawn.env.get("PATH").map_or("/usr/bin:/bin", String::as_str);
    path.split(':')
        .map(|folder| format!("{folder}/{program}"))
        .find(|file| fs::metadata(file).is_ok_and(|found| found.is_file()))
        .ok_or_else(|| format!("no program `{program}` in {path}"))
}

fn c_strings<'a>(words: impl Iterator<Item = &'a str>) -> Result<Vec<CString>, String> {
    words.map(|word| CString::new(word).map_err(|_| format!("a NUL in {word:?}"))).collect()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

#[cfg(test)]
pub(crate) mod tests;
