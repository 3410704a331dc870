//! Metrics of one case that are sure of different things.

use std::collections::BTreeMap;

use super::compare::Comparison;
use super::judge::{Judged, Verdict};
use crate::catalog::policy::{MetricConflict, Policy};

/// A metric that decides a case, and one that must agree with it and does not: both are sure, and
/// the latter surely changed by more than a multiple of its δ.
#[derive(Debug, Clone, Copy)]
pub struct Contradiction<'a> {
    pub deciding: &'a Judged,
    pub companion: &'a Judged,
}

impl Contradiction<'_> {
    /// Whether a gate fails for it.
    pub(super) fn fails(&self, policy: &Policy) -> bool {
        self.companion.verdict == Verdict::Regressed
            && policy.conflicting_metrics == MetricConflict::Fail
    }
}

/// The contradictions between metrics of a case on a host, in the order of the companions.
pub fn contradictions<'a>(judged: &'a [Judged], policy: &Policy) -> Vec<Contradiction<'a>> {
    let case = |j: &'a Judged| {
        let key = &j.comparison.key;
        (key.benchmark.as_str(), key.config.as_str(), key.host.as_str())
    };
    let mut deciding: BTreeMap<_, Vec<&Judged>> = BTreeMap::new();
    for j in judged.iter().filter(|j| j.comparison.decides && j.verdict.is_sure()) {
        deciding.entry(case(j)).or_default().push(j);
    }
    let contradicting = |companion: &'a Judged| {
        let is_change = matches!(companion.verdict, Verdict::Regressed | Verdict::Improved);
        let is_one = companion.comparison.is_companion
            && is_change
            && is_far(&companion.comparison, policy.conflict_multiple);
        let deciding = deciding.get(&case(companion)).filter(|_| is_one)?;
        // Where one of several says the same, nothing is hidden.
        let agrees = deciding.iter().any(|d| d.verdict == companion.verdict);
        (!agrees).then(|| Contradiction { deciding: deciding[0], companion })
    };
    judged.iter().filter_map(contradicting).collect()
}

/// Whether the whole interval of the effect is beyond `multiple` times δ.
fn is_far(comparison: &Comparison, multiple: f64) -> bool {
    let is_beyond = |estimate: crate::stats::Estimate| {
        estimate.mean.abs() - estimate.half_width > multiple * comparison.delta
    };
    comparison.estimate.map_or(comparison.zeros.is_some(), is_beyond)
}
