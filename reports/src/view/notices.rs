//! Notices of the runs, and what differs between runs that are shown together.

use std::collections::BTreeSet;

use dyno_model::record::RunRow;

use super::View;
use super::section::{Html, Markdown, Section, no_data};
use crate::comment::{left_out, sentence};
use crate::terminal::Terminal;

/// The section of what a reader should know of the circumstances.
pub(super) const NOTICES: Section = Section {
    html: Some(Html {
        id: "notices",
        title: "Notices",
        template: include_str!("../../templates/notices.html"),
        data: no_data,
    }),
    markdown: Some(Markdown { name: "notices", write: markdown }),
    text: Some(text),
};

const MARKDOWN_MAX: usize = 10;

/// The runs' own notices, each once, then what differs between the runs.
pub(super) fn notices(runs: &[RunRow]) -> Vec<String> {
    let mut notices: Vec<String> = Vec::new();
    let several = runs.iter().map(|r| &r.host).collect::<BTreeSet<_>>().len() > 1;
    for run in runs {
        for notice in &run.notices {
            let notice =
                if several { format!("{}: {notice}", run.host) } else { notice.to_string() };
            if !notices.contains(&notice) {
                notices.push(notice);
            }
        }
    }
    type Part = fn(&RunRow) -> String;
    let parts: [(&str, Part); 5] = [
        ("commits", |r| format!("{} {}", r.baseline.commit, r.candidate.commit)),
        ("suite digest", |r| r.suite_digest.to_string()),
        ("image", |r| r.image_id.to_string()),
        ("engine", |r| r.fingerprint.engine.clone()),
        ("dyno version", |r| r.dyno_version.clone()),
    ];
    for (name, part) in parts {
        if runs.iter().map(part).collect::<BTreeSet<_>>().len() > 1 {
            notices.push(format!("the runs shown here differ in their {name}; see Provenance"));
        }
    }
    notices
}

fn markdown(view: &View) -> String {
    let shown = view.notices.iter().take(MARKDOWN_MAX);
    let lines = shown.map(|notice| format!("- Note: {}\n", sentence(notice)));
    lines.collect::<String>() + &left_out(view.notices.len(), MARKDOWN_MAX, "notice")
}

fn text(view: &View, terminal: Terminal) -> String {
    if view.notices.is_empty() {
        return String::new();
    }
    let notes = view.notices.iter().map(|n| terminal.paragraph(&format!("Note: {n}")));
    format!("\n{}", notes.collect::<String>())
}
