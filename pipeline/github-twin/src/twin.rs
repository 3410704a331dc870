//! The handle by which a test makes a GitHub, acts in it as people do, and looks at it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::access::APP_KEY;
use crate::conversation;
use crate::delivery::{self, Delivery};
use crate::fault::{Fault, Rule};
use crate::operations;
use crate::repository::{Pull, Repository};
use crate::server::{self, Hub, Request};
use crate::state::{Account, Application, Bearer, Installation, Review, Token};

/// A GitHub on loopback. A test that leaves a violation behind panics, in [`Twin::finish`] or when
/// the twin is dropped.
pub struct Twin {
    hub: Arc<Mutex<Hub>>,
    /// Dropped first, so that the server's thread ends.
    end: Option<tokio::sync::oneshot::Sender<Infallible>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// A GitHub App.
pub struct App {
    pub id: u64,
    /// The login in whose name it writes.
    pub login: String,
    /// Its private key, as GitHub gives it out.
    pub key: &'static str,
}

impl Twin {
    /// Starts an empty GitHub at midnight of 2026-01-01, on a thread of its own.
    pub fn start() -> Twin {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let hub = Arc::new(Mutex::new(Hub::new(origin)));
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = server::spawn(listener, hub.clone(), ended);
        Twin { hub, end: Some(end), thread: Some(thread) }
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap()
    }

    /// The address of the API.
    pub fn url(&self) -> String {
        self.lock().state.origin.clone()
    }

    /// Makes a person's account and gives a token with all of its rights.
    pub fn account(&self, login: &str, id: u64) -> String {
        self.new_account(login, id, "User")
    }

    /// Makes a bot's account and gives a token with all of its rights.
    pub fn bot(&self, login: &str, id: u64) -> String {
        self.new_account(login, id, "Bot")
    }

    fn new_account(&self, login: &str, id: u64, kind: &'static str) -> String {
        let state = &mut self.lock().state;
        assert!(state.account(login).is_none(), "the login {login} is taken");
        let account = Account { id, login: login.into(), kind, is_deleted: false };
        let before = state.accounts.insert(id, account);
        assert!(before.is_none(), "the account id {id} is taken");
        let value = format!("ghp_{:036}", state.new_id());
        let token = Token {
            bearer: Bearer::Account(id),
            expires_at: None,
            repositories: None,
            permissions: None,
        };
        state.tokens.insert(value.clone(), token);
        value
    }

    /// A fine-grained token of an account, with these permissions: name and `read` or `write`.
    pub fn token(&self, login: &str, permissions: &[(&str, &str)]) -> String {
        let state = &mut self.lock().state;
        let bearer = Bearer::Account(state.account_id(login));
        let value = format!("github_pat_{:036}", state.new_id());
        let permissions = Some(owned(permissions));
        let token = Token { bearer, expires_at: None, repositories: None, permissions };
        state.tokens.insert(value.clone(), token);
        value
    }

    /// Takes a token back.
    pub fn revoke(&self, token: &str) {
        self.lock().state.tokens.remove(token);
    }

    /// Gives an account another login; whoever registers the old one is somebody else.
    pub fn rename(&self, login: &str, new: &str) {
        let state = &mut self.lock().state;
        let id = state.account_id(login);
        state.accounts.get_mut(&id).unwrap().login = new.into();
    }

    /// Deletes an account: what it wrote stays, with no user beside it.
    pub fn delete_account(&self, login: &str) {
        let state = &mut self.lock().state;
        let id = state.account_id(login);
        state.accounts.get_mut(&id).unwrap().is_deleted = true;
        state.tokens.retain(|_, token| token.bearer != Bearer::Account(id));
    }

    /// Makes a team of an organization.
    pub fn team(&self, organization: &str, team: &str, logins: &[&str]) {
        let state = &mut self.lock().state;
        let members = logins.iter().map(|login| state.account_id(login)).collect();
        state.teams.insert((organization.into(), team.into()), members);
    }

    /// Makes a GitHub App; it writes as `NAME[bot]`.
    pub fn app(&self, name: &str, id: u64) -> App {
        let login = format!("{name}[bot]");
        let account = id + 100_000_000;
        self.new_account(&login, account, "Bot");
        let state = &mut self.lock().state;
        state.apps.insert(id, Application { id, slug: name.into(), account });
        App { id, login, key: APP_KEY }
    }

    /// Installs an App in repositories, with these permissions, and gives the installation's id.
    pub fn install(&self, app: &App, repositories: &[&str], permissions: &[(&str, &str)]) -> u64 {
        let state = &mut self.lock().state;
        let ids: BTreeSet<u64> =
            repositories.iter().map(|name| state.repository_mut(name).id).collect();
        let id = state.new_id();
        let permissions = owned(permissions);
        let installation = Installation { id, app: app.id, repositories: ids, permissions };
        state.installations.insert(id, installation);
        id
    }

    /// The repository of this full name, made with one commit where there is none yet. An owner
    /// that is no account yet becomes an organization.
    pub fn repository(&self, full_name: &str) -> Repository {
        Repository::open(self.hub.clone(), full_name)
    }

    /// Writes a comment as a person does, and gives its id.
    pub fn comment_as(&self, login: &str, pull: &Pull, body: &str) -> u64 {
        let state = &mut self.lock().state;
        let (author, repository) = (state.account_id(login), pull.repository_id(state));
        let number = pull.number;
        operations::say(state, repository, number, author, body.into(), None)
    }

    pub fn edit_as(&self, login: &str, pull: &Pull, comment: u64, body: &str) {
        let state = &mut self.lock().state;
        let (sender, repository) = (state.account_id(login), pull.repository_id(state));
        operations::edit(state, repository, comment, sender, body.into());
    }

    pub fn delete_as(&self, login: &str, pull: &Pull, comment: u64) {
        let state = &mut self.lock().state;
        let (sender, repository) = (state.account_id(login), pull.repository_id(state));
        operations::remove(state, repository, comment, sender);
    }

    /// Reviews a commit of a pull request; `verdict` is GitHub's word, as `APPROVED`.
    pub fn review_as(&self, login: &str, pull: &Pull, verdict: &str, commit: &str) {
        let state = &mut self.lock().state;
        let (id, author, at) = (state.new_id(), state.account_id(login), state.now);
        let (state_word, commit_id) = (verdict.to_string(), commit.to_string());
        let review = Review { id, author, state: state_word, commit_id, at };
        pull.request_mut(state).reviews.push(review);
    }

    /// Pushes one more commit to the head of a pull request and gives its digest.
    pub fn push(&self, pull: &Pull, message: &str) -> String {
        pull.push(&mut self.lock().state, message)
    }

    /// The digest of a pull request's head.
    pub fn head(&self, pull: &Pull) -> String {
        pull.request_mut(&mut self.lock().state).head.clone()
    }

    pub fn close(&self, pull: &Pull) {
        pull.issue_mut(&mut self.lock().state).is_open = false;
    }

    /// What stands in a pull request, as a person reads it, but for times.
    pub fn conversation(&self, pull: &Pull) -> String {
        conversation::show(&mut self.lock().state, pull)
    }

    /// The seconds of the twin's clock, since 1970.
    pub fn now(&self) -> i64 {
        self.lock().state.now
    }

    pub fn set_clock(&self, seconds: i64) {
        self.lock().state.now = seconds;
    }

    pub fn advance(&self, time: Duration) {
        self.lock().state.now += time.as_secs() as i64;
    }

    /// Allows an account so many requests an hour.
    pub fn limit(&self, login: &str, requests: u64) {
        self.lock().limits.set(login, requests);
    }

    /// Has the requests that match meet a fault.
    pub fn fault(&self, rule: Rule) {
        self.lock().rules.push(rule);
    }

    /// Closes the connection on so many requests, whatever they ask.
    pub fn away(&self, requests: usize) {
        self.fault(Rule::new("", "*", Fault::Away).times(requests));
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// The requests since this was asked last.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.lock().requests)
    }

    /// The deliveries that are due for what happened since this was asked last, signed.
    pub fn deliveries(&self, secret: &str) -> Vec<Delivery> {
        let hub = &mut *self.lock();
        let events = std::mem::take(&mut hub.state.events);
        let made = events.iter().map(|event| delivery::make(&mut hub.state, event, secret));
        let made: Vec<_> = made.collect();
        let (deliveries, mistakes): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        hub.violations.extend(mistakes.into_iter().flatten());
        deliveries
    }

    /// The delivery by which GitHub tries a new webhook.
    pub fn ping(&self, secret: &str) -> Delivery {
        let hub = &mut *self.lock();
        let (delivery, mistakes) = delivery::ping(&mut hub.state, secret);
        hub.violations.extend(mistakes);
        delivery
    }

    /// The violations so far, which a test that wants them takes away.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().violations)
    }

    /// Ends the server; panics with what GitHub's schemas do not allow.
    pub fn finish(self) {}

    fn stop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            return;
        }
        let violations = self.take_violations();
        assert!(violations.is_empty(), "GitHub would not know this:\n{}", violations.join("\n"));
    }
}

fn owned(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(name, level)| (name.to_string(), level.to_string())).collect()
}
