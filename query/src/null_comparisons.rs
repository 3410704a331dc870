//! Null comparisons: what the store knows of artifacts compared with themselves.
//!
//! A run whose two sides are one artifact can find nothing but false alarms. Each is judged alone,
//! as any comparison would be: with the noise of the runs before it, under the policy.

use dyno_model::id::Digest;
use dyno_model::record::RunRow;
use dyno_model::verdict::Judged;

use crate::error::Result;
use crate::judge::{Judge, judge_family};
use crate::noise::{History, PastRuns};

/// Comparisons of artifacts with themselves in one environment (host, fingerprint, image).
#[derive(Debug, Clone, PartialEq)]
pub struct NullComparisons {
    pub host: String,
    pub fingerprint: Digest,
    pub image_id: Digest,
    /// One a run, oldest first; at most [`RUNS_MAX`], the newest.
    pub comparisons: Vec<Vec<Judged>>,
}

/// How many runs of an environment are looked at, newest first.
const RUNS_MAX: usize = 200;

/// Whether a run compares an artifact with itself.
fn is_null_comparison(run: &RunRow) -> bool {
    run.baseline.artifact.is_some() && run.baseline.artifact == run.candidate.artifact
}

/// The null comparisons in the environments of `runs`, each environment once, in their order.
pub(crate) async fn null_comparisons(
    judge: &Judge,
    runs: &[RunRow],
) -> Result<Vec<NullComparisons>> {
    let past = PastRuns::new(judge.run_rows());
    let mut hosts: Vec<NullComparisons> = Vec::new();
    for run in runs {
        let fingerprint = run.fingerprint.digest();
        let is_same = |known: &NullComparisons| {
            known.host == run.host
                && known.fingerprint == fingerprint
                && known.image_id == run.image_id
        };
        if hosts.iter().any(is_same) {
            continue;
        }
        let mut null_runs: Vec<&RunRow> = past
            .with_same_environment(run)
            .iter()
            .rev()
            .filter(|run| is_null_comparison(run))
            .take(RUNS_MAX)
            .copied()
            .collect();
        null_runs.reverse();
        let mut comparisons = Vec::new();
        let history_runs: Vec<Vec<&RunRow>> =
            null_runs.iter().map(|run| past.history_runs(&[run])).collect();
        let mut distinct: Vec<&RunRow> = history_runs.iter().flatten().copied().collect();
        distinct.sort_by_key(|run| &run.job);
        distinct.dedup_by_key(|run| &run.job);
        let history = History::read(&judge.reader, &distinct).await?;
        let summaries = judge.reader.summaries(&null_runs).await?;
        for (run, history_runs) in null_runs.iter().zip(&history_runs) {
            let run_summaries: Vec<_> =
                summaries.iter().filter(|s| s.job == run.job).cloned().collect();
            let history = history.pooled(history_runs);
            comparisons.push(judge_family(&run_summaries, &[], &history, &judge.policy).0);
        }
        hosts.push(NullComparisons {
            host: run.host.clone(),
            fingerprint,
            image_id: run.image_id.clone(),
            comparisons,
        });
    }
    Ok(hosts)
}
