//! dyno's own rule: the model's, on summaries as the store would hold them.

use std::sync::LazyLock;

use dyno_model::catalog::policy::{self, Policy};
use dyno_model::record::{Extent, Summary};
use dyno_model::stats::{self, Moments, Variance};
use dyno_model::verdict::{self, Comparison, Input};

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
    let text = include_str!("../../../policies/default.toml");
    policy::parse("default", "policies/default.toml", text).expect("the default policy is sound")
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
    let cap = 10.0;
    let runs: Vec<(u32, f64, Variance, Option<Variance>)> = series
        .iter()
        .map(|s| {
            let m = stats::moments(&log_ratios(&s.rounds)).unwrap();
            let run = Variance { value: m.variance.unwrap(), df: f64::from(m.n) - 1.0 };
            let past = if history {
                pooled_past(&s.past).map(|(value, df)| Variance { value, df })
            } else {
                None
            };
            (m.n, m.mean, run, past)
        })
        .collect();
    let pooled: Vec<Variance> =
        runs.iter().map(|(_, _, run, past)| stats::pool_history(*run, *past, cap)).collect();
    let crowd = stats::crowd(&pooled);
    let all: f64 = pooled.iter().map(|v| v.df).sum();
    let wall = &policy.metrics["wall"];
    let delta = stats::log_effect(wall.smallest_effect);
    let (means, p): (Vec<f64>, Vec<f64>) = runs
        .iter()
        .map(|(n, mean, run, past)| {
            let noise = stats::moderate(*run, *past, cap, crowd, all);
            (*mean, stats::estimate(*n, *mean, noise.used, delta, 0.95).p)
        })
        .unzip();
    let q = stats::adjust(&p, policy.procedure);
    if std::env::var("DBG").is_ok() {
        eprintln!("{history} {crowd:?}");
    }
    q.iter().zip(means).map(|(q, m)| Call::of(*q <= policy.q, m)).collect()
}

fn input(series: &Series, history: bool) -> Input {
    let _ = history;
    Input { host: "turing".into(), summary: summary(&series.rounds) }
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
    }
}

/// Pooled variance of d within runs, Σ (nᵢ − 1) sᵢ² / Σ (nᵢ − 1), and its degrees of freedom.
pub fn pooled_past(past: &[Vec<Round>]) -> Option<(f64, f64)> {
    let squares = |run: &Vec<Round>| {
        let moments = stats::moments(&log_ratios(run))?;
        let df = f64::from(moments.n) - 1.0;
        Some((df * moments.variance?, df))
    };
    let (sum, df) = past
        .iter()
        .filter_map(squares)
        .fold((0.0, 0.0), |(sum, df), (squares, more)| (sum + squares, df + more));
    (df > 0.0).then(|| (sum / df, df))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyno_model::record::{Sample, Side};

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
        let both = |(round, (b, c)): (usize, &(i64, i64))| {
            [sample(round, Side::Baseline, *b), sample(round, Side::Candidate, *c)]
        };
        let samples: Vec<Sample> = rounds.iter().enumerate().flat_map(both).collect();
        assert_eq!(verdict::summarise(&samples), [summary(&rounds)]);
    }

    #[test]
    fn the_past_is_pooled_by_degrees_of_freedom() {
        let run = |d: &[f64]| -> Vec<Round> {
            d.iter().map(|d| (1_000_000_000, (1e9 * d.exp()).round() as i64)).collect()
        };
        // Variances 0.0002 with 1 and 0.0001 with 2 degrees of freedom; one pair tells nothing.
        let past = [run(&[0.01, 0.03]), run(&[0.01, 0.02, 0.03]), run(&[0.5])];
        let (variance, df) = pooled_past(&past).unwrap();
        assert!((variance - 0.0004 / 3.0).abs() < 1e-10 && df == 3.0, "{variance} {df}");
        assert_eq!(pooled_past(&[run(&[0.5])]), None);
    }
}
