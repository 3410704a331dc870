//! Everything a report says, as data: built once by [`View::new`], laid out by the writers.
//!
//! Each number stands here twice, as text for people (with unit, and no more digits than its
//! interval supports) and raw (base units; effects as fractions, 0.05 is five per cent more).
//! Rows are sorted as they are shown. Text from outside is raw.

use std::collections::{BTreeMap, BTreeSet};

use dyno_model::catalog::policy::{Policy, Tier};
use dyno_model::metric::{self, Unit};
use dyno_model::record::{Extent, Failure, Run, Side};
use dyno_model::selfcheck::{Rate, SelfCheck};
use dyno_model::verdict::{Concluded, Judged, Reason, SeriesKey, Verdict};
use serde::Serialize;

use crate::provenance::{Provenance, provenance};
use crate::{means, number, words};

/// Version of the view's JSON: raised when a field changes its meaning or goes; a reader must
/// ignore fields it does not know.
pub const VERSION: u32 = 1;

/// Longest log tail kept of a failure, in lines and in characters a line.
const LOG_LINES_MAX: usize = 200;
const LOG_LINE_CHARS_MAX: usize = 2000;

/// What a report is made from.
pub struct Input<'a> {
    /// The jobs compared, one a host.
    pub runs: &'a [Run],
    pub judged: &'a [Judged],
    pub policy: &'a Policy,
    pub concluded: &'a Concluded,
    /// What self-checks of the hosts came to; those of another fingerprint than a run's are not shown.
    pub selfchecks: &'a [SelfCheck],
    pub links: Links,
    /// The SQL that gives the numbers of a series.
    pub sql: &'a dyn Fn(&SeriesKey) -> String,
}

/// Where the data lies, and how to make the report again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Links {
    /// Parquet files of the samples: URLs, or paths relative to `store`.
    pub samples: Vec<String>,
    /// URL of the store.
    pub store: String,
    /// The command that made this report.
    pub command: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    pub version: u32,
    /// What is compared: `wasmi: 0.31.2 → 0.46.0`.
    pub title: String,
    pub conclusion: &'static str,
    /// The conclusion and what it rests on, in one sentence.
    pub sentence: String,
    /// Why the conclusion is what it is, a sentence each.
    pub reasons: Vec<String>,
    /// Hosts to ask again because they contradict each other, and how.
    pub ask_again: Vec<AskAgain>,
    /// What else a reader must know at once, a sentence each; at most six.
    pub remarks: Vec<String>,
    /// Geometric means over the deciding cases, by metric and host.
    pub means: Vec<Mean>,
    /// Whether false positives come at their nominal rate, a line each host.
    pub selfchecks: Vec<SelfCheckView>,
    pub counts: Counts,
    /// Whether series come from more than one host, so that rows must name it.
    pub many_hosts: bool,
    /// Series whose metric decides, by verdict; what changed most comes first.
    pub regressed: Vec<Row>,
    pub improved: Vec<Row>,
    /// Those that hosts contradict each other about come first.
    pub inconclusive: Vec<Row>,
    pub unchanged: Vec<Row>,
    /// Series whose metric does not decide, whatever their verdict.
    pub not_deciding: Vec<Row>,
    /// Series of cases and hosts that the policy has only inform (tier `inform`).
    pub informing: Vec<Row>,
    pub failures: Vec<FailureView>,
    pub notices: Vec<String>,
    pub policy: PolicyView,
    pub runs: Vec<Provenance>,
    pub links: Links,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    pub series: usize,
    pub regressed: usize,
    pub improved: usize,
    pub unchanged: usize,
    pub inconclusive: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub deciding: Tally,
    pub not_deciding: Tally,
    pub informing: Tally,
    pub failures: usize,
}

/// A host whose series contradict another's, and the command that asks it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AskAgain {
    pub host: String,
    pub command: String,
}

/// The effect over the deciding cases of one metric on one host, each weighing the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mean {
    pub metric: String,
    pub host: String,
    pub cases: usize,
    pub effect: Effect,
    /// All of it in one sentence.
    pub text: String,
}

/// What is known of one host's error rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SelfCheckView {
    pub host: String,
    /// `unknown` where this machine, as it was, was not checked.
    pub rate: Rate,
    pub text: String,
    /// How to check it, where it was not.
    pub command: Option<String>,
    pub check: Option<SelfCheck>,
}

/// One side of a series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Value {
    /// The median, as text.
    pub text: String,
    /// Smallest to largest, as text.
    pub spread: String,
    pub median: f64,
    pub min: i64,
    pub max: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effect {
    /// `+4.2 %`
    pub text: String,
    /// `[+3.1 %, +5.3 %]`, or `exact` for a metric counted once.
    pub interval: String,
    pub fraction: f64,
    pub low: f64,
    pub high: f64,
}

/// One series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Unique in this view: `s1`, `s2`, …
    pub id: String,
    pub verdict: &'static str,
    /// The verdict as people read it: `conflict: hosts` where hosts contradict each other.
    pub shown: &'static str,
    /// `▲` for more than before, `▼` for less, `=` for unchanged, `?` for inconclusive, `≠` for a
    /// conflict.
    pub mark: &'static str,
    /// Benchmark and config, as people write them.
    pub case: String,
    pub benchmark: String,
    pub config: String,
    pub metric: String,
    pub unit: &'static str,
    pub host: String,
    pub decides: bool,
    pub tier: Tier,
    pub baseline: Option<Value>,
    pub candidate: Option<Value>,
    pub effect: Option<Effect>,
    /// δ, the smallest effect of interest, as text: `±1 %`.
    pub delta: String,
    pub delta_fraction: f64,
    pub q_text: String,
    pub q: Option<f64>,
    pub p: Option<f64>,
    pub rounds: u32,
    /// Samples left out because something disturbed them.
    pub tainted: u32,
    /// Rounds in all that would settle an inconclusive series, and how many that is more.
    pub rounds_needed: Option<u32>,
    pub rounds_more: Option<u32>,
    /// Why the verdict is what it is.
    pub why: String,
    /// What other metrics, which could decide elsewhere, say of the same case on the same host.
    pub beside: Vec<Beside>,
    /// Its name for `--explain`: `fib[threads=2]/wall@local`.
    pub series: String,
    /// The command that explains it, round by round.
    pub explain: String,
    pub sql: String,
}

impl Row {
    /// The series it shows.
    pub fn key(&self) -> SeriesKey {
        SeriesKey {
            benchmark: self.benchmark.clone(),
            config: self.config.clone(),
            metric: self.metric.clone(),
            host: self.host.clone(),
        }
    }

    /// Whether hosts contradict each other about it.
    pub fn is_conflict(&self) -> bool {
        self.shown != self.verdict
    }
}

/// A metric that stands beside the one that decides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Beside {
    /// Of its own row.
    pub id: String,
    pub metric: String,
    pub verdict: &'static str,
    pub mark: &'static str,
    /// `wall ▼ −5.1 %`, and the verdict where it is another one.
    pub text: String,
    /// Whether it is sure of another thing than the metric that decides.
    pub differs: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureView {
    /// `all cases` where no single one failed.
    pub case: String,
    pub benchmark: Option<String>,
    pub config: Option<String>,
    pub host: String,
    /// `baseline`, `candidate` or `both sides`.
    pub side: &'static str,
    pub step: String,
    pub reason: String,
    /// The last lines it printed.
    pub log: String,
    /// Lines before those, left out here.
    pub log_lines_left_out: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyView {
    pub name: String,
    pub words: Vec<String>,
    pub q: f64,
    pub confidence: f64,
}

impl View {
    /// Says everything there is to say about `input`.
    pub fn new(input: Input<'_>) -> Self {
        let hosts: BTreeSet<&str> = input
            .runs
            .iter()
            .map(|run| run.host.as_str())
            .chain(input.judged.iter().map(|j| j.comparison.key.host.as_str()))
            .collect();
        let mut judged: Vec<&Judged> = input.judged.iter().collect();
        judged.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| size(b).total_cmp(&size(a))));
        let mut rows: Vec<Row> = judged
            .iter()
            .enumerate()
            .map(|(index, j)| row(index, j, input.policy, input.sql))
            .collect();
        set_beside(&mut rows, input.policy);
        for row in &mut rows {
            row.explain = words::explain(&input.links.command, &row.series);
        }
        let of = |wanted: &dyn Fn(&Row) -> bool| -> Vec<Row> {
            rows.iter().filter(|row| wanted(row)).cloned().collect()
        };
        let deciding = |name: &str| of(&|row| row.decides && row.verdict == name);
        let informing = |row: &Row| row.tier == Tier::Inform;
        let not_deciding = |row: &Row| !row.decides && !informing(row);
        let failures: Vec<FailureView> = input
            .runs
            .iter()
            .flat_map(|run| run.failures.iter().map(|f| failure(f, &run.host)))
            .collect();
        let counts = Counts {
            deciding: tally(&rows, |row| row.decides),
            not_deciding: tally(&rows, not_deciding),
            informing: tally(&rows, informing),
            failures: failures.len(),
        };
        let many_hosts = hosts.len() > 1;
        let mut view = Self {
            version: VERSION,
            title: words::title(input.runs),
            conclusion: input.concluded.conclusion.name(),
            sentence: words::sentence(&input, &counts.deciding),
            reasons: words::reasons(input.concluded),
            ask_again: words::ask_again(&input),
            remarks: Vec::new(),
            means: means::means(input.judged, input.policy, many_hosts),
            selfchecks: words::selfchecks(input.runs, input.selfchecks),
            counts,
            many_hosts,
            regressed: deciding("Regressed"),
            improved: deciding("Improved"),
            inconclusive: deciding("Inconclusive"),
            unchanged: deciding("Unchanged"),
            not_deciding: of(&not_deciding),
            informing: of(&informing),
            failures,
            notices: notices(input.runs),
            policy: PolicyView {
                name: input.policy.name.clone(),
                words: words::policy(input.policy, input.judged),
                q: input.policy.q,
                confidence: input.policy.confidence,
            },
            runs: input.runs.iter().map(provenance).collect(),
            links: input.links,
        };
        view.remarks = words::remarks(&view, input.policy);
        view
    }

    /// Every row, in the order shown.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        [&self.regressed, &self.improved, &self.inconclusive, &self.unchanged]
            .into_iter()
            .chain([&self.not_deciding, &self.informing])
            .flatten()
    }

    /// The rows that hosts contradict each other about.
    pub fn conflicts(&self) -> impl Iterator<Item = &Row> {
        self.inconclusive.iter().filter(|row| row.is_conflict())
    }
}

/// Deciding first and what only informs last, then by verdict as shown; ties are broken by size,
/// which puts the largest effect first, except where size means nothing.
fn order(judged: &Judged) -> (bool, bool, u8) {
    let verdict = match judged.verdict {
        Verdict::Regressed => 0,
        Verdict::Improved => 1,
        Verdict::Inconclusive(Reason::HostsDisagree { .. }) => 2,
        Verdict::Inconclusive(_) => 3,
        Verdict::Unchanged => 4,
    };
    (judged.comparison.tier == Tier::Inform, !judged.comparison.decides, verdict)
}

fn size(judged: &Judged) -> f64 {
    match (&judged.verdict, judged.comparison.estimate) {
        (Verdict::Regressed | Verdict::Improved, Some(estimate)) => estimate.mean.abs(),
        _ => 0.0,
    }
}

fn tally(rows: &[Row], wanted: impl Fn(&Row) -> bool) -> Tally {
    let mut tally = Tally::default();
    for row in rows.iter().filter(|row| wanted(row)) {
        tally.series += 1;
        *match row.verdict {
            "Regressed" => &mut tally.regressed,
            "Improved" => &mut tally.improved,
            "Unchanged" => &mut tally.unchanged,
            _ => &mut tally.inconclusive,
        } += 1;
    }
    tally
}

/// Gives each deciding row what the metrics that could decide elsewhere say of its case and host.
fn set_beside(rows: &mut [Row], policy: &Policy) {
    type CaseOn = (String, String, String);
    let case_on = |row: &Row| (row.benchmark.clone(), row.config.clone(), row.host.clone());
    let mut others: BTreeMap<CaseOn, Vec<Row>> = BTreeMap::new();
    for row in rows.iter() {
        if !row.decides && row.tier == Tier::Gate && policy.can_decide(&row.metric) {
            others.entry(case_on(row)).or_default().push(row.clone());
        }
    }
    for row in rows.iter_mut().filter(|row| row.decides) {
        let others = others.get(&case_on(row)).map_or(&[][..], Vec::as_slice);
        row.beside = others.iter().map(|other| beside(row, other)).collect();
    }
}

fn beside(row: &Row, other: &Row) -> Beside {
    let effect = other.effect.as_ref().map_or(String::new(), |e| format!(" {}", e.text));
    let same = other.verdict == row.verdict;
    let verdict = if same { String::new() } else { format!(", {}", other.verdict) };
    Beside {
        id: other.id.clone(),
        metric: other.metric.clone(),
        verdict: other.verdict,
        mark: other.mark,
        text: format!("{} {}{effect}{verdict}", other.metric, other.mark),
        differs: !same && [row, other].iter().all(|r| r.verdict != "Inconclusive"),
    }
}

fn row(index: usize, judged: &Judged, policy: &Policy, sql: &dyn Fn(&SeriesKey) -> String) -> Row {
    let comparison = &judged.comparison;
    let key = &comparison.key;
    let unit = metric::find(&key.metric).map_or(Unit::Count, |m| m.unit);
    let effect = comparison.effect().zip(comparison.interval()).map(|(fraction, (low, high))| {
        let (text, interval) = number::effect(fraction, low, high);
        Effect { text, interval, fraction, low, high }
    });
    let half_width = effect.as_ref().map(|e| (e.high - e.low) / 2.0).filter(|h| *h > 0.0);
    let value = |extent: Option<Extent>| {
        extent.map(|Extent { median, min, max }| Value {
            text: number::quantity(median, unit, half_width),
            spread: spread(min, max, unit),
            median,
            min,
            max,
        })
    };
    let needed = match judged.verdict {
        Verdict::Inconclusive(Reason::TooWide { rounds }) if rounds < words::ROUNDS_CAP => {
            Some(rounds)
        }
        Verdict::Inconclusive(Reason::TooFewRounds { .. }) => Some(2),
        _ => None,
    };
    let delta_fraction = comparison.delta.exp_m1();
    let delta = format!("±{}", number::percent(delta_fraction));
    Row {
        id: format!("s{}", index + 1),
        verdict: judged.verdict.name(),
        shown: match &judged.verdict {
            Verdict::Inconclusive(Reason::HostsDisagree { .. }) => "conflict: hosts",
            verdict => verdict.name(),
        },
        mark: match &judged.verdict {
            Verdict::Unchanged => "=",
            Verdict::Inconclusive(Reason::HostsDisagree { .. }) => "≠",
            Verdict::Inconclusive(_) => "?",
            _ if effect.as_ref().is_some_and(|e| e.fraction < 0.0) => "▼",
            _ => "▲",
        },
        case: words::case(&key.benchmark, &key.config),
        benchmark: key.benchmark.clone(),
        config: key.config.clone(),
        metric: key.metric.clone(),
        unit: unit.name(),
        host: key.host.clone(),
        decides: judged.comparison.decides,
        tier: judged.comparison.tier,
        baseline: value(comparison.baseline),
        candidate: value(comparison.candidate),
        why: words::why(judged, effect.as_ref(), &delta, policy),
        effect,
        delta,
        delta_fraction,
        // A counted value was not drawn from anything: its q is 0 or 1 by definition.
        q_text: match comparison.q {
            Some(_) if metric::is_counted(&key.metric) => "–".to_string(),
            Some(q) => number::probability(q),
            None => "–".to_string(),
        },
        q: comparison.q,
        p: comparison.estimate.map(|e| e.p),
        rounds: comparison.rounds,
        tainted: comparison.tainted,
        rounds_needed: needed,
        rounds_more: needed.map(|n| n.saturating_sub(comparison.rounds)),
        beside: Vec::new(),
        series: words::series(key),
        explain: String::new(),
        sql: sql(key),
    }
}

fn spread(min: i64, max: i64, unit: Unit) -> String {
    let [low, high] = [min, max].map(|v| number::quantity(v as f64, unit, None));
    if low == high { low } else { format!("{low} to {high}") }
}

fn failure(failure: &Failure, host: &str) -> FailureView {
    let all: Vec<&str> = failure.log_tail.lines().collect();
    let left_out = all.len().saturating_sub(LOG_LINES_MAX);
    let kept: Vec<_> =
        all[left_out..].iter().map(|l| crate::escape::bounded(l, LOG_LINE_CHARS_MAX)).collect();
    FailureView {
        case: match (&failure.benchmark, &failure.config) {
            (Some(benchmark), config) => words::case(benchmark, config.as_deref().unwrap_or("")),
            (None, _) => "all cases".to_string(),
        },
        benchmark: failure.benchmark.clone(),
        config: failure.config.clone(),
        host: host.to_string(),
        side: failure.side.map_or("both sides", Side::name),
        step: failure.step.clone(),
        reason: failure.reason.clone(),
        log: kept.join("\n"),
        log_lines_left_out: left_out,
    }
}

/// The runs' own notices, and what differs between runs that are shown together.
fn notices(runs: &[Run]) -> Vec<String> {
    let mut notices: Vec<String> = Vec::new();
    let several = runs.iter().map(|r| &r.host).collect::<BTreeSet<_>>().len() > 1;
    for run in runs {
        for notice in &run.notices {
            let notice = if several { format!("{}: {notice}", run.host) } else { notice.clone() };
            if !notices.contains(&notice) {
                notices.push(notice);
            }
        }
    }
    type Part = fn(&Run) -> String;
    let parts: [(&str, Part); 5] = [
        ("commits", |r| format!("{} {}", r.baseline.commit, r.candidate.commit)),
        ("suite digest", |r| r.suite_digest.to_string()),
        ("image", |r| r.image_id.to_string()),
        ("engine", |r| r.fingerprint.engine.clone()),
        ("dyno version", |r| r.dyno_version.clone()),
    ];
    for (name, part) in parts {
        if runs.iter().map(part).collect::<BTreeSet<_>>().len() > 1 {
            notices.push(format!("the runs shown here differ in their {name}; see Provenance"));
        }
    }
    notices
}
