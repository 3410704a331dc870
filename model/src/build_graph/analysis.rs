//! What bounded the time of a build.

use serde::Serialize;

use super::release::{Release, first_start, releases};
use super::{Build, Parts};
use crate::record::CompilationUnit;

/// The most steps that [`Utilisation`] has; a build with more changes is shown by means over
/// equal stretches of time.
pub const STEPS_MAX: usize = 512;

/// What is said of one build. Times are in nanoseconds, moments from the start of the build.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    pub units: u32,
    pub wall_ns: i64,
    /// Sums over all units.
    pub parts: Parts,
    pub critical_path: CriticalPath,
    pub utilisation: Utilisation,
    /// How long a unit ran while one that it needs was still in code generation.
    pub overlap_ns: i64,
}

/// Why a unit on the critical path did not start earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "because")]
pub enum StartReason {
    /// Nothing of the build was before it.
    First,
    /// It needed the unit before it on the path.
    Needed,
    /// No job slot was free before the end of the unit before it on the path.
    Slot,
}

/// A unit on the critical path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PathStep {
    pub unit: u32,
    pub because: StartReason,
    /// The wait from what let it start to its start.
    pub waited_ns: i64,
    /// Parts of the unit's time, as far as what let the next one start: without code generation
    /// where the metadata were enough.
    pub parts: Parts,
}

/// The chain of units that the time of the build was spent on, from first to last: each could not
/// start before the one before it had got so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CriticalPath {
    pub steps: Vec<PathStep>,
    pub parts: Parts,
    /// How long all steps together waited.
    pub waited_ns: i64,
}

impl CriticalPath {
    /// The span from the build's first start to its last end.
    pub const fn length_ns(&self) -> i64 {
        self.parts.total_ns() + self.waited_ns
    }

    pub fn is_on(&self, unit: u32) -> bool {
        self.steps.iter().any(|step| step.unit == unit)
    }
}

/// What ran from a moment to the next one in the series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct UtilisationPoint {
    pub from_ns: i64,
    /// Number of units; of a stretch of time its mean.
    pub units: f64,
    /// Cores that they kept busy, each unit by its mean: user and system time over its duration.
    pub cores: f64,
}

/// How the cores were used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Utilisation {
    /// Processor time of all units over wall × cores.
    pub mean: f64,
    /// The steps over time, from 0 to the wall: at most [`STEPS_MAX`].
    pub series: Vec<UtilisationPoint>,
}

pub fn analyse(build: &Build) -> Analysis {
    let mut parts = Parts::default();
    build.units().iter().for_each(|unit| parts += Parts::from_unit(unit));
    Analysis {
        units: build.units().len() as u32,
        wall_ns: build.wall_ns(),
        parts,
        critical_path: critical_path(build),
        utilisation: utilisation(build),
        overlap_ns: overlap(build.units()),
    }
}

/// The critical path, back from the unit that ended last. Before each stands what let it start: of
/// all that it needs the last to be there, or, if no slot was free by then, the unit whose end
/// freed one.
fn critical_path(build: &Build) -> CriticalPath {
    let units = build.units();
    let releases = releases(build);
    let last_unit = (0..units.len()).max_by_key(|&u| (units[u].end_ns, units[u].start_ns, u));
    let (mut at, mut until) = (last_unit, i64::MAX);
    let mut is_seen = vec![false; units.len()];
    let mut path = CriticalPath { steps: vec![], parts: Parts::default(), waited_ns: 0 };
    while let Some(place) = at.filter(|&place| !std::mem::replace(&mut is_seen[place], true)) {
        let unit = &units[place];
        let Release { ready, slot } = releases[place];
        let (moment, before, because) = match slot.0 > ready.0 {
            true => (slot.0, slot.1, StartReason::Slot),
            false => (ready.0, ready.1, StartReason::Needed),
        };
        let because = before.map_or(StartReason::First, |_| because);
        let step = PathStep {
            unit: unit.unit,
            because,
            waited_ns: (unit.start_ns - moment).max(0),
            parts: Parts::before(unit, until.max(unit.start_ns)),
        };
        path.parts += step.parts;
        path.waited_ns += step.waited_ns;
        path.steps.push(step);
        (at, until) = (before, moment.min(unit.start_ns));
    }
    path.steps.reverse();
    path
}

/// Sums of what begins and ends, swept over time.
fn utilisation(build: &Build) -> Utilisation {
    let units = build.units();
    let processor = |u: &CompilationUnit| u.user_ns as f64 + u.system_ns as f64;
    let wall = build.wall_ns();
    let mean = units.iter().map(processor).sum::<f64>() / (wall as f64 * f64::from(build.cores()));
    let mut changes: Vec<(i64, f64, f64)> = vec![(0, 0.0, 0.0)];
    for unit in units.iter().filter(|u| u.end_ns > u.start_ns) {
        let busy = processor(unit) / (unit.end_ns - unit.start_ns) as f64;
        changes.push((unit.start_ns, 1.0, busy));
        changes.push((unit.end_ns, -1.0, -busy));
    }
    changes.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2)));
    let mut series: Vec<UtilisationPoint> = vec![];
    let (mut count, mut cores) = (0.0, 0.0);
    for (from_ns, unit, busy) in changes {
        count += unit;
        // What is left of sums and differences of fractions when nothing runs.
        cores = if count == 0.0 { 0.0 } else { f64::max(cores + busy, 0.0) };
        let point = UtilisationPoint { from_ns, units: count, cores };
        match series.last_mut().filter(|last| last.from_ns == from_ns) {
            Some(last) => *last = point,
            None => series.push(point),
        }
    }
    series.retain(|r| r.from_ns < wall);
    if series.len() > STEPS_MAX {
        series = stretches(&series, wall);
    }
    Utilisation { mean, series }
}

/// Means over [`STEPS_MAX`] equal stretches of time.
fn stretches(series: &[UtilisationPoint], wall: i64) -> Vec<UtilisationPoint> {
    let step_border = |i: usize| (i128::from(wall) * i as i128 / STEPS_MAX as i128) as i64;
    let mut position = 0;
    let mean_of_step = |i: usize| {
        let (from, to) = (step_border(i), step_border(i + 1));
        let mut mean = UtilisationPoint { from_ns: from, units: 0.0, cores: 0.0 };
        loop {
            let end = series.get(position + 1).map_or(wall, |next| next.from_ns);
            let within = (end.min(to) - series[position].from_ns.max(from)).max(0) as f64;
            let weight = within / (to - from).max(1) as f64;
            mean.units += series[position].units * weight;
            mean.cores += series[position].cores * weight;
            if end >= to {
                return mean;
            }
            position += 1;
        }
    };
    (0..STEPS_MAX).map(mean_of_step).collect()
}

/// Length of the union of the stretches of time in which a unit ran and one that it needs was past
/// its metadata and before its end.
fn overlap(units: &[CompilationUnit]) -> i64 {
    let mut stretches: Vec<(i64, i64)> = vec![];
    for unit in units {
        for need in &unit.needs {
            let need = &units[need.unit as usize];
            let Some(metadata) = need.metadata_ns else { continue };
            let (from, to) = (unit.start_ns.max(metadata), unit.end_ns.min(need.end_ns));
            if from < to {
                stretches.push((from, to));
            }
        }
    }
    stretches.sort_unstable();
    let (mut total, mut until) = (0, first_start(units));
    for (from, to) in stretches {
        total += (to - from.max(until)).max(0);
        until = until.max(to);
    }
    total
}
