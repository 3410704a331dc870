//! dyno's own rule: the model's, on summaries as the store would hold them.

use std::sync::LazyLock;

use dyno_model::catalog::policy::{self, Policy};
use dyno_model::record::{Extent, Summary};
use dyno_model::states::{PastStates, States};
use dyno_model::stats::{self, Moments, Variance};
use dyno_model::verdict::{self, Comparison, Input, Verdict};

use crate::data::{Round, Series};
use crate::rules::{Call, log_ratios};

/// The smallest effect of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Smallest {
    /// No effect is too small: the question that the peers' rules answer.
    Zero,
    /// `policies/default.toml`: up to 1 % is none.
    OnePercent,
}

impl Smallest {
    /// Whether an effect is one.
    pub fn counts(self, truth: f64) -> bool {
        match self {
            Self::Zero => truth != 0.0,
            // One per cent up or down is on the border, and is none.
            Self::OnePercent => truth.abs() > 0.0105,
        }
    }
}

static DEFAULT: LazyLock<Policy> = LazyLock::new(|| {
    let text = include_str!("../../../../policies/default.toml");
    policy::parse("default", "policies/default.toml", text, &[])
        .expect("the default policy is sound")
});

static AGAINST_ZERO: LazyLock<Policy> = LazyLock::new(|| {
    let mut policy = DEFAULT.clone();
    let wall = policy.metrics.get_mut("wall").expect("the default policy names wall time");
    wall.smallest_effect = 0.0;
    policy
});

/// What dyno says of each series.
pub fn calls(series: &[Series], history: bool, smallest: Smallest) -> Vec<Call> {
    let policy = match smallest {
        Smallest::Zero => &*AGAINST_ZERO,
        Smallest::OnePercent => &*DEFAULT,
    };
    let inputs: Vec<Input> = series.iter().enumerate().map(|(i, s)| input(i, s, history)).collect();
    let call = |comparison: &Comparison| match (comparison.estimate, comparison.q) {
        // As `verdict::judge` decides; which would also work out the rounds still needed.
        (Some(estimate), Some(q)) => Call::from_change(q <= policy.q, estimate.mean),
        _ => Call::Nothing,
    };
    verdict::compare(&inputs, policy).iter().map(call).collect()
}

/// Whether these wall times contradict counts in which nothing changed, under the default policy.
pub fn contradicts_counts(series: &[Series], history: bool) -> bool {
    let extent = Some(Extent { median: 1e9, min: 1_000_000_000, max: 1_000_000_000 });
    let count = |wall: &Input| Input {
        summary: Summary {
            metric: "instructions:cachegrind".into(),
            rounds: 1,
            mean_log_ratio: Some(0.0),
            variance: None,
            baseline: extent,
            candidate: extent,
            ..wall.summary.clone()
        },
        history: None,
        past_states: None,
        ..wall.clone()
    };
    let walls: Vec<Input> = series.iter().enumerate().map(|(i, s)| input(i, s, history)).collect();
    let inputs: Vec<Input> = walls.iter().map(count).chain(walls.iter().cloned()).collect();
    let judged = verdict::judge(verdict::compare(&inputs, &DEFAULT), &DEFAULT);
    !verdict::contradictions(&judged, &DEFAULT).is_empty()
}

/// Whether each of these series is called unchanged under the default policy.
pub fn unchanged(series: &[Series], history: bool) -> Vec<bool> {
    let inputs: Vec<Input> = series.iter().enumerate().map(|(i, s)| input(i, s, history)).collect();
    let judged = verdict::judge(verdict::compare(&inputs, &DEFAULT), &DEFAULT);
    judged.iter().map(|judged| judged.verdict == Verdict::Unchanged).collect()
}

fn input(index: usize, series: &Series, history: bool) -> Input {
    Input {
        host: "turing".into(),
        architecture: "x86_64".into(),
        summary: Summary { benchmark: index.to_string(), ..summary(&series.rounds) },
        is_flaky: false,
        history: if history { pooled_past(&series.past) } else { None },
        past_states: if history { past_states(&series.past) } else { None },
    }
}

/// What [`verdict::summarise`] makes of these rounds, without the samples.
fn summary(rounds: &[Round]) -> Summary {
    let Moments { n, mean, variance } = stats::moments(&log_ratios(rounds)).expect("rounds");
    let extent = |side: fn(&Round) -> i64| -> Option<Extent> {
        let mut values: Vec<i64> = rounds.iter().map(side).collect();
        let median = stats::median(&mut values)?;
        Some(Extent { median, min: *values.first()?, max: *values.last()? })
    };
    Summary {
        benchmark: String::new(),
        config: String::new(),
        metric: "wall".into(),
        rounds: n,
        mean_log_ratio: Some(mean),
        variance,
        baseline: extent(|round| round.0),
        candidate: extent(|round| round.1),
        tainted: 0,
        zeros: None,
        disturbed: None,
        states: states(rounds),
    }
}

fn states(rounds: &[Round]) -> Option<States> {
    let (baseline, candidate): (Vec<i64>, Vec<i64>) = rounds.iter().copied().unzip();
    States::of_values(&baseline, &candidate, rounds)
}

/// The states of past runs, the last of which is the newest.
fn past_states(past: &[Vec<Round>]) -> Option<PastStates> {
    let shown: Vec<States> = past.iter().filter_map(|run| states(run)).collect();
    let newest = &shown.last()?.states;
    Some(PastStates {
        runs: past.len() as u32,
        runs_with_states: shown.len() as u32,
        low: newest.first()?.value,
        high: newest.last()?.value,
    })
}

/// The pooled variance of d within past runs, as the store's would be.
fn pooled_past(past: &[Vec<Round>]) -> Option<Variance> {
    let variance = |run: &Vec<Round>| {
        let Moments { n, variance, .. } = stats::moments(&log_ratios(run))?;
        Some(Variance { value: variance?, df: f64::from(n) - 1.0 })
    };
    past.iter().filter_map(variance).reduce(stats::pool_within)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyno_model::record::{Sample, Side};

    #[test]
    fn wall_contradicts_counts_where_it_surely_changed() {
        let contradicts = |candidate: i64| {
            let rounds = (0..5).map(|i| (1_000_000 + 300 * (i % 2), candidate)).collect();
            let other_nights = [vec![], vec![]];
            let series =
                [Series { rounds, truth: 0.0, past: vec![], other_nights, slow_mode: None }];
            contradicts_counts(&series, false)
        };
        assert_eq!([1_000_000, 1_030_000, 1_500_000].map(contradicts), [false, false, true]);
    }

    #[test]
    fn a_summary_is_what_the_model_makes_of_the_samples() {
        let rounds = [(1000, 1100), (1003, 1090), (1001, 1101)];
        let sample = |round: usize, side, value| Sample {
            benchmark: String::new(),
            config: String::new(),
            metric: "wall".into(),
            round: round as u32,
            side,
            sequence: 0,
            value,
            taint: String::new(),
        };
        let round_samples = |(round, (b, c)): (usize, &(i64, i64))| {
            [sample(round, Side::Baseline, *b), sample(round, Side::Candidate, *c)]
        };
        let samples: Vec<Sample> = rounds.iter().enumerate().flat_map(round_samples).collect();
        assert_eq!(verdict::summarise(&samples), [summary(&rounds)]);
    }

    /// What is counted as found is what a report would say.
    #[test]
    fn calls_are_verdicts() {
        let cells = crate::shapes::Shape::HeavyTails.generate(7, 60);
        let placed = crate::data::Placement::InAStretch;
        let drawn = crate::data::draw(&cells, 5, 60, placed, &mut crate::data::random(7, &[]));
        let series = crate::data::with_effect(&drawn, 0.05);
        let calls = calls(&series, true, Smallest::OnePercent);
        let inputs: Vec<Input> =
            series.iter().enumerate().map(|(i, s)| input(i, s, true)).collect();
        let judged = verdict::judge(verdict::compare(&inputs, &DEFAULT), &DEFAULT);
        for (call, judged) in calls.iter().zip(&judged) {
            let expected = match judged.verdict {
                verdict::Verdict::Regressed => Call::Slower,
                verdict::Verdict::Improved => Call::Faster,
                _ => Call::Nothing,
            };
            assert_eq!(*call, expected, "{judged:?}");
        }
        assert!(calls.contains(&Call::Slower) && calls.contains(&Call::Faster));
    }

    #[test]
    fn the_past_is_pooled_by_degrees_of_freedom() {
        let run = |d: &[f64]| -> Vec<Round> {
            d.iter().map(|d| (1_000_000_000, (1e9 * d.exp()).round() as i64)).collect()
        };
        // Variances 0.0002 with 1 and 0.0001 with 2 degrees of freedom; one pair tells nothing.
        let past = [run(&[0.01, 0.03]), run(&[0.01, 0.02, 0.03]), run(&[0.5])];
        let Variance { value, df } = pooled_past(&past).unwrap();
        assert!((value - 0.0004 / 3.0).abs() < 1e-10 && df == 3.0, "{value} {df}");
        assert_eq!(pooled_past(&[run(&[0.5])]), None);
    }
}
