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
use dyno_model::stats::{Variance, pool_within};
use dyno_store::{StoredRun, environment};

use crate::error::Result;
use crate::reader::SummaryReader;

/// How many past runs are asked, newest first: the policy caps what they lend at a few degrees of
/// freedom, so that older ones would only cost time.
const RUNS_MAX: usize = 30;

/// Pooled variances by the integer that stands for a series.
pub(crate) type Variances = HashMap<i64, Variance>;

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

/// The variances that single runs found.
#[derive(Default)]
pub(crate) struct History {
    by_job: HashMap<String, Vec<(i64, Variance)>>,
}

impl History {
    /// Reads the variances of `runs`.
    pub(crate) async fn read(reader: &SummaryReader, runs: &[&RunRow]) -> Result<Self> {
        let mut by_job: HashMap<String, Vec<(i64, Variance)>> = HashMap::new();
        let columns = ["job", "series", "rounds", "variance", "zero_grew"];
        for batch in reader.read("summaries", runs, &columns, None).await? {
            let column = |name: &str| batch.column_by_name(name).expect("a column asked for");
            let jobs = column("job").as_string_view();
            let series = column("series").as_primitive::<Int64Type>();
            let rounds = column("rounds").as_primitive::<Int32Type>();
            let variances = column("variance").as_primitive::<Float64Type>();
            // Of rounds with a zero on one side alone the others say nothing of noise.
            let zeros = column("zero_grew");
            for (row, value) in variances.iter().enumerate() {
                let Some(value) = value.filter(|v| v.is_finite() && *v >= 0.0) else { continue };
                let df = f64::from(rounds.value(row)) - 1.0;
                if df < 1.0 || zeros.is_valid(row) {
                    continue;
                }
                let variance = (series.value(row), Variance { value, df });
                match by_job.get_mut(jobs.value(row)) {
                    Some(variances) => variances.push(variance),
                    None => _ = by_job.insert(jobs.value(row).to_string(), vec![variance]),
                }
            }
        }
        Ok(Self { by_job })
    }

    /// The variances of `runs` together.
    pub(crate) fn pooled(&self, runs: &[&RunRow]) -> Variances {
        let mut pooled = Variances::new();
        for (series, variance) in
            runs.iter().filter_map(|run| self.by_job.get(run.job.hex())).flatten()
        {
            let so_far = pooled.entry(*series).or_insert(Variance { value: 0.0, df: 0.0 });
            *so_far = pool_within(*so_far, *variance);
        }
        pooled
    }
}
