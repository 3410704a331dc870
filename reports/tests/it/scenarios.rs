//! Named comparisons, made the way dyno makes them: samples through the model's `summarise`,
//! `compare` and `judge`. The noise comes from a seed.

use std::collections::BTreeMap;

use dyno_model::catalog::policy::{self, Policy};
use dyno_model::commit_name::Label;
use dyno_model::id::Digest;
use dyno_model::record::{Built, Failure, Fingerprint, Outcome, RunRow, Sample, Side, Trust};
use dyno_model::selfcheck::{SelfCheck, selfcheck};
use dyno_model::states::PastStates;
use dyno_model::stats::Variance;
use dyno_model::verdict::{
    self, Concluded, Failing, Judged, ScalingCase, ScalingSample, SeriesKey, scaling_cases,
};
use dyno_reports::view::{BuildShown, ScalingShown};
use dyno_reports::{Input, Links, View};

#[path = "rustc.rs"]
mod rustc;

pub use rustc::{axes, rustc};

pub struct Scenario {
    pub name: &'static str,
    pub runs: Vec<RunRow>,
    pub judged: Vec<Judged>,
    pub policy: Policy,
    pub concluded: Concluded,
    pub selfchecks: Vec<SelfCheck>,
    /// The samples of each host.
    pub samples: Vec<(String, Vec<Sample>)>,
    pub builds: Vec<rustc::Built>,
    /// The states in past runs, by benchmark.
    pub past_states: BTreeMap<&'static str, PastStates>,
}

/// The project's own policy.
pub fn default_policy() -> Policy {
    let text = include_str!("../../../policies/default.toml");
    policy::parse("default", "policies/default.toml", text, &[]).expect("it is read")
}

impl Scenario {
    /// Under the default policy, without history or self-checks; see [`Scenario::under`].
    fn new(name: &'static str, runs: Vec<RunRow>, samples: &[(&str, Vec<Sample>)]) -> Self {
        let samples = samples.iter().map(|(host, all)| (host.to_string(), all.clone())).collect();
        let concluded = verdict::conclude(&[], &Failing::default(), &default_policy());
        let empty = Self {
            name,
            runs,
            judged: Vec::new(),
            policy: default_policy(),
            concluded,
            selfchecks: Vec::new(),
            samples,
            builds: Vec::new(),
            past_states: BTreeMap::new(),
        };
        empty.under(default_policy(), None)
    }

    /// The same samples judged under `policy`, where each series has `history`.
    fn under(self, policy: Policy, history: Option<Variance>) -> Self {
        let architecture = |host: &str| {
            let run = self.runs.iter().find(|run| run.host == host).expect("a run of each host");
            run.fingerprint.architecture.clone()
        };
        let summaries = |samples: &[Sample]| verdict::summarise(samples);
        let measured = self.samples.iter().flat_map(|(host, samples)| {
            summaries(samples).into_iter().map(move |s| {
                let sides = [s.baseline.is_some(), s.candidate.is_some()];
                ((host.clone(), s.benchmark, s.config), sides)
            })
        });
        let failing = Failing::in_runs(&self.runs).with_measured(measured);
        let inputs: Vec<verdict::Input> = self
            .samples
            .iter()
            .flat_map(|(host, samples)| {
                summaries(samples).into_iter().map(|summary| verdict::Input {
                    host: host.clone(),
                    architecture: architecture(host),
                    is_flaky: failing.is_flaky(host, &summary.benchmark, &summary.config),
                    past_states: self.past_states.get(summary.benchmark.as_str()).copied(),
                    summary,
                    history,
                })
            })
            .collect();
        let judged = verdict::judge(verdict::compare(&inputs, &policy), &policy);
        let concluded =
            verdict::conclude(&judged, &Failing::in_comparison(&self.runs, &judged), &policy);
        Self { judged, concluded, policy, ..self }
    }

    pub fn view(&self) -> View {
        let links = Links {
            samples: self
                .runs
                .iter()
                .map(|r| format!("samples/arch=x86_64/month=2026-11/{}.parquet", r.job))
                .collect(),
            store: "file:///var/lib/dyno/store".to_string(),
            command: "dyno compare 0.31.2 0.46.0 --suite wasmi".to_string(),
            sql: "SELECT * FROM compare('0.31.2', '0.46.0', 'wasmi')".to_string(),
            // One has an address, so that its links are seen.
            report_url: (self.name == "regressed").then(|| "https://ci.example/7".to_string()),
        };
        self.view_with(links)
    }

    /// The scenario with these failures in the run of its first host.
    pub fn failing(mut self, failures: Vec<Failure>) -> Self {
        self.runs[0].failures = failures;
        let policy = self.policy.clone();
        self.under(policy, None)
    }

    /// The scaling of the cases with the axis `threads`.
    pub fn scalings(&self) -> Vec<ScalingCase> {
        let samples = self.samples.iter().flat_map(|(host, samples)| {
            samples.iter().map(move |sample| ScalingSample {
                job: "job",
                host,
                architecture: "x86_64",
                benchmark: &sample.benchmark,
                config: &sample.config,
                metric: &sample.metric,
                round: sample.round,
                side: sample.side,
                value: sample.value,
                is_tainted: !sample.taint.is_empty(),
            })
        });
        scaling_cases(samples, &std::collections::BTreeSet::new(), &self.policy)
    }

    pub fn view_with(&self, links: Links) -> View {
        self.view_of(links, &self.scalings(), "SELECT * FROM scaling", "SELECT * FROM pipelining")
    }

    /// A view with these scalings, and the SQL of those and of builds.
    pub fn view_of(
        &self,
        links: Links,
        scalings: &[ScalingCase],
        scaling_sql: &str,
        build_sql: &str,
    ) -> View {
        let shown = |case| ScalingShown { case, sql: scaling_sql };
        let scalings: Vec<ScalingShown<'_>> = scalings.iter().map(shown).collect();
        let builds = self.builds.iter().map(|built| BuildShown {
            host: &built.host,
            build: &built.build,
            gain: built.gain.as_ref(),
            sql: build_sql,
        });
        let builds: Vec<BuildShown<'_>> = builds.collect();
        let sides = self.runs.first().map(|run| [&run.baseline, &run.candidate]);
        let labels = [0, 1]
            .map(|side| Label::of_word(sides.map_or("none", |sides| sides[side].asked.as_str())));
        View::new(Input {
            runs: &self.runs,
            labels: &labels,
            set_aside: &[],
            judged: &self.judged,
            policy: &self.policy,
            concluded: &self.concluded,
            selfchecks: &self.selfchecks,
            scalings: &scalings,
            builds: &builds,
            links,
            sql: &sql,
            fold_sql: &fold_sql,
        })
    }
}

/// The SQL of a series.
pub fn sql(key: &SeriesKey) -> String {
    format!(
        "SELECT * FROM comparisons\nWHERE benchmark = '{}' AND config = '{}' AND metric = '{}' AND host = '{}'",
        key.benchmark, key.config, key.metric, key.host
    )
}

/// The SQL of a value of an axis.
pub fn fold_sql(axis: &str, value: &str) -> String {
    format!(
        "SELECT metric, host, geometric_mean(effect) FROM comparisons\nWHERE config = '{axis}={value}' GROUP BY metric, host"
    )
}

pub fn run(host: &str) -> RunRow {
    let built = |asked: &str, size| Built {
        asked: asked.to_string(),
        commit: Digest::of(asked.as_bytes()).hex()[..40].parse().expect("40 digits"),
        artifact: Some(Digest::of(format!("artifact {asked}").as_bytes())),
        files: BTreeMap::from([(
            "wasmi_cli".to_string(),
            (Digest::of(format!("file {asked}").as_bytes()), size),
        )]),
        build_s: Some(81.3),
        image: None,
        version: None,
    };
    RunRow {
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
            fixed_layout: false,
            ..Fingerprint::default()
        },
        baseline: built("0.31.2", 4_812_416),
        candidate: Built { build_s: None, ..built("0.46.0", 5_120_768) },
        metrics: ["wall", "max-rss", "instructions:cachegrind"].map(str::to_string).to_vec(),
        rounds: 5,
        built_from: None,
        budget: None,
        seed: 0x9e37_79b9_7f4a_7c15,
        outcome: Outcome::Done,
        failures: Vec::new(),
        notices: vec!["this host has no hardware counters: instructions are Valgrind's".into()],
        started_us: 1_795_182_000_000_000,
        finished_us: 1_795_182_154_200_000,
        trust: Trust::Trusted,
        ignores_threads: Vec::new(),
        measured_share: 0.9634,
        phases_s: [("measure", 62.1), ("build", 81.3), ("image", 4.2), ("publish", 0.04)]
            .map(|(name, s)| (name.to_string(), s))
            .into(),
        queue: None,
        row_digests: Default::default(),
    }
}

/// Samples of one series: `effect` on top of the value `baseline`, with normal-looking noise of
/// relative size `noise`.
pub fn series(
    benchmark: &str,
    metric: &str,
    rounds: u32,
    baseline: f64,
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
            value: (baseline * factor * (1.0 + noise * centred)).round() as i64,
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

pub fn benches(given: &[(&str, f64, f64, f64)]) -> Vec<Sample> {
    given
        .iter()
        .flat_map(|(name, wall, effect, noise)| bench(name, *wall, *effect, *noise))
        .collect()
}

pub fn failure(
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
        step: step.into(),
        reason: reason.to_string(),
        log_tail: log.to_string(),
    }
}

pub fn one_host(name: &'static str, samples: Vec<Sample>) -> Scenario {
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
    let scenario = one_host(
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
            // Nobody counted its instructions, so its wall time decides; it is noisy.
            series("startup", "wall", 5, 9e6, 0.012, 0.04),
        ]
        .concat(),
    );
    scenario.failing(vec![failure(
        Some("zlib"),
        Some(Side::Candidate),
        "output",
        "standard output is not what the suite expects",
        "line 1: expected 6f0c1a2e\nline 1: got      00000000",
    )])
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
    scenario.failing(vec![failure(
        None,
        Some(Side::Candidate),
        "build",
        "the build ended with exit code 101",
        "   Compiling wasmi v0.46.0\nerror[E0308]: mismatched types\n  --> src/engine.rs:12:5\n\
         \x1b[1merror\x1b[0m: could not compile `wasmi` (lib) due to 1 previous error\n",
    )])
}

/// The candidate did not build, so that nothing was measured.
pub fn not_built() -> Scenario {
    let samples = vec![("local".to_string(), Vec::new())];
    Scenario { name: "not_built", samples, ..build_failed() }.under(default_policy(), None)
}

/// Rounds on a machine whose speed changed: the medians of the sides are of different rounds.
pub fn medians_apart() -> Scenario {
    let mut samples = series("cold", "wall", 7, 100e6, 0.0, 0.0);
    let rounds =
        [(100, 125), (250, 600), (100, 140), (300, 950), (110, 141), (105, 150), (260, 610)];
    for sample in &mut samples {
        let (baseline, candidate) = rounds[sample.round as usize];
        let ms = if sample.side == Side::Baseline { baseline } else { candidate };
        sample.value = ms * 1_000_000;
    }
    samples.extend(series("steady", "wall", 7, 260e6, 0.0, 0.002));
    one_host("medians_apart", samples)
}

pub fn wrong_output() -> Scenario {
    let mut scenario = one_host(
        "wrong_output",
        benches(&[("fib", 131.0, 0.0, 0.001), ("json", 260.0, 0.0, 0.001)]),
    );
    scenario.runs[0].outcome = Outcome::FailedCase;
    scenario.failing(vec![failure(
        Some("regex"),
        Some(Side::Candidate),
        "output",
        "standard output is not what the suite expects",
        "expected sha256:1111…\ngot      sha256:2222…",
    )])
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

/// Two hosts of one architecture contradict each other about fib; past runs lend their noise; one
/// host was checked, and its false positives come too often.
pub fn hosts_conflict() -> Scenario {
    let samples = |fib: f64| {
        let wall = |name, wall, effect| series(name, "wall", 5, wall, effect, 0.002);
        [wall("fib", 131e6, fib), wall("json", 260e6, 0.031), wall("regex", 87e6, 0.0)].concat()
    };
    let scenario = Scenario::new(
        "hosts_conflict",
        vec![run("epyc-1"), run("epyc-2")],
        &[("epyc-1", samples(0.05)), ("epyc-2", samples(0.0))],
    );
    let scenario = scenario.under(default_policy(), Some(Variance { value: 4e-6, df: 24.0 }));
    let fingerprint = scenario.runs[0].fingerprint.digest();
    // The self-check of a machine that is not: what was found above is taken for false.
    let checks = vec![scenario.judged.clone(); 4];
    let selfchecks = vec![selfcheck("epyc-1", fingerprint, &checks, 0.05, 0.95)];
    Scenario { selfchecks, ..scenario }
}

/// A suite with threads, where wall time decides, and instructions say the contrary; a stress test only informs.
pub fn threads() -> Scenario {
    let with_threads = |threads: &str, samples: Vec<Sample>| -> Vec<Sample> {
        let config = format!("threads={threads}");
        samples.into_iter().map(|sample| Sample { config: config.clone(), ..sample }).collect()
    };
    let both_metrics = |wall: f64, count: f64| {
        [
            series("serde", "wall", 5, 900e6, wall, 0.004),
            series("serde", "instructions:cachegrind", 1, 4e9, count, 0.0),
        ]
        .concat()
    };
    let samples = [
        with_threads("1", both_metrics(0.0, 0.0004)),
        with_threads("4", both_metrics(-0.39, 0.083)),
        series("stress", "wall", 5, 400e6, 0.21, 0.004),
    ]
    .concat();
    let text = include_str!("../../../policies/default.toml");
    let text = format!("{text}\n[[inform]]\nbenchmark = \"stress*\"\n");
    let policy = policy::parse("threads", "policies/threads.toml", &text, &[]).expect("it is read");
    let mut scenario = one_host("threads", samples).under(policy, None);
    let checks = vec![Scenario::new("", vec![run("local")], &[]).judged; 20];
    let digest = scenario.runs[0].fingerprint.digest();
    let mut check = selfcheck("local", digest, &checks, 0.05, 0.95);
    (check.checks, check.rejected, check.low, check.high) = (200, 7, 0.014_186, 0.070_781);
    scenario.selfchecks = vec![check];
    scenario
}

/// Wall time contradicts the instructions of one case, memory grows where instructions improve, one
/// metric begins at zero, disturbance comes with the candidate, and one case is flaky.
pub fn contradicted() -> Scenario {
    let mut samples = benches(&[("steady", 260.0, -0.05, 0.002), ("lottery", 90.0, 0.2, 0.002)]);
    samples.retain(|s| (s.benchmark.as_str(), s.metric.as_str()) != ("steady", "max-rss"));
    samples.extend(series("cache", "wall", 5, 87e6, 2.58, 0.002));
    samples.extend(series("cache", "instructions:cachegrind", 1, 270e6, 0.0001, 0.0));
    samples.extend(series("steady", "max-rss", 5, 12e6, 0.22, 0.001));
    let mut faults = series("steady", "major-faults", 8, 40.0, 0.0, 0.0);
    faults.iter_mut().filter(|s| s.side == Side::Baseline).for_each(|s| s.value = 0);
    samples.extend(faults);
    let mut disturbed = series("steady", "wall", 30, 260e6, -0.05, 0.002);
    disturbed.retain(|s| s.round >= 5);
    for sample in &mut disturbed {
        let of_candidate = sample.side == Side::Candidate;
        sample.taint = if of_candidate { "contention" } else { "pair" }.to_string();
    }
    samples.extend(disturbed);
    one_host("contradicted", samples).failing(vec![failure(
        Some("lottery"),
        Some(Side::Candidate),
        "measure",
        "ended with signal 11",
        "",
    )])
}

/// One case has one slow run in twelve before and five after, and another is slow on both sides at
/// once; of a third a past run was slow.
pub fn states() -> Scenario {
    let mut samples = benches(&[("steady", 260.0, 0.0, 0.002)]);
    for (benchmark, rounds, slow) in
        [("cache", 12, [&[4][..], &[1, 3, 6, 7, 10]]), ("pool", 6, [&[0, 2, 5], &[0, 2, 5]])]
    {
        let mut wall = series(benchmark, "wall", rounds, 87e6, 0.0, 0.001);
        for sample in &mut wall {
            if slow[sample.side as usize].contains(&sample.round) {
                sample.value += sample.value / 2;
            }
        }
        samples.extend(wall);
    }
    samples.extend(series("seldom", "wall", 5, 131e6, 0.0, 0.0005));
    let past = PastStates { runs: 8, runs_with_states: 3, low: 131_000_000, high: 190_000_000 };
    let past_states = BTreeMap::from([("seldom", past)]);
    Scenario { past_states, ..one_host("states", samples) }.under(default_policy(), None)
}

pub fn all() -> Vec<Scenario> {
    vec![
        regressed(),
        improved(),
        mixed(),
        unchanged(),
        all_inconclusive(),
        build_failed(),
        not_built(),
        medians_apart(),
        wrong_output(),
        no_series(),
        two_hosts(),
        hosts_conflict(),
        threads(),
        axes(),
        contradicted(),
        states(),
    ]
}
