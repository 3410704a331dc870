//! The kinds of cores of a hybrid processor, as Linux tells them: Intel's by the files of their two
//! counters, others by the capacity of each core.

use std::collections::BTreeMap;

use dyno_model::catalog::host::parse_cores;

use crate::machine::Machine;

/// A kind of core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreKind {
    /// `performance`, `efficiency`, or `capacity N`.
    pub name: String,
    /// Whether no core of the processor is of a faster kind.
    pub is_fastest: bool,
}

/// The kind of each core of `cores`; empty where the processor has one kind, or does not tell.
pub fn core_kinds(
    machine: &dyn Machine,
    cores: impl Iterator<Item = u32>,
) -> BTreeMap<u32, CoreKind> {
    let listed = |path: &str| machine.read(path).text().and_then(parse_cores);
    if let Some(fast) = listed("/sys/devices/cpu_core/cpus") {
        let kind = |core: u32| {
            let is_fastest = fast.contains(&core);
            let name = if is_fastest { "performance" } else { "efficiency" };
            (core, CoreKind { name: name.into(), is_fastest })
        };
        return cores.map(kind).collect();
    }
    let capacity = |core: u32| {
        let path = format!("/sys/devices/system/cpu/cpu{core}/cpu_capacity");
        machine.read(&path).text()?.parse::<u64>().ok()
    };
    let online = listed("/sys/devices/system/cpu/online").unwrap_or_default();
    let Some(most) = online.into_iter().filter_map(capacity).max() else {
        return BTreeMap::new();
    };
    let kind = |core: u32| {
        let own = capacity(core)?;
        Some((core, CoreKind { name: format!("capacity {own}"), is_fastest: own == most }))
    };
    cores.filter_map(kind).collect()
}
