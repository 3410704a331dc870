//! A case on a side, ready to run, and what its process must have done.

use std::collections::BTreeMap;
use std::sync::Arc;

use dyno_model::catalog::suite::{
    self, Benchmark, Case, Crate, ExpectedAnswer, Limits, Program, Workload, fill, fill_words,
};
use dyno_model::id::Digest;
use dyno_model::metric::WALL;
use dyno_model::record::{CompilationUnit, Failure, Sample, Side};
use dyno_model::sampling::ScheduledRun;
use dyno_model::step::Step;
use dyno_probe::{End, Exit, Spawn, Stream};

use dyno_base::error::Result;
use dyno_build::builder::describe;
use dyno_engine::base_env;
use dyno_toolchain::{commands, units};

use crate::{Bench, Subject, USER};
use dyno_model::answer::{ANSWER_MAX, difference, digest_difference};

/// The variable that moves a process's stack, by as much as the round says.
const LAYOUT: &str = "DYNO_LAYOUT";

/// A case on a side, ready to run.
pub(crate) struct PreparedCase<'a> {
    pub(crate) case: &'a Case,
    /// Place of the case in the job.
    pub(crate) place: usize,
    pub(crate) side: Side,
    pub(crate) spawn: Spawn,
    pub(crate) expectation: Expectation,
    /// The exit code that it must end with.
    pub(crate) exit_code: i32,
    pub(crate) time_s: u64,
    /// How often it ran and was right.
    pub(crate) worked: u32,
    /// Why the case runs no more.
    pub(crate) failed: Option<Failure>,
}

/// What a process must have done, beside ending well.
#[derive(Clone)]
pub(crate) enum Expectation {
    /// This stream has this digest, and if more is known of it, this content.
    Answer(Stream, Digest, Option<Arc<[u8]>>),
    /// This stream has the digest that it had when the baseline ran first: nobody knew it before.
    AnswerOfBaseline(Stream),
    /// It wrote something.
    Wrote,
}

impl Bench<'_> {
    /// Every case on every side that can measure it, in the order of the job's cases.
    pub(crate) fn prepare(&self) -> Result<Vec<PreparedCase<'_>>> {
        let mut prepared = Vec::new();
        for (place, case) in self.job.cases.iter().enumerate() {
            let benchmark =
                self.loaded.suite.benchmark(&case.benchmark).expect("cases come from the suite");
            for (side, subject) in &self.subjects {
                prepared.extend(self.prepare_case((place, case), benchmark, *side, subject)?);
            }
        }
        Ok(prepared)
    }

    fn prepare_case<'a>(
        &self,
        (place, case): (usize, &'a Case),
        benchmark: &Benchmark,
        side: Side,
        subject: &Subject,
    ) -> Result<Option<PreparedCase<'a>>> {
        let exit_code = match &benchmark.work {
            Workload::Program(program) => program.expected.exit,
            Workload::CrateCompilation(_) | Workload::CrateGraphBuild(_) => 0,
        };
        let (spawn, expectation) = match &benchmark.work {
            Workload::Program(program) => self.program_spawn(case, program, &benchmark.limits)?,
            Workload::CrateCompilation(krate) | Workload::CrateGraphBuild(krate) => {
                let graph = matches!(benchmark.work, Workload::CrateGraphBuild(_));
                match self.compilation_spawn(case, krate, graph, subject) {
                    Some(spawn) => (
                        commands::with_limits(spawn, (USER, USER), &benchmark.limits),
                        Expectation::Wrote,
                    ),
                    None => return Ok(None),
                }
            }
        };
        let time_s = benchmark.limits.time_s;
        let (worked, failed) = (0, None);
        let prepared = PreparedCase {
            case,
            place,
            side,
            spawn,
            expectation,
            exit_code,
            time_s,
            worked,
            failed,
        };
        Ok(Some(prepared))
    }

    /// The process of a case that is a crate; `None` where it was found out before that it cannot
    /// be, which is told elsewhere.
    fn compilation_spawn(
        &self,
        case: &Case,
        krate: &Crate,
        graph: bool,
        subject: &Subject,
    ) -> Option<Spawn> {
        let toolchain = subject.toolchain.as_ref()?;
        let vendored = self.sources?.crates.get(&krate.name)?.as_ref().ok()?;
        // What one of them has no means for cannot be compared.
        let toolchains = self.subjects.values().filter_map(|subject| subject.toolchain.as_ref());
        if toolchains
            .flat_map(|r| r.unsupported.values())
            .flatten()
            .any(|unsupported| unsupported == case)
        {
            return None;
        }
        let config = case.compiler_config();
        if graph {
            let cores = self.benchmark_cores.len();
            return Some(commands::crate_graph_build(
                krate,
                vendored,
                &toolchain.compiler,
                &config,
                cores,
            ));
        }
        if config.scenario.is_patched() && vendored.patch_failed.is_some() {
            return None;
        }
        let build = commands::required_build(config.profile);
        let compilation =
            toolchain.compilations.get(&(krate.name.clone(), build, config.backend))?;
        Some(commands::crate_compilation(
            krate,
            vendored,
            &toolchain.compiler,
            compilation,
            &config,
        ))
    }

    fn program_spawn(
        &self,
        case: &Case,
        program: &Program,
        limits: &Limits,
    ) -> Result<(Spawn, Expectation)> {
        let seed = input_seed(self.job.seed);
        let mut values = BTreeMap::from([
            ("artifact", "/artifact"),
            ("inputs", "/inputs"),
            ("seed", seed.as_str()),
            ("suite", "/suite"),
        ]);
        values.extend(self.loaded.suite.axis_words(&case.config));
        let stream = probe_stream(program.expected.stream);
        let expectation = match &program.expected.answer {
            ExpectedAnswer::Digest(digest) => Expectation::Answer(stream, digest.clone(), None),
            ExpectedAnswer::File(path) => {
                let answer = self.loaded.file(path)?;
                Expectation::Answer(stream, Digest::of(answer), Some(answer.into()))
            }
            ExpectedAnswer::Baseline => Expectation::AnswerOfBaseline(stream),
        };
        let mut env = base_env();
        env.extend(program.env.iter().map(|(name, value)| (name.clone(), fill(value, &values))));
        let spawn = Spawn {
            argv: fill_words(&program.command, &values),
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
            repeat: program.repeat,
            count_instructions: false,
        };
        Ok((spawn, expectation))
    }
}

/// The stream as the probe calls it.
pub(crate) fn probe_stream(stream: suite::Stream) -> Stream {
    match stream {
        suite::Stream::Stdout => Stream::Stdout,
        suite::Stream::Stderr => Stream::Stderr,
    }
}

/// What `{seed}` stands for in a job of this seed: a number that a program may read as a signed one
/// of 64 bits.
fn input_seed(job_seed: u64) -> String {
    (job_seed >> 1).to_string()
}

impl PreparedCase<'_> {
    /// Whether it is a program of the suite's, whose length whoever wrote it chose.
    pub(crate) fn is_program(&self) -> bool {
        !matches!(self.expectation, Expectation::Wrote)
    }

    /// The process in a round. That which warms up and that whose instructions are counted are those
    /// of the first, so that none can be told from the others by its environment.
    pub(crate) fn spawn_in_round(&self, round: u32, seed: u64) -> Spawn {
        let scheduled = ScheduledRun { case: self.place, round, side: self.side };
        let mut spawn = self.spawn.clone();
        spawn.env.insert(LAYOUT.into(), "x".repeat(scheduled.padding(seed)));
        spawn
    }

    /// Expects what `baseline`, the same case on the other side, gave, if that is what counts.
    pub(crate) fn expect_answer_of(&mut self, baseline: Option<&PreparedCase<'_>>) {
        let answer = baseline.filter(|baseline| baseline.failed.is_none()).map(|b| &b.expectation);
        if let (Expectation::AnswerOfBaseline(_), Some(answer @ Expectation::Answer(..))) =
            (&self.expectation, answer)
        {
            self.expectation = answer.clone();
        }
    }

    /// The stream that nobody knows the answer of before this process, if that is what counts.
    pub(crate) fn first_answer(&self) -> Option<Stream> {
        match self.expectation {
            Expectation::AnswerOfBaseline(stream) if self.failed.is_none() => Some(stream),
            _ => None,
        }
    }

    /// Expects from now on what the baseline's first process gave, which was checked: `content`, as
    /// far as it was looked at.
    pub(crate) fn keep_answer(&mut self, exit: &Exit, stream: Stream, content: Vec<u8>) {
        let digest: Digest = answer(exit, stream).parse().expect("the probe writes a digest");
        let content = (Digest::of(&content) == digest).then(|| content.into());
        self.expectation = Expectation::Answer(stream, digest, content);
    }

    /// The answer that is expected, if more than its digest is known.
    pub(crate) fn content(&self) -> Option<Arc<[u8]>> {
        match &self.expectation {
            Expectation::Answer(_, _, content) => content.clone(),
            Expectation::AnswerOfBaseline(_) | Expectation::Wrote => None,
        }
    }

    /// The stream of which the last process gave a wrong answer.
    pub(crate) fn wrong_stream(&self) -> Option<Stream> {
        let is_wrong = self.failed.as_ref().is_some_and(|failure| failure.step == Step::Output);
        match self.expectation {
            Expectation::Answer(stream, ..) if is_wrong => Some(stream),
            _ => None,
        }
    }

    /// Says of the wrong answer of `exit` how it is wrong; `got` is the answer, as far as it was
    /// looked at.
    pub(crate) fn explain_answer(&mut self, exit: &Exit, got: &[u8]) {
        let Expectation::Answer(stream, digest, content) = &self.expectation else { return };
        if exit.varied.contains(stream) {
            return;
        }
        let found = answer(exit, *stream);
        let mut how = match content {
            Some(content) => difference(content, got),
            None => digest_difference(digest, found, got),
        };
        if got.len() >= ANSWER_MAX {
            how.push_str(&format!("; only the first {} MiB were looked at", ANSWER_MAX >> 20));
        }
        if exit.opened.contains(stream) {
            let name = if *stream == Stream::Stdout { "stdout" } else { "stderr" };
            how.push_str(&format!(
                "; something opened /dev/{name} by name, which empties it: streams are files here, so write `>&{}` or `>> /dev/{name}`",
                if *stream == Stream::Stdout { 1 } else { 2 },
            ));
        }
        if let Some(failure) = &mut self.failed {
            failure.reason = format!("a wrong answer: {how}");
        }
    }

    /// Adds to the failure when it came about: nothing was wrong `worked` times before.
    pub(crate) fn say_when(&mut self, round: u32, most: u32) {
        let times = match self.worked {
            1 => "once".to_string(),
            worked => format!("{worked} times"),
        };
        if let Some(failure) = &mut self.failed {
            let of = if round < most { format!(" of at most {most}") } else { String::new() };
            failure
                .reason
                .push_str(&format!(" (in round {}{of}; it worked {times} before)", round + 1));
        }
    }

    /// Notes the case as failed on this side if what came of it cannot be believed.
    pub(crate) fn check(&mut self, exit: &Result<Exit, String>) {
        let exit = match exit {
            Ok(exit) => exit,
            Err(why) => return self.fail(Step::Measure, why.clone(), String::new()),
        };
        let Some((step, reason)) = self.failure_of(exit, self.time_s) else {
            self.worked += 1;
            return;
        };
        let log = match &self.expectation {
            Expectation::Answer(Stream::Stdout, ..) if step == Step::Output => &exit.stdout_tail,
            Expectation::AnswerOfBaseline(Stream::Stdout) if step == Step::Output => {
                &exit.stdout_tail
            }
            _ => &exit.stderr_tail,
        };
        self.fail(step, reason, log.clone());
    }

    pub(crate) fn fail(&mut self, step: Step, reason: String, log_tail: String) {
        self.failed = Some(Failure {
            benchmark: Some(self.case.benchmark.clone()),
            config: Some(self.case.config.to_string()),
            side: Some(self.side),
            step,
            reason,
            log_tail,
        });
    }

    /// Failure of a process that was to end within `time_s`: the step and the reason, as
    /// the end of a sentence.
    pub(crate) fn failure_of(&self, exit: &Exit, time_s: u64) -> Option<(Step, String)> {
        if exit.end != End::Code(self.exit_code) {
            let mut how = describe(&exit.end, time_s);
            if self.exit_code != 0 && matches!(exit.end, End::Code(_)) {
                how.push_str(&format!(" instead of {} (expected.exit)", self.exit_code));
            }
            return Some((Step::Measure, how));
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
        match &self.expectation {
            Expectation::Answer(stream, ..) | Expectation::AnswerOfBaseline(stream)
                if exit.varied.contains(stream) =>
            {
                Some((Step::Output, "an answer that is not the same each time (`repeat`)".into()))
            }
            Expectation::Answer(stream, expected, _) => {
                let answer = answer(exit, *stream);
                let expected = expected.hex();
                (answer != expected).then(|| {
                    (Step::Output, format!("a wrong answer: {answer} instead of {expected}"))
                })
            }
            // The baseline's own first process has only to end well.
            Expectation::AnswerOfBaseline(_) if self.side == Side::Baseline => None,
            Expectation::AnswerOfBaseline(_) => Some((
                Step::Output,
                "an answer that nobody can check: the baseline gave none".into(),
            )),
            Expectation::Wrote => match exit.sizes.get(commands::WRITTEN) {
                Some(1..) if self.spawn.units => self.failure_of_units(exit),
                Some(1..) => None,
                _ => Some((Step::Output, "nothing: it wrote no file".into())),
            },
        }
    }

    pub(crate) fn failure_of_units(&self, exit: &Exit) -> Option<(Step, String)> {
        units::units(exit, &self.sample(WALL, 0, 0, 0))
            .err()
            .map(|why| (Step::Output, format!("units that cannot be: {why}")))
    }

    /// The units of a build that was checked; none of any other process.
    pub(crate) fn units(
        &self,
        exit: &Exit,
        scheduled: ScheduledRun,
        sequence: u32,
    ) -> Vec<CompilationUnit> {
        match self.spawn.units {
            true => {
                let sample = self.sample(WALL, exit.wall_ns, scheduled.round, sequence);
                units::units(exit, &sample).unwrap_or_default()
            }
            false => Vec::new(),
        }
    }

    pub(crate) fn sample(&self, metric: &str, value: u64, round: u32, sequence: u32) -> Sample {
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

/// The digest of what a process wrote to `stream`.
fn answer(exit: &Exit, stream: Stream) -> &str {
    match stream {
        Stream::Stdout => &exit.stdout_sha256,
        Stream::Stderr => &exit.stderr_sha256,
    }
}
