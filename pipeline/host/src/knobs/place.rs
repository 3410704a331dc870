//! What kind of machine it is, and what happens on it: nothing here can be set by a knob.

use dyno_model::catalog::host::LOAD_MAX;

use super::{CPU, HostView, core_names};
use crate::finding::{Finding, Knob};
use crate::machine::Machine;

/// Whether the machine is a guest of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guest {
    Of(String),
    No,
    Unknown,
}

/// Vendors and products of virtual machines, as firmware tells them.
const VIRTUAL: [&str; 11] = [
    "QEMU",
    "KVM",
    "Amazon EC2",
    "Google Compute Engine",
    "VMware",
    "VirtualBox",
    "Virtual Machine",
    "Xen",
    "Bochs",
    "Parallels",
    "OpenStack",
];

pub fn guest(machine: &dyn Machine) -> Guest {
    let text = |path: &str| {
        let text = machine.read(path).text()?.trim_matches('\0').to_string();
        (!text.is_empty()).then_some(text)
    };
    let firmware = [text("/sys/class/dmi/id/sys_vendor"), text("/sys/class/dmi/id/product_name")];
    let firmware: Vec<String> = firmware.into_iter().flatten().collect();
    let firmware_text = firmware.join(" ");
    let hypervisor =
        text("/sys/hypervisor/type").or_else(|| text("/proc/device-tree/hypervisor/compatible"));
    let by_firmware = VIRTUAL.iter().any(|name| firmware_text.contains(name))
        && !firmware_text.contains(".metal");
    let cpuinfo = text("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    match flags.map(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor")) {
        Some(true) => {
            Guest::Of(hypervisor.or(by_firmware.then_some(firmware_text)).unwrap_or_default())
        }
        Some(false) => Guest::No,
        // Processors that are not x86 do not tell; their firmware may.
        None => match hypervisor.or(by_firmware.then_some(firmware_text)) {
            Some(name) => Guest::Of(name),
            None if firmware.is_empty() => Guest::Unknown,
            None => Guest::No,
        },
    }
}

pub fn virtualisation(view: &HostView<'_>) -> Finding {
    let why = "a hypervisor gives its cores to others and hides that it does";
    let knob = Knob::new("virtualisation", "bare metal", why);
    match &view.guest {
        Guest::No => knob.good("bare metal"),
        Guest::Of(name) if name.is_empty() => knob.bad("a virtual machine"),
        Guest::Of(name) => knob.bad(format!("a virtual machine: {name}")),
        Guest::Unknown => knob.unknown("neither processor nor firmware tells"),
    }
}

pub fn microcode(view: &HostView<'_>) -> Finding {
    let why = "microcode changes speed: it is part of the fingerprint, and cores must not differ";
    let knob = Knob::new("microcode", "the same on all cores", why);
    let path = "/proc/cpuinfo";
    knob.judge(path, &view.read(path), |knob, text| {
        let mut versions: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(name, _)| name.trim() == "microcode")
            .map(|(_, version)| version.trim())
            .collect();
        versions.sort_unstable();
        versions.dedup();
        match &versions[..] {
            [] => knob.not_here(),
            [one] => knob.good(*one),
            several => knob
                .bad(several.join(", "))
                .settable_by_hand("install the processor's microcode and reboot"),
        }
    })
}

/// Share of the time above which stolen time shows.
const STEAL_MAX: f64 = 0.001;

pub fn steal(view: &HostView<'_>) -> Finding {
    let path = "/proc/stat";
    let knob = Knob::new(
        "steal",
        "below 0.1 %",
        "while the hypervisor runs another guest, the clock of this one goes on",
    );
    knob.judge(path, &view.read(path), |knob, text| {
        let (mut stolen, mut all) = (0u64, 0u64);
        for core in view.benchmark {
            let name = format!("cpu{core}");
            let line = text.lines().find(|line| line.split(' ').next() == Some(&name));
            let Some(line) = line else { return knob.unknown(format_args!("{path} lacks {name}")) };
            // user nice system idle iowait irq softirq steal; guest times are in user and nice.
            let ticks: Vec<u64> =
                line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
            let [.., steal] = ticks[..] else { return knob.odd(path, line) };
            if ticks.len() < 8 {
                return knob.not_here();
            }
            stolen += steal;
            all += ticks.iter().sum::<u64>();
        }
        let share = stolen as f64 / all.max(1) as f64;
        let on = core_names(view.benchmark);
        let now = format!("{:.2} % of the time of {on} since boot", share * 100.0);
        knob.good_if(share < STEAL_MAX, now)
    })
}

/// Clocks that a program reads without a system call.
const FAST_CLOCKS: [&str; 6] = [
    "tsc",
    "arch_sys_counter",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "riscv_clocksource",
    "timebase",
];

pub fn clock_source(view: &HostView<'_>) -> Finding {
    let folder = "/sys/devices/system/clocksource/clocksource0";
    let path = format!("{folder}/current_clocksource");
    let offered = view.text(&format!("{folder}/available_clocksource")).unwrap_or_default();
    let best = FAST_CLOCKS.iter().find(|fast| offered.split(' ').any(|name| name == **fast));
    let knob = Knob::new(
        "clock source",
        "read without a system call",
        "a clock behind a system call adds its own time, and differently each time",
    );
    knob.judge(&path, &view.read(&path), |knob, text| {
        if FAST_CLOCKS.contains(&text) {
            return knob.good(text);
        }
        let found = knob.bad(text);
        match best {
            Some(best) => found.settable_by_hand(format!("echo {best} > {path}")),
            None => found,
        }
    })
}

pub fn load(view: &HostView<'_>) -> Finding {
    let path = "/proc/loadavg";
    let knob = Knob::new("load", "below 1", "other programs take caches, memory and heat");
    knob.judge(path, &view.read(path), |knob, text| {
        let mean = text.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
        let Some(mean) = mean else { return knob.odd(path, text) };
        let cores = view.text(&format!("{CPU}/online")).unwrap_or_default();
        knob.good_if(mean < LOAD_MAX, format!("{mean:.2} over the last minute (cores {cores})"))
    })
}
