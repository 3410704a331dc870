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
use dyno_model::catalog::reader::suggest;
use dyno_model::catalog::suite::Source;
use dyno_model::commit_name::{CommitName, Label, PREFIX_DIGITS_MIN, is_hex};
use dyno_model::id::{CommitId, Digest, JobId};
use dyno_model::record::{Built, RunRow, Side, Trust};
use dyno_model::text::shell_word;
use dyno_store::StoredRun;

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
    /// Other pairs of the suite that were measured under the two names, in words, newest first.
    pub others: Vec<String>,
    pub names_from: NamesFrom,
}

/// Where it stood what the names of a comparison mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamesFrom {
    /// The store alone: an id, or what was asked for when it was measured.
    Store,
    /// The suite's source as it is today.
    Source,
    /// The store, since it has no comparison of what the source says today.
    StoreInstead,
}

/// The two names of a comparison, the baseline's first.
pub(crate) type Names<'a> = [&'a CommitName; 2];

/// Whether `run` is of what the names mean, by their meanings of today where these are known and
/// `by_source` says so.
fn is_of(names: Names<'_>, by_source: bool, run: &RunRow) -> bool {
    let is_meant = |name: &CommitName, built: &Built| match name.commit_in(&run.suite) {
        Some(commit) if by_source => *commit == built.commit,
        _ => stands_for(&name.name, built),
    };
    is_meant(names[0], &run.baseline) && is_meant(names[1], &run.candidate)
}

fn pairs_of(
    rows: &[&Arc<StoredRun>],
    names: Names<'_>,
    by_source: bool,
) -> BTreeMap<Pair, Vec<Arc<StoredRun>>> {
    let mut pairs: BTreeMap<Pair, Vec<Arc<StoredRun>>> = BTreeMap::new();
    for row in rows.iter().filter(|row| is_of(names, by_source, &row.run)) {
        pairs.entry(Pair::from_run(&row.run)).or_default().push(Arc::clone(row));
    }
    pairs
}

/// The one pair that `names` mean, and its runs.
///
/// Each may be a commit id, a prefix of one (7 digits or more), a name with a meaning in the source
/// of the suite, or what a person asked for when the job was requested. A name such as `main` stands
/// for other commits in time: what it means today counts, where that is known and was measured; else
/// the newest of several pairs of one suite, and one of a trusted candidate before all others, unless
/// the name is a relative one. A prefix that fits several commits means none, and neither do names
/// that several suites have.
pub(crate) fn resolve(
    rows: &[Arc<StoredRun>],
    names: Names<'_>,
    filter: &Filter,
) -> Result<Resolved> {
    let eligible = eligible(rows, filter);
    let by_source = pairs_of(&eligible, names, true);
    let under_names = pairs_of(&eligible, names, false);
    let knows_today = |pair: &Pair| names.iter().any(|name| name.commit_in(&pair.suite).is_some());
    let is_stale = |pair: &Pair| {
        names.iter().any(|name| name.is_relative() && name.commit_in(&pair.suite).is_some())
    };
    let instead: BTreeMap<_, _> = under_names.iter().filter(|(pair, _)| !is_stale(pair)).collect();
    let is_found = !by_source.is_empty();
    if is_found && !by_source.keys().any(knows_today) {
        // None is known to be of today, so each suite that has the names may be meant.
        let all = by_source.iter().chain(instead.iter().map(|(pair, runs)| (*pair, *runs)));
        let all = all.map(|(pair, runs)| (pair.clone(), runs.clone())).collect();
        refuse_ambiguous(&newest_first(all), names)?;
    }
    let pairs = match is_found {
        true => by_source,
        false => instead.into_iter().map(|(pair, runs)| (pair.clone(), runs.clone())).collect(),
    };
    let mut pairs = newest_first(pairs);
    let under_names = newest_first(under_names);
    if pairs.is_empty() {
        return Err(Error::NoComparison {
            baseline: today(names[0], &eligible),
            candidate: today(names[1], &eligible),
            hint: match under_names.first() {
                Some((pair, runs)) => format!("under these names it has {}", meaning(pair, runs)),
                None => missing_hint(&eligible, names),
            },
            stored: stored_pairs(rows),
        });
    }
    refuse_ambiguous(&pairs, names)?;
    let (pair, runs) = pairs.remove(0);
    let names_from = match (knows_today(&pair), is_found) {
        (false, _) => NamesFrom::Store,
        (true, true) => NamesFrom::Source,
        (true, false) => NamesFrom::StoreInstead,
    };
    let others = under_names.iter().filter(|(o, _)| o.suite == pair.suite && *o != pair);
    let others = others.map(|(pair, runs)| meaning(pair, runs)).collect();
    Ok(Resolved { pair, runs, others, names_from })
}

/// The rows that `filter` leaves.
fn eligible<'a>(rows: &'a [Arc<StoredRun>], filter: &Filter) -> Vec<&'a Arc<StoredRun>> {
    let matches_filter =
        |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
    let of_job = rows.iter().filter(|row| filter.is_of_job(&row.run));
    let of_job: BTreeSet<(Pair, &str)> =
        of_job.map(|row| (Pair::from_run(&row.run), row.run.host.as_str())).collect();
    rows.iter()
        .filter(|row| {
            matches_filter(&filter.suite, &row.run.suite)
                && matches_filter(&filter.host, &row.run.host)
                && (filter.job.is_none()
                    || of_job.contains(&(Pair::from_run(&row.run), row.run.host.as_str())))
        })
        .collect()
}

/// # Errors
/// Pairs of several suites, or of several commits that an id's first digits fit.
fn refuse_ambiguous(pairs: &[PairRuns], names: Names<'_>) -> Result<()> {
    let is_one_suite = pairs.iter().all(|(pair, _)| pair.suite == pairs[0].0.suite);
    let by_prefix = |name: &CommitName, side: Side| {
        let built = pairs.iter().flat_map(|(_, runs)| runs).map(|row| side_of(&row.run, side));
        let by_prefix = built.filter(|built| built.asked != name.name).map(|built| &built.commit);
        by_prefix.collect::<BTreeSet<_>>().len()
    };
    if is_one_suite
        && by_prefix(names[0], Side::Baseline) < 2
        && by_prefix(names[1], Side::Candidate) < 2
    {
        return Ok(());
    }
    let meanings = pairs.iter().map(|(pair, runs)| meaning(pair, runs)).collect();
    Err(Error::Ambiguous { asked: format!("{} {}", names[0].name, names[1].name), meanings })
}

/// A name, with the commit that it means today where that is one thing.
fn today(name: &CommitName, rows: &[&Arc<StoredRun>]) -> String {
    let suites: BTreeSet<&str> = rows.iter().map(|row| row.run.suite.as_str()).collect();
    let commits: BTreeSet<&CommitId> =
        suites.iter().filter_map(|suite| name.commit_in(suite)).collect();
    match (commits.first(), commits.len()) {
        (Some(commit), 1) if !name.is_id() => format!("{} ({})", name.name, commit.short()),
        _ => name.name.clone(),
    }
}

/// How a report calls both sides of `pair`.
pub(crate) fn labels(pair: &Pair, runs: &[RunRow], names: Names<'_>) -> [Label; 2] {
    let label = |name: &CommitName, commit: &CommitId, side| {
        let label = name.label(&pair.suite, commit);
        // The id of a release, or of an image, is of no repository: its name finds it again.
        let built = runs.iter().map(|run| (side_of(run, side), &run.built_from));
        let mut of_no_repository = built.filter(|(built, from)| {
            let is_crate =
                from.as_ref().is_some_and(|from| matches!(from.source, Source::Crate(_)));
            is_crate || built.image.is_some()
        });
        match of_no_repository.next() {
            Some((built, _)) => Label { word: built.asked.clone(), ..label },
            None => label,
        }
    };
    let [baseline, candidate] = names;
    [
        label(baseline, &pair.baseline, Side::Baseline),
        label(candidate, &pair.candidate, Side::Candidate),
    ]
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
fn missing_hint(rows: &[&Arc<StoredRun>], names: Names<'_>) -> String {
    let runs = || rows.iter().map(|row| &row.run);
    let is_known = |name: &CommitName| {
        let is_meant = |suite: &str, built: &Built| {
            name.commit_in(suite) == Some(&built.commit) || stands_for(&name.name, built)
        };
        runs()
            .any(|run| is_meant(&run.suite, &run.baseline) || is_meant(&run.suite, &run.candidate))
    };
    let is_short = |name: &str| name.len() < PREFIX_DIGITS_MIN && is_hex(name);
    let reverse = [names[1], names[0]];
    let is_reverse = |run: &&RunRow| is_of(reverse, true, run);
    let unknown = names.into_iter().find(|name| !is_known(name));
    if let Some(run) = runs().filter(is_reverse).max_by_key(|run| run.finished_us) {
        let (baseline, candidate) = (run.baseline.commit.short(), run.candidate.commit.short());
        format!(
            "it has the reverse: `dyno compare {baseline} {candidate} --suite {}`",
            shell_word(&run.suite)
        )
    } else if let Some(name) = names.into_iter().find(|n| is_short(&n.name) && !is_known(n)) {
        let name = &name.name;
        format!("`{name}` is too short for a commit: {PREFIX_DIGITS_MIN} digits are needed")
    } else if let Some(CommitName { name, .. }) = unknown {
        let known = runs().flat_map(|run| [&run.baseline, &run.candidate]);
        // Any two short names are near each other.
        let is_telling = |asked: &&str| name.len() > 3 && asked.len() > 3;
        let near = suggest(name, known.map(|built| built.asked.as_str()).filter(is_telling));
        let near = near.map(|near| format!("; {near}")).unwrap_or_default();
        format!("`{name}` is in none of its runs{near}")
    } else {
        String::new()
    }
}

/// Whether a person who writes `asked` can mean `built`.
fn stands_for(asked: &str, built: &Built) -> bool {
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
