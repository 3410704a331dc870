//! What the kernel does on its own account, and what it allows.

use std::collections::BTreeSet;

use super::{HostView, core_names};
use crate::finding::{Change, Finding, Knob};
use crate::machine::{format_mask, parse_mask, value};

pub fn workqueues(view: &HostView<'_>) -> Finding {
    let path = "/sys/devices/virtual/workqueue/cpumask";
    let knob = Knob::new(
        "workqueue mask",
        format!("without {}", core_names(view.benchmark)),
        "the kernel's own work (writing back, encrypting) runs on any core of this mask",
    );
    knob.judge(path, &view.read(path), |knob, text| {
        let Some(mask) = parse_mask(text) else { return knob.odd(path, text) };
        let rest: BTreeSet<u32> = mask.difference(&view.reserved_cores()).copied().collect();
        let good = mask.is_disjoint(view.benchmark);
        let found = knob.good_if(good, core_names(&mask));
        // The kernel wants at least one core that is there.
        if good || rest.is_disjoint(&view.online) {
            return found;
        }
        found.settable_by(vec![Change::new(path, format_mask(&rest))])
    })
}

/// Judges a number below `/proc/sys/kernel` that should be `wanted`.
fn number(view: &HostView<'_>, name: &str, knob: Knob, wanted: &str) -> Finding {
    let path = format!("/proc/sys/kernel/{name}");
    knob.judge(&path, &view.read(&path), |knob, text| match text {
        text if text == wanted => knob.good(text),
        text if text.parse::<i64>().is_ok() => {
            knob.bad(text).settable_by(vec![Change::new(&path, wanted)])
        }
        text => knob.odd(&path, text),
    })
}

pub fn timer_migration(view: &HostView<'_>) -> Finding {
    let why = "timers of idle cores are given to busy ones, and busy is the benchmark core";
    number(view, "timer_migration", Knob::new("timer migration", "0", why), "0")
}

pub fn nmi_watchdog(view: &HostView<'_>) -> Finding {
    let why = "it interrupts every core, and occupies a hardware counter";
    number(view, "nmi_watchdog", Knob::new("NMI watchdog", "0", why), "0")
}

pub fn aslr(view: &HostView<'_>) -> Finding {
    let why = "addresses are to differ from process to process, so that none has one lucky layout";
    let found = number(view, "randomize_va_space", Knob::new("ASLR", "2", why), "2");
    // Someone who switched it off wanted that.
    Finding { dyno_can: false, changes: Vec::new(), ..found }
}

pub fn perf_event_paranoid(view: &HostView<'_>) -> Finding {
    let path = "/proc/sys/kernel/perf_event_paranoid";
    let knob = Knob::new(
        "perf_event_paranoid",
        "1 or lower",
        "above 2 no user may read hardware counters, above 1 none those of the kernel",
    );
    let found = knob.judge(path, &view.read(path), |knob, text| match text.parse::<i32>() {
        Ok(now) if now <= 1 => knob.good(text),
        Ok(_) => knob.bad(text).settable_by(vec![Change::new(path, "1")]),
        Err(_) => knob.odd(path, text),
    });
    found.requiring_option("--perf")
}

pub fn huge_pages(view: &HostView<'_>) -> Finding {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let knob = Knob::new(
        "huge pages",
        "madvise or never",
        "which memory gets them by itself depends on how scattered free memory is just now",
    );
    knob.judge(path, &view.read(path), |knob, text| match value(text) {
        now @ ("madvise" | "never") => knob.good(now),
        "always" => knob.bad("always").settable_by(vec![Change::new(path, "madvise")]),
        _ => knob.odd(path, text),
    })
}

pub fn swap(view: &HostView<'_>) -> Finding {
    let path = "/proc/swaps";
    let why = "a page that was swapped out costs a disk's time when it is touched";
    Knob::new("swap", "none", why).judge(path, &view.read(path), |knob, text| {
        let areas: Vec<&str> =
            text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
        if areas.is_empty() {
            return knob.good("none");
        }
        knob.bad(areas.join(", ")).settable_by_hand("swapoff -a")
    })
}
