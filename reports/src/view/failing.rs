//! What does not work: every failure with what is known of the other side of its case.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use dyno_model::record::{Failure, RunRow, Side};
use dyno_model::verdict::{Failing, Judged, Standing};
use minijinja::Value;
use minijinja::value::Serde;
use serde::Serialize;

use super::section::{Html, Markdown, Section};
use super::{CommonAxes, View};
use crate::comment::{folded, left_out};
use crate::counts::FailingCases;
use crate::escape::{bounded, code, fence, lines};
use crate::terminal::{Terminal, elide, wrap};
use crate::words::{capitalised, first_names, plural};

/// Longest log tail kept of a failure, in lines and in characters a line.
const LOG_LINES_MAX: usize = 200;
const LOG_LINE_CHARS_MAX: usize = 2000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureView {
    /// Whether its case fails on this side alone: `newly-failing`, `newly-passing`,
    /// `failing-on-both`; or fails by luck: `flaky`.
    pub standing: Standing,
    /// `all cases` where no single one failed.
    pub case: String,
    pub benchmark: Option<String>,
    pub config: Option<String>,
    pub host: String,
    /// `baseline`, `candidate` or `both sides`.
    pub side: &'static str,
    pub step: String,
    pub reason: String,
    /// A sentence that says what to change, if the step is known.
    pub remedy: Option<&'static str>,
    /// The last lines it printed.
    pub log: String,
    /// Lines before those, left out here.
    pub log_lines_left_out: usize,
}

/// Failures that say the same of several cases of one benchmark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SimilarFailures<'a> {
    /// The case, or the benchmark and how many of its cases.
    pub name: String,
    pub first: &'a FailureView,
    pub others: &'a [FailureView],
}

/// All failures, those of a case next to each other: newly failing first, then newly passing, then
/// what fails on both sides, then what is flaky.
pub(super) fn failures(
    runs: &[RunRow],
    judged: &[Judged],
    common: &CommonAxes,
) -> Vec<FailureView> {
    let failing = Failing::in_comparison(runs, judged);
    let mut failures: Vec<FailureView> = Vec::new();
    for run in runs {
        let view = |f: &Failure| failure(f, failing.standing(&run.host, f), &run.host, common);
        failures.extend(run.failures.iter().map(view));
    }
    // What is alike of several cases is to stand together, so the config comes late.
    failures.sort_by(|a, b| {
        let key = |f: &FailureView| {
            let place = (f.standing, f.host.clone(), f.benchmark.clone());
            // A log that several share is kept once, and stands where it is shown.
            (place, f.side, f.step.clone(), f.reason.clone(), f.log.is_empty(), f.config.clone())
        };
        key(a).cmp(&key(b))
    });
    failures
}

fn failure(failure: &Failure, standing: Standing, host: &str, common: &CommonAxes) -> FailureView {
    let log: Vec<&str> = failure.log_tail.lines().collect();
    let left_out = log.len().saturating_sub(LOG_LINES_MAX);
    let log: Vec<_> = log[left_out..].iter().map(|l| bounded(l, LOG_LINE_CHARS_MAX)).collect();
    FailureView {
        standing,
        case: match (&failure.benchmark, &failure.config) {
            (Some(benchmark), config) => common.case(benchmark, config.as_deref().unwrap_or("")),
            (None, _) => "all cases".to_string(),
        },
        benchmark: failure.benchmark.clone(),
        config: failure.config.clone(),
        host: host.to_string(),
        side: failure.side.map_or("both sides", Side::name),
        step: failure.step.to_string(),
        reason: failure.reason.clone(),
        remedy: failure.step.remedy(),
        log: log.join("\n"),
        log_lines_left_out: left_out,
    }
}

/// Benchmark, config, host and standing of what failed; `None` where no single case did.
pub(super) fn case_of(failure: &FailureView) -> Option<(&str, &str, &str, Standing)> {
    let config = failure.config.as_deref().unwrap_or_default();
    Some((failure.benchmark.as_deref()?, config, &failure.host, failure.standing))
}

/// The number of cases with each standing.
pub(super) fn count(failures: &[FailureView]) -> FailingCases {
    let cases_with = |standing| {
        let cases = failures.iter().filter(|f| f.standing == standing && f.benchmark.is_some());
        let cases = cases.map(|f| (&f.host, &f.benchmark, &f.config));
        cases.collect::<BTreeSet<_>>().len()
    };
    FailingCases {
        newly_failing: cases_with(Standing::NewlyFailing),
        newly_passing: cases_with(Standing::NewlyPassing),
        on_both: cases_with(Standing::FailingOnBoth),
        flaky: cases_with(Standing::Flaky),
    }
}

/// `newly failing: fib, syn (12 cases)`, each once, whatever the host.
pub(super) fn names_with(failures: &[FailureView], standing: Standing) -> String {
    format!("{}: {}", standing.name(), names_of(failures, standing))
}

/// `fib, syn (12 cases)`, each once, whatever the host.
pub(super) fn names_of(failures: &[FailureView], standing: Standing) -> String {
    let mut benchmarks: BTreeMap<Option<&str>, BTreeSet<&str>> = BTreeMap::new();
    for failure in failures.iter().filter(|f| f.standing == standing) {
        benchmarks.entry(failure.benchmark.as_deref()).or_default().insert(&failure.case);
    }
    let name = |(benchmark, cases): (Option<&str>, BTreeSet<&str>)| match (benchmark, cases.len()) {
        (Some(benchmark), 2..) => format!("{benchmark} ({})", plural(cases.len(), "case")),
        _ => cases.into_iter().collect(),
    };
    let names: Vec<String> = benchmarks.into_iter().map(name).collect();
    first_names(&names)
}

impl View {
    /// The failures with this standing, what is alike folded.
    pub fn failing(&self, standing: Standing) -> Vec<SimilarFailures<'_>> {
        let is_alike = |a: &FailureView, b: &FailureView| {
            let key = |f: &FailureView| {
                (f.standing, f.host.clone(), f.benchmark.clone(), f.side, f.step.clone())
            };
            a.benchmark.is_some() && key(a) == key(b) && a.reason == b.reason
        };
        let fold = |failures| {
            let (first, others): (&FailureView, _) = <[FailureView]>::split_first(failures)?;
            let name = match (&first.benchmark, others.len()) {
                (Some(benchmark), 1..) => {
                    format!("{benchmark}: {}", plural(others.len() + 1, "case"))
                }
                _ => first.case.clone(),
            };
            Some(SimilarFailures { name, first, others })
        };
        let chunks = self.failures.chunk_by(is_alike);
        chunks.filter(|failures| failures[0].standing == standing).filter_map(fold).collect()
    }
}

/// The section of the failures of one standing: a macro, since functions of a section capture nothing.
macro_rules! section {
    ($standing:expr, $id:literal, $title:literal, $cases:literal) => {
        Section {
            html: Some(Html {
                id: $id,
                title: $title,
                template: TEMPLATE,
                data: |view| page_data(view, $standing),
            }),
            markdown: Some(Markdown { name: $cases, write: |view| markdown(view, $standing) }),
            text: Some(|view, terminal| text(view, $standing, terminal)),
        }
    };
}

pub(super) const NEWLY_FAILING: Section =
    section!(Standing::NewlyFailing, "newly-failing", "Newly failing", "newly failing cases");
pub(super) const NEWLY_PASSING: Section =
    section!(Standing::NewlyPassing, "newly-passing", "Newly passing", "newly passing cases");
pub(super) const FAILING_ON_BOTH: Section = section!(
    Standing::FailingOnBoth,
    "failing",
    "Failing on both sides",
    "cases failing on both sides"
);
pub(super) const FLAKY: Section = section!(Standing::Flaky, "flaky", "Flaky", "flaky cases");

const TEMPLATE: &str = include_str!("../../templates/failing.html");
/// Failures that a comment and a terminal show, and how much of their logs.
const MARKDOWN_MAX: usize = 8;
const MARKDOWN_OPEN_MAX: usize = 2;
const MARKDOWN_REASON_CHARS_MAX: usize = 100;
const MARKDOWN_LOG_LINES_MAX: usize = 12;
const MARKDOWN_LOG_LINE_CHARS_MAX: usize = 160;
const TEXT_MAX: usize = 10;
const TEXT_LOG_LINES_MAX: usize = 8;

/// The facts that the template shows of one standing.
#[derive(Serialize)]
struct PageData<'a> {
    /// Whether it was so before, and so is folded.
    is_known: bool,
    note: &'static str,
    mark: &'static str,
    failures: Vec<SimilarFailures<'a>>,
}

fn page_data(view: &View, standing: Standing) -> Value {
    let (note, mark) = match standing {
        Standing::NewlyFailing => ("These work on the baseline and do not on the candidate.", "✕"),
        Standing::NewlyPassing => ("These work on the candidate and did not on the baseline.", "✓"),
        Standing::FailingOnBoth => ("These work on neither side.", "✕"),
        Standing::Flaky => (
            "These failed on a side on which they also worked, so nothing is concluded from them.",
            "✕",
        ),
    };
    Value::from(Serde(PageData {
        is_known: standing == Standing::FailingOnBoth,
        note,
        mark,
        failures: view.failing(standing),
    }))
}

fn markdown(view: &View, standing: Standing) -> String {
    match standing {
        Standing::NewlyFailing => newly_failing_markdown(view),
        Standing::NewlyPassing => {
            let names: Vec<String> = view.failing(standing).iter().map(name_markdown).collect();
            match names.is_empty() {
                true => String::new(),
                false => format!("{}: {}\n", capitalised(standing.name()), first_names(&names)),
            }
        }
        Standing::FailingOnBoth => known_markdown(view, standing, ", as before"),
        Standing::Flaky => known_markdown(view, standing, " (works at times; decides nothing)"),
    }
}

/// Its name as a code span, with the number of cases that fail alike.
fn name_markdown(alike: &SimilarFailures<'_>) -> String {
    match (&alike.first.benchmark, alike.others.len()) {
        (Some(benchmark), 1..) => {
            format!("{} ({})", code(benchmark), plural(alike.others.len() + 1, "case"))
        }
        _ => code(&alike.first.case),
    }
}

/// What newly fails: its error first, of the first ones unfolded.
fn newly_failing_markdown(view: &View) -> String {
    let failures = view.failing(Standing::NewlyFailing);
    let mut out = String::new();
    for (index, alike) in failures.iter().take(MARKDOWN_MAX).enumerate() {
        let FailureView { host, step, reason, log, .. } = alike.first;
        let host = if view.many_hosts { format!(" on {}", code(host)) } else { String::new() };
        let name = name_markdown(alike);
        let _ = writeln!(
            out,
            "**Newly failing**: {name}{host}, step {}: {}\n",
            code(step),
            code(reason)
        );
        if !log.is_empty() {
            let log = fence(&markdown_log(alike.first));
            match index {
                0..MARKDOWN_OPEN_MAX => out.push_str(&(log + "\n")),
                _ => out.push_str(&folded("last lines of the log", &log)),
            }
            out.push('\n');
        }
    }
    out.truncate(out.trim_end().len());
    if !out.is_empty() {
        out.push('\n');
    }
    out + &left_out(failures.len(), MARKDOWN_MAX, "failure")
}

/// What is no news: one folded line, in which both sides that fail alike are one.
fn known_markdown(view: &View, standing: Standing, remark: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for alike in view.failing(standing) {
        let FailureView { host, step, reason, .. } = alike.first;
        let host = if view.many_hosts { format!(" on {}", code(host)) } else { String::new() };
        let line = format!(
            "- {}{host}, step {}: {}\n",
            name_markdown(&alike),
            code(step),
            code(&bounded(reason, MARKDOWN_REASON_CHARS_MAX))
        );
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    let summary = match view.counts.failing.count(standing) {
        0 => format!("{}{remark}", capitalised(standing.name())),
        cases => format!("{}{remark}: {}", capitalised(standing.name()), plural(cases, "case")),
    };
    let body: String = lines.iter().take(MARKDOWN_MAX).map(String::as_str).collect();
    folded(&summary, &(body + &left_out(lines.len(), MARKDOWN_MAX, "failure")))
}

fn markdown_log(failure: &FailureView) -> String {
    let lines: Vec<&str> = failure.log.lines().collect();
    lines[lines.len().saturating_sub(MARKDOWN_LOG_LINES_MAX)..]
        .iter()
        .map(|line| bounded(line, MARKDOWN_LOG_LINE_CHARS_MAX))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Each failure with the last lines of its log.
fn text(view: &View, standing: Standing, terminal: Terminal) -> String {
    let mut out = String::new();
    let failures = view.failing(standing);
    for alike in failures.iter().take(TEXT_MAX) {
        out.push('\n');
        out.push_str(&text_of_failure(alike, view.many_hosts, terminal));
    }
    if failures.len() > TEXT_MAX {
        let more = failures.len() - TEXT_MAX;
        let _ = writeln!(out, "\n… and {} more {}", more, standing.name());
    }
    out
}

fn text_of_failure(alike: &SimilarFailures<'_>, many_hosts: bool, terminal: Terminal) -> String {
    let FailureView { standing, host, side, step, reason, log, .. } = alike.first;
    let host = if many_hosts { format!(" on {host}") } else { String::new() };
    let standing = capitalised(standing.name());
    let heading = format!("{standing}: {}, {side}{host}, step {step}: {reason}", alike.name);
    let mut out = String::new();
    for text in wrap(&heading, terminal.width, "") {
        let _ = writeln!(out, "{}", terminal.paint("31", &text));
    }
    if let Some(remedy) = alike.first.remedy {
        out.push_str(&terminal.paragraph(&format!("To do: {remedy}")));
    }
    let log: Vec<&str> = log.lines().collect();
    for log_line in &log[log.len().saturating_sub(TEXT_LOG_LINES_MAX)..] {
        let text = elide(&lines(log_line).replace('\n', "␊"), terminal.width - 4);
        let _ = writeln!(out, "  | {text}");
    }
    out
}
