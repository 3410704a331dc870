//! Writing a stranger's commit into a folder. Git does that on this machine, outside of every
//! container, so what bounds a build must bound it too.
//!
//! A few kilobytes of commit can stand for more files than there are atoms: trees whose entries are
//! all the same tree. Git would lay them out without end, and would first keep a list of all of
//! them in memory. So the commit is listed before, which takes neither, and only as far as
//! `limits.disk` reaches. The files are watched all the same, since attributes can make a file
//! larger than what is stored of it; and all of it has `limits.time_s`.
//!
//! Nothing of this machine's configuration of git counts here: a commit names filters in its
//! `.gitattributes`, and which program a name stands for would be this machine's to say. Where the
//! suite asks for what Git LFS keeps, that filter alone is known, and what reaches the network.
//!
//! Whatever git says against a commit is the commit's own fault, unless it speaks of this machine
//! or dyno's repository is broken: nobody can list what trees a stranger can make.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use dyno_model::catalog::suite::{Limits, Recipe};
use dyno_model::id::CommitId;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use super::command::{git, run_bounded, start_error, without_configuration};
use super::remote::Repository;
use super::{Origin, Resolved, files, submodules};
use dyno_base::disk::{DiskLimit, DiskWatch, FILE_BYTES};
use dyno_base::error::{DISK_FULL, Error, Kind, Result, WithContext};
use dyno_base::event::Events;

/// Bytes of a longest path, its end included.
const PATH_MAX: usize = 4096;

/// Bytes of a longest entry: a path longer than the system takes, with what stands before it in a
/// listing.
const ENTRY_BYTES: u64 = PATH_MAX as u64 + 128;

/// Git's words for errors of which this machine, not a commit, is the reason.
const MACHINE_ERRORS: [&str; 10] = [
    DISK_FULL,
    "Disk quota exceeded",
    "Input/output error",
    "Permission denied",
    "Read-only file system",
    "Cannot allocate memory",
    "ut of memory",
    "Too many open files",
    "Resource temporarily unavailable",
    "git: it said nothing",
];

/// A commit's tree that is laid out in a folder: the commit's own, or that of a submodule.
struct Tree {
    repository: Repository,
    commit: CommitId,
    folder: PathBuf,
}

/// A check-out under way.
struct CheckOut<'a> {
    recipe: &'a Recipe,
    events: &'a Events,
    /// A folder without any configuration, for indices.
    home: &'a Path,
}

impl Resolved {
    /// Writes the commit's tree into `folder`, which must be empty or absent. An error of the kind
    /// [`Kind::Case`] is the commit's own: more than its limits allow, or not to be written anywhere.
    /// The answer is what is not there because the suite does not ask for it, in words.
    pub async fn check_out(
        &self,
        folder: &Path,
        recipe: &Recipe,
        events: &Events,
    ) -> Result<Option<String>> {
        let doing = || format!("checking out {} into {}", self.commit, folder.display());
        let Origin::Repository(repository) = &self.origin else {
            return Err(Error::input(format!("{} is no commit", self.asked)));
        };
        fs::create_dir_all(folder).context(doing)?;
        // An index of its own, so that several check-outs of one repository do not meet.
        let beside = folder.parent().unwrap_or(folder);
        let home = tempfile::tempdir_in(beside).context(doing)?;
        let limits = &recipe.limits;
        let watched = vec![folder.to_path_buf(), home.path().to_path_buf()];
        let watch = DiskWatch::new(watched, limits.disk_bytes);
        let too_long = tokio::time::sleep(Duration::from_secs(limits.time_s));
        let stop = async {
            tokio::select! {
                biased;
                () = too_long => {
                    let time_s = limits.time_s;
                    Error::new(Kind::Case, format!("the check-out took longer than {time_s} s"))
                }
                limit_reached = watch.until_exceeded() => limit_error(limit_reached, limits),
            }
        };
        tokio::pin!(stop);
        let check_out = CheckOut { recipe, events, home: home.path() };
        let (repository, commit) = (repository.clone(), self.commit.clone());
        let mut trees = vec![Tree { repository, commit, folder: folder.to_path_buf() }];
        let mut left_out = files::LeftOut::default();
        while let Some(tree) = trees.pop() {
            let links = check_out.lay_out(&tree, &mut stop).await;
            let links = links.map_err(|error| checkout_error(error, doing))?;
            if !recipe.checkout.submodules {
                left_out.submodules.extend(links.into_iter().map(|(path, _)| path));
                continue;
            }
            let found = tokio::select! {
                biased;
                error = &mut stop => Err(error),
                found = check_out.submodules(&tree, links) => found,
            };
            trees.extend(found.map_err(|error| checkout_error(error, doing))?);
        }
        let (tree, mut left_out) = (folder.to_path_buf(), left_out);
        let settled = tokio::task::spawn_blocking(move || {
            files::settle(&tree, &mut left_out.pointers).map(|()| left_out)
        });
        let mut left_out = settled.await.context(doing)?.context(doing)?;
        if recipe.checkout.lfs {
            left_out.pointers.clear();
        }
        Ok(left_out.in_words())
    }
}

impl CheckOut<'_> {
    /// Writes the files of `tree`, from a repository that is made anew if it is broken. The answer is
    /// the tree's submodules: where, and at which commit.
    async fn lay_out(
        &self,
        tree: &Tree,
        stop: &mut (impl Future<Output = Error> + Unpin),
    ) -> Result<Vec<(PathBuf, CommitId)>> {
        tree.repository.complete(&tree.commit, self.events).await?;
        match self.write(tree, stop).await {
            Err(error)
                if error.kind == Kind::Infrastructure
                    && !is_of_machine(&error)
                    && tree.repository.mend(&tree.commit, self.events).await? =>
            {
                self.write(tree, stop).await
            }
            written => written,
        }
    }

    async fn write(
        &self,
        tree: &Tree,
        stop: &mut (impl Future<Output = Error> + Unpin),
    ) -> Result<Vec<(PathBuf, CommitId)>> {
        let limits = &self.recipe.limits;
        let mut listing = without_configuration(self.home);
        listing.arg("--git-dir").arg(&tree.repository.folder);
        listing.args(["ls-tree", "-r", "-t", "-l", "-z", tree.commit.hex()]);
        let longest = PATH_MAX.saturating_sub(tree.folder.as_os_str().len() + 2);
        let (mut links, mut is_empty) = (Vec::new(), true);
        let read = async |listing| {
            let mut listing = BufReader::new(listing);
            let (mut entry, mut sum) = (Vec::new(), 0_u64);
            while sum <= limits.disk_bytes {
                entry.clear();
                let mut next = (&mut listing).take(ENTRY_BYTES);
                let length = next.read_until(0, &mut entry).await;
                if length.context(|| "reading from git".into())? == 0 {
                    return Ok(());
                }
                let path = entry_path(&entry).filter(|path| path.as_os_str().len() <= longest);
                let Some(path) = path else { return Err(limit_error(DiskLimit::Depth, limits)) };
                is_empty = false;
                links.extend(entry_link(&entry).map(|commit| (path, commit)));
                sum = sum.saturating_add(entry_bytes(&entry));
            }
            Err(limit_error(DiskLimit::Folders, limits))
        };
        run_bounded(listing, stop, read).await?;
        // Of nothing git would say that it does not match.
        if is_empty {
            return Ok(links);
        }
        let mut git = self.writer(tree)?;
        git.arg("--git-dir").arg(&tree.repository.folder).arg("--work-tree").arg(&tree.folder);
        git.env("GIT_INDEX_FILE", self.home.join(format!("index-{}", tree.commit)));
        git.args(["checkout", "--quiet", "--force", tree.commit.hex(), "--", "."]);
        run_bounded(git, stop, async |_| Ok(())).await?;
        Ok(links)
    }

    /// The git that writes files: with the filter of Git LFS where the suite asks for it.
    fn writer(&self, tree: &Tree) -> Result<Command> {
        if !self.recipe.checkout.lfs {
            return Ok(without_configuration(self.home));
        }
        let Some(remote) = &tree.repository.remote else {
            let why = "the suite asks for `lfs`, and a bundle has no server of Git LFS";
            return Err(Error::new(Kind::Case, why));
        };
        let mut version = std::process::Command::new("git-lfs");
        version.arg("version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match version.status() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::host("the suite asks for `lfs`, and git-lfs is not installed")
                    .hint(
                        "install git-lfs (apt-get install git-lfs) and run the same command again",
                    ));
            }
            Err(error) => return Err(start_error(&error)),
            Ok(_) => {}
        }
        let mut git = git();
        for (name, value) in [
            ("filter.lfs.smudge", "git-lfs smudge -- %f"),
            ("filter.lfs.process", "git-lfs filter-process"),
            ("filter.lfs.required", "true"),
            ("remote.origin.url", &remote.url),
            ("core.fsmonitor", "false"),
        ] {
            git.arg("-c").arg(format!("{name}={value}"));
        }
        Ok(git)
    }

    /// The submodules of `tree` that stand at `links`, with their commits brought here. What does not
    /// come is the fault of the commit that names it.
    async fn submodules(&self, tree: &Tree, links: Vec<(PathBuf, CommitId)>) -> Result<Vec<Tree>> {
        let mut found = Vec::new();
        if links.is_empty() {
            return Ok(found);
        }
        let addresses = submodules::addresses(&tree.repository, &tree.commit).await;
        for (path, commit) in links {
            let bring = async {
                let remote = submodules::remote(&tree.repository, &addresses, &path).await?;
                let repository =
                    remote.with_commit(&commit, &files::name(&path), self.events).await?;
                let folder = tree.folder.join(&path);
                files::make_folder(&tree.folder, &path).context(|| "making its folder".into())?;
                Ok::<_, Error>(Tree { repository, commit: commit.clone(), folder })
            };
            found.push(bring.await.map_err(|error| match error.kind {
                Kind::Host | Kind::Interrupted => error,
                _ => Error::new(
                    Kind::Case,
                    format!("the submodule {}: {}", files::name(&path), error.message),
                ),
            })?);
        }
        Ok(found)
    }
}

fn limit_error(limit_reached: DiskLimit, limits: &Limits) -> Error {
    match limit_reached.reason("the check-out", limits.disk_bytes) {
        Some(reason) => Error::new(Kind::Case, reason),
        None => Error::infrastructure(DISK_FULL),
    }
}

/// Whether an error of git's speaks of this machine.
fn is_of_machine(error: &Error) -> bool {
    MACHINE_ERRORS.iter().any(|words| error.message.contains(words))
}

/// The error of a check-out: of this machine with what was being done; any other is the commit's.
fn checkout_error(error: Error, doing: impl Fn() -> String) -> Error {
    match error.kind {
        Kind::Infrastructure if is_of_machine(&error) => {
            Err::<(), _>(error).context(doing).unwrap_err()
        }
        Kind::Infrastructure => Error { kind: Kind::Case, ..error },
        _ => error,
    }
}

/// Bytes of a disk that an entry of `git ls-tree -l` will take: "MODE TYPE ID SIZE\tPATH".
fn entry_bytes(entry: &[u8]) -> u64 {
    let head = entry.split(|byte| *byte == b'\t').next().unwrap_or_default();
    let size = head.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    // Folders have none.
    let size = std::str::from_utf8(size).ok().and_then(|size| size.parse::<u64>().ok());
    size.unwrap_or(0).max(1).div_ceil(FILE_BYTES).saturating_mul(FILE_BYTES)
}

/// The path of an entry; `None` for one that was cut off.
fn entry_path(entry: &[u8]) -> Option<PathBuf> {
    let entry = entry.strip_suffix(&[0])?;
    let tab = entry.iter().position(|byte| *byte == b'\t')?;
    Some(PathBuf::from(OsStr::from_bytes(&entry[tab + 1..])))
}

/// The commit of an entry that is a submodule: "160000 commit ID -\tPATH".
fn entry_link(entry: &[u8]) -> Option<CommitId> {
    let mut words = entry.split(|byte| *byte == b' ');
    let is_link = words.next()? == b"160000" && words.next()? == b"commit";
    is_link.then(|| std::str::from_utf8(words.next()?).ok()?.parse().ok())?
}
