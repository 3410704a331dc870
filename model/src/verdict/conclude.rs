//! All verdicts of a comparison in one word, with the reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::conflict::{Contradiction, contradictions};
use super::{Failing, Judged, NamedVerdict, Reason, SeriesKey, Standing, Verdict};
use crate::catalog::policy::{Decides, Gate, Policy};
use crate::catalog::suite::Config;

/// What a whole comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Conclusion {
    Regressed,
    Improved,
    /// Some series regressed and others improved, or metrics of a case contradict each other.
    Mixed,
    Unchanged,
    Inconclusive,
}

impl Conclusion {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Regressed => "Regressed",
            Self::Improved => "Improved",
            Self::Mixed => "Mixed",
            Self::Unchanged => "Unchanged",
            Self::Inconclusive => "Inconclusive",
        }
    }
}

/// One reason for a conclusion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "because")]
pub enum ConclusionReason {
    /// `series` of the `deciding` ones have this verdict; by architecture where there are several.
    Verdicts {
        verdict: &'static str,
        series: usize,
        #[serde(rename = "of")]
        deciding: usize,
        architecture: Option<String>,
    },
    /// Nothing that was measured decides under the policy.
    NothingDecides,
    /// No case was measured on both sides; which were on each.
    NoCommonCase { baseline: BTreeSet<String>, candidate: BTreeSet<String> },
    /// These cases work on one side only, or by luck: newly failing, newly passing, or flaky.
    OneSideWorks { standing: Standing, cases: BTreeSet<String> },
    /// A metric that decides was measured on one side only, so others decide these cases.
    MetricMissing {
        metric: String,
        side: &'static str,
        cases: BTreeSet<String>,
        /// The metrics that decide there.
        instead: BTreeSet<String>,
    },
    /// Hosts of one architecture are sure of different things: counted as inconclusive.
    HostsDisagree {
        case: String,
        metric: String,
        #[serde(rename = "said")]
        verdicts: Vec<NamedVerdict>,
    },
    /// One architecture regressed and another improved.
    ArchitecturesDisagree {
        case: String,
        metric: String,
        #[serde(rename = "said")]
        verdicts: Vec<NamedVerdict>,
    },
    /// One config of a benchmark regressed and another improved, on one host.
    ConfigsDisagree {
        benchmark: String,
        metric: String,
        host: String,
        #[serde(rename = "said")]
        verdicts: Vec<NamedVerdict>,
    },
    /// A metric that must agree with the one that decides is sure of another thing, by more than a
    /// multiple of its δ.
    MetricsConflict { case: String, host: String, decides: NamedVerdict, beside: NamedVerdict },
    /// The metric that decides and another that could are sure of different things.
    MetricsDisagree { case: String, host: String, decides: NamedVerdict, beside: NamedVerdict },
    /// What only informs changed.
    Informs { regressed: usize, improved: usize },
}

impl fmt::Display for ConclusionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdicts { verdict, series, deciding, architecture } => {
                let place = architecture.as_ref().map(|a| format!(" on {a}")).unwrap_or_default();
                write!(f, "{series} of {deciding} series that gate{place}: {verdict}")
            }
            Self::NoCommonCase { baseline, candidate } => write!(
                f,
                "no case was measured on both sides: the baseline has {}; the candidate has {}",
                first_names(baseline),
                first_names(candidate)
            ),
            Self::OneSideWorks { standing, cases } => {
                write!(f, "{}: {}", standing.name(), first_names(cases))
            }
            Self::MetricMissing { metric, side, cases, instead } => write!(
                f,
                "{metric}, which gates, is missing on the {side} for {}: {} gates there instead",
                first_names(cases),
                first_names(instead)
            ),
            Self::NothingDecides => write!(f, "nothing that was measured gates"),
            Self::HostsDisagree { case, metric, verdicts } => write!(
                f,
                "conflict: hosts about {case}, {metric} ({}); not counted until asked again",
                NamedVerdict::list(verdicts)
            ),
            Self::ArchitecturesDisagree { case, metric, verdicts } => {
                write!(
                    f,
                    "architectures differ about {case}, {metric} ({})",
                    NamedVerdict::list(verdicts)
                )
            }
            Self::ConfigsDisagree { benchmark, metric, host, verdicts } => {
                let list = NamedVerdict::list(verdicts);
                write!(f, "configs of {benchmark} differ, {metric} on {host} ({list})")
            }
            Self::MetricsConflict { case, host, decides, beside } => write!(
                f,
                "conflict: metrics about {case} on {host}: {} gates ({}), {} says {}, by far",
                decides.name, decides.verdict, beside.name, beside.verdict
            ),
            Self::MetricsDisagree { case, host, decides, beside } => write!(
                f,
                "metrics differ about {case} on {host}: {} gates ({}), {} says {}",
                decides.name, decides.verdict, beside.name, beside.verdict
            ),
            Self::Informs { regressed, improved } => {
                write!(
                    f,
                    "of what only informs, {regressed} series regressed and {improved} improved"
                )
            }
        }
    }
}

/// The first names of many.
fn first_names(names: &BTreeSet<String>) -> String {
    const LISTED_MAX: usize = 8;
    let mut listed: Vec<&str> = names.iter().take(LISTED_MAX).map(String::as_str).collect();
    let rest_text = format!("{} more", names.len().saturating_sub(LISTED_MAX));
    if names.is_empty() {
        listed.push("none");
    } else if names.len() > LISTED_MAX {
        listed.push(&rest_text);
    }
    listed.join(", ")
}

/// A conclusion with its reasons, and the hosts to ask again because they contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Concluded {
    pub conclusion: Conclusion,
    pub reasons: Vec<ConclusionReason>,
    pub ask_again: BTreeSet<String>,
    /// Whether a gate fails (`--fail-on-regression`): something that decides regressed, is newly
    /// failing, or regressed against the metric that decides where the policy fails for that.
    pub gate_fails: bool,
}

/// The conclusion over the deciding series: any regression and any improvement is Mixed; with
/// neither, Unchanged only if every one of them is, and no case works on one side only. What is
/// newly failing is as a regression. A metric that must agree and contradicts makes it Mixed.
/// Nothing is averaged: who differs is named.
pub fn conclude(judged: &[Judged], failing: &Failing<'_>, policy: &Policy) -> Concluded {
    let deciding: Vec<&Judged> = judged.iter().filter(|j| j.comparison.decides).collect();
    let has_any = |verdict: Verdict| deciding.iter().any(|j| j.verdict == verdict);
    let one_sided_cases = one_sided_cases(failing);
    let unchanged = !deciding.is_empty()
        && one_sided_cases.is_empty()
        && deciding.iter().all(|j| j.verdict == Verdict::Unchanged);
    let conflicts = contradictions(judged, policy);
    let is_worse = has_any(Verdict::Regressed) || failing.has_newly_failing(policy);
    let conclusion = match (is_worse, has_any(Verdict::Improved)) {
        _ if !conflicts.is_empty() => Conclusion::Mixed,
        (true, true) => Conclusion::Mixed,
        (true, false) => Conclusion::Regressed,
        (false, true) => Conclusion::Improved,
        (false, false) if unchanged => Conclusion::Unchanged,
        (false, false) => Conclusion::Inconclusive,
    };
    let mut reasons = tallies(&deciding);
    reasons.extend(one_sided_cases);
    reasons.extend(metrics_missing(judged, policy));
    reasons.extend(no_common_case(judged));
    reasons.extend(hosts_disagree(&deciding));
    reasons.extend(architectures_disagree(&deciding));
    reasons.extend(configs_disagree(&deciding));
    reasons.extend(conflicts.iter().map(metrics_conflict));
    reasons.extend(metrics_disagree(judged, policy, &conflicts));
    reasons.extend(informing_changes(judged));
    let ask_again = deciding
        .iter()
        .filter(|j| matches!(j.verdict, Verdict::Inconclusive(Reason::HostsDisagree { .. })))
        .map(|j| j.comparison.key.host.clone())
        .collect();
    let gate_fails = is_worse || conflicts.iter().any(|conflict| conflict.fails(policy));
    Concluded { conclusion, reasons, ask_again, gate_fails }
}

fn tallies(deciding: &[&Judged]) -> Vec<ConclusionReason> {
    if deciding.is_empty() {
        return vec![ConclusionReason::NothingDecides];
    }
    let mut architectures: BTreeMap<&str, BTreeMap<&'static str, usize>> = BTreeMap::new();
    for j in deciding {
        let counts = architectures.entry(&j.comparison.architecture).or_default();
        *counts.entry(j.verdict.name()).or_default() += 1;
    }
    let many = architectures.len() > 1;
    let mut reasons = Vec::new();
    for (architecture, counts) in &architectures {
        let deciding = counts.values().sum();
        for verdict in ["Regressed", "Improved", "Inconclusive", "Unchanged"] {
            let Some(&series) = counts.get(verdict) else { continue };
            let architecture = many.then(|| architecture.to_string());
            reasons.push(ConclusionReason::Verdicts { verdict, series, deciding, architecture });
        }
    }
    reasons
}

fn one_sided_cases(failing: &Failing<'_>) -> Vec<ConclusionReason> {
    let reason =
        |standing| ConclusionReason::OneSideWorks { standing, cases: failing.cases(standing) };
    let is_any = |because: &ConclusionReason| matches!(because, ConclusionReason::OneSideWorks { cases, .. } if !cases.is_empty());
    [Standing::NewlyFailing, Standing::NewlyPassing, Standing::Flaky]
        .map(reason)
        .into_iter()
        .filter(is_any)
        .collect()
}

/// The metrics that would decide had one side not lacked them.
fn metrics_missing(judged: &[Judged], policy: &Policy) -> Vec<ConclusionReason> {
    let place = |j: &Judged| {
        let SeriesKey { benchmark, config, host, .. } = &j.comparison.key;
        (benchmark.clone(), config.clone(), host.clone())
    };
    let deciding = judged.iter().filter(|j| j.comparison.decides);
    let mut deciding_metrics: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for j in deciding {
        deciding_metrics.entry(place(j)).or_default().insert(j.comparison.key.metric.clone());
    }
    let mut missing: BTreeMap<(String, &'static str), [BTreeSet<String>; 2]> = BTreeMap::new();
    for j in judged {
        let (c, key) = (&j.comparison, &j.comparison.key);
        let Verdict::Inconclusive(Reason::MissingSide { side }) = j.verdict else { continue };
        let config = Config::read(&key.config);
        let rule = policy.rule(&key.benchmark, &config, &key.host, &key.metric);
        let instead = deciding_metrics.get(&place(j));
        if let Some(instead) =
            instead.filter(|_| !c.decides && !c.is_flaky && rule.decides == Decides::Yes)
        {
            let [cases, metrics] = missing.entry((key.metric.clone(), side)).or_default();
            cases.insert(case(key));
            metrics.extend(instead.iter().cloned());
        }
    }
    missing
        .into_iter()
        .map(|((metric, side), [cases, instead])| ConclusionReason::MetricMissing {
            metric,
            side,
            cases,
            instead,
        })
        .collect()
}

fn no_common_case(judged: &[Judged]) -> Option<ConclusionReason> {
    let measured_cases = |side: fn(&Judged) -> bool| -> BTreeSet<String> {
        judged.iter().filter(|j| side(j)).map(|j| case(&j.comparison.key)).collect()
    };
    let baseline = measured_cases(|j| j.comparison.baseline.is_some());
    let candidate = measured_cases(|j| j.comparison.candidate.is_some());
    let none = !judged.is_empty() && baseline.is_disjoint(&candidate);
    none.then_some(ConclusionReason::NoCommonCase { baseline, candidate })
}

fn case(key: &SeriesKey) -> String {
    match key.config.as_str() {
        "" => key.benchmark.clone(),
        config => format!("{} [{config}]", key.benchmark),
    }
}

/// Groups by a key, keeps the verdicts of each group that has both directions.
fn both_directions<'a, K: Ord>(
    deciding: &[&'a Judged],
    key: impl Fn(&'a Judged) -> K,
    name: impl Fn(&'a Judged) -> &'a str,
) -> BTreeMap<K, Vec<NamedVerdict>> {
    let mut groups: BTreeMap<K, BTreeSet<NamedVerdict>> = BTreeMap::new();
    for j in deciding.iter().filter(|j| j.verdict.is_sure()) {
        groups.entry(key(j)).or_default().insert(NamedVerdict::new(name(j), &j.verdict));
    }
    let has = |verdicts: &BTreeSet<NamedVerdict>, verdict: Verdict| {
        verdicts.iter().any(|s| s.verdict == verdict.name())
    };
    groups
        .into_iter()
        .filter(|(_, verdicts)| {
            has(verdicts, Verdict::Regressed) && has(verdicts, Verdict::Improved)
        })
        .map(|(key, verdicts)| (key, verdicts.into_iter().collect()))
        .collect()
}

fn hosts_disagree(deciding: &[&Judged]) -> Vec<ConclusionReason> {
    let mut seen = BTreeSet::new();
    let reason = |j: &&Judged| match &j.verdict {
        Verdict::Inconclusive(Reason::HostsDisagree { verdicts }) => {
            let key = &j.comparison.key;
            let name = (j.comparison.architecture.clone(), case(key), key.metric.clone());
            seen.insert(name.clone()).then(|| ConclusionReason::HostsDisagree {
                case: name.1,
                metric: name.2,
                verdicts: verdicts.clone(),
            })
        }
        _ => None,
    };
    deciding.iter().filter_map(reason).collect()
}

fn architectures_disagree(deciding: &[&Judged]) -> Vec<ConclusionReason> {
    let key = |j: &Judged| (case(&j.comparison.key), j.comparison.key.metric.clone());
    let groups = both_directions(deciding, key, |j| j.comparison.architecture.as_str());
    let has_several_names = |verdicts: &Vec<NamedVerdict>| {
        verdicts.iter().map(|s| &s.name).collect::<BTreeSet<_>>().len() > 1
    };
    let because = |((case, metric), verdicts)| ConclusionReason::ArchitecturesDisagree {
        case,
        metric,
        verdicts,
    };
    groups.into_iter().filter(|(_, verdicts)| has_several_names(verdicts)).map(because).collect()
}

fn configs_disagree(deciding: &[&Judged]) -> Vec<ConclusionReason> {
    let key = |j: &Judged| {
        let SeriesKey { benchmark, metric, host, .. } = &j.comparison.key;
        (benchmark.clone(), metric.clone(), host.clone())
    };
    both_directions(deciding, key, |j| j.comparison.key.config.as_str())
        .into_iter()
        .map(|((benchmark, metric, host), verdicts)| ConclusionReason::ConfigsDisagree {
            benchmark,
            metric,
            host,
            verdicts,
        })
        .collect()
}

fn metrics_conflict(conflict: &Contradiction<'_>) -> ConclusionReason {
    let key = &conflict.deciding.comparison.key;
    let named = |j: &Judged| NamedVerdict::new(&j.comparison.key.metric, &j.verdict);
    ConclusionReason::MetricsConflict {
        case: case(key),
        host: key.host.clone(),
        decides: named(conflict.deciding),
        beside: named(conflict.companion),
    }
}

/// Names, beside the metric that decides a case, those that the policy lets decide elsewhere, but
/// for those that conflict with it.
fn metrics_disagree(
    judged: &[Judged],
    policy: &Policy,
    conflicts: &[Contradiction<'_>],
) -> Vec<ConclusionReason> {
    let conflicting: Vec<&SeriesKey> =
        conflicts.iter().map(|conflict| &conflict.companion.comparison.key).collect();
    let mut cases: BTreeMap<(&str, &str, &str), Vec<&Judged>> = BTreeMap::new();
    for j in judged {
        let SeriesKey { benchmark, config, metric, host } = &j.comparison.key;
        let is_named = conflicting.contains(&&j.comparison.key);
        let can_differ = j.comparison.tier == Gate::Counts && policy.can_decide(metric);
        if can_differ && j.verdict.is_sure() && !is_named {
            cases.entry((benchmark, config, host)).or_default().push(j);
        }
    }
    let mut reasons = Vec::new();
    for all in cases.into_values() {
        let (deciding, beside): (Vec<&Judged>, Vec<&Judged>) =
            all.into_iter().partition(|j| j.comparison.decides);
        for d in &deciding {
            for b in beside.iter().filter(|b| b.verdict != d.verdict) {
                reasons.push(ConclusionReason::MetricsDisagree {
                    case: case(&d.comparison.key),
                    host: d.comparison.key.host.clone(),
                    decides: NamedVerdict::new(&d.comparison.key.metric, &d.verdict),
                    beside: NamedVerdict::new(&b.comparison.key.metric, &b.verdict),
                });
            }
        }
    }
    reasons
}

fn informing_changes(judged: &[Judged]) -> Option<ConclusionReason> {
    let count = |verdict: Verdict| {
        let of_tier = |j: &&Judged| j.comparison.tier == Gate::Informs && j.verdict == verdict;
        judged.iter().filter(of_tier).count()
    };
    let (regressed, improved) = (count(Verdict::Regressed), count(Verdict::Improved));
    (regressed + improved > 0).then_some(ConclusionReason::Informs { regressed, improved })
}

#[cfg(test)]
mod tests;
