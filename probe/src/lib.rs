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
pub const PROTOCOL: u32 = 5;

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
    Spawn(Spawn),
    /// What the last process wrote to `stream`, from `offset` on. Answered by [`Reply::Output`].
    Output { stream: Stream, offset: u64 },
}

/// A standard stream of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The most of a stream that one [`Reply::Output`] carries, in bytes.
pub const OUTPUT_MAX: usize = 192 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Sandbox(Sandbox),
    /// A line of the program's output (both streams), when [`Spawn::stream`] asks for it.
    Line(String),
    /// A unit of the build that ended, when [`Spawn::units`] asks for it.
    Unit(Box<WrapperUnit>),
    Exit(Exit),
    /// Bytes: [`OUTPUT_MAX`], or less at the end of the stream.
    Output(Vec<u8>),
    /// The request was not understood.
    Refused(String),
}

/// One process to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// Program (looked up in `PATH` of `env`) and its arguments.
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    pub cwd: String,
    pub uid: u32,
    pub gid: u32,
    /// A file for standard input; `None` is `/dev/null`.
    pub stdin: Option<String>,
    /// Milliseconds after which it is killed.
    pub time_ms: u64,
    /// The largest file it may write, its standard streams included, in bytes.
    pub output_bytes: u64,
    /// A command that runs before, as the same user in `/tmp`; nothing of it is measured. If it
    /// fails the process does not start.
    #[serde(default)]
    pub setup: Option<Vec<String>>,
    /// What to tell the size of, once the process has ended, by name.
    #[serde(default)]
    pub sizes: BTreeMap<String, SizeQuery>,
    /// Whether it is a build with the probe as its `RUSTC_WRAPPER`, whose units are wanted:
    /// [`Reply::Unit`]s come before [`Reply::Exit`].
    #[serde(default)]
    pub units: bool,
    /// Send output on as it comes (builds); else keep it until the end (measurements).
    pub stream: bool,
    /// How many processes to start in a row, each as if it were the only one; what they took is
    /// added up. [`Spawn::time_ms`] is for all of them together.
    #[serde(default = "once")]
    pub repeat: u32,
    /// Run under Valgrind's cachegrind and count instructions instead of measuring time.
    pub count_instructions: bool,
}

fn once() -> u32 {
    1
}

/// Which of the files in a folder a size is of. Links are not followed, and a file with several
/// names counts once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeQuery {
    pub folder: String,
    pub files: SizedFiles,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SizedFiles {
    /// All files, at any depth.
    All,
    /// Files whose name ends so, at any depth.
    Suffix(String),
    /// Files right in the folder that may be executed.
    Executable,
    /// Code and data in files right in the folder, be they linked or archives of objects (`.rlib`):
    /// what is loaded, without symbols and debug information.
    Objects,
    /// Code and data in archives alone, at any depth.
    Archived,
}

/// The variable that makes the probe a wrapper, of compilers and of build scripts: the file that it
/// appends one JSON line a unit to.
pub const UNITS: &str = "DYNO_UNITS";

/// Where that file is, in the folder that is emptied after each process.
pub const UNITS_FILE: &str = "/tmp/.dyno-units";

/// `off`: the notice that the metadata are ready is held back until the compiler has ended.
pub const PIPELINING: &str = "DYNO_PIPELINING";

/// `on`: the compiler is asked when code generation and linking begin.
pub const TIMINGS: &str = "DYNO_TIMINGS";

/// What the compiler is given beside what cargo says, in words between spaces. It is allowed
/// everything then (`RUSTC_BOOTSTRAP`), which build scripts do not see: some ask what a compiler
/// can do and choose other code by the answer.
pub const FLAGS: &str = "DYNO_FLAGS";

/// `on`: units of the primary package carry their command, and build scripts are left alone.
pub const COMMANDS: &str = "DYNO_COMMANDS";

/// The most units of one build that are told.
pub const UNITS_MAX: usize = 10_000;

/// One unit of a build, as the wrapper saw it. Times are CLOCK_MONOTONIC_RAW in nanoseconds, until
/// they leave the probe: from the start of the build.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WrapperUnit {
    /// Name of the package.
    pub name: String,
    pub version: String,
    /// `--crate-name`; empty for the run of a build script.
    pub crate_name: String,
    pub crate_types: Vec<String>,
    /// What `-C extra-filename` adds to the names of its files.
    pub extra_filename: String,
    /// Files of the crates that it was given (`--extern`).
    pub externs: Vec<String>,
    /// `--out-dir`; of the run of a build script, the folder of the script.
    pub out_dir: String,
    /// `OUT_DIR`: of the run of a build script, what it fills; of others, what they read.
    pub script_out_dir: Option<String>,
    /// Library that the package of a build script says it links (`links`); of the script's run
    /// alone.
    #[serde(default)]
    pub links: Option<String>,
    /// Names of the variables through which packages that link pass words to a build script
    /// (`DEP_Z_ROOT`); of the script's run alone.
    #[serde(default)]
    pub dep_variables: Vec<String>,
    /// Whether the compiler generates code (`--emit=…,link`), and not metadata alone.
    #[serde(default)]
    pub generates_code: bool,
    /// Whether cargo was asked for this very package.
    pub primary: bool,
    pub start_ns: u64,
    pub metadata_ns: Option<u64>,
    pub codegen_ns: Option<u64>,
    pub link_ns: Option<u64>,
    pub end_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
    pub max_rss_bytes: u64,
    pub threads: u32,
    /// Whether it ended with exit code 0.
    pub ok: bool,
    /// See [`COMMANDS`].
    pub command: Option<UnitCommand>,
}

impl WrapperUnit {
    /// The unit with its times counted from `start_ns`.
    pub fn relative_to(self, start_ns: u64) -> Self {
        let shift = |time_ns: u64| time_ns.saturating_sub(start_ns);
        Self {
            start_ns: shift(self.start_ns),
            metadata_ns: self.metadata_ns.map(shift),
            codegen_ns: self.codegen_ns.map(shift),
            link_ns: self.link_ns.map(shift),
            end_ns: shift(self.end_ns),
            ..self
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UnitCommand {
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: String,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Code(i32),
    /// 25 (SIGXFSZ) too when it wrote more than [`Spawn::output_bytes`] to a stream.
    Signal(i32),
    /// It was killed after [`Spawn::time_ms`].
    Timeout,
    /// It never ran: which step failed and why.
    NotStarted(String),
}

/// What a process that ended came to. Times in nanoseconds, sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub end: End,
    /// Time from before the fork to the exit seen by the probe (CLOCK_MONOTONIC_RAW).
    pub wall_ns: u64,
    /// User time of the process, of the children it waited for and of those that nobody did
    /// (`wait4`). The counts below are of the same processes.
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
    /// Streams of which a later process of [`Spawn::repeat`] wrote something else than the first;
    /// their digest and tail are those of the first that did.
    #[serde(default)]
    pub varied: BTreeSet<Stream>,
    /// Streams that something opened by name (`/dev/stdout`), which may have begun them anew.
    #[serde(default)]
    pub opened: BTreeSet<Stream>,
    /// Processes that ran on after its end; the probe ended them.
    pub leftovers: u32,
    /// What the first of them called themselves.
    pub leftover_names: Vec<String>,
    /// What it wrote and the probe could not remove, and why: the next would find it.
    pub residue: Option<String>,
    /// Processor time of everything in the container from the request to this answer, the probe's
    /// own and that of what was left behind included: what is known not to be others'.
    pub container_ns: u64,
    /// How the kernel scheduled its first thread; absent where the kernel does not say.
    #[serde(default)]
    pub first_thread: Option<ThreadTime>,
    /// Instructions executed by the process and its children, when they were counted.
    pub instructions: Option<u64>,
    /// Why they are not there, though they were asked for.
    #[serde(default)]
    pub not_counted: Option<String>,
    /// What the process read from disks, in bytes: not what it found in the page cache.
    #[serde(default)]
    pub disk_read_bytes: u64,
    /// Sizes in bytes, by the names of [`Spawn::sizes`]; what is not there has none.
    #[serde(default)]
    pub sizes: BTreeMap<String, u64>,
    /// Units of the build; they travel in [`Reply::Unit`]s.
    #[serde(skip)]
    pub units: Vec<WrapperUnit>,
    /// Metric → what the kernel counted of the process and all that came of it, from `exec` on.
    pub counters: BTreeMap<String, Count>,
}

/// How the kernel scheduled a thread over its life (`/proc/PID/schedstat`,
/// Documentation/scheduler/sched-stats.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadTime {
    /// Time on a core, in ns.
    pub running_ns: u64,
    /// Time in which it could have run, and waited for a core, in ns.
    pub waiting_ns: u64,
}

impl Exit {
    /// An exit of which nothing but the end is known.
    pub fn new(end: End) -> Self {
        Self {
            end,
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
            varied: BTreeSet::new(),
            opened: BTreeSet::new(),
            leftovers: 0,
            leftover_names: Vec::new(),
            residue: None,
            container_ns: 0,
            first_thread: None,
            instructions: None,
            not_counted: None,
            disk_read_bytes: 0,
            sizes: BTreeMap::new(),
            units: Vec::new(),
            counters: BTreeMap::new(),
        }
    }
}

impl Exit {
    /// A process that ended well and did nothing: where tests begin.
    pub fn without_effect() -> Self {
        let text = r#"{"end":{"code":0},"wall_ns":0,"user_ns":0,"system_ns":0,"max_rss_bytes":1,
        "minor_faults":0,"major_faults":0,"voluntary_switches":0,"involuntary_switches":0,
        "stdout_bytes":0,"stdout_sha256":"","stdout_tail":"","stderr_sha256":"","stderr_tail":"",
        "leftovers":0,"leftover_names":[],"residue":null,"container_ns":0,"instructions":null,
        "counters":{}}"#;
        serde_json::from_str(text).expect("all fields that have no default")
    }
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
    /// Capabilities in any set (permitted, effective, inheritable, ambient, bounding), by name
    /// without `CAP_`; unknown ones by number.
    pub capabilities: Vec<String>,
    pub no_new_privileges: bool,
    /// `Seccomp:` of `/proc/self/status`: 2 is a filter.
    pub seccomp_mode: u32,
    /// What programs are and may, read by a process that became one.
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
    /// Mount point → whether anyone but root may write there, of everything but kernel file
    /// systems.
    pub mounts: BTreeMap<String, bool>,
    /// Mount point → what it can hold, of the file systems in memory that programs may write
    /// ([`IN_MEMORY`]).
    pub in_memory: BTreeMap<String, Capacity>,
    pub valgrind: bool,
    /// Whether [`Settings::fixed_layout`] holds.
    pub fixed_layout: bool,
    /// Events of [`Settings::counters`] that are counted.
    pub counted: BTreeSet<String>,
    /// Events that are not counted → the reason.
    pub not_counted: BTreeMap<String, String>,
}

/// Where programs find a file system in memory; emptied after each.
pub const IN_MEMORY: [&str; 2] = ["/tmp", "/dev/shm"];

/// What a file system can hold (statvfs(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capacity {
    pub bytes: u64,
    pub files: u64,
}

/// What a measured or building process is and may.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Program {
    /// User ids: real, effective, saved and of the file system.
    pub uids: Vec<u32>,
    pub gids: Vec<u32>,
    pub groups: Vec<u32>,
    /// Capabilities that it has or could get by exec: every set but the bounding one, which alone
    /// gives none.
    pub capabilities: Vec<String>,
    pub no_new_privileges: bool,
    pub seccomp_mode: u32,
    /// Hard limits by the names of `setrlimit(2)` in small letters; `None` is unlimited.
    pub limits: BTreeMap<String, Option<u64>>,
}
