//! The binary `dyno`: glue. It turns signals into a clean end and errors into an exit code.

mod arguments;
mod commands;
mod environment;
mod host_command;
mod prompt;
mod show;

use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::Cli;
use crate::show::tell;
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
    let code = runtime.block_on(work(cli));
    // A download in a blocking thread need not be waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ExitCode::from(code)
}

async fn work(cli: Cli) -> u8 {
    let cleanup = CleanupHandle::default();
    let conversation = cli.is_interactive();
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be awaited");
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be awaited");
    let done = tokio::select! {
        done = commands::main(cli, cleanup.clone()) => done,
        _ = interrupt.recv(), if !conversation => Err(interrupted()),
        _ = terminate.recv() => Err(interrupted()),
    };
    let Err(error) = done else { return done.unwrap_or_default() };
    // Whatever ended the work early, its containers end too; a second signal does not wait.
    if let Some(traces) = cleanup.get() {
        tokio::select! {
            cleaned = traces.clear() => {
                if let Err(error) = cleaned {
                    tell(&error);
                }
            }
            _ = interrupt.recv() => {}
        }
    }
    tell(&error);
    error.kind.exit_code()
}

fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "interrupted; nothing half-done was published")
        .hint("the same command goes on from what is cached and stored")
}
