//! Repositories and who may do what in them.

use serde_json::{Value, json};

use super::Call;
use crate::json;
use crate::reply::{Answer, Reply};
use crate::state::{Invitation, ROLES, State, role};

pub(super) fn get(state: &mut State, call: &Call) -> Answer {
    Ok(Reply::new(200, json::repository(state, call.repository(state))))
}

/// Issues and pull requests, as `GET /repos/…/issues` lists them: the youngest first.
pub(super) fn issues(state: &mut State, call: &Call) -> Answer {
    let repository = call.repository(state);
    let wanted = call.parameter("state").unwrap_or("open");
    let issues = repository.issues.values().rev();
    let issues = issues.filter(|issue| wanted == "all" || (wanted == "open") == issue.is_open);
    Ok(Reply::list(issues.map(|issue| json::issue(state, repository, issue)).collect()))
}

/// The word of the API for a role: `maintain` counts as write there, and `triage` as read.
fn permission_of(role: usize) -> &'static str {
    match ROLES[role] {
        "maintain" => "write",
        "triage" => "read",
        name => name,
    }
}

pub(super) fn permission(state: &mut State, call: &Call) -> Answer {
    let repository = call.repository(state);
    let account = state.account(&call.path["username"]).ok_or_else(Reply::not_found)?;
    let role = state.role(repository, account.id);
    let mut user = json::user(state, account.id);
    user["role_name"] = ROLES[role].into();
    user["permissions"] = permissions(role);
    let body = json!({
        "permission": permission_of(role),
        "role_name": ROLES[role],
        "user": user,
    });
    Ok(Reply::new(200, body))
}

fn permissions(has: usize) -> Value {
    json!({
        "pull": has >= role("read"),
        "triage": has >= role("triage"),
        "push": has >= role("write"),
        "maintain": has >= role("maintain"),
        "admin": has >= role("admin"),
    })
}

pub(super) fn collaborators(state: &mut State, call: &Call) -> Answer {
    let repository = call.repository(state);
    let owner = state.accounts.get(&repository.owner).filter(|owner| owner.kind == "User");
    let owner = owner.map(|owner| (owner.id, role("admin")));
    let others = repository.roles.iter().map(|(id, role)| (*id, *role));
    let shown = owner.into_iter().chain(others).map(|(id, role)| {
        let mut user = json::user(state, id);
        user["permissions"] = permissions(role);
        user["role_name"] = ROLES[role].into();
        user
    });
    Ok(Reply::list(shown.collect()))
}

/// The role that a body names by GitHub's older words.
fn role_asked(call: &Call) -> usize {
    match call.text("permission").as_deref() {
        Some("pull") => role("read"),
        None | Some("push") => role("write"),
        Some(name) => ROLES.iter().position(|role| role == &name).unwrap_or(role("write")),
    }
}

pub(super) fn add_collaborator(state: &mut State, call: &Call) -> Answer {
    let invitee = state.account(&call.path["username"]).ok_or_else(Reply::not_found)?.id;
    let (role, at) = (role_asked(call), state.now);
    let repository = call.repository_mut(state);
    if let Some(has) = repository.roles.get_mut(&invitee) {
        *has = role;
        return Ok(Reply::empty(204));
    }
    let invitation = Invitation { id: state.new_id(), invitee, inviter: call.account, role, at };
    let reply = json::invitation(state, call.repository(state), &invitation);
    let url = reply["url"].as_str().unwrap_or_default().to_string();
    call.repository_mut(state).invitations.push(invitation);
    Ok(Reply::new(201, reply).header("location", url))
}

pub(super) fn invitations(state: &mut State, call: &Call) -> Answer {
    let repository = call.repository(state);
    let open = repository.invitations.iter();
    Ok(Reply::list(open.map(|one| json::invitation(state, repository, one)).collect()))
}

pub(super) fn accept_invitation(state: &mut State, call: &Call) -> Answer {
    let id = call.number("invitation_id");
    for repository in state.repositories.values_mut() {
        let is_own = |one: &Invitation| one.id == id && one.invitee == call.account;
        if let Some(at) = repository.invitations.iter().position(is_own) {
            let accepted = repository.invitations.remove(at);
            repository.roles.insert(accepted.invitee, accepted.role);
            return Ok(Reply::empty(204));
        }
    }
    Err(Reply::not_found())
}

pub(super) fn remove_collaborator(state: &mut State, call: &Call) -> Answer {
    let account = state.account(&call.path["username"]).ok_or_else(Reply::not_found)?.id;
    let repository = call.repository_mut(state);
    repository.roles.remove(&account);
    repository.invitations.retain(|one| one.invitee != account);
    Ok(Reply::empty(204))
}
