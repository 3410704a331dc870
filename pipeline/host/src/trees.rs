//! Machines as their files: what Linux shows on each kind, cut to what the knobs read.

use super::machine::fake::FakeMachine;

/// What every kernel has, with the values of Debian 12 unless said otherwise.
const COMMON: &str = r"
/proc/sys/kernel/random/boot_id 504aea48-88af-4af4-8883-f58deb1a5134
/proc/sys/kernel/randomize_va_space 2
/proc/sys/kernel/perf_event_paranoid 3
/proc/sys/kernel/timer_migration 1
/proc/swaps Filename				Type		Size		Used		Priority
/sys/kernel/mm/transparent_hugepage/enabled [always] madvise never
/sys/devices/system/cpu/isolated
/proc/cmdline BOOT_IMAGE=/boot/vmlinuz-6.1.0-18 root=UUID=0 ro quiet
/proc/loadavg 0.08 0.03 0.01 1/312 4711
";

/// `text` for each core, `{}` standing for its number.
fn for_cores(cores: std::ops::Range<u32>, text: &str) -> String {
    cores.map(|core| text.replace("{}", &core.to_string())).collect()
}

/// `/proc/stat` with `steal` ticks of 100 000 on each core.
fn stat(cores: std::ops::Range<u32>, steal: u32) -> String {
    let line = format!("\\ncpu{{}} 20000 0 5000 75000 0 0 0 {steal} 0 0");
    format!("/proc/stat cpu  80000 0 20000 300000 0 0 0 0 0 0{}\n", for_cores(cores, &line))
}

/// Two packages' worth of nothing special: an Intel server, 4 cores of 2 threads, as installed.
pub fn intel() -> FakeMachine {
    let siblings: String = (0..8)
        .map(|core| {
            let (a, b) = (core % 4, core % 4 + 4);
            let folder = format!("/sys/devices/system/cpu/cpu{core}/topology");
            format!("{folder}/thread_siblings_list {a},{b}\n")
        })
        .collect();
    let cores = for_cores(
        0..8,
        r"
/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor powersave
/sys/devices/system/cpu/cpu{}/cpufreq/scaling_available_governors performance powersave
/sys/devices/system/cpu/cpu{}/cpufreq/energy_performance_preference balance_performance
/sys/devices/system/cpu/cpu{}/cpuidle/state0/name POLL
/sys/devices/system/cpu/cpu{}/cpuidle/state0/latency 0
/sys/devices/system/cpu/cpu{}/cpuidle/state1/name C1
/sys/devices/system/cpu/cpu{}/cpuidle/state1/latency 2
/sys/devices/system/cpu/cpu{}/cpuidle/state2/name C1E
/sys/devices/system/cpu/cpu{}/cpuidle/state2/latency 10
/sys/devices/system/cpu/cpu{}/cpuidle/state3/name C6
/sys/devices/system/cpu/cpu{}/cpuidle/state3/latency 133
/sys/devices/system/cpu/cpu{}/cpuidle/state3/disable 0
/sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count 0
/sys/devices/system/cpu/cpu{}/thermal_throttle/package_throttle_count 12
",
    );
    let online = for_cores(1..8, "/sys/devices/system/cpu/cpu{}/online 1\n");
    let processors = for_cores(
        0..8,
        "processor\\t: {}\\nmodel name\\t: Intel(R) Xeon(R)\\nmicrocode\\t: 0x2b000590\\nflags\\t\\t: fpu vme ht\\n\\n",
    );
    FakeMachine::new(&[
        COMMON,
        &siblings,
        &cores,
        &online,
        &format!("/proc/cpuinfo {processors}\n").replace("\\t", "\t"),
        &stat(0..8, 0),
        r"
/sys/devices/system/cpu/online 0-7
/sys/devices/system/cpu/nohz_full (null)
/sys/devices/system/cpu/intel_pstate/no_turbo 0
/sys/devices/virtual/workqueue/cpumask ff
/proc/sys/kernel/nmi_watchdog 1
/proc/swaps Filename				Type		Size		Used		Priority\n/dev/dm-1                               partition	999420		0		-2
/sys/devices/system/node/online 0
/sys/devices/system/node/node0/cpulist 0-7
/sys/devices/system/clocksource/clocksource0/current_clocksource hpet
/sys/devices/system/clocksource/clocksource0/available_clocksource tsc hpet acpi_pm
/proc/interrupts            CPU0       CPU1       CPU2       CPU3       CPU4       CPU5       CPU6       CPU7\n   0:         35          0          0          0          0          0          0          0   IO-APIC   2-edge      timer\n 120:          0          0          0          9          0          0          0          7 PCI-MSIX-0000:01:00.0   0-edge      eth0-rx-0\n 121:          0          0          0       4000          0          0          0          0 PCI-MSIX-0000:02:00.0   4-edge      nvme0q4\n 122:       1000          0          0          0          0          0          0          0 PCI-MSI 327680-edge      xhci_hcd\n LOC:     900000     900000     900000     900000     900000     900000     900000     900000   Local timer interrupts
/proc/irq/default_smp_affinity ff
/proc/irq/0/smp_affinity_list 0-7
/proc/irq/0/effective_affinity_list 0
/proc/irq/120/smp_affinity_list 3,7
/proc/irq/120/effective_affinity_list 7
/proc/irq/121/smp_affinity_list 3
/proc/irq/121/effective_affinity_list 3
/proc/irq/122/smp_affinity_list 0-2
/proc/irq/122/effective_affinity_list 0
",
    ])
}

/// An AMD desktop on a kernel of today, booted for measuring; its siblings are switched off.
pub fn amd() -> FakeMachine {
    let cores = for_cores(
        0..8,
        r"
/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list {}
/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor performance
/sys/devices/system/cpu/cpu{}/cpufreq/scaling_available_governors performance powersave
/sys/devices/system/cpu/cpu{}/cpufreq/energy_performance_preference performance
/sys/devices/system/cpu/cpu{}/cpuidle/state0/name POLL
/sys/devices/system/cpu/cpu{}/cpuidle/state0/latency 0
/sys/devices/system/cpu/cpu{}/cpuidle/state1/name C1
/sys/devices/system/cpu/cpu{}/cpuidle/state1/latency 1
/sys/devices/system/cpu/cpu{}/cpuidle/state2/name C2
/sys/devices/system/cpu/cpu{}/cpuidle/state2/latency 18
/sys/devices/system/cpu/cpu{}/cpuidle/state2/disable 1
",
    );
    let processors = for_cores(
        0..8,
        "processor\\t: {}\\nmodel name\\t: AMD Ryzen 7\\nmicrocode\\t: 0xa601206\\nflags\\t\\t: fpu vme ht\\n\\n",
    );
    let mut fake = FakeMachine::new(&[
        COMMON,
        &cores,
        &format!("/proc/cpuinfo {processors}\n").replace("\\t", "\t"),
        &stat(0..8, 0),
        r"
/sys/devices/system/cpu/online 0-7
/sys/devices/system/cpu/cpufreq/boost 1
/sys/devices/system/cpu/isolated 7
/sys/devices/system/cpu/nohz_full 7
/proc/cmdline quiet isolcpus=managed_irq,domain,7 nohz_full=7
/sys/devices/virtual/workqueue/cpumask 7f
/sys/kernel/mm/transparent_hugepage/enabled always [madvise] never
/proc/sys/kernel/perf_event_paranoid 2
/proc/sys/kernel/timer_migration 0
/proc/sys/kernel/nmi_watchdog 0
/sys/devices/system/node/online 0
/sys/devices/system/node/node0/cpulist 0-7
/sys/devices/system/clocksource/clocksource0/current_clocksource tsc
/proc/interrupts            CPU0       CPU1       CPU2       CPU3       CPU4       CPU5       CPU6       CPU7\n  40:        100          0          0          0          0          0          0          0 IR-PCI-MSI-0000:04:00.0   0-edge      enp4s0\n  41:          0          0          0          0          0          0          0          0 IR-PCI-MSIX-0000:01:00.0   8-edge      nvme0q8
/proc/irq/default_smp_affinity 7f
/proc/irq/40/smp_affinity_list 0-6
/proc/irq/40/effective_affinity_list 0
/proc/irq/41/smp_affinity_list 7
/proc/irq/41/effective_affinity_list 7
",
    ]);
    fake.managed_shown.insert("/proc/irq/41/smp_affinity_list".into());
    fake
}

/// An aarch64 server of two nodes: no SMT, no boost, no microcode, no idle states below WFI.
pub fn arm() -> FakeMachine {
    let cores = for_cores(
        0..64,
        r"
/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor schedutil
/sys/devices/system/cpu/cpu{}/cpufreq/scaling_available_governors conservative ondemand userspace powersave performance schedutil
/sys/devices/system/cpu/cpu{}/cpu_capacity 1024
",
    );
    FakeMachine::new(&[
        COMMON,
        &cores,
        &stat(0..64, 0),
        r"
/sys/devices/system/cpu/online 0-63
/proc/cpuinfo processor	: 0\nBogoMIPS	: 50.00\nFeatures	: fp asimd evtstrm aes\nCPU implementer	: 0x41\nCPU part	: 0xd0c
/sys/class/dmi/id/sys_vendor GIGABYTE
/sys/class/dmi/id/product_name R152-P30
/sys/devices/virtual/workqueue/cpumask ffffffff,ffffffff
/sys/devices/system/node/online 0-1
/sys/devices/system/node/node0/cpulist 0-31
/sys/devices/system/node/node1/cpulist 32-63
/sys/devices/system/clocksource/clocksource0/current_clocksource arch_sys_counter
/proc/interrupts            CPU0       CPU31       CPU32\n  11:    5000000    5000000    5000000     GICv3  30 Level     arch_timer\n  60:         12          3          0     GICv3 100 Level     uart-pl011
/proc/irq/default_smp_affinity ffffffff,ffffffff
/proc/irq/11/smp_affinity_list 0-63
/proc/irq/11/effective_affinity_list
/proc/irq/60/smp_affinity_list 0-63
/proc/irq/60/effective_affinity_list 0
",
    ])
}

/// A small KVM guest that shows next to nothing, and one file that this user may not read.
pub fn guest() -> FakeMachine {
    let mut fake = FakeMachine::new(&[
        &stat(0..2, 240),
        r"
/proc/sys/kernel/random/boot_id 504aea48-88af-4af4-8883-f58deb1a5134
/sys/devices/system/cpu/online 0-1
/proc/sys/kernel/randomize_va_space 0
/proc/loadavg 11.02 10.98 8.60 15/268 26104
/proc/cpuinfo processor	: 0\nmicrocode	: 0x1000065\nflags		: fpu hypervisor sse\nprocessor	: 1\nmicrocode	: 0x1000065
/sys/devices/system/clocksource/clocksource0/current_clocksource kvm-clock
/sys/kernel/mm/transparent_hugepage/enabled sometimes
",
    ]);
    fake.unreadable.insert("/proc/interrupts".into());
    fake
}

/// A laptop of 2 performance cores with 2 threads each (0-3) and 4 efficiency cores (4-7).
pub fn hybrid() -> FakeMachine {
    let fast = for_cores(0..4, "/sys/devices/system/cpu/cpu{}/online 1\n");
    let siblings = "
/sys/devices/system/cpu/cpu0/topology/thread_siblings_list 0-1
/sys/devices/system/cpu/cpu1/topology/thread_siblings_list 0-1
/sys/devices/system/cpu/cpu2/topology/thread_siblings_list 2-3
/sys/devices/system/cpu/cpu3/topology/thread_siblings_list 2-3
";
    let slow = for_cores(4..8, "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list {}\n");
    let cores = for_cores(0..8, "/sys/devices/system/cpu/cpu{}/power/energy_perf_bias 6\n");
    FakeMachine::new(&[
        COMMON,
        &fast,
        siblings,
        &slow,
        &cores,
        &stat(0..8, 0),
        r"
/sys/devices/system/cpu/online 0-7
/sys/devices/cpu_core/cpus 0-3
/sys/devices/cpu_atom/cpus 4-7
/sys/devices/system/cpu/intel_pstate/no_turbo 1
/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor performance
/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor powersave
/sys/devices/system/cpu/cpu4/cpufreq/scaling_governor powersave
/proc/cpuinfo processor	: 0\nmicrocode	: 0x430\nflags		: fpu ht\n\nprocessor	: 4\nmicrocode	: 0x431\nflags		: fpu ht
/sys/devices/virtual/workqueue/cpumask ff
/proc/sys/kernel/nmi_watchdog 0
",
    ])
}
