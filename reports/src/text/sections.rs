//! The tables: what the axes come to, what changed, how cases scale, what bounded builds. Each is
//! bounded and says what it leaves out.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use dyno_model::catalog::suite::Config;

use super::table::{Column, table};
use super::{Terminal, command, wrap};
use crate::escape::line;
use crate::view::{Effect, Fold, Row, Tally, Value, View};
use crate::words::many;

const ROWS_MAX: usize = 30;
/// With a table of the axes before them.
const ROWS_BELOW_AXES_MAX: usize = 20;
const AXIS_ROWS_MAX: usize = 24;
const SCALINGS_MAX: usize = 8;
const BUILDS_MAX: usize = 4;

struct Cells<'a, T>(&'a [T]);

impl<T> Cells<'_, T> {
    fn column(&self, head: &'static str, dispensable: u8, cell: impl Fn(&T) -> String) -> Column {
        let cells = self.0.iter().map(|row| line(&cell(row)).into_owned()).collect();
        Column { head: head.into(), dispensable, right: false, is_name: false, cells }
    }

    fn right(&self, head: &'static str, dispensable: u8, cell: impl Fn(&T) -> String) -> Column {
        Column { right: true, ..self.column(head, dispensable, cell) }
    }

    fn name(&self, head: &'static str, dispensable: u8, cell: impl Fn(&T) -> String) -> Column {
        Column { is_name: true, ..self.column(head, dispensable, cell) }
    }
}

/// Cases of a table.
struct Cases<'a> {
    of: Vec<(&'a str, Config)>,
    short: Option<Short>,
}

/// How cases with many axes are written: all have the same axes.
struct Short {
    /// Those whose values differ.
    axes: Vec<String>,
    /// What all have in common.
    common: Config,
}

impl<'a> Cases<'a> {
    fn of(cases: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let of: Vec<_> = cases.map(|(name, config)| (name, Config::read(config))).collect();
        let short = Short::of(&of);
        Self { of, short }
    }

    /// The column: values alone below the names of their axes, or as everywhere.
    fn column(&self, whole: impl Fn(usize) -> String) -> Column {
        let cell = |(i, (name, config)): (usize, &(&str, Config))| match &self.short {
            Some(Short { axes, .. }) => {
                let values: Vec<&str> = axes.iter().map(|axis| config.0[axis].as_str()).collect();
                format!("{name} [{}]", values.join(","))
            }
            None => whole(i),
        };
        let cells = self.of.iter().enumerate().map(cell);
        let cells = cells.map(|cell| line(&cell).into_owned()).collect();
        let head = match &self.short {
            Some(Short { axes, .. }) => format!("case [{}]", axes.join(",")),
            None => "case".into(),
        };
        Column { head, dispensable: 0, right: false, is_name: true, cells }
    }

    /// What the column leaves out, as a line.
    fn left_out(&self) -> String {
        match &self.short {
            Some(Short { common, .. }) if !common.0.is_empty() => {
                format!("(all of these: {})\n", line(&common.to_string()))
            }
            _ => String::new(),
        }
    }
}

impl Short {
    /// `None` where not all have the same axes, or less than two differ: one axis is short enough as
    /// it is, and its name says what the value is.
    fn of(cases: &[(&str, Config)]) -> Option<Self> {
        let (_, first) = cases.first()?;
        let alike = cases.iter().all(|(_, config)| config.0.keys().eq(first.0.keys()));
        let (mut common, mut axes) = (first.clone(), Vec::new());
        common.0.retain(|axis, value| {
            let is_common = cases.iter().all(|(_, config)| config.0.get(axis) == Some(&*value));
            if !is_common {
                axes.push(axis.clone());
            }
            is_common
        });
        (alike && axes.len() > 1).then_some(Self { axes, common })
    }
}

fn effect_of(effect: &Option<Effect>) -> String {
    effect.as_ref().map_or("–".to_string(), |e| e.text.clone())
}

fn interval_of(effect: &Option<Effect>) -> String {
    effect.as_ref().map_or("–".to_string(), |e| e.interval.clone())
}

/// The colour of what regressed and what improved.
fn style(tally: &Tally) -> &'static str {
    match (tally.regressed, tally.improved) {
        (0, 0) => "",
        (_, 0) => "Regressed",
        (0, _) => "Improved",
        _ => "Mixed",
    }
}

/// What each value of each axis comes to, the first values of each axis where there are too many.
pub(super) fn axes(view: &View, terminal: Terminal) -> String {
    let all: Vec<Vec<(&str, &Fold)>> = view
        .axes
        .iter()
        .map(|axis| {
            let folds = axis
                .values
                .iter()
                .flat_map(|value| value.folds.iter().map(|fold| (value.name.as_str(), fold)));
            folds.collect()
        })
        .collect();
    let number: usize = all.iter().map(Vec::len).sum();
    if number == 0 {
        return String::new();
    }
    let each = AXIS_ROWS_MAX.div_ceil(all.len()).max(2);
    let fits = number <= AXIS_ROWS_MAX;
    let rows: Vec<(&str, &Fold)> = all
        .iter()
        .flat_map(|rows| rows.iter().take(if fits { usize::MAX } else { each }))
        .copied()
        .collect();
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
        cells.right("cases", 2, |(_, fold)| fold.cases.to_string()),
        cells.right("mean", 0, |(_, fold)| effect_of(&fold.mean)),
        cells.column("interval", 4, |(_, fold)| interval_of(&fold.mean)),
        cells.column("range", 3, |(_, fold)| {
            fold.range.as_ref().map_or("–".to_string(), |range| range.text.clone())
        }),
        cells.right("▲", 0, |(_, fold)| fold.tally.regressed.to_string()),
        cells.right("▼", 0, |(_, fold)| fold.tally.improved.to_string()),
        cells.right("=", 1, |(_, fold)| fold.tally.unchanged.to_string()),
        cells.right("?", 1, |(_, fold)| fold.tally.inconclusive.to_string()),
    ]);
    let mut out =
        format!("\n{}", table(columns, rows.iter().map(|(_, f)| style(&f.tally)), terminal));
    if rows.len() < number {
        let _ = writeln!(out, "… and {} more in the report", number - rows.len());
    }
    out
}

/// Conflicts, regressions, improvements.
pub(super) fn changed(view: &View, terminal: Terminal) -> String {
    let max = if view.axes.is_empty() { ROWS_MAX } else { ROWS_BELOW_AXES_MAX };
    let changed = view.changed(max);
    if changed.rows.is_empty() {
        return String::new();
    }
    let cases = Cases::of(changed.rows.iter().map(|row| (&*row.benchmark, &*row.config)));
    let columns = columns(view, &changed.rows, &cases);
    let mut out =
        format!("\n{}", table(columns, changed.rows.iter().map(|row| row.verdict), terminal));
    out.push_str(&cases.left_out());
    if !changed.left_out.is_empty() {
        let _ = writeln!(out, "… and {}. Every series, as JSON:", changed.left_out);
        out.push_str(&command(&format!("{} --json", view.links.command), terminal.width));
    }
    out
}

fn columns(view: &View, rows: &[&Row], cases: &Cases<'_>) -> Vec<Column> {
    let cells = Cells(rows);
    let value = |v: &Option<Value>| v.as_ref().map_or("–".to_string(), |v| v.text.clone());
    let mut columns = vec![
        cells.column("verdict", 0, |row| format!("{} {}", row.mark, row.shown)),
        cases.column(|i| rows[i].case.clone()),
        cells.name("metric", 0, |row| row.metric.clone()),
    ];
    if view.many_hosts {
        columns.push(cells.name("host", 0, |row| row.host.clone()));
    }
    columns.extend([
        cells.right("baseline", 3, |row| value(&row.baseline)),
        cells.right("candidate", 3, |row| value(&row.candidate)),
        cells.right("effect", 0, |row| effect_of(&row.effect)),
        cells.column("interval", 1, |row| interval_of(&row.effect)),
        cells.right("q", 4, |row| row.q_text.clone()),
    ]);
    if rows.iter().any(|row| !row.beside.is_empty()) {
        columns.push(cells.column("beside", 2, |row| {
            row.beside.iter().map(|b| b.text.as_str()).collect::<Vec<_>>().join("; ")
        }));
    }
    columns
}

/// How cases scale: the largest number of threads, both speed-ups there, and by how much the time
/// grew beyond that of one thread.
pub(super) fn scalings(view: &View, terminal: Terminal) -> String {
    let shown = &view.scalings[..view.scalings.len().min(SCALINGS_MAX)];
    if shown.is_empty() {
        return String::new();
    }
    let cells = Cells(shown);
    let cases = Cases::of(shown.iter().map(|s| (&*s.benchmark, &*s.config)));
    let mut columns = vec![
        cells.column("scaling", 0, |s| format!("{} {}", s.mark, s.verdict)),
        cases.column(|i| shown[i].case.clone()),
    ];
    if view.many_hosts {
        columns.push(cells.name("host", 0, |s| s.host.clone()));
    }
    columns.extend([
        cells.right("threads", 1, |s| s.threads.map_or("–".to_string(), |n| n.to_string())),
        cells.right("speed-up", 2, |s| format!("{} → {}", s.baseline.last(), s.candidate.last())),
        cells.right("time", 0, |s| effect_of(&s.effect)),
        cells.column("interval", 3, |s| interval_of(&s.effect)),
    ]);
    let mut out = format!("\n{}", table(columns, shown.iter().map(|s| s.verdict), terminal));
    out.push_str(&cases.left_out());
    if view.scalings.len() > shown.len() {
        let _ = writeln!(out, "… and {} more in the report", view.scalings.len() - shown.len());
    }
    out
}

/// A paragraph a build.
pub(super) fn builds(view: &View, terminal: Terminal) -> String {
    let mut out = String::new();
    for build in view.builds.iter().take(BUILDS_MAX) {
        let host = if view.many_hosts { format!(" on {}", build.host) } else { String::new() };
        let text = format!("Build of {}, {}{host}: {}", build.case, build.side, build.text);
        let text = wrap(&text, terminal.width, "").join("\n");
        let _ = write!(out, "\n{text}\n");
    }
    if view.builds.len() > BUILDS_MAX {
        let more = many(view.builds.len() - BUILDS_MAX, "more build");
        let _ = writeln!(out, "… and {more} in the report");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_short_where_axes_are_many() {
        let column = |of: &[(&str, &str)]| {
            let cases = Cases::of(of.iter().copied());
            let column = cases.column(|i| format!("{} [{}]", of[i].0, of[i].1));
            (column.head, column.cells, cases.left_out())
        };
        let (head, cells, left_out) = column(&[
            ("a", "backend=llvm,profile=check,threads=1"),
            ("b", "backend=llvm,profile=opt,threads=2"),
        ]);
        assert_eq!(head, "case [profile,threads]");
        assert_eq!(cells, ["a [check,1]", "b [opt,2]"]);
        assert_eq!(left_out, "(all of these: backend=llvm)\n");
        // Nothing is lost of what is not alike, of one axis, or of one case.
        let whole: [&[(&str, &str)]; 3] = [
            &[("a", "profile=check,threads=1"), ("b", "jobs=2,pipelining=on")],
            &[("a", "opt=size,x=1"), ("b", "opt=speed,x=1")],
            &[("a", "opt=size,x=1")],
        ];
        for of in whole {
            let (head, cells, left_out) = column(of);
            let all: Vec<String> = of.iter().map(|(a, b)| format!("{a} [{b}]")).collect();
            assert_eq!((head, cells, left_out), ("case".into(), all, String::new()));
        }
    }
}
