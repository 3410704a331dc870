//! How often wall time contradicts counts where nothing differs: what makes a conclusion Mixed by
//! *conflict: metrics* ([`dyno_model::verdict::contradictions`]) is a claim, and may be false as any
//! other.

use crate::aims::Aim;
use crate::data::{self, Placement};
use crate::{Measurements, method};

/// The share of comparisons without effects in which a contradiction may be seen.
const CONTRADICTED: f64 = 0.05;

/// The aims, without history and with it, at the number of rounds where most was contradicted.
pub fn aims(measurements: &Measurements) -> Vec<Aim> {
    let repetitions = measurements.repetitions;
    let found = measurements.by_rounds(3, Placement::Scattered, |drawn| -> [bool; 2] {
        let series = data::with_effect(drawn, 0.0);
        [false, true].map(|history| method::contradicts_counts(&series, history))
    });
    let aim = |(which, name): (usize, &str)| {
        let contradicted = found
            .iter()
            .map(|(rounds, found)| (found.iter().filter(|found| found[which]).count(), rounds));
        let (most, at) = contradicted.max().expect("there are rounds");
        let two_errors = 2.0 * (CONTRADICTED * (1.0 - CONTRADICTED) / repetitions as f64).sqrt();
        Aim {
            aim: format!(
                "conflict: metrics in at most 5 of 100 comparisons without effects, {name}"
            ),
            met: most as f64 / repetitions as f64 <= CONTRADICTED + two_errors,
            found: format!("at most {most} of {repetitions}, at {at} rounds"),
        }
    };
    [(0, "without history"), (1, "with history")].map(aim).into()
}
