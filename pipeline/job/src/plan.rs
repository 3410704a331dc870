//! The way from a request to a job: everything the plan stands on, found before anything is built.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dyno_base::error::{Error, Result};
use dyno_base::fault;
use dyno_base::scratch::sweep_scratch;
use dyno_build::catalog::LoadedSuite;
use dyno_build::source::Resolved;
use dyno_engine::{Engines, Root};
use dyno_host::{CoreAssignment, assign, exclusive, fingerprint};
use dyno_model::catalog::host::Host;
use dyno_model::catalog::suite::{Case, Selected};
use dyno_model::id::Digest;
use dyno_model::metric::{self, CACHEGRIND, Metric};
use dyno_model::plan::{JobInputs, Plan, plan, steering};
use dyno_model::record::{Fingerprint, Side};

use crate::clock::PhaseClock;
use crate::context::{Cleanup, Context, JobRequest, store_error};
use crate::resolve::{ResolvedSides, combined_image_id, resolve_sides, zip_errors};
use crate::spool::Spool;

/// Everything the plan stands on, found before anything is built.
pub struct PreparedJob {
    pub suite: LoadedSuite,
    /// The folder and name of the image of each side.
    pub images: BTreeMap<Side, (PathBuf, String)>,
    pub host: Host,
    pub cores: CoreAssignment,
    /// The machine as the job's id knows it.
    pub fingerprint: Fingerprint,
    pub engines: Arc<Engines>,
    pub roots: BTreeMap<Side, Arc<dyn Root>>,
    pub resolved: BTreeMap<Side, Resolved>,
    /// Why cases of the suite are not in the plan → how many.
    pub left_out: BTreeMap<String, usize>,
    pub plan: Plan,
}

/// The metrics of a suite that are measured for `request`.
fn select_metrics(metrics: &[String], request: &JobRequest, is_emulated: bool) -> Vec<String> {
    let is_selected = |name: &&String| {
        (request.counting || !metric::is_deterministic(name))
            && (request.cachegrind || *name != CACHEGRIND)
            && (!is_emulated || metric::find(name).is_some_and(Metric::holds_under_emulation))
    };
    metrics.iter().filter(is_selected).cloned().collect()
}

/// Resolves what `request` asks for and says what would be done, with the engines, images and
/// commits that the job needs; nothing is built or measured yet.
pub async fn plan_job(
    request: &JobRequest,
    ctx: &Context,
    clock: &mut PhaseClock,
) -> Result<PreparedJob> {
    plan_job_of(ctx.catalog.suite(&request.suite), request, ctx, clock).await
}

/// The same as [`plan_job`], of a suite that was read already.
pub async fn plan_job_of(
    suite: Result<LoadedSuite>,
    request: &JobRequest,
    ctx: &Context,
    clock: &mut PhaseClock,
) -> Result<PreparedJob> {
    let (suite, host) = zip_errors(suite, ctx.catalog.host(&request.host))?;
    let cores = assign(&host)?;
    // What is asked for wrongly is said before anything is fetched.
    let selected = suite.suite.select(&request.selection, cores.benchmark.len());
    let Selected { cases, left_out } = selected.map_err(|wrong| Error::input(wrong.join("; ")))?;
    let writable = ctx.store.check_writable();
    fault::around("store.probe", writable).await.map_err(store_error)?;
    sweep_scratch(&ctx.cache);
    Spool::new(&ctx.cache, &ctx.store).publish_leftovers(&ctx.events).await?;
    let engines = Engines::open(&host, &ctx.cache, &ctx.program, &ctx.scope).await?;
    let (cache, scope) = (ctx.cache.clone(), ctx.scope.clone());
    let _ = ctx.cleanup.set(Cleanup { engines: Arc::clone(&engines), cache, scope });
    let swept = engines.sweep().await?;
    fault::at("sweep.cores", || exclusive::sweep(&ctx.scope));
    for container in swept {
        ctx.events.notice(format!("removed the container {container} of a dyno that is gone"));
    }
    let ResolvedSides { images, roots, resolved } =
        resolve_sides(&suite, cores.architecture(), request, ctx, clock).await?;
    let fingerprint = fingerprint(&host, &engines.name(), &cores);
    let metrics = select_metrics(&suite.suite.metrics, request, cores.emulator.is_some());
    let is_all = request.selection.is_all();
    let names: Vec<String> = cases.iter().map(ToString::to_string).collect();
    let metrics_of = |case: &Case| suite.suite.metrics_of(case, &metrics);
    let (targets, steered) = steering(&cases, &host.name, metrics_of, &request.policy);
    let mut inputs = JobInputs {
        suite_digest: suite.digest.clone(),
        image_id: combined_image_id(&roots),
        baseline: resolved[&Side::Baseline].commit.clone(),
        candidate: resolved[&Side::Candidate].commit.clone(),
        trust: request.trust,
        host: host.name.clone(),
        fingerprint: fingerprint.digest(),
        metrics,
        budget: request.budget,
        targets: steered,
        cases: (!is_all).then(|| Digest::of_parts(&names)),
        repetition: 0,
    };
    let is_stored = loop {
        let is_stored = ctx.store.has_run(&inputs.id()).await.map_err(store_error)?;
        if !(is_stored && request.again) {
            break is_stored;
        }
        inputs.repetition += 1;
    };
    let plan = plan(cases, inputs, targets, request.policy.confidence, &|_| is_stored);
    Ok(PreparedJob {
        suite,
        images,
        host,
        cores,
        fingerprint,
        engines,
        roots,
        resolved,
        left_out,
        plan,
    })
}
