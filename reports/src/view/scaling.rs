//! How each case scales with its number of threads: both sides' speed-ups, the law beside them, and
//! whether the candidate scales worse.

use std::fmt::Write as _;

use dyno_model::catalog::policy::Policy;
use dyno_model::metric::MetricUnit;
use dyno_model::stats::scaling::{Basis, Best, Difference, Fit};
use dyno_model::verdict::{Reason, ScalingCase, ScalingPoint, ScalingSide, Verdict};
use minijinja::Value;
use minijinja::value::Serde;
use serde::Serialize;

use super::section::{Html, Markdown, Section};
use super::{CommonAxes, Effect, NumberWithInterval, View};
use crate::comment::{folded, left_out};
use crate::escape::code;
use crate::terminal::{Cases, Cells, Terminal, table};
use crate::words::plural;
use crate::{number, words};

mod curve;

/// A case with the SQL that gives its numbers.
#[derive(Debug, Clone, Copy)]
pub struct ScalingShown<'a> {
    pub case: &'a ScalingCase,
    pub sql: &'a str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScalingView {
    /// Unique in this view: `c1`, `c2`, …
    pub id: String,
    pub verdict: &'static str,
    pub mark: &'static str,
    /// Benchmark and config without threads, as people write them.
    pub case: String,
    pub benchmark: String,
    pub config: String,
    pub host: String,
    /// The largest number of threads measured on both sides.
    pub threads: Option<u32>,
    /// The growth of the time there beyond what the time of one thread grew.
    pub effect: Option<Effect>,
    pub q_text: String,
    pub q: Option<f64>,
    pub why: String,
    /// A sentence on the numbers that the verdict was made from.
    pub basis: String,
    pub baseline: CurveView,
    pub candidate: CurveView,
    pub sql: String,
}

/// The scaling of one side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CurveView {
    pub side: &'static str,
    pub points: Vec<PointView>,
    pub law: Option<LawView>,
    /// The reason why there is no law, as a sentence.
    pub no_fit: Option<String>,
    /// Samples of wall time left out because something disturbed them.
    pub tainted: u32,
}

impl CurveView {
    /// The speed-up at the largest number of threads.
    fn last_speedup(&self) -> &str {
        let speedup = self.points.last().and_then(|point| point.speedup.as_ref());
        speedup.map_or("–", |speedup| &speedup.text)
    }
}

/// The Universal Scalability Law beside the times of one side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LawView {
    pub sigma: NumberWithInterval,
    pub kappa: NumberWithInterval,
    /// `4, or more [3, 8 or more]`
    pub best: String,
    pub best_threads: Option<u32>,
    /// `1.2 %`, or that nothing is left to tell.
    pub residual: String,
    pub residual_fraction: f64,
    /// Amdahl's law beside it: `σ = 0.031 [0.020, 0.042], residual 2 %`, or why it has no fit.
    pub amdahl: String,
    /// S(N) of the law at N = 1, 2, …
    pub speedups: Vec<f64>,
}

/// The measurements with one number of threads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PointView {
    pub threads: u32,
    pub rounds: u32,
    pub time: String,
    pub time_ns: f64,
    pub speedup: Option<NumberWithInterval>,
    pub efficiency: Option<NumberWithInterval>,
    /// Metric, median as text, median.
    pub instructions: Vec<(String, String, f64)>,
}

/// The views, what scales worse first, then better, then the rest; of each the largest effect
/// first.
pub(super) fn scalings(
    shown: &[ScalingShown<'_>],
    policy: &Policy,
    common: &CommonAxes,
) -> Vec<ScalingView> {
    let mut shown: Vec<&ScalingShown<'_>> = shown.iter().collect();
    let order = |verdict: &Verdict| match verdict {
        Verdict::Regressed => 0,
        Verdict::Improved => 1,
        Verdict::Inconclusive(Reason::NoCurve { .. }) => 4,
        Verdict::Inconclusive(_) => 2,
        Verdict::Unchanged => 3,
    };
    let size = |s: &ScalingShown<'_>| {
        s.case.scaled.difference.as_ref().map_or(0.0, |d| d.estimate.mean.abs())
    };
    shown.sort_by(|a, b| {
        let verdict = |s: &ScalingShown<'_>| order(&s.case.scaled.verdict);
        verdict(a).cmp(&verdict(b)).then_with(|| size(b).total_cmp(&size(a)))
    });
    shown.into_iter().enumerate().map(|(index, shown)| view(index, shown, policy, common)).collect()
}

fn view(
    index: usize,
    shown: &ScalingShown<'_>,
    policy: &Policy,
    common: &CommonAxes,
) -> ScalingView {
    let ScalingCase { host, benchmark, config, baseline, candidate, scaled, .. } = shown.case;
    let difference = scaled.difference.as_ref().ok();
    let effect = difference
        .map(|Difference { estimate, .. }| Effect::from_log(estimate.mean, estimate.half_width));
    let effect_texts = effect.as_ref().map(|e| (e.text.as_str(), e.interval.as_str()));
    ScalingView {
        id: format!("c{}", index + 1),
        verdict: scaled.verdict.name(),
        mark: match &scaled.verdict {
            Verdict::Regressed => "▲",
            Verdict::Improved => "▼",
            Verdict::Unchanged => "=",
            Verdict::Inconclusive(_) => "?",
        },
        case: common.case(benchmark, config),
        benchmark: benchmark.clone(),
        config: config.clone(),
        host: host.clone(),
        threads: difference.map(|d| d.threads),
        why: words::why_scaling(scaled, effect_texts, policy),
        effect,
        q_text: scaled.q.map_or("–".to_string(), number::probability),
        q: scaled.q,
        basis: difference.map(|d| basis(&d.basis)).unwrap_or_default(),
        baseline: curve_view("baseline", baseline),
        candidate: curve_view("candidate", candidate),
        sql: shown.sql.to_string(),
    }
}

fn basis(basis: &Basis) -> String {
    match basis {
        Basis::Law { sigma, kappa } => {
            let signed = |(change, half): (f64, f64)| {
                let (change, interval) =
                    number::signed_with_interval(change, change - half, change + half);
                format!("{change} {interval}")
            };
            format!("From both fits: σ changed by {}, κ by {}.", signed(*sigma), signed(*kappa))
        }
        Basis::Measured { side, why } => format!(
            "From the times at one and at the largest number of threads, since the {side} has {why}."
        ),
    }
}

fn curve_view(side: &'static str, measured: &ScalingSide) -> CurveView {
    let fit = measured.curve.as_ref().map(|fits| (&fits.universal, &fits.amdahl));
    let (law, no_fit) = match (fit, &measured.no_curve) {
        (Some((Ok(universal), amdahl)), _) => (Some(law(universal, amdahl, measured)), None),
        (Some((Err(why), _)), _) => (None, Some(format!("The {side} has {why}."))),
        (None, Some(why)) => (None, Some(format!("The {side} has no curve: {why}."))),
        (None, None) => (None, Some(format!("The {side} has no times."))),
    };
    let points = measured.points.iter().map(point).collect();
    CurveView { side, points, law, no_fit, tainted: measured.tainted }
}

fn law<E: std::fmt::Display>(
    fit: &Fit,
    amdahl: &Result<Fit, E>,
    measured: &ScalingSide,
) -> LawView {
    let residual = |fit: &Fit| match fit.lack_of_fit {
        Some(_) => number::percent_rounded(fit.residual, 1),
        None => "none is left: as many parameters as numbers of threads".to_string(),
    };
    let threads_drawn =
        measured.points.last().map_or(1, |point| point.threads).min(DRAWN_THREADS_MAX);
    LawView {
        sigma: NumberWithInterval::plain(fit.sigma),
        kappa: NumberWithInterval::plain(fit.kappa),
        best: fit.best.map(best).unwrap_or_default(),
        best_threads: fit.best.map(|best| best.threads),
        residual: residual(fit),
        residual_fraction: fit.residual,
        amdahl: match amdahl {
            Ok(fit) => {
                let sigma = NumberWithInterval::plain(fit.sigma);
                format!("σ = {} {}, residual {}", sigma.text, sigma.interval, residual(fit))
            }
            Err(why) => why.to_string(),
        },
        speedups: (1..=threads_drawn).map(|n| fit.one_thread / fit.time(n)).collect(),
    }
}

/// A law is drawn up to so many threads.
const DRAWN_THREADS_MAX: u32 = 1024;

fn best(best: Best) -> String {
    let or_more = |n: u32| match n >= best.limit {
        true => format!("{n} or more"),
        false => n.to_string(),
    };
    match best.low == best.high {
        true => or_more(best.threads),
        false => format!("{} [{}, {}]", or_more(best.threads), best.low, or_more(best.high)),
    }
}

fn point(point: &ScalingPoint) -> PointView {
    let instructions = point.instructions.iter().map(|(metric, median)| {
        (metric.clone(), number::quantity(*median, MetricUnit::Count, None), *median)
    });
    PointView {
        threads: point.threads,
        rounds: point.rounds,
        time: number::quantity(point.time_ns, MetricUnit::Nanoseconds, None),
        time_ns: point.time_ns,
        speedup: point.speedup.map(NumberWithInterval::plain),
        efficiency: point.efficiency.map(NumberWithInterval::percent),
        instructions: instructions.collect(),
    }
}

/// The section of how cases scale with their number of threads.
pub(super) const SCALING: Section = Section {
    html: Some(Html {
        id: "scaling",
        title: "Scaling with threads",
        template: include_str!("../../templates/scaling.html"),
        data: |view| Value::from(Serde(curve::drawings(view))),
    }),
    markdown: Some(Markdown { name: "scaling", write: markdown }),
    text: Some(text),
};

const MARKDOWN_MAX: usize = 8;
const TEXT_MAX: usize = 8;

fn markdown(view: &View) -> String {
    let is_changed = |s: &&ScalingView| matches!(s.verdict, "Regressed" | "Improved");
    let changed: Vec<&ScalingView> = view.scalings.iter().filter(is_changed).collect();
    if changed.is_empty() {
        return String::new();
    }
    let (host, rule) = if view.many_hosts { (" host |", "---|") } else { ("", "") };
    let mut body = format!(
        "| scaling | case |{host} threads | speed-up | σ | κ | time beyond one thread's | interval \
         |\n|---|---|{rule}--:|--:|--:|--:|--:|:--|\n"
    );
    for s in changed.iter().take(MARKDOWN_MAX) {
        let host = if view.many_hosts { format!(" {} |", code(&s.host)) } else { String::new() };
        let _ = writeln!(
            body,
            "| {} {} | {} |{host} {} | {} → {} | {} | {} | **{}** | {} |",
            s.mark,
            s.verdict,
            code(&s.case),
            threads_text(s),
            s.baseline.last_speedup(),
            s.candidate.last_speedup(),
            parameter_of_sides(s, |law| &law.sigma),
            parameter_of_sides(s, |law| &law.kappa),
            Effect::text_or_dash(&s.effect),
            Effect::interval_or_dash(&s.effect),
        );
    }
    body.push_str(&left_out(changed.len(), MARKDOWN_MAX, "case"));
    let counts = &view.counts.scalings;
    let summary = format!(
        "Scaling with threads: {}, {} worse, {} better",
        plural(counts.series, "case"),
        counts.regressed,
        counts.improved
    );
    folded(&summary, &body)
}

fn threads_text(scaling: &ScalingView) -> String {
    scaling.threads.map_or("–".to_string(), |n| n.to_string())
}

/// `0.031 → 0.042`, or that there is no fit.
fn parameter_of_sides(
    scaling: &ScalingView,
    parameter: fn(&LawView) -> &NumberWithInterval,
) -> String {
    let parameter_of = |side: &CurveView| side.law.as_ref().map(|law| parameter(law).text.clone());
    let no_fit = || "no fit".to_string();
    match (parameter_of(&scaling.baseline), parameter_of(&scaling.candidate)) {
        (None, None) => no_fit(),
        (baseline, candidate) => {
            let [baseline, candidate] = [baseline, candidate].map(|t| t.unwrap_or_else(no_fit));
            format!("{baseline} → {candidate}")
        }
    }
}

/// The largest number of threads, both speed-ups there, and by how much the time grew beyond that
/// of one thread.
fn text(view: &View, terminal: Terminal) -> String {
    let shown = &view.scalings[..view.scalings.len().min(TEXT_MAX)];
    if shown.is_empty() {
        return String::new();
    }
    let cells = Cells(shown);
    let cases = Cases::new(shown.iter().map(|s| (&*s.benchmark, &*s.config)), &view.common);
    let mut columns = vec![
        cells.left("scaling", 0, |s| format!("{} {}", s.mark, s.verdict)),
        cases.column(|i| shown[i].case.clone()),
    ];
    if view.many_hosts {
        columns.push(cells.name("host", 0, |s| s.host.clone()));
    }
    columns.extend([
        cells.right("threads", 1, threads_text),
        cells.right("speed-up", 2, |s| {
            format!("{} → {}", s.baseline.last_speedup(), s.candidate.last_speedup())
        }),
        cells.right("time", 0, |s| Effect::text_or_dash(&s.effect).to_string()),
        cells.left("interval", 3, |s| Effect::interval_or_dash(&s.effect).to_string()),
    ]);
    let mut out = format!("\n{}", table(columns, shown.iter().map(|s| s.verdict), terminal));
    out.push_str(&cases.left_out());
    if view.scalings.len() > shown.len() {
        let _ = writeln!(out, "… and {} more in the report", view.scalings.len() - shown.len());
    }
    out
}
