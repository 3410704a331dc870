//! Who may have what measured: a decision over facts that somebody else has asked for.
//!
//! It is made twice. [`decide`] is asked when a command is read, and gives a [`Grant`]; [`confirm`]
//! is asked when its job is about to be taken, with what is true by then. Between the two a person
//! can lose a permission and a branch can get other commits; the commit of a grant never changes.
//!
//! A person's word is about one commit, and about that alone:
//!
//! - the full id of a commit of the pull request;
//! - at least 7 digits that its head begins with, where that head is the one the person saw;
//! - a commit that an account of those who may ask has approved in a review.
//!
//! Who pushes to a fork can make a commit with given first 7 digits (2²⁸ tries), so digits count
//! for a fork only where nothing was pushed to it since the command.

use std::collections::BTreeMap;

use dyno_model::id::CommitId;
use dyno_model::record::Trust;
use serde::{Deserialize, Serialize};

use crate::command::{Command, NamedCommit};
use crate::configuration::{Level, Limits, Repository};

/// An account of GitHub's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub id: u64,
    /// The name it has now. For people: another account may have it tomorrow.
    pub login: String,
}

/// A comment with a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `None` for an account that is gone.
    pub author: Option<Account>,
    /// When the comment was made, in µs since 1970, by GitHub's clock.
    pub made_us: i64,
    /// When it was last changed.
    pub changed_us: i64,
    /// Whether it was answered before.
    pub is_known: bool,
    pub command: Command,
}

/// A pull request as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// The id of who made it; `None` for an account that is gone.
    pub author: Option<u64>,
    /// The id of the repository that it is made to.
    pub repository: u64,
    /// The id of the repository that it comes from; `None` where that is gone.
    pub head_repository: Option<u64>,
    pub head: CommitId,
    /// Its commits, the head among them.
    pub commits: Vec<CommitId>,
    /// The last push to the repository that it comes from, in µs since 1970, by GitHub's clock.
    pub pushed_us: Option<i64>,
    /// The oldest first.
    pub reviews: Vec<Review>,
}

impl PullRequest {
    /// Whether it comes from another repository, or from one that is gone.
    pub fn is_fork(&self) -> bool {
        self.head_repository != Some(self.repository)
    }
}

/// A review as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// `None` for an account that is gone.
    pub author: Option<u64>,
    /// What its author may do now.
    pub level: Level,
    pub opinion: Opinion,
    /// The commit that it is about.
    pub commit: CommitId,
}

/// What a review says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opinion {
    Approves,
    /// It asks for changes.
    Objects,
    /// It comments, waits, or was dismissed.
    Neither,
}

/// What is true when a decision is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What the one who asks may do in the repository.
    pub level: Level,
    pub pull: PullRequest,
    /// Whether the baseline that the command names is a commit of the repository's own branches and
    /// tags. A baseline is measured as a trusted commit.
    pub is_base_own: bool,
    /// The requests that are open in the pull request.
    pub open_in_pull: u32,
    /// The requests of the same account that are open anywhere.
    pub open_of_account: u32,
}

/// What to do about a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Accept(Grant),
    /// All that is missing; never empty.
    Refuse(Vec<Refusal>),
    /// Nothing is done, and nothing is said.
    Ignore(Silence),
}

/// The word of a person for a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub by: Account,
    /// The commit that a `run` may measure; `None` for other commands.
    pub commit: Option<GrantedCommit>,
}

/// The one commit that may be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedCommit {
    pub commit: CommitId,
    pub trust: Trust,
    /// Whether it hangs on a review, rather than on the command's own words.
    pub is_reviewed: bool,
}

/// Why a command is as if it were not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// The bot wrote the comment itself.
    Own,
    /// The account that wrote it is gone: nobody's word is left, and nobody to answer.
    NoAuthor,
    /// The comment was changed after it was made, by whoever may.
    Edited,
    /// It was answered before.
    Known,
}

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The account is not among those that may ask.
    NotListed { login: String },
    /// The account may do too little in the repository.
    Level { login: String, has: Level, wanted: Level },
    /// The commit is neither of the pull request nor approved.
    NotOfPullRequest { named: String },
    /// The digits are not those of the head.
    NotTheHead { named: String, head: CommitId },
    /// The digits are those of the head, and something was pushed after the command.
    PushedSince { head: CommitId },
    /// The baseline is no commit of the repository itself.
    ForeignBase { named: String },
    /// The suite is not one of those that may be asked for here.
    Suite { named: String, allowed: Vec<String> },
    /// Too many requests are open, in the pull request or of the account.
    TooMany { open: u32, most: u32, is_of_account: bool },
    /// The review that the commit hung on does not approve it any more.
    NoLongerApproved { commit: CommitId },
}

/// What the bot of account `own` does about a command. `suites` are those of the repository that may
/// be asked for.
pub fn decide(
    own: u64,
    rules: &Repository,
    limits: Limits,
    suites: &[String],
    asked: &Asked,
    facts: &Facts,
) -> Decision {
    let Some(author) = &asked.author else { return Decision::Ignore(Silence::NoAuthor) };
    if author.id == own {
        return Decision::Ignore(Silence::Own);
    }
    if asked.changed_us != asked.made_us {
        return Decision::Ignore(Silence::Edited);
    }
    if asked.is_known {
        return Decision::Ignore(Silence::Known);
    }
    let mut missing = Vec::new();
    let is_of_author = facts.pull.author == Some(author.id);
    match &asked.command {
        Command::Status | Command::Help => {}
        // What somebody has asked to be measured of theirs, they may stop.
        Command::Cancel if is_of_author => {}
        Command::Cancel | Command::Unroll | Command::Run(_) | Command::SelfCheck(_) => {
            missing.extend(lacks(rules, author, facts.level));
        }
    }
    if let Some(scope) = asked.command.scope() {
        let named = scope.suite.iter().filter(|suite| !suites.contains(suite));
        missing.extend(
            named.map(|suite| Refusal::Suite { named: suite.clone(), allowed: suites.to_vec() }),
        );
        missing.extend(too_many(limits, facts));
    }
    let mut commit = None;
    if let Command::Run(run) = &asked.command {
        if let Some(base) = run.base.as_ref().filter(|_| !facts.is_base_own) {
            missing.push(Refusal::ForeignBase { named: base.clone() });
        }
        match granted(rules, &run.commit, asked.made_us, &facts.pull) {
            Ok(granted) => commit = Some(granted),
            Err(refusal) => missing.push(refusal),
        }
    }
    match missing.is_empty() {
        true => Decision::Accept(Grant { by: author.clone(), commit }),
        false => Decision::Refuse(missing),
    }
}

/// What becomes of a grant when its job is about to be taken. The commit is that of the grant,
/// whatever was pushed; what it hangs on must still hold.
pub fn confirm(rules: &Repository, grant: &Grant, facts: &Facts) -> Decision {
    let mut missing = lacks(rules, &grant.by, facts.level);
    let mut commit = grant.commit.clone();
    if let Some(granted) = &mut commit {
        if granted.is_reviewed && !is_approved(rules, &facts.pull, &granted.commit) {
            missing.push(Refusal::NoLongerApproved { commit: granted.commit.clone() });
        }
        // Once a stranger's, always a stranger's.
        if facts.pull.is_fork() {
            granted.trust = Trust::Untrusted;
        }
    }
    match missing.is_empty() {
        true => Decision::Accept(Grant { by: grant.by.clone(), commit }),
        false => Decision::Refuse(missing),
    }
}

/// What `account` lacks to ask for a measurement.
pub fn lacks(rules: &Repository, account: &Account, level: Level) -> Vec<Refusal> {
    let login = || account.login.clone();
    let mut missing = Vec::new();
    if !is_listed(rules, account.id) {
        missing.push(Refusal::NotListed { login: login() });
    }
    if level < rules.permission {
        missing.push(Refusal::Level { login: login(), has: level, wanted: rules.permission });
    }
    missing
}

fn is_listed(rules: &Repository, id: u64) -> bool {
    rules.accounts.values().any(|listed| *listed == id)
}

fn too_many(limits: Limits, facts: &Facts) -> Vec<Refusal> {
    let counts = [
        (facts.open_in_pull, limits.open_per_pull_request, false),
        (facts.open_of_account, limits.open_per_account, true),
    ];
    let over = counts.into_iter().filter(|(open, most, _)| open >= most);
    over.map(|(open, most, is_of_account)| Refusal::TooMany { open, most, is_of_account }).collect()
}

/// The commit that `named` stands for, if a person's word is there for it.
fn granted(
    rules: &Repository,
    named: &NamedCommit,
    made_us: i64,
    pull: &PullRequest,
) -> Result<GrantedCommit, Refusal> {
    let digits = named.as_str();
    let trust = if pull.is_fork() { Trust::Untrusted } else { Trust::Trusted };
    let grant = |commit: &CommitId, is_reviewed: bool| {
        Ok(GrantedCommit { commit: commit.clone(), trust, is_reviewed })
    };
    let of_pull = std::iter::once(&pull.head).chain(&pull.commits);
    if let Some(commit) = of_pull.clone().find(|commit| commit.hex() == digits) {
        return grant(commit, false);
    }
    let is_head = pull.head.hex().starts_with(digits);
    let was_pushed = pull.is_fork() && pull.pushed_us.is_none_or(|pushed_us| pushed_us >= made_us);
    if is_head && !was_pushed {
        return grant(&pull.head, false);
    }
    let mut approved: Vec<&CommitId> = Vec::new();
    for review in &pull.reviews {
        let commit = &review.commit;
        if commit.hex().starts_with(digits) && is_approved(rules, pull, commit) {
            approved.push(commit);
        }
    }
    approved.sort_unstable();
    approved.dedup();
    match approved.as_slice() {
        [commit] => grant(commit, true),
        _ if is_head => Err(Refusal::PushedSince { head: pull.head.clone() }),
        _ if digits.parse::<CommitId>().is_ok() => {
            Err(Refusal::NotOfPullRequest { named: digits.to_string() })
        }
        _ => Err(Refusal::NotTheHead { named: digits.to_string(), head: pull.head.clone() }),
    }
}

/// Whether an account that may ask approves `commit` in a review, and has not objected since.
fn is_approved(rules: &Repository, pull: &PullRequest, commit: &CommitId) -> bool {
    let mut opinions: BTreeMap<u64, bool> = BTreeMap::new();
    for review in pull.reviews.iter().filter(|review| review.level >= rules.permission) {
        let Some(author) = review.author.filter(|id| is_listed(rules, *id)) else { continue };
        match review.opinion {
            Opinion::Approves if review.commit == *commit => drop(opinions.insert(author, true)),
            Opinion::Objects => drop(opinions.insert(author, false)),
            Opinion::Approves | Opinion::Neither => {}
        }
    }
    opinions.values().any(|approves| *approves)
}

impl Refusal {
    /// What is missing: a sentence, with names between backticks.
    pub fn sentence(&self) -> String {
        match self {
            Self::NotListed { login } => {
                format!("`{}` is not among the accounts that may ask here.", quoted(login))
            }
            Self::Level { login, has, wanted } => format!(
                "`{}` has the permission `{}` in this repository; `{}` is wanted.",
                quoted(login),
                has.name(),
                wanted.name()
            ),
            Self::NotOfPullRequest { named } => format!(
                "`{}` is no commit of this pull request, and no review approves it.",
                quoted(named)
            ),
            Self::NotTheHead { named, head } => format!(
                "`{}` is not how the head of this pull request begins: that is `{head}`.",
                quoted(named)
            ),
            Self::PushedSince { head } => format!(
                "Something was pushed to the fork after the command, so its digits may mean another \
                 commit than the one that was looked at. The head is `{head}` now."
            ),
            Self::ForeignBase { named } => format!(
                "`{}` is no branch, tag or commit of this repository's own. A baseline is trusted.",
                quoted(named)
            ),
            Self::Suite { named, .. } => {
                format!("The suite `{}` cannot be asked for here.", quoted(named))
            }
            Self::TooMany { open, is_of_account: false, .. } => {
                format!("{open} requests are open in this pull request.")
            }
            Self::TooMany { open, .. } => format!("{open} requests of this account are open."),
            Self::NoLongerApproved { commit } => {
                format!("The review that approved `{commit}` approves it no longer.")
            }
        }
    }

    /// Who can give it, and how.
    pub fn remedy(&self, rules: &Repository) -> String {
        let names: Vec<String> =
            rules.accounts.keys().map(|name| format!("`{}`", quoted(name))).collect();
        let who = names.join(", ");
        match self {
            Self::NotListed { .. } => format!("These can give the command: {who}."),
            Self::Level { wanted, .. } => format!(
                "An administrator of the repository can give `{}`; or ask one of these: {who}.",
                wanted.name()
            ),
            Self::NotOfPullRequest { .. } | Self::NotTheHead { .. } | Self::PushedSince { .. } => {
                format!(
                    "Name a commit of this pull request by its full id; or one of these approves the \
                     commit in a review: {who}."
                )
            }
            Self::ForeignBase { .. } => {
                "Name a commit of this repository, or leave `base=` out.".into()
            }
            Self::Suite { allowed, .. } => {
                let names: Vec<String> = allowed.iter().map(|name| format!("`{name}`")).collect();
                format!("Ask for one of {}.", names.join(", "))
            }
            Self::TooMany { most, .. } => {
                format!("Wait until fewer than {most} are, or `cancel` what is not needed.")
            }
            Self::NoLongerApproved { .. } => {
                format!(
                    "One of these approves it again, or gives the command with its full id: {who}."
                )
            }
        }
    }
}

/// `text` as it can stand between backticks.
fn quoted(text: &str) -> String {
    text.replace('`', "'")
}

#[cfg(test)]
mod tests;
