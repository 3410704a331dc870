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

use crate::number;
use crate::view::{Effect, Mean};

pub(crate) fn means(judged: &[Judged], policy: &Policy, many_hosts: bool) -> Vec<Mean> {
    type Group = (usize, Vec<(f64, Variance, u32)>);
    let place = |name: &str| metric::METRICS.iter().position(|m| m.name == name);
    let mut groups: BTreeMap<_, Group> = BTreeMap::new();
    for c in judged.iter().map(|j| &j.comparison).filter(|c| c.decides) {
        let key = (place(&c.key.metric), c.key.metric.as_str(), c.key.host.as_str());
        let (cases, series) = groups.entry(key).or_default();
        *cases += 1;
        series.extend(part(c));
    }
    let mean = |((_, metric, host), (cases, series)): ((_, &str, &str), Group)| {
        if series.len() < 2 {
            return None;
        }
        let mean = stats::geometric_mean(&series, policy.confidence)?;
        let [fraction, low, high] =
            [0.0, -mean.half_width, mean.half_width].map(|by| (mean.mean + by).exp_m1());
        let (text, interval) = number::effect(fraction, low, high);
        let on = if many_hosts { format!(" on {host}") } else { String::new() };
        let of = match series.len() {
            n if n == cases => format!("{n} cases"),
            n => format!("{n} of {cases} cases (the others have no effect)"),
        };
        let shown = if interval == "exact" { "(counted)" } else { interval.as_str() };
        let sentence = format!("Geometric mean of {metric} over {of}{on}: {text} {shown}.");
        Some(Mean {
            metric: metric.to_string(),
            host: host.to_string(),
            cases: series.len(),
            text: sentence,
            effect: Effect { text, interval, fraction, low, high },
        })
    };
    groups.into_iter().filter_map(mean).collect()
}

/// (d̄, variance, rounds) of a series that has them.
fn part(c: &Comparison) -> Option<(f64, Variance, u32)> {
    let estimate = c.estimate?;
    Some((estimate.mean, c.variance()?, estimate.rounds.max(1)))
}
