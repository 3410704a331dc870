//! What a job is carried out with: the request, the catalog, and what is of this machine and call.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use dyno_base::error::{Error, Result};
use dyno_base::event::Events;
use dyno_base::scratch::clear_scratch;
use dyno_build::catalog::Catalog;
use dyno_engine::Engines;
use dyno_host::exclusive;
use dyno_model::budget::Budget;
use dyno_model::catalog::policy::Policy;
use dyno_model::catalog::suite::{Selection, Suite};
use dyno_model::plan::Job;
use dyno_model::record::Trust;
use dyno_store::Store;

/// Who asked to compare what.
#[derive(Debug, Clone)]
pub struct Request {
    pub suite: String,
    pub baseline: String,
    pub candidate: String,
    pub host: String,
    pub budget: Budget,
    /// Which cases of the suite.
    pub selection: Selection,
    /// Whose δ steer the sampling.
    pub policy: Policy,
    /// Whether metrics that are counted once per case are measured too.
    pub counting: bool,
    /// Whether instructions are counted by Valgrind, which takes long.
    pub cachegrind: bool,
    /// How far the candidate is trusted; the baseline always is.
    pub trust: Trust,
    /// Measure even if the store holds the very same job already.
    pub again: bool,
    /// Pin the image anew if the mirror no longer has what its lock names (the demo alone).
    pub allow_relock: bool,
}

/// What is of this machine and this call.
pub struct Environment {
    pub store: Store,
    pub cache: PathBuf,
    pub mirror: Option<String>,
    /// Dyno's own program, which the embedded engine starts again.
    pub program: PathBuf,
    pub events: Events,
    /// Says how long a job will take, where anybody knows.
    pub estimator: Arc<dyn Estimator>,
    /// Set once the engine is open, so that an interrupt can clean up.
    pub cleanup: CleanupHandle,
}

/// A place with the catalog that a request is of.
pub struct Context {
    pub catalog: Catalog,
    pub environment: Environment,
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
}

impl Cleanup {
    /// Removes them, whatever the work that made them was doing. The work itself is over.
    pub async fn clear(&self) -> Result<()> {
        let removed = self.engines.remove_all().await;
        exclusive::sweep();
        clear_scratch(&self.cache);
        removed
    }
}

/// What knows, before a job is begun, how long it will take.
#[async_trait]
pub trait Estimator: Send + Sync {
    /// The estimate for `job` of `suite` on `host`, under `policy`; `None` where nobody knows.
    async fn estimate(
        &self,
        job: &Job,
        suite: &Suite,
        host: &str,
        policy: &Policy,
    ) -> Option<Estimate>;
}

/// How long a job will take, for people.
pub struct Estimate {
    /// Seconds in measured processes, with the least and with the most rounds.
    pub rounds_s: (u64, u64),
    /// Time in measured processes: "12 min to 20 min".
    pub processes: String,
    /// What comes besides: "getting ready took 40 s last time".
    pub besides: Vec<String>,
}

/// An error of the store, with the kind that decides the exit code.
pub fn store_error(error: dyno_store::Error) -> Error {
    let is_input = error.is_input();
    Error::classify(error, is_input, "the store")
}
