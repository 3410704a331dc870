//! Commits as a git bundle: those that the machine which measures cannot fetch.
//!
//! A bundle has the trees of its commits and not what came before them, like a repository that was
//! fetched with a depth of 1. Who reads one makes a repository of its own from it, which lasts as
//! long as the job: a stranger may have written it, and nothing else takes anything from there. What
//! is wrong with it is the fault of who asks, unless git speaks of this machine.

use std::fs;
use std::path::Path;
use std::time::Duration;

use dyno_base::disk::{DiskLimit, DiskWatch};
use dyno_base::error::{DISK_FULL, Error, Kind, Result, WithContext};
use dyno_base::scratch::Scratch;
use dyno_model::catalog::suite::Source;
use dyno_model::id::CommitId;
use dyno_model::queue::BUNDLE_MAX_MIB;
use nix::sys::resource::{Resource, setrlimit};
use tokio::process::Command;

use super::command::{git, run_bounded, run_git};
use super::remote::{Repository, format_of, git_url, make_bare};
use super::{Origin, Resolved, local};

/// The most bytes that a repository takes which is made of a bundle, and how long that may take.
const UNPACKED_BYTES: u64 = 2 * (BUNDLE_MAX_MIB << 20);
const UNPACKING_TIME: Duration = Duration::from_secs(600);

/// The most bytes of memory for a git that reads a bundle: it maps the bundle, and a few bytes there
/// can stand for a tree of any size.
const GIT_MEMORY_BYTES: u64 = 4 << 30;

/// How long another machine is asked whether it has a commit, where that is worth asking.
const ASKING_TIME: Duration = Duration::from_secs(30);

/// Whether other machines cannot fetch `resolved` where the suite in `folder` takes its commits
/// from: that is a path, or the server says that it has no such commit. A server that does not say
/// may have it.
pub async fn is_out_of_reach(
    source: &Source,
    folder: &Path,
    resolved: &Resolved,
    cache: &Path,
) -> Result<bool> {
    let Source::Git(location) = source else { return Ok(false) };
    let url = git_url(location, folder)?;
    if local::folder_of(&url).is_some() {
        return Ok(true);
    }
    // A branch or a tag was looked up there just now; a full id may be known here alone.
    if resolved.asked != resolved.commit.hex() {
        return Ok(false);
    }
    let scratch = Scratch::new(cache)?;
    let probe = scratch.path().join("probe.git");
    make_bare(&probe, format_of(&resolved.commit)).await?;
    let mut fetch = git();
    fetch.arg("--git-dir").arg(&probe);
    fetch.args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1"]);
    fetch.args(["--filter=tree:0", "--", &url, resolved.commit.hex()]);
    let asked = tokio::time::timeout(ASKING_TIME, run_git(fetch)).await;
    Ok(matches!(asked, Ok(Err(error)) if error.message.contains("not our ref")))
}

/// The bytes of a bundle of `commits`; the inner error is how many they would be, where that is more
/// than `most`.
pub async fn bundle(commits: &[Resolved], most: u64, cache: &Path) -> Result<Result<Vec<u8>, u64>> {
    let scratch = Scratch::new(cache)?;
    let (fresh, file) = (scratch.path().join("commits.git"), scratch.path().join("bundle"));
    let in_fresh = |words: &[&str]| {
        let mut git = git();
        // So that the same commits are the same bytes.
        git.args(["-c", "pack.threads=1"]).arg("--git-dir").arg(&fresh).args(words);
        git
    };
    for (place, resolved) in commits.iter().enumerate() {
        let Resolved { commit, origin: Origin::Repository(repository), .. } = resolved else {
            return Err(Error::input(format!("{} is no commit", resolved.asked)));
        };
        let doing = || format!("bundling {commit}");
        if place == 0 {
            make_bare(&fresh, format_of(commit)).await?;
        }
        let mut fetch = in_fresh(&["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"]);
        fetch.args(["--depth=1", "--"]).arg(&repository.folder);
        fetch.arg(format!("+{commit}:refs/heads/{commit}"));
        run_git(fetch).await.context(doing)?;
    }
    let doing = || "bundling commits".to_string();
    let mut write = in_fresh(&["bundle", "create", "--quiet"]);
    write.arg(&file).arg("--all");
    run_git(write).await.context(doing)?;
    match fs::metadata(&file).context(doing)?.len() {
        length if length > most => Ok(Err(length)),
        _ => fs::read(&file).context(doing).map(Ok),
    }
}

/// The commits of the bundle in `file`, in a repository that is made of it in `folder`. Those of
/// `work_trees` are work trees.
///
/// # Errors
/// [`Kind::Case`] where it is no bundle, or lacks a commit or a part of one.
pub async fn unbundle(
    file: &Path,
    folder: &Path,
    commits: &[CommitId],
    work_trees: &[CommitId],
) -> Result<Vec<Resolved>> {
    let Some(first) = commits.first() else { return Ok(Vec::new()) };
    make_bare(folder, format_of(first)).await?;
    let doing = || format!("reading the bundle of {first}");
    // What came before them is not in it, and nobody is to look for that.
    let ends: String = commits.iter().map(|commit| format!("{commit}\n")).collect();
    fs::write(folder.join("shallow"), ends).context(doing)?;
    let repository = Repository { folder: folder.to_path_buf(), remote: None };
    let of_request = |error: Error| match error.kind {
        Kind::Infrastructure if !is_of_disk(&error) => {
            Error::new(Kind::Case, format!("the bundle cannot be read: {}", error.message))
        }
        _ => error,
    };
    let mut unbundle = with_bounded_memory(repository.git(&["bundle", "unbundle"]));
    unbundle.arg(file);
    let stop = until_unpacking_takes_too_much(folder);
    tokio::pin!(stop);
    let read = async |mut stdout| {
        let copied = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await;
        copied.map(drop).context(|| "reading from git".into())
    };
    run_bounded(unbundle, &mut stop, read).await.map_err(of_request)?;
    for commit in commits {
        // The commit, its trees and all files of them.
        let object = format!("{commit}^{{commit}}");
        let find = with_bounded_memory(repository.git(&["cat-file", "-e", &object]));
        let found = run_bounded(find, &mut stop, read).await;
        found
            .map_err(|_| Error::new(Kind::Case, format!("the bundle lacks the commit {commit}")))?;
        let closure = ["rev-list", "--objects", "--no-walk", "--quiet", commit.hex()];
        let walk = with_bounded_memory(repository.git(&closure));
        run_bounded(walk, &mut stop, read).await.map_err(of_request)?;
    }
    let resolved = |commit: &CommitId| Resolved {
        asked: match work_trees.contains(commit) {
            true => local::WORK_TREE.into(),
            false => commit.hex().into(),
        },
        commit: commit.clone(),
        origin: Origin::Repository(repository.clone()),
    };
    Ok(commits.iter().map(resolved).collect())
}

/// A git that reads a stranger's bytes, of which few can stand for a tree that fills the memory.
fn with_bounded_memory(mut git: Command) -> Command {
    let limit = || Ok(setrlimit(Resource::RLIMIT_AS, GIT_MEMORY_BYTES, GIT_MEMORY_BYTES)?);
    // SAFETY: `setrlimit` is one system call, which a child may make before it becomes git.
    unsafe { git.pre_exec(limit) };
    git
}

/// Whether the disk is the reason. Git ends with the system's words then, and what it repeats of a
/// bundle stands before other words of its own.
fn is_of_disk(error: &Error) -> bool {
    let reasons = [DISK_FULL, "Disk quota exceeded", "Input/output error"];
    reasons.iter().any(|reason| error.message.trim_end().ends_with(reason))
}

/// Waits for as long as git may take to unpack a bundle into `folder`; then, the error.
async fn until_unpacking_takes_too_much(folder: &Path) -> Error {
    let watch = DiskWatch::new(vec![folder.to_path_buf()], UNPACKED_BYTES);
    let limit = tokio::select! {
        () = tokio::time::sleep(UNPACKING_TIME) => {
            let time_s = UNPACKING_TIME.as_secs();
            return Error::new(Kind::Case, format!("the bundle takes longer than {time_s} s to read"));
        }
        limit = watch.until_exceeded() => limit,
    };
    match limit {
        DiskLimit::Disk(_) => Error::infrastructure(DISK_FULL),
        other => {
            Error::new(Kind::Case, other.reason("the bundle", UNPACKED_BYTES).unwrap_or_default())
        }
    }
}
