//! Where a target's commits come from. Whatever the source is, the rest of dyno sees a local git
//! repository and a full commit id.
//!
//! A git source is resolved first (a branch, a tag, a version becomes one full id), then exactly
//! that commit is fetched. A crate is turned into a repository of dyno's own (see [`releases`]).
//! Names from outside reach git only after they were checked, and after `--`, so that none can
//! become an option; `ext::` and other transports that run commands are off. A repository on this
//! machine is asked as git asks it ([`local`]). What of the caller's git reaches dyno's is in
//! [`environment`].

mod bundle;
mod checkout;
mod command;
mod environment;
mod files;
mod history;
mod local;
mod meaning;
mod own;
pub mod releases;
mod remote;
mod submodules;

use std::fs;
use std::path::Path;

use dyno_model::catalog::suite::{Source, check_git_location};
use dyno_model::id::CommitId;

use crate::artifact::Artifact;
use dyno_base::error::{Error, Result, WithContext, all_or_errors};
use dyno_base::event::Events;

use command::{start_error, without_configuration};
use remote::{Remote, Repository, git_url};

pub use bundle::{bundle, is_out_of_reach, unbundle};
pub use command::check_git;
pub use history::{depth, first_parents};
pub use local::WORK_TREE;
pub use meaning::{is_remote, meaning};
pub use own::{OwnCommit, make_repository};

/// A commit that is in a local repository.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The name as the person wrote it.
    pub asked: String,
    pub commit: CommitId,
    pub origin: Origin,
}

impl Resolved {
    /// Whether it was asked for as the work tree: unless that had no changes, it is in no repository
    /// but dyno's own.
    pub fn is_work_tree(&self) -> bool {
        self.asked == local::WORK_TREE
    }
}

/// Origin of what a name means.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// A commit of a local repository.
    Repository(Repository),
    /// The compiler that an image of the catalog carries; its id stands for a commit's.
    Image(String),
    /// A toolchain in the cache; the digest of the archive, or of the files, stands for a commit's.
    Imported(Artifact),
}

/// Finds what each of `asked` means in `source` and brings it here. `folder` is the suite's own,
/// which relative paths start from. Every name that is unknown is in the one error.
pub async fn resolve(
    source: &Source,
    folder: &Path,
    asked: &[String],
    cache: &Path,
    events: &Events,
) -> Result<Vec<Resolved>> {
    let mut resolved: Vec<Resolved> = Vec::new();
    let mut unknown_names: Vec<Error> = Vec::new();
    match source {
        Source::Crate(name) => {
            let releases = releases::Releases::open(name, cache, events).await?;
            for version in asked {
                match releases.commit(version, events).await {
                    Ok(commit) => resolved.push(Resolved {
                        asked: version.clone(),
                        commit,
                        origin: Origin::Repository(Repository {
                            folder: releases.repository().to_path_buf(),
                            remote: None,
                        }),
                    }),
                    Err(error) if error.kind == dyno_base::error::Kind::Input => {
                        unknown_names.push(error)
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        // Of a compiler only what is neither an image nor a path comes this far.
        Source::Git(location) | Source::Compiler(Some(location)) => {
            let remote = Remote { url: git_url(location, folder)?, cache: cache.to_path_buf() };
            for name in asked {
                match remote.bring(name, events).await {
                    Ok((commit, repository)) => resolved.push(Resolved {
                        asked: name.clone(),
                        commit,
                        origin: Origin::Repository(repository),
                    }),
                    Err(error) if error.kind == dyno_base::error::Kind::Input => {
                        unknown_names.push(error)
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Source::Compiler(None) => {}
    }
    if let Source::Git(location) = source {
        mention_uncommitted(location, folder, asked, events).await;
    }
    all_or_errors(resolved, unknown_names)
}

/// Says so where a repository on this machine has changes that no commit has, and nobody asked for
/// them.
async fn mention_uncommitted(location: &str, folder: &Path, asked: &[String], events: &Events) {
    let here = git_url(location, folder).ok().and_then(|url| local::folder_of(&url));
    let Some(here) = here.filter(|_| asked.iter().all(|name| name != local::WORK_TREE)) else {
        return;
    };
    if local::is_dirty(&here).await {
        events.notice(format!(
            "{} has changes that are in no commit; the name . stands for the work tree as it is",
            here.display()
        ));
    }
}

/// `source` in words that mean the same from any folder. A path where nothing is stays as it was
/// written: of a commit that a bundle brought, the source is on another machine.
pub fn absolute(source: &Source, folder: &Path) -> Result<Source> {
    let url = |location: &String| match git_url(location, folder) {
        Err(_) if check_git_location(location).is_ok() => Ok(location.clone()),
        url => url,
    };
    Ok(match source {
        Source::Git(location) => Source::Git(url(location)?),
        Source::Crate(name) => Source::Crate(name.clone()),
        Source::Compiler(git) => Source::Compiler(git.as_ref().map(url).transpose()?),
    })
}

/// Applies `patch` (`a/…`, `b/…`) to the files in `folder`, which is in no repository. The inner
/// error is why it does not apply.
pub async fn git_apply(folder: &Path, patch: &[u8]) -> Result<Result<(), String>> {
    let doing = || format!("patching {}", folder.display());
    let file = tempfile::NamedTempFile::new().context(doing)?;
    fs::write(file.path(), patch).context(doing)?;
    let home = tempfile::tempdir().context(doing)?;
    let mut git = without_configuration(home.path());
    // Or git would look for a repository above, and leave alone what is outside of that.
    git.env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap_or(folder)).current_dir(folder);
    git.args(["apply", "-p1", "--whitespace=nowarn", "--"]).arg(file.path());
    let output = git.output().await.map_err(|error| start_error(&error))?;
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Ok(if output.status.success() { Ok(()) } else { Err(stderr) })
}

#[cfg(test)]
mod tests;
