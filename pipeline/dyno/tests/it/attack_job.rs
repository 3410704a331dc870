//! Attacks on whole jobs: a hostile benchmark fails its own case, on its own side, with a reason
//! that names what it did; a hostile build fails its own commit. Whatever else the job has to
//! say it says as if they were not there, and nothing of them stays.

use serde_json::Value;

use crate::sample::sample;
use crate::world::{BUILD, Told, World, docker, embedded, git, left_by};

fn json(told: &Told) -> Value {
    serde_json::from_str(&told.out).unwrap_or_else(|error| panic!("{error}: {told:?}"))
}

/// Name, what the candidate does instead of saying hello, and the reason that must be given; `None`
/// where it does no harm and does not fail.
const BENCHMARKS: &[(&str, &str, Option<&str>)] = &[
    ("a-first", "print,hello", None),
    ("wrong", "print,jello", Some("a wrong answer")),
    (
        "kill",
        "attack,call,62,1,9",
        Some("made a system call that only an attack makes (SIGSYS, signal 31)"),
    ),
    ("trace", "attack,call,101,16,1,0,0", Some("made a system call that only an attack makes")),
    ("forge", "attack,forge,{}", Some("a wrong answer")),
    ("daemon", "attack,daemon", Some("left 1 process running (tool)")),
    ("late", "attack,late", Some("left 1 process running (tool)")),
    ("storm", "attack,storm", Some("running (tool")),
    ("bomb", "processes,1000", Some("running (tool, tool, tool, tool, tool)")),
    ("memory", "memory,400", Some("was killed (SIGKILL, signal 9)")),
    ("kernel-memory", "attack,pipes", None),
    ("flood", "flood", Some("wrote more than it may (SIGXFSZ, signal 25; limits.output)")),
    (
        "disk",
        "fill,/tmp/x,1000",
        Some("wrote more than it may (SIGXFSZ, signal 25; limits.output)"),
    ),
    ("endless", "spin", Some("took longer than 1 s (limits.time_s)")),
    ("files", "attack,files,/tmp", None),
    ("deep", "attack,deep,/tmp", Some("a wrong answer")),
    ("clock", "attack,clock,50", Some("a wrong answer")),
    ("keep", "attack,keep,hello", None),
    ("answer", "attack,answer,/suite/hello.txt", Some("ended with exit code 101")),
    ("digest", "attack,answer,/suite/suite.toml", Some("ended with exit code 101")),
    ("orphan", "attack,orphan", None),
    ("trap", "attack,trap", None),
    ("shout", "attack,shout", Some("a wrong answer")),
    ("baseline", "read,/artifact/a/tool", Some("a wrong answer")),
    ("z-last", "print,hello", None),
];

/// A world with the benchmarks above; `v1` is honest, `v2` is not.
fn hostile_world() -> World {
    let world = World::new();
    let suite = std::fs::read_to_string(world.path().join("suites/made/suite.toml")).unwrap();
    let (head, _) = suite.split_once("[[benchmark]]").unwrap();
    let mut suite = head.to_string();
    for (name, words, _) in BENCHMARKS {
        let time_s = if *name == "endless" { 1 } else { 20 };
        suite.push_str(&format!(
            "[[benchmark]]\nname = \"{name}\"\nwhat = \"one of many\"\n\
             command = [\"{{artifact}}/tool\", \"honest-or\", \"{words}\", \"{{artifact}}/program\"]\n\
             expected = {{ stdout_file = \"hello.txt\" }}\n\
             limits = {{ time_s = {time_s}, memory = \"256MiB\", pids = 64, output = \"1MiB\" }}\n"
        ));
    }
    world.write("suites/made/suite.toml", &suite);
    world.commit("honest", BUILD, "honest\n");
    world.commit("hostile", BUILD, "hostile\n");
    world
}

fn fails_its_case_only(world: &World, host: &str) {
    let words = ["run", "made", "honest", "hostile", "--rounds", "2", "--host", host, "--json"];
    let told = world.dyno(&words);
    assert_eq!(told.code, Some(5), "{told:?}");
    let view = json(&told);
    let failures = view["failures"].as_array().unwrap();
    for (name, words, reason) in BENCHMARKS {
        let mut of = failures.iter().filter(|failure| failure["benchmark"] == *name);
        let (failure, more) = (of.next(), of.next());
        assert!(more.is_none(), "{name} fails on one side only: {more:?}");
        match (reason, failure) {
            (None, None) => {}
            (Some(reason), Some(failure)) => {
                assert_eq!(failure["side"], "candidate", "{name}");
                let said = failure["reason"].as_str().unwrap();
                assert!(said.contains(reason), "{name}: {words}: {said}");
            }
            (reason, failure) => panic!("{name}: {reason:?}: {failure:?}"),
        }
    }
    // Those that failed nowhere have every round on both sides, the others one of the baseline's: then
    // nothing more can be said of them.
    let query = "SELECT benchmark, count(*) AS n FROM samples WHERE metric = 'wall' GROUP BY benchmark ORDER BY benchmark";
    let counted = world.dyno(&["sql", "--output", "csv", query]);
    for (name, _, reason) in BENCHMARKS {
        let found = counted.out.lines().find_map(|line| line.strip_prefix(&format!("{name},")));
        let found: u32 = found.unwrap_or_else(|| panic!("{name}: {counted:?}")).parse().unwrap();
        // A round that something else on the machine disturbed is kept, and comes again.
        let is_right =
            if reason.is_none() { found >= 4 && found.is_multiple_of(2) } else { found == 1 };
        assert!(is_right, "{name}: {counted:?}");
    }
    assert_eq!(world.scratch(), Vec::<String>::new());
}

#[test]
fn embedded_a_hostile_benchmark_fails_its_case_only() {
    if embedded() {
        fails_its_case_only(&hostile_world(), "local");
    }
}

#[tokio::test]
async fn docker_a_hostile_benchmark_fails_its_case_only() {
    let Some(docker) = docker().await else { return };
    let world = hostile_world();
    fails_its_case_only(&world, "docker");
    world.forget(&docker).await;
}

/// What a program prints when it was not told what to: a table that its commit brought along.
#[test]
fn an_answer_of_the_baselines_is_what_the_candidate_must_give() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let suite = "suites/made/suite.toml";
    world.edit(suite, "\"{artifact}/program\"]", "\"{artifact}/program\", \"{seed}\"]");
    world.edit(suite, "stdout_file = \"hello.txt\"", "stdout_of = \"baseline\"");
    for (tag, program) in [
        ("honest", "print argument\n"),
        ("also", "print argument\n"),
        ("table", "print 42\n"),
        ("broken", "exit 3\n"),
    ] {
        world.commit(tag, BUILD, program);
    }
    for (pair, failures) in [
        (["honest", "also"], vec![]),
        (["honest", "table"], vec![("candidate", "a wrong answer")]),
        (["broken", "also"], vec![("baseline", "exit code 3"), ("candidate", "nobody can check")]),
    ] {
        let told = world.dyno(&["run", "made", pair[0], pair[1], "--rounds", "2", "--json"]);
        assert_eq!(told.code, Some(if failures.is_empty() { 0 } else { 5 }), "{told:?}");
        let view = json(&told);
        let found = view["failures"].as_array().unwrap();
        assert_eq!(found.len(), failures.len(), "{pair:?}: {found:?}");
        for (found, (side, reason)) in found.iter().zip(failures) {
            assert_eq!(found["side"], side, "{pair:?}");
            assert!(found["reason"].as_str().unwrap().contains(reason), "{pair:?}: {found}");
        }
    }
    // The number is the run's own, and the same in all of its processes.
    world.edit(suite, "stdout_of = \"baseline\"", "stdout_file = \"hello.txt\"");
    world.dyno(&["run", "made", "honest", "also", "--rounds", "2"]);
    let query = "SELECT seed FROM runs ORDER BY finished DESC LIMIT 1";
    let seed = world.dyno(&["sql", "--output", "csv", query]).out;
    let seed: u64 = seed.lines().nth(1).unwrap().trim().parse().unwrap();
    let logs = world.dyno(&["sql", "--output", "csv", "SELECT failures FROM runs"]).out;
    assert!(logs.contains(&format!("{}", seed >> 1)), "{seed}: {logs}");
}

/// What a build does, and the reason that must be given.
const BUILDS: &[(&str, &str)] = &[
    // Exhaustion.
    ("attack lines\n", "build wrote more than it may (SIGXFSZ, signal 25; limits.output)"),
    ("flood\n", "build wrote more than it may (SIGXFSZ, signal 25; limits.output)"),
    ("memory 400\n", "build was killed (SIGKILL, signal 9)"),
    ("fill /build/x 100\n", "build wrote more than it may (SIGXFSZ, signal 25; limits.output)"),
    ("attack files /build\n", "build wrote more than 64.00 MiB to the disk"),
    ("attack files /src\n", "build wrote more than 64.00 MiB to the disk"),
    (
        "fill /build/a 30\nfill /build/b 30\nfill /build/c 30\nfill /src/d 30\nsleep 60\n",
        "build wrote more than 64.00 MiB to the disk",
    ),
    ("attack deep /build\nsleep 60\n", "build made folders deeper than a path is long"),
    // Outputs that are no plain files of their own.
    ("copy /guest /build/tool\n", "the output program (program) cannot be taken"),
    ("link /etc/passwd /build/program\n", "cannot be taken"),
    ("link ../src/program /build/program\n", "cannot be taken"),
    ("link /proc/self/environ /build/program\n", "cannot be taken"),
    ("attack folder /build/program\n", "cannot be taken"),
    ("attack fifo /build/program\n", "cannot be taken"),
    ("attack sparse /build/program 1000\n", "Some(27)"),
    ("attack mknod\n", "build ended with exit code 101"),
    // Kills and traces what builds it.
    ("attack call 62 1 9\n", "build made a system call that only an attack makes"),
];

/// Builds of which nothing may be left to chance, and the reason that must be given, if any.
const MORE_BUILDS: &[(&str, Option<&str>)] = &[
    ("copy /guest /build/tool\ncopy /src/program /build/program\nattack trap\n", None),
    ("attack unlinked /build 30 3\n", Some("build wrote more than 64.00 MiB to the disk")),
];

/// A commit tagged `tag`: ten trees in each other, each of which has the next one ten times.
fn bomb(world: &World, tag: &str) {
    let target = world.path().join("target");
    let mut tree = git(&target, &["rev-parse", "v1^{tree}"]);
    for _ in 0..10 {
        let entries: String = (0..10).map(|name| format!("040000 tree {tree}\t{name}\n")).collect();
        std::fs::write(world.path().join("entries"), entries).unwrap();
        let mut git = std::process::Command::new("git");
        git.arg("-C").arg(&target).arg("mktree");
        git.stdin(std::fs::File::open(world.path().join("entries")).unwrap());
        tree = String::from_utf8(git.output().unwrap().stdout).unwrap().trim().to_string();
    }
    let commit = git(&target, &["commit-tree", "-m", tag, &tree]);
    git(&target, &["tag", tag, &commit]);
}

fn hostile_builds(world: &World, host: &str) {
    let suite = "suites/made/suite.toml";
    world.edit(suite, "output = \"64MiB\" }", "output = \"32MiB\", disk = \"64MiB\" }");
    // Without an end: the one that must be short of time.
    world.commit("endless", "spin\n", "");
    world.edit(suite, "time_s = 30", "time_s = 2");
    let words = ["run", "made", "endless", "endless", "--host", host, "--json"];
    let told = world.dyno(&words);
    assert!(told.out.contains("build took longer than 2 s (limits.time_s)"), "{told:?}");
    world.edit(suite, "time_s = 2,", "time_s = 30,");
    // A commit of few bytes that stands for files without end.
    bomb(world, "bomb");
    let told =
        world.dyno(&["run", "made", "v1", "bomb", "--rounds", "1", "--host", host, "--json"]);
    assert_eq!(told.code, Some(5), "{told:?}");
    let view = json(&told);
    let [failure] = view["failures"].as_array().unwrap().as_slice() else { panic!("{told:?}") };
    assert_eq!((&failure["side"], &failure["step"]), (&"candidate".into(), &"source".into()));
    assert_eq!(failure["reason"], "the check-out wrote more than 64.00 MiB to the disk");
    assert_eq!(world.scratch(), Vec::<String>::new());
    // Two at a time: each side is hostile in its own way, so nothing is measured.
    let builds = sample("hostile builds", BUILDS.to_vec(), 4);
    for (pair, builds) in builds.chunks(2).enumerate() {
        let tags: Vec<String> = (0..builds.len()).map(|side| format!("bad{pair}-{side}")).collect();
        for (tag, (build, _)) in tags.iter().zip(builds) {
            // What works is there first, so that what is wrong is what is tried.
            let tool = if build.contains("/build/tool") { "" } else { "copy /guest /build/tool\n" };
            world.commit(tag, &format!("{tool}{build}"), "print hello\n");
        }
        let [first, .., last] = [&tags[0], &tags[tags.len() - 1]];
        let told =
            world.dyno(&["run", "made", first, last, "--rounds", "1", "--host", host, "--json"]);
        assert_eq!(told.code, Some(5), "{builds:?}: {told:?}");
        let view = json(&told);
        for (side, (build, reason)) in ["baseline", "candidate"].iter().zip(builds) {
            let failures = view["failures"].as_array().unwrap().iter();
            let of: Vec<String> =
                failures.filter(|f| f["side"] == *side).map(Value::to_string).collect();
            assert!(of.len() == 1 && of[0].contains(reason), "{build:?}: {of:?}");
        }
        assert_eq!(world.scratch(), Vec::<String>::new(), "{builds:?}");
    }
    for (number, (build, reason)) in MORE_BUILDS.iter().enumerate() {
        let tag = format!("more{number}");
        world.commit(&tag, build, "print hello\n");
        let told =
            world.dyno(&["run", "made", "v1", &tag, "--rounds", "1", "--host", host, "--json"]);
        let failures = &json(&told)["failures"];
        match reason {
            None => assert_eq!(failures.as_array().unwrap().len(), 0, "{build:?}: {failures}"),
            Some(reason) => {
                assert_eq!(failures[0]["side"], "candidate", "{build:?}: {failures}");
                assert!(failures[0].to_string().contains(reason), "{build:?}: {failures}");
            }
        }
        assert_eq!(world.scratch(), Vec::<String>::new());
    }
    // Files with odd names beside the outputs, processes left running: no harm.
    let odd = format!(
        "{BUILD}attack odd-names /build\nattack hard /build/tool /build/more\nprocesses 5\nattack storm\n"
    );
    world.commit("odd", &odd, "print hello\n");
    let told = world.dyno(&["run", "made", "v1", "odd", "--rounds", "1", "--host", host, "--json"]);
    assert_eq!(told.code, Some(0), "{}: {}", told.err, json(&told)["failures"]);
    assert_eq!(world.scratch(), Vec::<String>::new());
    // Whatever an artifact's folder is called and lies below.
    let (mut folders, mut taken) = (vec![world.cache().join("artifacts")], 0);
    while let Some(folder) = folders.pop() {
        let entries: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().collect();
        if folder.ends_with("files") {
            let mut names: Vec<_> = entries.iter().map(std::fs::DirEntry::file_name).collect();
            names.sort();
            assert_eq!(names, ["program", "tool"], "only what was declared is taken");
            taken += 1;
        } else {
            folders
                .extend(entries.iter().map(std::fs::DirEntry::path).filter(|path| path.is_dir()));
        }
    }
    assert_eq!(taken, 3, "of v1, odd, and the one that left traps");
    assert!(left_by(std::process::id()).is_empty() || host != "local");
}

#[test]
fn embedded_a_hostile_build_fails_its_commit_only() {
    if embedded() {
        hostile_builds(&World::new(), "local");
    }
}

#[tokio::test]
async fn docker_a_hostile_build_fails_its_commit_only() {
    let Some(docker) = docker().await else { return };
    let world = World::new();
    hostile_builds(&world, "docker");
    world.forget(&docker).await;
}
