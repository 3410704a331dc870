//! The words of a command: each is right, or a mistake with what was meant.

use std::ops::Range;

use dyno_model::catalog::reader::{is_name, one_of, suggest};
use dyno_model::mistake::Mistake;

use super::address::{CODE, Line};
use super::{Command, NamedCommit, Run, Scope};

/// Bytes of a command's line.
const LINE_BYTES_MAX: usize = 1000;
/// Items of one list.
const ITEMS_MAX: usize = 32;
/// The most threads that may be asked for.
const THREADS_MAX: u32 = 4096;
/// Characters of a wrong word that are shown.
const SHOWN_CHARS_MAX: usize = 60;

const RUN_KEYS: &[&str] = &["suite", "hosts", "policy", "base", "threads", "only"];
const SELF_KEYS: &[&str] = &["suite", "hosts", "policy", "threads", "only"];

/// A word and its place in the comment.
#[derive(Debug, Clone)]
struct Word<'a> {
    text: &'a str,
    span: Range<usize>,
}

/// The command of `line`, its mistakes added to the list. With mistakes it is the nearest one, where
/// there is one.
pub(super) fn command(body: &str, line: &Line, mistakes: &mut Vec<Mistake>) -> Option<Command> {
    if line.span.len() > LINE_BYTES_MAX {
        mistakes.push(Mistake {
            span: line.span.start..line.span.start,
            message: format!("a command of {} bytes", line.span.len()),
            expected: format!("at most {LINE_BYTES_MAX}"),
            hint: None,
        });
        return None;
    }
    let mut is_sure = true;
    for (span, word) in &line.foreign {
        // Code is meant as its text.
        is_sure &= *word == CODE;
        mistakes.push(Mistake {
            span: span.clone(),
            message: format!("{word} in a command: `{}`", shown(&body[span.clone()])),
            expected: "plain text".into(),
            hint: None,
        });
    }
    let words = words(body, line);
    let Some((verb, rest)) = words.split_first() else {
        mistakes.push(Mistake {
            span: line.span.clone(),
            message: "no command".into(),
            expected: one_of(&Command::NAMES),
            hint: None,
        });
        return None;
    };
    let mut reader = Reader { mistakes, is_sure };
    let name = reader.verb(verb)?;
    match name {
        "run" => reader.run(line, rest),
        "self" => reader.scope(rest, "self", SELF_KEYS).map(|read| Command::SelfCheck(read.scope)),
        _ => {
            for word in rest {
                reader.note(
                    word,
                    format!("`{}` after `{name}`", shown(word.text)),
                    "nothing",
                    None,
                );
            }
            Some(match name {
                "cancel" => Command::Cancel,
                "status" => Command::Status,
                "unroll" => Command::Unroll,
                _ => Command::Help,
            })
        }
    }
}

/// The words between spaces and tabs; other blanks are part of a word, and show in it. What is no
/// plain text is named already and is no word, but for code.
fn words<'a>(body: &'a str, line: &Line) -> Vec<Word<'a>> {
    let mut words = Vec::new();
    let mut at = line.rest.start;
    for text in body[line.rest.clone()].split([' ', '\t']) {
        let span = at..at + text.len();
        at += text.len() + 1;
        let mut foreign =
            line.foreign.iter().filter(|(f, _)| f.start < span.end && span.start < f.end);
        let text = match foreign.next() {
            None => text,
            Some((_, CODE)) => text.trim_matches('`'),
            Some(_) => "",
        };
        if !text.is_empty() {
            words.push(Word { text, span });
        }
    }
    words
}

/// `word` as it can be shown in a code span: what is not printable ASCII by its number.
fn shown(word: &str) -> String {
    let mut out = String::new();
    for c in word.chars().take(SHOWN_CHARS_MAX) {
        match c {
            '`' => out.push('\''),
            ' '..='~' => out.push(c),
            c => out.extend(c.escape_unicode()),
        }
    }
    if word.chars().nth(SHOWN_CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

/// What a command's options were read as.
#[derive(Debug, Default)]
struct Options {
    scope: Scope,
    base: Option<String>,
    commit: Option<NamedCommit>,
}

struct Reader<'m> {
    mistakes: &'m mut Vec<Mistake>,
    /// Whether the nearest command is known in spite of mistakes.
    is_sure: bool,
}

impl Reader<'_> {
    fn note(&mut self, word: &Word<'_>, message: String, expected: &str, hint: Option<String>) {
        let (span, expected) = (word.span.clone(), expected.to_string());
        self.mistakes.push(Mistake { span, message, expected, hint });
    }

    /// Whether `word` is ASCII that can be seen; notes a mistake where it is not.
    fn is_ascii(&mut self, word: &Word<'_>) -> bool {
        let is_ascii = word.text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_ascii {
            self.is_sure = false;
            let message = format!("`{}` has characters that are not ASCII", shown(word.text));
            self.note(word, message, "letters, digits and signs of ASCII", None);
        }
        is_ascii
    }

    /// The name of a command, or the nearest one.
    fn verb(&mut self, word: &Word<'_>) -> Option<&'static str> {
        if !self.is_ascii(word) {
            return None;
        }
        if let Some(name) = Command::NAMES.into_iter().find(|name| *name == word.text) {
            return Some(name);
        }
        let lower = word.text.to_ascii_lowercase();
        let hint = suggest(&lower, Command::NAMES.into_iter());
        let message = format!("`{}` is no command", shown(word.text));
        self.note(word, message, &one_of(&Command::NAMES), hint.clone());
        Command::NAMES.into_iter().find(|name| meant(&hint) == Some(name))
    }

    fn run(&mut self, line: &Line, words: &[Word<'_>]) -> Option<Command> {
        let Options { scope, base, commit } = self.scope(words, "run", RUN_KEYS)?;
        let has_candidate = words.iter().any(|word| !word.text.contains('='));
        if commit.is_none() && !has_candidate {
            self.mistakes.push(Mistake {
                span: line.span.clone(),
                message: "no commit is named".into(),
                expected:
                    "a full commit id of this pull request, or the first 7 digits of its head"
                        .into(),
                hint: None,
            });
        }
        Some(Command::Run(Run { scope, base, commit: commit? }))
    }

    /// Reads options, and the name of a commit where `base` is among the keys.
    fn scope(&mut self, words: &[Word<'_>], verb: &str, keys: &[&'static str]) -> Option<Options> {
        let mut options = Options::default();
        let mut seen: Vec<&str> = Vec::new();
        for word in words {
            if !self.is_ascii(word) {
                continue;
            }
            let Some((written, value)) = word.text.split_once('=') else {
                self.commit(word, verb, &mut options);
                continue;
            };
            let key = match keys.iter().find(|key| **key == written) {
                Some(key) => *key,
                None => {
                    let hint = suggest(&written.to_ascii_lowercase(), keys.iter().copied());
                    let message = format!("`{}` is no option of `{verb}`", shown(written));
                    self.note(word, message, &one_of(keys), hint.clone());
                    match keys.iter().find(|key| meant(&hint) == Some(key)) {
                        Some(key) => key,
                        None => {
                            self.is_sure = false;
                            continue;
                        }
                    }
                }
            };
            if seen.contains(&key) {
                self.is_sure = false;
                self.note(word, format!("`{key}` a second time"), "each option once", None);
                continue;
            }
            seen.push(key);
            if let Err(expected) = take(&mut options, key, value) {
                self.is_sure = false;
                self.note(word, format!("`{key}` is `{}`", shown(value)), &expected, None);
            }
        }
        self.is_sure.then_some(options)
    }

    /// Reads a word without `=`: the commit, once.
    fn commit(&mut self, word: &Word<'_>, verb: &str, options: &mut Options) {
        match (verb, NamedCommit::new(word.text), &options.commit) {
            ("run", Some(commit), None) => options.commit = Some(commit),
            ("run", Some(_), Some(_)) => {
                self.is_sure = false;
                let message = format!("`{}`: a second commit", shown(word.text));
                self.note(word, message, "one commit", None);
            }
            ("run", None, _) => {
                self.is_sure = false;
                let message = format!("`{}` is neither a commit nor an option", shown(word.text));
                let expected = "7 or more hexadecimal digits, or KEY=VALUE";
                self.note(word, message, expected, None);
            }
            _ => {
                let message = format!("`{}` after `{verb}`", shown(word.text));
                self.note(word, message, "KEY=VALUE", None);
            }
        }
    }
}

/// The name inside a hint of [`suggest`].
fn meant(hint: &Option<String>) -> Option<&str> {
    hint.as_ref()?.split('`').nth(1)
}

/// Puts `value` where `key` belongs.
///
/// # Errors
/// What was expected.
fn take(options: &mut Options, key: &str, value: &str) -> Result<(), String> {
    const NAME: &str = "small letters, digits, `.`, `_` and `-`, beginning with a letter or digit";
    let scope = &mut options.scope;
    match key {
        "suite" => scope.suite = Some(name(value).ok_or(NAME)?),
        "policy" => scope.policy = Some(name(value).ok_or(NAME)?),
        "hosts" => scope.hosts = items(value, &format!("names of {NAME}"), name)?,
        "base" => {
            let expected = "a branch, a tag or a commit: letters, digits, `.`, `_`, `/` and `-`";
            options.base = Some(base(value).ok_or(expected)?);
        }
        "threads" => {
            scope.threads = items(value, &format!("numbers from 1 to {THREADS_MAX}"), threads)?;
        }
        _ => {
            scope.only = items(value, "names of benchmarks, with `*` and `?`", pattern)?;
        }
    }
    Ok(())
}

/// Each item of a list once, in its order.
fn items<T: PartialEq>(
    value: &str,
    each: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, String> {
    let expected = || format!("1 to {ITEMS_MAX} {each}, with `,` between them");
    let mut items: Vec<T> = Vec::new();
    for item in value.split(',') {
        let item = read(item).ok_or_else(expected)?;
        if !items.contains(&item) {
            items.push(item);
        }
    }
    if items.len() > ITEMS_MAX { Err(expected()) } else { Ok(items) }
}

fn name(value: &str) -> Option<String> {
    is_name(value).then(|| value.to_string())
}

fn threads(value: &str) -> Option<u32> {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_digit()) && !value.starts_with('0');
    value.parse().ok().filter(|number| is_plain && *number <= THREADS_MAX)
}

fn pattern(value: &str) -> Option<String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-*?".contains(c);
    ((1..=100).contains(&value.len()) && value.chars().all(is_allowed)).then(|| value.to_string())
}

/// The name of a branch, tag or commit, of those characters that no git command reads as more.
fn base(value: &str) -> Option<String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
    let is_one = (1..=200).contains(&value.len())
        && value.chars().all(is_allowed)
        && !value.starts_with(['-', '/', '.'])
        && !value.ends_with(['/', '.'])
        && !["..", "//", "/.", ".lock"].iter().any(|part| value.contains(part));
    is_one.then(|| value.to_string())
}
