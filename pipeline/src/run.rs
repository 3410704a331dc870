//! The main job, from two names of commits to a verdict, as a story:
//! open everything → find what is asked → plan → image → build → measure → publish → compare.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use chrono::Utc;
use dyno_model::budget::Budget;
use dyno_model::catalog::host::Host;
use dyno_model::catalog::image::debian_architecture;
use dyno_model::catalog::policy::Policy;
use dyno_model::catalog::suite::{Case, Selected, Selection, Source, Workload};
use dyno_model::id::{Digest, JobId};
use dyno_model::metric::{self, Metric};
use dyno_model::notice::Notice;
use dyno_model::plan::{Job, JobInputs, Plan, plan, steering};
use dyno_model::record::{
    Built, BuiltFrom, Failure, Files, Fingerprint, Outcome, OwnImage, Record, RunRow, Side, Trust,
};
use dyno_query::{Published, Session, Store};

use crate::artifact::{Artifact, Order, Scratch, Workshop, clear_scratch, sweep_scratch};
use crate::catalog::{Catalog, LoadedSuite};
use crate::crates::prepare::{Preparing, Ready, Site};
use crate::crates::sources::Sources;
use crate::crates::{compiler, sources, work};
use crate::definition;
use crate::engine::{Engines, Root};
use crate::error::{Error, Kind, Result, While};
use crate::event::{Events, Phase};
use crate::expected::{COUNT, Expected, MEASURE, duration};
use crate::fault;
use crate::host::quiet::QuietHost;
use crate::host::{Assigned, assign, exclusive, fingerprint, keep_to};
use crate::image::{self, BuildError};
use crate::measure::{self, Bench, Measured, Parity, Subject};
use crate::source::{self, Origin, Resolved};
use crate::spool::Spool;

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
    pub valgrind: bool,
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
    /// The folder and name of the image of each side.
    images: BTreeMap<Side, (PathBuf, String)>,
    host: Host,
    cores: Assigned,
    /// The machine as the job's id knows it.
    found: Fingerprint,
    engines: Arc<Engines>,
    roots: BTreeMap<Side, Arc<dyn Root>>,
    asked: BTreeMap<Side, Resolved>,
    /// Why cases of the suite are not in the plan → how many.
    left_out: BTreeMap<String, usize>,
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
    around.events.end(Phase::Plan, told(&ground, job, request, around).await);
    let (inputs, built) = build(&ground, job, around, &mut clock).await?;
    // Before anything is measured: a store that cannot take it is found out while nothing is lost.
    let made = inputs.as_ref().and_then(|made| Some(made.as_ref().ok()?.files.clone()));
    let keeping = keep(&ground, made, around);
    let kept = fault::around("definition.keep", keeping).await?;
    let crates = prepare_crates(&ground, job, &built, around, &mut clock).await?;
    let measured = measure(&ground, job, (&inputs, &built), crates, around).await?;
    clock.add(MEASURE, measured.rounds_s);
    clock.add(COUNT, measured.counting_s);
    let record = record(&ground, job, (built, inputs), measured, kept, started_us, clock);
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
        text.push_str(&format!("{}\n", told(&ground, job, request, around).await));
    }
    for (why, cases) in &ground.left_out {
        text.push_str(&format!("left out: {cases} case(s), {why}\n"));
    }
    for held in &ground.plan.held {
        text.push_str(&format!("job {held}: in the store already\n"));
    }
    Ok((ground.plan, text))
}

/// A job in a sentence, with what it is expected to take, and at most.
async fn told(ground: &Ground, job: &Job, request: &Request, around: &Place) -> String {
    let budget = job.inputs.budget;
    let rounds = match (budget.rounds_min, budget.rounds_max) {
        (least, most) if least < most => format!("{least} to {most} rounds"),
        (_, most) => format!("{most} round(s)"),
    };
    let limits = job.cases.iter().filter_map(|case| ground.suite.suite.benchmark(&case.benchmark));
    let worst_s: u64 = limits.map(|b| budget.worst_case_s(b.limits.time_s)).sum();
    let suite = &ground.suite.suite;
    let expected = match Session::open(&around.store, request.policy.clone()).await {
        Ok(session) => Expected::of(job, suite, &ground.host.name, &session).await,
        Err(_) => None,
    };
    let mut text = format!(
        "job {}: {} {} → {} on {}, {} case(s), {rounds} each; time in measured processes: ",
        job.id,
        suite.name,
        ground.asked[&Side::Baseline].commit.short(),
        ground.asked[&Side::Candidate].commit.short(),
        ground.host.name,
        job.cases.len(),
    );
    match &expected {
        Some(expected) => text.push_str(&expected.to_string()),
        None => text.push_str("unknown before it was measured here once"),
    }
    text.push_str(&format!(", at most {}", duration(worst_s)));
    for besides in expected.iter().flat_map(Expected::last_time) {
        text.push_str(&format!("; {besides}"));
    }
    text
}

async fn prepare(
    request: &Request,
    around: &Surroundings,
    clock: &mut PhaseClock,
) -> Result<Ground> {
    let suite = around.catalog.suite(&request.suite);
    let (suite, host) = both(suite, around.catalog.host(&request.host))?;
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
    let Found { images, roots, asked } =
        find(&suite, cores.architecture(), request, around, clock).await?;
    let found = fingerprint(&host, &engines.name(), &cores);
    let mut metrics = suite.suite.metrics.clone();
    metrics.retain(|name| request.counting || !metric::is_deterministic(name));
    metrics.retain(|name| request.valgrind || name != measure::CACHEGRIND);
    metrics.retain(|name| {
        cores.emulator.is_none() || metric::find(name).is_some_and(Metric::holds_under_emulation)
    });
    let selected = suite.suite.select(&request.selection, cores.benchmark.len());
    let Selected { cases, left_out } = selected.map_err(|wrong| {
        Error::input(wrong.join("; ")).hint("dyno run … --plan says what a selection comes to")
    })?;
    let all = request.selection.is_all();
    let names: Vec<String> = cases.iter().map(ToString::to_string).collect();
    let (targets, steered) = steering(&cases, &host.name, &metrics, &request.policy);
    let mut inputs = JobInputs {
        suite_digest: suite.digest.clone(),
        image_id: both_ids(&roots),
        baseline: asked[&Side::Baseline].commit.clone(),
        candidate: asked[&Side::Candidate].commit.clone(),
        trust: request.trust,
        host: host.name.clone(),
        fingerprint: found.digest(),
        metrics,
        budget: request.budget,
        targets: steered,
        cases: (!all).then(|| Digest::of_parts(&names)),
        repetition: 0,
    };
    let held = loop {
        let held = around.store.holds(&inputs.id()).await.map_err(store_error)?;
        if !(held && request.again) {
            break held;
        }
        inputs.repetition += 1;
    };
    let plan = plan(cases, inputs, targets, request.policy.confidence, &|_| held);
    Ok(Ground { suite, images, host, cores, found, engines, roots, asked, left_out, plan })
}

/// What both names mean, and the image that each side lives in.
struct Found {
    images: BTreeMap<Side, (PathBuf, String)>,
    roots: BTreeMap<Side, Arc<dyn Root>>,
    asked: BTreeMap<Side, Resolved>,
}

/// Finds what is asked for. Of most suites both sides are commits, in the suite's image; a compiler
/// may be an image itself, and lives in it then.
async fn find(
    suite: &LoadedSuite,
    machine: &str,
    request: &Request,
    around: &Surroundings,
    clock: &mut PhaseClock,
) -> Result<Found> {
    let names = [(Side::Baseline, &request.baseline), (Side::Candidate, &request.candidate)];
    let is_compiler = matches!(suite.suite.source, Source::Compiler(_));
    let known = around.catalog.images();
    let image_of = |name: &str| {
        let name = name.strip_prefix("image:").unwrap_or(name);
        (is_compiler && known.iter().any(|known| known == name)).then(|| name.to_string())
    };
    // Names first: they are the cheapest to be wrong.
    let mut asked = BTreeMap::new();
    let others: Vec<(Side, String)> = names
        .iter()
        .filter(|(_, name)| image_of(name).is_none())
        .map(|(side, name)| (*side, (*name).clone()))
        .collect();
    let mut commits = Vec::new();
    for (side, name) in others {
        match if is_compiler { compiler::asked(&name)? } else { None } {
            Some(kept) => {
                let artifact = compiler::keep(&kept, &around.cache, &around.events).await?;
                let commit = artifact.digest.hex().parse().expect("a digest can be a commit's id");
                asked
                    .insert(side, Resolved { asked: name, commit, origin: Origin::Kept(artifact) });
            }
            None if suite.suite.source == Source::Compiler(None) => {
                return Err(compiler::unknown(&name, &known, false));
            }
            None => commits.push((side, name)),
        }
    }
    let names_of: Vec<String> = commits.iter().map(|(_, name)| name.clone()).collect();
    if !commits.is_empty() {
        let resolving = source::resolve(
            &suite.suite.source,
            &suite.folder,
            &names_of,
            &around.cache,
            &around.events,
        );
        let resolved = clock.time("source", resolving).await?;
        asked.extend(commits.into_iter().map(|(side, _)| side).zip(resolved));
    }
    let (mut images, mut roots) = (BTreeMap::new(), BTreeMap::new());
    let mut made: BTreeMap<String, Arc<image::Built>> = BTreeMap::new();
    for (side, name) in names {
        let own = image_of(name);
        let image = own.clone().unwrap_or_else(|| suite.suite.image.clone());
        let folder = around.catalog.image(&image)?;
        let built = match made.get(&image) {
            Some(built) => Arc::clone(built),
            None => {
                let making = ensure_image(&folder, machine, request, around);
                let built = Arc::new(clock.time("image", making).await?);
                made.insert(image.clone(), Arc::clone(&built));
                built
            }
        };
        if let Some(own) = own {
            let commit = built.id.hex().parse().expect("a digest can be a commit's id");
            let origin = Origin::Image(own);
            asked.insert(side, Resolved { asked: name.clone(), commit, origin });
        }
        images.insert(side, (folder, image));
        roots.insert(side, built as Arc<dyn Root>);
    }
    Ok(Found { images, roots, asked })
}

/// The id of the image, or one that stands for both where each side has its own.
fn both_ids(roots: &BTreeMap<Side, Arc<dyn Root>>) -> Digest {
    let [baseline, candidate] = Side::BOTH.map(|side| roots[&side].id());
    match baseline == candidate {
        true => baseline.clone(),
        false => Digest::of_parts([baseline.hex(), candidate.hex()]),
    }
}

/// What a run can be made again from, as far as the store keeps it.
struct Kept {
    from: Option<BuiltFrom>,
    /// Of sides that have an image of their own.
    images: BTreeMap<Side, OwnImage>,
}

async fn keep(ground: &Ground, inputs: Option<Files>, around: &Surroundings) -> Result<Kept> {
    let (store, events) = (&around.store, &around.events);
    let (suite, (folder, _)) = (&ground.suite, &ground.images[&Side::Baseline]);
    let from = definition::keep(suite, folder, inputs, store, events).await?;
    let mut images = BTreeMap::new();
    if ground.roots[&Side::Baseline].id() != ground.roots[&Side::Candidate].id() {
        for (side, (folder, name)) in &ground.images {
            let digest = definition::keep_image(folder, store, events).await?;
            let id = ground.roots[side].id().clone();
            images.insert(*side, OwnImage { name: name.clone(), id, digest });
        }
    }
    Ok(Kept { from, images })
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
    roots: &BTreeMap<Side, Arc<dyn Root>>,
    asked: &BTreeMap<Side, Resolved>,
    trust: Trust,
) -> Result<(Inputs, Sides)> {
    let suite = &loaded.suite;
    let inputs = async {
        let Some(recipe) = &suite.inputs else { return Ok(None) };
        let order = Order {
            what: format!("inputs of {}", suite.name),
            source: loaded.digest.to_string(),
            recipe,
            root: Arc::clone(&roots[&Side::Baseline]),
            trust: Trust::Trusted,
        };
        let lay_out = async |into: &Path| loaded.definition.write(into);
        let made = workshop.make(&order, lay_out).await?;
        Ok::<_, Error>(Some(made.map_err(|failure| Failure { step: "inputs".into(), ..failure })))
    };
    let side = async |side: Side| -> Result<Result<Artifact, Failure>> {
        let resolved = &asked[&side];
        match &resolved.origin {
            Origin::Repository(_) => {}
            Origin::Kept(artifact) => return Ok(Ok(artifact.clone())),
            Origin::Image(_) => return Ok(Ok(Artifact::of_image(roots[&side].id()))),
        }
        let recipe = suite.build.as_ref().ok_or_else(|| {
            Error::input(format!(
                "the suite {} has no [build]: {} is a commit",
                suite.name, resolved.asked
            ))
            .hint("add a recipe, or ask for an image, a sysroot or an archive")
        })?;
        let order = Order {
            what: format!("{} {}", target(&suite.source), resolved.asked),
            source: resolved.commit.hex().to_string(),
            recipe,
            root: Arc::clone(&roots[&side]),
            trust: match side {
                Side::Baseline => Trust::Trusted,
                Side::Candidate => trust,
            },
        };
        let limits = &recipe.limits;
        let lay_out = async |into: &Path| resolved.check_out(into, limits).await;
        let made = workshop.make(&order, lay_out).await?;
        Ok(made.map_err(|failure| Failure { side: Some(side), ..failure }))
    };
    let (inputs, baseline, candidate) =
        futures::try_join!(inputs, side(Side::Baseline), side(Side::Candidate))?;
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
    let started = Instant::now();
    let (suite, roots, asked) = (&ground.suite, &ground.roots, &ground.asked);
    let (inputs, sides) = build_all(&workshop, suite, roots, asked, job.inputs.trust).await?;
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

/// The crates of a suite, and each side prepared to compile them.
struct Crates {
    sources: Sources,
    ready: BTreeMap<Side, Ready>,
    failures: Vec<Failure>,
    /// Holds what the sides prepared, until everything is measured.
    _scratch: Scratch,
}

/// Brings the crates and has each side's compiler build what they depend on; `None` for suites
/// without crates, and where no side is left.
async fn prepare_crates(
    ground: &Ground,
    job: &Job,
    sides: &Sides,
    around: &Surroundings,
    clock: &mut PhaseClock,
) -> Result<Option<Crates>> {
    let suite = &ground.suite.suite;
    let is_program = |case: &Case| {
        suite.benchmark(&case.benchmark).is_none_or(|b| matches!(b.work, Workload::Program(_)))
    };
    if job.cases.iter().all(is_program) || sides.values().all(Result::is_err) {
        return Ok(None);
    }
    let wanted = job.cases.iter().map(|case| case.benchmark.clone()).collect();
    let bringing = sources::bring(&ground.suite, &wanted, &around.cache, &around.events);
    let sources = clock.time("source", bringing).await?;
    let scratch = Scratch::new(&around.cache)?;
    let preparing = Preparing {
        suite,
        cases: &job.cases,
        sources: &sources,
        engines: Arc::clone(&ground.engines),
        cpus: ground.cores.all(),
        events: &around.events,
    };
    let one = async |side: Side, made: &Result<Artifact, Failure>| -> Result<_> {
        let Ok(artifact) = made else { return Ok(None) };
        let sysroot = artifact.folder.join("files");
        let site = Site {
            side,
            root: Arc::clone(&ground.roots[&side]),
            sysroot: (!artifact.files.is_empty()).then_some(sysroot.as_path()),
            folder: scratch.folder(&format!("prepared-{}", side.name()))?,
        };
        Ok(match preparing.side(site).await {
            Ok(ready) => Some((side, Ok(ready))),
            // A compiler that does not even start: the other is measured alone.
            Err(error) if error.kind == Kind::Case => Some((side, Err(error.message))),
            Err(error) => return Err(error),
        })
    };
    let both = sides.iter().map(|(side, made)| one(*side, made));
    let both = clock.time("prepare", futures::future::try_join_all(both)).await?;
    let (mut ready, mut failures) = (BTreeMap::new(), Vec::<Failure>::new());
    for (side, made) in both.into_iter().flatten() {
        match made {
            Ok(made) => {
                // What is wrong with a crate itself both sides tell.
                for failure in &made.failures {
                    if !failures.contains(failure) {
                        failures.push(failure.clone());
                    }
                }
                ready.insert(side, made);
            }
            Err(reason) => failures.push(Failure {
                benchmark: None,
                config: None,
                side: Some(side),
                step: "prepare".into(),
                reason,
                log_tail: String::new(),
            }),
        }
    }
    Ok(Some(Crates { sources, ready, failures, _scratch: scratch }))
}

async fn measure(
    ground: &Ground,
    job: &Job,
    (inputs, sides): (&Inputs, &Sides),
    crates: Option<Crates>,
    around: &Surroundings,
) -> Result<Measured> {
    let inputs = match inputs {
        Some(Err(_)) => return Ok(Measured::default()),
        Some(Ok(inputs)) => Some(inputs.clone()),
        None => None,
    };
    let Crates { sources, mut ready, failures, _scratch } = match crates {
        Some(crates) => crates,
        None if ground
            .suite
            .suite
            .benchmarks
            .iter()
            .all(|b| matches!(b.work, Workload::Program(_))) =>
        {
            return measure_all(ground, job, sides, inputs, None, BTreeMap::new(), around).await;
        }
        None => return Ok(Measured::default()),
    };
    let mut told = Measured { failures, ..Measured::default() };
    for (side, ready) in &ready {
        told.versions.insert(*side, ready.compiler.version.clone());
        for (why, cases) in &ready.cannot {
            let side = side.name();
            told.notices.push(format!("not measured: {} case(s), {why} ({side})", cases.len()));
        }
    }
    let several = |case: &Case| work::threads(&case.config).is_some_and(|n| n > 1);
    if job.cases.iter().any(several) {
        let ignoring = ready.iter().filter(|(_, ready)| !ready.compiler.obeys_threads());
        for (side, ready) in ignoring {
            told.ignores_threads.push(*side);
            let (eight, one) = ready.compiler.threads_seen;
            told.notices.push(format!(
                "{} ({}) takes -Zthreads and ignores it: it had {eight} threads under 8 and {one} under 1; \
                 its times with several threads are those of one",
                ready.compiler.version,
                side.name()
            ));
        }
    }
    if ready.is_empty() {
        return Ok(told);
    }
    let ready = std::mem::take(&mut ready);
    let measured = measure_all(ground, job, sides, inputs, Some(&sources), ready, around).await?;
    Ok(Measured {
        failures: told.failures.into_iter().chain(measured.failures).collect(),
        notices: told.notices.into_iter().chain(measured.notices).collect(),
        versions: told.versions,
        ignores_threads: told.ignores_threads,
        ..measured
    })
}

async fn measure_all(
    ground: &Ground,
    job: &Job,
    sides: &Sides,
    inputs: Option<Artifact>,
    sources: Option<&Sources>,
    ready: BTreeMap<Side, Ready>,
    around: &Surroundings,
) -> Result<Measured> {
    let Some(bench) = bench(ground, job, sides, inputs, sources, ready, around) else {
        return Ok(Measured::default());
    };
    held_still(ground, around, async |quiet| bench.measure(quiet).await).await
}

/// Measures while the host is held still and dyno itself keeps to the housekeeping cores.
async fn held_still<T>(
    ground: &Ground,
    around: &Surroundings,
    measure: impl AsyncFnOnce(&mut QuietHost) -> Result<T>,
) -> Result<T> {
    let mut quiet = QuietHost::prove(&ground.host, &ground.cores, &around.events).await?;
    fault::at("measure.keep-to", || keep_to(&ground.cores.housekeeping));
    let measured = measure(&mut quiet).await;
    keep_to(&ground.cores.all());
    measured
}

/// What is to be measured, of the sides that are there; `None` where none is.
fn bench<'a>(
    ground: &'a Ground,
    job: &'a Job,
    sides: &Sides,
    inputs: Option<Artifact>,
    sources: Option<&'a Sources>,
    mut ready: BTreeMap<Side, Ready>,
    around: &Surroundings,
) -> Option<Bench<'a>> {
    let subject = |(side, made): (&Side, &Result<Artifact, Failure>)| {
        let ready = ready.remove(side);
        let able = sources.is_none() || ready.is_some();
        let artifact = made.as_ref().ok().filter(|_| able)?.clone();
        Some((*side, Subject { root: Arc::clone(&ground.roots[side]), artifact, ready }))
    };
    let subjects: BTreeMap<Side, Subject> = sides.iter().filter_map(subject).collect();
    (!subjects.is_empty()).then(|| Bench {
        suite: &ground.suite.suite,
        suite_folder: &ground.suite.folder,
        job,
        subjects,
        sources,
        inputs,
        engines: Arc::clone(&ground.engines),
        memory_bytes: ground.host.memory_bytes,
        fixed_layout: !ground.host.aslr,
        benchmark_cores: ground.cores.benchmark.clone(),
        all_cores: ground.cores.all(),
        events: around.events.clone(),
    })
}

/// What dyno reads of the baseline's processes, beside what other tools say of them.
///
/// # Errors
/// Anything that does not build or work: there is nothing to compare then.
pub async fn parity(request: &Request, around: &Surroundings) -> Result<Parity> {
    let mut clock = PhaseClock::new();
    let ground = prepare(request, around, &mut clock).await?;
    let job = ground.plan.jobs.first().expect("it is asked for again, so that none is held");
    let (inputs, mut sides) = build(&ground, job, around, &mut clock).await?;
    sides.remove(&Side::Candidate);
    let inputs = inputs.transpose();
    let wrong = |f: &Failure| {
        let what = f.benchmark.as_deref().unwrap_or("the commit");
        Error::new(Kind::Case, format!("{what} failed ({}): {}", f.reason, f.log_tail.trim()))
    };
    let inputs = inputs.map_err(|failure| wrong(&failure))?;
    if let Some(Err(failure)) = sides.values().next() {
        return Err(wrong(failure));
    }
    let crates = prepare_crates(&ground, job, &sides, around, &mut clock).await?;
    if let Some(failure) = crates.iter().flat_map(|crates| &crates.failures).next() {
        return Err(wrong(failure));
    }
    let (sources, ready, _scratch) = match crates {
        Some(Crates { sources, ready, _scratch, .. }) => (Some(sources), ready, Some(_scratch)),
        None => (None, BTreeMap::new(), None),
    };
    let bench = bench(&ground, job, &sides, inputs, sources.as_ref(), ready, around)
        .expect("the baseline works");
    let scratch = Scratch::new(&around.cache)?;
    held_still(&ground, around, async |quiet| bench.parity(quiet, &scratch).await).await
}

fn record(
    ground: &Ground,
    job: &Job,
    (sides, inputs): (Sides, Inputs),
    measured: Measured,
    mut kept: Kept,
    started_us: i64,
    clock: PhaseClock,
) -> Record {
    let suite = &ground.suite.suite;
    let mut failures: Vec<Failure> =
        sides.values().filter_map(|s| s.as_ref().err().cloned()).collect();
    failures.extend(inputs.and_then(Result::err));
    failures.extend(measured.failures.iter().cloned());
    let mut built = |side: Side| {
        let resolved = &ground.asked[&side];
        let artifact = sides[&side].as_ref().ok();
        Built {
            asked: resolved.asked.clone(),
            commit: resolved.commit.clone(),
            artifact: artifact.map(|a| a.digest.clone()),
            files: artifact.map(|a| a.files.clone()).unwrap_or_default(),
            build_s: artifact.and_then(|a| a.build_s),
            image: kept.images.remove(&side),
            version: measured.versions.get(&side).cloned(),
        }
    };
    let (baseline, candidate) = (built(Side::Baseline), built(Side::Candidate));
    let mut notices = ground.cores.notices.clone();
    for (why, cases) in &ground.left_out {
        notices.push(format!("left out: {cases} case(s), {why}"));
    }
    notices.extend(measured.notices.iter().cloned());
    if !job.inputs.trust.is_trusted() {
        notices.push("the candidate is untrusted: it was built and measured apart".into());
        if suite.build.as_ref().is_some_and(|recipe| recipe.fetch.is_some()) {
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
    let run = RunRow {
        job: job.id.clone(),
        dyno_version: env!("CARGO_PKG_VERSION").into(),
        suite: suite.name.clone(),
        suite_digest: ground.suite.digest.clone(),
        target: target(&suite.source).to_string(),
        image: images_in_words(&ground.images),
        image_id: both_ids(&ground.roots),
        host: ground.host.name.clone(),
        fingerprint: ground.found.clone(),
        baseline,
        candidate,
        built_from: kept.from,
        trust: job.inputs.trust,
        ignores_threads: measured.ignores_threads,
        metrics: job.inputs.metrics.clone(),
        rounds: measured.rounds,
        budget: Some(job.inputs.budget),
        seed: job.seed,
        outcome: if failures.is_empty() { Outcome::Done } else { Outcome::FailedCase },
        failures,
        notices: notices.into_iter().map(Notice::from).collect(),
        started_us,
        finished_us: Utc::now().timestamp_micros(),
        measured_share: measured.share,
        phases_s: clock.phases_s,
    };
    Record { run, samples: measured.samples, units: measured.units }
}

/// What a source is called in a sentence.
fn target(source: &Source) -> &str {
    match source {
        Source::Crate(name) => name,
        Source::Compiler(None) => "rustc",
        Source::Git(location) | Source::Compiler(Some(location)) => {
            let name = location.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or(location);
            name.strip_suffix(".git").unwrap_or(name)
        }
    }
}

/// The image, or both where each side has its own.
fn images_in_words(images: &BTreeMap<Side, (PathBuf, String)>) -> String {
    let [(_, baseline), (_, candidate)] = Side::BOTH.map(|side| &images[&side]);
    if baseline == candidate { baseline.clone() } else { format!("{baseline}, {candidate}") }
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
