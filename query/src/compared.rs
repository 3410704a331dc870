//! What the store says of two commits, and the SQL that gives each number of it.

use dyno_model::commit_name::Label;
use dyno_model::id::{CommitId, JobId};
use dyno_model::record::RunRow;
use dyno_model::verdict::{Judged, SeriesKey};
use dyno_store::{Problem, Signer};
use object_store::path::Path;

use crate::pairs::{Filter, NamesFrom};
use crate::sql_text::quoted;

/// What the store says of two commits.
#[derive(Debug, Clone, PartialEq)]
pub struct PairComparison {
    pub baseline: CommitId,
    pub candidate: CommitId,
    pub suite: String,
    /// What was asked besides the commits.
    pub filter: Filter,
    /// The runs that count, oldest first.
    pub runs: Vec<RunRow>,
    /// Who signed each run, as `runs`.
    pub signers: Vec<Option<Signer>>,
    /// Where the samples of each run lie, as `runs`; [`dyno_store::Store::locate`] makes it a
    /// place.
    pub sample_files: Vec<Path>,
    /// Jobs of the same pair that measured something else (another kernel, image …) than the
    /// newest.
    pub excluded_jobs: Vec<JobId>,
    /// How a report calls the two sides, the baseline first.
    pub labels: [Label; 2],
    pub names_from: NamesFrom,
    /// Other pairs of commits that were measured under the two names, in words, newest first.
    pub other_pairs: Vec<String>,
    /// The series, ordered by benchmark, config, metric, host.
    pub judged: Vec<Judged>,
    /// Past runs whose noise the estimates borrow.
    pub history_runs: Vec<JobId>,
    /// Jobs pooled into each series, as `judged`.
    pub jobs: Vec<u32>,
    /// Files that were set aside while reading.
    pub problems: Vec<Problem>,
}

impl PairComparison {
    /// SQL that gives the numbers of one series, exactly as they stand in `judged`.
    pub fn sql_for(&self, series: &SeriesKey) -> String {
        let columns = "effect, low, high, p, q, rounds, baseline_median, candidate_median, verdict";
        self.sql_for_columns(series, columns)
    }

    /// SQL that gives `columns` of one series.
    pub(crate) fn sql_for_columns(&self, series: &SeriesKey, columns: &str) -> String {
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
        self.call_text("compare")
    }

    /// The call of a table function of one pair that has everything compared here.
    pub(crate) fn call_text(&self, function: &str) -> String {
        let mut arguments = vec![quoted(self.baseline.hex()), quoted(self.candidate.hex())];
        arguments.push(quoted(&self.suite));
        let host = self.runs.first().filter(|_| self.filter.job.is_some()).map(|run| &run.host);
        arguments.extend(self.filter.host.as_ref().or(host).map(|host| quoted(host)));
        arguments.extend(self.filter.job.as_deref().map(quoted));
        format!("{function}({})", arguments.join(", "))
    }
}
