//! Geometric means over the cases that gate: one number for many, where a reader wants one.
//!
//! By metric and host, since neither different metrics nor different machines can be averaged, and
//! only where there are two cases at least. It is no verdict: what went up in one case and down in
//! another cancels in it, and only the verdicts name each.

use std::collections::BTreeMap;

use dyno_model::catalog::policy::Policy;
use dyno_model::metric;
use dyno_model::stats::{self, Variance};
use dyno_model::verdict::{Comparison, Judged, Reason, Verdict};
use serde::Serialize;

use super::Effect;

/// The effect over the cases that gate of one metric on one host, each weighing the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mean {
    pub metric: String,
    pub host: String,
    /// Cases with a number; the mean is over these.
    pub cases: usize,
    pub effect: Effect,
    /// All of it in one sentence.
    pub text: String,
}

/// A mean for each metric and host with two cases that gate or more.
pub(super) fn means(judged: &[Judged], policy: &Policy, many_hosts: bool) -> Vec<Mean> {
    let deciding = judged.iter().filter(|j| j.comparison.decides);
    let view = |((metric, host), series): ((&str, &str), Vec<&Judged>)| {
        let (cases, effect) = mean(&series, policy.confidence).filter(|(cases, _)| *cases > 1)?;
        let host_text = if many_hosts { format!(" on {host}") } else { String::new() };
        let cases_text = match cases {
            n if n == series.len() => format!("{n} cases"),
            n => format!("{n} of {} cases ({})", series.len(), left_out(&series)),
        };
        let shown = effect.in_sentence();
        Some(Mean {
            metric: metric.to_string(),
            host: host.to_string(),
            cases,
            text: format!("Geometric mean of {metric} over {cases_text}{host_text}: {shown}."),
            effect,
        })
    };
    by_metric_and_host(deciding).into_iter().filter_map(view).collect()
}

/// Why series have no part in their mean: `4 have no number: 3 without a value of one side, …`.
fn left_out(series: &[&Judged]) -> String {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for judged in series.iter().filter(|j| mean_part(&j.comparison).is_none()) {
        let reason = match &judged.verdict {
            Verdict::Inconclusive(Reason::MissingSide { .. }) => "without a value of one side",
            Verdict::Inconclusive(Reason::Disturbed { .. } | Reason::NoCommonRound) => {
                "with too few undisturbed rounds"
            }
            Verdict::Inconclusive(Reason::TooFewRounds { .. }) => "with too few rounds",
            _ if judged.comparison.zeros.is_some() => "that are 0 on one side",
            Verdict::Inconclusive(Reason::ZeroValue { .. }) => "that are 0 on one side",
            _ => "without a ratio",
        };
        *reasons.entry(reason).or_default() += 1;
    }
    let total: usize = reasons.values().sum();
    let verb = if total == 1 { "has" } else { "have" };
    let reasons: Vec<String> =
        reasons.into_iter().map(|(reason, series)| format!("{series} {reason}")).collect();
    format!("{total} {verb} no number: {}", reasons.join(", "))
}

/// Series by metric, in the order of the model's, and host.
pub(super) fn by_metric_and_host<'a>(
    series: impl Iterator<Item = &'a Judged>,
) -> Vec<((&'a str, &'a str), Vec<&'a Judged>)> {
    let place = |name: &str| metric::METRICS.iter().position(|m| m.name == name);
    let mut groups: BTreeMap<_, Vec<&Judged>> = BTreeMap::new();
    for judged in series {
        let key = &judged.comparison.key;
        let group = (place(&key.metric), key.metric.as_str(), key.host.as_str());
        groups.entry(group).or_default().push(judged);
    }
    groups.into_iter().map(|((_, metric, host), series)| ((metric, host), series)).collect()
}

/// The geometric mean of those that have an effect, and how many those are.
pub(super) fn mean(series: &[&Judged], confidence: f64) -> Option<(usize, Effect)> {
    let parts: Vec<_> = series.iter().filter_map(|j| mean_part(&j.comparison)).collect();
    let mean = stats::geometric_mean(&parts, confidence)?;
    Some((parts.len(), Effect::from_log(mean.mean, mean.half_width)))
}

/// (d̄, variance, rounds) of a series that has them.
fn mean_part(comparison: &Comparison) -> Option<(f64, Variance, u32)> {
    let estimate = comparison.estimate?;
    Some((estimate.mean, comparison.variance()?, estimate.rounds.max(1)))
}
