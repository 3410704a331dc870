//! Where a target's commits come from. Whatever the source is, the rest of dyno sees a local git
//! repository and a full commit id.
//!
//! A git source is resolved first (a branch, a tag, a version becomes one full id), then exactly
//! that commit is fetched. A crate is turned into a repository of dyno's own (see [`releases`]).
//! Names from outside reach git only after they were checked, and after `--`, so that none can
//! become an option; `ext::` and other transports that run commands are off.

mod checkout;
pub mod releases;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use dyno_model::catalog::suite::{Source, check_git_location};
use dyno_model::id::{CommitId, Digest};
use tokio::process::Command;

use crate::artifact::Artifact;
use dyno_base::atomic_file;
use dyno_base::error::{Error, Result, WithContext};
use dyno_base::event::{Events, Phase};
use dyno_base::fault;
use dyno_base::http;
use dyno_base::scratch::Scratch;

/// A commit that is in a local repository.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The name as the person wrote it.
    pub asked: String,
    pub commit: CommitId,
    pub origin: Origin,
}

/// Origin of what a name means.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// A commit of a local repository.
    Repository(PathBuf),
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
            let releases = releases::Releases::open(name, cache).await?;
            for version in asked {
                match releases.commit(version, events).await {
                    Ok(commit) => resolved.push(Resolved {
                        asked: version.clone(),
                        commit,
                        origin: Origin::Repository(releases.repository().to_path_buf()),
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
            let remote = Remote::open(git_url(location, folder)?, cache).await?;
            for name in asked {
                match remote.fetch_commit(name, events).await {
                    Ok(commit) => resolved.push(Resolved {
                        asked: name.clone(),
                        commit,
                        origin: Origin::Repository(remote.repository.clone()),
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
    all_or_errors(resolved, unknown_names)
}

fn all_or_errors(resolved: Vec<Resolved>, mut unknown: Vec<Error>) -> Result<Vec<Resolved>> {
    match unknown.len() {
        0 => Ok(resolved),
        1 => Err(unknown.remove(0)),
        _ => {
            let messages: Vec<&str> = unknown.iter().map(|error| error.message.as_str()).collect();
            let hint = unknown[0].hint.clone();
            Err(Error { hint, ..Error::input(messages.join("; ")) })
        }
    }
}

/// `source` in words that mean the same from any folder.
pub fn absolute(source: &Source, folder: &Path) -> Result<Source> {
    Ok(match source {
        Source::Git(location) => Source::Git(git_url(location, folder)?),
        Source::Crate(name) => Source::Crate(name.clone()),
        Source::Compiler(git) => {
            Source::Compiler(git.as_ref().map(|git| git_url(git, folder)).transpose()?)
        }
    })
}

/// URL that git is given for `location`: an address as it is, a path made absolute from `folder`.
fn git_url(location: &str, folder: &Path) -> Result<String> {
    check_git_location(location).map_err(|expected| {
        Error::input(format!("{location:?} is not a source: expected {expected}"))
    })?;
    if location.contains("://") || (location.contains(':') && !location.contains('/')) {
        return Ok(location.to_string());
    }
    let path = folder.join(location);
    let path = fs::canonicalize(&path)
        .map_err(|error| Error::input(format!("no repository at {}: {error}", path.display())))?;
    Ok(path.display().to_string())
}

/// A repository elsewhere, and the local one that receives what is fetched from it.
struct Remote {
    url: String,
    repository: PathBuf,
}

impl Remote {
    async fn open(url: String, cache: &Path) -> Result<Self> {
        let name = Digest::of(url.as_bytes());
        let repository = cache.join("sources/git").join(format!("{}.git", name.short()));
        init_repository(&repository, cache).await?;
        Ok(Self { url, repository })
    }

    /// The commit that `name` means, fetched.
    async fn fetch_commit(&self, name: &str, events: &Events) -> Result<CommitId> {
        let commit = match name.parse::<CommitId>() {
            Ok(commit) => commit,
            Err(_) => self.look_up(name).await?,
        };
        if self.has_commit(&commit).await {
            return Ok(commit);
        }
        let lock = http::open_locked(&self.repository.join("dyno.lock")).await?;
        if self.has_commit(&commit).await {
            return Ok(commit);
        }
        events.begin(Phase::Source, format!("fetching {name} ({})", commit.short()));
        let doing = || format!("fetching {commit} from {}", self.url);
        // A fetch that was killed leaves git's own lock behind, and no other fetch is at work here.
        match fs::remove_file(self.repository.join("shallow.lock")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context(doing);
            }
            _ => {}
        }
        let mut git = git();
        // Not to be read: so dyno's lock lasts as long as this git, even if dyno is killed.
        git.stdin(lock.try_clone().context(doing)?);
        git.arg("--git-dir").arg(&self.repository);
        git.args(["fetch", "--quiet", "--no-tags", "--depth=1", "--no-write-fetch-head"]);
        git.args(self.upload_pack()).arg("--");
        git.args([self.url.as_str(), commit.hex()]);
        let fetched = fault::around("source.fetch", run_git(git)).await;
        match fetched {
            Ok(_) if self.has_commit(&commit).await => Ok(commit),
            Ok(_) => Err(Error::input(format!("{commit} is not a commit of {}", self.url))),
            Err(error) if error.message.contains("not our ref") => {
                Err(Error::input(format!("{} has no commit {commit}", self.url))
                    .hint("give a branch, a tag, or the full id of a commit that was pushed"))
            }
            Err(error) => Err(error).context(doing),
        }
    }

    /// Git does not hand settings on to the process that serves a local repository, and that
    /// process refuses the repository of another user; root often measures what a user wrote.
    fn upload_pack(&self) -> Option<&'static str> {
        let local = self.url.starts_with('/') || self.url.starts_with("file:");
        local.then_some("--upload-pack=git -c 'safe.directory=*' upload-pack")
    }

    async fn has_commit(&self, commit: &CommitId) -> bool {
        let mut git = git();
        git.arg("--git-dir").arg(&self.repository);
        git.args(["cat-file", "-e", &format!("{}^{{commit}}", commit.hex())]);
        run_git(git).await.is_ok()
    }

    /// Asks the remote what a branch or tag means; an annotated tag means its commit.
    async fn look_up(&self, name: &str) -> Result<CommitId> {
        check_ref(name)?;
        let mut git = git();
        git.args(["ls-remote", "--quiet"]).args(self.upload_pack()).args(["--", &self.url]);
        let wanted = [
            format!("refs/tags/{name}^{{}}"),
            format!("refs/tags/{name}"),
            format!("refs/heads/{name}"),
            name.to_string(),
        ];
        git.args(&wanted);
        let answer = run_git(git).await.context(|| format!("asking {} for {name}", self.url))?;
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        let find_ref = |wanted: &String| {
            text.lines().find_map(|line| {
                let (id, found) = line.split_once('\t')?;
                (found == wanted).then(|| id.parse::<CommitId>().ok())?
            })
        };
        wanted.iter().find_map(find_ref).ok_or_else(|| {
            let error = Error::input(format!("{} has no branch or tag {name:?}", self.url));
            if name.len() >= 4 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
                error.hint("an abbreviated commit id cannot be looked up in a remote: give all of its digits")
            } else {
                error.hint("give a branch, a tag or a full commit id")
            }
        })
    }
}

/// Whether `name` can be a ref (git-check-ref-format(1)), and cannot be an option or a revision
/// expression.
fn check_ref(name: &str) -> Result<()> {
    let is_bad_character = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let is_bad_part =
        |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    let is_bad = name.is_empty()
        || name.len() > 255
        || name.starts_with('-')
        || name.ends_with('.')
        || name == "@"
        || name.contains("..")
        || name.contains("@{")
        || name.chars().any(is_bad_character)
        || name.split('/').any(is_bad_part);
    if is_bad {
        return Err(Error::input(format!(
            "\"{}\" cannot be the name of a commit",
            name.escape_debug()
        ))
        .hint("give a branch, a tag, a version or a full commit id"));
    }
    Ok(())
}

/// A git that asks nothing, runs no hooks and speaks no transport that runs commands.
fn git() -> Command {
    let mut git = Command::new("git");
    git.args(["-c", "protocol.ext.allow=never", "-c", "protocol.file.allow=always"]);
    git.args(["-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*", "-c", "gc.auto=0"]);
    git.env("GIT_TERMINAL_PROMPT", "0").env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    git.env_remove("GIT_INDEX_FILE").stdin(Stdio::null()).kill_on_drop(true);
    git
}

async fn run_git(mut git: Command) -> Result<Output> {
    let output = git.output().await.map_err(|error| start_error(&error))?;
    if output.status.success() { Ok(output) } else { Err(git_error(&output.stderr)) }
}

/// The error of a git that could not be started.
fn start_error(error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::host("git is not installed")
            .hint("install git (apt-get install git) and run the same command again"),
        _ => Error::infrastructure(format!("starting git: {error}")),
    }
}

/// The error of a git that failed, by what it wrote to standard error.
fn git_error(stderr: &[u8]) -> Error {
    let stderr_text = String::from_utf8_lossy(stderr);
    let lines = || stderr_text.lines().map(str::trim).filter(|line| !line.is_empty());
    // What is wrong stands in the line of git's own that is marked so; advice surrounds it.
    let marked = lines().find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    let stderr_text =
        marked.or_else(|| lines().next_back()).unwrap_or("it said nothing").to_string();
    Error::infrastructure(format!("git: {stderr_text}"))
}

async fn init_repository(repository: &Path, cache: &Path) -> Result<()> {
    if repository.join("HEAD").exists() {
        return Ok(());
    }
    let doing = || format!("making the repository {}", repository.display());
    let parent = repository.parent().unwrap_or(repository);
    fs::create_dir_all(parent).context(doing)?;
    let scratch = Scratch::new(cache)?;
    let fresh = scratch.path().join("repository");
    let mut git = git();
    // Without a template of this machine's, which may bring configuration and attributes.
    git.args(["init", "--quiet", "--bare", "--template=", "--initial-branch=main", "--"]);
    git.arg(&fresh);
    run_git(git).await.context(doing)?;
    // Whole or not at all; another dyno may have made it meanwhile.
    match fault::at("source.init", || atomic_file::place_folder(&fresh, repository)) {
        Err(error) if !repository.join("HEAD").exists() => Err(error).context(doing),
        _ => Ok(()),
    }
}

/// Applies `patch` (`a/…`, `b/…`) to the files in `folder`, which is in no repository. The inner
/// error is why it does not apply.
pub async fn git_apply(folder: &Path, patch: &[u8]) -> Result<Result<(), String>> {
    let doing = || format!("patching {}", folder.display());
    let file = tempfile::NamedTempFile::new().context(doing)?;
    fs::write(file.path(), patch).context(doing)?;
    let home = tempfile::tempdir().context(doing)?;
    let mut git = checkout::without_configuration(home.path());
    // Or git would look for a repository above, and leave alone what is outside of that.
    git.env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap_or(folder)).current_dir(folder);
    git.args(["apply", "-p1", "--whitespace=nowarn", "--"]).arg(file.path());
    let output = git.output().await.map_err(|error| start_error(&error))?;
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Ok(if output.status.success() { Ok(()) } else { Err(stderr) })
}

#[cfg(test)]
mod tests {
    use dyno_model::catalog::suite::Limits;

    use super::*;

    #[test]
    fn names_that_could_be_options_or_expressions_are_refused() {
        for good in ["main", "v1.2.3", "feature/x", "0.31.2", "a@b"] {
            assert!(check_ref(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-x",
            "--upload-pack=x",
            "a..b",
            "a^",
            "a~1",
            "HEAD:x",
            "a b",
            "a\n",
            "@",
            "@{1}",
            "x.lock",
            "/x",
            "x/",
            ".x",
        ] {
            assert!(check_ref(bad).is_err(), "{bad}");
        }
    }

    async fn commit_file(repository: &Path, text: &str) -> String {
        fs::write(repository.join("file"), text).unwrap();
        let git = |words: &[&str]| {
            let mut git = git();
            git.arg("-C").arg(repository).args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.org",
            ]);
            git.args(words);
            git
        };
        run_git(git(&["add", "."])).await.unwrap();
        run_git(git(&["commit", "-qm", text])).await.unwrap();
        let head = run_git(git(&["rev-parse", "HEAD"])).await.unwrap();
        String::from_utf8(head.stdout).unwrap().trim().to_string()
    }

    /// A commit of `repository` with this tree, written as `git mktree` reads it.
    async fn commit_tree(repository: &Path, entries: &str) -> String {
        let file = repository.join("../entries");
        fs::write(&file, entries).unwrap();
        let git_in_repository = |words: &[&str]| {
            let mut git = git();
            git.arg("-C").arg(repository);
            git.args(["-c", "user.name=t", "-c", "user.email=t@example.org"]).args(words);
            git
        };
        let mut tree = git_in_repository(&["mktree"]);
        tree.stdin(fs::File::open(&file).unwrap());
        let text = |output: Output| String::from_utf8(output.stdout).unwrap().trim().to_string();
        let tree = text(run_git(tree).await.unwrap());
        let commit =
            text(run_git(git_in_repository(&["commit-tree", "-m", "x", &tree])).await.unwrap());
        run_git(git_in_repository(&["tag", &format!("of-{commit}"), &commit])).await.unwrap();
        commit
    }

    async fn id(repository: &Path, name: &str) -> String {
        let mut git = git();
        git.arg("-C").arg(repository).args(["rev-parse", name]);
        String::from_utf8(run_git(git).await.unwrap().stdout).unwrap().trim().to_string()
    }

    /// A commit with the file of `commit` under another name.
    async fn entry(repository: &Path, name: &str, commit: &str) -> String {
        let blob = id(repository, &format!("{commit}:file")).await;
        commit_tree(repository, &format!("100644 blob {blob}\t{name}\n")).await
    }

    /// A commit of ten trees in each other, each of which has the next one ten times.
    async fn nested(repository: &Path) -> String {
        let mut commit = "v1".to_string();
        for _ in 0..10 {
            let tree = id(repository, &format!("{commit}^{{tree}}")).await;
            let entry = |name| format!("040000 tree {tree}\t{name}\n");
            commit = commit_tree(repository, &(0..10).map(entry).collect::<String>()).await;
        }
        commit
    }

    #[tokio::test]
    async fn branches_tags_and_ids_are_resolved_and_checked_out() {
        let folder = tempfile::tempdir().unwrap();
        let (origin, cache) = (folder.path().join("origin"), folder.path().join("cache"));
        let mut init = git();
        init.args(["init", "-q", "-b", "main"]).arg(&origin);
        run_git(init).await.unwrap();
        let first = commit_file(&origin, "one").await;
        let mut tag = git();
        tag.arg("-C").arg(&origin).args(["-c", "user.name=t", "-c", "user.email=t@example.org"]);
        tag.args(["tag", "-a", "-m", "x", "v1"]);
        run_git(tag).await.unwrap();
        let second = commit_file(&origin, "two").await;

        let source = Source::Git("origin".into());
        let resolve_names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let (source, cache, folder) =
                (source.clone(), cache.clone(), folder.path().to_path_buf());
            async move { resolve(&source, &folder, &names, &cache, &Events::none()).await }
        };
        let resolved = resolve_names(&["main", "v1", &first]).await.unwrap();
        let ids: Vec<&str> = resolved.iter().map(|r| r.commit.hex()).collect();
        assert_eq!(ids, [second.as_str(), &first, &first]);
        let tree = folder.path().join("tree");
        let limits =
            Limits { time_s: 60, memory_bytes: 0, pids: 0, output_bytes: 0, disk_bytes: 1 << 20 };
        resolved[1].check_out(&tree, &limits).await.unwrap();
        assert_eq!(fs::read_to_string(tree.join("file")).unwrap(), "one");

        // What is too much, or cannot be written anywhere, is the commit's own fault.
        let long = "x".repeat(300);
        let (endless, hidden) = (nested(&origin).await, entry(&origin, ".git", &first).await);
        let long = entry(&origin, &long, &first).await;
        let none = Limits { time_s: 0, ..limits };
        for (commit, limits, reason) in [
            (&endless, limits, "the check-out wrote more than 1.00 MiB to the disk"),
            (&first, none, "the check-out took longer than 0 s"),
            (&long, limits, "git: error: unable to create file"),
            (&hidden, limits, "git: error: invalid path '.git'"),
        ] {
            let into = folder.path().join("refused");
            let resolved = resolve_names(&[commit]).await.unwrap().remove(0);
            let error = resolved.check_out(&into, &limits).await.unwrap_err();
            assert_eq!(error.kind, dyno_base::error::Kind::Case, "{error}");
            assert!(error.message.starts_with(reason), "{reason}: {error}");
            assert_eq!(fs::read_dir(&into).unwrap().count(), 0, "{reason}");
        }

        let error = resolve_names(&["nope", "--upload-pack=x", &"0".repeat(40)]).await.unwrap_err();
        assert_eq!(error.kind, dyno_base::error::Kind::Input);
        for part in
            ["no branch or tag \"nope\"", "\"--upload-pack=x\" cannot be", "has no commit 0000"]
        {
            assert!(error.message.contains(part), "{part}: {}", error.message);
        }
    }
}
