//! A policy in words.

use std::collections::{BTreeMap, BTreeSet};

use dyno_model::catalog::policy::{
    Decides, Gate, HostConflict, MetricConflict, MetricPolicy, Policy, Procedure,
};
use dyno_model::verdict::Judged;

use crate::number;

/// The policy, in words: how a verdict comes about, then what counts.
pub(crate) fn policy_sentences(policy: &Policy, judged: &[Judged]) -> Vec<String> {
    let mut words = verdict_rules(policy, judged);
    words.push(noise_rule(policy));
    words.extend(deciding_rules(policy, judged));
    if !policy.inform.is_empty() {
        let places: Vec<String> = policy.inform.iter().map(ToString::to_string).collect();
        words.push(format!("Only informs, whatever it says: {}.", places.join("; ")));
    }
    words.push(
        match policy.conflicting_hosts {
            HostConflict::AskAgain => {
                "Conflict: hosts. Where two hosts of one architecture are sure of different things \
                 about a series that gates, nothing is claimed of it on either, and both are asked \
                 again."
            }
            HostConflict::Count => {
                "Each host's verdict counts as it is, also where hosts of one architecture disagree."
            }
        }
        .to_string(),
    );
    words.push(
        "Architectures, configs and metrics that differ are never averaged: each is named, and of \
         two metrics of a case the one that gates counts, with the other in the same row."
            .to_string(),
    );
    words.extend(conflict_rule(policy));
    words
}

/// What a metric that must agree does where it does not; `None` where none must.
fn conflict_rule(policy: &Policy) -> Option<String> {
    let must_agree = |(_, m): &(&String, &MetricPolicy)| {
        let exceptions = m.exceptions.iter().filter_map(|e| e.decides);
        let is_otherwise = exceptions.chain([m.decides]).any(|d| d == Decides::Otherwise);
        m.must_agree.unwrap_or(is_otherwise)
    };
    let names = policy.metrics.iter().filter(must_agree).map(|(name, _)| name.as_str());
    let names: Vec<&str> = names.collect();
    let gate = match policy.conflicting_metrics {
        MetricConflict::Fail => "a gate fails where it got worse",
        MetricConflict::Tell => "a gate does not fail for it",
    };
    (!names.is_empty()).then(|| {
        format!(
            "Conflict: metrics. Where {} does not gate, and is surely beyond {} times its δ while \
             the metric that gates is sure of another thing, the whole is Mixed, and {gate}.",
            names.join(" or "),
            policy.conflict_multiple
        )
    })
}

fn verdict_rules(policy: &Policy, judged: &[Judged]) -> Vec<String> {
    let is_tested = |j: &&Judged| j.comparison.can_conclude() && j.comparison.is_tested();
    let tested = judged.iter().filter(is_tested).count();
    let procedure = procedure(policy);
    vec![
        format!(
            "Regressed or Improved: the effect exceeds δ, the smallest effect of interest, with \
             q ≤ {}. q adjusts p ({procedure}) over the series that can change the conclusion and \
             are sampled in rounds, {tested} here, on all hosts compared; the others are adjusted \
             apart. \
             Of all so called, about {} at most are expected to be false. A counted metric is no \
             test: its effect is what was counted.",
            policy.q,
            number::percent(policy.q)
        ),
        format!(
            "Unchanged: the whole {} interval of the effect lies within ±δ; where values lie in states far \
             apart, that of what their shares may do to it too.",
            number::percent(policy.confidence)
        ),
        "Inconclusive: everything else, missing data included. It is not a verdict of no change."
            .to_string(),
    ]
}

/// The procedure that adjusts p, as people call it.
pub(crate) fn procedure(policy: &Policy) -> &'static str {
    match policy.procedure {
        Procedure::BenjaminiHochberg => "Benjamini–Hochberg",
        Procedure::BenjaminiYekutieli => "Benjamini–Yekutieli, valid under any dependence",
    }
}

fn noise_rule(policy: &Policy) -> String {
    let peers = "the other series of its metric and host (the peer prior)";
    if policy.history == 0.0 {
        return format!(
            "Noise: how much a series varies is estimated from its own rounds and from {peers}, \
             never from past runs. It is never taken for less than its own rounds show."
        );
    }
    format!(
        "Noise: how much a series varies is estimated from its own rounds, from its past runs on a \
         machine with the same fingerprint in the same image (up to {} degrees of freedom with \
         its own), and from {peers}. Its variance is never taken for less than its own rounds \
         show, or half of that with past runs.",
        number::freedom(policy.history)
    )
}

/// A sentence for each metric that gates, and one for what else is shown. A metric may gate for
/// some series and not for others, and with several δ.
fn deciding_rules(policy: &Policy, judged: &[Judged]) -> Vec<String> {
    let phrase = |decides: Decides| match decides {
        Decides::Yes => "gates",
        Decides::No => "does not gate",
        Decides::Otherwise => {
            "gates where no metric that gates was measured for the case on that host"
        }
    };
    let rule = |(name, metric): (&String, &MetricPolicy)| {
        let delta = number::percent(metric.smallest_effect);
        let mut text = format!("{name} {} (δ = {delta})", phrase(metric.decides));
        for exception in &metric.exceptions {
            let decides = exception.decides.map(|d| phrase(d).to_string());
            let delta = exception.smallest_effect.map(|e| format!("δ = {}", number::percent(e)));
            let parts: Vec<String> = decides.into_iter().chain(delta).collect();
            text.push_str(&format!("; where {}, {}", exception.place, parts.join(" and ")));
        }
        text + "."
    };
    let deciding = policy.metrics.iter().filter(|(_, metric)| metric.can_decide());
    let mut words: Vec<String> = deciding.map(rule).collect();
    let mut deltas_by_metric: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for c in judged.iter().map(|j| &j.comparison) {
        if c.tier == Gate::Counts && !policy.can_decide(&c.key.metric) {
            let delta = number::percent(c.delta.exp_m1());
            deltas_by_metric.entry(&c.key.metric).or_default().insert(delta);
        }
    }
    if !deltas_by_metric.is_empty() {
        let with_deltas = |(name, deltas): (&str, BTreeSet<String>)| {
            format!("{name} (δ = {})", Vec::from_iter(deltas).join(" or "))
        };
        let deltas_by_metric: Vec<String> = deltas_by_metric.into_iter().map(with_deltas).collect();
        words.push(format!("Shown, never gating: {}.", deltas_by_metric.join(", ")));
    }
    words
}
