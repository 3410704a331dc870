//! The findings as people read them.

use std::fmt::Write;

use crate::rules::RULES;
use crate::score::{Mean, Score};
use crate::{EFFECTS, Findings, ROUNDS, aims};

const NAME: usize = 25;
const CELL: usize = 13;

pub fn text(findings: &Findings) -> String {
    let mut text = String::new();
    write(&mut text, findings).expect("writing to a string does not fail");
    text
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

fn write(text: &mut String, findings: &Findings) -> std::fmt::Result {
    let Findings { source, seed, repetitions, series, scores, adaptive, aims } = findings;
    writeln!(text, "Measurements: {source}")?;
    writeln!(text, "{repetitions} comparisons of each number of rounds, seed {seed}\n")?;
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
        "\nNo effect anywhere: comparisons of {repetitions} in which nothing was found"
    )?;
    for rule in RULES {
        let text_of_rounds =
            |rounds: &u32| aims::score(scores, rule.name, *rounds, 0.0).silent.to_string();
        line(text, rule.name, ROUNDS.iter().map(text_of_rounds))?;
    }
    writeln!(text, "\nAdaptive: 3 to 20 rounds, until the 95 % interval is within ±0.5 %")?;
    let head = ["effect, %", "rounds", "FDR / power", "silent"];
    line(text, "", head.into_iter().map(String::from))?;
    for part in adaptive {
        let score = &part.score;
        let cells = [
            format!("{}", score.effect * 100.0),
            format!("{:.1}", part.mean_rounds.value),
            fdr_and_power(score),
            score.silent.to_string(),
        ];
        line(text, score.rule, cells.into_iter())?;
    }
    writeln!(text, "\nAims")?;
    for aim in aims {
        let met_text = if aim.met { "met    " } else { "NOT MET" };
        writeln!(text, "{met_text}  {} ({})", aim.aim, aim.found)?;
    }
    Ok(())
}

fn fdr_and_power(score: &Score) -> String {
    let power = score.power.map_or("-".into(), |power| format!("{:.0}", power.value * 100.0));
    format!("{}/{power}", percent(score.false_discovery))
}
