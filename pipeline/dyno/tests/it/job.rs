//! Whole jobs without network: two commits of a made-up target to a verdict, and what becomes of
//! commits and cases that do not work.

use serde_json::Value;

use crate::world::{BUILD, Told, World, docker, embedded};

const RUN: [&str; 6] = ["run", "made", "v1", "v2", "--rounds", "3"];

fn json(told: &Told) -> Value {
    serde_json::from_str(&told.out).unwrap_or_else(|error| panic!("{error}: {told:?}"))
}

#[test]
fn two_commits_come_to_a_verdict() {
    if !embedded() {
        return;
    }
    let world = World::new();
    // A larger artifact: a metric without noise.
    let program = format!("print hello\n{}", "\n".repeat(5000));
    let head = world.commit("v3", BUILD, &program);
    let first = world.dyno(&["run", "made", "v1", "main", "--rounds", "3", "--fail-on-regression"]);
    assert_eq!(first.code, Some(1), "{first:?}");
    assert!(first.out.to_lowercase().contains("regressed"), "{first:?}");
    assert!(first.err.contains(&format!("fetching main ({})", &head[..12])), "{first:?}");
    assert_eq!(world.runs(), "1");

    // The store holds it: nothing is measured, and the answer is the same.
    let again = world.dyno(&["run", "made", "v1", &head, "--rounds", "3"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.err.contains("is in the store already; --again measures it again"), "{again:?}");
    assert_eq!(world.runs(), "1");
    let asked = world.dyno(&["compare", "v1", "main", "--markdown"]);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    assert!(asked.out.to_lowercase().contains("regressed"), "{asked:?}");

    // Measured again with everything cached: no image and no artifact is made.
    let more = world.dyno(&["run", "made", "v1", "main", "--rounds", "3", "--again"]);
    assert_eq!(more.code, Some(0), "{more:?}");
    assert_eq!(more.err.matches("from the cache").count(), 2, "{more:?}");
    assert_eq!(world.runs(), "2");
    let samples = "SELECT count(*) FROM samples WHERE metric = 'wall'";
    let counted = world.dyno(&["sql", "--output", "csv", samples]);
    assert!(counted.out.trim().ends_with("\n12"), "3 rounds, 2 sides, 2 runs: {counted:?}");
}

#[test]
fn a_catalog_may_be_named_by_a_relative_path() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let told = world.dyno(&[
        "--catalog",
        ".",
        "--store",
        "there",
        "run",
        "made",
        "v1",
        "v2",
        "--rounds",
        "1",
    ]);
    assert_eq!(told.code, Some(0), "{told:?}");
}

/// The candidate is `build` and `program`; the job must come to a failed case whose reason has
/// `reason`, with no more of the baseline than `baseline_rounds`.
fn fails(build: &str, program: &str, reason: &str, baseline_rounds: u32) -> Option<Told> {
    if !embedded() {
        return None;
    }
    let world = World::new();
    world.edit("suites/made/suite.toml", "time_s = 20", "time_s = 1");
    world.commit("v3", build, program);
    let words = ["run", "made", "v1", "v3", "--rounds", "2", "--json"];
    let told = world.dyno(&words);
    assert_eq!(told.code, Some(5), "{told:?}");
    let view = json(&told);
    let failures = view["failures"].to_string();
    assert!(failures.contains(reason), "{reason}: {failures}");
    assert_eq!(world.scratch(), Vec::<String>::new());
    let wall = "SELECT count(*) FROM samples WHERE metric = 'wall' AND side = 'baseline'";
    let counted = world.dyno(&["sql", "--output", "csv", wall]);
    let expected = format!("\n{baseline_rounds}");
    assert!(counted.out.trim().ends_with(&expected), "rounds of the baseline: {counted:?}");
    // It is held, and says the same again.
    let again = world.dyno(&words);
    assert_eq!(again.code, Some(5), "{}", again.err);
    assert!(again.err.contains("in the store already"), "{again:?}");
    Some(told)
}

/// Nothing can be said of a commit without the other, so neither is measured.
#[test]
fn a_failing_build_is_shown_and_the_other_side_not_measured() {
    let build = "complain E0308-mismatched\nexit 7\n";
    let told = fails(build, "print hello\n", "build ended with exit code 7", 0);
    let Some(told) = told else { return };
    assert!(told.out.contains("E0308-mismatched"), "the log: {told:?}");
    let expected = "the candidate does not build: build ended with exit code 7; there is nothing to \
                    compare it with, so the baseline is not measured: its build is kept for the next \
                    comparison";
    assert!(told.err.contains(expected) && !told.err.contains("measure: "), "{told:?}");
    let sentence = json(&told)["sentence"].to_string();
    assert!(sentence.contains("the candidate did not build, so there is nothing"), "{sentence}");
}

/// What was built of the other side is there when the commit is mended.
#[test]
fn the_build_of_the_other_side_is_kept() {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.commit("v3", "exit 7\n", "");
    let broken = world.dyno(&["run", "made", "v3", "v1", "--rounds", "2"]);
    assert_eq!(broken.code, Some(5), "{broken:?}");
    assert!(
        broken.err.contains("so the candidate is not measured: its build is kept"),
        "{broken:?}"
    );
    assert!(broken.out.contains("the baseline did not build, so there is nothing"), "{broken:?}");
    let mended = world.dyno(&["run", "made", "v2", "v1", "--rounds", "2"]);
    assert_eq!(mended.code, Some(0), "{mended:?}");
    assert!(mended.err.contains("from the cache"), "{mended:?}");
}

#[test]
fn a_build_without_its_output_fails() {
    fails("copy /guest /build/tool\n", "", "the output program (program) cannot be taken", 0);
}

#[test]
fn an_output_that_leads_outside_fails() {
    let build = "copy /guest /build/tool\nlink /etc/passwd /build/program\n";
    fails(build, "", "the output program (program) cannot be taken", 0);
}

#[test]
fn a_wrong_answer_fails() {
    fails(BUILD, "print jello\n", "a wrong answer", 1);
}

#[test]
fn a_crash_fails() {
    fails(BUILD, "complain oops\nexit 3\n", "ended with exit code 3", 1);
}

#[test]
fn a_process_that_takes_too_long_fails() {
    fails(BUILD, "sleep 30\n", "took longer than 1 s (limits.time_s)", 1);
}

#[test]
fn a_process_that_takes_too_much_memory_fails() {
    fails(BUILD, "memory 400\nprint hello\n", "signal 9", 1);
}

#[test]
fn nothing_works_and_that_is_the_answer() {
    if !embedded() {
        return;
    }
    let world = World::new();
    for tag in ["bad1", "bad2"] {
        world.commit(tag, "exit 7\n", "");
    }
    let told = world.dyno(&["run", "made", "bad1", "bad2", "--rounds", "1", "--json"]);
    assert_eq!(told.code, Some(5), "{told:?}");
    assert_eq!(json(&told)["failures"].as_array().map(Vec::len), Some(2), "{told:?}");
}

#[test]
fn processes_left_running_fail() {
    fails(BUILD, "processes 3\n", "left 3 processes running (tool, tool, tool)", 1);
}

#[tokio::test]
async fn docker_comes_to_the_same() {
    let Some(docker) = docker().await else { return };
    let world = World::new();
    // A relative catalog too: Docker wants absolute paths of what it mounts.
    let told = world.dyno(&[&RUN[..], &["--host", "docker", "--catalog", "."]].concat());
    assert_eq!(told.code, Some(0), "{told:?}");
    let engines = "SELECT count(*) FROM runs WHERE engine LIKE 'docker%' OR engine LIKE 'podman%'";
    let counted = world.dyno(&["sql", "--output", "csv", engines]);
    assert!(counted.out.trim().ends_with("\n1"), "{counted:?}");
    world.forget(&docker).await;
}

#[test]
fn two_dynos_at_one_job_do_not_disturb_each_other() {
    if !embedded() {
        return;
    }
    let world = World::new();
    std::fs::remove_dir_all(world.cache()).unwrap();
    let told: Vec<Told> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..3).map(|_| scope.spawn(|| world.dyno(&RUN))).collect();
        started.into_iter().map(|dyno| dyno.join().unwrap()).collect()
    });
    for told in told {
        assert_eq!(told.code, Some(0), "{told:?}");
    }
    assert_eq!((world.runs().as_str(), world.scratch()), ("1", Vec::new()));
}

#[test]
fn a_metric_that_the_host_cannot_give_is_absent_and_named() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let metrics = ["cpu-migrations", "instructions", "page-faults:u", "task-clock"];
    world.edit(
        "suites/made/suite.toml",
        "\"max-rss\"",
        &metrics.map(|m| format!("{m:?}")).join(", "),
    );
    let told = world.dyno(&[&RUN[..], &["--json"]].concat());
    assert_eq!(told.code, Some(0), "{told:?}");
    let counted = "SELECT metric, count(*), min(value) > 0 FROM samples GROUP BY 1 ORDER BY 1";
    let counted = world.dyno(&["sql", "--output", "csv", counted]).out;
    for there in ["page-faults:u,6,true", "task-clock,6,true", "wall,6,true"] {
        assert!(counted.lines().any(|line| line == there), "{there}: {counted}");
    }
    // Counting what the kernel does needs a right that no container has; instructions, a counter
    // that many machines have not.
    let notices = json(&told)["notices"].to_string();
    for name in ["cpu-migrations", "instructions"] {
        let there = counted.lines().any(|line| line.starts_with(&format!("{name},")));
        assert_ne!(there, notices.contains(name), "{name}: {counted} {notices}");
    }
    let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap();
    let denied = level.trim().parse::<i32>().unwrap() > 1;
    assert_eq!(notices.contains("not measured: cpu-migrations"), denied, "{notices}");
}

#[test]
fn a_fixed_address_layout_is_another_series() {
    if !embedded() {
        return;
    }
    let world = World::new();
    assert_eq!(world.dyno(&RUN).code, Some(0));
    world.edit("hosts/local.toml", "engine", "aslr = false\nengine");
    let told = world.dyno(&[&RUN[..], &["--json"]].concat());
    assert_eq!((told.code, world.runs().as_str()), (Some(0), "2"), "{told:?}");
    assert!(json(&told)["notices"].to_string().contains("address layout"), "{told:?}");
    let series = "SELECT count(DISTINCT series) FROM samples WHERE metric = 'wall'";
    let series = world.dyno(&["sql", "--output", "csv", series]).out;
    assert!(series.trim().ends_with("\n2"), "{series}");
}

#[test]
fn rounds_go_on_until_the_budget_is_spent() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let plan = |more: &[&str]| {
        let words = [&["run", "made", "v1", "v2", "--plan"], more].concat();
        world.dyno(&words)
    };
    let told = plan(&["--rounds", "30", "--budget", "5"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("benchmark  config   rounds  seconds in rounds"), "{told:?}");
    assert!(told.out.contains("greet              5 to 30                  ?"), "{told:?}");
    assert!(told.out.contains("is not known before it was measured here once."), "{told:?}");
    let told = plan(&["--rounds", "3"]);
    assert!(told.out.contains("greet                   3                  ?"), "{told:?}");
    // Before it was measured the suite's own guess is taken. A round is 5 s: least are the warm-up
    // and five rounds, most as many as 30 s pay.
    let (name, guess) = ("name = \"greet\"", "name = \"greet\"\ntypical_s = 2.5");
    world.edit("suites/made/suite.toml", name, guess);
    let told = plan(&["--rounds", "30", "--budget", "30"]);
    for expected in [
        "greet              5 to 30         30 to 35 ?               – ?",
        "In all 30 s to 35 s. Rounds end after ",
        "? of 1 case never measured here: by the suite's guess",
    ] {
        assert!(told.out.contains(expected), "{expected:?}: {told:?}");
    }
    // Counting is in the first plan already, by the usual factors.
    world.edit("suites/made/suite.toml", "-size\"]", "-size\", \"instructions:cachegrind\"]");
    let counted = plan(&["--rounds", "30", "--budget", "30"]);
    assert!(counted.out.contains("Counting is a guess: "), "{counted:?}");
    assert!(!counted.out.contains("In all 30 s to 35 s."), "{counted:?}");
    world.edit("suites/made/suite.toml", ", \"instructions:cachegrind\"]", "]");
    world.edit("suites/made/suite.toml", guess, name);
    let told = plan(&["--rounds", "3", "--min-rounds", "4"]);
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(told.err.contains("--min-rounds 4 is more than --rounds 3"), "{told:?}");

    // Wall time is never as precise as δ = 0 asks: only the budget ends it. The memory of a program
    // that does the same each time is after the least rounds.
    for (metric, effect, rounds) in [("wall", "0.0", 9), ("max-rss", "0.5", 3)] {
        let text = format!("[metric.{metric}]\nsmallest_effect = {effect}\ndecides = true\n");
        world.write(&format!("policies/{metric}.toml"), &text);
        let words = ["run", "made", "v1", "v2", "--min-rounds", "3", "--rounds", "9", "--json"];
        let told = world.dyno(&[&words[..], &["--policy", metric]].concat());
        let view = json(&told);
        let run = view["runs"].as_array().and_then(|runs| runs.last()).expect("a run");
        assert_eq!(run["rounds"], rounds, "{metric}: {told:?}");
    }
    let told = plan(&["--rounds", "3", "--again"]);
    assert!(told.out.contains("Getting ready took ") && !told.out.contains("guess"), "{told:?}");
    assert!(told.out.contains("In all about "), "{told:?}");
    let held = plan(&["--min-rounds", "3", "--rounds", "9", "--policy", "max-rss"]);
    assert!(held.out.contains("is in the store already: nothing is left to measure"), "{held:?}");
}

#[test]
fn a_host_is_checked_against_itself_and_reports_show_it() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let told = world.dyno(&["compare", "v1", "v2"]);
    assert_eq!(told.code, Some(2), "{told:?}");
    let measured = world.dyno(&RUN);
    assert_eq!(measured.code, Some(0), "{measured:?}");
    assert!(measured.out.contains("dyno selfcheck"), "says how to check: {measured:?}");
    let words = ["selfcheck", "made", "v1", "--comparisons", "4", "--rounds", "3", "--json"];
    let checked = json(&world.dyno(&words));
    assert_eq!(checked["comparisons"], 4, "{checked}");
    let checks = checked["checks"].as_u64().unwrap();
    // Of the suite's metrics two are measured in rounds, wall and max-rss; the latter may be
    // constant, which is no check.
    assert!((4..=8).contains(&checks), "{checked}");
    assert!(checked["rejected"].as_u64().unwrap() <= checks, "{checked}");
    assert_eq!(checked["expected"], 0.05, "{checked}");
    let held = world.dyno(&[
        "sql",
        "--output",
        "csv",
        "SELECT count(*) FROM runs WHERE baseline_artifact = candidate_artifact",
    ]);
    assert!(held.out.trim().ends_with("\n4"), "each comparison is a job: {held:?}");
    let shown = world.dyno(&["compare", "v1", "v2", "--json"]);
    let view = json(&shown);
    assert_eq!(view["selfchecks"].as_array().unwrap().len(), 1, "{shown:?}");
    assert!(view["selfchecks"][0].to_string().contains(&format!("of {checks} checks")), "{view}");
}
