//! What the decision benchmark is held against.

use serde::Serialize;

use crate::rules::{PAIRED_T, RULES, WITH_HISTORY, WITHOUT_HISTORY};
use crate::score::{Mean, Score};
use crate::{Uneven, UnevenCause};

/// One aim, whether it is met, and the figure that says so.
#[derive(Debug, Clone, Serialize)]
pub struct Aim {
    pub aim: String,
    pub met: bool,
    pub found: String,
}

/// What is known not to be met, as the start of the aim's text by the name of the measurements:
/// docs/decisions.md says why. Any other aim that is missed is a failure.
const LIMITS: &[(&str, &str)] = &[
    ("noisy", "dyno, without history: power at most"),
    ("rare-slow-mode", "dyno, without history: power at most"),
];

impl Aim {
    /// Whether it is one of the limits that are known, on the measurements `name`.
    pub fn is_limit(&self, name: &str) -> bool {
        LIMITS.iter().any(|(place, start)| *place == name && self.aim.starts_with(start))
    }
}

/// Aims are for this many rounds or more: with two, a variance has one degree of freedom.
pub const ROUNDS_MIN: u32 = 3;
const FALSE_DISCOVERY: f64 = 0.05;
/// So much less power than the paired t-test's is allowed.
const POWER_BELOW: f64 = 0.03;
/// Share of A/A comparisons without a single discovery.
const SILENT: f64 = 0.95;

/// The score of a rule at one number of rounds and one effect.
pub fn score<'a>(scores: &'a [Score], rule: &str, rounds: u32, effect: f64) -> &'a Score {
    let is_wanted = |s: &&Score| s.rule == rule && s.rounds == rounds && s.effect == effect;
    scores.iter().find(is_wanted).expect("every rule has a score for each")
}

/// The aims, each with whether `scores` and `uneven` meet it.
pub fn evaluate_aims(scores: &[Score], uneven: &[Uneven]) -> Vec<Aim> {
    let mut aims = Vec::new();
    let judged = |rule: &'static str| -> Vec<&Score> {
        scores.iter().filter(|s| s.rule == rule && s.rounds >= ROUNDS_MIN).collect()
    };
    for rule in &RULES[..PAIRED_T] {
        aims.push(false_discovery(rule.name, judged(rule.name).into_iter()));
        aims.push(silence_aim(rule.name, judged(rule.name).into_iter()));
    }
    for (cause, name) in
        [(UnevenCause::Adaptive, "adaptive sampling"), (UnevenCause::LeftOut, "rounds left out")]
    {
        let scores = || uneven.iter().filter(|u| u.cause == cause).map(|u| &u.score);
        aims.push(false_discovery(name, scores()));
        aims.push(silence_aim(name, scores()));
    }
    for rule in [WITH_HISTORY, WITHOUT_HISTORY] {
        aims.extend(paired_t_aim(scores, RULES[rule].name));
    }
    aims
}

/// An aim that each of `scores` is to meet: shown is the one that is furthest from it.
fn aim_of_all(
    aim: String,
    scores: &[&Score],
    short_by: impl Fn(&Score) -> f64,
    figure: impl Fn(&Score) -> String,
) -> Aim {
    let worst = scores.iter().max_by(|a, b| short_by(a).total_cmp(&short_by(b)));
    let worst = worst.expect("there are scores");
    let place = format!("at {} rounds and {} %", worst.rounds, worst.effect * 100.0);
    Aim { aim, met: short_by(worst) <= 0.0, found: format!("{} {place}", figure(worst)) }
}

fn false_discovery<'a>(aim: &str, scores: impl Iterator<Item = &'a Score>) -> Aim {
    // Where no effect counts as one (1 % to a δ of 1 %), every discovery is false: that is the aim
    // for comparisons without effects.
    let is_judged = |s: &&Score| s.power.is_some();
    let scores: Vec<&Score> = scores.filter(is_judged).collect();
    // Too high is what two standard errors do not explain.
    let lowest = |s: &Score| s.false_discovery.value - 2.0 * s.false_discovery.se;
    let figure = |s: &Score| {
        let Mean { value, se } = s.false_discovery;
        format!("at most {:.1} ± {:.1} %,", value * 100.0, se * 100.0)
    };
    let aim = format!("{aim}: false-discovery rate at most {} %", FALSE_DISCOVERY * 100.0);
    aim_of_all(aim, &scores, |s| lowest(s) - FALSE_DISCOVERY, figure)
}

/// Power at least that of the paired t-test, but for a few points, on the same data, wherever that
/// test keeps its rate; `None` where it never does.
fn paired_t_aim(scores: &[Score], rule: &str) -> Option<Aim> {
    let paired_t = |s: &Score| score(scores, RULES[PAIRED_T].name, s.rounds, s.effect);
    let keeps_rate = |s: &Score| {
        let silent = score(scores, RULES[PAIRED_T].name, s.rounds, 0.0);
        paired_t(s).false_discovery.value <= FALSE_DISCOVERY && !is_too_loud(silent)
    };
    let is_compared =
        |s: &&Score| s.rule == rule && s.rounds >= ROUNDS_MIN && s.effect > 0.0 && keeps_rate(s);
    let compared: Vec<&Score> = scores.iter().filter(is_compared).collect();
    if compared.is_empty() {
        return None;
    }
    let deficit = |s: &Score| {
        Mean::from_values(
            paired_t(s).powers.iter().zip(&s.powers).map(|(theirs, ours)| theirs - ours),
        )
    };
    Some(aim_of_all(
        format!("{rule}: power at most {} points below the paired t-test's", POWER_BELOW * 100.0),
        &compared,
        |s| deficit(s).value - 2.0 * deficit(s).se - POWER_BELOW,
        |s| {
            let Mean { value, se } = deficit(s);
            format!("at least {:+.1} ± {:.1} points,", -value * 100.0, se * 100.0)
        },
    ))
}

/// How much of the aimed share of silent comparisons is missing, beyond two standard errors: a q of
/// 5 % aims at just this share.
fn silence_missing(s: &Score) -> f64 {
    let two_errors = 2.0 * (SILENT * (1.0 - SILENT) / s.repetitions as f64).sqrt();
    SILENT - s.silent as f64 / s.repetitions as f64 - two_errors
}

fn is_too_loud(score: &Score) -> bool {
    silence_missing(score) > 0.0
}

fn silence_aim<'a>(rule: &str, scores: impl Iterator<Item = &'a Score>) -> Aim {
    let without_effect: Vec<&Score> = scores.filter(|s| s.effect == 0.0).collect();
    aim_of_all(
        format!("{rule}: nothing found in 95 of 100 comparisons without effects"),
        &without_effect,
        silence_missing,
        |s| format!("at least {} of {},", s.silent, s.repetitions),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::Outcome;

    #[test]
    fn rates_may_swing_by_two_standard_errors() {
        // 100 repetitions, of which `bad` found nothing but falsehoods.
        for (bad, met) in [(0, true), (5, true), (8, true), (20, false)] {
            let outcomes: Vec<Outcome> = (0..100)
                .map(|i| Outcome {
                    discoveries: 1,
                    false_proportion: if i < bad { 1.0 } else { 0.0 },
                    power: Some(0.5),
                })
                .collect();
            let score = Score::new("rule", 3, 0.05, 10, &outcomes);
            let aim = false_discovery("rule", std::iter::once(&score));
            assert_eq!(aim.met, met, "{aim:?}");
        }
    }
}
