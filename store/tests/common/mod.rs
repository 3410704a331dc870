//! Records made up for tests and the benchmark: whole, deterministic, of any size.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dyno_model::catalog::policy::{self, Policy};
use dyno_model::catalog::suite::Source;
use dyno_model::id::{CommitId, Digest, JobId};
use dyno_model::record::{
    Built, BuiltFrom, CompilationUnit, Failure, Fingerprint, Need, Outcome, Record, RunRow, Sample,
    Side, Trust, UnitKind,
};
use dyno_store::{Folder, Store};

/// 2026-11-20 12:00 UTC.
pub const NOON_US: i64 = 1_795_176_000_000_000;

pub fn policy() -> Policy {
    let text = include_str!("../../../policies/default.toml");
    policy::parse("default", "policies/default.toml", text, &[]).unwrap()
}

/// Publishes `record` and takes its run row away again, as if it had never come: where it lay, and
/// its bytes.
pub async fn publish_without_run_row(store: &Store, record: &Record) -> (PathBuf, Vec<u8>) {
    store.publish(record).await.unwrap();
    let row = store.run_row(&record.run.job).await.unwrap().unwrap();
    let path = store.locate(&row.path(Folder::Runs));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    (path.into(), bytes)
}

pub fn commit(letter: char) -> CommitId {
    letter.to_string().repeat(40).parse().unwrap()
}

pub fn job(name: &str) -> JobId {
    Digest::of(name.as_bytes()).into()
}

fn built(asked: &str, commit: CommitId) -> Built {
    let artifact = Digest::of(commit.hex().as_bytes());
    let files = BTreeMap::from([("wasmi".to_string(), (artifact.clone(), 4_200_000))]);
    Built {
        asked: asked.into(),
        commit,
        artifact: Some(artifact),
        files,
        build_s: Some(80.1),
        image: None,
        version: None,
    }
}

/// A job called `name` of `a` (asked as `v1`) against `b` (asked as `v2`).
pub fn run(name: &str) -> RunRow {
    RunRow {
        job: job(name),
        dyno_version: "0.1.0".into(),
        suite: "wasmi".into(),
        suite_digest: Digest::of(b"suite"),
        target: "wasmi".into(),
        image: "wasm".into(),
        image_id: Digest::of(b"image"),
        host: "local".into(),
        fingerprint: Fingerprint {
            architecture: "x86_64".into(),
            cpu: "Test CPU \"7\" <µ>".into(),
            kernel: "6.12.0".into(),
            cores: 2,
            memory_bytes: 8 << 30,
            engine: "embedded 0.7.0".into(),
            benchmark_cores: "1".into(),
            fixed_layout: false,
            ..Fingerprint::default()
        },
        baseline: built("v1", commit('a')),
        candidate: built("v2", commit('b')),
        metrics: vec!["wall".into(), "max-rss".into()],
        rounds: 4,
        built_from: Some(BuiltFrom {
            source: Source::Crate("wasmi_cli".into()),
            image_digest: Digest::of(b"image definition"),
            inputs: BTreeMap::from([("json.wasm".to_string(), (Digest::of(b"json"), 51_200))]),
        }),
        budget: None,
        seed: u64::MAX - 7,
        outcome: Outcome::FailedCase,
        failures: vec![Failure {
            benchmark: Some("markdown".into()),
            config: None,
            side: Some(Side::Candidate),
            step: "output".into(),
            reason: "wrong output".into(),
            log_tail: "line 1\nline 2\t\"quoted\"\u{1b}[0m".into(),
        }],
        notices: vec!["no PMU".into()],
        started_us: NOON_US - 60_000_000,
        finished_us: NOON_US,
        trust: Trust::Trusted,
        ignores_threads: Vec::new(),
        measured_share: 0.1 + 0.2,
        phases_s: BTreeMap::from([("build".into(), 161.3), ("measure".into(), 1.0 / 3.0)]),
        queue: None,
        row_digests: BTreeMap::new(),
    }
}

/// Samples of one series: (baseline, candidate) of each round.
pub fn series(benchmark: &str, metric: &str, rounds: &[(i64, i64)]) -> Vec<Sample> {
    let sample = |round: usize, side: Side, value| Sample {
        benchmark: benchmark.into(),
        config: String::new(),
        metric: metric.into(),
        round: round as u32,
        side,
        sequence: (round * 2 + side as usize) as u32,
        value,
        taint: String::new(),
    };
    let pair = |(round, (b, c)): (usize, &(i64, i64))| {
        [sample(round, Side::Baseline, *b), sample(round, Side::Candidate, *c)]
    };
    rounds.iter().enumerate().flat_map(pair).collect()
}

/// A record with one slower, one unchanged and one noisy series.
pub fn record(name: &str) -> Record {
    let mut samples =
        series("sort", "wall", &[(1000, 1100), (1001, 1102), (999, 1099), (1000, 1101)]);
    let same = [(100_000, 100_010), (100_001, 99_999), (99_990, 100_000), (100_000, 99_995)];
    samples.extend(series("sort", "max-rss", &same));
    samples.extend(series(
        "json",
        "wall",
        &[(1000, 1100), (1000, 900), (1000, 1050), (1000, 1000)],
    ));
    samples[0].taint = "steal".into();
    Record { run: run(name), samples, units: Vec::new() }
}

/// A unit as a row: name, kind, start, metadata, code generation, linking, end in ms from the start
/// of the build, and what it needs (whether to its end).
type Made = (&'static str, UnitKind, [Option<i64>; 5], &'static [(u32, bool)]);

/// A crate graph with pipelining: `syn` starts when the metadata of `unicode` are ready.
const GRAPH: [Made; 5] = {
    use UnitKind::{Bin, Lib, ProcMacro};
    [
        ("unicode", Lib, [Some(100), Some(300), None, None, Some(500)], &[]),
        ("syn", Lib, [Some(310), Some(900), None, None, Some(1500)], &[(0, false)]),
        (
            "derive",
            ProcMacro,
            [Some(1510), None, Some(1700), Some(1900), Some(2000)],
            &[(0, true), (1, true)],
        ),
        ("serde", Lib, [Some(2010), Some(2300), None, None, Some(2600)], &[(2, true)]),
        ("app", Bin, [Some(2610), None, Some(2700), Some(2900), Some(3000)], &[(3, true)]),
    ]
};

/// The units of one build of [`GRAPH`], each moment `times` / 1000 as late. Without pipelining, all
/// but the first unit come 200 ms later.
pub fn build(of: &Sample, times: i64, pipelining: bool) -> Vec<CompilationUnit> {
    let unit = |(place, (name, kind, moments, needs)): (usize, &Made)| {
        let late = if pipelining || place == 0 { 0 } else { 200 };
        let [start, metadata, codegen, link, end] =
            moments.map(|moment| Some((moment? + late) * 1_000 * times));
        let (start, end) = (start.unwrap(), end.unwrap());
        CompilationUnit {
            benchmark: of.benchmark.clone(),
            config: of.config.clone(),
            round: of.round,
            side: of.side,
            sequence: of.sequence,
            unit: place as u32,
            name: (*name).into(),
            version: "1.0.0".into(),
            kind: *kind,
            start_ns: start,
            metadata_ns: metadata,
            codegen_ns: codegen,
            link_ns: link,
            end_ns: end,
            user_ns: (end - start) * 9 / 10,
            system_ns: (end - start) / 10,
            max_rss_bytes: 90 << 20,
            threads: 2,
            needs: needs.iter().map(|(unit, end)| Need { unit: *unit, end: *end }).collect(),
            taint: of.taint.clone(),
        }
    };
    GRAPH.iter().enumerate().map(unit).collect()
}

/// A record of the suite `rustc` on two cores: builds of a graph with pipelining on and off, and a
/// leaf crate with 1, 2 and 4 threads, which scales worse in the candidate.
pub fn graph(name: &str) -> Record {
    let mut run = run(name);
    (run.suite, run.target) = ("rustc".into(), "rustc".into());
    run.fingerprint.benchmark_cores = "2-3".into();
    run.failures.clear();
    run.outcome = Outcome::Done;
    for (built, asked, letter) in
        [(&mut run.baseline, "rust-1.85", 'c'), (&mut run.candidate, "rust-1.97", 'd')]
    {
        (built.asked, built.commit) = (asked.into(), commit(letter));
        built.artifact = Some(Digest::of(asked.as_bytes()));
    }
    let (mut samples, mut units) = (Vec::new(), Vec::new());
    let mut sequence = 0;
    for round in 0..3 {
        for pipelining in [true, false] {
            for side in Side::BOTH {
                let times = 1000 + i64::from(round) * 4 + 50 * side as i64;
                let wall = (3050 + if pipelining { 0 } else { 200 }) * 1_000 * times;
                let config = format!("jobs=2,pipelining={}", if pipelining { "on" } else { "off" });
                let sample = Sample {
                    benchmark: "app".into(),
                    config,
                    metric: "wall".into(),
                    round,
                    side,
                    sequence,
                    value: wall,
                    taint: String::new(),
                };
                units.extend(build(&sample, times, pipelining));
                samples.push(sample);
                sequence += 1;
            }
        }
        for threads in [1, 2, 4] {
            for side in Side::BOTH {
                let sigma = if side == Side::Baseline { 10 } else { 40 };
                let noise = i64::from((round * 7 + threads * 3) % 5) - 2;
                let n = i64::from(threads);
                let sample = |metric: &str, value| Sample {
                    benchmark: "leaf".into(),
                    config: format!("profile=check,threads={threads}"),
                    metric: metric.into(),
                    round,
                    side,
                    sequence,
                    value,
                    taint: String::new(),
                };
                let wall = (100 + sigma * (n - 1)) * 10_000_000 / n;
                samples.push(sample("wall", wall + noise * 500_000));
                samples.push(sample("instructions:u", 4_000_000 + n * 1000 + i64::from(round)));
                sequence += 1;
            }
        }
    }
    run.metrics = vec!["wall".into(), "instructions:u".into()];
    Record { run, samples, units }
}

/// A record of the usual size: `cases` cases of every metric in rounds, from a seed.
pub fn large(name: &str, cases: usize, rounds: u32, seed: u64) -> Record {
    let mut state = seed | 1;
    let mut noise = move || {
        // xorshift64: enough to keep values from compressing better than real ones do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % 2_000_003) as i64
    };
    let metrics = [
        "wall",
        "user",
        "system",
        "max-rss",
        "minor-faults",
        "major-faults",
        "voluntary-switches",
        "involuntary-switches",
    ];
    let mut samples = Vec::new();
    for case in 0..cases {
        for (index, metric) in metrics.iter().enumerate() {
            let values: Vec<(i64, i64)> = (0..rounds)
                .map(|_| match index {
                    0..=2 => (130_000_000 + noise(), 131_000_000 + noise()),
                    3 => (4096 * (3000 + noise() % 20), 4096 * (3010 + noise() % 20)),
                    4 => (1200 + noise() % 9, 1210 + noise() % 9),
                    _ => (noise() % 4, noise() % 4),
                })
                .collect();
            samples.extend(series(&format!("benchmark-{case}"), metric, &values));
        }
    }
    Record { run: run(name), samples, units: Vec::new() }
}
