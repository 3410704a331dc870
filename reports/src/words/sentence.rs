//! The verdict over everything, as one sentence.

use std::collections::BTreeSet;

use dyno_model::metric::{self, MetricUnit};
use dyno_model::record::{RunRow, Side};
use dyno_model::step::Step;
use dyno_model::verdict::{Conclusion, Judged, Reason, Standing, Verdict};

use super::plural;
use crate::counts::{Counts, FailingCases};
use crate::number;

/// The facts that the sentence is made from.
pub(crate) struct Facts<'a> {
    pub conclusion: Conclusion,
    pub counts: &'a Counts,
    pub judged: &'a [Judged],
    pub runs: &'a [RunRow],
    /// Name of the policy.
    pub policy: &'a str,
}

impl Facts<'_> {
    fn deciding(&self) -> impl Iterator<Item = &Judged> {
        self.judged.iter().filter(|judged| judged.comparison.decides)
    }
}

/// The verdict over everything, as one sentence.
pub(crate) fn sentence(facts: &Facts<'_>) -> String {
    let tally = &facts.counts.deciding;
    let (better, worse) = adjectives(facts);
    let total = tally.series;
    let verdict = match facts.conclusion {
        Conclusion::Regressed => {
            format!("{} {worse}; none is {better}", share_of_series(tally.regressed, total))
        }
        Conclusion::Improved => {
            format!("{} {better}; none is {worse}", share_of_series(tally.improved, total))
        }
        Conclusion::Mixed => {
            let share = share_of_series(tally.regressed, total);
            format!("{share} {worse}, {} {better}", tally.improved)
        }
        Conclusion::Unchanged => unchanged(facts),
        Conclusion::Inconclusive => inconclusive(facts, better, worse),
    };
    let failing = match failing_cases(facts.counts.failing) {
        cases if cases.is_empty() => cases,
        cases => format!("; {cases}"),
    };
    format!("{}: {verdict}{failing}.", facts.conclusion.name())
}

/// Words for a change: times are faster and slower, anything else better and worse.
fn adjectives(facts: &Facts<'_>) -> (&'static str, &'static str) {
    let is_time = |judged: &Judged| {
        metric::find(&judged.comparison.key.metric)
            .is_some_and(|m| m.unit == MetricUnit::Nanoseconds)
    };
    if facts.deciding().all(is_time) { ("faster", "slower") } else { ("better", "worse") }
}

/// `7 of 8 deciding series are`, `all 8 deciding series are`, `the one deciding series is`.
fn share_of_series(part: usize, total: usize) -> String {
    match (part, total) {
        (1, 1) => "the one deciding series is".to_string(),
        (part, total) if part == total => format!("all {total} deciding series are"),
        (1, total) => format!("1 of {total} deciding series is"),
        (part, total) => format!("{part} of {total} deciding series are"),
    }
}

fn unchanged(facts: &Facts<'_>) -> String {
    let (who, verb) = match facts.counts.deciding.series {
        1 => ("the one".to_string(), "stays"),
        total => (format!("all {total}"), "stay"),
    };
    format!("{who} deciding series {verb} within {}", smallest_effects(facts))
}

/// `1 case newly failing, 2 newly passing`; empty for none.
fn failing_cases(cases: FailingCases) -> String {
    let counts = Standing::ALL.map(|standing| (cases.count(standing), standing.name()));
    let counts = counts.into_iter().filter(|(cases, _)| *cases > 0).enumerate();
    let words = |(at, (cases, name)): (usize, (usize, &str))| match at {
        0 => format!("{} {name}", plural(cases, "case")),
        _ => format!("{} {name}", number::count(cases as u64)),
    };
    counts.map(words).collect::<Vec<_>>().join(", ")
}

fn inconclusive(facts: &Facts<'_>, better: &str, worse: &str) -> String {
    let has_no_pair = |judged: &Judged| {
        matches!(judged.verdict, Verdict::Inconclusive(Reason::MissingSide { .. }))
    };
    if facts.deciding().all(has_no_pair)
        && let Some(failure) = failure_of_a_side(facts.runs)
    {
        return format!("{failure}, so there is nothing to compare");
    }
    let tally = &facts.counts.deciding;
    match (facts.judged.is_empty(), tally.series) {
        (true, _) => "nothing was measured".to_string(),
        (false, 0) => {
            format!("none of the metrics measured decides under the policy {}", facts.policy)
        }
        (false, total) if tally.unchanged == total => unchanged(facts),
        (false, total) => {
            let share = share_of_series(tally.inconclusive, total);
            format!("{share} not settled; none is {worse} or {better}")
        }
    }
}

/// The failure that kept a whole side from being measured.
fn failure_of_a_side(runs: &[RunRow]) -> Option<String> {
    let failure = runs.iter().flat_map(|r| &r.failures).find(|f| f.benchmark.is_none())?;
    let who = match failure.side {
        Some(Side::Baseline) => "the baseline",
        Some(Side::Candidate) => "the candidate",
        None => "neither side",
    };
    Some(match (&failure.step, failure.side) {
        (Step::Build, Some(_)) => format!("{who} did not build"),
        (Step::Build, None) => "neither side built".to_string(),
        (Step::Fetch, Some(_)) => format!("{who} could not be fetched"),
        (Step::Fetch, None) => "neither side could be fetched".to_string(),
        (step, Some(_)) => format!("the step `{step}` of {who} failed"),
        (step, None) => format!("the step `{step}` failed"),
    })
}

/// δ where all deciding series have the same, else what it is.
fn smallest_effects(facts: &Facts<'_>) -> String {
    let percent = |judged: &Judged| number::percent(judged.comparison.delta.exp_m1());
    let deltas: BTreeSet<String> = facts.deciding().map(percent).collect();
    match deltas.iter().next() {
        Some(delta) if deltas.len() == 1 => format!("±{delta}"),
        _ => "the smallest effect of interest of their metric".to_string(),
    }
}
