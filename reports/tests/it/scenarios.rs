//! Named comparisons, made the way dyno makes them: samples through the model's `summarise`,
//! `compare` and `judge`. The noise comes from a seed.

use std::collections::BTreeMap;

use dyno_model::catalog::policy::{self, Policy};
use dyno_model::id::Digest;
use dyno_model::record::{Built, Failure, Fingerprint, Outcome, Run, Sample, Side};
use dyno_model::verdict::{self, Concluded, Judged, SeriesKey};
use dyno_reports::{Input, Links, View};

pub struct Scenario {
    pub name: &'static str,
    pub runs: Vec<Run>,
    pub judged: Vec<Judged>,
    pub policy: Policy,
    pub concluded: Concluded,
}

impl Scenario {
    fn new(name: &'static str, runs: Vec<Run>, samples: &[(&str, Vec<Sample>)]) -> Self {
        let policy = policy::parse(
            "default",
            "policies/default.toml",
            include_str!("../../../policies/default.toml"),
            &[],
        )
        .expect("the project's own policy is read");
        let inputs: Vec<verdict::Input> = samples
            .iter()
            .flat_map(|(host, samples)| {
                verdict::summarise(samples).into_iter().map(|summary| verdict::Input {
                    host: host.to_string(),
                    architecture: "x86_64".into(),
                    summary,
                    history: None,
                })
            })
            .collect();
        let judged = verdict::judge(verdict::compare(&inputs, &policy), &policy);
        let concluded = verdict::conclude(&judged, &policy);
        Self { name, runs, judged, policy, concluded }
    }

    pub fn view(&self) -> View {
        let links = Links {
            samples: self
                .runs
                .iter()
                .map(|r| format!("samples/arch=x86_64/month=2026-11/{}.parquet", r.job))
                .collect(),
            store: "file:///var/lib/dyno/store".to_string(),
            command: "dyno run wasmi 0.31.2 0.46.0".to_string(),
        };
        self.view_with(links)
    }

    pub fn view_with(&self, links: Links) -> View {
        View::new(Input {
            runs: &self.runs,
            judged: &self.judged,
            policy: &self.policy,
            concluded: &self.concluded,
            links,
            sql: &sql,
        })
    }
}

fn sql(key: &SeriesKey) -> String {
    format!(
        "SELECT * FROM comparisons\nWHERE benchmark = '{}' AND config = '{}' AND metric = '{}' AND host = '{}'",
        key.benchmark, key.config, key.metric, key.host
    )
}

pub fn run(host: &str) -> Run {
    let built = |asked: &str, size| Built {
        asked: asked.to_string(),
        commit: Digest::of(asked.as_bytes()).hex()[..40].parse().expect("40 digits"),
        artifact: Some(Digest::of(format!("artifact {asked}").as_bytes())),
        files: BTreeMap::from([(
            "wasmi_cli".to_string(),
            (Digest::of(format!("file {asked}").as_bytes()), size),
        )]),
        build_s: Some(81.3),
    };
    Run {
        job: Digest::of(host.as_bytes()).into(),
        dyno_version: "0.1.0".to_string(),
        suite: "wasmi".to_string(),
        suite_digest: Digest::of(b"suite"),
        target: "wasmi_cli".to_string(),
        image: "rust-trixie".to_string(),
        image_id: Digest::of(b"image"),
        host: host.to_string(),
        fingerprint: Fingerprint {
            architecture: "x86_64".to_string(),
            cpu: "Example CPU @ 2.50 GHz".to_string(),
            kernel: "6.12.0".to_string(),
            cores: 2,
            memory_bytes: 8 << 30,
            virtualised: true,
            cgroup: "v2".to_string(),
            engine: "embedded 0.7.0".to_string(),
            benchmark_cores: "1".to_string(),
            ..Fingerprint::default()
        },
        baseline: built("0.31.2", 4_812_416),
        candidate: Built { build_s: None, ..built("0.46.0", 5_120_768) },
        metrics: ["wall", "max-rss", "instructions:cachegrind"].map(str::to_string).to_vec(),
        rounds: 5,
        budget: None,
        seed: 0x9e37_79b9_7f4a_7c15,
        outcome: Outcome::Done,
        failures: Vec::new(),
        notices: vec![
            "this host has no hardware counters: instructions are Valgrind's".to_string(),
        ],
        started_us: 1_795_182_000_000_000,
        finished_us: 1_795_182_154_200_000,
        measured_share: 0.9634,
        phases_s: [("measure", 62.1), ("build", 81.3), ("image", 4.2), ("publish", 0.04)]
            .map(|(name, s)| (name.to_string(), s))
            .into(),
    }
}

/// Samples of one series: `effect` on top of `base`, with normal-looking noise of relative size
/// `noise`.
pub fn series(
    benchmark: &str,
    metric: &str,
    rounds: u32,
    base: f64,
    effect: f64,
    noise: f64,
) -> Vec<Sample> {
    let mut state = Digest::of(format!("{benchmark} {metric}").as_bytes()).hex()[..16]
        .chars()
        .fold(0u64, |state, c| state << 4 | u64::from(c.to_digit(16).expect("hexadecimal")));
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut sample = |round, side| {
        let centred = (0..4).map(|_| uniform()).sum::<f64>() - 2.0;
        let factor = if side == Side::Candidate { 1.0 + effect } else { 1.0 };
        Sample {
            benchmark: benchmark.to_string(),
            config: String::new(),
            metric: metric.to_string(),
            round,
            side,
            sequence: 0,
            value: (base * factor * (1.0 + noise * centred)).round() as i64,
            taint: String::new(),
        }
    };
    (0..rounds).flat_map(|r| Side::BOTH.map(|side| sample(r, side))).collect()
}

/// One benchmark with the metrics of the default policy; `noise` 0.002 settles in 5 rounds.
fn bench(name: &str, wall: f64, effect: f64, noise: f64) -> Vec<Sample> {
    [
        series(name, "wall", 5, wall * 1e6, effect, noise),
        series(name, "max-rss", 5, 12e6, 0.0, 0.001),
        series(name, "instructions:cachegrind", 1, wall * 3.1e6, effect * 0.9, 0.0),
    ]
    .concat()
}

fn benches(of: &[(&str, f64, f64, f64)]) -> Vec<Sample> {
    of.iter().flat_map(|(name, wall, effect, noise)| bench(name, *wall, *effect, *noise)).collect()
}

fn failure(
    benchmark: Option<&str>,
    side: Option<Side>,
    step: &str,
    reason: &str,
    log: &str,
) -> Failure {
    Failure {
        benchmark: benchmark.map(str::to_string),
        config: benchmark.map(|_| String::new()),
        side,
        step: step.to_string(),
        reason: reason.to_string(),
        log_tail: log.to_string(),
    }
}

fn one_host(name: &'static str, samples: Vec<Sample>) -> Scenario {
    Scenario::new(name, vec![run("local")], &[("local", samples)])
}

pub fn regressed() -> Scenario {
    one_host(
        "regressed",
        benches(&[
            ("fib", 131.0, 0.124, 0.002),
            ("json", 260.0, 0.031, 0.002),
            ("markdown", 87.0, 0.0, 0.002),
            ("regex", 410.0, 0.0, 0.03),
        ]),
    )
}

pub fn improved() -> Scenario {
    one_host(
        "improved",
        benches(&[
            ("fib", 131.0, -0.46, 0.002),
            ("json", 260.0, -0.31, 0.002),
            ("markdown", 87.0, -0.12, 0.002),
            ("regex", 410.0, 0.0, 0.0015),
        ]),
    )
}

pub fn mixed() -> Scenario {
    let mut scenario = one_host(
        "mixed",
        [
            benches(&[
                ("fib", 131.0, -0.46, 0.002),
                ("json", 260.0, 0.042, 0.006),
                ("markdown", 87.0, 0.0, 0.002),
                ("regex", 410.0, 0.004, 0.04),
            ]),
            series("sieve", "wall", 5, 52e6, -0.081, 0.004),
            series("sieve", "max-rss", 5, 9e6, 0.22, 0.001),
        ]
        .concat(),
    );
    scenario.runs[0].failures = vec![failure(
        Some("zlib"),
        Some(Side::Candidate),
        "output",
        "standard output is not what the suite expects",
        "line 1: expected 6f0c1a2e\nline 1: got      00000000",
    )];
    scenario
}

pub fn unchanged() -> Scenario {
    one_host("unchanged", benches(&[("fib", 131.0, 0.0, 0.001), ("json", 260.0, 0.0, 0.001)]))
}

pub fn all_inconclusive() -> Scenario {
    one_host(
        "all_inconclusive",
        [series("fib", "wall", 5, 131e6, 0.01, 0.04), series("json", "wall", 1, 260e6, 0.01, 0.04)]
            .concat(),
    )
}

pub fn build_failed() -> Scenario {
    let mut samples = benches(&[("fib", 131.0, 0.0, 0.002), ("json", 260.0, 0.0, 0.002)]);
    samples.retain(|s| s.side == Side::Baseline);
    let mut scenario = one_host("build_failed", samples);
    let run = &mut scenario.runs[0];
    run.outcome = Outcome::FailedCase;
    run.candidate.artifact = None;
    run.candidate.files.clear();
    run.failures = vec![failure(
        None,
        Some(Side::Candidate),
        "build",
        "the build ended with exit code 101",
        "   Compiling wasmi v0.46.0\nerror[E0308]: mismatched types\n  --> src/engine.rs:12:5\n\
         \x1b[1merror\x1b[0m: could not compile `wasmi` (lib) due to 1 previous error\n",
    )];
    scenario
}

pub fn wrong_output() -> Scenario {
    let mut scenario = one_host(
        "wrong_output",
        benches(&[("fib", 131.0, 0.0, 0.001), ("json", 260.0, 0.0, 0.001)]),
    );
    scenario.runs[0].outcome = Outcome::FailedCase;
    scenario.runs[0].failures = vec![failure(
        Some("regex"),
        Some(Side::Candidate),
        "output",
        "standard output is not what the suite expects",
        "expected sha256:1111…\ngot      sha256:2222…",
    )];
    scenario
}

pub fn no_series() -> Scenario {
    Scenario::new("no_series", Vec::new(), &[])
}

pub fn two_hosts() -> Scenario {
    let samples = |fib: f64| benches(&[("fib", 131.0, fib, 0.002), ("json", 260.0, 0.0, 0.001)]);
    let mut arm = run("arm64-1");
    arm.fingerprint.architecture = "aarch64".to_string();
    arm.fingerprint.engine = "docker 28.1".to_string();
    Scenario::new(
        "two_hosts",
        vec![run("local"), arm],
        &[("local", samples(0.05)), ("arm64-1", samples(-0.03))],
    )
}

pub fn all() -> Vec<Scenario> {
    vec![
        regressed(),
        improved(),
        mixed(),
        unchanged(),
        all_inconclusive(),
        build_failed(),
        wrong_output(),
        no_series(),
        two_hosts(),
    ]
}
