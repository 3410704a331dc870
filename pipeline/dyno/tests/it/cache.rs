//! `dyno cache`: what is listed, what is removed, and what never is.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::world::{RUN, World, check, embedded, names};

fn json(world: &World, words: &[&str]) -> Value {
    let told = world.dyno(words);
    assert_eq!(told.code, Some(0), "{told:?}");
    serde_json::from_str(&told.out).unwrap()
}

fn kinds(value: &Value) -> Vec<&str> {
    let entries = value["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["kind"].as_str().unwrap()).collect()
}

#[test]
fn what_is_long_unused_is_pruned_and_made_again() {
    if !embedded() {
        return;
    }
    let world = World::new();
    assert_eq!(world.dyno(&RUN).code, Some(0));
    let told = world.dyno(&["cache"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    for part in
        ["images ", "artifacts/trusted ", "images in which targets", "reports ", ": 1 report, "]
    {
        assert!(told.out.contains(part), "{part:?}: {told:?}");
    }
    // Everything is old but one artifact; a record waits, as a store that was away leaves it.
    let cache = world.cache();
    let listed = json(&world, &["cache", "list", "--json"]);
    let paths: Vec<&str> =
        listed["entries"].as_array().unwrap().iter().map(|e| e["path"].as_str().unwrap()).collect();
    let long_ago = SystemTime::now() - Duration::from_secs(20 * 86_400);
    let place = |path: &str| path.replace("[world]", &world.path().display().to_string());
    for path in &paths {
        File::open(place(path)).unwrap().set_modified(long_ago).unwrap();
    }
    let artifact = paths.iter().find(|path| path.contains("/artifacts/")).unwrap();
    File::open(place(artifact)).unwrap().set_modified(SystemTime::now()).unwrap();
    fs::create_dir_all(cache.join("spool")).unwrap();
    fs::write(cache.join("spool/waits.json"), "record").unwrap();

    let dry = json(&world, &["cache", "prune", "--older-than", "14d", "--dry-run", "--json"]);
    assert_eq!(kinds(&dry).len(), paths.len() - 1, "{dry}");
    assert!(cache.join("images").read_dir().unwrap().count() > 1, "a dry run removes nothing");
    let told = world.dyno(&["cache", "prune", "--older-than", "14d"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("spool: 1 record waits") && told.out.contains("removed"), "{told:?}");
    let left = json(&world, &["cache", "list", "--json"]);
    assert_eq!(kinds(&left), ["artifacts/trusted"], "{left}");
    assert!(cache.join("spool/waits.json").exists());
    fs::remove_file(cache.join("spool/waits.json")).unwrap();
    assert_eq!(world.scratch(), Vec::<String>::new());

    // All is made again; what was used counts as used.
    let again = [&RUN[..], &["--again"]].concat();
    check(&world.dyno(&again), 0, &[]);
    let told = world.dyno(&["cache", "prune", "--older-than", "1d"]);
    assert!(told.out.contains("nothing was removed"), "{told:?}");
    let all = json(&world, &["cache", "prune", "--all", "--json"]);
    assert!(kinds(&all).contains(&"images"), "{all}");
    assert!(kinds(&json(&world, &["cache", "list", "--json"])).is_empty());
}

#[test]
fn a_dyno_at_work_keeps_its_cache() {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.commit("v3", "sleep 60\n", "");
    let dyno = world.until(&["run", "made", "v1", "v3"], "build: target v3");
    let images = || names(&world.cache().join("images"), "").len();
    let before = images();
    check(&world.dyno(&["cache", "prune", "--all"]), 4, &["another dyno uses the cache"]);
    let told = world.dyno(&["cache", "prune", "--all", "--dry-run"]);
    assert!(told.out.contains("would be removed"), "{told:?}");
    assert_eq!(images(), before);
    dyno.signal(libc::SIGINT);
    dyno.end();
    check(&world.dyno(&["cache", "prune", "--all"]), 0, &[]);
    assert_eq!(images(), 1, "the lock is left");
}

#[test]
fn pruning_says_what_it_wants() {
    let world = World::bare();
    for (words, part) in [
        (&["cache", "prune"][..], "--older-than"),
        (&["cache", "prune", "--all", "--older-than", "1d"], "cannot be used with"),
        (&["cache", "prune", "--older-than", "soon"], "expected a number and one of s, m, h, d, w"),
    ] {
        check(&world.dyno(words), 2, &[part]);
    }
    let told = world.dyno(&["cache", "--cache", "nowhere"]);
    assert_eq!((told.code, told.out.as_str()), (Some(0), "cache nowhere: 0 B\n"), "{told:?}");
    assert!(!world.path().join("nowhere").exists());
}
