//! What pipelining is worth.

use std::fmt;

use serde::Serialize;

use crate::stats::{moments, satterthwaite, t_quantile};
use crate::text::plural;

/// 1 − T(on)/T(off), by geometric means: 0.1 is a tenth of the time saved, below 0 is time lost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gain {
    pub estimate: f64,
    pub low: f64,
    pub high: f64,
    /// Walls with pipelining on, and with it off.
    pub rounds: (u32, u32),
}

/// Why walls give no gain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "no-gain")]
pub enum NoGain {
    /// Fewer than two walls: no variance. `pipelining` is `on` or `off`.
    TooFewRounds { pipelining: &'static str, rounds: u32 },
    /// A wall that is zero or negative.
    NotPositive { pipelining: &'static str },
}

impl fmt::Display for NoGain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewRounds { pipelining, rounds } => {
                let rounds = plural(*rounds as usize, "round");
                write!(f, "{rounds} with pipelining {pipelining}: two are needed")
            }
            Self::NotPositive { pipelining } => {
                write!(f, "a wall time with pipelining {pipelining} is not positive")
            }
        }
    }
}

/// The gain of pipelining, from walls of builds with it and without, in the same unit. By Welch's t
/// (Welch 1947, Biometrika 34) on ln T: the two are different cases, minutes apart, so a round has
/// little in common.
pub fn gain(on: &[i64], off: &[i64], confidence: f64) -> Result<Gain, NoGain> {
    let moments_of = |walls: &[i64], pipelining| {
        if walls.iter().any(|wall| *wall <= 0) {
            return Err(NoGain::NotPositive { pipelining });
        }
        let logs: Vec<f64> = walls.iter().map(|wall| (*wall as f64).ln()).collect();
        let moments = moments(&logs).and_then(|m| Some((m.n, m.mean, m.variance?)));
        moments.ok_or(NoGain::TooFewRounds { pipelining, rounds: walls.len() as u32 })
    };
    let (on, off) = (moments_of(on, "on")?, moments_of(off, "off")?);
    let part = |(n, _, variance): (u32, f64, f64)| (variance / f64::from(n), f64::from(n) - 1.0);
    let variance = satterthwaite([part(on), part(off)]);
    let half_width = t_quantile(confidence, variance.df) * variance.value.sqrt();
    let mean = on.1 - off.1;
    let saved_share = |log_ratio: f64| -log_ratio.exp_m1();
    Ok(Gain {
        estimate: saved_share(mean),
        low: saved_share(mean + half_width),
        high: saved_share(mean - half_width),
        rounds: (on.0, off.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains() {
        // Welch's t with 3.291 degrees of freedom, by integrating its density (Simpson) in Python.
        let got = gain(&[80, 82, 81], &[100, 101, 99, 100], 0.95).unwrap();
        for (got, expected) in [
            (got.estimate, 0.190_020_904_1),
            (got.low, 0.169_614_892_8),
            (got.high, 0.209_925_454_9),
        ] {
            assert!((got - expected).abs() < 1e-8, "{got} {expected}");
        }
        assert_eq!(got.rounds, (3, 4));
        let no_gain = gain(&[100, 100], &[100, 100], 0.95).unwrap();
        assert_eq!((no_gain.estimate, no_gain.low, no_gain.high), (0.0, 0.0, 0.0));
        assert!(gain(&[110, 111], &[100, 101], 0.95).unwrap().estimate < 0.0);
    }

    #[test]
    fn what_gives_no_gain() {
        for (on, off, text) in [
            (&[][..], &[1, 2][..], "0 rounds with pipelining on: two are needed"),
            (&[1, 2], &[1], "1 round with pipelining off: two are needed"),
            (&[1, 0], &[1, 2], "a wall time with pipelining on is not positive"),
            (&[1, 2], &[i64::MIN, 2], "a wall time with pipelining off is not positive"),
        ] {
            assert_eq!(gain(on, off, 0.95).unwrap_err().to_string(), text);
        }
    }
}
