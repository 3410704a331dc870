//! Made-up measurements in which nothing differs, of several shapes of noise: a method that was
//! tuned on one machine's measurements is to hold on those of machines that nobody has seen.

use clap::ValueEnum;
use rand::Rng;
use rand_pcg::Pcg64;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use crate::data::{Cell, SlowMode, random};

/// A shape of noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Like sandmark-turing: heavy tails, drift, outliers; a median of 0.17 % a night.
    HeavyTails,
    /// A noisier machine: a median of 2.2 % a night, a twentieth of the cells above 36 %, and in
    /// every thirtieth two states.
    Noisy,
    /// A fifth of the cells have two or three states, far apart and each tight, entered at random
    /// or staying for some nights.
    TwoState,
    /// Standard deviations over three orders of magnitude, from 0.01 to 10 %.
    Wide,
    /// A tenth of the nights is far slower, in a third of the cells. The effect there is that two
    /// fifths are.
    RareSlowMode,
    /// Few whole units a value: clock ticks, pages.
    Quantised,
    /// A level that drifts as much from night to night as the errors are large, and a trend.
    Drifting,
    /// Cells that hardly differ in their noise: there the quietest look noisier than they are.
    Alike,
}

impl Shape {
    /// `cells` cells of this shape.
    pub fn generate(self, seed: u64, cells: usize) -> Vec<Cell> {
        let mut random = random(seed, &[self as u64]);
        (0..cells).map(|_| self.cell(&mut random)).collect()
    }

    fn cell(self, random: &mut Pcg64) -> Cell {
        let chance = random.random::<f64>();
        match self {
            Self::HeavyTails => heavy_tailed(random, 0.0017, 1.5),
            Self::Noisy if chance < 0.03 => states(random, 0.004),
            Self::Noisy => heavy_tailed(random, 0.022, 1.7),
            Self::TwoState if chance < 0.2 => states(random, 0.001),
            Self::TwoState => heavy_tailed(random, 0.004, 1.0),
            Self::Wide => {
                let sd = 1e-4 * 1e3f64.powf(random.random());
                ordinary(random, Errors::Normal, sd, 0.0)
            }
            Self::RareSlowMode if chance < 0.33 => slow_mode(random),
            Self::RareSlowMode => heavy_tailed(random, 0.004, 1.0),
            Self::Quantised => quantised(random),
            Self::Drifting => {
                let sd = 0.003 * (0.8 * normal(random)).exp();
                ordinary(random, Errors::Normal, sd, 1.0)
            }
            Self::Alike => {
                let sd = 0.005 * (0.3 * normal(random)).exp();
                ordinary(random, Errors::Normal, sd, 0.0)
            }
        }
    }
}

/// The distribution of single errors.
#[derive(Debug, Clone, Copy)]
enum Errors {
    Normal,
    /// Student's t with 3 to 5 degrees of freedom, and an outlier of up to 20 standard deviations
    /// every thirtieth night.
    HeavyTailed,
}

fn normal(random: &mut Pcg64) -> f64 {
    Normal::standard().inverse_cdf(random.random_range(1e-9..1.0 - 1e-9))
}

/// A cell of 24 to 56 nights, each of them drawn by `night`.
fn cell(random: &mut Pcg64, mut night: impl FnMut(&mut Pcg64) -> f64) -> Cell {
    let nights = random.random_range(24..57);
    let nights = (0..nights).map(|_| night(random).round().max(1.0) as i64).collect();
    Cell { nights, slow_mode: None }
}

/// ln of a time from 0.1 to 10 s, in ns.
fn level(random: &mut Pcg64) -> f64 {
    (1e8 * 100f64.powf(random.random())).ln()
}

/// Errors around a level that walks by `walk` standard deviations a night, with a trend as large.
fn ordinary(random: &mut Pcg64, errors: Errors, sd: f64, walk: f64) -> Cell {
    let mut level = level(random);
    let trend = walk * sd * (random.random::<f64>() - 0.5);
    let tails = StudentsT::new(0.0, 1.0, f64::from(random.random_range(3..6))).expect("df above 0");
    cell(random, |random| {
        level += walk * sd * normal(random) + trend;
        let error = match errors {
            Errors::Normal => normal(random),
            Errors::HeavyTailed => {
                let outlier = random.random_bool(0.03).then(|| 20.0 * random.random::<f64>());
                tails.inverse_cdf(random.random_range(1e-9..1.0 - 1e-9)) + outlier.unwrap_or(0.0)
            }
        };
        (level + sd * error).exp()
    })
}

/// Heavy tails, and a log-normal size of them: its median, and the standard deviation of its
/// logarithm.
fn heavy_tailed(random: &mut Pcg64, median_sd: f64, spread: f64) -> Cell {
    let sd = (median_sd * (spread * normal(random)).exp()).min(0.5);
    ordinary(random, Errors::HeavyTailed, sd, 0.3)
}

/// Two or three states from 3 to 70 % apart, each with errors of about `tight`.
fn states(random: &mut Pcg64, tight: f64) -> Cell {
    let level = level(random);
    let sd = tight * (0.7 * normal(random)).exp();
    let count = if random.random_bool(0.25) { 3 } else { 2 };
    let gap = |random: &mut Pcg64| 0.03 * 20f64.powf(random.random());
    let mut offsets = vec![0.0];
    for _ in 1..count {
        offsets.push(offsets[offsets.len() - 1] + gap(random));
    }
    // A state is left every other night, or after five to ten.
    let change = if random.random_bool(0.5) { 1.0 } else { random.random_range(0.1..0.2) };
    let first_share = random.random_range(0.2..0.8);
    let draw = |random: &mut Pcg64| match random.random_bool(first_share) {
        true => 0,
        false => random.random_range(1..count),
    };
    let mut state = draw(random);
    cell(random, |random| {
        if random.random_bool(change) {
            state = draw(random);
        }
        (level + offsets[state] + sd * normal(random)).exp()
    })
}

/// A tenth of the nights is slower by 15 to 200 %.
fn slow_mode(random: &mut Pcg64) -> Cell {
    let level = level(random);
    let sd = 0.002 * (0.7 * normal(random)).exp();
    let slow = (0.14 * 8f64.powf(random.random())).exp();
    let ordinary = cell(random, |random| {
        let factor = if random.random_bool(0.1) { slow } else { 1.0 };
        factor * (level + sd * normal(random)).exp()
    });
    Cell {
        slow_mode: Some(SlowMode { slow, bound: (level.exp() * slow.sqrt()) as i64 }),
        ..ordinary
    }
}

/// 20 to 2000 units, with errors of a tenth of a unit to three units.
fn quantised(random: &mut Pcg64) -> Cell {
    let level = 20.0 * 100f64.powf(random.random());
    let sd = 0.1 * 30f64.powf(random.random());
    cell(random, |random| level + sd * normal(random))
}
