//! From summaries to verdicts: [`compare`] estimates without opinion, [`judge`] decides under a
//! policy, [`conclude`] says it in one word and why. All three are pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use crate::catalog::policy::{Decides, Gate, HostConflict, Policy, Rule};
use crate::catalog::suite::Config;
use crate::metric::{self, Better};
use crate::record::{Extent, Sample, Side, Summary};
use crate::stats::scaling::NoCurve;
use crate::stats::{self, Estimate, Noise, Variance};

mod conclude;
mod failing;
mod scaling;
mod scaling_cases;

pub use conclude::{Concluded, Conclusion, ConclusionReason, NamedVerdict, conclude};
pub use failing::{Failing, Standing};
pub use scaling::{Scaled, judge_scaling};
pub use scaling_cases::{
    Fits, ScalingCase, ScalingPoint, ScalingSample, ScalingSide, THREADS, WALL, scaling_cases,
};

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
    /// Of the host.
    pub architecture: String,
    pub tier: Gate,
    /// Whether it counts towards the conclusion, and so which family its q is adjusted in.
    pub decides: bool,
    pub baseline: Option<Extent>,
    pub candidate: Option<Extent>,
    pub rounds: u32,
    pub tainted: u32,
    /// `None` where the rounds allow none; the verdict says why.
    pub estimate: Option<Estimate>,
    /// Where the estimate's variance comes from; `None` for a metric that is counted once.
    pub noise: Option<Noise>,
    /// δ on the log scale.
    pub delta: f64,
    /// p adjusted over the series' family: see [`compare`].
    pub q: Option<f64>,
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

    /// Whether it is a test, of those that q is adjusted over: a counted metric is none.
    pub fn is_tested(&self) -> bool {
        self.estimate.is_some() && !metric::is_deterministic(&self.key.metric)
    }

    /// The variance of the estimate; `None` where there can be none.
    pub fn variance(&self) -> Option<Variance> {
        variance(&self.key.metric, self.noise)
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

/// Why nothing can be said of a series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Reason {
    /// One side (or both) has no usable sample.
    MissingSide { side: &'static str },
    /// Fewer than two rounds: no variance.
    TooFewRounds { rounds: u32 },
    /// A value is zero on one side only: no ratio.
    ZeroValue,
    /// Both sides have samples, but in no round together.
    NoCommonRound,
    /// Most rounds were disturbed, although they were repeated: what is left is not to be trusted.
    Disturbed { tainted: u32, rounds: u32 },
    /// The interval is too wide for the policy's δ; `rounds` in all would settle it.
    TooWide { rounds: u32 },
    /// A stored number is none (NaN, infinite, negative where that cannot be): a foreign file.
    NotANumber,
    /// Hosts of one architecture are sure of different things.
    HostsDisagree { said: Vec<NamedVerdict> },
    /// Times over numbers of threads that cannot be compared.
    NoCurve { side: &'static str, curve: NoCurve },
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MissingSide { side } => write!(f, "no usable sample of the {side}"),
            Self::TooFewRounds { rounds } => {
                write!(f, "{rounds} round(s): two are needed for a variance")
            }
            Self::ZeroValue => write!(f, "a value is zero on one side only"),
            Self::NoCommonRound => write!(f, "no round has a usable sample of both sides"),
            Self::Disturbed { tainted, rounds } => {
                write!(f, "noisy: {tainted} samples were disturbed, {rounds} round(s) are left")
            }
            Self::TooWide { rounds } => {
                write!(f, "too noisy yet: about {rounds} rounds would settle it")
            }
            Self::NotANumber => write!(f, "its stored summary is not made of usable numbers"),
            Self::HostsDisagree { said } => {
                write!(
                    f,
                    "conflict: hosts ({}); both are to be asked again",
                    NamedVerdict::list(said)
                )
            }
            Self::NoCurve { side, curve } => write!(f, "no curve of the {side}: {curve}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    Regressed,
    Improved,
    Unchanged,
    Inconclusive(Reason),
}

impl Verdict {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Regressed => "Regressed",
            Self::Improved => "Improved",
            Self::Unchanged => "Unchanged",
            Self::Inconclusive(_) => "Inconclusive",
        }
    }

    /// Whether it claims something.
    pub const fn is_sure(&self) -> bool {
        !matches!(self, Self::Inconclusive(_))
    }
}

/// A comparison under a policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    pub comparison: Comparison,
    pub verdict: Verdict,
}

/// Reduces one job's samples to summaries, one a series, ordered by (benchmark, config, metric).
pub fn summarise(samples: &[Sample]) -> Vec<Summary> {
    // A round that was disturbed comes again under the same number: of each side the last counts.
    type Sides = BTreeMap<Side, BTreeMap<u32, i64>>;
    let mut series: BTreeMap<(&str, &str, &str), (Sides, u32)> = BTreeMap::new();
    for sample in samples {
        let key = (sample.benchmark.as_str(), sample.config.as_str(), sample.metric.as_str());
        let (sides, tainted) = series.entry(key).or_default();
        if sample.taint.is_empty() {
            sides.entry(sample.side).or_default().insert(sample.round, sample.value);
        } else {
            *tainted += 1;
        }
    }
    let extent = |side: Option<&BTreeMap<u32, i64>>| -> Option<Extent> {
        let mut values: Vec<i64> = side?.values().copied().collect();
        let median = stats::median(&mut values)?;
        Some(Extent { median, min: *values.first()?, max: *values.last()? })
    };
    let summary =
        |((benchmark, config, metric), (sides, tainted)): ((&str, &str, &str), (Sides, u32))| {
            let baseline = sides.get(&Side::Baseline);
            let d: Vec<f64> = sides
                .get(&Side::Candidate)
                .into_iter()
                .flatten()
                .filter_map(|(round, value)| stats::log_ratio(*baseline?.get(round)?, *value).ok())
                .collect();
            let moments = stats::moments(&d);
            Summary {
                benchmark: benchmark.to_string(),
                config: config.to_string(),
                metric: metric.to_string(),
                rounds: d.len() as u32,
                mean_log_ratio: moments.map(|m| m.mean),
                variance: moments.and_then(|m| m.variance),
                baseline: extent(sides.get(&Side::Baseline)),
                candidate: extent(sides.get(&Side::Candidate)),
                tainted,
            }
        };
    series.into_iter().map(summary).collect()
}

/// A summary with where it came from: what [`compare`] takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    pub host: String,
    pub architecture: String,
    pub summary: Summary,
    /// Pooled within-run variance of d of the same series in past runs; `None` where there is none.
    pub history: Option<Variance>,
}

/// Estimates every series and adjusts p. The order is kept.
///
/// Two families are adjusted, each by itself: the series that decide, and those that do not, so
/// that neither the many that are only shown lend the deciding ones their discoveries, nor dilute
/// them. A metric sampled once per case has no variance and so is no test: it stands in no family,
/// its estimate is the value itself, and its q is its p (0 or 1).
///
/// The crowd that lends its variance ([`stats::moderate`]) is that of one metric and host.
pub fn compare(inputs: &[Input], policy: &Policy) -> Vec<Comparison> {
    let rules = rules(inputs, policy);
    let runs: Vec<Option<Variance>> = inputs.iter().map(run_variance).collect();
    let mut crowds: HashMap<(&str, &str), Vec<Variance>> = HashMap::new();
    for (input, run) in inputs.iter().zip(&runs) {
        let Some(run) = run else { continue };
        let pooled = stats::pool_history(*run, usable(input.history), policy.history);
        crowds.entry((&input.summary.metric, &input.host)).or_default().push(pooled);
    }
    let priors: HashMap<(&str, &str), (Option<Variance>, f64)> = crowds
        .into_iter()
        .map(|(key, all)| (key, (stats::crowd(&all), all.iter().map(|v| v.df).sum())))
        .collect();
    let noise = |input: &Input, run: &Option<Variance>| {
        let (prior, df_all) = priors[&(input.summary.metric.as_str(), input.host.as_str())];
        run.map(|run| stats::moderate(run, usable(input.history), policy.history, prior, df_all))
    };
    let mut comparisons: Vec<Comparison> = inputs
        .iter()
        .zip(&rules)
        .zip(&runs)
        .map(|((input, (rule, decides)), run)| {
            let noise = run.and_then(|_| noise(input, run));
            estimate_one(input, rule, *decides, noise, policy)
        })
        .collect();
    for decides in [true, false] {
        let in_family = |c: &Comparison| c.is_tested() && c.decides == decides;
        let family: Vec<usize> =
            (0..comparisons.len()).filter(|&i| in_family(&comparisons[i])).collect();
        let p: Vec<f64> = family.iter().filter_map(|&i| comparisons[i].q).collect();
        for (index, q) in family.into_iter().zip(stats::adjust(&p, policy.procedure)) {
            comparisons[index].q = Some(q);
        }
    }
    comparisons
}

/// The rule of each series, and whether it decides: it must be of the tier `gate`, and `otherwise`
/// holds only where nothing of the case was measured that decides anyway.
fn rules(inputs: &[Input], policy: &Policy) -> Vec<(Rule, bool)> {
    type CaseOn<'a> = (&'a str, &'a str, &'a str);
    fn case_on(input: &Input) -> CaseOn<'_> {
        (&input.summary.benchmark, &input.summary.config, &input.host)
    }
    let mut decided: HashSet<CaseOn<'_>> = HashSet::new();
    let mut configs: HashMap<&str, Config> = HashMap::new();
    let rules: Vec<Rule> = inputs
        .iter()
        .map(|input| {
            let Summary { benchmark, config, metric, .. } = &input.summary;
            let config = configs.entry(config).or_insert_with(|| Config::read(config));
            let rule = policy.rule(benchmark, config, &input.host, metric);
            let measured = input.summary.baseline.is_some() || input.summary.candidate.is_some();
            if rule.decides == Decides::Yes && measured {
                decided.insert(case_on(input));
            }
            rule
        })
        .collect();
    let decides = |(input, rule): (&Input, &Rule)| {
        rule.tier == Gate::Counts
            && match rule.decides {
                Decides::Yes => true,
                Decides::No => false,
                Decides::Otherwise => !decided.contains(&case_on(input)),
            }
    };
    inputs.iter().zip(&rules).map(|pair| (*pair.1, decides(pair))).collect()
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
/// is counted once, fewer than two rounds, or a variance that is none.
fn run_variance(input: &Input) -> Option<Variance> {
    let summary = &input.summary;
    if metric::is_deterministic(&summary.metric) || summary.rounds < 2 {
        return None;
    }
    let median = |extent: Option<Extent>| extent.map_or(0.0, |e| e.median);
    let rounding = stats::rounding_variance(median(summary.baseline), median(summary.candidate));
    let run = Variance { value: summary.variance?, df: f64::from(summary.rounds) - 1.0 };
    // Medians of integers make no more than this; other medians are a foreign file's.
    let rounding = if rounding <= 1.0 { rounding } else { 0.0 };
    usable(Some(run)).map(|run| Variance { value: run.value.max(rounding), ..run })
}

fn variance(metric: &str, noise: Option<Noise>) -> Option<Variance> {
    noise.map(|noise| noise.used).or(metric::is_deterministic(metric).then_some(Variance::EXACT))
}

fn estimate_one(
    input: &Input,
    rule: &Rule,
    decides: bool,
    noise: Option<Noise>,
    policy: &Policy,
) -> Comparison {
    let summary = &input.summary;
    let delta = stats::log_effect(rule.smallest_effect);
    let variance = variance(&summary.metric, noise);
    let estimate = usable_mean(summary).zip(variance);
    let estimate = estimate
        .map(|(mean, used)| stats::estimate(summary.rounds, mean, used, delta, policy.confidence));
    Comparison {
        key: SeriesKey {
            benchmark: summary.benchmark.clone(),
            config: summary.config.clone(),
            metric: summary.metric.clone(),
            host: input.host.clone(),
        },
        architecture: input.architecture.clone(),
        tier: rule.tier,
        decides,
        baseline: summary.baseline,
        candidate: summary.candidate,
        rounds: summary.rounds,
        tainted: summary.tainted,
        estimate,
        noise,
        delta,
        q: estimate.map(|e| e.p),
    }
}

/// Decides each comparison under `policy`, and holds back what hosts of one architecture are sure
/// of differently.
pub fn judge(comparisons: Vec<Comparison>, policy: &Policy) -> Vec<Judged> {
    let judge = |comparison: Comparison| {
        let verdict = verdict(&comparison, policy);
        Judged { comparison, verdict }
    };
    let mut judged: Vec<Judged> = comparisons.into_iter().map(judge).collect();
    if policy.conflicting_hosts == HostConflict::AskAgain {
        hold_back(&mut judged);
    }
    judged
}

/// Two hosts disagree about a series where both are sure and not of the same: one found a
/// regression, and the other an improvement or that nothing changed. An inconclusive host
/// contradicts nobody.
fn hold_back(judged: &mut [Judged]) {
    let mut series: BTreeMap<(&str, &str, &str, &str), Vec<usize>> = BTreeMap::new();
    for (index, j) in judged.iter().enumerate().filter(|(_, j)| j.comparison.decides) {
        if j.verdict.is_sure() {
            let SeriesKey { benchmark, config, metric, .. } = &j.comparison.key;
            let key = (j.comparison.architecture.as_str(), benchmark.as_str(), config.as_str());
            series.entry((key.0, key.1, key.2, metric)).or_default().push(index);
        }
    }
    let disagreeing: Vec<Vec<usize>> = series
        .into_values()
        .filter(|all| all.iter().any(|&i| judged[i].verdict != judged[all[0]].verdict))
        .collect();
    for all in disagreeing {
        let said: Vec<NamedVerdict> = all
            .iter()
            .map(|&i| NamedVerdict::of(&judged[i].comparison.key.host, &judged[i].verdict))
            .collect();
        for index in all {
            judged[index].verdict =
                Verdict::Inconclusive(Reason::HostsDisagree { said: said.clone() });
        }
    }
}

fn verdict(comparison: &Comparison, policy: &Policy) -> Verdict {
    let (tainted, rounds) = (comparison.tainted, comparison.rounds);
    // A disturbed round taints both its samples; a side that is missing alone was not disturbed.
    let both = comparison.baseline.is_some() == comparison.candidate.is_some();
    if tainted > 0 && both && (rounds < 2 || tainted > rounds.saturating_mul(2)) {
        return Verdict::Inconclusive(Reason::Disturbed { tainted, rounds });
    }
    let (Some(estimate), Some(q)) = (comparison.estimate, comparison.q) else {
        return Verdict::Inconclusive(match (comparison.baseline, comparison.candidate) {
            (None, _) => Reason::MissingSide { side: Side::Baseline.name() },
            (_, None) => Reason::MissingSide { side: Side::Candidate.name() },
            (Some(b), Some(c)) if comparison.rounds == 0 => match b.min <= 0 || c.min <= 0 {
                true => Reason::ZeroValue,
                false => Reason::NoCommonRound,
            },
            _ if comparison.rounds == 1 => Reason::TooFewRounds { rounds: 1 },
            _ => Reason::NotANumber,
        });
    };
    let better = metric::find(&comparison.key.metric).map_or(Better::Lower, |m| m.better);
    let variance = comparison.noise.map(|noise| noise.used);
    decided(&estimate, q, better, comparison.delta, variance, policy)
}

/// The verdict on an estimate; `variance`, of a single round, says how many rounds would settle it.
fn decided(
    estimate: &Estimate,
    q: f64,
    better: Better,
    delta: f64,
    variance: Option<Variance>,
    policy: &Policy,
) -> Verdict {
    if q <= policy.q {
        let grew = estimate.mean > 0.0;
        return if grew == (better == Better::Lower) {
            Verdict::Regressed
        } else {
            Verdict::Improved
        };
    }
    // Equivalence (Schuirmann 1987, as an interval): unchanged only if the whole interval is.
    if estimate.mean.abs() + estimate.half_width <= delta {
        return Verdict::Unchanged;
    }
    let Some(variance) = variance else {
        return Verdict::Inconclusive(Reason::NotANumber);
    };
    Verdict::Inconclusive(Reason::TooWide {
        rounds: stats::rounds_needed(estimate, variance, delta, policy.confidence),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::policy;

    fn default_policy() -> Policy {
        policy::parse(
            "test",
            "policies/test.toml",
            "[metric.wall]\nsmallest_effect = 0.01\ndecides = true\n\
             [metric.max-rss]\nsmallest_effect = 0.01\n\
             [metric.'instructions:cachegrind']\nsmallest_effect = 0.002\ndecides = true\n",
            &[],
        )
        .unwrap()
    }

    /// `values` are (baseline, candidate) of each round.
    fn samples(benchmark: &str, metric: &str, values: &[(i64, i64)]) -> Vec<Sample> {
        let sample = |round: usize, side, value| Sample {
            benchmark: benchmark.into(),
            config: String::new(),
            metric: metric.into(),
            round: round as u32,
            side,
            sequence: 0,
            value,
            taint: String::new(),
        };
        let both = |(round, (b, c)): (usize, &(i64, i64))| {
            [sample(round, Side::Baseline, *b), sample(round, Side::Candidate, *c)]
        };
        values.iter().enumerate().flat_map(both).collect()
    }

    fn input(summary: Summary) -> Input {
        Input { host: "h".into(), architecture: "x86_64".into(), summary, history: None }
    }

    fn verdicts(samples: &[Sample]) -> (Vec<Verdict>, Conclusion) {
        let inputs: Vec<Input> = summarise(samples).into_iter().map(input).collect();
        let policy = default_policy();
        let judged = judge(compare(&inputs, &policy), &policy);
        let conclusion = conclude(&judged, &Failing::default(), &policy).conclusion;
        (judged.into_iter().map(|j| j.verdict).collect(), conclusion)
    }

    #[test]
    fn four_verdicts() {
        let slower = [(1000, 1100), (1001, 1102), (999, 1099), (1000, 1101)];
        let faster = slower.map(|(b, c)| (c, b));
        let same = [(100_000, 100_010), (100_001, 99_999), (99_990, 100_000), (100_000, 99_995)];
        let noisy = [(1000, 1100), (1000, 900), (1000, 1050), (1000, 1000)];
        for (rounds, verdict, conclusion) in [
            (slower, "Regressed", Conclusion::Regressed),
            (faster, "Improved", Conclusion::Improved),
            (same, "Unchanged", Conclusion::Unchanged),
            (noisy, "Inconclusive", Conclusion::Inconclusive),
        ] {
            let (got, overall) = verdicts(&samples("b", "wall", &rounds));
            assert_eq!((got[0].name(), overall), (verdict, conclusion));
        }
        let both = [samples("a", "wall", &slower), samples("b", "wall", &faster)].concat();
        assert_eq!(verdicts(&both).1, Conclusion::Mixed);
    }

    #[test]
    fn what_cannot_be_said_says_why() {
        let one = samples("b", "wall", &[(5, 6)]);
        assert_eq!(verdicts(&one).0, [Verdict::Inconclusive(Reason::TooFewRounds { rounds: 1 })]);
        let zero = samples("b", "wall", &[(0, 6), (0, 7)]);
        assert_eq!(verdicts(&zero).0, [Verdict::Inconclusive(Reason::ZeroValue)]);
        let mut apart = samples("b", "wall", &[(5, 6), (5, 6)]);
        apart.retain(|s| (s.round == 0) == (s.side == Side::Baseline));
        assert_eq!(verdicts(&apart).0, [Verdict::Inconclusive(Reason::NoCommonRound)]);
        let mut disturbed = samples("b", "wall", &[(5, 6), (5, 6)]);
        disturbed[0].taint = "steal".into();
        let reason = Reason::Disturbed { tainted: 1, rounds: 1 };
        assert_eq!(verdicts(&disturbed).0, [Verdict::Inconclusive(reason)]);
        // Six rounds of which four, or two, were disturbed: on both sides, as it happens.
        let mut many = samples("b", "wall", &[(500, 600); 6]);
        many.iter_mut().filter(|s| s.round < 4).for_each(|s| s.taint = "contention".into());
        let reason = Reason::Disturbed { tainted: 8, rounds: 2 };
        assert_eq!(verdicts(&many).0, [Verdict::Inconclusive(reason)]);
        many.iter_mut().filter(|s| s.round > 1).for_each(|s| s.taint.clear());
        assert_eq!(verdicts(&many).0, [Verdict::Regressed]);
        let mut alone = samples("b", "wall", &[(5, 6), (5, 6)]);
        alone[0].taint = "contention".into();
        alone.retain(|s| s.side == Side::Baseline);
        assert_eq!(
            verdicts(&alone).0,
            [Verdict::Inconclusive(Reason::MissingSide { side: "candidate" })]
        );
        assert_eq!(verdicts(&[]), (vec![], Conclusion::Inconclusive));
    }

    #[test]
    fn a_round_that_came_again_is_one_round() {
        // What no disturbance moves is untainted each time: the last pair counts.
        let again =
            |value| Sample { sequence: 9, value, ..samples("b", "max-rss", &[(1, 1)])[0].clone() };
        let mut all = samples("b", "max-rss", &[(100, 100), (100, 110)]);
        for (side, value) in [(Side::Baseline, 200), (Side::Candidate, 240)] {
            all.push(Sample { side, ..again(value) });
        }
        let summary = &summarise(&all)[0];
        assert_eq!((summary.rounds, summary.tainted), (2, 0));
        let mean = (1.2f64.ln() + 1.1f64.ln()) / 2.0;
        assert!((summary.mean_log_ratio.unwrap() - mean).abs() < 1e-12, "{summary:?}");
        assert_eq!(summary.baseline.unwrap().median, 150.0);
    }

    #[test]
    fn a_counter_is_its_own_verdict_from_one_sample() {
        let count = |b, c| verdicts(&samples("b", "instructions:cachegrind", &[(b, c)])).0;
        assert_eq!(count(1_000_000, 1_010_000), [Verdict::Regressed]);
        assert_eq!(count(1_000_000, 1_000_100), [Verdict::Unchanged]);
    }

    #[test]
    fn families_do_not_lend_each_other_discoveries() {
        // One borderline wall series: p is about 0.03, so q must be too, whatever else there is.
        let wall = [(1000, 1030), (1000, 1015), (1000, 1035), (1000, 1022)];
        let q_of_wall = |others: &[Vec<Sample>]| {
            let mut all = samples("b", "wall", &wall);
            all.extend(others.concat());
            let inputs: Vec<Input> = summarise(&all).into_iter().map(input).collect();
            let compared = compare(&inputs, &default_policy());
            compared.iter().find(|c| c.key.metric == "wall").and_then(|c| c.q).unwrap()
        };
        let alone = q_of_wall(&[]);
        let counters: Vec<Vec<Sample>> = (0..9)
            .map(|i| samples(&format!("c{i}"), "instructions:cachegrind", &[(1000, 2000 * i)]))
            .collect();
        let shown: Vec<Vec<Sample>> = (0..9)
            .map(|i| {
                samples(&format!("r{i}"), "max-rss", &[(1000, 2000), (1000, 2001), (1000, 1999)])
            })
            .collect();
        assert_eq!(q_of_wall(&counters), alone);
        assert_eq!(q_of_wall(&shown), alone);
        assert!(alone > 0.001 && alone < 0.2, "{alone}");
    }

    #[test]
    fn a_metric_that_does_not_decide_is_judged_all_the_same() {
        let (verdicts, conclusion) =
            verdicts(&samples("b", "max-rss", &[(1000, 2000), (1000, 2001), (1000, 1999)]));
        assert_eq!(verdicts, [Verdict::Regressed]);
        assert_eq!(conclusion, Conclusion::Inconclusive);
    }
}
