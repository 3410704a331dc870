//! Summaries of runs from before there were digests of rows, checked by making them anew.
//!
//! What such a run row was published with, nobody can tell any more, but summaries follow from
//! samples. Where they do not, they are set aside before anything is judged by them.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use dyno_model::id::JobId;
use dyno_model::record::{RunRow, Sample, Side, Summary};
use dyno_model::verdict::summarise;
use dyno_store::Folder;

use crate::error::Result;
use crate::reader::{StoredSummary, SummaryReader};

/// The share of itself by which a mean or a variance may differ: a dyno of before may have added in
/// another order.
const ROUNDING: f64 = 1e-6;

/// A benchmark, config and metric.
type Names = (String, String, String);

impl SummaryReader {
    /// The summaries of `runs`, to be judged, ordered by job. Those of a run without digests of its
    /// rows that do not follow from its samples are set aside.
    pub(crate) async fn summaries_to_judge(&self, runs: &[&RunRow]) -> Result<Vec<StoredSummary>> {
        let mut summaries = self.summaries(runs).await?;
        let has_none = |run: &&&RunRow| run.row_digests.is_empty();
        let older: Vec<&RunRow> = runs.iter().filter(has_none).copied().collect();
        // One at a time: of each only what its series come to is remembered.
        for run in older {
            let stored = summaries.iter().filter(|stored| stored.job == run.job);
            let stored: Vec<&Summary> = stored.map(|stored| &stored.summary).collect();
            if !stored.is_empty() && !follow(&stored, &self.samples_by_series(run).await?) {
                let fault = "its summaries do not follow from its samples";
                self.snapshot.quarantine_of_job(Folder::Summaries, &run.job, fault);
                summaries.retain(|stored| stored.job != run.job);
            }
        }
        Ok(summaries)
    }

    /// The samples of a run by series, as they were taken, without the names in them.
    async fn samples_by_series(&self, run: &RunRow) -> Result<BTreeMap<Names, Vec<Sample>>> {
        let columns =
            ["job", "benchmark", "config", "metric", "round", "side", "sequence", "value", "taint"];
        let mut by_series = BTreeMap::new();
        for batch in self.read("samples", &[run], &columns, None).await? {
            add(&batch, &run.job, &mut by_series);
        }
        by_series.values_mut().for_each(|samples| samples.sort_by_key(|s| s.sequence));
        Ok(by_series)
    }
}

fn add(batch: &RecordBatch, wanted: &JobId, by_series: &mut BTreeMap<Names, Vec<Sample>>) {
    let column = |name: &str| batch.column_by_name(name).expect("a column asked for");
    let [jobs, benchmarks, configs, metrics, sides, taints] =
        ["job", "benchmark", "config", "metric", "side", "taint"]
            .map(|name| column(name).as_string_view());
    let [rounds, sequences] =
        ["round", "sequence"].map(|name| column(name).as_primitive::<Int32Type>());
    let values = column("value").as_primitive::<Int64Type>();
    let mut names = Names::default();
    for row in (0..batch.num_rows()).filter(|row| jobs.value(*row) == wanted.hex()) {
        let side = Side::BOTH.into_iter().find(|side| side.name() == sides.value(row));
        let Some(side) = side else { continue };
        let [benchmark, config, metric] = [benchmarks, configs, metrics].map(|n| n.value(row));
        // Rows of a series stand together, so their names are seldom made.
        if (names.0.as_str(), names.1.as_str(), names.2.as_str()) != (benchmark, config, metric) {
            names = (benchmark.into(), config.into(), metric.into());
        }
        let sample = Sample {
            benchmark: String::new(),
            config: String::new(),
            metric: String::new(),
            round: rounds.value(row).max(0) as u32,
            side,
            sequence: sequences.value(row).max(0) as u32,
            value: values.value(row),
            taint: taints.value(row).to_string(),
        };
        match by_series.get_mut(&names) {
            Some(samples) => samples.push(sample),
            None => _ = by_series.insert(names.clone(), vec![sample]),
        }
    }
}

/// Whether there is one stored summary for each series, and each is what its samples come to.
fn follow(stored: &[&Summary], samples: &BTreeMap<Names, Vec<Sample>>) -> bool {
    let names = |s: &Summary| (s.benchmark.clone(), s.config.clone(), s.metric.clone());
    let series: BTreeSet<Names> = stored.iter().map(|summary| names(summary)).collect();
    series.len() == stored.len()
        && series.iter().eq(samples.keys())
        && stored.iter().all(|summary| follows(summary, &samples[&names(summary)]))
}

/// Whether a summary is what `samples` come to. Where there is a value that is not above zero, only
/// the numbers that mean the same in every dyno are asked for: how many rounds such a series has is
/// a rule that may change.
fn follows(stored: &Summary, samples: &[Sample]) -> bool {
    let made = summarise(samples);
    let [made] = made.as_slice() else { return false };
    let is_near = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= ROUNDING * a.abs().max(b.abs()).max(1e-12),
        (a, b) => a == b,
    };
    let extents = [(stored.baseline, made.baseline), (stored.candidate, made.candidate)];
    let same_extents = extents.into_iter().all(|(a, b)| {
        is_near(a.map(|a| a.median), b.map(|b| b.median))
            && a.map(|a| (a.min, a.max)) == b.map(|b| (b.min, b.max))
    });
    let all_above_zero = samples.iter().all(|sample| sample.value > 0);
    let same_rounds = stored.rounds == made.rounds
        && is_near(stored.mean_log_ratio, made.mean_log_ratio)
        && is_near(stored.variance, made.variance);
    stored.tainted == made.tainted && same_extents && (same_rounds || !all_above_zero)
}
