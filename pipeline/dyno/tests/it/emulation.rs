//! A host of an architecture that this machine is not: an emulator runs its programs, under the
//! same container as ever, and what is measured is marked.
//!
//! Needs an emulator that is registered with binfmt_misc (flag F), and a Rust standard library for
//! that architecture to compile the guest with.

use serde_json::Value;

use crate::skip;
use crate::world::{BUILD, World, docker, embedded, foreign, foreign_guest};

fn world() -> Option<World> {
    let (machine, _) = foreign();
    let entry = format!("/proc/sys/fs/binfmt_misc/qemu-{machine}");
    let registered = std::fs::read_to_string(&entry).unwrap_or_default();
    if !registered.lines().any(|line| line.starts_with("flags:") && line.contains('F')) {
        skip("emulation", &format!("{entry} has no emulator with flag F"));
        return None;
    }
    let Some(guest) = foreign_guest() else {
        skip("emulation", &format!("rustup target add {machine}-unknown-linux-musl"));
        return None;
    };
    Some(World::foreign(guest))
}

fn measures_and_marks(world: &World, host: &str) -> Value {
    let (machine, _) = foreign();
    let from = "metrics = [\"wall\"";
    let to = "metrics = [\"wall\", \"instructions:u\", \"instructions:cachegrind\"";
    world.edit("suites/made/suite.toml", from, to);
    let words = ["run", "made", "v1", "v2", "--rounds", "3", "--json"];
    let told = world.dyno(&[&words[..], &["--host", host]].concat());
    assert_eq!(told.code, Some(0), "{told:?}");
    let view: Value = serde_json::from_str(&told.out).unwrap();
    let notices = view["notices"].to_string();
    assert!(notices.contains(&format!("programs of {machine} are emulated")), "{notices}");
    assert!(view["runs"][0]["machine"].to_string().contains("emulated by"), "{}", view["runs"]);
    let marked = format!(
        "SELECT (SELECT count(*) FROM samples WHERE emulated AND arch = '{machine}' AND metric = 'wall') AS samples,
                (SELECT count(*) FROM samples WHERE NOT emulated OR metric LIKE 'instr%') AS native,
                (SELECT count(*) FROM samples WHERE metric = 'artifact-size') AS sizes,
                (SELECT count(*) FROM runs WHERE emulated AND outcome = 'done') AS runs,
                (SELECT count(DISTINCT architecture) FROM comparisons
                 WHERE architecture = '{machine} (emulated)') AS kinds"
    );
    let counted = world.dyno(&["sql", "--output", "csv", &marked]);
    assert!(counted.out.trim().ends_with("\n6,0,4,1,1"), "{counted:?}");
    // What is refused, and what is found out, is the same for an emulated program.
    for (tag, program, said) in [
        ("b1", "processes 2\nprint hello\n", "left 2 processes running"),
        ("b2", "write /etc/x\n", "a wrong answer"),
    ] {
        world.commit(tag, BUILD, program);
        let told = world.dyno(&["run", "made", "v1", tag, "--rounds", "1", "--host", host]);
        assert_eq!(told.code, Some(5), "{told:?}");
        assert!(told.out.contains(said), "{said}: {told:?}");
    }
    view
}

#[test]
fn a_foreign_host_is_emulated_and_marked() {
    if !embedded() {
        return;
    }
    let Some(world) = world() else { return };
    let view = measures_and_marks(&world, "local");
    let job = view["runs"][0]["job"].as_str().unwrap();
    let again = world.dyno(&["reproduce", job]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.err.contains("are emulated on this"), "{again:?}");
}

#[tokio::test]
async fn docker_emulates_it_too() {
    let Some(docker) = docker().await else { return };
    let Some(world) = world() else { return };
    measures_and_marks(&world, "docker");
    world.forget(&docker).await;
}

#[test]
fn a_host_that_nothing_emulates_is_refused() {
    let world = World::bare();
    world.write("hosts/vax.toml", "architecture = \"vax\"\n");
    let told = world.dyno(&["run", "made", "v1", "v2", "--host", "vax"]);
    assert_eq!(told.code, Some(3), "{told:?}");
    for part in ["the host vax is declared as vax, but this machine is", "docs/hosts.md, Emulation"]
    {
        assert!(told.err.contains(part), "{part}: {told:?}");
    }
}
