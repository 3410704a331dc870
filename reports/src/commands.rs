//! The commands that a report shows beside its numbers, made from plain values. Nothing else in
//! this crate knows how dyno is called; the command that makes the report again comes in with
//! [`Links`](crate::Links), and may be empty.

use dyno_model::text::shell_word;

/// The command that explains a series of the report that `report` makes; empty where that is.
pub(crate) fn explain(report: &str, series: &str) -> String {
    match report.is_empty() {
        true => String::new(),
        false => format!("{report} --explain {}", shell_word(series)),
    }
}

/// The command that prints every series of the report that `report` makes; `None` where that is
/// empty.
pub(crate) fn every_series(report: &str) -> Option<String> {
    (!report.is_empty()).then(|| format!("{report} --json"))
}

/// The command that measures two commits on a host once more.
pub(crate) fn measure_again(suite: &str, commits: [&str; 2], host: &str, policy: &str) -> String {
    let [suite, baseline, candidate, host] = [suite, commits[0], commits[1], host].map(shell_word);
    let mut command = format!("dyno run {suite} {baseline} {candidate} --host {host} --again");
    if policy != "default" {
        command.push_str(&format!(" --policy {}", shell_word(policy)));
    }
    command
}

/// The command that checks the error rate of a host.
pub(crate) fn selfcheck(suite: &str, commit: &str, host: &str) -> String {
    let mut command = format!("dyno selfcheck {} {}", shell_word(suite), shell_word(commit));
    if host != "local" {
        command.push_str(&format!(" --host {}", shell_word(host)));
    }
    command
}

/// The command that opens the SQL shell under a policy.
pub(crate) fn sql_shell(policy: &str) -> String {
    format!("dyno sql --policy {policy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_back_by_a_shell() {
        assert_eq!(shell_word("threads=2"), "threads=2");
        assert_eq!(
            explain("dyno compare a b", "f[x=1]/wall"),
            "dyno compare a b --explain 'f[x=1]/wall'"
        );
        assert_eq!(explain("", "f/wall"), "");
        assert_eq!(every_series(""), None);
        assert_eq!(
            measure_again("my suite", ["a", "b"], "it's", "strict"),
            "dyno run 'my suite' a b --host 'it'\\''s' --again --policy strict"
        );
        assert_eq!(selfcheck("wasmi", "main", "local"), "dyno selfcheck wasmi main");
    }
}
