//! All verdicts of a comparison in one word, with the reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::{Failing, Judged, Reason, SeriesKey, Standing, Verdict};
use crate::catalog::policy::{Gate, Policy};

/// What a whole comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Conclusion {
    Regressed,
    Improved,
    /// Some series regressed and others improved.
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

/// Who (a host, an architecture, a config, a metric) says what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NamedVerdict {
    pub who: String,
    pub verdict: &'static str,
}

impl NamedVerdict {
    pub(super) fn of(who: &str, verdict: &Verdict) -> Self {
        Self { who: who.to_string(), verdict: verdict.name() }
    }

    /// Each by name, or how many say what where they are many.
    pub(super) fn list(said: &[Self]) -> String {
        const LISTED_MAX: usize = 6;
        if said.len() > LISTED_MAX {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            said.iter().for_each(|s| *counts.entry(s.verdict).or_default() += 1);
            let count = |(verdict, count): (&str, usize)| format!("{count} {verdict}");
            return counts.into_iter().map(count).collect::<Vec<_>>().join(", ");
        }
        let one = |s: &Self| {
            let who = if s.who.is_empty() { "no config" } else { &s.who };
            format!("{who}: {}", s.verdict)
        };
        said.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// One reason for a conclusion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "because")]
pub enum ConclusionReason {
    /// `series` of the `of` that decide have this verdict; by architecture where there are several.
    Verdicts { verdict: &'static str, series: usize, of: usize, architecture: Option<String> },
    /// Nothing that was measured decides under the policy.
    NothingDecides,
    /// No case was measured on both sides; which were on each.
    NoCommonCase { baseline: BTreeSet<String>, candidate: BTreeSet<String> },
    /// These cases work on one side only: newly failing, or newly passing.
    OneSideWorks { standing: Standing, cases: BTreeSet<String> },
    /// Hosts of one architecture are sure of different things: counted as inconclusive.
    HostsDisagree { case: String, metric: String, said: Vec<NamedVerdict> },
    /// One architecture regressed and another improved.
    ArchitecturesDisagree { case: String, metric: String, said: Vec<NamedVerdict> },
    /// One config of a benchmark regressed and another improved, on one host.
    ConfigsDisagree { benchmark: String, metric: String, host: String, said: Vec<NamedVerdict> },
    /// The metric that decides and another that could are sure of different things.
    MetricsDisagree { case: String, host: String, decides: NamedVerdict, beside: NamedVerdict },
    /// What only informs changed.
    Informs { regressed: usize, improved: usize },
}

impl fmt::Display for ConclusionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdicts { verdict, series, of, architecture } => {
                let place = architecture.as_ref().map(|a| format!(" on {a}")).unwrap_or_default();
                write!(f, "{series} of {of} deciding series{place}: {verdict}")
            }
            Self::NoCommonCase { baseline, candidate } => write!(
                f,
                "no case was measured on both sides: the baseline has {}; the candidate has {}",
                few(baseline),
                few(candidate)
            ),
            Self::OneSideWorks { standing, cases } => {
                write!(f, "{}: {}", standing.name(), few(cases))
            }
            Self::NothingDecides => write!(f, "nothing that was measured decides"),
            Self::HostsDisagree { case, metric, said } => write!(
                f,
                "conflict: hosts about {case}, {metric} ({}); not counted until asked again",
                NamedVerdict::list(said)
            ),
            Self::ArchitecturesDisagree { case, metric, said } => {
                write!(
                    f,
                    "architectures differ about {case}, {metric} ({})",
                    NamedVerdict::list(said)
                )
            }
            Self::ConfigsDisagree { benchmark, metric, host, said } => {
                let list = NamedVerdict::list(said);
                write!(f, "configs of {benchmark} differ, {metric} on {host} ({list})")
            }
            Self::MetricsDisagree { case, host, decides, beside } => write!(
                f,
                "metrics differ about {case} on {host}: {} decides ({}), {} says {}",
                decides.who, decides.verdict, beside.who, beside.verdict
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
fn few(names: &BTreeSet<String>) -> String {
    const LISTED_MAX: usize = 8;
    let mut listed: Vec<&str> = names.iter().take(LISTED_MAX).map(String::as_str).collect();
    let more = format!("{} more", names.len().saturating_sub(LISTED_MAX));
    if names.is_empty() {
        listed.push("none");
    } else if names.len() > LISTED_MAX {
        listed.push(&more);
    }
    listed.join(", ")
}

/// A conclusion with its reasons, and the hosts to ask again because they contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Concluded {
    pub conclusion: Conclusion,
    pub reasons: Vec<ConclusionReason>,
    pub ask_again: BTreeSet<String>,
}

/// The conclusion over the deciding series: any regression and any improvement is Mixed; with
/// neither, Unchanged only if every one of them is, and no case works on one side only. Nothing is
/// averaged: who differs is named.
pub fn conclude(judged: &[Judged], failing: &Failing<'_>, policy: &Policy) -> Concluded {
    let deciding: Vec<&Judged> = judged.iter().filter(|j| j.comparison.decides).collect();
    let any = |verdict: Verdict| deciding.iter().any(|j| j.verdict == verdict);
    let works = works(failing);
    let unchanged = !deciding.is_empty()
        && works.is_empty()
        && deciding.iter().all(|j| j.verdict == Verdict::Unchanged);
    let conclusion = match (any(Verdict::Regressed), any(Verdict::Improved)) {
        (true, true) => Conclusion::Mixed,
        (true, false) => Conclusion::Regressed,
        (false, true) => Conclusion::Improved,
        (false, false) if unchanged => Conclusion::Unchanged,
        (false, false) => Conclusion::Inconclusive,
    };
    let mut reasons = tallies(&deciding);
    reasons.extend(works);
    reasons.extend(no_common_case(judged));
    reasons.extend(hosts_disagree(&deciding));
    reasons.extend(architectures_disagree(&deciding));
    reasons.extend(configs_disagree(&deciding));
    reasons.extend(metrics_disagree(judged, policy));
    reasons.extend(informs(judged));
    let ask_again = deciding
        .iter()
        .filter(|j| matches!(j.verdict, Verdict::Inconclusive(Reason::HostsDisagree { .. })))
        .map(|j| j.comparison.key.host.clone())
        .collect();
    Concluded { conclusion, reasons, ask_again }
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
        let of = counts.values().sum();
        for verdict in ["Regressed", "Improved", "Inconclusive", "Unchanged"] {
            let Some(&series) = counts.get(verdict) else { continue };
            let architecture = many.then(|| architecture.to_string());
            reasons.push(ConclusionReason::Verdicts { verdict, series, of, architecture });
        }
    }
    reasons
}

fn works(failing: &Failing<'_>) -> Vec<ConclusionReason> {
    let of = |standing| ConclusionReason::OneSideWorks { standing, cases: failing.cases(standing) };
    let is_any = |because: &ConclusionReason| matches!(because, ConclusionReason::OneSideWorks { cases, .. } if !cases.is_empty());
    [Standing::NewlyFailing, Standing::NewlyPassing].map(of).into_iter().filter(is_any).collect()
}

fn no_common_case(judged: &[Judged]) -> Option<ConclusionReason> {
    let measured = |side: fn(&Judged) -> bool| -> BTreeSet<String> {
        judged.iter().filter(|j| side(j)).map(|j| case(&j.comparison.key)).collect()
    };
    let baseline = measured(|j| j.comparison.baseline.is_some());
    let candidate = measured(|j| j.comparison.candidate.is_some());
    let none = !judged.is_empty() && baseline.is_disjoint(&candidate);
    none.then_some(ConclusionReason::NoCommonCase { baseline, candidate })
}

fn case(key: &SeriesKey) -> String {
    match key.config.as_str() {
        "" => key.benchmark.clone(),
        config => format!("{} [{config}]", key.benchmark),
    }
}

/// Groups by a key, keeps who said what of each group that has both directions.
fn both_directions<'a, K: Ord>(
    deciding: &[&'a Judged],
    key: impl Fn(&'a Judged) -> K,
    who: impl Fn(&'a Judged) -> &'a str,
) -> BTreeMap<K, Vec<NamedVerdict>> {
    let mut groups: BTreeMap<K, BTreeSet<NamedVerdict>> = BTreeMap::new();
    for j in deciding.iter().filter(|j| j.verdict.is_sure()) {
        groups.entry(key(j)).or_default().insert(NamedVerdict::of(who(j), &j.verdict));
    }
    let has = |said: &BTreeSet<NamedVerdict>, verdict: Verdict| {
        said.iter().any(|s| s.verdict == verdict.name())
    };
    groups
        .into_iter()
        .filter(|(_, said)| has(said, Verdict::Regressed) && has(said, Verdict::Improved))
        .map(|(key, said)| (key, said.into_iter().collect()))
        .collect()
}

fn hosts_disagree(deciding: &[&Judged]) -> Vec<ConclusionReason> {
    let mut seen = BTreeSet::new();
    let reason = |j: &&Judged| match &j.verdict {
        Verdict::Inconclusive(Reason::HostsDisagree { said }) => {
            let key = &j.comparison.key;
            let name = (j.comparison.architecture.clone(), case(key), key.metric.clone());
            seen.insert(name.clone()).then(|| ConclusionReason::HostsDisagree {
                case: name.1,
                metric: name.2,
                said: said.clone(),
            })
        }
        _ => None,
    };
    deciding.iter().filter_map(reason).collect()
}

fn architectures_disagree(deciding: &[&Judged]) -> Vec<ConclusionReason> {
    let key = |j: &Judged| (case(&j.comparison.key), j.comparison.key.metric.clone());
    let groups = both_directions(deciding, key, |j| j.comparison.architecture.as_str());
    let several =
        |said: &Vec<NamedVerdict>| said.iter().map(|s| &s.who).collect::<BTreeSet<_>>().len() > 1;
    let because =
        |((case, metric), said)| ConclusionReason::ArchitecturesDisagree { case, metric, said };
    groups.into_iter().filter(|(_, said)| several(said)).map(because).collect()
}

fn configs_disagree(deciding: &[&Judged]) -> Vec<ConclusionReason> {
    let key = |j: &Judged| {
        let SeriesKey { benchmark, metric, host, .. } = &j.comparison.key;
        (benchmark.clone(), metric.clone(), host.clone())
    };
    both_directions(deciding, key, |j| j.comparison.key.config.as_str())
        .into_iter()
        .map(|((benchmark, metric, host), said)| ConclusionReason::ConfigsDisagree {
            benchmark,
            metric,
            host,
            said,
        })
        .collect()
}

/// Beside the metric that decides a case stand those that the policy lets decide elsewhere.
fn metrics_disagree(judged: &[Judged], policy: &Policy) -> Vec<ConclusionReason> {
    let mut cases: BTreeMap<(&str, &str, &str), Vec<&Judged>> = BTreeMap::new();
    for j in judged {
        let SeriesKey { benchmark, config, metric, host } = &j.comparison.key;
        if j.comparison.tier == Gate::Counts && j.verdict.is_sure() && policy.can_decide(metric) {
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
                    decides: NamedVerdict::of(&d.comparison.key.metric, &d.verdict),
                    beside: NamedVerdict::of(&b.comparison.key.metric, &b.verdict),
                });
            }
        }
    }
    reasons
}

fn informs(judged: &[Judged]) -> Option<ConclusionReason> {
    let count = |verdict: Verdict| {
        let of_tier = |j: &&Judged| j.comparison.tier == Gate::Informs && j.verdict == verdict;
        judged.iter().filter(of_tier).count()
    };
    let (regressed, improved) = (count(Verdict::Regressed), count(Verdict::Improved));
    (regressed + improved > 0).then_some(ConclusionReason::Informs { regressed, improved })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::policy;
    use crate::record::{Extent, Failure, Side, Summary};
    use crate::verdict::{Input, compare, judge};

    const POLICY: &str = r#"
        [[inform]]
        benchmark = "stress"
        [[inform]]
        host = "laptop"
        [metric."instructions:cachegrind"]
        smallest_effect = 0.002
        decides = true
        [[metric."instructions:cachegrind".where]]
        axis = { threads = "> 1" }
        decides = false
        [metric.wall]
        smallest_effect = 0.01
        decides = "otherwise"
        [[metric.wall.where]]
        axis = { threads = "> 1" }
        decides = true
    "#;

    const COUNT: &str = "instructions:cachegrind";

    /// One series: (benchmark, config, metric, host, architecture, effect, noise).
    type Series = (&'static str, &'static str, &'static str, &'static str, &'static str, f64, f64);

    fn input((benchmark, config, metric, host, architecture, effect, noise): Series) -> Input {
        let once = metric == COUNT;
        let extent = |median: f64| Some(Extent { median, min: median as i64, max: median as i64 });
        Input {
            host: host.into(),
            architecture: architecture.into(),
            summary: Summary {
                benchmark: benchmark.into(),
                config: config.into(),
                metric: metric.into(),
                rounds: if once { 1 } else { 10 },
                mean_log_ratio: Some(f64::ln_1p(effect)),
                variance: (!once).then_some(noise * noise),
                baseline: extent(1e9),
                candidate: extent(1e9 * (1.0 + effect)),
                tainted: 0,
            },
            history: None,
        }
    }

    #[test]
    fn commits_without_a_common_case_say_which_each_has() {
        let series = ["fib", "sort"].map(|name| (name, "", "wall", "h", "x86_64", 0.0, 0.001));
        let policy = policy::parse("p", "p.toml", POLICY, &[]).unwrap();
        let mut inputs: Vec<Input> = series.into_iter().map(input).collect();
        for (index, input) in inputs.iter_mut().enumerate() {
            let gone =
                if index == 0 { &mut input.summary.candidate } else { &mut input.summary.baseline };
            (*gone, input.summary.rounds) = (None, 0);
            (input.summary.mean_log_ratio, input.summary.variance) = (None, None);
        }
        let concluded =
            conclude(&judge(compare(&inputs, &policy), &policy), &Failing::default(), &policy);
        assert_eq!(concluded.conclusion, Conclusion::Inconclusive);
        assert_eq!(
            concluded.reasons.last().unwrap().to_string(),
            "no case was measured on both sides: the baseline has fib; the candidate has sort"
        );
    }

    fn concluded(series: &[Series], policy: &str) -> Concluded {
        let policy = policy::parse("p", "p.toml", policy, &[]).unwrap();
        let inputs: Vec<Input> = series.iter().copied().map(input).collect();
        conclude(&judge(compare(&inputs, &policy), &policy), &Failing::default(), &policy)
    }

    /// Every scenario by name: what was measured, the conclusion, the reasons, whom to ask again.
    #[test]
    fn named_scenarios() {
        let (x, a) = ("x86_64", "aarch64");
        let quiet = 0.001;
        let scenarios: Vec<(&str, Vec<Series>)> = vec![
            ("nothing was measured", vec![]),
            ("nothing that decides was measured", vec![("fib", "", "max-rss", "h", x, 0.5, quiet)]),
            (
                "instructions decide, wall agrees",
                vec![
                    ("fib", "", COUNT, "h", x, 0.05, 0.0),
                    ("fib", "", "wall", "h", x, 0.05, quiet),
                ],
            ),
            (
                "instructions decide, wall is against it",
                vec![
                    ("fib", "", COUNT, "h", x, 0.05, 0.0),
                    ("fib", "", "wall", "h", x, -0.05, quiet),
                ],
            ),
            ("wall decides where nobody counted", vec![("fib", "", "wall", "h", x, 0.05, quiet)]),
            (
                "wall decides with threads, instructions mislead",
                vec![
                    ("serde", "threads=4", COUNT, "h", x, 0.08, 0.0),
                    ("serde", "threads=4", "wall", "h", x, -0.4, quiet),
                    ("serde", "threads=1", COUNT, "h", x, 0.0001, 0.0),
                    ("serde", "threads=1", "wall", "h", x, 0.0, quiet),
                ],
            ),
            (
                "all unchanged",
                vec![("fib", "", COUNT, "h", x, 0.0, 0.0), ("sort", "", COUNT, "h", x, 0.001, 0.0)],
            ),
            (
                "one is not settled",
                vec![
                    ("fib", "", "wall", "h", x, 0.0, quiet),
                    ("sort", "", "wall", "h", x, 0.0, 0.2),
                ],
            ),
            (
                "two hosts of one architecture contradict each other",
                vec![
                    ("fib", "", "wall", "h1", x, 0.05, quiet),
                    ("fib", "", "wall", "h2", x, 0.0, quiet),
                    ("sort", "", "wall", "h1", x, 0.0, quiet),
                    ("sort", "", "wall", "h2", x, 0.0, quiet),
                ],
            ),
            (
                "a second host that is not sure contradicts nobody",
                vec![
                    ("fib", "", "wall", "h1", x, 0.05, quiet),
                    ("fib", "", "wall", "h2", x, 0.0, 0.5),
                ],
            ),
            (
                "a conflict does not hide another regression",
                vec![
                    ("fib", "", "wall", "h1", x, 0.05, quiet),
                    ("fib", "", "wall", "h2", x, -0.05, quiet),
                    ("sort", "", "wall", "h1", x, 0.05, quiet),
                    ("sort", "", "wall", "h2", x, 0.05, quiet),
                ],
            ),
            (
                "architectures differ",
                vec![
                    ("fib", "", "wall", "h1", x, 0.05, quiet),
                    ("fib", "", "wall", "h3", a, -0.05, quiet),
                ],
            ),
            (
                "slower on one architecture, the same on the other",
                vec![
                    ("fib", "", "wall", "h1", x, 0.05, quiet),
                    ("fib", "", "wall", "h3", a, 0.0, quiet),
                ],
            ),
            (
                "configs differ",
                vec![
                    ("fib", "opt=size", "wall", "h", x, 0.05, quiet),
                    ("fib", "opt=speed", "wall", "h", x, -0.05, quiet),
                ],
            ),
            (
                "what only informs regressed",
                vec![
                    ("stress", "", "wall", "h", x, 0.5, quiet),
                    ("fib", "", "wall", "laptop", x, 0.5, quiet),
                    ("fib", "", "wall", "h", x, 0.0, quiet),
                ],
            ),
        ];
        let mut text = String::new();
        for (name, series) in scenarios {
            let Concluded { conclusion, reasons, ask_again } = concluded(&series, POLICY);
            text.push_str(&format!("{name}: {}\n", conclusion.name()));
            reasons.iter().for_each(|reason| text.push_str(&format!("  {reason}\n")));
            if !ask_again.is_empty() {
                text.push_str(&format!("  ask again: {ask_again:?}\n"));
            }
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn what_works_on_one_side_only_is_not_unchanged() {
        let policy = policy::parse("p", "p.toml", POLICY, &[]).unwrap();
        let series = |effect| [input(("fib", "", COUNT, "h", "x86_64", effect, 0.0))];
        let failure = |benchmark: &str, side| Failure {
            benchmark: Some(benchmark.into()),
            config: Some("opt=speed".into()),
            side,
            step: "measure".into(),
            reason: String::new(),
            log_tail: String::new(),
        };
        let both = failure("sort", None);
        let [fails, passes] = [Side::Candidate, Side::Baseline].map(|s| failure("fib", Some(s)));
        for (effect, failures, expected) in [
            (0.0, vec![], "Unchanged"),
            (0.0, vec![&both], "Unchanged"),
            (0.0, vec![&fails], "Inconclusive; newly failing: fib [opt=speed]"),
            (0.0, vec![&passes], "Inconclusive; newly passing: fib [opt=speed]"),
            (-0.1, vec![&fails], "Improved; newly failing: fib [opt=speed]"),
        ] {
            let judged = judge(compare(&series(effect), &policy), &policy);
            let failing = Failing::new(failures.into_iter().map(|f| ("h", f)));
            let Concluded { conclusion, reasons, .. } = conclude(&judged, &failing, &policy);
            let said = reasons[1..].iter().map(|r| format!("; {r}")).collect::<String>();
            assert_eq!(format!("{}{said}", conclusion.name()), expected);
        }
    }

    #[test]
    fn conflicting_hosts_may_count() {
        let policy = format!("conflicting_hosts = \"count\"\n{POLICY}");
        let series = [
            ("fib", "", "wall", "h1", "x86_64", 0.05, 0.001),
            ("fib", "", "wall", "h2", "x86_64", 0.0, 0.001),
        ];
        let counted = concluded(&series, &policy);
        assert_eq!(counted.conclusion, Conclusion::Regressed);
        assert!(counted.ask_again.is_empty());
    }
}
