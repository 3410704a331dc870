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
    assert!(told.err.contains("this is what they mean in its source today"), "{told:?}");
    check(&world.dyno(&["compare", "v1", "featrue"]), 2, &["; did you mean `feature`?"]);
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
    let told = world.dyno(&["store", "list", "--suite", "mad", "--host", "locl"]);
    let near = ["did you mean `made`? it has: made, other", "did you mean `local`? it has: local"];
    check(&told, 2, &[near[0], near[1], "no run of a suite \"mad\"", "of a host \"locl\""]);
}

/// Each name that `compare` is given is looked up where `run` looks, and what was measured under a
/// relative one on another day is neither an answer nor shown.
#[test]
fn compare_knows_the_names_of_git_as_they_are_today() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let target = world.path().join("target");
    let first = world.commit("first", BUILD, "print hello\n");
    let second = world.commit("second", BUILD, "print hello\n");
    assert_eq!(world.dyno(&["run", "made", "HEAD~1", "HEAD", "--rounds", "2"]).code, Some(0));
    let title = |words: &[&str]| {
        let told = world.dyno(&[words, &["--json"]].concat());
        let view: serde_json::Value = serde_json::from_str(&told.out).unwrap_or_default();
        (told.code, view["title"].as_str().unwrap_or_default().to_string(), told.err)
    };
    let ids = format!("made: {} (first) → {} (second)", &first[..12], &second[..12]);
    let relative = format!("made: HEAD~1 ({}) → HEAD ({})", &first[..12], &second[..12]);
    for (names, expected) in [
        (["HEAD~1", "HEAD"], &*relative),
        (["first", "second"], "made: first → second"),
        ([&first[..7], &second[..9]], &ids),
        ([&first, &second], &ids),
        (
            ["second~1", &second],
            &format!("made: second~1 ({}) → {} (second)", &first[..12], &second[..12]),
        ),
    ] {
        let (code, title, told) = title(&["compare", names[0], names[1]]);
        assert_eq!((code, title.as_str()), (Some(0), expected), "{names:?}: {told}");
    }
    // The answer of the store to ids has no name of the day when they were measured.
    let (code, shown, told) = title(&["run", "made", &first, &second, "--rounds", "2"]);
    assert!(told.contains("is in the store already"), "{told}");
    assert_eq!((code, shown), (Some(0), ids.clone()));

    // Another day: what the relative names mean now was not measured.
    let third = world.commit("third", BUILD, "print hello\n");
    let told = world.dyno(&["compare", "HEAD~1", "HEAD"]);
    let meanings = [second.as_str(), &third].map(|commit| format!(" ({})", &commit[..12]));
    let [baseline, candidate] = &meanings;
    check(
        &told,
        2,
        &[baseline, candidate, "no comparison", "under these names it has ", &first[..12]],
    );
    // A branch: what it is now, and where that was not measured the newest under its name.
    let branch = |at: &str| git(&target, &["branch", "--force", "topic", at]);
    branch("second");
    let (code, shown, told) = title(&["compare", "first", "topic"]);
    assert_eq!((code, shown.as_str()), (Some(0), "made: first → topic"), "{told}");
    branch("third");
    check(&world.dyno(&["compare", "first", "topic"]), 2, &["no comparison", &third[..12]]);
    assert_eq!(world.dyno(&["run", "made", "first", "topic", "--rounds", "2"]).code, Some(0));
    let fourth = world.commit("fourth", BUILD, "print hello\n");
    branch("fourth");
    let (code, shown, told) = title(&["compare", "first", "topic"]);
    assert!(told.contains("the store has no comparison of what these names mean"), "{told}");
    assert_eq!((code, shown), (Some(0), format!("made: first → topic ({})", &third[..12])));
    assert!(!told.contains(&fourth[..12]), "{told}");

    // No repository in reach: the names of the store, and its ids.
    std::fs::rename(&target, world.path().join("moved")).unwrap();
    let (code, shown, told) = title(&["compare", "HEAD~1", "HEAD"]);
    assert_eq!((code, shown), (Some(0), relative), "{told}");
    let (code, shown, told) = title(&["compare", &first[..7], &second[..7]]);
    let short = format!("made: {} → {}", &first[..12], &second[..12]);
    assert_eq!((code, shown), (Some(0), short), "{told}");
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
