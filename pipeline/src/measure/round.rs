//! A round: both sides of a case, one after the other.

use dyno_model::record::{Sample, Side};
use dyno_model::sampling::Target;
use dyno_model::taint;

/// What one round gave.
#[derive(Default)]
pub struct Round {
    pub spent_ns: u64,
    /// One for each side that worked.
    pub taints: Vec<String>,
    pub samples: Vec<Sample>,
}

impl Round {
    pub fn disturbed(&self) -> bool {
        self.taints.iter().any(|taint| !taint.is_empty())
    }

    /// (baseline, candidate) of each target, where both are there.
    pub fn values(&self, targets: &[Target]) -> Vec<Option<(i64, i64)>> {
        let value = |target: &Target, side: Side| {
            let of =
                |s: &&Sample| s.metric == target.metric && s.side == side && s.taint.is_empty();
            Some(self.samples.iter().find(of)?.value)
        };
        targets.iter().map(|t| value(t, Side::Baseline).zip(value(t, Side::Candidate))).collect()
    }

    /// The samples; those that a disturbance moves, with what disturbed them or their pair.
    pub fn into_samples(mut self) -> Vec<Sample> {
        if self.disturbed() {
            let sides: Vec<Side> = self.samples.iter().map(|sample| sample.side).collect();
            for (sample, side) in self.samples.iter_mut().zip(&sides) {
                if taint::moves(&sample.metric) {
                    let own = &self.taints[usize::from(side != &sides[0])];
                    sample.taint = if own.is_empty() { taint::PAIR.into() } else { own.clone() };
                }
            }
        }
        self.samples
    }
}
