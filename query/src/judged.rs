//! The table `comparisons` and the function `compare(…)`: verdicts of the model as rows.
//!
//! Nothing is computed here that the model computes: a scan reads the summaries of the pairs that
//! the filters leave, has [`crate::compare`] judge them, and shows the result as columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Float64Type, Int32Type, Int64Type, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result as DfResult, ScalarValue};
use datafusion::datasource::{MemTable, TableType};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, col, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use dyno_model::catalog::policy::{Policy, Tier};
use dyno_model::id::JobId;
use dyno_model::metric;
use dyno_model::record::{Extent, Run, Summary};
use dyno_model::stats::{Noise, Variance};
use dyno_model::verdict::{Judged, Verdict};

use crate::compare::{Compared, Filter, Pair, StoredSummary, alike, judge_family, resolve};
use crate::error::{Error, Result};
use crate::noise::{History, Past};
use crate::snapshot::{Snapshot, StoredRun};
use crate::table::{collect, rows_kept};

/// Above this many jobs all summaries are read rather than a list of jobs compared with each.
const JOBS_LISTED_MAX: usize = 500;

/// Reads summaries and has them judged under one policy.
pub(crate) struct Judge {
    pub snapshot: Arc<Snapshot>,
    /// A context with the stored tables alone.
    pub stored: SessionContext,
    pub policy: Policy,
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judge").field("policy", &self.policy.name).finish_non_exhaustive()
    }
}

/// The judged series of one pair, with what is said of the pair in each row.
struct Family {
    pair: Pair,
    baseline_asked: String,
    candidate_asked: String,
    finished_us: i64,
    judged: Vec<Judged>,
    jobs: Vec<u32>,
}

impl Judge {
    /// The comparison of two commits.
    pub(crate) async fn compared(
        &self,
        baseline: &str,
        candidate: &str,
        filter: &Filter,
    ) -> Result<Compared> {
        let (pair, stored) = resolve(&self.snapshot.runs, baseline, candidate, filter)?;
        let (runs, left_out) = alike(&stored);
        let lending = Past::new(&self.snapshot.runs).before(&runs);
        let history = History::read(self, &lending).await?.of(&lending);
        let summaries = self.summaries(&runs).await?;
        let (judged, jobs) = judge_family(&summaries, &history, &self.policy);
        Ok(Compared {
            lending: lending.into_iter().map(|run| run.job.clone()).collect(),
            baseline: pair.baseline,
            candidate: pair.candidate,
            suite: pair.suite,
            filter: filter.clone(),
            runs: runs.into_iter().cloned().collect(),
            left_out,
            judged,
            jobs,
            problems: self.snapshot.store.problems(),
        })
    }

    /// The summaries of `runs`, ordered by job.
    pub(crate) async fn summaries(&self, runs: &[&Run]) -> Result<Vec<StoredSummary>> {
        let by_job: BTreeMap<String, &Run> =
            runs.iter().map(|run| (run.job.to_string(), *run)).collect();
        let batches = self.columns_of(runs, &[]).await?;
        let mut all: Vec<StoredSummary> = Vec::new();
        for batch in &batches {
            all.extend(decode(batch, &by_job));
        }
        let key = |s: &StoredSummary| (s.job.clone(), s.summary.benchmark.clone());
        all.sort_by_cached_key(key);
        Ok(all)
    }

    /// The named columns (all, where none is named) of the summaries of `runs`, in no order; other
    /// runs' may be among them.
    pub(crate) async fn columns_of(
        &self,
        runs: &[&Run],
        columns: &[&str],
    ) -> Result<Vec<RecordBatch>> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let sql = |e: DataFusionError| Error::sql(&e);
        let mut table = self.stored.table("summaries").await.map_err(sql)?;
        if runs.len() <= JOBS_LISTED_MAX {
            let jobs = runs.iter().map(|run| lit(run.job.hex())).collect();
            table = table.filter(col("job").in_list(jobs, false)).map_err(sql)?;
        }
        if !columns.is_empty() {
            table = table.select_columns(columns).map_err(sql)?;
        }
        collect(&self.stored, &self.snapshot, table.into_unoptimized_plan()).await
    }

    async fn families(&self, stored: Vec<&Arc<StoredRun>>) -> Result<Vec<Family>> {
        let mut pairs: BTreeMap<Pair, Vec<&Arc<StoredRun>>> = BTreeMap::new();
        for run in stored {
            pairs.entry(Pair::of(&run.run)).or_default().push(run);
        }
        let kept: Vec<(Pair, Vec<&Run>)> =
            pairs.into_iter().map(|(pair, runs)| (pair, alike(&runs).0)).collect();
        let runs: Vec<&Run> = kept.iter().flat_map(|(_, runs)| runs.iter().copied()).collect();
        let past = Past::new(&self.snapshot.runs);
        let lending: Vec<Vec<&Run>> = kept.iter().map(|(_, runs)| past.before(runs)).collect();
        let all: BTreeMap<&JobId, &Run> =
            lending.iter().flatten().map(|run| (&run.job, *run)).collect();
        let history = History::read(self, &Vec::from_iter(all.into_values())).await?;
        let mut by_job: BTreeMap<_, Vec<StoredSummary>> = BTreeMap::new();
        for summary in self.summaries(&runs).await? {
            by_job.entry(summary.job.clone()).or_default().push(summary);
        }
        let family = |((pair, runs), lending): ((Pair, Vec<&Run>), Vec<&Run>)| {
            let of_run = |run: &&Run| by_job.get(&run.job).cloned().unwrap_or_default();
            let summaries: Vec<StoredSummary> = runs.iter().flat_map(of_run).collect();
            let (judged, jobs) = judge_family(&summaries, &history.of(&lending), &self.policy);
            let newest = runs.last()?;
            Some(Family {
                pair,
                baseline_asked: newest.baseline.asked.clone(),
                candidate_asked: newest.candidate.asked.clone(),
                finished_us: newest.finished_us,
                judged,
                jobs,
            })
        };
        Ok(kept.into_iter().zip(lending).filter_map(family).collect())
    }

    fn rows(&self, families: &[Family]) -> RecordBatch {
        let all: Vec<(&Family, &Judged, u32)> = families
            .iter()
            .flat_map(|f| f.judged.iter().zip(&f.jobs).map(move |(j, jobs)| (f, j, *jobs)))
            .collect();
        let mut columns: Vec<(&str, ArrayRef, bool)> = Vec::new();
        type Row<'a> = (&'a Family, &'a Judged, u32);
        fn texts(all: &[Row<'_>], of: impl Fn(&Row<'_>) -> Option<String>) -> ArrayRef {
            Arc::new(all.iter().map(of).collect::<StringViewArray>())
        }
        let mut text = |name, of: &dyn Fn(&Row<'_>) -> Option<String>| {
            columns.push((name, texts(&all, of), true));
        };
        text("suite", &|(f, ..)| Some(f.pair.suite.clone()));
        text("baseline_commit", &|(f, ..)| Some(f.pair.baseline.to_string()));
        text("candidate_commit", &|(f, ..)| Some(f.pair.candidate.to_string()));
        text("baseline_asked", &|(f, ..)| Some(f.baseline_asked.clone()));
        text("candidate_asked", &|(f, ..)| Some(f.candidate_asked.clone()));
        text("benchmark", &|(_, j, _)| Some(j.comparison.key.benchmark.clone()));
        text("config", &|(_, j, _)| Some(j.comparison.key.config.clone()));
        text("metric", &|(_, j, _)| Some(j.comparison.key.metric.clone()));
        text("host", &|(_, j, _)| Some(j.comparison.key.host.clone()));
        let unit = |j: &Judged| metric::find(&j.comparison.key.metric).map(|m| m.unit.name());
        text("unit", &|(_, j, _)| unit(j).map(Into::into));
        text("verdict", &|(_, j, _)| Some(j.verdict.name().to_string()));
        text("reason", &|(_, j, _)| match &j.verdict {
            Verdict::Inconclusive(reason) => Some(reason.to_string()),
            _ => None,
        });
        text("architecture", &|(_, j, _)| Some(j.comparison.architecture.clone()));
        text("tier", &|(_, j, _)| {
            let inform = j.comparison.tier == Tier::Inform;
            Some(if inform { "inform" } else { "gate" }.to_string())
        });
        text("policy", &|_| Some(self.policy.name.clone()));
        let mut float = |name, of: &dyn Fn(&Judged) -> Option<f64>| {
            let array: Float64Array = all.iter().map(|(_, j, _)| of(j)).collect();
            columns.push((name, Arc::new(array), true));
        };
        float("effect", &|j| j.comparison.effect());
        float("low", &|j| Some(j.comparison.interval()?.0));
        float("high", &|j| Some(j.comparison.interval()?.1));
        float("p", &|j| Some(j.comparison.estimate?.p));
        float("q", &|j| j.comparison.q);
        float("smallest_effect", &|j| Some(j.comparison.delta.exp_m1()));
        float("detectable", &|j| j.comparison.detectable(&self.policy));
        let noise =
            |j: &Judged, of: &dyn Fn(Noise) -> Option<Variance>| j.comparison.noise.and_then(of);
        float("mean_log_ratio", &|j| Some(j.comparison.estimate?.mean));
        float("variance", &|j| Some(noise(j, &|n| Some(n.used))?.value));
        float("df", &|j| Some(noise(j, &|n| Some(n.used))?.df));
        float("run_variance", &|j| Some(noise(j, &|n| Some(n.run))?.value));
        float("history_variance", &|j| Some(noise(j, &|n| n.history)?.value));
        float("history_df", &|j| Some(noise(j, &|n| n.history)?.df));
        float("crowd_variance", &|j| Some(noise(j, &|n| n.crowd)?.value));
        float("crowd_df", &|j| Some(noise(j, &|n| n.crowd)?.df));
        float("baseline_median", &|j| Some(j.comparison.baseline?.median));
        float("candidate_median", &|j| Some(j.comparison.candidate?.median));
        let mut integer = |name, of: &dyn Fn(&Judged) -> Option<i64>| {
            let array: Int64Array = all.iter().map(|(_, j, _)| of(j)).collect();
            columns.push((name, Arc::new(array), true));
        };
        integer("baseline_min", &|j| Some(j.comparison.baseline?.min));
        integer("baseline_max", &|j| Some(j.comparison.baseline?.max));
        integer("candidate_min", &|j| Some(j.comparison.candidate?.min));
        integer("candidate_max", &|j| Some(j.comparison.candidate?.max));
        integer("rounds", &|j| Some(i64::from(j.comparison.rounds)));
        integer("tainted", &|j| Some(i64::from(j.comparison.tainted)));
        let jobs = Int32Array::from_iter_values(all.iter().map(|(_, _, jobs)| *jobs as i32));
        columns.push(("jobs", Arc::new(jobs), true));
        let decides: BooleanArray =
            all.iter().map(|(_, j, _)| Some(j.comparison.decides)).collect();
        columns.push(("decides", Arc::new(decides), true));
        let finished =
            TimestampMicrosecondArray::from_iter_values(all.iter().map(|(f, ..)| f.finished_us));
        columns.push(("finished", Arc::new(finished.with_timezone("UTC")), true));
        let field = |(name, array, null): &(&str, ArrayRef, bool)| {
            Field::new(*name, array.data_type().clone(), *null)
        };
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        let arrays = columns.into_iter().map(|(_, array, _)| array).collect();
        RecordBatch::try_new(Arc::new(schema), arrays).expect("columns of one length")
    }
}

/// The rows of `summaries` in a batch that belong to the jobs asked for.
fn decode(batch: &RecordBatch, runs: &BTreeMap<String, &Run>) -> Vec<StoredSummary> {
    let column = |name: &str| batch.column_by_name(name).expect("a column of the table");
    let [jobs, benchmarks, configs, metrics] =
        ["job", "benchmark", "config", "metric"].map(|name| column(name).as_string_view());
    let small = |name: &str| column(name).as_primitive::<Int32Type>();
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
    let (rounds, tainted) = (small("rounds"), small("tainted"));
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
            },
        })
    };
    (0..batch.num_rows()).filter_map(summary).collect()
}

/// Which pairs a [`JudgedTable`] shows.
#[derive(Debug)]
enum Shown {
    /// All that the query's filters leave: the table `comparisons`.
    All,
    /// One: a call of `compare(…)`.
    One { baseline: String, candidate: String, filter: Filter },
}

#[derive(Debug)]
pub(crate) struct JudgedTable {
    judge: Arc<Judge>,
    shown: Shown,
    schema: SchemaRef,
}

impl JudgedTable {
    /// The table `comparisons`.
    pub(crate) fn all(judge: Arc<Judge>) -> Self {
        let schema = judge.rows(&[]).schema();
        Self { judge, shown: Shown::All, schema }
    }
}

#[async_trait]
impl TableProvider for JudgedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let runs = &self.judge.snapshot.runs;
        let stored: Vec<&Arc<StoredRun>> = match &self.shown {
            Shown::All => {
                // Only what a whole family shares may choose: a filter on one host or benchmark
                // must not change over what q is adjusted.
                let shared =
                    |n: &str| ["suite", "baseline_commit", "candidate_commit"].contains(&n);
                let kept = rows_kept(state, &self.judge.snapshot.rows, filters, shared)?;
                runs.iter().zip(kept).filter_map(|(run, kept)| kept.then_some(run)).collect()
            }
            Shown::One { baseline, candidate, filter } => {
                resolve(runs, baseline, candidate, filter)?.1
            }
        };
        let rows = self.judge.rows(&self.judge.families(stored).await?);
        let table = MemTable::try_new(self.schema(), vec![vec![rows]])?;
        table.scan(state, projection, &[], limit).await
    }
}

/// `compare('base', 'head' [, 'suite' [, 'host']])`.
#[derive(Debug)]
pub(crate) struct CompareFunction(pub Arc<Judge>);

impl TableFunctionImpl for CompareFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        let usage = || {
            let text =
                "compare takes two to four strings: compare('base', 'head', 'suite', 'host')";
            DataFusionError::Plan(text.into())
        };
        let text = |expr: &Expr| match expr {
            Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => {
                Ok(text.clone())
            }
            _ => Err(usage()),
        };
        let texts: Vec<String> = args.exprs().iter().map(text).collect::<DfResult<_>>()?;
        let (baseline, candidate, rest) = match texts.as_slice() {
            [baseline, candidate, rest @ ..] if rest.len() <= 2 => (baseline, candidate, rest),
            _ => return Err(usage()),
        };
        let filter = Filter { suite: rest.first().cloned(), host: rest.get(1).cloned() };
        let judge = Arc::clone(&self.0);
        let schema = judge.rows(&[]).schema();
        let (baseline, candidate) = (baseline.clone(), candidate.clone());
        let shown = Shown::One { baseline, candidate, filter };
        Ok(Arc::new(JudgedTable { judge, shown, schema }))
    }
}
