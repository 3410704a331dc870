//! The name by which a person asks for a commit, what it means, and how a report calls the commit.
//!
//! A name stands for other commits in time, so what a run was once asked for by is no name for it
//! today: a report has the name of today's question, or the commit's id and subject.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::id::CommitId;

/// Fewest digits by which the id of a commit or job is named, as git's are.
pub const PREFIX_DIGITS_MIN: usize = 7;

/// Characters of a subject that a label has.
const SUBJECT_CHARS_MAX: usize = 50;

/// A name of a commit, with what it means in the sources that could be asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitName {
    pub name: String,
    /// Suite → what the name means today in its source.
    pub meanings: BTreeMap<String, Meaning>,
}

/// What a name means in a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    pub commit: CommitId,
    /// The first line of the commit's message, where it is known.
    pub subject: Option<String>,
}

/// How a report calls a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    pub text: String,
    /// A word that means the commit on today's command line.
    pub word: String,
}

impl Label {
    /// The label of a commit that is called by one word.
    pub fn of_word(word: &str) -> Self {
        Self { text: word.into(), word: word.into() }
    }
}

impl From<&str> for CommitName {
    fn from(name: &str) -> Self {
        Self { name: name.into(), meanings: BTreeMap::new() }
    }
}

impl From<&String> for CommitName {
    fn from(name: &String) -> Self {
        Self::from(name.as_str())
    }
}

impl From<&Self> for CommitName {
    fn from(name: &Self) -> Self {
        name.clone()
    }
}

/// Whether `text` can be the digits of an id.
pub fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

impl CommitName {
    /// The name, which means `commit` in the source of `suite`.
    pub fn with_meaning(name: &str, suite: &str, meaning: Meaning) -> Self {
        Self { name: name.into(), meanings: BTreeMap::from([(suite.into(), meaning)]) }
    }

    /// Whether the name is the id of a commit, or its first digits.
    pub fn is_id(&self) -> bool {
        self.name.len() >= PREFIX_DIGITS_MIN && is_hex(&self.name)
    }

    /// Whether the name counts from where a repository is now, such as `HEAD~1`: what was measured
    /// under it before is no answer.
    pub fn is_relative(&self) -> bool {
        let name = self.name.as_str();
        name == "."
            || name == "@"
            || name.ends_with("HEAD")
            || name.starts_with(':')
            || name.contains("@{")
            || (name.find(['~', '^']).is_some_and(|at| at > 0) && !name.contains("://"))
    }

    /// The commit that the name means today in the source of `suite`, if that is known.
    pub fn commit_in(&self, suite: &str) -> Option<&CommitId> {
        self.meanings.get(suite).map(|meaning| &meaning.commit)
    }

    /// How a report calls `commit` of `suite`, which was found by this name.
    pub fn label(&self, suite: &str, commit: &CommitId) -> Label {
        let meaning = self.meanings.get(suite);
        let is_today = meaning.is_some_and(|meaning| meaning.commit == *commit);
        let name = if self.name == "." { "work tree" } else { self.name.as_str() };
        let lower = self.name.to_ascii_lowercase();
        if self.is_id() && commit.hex().starts_with(&lower) {
            let subject = meaning.filter(|_| is_today).and_then(|meaning| meaning.subject.as_ref());
            let text = match subject {
                Some(subject) => format!("{} ({})", commit.short(), bounded(subject)),
                None => commit.short().to_string(),
            };
            return Label { text, word: commit.to_string() };
        }
        // A page is read on other days too, when a relative name means something else.
        if !self.is_relative() && (is_today || meaning.is_none()) {
            return Label { text: name.into(), word: name.into() };
        }
        Label { text: format!("{name} ({})", commit.short()), word: commit.to_string() }
    }
}

fn bounded(subject: &str) -> String {
    match subject.char_indices().nth(SUBJECT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", subject[..end].trim_end()),
        None => subject.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(digit: &str) -> CommitId {
        digit.repeat(40).parse().unwrap()
    }

    #[test]
    fn a_label_is_of_today() {
        let [a, b] = ["a", "b"].map(commit);
        let long = "x".repeat(80);
        for (name, meaning, expected) in [
            ("v1", None, "v1"),
            ("v1", Some((&a, None)), "v1"),
            // What it means today is another commit than the one that is reported.
            ("main", Some((&b, Some("later"))), "main (aaaaaaaaaaaa)"),
            ("HEAD~1", Some((&a, None)), "HEAD~1 (aaaaaaaaaaaa)"),
            ("HEAD~1", None, "HEAD~1 (aaaaaaaaaaaa)"),
            (".", Some((&a, None)), "work tree (aaaaaaaaaaaa)"),
            (".", None, "work tree (aaaaaaaaaaaa)"),
            ("aaaaaaaa", None, "aaaaaaaaaaaa"),
            ("AAAAAAAA", Some((&a, Some("Speed up"))), "aaaaaaaaaaaa (Speed up)"),
            (a.hex(), Some((&a, Some(&*long))), &format!("aaaaaaaaaaaa ({}…)", "x".repeat(50))),
        ] {
            let mut asked = CommitName::from(name);
            asked.meanings = meaning
                .map(|(commit, subject)| {
                    let subject = subject.map(String::from);
                    ("s".to_string(), Meaning { commit: commit.clone(), subject })
                })
                .into_iter()
                .collect();
            let label = asked.label("s", &a);
            assert_eq!(label.text, expected, "{name}");
            let is_name = !asked.is_id() && !label.text.contains('(');
            assert_eq!(label.word, if is_name { name } else { a.hex() }, "{name}");
        }
    }

    #[test]
    fn relative_names_are_told_from_others() {
        for name in ["HEAD", "HEAD~1", "v1^", "origin/HEAD", "main@{1}", "@", ":/fix", "."] {
            assert!(CommitName::from(name).is_relative(), "{name}");
        }
        for name in ["main", "v1.2", "origin/main", "0.31.2", "image:debian-rust", "~/rust", "abc"]
        {
            assert!(!CommitName::from(name).is_relative(), "{name}");
        }
    }
}
