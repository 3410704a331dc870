//! What is said in an issue: comments, reactions, labels.

use chrono::DateTime;

use super::Call;
use crate::access::role_of;
use crate::json;
use crate::reply::{Answer, Reply};
use crate::state::{Bearer, Comment, Event, Reaction, State, role};

/// The longest comment, in characters.
const COMMENT_CHARACTERS_MAX: usize = 65_536;

/// The moment that `since` names.
fn since(call: &Call) -> Result<i64, Reply> {
    let Some(text) = call.parameter("since") else { return Ok(i64::MIN) };
    let parsed = DateTime::parse_from_rfc3339(text).map(|at| at.timestamp());
    parsed.map_err(|_| Reply::invalid("IssueComment", "since", "invalid", None))
}

pub(super) fn list(state: &mut State, call: &Call) -> Answer {
    let (issue, since) = (call.issue(state)?.number, since(call)?);
    let repository = call.repository(state);
    let own = repository.comments.values().filter(|comment| comment.issue == issue);
    let new = own.filter(|comment| comment.updated_at >= since);
    Ok(Reply::list(new.map(|comment| json::comment(state, repository, comment)).collect()))
}

/// The comments of all issues: by id, or as `sort` says.
pub(super) fn list_of_repository(state: &mut State, call: &Call) -> Answer {
    let since = since(call)?;
    let repository = call.repository(state);
    let new = repository.comments.values().filter(|comment| comment.updated_at >= since);
    let mut comments: Vec<&Comment> = new.collect();
    match call.parameter("sort") {
        Some("updated") => comments.sort_by_key(|comment| comment.updated_at),
        Some(_) => comments.sort_by_key(|comment| comment.created_at),
        None => {}
    }
    let is_descending = call.parameter("direction").is_none_or(|direction| direction == "desc");
    if call.parameter("sort").is_some() && is_descending {
        comments.reverse();
    }
    let shown = comments.into_iter().map(|comment| json::comment(state, repository, comment));
    Ok(Reply::list(shown.collect()))
}

fn find<'a>(state: &'a State, call: &Call) -> Result<&'a Comment, Reply> {
    let found = call.repository(state).comments.get(&call.number("comment_id"));
    found.ok_or_else(Reply::not_found)
}

pub(super) fn get(state: &mut State, call: &Call) -> Answer {
    let comment = find(state, call)?;
    Ok(Reply::new(200, json::comment(state, call.repository(state), comment)))
}

fn body(call: &Call) -> Result<String, Reply> {
    let body = call.text("body").unwrap_or_default();
    if body.trim().is_empty() {
        return Err(Reply::invalid("IssueComment", "body", "missing_field", None));
    }
    if body.chars().count() > COMMENT_CHARACTERS_MAX {
        let message = "Body is too long (maximum is 65536 characters)";
        return Err(Reply::invalid("IssueComment", "data", "unprocessable", Some(message)));
    }
    Ok(body)
}

pub(super) fn create(state: &mut State, call: &Call) -> Answer {
    let (issue, body) = (call.issue(state)?.number, body(call)?);
    let app = match call.token.bearer {
        Bearer::Installation(id) => Some(state.installations[&id].app),
        _ => None,
    };
    let id = say(state, call.repository, issue, call.account, body, app);
    let repository = call.repository(state);
    let shown = json::comment(state, repository, &repository.comments[&id]);
    let url = shown["url"].as_str().unwrap_or_default().to_string();
    Ok(Reply::new(201, shown).header("location", url))
}

/// Adds a comment, whoever asked for it.
pub(crate) fn say(
    state: &mut State,
    repository: u64,
    issue: u64,
    author: u64,
    body: String,
    app: Option<u64>,
) -> u64 {
    let (id, now) = (state.new_id(), state.now);
    let reactions = Vec::new();
    let comment =
        Comment { id, issue, author, body, created_at: now, updated_at: now, app, reactions };
    let event = Event {
        action: "created",
        repository,
        sender: author,
        comment: comment.clone(),
        body_before: None,
    };
    let place = state.repositories.get_mut(&repository).unwrap();
    place.comments.insert(id, comment);
    if let Some(issue) = place.issues.get_mut(&issue) {
        issue.updated_at = now;
    }
    state.events.push(event);
    id
}

/// Whether the one who asks may change the comment: its author, or who may write to the repository.
fn may_change(state: &State, call: &Call, comment: &Comment) -> Result<(), Reply> {
    let has = role_of(state, &call.token, call.repository(state));
    if comment.author == call.account || has >= role("write") {
        return Ok(());
    }
    Err(Reply::refusal(403, "Must have admin rights to Repository."))
}

pub(super) fn update(state: &mut State, call: &Call) -> Answer {
    may_change(state, call, find(state, call)?)?;
    let (id, body) = (call.number("comment_id"), body(call)?);
    edit(state, call.repository, id, call.account, body);
    let repository = call.repository(state);
    Ok(Reply::new(200, json::comment(state, repository, &repository.comments[&id])))
}

/// Changes a comment's text, whoever asked for it.
pub(crate) fn edit(state: &mut State, repository: u64, id: u64, sender: u64, body: String) {
    let now = state.now;
    let place = state.repositories.get_mut(&repository).unwrap();
    let comment = place.comments.get_mut(&id).unwrap();
    let before = std::mem::replace(&mut comment.body, body);
    comment.updated_at = now;
    let comment = comment.clone();
    let body_before = Some(before);
    state.events.push(Event { action: "edited", repository, sender, comment, body_before });
}

pub(super) fn delete(state: &mut State, call: &Call) -> Answer {
    may_change(state, call, find(state, call)?)?;
    let (id, sender) = (call.number("comment_id"), call.account);
    remove(state, call.repository, id, sender);
    Ok(Reply::empty(204))
}

/// Takes a comment away, whoever asked for it.
pub(crate) fn remove(state: &mut State, repository: u64, id: u64, sender: u64) {
    let place = state.repositories.get_mut(&repository).unwrap();
    let comment = place.comments.remove(&id).unwrap();
    let event = Event { action: "deleted", repository, sender, comment, body_before: None };
    state.events.push(event);
}

pub(super) fn reactions(state: &mut State, call: &Call) -> Answer {
    let comment = find(state, call)?;
    let wanted = call.parameter("content");
    let own = comment.reactions.iter();
    let own = own.filter(|reaction| wanted.is_none_or(|content| content == reaction.content));
    Ok(Reply::list(own.map(|reaction| json::reaction(state, reaction)).collect()))
}

/// A reaction that is there already is answered with 200, and nothing is added.
pub(super) fn react(state: &mut State, call: &Call) -> Answer {
    let comment = find(state, call)?;
    let content = call.text("content").unwrap_or_default();
    let mut own = comment.reactions.iter();
    let is_there = own.find(|one| one.author == call.account && one.content == content);
    if let Some(reaction) = is_there {
        return Ok(Reply::new(200, json::reaction(state, reaction)));
    }
    let (author, at) = (call.account, state.now);
    let reaction = Reaction { id: state.new_id(), author, content, at };
    let shown = json::reaction(state, &reaction);
    let comments = &mut call.repository_mut(state).comments;
    comments.get_mut(&call.number("comment_id")).unwrap().reactions.push(reaction);
    Ok(Reply::new(201, shown))
}

pub(super) fn take_back_reaction(state: &mut State, call: &Call) -> Answer {
    let id = call.number("reaction_id");
    let found = find(state, call)?.reactions.iter().find(|one| one.id == id);
    if found.is_none_or(|one| one.author != call.account) {
        return Err(Reply::not_found());
    }
    let comments = &mut call.repository_mut(state).comments;
    let comment = comments.get_mut(&call.number("comment_id")).unwrap();
    comment.reactions.retain(|one| one.id != id);
    Ok(Reply::empty(204))
}

pub(super) fn labels(state: &mut State, call: &Call) -> Answer {
    let (issue, repository) = (call.issue(state)?, call.repository(state));
    let names = issue.labels.iter();
    Ok(Reply::list(names.map(|name| json::label(state, repository, name)).collect()))
}

/// Adds labels to an issue; those that the repository does not know yet are made.
pub(super) fn add_labels(state: &mut State, call: &Call) -> Answer {
    let names = call.body["labels"].as_array().cloned().unwrap_or_default();
    let name = |label: &serde_json::Value| match label.as_str() {
        Some(text) => text.to_string(),
        None => label["name"].as_str().unwrap_or_default().to_string(),
    };
    for name in names.iter().map(name) {
        let issue = call.issue_mut(state)?;
        if !issue.labels.contains(&name) {
            issue.labels.push(name.clone());
        }
        call.repository_mut(state).labels.entry(name).or_insert_with(|| "ededed".into());
    }
    let shown = labels(state, call)?;
    Ok(Reply { list: None, ..shown })
}

pub(super) fn remove_label(state: &mut State, call: &Call) -> Answer {
    let (issue, name) = (call.issue_mut(state)?, &call.path["name"]);
    let found = issue.labels.iter().position(|label| label == name);
    let found = found.ok_or_else(|| Reply::refusal(404, "Label does not exist"))?;
    issue.labels.remove(found);
    let shown = labels(state, call)?;
    Ok(Reply { list: None, ..shown })
}

pub(super) fn create_label(state: &mut State, call: &Call) -> Answer {
    let name = call.text("name").unwrap_or_default();
    let color = call.text("color").unwrap_or_else(|| "ededed".into());
    if color.len() != 6 || !color.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Reply::invalid("Label", "color", "invalid", None));
    }
    let repository = call.repository_mut(state);
    if repository.labels.contains_key(&name) {
        return Err(Reply::invalid("Label", "name", "already_exists", None));
    }
    repository.labels.insert(name.clone(), color);
    Ok(Reply::new(201, json::label(state, call.repository(state), &name)))
}
