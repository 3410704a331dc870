//! How each case scales with its number of threads: both sides' speed-ups, the law beside them, and
//! whether the candidate scales worse.

use dyno_model::catalog::policy::Policy;
use dyno_model::metric::MetricUnit;
use dyno_model::stats::scaling::{Basis, Best, Difference, Fit, Parameter};
use dyno_model::verdict::{Reason, ScalingCase, ScalingPoint, ScalingSide, Verdict};
use serde::Serialize;

use super::{Effect, effect};
use crate::{number, words};

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
    /// By how much the time there grew beyond what the time of one thread grew.
    pub effect: Option<Effect>,
    pub q_text: String,
    pub q: Option<f64>,
    pub why: String,
    /// What the verdict was made from.
    pub basis: String,
    pub baseline: CurveView,
    pub candidate: CurveView,
    pub sql: String,
}

/// One side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CurveView {
    pub side: &'static str,
    pub points: Vec<PointView>,
    pub law: Option<LawView>,
    /// Why there is no law, as a sentence.
    pub no_fit: Option<String>,
    /// Samples of wall time left out because something disturbed them.
    pub tainted: u32,
}

impl CurveView {
    /// The speed-up at its largest number of threads.
    pub(crate) fn last(&self) -> &str {
        let speedup = self.points.last().and_then(|point| point.speedup.as_ref());
        speedup.map_or("–", |speedup| &speedup.text)
    }
}

/// The Universal Scalability Law beside the times of one side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LawView {
    pub sigma: Known,
    pub kappa: Known,
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

/// One number of threads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PointView {
    pub threads: u32,
    pub rounds: u32,
    pub time: String,
    pub time_ns: f64,
    pub speedup: Option<Known>,
    pub efficiency: Option<Known>,
    /// Metric, median as text, median.
    pub instructions: Vec<(String, String, f64)>,
}

/// A number with its interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Known {
    pub text: String,
    pub interval: String,
    pub estimate: f64,
    pub low: f64,
    pub high: f64,
}

impl Known {
    fn of(parameter: Parameter) -> Self {
        let Parameter { estimate, low, high } = parameter;
        let (text, interval) = number::known(estimate, low, high);
        Self { text, interval, estimate, low, high }
    }

    pub(super) fn percent(parameter: Parameter) -> Self {
        let Parameter { estimate, low, high } = parameter;
        let (text, interval) = number::known_percent(estimate, low, high);
        Self { text, interval, estimate, low, high }
    }
}

/// What scales worse first, then better, then the rest; of each the largest effect first.
pub(super) fn scalings(shown: &[ScalingShown<'_>], policy: &Policy) -> Vec<ScalingView> {
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
    shown.into_iter().enumerate().map(|(index, shown)| view(index, shown, policy)).collect()
}

fn view(index: usize, shown: &ScalingShown<'_>, policy: &Policy) -> ScalingView {
    let ScalingCase { host, benchmark, config, baseline, candidate, scaled, .. } = shown.case;
    let difference = scaled.difference.as_ref().ok();
    let effect = difference.map(|Difference { estimate: e, .. }| {
        effect(e.mean.exp_m1(), (e.mean - e.half_width).exp_m1(), (e.mean + e.half_width).exp_m1())
    });
    ScalingView {
        id: format!("c{}", index + 1),
        verdict: scaled.verdict.name(),
        mark: match &scaled.verdict {
            Verdict::Regressed => "▲",
            Verdict::Improved => "▼",
            Verdict::Unchanged => "=",
            Verdict::Inconclusive(_) => "?",
        },
        case: words::case(benchmark, config),
        benchmark: benchmark.clone(),
        config: config.clone(),
        host: host.clone(),
        threads: difference.map(|d| d.threads),
        why: words::scaling::why(scaled, effect.as_ref(), policy),
        effect,
        q_text: scaled.q.map_or("–".to_string(), number::probability),
        q: scaled.q,
        basis: difference.map(|d| basis(&d.basis)).unwrap_or_default(),
        baseline: curve("baseline", baseline),
        candidate: curve("candidate", candidate),
        sql: shown.sql.to_string(),
    }
}

fn basis(basis: &Basis) -> String {
    match basis {
        Basis::Law { sigma, kappa } => {
            let text = |(change, half): (f64, f64)| {
                let (change, interval) = number::known_signed(change, change - half, change + half);
                format!("{change} {interval}")
            };
            format!("From both fits: σ changed by {}, κ by {}.", text(*sigma), text(*kappa))
        }
        Basis::Measured { side, why } => format!(
            "From the times at one and at the largest number of threads, since the {side} has {why}."
        ),
    }
}

fn curve(side: &'static str, of: &ScalingSide) -> CurveView {
    let fit = of.curve.as_ref().map(|fits| (&fits.universal, &fits.amdahl));
    let (law, no_fit) = match (fit, &of.no_curve) {
        (Some((Ok(universal), amdahl)), _) => (Some(law(universal, amdahl, of)), None),
        (Some((Err(why), _)), _) => (None, Some(format!("The {side} has {why}."))),
        (None, Some(why)) => (None, Some(format!("The {side} has no curve: {why}."))),
        (None, None) => (None, Some(format!("The {side} has no times."))),
    };
    let points = of.points.iter().map(point).collect();
    CurveView { side, points, law, no_fit, tainted: of.tainted }
}

fn law<E: std::fmt::Display>(fit: &Fit, amdahl: &Result<Fit, E>, of: &ScalingSide) -> LawView {
    let residual = |fit: &Fit| match fit.lack_of_fit {
        Some(_) => number::percent_rounded(fit.residual, 1),
        None => "none is left: as many parameters as numbers of threads".to_string(),
    };
    let last = of.points.last().map_or(1, |point| point.threads).min(DRAWN_MAX);
    LawView {
        sigma: Known::of(fit.sigma),
        kappa: Known::of(fit.kappa),
        best: fit.best.map(best).unwrap_or_default(),
        best_threads: fit.best.map(|best| best.threads),
        residual: residual(fit),
        residual_fraction: fit.residual,
        amdahl: match amdahl {
            Ok(fit) => {
                let sigma = Known::of(fit.sigma);
                format!("σ = {} {}, residual {}", sigma.text, sigma.interval, residual(fit))
            }
            Err(why) => why.to_string(),
        },
        speedups: (1..=last).map(|n| fit.one_thread / fit.time(n)).collect(),
    }
}

/// A law is drawn up to so many threads.
const DRAWN_MAX: u32 = 1024;

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
        speedup: point.speedup.map(Known::of),
        efficiency: point.efficiency.map(Known::percent),
        instructions: instructions.collect(),
    }
}
