//! The one program that runs inside the container: it starts each process that is built or
//! measured, as another user than itself, and says what came of it.
//!
//! It reads requests and writes replies, one JSON object a line (see the library). When its
//! input ends it ends, and as process 1 of the container everything in it ends with it: that is
//! how a dyno that was killed leaves nothing behind.

mod leftover;
mod process;
mod sandbox;

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

use dyno_probe::{LINE_MAX, Reply, Request};

fn main() -> ExitCode {
    if let Err(error) = sandbox::confine() {
        eprintln!("probe: {error}");
        return ExitCode::FAILURE;
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        input.by_ref().take(LINE_MAX as u64).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        match serde_json::from_slice(&line) {
            Ok(Request::Inspect { uid, gid }) => {
                reply(&Reply::Sandbox(sandbox::inspect(process::as_program(uid, gid))))?;
            }
            Ok(Request::Run(run)) => {
                let exit = process::run(&run, &mut |text| {
                    // If nobody reads any more, the next poll sees the hang-up and ends us.
                    let _ = reply(&Reply::Line(text.to_string()));
                });
                reply(&Reply::Exit(exit))?;
            }
            Err(error) => reply(&Reply::Refused(error.to_string()))?,
        }
    }
}

fn reply(reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}
