//! What holds inside a container, compared with what was asked for: an engine that drops a limit
//! with a mere warning is found out before anything runs.

use std::collections::BTreeSet;

use dyno_model::catalog::host::format_cores;
use dyno_probe::{PROTOCOL, Program, Sandbox};

use crate::{CAPABILITIES, RLIMITS, Spec};

/// What does not hold inside, in words; empty when all does. The number of files in memory is looked
/// at where the engine bounds it (`bounds_files`).
pub fn verify(spec: &Spec, inside: &Sandbox, bounds_files: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut want = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    want(inside.protocol == PROTOCOL, format!("the probe speaks protocol {}", inside.protocol));
    want(inside.pid == 1, format!("the probe is process {}", inside.pid));
    let allowed = CAPABILITIES.map(|name| name.trim_start_matches("CAP_"));
    let extra: Vec<&String> =
        inside.capabilities.iter().filter(|c| !allowed.contains(&c.as_str())).collect();
    want(extra.is_empty(), format!("further capabilities {extra:?}"));
    want(inside.no_new_privileges, "no-new-privileges is off".into());
    want(inside.seccomp_mode == 2, "no seccomp filter".into());
    let cpus: BTreeSet<u32> = inside.cpus.iter().copied().collect();
    // Another dyno that measures may have taken cores for itself.
    let fewer = spec.cores_may_shrink && !cpus.is_empty() && cpus.is_subset(&spec.cpus);
    want(
        cpus == spec.cpus || fewer,
        format!("cores {} instead of {}", format_cores(&cpus), format_cores(&spec.cpus)),
    );
    // Kernels round to pages.
    let memory = inside.memory_limit_bytes;
    want(
        memory.is_some_and(|limit| limit.abs_diff(spec.memory_bytes) < 64 << 10),
        format!("memory limit {memory:?} instead of {}", spec.memory_bytes),
    );
    let swap = inside.swap_limit_bytes;
    want(swap == Some(0), unbounded_swap(swap));
    want(
        inside.pids_limit == Some(spec.pids),
        format!("process limit {:?} instead of {}", inside.pids_limit, spec.pids),
    );
    want(
        spec.network || inside.interfaces.is_empty(),
        format!("network interfaces {:?}", inside.interfaces),
    );
    let fixed = spec.probe.fixed_layout;
    want(inside.fixed_layout == fixed, format!("fixed address layout is {}", inside.fixed_layout));
    want(inside.root_read_only, "the root is writable".into());
    for (target, asked) in spec.in_memory() {
        let found = inside.in_memory.get(target).copied().unwrap_or_default();
        want(
            found.bytes.abs_diff(asked.bytes) < 64 << 10,
            format!("{target} holds {} bytes instead of {}", found.bytes, asked.bytes),
        );
        want(
            found.files == asked.files || !bounds_files,
            format!("{target} holds {} files instead of {}", found.files, asked.files),
        );
    }
    wrong.extend(verify_program(spec, &inside.program));
    let may_write: BTreeSet<&str> = ["/tmp", "/dev/shm", "/dev/mqueue"]
        .into_iter()
        .chain(spec.mounts.iter().filter(|m| m.writable).map(|m| m.target.as_str()))
        .collect();
    let writable = inside.mounts.iter().filter(|(_, writable)| **writable).map(|(mount, _)| mount);
    wrong.extend(
        writable
            .filter(|mount| !may_write.contains(mount.as_str()))
            .map(|mount| format!("{mount} is writable")),
    );
    wrong
}

/// What is wrong with swap, and what to do where the kernel counts none.
fn unbounded_swap(swap: Option<u64>) -> String {
    match swap {
        Some(bytes) => format!("swap {bytes} beyond the memory limit"),
        None => "the kernel does not count swap, so nothing bounds it: switch it off \
                 (swapoff -a), or boot with swapaccount=1"
            .into(),
    }
}

/// The same of what programs run as.
fn verify_program(spec: &Spec, program: &Program) -> Vec<String> {
    let (uid, gid) = spec.user;
    // Root of a container that is a user outside keeps the probe's capabilities.
    let allowed =
        |name: &String| uid == 0 && CAPABILITIES.contains(&format!("CAP_{name}").as_str());
    let limit = |name: &str| program.limits.get(name).copied().flatten();
    let lowered = RLIMITS.into_iter().chain([("core", 1)]);
    let limits: Vec<String> = lowered
        .filter(|(name, value)| limit(name) != Some(*value))
        .map(|(name, value)| format!("{name} {:?} instead of {value}", limit(name)))
        .collect();
    let checks = [
        (program.uids == [uid; 4], format!("programs run as users {:?}", program.uids)),
        (program.gids == [gid; 4], format!("programs run as groups {:?}", program.gids)),
        (program.groups.is_empty(), format!("programs have the groups {:?}", program.groups)),
        (
            program.capabilities.iter().all(allowed),
            format!("programs have the capabilities {:?}", program.capabilities),
        ),
        (program.no_new_privileges, "no-new-privileges is off for programs".into()),
        (program.seccomp_mode == 2, "no seccomp filter for programs".into()),
        (limits.is_empty(), format!("limits of programs: {}", limits.join(", "))),
    ];
    checks.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what).collect()
}
