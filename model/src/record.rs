//! Rows of the store's tables: samples, units of builds, summaries, runs. Another crate gives them
//! columns.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::catalog::suite::Source;
use crate::id::{CommitId, Digest, JobId, QueueJobId};
use crate::notice::Notice;
use crate::states::States;
use crate::step::Step;

/// Version of the stored layout. A reader refuses what is newer than it knows and reads what is
/// older; a writer writes only this.
pub const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Baseline,
    Candidate,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Baseline, Self::Candidate];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Candidate => "candidate",
        }
    }

    pub const fn other(self) -> Self {
        match self {
            Self::Baseline => Self::Candidate,
            Self::Candidate => Self::Baseline,
        }
    }
}

/// How far a commit is trusted. What an untrusted one built or measured never stands for a trusted
/// one; the other way round it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// A commit of the target's own, by whoever may push there.
    #[default]
    Trusted,
    /// A stranger's: the candidate of a pull request from a fork.
    Untrusted,
}

impl Trust {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Untrusted => "untrusted",
        }
    }

    pub const fn is_trusted(&self) -> bool {
        matches!(self, Self::Trusted)
    }
}

/// One value of one metric from one process of one case. One row of `samples`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub benchmark: String,
    /// `axis=value,…`; empty for a suite without axes.
    pub config: String,
    pub metric: String,
    /// Number of the round, from 0; the same round of both sides stood next to each other in time.
    pub round: u32,
    pub side: Side,
    /// Place of the process in the job, from 0: the order in which things really ran.
    pub sequence: u32,
    /// The value in the metric's base unit.
    pub value: i64,
    /// Why this sample should not be trusted; empty when nothing disturbed it.
    pub taint: String,
}

/// What a unit of a build is, as cargo knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitKind {
    Lib,
    ProcMacro,
    Bin,
    /// The compilation of a build script.
    BuildScript,
    /// Its run.
    RunBuildScript,
    /// Documentation of a crate.
    Doc,
}

impl UnitKind {
    pub const ALL: [Self; 6] =
        [Self::Lib, Self::ProcMacro, Self::Bin, Self::BuildScript, Self::RunBuildScript, Self::Doc];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Lib => "lib",
            Self::ProcMacro => "proc-macro",
            Self::Bin => "bin",
            Self::BuildScript => "build-script",
            Self::RunBuildScript => "run-build-script",
            Self::Doc => "doc",
        }
    }
}

/// A unit that another one waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Need {
    /// [`CompilationUnit::unit`] of the same process.
    pub unit: u32,
    /// Whether for its end; else its metadata are enough (where pipelining is on).
    pub end: bool,
}

/// One compilation unit of one measured process, which was a build: one crate through one process
/// of the compiler, or one run of a build script. One row of `units`. Times are in nanoseconds from
/// the start of the build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompilationUnit {
    pub benchmark: String,
    pub config: String,
    pub round: u32,
    pub side: Side,
    /// Place of the process in the job, as in its samples.
    pub sequence: u32,
    /// Place in the build, from 0, in the order of starts.
    pub unit: u32,
    /// Name of the crate, as its package calls it.
    pub name: String,
    pub version: String,
    pub kind: UnitKind,
    pub start_ns: i64,
    /// When the compiler said that the metadata are ready, which dependents may begin with; `None`
    /// for what has none, or whose compiler did not say so. With pipelining off the notice is held
    /// back, but this is still when it came.
    pub metadata_ns: Option<i64>,
    /// When code generation began, where the compiler says so (`--json=timings`).
    pub codegen_ns: Option<i64>,
    /// When linking began, where the compiler says so.
    pub link_ns: Option<i64>,
    pub end_ns: i64,
    pub user_ns: i64,
    pub system_ns: i64,
    pub max_rss_bytes: i64,
    /// The most threads that it was seen with.
    pub threads: u32,
    /// What it waited for, without repetition, in order. What links waits for the ends of all that
    /// is linked, which are all named.
    pub needs: Vec<Need>,
    /// Taint of the process.
    pub taint: String,
}

/// One series and job, derived from its samples. One row of `summaries`.
///
/// `d` is ln(candidate / baseline) of a round; statistics of it are `None` where no round has
/// both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub benchmark: String,
    pub config: String,
    pub metric: String,
    /// Rounds with both sides, both untainted and positive (or both zero).
    pub rounds: u32,
    /// Mean of `d`.
    pub mean_log_ratio: Option<f64>,
    /// Variance of `d` with n − 1; `None` for fewer than two rounds.
    pub variance: Option<f64>,
    pub baseline: Option<Extent>,
    pub candidate: Option<Extent>,
    /// Samples left out because they were tainted.
    pub tainted: u32,
    /// Rounds in which one side alone is zero; `None` where there is none, and in summaries of a
    /// dyno that did not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zeros: Option<ZeroRounds>,
    /// Samples whose own process was disturbed; `None` where none was, and in summaries of a dyno
    /// that did not tell the sides apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbed: Option<DisturbedSides>,
    /// The states that its values lie in; `None` where they fall into no groups, and in summaries
    /// of a dyno that did not look for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states: Option<States>,
}

/// Rounds with both sides of which one alone is zero: they have no ratio. And what the other rounds
/// say of the direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ZeroRounds {
    /// Rounds in which the baseline alone is zero.
    pub baseline: u32,
    /// Rounds in which the candidate alone is zero.
    pub candidate: u32,
    /// The number of rounds with a ratio in which the candidate is the larger.
    pub grew: u32,
    /// The number of rounds with a ratio in which the candidate is the smaller.
    pub shrank: u32,
}

/// Samples of each side whose own process was disturbed, not only the one beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DisturbedSides {
    pub baseline: u32,
    pub candidate: u32,
}

/// Median and extremes of one side of a series, in the metric's base unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Extent {
    pub median: f64,
    pub min: i64,
    pub max: i64,
}

/// The machine as found when a job ran. Series from differing fingerprints are not one series.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fingerprint {
    pub architecture: String,
    pub cpu: String,
    pub microcode: String,
    pub kernel: String,
    pub governor: String,
    pub cores: u32,
    pub memory_bytes: u64,
    pub virtualised: bool,
    pub cgroup: String,
    /// `embedded` or `docker`, with its version; series never mix engines.
    pub engine: String,
    pub benchmark_cores: String,
    /// Whether processes got the same address layout each time. Left out of the digest where they
    /// did not, so that histories from before this was known go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fixed_layout: bool,
    /// What ran the programs, where `architecture` is not the machine's own; series never mix it.
    /// Left out where there is none, so that digests of native machines stay what they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulator: Option<String>,
    /// The kind of the benchmark cores, where the processor has several (`performance`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core_kind: Option<String>,
}

impl Fingerprint {
    /// The architecture as comparisons name it: emulated ones are a kind of their own, which never
    /// agrees with, contradicts or stands for the real one.
    pub fn kind(&self) -> String {
        match self.emulator {
            Some(_) => format!("{} (emulated)", self.architecture),
            None => self.architecture.clone(),
        }
    }

    /// The digest by which fingerprints are compared.
    pub fn digest(&self) -> Digest {
        Digest::of(&serde_json::to_vec(self).expect("plain fields serialise"))
    }
}

/// Which step of which side of which case did not work, and the last lines it printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `None` for what concerns every case (a build that failed).
    pub benchmark: Option<String>,
    pub config: Option<String>,
    /// `None` where both sides failed alike.
    pub side: Option<Side>,
    pub step: Step,
    pub reason: String,
    pub log_tail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Done,
    /// Something of the case did not work; measuring it again would fail again.
    FailedCase,
}

/// Output name → (digest, size in bytes).
pub type Files = BTreeMap<String, (Digest, u64)>;

/// One side of a job: what was asked, what it meant, what was built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Built {
    /// Name as the person wrote it (a ref, a version, an id).
    pub asked: String,
    pub commit: CommitId,
    /// `None` when the build failed.
    pub artifact: Option<Digest>,
    pub files: Files,
    /// Seconds the build took; `None` when it came from the cache.
    pub build_s: Option<f64>,
    /// The image that it is, or runs in, where that is not the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<OwnImage>,
    /// What a compiler calls itself; `None` of what is no compiler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// An image of one side alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnImage {
    pub name: String,
    pub id: Digest,
    /// The definition with its `image.toml` and `image.lock`; `None` where none is kept.
    pub digest: Option<Digest>,
}

/// What a job's image and artifacts can be built from again, without the catalog it came from.
/// Definitions are folders of the catalog as they were, kept in the store under the digest of
/// their files; that of the suite is the run's `suite_digest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltFrom {
    /// Where the commits came from; a path is absolute.
    pub source: Source,
    /// The definition with `image.toml` and `image.lock`.
    pub image_digest: Digest,
    /// What was made of the suite's own folder; empty for a suite that makes nothing of it, and
    /// where that failed.
    pub inputs: Files,
}

/// Everything needed to repeat a job. One row of `runs`, written last: the commit point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    pub job: JobId,
    pub dyno_version: String,
    pub suite: String,
    pub suite_digest: Digest,
    pub target: String,
    pub image: String,
    pub image_id: Digest,
    pub host: String,
    pub fingerprint: Fingerprint,
    pub baseline: Built,
    pub candidate: Built,
    /// What it can be built from again; `None` in records of a dyno that kept no definitions.
    #[serde(default)]
    pub built_from: Option<BuiltFrom>,
    /// How far the candidate is trusted; a baseline always is. Records of a dyno that knew no
    /// classes are of trusted ones.
    #[serde(default)]
    pub trust: Trust,
    /// The sides whose compiler takes a number of threads and ignores it: what they took with
    /// several says nothing of threads.
    #[serde(default)]
    pub ignores_threads: Vec<Side>,
    pub metrics: Vec<String>,
    /// The most rounds that a case got.
    pub rounds: u32,
    /// What a case might cost; `None` in records of a dyno that knew fixed rounds only.
    #[serde(default)]
    pub budget: Option<Budget>,
    pub seed: u64,
    pub outcome: Outcome,
    pub failures: Vec<Failure>,
    /// Things a reader should know (no PMU, shared cores …).
    pub notices: Vec<Notice>,
    /// Microseconds since 1970-01-01 UTC.
    pub started_us: i64,
    pub finished_us: i64,
    /// Share of the measuring phase spent inside measured processes, 0 to 1.
    pub measured_share: f64,
    /// Phase name → seconds.
    pub phases_s: BTreeMap<String, f64>,
    /// The job of the queue that it was measured for; `None` for one that was measured at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueAttempt>,
    /// Table → digest of the job's rows in it, with the version of its rule (`1:…`), made when the
    /// record is published; empty before, and in records of a dyno that made none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub row_digests: BTreeMap<String, String>,
}

/// An attempt of a job of the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueAttempt {
    pub job: QueueJobId,
    /// The host that made it.
    pub by: String,
    /// Tells it from all others.
    pub incarnation: String,
}

/// An attempt's immutable trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub run: RunRow,
    pub samples: Vec<Sample>,
    /// Units of builds of whole crate graphs; empty for other suites, and in records of a dyno that
    /// knew no units.
    #[serde(default)]
    pub units: Vec<CompilationUnit>,
}

/// Names of phases of a run that others ask for.
pub mod phase {
    /// Processes are measured in rounds.
    pub const MEASURE: &str = "measure";
    /// Instructions are counted, once per case and side.
    pub const COUNT: &str = "count";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_from_before_fixed_layouts_is_the_same_machine() {
        let without_emulator = r#"{"architecture":"x86_64","cpu":"c","microcode":"m","kernel":"k","governor":"g",
            "cores":2,"memory_bytes":1,"virtualised":true,"cgroup":"v1","engine":"e","benchmark_cores":"1"}"#;
        let without_emulator: String = without_emulator.split_whitespace().collect();
        let read: Fingerprint = serde_json::from_str(&without_emulator).unwrap();
        assert_eq!(read.digest(), Digest::of(without_emulator.as_bytes()));
        let fixed = Fingerprint { fixed_layout: true, ..read.clone() };
        assert_ne!(fixed.digest(), read.digest());
        let rewritten = serde_json::to_string(&fixed).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprint>(&rewritten).unwrap(), fixed);
    }
}
