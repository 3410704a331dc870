//! How often a rule was right: false-discovery proportions, power, and their Monte-Carlo errors.

use serde::Serialize;

use crate::data::Series;
use crate::method::Smallest;
use crate::rules::Call;

/// What one rule made of one comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    pub discoveries: u32,
    /// The share of discoveries that are false: no effect is there, or one of the other sign. 0
    /// where nothing was found.
    pub false_proportion: f64,
    /// The share of effects found with their sign; `None` where there are none to find.
    pub power: Option<f64>,
}

pub fn outcome(series: &[Series], calls: &[Call], smallest: Smallest) -> Outcome {
    let (mut discoveries, mut right, mut effects) = (0, 0, 0);
    for (series, call) in series.iter().zip(calls) {
        let counts = smallest.counts(series.truth);
        let is_found = *call != Call::Nothing;
        discoveries += u32::from(is_found);
        effects += u32::from(counts);
        right += u32::from(is_found && counts && *call == Call::from_change(true, series.truth));
    }
    Outcome {
        discoveries,
        false_proportion: f64::from(discoveries - right) / f64::from(discoveries.max(1)),
        power: (effects > 0).then(|| f64::from(right) / f64::from(effects)),
    }
}

/// A mean over repetitions and the standard error of that mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mean {
    pub value: f64,
    pub se: f64,
}

impl Mean {
    /// The mean of at least one value.
    pub fn from_values(values: impl Iterator<Item = f64> + Clone) -> Self {
        let n = values.clone().count() as f64;
        let value = values.clone().sum::<f64>() / n;
        let squares: f64 = values.map(|x| (x - value).powi(2)).sum();
        Self { value, se: (squares / (n - 1.0).max(1.0) / n).sqrt() }
    }
}

/// One rule at one number of rounds and one size of effect, over all repetitions.
#[derive(Debug, Clone, Serialize)]
pub struct Score {
    pub rule: &'static str,
    /// Most rounds of a series.
    pub rounds: u32,
    /// Size of the effect in a fifth of the series; 0 for none.
    pub effect: f64,
    pub series: usize,
    pub repetitions: usize,
    pub false_discovery: Mean,
    /// `None` where there is nothing to find.
    pub power: Option<Mean>,
    /// Comparisons in which nothing was found.
    pub silent: usize,
    /// Power of each repetition, to compare rules on the same data.
    #[serde(skip)]
    pub powers: Vec<f64>,
}

impl Score {
    pub fn new(
        rule: &'static str,
        rounds: u32,
        effect: f64,
        series: usize,
        outcomes: &[Outcome],
    ) -> Self {
        let powers: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome.power).collect();
        Self {
            rule,
            rounds,
            effect,
            series,
            repetitions: outcomes.len(),
            false_discovery: Mean::from_values(
                outcomes.iter().map(|outcome| outcome.false_proportion),
            ),
            power: (!powers.is_empty()).then(|| Mean::from_values(powers.iter().copied())),
            silent: outcomes.iter().filter(|outcome| outcome.discoveries == 0).count(),
            powers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_signs_are_false_and_silence_is_not() {
        use Call::{Faster, Nothing, Slower};
        for (calls, false_proportion, power) in [
            ([Nothing, Nothing, Nothing], 0.0, 0.0),
            ([Slower, Nothing, Nothing], 0.0, 0.5),
            ([Slower, Faster, Nothing], 0.0, 1.0),
            ([Faster, Nothing, Nothing], 1.0, 0.0),
            ([Slower, Slower, Slower], 2.0 / 3.0, 0.5),
        ] {
            let series = [0.05, -0.05, 0.0].map(|truth| Series {
                rounds: vec![],
                truth,
                past: vec![],
                other_nights: [vec![], vec![]],
                slow_mode: None,
            });
            let got = outcome(&series, &calls, Smallest::Zero);
            assert_eq!((got.false_proportion, got.power), (false_proportion, Some(power)));
        }
    }

    #[test]
    fn means_have_their_error() {
        // numpy: mean([1, 2, 3, 6]), std(ddof=1) / sqrt(4).
        let mean = Mean::from_values([1.0, 2.0, 3.0, 6.0].into_iter());
        assert_eq!(mean.value, 3.0);
        assert!((mean.se - 1.080_123_449_734_643_5).abs() < 1e-12);
    }
}
