//! Measuring one job: one container that holds both artifacts, one process after another on the
//! benchmark cores, baseline and candidate next to each other, each output checked.
//!
//! First every case runs once on each side without being recorded: that warms the page cache and
//! finds the cases that do not work. Then come the rounds: `model::sampling` says which is next, by
//! how precisely each case is known so far. Instructions are counted at the end (`count`).

mod count;
mod round;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use dyno_model::catalog::suite::{Answer, Benchmark, Case, Stream, Suite, fill};
use dyno_model::id::Digest;
use dyno_model::plan::Job;
use dyno_model::record::{Failure, Sample, Side};
use dyno_model::sampling::{Closed, Sampler, Turn};
use dyno_model::taint;
use dyno_probe::{End, Exit, Run, Settings};

use crate::artifact::{Artifact, Scratch, describe};
use crate::counters;
use crate::engine::{Engines, Mount, Root, Spec, base_env};
use crate::error::{Kind, Result, While};
use crate::event::{Events, Phase, Unit};
use crate::fault;
use crate::host::quiet::QuietHost;
use crate::http::file_digest;
use crate::lasting::Lasting;
use round::Round;

/// The variable that moves a process's stack, by as much as the round says.
const LAYOUT: &str = "DYNO_LAYOUT";

/// The user that measured programs run as; the probe is another.
const USER: u32 = 1000;

/// Memory of a container beyond what its programs may use: the probe's own.
const PROBE_BYTES: u64 = 16 << 20;

/// What is measured, on what.
pub struct Bench<'a> {
    pub suite: &'a Suite,
    pub suite_folder: &'a Path,
    pub job: &'a Job,
    pub root: Arc<dyn Root>,
    /// `None` for a side whose build failed: the other is measured alone.
    pub artifacts: BTreeMap<Side, Artifact>,
    pub inputs: Option<Artifact>,
    pub engines: Arc<Engines>,
    /// What the host allows a container, in bytes; a benchmark's limit may be lower.
    pub memory_bytes: u64,
    /// Whether processes get the same address layout each time.
    pub fixed_layout: bool,
    pub benchmark_cores: BTreeSet<u32>,
    pub all_cores: BTreeSet<u32>,
    pub cache: PathBuf,
    pub events: Events,
}

/// What measuring came to.
#[derive(Debug, Default)]
pub struct Measured {
    pub samples: Vec<Sample>,
    pub failures: Vec<Failure>,
    pub notices: Vec<String>,
    /// The most rounds that a case got.
    pub rounds: u32,
    /// Of the rounds' time, the share spent inside measured processes.
    pub share: f64,
    pub rounds_s: f64,
    pub counting_s: f64,
}

/// A case on a side, ready to run.
struct Prepared<'a> {
    case: &'a Case,
    side: Side,
    run: Run,
    expected: Digest,
    stream: Stream,
    time_s: u64,
    /// Why it runs no more.
    failed: Option<Failure>,
}

impl Bench<'_> {
    /// Measures the whole job.
    pub async fn measure(&self, quiet: &mut QuietHost) -> Result<Measured> {
        let scratch = Scratch::new(&self.cache)?;
        let artifacts = fault::at("measure.lay-out", || self.lay_out(&scratch))?;
        let mut prepared = self.prepare()?;
        let mut measured = Measured { samples: self.sizes(), ..Measured::default() };
        measured.notices.extend_from_slice(quiet.notices());
        let spec = Spec { cgroup: quiet.parent(), ..self.counted(&artifacts) };
        let sandbox = {
            let verify = || quiet.verify();
            let mut container = Lasting::start(&self.engines, spec, &verify, &self.events).await?;
            let sandbox = container.sandbox().clone();
            let rounds = self.rounds(quiet, &mut container, &mut prepared, &mut measured);
            let rounds = fault::around("measure.rounds", rounds).await;
            measured.notices.extend(container.remove().await);
            rounds?;
            sandbox
        };
        // Counts do not depend on time, and want all cores.
        quiet.share_cores();
        measured.notices.extend(counters::notices(&sandbox, &measured.samples));
        if self.wants("instructions:cachegrind") {
            if sandbox.valgrind {
                let count = self.count(&artifacts, &mut prepared, &mut measured);
                match fault::around("measure.count", count).await {
                    // The rounds are worth keeping without.
                    Err(error) if error.kind != Kind::Interrupted => {
                        measured.notices.push(format!("instructions were not counted: {error}"));
                    }
                    counted => counted?,
                }
            } else {
                measured.notices.push(format!(
                    "instructions were not counted: the image {} has no Valgrind",
                    self.suite.image
                ));
            }
        }
        measured.failures.extend(prepared.into_iter().filter_map(|p| p.failed));
        Ok(measured)
    }

    fn wants(&self, metric: &str) -> bool {
        self.job.inputs.metrics.iter().any(|wanted| wanted == metric)
    }

    /// One folder with both artifacts under names of equal length: a path is part of a process's
    /// initial stack, and a longer one on one side would be a difference that is not the commits'.
    fn lay_out(&self, scratch: &Scratch) -> Result<PathBuf> {
        let top = scratch.folder("artifact")?;
        for (side, artifact) in &self.artifacts {
            let folder = top.join(letter(*side));
            std::fs::create_dir(&folder).while_(|| format!("making {}", folder.display()))?;
            close_to_others(&folder, group(*side))
                .while_(|| format!("closing {}", folder.display()))?;
            for name in artifact.files.keys() {
                let (from, to) = (artifact.folder.join("files").join(name), folder.join(name));
                std::fs::hard_link(&from, &to)
                    .or_else(|_| std::fs::copy(&from, &to).map(|_| ()))
                    .while_(|| format!("laying out {}", to.display()))?;
            }
        }
        Ok(top)
    }

    fn spec(&self, artifacts: &Path, cpus: BTreeSet<u32>) -> Spec {
        let limits = || self.suite.benchmarks.iter().map(|b| b.limits);
        // The probe holds both streams until they are hashed.
        let held = limits().map(|l| 2 * l.output_bytes).max().unwrap_or(0) + PROBE_BYTES;
        let memory = limits().map(|l| l.memory_bytes).max().unwrap_or(1 << 30) + held;
        let memory = memory.min(self.memory_bytes);
        let mut mounts = vec![
            Mount::read_only(artifacts, "/artifact"),
            Mount::read_only(self.suite_folder, "/suite"),
        ];
        if let Some(inputs) = &self.inputs {
            mounts.push(Mount::read_only(inputs.folder.join("files"), "/inputs"));
        }
        Spec {
            root: Arc::clone(&self.root),
            mounts,
            network: false,
            cpus,
            memory_bytes: memory,
            // The probe itself is one.
            pids: limits().map(|l| l.pids).max().unwrap_or(64) + 1,
            tmp_bytes: memory.saturating_sub(held).max(memory / 4) / 2,
            user: (USER, USER),
            fewer_cores_do: false,
            cgroup: None,
            probe: Settings::default(),
        }
    }

    /// The container of the rounds, where the kernel counts what the job asks for.
    fn counted(&self, artifacts: &Path) -> Spec {
        let counters = self.job.inputs.metrics.iter().cloned().collect();
        let probe = Settings { counters, fixed_layout: self.fixed_layout };
        Spec { probe, ..self.spec(artifacts, self.benchmark_cores.clone()) }
    }

    /// Every case on every side that was built, in the order of the job's cases.
    fn prepare(&self) -> Result<Vec<Prepared<'_>>> {
        let mut prepared = Vec::new();
        for case in &self.job.cases {
            let benchmark =
                self.suite.benchmark(&case.benchmark).expect("cases come from the suite");
            for side in Side::BOTH.into_iter().filter(|side| self.artifacts.contains_key(side)) {
                prepared.push(self.prepare_one(case, benchmark, side)?);
            }
        }
        Ok(prepared)
    }

    fn prepare_one<'a>(
        &self,
        case: &'a Case,
        benchmark: &Benchmark,
        side: Side,
    ) -> Result<Prepared<'a>> {
        let artifact = format!("/artifact/{}", letter(side));
        let mut values = BTreeMap::from([
            ("artifact", artifact.as_str()),
            ("inputs", "/inputs"),
            ("suite", "/suite"),
        ]);
        values.extend(case.config.0.iter().map(|(axis, value)| (axis.as_str(), value.as_str())));
        let expected = match &benchmark.expected.answer {
            Answer::Digest(digest) => digest.clone(),
            Answer::File(path) => file_digest(&self.suite_folder.join(path))
                .while_(|| format!("reading {path} of the suite"))?,
        };
        let mut env = base_env();
        env.extend(benchmark.env.iter().map(|(name, value)| (name.clone(), fill(value, &values))));
        let run = Run {
            argv: benchmark.command.iter().map(|word| fill(word, &values)).collect(),
            env,
            cwd: "/tmp".into(),
            uid: USER,
            gid: group(side),
            stdin: benchmark.stdin.as_ref().map(|path| format!("/suite/{path}")),
            time_ms: benchmark.limits.time_s * 1000,
            output_bytes: benchmark.limits.output_bytes,
            stream: false,
            count_instructions: false,
        };
        let time_s = benchmark.limits.time_s;
        let stream = benchmark.expected.stream;
        Ok(Prepared { case, side, run, expected, stream, time_s, failed: None })
    }

    /// The size of each file of each artifact: a series a file, sampled once.
    fn sizes(&self) -> Vec<Sample> {
        if !self.wants("artifact-size") {
            return Vec::new();
        }
        let sample = |side: Side, name: &String, size: u64| Sample {
            benchmark: format!("artifact:{name}"),
            config: String::new(),
            metric: "artifact-size".into(),
            round: 0,
            side,
            sequence: 0,
            value: size as i64,
            taint: String::new(),
        };
        let files = |(side, artifact): (&Side, &Artifact)| -> Vec<Sample> {
            artifact.files.iter().map(|(name, (_, size))| sample(*side, name, *size)).collect()
        };
        self.artifacts.iter().flat_map(files).collect()
    }

    async fn rounds(
        &self,
        quiet: &QuietHost,
        container: &mut Lasting<'_>,
        prepared: &mut [Prepared<'_>],
        measured: &mut Measured,
    ) -> Result<()> {
        let (job, budget) = (self.job, self.job.inputs.budget);
        let index: BTreeMap<(&Case, Side), usize> =
            prepared.iter().enumerate().map(|(i, p)| ((p.case, p.side), i)).collect();
        let mut sampler = Sampler::new(job.targets.clone(), budget, job.confidence, job.seed);
        let (least, most) = (budget.rounds_min, budget.rounds_max);
        let rounds = if least < most { format!("{least} to {most}") } else { most.to_string() };
        self.events.begin(
            Phase::Measure,
            format!(
                "{} case(s), {rounds} round(s) after one to warm up; {}",
                job.cases.len(),
                quiet.how()
            ),
        );
        let warming = prepared.len() as u64;
        for (done, ready) in prepared.iter_mut().enumerate() {
            ready.check(&container.run(&ready.run).await?.exit);
            let total = warming + 2 * sampler.progress().1;
            self.events.progress(Phase::Measure, done as u64 + 1, total, Unit::Processes);
        }
        let started = Instant::now();
        let (mut inside_ns, mut sequence) = (0, 0);
        while let Some(round) = sampler.next_round() {
            let case = round[0].case;
            let sides = round.map(|turn| index.get(&(&job.cases[case], turn.side)).copied());
            let mut done = Round::default();
            for (turn, i) in round.into_iter().zip(sides) {
                let Some(i) = i.filter(|i| prepared[*i].failed.is_none()) else { continue };
                let ready = &mut prepared[i];
                let mut run = ready.run.clone();
                run.env.insert(LAYOUT.into(), "x".repeat(turn.padding(job.seed)));
                let before = quiet.glance();
                let ran = container.run(&run).await?;
                let after = quiet.glance();
                ready.check(&ran.exit);
                let Ok(exit) = ran.exit else { continue };
                let taint = match ran.again {
                    true => taint::LOST.to_string(),
                    false => quiet.taint(before, after, &exit),
                };
                done.spent_ns += exit.wall_ns;
                if ready.failed.is_none() {
                    done.taints.push(taint);
                    done.samples.extend(self.samples(ready, &exit, turn, sequence));
                }
                sequence += 1;
            }
            inside_ns += done.spent_ns;
            match done.taints.len() {
                0 => sampler.fail(case),
                1 => sampler.measure_alone(case),
                _ => {}
            }
            match done.disturbed() {
                true => sampler.repeat_round(case, done.spent_ns),
                false => {
                    sampler.finish_round(case, done.spent_ns, &done.values(&job.targets[case]))
                }
            }
            measured.samples.extend(done.into_samples());
            let (done, total) = sampler.progress();
            let (done, total) = (warming + 2 * done, warming + 2 * total);
            self.events.progress(Phase::Measure, done, total, Unit::Processes);
        }
        measured.rounds_s = started.elapsed().as_secs_f64();
        measured.share = inside_ns as f64 / 1e9 / measured.rounds_s.max(1e-9);
        measured.notices.extend(self.disturbed(&sampler));
        measured.rounds = sampler.closed().map(|(_, rounds)| rounds).max().unwrap_or(0);
        let share = measured.share * 100.0;
        self.events.end(
            Phase::Measure,
            format!(
                "{} in {:.0} s, {share:.1} % of it inside measured processes",
                came_to(&sampler),
                measured.rounds_s
            ),
        );
        Ok(())
    }

    /// What to say of rounds that were disturbed, if any were.
    fn disturbed(&self, sampler: &Sampler) -> Option<String> {
        let disturbed: u32 = sampler.disturbed().sum();
        let cases = self.job.cases.iter().zip(sampler.closed());
        let noisy = cases.filter(|(_, (closed, _))| *closed == Some(Closed::Noisy));
        let noisy: Vec<String> = noisy.map(|(case, _)| case.to_string()).collect();
        let rest = match noisy.is_empty() {
            true => String::new(),
            false => format!("; too noisy to get all theirs: {}", noisy.join(", ")),
        };
        (disturbed > 0).then(|| {
            format!("{disturbed} round(s) were disturbed by something else on the machine and repeated{rest}")
        })
    }

    fn samples(&self, ready: &Prepared<'_>, exit: &Exit, turn: Turn, sequence: u32) -> Vec<Sample> {
        let values = [
            ("wall", exit.wall_ns),
            ("user", exit.user_ns),
            ("system", exit.system_ns),
            ("max-rss", exit.max_rss_bytes),
            ("minor-faults", exit.minor_faults),
            ("major-faults", exit.major_faults),
            ("voluntary-switches", exit.voluntary_switches),
            ("involuntary-switches", exit.involuntary_switches),
        ];
        let wanted = values.iter().filter(|(metric, _)| self.wants(metric));
        let read = wanted.map(|(metric, value)| (*metric, *value, ""));
        let sample = |(metric, value, taint): (&str, u64, &str)| Sample {
            taint: taint.into(),
            ..ready.sample(metric, value, turn.round, sequence)
        };
        read.chain(counters::counted(exit)).map(sample).collect()
    }
}

/// `184 rounds (6 cases precise enough, 4 out of rounds)`.
fn came_to(sampler: &Sampler) -> String {
    let mut counts: BTreeMap<Closed, u32> = BTreeMap::new();
    let mut rounds = 0;
    for (closed, done) in sampler.closed() {
        rounds += done;
        *counts.entry(closed.unwrap_or(Closed::Failed)).or_default() += 1;
    }
    let words = |(closed, cases): (&Closed, &u32)| {
        let noun = if *cases == 1 { "case" } else { "cases" };
        let why = match closed {
            Closed::Precise => "precise enough",
            Closed::LeastRounds => "with nothing to be precise about",
            Closed::OutOfRounds => "out of rounds",
            Closed::OutOfTime => "out of time",
            Closed::Noisy => "too noisy",
            Closed::Failed => "failed",
        };
        format!("{cases} {noun} {why}")
    };
    let words: Vec<String> = counts.iter().map(words).collect();
    let disturbed: u32 = sampler.disturbed().sum();
    let repeated = match disturbed {
        0 => String::new(),
        _ => format!(" and {disturbed} that were disturbed"),
    };
    format!("{rounds} rounds{repeated} ({})", words.join(", "))
}

/// The group that a side's programs run as, which alone may enter the folder of its artifact: or a
/// candidate could run the baseline in its place.
const fn group(side: Side) -> u32 {
    match side {
        Side::Baseline => 1001,
        Side::Candidate => 1002,
    }
}

/// Where this process may: without root it cannot give a folder away.
fn close_to_others(folder: &Path, group: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    std::os::unix::fs::chown(folder, Some(0), Some(group))?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o750))
}

/// The folder of a side's artifact.
const fn letter(side: Side) -> &'static str {
    match side {
        Side::Baseline => "a",
        Side::Candidate => "b",
    }
}

impl Prepared<'_> {
    /// Notes the case as failed on this side if what came of it cannot be believed.
    fn check(&mut self, exit: &Result<Exit, String>) {
        let exit = match exit {
            Ok(exit) => exit,
            Err(why) => return self.fail("measure", why.clone(), String::new()),
        };
        let Some((step, reason)) = self.wrong(exit, self.time_s) else { return };
        let text = match self.stream {
            Stream::Stdout => &exit.stdout_tail,
            Stream::Stderr => &exit.stderr_tail,
        };
        let log = if step == "output" { text } else { &exit.stderr_tail };
        self.fail(step, reason, log.clone());
    }

    fn fail(&mut self, step: &str, reason: String, log_tail: String) {
        self.failed = Some(Failure {
            benchmark: Some(self.case.benchmark.clone()),
            config: Some(self.case.config.to_string()),
            side: Some(self.side),
            step: step.into(),
            reason,
            log_tail,
        });
    }

    /// What is wrong with a process that was to end within `time_s`: the step and the reason, as
    /// the end of a sentence.
    fn wrong(&self, exit: &Exit, time_s: u64) -> Option<(&'static str, String)> {
        let answer = match self.stream {
            Stream::Stdout => &exit.stdout_sha256,
            Stream::Stderr => &exit.stderr_sha256,
        };
        if exit.end != End::Code(0) {
            return Some(("measure", describe(&exit.end, time_s)));
        }
        if exit.leftovers > 0 {
            let noun = if exit.leftovers == 1 { "process" } else { "processes" };
            let names = exit.leftover_names.join(", ");
            let left = format!("left {} {noun} running ({names})", exit.leftovers);
            return Some((
                "measure",
                format!("{left}: what they do after its end is not measured"),
            ));
        }
        if let Some(residue) = &exit.residue {
            return Some(("measure", format!("left what cannot be removed: {residue}")));
        }
        let expected = self.expected.hex();
        (*answer != expected)
            .then(|| ("output", format!("a wrong answer: {answer} instead of {expected}")))
    }

    fn sample(&self, metric: &str, value: u64, round: u32, sequence: u32) -> Sample {
        Sample {
            benchmark: self.case.benchmark.clone(),
            config: self.case.config.to_string(),
            metric: metric.into(),
            round,
            side: self.side,
            sequence,
            value: i64::try_from(value).unwrap_or(i64::MAX),
            taint: String::new(),
        }
    }
}
