//! The findings as people read them.

use std::fmt::Write;

use crate::rules::{PAIRED_T, RULES, WITH_HISTORY, WITHOUT_HISTORY};
use crate::score::{Mean, Score};
use crate::{EFFECTS, Findings, ROUNDS, Report, Uneven, UnevenCause, aims};

const NAME: usize = 25;
const CELL: usize = 13;

pub fn text(report: &Report) -> String {
    let mut text = String::new();
    write(&mut text, report).expect("writing to a string does not fail");
    text
}

fn write(text: &mut String, report: &Report) -> std::fmt::Result {
    let Report { seed, repetitions, findings } = report;
    writeln!(text, "{repetitions} comparisons of each number of rounds, seed {seed}")?;
    match &findings[..] {
        [findings] => write_all(text, findings)?,
        many => write_briefly(text, many)?,
    }
    for findings in findings {
        writeln!(text, "\nAims, {}", findings.name)?;
        for aim in &findings.aims {
            let met_text = match (aim.met, aim.is_limit(&findings.name)) {
                (true, _) => "met    ",
                (false, true) => "limit  ",
                (false, false) => "NOT MET",
            };
            writeln!(text, "{met_text}  {} ({})", aim.aim, aim.found)?;
        }
    }
    Ok(())
}

fn percent(Mean { value, se }: Mean) -> String {
    format!("{:.1}±{:.1}", value * 100.0, se * 100.0)
}

fn line(text: &mut String, name: &str, cells: impl Iterator<Item = String>) -> std::fmt::Result {
    write!(text, "{name:<NAME$}")?;
    for cell in cells {
        write!(text, "{cell:>CELL$}")?;
    }
    writeln!(text)
}

/// The effect that the brief table shows.
const BRIEF_EFFECT: f64 = 0.02;

/// dyno's rules against zero and the paired t-test on each of the measurements.
fn write_briefly(text: &mut String, findings: &[Findings]) -> std::fmt::Result {
    let rules = || [WITH_HISTORY, WITHOUT_HISTORY, PAIRED_T].map(|rule| RULES[rule].name);
    let rounds = || ROUNDS.iter().copied().filter(|rounds| *rounds > 2);
    writeln!(
        text,
        "\nEffect of {} % in a fifth of the series: false discoveries ± Monte-Carlo error / power, %,\n\
         and below it, no effect anywhere: comparisons in which nothing was found",
        BRIEF_EFFECT * 100.0
    )?;
    for Findings { source, scores, uneven, .. } in findings {
        writeln!(text, "\n{source}")?;
        let heads = rounds().map(|rounds| rounds.to_string());
        line(text, "rounds", heads.chain(["adaptive".into(), "left out".into()]))?;
        for rule in rules() {
            let uneven_score = |cause, effect| {
                let is_wanted = |u: &&Uneven| {
                    u.cause == cause && u.score.rule == rule && u.score.effect == effect
                };
                uneven.iter().find(is_wanted).map(|u| &u.score)
            };
            for (name, effect) in [(rule, BRIEF_EFFECT), ("  silent", 0.0)] {
                let by_rounds = rounds().map(|r| Some(aims::score(scores, rule, r, effect)));
                let by_need = [UnevenCause::Adaptive, UnevenCause::LeftOut]
                    .map(|by| uneven_score(by, effect));
                let cell = |score: Option<&Score>| match (score, effect > 0.0) {
                    (None, _) => "-".into(),
                    (Some(score), true) => fdr_and_power(score),
                    (Some(score), false) => score.silent.to_string(),
                };
                line(text, name, by_rounds.chain(by_need).map(cell))?;
            }
        }
    }
    Ok(())
}

fn write_all(text: &mut String, findings: &Findings) -> std::fmt::Result {
    let Findings { source, series, scores, uneven, .. } = findings;
    writeln!(text, "{source}\n")?;
    line(text, "rounds", ROUNDS.iter().map(u32::to_string))?;
    line(text, "series in a comparison", series.iter().map(|(_, series)| series.to_string()))?;
    for effect in EFFECTS {
        writeln!(
            text,
            "\nEffect of {} % in a fifth of the series: false discoveries ± Monte-Carlo error / power, %",
            effect * 100.0
        )?;
        for rule in RULES {
            let text_of_rounds =
                |rounds: &u32| fdr_and_power(aims::score(scores, rule.name, *rounds, *effect));
            line(text, rule.name, ROUNDS.iter().map(text_of_rounds))?;
        }
    }
    writeln!(
        text,
        "\nNo effect anywhere: comparisons of {} in which nothing was found",
        scores[0].repetitions
    )?;
    for rule in RULES {
        let text_of_rounds =
            |rounds: &u32| aims::score(scores, rule.name, *rounds, 0.0).silent.to_string();
        line(text, rule.name, ROUNDS.iter().map(text_of_rounds))?;
    }
    for (cause, what) in [
        (
            UnevenCause::Adaptive,
            "Adaptive: 3 to 20 rounds, until the 95 % interval is within ±0.5 %",
        ),
        (
            UnevenCause::LeftOut,
            "Left out: of 6 rounds, each with a probability of a third; two stay",
        ),
    ] {
        writeln!(text, "\n{what}")?;
        let head = ["effect, %", "rounds", "FDR / power", "silent"];
        line(text, "", head.into_iter().map(String::from))?;
        for Uneven { mean_rounds, score, .. } in uneven.iter().filter(|u| u.cause == cause) {
            let cells = [
                format!("{}", score.effect * 100.0),
                format!("{:.1}", mean_rounds.value),
                fdr_and_power(score),
                score.silent.to_string(),
            ];
            line(text, score.rule, cells.into_iter())?;
        }
    }
    Ok(())
}

fn fdr_and_power(score: &Score) -> String {
    let power = score.power.map_or("-".into(), |power| format!("{:.0}", power.value * 100.0));
    format!("{}/{power}", percent(score.false_discovery))
}
