//! Instructions by Cachegrind: once per case and side, since a count does not depend on time; for
//! the same reason all cores count at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::time::Instant;

use dyno_model::metric::{CACHEGRIND, WALL};
use dyno_model::plan::COUNTING_FACTORS;
use dyno_model::record::{Sample, Side};
use dyno_model::stats::median;
use dyno_model::step::Step;
use dyno_model::text::plural;
use dyno_probe::{End, Exit, Settings, Spawn};

use super::{Bench, Measured};
use crate::pace::{Pace, misfit};
use crate::prepared_case::PreparedCase;
use crate::replaceable::ReplaceableContainer;
use dyno_base::error::Result;
use dyno_base::event::{Phase, ProgressUnit, Stage};
use dyno_engine::Spec;

/// Factor by which a process may take longer while its instructions are counted than it took in its
/// rounds (Cachegrind was seen to take 10 to 40 times as long, and runs one thread at a time): what
/// takes longer waits for something that does not come.
const COUNTING_FACTOR: u64 = 200;

/// The least that a process may take while it is counted, in ms: Valgrind itself begins in 0.5 s.
const COUNTING_LEAST_MS: u64 = 30_000;

impl Bench<'_> {
    /// Counts instructions of every case that still works, one container a core.
    pub(super) async fn count(
        &self,
        prepared: &mut [PreparedCase<'_>],
        measured: &mut Measured,
    ) -> Result<()> {
        let started = Instant::now();
        // A build is many programs: what Valgrind makes of it says little of any.
        let wanted = [CACHEGRIND.to_string()];
        let is_counted = |prepared_case: &PreparedCase<'_>| {
            let is_wanted = !self.loaded.suite.metrics_of(prepared_case.case, &wanted).is_empty();
            prepared_case.failed.is_none() && !prepared_case.spawn.units && is_wanted
        };
        let working: Vec<usize> =
            (0..prepared.len()).filter(|&i| is_counted(&prepared[i])).collect();
        let total = working.len() as u64;
        self.events.stage(Stage::Count, self.expected_s(&working, prepared, measured));
        self.events.begin(
            Phase::Measure,
            format!("counting instructions of {}", plural(working.len(), "process")),
        );
        let queues = Mutex::new(counting_queues(working, prepared, measured, self.job.seed));
        let exits = Mutex::new(Vec::new());
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
                        let done = {
                            let mut exits = exits.lock().expect("no panic while held");
                            exits.push((i, exit));
                            exits.len() as u64
                        };
                        self.events.progress(Phase::Measure, done, total, ProgressUnit::Processes);
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
        record_counts(exits.into_inner().expect("no panic while held"), prepared, measured);
        measured.counting_s = started.elapsed().as_secs_f64();
        let done = format!("instructions counted in {:.0} s", measured.counting_s);
        self.events.end(Phase::Measure, done);
        Ok(())
    }

    /// Seconds that counting will take, from the least to the most, by the wall times that were
    /// just measured.
    fn expected_s(
        &self,
        working: &[usize],
        prepared: &[PreparedCase<'_>],
        measured: &Measured,
    ) -> Option<(u64, u64)> {
        let wall_ns = |prepared_case: &PreparedCase<'_>| {
            let last = measured.wall_ns(prepared_case).pop();
            last.map(|ns| ns / i64::from(prepared_case.spawn.repeat))
        };
        let wall_ns: Vec<i64> = working.iter().filter_map(|&i| wall_ns(&prepared[i])).collect();
        let core_s = wall_ns.iter().sum::<i64>() as f64 / 1e9 / self.all_cores.len() as f64;
        let [least, most] = [COUNTING_FACTORS.0, COUNTING_FACTORS.1].map(|factor| factor * core_s);
        (core_s > 0.0).then_some((least.ceil() as u64, most.ceil() as u64))
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
