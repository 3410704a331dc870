//! Disturbance that comes with one side.

use crate::record::{DisturbedSides, Side};
use crate::stats;

/// The least number of disturbed processes, and how many times those of the other side, from which
/// a side is named.
const LEAST: u32 = 5;
const TIMES: u32 = 4;

/// How improbable it must be that chance alone distributed them so.
const P_MAX: f64 = 0.001;

impl DisturbedSides {
    /// The side that disturbance comes with: what else ran on the machine does not know which side
    /// is measured, so by chance a disturbed process is of the candidate as often as its share of
    /// the time that was measured, `candidate_share`.
    pub fn comes_with(&self, candidate_share: f64) -> Option<Side> {
        let Self { baseline, candidate } = *self;
        let (side, many, few, share) = match candidate > baseline {
            true => (Side::Candidate, candidate, baseline, candidate_share),
            false => (Side::Baseline, baseline, candidate, 1.0 - candidate_share),
        };
        let is_lopsided = many >= LEAST && many >= few.saturating_mul(TIMES);
        let p = || stats::at_least(many, many.saturating_add(few), share.max(0.5));
        (is_lopsided && 2.0 * p() < P_MAX).then_some(side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_that_disturbance_comes_with() {
        for (baseline, candidate, candidate_share, expected) in [
            (0, 0, 0.5, None),
            // Ten of ten could be chance once in 500 times.
            (0, 10, 0.5, None),
            (0, 11, 0.5, Some(Side::Candidate)),
            (24, 1, 0.5, Some(Side::Baseline)),
            (1, 24, 0.5, Some(Side::Candidate)),
            (8, 24, 0.5, None),
            // It ran nine tenths of the time, and so was disturbed that often.
            (1, 24, 0.9, None),
            (24, 1, 0.9, Some(Side::Baseline)),
            (u32::MAX, 1, 0.5, Some(Side::Baseline)),
        ] {
            let sides = DisturbedSides { baseline, candidate };
            assert_eq!(sides.comes_with(candidate_share), expected, "{sides:?} {candidate_share}");
        }
    }
}
