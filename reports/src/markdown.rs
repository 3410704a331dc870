//! The comment on a pull request: GitHub-flavoured Markdown, verdict first, the rest folded.
//!
//! A comment has an upper size (65,536 characters on GitHub), and a reader has less patience than
//! that: tables and logs are bounded and say how much they leave out, and a section that would
//! not fit is left out whole and named. The first line is a hidden [`marker`], by which the
//! comment is found again and updated instead of joined by a second one.

use std::fmt::Write as _;

use dyno_model::selfcheck::Rate;
use dyno_model::verdict::Standing;

use crate::escape::{bounded, code, fence, prose};
use crate::view::{FailureView, Row, SelfCheckView, View};
use crate::words::{capitalised, many};

mod sections;

/// No comment is longer, in characters.
pub const MARKDOWN_CHARS_MAX: usize = 60_000;

const ROWS_MAX: usize = 20;
const FAILURES_MAX: usize = 8;
const LOG_LINES_MAX: usize = 20;
const LOG_LINE_CHARS_MAX: usize = 160;
const NOTICES_MAX: usize = 10;
const SENTENCE_CHARS_MAX: usize = 600;
const RUNS_MAX: usize = 8;
const REASONS_MAX: usize = 12;
const MEANS_MAX: usize = 8;

/// The hidden first line of the comment on `suite`: one comment a suite.
pub fn marker(suite: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' };
    let name: String = suite.chars().take(64).map(plain).collect();
    // `--` may not stand inside a comment.
    format!("<!-- dyno report: {} -->", name.split('-').collect::<Vec<_>>().join("_"))
}

/// The comment; at most [`MARKDOWN_CHARS_MAX`] characters. When nothing changed, nothing failed and
/// nothing says otherwise, three lines.
pub fn markdown(view: &View) -> String {
    let suite = view.runs.first().map_or("", |run| run.suite.as_str());
    let mut out = format!("{}\n", marker(suite));
    let sentence = prose(&bounded(&view.sentence, SENTENCE_CHARS_MAX));
    if is_quiet(view) {
        let _ = write!(out, "**{sentence}**\n\n{}\n\n{}\n", counts(view), provenance(view));
        return out;
    }
    let _ = write!(out, "### {sentence}\n\n{}\n", counts(view));
    out.push_str(&said(view));
    let sections = [
        ("whom to ask again", ask_again(view)),
        ("newly failing cases", failing(view, Standing::NewlyFailing)),
        ("the axes", sections::axes(view)),
        ("what changed", changed(view)),
        ("newly passing cases", failing(view, Standing::NewlyPassing)),
        ("cases failing on both sides", failing(view, Standing::FailingOnBoth)),
        ("scaling", sections::scalings(view)),
        ("builds", sections::builds(view)),
        ("inconclusive series", inconclusive(view)),
        ("metrics that do not decide", not_deciding(view)),
        ("what only informs", informing(view)),
        ("notices", notices(view)),
        ("the policy", policy(view)),
        ("the self-checks", selfchecks(view)),
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

/// Whether there is nothing but the verdict to tell.
fn is_quiet(view: &View) -> bool {
    let informing = &view.counts.informing;
    view.conclusion == "Unchanged"
        && view.failures.is_empty()
        && informing.regressed + informing.improved == 0
        && !view.unchanged.iter().flat_map(|row| &row.beside).any(|beside| beside.differs)
        && !view.selfchecks.iter().any(|check| check.rate == Rate::More)
}

/// Reasons, remarks and means, a line each.
fn said(view: &View) -> String {
    let mut out = String::new();
    let means = view.means.iter().take(MEANS_MAX).map(|mean| &mean.text);
    let reasons = view.reasons.iter().take(REASONS_MAX);
    for text in reasons.chain(&view.remarks).chain(means) {
        let _ = writeln!(out, "- {}", prose(&bounded(text, SENTENCE_CHARS_MAX)));
    }
    if !out.is_empty() {
        out.insert(0, '\n');
    }
    out + &left_out(view.reasons.len(), REASONS_MAX, "reason")
}

/// What to do next where hosts contradict each other.
fn ask_again(view: &View) -> String {
    if view.ask_again.is_empty() {
        return String::new();
    }
    let commands: Vec<_> = view
        .ask_again
        .iter()
        .take(RUNS_MAX)
        .map(|again| bounded(&again.command, SENTENCE_CHARS_MAX))
        .collect();
    let hosts = if view.ask_again.len() == 1 { "this host" } else { "these hosts" };
    format!("**Next**: ask {hosts} again.\n\n{}\n", fence(&commands.join("\n")))
        + &left_out(view.ask_again.len(), RUNS_MAX, "host")
}

fn counts(view: &View) -> String {
    let c = &view.counts.deciding;
    let mut text = format!(
        "{} regressed · {} improved · {} unchanged · {} inconclusive",
        c.regressed, c.improved, c.unchanged, c.inconclusive
    );
    for standing in Standing::ALL {
        let cases = view.counts.failing.of(standing);
        if cases > 0 {
            let _ = write!(text, " · **{}** {}", many(cases, "case"), standing.name());
        }
    }
    if !view.notices.is_empty() {
        let _ = write!(text, " · {}", many(view.notices.len(), "notice"));
    }
    let others = view.counts.not_deciding.series;
    if others > 0 {
        let _ = write!(text, " · {} of metrics that do not decide", many(others, "series"));
    }
    let informing = view.counts.informing.series;
    if informing > 0 {
        let verb = if informing == 1 { "informs" } else { "inform" };
        let _ = write!(text, " · {} that only {verb}", many(informing, "series"));
    }
    text
}

/// Conflicts, regressions, then improvements, one table.
fn changed(view: &View) -> String {
    let changed = view.changed(ROWS_MAX);
    if changed.rows.is_empty() {
        return String::new();
    }
    let mut out = table(view, &changed.rows);
    if !changed.left_out.is_empty() {
        let _ =
            writeln!(out, "\n{} are left out here; the full report has them.", changed.left_out);
        let every =
            folded("every series, with SQL", &fence(&bounded(&view.links.sql, SENTENCE_CHARS_MAX)));
        let _ = write!(out, "\n{every}");
    }
    out
}

fn table(view: &View, rows: &[&Row]) -> String {
    let (host, rule) = if view.many_hosts { (" host |", "---|") } else { ("", "") };
    let has_beside = rows.iter().any(|row| !row.beside.is_empty());
    let (beside, beside_rule) = if has_beside { (" beside |", ":--|") } else { ("", "") };
    let mut out = format!(
        "| verdict | case | metric |{host} baseline | candidate | effect | interval | q | rounds \
         |{beside}\n|---|---|---|{rule}--:|--:|--:|:--|--:|--:|{beside_rule}\n"
    );
    for row in rows {
        let host = if view.many_hosts { format!(" {} |", code(&row.host)) } else { String::new() };
        let value = |v: &Option<crate::view::Value>| {
            v.as_ref().map_or("–".to_string(), |v| v.text.clone())
        };
        let (effect, interval) =
            row.effect.as_ref().map_or(("–", "–"), |e| (e.text.as_str(), e.interval.as_str()));
        let beside = if has_beside {
            let texts: Vec<&str> = row.beside.iter().map(|b| b.text.as_str()).collect();
            format!(" {} |", prose(&bounded(&texts.join("; "), SENTENCE_CHARS_MAX)))
        } else {
            String::new()
        };
        let _ = writeln!(
            out,
            "| {} {} | {} | {} |{host} {} | {} | **{effect}** | {interval} | {} | {} |{beside}",
            row.mark,
            row.shown,
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

fn failing(view: &View, standing: Standing) -> String {
    let mut out = String::new();
    let all = view.failing(standing);
    for alike in all.iter().take(FAILURES_MAX) {
        let FailureView { host, side, step, reason, log, .. } = alike.first;
        let host = if view.many_hosts { format!(" on {}", code(host)) } else { String::new() };
        let _ = writeln!(
            out,
            "**{}**: {}, {side}{host}, step {}: {}\n",
            capitalised(standing.name()),
            code(&alike.name),
            code(step),
            code(reason)
        );
        if !log.is_empty() {
            out.push_str(&folded("last lines of the log", &fence(&log_tail(alike.first))));
            out.push('\n');
        }
    }
    out.truncate(out.trim_end().len());
    if !out.is_empty() {
        out.push('\n');
    }
    out + &left_out(all.len(), FAILURES_MAX, &format!("{} case", standing.name()))
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
    // Conflicts stand in the table above.
    let rows: Vec<&Row> = view.inconclusive.iter().filter(|row| !row.is_conflict()).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut body = String::new();
    for row in rows.iter().take(ROWS_MAX) {
        let host = if view.many_hosts { format!(", {}", code(&row.host)) } else { String::new() };
        let why = prose(&bounded(&row.why, SENTENCE_CHARS_MAX));
        let (mark, case, metric) = (row.mark, code(&row.case), code(&row.metric));
        let _ = writeln!(body, "- {mark} {case}, {metric}{host}: {why}");
    }
    body.push_str(&left_out(rows.len(), ROWS_MAX, "series"));
    folded(&format!("Inconclusive: {}", many(rows.len(), "series")), &body)
}

fn not_deciding(view: &View) -> String {
    changed_of(view, &view.not_deciding, "Changed, in metrics that do not decide")
}

fn informing(view: &View) -> String {
    changed_of(view, &view.informing, "Changed, in what only informs")
}

/// A folded table of those of `rows` that changed.
fn changed_of(view: &View, rows: &[Row], summary: &str) -> String {
    let changed: Vec<&Row> =
        rows.iter().filter(|r| matches!(r.verdict, "Regressed" | "Improved")).collect();
    if changed.is_empty() {
        return String::new();
    }
    let shown = &changed[..changed.len().min(ROWS_MAX)];
    let body = table(view, shown) + &left_out(changed.len(), ROWS_MAX, "series");
    folded(&format!("{summary}: {}", many(changed.len(), "series")), &body)
}

/// One quiet line a host.
fn selfchecks(view: &View) -> String {
    let line = |check: &SelfCheckView| {
        let how = check.command.as_ref().map(|c| format!(" Make one: {}", code(c)));
        let text = prose(&bounded(&check.text, SENTENCE_CHARS_MAX));
        format!("<sub>{text}{}</sub>\n", how.unwrap_or_default())
    };
    // What is wrong with a host stands among the remarks already.
    let quiet: Vec<&SelfCheckView> =
        view.selfchecks.iter().filter(|check| check.rate != Rate::More).collect();
    let lines: Vec<String> = quiet.iter().take(RUNS_MAX).map(|check| line(check)).collect();
    lines.concat() + &left_out(quiet.len(), RUNS_MAX, "self-check")
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
    let line = |run: &crate::provenance::Provenance| {
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
