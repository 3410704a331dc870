//! What is known of the error rate of each host, as it was when it measured.

use std::fmt::Write as _;

use dyno_model::record::RunRow;
use dyno_model::selfcheck::{Rate, SelfCheck};
use serde::Serialize;

use super::section::Section;
use super::{Input, View};
use crate::commands;
use crate::terminal::{Terminal, wrap};

/// The error rate of one host, as far as it is known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SelfCheckView {
    pub host: String,
    /// `unknown` where this machine, as it was, was not checked.
    pub rate: Rate,
    pub text: String,
    /// The command that checks the machine, where it was not checked.
    pub command: Option<String>,
    pub check: Option<SelfCheck>,
}

/// The section of self-checks: one quiet line a host. On the page it stands at the end of the policy;
/// a comment has what is wrong with a host alone, among its remarks.
pub(super) const SELFCHECKS: Section = Section { html: None, markdown: None, text: Some(text) };

/// A line for each host of the runs.
pub(super) fn selfchecks(input: &Input<'_>) -> Vec<SelfCheckView> {
    let runs = input.runs;
    // The newest run of each host, in the order of the runs.
    let is_newest =
        |(at, run): &(usize, &RunRow)| !runs[at + 1..].iter().any(|later| later.host == run.host);
    let newest = runs.iter().enumerate().filter(is_newest);
    newest.map(|(_, run)| selfcheck(run, &input.labels[0].word, input.selfchecks)).collect()
}

fn selfcheck(run: &RunRow, commit: &str, checks: &[SelfCheck]) -> SelfCheckView {
    let host = run.host.clone();
    let fingerprint = run.fingerprint.digest();
    let is_of_machine = |c: &&SelfCheck| c.host == host && c.fingerprint == fingerprint;
    match checks.iter().rfind(is_of_machine) {
        Some(check) => SelfCheckView {
            rate: check.rate(),
            text: format!("Self-check of {host}: {check}."),
            command: None,
            check: Some(check.clone()),
            host,
        },
        None => SelfCheckView {
            rate: Rate::Unknown,
            text: format!("Self-check of {host}: none yet of this machine as it is."),
            command: Some(commands::selfcheck(&run.suite, commit, &host)),
            check: None,
            host,
        },
    }
}

/// Self-checks that find nothing wrong: what is wrong with a host stands among the remarks.
fn quiet_hosts(view: &View) -> Vec<&SelfCheckView> {
    view.selfchecks.iter().filter(|check| check.rate != Rate::More).collect()
}

fn text(view: &View, terminal: Terminal) -> String {
    let mut out = String::new();
    for check in quiet_hosts(view) {
        let how = check.command.as_ref().map(|command| format!(" Make one: {command}"));
        let text = format!("{}{}", check.text, how.unwrap_or_default());
        for text in wrap(&text, terminal.width, "") {
            let _ = writeln!(out, "{}", terminal.paint("2", &text));
        }
    }
    if !out.is_empty() {
        out.insert(0, '\n');
    }
    out
}
