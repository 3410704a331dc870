//! Ctrl-C, a termination signal and `kill -9` at several moments of a job: nothing stays behind,
//! nothing half-done is published, and the same command then goes on from what is cached.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::world::{BUILD, RUN, Running, World, alive, check, embedded, left_by, names};

/// Waits for `left` to become empty, and fails if that takes longer than a few seconds.
fn gone(what: &str, left: impl Fn() -> Vec<String>) {
    let until = Instant::now() + Duration::from_secs(10);
    while !left().is_empty() {
        assert!(Instant::now() < until, "{what}: {:?} is left", left());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Ends `dyno` by `signal` as a person or an init system would.
fn interrupted(world: &World, dyno: Running, signal: i32) {
    let id = dyno.id();
    let started = Instant::now();
    dyno.signal(signal);
    let (code, said) = dyno.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("error: interrupted"), "{said}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(left_by(id), Vec::<String>::new(), "{said}");
    assert_eq!(world.scratch(), Vec::<String>::new(), "{said}");
    assert_eq!(world.runs(), "0");
}

/// The candidate is made so that the job stays at `moment` for long; then it is interrupted, and
/// the same words with a candidate that ends come to a verdict from what is cached.
fn at(moment: &str, build: &str, program: &str, signal: i32) {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.commit("v3", build, program);
    let dyno = world.until(&["run", "made", "v1", "v3"], moment);
    // Somewhere within the step rather than at its very begin.
    std::thread::sleep(Duration::from_millis(400));
    let mine = format!("removed the container dyno-{}-", dyno.id());
    interrupted(&world, dyno, signal);
    let next = world.dyno(&RUN);
    assert_eq!(next.code, Some(0), "{next:?}");
    assert!(!next.err.contains(&mine), "nothing was left to sweep: {next:?}");
}

#[test]
fn ctrl_c_while_building() {
    at("build: target v3", "sleep 60\n", "", libc::SIGINT);
}

#[test]
fn termination_while_a_build_writes() {
    at("build: target v3", "churn /build\n", "", libc::SIGTERM);
}

#[test]
fn ctrl_c_while_measuring() {
    at("measure: ", BUILD, "sleep 60\n", libc::SIGINT);
}

#[test]
fn termination_while_measuring() {
    at("measure: ", BUILD, "processes 20\nsleep 60\n", libc::SIGTERM);
}

#[test]
fn ctrl_c_at_the_begin_of_each_container() {
    if !embedded() {
        return;
    }
    for delay_ms in [0, 10, 25, 50, 100] {
        let world = World::new();
        world.commit("v3", "sleep 60\n", "");
        let dyno = world.until(&["run", "made", "v1", "v3"], "build: target v3");
        std::thread::sleep(Duration::from_millis(delay_ms));
        interrupted(&world, dyno, libc::SIGINT);
    }
}

#[test]
fn ended_while_an_image_is_made() {
    for signal in [libc::SIGINT, libc::SIGKILL] {
        let world = World::new();
        std::fs::remove_dir_all(world.cache()).unwrap();
        world.stalled.store(true, Ordering::Relaxed);
        let dyno = world.until(&["image", "build", "guest"], "image: image guest");
        if signal == libc::SIGINT {
            interrupted(&world, dyno, signal);
        } else {
            dyno.signal(signal);
            dyno.end();
        }
        world.stalled.store(false, Ordering::Relaxed);
        assert_eq!(world.dyno(&["image", "build", "guest"]).code, Some(0));
        let images = std::fs::read_dir(world.cache().join("images")).unwrap().count();
        assert_eq!(images, 2, "the image and the lock");
    }
}

#[test]
fn ended_while_a_commit_is_fetched() {
    if !embedded() {
        return;
    }
    for signal in [libc::SIGINT, libc::SIGKILL] {
        let world = World::new();
        // A git that takes its time to fetch.
        std::fs::create_dir(world.path().join("slow")).unwrap();
        world.write(
            "slow/git",
            "#!/bin/sh\ncase \"$*\" in *' fetch '*) sleep 3;; esac\nPATH=${PATH#*:} exec git \"$@\"\n",
        );
        let slow = world.path().join("slow");
        std::fs::set_permissions(slow.join("git"), PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = world.command(&RUN);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", slow.display()));
        let dyno = World::command_until(command, "source: fetching v1");
        std::thread::sleep(Duration::from_millis(1000));
        if signal == libc::SIGINT {
            interrupted(&world, dyno, signal);
        } else {
            // Its git goes on alone; the next run waits for that.
            dyno.signal(signal);
            dyno.end();
        }
        let next = world.dyno(&RUN);
        assert_eq!(next.code, Some(0), "{next:?}");
    }
}

/// Rounds outlive an interrupt while instructions are counted: the same command takes them up and
/// counts, another one publishes them as they are.
#[test]
fn rounds_outlive_an_interrupt_while_counting() {
    if !embedded() {
        return;
    }
    for signal in [libc::SIGINT, libc::SIGKILL] {
        let world = World::counting();
        world.edit("suites/made/suite.toml", "-size\"]", "-size\", \"instructions:cachegrind\"]");
        // Counting takes as long as a Valgrind that sleeps.
        world.commit("v3", BUILD, "counted sleep 60\nprint hello\n");
        let run = ["run", "made", "v1", "v3", "--rounds", "3"];
        let counting = |run: &[&str]| {
            let dyno = world.until(run, "measure: counting instructions");
            std::thread::sleep(Duration::from_millis(400));
            dyno.signal(signal);
            let (code, said) = dyno.end();
            assert_eq!(code, (signal == libc::SIGINT).then_some(130), "{said}");
            assert_eq!(world.runs(), "0", "{said}");
            assert_eq!(names(&world.cache().join("spool"), "").len(), 1, "{said}");
        };
        counting(&run);
        let rounds = "SELECT count(*) AS n FROM samples WHERE metric = 'wall'";
        let instructions = "SELECT count(*) FROM samples WHERE metric = 'instructions:cachegrind'";
        let number = |query: &str| {
            let told = world.dyno(&["sql", "--output", "csv", query]);
            told.out.lines().nth(1).unwrap_or_default().to_string()
        };
        // Another job publishes them.
        let told = world.dyno(&["run", "made", "v1", "v2", "--rounds", "2"]);
        check(&told, 0, &["without its instructions"]);
        assert_eq!(world.runs(), "2");
        assert_eq!((number(rounds), number(instructions)), ("10".into(), "2".into()));
        assert_eq!(names(&world.cache().join("spool"), ""), Vec::<String>::new());
    }
}

#[test]
fn rounds_are_taken_up_by_the_same_command() {
    if !embedded() || !cfg!(debug_assertions) {
        return;
    }
    let world = World::counting();
    world.edit("suites/made/suite.toml", "-size\"]", "-size\", \"instructions:cachegrind\"]");
    let run = ["run", "made", "v1", "v2", "--rounds", "3", "--json"];
    let mut command = world.command(&run);
    command.env(dyno_base::fault::VARIABLE, "kill:measure.count.after");
    assert_eq!(world.told(command).code, None);
    assert_eq!(world.runs(), "0");
    let told = world.dyno(&run);
    check(&told, 0, &["the rounds were measured before dyno was interrupted"]);
    assert!(!told.err.contains("after one to warm up"), "no round is measured again: {told:?}");
    let samples = "SELECT metric, count(*) AS n FROM samples WHERE metric LIKE 'wall' OR metric LIKE \
                   'instr%' GROUP BY metric ORDER BY metric";
    let told = world.dyno(&["sql", "--output", "csv", samples]);
    assert_eq!(told.out, "metric,n\ninstructions:cachegrind,2\nwall,6\n", "{told:?}");
    assert_eq!(names(&world.cache().join("spool"), ""), Vec::<String>::new());
}

#[test]
fn ctrl_c_while_waiting_for_another_measurement() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let lock = std::fs::File::options().append(true).create(true).open(world.scope.lock());
    let mut lock = lock.unwrap();
    lock.lock().unwrap();
    // Who holds it has said so.
    let held = format!("{} {}\n", dyno_base::process::ProcessIdentity::this_process(), 0);
    std::io::Write::write_all(&mut lock, held.as_bytes()).unwrap();
    let waiting = format!(
        "note: waiting: another dyno is measuring on this machine: process {}, for ",
        std::process::id()
    );
    let dyno = world.until(&RUN, &waiting);
    interrupted(&world, dyno, libc::SIGINT);
}

/// `kill -9` at `moment`: containers end by themselves, and the next run sweeps what they left.
fn killed(moment: &str, delay_ms: u64, build: &str, program: &str) {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.commit("v3", build, program);
    let dyno = world.until(&["run", "made", "v1", "v3"], moment);
    std::thread::sleep(Duration::from_millis(delay_ms));
    let id = dyno.id();
    dyno.signal(libc::SIGKILL);
    let (code, said) = dyno.end();
    assert_eq!(code, None, "{said}");
    // At once: the containers may still be on their way out.
    let next = world.dyno(&RUN);
    assert_eq!(next.code, Some(0), "{next:?}");
    gone("cgroup", || alive(id));
    gone("container", || left_by(id));
    assert_eq!(world.scratch(), Vec::<String>::new());
    assert_eq!(world.runs(), "1");
}

#[test]
fn killed_while_building() {
    killed("build: target v3", 400, "churn /build\n", "");
}

#[test]
fn killed_at_the_begin_of_a_container() {
    for delay_ms in [0, 15, 30, 60] {
        killed("build: target v3", delay_ms, "sleep 60\n", "");
    }
}

#[test]
fn killed_while_measuring() {
    killed("measure: ", 200, BUILD, "processes 20\nsleep 60\n");
}
