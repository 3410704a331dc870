//! The comment on a pull request: GitHub-flavoured Markdown, verdict first, the rest folded.
//!
//! A comment has an upper size (65,536 characters on GitHub), and a reader has less patience than
//! that: tables and logs are bounded and say how much they leave out, and a section that would
//! not fit is left out whole and named. The first line is a hidden [`marker`], by which the
//! comment is found again and updated instead of joined by a second one.

use std::fmt::Write as _;

use dyno_model::selfcheck::Rate;
use dyno_model::verdict::Standing;

use crate::comment::{left_out, sentence};
use crate::view::{SECTIONS, View, provenance_lines};
use crate::words::plural;

/// No comment is longer, in characters.
pub const MARKDOWN_CHARS_MAX: usize = 60_000;

const REASONS_MAX: usize = 12;
const MEANS_MAX: usize = 8;

/// The hidden first line of the comment on `suite`: one comment a suite.
pub fn marker(suite: &str) -> String {
    let plain_character =
        |c: char| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' };
    let name: String = suite.chars().take(64).map(plain_character).collect();
    // `--` may not stand inside a comment.
    format!("<!-- dyno report: {} -->", name.split('-').collect::<Vec<_>>().join("_"))
}

/// What a comment says besides what a view holds.
#[derive(Debug, Clone, Default)]
pub struct CommentOptions {
    /// Where the page of the report is, as a URL without `<`, `>` and spaces.
    pub report_url: Option<String>,
    /// The name in the hidden first line; the suite's where there is none.
    pub marker: Option<String>,
}

/// The comment with nothing besides: [`comment`].
pub fn markdown(view: &View) -> String {
    comment(view, &CommentOptions::default())
}

/// The comment; at most [`MARKDOWN_CHARS_MAX`] characters. When nothing changed, nothing failed and
/// nothing says otherwise, three lines.
pub fn comment(view: &View, options: &CommentOptions) -> String {
    let suite = view.runs.first().map_or("", |run| run.suite.as_str());
    let mut out = format!("{}\n", marker(options.marker.as_deref().unwrap_or(suite)));
    let link = options.report_url.as_ref().map(|url| format!("\n[The full report](<{url}>)\n"));
    let link = link.unwrap_or_default();
    let verdict = sentence(&view.sentence);
    if is_quiet(view) {
        let provenance = provenance_lines(view);
        let _ = write!(out, "**{verdict}**\n\n{}\n\n{provenance}\n", counts(view));
        out.push_str(&link);
        return out;
    }
    let _ = write!(out, "### {verdict}\n\n{}\n", counts(view));
    out.push_str(&reasons(view));
    let mut used = out.chars().count() + link.chars().count();
    let mut names_left_out = Vec::new();
    for section in SECTIONS.iter().filter_map(|section| section.markdown.as_ref()) {
        let text = (section.write)(view);
        let length = text.chars().count() + 1;
        // 200 for the line that names what is left out.
        if used + length + 200 > MARKDOWN_CHARS_MAX {
            names_left_out.push(section.name);
        } else if !text.is_empty() {
            used += length;
            let _ = write!(out, "\n{text}");
        }
    }
    if !names_left_out.is_empty() {
        let _ = writeln!(out, "\nLeft out for length: {}.", names_left_out.join(", "));
    }
    out.push_str(&link);
    out
}

/// Whether there is nothing but the verdict to tell.
fn is_quiet(view: &View) -> bool {
    let informing = &view.counts.informing;
    view.conclusion == "Unchanged"
        && view.failures.is_empty()
        && informing.regressed + informing.improved == 0
        && !view.unchanged.iter().flat_map(|row| &row.beside).any(|beside| beside.differs)
        && !view.selfchecks.iter().any(|check| check.rate == Rate::More)
}

/// Reasons, remarks and means, a line each.
fn reasons(view: &View) -> String {
    let mut out = String::new();
    let means = view.means.iter().take(MEANS_MAX).map(|mean| &mean.text);
    let reasons = view.reasons.iter().take(REASONS_MAX);
    for text in reasons.chain(&view.remarks).chain(means) {
        let _ = writeln!(out, "- {}", sentence(text));
    }
    if !out.is_empty() {
        out.insert(0, '\n');
    }
    out + &left_out(view.reasons.len(), REASONS_MAX, "reason")
}

fn counts(view: &View) -> String {
    let c = &view.counts.deciding;
    let mut text = format!(
        "{} regressed · {} improved · {} unchanged · {} inconclusive",
        c.regressed, c.improved, c.unchanged, c.inconclusive
    );
    for standing in Standing::ALL {
        let cases = view.counts.failing.count(standing);
        if cases > 0 {
            let _ = write!(text, " · **{}** {}", plural(cases, "case"), standing.name());
        }
    }
    if !view.notices.is_empty() {
        let _ = write!(text, " · {}", plural(view.notices.len(), "notice"));
    }
    let others = view.counts.not_deciding.series;
    if others > 0 {
        let _ = write!(text, " · {} of metrics that do not decide", plural(others, "series"));
    }
    let informing = view.counts.informing.series;
    if informing > 0 {
        let verb = if informing == 1 { "informs" } else { "inform" };
        let _ = write!(text, " · {} that only {verb}", plural(informing, "series"));
    }
    text
}
