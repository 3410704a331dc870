//! What does not work: every failure with what is known of the other side of its case.

use dyno_model::record::{Failure, RunRow, Side};
use dyno_model::verdict::{Failing, Standing};
use serde::Serialize;

use super::View;
use crate::words;

/// Longest log tail kept of a failure, in lines and in characters a line.
const LOG_LINES_MAX: usize = 200;
const LOG_LINE_CHARS_MAX: usize = 2000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureView {
    /// Whether its case fails on this side alone: `newly-failing`, `newly-passing`,
    /// `failing-on-both`.
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
    /// The last lines it printed.
    pub log: String,
    /// Lines before those, left out here.
    pub log_lines_left_out: usize,
}

/// How many cases, each counted once a host. What concerns all cases is none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FailingCases {
    pub newly_failing: usize,
    pub newly_passing: usize,
    pub on_both: usize,
}

impl FailingCases {
    pub const fn of(self, standing: Standing) -> usize {
        match standing {
            Standing::NewlyFailing => self.newly_failing,
            Standing::NewlyPassing => self.newly_passing,
            Standing::FailingOnBoth => self.on_both,
        }
    }
}

/// Failures that say the same of several cases of one benchmark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alike<'a> {
    /// The case, or the benchmark and how many of its cases.
    pub name: String,
    pub first: &'a FailureView,
    pub others: &'a [FailureView],
}

/// All failures, those of a case next to each other: newly failing first, then newly passing, then
/// what fails on both sides.
pub(super) fn failures(runs: &[RunRow]) -> Vec<FailureView> {
    let failing = Failing::in_runs(runs);
    let of_run = |run: &RunRow| {
        let view = |f: &Failure| failure(f, failing.standing(&run.host, f), &run.host);
        run.failures.iter().map(view).collect::<Vec<_>>()
    };
    let mut all: Vec<FailureView> = runs.iter().flat_map(of_run).collect();
    // What is alike of several cases is to stand together, so the config comes late.
    all.sort_by(|a, b| {
        let key = |f: &FailureView| {
            let place = (f.standing, f.host.clone(), f.benchmark.clone());
            // A log that several share is kept once, and stands where it is shown.
            (place, f.side, f.step.clone(), f.reason.clone(), f.log.is_empty(), f.config.clone())
        };
        key(a).cmp(&key(b))
    });
    all
}

fn failure(failure: &Failure, standing: Standing, host: &str) -> FailureView {
    let all: Vec<&str> = failure.log_tail.lines().collect();
    let left_out = all.len().saturating_sub(LOG_LINES_MAX);
    let kept: Vec<_> =
        all[left_out..].iter().map(|l| crate::escape::bounded(l, LOG_LINE_CHARS_MAX)).collect();
    FailureView {
        standing,
        case: match (&failure.benchmark, &failure.config) {
            (Some(benchmark), config) => words::case(benchmark, config.as_deref().unwrap_or("")),
            (None, _) => "all cases".to_string(),
        },
        benchmark: failure.benchmark.clone(),
        config: failure.config.clone(),
        host: host.to_string(),
        side: failure.side.map_or("both sides", Side::name),
        step: failure.step.to_string(),
        reason: failure.reason.clone(),
        log: kept.join("\n"),
        log_lines_left_out: left_out,
    }
}

pub(super) fn count(failures: &[FailureView]) -> FailingCases {
    let of = |standing| {
        let cases = failures.iter().filter(|f| f.standing == standing && f.benchmark.is_some());
        let cases = cases.map(|f| (&f.host, &f.benchmark, &f.config));
        cases.collect::<std::collections::BTreeSet<_>>().len()
    };
    FailingCases {
        newly_failing: of(Standing::NewlyFailing),
        newly_passing: of(Standing::NewlyPassing),
        on_both: of(Standing::FailingOnBoth),
    }
}

impl View {
    /// The failures with this standing, what is alike folded.
    pub fn failing(&self, standing: Standing) -> Vec<Alike<'_>> {
        let same = |a: &FailureView, b: &FailureView| {
            let key = |f: &FailureView| {
                (f.standing, f.host.clone(), f.benchmark.clone(), f.side, f.step.clone())
            };
            a.benchmark.is_some() && key(a) == key(b) && a.reason == b.reason
        };
        let fold = |all| {
            let (first, others): (&FailureView, _) = <[FailureView]>::split_first(all)?;
            let name = match (&first.benchmark, others.len()) {
                (Some(benchmark), 1..) => {
                    format!("{benchmark}: {}", words::many(others.len() + 1, "case"))
                }
                _ => first.case.clone(),
            };
            Some(Alike { name, first, others })
        };
        let chunks = self.failures.chunk_by(same).filter(|all| all[0].standing == standing);
        chunks.filter_map(fold).collect()
    }
}
