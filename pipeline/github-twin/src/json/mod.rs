//! What the twin holds, as GitHub shows it: what a client looks at. `schemas::complete_reply` fills
//! in the rest of what GitHub requires.

mod code;

pub(crate) use code::{check_run, commit, file, new_commits, pull, review, status};

use base64::Engine;
use ring::digest;
use serde_json::{Map, Value, json};

use crate::state::{
    Account, Comment, Installation, Invitation, Issue, ROLES, Reaction, Repository, State,
    timestamp,
};

/// An opaque id, as GitHub has one beside every number.
fn node_id(kind: &str, id: u64) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{kind}:{id}"))
}

/// An account; none where it was deleted.
pub(crate) fn user(state: &State, id: u64) -> Value {
    let Some(Account { id, login, kind, is_deleted: false }) = state.accounts.get(&id) else {
        return Value::Null;
    };
    let url = format!("{}/users/{}", state.origin, login.replace(['[', ']'], ""));
    let mut user = json!({
        "login": login,
        "id": id,
        "node_id": node_id("User", *id),
        "type": kind,
        "site_admin": false,
        "gravatar_id": "",
        "avatar_url": format!("https://avatars.githubusercontent.com/u/{id}?v=4"),
        "html_url": format!("https://github.com/{login}").replace(['[', ']'], ""),
        "url": url,
    });
    let links = [
        "followers",
        "following",
        "gists",
        "starred",
        "subscriptions",
        "organizations",
        "repos",
        "events",
        "received_events",
    ];
    for link in links {
        user[format!("{link}_url")] = format!("{url}/{link}").into();
    }
    for link in ["organizations", "repos"] {
        let name = if link == "organizations" { "orgs" } else { link };
        user[format!("{link}_url")] = format!("{url}/{name}").into();
    }
    user
}

pub(crate) fn repository_url(state: &State, repository: &Repository) -> String {
    format!("{}/repos/{}", state.origin, repository.full_name())
}

pub(crate) fn html_url(repository: &Repository) -> String {
    format!("https://github.com/{}", repository.full_name())
}

pub(crate) fn repository(state: &State, repository: &Repository) -> Value {
    let (url, html) = (repository_url(state, repository), html_url(repository));
    let visibility = if repository.is_private { "private" } else { "public" };
    json!({
        "id": repository.id,
        "node_id": node_id("Repository", repository.id),
        "name": repository.name,
        "full_name": repository.full_name(),
        "owner": user(state, repository.owner),
        "private": repository.is_private,
        "visibility": visibility,
        "fork": repository.fork_of.is_some(),
        "default_branch": repository.default_branch,
        "description": null,
        "url": url,
        "html_url": html,
        "clone_url": format!("{html}.git"),
        "git_url": format!("git://github.com/{}.git", repository.full_name()),
        "ssh_url": format!("git@github.com:{}.git", repository.full_name()),
        "svn_url": html,
        "created_at": timestamp(repository.created_at),
        "updated_at": timestamp(repository.created_at),
        "pushed_at": timestamp(repository.created_at),
        "has_issues": true,
        "topics": [],
    })
}

/// How an account stands to a repository, in GitHub's words.
pub(crate) fn association(state: &State, repository: &Repository, account: u64) -> &'static str {
    if repository.owner == account {
        return "OWNER";
    }
    let is_collaborator = repository.roles.get(&account).is_some_and(|role| *role > 0);
    let mut pulls = repository.issues.values().filter(|issue| issue.pull.is_some());
    match () {
        _ if is_collaborator => "COLLABORATOR",
        _ if state.teams.iter().any(|((owner, _), members)| {
            owner.eq_ignore_ascii_case(&repository.owner_login) && members.contains(&account)
        }) =>
        {
            "MEMBER"
        }
        _ if pulls.any(|issue| issue.author == account) => "CONTRIBUTOR",
        _ => "NONE",
    }
}

pub(crate) fn comment(state: &State, repository: &Repository, comment: &Comment) -> Value {
    let url = repository_url(state, repository);
    let is_pull = repository.issues.get(&comment.issue).is_some_and(|issue| issue.pull.is_some());
    let kind = if is_pull { "pull" } else { "issues" };
    let (html, issue) = (html_url(repository), comment.issue);
    json!({
        "id": comment.id,
        "node_id": node_id("IssueComment", comment.id),
        "url": format!("{url}/issues/comments/{}", comment.id),
        "html_url": format!("{html}/{kind}/{issue}#issuecomment-{}", comment.id),
        "issue_url": format!("{url}/issues/{issue}"),
        "body": comment.body,
        "user": user(state, comment.author),
        "author_association": association(state, repository, comment.author),
        "created_at": timestamp(comment.created_at),
        "updated_at": timestamp(comment.updated_at),
        "performed_via_github_app": comment.app.map(|app| application(state, app)),
        "reactions": reactions(&format!("{url}/issues/comments/{}", comment.id), &comment.reactions),
    })
}

fn reactions(url: &str, reactions: &[Reaction]) -> Value {
    const CONTENTS: &[&str] =
        &["+1", "-1", "laugh", "confused", "heart", "hooray", "eyes", "rocket"];
    let count = |content: &str| reactions.iter().filter(|one| one.content == content).count();
    let mut rollup: Map<String, Value> =
        CONTENTS.iter().map(|content| (content.to_string(), count(content).into())).collect();
    rollup.insert("url".into(), format!("{url}/reactions").into());
    rollup.insert("total_count".into(), reactions.len().into());
    rollup.into()
}

pub(crate) fn reaction(state: &State, reaction: &Reaction) -> Value {
    json!({
        "id": reaction.id,
        "node_id": node_id("Reaction", reaction.id),
        "user": user(state, reaction.author),
        "content": reaction.content,
        "created_at": timestamp(reaction.at),
    })
}

pub(crate) fn label(state: &State, repository: &Repository, name: &str) -> Value {
    let color = repository.labels.get(name).map_or("ededed", String::as_str);
    let id = digest::digest(&digest::SHA256, name.as_bytes());
    let id = u32::from_be_bytes(id.as_ref()[..4].try_into().unwrap());
    json!({
        "id": id,
        "node_id": node_id("Label", id.into()),
        "url": format!("{}/labels/{}", repository_url(state, repository), path_segment(name)),
        "name": name,
        "description": null,
        "color": color,
        "default": false,
    })
}

fn path_segment(text: &str) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    encoded.replace('+', "%20")
}

fn labels(state: &State, repository: &Repository, issue: &Issue) -> Vec<Value> {
    issue.labels.iter().map(|name| label(state, repository, name)).collect()
}

pub(crate) fn issue(state: &State, repository: &Repository, issue: &Issue) -> Value {
    let url = repository_url(state, repository);
    let own = format!("{url}/issues/{}", issue.number);
    let kind = if issue.pull.is_some() { "pull" } else { "issues" };
    let html = format!("{}/{kind}/{}", html_url(repository), issue.number);
    let comments = repository.comments.values().filter(|comment| comment.issue == issue.number);
    let mut shown = json!({
        "id": issue.id,
        "node_id": node_id("Issue", issue.id),
        "number": issue.number,
        "url": own,
        "html_url": html,
        "repository_url": url,
        "labels_url": format!("{own}/labels{{/name}}"),
        "comments_url": format!("{own}/comments"),
        "events_url": format!("{own}/events"),
        "title": issue.title,
        "body": null,
        "state": if issue.is_open { "open" } else { "closed" },
        "locked": false,
        "user": user(state, issue.author),
        "author_association": association(state, repository, issue.author),
        "labels": labels(state, repository, issue),
        "assignees": [],
        "comments": comments.count(),
        "created_at": timestamp(issue.created_at),
        "updated_at": timestamp(issue.updated_at),
        "closed_at": null,
        "active_lock_reason": null,
        "performed_via_github_app": null,
        "state_reason": null,
        "timeline_url": format!("{own}/timeline"),
        "reactions": reactions(&own, &[]),
    });
    if issue.pull.is_some() {
        shown["pull_request"] = json!({
            "url": format!("{url}/pulls/{}", issue.number),
            "html_url": html,
            "diff_url": format!("{html}.diff"),
            "patch_url": format!("{html}.patch"),
        });
    }
    shown
}

/// An App, as it stands beside what it wrote.
pub(crate) fn application(state: &State, id: u64) -> Value {
    let app = &state.apps[&id];
    let installations = state.installations.values().filter(|it| it.app == id);
    let mut permissions = Map::from_iter([("metadata".to_string(), Value::from("read"))]);
    for (name, level) in installations.flat_map(|it| &it.permissions) {
        permissions.insert(name.clone(), level.as_str().into());
    }
    json!({
        "id": app.id,
        "slug": app.slug,
        "node_id": node_id("App", app.id),
        "client_id": format!("Iv1.{:016x}", app.id),
        "owner": user(state, app.account),
        "name": app.slug,
        "description": null,
        "external_url": format!("https://github.com/apps/{}", app.slug),
        "html_url": format!("https://github.com/apps/{}", app.slug),
        "created_at": timestamp(1_600_000_000),
        "updated_at": timestamp(1_600_000_000),
        "permissions": permissions,
        "events": ["issue_comment"],
    })
}

pub(crate) fn installation(state: &State, installation: &Installation) -> Value {
    let app = &state.apps[&installation.app];
    let owner = installation.repositories.iter().find_map(|id| state.repositories.get(id));
    let owner = owner.map_or(app.account, |repository| repository.owner);
    let id = installation.id;
    json!({
        "id": id,
        "account": user(state, owner),
        "repository_selection": "selected",
        "access_tokens_url": format!("{}/app/installations/{id}/access_tokens", state.origin),
        "repositories_url": format!("{}/installation/repositories", state.origin),
        "html_url": format!("https://github.com/settings/installations/{id}"),
        "app_id": app.id,
        "app_slug": app.slug,
        "target_id": owner,
        "target_type": state.accounts.get(&owner).map_or("User", |account| account.kind),
        "permissions": installation.permissions,
        "events": ["issue_comment"],
        "created_at": timestamp(1_600_000_000),
        "updated_at": timestamp(1_600_000_000),
        "single_file_name": null,
        "suspended_by": null,
        "suspended_at": null,
    })
}

pub(crate) fn invitation(state: &State, repository: &Repository, invitation: &Invitation) -> Value {
    json!({
        "id": invitation.id,
        "node_id": node_id("Invitation", invitation.id),
        "repository": self::repository(state, repository),
        "invitee": user(state, invitation.invitee),
        "inviter": user(state, invitation.inviter),
        "permissions": ROLES[invitation.role],
        "expired": false,
        "created_at": timestamp(invitation.at),
        "url": format!("{}/user/repository_invitations/{}", state.origin, invitation.id),
        "html_url": format!("{}/invitations", html_url(repository)),
    })
}
