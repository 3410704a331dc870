//! What the decision benchmark is held against.

use serde::Serialize;

use crate::Adaptive;
use crate::rules::{DEFAULT_POLICY, PAIRED_T, RULES, WITH_HISTORY, WITHOUT_HISTORY};
use crate::score::{Mean, Score};

/// One aim, whether it is met, and the figure that says so.
#[derive(Debug, Clone, Serialize)]
pub struct Aim {
    pub aim: String,
    pub met: bool,
    pub found: String,
}

/// Aims are for this many rounds or more: with two, a variance has one degree of freedom.
const ROUNDS_MIN: u32 = 3;
const FALSE_DISCOVERY: f64 = 0.05;
/// Rule, rounds, least power at an effect of 5 %.
const POWER: &[(usize, u32, f64)] =
    &[(WITH_HISTORY, 3, 0.75), (WITHOUT_HISTORY, 3, 0.60), (WITHOUT_HISTORY, 4, 0.70)];
/// Share of A/A comparisons without a single discovery.
const SILENT: f64 = 0.95;

/// The score of a rule at one number of rounds and one effect.
pub fn score<'a>(scores: &'a [Score], rule: &str, rounds: u32, effect: f64) -> &'a Score {
    let is_wanted = |s: &&Score| s.rule == rule && s.rounds == rounds && s.effect == effect;
    scores.iter().find(is_wanted).expect("every rule has a score for each")
}

/// The aims, each with whether `scores` and `adaptive` meet it.
pub fn evaluate_aims(scores: &[Score], adaptive: &[Adaptive]) -> Vec<Aim> {
    let mut aims = Vec::new();
    for rule in &RULES[..PAIRED_T] {
        aims.push(false_discovery(rule.name, scores.iter().filter(|s| s.rule == rule.name)));
    }
    aims.push(false_discovery("adaptive sampling", adaptive.iter().map(|a| &a.score)));
    for &(rule, rounds, least) in POWER {
        let name = RULES[rule].name;
        let power = score(scores, name, rounds, 0.05).power.expect("effects are there");
        aims.push(Aim {
            aim: format!("{name}: power at {rounds} rounds and 5 % at least {least:.2}"),
            met: power.value >= least,
            found: format!("{:.3} ± {:.3}", power.value, power.se),
        });
    }
    for rule in [WITH_HISTORY, WITHOUT_HISTORY] {
        aims.push(paired_t_aim(scores, RULES[rule].name));
    }
    for rule in DEFAULT_POLICY {
        aims.push(silence_aim(scores, RULES[rule].name));
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
    let is_judged = |s: &&Score| s.rounds >= ROUNDS_MIN && s.power.is_some();
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

/// Power at least that of the paired t-test, on the same data, wherever that test keeps its rate.
fn paired_t_aim(scores: &[Score], rule: &str) -> Aim {
    let paired_t = |s: &Score| score(scores, RULES[PAIRED_T].name, s.rounds, s.effect);
    let is_compared = |s: &&Score| {
        let keeps_rate = paired_t(s).false_discovery.value <= FALSE_DISCOVERY;
        s.rule == rule && s.rounds >= ROUNDS_MIN && s.effect > 0.0 && keeps_rate
    };
    let compared: Vec<&Score> = scores.iter().filter(is_compared).collect();
    let deficit = |s: &Score| {
        Mean::from_values(
            paired_t(s).powers.iter().zip(&s.powers).map(|(theirs, ours)| theirs - ours),
        )
    };
    aim_of_all(
        format!("{rule}: power never below the paired t-test's"),
        &compared,
        |s| deficit(s).value - 2.0 * deficit(s).se,
        |s| {
            let Mean { value, se } = deficit(s);
            format!("at least {:+.1} ± {:.1} points,", -value * 100.0, se * 100.0)
        },
    )
}

fn silence_aim(scores: &[Score], rule: &str) -> Aim {
    let is_without_effect =
        |s: &&Score| s.rule == rule && s.rounds >= ROUNDS_MIN && s.effect == 0.0;
    let without_effect: Vec<&Score> = scores.iter().filter(is_without_effect).collect();
    // A q of 5 % aims at just this share: it may be missed by two standard errors.
    let two_errors = |s: &Score| 2.0 * (SILENT * (1.0 - SILENT) / s.repetitions as f64).sqrt();
    let share = |s: &Score| s.silent as f64 / s.repetitions as f64;
    aim_of_all(
        format!("{rule}: nothing found in 95 of 100 comparisons without effects"),
        &without_effect,
        |s| SILENT - share(s) - two_errors(s),
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
