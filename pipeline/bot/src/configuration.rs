//! What people write for the bot: `bot.toml` on its machine, and `.github/dyno.toml` in each
//! repository. Both are read as the catalog's files are: it is all there, or all mistakes at once.

pub mod project;
mod secret;

use std::collections::BTreeMap;
use std::fmt;

use dyno_model::catalog::reader::{Located, Table, checked_name, read};
use dyno_model::mistake::Mistakes;
use serde::{Deserialize, Serialize};
use url::Url;

pub use project::Project;
pub use secret::{SecretKind, SecretSource};

/// What somebody may do in a repository, as GitHub says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    None,
    Read,
    Triage,
    Write,
    Maintain,
    Admin,
}

impl Level {
    /// The levels that a file may ask for.
    const CHOICES: [(&'static str, Self); 5] = [
        ("read", Self::Read),
        ("triage", Self::Triage),
        ("write", Self::Write),
        ("maintain", Self::Maintain),
        ("admin", Self::Admin),
    ];

    /// The level called `name`; [`Level::None`] for a name that is not known.
    pub fn named(name: &str) -> Self {
        let found = Self::CHOICES.iter().find(|(choice, _)| *choice == name);
        found.map_or(Self::None, |(_, level)| *level)
    }

    pub fn name(self) -> &'static str {
        let found = Self::CHOICES.iter().find(|(_, level)| *level == self);
        found.map_or("none", |(name, _)| name)
    }
}

/// `bot.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// The name by which comments address it, without the `@`.
    pub name: String,
    /// The numeric id of the account that writes its comments: only its markers count.
    pub account: u64,
    pub credential: Credential,
    /// The address of GitHub's API: `https`, or on loopback.
    pub api: String,
    /// The store that has the queue: a URL, or a folder.
    pub store: String,
    /// Where the pages of reports are served.
    pub report_url: Option<String>,
    /// Whether a comparison in which nothing changed gets no comment of its own.
    pub silent_when_unchanged: bool,
    pub limits: Limits,
    pub repositories: Vec<Repository>,
}

/// What the bot shows GitHub: not itself, but where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    App { id: u64, key: SecretSource },
    Token(SecretSource),
}

/// How many requests may be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub open_per_pull_request: u32,
    pub open_per_account: u32,
}

impl Limits {
    const DEFAULT: Self = Self { open_per_pull_request: 4, open_per_account: 16 };
}

/// A repository that the bot answers in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    pub name: RepositoryName,
    /// The suites of the catalog that may be asked for; the first is the one that is meant.
    pub suites: Vec<String>,
    /// Who measures where a command does not say.
    pub hosts: Vec<String>,
    pub policy: String,
    /// Who may have something measured: name → numeric id. The id counts, the name is shown.
    pub accounts: BTreeMap<String, u64>,
    /// What such an account must be allowed in the repository besides.
    pub permission: Level,
}

/// `owner/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RepositoryName {
    owner: String,
    name: String,
}

impl RepositoryName {
    /// The name, if `written` is one that can stand in a path.
    pub fn new(written: &str) -> Option<Self> {
        let (owner, name) = written.split_once('/')?;
        let is_part = |part: &str, signs: &str| {
            (1..=100).contains(&part.len())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || signs.contains(c))
                && !part.chars().all(|c| c == '.')
        };
        let is_one = is_part(owner, "-") && is_part(name, "._-");
        is_one.then(|| Self { owner: owner.to_string(), name: name.to_string() })
    }

    pub fn owner(&self) -> &str {
        &self.owner
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// Reads `bot.toml`.
///
/// # Errors
/// All mistakes. Their text has no secret in it, also where somebody wrote one into the file.
pub fn parse(file: &str, text: &str) -> Result<Configuration, Mistakes> {
    read(file, &secret::redacted(text), |table| {
        let name = table.required_str("name").and_then(|name| account_name(table, name));
        let account = required_id(table, "account");
        let api = match table.optional_str("api") {
            Some(written) => api(table, written),
            None => Some("https://api.github.com".into()),
        };
        let store = table.required_str("store").and_then(|store| place(table, "store", store));
        let report_url = table.optional_str("report_url").map(|url| report_url(table, url));
        let silent_when_unchanged = table.optional_bool("silent_when_unchanged");
        let credential = credential(table);
        let limits = table.optional_table("limits", |limits| {
            let default = Limits::DEFAULT;
            let mut most = |key| limits.optional_integer(key, 1..=1000).map(|most| most as u32);
            Some(Limits {
                open_per_pull_request: most("open_per_pull_request")
                    .unwrap_or(default.open_per_pull_request),
                open_per_account: most("open_per_account").unwrap_or(default.open_per_account),
            })
        });
        if !table.has("repository") && !table.is_broken() {
            let expected = "a table [[repository]] for each that the bot answers in";
            table.note(table.span(), "no repository is named", expected, None);
        }
        let mut seen = Vec::new();
        let repositories = table.tables("repository", |inner| repository(inner, &mut seen));
        Some(Configuration {
            name: name?,
            account: account?,
            credential: credential?,
            api: api?,
            store: store?,
            report_url: report_url.unwrap_or(Some(None))?,
            silent_when_unchanged: silent_when_unchanged.unwrap_or(false),
            limits: limits.unwrap_or(Limits::DEFAULT),
            repositories,
        })
    })
}

/// An id of GitHub's, which must be there.
fn required_id(table: &mut Table<'_>, key: &'static str) -> Option<u64> {
    if !table.has(key) && !table.is_broken() {
        let message = format!("`{key}` is missing");
        table.note(table.span(), message, "a numeric id, as `gh api` says it", None);
    }
    table.optional_integer(key, 1..=u64::MAX >> 1)
}

fn account_name(table: &Table<'_>, name: Located<String>) -> Option<String> {
    let is_one = (1..=39).contains(&name.value.len())
        && name.value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.value.starts_with('-');
    if !is_one {
        let message = format!("`name` is \"{}\"", name.value.escape_debug());
        let expected = "the name of an account as comments write it: letters, digits and `-`";
        let hint = match name.value.as_str() {
            value if value.starts_with('@') => Some("leave the `@` out".to_string()),
            value if value.ends_with("[bot]") => Some("leave the `[bot]` out".to_string()),
            _ => None,
        };
        table.note(name.span, message, expected, hint);
    }
    is_one.then_some(name.value)
}

/// Whether a token may go to `api`: to others by `https` alone.
pub fn is_safe(api: &str) -> bool {
    let Ok(url) = Url::parse(api) else { return false };
    let is_loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    is_plain && (url.scheme() == "https" && url.has_host() || url.scheme() == "http" && is_loopback)
}

/// The address of an API, to which a token goes: nobody may read along.
fn api(table: &Table<'_>, written: Located<String>) -> Option<String> {
    let is_safe = is_safe(&written.value);
    if !is_safe {
        let message = format!("`api` is \"{}\"", written.value.escape_debug());
        let expected = "an address that begins with https://, without a password";
        let hint = Some("plain http is for loopback alone".to_string());
        table.note(written.span, message, expected, hint);
    }
    is_safe.then_some(written.value)
}

/// A store, which may be anything but a place for passwords.
fn place(table: &Table<'_>, key: &str, written: Located<String>) -> Option<String> {
    let authority = written.value.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    if written.value.trim().is_empty() || authority.contains('@') {
        let message = format!("`{key}` is empty, or has a password in it");
        let expected = "a URL or a folder; credentials come from the environment";
        table.note(written.span, message, expected, None);
        return None;
    }
    Some(written.value)
}

/// An address that a comment can link to; the outer `None` is a mistake.
fn report_url(table: &Table<'_>, written: Located<String>) -> Option<Option<String>> {
    let url = written.value.trim_end_matches('/');
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    if is_web && dyno_reports::escape::link(url).is_some() && !url.contains('@') {
        return Some(Some(url.to_string()));
    }
    let message = format!("`report_url` is \"{}\"", written.value.escape_debug());
    table.note(written.span, message, "an address that begins with https://", None);
    None
}

fn credential(table: &mut Table<'_>) -> Option<Credential> {
    let (has_app, has_token) = (table.has("app"), table.has("token"));
    if has_app == has_token && !table.is_broken() {
        let message = match has_app {
            true => "[app] and [token] are both there",
            false => "neither [app] nor [token] is there",
        };
        let expected = "[app] for a GitHub App, or [token] for a fine-grained token";
        table.note(table.span(), message, expected, None);
    }
    let app = table.optional_table("app", |app| {
        let id = required_id(app, "id");
        let key = secret::source(app, SecretKind::PrivateKey);
        Some(Credential::App { id: id?, key: key? })
    });
    let token = table.optional_table("token", |token| {
        Some(Credential::Token(secret::source(token, SecretKind::Token)?))
    });
    app.or(token)
}

fn repository(table: &mut Table<'_>, seen: &mut Vec<RepositoryName>) -> Option<Repository> {
    let name = table.required_str("name").and_then(|written| {
        let name = RepositoryName::new(&written.value);
        if name.is_none() {
            let message = format!("`name` is \"{}\"", written.value.escape_debug());
            table.note(written.span.clone(), message, "\"OWNER/NAME\"", None);
        }
        // GitHub tells no large letters from small ones.
        let is_same =
            |other: &RepositoryName| other.to_string().eq_ignore_ascii_case(&written.value);
        if seen.iter().any(is_same) {
            let message = format!("{} a second time", written.value);
            table.note(written.span, message, "each repository once", None);
        }
        seen.extend(name.clone());
        name
    });
    let suites = names(table, "suites");
    let hosts = table.required_strings("hosts").into_iter().map(|host| host.value).collect();
    let policy = match table.optional_str("policy") {
        Some(policy) => checked_name(table, policy),
        None => Some("default".into()),
    };
    let permission = table.optional_choice("permission", &Level::CHOICES);
    let accounts = table.required_table("accounts", accounts);
    Some(Repository {
        name: name?,
        suites: suites?,
        hosts,
        policy: policy?,
        accounts: accounts?,
        permission: permission.unwrap_or(Level::Write),
    })
}

/// A list of names, at least one.
fn names(table: &mut Table<'_>, key: &'static str) -> Option<Vec<String>> {
    let written = table.required_strings(key);
    let names: Vec<Option<String>> =
        written.into_iter().map(|name| checked_name(table, name)).collect();
    names.into_iter().collect()
}

fn accounts(table: &mut Table<'_>) -> Option<BTreeMap<String, u64>> {
    let mut accounts = BTreeMap::new();
    let written = table.named();
    if written.is_empty() {
        let expected = "NAME = NUMERIC-ID for each account that may have something measured";
        table.note(table.span(), "no account is named", expected, None);
    }
    for (name, value) in written {
        let id = value.get_ref().as_integer().and_then(|integer| integer.as_str().parse().ok());
        match id.filter(|id| *id > 0) {
            Some(id) => {
                accounts.insert(name.value, id);
            }
            None => table.wrong_type(&name.value, value, "the account's numeric id"),
        }
    }
    Some(accounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
name = "dyno"
account = 4242
store = "s3://bench/store"
report_url = "https://perf.example/"
silent_when_unchanged = true
app = { id = 7, key_file = "/etc/dyno/app.pem" }
limits = { open_per_pull_request = 2 }

[[repository]]
name = "acme/widget"
suites = ["wasmi"]
hosts = ["x86_64", "aarch64"]
accounts = { alice = 1001, "bob-b" = 1002 }
"#;

    #[test]
    fn a_file_is_read() {
        let read = parse("bot.toml", WHOLE).unwrap();
        assert_eq!((read.name.as_str(), read.account), ("dyno", 4242));
        assert_eq!(read.report_url.as_deref(), Some("https://perf.example"));
        assert_eq!(read.limits, Limits { open_per_pull_request: 2, open_per_account: 16 });
        let key = SecretSource::File("/etc/dyno/app.pem".into(), SecretKind::PrivateKey);
        assert_eq!(read.credential, Credential::App { id: 7, key });
        let [repository] = read.repositories.as_slice() else { panic!("{read:?}") };
        assert_eq!(repository.name.to_string(), "acme/widget");
        assert_eq!((repository.permission, repository.policy.as_str()), (Level::Write, "default"));
        assert_eq!(repository.accounts["bob-b"], 1002);
        let token = WHOLE.replace(
            "app = { id = 7, key_file = \"/etc/dyno/app.pem\" }",
            "token.environment = \"DYNO_BOT_TOKEN\"",
        );
        let read = parse("bot.toml", &token).unwrap();
        let source = SecretSource::Environment("DYNO_BOT_TOKEN".into(), SecretKind::Token);
        assert_eq!(read.credential, Credential::Token(source));
    }

    #[test]
    fn all_mistakes_at_once() {
        let text = r#"
name = "@dyno"
acount = 4242
api = "http://git.example/api/v3"
store = "s3://key:secret@bench/store"
report_url = "javascript:alert(1)"
app = { id = 0, key_file = "app.pem", key_environment = "X" }
token = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
limits = { open_per_account = 0, open = 1 }

[[repository]]
name = "../x"
suites = ["A suite"]
hosts = []
permission = "owner"
accounts = { alice = "1001", bob = -1 }

[[repository]]
name = "a/b"
suites = ["x"]
hosts = ["y"]
accounts = {}

[[repository]]
name = "A/b"
suites = ["x"]
hosts = ["y"]
accounts = { alice = 1 }
"#;
        let mistakes = parse("bot.toml", text).unwrap_err();
        insta::assert_snapshot!(mistakes);
        assert!(!mistakes.text.contains("0123456789abcdef"), "a token is not shown again");
        assert!(!format!("{mistakes:?}").contains("0123456789abcdef"));
        let nothing = parse("bot.toml", "").unwrap_err();
        insta::assert_snapshot!("nothing", nothing);
    }

    /// The examples of the manual are files that are read.
    #[test]
    fn the_manuals_files_are_right() {
        let manual = include_str!("../../../docs/bot.md");
        let examples: Vec<&str> = manual
            .split("```toml\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap())
            .collect();
        let [ours, theirs] = examples.as_slice() else { panic!("{examples:?}") };
        let read = parse("bot.toml", ours).unwrap();
        let project = project::parse(project::PATH, theirs, &read.repositories[0]).unwrap();
        assert!(project.fail_on_regression);
    }

    #[test]
    fn a_repository_is_a_name_that_leads_nowhere_else() {
        for (written, is_one) in [
            ("a/b", true),
            ("rust-lang/rust.rs_x", true),
            ("a", false),
            ("a/", false),
            ("a/..", false),
            ("a/b/c", false),
            ("../b", false),
            ("a b/c", false),
            ("a/b%2f", false),
            ("a/b?x", false),
        ] {
            assert_eq!(RepositoryName::new(written).is_some(), is_one, "{written}");
        }
    }

    #[test]
    fn an_unknown_level_is_none() {
        for (name, level) in [("admin", Level::Admin), ("write", Level::Write), ("x", Level::None)]
        {
            assert_eq!(Level::named(name), level);
        }
        assert!(Level::Maintain > Level::Write && Level::Write > Level::Triage);
    }
}
