//! Suites with axes: crates compiled by two compilers, with threads, crate graphs and crates that
//! one of the compilers does not compile. Small to be read whole, and large as a real one is.

use dyno_model::build_graph::{Build, Gain, NoGain, gain, simulate};
use dyno_model::record::{CompilationUnit, Need, RunRow, Sample, Side, UnitKind};

use super::{Scenario, failure, run, series};

/// A build with what pipelining is worth to its case and side.
pub struct Built {
    pub host: String,
    pub build: Build,
    pub gain: Option<Result<Gain, NoGain>>,
}

struct Suite {
    benchmarks: &'static [&'static str],
    profiles: &'static [&'static str],
    scenarios: &'static [&'static str],
    threads: &'static [u32],
    units: usize,
}

/// Every kind of part once.
pub fn axes() -> Scenario {
    scenario(
        "axes",
        &Suite {
            benchmarks: &["serde", "syn", "regex"],
            profiles: &["check", "opt"],
            scenarios: &["full"],
            threads: &[1, 2, 4],
            units: 9,
        },
    )
}

/// 504 cases.
pub fn rustc() -> Scenario {
    scenario(
        "rustc",
        &Suite {
            benchmarks: &[
                "serde",
                "syn",
                "regex",
                "cargo",
                "ripgrep",
                "image",
                "hyper",
                "diesel",
                "clap",
                "bitmaps",
                "cranelift",
                "unicode",
                "stm32f4",
                "tt-muncher",
            ],
            profiles: &["check", "debug", "opt"],
            scenarios: &["full", "incr-full", "incr-unchanged"],
            threads: &[1, 2, 4, 8],
            units: 240,
        },
    )
}

/// Noise without a generator: a number in 0..1 that depends on the text alone.
fn chance(text: &str) -> f64 {
    let digest = dyno_model::id::Digest::of(text.as_bytes());
    let digits = u32::from_str_radix(&digest.hex()[..8], 16).expect("hexadecimal");
    f64::from(digits) / f64::from(u32::MAX)
}

fn scenario(name: &'static str, suite: &Suite) -> Scenario {
    let mut samples = Vec::new();
    for benchmark in suite.benchmarks {
        for profile in suite.profiles {
            for scenario in suite.scenarios {
                for threads in suite.threads {
                    let config = format!("profile={profile},scenario={scenario},threads={threads}");
                    if is_failing(benchmark, profile).is_none() {
                        samples.extend(case(benchmark, &config, profile, *threads));
                    }
                }
            }
        }
    }
    let mut run = RunRow { suite: "rustc".into(), target: "rustc".into(), ..run("local") };
    (run.baseline.asked, run.candidate.asked) = ("1.85.1".into(), "1.97.1".into());
    for benchmark in suite.benchmarks {
        for profile in suite.profiles {
            for scenario in suite.scenarios {
                for threads in suite.threads {
                    let config = format!("profile={profile},scenario={scenario},threads={threads}");
                    for side in is_failing(benchmark, profile).into_iter().flatten() {
                        run.failures.push(failing(benchmark, &config, *side));
                    }
                }
            }
        }
    }
    let builds = Side::BOTH.map(|side| built(suite.units, side)).into();
    Scenario { builds, ..Scenario::new(name, vec![run], &[("local", samples)]) }
}

/// The sides on which the cases of a benchmark with this profile fail.
fn is_failing(benchmark: &str, profile: &str) -> Option<&'static [Side]> {
    match (benchmark, profile) {
        ("syn", "opt") => Some(&[Side::Candidate]),
        ("diesel", "check") => Some(&[Side::Baseline]),
        ("regex", "opt") => Some(&Side::BOTH),
        _ => None,
    }
}

fn failing(benchmark: &str, config: &str, side: Side) -> dyno_model::record::Failure {
    let reason = "the process ended with exit code 101";
    let log = format!(
        "error[E0119]: conflicting implementations of trait `Clone`, by the {}\n --> src/{benchmark}.rs:12:5\n\
         error: aborting due to 1 previous error",
        side.name()
    );
    let failure = failure(Some(benchmark), Some(side), "measure", reason, &log);
    dyno_model::record::Failure { config: Some(config.to_string()), ..failure }
}

fn case(benchmark: &str, config: &str, profile: &str, threads: u32) -> Vec<Sample> {
    let n = f64::from(threads);
    let name = format!("{benchmark} {config}");
    let alone = 300.0 + 900.0 * chance(benchmark);
    let sigma = 0.05 + 0.2 * chance(&format!("{benchmark} {profile}"));
    let kappa = |more: f64| (0.002 + more) * n * (n - 1.0);
    let wall = |more: f64| alone * (1.0 + sigma * (n - 1.0) + kappa(more)) / n;
    // One benchmark scales worse; effects differ by benchmark and profile.
    let worse = if benchmark == "serde" { 0.008 } else { 0.0 };
    let change = match chance(&format!("change {benchmark} {profile}")) {
        c if c < 0.25 => 0.06 * c - 0.03,
        c if c > 0.8 => 0.2 * (c - 0.8) + 0.01,
        _ => 0.0,
    };
    let effect = (1.0 + change) * wall(worse) / wall(0.0) - 1.0;
    let all = [
        series(&name, "wall", 5, wall(0.0) * 1e6, effect, 0.003),
        series(&name, "max-rss", 5, 150e6, 0.0, 0.001),
        series(&name, "instructions:cachegrind", 1, alone * 3.1e6, change, 0.0),
    ];
    let named = |sample| Sample { benchmark: benchmark.into(), config: config.into(), ..sample };
    all.concat().into_iter().map(named).collect()
}

/// A crate graph of `number` units, as cargo would build it with four jobs.
fn built(number: usize, side: Side) -> Built {
    let faster = if side == Side::Candidate { 0.9 } else { 1.0 };
    let mut units: Vec<CompilationUnit> = Vec::new();
    let mut now = 1_000_000;
    for unit in 0..number {
        let last = unit + 1 == number;
        let random = |what: &str| chance(&format!("{what} {unit}"));
        let front = (40e6 + 900e6 * random("front").powi(3)) * faster;
        let codegen = (20e6 + 1200e6 * random("codegen").powi(4)) * faster;
        let kind = match (last, unit % 12) {
            (true, _) => UnitKind::Bin,
            (_, 5) => UnitKind::ProcMacro,
            (_, 8) => UnitKind::BuildScript,
            (_, 9) => UnitKind::RunBuildScript,
            _ => UnitKind::Lib,
        };
        let needs = (0..unit).filter(|need| {
            last || unit - need < 14 && chance(&format!("need {unit} {need}")) < 0.18
        });
        let need = |need: usize| Need {
            unit: need as u32,
            end: last || units[need].kind != UnitKind::Lib,
        };
        let needs: Vec<Need> = needs.map(need).collect();
        let (start_ns, metadata) = (now, now + front as i64);
        let end_ns = metadata + codegen as i64;
        units.push(CompilationUnit {
            benchmark: "ripgrep".into(),
            config: "jobs=4,profile=opt".into(),
            round: 0,
            side,
            sequence: 0,
            unit: unit as u32,
            name: format!(
                "{}-{unit}",
                ["memchr", "aho-corasick", "log", "grep", "ignore"][unit % 5]
            ),
            version: format!("1.{}.0", unit % 7),
            kind,
            start_ns,
            metadata_ns: matches!(kind, UnitKind::Lib).then_some(metadata),
            codegen_ns: matches!(kind, UnitKind::Lib | UnitKind::Bin).then_some(metadata),
            link_ns: matches!(kind, UnitKind::Bin).then_some(end_ns - (codegen / 3.0) as i64),
            end_ns,
            user_ns: ((front + codegen) * 0.9) as i64,
            system_ns: ((front + codegen) * 0.05) as i64,
            max_rss_bytes: 200 << 20,
            threads: 2,
            needs,
            taint: String::new(),
        });
        now = end_ns + 1_000_000;
    }
    let alone = Build::new(units, now, 1, true, 4).expect("it is a build");
    let walls = |pipelining, noise: [f64; 3]| {
        let wall = simulate(&alone, 4, pipelining).wall_ns() as f64;
        noise.map(|noise| (wall * noise) as i64)
    };
    let gain = gain(&walls(true, [1.0, 1.01, 0.99]), &walls(false, [1.0, 0.995, 1.008]), 0.95);
    Built { host: "local".into(), build: simulate(&alone, 4, true), gain: Some(gain) }
}
