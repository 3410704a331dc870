//! How often an effect beyond δ is called *Unchanged*: that nothing changed is a claim as well.

use crate::Measurements;
use crate::aims::Aim;
use crate::data::{self, Placement};
use crate::method::{self, Smallest};
use crate::score::Mean;

/// The effect, twice the δ of 1 %; where a series has a slow mode, that it is more frequent.
const EFFECT: f64 = 0.02;
/// The share of the effects that may be called unchanged.
const CALLED_UNCHANGED: f64 = 0.05;

/// Shares of the series called unchanged in one comparison: of those with an effect, and of the
/// others.
type Shares = [f64; 2];

/// The aims, without history and with it, at the number of rounds where most is called unchanged.
pub fn aims(measurements: &Measurements) -> Vec<Aim> {
    let found = measurements.by_rounds(4, Placement::InAStretch, |drawn| -> [Shares; 2] {
        let series = data::with_effect(drawn, EFFECT);
        [false, true].map(|history| {
            let unchanged = method::unchanged(&series, history);
            let share = |has_effect: bool| {
                let is_wanted = |truth: f64| Smallest::OnePercent.counts(truth) == has_effect;
                let of_kind = || series.iter().zip(&unchanged).filter(|(s, _)| is_wanted(s.truth));
                let called = of_kind().filter(|(_, unchanged)| **unchanged).count();
                called as f64 / of_kind().count().max(1) as f64
            };
            [true, false].map(share)
        })
    });
    let aim = |(which, name): (usize, &str)| {
        let means = found.iter().map(|(rounds, found)| {
            let mean = |kind: usize| Mean::from_values(found.iter().map(|s| s[which][kind]));
            ([0, 1].map(mean), rounds)
        });
        let worst = means.max_by(|([a, _], _), ([b, _], _)| a.value.total_cmp(&b.value));
        let ([effects, others], at) = worst.expect("there are rounds");
        Aim {
            aim: format!("Unchanged is said of at most 5 of 100 effects of 2 %, {name}"),
            met: effects.value - 2.0 * effects.se <= CALLED_UNCHANGED,
            found: format!(
                "at most {:.1} ± {:.1} %, at {at} rounds, and there of {:.0} % without an effect",
                effects.value * 100.0,
                effects.se * 100.0,
                others.value * 100.0
            ),
        }
    };
    [(0, "without history"), (1, "with history")].map(aim).into()
}
