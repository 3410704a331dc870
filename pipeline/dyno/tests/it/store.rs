//! What a store holds, and what names of commits mean in it.

use std::process::Command;

use crate::world::{BUILD, World, check, embedded, git};

#[test]
fn names_mean_the_newest_and_the_reverse_is_offered() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let target = world.path().join("target");
    let first = world.commit("first", BUILD, "print hello\n");
    git(&target, &["branch", "feature"]);
    let run = ["run", "made", "v1", "feature", "--rounds", "2"];
    assert_eq!(world.dyno(&run).code, Some(0));
    let second = world.commit("second", BUILD, "print hello\n");
    git(&target, &["branch", "--force", "feature"]);
    assert_eq!(world.dyno(&run).code, Some(0));

    let told = world.dyno(&["compare", "v1", "feature", "--json"]);
    check(&told, 0, &["these names stand for 2 pairs of made", &second[..12], &first[..12]]);
    assert!(told.out.contains(&second) && !told.out.contains(&first), "{told:?}");
    let told = world.dyno(&["compare", "feature", "v1"]);
    let reverse = format!(" {} --suite made`", &second[..12]);
    check(&told, 2, &["it has the reverse: `dyno compare ", &reverse]);

    // A second suite of the same names: nobody can tell which is meant.
    let suites = world.path().join("suites");
    std::fs::create_dir(suites.join("other")).unwrap();
    for file in ["suite.toml", "hello.txt"] {
        std::fs::copy(suites.join("made").join(file), suites.join("other").join(file)).unwrap();
    }
    // The very same suite under another name is the same job.
    let other = ["run", "other", "v1", "feature", "--rounds", "2"];
    check(&world.dyno(&other), 0, &["is in the store already"]);
    world.edit("suites/other/suite.toml", "a made-up target", "another target");
    check(&world.dyno(&other), 0, &[]);
    let told = world.dyno(&["compare", "v1", "feature"]);
    check(&told, 2, &["could mean: ", "v1 … feature is `", "--suite made`", "--suite other`"]);

    let told = world.dyno(&["store", "list"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    let lines: Vec<&str> = told.out.lines().collect();
    assert!(lines[0].starts_with("finished (UTC)    suite  baseline "), "{told:?}");
    assert!(lines[1].contains("  other  v1 (") && lines[3].contains(&first[..12]), "{told:?}");
    assert_eq!((lines.len(), lines[4]), (5, "3 runs"), "{told:?}");
    let told = world.dyno(&["store", "list", "--suite", "made", "--json"]);
    let runs: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(runs.as_array().unwrap().len(), 2, "{told:?}");
    assert_eq!((&runs[0]["candidate"]["commit"], &runs[0]["rounds"]), (&second.into(), &2.into()));
    check(&world.dyno(&["store", "list", "--suite", "mad"]), 2, &["did you mean `made`?"]);
}

#[test]
fn who_only_reads_makes_no_store() {
    let world = World::bare();
    for words in [
        &["compare", "v1", "v2"][..],
        &["sql", "SELECT 1"],
        &["store", "list"],
        &["reproduce", "1234567"],
    ] {
        let told = world.dyno(&[words, &["--store", "nowhere"]].concat());
        check(&told, 2, &["there is no store at nowhere"]);
        assert!(!world.path().join("nowhere").exists(), "{words:?}");
    }
}

/// A share without hard links, by a library that refuses them: told before anything is built.
#[test]
fn a_folder_without_hard_links_is_refused_at_once() {
    let world = World::bare();
    let (source, library) = (world.path().join("nolink.c"), world.path().join("nolink.so"));
    let code = "#include <errno.h>
int link(const char *a, const char *b) { errno = EPERM; return -1; }
int linkat(int a, const char *b, int c, const char *d, int e) { errno = EPERM; return -1; }
";
    std::fs::write(&source, code).unwrap();
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(compiled.unwrap().success());
    let mut dyno = world.command(&["run", "made", "v1", "v2"]);
    dyno.env("LD_PRELOAD", &library);
    let told = world.told(dyno);
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(told.err.contains("which takes hard links"), "{told:?}");
    assert!(!told.err.contains("build:"), "{told:?}");
}
