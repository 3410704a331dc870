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
use dyno_toolchain::prepare::{Preparing, Ready, Site};
use dyno_toolchain::sources::{self, Sources};

use crate::build::Sides;
use crate::clock::PhaseClock;
use crate::context::Context;
use crate::plan::PreparedJob;

/// The crates of a suite, and each side prepared to compile them.
pub struct Crates {
    pub sources: Sources,
    pub ready: BTreeMap<Side, Ready>,
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
) -> Result<Option<Crates>> {
    let suite = &prepared.suite.suite;
    let is_program = |case: &Case| {
        suite.benchmark(&case.benchmark).is_none_or(|b| matches!(b.work, Workload::Program(_)))
    };
    if job.cases.iter().all(is_program) || sides.values().all(Result::is_err) {
        return Ok(None);
    }
    let wanted = job.cases.iter().map(|case| case.benchmark.clone()).collect();
    let bringing = sources::bring(&prepared.suite, &wanted, &ctx.cache, &ctx.events);
    let sources = clock.time("source", bringing).await?;
    let scratch = Scratch::new(&ctx.cache)?;
    let preparing = Preparing {
        suite,
        cases: &job.cases,
        sources: &sources,
        engines: Arc::clone(&prepared.engines),
        cpus: prepared.cores.all(),
        events: &ctx.events,
    };
    let one = async |side: Side, made: &Result<Artifact, Failure>| -> Result<_> {
        let Ok(artifact) = made else { return Ok(None) };
        let sysroot = artifact.folder.join("files");
        let site = Site {
            side,
            root: Arc::clone(&prepared.roots[&side]),
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
                step: Step::Prepare,
                reason,
                log_tail: String::new(),
            }),
        }
    }
    Ok(Some(Crates { sources, ready, failures, _scratch: scratch }))
}
