//! Suites as those who write them meet them: what is measured is what was digested, answers and
//! exit codes, and the commands of `dyno suite`.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::world::{BUILD, RUN, Told, World, check, embedded};

const BENCHMARK: &str = r#"
[[benchmark]]
name = "NAME"
what = "another"
command = COMMAND
expected = { EXPECTED }
limits = { time_s = 2, memory = "256MiB", pids = 64, output = "1MiB" }
"#;

/// A world whose suite has these benchmarks too: name, command, `expected`.
fn world_with(benchmarks: &[(&str, &str, &str)]) -> World {
    let world = World::new();
    let file = world.path().join("suites/made/suite.toml");
    let mut text = fs::read_to_string(&file).unwrap();
    for (name, command, expected) in benchmarks {
        let benchmark = BENCHMARK.replace("NAME", name).replace("COMMAND", command);
        text.push_str(&benchmark.replace("EXPECTED", expected));
    }
    fs::write(file, text).unwrap();
    world
}

/// A command of the guest's, as a suite writes it.
fn guest(words: &[&str]) -> String {
    format!("{:?}", [&["{artifact}/tool"], words].concat())
}

fn json(told: &Told) -> Value {
    serde_json::from_str(&told.out).unwrap_or_else(|error| panic!("{error}: {told:?}"))
}

#[test]
fn links_are_in_the_digest_and_lead_nowhere_else() {
    if !embedded() {
        return;
    }
    let print = guest(&["script", "{suite}/input"]);
    let world = world_with(&[("linked", &print, "stdout_of = \"baseline\"")]);
    let link = world.path().join("suites/made/input");
    world.write("suites/made/one", "print one");
    world.write("suites/made/two", "print two");
    symlink("one", &link).unwrap();
    check(&world.dyno(&RUN), 0, &[]);
    check(&world.dyno(&RUN), 0, &["is in the store already"]);
    fs::remove_file(&link).unwrap();
    symlink("two", &link).unwrap();
    let other = world.dyno(&RUN);
    assert!(!other.err.contains("is in the store already"), "{other:?}");
    assert_eq!((other.code, &*world.runs()), (Some(0), "2"), "{other:?}");
    let last =
        world.dyno(&["sql", "--output", "csv", "SELECT job FROM runs ORDER BY started LIMIT 1"]);
    let job = last.out.lines().last().unwrap_or_default().to_string();
    let again = world.dyno(&["reproduce", &job]);
    assert_eq!(again.code, Some(0), "{again:?}");

    fs::remove_file(&link).unwrap();
    symlink("../../target/program", &link).unwrap();
    let told = world.dyno(&RUN);
    check(&told, 2, &["input is a link out of the folder, to ../../target/program", "hint: "]);
}

/// Each wrong case, what is to be said of it, and in what kind of case it comes out right.
#[test]
fn failures_say_where_an_answer_departs_and_which_key_to_change() {
    if !embedded() {
        return;
    }
    let hello = "stdout_file = \"hello.txt\"";
    let benchmarks = [
        ("letter", guest(&["print", "hallo"]), hello),
        ("end", guest(&["print", "hello\n"]), hello),
        ("stream", guest(&["script", "{suite}/streams"]), hello),
        ("slow", guest(&["sleep", "9"]), hello),
        ("large", guest(&["flood"]), hello),
        ("refuses", guest(&["script", "{suite}/refuses"]), "stdout_file = \"hello.txt\", exit = 3"),
        ("accepts", guest(&["print", "hello"]), "stdout_file = \"hello.txt\", exit = 3"),
        ("dying", guest(&["script", "{suite}/dying"]), hello),
    ];
    let benchmarks = benchmarks.each_ref().map(|(name, command, e)| (*name, &**command, *e));
    let world = world_with(&benchmarks);
    world.write("suites/made/streams", "print before\nreopen hello\nprint after\n");
    world.write("suites/made/refuses", "print hello\nexit 3\n");
    world.write("suites/made/dying", "print hello\ndying 100\n");
    let told = world.dyno(&["suite", "check", "made", "v1", "--times", "3", "--json"]);
    assert_eq!(told.code, Some(5), "{told:?}");
    let checked = json(&told);
    for (name, finding, detail) in [
        (
            "letter",
            "failing",
            "a wrong answer: line 1, column 2: expected \"hello\", got \"hallo\" (5 bytes",
        ),
        ("end", "failing", "right but for its end: a line feed too much (6 bytes instead of 5)"),
        ("stream", "failing", "something opened /dev/stdout by name"),
        ("slow", "failing", "took longer than 2 s (limits.time_s)"),
        ("large", "failing", "wrote more than it may (SIGXFSZ, signal 25; limits.output)"),
        ("accepts", "failing", "ended with exit code 0 instead of 3 (expected.exit)"),
        ("refuses", "too-short", "or repeat = "),
        ("greet", "too-short", "or repeat = "),
    ] {
        let cases = checked.as_array().unwrap();
        let case = cases.iter().find(|case| case["case"] == name).unwrap();
        assert_eq!(case["finding"], finding, "{case}");
        assert!(case["detail"].as_str().unwrap().contains(detail), "{detail}: {case}");
    }
    let dying = checked.as_array().unwrap().iter().find(|case| case["case"] == "dying").unwrap();
    assert!(dying["wall_s"].is_number() && dying["finding"] != "failing", "{dying}");
}

#[test]
fn a_flaky_case_is_told_from_one_that_fails() {
    if !embedded() {
        return;
    }
    let world = world_with(&[
        ("lottery", &guest(&["lottery"]), "stdout_file = \"hello.txt\""),
        ("fails", &guest(&["print", "jello"]), "stdout_file = \"hello.txt\""),
    ]);
    let told = world.dyno(&["suite", "check", "made", "v1", "--times", "30", "--json"]);
    assert_eq!(told.code, Some(5), "{told:?}");
    let finding = |name: &str| {
        let checked = json(&told);
        let case = checked.as_array().unwrap().iter().find(|case| case["case"] == name).cloned();
        let case = case.unwrap();
        (case["finding"].as_str().unwrap().to_string(), case["detail"].to_string())
    };
    let (flaky, detail) = finding("lottery");
    assert_eq!(flaky, "flaky");
    assert!(detail.contains(" of 31 times: a wrong answer: line 1, column 1"), "{detail}");
    assert_eq!(finding("fails").0, "failing");

    // In a job: the round, and that it worked before.
    let says_when = || {
        let told = world.dyno(&[
            "run",
            "made",
            "v1",
            "v2",
            "--rounds",
            "20",
            "--min-rounds",
            "20",
            "--again",
            "--json",
        ]);
        let failures = json(&told)["failures"].to_string();
        let says_when = failures.contains("times before)") || failures.contains("it worked then");
        assert!(says_when || failures.matches("lottery").count() >= 2, "{failures}");
        says_when
    };
    // It loses twice in a row, on both sides, about every 256th time.
    assert!((0..4).any(|_| says_when()));
}

#[test]
fn a_build_learns_its_commit_where_the_suite_says_so() {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.edit(
        "suites/made/suite.toml",
        "[build]\n",
        "[build]\nenv = { ASKED = \"0+{commit}\", BRACES = \"{{commit}}\" }\n",
    );
    let build = "environment\ncopy /nothing /build/tool\n";
    let commits = ["v3", "v4"].map(|tag| world.commit(tag, build, "print hello\n"));
    let told = world.dyno(&["run", "made", "v3", "v4", "--json"]);
    assert_eq!(told.code, Some(5), "{told:?}");
    let logs = json(&told)["failures"].to_string();
    for commit in commits {
        assert!(logs.contains(&format!("ASKED=0+{commit}\\n")), "{logs}");
    }
    assert!(logs.contains("BRACES={commit}\\n"), "{logs}");
}

#[test]
fn a_repeated_program_is_one_sample() {
    if !embedded() {
        return;
    }
    let world = world_with(&[(
        "short",
        &guest(&["burn", "3"]),
        "stdout_sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
    )]);
    let wall = "SELECT benchmark, round(avg(value) / 1e6) AS ms FROM samples WHERE metric = 'wall' AND benchmark = 'short' GROUP BY benchmark";
    let ms = |world: &World| -> f64 {
        let told = world.dyno(&["sql", "--output", "csv", wall]);
        told.out.trim().rsplit(',').next().unwrap().parse().unwrap_or_else(|_| panic!("{told:?}"))
    };
    let run = ["run", "made", "v1", "v2", "--rounds", "2", "--benchmark", "short"];
    let once = world.dyno(&run);
    let words = |told: &Told| told.out.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = words(&once);
    assert_eq!(said.matches("1 case takes less than 20 ms a sample").count(), 1, "{once:?}");
    assert!(said.contains("short (") && said.contains(" ms; repeat = "), "{once:?}");
    let before = ms(&world);
    world.edit("suites/made/suite.toml", "name = \"short\"", "name = \"short\"\nrepeat = 20");
    world.edit("suites/made/suite.toml", "a made-up target", "a made-up target, once more");
    fs::remove_dir_all(world.path().join("store")).unwrap();
    let told = world.dyno(&run);
    let said = words(&told);
    assert!(said.contains("each sample is the sum of several processes in a row"), "{told:?}");
    assert!(said.contains("short (repeat = 20)") && !said.contains("less than 20 ms"), "{told:?}");
    assert!(ms(&world) > 60.0 && ms(&world) > 5.0 * before, "{} {before}", ms(&world));
}

#[test]
fn expected_files_come_from_a_commit_that_is_trusted() {
    if !embedded() {
        return;
    }
    let world =
        world_with(&[("more", &guest(&["print", "more"]), "stderr_file = \"answers/more.txt\"")]);
    let file = |name: &str| fs::read_to_string(world.path().join("suites/made").join(name));
    fs::remove_file(world.path().join("suites/made/hello.txt")).unwrap();
    let expect = |words: &[&str]| world.dyno(&[&["suite", "expect", "made"], words].concat());
    check(&world.dyno(&RUN), 2, &["hello.txt (benchmark greet)"]);
    let told = expect(&["v1"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("hello.txt (greet): written, 5 bytes"), "{told:?}");
    assert_eq!(
        (file("hello.txt").unwrap(), file("answers/more.txt").unwrap()),
        ("hello".into(), String::new())
    );
    check(&world.dyno(&RUN), 0, &[]);
    assert!(expect(&["v1"]).out.contains("hello.txt (greet): as it was"));

    world.commit("v3", BUILD, "print jello\n");
    let told = expect(&["v3"]);
    check(&told, 5, &["hold another answer", "--force"]);
    assert!(
        told.out.contains("left as it is: line 1, column 1: expected \"hello\", got \"jello\""),
        "{told:?}"
    );
    assert_eq!(file("hello.txt").unwrap(), "hello");
    let told = expect(&["v3", "--force", "--benchmark", "greet"]);
    assert_eq!((told.code, &*file("hello.txt").unwrap()), (Some(0), "jello"), "{told:?}");

    world.commit("v4", BUILD, "print x\nexit 1\n");
    check(&expect(&["v4", "--force"]), 5, &["nothing was written: greet: ended with exit code 1"]);
    assert_eq!(file("hello.txt").unwrap(), "jello");
}

/// The new suite needs gcc, so that its image is that of the tests here, which has none: its file is
/// read and its commits resolve.
#[test]
fn a_new_suite_is_right_and_is_listed() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let told = world.dyno(&["suite", "new", "mine"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("dyno suite check mine v1"), "{told:?}");
    let plan = world.dyno(&["run", "mine", "v1", "v2", "--plan"]);
    assert_eq!(plan.code, Some(0), "{plan:?}");
    check(&world.dyno(&["suite", "new", "mine"]), 2, &["is there already"]);
    check(&world.dyno(&["suite", "new", "../x"]), 2, &["cannot be a name"]);
    world.write("suites/made/suite.toml", "what = 1\n");
    let listed = json(&world.dyno(&["suite", "list", "--json"]));
    assert_eq!((&listed[1]["name"], &listed[1]["cases"]), (&"mine".into(), &2.into()), "{listed}");
    assert!(listed[0]["mistake"].as_str().unwrap().contains("suites/made/suite.toml"), "{listed}");
    let text = world.dyno(&["suite", "list"]).out;
    assert!(text.contains("mine") && text.contains("cannot be read"), "{text}");
}
