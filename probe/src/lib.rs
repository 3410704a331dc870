//! What `probe` and `pipeline` say to each other: one JSON object a line, requests on the probe's
//! standard input, replies on its standard output.
//!
//! The types live in a library so that both ends are compiled from the same words; nothing but
//! serde may be needed to speak it. A reply carries what the probe read itself: text of the
//! measured program travels only inside JSON strings, so it can never pose as a reply.

pub mod clear;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Both ends refuse another version.
pub const PROTOCOL: u32 = 3;

/// The longest line either side accepts, in bytes.
pub const LINE_MAX: usize = 1 << 20;

/// The most of a program's output that is kept to show a person, in bytes.
pub const TAIL_MAX: usize = 16 << 10;

/// How a container's probe is started: its one argument, as JSON. What it says holds for every
/// process in the container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Metrics that the kernel is asked to count (`instructions`, `task-clock`, …); others are
    /// left alone.
    pub counters: BTreeSet<String>,
    /// Processes get the same address layout each time (`ADDR_NO_RANDOMIZE`).
    pub fixed_layout: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// What holds in here, for the probe and for programs of this user? Answered by
    /// [`Reply::Sandbox`].
    Inspect { uid: u32, gid: u32 },
    /// Start one process and wait for it. Answered by [`Reply::Line`]s, then [`Reply::Exit`].
    Run(Run),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Sandbox(Sandbox),
    /// A line of the program's output (both streams), when [`Run::stream`] asks for it.
    Line(String),
    Exit(Exit),
    /// The request was not understood.
    Refused(String),
}

/// One process to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Program (looked up in `PATH` of `env`) and its arguments.
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    pub cwd: String,
    pub uid: u32,
    pub gid: u32,
    /// A file for standard input; `None` is `/dev/null`.
    pub stdin: Option<String>,
    /// Killed after this long, in milliseconds.
    pub time_ms: u64,
    /// The largest file it may write, its standard streams included, in bytes.
    pub output_bytes: u64,
    /// Send output on as it comes (builds); else keep it until the end (measurements).
    pub stream: bool,
    /// Run under Valgrind's cachegrind and count instructions instead of measuring time.
    pub count_instructions: bool,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Code(i32),
    /// 25 (SIGXFSZ) too when it wrote more than [`Run::output_bytes`] to a stream.
    Signal(i32),
    /// Killed after [`Run::time_ms`].
    Timeout,
    /// It never ran: which step failed and why.
    NotStarted(String),
}

/// What one process came to. Times in nanoseconds, sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub end: End,
    /// From before the fork to the exit seen by the probe (CLOCK_MONOTONIC_RAW).
    pub wall_ns: u64,
    /// Of the process, the children it waited for and those that nobody did (`wait4`), as are the
    /// others below.
    pub user_ns: u64,
    pub system_ns: u64,
    pub max_rss_bytes: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
    pub stdout_bytes: u64,
    pub stdout_sha256: String,
    /// The last of standard output (or of both streams when streaming), lossy UTF-8.
    pub stdout_tail: String,
    pub stderr_sha256: String,
    pub stderr_tail: String,
    /// Processes that ran on after its end; the probe ended them.
    pub leftovers: u32,
    /// What the first of them called themselves.
    pub leftover_names: Vec<String>,
    /// What it wrote and the probe could not remove, and why: the next would find it.
    pub residue: Option<String>,
    /// Processor time of everything in the container from the request to this answer, the probe's
    /// own and that of what was left behind included: what is known not to be others'.
    pub container_ns: u64,
    /// Instructions executed by the process and its children, when they were counted.
    pub instructions: Option<u64>,
    /// By metric, what the kernel counted of the process and all that came of it, from `exec` on.
    pub counters: BTreeMap<String, Count>,
}

/// What one event came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub value: u64,
    /// Others used the counter for some of the time: the value is what was counted, scaled up to
    /// the whole time, an estimate.
    pub scaled: bool,
}

/// What holds inside the container, read back by the probe after it has confined itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    pub protocol: u32,
    pub pid: u32,
    pub uid: u32,
    /// Names without `CAP_`, from every set (permitted, effective, inheritable, ambient, bounding);
    /// unknown ones by number.
    pub capabilities: Vec<String>,
    pub no_new_privileges: bool,
    /// `Seccomp:` of `/proc/self/status`: 2 is a filter.
    pub seccomp_mode: u32,
    /// As what programs run: read by a process that became one.
    pub program: Program,
    /// Cores this container may use.
    pub cpus: Vec<u32>,
    /// `None`: no limit, or none that can be read.
    pub memory_limit_bytes: Option<u64>,
    /// How much may be swapped out beyond that; 0 on a machine without swap.
    pub swap_limit_bytes: Option<u64>,
    pub pids_limit: Option<u64>,
    /// Network interfaces other than the loopback.
    pub interfaces: Vec<String>,
    pub root_read_only: bool,
    /// Mount point → whether anyone but root may write there, of everything but kernel file systems.
    pub mounts: BTreeMap<String, bool>,
    /// Mount point → what it can hold, of the file systems in memory that programs may write
    /// ([`IN_MEMORY`]).
    pub in_memory: BTreeMap<String, Room>,
    pub valgrind: bool,
    /// Whether [`Settings::fixed_layout`] holds.
    pub fixed_layout: bool,
    /// Of [`Settings::counters`] those that are counted.
    pub counted: BTreeSet<String>,
    /// And those that are not, with the reason.
    pub not_counted: BTreeMap<String, String>,
}

/// Where programs find a file system in memory; emptied after each.
pub const IN_MEMORY: [&str; 2] = ["/tmp", "/dev/shm"];

/// What a file system can hold (statvfs(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Room {
    pub bytes: u64,
    pub files: u64,
}

/// What a measured or building process is and may.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Program {
    /// Real, effective, saved and of the file system.
    pub uids: Vec<u32>,
    pub gids: Vec<u32>,
    pub groups: Vec<u32>,
    /// Those it has or could get by exec: every set but the bounding one, which alone gives none.
    pub capabilities: Vec<String>,
    pub no_new_privileges: bool,
    pub seccomp_mode: u32,
    /// By the names of `setrlimit(2)` in small letters, the hard limits; `None` is unlimited.
    pub limits: BTreeMap<String, Option<u64>>,
}
