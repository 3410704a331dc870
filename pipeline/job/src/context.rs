//! What a job is carried out with: the request, the catalog, and what is of this machine and call.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use dyno_base::error::{Error, Result};
use dyno_base::event::Events;
use dyno_base::scratch::clear_scratch;
use dyno_build::catalog::Catalog;
use dyno_build::source::Resolved;
use dyno_engine::Engines;
use dyno_host::exclusive;
use dyno_host::scope::MachineScope;
use dyno_model::catalog::policy::Policy;
use dyno_model::catalog::suite::Suite;
use dyno_model::id::JobId;
use dyno_model::plan::Job;
use dyno_model::record::QueueAttempt;
use dyno_model::request::{HostChoice, PolicyReference, Request};
use dyno_model::states::PastStates;
use dyno_store::Store;

/// A request with what its names mean here.
#[derive(Debug, Clone)]
pub struct JobRequest {
    request: Request,
    /// Name of the host of the catalog.
    pub host: String,
    /// The policy whose δ steer the sampling.
    pub policy: Policy,
    /// Whether to pin the image anew if the mirror no longer has what its lock names (the demo
    /// alone).
    pub allow_relock: bool,
    /// The attempt of a job of the queue that it is measured for.
    pub queue: Option<QueueAttempt>,
    /// Commits that a bundle brought here, and that need not be looked for.
    pub bundled: Vec<Resolved>,
}

impl JobRequest {
    /// # Errors
    /// A policy that says something else than the one that was asked for, or a class of hosts, of
    /// which somebody has to choose one before.
    pub fn new(request: Request, policy: Policy) -> Result<Self> {
        if request.policy != PolicyReference::from(&policy) {
            let PolicyReference { name, .. } = &request.policy;
            return Err(Error::input(format!(
                "the policy {name} is not what it was when asked for"
            ))
            .hint("ask again, under the policy as it is now"));
        }
        let HostChoice::Name(host) = &request.host else {
            return Err(Error::input(format!(
                "a job is measured on one host, not on {}",
                request.host
            )));
        };
        let host = host.clone();
        Ok(Self { request, host, policy, allow_relock: false, queue: None, bundled: Vec::new() })
    }
}

impl std::ops::Deref for JobRequest {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}

/// Store, folders and handles of this machine and this call.
#[derive(Clone)]
pub struct Environment {
    pub store: Store,
    pub cache: PathBuf,
    pub mirror: Option<String>,
    /// Dyno's own program, which the embedded engine starts again.
    pub program: PathBuf,
    /// The dynos that this one takes turns with.
    pub scope: MachineScope,
    pub events: Events,
    /// Says what earlier runs tell of a job before it is begun.
    pub history: Arc<dyn RunHistory>,
    /// A handle that is set once the engine is open, so that an interrupt can clean up.
    pub cleanup: CleanupHandle,
}

/// An environment with the catalog that a request is of.
pub struct Context {
    pub catalog: Catalog,
    pub environment: Environment,
}

impl Context {
    /// The same context, whose events name `job`.
    pub fn for_job(&self, job: &JobId) -> Self {
        let events = self.events.for_job(job);
        Self {
            catalog: self.catalog.clone(),
            environment: Environment { events, ..self.environment.clone() },
        }
    }
}

impl std::ops::Deref for Context {
    type Target = Environment;

    fn deref(&self) -> &Environment {
        &self.environment
    }
}

/// What this process may leave on the machine, once there is an engine.
pub type CleanupHandle = Arc<std::sync::OnceLock<Cleanup>>;

/// Containers and work folders of this process.
pub struct Cleanup {
    pub engines: Arc<Engines>,
    pub cache: PathBuf,
    pub scope: MachineScope,
}

impl Cleanup {
    /// Removes them, whatever the work that made them was doing. The work itself is over.
    pub async fn clear(&self) -> Result<()> {
        let removed = self.engines.remove_all().await;
        exclusive::sweep(&self.scope);
        clear_scratch(&self.cache);
        removed
    }
}

/// A source of what earlier runs tell of a job before it is begun.
#[async_trait]
pub trait RunHistory: Send + Sync {
    /// What is known of `job` of `suite`, under `policy`, where `cores` count instructions.
    async fn look_up(&self, job: &Job, suite: &Suite, policy: &Policy, cores: usize) -> JobHistory;
}

/// What earlier runs tell of a job.
#[derive(Default)]
pub struct JobHistory {
    /// `None` where nobody knows.
    pub estimate: Option<Estimate>,
    /// The states that the series of each target was in, as the job's targets; empty where nobody
    /// knows.
    pub past_states: Vec<Vec<Option<PastStates>>>,
}

/// Seconds from the least to the most.
pub type SpanSeconds = (f64, f64);

/// How long a job will take.
pub struct Estimate {
    /// The time of each case, as the job's cases.
    pub cases: Vec<CaseEstimate>,
    /// Seconds that getting ready took the newest run.
    pub before_s: Option<u64>,
    /// Seconds of counting for each second of a process that is counted.
    pub counting_factors: SpanSeconds,
    /// Whether counting was never timed here.
    pub counting_is_guess: bool,
}

/// How long a case will take.
pub struct CaseEstimate {
    /// Seconds in measured processes, with the least and with the most rounds.
    pub rounds_s: SpanSeconds,
    /// Seconds until its instructions are counted; `None` if they are not.
    pub counting_s: Option<SpanSeconds>,
    /// Whether it was never measured here.
    pub is_guess: bool,
}

impl Estimate {
    /// Seconds in measured processes of all cases.
    pub fn rounds_s(&self) -> SpanSeconds {
        sum(self.cases.iter().map(|case| case.rounds_s))
    }

    /// Seconds until all instructions are counted; `None` if none are.
    pub fn counting_s(&self) -> Option<SpanSeconds> {
        let counted = || self.cases.iter().filter_map(|case| case.counting_s);
        counted().next().map(|_| sum(counted()))
    }
}

fn sum(spans: impl Iterator<Item = SpanSeconds>) -> SpanSeconds {
    spans.fold((0.0, 0.0), |sum, span| (sum.0 + span.0, sum.1 + span.1))
}

/// An error of the store, with the kind that decides the exit code.
pub fn store_error(error: dyno_store::Error) -> Error {
    let is_input = error.is_input();
    Error::classify(error, is_input, "the store")
}

#[cfg(test)]
mod tests {
    use dyno_model::budget::Budget;
    use dyno_model::catalog::policy;
    use dyno_model::catalog::suite::Selection;
    use dyno_model::record::Trust;
    use dyno_model::request::REQUEST_VERSION;

    use super::*;

    #[test]
    fn a_request_is_carried_out_as_it_was_asked() {
        let policy = |q: f64| {
            let text = format!("q = {q}\n[metric.wall]\ndecides = true\n");
            policy::parse("default", "p.toml", &text, &[]).unwrap()
        };
        let request = Request {
            version: REQUEST_VERSION,
            requester: "a test".into(),
            suite: "s".into(),
            baseline: "a".into(),
            candidate: "b".into(),
            host: HostChoice::Name("local".into()),
            policy: PolicyReference::from(&policy(0.05)),
            selection: Selection::default(),
            budget: Budget { rounds_min: 1, rounds_max: 2, seconds: 3 },
            counting: true,
            cachegrind: true,
            trust: Trust::Trusted,
            again: false,
        };
        let resolved = JobRequest::new(request.clone(), policy(0.05)).unwrap();
        assert_eq!((resolved.host.as_str(), resolved.suite.as_str()), ("local", "s"));
        let error = JobRequest::new(request.clone(), policy(0.01)).unwrap_err();
        assert_eq!(error.message, "the policy default is not what it was when asked for");
        let of_a_class = Request { host: HostChoice::Class("quiet".into()), ..request };
        let error = JobRequest::new(of_a_class, policy(0.05)).unwrap_err();
        assert_eq!(
            error.message,
            "a job is measured on one host, not on any host of the class quiet"
        );
    }
}
