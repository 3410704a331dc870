//! What the store knows of a host compared with itself.
//!
//! A run whose two sides are one artifact can find nothing but false alarms. Each is judged alone,
//! as any comparison would be: with the noise that runs before it lend, under the policy.

use dyno_model::id::Digest;
use dyno_model::record::RunRow;
use dyno_model::verdict::Judged;

use crate::compare::judge_family;
use crate::error::Result;
use crate::judged::Judge;
use crate::noise::{History, Past};

/// Comparisons of artifacts with themselves in one environment (host, fingerprint, image).
#[derive(Debug, Clone, PartialEq)]
pub struct AgainstItself {
    pub host: String,
    pub fingerprint: Digest,
    pub image_id: Digest,
    /// One a run, oldest first; at most [`RUNS_MAX`], the newest.
    pub comparisons: Vec<Vec<Judged>>,
}

/// How many runs of an environment are looked at, newest first.
const RUNS_MAX: usize = 200;

/// Whether a run compares an artifact with itself.
fn is_against_itself(run: &RunRow) -> bool {
    run.baseline.artifact.is_some() && run.baseline.artifact == run.candidate.artifact
}

/// What the store has of the environments of `runs`, each once, in their order.
pub(crate) async fn against_itself(judge: &Judge, runs: &[RunRow]) -> Result<Vec<AgainstItself>> {
    let past = Past::new(&judge.snapshot.runs);
    let mut found: Vec<AgainstItself> = Vec::new();
    for run in runs {
        let fingerprint = run.fingerprint.digest();
        let same = |known: &AgainstItself| {
            known.host == run.host
                && known.fingerprint == fingerprint
                && known.image_id == run.image_id
        };
        if found.iter().any(same) {
            continue;
        }
        let mut alike: Vec<&RunRow> = past
            .like(run)
            .iter()
            .rev()
            .filter(|run| is_against_itself(run))
            .take(RUNS_MAX)
            .copied()
            .collect();
        alike.reverse();
        let mut comparisons = Vec::new();
        let lending: Vec<Vec<&RunRow>> = alike.iter().map(|run| past.before(&[run])).collect();
        let mut all: Vec<&RunRow> = lending.iter().flatten().copied().collect();
        all.sort_by_key(|run| &run.job);
        all.dedup_by_key(|run| &run.job);
        let history = History::read(judge, &all).await?;
        let summaries = judge.summaries(&alike).await?;
        for (run, lending) in alike.iter().zip(&lending) {
            let of_run: Vec<_> = summaries.iter().filter(|s| s.job == run.job).cloned().collect();
            comparisons.push(judge_family(&of_run, &history.of(lending), &judge.policy).0);
        }
        found.push(AgainstItself {
            host: run.host.clone(),
            fingerprint,
            image_id: run.image_id.clone(),
            comparisons,
        });
    }
    Ok(found)
}
