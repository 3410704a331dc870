//! Everything a report says, as data: built once by [`View::new`], laid out by the writers.
//!
//! Each number stands here twice, as text for people (with unit, and no more digits than its
//! interval supports) and raw (base units; effects as fractions, 0.05 is five per cent more).
//! Rows are sorted as they are shown. Text from outside is raw.

use std::collections::BTreeSet;

use dyno_model::catalog::policy::{Gate, Policy};
use dyno_model::record::RunRow;
use dyno_model::selfcheck::{Rate, SelfCheck};
use dyno_model::verdict::{Concluded, Judged, SeriesKey, Standing};
use serde::Serialize;

use crate::provenance::{Provenance, provenance};
use crate::{means, words};

mod builds;
mod failing;
mod fold;
mod rows;
mod scaling;

pub use builds::{BuildShown, BuildView, PartsView, PathView, StepView, UnitView};
pub use failing::{Alike, FailingCases, FailureView};
pub use fold::{AxisValue, AxisView, BenchmarkFold, Fold, Range};
pub use rows::{Beside, Changed, Effect, Row, Value};
pub use scaling::{CurveView, Known, LawView, PointView, ScalingShown, ScalingView};

pub(crate) use rows::effect;

/// Version of the view's JSON: raised when a field changes its meaning or goes; a reader must
/// ignore fields it does not know.
pub const VERSION: u32 = 1;

/// What a report is made from.
pub struct Input<'a> {
    /// The jobs compared, one a host.
    pub runs: &'a [RunRow],
    pub judged: &'a [Judged],
    pub policy: &'a Policy,
    pub concluded: &'a Concluded,
    /// What self-checks of the hosts came to; those of another fingerprint than a run's are not shown.
    pub selfchecks: &'a [SelfCheck],
    /// How cases scale; empty for a suite without the axis `threads`.
    pub scalings: &'a [ScalingShown<'a>],
    /// Builds to show; empty for a suite that builds no crate graphs.
    pub builds: &'a [BuildShown<'a>],
    pub links: Links,
    /// The SQL that gives the numbers of a series.
    pub sql: &'a dyn Fn(&SeriesKey) -> String,
    /// The SQL that gives what the deciding series with one value of an axis come to, by metric
    /// and host.
    pub fold_sql: &'a dyn Fn(&str, &str) -> String,
}

/// Where the data lies, and how to make the report again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Links {
    /// Parquet files of the samples: URLs, or paths relative to `store`.
    pub samples: Vec<String>,
    /// URL of the store.
    pub store: String,
    /// The command that made this report.
    pub command: String,
    /// The SQL that gives every series that was compared.
    pub sql: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    pub version: u32,
    /// What is compared: `wasmi: 0.31.2 → 0.46.0`.
    pub title: String,
    pub conclusion: &'static str,
    /// The conclusion and what it rests on, in one sentence.
    pub sentence: String,
    /// Why the conclusion is what it is, a sentence each.
    pub reasons: Vec<String>,
    /// Hosts to ask again because they contradict each other, and how.
    pub ask_again: Vec<AskAgain>,
    /// What else a reader must know at once, a sentence each; at most six.
    pub remarks: Vec<String>,
    /// Geometric means over the deciding cases, by metric and host.
    pub means: Vec<Mean>,
    /// Whether false positives come at their nominal rate, a line each host.
    pub selfchecks: Vec<SelfCheckView>,
    pub counts: Counts,
    /// Whether series come from more than one host, so that rows must name it.
    pub many_hosts: bool,
    /// Series whose metric decides, by verdict; what changed most comes first.
    pub regressed: Vec<Row>,
    pub improved: Vec<Row>,
    /// Those that hosts contradict each other about come first.
    pub inconclusive: Vec<Row>,
    pub unchanged: Vec<Row>,
    /// Series whose metric does not decide, whatever their verdict.
    pub not_deciding: Vec<Row>,
    /// Series of cases and hosts that the policy has only inform (tier `inform`).
    pub informing: Vec<Row>,
    /// Newly failing cases first, then newly passing ones, then those that fail on both sides.
    pub failures: Vec<FailureView>,
    /// What the deciding series come to by the values of each axis with two or more.
    pub axes: Vec<AxisView>,
    /// What scales worse comes first.
    pub scalings: Vec<ScalingView>,
    /// The case with the most units first.
    pub builds: Vec<BuildView>,
    pub notices: Vec<String>,
    pub policy: PolicyView,
    pub runs: Vec<Provenance>,
    pub links: Links,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    pub series: usize,
    pub regressed: usize,
    pub improved: usize,
    pub unchanged: usize,
    pub inconclusive: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub deciding: Tally,
    pub not_deciding: Tally,
    pub informing: Tally,
    pub failures: usize,
    pub failing: FailingCases,
    /// Verdicts on how cases scale.
    pub scalings: Tally,
}

/// A host whose series contradict another's, and the command that asks it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AskAgain {
    pub host: String,
    pub command: String,
}

/// The effect over the deciding cases of one metric on one host, each weighing the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mean {
    pub metric: String,
    pub host: String,
    pub cases: usize,
    pub effect: Effect,
    /// All of it in one sentence.
    pub text: String,
}

/// What is known of one host's error rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SelfCheckView {
    pub host: String,
    /// `unknown` where this machine, as it was, was not checked.
    pub rate: Rate,
    pub text: String,
    /// How to check it, where it was not.
    pub command: Option<String>,
    pub check: Option<SelfCheck>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyView {
    pub name: String,
    pub words: Vec<String>,
    pub q: f64,
    pub confidence: f64,
}

impl View {
    /// Says everything there is to say about `input`.
    pub fn new(input: Input<'_>) -> Self {
        let hosts: BTreeSet<&str> = input
            .runs
            .iter()
            .map(|run| run.host.as_str())
            .chain(input.judged.iter().map(|j| j.comparison.key.host.as_str()))
            .collect();
        let judged = rows::in_order(input.judged);
        let rows = rows::rows(&judged, &input);
        let axes = fold::axes(&judged, &input);
        let of = |wanted: &dyn Fn(&Row) -> bool| -> Vec<Row> {
            rows.iter().filter(|row| wanted(row)).cloned().collect()
        };
        let deciding = |name: &str| of(&|row| row.decides && row.verdict == name);
        let informing = |row: &Row| row.tier == Gate::Informs;
        let not_deciding = |row: &Row| !row.decides && !informing(row);
        let failures = failing::failures(input.runs);
        let scalings = scaling::scalings(input.scalings, input.policy);
        let counts = Counts {
            deciding: tally(rows.iter().filter(|row| row.decides).map(|row| row.verdict)),
            not_deciding: tally(rows.iter().filter(|r| not_deciding(r)).map(|row| row.verdict)),
            informing: tally(rows.iter().filter(|r| informing(r)).map(|row| row.verdict)),
            failures: failures.len(),
            failing: failing::count(&failures),
            scalings: tally(scalings.iter().map(|s| s.verdict)),
        };
        let many_hosts = hosts.len() > 1;
        let mut view = Self {
            version: VERSION,
            title: words::title(input.runs),
            conclusion: input.concluded.conclusion.name(),
            sentence: words::sentence(&input, &counts),
            reasons: words::reasons(input.concluded, &failures),
            ask_again: words::ask_again(&input),
            remarks: Vec::new(),
            means: means::means(input.judged, input.policy, many_hosts),
            selfchecks: words::selfchecks(input.runs, input.selfchecks),
            counts,
            many_hosts,
            regressed: deciding("Regressed"),
            improved: deciding("Improved"),
            inconclusive: deciding("Inconclusive"),
            unchanged: deciding("Unchanged"),
            not_deciding: of(&not_deciding),
            informing: of(&informing),
            failures,
            axes,
            scalings,
            builds: builds::builds(input.builds),
            notices: notices(input.runs),
            policy: PolicyView {
                name: input.policy.name.clone(),
                words: words::policy(input.policy, input.judged),
                q: input.policy.q,
                confidence: input.policy.confidence,
            },
            runs: input.runs.iter().map(provenance).collect(),
            links: input.links,
        };
        view.remarks = words::remarks(&view, input.policy);
        view
    }

    /// Every row, in the order shown.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        [&self.regressed, &self.improved, &self.inconclusive, &self.unchanged]
            .into_iter()
            .chain([&self.not_deciding, &self.informing])
            .flatten()
    }

    /// The rows that hosts contradict each other about.
    pub fn conflicts(&self) -> impl Iterator<Item = &Row> {
        self.inconclusive.iter().filter(|row| row.is_conflict())
    }

    /// Whether there is a case with this standing, or something that concerns all cases.
    pub fn is_any(&self, standing: Standing) -> bool {
        self.failures.iter().any(|failure| failure.standing == standing)
    }
}

fn tally<'a>(verdicts: impl Iterator<Item = &'a str>) -> Tally {
    let mut tally = Tally::default();
    for verdict in verdicts {
        tally.series += 1;
        *match verdict {
            "Regressed" => &mut tally.regressed,
            "Improved" => &mut tally.improved,
            "Unchanged" => &mut tally.unchanged,
            _ => &mut tally.inconclusive,
        } += 1;
    }
    tally
}

/// The runs' own notices, and what differs between runs that are shown together.
fn notices(runs: &[RunRow]) -> Vec<String> {
    let mut notices: Vec<String> = Vec::new();
    let several = runs.iter().map(|r| &r.host).collect::<BTreeSet<_>>().len() > 1;
    for run in runs {
        for notice in &run.notices {
            let notice =
                if several { format!("{}: {notice}", run.host) } else { notice.to_string() };
            if !notices.contains(&notice) {
                notices.push(notice);
            }
        }
    }
    type Part = fn(&RunRow) -> String;
    let parts: [(&str, Part); 5] = [
        ("commits", |r| format!("{} {}", r.baseline.commit, r.candidate.commit)),
        ("suite digest", |r| r.suite_digest.to_string()),
        ("image", |r| r.image_id.to_string()),
        ("engine", |r| r.fingerprint.engine.clone()),
        ("dyno version", |r| r.dyno_version.clone()),
    ];
    for (name, part) in parts {
        if runs.iter().map(part).collect::<BTreeSet<_>>().len() > 1 {
            notices.push(format!("the runs shown here differ in their {name}; see Provenance"));
        }
    }
    notices
}
