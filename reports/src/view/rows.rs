//! One row a series: every number as text and raw, and why its verdict is what it is.

use std::collections::BTreeMap;

use dyno_model::catalog::policy::{Gate, Policy};
use dyno_model::metric::{self, MetricUnit};
use dyno_model::record::Extent;
use dyno_model::verdict::{Judged, Reason, SeriesKey, Verdict};
use serde::Serialize;

use super::{Input, View};
use crate::{number, words};

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
    pub tier: Gate,
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

/// The rows in which something changed, as many as a writer shows.
pub struct Changed<'a> {
    pub rows: Vec<&'a Row>,
    /// `12 more regressions and 3 more improvements`; empty where all are shown.
    pub left_out: String,
}

impl View {
    /// Conflicts, regressions, then improvements, the largest effects first. Each keeps a share of
    /// the `max` rows, however many of the others there are.
    pub fn changed(&self, max: usize) -> Changed<'_> {
        let conflicts: Vec<&Row> = self.conflicts().collect();
        let of = [conflicts.len(), self.regressed.len(), self.improved.len()];
        let conflicting = of[0].min(max / 4);
        let left = max - conflicting;
        let worse = of[1].min(left - (max / 4).min(of[2]));
        let better = of[2].min(left - worse);
        let rows = conflicts
            .into_iter()
            .take(conflicting)
            .chain(self.regressed.iter().take(worse))
            .chain(self.improved.iter().take(better))
            .collect();
        let left_out: Vec<String> = [
            (of[0] - conflicting, "more conflict"),
            (of[1] - worse, "more regression"),
            (of[2] - better, "more improvement"),
        ]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| words::many(number, noun))
        .collect();
        Changed { rows, left_out: left_out.join(" and ") }
    }
}

/// `judged` in the order of rows.
pub(super) fn in_order(judged: &[Judged]) -> Vec<&Judged> {
    let mut judged: Vec<&Judged> = judged.iter().collect();
    judged.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| size(b).total_cmp(&size(a))));
    judged
}

pub(super) fn rows(in_order: &[&Judged], input: &Input<'_>) -> Vec<Row> {
    let row = |(index, j): (usize, &&Judged)| row(index, j, input.policy, input.sql);
    let mut rows: Vec<Row> = in_order.iter().enumerate().map(row).collect();
    set_beside(&mut rows, input.policy);
    for row in &mut rows {
        row.explain = words::explain(&input.links.command, &row.series);
    }
    rows
}

/// Of the row in this place.
pub(super) fn row_id(index: usize) -> String {
    format!("s{}", index + 1)
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
    (judged.comparison.tier == Gate::Informs, !judged.comparison.decides, verdict)
}

fn size(judged: &Judged) -> f64 {
    match (&judged.verdict, judged.comparison.estimate) {
        (Verdict::Regressed | Verdict::Improved, Some(estimate)) => estimate.mean.abs(),
        _ => 0.0,
    }
}

/// Gives each deciding row what the metrics that could decide elsewhere say of its case and host.
fn set_beside(rows: &mut [Row], policy: &Policy) {
    type CaseOn = (String, String, String);
    let case_on = |row: &Row| (row.benchmark.clone(), row.config.clone(), row.host.clone());
    let mut others: BTreeMap<CaseOn, Vec<Row>> = BTreeMap::new();
    for row in rows.iter() {
        if !row.decides && row.tier == Gate::Counts && policy.can_decide(&row.metric) {
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
    let unit = metric::find(&key.metric).map_or(MetricUnit::Count, |m| m.unit);
    let effect = comparison
        .effect()
        .zip(comparison.interval())
        .map(|(fraction, (low, high))| effect(fraction, low, high));
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
        id: row_id(index),
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
            Some(_) if metric::is_deterministic(&key.metric) => "–".to_string(),
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

pub(crate) fn effect(fraction: f64, low: f64, high: f64) -> Effect {
    let (text, interval) = number::effect(fraction, low, high);
    Effect { text, interval, fraction, low, high }
}

fn spread(min: i64, max: i64, unit: MetricUnit) -> String {
    let [low, high] = [min, max].map(|v| number::quantity(v as f64, unit, None));
    number::range(&low, &high)
}
