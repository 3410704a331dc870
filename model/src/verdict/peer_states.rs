//! States: series whose values fall into groups far apart, each of them tight.
//!
//! A program that is sometimes fast and sometimes slow (a layout of memory, a mode of the
//! processor) can show n pairs of which each has the one side fast and the other slow. Their
//! differences are then nearly equal, and a t-test is sure of an effect that is not there. The pairs
//! themselves do not tell it from a real one; how many of the other series of the metric and host
//! have states as far apart does. Of a share π of series with states as far apart as d̄ and entered
//! at random, n pairs straddle two of them alike with a probability of at most 2·4⁻ⁿ: of so many of
//! all series d̄ is an accident, and so much is added to p. For π stands (k + 1)/(m + 1), of m
//! series of which k show such states within a side, where no effect makes them; without the ones,
//! a few series in which none was seen would prove that there are none.
//!
//! Past runs of a series show its states too: pairs of them were alike by accident with a
//! probability of a half each.

use crate::record::{Extent, Summary};
use crate::stats::Variance;

/// Values nearer to each other than this share of their states' distance are of one state.
const TIGHT: f64 = 0.05;

/// The states that the series of one metric and host show.
#[derive(Debug, Clone, Default)]
pub(super) struct PeerStates {
    /// The distance of the states of each series that shows two within a side, ascending (log
    /// scale).
    apart: Vec<f64>,
    /// The same of the series of which each pair straddled them, in both directions.
    straddled: Vec<f64>,
    series: usize,
}

impl PeerStates {
    pub(super) fn new<'a>(summaries: impl Iterator<Item = &'a Summary>) -> Self {
        let mut states = Self::default();
        for summary in summaries {
            states.series += 1;
            if let Some(distance) = states_apart(summary) {
                states.apart.push(distance);
                states.straddled.extend(Some(distance).filter(|d| is_straddled(summary, *d)));
            }
        }
        states.apart.sort_unstable_by(f64::total_cmp);
        states.straddled.sort_unstable_by(f64::total_cmp);
        states
    }

    /// The probability that a series without an effect shows `rounds` differences of about `mean`
    /// because each pair straddles two states of it.
    pub(super) fn accident(&self, rounds: u32, mean: f64, history: Option<Variance>) -> f64 {
        let share = |distances: &[f64]| {
            let nearer = distances.partition_point(|d| *d < mean.abs() * (1.0 - TIGHT));
            ((distances.len() - nearer) as f64 + 1.0) / (self.series as f64 + 1.0)
        };
        let by_states = share(&self.apart) * 2.0 * 0.25f64.powi(rounds.min(500) as i32);
        let by_direction = match visible_directions(rounds) {
            0.0 => 1.0,
            directions => share(&self.straddled) * 2.0 / directions,
        };
        let past_pairs = history.map_or(0.0, |history| history.df);
        by_states.min(by_direction) * 0.5f64.powf(past_pairs)
    }
}

/// The number of ways in which n pairs can straddle two states in both directions that extremes and
/// medians show, of 2ⁿ in all: where half of the pairs go each way, each median is between the states.
fn visible_directions(rounds: u32) -> f64 {
    let rounds = rounds.min(500);
    let halves = |k: u32| f64::from(rounds / 2 + k) / f64::from(k);
    let balanced =
        if rounds.is_multiple_of(2) { (1..=rounds / 2).map(halves).product() } else { 0.0 };
    2.0f64.powi(rounds as i32) - 2.0 - balanced
}

/// How far apart two states of a series are that one of its sides shows by itself (log scale);
/// `None` where no side does. The median of a side that shows two is near one of its extremes.
fn states_apart(summary: &Summary) -> Option<f64> {
    let sides = [summary.baseline?, summary.candidate?];
    let ranges = sides.map(range);
    let widest = ranges[0].max(ranges[1]);
    let is_tight = |side: Extent| {
        let above = (side.median / side.min as f64).ln();
        let distance = above.min(range(side) - above);
        range(side) < TIGHT * widest || distance < TIGHT * widest
    };
    (widest.is_finite() && widest > 0.0 && sides.into_iter().all(is_tight)).then_some(widest)
}

fn range(side: Extent) -> f64 {
    (side.max as f64 / side.min as f64).ln()
}

/// Whether the sides of each pair were in two states that are `distance` apart, some pairs in one
/// direction and some in the other: each difference is as large, whatever its sign.
fn is_straddled(summary: &Summary, distance: f64) -> bool {
    let (Some(mean), Some(variance)) = (summary.mean_log_ratio, summary.variance) else {
        return false;
    };
    let n = f64::from(summary.rounds);
    let root_mean_square = (mean * mean + variance * (n - 1.0) / n).sqrt();
    let is_near = |x: f64| (x / distance - 1.0).abs() < 2.0 * TIGHT;
    is_near(root_mean_square)
        && [summary.baseline, summary.candidate].into_iter().flatten().all(|s| is_near(range(s)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::summarise;
    use crate::verdict::tests::samples;

    fn summary(rounds: &[(i64, i64)]) -> Summary {
        summarise(&samples("b", "wall", rounds)).remove(0)
    }

    #[test]
    fn states_show_within_a_side_and_an_effect_makes_none() {
        for (rounds, apart, straddled) in [
            // All in one state, and an effect of a half: no side shows two.
            (&[(1000, 1500), (1001, 1502), (999, 1499)][..], None, false),
            // One value of six in the other state.
            (&[(1000, 1001), (1002, 1500), (1001, 1000)], Some(1.5), false),
            // Each pair straddles them, one of them in the other direction; with an effect of 2 %.
            (&[(1000, 1530), (1500, 1020), (1001, 1531)], Some(1.5), true),
            // As many of both, but two pairs are alike.
            (&[(1000, 1001), (1001, 1500), (1500, 1500)], Some(1.5), false),
            // Noise without states, and a side that is tight beside it.
            (&[(1000, 1250), (1250, 1500), (1500, 1000)], None, false),
            (&[(1000, 1001), (1250, 1001), (1500, 1000)], None, false),
            (&[(0, 1001), (0, 1001), (1, 1000)], None, false),
        ] {
            let summary = summary(rounds);
            let found = states_apart(&summary);
            match (found, apart) {
                (Some(distance), Some(ratio)) => {
                    assert!((distance / f64::ln(ratio) - 1.0).abs() < 0.03, "{rounds:?}");
                    assert_eq!(is_straddled(&summary, distance), straddled, "{rounds:?}");
                }
                _ => assert_eq!((found, straddled), (None, apart.is_some()), "{rounds:?}"),
            }
        }
    }

    #[test]
    fn directions_that_show_are_counted() {
        // Of 2ⁿ: without the two of one direction, and without those of half and half.
        let counted = |n: u32| {
            let both = (1u32..(1 << n) - 1).filter(|ways| ways.count_ones() * 2 != n);
            both.count() as f64
        };
        for n in 2..10 {
            assert_eq!(visible_directions(n), counted(n), "{n}");
        }
        assert!(visible_directions(u32::MAX).is_finite());
    }

    #[test]
    fn an_accident_is_as_probable_as_the_other_series_say() {
        let quiet = summary(&[(1000, 1001), (1001, 1000), (999, 1000)]);
        let two_states = summary(&[(1000, 1001), (1002, 1500), (1001, 1000)]);
        let series: Vec<Summary> =
            (0..9).map(|i| if i < 3 { two_states.clone() } else { quiet.clone() }).collect();
        let states = PeerStates::new(series.iter());
        let share = |with: f64| (with + 1.0) / 10.0;
        for (rounds, mean, history, expected) in [
            // Three show states 50 % apart, none of them straddled in both directions.
            (3, 0.3, None, share(3.0) * 2.0 / 64.0),
            (3, -0.3, None, share(3.0) * 2.0 / 64.0),
            (3, 0.5, None, share(0.0) * 2.0 / 64.0),
            (5, 0.3, None, share(3.0) * 2.0 / 1024.0),
            (3, 0.3, Some(Variance { value: 1.0, df: 4.0 }), share(3.0) * 2.0 / 64.0 / 16.0),
        ] {
            let found = states.accident(rounds, mean, history);
            assert!((found / expected - 1.0).abs() < 1e-12, "{rounds} {mean}: {found} {expected}");
        }
        assert!(states.accident(u32::MAX, 0.3, None) < 1e-200);
    }

    /// Ten quiet series, of which one was unlucky: each pair straddles two states.
    #[test]
    fn pairs_that_straddle_states_are_no_effect() {
        use crate::verdict::{Input, Verdict, compare, judge};
        let rounds = |slow: bool, straddling: bool| match (slow, straddling) {
            (true, true) => [(1000, 1500), (1001, 1501), (1000, 1502)],
            (true, false) => [(1000, 1001), (1002, 1500), (1501, 1000)],
            _ => [(1000, 1001), (1001, 1000), (1000, 1001)],
        };
        let verdict = |others_have_states: bool| {
            let input = |i: usize| Input {
                host: "h".into(),
                architecture: "x86_64".into(),
                summary: Summary {
                    benchmark: i.to_string(),
                    ..summary(&rounds(i == 0 || others_have_states && i < 10, i == 0))
                },
                history: None,
                past_states: None,
                is_flaky: false,
            };
            let policy = crate::verdict::tests::default_policy();
            let inputs: Vec<Input> = (0..20).map(input).collect();
            judge(compare(&inputs, &policy), &policy).remove(0).verdict
        };
        assert_eq!(verdict(false), Verdict::Regressed);
        assert!(matches!(verdict(true), Verdict::Inconclusive(_)), "{:?}", verdict(true));
    }
}
