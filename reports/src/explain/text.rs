//! An explanation for a terminal: from the rounds to the verdict, then the SQL.

use std::fmt::Write as _;

use dyno_model::catalog::policy::Gate;
use dyno_model::stats::Variance;
use unicode_width::UnicodeWidthStr;

use super::{EstimateView, Explained, Family, NoiseView, Pair, RuleView};
use crate::escape::{line, lines};
use crate::number;
use crate::text::{Terminal, wrap};
use crate::words::many;

/// The explanation as text no wider than the terminal, but for SQL, which must stay as it is.
pub fn text(explained: &Explained, terminal: Terminal) -> String {
    let row = &explained.row;
    let mut out = String::new();
    let mut say = |text: &str| {
        for text in wrap(text, terminal.width, "") {
            let _ = writeln!(out, "{text}");
        }
    };
    say(&format!("{} ({})", row.series, explained.title));
    say(&format!("{} {}: {}.", row.mark, row.shown, row.why));
    for beside in &row.beside {
        say(&format!("Beside it: {}.", beside.text));
    }
    let mut section = |head: &str, body: Vec<String>| {
        let _ = writeln!(out, "\n{}", terminal.paint("1", head));
        for text in body.iter().flat_map(|text| wrap(text, terminal.width, "  ")) {
            let _ = writeln!(out, "{text}");
        }
    };
    section("Rounds: d = ln(candidate ÷ baseline)", rounds(&explained.rounds));
    if let Some(noise) = &explained.noise {
        section("Noise: the variance of d in one round", noise_lines(noise));
    }
    if let Some(estimate) = &explained.estimate {
        section("Effect and test", estimate_lines(estimate, row, &explained.family));
    }
    section("The rule that holds", rule_lines(&explained.rule));
    let head = format!("The SQL, for dyno sql --policy {}", line(&explained.rule.policy));
    let _ = writeln!(out, "\n{}", terminal.paint("1", &head));
    for query in &explained.queries {
        let _ = writeln!(out, "\n-- {}\n{};", query.what, lines(&query.sql));
    }
    out
}

/// A prior with more degrees of freedom than this is as good as certain.
const CERTAIN: f64 = 1e5;

/// A number of the log scale as a percentage, with digits that a small one keeps.
fn percent(value: f64) -> String {
    format!("{:+.3} %", value * 100.0).replace('-', "−")
}

/// `1.235e-5`.
fn variance(value: f64) -> String {
    format!("{value:.3e}")
}

fn rounds(pairs: &[Pair]) -> Vec<String> {
    let several = pairs.iter().any(|pair| pair.job != pairs[0].job);
    let mut rows = vec![["job", "round", "first", "baseline", "candidate", "d"].map(String::from)];
    rows.extend(pairs.iter().map(|pair| {
        [
            pair.job.clone(),
            pair.round.to_string(),
            pair.first.to_string(),
            pair.baseline_text.clone(),
            pair.candidate_text.clone(),
            pair.d.map_or("–".to_string(), percent),
        ]
    }));
    let first = usize::from(!several);
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let notes = |row: usize| match row.checked_sub(1).map(|at| &pairs[at].notes) {
        Some(notes) if !notes.is_empty() => format!("  {}: left out", notes.join(", ")),
        _ => String::new(),
    };
    let print = |(index, row): (usize, &[String; 6])| {
        let cell = |column: usize| {
            let pad = " ".repeat(widths[column] - row[column].width());
            match column {
                // Words stand left, numbers right.
                0 | 2 => format!("{}{pad}", row[column]),
                _ => format!("{pad}{}", row[column]),
            }
        };
        let cells: Vec<String> = (first..6).map(cell).collect();
        format!("{}{}", cells.join("  "), notes(index))
    };
    rows.iter().enumerate().map(print).collect()
}

fn noise_lines(noise: &NoiseView) -> Vec<String> {
    let of = |name: &str, variance_of: Variance, what: &str| {
        format!(
            "{name} {} (standard deviation {:.3} %), {} degrees of freedom{what}",
            variance(variance_of.value),
            variance_of.value.sqrt() * 100.0,
            if variance_of.df < CERTAIN { number::freedom(variance_of.df) } else { "∞".into() }
        )
    };
    let rounding = match noise.run_is_rounding {
        true => ": the rounds vary by less than rounding to whole units does, which is taken",
        false => "",
    };
    let mut all = vec![of("this run    s² =", noise.run, rounding)];
    let past = format!(
        "{} with {} degrees of freedom",
        many(noise.past_runs as usize, "past run"),
        number::freedom(noise.past_df)
    );
    let up_to = number::freedom(noise.history_fills_to);
    match noise.history {
        Some(history) => {
            let what = format!(": {past} fill up those of this run to {up_to} at most");
            all.push(of("history  s_h² =", history, &what));
            all.push(of("both     s_p² =", noise.pooled, ""));
        }
        None if noise.past_df > 0.0 => all.push(format!(
            "history        none: {past}, but this run has the {up_to} up to which they count"
        )),
        None => all.push("history        none: no past run on this machine as it is".to_string()),
    }
    match noise.crowd {
        Some(crowd) => {
            let alike = match crowd.df >= CERTAIN {
                true => "; they differ by no more than chance",
                false => "",
            };
            let what = format!(", fitted to the metric's series on this host{alike}");
            all.push(of("crowd    s_0² =", crowd, &what));
        }
        None => all.push("crowd          none: fewer than three series that vary".to_string()),
    }
    let lent = number::freedom(noise.used.df - noise.pooled.df);
    let what = match (noise.floor_holds, noise.crowd) {
        (true, Some(_)) => format!(
            ": the floor {}, since moderated it would be {}, below that; where it holds the crowd \
             counts for less, here for {lent}",
            noise.floor_is,
            variance(noise.moderated)
        ),
        (true, None) => format!(
            ": the floor {}, since without it it would be {}",
            noise.floor_is,
            variance(noise.moderated)
        ),
        (false, Some(crowd)) => {
            let capped = noise.used.df < noise.pooled.df + crowd.df;
            let all = if capped { ", all that its rounds have together" } else { "" };
            let floor = variance(noise.floor);
            format!(
                ": moderated, the crowd counting for {lent}{all}; above the floor {} = {floor}",
                noise.floor_is
            )
        }
        (false, None) if noise.history.is_none() => ": s² itself".to_string(),
        (false, None) => {
            format!(": above the floor {} = {}", noise.floor_is, variance(noise.floor))
        }
    };
    all.push(of("used      s̃² =", noise.used, &what));
    all
}

fn estimate_lines(e: &EstimateView, row: &crate::view::Row, family: &Family) -> Vec<String> {
    let mut all = vec![format!(
        "mean        d̄ = {} over {}; effect = exp(d̄) − 1 = {}",
        percent(e.mean),
        many(e.rounds as usize, "round"),
        row.effect.as_ref().map_or("–", |effect| &effect.text)
    )];
    let confidence = number::percent(e.confidence);
    if family.is_in {
        all.push(format!(
            "interval       standard error s̃/√n = {:.4} %, t = {:.3} at {confidence}: d̄ ± {:.4} %, \
             which is {}",
            e.standard_error * 100.0,
            e.quantile,
            e.half_width * 100.0,
            row.effect.as_ref().map_or("–", |effect| &effect.interval)
        ));
    }
    all.push(format!("δ              {} ({} of d)", row.delta, percent(e.delta).replace('+', "±")));
    if !family.is_in {
        all.push("counted once: no variance, no test; the effect is what was counted".to_string());
        return all;
    }
    all.push(format!(
        "p              {}: of so large a mean, if the true effect were no larger than δ",
        number::probability(e.p)
    ));
    let decide = if family.decides { "decide" } else { "do not decide" };
    all.push(format!(
        "q              {}, adjusted over {}, those that {decide} ({})",
        e.q.map_or("–".to_string(), number::probability),
        many(family.series, "series"),
        family.procedure
    ));
    all.push(match e.sign_flip_p {
        Some(p) => format!(
            "cross-check    p {} by flipping signs, exactly; {} is the least that {} can give",
            number::probability(p),
            number::probability(f64::exp2(1.0 - f64::from(e.rounds))),
            many(e.rounds as usize, "round")
        ),
        None => "cross-check    none: flipping signs is exact up to 15 rounds".to_string(),
    });
    if let Some(effect) = e.detectable {
        all.push(format!(
            "detectable     an effect of {} would be found four times in five, before q is adjusted",
            number::percent((effect * 1e5).round() / 1e5)
        ));
    }
    if let Some(rounds) = e.rounds_needed {
        all.push(format!("to settle it   about {} in all", many(rounds as usize, "round")));
    }
    all
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
        format!("decides        {decides} ({})", rule.decides_because),
        format!("tier           {tier}"),
    ]
}
