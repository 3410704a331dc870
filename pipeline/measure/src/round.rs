//! A round: both sides of a case, one after the other.

use dyno_model::metric;
use dyno_model::record::{CompilationUnit, Sample, Side};
use dyno_model::sampling::Target;
use dyno_model::taint;

/// Results of one round.
#[derive(Default)]
pub struct Round {
    pub spent_ns: u64,
    /// User time of each process.
    pub user_ns: Vec<(Side, i64)>,
    /// A taint for each side that worked.
    pub taints: Vec<String>,
    pub samples: Vec<Sample>,
    /// Units of the processes that were builds.
    pub units: Vec<CompilationUnit>,
}

impl Round {
    pub fn is_disturbed(&self) -> bool {
        self.taints.iter().any(|taint| !taint.is_empty())
    }

    /// (baseline, candidate) of each target, where both are there.
    pub fn values(&self, targets: &[Target]) -> Vec<Option<(i64, i64)>> {
        let value = |target: &Target, side: Side| {
            let is_of_target =
                |s: &&Sample| s.metric == target.metric && s.side == side && s.taint.is_empty();
            Some(self.samples.iter().find(is_of_target)?.value)
        };
        targets.iter().map(|t| value(t, Side::Baseline).zip(value(t, Side::Candidate))).collect()
    }

    /// The samples and units; those that a disturbance moves, with what disturbed them or their
    /// pair.
    pub fn into_rows(mut self) -> (Vec<Sample>, Vec<CompilationUnit>) {
        if self.is_disturbed() {
            let first = self.samples.first().map(|sample| sample.side);
            let taint = |side: Side| match &self.taints[usize::from(Some(side) != first)] {
                own if own.is_empty() => taint::PAIR.to_string(),
                own => own.clone(),
            };
            for sample in self.samples.iter_mut().filter(|s| metric::is_disturbable(&s.metric)) {
                sample.taint = taint(sample.side);
            }
            for unit in &mut self.units {
                unit.taint = taint(unit.side);
            }
        }
        (self.samples, self.units)
    }
}
