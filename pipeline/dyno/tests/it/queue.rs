//! The queue of a folder: from a request to a published row, by an agent.

use crate::world::{Told, World, check, embedded, names};

/// Checks that it ended well, and printed these on either stream.
fn prints(told: &Told, parts: &[&str]) {
    assert_eq!(told.code, Some(0), "{told:?}");
    let text = format!("{}{}", told.out, told.err);
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {told:?}");
    }
}

#[test]
fn what_is_asked_is_measured_once() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let request = ["request", "made", "v1", "v2", "--rounds", "2"];
    let asked = world.dyno(&request);
    prints(&asked, &[" asked, 1 job"]);
    let id = asked.out.split(' ').next().unwrap().to_string();
    // Asking twice is asking once.
    prints(&world.dyno(&request), &[&id, " asked before, 1 job"]);
    prints(&world.dyno(&["queue"]), &["1 job is open", "waits", "no host was seen"]);

    let agent = ["agent", "--once", "--poll", "1", "--lease", "4"];
    prints(&world.dyno(&agent), &["takes jobs from", ": done"]);
    prints(&world.dyno(&["queue"]), &["nothing is open", "  local  "]);
    let count = "SELECT count(*) FROM runs";
    prints(&world.dyno(&["sql", count, "--output", "csv"]), &["\n1\n"]);
    // It has been answered: waiting is over at once, and nothing is measured again.
    let waited = [&request[..], &["--wait"]].concat();
    prints(&world.dyno(&waited), &["asked before", "done by local", "Unchanged"]);
    prints(&world.dyno(&agent), &[]);
    prints(&world.dyno(&["sql", count, "--output", "csv"]), &["\n1\n"]);
}

/// A machine that lacks what every job needs takes none, and costs none an attempt.
#[test]
fn an_agent_that_cannot_measure_takes_nothing() {
    if !embedded() {
        return;
    }
    let world = World::new();
    prints(&world.dyno(&["request", "made", "v1", "v2", "--rounds", "2"]), &[" asked, 1 job"]);
    let mut without_git = world.command(&["agent", "--once", "--poll", "1", "--lease", "4"]);
    without_git.env("PATH", world.path());
    check(&world.told(without_git), 3, &["git is not installed", "hint: install git"]);
    world.write("hosts/away.toml", "engine = \"docker\"\nsocket = \"/nonexistent/docker.sock\"\n");
    let without_engine = ["agent", "--host", "away", "--once", "--poll", "1", "--lease", "4"];
    check(&world.dyno(&without_engine), 3, &["/nonexistent/docker.sock"]);
    assert!(names(&world.path().join("store/queue/claims"), "").is_empty());
    prints(&world.dyno(&["queue"]), &["1 job is open", "no host was seen"]);
}

#[test]
fn what_is_cancelled_is_never_measured() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let asked = world.dyno(&["request", "made", "v1", "v2", "--rounds", "2", "--on", "nobody"]);
    prints(&asked, &["no host of the class nobody was seen: its jobs wait for one"]);
    let id = asked.out.split(' ').next().unwrap().to_string();
    let agent = ["agent", "--once", "--poll", "1", "--lease", "4"];
    prints(&world.dyno(&agent), &["nothing to do: job ", ": it is for nobody"]);
    prints(&world.dyno(&["cancel", &id]), &[": cancelled by "]);
    prints(&world.dyno(&["queue"]), &["nothing is open"]);
    prints(&world.dyno(&["cancel", &id]), &[": cancelled by "]);
    check(&world.dyno(&["cancel", "abc"]), 2, &["no request and no open job has the id abc"]);
}
