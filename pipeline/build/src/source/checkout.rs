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

use super::{Origin, Resolved, git, git_error, start_error};
use dyno_base::disk::{DiskLimit, DiskWatch, FILE_BYTES};
use dyno_base::error::{DISK_FULL, Error, Kind, Result, WithContext};

/// Bytes of a longest entry: a path longer than the system takes (`PATH_MAX`), with what stands
/// before it in a listing.
const ENTRY_BYTES: u64 = 4096 + 128;

/// Bytes that are kept of what git complains of.
const STDERR_BYTES: u64 = 64 << 10;

/// Git's words for errors of which a commit, not this machine, is the reason of.
const COMMIT_ERRORS: [&str; 3] =
    ["File name too long", "invalid path", "exceeded maximum allowed tree depth"];

impl Resolved {
    /// Writes the commit's tree into `folder`, which must be empty or absent. An error of the kind
    /// [`Kind::Case`] is the commit's own: more than `limits` allow, or not to be written anywhere.
    pub async fn check_out(&self, folder: &Path, limits: &Limits) -> Result<()> {
        let doing = || format!("checking out {} into {}", self.commit, folder.display());
        let Origin::Repository(repository) = &self.origin else {
            return Err(Error::input(format!("{} is no commit", self.asked)));
        };
        fs::create_dir_all(folder).context(doing)?;
        // An index of its own, so that several check-outs of one repository do not meet; and a
        // home without any configuration.
        let beside = folder.parent().unwrap_or(folder);
        let home = tempfile::tempdir_in(beside).context(doing)?;
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
        let mut listing = without_configuration(home.path());
        listing.arg("--git-dir").arg(repository);
        listing.args(["ls-tree", "-r", "-t", "-l", "-z", self.commit.hex()]);
        let listed = run_bounded(listing, &mut stop, async |listing| {
            let mut listing = BufReader::new(listing);
            let (mut entry, mut sum) = (Vec::new(), 0_u64);
            while sum <= limits.disk_bytes {
                entry.clear();
                let mut next = (&mut listing).take(ENTRY_BYTES);
                match next.read_until(0, &mut entry).await.context(doing)? {
                    0 => return Ok(()),
                    _ if entry.last() != Some(&0) => {
                        return Err(limit_error(DiskLimit::Depth, limits));
                    }
                    _ => sum = sum.saturating_add(entry_bytes(&entry)),
                }
            }
            Err(limit_error(DiskLimit::Folders, limits))
        });
        listed.await.map_err(|error| checkout_error(error, doing))?;
        let mut git = without_configuration(home.path());
        git.arg("--git-dir").arg(repository).arg("--work-tree").arg(folder);
        git.env("GIT_INDEX_FILE", home.path().join("index"));
        git.args(["checkout", "--quiet", "--force", self.commit.hex(), "--", "."]);
        let written = run_bounded(git, &mut stop, async |_| Ok(())).await;
        written.map_err(|error| checkout_error(error, doing))
    }
}

/// A git that knows its command line and the repository's own configuration, which is dyno's, and
/// no other (git-config(1), ENVIRONMENT; an older git looks into its home all the same).
pub(super) fn without_configuration(home: &Path) -> Command {
    let mut git = git();
    git.env("HOME", home).env("XDG_CONFIG_HOME", home).env("GIT_CONFIG_COUNT", "0");
    git.args(["-c", "core.fsmonitor=false"]);
    git
}

fn limit_error(limit_reached: DiskLimit, limits: &Limits) -> Error {
    match limit_reached.reason("the check-out", limits.disk_bytes) {
        Some(reason) => Error::new(Kind::Case, reason),
        None => Error::infrastructure(DISK_FULL),
    }
}

/// The error of a check-out: the commit's own as it is, one of this machine with what was being
/// done.
fn checkout_error(error: Error, doing: impl Fn() -> String) -> Error {
    if error.kind == Kind::Infrastructure && COMMIT_ERRORS.iter().any(|w| error.message.contains(w))
    {
        return Error::new(Kind::Case, error.message);
    }
    if error.kind == Kind::Case {
        return error;
    }
    Err::<(), _>(error).context(doing).unwrap_err()
}

/// Bytes of a disk that an entry of `git ls-tree -l` will take: "MODE TYPE ID SIZE\tPATH".
fn entry_bytes(entry: &[u8]) -> u64 {
    let head = entry.split(|byte| *byte == b'\t').next().unwrap_or_default();
    let size = head.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    // Folders have none.
    let size = std::str::from_utf8(size).ok().and_then(|size| size.parse::<u64>().ok());
    size.unwrap_or(0).max(1).div_ceil(FILE_BYTES).saturating_mul(FILE_BYTES)
}

/// Runs `git` and gives its output to `read`, until either or `stop` has an error: then git is
/// ended, and has ended when this comes back.
async fn run_bounded(
    mut git: Command,
    stop: &mut (impl Future<Output = Error> + Unpin),
    read: impl AsyncFnOnce(ChildStdout) -> Result<()>,
) -> Result<()> {
    let mut child =
        git.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| start_error(&e))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = (stdout.expect("is a pipe"), stderr.expect("is a pipe"));
    let mut stderr_text = Vec::new();
    let read_stderr = async {
        let mut stderr = stderr;
        (&mut stderr)
            .take(STDERR_BYTES)
            .read_to_end(&mut stderr_text)
            .await
            .context(|| "git".into())?;
        tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await.context(|| "git".into())?;
        Ok(())
    };
    let outcome = tokio::select! {
        biased;
        error = stop => Err(error),
        outcome = async { futures::try_join!(read(stdout), read_stderr) } => outcome.map(|_| ()),
    };
    if outcome.is_err() {
        // It may have ended by itself; it is waited for either way.
        let _ = child.kill().await;
        return outcome;
    }
    let status = child.wait().await.context(|| "waiting for git".into())?;
    if status.success() { Ok(()) } else { Err(git_error(&stderr_text)) }
}
