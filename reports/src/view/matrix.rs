//! Every case beside every metric: the table that one looks up a number in.

use std::collections::BTreeMap;

use dyno_model::metric::{self, MetricSource};
use minijinja::Value;
use minijinja::value::Serde;
use serde::Serialize;

use super::section::{Html, Section};
use super::{Row, View};
use crate::number;
use crate::terminal::{Cells, Column, Terminal, table};
use crate::words::plural;

/// The metrics that people ask for first; the others follow in the order of the model's.
const FIRST: [&str; 4] = ["wall", "instructions:cachegrind", "instructions", "max-rss"];
/// A table with more cells has fewer metrics, but never fewer than the first.
const CELLS_MAX: usize = 6000;
/// The metrics that a terminal shows.
const TEXT_METRICS_MAX: usize = 3;

/// Rows by case and host, and the metrics that they have.
struct Matrix<'v> {
    metrics: Vec<&'v str>,
    /// The number of metrics there are, of which `metrics` are shown.
    metrics_in_all: usize,
    cases: Vec<Vec<&'v Row>>,
}

impl<'v> Matrix<'v> {
    fn new(view: &'v View) -> Self {
        let mut cases: BTreeMap<(&str, &str, &str), Vec<&Row>> = BTreeMap::new();
        for row in view.rows() {
            cases.entry((&row.benchmark, &row.config, &row.host)).or_default().push(row);
        }
        let mut cases: Vec<Vec<&Row>> = cases.into_values().collect();
        cases.sort_by(|a, b| number::natural_order(&a[0].case, &b[0].case));
        let place = |name: &str| {
            let first = FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
            let known = metric::METRICS.iter().position(|m| m.name == name);
            (first, known.unwrap_or(usize::MAX), name.to_string())
        };
        let mut metrics: Vec<&str> = view.rows().map(|row| row.metric.as_str()).collect();
        metrics.sort_by_key(|name| place(name));
        metrics.dedup();
        let metrics_in_all = metrics.len();
        metrics.truncate((CELLS_MAX / cases.len().max(1)).max(FIRST.len()));
        Self { metrics, metrics_in_all, cases }
    }

    /// How large the table is, in numbers that fit those of the report: a file of the build is no
    /// case, and a case that failed before it had a value is not in the table.
    fn size(&self, view: &View) -> String {
        let is_file = |case: &&Vec<&Row>| is_of_file(case[0]);
        let files = self.cases.iter().filter(is_file).count();
        let cases = self.cases.len() - files;
        let total = view.counts.cases.total;
        let cases = match cases < total {
            true => format!("{cases} of {}", plural(total, "case")),
            false => plural(cases, "case"),
        };
        let files = match files {
            0 => String::new(),
            files => format!(" and {} of the build", plural(files, "file")),
        };
        let metrics = match self.metrics.len() < self.metrics_in_all {
            true => format!("{} of {}", self.metrics.len(), plural(self.metrics_in_all, "metric")),
            false => plural(self.metrics.len(), "metric"),
        };
        format!("{cases}{files} × {metrics}")
    }
}

/// One case on the page.
#[derive(Serialize)]
struct PageRow<'v> {
    case: &'v str,
    config: &'v str,
    host: &'v str,
    cells: Vec<Option<PageCell<'v>>>,
}

/// One case under one metric.
#[derive(Serialize)]
struct PageCell<'v> {
    verdict: &'v str,
    mark: &'v str,
    baseline: &'v str,
    candidate: &'v str,
    effect: &'v str,
    /// The candidate's median, or else the baseline's: what the column sorts by.
    sort: Option<f64>,
}

#[derive(Serialize)]
struct PageData<'v> {
    /// `4 cases and 2 files of the build × 12 metrics`
    size: String,
    metrics: Vec<&'v str>,
    rows: Vec<PageRow<'v>>,
}

/// The section of every case beside every metric.
pub(super) const MATRIX: Section = Section {
    html: Some(Html {
        id: "matrix",
        title: "Cases and metrics",
        template: include_str!("../../templates/matrix.html"),
        data: page_data,
    }),
    markdown: None,
    text: None,
};

fn page_data(view: &View) -> Value {
    let matrix = Matrix::new(view);
    let size = matrix.size(view);
    let Matrix { metrics, cases, .. } = matrix;
    let rows = cases.iter().map(|case| PageRow {
        case: &case[0].case,
        config: &case[0].config,
        host: &case[0].host,
        cells: metrics.iter().map(|metric| row_with(case, metric).map(page_cell)).collect(),
    });
    let rows = rows.collect();
    Value::from(Serde(PageData { size, metrics, rows }))
}

/// Whether the row is of a file of the build, which is no case.
fn is_of_file(row: &Row) -> bool {
    metric::find(&row.metric).is_some_and(|metric| metric.source == MetricSource::Artifact)
}

fn row_with<'v>(case: &[&'v Row], metric: &str) -> Option<&'v Row> {
    case.iter().copied().find(|row| row.metric == metric)
}

fn page_cell(row: &Row) -> PageCell<'_> {
    let value = row.candidate.as_ref().or(row.baseline.as_ref());
    PageCell {
        verdict: row.verdict,
        mark: row.mark,
        baseline: row.baseline.as_ref().map_or("–", |value| &value.text),
        candidate: row.candidate.as_ref().map_or("–", |value| &value.text),
        effect: row.effect_text(),
        sort: value.map(|value| value.median),
    }
}

/// Every case beside wall time, instructions and memory, as text: `dyno compare --matrix`.
pub fn matrix(view: &View, terminal: Terminal) -> String {
    let terminal = terminal.at_least_narrow();
    let Matrix { mut metrics, mut cases, .. } = Matrix::new(view);
    metrics.truncate(TEXT_METRICS_MAX);
    cases.retain(|case| metrics.iter().any(|metric| row_with(case, metric).is_some()));
    let cells = Cells(&cases);
    let mut columns: Vec<Column> = vec![cells.name("case", 0, |case| case[0].case.clone())];
    if view.many_hosts {
        columns.push(cells.name("host", 0, |case| case[0].host.clone()));
    }
    for metric in metrics {
        let values = |case: &Vec<&Row>| match row_with(case, metric).map(page_cell) {
            Some(cell) => format!("{} → {}", cell.baseline, cell.candidate),
            None => "–".to_string(),
        };
        let effect = |case: &Vec<&Row>| match row_with(case, metric).map(page_cell) {
            Some(cell) => format!("{} {}", cell.mark, cell.effect),
            None => String::new(),
        };
        columns.push(Column { heading: metric.to_string(), ..cells.right("", 1, values) });
        columns.push(cells.right("", 0, effect));
    }
    let verdicts =
        cases.iter().map(|case| case.iter().find(|row| row.decides).map_or("", |row| row.verdict));
    let common = match view.common.text.as_str() {
        "" => String::new(),
        text => terminal.paragraph(text),
    };
    format!("{}{common}\n{}", terminal.paragraph(&view.title), table(columns, verdicts, terminal))
}
