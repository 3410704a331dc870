//! A host that holds still: benchmark cores kept from others and given back, a load that is waited
//! for, disturbed rounds that come again until the budget ends.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use dyno_host::scope::{MachineScope, SLICE};

use crate::skip;
use crate::world::{BUILD, RUN, Running, World, docker, embedded, hierarchies};

/// The turn of a test, since there is one at a time.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|test_that_failed| test_that_failed.into_inner())
}

/// `world` with the measuring lock and the cgroup of this machine itself, which all other dynos use;
/// and the turn that it has.
fn on_the_machine(mut world: World) -> (MutexGuard<'static, ()>, World) {
    let turn = turn();
    world.scope = MachineScope::default();
    (turn, world)
}

/// Where dyno's own cgroup is, in every hierarchy.
fn slices() -> Vec<PathBuf> {
    hierarchies().into_iter().map(|top| top.join(SLICE)).filter(|slice| slice.is_dir()).collect()
}

/// Whether a container is in it.
fn in_use() -> bool {
    let holds = |folder: PathBuf| {
        std::fs::read_to_string(folder.join("cgroup.procs")).is_ok_and(|text| !text.is_empty())
    };
    slices().iter().any(|slice| {
        std::fs::read_dir(slice).into_iter().flatten().flatten().any(|entry| holds(entry.path()))
    })
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Keeps the last core busy until it is dropped.
struct Busy(std::sync::Arc<AtomicBool>);

impl Busy {
    fn last_core() -> Self {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let seen = std::sync::Arc::clone(&stop);
        std::thread::spawn(move || {
            let last = std::thread::available_parallelism().unwrap().get() - 1;
            let mut core = nix::sched::CpuSet::new();
            core.set(last).unwrap();
            nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &core).unwrap();
            while !seen.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        Self(stop)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A dyno on `host` that measures a commit which takes its time: its container is in the cgroup.
fn start_measuring(world: &World, host: &str) -> Running {
    world.commit("v3", BUILD, "sleep 60\n");
    let dyno = world.until(&["run", "made", "v1", "v3", "--host", host], "measure: ");
    wait_until("the container is in dyno's cgroup", in_use);
    dyno
}

/// A dyno is killed while it has the cores; the next one gives them back.
fn kept_and_given_back(host: &str) {
    let (_turn, world) = on_the_machine(World::new());
    let dyno = start_measuring(&world, host);
    dyno.signal(libc::SIGKILL);
    dyno.end();
    let next = world.dyno(&["run", "made", "v1", "v2", "--rounds", "2", "--host", host]);
    assert_eq!(next.code, Some(0), "{next:?}");
    assert!(next.err.contains("kept from others"), "{next:?}");
    let free = || slices().is_empty() || in_use();
    wait_until("the cgroup is gone, or another dyno measures", free);
}

#[test]
fn cores_are_kept_and_given_back() {
    if embedded() {
        kept_and_given_back("local");
    }
}

#[tokio::test]
async fn docker_keeps_cores_and_gives_them_back() {
    if !embedded() {
        return skip("docker", "only root makes cgroups");
    }
    if docker().await.is_some() {
        kept_and_given_back("docker");
    }
}

/// Whoever measures has the lock of this machine, which all dynos on it use.
#[test]
fn one_dyno_of_a_machine_measures_at_a_time() {
    if !embedded() {
        return;
    }
    let (_turn, world) = on_the_machine(World::new());
    let first = start_measuring(&world, "local");
    let mut second = world.until(&RUN, "note: waiting: another dyno is measuring");
    assert_eq!(world.runs(), "0");
    first.signal(libc::SIGINT);
    assert_eq!(first.end().0, Some(130));
    second.wait_for("measure: ");
    let (code, said) = second.end();
    assert_eq!((code, world.runs().as_str()), (Some(0), "1"), "{said}");
}

#[test]
fn a_busy_host_is_waited_for() {
    if !embedded() {
        return;
    }
    let (_turn, world) = on_the_machine(World::new());
    let _busy = Busy::last_core();
    world.edit("hosts/local.toml", "load_max = 1000", "load_max = 0.0");
    let dyno = world.until(&["run", "made", "v1", "v2"], "waiting for other programs");
    dyno.signal(libc::SIGINT);
    let (code, said) = dyno.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("(load_max is 0)"), "{said}");
    assert_eq!(world.runs(), "0");
}

#[test]
fn disturbed_rounds_come_again_and_end_in_noisy() {
    if !embedded() {
        return;
    }
    let (_turn, world) = on_the_machine(World::new());
    world.commit("v3", BUILD, "pause 30\nprint hello\n");
    world.commit("v4", BUILD, "pause 30\nprint hello\n");
    // Who sleeps beside a busy program waits for the core when it wakes, be it for microseconds.
    world.edit("hosts/local.toml", "disturbance_max = 1000", "disturbance_max = 0.0");
    world.edit(
        "policies/default.toml",
        "[metric.wall]",
        "[metric.max-rss]\nsmallest_effect = 0.5\n[metric.wall]\ndecides = true",
    );
    let busy = Busy::last_core();
    let told = world.dyno(&["run", "made", "v3", "v4", "--rounds", "3", "--json"]);
    drop(busy);
    assert_eq!(told.code, Some(0), "{told:?}");
    if told.err.contains("by a partition") {
        // The other program was kept off: there was nothing to disturb them.
        return assert!(told.err.contains("measure: 3 rounds (1 case"), "{told:?}");
    }
    assert!(told.err.contains("0 rounds and 3 that were disturbed (1 case too noisy)"), "{told:?}");
    let view: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    let wall = &view["inconclusive"][0];
    assert_eq!(wall["why"], "noisy: 6 samples were disturbed, 0 rounds left", "{wall}");
    let notices = view["notices"].to_string();
    assert!(notices.contains("too noisy to get all theirs: greet"), "{notices}");
    // Every attempt is kept, with what disturbed it; what a disturbance does not move is as good as
    // ever.
    let sql = "SELECT metric, taint, round, count(*) AS n FROM samples WHERE metric IN ('wall', 'max-rss') \
               GROUP BY metric, taint, round ORDER BY metric";
    let held = world.dyno(&["sql", "--output", "csv", sql]);
    let rows: Vec<&str> = held.out.lines().skip(1).collect();
    assert_eq!(rows, ["max-rss,,0,6", "wall,contention,0,6"], "{held:?}");
}

#[test]
fn counting_has_all_cores_again() {
    if !embedded() {
        return;
    }
    let (_turn, world) = on_the_machine(World::counting());
    world.edit("suites/made/suite.toml", "-size\"]", "-size\", \"instructions:cachegrind\"]");
    let told = world.dyno(&["run", "made", "v1", "v2", "--rounds", "2"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(!told.out.contains("not counted"), "{told:?}");
    let sql = "SELECT count(*) AS n FROM samples WHERE metric = 'instructions:cachegrind'";
    let held = world.dyno(&["sql", "--output", "csv", sql]);
    assert_eq!(held.out.lines().nth(1), Some("2"), "{held:?}");
}

/// As in a container whose cgroup namespace has a top of its own, in which its processes run.
#[test]
fn a_container_with_cgroups_of_its_own_measures() {
    let hierarchy = PathBuf::from("/sys/fs/cgroup");
    if !embedded() {
        return;
    }
    if !hierarchy.join("cgroup.controllers").exists() {
        return skip("cgroup2", "this machine has cgroups of v1");
    }
    let (_turn, world) = on_the_machine(World::new());
    let top = hierarchy.join("dyno-test-container");
    std::fs::create_dir(&top).unwrap();
    // What runs the container gives it these.
    dyno_host::nested::give_controllers(&hierarchy, &["cpuset", "cpu", "memory", "pids"]).unwrap();
    let inner = world.command(&["run", "made", "v1", "v2", "--rounds", "2"]);
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec unshare -C -m sh -c 'umount /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && \"$@\"; echo ended with $?; cat /sys/fs/cgroup/cgroup.procs' sh \"$@\""]);
    command.arg(&top).arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(inner.get_current_dir().unwrap_or(world.path()));
    let told = world.told(command);
    let remove = |folder: &Path| {
        for place in
            [folder.join(SLICE), folder.join("dyno"), folder.join("dyno-leaf"), folder.into()]
        {
            let _ = std::fs::remove_dir(place);
        }
    };
    remove(&top);
    assert!(told.out.contains("ended with 0"), "{told:?}");
    assert_eq!(world.runs(), "1", "{told:?}");
    assert!(!top.exists());
}
