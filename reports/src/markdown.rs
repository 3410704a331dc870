//! The comment on a pull request: GitHub-flavoured Markdown. The verdict and what to do come first,
//! then what newly fails with its error, then what changed; the rest is folded, or one line each.
//!
//! A comment has an upper size (65,536 characters on GitHub), and a reader has less patience than
//! that: tables and logs are bounded and say how much they leave out, and a section that would
//! not fit is left out whole and named. The first line is a hidden [`marker`], by which the
//! comment is found again and updated instead of joined by a second one.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::view::{SECTIONS, View, link_to, sentence_of};

/// No comment is longer, in characters.
pub const MARKDOWN_CHARS_MAX: usize = 60_000;

/// The hidden first line of the comment: one comment for each suite, hosts and policy, or what the
/// caller says instead.
pub fn marker(view: &View) -> String {
    let name = match &view.marker {
        Some(name) => plain(name),
        None => {
            let suite = view.runs.first().map_or("", |run| &run.suite);
            let hosts: BTreeSet<&str> = view.runs.iter().map(|run| run.host.as_str()).collect();
            let parts = [suite].into_iter().chain(hosts).chain([view.policy.name.as_str()]);
            parts.map(plain).collect::<Vec<_>>().join(" ")
        }
    };
    format!("<!-- dyno report: {name} -->")
}

/// `name` in characters that a comment of HTML may hold; `--` may not stand inside one.
fn plain(name: &str) -> String {
    let plain_character =
        |c: char| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' };
    let name: String = name.chars().take(64).map(plain_character).collect();
    name.split('-').collect::<Vec<_>>().join("_")
}

/// The comment; at most [`MARKDOWN_CHARS_MAX`] characters.
pub fn markdown(view: &View) -> String {
    let mut out = format!("{}\n### {}\n", marker(view), sentence_of(view, &view.sentence));
    let next = Some(&view.next_step).filter(|text| !text.is_empty());
    let next = next.map(|text| format!("**Next**: {}", sentence_of(view, text)));
    let parts = next.into_iter().chain(link_to(view, "Full report", ""));
    let parts: Vec<String> = parts.collect();
    if !parts.is_empty() {
        let _ = write!(out, "\n{}\n", parts.join(" · "));
    }
    let mut used = out.chars().count();
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
    out
}
