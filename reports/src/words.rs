//! The sentences of a report: what a verdict means, why it is what it is, what holds under the
//! policy. One place, so that every output says the same.

use std::collections::{BTreeMap, BTreeSet};

use dyno_model::catalog::policy::{HostConflict, Policy};
use dyno_model::metric::{self, MetricUnit};
use dyno_model::record::{RunRow, Side};
use dyno_model::selfcheck::{Rate, SelfCheck};
use dyno_model::stats::Noise;
use dyno_model::step::Step;
use dyno_model::verdict::{
    Concluded, Conclusion, ConclusionReason, Judged, Reason, SeriesKey, Standing, Verdict,
};

use crate::number;
use crate::view::{
    AskAgain, Counts, Effect, FailingCases, FailureView, Input, Row, SelfCheckView, Tally, View,
};

mod policy;
pub(crate) mod scaling;

pub(crate) use policy::{policy, procedure};

/// Where `stats::rounds_needed` stops counting: at this many, no number of rounds is a remedy.
pub(crate) const ROUNDS_CAP: u32 = 10_000;

/// `fib`, or `fib [threads=2]`.
pub(crate) fn case(benchmark: &str, config: &str) -> String {
    if config.is_empty() { benchmark.to_string() } else { format!("{benchmark} [{config}]") }
}

/// `fib[threads=2]/wall@local`: the name of a series in one word.
pub(crate) fn series(key: &SeriesKey) -> String {
    let SeriesKey { benchmark, config, metric, host } = key;
    let config = if config.is_empty() { String::new() } else { format!("[{config}]") };
    format!("{benchmark}{config}/{metric}@{host}")
}

/// The command that explains a series of what `command` compares.
pub(crate) fn explain(command: &str, series: &str) -> String {
    format!("{command} --explain {}", shell(series))
}

/// `1 round`, `3 rounds`; `noun` takes an s.
pub(crate) fn many(number: usize, noun: &str) -> String {
    let s = if number == 1 || noun == "series" { "" } else { "s" };
    format!("{} {noun}{s}", number::count(number as u64))
}

pub(crate) fn title(runs: &[RunRow]) -> String {
    match runs.first() {
        None => "Nothing compared".to_string(),
        Some(run) => format!("{}: {} → {}", run.suite, run.baseline.asked, run.candidate.asked),
    }
}

/// Words for a change: times are faster and slower, anything else better and worse.
fn adjectives(input: &Input<'_>) -> (&'static str, &'static str) {
    let time = |j: &Judged| {
        metric::find(&j.comparison.key.metric).is_some_and(|m| m.unit == MetricUnit::Nanoseconds)
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
pub(crate) fn sentence(input: &Input<'_>, counts: &Counts) -> String {
    let tally = &counts.deciding;
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
        Conclusion::Unchanged => stays(input, all),
        Conclusion::Inconclusive => inconclusive(input, tally, better, worse),
    };
    let failing = match failing(counts.failing) {
        cases if cases.is_empty() => cases,
        cases => format!("; {cases}"),
    };
    format!("{}: {what}{failing}.", input.concluded.conclusion.name())
}

fn stays(input: &Input<'_>, all: usize) -> String {
    let (who, verb) =
        if all == 1 { ("the one", "stays") } else { (&*format!("all {all}"), "stay") };
    format!("{who} deciding series {verb} within {}", deltas(input.judged))
}

/// `1 case newly failing, 2 newly passing`; empty for none.
fn failing(cases: FailingCases) -> String {
    let some = Standing::ALL.map(|standing| (cases.of(standing), standing.name()));
    let text = |(at, (cases, name)): (usize, (usize, &str))| match at {
        0 => format!("{} {name}", many(cases, "case")),
        _ => format!("{} {name}", number::count(cases as u64)),
    };
    let some = some.into_iter().filter(|(cases, _)| *cases > 0).enumerate();
    some.map(text).collect::<Vec<_>>().join(", ")
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
        (false, all) if tally.unchanged == all => stays(input, all),
        (false, all) => {
            format!("{} not settled; none is {worse} or {better}", part(tally.inconclusive, all))
        }
    }
}

/// The failure that kept a whole side from being measured.
fn whole_failure(runs: &[RunRow]) -> Option<String> {
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

/// The reasons of a conclusion, a sentence each; the verdicts of one architecture in one.
pub(crate) fn reasons(concluded: &Concluded, failures: &[FailureView]) -> Vec<String> {
    let mut sentences: Vec<String> = Vec::new();
    let mut last: Option<&Option<String>> = None;
    let differing = Differing::of(concluded);
    for because in &concluded.reasons {
        match because {
            because if differing.has_folded(because) => {}
            // The sentence over everything says that already.
            ConclusionReason::Verdicts { series, deciding, architecture: None, .. }
                if series == deciding => {}
            ConclusionReason::Verdicts { verdict, series, deciding: of, architecture } => {
                let verdict = verdict.to_lowercase();
                match sentences.last_mut().filter(|_| last == Some(architecture)) {
                    Some(sentence) => sentence.push_str(&format!(", {series} {verdict}")),
                    None => {
                        let on = architecture.as_ref().map(|a| format!(" on {a}"));
                        let on = on.unwrap_or_default();
                        sentences.push(format!("{of} deciding series{on}: {series} {verdict}"));
                    }
                }
                last = Some(architecture);
            }
            other => {
                let text = match other {
                    ConclusionReason::OneSideWorks { standing, .. } => {
                        with_standing(failures, *standing)
                    }
                    other => other.to_string(),
                };
                sentences.push(capitalised(&text));
                last = None;
            }
        }
    }
    sentences.extend(differing.sentences());
    sentences.iter_mut().for_each(|sentence| sentence.push('.'));
    sentences
}

/// Differences between the configs of a benchmark, and between the metrics of a case: where a suite
/// has many of them they are one sentence each, and the rows say the rest.
#[derive(Default)]
struct Differing {
    /// Benchmarks.
    configs: BTreeSet<String>,
    /// Cases.
    metrics: BTreeSet<String>,
}

impl Differing {
    const LISTED_MAX: usize = 3;

    fn of(concluded: &Concluded) -> Self {
        let mut all = Self::default();
        for because in &concluded.reasons {
            match because {
                ConclusionReason::ConfigsDisagree { benchmark, .. } => {
                    all.configs.insert(benchmark.clone())
                }
                ConclusionReason::MetricsDisagree { case, .. } => all.metrics.insert(case.clone()),
                _ => false,
            };
        }
        all
    }

    fn has_folded(&self, because: &ConclusionReason) -> bool {
        match because {
            ConclusionReason::ConfigsDisagree { .. } => self.configs.len() > Self::LISTED_MAX,
            ConclusionReason::MetricsDisagree { .. } => self.metrics.len() > Self::LISTED_MAX,
            _ => false,
        }
    }

    fn sentences(&self) -> Vec<String> {
        let folded = |what: &str, names: &BTreeSet<String>, noun: &str| {
            let number = names.len();
            // A case begins with its benchmark.
            let benchmarks: BTreeSet<&str> =
                names.iter().map(|name| name.split(" [").next().unwrap_or(name)).collect();
            let benchmarks: Vec<String> = benchmarks.into_iter().map(str::to_string).collect();
            let text = || format!("{what} {} ({})", many(number, noun), few(&benchmarks));
            (number > Self::LISTED_MAX).then(text)
        };
        let configs = "Configs differ, worse in one and better in another, of";
        let configs = folded(configs, &self.configs, "benchmark");
        let metrics = folded("Metrics differ about", &self.metrics, "case");
        configs.into_iter().chain(metrics).collect()
    }
}

pub(crate) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// For each host that is to be asked again, the command that does it. The commits are named by
/// their ids: a branch may mean another one by now.
pub(crate) fn ask_again(input: &Input<'_>) -> Vec<AskAgain> {
    let command = |host: &String| {
        let run = input.runs.iter().find(|run| run.host == *host)?;
        let mut words = vec!["dyno".to_string(), "run".to_string(), shell(&run.suite)];
        words.extend([&run.baseline, &run.candidate].map(|built| shell(&built.commit.to_string())));
        words.extend(["--host".to_string(), shell(host), "--again".to_string()]);
        if input.policy.name != "default" {
            words.extend(["--policy".to_string(), shell(&input.policy.name)]);
        }
        Some(AskAgain { host: host.clone(), command: words.join(" ") })
    };
    input.concluded.ask_again.iter().filter_map(command).collect()
}

/// `word` as a shell reads it back.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@%+=,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// What is known of the error rate of each host, as it was when it measured.
pub(crate) fn selfchecks(runs: &[RunRow], checks: &[SelfCheck]) -> Vec<SelfCheckView> {
    // The newest run of each host, in the order of the runs.
    let newest =
        |(at, run): &(usize, &RunRow)| !runs[at + 1..].iter().any(|later| later.host == run.host);
    let view = |(_, run): (usize, &RunRow)| {
        let host = run.host.as_str();
        let fingerprint = run.fingerprint.digest();
        let of_it = |check: &&SelfCheck| check.host == host && check.fingerprint == fingerprint;
        if let Some(check) = checks.iter().rfind(of_it) {
            return SelfCheckView {
                host: host.to_string(),
                rate: check.rate(),
                text: format!("Self-check of {host}: {check}."),
                command: None,
                check: Some(check.clone()),
            };
        }
        let elsewhere = if host == "local" { "" } else { &format!(" --host {}", shell(host)) };
        let (suite, commit) = (shell(&run.suite), shell(&run.baseline.asked));
        SelfCheckView {
            host: host.to_string(),
            rate: Rate::Unknown,
            text: format!("Self-check of {host}: none yet of this machine as it is."),
            command: Some(format!("dyno selfcheck {suite} {commit}{elsewhere}")),
            check: None,
        }
    };
    runs.iter().enumerate().filter(newest).map(view).collect()
}

/// What a reader must know right after the sentence.
pub(crate) fn remarks(view: &View, policy: &Policy) -> Vec<String> {
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
    if let Some(rounds) = view.inconclusive.iter().filter_map(|r| r.rounds_needed).max() {
        remarks.push(format!(
            "About {} in all would settle what is too noisy yet.",
            many(rounds as usize, "round")
        ));
    }
    if policy.conflicting_hosts == HostConflict::Count {
        remarks.extend(disagreement(view));
    }
    remarks.extend(scaling::remark(view));
    for check in view.selfchecks.iter().filter(|check| check.rate == Rate::More) {
        remarks.push(check.text.clone());
    }
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

/// What failed on both sides, and what no case could be measured for: no reason names those.
fn failed(view: &View) -> Option<String> {
    if let Some(f) = view.failures.iter().find(|f| f.benchmark.is_none()) {
        return Some(format!("The step {} failed for {} ({}).", f.step, f.case, f.side));
    }
    let on_both = Standing::FailingOnBoth;
    view.is_any(on_both)
        .then(|| format!("{}.", capitalised(&with_standing(&view.failures, on_both))))
}

/// `newly failing: fib, syn (12 cases)`, each once, whatever the host.
fn with_standing(failures: &[FailureView], standing: Standing) -> String {
    let mut benchmarks: BTreeMap<Option<&str>, BTreeSet<&str>> = BTreeMap::new();
    for failure in failures.iter().filter(|f| f.standing == standing) {
        benchmarks.entry(failure.benchmark.as_deref()).or_default().insert(&failure.case);
    }
    let name = |(benchmark, cases): (Option<&str>, BTreeSet<&str>)| match (benchmark, cases.len()) {
        (Some(benchmark), 2..) => format!("{benchmark} ({})", many(cases.len(), "case")),
        _ => cases.into_iter().collect(),
    };
    format!("{}: {}", standing.name(), few(&benchmarks.into_iter().map(name).collect::<Vec<_>>()))
}

/// The first names of many.
fn few(names: &[String]) -> String {
    const LISTED_MAX: usize = 8;
    let listed: Vec<&str> = names.iter().take(LISTED_MAX).map(String::as_str).collect();
    let more = match names.len().saturating_sub(LISTED_MAX) {
        0 => String::new(),
        more => format!(", {} more", number::count(more as u64)),
    };
    listed.join(", ") + &more
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
    let counted = metric::is_deterministic(&comparison.key.metric);
    let lent = comparison.noise.map(lent).unwrap_or_default();
    match &judged.verdict {
        Verdict::Regressed | Verdict::Improved if counted => {
            format!(
                "counted once, so there is no noise to allow for: the effect is outside {delta}"
            )
        }
        Verdict::Regressed | Verdict::Improved => format!(
            "the effect is beyond {delta} ({q}, at most {limit} allowed); {confidence} interval {interval}{lent}"
        ),
        Verdict::Unchanged if counted => {
            format!("counted once, so there is no noise to allow for: the effect is within {delta}")
        }
        Verdict::Unchanged => {
            format!("the whole {confidence} interval {interval} lies within {delta}{lent}")
        }
        Verdict::Inconclusive(Reason::TooWide { rounds }) => {
            let remedy = if *rounds >= ROUNDS_CAP {
                format!("not even {} would settle it", many(ROUNDS_CAP as usize, "round"))
            } else {
                format!("about {} in all would settle it", many(*rounds as usize, "round"))
            };
            format!(
                "too noisy yet: the {confidence} interval {interval} is not within {delta}, and \
                 an effect beyond that is not sure ({q}, at most {limit} allowed); {remedy}{lent}"
            )
        }
        Verdict::Inconclusive(reason) => reason.to_string(),
    }
}

/// Who lent degrees of freedom to a variance: empty where nobody did.
fn lent(noise: Noise) -> String {
    let history = noise.history.map_or(0.0, |h| h.df);
    let crowd = noise.used.df - noise.run.df - history;
    let others = [(history, "past runs"), (crowd, "the crowd")];
    let others: String = others
        .into_iter()
        .filter(|(df, _)| *df >= 0.05)
        .map(|(df, who)| format!(", {} of {who}", number::freedom(df)))
        .collect();
    if others.is_empty() {
        return others;
    }
    format!("; degrees of freedom of its noise: {} its own{others}", number::freedom(noise.run.df))
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
