//! One row a series: every number as text and raw, and why its verdict is what it is.

use std::collections::BTreeMap;

use dyno_model::catalog::policy::{Gate, Policy};
use dyno_model::metric::{self, MetricUnit};
use dyno_model::record::{DisturbedSides, Extent, Side};
use dyno_model::stats::ROUNDS_CAP;
use dyno_model::verdict::{
    Comparison, Judged, Reason, SeriesKey, Verdict, ZeroTest, contradictions,
};
use serde::Serialize;

use super::states::SeriesStates;
use super::{Effect, Input};
use crate::{commands, number, words};

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
    /// The host's; `aarch64 (emulated)` is another one than `aarch64`.
    pub architecture: String,
    pub decides: bool,
    pub tier: Gate,
    pub baseline: Option<Value>,
    pub candidate: Option<Value>,
    pub effect: Option<Effect>,
    /// What stands for the effect where rounds have a zero on one side alone: `from 0`, `to 0`,
    /// `0 in 6 of 12 rounds`.
    pub zero: Option<String>,
    /// The change from one median to the other, as text, where a reader of both would take it for
    /// another effect than that of the pairs: `+20.1 %`.
    pub medians: Option<String>,
    /// δ, the smallest effect of interest, as text: `±1 %`.
    pub delta: String,
    pub delta_fraction: f64,
    pub q_text: String,
    pub q: Option<f64>,
    pub p: Option<f64>,
    pub rounds: u32,
    /// Samples left out because something disturbed them.
    pub tainted: u32,
    /// The side that disturbance came with, where it did not come with both alike.
    pub disturbed: Option<DisturbedWith>,
    /// The states that its values lie in, where they are farther apart than δ.
    pub states: Option<SeriesStates>,
    /// Rounds in all that would settle an inconclusive series, and how many that is more.
    pub rounds_needed: Option<u32>,
    pub rounds_more: Option<u32>,
    /// The reason why the verdict is what it is.
    pub why: String,
    /// Whether it stands in [`super::View::conflicting`] too.
    pub in_conflict: bool,
    /// Other metrics, which could decide elsewhere, on the same case and host.
    pub beside: Vec<MetricBeside>,
    /// Its name for `--explain`: `fib[threads=2]/wall@local`.
    pub series: String,
    /// The command that explains it, round by round; empty where the report has no command.
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

    /// The effect as its column has it: its text, the zero that stands for it, or a dash.
    pub fn effect_text(&self) -> &str {
        match (&self.effect, &self.zero) {
            (Some(effect), _) => &effect.text,
            (None, Some(zero)) => zero,
            (None, None) => "–",
        }
    }

    /// The change of the medians and the effect, where they do not say the same.
    pub(crate) fn medians_in_sentence(&self) -> Option<String> {
        let (medians, effect) = (self.medians.as_ref()?, self.effect.as_ref()?);
        Some(format!("medians {medians}, effect {}", effect.in_sentence()))
    }

    /// The effect as it stands in a sentence; `None` where there is none.
    pub(crate) fn effect_in_sentence(&self) -> Option<String> {
        self.effect.as_ref().map(Effect::in_sentence).or_else(|| self.zero.clone())
    }

    /// Whether hosts contradict each other about the series.
    pub fn is_conflict(&self) -> bool {
        self.shown != self.verdict
    }
}

/// The side that the disturbance of a series came with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DisturbedWith {
    pub side: &'static str,
    /// `24 of its processes, 1 of the baseline's`
    pub text: String,
}

impl DisturbedWith {
    fn new(comparison: &Comparison) -> Option<Self> {
        let (side, DisturbedSides { baseline, candidate }) =
            (comparison.disturbed_side()?, comparison.disturbed?);
        let (own, others) = match side {
            Side::Baseline => (baseline, candidate),
            Side::Candidate => (candidate, baseline),
        };
        let other = side.other().name();
        let text = format!("{own} of its processes, {others} of the {other}'s");
        Some(Self { side: side.name(), text })
    }
}

/// A metric that stands beside the one that decides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricBeside {
    /// Id of its own row.
    pub id: String,
    pub metric: String,
    pub verdict: &'static str,
    pub mark: &'static str,
    /// `wall ▼ −5.1 %`, and the verdict where it is another one.
    pub text: String,
    /// `259.7 ms → 270.9 ms`, where both sides have a value.
    pub values: Option<String>,
    /// Whether it is sure of another thing than the metric that gates.
    pub differs: bool,
}

/// `judged` in the order of rows.
pub(super) fn sort_by_importance(judged: &[Judged]) -> Vec<&Judged> {
    let mut judged: Vec<&Judged> = judged.iter().collect();
    judged.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| size(b).total_cmp(&size(a))));
    judged
}

/// The rows of all series.
pub(super) fn rows(sorted: &[&Judged], input: &Input<'_>) -> Vec<Row> {
    let row = |(index, judged): (usize, &&Judged)| row(index, judged, input);
    let mut rows: Vec<Row> = sorted.iter().enumerate().map(row).collect();
    set_beside(&mut rows, input.policy);
    rows
}

/// The rows of metrics that are sure of different things: of each two the one that decides comes
/// first, and once. They are marked among `rows`.
pub(super) fn conflicting(rows: &mut [Row], input: &Input<'_>) -> Vec<Row> {
    let mut conflicting: Vec<Row> = Vec::new();
    for contradiction in contradictions(input.judged, input.policy) {
        for judged in [contradiction.deciding, contradiction.companion] {
            let row = rows.iter_mut().find(|row| row.key() == judged.comparison.key);
            if let Some(row) = row.filter(|row| !row.in_conflict) {
                row.in_conflict = true;
                conflicting.push(row.clone());
            }
        }
    }
    conflicting
}

/// The largest regression in size (memory, files) among metrics that do not decide.
pub(super) fn largest_growth(rows: &[Row]) -> Option<&Row> {
    let is_size = |row: &&Row| row.unit == MetricUnit::Bytes.name() && row.verdict == "Regressed";
    let rows = rows.iter().filter(|row| !row.decides && row.tier == Gate::Counts);
    let fraction = |row: &Row| row.effect.as_ref().map_or(f64::INFINITY, |effect| effect.fraction);
    rows.filter(is_size).max_by(|a, b| fraction(a).total_cmp(&fraction(b)))
}

/// The id of the row in this place.
pub(super) fn row_id(index: usize) -> String {
    format!("s{}", index + 1)
}

/// The key that rows are sorted by: deciding series first and what only informs last, then by
/// verdict as shown. Ties are broken by [`size`], which puts the largest effect first, except where
/// size means nothing.
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

/// Sets beside each deciding row the metrics that could decide elsewhere, on its case and host.
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
        row.beside = others.iter().map(|other| metric_beside(row, other)).collect();
    }
}

fn metric_beside(row: &Row, other: &Row) -> MetricBeside {
    let has_effect = other.effect.is_some() || other.zero.is_some();
    let effect = if has_effect { format!(" {}", other.effect_text()) } else { String::new() };
    let is_same = other.verdict == row.verdict;
    let verdict = if is_same { String::new() } else { format!(", {}", other.verdict) };
    MetricBeside {
        id: other.id.clone(),
        metric: other.metric.clone(),
        verdict: other.verdict,
        mark: other.mark,
        text: format!("{} {}{effect}{verdict}", other.metric, other.mark),
        values: other
            .baseline
            .as_ref()
            .zip(other.candidate.as_ref())
            .map(|(baseline, candidate)| format!("{} → {}", baseline.text, candidate.text)),
        differs: !is_same && [row, other].iter().all(|r| r.verdict != "Inconclusive"),
    }
}

fn row(index: usize, judged: &Judged, input: &Input<'_>) -> Row {
    let comparison = &judged.comparison;
    let key = &comparison.key;
    let unit = metric::find(&key.metric).map_or(MetricUnit::Count, |m| m.unit);
    let effect = comparison
        .effect()
        .zip(comparison.interval())
        .map(|(fraction, (low, high))| Effect::new(fraction, low, high));
    let half_width = effect.as_ref().map(|e| (e.high - e.low) / 2.0).filter(|h| *h > 0.0);
    let needed = rounds_needed(&judged.verdict);
    let delta_fraction = comparison.delta.exp_m1();
    let delta = format!("±{}", number::percent(delta_fraction));
    let interval = effect.as_ref().map_or("", |e| e.interval.as_str());
    let series = words::series_name(key);
    Row {
        id: row_id(index),
        verdict: judged.verdict.name(),
        shown: match &judged.verdict {
            Verdict::Inconclusive(Reason::HostsDisagree { .. }) => "conflict: hosts",
            verdict => verdict.name(),
        },
        mark: mark(judged),
        case: words::case_name(&key.benchmark, &key.config),
        benchmark: key.benchmark.clone(),
        config: key.config.clone(),
        metric: key.metric.clone(),
        unit: unit.name(),
        host: key.host.clone(),
        architecture: comparison.architecture.clone(),
        decides: comparison.decides,
        tier: comparison.tier,
        baseline: comparison.baseline.map(|extent| value(extent, unit, half_width)),
        candidate: comparison.candidate.map(|extent| value(extent, unit, half_width)),
        why: words::why(judged, interval, &delta, input.policy),
        effect,
        medians: medians_text(comparison),
        zero: comparison.zeros.as_ref().map(zero_text),
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
        disturbed: DisturbedWith::new(comparison),
        states: SeriesStates::new(comparison, unit),
        rounds_needed: needed,
        rounds_more: needed.map(|n| n.saturating_sub(comparison.rounds)),
        in_conflict: false,
        beside: Vec::new(),
        explain: commands::explain(&input.links.command, &series),
        series,
        sql: (input.sql)(key),
    }
}

/// See [`Row::mark`].
fn mark(judged: &Judged) -> &'static str {
    let comparison = &judged.comparison;
    let shrank = comparison.estimate.is_some_and(|e| e.mean < 0.0)
        || comparison.zeros.is_some_and(|zeros| !zeros.grew);
    match judged.verdict {
        Verdict::Unchanged => "=",
        Verdict::Inconclusive(Reason::HostsDisagree { .. }) => "≠",
        Verdict::Inconclusive(_) => "?",
        _ if shrank => "▼",
        _ => "▲",
    }
}

/// A change of the medians that differs by less than this share of the effect looks the same.
const MEDIANS_SHARE: f64 = 0.1;

/// See [`Row::medians`].
fn medians_text(comparison: &Comparison) -> Option<String> {
    let is_counted = metric::is_deterministic(&comparison.key.metric);
    let effect = comparison.effect().filter(|_| !is_counted && comparison.rounds > 1)?;
    let (baseline, candidate) = (comparison.baseline?.median, comparison.candidate?.median);
    let medians = candidate / baseline - 1.0;
    let same = comparison.delta.exp_m1().max(MEDIANS_SHARE * effect.abs());
    let differs = medians.is_finite() && (medians - effect).abs() > same;
    differs.then(|| Effect::new(medians, medians - same, medians + same).text)
}

/// See [`Row::zero`].
fn zero_text(zeros: &ZeroTest) -> String {
    match zeros {
        zeros if zeros.begins_at_zero() => "from 0".to_string(),
        zeros if zeros.becomes_zero() => "to 0".to_string(),
        zeros => format!("0 in {} of {} rounds", zeros.zeros(), zeros.rounds),
    }
}

/// Rounds in all that would settle it, where that is known.
fn rounds_needed(verdict: &Verdict) -> Option<u32> {
    match verdict {
        Verdict::Inconclusive(Reason::TooWide { rounds } | Reason::SharesUnknown { rounds })
            if *rounds < ROUNDS_CAP =>
        {
            Some(*rounds)
        }
        Verdict::Inconclusive(Reason::TooFewRounds { .. }) => Some(2),
        _ => None,
    }
}

fn value(extent: Extent, unit: MetricUnit, half_width: Option<f64>) -> Value {
    let Extent { median, min, max } = extent;
    let [low, high] = [min, max].map(|v| number::quantity(v as f64, unit, None));
    Value {
        text: number::quantity(median, unit, half_width),
        spread: number::range(&low, &high),
        median,
        min,
        max,
    }
}
