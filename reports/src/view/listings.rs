//! Sections that list series: what changed, what is inconclusive, what is unchanged, what does not
//! gate and what only informs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::section::{Html, Markdown, Section, no_data};
use super::{Effect, MetricBeside, Row, Value, View};
use crate::comment::{ROWS_MAX, folded, left_out, sentence};
use crate::escape::code;
use crate::terminal::{Cases, Cells, Column, Terminal, table};
use crate::{commands, words};

/// The section of what changed: conflicts of hosts and of metrics, regressions, then improvements.
pub(super) const CHANGED: Section = Section {
    html: Some(Html {
        id: "changed",
        title: "What changed",
        template: include_str!("../../templates/changed.html"),
        data: no_data,
    }),
    markdown: Some(Markdown { name: "what changed", write: changed_markdown }),
    text: Some(changed_text),
};

/// The section of inconclusive series: why each is, and what would settle it.
pub(super) const INCONCLUSIVE: Section = Section {
    html: Some(Html {
        id: "open",
        title: "Inconclusive",
        template: include_str!("../../templates/inconclusive.html"),
        data: no_data,
    }),
    markdown: Some(Markdown { name: "inconclusive series", write: inconclusive_markdown }),
    text: Some(inconclusive_text),
};

/// The section of unchanged series, on the page alone: elsewhere their number says enough.
pub(super) const UNCHANGED: Section = Section {
    html: Some(Html {
        id: "same",
        title: "Unchanged",
        template: include_str!("../../templates/unchanged.html"),
        data: no_data,
    }),
    markdown: None,
    text: None,
};

/// The section of series whose metric does not gate.
pub(super) const NOT_DECIDING: Section = Section {
    html: Some(Html {
        id: "others",
        title: "Metrics that do not gate",
        template: include_str!("../../templates/not_deciding.html"),
        data: no_data,
    }),
    markdown: Some(Markdown {
        name: "metrics that do not gate",
        write: |view| {
            changed_among(view, &view.not_deciding, "Changed too, in metrics that do not gate")
        },
    }),
    text: None,
};

/// The section of series of cases and hosts that only inform.
pub(super) const INFORMING: Section = Section {
    html: Some(Html {
        id: "informing",
        title: "What only informs",
        template: include_str!("../../templates/informing.html"),
        data: no_data,
    }),
    markdown: Some(Markdown {
        name: "what only informs",
        write: |view| changed_among(view, &view.informing, "Changed too, in what only informs"),
    }),
    text: None,
};

/// Rows of a table or a list that is folded in a comment.
const FOLDED_ROWS_MAX: usize = 6;
const TEXT_ROWS_MAX: usize = 30;
/// The number of rows below a table of the axes.
const TEXT_ROWS_BELOW_AXES_MAX: usize = 20;

/// The rows in which something changed, as many as a writer shows.
pub struct ChangedRows<'a> {
    pub rows: Vec<&'a Row>,
    /// `12 more regressions and 3 more improvements`; empty where all are shown.
    pub left_out: String,
}

impl View {
    /// Conflicts of hosts and of metrics, regressions, then improvements, the largest effects first.
    /// Each keeps a share of the `max` rows, however many of the others there are.
    pub fn changed(&self, max: usize) -> ChangedRows<'_> {
        let conflicts: Vec<&Row> = self.conflicts().chain(&self.conflicting).collect();
        let others = |rows: &'_ [Row]| rows.iter().filter(|row| !row.in_conflict).count();
        let (regressed, improved) = (others(&self.regressed), others(&self.improved));
        let conflicting = conflicts.len().min(max / 4);
        let rows_left = max - conflicting;
        let worse = regressed.min(rows_left - (max / 4).min(improved));
        let better = improved.min(rows_left - worse);
        let left_out: Vec<String> = [
            (conflicts.len() - conflicting, "more conflict"),
            (regressed - worse, "more regression"),
            (improved - better, "more improvement"),
        ]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| words::plural(number, noun))
        .collect();
        let rows = conflicts
            .into_iter()
            .take(conflicting)
            .chain(self.regressed.iter().filter(|row| !row.in_conflict).take(worse))
            .chain(self.improved.iter().filter(|row| !row.in_conflict).take(better))
            .collect();
        ChangedRows { rows, left_out: left_out.join(" and ") }
    }
}

fn changed_markdown(view: &View) -> String {
    let changed = view.changed(ROWS_MAX);
    if changed.rows.is_empty() {
        return String::new();
    }
    let mut out = markdown_tables(view, &changed.rows);
    if !changed.left_out.is_empty() {
        let _ =
            writeln!(out, "\n{} are left out here; the full report has them.", changed.left_out);
    }
    out
}

/// What is inconclusive, but for conflicts, which stand in the table of what changed.
fn inconclusive(view: &View) -> Vec<&Row> {
    view.inconclusive.iter().filter(|row| !row.is_conflict()).collect()
}

/// What would settle an inconclusive series, beside what is known of it; `None` where more rounds
/// would not.
fn effect_and_rounds(row: &Row) -> Option<String> {
    let (effect, rounds) = (row.effect.as_ref()?, row.rounds_needed?);
    let rounds = words::plural(rounds as usize, "round");
    Some(format!("{} {}; about {rounds} in all would do", effect.text, effect.interval))
}

fn inconclusive_text(view: &View, terminal: Terminal) -> String {
    let rows = inconclusive(view);
    if rows.is_empty() {
        return String::new();
    }
    let mut out = String::from("\n");
    for row in rows.iter().take(FOLDED_ROWS_MAX) {
        let host = if view.many_hosts { format!(", {}", row.host) } else { String::new() };
        let why = effect_and_rounds(row).unwrap_or_else(|| row.why.clone());
        let text = format!("? {}, {}{host}: {why}", row.case, row.metric);
        out.push_str(&terminal.paragraph(&text));
    }
    if let more @ 1.. = rows.len().saturating_sub(FOLDED_ROWS_MAX) {
        let _ = writeln!(out, "… and {more} more that are inconclusive");
    }
    out
}

fn inconclusive_markdown(view: &View) -> String {
    let rows = inconclusive(view);
    if rows.is_empty() {
        return String::new();
    }
    let mut body = String::new();
    for row in rows.iter().take(FOLDED_ROWS_MAX) {
        let host = if view.many_hosts { format!(", {}", code(&row.host)) } else { String::new() };
        let why = effect_and_rounds(row).unwrap_or_else(|| sentence(&row.why));
        let _ = writeln!(body, "- {}, {}{host}: {}", code(&row.case), code(&row.metric), why);
    }
    body.push_str(&left_out(rows.len(), FOLDED_ROWS_MAX, "series"));
    folded(&format!("Inconclusive: {}", words::plural(rows.len(), "series")), &body)
}

/// A folded table of those of `rows` that changed and do not stand in the table of what changed; none
/// where nothing that gates did.
fn changed_among(view: &View, rows: &[Row], summary: &str) -> String {
    let above = view.changed(ROWS_MAX).rows;
    let above: BTreeSet<&String> =
        above.iter().flat_map(|row| &row.beside).map(|beside| &beside.id).collect();
    let is_changed = |row: &&Row| {
        let has_changed = matches!(row.verdict, "Regressed" | "Improved");
        has_changed && !row.in_conflict && !above.contains(&row.id)
    };
    let changed: Vec<&Row> = rows.iter().filter(is_changed).collect();
    let is_said_above = |row: &Row| row.beside.iter().any(|beside| beside.differs);
    let is_quiet = view.conclusion == "Unchanged" && !view.unchanged.iter().any(is_said_above);
    if changed.is_empty() || is_quiet {
        return String::new();
    }
    let shown = &changed[..changed.len().min(FOLDED_ROWS_MAX)];
    let body = markdown_tables(view, shown) + &left_out(changed.len(), FOLDED_ROWS_MAX, "series");
    folded(&format!("{summary}: {}", words::plural(changed.len(), "series")), &body)
}

fn value_or_dash(value: &Option<Value>) -> &str {
    value.as_ref().map_or("–", |value| &value.text)
}

fn texts_beside(row: &Row) -> String {
    row.beside.iter().map(|beside| beside.text.as_str()).collect::<Vec<_>>().join("; ")
}

/// The other metrics of the case, each with its values.
fn markdown_beside(row: &Row) -> String {
    let text = |beside: &MetricBeside| {
        let rest = beside.text.strip_prefix(&beside.metric).unwrap_or_default();
        let values = beside.values.as_ref().map(|values| format!(" ({values})"));
        format!("{}{rest}{}", code(&beside.metric), values.unwrap_or_default())
    };
    row.beside.iter().map(text).collect::<Vec<_>>().join("; ")
}

/// The rows of each architecture with its name, in alphabetical order; all rows, without a name, where
/// there is one architecture.
fn by_architecture<'a>(view: &View, rows: &[&'a Row]) -> Vec<(Option<&'a str>, Vec<&'a Row>)> {
    if !view.many_architectures {
        return vec![(None, rows.to_vec())];
    }
    let mut groups: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(&row.architecture).or_default().push(row);
    }
    groups.into_iter().map(|(name, rows)| (Some(name), rows)).collect()
}

/// A table, or one for each architecture with its name above.
fn markdown_tables(view: &View, rows: &[&Row]) -> String {
    let table_of = |(architecture, rows): (Option<&str>, Vec<&Row>)| {
        let heading = architecture.map(|name| format!("**{}**\n\n", code(name)));
        heading.unwrap_or_default() + &markdown_table(view, &rows)
    };
    by_architecture(view, rows).into_iter().map(table_of).collect::<Vec<_>>().join("\n")
}

fn markdown_table(view: &View, rows: &[&Row]) -> String {
    let (host, rule) = if view.many_hosts { (" host |", "---|") } else { ("", "") };
    let has_beside = rows.iter().any(|row| !row.beside.is_empty());
    let (beside, beside_rule) = if has_beside { (" other metrics |", ":--|") } else { ("", "") };
    let mut out = format!(
        "| verdict | case | metric |{host} effect | interval | baseline → candidate |{beside}\n\
         |---|---|---|{rule}--:|:--|:--|{beside_rule}\n"
    );
    for row in rows {
        let host = if view.many_hosts { format!(" {} |", code(&row.host)) } else { String::new() };
        let beside = match has_beside {
            true => format!(" {} |", markdown_beside(row)),
            false => String::new(),
        };
        let _ = writeln!(
            out,
            "| {} {} | {} | {} |{host} **{}** | {} | {} → {} |{beside}",
            row.mark,
            row.shown,
            code(&row.case),
            code(&row.metric),
            row.effect_text(),
            Effect::interval_or_dash(&row.effect),
            value_or_dash(&row.baseline),
            value_or_dash(&row.candidate),
        );
    }
    out
}

/// A table of what changed, then counts of the rest.
fn changed_text(view: &View, terminal: Terminal) -> String {
    let max = if view.axes.is_empty() { TEXT_ROWS_MAX } else { TEXT_ROWS_BELOW_AXES_MAX };
    let changed = view.changed(max);
    let mut out = String::new();
    if !changed.rows.is_empty() {
        for (architecture, rows) in by_architecture(view, &changed.rows) {
            out.push('\n');
            if let Some(name) = architecture {
                let _ = writeln!(out, "{name}");
            }
            out.push_str(&changed_table(view, &rows, terminal));
        }
        if !changed.left_out.is_empty() {
            match commands::every_series(&view.links.command) {
                None => {
                    let _ = writeln!(out, "… and {}.", changed.left_out);
                }
                Some(command) => {
                    let _ = writeln!(out, "… and {}. Every series, as JSON:", changed.left_out);
                    out.push_str(&terminal.command_lines(&command));
                }
            }
        }
    }
    if view.counts.deciding.series > 0 {
        let _ = write!(out, "\n{}", terminal.paragraph(&counts_of_others(view)));
    }
    out
}

fn changed_table(view: &View, rows: &[&Row], terminal: Terminal) -> String {
    let cases = Cases::new(rows.iter().map(|row| (&*row.benchmark, &*row.config)), &view.common);
    let columns = columns(view, rows, &cases);
    let verdicts = rows.iter().map(|row| row.verdict);
    table(columns, verdicts, terminal) + &cases.left_out()
}

fn columns(view: &View, rows: &[&Row], cases: &Cases<'_>) -> Vec<Column> {
    let cells = Cells(rows);
    let mut columns = vec![
        cells.left("verdict", 0, |row| format!("{} {}", row.mark, row.shown)),
        cases.column(|i| rows[i].case.clone()),
        cells.name("metric", 0, |row| row.metric.clone()),
    ];
    if view.many_hosts {
        columns.push(cells.name("host", 0, |row| row.host.clone()));
    }
    columns.extend([
        cells.right("baseline", 3, |row| value_or_dash(&row.baseline).to_string()),
        cells.right("candidate", 3, |row| value_or_dash(&row.candidate).to_string()),
        cells.right("effect", 0, |row| row.effect_text().to_string()),
        cells.left("interval", 1, |row| Effect::interval_or_dash(&row.effect).to_string()),
        cells.right("q", 4, |row| row.q_text.clone()),
    ]);
    if rows.iter().any(|row| !row.beside.is_empty()) {
        columns.push(cells.left("other metrics", 2, |row| texts_beside(row)));
    }
    columns
}

/// Numbers of the series that are not in the table of what changed, where conflicts stand too.
fn counts_of_others(view: &View) -> String {
    let outside = |rows: &[Row]| rows.iter().filter(|row| !row.in_conflict).count();
    let (unchanged, open) = (outside(&view.unchanged), inconclusive(view).len());
    // The numbers of the report have those in conflict too.
    let has_conflicts = !view.conflicting.is_empty() || view.conflicts().next().is_some();
    let beginning = if has_conflicts { "Not in the table: " } else { "" };
    let mut text = format!("{beginning}{unchanged} unchanged, {open} inconclusive");
    let others = outside(&view.not_deciding);
    if others > 0 {
        let _ = write!(text, ", {others} of metrics that do not gate");
    }
    let informing = view.counts.informing.series;
    if informing > 0 {
        let verb = if informing == 1 { "informs" } else { "inform" };
        let _ = write!(text, ", {informing} that only {verb}");
    }
    text
}
