//! What a run stands on goes away in the middle of it: its container, its engine, its store. The
//! error is named, tries are bounded, and nothing that was measured is lost. Dyno is held at a fault
//! point meanwhile, so the moment is always the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dyno_model::id::Digest;

use crate::skip;
use crate::trouble::Disk;
use crate::world::{BUILD, RUN, World, check, embedded, left_by, names, parents, root};

/// The second process of the first round, after two builds and two processes to warm up.
const IN_A_ROUND: &str = "stop:container.run.before:6";

fn points_are_there() -> bool {
    if !cfg!(debug_assertions) {
        skip("faults", "a release build has no fault points");
    }
    cfg!(debug_assertions)
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "it never came to this: {what}");
        pause(20);
    }
}

fn sql(world: &World, query: &str) -> String {
    let told = world.dyno(&["sql", "--output", "csv", query]);
    assert_eq!(told.code, Some(0), "{told:?}");
    told.out.trim().lines().skip(1).collect::<Vec<_>>().join(" ")
}

/// The containers of dyno `id` under the embedded engine: name and process 1.
fn inits(id: u32) -> Vec<(String, i32)> {
    let init = |name: String| {
        let state = Path::new("/run/dyno/containers").join(&name).join("state.json");
        let state: serde_json::Value = serde_json::from_slice(&fs::read(state).ok()?).ok()?;
        Some((name, i32::try_from(state["pid"].as_i64()?).ok()?))
    };
    names(Path::new("/run/dyno/containers"), &format!("dyno-{id}-"))
        .into_iter()
        .filter_map(init)
        .collect()
}

/// Whether a container is frozen, as the one of the side that is not measured is.
fn frozen(name: &str) -> bool {
    let states = parents().into_iter().flat_map(|parent| {
        [("freezer.state", "FROZEN"), ("cgroup.freeze", "1")]
            .map(|(file, word)| (parent.join(name).join(file), word))
    });
    states
        .into_iter()
        .any(|(file, word)| fs::read_to_string(file).is_ok_and(|state| state.trim() == word))
}

fn parent_of(id: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn kill(id: i32) {
    // SAFETY: a process that a dyno of this test has started.
    assert_eq!(unsafe { libc::kill(id, libc::SIGKILL) }, 0);
}

#[test]
fn a_container_lost_in_a_round_is_replaced_and_the_round_repeated() {
    if !points_are_there() || !embedded() {
        return;
    }
    for (what, lost) in [("its probe", true), ("its parent", false)] {
        let world = World::new();
        let dyno = world.held(&RUN, IN_A_ROUND);
        let id = dyno.id();
        let found: Vec<_> = inits(id).into_iter().filter(|(name, _)| !frozen(name)).collect();
        let [(name, init)] = found.as_slice() else { panic!("one that is awake: {found:?}") };
        kill(if lost { *init } else { parent_of(*init) });
        pause(100);
        dyno.signal(libc::SIGCONT);
        let (code, said) = dyno.end();
        assert_eq!(code, Some(0), "{what}: {said}");
        let told = format!("lost the container {name}: ");
        assert_eq!(said.contains(&told), lost, "{what}: {said}");
        assert_eq!((left_by(id), world.scratch()), (Vec::new(), Vec::new()), "{what}: {said}");
        let of_wall = "FROM samples WHERE metric = 'wall'";
        let counted = sql(&world, &format!("SELECT count(*) {of_wall} AND taint = ''"));
        assert_eq!(counted, "4", "{what}: all that was asked for");
        let tainted = sql(
            &world,
            &format!("SELECT taint, count(*) {of_wall} AND taint <> '' GROUP BY 1 ORDER BY 1"),
        );
        assert_eq!(tainted, if lost { "container-lost,1 pair,1" } else { "" }, "{what}");
        let noted = sql(
            &world,
            "SELECT count(*) FROM runs WHERE notices LIKE '%was repeated in another container%'",
        );
        assert_eq!(noted, if lost { "1" } else { "0" }, "{what}");
    }
}

/// Kills the candidate's container of the dyno `id`, once it has run for `running_ms` while the
/// baseline's is frozen; not the one called `before`. The name of the container that was killed.
fn kill_candidate(id: u32, before: &str, running_ms: u64) -> String {
    let awake = |(name, _): &(String, i32)| *name != before && !frozen(name);
    until("the container of the candidate", || {
        let found = inits(id);
        let is_candidate = found.len() == 2
            && found.iter().any(|(name, _)| frozen(name))
            && found.iter().any(awake);
        pause(if is_candidate { running_ms } else { 0 });
        is_candidate && inits(id).iter().any(awake)
    });
    let (name, init) = inits(id).into_iter().find(awake).unwrap();
    kill(init);
    name
}

#[test]
fn a_process_that_loses_its_container_twice_fails_its_case() {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.commit("v3", BUILD, "sleep 60\n");
    let dyno = world.until(&["run", "made", "v1", "v3", "--rounds", "2"], "measure: ");
    let id = dyno.id();
    let mut before = String::new();
    for _ in 0..2 {
        before = kill_candidate(id, &before, 700);
    }
    let (code, said) = dyno.end();
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("starting another, what was measured is kept"), "{said}");
    assert_eq!((left_by(id), world.scratch()), (Vec::new(), Vec::new()), "{said}");
    let failures = sql(&world, "SELECT failures FROM runs");
    assert!(failures.contains("its container was lost 2 times while it ran"), "{failures}");
    let alone = "SELECT count(*) FROM samples WHERE metric = 'wall' AND side = 'baseline'";
    assert_eq!(sql(&world, alone), "1", "nothing more can be said of the case");
}

/// A candidate that now and then takes its container with it, and behaves in the next, ends its own
/// case and not the job.
#[test]
fn a_case_that_loses_its_container_in_two_rounds_fails_and_the_job_goes_on() {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.commit("v3", BUILD, "pause 1500\nprint hello\n");
    let dyno = world.until(&["run", "made", "v1", "v3", "--rounds", "6"], "measure: ");
    let id = dyno.id();
    let mut before = String::new();
    for _ in 0..2 {
        before = kill_candidate(id, &before, 300);
        // The repetition, in another container, and more.
        pause(4000);
    }
    let (code, said) = dyno.end();
    assert_eq!(code, Some(5), "{said}");
    assert_eq!((left_by(id), world.scratch()), (Vec::new(), Vec::new()), "{said}");
    let failures = sql(&world, "SELECT failures FROM runs");
    assert!(failures.contains("its container was lost 2 times while it ran"), "{failures}");
    assert!(failures.contains("candidate"), "{failures}");
    let alone = "SELECT count(*) FROM samples WHERE metric = 'wall' AND side = 'baseline'";
    let alone: u32 = sql(&world, alone).parse().unwrap();
    assert!((1..=5).contains(&alone), "of 6 rounds no more than until it failed: {alone}");
}

#[test]
fn a_build_that_loses_its_container_twice_fails_its_commit() {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.commit("v3", &format!("{BUILD}sleep 60\n"), "print hello\n");
    let dyno = world.until(&["run", "made", "v1", "v3", "--rounds", "2", "--json"], "build: ");
    let id = dyno.id();
    let mut before = String::new();
    for _ in 0..2 {
        let alone = || match inits(id).as_slice() {
            [(name, init)] if *name != before => Some((name.clone(), *init)),
            _ => None,
        };
        until("the build that sleeps is the last", || {
            let found = alone();
            pause(if found.is_some() { 1000 } else { 0 });
            found.is_some() && found == alone()
        });
        let (name, init) = alone().unwrap();
        kill(init);
        before = name;
    }
    let (code, said) = dyno.end();
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("is built again"), "{said}");
    assert_eq!((left_by(id), world.scratch()), (Vec::new(), Vec::new()), "{said}");
    let failures = sql(&world, "SELECT failures FROM runs");
    assert!(failures.contains("its container was lost 2 times"), "{failures}");
    assert!(failures.contains("candidate") && failures.contains("build"), "{failures}");
    let alone = "SELECT count(*) FROM samples WHERE metric = 'wall' AND side = 'baseline'";
    assert_eq!(sql(&world, alone), "0", "nothing can be said of the other side");
}

/// A Docker of this test's own, in its own network namespace.
struct Daemon {
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Daemon {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut daemon = Self { folder, process: None };
        if !root() || !daemon.start() {
            skip("docker", "no second dockerd can be started here");
            return None;
        }
        Some(daemon)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// False if there is no answer in time.
    fn start(&mut self) -> bool {
        let log = fs::File::create(self.path("log")).unwrap();
        let mut dockerd = Command::new("unshare");
        dockerd.args(["--net", "--", "dockerd", "--bridge", "none", "--iptables=false"]);
        dockerd.arg("--ip6tables=false");
        for (option, name) in
            [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")]
        {
            dockerd.arg(option).arg(self.path(name));
        }
        dockerd.arg("--host").arg(format!("unix://{}", self.path("docker.sock").display()));
        // A namespace of its own in a containerd that both may share.
        let name = self.folder.path().file_name().unwrap().to_string_lossy().replace('.', "");
        dockerd.args(["--containerd-namespace", &name]);
        dockerd.args(["--containerd-plugins-namespace", &format!("{name}p")]);
        dockerd.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let Ok(started) = dockerd.spawn() else { return false };
        self.process = Some(started);
        let socket = format!("unix://{}", self.path("docker.sock").display());
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            let asked = Command::new("docker").args(["-H", &socket, "version"]).output();
            if asked.is_ok_and(|answer| answer.status.success()) {
                return true;
            }
            pause(100);
        }
        false
    }

    fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // SAFETY: our own child, which has not been waited for.
        unsafe { libc::kill(process.id() as i32, libc::SIGTERM) };
        let end = Instant::now() + Duration::from_secs(20);
        while process.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < end {
            pause(50);
        }
        drop(process.kill());
        drop(process.wait());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
        // Its storage driver may have left mounts, which the folder could not be removed with.
        let below = self.folder.path().display().to_string();
        for line in fs::read_to_string("/proc/mounts").unwrap_or_default().lines().rev() {
            let place = line.split(' ').nth(1).unwrap_or("");
            if place.starts_with(&below) {
                drop(Command::new("umount").args(["-l", place]).status());
            }
        }
    }
}

#[test]
fn an_engine_that_is_restarted_in_mid_run_costs_one_round() {
    if !points_are_there() {
        return;
    }
    let Some(mut daemon) = Daemon::new() else { return };
    let world = World::new();
    let socket = daemon.path("docker.sock");
    let host = format!(
        "engine = \"docker\"\nsocket = \"{}\"\nload_max = 1000\ndisturbance_max = 1000\n",
        socket.display()
    );
    world.write("hosts/second.toml", &host);
    let words = [&RUN[..], &["--host", "second"]].concat();
    let dyno = world.held(&words, IN_A_ROUND);
    daemon.stop();
    dyno.signal(libc::SIGCONT);
    // Away for a while: dyno is to wait for it.
    pause(1500);
    assert!(daemon.start(), "the second start");
    let (code, said) = dyno.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("starting another, what was measured is kept"), "{said}");
    let wall = "SELECT count(*) FROM samples WHERE metric = 'wall' AND taint = ''";
    assert_eq!((sql(&world, wall).as_str(), world.runs().as_str()), ("4", "1"), "{said}");
    assert_eq!(world.scratch(), Vec::<String>::new());
    let listed = Command::new("docker")
        .args(["-H", &format!("unix://{}", socket.display()), "ps", "-aq"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "", "no container is left");
}

#[test]
fn a_store_that_goes_away_in_mid_run_costs_no_measurement() {
    if !points_are_there() || !embedded() {
        return;
    }
    let remount = |store: &Path, how: &str| {
        let done =
            Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(store).status();
        assert!(done.unwrap().success());
    };
    for (what, says) in [
        ("read-only", "Read-only file system"),
        ("full", "No space left on device"),
        ("gone", "is another folder than when it was opened; was it unmounted or moved?"),
    ] {
        let world = World::new();
        let store = world.path().join("store");
        let Some(disk) = Disk::mount(store.clone(), "1m") else { return };
        let dyno = world.held(&RUN, "stop:measure.rounds.before");
        match what {
            "read-only" => remount(&store, "ro"),
            "full" => assert!(fs::write(store.join("_filler"), vec![1; 2 << 20]).is_err()),
            _ => disk.unmount(),
        }
        dyno.signal(libc::SIGCONT);
        let (code, said) = dyno.end();
        assert_eq!(code, Some(4), "{what}: {said}");
        for part in [says, "; what was measured is kept in ", "/cache/spool/", "hint: "] {
            assert!(said.contains(part), "{what}: no {part:?} in {said}");
        }
        assert_eq!(names(&world.cache().join("spool"), "").len(), 1, "{what}");
        match what {
            "read-only" => {
                // Found out before anything is built or measured.
                let told = world.dyno(&RUN);
                check(&told, 4, &[says]);
                assert!(!told.err.contains("build: "), "{told:?}");
                remount(&store, "rw");
            }
            "full" => fs::remove_file(store.join("_filler")).unwrap(),
            _ => assert_eq!(
                names(&store, ""),
                Vec::<String>::new(),
                "nothing below the bare mount point"
            ),
        }
        let told = world.dyno(&RUN);
        check(
            &told,
            0,
            &["which an earlier dyno measured and could not publish", "in the store already"],
        );
        assert!(!told.err.contains("measure: "), "{what}: nothing is measured twice: {told:?}");
        assert_eq!(world.runs(), "1", "{what}");
        assert_eq!(names(&world.cache().join("spool"), ""), Vec::<String>::new(), "{what}");
        let orphans = "SELECT count(*) FROM samples WHERE job NOT IN (SELECT job FROM runs)";
        assert_eq!(sql(&world, orphans), "0", "{what}");
    }
}

#[test]
fn a_kept_record_that_cannot_be_published_is_named() {
    if !points_are_there() || !embedded() {
        return;
    }
    let world = World::new();
    let spool = world.cache().join("spool");
    let killed = || {
        let mut dyno = world.command(&RUN);
        dyno.env("DYNO_FAULT", "kill:publish.samples.before");
        assert_eq!(world.told(dyno).code, None);
        let kept = names(&spool, "").into_iter().find(|name| name.ends_with(".json")).unwrap();
        spool.join(kept)
    };
    let resealed = |text: &str| format!("{}\n{text}", Digest::of(text.as_bytes()).hex());
    // For another store: it waits there.
    let kept = killed();
    let there = ["--store", "there", "run", "made", "v1", "v2", "--rounds", "1"];
    check(
        &world.dyno(&there),
        0,
        &["a record for the store [world]/store waits in [world]/cache/spool/"],
    );
    assert!(kept.exists());
    let whole = fs::read_to_string(&kept).unwrap();
    let json = whole.split_once('\n').unwrap().1.to_string();
    for (bad, why) in [
        (
            whole.replacen("hello", "jello", 1).replacen("\"made\"", "\"fade\"", 1),
            "its content is not what its first line says",
        ),
        (whole[..whole.len() / 2].to_string(), "its content is not what its first line says"),
        (String::new(), "it has no second line"),
        (
            resealed(&json.replacen("\"version\":1", "\"version\":9", 1)),
            "its version is 9, and this dyno knows 1",
        ),
        (resealed("{}"), "missing field `version`"),
    ] {
        fs::write(&kept, bad).unwrap();
        let told = world.dyno(&["run", "made", "v1", "v2", "--plan", "--rounds", "2"]);
        let aside = format!("{}.bad", kept.file_name().unwrap().to_string_lossy());
        check(
            &told,
            0,
            &["cannot be published: ", why, "set aside as [world]/cache/spool/", &aside],
        );
        assert!(!kept.exists() && spool.join(&aside).exists(), "{why}");
    }
    assert_eq!(world.runs(), "0");
    // Whole, it is published.
    fs::write(&kept, whole).unwrap();
    check(&world.dyno(&RUN), 0, &["which an earlier dyno measured and could not publish"]);
    assert_eq!(world.runs(), "1");
}
