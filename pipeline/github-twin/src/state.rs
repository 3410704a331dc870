//! What the twin holds: accounts, repositories and what was said in them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use ring::digest;

/// Rights within a repository, weakest first, by the names of GitHub's roles.
pub(crate) const ROLES: &[&str] = &["none", "read", "triage", "write", "maintain", "admin"];

/// The place of a role among [`ROLES`]; a name that GitHub does not have is a mistake of the test.
pub(crate) fn role(name: &str) -> usize {
    let found = ROLES.iter().position(|role| *role == name);
    found.unwrap_or_else(|| panic!("no role {name:?}: one of {}", ROLES.join(", ")))
}

pub(crate) struct Account {
    pub id: u64,
    pub login: String,
    pub kind: &'static str,
    pub is_deleted: bool,
}

pub(crate) struct Commit {
    pub sha: String,
    pub message: String,
    pub parents: Vec<String>,
    pub author: u64,
    pub at: i64,
    /// The whole tree: path and text of each file.
    pub tree: BTreeMap<String, String>,
}

#[derive(Clone)]
pub(crate) struct Comment {
    pub id: u64,
    pub issue: u64,
    pub author: u64,
    pub body: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub app: Option<u64>,
    pub reactions: Vec<Reaction>,
}

#[derive(Clone)]
pub(crate) struct Reaction {
    pub id: u64,
    pub author: u64,
    pub content: String,
    pub at: i64,
}

pub(crate) struct Review {
    pub id: u64,
    pub author: u64,
    pub state: String,
    pub commit_id: String,
    pub at: i64,
}

pub(crate) struct PullRequest {
    /// The repository of the head; none once it is deleted.
    pub head_repository: Option<u64>,
    pub head_label: String,
    pub head_branch: String,
    pub head: String,
    pub base_branch: String,
    pub base: String,
    pub reviews: Vec<Review>,
}

/// An issue, which may be a pull request.
pub(crate) struct Issue {
    pub id: u64,
    pub number: u64,
    pub title: String,
    pub author: u64,
    pub is_open: bool,
    pub labels: Vec<String>,
    pub created_at: i64,
    pub updated_at: i64,
    pub pull: Option<PullRequest>,
}

pub(crate) struct CheckRun {
    pub id: u64,
    pub app: u64,
    pub head: String,
    /// What was said of it, by the names of the API.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

pub(crate) struct Status {
    pub id: u64,
    pub creator: u64,
    pub sha: String,
    pub state: String,
    pub context: String,
    pub description: Option<String>,
    pub target_url: Option<String>,
    pub at: i64,
}

pub(crate) struct Invitation {
    pub id: u64,
    pub invitee: u64,
    pub inviter: u64,
    pub role: usize,
    pub at: i64,
}

pub(crate) struct Repository {
    pub id: u64,
    pub owner: u64,
    pub owner_login: String,
    pub name: String,
    pub is_private: bool,
    pub default_branch: String,
    pub roles: BTreeMap<u64, usize>,
    pub branches: BTreeMap<String, String>,
    pub fork_of: Option<u64>,
    pub issues: BTreeMap<u64, Issue>,
    pub comments: BTreeMap<u64, Comment>,
    pub checks: Vec<CheckRun>,
    pub statuses: Vec<Status>,
    /// Name and colour of each label.
    pub labels: BTreeMap<String, String>,
    pub invitations: Vec<Invitation>,
    pub created_at: i64,
}

impl Repository {
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.owner_login, self.name)
    }
}

pub(crate) struct Application {
    pub id: u64,
    pub slug: String,
    /// The account in whose name the App acts.
    pub account: u64,
}

pub(crate) struct Installation {
    pub id: u64,
    pub app: u64,
    pub repositories: BTreeSet<u64>,
    pub permissions: BTreeMap<String, String>,
}

/// Whom a token stands for, and until when.
#[derive(Clone)]
pub(crate) struct Token {
    pub bearer: Bearer,
    pub expires_at: Option<i64>,
    /// The repositories of an installation that it is for; none of a token for all of them.
    pub repositories: Option<BTreeSet<u64>>,
    /// What it may do, by the names of GitHub's permissions; none of a token with its owner's rights.
    pub permissions: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Bearer {
    Nobody,
    Account(u64),
    App(u64),
    Installation(u64),
}

/// What happened to a comment, for a delivery.
pub(crate) struct Event {
    pub action: &'static str,
    pub repository: u64,
    pub sender: u64,
    pub comment: Comment,
    pub body_before: Option<String>,
}

pub(crate) struct State {
    pub origin: String,
    pub now: i64,
    next_id: u64,
    pub accounts: BTreeMap<u64, Account>,
    pub tokens: BTreeMap<String, Token>,
    pub apps: BTreeMap<u64, Application>,
    pub installations: BTreeMap<u64, Installation>,
    pub repositories: BTreeMap<u64, Repository>,
    pub commits: BTreeMap<String, Commit>,
    /// Members of a team, by organization and the team's name.
    pub teams: BTreeMap<(String, String), BTreeSet<u64>>,
    pub events: Vec<Event>,
}

impl State {
    /// An empty GitHub at midnight of 2026-01-01.
    pub fn new(origin: String) -> State {
        State {
            origin,
            now: 1_767_225_600,
            next_id: 1_000_000,
            accounts: BTreeMap::new(),
            tokens: BTreeMap::new(),
            apps: BTreeMap::new(),
            installations: BTreeMap::new(),
            repositories: BTreeMap::new(),
            commits: BTreeMap::new(),
            teams: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    pub fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub fn account(&self, login: &str) -> Option<&Account> {
        let mut accounts = self.accounts.values().filter(|account| !account.is_deleted);
        accounts.find(|account| account.login.eq_ignore_ascii_case(login))
    }

    /// The account of a login that the test has named before.
    pub fn account_id(&self, login: &str) -> u64 {
        let found = self.account(login).map(|account| account.id);
        found.unwrap_or_else(|| panic!("no account {login}: make it by hub.account first"))
    }

    pub fn login(&self, id: u64) -> &str {
        match self.accounts.get(&id) {
            Some(account) if !account.is_deleted => &account.login,
            _ => "ghost",
        }
    }

    pub fn repository(&self, full_name: &str) -> Option<&Repository> {
        let mut all = self.repositories.values();
        all.find(|repository| repository.full_name().eq_ignore_ascii_case(full_name))
    }

    /// The repository of a name that the test has given before.
    pub fn repository_mut(&mut self, full_name: &str) -> &mut Repository {
        let mut all = self.repositories.values_mut();
        let found = all.find(|repository| repository.full_name().eq_ignore_ascii_case(full_name));
        found.unwrap_or_else(|| panic!("no repository {full_name}: hub.repository makes it"))
    }

    /// The role of an account: what it was given, or what a public repository gives to anyone.
    pub fn role(&self, repository: &Repository, account: u64) -> usize {
        if repository.owner == account {
            return role("admin");
        }
        let least = if repository.is_private { 0 } else { role("read") };
        repository.roles.get(&account).copied().unwrap_or(0).max(least)
    }

    /// The repository from which a chain of forks comes: they share their commits.
    pub fn root(&self, repository: u64) -> u64 {
        let fork_of = self.repositories.get(&repository).and_then(|found| found.fork_of);
        fork_of.map_or(repository, |parent| self.root(parent))
    }

    /// Adds a commit and gives its digest: the one that is named, or one that follows from what the
    /// commit holds.
    pub fn commit(
        &mut self,
        named: Option<&str>,
        author: u64,
        message: &str,
        parents: Vec<String>,
        tree: BTreeMap<String, String>,
    ) -> String {
        let text = format!("{author}\n{message}\n{parents:?}\n{tree:?}\n{}", self.now);
        let sha = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let sha = named.map_or_else(|| hex(sha.as_ref()), str::to_string);
        let (at, message) = (self.now, message.to_string());
        let commit = Commit { sha: sha.clone(), message, parents, author, at, tree };
        self.commits.insert(sha.clone(), commit);
        sha
    }

    /// The commit that a branch, a full digest or the beginning of one names.
    pub fn resolve(&self, repository: &Repository, name: &str) -> Option<&Commit> {
        let name = name.strip_prefix("refs/").unwrap_or(name);
        let branch = name.strip_prefix("heads/").unwrap_or(name);
        if let Some(sha) = repository.branches.get(branch) {
            return self.commits.get(sha);
        }
        let name = name.to_ascii_lowercase();
        if name.len() < 4 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let root = self.root(repository.id);
        let network = self.repositories.values().filter(|other| self.root(other.id) == root);
        let pulls = network.clone().flat_map(|other| other.issues.values());
        let heads = pulls.filter_map(|issue| issue.pull.as_ref()).map(|pull| &pull.head);
        let tips = network.flat_map(|other| other.branches.values()).chain(heads);
        let reachable: BTreeSet<&str> = tips.flat_map(|tip| self.ancestors(tip)).collect();
        let mut found = reachable.into_iter().filter(|sha| sha.starts_with(&name));
        let (first, second) = (found.next()?, found.next());
        second.is_none().then(|| self.commits.get(first)).flatten()
    }

    /// A commit and all before it, nearest first.
    pub fn ancestors<'a>(&'a self, sha: &'a str) -> Vec<&'a str> {
        let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
        let mut ahead = std::collections::VecDeque::from([sha]);
        while let Some(next) = ahead.pop_front() {
            if let (Some(commit), true) = (self.commits.get(next), seen.insert(next)) {
                order.push(next);
                ahead.extend(commit.parents.iter().map(String::as_str));
            }
        }
        order
    }

    /// The files that differ between two trees, with GitHub's word for how.
    pub fn changes(&self, before: Option<&str>, after: &str) -> Vec<(String, &'static str)> {
        let empty = BTreeMap::new();
        let tree = |sha: &str| self.commits.get(sha).map_or(&empty, |commit| &commit.tree);
        let (before, after) = (before.map_or(&empty, tree), tree(after));
        let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let change = |path: &String| match (before.get(path), after.get(path)) {
            (None, Some(_)) => Some("added"),
            (Some(_), None) => Some("removed"),
            (old, new) => (old != new).then_some("modified"),
        };
        paths.into_iter().filter_map(|path| Some((path.clone(), change(path)?))).collect()
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A moment as GitHub writes it.
pub(crate) fn timestamp(seconds: i64) -> String {
    let moment: DateTime<Utc> = DateTime::from_timestamp(seconds, 0).unwrap();
    moment.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
