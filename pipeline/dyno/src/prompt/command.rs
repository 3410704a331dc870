//! The lines that begin with a backslash.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::prompt::Format;
use dyno_base::error::{Error, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    Help,
    List,
    Describe(String),
    /// `None` asks which it is; a file is for the next answer alone.
    Format(Option<(Format, Option<PathBuf>)>),
    Expanded,
    Timing,
}

/// How each is written, and what it does.
pub(super) const COMMANDS: &[[&str; 2]] = &[
    ["\\d", "tables and functions"],
    ["\\d NAME", "the columns of one"],
    ["\\o FORMAT", "print rows as table, csv or json"],
    ["\\o FORMAT FILE", "the next answer goes to a file; parquet too"],
    ["\\x", "a column a line, or a row a line"],
    ["\\timing", "say how long a statement takes, or not"],
    ["\\?", "this list"],
    ["\\q", "leave"],
];

/// The text of `\?`.
pub(super) fn help() -> String {
    format!(
        "SQL ends with `;` and may span lines. Tab completes, Ctrl-C abandons, Ctrl-D leaves.\n{}",
        super::align_columns(COMMANDS)
    )
}

/// Whether a line is a command, rather than SQL.
pub(super) fn is_command(line: &str) -> bool {
    line.trim_start().starts_with('\\') || is_word(line)
}

/// Whether a line is one of the words by which people ask for help or leave elsewhere.
pub(super) fn is_word(line: &str) -> bool {
    let word = line.trim().trim_end_matches(';').trim_end().to_ascii_lowercase();
    ["help", "exit", "quit"].contains(&word.as_str())
}

/// What was typed before the last line, and the last line.
pub(super) fn split_last_line(input: &str) -> (&str, &str) {
    input.rsplit_once('\n').unwrap_or(("", input))
}

impl Command {
    /// # Errors
    /// Unknown commands and formats; too many words.
    pub(super) fn parse(line: &str) -> Result<Self> {
        // A semicolon at the end is a habit, and means nothing.
        let line = line.trim().trim_end_matches(';').trim_end();
        let lower_case = line.to_ascii_lowercase();
        let words: Vec<&str> = match line.starts_with('\\') {
            true => line.split_whitespace().collect(),
            false => lower_case.split_whitespace().collect(),
        };
        let (name, rest) = words.split_first().map_or(("", &[][..]), |(name, rest)| (*name, rest));
        let command_error = |what: String| Error::input(what).hint("`\\?` lists the commands");
        match (name, rest) {
            ("\\q" | "exit" | "quit", []) => Ok(Self::Quit),
            ("\\?" | "help", []) => Ok(Self::Help),
            ("\\d", []) => Ok(Self::List),
            ("\\d", [name]) => Ok(Self::Describe((*name).to_string())),
            ("\\x", []) => Ok(Self::Expanded),
            ("\\timing", []) => Ok(Self::Timing),
            ("\\o", []) => Ok(Self::Format(None)),
            ("\\o", [format, file @ ..]) => {
                let format = Format::from_str(format, true).map_err(|_| {
                    let known: Vec<&str> =
                        Format::value_variants().iter().map(|f| f.name()).collect();
                    let expected = known.join(", ");
                    command_error(format!(
                        "there is no format {format}; expected one of {expected}"
                    ))
                })?;
                // The rest of the line, because a file's name may have blanks.
                let file = (!file.is_empty()).then(|| {
                    let after = line.trim_start_matches("\\o").trim_start();
                    PathBuf::from(after.split_once(char::is_whitespace).map_or("", |s| s.1.trim()))
                });
                Ok(Self::Format(Some((format, file))))
            }
            ("\\q" | "\\?" | "\\d" | "\\x" | "\\timing", _) => {
                Err(command_error(format!("{name} has too many words behind it")))
            }
            _ => Err(command_error(format!("there is no command {name}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_apart() {
        let file = |name: &str| Some(PathBuf::from(name));
        for (line, expected) in [
            ("\\q", Ok(Command::Quit)),
            (" \\q ; ", Ok(Command::Quit)),
            ("\\?", Ok(Command::Help)),
            ("help", Ok(Command::Help)),
            ("EXIT;", Ok(Command::Quit)),
            ("quit", Ok(Command::Quit)),
            ("\\d", Ok(Command::List)),
            ("\\d;", Ok(Command::List)),
            ("\\d  runs;", Ok(Command::Describe("runs".into()))),
            ("\\x", Ok(Command::Expanded)),
            ("\\timing", Ok(Command::Timing)),
            ("\\o", Ok(Command::Format(None))),
            ("\\o CSV", Ok(Command::Format(Some((Format::Csv, None))))),
            ("\\o  json  a b.json", Ok(Command::Format(Some((Format::Json, file("a b.json")))))),
            ("\\o xml", Err("there is no format xml; expected one of table, csv, json, parquet")),
            ("\\d a b", Err("\\d has too many words behind it")),
            ("\\dt", Err("there is no command \\dt")),
            ("\\", Err("there is no command \\")),
        ] {
            let parsed = Command::parse(line).map_err(|e| e.message);
            assert_eq!(parsed, expected.map_err(str::to_string), "{line}");
        }
        assert!(is_command(" \\x") && is_command("Exit;") && !is_command("SELECT help"));
        assert_eq!(split_last_line("SELECT 1\n\\x"), ("SELECT 1", "\\x"));
        assert_eq!(split_last_line("\\x"), ("", "\\x"));
        // What the list says is what there is.
        for [usage, _] in COMMANDS {
            let line = usage.replace("FORMAT", "csv");
            assert!(Command::parse(&line).is_ok(), "{usage}");
        }
    }
}
