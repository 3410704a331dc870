//! The binary `dyno`: glue. It turns signals into a clean end and errors into an exit code.

mod arguments;
mod commands;
mod environment;
mod host_command;
mod prompt;
mod show;
mod suite_command;

use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::Cli;
use crate::show::report_error;
use clap::Parser;
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
    let cli = Cli::parse();
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
    let code = runtime.block_on(run_command(cli));
    // A download in a blocking thread need not be waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ExitCode::from(code)
}

async fn run_command(cli: Cli) -> u8 {
    let cleanup = CleanupHandle::default();
    let is_interactive = cli.is_interactive();
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be awaited");
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be awaited");
    let outcome = tokio::select! {
        outcome = commands::main(cli, cleanup.clone()) => outcome,
        _ = interrupt.recv(), if !is_interactive => Err(interrupted()),
        _ = terminate.recv() => Err(interrupted()),
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

fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "interrupted; nothing half-done was published")
        .hint("the same command goes on from what is cached and stored")
}
