//! The verdict over everything, as one sentence.

use std::collections::BTreeSet;

use dyno_model::metric::{self, MetricUnit};
use dyno_model::record::{RunRow, Side};
use dyno_model::step::Step;
use dyno_model::verdict::{Conclusion, Judged, Reason, Standing, Verdict};

use super::plural;
use crate::counts::{Counts, FailingCases};
use crate::number;
use crate::view::Row;

/// The facts that the sentence is made from.
pub(crate) struct Facts<'a> {
    pub conclusion: Conclusion,
    pub counts: &'a Counts,
    pub judged: &'a [Judged],
    pub runs: &'a [RunRow],
    /// Name of the policy.
    pub policy: &'a str,
    /// Rows of metrics that are sure of different things: [`crate::View::conflicting`].
    pub conflicting: &'a [Row],
    /// The largest regression in size among metrics that do not decide.
    pub growth: Option<&'a Row>,
}

impl Facts<'_> {
    fn deciding(&self) -> impl Iterator<Item = &Judged> {
        self.judged.iter().filter(|judged| judged.comparison.decides)
    }
}

/// The verdict over everything, as one sentence.
pub(crate) fn sentence(facts: &Facts<'_>) -> String {
    let (better, worse) = adjectives(facts);
    let failing = failing_cases(facts.counts.failing);
    // What the conclusion rests on comes first.
    let is_failing_alone = facts.counts.failing.newly_failing > 0
        && facts.conclusion == Conclusion::Regressed
        && facts.counts.deciding.regressed == 0;
    let (first, last) =
        if is_failing_alone { (failing, String::new()) } else { (String::new(), failing) };
    let mut parts = vec![first];
    parts.extend(conflict(facts.conflicting));
    parts.push(match facts.conclusion {
        Conclusion::Unchanged => unchanged(facts),
        Conclusion::Inconclusive => inconclusive(facts, better, worse),
        _ => changes(facts, better, worse),
    });
    parts.extend(facts.growth.filter(|row| !row.in_conflict).and_then(growth));
    parts.push(last);
    parts.retain(|part| !part.is_empty());
    format!("{}: {}.", facts.conclusion.name(), parts.join("; "))
}

/// The changes of the series that gate.
fn changes(facts: &Facts<'_>, better: &str, worse: &str) -> String {
    let tally = &facts.counts.deciding;
    let share = |part| share_of_series(part, tally.series);
    // "None is worse" is not said where something else is that a reader would call so.
    let is_worse_elsewhere = facts.growth.is_some()
        || facts.counts.failing.newly_failing > 0
        || facts.conflicting.iter().any(|row| row.verdict == "Regressed");
    match (tally.regressed, tally.improved) {
        (0, 0) => match nothing_to_compare(facts) {
            Some(why) => why,
            None if tally.series == 0 => String::new(),
            None if tally.unchanged == tally.series && facts.conflicting.is_empty() => {
                unchanged(facts)
            }
            None => format!("{} {worse} or {better}", none_of(tally.series)),
        },
        (regressed, 0) => format!("{} {worse}; none is {better}", share(regressed)),
        (0, improved) if is_worse_elsewhere => format!("{} {better}", share(improved)),
        (0, improved) => format!("{} {better}; none is {worse}", share(improved)),
        (regressed, improved) => format!("{} {worse}, {improved} {better}", share(regressed)),
    }
}

/// `none of the 6 series that gate is`, `the one series that gates is not`.
fn none_of(total: usize) -> String {
    match total {
        1 => "the one series that gates is not".to_string(),
        total => format!("none of the {total} series that gate is"),
    }
}

/// The largest contradiction between metrics, with both numbers, and how many more there are.
fn conflict(conflicting: &[Row]) -> Option<String> {
    let size = |row: &Row| row.effect.as_ref().map_or(f64::INFINITY, |e| e.fraction.ln_1p().abs());
    let companions = || conflicting.iter().filter(|row| !row.decides);
    let companion = companions().max_by(|a, b| size(a).total_cmp(&size(b)))?;
    let case = |row: &Row| (row.benchmark.clone(), row.config.clone(), row.host.clone());
    let deciding = conflicting.iter().find(|row| row.decides && case(row) == case(companion))?;
    let number =
        |row: &Row| format!("{} {}", row.metric, row.effect_in_sentence().unwrap_or_default());
    let more = match companions().count() - 1 {
        0 => String::new(),
        more => format!(" (and so in {} more)", plural(more, "case")),
    };
    Some(format!(
        "{} of {} contradicts {}{more}",
        number(companion),
        companion.case,
        number(deciding)
    ))
}

/// The regression in size of what does not decide.
fn growth(row: &Row) -> Option<String> {
    let effect = row.effect_in_sentence()?;
    Some(format!("{} of {} {effect}, which does not gate", row.metric, row.case))
}

/// Words for a change: times are faster and slower, anything else better and worse.
fn adjectives(facts: &Facts<'_>) -> (&'static str, &'static str) {
    let is_time = |judged: &Judged| {
        metric::find(&judged.comparison.key.metric)
            .is_some_and(|m| m.unit == MetricUnit::Nanoseconds)
    };
    if facts.deciding().all(is_time) { ("faster", "slower") } else { ("better", "worse") }
}

/// `7 of 8 series that gate are`, `all 8 series that gate are`, `the one series that gates is`.
fn share_of_series(part: usize, total: usize) -> String {
    match (part, total) {
        (1, 1) => "the one series that gates is".to_string(),
        (part, total) if part == total => format!("all {total} series that gate are"),
        (1, total) => format!("1 of {total} series that gate is"),
        (part, total) => format!("{part} of {total} series that gate are"),
    }
}

fn unchanged(facts: &Facts<'_>) -> String {
    let who = match facts.counts.deciding.series {
        1 => "the one series that gates stays".to_string(),
        total => format!("all {total} series that gate stay"),
    };
    format!("{who} within {}", smallest_effects(facts))
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
    if let Some(why) = nothing_to_compare(facts) {
        return why;
    }
    if facts.counts.cases.all_fail() {
        return "no case works on both sides, so there is nothing to compare".to_string();
    }
    let tally = &facts.counts.deciding;
    match (facts.judged.is_empty(), tally.series) {
        (true, _) => "nothing was measured".to_string(),
        (false, 0) => {
            format!("none of the metrics measured gates under the policy {}", facts.policy)
        }
        (false, total) if tally.unchanged == total => unchanged(facts),
        (false, total) => {
            let share = share_of_series(tally.inconclusive, total);
            if facts.growth.is_some() {
                return format!("{share} not settled");
            }
            format!("{share} not settled; none is {worse} or {better}")
        }
    }
}

/// Why there is nothing to compare, where a whole side could not be measured.
fn nothing_to_compare(facts: &Facts<'_>) -> Option<String> {
    let has_no_pair = |judged: &Judged| {
        matches!(judged.verdict, Verdict::Inconclusive(Reason::MissingSide { .. }))
    };
    let failure = failure_of_a_side(facts.runs).filter(|_| facts.deciding().all(has_no_pair))?;
    Some(format!("{failure}, so there is nothing to compare"))
}

/// The failure that kept a whole side, or both, from being measured.
fn failure_of_a_side(runs: &[RunRow]) -> Option<String> {
    let of_sides = |run: &RunRow| -> Vec<(Option<Side>, Step)> {
        let failures = run.failures.iter().filter(|f| f.benchmark.is_none());
        failures.map(|f| (f.side, f.step.clone())).collect()
    };
    let failures = runs.iter().map(of_sides).find(|failures| !failures.is_empty())?;
    let step_of = |side| failures.iter().find(|(of, _)| *of == Some(side)).map(|(_, step)| step);
    let [baseline, candidate] = Side::BOTH.map(step_of);
    Some(match (baseline, candidate) {
        (Some(one), Some(other)) if one == other => neither_side(one),
        (Some(one), Some(other)) => format!(
            "neither side could be measured: the step `{one}` of the baseline failed, and the \
             step `{other}` of the candidate"
        ),
        (Some(step), None) => one_side("the baseline", step),
        (None, Some(step)) => one_side("the candidate", step),
        (None, None) => neither_side(&failures[0].1),
    })
}

fn one_side(side: &str, step: &Step) -> String {
    match step {
        Step::Build => format!("{side} did not build"),
        Step::Fetch => format!("{side} could not be fetched"),
        step => format!("the step `{step}` of {side} failed"),
    }
}

fn neither_side(step: &Step) -> String {
    match step {
        Step::Build => "neither side built".to_string(),
        Step::Fetch => "neither side could be fetched".to_string(),
        step => format!("the step `{step}` failed for both sides"),
    }
}

/// δ where all series that gate have the same, else what it is.
fn smallest_effects(facts: &Facts<'_>) -> String {
    let percent = |judged: &Judged| number::percent(judged.comparison.delta.exp_m1());
    let deltas: BTreeSet<String> = facts.deciding().map(percent).collect();
    match deltas.iter().next() {
        Some(delta) if deltas.len() == 1 => format!("±{delta}"),
        _ => "the smallest effect of interest of their metric".to_string(),
    }
}
