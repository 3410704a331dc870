//! `QuietHost`: the proof that measuring may begin, and the eye on what else goes on meanwhile.
//!
//! Measuring takes it as an argument, so nothing is measured without the host's lock, without the
//! benchmark cores being kept as well as this machine can, and under more load than the host's file
//! allows. Around each process it looks at how busy the benchmark cores were and what the
//! hypervisor took; `model::taint` judges.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use dyno_model::catalog::host::{Host, format_cores};
use dyno_model::taint::{Disturbance, ProcessTime};
use dyno_probe::Exit;

use super::exclusive::ExclusiveCores;
use super::machine::{Machine, Root};
use super::scope::MachineScope;
use super::{CoreAssignment, MeasuringLock};
use dyno_base::error::{Error, Result};
use dyno_base::event::Events;
use dyno_base::fault;

/// How long the load is watched before it is judged, and how long dyno waits for it to sink.
const LOOK: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(60);

/// Holds while something is measured.
pub struct QuietHost {
    // Dropped in this order: the cores are given back while the lock is still held.
    exclusive: Option<ExclusiveCores>,
    watch: CoreWatch,
    disturbance_max: f64,
    notices: Vec<String>,
    _lock: MeasuringLock,
}

impl QuietHost {
    /// Waits for the lock and for the load to sink, and takes the benchmark cores.
    ///
    /// # Errors
    /// A host that stays busier than `load_max` of its file.
    pub async fn prove(
        host: &Host,
        cores: &CoreAssignment,
        scope: &MachineScope,
        events: &Events,
    ) -> Result<Self> {
        let lock = fault::around("measure.lock", MeasuringLock::take(scope, events)).await?;
        let mut notices = Vec::new();
        let load = wait_for_quiet(host, cores, events).await?;
        if let Some(load) = load.filter(|load| *load > LOAD_NOTED) {
            notices.push(format!(
                "other programs kept {load:.1} cores busy when measuring began: times are noisier for it"
            ));
        }
        let taking = fault::at("measure.cores", || ExclusiveCores::take(scope, &cores.benchmark));
        let exclusive = match taking {
            Ok(held) => Some(held),
            Err(why) => {
                notices.push(format!(
                    "nothing keeps other programs off core {}: {why}",
                    format_cores(&cores.benchmark)
                ));
                None
            }
        };
        let watch = CoreWatch::new(&Root::new(Path::new("/")), &cores.benchmark);
        if watch.meter.is_none() {
            notices.push(
                "how busy its cores are cannot be read on this machine: disturbed rounds are not found out".into(),
            );
        }
        Ok(Self { exclusive, watch, disturbance_max: host.disturbance_max, notices, _lock: lock })
    }

    /// The cgroup that a container must be in to have the benchmark cores for itself.
    pub fn parent(&self) -> Option<&str> {
        self.exclusive.as_ref().map(ExclusiveCores::parent)
    }

    /// What a reader of the results should know of the host.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Words for how the cores are kept.
    pub fn how(&self) -> String {
        self.exclusive.as_ref().map_or_else(|| "cores shared with others".into(), |held| held.how())
    }

    /// Checks that the container which was just started has the cores as promised.
    ///
    /// # Errors
    /// A promise that the engine did not keep.
    pub fn verify(&self) -> Result<()> {
        self.exclusive.as_ref().map_or(Ok(()), ExclusiveCores::verify).map_err(|wrong| {
            Error::host(format!("the benchmark cores are not kept as asked: {wrong}"))
                .hint("an engine must honour the parent cgroup of a container; another may do so: see `engine` in hosts/<name>.toml")
        })
    }

    /// Checks, when the last round is over, before the cores are given back: what a reader should
    /// know if they were not kept to the end. The rounds stand: what others did in them is taint.
    pub fn isolation_lost(&self) -> Option<String> {
        let wrong = self.exclusive.as_ref()?.holds().err()?;
        Some(format!("the benchmark cores were not kept from others to the end: {wrong}"))
    }

    /// Gives the benchmark cores back to everybody, for work whose time does not matter; the lock
    /// is still held.
    pub fn share_cores(&mut self) {
        self.exclusive = None;
    }

    /// Samples the counters, just before a process and just after: see [`QuietHost::taint`].
    pub fn sample(&self) -> CoreSample {
        self.watch.sample(&Root::new(Path::new("/")))
    }

    /// The taint of a process that ran between two samples; `paged_in` says whether it had to fetch
    /// more from a disk than usual. The kernel's work for what it fetched is its own.
    pub fn taint(
        &self,
        (before, after): (CoreSample, CoreSample),
        exit: &Exit,
        paged_in: bool,
    ) -> String {
        let seen = self.watch.disturbance(before, after, exit.container_ns, exit.wall_ns);
        let fetching_ns = exit.disk_read_bytes.saturating_mul(FETCHING_NS_PER_BYTE);
        let unsure_ns = seen.unsure_ns.saturating_add(fetching_ns);
        let seen = Disturbance { unsure_ns, paged_in, ..seen };
        let time = ProcessTime {
            wall_ns: exit.wall_ns,
            running_ns: exit.container_ns,
            first_running_ns: exit.first_thread.map_or(0, |thread| thread.running_ns),
            first_waiting_ns: exit.first_thread.map_or(0, |thread| thread.waiting_ns),
        };
        seen.taint(time, self.disturbance_max)
    }
}

/// What the kernel's own threads may take to fetch a byte from a disk, in nanoseconds: with pages of
/// 4 KiB, 8 µs each.
const FETCHING_NS_PER_BYTE: u64 = 2;

/// Load above which results carry a notice, in cores.
const LOAD_NOTED: f64 = 0.25;

/// Waits until other programs keep fewer cores busy than the host's file allows; returns how many
/// they do, where that can be read.
async fn wait_for_quiet(
    host: &Host,
    cores: &CoreAssignment,
    events: &Events,
) -> Result<Option<f64>> {
    // Where no load is too much it is only noted: a shorter look will do.
    let look = if host.load_max < cores.all_cores().len() as f64 { LOOK } else { LOOK / 5 };
    let on = Root::new(Path::new("/"));
    let watch = CoreWatch::new(&on, &cores.all_cores());
    let started = Instant::now();
    let mut is_noticed = false;
    loop {
        let (before, used) = (watch.sample(&on), own_ns());
        tokio::time::sleep(look).await;
        let after = watch.sample(&on);
        let seen = watch.disturbance(before, after, own_ns().saturating_sub(used), u64::MAX);
        let Some(others) = seen.others_ns else { return Ok(None) };
        let elapsed = (after.at - before.at).as_nanos() as f64;
        let load = others.saturating_sub(seen.unsure_ns) as f64 / elapsed;
        if load <= host.load_max {
            return Ok(Some(load));
        }
        if started.elapsed() > PATIENCE {
            return Err(Error::host(format!(
                "the machine is too busy to measure: other programs keep {load:.1} cores busy, and {} allows {}",
                format_args!("hosts/{}.toml", host.name),
                host.load_max
            ))
            .hint("end what runs beside it (top shows it), or raise load_max there and accept more noise"));
        }
        if !is_noticed {
            events.notice(format!(
                "waiting for other programs, which keep {load:.1} cores busy (load_max is {})",
                host.load_max
            ));
            is_noticed = true;
        }
    }
}

/// Processor time of dyno itself, in ns.
fn own_ns() -> u64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let used = |who| {
        let usage = getrusage(who).ok();
        let times = usage.map(|usage| [usage.user_time(), usage.system_time()]);
        let ns = |time: nix::sys::time::TimeVal| {
            (time.tv_sec() as u64) * 1_000_000_000 + time.tv_usec() as u64 * 1_000
        };
        times.map_or(0, |times| times.into_iter().map(ns).sum())
    };
    used(UsageWho::RUSAGE_SELF) + used(UsageWho::RUSAGE_CHILDREN)
}

/// How the busy time of a core is read, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meter {
    /// `rq_cpu_time` of `/proc/schedstat` (Documentation/scheduler/sched-stats.rst), in ns.
    Schedstat,
    /// The top cgroup of v1's cpuacct, in ns.
    Cpuacct,
    /// `/proc/stat`, in ticks.
    Ticks,
}

const SCHEDSTAT: &str = "/proc/schedstat";
const CPUACCT: &str = "/sys/fs/cgroup/cpuacct/cpuacct.usage_percpu";
const STAT: &str = "/proc/stat";

/// A tick of `/proc/stat` (USER_HZ is 100 on every architecture Linux has), in ns.
const TICK_NS: u64 = 10_000_000;

/// Watches some cores.
#[derive(Debug)]
struct CoreWatch {
    cores: BTreeSet<u32>,
    meter: Option<Meter>,
    /// Files that count how often a core, or all of its package, was slowed down to cool it.
    throttles: Vec<String>,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy)]
pub struct CoreSample {
    at: Instant,
    busy_ns: Option<u64>,
    stolen_ns: u64,
    throttled: u64,
}

impl CoreWatch {
    fn new(on: &dyn Machine, cores: &BTreeSet<u32>) -> Self {
        let throttles = |core| {
            ["core", "package"].map(|what| {
                format!("/sys/devices/system/cpu/cpu{core}/thermal_throttle/{what}_throttle_count")
            })
        };
        let throttles: Vec<String> = cores
            .iter()
            .flat_map(throttles)
            .filter(|path| on.read(path).text().is_some())
            .collect();
        let mut watch = Self { cores: cores.clone(), meter: None, throttles };
        watch.meter = [Meter::Schedstat, Meter::Cpuacct, Meter::Ticks]
            .into_iter()
            .find(|meter| watch.busy_ns(on, *meter).is_some());
        watch
    }

    fn sample(&self, on: &dyn Machine) -> CoreSample {
        let count = |path: &String| on.read(path).text().and_then(|text| text.parse::<u64>().ok());
        CoreSample {
            at: Instant::now(),
            busy_ns: self.meter.and_then(|meter| self.busy_ns(on, meter)),
            stolen_ns: self.sum_of_ticks(on, |ticks| ticks.get(7).copied()).unwrap_or(0),
            throttled: self.throttles.iter().filter_map(count).sum(),
        }
    }

    /// What happened between two samples besides `own_ns` of known work. Of the time between them
    /// `inside_ns` was the process's: what others did in the rest may be none of its business.
    fn disturbance(
        &self,
        before: CoreSample,
        after: CoreSample,
        own_ns: u64,
        inside_ns: u64,
    ) -> Disturbance {
        let cores = self.cores.len() as u64;
        let outside =
            (after.at - before.at).as_nanos().saturating_sub(u128::from(inside_ns)) as u64;
        let since = |before: u64, after: u64| after.saturating_sub(before);
        let busy = before.busy_ns.zip(after.busy_ns).map(|(before, after)| since(before, after));
        // Each of two readings may be a tick off, on each core.
        let ticks = if self.meter == Some(Meter::Ticks) { 2 * TICK_NS } else { 0 };
        Disturbance {
            others_ns: busy.map(|busy| busy.saturating_sub(own_ns)),
            unsure_ns: cores * outside.saturating_add(ticks),
            stolen_ns: since(before.stolen_ns, after.stolen_ns),
            throttled: since(before.throttled, after.throttled),
            paged_in: false,
        }
    }

    /// Time in which the cores were not idle, in ns since boot.
    fn busy_ns(&self, on: &dyn Machine, meter: Meter) -> Option<u64> {
        match meter {
            Meter::Schedstat => self.sum_of_cores(on, SCHEDSTAT, |fields| fields.get(6).copied()),
            Meter::Cpuacct => {
                let text = on.read(CPUACCT);
                let all: Vec<u64> =
                    text.text()?.split_whitespace().map_while(|n| n.parse().ok()).collect();
                self.cores.iter().map(|core| all.get(*core as usize).copied()).sum()
            }
            // user nice system idle iowait irq softirq steal; guest times are in user and nice.
            Meter::Ticks => self.sum_of_ticks(on, |ticks| {
                let [user, nice, system, _, _, irq, softirq, ..] = ticks else { return None };
                Some(user + nice + system + irq + softirq)
            }),
        }
    }

    fn sum_of_ticks(
        &self,
        on: &dyn Machine,
        select: impl Fn(&[u64]) -> Option<u64>,
    ) -> Option<u64> {
        self.sum_of_cores(on, STAT, select).map(|ticks| ticks * TICK_NS)
    }

    /// The sum over the cores of something of their lines `cpuN …` in the file `path`.
    fn sum_of_cores(
        &self,
        on: &dyn Machine,
        path: &str,
        select: impl Fn(&[u64]) -> Option<u64>,
    ) -> Option<u64> {
        let text = on.read(path);
        let mut found = 0;
        let mut sum = 0;
        for line in text.text()?.lines() {
            let mut words = line.split_whitespace();
            let core = words.next().and_then(|name| name.strip_prefix("cpu")?.parse::<u32>().ok());
            if core.is_some_and(|core| self.cores.contains(&core)) {
                let fields: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
                sum += select(&fields)?;
                found += 1;
            }
        }
        (found == self.cores.len()).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::fake::FakeMachine;
    use super::*;

    const MS: u64 = 1_000_000;

    /// What is seen on cores 1 and 2 between two states of a machine, of which 30 ms were our own.
    fn seen(before: &str, after: &str) -> (Option<Meter>, Disturbance) {
        let (before, after) = (FakeMachine::new(&[before]), FakeMachine::new(&[after]));
        let watch = CoreWatch::new(&before, &BTreeSet::from([1, 2]));
        let (first, last) = (watch.sample(&before), watch.sample(&after));
        (watch.meter, watch.disturbance(first, last, 30 * MS, u64::MAX))
    }

    #[test]
    fn what_others_did_is_what_the_cores_did_without_us() {
        let stat = |ticks: [u64; 2]| {
            let line = |core, busy, steal| format!("cpu{core} {busy} 0 0 900 5 0 0 {steal} 0 0\\n");
            let zero = line(0, 700, 90);
            format!(
                "/proc/stat cpu 1 1 1 1 1 1 1 1 1 1\\n{zero}{}{}intr 5",
                line(1, ticks[0], 2),
                line(2, ticks[1], 3)
            )
        };
        let acct = |b: u64| format!("/sys/fs/cgroup/cpuacct/cpuacct.usage_percpu 777 1000000 {b}");
        let sched = |b: u64| {
            format!(
                "/proc/schedstat version 15\\ntimestamp 5\\ncpu0 0 0 0 0 0 0 9 9 9\\ncpu1 0 0 0 0 0 0 {b} 8 9\\ndomain0 3 1 2\\ncpu2 0 0 0 0 0 0 5 6 7"
            )
        };
        let throttled = |what, n| {
            format!("/sys/devices/system/cpu/cpu2/thermal_throttle/{what}_throttle_count {n}")
        };
        let none = Disturbance::default();
        let others = |ns| Disturbance { others_ns: Some(ns), ..none };
        for (what, before, after, meter, expected) in [
            ("nothing there", String::new(), String::new(), None, none),
            (
                "ticks",
                stat([10, 10]),
                stat([11, 16]),
                Some(Meter::Ticks),
                Disturbance { unsure_ns: 40 * MS, ..others(40 * MS) },
            ),
            ("v1's accounts", acct(MS), acct(32 * MS), Some(Meter::Cpuacct), others(MS)),
            ("less than our own", acct(MS), acct(2 * MS), Some(Meter::Cpuacct), others(0)),
            (
                "the scheduler's, before the others",
                [sched(0), acct(0), stat([0, 0])].join("\n"),
                [sched(35 * MS), acct(0), stat([0, 0])].join("\n"),
                Some(Meter::Schedstat),
                others(5 * MS),
            ),
            (
                "throttled",
                [throttled("core", 3), acct(0)].join("\n"),
                [throttled("core", 5), acct(0)].join("\n"),
                Some(Meter::Cpuacct),
                Disturbance { throttled: 2, ..others(0) },
            ),
            (
                "its package throttled",
                [throttled("core", 3), throttled("package", 7), acct(0)].join("\n"),
                [throttled("core", 3), throttled("package", 8), acct(0)].join("\n"),
                Some(Meter::Cpuacct),
                Disturbance { throttled: 1, ..others(0) },
            ),
            (
                "stolen",
                [stat([0, 0]), acct(0)].join("\n"),
                [stat([0, 0]).replace("0 2 0", "0 4 0"), acct(0)].join("\n"),
                Some(Meter::Cpuacct),
                Disturbance { stolen_ns: 20 * MS, ..others(0) },
            ),
        ] {
            assert_eq!(seen(&before, &after), (meter, expected), "{what}");
        }
    }

    #[test]
    fn a_busy_core_of_this_machine_is_seen() {
        let on = Root::new(Path::new("/"));
        let all = dyno_model::catalog::host::parse_cores(
            on.read("/sys/devices/system/cpu/online").text().unwrap(),
        );
        let watch = CoreWatch::new(&on, &all.unwrap());
        let before = watch.sample(&on);
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        // Other tests run beside this one: at least this thread's time is there.
        let seen = watch.disturbance(before, watch.sample(&on), 0, u64::MAX);
        let others = seen.others_ns.expect("every Linux says how busy it is");
        assert!(others + seen.unsure_ns >= 100 * MS, "{seen:?}");
        // Of 200 ms only 150 were a process's: 50 on each core may be nobody's business.
        let seen = watch.disturbance(before, watch.sample(&on), 0, 150 * MS);
        assert!(seen.unsure_ns >= 50 * MS * watch.cores.len() as u64, "{seen:?}");
    }
}
