//! What the kernel's performance events count of each process and of all its children.
//!
//! The events are opened once, on the probe itself, before it confines itself, and are switched
//! off: the probe is never counted. Each child inherits them (`inherit`) and its `exec` switches
//! them on (`enable_on_exec`), so that what is counted begins with the program and ends with the
//! last process it left behind. A process's counts are those that were added since the one before.
//!
//! So the seccomp filter need not allow `perf_event_open` to anybody, no capability is needed, and
//! the descriptors stay with the probe. Each event is opened by itself and not as one group: a
//! group is on the processor whole or not at all, so that one event too many for a small PMU
//! would silence all of them. `perf_event_open(2)` has the words used here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::FromRawFd;

use dyno_probe::Count;
use perf_event_open_sys::bindings as kernel;
use perf_event_open_sys::perf_event_open;

/// Which part of a process an event can tell of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CountedPart {
    /// Both: `name` has the kernel's share, `name:u` has not; they are two metrics.
    Either,
    /// It happens in the kernel: without the kernel's share the count is always 0.
    Kernel,
    /// The same with and without: asked for without, which needs no right.
    Whole,
}

struct Event {
    name: &'static str,
    kind: u32,
    config: u64,
    part: CountedPart,
}

const fn hardware(name: &'static str, id: kernel::perf_hw_id) -> Event {
    Event { name, kind: kernel::PERF_TYPE_HARDWARE, config: id as u64, part: CountedPart::Either }
}

const fn software(name: &'static str, id: kernel::perf_sw_ids, part: CountedPart) -> Event {
    Event { name, kind: kernel::PERF_TYPE_SOFTWARE, config: id as u64, part }
}

/// The events, under the names of `perf list`. The first come first where the PMU has room for a
/// few only.
const EVENTS: &[Event] = &[
    hardware("instructions", kernel::PERF_COUNT_HW_INSTRUCTIONS),
    hardware("cycles", kernel::PERF_COUNT_HW_CPU_CYCLES),
    hardware("branches", kernel::PERF_COUNT_HW_BRANCH_INSTRUCTIONS),
    hardware("branch-misses", kernel::PERF_COUNT_HW_BRANCH_MISSES),
    hardware("cache-misses", kernel::PERF_COUNT_HW_CACHE_MISSES),
    software("task-clock", kernel::PERF_COUNT_SW_TASK_CLOCK, CountedPart::Whole),
    software("page-faults", kernel::PERF_COUNT_SW_PAGE_FAULTS, CountedPart::Either),
    software("context-switches", kernel::PERF_COUNT_SW_CONTEXT_SWITCHES, CountedPart::Kernel),
    software("cpu-migrations", kernel::PERF_COUNT_SW_CPU_MIGRATIONS, CountedPart::Kernel),
];

/// The events that are open, and why others are not.
#[derive(Default)]
pub struct Counters {
    open: Vec<Counter>,
    /// An event that no child inherits. Where a child has all of its parent's events the kernel
    /// takes the two sets for interchangeable, and may swap them when one process follows the
    /// other on a core: the probe would be left with events that a former child's end took with
    /// it. One event more on the probe's side, and they are not.
    _anchor: Option<File>,
    pub missing: BTreeMap<String, String>,
}

struct Counter {
    name: String,
    file: File,
    last_reading: Reading,
}

/// What the kernel writes: the count, and for how long it was asked to count and did, in ns.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
struct Reading {
    value: u64,
    enabled_ns: u64,
    running_ns: u64,
}

impl Counters {
    /// Opens the events of the metrics in `wanted` that the kernel gives; names that are no event's
    /// are left alone. Of `name` and `name:u` it opens one: `name` where both are wanted and the
    /// kernel lets its own share be counted.
    pub fn open(wanted: &BTreeSet<String>) -> Self {
        let mut counters = Self::default();
        for event in EVENTS {
            let user = format!("{}:u", event.name);
            let user_wanted = event.part == CountedPart::Either && wanted.contains(&user);
            if wanted.contains(event.name) {
                let opened = event.open(event.part == CountedPart::Whole, true).map_err(|error| {
                    // Who may not count the kernel's share is told no more than that, even where
                    // there is no such counter at all.
                    let with_less =
                        (event.part == CountedPart::Either).then(|| event.open(true, true).err());
                    with_less.flatten().unwrap_or(error)
                });
                if counters.add_opened(event.name, opened) {
                    continue;
                }
            }
            if user_wanted {
                counters.add_opened(&user, event.open(true, true));
            }
        }
        counters.open_anchor();
        counters
    }

    /// Opens the anchor where anything is to be counted. Without it nothing can be.
    fn open_anchor(&mut self) {
        let anchor = software("", kernel::PERF_COUNT_SW_DUMMY, CountedPart::Whole);
        match anchor.open(true, false) {
            _ if self.open.is_empty() => {}
            Ok(anchor) => self._anchor = Some(anchor),
            Err(error) => {
                let lost_events = self.open.drain(..).map(|counter| (counter.name, why(&error)));
                self.missing.extend(lost_events);
            }
        }
    }

    fn add_opened(&mut self, name: &str, opened: io::Result<File>) -> bool {
        let name = name.to_string();
        match opened {
            Ok(file) => {
                self.open.push(Counter { name, file, last_reading: Reading::default() });
                true
            }
            Err(error) => {
                self.missing.insert(name, why(&error));
                false
            }
        }
    }

    pub fn names(&self) -> BTreeSet<String> {
        self.open.iter().map(|counter| counter.name.clone()).collect()
    }

    /// What was counted since this was last called, of processes that used `used_ns` of processor
    /// time. An event that was off for most of that is not there: the PMU never had room for it, or
    /// the kernel took the events away, as it does at the `exec` of a program that its user may
    /// run but not read. Whoever wants to count less can do that.
    pub fn counted(&mut self, used_ns: u64) -> BTreeMap<String, Count> {
        let mut counts = BTreeMap::new();
        for counter in &mut self.open {
            let Ok(now) = read(&counter.file) else { continue };
            let count = now.since(counter.last_reading, used_ns);
            counter.last_reading = now;
            counts.extend(count.map(|count| (counter.name.clone(), count)));
        }
        counts
    }
}

impl Reading {
    /// What may be used before the `exec` that switches the events on, in ns.
    const BEFORE_NS: u64 = 5_000_000;

    fn since(self, last: Self, used_ns: u64) -> Option<Count> {
        let value = self.value.saturating_sub(last.value);
        let enabled_ns = self.enabled_ns.saturating_sub(last.enabled_ns);
        // The two clocks agree within a per cent, but that of the events does not see a process or
        // thread begin and end: it was seen to miss a third where a program does nothing else.
        if enabled_ns < used_ns.saturating_sub(Self::BEFORE_NS) / 2 {
            return None;
        }
        match self.running_ns.saturating_sub(last.running_ns) {
            0 => None,
            running_ns if running_ns >= enabled_ns => Some(Count { value, scaled: false }),
            running_ns => {
                let value = u128::from(value) * u128::from(enabled_ns) / u128::from(running_ns);
                Some(Count { value: u64::try_from(value).unwrap_or(u64::MAX), scaled: true })
            }
        }
    }
}

impl Event {
    fn open(&self, user_only: bool, inherited: bool) -> io::Result<File> {
        let mut attr = kernel::perf_event_attr {
            type_: self.kind,
            size: size_of::<kernel::perf_event_attr>() as u32,
            config: self.config,
            read_format: u64::from(
                kernel::PERF_FORMAT_TOTAL_TIME_ENABLED | kernel::PERF_FORMAT_TOTAL_TIME_RUNNING,
            ),
            ..Default::default()
        };
        attr.set_disabled(1);
        attr.set_inherit(u64::from(inherited));
        attr.set_enable_on_exec(1);
        attr.set_exclude_kernel(u64::from(user_only));
        attr.set_exclude_hv(u64::from(user_only));
        // SAFETY: the struct is live and says its own size; a descriptor that comes back is new
        // and ours.
        unsafe {
            let flags = kernel::PERF_FLAG_FD_CLOEXEC.into();
            let fd = perf_event_open(&mut attr, 0, -1, -1, flags);
            if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(File::from_raw_fd(fd)) }
        }
    }
}

fn why(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP) => {
            "this machine has no such counter, as many virtual machines have none".into()
        }
        Some(libc::EACCES | libc::EPERM) => {
            let level = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
            let level = level.map_or_else(|_| "unknown".into(), |text| text.trim().to_string());
            format!("the kernel does not allow it (perf_event_paranoid is {level})")
        }
        _ => error.to_string(),
    }
}

fn read(mut file: &File) -> io::Result<Reading> {
    let mut bytes = [0; 24];
    file.read_exact(&mut bytes)?;
    let word = |i: usize| u64::from_ne_bytes(std::array::from_fn(|byte| bytes[8 * i + byte]));
    Ok(Reading { value: word(0), enabled_ns: word(1), running_ns: word(2) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tests::{run, spec};

    fn wanted(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn every() -> BTreeSet<String> {
        EVENTS.iter().flat_map(|e| [e.name.to_string(), format!("{}:u", e.name)]).collect()
    }

    /// Counts one run of a shell script; `name` stands for `name:u` too.
    fn count(counters: &mut Counters, script: &str, name: &str) -> (u64, dyno_probe::Exit) {
        let exit = run(&spec(&["sh", "-c", script]), &mut || (), &mut |_| ());
        assert_eq!(exit.end, dyno_probe::End::Code(0), "{exit:?}");
        let counts = counters.counted(exit.user_ns + exit.system_ns);
        let count = counts.get(name).or_else(|| counts.get(&format!("{name}:u")));
        (count.unwrap_or_else(|| panic!("{name}: {counts:?}")).value, exit)
    }

    #[test]
    fn children_are_counted_whoever_waits_for_them() {
        let mut counters = Counters::open(&wanted(&["page-faults", "page-faults:u"]));
        let mut faults = |script| count(&mut counters, script, "page-faults").0;
        let faults_alone = faults("true");
        assert!(faults_alone > 20, "{faults_alone}");
        // A dynamic program has some hundred faults of its own. The last waits until the process
        // that nobody waits for has ended: its end of the pipe is closed.
        let cases = [
            "/bin/true; /bin/true; /bin/true; /bin/true; /bin/true",
            "for i in 1 2 3 4 5; do /bin/true & done; wait",
            "(((/bin/true; /bin/true; /bin/true; /bin/true; /bin/true) & ) & ) | cat",
        ];
        for script in cases {
            let faults_with_children = faults(script);
            assert!(
                faults_with_children > faults_alone + 5 * 20,
                "{script}: {faults_with_children}, and {faults_alone} without children"
            );
        }
        for run in 0..100 {
            let faults_again = faults("true");
            assert!(
                faults_again > 20 && faults_again < faults_alone + 20,
                "run {run} by itself: {faults_again}, {faults_alone}"
            );
        }
    }

    #[test]
    fn the_clock_of_a_process_agrees_with_what_the_kernel_says_at_its_end() {
        let mut counters = Counters::open(&wanted(&["task-clock"]));
        let script = "sh -c 'i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done'";
        let (clock_ns, exit) = count(&mut counters, script, "task-clock");
        let used_ns = exit.user_ns + exit.system_ns;
        // From exec on, where the other begins with the fork.
        assert!(clock_ns > used_ns / 2 && clock_ns < used_ns + 1_000_000, "{clock_ns} {used_ns}");
    }

    #[test]
    fn the_probe_itself_is_not_counted() {
        let mut counters = Counters::open(&wanted(&["task-clock", "page-faults", "page-faults:u"]));
        std::hint::black_box(vec![1_u8; 8 << 20]);
        assert_eq!(counters.counted(0), BTreeMap::new());
    }

    /// What is counted of everything that can be asked for, by a thread with or without its
    /// privileges.
    fn given(privileged: bool) -> (BTreeSet<String>, BTreeMap<String, String>) {
        let open = move || {
            if !privileged {
                let header = [0x2008_0522_u32, 0];
                // SAFETY: version 3 of the header, this thread, and three empty sets of two words;
                // giving up is always allowed. Capabilities are a thread's own.
                let outcome = unsafe {
                    libc::syscall(libc::SYS_capset, header.as_ptr(), [0_u32; 6].as_ptr())
                };
                assert_eq!(outcome, 0);
            }
            let counters = Counters::open(&every());
            (counters.names(), counters.missing)
        };
        std::thread::spawn(open).join().unwrap()
    }

    #[test]
    fn what_the_kernel_gives_to_whom() {
        let level = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap();
        let level: i32 = level.trim().parse().unwrap();
        // SAFETY: cannot fail.
        let root = unsafe { libc::geteuid() == 0 };
        for privileged in [false, true] {
            let (open, missing) = given(privileged);
            // Whatever is not there is named, and nothing is there in two ways.
            for event in EVENTS {
                let user = format!("{}:u", event.name);
                assert!(open.contains(event.name) != missing.contains_key(event.name), "{user}");
                assert!(!(open.contains(event.name) && open.contains(&user)), "{user}");
                let no_counter = missing.get(event.name).is_some_and(|why| why.contains("no such"));
                assert!(event.kind == kernel::PERF_TYPE_HARDWARE || !no_counter, "{missing:?}");
            }
            let software: BTreeSet<&str> = open.iter().map(String::as_str).collect();
            let hardware = |name: &&str| {
                EVENTS[..5].iter().any(|event| name.trim_end_matches(":u") == event.name)
            };
            let software: Vec<&str> = software.into_iter().filter(|n| !hardware(n)).collect();
            let expected: &[&str] = match level {
                // Debian's kernels give nothing above 2; others know nothing above 2.
                3.. if software.is_empty() && !(privileged && root) => &[],
                2.. if !privileged || !root => &["page-faults:u", "task-clock"],
                _ => &["context-switches", "cpu-migrations", "page-faults", "task-clock"],
            };
            assert_eq!(software, expected, "level {level}, privileged {privileged}: {missing:?}");
            for name in ["context-switches", "cpu-migrations"] {
                let reason = format!("perf_event_paranoid is {level}");
                assert!(open.contains(name) || missing[name].contains(&reason), "{missing:?}");
            }
        }
    }

    #[test]
    fn only_what_is_wanted_is_opened() {
        let counters = Counters::open(&wanted(&["wall", "task-clock", "instructions:cachegrind"]));
        assert_eq!(counters.names(), wanted(&["task-clock"]));
        assert_eq!(counters.missing, BTreeMap::new());
    }

    #[test]
    fn what_was_off_for_most_of_the_time_is_not_there() {
        const MS: u64 = 1_000_000;
        let reading_after = |ns| Reading { value: 7, enabled_ns: ns, running_ns: ns };
        for (on_ms, used_ms, there) in
            [(100, 100, true), (100, 205, true), (100, 206, false), (1, 5, true), (0, 0, false)]
        {
            let count = reading_after(on_ms * MS).since(Reading::default(), used_ms * MS);
            assert_eq!(count.is_some(), there, "{on_ms} of {used_ms}");
        }
    }

    #[test]
    fn a_shared_counter_is_scaled_and_marked() {
        let reading = |value, enabled_ns, running_ns| Reading { value, enabled_ns, running_ns };
        let last_reading = reading(1_000, 500, 400);
        let cases = [
            (reading(1_000, 500, 400), None),
            (reading(1_000, 900, 400), None),
            (reading(1_300, 900, 800), Some(Count { value: 300, scaled: false })),
            (reading(1_300, 1_100, 600), Some(Count { value: 900, scaled: true })),
            (reading(u64::MAX, u64::MAX, 401), Some(Count { value: u64::MAX, scaled: true })),
        ];
        for (now, expected) in cases {
            assert_eq!(now.since(last_reading, 400), expected, "{now:?}");
        }
    }
}
