//! The terminal: the verdict, what changed, counts of the rest, failures, where the report lies.
//!
//! Plain text that fits the width given; colour only if asked, and never the only cue. Control
//! characters from outside never reach the terminal.

use std::fmt::Write as _;

use crate::escape::line;
use crate::terminal::{Terminal, wrap};
use crate::view::{SECTIONS, View};
use crate::words::plural;

const REASONS_MAX: usize = 8;
const MEANS_MAX: usize = 4;

/// The report as text; `path` is where the full report lies, if it does.
pub fn text(view: &View, path: Option<&str>, terminal: Terminal) -> String {
    let terminal = terminal.at_least_narrow();
    let mut out = terminal.paragraph(&view.title);
    for text in wrap(&view.sentence, terminal.width, "") {
        let bold = terminal.paint("1", &text);
        let _ = writeln!(out, "{}", terminal.paint_verdict(view.conclusion, &bold));
    }
    for text in reasons(view).iter().flat_map(|text| wrap(text, terminal.width, "  ")) {
        let _ = writeln!(out, "{text}");
    }
    for write in SECTIONS.iter().filter_map(|section| section.text) {
        out.push_str(&write(view, terminal));
    }
    if let Some(path) = path {
        let _ = writeln!(out, "\nReport: {}", line(path));
    }
    out
}

/// The lines that follow the sentence: what to do, numbers of cases, reasons, remarks, means.
fn reasons(view: &View) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    if !view.next_step.is_empty() {
        texts.push(format!("Next: {}", view.next_step));
    }
    texts.extend([&view.cases, &view.common.text].into_iter().filter(|t| !t.is_empty()).cloned());
    texts.extend(view.reasons.iter().take(REASONS_MAX).cloned());
    let rest_count = view.reasons.len().saturating_sub(REASONS_MAX);
    if rest_count > 0 {
        texts.push(format!("… and {}.", plural(rest_count, "more reason")));
    }
    texts.extend(view.remarks.iter().cloned());
    texts.extend(view.means.iter().take(MEANS_MAX).map(|mean| mean.text.clone()));
    texts
}
