//! What of the rounds counts for nothing: how much, and why.

use std::collections::{BTreeMap, BTreeSet};

use dyno_model::taint;

use super::{ONE_ZERO, Pair};
use crate::words::plural;

/// Why a round is as it is, behind its row; empty where there is nothing to say.
pub(super) fn remark(pair: &Pair) -> String {
    let notes = pair.notes.join(", ");
    match (&pair.d, pair.notes.is_empty()) {
        (_, true) => String::new(),
        (Some(_), _) => format!("  measured again after {notes}"),
        (None, _) if counts_as_zero(pair) => format!("  no ratio: {notes}"),
        (None, _) => format!("  left out: {notes}"),
    }
}

/// What is left out, a sentence each: rounds, samples of rounds that were measured again, and what
/// disturbed them.
pub(super) fn sentences(pairs: &[Pair]) -> Vec<String> {
    let mut sentences = Vec::new();
    let left_out: Vec<&Pair> =
        pairs.iter().filter(|pair| pair.d.is_none() && !counts_as_zero(pair)).collect();
    if !left_out.is_empty() {
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        for pair in &left_out {
            *reasons.entry(reason(pair)).or_default() += 1;
        }
        let reasons: Vec<String> =
            reasons.into_iter().map(|(reason, rounds)| format!("{rounds} {reason}")).collect();
        sentences.push(format!(
            "Left out: {} of {}: {}.",
            left_out.len(),
            plural(pairs.len(), "round"),
            reasons.join(", ")
        ));
    }
    let counted = pairs.iter().filter(|pair| pair.d.is_some() && pair.disturbed > 0);
    let (rounds, samples) =
        counted.fold((0, 0), |(rounds, samples), pair| (rounds + 1, samples + pair.disturbed));
    if samples > 0 {
        sentences.push(format!(
            "Left out too: {} of {} that came again undisturbed; the last counts.",
            plural(samples as usize, "disturbed sample"),
            plural(rounds, "round")
        ));
    }
    let meanings: Vec<String> = taints(pairs)
        .into_iter()
        .filter_map(|name| Some(format!("{name}: {}", taint::meaning(name)?)))
        .collect();
    if !meanings.is_empty() {
        sentences.push(format!(
            "What was disturbed says something of the machine and nothing of the commits ({}).",
            meanings.join("; ")
        ));
    }
    sentences
}

/// Whether both values are there, and their direction counts without a ratio.
fn counts_as_zero(pair: &Pair) -> bool {
    pair.notes.last().is_some_and(|note| note == ONE_ZERO)
}

/// Why a round is left out.
fn reason(pair: &Pair) -> String {
    let missing = || pair.notes.iter().filter(|note| note.starts_with("no sample"));
    match missing().next() {
        Some(_) => format!("with {}", missing().cloned().collect::<Vec<_>>().join(" and ")),
        None => "disturbed each time".to_string(),
    }
}

/// The names of all disturbances of these rounds.
fn taints(pairs: &[Pair]) -> BTreeSet<&str> {
    let notes = pairs.iter().filter(|pair| pair.disturbed > 0).flat_map(|pair| &pair.notes);
    // `candidate: contention,steal (3 times)`
    let names = notes
        .filter_map(|note| note.split_once(": "))
        .flat_map(|(_, rest)| rest.split_once(" (").map_or(rest, |(names, _)| names).split(','));
    names.collect()
}
