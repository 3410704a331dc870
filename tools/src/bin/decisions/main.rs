//! The decision benchmark: how often dyno's verdicts, and its peers', are right.
//!
//! Comparisons are made of real measurements in which nothing differs ([`data`]); a fifth of the
//! series get an effect; each rule ([`rules`]) says what it finds; what it found is counted
//! ([`score`]) and held against the aims ([`aims`]). docs/decisions.md tells the whole and has the
//! figures.
//!
//! cargo run -p dyno-tools --bin decisions

mod aims;
mod conflicts;
mod data;
mod method;
mod rules;
mod score;
mod table;

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use clap::Parser;
use dyno_model::stats::{self, Variance};
use serde::Serialize;

use crate::aims::Aim;
use crate::data::{Cell, Placement, Series};
use crate::rules::{RULES, Rule};
use crate::score::{Mean, Outcome, Score, outcome};

/// Rounds of a series.
const ROUNDS: &[u32] = &[2, 3, 4, 5, 8, 10, 20];
/// Effects in a fifth of the series.
const EFFECTS: &[f64] = &[0.01, 0.02, 0.05];
/// Adaptive sampling goes on until the interval's half-width is below this, half of δ …
const HALF_WIDTH: f64 = 0.005;
/// … and for so many rounds.
const ADAPTIVE: std::ops::RangeInclusive<usize> = 3..=20;
/// Cells made up where there is no file.
const GENERATED: usize = 483;

/// How often dyno's verdicts, and its peers', are right: false-discovery rate and power on real
/// measurements in which nothing differs but what was put there.
#[derive(Debug, Parser)]
struct Arguments {
    /// The measurements [default: shared/data/sandmark-turing.parquet next to the repository, and
    /// made-up ones where that is absent]
    data: Option<PathBuf>,
    /// Comparisons of each number of rounds
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// Series of a comparison, chosen at random [default: all]
    #[arg(long, value_parser = clap::value_parser!(u32).range(5..))]
    series: Option<u32>,
    /// Another seed gives other comparisons
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Use made-up measurements
    #[arg(long, conflicts_with = "data")]
    generated: bool,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn most(&self) -> usize {
        self.series.map_or(usize::MAX, |series| series as usize)
    }
}

/// Where the measurements come from, and what was made of them.
#[derive(Debug, Serialize)]
struct Findings {
    source: String,
    seed: u64,
    repetitions: u32,
    /// Rounds → series that have enough nights.
    series: Vec<(u32, usize)>,
    scores: Vec<Score>,
    adaptive: Vec<Adaptive>,
    aims: Vec<Aim>,
}

/// What adaptive sampling spends and finds.
#[derive(Debug, Serialize)]
struct Adaptive {
    mean_rounds: Mean,
    #[serde(flatten)]
    score: Score,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let findings = match find(&arguments) {
        Ok(findings) => findings,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let text = match arguments.json {
        true => serde_json::to_string_pretty(&findings).expect("plain fields serialise"),
        false => table::text(&findings),
    };
    // A reader that went away has read enough.
    let _ = writeln!(std::io::stdout(), "{text}");
    match findings.aims.iter().all(|aim| aim.met) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn find(arguments: &Arguments) -> Result<Findings, Box<dyn Error>> {
    let (cells, source) = measurements(arguments)?;
    let series_with = |rounds: &u32| {
        let nights = 2 * *rounds as usize;
        let count = cells.iter().filter(|cell| cell.nights.len() >= nights).count();
        (*rounds, count.min(arguments.most()))
    };
    let series: Vec<(u32, usize)> = ROUNDS.iter().map(series_with).collect();
    if let Some((rounds, has)) = series.iter().find(|(_, series)| *series < 5) {
        return Err(format!("{source}: {has} series have {rounds} rounds; 5 are needed").into());
    }
    let scores = score_fixed_rounds(&cells, arguments);
    let adaptive = score_adaptive(&cells, arguments);
    let mut aims = aims::evaluate_aims(&scores, &adaptive);
    aims.extend(conflicts::aims(&cells, arguments));
    let Arguments { seed, repetitions, .. } = *arguments;
    Ok(Findings { source, seed, repetitions, series, scores, adaptive, aims })
}

fn measurements(arguments: &Arguments) -> Result<(Vec<Cell>, String), Box<dyn Error>> {
    // Cargo says where it runs this from; a target folder shared by two clones may hold the
    // other's.
    let manifest_folder = std::env::var_os("CARGO_MANIFEST_DIR");
    let shared_data =
        Path::new(manifest_folder.as_deref().unwrap_or(env!("CARGO_MANIFEST_DIR").as_ref()))
            .join("../../shared/data/sandmark-turing.parquet")
            .canonicalize();
    let data_file = match (&arguments.data, shared_data) {
        (Some(path), _) => Some(path.clone()),
        (None, Ok(path)) if !arguments.generated => Some(path),
        _ => None,
    };
    let Some(path) = data_file else {
        let source = format!("{GENERATED} made-up cells (heavy tails, drift), not measurements");
        return Ok((data::generate(arguments.seed, GENERATED), source));
    };
    let cells = data::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let name = path.file_name().unwrap_or_default().display().to_string();
    let nights: usize = cells.iter().map(|cell| cell.nights.len()).sum();
    let source = format!("{name}: {nights} measurements in {} cells", cells.len());
    Ok((cells, source))
}

/// A fixed number of rounds: every rule, without effects (A/A) and with each.
fn score_fixed_rounds(cells: &[Cell], arguments: &Arguments) -> Vec<Score> {
    let repetitions = arguments.repetitions as usize;
    let draw = |placed: Placement, rounds: u32, repetition: usize| {
        let purpose = [placed as u64, rounds.into(), repetition as u64];
        let mut random = data::random(arguments.seed, &purpose);
        data::draw(cells, rounds as usize, arguments.most(), placed, &mut random)
    };
    let compare_once = |index: usize| -> (usize, Vec<(f64, Vec<Outcome>)>) {
        let (rounds, repetition) = (ROUNDS[index / repetitions], index % repetitions);
        let by_rule = |series: &[Series]| -> Vec<Outcome> {
            let outcome_of = |rule: &Rule| outcome(series, &(rule.calls)(series), rule.smallest);
            RULES.iter().map(outcome_of).collect()
        };
        let without = data::with_effect(&draw(Placement::Scattered, rounds, repetition), 0.0);
        let mut outcomes_by_effect = vec![(0.0, by_rule(&without))];
        let drawn = draw(Placement::InAStretch, rounds, repetition);
        outcomes_by_effect
            .extend(EFFECTS.iter().map(|e| (*e, by_rule(&data::with_effect(&drawn, *e)))));
        (drawn.len(), outcomes_by_effect)
    };
    let comparisons = in_parallel("comparisons", ROUNDS.len() * repetitions, compare_once);
    let mut scores = Vec::new();
    for (of_rounds, rounds) in comparisons.chunks(repetitions).zip(ROUNDS) {
        for (e, (effect, _)) in of_rounds[0].1.iter().enumerate() {
            for (r, Rule { name, .. }) in RULES.iter().enumerate() {
                let outcomes: Vec<Outcome> = of_rounds
                    .iter()
                    .map(|(_, outcomes_by_effect)| outcomes_by_effect[e].1[r])
                    .collect();
                scores.push(Score::new(name, *rounds, *effect, of_rounds[0].0, &outcomes));
            }
        }
    }
    scores
}

/// Rounds until the interval is narrow enough; then dyno's rule decides.
fn score_adaptive(cells: &[Cell], arguments: &Arguments) -> Vec<Adaptive> {
    let rules = &RULES[..rules::PAIRED_T];
    let compare_once = |index: usize| -> (usize, Vec<(f64, Vec<Outcome>)>) {
        let mut random = data::random(arguments.seed, &[index as u64]);
        let drawn = data::draw(
            cells,
            *ADAPTIVE.end(),
            arguments.most(),
            Placement::InAStretch,
            &mut random,
        );
        let by_rule = |effect: &f64| {
            let mut series = data::with_effect(&drawn, *effect);
            for series in &mut series {
                series.rounds.truncate(rounds_until_narrow(series));
            }
            let spent: usize = series.iter().map(|series| series.rounds.len()).sum();
            let outcome = |rule: &Rule| outcome(&series, &(rule.calls)(&series), rule.smallest);
            (spent as f64 / series.len() as f64, rules.iter().map(outcome).collect())
        };
        (drawn.len(), EFFECTS.iter().map(by_rule).collect())
    };
    let comparisons =
        in_parallel("adaptive comparisons", arguments.repetitions as usize, compare_once);
    let mut results = Vec::new();
    for (e, effect) in EFFECTS.iter().enumerate() {
        let mean_rounds = Mean::from_values(comparisons.iter().map(|(_, effects)| effects[e].0));
        for (r, rule) in rules.iter().enumerate() {
            let outcomes: Vec<Outcome> =
                comparisons.iter().map(|(_, effects)| effects[e].1[r]).collect();
            let most = *ADAPTIVE.end() as u32;
            let score = Score::new(rule.name, most, *effect, comparisons[0].0, &outcomes);
            results.push(Adaptive { mean_rounds, score });
        }
    }
    results
}

/// The first number of rounds at which the run's own 95 % interval is narrow enough, or all.
fn rounds_until_narrow(series: &Series) -> usize {
    let d = rules::log_ratios(&series.rounds);
    let is_narrow = |rounds: &usize| {
        let moments = stats::moments(&d[..*rounds]).expect("rounds");
        let value = moments.variance.expect("two rounds or more");
        let variance = Variance { value, df: f64::from(moments.n) - 1.0 };
        stats::estimate(moments.n, moments.mean, variance, 0.0, 0.95).half_width < HALF_WIDTH
    };
    ADAPTIVE.into_iter().find(is_narrow).unwrap_or(*ADAPTIVE.end())
}

/// `work(0..count)` on all cores, in order, with progress on standard error.
fn in_parallel<T: Send>(what: &str, count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let (send, receive) = mpsc::channel();
    let mut results: Vec<Option<T>> = (0..count).map(|_| None).collect();
    let is_terminal = std::io::stderr().is_terminal();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let (send, next, work) = (send.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || send.send((index, work(index))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        for (finished, (index, result)) in receive.into_iter().enumerate() {
            results[index] = Some(result);
            let finished = finished + 1;
            match is_terminal {
                true => eprint!("\r{finished} of {count} {what}"),
                false if finished % count.div_ceil(10) == 0 => {
                    eprintln!("{finished} of {count} {what}")
                }
                false => {}
            }
        }
    });
    if is_terminal {
        eprint!("\r\x1b[K");
    }
    results.into_iter().map(|result| result.expect("every piece of work was done")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Arguments {
        Arguments::parse_from(std::iter::once("decisions").chain(text.split_whitespace()))
    }

    /// The whole benchmark, small: what is asked for is there, twice the same, and sound.
    #[test]
    fn the_benchmark_runs_on_made_up_measurements() {
        let found = |seed: u32| {
            find(&arguments(&format!("--generated --series 60 --repetitions 3 --seed {seed}")))
                .unwrap()
        };
        let findings = found(1);
        assert!(findings.source.contains("made-up"), "{}", findings.source);
        assert_eq!(findings.scores.len(), ROUNDS.len() * (EFFECTS.len() + 1) * RULES.len());
        let counts = |score: &Score| {
            let rule = RULES.iter().find(|rule| rule.name == score.rule).unwrap();
            rule.smallest.counts(score.effect)
        };
        for score in &findings.scores {
            assert!((0.0..=1.0).contains(&score.false_discovery.value), "{score:?}");
            assert_eq!(score.power.is_some(), counts(score), "{score:?}");
        }
        let shares = |findings: &Findings| serde_json::to_string(&findings.scores).unwrap();
        assert_eq!(shares(&findings), shares(&found(1)), "one seed, one result");
        assert_ne!(shares(&findings), shares(&found(2)));
        // Rules differ as they must: one looks at medians alone, one controls false discoveries.
        let at =
            |rule: usize, rounds| aims::score(&findings.scores, RULES[rule].name, rounds, 0.05);
        let score_of_history = at(RULES.len() - 1, 3);
        let dyno = at(rules::WITH_HISTORY, 3);
        assert!(score_of_history.power.unwrap().value > 0.9);
        assert!(score_of_history.false_discovery.value > 2.0 * dyno.false_discovery.value);
    }

    #[test]
    fn sampling_goes_on_until_it_is_narrow() {
        let quiet = [(1_000_000, 1_000_100), (1_000_000, 999_900), (1_000_000, 1_000_050)];
        let restless: Vec<data::Round> =
            (0..20).map(|i| (1000, if i % 2 == 0 { 1100 } else { 900 })).collect();
        for (rounds, needed) in [(quiet.repeat(7), 3), (restless, 20)] {
            let series =
                Series { rounds, truth: 0.0, past: vec![], other_nights: [vec![], vec![]] };
            assert_eq!(rounds_until_narrow(&series), needed);
        }
    }
}
