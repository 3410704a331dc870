//! Noise from history: what past runs say of the variance of each series.
//!
//! A past run lends its within-run variance if it measured on the same host, as it was (the same
//! fingerprint: kernel, microcode, governor, engine …), in the same image, and had finished before
//! the first of the runs that are compared, and if its candidate was trusted: else a stranger could
//! make a series so noisy that nothing is found in it any more. Anything else starts afresh. The view `noise` pools by
//! the same rule in SQL; a test holds the two together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use dyno_model::id::JobId;
use dyno_model::record::RunRow;
use dyno_model::states::PastStates;
use dyno_model::stats::{Variance, pool_within};
use dyno_store::{StoredRun, environment};

use crate::error::Result;
use crate::reader::{SummaryReader, integers};

/// How many past runs are asked, newest first: the policy caps what they lend at a few degrees of
/// freedom, so that older ones would only cost time.
const RUNS_MAX: usize = 30;

/// What past runs say of a series.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct PastSeries {
    /// Their pooled variance.
    pub variance: Option<Variance>,
    pub states: Option<PastStates>,
}

/// Past series by the integer that stands for each.
pub(crate) type PastSeriesById = HashMap<i64, PastSeries>;

/// The runs of a store in order of time, by environment.
pub(crate) struct PastRuns<'a> {
    environments: BTreeMap<&'a str, Vec<&'a RunRow>>,
}

impl<'a> PastRuns<'a> {
    pub(crate) fn new(runs: &'a [Arc<StoredRun>]) -> Self {
        let mut environments: BTreeMap<_, Vec<&RunRow>> = BTreeMap::new();
        // An untrusted candidate's noise is its own making.
        for stored in runs.iter().filter(|stored| stored.run.trust.is_trusted()) {
            environments.entry(stored.environment.as_str()).or_default().push(&stored.run);
        }
        for runs in environments.values_mut() {
            runs.sort_by_key(|run| (run.finished_us, &run.job));
        }
        Self { environments }
    }

    /// The runs in the environment of `run`, oldest first.
    pub(crate) fn with_same_environment(&self, run: &RunRow) -> &[&'a RunRow] {
        self.environments.get(environment(run).as_str()).map_or(&[], Vec::as_slice)
    }

    /// The newest [`RUNS_MAX`] runs in an environment, newest first.
    pub(crate) fn newest_runs(&self, environment: &str) -> Vec<&'a RunRow> {
        let runs = self.environments.get(environment).map_or(&[][..], Vec::as_slice);
        runs.iter().rev().take(RUNS_MAX).copied().collect()
    }

    /// The runs whose noise counts for `compared`: of each environment in it, the newest
    /// [`RUNS_MAX`] that had finished before the first of it.
    pub(crate) fn history_runs(&self, compared: &[&RunRow]) -> Vec<&'a RunRow> {
        let mut first: BTreeMap<_, i64> = BTreeMap::new();
        for run in compared {
            let earliest = first.entry(environment(run)).or_insert(i64::MAX);
            *earliest = run.finished_us.min(*earliest);
        }
        let jobs: BTreeSet<&JobId> = compared.iter().map(|run| &run.job).collect();
        let mut history_runs = Vec::new();
        for (environment, earliest) in first {
            let past = self.environments.get(environment.as_str()).map_or(&[][..], Vec::as_slice);
            let earlier = past
                .iter()
                .rev()
                .filter(|run| run.finished_us <= earliest && !jobs.contains(&run.job));
            history_runs.extend(earlier.take(RUNS_MAX).copied());
        }
        history_runs
    }
}

/// What single runs found of each series.
#[derive(Default)]
pub(crate) struct History {
    by_job: HashMap<String, Vec<(i64, RunSeries)>>,
}

/// What one run found of a series.
#[derive(Debug, Clone, Copy)]
struct RunSeries {
    variance: Option<Variance>,
    /// The lowest and the highest of its states.
    states: Option<(i64, i64)>,
}

impl History {
    /// Reads what `runs` found.
    pub(crate) async fn read(reader: &SummaryReader, runs: &[&RunRow]) -> Result<Self> {
        let mut by_job: HashMap<String, Vec<(i64, RunSeries)>> = HashMap::new();
        let columns = ["job", "series", "rounds", "variance", "zero_grew", "state_values"];
        for batch in reader.read("summaries", runs, &columns, None).await? {
            let column = |name: &str| batch.column_by_name(name).expect("a column asked for");
            let jobs = column("job").as_string_view();
            let series = column("series").as_primitive::<Int64Type>();
            let rounds = column("rounds").as_primitive::<Int32Type>();
            let variances = column("variance").as_primitive::<Float64Type>();
            // Of rounds with a zero on one side alone the others say nothing of noise.
            let zeros = column("zero_grew");
            for (row, value) in variances.iter().enumerate() {
                let df = f64::from(rounds.value(row)) - 1.0;
                let value = value.filter(|v| v.is_finite() && *v >= 0.0);
                let value = value.filter(|_| df >= 1.0 && !zeros.is_valid(row));
                let states = integers::<Int64Type>(column("state_values"), row);
                let extremes = |values: Vec<i64>| Some((*values.first()?, *values.last()?));
                let found = RunSeries {
                    variance: value.map(|value| Variance { value, df }),
                    states: states.and_then(extremes),
                };
                let found = (series.value(row), found);
                match by_job.get_mut(jobs.value(row)) {
                    Some(series) => series.push(found),
                    None => _ = by_job.insert(jobs.value(row).to_string(), vec![found]),
                }
            }
        }
        Ok(Self { by_job })
    }

    /// What `runs`, newest first, found together.
    pub(crate) fn pooled(&self, runs: &[&RunRow]) -> PastSeriesById {
        let mut pooled = PastSeriesById::new();
        // How often each series was measured: most show no states, and so need no number.
        let mut counts: HashMap<i64, u32> = HashMap::new();
        let of_runs = runs.iter().filter_map(|run| self.by_job.get(run.job.hex()));
        for (series, found) in of_runs.flatten() {
            let so_far = pooled.entry(*series).or_default();
            if let Some(variance) = found.variance {
                let before = so_far.variance.unwrap_or(Variance { value: 0.0, df: 0.0 });
                so_far.variance = Some(pool_within(before, variance));
            }
            *counts.entry(*series).or_default() += 1;
            if let Some((low, high)) = found.states {
                let newest = PastStates { runs: 0, runs_with_states: 0, low, high };
                so_far.states.get_or_insert(newest).runs_with_states += 1;
            }
        }
        for (series, past) in &mut pooled {
            if let Some(states) = &mut past.states {
                states.runs = counts[series];
            }
        }
        pooled
    }
}
