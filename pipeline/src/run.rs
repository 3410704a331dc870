//! The main job, from two names of commits to a verdict, as a story:
//! open everything → find what is asked → plan → image → build → measure → publish → compare.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use chrono::Utc;
use dyno_model::catalog::host::Host;
use dyno_model::catalog::image::debian_architecture;
use dyno_model::catalog::policy::Policy;
use dyno_model::catalog::suite::Source;
use dyno_model::id::{Digest, JobId};
use dyno_model::metric;
use dyno_model::plan::{Job, JobInputs, Plan, plan, steering};
use dyno_model::record::{
    Built, BuiltFrom, Failure, Fingerprint, Outcome, Record, Run, Side, Trust,
};
use dyno_model::sampling::Budget;
use dyno_query::{Published, Store};

use crate::artifact::{Artifact, Order, Workshop, clear_scratch, sweep_scratch};
use crate::catalog::{Catalog, LoadedSuite};
use crate::definition;
use crate::engine::{Engines, Root};
use crate::error::{Error, Result, While};
use crate::event::{Events, Phase};
use crate::fault;
use crate::host::quiet::QuietHost;
use crate::host::{Assigned, assign, exclusive, fingerprint, keep_to};
use crate::image::{self, BuildError};
use crate::measure::{Bench, Measured};
use crate::source::{self, Resolved};
use crate::spool::Spool;

/// Who asked to compare what.
#[derive(Debug, Clone)]
pub struct Request {
    pub suite: String,
    pub baseline: String,
    pub candidate: String,
    pub host: String,
    pub budget: Budget,
    /// Whose δ steer the sampling.
    pub policy: Policy,
    /// Whether metrics that are counted once per case are measured too.
    pub counting: bool,
    /// How far the candidate is trusted; the baseline always is.
    pub trust: Trust,
    /// Measure even if the store holds the very same job already.
    pub again: bool,
    /// Pin the image anew if the mirror no longer has what its lock names (the demo alone).
    pub may_pin_again: bool,
}

/// What is of this machine and this call.
pub struct Place {
    pub store: Store,
    pub cache: PathBuf,
    pub mirror: Option<String>,
    /// Dyno's own program, which the embedded engine starts again.
    pub program: PathBuf,
    pub events: Events,
    /// Set once the engine is open, so that an interrupt can clean up.
    pub opened: Opened,
}

/// A place with the catalog that a request is of.
pub struct Surroundings {
    pub catalog: Catalog,
    pub place: Place,
}

impl std::ops::Deref for Surroundings {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

/// What this process may leave on the machine, once there is an engine.
pub type Opened = Arc<std::sync::OnceLock<Traces>>;

/// Containers and work folders of this process.
pub struct Traces {
    pub engines: Arc<Engines>,
    pub cache: PathBuf,
}

impl Traces {
    /// Removes them, whatever the work that made them was doing. The work itself is over.
    pub async fn clear(&self) -> Result<()> {
        let removed = self.engines.remove_all().await;
        exclusive::sweep();
        clear_scratch(&self.cache);
        removed
    }
}

#[async_trait]
impl Root for image::Built {
    fn id(&self) -> &Digest {
        &self.id
    }
    fn rootfs(&self) -> &Path {
        &self.rootfs
    }
    async fn archive(&self) -> Result<PathBuf> {
        image::archive(self).await
    }
}

/// What became of a request.
pub struct Done {
    pub job: JobId,
    pub suite: String,
    /// False if the store held the job already.
    pub measured: bool,
    /// Bytes that publishing wrote.
    pub bytes: u64,
    pub samples: usize,
}

/// Everything the plan stands on, found before anything is built.
struct Ground {
    suite: LoadedSuite,
    image_folder: PathBuf,
    host: Host,
    cores: Assigned,
    /// The machine as the job's id knows it.
    found: Fingerprint,
    engines: Arc<Engines>,
    root: Arc<dyn Root>,
    baseline: Resolved,
    candidate: Resolved,
    plan: Plan,
}

/// Carries out a request.
pub async fn run(request: &Request, around: &Surroundings) -> Result<Done> {
    let mut clock = PhaseClock::new();
    let started_us = Utc::now().timestamp_micros();
    let ground = prepare(request, around, &mut clock).await?;
    let Some(job) = ground.plan.jobs.first() else {
        let job = ground.plan.held[0].clone();
        around
            .events
            .notice(format!("job {job} is in the store already; --again measures it again"));
        let suite = ground.suite.suite.name.clone();
        return Ok(Done { job, suite, measured: false, bytes: 0, samples: 0 });
    };
    around.events.end(Phase::Plan, told(&ground, job));
    let (inputs, built) = build(&ground, job, around, &mut clock).await?;
    // Before anything is measured: a store that cannot take it is found out while nothing is lost.
    let made = inputs.as_ref().and_then(|made| Some(made.as_ref().ok()?.files.clone()));
    let (suite, image) = (&ground.suite, &ground.image_folder);
    let keeping = definition::keep(suite, image, made, &around.store, &around.events);
    let built_from = fault::around("definition.keep", keeping).await?;
    let measured = measure(&ground, job, &inputs, &built, around).await?;
    clock.add("measure", measured.rounds_s);
    clock.add("count", measured.counting_s);
    let record = record(&ground, job, (built, inputs), measured, built_from, started_us, clock);
    let spool = Spool::new(&around.cache, &around.store);
    let bytes = match spool.publish(&record, &around.events).await? {
        Published::Written { bytes, .. } => bytes,
        Published::AlreadyHeld => 0,
    };
    around.events.end(Phase::Publish, format!("{} samples, {bytes} bytes", record.samples.len()));
    let suite = record.run.suite;
    Ok(Done { job: job.id.clone(), suite, measured: true, bytes, samples: record.samples.len() })
}

/// The plan of a request, without carrying it out.
pub async fn plan_only(request: &Request, around: &Surroundings) -> Result<(Plan, String)> {
    let ground = prepare(request, around, &mut PhaseClock::new()).await?;
    let mut text = String::new();
    for job in &ground.plan.jobs {
        text.push_str(&format!("{}\n", told(&ground, job)));
    }
    for held in &ground.plan.held {
        text.push_str(&format!("job {held}: in the store already\n"));
    }
    Ok((ground.plan, text))
}

/// A job in a sentence, with the longest it can take.
fn told(ground: &Ground, job: &Job) -> String {
    let budget = job.inputs.budget;
    let rounds = match (budget.rounds_min, budget.rounds_max) {
        (least, most) if least < most => format!("{least} to {most} rounds"),
        (_, most) => format!("{most} round(s)"),
    };
    let limits = job.cases.iter().filter_map(|case| ground.suite.suite.benchmark(&case.benchmark));
    let worst_s: u64 = limits.map(|b| budget.worst_case_s(b.limits.time_s)).sum();
    format!(
        "job {}: {} {} → {} on {}, {} case(s), {rounds} each; at most {} in measured processes",
        job.id,
        ground.suite.suite.name,
        ground.baseline.commit.short(),
        ground.candidate.commit.short(),
        ground.host.name,
        job.cases.len(),
        duration(worst_s)
    )
}

/// `45 s`, `12 min`, `3 h 20 min`.
fn duration(seconds: u64) -> String {
    match seconds.div_ceil(60) {
        _ if seconds < 120 => format!("{seconds} s"),
        minutes if minutes < 120 => format!("{minutes} min"),
        minutes => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

async fn prepare(
    request: &Request,
    around: &Surroundings,
    clock: &mut PhaseClock,
) -> Result<Ground> {
    let suite = around.catalog.suite(&request.suite);
    let (suite, host) = both(suite, around.catalog.host(&request.host))?;
    let image_folder = around.catalog.image(&suite.suite.image)?;
    let cores = assign(&host)?;
    let writable = around.store.check_writable();
    fault::around("store.probe", writable).await.map_err(store_error)?;
    sweep_scratch(&around.cache);
    Spool::new(&around.cache, &around.store).publish_left(&around.events).await?;
    let engines = Engines::open(&host, &around.cache, &around.program).await?;
    let _ =
        around.opened.set(Traces { engines: Arc::clone(&engines), cache: around.cache.clone() });
    let swept = engines.sweep().await?;
    fault::at("sweep.cores", exclusive::sweep);
    for left in swept {
        around.events.notice(format!("removed the container {left} of a dyno that is gone"));
    }
    let asked = [request.baseline.clone(), request.candidate.clone()];
    let resolving =
        source::resolve(&suite.suite.source, &suite.folder, &asked, &around.cache, &around.events);
    let mut resolved = clock.time("source", resolving).await?.into_iter();
    let (baseline, candidate) =
        resolved.next().zip(resolved.next()).expect("one answer for each of two names");
    let making = ensure_image(&image_folder, cores.architecture(), request, around);
    let root: Arc<dyn Root> = Arc::new(clock.time("image", making).await?);
    let found = fingerprint(&host, &engines.name(), &cores);
    let mut metrics = suite.suite.metrics.clone();
    metrics.retain(|name| request.counting || !metric::is_counted(name));
    metrics.retain(|name| cores.emulator.is_none() || !metric::is_of_processor(name));
    let (targets, steered) = steering(&suite.suite, &host.name, &metrics, &request.policy);
    let mut inputs = JobInputs {
        suite_digest: suite.digest.clone(),
        image_id: root.id().clone(),
        baseline: baseline.commit.clone(),
        candidate: candidate.commit.clone(),
        trust: request.trust,
        host: host.name.clone(),
        fingerprint: found.digest(),
        metrics,
        budget: request.budget,
        targets: steered,
        repetition: 0,
    };
    let held = loop {
        let held = around.store.holds(&inputs.id()).await.map_err(store_error)?;
        if !(held && request.again) {
            break held;
        }
        inputs.repetition += 1;
    };
    let plan = plan(&suite.suite, inputs, targets, request.policy.confidence, &|_| held);
    Ok(Ground { suite, image_folder, host, cores, found, engines, root, baseline, candidate, plan })
}

/// Two values, or all that is wrong with either.
fn both<A, B>(a: Result<A>, b: Result<B>) -> Result<(A, B)> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(mut a), Err(b)) if a.kind == b.kind => {
            a.message = format!("{}; {}", a.message, b.message);
            a.hint = a.hint.or(b.hint);
            a.mistakes.extend(b.mistakes);
            Err(a)
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

async fn ensure_image(
    folder: &Path,
    machine: &str,
    request: &Request,
    around: &Surroundings,
) -> Result<image::Built> {
    let settings = image::Settings {
        mirror: around.mirror.clone(),
        cache: around.cache.clone(),
        keys: around.catalog.keys(),
    };
    let architecture = debian_architecture(machine)
        .ok_or_else(|| Error::host(format!("Debian has no architecture for {machine}")))?;
    let built = match image::build(folder, architecture, &settings, &around.events).await {
        Err(BuildError::Gone(error)) if request.may_pin_again => {
            around.events.notice(format!(
                "{error}; pinning the image anew from the suite as it is today, and writing {}",
                folder.join("image.lock").display()
            ));
            image::lock(folder, &settings, &around.events).await?;
            image::build(folder, architecture, &settings, &around.events).await
        }
        other => other,
    };
    let built = built.map_err(Error::from)?;
    around.events.end(Phase::Image, format!("image {}", built.id));
    Ok(built)
}

/// What was made of the suite's own folder, if anything is to be made of it.
pub type Inputs = Option<Result<Artifact, Failure>>;

/// Each side built or failed.
pub type Sides = BTreeMap<Side, Result<Artifact, Failure>>;

/// Builds the inputs and both sides at once: a build that links on one core leaves the others
/// something to do.
pub async fn build_all(
    workshop: &Workshop,
    loaded: &LoadedSuite,
    root: &Arc<dyn Root>,
    [baseline, candidate]: [&Resolved; 2],
    trust: Trust,
) -> Result<(Inputs, Sides)> {
    let suite = &loaded.suite;
    let inputs = async {
        let Some(recipe) = &suite.inputs else { return Ok(None) };
        let order = Order {
            what: format!("inputs of {}", suite.name),
            source: loaded.digest.to_string(),
            recipe,
            root: Arc::clone(root),
            trust: Trust::Trusted,
        };
        let lay_out = async |into: &Path| loaded.definition.write(into);
        let made = workshop.make(&order, lay_out).await?;
        Ok::<_, Error>(Some(made.map_err(|failure| Failure { step: "inputs".into(), ..failure })))
    };
    let side = async |side: Side, resolved: &Resolved| -> Result<Result<Artifact, Failure>> {
        let order = Order {
            what: format!("{} {}", target(&suite.source), resolved.asked),
            source: resolved.commit.hex().to_string(),
            recipe: &suite.build,
            root: Arc::clone(root),
            trust: match side {
                Side::Baseline => Trust::Trusted,
                Side::Candidate => trust,
            },
        };
        let limits = &suite.build.limits;
        let lay_out = async |into: &Path| resolved.check_out(into, limits).await;
        let made = workshop.make(&order, lay_out).await?;
        Ok(made.map_err(|failure| Failure { side: Some(side), ..failure }))
    };
    let (inputs, baseline, candidate) = futures::try_join!(
        inputs,
        side(Side::Baseline, baseline),
        side(Side::Candidate, candidate)
    )?;
    Ok((inputs, Sides::from([(Side::Baseline, baseline), (Side::Candidate, candidate)])))
}

async fn build(
    ground: &Ground,
    job: &Job,
    around: &Surroundings,
    clock: &mut PhaseClock,
) -> Result<(Inputs, Sides)> {
    let workshop = Workshop::new(
        Arc::clone(&ground.engines),
        around.cache.clone(),
        ground.cores.all(),
        around.events.clone(),
    );
    let sides = [&ground.baseline, &ground.candidate];
    let started = Instant::now();
    let (inputs, sides) =
        build_all(&workshop, &ground.suite, &ground.root, sides, job.inputs.trust).await?;
    let fetch_s = workshop.fetched_s();
    clock.add("fetch", fetch_s);
    clock.add("build", (started.elapsed().as_secs_f64() - fetch_s).max(0.0));
    let works = sides.values().filter(|made| made.is_ok()).count();
    for (side, made) in &sides {
        let Err(failure) = made else { continue };
        let rest = if works == 0 { "" } else { "; the other side is measured alone" };
        around.events.notice(format!(
            "the {} does not build: {}{rest}",
            side.name(),
            failure.reason
        ));
    }
    Ok((inputs, sides))
}

async fn measure(
    ground: &Ground,
    job: &Job,
    inputs: &Inputs,
    sides: &Sides,
    around: &Surroundings,
) -> Result<Measured> {
    let artifacts: BTreeMap<Side, Artifact> = sides
        .iter()
        .filter_map(|(side, made)| Some((*side, made.as_ref().ok()?.clone())))
        .collect();
    let inputs = match inputs {
        Some(Err(_)) => return Ok(Measured::default()),
        Some(Ok(inputs)) => Some(inputs.clone()),
        None => None,
    };
    if artifacts.is_empty() {
        return Ok(Measured::default());
    }
    let bench = Bench {
        suite: &ground.suite.suite,
        suite_folder: &ground.suite.folder,
        job,
        root: Arc::clone(&ground.root),
        artifacts,
        inputs,
        engines: Arc::clone(&ground.engines),
        memory_bytes: ground.host.memory_bytes,
        fixed_layout: !ground.host.aslr,
        benchmark_cores: ground.cores.benchmark.clone(),
        all_cores: ground.cores.all(),
        cache: around.cache.clone(),
        events: around.events.clone(),
    };
    let mut quiet = QuietHost::prove(&ground.host, &ground.cores, &around.events).await?;
    fault::at("measure.keep-to", || keep_to(&ground.cores.housekeeping));
    let measured = bench.measure(&mut quiet).await;
    keep_to(&ground.cores.all());
    measured
}

fn record(
    ground: &Ground,
    job: &Job,
    (sides, inputs): (Sides, Inputs),
    measured: Measured,
    built_from: Option<BuiltFrom>,
    started_us: i64,
    clock: PhaseClock,
) -> Record {
    let suite = &ground.suite.suite;
    let mut failures: Vec<Failure> =
        sides.values().filter_map(|s| s.as_ref().err().cloned()).collect();
    failures.extend(inputs.and_then(Result::err));
    failures.extend(measured.failures);
    let built = |side: Side, resolved: &Resolved| {
        let artifact = sides[&side].as_ref().ok();
        Built {
            asked: resolved.asked.clone(),
            commit: resolved.commit.clone(),
            artifact: artifact.map(|a| a.digest.clone()),
            files: artifact.map(|a| a.files.clone()).unwrap_or_default(),
            build_s: artifact.and_then(|a| a.build_s),
        }
    };
    let mut notices = ground.cores.notices.clone();
    notices.extend(measured.notices);
    if !job.inputs.trust.is_trusted() {
        notices.push("the candidate is untrusted: it was built and measured apart".into());
        if suite.build.fetch.is_some() {
            notices.push(
                "the fetch step of the untrusted candidate had the network, and obeys the commit's files: \
                 docs/SECURITY.md (\"Not held\") says what that means"
                    .into(),
            );
        }
    }
    if ground.found.fixed_layout {
        notices.push(
            "address layout was the same in every process (aslr = false, or off on this machine): \
             a small difference may be that of one lucky layout"
                .into(),
        );
    }
    if ground.found.virtualised {
        notices.push(
            "the host is a virtual machine: its times depend on neighbours it cannot see".into(),
        );
    }
    let run = Run {
        job: job.id.clone(),
        dyno_version: env!("CARGO_PKG_VERSION").into(),
        suite: suite.name.clone(),
        suite_digest: ground.suite.digest.clone(),
        target: target(&suite.source).to_string(),
        image: suite.image.clone(),
        image_id: ground.root.id().clone(),
        host: ground.host.name.clone(),
        fingerprint: ground.found.clone(),
        baseline: built(Side::Baseline, &ground.baseline),
        candidate: built(Side::Candidate, &ground.candidate),
        built_from,
        trust: job.inputs.trust,
        metrics: job.inputs.metrics.clone(),
        rounds: measured.rounds,
        budget: Some(job.inputs.budget),
        seed: job.seed,
        outcome: if failures.is_empty() { Outcome::Done } else { Outcome::FailedCase },
        failures,
        notices,
        started_us,
        finished_us: Utc::now().timestamp_micros(),
        measured_share: measured.share,
        phases_s: clock.phases_s,
    };
    Record { run, samples: measured.samples }
}

/// What a source is called in a sentence.
fn target(source: &Source) -> &str {
    match source {
        Source::Crate(name) => name,
        Source::Git(location) => {
            let name = location.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or(location);
            name.strip_suffix(".git").unwrap_or(name)
        }
    }
}

/// An error of the store, with the exit code it deserves.
pub fn store_error(error: dyno_query::Error) -> Error {
    use dyno_query::Error as Store;
    let text = crate::error::chain(&error);
    match error {
        Store::NoPlace { .. }
        | Store::NoComparison { .. }
        | Store::Ambiguous { .. }
        | Store::NoRun { .. }
        | Store::ReadOnly { .. }
        | Store::Sql(_) => Error::input(text),
        _ => Err::<(), _>(error).while_(|| "the store".into()).expect_err("an error was given"),
    }
}

/// Seconds spent in each phase.
struct PhaseClock {
    phases_s: BTreeMap<String, f64>,
}

impl PhaseClock {
    fn new() -> Self {
        Self { phases_s: BTreeMap::new() }
    }

    fn add(&mut self, phase: &str, seconds: f64) {
        *self.phases_s.entry(phase.to_string()).or_default() += seconds;
    }

    async fn time<T>(&mut self, phase: &str, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let value = work.await;
        self.add(phase, started.elapsed().as_secs_f64());
        value
    }
}
