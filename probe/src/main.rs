//! The one program that runs inside the container: it starts each process that is built or
//! measured, as another user than itself, and says what came of it.
//!
//! By the environment it is told to be something else: the wrapper of a build's compilers
//! ([`wrapper`]), which runs as the build's user.
//!
//! It reads requests and writes replies, one JSON object a line (see the library). When its
//! input ends it ends, and as process 1 of the container everything in it ends with it: that is
//! how a dyno that was killed leaves nothing behind.

mod counters;
mod counts;
mod cpu_time;
mod leftover;
mod output;
mod process;
mod random;
mod repeat;
mod sandbox;
mod sizes;
mod streams;
mod sys;
mod wrapper;
mod written;

use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use dyno_probe::{LINE_MAX, Reply, Request, Settings};

use counters::Counters;
use streams::Outputs;

fn main() -> ExitCode {
    if let Some(file) = std::env::var_os(dyno_probe::UNITS) {
        return wrapper::main(Path::new(&file));
    }
    let begun = settings().and_then(|settings| {
        // What the filter will not allow to anybody comes first.
        if settings.fixed_layout {
            sandbox::fix_layout()?;
        }
        let counters = Counters::open(&settings.counters);
        sandbox::confine().map(|()| counters)
    });
    let served = begun.and_then(|counters| serve(counters).map_err(|error| error.to_string()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The first argument; without one, the settings are the default ones.
fn settings() -> Result<Settings, String> {
    let Some(text) = std::env::args().nth(1) else { return Ok(Settings::default()) };
    serde_json::from_str(&text).map_err(|error| format!("{text}: {error}"))
}

fn serve(mut counters: Counters) -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    let mut outputs = Outputs::default();
    if leftover::is_init() {
        written::reset_devices();
    }
    loop {
        line.clear();
        input.by_ref().take(LINE_MAX as u64).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        match serde_json::from_slice(&line) {
            Ok(Request::Inspect { uid, gid }) => {
                let program = process::inspect_program(uid, gid);
                reply(&Reply::Sandbox(sandbox::inspect(program, &counters)))?;
            }
            Ok(Request::Output { stream, offset }) => {
                reply(&Reply::Output(outputs.part(stream, offset)))?;
            }
            Ok(Request::Spawn(spawn)) => {
                // They take memory, which the next needs.
                outputs = Outputs::default();
                // What was counted before is none of its.
                let mut begin = || drop(counters.counted(0));
                let mut exit = process::run(&spawn, &mut outputs, &mut begin, &mut |text| {
                    // If nobody reads any more, the next poll sees the hang-up and ends us.
                    let _ = reply(&Reply::Line(text.to_string()));
                });
                for unit in exit.units.drain(..) {
                    reply(&Reply::Unit(Box::new(unit)))?;
                }
                exit.counters = counters.counted(exit.user_ns + exit.system_ns);
                reply(&Reply::Exit(exit))?;
            }
            Err(error) => reply(&Reply::Refused(error.to_string()))?,
        }
    }
}

fn reply(reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}
