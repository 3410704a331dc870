//! Taint: what else happened on the cores while a process was measured, and when that is too much.
//!
//! All of it is seen from outside the process: it is compared with what the process itself used,
//! never with how long it took, so leaving tainted samples out does not select among times. It is
//! the processor time of *others* that counts, not the process's own involuntary switches or
//! waiting: a program with more threads than cores makes its threads wait for each other, and that
//! is the program, not a disturbance.
//!
//! What others do while a process sleeps or waits costs it nothing: what does is the time in which
//! it could have run and no core was free. The kernel counts that for each thread; of those that
//! have ended, only the first thread's can still be read. For the others stands an estimate: of the
//! time of other programs, the share in which they were on a core.

/// The share of a process's wall time that others may take on its cores unnoticed, where the host's
/// file does not say.
pub const SHARE_MAX: f64 = 0.02;

/// What happened on a process's cores besides it, between its start and its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disturbance {
    /// Processor time of other programs on these cores, in ns; `None` where it cannot be read.
    pub others_ns: Option<u64>,
    /// How much of `others_ns` may be no disturbance, in ns: what happened just before and after the
    /// process, and the error of a clock that ticks.
    pub unsure_ns: u64,
    /// Time that the hypervisor gave to another machine, in ns.
    pub stolen_ns: u64,
    /// Times that a core was slowed down to cool it.
    pub throttled: u64,
    /// Whether the process had to fetch from a disk what was in the page cache before.
    pub paged_in: bool,
}

/// The times of a process, in ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessTime {
    pub wall_ns: u64,
    /// The time on a core of all its threads and processes.
    pub running_ns: u64,
    /// The time on a core of its first thread; 0 where it is not known.
    pub first_running_ns: u64,
    /// The time that its first thread waited for a core; 0 where it is not known.
    pub first_waiting_ns: u64,
}

impl ProcessTime {
    /// What others took from it of `others_ns` that they were on its cores, in ns. Its threads also
    /// wait for each other, so it is never more than that.
    fn lost_ns(&self, others_ns: u64) -> f64 {
        let rest = self.running_ns.saturating_sub(self.first_running_ns) as f64;
        let awake = (rest / self.wall_ns.max(1) as f64).min(1.0);
        let others = others_ns as f64;
        others.min(self.first_waiting_ns as f64 + others * awake)
    }
}

impl Disturbance {
    /// The taint of a process of which others may take `share_max`: names joined by a comma, empty
    /// when nothing disturbed it.
    pub fn taint(&self, time: ProcessTime, share_max: f64) -> String {
        let too_much = |ns: f64| ns > share_max * time.wall_ns as f64;
        let others = self.others_ns.map(|ns| ns.saturating_sub(self.unsure_ns));
        [
            ("contention", others.is_some_and(|ns| too_much(time.lost_ns(ns)))),
            ("steal", too_much(self.stolen_ns as f64)),
            ("throttling", self.throttled > 0),
            (PAGE_IN, self.paged_in),
        ]
        .iter()
        .filter_map(|(name, is)| is.then_some(*name))
        .collect::<Vec<_>>()
        .join(",")
    }
}

/// The taint of a sample whose own process was left alone, but not the one it is compared with: the
/// two would no longer stand next to each other.
pub const PAIR: &str = "pair";

/// The taint of a process that had to fetch from a disk more than processes of its case usually do:
/// something had pushed its pages out of memory.
pub const PAGE_IN: &str = "page-in";

/// The taint of a process that ran in another container than the one before it, which was lost.
pub const LOST: &str = "container-lost";

/// What happened where a sample has a taint of this name, for whoever reads it; `None` for a name that
/// is not known.
pub fn meaning(name: &str) -> Option<&'static str> {
    Some(match name {
        "contention" => "other programs took its core",
        "steal" => "the hypervisor gave its core to another machine",
        "throttling" => "the processor was slowed down to cool it",
        PAGE_IN => "its pages had to come from a disk again",
        LOST => "its container was lost",
        PAIR => "the process beside it was disturbed",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_process_is_tainted() {
        const MS: u64 = 1_000_000;
        let others = |ns| Disturbance { others_ns: Some(ns), ..Disturbance::default() };
        // Of 100 ms the process was so many on a core; its first thread so many, and waited so many.
        for (what, own_ms, first_ms, disturbance, expected) in [
            ("nothing can be read", 100, [0, 0], Disturbance::default(), ""),
            ("alone", 100, [0, 0], others(0), ""),
            ("a little", 100, [0, 0], others(2 * MS), ""),
            ("too much", 100, [0, 0], others(2 * MS + 1), "contention"),
            ("too much beside several threads", 390, [0, 0], others(2 * MS + 1), "contention"),
            ("a core full while it sleeps", 1, [0, 0], others(100 * MS), ""),
            ("half of it asleep", 50, [0, 0], others(4 * MS), ""),
            ("too much for the other half", 50, [0, 0], others(4 * MS + 1), "contention"),
            ("half of it asleep, and never in the way", 50, [50, 2], others(100 * MS), ""),
            ("half of it asleep, and in the way", 50, [50, 3], others(100 * MS), "contention"),
            ("its threads wait for each other", 390, [100, 50], others(2 * MS), ""),
            ("another thread does the work", 99, [1, 0], others(3 * MS), "contention"),
            (
                "within a tick",
                100,
                [0, 0],
                Disturbance { unsure_ns: 10 * MS, ..others(12 * MS) },
                "",
            ),
            (
                "beyond it",
                100,
                [0, 0],
                Disturbance { unsure_ns: 10 * MS, ..others(13 * MS) },
                "contention",
            ),
            (
                "all at once",
                100,
                [0, 0],
                Disturbance { stolen_ns: 10 * MS, throttled: 1, paged_in: true, ..others(90 * MS) },
                "contention,steal,throttling,page-in",
            ),
        ] {
            let time = ProcessTime {
                wall_ns: 100 * MS,
                running_ns: own_ms * MS,
                first_running_ns: first_ms[0] * MS,
                first_waiting_ns: first_ms[1] * MS,
            };
            assert_eq!(disturbance.taint(time, SHARE_MAX), expected, "{what}");
            let names = expected.split(',').filter(|name| !name.is_empty());
            assert!(names.into_iter().all(|name| meaning(name).is_some()), "{expected}");
        }
    }
}
