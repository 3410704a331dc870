//! Commits, what lies between two, and files.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Call;
use crate::json;
use crate::reply::{Answer, Reply};
use crate::state::{Commit, State};

fn find<'a>(state: &'a State, call: &Call, name: &str) -> Result<&'a Commit, Reply> {
    let found = state.resolve(call.repository(state), name);
    found.ok_or_else(|| Reply::refusal(422, &format!("No commit found for SHA: {name}")))
}

fn with_files(state: &State, call: &Call, commit: &Commit) -> Value {
    let repository = call.repository(state);
    let mut shown = json::commit(state, repository, commit);
    let before = commit.parents.first().map(String::as_str);
    let changes = state.changes(before, &commit.sha);
    let files = changes.iter().map(|change| json::file(state, repository, &commit.sha, change));
    shown["files"] = files.collect::<Vec<Value>>().into();
    shown
}

pub(super) fn get(state: &mut State, call: &Call) -> Answer {
    let commit = find(state, call, &call.path["ref"])?;
    Ok(Reply::new(200, with_files(state, call, commit)))
}

/// What lies between two commits: `base...head`, each a digest or a branch, the head also
/// `owner:branch` of a fork.
pub(super) fn compare(state: &mut State, call: &Call) -> Answer {
    let repository = call.repository(state);
    let basehead = &call.path["basehead"];
    let (base, head) = basehead.split_once("...").ok_or_else(Reply::not_found)?;
    let side = |name: &str| match name.split_once(':') {
        None => state.resolve(repository, name),
        Some((owner, branch)) => {
            let root = state.root(repository.id);
            let mut network = state.repositories.values().filter(|it| state.root(it.id) == root);
            let fork = network.find(|it| it.owner_login.eq_ignore_ascii_case(owner));
            fork.and_then(|fork| state.resolve(fork, branch))
        }
    };
    let base = side(base).ok_or_else(Reply::not_found)?;
    let head = side(head).ok_or_else(Reply::not_found)?;
    let (old, new) = (state.ancestors(&base.sha), state.ancestors(&head.sha));
    let known: BTreeSet<&str> = old.iter().copied().collect();
    let merge_base = new.iter().find(|sha| known.contains(**sha)).ok_or_else(Reply::not_found)?;
    let mut ahead: Vec<&str> = new.iter().filter(|sha| !known.contains(**sha)).copied().collect();
    ahead.reverse();
    let reached: BTreeSet<&str> = new.iter().copied().collect();
    let behind = old.iter().filter(|sha| !reached.contains(**sha)).count();
    let status = match (ahead.len(), behind) {
        (0, 0) => "identical",
        (_, 0) => "ahead",
        (0, _) => "behind",
        _ => "diverged",
    };
    let html = format!("{}/compare/{basehead}", json::html_url(repository));
    let changes = state.changes(Some(merge_base), &head.sha);
    let files = changes.iter().map(|change| json::file(state, repository, &head.sha, change));
    let commits = ahead.iter().map(|sha| json::commit(state, repository, &state.commits[*sha]));
    let body = json!({
        "url": format!("{}/compare/{basehead}", json::repository_url(state, repository)),
        "html_url": html,
        "permalink_url": html,
        "diff_url": format!("{html}.diff"),
        "patch_url": format!("{html}.patch"),
        "base_commit": json::commit(state, repository, base),
        "merge_base_commit": json::commit(state, repository, &state.commits[*merge_base]),
        "status": status,
        "ahead_by": ahead.len(),
        "behind_by": behind,
        "total_commits": ahead.len(),
        "commits": commits.collect::<Vec<Value>>(),
        "files": files.collect::<Vec<Value>>(),
    });
    // Without a page all commits come, as GitHub gives the first 250.
    let is_cut = call.parameter("page").or(call.parameter("per_page")).is_some();
    Ok(Reply { list: is_cut.then_some("commits"), ..Reply::new(200, body) })
}

/// A file at a commit, the default branch's where none is named.
pub(super) fn content(state: &mut State, call: &Call) -> Answer {
    let repository = call.repository(state);
    let name = call.parameter("ref").unwrap_or(&repository.default_branch);
    let no_commit = || Reply::refusal(404, &format!("No commit found for the ref {name}"));
    let commit = state.resolve(repository, name).ok_or_else(no_commit)?;
    let path = call.path["path"].trim_matches('/');
    let text = commit.tree.get(path).ok_or_else(Reply::not_found)?;
    let api = json::repository_url(state, repository);
    let url = format!("{api}/contents/{path}?ref={name}");
    let html = format!("{}/blob/{name}/{path}", json::html_url(repository));
    let git = format!("{api}/git/blobs/{}", commit.sha);
    // GitHub breaks the text every 60 characters.
    let encoded = STANDARD.encode(text);
    let mut lines = String::new();
    for (at, character) in encoded.chars().enumerate() {
        lines.push(character);
        if at % 60 == 59 {
            lines.push('\n');
        }
    }
    let body = json!({
        "type": "file",
        "encoding": "base64",
        "size": text.len(),
        "name": path.rsplit('/').next(),
        "path": path,
        "content": lines,
        "sha": commit.sha,
        "url": url,
        "git_url": git,
        "html_url": html,
        "download_url": html.replace("/blob/", "/raw/"),
        "_links": { "git": git, "self": url, "html": html },
    });
    Ok(Reply::new(200, body))
}
