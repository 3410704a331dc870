//! Verdicts from summaries: [`compare`] estimates without opinion, [`judge`] decides under a
//! policy, [`conclude`] says it in one word and why. All three are pure.

mod compare;
mod conclude;
mod conflict;
mod disturbed;
mod failing;
mod judge;
mod peer_states;
mod scaling;
mod scaling_cases;
mod summarise;
#[cfg(test)]
mod tests;
mod zeros;

pub use compare::{Comparison, Input, PParts, SeriesKey, compare};
pub use conclude::{Concluded, Conclusion, ConclusionReason, conclude};
pub use conflict::{Contradiction, contradictions};
pub use failing::{Failing, Standing};
pub use judge::{Judged, NamedVerdict, Reason, Verdict, judge};
pub use scaling::{ScalingVerdict, judge_scaling};
pub use scaling_cases::{
    Fits, ScalingCase, ScalingPoint, ScalingSample, ScalingSide, scaling_cases,
};
pub use summarise::summarise;
pub use zeros::ZeroTest;
