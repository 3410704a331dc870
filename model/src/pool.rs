//! Several jobs of one comparison on one host, as one summary a series.
//!
//! Rounds are put end to end: n, mean and variance of the whole follow exactly from those of the
//! parts (Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing
//! sample variances"): n = Σ nᵢ, d̄ = Σ nᵢ d̄ᵢ / n, and with Mᵢ = (nᵢ − 1) sᵢ²,
//! (n − 1) s² = Σ Mᵢ + Σ nᵢ (d̄ᵢ − d̄)². Extremes are exact too. A median does not follow from
//! medians: what is shown is their mean, weighted by samples' rounds, and no statistic uses it.

use crate::record::{DisturbedSides, Extent, Summary, ZeroRounds};
use crate::states::{State, States};
use crate::stats::log_ratio;

/// One summary from several of one series. The names are those of the first; `None` for none.
pub fn pool(parts: &[&Summary]) -> Option<Summary> {
    let first = match parts {
        [] => return None,
        [only] => return Some((*only).clone()),
        [first, ..] => *first,
    };
    let means: Vec<(f64, f64, f64)> = parts
        .iter()
        .filter_map(|s| Some((f64::from(s.rounds), s.mean_log_ratio?, s.variance.unwrap_or(0.0))))
        .collect();
    let n: f64 = means.iter().map(|(n, ..)| n).sum();
    let mean = (n > 0.0).then(|| means.iter().map(|(n, mean, _)| n * mean).sum::<f64>() / n);
    let variance = mean.filter(|_| n > 1.0).map(|whole| {
        let weighted_squares = |(n, mean, variance): &(f64, f64, f64)| {
            (n - 1.0) * variance + n * (mean - whole).powi(2)
        };
        means.iter().map(weighted_squares).sum::<f64>() / (n - 1.0)
    });
    Some(Summary {
        benchmark: first.benchmark.clone(),
        config: first.config.clone(),
        metric: first.metric.clone(),
        rounds: saturating(parts.iter().map(|s| s.rounds)),
        mean_log_ratio: mean,
        variance,
        baseline: extent(parts.iter().map(|s| (s.rounds, s.baseline))),
        candidate: extent(parts.iter().map(|s| (s.rounds, s.candidate))),
        tainted: saturating(parts.iter().map(|s| s.tainted)),
        zeros: zeros(parts),
        disturbed: disturbed(parts),
        states: states(parts),
    })
}

/// Rounds with a zero on one side, in all parts. Directions are counted only in parts that have
/// such rounds: of the others all rounds count against, so that nothing is sure too soon.
fn zeros(parts: &[&Summary]) -> Option<ZeroRounds> {
    let zeros = |part: &&Summary| match part.zeros {
        Some(zeros) => zeros,
        None if part.mean_log_ratio == Some(0.0) && part.variance == Some(0.0) => {
            ZeroRounds::default()
        }
        None => ZeroRounds { grew: part.rounds, shrank: part.rounds, ..ZeroRounds::default() },
    };
    let add = |a: ZeroRounds, b: ZeroRounds| ZeroRounds {
        baseline: a.baseline.saturating_add(b.baseline),
        candidate: a.candidate.saturating_add(b.candidate),
        grew: a.grew.saturating_add(b.grew),
        shrank: a.shrank.saturating_add(b.shrank),
    };
    let has_any = parts.iter().any(|part| part.zeros.is_some());
    has_any.then(|| parts.iter().map(zeros).fold(ZeroRounds::default(), add))
}

fn disturbed(parts: &[&Summary]) -> Option<DisturbedSides> {
    let add = |a: DisturbedSides, b: DisturbedSides| DisturbedSides {
        baseline: a.baseline.saturating_add(b.baseline),
        candidate: a.candidate.saturating_add(b.candidate),
    };
    parts.iter().filter_map(|part| part.disturbed).reduce(add)
}

/// The states of all parts together. A part that shows none was in the states nearest to its medians
/// all the time.
fn states(parts: &[&Summary]) -> Option<States> {
    let shown = || parts.iter().filter_map(|part| part.states.as_ref());
    let gap = |two: &[State]| log_ratio(two[0].value, two[1].value).unwrap_or(0.0);
    let narrowest = shown().flat_map(|s| s.states.windows(2).map(gap)).reduce(f64::min)?;
    let medians = |part: &&Summary| {
        let value = |extent: Option<Extent>| extent.map(|extent| extent.median.round() as i64);
        let state = |value: i64| State { value, baseline: 0, candidate: 0 };
        let (rounds, baseline, candidate) =
            (part.rounds, value(part.baseline), value(part.candidate));
        [
            baseline.map(|value| State { baseline: rounds, ..state(value) }),
            candidate.map(|value| State { candidate: rounds, ..state(value) }),
        ]
    };
    let without = parts.iter().filter(|part| part.states.is_none());
    let mut all: Vec<State> = shown().flat_map(|s| s.states.iter().copied()).collect();
    all.extend(without.flat_map(medians).flatten());
    all.sort_by_key(|state| state.value);
    let is_same =
        |a: &State, b: &State| log_ratio(a.value, b.value).is_ok_and(|d| d < narrowest / 2.0);
    let most_frequent = |same: &[State]| {
        same.iter().max_by_key(|s| s.baseline.saturating_add(s.candidate)).map_or(0, |s| s.value)
    };
    let merge = |same: &[State]| State {
        value: most_frequent(same),
        baseline: saturating(same.iter().map(|state| state.baseline)),
        candidate: saturating(same.iter().map(|state| state.candidate)),
    };
    Some(States {
        states: all.chunk_by(is_same).map(merge).collect(),
        rose: saturating(shown().map(|states| states.rose)),
        fell: saturating(shown().map(|states| states.fell)),
    })
}

/// A sum of counts that a foreign file may have made as large as it likes.
fn saturating(counts: impl Iterator<Item = u32>) -> u32 {
    counts.fold(0, u32::saturating_add)
}

fn extent(parts: impl Iterator<Item = (u32, Option<Extent>)>) -> Option<Extent> {
    let parts: Vec<(f64, Extent)> =
        parts.filter_map(|(rounds, extent)| Some((f64::from(rounds.max(1)), extent?))).collect();
    let weight: f64 = parts.iter().map(|(weight, _)| weight).sum();
    Some(Extent {
        median: parts.iter().map(|(weight, e)| weight * e.median).sum::<f64>() / weight,
        min: parts.iter().map(|(_, e)| e.min).min()?,
        max: parts.iter().map(|(_, e)| e.max).max()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats;
    use proptest::prelude::*;

    fn summary(d: &[f64]) -> Summary {
        let moments = stats::moments(d);
        Summary {
            benchmark: "b".into(),
            config: String::new(),
            metric: "wall".into(),
            rounds: d.len() as u32,
            mean_log_ratio: moments.map(|m| m.mean),
            variance: moments.and_then(|m| m.variance),
            baseline: None,
            candidate: None,
            tainted: 0,
            zeros: None,
            disturbed: None,
            states: None,
        }
    }

    proptest! {
        #[test]
        fn pooling_parts_is_summarising_the_whole(
            parts in proptest::collection::vec(
                proptest::collection::vec(-0.5f64..0.5, 0..8), 1..5)
        ) {
            let summaries: Vec<Summary> = parts.iter().map(|d| summary(d)).collect();
            let pooled = pool(&summaries.iter().collect::<Vec<_>>()).unwrap();
            let whole = summary(&parts.concat());
            prop_assert_eq!(pooled.rounds, whole.rounds);
            let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
                (Some(a), Some(b)) => (a - b).abs() < 1e-12,
                (a, b) => a == b,
            };
            prop_assert!(near(pooled.mean_log_ratio, whole.mean_log_ratio));
            prop_assert!(near(pooled.variance, whole.variance), "{:?} {:?}", pooled, whole);
        }
    }

    #[test]
    fn extremes_are_exact_and_a_missing_side_stays_missing() {
        let side = |median, min, max| Some(Extent { median, min, max });
        let a = Summary { baseline: side(5.0, 1, 9), rounds: 3, ..summary(&[]) };
        let b = Summary { baseline: side(9.0, 4, 20), rounds: 1, ..summary(&[]) };
        let pooled = pool(&[&a, &b]).unwrap();
        assert_eq!(pooled.baseline, side(6.0, 1, 20));
        assert_eq!(pooled.candidate, None);
        assert_eq!(pool(&[]), None);
    }

    /// Jobs of one series: its states together, and those that show none by their medians.
    #[test]
    fn states_of_several_jobs() {
        let states = |states: &[(i64, u32, u32)], rose, fell| {
            let state = |(value, baseline, candidate): &(i64, u32, u32)| State {
                value: *value,
                baseline: *baseline,
                candidate: *candidate,
            };
            Some(States { states: states.iter().map(state).collect(), rose, fell })
        };
        let part = |states: Option<States>| Summary { rounds: 5, states, ..summary(&[]) };
        let shown = part(states(&[(1000, 4, 2), (1500, 1, 3)], 3, 1));
        let shifted = part(states(&[(1010, 3, 3), (1490, 2, 2)], 0, 0));
        let side = |median: f64| Some(Extent { median, min: 990, max: 1005 });
        let alike = Summary { baseline: side(1001.0), candidate: side(1504.0), ..part(None) };
        let pooled = pool(&[&shown, &shifted, &alike]).unwrap();
        let expected = states(&[(1010, 12, 5), (1504, 3, 10)], 3, 1);
        assert_eq!(pooled.states.unwrap().states, expected.unwrap().states);
        assert_eq!(pool(&[&alike, &alike]).unwrap().states, None);
    }
}
