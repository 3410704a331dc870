//! What the comment says in sentences below its table: the counts that add up, why the conclusion is
//! what it is, what no row says, and the means.

use std::fmt::Write as _;

use super::section::{Markdown, Section};
use super::{View, sentence_of};
use crate::comment::left_out;

const REASONS_MAX: usize = 6;
const MEANS_MAX: usize = 3;

/// The section of sentences; page and terminal have them right below the verdict.
pub(super) const SUMMARY: Section = Section {
    html: None,
    markdown: Some(Markdown { name: "the summary", write: markdown }),
    text: None,
};

fn markdown(view: &View) -> String {
    let mut out = String::new();
    let common = Some(&view.common.text).filter(|text| !text.is_empty());
    let cases = Some(&view.cases).filter(|text| !text.is_empty());
    let reasons = view.reasons.iter().filter(|reason| !is_in_a_section(reason)).take(REASONS_MAX);
    let means = view.means.iter().take(MEANS_MAX).map(|mean| &mean.text);
    for text in cases.into_iter().chain(common).chain(reasons).chain(&view.remarks_without_row) {
        let _ = writeln!(out, "- {}", sentence_of(view, text));
    }
    for text in means {
        let _ = writeln!(out, "- {}", sentence_of(view, text));
    }
    out + &left_out(view.reasons.len(), REASONS_MAX, "reason")
}

/// Whether a section of its own says the same, with more.
fn is_in_a_section(reason: &str) -> bool {
    ["Newly failing: ", "Newly passing: ", "Flaky: "].iter().any(|start| reason.starts_with(start))
}
