//! How cases scale with their number of threads: the samples of a pair to the model's cases, and
//! these as rows of `scaling`.
//!
//! Of each pair the same runs count as for its comparisons, and all that scale in them are one
//! family, so that q is adjusted over them. Every side of a case has a row for each number of
//! threads: what is said of that number, then what is said of the side's curve and of the case.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use datafusion::logical_expr::{col, lit};
use dyno_model::catalog::policy::Policy;
use dyno_model::catalog::suite::THREADS;
use dyno_model::id::JobId;
use dyno_model::metric::{METRICS, WALL};
use dyno_model::record::{RunRow, Side};
use dyno_model::stats::scaling::{Basis, Difference, Fit, Law, Parameter};
use dyno_model::verdict::{ScalingCase, ScalingPoint, ScalingSample, ScalingSide, scaling_cases};
use dyno_store::Folder;

use crate::columns::Columns;
use crate::compared::PairComparison;
use crate::error::Result;
use crate::pair_columns::{PairColumns, reason};
use crate::pairs::{Filter, Pair, bound_by_job};
use crate::reader::SummaryReader;
use crate::sql_text::quoted;

impl PairComparison {
    /// SQL that gives the numbers of one case of [`crate::Session::scaling_cases`], one row a side
    /// and number of threads.
    pub fn sql_for_scaling(&self, case: &ScalingCase) -> String {
        let ScalingCase { host, benchmark, config, .. } = case;
        format!(
            "SELECT side, threads, rounds, median_ns, speedup, speedup_low, speedup_high, sigma, kappa,\n       \
             best_threads, residual, no_fit, effect, low, high, sigma_change, kappa_change, q, verdict\n\
             FROM {}\n\
             WHERE benchmark = {} AND config = {} AND host = {}\nORDER BY side, threads",
            self.call_text("compare_scaling"),
            quoted(benchmark),
            quoted(config),
            quoted(host)
        )
    }
}

/// One row of `samples`, of a run.
struct SampleRow {
    job: JobId,
    sequence: i32,
    benchmark: String,
    config: String,
    metric: String,
    round: u32,
    side: Side,
    value: i64,
    is_tainted: bool,
}

/// Every case of `runs`, which are of one pair, judged under `policy`.
pub(crate) async fn cases(
    reader: &SummaryReader,
    policy: &Policy,
    runs: &[&RunRow],
    filter: &Filter,
) -> Result<Vec<ScalingCase>> {
    let samples = read_samples(reader, runs, filter).await?;
    Ok(judge_cases(policy, runs, &samples))
}

/// The samples of `runs` that say how something scales.
async fn read_samples(
    reader: &SummaryReader,
    runs: &[&RunRow],
    asked: &Filter,
) -> Result<BTreeMap<JobId, Vec<SampleRow>>> {
    let columns =
        ["job", "sequence", "benchmark", "config", "metric", "round", "side", "value", "taint"];
    let metric = col("metric").eq(lit(WALL)).or(col("metric").like(lit("instructions%")));
    let filter = metric.and(col("config").like(lit(format!("%{THREADS}=%"))));
    let jobs: BTreeMap<&str, &JobId> = runs.iter().map(|run| (run.job.hex(), &run.job)).collect();
    let mut by_job: BTreeMap<JobId, Vec<SampleRow>> = BTreeMap::new();
    let batches = reader.read_published(Folder::Samples, runs, &columns, Some(filter)).await?;
    let mut samples: Vec<SampleRow> =
        batches.iter().flat_map(|batch| decode(batch, &jobs)).collect();
    let name = |s: &SampleRow| (s.benchmark.clone(), s.config.clone(), s.metric.clone());
    bound_by_job(&mut samples, runs, asked, |s| (s.job.clone(), name(s)));
    for sample in samples {
        by_job.entry(sample.job.clone()).or_default().push(sample);
    }
    // A round that was disturbed comes again, and the last counts.
    by_job.values_mut().for_each(|samples| samples.sort_by_key(|sample| sample.sequence));
    Ok(by_job)
}

fn decode(batch: &RecordBatch, runs: &BTreeMap<&str, &JobId>) -> Vec<SampleRow> {
    let column = |name: &str| batch.column_by_name(name).expect("a column asked for");
    let [jobs, benchmarks, configs, metrics, sides, taints] =
        ["job", "benchmark", "config", "metric", "side", "taint"]
            .map(|name| column(name).as_string_view());
    let [sequences, rounds] =
        ["sequence", "round"].map(|name| column(name).as_primitive::<Int32Type>());
    let values = column("value").as_primitive::<Int64Type>();
    let row = |row: usize| {
        Some(SampleRow {
            job: (*runs.get(jobs.value(row))?).clone(),
            sequence: sequences.value(row),
            benchmark: benchmarks.value(row).to_string(),
            config: configs.value(row).to_string(),
            metric: metrics.value(row).to_string(),
            round: rounds.value(row).max(0) as u32,
            side: Side::BOTH.into_iter().find(|side| side.name() == sides.value(row))?,
            value: values.value(row),
            is_tainted: !taints.value(row).is_empty(),
        })
    };
    (0..batch.num_rows()).filter_map(row).collect()
}

fn judge_cases(
    policy: &Policy,
    runs: &[&RunRow],
    samples: &BTreeMap<JobId, Vec<SampleRow>>,
) -> Vec<ScalingCase> {
    let kinds: Vec<String> = runs.iter().map(|run| run.fingerprint.kind()).collect();
    let scaling_samples = runs.iter().zip(&kinds).flat_map(|(run, architecture)| {
        let rows = samples.get(&run.job).map_or(&[][..], Vec::as_slice);
        rows.iter().map(move |row| ScalingSample {
            job: run.job.hex(),
            host: &run.host,
            architecture,
            benchmark: &row.benchmark,
            config: &row.config,
            metric: &row.metric,
            round: row.round,
            side: row.side,
            value: row.value,
            is_tainted: row.is_tainted,
        })
    });
    let ignoring_sides = |run: &&RunRow| {
        let job = run.job.hex().to_string();
        run.ignores_threads.iter().map(move |side| (job.clone(), *side)).collect::<Vec<_>>()
    };
    let ignored: BTreeSet<(String, Side)> = runs.iter().flat_map(ignoring_sides).collect();
    scaling_cases(scaling_samples, &ignored, policy)
}

/// One row: a pair, a case of it, one side, one number of threads.
type Row<'a> = (&'a PairColumns, &'a ScalingCase, Side, &'a ScalingPoint);

/// The rows of `pairs`.
pub(crate) async fn rows(
    reader: &SummaryReader,
    policy: &Policy,
    pairs: &[(&Pair, Vec<&RunRow>)],
    filter: &Filter,
) -> Result<RecordBatch> {
    let runs: Vec<&RunRow> = pairs.iter().flat_map(|(_, runs)| runs.iter().copied()).collect();
    let samples = read_samples(reader, &runs, filter).await?;
    let family = |(pair, runs): &(&Pair, Vec<&RunRow>)| {
        Some((PairColumns::new(pair, runs)?, judge_cases(policy, runs, &samples)))
    };
    let families: Vec<(PairColumns, Vec<ScalingCase>)> = pairs.iter().filter_map(family).collect();
    Ok(family_rows(policy, &families))
}

/// The rows of no pair: columns alone.
pub(crate) fn no_rows(policy: &Policy) -> RecordBatch {
    family_rows(policy, &[])
}

const fn side_of(case: &ScalingCase, side: Side) -> &ScalingSide {
    match side {
        Side::Baseline => &case.baseline,
        Side::Candidate => &case.candidate,
    }
}

/// The law that is shown: the Universal Scalability Law, or Amdahl's where only that fits.
fn law<'a>((_, case, side, _): &Row<'a>) -> Option<&'a Fit> {
    let fits = side_of(case, *side).curve.as_ref()?;
    fits.universal.as_ref().or(fits.amdahl.as_ref()).ok()
}

fn amdahl<'a>((_, case, side, _): &Row<'a>) -> Option<&'a Fit> {
    side_of(case, *side).curve.as_ref()?.amdahl.as_ref().ok()
}

/// Why no law is shown.
fn no_fit((_, case, side, _): &Row<'_>) -> Option<String> {
    let side = side_of(case, *side);
    match (&side.no_curve, &side.curve) {
        (Some(why), _) => Some(format!("no curve: {why}")),
        (None, Some(fits)) if fits.amdahl.is_ok() => None,
        (None, Some(fits)) => Some(fits.universal.as_ref().err()?.to_string()),
        (None, None) => None,
    }
}

/// The first of the metrics that count instructions, in the order of [`METRICS`].
fn instructions(point: &ScalingPoint) -> Option<(&String, f64)> {
    let known = METRICS.iter().find_map(|metric| point.instructions.get_key_value(metric.name));
    known.or_else(|| point.instructions.first_key_value()).map(|(name, median)| (name, *median))
}

fn difference<'a>((_, case, ..): &Row<'a>) -> Option<&'a Difference> {
    case.scaled.difference.as_ref().ok()
}

/// Differences of σ and κ, candidate − baseline; `None` where a side has no fit of both.
fn changes(row: &Row<'_>) -> Option<(Parameter, Parameter)> {
    let Basis::Law { sigma, kappa } = difference(row)?.basis else { return None };
    let interval = |(estimate, half_width): (f64, f64)| Parameter {
        estimate,
        low: estimate - half_width,
        high: estimate + half_width,
    };
    Some((interval(sigma), interval(kappa)))
}

fn family_rows(policy: &Policy, families: &[(PairColumns, Vec<ScalingCase>)]) -> RecordBatch {
    let points = |pair, case| {
        let points =
            move |side| side_of(case, side).points.iter().map(move |p| (pair, case, side, p));
        Side::BOTH.into_iter().flat_map(points)
    };
    let points: Vec<Row<'_>> = families
        .iter()
        .flat_map(|(pair, cases)| cases.iter().flat_map(move |case| points(pair, case)))
        .collect();
    let mut rows = Columns::new(&points);
    PairColumns::add(&mut rows, |(pair, ..)| pair);
    rows.text("host", |(_, case, ..)| Some(&case.host));
    rows.text("architecture", |(_, case, ..)| Some(&case.architecture));
    rows.text("benchmark", |(_, case, ..)| Some(&case.benchmark));
    rows.text("config", |(_, case, ..)| Some(&case.config));
    rows.text("side", |(_, _, side, _)| Some(side.name()));
    rows.u32("threads", |(.., point)| Some(point.threads));
    rows.u32("rounds", |(.., point)| Some(point.rounds));
    rows.float("median_ns", |(.., point)| Some(point.time_ns));
    rows.text("instructions_metric", |(.., point)| Some(instructions(point)?.0));
    rows.float("instructions", |(.., point)| Some(instructions(point)?.1));
    let speedup = |row: &Row<'_>| row.3.speedup;
    parameter(&mut rows, ["speedup", "speedup_low", "speedup_high"], speedup);
    let efficiency = |row: &Row<'_>| row.3.efficiency;
    parameter(&mut rows, ["efficiency", "efficiency_low", "efficiency_high"], efficiency);
    rows.u32("tainted", |(_, case, side, _)| Some(side_of(case, *side).tainted));
    rows.text("law", |row| {
        Some(match law(row)?.law {
            Law::Universal => "universal",
            Law::Amdahl => "amdahl",
        })
    });
    parameter(&mut rows, ["sigma", "sigma_low", "sigma_high"], |row| Some(law(row)?.sigma));
    parameter(&mut rows, ["kappa", "kappa_low", "kappa_high"], |row| Some(law(row)?.kappa));
    rows.u32("best_threads", |row| Some(law(row)?.best?.threads));
    rows.u32("best_threads_low", |row| Some(law(row)?.best?.low));
    rows.u32("best_threads_high", |row| Some(law(row)?.best?.high));
    rows.u32("best_threads_limit", |row| Some(law(row)?.best?.limit));
    rows.float("residual", |row| Some(law(row)?.residual));
    let names = ["amdahl_sigma", "amdahl_sigma_low", "amdahl_sigma_high"];
    parameter(&mut rows, names, |row| Some(amdahl(row)?.sigma));
    rows.float("amdahl_residual", |row| Some(amdahl(row)?.residual));
    rows.text("no_fit", no_fit);
    rows.u32("threads_compared", |row| Some(difference(row)?.threads));
    rows.float("effect", |row| Some(difference(row)?.estimate.mean.exp_m1()));
    let interval_end = |row: &Row<'_>, sign: f64| {
        let estimate = difference(row)?.estimate;
        Some((estimate.mean + sign * estimate.half_width).exp_m1())
    };
    rows.float("low", |row| interval_end(row, -1.0));
    rows.float("high", |row| interval_end(row, 1.0));
    rows.float("p", |row| Some(difference(row)?.estimate.p));
    let names = ["sigma_change", "sigma_change_low", "sigma_change_high"];
    parameter(&mut rows, names, |row| Some(changes(row)?.0));
    let names = ["kappa_change", "kappa_change_low", "kappa_change_high"];
    parameter(&mut rows, names, |row| Some(changes(row)?.1));
    rows.float("q", |(_, case, ..)| case.scaled.q);
    rows.float("smallest_effect", |row| Some(difference(row)?.delta.exp_m1()));
    rows.text("verdict", |(_, case, ..)| Some(case.scaled.verdict.name()));
    rows.text("reason", |(_, case, ..)| reason(&case.scaled.verdict));
    rows.text("policy", |_| Some(&policy.name));
    rows.time("finished", |(pair, ..)| pair.finished_us);
    rows.batch()
}

/// An estimate and its interval.
fn parameter<'a, R>(
    rows: &mut Columns<'a, R>,
    [estimate, low, high]: [&'static str; 3],
    value: impl Fn(&'a R) -> Option<Parameter>,
) {
    rows.float(estimate, |row| Some(value(row)?.estimate));
    rows.float(low, |row| Some(value(row)?.low));
    rows.float(high, |row| Some(value(row)?.high));
}
