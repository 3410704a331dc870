//! Git as dyno starts it.

use std::path::Path;
use std::process::{Output, Stdio};

use dyno_base::error::{Error, Result, WithContext};
use tokio::io::AsyncReadExt;
use tokio::process::{ChildStdout, Command};

use super::environment;

/// Bytes that are kept of what git complains of.
const STDERR_BYTES: u64 = 64 << 10;

/// A git that asks nothing, runs no hooks and speaks no transport that runs commands.
pub(super) fn git() -> Command {
    let mut git = Command::new("git");
    git.args(["-c", "protocol.ext.allow=never", "-c", "protocol.file.allow=always"]);
    git.args(["-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*", "-c", "gc.auto=0"]);
    environment::set(&mut git);
    git.stdin(Stdio::null()).kill_on_drop(true);
    git
}

/// Runs `git` to its end; an error is what it complained of.
pub(super) async fn run_git(mut git: Command) -> Result<Output> {
    let output = git.output().await.map_err(|error| start_error(&error))?;
    if output.status.success() { Ok(output) } else { Err(git_error(&output.stderr)) }
}

/// Whether this machine has git; an error says how to get it.
pub async fn check_git() -> Result<()> {
    let mut git = git();
    git.arg("--version");
    run_git(git).await.map(drop)
}

/// The error of a git that could not be started.
pub(super) fn start_error(error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::host("git is not installed")
            .hint("install git (apt-get install git) and run the same command again"),
        _ => Error::infrastructure(format!("starting git: {error}")),
    }
}

/// The error of a git that failed, by what it wrote to standard error.
pub(super) fn git_error(stderr: &[u8]) -> Error {
    let stderr_text = String::from_utf8_lossy(stderr);
    let lines = || stderr_text.lines().map(str::trim).filter(|line| !line.is_empty());
    // What is wrong stands in the line of git's own that is marked so; advice surrounds it.
    // (The last of these marks is that of Git LFS.)
    let marks = ["fatal:", "error:", "Error "];
    let marked = lines().find(|line| marks.iter().any(|mark| line.starts_with(mark)));
    let stderr_text =
        marked.or_else(|| lines().next_back()).unwrap_or("it said nothing").to_string();
    Error::infrastructure(format!("git: {stderr_text}"))
}

/// A git that knows its command line and the repository's own configuration, which is dyno's, and
/// no other (git-config(1), ENVIRONMENT; an older git looks into its home all the same).
pub(super) fn without_configuration(home: &Path) -> Command {
    let mut git = git();
    git.env("HOME", home).env("XDG_CONFIG_HOME", home).env("GIT_CONFIG_COUNT", "0");
    git.args(["-c", "core.fsmonitor=false"]);
    git
}

/// Runs `git` and gives its output to `read`, until either or `stop` has an error: then git is
/// ended, and has ended when this comes back.
pub(super) async fn run_bounded(
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
