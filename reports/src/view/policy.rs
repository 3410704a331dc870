//! What the verdicts mean: the policy in words.

use dyno_model::catalog::policy::Policy;
use dyno_model::verdict::Judged;
use serde::Serialize;

use super::View;
use super::section::{Html, Markdown, Section, no_data};
use crate::comment::{SENTENCE_CHARS_MAX, folded};
use crate::escape::{bounded, prose};
use crate::words;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyView {
    pub name: String,
    pub words: Vec<String>,
    pub q: f64,
    pub confidence: f64,
}

impl PolicyView {
    pub(super) fn new(policy: &Policy, judged: &[Judged]) -> Self {
        Self {
            name: policy.name.clone(),
            words: words::policy_sentences(policy, judged),
            q: policy.q,
            confidence: policy.confidence,
        }
    }
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

fn markdown(view: &View) -> String {
    let line = |words: &String| format!("- {}", prose(&bounded(words, 2 * SENTENCE_CHARS_MAX)));
    let lines: Vec<String> = view.policy.words.iter().map(line).collect();
    folded("What the verdicts mean (the policy)", &lines.join("\n"))
}
