//! Verdicts from estimates, under a policy.

use std::collections::BTreeMap;

use serde::Serialize;

use super::compare::{Comparison, SeriesKey};
use crate::catalog::policy::{HostConflict, Policy};
use crate::metric::{self, Better};
use crate::record::Side;
use crate::states::Shares;
use crate::stats::scaling::NoCurve;
use crate::stats::{self, Estimate, Variance};
use crate::text::plural;

/// Why nothing can be said of a series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Reason {
    /// One side (or both) has no usable sample.
    MissingSide { side: &'static str },
    /// Fewer than two rounds: no variance.
    TooFewRounds { rounds: u32 },
    /// A value is zero on one side only, in `rounds` of `total`: no ratio. 0 of 0 in summaries of a
    /// dyno that did not count them.
    ZeroValue { rounds: u32, total: u32 },
    /// Both sides have samples, but in no round together.
    NoCommonRound,
    /// Rounds were disturbed, although they were repeated, and fewer than two are left.
    Disturbed { tainted: u32, rounds: u32 },
    /// The interval is too wide for the policy's δ; `rounds` in all would settle it.
    TooWide { rounds: u32 },
    /// The interval is narrow enough, but the series has states far apart, whose shares may have
    /// changed; `rounds` in all would settle it.
    SharesUnknown { rounds: u32 },
    /// A stored number is none (NaN, infinite, negative where that cannot be): a foreign file.
    NotANumber,
    /// Hosts of one architecture are sure of different things.
    HostsDisagree {
        #[serde(rename = "said")]
        verdicts: Vec<NamedVerdict>,
    },
    /// Times over numbers of threads that cannot be compared.
    NoCurve { side: &'static str, curve: NoCurve },
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MissingSide { side } => write!(f, "no usable sample of the {side}"),
            Self::TooFewRounds { rounds } => {
                write!(f, "{}: two are needed for a variance", plural(*rounds as usize, "round"))
            }
            Self::ZeroValue { total: 0, .. } => write!(f, "a value is zero on one side only"),
            Self::ZeroValue { rounds, total } => write!(
                f,
                "a value is zero on one side only in {rounds} of {total} rounds, so there is no \
                 ratio, and the direction alone is not sure"
            ),
            Self::NoCommonRound => write!(f, "no round has a usable sample of both sides"),
            Self::Disturbed { tainted, rounds } => {
                let left = plural(*rounds as usize, "round");
                write!(f, "noisy: {tainted} samples were disturbed, {left} left")
            }
            Self::TooWide { rounds } => {
                write!(f, "too noisy yet: about {rounds} rounds would settle it")
            }
            Self::SharesUnknown { rounds } => write!(
                f,
                "its values lie in states far apart, and their shares may have changed: about \
                 {rounds} rounds would settle it"
            ),
            Self::NotANumber => write!(f, "its stored summary is not made of usable numbers"),
            Self::HostsDisagree { verdicts } => {
                write!(
                    f,
                    "conflict: hosts ({}); both are to be asked again",
                    NamedVerdict::list(verdicts)
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

/// A verdict with the name of whose it is: a host, an architecture, a config or a metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NamedVerdict {
    #[serde(rename = "who")]
    pub name: String,
    pub verdict: &'static str,
}

impl NamedVerdict {
    pub(super) fn new(name: &str, verdict: &Verdict) -> Self {
        Self { name: name.to_string(), verdict: verdict.name() }
    }

    /// Each by name, or how many say what where they are many.
    pub(super) fn list(verdicts: &[Self]) -> String {
        const LISTED_MAX: usize = 6;
        if verdicts.len() > LISTED_MAX {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            verdicts.iter().for_each(|s| *counts.entry(s.verdict).or_default() += 1);
            let count_text = |(verdict, count): (&str, usize)| format!("{count} {verdict}");
            return counts.into_iter().map(count_text).collect::<Vec<_>>().join(", ");
        }
        let verdict_text = |v: &Self| {
            let name = if v.name.is_empty() { "no config" } else { &v.name };
            format!("{name}: {}", v.verdict)
        };
        verdicts.iter().map(verdict_text).collect::<Vec<_>>().join(", ")
    }
}

/// A comparison under a policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    pub comparison: Comparison,
    pub verdict: Verdict,
}

/// Decides each comparison under `policy`, and holds back what hosts of one architecture are sure
/// of differently.
pub fn judge(comparisons: Vec<Comparison>, policy: &Policy) -> Vec<Judged> {
    let judge_comparison = |comparison: Comparison| {
        let verdict = verdict_of(&comparison, policy);
        Judged { comparison, verdict }
    };
    let mut judged: Vec<Judged> = comparisons.into_iter().map(judge_comparison).collect();
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
        .filter(|group| group.iter().any(|&i| judged[i].verdict != judged[group[0]].verdict))
        .collect();
    for group in disagreeing {
        let verdicts: Vec<NamedVerdict> = group
            .iter()
            .map(|&i| NamedVerdict::new(&judged[i].comparison.key.host, &judged[i].verdict))
            .collect();
        for index in group {
            judged[index].verdict =
                Verdict::Inconclusive(Reason::HostsDisagree { verdicts: verdicts.clone() });
        }
    }
}

fn verdict_of(comparison: &Comparison, policy: &Policy) -> Verdict {
    let (tainted, rounds) = (comparison.tainted, comparison.rounds);
    // A disturbed round taints both its samples; a side that is missing alone was not disturbed.
    let is_complete = comparison.baseline.is_some() == comparison.candidate.is_some();
    if tainted > 0 && is_complete && rounds < 2 {
        return Verdict::Inconclusive(Reason::Disturbed { tainted, rounds });
    }
    let better = metric::find(&comparison.key.metric).map_or(Better::Lower, |m| m.better);
    if let (Some(zeros), Some(q)) = (comparison.zeros, comparison.q) {
        return match q <= policy.q {
            true => change(zeros.grew, better),
            false => {
                let (rounds, total) = (zeros.zeros(), zeros.rounds);
                Verdict::Inconclusive(Reason::ZeroValue { rounds, total })
            }
        };
    }
    let (Some(estimate), Some(q)) = (comparison.estimate, comparison.q) else {
        return Verdict::Inconclusive(match (comparison.baseline, comparison.candidate) {
            (None, _) => Reason::MissingSide { side: Side::Baseline.name() },
            (_, None) => Reason::MissingSide { side: Side::Candidate.name() },
            (Some(b), Some(c)) if comparison.rounds == 0 => match b.min <= 0 || c.min <= 0 {
                true => Reason::ZeroValue { rounds: 0, total: 0 },
                false => Reason::NoCommonRound,
            },
            _ if comparison.rounds == 1 => Reason::TooFewRounds { rounds: 1 },
            _ => Reason::NotANumber,
        });
    };
    let variance = comparison.noise.map(|noise| noise.used);
    let verdict = decide(&estimate, q, better, comparison.delta, variance, policy);
    match comparison.shares() {
        Some(shares) => allow_for_shares(verdict, shares, comparison.delta, policy),
        None => verdict,
    }
}

/// The verdict on a series with states: pairs that are alike, and so have a narrow interval, say
/// little of how often it is in which.
fn allow_for_shares(verdict: Verdict, shares: Shares, delta: f64, policy: &Policy) -> Verdict {
    let needed = || shares.rounds_needed(delta, policy.confidence);
    let (shift, half_width) = shares.shift(policy.confidence);
    match verdict {
        Verdict::Unchanged if shift.abs() + half_width > delta => {
            Verdict::Inconclusive(Reason::SharesUnknown { rounds: needed() })
        }
        Verdict::Inconclusive(Reason::TooWide { rounds }) => {
            Verdict::Inconclusive(Reason::TooWide { rounds: rounds.max(needed()) })
        }
        verdict => verdict,
    }
}

/// The verdict on a change that is sure.
fn change(grew: bool, better: Better) -> Verdict {
    if grew == (better == Better::Lower) { Verdict::Regressed } else { Verdict::Improved }
}

/// The verdict on an estimate; `variance`, of a single round, says how many rounds would settle it.
pub(super) fn decide(
    estimate: &Estimate,
    q: f64,
    better: Better,
    delta: f64,
    variance: Option<Variance>,
    policy: &Policy,
) -> Verdict {
    if q <= policy.q {
        return change(estimate.mean > 0.0, better);
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
