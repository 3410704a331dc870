//! What is of this machine and this call: folders, store, and what knows how long a job takes.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use dyno_answer::error::store_error;
use dyno_answer::estimate::{CaseSeconds, JobEstimate};
use dyno_base::cache::CacheLock;
use dyno_base::error::{Error, Result, WithContext};
use dyno_base::event::Events;
use dyno_base::fault;
use dyno_build::catalog::Catalog;
use dyno_host::scope::MachineScope;
use dyno_job::context::{
    CaseEstimate, CleanupHandle, Environment, Estimate, JobHistory, RunHistory,
};
use dyno_model::catalog::policy::Policy;
use dyno_model::catalog::suite::Suite;
use dyno_model::plan::Job;
use dyno_query::Session;
use dyno_queue::Trouble;
use dyno_queue::clock::SystemClock;
use dyno_queue::stored::{ResultGate, StoredObjects};
use dyno_store::{HostKeys, Store};

use crate::host_key;
use crate::options::Global;

/// The runs that the store holds.
struct StoredRuns(Store);

#[async_trait]
impl RunHistory for StoredRuns {
    /// A store that cannot be asked tells nothing; publishing will say what is wrong with it.
    async fn look_up(&self, job: &Job, suite: &Suite, policy: &Policy, cores: usize) -> JobHistory {
        let Ok(session) = Session::open(&self.0, policy.clone()).await else {
            return JobHistory::default();
        };
        let estimate = JobEstimate::for_job(job, suite, cores, &session).await;
        let estimate = estimate.map(|estimate| Estimate {
            cases: estimate
                .cases
                .into_iter()
                .map(|CaseSeconds { rounds_s, counting_s, is_guess }| CaseEstimate {
                    rounds_s,
                    counting_s,
                    is_guess,
                })
                .collect(),
            before_s: estimate.before_s,
            counting_factors: estimate.counting_factors,
            counting_is_guess: estimate.counting_is_guess,
        });
        let past_states = session.past_states(&suite.name, job).await.unwrap_or_default();
        JobHistory { estimate, past_states }
    }
}

/// What this machine and this call give a command that works on `store`.
pub fn environment(
    store: Store,
    global: &Global,
    events: &Events,
    cleanup: CleanupHandle,
) -> Result<Environment> {
    Ok(Environment {
        history: Arc::new(StoredRuns(store.clone())),
        store,
        cache: cache_folder(global)?,
        mirror: global.mirror.clone(),
        program: own_program()?,
        scope: machine_scope()?,
        events: events.clone(),
        cleanup,
    })
}

/// The machine's own scope; a test has dynos that need not wait for each other.
pub fn machine_scope() -> Result<MachineScope> {
    let own = MachineScope::default();
    let lock = std::env::var_os("DYNO_MEASURING_LOCK").map_or(own.lock().into(), PathBuf::from);
    let cgroup = std::env::var("DYNO_CGROUP").unwrap_or_else(|_| own.cgroup().into());
    MachineScope::new(lock, cgroup)
}

pub fn own_program() -> Result<PathBuf> {
    std::env::current_exe().context(|| "finding dyno's own program".into())
}

/// Where the key of this machine is, or would be.
pub fn host_key_path() -> Result<PathBuf> {
    match std::env::var_os(host_key::VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => Ok(path.into()),
        None => Ok(data_folder()?.join("host.key")),
    }
}

/// The keys that run rows are checked against: those of the catalog, where there is one.
fn host_keys(global: &Global) -> Result<HostKeys> {
    match Catalog::open(global.catalog.as_deref()) {
        Ok(catalog) => catalog.host_keys(),
        Err(_) => Ok(HostKeys::new()),
    }
}

/// The store, which is made where it is not there.
pub async fn open_store(global: &Global) -> Result<Store> {
    let store = Store::open(&store_url(global)?).await.map_err(store_error)?;
    // Whoever has no home has no key either.
    let signer = host_key_path().map_or(Ok(None), |path| host_key::load(&path))?;
    let store = store.with_keys(host_keys(global)?).with_signer(signer);
    Ok(ResultGate::guard(store.with_watch(fault::publish_point)))
}

/// The store for a command that only reads: one that is not there is a mistake.
pub async fn open_existing_store(global: &Global) -> Result<Store> {
    let opened = Store::open_existing(&store_url(global)?).await.map_err(|error| {
        let is_missing = matches!(error, dyno_store::Error::NoStore { .. });
        let error = store_error(error);
        match is_missing {
            true => error.hint("`dyno run` makes it; --store or DYNO_STORE names another"),
            false => error,
        }
    });
    Ok(opened?.with_keys(host_keys(global)?))
}

/// The queue of a store, opened.
pub struct Queue {
    pub store: Store,
    pub objects: StoredObjects,
    pub clock: SystemClock,
}

impl Queue {
    pub async fn open(global: &Global) -> Result<Self> {
        let store = open_store(global).await?;
        let objects = StoredObjects::open(&store).await.map_err(queue_error)?;
        Ok(Self { store, objects, clock: SystemClock::default() })
    }

    /// This queue for an agent: what the store does not answer within seconds is reported, and tried
    /// again.
    pub fn prompt(self) -> Result<Self> {
        let objects = StoredObjects::prompt(&self.store).map_err(queue_error)?;
        Ok(Self { objects, ..self })
    }

    /// The queue for a command that only looks.
    pub async fn open_to_read(global: &Global) -> Result<Self> {
        let store = open_existing_store(global).await?;
        let objects = StoredObjects::new(&store);
        Ok(Self { store, objects, clock: SystemClock::default() })
    }
}

/// An error of the queue, as a person reads it.
pub fn queue_error(Trouble(why): Trouble) -> Error {
    Error::infrastructure(format!("the queue: {why}"))
}

pub fn store_url(global: &Global) -> Result<String> {
    match &global.store {
        Some(url) => Ok(url.clone()),
        None => Ok(data_folder()?.join("store").display().to_string()),
    }
}

/// The cache, made where it is not there, and kept from being pruned until this process ends.
pub fn cache_folder(global: &Global) -> Result<PathBuf> {
    static SHARE: OnceLock<Option<CacheLock>> = OnceLock::new();
    let folder = cache_path(global)?;
    std::fs::create_dir_all(&folder)
        .context(|| format!("making the cache {}", folder.display()))?;
    SHARE.get_or_init(|| CacheLock::share(&folder));
    folder.canonicalize().context(|| format!("finding the cache {}", folder.display()))
}

/// Where the cache is, or would be.
pub fn cache_path(global: &Global) -> Result<PathBuf> {
    match &global.cache {
        Some(folder) => Ok(folder.clone()),
        None => Ok(user_folder("XDG_CACHE_HOME", ".cache")?.join("dyno")),
    }
}

/// Makes the file `path` and keeps every other process from it for as long as it is open; `held` says
/// what it means that another one has it.
pub fn lock_file(path: &Path, held: &str) -> Result<File> {
    let doing = || format!("locking {}", path.display());
    std::fs::create_dir_all(path.parent().expect("in a folder")).context(doing)?;
    let file = File::options().create(true).append(true).open(path).context(doing)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::host(held).hint(format!("it holds the lock {}", path.display())))
        }
        Err(TryLockError::Error(error)) => Err(error).context(doing),
    }
}

pub fn state_folder() -> Result<PathBuf> {
    Ok(user_folder("XDG_STATE_HOME", ".local/state")?.join("dyno"))
}

pub fn data_folder() -> Result<PathBuf> {
    Ok(user_folder("XDG_DATA_HOME", ".local/share")?.join("dyno"))
}

/// The folder in which each job's report has one of its own.
pub fn reports_folder() -> Result<PathBuf> {
    match std::env::var_os("DYNO_REPORTS").filter(|folder| !folder.is_empty()) {
        Some(folder) => Ok(folder.into()),
        None => Ok(data_folder()?.join("reports")),
    }
}

/// XDG Base Directory Specification: the variable if it holds an absolute path, else below HOME.
fn user_folder(variable: &str, below_home: &str) -> Result<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable)
        .or_else(|| Some(absolute("HOME")?.join(below_home)))
        .ok_or_else(|| Error::host(format!("neither {variable} nor HOME names a folder")))
}
