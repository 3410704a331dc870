//! What stands behind the numbers of one series: its samples, the noise of past runs, and for each
//! the SQL that gives it.

use arrow::array::{Array, ArrowPrimitiveType, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use dyno_model::id::JobId;
use dyno_model::metric::{METRICS, Sampling};
use dyno_model::record::{RunRow, Sample, Side};
use dyno_model::stats::Variance;
use dyno_model::verdict::SeriesKey;

use crate::compared::PairComparison;
use crate::error::Result;
use crate::session::Session;
use crate::sql_text::quoted;

/// See [`Session::evidence`].
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The samples in the order in which they were taken: jobs as in [`PairComparison::runs`], then
    /// by sequence.
    pub samples: Vec<(JobId, Sample)>,
    /// How many past runs lend this series their noise, and their pooled variance, before the
    /// policy caps its degrees of freedom.
    pub past: Option<(u32, Variance)>,
    /// What is asked, and the SQL that answers it.
    pub queries: Vec<(&'static str, String)>,
}

impl Session {
    /// What the numbers of the series `key` of `compared` rest on.
    ///
    /// # Errors
    /// The errors of [`Session::sql`].
    pub async fn evidence(&self, compared: &PairComparison, key: &SeriesKey) -> Result<Evidence> {
        let is_on_host = |run: &&RunRow| run.host == key.host;
        let jobs: Vec<&JobId> =
            compared.runs.iter().filter(is_on_host).map(|run| &run.job).collect();
        let history_runs = self.jobs_on_host(&compared.history_runs, &key.host);
        self.check_samples(&jobs).await?;
        let samples_sql = samples_of(key, &jobs);
        let mut samples: Vec<(JobId, Sample)> = self
            .sql(&samples_sql)
            .await?
            .iter()
            .flat_map(|batch| decode(batch, key, &jobs))
            .collect();
        samples.sort_by_key(|(job, sample)| {
            (jobs.iter().position(|known| *known == job), sample.sequence)
        });
        let mut queries = vec![
            ("the samples, in the order in which they were taken", samples_sql),
            ("the rounds", rounds(key, &jobs)),
            ("their mean and variance, job by job", summaries(key, &jobs)),
        ];
        let mut past = None;
        if !history_runs.is_empty() {
            let sql = past_runs(key, &history_runs);
            past = self.sql(&sql).await?.iter().find_map(pooled);
            queries.push(("the past runs' pooled variance", sql));
        }
        queries.push(("the estimate and the verdict", compared.sql_for_columns(key, ESTIMATE)));
        queries.push(("the family of q", family(compared, key)));
        Ok(Evidence { samples, past, queries })
    }
}

const ESTIMATE: &str = "verdict, reason, decides, tier, rounds, smallest_effect, effect, low, high,\n       \
     mean_log_ratio, variance, df, run_variance, history_variance, history_df,\n       \
     peer_prior_variance, peer_prior_df, p_inverse_chi_squared, p_log_normal, p_accident,\n       \
     p, q, detectable";

/// The condition that leaves one series of some jobs.
fn series_of(key: &SeriesKey, jobs: &[&JobId]) -> String {
    let SeriesKey { benchmark, config, metric, .. } = key;
    let jobs: Vec<String> = jobs.iter().map(|job| quoted(job.hex())).collect();
    format!(
        "WHERE job IN ({}) AND benchmark = {} AND config = {} AND metric = {}",
        jobs.join(", "),
        quoted(benchmark),
        quoted(config),
        quoted(metric)
    )
}

fn samples_of(key: &SeriesKey, jobs: &[&JobId]) -> String {
    format!(
        "SELECT job, sequence, round, side, value, taint FROM samples\n{}\nORDER BY job, sequence",
        series_of(key, jobs)
    )
}

fn rounds(key: &SeriesKey, jobs: &[&JobId]) -> String {
    format!(
        "SELECT job, round, baseline, candidate, log_ratio AS d, tainted FROM rounds\n{}\n\
         ORDER BY job, round",
        series_of(key, jobs)
    )
}

fn summaries(key: &SeriesKey, jobs: &[&JobId]) -> String {
    format!(
        "SELECT job, rounds, mean_log_ratio, variance, tainted FROM summaries\n{}\nORDER BY job",
        series_of(key, jobs)
    )
}

fn past_runs(key: &SeriesKey, jobs: &[&JobId]) -> String {
    format!(
        "SELECT count(*) AS runs, sum(rounds - 1) AS df,\n       \
         sum((rounds - 1) * variance) / sum(rounds - 1) AS variance\n\
         FROM summaries\n{}\n  AND rounds > 1 AND variance >= 0 AND zero_grew IS NULL",
        series_of(key, jobs)
    )
}

fn family(compared: &PairComparison, key: &SeriesKey) -> String {
    let counted: Vec<String> =
        METRICS.iter().filter(|m| m.sampling == Sampling::Once).map(|m| quoted(m.name)).collect();
    let family = |concludes: bool| match concludes {
        true => "(decides OR companion)",
        false => "NOT (decides OR companion)",
    };
    let judged = compared.judged.iter().find(|judged| judged.comparison.key == *key);
    format!(
        "SELECT count(*) AS series\nFROM {}\n\
         WHERE {} AND p IS NOT NULL AND metric NOT IN ({})",
        compared.as_table(),
        family(judged.is_some_and(|judged| judged.comparison.can_conclude())),
        counted.join(", ")
    )
}

fn decode(batch: &RecordBatch, key: &SeriesKey, jobs: &[&JobId]) -> Vec<(JobId, Sample)> {
    let [job, side, taint] = ["job", "side", "taint"]
        .map(|name| batch.column_by_name(name).expect("a column asked for").as_string_view());
    let u32_of = |name: &str, row: usize| number::<Int32Type>(batch, name, row).unwrap_or(0) as u32;
    let row = |row: usize| {
        let job = jobs.iter().find(|known| known.hex() == job.value(row))?;
        let side = Side::BOTH.into_iter().find(|s| s.name() == side.value(row))?;
        let sample = Sample {
            benchmark: key.benchmark.clone(),
            config: key.config.clone(),
            metric: key.metric.clone(),
            round: u32_of("round", row),
            side,
            sequence: u32_of("sequence", row),
            value: number::<Int64Type>(batch, "value", row)?,
            taint: taint.value(row).to_string(),
        };
        Some(((*job).clone(), sample))
    };
    (0..batch.num_rows()).filter_map(row).collect()
}

/// The one row of [`past_runs`]; `None` where no run lends anything.
fn pooled(batch: &RecordBatch) -> Option<(u32, Variance)> {
    let value = number::<Float64Type>(batch, "variance", 0)?;
    let df = number::<Int64Type>(batch, "df", 0)? as f64;
    Some((number::<Int64Type>(batch, "runs", 0)? as u32, Variance { value, df }))
}

fn number<T: ArrowPrimitiveType>(batch: &RecordBatch, name: &str, row: usize) -> Option<T::Native> {
    let column = batch.column_by_name(name)?.as_primitive_opt::<T>()?;
    (row < column.len() && column.is_valid(row)).then(|| column.value(row))
}
