//! `watches/<name>.toml`: a branch whose commits are asked for as they come.

use serde::Serialize;

use super::reader::{Located, Table, checked_name, read};
use super::suite::check_git_location;
use crate::mistake::Mistakes;
use crate::queue::PRIORITY_MAX;

/// The priority of what a branch asks for: below that of a person who names none.
const PRIORITY: u8 = 3;

/// The number of commits that are looked at, from the newest.
const LOOK_BACK: u32 = 32;

/// The number of open jobs of a class from which on it gets no ancestors.
const OPEN_MAX: u32 = 4;

/// The most rounds of a case.
const ROUNDS: u32 = 30;

/// A watched branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Watch {
    pub name: String,
    /// A git URL, or a path, relative to the folder of the file.
    pub repository: String,
    pub branch: String,
    /// Names of suites.
    pub suites: Vec<String>,
    /// The words for who is to measure; each measures by itself.
    pub classes: Vec<String>,
    /// The name of a policy.
    pub policy: String,
    /// Priority of comparisons with the parent; those with older ancestors have one less.
    pub priority: u8,
    /// The number of commits that are asked for, from the newest.
    pub look_back: u32,
    /// Older ancestors are asked for only while a class has fewer open jobs.
    pub open_max: u32,
    /// The most rounds of a case.
    pub rounds: u32,
}

/// Reads `watches/<name>.toml`.
pub fn parse(name: &str, file: &str, text: &str) -> Result<Watch, Mistakes> {
    read(file, text, |table| {
        let repository = table.required_str("repository").and_then(|location| {
            let checked = check_git_location(&location.value);
            if let Err(expected) = checked {
                let written = location.value.escape_debug();
                table.note(location.span, format!("`repository` is \"{written}\""), expected, None);
            }
            checked.is_ok().then_some(location.value)
        });
        let branch = table.required_str("branch").map(|branch| branch.value);
        let suites = table.required_strings("suites");
        let suites: Vec<Option<String>> =
            suites.into_iter().map(|suite| checked_name(table, suite)).collect();
        let classes = table.required_strings("classes");
        let policy = match table.optional_str("policy") {
            Some(policy) => checked_name(table, policy),
            None => Some("default".into()),
        };
        let priority = number(table, "priority", 0..=u64::from(PRIORITY_MAX));
        let look_back = number(table, "look_back", 1..=1000);
        let open_max = number(table, "open_max", 0..=1000);
        let rounds = number(table, "rounds", 2..=u64::from(crate::budget::ROUNDS_MAX));
        Some(Watch {
            name: name.to_string(),
            repository: repository?,
            branch: branch?,
            suites: distinct(suites.into_iter().collect::<Option<Vec<_>>>()?),
            classes: distinct(classes.into_iter().map(|Located { value, .. }| value).collect()),
            policy: policy?,
            priority: priority.map_or(PRIORITY, |priority| priority as u8),
            look_back: look_back.unwrap_or(LOOK_BACK),
            open_max: open_max.unwrap_or(OPEN_MAX),
            rounds: rounds.unwrap_or(ROUNDS),
        })
    })
}

fn number(
    table: &mut Table<'_>,
    key: &'static str,
    range: std::ops::RangeInclusive<u64>,
) -> Option<u32> {
    table.optional_integer(key, range).map(|number| number as u32)
}

/// The words in their order, each once.
fn distinct(mut words: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    words.retain(|word| seen.insert(word.clone()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_a_default() {
        let text = "repository = \"../lua\"\nbranch = \"main\"\nsuites = [\"lua\", \"lua\"]\n\
                    classes = [\"x86_64\"]\n";
        let watch = parse("lua", "watches/lua.toml", text).unwrap();
        assert_eq!(
            watch,
            Watch {
                name: "lua".into(),
                repository: "../lua".into(),
                branch: "main".into(),
                suites: vec!["lua".into()],
                classes: vec!["x86_64".into()],
                policy: "default".into(),
                priority: 3,
                look_back: 32,
                open_max: 4,
                rounds: 30,
            }
        );
        let text = format!("{text}priority = 9\nlook_back = 5\nopen_max = 0\nrounds = 2\n");
        let watch = parse("lua", "watches/lua.toml", &text).unwrap();
        assert_eq!((watch.priority, watch.look_back, watch.open_max, watch.rounds), (9, 5, 0, 2));
    }

    #[test]
    fn all_mistakes_at_once() {
        let text = "repository = \"ext::sh\"\nbranches = \"main\"\nsuites = [\"A suite\"]\n\
                    policy = 1\npriority = 10\nlook_back = 0\n";
        let mistakes = parse("lua", "watches/lua.toml", text).unwrap_err();
        insta::assert_snapshot!(mistakes, @r#"
        watches/lua.toml:1:1: `branch` is missing in the file; expected a string
        watches/lua.toml:1:1: `classes` is missing in the file; expected a list of strings
        watches/lua.toml:1:14: `repository` is "ext::sh"; expected an https://, ssh:// or file:// URL, or a path, without control characters
        watches/lua.toml:2:1: `branches` is not known in the file; expected one of branch, classes, look_back, open_max, policy, priority, repository, rounds, suites; hint: did you mean `branch`?
        watches/lua.toml:3:11: "A suite" cannot be a name; expected small letters, digits, `.`, `_` and `-`, at most 64, starting with a letter or digit
        watches/lua.toml:4:10: `policy` is an integer; expected a string
        watches/lua.toml:5:12: `priority` is 10; expected a whole number from 0 to 9
        watches/lua.toml:6:13: `look_back` is 0; expected a whole number from 1 to 1000
        "#);
    }
}
