//! Tables that fit a terminal.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Terminal;

/// Columns go before a name is cut below this: `instructions:cachegrind` fits.
const NAME_WIDTH_MIN: usize = 24;

/// A column of text; cells of all columns are equally many.
pub(super) struct Column {
    pub head: String,
    /// Columns with a higher number go first when the terminal is narrow; 0 stays.
    pub dispensable: u8,
    pub right: bool,
    /// Names can be cut where there is no room; numbers cannot.
    pub is_name: bool,
    pub cells: Vec<String>,
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().map(|c| c.width()).max().unwrap_or(0).max(self.head.width())
    }
}

const GAP: usize = 2;

/// A table as wide as the terminal at most: first it loses columns, then names are cut. `styles`
/// has what paints each row.
pub(super) fn table(
    mut columns: Vec<Column>,
    styles: impl Iterator<Item = &'static str>,
    terminal: Terminal,
) -> String {
    let least = |columns: &[Column]| -> usize {
        let of = |c: &Column| if c.is_name { c.width().min(NAME_WIDTH_MIN) } else { c.width() };
        columns.iter().map(|c| of(c) + GAP).sum::<usize>() - GAP
    };
    while least(&columns) > terminal.width {
        let most = columns.iter().map(|c| c.dispensable).max().unwrap_or(0);
        if most == 0 {
            break;
        }
        columns.retain(|c| c.dispensable < most);
    }
    let mut widths: Vec<usize> = columns.iter().map(Column::width).collect();
    let over = |widths: &[usize]| {
        (widths.iter().sum::<usize>() + GAP * (widths.len() - 1)).saturating_sub(terminal.width)
    };
    while over(&widths) > 0 {
        let widest = (0..columns.len()).filter(|&i| columns[i].is_name).max_by_key(|&i| widths[i]);
        match widest {
            Some(i) if widths[i] > 1 => widths[i] -= over(&widths).min((widths[i] / 4).max(1)),
            _ => break,
        }
    }
    let print = |cells: Vec<&str>| -> String {
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
    let head = print(columns.iter().map(|c| c.head.as_str()).collect());
    let mut out = format!("{}\n", terminal.paint("2", &head));
    for (index, style) in styles.enumerate() {
        let cells = columns.iter().map(|c| c.cells[index].as_str()).collect();
        let _ = writeln!(out, "{}", terminal.verdict(style, &print(cells)));
    }
    out
}

/// `text` cut to `width` columns, with `…` for what was cut.
pub(super) fn elide(text: &str, width: usize) -> String {
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

/// As [`elide`], with what was cut from the middle: the end of a config says as much as its start.
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
