//! What doctor says of five kinds of machines, and that `tune` and `untune` keep their promises on
//! a machine in memory: former values first, back exactly, whatever comes in between.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dyno_model::catalog::host::parse;

use super::assign_on;
use super::doctor::Examined;
use super::finding::{Finding, Verdict};
use super::knobs::{Wish, examine};
use super::machine::twin::Twin;
use super::state::{StateFile, is_knob};
use super::trees;
use super::tune::{Done, Outcome, may_take_siblings, planned, tune, untune};
use dyno_base::error::Kind;

fn doctor(twin: &Twin, host: &str, wish: Wish) -> Examined {
    let cores = assign_on(twin, &parse("h", "hosts/h.toml", host).unwrap()).unwrap();
    Examined::new("h", &cores, examine(twin, &cores.benchmark, wish))
}

#[test]
fn doctor_knows_each_kind_of_machine() {
    let ordinary = Wish::default();
    for (name, twin, host) in [
        ("intel", trees::intel(), "benchmark_cores = \"3\""),
        ("amd", trees::amd(), ""),
        ("arm", trees::arm(), "benchmark_cores = \"31-32\""),
        ("guest", trees::guest(), ""),
        ("hybrid", trees::hybrid(), "benchmark_cores = \"2-4\""),
    ] {
        insta::assert_snapshot!(name, doctor(&twin, host, ordinary).text(name == "amd"));
    }
    let json = serde_json::to_value(doctor(&trees::guest(), "", ordinary)).unwrap();
    assert_eq!(
        (&json["findings"][0]["verdict"], &json["summary"]["bad"]),
        (&"not_here".into(), &4.into())
    );
}

/// Whatever a file holds, it is judged and never trusted.
#[test]
fn odd_texts_are_unknown() {
    let knobs = || examine(&trees::intel(), &[3].into(), Wish::default());
    let verdicts = |findings: &[Finding]| -> BTreeMap<&str, Verdict> {
        findings.iter().map(|f| (f.knob, f.verdict)).collect()
    };
    let before = verdicts(&knobs());
    let cpu = "/sys/devices/system/cpu";
    for (knob, path) in [
        ("SMT siblings", format!("{cpu}/cpu3/topology/thread_siblings_list")),
        ("turbo / boost", format!("{cpu}/intel_pstate/no_turbo")),
        ("C-states", format!("{cpu}/cpu3/cpuidle/state1/latency")),
        ("thermal throttling", format!("{cpu}/cpu3/thermal_throttle/core_throttle_count")),
        ("isolcpus", format!("{cpu}/isolated")),
        ("nohz_full", format!("{cpu}/nohz_full")),
        ("IRQ affinity", "/proc/interrupts".into()),
        ("workqueue mask", "/sys/devices/virtual/workqueue/cpumask".into()),
        ("timer migration", "/proc/sys/kernel/timer_migration".into()),
        ("NMI watchdog", "/proc/sys/kernel/nmi_watchdog".into()),
        ("huge pages", "/sys/kernel/mm/transparent_hugepage/enabled".into()),
        ("ASLR", "/proc/sys/kernel/randomize_va_space".into()),
        ("perf_event_paranoid", "/proc/sys/kernel/perf_event_paranoid".into()),
        ("NUMA", "/sys/devices/system/node/online".into()),
        ("steal", "/proc/stat".into()),
        ("load", "/proc/loadavg".into()),
    ] {
        let twin = trees::intel();
        twin.put(&path, "\u{1b}[31mnonsense");
        let found = examine(&twin, &[3].into(), Wish::default());
        let mut wanted = before.clone();
        wanted.insert(knob, Verdict::Unknown);
        assert_eq!(verdicts(&found), wanted, "{knob}");

        let mut twin = trees::intel();
        twin.unreadable.insert(path.clone());
        let found = examine(&twin, &[3].into(), Wish::default());
        assert_eq!(verdicts(&found), wanted, "{knob}");
        let now = &found.iter().find(|f| f.knob == knob).unwrap().now;
        assert!(now.starts_with(&format!("cannot be read: {path}: Permission denied")), "{now}");
    }
}

#[test]
fn what_the_kernel_keeps_is_left_to_it() {
    let irq = |twin: &Twin, core: u32| {
        let found = examine(twin, &[core].into(), Wish::default());
        let f = found.into_iter().find(|f| f.knob == "IRQ affinity").unwrap();
        (f.now, f.command.unwrap_or_default(), f.changes.len())
    };
    let mut twin = trees::intel();
    twin.managed_shown.insert("/proc/irq/121/smp_affinity_list".into());
    let (now, command, changes) = irq(&twin, 3);
    assert_eq!(now, "3 of 4 may; kept there by the kernel: 121 nvme0q4 (4000)");
    assert_eq!((command.contains("boot with"), changes), (false, 3));
    // Another core's queue is nobody's trouble.
    let (now, _, changes) = irq(&twin, 7);
    assert_eq!((now.as_str(), changes), ("2 of 4 may; now there: 120 eth0-rx-0 (7)", 3));
    for path in ["0", "120", "122"] {
        twin.managed_shown.insert(format!("/proc/irq/{path}/smp_affinity_list"));
    }
    twin.put("/proc/irq/default_smp_affinity", "f7");
    let (now, command, changes) = irq(&twin, 3);
    assert_eq!(now, "1 of 4 may; kept there by the kernel: 121 nvme0q4 (4000)");
    assert_eq!((command.as_str(), changes), ("boot with isolcpus=managed_irq,3", 0));
    assert_eq!(irq(&trees::amd(), 7), ("none of 2".into(), String::new(), 0));
}

/// A twin with a state file in a folder of its own.
struct Ground {
    twin: Twin,
    file: StateFile,
    _folder: tempfile::TempDir,
}

const WISH: Wish = Wish { perf: true, smt_off: true };

impl Ground {
    fn new(twin: Twin) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(folder.path().join("dyno/tuned.json"));
        Self { twin, file, _folder: folder }
    }

    fn tune(&self) -> Done {
        self.try_tune().unwrap()
    }

    fn try_tune(&self) -> dyno_base::error::Result<Done> {
        let found = examine(&self.twin, &[3].into(), WISH);
        tune(&self.twin, &self.file, planned(&self.twin, &found, WISH))
    }

    fn untune(&self) -> Done {
        untune(&self.twin, &self.file, false).unwrap()
    }

    fn files(&self) -> BTreeMap<String, String> {
        self.twin.files.borrow().clone()
    }

    fn state(&self) -> String {
        fs::read_to_string(self.file.path()).unwrap()
    }
}

fn outcomes(done: &Done) -> Vec<(&str, &Outcome)> {
    done.rows.iter().map(|row| (row.path.as_str(), &row.outcome)).collect()
}

#[test]
fn tune_sets_and_untune_restores_exactly() {
    let mut ground = Ground::new(trees::intel());
    ground.twin.managed.insert("/proc/irq/121/smp_affinity_list".into());
    let before = ground.files();
    let tuned = ground.tune();
    insta::assert_snapshot!("tuned", tuned.text());
    assert_eq!(tuned.failed(), 0);
    assert!(tuned.rows.iter().all(|row| is_knob(&row.path)));
    assert_ne!(ground.files(), before);
    insta::assert_snapshot!("state", ground.state());
    // All that could be set is as wanted now; what is left is not for dyno to set.
    let left = planned(
        &ground.twin,
        &examine(&ground.twin, &[3].into(), WISH),
        Wish { smt_off: false, ..WISH },
    );
    let left: Vec<_> = left.iter().map(|row| row.path.as_str()).collect();
    assert_eq!(left, ["/proc/irq/121/smp_affinity_list"]);

    let dry = untune(&ground.twin, &ground.file, true).unwrap();
    assert_eq!(dry.rows.len(), tuned.rows.len());
    let restored = ground.untune();
    assert_eq!(restored.rows[0].path, "/sys/devices/system/cpu/cpu7/online", "cores come first");
    assert_eq!(ground.files(), before);
    assert!(!ground.file.path().exists());
    let again = ground.untune();
    assert!(again.rows.is_empty() && again.notes[0].contains("nothing to set back"), "{again:?}");
}

/// A kill while the state file is written leaves half of the new one beside it.
#[test]
fn a_half_written_state_file_is_in_nobodys_way() {
    let ground = Ground::new(trees::intel());
    let before = ground.files();
    let half = ground.file.path().with_extension("json.new");
    fs::create_dir_all(half.parent().unwrap()).unwrap();
    fs::write(&half, "{\"version\": 1, \"boo").unwrap();
    assert!(ground.untune().rows.is_empty());
    ground.tune();
    assert!(!half.exists());
    ground.untune();
    assert_eq!(ground.files(), before);
}

#[test]
fn the_first_former_values_are_kept() {
    let ground = Ground::new(trees::intel());
    let before = ground.files();
    ground.tune();
    // Someone sets one back, and another to something else: the second tune must not note these.
    ground.twin.put("/proc/sys/kernel/nmi_watchdog", "1");
    ground.twin.put("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "userspace");
    ground.tune();
    ground.twin.put("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "conservative");
    let restored = ground.untune();
    assert_eq!(ground.files(), before);
    let over: Vec<_> = restored
        .rows
        .iter()
        .filter(|row| matches!(row.outcome, Outcome::DoneOver(_)))
        .map(|row| (row.knob.as_str(), row.outcome.clone()))
        .collect();
    assert_eq!(over, [("governor", Outcome::DoneOver("conservative".into()))]);
}

#[test]
fn a_kill_anywhere_in_tune_can_be_undone() {
    let writes = Ground::new(trees::intel()).tune().rows.len();
    assert!(writes > 8, "{writes}");
    for after in 0..writes {
        let ground = Ground::new(trees::intel());
        let before = ground.files();
        ground.twin.dies_after.set(Some(after));
        assert!(catch_unwind(AssertUnwindSafe(|| ground.tune())).is_err(), "{after}");
        ground.twin.dies_after.set(None);
        let undone = ground.untune();
        let was_set = undone.rows.iter().filter(|row| row.outcome == Outcome::Done).count();
        assert_eq!((was_set, undone.rows.len()), (after, writes));
        assert_eq!(ground.files(), before, "{after}");
    }
    // The same in untune: what was not set back yet is, the second time.
    for after in 0..writes {
        let ground = Ground::new(trees::intel());
        let before = ground.files();
        ground.tune();
        ground.twin.dies_after.set(Some(after));
        assert!(catch_unwind(AssertUnwindSafe(|| ground.untune())).is_err(), "{after}");
        ground.twin.dies_after.set(None);
        ground.untune();
        assert_eq!(ground.files(), before, "{after}");
    }
}

#[test]
fn after_a_reboot_there_is_nothing_to_set_back() {
    let ground = Ground::new(trees::intel());
    ground.tune();
    // As the kernel starts: other values, another boot.
    ground.twin.put("/proc/sys/kernel/random/boot_id", "f58deb1a-0000-4000-8000-504aea4888af");
    let before = ground.files();
    let undone = ground.untune();
    assert_eq!((undone.rows.len(), ground.files()), (0, before));
    assert!(undone.notes[0].contains("started anew"), "{undone:?}");
    assert!(!ground.file.path().exists());
}

#[test]
fn what_fails_is_told_and_the_rest_goes_on() {
    let mut ground = Ground::new(trees::intel());
    let path = "/proc/sys/kernel/nmi_watchdog";
    ground.twin.read_only.insert(path.into());
    let before = ground.files();
    let tuned = ground.tune();
    let failed: Vec<_> =
        outcomes(&tuned).into_iter().filter(|(_, o)| **o != Outcome::Done).collect();
    let why = Outcome::Failed("Read-only file system (os error 30)".into());
    assert_eq!(failed, [(path, &why)]);
    assert_eq!(tuned.failed(), 1);
    // It never changed, so there is nothing to fail on the way back.
    assert_eq!(ground.untune().failed(), 0);
    assert_eq!(ground.files(), before);

    // What fails on the way back stays in the state file, and only that.
    ground.twin.read_only.clear();
    ground.tune();
    ground.twin.read_only.insert(path.into());
    assert_eq!(ground.untune().failed(), 1);
    assert_eq!(ground.state().matches("\"path\"").count(), 1);
    ground.twin.read_only.clear();
    let last = ground.untune();
    assert_eq!(outcomes(&last), [(path, &Outcome::Done)]);
    assert_eq!(ground.files(), before);
}

#[test]
fn siblings_are_taken_only_where_they_can_be_given_back() {
    let check = |twin: &Twin, host: &str| {
        let host = parse("h", "hosts/h.toml", host).unwrap();
        let found = examine(twin, &[3].into(), WISH);
        may_take_siblings(twin, &host, &found, WISH).map_err(|error| error.message)
    };
    assert_eq!(check(&trees::intel(), ""), Ok(()));
    assert_eq!(check(&trees::intel(), "housekeeping_cores = \"0-2\""), Ok(()));
    let taken = check(&trees::intel(), "housekeeping_cores = \"0-2,7\"").unwrap_err();
    assert!(taken.contains("would take housekeeping cores 7 offline"), "{taken}");
    let v1 = trees::intel();
    v1.put("/sys/fs/cgroup/cpuset/cpuset.cpus", "0-7");
    assert!(check(&v1, "").unwrap_err().contains("cgroup v1 would lose the siblings for good"));
    // Where there are none to take, there is nothing to refuse.
    v1.put("/sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "3");
    assert_eq!(check(&v1, ""), Ok(()));
}

#[test]
fn without_privilege_nothing_is_touched() {
    let mut ground = Ground::new(trees::intel());
    ground.tune();
    ground.twin.unprivileged = true;
    let (before, state) = (ground.files(), ground.state());
    for refused in [ground.try_tune(), untune(&ground.twin, &ground.file, false)] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind, Kind::Host);
        assert!(error.message.ends_with("needs root; nothing was changed"), "{error}");
    }
    assert_eq!((ground.files(), ground.state()), (before, state));
}

#[test]
fn a_damaged_state_file_changes_nothing() {
    let ground = Ground::new(trees::intel());
    ground.tune();
    let good = ground.state();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let before = ground.files();
    for (text, part) in [
        (String::new(), "EOF while parsing"),
        (good[..good.len() / 2].to_string(), "EOF while parsing"),
        (with("\"version\": 1", "\"version\": 2"), "its version is 2"),
        (with("\"former\"", "\"fromer\""), "unknown field `fromer`"),
        (
            with("/proc/sys/kernel/nmi_watchdog", "/proc/sys/kernel/core_pattern"),
            "no file that dyno sets",
        ),
        (with("/proc/irq/120/", "/proc/irq/../"), "no file that dyno sets"),
        (with("\"former\": \"always\"", "\"former\": \"always\\nx\""), "is not one line"),
        (" ".repeat(2 << 20), "2097152 bytes long"),
    ] {
        fs::write(ground.file.path(), &text).unwrap();
        for refused in [ground.try_tune(), untune(&ground.twin, &ground.file, false)] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind, Kind::Host);
            assert!(error.message.contains(part), "{part}: {error}");
            assert!(error.message.contains("tuned.json is damaged"), "{error}");
            assert!(error.hint.is_some_and(|hint| hint.contains("a reboot sets every knob")));
        }
        assert_eq!(ground.files(), before, "{part}");
        assert_eq!(fs::read_to_string(ground.file.path()).unwrap(), text, "{part}");
    }
}
