//! `suites/<name>/suite.toml`: a target's source, image and recipe, and the benchmarks on it.
//!
//! Commands are lists of words; nothing goes through a shell unless the suite names one. In a
//! benchmark's words and environment `{artifact}`, `{inputs}` and `{suite}` stand for folders
//! inside the container, `{seed}` for a number of the job's own, and `{axis}` for the value of that
//! axis.
//!
//! This file has what a suite *is*; [`parse`] reads it, [`Selection`] chooses of its cases, and
//! [`CompilerConfig`] is what the axes of crates mean.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::{CommitId, Digest};
use crate::metric;
pub use config::{
    Backend, COMPILER_AXES, CompilerConfig, CompilerWorkload, Config, Profile, Scenario, THREADS,
    UnknownValue, compiler_axis, compiler_axis_names,
};
pub use crates::{Crate, CrateSource, GRAPH, unsupported_reason};
pub use fields::is_plain_path;
pub use parse::{check_git_location, parse};
pub use placeholder::{fill, fill_words};
pub use selection::{Case, Selected, Selection};

mod axes;
mod config;
mod crates;
mod fields;
mod parse;
mod placeholder;
mod selection;

/// Where a target's commits come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A git URL, or a path (relative to the suite's folder).
    Git(String),
    /// A crate: each release is a commit of a local repository, tagged with its version.
    Crate(String),
    /// A compiler: the one that an image carries, a toolchain archive, a sysroot, or one that is
    /// built from the git repository named here.
    Compiler(Option<String>),
}

impl Source {
    /// What is compared, in one word: the crate, the repository, or rustc.
    pub fn target_name(&self) -> &str {
        match self {
            Self::Crate(name) => name,
            Self::Compiler(None) => "rustc",
            Self::Git(location) | Self::Compiler(Some(location)) => {
                let path = location.trim_end_matches('/');
                let name = path.rsplit(['/', ':']).next().unwrap_or(location);
                name.strip_suffix(".git").unwrap_or(name)
            }
        }
    }

    /// The name under which `commit` is found again, which was asked for as `asked`: a release's
    /// version, since a registry knows no commits; else the commit itself, since names move.
    pub fn lasting_name(&self, asked: &str, commit: &CommitId) -> String {
        match self {
            Self::Crate(_) => asked.to_string(),
            Self::Git(_) | Self::Compiler(_) => commit.to_string(),
        }
    }
}

/// What of a commit is laid out beside its own files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Checkout {
    /// Whether its submodules are, at the commits that it records.
    pub submodules: bool,
    /// Whether the files that Git LFS keeps stand in the place of their pointers.
    pub lfs: bool,
}

impl Checkout {
    fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// Steps that turn a source into files: `fetch` alone has the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recipe {
    pub fetch: Option<Vec<String>>,
    pub build: Vec<String>,
    /// Output name → path below the build folder, in the order of names.
    pub outputs: BTreeMap<String, String>,
    /// Folder below the build folder that is taken whole; of compilers alone. Left out where there is
    /// none, so that artifacts of other suites keep their identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sysroot: Option<String>,
    /// A folder of the suite's own that the build sees beside the commit. Left out where there is
    /// none, for the same reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Keys of `[source]`. Left out where they are not written, for the same reason.
    #[serde(skip_serializing_if = "Checkout::is_plain")]
    pub checkout: Checkout,
    /// Variables; in the values of a `[build]`, `{commit}` stands for the commit's id.
    pub env: BTreeMap<String, String>,
    pub limits: Limits,
    /// About how long the build takes, by whoever wrote the suite; what is built does not depend
    /// on it.
    #[serde(skip)]
    pub typical_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    pub time_s: u64,
    pub memory_bytes: u64,
    pub pids: u64,
    /// What one process may write to its standard streams or any one file, in bytes.
    pub output_bytes: u64,
    /// What all files that it writes may take of the host's disk, in bytes; a benchmark may write
    /// none there.
    pub disk_bytes: u64,
}

impl Limits {
    const BUILD: Self = Self {
        time_s: 3600,
        memory_bytes: 8 << 30,
        pids: 4096,
        output_bytes: 4 << 30,
        disk_bytes: 32 << 30,
    };
    const BENCHMARK: Self = Self {
        time_s: 60,
        memory_bytes: 2 << 30,
        pids: 256,
        output_bytes: 64 << 20,
        disk_bytes: 0,
    };
}

/// What a benchmark must print; a wrong answer is a failed case, not a fast one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expected {
    pub stream: Stream,
    pub answer: ExpectedAnswer,
    /// The exit code. Left out where it is 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub exit: i32,
}

impl Expected {
    /// The file of the suite's folder that has the answer, where one has.
    pub fn file(&self) -> Option<&str> {
        match &self.answer {
            ExpectedAnswer::File(path) => Some(path),
            ExpectedAnswer::Digest(_) | ExpectedAnswer::Baseline => None,
        }
    }
}

fn is_zero(code: &i32) -> bool {
    *code == 0
}

/// The stream that carries the answer. Some runtimes chat on standard output; what runs in them
/// can then answer on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpectedAnswer {
    Digest(Digest),
    /// A file of the suite's folder that the stream must equal.
    File(String),
    /// What the baseline gave in this job, whose inputs nobody knew before.
    Baseline,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Benchmark {
    pub name: String,
    pub what: String,
    /// `tier` in the suite's file.
    #[serde(rename = "tier")]
    pub priority: Priority,
    pub work: Workload,
    pub limits: Limits,
    /// About how long one process takes, by whoever wrote the suite: for a plan on a host where it
    /// was never measured.
    pub typical_ms: Option<u64>,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// A program of the artifact's, or one that runs it.
    Program(Program),
    /// The compiler's process on a crate; what it depends on was compiled before.
    #[serde(rename = "crate")]
    CrateCompilation(Crate),
    /// The build of a crate and of all that it depends on.
    #[serde(rename = "graph")]
    CrateGraphBuild(Crate),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Program {
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// A file of the suite's folder given as standard input.
    pub stdin: Option<String>,
    pub expected: Expected,
    /// Whether Valgrind counts its instructions: a count misleads where a program waits for memory.
    pub count_instructions: bool,
    /// How many processes in a row make one sample, their sum.
    pub repeat: u32,
}

/// How much a benchmark stands for real use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Primary,
    Secondary,
}

impl Priority {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suite {
    pub name: String,
    pub what: String,
    pub image: String,
    pub source: Source,
    /// `None` for compilers that are not built.
    pub build: Option<Recipe>,
    /// How the benchmarks' inputs are made from the suite's own folder, if they need making.
    pub inputs: Option<Recipe>,
    /// Axis name → values, in the order written.
    pub axes: BTreeMap<String, Vec<String>>,
    /// Axis name → value → what it stands for in words, of axes whose values have names.
    pub named_values: BTreeMap<String, BTreeMap<String, String>>,
    pub metrics: Vec<String>,
    pub benchmarks: Vec<Benchmark>,
}

impl Suite {
    /// The names among `metrics` that are measured of `case`.
    pub fn metrics_of(&self, case: &Case, metrics: &[String]) -> Vec<String> {
        let is_counted = match self.benchmark(&case.benchmark).map(|b| &b.work) {
            Some(Workload::Program(program)) => program.count_instructions,
            _ => true,
        };
        let measured = metrics.iter().filter(|name| is_counted || *name != metric::CACHEGRIND);
        measured.cloned().collect()
    }

    /// Whether Valgrind counts the instructions of a benchmark, where they are measured at all. A
    /// build is many programs: what Valgrind makes of it says little of any.
    pub fn counts_instructions_of(&self, benchmark: &str) -> bool {
        match self.benchmark(benchmark).map(|b| &b.work) {
            Some(Workload::Program(program)) => program.count_instructions,
            Some(Workload::CrateGraphBuild(_)) => false,
            _ => true,
        }
    }

    /// How many processes in a row make one sample of a benchmark.
    pub fn repeat_of(&self, benchmark: &str) -> u32 {
        match self.benchmark(benchmark).map(|b| &b.work) {
            Some(Workload::Program(program)) => program.repeat.max(1),
            _ => 1,
        }
    }

    /// The files of the suite's folder that no program may see: what is expected of it, unless it is
    /// also what it reads, and the suite's own file, which may hold answers as digests.
    pub fn hidden_files(&self) -> BTreeSet<&str> {
        let answers = self.programs().filter_map(|program| program.expected.file());
        let mut hidden: BTreeSet<&str> = answers.chain(["suite.toml"]).collect();
        for read in self.read_files() {
            hidden.remove(read);
        }
        hidden
    }

    /// The files of the suite's folder that programs get as standard input.
    pub fn read_files(&self) -> BTreeSet<&str> {
        self.programs().filter_map(|program| program.stdin.as_deref()).collect()
    }

    /// What is measured of benchmarks that are programs.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        self.benchmarks.iter().filter_map(|benchmark| match &benchmark.work {
            Workload::Program(program) => Some(program),
            Workload::CrateCompilation(_) | Workload::CrateGraphBuild(_) => None,
        })
    }

    /// What each axis of `config` stands for in words.
    pub fn axis_words<'a>(&'a self, config: &'a Config) -> BTreeMap<&'a str, &'a str> {
        let word = |(axis, value): (&'a String, &'a String)| {
            let named = self.named_values.get(axis).and_then(|values| values.get(value));
            (axis.as_str(), named.unwrap_or(value).as_str())
        };
        config.0.iter().map(word).collect()
    }

    /// The benchmark called `name`.
    pub fn benchmark(&self, name: &str) -> Option<&Benchmark> {
        self.benchmarks.iter().find(|benchmark| benchmark.name == name)
    }
}
