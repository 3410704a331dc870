//! How a case scales: from times at several numbers of threads N to speed-up, efficiency, two laws,
//! and whether it scales worse than before.
//!
//! Everything works on ln T, where noise is about the same at every N and a faster machine is only
//! a shift. [`Curve`] holds mean and variance of ln T per N. [`Curve::speedups`] needs no law;
//! [`Curve::fit`] fits one:
//!
//! T(N) = T₁ D(N) / N with D(N) = 1 + σ(N−1) + κN(N−1), σ in \[0, 1\], κ ≥ 0
//!
//! which is the Universal Scalability Law (Gunther 1993, "A simple capacity model of massively
//! parallel transaction systems", CMG; Gunther 2007, *Guerrilla Capacity Planning*, ch. 4–6), and
//! with κ = 0 Amdahl's (Amdahl 1967, AFIPS 30). σ is the share that is serial or waits for it, κ
//! what each pair of threads costs. D(N) is by how much N threads miss N times the speed.
//!
//! Least squares weigh each N by its rounds only. Weights by the variances seen would use
//! variances that three rounds hardly know; instead the variance of every answer is summed from
//! what each N really showed ([`satterthwaite`]), so noise may differ between N.
//!
//! [`difference`] asks what a commit did to it. It is made from fits *without* the bounds: on a
//! bound an estimate stops moving with the data, so two curves that are both better than any law
//! (σ = κ = 0) would be the same with certainty, whatever lies between them.
//!
//! | input | answer |
//! |---|---|
//! | no T(1), a time that is not positive, one round at an N | [`NoCurve`] |
//! | fewer than three N | speed-ups, [`NoFit::TooFewCounts`] |
//! | times that are far from every law by more than noise | speed-ups, [`NoFit::Residual`] |
//! | three N | a fit without a residual: nothing speaks for or against the law |
//! | times that do not vary | points for intervals |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::{Estimate, Moments, Variance, estimate, moments, satterthwaite, t_quantile};
use crate::record::Side;
use crate::text::plural;

mod fit;
mod solve;

pub use fit::{Best, Fit, Law, NoFit, Parameter, RESIDUAL_MAX};

/// What was measured at one number of threads: (round, time), each of one process. The unit is the
/// caller's, the same at every N.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    pub threads: u32,
    pub rounds: Vec<(u32, i64)>,
}

/// Why times make no curve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "no-curve")]
pub enum NoCurve {
    /// Speed-up is against one thread.
    NoSingleThread,
    /// Only one thread was measured (on both sides, of a difference).
    OneCount,
    /// Fewer than two rounds (on both sides, of a pair): no variance.
    TooFewRounds { threads: u32, rounds: u32 },
    /// A time is zero or negative, or the number of threads is zero.
    NotPositive { threads: u32 },
    /// The number of threads was asked for and nothing heeded it.
    ThreadsIgnored,
}

impl fmt::Display for NoCurve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSingleThread => write!(f, "no time with one thread"),
            Self::OneCount => write!(f, "no time with more than one thread"),
            Self::TooFewRounds { threads, rounds } => {
                let (rounds, threads) =
                    (plural(*rounds as usize, "round"), plural(*threads as usize, "thread"));
                write!(f, "{rounds} with {threads}: two are needed")
            }
            Self::NotPositive { threads } => {
                write!(f, "a time with {} is not positive", plural(*threads as usize, "thread"))
            }
            Self::ThreadsIgnored => write!(f, "the compiler takes -Zthreads and ignores it"),
        }
    }
}

/// ln T at one number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    pub threads: u32,
    pub rounds: u32,
    /// Mean of ln T.
    pub mean: f64,
    /// Variance of a single round's ln T.
    pub variance: Variance,
}

impl Point {
    /// Variance of `mean`.
    fn squared_error(&self) -> f64 {
        self.variance.value / f64::from(self.rounds)
    }
}

/// Times of one case and one artifact over numbers of threads, which rise from 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Curve {
    points: Vec<Point>,
}

/// Speed-up at one N, on the log scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Speedup {
    pub threads: u32,
    /// ln S(N).
    pub mean: f64,
    /// Half-width of the confidence interval of `mean`.
    pub half_width: f64,
}

impl Speedup {
    /// S(N) = T(1)/T(N).
    pub fn speedup(&self) -> f64 {
        self.mean.exp()
    }

    /// The interval of [`Speedup::speedup`].
    pub fn interval(&self) -> (f64, f64) {
        ((self.mean - self.half_width).exp(), (self.mean + self.half_width).exp())
    }

    /// S(N)/N.
    pub fn efficiency(&self) -> f64 {
        self.speedup() / f64::from(self.threads)
    }

    /// The interval of [`Speedup::efficiency`].
    pub fn efficiency_interval(&self) -> (f64, f64) {
        let (low, high) = self.interval();
        (low / f64::from(self.threads), high / f64::from(self.threads))
    }
}

impl Curve {
    /// Times of the same N are taken together; the order does not matter.
    pub fn from_times(times: &[Times]) -> Result<Self, NoCurve> {
        let mut logs: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for Times { threads, rounds } in times {
            if *threads == 0 || rounds.iter().any(|(_, time)| *time <= 0) {
                return Err(NoCurve::NotPositive { threads: *threads });
            }
            let ln = rounds.iter().map(|(_, time)| (*time as f64).ln());
            logs.entry(*threads).or_default().extend(ln);
        }
        logs.retain(|_, logs| !logs.is_empty());
        if !logs.contains_key(&1) {
            return Err(NoCurve::NoSingleThread);
        }
        if logs.len() < 2 {
            return Err(NoCurve::OneCount);
        }
        let point = |(threads, logs): (u32, Vec<f64>)| match moments(&logs) {
            Some(Moments { n, mean, variance: Some(value) }) => {
                let variance = Variance { value, df: f64::from(n) - 1.0 };
                Ok(Point { threads, rounds: n, mean, variance })
            }
            _ => Err(NoCurve::TooFewRounds { threads, rounds: logs.len() as u32 }),
        };
        Ok(Self { points: logs.into_iter().map(point).collect::<Result<_, _>>()? })
    }

    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The largest N.
    pub fn threads_max(&self) -> u32 {
        self.points[self.points.len() - 1].threads
    }

    /// Speed-up at every N, 1 included, by Welch's t (Welch 1947, Biometrika 34) on ln T(1) and
    /// ln T(N). Not by round: the two are minutes apart, so a round has little in common, and what
    /// it has in common only makes these intervals too wide.
    pub fn speedups(&self, confidence: f64) -> Vec<Speedup> {
        let single_thread = &self.points[0];
        let speedup = |point: &Point| {
            if point.threads == 1 {
                return Speedup { threads: 1, mean: 0.0, half_width: 0.0 };
            }
            let parts = [single_thread, point].map(|p| (p.squared_error(), p.variance.df));
            let variance = satterthwaite(parts);
            let half_width = t_quantile(confidence, variance.df) * variance.value.sqrt();
            Speedup { threads: point.threads, mean: single_thread.mean - point.mean, half_width }
        };
        self.points.iter().map(speedup).collect()
    }

    /// Fits a law by bounded least squares on ln T.
    pub fn fit(&self, law: Law, confidence: f64) -> Result<Fit, NoFit> {
        fit::fit(&self.points, law, confidence)
    }
}

/// Whether rounds of the same number belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Baseline and candidate ran next to each other in each round of an N: what drifts cancels,
    /// and a round with one side only is left out.
    ByRound,
    /// They ran at different times.
    None,
}

/// What a difference was made from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "basis")]
pub enum Basis {
    /// The two fits of the Universal Scalability Law.
    Law {
        /// Candidate − baseline, without the bounds, and the half-width of its interval.
        sigma: (f64, f64),
        kappa: (f64, f64),
    },
    /// The times at 1 and at the largest N, because a side has no fit.
    Measured { side: &'static str, why: NoFit },
}

/// How the candidate scales against the baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The largest N measured on both sides.
    pub threads: u32,
    pub basis: Basis,
    /// Estimate of ln D(N) at that N, candidate − baseline: exp(mean) − 1 is by how much the time
    /// there grew beyond what the time of one thread grew. p is against δ.
    pub estimate: Estimate,
    /// Variance of a single round, so that [`super::rounds_needed`] can be asked.
    pub variance: Variance,
    /// δ on the log scale.
    pub delta: f64,
}

/// What the estimate of one side adds to a difference, per N: the derivative of the answer by the
/// mean of ln T there.
type Weights = Vec<f64>;

/// Compares how two artifacts scale, at the largest N measured on both sides.
///
/// The effect is that on predicted time at that N, given that of one thread: a commit that is 5 %
/// slower with any number of threads scales as before, and the case's own comparison says the rest.
/// σ and κ alone would be a poor thing to test: their estimates are so correlated that one may rise
/// while the other falls and no time changes. What their differences come to at the largest N is
/// known best, and is what the next machine will show more of.
///
/// Variance by the delta method: the answer is Σ gₙ yₙ to first order, so its variance is that
/// of gᶜyᶜ − gᵇyᵇ over the rounds of each N, or of the two apart where nothing is paired, and its
/// degrees of freedom are Satterthwaite's. Tested by TREAT ([`estimate`]).
///
/// Errors name the side.
pub fn difference(
    baseline: &[Times],
    candidate: &[Times],
    pairing: Pairing,
    delta: f64,
    confidence: f64,
) -> Result<Difference, (Side, NoCurve)> {
    let [baseline, candidate] = [(baseline, candidate), (candidate, baseline)]
        .map(|(own, other)| common_times(own, other, pairing));
    let curve_of = |times: &[Times], side| Curve::from_times(times).map_err(|why| (side, why));
    let curves = [curve_of(&baseline, Side::Baseline)?, curve_of(&candidate, Side::Candidate)?];
    let fit_unbounded = |curve: &Curve, side: Side| match curve.fit(Law::Universal, confidence) {
        Ok(_) => Ok(fit::UnboundedFit::new(&curve.points)),
        Err(why) => Err(Basis::Measured { side: side.name(), why }),
    };
    let last_point = curves[0].points.len() - 1;
    let threads = curves[0].threads_max();
    let fits = fit_unbounded(&curves[0], Side::Baseline)
        .and_then(|b| Ok([b, fit_unbounded(&curves[1], Side::Candidate)?]));
    let answer = |value: [f64; 2], weights: [Weights; 2]| {
        let by_round = pairing == Pairing::ByRound;
        let parts = error_parts(&curves, [&baseline, &candidate], &weights, by_round);
        (value[1] - value[0], satterthwaite(parts))
    };
    let (basis, (mean, variance)) = match fits {
        Ok(fits) => {
            let parameter = |what: fit::Estimand| {
                let answers = fits.each_ref().map(|fit| fit.estimate(what));
                let [b, c] = answers;
                answer([b.0, c.0], [b.1, c.1])
            };
            let with_half_width = |what| {
                let (mean, variance): (f64, Variance) = parameter(what);
                (mean, t_quantile(confidence, variance.df) * variance.value.sqrt())
            };
            let basis = Basis::Law {
                sigma: with_half_width(fit::Estimand::Sigma),
                kappa: with_half_width(fit::Estimand::Kappa),
            };
            (basis, parameter(fit::Estimand::LogInflation(threads)))
        }
        Err(basis) => {
            let value = curves.each_ref().map(|c| c.points[last_point].mean - c.points[0].mean);
            let mut weights = vec![0.0; last_point + 1];
            (weights[0], weights[last_point]) = (-1.0, 1.0);
            (basis, answer(value, [weights.clone(), weights]))
        }
    };
    let rounds = curves.iter().flat_map(|c| &c.points).map(|p| p.rounds).min().unwrap_or(0);
    let single = Variance { value: variance.value * f64::from(rounds), df: variance.df };
    let estimate = estimate(rounds, mean, single, delta, confidence);
    Ok(Difference { threads, basis, estimate, variance: single, delta })
}

/// What one side has in common with the other: numbers of threads, and rounds where they are
/// paired; one entry per N that has any, N and rounds ascending.
fn common_times(times: &[Times], other: &[Times], pairing: Pairing) -> Vec<Times> {
    let mut others: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for times in other.iter().filter(|times| !times.rounds.is_empty()) {
        others.entry(times.threads).or_default().extend(times.rounds.iter().map(|r| r.0));
    }
    let mut common: BTreeMap<u32, Vec<(u32, i64)>> = BTreeMap::new();
    for Times { threads, rounds } in times {
        let Some(others) = others.get(threads) else { continue };
        let is_common = |round: &&(u32, i64)| pairing == Pairing::None || others.contains(&round.0);
        common.entry(*threads).or_default().extend(rounds.iter().filter(is_common));
    }
    common.retain(|_, rounds| !rounds.is_empty());
    let sort_rounds = |(threads, mut rounds): (u32, Vec<(u32, i64)>)| {
        rounds.sort_unstable();
        if pairing == Pairing::ByRound {
            rounds.dedup_by_key(|r| r.0);
        }
        Times { threads, rounds }
    };
    common.into_iter().map(sort_rounds).collect()
}

/// The parts of a difference's variance, each with its degrees of freedom: one per N where rounds
/// are paired, else one per N and side.
fn error_parts(
    curves: &[Curve; 2],
    times: [&[Times]; 2],
    weights: &[Weights; 2],
    by_round: bool,
) -> Vec<(f64, f64)> {
    if !by_round {
        let side_parts = |side: usize| {
            curves[side]
                .points
                .iter()
                .zip(&weights[side])
                .map(|(point, g)| (g * g * point.squared_error(), point.variance.df))
        };
        return side_parts(0).chain(side_parts(1)).collect();
    }
    let error_part = |point: usize| {
        let [b, c] = [0, 1].map(|side: usize| &times[side][point].rounds);
        let [gb, gc] = [0, 1].map(|side: usize| weights[side][point]);
        let ln = |round: &(u32, i64)| (round.1 as f64).ln();
        let errors: Vec<f64> = b.iter().zip(c).map(|(b, c)| gc * ln(c) - gb * ln(b)).collect();
        let moments = moments(&errors)?;
        Some((moments.variance? / f64::from(moments.n), f64::from(moments.n) - 1.0))
    };
    (0..weights[0].len()).filter_map(error_part).collect()
}
