//! What a name means in a source as it is now, for those who only ask: nothing is fetched.

use std::path::Path;
use std::time::Duration;

use dyno_base::error::Result;
use dyno_base::event::Events;
use dyno_model::catalog::suite::Source;
use dyno_model::commit_name::{CommitName, Meaning};
use dyno_model::id::CommitId;

use super::command::{git, run_git};
use super::local;
use super::remote::{Remote, git_url};

/// How long an address may take to say what a name means: whoever only asks has the store's names.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether asking `source` for a name takes the network.
pub fn is_remote(source: &Source, folder: &Path) -> bool {
    let (Source::Git(location) | Source::Compiler(Some(location))) = source else { return false };
    git_url(location, folder).is_ok_and(|url| local::folder_of(&url).is_none())
}

/// What `name` means in `source` now; `None` where that is no git repository, is not in reach, or does
/// not know the name. `folder` is the suite's own. The ids of releases are of no repository that a
/// person has, and their names mean the same for ever.
pub async fn meaning(source: &Source, folder: &Path, name: &str, cache: &Path) -> Option<Meaning> {
    let (Source::Git(location) | Source::Compiler(Some(location))) = source else { return None };
    let url = git_url(location, folder).ok()?;
    let remote = Remote { url, cache: cache.to_path_buf() };
    let here = local::folder_of(&remote.url);
    if let Some(here) = &here {
        let commit = match name {
            // Nothing is measured, so nothing is said of how.
            local::WORK_TREE => remote.bring_work_tree(here, &Events::none()).await.ok()?.0,
            name => local::look_up(here, name).await.ok()?,
        };
        let subject = subject(&["-C", here.to_str()?], &commit).await;
        return Some(Meaning { commit, subject });
    }
    let own: Vec<_> = remote.own_folders().into_iter().filter(|folder| folder.is_dir()).collect();
    let commit = match CommitName::from(name).is_id() {
        true => first_commit(&own, name).await?,
        false => tokio::time::timeout(PATIENCE, remote.look_up(name)).await.ok()?.ok()?,
    };
    for folder in &own {
        if let Some(subject) = subject(&["--git-dir", folder.to_str()?], &commit).await {
            return Some(Meaning { commit, subject: Some(subject) });
        }
    }
    Some(Meaning { commit, subject: None })
}

/// The commit whose id begins so in one of dyno's own repositories.
async fn first_commit(repositories: &[std::path::PathBuf], id: &str) -> Option<CommitId> {
    for folder in repositories {
        let words = ["rev-parse", "--verify", &format!("{id}^{{commit}}")];
        if let Ok(commit) = answer(&["--git-dir", folder.to_str()?], &words).await {
            return commit.parse().ok();
        }
    }
    None
}

/// The first line of a commit's message; `None` where it has none, or the repository has no such
/// commit.
async fn subject(repository: &[&str], commit: &CommitId) -> Option<String> {
    let words = ["log", "-1", "--no-show-signature", "--format=%s", commit.hex()];
    answer(repository, &words).await.ok().filter(|subject| !subject.is_empty())
}

async fn answer(repository: &[&str], words: &[&str]) -> Result<String> {
    let mut git = git();
    git.args(repository).args(words);
    let answer = run_git(git).await?;
    Ok(String::from_utf8_lossy(&answer.stdout).trim().to_string())
}
