//! What of the caller's git reaches dyno's: what it takes to reach the network, and nothing else.
//!
//! A configuration may change what a repository is (`init.defaultObjectFormat`), what a check-out
//! writes (`core.autocrlf`, filters) and which programs run (`core.fsmonitor`, hooks); variables may
//! point git at another repository altogether. So dyno's git reads no configuration of this machine
//! and no variable `GIT_…`, but for what is listed here, which is read once.

use std::process::Stdio;
use std::sync::OnceLock;

/// Settings by the start of their names, in lower case: proxies, certificates and headers;
/// credentials; other addresses for the same (`insteadOf`); how ssh is called.
const SETTINGS: &[&str] =
    &["http.", "credential.", "url.", "core.sshcommand", "core.askpass", "core.gitproxy", "ssh."];

/// Variables by the start of their names.
const VARIABLES: &[&str] = &[
    "GIT_SSH",
    "GIT_ASKPASS",
    "GIT_SSL_",
    "GIT_HTTP_",
    "GIT_PROXY_",
    "GIT_CURL_",
    "GIT_EXEC_PATH",
];

/// Whether git is to see a variable of the caller's environment.
fn reaches_git(variable: &str) -> bool {
    !variable.starts_with("GIT_") || VARIABLES.iter().any(|start| variable.starts_with(start))
}

/// Sets up a git with the environment and the settings that reach it.
pub(super) fn set(git: &mut tokio::process::Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| !reaches_git(name)) {
            git.env_remove(name);
        }
    }
    git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    // What git says is read.
    git.env("LC_ALL", "C");
    git.env("GIT_ATTR_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    let settings = settings();
    git.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (index, (name, value)) in settings.iter().enumerate() {
        git.env(format!("GIT_CONFIG_KEY_{index}"), name);
        git.env(format!("GIT_CONFIG_VALUE_{index}"), value);
    }
}

/// The settings of the caller that reach the network.
fn settings() -> &'static [(String, String)] {
    static SETTINGS: OnceLock<Vec<(String, String)>> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let mut git = std::process::Command::new("git");
        // Outside of any repository: of those around here none is meant.
        git.args(["config", "--list", "--null"]).current_dir("/").stdin(Stdio::null());
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_CONFIG"] {
            git.env_remove(variable);
        }
        git.output().map(|output| network_settings(&output.stdout)).unwrap_or_default()
    })
}

/// The settings of a listing (`name`, line feed, value, NUL) that reach the network.
fn network_settings(listing: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(listing);
    let setting = |entry: &str| {
        // A setting without a value is true.
        let (name, value) = entry.split_once('\n').unwrap_or((entry, "true"));
        let lower = name.to_ascii_lowercase();
        let reaches = SETTINGS.iter().any(|start| lower.starts_with(start));
        reaches.then(|| (name.to_string(), value.to_string()))
    };
    text.split('\0').filter(|entry| !entry.is_empty()).filter_map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every variable that git calls local to a repository, and others that change what it does.
    #[test]
    fn no_variable_of_a_repository_reaches_git() {
        let mut git = std::process::Command::new("git");
        let local = git.args(["rev-parse", "--local-env-vars"]).output().unwrap().stdout;
        let local = String::from_utf8(local).unwrap();
        assert!(local.lines().count() > 10, "{local}");
        let others = [
            "GIT_NAMESPACE",
            "GIT_TEMPLATE_DIR",
            "GIT_DEFAULT_HASH",
            "GIT_ATTR_SOURCE",
            "GIT_LITERAL_PATHSPECS",
            "GIT_EXTERNAL_DIFF",
            "GIT_TRACE",
            "GIT_AUTHOR_DATE",
            "GIT_CONFIG_SYSTEM",
        ];
        for variable in local.lines().chain(others) {
            assert!(!reaches_git(variable), "{variable}");
        }
        for variable in
            ["PATH", "HTTPS_PROXY", "SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO"]
        {
            assert!(reaches_git(variable), "{variable}");
        }
    }

    #[test]
    fn what_reaches_the_network_is_handed_on() {
        let listing = "core.autocrlf\ntrue\0http.proxy\nhttp://p:1\0http.https://x/.sslVerify\0\
                       init.defaultobjectformat\nsha256\0url.ssh://git@h/.insteadof\nhttps://h/\0\
                       core.fsmonitor\n/bin/x\0transfer.fsckobjects\ntrue\0\
                       credential.helper\nstore\0credential.helper\n\0\
                       core.sshcommand\nssh -v\0filter.lfs.smudge\nx\0safe.directory\n*\0";
        let found = network_settings(listing.as_bytes());
        let expected = [
            ("http.proxy", "http://p:1"),
            ("http.https://x/.sslVerify", "true"),
            ("url.ssh://git@h/.insteadof", "https://h/"),
            ("credential.helper", "store"),
            ("credential.helper", ""),
            ("core.sshcommand", "ssh -v"),
        ];
        let expected = expected.map(|(name, value)| (name.to_string(), value.to_string()));
        assert_eq!(found, expected);
    }
}
