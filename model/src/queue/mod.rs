//! The queue: requests, the jobs they are planned into, claims on them, and what became of them.
//!
//! This is what the objects hold and what their names say (docs/queue.md). Who writes them when is
//! the crate `queue`'s.

use serde::{Deserialize, Serialize};

use crate::id::{CommitId, Digest, JobId, QueueJobId, RequestId};
use crate::record::SCHEMA_VERSION;
use crate::request::{HostChoice, Request};

pub use choose::{Chooser, Observation, observe};
pub use follow_up::follow_ups;
pub use name::JobName;
pub use plan::{BenchmarkEstimate, HostOffer, Planned, plan};
pub use watch::{Chain, Step, due};

mod choose;
mod follow_up;
mod name;
mod plan;
mod watch;

/// Version of every object of the queue. Who reads another leaves the object alone.
pub const QUEUE_VERSION: u32 = 1;

/// Measured attempts that failed for a reason of the machine or the network, after which a job is
/// given up.
pub const ATTEMPTS_MAX: usize = 3;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueRequest {
    /// [`QUEUE_VERSION`].
    pub version: u32,
    /// One for each host class, alike otherwise. Commits are full ids.
    pub requests: Vec<Request>,
    pub suite_digest: Digest,
    /// 0 to [`PRIORITY_MAX`]; the highest is begun first.
    pub priority: u8,
    /// Number of first-parent ancestors of the candidate, where that is known: newer commits are
    /// begun first.
    pub depth: u32,
    /// When it was asked, in µs since 1970, by the clock of whoever did.
    pub asked_us: i64,
    /// Whether it asks a host again because others contradict it. Left out where it does not, so that
    /// an older dyno can read all others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_follow_up: bool,
    /// What brings the commits, where hosts cannot fetch them. Left out where they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Bundle>,
    /// What it was planned into.
    pub jobs: Vec<QueueJob>,
}

/// A git bundle in the store: the trees of the commits that are asked for. It says how they travel
/// and not what is asked, so no id depends on it: commits are named by what is in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The SHA-256 of its bytes, which names the object.
    pub digest: Digest,
    /// How many bytes it has.
    pub bytes: u64,
    /// The commits of it that are a work tree as it was, and in no repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub work_trees: Vec<CommitId>,
}

/// The most bytes that any bundle may have, in MiB.
pub const BUNDLE_MAX_MIB: u64 = 1024;

/// The highest priority.
pub const PRIORITY_MAX: u8 = 9;

/// The priority of a request that names none.
pub const PRIORITY_DEFAULT: u8 = 5;

impl QueueRequest {
    /// The hash of what is asked: not of who asks, when, how urgently, what brings the commits, or what
    /// it was planned into.
    /// One that asks for measuring again is another each time; a follow-up is one, whoever files it.
    pub fn id(&self) -> RequestId {
        let request_text = |request: &Request| {
            let anonymous = Request { requester: String::new(), ..request.clone() };
            serde_json::to_string(&anonymous).expect("plain fields serialise")
        };
        let mut parts: Vec<String> = self.requests.iter().map(request_text).collect();
        parts.sort_unstable();
        parts.push(self.suite_digest.hex().to_string());
        if self.is_follow_up {
            parts.push("follow-up".to_string());
        } else if self.requests.iter().any(|request| request.again) {
            parts.push(self.asked_us.to_string());
        }
        Digest::of_parts(parts).into()
    }
}

/// A part of a request that one host can measure in one sitting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueJob {
    /// [`QUEUE_VERSION`].
    pub version: u32,
    pub id: QueueJobId,
    /// The request it is of.
    pub of_request: RequestId,
    /// Its host is the class that may take it.
    pub request: Request,
    /// The suite that was meant; the host's own catalog must have the same.
    pub suite_digest: Digest,
    /// The bundle of its request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Bundle>,
    pub order: Order,
    pub needs: Needs,
    /// The host that has the history of its cases: others leave it alone while that one answers.
    pub preferred: Option<String>,
}

/// What decides which job is begun first, whatever they are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    pub priority: u8,
    pub depth: u32,
    pub asked_us: i64,
}

impl Order {
    /// Ascending in the order in which jobs are begun.
    pub const fn key(&self) -> (u8, u32, i64) {
        (u8::MAX - self.priority, u32::MAX - self.depth, self.asked_us)
    }
}

/// What a host must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// The architecture, as `uname -m` says; `None` where any will do.
    pub architecture: Option<String>,
    /// Benchmark cores: those of its largest number of threads.
    pub cores: u32,
    /// The stored layout that its planner wrote: who knows only older ones leaves the job alone.
    pub schema: u32,
}

impl Needs {
    /// The needs of a job that any host of any architecture with one core can measure.
    pub const LEAST: Self = Self { architecture: None, cores: 1, schema: SCHEMA_VERSION };
}

/// A claim on a job, and what became of earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// [`QUEUE_VERSION`].
    pub version: u32,
    /// Who holds it; `None` once it is released.
    pub holder: Option<Holder>,
    /// Grows with each renewal, so that each is other bytes.
    pub beat: u64,
    /// How long it stands without a renewal, in ms of the observer's clock.
    pub lease_ms: u64,
    /// When it was taken, in µs since 1970, by the holder's clock. For people.
    pub since_us: i64,
    /// Attempts that measured and failed for a reason of the machine or the network.
    pub failed: Vec<FailedAttempt>,
}

/// Who holds a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    pub host: String,
    /// Tells this start of the host's agent from all others.
    pub incarnation: String,
    /// Whether it has begun to measure: if it then vanishes, that was an attempt.
    pub is_measuring: bool,
}

/// An attempt that measured and failed for a reason of the machine or the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedAttempt {
    pub host: String,
    pub why: String,
}

/// How a job ended. It is created once: of several attempts the one whose result was created counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobResult {
    /// [`QUEUE_VERSION`].
    pub version: u32,
    pub job: QueueJobId,
    /// The host, or the person, that ended it.
    pub by: String,
    /// Tells this attempt from all others.
    pub incarnation: String,
    pub ended_us: i64,
    pub ending: Ending,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", deny_unknown_fields)]
pub enum Ending {
    /// It was measured. The run row is here whole, so that whoever comes by can put it in its place
    /// where its host died before it did.
    Done {
        run: JobId,
        /// Path of the run row in the store.
        path: String,
        /// Its bytes, in base64.
        row: String,
    },
    /// The store held the very same run already.
    Held {
        run: JobId,
    },
    /// It cannot be measured, for a reason of what was asked, or was tried too often.
    Failed {
        why: String,
    },
    Cancelled,
}

impl Ending {
    /// The state's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Held { .. } => "held",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A host as its agent describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEntry {
    /// [`QUEUE_VERSION`].
    pub version: u32,
    pub offer: HostOffer,
    pub incarnation: String,
    /// What tells this machine from another that is called the same.
    pub machine: String,
    pub dyno_version: String,
    /// The newest stored layout that its dyno knows: it takes no job that needs a newer one.
    #[serde(default = "first_schema")]
    pub schema: u32,
    /// Grows with each renewal.
    pub beat: u64,
    /// When that was, in µs since 1970, by the host's clock. For people.
    pub beat_us: i64,
    /// What it does, or why it waits.
    pub activity: String,
}

const fn first_schema() -> u32 {
    1
}

/// Names of objects, relative to the store.
pub mod path {
    use crate::id::{Digest, QueueJobId, RequestId};

    pub const JOBS: &str = "queue/jobs/";
    pub const CLAIMS: &str = "queue/claims/";
    pub const HOSTS: &str = "queue/hosts/";
    /// Requests of which jobs may be missing: whoever asked may have died in between.
    pub const OPEN: &str = "queue/open/";

    pub fn request(id: &RequestId) -> String {
        format!("queue/requests/{id}.json")
    }

    pub fn open(id: &RequestId) -> String {
        format!("{OPEN}{id}")
    }

    pub fn bundle(digest: &Digest) -> String {
        format!("queue/bundles/{}.bundle", digest.hex())
    }

    pub fn claim(id: &QueueJobId) -> String {
        format!("{CLAIMS}{id}.json")
    }

    pub fn result(id: &QueueJobId) -> String {
        format!("queue/results/{id}.json")
    }

    pub fn host(name: &str) -> String {
        format!("{HOSTS}{}.json", super::name::escape(name))
    }

    /// The id in the name of an object below `folder`.
    pub fn id<T: std::str::FromStr>(name: &str, folder: &str) -> Option<T> {
        let rest = name.strip_prefix(folder)?;
        rest.strip_suffix(".json").unwrap_or(rest).parse().ok()
    }
}

/// The class that a request may be measured by, as a word.
pub fn class_word(class: &HostChoice) -> &str {
    match class {
        HostChoice::Name(word) | HostChoice::Class(word) => word,
    }
}
