//! Sentences and links of a comment that need to know the view.

use std::collections::BTreeSet;

use super::View;
use crate::comment::SENTENCE_CHARS_MAX;
use crate::escape::{bounded, markdown_link, prose_with_names};

/// A sentence of `view` as prose, in which the names of its cases, metrics and hosts are code spans.
pub(crate) fn sentence_of(view: &View, text: &str) -> String {
    let text = bounded(text, SENTENCE_CHARS_MAX);
    // A letter may be a word of ours.
    let is_in_text = |name: &&str| (2..=text.len()).contains(&name.len()) && text.contains(*name);
    let of_rows = view.rows().flat_map(|row| {
        let host = if view.many_hosts { row.host.as_str() } else { "" };
        [row.case.as_str(), &row.benchmark, &row.metric, host]
    });
    let of_failures = view.failures.iter().filter_map(|f| Some([f.benchmark.as_ref()?, &f.case]));
    let of_failures = of_failures.flatten().map(String::as_str);
    let names: BTreeSet<&str> = of_rows.chain(of_failures).filter(is_in_text).collect();
    let mut names: Vec<String> = names.into_iter().map(str::to_string).collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    prose_with_names(&text, &names)
}

/// `text` as a link to that section of the full report, where it has an address.
pub(crate) fn link_to(view: &View, text: &str, section: &str) -> Option<String> {
    let url = view.links.report_url.as_ref()?;
    let base = url.split('#').next().unwrap_or(url);
    markdown_link(text, &format!("{base}{section}"))
}
