//! `dyno agent`: the queue's jobs, measured one after the other by a dyno of their own each.
//!
//! Each job runs as `dyno __job FILE`, a process of its own: it ends as `dyno run` does on an
//! interrupt, and an agent outlives whatever it does.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use dyno_answer::error::store_error;
use dyno_base::error::{Error, Kind, Result, WithContext};
use dyno_base::event::Events;
use dyno_base::scratch::Scratch;
use dyno_base::text::ago;
use dyno_build::catalog::Catalog;
use dyno_build::definition::Definition;
use dyno_build::source::{self, Resolved};
use dyno_engine::Engines;
use dyno_host::assign;
use dyno_job::context::{Context, JobRequest};
use dyno_job::execute;
use dyno_model::id::{CommitId, Digest};
use dyno_model::queue::{Bundle, Ending, HostOffer, QueueJob};
use dyno_model::record::QueueAttempt;
use dyno_model::request::{HostChoice, Request};
use dyno_queue::agent::{Agent, Report, Settings, Worked, Worker};
use dyno_queue::claim::Lease;
use dyno_queue::clock::SystemClock;
use dyno_queue::result::{end, find};
use dyno_queue::stored::StoredObjects;
use dyno_store::Store;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::watch;

use crate::environment::{
    Queue, cache_folder, data_folder, lock_file, machine_scope, own_program, queue_error,
};
use crate::host_key;
use crate::options::Global;

#[derive(Debug, clap::Args)]
pub struct AgentArguments {
    /// A host of the catalog: this machine
    #[arg(long, default_value = "local")]
    pub host: String,
    /// Leave when nothing is left for this host
    #[arg(long)]
    pub once: bool,
    /// Seconds between two looks for work
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub poll: u64,
    /// Seconds for which a claim stands without being renewed
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(4..=3600))]
    pub lease: u64,
}

/// What the process that measures a job is given.
#[derive(Debug, Serialize, Deserialize)]
pub struct JobFile {
    pub host: String,
    pub job: QueueJob,
    pub attempt: QueueAttempt,
}

/// Runs an agent until it is interrupted, or with `--once` until nothing is left.
pub async fn run(arguments: &AgentArguments, global: &Global, events: &Events) -> Result<()> {
    let catalog = Catalog::open(global.catalog.as_deref())?;
    let host = catalog.host(&arguments.host)?;
    let cores = assign(&host)?;
    let queue = Queue::open(global).await?.prompt()?;
    host_key::check(&host, &queue.store)?;
    // What every job would fail for is said before one is taken, and costs none an attempt.
    source::check_git().await?;
    let (cache, program) = (cache_folder(global)?, own_program()?);
    Engines::open(&host, &cache, &program, &machine_scope()?).await?;
    queue.store.check_writable().await.map_err(store_error)?;
    let _alone = lock_name(&host.name, &queue.store.place())?;
    let lease = Duration::from_secs(arguments.lease);
    let settings = Settings {
        offer: HostOffer {
            name: host.name.clone(),
            architecture: cores.architecture().to_string(),
            cores: cores.benchmark.len() as u32,
            labels: host.labels.clone(),
        },
        machine: machine_id(),
        incarnation: format!("{}.{}", std::process::id(), dyno_queue::Clock::wall_us(&queue.clock)),
        dyno_version: env!("CARGO_PKG_VERSION").into(),
        lease: Lease { duration: lease, renewal: lease / 4 },
        poll: Duration::from_secs(arguments.poll),
        beat: Duration::from_secs(arguments.poll.max(60)),
    };
    let (leaving, leave) = watch::channel(false);
    let interrupts = tokio::spawn(async move {
        crate::wait_for_signal().await;
        let _ = leaving.send(true);
        // Whoever watches is gone when the agent has left.
        leaving.closed().await;
    });
    let worker = ChildWorker { global, queue: &queue, host: host.name.clone(), leave };
    let report = |report: Report| events.notice(report_text(&report));
    events.notice(format!(
        "{} takes jobs from {} (benchmark cores: {}, labels: {})",
        host.name,
        queue.store.url(),
        settings.offer.cores,
        settings.offer.labels.join(", ")
    ));
    let mut agent = Agent::new(&queue.objects, &queue.clock, &worker, settings, &report);
    let outcome = agent.run(arguments.once).await;
    interrupts.abort();
    outcome.map_err(|refused| {
        let ago_us = dyno_queue::Clock::wall_us(&queue.clock).saturating_sub(refused.beat_us);
        let seen = ago(ago_us.max(0) as u64 / 1_000_000);
        Error::host(format!("{refused} (seen {seen})"))
            .hint("give this machine a name of its own: a file in hosts/, and --host NAME")
    })
}

/// What tells this machine from others: its name, and its id, as systemd gives it, else that of this
/// boot. Machines made from one image may share either.
fn machine_id() -> String {
    let first_of = |paths: &[&str]| {
        let texts = paths.iter().filter_map(|path| std::fs::read_to_string(path).ok());
        let mut words = texts.map(|text| text.trim().to_string());
        words.find(|word| !word.is_empty()).unwrap_or_else(|| "unknown".into())
    };
    let name = first_of(&["/proc/sys/kernel/hostname"]);
    format!("{name} ({})", first_of(&["/etc/machine-id", "/proc/sys/kernel/random/boot_id"]))
}

/// Keeps another agent of this name and store from beginning on this machine, for as long as the
/// file is open.
fn lock_name(host: &str, store: &str) -> Result<File> {
    let folder = data_folder()?.join("agents");
    let store = Digest::of(store.as_bytes());
    let path = folder.join(format!("{host}-{}.lock", store.short()));
    lock_file(&path, &format!("an agent for the host {host} is at work on this machine already"))
}

fn report_text(report: &Report) -> String {
    match report {
        Report::Taken { job, what } => format!("job {}: {what}", job.short()),
        Report::Ended { job, ending: Ending::Failed { why } } => {
            format!("job {}: failed: {why}", job.short())
        }
        Report::Ended { job, ending } => format!("job {}: {}", job.short(), ending.name()),
        Report::Superseded { job, by } => {
            format!("job {}: the attempt of {by} counts, this one is left out", job.short())
        }
        Report::Lost { job } => {
            format!("job {}: it is no longer this host's, which stops", job.short())
        }
        Report::Failed { job, why, attempts } => {
            format!("job {}: attempt {attempts} failed: {why}", job.short())
        }
        Report::Released { job } => format!("job {}: given back", job.short()),
        Report::SetAside { name, why } => format!("left alone: {name}: {why}"),
        Report::Trouble { why } => format!("the store does not answer as it should: {why}"),
        Report::Idle { why } => format!("nothing to do: {why}"),
    }
}

struct ChildWorker<'a> {
    global: &'a Global,
    queue: &'a Queue,
    host: String,
    leave: watch::Receiver<bool>,
}

impl Worker for ChildWorker<'_> {
    async fn work(&self, job: QueueJob, attempt: QueueAttempt) -> Worked {
        match self.measure(job, &attempt).await {
            Ok(worked) => worked,
            Err(error) => Worked::Trouble(error.to_string()),
        }
    }

    async fn leave(&self) {
        let mut leave = self.leave.clone();
        let _ = leave.wait_for(|is_leaving| *is_leaving).await;
    }
}

impl ChildWorker<'_> {
    async fn measure(&self, job: QueueJob, attempt: &QueueAttempt) -> Result<Worked> {
        let cache = cache_folder(self.global)?;
        let scratch = Scratch::new(&cache)?;
        let folder = scratch.folder("job")?;
        let file = folder.join(format!("{}.json", job.id));
        let id = job.id.clone();
        let content = JobFile { host: self.host.clone(), job, attempt: attempt.clone() };
        let text = serde_json::to_vec(&content).expect("plain fields serialise");
        std::fs::write(&file, text).context(|| format!("writing {}", file.display()))?;
        let mut child = self.command(&file, &cache)?;
        let ended = tokio::select! {
            ended = child.wait() => ended,
            () = self.leave() => {
                interrupt(&child);
                child.wait().await.context(|| "waiting for a job".into())?;
                return Ok(Worked::Interrupted);
            }
        };
        let status = ended.context(|| "waiting for a job".into())?;
        if find(&self.queue.objects, &self.queue.clock, &id).await.map_err(queue_error)?.is_some() {
            return Ok(Worked::Ended);
        }
        let why = std::fs::read_to_string(reason_file(&file)).unwrap_or_default();
        let why = if why.is_empty() { format!("dyno ended with {status}") } else { why };
        // What is wrong with this host's files is right elsewhere, perhaps: it is no end for all.
        let is_of_the_commit = status.code() == Some(i32::from(Kind::Case.exit_code()));
        Ok(if is_of_the_commit { Worked::Failed(why) } else { Worked::Trouble(why) })
    }

    /// The process that measures; it is interrupted where this future is dropped, which is where the
    /// claim is lost.
    fn command(&self, file: &Path, cache: &Path) -> Result<Interrupting> {
        let mut command = Command::new(own_program()?);
        command.arg("__job").arg(file).arg("--cache").arg(cache).stdin(Stdio::null());
        command.arg("--store").arg(self.queue.store.url());
        if let Some(catalog) = &self.global.catalog {
            command.arg("--catalog").arg(catalog);
        }
        if let Some(mirror) = &self.global.mirror {
            command.arg("--mirror").arg(mirror);
        }
        // A Ctrl-C is for the agent, which ends the job in its own way.
        command.process_group(0);
        // SAFETY: one system call between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // An agent that is killed takes its job with it.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        command.spawn().map(Interrupting).context(|| "starting a job".into())
    }
}

/// A child that is interrupted when this goes.
struct Interrupting(tokio::process::Child);

impl Drop for Interrupting {
    fn drop(&mut self) {
        interrupt(self);
    }
}

impl std::ops::Deref for Interrupting {
    type Target = tokio::process::Child;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for Interrupting {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// Asks a child to end; it removes its containers first.
fn interrupt(child: &tokio::process::Child) {
    if let Some(id) = child.id() {
        // SAFETY: a signal to a child that was not waited for yet.
        unsafe { libc::kill(id as libc::pid_t, libc::SIGTERM) };
    }
}

/// The file in which the process that measures says why it could not.
fn reason_file(file: &Path) -> PathBuf {
    file.with_extension("reason")
}

/// What `dyno __job FILE` does: the job, as the host of the agent, published as its attempt.
pub async fn run_job(file: &Path, context: Context) -> Result<()> {
    let outcome = carry_out(file, context).await;
    if let Err(error) = &outcome {
        let _ = std::fs::write(reason_file(file), error.to_string());
    }
    outcome
}

async fn carry_out(file: &Path, context: Context) -> Result<()> {
    let text = std::fs::read(file).context(|| format!("reading {}", file.display()))?;
    let JobFile { host, job, attempt } = serde_json::from_slice(&text)
        .map_err(|error| Error::input(format!("{}: {error}", file.display())))?;
    let catalog = context.catalog.root().to_path_buf();
    let overlay = file.with_extension("catalog");
    let (suite, digest) = (&job.request.suite, &job.suite_digest);
    let store = &context.environment.store.clone();
    let folder = catalog_with_suite(&catalog, suite, digest, store, &overlay).await?;
    let catalog = Catalog::open(Some(&folder))?;
    let policy = catalog.policy(&job.request.policy.name)?;
    let bundled = match &job.bundle {
        Some(bundle) => unbundle(bundle, &job.request, store, file).await?,
        None => Vec::new(),
    };
    let request = Request { host: HostChoice::Name(host), ..job.request };
    let mut request = JobRequest::new(request, policy)?;
    (request.queue, request.bundled) = (Some(attempt.clone()), bundled);
    let context = Context { catalog, environment: context.environment };
    let outcome = execute::run(&request, &context).await?;
    let (objects, clock) = (StoredObjects::new(store), SystemClock::default());
    // A run that the store held already is the answer too.
    if find(&objects, &clock, &attempt.job).await.map_err(queue_error)?.is_none() {
        let ending = Ending::Held { run: outcome.job };
        end(&objects, &clock, &attempt, ending).await.map_err(queue_error)?;
    }
    Ok(())
}

/// The commits of `request`, in a repository beside `file` that is made of its bundle. What is wrong
/// with the bundle is wrong on every host.
async fn unbundle(
    bundle: &Bundle,
    request: &Request,
    store: &Store,
    file: &Path,
) -> Result<Vec<Resolved>> {
    let taken = dyno_queue::bundle::take(store, bundle).await.map_err(queue_error)?;
    let bytes = taken.map_err(|why| Error::new(Kind::Case, why))?;
    let (packed, repository) = (file.with_extension("bundle"), file.with_extension("git"));
    std::fs::write(&packed, bytes).context(|| format!("writing {}", packed.display()))?;
    let mut commits = Vec::new();
    for name in [&request.baseline, &request.candidate] {
        let commit: CommitId = name.parse().map_err(|_| {
            Error::new(Kind::Case, format!("{name:?} is no full id, and comes in no bundle"))
        })?;
        if !commits.contains(&commit) {
            commits.push(commit);
        }
    }
    source::unbundle(&packed, &repository, &commits, &bundle.work_trees).await
}

/// The catalog in which the suite of a job is the one that was asked for: this one, or one in
/// `folder` that takes the suite from the store and all else from this one.
async fn catalog_with_suite(
    catalog: &Path,
    suite: &str,
    digest: &Digest,
    store: &Store,
    folder: &Path,
) -> Result<PathBuf> {
    let own = Catalog::open(Some(catalog))?;
    if own.suite(suite).is_ok_and(|own| own.digest == *digest) {
        return Ok(catalog.to_path_buf());
    }
    let found = store.definition(digest).await.map_err(store_error)?;
    let Some((path, packed)) = found else {
        return Err(Error::infrastructure(format!(
            "the suite {suite} that was asked for is neither in this host's catalog nor in the store"
        )));
    };
    let definition = Definition::unpack(&packed, digest, &path)?;
    definition.write(&folder.join("suites").join(suite))?;
    for shared in ["images", "hosts", "policies"] {
        let (from, to) = (catalog.join(shared), folder.join(shared));
        std::os::unix::fs::symlink(&from, &to).context(|| format!("linking {}", to.display()))?;
    }
    Ok(folder.to_path_buf())
}
