//! Which interrupts may land on the benchmark cores, and which do.

use std::collections::BTreeSet;

use dyno_model::catalog::host::{format_cores, parse_cores};

use super::{HostView, core_names};
use crate::finding::{Change, Finding, Knob};
use crate::machine::{format_mask, parse_mask};

/// How many are named.
const NAMED_MAX: usize = 3;

/// Where an interrupt that is yet to come will go.
const DEFAULT: &str = "/proc/irq/default_smp_affinity";

/// A line of `/proc/interrupts`.
#[derive(Debug, PartialEq, Eq)]
struct Interrupt {
    number: u32,
    name: String,
    /// Number of interrupts on the benchmark cores since boot.
    count: u64,
}

pub fn affinity(view: &HostView<'_>) -> Finding {
    let path = "/proc/interrupts";
    let knob = Knob::new(
        "IRQ affinity",
        format!("none on {}", core_names(view.benchmark)),
        "an interrupt stops the measured process and takes its caches",
    );
    knob.judge(path, &view.read(path), |knob, text| {
        let Some(all) = parse(text, view.benchmark) else { return knob.odd(path, text) };
        let (reserved_cores, others) = (view.reserved_cores(), view.other_cores());
        let (mut may, mut lands, mut kept) = (0, Vec::new(), Vec::new());
        let mut changes = Vec::new();
        for interrupt in &all {
            let path = format!("/proc/irq/{}/smp_affinity_list", interrupt.number);
            let Some(allowed) = view.cores(&path) else { continue };
            let effective =
                view.read(&format!("/proc/irq/{}/effective_affinity_list", interrupt.number));
            // An interrupt that each core has for itself (a timer) is routed nowhere.
            if effective.text() == Some("") || allowed.is_disjoint(&reserved_cores) {
                continue;
            }
            let now = effective.text().and_then(parse_cores).unwrap_or_else(|| allowed.clone());
            if !view.machine.settable(&path) {
                // One queue a core is quiet until that core itself asks something of the device.
                if !now.is_disjoint(view.benchmark) && interrupt.count > 0 {
                    kept.push(interrupt);
                }
                continue;
            }
            let rest: BTreeSet<u32> = allowed.intersection(&others).copied().collect();
            let rest = if rest.is_empty() { &others } else { &rest };
            if !rest.is_empty() {
                changes.push(Change::new(path, format_cores(rest)));
            }
            may += usize::from(!allowed.is_disjoint(view.benchmark));
            if !now.is_disjoint(view.benchmark) {
                lands.push(interrupt);
            }
        }
        let default = view.text(DEFAULT).and_then(|text| parse_mask(&text)).unwrap_or_default();
        let rest: BTreeSet<u32> = default.intersection(&others).copied().collect();
        if !default.is_disjoint(&reserved_cores) && !rest.is_empty() {
            changes.push(Change::new(DEFAULT, format_mask(&rest)));
        }
        if may == 0 && kept.is_empty() && changes.is_empty() {
            return knob.good(format!("none of {}", all.len()));
        }
        let mut now = format!("{} of {} may", may + kept.len(), all.len());
        if !lands.is_empty() {
            now += &format!("; now there: {}", list_busiest(lands));
        }
        if !kept.is_empty() {
            now += &format!("; kept there by the kernel: {}", list_busiest(kept));
        }
        let found = knob.bad(now);
        if changes.is_empty() {
            let cores = format_cores(view.benchmark);
            return found.settable_by_hand(format!("boot with isolcpus=managed_irq,{cores}"));
        }
        found.settable_by(changes)
    })
}

/// "36 virtio1-req.0 (480946), … and 7 more", the busiest first.
fn list_busiest(mut interrupts: Vec<&Interrupt>) -> String {
    interrupts.sort_by(|a, b| b.count.cmp(&a.count).then(a.number.cmp(&b.number)));
    let name = |i: &&Interrupt| format!("{} {} ({})", i.number, i.name, i.count);
    let text = interrupts.iter().take(NAMED_MAX).map(name).collect::<Vec<_>>().join(", ");
    match interrupts.len().saturating_sub(NAMED_MAX) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// The numbered lines of `/proc/interrupts`; `None` if its head is not one.
fn parse(text: &str, benchmark: &BTreeSet<u32>) -> Option<Vec<Interrupt>> {
    let mut lines = text.lines();
    let head = lines.next()?.split_whitespace();
    let cores: Vec<u32> =
        head.map(|word| word.strip_prefix("CPU")?.parse().ok()).collect::<Option<_>>()?;
    let interrupt = |line: &str| {
        let (number, rest) = line.split_once(':')?;
        let number = number.trim().parse().ok()?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let counts = words.iter().zip(&cores).filter(|(_, core)| benchmark.contains(core));
        let count = counts.filter_map(|(word, _)| word.parse::<u64>().ok()).sum();
        // Controller, its number and trigger, then who asked for it.
        let words = words.get(cores.len()..).unwrap_or_default();
        let trigger = |word: &&str| {
            let word = word.to_ascii_lowercase();
            ["edge", "level", "fasteoi"].iter().any(|end| word.ends_with(end))
        };
        let after = words.iter().position(trigger).map_or(0, |place| place + 1);
        let name = words.get(after..).unwrap_or_default().join(" ");
        Some(Interrupt {
            number,
            name: if name.is_empty() { "unnamed".into() } else { name },
            count,
        })
    };
    // Lines without a number are of the processors themselves and cannot be moved.
    (!cores.is_empty()).then(|| lines.filter_map(interrupt).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_kinds_are_read() {
        let text = "           CPU0       CPU2       
   0:         35          0   IO-APIC   2-edge      timer
  16:         10         20   IO-APIC  16-fasteoi   i801_smbus, ehci_hcd:usb1
  11:        100        200     GICv3  30 Level     arch_timer
  24:          0          5 PCI-MSIX-0000:00:01.0   0-edge
 LOC:       7000       8000   Local timer interrupts
 ERR:          0
";
        let interrupt = |number, name: &str, count| Interrupt { number, name: name.into(), count };
        assert_eq!(
            parse(text, &BTreeSet::from([2])).unwrap(),
            [
                interrupt(0, "timer", 0),
                interrupt(16, "i801_smbus, ehci_hcd:usb1", 20),
                interrupt(11, "arch_timer", 200),
                interrupt(24, "unnamed", 5)
            ]
        );
        assert_eq!(parse("no table", &BTreeSet::new()), None);
        assert_eq!(parse("", &BTreeSet::new()), None);
    }
}
