//! The command of a comment: at most one, in the comment's own words.
//!
//! A comment is read as Markdown first. What counts is a line of a paragraph that stands by itself
//! (in no list, quote, table, heading, footnote or HTML element) and begins with `@NAME`, the name
//! of the bot's account: [`address`] finds it. So whoever quotes a command, or shows one in code,
//! gives none. Then the words of the line, as they were typed, are a command, or all of their
//! mistakes at once, with the nearest command.
//!
//! Words are printable ASCII. A letter that only looks like one of those, or that nobody can see,
//! makes its word unknown, and is shown by its number.

mod address;
#[cfg(test)]
mod tests;
mod words;

use std::fmt;

use dyno_model::mistake::{Mistake, Mistakes};
use serde::{Deserialize, Serialize};

/// Bytes beyond which a comment is not looked at: GitHub takes 65 536 characters.
pub const BODY_BYTES_MAX: usize = 4 * 65_536;

/// The most mistakes of a comment that are listed.
const MISTAKES_MAX: usize = 12;

/// What is asked of the bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Measure a commit against its baseline.
    Run(Run),
    /// Compare the baseline with itself: the rate of false alarms.
    SelfCheck(Scope),
    /// End what was asked in the pull request.
    Cancel,
    /// Say where things are.
    Status,
    /// Split the request for a merge of several pull requests into one a member.
    Unroll,
    Help,
}

/// A comparison of a commit with its baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub scope: Scope,
    /// The name of the baseline; `None` for where the pull request branched off.
    pub base: Option<String>,
    pub commit: NamedCommit,
}

/// What is measured, where, and under which policy; what is empty is as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    pub suite: Option<String>,
    /// Labels, architectures or names of hosts; each measures by itself.
    pub hosts: Vec<String>,
    pub policy: Option<String>,
    pub threads: Vec<u32>,
    /// Names of benchmarks, with `*` and `?`.
    pub only: Vec<String>,
}

/// A commit as a command names it: 7 to 64 hexadecimal digits, in small letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedCommit(String);

impl NamedCommit {
    /// The name, if it is one.
    pub fn new(written: &str) -> Option<Self> {
        let is_one = (7..=64).contains(&written.len())
            && written.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_one.then(|| Self(written.to_ascii_lowercase()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is wrong with a comment that addresses the bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    /// All mistakes, in place; of words from the comment only what can be seen.
    pub mistakes: Mistakes,
    /// The command that was probably meant.
    pub nearest: Option<Box<Command>>,
}

/// The command in the Markdown of a comment; `None` where it addresses no account called `name`.
///
/// # Errors
/// All mistakes, where the account is addressed by something else than one command.
pub fn parse(body: &str, name: &str) -> Result<Option<Command>, Misread> {
    if body.len() > BODY_BYTES_MAX {
        return Ok(None);
    }
    let lines = address::lines(body, name);
    let mut mistakes: Vec<Mistake> = Vec::new();
    let mut read = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            mistakes.push(Mistake {
                span: line.span.clone(),
                message: "another command in the same comment".into(),
                expected: "one command a comment, so that nothing is begun by half".into(),
                hint: Some("put it into a comment of its own".into()),
            });
        }
        read.push(words::command(body, line, &mut mistakes));
    }
    if mistakes.is_empty() {
        return Ok(read.pop().flatten());
    }
    let nearest = read.into_iter().flatten().next().map(Box::new);
    mistakes.sort_by_key(|mistake| mistake.span.start);
    mistakes.truncate(MISTAKES_MAX);
    let (file, text) = ("the comment".to_string(), body.to_string());
    Err(Misread { mistakes: Mistakes { file, text, list: mistakes }, nearest })
}

impl Command {
    /// The words that a command begins with.
    pub const NAMES: [&str; 6] = ["run", "self", "cancel", "status", "unroll", "help"];

    /// The form of each command, and what it does.
    pub const FORMS: [(&str, &str); 6] = [
        (
            "run [suite=NAME] [hosts=A,B] [policy=NAME] [base=NAME] [threads=1,4] [only=NAME,NAME*] COMMIT",
            "measures a commit of this pull request against its baseline",
        ),
        (
            "self [suite=NAME] [hosts=A,B] [policy=NAME] [threads=1,4] [only=NAME,NAME*]",
            "compares the baseline with itself: whatever changes then is noise",
        ),
        ("cancel", "ends what was asked in this pull request"),
        ("status", "says where things are"),
        ("unroll", "splits a merge of several pull requests into one request each"),
        ("help", "says this"),
    ];

    /// The word that the command begins with.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::SelfCheck(_) => "self",
            Self::Cancel => "cancel",
            Self::Status => "status",
            Self::Unroll => "unroll",
            Self::Help => "help",
        }
    }

    /// What is measured, where anything is.
    pub const fn scope(&self) -> Option<&Scope> {
        match self {
            Self::Run(run) => Some(&run.scope),
            Self::SelfCheck(scope) => Some(scope),
            _ => None,
        }
    }
}

/// The canonical form, which parses back.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let Some(scope) = self.scope() else { return Ok(()) };
        let threads: Vec<String> = scope.threads.iter().map(u32::to_string).collect();
        let (base, commit) = match self {
            Self::Run(run) => (run.base.clone(), Some(run.commit.as_str())),
            _ => (None, None),
        };
        for (key, value) in [
            ("suite", scope.suite.clone().unwrap_or_default()),
            ("hosts", scope.hosts.join(",")),
            ("policy", scope.policy.clone().unwrap_or_default()),
            ("base", base.unwrap_or_default()),
            ("threads", threads.join(",")),
            ("only", scope.only.join(",")),
        ] {
            if !value.is_empty() {
                write!(f, " {key}={value}")?;
            }
        }
        commit.map_or(Ok(()), |commit| write!(f, " {commit}"))
    }
}
