//! Accounts, Apps and their tokens.

use std::collections::BTreeSet;

use serde_json::json;

use super::Call;
use crate::json;
use crate::reply::{Answer, Reply};
use crate::state::{Bearer, State, Token, timestamp};

/// The life of an installation's token, in seconds.
const TOKEN_SECONDS: i64 = 3600;

pub(super) fn user(state: &mut State, call: &Call) -> Answer {
    match call.token.bearer {
        Bearer::Nobody => Err(Reply::refusal(401, "Requires authentication")),
        Bearer::Account(id) => {
            let mut user = json::user(state, id);
            user["user_view_type"] = "private".into();
            Ok(Reply::new(200, user))
        }
        _ => Err(Reply::refusal(403, "Resource not accessible by integration")),
    }
}

fn app_id(call: &Call) -> Result<u64, Reply> {
    match call.token.bearer {
        Bearer::App(app) => Ok(app),
        _ => Err(Reply::refusal(401, "A JSON web token could not be decoded")),
    }
}

pub(super) fn app(state: &mut State, call: &Call) -> Answer {
    Ok(Reply::new(200, json::application(state, app_id(call)?)))
}

pub(super) fn installations(state: &mut State, call: &Call) -> Answer {
    let app = app_id(call)?;
    let own = state.installations.values().filter(|it| it.app == app);
    Ok(Reply::list(own.map(|it| json::installation(state, it)).collect()))
}

pub(super) fn repository_installation(state: &mut State, call: &Call) -> Answer {
    let app = app_id(call)?;
    let mut own = state.installations.values().filter(|it| it.app == app);
    let found = own.find(|it| it.repositories.contains(&call.repository));
    found.map(|it| Reply::new(200, json::installation(state, it))).ok_or_else(Reply::not_found)
}

/// A token for an installation: for all of its repositories and rights, or for fewer.
pub(super) fn create_token(state: &mut State, call: &Call) -> Answer {
    let app = app_id(call)?;
    let found = state.installations.get(&call.number("installation_id"));
    let found = found.filter(|it| it.app == app).ok_or_else(Reply::not_found)?;
    let mut permissions = found.permissions.clone();
    for (name, level) in call.body["permissions"].as_object().into_iter().flatten() {
        let has = permissions.get(name).map(String::as_str);
        if has != Some("write") && has != level.as_str() {
            const MESSAGE: &str = "The permissions requested are not granted to this installation.";
            return Err(Reply::refusal(422, MESSAGE));
        }
    }
    if let Some(asked) = call.body["permissions"].as_object() {
        permissions = asked
            .iter()
            .filter_map(|(name, level)| Some((name.clone(), level.as_str()?.to_string())))
            .collect();
    }
    let repositories = asked_repositories(state, call, &found.repositories)?;
    let (id, expires_at) = (found.id, state.now + TOKEN_SECONDS);
    let value = format!("ghs_{:036}", state.new_id());
    let bearer = Bearer::Installation(id);
    let selection = if repositories.is_some() { "selected" } else { "all" };
    let token = Token {
        bearer,
        expires_at: Some(expires_at),
        repositories,
        permissions: Some(permissions.clone()),
    };
    state.tokens.insert(value.clone(), token);
    let reply = json!({
        "token": value,
        "expires_at": timestamp(expires_at),
        "permissions": permissions,
        "repository_selection": selection,
    });
    Ok(Reply::new(201, reply))
}

/// The repositories for which a token is asked, by name or id; none where it is for all.
fn asked_repositories(
    state: &State,
    call: &Call,
    granted: &BTreeSet<u64>,
) -> Result<Option<BTreeSet<u64>>, Reply> {
    let list = |name: &str| call.body[name].as_array().into_iter().flatten();
    let named = list("repositories").map(|name| {
        let mut own = granted.iter().filter_map(|id| state.repositories.get(id));
        own.find(|it| name == &it.name).map(|it| it.id)
    });
    let numbered = list("repository_ids").map(|id| id.as_u64().filter(|id| granted.contains(id)));
    let asked: Option<BTreeSet<u64>> = named.chain(numbered).collect();
    const MESSAGE: &str = "There is at least one repository that does not exist or is not accessible to the parent installation.";
    let asked = asked.ok_or_else(|| Reply::refusal(422, MESSAGE))?;
    Ok(Some(asked).filter(|asked| !asked.is_empty()))
}

pub(super) fn team_membership(state: &mut State, call: &Call) -> Answer {
    let (org, slug, login) = (&call.path["org"], &call.path["team_slug"], &call.path["username"]);
    let members = state.teams.get(&(org.clone(), slug.clone())).ok_or_else(Reply::not_found)?;
    let account = state.account(login).ok_or_else(Reply::not_found)?;
    if call.account == 0 || !members.contains(&account.id) {
        return Err(Reply::not_found());
    }
    let url = format!("{}/orgs/{org}/teams/{slug}/memberships/{login}", state.origin);
    Ok(Reply::new(200, json!({ "url": url, "role": "member", "state": "active" })))
}
