//! `dyno sql`: one query, statements from standard input, or a prompt.
//!
//! All three are an [`SqlShell`]: a session over the store and how its answers are shown. A line
//! that begins with a backslash is a [`Command`] to it; everything else is SQL, which
//! `dyno_query::split_statements` takes apart. What differs is who feeds it, and what an error
//! means: at the prompt it is shown and the next line comes, elsewhere it is the end.

mod command;
mod terminal;
mod words;

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum;
use dyno_query::{CatalogEntry, RecordBatch, SQL_CATALOG, Session, THREAD_STACK_BYTES};
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinSet;

use crate::prompt::command::Command;
use crate::show::{eprint_line, terminal_width, write_stdout};
use dyno_answer::error::query_error;
use dyno_base::error::{Error, Result, WithContext};
use dyno_base::event::Events;

pub use terminal::run_prompt;

/// The longest statement that is read from standard input.
const STATEMENT_BYTES_MAX: usize = 1 << 20;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Csv,
    Json,
    Parquet,
}

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Parquet => "parquet",
        }
    }
}

/// Whether to open a prompt: somebody types, and sees what is said.
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Threads for queries alone. A join may compute for long without a pause; on the threads of the
/// rest of dyno no signal would be seen meanwhile.
struct Workers(Option<Runtime>);

impl Workers {
    fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_stack_size(THREAD_STACK_BYTES)
            .build();
        let runtime = runtime.context(|| "starting threads for queries".into())?;
        Ok(Self(Some(runtime)))
    }

    fn handle(&self) -> &Handle {
        self.0.as_ref().expect("there until dropped").handle()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Without waiting: a query that was abandoned may be in the middle of something.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A session, and how its answers are shown.
pub struct SqlShell {
    session: Arc<Session>,
    workers: Workers,
    format: Format,
    expanded: bool,
    timing: bool,
    /// Where the next answer goes instead of to standard output, and how.
    once: Option<(Format, PathBuf)>,
    /// Whether somebody reads along.
    is_interactive: bool,
    /// Answers given on standard output.
    answers: usize,
    /// Number of problems with files that were shown.
    problems_shown: usize,
    events: Events,
}

impl SqlShell {
    /// # Errors
    /// Parquet that would go to a terminal.
    pub fn new(session: Session, format: Format, events: &Events) -> Result<Self> {
        if format == Format::Parquet && std::io::stdout().is_terminal() {
            let refused = Error::input("parquet is not for a terminal");
            return Err(
                refused.hint("send it to a file: dyno sql --output parquet … > answer.parquet")
            );
        }
        Ok(Self {
            session: Arc::new(session),
            workers: Workers::start()?,
            format,
            expanded: false,
            timing: false,
            once: None,
            is_interactive: false,
            answers: 0,
            problems_shown: 0,
            events: events.clone(),
        })
    }

    /// Answers `query`: one statement, or one command.
    pub async fn run_query(&mut self, query: &str) -> Result<()> {
        if query.trim_start().starts_with('\\') {
            return self.command(query.trim()).await.map(drop);
        }
        self.statement(query).await
    }

    /// Answers what standard input has until its end or the first error.
    pub async fn run_standard_input(&mut self) -> Result<()> {
        let mut lines = read_stdin_lines();
        let (mut text, mut number) = (String::new(), 0);
        while let Some(line) = lines.recv().await {
            number += 1;
            let position = || format!("standard input, line {number}");
            let line = line.context(position)?;
            if text.is_empty() && line.starts_with('\\') {
                if self.command(line.trim()).await.context(position)?.is_break() {
                    return Ok(());
                }
                continue;
            }
            text.push_str(&line);
            let ends = line.contains(';');
            if text.len() > STATEMENT_BYTES_MAX {
                let limit =
                    Error::input(format!("a statement of more than {STATEMENT_BYTES_MAX} bytes"));
                return Err::<(), _>(limit).context(position);
            }
            if ends {
                let split = dyno_query::split_statements(&text);
                for statement in &split.complete {
                    self.statement(statement).await.context(position)?;
                }
                text = match split.rest {
                    "" => String::new(),
                    rest => format!("{rest}\n"),
                };
            }
        }
        match dyno_query::split_statements(&text).rest {
            "" => Ok(()),
            rest => self.statement(rest).await.context(|| format!("standard input, line {number}")),
        }
    }

    /// Answers one statement.
    async fn statement(&mut self, sql: &str) -> Result<()> {
        let started = Instant::now();
        for note in dyno_query::spelling_notes(sql) {
            self.events.notice(note);
        }
        let queried = self.query(sql).await;
        let problems = self.session.problems();
        for problem in problems.iter().skip(self.problems_shown) {
            self.events.notice(problem.to_string());
        }
        self.problems_shown = problems.len().max(self.problems_shown);
        let batches = queried?;
        let once = self.once.take();
        let format = once.as_ref().map_or(self.format, |(format, _)| *format);
        if once.is_none() && format == Format::Parquet && self.answers > 0 {
            let refused = Error::input("a Parquet file holds one answer");
            return Err(refused.hint("one statement each, or `\\o parquet FILE` before each"));
        }
        let width = terminal_width().filter(|_| once.is_none() && std::io::stdout().is_terminal());
        let mut bytes = Vec::new();
        match format {
            Format::Table if width.is_some_and(|width| self.is_wider(&batches, width)) => {
                dyno_query::write_expanded(&mut bytes, &batches).map(|()| {
                    let text = String::from_utf8_lossy(&bytes);
                    bytes = cut_lines(&text, CELL_LINES * width.unwrap_or_default()).into_bytes();
                })
            }
            Format::Table if self.expanded => dyno_query::write_expanded(&mut bytes, &batches),
            Format::Table => dyno_query::write_table(&mut bytes, &batches),
            Format::Csv => dyno_query::write_csv(&mut bytes, &batches),
            Format::Json => dyno_query::write_json(&mut bytes, &batches),
            Format::Parquet => dyno_query::write_parquet(&mut bytes, &batches),
        }
        .map_err(query_error)?;
        let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        let rows = if rows == 1 { "1 row".to_string() } else { format!("{rows} rows") };
        match once {
            Some((_, file)) => {
                write_whole(&file, &bytes)?;
                eprint_line(format_args!("{rows} in {}", file.display()));
            }
            None => {
                self.answers += 1;
                self.show(&bytes, format)?;
                if self.is_interactive && format == Format::Table {
                    write_stdout(&format!("({rows})\n"))?;
                }
            }
        }
        if self.timing {
            eprint_line(format_args!("time: {:.1} ms", started.elapsed().as_secs_f64() * 1e3));
        }
        Ok(())
    }

    /// Whether rows do not fit in lines of `width`, so that a column a line is better read.
    fn is_wider(&self, batches: &[RecordBatch], width: usize) -> bool {
        let mut table = Vec::new();
        let written = dyno_query::write_table(&mut table, batches);
        let text = String::from_utf8_lossy(&table);
        let first = text.lines().next().unwrap_or_default().chars().count();
        self.expanded || (written.is_ok() && first > width)
    }

    /// The answer to one statement; who stops waiting for it ends it at its next pause.
    async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let (session, sql) = (Arc::clone(&self.session), sql.to_string());
        let mut task = JoinSet::new();
        task.spawn_on(async move { session.sql(&sql).await }, self.workers.handle());
        let joined = task.join_next().await.expect("a task was spawned");
        joined.context(|| "carrying out the query".into())?.map_err(query_error)
    }

    /// Leaves the query that runs to itself: it ends at its next pause, and the next gets threads
    /// of its own.
    fn abandon(&mut self) -> Result<()> {
        self.workers = Workers::start()?;
        Ok(())
    }

    /// Writes to standard output; on a terminal control characters are shown, not obeyed. So they
    /// are in a table, which is for people, on whatever way it takes to a terminal.
    fn show(&self, bytes: &[u8], format: Format) -> Result<()> {
        match format == Format::Table || std::io::stdout().is_terminal() {
            true => write_stdout(
                dyno_reports::escape::lines(&String::from_utf8_lossy(bytes)).as_bytes(),
            ),
            false => write_stdout(bytes),
        }
    }

    /// Carries out a line that begins with a backslash.
    async fn command(&mut self, line: &str) -> Result<ControlFlow<()>> {
        let on_off = |on: bool| if on { "on" } else { "off" };
        match Command::parse(line)? {
            Command::Quit => return Ok(ControlFlow::Break(())),
            Command::Help => write_stdout(&command::help())?,
            Command::List => write_stdout(&list_text())?,
            Command::Describe(name) => write_stdout(&self.describe(&name).await?)?,
            Command::Timing => {
                self.timing = !self.timing;
                eprint_line(format_args!("timing is {}", on_off(self.timing)));
            }
            Command::Expanded => {
                self.expanded = !self.expanded;
                eprint_line(format_args!("expanded rows are {}", on_off(self.expanded)));
            }
            Command::Format(None) => {
                eprint_line(format_args!("rows are printed as {}", self.format.name()))
            }
            Command::Format(Some((format, Some(file)))) => self.once = Some((format, file)),
            Command::Format(Some((Format::Parquet, None))) if std::io::stdout().is_terminal() => {
                let refused = Error::input("parquet is not for a terminal");
                return Err(refused.hint("name a file: \\o parquet answer.parquet"));
            }
            Command::Format(Some((format, None))) => self.format = format,
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The columns of one table or function.
    async fn describe(&self, name: &str) -> Result<String> {
        let Some(entry) = SQL_CATALOG.iter().find(|d| d.name == name) else {
            let names = SQL_CATALOG.iter().map(|d| d.name);
            let near = dyno_model::catalog::reader::suggest(name, names.clone());
            let all_names = || format!("there are {}", names.collect::<Vec<_>>().join(", "));
            let hint = near.unwrap_or_else(all_names);
            return Err(Error::input(format!("there is no table or function {name}")).hint(hint));
        };
        let CatalogEntry { usage, kind, what, .. } = entry;
        let mut text = format!("{usage}\n{}: {what}\n", kind.name());
        let columns = self.session.columns(name).await.unwrap_or_default();
        let rows: Vec<_> = columns.iter().map(|c| [c.name.as_str(), c.kind.as_str()]).collect();
        text.push_str(&align_columns(&rows));
        Ok(text)
    }
}

/// The tables and functions, with a word what each is.
fn list_text() -> String {
    let rows: Vec<_> = SQL_CATALOG.iter().map(|d| [d.name, d.kind.name(), d.what]).collect();
    align_columns(&rows)
}

/// Columns below each other, two spaces before each and between them.
fn align_columns<const N: usize>(rows: &[[&str; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let line = |row: &[&str; N]| {
        let cells = row.iter().enumerate().map(|(i, cell)| format!("  {cell:0$}", width(i)));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}

/// How many lines of a terminal a value may take; \o sends all of it to a file.
const CELL_LINES: usize = 4;

/// Lines of at most `most` characters, each with how much of it is left out.
fn cut_lines(text: &str, most: usize) -> String {
    let cut = |line: &str| match line.chars().count() {
        length if length > most => {
            let shown: String = line.chars().take(most).collect();
            format!("{shown} … ({} characters more)\n", length - most)
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(cut).collect()
}

/// Writes `file` so that it appears whole or not at all, in the place of one that is there.
fn write_whole(file: &Path, bytes: &[u8]) -> Result<()> {
    let doing = || format!("writing {}", file.display());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut unnamed =
        tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).context(doing)?;
    unnamed.write_all(bytes).context(doing)?;
    // As a file that `>` makes, and not for its owner alone as temporary files are.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    unnamed.as_file().set_permissions(mode).context(doing)?;
    unnamed.persist(file).map_err(|e| e.error).context(doing).map(drop)
}

/// Lines as they come, each with its end; read on a thread, so that a signal is seen meanwhile.
fn read_stdin_lines() -> tokio::sync::mpsc::Receiver<Result<String>> {
    let (send, lines) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        let mut input = BufReader::new(std::io::stdin());
        loop {
            let mut line = Vec::new();
            // One byte more than may be, so that what is too long is seen to be.
            let bounded = &mut (&mut input).take(STATEMENT_BYTES_MAX as u64 + 1);
            let read = bounded.read_until(b'\n', &mut line);
            let line = match read {
                Ok(0) => return,
                Ok(_) => String::from_utf8(line)
                    .map_err(|_| Error::input("not UTF-8").hint("save the statements as UTF-8")),
                Err(error) => Err(Error::from_io(error, "reading".into())),
            };
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut() {
        assert_eq!(cut_lines("short\nabcdefgh\n", 5), "short\nabcde … (3 characters more)\n");
    }
}
