//! A suite with axes, folded: what the series that gate come to with each value of an axis, then those of
//! each benchmark with that value, then the cases themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use dyno_model::catalog::policy::Policy;
use dyno_model::catalog::suite::Config;
use dyno_model::verdict::Judged;
use minijinja::Value;
use minijinja::value::Serde;
use serde::Serialize;

use super::section::{Html, Markdown, Section};
use super::{Effect, Input, Row, View, means, rows};
use crate::comment::{folded, left_out};
use crate::counts::Tally;
use crate::escape::code;
use crate::number;
use crate::terminal::{Cells, Terminal, table};

/// The most axes that are shown; more than that is no suite's.
const AXES_MAX: usize = 16;

/// One axis with two values or more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AxisView {
    pub axis: String,
    pub values: Vec<AxisValue>,
}

/// The series that gate with one value of an axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AxisValue {
    /// `profile=check`
    pub name: String,
    pub folds: Vec<AxisFold>,
    pub benchmarks: Vec<BenchmarkFold>,
    pub sql: String,
}

/// The series that gate of one benchmark with that value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchmarkFold {
    pub benchmark: String,
    pub folds: Vec<AxisFold>,
    /// The [`Row::id`] of each series.
    pub rows: Vec<String>,
}

/// Several series of one metric on one host, taken together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AxisFold {
    pub metric: String,
    pub host: String,
    pub cases: usize,
    /// The series that have an effect, which the mean and the range are over.
    pub with_effect: usize,
    /// Their geometric mean; `None` where there are none.
    pub mean: Option<Effect>,
    /// Smallest to largest effect.
    pub range: Option<Range>,
    pub tally: Tally,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Range {
    pub text: String,
    pub low: f64,
    pub high: f64,
}

/// The axes of the series that gate; `judged` are in the order of their rows.
pub(super) fn axes(judged: &[&Judged], input: &Input<'_>) -> Vec<AxisView> {
    let deciding = judged.iter().enumerate().filter(|(_, j)| j.comparison.decides);
    let mut axes: BTreeMap<String, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    for (index, j) in deciding {
        for (axis, value) in Config::read(&j.comparison.key.config).0 {
            axes.entry(axis).or_default().entry(value).or_default().push(index);
        }
    }
    let view = |(axis, values): (String, BTreeMap<String, Vec<usize>>)| {
        let mut values: Vec<(String, Vec<usize>)> = values.into_iter().collect();
        values.sort_by(|(a, _), (b, _)| number::natural_order(a, b));
        let value = |(value, places): (String, Vec<usize>)| AxisValue {
            name: format!("{axis}={value}"),
            folds: folds(judged, &places, input.policy),
            benchmarks: benchmarks(judged, &places, input.policy),
            sql: (input.fold_sql)(&axis, &value),
        };
        AxisView { values: values.into_iter().map(value).collect(), axis }
    };
    axes.into_iter().filter(|(_, values)| values.len() > 1).take(AXES_MAX).map(view).collect()
}

/// The series in these places, by benchmark.
fn benchmarks(judged: &[&Judged], places: &[usize], policy: &Policy) -> Vec<BenchmarkFold> {
    let mut benchmarks: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for &place in places {
        benchmarks.entry(&judged[place].comparison.key.benchmark).or_default().push(place);
    }
    let view = |(benchmark, places): (&str, Vec<usize>)| BenchmarkFold {
        benchmark: benchmark.to_string(),
        folds: folds(judged, &places, policy),
        rows: places.into_iter().map(rows::row_id).collect(),
    };
    benchmarks.into_iter().map(view).collect()
}

/// The series in these places, by metric and host.
fn folds(judged: &[&Judged], places: &[usize], policy: &Policy) -> Vec<AxisFold> {
    let fold = |((metric, host), series): ((&str, &str), Vec<&Judged>)| AxisFold {
        with_effect: means::mean(&series, policy.confidence).map_or(0, |(series, _)| series),
        metric: metric.to_string(),
        host: host.to_string(),
        cases: series.iter().map(|j| &j.comparison.key).collect::<BTreeSet<_>>().len(),
        mean: means::mean(&series, policy.confidence).map(|(_, mean)| mean),
        range: range(&series),
        tally: series.iter().map(|j| &j.verdict).collect(),
    };
    let series = places.iter().map(|&place| judged[place]);
    means::by_metric_and_host(series).into_iter().map(fold).collect()
}

fn range(series: &[&Judged]) -> Option<Range> {
    let effects = series.iter().filter_map(|j| {
        let (low, high) = j.comparison.interval()?;
        Some(Effect::new(j.comparison.effect()?, low, high))
    });
    let mut effects: Vec<Effect> = effects.filter(|e| e.fraction.is_finite()).collect();
    effects.sort_by(|a, b| a.fraction.total_cmp(&b.fraction));
    let (least, most) = (effects.first()?, effects.last()?);
    let text = number::range(&least.text, &most.text);
    Some(Range { text, low: least.fraction, high: most.fraction })
}

/// The section of what the axes come to: a row for each value, metric and host.
pub(super) const AXES: Section = Section {
    html: Some(Html {
        id: "axes",
        title: "By axis",
        template: include_str!("../../templates/axes.html"),
        data: rows_by_id,
    }),
    markdown: Some(Markdown { name: "the axes", write: markdown }),
    text: Some(text),
};

const MARKDOWN_ROWS_MAX: usize = 12;
const TEXT_ROWS_MAX: usize = 24;

/// Rows by id: the template names the cases of a fold.
fn rows_by_id(view: &View) -> Value {
    let rows: BTreeMap<&str, &Row> = view.rows().map(|row| (row.id.as_str(), row)).collect();
    Value::from(Serde(rows))
}

fn markdown(view: &View) -> String {
    let (host, rule) = if view.many_hosts { (" host |", "---|") } else { ("", "") };
    let mut out = format!(
        "| axis | metric |{host} cases | geometric mean | interval | range | ▲ | ▼ | = | ? |\n\
         |---|---|{rule}--:|--:|:--|:--|--:|--:|--:|--:|\n"
    );
    let values = view.axes.iter().flat_map(|axis| &axis.values);
    let rows: Vec<_> = values.flat_map(|v| v.folds.iter().map(move |fold| (v, fold))).collect();
    // Where all values say the same, the table above says it.
    let verdicts: BTreeSet<&str> = rows.iter().map(|(_, f)| verdict_of_row(&f.tally)).collect();
    if verdicts.len() < 2 {
        return String::new();
    }
    for (value, fold) in rows.iter().take(MARKDOWN_ROWS_MAX) {
        let host = if view.many_hosts { format!(" {} |", code(&fold.host)) } else { String::new() };
        let tally = &fold.tally;
        let _ = writeln!(
            out,
            "| {} | {} |{host} {} | **{}** | {} | {} | {} | {} | {} | {} |",
            code(&value.name),
            code(&fold.metric),
            fold.cases_text(),
            Effect::text_or_dash(&fold.mean),
            Effect::interval_or_dash(&fold.mean),
            range_text(fold),
            tally.regressed,
            tally.improved,
            tally.unchanged,
            tally.inconclusive,
        );
    }
    folded("By axis", &(out + &left_out(rows.len(), MARKDOWN_ROWS_MAX, "row")))
}

impl AxisFold {
    /// The number of cases; where some have no effect, `1 of 30`.
    pub fn cases_text(&self) -> String {
        match self.with_effect {
            with_effect if with_effect < self.cases => format!("{with_effect} of {}", self.cases),
            _ => self.cases.to_string(),
        }
    }
}

fn range_text(fold: &AxisFold) -> &str {
    fold.range.as_ref().map_or("–", |range| &range.text)
}

/// The verdict whose colour a row has: that of what regressed, of what improved, or of both.
fn verdict_of_row(tally: &Tally) -> &'static str {
    match (tally.regressed, tally.improved) {
        (0, 0) => "",
        (_, 0) => "Regressed",
        (0, _) => "Improved",
        _ => "Mixed",
    }
}

/// All folds of an axis, each with the name of its value.
fn folds_of_axis(axis: &AxisView) -> Vec<(&str, &AxisFold)> {
    let values = axis.values.iter();
    values.flat_map(|v| v.folds.iter().map(|fold| (v.name.as_str(), fold))).collect()
}

/// A row for each value of each axis, the first values of each axis where there are too many.
fn text(view: &View, terminal: Terminal) -> String {
    let axes: Vec<Vec<(&str, &AxisFold)>> = view.axes.iter().map(folds_of_axis).collect();
    let number: usize = axes.iter().map(Vec::len).sum();
    if number == 0 {
        return String::new();
    }
    let rows_each = match number <= TEXT_ROWS_MAX {
        true => usize::MAX,
        false => TEXT_ROWS_MAX.div_ceil(axes.len()).max(2),
    };
    let rows: Vec<(&str, &AxisFold)> =
        axes.into_iter().flat_map(|rows| rows.into_iter().take(rows_each)).collect();
    let metrics: BTreeSet<&str> = rows.iter().map(|(_, fold)| fold.metric.as_str()).collect();
    let cells = Cells(&rows);
    let mut columns = vec![cells.name("axis", 0, |(name, _)| name.to_string())];
    if metrics.len() > 1 {
        columns.push(cells.name("metric", 0, |(_, fold)| fold.metric.clone()));
    }
    if view.many_hosts {
        columns.push(cells.name("host", 0, |(_, fold)| fold.host.clone()));
    }
    columns.extend([
        cells.right("cases", 2, |(_, fold)| fold.cases_text()),
        cells.right("mean", 0, |(_, fold)| Effect::text_or_dash(&fold.mean).to_string()),
        cells.left("interval", 4, |(_, fold)| Effect::interval_or_dash(&fold.mean).to_string()),
        cells.left("range", 3, |(_, fold)| range_text(fold).to_string()),
        cells.right("▲", 0, |(_, fold)| fold.tally.regressed.to_string()),
        cells.right("▼", 0, |(_, fold)| fold.tally.improved.to_string()),
        cells.right("=", 1, |(_, fold)| fold.tally.unchanged.to_string()),
        cells.right("?", 1, |(_, fold)| fold.tally.inconclusive.to_string()),
    ]);
    let verdicts = rows.iter().map(|(_, fold)| verdict_of_row(&fold.tally));
    let mut out = format!("\n{}", table(columns, verdicts, terminal));
    if rows.len() < number {
        let _ = writeln!(out, "… and {} more in the report", number - rows.len());
    }
    out
}
