//! The sentences of a report: what a verdict means, why it is what it is, what holds under the
//! policy. One place, so that every output says the same.

use std::collections::{BTreeMap, BTreeSet};

use dyno_model::catalog::policy::{Policy, Procedure};
use dyno_model::metric::{self, Unit};
use dyno_model::record::{Run, Side};
use dyno_model::verdict::{Conclusion, Judged, Reason, Verdict};

use crate::number;
use crate::view::{Effect, Input, Row, Tally, View, is_counted};

/// Where `stats::rounds_needed` stops counting: at this many, no number of rounds is a remedy.
pub(crate) const ROUNDS_CAP: u32 = 10_000;

/// `fib`, or `fib [threads=2]`.
pub(crate) fn case(benchmark: &str, config: &str) -> String {
    if config.is_empty() { benchmark.to_string() } else { format!("{benchmark} [{config}]") }
}

/// `1 round`, `3 rounds`; `noun` takes an s.
pub(crate) fn many(number: usize, noun: &str) -> String {
    let s = if number == 1 || noun == "series" { "" } else { "s" };
    format!("{} {noun}{s}", number::count(number as u64))
}

pub(crate) fn title(runs: &[Run]) -> String {
    match runs.first() {
        None => "Nothing compared".to_string(),
        Some(run) => format!("{}: {} → {}", run.suite, run.baseline.asked, run.candidate.asked),
    }
}

/// Words for a change: times are faster and slower, anything else better and worse.
fn adjectives(input: &Input<'_>) -> (&'static str, &'static str) {
    let time = |j: &Judged| {
        metric::find(&j.comparison.key.metric).is_some_and(|m| m.unit == Unit::Nanoseconds)
    };
    if input.judged.iter().filter(|j| j.comparison.decides).all(time) {
        ("faster", "slower")
    } else {
        ("better", "worse")
    }
}

/// `7 of 8 deciding series are`, `all 8 deciding series are`, `the one deciding series is`.
fn part(of: usize, all: usize) -> String {
    match (of, all) {
        (1, 1) => "the one deciding series is".to_string(),
        (of, all) if of == all => format!("all {all} deciding series are"),
        (1, all) => format!("1 of {all} deciding series is"),
        (of, all) => format!("{of} of {all} deciding series are"),
    }
}

/// The verdict over everything, as one sentence.
pub(crate) fn sentence(input: &Input<'_>, tally: &Tally) -> String {
    let (better, worse) = adjectives(input);
    let all = tally.series;
    let what = match input.concluded.conclusion {
        Conclusion::Regressed => {
            format!("{} {worse}; none is {better}", part(tally.regressed, all))
        }
        Conclusion::Improved => format!("{} {better}; none is {worse}", part(tally.improved, all)),
        Conclusion::Mixed => {
            format!("{} {worse}, {} {better}", part(tally.regressed, all), tally.improved)
        }
        Conclusion::Unchanged => match all {
            1 => format!("the one deciding series stays within {}", deltas(input.judged)),
            _ => format!("all {all} deciding series stay within {}", deltas(input.judged)),
        },
        Conclusion::Inconclusive => inconclusive(input, tally, better, worse),
    };
    let cases = failed_cases(input.runs);
    let failed =
        if cases > 0 { format!("; {} failed", many(cases, "case")) } else { String::new() };
    format!("{}: {what}{failed}.", input.concluded.conclusion.name())
}

/// Cases that failed, each counted once a host.
fn failed_cases(runs: &[Run]) -> usize {
    let cases: BTreeSet<_> = runs
        .iter()
        .flat_map(|run| run.failures.iter().map(move |f| (&run.host, &f.benchmark, &f.config)))
        .filter(|(_, benchmark, _)| benchmark.is_some())
        .collect();
    cases.len()
}

fn inconclusive(input: &Input<'_>, tally: &Tally, better: &str, worse: &str) -> String {
    let missing =
        |j: &Judged| matches!(j.verdict, Verdict::Inconclusive(Reason::MissingSide { .. }));
    let nothing_compared = input.judged.iter().filter(|j| j.comparison.decides).all(missing);
    if nothing_compared && let Some(failed) = whole_failure(input.runs) {
        return format!("{failed}, so there is nothing to compare");
    }
    match (input.judged.is_empty(), tally.series) {
        (true, _) => "nothing was measured".to_string(),
        (false, 0) => {
            format!("none of the metrics measured decides under the policy {}", input.policy.name)
        }
        (false, all) => {
            format!("{} not settled; none is {worse} or {better}", part(tally.inconclusive, all))
        }
    }
}

/// The failure that kept a whole side from being measured.
fn whole_failure(runs: &[Run]) -> Option<String> {
    let failure = runs.iter().flat_map(|r| &r.failures).find(|f| f.benchmark.is_none())?;
    let who = match failure.side {
        Some(Side::Baseline) => "the baseline",
        Some(Side::Candidate) => "the candidate",
        None => "neither side",
    };
    Some(match (failure.step.as_str(), failure.side) {
        ("build", Some(_)) => format!("{who} did not build"),
        ("build", None) => "neither side built".to_string(),
        ("fetch", Some(_)) => format!("{who} could not be fetched"),
        ("fetch", None) => "neither side could be fetched".to_string(),
        (step, Some(_)) => format!("the step `{step}` of {who} failed"),
        (step, None) => format!("the step `{step}` failed"),
    })
}

fn deltas(judged: &[Judged]) -> String {
    let deltas: BTreeSet<String> = judged
        .iter()
        .filter(|j| j.comparison.decides)
        .map(|j| number::percent(j.comparison.delta.exp_m1()))
        .collect();
    match deltas.iter().next() {
        Some(delta) if deltas.len() == 1 => format!("±{delta}"),
        _ => "the smallest effect of interest of their metric".to_string(),
    }
}

/// What a reader must know right after the sentence.
pub(crate) fn remarks(view: &View) -> Vec<String> {
    let mut remarks = Vec::new();
    let largest = |row: &Row| {
        let effect = row.effect.as_ref()?;
        let host = if view.many_hosts { format!(" on {}", row.host) } else { String::new() };
        let interval = if effect.interval == "exact" { "(counted)" } else { &effect.interval };
        Some(format!("{}, {}{host}: {} {interval}", row.case, row.metric, effect.text))
    };
    if let Some(text) = view.regressed.first().and_then(largest) {
        remarks.push(format!("Largest regression: {text}."));
    }
    if let Some(text) = view.improved.first().and_then(largest) {
        remarks.push(format!("Largest improvement: {text}."));
    }
    remarks.extend(failed(view));
    let open = view.counts.deciding.inconclusive;
    if open > 0 && (view.conclusion != "Inconclusive" || open < view.counts.deciding.series) {
        remarks.push(format!(
            "{} inconclusive: nothing is claimed of {}.",
            part(open, view.counts.deciding.series),
            if open == 1 { "it" } else { "them" }
        ));
    }
    if let Some(rounds) = view.inconclusive.iter().filter_map(|r| r.rounds_needed).max() {
        remarks.push(format!(
            "About {} in all would settle what is too noisy yet.",
            many(rounds as usize, "round")
        ));
    }
    remarks.extend(disagreement(view));
    let others = &view.counts.not_deciding;
    if others.regressed + others.improved > 0 {
        remarks.push(format!(
            "Among metrics that do not decide, {} regressed and {} improved.",
            many(others.regressed, "series"),
            others.improved
        ));
    }
    remarks
}

fn failed(view: &View) -> Option<String> {
    let cases: BTreeSet<&str> =
        view.failures.iter().filter(|f| f.benchmark.is_some()).map(|f| f.case.as_str()).collect();
    let first = view.failures.first()?;
    let whole = view.failures.iter().find(|f| f.benchmark.is_none());
    Some(match (whole, cases.len()) {
        (Some(f), _) => format!("The step {} failed for {} ({}).", f.step, f.case, f.side),
        (None, 1) => format!("1 case failed: {} ({}, {}).", first.case, first.step, first.side),
        (None, n) => {
            let on = |side| view.failures.iter().filter(|f| f.side == side).count();
            let only_candidate = on("candidate") == view.failures.len();
            let side = if only_candidate { ", all on the candidate only" } else { "" };
            format!("{} failed{side}.", many(n, "case"))
        }
    })
}

/// Series that regressed on one host and improved on another.
fn disagreement(view: &View) -> Option<String> {
    let key = |row: &Row| (row.case.clone(), row.metric.clone());
    let regressed: BTreeSet<_> = view.regressed.iter().map(key).collect();
    let both: BTreeSet<_> =
        view.improved.iter().map(key).filter(|k| regressed.contains(k)).collect();
    let (case, metric) = both.first()?;
    let more = if both.len() > 1 { format!(" and {} more", both.len() - 1) } else { String::new() };
    Some(format!("The hosts disagree on {case}, {metric}{more}: worse on one, better on another."))
}

/// Why this series has this verdict.
pub(crate) fn why(
    judged: &Judged,
    effect: Option<&Effect>,
    delta: &str,
    policy: &Policy,
) -> String {
    let comparison = &judged.comparison;
    let interval = effect.map_or("", |e| e.interval.as_str());
    let confidence = number::percent(policy.confidence);
    let limit = policy.q;
    let q = comparison.q.map(number::probability).unwrap_or_default();
    let q = if q.starts_with('<') { format!("q {q}") } else { format!("q = {q}") };
    let counted = is_counted(&comparison.key.metric);
    match &judged.verdict {
        Verdict::Regressed | Verdict::Improved if counted => {
            format!(
                "counted once, so there is no noise to allow for: the effect is outside {delta}"
            )
        }
        Verdict::Regressed | Verdict::Improved => format!(
            "the effect is beyond {delta} ({q}, at most {limit} allowed); {confidence} interval {interval}"
        ),
        Verdict::Unchanged if counted => {
            format!("counted once, so there is no noise to allow for: the effect is within {delta}")
        }
        Verdict::Unchanged => {
            format!("the whole {confidence} interval {interval} lies within {delta}")
        }
        Verdict::Inconclusive(Reason::TooWide { rounds }) => {
            let remedy = if *rounds >= ROUNDS_CAP {
                format!("not even {} would settle it", many(ROUNDS_CAP as usize, "round"))
            } else {
                format!("about {} in all would settle it", many(*rounds as usize, "round"))
            };
            format!(
                "too noisy yet: the {confidence} interval {interval} is not within {delta}, and \
                 an effect beyond that is not sure ({q}, at most {limit} allowed); {remedy}"
            )
        }
        Verdict::Inconclusive(reason) => reason.to_string(),
    }
}

const PHASES: [&str; 8] =
    ["image", "source", "fetch", "build", "measure", "publish", "query", "report"];

/// Phases in the order in which they happen; unknown ones after those.
pub(crate) fn phases(phases_s: &BTreeMap<String, f64>) -> Vec<(String, f64, String)> {
    let place = |name: &str| PHASES.iter().position(|p| *p == name).unwrap_or(PHASES.len());
    let mut phases: Vec<_> =
        phases_s.iter().map(|(name, s)| (name.clone(), *s, number::seconds(*s))).collect();
    phases.sort_by_key(|(name, ..)| place(name));
    phases
}

/// The policy, in words.
pub(crate) fn policy(policy: &Policy, judged: &[Judged]) -> Vec<String> {
    let is_tested = |j: &&Judged| j.comparison.q.is_some() && !is_counted(&j.comparison.key.metric);
    let tested = judged.iter().filter(is_tested).count();
    let procedure = match policy.procedure {
        Procedure::BenjaminiHochberg => "Benjamini–Hochberg",
        Procedure::BenjaminiYekutieli => "Benjamini–Yekutieli, valid under any dependence",
    };
    // A metric may decide for some series and not for others, and with several δ.
    let listed = |decides: bool| -> Vec<String> {
        let mut metrics: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for j in judged.iter().filter(|j| j.comparison.decides == decides) {
            let delta = number::percent(j.comparison.delta.exp_m1());
            metrics.entry(&j.comparison.key.metric).or_default().insert(delta);
        }
        let text = |(name, deltas): (&str, BTreeSet<String>)| {
            format!("{name} (δ = {})", Vec::from_iter(deltas).join(" or "))
        };
        metrics.into_iter().map(text).collect()
    };
    let confidence = number::percent(policy.confidence);
    let mut words =
        vec![
        format!(
            "Regressed or Improved: the effect exceeds the smallest effect of interest δ of its \
             metric, with q ≤ {} ({procedure} over {}, those that decide \
             apart from the others): of all series so \
             called, about {} at most are expected to be false.",
            policy.q, many(tested, "series"), number::percent(policy.q)
        ),
        format!("Unchanged: the whole {confidence} interval of the effect lies within ±δ."),
        "Inconclusive: everything else, missing data included. It is not a verdict of no change."
            .to_string(),
    ];
    let deciding = listed(true);
    if !deciding.is_empty() {
        words.push(format!("Metrics that decide: {}.", deciding.join(", ")));
    }
    let others = listed(false);
    if !others.is_empty() {
        words.push(format!("Shown without deciding: {}.", others.join(", ")));
    }
    words
}
