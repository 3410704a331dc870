//! What the verdicts mean: the policy in words.

use std::collections::BTreeMap;

use dyno_model::catalog::policy::Policy;
use dyno_model::verdict::Judged;
use serde::Serialize;

use super::section::{Html, Markdown, Section, no_data};
use super::{View, link_to};
use crate::escape::code;
use crate::{number, words};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyView {
    pub name: String,
    pub words: Vec<String>,
    /// The metrics that gate here, each with the smallest δ that it has.
    pub gating: Vec<(String, String)>,
    pub q: f64,
    pub confidence: f64,
}

impl PolicyView {
    pub(super) fn new(policy: &Policy, judged: &[Judged]) -> Self {
        Self {
            name: policy.name.clone(),
            gating: gating(judged),
            words: words::policy_sentences(policy, judged),
            q: policy.q,
            confidence: policy.confidence,
        }
    }
}

/// The metrics of the series that gate, each with the smallest δ among them.
fn gating(judged: &[Judged]) -> Vec<(String, String)> {
    let mut deltas: BTreeMap<&str, f64> = BTreeMap::new();
    for comparison in judged.iter().map(|j| &j.comparison).filter(|c| c.decides) {
        let delta = deltas.entry(&comparison.key.metric).or_insert(f64::INFINITY);
        *delta = delta.min(comparison.delta.exp_m1());
    }
    let text = |(metric, delta): (&str, f64)| (metric.to_string(), number::percent(delta));
    deltas.into_iter().map(text).collect()
}

/// The section of what the verdicts mean; on the page with the self-checks below it.
pub(super) const POLICY: Section = Section {
    html: Some(Html {
        id: "policy",
        title: "What the verdicts mean",
        template: include_str!("../../templates/policy.html"),
        data: no_data,
    }),
    markdown: Some(Markdown { name: "the policy", write: markdown }),
    text: None,
};

/// One line: the limits, what gates, and where the rest is said.
fn markdown(view: &View) -> String {
    let PolicyView { name, q, gating, .. } = &view.policy;
    if view.runs.is_empty() {
        return String::new();
    }
    let gating: Vec<String> =
        gating.iter().map(|(metric, delta)| format!("{} beyond ±{delta}", code(metric))).collect();
    let gates = match gating.is_empty() {
        true if view.rows().next().is_none() => "nothing was measured".to_string(),
        true => "nothing that was measured gates".to_string(),
        false => format!("gates: {}", gating.join(", ")),
    };
    let words = link_to(view, "what the verdicts mean", "#policy");
    let words = words.map(|link| format!("; {link}")).unwrap_or_default();
    format!("Policy {}: {gates}; q ≤ {q}{words}\n", code(name))
}
