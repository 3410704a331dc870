//! What a reader must know right after the sentence and its reasons.

use std::collections::BTreeSet;

use dyno_model::catalog::policy::{HostConflict, Policy};
use dyno_model::record::Side;
use dyno_model::selfcheck::Rate;
use dyno_model::verdict::Standing;

use super::{Row, View, failing};
use crate::words::{capitalised, first_names, plural};

/// The remarks on a view that has everything else, a sentence each; and those of them that no table
/// says.
pub(super) fn remarks(view: &View, policy: &Policy) -> (Vec<String>, Vec<String>) {
    let mut remarks = largest(view);
    let on_both = Standing::FailingOnBoth;
    if view.is_any(on_both) && !view.failures.iter().any(|f| f.benchmark.is_none()) {
        remarks.push(format!("{}.", capitalised(&failing::names_with(&view.failures, on_both))));
    }
    let others = remarks_without_row(view, policy);
    remarks.extend(others.iter().cloned());
    let shown = &view.counts.not_deciding;
    if shown.regressed + shown.improved > 0 {
        remarks.push(format!(
            "Among metrics that do not gate, {} regressed and {} improved.",
            plural(shown.regressed, "series"),
            shown.improved
        ));
    }
    (remarks, others)
}

/// The largest change each way.
fn largest(view: &View) -> Vec<String> {
    let mut remarks = Vec::new();
    let effect_of_first = |rows: &[Row]| {
        let row = rows.first()?;
        let effect = row.effect_in_sentence()?;
        let host = if view.many_hosts { format!(" on {}", row.host) } else { String::new() };
        Some(format!("{}, {}{host}: {effect}", row.case, row.metric))
    };
    if let Some(text) = effect_of_first(&view.regressed) {
        remarks.push(format!("Largest regression: {text}."));
    }
    if let Some(text) = effect_of_first(&view.improved) {
        remarks.push(format!("Largest improvement: {text}."));
    }
    remarks
}

fn remarks_without_row(view: &View, policy: &Policy) -> Vec<String> {
    let mut remarks = Vec::new();
    remarks.extend(failed_for_all(view));
    if let Some(rounds) = view.inconclusive.iter().filter_map(|r| r.rounds_needed).max() {
        remarks.push(format!(
            "About {} in all would settle what is too noisy yet.",
            plural(rounds as usize, "round")
        ));
    }
    remarks.extend(Side::BOTH.into_iter().filter_map(|side| disturbed_with(view, side)));
    remarks.extend(states(view, policy));
    remarks.extend(medians(view));
    if policy.conflicting_hosts == HostConflict::Count {
        remarks.extend(disagreement(view));
    }
    let scalings = &view.counts.scalings;
    if scalings.regressed + scalings.improved > 0 {
        remarks.push(format!(
            "Scaling with threads: {} of {} worse, {} better.",
            scalings.regressed,
            plural(scalings.series, "case"),
            scalings.improved
        ));
    }
    for check in view.selfchecks.iter().filter(|check| check.rate == Rate::More) {
        remarks.push(check.text.clone());
    }
    remarks
}

/// A remark on what kept every case from being measured.
fn failed_for_all(view: &View) -> Option<String> {
    let f = view.failures.iter().find(|f| f.benchmark.is_none())?;
    let others = view.failures.iter().filter(|other| other.benchmark.is_none());
    let is_on_both = others.filter(|other| other.step == f.step && other.side != f.side);
    let side = if is_on_both.count() > 0 { "both sides" } else { f.side };
    Some(format!("The step {} failed for {} ({side}).", f.step, f.case))
}

/// The cases whose disturbance came with `side`, if there are any.
fn disturbed_with(view: &View, side: Side) -> Option<String> {
    let mut cases: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    for row in view.rows() {
        let disturbed = row.disturbed.as_ref().filter(|disturbed| disturbed.side == side.name());
        if let Some(disturbed) = disturbed.filter(|_| seen.insert((&row.case, &row.host))) {
            cases.push(format!("{} ({})", row.case, disturbed.text));
        }
    }
    let names = first_names(&cases);
    (!cases.is_empty()).then(|| format!("Disturbance comes with the {}: {names}.", side.name()))
}

/// The series of metrics that can decide whose values lie in states far apart, if there are any: what
/// the one that does decide may not show.
fn states(view: &View, policy: &Policy) -> Option<String> {
    let text = |row: &Row| {
        let host = if view.many_hosts { format!(" on {}", row.host) } else { String::new() };
        Some(format!("{}, {}{host}: {}", row.case, row.metric, row.states.as_ref()?.text))
    };
    let can_decide = |row: &&Row| policy.can_decide(&row.metric);
    let series: Vec<String> = view.rows().filter(can_decide).filter_map(text).collect();
    let (first, more) = (series.first()?, series.len() - 1);
    let more =
        if more > 0 { format!(" (and {} more)", plural(more, "series")) } else { String::new() };
    Some(format!("Values in states far apart: {first}{more}."))
}

/// Why the effect of a series that changed is not the ratio of the medians that stand beside it, if
/// there are such series.
fn medians(view: &View) -> Option<String> {
    let rows = view.conflicting.iter().chain(&view.regressed).chain(&view.improved);
    let mut seen = BTreeSet::new();
    let text = |row: &Row| {
        let host = if view.many_hosts { format!(" on {}", row.host) } else { String::new() };
        let numbers = row.medians_in_sentence().filter(|_| seen.insert(row.id.clone()))?;
        Some(format!("{}, {}{host} ({numbers})", row.case, row.metric))
    };
    let series: Vec<String> = rows.filter_map(text).collect();
    let (first, more) = (series.first()?, series.len() - 1);
    let more =
        if more > 0 { format!(" and {}", plural(more, "more series")) } else { String::new() };
    Some(format!(
        "An effect is the mean over rounds of candidate ÷ baseline, run side by side, and not the ratio \
         of the medians shown: {first}{more}."
    ))
}

/// Series that regressed on one host and improved on another.
fn disagreement(view: &View) -> Option<String> {
    let key = |row: &Row| (row.case.clone(), row.metric.clone());
    let regressed: BTreeSet<_> = view.regressed.iter().map(key).collect();
    let both: BTreeSet<_> =
        view.improved.iter().map(key).filter(|k| regressed.contains(k)).collect();
    let (case, metric) = both.first()?;
    let rest_text =
        if both.len() > 1 { format!(" and {} more", both.len() - 1) } else { String::new() };
    Some(format!(
        "The hosts disagree on {case}, {metric}{rest_text}: worse on one, better on another."
    ))
}
