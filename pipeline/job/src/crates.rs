//! The crates of a suite, and each side's compiler made ready for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use dyno_base::error::{Kind, Result};
use dyno_base::scratch::Scratch;
use dyno_build::artifact::Artifact;
use dyno_model::catalog::suite::{Case, Workload};
use dyno_model::plan::Job;
use dyno_model::record::{Failure, Side};
use dyno_model::step::Step;
use dyno_toolchain::prepare::{Preparation, PreparedToolchain, SideSpec};
use dyno_toolchain::sources::{self, Sources};

use crate::build::Sides;
use crate::clock::PhaseClock;
use crate::context::Context;
use crate::plan::PreparedJob;

/// The crates of a suite, and each side prepared to compile them.
pub struct PreparedCrates {
    pub sources: Sources,
    pub toolchains: BTreeMap<Side, PreparedToolchain>,
    pub failures: Vec<Failure>,
    /// Holds what the sides prepared, until everything is measured.
    pub _scratch: Scratch,
}

/// Brings the crates and has each side's compiler build what they depend on; `None` for suites
/// without crates, and where no side is left.
pub async fn prepare_crates(
    prepared: &PreparedJob,
    job: &Job,
    sides: &Sides,
    ctx: &Context,
    clock: &mut PhaseClock,
) -> Result<Option<PreparedCrates>> {
    let suite = &prepared.suite.suite;
    let is_program = |case: &Case| {
        suite.benchmark(&case.benchmark).is_none_or(|b| matches!(b.work, Workload::Program(_)))
    };
    if job.cases.iter().all(is_program) || sides.values().all(Result::is_err) {
        return Ok(None);
    }
    let wanted = job.cases.iter().map(|case| case.benchmark.clone()).collect();
    let vendoring = sources::vendor_crates(&prepared.suite, &wanted, &ctx.cache, &ctx.events);
    let sources = clock.time("source", vendoring).await?;
    let scratch = Scratch::new(&ctx.cache)?;
    let preparation = Preparation {
        suite,
        cases: &job.cases,
        sources: &sources,
        engines: Arc::clone(&prepared.engines),
        cpus: prepared.cores.all_cores(),
        events: &ctx.events,
    };
    let prepare_side = async |side: Side, made: &Result<Artifact, Failure>| -> Result<_> {
        let Ok(artifact) = made else { return Ok(None) };
        let sysroot = artifact.folder.join("files");
        let spec = SideSpec {
            side,
            root: Arc::clone(&prepared.roots[&side]),
            sysroot: (!artifact.files.is_empty()).then_some(sysroot.as_path()),
            folder: scratch.folder(&format!("prepared-{}", side.name()))?,
        };
        Ok(match preparation.prepare_side(spec).await {
            Ok(toolchain) => Some((side, Ok(toolchain))),
            // A compiler that does not even start is a failure of its side.
            Err(error) if error.kind == Kind::Case => Some((side, Err(error.message))),
            Err(error) => return Err(error),
        })
    };
    let preparing = sides.iter().map(|(side, made)| prepare_side(*side, made));
    let prepared_sides = clock.time("prepare", futures::future::try_join_all(preparing)).await?;
    let (mut toolchains, mut failures) = (BTreeMap::new(), Vec::<Failure>::new());
    for (side, made) in prepared_sides.into_iter().flatten() {
        match made {
            Ok(toolchain) => {
                // What is wrong with a crate itself both sides tell.
                for failure in &toolchain.failures {
                    if !failures.contains(failure) {
                        failures.push(failure.clone());
                    }
                }
                toolchains.insert(side, toolchain);
            }
            Err(reason) => failures.push(Failure {
                benchmark: None,
                config: None,
                side: Some(side),
                step: Step::Prepare,
                reason,
                log_tail: String::new(),
            }),
        }
    }
    Ok(Some(PreparedCrates { sources, toolchains, failures, _scratch: scratch }))
}
