//! What the queue has made of a request, class by class.

use std::collections::BTreeMap;

use dyno_model::id::QueueJobId;
use dyno_model::queue::{Ending, JobResult, QueueJob, class_word};
use dyno_queue::request::results;
use dyno_queue::status::{Status, status};
use dyno_queue::{Clock, Objects};

use super::{Bot, Hindrance};
use crate::ask::Measurement;
use crate::conversation::{Comparisons, Part, PartState};
use crate::github::Transport;

/// How long no host of a class may have been seen before that is said, in µs.
const SILENT_US: i64 = 15 * 60_000_000;

impl<T: Transport, C: Clock, O: Objects, A: Comparisons> Bot<'_, T, C, O, A> {
    /// The queue as it is.
    pub(super) async fn status(&self) -> Result<Status, Hindrance> {
        Ok(status(self.objects, self.clock).await?)
    }

    /// How far each class of hosts has come.
    pub(super) async fn parts(
        &self,
        measurement: &Measurement,
        status: &Status,
    ) -> Result<Vec<Part>, Hindrance> {
        let jobs = &measurement.request.jobs;
        let ids: Vec<QueueJobId> = jobs.iter().map(|job| job.id.clone()).collect();
        let ended = results(self.objects, self.clock, &ids).await?;
        let now_us = self.clock.wall_us();
        let mut classes: BTreeMap<&str, Vec<&QueueJob>> = BTreeMap::new();
        for job in jobs {
            classes.entry(class_word(&job.request.host)).or_default().push(job);
        }
        let parts = classes.into_iter().map(|(class, jobs)| Part {
            class: class.to_string(),
            state: state(&jobs, &ended, status, measurement, now_us),
        });
        Ok(parts.collect())
    }
}

/// What became of the jobs of one class.
fn state(
    jobs: &[&QueueJob],
    ended: &[JobResult],
    status: &Status,
    measurement: &Measurement,
    now_us: i64,
) -> PartState {
    let result_of = |job: &&&QueueJob| ended.iter().find(|result| result.job == job.id);
    let results: Vec<&JobResult> = jobs.iter().filter_map(|job| result_of(&job)).collect();
    if results.len() == jobs.len() {
        return end_state(&results, measurement);
    }
    let is_open = |id: &QueueJobId| jobs.iter().any(|job| job.id == *id);
    let open: Vec<_> = status.jobs.iter().filter(|job| is_open(&job.id)).collect();
    let held = open.iter().find_map(|job| {
        let claim = job.claim.as_ref()?;
        Some((claim.holder.as_ref()?, claim.since_us))
    });
    if let Some((holder, since_us)) = held {
        return PartState::Running { host: holder.host.clone(), since_us, expected_us: None };
    }
    let asked_us = measurement.request.asked_us;
    let class = &jobs[0].request.host;
    let is_seen = status
        .hosts
        .iter()
        .any(|host| host.offer.is_of(class) && now_us.saturating_sub(host.beat_us) < SILENT_US);
    let refusals: Vec<(String, String)> =
        open.first().map_or(Vec::new(), |job| job.refusals.clone());
    if !refusals.is_empty() || (!is_seen && now_us.saturating_sub(asked_us) > SILENT_US) {
        return PartState::Silent { since_us: asked_us, refusals };
    }
    let before = status.jobs.iter().take_while(|job| !is_open(&job.id));
    let place = before.filter(|job| job.class == class_word(class)).count();
    PartState::Queued { place, expected_us: None }
}

/// What became of jobs that have all ended.
fn end_state(results: &[&JobResult], measurement: &Measurement) -> PartState {
    let failed = results.iter().find_map(|result| match &result.ending {
        Ending::Failed { why } => Some(why.clone()),
        _ => None,
    });
    let cancelled = results.iter().find(|result| result.ending == Ending::Cancelled);
    match (failed, cancelled) {
        (Some(why), _) => PartState::Failed { why, log: String::new() },
        (None, Some(_)) if !measurement.missing.is_empty() => {
            PartState::Refused { missing: measurement.missing.clone() }
        }
        (None, Some(result)) => {
            let by = measurement.cancelled_by.clone().unwrap_or_else(|| result.by.clone());
            PartState::Cancelled { by }
        }
        (None, None) => {
            let mut hosts: Vec<&str> = results.iter().map(|result| result.by.as_str()).collect();
            hosts.sort_unstable();
            hosts.dedup();
            PartState::Measured { host: hosts.join(", ") }
        }
    }
}
