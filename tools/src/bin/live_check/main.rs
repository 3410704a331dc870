//! The live check: does what dyno reports contain the truth as often as it promises?
//!
//! A program with a dial does exactly 0, 0.5, 1, 2 and 5 % more work than its baseline; beside it one
//! sleeps as much longer, and one has two states: it does half as much work again in every fourth run.
//! Each is compared through the whole pipeline (git, image, build, container, rounds, store, verdict),
//! again and again; the share of intervals that contain the dial is printed with its own interval.
//!
//! `cargo build && cargo run -p dyno-tools --bin live_check -- [REPETITIONS [dyno's arguments…]]`

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{ExitCode, Stdio};

use dyno_model::stats::share_interval;
use dyno_tools::dial;
use serde_json::Value;

/// Steps of the baseline: some 0.2 s.
const UNITS: u64 = 100_000_000;
/// Extra work in tenths of a per cent.
const DIALS: [u64; 5] = [0, 5, 10, 20, 50];

/// One metric of one comparison.
struct ReportedEffect {
    effect: f64,
    low: f64,
    high: f64,
    verdict: String,
}

/// The benchmark and the metric of each effect, and the share of the intervals that is promised to
/// contain the dial.
const PROGRAMS: [(&str, &str, f64); 4] = [
    ("dial", "wall", 0.95),
    ("dial", "instructions:cachegrind", 1.0),
    ("sleep", "wall", 0.95),
    ("two-state", "wall", 0.95),
];

/// What the program's fixed parts (its start, printing) make of a count's effect at most.
const FIXED_PARTS: f64 = 2e-4;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let repetitions: u32 = arguments.next().map_or(20, |n| n.parse().expect("a number"));
    let extra_arguments: Vec<String> = arguments.collect();
    let world = tempfile::tempdir().expect("a folder");
    // Every repetition has a commit of its own, or dyno would pool them as one comparison.
    let tags_of_dial = |dial: u64| {
        let units = UNITS * (1000 + dial) / 1000;
        (1..=repetitions).map(move |number| (format!("dial-{dial}-{number}"), units))
    };
    let commits: Vec<(String, u64)> = [("dial-0".to_string(), UNITS)]
        .into_iter()
        .chain(DIALS.into_iter().flat_map(tags_of_dial))
        .collect();
    dial::make(world.path(), &commits);
    println!(
        "{:>6}  {:<28} {:>22}  {:>9}  verdicts",
        "dial", "program and metric", "reported effect, %", "contained"
    );
    let mut tally = [(0, 0); PROGRAMS.len()];
    for dial in DIALS {
        let mut effects: [Vec<ReportedEffect>; PROGRAMS.len()] = Default::default();
        for number in 1..=repetitions {
            eprintln!("{:.1} %: {number} of {repetitions}", dial as f64 / 10.0);
            let view = compare(world.path(), &format!("dial-{dial}-{number}"), &extra_arguments);
            for (effects_of_program, (benchmark, metric, _)) in effects.iter_mut().zip(PROGRAMS) {
                effects_of_program.push(reported_effect(&view, benchmark, metric));
            }
        }
        let programs = effects.iter().zip(PROGRAMS).zip(&mut tally);
        for ((effects_of_program, (benchmark, metric, _)), tally) in programs {
            let slack = if metric == "wall" { 0.0 } else { FIXED_PARTS };
            let truth = dial as f64 / 1000.0;
            let contains_dial =
                |f: &&ReportedEffect| (f.low - slack..=f.high + slack).contains(&truth);
            let hits = effects_of_program.iter().filter(contains_dial).count();
            *tally = (tally.0 + hits as u64, tally.1 + effects_of_program.len() as u64);
            print_row(dial, &format!("{benchmark}, {metric}"), effects_of_program, hits);
        }
    }
    let mut is_kept = true;
    for ((hits, of), (benchmark, metric, promised)) in tally.into_iter().zip(PROGRAMS) {
        let (low, high) = share_interval(hits, of, 0.95);
        let percent = |share: f64| 100.0 * share;
        println!(
            "{benchmark}, {metric}: {hits} of {of} intervals contain the dial, {:.1} % ({:.1} to {:.1} %); promised {} %",
            percent(hits as f64 / of as f64),
            percent(low),
            percent(high),
            percent(promised)
        );
        // A few repetitions may miss by chance alone: only what is as good as impossible fails.
        is_kept &= share_interval(hits, of, 0.999).1 >= promised;
    }
    ExitCode::from(u8::from(!is_kept))
}

fn print_row(dial: u64, name: &str, effects: &[ReportedEffect], hits: usize) {
    let extreme = |pick: fn(f64, f64) -> f64| {
        effects.iter().map(|f| f.effect * 100.0).reduce(pick).unwrap_or(f64::NAN)
    };
    let mut verdicts: BTreeMap<&str, u32> = BTreeMap::new();
    effects.iter().for_each(|f| *verdicts.entry(&f.verdict).or_default() += 1);
    let verdicts: Vec<String> = verdicts.iter().map(|(v, n)| format!("{n} {v}")).collect();
    println!(
        "{:>4.1} %  {name:<28} {:>+9.3} to {:>+9.3}  {hits:>3} of {:<2}  {}",
        dial as f64 / 10.0,
        extreme(f64::min),
        extreme(f64::max),
        effects.len(),
        verdicts.join(", ")
    );
}

/// Has dyno measure and compare the baseline with `candidate`; the report.
fn compare(world: &Path, candidate: &str, extra_arguments: &[String]) -> Value {
    let mut command = dial::dyno(world);
    command
        .args(["run", "dial", "dial-0", candidate, "--json", "--quiet", "--rounds", "20"])
        .args(extra_arguments);
    command.arg("--report").arg(world.join("report"));
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|e| panic!("{command:?} (cargo build makes it): {e}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn reported_effect(view: &Value, benchmark: &str, metric: &str) -> ReportedEffect {
    let lists = ["regressed", "improved", "inconclusive", "unchanged", "not_deciding"];
    let rows = || lists.iter().filter_map(|list| view[list].as_array()).flatten();
    let is_wanted = |row: &&Value| row["metric"] == metric && row["benchmark"] == benchmark;
    let row = rows().find(is_wanted).unwrap_or_else(|| panic!("no {metric} of {benchmark}"));
    let number = |key: &str| row["effect"][key].as_f64().expect("a number");
    ReportedEffect {
        effect: number("fraction"),
        low: number("low"),
        high: number("high"),
        verdict: row["verdict"].as_str().expect("a verdict").to_string(),
    }
}
