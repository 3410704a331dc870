//! Which cores the benchmark cores are, and what the kernel was told at boot to keep off them.

use std::collections::BTreeSet;

use dyno_model::catalog::host::{format_cores, parse_cores};

use super::{CPU, HostView, by_core, core_names};
use crate::core_kind::core_kinds;
use crate::finding::{Change, Finding, Knob};
use crate::machine::FileState;

pub fn smt(view: &HostView<'_>) -> Finding {
    let knob = Knob::new(
        "SMT siblings",
        "none",
        "two threads of one core share its execution units and caches",
    );
    let lists = view.core_files("topology/thread_siblings_list");
    if lists.is_empty() {
        return knob.not_here();
    }
    for (_, path, seen) in &lists {
        match seen {
            FileState::Unreadable(reason) => return knob.unknown(format_args!("{path}: {reason}")),
            FileState::Text(text) if parse_cores(text).is_none() => return knob.odd(path, text),
            _ => {}
        }
    }
    let siblings = view.siblings();
    if !siblings.is_empty() {
        // The first core of many machines cannot go offline.
        let path = |core: &u32| format!("{CPU}/cpu{core}/online");
        let changes: Vec<Change> = siblings
            .iter()
            .filter(|core| view.read(&path(core)) != FileState::Absent)
            .map(|core| Change::new(path(core), "0"))
            .collect();
        let now = format!("{} of {}", core_names(&siblings), core_names(view.benchmark));
        return knob.bad(now).settable_by(changes).requiring_option("--smt-off");
    }
    let shared: BTreeSet<u32> = lists
        .iter()
        .filter_map(|(_, _, seen)| parse_cores(seen.text()?))
        .filter(|list| list.len() > 1)
        .flatten()
        .collect();
    if shared.is_empty() {
        return knob.good("none");
    }
    knob.bad(format!("benchmark {} are siblings", core_names(&shared)))
        .settable_by_hand("name one of each pair in benchmark_cores of the host's file")
}

pub fn isolated(view: &HostView<'_>) -> Finding {
    let path = format!("{CPU}/isolated");
    let list = format_cores(view.benchmark);
    let alone = view.benchmark.len() == 1;
    let (wanted, why) = if alone {
        (list.clone(), "the scheduler puts other programs on a core that is not isolated")
    } else {
        (
            format!("none of {list}"),
            "the scheduler does not spread threads over isolated cores: all would run on one",
        )
    };
    Knob::new("isolcpus", wanted, why).judge(&path, &view.read(&path), |knob, text| {
        let Some(isolated) = cores_or_none(text) else { return knob.odd(&path, text) };
        let now = if isolated.is_empty() { "none".into() } else { format_cores(&isolated) };
        if alone {
            knob.good_if(view.benchmark.is_subset(&isolated), now)
                .settable_by_hand(format!("boot with isolcpus=managed_irq,domain,{list}"))
        } else {
            knob.good_if(view.benchmark.is_disjoint(&isolated), now)
                .settable_by_hand("boot without isolcpus=")
        }
    })
}

pub fn nohz_full(view: &HostView<'_>) -> Finding {
    let path = format!("{CPU}/nohz_full");
    let list = format_cores(view.benchmark);
    Knob::new(
        "nohz_full",
        &list,
        "the timer tick interrupts a busy core 100 to 1000 times a second",
    )
    .judge(&path, &view.read(&path), |knob, text| {
        let Some(ticking) = cores_or_none(text) else { return knob.odd(&path, text) };
        let now = if ticking.is_empty() { "none".into() } else { format_cores(&ticking) };
        knob.good_if(view.benchmark.is_subset(&ticking), now)
            .settable_by_hand(format!("boot with nohz_full={list}"))
    })
}

pub fn rcu_nocbs(view: &HostView<'_>) -> Finding {
    let path = "/proc/cmdline";
    let list = format_cores(view.benchmark);
    Knob::new("rcu_nocbs", &list, "the kernel frees memory later, on whichever core let go of it")
        .judge(path, &view.read(path), |knob, text| {
            let mut offloaded = BTreeSet::new();
            for (name, value) in text.split_whitespace().filter_map(|word| word.split_once('=')) {
                match (name, value) {
                    ("rcu_nocbs", "all") => offloaded.extend(&view.online),
                    // nohz_full= implies it.
                    ("rcu_nocbs" | "nohz_full", list) => {
                        offloaded.extend(parse_cores(list).unwrap_or_default());
                    }
                    _ => {}
                }
            }
            let now = if offloaded.is_empty() { "none".into() } else { format_cores(&offloaded) };
            knob.good_if(view.benchmark.is_subset(&offloaded), now)
                .settable_by_hand(format!("boot with rcu_nocbs={list}"))
        })
}

/// Reads a core list that may be empty, which old kernels write as `(null)`.
fn cores_or_none(text: &str) -> Option<BTreeSet<u32>> {
    if text.is_empty() || text == "(null)" { Some(BTreeSet::new()) } else { parse_cores(text) }
}

const NODES: &str = "/sys/devices/system/node";

pub fn numa(view: &HostView<'_>) -> Finding {
    let path = format!("{NODES}/online");
    Knob::new("NUMA", "one node", "memory of another node is slower, and where it lands is chance")
        .judge(&path, &view.read(&path), |knob, text| {
            let Some(nodes) = parse_cores(text) else { return knob.odd(&path, text) };
            let mut homes = Vec::new();
            for node in &nodes {
                let cores = view.cores(&format!("{NODES}/node{node}/cpulist")).unwrap_or_default();
                let cores_of_node = view.benchmark.iter().filter(|core| cores.contains(core));
                homes.extend(cores_of_node.map(|core| (*core, format!("node {node}"))));
            }
            homes.sort();
            if homes.len() < view.benchmark.len() {
                return knob.unknown("no node lists some of the benchmark cores");
            }
            let is_one_node = homes.iter().all(|(_, node)| *node == homes[0].1);
            let found = knob.good_if(is_one_node, by_core(&homes));
            if is_one_node {
                return found;
            }
            found.settable_by_hand("name cores of one node in benchmark_cores of the host's file")
        })
}

pub fn hybrid(view: &HostView<'_>) -> Finding {
    let knob = Knob::new(
        "hybrid cores",
        "the fastest kind",
        "a thread's speed would depend on which of the cores it got",
    );
    let kinds = core_kinds(view.machine, view.benchmark.iter().copied());
    if kinds.is_empty() {
        return knob.not_here();
    }
    let is_fastest = kinds.values().all(|kind| kind.is_fastest);
    let names: Vec<(u32, String)> =
        kinds.into_iter().map(|(core, kind)| (core, kind.name)).collect();
    let found = knob.good_if(is_fastest, by_core(&names));
    if is_fastest {
        return found;
    }
    found.settable_by_hand("name cores of the fast kind in benchmark_cores of the host's file")
}
