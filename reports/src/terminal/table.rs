//! Tables that fit a terminal.

use std::fmt::Write as _;

use dyno_model::catalog::suite::Config;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Terminal;
use crate::common::CommonAxes;
use crate::escape::line;

/// Columns go before a name is cut below this: `instructions:cachegrind` fits.
const NAME_WIDTH_MIN: usize = 24;

/// A column of text; cells of all columns are equally many.
pub(crate) struct Column {
    pub heading: String,
    /// Columns with a higher number go first when the terminal is narrow; 0 stays.
    pub dispensable: u8,
    pub right: bool,
    /// Names can be cut where there is no room; numbers cannot.
    pub is_name: bool,
    pub cells: Vec<String>,
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().map(|c| c.width()).max().unwrap_or(0).max(self.heading.width())
    }
}

const GAP: usize = 2;

/// A table as wide as the terminal at most: first it loses columns, then names are cut. `verdicts`
/// has the verdict whose colour each row takes.
pub(crate) fn table(
    mut columns: Vec<Column>,
    verdicts: impl Iterator<Item = &'static str>,
    terminal: Terminal,
) -> String {
    let width_min = |columns: &[Column]| -> usize {
        let column_min =
            |c: &Column| if c.is_name { c.width().min(NAME_WIDTH_MIN) } else { c.width() };
        columns.iter().map(|c| column_min(c) + GAP).sum::<usize>() - GAP
    };
    while width_min(&columns) > terminal.width {
        let most = columns.iter().map(|c| c.dispensable).max().unwrap_or(0);
        if most == 0 {
            break;
        }
        // What goes leaves its heading to the column behind it that has none.
        for i in 1..columns.len() {
            if columns[i - 1].dispensable == most && columns[i].heading.is_empty() {
                columns[i].heading = std::mem::take(&mut columns[i - 1].heading);
            }
        }
        columns.retain(|c| c.dispensable < most);
    }
    let mut widths: Vec<usize> = columns.iter().map(Column::width).collect();
    let excess = |widths: &[usize]| {
        (widths.iter().sum::<usize>() + GAP * (widths.len() - 1)).saturating_sub(terminal.width)
    };
    while excess(&widths) > 0 {
        let widest = (0..columns.len()).filter(|&i| columns[i].is_name).max_by_key(|&i| widths[i]);
        match widest {
            Some(i) if widths[i] > 1 => widths[i] -= excess(&widths).min((widths[i] / 4).max(1)),
            _ => break,
        }
    }
    let row = |cells: Vec<&str>| -> String {
        let mut out = String::new();
        for ((cell, column), width) in cells.into_iter().zip(&columns).zip(&widths) {
            let cell =
                if column.is_name { elide_middle(cell, *width) } else { elide(cell, *width) };
            let pad = " ".repeat(width - cell.width());
            let gap = " ".repeat(GAP);
            let _ = if column.right {
                write!(out, "{pad}{cell}{gap}")
            } else {
                write!(out, "{cell}{pad}{gap}")
            };
        }
        elide(out.trim_end(), terminal.width)
    };
    let heading = row(columns.iter().map(|c| c.heading.as_str()).collect());
    let mut out = format!("{}\n", terminal.paint("2", &heading));
    for (index, verdict) in verdicts.enumerate() {
        let cells = columns.iter().map(|c| c.cells[index].as_str()).collect();
        let _ = writeln!(out, "{}", terminal.paint_verdict(verdict, &row(cells)));
    }
    out
}

/// `text` cut to `width` columns, with `…` for what was cut.
pub(crate) fn elide(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_string();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        out.push(c);
    }
    // Joining characters may make the whole narrower or wider than its parts.
    while out.width() + 1 > width && out.pop().is_some() {}
    out + "…"
}

/// `text` cut as by [`elide`], but in its middle: the end of a config says as much as its start.
fn elide_middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_string();
    }
    let mut end: String = text
        .chars()
        .rev()
        .scan(0, |used, c| {
            *used += c.width().unwrap_or(0);
            (*used < width / 2).then_some(c)
        })
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    loop {
        let out = format!("{}{end}", elide(text, width.saturating_sub(end.width())));
        if out.width() <= width || end.is_empty() {
            return out;
        }
        end.remove(0);
    }
}

/// Makes columns from rows.
pub(crate) struct Cells<'a, T>(pub &'a [T]);

impl<T> Cells<'_, T> {
    /// A column of text.
    pub fn left(
        &self,
        heading: &'static str,
        dispensable: u8,
        cell: impl Fn(&T) -> String,
    ) -> Column {
        let cells = self.0.iter().map(|row| line(&cell(row)).into_owned()).collect();
        Column { heading: heading.into(), dispensable, right: false, is_name: false, cells }
    }

    /// A column of numbers.
    pub fn right(
        &self,
        heading: &'static str,
        dispensable: u8,
        cell: impl Fn(&T) -> String,
    ) -> Column {
        Column { right: true, ..self.left(heading, dispensable, cell) }
    }

    /// A column of names, which can be cut.
    pub fn name(
        &self,
        heading: &'static str,
        dispensable: u8,
        cell: impl Fn(&T) -> String,
    ) -> Column {
        Column { is_name: true, ..self.left(heading, dispensable, cell) }
    }
}

/// The cases of a table.
pub(crate) struct Cases<'a> {
    /// Benchmark and config of each.
    cases: Vec<(&'a str, Config)>,
    short: Option<Short>,
}

/// The short form of cases with many axes, all of which have the same.
struct Short {
    /// The axes whose values differ.
    axes: Vec<String>,
    /// The values that all have in common.
    common: Config,
}

impl<'a> Cases<'a> {
    /// Cases given as benchmark and config; names leave out the axes that are said above.
    pub fn new(cases: impl Iterator<Item = (&'a str, &'a str)>, common: &CommonAxes) -> Self {
        let cases: Vec<_> = cases.map(|(name, config)| (name, common.rest(config))).collect();
        let short = Short::new(&cases);
        Self { cases, short }
    }

    /// The column: values alone below the names of their axes, or the `whole` name of the case in
    /// that place.
    pub fn column(&self, whole: impl Fn(usize) -> String) -> Column {
        let cell = |(i, (name, config)): (usize, &(&str, Config))| match &self.short {
            Some(Short { axes, .. }) => {
                let values: Vec<&str> = axes.iter().map(|axis| config.0[axis].as_str()).collect();
                format!("{name} [{}]", values.join(","))
            }
            None => whole(i),
        };
        let cells = self.cases.iter().enumerate().map(cell);
        let cells = cells.map(|cell| line(&cell).into_owned()).collect();
        let heading = match &self.short {
            Some(Short { axes, .. }) => format!("case [{}]", axes.join(",")),
            None => "case".into(),
        };
        Column { heading, dispensable: 0, right: false, is_name: true, cells }
    }

    /// The values that the column leaves out, as a line; empty where there are none.
    pub fn left_out(&self) -> String {
        match &self.short {
            Some(Short { common, .. }) if !common.0.is_empty() => {
                format!("(all of these: {})\n", line(&common.to_string()))
            }
            _ => String::new(),
        }
    }
}

impl Short {
    /// `None` where not all have the same axes, or less than two differ: one axis is short enough
    /// as it is, and its name says what the value is.
    fn new(cases: &[(&str, Config)]) -> Option<Self> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_short_where_axes_are_many() {
        let column_of = |given: &[(&str, &str)]| {
            let cases = Cases::new(given.iter().copied(), &CommonAxes::default());
            let column_of = cases.column(|i| format!("{} [{}]", given[i].0, given[i].1));
            (column_of.heading, column_of.cells, cases.left_out())
        };
        let (heading, cells, left_out) = column_of(&[
            ("a", "backend=llvm,profile=check,threads=1"),
            ("b", "backend=llvm,profile=opt,threads=2"),
        ]);
        assert_eq!(heading, "case [profile,threads]");
        assert_eq!(cells, ["a [check,1]", "b [opt,2]"]);
        assert_eq!(left_out, "(all of these: backend=llvm)\n");
        // Nothing is lost of what is not alike, of one axis, or of one case.
        let whole: [&[(&str, &str)]; 3] = [
            &[("a", "profile=check,threads=1"), ("b", "jobs=2,pipelining=on")],
            &[("a", "opt=size,x=1"), ("b", "opt=speed,x=1")],
            &[("a", "opt=size,x=1")],
        ];
        for given in whole {
            let (heading, cells, left_out) = column_of(given);
            let column_texts: Vec<String> =
                given.iter().map(|(a, b)| format!("{a} [{b}]")).collect();
            assert_eq!((heading, cells, left_out), ("case".into(), column_texts, String::new()));
        }
    }
}
