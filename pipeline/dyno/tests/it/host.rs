//! `dyno host` on a folder that looks like a machine: what it prints, what it sets, what it leaves.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::world::World;

/// A machine of two cores; one of its knobs can be read and never set.
const FILES: [(&str, &str); 9] = [
    ("sys/devices/system/cpu/online", "0-1"),
    ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "schedutil"),
    ("sys/devices/virtual/workqueue/cpumask", "3"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always"),
    ("proc/sys/kernel/random/boot_id", "504aea48-88af-4af4-8883-f58deb1a5134"),
    ("proc/sys/kernel/timer_migration", "1"),
    ("proc/sys/kernel/perf_event_paranoid", "2"),
    ("proc/sys/kernel/randomize_va_space", "2"),
    ("proc/loadavg", "0.00 0.01 0.05 1/100 1000"),
];

const STUCK: &str = "proc/sys/kernel/nmi_watchdog";

fn machine(world: &World) -> String {
    let root = world.path().join("machine");
    for (path, text) in FILES {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }
    root.to_str().unwrap().to_string()
}

/// Every file below `folder`, but for the state.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.starts_with(folder.join("var")) {
                found.insert(path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_machine_is_tuned_and_set_back() {
    let world = World::bare();
    let root = machine(&world);
    let folder = world.path().join("machine");
    let state = folder.join("var/lib/dyno/tuned.json");
    let dyno = |words: &str| {
        let mut words: Vec<&str> = words.split(' ').collect();
        words.extend(["--root", &root]);
        world.dyno(&words)
    };
    let before = files(&folder);

    let told = dyno("host doctor");
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
    insta::assert_snapshot!("doctor", told.out);
    let json: serde_json::Value = serde_json::from_str(&dyno("host doctor --json").out).unwrap();
    assert_eq!(json["summary"]["tune_sets"], 4);
    assert_eq!(
        json["findings"][3]["command"],
        "echo performance > /sys/devices/system/cpu/cpu1/cpufreq/scaling_governor"
    );
    assert_eq!(json["findings"][3]["dyno_can"], true);

    let told = dyno("host tune --dry-run --perf");
    assert_eq!(told.code, Some(0));
    assert!(told.out.contains("2 -> 1\n"), "{}", told.out);
    assert_eq!((files(&folder), state.exists()), (before.clone(), false));

    let told = dyno("host tune");
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("former values are in "), "{}", told.out);
    assert_ne!(files(&folder), before);
    let noted = fs::read(&state).unwrap();
    let told = dyno("host tune");
    assert_eq!((told.code, told.out.contains("nothing to set")), (Some(0), true));
    assert_eq!(fs::read(&state).unwrap(), noted);

    let told = dyno("host untune --dry-run");
    assert_eq!((told.code, told.out.starts_with("would set back:\n")), (Some(0), true));
    assert_eq!(fs::read(&state).unwrap(), noted);
    assert_eq!(dyno("host untune").code, Some(0));
    assert_eq!((files(&folder), state.exists()), (before, false));
    let told = dyno("host untune");
    assert_eq!((told.code, told.out.as_str()), (Some(0), ""));
    assert!(told.err.contains("nothing to set back: there is no "), "{}", told.err);
}

#[test]
fn what_goes_wrong_is_told() {
    let world = World::bare();
    let root = machine(&world);
    let folder = world.path().join("machine");
    // Readable, and refuses every write, root's too.
    symlink("/proc/sys/kernel/ngroups_max", folder.join(STUCK)).unwrap();
    let told = world.dyno(&["host", "tune", "--root", &root]);
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(told.out.contains("FAILED: Permission denied"), "{}", told.out);
    assert!(told.err.contains("1 of 5 could not be set; the others were"), "{}", told.err);
    assert_eq!(fs::read_to_string(folder.join("proc/sys/kernel/timer_migration")).unwrap(), "0\n");

    let state = folder.join("var/lib/dyno/tuned.json");
    let good = fs::read_to_string(&state).unwrap();
    fs::write(&state, &good[..good.len() - 9]).unwrap();
    let before = files(&folder);
    for words in [&["host", "untune"][..], &["host", "tune", "--perf"]] {
        let told = world.dyno(&[words, &["--root", &root]].concat());
        assert_eq!(told.code, Some(3), "{told:?}");
        for part in ["tuned.json is damaged: EOF", "nothing was changed", "hint: mend it by hand"] {
            assert!(told.err.contains(part), "{words:?} lacks {part}:\n{}", told.err);
        }
    }
    assert_eq!(files(&folder), before);

    world.write("hosts/far.toml", "benchmark_cores = \"9\"\n");
    world.write("hosts/odd.toml", "benchmark_core = \"1\"\n");
    for (host, code, part) in [
        ("far", 3, "benchmark cores 9 that are not online"),
        ("odd", 2, "did you mean `benchmark_cores`?"),
        ("lokal", 2, "did you mean `local`?"),
    ] {
        let told = world.dyno(&["host", "doctor", "--host", host, "--root", &root]);
        assert_eq!((told.code, told.out.as_str()), (Some(code), ""), "{host}");
        assert!(told.err.contains(part), "{host}: {}", told.err);
    }
}
