//! Metrics: what is measured, in which unit, which direction is better, and what else holds of
//! each.
//!
//! Values are `i64` in base units, so nothing is rounded before it is stored. The names here are
//! the names in suites, policies, the store and reports. A metric is added by a row of [`METRICS`]
//! and where its value is read; everything else asks the row.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricUnit {
    Nanoseconds,
    Bytes,
    Count,
}

impl MetricUnit {
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

/// The source of a metric's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricSource {
    /// The kernel at the end of a process: its clock and `wait4`.
    Process,
    /// An event that the kernel itself counts, by `perf_event_open`.
    KernelEvent,
    /// A counter of the processor's (its PMU), by `perf_event_open`.
    Pmu,
    /// Valgrind, which runs the program instead of the processor.
    Cachegrind,
    /// The files of an artifact.
    Artifact,
    /// The files that a compiler writes, which only crates have.
    Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Metric {
    pub name: &'static str,
    pub unit: MetricUnit,
    pub better: Better,
    pub sampling: Sampling,
    pub source: MetricSource,
    /// Whether other work on the machine moves it, as it does times, switches, and what caches and
    /// predictors cost that others have used; not memory, faults or instructions.
    pub is_disturbable: bool,
    pub what: &'static str,
}

impl Metric {
    /// Whether it is sampled once per case, so that it has no variance.
    pub const fn is_deterministic(&self) -> bool {
        matches!(self.sampling, Sampling::Once)
    }

    /// Whether a counter of the processor's tells it.
    pub const fn uses_pmu(&self) -> bool {
        matches!(self.source, MetricSource::Pmu)
    }

    /// Whether it is the size of something that a compiler writes.
    pub const fn measures_output(&self) -> bool {
        matches!(self.source, MetricSource::Output)
    }

    /// Whether it says something of a program that runs in an emulator: what counts instructions or
    /// cycles would count the emulator's own, on another architecture.
    pub const fn holds_under_emulation(&self) -> bool {
        !matches!(self.source, MetricSource::Pmu | MetricSource::Cachegrind)
    }

    const fn disturbable(self) -> Self {
        Self { is_disturbable: true, ..self }
    }
}

const fn metric(
    name: &'static str,
    unit: MetricUnit,
    sampling: Sampling,
    source: MetricSource,
    what: &'static str,
) -> Metric {
    Metric { name, unit, better: Better::Lower, sampling, source, is_disturbable: false, what }
}

/// A time: other work on the machine moves each.
const fn time(name: &'static str, source: MetricSource, what: &'static str) -> Metric {
    metric(name, MetricUnit::Nanoseconds, Sampling::Rounds, source, what).disturbable()
}

/// What the kernel says that a process used.
const fn usage(name: &'static str, unit: MetricUnit, what: &'static str) -> Metric {
    metric(name, unit, Sampling::Rounds, MetricSource::Process, what)
}

/// What performance events count, each under perf's own name. `name` has the kernel's share in it,
/// `name:u` is user mode alone: another source, hence another metric. Where a suite wants both, the
/// first is measured if the kernel allows it, else the second.
const fn event(name: &'static str, source: MetricSource, what: &'static str) -> Metric {
    metric(name, MetricUnit::Count, Sampling::Rounds, source, what)
}

/// The size of what is the same each time.
const fn size(name: &'static str, source: MetricSource, what: &'static str) -> Metric {
    metric(name, MetricUnit::Bytes, Sampling::Once, source, what)
}

/// Time from spawn to exit.
pub const WALL: &str = "wall";
/// Instructions under Valgrind.
pub const CACHEGRIND: &str = "instructions:cachegrind";
/// Size of the artifact's files.
pub const ARTIFACT_SIZE: &str = "artifact-size";

use MetricSource::{Artifact, Cachegrind, KernelEvent, Output, Pmu, Process};
use MetricUnit::{Bytes, Count};

/// Every metric dyno knows, in the order reports show them.
pub const METRICS: &[Metric] = &[
    time(WALL, Process, "time from spawn to exit, CLOCK_MONOTONIC_RAW"),
    time("user", Process, "CPU time in user mode, children included"),
    time("system", Process, "CPU time in the kernel, children included"),
    usage("max-rss", Bytes, "largest resident memory of the process"),
    usage("minor-faults", Count, "page faults served without I/O"),
    usage("major-faults", Count, "page faults that needed I/O"),
    usage("voluntary-switches", Count, "context switches while waiting").disturbable(),
    usage("involuntary-switches", Count, "context switches by preemption").disturbable(),
    time(
        "task-clock",
        KernelEvent,
        "CPU time from exec on, children included, by the kernel's event",
    ),
    event("instructions", Pmu, "instructions, by the processor's counter"),
    event("instructions:u", Pmu, "instructions in user mode, by the processor's counter"),
    event("cycles", Pmu, "cycles, by the processor's counter").disturbable(),
    event("cycles:u", Pmu, "cycles in user mode, by the processor's counter").disturbable(),
    event("branches", Pmu, "branches, by the processor's counter"),
    event("branches:u", Pmu, "branches in user mode, by the processor's counter"),
    event("branch-misses", Pmu, "mispredicted branches, by the processor's counter").disturbable(),
    event("branch-misses:u", Pmu, "mispredicted branches in user mode, by the processor's counter")
        .disturbable(),
    event("cache-misses", Pmu, "last-level cache misses, by the processor's counter").disturbable(),
    event(
        "cache-misses:u",
        Pmu,
        "last-level cache misses in user mode, by the processor's counter",
    )
    .disturbable(),
    event("page-faults", KernelEvent, "page faults from exec on, by the kernel's event"),
    event(
        "page-faults:u",
        KernelEvent,
        "page faults of user mode from exec on, by the kernel's event",
    ),
    event("context-switches", KernelEvent, "context switches from exec on, by the kernel's event")
        .disturbable(),
    event("cpu-migrations", KernelEvent, "moves from one core to another, by the kernel's event")
        .disturbable(),
    metric(
        CACHEGRIND,
        Count,
        Sampling::Once,
        Cachegrind,
        "instructions, counted by Valgrind's cachegrind",
    ),
    size(ARTIFACT_SIZE, Artifact, "size of the artifact's files together"),
    size("binary-size", Output, "size of the program or library linked"),
    size("rlib-size", Output, "size of the Rust library (.rlib)"),
    size("metadata-size", Output, "size of the metadata (.rmeta)"),
    size(
        "object-size",
        Output,
        "size of code and data that are loaded, in what was linked or lies in libraries",
    ),
    size("incremental-size", Output, "size of the incremental cache"),
];

/// The metric called `name`.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// The unit of the metric called `name`; a count where a store of another dyno has one that is
/// unknown here.
pub fn unit(name: &str) -> MetricUnit {
    find(name).map_or(MetricUnit::Count, |metric| metric.unit)
}

/// Place of the metric called `name` in the order in which reports show them; `None`, which sorts
/// first, for one that is unknown here.
pub fn rank(name: &str) -> Option<usize> {
    METRICS.iter().position(|metric| metric.name == name)
}

/// Whether the metric called `name` is known and [deterministic](Metric::is_deterministic).
pub fn is_deterministic(name: &str) -> bool {
    find(name).is_some_and(Metric::is_deterministic)
}

/// Whether the metric called `name` is known and [disturbable](Metric::is_disturbable).
pub fn is_disturbable(name: &str) -> bool {
    find(name).is_some_and(|metric| metric.is_disturbable)
}

/// Whether the metric called `name` is known and [measures output](Metric::measures_output).
pub fn measures_output(name: &str) -> bool {
    find(name).is_some_and(Metric::measures_output)
}

/// The names of all metrics.
pub fn names() -> Vec<&'static str> {
    METRICS.iter().map(|metric| metric.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the metrics of which `is` holds.
    fn names_where(is: impl Fn(&Metric) -> bool) -> Vec<&'static str> {
        METRICS.iter().filter(|metric| is(metric)).map(|metric| metric.name).collect()
    }

    #[test]
    fn what_only_a_processor_counts() {
        let counted = names_where(|metric| !metric.holds_under_emulation());
        assert_eq!(counted.len(), 11);
        for name in ["instructions:cachegrind", "instructions:u", "cycles", "cache-misses:u"] {
            assert!(counted.contains(&name), "{name}");
        }
        for name in ["wall", "task-clock", "page-faults:u", "context-switches", "artifact-size"] {
            assert!(!counted.contains(&name), "{name}");
        }
        let by_pmu = names_where(Metric::uses_pmu);
        assert_eq!(by_pmu.len(), 10);
        assert!(!by_pmu.contains(&CACHEGRIND));
    }

    #[test]
    fn what_a_disturbance_moves() {
        for (name, is) in [
            ("wall", true),
            ("user", true),
            ("involuntary-switches", true),
            ("task-clock", true),
            ("cycles:u", true),
            ("instructions", false),
            ("max-rss", false),
            ("minor-faults", false),
            ("instructions:cachegrind", false),
        ] {
            assert_eq!(is_disturbable(name), is, "{name}");
        }
        let others = ["context-switches", "cpu-migrations", "voluntary-switches", "system"];
        assert!(others.into_iter().all(is_disturbable));
        assert_eq!(names_where(|metric| metric.is_disturbable).len(), 14);
    }

    #[test]
    fn what_is_counted_once() {
        let once = names_where(Metric::is_deterministic);
        let mut expected = vec![CACHEGRIND, ARTIFACT_SIZE];
        expected.extend(names_where(Metric::measures_output));
        assert_eq!(once, expected);
        assert_eq!(once.len(), 7);
        assert!(!is_deterministic("unheard-of") && !measures_output("unheard-of-size"));
        assert_eq!((unit("unheard-of"), rank("unheard-of")), (MetricUnit::Count, None));
    }
}
