//! What the axes come to, how cases scale, what bounded builds: bounded tables.

use std::fmt::Write as _;

use super::{SENTENCE_CHARS_MAX, folded, left_out};
use crate::escape::{bounded, code, prose};
use crate::view::{Effect, View};
use crate::words::many;

const AXIS_ROWS_MAX: usize = 40;
const SCALINGS_MAX: usize = 20;
const BUILDS_MAX: usize = 10;

fn effect(effect: &Option<Effect>) -> (&str, &str) {
    effect.as_ref().map_or(("–", "–"), |e| (e.text.as_str(), e.interval.as_str()))
}

/// One row for each value, metric and host.
pub(super) fn axes(view: &View) -> String {
    let (host, rule) = if view.many_hosts { (" host |", "---|") } else { ("", "") };
    let mut out = format!(
        "| axis | metric |{host} cases | geometric mean | interval | range | ▲ | ▼ | = | ? |\n\
         |---|---|{rule}--:|--:|:--|:--|--:|--:|--:|--:|\n"
    );
    let values = view.axes.iter().flat_map(|axis| &axis.values);
    let rows: Vec<_> = values.flat_map(|v| v.folds.iter().map(move |fold| (v, fold))).collect();
    if rows.is_empty() {
        return String::new();
    }
    for (value, fold) in rows.iter().take(AXIS_ROWS_MAX) {
        let host = if view.many_hosts { format!(" {} |", code(&fold.host)) } else { String::new() };
        let (mean, interval) = effect(&fold.mean);
        let tally = &fold.tally;
        let _ = writeln!(
            out,
            "| {} | {} |{host} {} | **{mean}** | {interval} | {} | {} | {} | {} | {} |",
            code(&value.name),
            code(&fold.metric),
            fold.cases,
            fold.range.as_ref().map_or("–", |range| &range.text),
            tally.regressed,
            tally.improved,
            tally.unchanged,
            tally.inconclusive,
        );
    }
    out + &left_out(rows.len(), AXIS_ROWS_MAX, "row")
}

pub(super) fn scalings(view: &View) -> String {
    if view.scalings.is_empty() {
        return String::new();
    }
    let (host, rule) = if view.many_hosts { (" host |", "---|") } else { ("", "") };
    let mut body = format!(
        "| scaling | case |{host} threads | speed-up | σ | κ | time beyond one thread's | interval \
         |\n|---|---|{rule}--:|--:|--:|--:|--:|:--|\n"
    );
    for s in view.scalings.iter().take(SCALINGS_MAX) {
        let host = if view.many_hosts { format!(" {} |", code(&s.host)) } else { String::new() };
        let (grew, interval) = effect(&s.effect);
        let law = |side: &crate::view::CurveView, kappa: bool| {
            side.law.as_ref().map_or("no fit".to_string(), |law| {
                if kappa { law.kappa.text.clone() } else { law.sigma.text.clone() }
            })
        };
        let both = |kappa| match (law(&s.baseline, kappa), law(&s.candidate, kappa)) {
            (baseline, candidate) if baseline == "no fit" && candidate == baseline => candidate,
            (baseline, candidate) => format!("{baseline} → {candidate}"),
        };
        let _ = writeln!(
            body,
            "| {} {} | {} |{host} {} | {} → {} | {} | {} | **{grew}** | {interval} |",
            s.mark,
            s.verdict,
            code(&s.case),
            s.threads.map_or("–".to_string(), |n| n.to_string()),
            s.baseline.last(),
            s.candidate.last(),
            both(false),
            both(true),
        );
    }
    body.push_str(&left_out(view.scalings.len(), SCALINGS_MAX, "case"));
    let counts = &view.counts.scalings;
    let summary = format!(
        "Scaling with threads: {}, {} worse, {} better",
        many(counts.series, "case"),
        counts.regressed,
        counts.improved
    );
    folded(&summary, &body)
}

pub(super) fn builds(view: &View) -> String {
    if view.builds.is_empty() {
        return String::new();
    }
    let mut body = String::new();
    for build in view.builds.iter().take(BUILDS_MAX) {
        let host =
            if view.many_hosts { format!(" on {}", code(&build.host)) } else { String::new() };
        let text = prose(&bounded(&build.text, SENTENCE_CHARS_MAX));
        let _ = writeln!(body, "- {}, {}{host}: {text}", code(&build.case), build.side);
    }
    body.push_str(&left_out(view.builds.len(), BUILDS_MAX, "build"));
    folded(&format!("What bounded {}", many(view.builds.len(), "build")), &body)
}
