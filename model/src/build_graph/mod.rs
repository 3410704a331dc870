//! The crate graph of one measured build: what bounded its time, and what it would have been with
//! other settings.
//!
//! A [`Build`] is one process's rows of `units`, checked: rows come from files, which may be
//! foreign. From it come
//!
//! - [`analyse`]: critical path, use of the cores over time, realised overlap;
//! - [`simulate`]: the same units with another number of jobs, or pipelining the other way, as
//!   another `Build`, so that everything that is said of a measured one can be said of it;
//! - [`gain`]: what pipelining is worth, from walls of builds with it and without.
//!
//! A unit has up to three parts. Its **front end** ends when its metadata are ready, **code
//! generation** goes on to its end, and **linking** is the last of code generation. With pipelining
//! a dependent that does not link needs only the metadata.

use std::fmt;

use serde::Serialize;

use crate::record::{CompilationUnit, UnitKind};

mod analysis;
mod gain;
mod release;
mod simulate;
mod tasks;

pub use analysis::{
    Analysis, CriticalPath, PathStep, STEPS_MAX, StartReason, Utilisation, UtilisationPoint,
    analyse,
};
pub use gain::{Gain, NoGain, gain};
pub use simulate::simulate;

/// More units than any crate graph has; a file with more is foreign.
pub const UNITS_MAX: usize = 10_000;
/// The most needs of all units, as [`UNITS_MAX`] is of units.
pub const NEEDS_MAX: usize = 1_000_000;
/// A time longer than any build: 28 hours.
pub const WALL_MAX_NS: i64 = 100_000_000_000_000;
/// Nanoseconds by which moments that two processes took may contradict each other.
pub const SLACK_NS: i64 = 5_000_000;

/// The units of one build and how it was asked for. What [`Build::new`] checks holds of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Build {
    /// Each in the place of its number ([`CompilationUnit::unit`]); not empty.
    units: Vec<CompilationUnit>,
    wall_ns: i64,
    jobs: u32,
    pipelining: bool,
    cores: u32,
}

/// Why rows are not those of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "broken")]
pub enum InvalidBuild {
    Empty,
    TooManyUnits {
        units: usize,
    },
    TooManyNeeds {
        needs: usize,
    },
    /// Rows of more than one process.
    SeveralBuilds,
    /// Numbers of units do not count from 0 without gap or repetition.
    Numbers {
        unit: u32,
    },
    /// A need of a unit that is not there.
    UnknownNeed {
        unit: u32,
        need: u32,
    },
    /// A unit that waits for itself, perhaps by way of others.
    Cycle {
        unit: u32,
    },
    /// Moments out of order, the names of which stand in `what`; or negative.
    Times {
        unit: u32,
        what: &'static str,
    },
    /// A processor time below zero.
    ProcessorTime {
        unit: u32,
    },
    /// A wall time above [`WALL_MAX_NS`].
    TooLong,
    /// Wall time, jobs or cores are not positive.
    NotPositive {
        what: &'static str,
    },
}

impl fmt::Display for InvalidBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a build without units"),
            Self::TooManyUnits { units } => {
                write!(f, "{units} units: a build has at most {UNITS_MAX}")
            }
            Self::TooManyNeeds { needs } => {
                write!(f, "{needs} needs of units: a build has at most {NEEDS_MAX}")
            }
            Self::SeveralBuilds => write!(f, "units of more than one build"),
            Self::Numbers { unit } => write!(f, "the number {unit} is missing or twice there"),
            Self::UnknownNeed { unit, need } => {
                write!(f, "unit {unit} needs unit {need}, which is not there")
            }
            Self::Cycle { unit } => write!(f, "unit {unit} waits for itself"),
            Self::Times { unit, what } => write!(f, "unit {unit}: out of order: {what}"),
            Self::ProcessorTime { unit } => write!(f, "unit {unit}: a processor time below zero"),
            Self::TooLong => write!(f, "a wall time of more than a day"),
            Self::NotPositive { what } => write!(f, "{what} not positive"),
        }
    }
}

impl std::error::Error for InvalidBuild {}

impl Build {
    /// Checks rows of one process, in any order. `wall_ns` is that of the whole process, which has
    /// `jobs` (cargo's `-j`) and `cores` to run on. Where moments contradict each other by no more
    /// than [`SLACK_NS`], the later ones are moved.
    pub fn new(
        mut units: Vec<CompilationUnit>,
        wall_ns: i64,
        jobs: u32,
        pipelining: bool,
        cores: u32,
    ) -> Result<Self, InvalidBuild> {
        for (what, value) in [("wall", wall_ns), ("jobs", jobs.into()), ("cores", cores.into())] {
            if value <= 0 {
                return Err(InvalidBuild::NotPositive { what });
            }
        }
        if wall_ns > WALL_MAX_NS {
            return Err(InvalidBuild::TooLong);
        }
        check_graph(&mut units)?;
        let mut last = 0;
        for unit in &mut units {
            put_in_order(unit)?;
            if unit.end_ns > wall_ns.saturating_add(SLACK_NS) {
                return Err(InvalidBuild::Times { unit: unit.unit, what: "end, wall" });
            }
            last = unit.end_ns.max(last);
        }
        Ok(Self { units, wall_ns: wall_ns.max(last), jobs, pipelining, cores })
    }

    pub fn units(&self) -> &[CompilationUnit] {
        &self.units
    }

    pub const fn wall_ns(&self) -> i64 {
        self.wall_ns
    }

    pub const fn jobs(&self) -> u32 {
        self.jobs
    }

    pub const fn pipelining(&self) -> bool {
        self.pipelining
    }

    pub const fn cores(&self) -> u32 {
        self.cores
    }
}

/// Sorts by number, and checks what can be said without times.
fn check_graph(units: &mut [CompilationUnit]) -> Result<(), InvalidBuild> {
    let count = units.len();
    if count > UNITS_MAX {
        return Err(InvalidBuild::TooManyUnits { units: count });
    }
    let needs = units.iter().map(|u| u.needs.len()).sum();
    if needs > NEEDS_MAX {
        return Err(InvalidBuild::TooManyNeeds { needs });
    }
    let Some(first) = units.first() else { return Err(InvalidBuild::Empty) };
    let process = |u: &CompilationUnit| (u.round, u.side, u.sequence);
    let is_same_process = |u: &CompilationUnit| {
        process(u) == process(first) && u.benchmark == first.benchmark && u.config == first.config
    };
    if !units.iter().all(is_same_process) {
        return Err(InvalidBuild::SeveralBuilds);
    }
    units.sort_by_key(|u| u.unit);
    for (place, unit) in units.iter_mut().enumerate() {
        if unit.unit as usize != place {
            return Err(InvalidBuild::Numbers { unit: place as u32 });
        }
        if let Some(need) = unit.needs.iter().find(|need| need.unit as usize >= count) {
            return Err(InvalidBuild::UnknownNeed { unit: unit.unit, need: need.unit });
        }
        if unit.user_ns < 0 || unit.system_ns < 0 {
            return Err(InvalidBuild::ProcessorTime { unit: unit.unit });
        }
        // Of two needs of one unit the stricter says it all.
        unit.needs.sort_by_key(|need| (need.unit, !need.end));
        unit.needs.dedup_by_key(|need| need.unit);
    }
    if order(units).len() < count {
        let unit = find_cycle(units);
        return Err(InvalidBuild::Cycle { unit });
    }
    Ok(())
}

/// The units that need each unit, and whether its end.
fn dependents(units: &[CompilationUnit]) -> Vec<Vec<(usize, bool)>> {
    let mut dependents = vec![vec![]; units.len()];
    for (place, unit) in units.iter().enumerate() {
        for need in &unit.needs {
            dependents[need.unit as usize].push((place, need.end));
        }
    }
    dependents
}

/// Places of units, each after all that it needs (Kahn 1962, CACM 5(11)); without those that wait
/// for a cycle.
fn order(units: &[CompilationUnit]) -> Vec<usize> {
    let dependents = dependents(units);
    let mut missing: Vec<usize> = units.iter().map(|u| u.needs.len()).collect();
    let mut order: Vec<usize> = (0..units.len()).filter(|&u| missing[u] == 0).collect();
    let mut completed = 0;
    while let Some(&unit) = order.get(completed) {
        completed += 1;
        for &(dependent, _) in &dependents[unit] {
            missing[dependent] -= 1;
            if missing[dependent] == 0 {
                order.push(dependent);
            }
        }
    }
    order
}

/// A unit of a cycle, where there is one: each unit that is not in [`order`] needs another such, so
/// going from need to need ends in a cycle.
fn find_cycle(units: &[CompilationUnit]) -> u32 {
    let mut is_stuck = vec![true; units.len()];
    order(units).into_iter().for_each(|unit| is_stuck[unit] = false);
    let stuck = |unit: usize| units[unit].needs.iter().find(|n| is_stuck[n.unit as usize]);
    let mut position = is_stuck.iter().position(|stuck| *stuck).unwrap_or(0);
    for _ in 0..units.len() {
        position = stuck(position).map_or(position, |need| need.unit as usize);
    }
    position as u32
}

/// 0 ≤ start ≤ metadata ≤ end, and code generation and linking in between.
fn put_in_order(unit: &mut CompilationUnit) -> Result<(), InvalidBuild> {
    let number = unit.unit;
    let ordered = |first: i64, second: i64, what: &'static str| match second {
        _ if second < first.saturating_sub(SLACK_NS) => {
            Err(InvalidBuild::Times { unit: number, what })
        }
        _ => Ok(first.max(second)),
    };
    let start = ordered(0, unit.start_ns, "0, start")?;
    let end = ordered(start, unit.end_ns, "start, end")?;
    let moments = [
        (&mut unit.metadata_ns, ["start, metadata", "metadata, end"]),
        (&mut unit.codegen_ns, ["start, code generation", "code generation, end"]),
        (&mut unit.link_ns, ["start, linking", "linking, end"]),
    ];
    for (moment, [before, after]) in moments {
        let Some(moment) = moment else { continue };
        *moment = ordered(start, *moment, before)?;
        ordered(*moment, end, after)?;
        *moment = end.min(*moment);
    }
    (unit.start_ns, unit.end_ns) = (start, end);
    Ok(())
}

/// How long the parts of a unit, or of several, took. Their sum is all of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Parts {
    /// Start to metadata.
    pub front_ns: i64,
    /// Metadata to end, without linking where that is known.
    pub codegen_ns: i64,
    pub link_ns: i64,
    /// Neither, or not known which: the run of a build script, a unit whose compiler said nothing.
    pub other_ns: i64,
}

impl Parts {
    /// Parts of a unit's time. What has no metadata has its front end end where code generation
    /// begins.
    pub fn from_unit(unit: &CompilationUnit) -> Self {
        Self::before(unit, unit.end_ns)
    }

    /// Parts of a unit's time before `moment`.
    fn before(unit: &CompilationUnit, moment: i64) -> Self {
        let (start, end) = (unit.start_ns, unit.end_ns.min(moment));
        let split = unit.metadata_ns.or(unit.codegen_ns);
        let Some(split) = split.filter(|_| unit.kind != UnitKind::RunBuildScript) else {
            let link = unit.link_ns.unwrap_or(end).min(end);
            let other_ns = link - start;
            return Self { other_ns, link_ns: end - link, ..Self::default() };
        };
        let split = split.min(end);
        let link = unit.link_ns.unwrap_or(end).clamp(split, end);
        Self { front_ns: split - start, codegen_ns: link - split, link_ns: end - link, other_ns: 0 }
    }

    pub const fn total_ns(&self) -> i64 {
        self.front_ns + self.codegen_ns + self.link_ns + self.other_ns
    }
}

impl std::ops::AddAssign for Parts {
    fn add_assign(&mut self, other: Self) {
        self.front_ns = self.front_ns.saturating_add(other.front_ns);
        self.codegen_ns = self.codegen_ns.saturating_add(other.codegen_ns);
        self.link_ns = self.link_ns.saturating_add(other.link_ns);
        self.other_ns = self.other_ns.saturating_add(other.other_ns);
    }
}
