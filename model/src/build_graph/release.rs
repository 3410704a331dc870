//! What let each unit of a build start: what it needed, or a free job slot.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Build;
use crate::record::{CompilationUnit, Need};

/// When a unit could have started, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Release {
    /// When all that it needs was there, and the unit that came last; the build's first start and
    /// `None` for what needs nothing.
    pub ready: (i64, Option<usize>),
    /// When the slot that it took had become free, and by the end of which unit; the build's first
    /// start and `None` for a slot that nothing had run in.
    pub slot: (i64, Option<usize>),
}

impl Release {
    pub fn moment(&self) -> i64 {
        self.ready.0.max(self.slot.0)
    }
}

/// When `need` is met by `unit`, the one that is needed.
pub(super) fn release_moment(unit: &CompilationUnit, need: &Need, pipelining: bool) -> i64 {
    match unit.metadata_ns {
        Some(metadata) if pipelining && !need.end => metadata,
        _ => unit.end_ns,
    }
}

/// The release of each unit. Slots are taken in the order of starts, of the free ones that which
/// has been free for longest: what cargo, which never lets a slot lie while a unit is ready, had to
/// wait for.
pub(super) fn releases(build: &Build) -> Vec<Release> {
    let units = build.units();
    let first = first_start(units);
    let starts = sorted_by_start(units);
    let mut ends: BinaryHeap<Reverse<(i64, usize)>> = BinaryHeap::new();
    let mut free: BinaryHeap<Reverse<(i64, Option<usize>)>> = BinaryHeap::new();
    (0..units.len().min(build.jobs() as usize)).for_each(|_| free.push(Reverse((first, None))));
    let mut releases = vec![Release { ready: (first, None), slot: (first, None) }; units.len()];
    for place in starts {
        let unit = &units[place];
        while ends.peek().is_some_and(|Reverse((end, _))| *end <= unit.start_ns) {
            let Some(Reverse((end, ended))) = ends.pop() else { break };
            free.push(Reverse((end, Some(ended))));
        }
        ends.push(Reverse((unit.end_ns, place)));
        let release_time = |need: &Need| {
            let needed = need.unit as usize;
            (release_moment(&units[needed], need, build.pipelining()), Some(needed))
        };
        let ready = unit.needs.iter().map(release_time).max().unwrap_or((first, None));
        // More units at once than there are jobs: not cargo's doing, so no slot was waited for.
        let slot = free.pop().map_or((first, None), |Reverse(slot)| slot);
        releases[place] = Release { ready, slot };
    }
    releases
}

/// Start of the first unit; 0 for none.
pub(super) fn first_start(units: &[CompilationUnit]) -> i64 {
    units.iter().map(|u| u.start_ns).min().unwrap_or(0)
}

/// Places in the order of starts. Units of the same times are told apart by what they are, so that
/// their numbers decide nothing.
pub(super) fn sorted_by_start(units: &[CompilationUnit]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by(|&a, &b| {
        let key = |u: usize| {
            let u = &units[u];
            (u.start_ns, u.end_ns, u.metadata_ns, u.kind, &u.name, &u.version, u.unit)
        };
        key(a).cmp(&key(b))
    });
    order
}
