//! Estimates from summaries, without opinion.

use std::collections::HashMap;

use serde::Serialize;

use super::peer_states::PeerStates;
use super::zeros::ZeroTest;
use crate::catalog::policy::{Decides, Gate, Policy, Rule};
use crate::catalog::suite::Config;
use crate::metric;
use crate::record::{DisturbedSides, Extent, Side, Summary};
use crate::states::{PastStates, Shares, States};
use crate::stats::{self, Estimate, Noise, PeerPrior, Variance};

/// One (case, metric, host): what all tables are keyed by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SeriesKey {
    pub benchmark: String,
    pub config: String,
    pub metric: String,
    pub host: String,
}

/// Two artifacts on one series: the estimate, no opinion.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    pub key: SeriesKey,
    /// Architecture of the host.
    pub architecture: String,
    pub tier: Gate,
    /// Whether it counts towards the conclusion.
    pub decides: bool,
    /// Whether it does not decide, and must agree with what does.
    pub is_companion: bool,
    /// Whether its case is flaky, and so decides nothing.
    pub is_flaky: bool,
    pub baseline: Option<Extent>,
    pub candidate: Option<Extent>,
    pub rounds: u32,
    pub tainted: u32,
    pub disturbed: Option<DisturbedSides>,
    /// `None` where the rounds allow none; the verdict says why.
    pub estimate: Option<Estimate>,
    /// What stands for the estimate where rounds have a zero on one side alone.
    pub zeros: Option<ZeroTest>,
    /// Where the estimate's variance comes from; `None` for a metric that is counted once.
    pub noise: Option<Noise>,
    /// What the estimate's p is made of; `None` for a metric that is counted once.
    pub p_parts: Option<PParts>,
    /// The states that its values lie in.
    pub states: Option<States>,
    /// The states of past runs.
    pub past_states: Option<PastStates>,
    /// δ on the log scale.
    pub delta: f64,
    /// p adjusted over the series' family: see [`compare`].
    pub q: Option<f64>,
}

/// The parts of p: the harmonic mean of the p under both shapes of the peer prior, and the accident
/// on top.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PParts {
    /// p if the variances of the peers are scaled inverse χ².
    pub inverse_chi_squared: f64,
    /// p if they are log-normal.
    pub log_normal: f64,
    /// The probability that each pair straddles two states by accident.
    pub accident: f64,
}

impl Comparison {
    /// exp(d̄) − 1: 0.05 is five per cent more than the baseline.
    pub fn effect(&self) -> Option<f64> {
        self.estimate.map(|e| e.mean.exp_m1())
    }

    /// The interval of [`Comparison::effect`].
    pub fn interval(&self) -> Option<(f64, f64)> {
        self.estimate.map(|e| ((e.mean - e.half_width).exp_m1(), (e.mean + e.half_width).exp_m1()))
    }

    /// p before it is adjusted.
    pub fn p(&self) -> Option<f64> {
        self.estimate.map(|e| e.p).or(self.zeros.map(|zeros| zeros.p))
    }

    /// Whether it can change the conclusion, and so which family its q is adjusted in.
    pub const fn can_conclude(&self) -> bool {
        self.decides || self.is_companion
    }

    /// Whether it is a test, of those that q is adjusted over: a counted metric is none.
    pub fn is_tested(&self) -> bool {
        self.p().is_some() && !metric::is_deterministic(&self.key.metric)
    }

    /// The side that disturbance came with, where it did not come with both alike. A side is as long
    /// on the machine as its wall time says.
    pub fn disturbed_side(&self) -> Option<Side> {
        let share = match (self.baseline, self.candidate) {
            (Some(b), Some(c)) if self.key.metric == metric::WALL && b.median > 0.0 => {
                c.median / (b.median + c.median)
            }
            _ => 0.5,
        };
        self.disturbed?.comes_with(share)
    }

    /// What its rounds say of the shares of states that are farther apart than δ, its own or those
    /// of past runs; `None` where there are none. A change of the shares of others moves the mean
    /// by less than δ.
    pub fn shares(&self) -> Option<Shares> {
        let shares = self.states.as_ref().map(|states| states.shares(self.rounds));
        let shares = shares.or(self.past_states.map(|past| past.shares(self.rounds)));
        shares.filter(|shares| shares.distance > self.delta)
    }

    /// The variance of the estimate; `None` where there can be none.
    pub fn variance(&self) -> Option<Variance> {
        let is_counted = metric::is_deterministic(&self.key.metric);
        self.noise.map(|noise| noise.used).or(is_counted.then_some(Variance::EXACT))
    }

    /// The smallest true effect, as a fraction, that these rounds would find four times in five at
    /// the policy's q taken as α ([`stats::detectable`]).
    pub fn detectable(&self, policy: &Policy) -> Option<f64> {
        let effect =
            |variance| stats::detectable(self.rounds, variance, self.delta, policy.q, 0.8).exp_m1();
        Some(self.noise.map_or(self.delta.exp_m1(), |noise| effect(noise.used)))
            .filter(|_| self.estimate.is_some())
    }
}

/// A summary with where it came from: what [`compare`] takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    pub host: String,
    pub architecture: String,
    pub summary: Summary,
    /// Whether the case is flaky ([`super::Failing::is_flaky`]).
    pub is_flaky: bool,
    /// Pooled within-run variance of d of the same series in past runs; `None` where there is none.
    pub history: Option<Variance>,
    /// The states it was in in past runs; `None` where it showed none.
    pub past_states: Option<PastStates>,
}

/// Estimates every series and adjusts p. The order is kept.
///
/// Two families are adjusted, each by itself: the series that can change the conclusion, and those
/// that cannot, so that neither the many that are only shown lend the others their discoveries, nor
/// dilute them. A metric sampled once per case has no variance and so is no test: it stands in no family,
/// its estimate is the value itself, and its q is its p (0 or 1).
///
/// The peers that lend their variance ([`stats::moderate`]) are the series of one metric and host.
pub fn compare(inputs: &[Input], policy: &Policy) -> Vec<Comparison> {
    let rules = rules(inputs, policy);
    let runs: Vec<Option<Variance>> = inputs.iter().map(run_variance).collect();
    fn place(input: &Input) -> (&str, &str) {
        (&input.summary.metric, &input.host)
    }
    let mut series: HashMap<(&str, &str), Vec<(&Summary, Variance)>> = HashMap::new();
    for (input, run) in inputs.iter().zip(&runs) {
        let Some(run) = run else { continue };
        let pooled = stats::pool_history(*run, usable(input.history), policy.history);
        series.entry(place(input)).or_default().push((&input.summary, pooled));
    }
    let peers: HashMap<(&str, &str), Peers> =
        series.into_iter().map(|(place, series)| (place, Peers::new(&series))).collect();
    let mut comparisons: Vec<Comparison> = inputs
        .iter()
        .zip(&rules)
        .zip(&runs)
        .map(|((input, rule), run)| {
            let peers = run.map(|run| (run, &peers[&place(input)]));
            compare_series(input, rule, peers, policy)
        })
        .collect();
    for can_conclude in [true, false] {
        let in_family = |c: &Comparison| c.is_tested() && c.can_conclude() == can_conclude;
        let family: Vec<usize> =
            (0..comparisons.len()).filter(|&i| in_family(&comparisons[i])).collect();
        let p: Vec<f64> = family.iter().filter_map(|&i| comparisons[i].q).collect();
        for (index, q) in family.into_iter().zip(stats::adjust(&p, policy.procedure)) {
            comparisons[index].q = Some(q);
        }
    }
    comparisons
}

/// What the series of one metric and host say of each other's noise.
struct Peers {
    prior: Option<PeerPrior>,
    /// The sum of their degrees of freedom.
    df: f64,
    states: PeerStates,
}

impl Peers {
    /// The peers with their variances.
    fn new(series: &[(&Summary, Variance)]) -> Self {
        let variances: Vec<Variance> = series.iter().map(|(_, variance)| *variance).collect();
        Self {
            prior: stats::peer_prior(&variances),
            df: variances.iter().map(|variance| variance.df).sum(),
            states: PeerStates::new(series.iter().map(|(summary, _)| *summary)),
        }
    }

    /// The noise of a series whose run alone shows the variance `run`.
    fn noise(&self, input: &Input, run: Variance, policy: &Policy) -> Noise {
        stats::moderate(run, usable(input.history), policy.history, self.prior, self.df)
    }

    /// The estimate of a series with this noise, of which it keeps the variance that is used, and the
    /// parts of its p.
    ///
    /// Of the tests under the two shapes of the prior, p is the harmonic mean (Wilson 2019, "The
    /// harmonic mean p-value for combining dependent tests", PNAS 116(4)): at most twice that of the
    /// surer one, whose interval it is. What the pairs may show by accident is added.
    fn estimate(
        &self,
        noise: &mut Noise,
        mean: f64,
        estimate: impl Fn(f64, Variance) -> Estimate,
    ) -> (Estimate, PParts) {
        let [first, second] = [noise.used, noise.log_normal].map(|used| estimate(mean, used));
        let p = 2.0 / (first.p.recip() + second.p.recip());
        let accident = self.states.accident(first.rounds, mean, noise.history);
        let parts = PParts { inverse_chi_squared: first.p, log_normal: second.p, accident };
        let mut surer = first;
        if second.p < first.p {
            (surer, noise.used) = (second, noise.log_normal);
        }
        (Estimate { p: (p + accident).min(1.0), ..surer }, parts)
    }
}

/// What was measured of the metrics of one case on one host.
#[derive(Default)]
struct CaseMetrics {
    /// A metric that decides has a value on some side, or on both.
    deciding: bool,
    deciding_on_both: bool,
    /// A metric that decides otherwise has values on both sides.
    otherwise_on_both: bool,
}

impl CaseMetrics {
    /// Whether what decides otherwise takes over: nothing that decides was measured, or on one side
    /// alone while what decides otherwise was on both.
    const fn otherwise_decides(&self) -> bool {
        !self.deciding_on_both && (self.otherwise_on_both || !self.deciding)
    }
}

/// The rule of a series, and what it is in its case.
struct SeriesRule {
    rule: Rule,
    decides: bool,
    is_companion: bool,
}

/// The rule of each series. To decide it must be of the tier `gate` and of a case that is not flaky;
/// of a case either the metrics that decide do, or those that do otherwise.
fn rules(inputs: &[Input], policy: &Policy) -> Vec<SeriesRule> {
    type CaseOn<'a> = (&'a str, &'a str, &'a str);
    fn case_on(input: &Input) -> CaseOn<'_> {
        (&input.summary.benchmark, &input.summary.config, &input.host)
    }
    let mut cases: HashMap<CaseOn<'_>, CaseMetrics> = HashMap::new();
    let mut configs: HashMap<&str, Config> = HashMap::new();
    let rules: Vec<Rule> = inputs
        .iter()
        .map(|input| {
            let Summary { benchmark, config, metric, baseline, candidate, .. } = &input.summary;
            let config = configs.entry(config).or_insert_with(|| Config::read(config));
            let rule = policy.rule(benchmark, config, &input.host, metric);
            let on_both = baseline.is_some() && candidate.is_some();
            let case = cases.entry(case_on(input)).or_default();
            match rule.decides {
                Decides::Yes => {
                    case.deciding |= baseline.is_some() || candidate.is_some();
                    case.deciding_on_both |= on_both;
                }
                Decides::Otherwise => case.otherwise_on_both |= on_both,
                Decides::No => {}
            }
            rule
        })
        .collect();
    let series_rule = |(input, rule): (&Input, Rule)| {
        let case = &cases[&case_on(input)];
        let counts = rule.tier == Gate::Counts && !input.is_flaky;
        let decides = match rule.decides {
            // What was disturbed throughout on both sides decides all the same: nothing is known.
            Decides::Yes => !case.deciding || !case.otherwise_decides(),
            Decides::No => false,
            Decides::Otherwise => case.otherwise_decides(),
        };
        let has_deciding = case.deciding || case.otherwise_decides();
        let is_companion = counts && !decides && rule.must_agree && has_deciding;
        SeriesRule { rule, decides: counts && decides, is_companion }
    };
    inputs.iter().zip(rules).map(series_rule).collect()
}

/// No |d| is larger: ln of the largest 64-bit integer. A foreign file may claim otherwise.
const LOG_RATIO_MAX: f64 = 43.7;

/// A mean of d that can be calculated with.
fn usable_mean(summary: &Summary) -> Option<f64> {
    summary.mean_log_ratio.filter(|mean| mean.abs() <= LOG_RATIO_MAX && summary.rounds > 0)
}

/// A variance of d that can be calculated with: two values that far apart give the largest.
fn usable(variance: Option<Variance>) -> Option<Variance> {
    const MAX: f64 = 2.0 * LOG_RATIO_MAX * LOG_RATIO_MAX;
    variance.filter(|v| (0.0..=MAX).contains(&v.value) && v.df.is_finite() && v.df > 0.0)
}

/// The run's own variance of d, at least what rounding to integers makes; `None` for a metric that
/// is counted once, fewer than two rounds, rounds with a zero on one side alone, or a variance that
/// is none.
fn run_variance(input: &Input) -> Option<Variance> {
    let summary = &input.summary;
    let has_zeros = summary.zeros.is_some();
    if metric::is_deterministic(&summary.metric) || summary.rounds < 2 || has_zeros {
        return None;
    }
    let median = |extent: Option<Extent>| extent.map_or(0.0, |e| e.median);
    let rounding = stats::rounding_variance(median(summary.baseline), median(summary.candidate));
    let run = Variance { value: summary.variance?, df: f64::from(summary.rounds) - 1.0 };
    // Medians of integers make no more than this; other medians are a foreign file's.
    let rounding = if rounding <= 1.0 { rounding } else { 0.0 };
    usable(Some(run)).map(|run| Variance { value: run.value.max(rounding), ..run })
}

/// `peers` come with the run's own variance; `None` where that is none.
fn compare_series(
    input: &Input,
    SeriesRule { rule, decides, is_companion }: &SeriesRule,
    peers: Option<(Variance, &Peers)>,
    policy: &Policy,
) -> Comparison {
    let summary = &input.summary;
    let delta = stats::log_effect(rule.smallest_effect);
    let is_counted = metric::is_deterministic(&summary.metric);
    let zeros = ZeroTest::of_summary(summary, is_counted);
    let mut noise = peers.map(|(run, peers)| peers.noise(input, run, policy));
    let estimate_with =
        |mean, variance| stats::estimate(summary.rounds, mean, variance, delta, policy.confidence);
    let mean = usable_mean(summary).filter(|_| zeros.is_none());
    let (estimate, p_parts) = match (mean, &mut noise, peers) {
        (Some(mean), Some(noise), Some((_, peers))) => {
            let (estimate, parts) = peers.estimate(noise, mean, estimate_with);
            (Some(estimate), Some(parts))
        }
        (Some(mean), ..) if is_counted => (Some(estimate_with(mean, Variance::EXACT)), None),
        _ => (None, None),
    };
    Comparison {
        key: SeriesKey {
            benchmark: summary.benchmark.clone(),
            config: summary.config.clone(),
            metric: summary.metric.clone(),
            host: input.host.clone(),
        },
        architecture: input.architecture.clone(),
        tier: rule.tier,
        decides: *decides,
        is_companion: *is_companion,
        is_flaky: input.is_flaky,
        baseline: summary.baseline,
        candidate: summary.candidate,
        rounds: zeros.map_or(summary.rounds, |zeros| zeros.rounds),
        tainted: summary.tainted,
        disturbed: summary.disturbed,
        estimate,
        zeros,
        noise,
        p_parts,
        states: summary.states.clone(),
        past_states: input.past_states,
        delta,
        q: estimate.map(|e| e.p).or(zeros.map(|zeros| zeros.p)),
    }
}
