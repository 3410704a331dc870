//! Instructions by Cachegrind: once per case and side, since a count does not depend on time; for
//! the same reason all cores count at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::time::Instant;

use dyno_model::metric::{CACHEGRIND, WALL};
use dyno_model::record::{Sample, Side};
use dyno_model::stats::median;
use dyno_model::step::Step;
use dyno_model::text::plural;
use dyno_probe::{End, Exit, Settings, Spawn};

use super::{Bench, Measured};
use crate::pace::{Pace, misfit};
use crate::prepared_case::PreparedCase;
use crate::remaining::CountingFactors;
use crate::replaceable::ReplaceableContainer;
use dyno_base::error::Result;
use dyno_base::event::{Phase, SecondsLeft, Stage};
use dyno_base::text::duration;
use dyno_engine::Spec;

/// Factor by which a process may take longer while its instructions are counted than it took in its
/// rounds (Cachegrind was seen to take 10 to 40 times as long, and runs one thread at a time): what
/// takes longer waits for something that does not come.
const COUNTING_FACTOR: u64 = 200;

/// The least that a process may take while it is counted, in ms: Valgrind itself begins in 0.5 s.
const COUNTING_LEAST_MS: u64 = 30_000;

impl Bench<'_> {
    /// Counts instructions of every case that still works on both sides, one container a core.
    pub(super) async fn count(
        &self,
        prepared: &mut [PreparedCase<'_>],
        measured: &mut Measured,
        factors: CountingFactors,
    ) -> Result<()> {
        let started = Instant::now();
        let working = self.counted_places(prepared);
        let pending = Pending::new(&working, prepared, measured, factors);
        self.begin_counting(&pending);
        let queues = Mutex::new(counting_queues(working, prepared, measured, self.job.seed));
        let exits = Mutex::new((Vec::new(), pending));
        // A core counts for one side, and then for what the other has left.
        let worker = async |core: u32, sides: [Side; 2]| -> Result<Vec<String>> {
            let mut notices = Vec::new();
            for side in sides.into_iter().filter(|side| self.subjects.contains_key(side)) {
                let probe = Settings { fixed_layout: true, ..Settings::default() };
                let spec = Spec { probe, ..self.spec(side, BTreeSet::from([core])) };
                let next_process =
                    || queues.lock().expect("no panic while held").get_mut(&side)?.pop_front();
                let Some(mut process) = next_process() else { continue };
                let mut container =
                    ReplaceableContainer::start(&self.engines, spec, &|| Ok(()), &self.events)
                        .await?;
                let counting = async {
                    loop {
                        let (i, spawn) = process;
                        let exit = container.run(&spawn, i).await?.exit;
                        {
                            let mut exits = exits.lock().expect("no panic while held");
                            exits.0.push((i, exit));
                            exits.1.end(i);
                            let left = exits.1.left(started.elapsed().as_secs_f64());
                            self.events.processes(exits.1.ended, exits.1.total(), left);
                        }
                        match next_process() {
                            Some(next) => process = next,
                            None => return Ok(()),
                        }
                    }
                };
                let counting: Result<()> = counting.await;
                notices.extend(container.remove().await);
                counting?;
            }
            Ok(notices)
        };
        // All of them to their end, whatever becomes of one: each removes its own container.
        let workers = self.all_cores.iter().enumerate().map(|(i, core)| {
            let first = Side::BOTH[i % 2];
            worker(*core, [first, first.other()])
        });
        for notices in futures::future::join_all(workers).await {
            measured.notices.extend(notices?);
        }
        let (exits, _) = exits.into_inner().expect("no panic while held");
        record_counts(exits, prepared, measured);
        measured.counting_s = started.elapsed().as_secs_f64();
        let done = format!("instructions counted in {:.0} s", measured.counting_s);
        self.events.end(Phase::Measure, done);
        Ok(())
    }

    /// Whether the instructions of a case are counted.
    pub(super) fn is_counted(&self, prepared_case: &PreparedCase<'_>) -> bool {
        self.loaded.suite.counts_instructions_of(&prepared_case.case.benchmark)
    }

    /// The places of what is counted: both sides of the cases that work on both, as one count alone
    /// says nothing.
    fn counted_places(&self, prepared: &[PreparedCase<'_>]) -> Vec<usize> {
        let is_counted = |i: &usize| {
            let prepared_case = &prepared[*i];
            let of_case = prepared.iter().filter(|other| other.place == prepared_case.place);
            let working = of_case.filter(|other| other.failed.is_none()).count();
            working == Side::BOTH.len() && self.is_counted(prepared_case)
        };
        (0..prepared.len()).filter(is_counted).collect()
    }

    /// Says what begins, and how long it takes.
    fn begin_counting(&self, pending: &Pending) {
        let expected = pending.left(0.0);
        self.events.stage(Stage::Count, expected);
        let time = match expected.map(|(least, most)| (duration(least), duration(most))) {
            Some((least, most)) if least == most => format!(", about {most}"),
            Some((least, most)) => format!(", {least} to {most}"),
            None => String::new(),
        };
        let processes = plural(pending.total() as usize, "process");
        let what = format!("counting instructions of {processes}{time}");
        self.events.begin(Phase::Measure, what);
        self.events.processes(0, pending.total(), expected);
    }
}

/// The processes that are to be counted, with how long each takes where nothing counts it.
struct Pending {
    /// Seconds by the place of the process among those that were prepared; as the mean of the others
    /// where that is not known.
    seconds: BTreeMap<usize, f64>,
    factors: CountingFactors,
    ended: u64,
    ended_s: f64,
}

impl Pending {
    fn new(
        working: &[usize],
        prepared: &[PreparedCase<'_>],
        measured: &Measured,
        factors: CountingFactors,
    ) -> Self {
        let known_s = |i: usize| {
            let last = measured.wall_ns(&prepared[i]).pop()?;
            Some(last as f64 / 1e9 / f64::from(prepared[i].spawn.repeat.max(1)))
        };
        let seconds: Vec<(usize, Option<f64>)> = working.iter().map(|&i| (i, known_s(i))).collect();
        let known = seconds.iter().filter_map(|(_, seconds)| *seconds);
        let mean_s = known.clone().sum::<f64>() / known.count().max(1) as f64;
        let seconds = seconds.into_iter().map(|(i, seconds)| (i, seconds.unwrap_or(mean_s)));
        Self { seconds: seconds.collect(), factors, ended: 0, ended_s: 0.0 }
    }

    fn total(&self) -> u64 {
        self.seconds.len() as u64
    }

    /// The process in this place was counted.
    fn end(&mut self, place: usize) {
        self.ended += 1;
        self.ended_s += self.seconds.get(&place).copied().unwrap_or(0.0);
    }

    /// Seconds that the others take, `elapsed_s` after the first began: as much for each second of
    /// theirs as it was so far, or as the factors say. `None` where nothing is known of any.
    fn left(&self, elapsed_s: f64) -> Option<SecondsLeft> {
        let total_s: f64 = self.seconds.values().sum();
        let left_s = (total_s - self.ended_s).max(0.0);
        let (least, most) = match self.ended_s > 0.0 {
            true => (elapsed_s / self.ended_s, elapsed_s / self.ended_s),
            false => self.factors,
        };
        let seconds = |factor: f64| (factor * left_s).ceil() as u64;
        (total_s > 0.0).then(|| (seconds(least), seconds(most)))
    }
}

impl Measured {
    /// The wall times of the case on its side, in nanoseconds, in the order of the rounds.
    pub(crate) fn wall_ns(&self, prepared_case: &PreparedCase<'_>) -> Vec<i64> {
        let config = prepared_case.case.config.to_string();
        let is_of_case = |sample: &&Sample| {
            sample.metric == WALL
                && sample.side == prepared_case.side
                && sample.benchmark == prepared_case.case.benchmark
                && sample.config == config
        };
        self.samples.iter().filter(is_of_case).map(|sample| sample.value).collect()
    }

    /// The longest of them, in milliseconds, if there is any.
    fn longest_ms(&self, prepared_case: &PreparedCase<'_>) -> Option<u64> {
        let longest = self.wall_ns(prepared_case).into_iter().max();
        longest.map(|ns| ns.max(0) as u64 / 1_000_000)
    }
}

/// The processes to count, in a queue for each side, with their places in `prepared`.
fn counting_queues(
    working: Vec<usize>,
    prepared: &[PreparedCase<'_>],
    measured: &Measured,
    seed: u64,
) -> BTreeMap<Side, VecDeque<(usize, Spawn)>> {
    let mut queues: BTreeMap<Side, VecDeque<(usize, Spawn)>> = BTreeMap::new();
    for i in working {
        let mut spawn = prepared[i].spawn_in_round(0, seed);
        spawn.count_instructions = true;
        spawn.time_ms = patience_ms(measured.longest_ms(&prepared[i]), spawn.time_ms);
        // Each of several in a row does the same.
        spawn.repeat = 1;
        queues.entry(prepared[i].side).or_default().push_back((i, spawn));
    }
    queues
}

/// How long a process may take while it is counted, by what it took at most in its rounds and what it
/// may take there.
fn patience_ms(longest_ms: Option<u64>, limit_ms: u64) -> u64 {
    let usual = longest_ms.map_or(limit_ms, |longest_ms| longest_ms.min(limit_ms));
    (usual + 1).saturating_mul(COUNTING_FACTOR).max(COUNTING_LEAST_MS)
}

/// Adds the counts to `measured`, or says why there is none.
fn record_counts(
    exits: Vec<(usize, std::result::Result<Exit, String>)>,
    prepared: &[PreparedCase<'_>],
    measured: &mut Measured,
) {
    let mut paces: BTreeMap<(usize, Side), std::result::Result<Pace, String>> = BTreeMap::new();
    for (i, exit) in exits {
        let (place, side) = (prepared[i].place, prepared[i].side);
        let counted = exit.and_then(|exit| {
            let patience_s =
                patience_ms(measured.longest_ms(&prepared[i]), prepared[i].spawn.time_ms) / 1000;
            let repeat = u64::from(prepared[i].spawn.repeat);
            let instructions = count_of(&prepared[i], &exit, patience_s)?.saturating_mul(repeat);
            let rounds_ns =
                measured.user_ns.get(&place).and_then(|sides| sides.get(&side)).cloned();
            let rounds_ns = rounds_ns.and_then(|mut times| Some(median(&mut times)? as u64));
            Ok(Pace { instructions, counting_ns: exit.user_ns.saturating_mul(repeat), rounds_ns })
        });
        paces.insert((place, side), counted);
    }
    for prepared_case in prepared {
        let (place, side) = (prepared_case.place, prepared_case.side);
        let Some(counted) = paces.get(&(place, side)) else { continue };
        let checked = counted.clone().and_then(|pace| {
            // The baseline is what a candidate is held against.
            let baseline = paces.get(&(place, Side::Baseline)).and_then(|pace| pace.as_ref().ok());
            let baseline = baseline.filter(|_| side == Side::Candidate);
            match baseline.and_then(|baseline| misfit(*baseline, pace)) {
                Some(why) => Err(why),
                None => Ok(pace.instructions),
            }
        });
        match checked {
            Ok(count) => measured.samples.push(prepared_case.sample(CACHEGRIND, count, 0, 0)),
            Err(why) => measured.notices.push(format!(
                "the instructions of {} ({}) were not counted: {why}",
                prepared_case.case,
                side.name(),
            )),
        }
    }
}

/// The count of a process, or why it is not to be believed. A program may find out where it runs,
/// and do less there: the answer counts here too.
fn count_of(
    prepared_case: &PreparedCase<'_>,
    exit: &Exit,
    patience_s: u64,
) -> std::result::Result<u64, String> {
    if exit.end == End::Timeout {
        return Err(format!(
            "under Valgrind it took longer than {patience_s} s, far more than its rounds: threads that wait by spinning hardly get on there; `count_instructions = false` leaves it out"
        ));
    }
    match prepared_case.failure_of(exit, patience_s) {
        Some((Step::Output, reason)) => Err(format!("under Valgrind it gave {reason}")),
        Some((_, reason)) => Err(format!("under Valgrind it {reason}")),
        None => exit.instructions.ok_or_else(|| {
            let why = exit.not_counted.as_deref().unwrap_or("it wrote no counts");
            format!("under Valgrind {why}")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_to_count_is_weighed_by_its_length() {
        let seconds = BTreeMap::from([(0, 1.0), (1, 1.0), (2, 8.0)]);
        let mut pending = Pending { seconds, factors: (10.0, 25.0), ended: 0, ended_s: 0.0 };
        assert_eq!(pending.left(0.0), Some((100, 250)));
        pending.end(0);
        // 15 s for the first second: nine are left.
        assert_eq!((pending.left(15.0), pending.ended), (Some((135, 135)), 1));
        pending.end(2);
        assert_eq!(pending.left(180.0), Some((20, 20)));
        let nothing = BTreeMap::from([(0, 0.0)]);
        assert_eq!(Pending { seconds: nothing, ..pending }.left(0.0), None);
    }

    #[test]
    fn patience_follows_from_the_rounds() {
        for (longest_ms, limit_ms, patience) in [
            (Some(0), 60_000, 30_000),
            (Some(100), 5_000, 30_000),
            (Some(999), 60_000, 200_000),
            (Some(9_000), 5_000, 1_000_200),
            (None, 60_000, 12_000_200),
        ] {
            assert_eq!(patience_ms(longest_ms, limit_ms), patience);
        }
    }
}
