//! The terminal: the verdict, what changed, counts of the rest, failures, where the report lies.
//!
//! Plain text that fits the width given; colour only if asked, and never the only cue. Control
//! characters from outside never reach the terminal.

use std::fmt::Write as _;

use dyno_model::selfcheck::Rate;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::escape::{line, lines};
use crate::view::{FailureView, Row, Value, View};
use crate::words::many;

const ROWS_MAX: usize = 30;
const FAILURES_MAX: usize = 10;
const REASONS_MAX: usize = 8;
const MEANS_MAX: usize = 4;
const LOG_LINES_MAX: usize = 8;
const WIDTH_MIN: usize = 40;
/// Columns go before a name is cut below this: `instructions:cachegrind` fits.
const NAME_WIDTH_MIN: usize = 24;

/// The terminal written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Columns; less than 40 counts as 40.
    pub width: usize,
    /// Whether to use ANSI colours.
    pub color: bool,
}

impl Terminal {
    pub(crate) fn paint(self, style: &str, text: &str) -> String {
        if self.color { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_string() }
    }

    fn verdict(self, verdict: &str, text: &str) -> String {
        match verdict {
            "Regressed" => self.paint("31", text),
            "Improved" => self.paint("32", text),
            "Mixed" | "Inconclusive" => self.paint("33", text),
            _ => text.to_string(),
        }
    }
}

/// The report as text; `path` is where the full report lies, if it does.
pub fn text(view: &View, path: Option<&str>, terminal: Terminal) -> String {
    let terminal = Terminal { width: terminal.width.max(WIDTH_MIN), ..terminal };
    let mut out = String::new();
    for text in wrap(&view.title, terminal.width, "") {
        let _ = writeln!(out, "{text}");
    }
    for text in wrap(&view.sentence, terminal.width, "") {
        let bold = terminal.paint("1", &text);
        let _ = writeln!(out, "{}", terminal.verdict(view.conclusion, &bold));
    }
    for text in said(view).iter().flat_map(|text| wrap(text, terminal.width, "  ")) {
        let _ = writeln!(out, "{text}");
    }
    for again in &view.ask_again {
        out.push('\n');
        for text in wrap(&format!("Ask {} again:", again.host), terminal.width, "") {
            let _ = writeln!(out, "{text}");
        }
        out.push_str(&command(&again.command, terminal.width));
    }
    let changed: Vec<&Row> =
        view.conflicts().chain(&view.regressed).chain(&view.improved).collect();
    if !changed.is_empty() {
        out.push('\n');
        out.push_str(&table(view, &changed[..changed.len().min(ROWS_MAX)], terminal));
    }
    if changed.len() > ROWS_MAX {
        let _ = writeln!(out, "… and {} more", changed.len() - ROWS_MAX);
    }
    if view.counts.deciding.series > 0 {
        let _ = writeln!(out, "\n{}", wrap(&rest(view), terminal.width, "").join("\n"));
    }
    for failure in view.failures.iter().take(FAILURES_MAX) {
        out.push('\n');
        out.push_str(&failed(failure, view.many_hosts, terminal));
    }
    if view.failures.len() > FAILURES_MAX {
        let _ =
            writeln!(out, "\n… and {} more", many(view.failures.len() - FAILURES_MAX, "failure"));
    }
    if !view.notices.is_empty() {
        out.push('\n');
    }
    for text in view.notices.iter().flat_map(|n| wrap(&format!("Note: {n}"), terminal.width, "")) {
        let _ = writeln!(out, "{text}");
    }
    // What is wrong with a host stands among the remarks already.
    let quiet = view.selfchecks.iter().filter(|check| check.rate != Rate::More);
    for (index, check) in quiet.enumerate() {
        if index == 0 {
            out.push('\n');
        }
        let how = check.command.as_ref().map(|command| format!(" Make one: {command}"));
        let said = format!("{}{}", check.text, how.unwrap_or_default());
        for text in wrap(&said, terminal.width, "") {
            let _ = writeln!(out, "{}", terminal.paint("2", &text));
        }
    }
    if let Some(path) = path {
        let _ = writeln!(out, "\nReport: {}", line(path));
    }
    out
}

/// What follows the sentence: reasons, remarks, means.
fn said(view: &View) -> Vec<String> {
    let mut said: Vec<String> = view.reasons.iter().take(REASONS_MAX).cloned().collect();
    let more = view.reasons.len() - said.len();
    if more > 0 {
        said.push(format!("… and {}.", many(more, "more reason")));
    }
    said.extend(view.remarks.iter().cloned());
    said.extend(view.means.iter().take(MEANS_MAX).map(|mean| mean.text.clone()));
    said
}

/// A command on lines that a shell reads as one.
fn command(command: &str, width: usize) -> String {
    let lines = wrap(command, width - 2, "  ");
    lines.join(" \\\n") + "\n"
}

fn rest(view: &View) -> String {
    let c = &view.counts.deciding;
    let mut text = format!("{} unchanged, {} inconclusive", c.unchanged, c.inconclusive);
    let others = view.counts.not_deciding.series;
    if others > 0 {
        let _ = write!(text, ", {others} that do not decide");
    }
    let informing = view.counts.informing.series;
    if informing > 0 {
        let verb = if informing == 1 { "informs" } else { "inform" };
        let _ = write!(text, ", {informing} that only {verb}");
    }
    text
}

/// `text` on lines of at most `width`, all but the first indented by `indent` more than it.
pub(crate) fn wrap(text: &str, width: usize, indent: &str) -> Vec<String> {
    let hanging = format!("{indent}  ");
    let options = textwrap::Options::new(width).initial_indent(indent).subsequent_indent(&hanging);
    // A number keeps its per cent sign.
    let text = line(text).replace(" %", "\u{a0}%");
    textwrap::wrap(&text, options).into_iter().map(|l| l.replace('\u{a0}', " ")).collect()
}

fn failed(failure: &FailureView, many_hosts: bool, terminal: Terminal) -> String {
    let host = if many_hosts { format!(" on {}", failure.host) } else { String::new() };
    let head = format!(
        "Failed: {}, {}{host}, step {}: {}",
        failure.case, failure.side, failure.step, failure.reason
    );
    let mut out = String::new();
    for text in wrap(&head, terminal.width, "") {
        let _ = writeln!(out, "{}", terminal.paint("31", &text));
    }
    let log: Vec<&str> = failure.log.lines().collect();
    for log_line in &log[log.len().saturating_sub(LOG_LINES_MAX)..] {
        let text = elide(&lines(log_line).replace('\n', "␊"), terminal.width - 4);
        let _ = writeln!(out, "  | {text}");
    }
    out
}

struct Column {
    head: &'static str,
    /// Columns with a higher number go first when the terminal is narrow; 0 stays.
    dispensable: u8,
    right: bool,
    cells: Vec<String>,
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().map(|c| c.width()).max().unwrap_or(0).max(self.head.width())
    }
}

fn columns(view: &View, rows: &[&Row]) -> Vec<Column> {
    let column = |head, dispensable, right, cell: &dyn Fn(&Row) -> String| Column {
        head,
        dispensable,
        right,
        cells: rows.iter().map(|row| line(&cell(row)).into_owned()).collect(),
    };
    let value = |v: &Option<Value>| v.as_ref().map_or("–".to_string(), |v| v.text.clone());
    let effect = |row: &Row| row.effect.as_ref().map_or("–".to_string(), |e| e.text.clone());
    let interval =
        |row: &Row| row.effect.as_ref().map_or("–".to_string(), |e| e.interval.clone());
    let beside =
        |row: &Row| row.beside.iter().map(|b| b.text.as_str()).collect::<Vec<_>>().join("; ");
    let mut columns = vec![
        column("verdict", 0, false, &|row| format!("{} {}", row.mark, row.shown)),
        column("case", 0, false, &|row| row.case.clone()),
        column("metric", 0, false, &|row| row.metric.clone()),
    ];
    if view.many_hosts {
        columns.push(column("host", 0, false, &|row| row.host.clone()));
    }
    columns.extend([
        column("baseline", 3, true, &|row| value(&row.baseline)),
        column("candidate", 3, true, &|row| value(&row.candidate)),
        column("effect", 0, true, &effect),
        column("interval", 1, false, &interval),
        column("q", 4, true, &|row| row.q_text.clone()),
    ]);
    if rows.iter().any(|row| !row.beside.is_empty()) {
        columns.push(column("beside", 2, false, &beside));
    }
    columns
}

const GAP: usize = 2;

/// A table as wide as the terminal at most: first it loses columns, then names are cut.
fn table(view: &View, rows: &[&Row], terminal: Terminal) -> String {
    let mut columns = columns(view, rows);
    // Names (case, metric, host) can be cut; numbers cannot.
    let is_name = |c: &Column| matches!(c.head, "case" | "metric" | "host");
    let least = |columns: &[Column]| -> usize {
        let of = |c: &Column| if is_name(c) { c.width().min(NAME_WIDTH_MIN) } else { c.width() };
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
        let widest =
            (0..columns.len()).filter(|&i| is_name(&columns[i])).max_by_key(|&i| widths[i]);
        match widest {
            Some(i) if widths[i] > 1 => widths[i] -= over(&widths).min((widths[i] / 4).max(1)),
            _ => break,
        }
    }
    let print = |cells: Vec<&str>| -> String {
        let mut out = String::new();
        for ((cell, column), width) in cells.into_iter().zip(&columns).zip(&widths) {
            let cell = elide(cell, *width);
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
    let head = print(columns.iter().map(|c| c.head).collect());
    let mut out = format!("{}\n", terminal.paint("2", &head));
    for (index, row) in rows.iter().enumerate() {
        let cells = columns.iter().map(|c| c.cells[index].as_str()).collect();
        let _ = writeln!(out, "{}", terminal.verdict(row.verdict, &print(cells)));
    }
    out
}

/// `text` cut to `width` columns, with `…` for what was cut.
fn elide(text: &str, width: usize) -> String {
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
