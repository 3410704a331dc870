//! What is said of how cases scale.

use dyno_model::catalog::policy::Policy;
use dyno_model::verdict::{Reason, ScalingVerdict, Verdict};

use super::{ROUNDS_CAP, many};
use crate::number;
use crate::view::{Effect, View};

/// Why a case scales as its verdict says.
pub(crate) fn why(scaled: &ScalingVerdict, effect: Option<&Effect>, policy: &Policy) -> String {
    let (Ok(difference), Some(effect)) = (&scaled.difference, effect) else {
        return match &scaled.verdict {
            Verdict::Inconclusive(reason) => reason.to_string(),
            verdict => verdict.name().to_lowercase(),
        };
    };
    let q = scaled.q.map(number::probability).unwrap_or_default();
    let q = if q.starts_with('<') { format!("q {q}") } else { format!("q = {q}") };
    let delta = format!("±{}", number::percent(difference.delta.exp_m1()));
    let what = format!(
        "with {} the time changed by {} {} beyond what it changed with one",
        many(difference.threads as usize, "thread"),
        effect.text,
        effect.interval
    );
    match &scaled.verdict {
        Verdict::Regressed | Verdict::Improved => {
            format!("{what}; that is beyond {delta} ({q}, at most {} allowed)", policy.q)
        }
        Verdict::Unchanged => format!("{what}; the whole interval lies within {delta}"),
        Verdict::Inconclusive(Reason::TooWide { rounds }) if *rounds < ROUNDS_CAP => {
            format!(
                "{what}; too noisy yet against {delta}: about {} in all would settle it",
                many(*rounds as usize, "round")
            )
        }
        Verdict::Inconclusive(reason) => format!("{what}; {reason}"),
    }
}

/// How many cases scale worse or better, where any does.
pub(super) fn remark(view: &View) -> Option<String> {
    let tally = &view.counts.scalings;
    (tally.regressed + tally.improved > 0).then(|| {
        format!(
            "Scaling with threads: {} of {} worse, {} better.",
            tally.regressed,
            many(tally.series, "case"),
            tally.improved
        )
    })
}
