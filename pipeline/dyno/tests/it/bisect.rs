//! `git bisect run` with `--bisect`: a commit that got slower is found, whatever else does not work.

use std::path::Path;
use std::process::Command;

use crate::world::{BUILD, World, embedded, git};

/// A program that is as large as it is slow.
fn program(lines: usize) -> String {
    format!("print hello\n{}", "\n".repeat(lines))
}

#[test]
fn git_bisect_finds_the_commit() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let commit = |tag: &str, build: &str, program: &str| world.commit(tag, build, program);
    commit("good", BUILD, &program(1000));
    commit("does-not-build", "exit 3\n", &program(1001));
    commit("does-not-work", BUILD, "exit 3\n");
    commit("fast", BUILD, &program(1001));
    let slow = commit("slow", BUILD, &program(2000));
    commit("after", BUILD, &program(2001));
    commit("bad", BUILD, &program(2002));
    let target = world.path().join("target");
    git(&target, &["bisect", "start", "bad", "good"]);
    let mut bisect = Command::new("git");
    let program = Path::new(env!("CARGO_BIN_EXE_dyno"));
    let dyno = world.command(&[]);
    bisect.env_clear().envs(dyno.get_envs().filter_map(|(name, value)| Some((name, value?))));
    bisect.arg("-C").arg(&target).args(["bisect", "run"]).arg(program);
    bisect.args(["run", "made", "good", "HEAD", "--bisect", "--rounds", "2", "--quiet"]);
    let told = world.told(bisect);
    assert_eq!(told.code, Some(0), "{told:?}");
    let found = format!("{slow} is the first bad commit");
    assert!(told.out.contains(&found) || told.err.contains(&found), "{told:?}");
}

#[test]
fn only_a_verdict_tells_a_commit_is_good_or_bad() {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.commit("small", BUILD, &program(1000));
    world.commit("large", BUILD, &program(2000));
    world.commit("broken", "exit 3\n", "");
    world.commit("wrong", BUILD, "print bye\n");
    let cases: [(&str, i32); 9] = [
        ("run made small small", 0),
        ("run made large small", 0),
        ("run made small large", 1),
        ("compare small large", 1),
        ("run made small broken", 125),
        ("run made small wrong", 125),
        ("run made small nowhere", 125),
        ("run mad small large", 125),
        ("compare small nowhere", 125),
    ];
    for (words, code) in cases {
        let words: Vec<&str> = words.split(' ').chain(["--bisect"]).collect();
        let rounds: &[&str] = if words[0] == "run" { &["--rounds", "2"] } else { &[] };
        let told = world.dyno(&[&words[..], rounds].concat());
        assert_eq!(told.code, Some(code), "{words:?}: {told:?}");
    }
}
