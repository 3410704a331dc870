//! What doctor says of five kinds of machines, and that `tune` and `untune` keep their promises on
//! a machine in memory: former values first, back exactly, whatever comes in between.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dyno_model::catalog::host::{format_cores, parse};

use super::assign_on;
use super::doctor::DoctorReport;
use super::finding::{Finding, Verdict};
use super::knobs::{TuneOptions, examine};
use super::machine::fake::FakeMachine;
use super::state::{StateFile, is_knob};
use super::trees;
use super::tune::{Outcome, TuneReport, check_smt_off, plan_changes, tune, untune};
use dyno_base::error::Kind;

fn doctor(fake: &FakeMachine, host: &str, wish: TuneOptions) -> DoctorReport {
    let cores = assign_on(fake, &parse("h", "hosts/h.toml", host).unwrap()).unwrap();
    DoctorReport::new("h", &cores, examine(fake, &cores.benchmark, wish))
}

#[test]
fn doctor_knows_each_kind_of_machine() {
    let ordinary = TuneOptions::default();
    for (name, fake, host) in [
        ("intel", trees::intel(), "benchmark_cores = \"3\""),
        ("amd", trees::amd(), ""),
        ("arm", trees::arm(), "benchmark_cores = \"31-32\""),
        ("guest", trees::guest(), ""),
        ("hybrid", trees::hybrid(), "benchmark_cores = \"2-4\""),
    ] {
        insta::assert_snapshot!(name, doctor(&fake, host, ordinary).text(name == "amd"));
    }
    let json = serde_json::to_value(doctor(&trees::guest(), "", ordinary)).unwrap();
    assert_eq!(
        (&json["findings"][0]["verdict"], &json["summary"]["bad"]),
        (&"not_here".into(), &4.into())
    );
}

/// `auto` takes the last core of the fastest kind that dyno may use; what it may not use is not
/// taken for it.
#[test]
fn cores_are_of_the_fast_kind_and_allowed() {
    let intel = ["/sys/devices/system/cpu/online 0-19", "/sys/devices/cpu_core/cpus 0-15"];
    let small_first = "
/sys/devices/system/cpu/online 0-3
/sys/devices/system/cpu/cpu0/cpu_capacity 446
/sys/devices/system/cpu/cpu1/cpu_capacity 446
/sys/devices/system/cpu/cpu2/cpu_capacity 1024
/sys/devices/system/cpu/cpu3/cpu_capacity 1024
";
    let large_first = small_first.replace("446", "x").replace("1024", "446").replace('x', "1024");
    let allowed =
        |cores: &str| format!("/proc/self/status Name: dyno\\nCpus_allowed_list: {cores}");
    let slow = |core: u32, kind: &str| {
        format!("core {core} is of a slow kind ({kind}): the processor has faster ones")
    };
    let auto = "";
    for (parts, host, expected) in [
        (intel.to_vec(), auto, Ok(("15", "0-14,16-19", vec![]))),
        (vec![small_first], auto, Ok(("3", "0-2", vec![]))),
        (vec![&large_first], auto, Ok(("1", "0,2-3", vec![]))),
        (vec![small_first, &allowed("0-2")], auto, Ok(("2", "0-1", vec![]))),
        (vec![small_first, &allowed("0-1")], auto, Ok(("1", "0", vec![slow(1, "capacity 446")]))),
        (
            [&intel[..], &[&allowed("18,19")]].concat(),
            auto,
            Ok(("19", "18", vec![slow(19, "efficiency")])),
        ),
        (
            intel.to_vec(),
            "benchmark_cores = \"17\"",
            Ok(("17", "0-16,18-19", vec![slow(17, "efficiency")])),
        ),
        (
            vec![small_first, &allowed("0-1")],
            "benchmark_cores = \"1-3\"",
            Err(
                "the host h names benchmark cores 2-3 that dyno may not use (its cpuset allows: 0-1)",
            ),
        ),
        (
            vec![small_first, &allowed("0-1")],
            "benchmark_cores = \"1,4\"",
            Err("the host h names benchmark cores 4 that are not online (online: 0-3)"),
        ),
    ] {
        let host = parse("h", "hosts/h.toml", host).unwrap();
        let assigned = assign_on(&FakeMachine::new(&parts), &host);
        let assigned = assigned.as_ref().map_err(|error| error.message.as_str()).map(|assigned| {
            let cores = [&assigned.benchmark, &assigned.housekeeping].map(format_cores);
            (cores, assigned.notices.clone())
        });
        let expected = expected.map(|(benchmark, housekeeping, notices)| {
            ([benchmark.to_string(), housekeeping.to_string()], notices)
        });
        assert_eq!(assigned, expected, "{parts:?}");
    }
    let kind = assign_on(&FakeMachine::new(&intel), &parse("h", "hosts/h.toml", "").unwrap());
    assert_eq!(kind.unwrap().core_kind.as_deref(), Some("performance"));
    // One core is always of one kind, and may be of the slow one.
    let doctor = doctor(&trees::hybrid(), "benchmark_cores = \"6\"", TuneOptions::default());
    let hybrid = doctor.findings.iter().find(|finding| finding.knob == "hybrid cores").unwrap();
    assert_eq!((hybrid.verdict, hybrid.now.as_str()), (Verdict::Bad, "efficiency"));
}

/// Whatever a file holds, it is judged and never trusted.
#[test]
fn odd_texts_are_unknown() {
    let knobs = || examine(&trees::intel(), &[3].into(), TuneOptions::default());
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
        let fake = trees::intel();
        fake.put(&path, "\u{1b}[31mnonsense");
        let found = examine(&fake, &[3].into(), TuneOptions::default());
        let mut wanted = before.clone();
        wanted.insert(knob, Verdict::Unknown);
        assert_eq!(verdicts(&found), wanted, "{knob}");

        let mut fake = trees::intel();
        fake.unreadable.insert(path.clone());
        let found = examine(&fake, &[3].into(), TuneOptions::default());
        assert_eq!(verdicts(&found), wanted, "{knob}");
        let now = &found.iter().find(|f| f.knob == knob).unwrap().now;
        assert!(now.starts_with(&format!("cannot be read: {path}: Permission denied")), "{now}");
    }
}

#[test]
fn what_the_kernel_keeps_is_left_to_it() {
    let irq = |fake: &FakeMachine, core: u32| {
        let found = examine(fake, &[core].into(), TuneOptions::default());
        let f = found.into_iter().find(|f| f.knob == "IRQ affinity").unwrap();
        (f.now, f.command.unwrap_or_default(), f.changes.len())
    };
    let mut fake = trees::intel();
    fake.managed_shown.insert("/proc/irq/121/smp_affinity_list".into());
    let (now, command, changes) = irq(&fake, 3);
    assert_eq!(now, "3 of 4 may; kept there by the kernel: 121 nvme0q4 (4000)");
    assert_eq!((command.contains("boot with"), changes), (false, 3));
    // Another core's queue is nobody's trouble.
    let (now, _, changes) = irq(&fake, 7);
    assert_eq!((now.as_str(), changes), ("2 of 4 may; now there: 120 eth0-rx-0 (7)", 3));
    for path in ["0", "120", "122"] {
        fake.managed_shown.insert(format!("/proc/irq/{path}/smp_affinity_list"));
    }
    fake.put("/proc/irq/default_smp_affinity", "f7");
    let (now, command, changes) = irq(&fake, 3);
    assert_eq!(now, "1 of 4 may; kept there by the kernel: 121 nvme0q4 (4000)");
    assert_eq!((command.as_str(), changes), ("boot with isolcpus=managed_irq,3", 0));
    assert_eq!(irq(&trees::amd(), 7), ("none of 2".into(), String::new(), 0));
}

/// A twin with a state file in a folder of its own.
struct TuneTest {
    fake: FakeMachine,
    file: StateFile,
    _folder: tempfile::TempDir,
}

const OPTIONS: TuneOptions = TuneOptions { perf: true, smt_off: true };

impl TuneTest {
    fn new(fake: FakeMachine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(folder.path().join("dyno/tuned.json"));
        Self { fake, file, _folder: folder }
    }

    fn tune(&self) -> TuneReport {
        self.try_tune().unwrap()
    }

    fn try_tune(&self) -> dyno_base::error::Result<TuneReport> {
        let found = examine(&self.fake, &[3].into(), OPTIONS);
        tune(&self.fake, &self.file, plan_changes(&self.fake, &found, OPTIONS))
    }

    fn untune(&self) -> TuneReport {
        untune(&self.fake, &self.file, false).unwrap()
    }

    fn files(&self) -> BTreeMap<String, String> {
        self.fake.files.borrow().clone()
    }

    fn state(&self) -> String {
        fs::read_to_string(self.file.path()).unwrap()
    }
}

fn outcomes(done: &TuneReport) -> Vec<(&str, &Outcome)> {
    done.rows.iter().map(|row| (row.path.as_str(), &row.outcome)).collect()
}

#[test]
fn tune_sets_and_untune_restores_exactly() {
    let mut test = TuneTest::new(trees::intel());
    test.fake.managed.insert("/proc/irq/121/smp_affinity_list".into());
    let before = test.files();
    let tuned = test.tune();
    insta::assert_snapshot!("tuned", tuned.text());
    assert_eq!(tuned.failed(), 0);
    assert!(tuned.rows.iter().all(|row| is_knob(&row.path)));
    assert_ne!(test.files(), before);
    insta::assert_snapshot!("state", test.state());
    // All that could be set is as wanted now; what is left is not for dyno to set.
    let left = plan_changes(
        &test.fake,
        &examine(&test.fake, &[3].into(), OPTIONS),
        TuneOptions { smt_off: false, ..OPTIONS },
    );
    let left: Vec<_> = left.iter().map(|row| row.path.as_str()).collect();
    assert_eq!(left, ["/proc/irq/121/smp_affinity_list"]);

    let dry = untune(&test.fake, &test.file, true).unwrap();
    assert_eq!(dry.rows.len(), tuned.rows.len());
    let restored = test.untune();
    assert_eq!(restored.rows[0].path, "/sys/devices/system/cpu/cpu7/online", "cores come first");
    assert_eq!(test.files(), before);
    assert!(!test.file.path().exists());
    let again = test.untune();
    assert!(again.rows.is_empty() && again.notes[0].contains("nothing to set back"), "{again:?}");
}

/// A kill while the state file is written leaves half of the new one beside it.
#[test]
fn a_half_written_state_file_is_in_nobodys_way() {
    let test = TuneTest::new(trees::intel());
    let before = test.files();
    let half = test.file.path().with_extension("json.new");
    fs::create_dir_all(half.parent().unwrap()).unwrap();
    fs::write(&half, "{\"version\": 1, \"boo").unwrap();
    assert!(test.untune().rows.is_empty());
    test.tune();
    assert!(!half.exists());
    test.untune();
    assert_eq!(test.files(), before);
}

#[test]
fn the_first_former_values_are_kept() {
    let test = TuneTest::new(trees::intel());
    let before = test.files();
    test.tune();
    // Someone sets one back, and another to something else: the second tune must not note these.
    test.fake.put("/proc/sys/kernel/nmi_watchdog", "1");
    test.fake.put("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "userspace");
    test.tune();
    test.fake.put("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "conservative");
    let restored = test.untune();
    assert_eq!(test.files(), before);
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
    let writes = TuneTest::new(trees::intel()).tune().rows.len();
    assert!(writes > 8, "{writes}");
    for after in 0..writes {
        let test = TuneTest::new(trees::intel());
        let before = test.files();
        test.fake.dies_after.set(Some(after));
        assert!(catch_unwind(AssertUnwindSafe(|| test.tune())).is_err(), "{after}");
        test.fake.dies_after.set(None);
        let undone = test.untune();
        let was_set = undone.rows.iter().filter(|row| row.outcome == Outcome::Done).count();
        assert_eq!((was_set, undone.rows.len()), (after, writes));
        assert_eq!(test.files(), before, "{after}");
    }
    // The same in untune: what was not set back yet is, the second time.
    for after in 0..writes {
        let test = TuneTest::new(trees::intel());
        let before = test.files();
        test.tune();
        test.fake.dies_after.set(Some(after));
        assert!(catch_unwind(AssertUnwindSafe(|| test.untune())).is_err(), "{after}");
        test.fake.dies_after.set(None);
        test.untune();
        assert_eq!(test.files(), before, "{after}");
    }
}

#[test]
fn after_a_reboot_there_is_nothing_to_set_back() {
    let test = TuneTest::new(trees::intel());
    test.tune();
    // As the kernel starts: other values, another boot.
    test.fake.put("/proc/sys/kernel/random/boot_id", "f58deb1a-0000-4000-8000-504aea4888af");
    let before = test.files();
    let undone = test.untune();
    assert_eq!((undone.rows.len(), test.files()), (0, before));
    assert!(undone.notes[0].contains("started anew"), "{undone:?}");
    assert!(!test.file.path().exists());
}

#[test]
fn what_fails_is_told_and_the_rest_goes_on() {
    let mut test = TuneTest::new(trees::intel());
    let path = "/proc/sys/kernel/nmi_watchdog";
    test.fake.read_only.insert(path.into());
    let before = test.files();
    let tuned = test.tune();
    let failed: Vec<_> =
        outcomes(&tuned).into_iter().filter(|(_, o)| **o != Outcome::Done).collect();
    let why = Outcome::Failed("Read-only file system (os error 30)".into());
    assert_eq!(failed, [(path, &why)]);
    assert_eq!(tuned.failed(), 1);
    // It never changed, so there is nothing to fail on the way back.
    assert_eq!(test.untune().failed(), 0);
    assert_eq!(test.files(), before);

    // What fails on the way back stays in the state file, and only that.
    test.fake.read_only.clear();
    test.tune();
    test.fake.read_only.insert(path.into());
    assert_eq!(test.untune().failed(), 1);
    assert_eq!(test.state().matches("\"path\"").count(), 1);
    test.fake.read_only.clear();
    let last = test.untune();
    assert_eq!(outcomes(&last), [(path, &Outcome::Done)]);
    assert_eq!(test.files(), before);
}

#[test]
fn siblings_are_taken_only_where_they_can_be_given_back() {
    let check = |fake: &FakeMachine, host: &str| {
        let host = parse("h", "hosts/h.toml", host).unwrap();
        let found = examine(fake, &[3].into(), OPTIONS);
        check_smt_off(fake, &host, &found, OPTIONS).map_err(|error| error.message)
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
    let mut test = TuneTest::new(trees::intel());
    test.tune();
    test.fake.unprivileged = true;
    let (before, state) = (test.files(), test.state());
    for refused in [test.try_tune(), untune(&test.fake, &test.file, false)] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind, Kind::Host);
        assert!(error.message.ends_with("needs root; nothing was changed"), "{error}");
    }
    assert_eq!((test.files(), test.state()), (before, state));
}

#[test]
fn a_damaged_state_file_changes_nothing() {
    let test = TuneTest::new(trees::intel());
    test.tune();
    let good = test.state();
    let replaced = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let before = test.files();
    for (text, part) in [
        (String::new(), "EOF while parsing"),
        (good[..good.len() / 2].to_string(), "EOF while parsing"),
        (replaced("\"version\": 1", "\"version\": 2"), "its version is 2"),
        (replaced("\"former\"", "\"fromer\""), "unknown field `fromer`"),
        (
            replaced("/proc/sys/kernel/nmi_watchdog", "/proc/sys/kernel/core_pattern"),
            "no file that dyno sets",
        ),
        (replaced("/proc/irq/120/", "/proc/irq/../"), "no file that dyno sets"),
        (replaced("\"former\": \"always\"", "\"former\": \"always\\nx\""), "is not one line"),
        (" ".repeat(2 << 20), "2097152 bytes long"),
    ] {
        fs::write(test.file.path(), &text).unwrap();
        for refused in [test.try_tune(), untune(&test.fake, &test.file, false)] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind, Kind::Host);
            assert!(error.message.contains(part), "{part}: {error}");
            assert!(error.message.contains("tuned.json is damaged"), "{error}");
            assert!(error.hint.is_some_and(|hint| hint.contains("a reboot sets every knob")));
        }
        assert_eq!(test.files(), before, "{part}");
        assert_eq!(fs::read_to_string(test.file.path()).unwrap(), text, "{part}");
    }
}
