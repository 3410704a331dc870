//! What a reader can do now, in plain words.

use dyno_model::budget::ROUNDS_MAX;
use dyno_model::verdict::Standing;

use super::{View, failing};

/// One or two sentences; empty where nothing was compared.
pub(super) fn next_step(view: &View) -> String {
    if view.runs.is_empty() {
        return String::new();
    }
    if let Some(failure) = view.failures.iter().find(|f| f.benchmark.is_none()) {
        return format!(
            "Mend the step {} first (its last lines are below), then compare again.",
            failure.step
        );
    }
    let mut steps = Vec::new();
    if view.is_any(Standing::NewlyFailing) {
        let names = failing::names_of(&view.failures, Standing::NewlyFailing);
        steps.push(format!("Mend what newly fails, {names}: the error is below."));
    }
    if !view.ask_again.is_empty() {
        steps.push(
            "Measure again on the hosts that contradict each other: the commands are below."
                .to_string(),
        );
    }
    steps.extend(step_for_series(view));
    steps.join(" ")
}

/// What is to be done about the numbers.
fn step_for_series(view: &View) -> Option<String> {
    if let Some(row) = view.conflicting.first() {
        return Some(format!(
            "Look at {} first: two of its metrics say different things, and only one of them gates. \
             The same instructions in another time are often a matter of where code and data lie.",
            row.case
        ));
    }
    if let Some(row) = view.regressed.first() {
        let or = match view.improved.is_empty() {
            true => "say in the change why that is worth it",
            false => "weigh it against what got better",
        };
        return Some(format!("Find out what makes {} worse in {}, or {or}.", row.case, row.metric));
    }
    match view.conclusion {
        "Improved" => Some("Nothing has to be done: nothing that gates got worse.".to_string()),
        "Unchanged" => Some(
            "Nothing has to be done: no change is as large as the policy asks about.".to_string(),
        ),
        "Inconclusive" if view.ask_again.is_empty() => Some(step_if_inconclusive(view)),
        _ => None,
    }
}

fn step_if_inconclusive(view: &View) -> String {
    let counts = &view.counts;
    if counts.cases.all_fail() {
        return "Mend the cases that fail, or take them out of the suite: there is no number to \
                compare yet."
            .to_string();
    }
    if counts.deciding.series == 0 {
        return "Take a policy in which a metric that was measured gates (--policy).".to_string();
    }
    let needed = || view.inconclusive.iter().filter_map(|row| row.rounds_needed);
    match needed().filter(|rounds| *rounds <= ROUNDS_MAX).max() {
        Some(rounds) => {
            let settles = match needed().any(|rounds| rounds > ROUNDS_MAX) {
                true => "which settles a part of them",
                false => "which may settle them",
            };
            format!(
                "Measure again with more rounds (--again --rounds {rounds}), {settles}, or on a \
                 quieter machine: until then neither a change nor its absence is shown."
            )
        }
        None if needed().next().is_some() => format!(
            "Measure again on a quieter machine: here it would take more than {ROUNDS_MAX} rounds \
             to show a change or its absence."
        ),
        None if counts.deciding.inconclusive > 0 => {
            "Read below why these are inconclusive: neither a change nor its absence is shown."
                .to_string()
        }
        None => "Nothing got worse where both sides work.".to_string(),
    }
}
