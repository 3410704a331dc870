//! Cases that do not work, told apart by the sides on which they do not. They have no numbers, so
//! no verdict speaks of them; the conclusion does.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::compare::Comparison;
use super::judge::Judged;
use crate::catalog::policy::Policy;
use crate::catalog::suite::Config;
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
    /// It failed on a side on which it also worked.
    Flaky,
}

impl Standing {
    pub const ALL: [Self; 4] =
        [Self::NewlyFailing, Self::NewlyPassing, Self::FailingOnBoth, Self::Flaky];

    pub const fn name(self) -> &'static str {
        match self {
            Self::NewlyFailing => "newly failing",
            Self::NewlyPassing => "newly passing",
            Self::FailingOnBoth => "failing on both sides",
            Self::Flaky => "flaky",
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
    /// Cases that failed on a side on which they also have values.
    flaky: BTreeSet<FailureScope<'a>>,
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
        Self { sides, flaky: BTreeSet::new() }
    }

    /// What fails in the runs of a comparison, beside what was measured in them.
    pub fn in_comparison(runs: &'a [RunRow], judged: &[Judged]) -> Self {
        let measured = |j: &'_ Judged| {
            let Comparison { key, baseline, candidate, .. } = &j.comparison;
            let sides = [baseline.is_some(), candidate.is_some()];
            ((key.host.clone(), key.benchmark.clone(), key.config.clone()), sides)
        };
        Self::in_runs(runs).with_measured(judged.iter().map(measured))
    }

    /// Takes cases (host, benchmark, config) that have values on a side (baseline, candidate) on
    /// which they failed for flaky: the same program passed and did not.
    pub fn with_measured(
        mut self,
        cases: impl IntoIterator<Item = ((String, String, String), [bool; 2])>,
    ) -> Self {
        let mut measured: BTreeMap<(String, String, String), [bool; 2]> = BTreeMap::new();
        for (case, [baseline, candidate]) in cases {
            let sides = measured.entry(case).or_default();
            *sides = [sides[0] | baseline, sides[1] | candidate];
        }
        let is_flaky = |((host, benchmark, config), failed): (&FailureScope<'a>, &[bool; 2])| {
            let (Some(benchmark), Some(config)) = (benchmark, config) else { return false };
            let case = (host.to_string(), benchmark.to_string(), config.to_string());
            let worked = measured.get(&case).copied().unwrap_or_default();
            (failed[0] && worked[0]) || (failed[1] && worked[1])
        };
        self.flaky = self.sides.iter().filter(|scope| is_flaky(*scope)).map(|(s, _)| *s).collect();
        self
    }

    /// Whether a case failed on a side on which it also worked. It decides nothing.
    pub fn is_flaky(&self, host: &str, benchmark: &str, config: &str) -> bool {
        self.flaky.contains(&(host, Some(benchmark), Some(config)))
    }

    /// Whether anything that counts under `policy` works on the baseline and not on the candidate.
    pub fn has_newly_failing(&self, policy: &Policy) -> bool {
        self.sides.keys().any(|scope| {
            let (host, benchmark, config) = scope;
            let config = Config::read(config.unwrap_or_default());
            self.standing_of(*scope) == Standing::NewlyFailing
                && !policy.only_informs(benchmark.unwrap_or_default(), &config, host)
        })
    }

    /// Whether anything fails. A flaky case counts where the baseline never failed: else a candidate
    /// could fail now and then for its case to decide nothing.
    pub fn is_any(&self) -> bool {
        self.sides.iter().any(|(scope, [on_baseline, _])| {
            self.standing_of(*scope) != Standing::Flaky || !on_baseline
        })
    }

    /// The standing of what `failure`, one of those given, is about. What keeps more than that from
    /// working counts: of a side that was not built no case was tried.
    pub fn standing(&self, host: &str, failure: &Failure) -> Standing {
        self.standing_of(scope_of(host, failure))
    }

    fn standing_of(&self, (host, benchmark, config): FailureScope<'_>) -> Standing {
        if self.flaky.contains(&(host, benchmark, config)) {
            return Standing::Flaky;
        }
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
    fn what_failed_where_it_also_worked_is_flaky() {
        use Standing::{
            FailingOnBoth as Both, Flaky, NewlyFailing as Fails, NewlyPassing as Passes,
        };
        type Failures = &'static [(&'static str, Option<Side>)];
        let table: [(Failures, [bool; 2], Standing); 7] = [
            (&[("a/", C)], [true, false], Fails),
            (&[("a/", C)], [true, true], Flaky),
            (&[("a/", B)], [false, true], Passes),
            (&[("a/", B)], [true, true], Flaky),
            (&[("a/", B), ("a/", C)], [false, false], Both),
            (&[("a/", B), ("a/", C)], [true, false], Flaky),
            // What concerns more than one case is no matter of luck.
            (&[("", C)], [true, true], Fails),
        ];
        for (failures, measured, expected) in table {
            let failures: Vec<Failure> = failures.iter().copied().map(failure).collect();
            let case = ("h".to_string(), "a".to_string(), String::new());
            let failing = Failing::new(failures.iter().map(|f| ("h", f)));
            let failing = failing.with_measured([(case, measured)]);
            for failure in &failures {
                assert_eq!(failing.standing("h", failure), expected, "{failures:?} {measured:?}");
            }
            assert_eq!(failing.is_flaky("h", "a", ""), expected == Flaky);
            let on_baseline = failures.iter().any(|f| f.side == B);
            assert_eq!(failing.is_any(), expected != Flaky || !on_baseline);
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
