//! What each knob's text means. Pure: all that is known of a machine comes through [`Machine`], and
//! nothing here writes. The sources are the kernel's own pages: `Documentation/admin-guide/pm`
//! (frequency, idle states), `…/kernel-parameters.txt`, `…/kernel-per-CPU-kthreads.rst`,
//! `Documentation/core-api/irq/irq-affinity.rst` and `…/workqueue.rst`, `sysctl/kernel.rst`.

mod cores;
mod frequency;
mod interrupts;
mod kernel;
mod place;

use std::collections::BTreeSet;

use dyno_model::catalog::host::{format_cores, parse_cores};

pub use place::{Guest, guest};

use super::finding::Finding;
use super::machine::{FileState, Machine};

/// Options of `tune`, beyond what it does without.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TuneOptions {
    /// Counters of the kernel too, for every user.
    pub perf: bool,
    /// The SMT siblings of benchmark cores offline.
    pub smt_off: bool,
}

/// A machine and its host's cores, as the knobs look at them.
pub struct HostView<'a> {
    machine: &'a dyn Machine,
    benchmark: &'a BTreeSet<u32>,
    online: BTreeSet<u32>,
    options: TuneOptions,
    guest: Guest,
}

/// Looks at every knob. The order is that in which `tune` sets them, and the energy preference can
/// only be set before the governor.
pub fn examine(
    machine: &dyn Machine,
    benchmark: &BTreeSet<u32>,
    options: TuneOptions,
) -> Vec<Finding> {
    let online =
        machine.read(&format!("{CPU}/online")).text().and_then(parse_cores).unwrap_or_default();
    let view = HostView { machine, benchmark, online, options, guest: guest(machine) };
    let knobs: [fn(&HostView<'_>) -> Finding; 24] = [
        cores::smt,
        frequency::turbo,
        frequency::energy_preference,
        frequency::governor,
        frequency::idle_states,
        frequency::throttling,
        cores::isolated,
        cores::nohz_full,
        cores::rcu_nocbs,
        interrupts::affinity,
        kernel::workqueues,
        kernel::timer_migration,
        kernel::nmi_watchdog,
        kernel::huge_pages,
        kernel::swap,
        kernel::aslr,
        kernel::perf_event_paranoid,
        cores::numa,
        cores::hybrid,
        place::microcode,
        place::virtualisation,
        place::steal,
        place::clock_source,
        place::load,
    ];
    knobs.iter().map(|knob| knob(&view)).collect()
}

const CPU: &str = "/sys/devices/system/cpu";

impl HostView<'_> {
    fn read(&self, path: &str) -> FileState {
        self.machine.read(path)
    }

    fn text(&self, path: &str) -> Option<String> {
        self.read(path).text().map(str::to_string)
    }

    fn cores(&self, path: &str) -> Option<BTreeSet<u32>> {
        self.text(path).and_then(|text| parse_cores(&text))
    }

    fn is_guest(&self) -> bool {
        matches!(self.guest, Guest::Of(_))
    }

    /// The file `name` of each benchmark core that has it.
    fn core_files(&self, name: &str) -> Vec<(u32, String, FileState)> {
        let file = |core: &u32| {
            let path = format!("{CPU}/cpu{core}/{name}");
            let seen = self.read(&path);
            (*core, path, seen)
        };
        self.benchmark.iter().map(file).filter(|(_, _, seen)| *seen != FileState::Absent).collect()
    }

    /// Cores that share an execution unit with a benchmark core and are not one themselves.
    fn siblings(&self) -> BTreeSet<u32> {
        let lists = self.core_files("topology/thread_siblings_list");
        let siblings = lists.iter().filter_map(|(_, _, seen)| parse_cores(seen.text()?)).flatten();
        siblings.filter(|core| !self.benchmark.contains(core)).collect()
    }

    /// Online cores that may be disturbed.
    fn other_cores(&self) -> BTreeSet<u32> {
        let reserved = self.reserved_cores();
        self.online.difference(&reserved).copied().collect()
    }

    /// Cores on which nothing but measured processes is to run; an interrupt of a sibling that
    /// goes offline must be moved as well, else the kernel moves it for good.
    fn reserved_cores(&self) -> BTreeSet<u32> {
        let siblings = if self.options.smt_off { self.siblings() } else { BTreeSet::new() };
        self.benchmark.union(&siblings).copied().collect()
    }
}

/// "core 3", "cores 2-3".
pub fn core_names(cores: &BTreeSet<u32>) -> String {
    format!("{} {}", if cores.len() == 1 { "core" } else { "cores" }, format_cores(cores))
}

/// One text for values of several cores: "performance", or "powersave (2), performance (3)".
fn by_core(values: &[(u32, String)]) -> String {
    let mut groups: Vec<(&str, BTreeSet<u32>)> = Vec::new();
    for (core, value) in values {
        match groups.iter_mut().find(|(known, _)| known == value) {
            Some((_, cores)) => {
                cores.insert(*core);
            }
            None => groups.push((value, BTreeSet::from([*core]))),
        }
    }
    if let [(value, _)] = &groups[..] {
        return (*value).to_string();
    }
    let group = |(value, cores): &(&str, BTreeSet<u32>)| format!("{value} ({})", core_names(cores));
    groups.iter().map(group).collect::<Vec<_>>().join(", ")
}
