//! The record of an attempt, and what it can be made again from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::Utc;
use dyno_base::error::Result;
use dyno_measure::Measured;
use dyno_model::notice::Notice;
use dyno_model::plan::Job;
use dyno_model::record::{
    Built, BuiltFrom, Failure, Files, Outcome, OwnImage, Record, RunRow, Side,
};

use dyno_model::text::plural;

use crate::build::{Inputs, Sides, left_out};
use crate::clock::PhaseClock;
use crate::context::Context;
use crate::definitions;
use crate::plan::PreparedJob;
use crate::resolve::combined_image_id;

/// What a run can be made again from, as far as the store keeps it.
#[derive(Clone)]
pub struct Provenance {
    pub built_from: Option<BuiltFrom>,
    /// Images of sides that have an image of their own.
    pub images: BTreeMap<Side, OwnImage>,
}

pub async fn store_definitions(
    prepared: &PreparedJob,
    inputs: Option<Files>,
    ctx: &Context,
) -> Result<Provenance> {
    let (store, events) = (&ctx.store, &ctx.events);
    let (suite, (folder, _)) = (&prepared.suite, &prepared.images[&Side::Baseline]);
    let built_from = definitions::store_definition(suite, folder, inputs, store, events).await?;
    let mut images = BTreeMap::new();
    if prepared.roots[&Side::Baseline].id() != prepared.roots[&Side::Candidate].id() {
        for (side, (folder, name)) in &prepared.images {
            let digest = definitions::store_image_definition(folder, store, events).await?;
            let id = prepared.roots[side].id().clone();
            images.insert(*side, OwnImage { name: name.clone(), id, digest });
        }
    }
    Ok(Provenance { built_from, images })
}

pub fn record(
    prepared: &PreparedJob,
    job: &Job,
    (sides, inputs): (Sides, Inputs),
    measured: Measured,
    mut provenance: Provenance,
    started_us: i64,
    clock: PhaseClock,
) -> Record {
    let suite = &prepared.suite.suite;
    let mut failures: Vec<Failure> =
        sides.values().filter_map(|s| s.as_ref().err().cloned()).collect();
    failures.extend(inputs.and_then(Result::err));
    failures.extend(measured.failures.iter().cloned());
    let mut built_side = |side: Side| {
        let resolved = &prepared.resolved[&side];
        let artifact = sides[&side].as_ref().ok();
        Built {
            asked: resolved.asked.clone(),
            commit: resolved.commit.clone(),
            artifact: artifact.map(|a| a.digest.clone()),
            files: artifact.map(|a| a.files.clone()).unwrap_or_default(),
            build_s: artifact.and_then(|a| a.build_s),
            image: provenance.images.remove(&side),
            version: measured.versions.get(&side).cloned(),
        }
    };
    let (baseline, candidate) = (built_side(Side::Baseline), built_side(Side::Candidate));
    let mut notices = left_out(&sides);
    notices.extend(run_notices(prepared, job, &measured));
    let notices = notices.into_iter().map(Notice::from).collect();
    let run = RunRow {
        job: job.id.clone(),
        dyno_version: env!("CARGO_PKG_VERSION").into(),
        suite: suite.name.clone(),
        suite_digest: prepared.suite.digest.clone(),
        target: suite.source.target_name().to_string(),
        image: images_in_words(&prepared.images),
        image_id: combined_image_id(&prepared.roots),
        host: prepared.host.name.clone(),
        fingerprint: prepared.fingerprint.clone(),
        baseline,
        candidate,
        built_from: provenance.built_from,
        trust: job.inputs.trust,
        ignores_threads: measured.ignores_threads,
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
        queue: None,
        row_digests: BTreeMap::new(),
    };
    Record { run, samples: measured.samples, units: measured.units }
}

/// Name of the image, or both names where each side has its own.
pub fn images_in_words(images: &BTreeMap<Side, (PathBuf, String)>) -> String {
    let [(_, baseline), (_, candidate)] = Side::BOTH.map(|side| &images[&side]);
    if baseline == candidate { baseline.clone() } else { format!("{baseline}, {candidate}") }
}

/// Notices for readers of the results, of how they came about.
fn run_notices(prepared: &PreparedJob, job: &Job, measured: &Measured) -> Vec<String> {
    let suite = &prepared.suite.suite;
    let mut notices = prepared.cores.notices.clone();
    for (why, cases) in &prepared.left_out {
        notices.push(format!("left out: {}, {why}", plural(*cases, "case")));
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
    if prepared.fingerprint.fixed_layout {
        notices.push(
            "address layout was the same in every process (aslr = false, or off on this machine): \
             a small difference may be that of one lucky layout"
                .into(),
        );
    }
    if prepared.fingerprint.virtualised {
        notices.push(
            "the host is a virtual machine: its times depend on neighbours it cannot see".into(),
        );
    }
    notices
}
