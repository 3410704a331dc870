//! The work of each unit of a build, freed from the jobs and tokens that it was measured with.
//!
//! A unit runs through three phases: up to its metadata, code generation, linking. Each has an
//! amount of work: what is done in one nanosecond with one token is [`ONE`]. The first and the last
//! go on at that rate whatever is free. Code generation is split into up to [`TOKENS_MAX`] parts
//! that take a token each while cargo's jobserver has some to spare, so it is faster by Amdahl's
//! law: with n tokens by 1/(s + (1−s)/n), s its serial share (translating to the back end's
//! language, writing files).
//!
//! What a unit *did* is the integral of its rate over the time it took, with the tokens that were
//! free then. So a build that is replayed as it was measured takes as long as it took, whatever s.
//! s comes from the processor time, which code generation on several cores has more of than wall
//! time; where a build shows too little of it, from its other units, or it is [`SERIAL_SHARE`].

use super::release::{releases, sorted_by_start};
use super::{Build, Parts, order};
use crate::record::{CompilationUnit, UnitKind};

/// Work done in one nanosecond by one token.
pub(super) const ONE: u64 = 1 << 24;

/// rustc's default number of codegen units without incremental compilation (`-C codegen-units` in
/// The rustc book).
pub(super) const TOKENS_MAX: usize = 16;

/// s where nothing tells. By the number of runnable threads, code generation of rustc 1.95 wants
/// 1.85 to 1.88 of two tokens and 3.2 to 3.4 of four (some 50 crates, dev and release profile, one
/// unit at a time, weighted by time): Amdahl's law with 0.07 gives 1.87 and 3.3.
const SERIAL_SHARE: f64 = 0.07;

/// A share of code generation that must have had tokens to spare before s is read from it.
const SPARE_SHARE: f64 = 0.2;

/// The share of a unit before code generation, where no unit of the build tells.
const FRONT_SHARE: f64 = 0.5;

pub(super) const FRONT: usize = 0;
pub(super) const CODEGEN: usize = 1;
pub(super) const PHASES: usize = 3;

/// One unit to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Task {
    /// Work by phase, in [`ONE`]s.
    pub work: [u128; PHASES],
    /// Rate of code generation by number of tokens, from one.
    pub rates: Vec<u64>,
    /// Units that cannot start before this one is done, itself included: cargo's priority.
    pub priority: u32,
    /// Place in the order of starts, which decides between equals.
    pub rank: usize,
    /// The moments at which the phases ended as measured.
    pub measured: [i64; PHASES],
}

/// The tasks of a build, and how long cargo took to start a unit that could start.
pub(super) fn tasks(build: &Build) -> (Vec<Task>, i64) {
    let units = build.units();
    let starts = sorted_by_start(units);
    let priorities = priorities(units);
    let share = front_share(units);
    let mut tasks: Vec<Task> = units
        .iter()
        .zip(priorities)
        .map(|(unit, priority)| {
            let (measured, is_split) = phases(unit, share);
            let tokens_max = if is_split { TOKENS_MAX } else { 1 };
            let (work, rates) = ([0; PHASES], vec![ONE; tokens_max]);
            Task { work, rates, priority, rank: 0, measured }
        })
        .collect();
    starts.iter().enumerate().for_each(|(rank, &unit)| tasks[unit].rank = rank);

    let mut spare = vec![[0i64; TOKENS_MAX]; units.len()];
    let (jobs, cores) = (build.jobs(), build.cores());
    replay(units, &tasks, &starts, |running, dt| {
        let tokens = tokens(&tasks, running, jobs);
        for (&(unit, _), tokens) in running.iter().zip(&tokens).filter(|(r, _)| r.1 == CODEGEN) {
            spare[unit][tokens - 1] += dt;
        }
    });
    for (task, serial) in tasks.iter_mut().zip(serial_shares(units, &spare)) {
        let amdahl = |n: usize| 1.0 / (serial + (1.0 - serial) / n as f64);
        task.rates = (1..=task.rates.len()).map(|n| (ONE as f64 * amdahl(n)) as u64).collect();
    }
    let mut work = vec![[0; PHASES]; units.len()];
    replay(units, &tasks, &starts, |running, dt| {
        for (&(unit, phase), rate) in running.iter().zip(rates(&tasks, running, jobs, cores)) {
            work[unit][phase] += u128::from(rate) * dt as u128;
        }
    });
    tasks.iter_mut().zip(work).for_each(|(task, work)| task.work = work);
    (tasks, gap(build))
}

/// What runs, in the order of starts: (unit, phase).
pub(super) type RunningUnits = [(usize, usize)];

/// Tokens of each running unit. One each; what is left of `jobs` goes to those that generate code,
/// one to each in turn.
fn tokens(tasks: &[Task], running: &RunningUnits, jobs: u32) -> Vec<usize> {
    let mut idle = (jobs as usize).saturating_sub(running.len());
    let mut tokens = vec![1; running.len()];
    for _ in 1..TOKENS_MAX {
        let before = idle;
        for (tokens, &(unit, phase)) in tokens.iter_mut().zip(running) {
            if idle > 0 && phase == CODEGEN && *tokens < tasks[unit].rates.len() {
                *tokens += 1;
                idle -= 1;
            }
        }
        if idle == before {
            break;
        }
    }
    tokens
}

/// Rate of each running unit: less where together they would keep more than all cores busy.
pub(super) fn rates(tasks: &[Task], running: &RunningUnits, jobs: u32, cores: u32) -> Vec<u64> {
    let tokens = tokens(tasks, running, jobs);
    let rate = |(&(unit, phase), tokens): (&(usize, usize), &usize)| match phase {
        CODEGEN => tasks[unit].rates[tokens - 1],
        _ => ONE,
    };
    let rates: Vec<u64> = running.iter().zip(&tokens).map(rate).collect();
    let total_rate: u128 = rates.iter().map(|r| u128::from(*r)).sum();
    let most = u128::from(cores) * u128::from(ONE);
    if total_rate <= most {
        return rates;
    }
    let scaled_rate = |rate: u64| (u128::from(rate) * most / total_rate).max(1) as u64;
    rates.into_iter().map(scaled_rate).collect()
}

/// Goes through the build as measured: `each` gets what ran for how long.
fn replay(
    units: &[CompilationUnit],
    tasks: &[Task],
    starts: &[usize],
    mut each: impl FnMut(&RunningUnits, i64),
) {
    let mut moments: Vec<i64> = units
        .iter()
        .zip(tasks)
        .flat_map(|(u, t)| [&[u.start_ns][..], &t.measured].concat())
        .collect();
    moments.sort_unstable();
    moments.dedup();
    let mut running: Vec<(usize, usize)> = vec![];
    let mut next_start = starts.iter().peekable();
    for pair in moments.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        while let Some(&unit) = next_start.next_if(|&&unit| units[unit].start_ns <= from) {
            running.push((unit, FRONT));
        }
        running.retain_mut(|(unit, phase)| {
            while *phase < PHASES && tasks[*unit].measured[*phase] <= from {
                *phase += 1;
            }
            *phase < PHASES
        });
        if !running.is_empty() {
            each(&running, to - from);
        }
    }
}

/// When the phases of a unit ended, and whether it can use more than one token.
fn phases(unit: &CompilationUnit, front_share: f64) -> ([i64; PHASES], bool) {
    let (start, end) = (unit.start_ns, unit.end_ns);
    let link = unit.link_ns.unwrap_or(end);
    let processor = i128::from(unit.user_ns) + i128::from(unit.system_ns);
    let is_split = unit.threads > 1
        && match unit.kind {
            UnitKind::Doc => false,
            // A build script that ran on several cores took its tokens from the same jobserver.
            UnitKind::RunBuildScript => processor > i128::from(end - start),
            _ => true,
        };
    let unknown_parts = || match unit.kind {
        UnitKind::RunBuildScript | UnitKind::Doc => start,
        _ => start + (front_share * (link - start) as f64) as i64,
    };
    let front = unit.metadata_ns.or(unit.codegen_ns).unwrap_or_else(unknown_parts);
    ([front, link.max(front), end], is_split)
}

/// The share of the front end in units that tell, without linking.
fn front_share(units: &[CompilationUnit]) -> f64 {
    let mut sum = Parts::default();
    units
        .iter()
        .filter(|u| !matches!(u.kind, UnitKind::RunBuildScript | UnitKind::Doc))
        .filter(|u| u.metadata_ns.or(u.codegen_ns).is_some())
        .for_each(|u| sum += Parts::from_unit(u));
    match sum.front_ns + sum.codegen_ns {
        0 => FRONT_SHARE,
        front_and_codegen => sum.front_ns as f64 / front_and_codegen as f64,
    }
}

/// s of each unit, from how long its code generation had how many tokens (`spare`, from one).
fn serial_shares(units: &[CompilationUnit], spare: &[[i64; TOKENS_MAX]]) -> Vec<f64> {
    let parallel = |unit: &CompilationUnit| {
        let processor = i128::from(unit.user_ns) + i128::from(unit.system_ns);
        (processor - i128::from(unit.end_ns - unit.start_ns)).max(0) as f64
    };
    let mut sums = ([0i64; TOKENS_MAX], 0.0);
    for (unit, spare) in units.iter().zip(spare) {
        if serial_share(spare, 0.0).is_some() {
            sums.0.iter_mut().zip(spare).for_each(|(sum, spare)| *sum += spare);
            sums.1 += parallel(unit);
        }
    }
    let pooled = serial_share(&sums.0, sums.1).unwrap_or(SERIAL_SHARE);
    let share_of = |(unit, spare)| serial_share(spare, parallel(unit)).unwrap_or(pooled);
    units.iter().zip(spare).map(share_of).collect()
}

/// The s with which code generation does `parallel` nanoseconds of work more than it takes; `None`
/// where it had too few tokens to tell. By bisection: the more is serial, the less is done.
fn serial_share(spare: &[i64; TOKENS_MAX], parallel: f64) -> Option<f64> {
    let total: i64 = spare.iter().sum();
    let beyond_first: i64 = spare[1..].iter().sum();
    if beyond_first == 0 || (beyond_first as f64) < SPARE_SHARE * total as f64 {
        return None;
    }
    let rate_with = |s: f64| {
        let at =
            |(i, dt): (usize, &i64)| *dt as f64 * (1.0 / (s + (1.0 - s) / (i + 1) as f64) - 1.0);
        spare.iter().enumerate().map(at).sum::<f64>()
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        if rate_with(middle) > parallel { low = middle } else { high = middle }
    }
    Some((low + high) / 2.0)
}

/// The number of units that wait for each unit, by way of others too, itself included. cargo's
/// priority is this times a constant (`DependencyQueue::queue_finished` with the cost 100 of
/// `JobQueue::enqueue`).
fn priorities(units: &[CompilationUnit]) -> Vec<u32> {
    let words = units.len().div_ceil(64);
    let mut waiting = vec![0u64; words * units.len()];
    for &unit in order(units).iter().rev() {
        waiting[unit * words + unit / 64] |= 1 << (unit % 64);
        let ancestors = waiting[unit * words..(unit + 1) * words].to_vec();
        for need in &units[unit].needs {
            let needed_start = need.unit as usize * words;
            waiting[needed_start..needed_start + words]
                .iter_mut()
                .zip(&ancestors)
                .for_each(|(word, ancestor)| *word |= ancestor);
        }
    }
    waiting.chunks(words).map(|bits| bits.iter().map(|word| word.count_ones()).sum()).collect()
}

/// How long cargo takes from when a unit can start to its start: the median over units that
/// another one let start; 0 where there are none.
fn gap(build: &Build) -> i64 {
    let mut gaps: Vec<i64> = releases(build)
        .iter()
        .zip(build.units())
        .filter(|(release, _)| release.ready.1.or(release.slot.1).is_some())
        .map(|(release, unit)| (unit.start_ns - release.moment()).max(0))
        .collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().unwrap_or(0)
}
