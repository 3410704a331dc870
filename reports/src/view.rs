//! Everything a report says, as data: built once by [`View::new`], laid out by the writers.
//!
//! Each number stands here twice, as text for people (with unit, and no more digits than its
//! interval supports) and raw (base units; effects as fractions, 0.05 is five per cent more).
//! Rows are sorted as they are shown. Text from outside is raw.
//!
//! A section has one file here: its data, how they come about, and how each output shows them.
//! [`SECTIONS`] is the one list of sections, and the order of all outputs; the JSON has them by
//! name. A new section is such a file, its field and its line here, and its template.

use std::collections::BTreeSet;

use dyno_model::catalog::policy::{Gate, Policy};
use dyno_model::commit_name::Label;
use dyno_model::notice::Notice;
use dyno_model::record::RunRow;
use dyno_model::selfcheck::SelfCheck;
use dyno_model::verdict::{Concluded, Judged, SeriesKey, Standing};
use serde::Serialize;

use crate::words;

mod ask_again;
mod axes;
mod builds;
mod data;
mod estimates;
mod failing;
mod listings;
mod matrix;
mod means;
mod next_step;
mod notices;
mod policy;
mod prose;
mod provenance;
mod remarks;
mod rows;
mod scaling;
mod section;
mod selfchecks;
mod states;
mod summary;
mod words_of_page;

pub use crate::common::CommonAxes;
pub use crate::counts::{CaseCounts, Counts, FailingCases, Tally};
pub use ask_again::AskAgain;
pub use axes::{AxisFold, AxisValue, AxisView, BenchmarkFold, Range};
pub use builds::{BuildShown, BuildView, PartsView, PathView, StepView, UnitView};
pub use data::Links;
pub use estimates::{Effect, NumberWithInterval};
pub use failing::{FailureView, SimilarFailures};
pub use listings::ChangedRows;
pub use matrix::matrix;
pub use means::Mean;
pub use policy::PolicyView;
pub use provenance::{BuiltView, Provenance};
pub use rows::{DisturbedWith, MetricBeside, Row, Value};
pub use scaling::{CurveView, LawView, PointView, ScalingShown, ScalingView};
pub use selfchecks::SelfCheckView;
pub use states::SeriesStates;

pub(crate) use prose::{link_to, sentence_of};
pub(crate) use section::{Html, Section};

/// Version of the view's JSON: raised when a field changes its meaning or goes; a reader must
/// ignore fields it does not know.
pub const VERSION: u32 = 1;

/// The sections below the verdict and its reasons, in the order in which every output has them.
pub(crate) const SECTIONS: [Section; 21] = [
    ask_again::ASK_AGAIN,
    failing::NEWLY_FAILING,
    listings::CHANGED,
    summary::SUMMARY,
    matrix::MATRIX,
    axes::AXES,
    scaling::SCALING,
    builds::BUILDS,
    failing::NEWLY_PASSING,
    failing::FAILING_ON_BOTH,
    failing::FLAKY,
    listings::INCONCLUSIVE,
    listings::UNCHANGED,
    listings::NOT_DECIDING,
    listings::INFORMING,
    notices::NOTICES,
    policy::POLICY,
    words_of_page::WORDS,
    selfchecks::SELFCHECKS,
    provenance::PROVENANCE,
    data::DATA,
];

/// The facts that a report is made from.
pub struct Input<'a> {
    /// The jobs compared, one a host.
    pub runs: &'a [RunRow],
    /// How the two sides are called, the baseline first.
    pub labels: &'a [Label; 2],
    /// Files of the store that were set aside, each with its reason.
    pub set_aside: &'a [Notice],
    pub judged: &'a [Judged],
    pub policy: &'a Policy,
    pub concluded: &'a Concluded,
    /// Self-checks of the hosts; those of another fingerprint than a run's are not shown.
    pub selfchecks: &'a [SelfCheck],
    /// Scaling of cases; empty for a suite without the axis `threads`.
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

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    pub version: u32,
    /// Suite and commits: `wasmi: 0.31.2 → 0.46.0`.
    pub title: String,
    pub conclusion: &'static str,
    /// The conclusion and what it rests on, in one sentence.
    pub sentence: String,
    /// What a reader can do now, in plain words.
    pub next_step: String,
    /// The numbers of cases and of series that gate, which add up, in one sentence or two.
    pub cases: String,
    /// The axes that names of cases leave out, since they have one value in the whole report.
    pub common: CommonAxes,
    /// The reasons of the conclusion, a sentence each.
    pub reasons: Vec<String>,
    /// Hosts to ask again because they contradict each other, and how.
    pub ask_again: Vec<AskAgain>,
    /// Other facts that a reader must know at once, a sentence each; a few.
    pub remarks: Vec<String>,
    /// The remarks that no table says.
    #[serde(skip)]
    pub(crate) remarks_without_row: Vec<String>,
    /// Geometric means over the deciding cases, by metric and host.
    pub means: Vec<Mean>,
    /// Whether false positives come at their nominal rate, a line each host.
    pub selfchecks: Vec<SelfCheckView>,
    pub counts: Counts,
    /// Whether series come from more than one host, so that rows must name it.
    pub many_hosts: bool,
    /// Whether the series are of several architectures, which have tables of their own each.
    pub many_architectures: bool,
    /// Whether `--fail-on-regression` ends with 1.
    pub gate_fails: bool,
    /// Series of metrics that are sure of different things about a case: of each two the one that
    /// decides, then the one that must agree. They stand in their own lists too.
    pub conflicting: Vec<Row>,
    /// Series whose metric decides, by verdict; what changed most comes first.
    pub regressed: Vec<Row>,
    pub improved: Vec<Row>,
    /// Inconclusive series; those that hosts contradict each other about come first.
    pub inconclusive: Vec<Row>,
    pub unchanged: Vec<Row>,
    /// Series whose metric does not decide, whatever their verdict.
    pub not_deciding: Vec<Row>,
    /// Series of cases and hosts that the policy has only inform (tier `inform`).
    pub informing: Vec<Row>,
    /// Newly failing cases first, then newly passing ones, then those that fail on both sides.
    pub failures: Vec<FailureView>,
    /// Folds of the deciding series by the values of each axis with two or more.
    pub axes: Vec<AxisView>,
    /// Scaling of cases; what scales worse comes first.
    pub scalings: Vec<ScalingView>,
    /// Builds of crate graphs; the case with the most units comes first.
    pub builds: Vec<BuildView>,
    pub notices: Vec<Notice>,
    pub policy: PolicyView,
    pub runs: Vec<Provenance>,
    pub links: Links,
    /// What the comment's hidden first line says instead of suite, hosts and policy.
    #[serde(skip)]
    pub marker: Option<String>,
}

impl View {
    /// The view of `input`: everything there is to say about it.
    pub fn new(input: Input<'_>) -> Self {
        let judged = rows::sort_by_importance(input.judged);
        let common = common_axes(&input);
        let mut rows = rows::rows(&judged, &input);
        rows.iter_mut().for_each(|row| row.case = common.case(&row.benchmark, &row.config));
        let conflicting = rows::conflicting(&mut rows, &input);
        let rows_where = |is_wanted: &dyn Fn(&Row) -> bool| -> Vec<Row> {
            rows.iter().filter(|row| is_wanted(row)).cloned().collect()
        };
        let deciding = |verdict: &str| rows_where(&|r| r.decides && r.verdict == verdict);
        let failures = failing::failures(input.runs, input.judged, &common);
        let counts = counts(&input, &failures);
        let facts = words::Facts {
            conclusion: input.concluded.conclusion,
            counts: &counts,
            judged: input.judged,
            runs: input.runs,
            policy: &input.policy.name,
            conflicting: &conflicting,
            growth: rows::largest_growth(&rows),
        };
        let many_hosts = has_many_hosts(&input);
        let architectures = input.judged.iter().map(|j| j.comparison.architecture.as_str());
        let many_architectures = architectures.collect::<BTreeSet<_>>().len() > 1;
        let mut view = Self {
            version: VERSION,
            title: title(&input),
            conclusion: input.concluded.conclusion.name(),
            sentence: words::sentence(&facts),
            next_step: String::new(),
            cases: counts.cases.sentence(&counts.deciding),
            reasons: words::reasons(
                input.concluded,
                !rows.is_empty(),
                &|standing| failing::names_with(&failures, standing),
                &|case| short_name(&rows, case),
            ),
            ask_again: ask_again::ask_again(&input),
            remarks: Vec::new(),
            remarks_without_row: Vec::new(),
            means: means::means(input.judged, input.policy, many_hosts),
            selfchecks: selfchecks::selfchecks(&input),
            counts,
            many_hosts,
            many_architectures,
            gate_fails: input.concluded.gate_fails,
            conflicting,
            regressed: deciding("Regressed"),
            improved: deciding("Improved"),
            inconclusive: deciding("Inconclusive"),
            unchanged: deciding("Unchanged"),
            not_deciding: rows_where(&|r| !r.decides && r.tier != Gate::Informs),
            informing: rows_where(&|r| r.tier == Gate::Informs),
            failures,
            axes: axes::axes(&judged, &input),
            scalings: scaling::scalings(input.scalings, input.policy, &common),
            builds: builds::builds(input.builds, &common),
            common,
            notices: notices::notices(input.runs, input.set_aside),
            policy: PolicyView::new(input.policy, input.judged),
            runs: input.runs.iter().map(|run| provenance::provenance(run, input.labels)).collect(),
            links: input.links,
            marker: None,
        };
        (view.remarks, view.remarks_without_row) = remarks::remarks(&view, input.policy);
        view.next_step = next_step::next_step(&view);
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

fn title(input: &Input<'_>) -> String {
    let [baseline, candidate] = input.labels;
    match input.runs.first() {
        None => "Nothing compared".to_string(),
        Some(run) => format!("{}: {} → {}", run.suite, baseline.text, candidate.text),
    }
}

fn has_many_hosts(input: &Input<'_>) -> bool {
    let of_runs = input.runs.iter().map(|run| run.host.as_str());
    let of_series = input.judged.iter().map(|j| j.comparison.key.host.as_str());
    of_runs.chain(of_series).collect::<BTreeSet<_>>().len() > 1
}

/// The axes that all cases have in common: of those measured and of those that fail.
fn common_axes(input: &Input<'_>) -> CommonAxes {
    let measured = input.judged.iter().map(|j| &j.comparison.key);
    let measured = measured.map(|key| (key.benchmark.as_str(), key.config.as_str()));
    let failed = input.runs.iter().flat_map(|run| &run.failures);
    let failed = failed.filter_map(|f| Some((f.benchmark.as_deref()?, f.config.as_deref()?)));
    CommonAxes::new(measured.chain(failed))
}

/// The name of a case as its row has it, of its whole name.
fn short_name(rows: &[Row], whole: &str) -> String {
    let row = rows.iter().find(|row| words::case_name(&row.benchmark, &row.config) == whole);
    row.map_or_else(|| whole.to_string(), |row| row.case.clone())
}

fn counts(input: &Input<'_>, failures: &[FailureView]) -> Counts {
    let tally_where = |is_wanted: fn(&Judged) -> bool| {
        input.judged.iter().filter(|j| is_wanted(j)).map(|j| &j.verdict).collect()
    };
    let scalings = input.scalings.iter().map(|shown| &shown.case.scaled.verdict);
    Counts {
        cases: CaseCounts::new(input.judged, failures.iter().filter_map(failing::case_of)),
        deciding: tally_where(|j| j.comparison.decides),
        not_deciding: tally_where(|j| !j.comparison.decides && j.comparison.tier != Gate::Informs),
        informing: tally_where(|j| j.comparison.tier == Gate::Informs),
        failures: failures.len(),
        failing: failing::count(failures),
        scalings: scalings.collect::<Tally>(),
    }
}
