//! States of one series: groups of values far apart, each of them tight.
//!
//! A program may be fast in some runs and slow in others: a layout of memory, a mode of the
//! processor, a lock that is contended or not. Its mean and variance hide that; the groups and the
//! number of values in each, by side, show it. What such a program changes may be the *shares*: one
//! run in ten was slow, now four are. Five pairs that are alike say little of shares, so their
//! interval alone never makes a series with states unchanged: see [`Shares`].

use serde::{Deserialize, Serialize};

use crate::stats::{self, log_ratio};

/// So many times as wide as the widest group the narrowest gap between two groups must be.
const GAP: f64 = 3.0;

/// Fewer values than this are outliers and no group.
const VALUES_MIN: usize = 2;

/// Values of both sides together from which on groups are looked for.
const SERIES_MIN: usize = 6;

/// More groups than this are none.
pub const STATES_MAX: usize = 4;

/// The states that the values of a series lie in, of which some side has values in two or more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct States {
    /// Two to [`STATES_MAX`], ascending by value.
    pub states: Vec<State>,
    /// Rounds in which the candidate was in a higher state than the baseline.
    pub rose: u32,
    /// Rounds in which it was in a lower one.
    pub fell: u32,
}

/// One state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Median of its values, in the metric's base unit.
    pub value: i64,
    /// The number of the baseline's values in it.
    pub baseline: u32,
    /// The number of the candidate's values in it.
    pub candidate: u32,
}

/// The states of a series in past runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PastStates {
    /// The number of past runs, and of those in which the series showed states.
    pub runs: u32,
    pub runs_with_states: u32,
    /// The lowest and the highest state in the newest of those, in the metric's base unit.
    pub low: i64,
    pub high: i64,
}

impl PastStates {
    /// What `rounds` that were all alike say of these states' shares.
    pub fn shares(&self, rounds: u32) -> Shares {
        let distance = log_ratio(self.low, self.high).unwrap_or(0.0);
        Shares { distance, rounds, rose: 0, fell: 0 }
    }
}

impl States {
    /// The states of the values of both sides, of which `rounds` are (baseline, candidate); `None`
    /// where they fall into no groups, or each side is in a group of its own, which is an effect. Where each
    /// group is a single round's, they show how the machine changed and nothing of the program.
    pub fn of_values(baseline: &[i64], candidate: &[i64], rounds: &[(i64, i64)]) -> Option<Self> {
        let mut values = [baseline, candidate].concat();
        values.sort_unstable();
        if values.len() < SERIES_MIN || values[0] <= 0 || values[0] == values[values.len() - 1] {
            return None;
        }
        let starts = group_starts(&values)?;
        let state_of = |value: i64| starts.partition_point(|start| values[*start] <= value);
        let count = |side: &[i64], state: usize| {
            side.iter().filter(|value| state_of(**value) == state).count() as u32
        };
        let ends = starts.iter().copied().chain([values.len()]);
        let bounds = std::iter::once(0).chain(starts.iter().copied()).zip(ends);
        let state = |(index, (start, end)): (usize, (usize, usize))| State {
            value: values[start + (end - start - 1) / 2],
            baseline: count(baseline, index),
            candidate: count(candidate, index),
        };
        let states: Vec<State> = bounds.enumerate().map(state).collect();
        let is_of_one_round = |(index, state): (usize, &State)| {
            let is_in = |value: &i64| state_of(*value) == index;
            (state.baseline, state.candidate) == (1, 1)
                && rounds.iter().any(|(b, c)| is_in(b) && is_in(c))
        };
        if states.iter().enumerate().all(is_of_one_round) {
            return None;
        }
        let sides: [fn(&State) -> u32; 2] = [|state| state.baseline, |state| state.candidate];
        let outside_most_frequent = sides.map(|side| {
            let counts = states.iter().map(side);
            counts.clone().sum::<u32>() - counts.max().unwrap_or(0)
        });
        let moves = rounds.iter().map(|(b, c)| state_of(*b).cmp(&state_of(*c)));
        (outside_most_frequent.iter().sum::<u32>() as usize >= VALUES_MIN).then(|| Self {
            rose: moves.clone().filter(|order| order.is_lt()).count() as u32,
            fell: moves.filter(|order| order.is_gt()).count() as u32,
            states,
        })
    }

    /// What `rounds` say of the states' shares.
    pub fn shares(&self, rounds: u32) -> Shares {
        let distance = match &self.states[..] {
            [low, .., high] => log_ratio(low.value, high.value).unwrap_or(0.0),
            _ => 0.0,
        };
        Shares { distance, rounds, rose: self.rose, fell: self.fell }
    }
}

/// What rounds say of the shares of states.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// ln of the highest state's value over the lowest's.
    pub distance: f64,
    pub rounds: u32,
    /// Rounds in which the candidate alone was in the higher state.
    pub rose: u32,
    /// Rounds in which the baseline alone was.
    pub fell: u32,
}

impl Shares {
    /// How far a change of the shares moved the mean in these rounds (log scale), and the half-width
    /// of what they do not rule out with `confidence`.
    pub fn shift(&self, confidence: f64) -> (f64, f64) {
        let (difference, half_width) =
            stats::paired_shares(self.rounds, self.rose, self.fell, confidence);
        (self.distance * difference, self.distance * half_width)
    }

    /// Rounds in all, at most [`ROUNDS_CAP`](stats::ROUNDS_CAP), after which the interval of the
    /// shift would be within δ, or beyond it (`delta`, log scale; see [`stats::rounds_needed`]), if
    /// as many of them differed: of the interval of [`stats::paired_shares`] at n pairs, of which
    /// the share ρ differs, the half-width h/z is √(ρn + 1)/(n + 2).
    pub fn rounds_needed(&self, delta: f64, confidence: f64) -> u32 {
        let target = (self.shift(confidence).0.abs() - delta).abs().max(delta / 2.0);
        let z = stats::t_quantile(confidence, f64::INFINITY);
        let h = target / (z * self.distance);
        let share = f64::from(self.rose) + f64::from(self.fell);
        let share = share / f64::from(self.rounds.max(1));
        let root = (share * share + 4.0 * h * h * (1.0 - 2.0 * share)).max(0.0).sqrt();
        let rounds = ((share + root) / (2.0 * h * h) - 2.0).ceil();
        let least = f64::from(self.rounds) + 1.0;
        let cap = f64::from(stats::ROUNDS_CAP);
        // A δ of zero asks for more than any number.
        if rounds.is_nan() { stats::ROUNDS_CAP } else { rounds.max(least).min(cap) as u32 }
    }
}

/// Places in the ascending, positive `values` at which the second group and those after it begin:
/// of as few gaps as possible, the widest ones.
fn group_starts(values: &[i64]) -> Option<Vec<usize>> {
    let logs: Vec<f64> = values.iter().map(|value| (*value as f64).ln()).collect();
    let gap = |start: &usize| logs[*start] - logs[start - 1];
    let mut starts: Vec<usize> = (1..values.len()).collect();
    starts.sort_by(|a, b| gap(b).total_cmp(&gap(a)));
    (1..STATES_MAX.min(starts.len() + 1)).find_map(|count| {
        let mut starts = starts[..count].to_vec();
        let narrowest = gap(&starts[count - 1]);
        starts.sort_unstable();
        let ends = starts.iter().copied().chain([values.len()]);
        let are_tight =
            std::iter::once(0).chain(starts.iter().copied()).zip(ends).all(|(start, end)| {
                end - start >= VALUES_MIN && GAP * (logs[end - 1] - logs[start]) < narrowest
            });
        are_tight.then_some(starts)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rounds: &[(i64, i64)]) -> Option<States> {
        let (baseline, candidate): (Vec<i64>, Vec<i64>) = rounds.iter().copied().unzip();
        States::of_values(&baseline, &candidate, rounds)
    }

    /// Rounds → (value, baseline's, candidate's) of each state, rounds that rose, that fell.
    type Row<'a> = (&'a [(i64, i64)], Option<(&'a [(i64, u32, u32)], u32, u32)>);

    #[test]
    fn groups_far_apart_and_tight_are_states() {
        let rows: [Row<'_>; 15] = [
            // One slow run in five, now three.
            (
                &[(1000, 1500), (1001, 1502), (1500, 1001), (1002, 1000), (999, 1501)],
                Some((&[(1000, 4, 2), (1500, 1, 3)], 3, 1)),
            ),
            // Both sides at once: the machine's states.
            (
                &[(1000, 1001), (1500, 1501), (1502, 1499), (1001, 1000)],
                Some((&[(1000, 2, 2), (1500, 2, 2)], 0, 0)),
            ),
            (
                &[(1000, 1001), (1500, 1501), (1502, 1499)],
                Some((&[(1000, 1, 1), (1500, 2, 2)], 0, 0)),
            ),
            // Three values of three rounds, and four of four.
            (&[(1000, 1001), (1500, 1501), (2250, 2249)], None),
            (&[(1000, 1001), (1500, 1501), (2250, 2249), (3300, 3301)], None),
            // Of two rounds, one value each: they were in both states.
            (
                &[(1000, 1500), (1501, 1001), (1002, 1000)],
                Some((&[(1000, 2, 2), (1500, 1, 1)], 1, 1)),
            ),
            (
                &[(100, 200), (200, 400), (401, 100), (101, 201)],
                Some((&[(100, 2, 1), (200, 1, 2), (400, 1, 1)], 3, 1)),
            ),
            // Ticks of a clock: a distance of its own, which is for the reader of δ to judge.
            (&[(4, 8), (8, 4), (4, 4)], Some((&[(4, 2, 2), (8, 1, 1)], 1, 1))),
            // An effect, however large.
            (&[(1000, 1500), (1001, 1502), (999, 1499), (1000, 1501)], None),
            // An outlier.
            (&[(1000, 1001), (1002, 1000), (1500, 1001), (1001, 999)], None),
            // Noise: wide, or in even steps.
            (&[(1000, 1250), (1330, 1500), (1580, 1060)], None),
            (&[(1000, 1100), (1200, 1300), (1400, 1500), (1600, 1700)], None),
            // Too few, all alike, and what has no logarithm.
            (&[(1000, 1500), (1500, 1000)], None),
            (&[(7, 7), (7, 7), (7, 7)], None),
            (&[(0, 1000), (1000, 0), (0, 0)], None),
        ];
        for (rounds, expected) in rows {
            let found = found(rounds);
            let states: Vec<(i64, u32, u32)> = found
                .iter()
                .flat_map(|s| s.states.iter().map(|s| (s.value, s.baseline, s.candidate)))
                .collect();
            let expected = expected.map(|(states, rose, fell)| (states.to_vec(), rose, fell));
            assert_eq!(found.map(|s| (states, s.rose, s.fell)), expected, "{rounds:?}");
        }
    }

    /// Normal noise, and that with heavy tails, hardly ever shows states.
    #[test]
    fn noise_is_no_state() {
        use rand::{Rng, SeedableRng};
        let mut random = rand_pcg::Pcg64::seed_from_u64(1);
        for (rounds, heavy) in
            [(3, false), (4, false), (5, false), (10, false), (5, true), (20, true)]
        {
            let mut value = || {
                let uniform = |random: &mut rand_pcg::Pcg64| random.random_range(1e-12..1.0f64);
                let normal = (-2.0 * uniform(&mut random).ln()).sqrt()
                    * (std::f64::consts::TAU * uniform(&mut random)).cos();
                // Student's t with three degrees of freedom is a normal over a χ.
                let scale = match heavy {
                    true => {
                        let squares: f64 =
                            (0..3).map(|_| -2.0 * uniform(&mut random).ln()).sum::<f64>() / 6.0;
                        squares.sqrt().recip()
                    }
                    false => 1.0,
                };
                (1e9 * (0.01 * normal * scale).exp()) as i64
            };
            let series = 4000u32;
            let with_states = (0..series)
                .filter(|_| {
                    let rounds: Vec<(i64, i64)> = (0..rounds).map(|_| (value(), value())).collect();
                    found(&rounds).is_some()
                })
                .count();
            // Six values fall apart by chance more often.
            let allowed = if rounds == 3 { 0.02 } else { 0.01 };
            let share = with_states as f64 / f64::from(series);
            assert!(share < allowed, "{rounds} rounds, {heavy}: {share}");
        }
    }

    #[test]
    fn few_rounds_do_not_rule_out_a_shift() {
        let delta = 0.01;
        // Rounds of states 50 % apart, in which (rose, fell) → the shift and its half-width, rounds needed.
        for (rounds, rose, fell, shift, half_width, needed) in [
            // Five pairs alike: 11 % more or less is possible all the same.
            (5, 0, 0, 0.0, 0.1135, 78),
            (100, 0, 0, 0.0, 0.0078, 101),
            (100, 30, 30, 0.0, 0.0609, 3787),
            (100, 30, 10, 0.0795, 0.0474, 101),
            (50, 10, 5, 0.0390, 0.0602, 225),
            (50, 5, 10, -0.0390, 0.0602, 225),
        ] {
            let shares = Shares { distance: 1.5f64.ln(), rounds, rose, fell };
            let (found, width) = shares.shift(0.95);
            assert!((found - shift).abs() < 5e-4, "{shares:?}: {found}");
            assert!((width - half_width).abs() < 5e-4, "{shares:?}: ± {width}");
            assert_eq!(shares.rounds_needed(delta, 0.95), needed, "{shares:?}");
            assert_eq!(shares.rounds_needed(0.0, 0.95) == stats::ROUNDS_CAP, rose == fell);
            // After so many the interval is within δ or beyond it.
            let grown = |count: u32| (f64::from(count * needed) / f64::from(rounds)).round() as u32;
            let (rose, fell) = (grown(rose), grown(fell));
            let (found, width) =
                Shares { rounds: needed.max(rounds), rose, fell, ..shares }.shift(0.95);
            assert!((found.abs() - delta).abs() >= width * 0.98, "{shares:?}: {found} ± {width}");
        }
    }
}
