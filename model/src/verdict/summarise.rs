//! Summaries from samples.

use std::collections::BTreeMap;

use super::zeros::zero_rounds;
use crate::record::{DisturbedSides, Extent, Sample, Side, Summary};
use crate::states::States;
use crate::stats;
use crate::taint;

/// Reduces one job's samples to summaries, one a series, ordered by (benchmark, config, metric).
pub fn summarise(samples: &[Sample]) -> Vec<Summary> {
    // A round that was disturbed comes again under the same number: of each side the last counts.
    type Sides = BTreeMap<Side, BTreeMap<u32, i64>>;
    let mut series: BTreeMap<(&str, &str, &str), (Sides, u32, DisturbedSides)> = BTreeMap::new();
    for sample in samples {
        let key = (sample.benchmark.as_str(), sample.config.as_str(), sample.metric.as_str());
        let (sides, tainted, disturbed) = series.entry(key).or_default();
        if sample.taint.is_empty() {
            sides.entry(sample.side).or_default().insert(sample.round, sample.value);
        } else {
            *tainted += 1;
            let own = u32::from(sample.taint != taint::PAIR);
            match sample.side {
                Side::Baseline => disturbed.baseline += own,
                Side::Candidate => disturbed.candidate += own,
            }
        }
    }
    let extent = |side: Option<&BTreeMap<u32, i64>>| -> Option<Extent> {
        let mut values: Vec<i64> = side?.values().copied().collect();
        let median = stats::median(&mut values)?;
        Some(Extent { median, min: *values.first()?, max: *values.last()? })
    };
    let none = BTreeMap::new();
    let summary = |((benchmark, config, metric), (sides, tainted, disturbed)): (
        (&str, &str, &str),
        (Sides, u32, DisturbedSides),
    )| {
        let [baseline, candidate] = Side::BOTH.map(|side| sides.get(&side).unwrap_or(&none));
        let values = |side: &BTreeMap<u32, i64>| side.values().copied().collect::<Vec<i64>>();
        let pair = |(round, value): (&u32, &i64)| Some((*baseline.get(round)?, *value));
        let pairs: Vec<(i64, i64)> = candidate.iter().filter_map(pair).collect();
        let d = |(b, c): &(i64, i64)| stats::log_ratio_or_infinite(*b as f64, *c as f64);
        let (d, infinite): (Vec<f64>, Vec<f64>) =
            pairs.iter().filter_map(d).partition(|d| d.is_finite());
        let moments = stats::moments(&d);
        Summary {
            benchmark: benchmark.to_string(),
            config: config.to_string(),
            metric: metric.to_string(),
            rounds: d.len() as u32,
            mean_log_ratio: moments.map(|m| m.mean),
            variance: moments.and_then(|m| m.variance),
            baseline: extent(sides.get(&Side::Baseline)),
            candidate: extent(sides.get(&Side::Candidate)),
            tainted,
            zeros: zero_rounds(&[&d[..], &infinite].concat()),
            disturbed: Some(disturbed).filter(|d| *d != DisturbedSides::default()),
            states: States::of_values(&values(baseline), &values(candidate), &pairs),
        }
    };
    series.into_iter().map(summary).collect()
}
