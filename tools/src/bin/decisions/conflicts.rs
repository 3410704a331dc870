//! How often wall time contradicts counts where nothing differs: what makes a conclusion Mixed by
//! *conflict: metrics* ([`dyno_model::verdict::contradictions`]) is a claim, and may be false as any
//! other.

use crate::aims::Aim;
use crate::data::{self, Placement};
use crate::{Measurements, ROUNDS, in_parallel, method};

/// Aims are for this many rounds or more, as those of [`crate::aims`].
const ROUNDS_MIN: u32 = 3;
/// The share of comparisons without effects in which a contradiction may be seen.
const CONTRADICTED: f64 = 0.05;

/// The aims, without history and with it, at the number of rounds where most was contradicted.
pub fn aims(measurements: &Measurements) -> Vec<Aim> {
    let repetitions = measurements.repetitions;
    let rounds: Vec<u32> = ROUNDS.iter().copied().filter(|rounds| *rounds >= ROUNDS_MIN).collect();
    let compare_once = |index: usize| -> [bool; 2] {
        let (rounds, repetition) = (rounds[index / repetitions], index % repetitions);
        // A purpose of its own: what is drawn elsewhere stays what it is.
        let mut random = data::random(measurements.seed, &[3, rounds.into(), repetition as u64]);
        let drawn = measurements.draw(rounds, Placement::Scattered, &mut random);
        let series = data::with_effect(&drawn, 0.0);
        [false, true].map(|history| method::contradicts_counts(&series, history))
    };
    let found = in_parallel("comparisons with counts", rounds.len() * repetitions, compare_once);
    let aim = |(which, name): (usize, &str)| {
        let contradicted = found
            .chunks(repetitions)
            .map(|of_rounds| of_rounds.iter().filter(|found| found[which]).count());
        let (most, at) = contradicted.zip(&rounds).max().expect("there are rounds");
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
