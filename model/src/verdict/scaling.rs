//! Verdicts on how artifacts scale.

use serde::Serialize;

use super::judge::decide;
use super::{Reason, Verdict};
use crate::catalog::policy::Policy;
use crate::metric::Better;
use crate::record::Side;
use crate::stats::{
    self,
    scaling::{Difference, NoCurve},
};

/// A difference under a policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScalingVerdict {
    pub difference: Result<Difference, (Side, NoCurve)>,
    /// p adjusted over all that were judged together; `None` where there is no difference.
    pub q: Option<f64>,
    pub verdict: Verdict,
}

/// Decides how each case scales: Regressed where the time at the largest number of threads grew by
/// more than δ beyond what the time of one thread grew. p is adjusted over all of `differences`,
/// which are a family by themselves. The order is kept.
pub fn judge_scaling(
    differences: Vec<Result<Difference, (Side, NoCurve)>>,
    policy: &Policy,
) -> Vec<ScalingVerdict> {
    let p: Vec<f64> = differences.iter().flatten().map(|d| d.estimate.p).collect();
    let mut adjusted = stats::adjust(&p, policy.procedure).into_iter();
    let judge = |difference: Result<Difference, (Side, NoCurve)>| match &difference {
        Ok(d) => {
            let q = adjusted.next().expect("one q for each p");
            let variance = Some(d.variance);
            let verdict = decide(&d.estimate, q, Better::Lower, d.delta, variance, policy);
            ScalingVerdict { difference, q: Some(q), verdict }
        }
        Err((side, curve)) => {
            let reason = Reason::NoCurve { side: side.name(), curve: curve.clone() };
            ScalingVerdict { difference, q: None, verdict: Verdict::Inconclusive(reason) }
        }
    };
    differences.into_iter().map(judge).collect()
}
