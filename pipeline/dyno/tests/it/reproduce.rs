//! `dyno reproduce`: a run is built again from its row alone, and what differs is named.

use std::fs;

use dyno_model::id::Digest;
use dyno_model::record::{Record, RunRow};
use dyno_store::Store;
use serde_json::Value;

use crate::world::{BUILD, Told, World, embedded};

/// Measures `v1` against `tag`, then takes away everything but the store and the repository.
/// Returns the job's id.
fn measured(world: &World, tag: &str) -> String {
    let told = world.dyno(&["run", "made", "v1", tag, "--rounds", "1"]);
    assert!(matches!(told.code, Some(0 | 5)), "{told:?}");
    let told = world.dyno(&["sql", "--output", "csv", "SELECT job FROM runs ORDER BY finished"]);
    let job = told.out.lines().last().unwrap().to_string();
    for folder in ["suites/made", "images/guest"] {
        fs::remove_dir_all(world.path().join(folder)).unwrap();
    }
    job
}

fn json(told: &Told) -> Value {
    serde_json::from_str(&told.out).unwrap_or_else(|error| panic!("{error}: {told:?}"))
}

/// `of/name` of the parts that are `equal` or not.
fn parts(reproduced: &Value, equal: bool) -> Vec<String> {
    let parts = reproduced["parts"].as_array().unwrap().iter();
    let parts = parts.filter(|part| part["equal"] == equal);
    let text = |value: &Value| value.as_str().unwrap().to_string();
    parts.map(|part| format!("{}/{}", text(&part["of"]), text(&part["name"]))).collect()
}

/// What changes with the compiler of this machine, out of a text.
fn redacted(text: &str) -> String {
    let hex = |word: &str| word.len() >= 12 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let words = text.split_inclusive([' ', ':', '\n']);
    let word = |word: &str| {
        let bare = word.trim_end_matches([' ', ':', '\n']);
        if hex(bare) { word.replace(bare, &"x".repeat(bare.len().min(12))) } else { word.into() }
    };
    words.map(word).collect()
}

#[test]
fn a_run_is_built_again_from_its_row_alone() {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.write("suites/made/words", "print words\n");
    world.edit(
        "suites/made/suite.toml",
        "[[benchmark]]",
        "[inputs]\ncommand = [\"/guest\", \"copy\", \"/src/words\", \"/build/words\"]\noutputs = { words = \"words\" }\n[[benchmark]]",
    );
    let job = measured(&world, "v2");
    let told = world.dyno(&["reproduce", &job[..8]]);
    assert_eq!(told.code, Some(0), "{told:?}");
    insta::assert_snapshot!("reproduced", redacted(&told.out));
    assert!(!told.err.contains("from the cache"), "{told:?}");
    assert_eq!(world.scratch(), Vec::<String>::new());

    // On a machine with an empty cache too; and what was built is handed over.
    fs::remove_dir_all(world.cache()).unwrap();
    let told = world.dyno(&["reproduce", &job.to_uppercase(), "--json", "--keep", "kept"]);
    let reproduced = json(&told);
    assert_eq!((told.code, reproduced["equal"].as_bool()), (Some(0), Some(true)), "{told:?}");
    assert_eq!(parts(&reproduced, false), Vec::<String>::new());
    assert_eq!(
        fs::read_to_string(world.path().join("kept/inputs/words")).unwrap(),
        "print words\n"
    );
    assert!(world.path().join("kept/candidate/tool").is_file());

    for (asked, code, said) in [
        (&job[..6], 2, "the first 7 digits or more"),
        ("v1", 2, "the first 7 digits or more"),
        ("00000000", 2, "none of its 1 runs begins so"),
    ] {
        let told = world.dyno(&["reproduce", asked]);
        assert_eq!(told.code, Some(code), "{told:?}");
        assert!(told.err.contains(said), "{asked}: {told:?}");
    }

    // The definitions belong to the store; without one, or with a damaged one, that is said.
    let definitions = world.path().join("store/definitions");
    let files: Vec<_> = fs::read_dir(&definitions).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 2);
    fs::write(&files[0], "junk").unwrap();
    let told = world.dyno(&["reproduce", &job]);
    assert_eq!(told.code, Some(4), "{told:?}");
    assert!(told.err.contains("is damaged"), "{told:?}");
    for file in files {
        fs::remove_file(file).unwrap();
    }
    let told = world.dyno(&["reproduce", &job]);
    assert_eq!(told.code, Some(4), "{told:?}");
    assert!(told.err.contains("the store has no definition sha256:"), "{told:?}");
}

#[test]
fn a_build_sees_a_folder_of_the_suite_and_is_known_by_it() {
    if !embedded() {
        return;
    }
    let world = World::new();
    fs::create_dir(world.path().join("suites/made/driver")).unwrap();
    world.write("suites/made/driver/words", "print words\n");
    world.edit("suites/made/suite.toml", "[build]", "[build]\nfolder = \"driver\"");
    world.edit("suites/made/suite.toml", "program = \"program\"", "program = \"words\"");
    world.write("suites/made/hello.txt", "words");
    world.commit("v3", &format!("{BUILD}copy /suite/words /build/words\n"), "print no\n");
    let run = ["run", "made", "v3", "v3", "--rounds", "1", "--again"];
    let told = world.dyno(&run);
    assert_eq!(told.code, Some(0), "{told:?}");

    // What lies elsewhere in the suite's folder is no part of it.
    world.write("suites/made/README.md", "about it");
    let told = world.dyno(&run);
    assert_eq!((told.code, told.err.matches("from the cache").count()), (Some(0), 2), "{told:?}");
    world.write("suites/made/driver/words", "print others\n");
    world.write("suites/made/hello.txt", "others");
    let told = world.dyno(&run);
    assert_eq!((told.code, told.err.matches("from the cache").count()), (Some(0), 0), "{told:?}");

    let runs = world.dyno(&["sql", "--output", "csv", "SELECT job FROM runs"]);
    let jobs: Vec<&str> = runs.out.lines().skip(1).collect();
    fs::remove_dir_all(world.path().join("suites/made")).unwrap();
    assert_eq!(jobs.len(), 3);
    for job in jobs {
        let told = world.dyno(&["reproduce", job]);
        assert_eq!(told.code, Some(0), "{told:?}");
    }
}

#[test]
fn a_build_that_differs_each_time_is_named() {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.commit("v3", &format!("{BUILD}stamp /build/program\n"), "print hello\n");
    let job = measured(&world, "v3");
    let told = world.dyno(&["reproduce", &job]);
    assert_eq!(told.code, Some(5), "{told:?}");
    assert!(
        told.out.contains("Not reproduced: 1 of 7 parts differ: candidate/program."),
        "{told:?}"
    );
    assert!(told.out.contains("DIFFERS from byte "), "{told:?}");
    assert!(told.out.contains("; 41 bytes both"), "{told:?}");

    // An untrusted run of what a trusted one built: the recorded file lies in the other class.
    let again = World::new();
    again.commit("v3", &format!("{BUILD}stamp /build/program\n"), "print hello\n");
    let words = ["run", "made", "v1", "v3", "--rounds", "1"];
    assert_eq!(again.dyno(&words).code, Some(0));
    let told = again.dyno(&[&words[..], &["--untrusted"]].concat());
    assert!(told.code == Some(0) && told.err.contains("v3 from the cache"), "{told:?}");
    let query = "SELECT job FROM runs WHERE trust = 'untrusted'";
    let untrusted = again.dyno(&["sql", "--output", "csv", query]);
    let untrusted = untrusted.out.lines().nth(1).unwrap().to_string();
    let told = again.dyno(&["reproduce", &untrusted]);
    assert!(told.code == Some(5) && told.out.contains("DIFFERS from byte "), "{told:?}");

    // Without the recorded bytes its digest and size say that it differs, not where.
    fs::remove_dir_all(world.cache()).unwrap();
    let told = world.dyno(&["reproduce", &job, "--json"]);
    let reproduced = json(&told);
    assert_eq!((told.code, reproduced["equal"].as_bool()), (Some(5), Some(false)), "{told:?}");
    assert_eq!(parts(&reproduced, false), ["candidate/program"]);
    let differs = reproduced["parts"].as_array().unwrap().iter().find(|p| p["equal"] == false);
    let differs = differs.unwrap();
    assert!(differs["difference"].is_null() && differs["rebuilt"]["bytes"] == 41, "{differs}");
}

#[test]
fn a_build_that_did_not_work_does_not_work_again() {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.commit("v3", "exit 7\n", "");
    let job = measured(&world, "v3");
    let told = world.dyno(&["reproduce", &job]);
    assert_eq!(told.code, Some(0), "{told:?}");
    let said = "equal: does not work, as it did not then: build ended with exit code 7";
    assert!(told.out.contains(said), "{told:?}");
}

#[tokio::test]
async fn a_row_that_says_too_little_or_something_else_is_told() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let job = measured(&world, "v2");
    let open = async |name: &str| Store::open(world.path().join(name).to_str().unwrap()).await;
    let run = open("store").await.unwrap().find_run(&job).await.unwrap();
    assert!(run.built_from.is_some());
    let changed = async |name: &str, change: &dyn Fn(&mut RunRow)| {
        let mut record = Record { run: run.clone(), samples: Vec::new(), units: Vec::new() };
        change(&mut record.run);
        open(name).await.unwrap().publish(&record).await.unwrap();
        let kept = world.path().join("store/definitions");
        std::os::unix::fs::symlink(kept, world.path().join(name).join("definitions")).unwrap();
        world.dyno(&["reproduce", &job, "--store", name])
    };
    // As a dyno wrote it that kept no definitions.
    let told = changed("old", &|run| run.built_from = None).await;
    assert_eq!(told.code, Some(2), "{told:?}");
    for part in ["which lacks where its commits came from", "dyno run made v1 v2 --again"] {
        assert!(told.err.contains(part), "{part}: {told:?}");
    }
    // An image that comes out otherwise: what would be built in it says nothing.
    let told = changed("other", &|run| run.image_id = Digest::of(b"other")).await;
    assert_eq!(told.code, Some(5), "{told:?}");
    assert!(!told.err.contains("build: target"), "{told:?}");
    for part in ["DIFFERS: not built: what it is built from differs", "5 of 7 parts differ: image/"]
    {
        assert!(told.out.contains(part), "{part}: {told:?}");
    }
    // Names in a row become folders.
    let told = changed("hostile", &|run| run.suite = "../../../escaped".into()).await;
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(told.err.contains("has \"../../../escaped\" as a name"), "{told:?}");
    // Where the commits came from is gone.
    fs::rename(world.path().join("target"), world.path().join("moved")).unwrap();
    let told = world.dyno(&["reproduce", &job]);
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(told.err.contains("no repository at [world]/target"), "{told:?}");
}
