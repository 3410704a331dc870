//! Scaling of each case, with its verdict, from samples over numbers of threads.
//!
//! A case here is a benchmark under a config *without* the axis `threads`: its samples at all
//! numbers of threads are one curve. Wall time decides; instructions stand beside it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::scaling::{ScalingVerdict, judge_scaling};
use crate::catalog::policy::Policy;
use crate::catalog::suite::{Config, THREADS};
use crate::metric::WALL;
use crate::record::Side;
use crate::stats::scaling::{
    Curve, Difference, Fit, Law, NoCurve, NoFit, Pairing, Parameter, Speedup, Times, difference,
};
use crate::stats::{log_effect, median};

const INSTRUCTIONS: &str = "instructions";

/// One row of `samples` with where it came from. Of one job in the order in which they were
/// measured: a round that was disturbed comes again under the same number, and the last counts.
#[derive(Debug, Clone, Copy)]
pub struct ScalingSample<'a> {
    pub job: &'a str,
    pub host: &'a str,
    pub architecture: &'a str,
    pub benchmark: &'a str,
    pub config: &'a str,
    pub metric: &'a str,
    pub round: u32,
    pub side: Side,
    pub value: i64,
    pub is_tainted: bool,
}

/// How one case scales on one host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScalingCase {
    pub host: String,
    pub architecture: String,
    pub benchmark: String,
    /// The config without `threads`.
    pub config: String,
    pub baseline: ScalingSide,
    pub candidate: ScalingSide,
    /// Candidate against baseline, with the verdict.
    pub scaled: ScalingVerdict,
}

/// How one artifact scales in a case.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ScalingSide {
    /// What was measured, threads rising.
    pub points: Vec<ScalingPoint>,
    /// Samples of wall time left out because they were tainted.
    pub tainted: u32,
    /// What follows from them, or why nothing does.
    pub curve: Option<Fits>,
    pub no_curve: Option<NoCurve>,
}

/// The two laws beside the times.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fits {
    pub amdahl: Result<Fit, NoFit>,
    pub universal: Result<Fit, NoFit>,
}

/// One number of threads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScalingPoint {
    pub threads: u32,
    pub rounds: u32,
    /// Median of wall time.
    pub time_ns: f64,
    /// T(1)/T(N); `None` where there is no curve.
    pub speedup: Option<Parameter>,
    /// Speed-up over N.
    pub efficiency: Option<Parameter>,
    /// Medians of instructions, by metric.
    pub instructions: BTreeMap<String, f64>,
}

/// Everything that was measured with several numbers of threads (the axis `threads`), by host,
/// architecture, benchmark and config; others are left out. `ignored` holds (job, side) whose
/// compiler takes the number of threads and ignores it: it has times but no curve.
///
/// Judged together under `policy`, whose δ is that of wall time at the case's largest number of
/// threads.
pub fn scaling_cases<'a>(
    samples: impl IntoIterator<Item = ScalingSample<'a>>,
    ignored: &BTreeSet<(String, Side)>,
    policy: &Policy,
) -> Vec<ScalingCase> {
    let mut cases: BTreeMap<Key, Measured> = BTreeMap::new();
    for sample in samples {
        let is_shown = sample.metric == WALL || sample.metric.starts_with(INSTRUCTIONS);
        let Some((config, threads)) = without_threads(sample.config).filter(|_| is_shown) else {
            continue;
        };
        let key = Key {
            host: sample.host.to_string(),
            architecture: sample.architecture.to_string(),
            benchmark: sample.benchmark.to_string(),
            config,
        };
        cases.entry(key).or_default().add(&sample, threads);
    }
    let mut sides_by_case = vec![];
    let mut differences = vec![];
    for (key, measured) in cases.into_iter().filter(|(_, measured)| measured.threads.len() > 1) {
        let [baseline, candidate] = Side::BOTH.map(|side| measured.side(side, ignored));
        differences.push(measured.difference(&key, ignored, policy));
        let sides = [(&baseline, Side::Baseline), (&candidate, Side::Candidate)];
        let sides =
            sides.map(|(times, side)| measured.scaling_side(side, times, policy.confidence));
        sides_by_case.push((key, sides));
    }
    let case =
        |((key, [baseline, candidate]), scaled): ((Key, [ScalingSide; 2]), ScalingVerdict)| {
            let Key { host, architecture, benchmark, config } = key;
            let config = config.to_string();
            ScalingCase { host, architecture, benchmark, config, baseline, candidate, scaled }
        };
    sides_by_case.into_iter().zip(judge_scaling(differences, policy)).map(case).collect()
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    host: String,
    architecture: String,
    benchmark: String,
    config: Config,
}

/// The config without the axis `threads`, and its value; `None` where there is no such number.
fn without_threads(config: &str) -> Option<(Config, u32)> {
    let mut config = Config::read(config);
    let threads = config.0.remove(THREADS)?.parse().ok()?;
    Some((config, threads))
}

/// Values by threads, then by job and round.
type Values<'a> = BTreeMap<u32, BTreeMap<(&'a str, u32), i64>>;

/// The samples of one case.
#[derive(Debug, Default)]
struct Measured<'a> {
    values: BTreeMap<(Side, &'a str), Values<'a>>,
    jobs: BTreeSet<(Side, &'a str)>,
    /// Numbers of threads on either side, whatever came of them.
    threads: BTreeSet<u32>,
    tainted: BTreeMap<Side, u32>,
}

impl<'a> Measured<'a> {
    fn add(&mut self, sample: &ScalingSample<'a>, threads: u32) {
        self.jobs.insert((sample.side, sample.job));
        self.threads.insert(threads);
        if sample.is_tainted {
            *self.tainted.entry(sample.side).or_default() += u32::from(sample.metric == WALL);
            return;
        }
        let values = self.values.entry((sample.side, sample.metric)).or_default();
        values.entry(threads).or_default().insert((sample.job, sample.round), sample.value);
    }

    /// Wall times of a side. Rounds of several jobs are numbered anew, alike on both sides and at
    /// all numbers of threads.
    fn side(&self, side: Side, ignored: &BTreeSet<(String, Side)>) -> Result<Vec<Times>, NoCurve> {
        let is_ignored = |(measured, job): &(Side, &str)| {
            *measured == side && ignored.contains(&((*job).to_string(), side))
        };
        if self.jobs.iter().any(is_ignored) {
            return Err(NoCurve::ThreadsIgnored);
        }
        let walls = Side::BOTH.map(|side| self.values.get(&(side, WALL)));
        let rounds: BTreeSet<(&str, u32)> = walls
            .into_iter()
            .flatten()
            .flat_map(|values| values.values().flat_map(|rounds| rounds.keys().copied()))
            .collect();
        let number: BTreeMap<(&str, u32), u32> = rounds.into_iter().zip(0..).collect();
        let times = |(&threads, walls): (&u32, &BTreeMap<(&str, u32), i64>)| Times {
            threads,
            rounds: walls.iter().map(|(round, wall)| (number[round], *wall)).collect(),
        };
        Ok(self.values.get(&(side, WALL)).into_iter().flatten().map(times).collect())
    }

    fn difference(
        &self,
        key: &Key,
        ignored: &BTreeSet<(String, Side)>,
        policy: &Policy,
    ) -> Result<Difference, (Side, NoCurve)> {
        let times = |side| self.side(side, ignored).map_err(|why| (side, why));
        let (baseline, candidate) = (times(Side::Baseline)?, times(Side::Candidate)?);
        let mut config = key.config.clone();
        let threads_max = |times: &[Times]| times.last().map_or(1, |times| times.threads);
        let threads = threads_max(&baseline).min(threads_max(&candidate));
        config.0.insert(THREADS.to_string(), threads.to_string());
        let rule = policy.rule(&key.benchmark, &config, &key.host, WALL);
        let delta = log_effect(rule.smallest_effect);
        difference(&baseline, &candidate, Pairing::ByRound, delta, policy.confidence)
    }

    fn scaling_side(
        &self,
        side: Side,
        times: &Result<Vec<Times>, NoCurve>,
        confidence: f64,
    ) -> ScalingSide {
        let curve = times.as_ref().map_err(Clone::clone).and_then(|times| Curve::from_times(times));
        let speedups = curve.as_ref().map(|c| c.speedups(confidence)).unwrap_or_default();
        let walls = self.values.get(&(side, WALL)).into_iter().flatten();
        let point = |(&threads, walls): (&u32, &BTreeMap<(&str, u32), i64>)| {
            let speedup = speedups.iter().find(|s| s.threads == threads);
            Some(ScalingPoint {
                threads,
                rounds: walls.len() as u32,
                time_ns: median(&mut walls.values().copied().collect::<Vec<i64>>())?,
                speedup: speedup.map(|s| parameter(s.speedup(), s.interval())),
                efficiency: speedup
                    .map(|s: &Speedup| parameter(s.efficiency(), s.efficiency_interval())),
                instructions: self.instructions(side, threads),
            })
        };
        let fit_laws = |curve: &Curve| Fits {
            amdahl: curve.fit(Law::Amdahl, confidence),
            universal: curve.fit(Law::Universal, confidence),
        };
        ScalingSide {
            points: walls.filter_map(point).collect(),
            tainted: self.tainted.get(&side).copied().unwrap_or(0),
            curve: curve.as_ref().ok().map(fit_laws),
            no_curve: curve.err(),
        }
    }

    fn instructions(&self, side: Side, threads: u32) -> BTreeMap<String, f64> {
        let median_of = |((measured, metric), values): (&(Side, &str), &Values)| {
            let values = values.get(&threads).filter(|_| *measured == side && *metric != WALL)?;
            let median = median(&mut values.values().copied().collect::<Vec<i64>>())?;
            Some(((*metric).to_string(), median))
        };
        self.values.iter().filter_map(median_of).collect()
    }
}

fn parameter(estimate: f64, (low, high): (f64, f64)) -> Parameter {
    Parameter { estimate, low, high }
}
