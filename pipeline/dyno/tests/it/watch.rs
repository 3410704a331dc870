//! Watched branches: what is asked for, that all of it is answered though a host dies, and that hosts
//! which contradict each other are asked again.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;

use crate::proxy::{Fault, Proxy};
use crate::server::{S3Server, URL};
use crate::world::{BUILD, Told, World, check, embedded, forget_scope, own_scope, set_scope};

const SUITE: &str = "suites/made/suite.toml";

/// Checks that it ended well, and that it said each part on either stream.
fn says(told: &Told, parts: &[&str]) {
    assert_eq!(told.code, Some(0), "{told:?}");
    let text = format!("{}{}", told.out, told.err);
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {told:?}");
    }
}

/// A world that watches its target's branch `main`, with two hosts of the class `quiet`.
fn watching(more: &str) -> World {
    let world = World::new();
    for host in ["one", "two"] {
        world.write(
            &format!("hosts/{host}.toml"),
            "engine = \"embedded\"\nload_max = 1000\ndisturbance_max = 1000\nlabels = [\"quiet\"]\n",
        );
    }
    fs::create_dir(world.path().join("watches")).unwrap();
    world.write(
        "watches/main.toml",
        &format!(
            "repository = \"../target\"\nbranch = \"main\"\nsuites = [\"made\"]\nrounds = 2\n{more}"
        ),
    );
    world
}

/// An agent with a short lease, which leaves when nothing is left, with a cache of its own.
fn agent(world: &World, host: &str) -> Command {
    let words = ["agent", "--host", host, "--once", "--poll", "1", "--lease", "4"];
    let mut command = world.command(&words);
    command.env("DYNO_CACHE", world.path().join(format!("cache-{host}")));
    command
}

/// The answer of a query of one number.
fn number(world: &World, query: &str) -> String {
    let told = world.dyno(&["sql", "--output", "csv", query]);
    assert_eq!(told.code, Some(0), "{told:?}");
    told.out.trim().rsplit('\n').next().unwrap().to_string()
}

/// The whole product: a branch of twelve commits, two hosts with caches and cores of their own; one
/// is killed while it measures, and every commit has its verdict.
#[test]
fn every_commit_has_its_verdict_though_a_host_dies() {
    if !embedded() {
        return;
    }
    let world = watching("classes = [\"quiet\"]\nopen_max = 0\n");
    let mut commits = vec!["v1".to_string(), "v2".to_string()];
    for number in 3..=12 {
        commits.push(world.commit(&format!("v{number}"), BUILD, "print hello\n"));
    }
    let watch = ["watch", "--once"];
    says(
        &world.dyno(&watch),
        &["has no parent, and nothing", "11 comparisons of made asked of quiet"],
    );
    // What was asked is not asked again.
    let again = world.dyno(&watch);
    assert!(again.code == Some(0) && !again.err.contains("asked of"), "{again:?}");
    says(&world.dyno(&["queue"]), &["11 jobs are open", "for quiet, priority 3"]);

    let scope = own_scope(&world.path().join("cache-two"));
    fs::create_dir(world.path().join("cache-two")).unwrap();
    let mut second = agent(&world, "two");
    set_scope(&mut second, &scope);
    let mut second = World::command_until(second, " → ");
    let first = World::command_until(agent(&world, "one"), " → ");
    second.wait_for(": done");
    second.wait_for(" → ");
    second.signal(libc::SIGKILL);
    assert_eq!(second.end().0, None);
    let (code, said) = first.end();
    assert_eq!(code, Some(0), "{said}");
    forget_scope(&scope);

    says(&world.dyno(&["queue"]), &["nothing is open", "  one  ", "  two  "]);
    let pairs = "SELECT count(DISTINCT candidate_commit) FROM runs";
    assert_eq!((world.runs(), number(&world, pairs)), ("11".into(), "11".into()));
    for pair in commits.windows(2) {
        let name = |tag: &str| {
            let target = world.path().join("target");
            crate::world::git(&target, &["rev-parse", &format!("{tag}^{{commit}}")])
        };
        let pair = [name(&pair[0]), name(&pair[1])];
        says(&world.dyno(&["compare", &pair[0], &pair[1]]), &["Unchanged"]);
    }
    // The machines have time for two more: the newest against its 2nd and 4th ancestor.
    world.edit("watches/main.toml", "open_max = 0", "open_max = 2");
    says(&world.dyno(&watch), &["2 comparisons of made asked of quiet"]);
    says(&world.dyno(&["queue"]), &["2 jobs are open", "for quiet, priority 2"]);
    let full = world.dyno(&watch);
    assert!(full.code == Some(0) && !full.err.contains("asked of"), "{full:?}");
}

/// What is wrong is said, all of it, and what is right is asked for.
#[test]
fn troubles_stop_nothing_else() {
    let world = watching("classes = [\"nobody\"]\nopen_max = 0\n");
    let watch = |name: &str, text: &str| world.write(&format!("watches/{name}.toml"), text);
    let file = |repository: &str, branch: &str, suite: &str| {
        format!(
            "repository = \"{repository}\"\nbranch = \"{branch}\"\nsuites = [\"{suite}\"]\nclasses = [\"nobody\"]\n"
        )
    };
    watch("a-away", &file("git://127.0.0.1:1/none", "main", "made"));
    watch("b-branch", &file("../target", "mian", "made"));
    watch("c-suite", &file("../target", "main", "maid"));
    let told = world.dyno(&["watch", "--once"]);
    check(
        &told,
        4,
        &[
            "watch a-away: asking git://127.0.0.1:1/none: git: fatal: unable to connect",
            "watch b-branch: [world]/target has no branch \"mian\"",
            "watch c-suite, suite maid: there is no suite \"maid\"",
            "1 comparison of made asked of nobody",
            "no host of the class nobody was seen",
        ],
    );
    // By name, one alone; of another repository than the suite's that is said.
    check(&world.dyno(&["watch", "--once", "b-branch"]), 2, &["has no branch \"mian\""]);
    check(&world.dyno(&["watch", "--once", "b-branhc"]), 2, &["did you mean `b-branch`?"]);
    crate::world::git(world.path(), &["clone", "-q", "target", "copy"]);
    watch("copy", &file("../copy", "main", "made"));
    says(&world.dyno(&["watch", "--once", "copy"]), &["hosts take the commits of made from"]);
    // Mistakes of all files at once, and nothing is asked.
    watch("d", "branch = 1\n");
    watch("e", "classes = []\n");
    check(
        &world.dyno(&["watch", "--once"]),
        2,
        &["watches/d.toml:1", "mistakes in watches/e.toml"],
    );
    fs::remove_dir_all(world.path().join("watches")).unwrap();
    check(&world.dyno(&["watch"]), 2, &["there is no watch in [world]/watches"]);
    // One that polls sees what comes.
    fs::create_dir(world.path().join("watches")).unwrap();
    watch("main", &file("../target", "main", "made"));
    let mut polling = world.until(&["watch", "--poll", "1"], "has no parent");
    world.commit("v3", BUILD, "print hello\n");
    // Against its parent, and the parent of that.
    polling.wait_for("2 comparisons of made asked of nobody");
    let target = world.path().join("target");
    crate::world::git(&target, &["reset", "-q", "--hard", "v1"]);
    world.commit("v4", BUILD, "print hello\n\n");
    polling.wait_for("1 comparison of made asked of nobody");
    polling.signal(libc::SIGTERM);
    let (code, said) = polling.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("main was rewritten"), "{said}");
}

/// A look asks the store once for all suites: one watches many as it watches one.
#[test]
fn a_look_asks_the_store_as_often_for_many_suites_as_for_one() {
    let Some(server) = S3Server::moto(Ipv4Addr::LOCALHOST.into()) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = runtime.block_on(Proxy::start(&server.address, |_| Fault::None));
    let world = watching("classes = [\"quiet\", \"nobody\"]\nopen_max = 4\n");
    let look = || {
        let mut watch = world.command(&["watch", "--once", "--store", URL]);
        watch.envs(server.settings(&proxy.address));
        says(&world.told(watch), &[]);
        proxy.take_counts()
    };
    let count_of = |suites: &str| {
        // What is new is asked for; after that there is nothing to do.
        look();
        let counts = look();
        let of = |kind| counts.get(kind).copied().unwrap_or(0);
        assert!(of("list") > 0 && of("write") > 0, "{suites}: {counts:?}");
        (of("list"), of("write"), of("read of a job"))
    };
    let one = count_of("one suite");
    let mut suites = String::new();
    for number in 2..=5 {
        let name = format!("made{number}");
        let (from, to) =
            (world.path().join("suites/made"), world.path().join("suites").join(&name));
        assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
        suites.push_str(&format!(", \"{name}\""));
    }
    world.edit("watches/main.toml", "\"made\"", &format!("\"made\"{suites}"));
    assert_eq!(count_of("five suites"), one);
}

/// Two hosts are sure of different things: each is asked again, once, whoever sees it and however
/// often.
#[test]
fn hosts_that_contradict_each_other_are_asked_again_once() {
    if !embedded() {
        return;
    }
    let world = watching("classes = [\"two\"]\nopen_max = 0\nlook_back = 1\n");
    world.edit(SUITE, "program = \"program\"", "program = \"program\", extra = \"program\"");
    let build = |extra: &str| format!("{BUILD}copy {extra} /build/extra\n");
    let small = world.commit("v3", &build("/src/program"), "print hello\n");
    let large = world.commit("v4", &build("/guest"), "print hello\n");
    let request =
        |host: &'static str| ["request", "made", "v3", "v4", "--rounds", "2", "--on", host];
    let measured = |host: &str| says(&world.told(agent(&world, host)), &[": done"]);
    says(&world.dyno(&request("one")), &["asked, 1 job"]);
    measured("one");
    // The other host has a suite that takes another file for the same output.
    world.edit(SUITE, "extra = \"program\"", "extra = \"extra\"");
    let watch = ["watch", "--once"];
    says(&world.dyno(&watch), &["1 comparison of made asked of two"]);
    measured("two");
    says(
        &world.dyno(&["compare", &small, &large]),
        &["Conflict: hosts about artifact:extra", "Ask one again"],
    );

    let told = world.dyno(&watch);
    says(&told, &["hosts contradict each other about made", "one and two are asked again"]);
    says(
        &world.dyno(&["queue"]),
        &["2 jobs are open", "for one, priority 3", "for two, priority 3"],
    );
    let again = world.dyno(&watch);
    assert!(again.code == Some(0) && !again.err.contains("asked again"), "{again:?}");
    // What the branch asked for is what a person asks for, and its follow-ups are the same.
    let wait = [&request("two")[..], &["--wait"]].concat();
    let waiting = world.until(&wait, "job ");
    measured("one");
    measured("two");
    let (code, said) = waiting.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches(": done by").count(), 3, "{said}");
    assert_eq!(world.runs(), "4");
    says(&world.dyno(&["queue"]), &["nothing is open"]);
    says(&world.dyno(&wait), &["asked before", "Regressed"]);
    says(&world.dyno(&watch), &[]);
    assert_eq!(world.runs(), "4");
    says(&world.dyno(&["queue"]), &["nothing is open"]);
}
