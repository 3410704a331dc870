//! Metrics: what is measured, in which unit, and which direction is better.
//!
//! Values are `i64` in base units, so nothing is rounded before it is stored. The names here are
//! the names in suites, policies, the store and reports.

use serde::{Deserialize, Serialize};

/// Instructions as Valgrind counts them, once per case and side.
pub const CACHEGRIND: &str = "instructions:cachegrind";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Nanoseconds,
    Bytes,
    Count,
}

impl Unit {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Bytes => "bytes",
            Self::Count => "count",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Lower,
    Higher,
}

impl Better {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Higher => "higher",
        }
    }
}

/// How a metric's samples come about, which decides how many there are and how they are tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// One sample a round: noisy, tested with the rounds' variance.
    Rounds,
    /// Counted once per case and artifact: the same input gives the same count, so one sample is
    /// the value and there is no variance to test with.
    Once,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Metric {
    pub name: &'static str,
    pub unit: Unit,
    pub better: Better,
    pub sampling: Sampling,
    pub what: &'static str,
}

const fn metric(name: &'static str, unit: Unit, sampling: Sampling, what: &'static str) -> Metric {
    Metric { name, unit, better: Better::Lower, sampling, what }
}

/// What the kernel counts by its performance events, each under perf's own name. `name` has the
/// kernel's share in it, `name:u` is user mode alone: another source, hence another metric. Where a
/// suite wants both, the first is measured if the kernel allows it, else the second.
const fn event(name: &'static str, what: &'static str) -> Metric {
    metric(name, Unit::Count, Sampling::Rounds, what)
}

/// Every metric dyno knows, in the order reports show them.
pub const METRICS: &[Metric] = &[
    metric(
        "wall",
        Unit::Nanoseconds,
        Sampling::Rounds,
        "time from spawn to exit, CLOCK_MONOTONIC_RAW",
    ),
    metric("user", Unit::Nanoseconds, Sampling::Rounds, "CPU time in user mode, children included"),
    metric(
        "system",
        Unit::Nanoseconds,
        Sampling::Rounds,
        "CPU time in the kernel, children included",
    ),
    metric("max-rss", Unit::Bytes, Sampling::Rounds, "largest resident memory of the process"),
    metric("minor-faults", Unit::Count, Sampling::Rounds, "page faults served without I/O"),
    metric("major-faults", Unit::Count, Sampling::Rounds, "page faults that needed I/O"),
    metric("voluntary-switches", Unit::Count, Sampling::Rounds, "context switches while waiting"),
    metric("involuntary-switches", Unit::Count, Sampling::Rounds, "context switches by preemption"),
    metric(
        "task-clock",
        Unit::Nanoseconds,
        Sampling::Rounds,
        "CPU time from exec on, children included, by the kernel's event",
    ),
    event("instructions", "instructions, by the processor's counter"),
    event("instructions:u", "instructions in user mode, by the processor's counter"),
    event("cycles", "cycles, by the processor's counter"),
    event("cycles:u", "cycles in user mode, by the processor's counter"),
    event("branches", "branches, by the processor's counter"),
    event("branches:u", "branches in user mode, by the processor's counter"),
    event("branch-misses", "mispredicted branches, by the processor's counter"),
    event("branch-misses:u", "mispredicted branches in user mode, by the processor's counter"),
    event("cache-misses", "last-level cache misses, by the processor's counter"),
    event("cache-misses:u", "last-level cache misses in user mode, by the processor's counter"),
    event("page-faults", "page faults from exec on, by the kernel's event"),
    event("page-faults:u", "page faults of user mode from exec on, by the kernel's event"),
    event("context-switches", "context switches from exec on, by the kernel's event"),
    event("cpu-migrations", "moves from one core to another, by the kernel's event"),
    metric(
        "instructions:cachegrind",
        Unit::Count,
        Sampling::Once,
        "instructions, counted by Valgrind's cachegrind",
    ),
    metric("artifact-size", Unit::Bytes, Sampling::Once, "size of the artifact's files together"),
    metric("binary-size", Unit::Bytes, Sampling::Once, "size of the program or library linked"),
    metric("rlib-size", Unit::Bytes, Sampling::Once, "size of the Rust library (.rlib)"),
    metric("metadata-size", Unit::Bytes, Sampling::Once, "size of the metadata (.rmeta)"),
    metric(
        "object-size",
        Unit::Bytes,
        Sampling::Once,
        "size of code and data that are loaded, in what was linked or lies in libraries",
    ),
    metric("incremental-size", Unit::Bytes, Sampling::Once, "size of the incremental cache"),
];

/// The metric called `name`.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// Whether the metric called `name` is sampled once per case, so that it has no variance.
pub fn is_counted(name: &str) -> bool {
    find(name).is_some_and(|metric| metric.sampling == Sampling::Once)
}

/// Whether the metric called `name` counts what a processor does: in an emulator it would count the
/// emulator's own work, on another architecture.
pub fn is_of_processor(name: &str) -> bool {
    let counted = name.split_once(':').map_or(name, |(event, _)| event);
    ["instructions", "cycles", "branches", "branch-misses", "cache-misses"].contains(&counted)
}

/// Whether the metric called `name` is the size of something that a compiler writes, which only
/// crates have.
pub fn is_of_output(name: &str) -> bool {
    let kinds = ["binary", "rlib", "metadata", "object", "incremental"];
    name.strip_suffix("-size").is_some_and(|kind| kinds.contains(&kind))
}

/// The names of all metrics.
pub fn names() -> Vec<&'static str> {
    METRICS.iter().map(|metric| metric.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_processor_counts() {
        let counted: Vec<&str> = names().into_iter().filter(|name| is_of_processor(name)).collect();
        assert_eq!(counted.len(), 11);
        for name in ["instructions:cachegrind", "instructions:u", "cycles", "cache-misses:u"] {
            assert!(counted.contains(&name), "{name}");
        }
        for name in ["wall", "task-clock", "page-faults:u", "context-switches", "artifact-size"] {
            assert!(!counted.contains(&name), "{name}");
        }
    }
}
