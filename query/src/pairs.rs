//! Which runs two commits mean, and which of these count.
//!
//! A comparison's family, over which q is adjusted, is every series of one suite and one pair of
//! commits on all hosts asked for. Jobs of one host are pooled ([`dyno_model::pool`]) if they
//! measured the same things: same fingerprint, suite digest, image and artifacts. Where they did
//! not, the jobs comparable with the newest count and the others are named in
//! [`crate::PairComparison::excluded_jobs`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::DateTime;
use dyno_model::id::{CommitId, Digest, JobId};
use dyno_model::record::{Built, RunRow, Side, Trust};
use dyno_model::text::shell_word;
use dyno_store::{PREFIX_DIGITS_MIN, StoredRun, is_hex};

use crate::error::{Error, Result};

/// How many stored comparisons an error lists.
const LISTED_MAX: usize = 8;

/// Which runs are asked for; `None` asks for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub suite: Option<String>,
    pub host: Option<String>,
    /// A job (its id, or 7 digits or more of it) that bounds the answer: its host alone, and of
    /// what other jobs measured the series that it has too.
    pub job: Option<String>,
}

impl Filter {
    /// Whether `run` is the job that bounds the answer; true where none does.
    pub(crate) fn is_of_job(&self, run: &RunRow) -> bool {
        let is_meant = |job: &String| {
            job.len() >= PREFIX_DIGITS_MIN && run.job.hex().starts_with(&job.to_ascii_lowercase())
        };
        self.job.as_ref().is_none_or(is_meant)
    }
}

/// A suite and a pair of commits: what one family of series belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair {
    pub suite: String,
    pub baseline: CommitId,
    pub candidate: CommitId,
}

impl Pair {
    pub(crate) fn from_run(run: &RunRow) -> Self {
        Self {
            suite: run.suite.clone(),
            baseline: run.baseline.commit.clone(),
            candidate: run.candidate.commit.clone(),
        }
    }
}

/// The runs of one pair.
pub(crate) type PairRuns = (Pair, Vec<Arc<StoredRun>>);

/// What two names mean.
pub(crate) struct Resolved {
    pub pair: Pair,
    pub runs: Vec<Arc<StoredRun>>,
    /// Older pairs of the suite that the two names stood for as well, in words, newest first.
    pub older: Vec<String>,
}

/// The one pair that `baseline` and `candidate` mean, and its runs.
///
/// Each may be a commit id, a prefix of one (7 digits or more) or what a person asked for when the
/// job was requested. A name such as `main` stands for other commits in time: of several pairs of
/// one suite the newest is meant, and one of a trusted candidate before all others. A prefix that
/// fits several commits means none, and neither do names that several suites have.
pub(crate) fn resolve(
    rows: &[Arc<StoredRun>],
    baseline: &str,
    candidate: &str,
    filter: &Filter,
) -> Result<Resolved> {
    let matches_filter =
        |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
    let of_job = rows.iter().filter(|row| filter.is_of_job(&row.run));
    let of_job: BTreeSet<(Pair, &str)> =
        of_job.map(|row| (Pair::from_run(&row.run), row.run.host.as_str())).collect();
    let eligible: Vec<&Arc<StoredRun>> = rows
        .iter()
        .filter(|row| {
            matches_filter(&filter.suite, &row.run.suite)
                && matches_filter(&filter.host, &row.run.host)
                && (filter.job.is_none()
                    || of_job.contains(&(Pair::from_run(&row.run), row.run.host.as_str())))
        })
        .collect();
    let mut pairs: BTreeMap<Pair, Vec<Arc<StoredRun>>> = BTreeMap::new();
    for row in &eligible {
        if names(baseline, &row.run.baseline) && names(candidate, &row.run.candidate) {
            pairs.entry(Pair::from_run(&row.run)).or_default().push(Arc::clone(row));
        }
    }
    let mut pairs = newest_first(pairs);
    let Some((newest, _)) = pairs.first() else {
        return Err(Error::NoComparison {
            baseline: baseline.into(),
            candidate: candidate.into(),
            hint: missing_hint(&eligible, baseline, candidate),
            stored: stored_pairs(rows),
        });
    };
    let is_one_suite = pairs.iter().all(|(pair, _)| pair.suite == newest.suite);
    let stands_for = |asked: &str, side: Side| {
        let built = pairs.iter().flat_map(|(_, runs)| runs).map(|row| side_of(&row.run, side));
        let by_prefix = built.filter(|built| built.asked != asked).map(|built| &built.commit);
        by_prefix.collect::<BTreeSet<_>>().len()
    };
    let are_names =
        stands_for(baseline, Side::Baseline) < 2 && stands_for(candidate, Side::Candidate) < 2;
    if !(is_one_suite && are_names) {
        let meanings = pairs.iter().map(|(pair, runs)| meaning(pair, runs)).collect();
        return Err(Error::Ambiguous { asked: format!("{baseline} {candidate}"), meanings });
    }
    let older = pairs.split_off(1).iter().map(|(pair, runs)| meaning(pair, runs)).collect();
    let (pair, runs) = pairs.remove(0);
    Ok(Resolved { pair, runs, older })
}

fn side_of(run: &RunRow, side: Side) -> &Built {
    match side {
        Side::Baseline => &run.baseline,
        Side::Candidate => &run.candidate,
    }
}

/// The pairs, those of trusted candidates first, and of each kind the newest first.
fn newest_first(pairs: BTreeMap<Pair, Vec<Arc<StoredRun>>>) -> Vec<PairRuns> {
    let mut pairs: Vec<PairRuns> = pairs.into_iter().collect();
    let newest = |(_, runs): &PairRuns| {
        runs.iter().map(|row| (row.run.trust.is_trusted(), row.run.finished_us)).max()
    };
    pairs.sort_by_key(|pair| std::cmp::Reverse(newest(pair)));
    pairs
}

/// A pair as a person can ask for it alone: `2026-11-27 v1 v2 is aaaaaaaaaaaa bbbbbbbbbbbb --suite
/// primes`.
fn meaning(pair: &Pair, runs: &[Arc<StoredRun>]) -> String {
    let newest = runs.iter().map(|row| &row.run).max_by_key(|run| run.finished_us);
    let names = newest.map(|run| {
        let day = DateTime::from_timestamp_micros(run.finished_us)
            .map_or_else(String::new, |time| time.format("%Y-%m-%d %H:%M").to_string());
        format!("{day} {} … {} is ", run.baseline.asked, run.candidate.asked)
    });
    let (baseline, candidate) = (pair.baseline.short(), pair.candidate.short());
    let suite = shell_word(&pair.suite);
    format!("{}`{baseline} {candidate} --suite {suite}`", names.unwrap_or_default())
}

/// Why no run of `rows` compares the two; empty where there is nothing to say.
fn missing_hint(rows: &[&Arc<StoredRun>], baseline: &str, candidate: &str) -> String {
    let runs = || rows.iter().map(|row| &row.run);
    let is_known =
        |name: &str| runs().any(|run| names(name, &run.baseline) || names(name, &run.candidate));
    let is_short = |name: &str| name.len() < PREFIX_DIGITS_MIN && is_hex(name) && !is_known(name);
    let is_reverse =
        |run: &&RunRow| names(candidate, &run.baseline) && names(baseline, &run.candidate);
    if let Some(run) = runs().filter(is_reverse).max_by_key(|run| run.finished_us) {
        let (baseline, candidate) = (run.baseline.commit.short(), run.candidate.commit.short());
        format!(
            "it has the reverse: `dyno compare {baseline} {candidate} --suite {}`",
            shell_word(&run.suite)
        )
    } else if let Some(name) = [baseline, candidate].into_iter().find(|name| is_short(name)) {
        format!("`{name}` is too short for a commit: {PREFIX_DIGITS_MIN} digits are needed")
    } else if let Some(name) = [baseline, candidate].into_iter().find(|name| !is_known(name)) {
        format!("`{name}` is in none of its runs")
    } else {
        String::new()
    }
}

/// Whether a person who writes `asked` can mean `built`.
fn names(asked: &str, built: &Built) -> bool {
    let is_prefix = asked.len() >= PREFIX_DIGITS_MIN
        && is_hex(asked)
        && built.commit.hex().starts_with(&asked.to_ascii_lowercase());
    built.asked == asked || is_prefix
}

/// Comparisons the store has, newest first.
fn stored_pairs(runs: &[Arc<StoredRun>]) -> Vec<String> {
    let mut newest: Vec<&RunRow> = runs.iter().map(|stored| &stored.run).collect();
    newest.sort_by_key(|run| std::cmp::Reverse(run.finished_us));
    let mut texts_seen = BTreeSet::new();
    let commit_name = |built: &Built| match built.asked == built.commit.hex() {
        true => built.commit.short().to_string(),
        false => format!("{} ({})", built.asked, built.commit.short()),
    };
    let description = |run: &&RunRow| {
        format!(
            "{} … {} of {} on {}",
            commit_name(&run.baseline),
            commit_name(&run.candidate),
            run.suite,
            run.host
        )
    };
    let mut texts: Vec<String> =
        newest.iter().map(description).filter(|text| texts_seen.insert(text.clone())).collect();
    let rest_count = texts.len().saturating_sub(LISTED_MAX);
    texts.truncate(LISTED_MAX);
    if rest_count > 0 {
        texts.push(format!("{rest_count} more"));
    }
    texts
}

/// What must be equal for two runs of one pair and host to be pooled.
type ComparabilityKey = (Digest, Digest, Digest, [Option<Digest>; 2], Trust);

fn comparability_key(run: &RunRow) -> ComparabilityKey {
    let artifacts = [run.baseline.artifact.clone(), run.candidate.artifact.clone()];
    let (suite, image) = (run.suite_digest.clone(), run.image_id.clone());
    (run.fingerprint.digest(), suite, image, artifacts, run.trust)
}

/// Keeps of `rows`, each of a job and with a name of what it is of, those whose name the job that
/// bounds the answer has too.
pub(crate) fn bound_by_job<R, N: Ord>(
    rows: &mut Vec<R>,
    runs: &[&RunRow],
    filter: &Filter,
    name: impl Fn(&R) -> (JobId, N),
) {
    if filter.job.is_none() {
        return;
    }
    let bounding = runs.iter().filter(|run| filter.is_of_job(run));
    let bounding: BTreeSet<&JobId> = bounding.map(|run| &run.job).collect();
    let names: BTreeSet<N> = rows
        .iter()
        .map(&name)
        .filter_map(|(job, name)| bounding.contains(&job).then_some(name))
        .collect();
    rows.retain(|row| names.contains(&name(row).1));
}

/// The runs of each host that are comparable with its newest, oldest first; and the jobs that are
/// not. The newest of a trusted candidate where there is one: an untrusted build is no answer for a
/// trusted commit. A job that bounds the answer stands for the newest.
pub(crate) fn comparable_runs<'a>(
    rows: &'a [Arc<StoredRun>],
    filter: &Filter,
) -> (Vec<&'a StoredRun>, Vec<JobId>) {
    let mut ordered: Vec<&StoredRun> = rows.iter().map(Arc::as_ref).collect();
    ordered.sort_by_key(|row| (row.run.finished_us, row.run.job.clone()));
    let (trusted, others): (Vec<&StoredRun>, Vec<&StoredRun>) =
        ordered.iter().copied().partition(|row| row.run.trust.is_trusted());
    let newest: BTreeMap<&str, _> = others
        .into_iter()
        .chain(trusted)
        .filter(|row| filter.is_of_job(&row.run))
        .map(|row| (row.run.host.as_str(), comparability_key(&row.run)))
        .collect();
    let (comparable, excluded): (Vec<&StoredRun>, Vec<&StoredRun>) = ordered
        .into_iter()
        .partition(|row| newest[row.run.host.as_str()] == comparability_key(&row.run));
    (comparable, excluded.into_iter().map(|row| row.run.job.clone()).collect())
}

/// The pairs of `rows`, each with all of its runs.
pub(crate) fn pairs_with_runs(rows: &[Arc<StoredRun>]) -> Vec<PairRuns> {
    let mut pairs: BTreeMap<Pair, Vec<Arc<StoredRun>>> = BTreeMap::new();
    for row in rows {
        pairs.entry(Pair::from_run(&row.run)).or_default().push(Arc::clone(row));
    }
    pairs.into_iter().collect()
}

/// The pairs of `pairs`, each with its runs that count, oldest first.
pub(crate) fn comparable_pairs<'a>(
    pairs: &'a [PairRuns],
    filter: &Filter,
) -> Vec<(&'a Pair, Vec<&'a RunRow>)> {
    let runs = |rows| comparable_runs(rows, filter).0.into_iter().map(|row| &row.run).collect();
    pairs.iter().map(|(pair, rows)| (pair, runs(rows))).collect()
}
