//! The main job as a story: plan, build, prepare, measure, record, publish.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use chrono::Utc;
use dyno_base::error::{Error, Kind, Result};
use dyno_base::event::{Phase, Stage};
use dyno_base::fault;
use dyno_base::scratch::Scratch;
use dyno_build::artifact::Artifact;
use dyno_build::catalog::LoadedSuite;
use dyno_host::pin_threads_to;
use dyno_host::quiet::QuietHost;
use dyno_measure::{Bench, CountingFactors, Measured, Parity, Rounds, Subject, Trial};
use dyno_model::catalog::suite::{Case, Workload};
use dyno_model::id::JobId;
use dyno_model::plan::{Job, usual_counting_factors};
use dyno_model::record::{Failure, Record, Side, phase};
use dyno_model::text::plural;
use dyno_store::PublishOutcome;
use dyno_toolchain::prepare::PreparedToolchain;
use dyno_toolchain::sources::Sources;

use crate::build::{Inputs, Sides, are_built, build};
use crate::clock::PhaseClock;
use crate::context::{Context, Estimate, JobRequest};
use crate::crates::{PreparedCrates, prepare_crates};
use crate::plan::{PreparedJob, plan_job, plan_job_of};
use crate::plan_text::{self, history_of};
use crate::record::{record, store_definitions};
use crate::spool::Spool;

/// The notice of a record without what was to be counted after its rounds.
const COUNTING_INTERRUPTED: &str = "instructions were not counted: dyno was ended while it counted \
    them; the same command with --again measures and counts";

/// What is said where the rounds of an interrupted dyno are there.
const ROUNDS_TAKEN_UP: &str = "the rounds were measured before dyno was interrupted: they are taken \
    up, and only counting is left";

/// What became of a request.
pub struct JobOutcome {
    pub job: JobId,
    pub suite: String,
    /// False if the store held the job already.
    pub measured: bool,
    /// Bytes that publishing wrote.
    pub bytes: u64,
    pub samples: usize,
}

/// Carries out a request.
pub async fn run(request: &JobRequest, ctx: &Context) -> Result<JobOutcome> {
    let mut clock = PhaseClock::new();
    let started_us = Utc::now().timestamp_micros();
    let prepared = plan_job(request, ctx, &mut clock).await?;
    let Some(job) = prepared.plan.jobs.first() else {
        let job = prepared.plan.held[0].clone();
        ctx.events.notice(format!("job {job} is in the store already; --again measures it again"));
        let suite = prepared.suite.suite.name.clone();
        return Ok(JobOutcome { job, suite, measured: false, bytes: 0, samples: 0 });
    };
    let ctx = &ctx.for_job(&job.id);
    let history = history_of(&prepared, job, request, ctx).await;
    ctx.events.end(Phase::Plan, plan_text::sentence(&prepared, job, &history));
    let mut job = job.clone();
    let past_states = history.past_states.into_iter().flatten();
    for (target, past_states) in job.targets.iter_mut().flatten().zip(past_states) {
        target.past_states = past_states;
    }
    let job = &job;
    let spool = Spool::new(&ctx.cache, &ctx.store);
    let taken = spool.take_rounds(&job.id, &ctx.events).await?;
    if taken.is_some() {
        ctx.events.notice(ROUNDS_TAKEN_UP);
    }
    let (inputs, built) = build(&prepared, job, ctx, &mut clock).await?;
    // Before anything is measured: a store that cannot take it is found out while nothing is lost.
    let files = inputs.as_ref().and_then(|inputs| Some(inputs.as_ref().ok()?.files.clone()));
    let storing = store_definitions(&prepared, files, ctx);
    let provenance = fault::around("definition.keep", storing).await?;
    let crates = match are_built(&built) {
        true => prepare_crates(&prepared, job, &built, ctx, &mut clock).await?,
        false => None,
    };
    let counting_factors = begin_rounds(&prepared, history.estimate.as_ref(), ctx);
    let kept = Mutex::new(None);
    let keep = |measured: Measured| {
        let (sides, provenance, mut clock) =
            ((built.clone(), inputs.clone()), provenance.clone(), clock.clone());
        clock.add(phase::MEASURE, measured.rounds_s);
        let rounds = measured.clone();
        let mut record = record(&prepared, job, sides, measured, provenance, started_us, clock);
        record.run.queue.clone_from(&request.queue);
        record.run.notices.push(COUNTING_INTERRUPTED.to_string().into());
        match spool.keep_rounds(&record, rounds) {
            Ok(file) => *kept.lock().expect("no panic while held") = Some(file),
            Err(error) => ctx.events.notice(format!("the rounds cannot be kept: {error}")),
        }
    };
    let rounds = taken.as_ref().map(|taken| taken.measured.clone());
    let rounds = Rounds { taken: rounds, keep: &keep, counting_factors };
    let measured = measure(&prepared, job, (&inputs, &built), crates, rounds, ctx).await?;
    ctx.events.stage(Stage::Answer, None);
    clock.add(phase::MEASURE, measured.rounds_s);
    clock.add(phase::COUNT, measured.counting_s);
    let mut record =
        record(&prepared, job, (built, inputs), measured, provenance, started_us, clock);
    record.run.queue.clone_from(&request.queue);
    let bytes = publish(&spool, &record, ctx).await?;
    drop(kept);
    taken.iter().try_for_each(|taken| spool.remove_rounds(taken))?;
    let samples = record.samples.len();
    ctx.events.end(Phase::Publish, format!("{samples} samples, {bytes} bytes"));
    let (job, suite) = (job.id.clone(), record.run.suite);
    Ok(JobOutcome { job, suite, measured: true, bytes, samples })
}

/// Says how long the rounds take; returns how long counting does.
fn begin_rounds(
    prepared: &PreparedJob,
    estimate: Option<&Estimate>,
    ctx: &Context,
) -> CountingFactors {
    let rounds_s = estimate.map(Estimate::rounds_s);
    let rounds_s = rounds_s.map(|(least, most)| (least.ceil() as u64, most.ceil() as u64));
    ctx.events.stage(Stage::Rounds, rounds_s);
    match estimate {
        Some(estimate) => estimate.counting_factors,
        None => usual_counting_factors(prepared.cores.all_cores().len()),
    }
}

/// Publishes the record; returns how many bytes that wrote.
async fn publish(spool: &Spool<'_>, record: &Record, ctx: &Context) -> Result<u64> {
    Ok(match spool.publish(record, &ctx.events).await? {
        PublishOutcome::Written { bytes, .. } => bytes,
        PublishOutcome::AlreadyPublished => 0,
        PublishOutcome::Superseded => {
            let job = &record.run.job;
            ctx.events.notice(format!(
                "job {job} counts by another attempt, or was cancelled: this one is left out"
            ));
            0
        }
    })
}

/// Measures what was built. Where a side is missing nothing can be said of the other, and so none of
/// it is measured.
async fn measure(
    prepared: &PreparedJob,
    job: &Job,
    (inputs, sides): (&Inputs, &Sides),
    crates: Option<PreparedCrates>,
    rounds: Rounds<'_>,
    ctx: &Context,
) -> Result<Measured> {
    if !are_built(sides) {
        return Ok(Measured::default());
    }
    let inputs = match inputs {
        Some(Err(_)) => return Ok(Measured::default()),
        Some(Ok(inputs)) => Some(inputs.clone()),
        None => None,
    };
    let PreparedCrates { sources, mut toolchains, failures, _scratch } = match crates {
        Some(crates) => crates,
        None if prepared
            .suite
            .suite
            .benchmarks
            .iter()
            .all(|b| matches!(b.work, Workload::Program(_))) =>
        {
            let parts = (inputs, None, BTreeMap::new());
            return measure_all(prepared, job, sides, parts, rounds, ctx).await;
        }
        None => return Ok(Measured::default()),
    };
    let mut preliminary = Measured { failures, ..Measured::default() };
    for (side, toolchain) in &toolchains {
        preliminary.versions.insert(*side, toolchain.compiler.version.clone());
        for (why, cases) in &toolchain.unsupported {
            let side = side.name();
            preliminary
                .notices
                .push(format!("not measured: {}, {why} ({side})", plural(cases.len(), "case")));
        }
    }
    let is_multithreaded = |case: &Case| case.compiler_config().threads.is_some_and(|n| n > 1);
    if job.cases.iter().any(is_multithreaded) {
        let ignoring =
            toolchains.iter().filter(|(_, toolchain)| !toolchain.compiler.obeys_threads());
        for (side, toolchain) in ignoring {
            preliminary.ignores_threads.push(*side);
            let (with_eight, with_one) = toolchain.compiler.threads_seen;
            preliminary.notices.push(format!(
                "{} ({}) takes -Zthreads and ignores it: it had {with_eight} threads under 8 and {with_one} under 1; \
                 its times with several threads are those of one",
                toolchain.compiler.version,
                side.name()
            ));
        }
    }
    if toolchains.len() < Side::BOTH.len() {
        return Ok(preliminary);
    }
    let toolchains = std::mem::take(&mut toolchains);
    let parts = (inputs, Some(&sources), toolchains);
    let measured = measure_all(prepared, job, sides, parts, rounds, ctx).await?;
    Ok(with_preliminary(preliminary, measured))
}

/// What was measured, with what was known before.
fn with_preliminary(preliminary: Measured, measured: Measured) -> Measured {
    Measured {
        failures: preliminary.failures.into_iter().chain(measured.failures).collect(),
        notices: preliminary.notices.into_iter().chain(measured.notices).collect(),
        versions: preliminary.versions,
        ignores_threads: preliminary.ignores_threads,
        ..measured
    }
}

async fn measure_all(
    prepared: &PreparedJob,
    job: &Job,
    sides: &Sides,
    parts: Parts<'_>,
    rounds: Rounds<'_>,
    ctx: &Context,
) -> Result<Measured> {
    let scratch = Scratch::new(&ctx.cache)?;
    let visible = visible_folder(prepared, &scratch)?;
    let Some(bench) = assemble_bench(prepared, job, sides, parts, &visible, ctx) else {
        return Ok(Measured::default());
    };
    with_quiet_host(prepared, ctx, async |quiet| bench.measure(quiet, rounds).await).await
}

/// Measures while the host is held still and dyno itself keeps to the housekeeping cores.
async fn with_quiet_host<T>(
    prepared: &PreparedJob,
    ctx: &Context,
    measure: impl AsyncFnOnce(&mut QuietHost) -> Result<T>,
) -> Result<T> {
    let mut quiet =
        QuietHost::prove(&prepared.host, &prepared.cores, &ctx.scope, &ctx.events).await?;
    fault::at("measure.keep-to", || pin_threads_to(&prepared.cores.housekeeping));
    let measured = measure(&mut quiet).await;
    pin_threads_to(&prepared.cores.all_cores());
    measured
}

/// A copy of the suite's folder in `scratch`, without the answers that are expected.
fn visible_folder(prepared: &PreparedJob, scratch: &Scratch) -> Result<PathBuf> {
    let folder = scratch.folder("suite")?;
    prepared.suite.visible().write(&folder)?;
    Ok(folder)
}

/// What benchmarks run on, beside the artifacts: the suite's inputs, its crates, and what each
/// side's compiler prepared.
type Parts<'a> = (Option<Artifact>, Option<&'a Sources>, BTreeMap<Side, PreparedToolchain>);

/// What is to be measured, of the sides that are there; `None` where none is.
fn assemble_bench<'a>(
    prepared: &'a PreparedJob,
    job: &'a Job,
    sides: &Sides,
    (inputs, sources, mut toolchains): Parts<'a>,
    visible_folder: &'a Path,
    ctx: &Context,
) -> Option<Bench<'a>> {
    let subject = |(side, made): (&Side, &Result<Artifact, Failure>)| {
        let toolchain = toolchains.remove(side);
        let is_measurable = sources.is_none() || toolchain.is_some();
        let artifact = made.as_ref().ok().filter(|_| is_measurable)?.clone();
        Some((*side, Subject { root: Arc::clone(&prepared.roots[side]), artifact, toolchain }))
    };
    let subjects: BTreeMap<Side, Subject> = sides.iter().filter_map(subject).collect();
    (!subjects.is_empty()).then(|| Bench {
        loaded: &prepared.suite,
        visible_folder,
        job,
        subjects,
        sources,
        inputs,
        engines: Arc::clone(&prepared.engines),
        memory_bytes: prepared.host.memory_bytes,
        fixed_layout: !prepared.host.aslr,
        benchmark_cores: prepared.cores.benchmark.clone(),
        all_cores: prepared.cores.all_cores(),
        events: ctx.events.clone(),
    })
}

/// What dyno reads of the baseline's processes, beside what other tools say of them.
///
/// # Errors
/// Anything that does not build or work: there is nothing to compare then.
pub async fn parity(request: &JobRequest, ctx: &Context) -> Result<Parity> {
    let suite = ctx.catalog.suite(&request.suite);
    let work = async |bench: &Bench<'_>, quiet: &mut QuietHost, scratch: &Scratch| {
        bench.parity(quiet, scratch).await
    };
    with_baseline(suite, request, ctx, work).await
}

/// What a few processes of every case of the baseline come to.
///
/// # Errors
/// A commit that does not build.
pub async fn try_suite(
    suite: LoadedSuite,
    request: &JobRequest,
    times: u32,
    ctx: &Context,
) -> Result<Vec<Trial>> {
    let work = async |bench: &Bench<'_>, quiet: &mut QuietHost, _: &Scratch| {
        bench.try_cases(quiet, times).await
    };
    with_baseline(Ok(suite), request, ctx, work).await
}

/// Builds the baseline and does `work` with it alone.
async fn with_baseline<T>(
    suite: Result<LoadedSuite>,
    request: &JobRequest,
    ctx: &Context,
    work: impl AsyncFnOnce(&Bench<'_>, &mut QuietHost, &Scratch) -> Result<T>,
) -> Result<T> {
    let mut clock = PhaseClock::new();
    let prepared = plan_job_of(suite, request, ctx, &mut clock).await?;
    let job = prepared.plan.jobs.first().expect("it is asked for again, so that none is held");
    let (inputs, mut sides) = build(&prepared, job, ctx, &mut clock).await?;
    sides.remove(&Side::Candidate);
    let inputs = inputs.transpose();
    let case_error = |f: &Failure| {
        let what = f.benchmark.as_deref().unwrap_or("the commit");
        Error::new(Kind::Case, format!("{what} failed ({}): {}", f.reason, f.log_tail.trim()))
    };
    let inputs = inputs.map_err(|failure| case_error(&failure))?;
    if let Some(Err(failure)) = sides.values().next() {
        return Err(case_error(failure));
    }
    let crates = prepare_crates(&prepared, job, &sides, ctx, &mut clock).await?;
    if let Some(failure) = crates.iter().flat_map(|crates| &crates.failures).next() {
        return Err(case_error(failure));
    }
    let (sources, toolchains, _scratch) = match crates {
        Some(PreparedCrates { sources, toolchains, _scratch, .. }) => {
            (Some(sources), toolchains, Some(_scratch))
        }
        None => (None, BTreeMap::new(), None),
    };
    let scratch = Scratch::new(&ctx.cache)?;
    let visible = visible_folder(&prepared, &scratch)?;
    let parts = (inputs, sources.as_ref(), toolchains);
    let bench =
        assemble_bench(&prepared, job, &sides, parts, &visible, ctx).expect("the baseline works");
    with_quiet_host(&prepared, ctx, async |quiet| work(&bench, quiet, &scratch).await).await
}
