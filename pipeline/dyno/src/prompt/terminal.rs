//! The conversation on a terminal: line editing by rustyline, history in the user's state folder.
//!
//! While a line is edited the terminal is raw and Ctrl-C is a key; while a statement runs it is a
//! signal, which ends that statement. `main` therefore leaves Ctrl-C to this module.

use std::path::Path;

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};
use tokio::signal::unix::{SignalKind, signal};

use crate::prompt::words::Words;
use crate::prompt::{Asker, Then};
use crate::show::{say, tell};
use dyno_base::error::{Error, Result, While};

const PROMPT: &str = "dyno> ";

/// Lines that the history keeps.
const HISTORY_MAX: usize = 10_000;

/// Talks until it is left by `\q` or Ctrl-D. `history` is the file that keeps what was typed.
pub async fn converse(asker: &mut Asker, history: &Path) -> Result<()> {
    asker.conversation = true;
    let _as_it_was = Modes::now();
    let doing = || "opening the prompt".into();
    let config = Config::builder().completion_type(CompletionType::List).history_ignore_space(true);
    let config = config.max_history_size(HISTORY_MAX).while_(doing)?.build();
    let mut editor: Editor<Words, DefaultHistory> = Editor::with_config(config).while_(doing)?;
    editor.set_helper(Some(Words { names: asker.session.names().await }));
    let mut kept = load(&mut editor, history);
    say("SQL ends with `;`, `\\d` lists the tables, `\\?` helps, Ctrl-D leaves");
    loop {
        // On a thread of its own, since it waits for keys.
        let reading = move || {
            let line = editor.readline(PROMPT);
            (editor, line)
        };
        let read = tokio::task::spawn_blocking(reading).await;
        let (back, line) = read.while_(|| "reading a line".into())?;
        editor = back;
        let line = match line {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error).while_(|| "reading a line".into()),
        };
        if kept && !line.trim().is_empty() {
            kept = keep(&mut editor, line.trim_end(), history);
        }
        if answered(asker, &line).await == Then::Leave {
            return Ok(());
        }
    }
}

/// Answers what was typed; errors are shown, and what follows one on the same line is left.
async fn answered(asker: &mut Asker, line: &str) -> Then {
    let done = async {
        if line.trim_start().starts_with('\\') {
            return asker.command(line.trim()).await;
        }
        for statement in dyno_query::split_statements(line).complete {
            asker.statement(statement).await?;
        }
        Ok(Then::Next)
    };
    let mut interrupt = match signal(SignalKind::interrupt()) {
        Ok(interrupt) => interrupt,
        Err(error) => {
            tell(&Error::from_io(error, "waiting for Ctrl-C".into()));
            return Then::Leave;
        }
    };
    let done = tokio::select! {
        done = done => Some(done),
        _ = interrupt.recv() => None,
    };
    match done {
        Some(Ok(then)) => return then,
        Some(Err(error)) => tell(&error),
        None => {
            say("\ninterrupted");
            if let Err(error) = asker.abandon() {
                tell(&error);
                return Then::Leave;
            }
        }
    }
    Then::Next
}

/// Whether the history can be kept; says so where it cannot.
fn load(editor: &mut Editor<Words, DefaultHistory>, history: &Path) -> bool {
    let folder = history.parent().map_or(Ok(()), std::fs::create_dir_all);
    let loaded = folder.map_err(ReadlineError::from).and_then(|()| editor.load_history(history));
    match loaded {
        Err(ReadlineError::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => true,
        loaded => told(loaded, history),
    }
}

/// Adds to the history, and to its file at once: other prompts add to it too.
fn keep(editor: &mut Editor<Words, DefaultHistory>, line: &str, history: &Path) -> bool {
    let added = editor.add_history_entry(line);
    told(added.and_then(|_| editor.append_history(history)), history)
}

fn told(done: rustyline::Result<()>, history: &Path) -> bool {
    if let Err(error) = &done {
        say(format_args!("note: no history is kept: {}: {error}", history.display()));
    }
    done.is_ok()
}

/// The terminal's modes, put back when this goes: a termination signal may come while a line is
/// edited.
struct Modes(Option<libc::termios>);

impl Modes {
    fn now() -> Self {
        // SAFETY: fills a live struct.
        unsafe {
            let mut modes: libc::termios = std::mem::zeroed();
            Self((libc::tcgetattr(0, &mut modes) == 0).then_some(modes))
        }
    }
}

impl Drop for Modes {
    fn drop(&mut self) {
        if let Some(modes) = &self.0 {
            // SAFETY: the modes were read from this terminal.
            unsafe { libc::tcsetattr(0, libc::TCSADRAIN, modes) };
        }
    }
}
