//! `policies/<name>.toml`: thresholds, error rates and what counts, in one place and with a name.
//!
//! A policy answers one question: which [`Rule`] holds for this series? Metrics have a rule each,
//! with exceptions where a benchmark, host or axis says so; `[[inform]]` names what is shown and
//! does not count.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use super::reader::{Located, Table, one_of, read, suggest};
use super::suite::{Config, compiler_axis_names};
use crate::id::Digest;
use crate::metric;
use crate::mistake::Mistakes;

/// How many tests at once are kept honest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Procedure {
    /// Benjamini & Hochberg 1995: false-discovery rate under independence or positive dependence.
    BenjaminiHochberg,
    /// Benjamini & Yekutieli 2001: under any dependence; for what blocks a merge.
    BenjaminiYekutieli,
}

/// Whether a metric's verdicts count towards the conclusion; the others are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decides {
    No,
    Yes,
    /// It decides where no metric that decides was measured for the case on that host.
    Otherwise,
}

/// Whether a case or host counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gate {
    /// Its verdicts count towards the conclusion.
    #[serde(rename = "gate")]
    Counts,
    /// Its verdicts are shown.
    #[serde(rename = "inform")]
    Informs,
}

/// What two hosts of one architecture that disagree about a series mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostConflict {
    /// The series is inconclusive on both, and both are to be asked again.
    AskAgain,
    /// Each host's verdict counts as it is.
    Count,
}

/// What it means for a gate that a metric which must agree regressed where the one that decides did
/// not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricConflict {
    /// The gate fails.
    #[default]
    Fail,
    /// The conclusion says so, and the gate does not fail.
    Tell,
}

/// The multiple of its δ beyond which a metric that must agree contradicts the one that decides.
const CONFLICT_MULTIPLE: f64 = 5.0;

/// What an axis must be for an exception to hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    OneOf(Vec<String>),
    Not(String),
    Above(f64),
    AtLeast(f64),
    Below(f64),
    AtMost(f64),
}

impl Condition {
    fn holds(&self, value: &str) -> bool {
        let number = |test: &dyn Fn(f64) -> bool| value.parse().is_ok_and(test);
        match self {
            Self::OneOf(values) => values.iter().any(|v| v == value),
            Self::Not(other) => value != other,
            Self::Above(limit) => number(&|v| v > *limit),
            Self::AtLeast(limit) => number(&|v| v >= *limit),
            Self::Below(limit) => number(&|v| v < *limit),
            Self::AtMost(limit) => number(&|v| v <= *limit),
        }
    }
}

/// The condition as it may follow the axis: `> 1`, `= doc or clippy`.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneOf(values) => write!(f, "= {}", values.join(" or ")),
            Self::Not(other) => write!(f, "!= {other}"),
            Self::Above(limit) => write!(f, "> {limit}"),
            Self::AtLeast(limit) => write!(f, ">= {limit}"),
            Self::Below(limit) => write!(f, "< {limit}"),
            Self::AtMost(limit) => write!(f, "<= {limit}"),
        }
    }
}

/// Which series an exception is about: all that is named must hold. An axis that a series does
/// not have does not hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SeriesFilter {
    /// Names with `*` and `?`.
    pub benchmark: Option<String>,
    pub host: Option<String>,
    pub axes: BTreeMap<String, Condition>,
}

impl SeriesFilter {
    fn holds(&self, benchmark: &str, config: &Config, host: &str) -> bool {
        let matches = |pattern: &Option<String>, name: &str| {
            pattern.as_ref().is_none_or(|pattern| WildMatch::new(pattern).matches(name))
        };
        let axis = |(axis, condition): (&String, &Condition)| {
            config.0.get(axis).is_some_and(|value| condition.holds(value))
        };
        matches(&self.benchmark, benchmark)
            && matches(&self.host, host)
            && self.axes.iter().all(axis)
    }
}

/// `benchmark stress-*, threads > 1`; `anywhere` where nothing is named.
impl fmt::Display for SeriesFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = |what: &str, name: &Option<String>| Some(format!("{what} {}", name.as_ref()?));
        let mut parts: Vec<String> =
            [label("benchmark", &self.benchmark), label("host", &self.host)]
                .into_iter()
                .flatten()
                .collect();
        parts.extend(self.axes.iter().map(|(axis, condition)| format!("{axis} {condition}")));
        match parts.is_empty() {
            true => f.write_str("anywhere"),
            false => f.write_str(&parts.join(", ")),
        }
    }
}

/// `[[metric.<name>.where]]`: what differs there; of several that hold, the last wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exception {
    pub place: SeriesFilter,
    pub smallest_effect: Option<f64>,
    pub decides: Option<Decides>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricPolicy {
    /// Smallest effect of interest δ, as a fraction (0.01 is one per cent).
    pub smallest_effect: f64,
    pub decides: Decides,
    /// Whether it must agree with the metric that decides; `None` leaves it to those that decide
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_agree: Option<bool>,
    pub exceptions: Vec<Exception>,
}

impl MetricPolicy {
    /// Whether it decides for any series at all.
    pub fn can_decide(&self) -> bool {
        let mut decisions = self.exceptions.iter().filter_map(|e| e.decides).chain([self.decides]);
        decisions.any(|decides| decides != Decides::No)
    }
}

/// What holds for one series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// δ as a fraction.
    pub smallest_effect: f64,
    pub decides: Decides,
    /// Whether it must agree with the metric that decides, where it does not itself.
    pub must_agree: bool,
    pub tier: Gate,
}

/// Which part of a policy a [`Rule`]'s values come from.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sources<'p> {
    /// `[metric.<name>]`; `None` for a metric that is not named.
    pub metric: Option<&'p MetricPolicy>,
    /// The exception that set δ, and the one that set whether it decides.
    pub smallest_effect: Option<&'p Exception>,
    pub decides: Option<&'p Exception>,
    /// The first `[[inform]]` that holds.
    pub inform: Option<&'p SeriesFilter>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub name: String,
    /// False-discovery rate over the series that decide.
    pub q: f64,
    /// Confidence of the intervals shown and of the equivalence test.
    pub confidence: f64,
    pub procedure: Procedure,
    /// Past runs lend to a variance until it has so many degrees of freedom.
    pub history: f64,
    /// Metric name → what holds for it; a metric that is not named is shown with `default_effect`
    /// and does not decide.
    pub metrics: BTreeMap<String, MetricPolicy>,
    /// δ of a metric that is not named.
    pub default_effect: f64,
    /// What is shown and does not count.
    pub inform: Vec<SeriesFilter>,
    pub conflicting_hosts: HostConflict,
    #[serde(default, skip_serializing_if = "is_default")]
    pub conflicting_metrics: MetricConflict,
    /// The multiple of its δ beyond which a metric that must agree contradicts the one that
    /// decides.
    #[serde(default = "conflict_multiple", skip_serializing_if = "is_conflict_multiple")]
    pub conflict_multiple: f64,
    /// Whether only runs count that are signed by their hosts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signed_only: bool,
}

/// Whether it is what it is in a policy of before: the digest of such a policy stays.
fn is_default(conflict: &MetricConflict) -> bool {
    *conflict == MetricConflict::default()
}

const fn conflict_multiple() -> f64 {
    CONFLICT_MULTIPLE
}

fn is_conflict_multiple(multiple: &f64) -> bool {
    *multiple == CONFLICT_MULTIPLE
}

impl Policy {
    /// The digest of all that it says; not of its name.
    pub fn digest(&self) -> Digest {
        let meaning = Self { name: String::new(), ..self.clone() };
        Digest::of(&serde_json::to_vec(&meaning).expect("plain fields serialise"))
    }

    /// What holds for the series of `metric` of one case on one host.
    pub fn rule(&self, benchmark: &str, config: &Config, host: &str, metric: &str) -> Rule {
        let sources = self.sources(benchmark, config, host, metric);
        let tier = if sources.inform.is_some() { Gate::Informs } else { Gate::Counts };
        let Some(named) = sources.metric else {
            let (smallest_effect, decides) = (self.default_effect, Decides::No);
            return Rule { smallest_effect, decides, must_agree: false, tier };
        };
        let smallest_effect = sources.smallest_effect.and_then(|e| e.smallest_effect);
        let decides = sources.decides.and_then(|e| e.decides).unwrap_or(named.decides);
        Rule {
            smallest_effect: smallest_effect.unwrap_or(named.smallest_effect),
            decides,
            must_agree: named.must_agree.unwrap_or(decides == Decides::Otherwise),
            tier,
        }
    }

    /// Whether what is of this case and host only informs.
    pub fn only_informs(&self, benchmark: &str, config: &Config, host: &str) -> bool {
        self.inform.iter().any(|place| place.holds(benchmark, config, host))
    }

    /// Where the [`Rule`] of a series comes from.
    pub fn sources(
        &self,
        benchmark: &str,
        config: &Config,
        host: &str,
        metric: &str,
    ) -> Sources<'_> {
        let inform = self.inform.iter().find(|place| place.holds(benchmark, config, host));
        let metric = self.metrics.get(metric);
        let mut sources = Sources { metric, inform, ..Sources::default() };
        for exception in metric.map_or(&[][..], |m| &m.exceptions) {
            if exception.place.holds(benchmark, config, host) {
                sources.smallest_effect =
                    exception.smallest_effect.map(|_| exception).or(sources.smallest_effect);
                sources.decides = exception.decides.map(|_| exception).or(sources.decides);
            }
        }
        sources
    }

    /// Whether the metric decides for any series at all.
    pub fn can_decide(&self, metric: &str) -> bool {
        self.metrics.get(metric).is_some_and(MetricPolicy::can_decide)
    }
}

/// Reads `policies/<name>.toml`. `axes` are those of the suites at hand, which a policy may name
/// besides the usual ones ([`COMPILER_AXES`](super::suite::COMPILER_AXES)).
pub fn parse(name: &str, file: &str, text: &str, axes: &[String]) -> Result<Policy, Mistakes> {
    let mut names: Vec<&str> = compiler_axis_names(None);
    names.extend(axes.iter().map(String::as_str));
    names.sort_unstable();
    names.dedup();
    read(file, text, |table| {
        let q = table.optional_number("q", 1e-6..=0.5).unwrap_or(0.05);
        let confidence = table.optional_number("confidence", 0.5..=0.9999).unwrap_or(0.95);
        let default_effect = table.optional_number("default_effect", 0.0..=1.0).unwrap_or(0.01);
        let history = table.optional_number("history", 0.0..=1000.0).unwrap_or(10.0);
        let procedure = table
            .optional_choice(
                "procedure",
                &[
                    ("benjamini-hochberg", Procedure::BenjaminiHochberg),
                    ("benjamini-yekutieli", Procedure::BenjaminiYekutieli),
                ],
            )
            .unwrap_or(Procedure::BenjaminiHochberg);
        let conflicting_hosts = table
            .optional_choice(
                "conflicting_hosts",
                &[("ask-again", HostConflict::AskAgain), ("count", HostConflict::Count)],
            )
            .unwrap_or(HostConflict::AskAgain);
        let (conflicting_metrics, conflict_multiple) = metric_conflicts(table);
        let signed_only = table.optional_bool("signed_only").unwrap_or(false);
        let inform = table.tables("inform", |table| {
            let place = place(table, &names);
            if place == SeriesFilter::default() {
                table.note(
                    table.span(),
                    "an [[inform]] that names nothing would silence everything",
                    "`benchmark`, `host` or `axis`",
                    None,
                );
            }
            Some(place)
        });
        let metrics: BTreeMap<_, _> = table
            .required_table("metric", |table| {
                Some(table.named_tables(|name, table| metric(name, table, default_effect, &names)))
            })?
            .into_iter()
            .collect();
        if !metrics.values().any(MetricPolicy::can_decide) && !table.is_broken() {
            table.note(
                table.span(),
                "no metric decides",
                "`decides = true` under at least one [metric.…]",
                None,
            );
        }
        Some(Policy {
            name: name.to_string(),
            q,
            confidence,
            procedure,
            history,
            metrics,
            default_effect,
            inform,
            conflicting_hosts,
            conflicting_metrics,
            conflict_multiple,
            signed_only,
        })
    })
}

/// The keys `conflicting_metrics` and `conflict_multiple`.
fn metric_conflicts(table: &mut Table<'_>) -> (MetricConflict, f64) {
    let choices = [("fail", MetricConflict::Fail), ("tell", MetricConflict::Tell)];
    let conflict = table.optional_choice("conflicting_metrics", &choices).unwrap_or_default();
    let multiple = table.optional_number("conflict_multiple", 1.0..=1000.0);
    (conflict, multiple.unwrap_or(CONFLICT_MULTIPLE))
}

fn metric(
    name: &Located<String>,
    table: &mut Table<'_>,
    default_effect: f64,
    known: &[&str],
) -> Option<(String, MetricPolicy)> {
    if metric::find(&name.value).is_none() {
        table.note(
            name.span.clone(),
            format!("there is no metric `{}`", name.value),
            one_of(&metric::names()),
            suggest(&name.value, metric::names().into_iter()),
        );
    }
    let smallest_effect =
        table.optional_number("smallest_effect", 0.0..=1.0).unwrap_or(default_effect);
    // Something wrong was meant to decide, too: one mistake is not reported as two.
    let unclear = if table.has("decides") { Decides::Yes } else { Decides::No };
    let decides = decides(table).unwrap_or(unclear);
    let must_agree = table.optional_bool("must_agree");
    let exceptions = table.tables("where", |table| {
        Some(Exception {
            place: place(table, known),
            smallest_effect: table.optional_number("smallest_effect", 0.0..=1.0),
            decides: self::decides(table),
        })
    });
    Some((name.value.clone(), MetricPolicy { smallest_effect, decides, must_agree, exceptions }))
}

fn decides(table: &mut Table<'_>) -> Option<Decides> {
    let choices =
        [("true", Decides::Yes), ("false", Decides::No), ("otherwise", Decides::Otherwise)];
    table.optional_choice("decides", &choices)
}

/// The keys `benchmark`, `host` and `axis` of a table.
fn place(table: &mut Table<'_>, known: &[&str]) -> SeriesFilter {
    let benchmark = table.optional_str("benchmark").map(|b| b.value);
    let host = table.optional_str("host").map(|h| h.value);
    let conditions = |table: &mut Table<'_>| {
        let mut axes = BTreeMap::new();
        for (name, values) in table.named_strings() {
            if !known.contains(&name.value.as_str()) {
                table.note(
                    name.span.clone(),
                    format!("there is no axis `{}`", name.value),
                    one_of(known),
                    suggest(&name.value, known.iter().copied()),
                );
            }
            axes.extend(condition(table, &values).map(|condition| (name.value, condition)));
        }
        Some(axes)
    };
    let axes = table.optional_table("axis", conditions).unwrap_or_default();
    SeriesFilter { benchmark, host, axes }
}

/// `"4"`, `["2", "4"]`, `"!= 1"`, `"> 1"`, `">= 2"`, `"< 8"`, `"<= 4"`.
fn condition(table: &Table<'_>, values: &[Located<String>]) -> Option<Condition> {
    let [only] = values else {
        return Some(Condition::OneOf(values.iter().map(|v| v.value.clone()).collect()));
    };
    let text = only.value.trim();
    if let Some(other) = text.strip_prefix("!=") {
        return Some(Condition::Not(other.trim().to_string()));
    }
    type Make = fn(f64) -> Condition;
    let comparisons: [(&str, Make); 4] = [
        (">=", Condition::AtLeast),
        (">", Condition::Above),
        ("<=", Condition::AtMost),
        ("<", Condition::Below),
    ];
    let Some((limit, make)) =
        comparisons.iter().find_map(|(sign, make)| Some((text.strip_prefix(sign)?, make)))
    else {
        return Some(Condition::OneOf(vec![text.to_string()]));
    };
    match limit.trim().parse::<f64>() {
        Ok(limit) if limit.is_finite() => Some(make(limit)),
        _ => {
            table.note(
                only.span.clone(),
                format!("`{}` compares with no number", text.escape_debug()),
                "a value, a list of values, or one of \"!= x\", \"> 1\", \">= 2\", \"< 8\", \"<= 4\"",
                None,
            );
            None
        }
    }
}

#[cfg(test)]
mod tests;
