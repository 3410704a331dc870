//! Agents whose host, catalog, store or job is not what it should be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::trouble::Disk;
use crate::world::{Told, World, check, embedded, skip};

const AGENT: [&str; 6] = ["agent", "--once", "--poll", "1", "--lease", "4"];

/// The first word that `dyno request` printed: the request's id.
fn ask(world: &World, more: &[&str]) -> String {
    let words = [&["request", "made", "v1", "v2", "--rounds", "2"], more].concat();
    let asked = world.dyno(&words);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    asked.out.split(' ').next().unwrap().to_string()
}

fn says(told: &Told, parts: &[&str]) {
    let text = format!("{}{}", told.out, told.err);
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {told:?}");
    }
}

fn sql(world: &World, query: &str) -> String {
    let told = world.dyno(&["sql", query, "--output", "csv"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    told.out.lines().nth(1).unwrap_or_default().to_string()
}

/// A catalog of another host, of the same files at first.
pub fn catalog_beside(world: &World) -> PathBuf {
    let folder = world.path().join("elsewhere");
    fs::create_dir(&folder).unwrap();
    for part in ["suites", "images", "hosts", "policies"] {
        let mut copying = Command::new("cp");
        copying.arg("-r").arg(world.path().join(part)).arg(&folder);
        assert!(copying.status().unwrap().success());
    }
    folder
}

fn agent_of(world: &World, catalog: &Path, host: &str) -> Told {
    let mut agent = world.command(&AGENT);
    agent.args(["--host", host]).env("DYNO_CATALOG", catalog);
    world.told(agent)
}

/// The suite's source as a path that means the same in every catalog.
fn with_absolute_source(world: &World) {
    let target = world.path().join("target");
    world.edit("suites/made/suite.toml", "../../target", target.to_str().unwrap());
}

#[test]
fn an_untrusted_request_is_measured_as_one() {
    if !embedded() {
        return;
    }
    let world = World::new();
    ask(&world, &["--untrusted"]);
    let agent = world.dyno(&AGENT);
    assert_eq!(agent.code, Some(0), "{agent:?}");
    says(&agent, &[": done"]);
    assert_eq!(sql(&world, "SELECT trust FROM runs"), "untrusted");
    // It is no answer for the same commits as the target's own.
    let planned = world.dyno(&["run", "made", "v1", "v2", "--rounds", "2", "--plan"]);
    says(&planned, &["Getting ready took", "In all about"]);
}

#[test]
fn an_input_error_of_one_host_leaves_the_job_to_others() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let local = fs::read_to_string(world.path().join("hosts/local.toml")).unwrap();
    for host in ["broken", "sound"] {
        world.write(&format!("hosts/{host}.toml"), &format!("{local}labels = [\"quiet\"]\n"));
    }
    let catalog = catalog_beside(&world);
    fs::remove_file(catalog.join("policies/default.toml")).unwrap();
    ask(&world, &["--on", "quiet"]);
    let broken = world.until(
        &[
            "agent",
            "--host",
            "broken",
            "--catalog",
            catalog.to_str().unwrap(),
            "--poll",
            "1",
            "--lease",
            "4",
        ],
        "attempt 1 failed: there is no policy \"default\"",
    );
    says(
        &world.dyno(&["queue"]),
        &["1 job is open", "failed on broken: there is no policy \"default\""],
    );
    broken.signal(libc::SIGTERM);
    assert_eq!(broken.end().0, Some(0));
    let sound = world.dyno(&[&AGENT[..], &["--host", "sound"]].concat());
    says(&sound, &[": done"]);
    assert_eq!(sql(&world, "SELECT host FROM runs"), "sound");
}

/// The suite that was asked for is measured: the host's own where it is the same, else the store's.
#[test]
fn the_suite_that_was_asked_for_counts() {
    if !embedded() {
        return;
    }
    let world = World::new();
    with_absolute_source(&world);
    let catalog = catalog_beside(&world);
    let suite = catalog.join("suites/made/suite.toml");
    let own = fs::read_to_string(&suite).unwrap();
    ask(&world, &[]);
    // Without its definition there is nothing to measure by; that is no fault of the request.
    fs::write(&suite, own.replace("says hello", "says another thing")).unwrap();
    let (definitions, away) = (world.path().join("store/definitions"), world.path().join("away"));
    fs::rename(&definitions, &away).unwrap();
    let lacking = agent_of(&world, &catalog, "local");
    says(&lacking, &["attempt 1 failed: ", "is neither in this host's catalog nor in the store"]);
    fs::rename(&away, &definitions).unwrap();
    fs::copy(catalog.join("hosts/local.toml"), catalog.join("hosts/other.toml")).unwrap();
    let agent = agent_of(&world, &catalog, "other");
    says(&agent, &["nothing to do: "]);
    fs::remove_dir_all(catalog.join("suites/made")).unwrap();
    // The host that failed waits for another to come first; then it is its turn again.
    let mut patient = world.command(&["agent", "--poll", "1", "--lease", "4"]);
    patient.env("DYNO_CATALOG", &catalog);
    let agent = World::command_until(patient, ": done");
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.end().0, Some(0));
    assert_eq!(sql(&world, "SELECT count(*) FROM runs"), "1");
}

#[test]
fn a_host_file_that_does_not_fit_the_machine_is_refused() {
    let world = World::bare();
    for (what, text, part) in [
        ("cores", "benchmark_cores = \"4000\"\n", "4000"),
        ("architecture", "architecture = \"riscv64\"\n", "riscv64"),
    ] {
        world.write("hosts/wrong.toml", text);
        let told = world.dyno(&[&AGENT[..], &["--host", "wrong"]].concat());
        assert_eq!(told.code, Some(3), "{what}: {told:?}");
        says(&told, &[part]);
    }
}

#[test]
fn a_second_agent_of_one_name_is_refused_and_the_first_ends_on_a_signal() {
    let world = World::bare();
    let first = world.until(&["agent", "--poll", "3600"], "local takes jobs from");
    let second = world.dyno(&AGENT);
    check(&second, 3, &["an agent for the host local is at work on this machine already"]);
    let begun = std::time::Instant::now();
    first.signal(libc::SIGTERM);
    assert_eq!(first.end().0, Some(0));
    // The unit gives it five minutes, which are for containers; it waits for nothing here.
    assert!(begun.elapsed() < std::time::Duration::from_secs(60));
    says(&world.dyno(&AGENT), &["local takes jobs from"]);
}

/// A store on which nothing can be written, and one that is full.
#[test]
fn a_store_that_takes_nothing_is_said_at_once() {
    let world = World::bare();
    let store = world.path().join("small");
    let Some(disk) = Disk::mount(store.clone(), "256k") else { return };
    let agent = || {
        let mut agent = world.command(&AGENT);
        agent.env("DYNO_STORE", &store);
        world.told(agent)
    };
    let sound = agent();
    assert_eq!(sound.code, Some(0), "{sound:?}");
    let full = fs::write(store.join("filler"), vec![1; 1 << 20]).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
    let told = agent();
    check(&told, 4, &["No space left on device"]);
    fs::remove_file(store.join("filler")).unwrap();
    let sound = agent();
    assert_eq!(sound.code, Some(0), "{sound:?}");

    let read_only = Command::new("mount").args(["-o", "remount,ro"]).arg(&store).status();
    if !read_only.unwrap().success() {
        return skip("mount", "this mount cannot be made read-only");
    }
    check(&agent(), 4, &["Read-only file system"]);
    // Who only looks needs no writing.
    let mut queue = world.command(&["queue"]);
    queue.env("DYNO_STORE", &store);
    assert_eq!(world.told(queue).code, Some(0));
    drop(disk);
}
