//! A build with other settings than it was measured with.
//!
//! The model is cargo's job queue (`src/cargo/core/compiler/job_queue/mod.rs` and
//! `src/cargo/util/dependency_queue.rs` of rust-lang/cargo): a unit is ready when all that it needs
//! is there; of those that are ready the one with the highest priority starts as soon as fewer than
//! `jobs` run; a slot is held to the end of the unit, so metadata let others start only while a
//! slot is free. Tokens that no unit holds serve code generation ([`super::tasks`]); a unit that
//! becomes ready takes one back at once, where the real one waits until a part of code generation
//! is done. From when a unit can start to its start cargo takes the same time always, the median of
//! what it took in the trace.
//!
//! What it does not know: that units which run at the same time slow each other down (memory,
//! caches, hyper-threads), other orders among units of the same priority (cargo's are random), and
//! work that only one of the two settings has.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::release::first_start;
use super::tasks::{FRONT, PHASES, Task, rates, tasks};
use super::{Build, dependents};
use crate::record::CompilationUnit;

/// The build as it would have been with so many `jobs` (at least one) and with pipelining or
/// without, on the same cores. Units keep their numbers; processor times, memory and threads are
/// those measured.
pub fn simulate(build: &Build, jobs: u32, pipelining: bool) -> Build {
    let jobs = jobs.max(1);
    let (tasks, gap) = tasks(build);
    let units = build.units();
    let replayed = Replay::new(units, &tasks, jobs, pipelining).run(build.cores(), gap);
    let last = units.iter().map(|u| u.end_ns).max().unwrap_or(0);
    let mut simulated: Vec<CompilationUnit> = units.to_vec();
    for ((unit, task), replayed) in simulated.iter_mut().zip(&tasks).zip(&replayed) {
        move_times(unit, task, replayed);
    }
    let end = simulated.iter().map(|u| u.end_ns).max().unwrap_or(0);
    let wall_ns = end.saturating_add(build.wall_ns() - last);
    Build { units: simulated, wall_ns, jobs, pipelining, cores: build.cores() }
}

/// Moments between the ends of phases keep their place in the phase.
fn move_times(unit: &mut CompilationUnit, task: &Task, done: &Times) {
    let start = unit.start_ns;
    let move_moment = |moment: i64| {
        let phase = task.measured.iter().position(|end| moment <= *end).unwrap_or(PHASES - 1);
        let borders = |ends: &[i64; PHASES], start: i64| match phase {
            FRONT => (start, ends[FRONT]),
            _ => (ends[phase - 1], ends[phase]),
        };
        let (from, to) = borders(&task.measured, start);
        let (new_from, new_to) = borders(&done.ends, done.start);
        let (part, whole) = (i128::from(moment - from), i128::from((to - from).max(1)));
        new_from + (i128::from(new_to - new_from) * part / whole) as i64
    };
    unit.metadata_ns = unit.metadata_ns.map(move_moment);
    unit.codegen_ns = unit.codegen_ns.map(move_moment);
    unit.link_ns = unit.link_ns.map(move_moment);
    unit.start_ns = done.start;
    unit.end_ns = done.ends[PHASES - 1];
}

/// When a unit started and its phases ended.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    start: i64,
    ends: [i64; PHASES],
}

/// The state between two events: the end of a phase, or a start.
struct Replay<'b> {
    units: &'b [CompilationUnit],
    tasks: &'b [Task],
    jobs: u32,
    pipelining: bool,
    now: i64,
    dependents: Vec<Vec<(usize, bool)>>,
    /// Needs of each unit that are not yet met.
    missing: Vec<usize>,
    /// Units that wait, by priority, then by rank: earlier first.
    ready: BinaryHeap<(u32, Reverse<usize>, usize)>,
    /// Units that cargo is about to start: (when, rank, unit).
    starting: BinaryHeap<Reverse<(i64, usize, usize)>>,
    /// The phases under way, in the order of starts: (unit, phase).
    running: Vec<(usize, usize)>,
    /// Work of the phase that each unit is in.
    left: Vec<u128>,
    times: Vec<Times>,
}

impl<'b> Replay<'b> {
    fn new(units: &'b [CompilationUnit], tasks: &'b [Task], jobs: u32, pipelining: bool) -> Self {
        let missing: Vec<usize> = units.iter().map(|u| u.needs.len()).collect();
        let mut replay = Self {
            units,
            tasks,
            jobs,
            pipelining,
            now: first_start(units),
            dependents: dependents(units),
            ready: BinaryHeap::new(),
            starting: BinaryHeap::new(),
            running: vec![],
            left: vec![0; units.len()],
            times: vec![Times::default(); units.len()],
            missing,
        };
        for unit in (0..units.len()).filter(|&u| units[u].needs.is_empty()) {
            replay.ready.push(replay.queue_key(unit));
        }
        replay
    }

    /// Runs to the end. Each turn ends a phase or starts a unit, so there are at most four for
    /// each.
    fn run(mut self, cores: u32, gap: i64) -> Vec<Times> {
        self.spawn(0);
        loop {
            let rates = rates(self.tasks, &self.running, self.jobs, cores);
            let Some(next) = self.next_event(&rates) else { return self.times };
            let dt = (next - self.now) as u128;
            for (&(unit, _), rate) in self.running.iter().zip(&rates) {
                self.left[unit] = self.left[unit].saturating_sub(u128::from(*rate) * dt);
            }
            self.now = next;
            self.end_phases();
            self.start_units();
            self.spawn(gap);
        }
    }

    fn queue_key(&self, unit: usize) -> (u32, Reverse<usize>, usize) {
        (self.tasks[unit].priority, Reverse(self.tasks[unit].rank), unit)
    }

    /// Gives free slots to what is ready; it starts `after` nanoseconds from now.
    fn spawn(&mut self, after: i64) {
        while self.running.len() + self.starting.len() < self.jobs as usize
            && let Some((_, Reverse(rank), unit)) = self.ready.pop()
        {
            self.starting.push(Reverse((self.now.saturating_add(after), rank, unit)));
        }
    }

    fn next_event(&self, rates: &[u64]) -> Option<i64> {
        let end = |(&(unit, _), rate): (&(usize, usize), &u64)| {
            let dt = self.left[unit].div_ceil(u128::from(*rate));
            self.now.saturating_add(i64::try_from(dt).unwrap_or(i64::MAX))
        };
        let ends = self.running.iter().zip(rates).map(end);
        ends.chain(self.starting.peek().map(|Reverse((start, ..))| *start)).min()
    }

    fn end_phases(&mut self) {
        let mut running = std::mem::take(&mut self.running);
        running.retain_mut(|(unit, phase)| {
            while *phase < PHASES && self.left[*unit] == 0 {
                self.times[*unit].ends[*phase] = self.now;
                self.meet(*unit, *phase);
                *phase += 1;
                self.left[*unit] = self.tasks[*unit].work.get(*phase).copied().unwrap_or(0);
            }
            *phase < PHASES
        });
        self.running = running;
    }

    /// Meets the needs of others that the end of a phase meets.
    fn meet(&mut self, unit: usize, phase: usize) {
        let by_metadata = self.pipelining && self.units[unit].metadata_ns.is_some();
        for at in 0..self.dependents[unit].len() {
            let (dependent, end) = self.dependents[unit][at];
            let meets = if by_metadata && !end { FRONT } else { PHASES - 1 };
            if phase == meets {
                self.missing[dependent] -= 1;
                if self.missing[dependent] == 0 {
                    self.ready.push(self.queue_key(dependent));
                }
            }
        }
    }

    fn start_units(&mut self) {
        while let Some(Reverse((start, _, unit))) = self.starting.peek().copied()
            && start <= self.now
        {
            self.starting.pop();
            self.times[unit].start = start;
            self.left[unit] = self.tasks[unit].work[FRONT];
            self.running.push((unit, FRONT));
        }
    }
}
