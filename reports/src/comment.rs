//! The blocks that a comment in Markdown is made of, and how much of them it shows.

use crate::escape::{bounded, prose};
use crate::words::plural;

/// The longest sentence, in characters.
pub(crate) const SENTENCE_CHARS_MAX: usize = 600;
/// Rows of one table.
pub(crate) const ROWS_MAX: usize = 20;
/// Runs, hosts and self-checks.
pub(crate) const RUNS_MAX: usize = 8;

/// A sentence as prose, cut where it is too long.
pub(crate) fn sentence(text: &str) -> String {
    prose(&bounded(text, SENTENCE_CHARS_MAX))
}

/// A block that is folded until it is opened; `summary` is ours.
pub(crate) fn folded(summary: &str, body: &str) -> String {
    format!("<details><summary>{summary}</summary>\n\n{}\n\n</details>\n", body.trim_end())
}

/// The number of those of `total` that are not among the `shown`; empty where all are.
pub(crate) fn left_out(total: usize, shown: usize, noun: &str) -> String {
    match total.saturating_sub(shown) {
        0 => String::new(),
        rest => format!("\n{} left out here; the full report has them.\n", plural(rest, noun)),
    }
}
