//! Where a target's commits come from. Whatever the source is, the rest of dyno sees a local git
//! repository and a full commit id.
//!
//! A git source is resolved first (a branch, a tag, a version becomes one full id), then exactly
//! that commit is fetched. A crate is turned into a repository of dyno's own (see [`releases`]).
//! Names from outside reach git only after they were checked, and after `--`, so that none can
//! become an option; `ext::` and other transports that run commands are off. A repository on this
//! machine is asked as git asks it ([`local`]). What of the caller's git reaches dyno's is in
//! [`environment`].

mod checkout;
mod environment;
mod local;
mod own;
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

pub use own::{OwnCommit, make_repository};

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
            let remote = Remote { url: git_url(location, folder)?, cache };
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
    // As git takes it: `host:path`, where no slash stands before the colon.
    let is_host = |(host, _): (&str, &str)| !host.is_empty() && !host.contains('/');
    if location.contains("://") || location.split_once(':').is_some_and(is_host) {
        return Ok(location.to_string());
    }
    let path = folder.join(location);
    let path = fs::canonicalize(&path)
        .map_err(|error| Error::input(format!("no repository at {}: {error}", path.display())))?;
    Ok(path.display().to_string())
}

/// A repository somewhere, and the cache that receives what is fetched from it.
struct Remote<'a> {
    url: String,
    cache: &'a Path,
}

/// A repository of dyno's own, with what was fetched from a remote.
struct Fetched<'a> {
    remote: &'a Remote<'a>,
    repository: PathBuf,
}

impl Remote<'_> {
    /// The commit that `name` means, and the repository that has it now.
    async fn bring(&self, name: &str, events: &Events) -> Result<(CommitId, PathBuf)> {
        let here = local::folder_of(&self.url);
        if let Some(here) = here.as_ref().filter(|_| name == local::WORK_TREE) {
            let fetched = self.repository(&local::object_format(here).await?).await?;
            let doing = || format!("taking the work tree of {}", here.display());
            let _lock = http::open_locked(&fetched.repository.join("dyno.lock")).await?;
            events.begin(Phase::Source, doing());
            let commit = local::commit_work_tree(here, &fetched.repository).await?;
            events.notice(format!(
                "{} is measured as it is, as commit {}",
                here.display(),
                commit.short()
            ));
            return Ok((commit, fetched.repository));
        }
        let commit = match (name.parse::<CommitId>(), here) {
            (Ok(commit), _) => commit,
            (Err(_), Some(here)) => local::look_up(&here, name).await?,
            (Err(_), None) => self.look_up(name).await?,
        };
        const SHA256_DIGITS: usize = 64;
        let format = if commit.hex().len() == SHA256_DIGITS { "sha256" } else { "sha1" };
        let fetched = self.repository(format).await?;
        fetched.fetch_commit(&commit, name, events).await?;
        Ok((commit, fetched.repository))
    }

    /// The repository for commits whose ids have this format.
    async fn repository(&self, format: &str) -> Result<Fetched<'_>> {
        let name = Digest::of(self.url.as_bytes());
        // The name of those that a dyno of before made.
        let suffix = if format == "sha1" { String::new() } else { format!("-{format}") };
        let folder = self.cache.join("sources/git");
        let repository = folder.join(format!("{}{suffix}.git", name.short()));
        init_repository(&repository, format, self.cache).await?;
        Ok(Fetched { remote: self, repository })
    }

    /// Git does not hand settings on to the process that serves a local repository, and that
    /// process refuses the repository of another user; root often measures what a user wrote.
    fn upload_pack(&self) -> Option<&'static str> {
        local::folder_of(&self.url).map(|_| "--upload-pack=git -c 'safe.directory=*' upload-pack")
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

impl Fetched<'_> {
    /// Fetches `commit`, which somebody asked for as `name`, unless it is there.
    async fn fetch_commit(&self, commit: &CommitId, name: &str, events: &Events) -> Result<()> {
        let url = &self.remote.url;
        if self.has_commit(commit).await {
            return Ok(());
        }
        let lock = http::open_locked(&self.repository.join("dyno.lock")).await?;
        if self.has_commit(commit).await {
            return Ok(());
        }
        events.begin(Phase::Source, format!("fetching {name} ({})", commit.short()));
        let doing = || format!("fetching {commit} from {url}");
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
        git.args(self.remote.upload_pack()).arg("--");
        git.args([url.as_str(), commit.hex()]);
        let fetched = fault::around("source.fetch", run_git(git)).await;
        match fetched {
            Ok(_) if self.has_commit(commit).await => Ok(()),
            Ok(_) => Err(Error::input(format!("{commit} is not a commit of {url}"))),
            Err(error) if error.message.contains("not our ref") => {
                Err(Error::input(format!("{url} has no commit {commit}"))
                    .hint("give a branch, a tag, or the full id of a commit that was pushed"))
            }
            Err(error) => Err(error).context(doing),
        }
    }

    async fn has_commit(&self, commit: &CommitId) -> bool {
        let mut git = git();
        git.arg("--git-dir").arg(&self.repository);
        git.args(["cat-file", "-e", &format!("{}^{{commit}}", commit.hex())]);
        run_git(git).await.is_ok()
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
    environment::set(&mut git);
    git.stdin(Stdio::null()).kill_on_drop(true);
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

async fn init_repository(repository: &Path, format: &str, cache: &Path) -> Result<()> {
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
    git.args(["init", "--quiet", "--bare", "--template=", "--initial-branch=main"]);
    git.arg(format!("--object-format={format}")).arg("--").arg(&fresh);
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
mod tests;
