//! The queue of a folder: from a request to a published row, by an agent.

use crate::world::{World, check, embedded};

#[test]
fn what_is_asked_is_measured_once() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let request = ["request", "made", "v1", "v2", "--rounds", "2"];
    let asked = world.dyno(&request);
    check(&asked, 0, &[" asked, 1 job"]);
    let id = asked.out.split(' ').next().unwrap().to_string();
    // Asking twice is asking once.
    check(&world.dyno(&request), 0, &[&id, " asked before, 1 job"]);
    check(&world.dyno(&["queue"]), 0, &["1 job is open", "waits", "no host was seen"]);

    let agent = ["agent", "--once", "--poll", "1", "--lease", "4"];
    check(&world.dyno(&agent), 0, &["takes jobs from", ": done"]);
    check(&world.dyno(&["queue"]), 0, &["nothing is open", "  local  "]);
    let count = "SELECT count(*) FROM runs";
    check(&world.dyno(&["sql", count, "--output", "csv"]), 0, &["\n1\n"]);
    // It has been answered: waiting is over at once, and nothing is measured again.
    let waited = [&request[..], &["--wait"]].concat();
    check(&world.dyno(&waited), 0, &["asked before", "done by local", "Unchanged"]);
    check(&world.dyno(&agent), 0, &[]);
    check(&world.dyno(&["sql", count, "--output", "csv"]), 0, &["\n1\n"]);
}

#[test]
fn what_is_cancelled_is_never_measured() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let asked = world.dyno(&["request", "made", "v1", "v2", "--rounds", "2", "--on", "nobody"]);
    check(&asked, 0, &["no host of the class nobody was seen: its jobs wait for one"]);
    let id = asked.out.split(' ').next().unwrap().to_string();
    let agent = ["agent", "--once", "--poll", "1", "--lease", "4"];
    check(&world.dyno(&agent), 0, &["nothing to do: it is for nobody"]);
    check(&world.dyno(&["cancel", &id]), 0, &[": cancelled by "]);
    check(&world.dyno(&["queue"]), 0, &["nothing is open"]);
    check(&world.dyno(&["cancel", &id]), 0, &[": cancelled by "]);
    check(&world.dyno(&["cancel", "abc"]), 2, &["no request and no open job has the id abc"]);
    // A request that cannot be answered by its commits has failed, and says why.
    world.commit("broken", "exit 3", "print hello\n");
    check(&world.dyno(&["request", "made", "v1", "broken", "--rounds", "2"]), 0, &[" asked"]);
    check(&world.dyno(&agent), 0, &[": done"]);
}
