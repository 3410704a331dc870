//! The states that the values of a series lie in, for people.

use dyno_model::metric::MetricUnit;
use dyno_model::states::{PastStates, State};
use dyno_model::verdict::Comparison;
use serde::Serialize;

use crate::number;
use crate::words::plural;

/// The states of a series that are farther apart than its δ, in this comparison or in past runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeriesStates {
    /// The states of this comparison, ascending; none where only past runs show some.
    pub states: Vec<State>,
    /// `1.00 s (baseline 4 of 5, candidate 2 of 5), 1.50 s (1 of 5, 3 of 5); past runs: 3 of 8, from
    /// 1.00 s to 1.50 s`
    pub text: String,
}

impl SeriesStates {
    pub(super) fn new(comparison: &Comparison, unit: MetricUnit) -> Option<Self> {
        comparison.shares()?;
        let states = comparison.states.as_ref().map_or(Vec::new(), |states| states.states.clone());
        let now = Some(states_text(&states, unit)).filter(|_| !states.is_empty());
        let past = comparison.past_states.map(|past| past_text(past, unit));
        let text = [now, past].into_iter().flatten().collect::<Vec<_>>().join("; ");
        Some(Self { states, text })
    }
}

fn states_text(states: &[State], unit: MetricUnit) -> String {
    let total =
        |count: fn(&State) -> u32| -> u32 { states.iter().map(count).fold(0, u32::saturating_add) };
    let (baseline, candidate) = (total(|s| s.baseline), total(|s| s.candidate));
    let text = |(index, state): (usize, &State)| {
        let names = if index == 0 { ["baseline ", "candidate "] } else { ["", ""] };
        format!(
            "{} ({}{} of {baseline}, {}{} of {candidate})",
            number::quantity(state.value as f64, unit, None),
            names[0],
            state.baseline,
            names[1],
            state.candidate
        )
    };
    states.iter().enumerate().map(text).collect::<Vec<_>>().join(", ")
}

fn past_text(past: PastStates, unit: MetricUnit) -> String {
    let [low, high] = [past.low, past.high].map(|value| number::quantity(value as f64, unit, None));
    format!(
        "{} of {} had states, the last from {low} to {high}",
        past.runs_with_states,
        plural(past.runs as usize, "past run")
    )
}
