//! The first parents of a branch: a repository on this machine is asked itself; of another its
//! commits are fetched, without their files where the server can do that.

use std::path::Path;
use std::process::Stdio;

use dyno_base::error::{Error, Result, WithContext};
use dyno_base::event::{Events, Phase};
use dyno_base::http;
use dyno_model::catalog::suite::Source;
use dyno_model::id::CommitId;
use dyno_model::queue::Chain;

use super::command::{git, run_git};
use super::local;
use super::remote::{Remote, check_ref, format_of, git_url, remove_stale_locks};

/// The newest `most` commits of `branch` by first parent, in the repository at `location`, where a
/// path starts from `folder`.
pub async fn first_parents(
    location: &str,
    folder: &Path,
    branch: &str,
    most: u32,
    cache: &Path,
    events: &Events,
) -> Result<Chain> {
    check_ref(branch)?;
    let url = git_url(location, folder)?;
    match local::folder_of(&url) {
        Some(here) => {
            let reference = format!("refs/heads/{branch}");
            let mut probe = local_git(&here);
            probe.args(["rev-parse", "--git-dir"]);
            run_git(probe).await.context(|| format!("asking {}", here.display()))?;
            let newest = local::look_up(&here, &reference).await;
            let newest = newest.map_err(|_| no_branch(&here.display().to_string(), branch))?;
            chain_of(|| local_git(&here), &newest, most).await
        }
        None => {
            let remote = Remote { url, cache: cache.to_path_buf() };
            remote.first_parents(branch, most, events).await
        }
    }
}

/// The number of first-parent ancestors of `commit`; `None` where finding out would take its history
/// from another machine.
pub async fn depth(source: &Source, folder: &Path, commit: &CommitId) -> Option<u32> {
    let Source::Git(location) = source else { return None };
    let here = local::folder_of(&git_url(location, folder).ok()?)?;
    count(local_git(&here), commit).await.ok()
}

fn no_branch(place: &str, branch: &str) -> Error {
    Error::input(format!("{place} has no branch {branch:?}"))
        .hint("`git branch` lists the branches of a repository, `git ls-remote` those of another")
}

fn local_git(folder: &Path) -> tokio::process::Command {
    let mut git = git();
    git.arg("-C").arg(folder);
    git
}

async fn count(mut git: tokio::process::Command, commit: &CommitId) -> Result<u32> {
    git.args(["rev-list", "--first-parent", "--count", commit.hex(), "--"]);
    let answer = run_git(git).await?;
    let text = String::from_utf8_lossy(&answer.stdout).trim().to_string();
    let commits: u32 =
        text.parse().map_err(|_| Error::infrastructure(format!("git counts {text:?} commits")))?;
    Ok(commits.saturating_sub(1))
}

async fn chain_of(
    git: impl Fn() -> tokio::process::Command,
    newest: &CommitId,
    most: u32,
) -> Result<Chain> {
    let mut list = git();
    list.args(["rev-list", "--first-parent", &format!("--max-count={most}"), newest.hex(), "--"]);
    let answer = run_git(list).await.context(|| "listing commits".into())?;
    let commits: Result<Vec<CommitId>, _> =
        String::from_utf8_lossy(&answer.stdout).lines().map(str::parse).collect();
    let commits =
        commits.map_err(|error| Error::infrastructure(format!("git lists commits: {error}")))?;
    Ok(Chain { commits, depth: count(git(), newest).await? })
}

impl Remote {
    async fn first_parents(&self, branch: &str, most: u32, events: &Events) -> Result<Chain> {
        let reference = format!("refs/heads/{branch}");
        let newest = self.newest(branch, &reference).await?;
        let repository = self.history(format_of(&newest), events).await?;
        // Without it git would fetch what it does not find, one by one.
        let own_git = |words: &[&str]| {
            let mut git = repository.git(words);
            git.env("GIT_NO_LAZY_FETCH", "1");
            git
        };
        let lock = http::open_locked(&repository.folder.join("dyno.lock")).await?;
        let held = run_git(own_git(&["rev-parse", "--verify", "--quiet", &reference])).await;
        let held = held.map(|answer| String::from_utf8_lossy(&answer.stdout).trim().to_string());
        if held.ok().as_deref() != Some(newest.hex()) {
            events.begin(Phase::Source, format!("fetching the commits of {branch}"));
            let doing = || format!("fetching the commits of {branch} from {}", self.url);
            remove_stale_locks(&repository.folder).context(doing)?;
            let words = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"];
            let mut fetch = own_git(&words);
            fetch.args(["--filter=tree:0", "--", &self.url]);
            fetch.arg(format!("+{reference}:{reference}"));
            fetch.stdin(Stdio::from(lock.try_clone().context(doing)?));
            repository.run_whole(fetch).await.context(doing)?;
        }
        // As far as the branch was fetched, which may have moved on meanwhile.
        let answer = run_git(own_git(&["rev-parse", "--verify", &reference])).await?;
        let text = String::from_utf8_lossy(&answer.stdout).trim().to_string();
        let fetched = text.parse().map_err(|_| no_branch(&self.url, branch))?;
        chain_of(|| own_git(&[]), &fetched, most).await
    }

    /// The commit that the remote has for a branch now.
    async fn newest(&self, branch: &str, reference: &str) -> Result<CommitId> {
        let mut git = git();
        git.args(["ls-remote", "--quiet", "--", &self.url, reference]);
        let answer = run_git(git).await.context(|| format!("asking {}", self.url))?;
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        let is_meant = |line: &str| {
            let (id, found) = line.split_once('\t')?;
            (found == reference).then(|| id.parse().ok())?
        };
        text.lines().find_map(is_meant).ok_or_else(|| no_branch(&self.url, branch))
    }
}
