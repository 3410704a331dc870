//! A pull request as text, as a person reads it from top to bottom.

use std::fmt::Write;

use crate::repository::Pull;
use crate::state::{Comment, Repository, State};

/// The pull request's conversation; times and ids are left out, so that a test can say what it is.
pub(crate) fn show(state: &mut State, pull: &Pull) -> String {
    let id = pull.repository_id(state);
    let repository = &state.repositories[&id];
    let issue = &repository.issues[&pull.number];
    let author = state.login(issue.author);
    let condition = if issue.is_open { "open" } else { "closed" };
    let mut text = format!("#{} {} ({condition}, by {author})\n", issue.number, issue.title);
    if !issue.labels.is_empty() {
        writeln!(text, "labels: {}", issue.labels.join(", ")).unwrap();
    }
    if let Some(request) = &issue.pull {
        for review in &request.reviews {
            let is_head =
                if review.commit_id == request.head { "the head" } else { "an older commit" };
            let login = state.login(review.author);
            writeln!(text, "review by {login}: {} of {is_head}", review.state).unwrap();
        }
        text += &checks(state, repository, &request.head);
    }
    let comments = repository.comments.values().filter(|comment| comment.issue == pull.number);
    for comment in comments {
        text += &said(state, comment);
    }
    text
}

/// The latest check run of each App and name, and the latest status of each context.
fn checks(state: &State, repository: &Repository, head: &str) -> String {
    let mut lines = Vec::new();
    let runs: Vec<_> = repository.checks.iter().filter(|run| run.head == head).collect();
    for (at, run) in runs.iter().enumerate() {
        let is_old = |newer: &&&crate::state::CheckRun| {
            newer.app == run.app && newer.fields["name"] == run.fields["name"]
        };
        if runs[at + 1..].iter().find(is_old).is_some() {
            continue;
        }
        let word = |name: &str| run.fields.get(name).and_then(|value| value.as_str());
        let mut line = format!("check {}: ", word("name").unwrap_or_default());
        line += word("status").unwrap_or_default();
        if let Some(conclusion) = word("conclusion") {
            write!(line, ", {conclusion}").unwrap();
        }
        let output = run.fields.get("output");
        if let Some(title) = output.and_then(|output| output["title"].as_str()) {
            write!(line, ": {title}").unwrap();
        }
        lines.push(line);
    }
    let statuses: Vec<_> = repository.statuses.iter().filter(|one| one.sha == head).collect();
    for (at, status) in statuses.iter().enumerate() {
        if statuses[at + 1..].iter().any(|newer| newer.context == status.context) {
            continue;
        }
        let login = state.login(status.creator);
        let mut line = format!("status {} by {login}: {}", status.context, status.state);
        if let Some(description) = &status.description {
            write!(line, ": {description}").unwrap();
        }
        lines.push(line);
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn said(state: &State, comment: &Comment) -> String {
    let mut text = format!("\n{}:\n", state.login(comment.author));
    for line in comment.body.lines() {
        let line = format!("    {line}");
        text += line.trim_end();
        text.push('\n');
    }
    for reaction in &comment.reactions {
        let login = state.login(reaction.author);
        writeln!(text, "  {} {login}", emoji(&reaction.content)).unwrap();
    }
    text
}

fn emoji(content: &str) -> &str {
    match content {
        "+1" => "👍",
        "-1" => "👎",
        "laugh" => "😄",
        "confused" => "😕",
        "heart" => "❤️",
        "hooray" => "🎉",
        "eyes" => "👀",
        "rocket" => "🚀",
        other => other,
    }
}
