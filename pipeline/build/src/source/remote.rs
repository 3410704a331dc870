//! Repositories elsewhere, and dyno's own that receive what is fetched from them.
//!
//! A commit is fetched alone where the server gives it by its id; some give only branches and tags,
//! and then all of those are fetched. A repository of dyno's own that is broken, as a full disk or a
//! machine that went down leaves it, is made anew once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use dyno_base::atomic_file;
use dyno_base::cache::mark_use;
use dyno_base::disk::{DiskLimit, DiskWatch};
use dyno_base::error::{Error, Kind, Result, WithContext};
use dyno_base::event::{Events, Phase};
use dyno_base::fault;
use dyno_base::http;
use dyno_base::scratch::{Scratch, discard};
use dyno_model::catalog::suite::check_git_location;
use dyno_model::id::{CommitId, Digest};

use super::command::{git, run_bounded, run_git};
use super::local;

/// The most that a repository may hold which is fetched whole, in bytes, and how long that may take.
const WHOLE_BYTES: u64 = 32 << 30;
const WHOLE_TIME: Duration = Duration::from_secs(3600);

/// Words of git's and of servers that give no commit by its id, or not without its history.
const WHOLE_ONLY: [&str; 4] =
    ["unadvertised object", "not support shallow", "couldn't find remote ref", " not valid"];

/// Words of git's where objects of a commit are such that no git sends or takes them.
const UNSENDABLE: [&str; 6] = [
    "pack-objects died",
    "repository corruption",
    "necessary objects",
    "bad tree",
    "bad object",
    "corrupt",
];

/// A repository somewhere, and the cache that receives what is fetched from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Remote {
    pub(super) url: String,
    pub(super) cache: PathBuf,
}

/// A repository of dyno's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Repository {
    pub(super) folder: PathBuf,
    /// Where its commits were fetched from; none if dyno made them.
    pub(super) remote: Option<Remote>,
}

impl Remote {
    /// The commit that `name` means, and the repository that has it now.
    pub(super) async fn bring(
        &self,
        name: &str,
        events: &Events,
    ) -> Result<(CommitId, Repository)> {
        let here = local::folder_of(&self.url);
        if let Some(here) = here.as_ref().filter(|_| name == local::WORK_TREE) {
            return self.bring_work_tree(here, events).await;
        }
        let commit = match (name.parse::<CommitId>(), here) {
            (Ok(commit), _) => commit,
            (Err(_), Some(here)) => local::look_up(&here, name).await?,
            (Err(_), None) => self.look_up(name).await?,
        };
        let repository = self.with_commit(&commit, name, events).await?;
        Ok((commit, repository))
    }

    /// The commit of the work tree in `here` as it is, and the repository that has it. Without changes
    /// it is the commit that is checked out, so that what is known of that is found.
    pub(super) async fn bring_work_tree(
        &self,
        here: &Path,
        events: &Events,
    ) -> Result<(CommitId, Repository)> {
        let repository = self.repository(&local::object_format(here).await?, events).await?;
        let commit = {
            let _lock = http::open_locked(&repository.folder.join("dyno.lock")).await?;
            events.begin(Phase::Source, format!("taking the work tree of {}", here.display()));
            local::commit_work_tree(here, &repository.folder).await?
        };
        if let Some(head) = local::clean_head(here, &commit, &repository.folder).await {
            let repository = self.with_commit(&head, local::WORK_TREE, events).await?;
            events.notice(format!(
                "{} has no changes: . is its last commit, {}",
                here.display(),
                head.short()
            ));
            return Ok((head, repository));
        }
        events.notice(format!(
            "{} is measured as it is, as commit {}",
            here.display(),
            commit.short()
        ));
        Ok((commit, repository))
    }

    /// The repository that has `commit`, which somebody asked for as `name`.
    pub(super) async fn with_commit(
        &self,
        commit: &CommitId,
        name: &str,
        events: &Events,
    ) -> Result<Repository> {
        let repository = self.repository(format_of(commit), events).await?;
        match repository.fetch_commit(self, commit, name, events).await {
            Err(_) if repository.mend(commit, events).await? => Ok(repository),
            // Whoever asks for its files is told; another commit is not concerned.
            Err(error) if UNSENDABLE.iter().any(|words| error.message.contains(words)) => {
                Ok(repository)
            }
            fetched => fetched.map(|()| repository),
        }
    }

    /// The repository for commits whose ids have this format.
    async fn repository(&self, format: &str, events: &Events) -> Result<Repository> {
        // The name of those that a dyno of before made.
        let suffix = if format == "sha1" { String::new() } else { format!("-{format}") };
        self.own_repository(&suffix, format, events).await
    }

    /// The repository for whole branches without files. In the other one commits are alone.
    pub(super) async fn history(&self, format: &str, events: &Events) -> Result<Repository> {
        self.own_repository(&format!("-history-{format}"), format, events).await
    }

    fn own_folder(&self, suffix: &str) -> PathBuf {
        let name = Digest::of(self.url.as_bytes());
        self.cache.join("sources/git").join(format!("{}{suffix}.git", name.short()))
    }

    /// The places of dyno's own repositories of it, whether or not they are there.
    pub(super) fn own_folders(&self) -> Vec<PathBuf> {
        ["", "-sha256", "-history-sha1", "-history-sha256"].map(|s| self.own_folder(s)).into()
    }

    async fn own_repository(
        &self,
        suffix: &str,
        format: &str,
        events: &Events,
    ) -> Result<Repository> {
        let folder = self.own_folder(suffix);
        init_repository(&folder, format, &self.cache, events).await?;
        Ok(Repository { folder, remote: Some(self.clone()) })
    }

    /// Git does not hand settings on to the process that serves a local repository, and that
    /// process refuses the repository of another user; root often measures what a user wrote.
    fn upload_pack(&self) -> Option<&'static str> {
        local::folder_of(&self.url).map(|_| "--upload-pack=git -c 'safe.directory=*' upload-pack")
    }

    /// Asks the remote what a branch or tag means; an annotated tag means its commit.
    pub(super) async fn look_up(&self, name: &str) -> Result<CommitId> {
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

impl Repository {
    /// Fetches `commit` if it is not there.
    pub(super) async fn complete(&self, commit: &CommitId, events: &Events) -> Result<()> {
        match &self.remote {
            Some(remote) => self.fetch_commit(remote, commit, commit.short(), events).await,
            None => Ok(()),
        }
    }

    /// A git that works in it.
    pub(super) fn git(&self, words: &[&str]) -> tokio::process::Command {
        let mut git = git();
        git.arg("--git-dir").arg(&self.folder).args(words);
        git
    }

    /// Fetches `commit` from `remote`, where somebody asked for it as `name`, unless it is there.
    async fn fetch_commit(
        &self,
        remote: &Remote,
        commit: &CommitId,
        name: &str,
        events: &Events,
    ) -> Result<()> {
        let url = &remote.url;
        if self.has_commit(commit).await {
            return Ok(());
        }
        let lock = http::open_locked(&self.folder.join("dyno.lock")).await?;
        if self.has_commit(commit).await {
            return Ok(());
        }
        events.begin(Phase::Source, format!("fetching {name} ({})", commit.short()));
        let doing = || format!("fetching {commit} from {url}");
        remove_stale_locks(&self.folder).context(doing)?;
        // Not to be read: so dyno's lock lasts as long as this git, even if dyno is killed.
        let fetch = |words: &[&str]| -> Result<_> {
            let mut git = self.git(&["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"]);
            git.stdin(Stdio::from(lock.try_clone().context(doing)?));
            git.args(words).args(remote.upload_pack()).args(["--", url]);
            Ok(git)
        };
        let mut alone = fetch(&["--depth=1"])?;
        alone.arg(commit.hex());
        match fault::around("source.fetch", run_git(alone)).await {
            Ok(_) if self.has_commit(commit).await => return Ok(()),
            Ok(_) => return Err(Error::input(format!("{commit} is not a commit of {url}"))),
            Err(error) if error.message.contains("not our ref") => {
                return Err(Error::input(format!("{url} has no commit {commit}"))
                    .hint("give a branch, a tag, or the full id of a commit that was pushed"));
            }
            Err(error) if !WHOLE_ONLY.iter().any(|words| error.message.contains(words)) => {
                return Err(error).context(doing);
            }
            Err(_) => {}
        }
        events.begin(
            Phase::Source,
            format!("fetching all branches and tags of {url}: it gives no commit by its id"),
        );
        // The history of what was fetched alone before is not here.
        let whole: &[&str] =
            if self.folder.join("shallow").exists() { &["--unshallow"] } else { &[] };
        let mut whole = fetch(whole)?;
        whole.args(["+refs/heads/*:refs/remote/heads/*", "+refs/tags/*:refs/remote/tags/*"]);
        self.run_whole(whole).await.context(doing)?;
        if self.has_commit(commit).await {
            return Ok(());
        }
        Err(Error::input(format!("{url} has no commit {commit} in its branches and tags")).hint(
            "this server gives branches and tags only: name one, or clone it and give the path",
        ))
    }

    /// Runs a fetch of everything, within bounds.
    pub(super) async fn run_whole(&self, fetch: tokio::process::Command) -> Result<()> {
        let watch = DiskWatch::new(vec![self.folder.clone()], WHOLE_BYTES);
        let stop = async {
            let why = tokio::select! {
                () = tokio::time::sleep(WHOLE_TIME) => {
                    format!("the fetch took longer than {} s", WHOLE_TIME.as_secs())
                }
                limit_reached = watch.until_exceeded() => match limit_reached {
                    DiskLimit::Disk(_) => {
                        return Error::infrastructure(dyno_base::error::DISK_FULL);
                    }
                    other => other.reason("the fetch", WHOLE_BYTES).unwrap_or_default(),
                },
            };
            Error::input(why).hint("clone the repository yourself and give the path")
        };
        tokio::pin!(stop);
        let read = async |mut stdout| {
            let copied = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await;
            copied.map(drop).context(|| "reading from git".into())
        };
        run_bounded(fetch, &mut stop, read).await
    }

    async fn has_commit(&self, commit: &CommitId) -> bool {
        let object = format!("{}^{{commit}}", commit.hex());
        run_git(self.git(&["cat-file", "-e", &object])).await.is_ok()
    }

    /// Makes the repository anew if it is broken, and fetches `commit` again. Whether it was.
    pub(super) async fn mend(&self, commit: &CommitId, events: &Events) -> Result<bool> {
        let Some(remote) = &self.remote else { return Ok(false) };
        let lock = http::open_locked(&self.folder.join("dyno.lock")).await?;
        let Some(damage) = self.damage(commit).await else { return Ok(false) };
        events.notice(format!(
            "the repository {} in the cache is broken ({damage}) and is made anew",
            self.folder.display()
        ));
        discard("artifact.discard", &remote.cache, &self.folder)?;
        drop(lock);
        init_repository(&self.folder, format_of(commit), &remote.cache, events).await?;
        self.fetch_commit(remote, commit, commit.short(), events).await?;
        Ok(true)
    }

    /// What is wrong with the repository, if objects of it, or what `commit` needs, cannot be read.
    async fn damage(&self, commit: &CommitId) -> Option<String> {
        let mut all = self.git(&["cat-file", "--batch-all-objects", "--batch", "--buffer"]);
        all.arg("--unordered").stdout(Stdio::null()).stderr(Stdio::piped());
        let output = all.output().await.ok()?;
        if !output.status.success() || output.stderr.starts_with(b"error:") {
            return Some(super::command::git_error(&output.stderr).message);
        }
        if !self.has_commit(commit).await {
            return None;
        }
        let closure = ["rev-list", "--objects", "--no-walk", "--quiet", commit.hex()];
        run_git(self.git(&closure)).await.err().map(|error| error.message)
    }
}

/// The format of ids that `commit` has, as git calls it.
pub(super) fn format_of(commit: &CommitId) -> &'static str {
    const SHA256_DIGITS: usize = 64;
    if commit.hex().len() == SHA256_DIGITS { "sha256" } else { "sha1" }
}

/// Removes locks of git's own: a git that was killed leaves them, and whoever asks has dyno's.
pub(super) fn remove_stale_locks(repository: &Path) -> std::io::Result<()> {
    let mut folders = vec![repository.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let (path, is_folder) = (entry.path(), entry.file_type()?.is_dir());
            if is_folder && (folder != repository || entry.file_name() == "refs") {
                folders.push(path);
            } else if !is_folder
                && path.extension().is_some_and(|extension| extension == "lock")
                && entry.file_name() != "dyno.lock"
            {
                fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}

/// Makes the bare repository `folder` unless it is there; what stands there and is none is taken
/// away before.
pub(super) async fn init_repository(
    folder: &Path,
    format: &str,
    cache: &Path,
    events: &Events,
) -> Result<()> {
    let doing = || format!("making the repository {}", folder.display());
    let is_repository = async || {
        let mut refs = git();
        refs.arg("--git-dir").arg(folder).args(["for-each-ref", "--count=1"]);
        match run_git(refs).await {
            Err(error) if error.kind == Kind::Host => Err(error),
            answer => Ok(answer.is_ok()),
        }
    };
    if folder.exists() {
        if is_repository().await? {
            mark_use(folder);
            return Ok(());
        }
        events.notice(format!(
            "the repository {} in the cache is broken and is made anew",
            folder.display()
        ));
        discard("artifact.discard", cache, folder)?;
    }
    fs::create_dir_all(folder.parent().unwrap_or(folder)).context(doing)?;
    let scratch = Scratch::new(cache)?;
    let fresh = scratch.path().join("repository");
    make_bare(&fresh, format).await?;
    // Whole or not at all; another dyno may have made it meanwhile.
    match fault::at("source.init", || atomic_file::place_folder(&fresh, folder)) {
        Err(error) if !is_repository().await? => Err(error).context(doing),
        _ => Ok(()),
    }
}

/// Makes a bare repository in `folder`, which is not there.
pub(super) async fn make_bare(folder: &Path, format: &str) -> Result<()> {
    let mut git = git();
    // Without a template of this machine's, which may bring configuration and attributes.
    git.args(["init", "--quiet", "--bare", "--template=", "--initial-branch=main"]);
    git.arg(format!("--object-format={format}")).arg("--").arg(folder);
    let made = run_git(git).await;
    made.map(drop).context(|| format!("making the repository {}", folder.display()))
}

/// Whether `location` is an address as git takes it: `host:path`, where no slash stands before the
/// colon, or a URL.
pub(super) fn is_address(location: &str) -> bool {
    let is_host = |(host, _): (&str, &str)| !host.is_empty() && !host.contains('/');
    location.contains("://") || location.split_once(':').is_some_and(is_host)
}

/// URL that git is given for `location`: an address as it is, a path made absolute from `folder`.
pub(super) fn git_url(location: &str, folder: &Path) -> Result<String> {
    check_git_location(location).map_err(|expected| {
        Error::input(format!("{location:?} is not a source: expected {expected}"))
    })?;
    if is_address(location) {
        return Ok(location.to_string());
    }
    let path = folder.join(location);
    let path = fs::canonicalize(&path)
        .map_err(|error| Error::input(format!("no repository at {}: {error}", path.display())))?;
    Ok(path.display().to_string())
}

/// Whether `name` can be a ref (git-check-ref-format(1)), and cannot be an option or a revision
/// expression.
pub(super) fn check_ref(name: &str) -> Result<()> {
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
