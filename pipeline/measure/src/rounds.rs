//! The rounds: which process runs next is the sampler's word; each is looked at for what disturbed
//! it.

use std::collections::BTreeMap;
use std::time::Instant;

use dyno_model::metric::{self, WALL};
use dyno_model::record::{Failure, Sample, Side};
use dyno_model::sampling::{Sampler, ScheduledRun, StopReason};
use dyno_model::taint;
use dyno_model::text::plural;
use dyno_probe::{End, Exit};

use crate::length;
use crate::page_in::PageIns;
use crate::pair::Pair;
use crate::prepared_case::PreparedCase;
use crate::remaining::{CountingFactors, Remaining};
use crate::round::Round;
use crate::{Bench, Measured};
use dyno_base::error::Result;
use dyno_base::event::Phase;
use dyno_host::quiet::QuietHost;

/// How many cases a sentence names.
const NAMED_MAX: usize = 5;

/// What a round knows of those before it.
struct Before {
    /// Place in the job of the process that comes next.
    sequence: u32,
    page_ins: PageIns,
    remaining: Remaining,
}

impl Bench<'_> {
    /// Runs the warm-up pass and then the rounds, as the sampler asks for them.
    pub(super) async fn rounds(
        &self,
        quiet: &QuietHost,
        pair: &mut Pair<'_>,
        prepared: &mut [PreparedCase<'_>],
        measured: &mut Measured,
        remaining: Remaining,
    ) -> Result<()> {
        let (job, budget) = (self.job, self.job.inputs.budget);
        let mut sampler = Sampler::new(job.targets.clone(), budget, job.confidence, job.seed);
        let (least, most) = (budget.rounds_min, budget.rounds_max);
        let most = plural(most as usize, "round");
        let rounds = if least < budget.rounds_max { format!("{least} to {most}") } else { most };
        let cases = plural(job.cases.len(), "case");
        let how = quiet.how();
        self.events.begin(Phase::Measure, format!("{cases}, {rounds} after one to warm up; {how}"));
        let mut before =
            Before { sequence: 0, page_ins: PageIns::new(job.inputs.trust), remaining };
        self.warm_up(pair, prepared, measured, &sampler, &mut before).await?;
        let warming = prepared.len() as u64;
        let started = Instant::now();
        let mut inside_ns = 0;
        while let Some(round) = sampler.next_round() {
            let case = round[0].case;
            let outcome = self.round(round, quiet, pair, prepared, &mut before).await?;
            inside_ns += outcome.spent_ns;
            before.remaining.round(outcome.spent_ns);
            // Of one side alone nothing can be said.
            if outcome.taints.len() < Side::BOTH.len() {
                sampler.fail(case);
                before.remaining.fail(case);
            }
            match outcome.is_disturbed() {
                true => sampler.repeat_round(case, outcome.spent_ns),
                false => sampler.finish_round(
                    case,
                    outcome.spent_ns,
                    &outcome.values(&job.targets[case]),
                ),
            }
            for (side, user_ns) in &outcome.user_ns {
                let of_case = measured.user_ns.entry(case).or_default();
                of_case.entry(*side).or_default().push(*user_ns);
            }
            let (samples, units) = outcome.into_rows();
            measured.samples.extend(samples);
            measured.units.extend(units);
            let (done, total) = sampler.progress();
            let (done, total) = (warming + 2 * done, warming + 2 * total);
            self.events.processes(done, total, before.remaining.left(&sampler));
        }
        measured.rounds_s = started.elapsed().as_secs_f64();
        measured.share = inside_ns as f64 / 1e9 / measured.rounds_s.max(1e-9);
        measured.notices.extend(self.disturbance_notice(&sampler));
        measured.notices.extend(length::notices(prepared, measured));
        measured.rounds = sampler.stop_reasons().map(|(_, rounds)| rounds).max().unwrap_or(0);
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

    /// Runs every case once on each side where the rounds are known already, so that it is known what
    /// each answers. What failed then has failed.
    pub(super) async fn warm_up_again(
        &self,
        pair: &mut Pair<'_>,
        prepared: &mut [PreparedCase<'_>],
        measured: &mut Measured,
        counting_factors: CountingFactors,
    ) -> Result<()> {
        let (job, budget) = (self.job, self.job.inputs.budget);
        let mut sampler = Sampler::new(job.targets.clone(), budget, job.confidence, job.seed);
        let page_ins = PageIns::new(job.inputs.trust);
        let shares = self.counted_shares(true, prepared);
        // Closed, so that the warm-up alone and counting are left.
        (0..job.cases.len()).for_each(|case| sampler.fail(case));
        let remaining = Remaining::new(shares, counting_factors);
        let mut before = Before { sequence: 0, page_ins, remaining };
        self.warm_up(pair, prepared, &mut Measured::default(), &sampler, &mut before).await?;
        for prepared_case in prepared {
            let config = prepared_case.case.config.to_string();
            let is_of_case = |failure: &Failure| {
                failure.side == Some(prepared_case.side)
                    && failure.benchmark.as_deref() == Some(prepared_case.case.benchmark.as_str())
                    && failure.config.as_deref().unwrap_or_default() == config
            };
            let before = measured.failures.iter().position(is_of_case);
            prepared_case.failed = before.map(|place| measured.failures.remove(place));
        }
        Ok(())
    }

    /// Runs every case once on each side, not recorded: it fills the page cache and finds what does
    /// not work.
    async fn warm_up(
        &self,
        pair: &mut Pair<'_>,
        prepared: &mut [PreparedCase<'_>],
        measured: &mut Measured,
        sampler: &Sampler,
        before_rounds: &mut Before,
    ) -> Result<()> {
        let warming = prepared.len() as u64;
        for done in 0..prepared.len() {
            let (before, rest) = prepared.split_at_mut(done);
            let prepared_case = &mut rest[0];
            let (side, place) = (prepared_case.side, prepared_case.place);
            let spawn = prepared_case.spawn_in_round(0, self.job.seed);
            let process = pair.run(side, &spawn, place).await?;
            if let Ok(exit) = &process.exit {
                before_rounds.page_ins.are_unusual(place, side, exit);
                before_rounds.remaining.warm_up(place, exit.wall_ns);
            }
            // A case's baseline stands right before its candidate.
            let baseline =
                before.last().filter(|other| std::ptr::eq(other.case, prepared_case.case));
            prepared_case.expect_answer_of(baseline);
            check(pair, prepared_case, &process.exit).await;
            // What fails by luck is not newly failing: it gets one more try, in another layout of its
            // memory, and the failure stands beside what is measured then.
            let mut exit = process.exit;
            if let Some(first) = prepared_case.failed.take_if(|_| is_worth_a_retry(&exit)) {
                let retry = prepared_case.spawn_in_round(1, self.job.seed);
                exit = pair.run(side, &retry, place).await?.exit;
                check(pair, prepared_case, &exit).await;
                match prepared_case.failed {
                    Some(_) => prepared_case.failed = Some(first),
                    None => measured.failures.push(Failure {
                        reason: format!("{} (when it ran first; it worked then)", first.reason),
                        ..first
                    }),
                }
            }
            if prepared_case.failed.is_some() {
                before_rounds.remaining.fail(place);
            }
            if let (Some(stream), Ok(exit)) = (prepared_case.first_answer(), &exit) {
                let content = pair.output(side, stream).await;
                prepared_case.keep_answer(exit, stream, content.unwrap_or_default());
            }
            measured.samples.extend(self.output_sizes(prepared_case, &exit));
            let total = warming + 2 * sampler.progress().1;
            let left = before_rounds.remaining.left(sampler);
            self.events.processes(done as u64 + 1, total, left);
        }
        Ok(())
    }

    /// Runs one round of a case: its two processes next to each other.
    async fn round(
        &self,
        round: [ScheduledRun; 2],
        quiet: &QuietHost,
        pair: &mut Pair<'_>,
        prepared: &mut [PreparedCase<'_>],
        before: &mut Before,
    ) -> Result<Round> {
        let job = self.job;
        let mut outcome = Round::default();
        for scheduled in round {
            let case = &job.cases[scheduled.case];
            let is_scheduled =
                |p: &&mut PreparedCase<'_>| p.side == scheduled.side && std::ptr::eq(p.case, case);
            let prepared_case =
                prepared.iter_mut().find(is_scheduled).filter(|p| p.failed.is_none());
            let Some(prepared_case) = prepared_case else { continue };
            let spawn = prepared_case.spawn_in_round(scheduled.round, job.seed);
            let cores = quiet.sample();
            let process = pair.run(prepared_case.side, &spawn, prepared_case.place).await?;
            let cores = (cores, quiet.sample());
            check(pair, prepared_case, &process.exit).await;
            if prepared_case.failed.is_some() {
                prepared_case.say_when(scheduled.round, job.inputs.budget.rounds_max);
            }
            let Ok(exit) = process.exit else { continue };
            let paged_in = before.page_ins.are_unusual(scheduled.case, scheduled.side, &exit);
            let taint = match process.retried {
                true => taint::LOST.to_string(),
                false => quiet.taint(cores, &exit, paged_in),
            };
            let sequence = before.sequence;
            outcome.user_ns.push((scheduled.side, exit.user_ns as i64));
            outcome.spent_ns += exit.wall_ns;
            if prepared_case.failed.is_none() {
                outcome.taints.push(taint);
                outcome.samples.extend(self.round_samples(
                    prepared_case,
                    &exit,
                    scheduled,
                    sequence,
                ));
                outcome.units.extend(prepared_case.units(&exit, scheduled, sequence));
            }
            before.sequence += 1;
        }
        Ok(outcome)
    }

    /// The notice of rounds that were disturbed, if any were.
    fn disturbance_notice(&self, sampler: &Sampler) -> Option<String> {
        let disturbed: u32 = sampler.disturbed_rounds().sum();
        let cases = self.job.cases.iter().zip(sampler.stop_reasons());
        let noisy = cases.filter(|(_, (closed, _))| *closed == Some(StopReason::Noisy));
        let noisy: Vec<String> = noisy.map(|(case, _)| case.to_string()).collect();
        let named = &noisy[..noisy.len().min(NAMED_MAX)];
        let rest = match noisy.len() - named.len() {
            _ if noisy.is_empty() => String::new(),
            0 => format!("; too noisy to get all theirs: {}", named.join(", ")),
            more => format!("; too noisy to get all theirs: {} and {more} more", named.join(", ")),
        };
        (disturbed > 0).then(|| {
            let rounds = plural(disturbed as usize, "round");
            let were = if disturbed == 1 { "was" } else { "were" };
            format!("{rounds} {were} disturbed by something else on the machine and repeated{rest}")
        })
    }

    /// Sizes of what a process wrote: the same each time, so that the first is told.
    fn output_sizes(
        &self,
        prepared_case: &PreparedCase<'_>,
        exit: &Result<Exit, String>,
    ) -> Vec<Sample> {
        let Some(exit) = exit.as_ref().ok().filter(|_| prepared_case.failed.is_none()) else {
            return Vec::new();
        };
        let sizes = exit.sizes.iter().filter(|(name, _)| self.wants(name));
        sizes
            .filter(|(name, _)| metric::measures_output(name))
            .map(|(name, size)| prepared_case.sample(name, *size, 0, 0))
            .collect()
    }

    fn round_samples(
        &self,
        prepared_case: &PreparedCase<'_>,
        exit: &Exit,
        scheduled: ScheduledRun,
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
            ..prepared_case.sample(metric, value, scheduled.round, sequence)
        };
        read.chain(crate::counters::counted_values(exit)).map(sample).collect()
    }
}

/// Notes the case as failed on its side if what came of its last process cannot be believed, and how
/// a wrong answer is wrong.
pub(crate) async fn check(
    pair: &mut Pair<'_>,
    prepared_case: &mut PreparedCase<'_>,
    exit: &Result<Exit, String>,
) {
    prepared_case.check(exit);
    if let (Some(stream), Ok(exit)) = (prepared_case.wrong_stream(), exit) {
        let got = pair.output(prepared_case.side, stream).await;
        got.into_iter().for_each(|got| prepared_case.explain_answer(exit, &got));
    }
}

/// Whether a process that failed may have failed by luck, and does not cost its whole time again.
fn is_worth_a_retry(exit: &Result<Exit, String>) -> bool {
    exit.as_ref().is_ok_and(|exit| exit.end != End::Timeout)
}

/// `184 rounds (6 cases precise enough, 4 out of rounds)`.
fn sampling_summary(sampler: &Sampler) -> String {
    let mut counts: BTreeMap<StopReason, u32> = BTreeMap::new();
    let mut rounds = 0;
    for (reason, done) in sampler.stop_reasons() {
        rounds += done;
        *counts.entry(reason.unwrap_or(StopReason::Failed)).or_default() += 1;
    }
    let phrase = |(reason, cases): (&StopReason, &u32)| {
        let why = match reason {
            StopReason::Precise => "precise enough",
            StopReason::LeastRounds => "with nothing to be precise about",
            StopReason::OutOfRounds => "out of rounds",
            StopReason::OutOfTime => "out of time",
            StopReason::Noisy => "too noisy",
            StopReason::Failed => "that failed or cannot be",
        };
        format!("{} {why}", plural(*cases as usize, "case"))
    };
    let phrases: Vec<String> = counts.iter().map(phrase).collect();
    let disturbed: u32 = sampler.disturbed_rounds().sum();
    let repeated = match disturbed {
        0 => String::new(),
        1 => " and 1 that was disturbed".into(),
        _ => format!(" and {disturbed} that were disturbed"),
    };
    format!("{}{repeated} ({})", plural(rounds as usize, "round"), phrases.join(", "))
}
