//! How fast the benchmark cores run: turbo, governor, energy preference, idle states, heat.

use super::{CPU, HostView, by_core};
use crate::finding::{Change, Finding, Knob};
use crate::machine::FileState;

pub fn turbo(view: &HostView<'_>) -> Finding {
    let knob = Knob::new(
        "turbo / boost",
        "off",
        "the frequency beyond the nominal one depends on heat and on what other cores do",
    );
    // (file, text when on, text when off); the first that is there counts.
    let global = [
        (format!("{CPU}/intel_pstate/no_turbo"), "0", "1"),
        (format!("{CPU}/cpufreq/boost"), "1", "0"),
    ];
    for (path, on, off) in global {
        match view.read(&path) {
            FileState::Absent => {}
            seen => {
                return knob.judge(&path, &seen, |knob, text| match text {
                    text if text == off => knob.good("off"),
                    text if text == on => knob.bad("on").settable_by(vec![Change::new(&path, off)]),
                    text => knob.odd(&path, text),
                });
            }
        }
    }
    let files = view.core_files("cpufreq/boost");
    if files.is_empty() {
        return knob.absent(view.is_guest());
    }
    judge_each_core(
        knob,
        &files,
        |text| text == "0",
        |text| if text == "0" { "off" } else { "on" },
        "0",
    )
}

pub fn governor(view: &HostView<'_>) -> Finding {
    let knob = Knob::new(
        "governor",
        "performance",
        "other governors choose the frequency by how busy a core was a moment ago",
    );
    let files = view.core_files("cpufreq/scaling_governor");
    if files.is_empty() {
        return knob.absent(view.is_guest());
    }
    let offered = view.core_files("cpufreq/scaling_available_governors");
    let lacks = offered.iter().any(|(_, _, seen)| {
        seen.text().is_some_and(|text| !text.split_whitespace().any(|word| word == "performance"))
    });
    let found =
        judge_each_core(knob, &files, |text| text == "performance", |text| text, "performance");
    if lacks && found.dyno_can {
        let command = "modprobe cpufreq_performance # then look again".to_string();
        return Finding { dyno_can: false, changes: Vec::new(), ..found }.settable_by_hand(command);
    }
    found
}

pub fn energy_preference(view: &HostView<'_>) -> Finding {
    let knob = |wanted: &str| {
        Knob::new(
            "energy preference",
            wanted,
            "the processor itself trades speed for energy, and how it does so is not told",
        )
    };
    let files = view.core_files("cpufreq/energy_performance_preference");
    if !files.is_empty() {
        let good = |text: &str| text == "performance" || text == "0";
        return judge_each_core(knob("performance"), &files, good, |text| text, "performance");
    }
    // Older processors have a number from 0 (performance) to 15 instead.
    let files = view.core_files("power/energy_perf_bias");
    if files.is_empty() {
        return knob("performance").absent(view.is_guest());
    }
    judge_each_core(knob("0"), &files, |text| text == "0", |text| text, "0")
}

/// Judges one file a core, all of which should hold `to`.
fn judge_each_core(
    knob: Knob,
    files: &[(u32, String, FileState)],
    good: impl Fn(&str) -> bool,
    shown: impl Fn(&str) -> &str,
    to: &str,
) -> Finding {
    let mut values = Vec::new();
    let mut changes = Vec::new();
    for (core, path, seen) in files {
        match seen {
            FileState::Text(text) => {
                values.push((*core, shown(text.trim()).to_string()));
                if !good(text.trim()) {
                    changes.push(Change::new(path, to));
                }
            }
            FileState::Unreadable(reason) => return knob.unknown(format_args!("{path}: {reason}")),
            FileState::Absent => {}
        }
    }
    knob.good_if(changes.is_empty(), by_core(&values)).settable_by(changes)
}

/// Longest way back from idle that does not show in a measurement, in µs.
const WAKE_MAX_US: u64 = 10;

/// Bound on the idle states of a core; the kernel has at most 10.
const STATES_MAX: u32 = 16;

pub fn idle_states(view: &HostView<'_>) -> Finding {
    let knob = Knob::new(
        "C-states",
        format!("wake within {WAKE_MAX_US} us"),
        "a core that slept deeply wakes late, with cold caches and at another frequency",
    );
    let mut deepest: Option<(u64, String)> = None;
    let mut changes = Vec::new();
    for core in view.benchmark {
        for state in 0..STATES_MAX {
            let folder = format!("{CPU}/cpu{core}/cpuidle/state{state}");
            let path = format!("{folder}/latency");
            let latency = match view.read(&path) {
                FileState::Absent => break,
                FileState::Unreadable(reason) => {
                    return knob.unknown(format_args!("{path}: {reason}"));
                }
                FileState::Text(text) => match text.trim().parse::<u64>() {
                    Ok(latency) => latency,
                    Err(_) => return knob.odd(&path, &text),
                },
            };
            if view.text(&format!("{folder}/disable")).as_deref() == Some("1") {
                continue;
            }
            if deepest.as_ref().is_none_or(|(most, _)| latency > *most) {
                let name = view.text(&format!("{folder}/name"));
                deepest = Some((latency, name.unwrap_or_else(|| format!("state{state}"))));
            }
            if latency > WAKE_MAX_US {
                changes.push(Change::new(format!("{folder}/disable"), "1"));
            }
        }
    }
    let Some((latency, name)) = deepest else { return knob.absent(view.is_guest()) };
    let found = knob.good_if(changes.is_empty(), format!("{name}, {latency} us"));
    // A person's choice: the processor gets hotter, and a hot one is throttled.
    Finding { dyno_can: false, changes: Vec::new(), ..found.settable_by(changes) }
}

pub fn throttling(view: &HostView<'_>) -> Finding {
    let knob = Knob::new(
        "thermal throttling",
        "never",
        "a processor that is too hot slows down: better cooling, or a lower frequency",
    );
    let mut count = None;
    for name in ["core_throttle_count", "package_throttle_count"] {
        for (_, path, seen) in view.core_files(&format!("thermal_throttle/{name}")) {
            match &seen {
                FileState::Text(text) => match text.trim().parse::<u64>() {
                    Ok(times) => count = Some(count.unwrap_or(0).max(times)),
                    Err(_) => return knob.odd(&path, text),
                },
                FileState::Unreadable(reason) => {
                    return knob.unknown(format_args!("{path}: {reason}"));
                }
                FileState::Absent => {}
            }
        }
    }
    match count {
        None => knob.absent(view.is_guest()),
        Some(0) => knob.good("never since boot"),
        Some(times) => knob.bad(format!("{times} times since boot")),
    }
}
