//! Notices of the runs, what differs between runs that are shown together, and files of the store
//! that were not believed.

use std::collections::BTreeSet;

use dyno_model::notice::Notice;
use dyno_model::record::RunRow;
use minijinja::{Value, context};

use super::section::{Html, Markdown, Section};
use super::{View, link_to};
use crate::comment::sentence;
use crate::escape::bounded;
use crate::terminal::Terminal;
use crate::words::plural;

/// The section of what a reader should know of the circumstances.
pub(super) const NOTICES: Section = Section {
    html: Some(Html {
        id: "notices",
        title: "Notices",
        template: include_str!("../../templates/notices.html"),
        data: page_data,
    }),
    markdown: Some(Markdown { name: "notices", write: markdown }),
    text: Some(text),
};

/// How much of the first notice a comment shows.
const MARKDOWN_CHARS_MAX: usize = 280;

/// The most files that are named.
const SET_ASIDE_MAX: usize = 8;

/// The files that were set aside, then the runs' own notices, each once, then what differs between
/// the runs.
pub(super) fn notices(runs: &[RunRow], set_aside: &[Notice]) -> Vec<Notice> {
    let mut notices: Vec<Notice> = set_aside.iter().take(SET_ASIDE_MAX).cloned().collect();
    if let Some(more) = set_aside.len().checked_sub(SET_ASIDE_MAX).filter(|more| *more > 0) {
        notices
            .push(format!("{} of the store, bad too; set aside", plural(more, "more file")).into());
    }
    let several = runs.iter().map(|r| &r.host).collect::<BTreeSet<_>>().len() > 1;
    for run in runs {
        for notice in &run.notices {
            let notice = if several { notice.on_host(&run.host) } else { notice.clone() };
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
            let text = format!("the runs shown here differ in their {name}; see Provenance");
            notices.push(Notice::from(text));
        }
    }
    notices
}

fn page_data(view: &View) -> Value {
    let notice = |n: &Notice| context! { text => n.text(), remedy => n.remedy() };
    view.notices.iter().map(notice).collect()
}

/// One line: how many there are, and the beginning of the first.
fn markdown(view: &View) -> String {
    let Some(first) = view.notices.first() else {
        return String::new();
    };
    let number = plural(view.notices.len(), "notice");
    let number = link_to(view, &number, "#notices").unwrap_or(number);
    let first = sentence(&bounded(first.text(), MARKDOWN_CHARS_MAX));
    let first_of = if view.notices.len() > 1 { ", the first" } else { "" };
    format!("{number}{first_of}: {first}\n")
}

fn text(view: &View, terminal: Terminal) -> String {
    if view.notices.is_empty() {
        return String::new();
    }
    let note = |notice: &Notice| {
        let remedy = notice.remedy().map(|text| format!(". {text}")).unwrap_or_default();
        terminal.paragraph(&format!("Note: {notice}{remedy}"))
    };
    let notes = view.notices.iter().map(note);
    format!("\n{}", notes.collect::<String>())
}
