//! Judging: summaries of comparable runs to the model's verdicts, and these as rows.
//!
//! Nothing is computed here that the model computes: a [`Judge`] has its [`SummaryReader`] read the
//! summaries of the pairs it is given, and the model pool, estimate and decide under one policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use dyno_model::catalog::policy::{Gate, Policy};
use dyno_model::id::JobId;
use dyno_model::metric;
use dyno_model::pool::pool;
use dyno_model::record::{Failure, RunRow, Summary};
use dyno_model::stats::{Noise, Variance};
use dyno_model::verdict::{self, Failing, Input, Judged, PParts};
use dyno_store::{Folder, StoredRun};
use object_store::path::Path;

use crate::columns::Columns;
use crate::compared::PairComparison;
use crate::error::Result;
use crate::noise::{History, PastRuns, PastSeriesById};
use crate::pair_columns::{PairColumns, reason};
use crate::pairs::{
    Filter, Names, Pair, Resolved, bound_by_job, comparable_pairs, comparable_runs, labels,
    pairs_with_runs, resolve,
};
use crate::reader::{StoredSummary, SummaryReader};
use crate::scaling;

/// A table of what is said of pairs of commits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PairTable {
    /// `comparisons`, `compare(…)`.
    Comparisons,
    /// `scaling`, `compare_scaling(…)`.
    Scaling,
}

/// Judges what its reader reads, under one policy.
pub(crate) struct Judge {
    pub reader: SummaryReader,
    pub policy: Policy,
    /// The run rows of the store that the policy lets count, ordered by job.
    counted: Vec<Arc<StoredRun>>,
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judge").field("policy", &self.policy.name).finish_non_exhaustive()
    }
}

/// The judged series of one pair.
struct Family {
    pair: PairColumns,
    judged: Vec<Judged>,
    /// The number of jobs in each series, as `judged`.
    jobs: Vec<u32>,
}

impl Judge {
    /// A judge of what `reader` reads. Where the policy counts signed rows only, the others are
    /// named as one problem; SQL over the stored tables has them all the same.
    pub(crate) fn new(reader: SummaryReader, policy: Policy) -> Self {
        let runs = &reader.snapshot.runs;
        let counts = |row: &&Arc<StoredRun>| !policy.signed_only || row.is_signed_by_host();
        let counted: Vec<Arc<StoredRun>> = runs.iter().filter(counts).cloned().collect();
        let left_out = runs.len() - counted.len();
        if left_out > 0 {
            let fault = format!(
                "{left_out} of its {} run rows are not signed by their hosts, and the policy {} \
                 counts no others",
                runs.len(),
                policy.name
            );
            reader.snapshot.store.quarantine(&Path::from(Folder::Runs.name()), fault);
        }
        Self { reader, policy, counted }
    }

    /// Every run row of the store that counts, ordered by job.
    pub(crate) fn run_rows(&self) -> &[Arc<StoredRun>] {
        &self.counted
    }

    /// The comparison of two commits.
    pub(crate) async fn compare(
        &self,
        names: Names<'_>,
        filter: &Filter,
    ) -> Result<PairComparison> {
        let Resolved { pair, runs: rows, others: other_pairs, names_from } =
            resolve(self.run_rows(), names, filter)?;
        let (comparable, excluded_jobs) = comparable_runs(&rows, filter);
        let runs: Vec<&RunRow> = comparable.iter().map(|row| &row.run).collect();
        let history_runs = PastRuns::new(self.run_rows()).history_runs(&runs);
        let history = History::read(&self.reader, &history_runs).await?.pooled(&history_runs);
        let mut summaries = self.reader.summaries_to_judge(&runs).await?;
        bound_by_job(&mut summaries, &runs, filter, series_name);
        let runs = bounded_failures(&runs, &summaries, filter);
        let (judged, jobs) = judge_family(&summaries, &runs, &history, &self.policy);
        // Another job of the pair that measured none of these cases has nothing to say of them.
        let (comparable, runs): (Vec<_>, Vec<_>) = comparable
            .into_iter()
            .zip(runs)
            .filter(|(_, run)| is_of_cases(run, &summaries, filter))
            .unzip();
        Ok(PairComparison {
            history_runs: history_runs.into_iter().map(|run| run.job.clone()).collect(),
            labels: labels(&pair, &runs, names),
            names_from,
            baseline: pair.baseline,
            candidate: pair.candidate,
            suite: pair.suite,
            filter: filter.clone(),
            signers: comparable.iter().map(|row| row.signer.clone()).collect(),
            sample_files: comparable.iter().map(|row| row.path(Folder::Samples)).collect(),
            runs,
            excluded_jobs,
            other_pairs,
            judged,
            jobs,
            problems: self.reader.snapshot.store.problems(),
        })
    }

    /// The rows that `table` has of the pairs of `rows`, bounded by the job of `filter`.
    pub(crate) async fn rows(
        &self,
        table: PairTable,
        rows: &[Arc<StoredRun>],
        filter: &Filter,
    ) -> Result<RecordBatch> {
        let pairs = pairs_with_runs(rows);
        let pairs = comparable_pairs(&pairs, filter);
        match table {
            PairTable::Comparisons => {
                Ok(self.comparison_rows(&self.families(&pairs, filter).await?))
            }
            PairTable::Scaling => scaling::rows(&self.reader, &self.policy, &pairs, filter).await,
        }
    }

    /// The columns of `table`; nothing is read.
    pub(crate) fn schema(&self, table: PairTable) -> SchemaRef {
        match table {
            PairTable::Comparisons => self.comparison_rows(&[]).schema(),
            PairTable::Scaling => scaling::no_rows(&self.policy).schema(),
        }
    }

    async fn families(
        &self,
        pairs: &[(&Pair, Vec<&RunRow>)],
        filter: &Filter,
    ) -> Result<Vec<Family>> {
        let runs: Vec<&RunRow> = pairs.iter().flat_map(|(_, runs)| runs.iter().copied()).collect();
        let past = PastRuns::new(self.run_rows());
        let history_runs: Vec<Vec<&RunRow>> =
            pairs.iter().map(|(_, runs)| past.history_runs(runs)).collect();
        let distinct: BTreeMap<&JobId, &RunRow> =
            history_runs.iter().flatten().map(|run| (&run.job, *run)).collect();
        let history = History::read(&self.reader, &Vec::from_iter(distinct.into_values())).await?;
        let mut by_job: BTreeMap<_, Vec<StoredSummary>> = BTreeMap::new();
        for summary in self.reader.summaries_to_judge(&runs).await? {
            by_job.entry(summary.job.clone()).or_default().push(summary);
        }
        let family = |((pair, runs), history_runs): (&(&Pair, Vec<&RunRow>), &Vec<&RunRow>)| {
            let summaries_of = |run: &&RunRow| by_job.get(&run.job).cloned().unwrap_or_default();
            let mut summaries: Vec<StoredSummary> = runs.iter().flat_map(summaries_of).collect();
            bound_by_job(&mut summaries, runs, filter, series_name);
            let history = history.pooled(history_runs);
            let bounded = bounded_failures(runs, &summaries, filter);
            let (judged, jobs) = judge_family(&summaries, &bounded, &history, &self.policy);
            Some(Family { pair: PairColumns::new(pair, runs)?, judged, jobs })
        };
        Ok(pairs.iter().zip(&history_runs).filter_map(family).collect())
    }

    fn comparison_rows(&self, families: &[Family]) -> RecordBatch {
        let series: Vec<(&Family, &Judged, u32)> = families
            .iter()
            .flat_map(|f| f.judged.iter().zip(&f.jobs).map(move |(j, jobs)| (f, j, *jobs)))
            .collect();
        let mut rows = Columns::new(&series);
        PairColumns::add(&mut rows, |(family, ..)| &family.pair);
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
            |name, value: &dyn Fn(&Judged) -> Option<f64>| rows.float(name, |(_, j, _)| value(j));
        float("effect", &|j| j.comparison.effect());
        float("low", &|j| Some(j.comparison.interval()?.0));
        float("high", &|j| Some(j.comparison.interval()?.1));
        float("p", &|j| j.comparison.p());
        let part =
            |j: &Judged, part: fn(&PParts) -> f64| Some(part(j.comparison.p_parts.as_ref()?));
        float("p_inverse_chi_squared", &|j| part(j, |parts| parts.inverse_chi_squared));
        float("p_log_normal", &|j| part(j, |parts| parts.log_normal));
        float("p_accident", &|j| part(j, |parts| parts.accident));
        float("q", &|j| j.comparison.q);
        float("smallest_effect", &|j| Some(j.comparison.delta.exp_m1()));
        float("detectable", &|j| j.comparison.detectable(&self.policy));
        let noise = |j: &Judged, part: &dyn Fn(Noise) -> Option<Variance>| {
            j.comparison.noise.and_then(part)
        };
        float("mean_log_ratio", &|j| Some(j.comparison.estimate?.mean));
        float("variance", &|j| Some(noise(j, &|n| Some(n.used))?.value));
        float("df", &|j| Some(noise(j, &|n| Some(n.used))?.df));
        float("run_variance", &|j| Some(noise(j, &|n| Some(n.run))?.value));
        float("history_variance", &|j| Some(noise(j, &|n| n.history)?.value));
        float("history_df", &|j| Some(noise(j, &|n| n.history)?.df));
        float("peer_prior_variance", &|j| Some(noise(j, &|n| n.peer_prior)?.value));
        float("peer_prior_df", &|j| Some(noise(j, &|n| n.peer_prior)?.df));
        float("baseline_median", &|j| Some(j.comparison.baseline?.median));
        float("candidate_median", &|j| Some(j.comparison.candidate?.median));
        rows.integer("baseline_min", |(_, j, _)| Some(j.comparison.baseline?.min));
        rows.integer("baseline_max", |(_, j, _)| Some(j.comparison.baseline?.max));
        rows.integer("candidate_min", |(_, j, _)| Some(j.comparison.candidate?.min));
        rows.integer("candidate_max", |(_, j, _)| Some(j.comparison.candidate?.max));
        rows.integer("rounds", |(_, j, _)| Some(i64::from(j.comparison.rounds)));
        rows.integer("tainted", |(_, j, _)| Some(i64::from(j.comparison.tainted)));
        rows.integer("states", |(_, j, _)| Some(j.comparison.states.as_ref()?.states.len() as i64));
        rows.integer("zeros", |(_, j, _)| j.comparison.zeros.map(|zeros| i64::from(zeros.zeros())));
        rows.u32("jobs", |(_, _, jobs)| Some(*jobs));
        rows.flag("decides", |(_, j, _)| Some(j.comparison.decides));
        rows.flag("companion", |(_, j, _)| Some(j.comparison.is_companion));
        rows.time("finished", |(family, ..)| family.pair.finished_us);
        rows.batch()
    }
}

/// The job of a summary, and its series.
fn series_name(stored: &StoredSummary) -> (JobId, (String, String, String)) {
    let Summary { benchmark, config, metric, .. } = &stored.summary;
    (stored.job.clone(), (benchmark.clone(), config.clone(), metric.clone()))
}

/// `runs` with the failures of what `filter` asks for: where a job bounds the answer, those of its
/// cases, and its own.
fn bounded_failures(runs: &[&RunRow], summaries: &[StoredSummary], filter: &Filter) -> Vec<RunRow> {
    let mut runs: Vec<RunRow> = runs.iter().map(|run| (*run).clone()).collect();
    if filter.job.is_none() {
        return runs;
    }
    let scope = |f: &Failure| (f.benchmark.clone(), f.config.clone());
    let measured = summaries.iter().map(|stored| {
        let Summary { benchmark, config, .. } = &stored.summary;
        (Some(benchmark.clone()), Some(config.clone()))
    });
    let bounding = runs.iter().filter(|run| filter.is_of_job(run));
    let own = bounding.flat_map(|run| &run.failures).map(scope);
    let cases: BTreeSet<(Option<String>, Option<String>)> = measured.chain(own).collect();
    for run in &mut runs {
        run.failures.retain(|f| f.benchmark.is_none() || cases.contains(&scope(f)));
    }
    runs
}

/// Whether `run` is the job that bounds the answer, or measured one of its cases; `summaries` are
/// those of the answer. Artifacts, which every job has, are no cases.
fn is_of_cases(run: &RunRow, summaries: &[StoredSummary], filter: &Filter) -> bool {
    let is_case = |stored: &StoredSummary| {
        stored.job == run.job && stored.summary.metric != metric::ARTIFACT_SIZE
    };
    filter.is_of_job(run)
        || summaries.iter().any(is_case)
        || run.failures.iter().any(|failure| failure.benchmark.is_some())
}

/// Judges one family: pools each series' summaries, estimates with `history`, adjusts, decides; what
/// fails in `runs` may be flaky. Beside the verdicts stands the number of jobs in each series.
pub(crate) fn judge_family(
    summaries: &[StoredSummary],
    runs: &[RunRow],
    history: &PastSeriesById,
    policy: &Policy,
) -> (Vec<Judged>, Vec<u32>) {
    let mut series: BTreeMap<(&str, &str, &str, &str), Vec<&StoredSummary>> = BTreeMap::new();
    for stored in summaries {
        let Summary { benchmark, config, metric, .. } = &stored.summary;
        series.entry((benchmark, config, metric, &stored.host)).or_default().push(stored);
    }
    let measured = summaries.iter().map(|stored| {
        let Summary { benchmark, config, baseline, candidate, .. } = &stored.summary;
        let case = (stored.host.clone(), benchmark.clone(), config.clone());
        (case, [baseline.is_some(), candidate.is_some()])
    });
    let has_failures = runs.iter().any(|run| !run.failures.is_empty());
    let failing = Failing::in_runs(runs);
    let failing = if has_failures { failing.with_measured(measured) } else { failing };
    let jobs = series.values().map(|parts| parts.len() as u32).collect();
    let input = |parts: Vec<&StoredSummary>| {
        let first = parts.first()?;
        let summaries: Vec<&Summary> = parts.iter().map(|stored| &stored.summary).collect();
        let Summary { benchmark, config, .. } = &first.summary;
        let past = history.get(&first.series).copied().unwrap_or_default();
        Some(Input {
            host: first.host.clone(),
            architecture: first.architecture.clone(),
            summary: pool(&summaries)?,
            is_flaky: failing.is_flaky(&first.host, benchmark, config),
            history: past.variance,
            past_states: past.states,
        })
    };
    let inputs: Vec<Input> = series.into_values().filter_map(input).collect();
    (verdict::judge(verdict::compare(&inputs, policy), policy), jobs)
}
