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
//! `.gitattributes`, and which program a name stands for would be this machine's to say.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use dyno_model::catalog::suite::Limits;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{ChildStdout, Command};

use super::{Origin, Resolved, git, no_git, what_git_said};
use dyno_base::disk::{FILE_BYTES, TooMuch, Watch};
use dyno_base::error::{DISK_FULL, Error, Kind, Result, While};

/// How a path can be longer than the system takes (`PATH_MAX`), with what stands before it in a
/// listing.
const ENTRY_BYTES: u64 = 4096 + 128;

/// What is kept of what git complains of.
const SAID_BYTES: u64 = 64 << 10;

/// Git's words for what a commit, not this machine, is the reason of.
const OF_THE_COMMIT: [&str; 3] =
    ["File name too long", "invalid path", "exceeded maximum allowed tree depth"];

impl Resolved {
    /// Writes the commit's tree into `folder`, which must be empty or absent. An error of the kind
    /// [`Kind::Case`] is the commit's own: more than `limits` allow, or not to be written anywhere.
    pub async fn check_out(&self, folder: &Path, limits: &Limits) -> Result<()> {
        let doing = || format!("checking out {} into {}", self.commit, folder.display());
        let Origin::Repository(repository) = &self.origin else {
            return Err(Error::input(format!("{} is no commit", self.asked)));
        };
        fs::create_dir_all(folder).while_(doing)?;
        // An index of its own, so that several check-outs of one repository do not meet; and a
        // home without any configuration.
        let beside = folder.parent().unwrap_or(folder);
        let own = tempfile::tempdir_in(beside).while_(doing)?;
        let watched = vec![folder.to_path_buf(), own.path().to_path_buf()];
        let watch = Watch::new(watched, limits.disk_bytes);
        let too_long = tokio::time::sleep(Duration::from_secs(limits.time_s));
        let stop = async {
            tokio::select! {
                biased;
                () = too_long => {
                    let time_s = limits.time_s;
                    Error::new(Kind::Case, format!("the check-out took longer than {time_s} s"))
                }
                too_much = watch.until_too_much() => refused(too_much, limits),
            }
        };
        tokio::pin!(stop);
        let mut list = without_configuration(own.path());
        list.arg("--git-dir").arg(repository);
        list.args(["ls-tree", "-r", "-t", "-l", "-z", self.commit.hex()]);
        let listed = bounded(list, &mut stop, async |listing| {
            let mut listing = BufReader::new(listing);
            let (mut entry, mut sum) = (Vec::new(), 0_u64);
            while sum <= limits.disk_bytes {
                entry.clear();
                let mut next = (&mut listing).take(ENTRY_BYTES);
                match next.read_until(0, &mut entry).await.while_(doing)? {
                    0 => return Ok(()),
                    _ if entry.last() != Some(&0) => return Err(refused(TooMuch::Depth, limits)),
                    _ => sum = sum.saturating_add(taken(&entry)),
                }
            }
            Err(refused(TooMuch::Folders, limits))
        });
        listed.await.map_err(|error| told(error, doing))?;
        let mut git = without_configuration(own.path());
        git.arg("--git-dir").arg(repository).arg("--work-tree").arg(folder);
        git.env("GIT_INDEX_FILE", own.path().join("index"));
        git.args(["checkout", "--quiet", "--force", self.commit.hex(), "--", "."]);
        let written = bounded(git, &mut stop, async |_| Ok(())).await;
        written.map_err(|error| told(error, doing))
    }
}

/// A git that knows its command line and the repository's own configuration, which is dyno's, and
/// no other (git-config(1), ENVIRONMENT; an older git looks into its home all the same).
pub(super) fn without_configuration(home: &Path) -> Command {
    let mut git = git();
    git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    git.env("GIT_ATTR_NOSYSTEM", "1").env("HOME", home).env("XDG_CONFIG_HOME", home);
    git.env_remove("GIT_CONFIG_PARAMETERS").env_remove("GIT_CONFIG_COUNT");
    git.args(["-c", "core.fsmonitor=false"]);
    git
}

fn refused(too_much: TooMuch, limits: &Limits) -> Error {
    match too_much.reason("the check-out", limits.disk_bytes) {
        Some(reason) => Error::new(Kind::Case, reason),
        None => Error::infrastructure(DISK_FULL),
    }
}

/// What is wrong with a commit is told as it is; what is wrong here, with what was being done.
fn told(error: Error, doing: impl Fn() -> String) -> Error {
    if error.kind == Kind::Infrastructure && OF_THE_COMMIT.iter().any(|w| error.message.contains(w))
    {
        return Error::new(Kind::Case, error.message);
    }
    if error.kind == Kind::Case {
        return error;
    }
    Err::<(), _>(error).while_(doing).unwrap_err()
}

/// What an entry of `git ls-tree -l` will take of a disk, in bytes: "MODE TYPE ID SIZE\tPATH".
fn taken(entry: &[u8]) -> u64 {
    let head = entry.split(|byte| *byte == b'\t').next().unwrap_or_default();
    let size = head.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    // Folders have none.
    let size = std::str::from_utf8(size).ok().and_then(|size| size.parse::<u64>().ok());
    size.unwrap_or(0).max(1).div_ceil(FILE_BYTES).saturating_mul(FILE_BYTES)
}

/// Runs `git` and gives its output to `read`, until either or `stop` has an error: then git is
/// ended, and has ended when this comes back.
async fn bounded(
    mut git: Command,
    stop: &mut (impl Future<Output = Error> + Unpin),
    read: impl AsyncFnOnce(ChildStdout) -> Result<()>,
) -> Result<()> {
    let mut child =
        git.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| no_git(&e))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = (stdout.expect("is a pipe"), stderr.expect("is a pipe"));
    let mut said = Vec::new();
    let listen = async {
        let mut stderr = stderr;
        (&mut stderr).take(SAID_BYTES).read_to_end(&mut said).await.while_(|| "git".into())?;
        tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await.while_(|| "git".into())?;
        Ok(())
    };
    let done = tokio::select! {
        biased;
        error = stop => Err(error),
        done = async { futures::try_join!(read(stdout), listen) } => done.map(|_| ()),
    };
    if done.is_err() {
        // It may have ended by itself; it is waited for either way.
        let _ = child.kill().await;
        return done;
    }
    let status = child.wait().await.while_(|| "waiting for git".into())?;
    if status.success() { Ok(()) } else { Err(what_git_said(&said)) }
}
