//! The binary `dyno`: glue. It turns signals into a clean end and errors into an exit code.

mod agent_command;
mod arguments;
mod asking;
mod bot_command;
mod cache_command;
mod commands;
#[cfg(test)]
mod docs_tests;
mod environment;
mod host_command;
mod host_key;
mod image_command;
mod options;
mod prompt;
mod queue_command;
mod show;
mod source_names;
mod store_command;
mod suite_command;
mod watch_command;

use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::{BISECT_SKIP, Cli};
use crate::show::report_error;
use dyno_base::error::{Error, Kind};
use dyno_engine::{CHILD, child};
use dyno_job::context::CleanupHandle;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    // Before any thread is started: a container's parent forks.
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    if arguments.first().is_some_and(|first| first == CHILD) {
        return ExitCode::from(child::main(&arguments[1..]));
    }
    let cli = Cli::of_process();
    if let Some(filter) = std::env::var_os("DYNO_LOG") {
        let filter = tracing_subscriber::EnvFilter::new(filter.to_string_lossy());
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::from(Kind::Host.exit_code());
        }
    };
    let is_bisecting = cli.is_bisecting();
    let code = runtime.block_on(run_command(cli));
    // A download in a blocking thread need not be waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ExitCode::from(if is_bisecting { bisected(code) } else { code })
}

/// The exit code for `git bisect run`, to which any code below 128 but 0 and 125 is a bad commit:
/// an error says nothing of the commit, and an interrupt ends the search.
fn bisected(code: u8) -> u8 {
    let is_answer = [0, 1, Kind::Interrupted.exit_code()].contains(&code);
    if is_answer { code } else { BISECT_SKIP }
}

async fn run_command(cli: Cli) -> u8 {
    let cleanup = CleanupHandle::default();
    let is_interactive = cli.is_interactive();
    let handles_signals = cli.handles_signals();
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be awaited");
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be awaited");
    let outcome = tokio::select! {
        outcome = commands::main(cli, cleanup.clone()) => outcome,
        _ = interrupt.recv(), if !is_interactive && !handles_signals => Err(interrupted()),
        _ = terminate.recv(), if !handles_signals => Err(interrupted()),
    };
    let Err(error) = outcome else { return outcome.unwrap_or_default() };
    // Whatever ended the work early, its containers end too; a second signal does not wait.
    if let Some(state) = cleanup.get() {
        tokio::select! {
            removed = state.clear() => {
                if let Err(error) = removed {
                    report_error(&error);
                }
            }
            _ = interrupt.recv() => {}
        }
    }
    report_error(&error);
    error.kind.exit_code()
}

/// Completes at a Ctrl-C or a termination signal.
async fn wait_for_signal() {
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be awaited");
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be awaited");
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "interrupted; nothing half-done was published")
        .hint("the same command goes on from what is cached and stored")
}
