//! What Enter and Tab mean: whether what is typed is whole, and what could follow. Pure.

use dyno_query::CompletionNames;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use crate::prompt::Format;
use crate::prompt::command::{COMMANDS, is_command, is_word, split_last_line};

/// The keywords that are offered: those of queries.
const KEYWORDS: &[&str] = &[
    "ALL",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CROSS",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FILTER",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "RIGHT",
    "ROWS",
    "SELECT",
    "SHOW",
    "TABLES",
    "THEN",
    "TRUE",
    "UNION",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
    "WITH",
];

/// Keywords after which a table stands.
const BEFORE_TABLES: &[&str] = &["FROM", "JOIN", "DESCRIBE"];

/// Completes lines from the names of a session.
pub(super) struct Words {
    pub names: CompletionNames,
    /// The lines of the statement before the one that is edited.
    pub before: String,
}

/// What lines that were typed are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typed {
    /// A command, or SQL up to a semicolon.
    Whole,
    /// A statement that waits for its semicolon.
    Begun,
    /// Such a statement, with a word behind it that elsewhere is a command, as `exit`.
    BegunWithWord,
}

/// What `input` is: the lines since the last statement.
pub(super) fn judge(input: &str) -> Typed {
    let (before, last) = split_last_line(input);
    match () {
        () if !before.trim().is_empty() && is_word(last) => Typed::BegunWithWord,
        () if is_command(last) || is_complete(input) => Typed::Whole,
        () => Typed::Begun,
    }
}

/// Whether `input` waits for nothing: a command, or SQL up to a semicolon.
fn is_complete(input: &str) -> bool {
    input.trim_start().starts_with('\\') || dyno_query::split_statements(input).rest.is_empty()
}

fn is_word_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl Words {
    /// Where the word before `pos` begins, and what it could become, in the order in which it is
    /// offered.
    pub(super) fn candidates(&self, line: &str, pos: usize) -> (usize, Vec<String>) {
        let before = &line[..pos];
        if before.trim_start().starts_with('\\') {
            return self.command_candidates(before);
        }
        // In a string nothing can be known.
        if before.matches('\'').count() % 2 == 1 {
            return (pos, Vec::new());
        }
        let start = before.rfind(|c| !is_word_character(c)).map_or(0, |before| before + 1);
        let (prefix, ahead) = (&before[start..], &before[..start]);
        if let Some(ahead) = ahead.strip_suffix('.') {
            let table_start = ahead.rfind(|c| !is_word_character(c)).map_or(0, |before| before + 1);
            let columns = self.columns_of(|table| table == &ahead[table_start..]);
            let columns = if columns.is_empty() { self.columns_of(|_| true) } else { columns };
            return (start, matching(prefix, columns.into_iter()));
        }
        let last = ahead.trim_end().rsplit(|c| !is_word_character(c)).next().unwrap_or_default();
        let tables = self.names.tables.iter().map(|(table, _)| match table.as_str() {
            "compare" => "compare(".to_string(),
            _ => table.clone(),
        });
        if BEFORE_TABLES.contains(&last.to_ascii_uppercase().as_str()) {
            return (start, matching(prefix, tables));
        }
        let used: Vec<&str> = line.split(|c| !is_word_character(c)).collect();
        let columns = self.columns_of(|table| used.contains(&table));
        let columns = if columns.is_empty() { self.columns_of(|_| true) } else { columns };
        let mut found = matching(prefix, columns.into_iter().chain(tables));
        // Of functions and keywords there are hundreds: not without a letter.
        if !prefix.is_empty() {
            let functions = self.names.functions.iter().map(|name| format!("{name}("));
            let lower = prefix.starts_with(|c: char| c.is_ascii_lowercase());
            let keywords = KEYWORDS.iter().map(|word| match lower {
                true => word.to_ascii_lowercase(),
                false => (*word).to_string(),
            });
            found.extend(matching(prefix, functions.chain(keywords)));
        }
        (start, found)
    }

    fn command_candidates(&self, before: &str) -> (usize, Vec<String>) {
        let start = before.rfind(char::is_whitespace).map_or(0, |before| before + 1);
        let (prefix, ahead) = (&before[start..], before[..start].trim());
        let found = match ahead {
            "" => {
                let names = COMMANDS.iter().filter_map(|[usage, _]| usage.split(' ').next());
                matching(prefix, names.map(str::to_string))
            }
            "\\d" => matching(prefix, dyno_query::SQL_CATALOG.iter().map(|d| d.name.to_string())),
            "\\o" => {
                let formats = <Format as clap::ValueEnum>::value_variants();
                matching(prefix, formats.iter().map(|format| format.name().to_string()))
            }
            _ => Vec::new(),
        };
        (start, found)
    }

    fn columns_of(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let tables = self.names.tables.iter().filter(|(table, _)| wanted(table));
        let mut columns: Vec<String> = tables.flat_map(|(_, columns)| columns.clone()).collect();
        columns.sort_unstable();
        columns
    }
}

/// The names among `names` that begin with `prefix`, whatever the case, each once.
fn matching(prefix: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let has_prefix = |word: &String| {
        word.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
    };
    let mut found: Vec<String> = Vec::new();
    for word in names.filter(has_prefix) {
        if !found.contains(&word) {
            found.push(word);
        }
    }
    found
}

impl Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let whole = format!("{}{line}", self.before);
        let (start, found) = self.candidates(&whole, self.before.len() + pos);
        Ok((start.saturating_sub(self.before.len()), found))
    }
}

impl Validator for Words {}

impl Hinter for Words {
    type Hint = String;
}
impl Highlighter for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_makes_it_whole() {
        for (input, whole) in [
            ("", true),
            ("  \n", true),
            ("\\d", true),
            (" \\d runs", true),
            ("SELECT 1;", true),
            ("SELECT 1; SELECT 2;\n", true),
            ("SELECT 1; -- done", true),
            ("SELECT 1", false),
            ("SELECT ';", false),
            ("SELECT 1; SELECT 2", false),
            ("SELECT 1 -- ;", false),
        ] {
            assert_eq!(judge(input) == Typed::Whole, whole, "{input:?}");
        }
        for (input, typed) in [
            ("SELECT 1\n\\timing", Typed::Whole),
            ("SELECT 1\nexit", Typed::BegunWithWord),
            ("SELECT 1\nFROM runs", Typed::Begun),
            ("SELECT 1\n;", Typed::Whole),
            ("exit", Typed::Whole),
        ] {
            assert_eq!(judge(input), typed, "{input:?}");
        }
    }

    /// The lines before count for what can follow, and the place is that in the last line.
    #[test]
    fn tab_knows_the_lines_before() {
        let names = CompletionNames {
            tables: vec![
                ("runs".into(), vec!["rounds".into()]),
                ("samples".into(), vec!["value".into()]),
            ],
            functions: Vec::new(),
        };
        let words = Words { names, before: "SELECT *\nFROM samples WHERE\n".into() };
        let history = rustyline::history::MemHistory::new();
        let found = words.complete("  v", 3, &Context::new(&history)).unwrap();
        assert_eq!(found, (2, vec!["value".to_string(), "values".to_string()]));
    }

    #[test]
    fn tab_offers_what_can_stand_there() {
        let columns = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        let words = Words {
            names: CompletionNames {
                tables: vec![
                    ("compare".into(), columns(&["effect", "host"])),
                    ("runs".into(), columns(&["host", "job", "rounds"])),
                    ("samples".into(), columns(&["job", "value"])),
                ],
                functions: vec!["round".into(), "sum".into()],
            },
            before: String::new(),
        };
        // The bar is where the cursor stands.
        for (typed, start, expected) in [
            (
                "|",
                0,
                &["effect", "host", "job", "rounds", "value", "compare(", "runs", "samples"][..],
            ),
            ("sel|", 0, &["select"]),
            ("SEL|", 0, &["SELECT"]),
            ("SELECT * FROM |", 14, &["compare(", "runs", "samples"]),
            ("select * from R|", 14, &["runs"]),
            ("SELECT * FROM runs JOIN s|", 24, &["samples"]),
            ("SELECT | FROM samples", 7, &["job", "value", "compare(", "runs", "samples"]),
            ("SELECT ro| FROM runs", 7, &["rounds", "round(", "rows"]),
            ("SELECT v| FROM runs", 7, &["values"]),
            ("SELECT su|", 7, &["sum("]),
            ("SELECT runs.| FROM runs, samples", 12, &["host", "job", "rounds"]),
            ("SELECT r.ro| FROM runs r", 9, &["rounds"]),
            ("SELECT 'ru|", 10, &[]),
            ("SELECT 'é' AS x FROM ru|", 22, &["runs"]),
            ("SELECT nosuch|", 7, &[]),
            ("\\|", 0, &["\\d", "\\o", "\\x", "\\timing", "\\?", "\\q"]),
            ("\\t|", 0, &["\\timing"]),
            ("\\d sam|", 3, &["samples"]),
            ("\\o |", 3, &["table", "csv", "json", "parquet"]),
            ("\\x |", 3, &[]),
        ] {
            let pos = typed.find('|').unwrap();
            let line = typed.replace('|', "");
            let (at, found) = words.candidates(&line, pos);
            assert_eq!((at, found.as_slice()), (start, &columns(expected) as &[String]), "{typed}");
        }
    }
}
