//! An explanation for a terminal: from the rounds to the verdict, then the SQL.

use std::fmt::Write as _;

use dyno_model::catalog::policy::Gate;
use dyno_model::stats::Variance;
use dyno_model::verdict::PParts;
use unicode_width::UnicodeWidthStr;

use super::{EstimateView, Explanation, Family, NoiseView, Pair, RuleView, left_out};
use crate::escape::{line, lines};
use crate::terminal::{Terminal, wrap};
use crate::words::plural;
use crate::{commands, number};

/// The explanation as text no wider than the terminal, but for SQL, which must stay as it is.
pub fn text(explained: &Explanation, terminal: Terminal) -> String {
    let row = &explained.row;
    let mut out = String::new();
    out.push_str(&terminal.paragraph(&format!("{} ({})", row.series, explained.title)));
    out.push_str(&terminal.paragraph(&format!("{} {}: {}.", row.mark, row.shown, row.why)));
    if let Some(disturbed) = &row.disturbed {
        let (side, text) = (disturbed.side, &disturbed.text);
        out.push_str(&terminal.paragraph(&format!("Disturbance comes with the {side}: {text}.")));
    }
    if let Some(states) = &row.states {
        out.push_str(&terminal.paragraph(&format!("Values in states: {}.", states.text)));
    }
    for beside in &row.beside {
        out.push_str(&terminal.paragraph(&format!("Same case: {}.", beside.text)));
    }
    let mut section = |heading: &str, body: Vec<String>| {
        let _ = writeln!(out, "\n{}", terminal.paint("1", heading));
        for text in body.iter().flat_map(|text| wrap(text, terminal.width, "  ")) {
            let _ = writeln!(out, "{text}");
        }
    };
    section(
        "Rounds: change = candidate ÷ baseline − 1, d = ln(candidate ÷ baseline)",
        round_lines(&explained.rounds),
    );
    if let Some(noise) = &explained.noise {
        section("Noise: the variance of d in one round", noise_lines(noise));
    }
    if let Some(estimate) = &explained.estimate {
        section("Effect and test", estimate_lines(estimate, row, &explained.family));
    }
    section("The rule that holds", rule_lines(&explained.rule));
    let shell = commands::sql_shell(&line(&explained.rule.policy));
    let heading = format!("The SQL, for {shell}");
    let _ = writeln!(out, "\n{}", terminal.paint("1", &heading));
    for query in &explained.queries {
        let _ = writeln!(out, "\n-- {}\n{};", query.what, lines(&query.sql));
    }
    out
}

/// A prior with more degrees of freedom than this is as good as certain.
const CERTAIN: f64 = 1e5;

/// A number of the log scale, which is no percentage.
fn logarithm(value: f64) -> String {
    format!("{value:+.5}").replace('-', "−")
}

/// The relative change that a number of the log scale stands for.
fn change(d: f64) -> String {
    format!("{:+.2} %", d.exp_m1() * 100.0).replace('-', "−")
}

/// `1.235e-5`.
fn scientific(value: f64) -> String {
    format!("{value:.3e}")
}

fn round_lines(pairs: &[Pair]) -> Vec<String> {
    let several = pairs.iter().any(|pair| pair.job != pairs[0].job);
    let mut rows =
        vec![["job", "round", "first", "baseline", "candidate", "change", "d"].map(String::from)];
    rows.extend(pairs.iter().map(|pair| {
        [
            pair.job.clone(),
            pair.round.to_string(),
            pair.first.to_string(),
            pair.baseline_text.clone(),
            pair.candidate_text.clone(),
            pair.d.map_or("–".to_string(), change),
            pair.d.map_or("–".to_string(), logarithm),
        ]
    }));
    let first = usize::from(!several);
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let notes =
        |row: usize| row.checked_sub(1).map_or(String::new(), |at| left_out::remark(&pairs[at]));
    let print = |(index, row): (usize, &[String; 7])| {
        let cell = |column: usize| {
            let pad = " ".repeat(widths[column] - row[column].width());
            match column {
                // Words stand left, numbers right.
                0 | 2 => format!("{}{pad}", row[column]),
                _ => format!("{pad}{}", row[column]),
            }
        };
        let cells: Vec<String> = (first..7).map(cell).collect();
        format!("{}{}", cells.join("  "), notes(index))
    };
    rows.iter().enumerate().map(print).chain(left_out::sentences(pairs)).collect()
}

fn noise_lines(noise: &NoiseView) -> Vec<String> {
    let rounding = match noise.run_is_rounding {
        true => ": the rounds vary by less than rounding to whole units does, which is taken",
        false => "",
    };
    let mut lines = vec![variance_line("this run    s² =", noise.run, rounding)];
    lines.extend(history_lines(noise));
    lines.push(peer_prior_line(noise.peer_prior));
    lines.push(variance_line("used      s̃² =", noise.used, &used_because(noise)));
    lines
}

/// A variance with its name, its degrees of freedom and a remark.
fn variance_line(name: &str, variance: Variance, remark: &str) -> String {
    format!(
        "{name} {} (standard deviation {:.5}), {} degrees of freedom{remark}",
        scientific(variance.value),
        variance.value.sqrt(),
        if variance.df < CERTAIN { number::freedom(variance.df) } else { "∞".into() }
    )
}

/// The variance of past runs, and what it comes to with that of the run.
fn history_lines(noise: &NoiseView) -> Vec<String> {
    let past = format!(
        "{} with {} degrees of freedom",
        plural(noise.past_runs as usize, "past run"),
        number::freedom(noise.past_df)
    );
    let up_to = number::freedom(noise.history_fills_to);
    match noise.history {
        Some(history) => {
            let remark = format!(": of {past}; they fill up those of this run to {up_to} at most");
            vec![
                variance_line("history  s_h² =", history, &remark),
                variance_line("both     s_p² =", noise.pooled, ""),
            ]
        }
        None if noise.past_df > 0.0 => vec![format!(
            "history        none: {past}, but this run has the {up_to} up to which they count"
        )],
        None => vec!["history        none: no past run on this machine as it is".to_string()],
    }
}

/// The prior from the other series of the metric on this host.
fn peer_prior_line(peer_prior: Option<Variance>) -> String {
    let Some(prior) = peer_prior else {
        return "prior          none: fewer than three series that vary".to_string();
    };
    let alike = match prior.df >= CERTAIN {
        true => "; they differ by no more than chance",
        false => "",
    };
    let remark = format!(", fitted to the metric's series on this host{alike}");
    variance_line("prior    s_0² =", prior, &remark)
}

/// The reason why the variance that is used is what it is.
fn used_because(noise: &NoiseView) -> String {
    let df_added = number::freedom(noise.used.df - noise.pooled.df);
    match (noise.floor_holds, noise.peer_prior) {
        (true, Some(_)) => format!(
            ": {}, the least that is ever taken; with the prior it would come out as {}, and so the \
             prior adds only {df_added} degrees of freedom",
            noise.floor_is,
            scientific(noise.moderated)
        ),
        (true, None) => format!(
            ": {}, the least that is ever taken; without that rule it would be {}",
            noise.floor_is,
            scientific(noise.moderated)
        ),
        (false, Some(prior)) => {
            let is_capped = noise.used.df < noise.pooled.df + prior.df;
            let together = if is_capped { ", all that its rounds have together" } else { "" };
            let floor = scientific(noise.floor);
            format!(
                ": run and prior together, which adds {df_added} degrees of freedom{together}; more than {} = \
                 {floor}, the least that is ever taken",
                noise.floor_is
            )
        }
        (false, None) if noise.history.is_none() => ": s² itself".to_string(),
        (false, None) => {
            format!(
                ": more than {} = {}, the least that is ever taken",
                noise.floor_is,
                scientific(noise.floor)
            )
        }
    }
}

fn estimate_lines(e: &EstimateView, row: &crate::view::Row, family: &Family) -> Vec<String> {
    let mut lines = vec![format!(
        "mean        d̄ = {} over {}; effect = exp(d̄) − 1 = {}",
        logarithm(e.mean),
        plural(e.rounds as usize, "round"),
        row.effect.as_ref().map_or("–", |effect| &effect.text)
    )];
    let confidence = number::percent(e.confidence);
    if family.is_in {
        lines.push(format!(
            "interval       standard error s̃/√n = {:.5}, t = {:.3} at {confidence}: d̄ ± {:.5}, \
             which is {}",
            e.standard_error,
            e.quantile,
            e.half_width,
            row.effect.as_ref().map_or("–", |effect| &effect.interval)
        ));
    }
    lines.push(format!(
        "δ              {} ({} of d)",
        row.delta,
        logarithm(e.delta).replace('+', "±")
    ));
    if !family.is_in {
        lines
            .push("counted once: no variance, no test; the effect is what was counted".to_string());
        return lines;
    }
    lines.push(format!(
        "p              {}: of so large a mean, if the true effect were no larger than δ",
        number::probability(e.p)
    ));
    lines.extend(e.p_parts.map(p_parts_line));
    let can = if family.decides { "can" } else { "cannot" };
    lines.push(format!(
        "q              {}, adjusted over {}, those that {can} change the conclusion ({})",
        e.q.map_or("–".to_string(), number::probability),
        plural(family.series, "series"),
        family.procedure
    ));
    lines.push(match e.sign_flip_p {
        Some(p) => format!(
            "cross-check    p {} by flipping signs, exactly; {} is the least that {} can give",
            number::probability(p),
            number::probability(f64::exp2(1.0 - f64::from(e.rounds))),
            plural(e.rounds as usize, "round")
        ),
        None => "cross-check    none: flipping signs is exact up to 15 rounds".to_string(),
    });
    if let Some(effect) = e.detectable {
        lines.push(format!(
            "detectable     an effect of {} would be found four times in five, before q is adjusted",
            number::percent((effect * 1e5).round() / 1e5)
        ));
    }
    if let Some(rounds) = e.rounds_needed {
        lines.push(format!("to settle it   about {} in all", plural(rounds as usize, "round")));
    }
    lines
}

/// Where p comes from.
fn p_parts_line(parts: PParts) -> String {
    let accident = match parts.accident {
        accident if accident < 1e-4 => String::new(),
        accident => format!(
            ", and {} for pairs that straddle two states by accident",
            number::probability(accident)
        ),
    };
    format!(
        "               the harmonic mean of {} (the prior taken as inverse χ²) and {} (as \
         log-normal){accident}",
        number::probability(parts.inverse_chi_squared),
        number::probability(parts.log_normal)
    )
}

fn rule_lines(rule: &RuleView) -> Vec<String> {
    let tier = match (rule.tier, &rule.tier_from) {
        (Gate::Informs, Some(from)) => format!("inform ({from})"),
        (Gate::Informs, None) => "inform".to_string(),
        (Gate::Counts, _) => "gate".to_string(),
    };
    let decides = if rule.decides { "yes" } else { "no" };
    vec![
        format!("policy         {}, q at most {}", rule.policy, rule.q),
        format!(
            "δ              {} ({})",
            number::percent(rule.smallest_effect),
            rule.smallest_effect_from
        ),
        format!("gates          {decides} ({})", rule.decides_because),
        format!("tier           {tier}"),
    ]
}
