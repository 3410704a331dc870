//! Counts of verdicts and of failing cases.

use std::collections::{BTreeMap, BTreeSet};

use dyno_model::metric::{self, MetricSource};
use dyno_model::verdict::{Judged, Reason, Standing, Verdict};
use serde::Serialize;

use crate::words::plural;

/// Numbers of series with each verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    pub series: usize,
    pub regressed: usize,
    pub improved: usize,
    pub unchanged: usize,
    pub inconclusive: usize,
}

impl<'a> FromIterator<&'a Verdict> for Tally {
    fn from_iter<I: IntoIterator<Item = &'a Verdict>>(verdicts: I) -> Self {
        let mut tally = Self::default();
        for verdict in verdicts {
            tally.series += 1;
            *match verdict {
                Verdict::Regressed => &mut tally.regressed,
                Verdict::Improved => &mut tally.improved,
                Verdict::Unchanged => &mut tally.unchanged,
                Verdict::Inconclusive(_) => &mut tally.inconclusive,
            } += 1;
        }
        tally
    }
}

/// Numbers of cases that fail, each counted once a host. What concerns all cases is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FailingCases {
    pub newly_failing: usize,
    pub newly_passing: usize,
    pub on_both: usize,
    pub flaky: usize,
}

impl FailingCases {
    /// The number of cases with this standing.
    pub const fn count(self, standing: Standing) -> usize {
        match standing {
            Standing::NewlyFailing => self.newly_failing,
            Standing::NewlyPassing => self.newly_passing,
            Standing::FailingOnBoth => self.on_both,
            Standing::Flaky => self.flaky,
        }
    }
}

/// Numbers of cases, each counted once a host, by the first of these that holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CaseCounts {
    pub total: usize,
    /// The number of hosts that they were measured on.
    pub hosts: usize,
    /// The cases that fail, by the names of their standing.
    pub failing: Vec<(&'static str, usize)>,
    /// The cases with a series that gates and has values of both sides.
    pub gating: usize,
    /// The cases of which what gates was measured on one side only.
    pub one_sided: usize,
    /// The cases whose series are only shown.
    pub shown: usize,
    /// The series that gate of cases that fail.
    #[serde(skip)]
    series_of_failing: usize,
}

impl CaseCounts {
    /// The counts of what was judged and of the cases that fail, given as benchmark, config, host and
    /// standing.
    pub(crate) fn new<'a>(
        judged: &[Judged],
        failing: impl Iterator<Item = (&'a str, &'a str, &'a str, Standing)>,
    ) -> Self {
        let mut standings: BTreeMap<(&str, &str, &str), Standing> = BTreeMap::new();
        for (benchmark, config, host, standing) in failing {
            let known = standings.entry((benchmark, config, host)).or_insert(standing);
            *known = standing.min(*known);
        }
        let key = |j: &'_ Judged| {
            let key = &j.comparison.key;
            (key.benchmark.clone(), key.config.clone(), key.host.clone())
        };
        let fails = |(b, c, h): &(String, String, String)| {
            standings.contains_key(&(b.as_str(), c.as_str(), h.as_str()))
        };
        // The files of an artifact are no case.
        let is_of_case = |j: &&Judged| {
            metric::find(&j.comparison.key.metric)
                .is_none_or(|m| m.source != MetricSource::Artifact)
        };
        let judged: Vec<&Judged> = judged.iter().filter(is_of_case).collect();
        let measured: BTreeSet<_> =
            judged.iter().copied().map(key).filter(|case| !fails(case)).collect();
        let gates = judged.iter().copied().filter(|j| j.comparison.decides).map(key);
        let (failing_gates, gates): (Vec<_>, Vec<_>) = gates.partition(fails);
        let gates: BTreeSet<_> = gates.into_iter().collect();
        let has_both = |j: &&Judged| {
            let is_one_sided =
                matches!(j.verdict, Verdict::Inconclusive(Reason::MissingSide { .. }));
            j.comparison.decides && !is_one_sided
        };
        let paired: BTreeSet<_> = judged.iter().copied().filter(has_both).map(key).collect();
        let gating = gates.intersection(&paired).count();
        let count = |standing: Standing| standings.values().filter(|s| **s == standing).count();
        let failing: Vec<(&'static str, usize)> = Standing::ALL
            .into_iter()
            .map(|standing| (standing.name(), count(standing)))
            .filter(|(_, cases)| *cases > 0)
            .collect();
        let hosts = measured.iter().map(|(_, _, host)| host.as_str());
        let hosts: BTreeSet<&str> =
            hosts.chain(standings.keys().map(|(_, _, host)| *host)).collect();
        Self {
            total: measured.len() + standings.len(),
            hosts: hosts.len(),
            failing,
            gating,
            one_sided: gates.len() - gating,
            shown: measured.len() - gates.len(),
            series_of_failing: failing_gates.len(),
        }
    }

    /// Whether there are cases, and none of them works on both sides.
    pub(crate) fn all_fail(&self) -> bool {
        self.total > 0 && self.gating + self.one_sided + self.shown == 0
    }

    /// `7 cases: 6 compared, 1 newly failing. 6 series that gate: 2 regressed, …`: what adds up.
    pub(crate) fn sentence(&self, tally: &Tally) -> String {
        if self.total == 0 {
            return String::new();
        }
        let mut parts = Vec::new();
        for (cases, what) in [
            (self.gating, "compared"),
            (self.one_sided, "measured on one side only"),
            (self.shown, "without a metric that gates"),
        ] {
            if cases > 0 {
                parts.push(format!("{cases} {what}"));
            }
        }
        parts.extend(self.failing.iter().map(|(name, cases)| format!("{cases} {name}")));
        let hosts = match self.hosts {
            0 | 1 => String::new(),
            hosts => format!(", counted once a host ({hosts} hosts)"),
        };
        let mut text = format!("{}{hosts}: {}.", plural(self.total, "case"), parts.join(", "));
        if tally.series > 0 {
            let verb = if tally.series == 1 { "gates" } else { "gate" };
            let verdicts = [
                (tally.regressed, "regressed"),
                (tally.improved, "improved"),
                (tally.inconclusive, "inconclusive"),
                (tally.unchanged, "unchanged"),
            ];
            let verdicts = verdicts.into_iter().filter(|(series, _)| *series > 0);
            let verdicts: Vec<String> =
                verdicts.map(|(series, verdict)| format!("{series} {verdict}")).collect();
            let series = plural(tally.series, "series");
            text.push_str(&format!(" {series} that {verb}: {}", verdicts.join(", ")));
            if self.series_of_failing > 0 {
                let of = self.series_of_failing;
                text.push_str(&format!(" ({of} of them of cases that fail)"));
            }
            text.push('.');
        }
        text
    }
}

/// Everything a report counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub cases: CaseCounts,
    pub deciding: Tally,
    pub not_deciding: Tally,
    pub informing: Tally,
    pub failures: usize,
    pub failing: FailingCases,
    /// Verdicts on how cases scale.
    pub scalings: Tally,
}
