//! The decision benchmark: how often dyno's verdicts, and its peers', are right.
//!
//! Comparisons are made of real measurements in which nothing differs ([`data`]), and of made-up ones
//! of several shapes of noise ([`shapes`]); a fifth of the series get an effect; each rule ([`rules`]) says what it finds; what it found is counted
//! ([`score`]) and held against the aims ([`aims`]). docs/decisions.md tells the whole and has the
//! figures.
//!
//! cargo run -p dyno-tools --bin decisions

mod aims;
mod conflicts;
mod data;
mod equivalence;
mod method;
mod rules;
mod score;
mod shapes;
mod table;

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use clap::{Parser, ValueEnum as _};
use dyno_model::stats::{self, Variance};
use rand::Rng as _;
use rand_pcg::Pcg64;
use serde::Serialize;

use crate::aims::Aim;
use crate::data::{Cell, Placement, Series};
use crate::rules::{RULES, Rule};
use crate::score::{Mean, Outcome, Score, outcome};
use crate::shapes::Shape;

/// Rounds of a series.
const ROUNDS: &[u32] = &[2, 3, 4, 5, 8, 10, 20];
/// Effects in a fifth of the series.
const EFFECTS: &[f64] = &[0.01, 0.02, 0.05];
/// Adaptive sampling goes on until the interval's half-width is below this, half of δ …
const HALF_WIDTH: f64 = 0.005;
/// … and for so many rounds.
const ADAPTIVE: std::ops::RangeInclusive<usize> = 3..=20;
/// The rounds of a series of which each is left out …
const PLANNED: usize = 6;
/// … with this probability, as if it was disturbed; two stay.
const LEFT_OUT: f64 = 1.0 / 3.0;
/// Cells of a shape …
const GENERATED: usize = 1932;
/// … of which each comparison has so many, chosen at random: with the same in each, one unlucky cell
/// would be so in all of them.
const COMPARED: usize = 483;

/// How often dyno's verdicts, and its peers', are right: false-discovery rate and power on real
/// measurements in which nothing differs but what was put there.
#[derive(Debug, Parser)]
struct Arguments {
    /// The measurements, alone [default: shared/data/sandmark-turing.parquet next to the repository
    /// if it is there, and all made-up ones]
    data: Option<PathBuf>,
    /// Comparisons of each number of rounds
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// Series of a comparison, chosen at random [default: all of a file, 483 made-up ones]
    #[arg(long, value_parser = clap::value_parser!(u32).range(5..))]
    series: Option<u32>,
    /// Another seed gives other comparisons
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Made-up measurements alone, of all shapes or of these
    #[arg(long, conflicts_with = "data", value_name = "SHAPE", num_args = 0.., value_delimiter = ',')]
    generated: Option<Vec<Shape>>,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// The findings on all measurements.
#[derive(Debug, Serialize)]
struct Report {
    seed: u64,
    repetitions: u32,
    findings: Vec<Findings>,
}

/// Measurements of one machine, or of one shape, and the comparisons that are made of them.
struct Measurements {
    name: String,
    source: String,
    cells: Vec<Cell>,
    /// The most series of a comparison.
    most: usize,
    repetitions: usize,
    seed: u64,
}

impl Measurements {
    /// A comparison of identical commits; see [`data::draw`].
    fn draw(&self, rounds: u32, placed: Placement, random: &mut Pcg64) -> Vec<Series> {
        data::draw(&self.cells, rounds as usize, self.most, placed, random)
    }

    /// What `compare` finds in each comparison of each number of rounds that aims are for. `purpose`
    /// is one of its own: what is drawn elsewhere stays what it is.
    fn by_rounds<T: Send>(
        &self,
        purpose: u64,
        placed: Placement,
        compare: impl Fn(&[Series]) -> T + Sync,
    ) -> Vec<(u32, Vec<T>)> {
        let repetitions = self.repetitions;
        let judged: Vec<u32> =
            ROUNDS.iter().copied().filter(|rounds| *rounds >= aims::ROUNDS_MIN).collect();
        let compare_once = |index: usize| {
            let (rounds, repetition) = (judged[index / repetitions], index % repetitions);
            let purpose = [purpose, rounds.into(), repetition as u64];
            compare(&self.draw(rounds, placed, &mut data::random(self.seed, &purpose)))
        };
        let mut found =
            in_parallel("further comparisons", judged.len() * repetitions, compare_once)
                .into_iter();
        let of_rounds = |rounds| (rounds, found.by_ref().take(repetitions).collect());
        judged.into_iter().map(of_rounds).collect()
    }
}

/// Where the measurements come from, and what was made of them.
#[derive(Debug, Serialize)]
struct Findings {
    name: String,
    source: String,
    /// Rounds → series that have enough nights.
    series: Vec<(u32, usize)>,
    scores: Vec<Score>,
    uneven: Vec<Uneven>,
    aims: Vec<Aim>,
}

/// Why the series of a comparison differ in their number of rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum UnevenCause {
    /// Each has as many as its interval needs.
    Adaptive,
    /// Some were disturbed, and are left out.
    LeftOut,
}

/// What is found where series differ in their number of rounds.
#[derive(Debug, Serialize)]
struct Uneven {
    cause: UnevenCause,
    mean_rounds: Mean,
    #[serde(flatten)]
    score: Score,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let report = match find(&arguments) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let text = match arguments.json {
        true => serde_json::to_string_pretty(&report).expect("plain fields serialise"),
        false => table::text(&report),
    };
    // A reader that went away has read enough.
    let _ = writeln!(std::io::stdout(), "{text}");
    let is_sound = |findings: &Findings| {
        findings.aims.iter().all(|aim| aim.met || aim.is_limit(&findings.name))
    };
    match report.findings.iter().all(is_sound) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn find(arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
    let measurements = measurements(arguments)?;
    let findings: Result<Vec<Findings>, _> = measurements.into_iter().map(find_in).collect();
    let Arguments { seed, repetitions, .. } = *arguments;
    Ok(Report { seed, repetitions, findings: findings? })
}

fn find_in(measurements: Measurements) -> Result<Findings, Box<dyn Error>> {
    let Measurements { name, source, cells, most, .. } = &measurements;
    let series_with = |rounds: &u32| {
        let nights = 2 * *rounds as usize;
        let count = cells.iter().filter(|cell| cell.nights.len() >= nights).count();
        (*rounds, count.min(*most))
    };
    let series: Vec<(u32, usize)> = ROUNDS.iter().map(series_with).collect();
    if let Some((rounds, has)) = series.iter().find(|(_, series)| *series < 5) {
        return Err(format!("{source}: {has} series have {rounds} rounds; 5 are needed").into());
    }
    eprintln!("{name}:");
    let scores = score_fixed_rounds(&measurements);
    let mut uneven = score_uneven(UnevenCause::Adaptive, &measurements);
    uneven.extend(score_uneven(UnevenCause::LeftOut, &measurements));
    let mut aims = aims::evaluate_aims(&scores, &uneven);
    aims.extend(conflicts::aims(&measurements));
    aims.extend(equivalence::aims(&measurements));
    let Measurements { name, source, .. } = measurements;
    Ok(Findings { name, source, series, scores, uneven, aims })
}

/// What the arguments ask for: the file, then the shapes.
fn measurements(arguments: &Arguments) -> Result<Vec<Measurements>, Box<dyn Error>> {
    // Cargo says where it runs this from; a target folder shared by two clones may hold the
    // other's.
    let manifest_folder = std::env::var_os("CARGO_MANIFEST_DIR");
    let shared_data =
        Path::new(manifest_folder.as_deref().unwrap_or(env!("CARGO_MANIFEST_DIR").as_ref()))
            .join("../../shared/data/sandmark-turing.parquet")
            .canonicalize();
    let (data_file, shapes) = match (&arguments.data, &arguments.generated) {
        (Some(path), _) => (Some(path.clone()), &[][..]),
        (None, Some(shapes)) if !shapes.is_empty() => (None, &shapes[..]),
        (None, Some(_)) => (None, Shape::value_variants()),
        (None, None) => (shared_data.ok(), Shape::value_variants()),
    };
    let Arguments { series, seed, repetitions, .. } = *arguments;
    let most = |default: usize| series.map_or(default, |series| series as usize);
    let repetitions = repetitions as usize;
    let file = data_file.map(|path| -> Result<Measurements, Box<dyn Error>> {
        let cells = data::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().display().to_string();
        let nights: usize = cells.iter().map(|cell| cell.nights.len()).sum();
        let source = format!("{name}: {nights} measurements in {} cells", cells.len());
        Ok(Measurements { name, source, cells, most: most(usize::MAX), repetitions, seed })
    });
    let made_up = |shape: &Shape| {
        let name = shape.to_possible_value().expect("no shape is hidden").get_name().to_string();
        let source = format!("{name}: {GENERATED} made-up cells, not measurements");
        let cells = shape.generate(seed, GENERATED);
        Ok(Measurements { name, source, cells, most: most(COMPARED), repetitions, seed })
    };
    file.into_iter().chain(shapes.iter().map(made_up)).collect()
}

/// A fixed number of rounds: every rule, without effects (A/A) and with each.
fn score_fixed_rounds(measurements: &Measurements) -> Vec<Score> {
    let repetitions = measurements.repetitions;
    let draw = |placed: Placement, rounds: u32, repetition: usize| {
        let purpose = [placed as u64, rounds.into(), repetition as u64];
        measurements.draw(rounds, placed, &mut data::random(measurements.seed, &purpose))
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

/// Series with different numbers of rounds: dyno's rules, without effects and with each.
fn score_uneven(cause: UnevenCause, measurements: &Measurements) -> Vec<Uneven> {
    let rules = &RULES[..rules::PAIRED_T];
    let most = match cause {
        UnevenCause::Adaptive => *ADAPTIVE.end(),
        UnevenCause::LeftOut => PLANNED,
    };
    let shorten = |series: &mut Series, random: &mut Pcg64| match cause {
        UnevenCause::Adaptive => {
            // Of a cell that has hardly more nights, the first rounds would always be the same: one
            // unlucky series would be found in every comparison.
            let first = random.random_range(0..series.rounds.len());
            series.rounds.rotate_left(first);
            series.rounds.truncate(rounds_until_narrow(series));
        }
        UnevenCause::LeftOut => {
            let mut left = series.rounds.len();
            series.rounds.retain(|_| {
                let is_left_out = left > 2 && random.random_bool(LEFT_OUT);
                left -= usize::from(is_left_out);
                !is_left_out
            });
        }
    };
    let compare_once = |index: usize| -> (usize, Vec<(f64, Vec<Outcome>)>) {
        let mut random = data::random(measurements.seed, &[index as u64, cause as u64]);
        let [without, drawn] = [Placement::Scattered, Placement::InAStretch]
            .map(|placed| measurements.draw(most as u32, placed, &mut random));
        let mut by_rule = |(drawn, effect): (&[Series], f64)| {
            let mut series = data::with_effect(drawn, effect);
            series.iter_mut().for_each(|series| shorten(series, &mut random));
            let spent: usize = series.iter().map(|series| series.rounds.len()).sum();
            let outcome = |rule: &Rule| outcome(&series, &(rule.calls)(&series), rule.smallest);
            (spent as f64 / series.len() as f64, rules.iter().map(outcome).collect())
        };
        let with = EFFECTS.iter().map(|effect| (&drawn[..], *effect));
        let by_effect = std::iter::once((&without[..], 0.0)).chain(with).map(&mut by_rule);
        (drawn.len(), by_effect.collect())
    };
    let comparisons = in_parallel("uneven comparisons", measurements.repetitions, compare_once);
    let mut results = Vec::new();
    for (e, effect) in std::iter::once(&0.0).chain(EFFECTS).enumerate() {
        let mean_rounds = Mean::from_values(comparisons.iter().map(|(_, effects)| effects[e].0));
        for (r, rule) in rules.iter().enumerate() {
            let outcomes: Vec<Outcome> =
                comparisons.iter().map(|(_, effects)| effects[e].1[r]).collect();
            let score = Score::new(rule.name, most as u32, *effect, comparisons[0].0, &outcomes);
            results.push(Uneven { cause, mean_rounds, score });
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
            let words = "--generated heavy-tails --series 60 --repetitions 3 --seed";
            let mut report = find(&arguments(&format!("{words} {seed}"))).unwrap();
            assert_eq!(report.findings.len(), 1);
            report.findings.remove(0)
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
            let other_nights = [vec![], vec![]];
            let series = Series { rounds, truth: 0.0, past: vec![], other_nights, slow_mode: None };
            assert_eq!(rounds_until_narrow(&series), needed);
        }
    }
}
