//! The conversation on a terminal: line editing by rustyline, history in the user's state folder.
//!
//! While a line is edited the terminal is raw and Ctrl-C is a key; while a statement runs it is a
//! signal, which ends that statement. `main` therefore leaves Ctrl-C to this module.

use std::ops::ControlFlow;
use std::path::Path;

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};
use tokio::signal::unix::{SignalKind, signal};

use crate::prompt::SqlShell;
use crate::prompt::command::{is_command, split_last_line};
use crate::prompt::words::{Typed, Words, judge};
use crate::show::{eprint_line, report_error};
use dyno_base::error::{Error, Result, WithContext};

const PROMPT: &str = "dyno> ";

/// What stands before a line of a statement that is not ended, in the width of [`PROMPT`].
const PROMPT_INSIDE: &str = " ...> ";

/// Lines that the history keeps.
const HISTORY_MAX: usize = 10_000;

/// Talks until it is left by `\q` or Ctrl-D. `history` is the file that keeps what was typed.
pub async fn run_prompt(shell: &mut SqlShell, history: &Path) -> Result<()> {
    shell.is_interactive = true;
    let _restore_modes = TerminalModes::current();
    let doing = || "opening the prompt".into();
    let config = Config::builder().completion_type(CompletionType::List).history_ignore_space(true);
    let config = config.max_history_size(HISTORY_MAX).context(doing)?.build();
    let mut editor: Editor<Words, DefaultHistory> = Editor::with_config(config).context(doing)?;
    editor.set_helper(Some(Words { names: shell.session.names().await, before: String::new() }));
    let mut saves_history = load_history(&mut editor, history);
    eprint_line("SQL ends with `;`, `\\d` lists the tables, `\\?` helps, Ctrl-D leaves");
    // The lines since the last statement, each with its end.
    let mut before = String::new();
    loop {
        if let Some(words) = editor.helper_mut() {
            words.before.clone_from(&before);
        }
        let prompt = if before.is_empty() { PROMPT } else { PROMPT_INSIDE };
        // On a thread of its own, since it waits for keys.
        let reading = move || {
            let line = editor.readline(prompt);
            (editor, line)
        };
        let read = tokio::task::spawn_blocking(reading).await;
        let (returned_editor, line) = read.context(|| "reading a line".into())?;
        editor = returned_editor;
        let typed = match line {
            Ok(line) => format!("{before}{line}"),
            Err(ReadlineError::Interrupted) => {
                before.clear();
                continue;
            }
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error).context(|| "reading a line".into()),
        };
        match judge(&typed) {
            Typed::Begun => {
                before = typed + "\n";
                continue;
            }
            Typed::BegunWithWord => {
                eprint_line("the statement is not ended: end it with `;`, or leave it by Ctrl-C");
                continue;
            }
            Typed::Whole => before.clear(),
        }
        if saves_history && !typed.trim().is_empty() {
            saves_history = save_history(&mut editor, typed.trim_end(), history);
        }
        if answer_line(shell, &typed).await.is_break() {
            return Ok(());
        }
    }
}

/// Answers what was typed; errors are shown, and what follows one on the same line is left.
async fn answer_line(shell: &mut SqlShell, line: &str) -> ControlFlow<()> {
    let outcome = async {
        let (before, last) = split_last_line(line);
        if is_command(last) {
            if !before.trim().is_empty() {
                eprint_line("the statement before was not ended by `;`, and is left out");
            }
            return shell.command(last.trim()).await;
        }
        for statement in dyno_query::split_statements(line).complete {
            shell.statement(statement).await?;
        }
        Ok(ControlFlow::Continue(()))
    };
    let mut interrupt = match signal(SignalKind::interrupt()) {
        Ok(interrupt) => interrupt,
        Err(error) => {
            report_error(&Error::from_io(error, "waiting for Ctrl-C".into()));
            return ControlFlow::Break(());
        }
    };
    let outcome = tokio::select! {
        outcome = outcome => Some(outcome),
        _ = interrupt.recv() => None,
    };
    match outcome {
        Some(Ok(flow)) => return flow,
        Some(Err(error)) => report_error(&error),
        None => {
            eprint_line("\ninterrupted");
            if let Err(error) = shell.abandon() {
                report_error(&error);
                return ControlFlow::Break(());
            }
        }
    }
    ControlFlow::Continue(())
}

/// Whether the history can be kept; says so where it cannot.
fn load_history(editor: &mut Editor<Words, DefaultHistory>, history: &Path) -> bool {
    let folder = history.parent().map_or(Ok(()), std::fs::create_dir_all);
    let loaded = folder.map_err(ReadlineError::from).and_then(|()| editor.load_history(history));
    match loaded {
        Err(ReadlineError::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => true,
        loaded => report_history(loaded, history),
    }
}

/// Adds to the history, and to its file at once: other prompts add to it too.
fn save_history(editor: &mut Editor<Words, DefaultHistory>, line: &str, history: &Path) -> bool {
    let added = editor.add_history_entry(line);
    report_history(added.and_then(|_| editor.append_history(history)), history)
}

fn report_history(outcome: rustyline::Result<()>, history: &Path) -> bool {
    if let Err(error) = &outcome {
        eprint_line(format_args!("note: no history is kept: {}: {error}", history.display()));
    }
    outcome.is_ok()
}

/// The terminal's modes, put back when this goes: a termination signal may come while a line is
/// edited.
struct TerminalModes(Option<libc::termios>);

impl TerminalModes {
    fn current() -> Self {
        // SAFETY: fills a live struct.
        unsafe {
            let mut modes: libc::termios = std::mem::zeroed();
            Self((libc::tcgetattr(0, &mut modes) == 0).then_some(modes))
        }
    }
}

impl Drop for TerminalModes {
    fn drop(&mut self) {
        if let Some(modes) = &self.0 {
            // SAFETY: the modes were read from this terminal.
            unsafe { libc::tcsetattr(0, libc::TCSADRAIN, modes) };
        }
    }
}
