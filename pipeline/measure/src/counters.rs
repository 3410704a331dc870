//! What the kernel counts of measured processes, as it reaches the store and its readers.
//!
//! The probe is asked for every metric of the job and counts those that are events (its
//! `counters.rs` says how). A metric that this host cannot give is absent, and named: nothing takes
//! its place. A count that had to be scaled up is kept, tainted, so that no verdict rests on it.

use std::collections::{BTreeMap, BTreeSet};

use dyno_model::metric;
use dyno_model::record::Sample;
use dyno_probe::{Exit, Sandbox};

/// The taint of a value that was counted for some of the time only, and scaled up.
pub const MULTIPLEXED: &str = "multiplexed";

/// The counts of one process: metric, value, taint.
pub fn counted_values(exit: &Exit) -> impl Iterator<Item = (&str, u64, &'static str)> {
    let taint = |scaled| if scaled { MULTIPLEXED } else { "" };
    exit.counters.iter().map(move |(name, count)| (name.as_str(), count.value, taint(count.scaled)))
}

/// Notices of the metrics that were asked for and are not there, or not whole.
/// `sandbox` is that of the container in which the `samples` were taken.
pub fn counter_notices(sandbox: &Sandbox, samples: &[Sample]) -> Vec<String> {
    let mut notices = Vec::new();
    let mut reasons: BTreeMap<(&str, bool), BTreeSet<&str>> = BTreeMap::new();
    for (name, reason) in &sandbox.not_counted {
        let in_user_mode = sandbox.counted.contains(&format!("{name}:u"));
        reasons.entry((reason, in_user_mode)).or_default().insert(name);
    }
    for ((reason, in_user_mode), names) in reasons {
        let is_shown_without_suffix =
            |name: &str| name.strip_suffix(":u").is_some_and(|n| names.contains(n));
        let shown: Vec<&str> =
            names.iter().copied().filter(|name| !is_shown_without_suffix(name)).collect();
        let what = if in_user_mode { "measured in user mode only" } else { "not measured" };
        notices.push(format!("{what}: {}: {reason}", shown.join(", ")));
    }
    let is_never_counted = |name: &&String| samples.iter().all(|sample| sample.metric != **name);
    let uncounted: Vec<&str> =
        sandbox.counted.iter().filter(is_never_counted).map(String::as_str).collect();
    let ran = samples.iter().any(|sample| !metric::is_deterministic(&sample.metric));
    if ran && !uncounted.is_empty() {
        notices.push(format!(
            "not measured: {}: the kernel never switched it on",
            uncounted.join(", ")
        ));
    }
    let mut scaled: BTreeMap<&str, u32> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.taint == MULTIPLEXED) {
        *scaled.entry(&sample.metric).or_default() += 1;
    }
    if !scaled.is_empty() {
        let scaled: Vec<String> = scaled.iter().map(|(name, n)| format!("{name} ({n})")).collect();
        notices.push(format!(
            "samples that are estimates, since their counter was shared and counted for some of \
             the time only: {}; they are marked `{MULTIPLEXED}` and left out",
            scaled.join(", ")
        ));
    }
    notices
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyno_model::record::Side;

    fn sandbox(counted: &[&str], not_counted: &[(&str, &str)]) -> Sandbox {
        let text = r#"{"protocol":1,"pid":1,"uid":0,"capabilities":[],"no_new_privileges":true,
            "seccomp_mode":2,"cpus":[],"memory_limit_bytes":null,"swap_limit_bytes":null,"pids_limit":null,
            "interfaces":[],"program":{"uids":[],"gids":[],"groups":[],"capabilities":[],
            "no_new_privileges":true,"seccomp_mode":2,"limits":{}},
            "root_read_only":true,"mounts":{},"in_memory":{},"valgrind":false,"fixed_layout":false,"counted":[],"not_counted":{}}"#;
        let pair = |(name, why): &(&str, &str)| (name.to_string(), why.to_string());
        Sandbox {
            counted: counted.iter().map(ToString::to_string).collect(),
            not_counted: not_counted.iter().map(pair).collect(),
            ..serde_json::from_str(text).unwrap()
        }
    }

    fn sample(metric: &str, taint: &str) -> Sample {
        Sample {
            benchmark: "b".into(),
            config: String::new(),
            metric: metric.into(),
            round: 0,
            side: Side::Baseline,
            sequence: 0,
            value: 1,
            taint: taint.into(),
        }
    }

    #[test]
    fn what_is_absent_is_named() {
        const NONE: &str = "this machine has no such counter";
        const DENIED: &str = "the kernel does not allow it (perf_event_paranoid is 2)";
        let cases = [
            counter_notices(&sandbox(&["task-clock"], &[]), &[sample("task-clock", "")]),
            // A virtual machine without a PMU.
            counter_notices(
                &sandbox(
                    &["page-faults:u"],
                    &[
                        ("cycles", NONE),
                        ("cycles:u", NONE),
                        ("page-faults", DENIED),
                        ("cpu-migrations", DENIED),
                    ],
                ),
                &[sample("page-faults:u", "")],
            ),
            // A PMU that others use too.
            counter_notices(
                &sandbox(&["cycles:u", "cache-misses:u"], &[("cycles", DENIED)]),
                &[sample("cycles:u", MULTIPLEXED), sample("cycles:u", ""), sample("wall", "")],
            ),
            // Every case failed: that nothing was counted is no news.
            counter_notices(&sandbox(&["task-clock"], &[]), &[sample("artifact-size", "")]),
        ];
        insta::assert_snapshot!(cases.map(|notices| notices.join("\n")).join("\n--\n"), @"
        --
        not measured: cpu-migrations: the kernel does not allow it (perf_event_paranoid is 2)
        measured in user mode only: page-faults: the kernel does not allow it (perf_event_paranoid is 2)
        not measured: cycles: this machine has no such counter
        --
        measured in user mode only: cycles: the kernel does not allow it (perf_event_paranoid is 2)
        not measured: cache-misses:u: the kernel never switched it on
        samples that are estimates, since their counter was shared and counted for some of the time only: cycles:u (1); they are marked `multiplexed` and left out
        --
        ");
    }
}
