//! Why a series has its verdict, and why a case scales as it does.

use dyno_model::catalog::policy::Policy;
use dyno_model::metric;
use dyno_model::stats::ROUNDS_CAP;
use dyno_model::verdict::{Judged, Reason, ScalingVerdict, Verdict};

use super::plural;
use crate::number;

/// The reason why a series has its verdict. `interval` and `delta` are texts, the former empty
/// where there is no effect.
pub(crate) fn why(judged: &Judged, interval: &str, delta: &str, policy: &Policy) -> String {
    let comparison = &judged.comparison;
    let confidence = number::percent(policy.confidence);
    let limit = policy.q;
    let q = q_equation(comparison.q);
    let is_counted = metric::is_deterministic(&comparison.key.metric);
    if let Some(text) = why_zeros(judged, policy) {
        return text;
    }
    match &judged.verdict {
        Verdict::Regressed | Verdict::Improved if is_counted => {
            format!(
                "counted once, so there is no noise to allow for: the effect is outside {delta}"
            )
        }
        Verdict::Regressed | Verdict::Improved => format!(
            "the effect is beyond {delta} ({q}, at most {limit} allowed); {confidence} interval {interval}"
        ),
        Verdict::Unchanged if is_counted => {
            format!("counted once, so there is no noise to allow for: the effect is within {delta}")
        }
        Verdict::Unchanged => {
            format!("the whole {confidence} interval {interval} lies within {delta}")
        }
        Verdict::Inconclusive(Reason::TooWide { rounds }) => {
            format!(
                "too noisy yet: the {confidence} interval {interval} is not within {delta}, and \
                 an effect beyond that is not sure ({q}, at most {limit} allowed); {}",
                remedy(*rounds)
            )
        }
        Verdict::Inconclusive(Reason::SharesUnknown { rounds }) => format!(
            "its values lie in states far apart, and so few rounds say little of how often each \
             side is in which: their mean may differ by more than {delta} although the \
             {confidence} interval {interval} lies within it; {}",
            remedy(*rounds)
        ),
        Verdict::Inconclusive(reason) => reason.to_string(),
    }
}

/// `about 35 rounds in all would settle it`
fn remedy(rounds: u32) -> String {
    match rounds {
        ROUNDS_CAP.. => {
            format!("not even {} would settle it", plural(ROUNDS_CAP as usize, "round"))
        }
        _ => format!("about {} in all would settle it", plural(rounds as usize, "round")),
    }
}

/// The reason of a change in a series that has a zero on one side alone; `None` of others.
fn why_zeros(judged: &Judged, policy: &Policy) -> Option<String> {
    let zeros = judged.comparison.zeros.filter(|_| judged.verdict.is_sure())?;
    let rounds = plural(zeros.rounds as usize, "round");
    let what = if zeros.begins_at_zero() {
        format!("it begins at zero: the baseline is 0 in all of {rounds}, the candidate in none")
    } else if zeros.becomes_zero() {
        format!("it becomes zero: the candidate is 0 in all of {rounds}, the baseline in none")
    } else {
        format!(
            "of {rounds} the baseline alone is 0 in {}, the candidate alone in {}",
            zeros.baseline, zeros.candidate
        )
    };
    if metric::is_deterministic(&judged.comparison.key.metric) {
        return Some(format!("{what}; counted once, so there is no noise to allow for"));
    }
    let (q, limit) = (q_equation(judged.comparison.q), policy.q);
    Some(format!(
        "{what}; no ratio, but the direction is sure by its signs ({q}, at most {limit} allowed)"
    ))
}

/// `q = 0.013`, `q < 0.0001`.
fn q_equation(q: Option<f64>) -> String {
    let q = q.map(number::probability).unwrap_or_default();
    if q.starts_with('<') { format!("q {q}") } else { format!("q = {q}") }
}

/// The reason why a case scales as its verdict says; `effect` is its effect and interval, as texts.
pub(crate) fn why_scaling(
    scaled: &ScalingVerdict,
    effect: Option<(&str, &str)>,
    policy: &Policy,
) -> String {
    let (Ok(difference), Some((effect, interval))) = (&scaled.difference, effect) else {
        return match &scaled.verdict {
            Verdict::Inconclusive(reason) => reason.to_string(),
            verdict => verdict.name().to_lowercase(),
        };
    };
    let q = q_equation(scaled.q);
    let delta = format!("±{}", number::percent(difference.delta.exp_m1()));
    let change = format!(
        "with {} the time changed by {effect} {interval} beyond what it changed with one",
        plural(difference.threads as usize, "thread"),
    );
    match &scaled.verdict {
        Verdict::Regressed | Verdict::Improved => {
            format!("{change}; that is beyond {delta} ({q}, at most {} allowed)", policy.q)
        }
        Verdict::Unchanged => format!("{change}; the whole interval lies within {delta}"),
        Verdict::Inconclusive(Reason::TooWide { rounds }) if *rounds < ROUNDS_CAP => {
            format!(
                "{change}; too noisy yet against {delta}: about {} in all would settle it",
                plural(*rounds as usize, "round")
            )
        }
        Verdict::Inconclusive(reason) => format!("{change}; {reason}"),
    }
}
