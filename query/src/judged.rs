//! The tables `comparisons` and `scaling` and the functions of one pair beside them: verdicts of the
//! model as rows.
//!
//! Nothing is computed here that the model computes: a scan reads the summaries of the pairs that
//! the filters leave, has [`crate::compare`] (or [`crate::scaling`]) judge them, and shows the result
//! as columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result as DfResult, ScalarValue};
use datafusion::datasource::{MemTable, TableType};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, col, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use dyno_model::catalog::policy::{Gate, Policy};
use dyno_model::id::JobId;
use dyno_model::metric;
use dyno_model::record::{Extent, RunRow, Summary};
use dyno_model::stats::{Noise, Variance};
use dyno_model::verdict::{Judged, Verdict};

use crate::columns::Columns;
use crate::compare::{Compared, Filter, Pair, StoredSummary, alike, judge_family, resolve};
use crate::error::{Error, Result};
use crate::noise::{History, Past};
use crate::scaling;
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

/// A pair, and what is said of it in each row.
pub(crate) struct Head {
    pub pair: Pair,
    pub baseline_asked: String,
    pub candidate_asked: String,
    pub finished_us: i64,
}

impl Head {
    /// Of a pair and its runs that count, oldest first; `None` where there are none.
    pub(crate) fn of(pair: &Pair, runs: &[&RunRow]) -> Option<Self> {
        let newest = runs.last()?;
        Some(Self {
            pair: pair.clone(),
            baseline_asked: newest.baseline.asked.clone(),
            candidate_asked: newest.candidate.asked.clone(),
            finished_us: newest.finished_us,
        })
    }

    /// The columns that say which pair it is; those of `rows` whose head `of` gives.
    pub(crate) fn columns<'a, R>(rows: &mut Columns<'a, R>, of: impl Fn(&'a R) -> &'a Self) {
        rows.text("suite", |row| Some(&of(row).pair.suite));
        rows.text("baseline_commit", |row| Some(of(row).pair.baseline.to_string()));
        rows.text("candidate_commit", |row| Some(of(row).pair.candidate.to_string()));
        rows.text("baseline_asked", |row| Some(&of(row).baseline_asked));
        rows.text("candidate_asked", |row| Some(&of(row).candidate_asked));
    }
}

/// The judged series of one pair.
struct Family {
    head: Head,
    judged: Vec<Judged>,
    jobs: Vec<u32>,
}

/// The pairs of `stored`, each with its runs that count, oldest first.
pub(crate) fn pairs<'a>(stored: &[&'a Arc<StoredRun>]) -> Vec<(Pair, Vec<&'a RunRow>)> {
    let mut pairs: BTreeMap<Pair, Vec<&Arc<StoredRun>>> = BTreeMap::new();
    for run in stored {
        pairs.entry(Pair::of(&run.run)).or_default().push(run);
    }
    pairs.into_iter().map(|(pair, runs)| (pair, alike(&runs).0)).collect()
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
    pub(crate) async fn summaries(&self, runs: &[&RunRow]) -> Result<Vec<StoredSummary>> {
        let by_job: BTreeMap<String, &RunRow> =
            runs.iter().map(|run| (run.job.to_string(), *run)).collect();
        let batches = self.read("summaries", runs, &[], None).await?;
        let mut all: Vec<StoredSummary> = Vec::new();
        for batch in &batches {
            all.extend(decode(batch, &by_job));
        }
        let key = |s: &StoredSummary| (s.job.clone(), s.summary.benchmark.clone());
        all.sort_by_cached_key(key);
        Ok(all)
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

    async fn families(&self, stored: Vec<&Arc<StoredRun>>) -> Result<Vec<Family>> {
        let kept = pairs(&stored);
        let runs: Vec<&RunRow> = kept.iter().flat_map(|(_, runs)| runs.iter().copied()).collect();
        let past = Past::new(&self.snapshot.runs);
        let lending: Vec<Vec<&RunRow>> = kept.iter().map(|(_, runs)| past.before(runs)).collect();
        let all: BTreeMap<&JobId, &RunRow> =
            lending.iter().flatten().map(|run| (&run.job, *run)).collect();
        let history = History::read(self, &Vec::from_iter(all.into_values())).await?;
        let mut by_job: BTreeMap<_, Vec<StoredSummary>> = BTreeMap::new();
        for summary in self.summaries(&runs).await? {
            by_job.entry(summary.job.clone()).or_default().push(summary);
        }
        let family = |((pair, runs), lending): ((Pair, Vec<&RunRow>), Vec<&RunRow>)| {
            let of_run = |run: &&RunRow| by_job.get(&run.job).cloned().unwrap_or_default();
            let summaries: Vec<StoredSummary> = runs.iter().flat_map(of_run).collect();
            let (judged, jobs) = judge_family(&summaries, &history.of(&lending), &self.policy);
            Some(Family { head: Head::of(&pair, &runs)?, judged, jobs })
        };
        Ok(kept.into_iter().zip(lending).filter_map(family).collect())
    }

    fn rows(&self, families: &[Family]) -> RecordBatch {
        let all: Vec<(&Family, &Judged, u32)> = families
            .iter()
            .flat_map(|f| f.judged.iter().zip(&f.jobs).map(move |(j, jobs)| (f, j, *jobs)))
            .collect();
        let mut rows = Columns::of(&all);
        Head::columns(&mut rows, |(family, ..)| &family.head);
        rows.text("benchmark", |(_, j, _)| Some(&j.comparison.key.benchmark));
        rows.text("config", |(_, j, _)| Some(&j.comparison.key.config));
        rows.text("metric", |(_, j, _)| Some(&j.comparison.key.metric));
        rows.text("host", |(_, j, _)| Some(&j.comparison.key.host));
        rows.text("unit", |(_, j, _)| {
            metric::find(&j.comparison.key.metric).map(|m| m.unit.name())
        });
        rows.text("verdict", |(_, j, _)| Some(j.verdict.name()));
        rows.text("reason", |(_, j, _)| reason(&j.verdict));
        rows.text("architecture", |(_, j, _)| Some(&j.comparison.architecture));
        rows.text("tier", |(_, j, _)| {
            Some(if j.comparison.tier == Gate::Informs { "inform" } else { "gate" })
        });
        rows.text("policy", |_| Some(&self.policy.name));
        let mut float =
            |name, of: &dyn Fn(&Judged) -> Option<f64>| rows.float(name, |(_, j, _)| of(j));
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
        float("crowd_variance", &|j| Some(noise(j, &|n| n.peer_prior)?.value));
        float("crowd_df", &|j| Some(noise(j, &|n| n.peer_prior)?.df));
        float("baseline_median", &|j| Some(j.comparison.baseline?.median));
        float("candidate_median", &|j| Some(j.comparison.candidate?.median));
        rows.integer("baseline_min", |(_, j, _)| Some(j.comparison.baseline?.min));
        rows.integer("baseline_max", |(_, j, _)| Some(j.comparison.baseline?.max));
        rows.integer("candidate_min", |(_, j, _)| Some(j.comparison.candidate?.min));
        rows.integer("candidate_max", |(_, j, _)| Some(j.comparison.candidate?.max));
        rows.integer("rounds", |(_, j, _)| Some(i64::from(j.comparison.rounds)));
        rows.integer("tainted", |(_, j, _)| Some(i64::from(j.comparison.tainted)));
        rows.small("jobs", |(_, _, jobs)| Some(*jobs));
        rows.flag("decides", |(_, j, _)| Some(j.comparison.decides));
        rows.time("finished", |(family, ..)| family.head.finished_us);
        rows.batch()
    }

    /// What is said of the pairs of `stored`.
    async fn answer(&self, answer: Answer, stored: Vec<&Arc<StoredRun>>) -> Result<RecordBatch> {
        match answer {
            Answer::Comparisons => Ok(self.rows(&self.families(stored).await?)),
            Answer::Scaling => scaling::rows(self, &pairs(&stored)).await,
        }
    }
}

/// Why a verdict is none.
pub(crate) fn reason(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Inconclusive(reason) => Some(reason.to_string()),
        _ => None,
    }
}

/// The rows of `summaries` in a batch that belong to the jobs asked for.
fn decode(batch: &RecordBatch, runs: &BTreeMap<String, &RunRow>) -> Vec<StoredSummary> {
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
    /// All that the query's filters leave: a table.
    All,
    /// One: a call of a function.
    One { baseline: String, candidate: String, filter: Filter },
}

/// What a [`JudgedTable`] says of its pairs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// `comparisons`, `compare(…)`.
    Comparisons,
    /// `scaling`, `compare_scaling(…)`.
    Scaling,
}

impl Answer {
    fn schema(self, judge: &Judge) -> SchemaRef {
        match self {
            Self::Comparisons => judge.rows(&[]).schema(),
            Self::Scaling => scaling::no_rows(judge).schema(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct JudgedTable {
    judge: Arc<Judge>,
    answer: Answer,
    shown: Shown,
    schema: SchemaRef,
}

impl JudgedTable {
    /// The table of all pairs.
    pub(crate) fn all(judge: Arc<Judge>, answer: Answer) -> Self {
        let schema = answer.schema(&judge);
        Self { judge, answer, shown: Shown::All, schema }
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
        let rows = self.judge.answer(self.answer, stored).await?;
        let table = MemTable::try_new(self.schema(), vec![vec![rows]])?;
        table.scan(state, projection, &[], limit).await
    }
}

/// `compare('base', 'head' [, 'suite' [, 'host']])`, or another function that says something of one
/// pair.
#[derive(Debug)]
pub(crate) struct CompareFunction {
    pub judge: Arc<Judge>,
    pub answer: Answer,
}

impl TableFunctionImpl for CompareFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        let usage = || {
            let name = match self.answer {
                Answer::Comparisons => "compare",
                Answer::Scaling => "compare_scaling",
            };
            DataFusionError::Plan(format!(
                "{name} takes two to four strings: {name}('base', 'head', 'suite', 'host')"
            ))
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
        let (judge, answer) = (Arc::clone(&self.judge), self.answer);
        let schema = answer.schema(&judge);
        let (baseline, candidate) = (baseline.clone(), candidate.clone());
        let shown = Shown::One { baseline, candidate, filter };
        Ok(Arc::new(JudgedTable { judge, answer, shown, schema }))
    }
}
