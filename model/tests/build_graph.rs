//! Builds: what must hold of any crate graph, and tables of small ones.

use dyno_model::build_graph::{
    Build, InvalidBuild, NEEDS_MAX, Parts, SLACK_NS, STEPS_MAX, StartReason, UNITS_MAX,
    WALL_MAX_NS, analyse, simulate,
};
use dyno_model::record::{CompilationUnit, Need, Side, UnitKind};
use proptest::prelude::*;

const MS: i64 = 1_000_000;
const UNLIMITED: u32 = u32::MAX;

/// A library whose times are in milliseconds.
fn unit(number: u32, [start, metadata, end]: [i64; 3], needs: &[(u32, bool)]) -> CompilationUnit {
    CompilationUnit {
        benchmark: "b".into(),
        config: String::new(),
        round: 0,
        side: Side::Baseline,
        sequence: 0,
        unit: number,
        name: format!("u{number}"),
        version: "1.0.0".into(),
        kind: UnitKind::Lib,
        start_ns: start * MS,
        metadata_ns: Some(metadata * MS),
        codegen_ns: None,
        link_ns: None,
        end_ns: end * MS,
        user_ns: (end - start) * MS,
        system_ns: 0,
        max_rss_bytes: 0,
        threads: 4,
        needs: needs.iter().map(|&(unit, end)| Need { unit, end }).collect(),
        taint: String::new(),
    }
}

fn build(units: Vec<CompilationUnit>, jobs: u32, pipelining: bool) -> Build {
    let wall = units.iter().map(|u| u.end_ns).max().unwrap_or(0);
    Build::new(units, wall, jobs, pipelining, 64).unwrap()
}

/// A binary (2) of two libraries, of which 1 needs 0; on one job, one after the other.
fn chain() -> Vec<CompilationUnit> {
    let mut bin = unit(2, [210, 210, 300], &[(0, true), (1, true)]);
    (bin.kind, bin.metadata_ns) = (UnitKind::Bin, None);
    vec![unit(0, [0, 40, 100], &[]), unit(1, [100, 150, 200], &[(0, false)]), bin]
}

#[test]
fn foreign_rows_are_refused() {
    let broken_by = |change: &dyn Fn(&mut Vec<CompilationUnit>)| {
        let mut units = chain();
        change(&mut units);
        Build::new(units, 310 * MS, 1, true, 2).map(|_| ()).map_err(|broken| broken.to_string())
    };
    type Row<'a> = (&'a dyn Fn(&mut Vec<CompilationUnit>), &'a str);
    let rows: &[Row] = &[
        (&|u| u.clear(), "a build without units"),
        (&|u| u[1].unit = 0, "the number 1 is missing or twice there"),
        (&|u| drop(u.remove(1)), "the number 1 is missing or twice there"),
        (&|u| u[1].round = 1, "units of more than one build"),
        (&|u| u[1].config = "x=1".into(), "units of more than one build"),
        (&|u| u[2].needs[0].unit = 7, "unit 2 needs unit 7, which is not there"),
        (&|u| u[0].needs = vec![Need { unit: 0, end: true }], "unit 0 waits for itself"),
        (&|u| u[0].needs = vec![Need { unit: 1, end: false }], "unit 1 waits for itself"),
        (&|u| u[0].start_ns = -6 * MS, "unit 0: out of order: 0, start"),
        (&|u| u[1].end_ns = 90 * MS, "unit 1: out of order: start, end"),
        (&|u| u[1].metadata_ns = Some(90 * MS), "unit 1: out of order: start, metadata"),
        (&|u| u[1].metadata_ns = Some(206 * MS), "unit 1: out of order: metadata, end"),
        (&|u| u[1].codegen_ns = Some(206 * MS), "unit 1: out of order: code generation, end"),
        (&|u| u[1].link_ns = Some(i64::MIN), "unit 1: out of order: start, linking"),
        (&|u| u[2].end_ns = i64::MAX, "unit 2: out of order: end, wall"),
        (&|u| u[0].system_ns = -1, "unit 0: a processor time below zero"),
    ];
    for (change, expected) in rows {
        assert_eq!(broken_by(*change), Err((*expected).to_string()));
    }
    assert_eq!(broken_by(&|u| u.reverse()), Ok(()));
    for (what, wall, jobs, cores) in
        [("wall", 0, 1, 1), ("wall", i64::MIN, 1, 1), ("jobs", 1, 0, 1), ("cores", 1, 1, 0)]
    {
        let got = Build::new(chain(), wall, jobs, true, cores);
        assert_eq!(got, Err(InvalidBuild::NotPositive { what }));
    }
    assert_eq!(Build::new(chain(), WALL_MAX_NS + 1, 1, true, 1), Err(InvalidBuild::TooLong));
    let many = vec![chain().remove(0); UNITS_MAX + 1];
    assert_eq!(
        Build::new(many, 1, 1, true, 1),
        Err(InvalidBuild::TooManyUnits { units: UNITS_MAX + 1 })
    );
    let mut units = chain();
    units[2].needs = vec![Need { unit: 0, end: true }; NEEDS_MAX];
    assert_eq!(
        Build::new(units, 1, 1, true, 1),
        Err(InvalidBuild::TooManyNeeds { needs: NEEDS_MAX + 1 })
    );
}

#[test]
fn what_is_a_little_out_of_order_is_put_in_order() {
    let mut units = chain();
    units[0].start_ns = -SLACK_NS;
    units[0].metadata_ns = Some(103 * MS);
    units[1].needs = vec![Need { unit: 0, end: false }, Need { unit: 0, end: true }];
    let build = Build::new(units, 297 * MS, 1, true, 2).unwrap();
    let [first, second, _] = build.units() else { panic!() };
    assert_eq!((first.start_ns, first.metadata_ns), (0, Some(100 * MS)));
    assert_eq!(second.needs, [Need { unit: 0, end: true }]);
    assert_eq!(build.wall_ns(), 300 * MS);
}

/// The path as `unit because waited front code-generation link other`, in milliseconds.
fn path(build: &Build) -> Vec<String> {
    let step = |step: &dyno_model::build_graph::PathStep| {
        let Parts { front_ns, codegen_ns, link_ns, other_ns } = step.parts;
        let times = [step.waited_ns, front_ns, codegen_ns, link_ns, other_ns].map(|t| t / MS);
        format!("{} {:?} {times:?}", step.unit, step.because)
    };
    analyse(build).critical_path.steps.iter().map(step).collect()
}

#[test]
fn critical_paths() {
    let one = build(chain(), 1, true);
    assert_eq!(
        path(&one),
        ["0 First [0, 40, 60, 0, 0]", "1 Slot [0, 50, 50, 0, 0]", "2 Needed [10, 0, 0, 0, 90]",]
    );
    // Pipelined on two jobs: 1 starts at the metadata of 0, and the binary waits for the end of 0.
    let mut bin = unit(2, [200, 200, 300], &[(0, true), (1, true)]);
    (bin.kind, bin.metadata_ns, bin.codegen_ns, bin.link_ns) =
        (UnitKind::Bin, None, Some(230 * MS), Some(280 * MS));
    let libs = [unit(0, [0, 40, 200], &[]), unit(1, [45, 90, 120], &[(0, false)])];
    let two = build([&libs[..], &[bin.clone()]].concat(), 2, true);
    assert_eq!(path(&two), ["0 First [0, 40, 160, 0, 0]", "2 Needed [0, 30, 50, 20, 0]"]);
    assert_eq!(analyse(&two).overlap_ns, 75 * MS);
    // 1 ends last: of 0 only the front end is on the path.
    let mut libs = libs;
    libs[0].end_ns = 80 * MS;
    libs[1].end_ns = 200 * MS;
    let two = build([&libs[..], &[bin]].concat(), 2, true);
    let expected =
        ["0 First [0, 40, 0, 0, 0]", "1 Needed [5, 45, 110, 0, 0]", "2 Needed [0, 30, 50, 20, 0]"];
    assert_eq!(path(&two), expected);
    let analysis = analyse(&two);
    assert_eq!(analysis.critical_path.length_ns(), 300 * MS);
    assert_eq!(analysis.overlap_ns, 35 * MS);
    assert!(analysis.critical_path.is_on(1) && !analysis.critical_path.is_on(7));

    // Ready with the first two, but both slots are taken until 1 ends.
    let wide = vec![
        unit(0, [0, 50, 100], &[]),
        unit(1, [0, 30, 60], &[]),
        unit(2, [61, 80, 140], &[(0, false)]),
    ];
    assert_eq!(
        path(&build(wide, 2, true)),
        ["1 First [0, 30, 30, 0, 0]", "2 Slot [1, 19, 60, 0, 0]"]
    );
}

#[test]
fn utilisation_over_time() {
    let mut units = vec![unit(0, [10, 20, 30], &[]), unit(1, [20, 25, 50], &[])];
    units[0].user_ns = 10 * MS;
    units[1].system_ns = 15 * MS;
    let build = Build::new(units, 100 * MS, 2, true, 2).unwrap();
    let used = analyse(&build).utilisation;
    let series: Vec<_> = used.series.iter().map(|r| (r.from_ns / MS, r.units, r.cores)).collect();
    assert_eq!(
        series,
        [(0, 0.0, 0.0), (10, 1.0, 0.5), (20, 2.0, 2.0), (30, 1.0, 1.5), (50, 0.0, 0.0)]
    );
    assert_eq!(used.mean, (10.0 + 30.0 + 15.0) / 200.0);
}

#[test]
fn a_long_series_is_shown_by_means() {
    let build_of = |n: u32| {
        let start = i64::from(n) * 10;
        unit(n, [start, start + 3, start + 6], &[])
    };
    let build = build((0..5000).map(build_of).collect(), 1, true);
    let used = analyse(&build).utilisation;
    assert_eq!(used.series.len(), STEPS_MAX);
    let mean = used.series.iter().map(|r| r.cores).sum::<f64>() / STEPS_MAX as f64;
    assert!((mean - 64.0 * used.mean).abs() < 1e-6, "{mean} {}", used.mean);
}

#[test]
fn priorities_and_slots_are_those_of_cargo() {
    // 0 ← 1 ← 4, 2 ← 4, 3 by itself: priorities 3, 2, 2, 1, 1.
    let units = || {
        vec![
            unit(0, [0, 10, 20], &[]),
            unit(1, [20, 30, 40], &[(0, false)]),
            unit(2, [40, 50, 60], &[]),
            unit(3, [60, 70, 80], &[]),
            unit(4, [80, 90, 100], &[(1, false), (2, false)]),
        ]
    };
    let starts = |jobs, pipelining| -> Vec<i64> {
        let simulated = simulate(&build(units(), 1, pipelining), jobs, pipelining);
        simulated.units().iter().map(|u| u.start_ns / MS).collect()
    };
    assert_eq!(starts(1, true), [0, 20, 40, 60, 80]);
    // Two jobs: 0 and 2 first; both slots are held until 20, whatever has its metadata.
    assert_eq!(starts(2, true), [0, 20, 0, 20, 40]);
    // Three: 3 fills the third slot, or 1 would have taken it at 10.
    assert_eq!(starts(3, true)[..4], [0, 20, 0, 0]);
    // Four: 1 starts when 0 has its metadata, 4 at the metadata of 1.
    let four = starts(4, true);
    assert_eq!(four[..4], [0, 10, 0, 0]);
    assert!(four[4] == 20, "{four:?}");
    let off = starts(4, false);
    assert!(off[1] > 10 && off[4] > off[1] + 10, "{off:?}");
}

#[test]
fn code_generation_takes_idle_tokens() {
    // Measured with two tokens: 100 ms of code generation in which it did 150 ms of work.
    let mut of_two = unit(0, [0, 100, 200], &[]);
    of_two.user_ns = 250 * MS;
    let end = |unit: CompilationUnit, measured, jobs| {
        let simulated = simulate(&build(vec![unit], measured, true), jobs, true);
        (simulated.units()[0].end_ns + MS / 2) / MS
    };
    assert_eq!(end(of_two.clone(), 2, 2), 200);
    assert_eq!(end(of_two.clone(), 2, 1), 250, "one token does all the work");
    // 1.5 times as fast with two is a serial share of a third: 2 times with four.
    assert_eq!(end(of_two.clone(), 2, 4), 175);
    // One that ran alone and never used a second core is serial, whatever there is.
    assert_eq!(end(unit(0, [0, 100, 200], &[]), 2, 16), 200);
    // Measured with one token, nothing is known: some is gained.
    let of_one = unit(0, [0, 100, 200], &[]);
    let two = end(of_one.clone(), 1, 2);
    assert_eq!((two, end(of_one.clone(), 1, 4)), (154, 130), "0.07 is serial");
    // A program of one thread gains nothing, nor does documentation.
    assert_eq!(end(CompilationUnit { threads: 1, ..of_one.clone() }, 1, 4), 200);
    assert_eq!(end(CompilationUnit { kind: UnitKind::Doc, ..of_one.clone() }, 1, 4), 200);
    // Linking does not either.
    let linking = CompilationUnit { link_ns: Some(100 * MS), ..of_one };
    assert_eq!(end(linking, 1, 4), 200);
}

#[test]
fn more_jobs_than_cores_share_them() {
    let serial = |n: u32| {
        let start = i64::from(n) * 100;
        CompilationUnit { threads: 1, ..unit(n, [start, start + 50, start + 100], &[]) }
    };
    let units = (0..4).map(serial).collect();
    let two_cores = Build::new(units, 400 * MS, 1, true, 2).unwrap();
    let wall = |jobs| (simulate(&two_cores, jobs, true).wall_ns() + MS / 2) / MS;
    assert_eq!((wall(1), wall(2), wall(4)), (400, 200, 200));
}

#[test]
fn the_gap_of_cargo_is_replayed() {
    let units: Vec<CompilationUnit> =
        (0..5i64).map(|n| unit(n as u32, [n * 13 + 2, n * 13 + 7, n * 13 + 12], &[])).collect();
    let measured = Build::new(units, 100 * MS, 1, true, 64).unwrap();
    assert_eq!(simulate(&measured, 1, false).wall_ns(), 100 * MS);
    // All at once: the first start, no gap, and what comes after the last end; tokens to spare.
    let all = simulate(&measured, 5, true);
    assert_eq!(all.units().iter().map(|u| u.start_ns).max(), Some(2 * MS));
    assert_eq!(all.wall_ns() / MS, 12 + 36);
}

/// A build that cargo could have made: some graph, run by the simulator from made-up durations.
fn any_build() -> impl Strategy<Value = Build> {
    let part = 1..2_000_000i64;
    let one = (
        part.clone(),
        part,
        0..8u32,
        0..6u8,
        proptest::collection::vec(any::<(u32, bool)>(), 0..4),
    );
    (proptest::collection::vec(one, 1..40), 1..5u32, any::<bool>(), 0..50_000i64).prop_map(
        |(all, jobs, pipelining, gap)| {
            let mut at = 0;
            let mut units = vec![];
            for (number, (front, codegen, threads, shape, needs)) in all.into_iter().enumerate() {
                let number = number as u32;
                let mut unit = unit(number, [0, 0, 0], &[]);
                unit.needs = needs
                    .into_iter()
                    .filter(|_| number > 0)
                    .map(|(need, end)| Need { unit: need % number.max(1), end })
                    .collect();
                (unit.start_ns, unit.metadata_ns) = (at, Some(at + front));
                unit.end_ns = at + front + codegen;
                unit.user_ns = front + codegen + codegen * i64::from(shape) / 6;
                unit.threads = threads;
                match shape {
                    0 => (unit.kind, unit.metadata_ns) = (UnitKind::Bin, None),
                    1 => (unit.kind, unit.metadata_ns) = (UnitKind::RunBuildScript, None),
                    2 => unit.link_ns = Some(unit.end_ns - codegen / 3),
                    _ => {}
                }
                at = unit.end_ns + gap;
                units.push(unit);
            }
            let one = Build::new(units, at + 1000, 1, pipelining, 64).unwrap();
            simulate(&one, jobs, pipelining)
        },
    )
}

/// The same units under other numbers.
fn permuted(build: &Build, by: u64) -> Build {
    let count = build.units().len() as u64;
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.sort_by_key(|&n| (u64::from(n) + 1).wrapping_mul(by | 1).rotate_left(17));
    let number = |n: u32| order.iter().position(|&o| o == n).unwrap() as u32;
    let renamed = |unit: &CompilationUnit| {
        let needs = unit.needs.iter().map(|n| Need { unit: number(n.unit), ..*n }).collect();
        CompilationUnit { unit: number(unit.unit), needs, ..unit.clone() }
    };
    let units = build.units().iter().map(renamed).collect();
    Build::new(units, build.wall_ns(), build.jobs(), build.pipelining(), build.cores()).unwrap()
}

fn duration(unit: &CompilationUnit) -> i64 {
    unit.end_ns - unit.start_ns
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A build that kept to the rules is replayed to the nanosecond: again and again.
    #[test]
    fn its_own_trace_gives_the_same_build(build in any_build()) {
        let again = simulate(&build, build.jobs(), build.pipelining());
        prop_assert_eq!(&again, &build);
        prop_assert_eq!(analyse(&again), analyse(&build));
    }

    #[test]
    fn walls_are_bounded(build in any_build(), jobs in 1..9u32, pipelining: bool) {
        let simulated = simulate(&build, jobs, pipelining);
        let analysis = analyse(&simulated);
        let first = simulated.units().iter().map(|u| u.start_ns).min().unwrap();
        let last = simulated.units().iter().map(|u| u.end_ns).max().unwrap();
        let path = &analysis.critical_path;
        let longest = simulated.units().iter().map(duration).max().unwrap();
        prop_assert_eq!(path.length_ns(), last - first);
        prop_assert!(simulated.wall_ns() >= path.length_ns() && path.length_ns() >= longest);
        prop_assert_eq!(path.steps[0].because, StartReason::First);
        prop_assert!(analysis.utilisation.series.iter().all(|r| r.units <= f64::from(jobs)));
        prop_assert!(Build::new(
            simulated.units().to_vec(), simulated.wall_ns(), jobs, pipelining, 64).is_ok());
        // One after the other on one job, so with the sum of all, and what cargo takes between.
        let one = simulate(&build, 1, pipelining);
        let sum: i64 = one.units().iter().map(duration).sum();
        let one_path = analyse(&one).critical_path;
        prop_assert_eq!(one_path.length_ns(), sum + one_path.waited_ns);
        prop_assert_eq!(one_path.steps.len(), one.units().len());
        let waited: Vec<i64> = one_path.steps[1..].iter().map(|s| s.waited_ns).collect();
        prop_assert!(waited.windows(2).all(|pair| pair[0] == pair[1]), "{waited:?}");
        let gaps = one_path.waited_ns * one.units().len() as i64;
        prop_assert!(simulated.wall_ns() <= one.wall_ns() + gaps);
        // On one job pipelining changes the order and nothing else.
        prop_assert_eq!(one.wall_ns(), simulate(&build, 1, !pipelining).wall_ns());
    }

    /// Without a bound on jobs a unit takes as long as it must, and starts when it can.
    #[test]
    fn without_bounds_nothing_is_slower(build in any_build(), jobs in 1..9u32) {
        let units = build.units().to_vec();
        let wide = Build::new(units, build.wall_ns(), build.jobs(), build.pipelining(), UNLIMITED);
        let wide = wide.unwrap();
        let wall = |jobs, pipelining| simulate(&wide, jobs, pipelining).wall_ns();
        prop_assert!(wall(UNLIMITED, true) <= wall(UNLIMITED, false));
        for pipelining in [true, false] {
            prop_assert!(wall(UNLIMITED, pipelining) <= wall(jobs, pipelining));
        }
    }

    #[test]
    fn numbers_of_units_decide_nothing(build in any_build(), by: u64, jobs in 1..9u32, on: bool) {
        let other = permuted(&build, by);
        prop_assert_eq!(simulate(&other, jobs, on).wall_ns(), simulate(&build, jobs, on).wall_ns());
        prop_assert_eq!(analyse(&other).overlap_ns, analyse(&build).overlap_ns);
    }
}

/// Rows of a foreign file: most are refused, none does harm.
fn hostile() -> impl Strategy<Value = Vec<CompilationUnit>> {
    let moment = prop_oneof![
        4 => 0..100i64,
        2 => (WALL_MAX_NS - 100)..=WALL_MAX_NS,
        1 => any::<i64>()
    ];
    let optional = proptest::option::of(moment.clone());
    let processor = prop_oneof![2 => 0..100i64, 1 => Just(i64::MAX), 1 => any::<i64>()];
    let needs = proptest::collection::vec((0..6u32, any::<bool>()), 0..3);
    let times = ([moment.clone(), moment], [optional.clone(), optional.clone(), optional]);
    let one = (times, [processor.clone(), processor], 0..3u32, 0..6usize, needs);
    proptest::collection::vec(one, 1..6).prop_map(|all| {
        let unit_of = |(number, one): (u32, _)| {
            let (([start, end], [metadata, codegen, link]), [user, system], threads, kind, needs) =
                one;
            let mut needs: Vec<(u32, bool)> = needs;
            needs.retain(|_| number > 0);
            needs.iter_mut().for_each(|need| need.0 %= number);
            CompilationUnit {
                start_ns: i64::min(start, end),
                end_ns: i64::max(start, end),
                metadata_ns: metadata,
                codegen_ns: codegen,
                link_ns: link,
                user_ns: user,
                system_ns: system,
                threads,
                kind: UnitKind::ALL[kind],
                ..unit(number, [0, 0, 0], &needs)
            }
        };
        (0..).zip(all).map(unit_of).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn foreign_builds_do_no_harm(
        units in hostile(),
        measured in prop_oneof![1..4u32, Just(u32::MAX)],
        jobs in prop_oneof![0..4u32, Just(u32::MAX)],
        on: bool,
        cores in prop_oneof![1..4u32, Just(u32::MAX)],
    ) {
        if let Ok(build) = Build::new(units, WALL_MAX_NS, measured, on, cores) {
            analyse(&build);
            for pipelining in [true, false] {
                let simulated = simulate(&build, jobs, pipelining);
                prop_assert!(analyse(&simulated).critical_path.length_ns() <= simulated.wall_ns());
            }
        }
    }
}

/// The largest build that is taken, at its widest.
#[test]
fn the_largest_build_is_bounded_work() {
    let libs = (0..UNITS_MAX as u32 - 1).map(|n| {
        let start = i64::from(n) * 10;
        unit(n, [start, start + 3 + i64::from(n % 5), start + 9], &[])
    });
    let mut units: Vec<CompilationUnit> = libs.collect();
    let last = UNITS_MAX as u32 - 1;
    let all: Vec<(u32, bool)> = (0..last).map(|n| (n, true)).collect();
    units.push(unit(last, [100_000, 100_001, 100_002], &all));
    let build = build(units, 1, true);
    let wide = simulate(&build, 200, true);
    assert!(wide.wall_ns() < build.wall_ns() / 60);
    analyse(&wide);
}
