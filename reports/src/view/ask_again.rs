//! Hosts that contradict each other, and how to ask them again.

use dyno_model::record::{Built, RunRow};
use serde::Serialize;

use super::section::{Html, Markdown, Section, no_data};
use super::{Input, View};
use crate::commands;
use crate::comment::{RUNS_MAX, SENTENCE_CHARS_MAX, left_out};
use crate::escape::{bounded, fence};
use crate::terminal::Terminal;

/// A host whose series contradict another's, and the command that asks it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AskAgain {
    pub host: String,
    pub command: String,
}

/// The section that says what to do next where hosts contradict each other.
pub(super) const ASK_AGAIN: Section = Section {
    html: Some(Html {
        id: "next",
        title: "What to do next",
        template: include_str!("../../templates/ask_again.html"),
        data: no_data,
    }),
    markdown: Some(Markdown { name: "whom to ask again", write: markdown }),
    text: Some(text),
};

/// The hosts that are to be asked again, each with the command that does it. The commits are named
/// by their ids: a branch may mean another one by now.
pub(super) fn ask_again(input: &Input<'_>) -> Vec<AskAgain> {
    let command = |run: &RunRow| {
        let commit = |built: &Built| built.commit.to_string();
        let commits = [commit(&run.baseline), commit(&run.candidate)];
        let commits = [commits[0].as_str(), commits[1].as_str()];
        commands::measure_again(&run.suite, commits, &run.host, &input.policy.name)
    };
    let hosts = input.concluded.ask_again.iter();
    let command_for_host = |host: &String| {
        let run = input.runs.iter().find(|run| run.host == *host)?;
        Some(AskAgain { host: host.clone(), command: command(run) })
    };
    hosts.filter_map(command_for_host).collect()
}

fn markdown(view: &View) -> String {
    if view.ask_again.is_empty() {
        return String::new();
    }
    let commands: Vec<_> = view
        .ask_again
        .iter()
        .take(RUNS_MAX)
        .map(|again| bounded(&again.command, SENTENCE_CHARS_MAX))
        .collect();
    let hosts = if view.ask_again.len() == 1 { "this host" } else { "these hosts" };
    format!("**Next**: ask {hosts} again.\n\n{}\n", fence(&commands.join("\n")))
        + &left_out(view.ask_again.len(), RUNS_MAX, "host")
}

fn text(view: &View, terminal: Terminal) -> String {
    let paragraph = |again: &AskAgain| {
        let heading = terminal.paragraph(&format!("Ask {} again:", again.host));
        format!("\n{heading}{}", terminal.command_lines(&again.command))
    };
    view.ask_again.iter().map(paragraph).collect()
}
