//! Two commits to judged series: which runs are meant, which count, and the model's verdicts.
//!
//! A comparison's family, over which q is adjusted, is every series of one suite and one pair of
//! commits on all hosts asked for. Jobs of one host are pooled ([`crate::pool`]) if they measured
//! the same things: same fingerprint, suite digest, image and artifacts. Where they did not, the
//! jobs alike the newest count and the others are named in [`Compared::left_out`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dyno_model::catalog::policy::Policy;
use dyno_model::id::{CommitId, JobId};
use dyno_model::record::{Built, RunRow, Side, Summary};
use dyno_model::verdict::{self, Input, Judged, SeriesKey};

use crate::error::{Error, Problem, Result};
use crate::noise::Variances;
use crate::snapshot::StoredRun;
use dyno_model::pool::pool;

/// A prefix of a commit id must be at least this long, as git's are.
pub(crate) const PREFIX_MIN: usize = 7;

/// How many stored comparisons an error lists.
const LISTED_MAX: usize = 8;

/// Which runs are asked for; `None` asks for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub suite: Option<String>,
    pub host: Option<String>,
}

/// One row of `summaries` with where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSummary {
    pub job: JobId,
    /// The integer that stands for the series in the store.
    pub series: i64,
    pub host: String,
    pub architecture: String,
    pub summary: Summary,
}

/// What the store says of two commits.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    pub baseline: CommitId,
    pub candidate: CommitId,
    pub suite: String,
    /// What was asked besides the commits.
    pub filter: Filter,
    /// The runs that count, oldest first.
    pub runs: Vec<RunRow>,
    /// Jobs of the same pair that measured something else (another kernel, image …) than the newest.
    pub left_out: Vec<JobId>,
    /// Ordered by benchmark, config, metric, host.
    pub judged: Vec<Judged>,
    /// Past runs that lend their noise.
    pub lending: Vec<JobId>,
    /// Jobs pooled into each series, as `judged`.
    pub jobs: Vec<u32>,
    /// Files that were set aside while reading.
    pub problems: Vec<Problem>,
}

impl Compared {
    /// SQL that gives the numbers of one series, exactly as they stand in `judged`.
    pub fn sql_for(&self, series: &SeriesKey) -> String {
        let columns = "effect, low, high, p, q, rounds, baseline_median, candidate_median, verdict";
        self.sql_of(series, columns)
    }

    /// SQL that gives `columns` of one series.
    pub(crate) fn sql_of(&self, series: &SeriesKey, columns: &str) -> String {
        let SeriesKey { benchmark, config, metric, host } = series;
        format!(
            "SELECT {columns}\nFROM {}\n\
             WHERE benchmark = {} AND config = {} AND metric = {} AND host = {}",
            self.as_table(),
            quoted(benchmark),
            quoted(config),
            quoted(metric),
            quoted(host)
        )
    }

    /// SQL that gives every series, the largest effects first.
    pub fn sql_for_all(&self) -> String {
        format!(
            "SELECT benchmark, config, metric, host, effect, low, high, q, verdict, decides\n\
             FROM {}\nORDER BY abs(effect) DESC",
            self.as_table()
        )
    }

    /// SQL that gives what the deciding series with one value of an axis come to.
    pub fn sql_for_axis(&self, axis: &str, value: &str) -> String {
        format!(
            "SELECT metric, host, count(*) AS cases,\n       \
             geometric_mean(effect, variance, rounds, df) AS mean,\n       \
             min(effect) AS least, max(effect) AS most,\n       \
             count(*) FILTER (WHERE verdict = 'Regressed') AS regressed,\n       \
             count(*) FILTER (WHERE verdict = 'Improved') AS improved\n\
             FROM {}\n\
             WHERE decides AND strpos(',' || config || ',', {}) > 0\n\
             GROUP BY metric, host",
            self.as_table(),
            quoted(&format!(",{axis}={value},"))
        )
    }

    /// The call of `compare(…)` that has all its series.
    pub(crate) fn as_table(&self) -> String {
        self.as_call_of("compare")
    }

    /// The call of a function of one pair that has all of it.
    pub(crate) fn as_call_of(&self, function: &str) -> String {
        let mut arguments = vec![quoted(self.baseline.hex()), quoted(self.candidate.hex())];
        arguments.push(quoted(&self.suite));
        arguments.extend(self.filter.host.as_deref().map(quoted));
        format!("{function}({})", arguments.join(", "))
    }
}

/// A string literal of SQL.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A suite and a pair of commits: what one family of series belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair {
    pub suite: String,
    pub baseline: CommitId,
    pub candidate: CommitId,
}

impl Pair {
    pub(crate) fn of(run: &RunRow) -> Self {
        Self {
            suite: run.suite.clone(),
            baseline: run.baseline.commit.clone(),
            candidate: run.candidate.commit.clone(),
        }
    }
}

/// The runs of one pair.
pub(crate) type PairRuns<'a> = (Pair, Vec<&'a Arc<StoredRun>>);

/// The one pair that `baseline` and `candidate` mean, and its runs.
///
/// Each may be a commit id, a prefix of one (7 digits or more) or what a person asked for when the
/// job was requested. What a name means is settled by the pair: `main` that stood for many commits
/// is clear if only one of them was compared with the other side.
pub(crate) fn resolve<'a>(
    runs: &'a [Arc<StoredRun>],
    baseline: &str,
    candidate: &str,
    filter: &Filter,
) -> Result<PairRuns<'a>> {
    let asked = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
    let candidates: Vec<&Arc<StoredRun>> = runs
        .iter()
        .filter(|r| asked(&filter.suite, &r.run.suite) && asked(&filter.host, &r.run.host))
        .collect();
    let mut pairs: BTreeMap<Pair, Vec<&Arc<StoredRun>>> = BTreeMap::new();
    for stored in &candidates {
        if means(baseline, &stored.run.baseline) && means(candidate, &stored.run.candidate) {
            pairs.entry(Pair::of(&stored.run)).or_default().push(stored);
        }
    }
    if pairs.len() > 1 {
        return Err(ambiguous(&pairs, baseline, candidate));
    }
    pairs.pop_first().ok_or_else(|| {
        let reverse = candidates
            .iter()
            .any(|r| means(candidate, &r.run.baseline) && means(baseline, &r.run.candidate));
        let known = |name: &str| {
            candidates.iter().any(|r| means(name, &r.run.baseline) || means(name, &r.run.candidate))
        };
        let short = |name: &str| name.len() < PREFIX_MIN && is_hex(name) && !known(name);
        let hint = if reverse {
            "it has the reverse".to_string()
        } else if let Some(name) = [baseline, candidate].into_iter().find(|n| short(n)) {
            format!("`{name}` is too short for a commit: {PREFIX_MIN} digits are needed")
        } else if let Some(name) = [baseline, candidate].into_iter().find(|n| !known(n)) {
            format!("`{name}` is in none of its runs")
        } else {
            String::new()
        };
        Error::NoComparison {
            baseline: baseline.into(),
            candidate: candidate.into(),
            hint,
            stored: stored_pairs(runs),
        }
    })
}

pub(crate) fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn means(asked: &str, built: &Built) -> bool {
    let prefix = asked.len() >= PREFIX_MIN
        && is_hex(asked)
        && built.commit.hex().starts_with(&asked.to_ascii_lowercase());
    built.asked == asked || prefix
}

fn ambiguous(pairs: &BTreeMap<Pair, Vec<&Arc<StoredRun>>>, base: &str, head: &str) -> Error {
    let runs = || pairs.values().flatten().map(|stored| &stored.run);
    for (asked, side) in [(base, Side::Baseline), (head, Side::Candidate)] {
        let built = |run: &RunRow| match side {
            Side::Baseline => run.baseline.clone(),
            Side::Candidate => run.candidate.clone(),
        };
        let commits: BTreeSet<CommitId> = runs().map(|run| built(run).commit).collect();
        if commits.len() > 1 {
            let shown = |b: Built| format!("{} (asked as {})", b.commit.hex(), b.asked);
            let meanings: BTreeSet<String> = runs().map(|run| shown(built(run))).collect();
            return Error::Ambiguous { asked: asked.into(), meanings: Vec::from_iter(meanings) };
        }
    }
    let suites: BTreeSet<String> = runs().map(|run| format!("suite {}", run.suite)).collect();
    Error::Ambiguous { asked: format!("{base} {head}"), meanings: Vec::from_iter(suites) }
}

/// Comparisons the store has, newest first.
fn stored_pairs(runs: &[Arc<StoredRun>]) -> Vec<String> {
    let mut newest: Vec<&RunRow> = runs.iter().map(|stored| &stored.run).collect();
    newest.sort_by_key(|run| std::cmp::Reverse(run.finished_us));
    let mut seen = BTreeSet::new();
    let name = |built: &Built| match built.asked == built.commit.hex() {
        true => built.commit.short().to_string(),
        false => format!("{} ({})", built.asked, built.commit.short()),
    };
    let text = |run: &&RunRow| {
        format!(
            "{} … {} of {} on {}",
            name(&run.baseline),
            name(&run.candidate),
            run.suite,
            run.host
        )
    };
    let mut texts: Vec<String> =
        newest.iter().map(text).filter(|text| seen.insert(text.clone())).collect();
    let more = texts.len().saturating_sub(LISTED_MAX);
    texts.truncate(LISTED_MAX);
    if more > 0 {
        texts.push(format!("{more} more"));
    }
    texts
}

/// Of each host the runs alike its newest, oldest first; and the jobs that are not. The newest of a
/// trusted candidate where there is one: an untrusted build is no answer for a trusted commit.
pub(crate) fn alike<'a>(runs: &[&'a Arc<StoredRun>]) -> (Vec<&'a RunRow>, Vec<JobId>) {
    let likeness = |run: &RunRow| {
        let artifacts = (run.baseline.artifact.clone(), run.candidate.artifact.clone());
        let (suite, image) = (run.suite_digest.clone(), run.image_id.clone());
        (run.fingerprint.digest(), suite, image, artifacts, run.trust)
    };
    let mut ordered: Vec<&RunRow> = runs.iter().map(|stored| &stored.run).collect();
    ordered.sort_by_key(|run| (run.finished_us, run.job.clone()));
    let (trusted, others): (Vec<&RunRow>, Vec<&RunRow>) =
        ordered.iter().copied().partition(|run| run.trust.is_trusted());
    let newest: BTreeMap<&str, _> =
        others.into_iter().chain(trusted).map(|run| (run.host.as_str(), likeness(run))).collect();
    let (kept, left): (Vec<&RunRow>, Vec<&RunRow>) =
        ordered.into_iter().partition(|run| newest[run.host.as_str()] == likeness(run));
    (kept, left.into_iter().map(|run| run.job.clone()).collect())
}

/// Judges one family: pools each series' summaries, estimates with what `history` lends, adjusts,
/// decides. With the number of jobs in each series.
pub(crate) fn judge_family(
    summaries: &[StoredSummary],
    history: &Variances,
    policy: &Policy,
) -> (Vec<Judged>, Vec<u32>) {
    let mut series: BTreeMap<(&str, &str, &str, &str), Vec<&StoredSummary>> = BTreeMap::new();
    for stored in summaries {
        let Summary { benchmark, config, metric, .. } = &stored.summary;
        series.entry((benchmark, config, metric, &stored.host)).or_default().push(stored);
    }
    let jobs = series.values().map(|parts| parts.len() as u32).collect();
    let input = |parts: Vec<&StoredSummary>| {
        let first = parts.first()?;
        let summaries: Vec<&Summary> = parts.iter().map(|stored| &stored.summary).collect();
        Some(Input {
            host: first.host.clone(),
            architecture: first.architecture.clone(),
            summary: pool(&summaries)?,
            history: history.get(&first.series).copied(),
        })
    };
    let inputs: Vec<Input> = series.into_values().filter_map(input).collect();
    (verdict::judge(verdict::compare(&inputs, policy), policy), jobs)
}
