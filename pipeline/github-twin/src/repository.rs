//! The handle of a repository, and the name of a pull request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::server::Hub;
use crate::state::{self, Account, Issue, PullRequest, State, role};

/// A repository of a twin; its methods act as people do who may.
#[derive(Clone)]
pub struct Repository {
    hub: Arc<Mutex<Hub>>,
    id: u64,
}

/// A pull request, or an issue, by its repository's name and its number.
#[derive(Clone, Debug, PartialEq)]
pub struct Pull {
    pub repository: String,
    pub number: u64,
}

impl Repository {
    pub(crate) fn open(hub: Arc<Mutex<Hub>>, full_name: &str) -> Repository {
        let mut guard = hub.lock().unwrap();
        let state = &mut guard.state;
        let id = match state.repository(full_name) {
            Some(found) => found.id,
            None => {
                let (owner, name) = full_name.split_once('/').expect("OWNER/NAME");
                let owner = owner_id(state, owner);
                let tree = BTreeMap::from([("README.md".to_string(), full_name.to_string())]);
                let first = state.commit(None, owner, "The first commit", Vec::new(), tree);
                create(state, owner, name, None, BTreeMap::from([("main".to_string(), first)]))
            }
        };
        drop(guard);
        Repository { hub, id }
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut state::Repository)) -> &Repository {
        change(self.lock().state.repositories.get_mut(&self.id).unwrap());
        self
    }

    /// `OWNER/NAME`.
    pub fn name(&self) -> String {
        self.lock().state.repositories[&self.id].full_name()
    }

    /// Gives an account a role: `none`, `read`, `triage`, `write`, `maintain` or `admin`.
    pub fn permission(self, login: &str, name: &str) -> Repository {
        let account = self.lock().state.account_id(login);
        self.change(|it| {
            it.roles.insert(account, role(name));
        });
        self
    }

    /// Hides the repository from whoever has no role in it.
    pub fn private(self) -> Repository {
        self.change(|it| it.is_private = true);
        self
    }

    /// Writes a file on the default branch, in a commit of its own.
    pub fn file(self, path: &str, text: &str) -> Repository {
        let owner = {
            let state = &self.lock().state;
            let owner = state.repositories[&self.id].owner;
            state.login(owner).to_string()
        };
        self.commit(&owner, "main", &format!("Write {path}"), &[(path, text)]);
        self
    }

    /// Adds a commit to a branch, which begins at the default branch where it is new.
    pub fn commit(
        &self,
        author: &str,
        branch: &str,
        message: &str,
        files: &[(&str, &str)],
    ) -> String {
        let state = &mut self.lock().state;
        let author = state.account_id(author);
        add_commit(state, self.id, None, author, branch, message, files)
    }

    /// Names a commit of a real git repository as the tip of a branch, after the tip that it had.
    pub fn git_commit(&self, author: &str, branch: &str, sha: &str, message: &str) {
        let state = &mut self.lock().state;
        let author = state.account_id(author);
        add_commit(state, self.id, Some(sha), author, branch, message, &[]);
    }

    /// The digest of a branch's tip.
    pub fn tip(&self, branch: &str) -> String {
        self.lock().state.repositories[&self.id].branches[branch].clone()
    }

    /// Forks the repository to an account.
    pub fn fork(&self, login: &str) -> Repository {
        let state = &mut self.lock().state;
        let owner = state.account_id(login);
        let parent = &state.repositories[&self.id];
        let (name, branches) = (parent.name.clone(), parent.branches.clone());
        let id = create(state, owner, &name, Some(self.id), branches);
        Repository { hub: self.hub.clone(), id }
    }

    /// Deletes the repository; pull requests from it stay, with no repository at their head.
    pub fn delete(self) {
        let state = &mut self.lock().state;
        state.repositories.remove(&self.id);
        let issues = state.repositories.values_mut().flat_map(|it| it.issues.values_mut());
        for pull in issues.filter_map(|issue| issue.pull.as_mut()) {
            if pull.head_repository == Some(self.id) {
                pull.head_repository = None;
            }
        }
    }

    /// Opens a pull request with one commit on a branch of its own, towards the default branch; of
    /// a fork, towards the repository that it was forked from.
    pub fn pull(&self, author: &str, title: &str) -> Pull {
        let (branch, author_id) = {
            let state = &mut self.lock().state;
            (format!("topic-{}", state.new_id()), state.account_id(author))
        };
        let path = format!("{branch}.txt");
        let state = &mut self.lock().state;
        add_commit(state, self.id, None, author_id, &branch, title, &[(&path, title)]);
        open_pull(state, self.id, author_id, &branch, title)
    }

    /// Opens a pull request from a branch that is there.
    pub fn pull_of(&self, author: &str, branch: &str, title: &str) -> Pull {
        let state = &mut self.lock().state;
        let author = state.account_id(author);
        open_pull(state, self.id, author, branch, title)
    }

    /// Opens an issue that is no pull request.
    pub fn issue(&self, author: &str, title: &str) -> Pull {
        let state = &mut self.lock().state;
        let author = state.account_id(author);
        open_issue(state, self.id, author, title, None)
    }
}

fn owner_id(state: &mut State, login: &str) -> u64 {
    if let Some(account) = state.account(login) {
        return account.id;
    }
    let (id, login) = (state.new_id(), login.to_string());
    let account = Account { id, login, kind: "Organization", is_deleted: false };
    state.accounts.insert(id, account);
    id
}

fn create(
    state: &mut State,
    owner: u64,
    name: &str,
    fork_of: Option<u64>,
    branches: BTreeMap<String, String>,
) -> u64 {
    let id = state.new_id();
    let made = state::Repository {
        id,
        owner,
        owner_login: state.login(owner).to_string(),
        name: name.to_string(),
        is_private: false,
        default_branch: "main".into(),
        roles: BTreeMap::new(),
        branches,
        fork_of,
        issues: BTreeMap::new(),
        comments: BTreeMap::new(),
        checks: Vec::new(),
        statuses: Vec::new(),
        labels: BTreeMap::new(),
        invitations: Vec::new(),
        created_at: state.now,
    };
    state.repositories.insert(id, made);
    id
}

fn add_commit(
    state: &mut State,
    repository: u64,
    named: Option<&str>,
    author: u64,
    branch: &str,
    message: &str,
    files: &[(&str, &str)],
) -> String {
    let branches = &state.repositories[&repository].branches;
    let parent = branches.get(branch).or_else(|| branches.get("main")).cloned();
    let mut tree = parent.as_ref().map(|sha| state.commits[sha].tree.clone()).unwrap_or_default();
    for (path, text) in files {
        tree.insert(path.to_string(), text.to_string());
    }
    let sha = state.commit(named, author, message, parent.into_iter().collect(), tree);
    let place = state.repositories.get_mut(&repository).unwrap();
    place.branches.insert(branch.to_string(), sha.clone());
    // What is pushed to a branch is in the pull requests from it.
    let issues = state.repositories.values_mut().flat_map(|it| it.issues.values_mut());
    for issue in issues.filter(|issue| issue.is_open) {
        if let Some(pull) = &mut issue.pull
            && pull.head_repository == Some(repository)
            && pull.head_branch == branch
        {
            pull.head = sha.clone();
        }
    }
    sha
}

fn open_pull(state: &mut State, head: u64, author: u64, branch: &str, title: &str) -> Pull {
    let from = &state.repositories[&head];
    let base = from.fork_of.unwrap_or(head);
    let towards = &state.repositories[&base];
    let base_branch = towards.default_branch.clone();
    let request = PullRequest {
        head_repository: Some(head),
        head_label: format!("{}:{branch}", from.owner_login),
        head_branch: branch.to_string(),
        head: from.branches[branch].clone(),
        base: towards.branches[&base_branch].clone(),
        base_branch,
        reviews: Vec::new(),
    };
    open_issue(state, base, author, title, Some(request))
}

fn open_issue(
    state: &mut State,
    repository: u64,
    author: u64,
    title: &str,
    pull: Option<PullRequest>,
) -> Pull {
    let (id, now) = (state.new_id(), state.now);
    let place = state.repositories.get_mut(&repository).unwrap();
    let number = place.issues.keys().next_back().copied().unwrap_or_default() + 1;
    let issue = Issue {
        id,
        number,
        title: title.to_string(),
        author,
        is_open: true,
        labels: Vec::new(),
        created_at: now,
        updated_at: now,
        pull,
    };
    place.issues.insert(number, issue);
    Pull { repository: place.full_name(), number }
}

impl Pull {
    pub(crate) fn repository_id(&self, state: &mut State) -> u64 {
        state.repository_mut(&self.repository).id
    }

    pub(crate) fn issue_mut<'a>(&self, state: &'a mut State) -> &'a mut Issue {
        state.repository_mut(&self.repository).issues.get_mut(&self.number).expect("an issue")
    }

    pub(crate) fn request_mut<'a>(&self, state: &'a mut State) -> &'a mut PullRequest {
        self.issue_mut(state).pull.as_mut().expect("a pull request")
    }

    pub(crate) fn push(&self, state: &mut State, message: &str) -> String {
        let author = self.issue_mut(state).author;
        let request = self.request_mut(state);
        let head = request.head_repository.expect("the head's repository is deleted");
        let branch = request.head_branch.clone();
        let path = format!("{branch}.txt");
        add_commit(state, head, None, author, &branch, message, &[(&path, message)])
    }
}
