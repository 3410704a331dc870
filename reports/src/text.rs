//! The terminal: the verdict, what changed, counts of the rest, failures, where the report lies.
//!
//! Plain text that fits the width given; colour only if asked, and never the only cue. Control
//! characters from outside never reach the terminal.

use std::fmt::Write as _;

use dyno_model::selfcheck::Rate;
use dyno_model::verdict::Standing;

use crate::escape::{line, lines};
use crate::view::{Alike, FailureView, View};
use crate::words::{self, many};

mod sections;
mod table;

use table::elide;

const FAILURES_MAX: usize = 10;
const REASONS_MAX: usize = 8;
const MEANS_MAX: usize = 4;
const LOG_LINES_MAX: usize = 8;
const WIDTH_MIN: usize = 40;

/// The terminal written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Columns; less than 40 counts as 40.
    pub width: usize,
    /// Whether to use ANSI colours.
    pub color: bool,
}

impl Terminal {
    pub(crate) fn paint(self, style: &str, text: &str) -> String {
        if self.color { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_string() }
    }

    fn verdict(self, verdict: &str, text: &str) -> String {
        match verdict {
            "Regressed" => self.paint("31", text),
            "Improved" => self.paint("32", text),
            "Mixed" | "Inconclusive" => self.paint("33", text),
            _ => text.to_string(),
        }
    }
}

/// The report as text; `path` is where the full report lies, if it does.
pub fn text(view: &View, path: Option<&str>, terminal: Terminal) -> String {
    let terminal = Terminal { width: terminal.width.max(WIDTH_MIN), ..terminal };
    let mut out = String::new();
    for text in wrap(&view.title, terminal.width, "") {
        let _ = writeln!(out, "{text}");
    }
    for text in wrap(&view.sentence, terminal.width, "") {
        let bold = terminal.paint("1", &text);
        let _ = writeln!(out, "{}", terminal.verdict(view.conclusion, &bold));
    }
    for text in said(view).iter().flat_map(|text| wrap(text, terminal.width, "  ")) {
        let _ = writeln!(out, "{text}");
    }
    for again in &view.ask_again {
        out.push('\n');
        for text in wrap(&format!("Ask {} again:", again.host), terminal.width, "") {
            let _ = writeln!(out, "{text}");
        }
        out.push_str(&command(&again.command, terminal.width));
    }
    out.push_str(&failing(view, Standing::NewlyFailing, terminal));
    out.push_str(&sections::axes(view, terminal));
    out.push_str(&sections::changed(view, terminal));
    if view.counts.deciding.series > 0 {
        let _ = writeln!(out, "\n{}", wrap(&rest(view), terminal.width, "").join("\n"));
    }
    out.push_str(&sections::scalings(view, terminal));
    out.push_str(&sections::builds(view, terminal));
    out.push_str(&failing(view, Standing::NewlyPassing, terminal));
    out.push_str(&failing(view, Standing::FailingOnBoth, terminal));
    if !view.notices.is_empty() {
        out.push('\n');
    }
    for text in view.notices.iter().flat_map(|n| wrap(&format!("Note: {n}"), terminal.width, "")) {
        let _ = writeln!(out, "{text}");
    }
    // What is wrong with a host stands among the remarks already.
    let quiet = view.selfchecks.iter().filter(|check| check.rate != Rate::More);
    for (index, check) in quiet.enumerate() {
        if index == 0 {
            out.push('\n');
        }
        let how = check.command.as_ref().map(|command| format!(" Make one: {command}"));
        let said = format!("{}{}", check.text, how.unwrap_or_default());
        for text in wrap(&said, terminal.width, "") {
            let _ = writeln!(out, "{}", terminal.paint("2", &text));
        }
    }
    if let Some(path) = path {
        let _ = writeln!(out, "\nReport: {}", line(path));
    }
    out
}

/// What follows the sentence: reasons, remarks, means.
fn said(view: &View) -> Vec<String> {
    let mut said: Vec<String> = view.reasons.iter().take(REASONS_MAX).cloned().collect();
    let more = view.reasons.len() - said.len();
    if more > 0 {
        said.push(format!("… and {}.", many(more, "more reason")));
    }
    said.extend(view.remarks.iter().cloned());
    said.extend(view.means.iter().take(MEANS_MAX).map(|mean| mean.text.clone()));
    said
}

/// A command on lines that a shell reads as one.
fn command(command: &str, width: usize) -> String {
    let lines = wrap(command, width - 2, "  ");
    lines.join(" \\\n") + "\n"
}

fn rest(view: &View) -> String {
    let c = &view.counts.deciding;
    let mut text = format!("{} unchanged, {} inconclusive", c.unchanged, c.inconclusive);
    let others = view.counts.not_deciding.series;
    if others > 0 {
        let _ = write!(text, ", {others} that do not decide");
    }
    let informing = view.counts.informing.series;
    if informing > 0 {
        let verb = if informing == 1 { "informs" } else { "inform" };
        let _ = write!(text, ", {informing} that only {verb}");
    }
    text
}

/// `text` on lines of at most `width`, all but the first indented by `indent` more than it.
pub(crate) fn wrap(text: &str, width: usize, indent: &str) -> Vec<String> {
    let hanging = format!("{indent}  ");
    let options = textwrap::Options::new(width).initial_indent(indent).subsequent_indent(&hanging);
    // A number keeps its per cent sign.
    let text = line(text).replace(" %", "\u{a0}%");
    textwrap::wrap(&text, options).into_iter().map(|l| l.replace('\u{a0}', " ")).collect()
}

/// What has this standing, each with the last lines of its log.
fn failing(view: &View, standing: Standing, terminal: Terminal) -> String {
    let mut out = String::new();
    let all = view.failing(standing);
    for alike in all.iter().take(FAILURES_MAX) {
        out.push('\n');
        out.push_str(&failed(alike, view.many_hosts, terminal));
    }
    if all.len() > FAILURES_MAX {
        let more = all.len() - FAILURES_MAX;
        let _ = writeln!(out, "\n… and {} more {}", more, standing.name());
    }
    out
}

fn failed(alike: &Alike<'_>, many_hosts: bool, terminal: Terminal) -> String {
    let FailureView { standing, host, side, step, reason, log, .. } = alike.first;
    let host = if many_hosts { format!(" on {host}") } else { String::new() };
    let standing = words::capitalised(standing.name());
    let head = format!("{standing}: {}, {side}{host}, step {step}: {reason}", alike.name);
    let mut out = String::new();
    for text in wrap(&head, terminal.width, "") {
        let _ = writeln!(out, "{}", terminal.paint("31", &text));
    }
    let log: Vec<&str> = log.lines().collect();
    for log_line in &log[log.len().saturating_sub(LOG_LINES_MAX)..] {
        let text = elide(&lines(log_line).replace('\n', "␊"), terminal.width - 4);
        let _ = writeln!(out, "  | {text}");
    }
    out
}
