//! The machine as found: its fingerprint, whose cores are whose, and the lock that lets only one
//! measurement run on it at a time. `dyno host` asks how quiet it is (`knobs`, `doctor`) and makes
//! it quieter (`tune`): nothing else in dyno changes the machine.

pub mod core_kind;
pub mod doctor;
pub mod emulator;
pub mod exclusive;
pub mod finding;
#[cfg(test)]
mod knob_tests;
pub mod knobs;
pub mod machine;
pub mod nested;
pub mod quiet;
pub mod scope;
pub mod state;
#[cfg(test)]
mod trees;
pub mod tune;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dyno_model::catalog::host::{Cores, Host, format_cores, parse_cores};
use dyno_model::record::Fingerprint;

use core_kind::{CoreKind, core_kinds};
use dyno_base::error::{Error, Result, WithContext};
use dyno_base::event::Events;
use dyno_base::process::ProcessIdentity;
use dyno_base::text::duration;
use emulator::Emulator;
use knobs::{Guest, guest};
use machine::{Machine, Root};
use scope::MachineScope;

/// A host's cores, as they are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreAssignment {
    pub benchmark: BTreeSet<u32>,
    pub housekeeping: BTreeSet<u32>,
    /// What runs the programs, where they are not this machine's own.
    pub emulator: Option<Emulator>,
    /// The kind of the benchmark cores, where the processor has several.
    pub core_kind: Option<String>,
    /// What a reader of the results should know of it.
    pub notices: Vec<String>,
}

impl CoreAssignment {
    /// Every core dyno may use, for builds.
    pub fn all_cores(&self) -> BTreeSet<u32> {
        self.benchmark.union(&self.housekeeping).copied().collect()
    }

    /// Architecture of the programs that are built and measured, as `uname -m` says.
    pub fn architecture(&self) -> &str {
        self.emulator.as_ref().map_or(std::env::consts::ARCH, |e| e.architecture.as_str())
    }
}

/// Checks that `host` is this machine, or one that this machine emulates, and gives it its cores.
pub fn assign(host: &Host) -> Result<CoreAssignment> {
    assign_on(&Root::new(Path::new("/")), host)
}

/// The cores that a process of this machine may use: what its cpuset allows, where it tells. dyno
/// binds its own threads while it measures, so the first answer counts.
fn allowed_cores(on: &dyn Machine) -> Option<BTreeSet<u32>> {
    static OF_THIS_PROCESS: OnceLock<Option<BTreeSet<u32>>> = OnceLock::new();
    let read = || {
        let status = on.read("/proc/self/status");
        let list = status.text()?.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        parse_cores(list?.trim())
    };
    if on.is_this_machine() { OF_THIS_PROCESS.get_or_init(read).clone() } else { read() }
}

/// The cores of `host` as [`assign`] gives them, on the machine `on`.
pub fn assign_on(on: &dyn Machine, host: &Host) -> Result<CoreAssignment> {
    let machine = std::env::consts::ARCH;
    let foreign = host.architecture.as_deref().filter(|declared| *declared != machine);
    let emulator = foreign.map(|declared| {
        emulator::find(declared).map_err(|why| {
            Error::host(format!(
                "the host {} is declared as {declared}, but this machine is {machine}, and has no emulator of {declared} that works in containers: {why}",
                host.name
            ))
            .hint(format!("mend hosts/{}.toml, name another host by --host, or have {declared} emulated (docs/hosts.md, Emulation)", host.name))
        })
    });
    let emulator = emulator.transpose()?;
    let online = on.read("/sys/devices/system/cpu/online").text().and_then(parse_cores);
    let online = online.ok_or_else(|| Error::host("cannot read which cores are online"))?;
    let allowed = allowed_cores(on).unwrap_or_else(|| online.clone());
    let kinds = core_kinds(on, online.iter().copied());
    let assigned = split(host, &online, &allowed, &kinds)?;
    let notices = emulator.iter().map(Emulator::notice).chain(assigned.notices).collect();
    Ok(CoreAssignment { emulator, notices, ..assigned })
}

/// Shares the cores out: `auto` takes the last core of the fastest kind that dyno may use.
fn split(
    host: &Host,
    online: &BTreeSet<u32>,
    allowed: &BTreeSet<u32>,
    kinds: &BTreeMap<u32, CoreKind>,
) -> Result<CoreAssignment> {
    let usable: BTreeSet<u32> = online.intersection(allowed).copied().collect();
    let is_fast = |core: &&u32| kinds.get(core).is_none_or(|kind| kind.is_fastest);
    let last = usable.iter().rfind(is_fast).or(usable.last());
    let last = *last.ok_or_else(|| Error::host("no core that dyno may use is online"))?;
    let benchmark = match &host.benchmark_cores {
        Cores::Explicit(cores) => cores.clone(),
        Cores::Auto => BTreeSet::from([last]),
    };
    let rest: BTreeSet<u32> = usable.difference(&benchmark).copied().collect();
    let housekeeping = match &host.housekeeping_cores {
        Cores::Explicit(cores) => cores.clone(),
        Cores::Auto if rest.is_empty() => benchmark.clone(),
        Cores::Auto => rest,
    };
    for (what, cores) in [("benchmark", &benchmark), ("housekeeping", &housekeeping)] {
        let hint = format!("mend {what}_cores in hosts/{}.toml", host.name);
        for (which, known, hint) in [
            ("are not online (online", online, hint.clone()),
            (
                "dyno may not use (its cpuset allows",
                allowed,
                format!(
                    "{hint}, or give dyno more cores (AllowedCPUs= of a unit, --cpuset-cpus of a container, taskset)"
                ),
            ),
        ] {
            let missing: BTreeSet<u32> = cores.difference(known).copied().collect();
            if !missing.is_empty() {
                return Err(Error::host(format!(
                    "the host {} names {what} cores {} that {which}: {})",
                    host.name,
                    format_cores(&missing),
                    format_cores(known)
                ))
                .hint(hint));
            }
        }
    }
    let mut notices = Vec::new();
    let kinds: Vec<(&u32, &CoreKind)> =
        benchmark.iter().filter_map(|core| kinds.get_key_value(core)).collect();
    if let Some((core, kind)) = kinds.iter().find(|(_, kind)| !kind.is_fastest) {
        notices.push(format!(
            "core {core} is of a slow kind ({}): the processor has faster ones",
            kind.name
        ));
    }
    let names: BTreeSet<&str> = kinds.iter().map(|(_, kind)| kind.name.as_str()).collect();
    let core_kind = (!names.is_empty()).then(|| Vec::from_iter(names).join(", "));
    let shared: BTreeSet<u32> = benchmark.intersection(&housekeeping).copied().collect();
    if !shared.is_empty() {
        notices.push(format!(
            "core {} is used for benchmarks and by dyno itself: times are noisier for it",
            format_cores(&shared)
        ));
    }
    Ok(CoreAssignment { benchmark, housekeeping, emulator: None, core_kind, notices })
}

/// What this machine is, with the engine and the cores it measures on.
pub fn fingerprint(host: &Host, engine: &str, cores: &CoreAssignment) -> Fingerprint {
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line =
            cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|k| k.trim() == name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_string())).unwrap_or_default()
    };
    let first = cores.benchmark.first().copied().unwrap_or(0);
    let governor = read(&format!("/sys/devices/system/cpu/cpu{first}/cpufreq/scaling_governor"));
    let memory_kb = read("/proc/meminfo").and_then(|text| {
        text.lines().find_map(|l| {
            l.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok()
        })
    });
    let model =
        Some(field("model name")).filter(|m| !m.is_empty()).unwrap_or_else(|| field("CPU part"));
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    Fingerprint {
        architecture: cores.architecture().into(),
        cpu: model,
        microcode: field("microcode"),
        kernel: read("/proc/sys/kernel/osrelease").unwrap_or_default().trim().into(),
        governor: governor.map_or_else(|| "unknown".into(), |g| g.trim().to_string()),
        cores: cpuinfo.matches("\nprocessor").count() as u32
            + u32::from(cpuinfo.starts_with("processor")),
        memory_bytes: memory_kb.unwrap_or(0) * 1024,
        virtualised: matches!(guest(&Root::new(Path::new("/"))), Guest::Of(_)),
        cgroup: if v2 { "v2" } else { "v1" }.into(),
        engine: engine.into(),
        benchmark_cores: format_cores(&cores.benchmark),
        fixed_layout: !host.aslr
            || read("/proc/sys/kernel/randomize_va_space").is_some_and(|level| level.trim() == "0"),
        emulator: cores.emulator.as_ref().map(|emulator| emulator.version.clone()),
        core_kind: cores.core_kind.clone(),
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The lock held while measuring; released by the kernel when the process ends, however it ends.
pub struct MeasuringLock {
    _file: File,
}

impl MeasuringLock {
    /// Waits until no other dyno of `scope` measures.
    pub async fn take(scope: &MachineScope, events: &Events) -> Result<Self> {
        let path = scope.lock();
        let doing = || format!("taking the measuring lock {}", path.display());
        // Anyone who measures must be able to lock it, whoever made it; and to say that it does.
        let options = || {
            let mut options = fs::OpenOptions::new();
            options.read(true);
            options
        };
        let file =
            options().write(true).open(path).or_else(|_| options().open(path)).or_else(|_| {
                options().write(true).create(true).mode(0o666).truncate(false).open(path)
            });
        let file = file.context(doing)?;
        if file.try_lock().is_err() {
            events.notice(format!(
                "waiting: another dyno is measuring on this machine{}",
                holder(path).unwrap_or_default()
            ));
            let waiting = file.try_clone().context(doing)?;
            tokio::task::spawn_blocking(move || waiting.lock())
                .await
                .context(doing)?
                .context(doing)?;
        }
        // For whoever waits. A file of another user cannot be written: then nobody is told.
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let told = format!("{} {now_s}\n", ProcessIdentity::this_process());
        drop(file.set_len(0).and_then(|()| (&file).write_all(told.as_bytes())));
        Ok(Self { _file: file })
    }

    /// The lock of `scope`, if nobody holds it.
    pub fn try_take(scope: &MachineScope) -> Option<Self> {
        let file = File::open(scope.lock()).ok()?;
        file.try_lock().ok()?;
        Some(Self { _file: file })
    }
}

/// Who holds the lock at `path` and for how long, in words; `None` where it does not say, or who it
/// names is gone. Anyone may write there, so that nothing but numbers is taken from it.
fn holder(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let (identity, since_s) = text.trim().split_once(' ')?;
    let identity = ProcessIdentity::parse(identity).filter(|holder| holder.is_alive())?;
    let since = UNIX_EPOCH.checked_add(Duration::from_secs(since_s.parse().ok()?))?;
    let seconds = since.elapsed().ok()?.as_secs();
    Some(format!(": process {}, for {} so far", identity.pid(), duration(seconds)))
}

/// Binds every thread of this process to `cores`: dyno keeps off the benchmark cores while it
/// measures. Threads started later inherit it.
pub fn pin_threads_to(cores: &BTreeSet<u32>) {
    // SAFETY: the set is plain data, and CPU_SET is bounded by its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cores
            .iter()
            .filter(|c| **c < libc::CPU_SETSIZE as u32)
            .for_each(|c| libc::CPU_SET(*c as usize, &mut set));
        set
    };
    for thread in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let id = thread.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        if let Some(id) = id {
            // SAFETY: reads a live set; a thread that has ended is an error we need not see.
            unsafe { libc::sched_setaffinity(id, size_of::<libc::cpu_set_t>(), &set) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyno_model::catalog::host::parse;

    #[test]
    fn cores_are_shared_out() {
        let cores = |text: &str, online: &str| {
            let host = parse("h", "hosts/h.toml", text).unwrap();
            let online = parse_cores(online).unwrap();
            let assigned = split(&host, &online, &online, &BTreeMap::new())?;
            let shared = assigned.notices.len();
            Ok((format_cores(&assigned.benchmark), format_cores(&assigned.housekeeping), shared))
        };
        let ok = |b: &str, h: &str, n| Ok::<_, Error>((b.to_string(), h.to_string(), n));
        let same = |a: Result<(String, String, usize)>, b: Result<(String, String, usize)>| {
            assert_eq!(a.map_err(|e| e.message), b.map_err(|e| e.message));
        };
        same(cores("", "0-3"), ok("3", "0-2", 0));
        same(cores("", "0"), ok("0", "0", 1));
        same(cores("benchmark_cores = \"1-2\"", "0-3"), ok("1-2", "0,3", 0));
        let wrong = cores("benchmark_cores = \"9\"", "0-3").unwrap_err();
        assert!(wrong.message.contains("benchmark cores 9 that are not online"), "{wrong}");
    }
}
