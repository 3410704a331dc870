//! Measuring one job: a container for each side, one process after another on the benchmark cores,
//! baseline and candidate next to each other, each output checked.
//!
//! First every case runs once on each side without being recorded: that warms the page cache and
//! finds the cases that do not work. Then come the rounds: `model::sampling` says which is next, by
//! how precisely each case is known so far. Instructions are counted at the end (`count`).

mod count;
mod counters;
mod lasting;
mod pair;
mod parity;
mod round;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use dyno_model::catalog::suite::{
    Benchmark, Case, Crate, ExpectedAnswer, Limits, Program, Stream, Suite, Workload, fill,
};
use dyno_model::id::Digest;
use dyno_model::metric::{self, ARTIFACT_SIZE, CACHEGRIND, WALL};
use dyno_model::plan::Job;
use dyno_model::record::{CompilationUnit, Failure, Sample, Side};
use dyno_model::sampling::{Sampler, ScheduledRun, StopReason};
use dyno_model::step::Step;
use dyno_model::taint;
use dyno_probe::{End, Exit, Settings, Spawn};

use crate::lasting::{Lasting, Verify};
use dyno_base::digest::file_digest;
use dyno_base::error::{Kind, Result, While};
use dyno_base::event::{Events, Phase, Unit};
use dyno_base::fault;
use dyno_build::artifact::{Artifact, describe};
use dyno_engine::{Engines, Mount, Root, Spec, base_env};
use dyno_host::quiet::QuietHost;
use dyno_toolchain::prepare::Ready;
use dyno_toolchain::sources::Sources;
use dyno_toolchain::{CRATES, PREPARED, units, work};
use pair::Pair;
use round::Round;

/// The variable that moves a process's stack, by as much as the round says.
const LAYOUT: &str = "DYNO_LAYOUT";

/// The user that measured programs run as; the probe is another.
const USER: u32 = 1000;

/// Memory of a container beyond what its programs may use: the probe's own.
const PROBE_BYTES: u64 = 16 << 20;

pub use parity::Parity;

/// How many cases a sentence names.
const NAMED_MAX: usize = 5;

/// What is measured, on what.
pub struct Bench<'a> {
    pub suite: &'a Suite,
    pub suite_folder: &'a Path,
    pub job: &'a Job,
    /// Without a side whose build failed: the other is measured alone.
    pub subjects: BTreeMap<Side, Subject>,
    /// Of a suite of crates.
    pub sources: Option<&'a Sources>,
    pub inputs: Option<Artifact>,
    pub engines: Arc<Engines>,
    /// What the host allows a container, in bytes; a benchmark's limit may be lower.
    pub memory_bytes: u64,
    /// Whether processes get the same address layout each time.
    pub fixed_layout: bool,
    pub benchmark_cores: BTreeSet<u32>,
    pub all_cores: BTreeSet<u32>,
    pub events: Events,
}

/// One side: what is measured, and where.
pub struct Subject {
    pub root: Arc<dyn Root>,
    /// Without files for a compiler that is its image's own.
    pub artifact: Artifact,
    /// Of a suite of crates.
    pub ready: Option<Ready>,
}

/// What measuring came to.
#[derive(Debug, Default)]
pub struct Measured {
    pub samples: Vec<Sample>,
    pub units: Vec<CompilationUnit>,
    pub failures: Vec<Failure>,
    pub notices: Vec<String>,
    /// The most rounds that a case got.
    pub rounds: u32,
    /// Of the rounds' time, the share spent inside measured processes.
    pub share: f64,
    pub rounds_s: f64,
    pub counting_s: f64,
    /// What compilers call themselves.
    pub versions: BTreeMap<Side, String>,
    /// Sides whose compiler ignores the number of threads.
    pub ignores_threads: Vec<Side>,
}

/// A case on a side, ready to run.
struct Prepared<'a> {
    case: &'a Case,
    side: Side,
    run: Spawn,
    check: Check,
    time_s: u64,
    /// Why it runs no more.
    failed: Option<Failure>,
}

/// What a process must have done, beside ending well.
enum Check {
    /// This stream has this digest.
    Answer(Stream, Digest),
    /// It wrote something.
    Wrote,
}

impl Bench<'_> {
    /// Measures the whole job.
    pub async fn measure(&self, quiet: &mut QuietHost) -> Result<Measured> {
        let mut prepared = self.prepare()?;
        let mut measured = Measured { samples: self.sizes(), ..Measured::default() };
        measured.notices.extend_from_slice(quiet.notices());
        let sandbox = {
            let verify = || quiet.verify();
            let mut pair = self.pair(quiet.parent(), &verify).await?;
            let sandbox = pair.sandbox();
            let rounds = self.rounds(quiet, &mut pair, &mut prepared, &mut measured);
            let rounds = fault::around("measure.rounds", rounds).await;
            measured.notices.extend(pair.remove().await);
            rounds?;
            sandbox
        };
        measured.notices.extend(quiet.lost_meanwhile());
        // Counts do not depend on time, and want all cores.
        quiet.share_cores();
        measured.notices.extend(counters::notices(&sandbox, &measured.samples));
        if self.wants(CACHEGRIND) {
            if sandbox.valgrind {
                let count = self.count(&mut prepared, &mut measured);
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

    /// A container for each side. One that was started goes if the other cannot be.
    async fn pair<'b>(
        &'b self,
        cgroup: Option<&'static str>,
        verify: Verify<'b>,
    ) -> Result<Pair<'b>> {
        let mut sides = BTreeMap::new();
        for side in self.subjects.keys() {
            let spec = Spec { cgroup, ..self.counted(*side) };
            match Lasting::start(&self.engines, spec, verify, &self.events).await {
                Ok(started) => drop(sides.insert(*side, started)),
                Err(error) => {
                    Pair::new(sides).remove().await;
                    return Err(error);
                }
            }
        }
        Ok(Pair::new(sides))
    }

    fn spec(&self, side: Side, cpus: BTreeSet<u32>) -> Spec {
        let subject = &self.subjects[&side];
        let limits = || self.suite.benchmarks.iter().map(|b| b.limits);
        // The probe holds both streams until they are hashed.
        let held = limits().map(|l| 2 * l.output_bytes).max().unwrap_or(0) + PROBE_BYTES;
        let memory = limits().map(|l| l.memory_bytes).max().unwrap_or(1 << 30) + held;
        let memory = memory.min(self.memory_bytes);
        let mut mounts = vec![Mount::read_only(self.suite_folder, "/suite")];
        if !subject.artifact.files.is_empty() {
            mounts.push(Mount::read_only(subject.artifact.folder.join("files"), "/artifact"));
        }
        mounts.extend(self.sources.map(|s| Mount::read_only(&s.folder, CRATES)));
        mounts.extend(subject.ready.as_ref().map(|r| Mount::read_only(&r.folder, PREPARED)));
        if let Some(inputs) = &self.inputs {
            mounts.push(Mount::read_only(inputs.folder.join("files"), "/inputs"));
        }
        Spec {
            root: Arc::clone(&subject.root),
            mounts,
            network: false,
            cpus,
            memory_bytes: memory,
            // The probe itself is one.
            pids: limits().map(|l| l.pids).max().unwrap_or(64) + 1,
            tmp_bytes: memory.saturating_sub(held).max(memory / 4) / 2,
            user: (USER, USER),
            cores_may_shrink: false,
            cgroup: None,
            probe: Settings::default(),
        }
    }

    /// The container of the rounds, where the kernel counts what the job asks for.
    fn counted(&self, side: Side) -> Spec {
        let counters = self.job.inputs.metrics.iter().cloned().collect();
        let probe = Settings { counters, fixed_layout: self.fixed_layout };
        Spec { probe, ..self.spec(side, self.benchmark_cores.clone()) }
    }

    /// Every case on every side that can measure it, in the order of the job's cases.
    fn prepare(&self) -> Result<Vec<Prepared<'_>>> {
        let mut prepared = Vec::new();
        for case in &self.job.cases {
            let benchmark =
                self.suite.benchmark(&case.benchmark).expect("cases come from the suite");
            for (side, subject) in &self.subjects {
                prepared.extend(self.prepare_one(case, benchmark, *side, subject)?);
            }
        }
        Ok(prepared)
    }

    fn prepare_one<'a>(
        &self,
        case: &'a Case,
        benchmark: &Benchmark,
        side: Side,
        subject: &Subject,
    ) -> Result<Option<Prepared<'a>>> {
        let (run, check) = match &benchmark.work {
            Workload::Program(program) => self.program(case, program, &benchmark.limits)?,
            Workload::CrateCompilation(krate) | Workload::CrateGraphBuild(krate) => {
                let graph = matches!(benchmark.work, Workload::CrateGraphBuild(_));
                match self.compilation(case, krate, graph, subject) {
                    Some(run) => {
                        (work::bounded(run, (USER, USER), &benchmark.limits), Check::Wrote)
                    }
                    None => return Ok(None),
                }
            }
        };
        let time_s = benchmark.limits.time_s;
        Ok(Some(Prepared { case, side, run, check, time_s, failed: None }))
    }

    /// The process of a case that is a crate; `None` where it was found out before that it cannot
    /// be, which is told elsewhere.
    fn compilation(
        &self,
        case: &Case,
        krate: &Crate,
        graph: bool,
        subject: &Subject,
    ) -> Option<Spawn> {
        let ready = subject.ready.as_ref()?;
        let laid = self.sources?.crates.get(&krate.name)?.as_ref().ok()?;
        // What one of them has no means for cannot be compared.
        let ready_ones = self.subjects.values().filter_map(|subject| subject.ready.as_ref());
        if ready_ones
            .flat_map(|r| r.unsupported.values())
            .flatten()
            .any(|unsupported| unsupported == case)
        {
            return None;
        }
        let config = case.compiler_config();
        if graph {
            let cores = self.benchmark_cores.len();
            return Some(work::graph(krate, laid, &ready.compiler, &config, cores));
        }
        if config.scenario.is_patched() && laid.patch_failed.is_some() {
            return None;
        }
        let build = work::required_build(config.profile);
        let leaf = ready.leaves.get(&(krate.name.clone(), build, config.backend))?;
        Some(work::leaf(krate, laid, &ready.compiler, leaf, &config))
    }

    fn program(&self, case: &Case, program: &Program, limits: &Limits) -> Result<(Spawn, Check)> {
        let mut values =
            BTreeMap::from([("artifact", "/artifact"), ("inputs", "/inputs"), ("suite", "/suite")]);
        values.extend(case.config.0.iter().map(|(axis, value)| (axis.as_str(), value.as_str())));
        let expected = match &program.expected.answer {
            ExpectedAnswer::Digest(digest) => digest.clone(),
            ExpectedAnswer::File(path) => file_digest(&self.suite_folder.join(path))
                .while_(|| format!("reading {path} of the suite"))?,
        };
        let mut env = base_env();
        env.extend(program.env.iter().map(|(name, value)| (name.clone(), fill(value, &values))));
        let run = Spawn {
            argv: program.command.iter().map(|word| fill(word, &values)).collect(),
            env,
            cwd: "/tmp".into(),
            uid: USER,
            gid: USER,
            stdin: program.stdin.as_ref().map(|path| format!("/suite/{path}")),
            setup: None,
            sizes: BTreeMap::new(),
            units: false,
            time_ms: limits.time_s * 1000,
            output_bytes: limits.output_bytes,
            stream: false,
            count_instructions: false,
        };
        Ok((run, Check::Answer(program.expected.stream, expected)))
    }

    /// The size of each file of each artifact: a series a file, sampled once.
    fn sizes(&self) -> Vec<Sample> {
        // Of a compiler hundreds of files are kept: each a series would drown what it compiles.
        if !self.wants(ARTIFACT_SIZE) || self.sources.is_some() {
            return Vec::new();
        }
        let sample = |side: Side, name: &String, size: u64| Sample {
            benchmark: format!("artifact:{name}"),
            config: String::new(),
            metric: ARTIFACT_SIZE.into(),
            round: 0,
            side,
            sequence: 0,
            value: size as i64,
            taint: String::new(),
        };
        let files = |(side, subject): (&Side, &Subject)| -> Vec<Sample> {
            subject
                .artifact
                .files
                .iter()
                .map(|(name, (_, size))| sample(*side, name, *size))
                .collect()
        };
        self.subjects.iter().flat_map(files).collect()
    }

    async fn rounds(
        &self,
        quiet: &QuietHost,
        pair: &mut Pair<'_>,
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
            let ran = pair.run(ready.side, &ready.run).await?;
            ready.check(&ran.exit);
            measured.samples.extend(self.outputs(ready, &ran.exit));
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
                let ran = pair.run(ready.side, &run).await?;
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
                    done.units.extend(ready.units(&exit, turn, sequence));
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
            let (samples, units) = done.into_rows();
            measured.samples.extend(samples);
            measured.units.extend(units);
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
                sampling_summary(&sampler),
                measured.rounds_s
            ),
        );
        Ok(())
    }

    /// What to say of rounds that were disturbed, if any were.
    fn disturbed(&self, sampler: &Sampler) -> Option<String> {
        let disturbed: u32 = sampler.disturbed().sum();
        let cases = self.job.cases.iter().zip(sampler.closed());
        let noisy = cases.filter(|(_, (closed, _))| *closed == Some(StopReason::Noisy));
        let noisy: Vec<String> = noisy.map(|(case, _)| case.to_string()).collect();
        let named = &noisy[..noisy.len().min(NAMED_MAX)];
        let rest = match noisy.len() - named.len() {
            _ if noisy.is_empty() => String::new(),
            0 => format!("; too noisy to get all theirs: {}", named.join(", ")),
            more => format!("; too noisy to get all theirs: {} and {more} more", named.join(", ")),
        };
        (disturbed > 0).then(|| {
            format!("{disturbed} round(s) were disturbed by something else on the machine and repeated{rest}")
        })
    }

    /// Sizes of what a process wrote: the same each time, so that the first is told.
    fn outputs(&self, ready: &Prepared<'_>, exit: &Result<Exit, String>) -> Vec<Sample> {
        let Some(exit) = exit.as_ref().ok().filter(|_| ready.failed.is_none()) else {
            return Vec::new();
        };
        let sizes = exit.sizes.iter().filter(|(name, _)| self.wants(name));
        sizes
            .filter(|(name, _)| metric::measures_output(name))
            .map(|(name, size)| ready.sample(name, *size, 0, 0))
            .collect()
    }

    fn samples(
        &self,
        ready: &Prepared<'_>,
        exit: &Exit,
        turn: ScheduledRun,
        sequence: u32,
    ) -> Vec<Sample> {
        let values = [
            (WALL, exit.wall_ns),
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
fn sampling_summary(sampler: &Sampler) -> String {
    let mut counts: BTreeMap<StopReason, u32> = BTreeMap::new();
    let mut rounds = 0;
    for (closed, done) in sampler.closed() {
        rounds += done;
        *counts.entry(closed.unwrap_or(StopReason::Failed)).or_default() += 1;
    }
    let words = |(closed, cases): (&StopReason, &u32)| {
        let noun = if *cases == 1 { "case" } else { "cases" };
        let why = match closed {
            StopReason::Precise => "precise enough",
            StopReason::LeastRounds => "with nothing to be precise about",
            StopReason::OutOfRounds => "out of rounds",
            StopReason::OutOfTime => "out of time",
            StopReason::Noisy => "too noisy",
            StopReason::Failed => "that failed or cannot be",
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

impl Prepared<'_> {
    /// Notes the case as failed on this side if what came of it cannot be believed.
    fn check(&mut self, exit: &Result<Exit, String>) {
        let exit = match exit {
            Ok(exit) => exit,
            Err(why) => return self.fail(Step::Measure, why.clone(), String::new()),
        };
        let Some((step, reason)) = self.wrong(exit, self.time_s) else { return };
        let log = match &self.check {
            Check::Answer(Stream::Stdout, _) if step == Step::Output => &exit.stdout_tail,
            _ => &exit.stderr_tail,
        };
        self.fail(step, reason, log.clone());
    }

    fn fail(&mut self, step: Step, reason: String, log_tail: String) {
        self.failed = Some(Failure {
            benchmark: Some(self.case.benchmark.clone()),
            config: Some(self.case.config.to_string()),
            side: Some(self.side),
            step,
            reason,
            log_tail,
        });
    }

    /// What is wrong with a process that was to end within `time_s`: the step and the reason, as
    /// the end of a sentence.
    fn wrong(&self, exit: &Exit, time_s: u64) -> Option<(Step, String)> {
        if exit.end != End::Code(0) {
            return Some((Step::Measure, describe(&exit.end, time_s)));
        }
        if exit.leftovers > 0 {
            let noun = if exit.leftovers == 1 { "process" } else { "processes" };
            let names = exit.leftover_names.join(", ");
            let left = format!("left {} {noun} running ({names})", exit.leftovers);
            return Some((
                Step::Measure,
                format!("{left}: what they do after its end is not measured"),
            ));
        }
        if let Some(residue) = &exit.residue {
            return Some((Step::Measure, format!("left what cannot be removed: {residue}")));
        }
        match &self.check {
            Check::Answer(stream, expected) => {
                let answer = match stream {
                    Stream::Stdout => &exit.stdout_sha256,
                    Stream::Stderr => &exit.stderr_sha256,
                };
                let expected = expected.hex();
                (*answer != expected).then(|| {
                    (Step::Output, format!("a wrong answer: {answer} instead of {expected}"))
                })
            }
            Check::Wrote => match exit.sizes.get(work::WRITTEN) {
                Some(1..) if self.run.units => self.wrong_units(exit),
                Some(1..) => None,
                _ => Some((Step::Output, "nothing: it wrote no file".into())),
            },
        }
    }

    fn wrong_units(&self, exit: &Exit) -> Option<(Step, String)> {
        units::units(exit, &self.sample(WALL, 0, 0, 0))
            .err()
            .map(|why| (Step::Output, format!("units that cannot be: {why}")))
    }

    /// The units of a build that was checked; none of any other process.
    fn units(&self, exit: &Exit, turn: ScheduledRun, sequence: u32) -> Vec<CompilationUnit> {
        match self.run.units {
            true => {
                let like = self.sample(WALL, exit.wall_ns, turn.round, sequence);
                units::units(exit, &like).unwrap_or_default()
            }
            false => Vec::new(),
        }
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
