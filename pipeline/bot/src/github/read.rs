//! What the bot asks GitHub before it decides.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat};
use dyno_model::id::CommitId;
use dyno_queue::Clock;
use serde::Deserialize;

use super::GitHub;
use super::wire::Transport;
use crate::configuration::{Level, RepositoryName, project};
use crate::outbox::{HubTrouble, Place};
use crate::permission::{Account, Opinion, PullRequest, Review};

/// The commits of a pull request that GitHub lists.
const COMMITS_MAX: u64 = 250;

/// A comment as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    pub id: u64,
    pub place: Place,
    /// Whether it is about a pull request; an issue has nothing to measure.
    pub is_of_pull: bool,
    /// `None` for an account that is gone.
    pub author: Option<Account>,
    pub made_us: i64,
    pub changed_us: i64,
    pub body: String,
}

/// A pull request as it is now, without its commits and reviews: few commands need those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    pub request: PullRequest,
    /// The tip of the branch that it goes to, when GitHub looked last.
    pub base: CommitId,
    /// How many commits it has.
    pub commits: u64,
}

#[derive(Deserialize)]
struct RawComment {
    id: u64,
    html_url: String,
    issue_url: String,
    user: Option<Account>,
    created_at: String,
    updated_at: String,
    body: Option<String>,
}

#[derive(Deserialize)]
struct RawPull {
    user: Option<Account>,
    head: Side,
    base: Side,
    commits: u64,
}

#[derive(Deserialize)]
struct Side {
    sha: CommitId,
    repo: Option<RawRepository>,
}

#[derive(Deserialize)]
struct RawRepository {
    id: u64,
    pushed_at: Option<String>,
}

#[derive(Deserialize)]
struct RawCommit {
    sha: CommitId,
}

#[derive(Deserialize)]
struct RawReview {
    user: Option<Account>,
    state: String,
    commit_id: Option<CommitId>,
}

/// What an account may do. octocrab's own knows four words and fails at others.
#[derive(Deserialize)]
struct RawPermission {
    permission: String,
    role_name: Option<String>,
    user: Option<Account>,
}

#[derive(Deserialize)]
struct RawComparison {
    status: String,
    merge_base_commit: RawCommit,
}

#[derive(Deserialize)]
struct RawFile {
    filename: String,
}

#[derive(Deserialize)]
struct RawContent {
    encoding: String,
    content: String,
}

/// The µs since 1970 of a time as GitHub writes it.
fn micros(text: &str) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros())
}

/// A time as GitHub reads it.
fn time_text(us: i64) -> String {
    let time = DateTime::from_timestamp_micros(us).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn no_time() -> HubTrouble {
    HubTrouble::Away("GitHub: a time that is none".into())
}

/// `None` where GitHub says that there is no such thing.
fn optional<R>(found: Result<R, HubTrouble>) -> Result<Option<R>, HubTrouble> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(HubTrouble::Gone(_)) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

impl<T: Transport, C: Clock> GitHub<T, C> {
    /// Comments of `repository` that were made or changed since, the earliest change first, and whether
    /// there are more: then those since the last of them are next. (Pages that are counted would move
    /// while somebody writes; they are followed where a whole page is of one second.)
    pub async fn comments(
        &self,
        repository: &RepositoryName,
        since_us: i64,
    ) -> Result<(Vec<Comment>, bool), HubTrouble> {
        let since = time_text(since_us);
        let query = [("sort", "updated"), ("direction", "asc"), ("since", since.as_str())];
        let path = ["issues", "comments"];
        let url = self.url(
            &super::repository_path(repository, &path),
            &[&query[..], &[("per_page", super::PAGE)]].concat(),
        )?;
        let (body, next) = self.page(repository, url).await?;
        let mut raw: Vec<RawComment> = super::parsed(body.as_bytes())?;
        let is_one_second = raw.last().is_some_and(|last| last.updated_at == since);
        let has_more = next.is_some() && !is_one_second;
        if next.is_some() && is_one_second {
            raw = self.list(repository, &path, &query, None).await?;
        }
        let comment = |raw: RawComment| {
            let number = raw.issue_url.rsplit('/').next().and_then(|text| text.parse().ok());
            let number = number.ok_or_else(no_time)?;
            Ok(Comment {
                id: raw.id,
                place: Place { repository: repository.clone(), number },
                is_of_pull: raw.html_url.contains(&format!("/pull/{number}#")),
                author: raw.user,
                made_us: micros(&raw.created_at).ok_or_else(no_time)?,
                changed_us: micros(&raw.updated_at).ok_or_else(no_time)?,
                body: raw.body.unwrap_or_default(),
            })
        };
        let comments: Result<Vec<Comment>, HubTrouble> = raw.into_iter().map(comment).collect();
        Ok((comments?, has_more))
    }

    /// The pull request at `place`; `None` where there is none.
    pub async fn pull(&self, place: &Place) -> Result<Option<Pull>, HubTrouble> {
        let path = ["pulls", &place.number.to_string()];
        let Some(raw): Option<RawPull> = optional(self.get(&place.repository, &path, &[]).await)?
        else {
            return Ok(None);
        };
        let pushed = raw.head.repo.as_ref().and_then(|repo| repo.pushed_at.as_deref());
        let request = PullRequest {
            author: raw.user.map(|user| user.id),
            repository: raw.base.repo.map_or(0, |repo| repo.id),
            pushed_us: pushed.and_then(micros),
            head_repository: raw.head.repo.map(|repo| repo.id),
            head: raw.head.sha,
            commits: Vec::new(),
            reviews: Vec::new(),
        };
        Ok(Some(Pull { request, base: raw.base.sha, commits: raw.commits }))
    }

    /// The commits of a pull request; of one with more than GitHub lists, `named` too if it is one.
    pub async fn commits(
        &self,
        place: &Place,
        pull: &Pull,
        named: &CommitId,
    ) -> Result<Vec<CommitId>, HubTrouble> {
        let path = ["pulls", &place.number.to_string(), "commits"];
        let listed: Vec<RawCommit> = self.list(&place.repository, &path, &[], None).await?;
        let mut commits: Vec<CommitId> = listed.into_iter().map(|commit| commit.sha).collect();
        if pull.commits > COMMITS_MAX && !commits.contains(named) {
            let to_head = self.compare(&place.repository, named, &pull.request.head).await?;
            let to_base = self.compare(&place.repository, named, &pull.base).await?;
            let is_before = |comparison: Option<RawComparison>| {
                comparison.is_some_and(|c| ["ahead", "identical"].contains(&c.status.as_str()))
            };
            if is_before(to_head) && !is_before(to_base) {
                commits.push(named.clone());
            }
        }
        Ok(commits)
    }

    /// The reviews of a pull request, the oldest first. What an author may do is asked of those whose
    /// opinion can count.
    pub async fn reviews(&self, place: &Place, listed: &[u64]) -> Result<Vec<Review>, HubTrouble> {
        let path = ["pulls", &place.number.to_string(), "reviews"];
        let raw: Vec<RawReview> = self.list(&place.repository, &path, &[], None).await?;
        let mut levels = std::collections::BTreeMap::new();
        let mut reviews = Vec::new();
        for review in raw {
            let opinion = match review.state.as_str() {
                "APPROVED" => Opinion::Approves,
                "CHANGES_REQUESTED" => Opinion::Objects,
                _ => Opinion::Neither,
            };
            let Some(commit) = review.commit_id else { continue };
            let author = review.user.filter(|user| listed.contains(&user.id));
            let Some(author) = author.filter(|_| opinion != Opinion::Neither) else { continue };
            let level = match levels.get(&author.id) {
                Some(level) => *level,
                None => {
                    let level = self.level(&place.repository, &author).await?;
                    levels.insert(author.id, level);
                    level
                }
            };
            reviews.push(Review { author: Some(author.id), level, opinion, commit });
        }
        Ok(reviews)
    }

    /// What `account` may do in `repository`. Where its name is another's by now: nothing.
    pub async fn level(
        &self,
        repository: &RepositoryName,
        account: &Account,
    ) -> Result<Level, HubTrouble> {
        let path = ["collaborators", &account.login, "permission"];
        let raw: Option<RawPermission> = optional(self.get(repository, &path, &[]).await)?;
        let Some(raw) = raw.filter(|raw| raw.user.as_ref().is_some_and(|u| u.id == account.id))
        else {
            return Ok(Level::None);
        };
        // A role of the organization's own is not known; the older word says what it comes to.
        let role = raw.role_name.as_deref().map_or(Level::None, Level::named);
        Ok(if role == Level::None { Level::named(&raw.permission) } else { role })
    }

    async fn compare(
        &self,
        repository: &RepositoryName,
        from: &CommitId,
        to: &CommitId,
    ) -> Result<Option<RawComparison>, HubTrouble> {
        let path = ["compare", &format!("{from}...{to}")];
        let query = [("per_page", "1"), ("page", "2")];
        optional(self.get(repository, &path, &query).await)
    }

    /// Where `head` branched off; `None` where the two have nothing in common.
    pub async fn merge_base(
        &self,
        repository: &RepositoryName,
        base: &CommitId,
        head: &CommitId,
    ) -> Result<Option<CommitId>, HubTrouble> {
        let comparison = self.compare(repository, base, head).await?;
        Ok(comparison.map(|comparison| comparison.merge_base_commit.sha))
    }

    /// The commit that `name` stands for, if it is a branch or a tag of the repository itself, or the
    /// full id of a commit before `base`. (GitHub gives the commits of forks under ids too.)
    pub async fn own_commit(
        &self,
        repository: &RepositoryName,
        name: &str,
        base: &CommitId,
    ) -> Result<Option<CommitId>, HubTrouble> {
        if let Ok(commit) = name.parse::<CommitId>() {
            let comparison = self.compare(repository, &commit, base).await?;
            let is_before =
                comparison.is_some_and(|c| ["ahead", "identical"].contains(&c.status.as_str()));
            return Ok(is_before.then_some(commit));
        }
        for kind in ["heads", "tags"] {
            let path = ["commits", &format!("{kind}/{name}")];
            let found: Result<RawCommit, HubTrouble> = self.get(repository, &path, &[]).await;
            match found {
                Ok(commit) => return Ok(Some(commit.sha)),
                // A name that is none is answered with 422.
                Err(HubTrouble::Gone(_) | HubTrouble::Refused(_)) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(None)
    }

    /// The paths that a pull request changes.
    pub async fn files(&self, place: &Place) -> Result<Vec<String>, HubTrouble> {
        let path = ["pulls", &place.number.to_string(), "files"];
        let files: Vec<RawFile> = self.list(&place.repository, &path, &[], None).await?;
        Ok(files.into_iter().map(|file| file.filename).collect())
    }

    /// The text of `.github/dyno.toml`, of the default branch or of a commit; `None` where there is
    /// no such file.
    pub async fn project_text(
        &self,
        repository: &RepositoryName,
        at: Option<&CommitId>,
    ) -> Result<Option<String>, HubTrouble> {
        let mut path = vec!["contents"];
        path.extend(project::PATH.split('/'));
        let query: Vec<(&str, &str)> = at.map(|commit| ("ref", commit.hex())).into_iter().collect();
        let raw: Option<RawContent> = optional(self.get(repository, &path, &query).await)?;
        let Some(raw) = raw else { return Ok(None) };
        let encoded: String = raw.content.split_whitespace().collect();
        let bytes = STANDARD.decode(encoded).ok().filter(|_| raw.encoding == "base64");
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        text.map(Some).ok_or_else(|| HubTrouble::Refused(format!("{} is no text", project::PATH)))
    }
}
