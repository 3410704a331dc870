//! Notices: what a reader of a run should know, each with what to change, if anything can be.
//!
//! A run row stores the text alone, as it did before there were kinds. So a kind is known again by
//! a part that its text always has (`MARKERS`); a text that has none of them, from a store of
//! another dyno, is of no kind and is shown as it is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeKind {
    /// Dyno itself runs on a benchmark core.
    CoreShared,
    /// Programs run in an emulator.
    Emulated,
    /// The host is a virtual machine.
    Virtualised,
    /// Processes got the same address layout each time.
    FixedLayout,
    /// Other programs were busy when measuring began.
    HostBusy,
    /// The benchmark cores could not be taken for dyno alone.
    CoresNotExclusive,
    /// The benchmark cores were lost meanwhile.
    CoresLost,
    /// How busy the cores are cannot be read.
    LoadUnreadable,
    /// Rounds were disturbed and repeated.
    RoundsDisturbed,
    /// The side that waits could not be frozen.
    NotFrozen,
    /// A container was lost, and another took its place.
    ContainerReplaced,
    /// The config means nothing, or the host is too small for it.
    CasesLeftOut,
    /// The compiler cannot do what a case asks for.
    CasesUnsupported,
    /// The compiler takes a number of threads and ignores it.
    ThreadsIgnored,
    /// The candidate is untrusted.
    Untrusted,
    /// An untrusted candidate's fetch step had the network.
    FetchHadNetwork,
    /// The image has no Valgrind.
    NoValgrind,
    /// A count does not fit the time, and is left out.
    CountMisfit,
    /// Counting instructions failed.
    NotCounted,
    /// The machine does not have all events that were asked for.
    EventsMissing,
    /// The kernel lets nobody count some of the events that were asked for.
    EventsForbidden,
    /// Counters were shared, so that some counts are estimates.
    CountsScaled,
    /// A file of the store was not believed.
    FileSetAside,
}

/// A part of the text of each kind, but for two that begin alike ([`NoticeKind::of_text`]).
const MARKERS: [(NoticeKind, &str); 20] = [
    (NoticeKind::CoreShared, "is used for benchmarks and by dyno itself"),
    (NoticeKind::Emulated, "are emulated on this"),
    (NoticeKind::Virtualised, "the host is a virtual machine"),
    (NoticeKind::FixedLayout, "address layout was the same in every process"),
    (NoticeKind::HostBusy, "cores busy when measuring began"),
    (NoticeKind::CoresNotExclusive, "nothing keeps other programs off core"),
    (NoticeKind::CoresLost, "the benchmark cores were not kept from others to the end"),
    (NoticeKind::LoadUnreadable, "how busy its cores are cannot be read"),
    (NoticeKind::RoundsDisturbed, "disturbed by something else on the machine"),
    (NoticeKind::NotFrozen, "the side that is not measured could not be frozen"),
    (NoticeKind::ContainerReplaced, "the round was repeated in another container"),
    (NoticeKind::CasesLeftOut, "left out: "),
    (NoticeKind::ThreadsIgnored, "takes -Zthreads and ignores it"),
    (NoticeKind::Untrusted, "the candidate is untrusted"),
    (NoticeKind::FetchHadNetwork, "the fetch step of the untrusted candidate had the network"),
    (NoticeKind::NoValgrind, "has no Valgrind"),
    (NoticeKind::CountMisfit, "they do not fit the time: "),
    (NoticeKind::NotCounted, "were not counted: "),
    (NoticeKind::CountsScaled, "samples that are estimates"),
    (NoticeKind::FileSetAside, "; set aside"),
];

impl NoticeKind {
    /// The kind of a text, as far as it can be told.
    fn of_text(text: &str) -> Option<Self> {
        const MISSING: [&str; 2] = ["not measured: ", "measured in user mode only: "];
        if let Some(rest) = MISSING.iter().find_map(|prefix| text.strip_prefix(prefix)) {
            // Cases are told by their number, metrics by their names.
            let (_, after) = rest.split_once(' ').unwrap_or_default();
            let is_of_cases =
                ["case, ", "cases, ", "case(s), "].iter().any(|noun| after.starts_with(noun));
            return Some(match text.contains("perf_event_paranoid") {
                _ if is_of_cases => Self::CasesUnsupported,
                true => Self::EventsForbidden,
                false => Self::EventsMissing,
            });
        }
        MARKERS.iter().find(|(_, marker)| text.contains(marker)).map(|(kind, _)| *kind)
    }

    /// What to change, in a sentence or two; `None` where there is nothing to change.
    pub const fn remedy(self) -> Option<&'static str> {
        Some(match self {
            Self::CoreShared => {
                "Give dyno another core: change `housekeeping_cores` or `benchmark_cores` of the host's file."
            }
            Self::Emulated => "Measure on a machine of that architecture.",
            Self::Virtualised => {
                "Measure on a machine of your own, or trust counts rather than times."
            }
            Self::FixedLayout => {
                "Let addresses vary: leave `aslr` out of the host's file, and randomize_va_space at 2."
            }
            Self::HostBusy => {
                "End what runs beside it, or lower `load_max` of the host's file so that dyno waits."
            }
            Self::CoresNotExclusive | Self::CoresLost | Self::LoadUnreadable => {
                "See what `dyno host doctor` says of this machine."
            }
            Self::RoundsDisturbed => {
                "End what else runs on the machine; `dyno host doctor` says what may."
            }
            Self::NotFrozen | Self::ContainerReplaced => {
                "See why the engine failed, in its own log."
            }
            Self::CasesUnsupported => {
                "Take a toolchain that has what is missing, or leave the cases out with --only."
            }
            Self::NoValgrind => {
                "Add the package `valgrind` to the image, or measure with --no-counting."
            }
            Self::CountMisfit => {
                "On a busy machine it is the time that is wrong: end what else runs there \
                 (`dyno host doctor` says what may), and measure again with --again. Where it is so on \
                 a quiet machine too, go by wall time: the candidate costs more or less than its \
                 instructions say, or does something else while it is counted."
            }
            Self::NotCounted => "Measure with --no-counting where instructions do not matter.",
            Self::EventsForbidden => {
                "Let the kernel count, until the next boot: `dyno host tune --perf`."
            }
            Self::CountsScaled => "Ask for fewer events: leave some out of `metrics` in the suite.",
            Self::FetchHadNetwork => {
                "Take `fetch` out of the suite's [build] if the build needs no network."
            }
            Self::FileSetAside => {
                "See who can write to the store, and move the file away; docs/store.md has the reasons."
            }
            Self::CasesLeftOut | Self::ThreadsIgnored | Self::Untrusted | Self::EventsMissing => {
                return None;
            }
        })
    }
}

/// A notice, as people read it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Notice {
    kind: Option<NoticeKind>,
    text: String,
}

impl Notice {
    /// A notice of a kind; `text` is a sentence without full stop by which the kind is known again.
    pub fn new(kind: NoticeKind, text: impl Into<String>) -> Self {
        let notice = Self::from(text.into());
        debug_assert_eq!(notice.kind, Some(kind), "the store forgets the kind of: {}", notice.text);
        Self { kind: Some(kind), ..notice }
    }

    /// The notice among those of several hosts.
    pub fn on_host(&self, host: &str) -> Self {
        Self { kind: self.kind, text: format!("{host}: {}", self.text) }
    }

    pub const fn kind(&self) -> Option<NoticeKind> {
        self.kind
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// One sentence that says what to change, if anything can be.
    pub fn remedy(&self) -> Option<&'static str> {
        self.kind?.remedy()
    }
}

impl From<String> for Notice {
    fn from(text: String) -> Self {
        Self { kind: NoticeKind::of_text(&text), text }
    }
}

impl From<&str> for Notice {
    fn from(text: &str) -> Self {
        Self::from(text.to_string())
    }
}

impl From<Notice> for String {
    fn from(notice: Notice) -> Self {
        notice.text
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts as stores have them.
    #[test]
    fn a_text_tells_its_kind() {
        use NoticeKind as Kind;
        for (text, kind) in [
            (
                "core 3 is used for benchmarks and by dyno itself: times are noisier for it",
                Some(Kind::CoreShared),
            ),
            (
                "left out: 4 case(s), threads=4: the host has 2 benchmark cores",
                Some(Kind::CasesLeftOut),
            ),
            (
                "not measured: 2 case(s), backend=gcc: this toolchain has none (baseline)",
                Some(Kind::CasesUnsupported),
            ),
            ("not measured: 1 case, backend=gcc: none (baseline)", Some(Kind::CasesUnsupported)),
            ("not measured: 2 cases, backend=gcc: none (baseline)", Some(Kind::CasesUnsupported)),
            ("1 round was disturbed by something else on the machine", Some(Kind::RoundsDisturbed)),
            ("not measured: cycles: this machine has no such counter", Some(Kind::EventsMissing)),
            ("not measured: cycles: the kernel never switched it on", Some(Kind::EventsMissing)),
            (
                "measured in user mode only: page-faults: the kernel does not allow it (perf_event_paranoid is 2)",
                Some(Kind::EventsForbidden),
            ),
            (
                "instructions were not counted: the image rust has no Valgrind",
                Some(Kind::NoValgrind),
            ),
            (
                "the instructions of fib (candidate) were not counted: under Valgrind it wrote no counts",
                Some(Kind::NotCounted),
            ),
            (
                "the instructions of fib (candidate) were not counted: they do not fit the time: 1.000 times as many as the baseline's, in 1.600 times as much user time of the rounds",
                Some(Kind::CountMisfit),
            ),
            ("instructions were not counted: the engine is gone", Some(Kind::NotCounted)),
            (
                "3 round(s) were disturbed by something else on the machine and repeated",
                Some(Kind::RoundsDisturbed),
            ),
            ("no PMU", None),
        ] {
            let notice: Notice = serde_json::from_value(text.into()).unwrap();
            assert_eq!((notice.kind(), notice.text()), (kind, text));
            assert_eq!(serde_json::to_value(&notice).unwrap(), text);
        }
        // Whoever measures on a busy machine is told what to do there.
        let remedy = Kind::CountMisfit.remedy().unwrap();
        assert!(remedy.starts_with("On a busy machine") && remedy.contains("--again"), "{remedy}");
        for (kind, marker) in MARKERS {
            assert_eq!(Notice::from(marker).kind(), Some(kind), "{marker}");
        }
    }
}
