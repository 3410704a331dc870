//! Geometric means over the deciding cases: one number for many, where a reader wants one.
//!
//! By metric and host, since neither different metrics nor different machines can be averaged, and
//! only where there are two cases at least. It is no verdict: what went up in one case and down in
//! another cancels in it, and only the verdicts name each.

use std::collections::BTreeMap;

use dyno_model::catalog::policy::Policy;
use dyno_model::metric;
use dyno_model::stats::{self, Variance};
use dyno_model::verdict::{Comparison, Judged};

use crate::view::{self, Effect, Mean};

pub(crate) fn means(judged: &[Judged], policy: &Policy, many_hosts: bool) -> Vec<Mean> {
    let place = |name: &str| metric::METRICS.iter().position(|m| m.name == name);
    let mut groups: BTreeMap<_, Vec<&Judged>> = BTreeMap::new();
    for j in judged.iter().filter(|j| j.comparison.decides) {
        let key = &j.comparison.key;
        let group = (place(&key.metric), key.metric.as_str(), key.host.as_str());
        groups.entry(group).or_default().push(j);
    }
    let view = |((_, metric, host), all): ((_, &str, &str), Vec<&Judged>)| {
        let (series, effect) = mean(&all, policy.confidence).filter(|(series, _)| *series > 1)?;
        let on = if many_hosts { format!(" on {host}") } else { String::new() };
        let of = match series {
            n if n == all.len() => format!("{n} cases"),
            n => format!("{n} of {} cases (the others have no effect)", all.len()),
        };
        let shown = if effect.interval == "exact" { "(counted)" } else { &effect.interval };
        Some(Mean {
            metric: metric.to_string(),
            host: host.to_string(),
            cases: series,
            text: format!("Geometric mean of {metric} over {of}{on}: {} {shown}.", effect.text),
            effect,
        })
    };
    groups.into_iter().filter_map(view).collect()
}

/// The geometric mean of those that have an effect, and how many those are.
pub(crate) fn mean(all: &[&Judged], confidence: f64) -> Option<(usize, Effect)> {
    let series: Vec<_> = all.iter().filter_map(|j| part(&j.comparison)).collect();
    let mean = stats::geometric_mean(&series, confidence)?;
    let [fraction, low, high] =
        [0.0, -mean.half_width, mean.half_width].map(|by| (mean.mean + by).exp_m1());
    Some((series.len(), view::effect(fraction, low, high)))
}

/// (d̄, variance, rounds) of a series that has them.
fn part(c: &Comparison) -> Option<(f64, Variance, u32)> {
    let estimate = c.estimate?;
    Some((estimate.mean, c.variance()?, estimate.rounds.max(1)))
}
