//! Reading stored tables for what is computed in Rust: summaries above all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::prelude::SessionContext;
use dyno_model::id::JobId;
use dyno_model::record::{DisturbedSides, Extent, RunRow, Summary, ZeroRounds};
use dyno_model::states::{STATES_MAX, State, States};
use dyno_store::Folder;

use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::stored_table::collect;

/// The number of jobs above which all summaries are read rather than a list of jobs compared with
/// each.
const JOBS_LISTED_MAX: usize = 500;

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

/// Reads the stored tables of one snapshot. It knows no policy and judges nothing.
pub(crate) struct SummaryReader {
    pub snapshot: Arc<Snapshot>,
    /// A context with the stored tables alone.
    pub stored: SessionContext,
}

impl SummaryReader {
    /// The summaries of `runs`, ordered by job.
    pub(crate) async fn summaries(&self, runs: &[&RunRow]) -> Result<Vec<StoredSummary>> {
        let by_job: BTreeMap<String, &RunRow> =
            runs.iter().map(|run| (run.job.to_string(), *run)).collect();
        let batches = self.read("summaries", runs, &[], None).await?;
        let mut summaries: Vec<StoredSummary> = Vec::new();
        for batch in &batches {
            summaries.extend(decode(batch, &by_job));
        }
        let key = |s: &StoredSummary| (s.job.clone(), s.summary.benchmark.clone());
        summaries.sort_by_cached_key(key);
        Ok(summaries)
    }

    /// The rows that [`Self::read`] gives of `folder`, which become a verdict by themselves: those of
    /// a job whose file has other rows than it was published with are not among them. `job` has to
    /// be one of the columns.
    pub(crate) async fn read_published(
        &self,
        folder: Folder,
        runs: &[&RunRow],
        columns: &[&str],
        filter: Option<Expr>,
    ) -> Result<Vec<RecordBatch>> {
        let batches = self.read(folder.name(), runs, columns, filter.clone()).await?;
        let names = batches.iter().map(|b| b.column_by_name("job").expect("a column asked for"));
        let names: BTreeSet<&str> =
            names.flat_map(|names| names.as_string_view().iter().flatten()).collect();
        let jobs = names.into_iter().filter_map(|name| name.parse().ok()).collect();
        match self.snapshot.have_published_rows(folder, &jobs).await? {
            true => Ok(batches),
            false => self.read(folder.name(), runs, columns, filter).await,
        }
    }

    /// The named columns (all, where none is named) of the rows of `runs` in a stored table that
    /// `filter` leaves, in no order; other runs' may be among them.
    pub(crate) async fn read(
        &self,
        table: &str,
        runs: &[&RunRow],
        columns: &[&str],
        filter: Option<Expr>,
    ) -> Result<Vec<RecordBatch>> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let sql = |e: DataFusionError| Error::sql(&e);
        let mut rows = self.stored.table(table).await.map_err(sql)?;
        if runs.len() <= JOBS_LISTED_MAX {
            let jobs = runs.iter().map(|run| lit(run.job.hex())).collect();
            rows = rows.filter(col("job").in_list(jobs, false)).map_err(sql)?;
        }
        if let Some(filter) = filter {
            rows = rows.filter(filter).map_err(sql)?;
        }
        if !columns.is_empty() {
            rows = rows.select_columns(columns).map_err(sql)?;
        }
        collect(&self.stored, &self.snapshot, rows.into_unoptimized_plan()).await
    }
}

/// The rows of `summaries` in a batch that belong to the jobs asked for.
fn decode(batch: &RecordBatch, runs: &BTreeMap<String, &RunRow>) -> Vec<StoredSummary> {
    let column = |name: &str| batch.column_by_name(name).expect("a column of the table");
    let [jobs, benchmarks, configs, metrics] =
        ["job", "benchmark", "config", "metric"].map(|name| column(name).as_string_view());
    let int32 = |name: &str| column(name).as_primitive::<Int32Type>();
    let float = |name: &str, row: usize| {
        let array = column(name).as_primitive::<Float64Type>();
        arrow::array::Array::is_valid(array, row).then(|| array.value(row))
    };
    let integer = |name: &str, row: usize| {
        let array = column(name).as_primitive::<Int64Type>();
        arrow::array::Array::is_valid(array, row).then(|| array.value(row))
    };
    let extent = |[median, min, max]: [&str; 3], row: usize| {
        Some(Extent {
            median: float(median, row)?,
            min: integer(min, row)?,
            max: integer(max, row)?,
        })
    };
    let (rounds, tainted) = (int32("rounds"), int32("tainted"));
    let count = |name: &str, row: usize| {
        let array = int32(name);
        let is_valid = arrow::array::Array::is_valid(array, row);
        is_valid.then(|| array.value(row).max(0) as u32)
    };
    let zeros = |row: usize| {
        Some(ZeroRounds {
            baseline: count("zero_baseline", row)?,
            candidate: count("zero_candidate", row)?,
            grew: count("zero_grew", row)?,
            shrank: count("zero_shrank", row)?,
        })
    };
    let disturbed = |row: usize| {
        Some(DisturbedSides {
            baseline: count("disturbed_baseline", row)?,
            candidate: count("disturbed_candidate", row)?,
        })
    };
    let series = column("series").as_primitive::<Int64Type>();
    let summary = |row: usize| {
        let run = runs.get(jobs.value(row))?;
        Some(StoredSummary {
            job: run.job.clone(),
            series: series.value(row),
            host: run.host.clone(),
            architecture: run.fingerprint.kind(),
            summary: Summary {
                benchmark: benchmarks.value(row).to_string(),
                config: configs.value(row).to_string(),
                metric: metrics.value(row).to_string(),
                rounds: rounds.value(row).max(0) as u32,
                mean_log_ratio: float("mean_log_ratio", row),
                variance: float("variance", row),
                baseline: extent(["baseline_median", "baseline_min", "baseline_max"], row),
                candidate: extent(["candidate_median", "candidate_min", "candidate_max"], row),
                tainted: tainted.value(row).max(0) as u32,
                zeros: zeros(row),
                disturbed: disturbed(row),
                states: states(batch, row),
            },
        })
    };
    (0..batch.num_rows()).filter_map(summary).collect()
}

/// The states of a row of `summaries`.
fn states(batch: &RecordBatch, row: usize) -> Option<States> {
    let column = |name: &str| batch.column_by_name(name).expect("a column of the table");
    let count = |name: &str| {
        let counts = column(name).as_primitive::<Int32Type>();
        counts.is_valid(row).then(|| counts.value(row).max(0) as u32)
    };
    let values = integers::<Int64Type>(column("state_values"), row)?;
    let counts = |name: &str| integers::<Int32Type>(column(name), row).unwrap_or_default();
    let (baseline, candidate) = (counts("state_baseline"), counts("state_candidate"));
    // A foreign file may have lists of any length.
    let lengths = [baseline.len(), candidate.len()];
    if !(2..=STATES_MAX).contains(&values.len()) || lengths != [values.len(); 2] {
        return None;
    }
    let state = |(value, (baseline, candidate)): (i64, (i32, i32))| State {
        value,
        baseline: baseline.max(0) as u32,
        candidate: candidate.max(0) as u32,
    };
    let (rose, fell) = (count("state_rose")?, count("state_fell")?);
    let states = values.into_iter().zip(baseline.into_iter().zip(candidate)).map(state);
    Some(States { states: states.collect(), rose, fell })
}

/// The values of a list; `None` where there is none, or one of them is none.
pub(crate) fn integers<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    row: usize,
) -> Option<Vec<T::Native>> {
    let lists = column.as_list_opt::<i32>()?;
    let list = Array::is_valid(lists, row).then(|| lists.value(row))?;
    list.as_primitive_opt::<T>()?.iter().collect()
}
