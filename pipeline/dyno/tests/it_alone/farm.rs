//! Three hosts with a network namespace, a cache, a lock and a cgroup each, that share a store: one
//! is killed, one is cut off and comes back, one has a clock that is an hour off. Each job is done,
//! once.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use dyno_host::scope::MachineScope;
use dyno_model::queue::{Ending, HostEntry, JobResult, path};
use dyno_queue::objects::{Objects, from_bytes};
use dyno_queue::status::{Status, status};
use dyno_queue::stored::StoredObjects;
use dyno_queue::{Clock, clock::SystemClock};
use dyno_store::Store;

use crate::network::Network;
use crate::quiet::turn;
use crate::server::{S3Server, URL};
use crate::skip;
use crate::world::{BUILD, Running, World, embedded, forget_scope, own_scope, set_scope};

const NAMES: [&str; 3] = ["killed", "away", "skewed"];

/// The jobs that are asked for.
const JOBS: usize = 6;

/// The variables that set the clock of a program an hour off; `None` where that is not installed.
fn skewed_clock() -> Option<Vec<(&'static str, String)>> {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    let library = folders
        .map(|folder| folder.join("faketime/libfaketime.so.1"))
        .find(|library| library.is_file());
    let Some(library) = library else {
        skip("faketime", "libfaketime is not in /usr/lib");
        return None;
    };
    let variables = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME", "+1h".into()),
        // Whoever waits does so by the monotonic clock, which no host has wrong.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("DONT_FAKE_MONOTONIC", "1".into()),
        ("NO_FAKE_STAT", "1".into()),
    ];
    Some(variables.to_vec())
}

/// A host of its own: cache, lock, cgroup and name.
struct Machine {
    name: &'static str,
    cache: PathBuf,
    scope: MachineScope,
}

impl Drop for Machine {
    fn drop(&mut self) {
        forget_scope(&self.scope);
    }
}

impl Machine {
    fn new(world: &World, name: &'static str) -> Self {
        let folder = world.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let cache = folder.join("cache");
        // The image is in it: the registry of the test is on the loopback of another namespace.
        let copied = Command::new("cp").arg("-a").arg(world.cache()).arg(&cache).status().unwrap();
        assert!(copied.success());
        let host =
            "engine = \"embedded\"\nload_max = 1000\ndisturbance_max = 1000\nlabels = [\"farm\"]\n";
        world.write(&format!("hosts/{name}.toml"), host);
        Self { name, cache, scope: own_scope(&folder) }
    }

    /// `dyno agent` of this host.
    fn agent(&self, farm: &Farm) -> Command {
        let words = ["agent", "--host", self.name, "--poll", "1", "--lease", "4"];
        let mut agent = farm.command(&words);
        agent.env("DYNO_CACHE", &self.cache);
        set_scope(&mut agent, &self.scope);
        agent
    }
}

/// What all hosts share.
struct Farm {
    world: World,
    store: String,
    settings: Vec<(String, String)>,
}

impl Farm {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.world.command(words);
        command.env("DYNO_STORE", &self.store);
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    async fn open(&self) -> Store {
        Store::open_with(&self.store, self.settings.clone()).await.unwrap()
    }

    /// Asks for a comparison of each commit with the first.
    fn ask(&self) {
        for number in 0..JOBS {
            let tag = format!("slow{number}");
            let program = format!("pause {}\nprint hello\n", 1000 + number);
            self.world.commit(&tag, BUILD, &program);
            let told = self.world.told(
                self.command(&["request", "made", "v1", &tag, "--rounds", "2", "--on", "farm"]),
            );
            assert_eq!(told.code, Some(0), "{told:?}");
        }
    }
}

async fn look(objects: &StoredObjects) -> Status {
    status(objects, &SystemClock::default()).await.unwrap()
}

/// The job that `host` measures, as it is when seen.
fn measured_by(status: &Status, host: &str) -> Option<String> {
    let holds = |claim: &dyno_model::queue::Claim| {
        claim.holder.as_ref().is_some_and(|holder| holder.host == host && holder.is_measuring)
    };
    let job = status.jobs.iter().find(|job| job.claim.as_ref().is_some_and(holds))?;
    Some(job.id.hex().to_string())
}

async fn wait_until(objects: &StoredObjects, what: &str, holds: impl Fn(&Status) -> bool) {
    let until = Instant::now() + Duration::from_secs(180);
    loop {
        let status = look(objects).await;
        if holds(&status) {
            return;
        }
        assert!(Instant::now() < until, "{what}: {status:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Lets the three hosts work; `away` cuts the second off (`true`), and lets it back (`false`).
async fn work(farm: &Farm, network: &Network, away: impl Fn(&Running, bool)) {
    let Some(clock) = skewed_clock() else { return };
    let machines = NAMES.map(|name| Machine::new(&farm.world, name));
    farm.ask();
    let store = farm.open().await;
    let objects = StoredObjects::open(&store).await.unwrap();
    let mut agents = Vec::new();
    for (host, machine) in machines.iter().enumerate() {
        let mut agent = network.inside(host, &machine.agent(farm));
        if machine.name == "skewed" {
            agent.envs(clock.iter().map(|(name, value)| (name, value)));
        }
        agents.push(World::command_until(agent, "takes jobs from"));
    }
    let [killed, away_agent, skewed]: [Running; 3] =
        agents.try_into().unwrap_or_else(|_| panic!("there are three"));
    wait_until(&objects, "all measure", |status| {
        NAMES.iter().all(|name| measured_by(status, name).is_some())
    })
    .await;
    let seen = look(&objects).await;
    let held = |host| measured_by(&seen, host);
    let (of_killed, of_away) = (held("killed"), held("away"));
    killed.signal(libc::SIGKILL);
    away(&away_agent, true);
    killed.end();
    let since = Instant::now();
    let is_elsewhere = |status: &Status, job: &Option<String>, host: &str| {
        let job = status.jobs.iter().find(|open| Some(open.id.hex()) == job.as_deref());
        let holder = job.and_then(|job| job.claim.as_ref()?.holder.as_ref());
        job.is_none() || holder.is_some_and(|holder| holder.host != host)
    };
    wait_until(&objects, "another has the job of who is away", |status| {
        is_elsewhere(status, &of_away, "away")
    })
    .await;
    println!("the job of who is away is elsewhere after {:?}", since.elapsed());
    away(&away_agent, false);
    wait_until(&objects, "all is done", |status| status.jobs.is_empty()).await;
    let ends = [away_agent, skewed].map(|agent| {
        agent.signal(libc::SIGINT);
        agent.end()
    });
    assert_once(&store, &objects, &of_killed, &ends).await;
    let entry = objects.read(&path::host("skewed")).await.unwrap().unwrap();
    let entry: HostEntry = from_bytes(&entry.bytes).unwrap();
    let ahead = Duration::from_micros((entry.beat_us - SystemClock::default().wall_us()) as u64);
    assert!((3000..3700).contains(&ahead.as_secs()), "its clock is {ahead:?} ahead");
}

/// Checks by the store alone that each job was done and counts once.
async fn assert_once(
    store: &Store,
    objects: &StoredObjects,
    of_killed: &Option<String>,
    ends: &[(Option<i32>, String)],
) {
    let mut runs = BTreeSet::new();
    let results = objects.list("queue/results/").await.unwrap();
    for (name, _) in &results {
        let object = objects.read(name).await.unwrap().unwrap();
        let result: JobResult = from_bytes(&object.bytes).unwrap();
        let Ending::Done { path, .. } = &result.ending else { panic!("{result:?}: {ends:#?}") };
        runs.insert(path.clone());
        if Some(result.job.hex()) == of_killed.as_deref() {
            assert_ne!(result.by, "killed", "{result:?}");
        }
    }
    assert_eq!((results.len(), runs.len()), (JOBS, JOBS), "{ends:#?}");
    let rows = objects.list("runs/").await.unwrap();
    let rows: BTreeSet<String> = rows.into_iter().map(|(name, _)| name).collect();
    assert_eq!(rows, runs, "{ends:#?}");
    let read = store.run_rows().await.unwrap();
    assert_eq!((read.len(), store.problems()), (JOBS, Vec::new()));
    for prefix in [path::JOBS, path::CLAIMS, path::OPEN] {
        assert_eq!(objects.list(prefix).await.unwrap(), [], "{ends:#?}");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

#[test]
fn three_hosts_and_a_bucket() {
    if !embedded() {
        return;
    }
    let _turn = turn();
    let Some(network) = Network::new(NAMES.len()) else { return };
    let Some(server) = S3Server::moto(network.address()) else { return };
    let mut settings = server.settings(&server.address);
    settings.push(("AWS_TIMEOUT".into(), "2s".into()));
    let farm = Farm { world: World::new(), store: URL.into(), settings };
    let cut = |_: &Running, is_cut: bool| network.set_link(1, !is_cut);
    runtime().block_on(work(&farm, &network, cut));
}

#[test]
fn three_hosts_and_a_folder() {
    if !embedded() {
        return;
    }
    let _turn = turn();
    let Some(network) = Network::new(NAMES.len()) else { return };
    let world = World::new();
    let store = world.path().join("store").display().to_string();
    let farm = Farm { world, store, settings: Vec::new() };
    // A folder is cut off by nothing but a pause of who uses it.
    let pause = |agent: &Running, is_cut: bool| {
        agent.signal(if is_cut { libc::SIGSTOP } else { libc::SIGCONT });
    };
    runtime().block_on(work(&farm, &network, pause));
}

/// How long `command` takes, and for how much of that it has a child.
fn time_with_children(mut command: Command) -> (Duration, Duration) {
    let begun = Instant::now();
    let mut program = command.spawn().unwrap();
    let threads = PathBuf::from(format!("/proc/{}/task", program.id()));
    let has_child = || {
        let threads = std::fs::read_dir(&threads).into_iter().flatten().flatten();
        let mut children =
            threads.map(|thread| std::fs::read_to_string(thread.path().join("children")));
        children.any(|children| children.is_ok_and(|children| !children.trim().is_empty()))
    };
    let (mut with_child, mut last) = (Duration::ZERO, Instant::now());
    let status = loop {
        if let Some(status) = program.try_wait().unwrap() {
            break status;
        }
        let now = Instant::now();
        if has_child() {
            with_child += now - last;
        }
        last = now;
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{status}");
    (begun.elapsed(), with_child)
}

/// The same job by `dyno run` and by an agent, in turns; and the agent's own time, before and after
/// the process that measures for it as `dyno run` does.
#[test]
#[ignore = "a figure: minutes"]
fn the_time_of_a_job_by_an_agent_beside_that_of_a_run() {
    if !embedded() {
        return;
    }
    let _turn = turn();
    let world = World::new();
    for tag in ["s1", "s2"] {
        world.commit(tag, BUILD, "pause 1500\nprint hello\n");
    }
    let job = ["made", "s1", "s2", "--rounds", "10", "--min-rounds", "10", "--again"];
    let command = |words: &[&str]| world.command(words);
    let turns = std::env::var("AGENT_TURNS").map_or(2, |text| text.parse().unwrap());
    // The first builds; both begin once.
    time_with_children(command(&[&["run"], &job[..]].concat()));
    let (mut run_sum, mut agent_sum, mut own_sum) = (0.0, 0.0, 0.0);
    for turn in 0..turns {
        let run = || time_with_children(command(&[&["run"], &job[..]].concat())).0.as_secs_f64();
        let agent = || {
            time_with_children(command(&[&["request"], &job[..]].concat()));
            let (all, measuring) = time_with_children(command(&["agent", "--once"]));
            (all.as_secs_f64(), (all - measuring).as_secs_f64())
        };
        let (run, (agent, own)) = match turn % 2 {
            0 => (run(), agent()),
            _ => {
                let agent = agent();
                (run(), agent)
            }
        };
        let share = 100.0 * own / agent;
        println!("run: {run:.2} s, agent: {agent:.2} s, of it its own: {own:.2} s, {share:.2} %");
        (run_sum, agent_sum, own_sum) = (run_sum + run, agent_sum + agent, own_sum + own);
    }
    let (ratio, share) = (agent_sum / run_sum, 100.0 * own_sum / agent_sum);
    println!("of {turns} turns: ratio {ratio:.4}; the agent's own time is {share:.2} %");
    let runs: usize = world.runs().parse().unwrap();
    assert_eq!(runs, 1 + 2 * turns);
}
