//! `.github/dyno.toml` of a repository's default branch: what its people may say about the bot.
//!
//! It can narrow what `bot.toml` allows and never widen it: who changes it has write access to the
//! repository and none to the bot's machine.

use dyno_model::catalog::reader::{Located, Table, checked_name, one_of, read, suggest};
use dyno_model::mistake::{Mistake, Mistakes};
use dyno_model::verdict::Conclusion;
use wildmatch::WildMatch;

use super::Repository;

/// Where the file lies in a repository.
pub const PATH: &str = ".github/dyno.toml";

/// Bytes beyond which the file is not read.
const BYTES_MAX: usize = 64 << 10;
/// Characters of a label, as GitHub bounds it.
const LABEL_CHARS_MAX: usize = 50;
/// Characters of a sentence.
const WORDING_CHARS_MAX: usize = 500;

/// `.github/dyno.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Project {
    /// The suites that may be asked for here, of those in `bot.toml`; empty for all of them.
    pub suites: Vec<String>,
    /// Paths that start nothing: `*` stands for any characters, `?` for one.
    pub ignore: Vec<String>,
    /// Whether the check fails where `--fail-on-regression` would; otherwise it is neutral.
    pub fail_on_regression: bool,
    pub labels: ByConclusion,
    /// A label while something is measured.
    pub waiting_label: Option<String>,
    /// What to do next, in the words of the repository.
    pub wording: ByConclusion,
}

/// A text for each conclusion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ByConclusion {
    regressed: Option<String>,
    improved: Option<String>,
    mixed: Option<String>,
    unchanged: Option<String>,
    inconclusive: Option<String>,
}

impl ByConclusion {
    pub fn of(&self, conclusion: Conclusion) -> Option<&str> {
        match conclusion {
            Conclusion::Regressed => self.regressed.as_deref(),
            Conclusion::Improved => self.improved.as_deref(),
            Conclusion::Mixed => self.mixed.as_deref(),
            Conclusion::Unchanged => self.unchanged.as_deref(),
            Conclusion::Inconclusive => self.inconclusive.as_deref(),
        }
    }

    /// All texts that are there.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let Self { regressed, improved, mixed, unchanged, inconclusive } = self;
        [regressed, improved, mixed, unchanged, inconclusive]
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    fn read(table: &mut Table<'_>, chars_max: usize) -> Self {
        let mut text = |key| {
            let text = table.optional_str(key)?;
            checked_text(table, text, chars_max)
        };
        Self {
            regressed: text("regressed"),
            improved: text("improved"),
            mixed: text("mixed"),
            unchanged: text("unchanged"),
            inconclusive: text("inconclusive"),
        }
    }
}

impl Project {
    /// Whether a change of `paths` alone is one that nothing is measured for.
    pub fn ignores<'p>(&self, paths: impl IntoIterator<Item = &'p str>) -> bool {
        let patterns: Vec<WildMatch> =
            self.ignore.iter().map(|path| WildMatch::new(path)).collect();
        let mut paths = paths.into_iter().peekable();
        paths.peek().is_some() && paths.all(|path| patterns.iter().any(|p| p.matches(path)))
    }
}

/// Reads the file of `repository`.
pub fn parse(file: &str, text: &str, repository: &Repository) -> Result<Project, Mistakes> {
    if text.len() > BYTES_MAX {
        let mistake = Mistake {
            span: 0..0,
            message: format!("the file has {} bytes", text.len()),
            expected: format!("at most {BYTES_MAX}"),
            hint: None,
        };
        return Err(Mistakes { file: file.into(), text: String::new(), list: vec![mistake] });
    }
    read(file, text, |table| {
        let suites = table.strings("suites");
        let suites = suites.into_iter().filter_map(|suite| known_suite(table, suite, repository));
        let suites = suites.collect();
        let ignore = table.strings("ignore").into_iter();
        let ignore = ignore.filter_map(|path| checked_text(table, path, 200)).collect();
        let fail_on_regression = table.optional_bool("fail_on_regression").unwrap_or(false);
        let labels = table.optional_table("labels", |labels| {
            let waiting = labels.optional_str("waiting");
            let waiting = waiting.and_then(|text| checked_text(labels, text, LABEL_CHARS_MAX));
            Some((ByConclusion::read(labels, LABEL_CHARS_MAX), waiting))
        });
        let (labels, waiting_label) = labels.unwrap_or_default();
        let wording = table
            .optional_table("wording", |wording| {
                Some(ByConclusion::read(wording, WORDING_CHARS_MAX))
            })
            .unwrap_or_default();
        Some(Project { suites, ignore, fail_on_regression, labels, waiting_label, wording })
    })
}

/// A suite that `bot.toml` has for the repository.
fn known_suite(
    table: &Table<'_>,
    written: Located<String>,
    repository: &Repository,
) -> Option<String> {
    let span = written.span.clone();
    let suite = checked_name(table, written)?;
    if repository.suites.contains(&suite) {
        return Some(suite);
    }
    let hint = suggest(&suite, repository.suites.iter().map(String::as_str));
    let message = format!("the bot has no suite \"{suite}\" for this repository");
    table.note(span, message, one_of(&repository.suites), hint);
    None
}

/// A text that is neither empty, nor too long, nor of more than one line.
fn checked_text(table: &Table<'_>, text: Located<String>, chars_max: usize) -> Option<String> {
    let value = text.value.trim();
    let is_one = (1..=chars_max).contains(&value.chars().count())
        && !value.chars().any(dyno_model::text::is_hidden);
    if !is_one {
        let expected = format!("one line of 1 to {chars_max} characters that can be seen");
        table.note(text.span, "a text that cannot stand in a comment", expected, None);
    }
    is_one.then(|| value.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::configuration::{Level, RepositoryName};

    fn repository() -> Repository {
        Repository {
            name: RepositoryName::new("acme/widget").unwrap(),
            suites: vec!["wasmi".into(), "rustc".into()],
            hosts: vec!["x86_64".into()],
            policy: "default".into(),
            accounts: BTreeMap::new(),
            permission: Level::Write,
        }
    }

    #[test]
    fn a_file_is_read_and_an_empty_one_is_one() {
        assert_eq!(parse(PATH, "", &repository()).unwrap(), Project::default());
        let text = "suites = [\"rustc\"]\nignore = [\"docs/*\", \"*.md\"]\nfail_on_regression = true\n\
                    [labels]\nregressed = \"perf-regression\"\nwaiting = \"S-waiting-on-perf\"\n\
                    [wording]\nimproved = \"Well done.\"\n";
        let project = parse(PATH, text, &repository()).unwrap();
        assert_eq!(project.suites, ["rustc"]);
        assert!(project.fail_on_regression);
        assert_eq!(project.labels.of(Conclusion::Regressed), Some("perf-regression"));
        assert_eq!(project.labels.of(Conclusion::Mixed), None);
        assert_eq!(project.waiting_label.as_deref(), Some("S-waiting-on-perf"));
        assert_eq!(project.wording.all().collect::<Vec<_>>(), ["Well done."]);
        for (paths, expected) in [
            (vec!["docs/a/b.txt", "README.md"], true),
            (vec!["docs/a/b.txt", "src/lib.rs"], false),
            (vec![], false),
        ] {
            assert_eq!(project.ignores(paths.clone()), expected, "{paths:?}");
        }
    }

    #[test]
    fn all_mistakes_at_once() {
        let text = "suites = [\"wasm\", \"X\"]\nignored = [\"docs/*\"]\nfail_on_regression = 1\n\
                    [labels]\nregressed = \"\"\nregresed = \"x\"\n[wording]\nmixed = \"a\\nb\"\n";
        let mistakes = parse(PATH, text, &repository()).unwrap_err();
        insta::assert_snapshot!(mistakes);
        let long = parse(PATH, &"#".repeat(BYTES_MAX + 1), &repository()).unwrap_err();
        assert!(long.to_string().contains("the file has 65537 bytes"), "{long}");
    }
}
