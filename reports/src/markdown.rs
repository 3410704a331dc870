//! The comment on a pull request: GitHub-flavoured Markdown, verdict first, the rest folded.
//!
//! A comment has an upper size (65,536 characters on GitHub), and a reader has less patience than
//! that: tables and logs are bounded and say how much they leave out, and a section that would
//! not fit is left out whole and named. The first line is a hidden [`marker`], by which the
//! comment is found again and updated instead of joined by a second one.

use std::fmt::Write as _;

use crate::escape::{bounded, code, fence, prose};
use crate::view::{FailureView, Row, View};
use crate::words::many;

/// No comment is longer, in characters.
pub const MARKDOWN_CHARS_MAX: usize = 60_000;

const ROWS_MAX: usize = 20;
const FAILURES_MAX: usize = 8;
const LOG_LINES_MAX: usize = 20;
const LOG_LINE_CHARS_MAX: usize = 160;
const NOTICES_MAX: usize = 10;
const SENTENCE_CHARS_MAX: usize = 600;
const RUNS_MAX: usize = 8;

/// The hidden first line of the comment on `suite`: one comment a suite.
pub fn marker(suite: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' };
    let name: String = suite.chars().take(64).map(plain).collect();
    // `--` may not stand inside a comment.
    format!("<!-- dyno report: {} -->", name.split('-').collect::<Vec<_>>().join("_"))
}

/// The comment; at most [`MARKDOWN_CHARS_MAX`] characters. When nothing changed and nothing
/// failed, three lines.
pub fn markdown(view: &View) -> String {
    let suite = view.runs.first().map_or("", |run| run.suite.as_str());
    let mut out = format!("{}\n", marker(suite));
    let sentence = prose(&bounded(&view.sentence, SENTENCE_CHARS_MAX));
    if view.conclusion == "Unchanged" && view.failures.is_empty() {
        let _ = write!(out, "**{sentence}**\n\n{}\n\n{}\n", counts(view), provenance(view));
        return out;
    }
    let _ = write!(out, "### {sentence}\n\n{}\n", counts(view));
    if !view.remarks.is_empty() {
        out.push('\n');
    }
    for remark in &view.remarks {
        let _ = writeln!(out, "- {}", prose(&bounded(remark, SENTENCE_CHARS_MAX)));
    }
    let sections = [
        ("what changed", changed(view)),
        ("failures", failures(view)),
        ("inconclusive series", inconclusive(view)),
        ("metrics that do not decide", not_deciding(view)),
        ("notices", notices(view)),
        ("the policy", policy(view)),
        ("provenance", format!("{}\n", provenance(view))),
    ];
    let mut used = out.chars().count();
    let mut left_out = Vec::new();
    for (name, section) in sections {
        let length = section.chars().count() + 1;
        // 200 for the line that names what is left out.
        if used + length + 200 > MARKDOWN_CHARS_MAX {
            left_out.push(name);
        } else if !section.is_empty() {
            used += length;
            let _ = write!(out, "\n{section}");
        }
    }
    if !left_out.is_empty() {
        let _ = writeln!(out, "\nLeft out for length: {}.", left_out.join(", "));
    }
    out
}

fn counts(view: &View) -> String {
    let c = &view.counts.deciding;
    let mut text = format!(
        "{} regressed · {} improved · {} unchanged · {} inconclusive",
        c.regressed, c.improved, c.unchanged, c.inconclusive
    );
    if view.counts.failures > 0 {
        let _ = write!(text, " · **{}**", many(view.counts.failures, "failure"));
    }
    if !view.notices.is_empty() {
        let _ = write!(text, " · {}", many(view.notices.len(), "notice"));
    }
    let others = view.counts.not_deciding.series;
    if others > 0 {
        let _ = write!(text, " · {} of metrics that do not decide", many(others, "series"));
    }
    text
}

/// Regressions, then improvements, one table.
fn changed(view: &View) -> String {
    let rows: Vec<&Row> = view.regressed.iter().chain(&view.improved).collect();
    if rows.is_empty() {
        return String::new();
    }
    // Improvements keep a share of the table, however many regressions there are.
    let worse = view.regressed.len().min(ROWS_MAX - (ROWS_MAX / 4).min(view.improved.len()));
    let better = view.improved.len().min(ROWS_MAX - worse);
    let shown: Vec<&Row> =
        view.regressed.iter().take(worse).chain(view.improved.iter().take(better)).collect();
    let mut out = table(view, &shown);
    if shown.len() < rows.len() {
        let _ = writeln!(
            out,
            "\n{} and {} are left out here; the full report has them.",
            many(view.regressed.len() - worse, "more regression"),
            many(view.improved.len() - better, "more improvement")
        );
    }
    out
}

fn table(view: &View, rows: &[&Row]) -> String {
    let (host, rule) = if view.many_hosts { (" host |", "---|") } else { ("", "") };
    let mut out = format!(
        "| verdict | case | metric |{host} baseline | candidate | effect | interval | q | rounds |\n\
         |---|---|---|{rule}--:|--:|--:|:--|--:|--:|\n"
    );
    for row in rows {
        let host = if view.many_hosts { format!(" {} |", code(&row.host)) } else { String::new() };
        let value = |v: &Option<crate::view::Value>| {
            v.as_ref().map_or("–".to_string(), |v| v.text.clone())
        };
        let (effect, interval) =
            row.effect.as_ref().map_or(("–", "–"), |e| (e.text.as_str(), e.interval.as_str()));
        let _ = writeln!(
            out,
            "| {} {} | {} | {} |{host} {} | {} | **{effect}** | {interval} | {} | {} |",
            row.mark,
            row.verdict,
            code(&row.case),
            code(&row.metric),
            value(&row.baseline),
            value(&row.candidate),
            row.q_text.replace('<', "&lt;"),
            row.rounds
        );
    }
    out
}

/// A folded section; `summary` is ours.
fn folded(summary: &str, body: &str) -> String {
    format!("<details><summary>{summary}</summary>\n\n{}\n\n</details>\n", body.trim_end())
}

fn left_out(total: usize, shown: usize, noun: &str) -> String {
    match total.saturating_sub(shown) {
        0 => String::new(),
        rest => format!("\n{} left out here; the full report has them.\n", many(rest, noun)),
    }
}

fn failures(view: &View) -> String {
    let mut out = String::new();
    for failure in view.failures.iter().take(FAILURES_MAX) {
        let host =
            if view.many_hosts { format!(" on {}", code(&failure.host)) } else { String::new() };
        let _ = writeln!(
            out,
            "**Failed**: {}, {}{host}, step {}: {}\n",
            code(&failure.case),
            failure.side,
            code(&failure.step),
            code(&failure.reason)
        );
        if !failure.log.is_empty() {
            out.push_str(&folded("last lines of the log", &fence(&log_tail(failure))));
            out.push('\n');
        }
    }
    out.truncate(out.trim_end().len());
    if !out.is_empty() {
        out.push('\n');
    }
    out + &left_out(view.failures.len(), FAILURES_MAX, "failure")
}

fn log_tail(failure: &FailureView) -> String {
    let lines: Vec<&str> = failure.log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_MAX)..]
        .iter()
        .map(|line| bounded(line, LOG_LINE_CHARS_MAX))
        .collect::<Vec<_>>()
        .join("\n")
}

fn inconclusive(view: &View) -> String {
    let rows = &view.inconclusive;
    if rows.is_empty() {
        return String::new();
    }
    let mut body = String::new();
    for row in rows.iter().take(ROWS_MAX) {
        let host = if view.many_hosts { format!(", {}", code(&row.host)) } else { String::new() };
        let why = prose(&bounded(&row.why, SENTENCE_CHARS_MAX));
        let _ = writeln!(body, "- ? {}, {}{host}: {why}", code(&row.case), code(&row.metric));
    }
    body.push_str(&left_out(rows.len(), ROWS_MAX, "series"));
    folded(&format!("Inconclusive: {}", many(rows.len(), "series")), &body)
}

fn not_deciding(view: &View) -> String {
    let rows: Vec<&Row> = view
        .not_deciding
        .iter()
        .filter(|r| matches!(r.verdict, "Regressed" | "Improved"))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let shown: Vec<&Row> = rows.iter().copied().take(ROWS_MAX).collect();
    let body = table(view, &shown) + &left_out(rows.len(), ROWS_MAX, "series");
    folded(
        &format!("Changed, in metrics that do not decide: {}", many(rows.len(), "series")),
        &body,
    )
}

fn notices(view: &View) -> String {
    if view.notices.is_empty() {
        return String::new();
    }
    let mut out = String::new();
    for notice in view.notices.iter().take(NOTICES_MAX) {
        let _ = writeln!(out, "- Note: {}", prose(&bounded(notice, SENTENCE_CHARS_MAX)));
    }
    out + &left_out(view.notices.len(), NOTICES_MAX, "notice")
}

fn policy(view: &View) -> String {
    let words = view.policy.words.iter();
    let body: Vec<String> =
        words.map(|w| format!("- {}", prose(&bounded(w, 2 * SENTENCE_CHARS_MAX)))).collect();
    folded("What the verdicts mean (the policy)", &body.join("\n"))
}

/// Where the numbers come from, one line a run.
fn provenance(view: &View) -> String {
    let line = |run: &crate::view::Provenance| {
        let digest =
            |text: &str| code(text.trim_start_matches("sha256:").get(..12).unwrap_or(text));
        format!(
            "<sub>{} {} ({}) → {} ({}) · suite {} {} · image {} {} · host {} · engine {} · {} · \
             {} · dyno {} · job {}</sub>",
            code(&run.target),
            code(&run.baseline.asked),
            code(&run.baseline.commit),
            code(&run.candidate.asked),
            code(&run.candidate.commit),
            code(&run.suite),
            digest(&run.suite_digest),
            code(&run.image),
            digest(&run.image_id),
            code(&run.host),
            code(&run.engine),
            many(run.rounds as usize, "round"),
            run.finished,
            code(&run.dyno_version),
            code(&run.job),
        )
    };
    let lines: Vec<String> = view.runs.iter().take(RUNS_MAX).map(line).collect();
    lines.join("\n") + &left_out(view.runs.len(), RUNS_MAX, "run")
}
