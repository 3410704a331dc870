//! Cases that do not work, told apart by the sides on which they do not. They have no numbers, so
//! no verdict speaks of them; the conclusion does.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::record::{Failure, RunRow, Side};

/// The side on which something does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It fails on the candidate alone.
    NewlyFailing,
    /// It fails on the baseline alone.
    NewlyPassing,
    FailingOnBoth,
}

impl Standing {
    pub const ALL: [Self; 3] = [Self::NewlyFailing, Self::NewlyPassing, Self::FailingOnBoth];

    pub const fn name(self) -> &'static str {
        match self {
            Self::NewlyFailing => "newly failing",
            Self::NewlyPassing => "newly passing",
            Self::FailingOnBoth => "failing on both sides",
        }
    }
}

/// Host, benchmark and config; `None` for all of them.
type FailureScope<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

/// What fails in the runs of a comparison.
#[derive(Debug, Clone, Default)]
pub struct Failing<'a> {
    /// Whether it failed on the baseline, and on the candidate.
    sides: BTreeMap<FailureScope<'a>, [bool; 2]>,
}

impl<'a> Failing<'a> {
    pub fn in_runs(runs: &'a [RunRow]) -> Self {
        Self::new(runs.iter().flat_map(|run| run.failures.iter().map(|f| (run.host.as_str(), f))))
    }

    /// What fails by `failures`, each with its host.
    pub fn new(failures: impl IntoIterator<Item = (&'a str, &'a Failure)>) -> Self {
        let mut sides: BTreeMap<FailureScope<'a>, [bool; 2]> = BTreeMap::new();
        for (host, failure) in failures {
            let failed = sides.entry(scope_of(host, failure)).or_default();
            failed[0] |= failure.side != Some(Side::Candidate);
            failed[1] |= failure.side != Some(Side::Baseline);
        }
        Self { sides }
    }

    /// The standing of what `failure`, one of those given, is about. What keeps more than that from
    /// working counts: of a side that was not built no case was tried.
    pub fn standing(&self, host: &str, failure: &Failure) -> Standing {
        self.standing_of(scope_of(host, failure))
    }

    fn standing_of(&self, (host, benchmark, config): FailureScope<'_>) -> Standing {
        let wider = [(host, None, None), (host, benchmark, None), (host, benchmark, config)];
        let sides = wider.iter().filter_map(|scope| self.sides.get(scope));
        match sides.fold([false; 2], |any, next| [any[0] | next[0], any[1] | next[1]]) {
            [false, _] => Standing::NewlyFailing,
            [true, false] => Standing::NewlyPassing,
            [true, true] => Standing::FailingOnBoth,
        }
    }

    /// The cases with this standing on any host, as people write them.
    pub fn cases(&self, standing: Standing) -> BTreeSet<String> {
        let matching = self.sides.keys().filter(|scope| self.standing_of(**scope) == standing);
        matching.map(|(_, benchmark, config)| case(*benchmark, *config)).collect()
    }
}

fn scope_of<'a>(host: &'a str, failure: &'a Failure) -> FailureScope<'a> {
    (host, failure.benchmark.as_deref(), failure.config.as_deref())
}

fn case(benchmark: Option<&str>, config: Option<&str>) -> String {
    match (benchmark, config.filter(|config| !config.is_empty())) {
        (None, _) => "all cases".to_string(),
        (Some(benchmark), None) => benchmark.to_string(),
        (Some(benchmark), Some(config)) => format!("{benchmark} [{config}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: Option<Side> = Some(Side::Baseline);
    const C: Option<Side> = Some(Side::Candidate);

    fn failure((scope, side): (&str, Option<Side>)) -> Failure {
        let (benchmark, config) = match scope.split_once('/') {
            Some((benchmark, config)) => (Some(benchmark), Some(config)),
            None => (Some(scope).filter(|scope| !scope.is_empty()), None),
        };
        Failure {
            benchmark: benchmark.map(str::to_string),
            config: config.map(str::to_string),
            side,
            step: "measure".into(),
            reason: String::new(),
            log_tail: String::new(),
        }
    }

    #[test]
    fn standings() {
        use Standing::{FailingOnBoth as Both, NewlyFailing as Fails, NewlyPassing as Passes};
        type Failures = &'static [(&'static str, Option<Side>)];
        let table: [(Failures, &[Standing]); 8] = [
            (&[("a/", C)], &[Fails]),
            (&[("a/", B)], &[Passes]),
            (&[("a/", None)], &[Both]),
            (&[("a/", B), ("a/", C)], &[Both, Both]),
            (&[("a/x=1", B), ("a/x=2", C)], &[Passes, Fails]),
            // All of a benchmark, which one config cannot contradict.
            (&[("a", C), ("a/x=1", B)], &[Fails, Both]),
            // The candidate was not built, so nobody knows that the case passes there.
            (&[("", C), ("a/", B)], &[Fails, Both]),
            (&[("", B), ("a/", B)], &[Passes, Passes]),
        ];
        for (failures, expected) in table {
            let failures: Vec<Failure> = failures.iter().copied().map(failure).collect();
            let failing = Failing::new(failures.iter().map(|f| ("h", f)));
            let got: Vec<Standing> = failures.iter().map(|f| failing.standing("h", f)).collect();
            assert_eq!(got, expected, "{failures:?}");
        }
    }

    #[test]
    fn hosts_are_told_apart() {
        let failures = [failure(("a/x=1", C)), failure(("a/x=1", B))];
        let failing = Failing::new([("h", &failures[0]), ("i", &failures[1])]);
        assert_eq!(failing.standing("h", &failures[0]), Standing::NewlyFailing);
        for standing in [Standing::NewlyFailing, Standing::NewlyPassing] {
            assert_eq!(failing.cases(standing), ["a [x=1]".to_string()].into());
        }
    }
}
