//! Both sides and the suite's inputs, built beside each other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use dyno_base::error::{Error, Result};
use dyno_base::event::Stage;
use dyno_build::artifact::Artifact;
use dyno_build::builder::{BuildRequest, Builder};
use dyno_build::catalog::LoadedSuite;
use dyno_build::source::{Origin, Resolved};
use dyno_engine::Root;
use dyno_model::plan::Job;
use dyno_model::record::{Failure, Side, Trust};
use dyno_model::step::Step;

use crate::clock::PhaseClock;
use crate::context::Context;
use crate::plan::PreparedJob;

/// What was made of the suite's own folder, if anything is to be made of it.
pub type Inputs = Option<Result<Artifact, Failure>>;

/// Each side built or failed.
pub type Sides = BTreeMap<Side, Result<Artifact, Failure>>;

/// Builds the inputs and both sides at once: a build that links on one core leaves the others
/// something to do.
pub async fn build_all(
    builder: &Builder,
    loaded: &LoadedSuite,
    roots: &BTreeMap<Side, Arc<dyn Root>>,
    resolved: &BTreeMap<Side, Resolved>,
    trust: Trust,
) -> Result<(Inputs, Sides)> {
    let suite = &loaded.suite;
    let build_inputs = async {
        let Some(recipe) = &suite.inputs else { return Ok(None) };
        let request = BuildRequest {
            what: format!("inputs of {}", suite.name),
            source: loaded.digest.to_string(),
            commit: None,
            folder: None,
            recipe,
            root: Arc::clone(&roots[&Side::Baseline]),
            trust: Trust::Trusted,
        };
        let lay_out = async |into: &Path| loaded.definition.write(into).map(|()| None);
        let built = builder.build_or_load(&request, lay_out).await?;
        Ok::<_, Error>(Some(built.map_err(|failure| Failure { step: Step::Inputs, ..failure })))
    };
    let build_side = async |side: Side| -> Result<Result<Artifact, Failure>> {
        let resolved = &resolved[&side];
        match &resolved.origin {
            Origin::Repository(_) => {}
            Origin::Imported(artifact) => return Ok(Ok(artifact.clone())),
            Origin::Image(_) => return Ok(Ok(Artifact::of_image(roots[&side].id()))),
        }
        let recipe = suite.build.as_ref().ok_or_else(|| {
            Error::input(format!(
                "the suite {} has no [build]: {} is a commit",
                suite.name, resolved.asked
            ))
            .hint("add a recipe, or ask for an image, a sysroot or an archive")
        })?;
        let request = BuildRequest {
            what: format!("{} {}", suite.source.target_name(), resolved.asked),
            source: resolved.commit.hex().to_string(),
            commit: Some(resolved.commit.clone()),
            folder: recipe.folder.as_ref().map(|folder| loaded.visible().part(folder)),
            recipe,
            root: Arc::clone(&roots[&side]),
            trust: match side {
                Side::Baseline => Trust::Trusted,
                Side::Candidate => trust,
            },
        };
        let lay_out = async |into: &Path| resolved.check_out(into, recipe, &builder.events).await;
        let built = builder.build_or_load(&request, lay_out).await?;
        Ok(built.map_err(|failure| Failure { side: Some(side), ..failure }))
    };
    let (inputs, baseline, candidate) =
        futures::try_join!(build_inputs, build_side(Side::Baseline), build_side(Side::Candidate))?;
    Ok((inputs, Sides::from([(Side::Baseline, baseline), (Side::Candidate, candidate)])))
}

pub async fn build(
    prepared: &PreparedJob,
    job: &Job,
    ctx: &Context,
    clock: &mut PhaseClock,
) -> Result<(Inputs, Sides)> {
    let builder = Builder::new(
        Arc::clone(&prepared.engines),
        ctx.cache.clone(),
        prepared.cores.all_cores(),
        ctx.events.clone(),
    );
    let build_s = prepared.suite.suite.build.as_ref().and_then(|recipe| recipe.typical_ms);
    let build_s = build_s.map(|ms| ms.div_ceil(1000)).map(|seconds| (seconds, 2 * seconds));
    ctx.events.stage(Stage::Build, build_s);
    let started = Instant::now();
    let (suite, roots, resolved) = (&prepared.suite, &prepared.roots, &prepared.resolved);
    let (inputs, sides) = build_all(&builder, suite, roots, resolved, job.inputs.trust).await?;
    let fetch_s = builder.fetched_s();
    clock.add("fetch", fetch_s);
    clock.add("build", (started.elapsed().as_secs_f64() - fetch_s).max(0.0));
    for notice in left_out(&sides) {
        ctx.events.notice(notice);
    }
    for (side, built) in &sides {
        let Err(failure) = built else { continue };
        let other = side.other().name();
        let rest = match sides[&side.other()].is_ok() {
            true => format!(
                "; there is nothing to compare it with, so the {other} is not measured: its build is \
                 kept for the next comparison"
            ),
            false => String::new(),
        };
        ctx.events.notice(format!("the {} does not build: {}{rest}", side.name(), failure.reason));
    }
    Ok((inputs, sides))
}

/// Whether both sides were built.
pub fn are_built(sides: &Sides) -> bool {
    sides.values().all(Result::is_ok)
}

/// What the check-outs of the sides that were built left out, once where both did.
pub fn left_out(sides: &Sides) -> Vec<String> {
    let of = |side: &Side| sides[side].as_ref().ok()?.left_out.clone();
    let [baseline, candidate] = [Side::Baseline, Side::Candidate].map(|side| of(&side));
    let named = |side: Side, text: String| format!("the {}: {text}", side.name());
    if baseline == candidate {
        return baseline.map(|text| format!("both sides: {text}")).into_iter().collect();
    }
    let each = [
        baseline.map(|text| named(Side::Baseline, text)),
        candidate.map(|text| named(Side::Candidate, text)),
    ];
    each.into_iter().flatten().collect()
}
