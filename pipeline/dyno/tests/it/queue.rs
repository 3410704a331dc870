//! The queue of a folder: from a request to a published row, by an agent.

use crate::world::{Told, World, check, embedded};

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
