//! Wrong input on the command line and in the files that people write: what dyno says of it, and
//! its exit code. None of this needs the right to make containers.

use crate::world::World;

/// Runs `dyno` and checks its exit code and that standard error has each of `parts`; standard
/// output must stay empty.
fn refused(world: &World, words: &[&str], code: i32, parts: &[&str]) {
    let told = world.dyno(words);
    assert_eq!(told.code, Some(code), "{words:?}: {told:?}");
    assert_eq!(told.out, "", "{words:?}");
    for part in parts {
        assert!(told.err.contains(part), "{words:?} lacks {part:?}:\n{}", told.err);
    }
}

#[test]
fn unknown_names_are_wrong_input() {
    let world = World::bare();
    world.commit("v1", "", "");
    let two = "run made v1 v1";
    let cases: &[(&str, &[&str])] = &[
        ("run mad v1 v1", &["there is no suite \"mad\"", "did you mean `made`?"]),
        ("run zzz v1 v1", &["there is no suite \"zzz\"", "suites/ has: made"]),
        ("run ../made v1 v1", &["there is no suite \"../made\""]),
        ("run made v1 v1 --host locl", &["there is no host \"locl\"", "did you mean `local`?"]),
        (
            "run made v1 v1 --policy strict",
            &["there is no policy \"strict\"", "policies/ has: default"],
        ),
        ("compare v1 v2 --policy strict", &["there is no policy \"strict\""]),
        (
            "image build gest",
            &["there is no image \"gest\"", "did you mean `guest`? images/ has: guest"],
        ),
        ("suite lock made x", &["the suite has no crate \"x\"", "hint: it has none"]),
        ("image verify guessed", &["there is no image \"guessed\"", "images/ has: guest"]),
        ("image build guest", &["the image guest is not pinned", "run: dyno image lock guest"]),
        ("image build guest --arch vax", &["the image guest is not pinned"]),
        (
            "compare v1 v2",
            &[
                "the store has no comparison of `v1` with `v2`",
                "none at all yet",
                "dyno store list",
            ],
        ),
        ("reproduce 1234567 --store nowhere", &["there is no store at nowhere", "DYNO_STORE"]),
        ("run made v1 v1 --bisect --fail-on-regression", &["cannot be used with"]),
        ("sql --policy strict SELECT", &["there is no policy \"strict\""]),
        ("sql x", &["error: "]),
        ("run made v1", &["<CANDIDATE>", "Usage: "]),
        ("run made v1 v1 --rounds 0", &["--rounds", "0 is not in"]),
        ("run made v1 v1 --rounds 1000000", &["is not in"]),
        ("run made v1 v1 --roundz 3", &["--roundz", "a similar argument exists: '--rounds'"]),
        ("run made v1 v1 --json --markdown", &["cannot be used with"]),
        ("doctor", &["unrecognized subcommand", "did you mean `dyno host doctor`?"]),
        (
            "run made v1 nowhere --benchmark gret",
            &["no benchmark is called `gret`: did you mean `greet`?"],
        ),
        ("run made v1 nowhere --only opt=1", &["there is no axis `opt`: the suite has none"]),
        ("rn made v1 v1", &["unrecognized subcommand 'rn'"]),
        ("sql --output xml SELECT", &["[possible values: table, csv, json, parquet]"]),
        (
            "--catalog nowhere run made v1 v1",
            &["nowhere is no catalog", "suites/, images/, hosts/ and policies/"],
        ),
    ];
    for (words, parts) in cases {
        refused(&world, &words.split(' ').collect::<Vec<_>>(), 2, parts);
    }
    for url in ["", "gopher://x/y", "s3://", "http//x://", "file://elsewhere/x"] {
        let words = ["--store", url, "compare", "v1", "v1"];
        refused(&world, &words, 2, &["` cannot be a store: "]);
    }
    // A suite that names what is not there.
    world.edit("suites/made/suite.toml", "image = \"guest\"", "image = \"gast\"");
    refused(&world, &two.split(' ').collect::<Vec<_>>(), 2, &["there is no image \"gast\""]);
    world.edit("suites/made/suite.toml", "hello.txt", "gone.txt");
    refused(
        &world,
        &two.split(' ').collect::<Vec<_>>(),
        2,
        &["suites/made/suite.toml names files that are not there: gone.txt (benchmark greet)"],
    );
}

/// Whoever reads what dyno says may go away before its end, like `head`.
#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let world = World::bare();
    world.write("policies/default.toml", "q = 2\n");
    for (words, code) in [
        (&["compare", "v1", "v2"][..], 2),
        (&["run", "mad", "v1", "v1"], 2),
        (&["sql", "SELECT 1"], 2),
        (&["image", "lock", "guest"], 0),
    ] {
        let (gone, writer) = std::io::pipe().unwrap();
        drop(gone);
        let mut dyno = world.command(words);
        dyno.stdout(writer.try_clone().unwrap()).stderr(writer);
        assert_eq!(dyno.status().unwrap().code(), Some(code), "{words:?}");
    }
}

#[test]
fn sql_is_asked_never_obeyed() {
    let world = World::bare();
    for (query, parts) in [
        ("SELECT * FROM nowhere", &["table 'nowhere' not found", "the tables are", "runs"][..]),
        ("SELECT colour FROM runs", &["colour"]),
        ("SELEC 1", &["SELEC"]),
        ("DROP TABLE runs", &["never changed", "is refused"]),
        ("CREATE TABLE x AS SELECT 1", &["is refused"]),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", &["is refused"]),
        ("COPY (SELECT 1) TO '/var/tmp/dyno-copied.csv'", &["is refused"]),
        ("INSERT INTO runs SELECT * FROM runs", &["is refused"]),
        ("SET datafusion.execution.batch_size = 1", &["is refused"]),
        ("SELECT 1; DROP TABLE runs", &["error: "]),
        ("SELECT * FROM '/etc/passwd'", &["error: "]),
        ("", &["error: "]),
    ] {
        refused(&world, &["sql", query], 2, parts);
    }
    assert!(!std::path::Path::new("/var/tmp/dyno-copied.csv").exists());
}

#[test]
fn all_mistakes_of_a_file_are_shown_at_once() {
    let world = World::bare();
    world.write(
        "suites/made/suite.toml",
        r#"what = 5
image = "guest"
metrics = ["wall", "wal", "instruction"]
[source]
git = "--upload-pack=evil"
[build]
comand = ["make"]
outputs = { tool = "../tool" }
[[benchmark]]
name = "greet"
what = "says hello"
command = ["{artefact}/tool"]
expected = { stdout_file = "/etc/passwd" }
limits = { time_s = 0, memory = "lots" }
"#,
    );
    let told = world.dyno(&["run", "made", "v1", "v2"]);
    assert_eq!((told.code, told.out.as_str()), (Some(2), ""));
    insta::assert_snapshot!("mistakes_in_a_suite", told.err);

    world.write("policies/default.toml", "q = 2\n[metric.wal]\nsmallest_effect = \"1 %\"\n");
    world.write("hosts/local.toml", "engine = \"doker\"\nbenchmark_core = \"1\"\n");
    let told = world.dyno(&["compare", "v1", "v2"]);
    assert_eq!((told.code, told.out.as_str()), (Some(2), ""));
    insta::assert_snapshot!("mistakes_in_a_policy", told.err);

    world.write("policies/default.toml", "[metric.wall\ndecides = true\n");
    let told = world.dyno(&["compare", "v1", "v2"]);
    assert_eq!((told.code, told.out.as_str()), (Some(2), ""));
    insta::assert_snapshot!("a_file_that_is_no_toml", told.err);
    std::fs::write(world.path().join("policies/default.toml"), b"q = \"\xff\"\n").unwrap();
    refused(&world, &["compare", "v1", "v2"], 2, &["is not UTF-8 at byte 5"]);
}

#[test]
fn a_lock_edited_by_hand_is_named() {
    let world = World::new();
    let lock = std::fs::read_to_string(world.path().join("images/guest/image.lock")).unwrap();
    let id = lock.lines().find(|line| line.starts_with("id = ")).unwrap();
    let other = format!("id = \"sha256:{}\"", "0".repeat(64));
    world.edit("images/guest/image.lock", id, &other);
    for words in [&["image", "build", "guest"][..], &["image", "verify", "guest"]] {
        refused(&world, words, 2, &["image.lock", "the lock was edited", "dyno image lock guest"]);
    }
    world.write("images/guest/image.lock", &lock[..lock.len() / 2]);
    refused(&world, &["image", "build", "guest"], 2, &["the lock was edited"]);
    world.write("images/guest/image.lock", &lock);
    world.edit("images/guest/image.toml", "registry", "# a comment changes nothing\nregistry");
    assert_eq!(world.dyno(&["image", "build", "guest"]).code, Some(0));
    world.edit(
        "images/guest/image.toml",
        "registry",
        "[[link]]\npath = \"/x\"\ntarget = \"y\"\n# ",
    );
    assert_eq!(world.dyno(&["image", "build", "guest"]).code, Some(2));
}
