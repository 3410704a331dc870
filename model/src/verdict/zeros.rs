//! Rounds in which one side alone is zero: no ratio holds them, so the direction alone is tested.

use serde::Serialize;

use crate::record::{Summary, ZeroRounds};
use crate::stats;

/// A series with rounds in which one side alone is zero, tested by signs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ZeroTest {
    /// Rounds in which the baseline alone is zero.
    pub baseline: u32,
    /// Rounds in which the candidate alone is zero.
    pub candidate: u32,
    /// Rounds with both sides, these among them.
    pub rounds: u32,
    /// Two-sided p of the direction.
    pub p: f64,
    /// Whether more rounds say that it grew.
    pub grew: bool,
}

impl ZeroTest {
    /// The test of a series; `None` where no round has a zero on one side alone.
    ///
    /// A zero beside a value is beyond any δ, so such a round counts for its direction; a round
    /// that has a ratio counts against it where it goes the other way, and not for it, since it may
    /// be within δ. If neither direction is more likely than the other, hits are at most binomial
    /// with 1/2 (the sign test; leaving out rounds that agree only makes p larger). A value that is
    /// counted once does not vary: its direction is what it is.
    pub(super) fn of_summary(summary: &Summary, is_counted: bool) -> Option<Self> {
        Self::new(summary.zeros?, summary.rounds, is_counted)
    }

    /// The test over d, which is infinite where one side alone is zero: `+∞` where that is the
    /// baseline. `None` where none is.
    pub fn of_log_ratios(d: &[f64]) -> Option<Self> {
        let rounds = d.iter().filter(|d| d.is_finite()).count() as u32;
        Self::new(zero_rounds(d)?, rounds, false)
    }

    /// `rounds` are those with a ratio.
    fn new(zeros: ZeroRounds, rounds: u32, is_counted: bool) -> Option<Self> {
        let ZeroRounds { baseline, candidate, grew, shrank } = zeros;
        let zeros = baseline.saturating_add(candidate);
        if zeros == 0 {
            return None;
        }
        let tail =
            |hits: u32, against: u32| stats::at_least(hits, zeros.saturating_add(against), 0.5);
        let p = match is_counted {
            true => 0.0,
            false => (2.0 * tail(baseline, shrank).min(tail(candidate, grew))).min(1.0),
        };
        Some(Self {
            baseline,
            candidate,
            rounds: rounds.saturating_add(zeros),
            p,
            grew: baseline > candidate,
        })
    }

    /// Rounds in which one side alone is zero.
    pub fn zeros(&self) -> u32 {
        self.baseline.saturating_add(self.candidate)
    }

    /// Whether the baseline is zero in every round, and the candidate in none.
    pub fn begins_at_zero(&self) -> bool {
        self.baseline == self.rounds
    }

    /// Whether the candidate is zero in every round, and the baseline in none.
    pub fn becomes_zero(&self) -> bool {
        self.candidate == self.rounds
    }
}

/// Counts the rounds by their d, which is infinite where one side alone is zero
/// ([`stats::log_ratio_or_infinite`]); `None` where none is.
pub(super) fn zero_rounds(d: &[f64]) -> Option<ZeroRounds> {
    let count = |is_counted: fn(f64) -> bool| d.iter().filter(|d| is_counted(**d)).count() as u32;
    let zeros = ZeroRounds {
        baseline: count(|d| d == f64::INFINITY),
        candidate: count(|d| d == f64::NEG_INFINITY),
        grew: count(|d| d.is_finite() && d > 0.0),
        shrank: count(|d| d.is_finite() && d < 0.0),
    };
    (zeros.baseline + zeros.candidate > 0).then_some(zeros)
}
