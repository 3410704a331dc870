//! A repository on this machine: git itself says what a name means there, and what is not committed
//! can be measured as well.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dyno_base::error::{Error, Kind, Result, WithContext};
use dyno_model::catalog::reader::suggest;
use dyno_model::id::CommitId;

use super::command::{git, run_git, without_configuration};

/// The name that stands for the work tree as it is.
pub const WORK_TREE: &str = ".";

/// The folder of a repository on this machine; `None` for an address of another kind.
pub(super) fn folder_of(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("file://").unwrap_or(url);
    path.starts_with('/').then(|| PathBuf::from(path))
}

/// The commit that git takes `name` for in the repository in `folder`: whatever `git rev-parse`
/// knows, such as `HEAD~1`, `origin/main`, `main@{yesterday}` or the first digits of an id.
pub(super) async fn look_up(folder: &Path, name: &str) -> Result<CommitId> {
    let no_commit = |why: &str| {
        Error::input(format!(
            "\"{}\" is no commit of {}{why}",
            name.escape_debug(),
            folder.display()
        ))
        .hint("give what `git rev-parse` knows there: a branch, a tag, HEAD~1, some digits of an id; or . for the work tree as it is")
    };
    // What begins with a dash could be an option, and what has a line feed two answers.
    if name.is_empty() || name.starts_with('-') || name.chars().any(char::is_control) {
        return Err(no_commit(""));
    }
    // What follows a name that searches (`:/text`) would be searched for too, so the commit of what
    // was found is asked apart.
    let answer = match rev_parse(folder, name).await {
        Ok(id) => rev_parse(folder, &format!("{id}^{{commit}}")).await,
        error => error,
    };
    let id = match answer {
        Ok(id) => id,
        Err(error) if error.kind == Kind::Host => return Err(error),
        Err(error) if error.message.contains("not a git repository") => {
            return Err(Error::input(format!(
                "there is no git repository in {}",
                folder.display()
            ))
            .hint("give the folder that `git status` works in, or the address of a repository"));
        }
        Err(error) if error.message.contains("ambiguous") => {
            return Err(no_commit(": it is ambiguous"));
        }
        Err(_) => {
            let error = no_commit("");
            let Some(near) = near_name(folder, name).await else { return Err(error) };
            let hint = error.hint.clone().unwrap_or_default();
            return Err(error.hint(format!("{near} Or {hint}")));
        }
    };
    id.parse().map_err(|_| no_commit(&format!(": git says {id:?}")))
}

/// The branch or tag of the repository in `folder` that is nearest to `name`, as a hint.
async fn near_name(folder: &Path, name: &str) -> Option<String> {
    let mut git = git();
    git.arg("-C").arg(folder).args(["for-each-ref", "--format=%(refname)"]);
    git.args(["refs/heads", "refs/tags", "refs/remotes"]);
    let answer = run_git(git).await.ok()?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let names = text.lines().filter_map(|line| line.splitn(3, '/').nth(2));
    suggest(name, names)
}

/// The id of the object that git takes `name` for.
async fn rev_parse(folder: &Path, name: &str) -> Result<String> {
    let mut git = git();
    git.arg("-C").arg(folder).args(["rev-parse", "--verify", name]);
    let answer = run_git(git).await?;
    Ok(String::from_utf8_lossy(&answer.stdout).trim().to_string())
}

/// The format of the ids of the repository in `folder`: `sha1` or `sha256`.
pub(super) async fn object_format(folder: &Path) -> Result<String> {
    let mut git = git();
    git.arg("-C").arg(folder).args(["rev-parse", "--show-object-format"]);
    let answer = run_git(git).await.context(|| format!("asking {}", folder.display()))?;
    Ok(String::from_utf8_lossy(&answer.stdout).trim().to_string())
}

/// The folder that is checked out in a repository; `None` for a bare one.
async fn work_tree(folder: &Path) -> Option<PathBuf> {
    let mut git = git();
    git.arg("-C").arg(folder).args(["rev-parse", "--show-toplevel"]);
    let answer = run_git(git).await.ok()?;
    let text = String::from_utf8_lossy(&answer.stdout).trim_end_matches('\n').to_string();
    (!text.is_empty()).then(|| PathBuf::from(text))
}

/// The file of the repository whose work tree is `top` that says what is ignored in this clone alone.
async fn exclude_file(top: &Path) -> Result<PathBuf> {
    let mut git = git();
    git.arg("-C").arg(top).args(["rev-parse", "--git-path", "info/exclude"]);
    let answer = run_git(git).await.context(|| format!("asking {}", top.display()))?;
    Ok(top.join(String::from_utf8_lossy(&answer.stdout).trim_end_matches('\n')))
}

/// Whether files that git knows differ from the last commit; false where that cannot be told. Git runs
/// the filters that a repository's configuration names, so another user's is not asked.
pub(super) async fn is_dirty(folder: &Path) -> bool {
    let owner = fs::metadata(folder).map(|metadata| metadata.uid());
    if owner.ok() != Some(nix::unistd::geteuid().as_raw()) {
        return false;
    }
    let mut git = git();
    git.arg("-C").arg(folder).args(["-c", "core.fsmonitor=false"]);
    git.args(["status", "--porcelain", "--untracked-files=no"]);
    run_git(git).await.is_ok_and(|answer| !answer.stdout.is_empty())
}

/// The commit that is checked out in `folder`, if it has exactly the files of `commit`, which
/// [`commit_work_tree`] made in `repository`. Files are compared and not what `git status` says:
/// filters and files that git was told to overlook are seen.
pub(super) async fn clean_head(
    folder: &Path,
    commit: &CommitId,
    repository: &Path,
) -> Option<CommitId> {
    let head = look_up(folder, "HEAD").await.ok()?;
    let its_tree = rev_parse(folder, &format!("{}^{{tree}}", head.hex())).await.ok()?;
    let tree = rev_parse(repository, &format!("{}^{{tree}}", commit.hex())).await.ok()?;
    (tree == its_tree).then_some(head)
}

/// Writes the work tree of the repository in `folder` into `repository`, which is dyno's own, as a
/// commit without a parent: what `git add --all` would take, so without what is ignored. The same
/// files are the same commit. Nothing of the repository in `folder` is read but its files and what it
/// ignores, and nothing is written.
pub(super) async fn commit_work_tree(folder: &Path, repository: &Path) -> Result<CommitId> {
    let doing = || format!("taking the work tree of {}", folder.display());
    let Some(top) = work_tree(folder).await else {
        return Err(Error::input(format!("{} has no work tree", folder.display()))
            .hint("give a commit: a bare repository has nothing that is not committed"));
    };
    let home = tempfile::tempdir().context(doing)?;
    let ignored = format!("core.excludesFile={}", exclude_file(&top).await?.display());
    let own_git = |words: &[&str]| {
        let mut git = without_configuration(home.path());
        git.env("GIT_INDEX_FILE", home.path().join("index")).current_dir(&top);
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "dyno")
                .env(format!("GIT_{who}_EMAIL"), "dyno@localhost");
            git.env(format!("GIT_{who}_DATE"), "@0 +0000");
        }
        git.arg("--git-dir").arg(repository).arg("--work-tree").arg(&top).args(words);
        git
    };
    run_git(own_git(&[
        "-c",
        "advice.addEmbeddedRepo=false",
        "-c",
        &ignored,
        "add",
        "--all",
        "--",
        ".",
    ]))
    .await
    .context(doing)?;
    let text =
        |answer: std::process::Output| String::from_utf8_lossy(&answer.stdout).trim().to_string();
    let tree = text(run_git(own_git(&["write-tree"])).await.context(doing)?);
    let commit = own_git(&["commit-tree", "-m", "A work tree, not committed", &tree]);
    let id = text(run_git(commit).await.context(doing)?);
    id.parse().map_err(|_| Error::infrastructure(format!("{}: git says {id:?}", doing())))
}
