//! The simulator beside real builds: `sd-graph.jsonl` holds the units of 16 builds of `sd` 1.0.0 (66
//! units, profile debug) by rustc 1.85.1 and 1.97.1, with one and two jobs, pipelining on and off,
//! twice each. They were measured on 2026-11-26 on two cores of a virtual machine by
//!
//! ```text
//! dyno run rustc rust-1.85 rust-1.97 --host two-cores --no-counting --benchmark sd.graph --only profile=debug \
//!     --only threads=1 --only backend=llvm --only jobs=1,2 --rounds 2 --budget 2000
//! ```
//!
//! A line is a build; a unit in it is name, kind, start, metadata, code generation, linking, end, user
//! and system time (in µs), threads, and the units it waited for, to their metadata or to their end.

use std::collections::BTreeMap;

use dyno_model::build_graph::{Build, simulate};
use dyno_model::record::{CompilationUnit, Need, Side, UnitKind};
use dyno_model::stats::median;
use serde::Deserialize;

/// The issue asks for 10 %.
const ERROR_MAX: f64 = 0.1;

#[derive(Deserialize)]
struct Line {
    side: String,
    jobs: u32,
    pipelining: bool,
    cores: u32,
    wall_us: i64,
    units: Vec<Row>,
}

type Moment = Option<i64>;
type Row = (String, String, i64, Moment, Moment, Moment, i64, i64, i64, u32, Vec<u32>, Vec<u32>);

fn unit(number: usize, row: Row) -> CompilationUnit {
    let (name, kind, start, metadata, codegen, link, end, user, system, threads, early, late) = row;
    let ns = |us: Moment| us.map(|us| us * 1000);
    let need = |end: bool| move |unit: u32| Need { unit, end };
    CompilationUnit {
        benchmark: "sd.graph".into(),
        config: String::new(),
        round: 0,
        side: Side::Baseline,
        sequence: 0,
        unit: number as u32,
        name,
        version: String::new(),
        kind: UnitKind::ALL.into_iter().find(|known| known.name() == kind).expect("a kind"),
        start_ns: start * 1000,
        metadata_ns: ns(metadata),
        codegen_ns: ns(codegen),
        link_ns: ns(link),
        end_ns: end * 1000,
        user_ns: user * 1000,
        system_ns: system * 1000,
        max_rss_bytes: 0,
        threads,
        needs: early.into_iter().map(need(false)).chain(late.into_iter().map(need(true))).collect(),
        taint: String::new(),
    }
}

/// (jobs, pipelining).
type Setting = (u32, bool);

/// Side → setting → builds.
fn measured() -> BTreeMap<String, BTreeMap<Setting, Vec<Build>>> {
    let mut builds: BTreeMap<String, BTreeMap<Setting, Vec<Build>>> = BTreeMap::new();
    for line in include_str!("sd-graph.jsonl").lines() {
        let Line { side, jobs, pipelining, cores, wall_us, units } =
            serde_json::from_str(line).unwrap();
        let units = units.into_iter().enumerate().map(|(number, row)| unit(number, row)).collect();
        let build = Build::new(units, wall_us * 1000, jobs, pipelining, cores).unwrap();
        builds.entry(side).or_default().entry((jobs, pipelining)).or_default().push(build);
    }
    builds
}

fn median_of(builds: &[Build], wall_ns: impl Fn(&Build) -> i64) -> f64 {
    median(&mut builds.iter().map(wall_ns).collect::<Vec<i64>>()).unwrap()
}

#[test]
fn one_setting_predicts_the_others() {
    let measured = measured();
    let mut errors = Vec::new();
    for (side, settings) in &measured {
        for (from, traces) in settings {
            for (to, builds) in settings.iter().filter(|(to, _)| *to != from) {
                let predicted = median_of(traces, |build| simulate(build, to.0, to.1).wall_ns());
                let error = predicted / median_of(builds, Build::wall_ns) - 1.0;
                println!("{side}: {from:?} → {to:?}: {:+.1} %", 100.0 * error);
                errors.push(error);
            }
        }
    }
    assert_eq!(errors.len(), 2 * 12);
    let worst = errors.iter().fold(0.0_f64, |worst, error| worst.max(error.abs()));
    assert!(worst < ERROR_MAX, "{worst}");
    // What would be wrong by half is not hidden by settings that are all alike.
    for settings in measured.values() {
        let [one, two] = [1, 2].map(|jobs| median_of(&settings[&(jobs, true)], Build::wall_ns));
        assert!(one > 1.8 * two, "{one} {two}");
    }
}
