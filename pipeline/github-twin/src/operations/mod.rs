//! The operations: what each reads and changes, once its request is known to be well-formed.

mod accounts;
mod checks;
mod commits;
mod conversation;
mod pulls;
mod repositories;

pub(crate) use conversation::{edit, remove, say};

use std::collections::BTreeMap;

use serde_json::Value;

use crate::access::{account_of, authorize};
use crate::reply::{Answer, Reply};
use crate::schemas::Route;
use crate::state::{Issue, Repository, State, Token};

/// A request that GitHub's description allows.
pub(crate) struct Call {
    pub operation: &'static str,
    pub path: BTreeMap<String, String>,
    pub query: Vec<(String, String)>,
    pub body: Value,
    pub token: Token,
    /// The repository that the path names; 0 where it names none.
    pub repository: u64,
    /// The account in whose name the bearer acts; 0 where there is none.
    pub account: u64,
}

impl Call {
    pub fn new(
        state: &State,
        route: Route,
        query: Vec<(String, String)>,
        body: Option<Value>,
        token: Token,
        is_write: bool,
    ) -> Result<Call, Reply> {
        let Route { operation, path } = route;
        let mut repository = 0;
        if let (Some(owner), Some(name)) = (path.get("owner"), path.get("repo")) {
            let found = state.repository(&format!("{owner}/{name}"));
            let found = found.ok_or_else(Reply::not_found)?;
            // The one operation on a repository for which an App itself asks.
            if operation != "apps/get-repo-installation" {
                authorize(state, &token, operation, is_write, found)?;
            }
            repository = found.id;
        }
        let account = account_of(state, token.bearer).unwrap_or_default();
        let body = body.unwrap_or_default();
        Ok(Call { operation, path, query, body, token, repository, account })
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A number of the path; one that is none names nothing.
    pub fn number(&self, name: &str) -> u64 {
        self.path[name].parse().unwrap_or_default()
    }

    pub fn repository<'a>(&self, state: &'a State) -> &'a Repository {
        &state.repositories[&self.repository]
    }

    pub fn repository_mut<'a>(&self, state: &'a mut State) -> &'a mut Repository {
        state.repositories.get_mut(&self.repository).unwrap()
    }

    pub fn issue<'a>(&self, state: &'a State) -> Result<&'a Issue, Reply> {
        let found = self.repository(state).issues.get(&self.number("issue_number"));
        found.ok_or_else(Reply::not_found)
    }

    pub fn issue_mut<'a>(&self, state: &'a mut State) -> Result<&'a mut Issue, Reply> {
        let found = self.repository_mut(state).issues.get_mut(&self.number("issue_number"));
        found.ok_or_else(Reply::not_found)
    }

    /// A text of the body, where it has one.
    pub fn text(&self, name: &str) -> Option<String> {
        self.body.get(name).and_then(Value::as_str).map(str::to_string)
    }
}

/// Query parameters that GitHub has and the twin does not act on: a test must not rely on them.
const NOT_SERVED: &[(&str, &[&str])] = &[
    ("apps/list-installations", &["outdated", "since"]),
    ("issues/list-for-repo", ISSUE_FILTERS),
    ("repos/get-commit", &["page", "per_page"]),
    ("repos/list-collaborators", &["affiliation", "permission"]),
];
const ISSUE_FILTERS: &[&str] = &[
    "assignee",
    "creator",
    "direction",
    "issue_field_values",
    "labels",
    "mentioned",
    "milestone",
    "since",
    "sort",
    "type",
];

/// Whether the twin acts on a query parameter of an operation.
pub(crate) fn is_served(operation: &str, parameter: &str) -> bool {
    !NOT_SERVED.iter().any(|(name, not)| *name == operation && not.contains(&parameter))
}

pub(crate) fn perform(state: &mut State, call: &Call) -> Answer {
    match call.operation {
        "apps/create-installation-access-token" => accounts::create_token(state, call),
        "apps/get-authenticated" => accounts::app(state, call),
        "apps/get-repo-installation" => accounts::repository_installation(state, call),
        "apps/list-installations" => accounts::installations(state, call),
        "checks/create" => checks::create(state, call),
        "checks/list-for-ref" => checks::list(state, call),
        "checks/update" => checks::update(state, call),
        "issues/add-labels" => conversation::add_labels(state, call),
        "issues/create-comment" => conversation::create(state, call),
        "issues/create-label" => conversation::create_label(state, call),
        "issues/delete-comment" => conversation::delete(state, call),
        "issues/get-comment" => conversation::get(state, call),
        "issues/list-comments" => conversation::list(state, call),
        "issues/list-comments-for-repo" => conversation::list_of_repository(state, call),
        "issues/list-for-repo" => repositories::issues(state, call),
        "issues/list-labels-on-issue" => conversation::labels(state, call),
        "issues/remove-label" => conversation::remove_label(state, call),
        "issues/update-comment" => conversation::update(state, call),
        "pulls/get" => pulls::get(state, call),
        "pulls/list-commits" => pulls::commits(state, call),
        "pulls/list-files" => pulls::files(state, call),
        "pulls/list-reviews" => pulls::reviews(state, call),
        "reactions/create-for-issue-comment" => conversation::react(state, call),
        "reactions/delete-for-issue-comment" => conversation::take_back_reaction(state, call),
        "reactions/list-for-issue-comment" => conversation::reactions(state, call),
        "repos/accept-invitation-for-authenticated-user" => {
            repositories::accept_invitation(state, call)
        }
        "repos/add-collaborator" => repositories::add_collaborator(state, call),
        "repos/compare-commits-with-basehead" => commits::compare(state, call),
        "repos/create-commit-status" => checks::create_status(state, call),
        "repos/get" => repositories::get(state, call),
        "repos/get-collaborator-permission-level" => repositories::permission(state, call),
        "repos/get-combined-status-for-ref" => checks::combined_status(state, call),
        "repos/get-commit" => commits::get(state, call),
        "repos/get-content" => commits::content(state, call),
        "repos/list-collaborators" => repositories::collaborators(state, call),
        "repos/list-commit-statuses-for-ref" => checks::statuses(state, call),
        "repos/list-invitations" => repositories::invitations(state, call),
        "repos/remove-collaborator" => repositories::remove_collaborator(state, call),
        "teams/get-membership-for-user-in-org" => accounts::team_membership(state, call),
        "users/get-authenticated" => accounts::user(state, call),
        other => unreachable!("{other} is in github.json and has no operation here"),
    }
}
