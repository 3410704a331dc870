//! One simulation: hosts, requests and misfortunes, all drawn from the seed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use dyno_model::budget::Budget;
use dyno_model::catalog::suite::Selection;
use dyno_model::id::{Digest, QueueJobId};
use dyno_model::queue::{
    BenchmarkEstimate, HostOffer, JobName, QUEUE_VERSION, QueueRequest, path, plan,
};
use dyno_model::record::Trust;
use dyno_model::request::{HostChoice, PolicyReference, REQUEST_VERSION, Request};
use dyno_queue::agent::{Agent, Settings};
use dyno_queue::claim::Lease;
use dyno_queue::request::{cancel, submit};
use rand::Rng;
use std::time::Duration;

use crate::checks::{Found, LEASE, check};
use crate::executor::{Executor, Until};
use crate::host::{SimulatedClock, SimulatedObjects, SimulatedWorker, draw_misfortune};
use crate::world::{Event, HostState, MINUTE, SECOND, Shared, World, lock};

/// How much there is of everything.
#[derive(Debug, Clone, Copy)]
pub enum Scale {
    Small,
    Large,
}

/// A mistake that is made on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A result replaces one that is there.
    NoFencing,
    /// Leases go by the time of day.
    LeasesByWallClock,
    /// Each claim counts as an attempt.
    ClaimsCountAsAttempts,
    /// A write of which no reply came is taken for another's.
    LostReplyIsFailure,
}

impl Mutation {
    pub const ALL: [Self; 4] = [
        Self::NoFencing,
        Self::LeasesByWallClock,
        Self::ClaimsCountAsAttempts,
        Self::LostReplyIsFailure,
    ];
}

/// What all simulations came to.
pub type Totals = Found;

impl Totals {
    pub fn add(&mut self, found: &Found) {
        self.jobs += found.jobs;
        self.done += found.done;
        self.failed += found.failed;
        self.given_up += found.given_up;
        self.cancelled += found.cancelled;
        self.superseded += found.superseded;
        self.takeovers += found.takeovers;
        self.crashes += found.crashes;
        self.rows_by_others += found.rows_by_others;
        self.seconds += found.seconds;
    }
}

const LABELS: [&str; 3] = ["quiet", "fast", "spare"];

fn offer(index: usize) -> HostOffer {
    HostOffer {
        name: format!("host-{index}"),
        architecture: if index % 3 == 2 { "aarch64" } else { "x86_64" }.into(),
        cores: 1 + (index as u32 % 4),
        // Each label has a host that nothing is wrong with, but for its bad luck.
        labels: vec![LABELS[index % 3].into(), LABELS[0].into()],
    }
}

/// A request for some of the classes, of some benchmarks.
pub fn draw_request(world: &Shared, number: u64, hosts: usize) -> QueueRequest {
    let mut world = lock(world);
    let classes: Vec<HostChoice> = match world.random.random_range(0..4) {
        0 => vec![HostChoice::Name(format!("host-{}", world.random.random_range(0..hosts)))],
        1 => vec![HostChoice::Class("x86_64".into()), HostChoice::Class(LABELS[1].into())],
        _ => vec![HostChoice::Class(LABELS[0].into())],
    };
    let class_request = |host: HostChoice| Request {
        version: REQUEST_VERSION,
        requester: "the simulation".into(),
        suite: "lua".into(),
        baseline: "a".repeat(40),
        candidate: format!("{number:040x}"),
        host,
        policy: PolicyReference { name: "default".into(), digest: Digest::of(b"") },
        selection: Selection::default(),
        budget: Budget { rounds_min: 5, rounds_max: 30, seconds: 60 },
        counting: true,
        cachegrind: true,
        trust: Trust::Trusted,
        again: false,
    };
    let benchmark = |name: &str, host: usize| BenchmarkEstimate {
        name: name.into(),
        seconds: 400.0,
        threads: 1,
        history: BTreeMap::from([(LABELS[0].to_string(), format!("host-{host}"))]),
    };
    let benchmarks: Vec<BenchmarkEstimate> = ["fib", "sort", "scan"]
        .iter()
        .map(|name| benchmark(name, world.random.random_range(0..hosts)))
        .collect();
    let mut request = QueueRequest {
        version: QUEUE_VERSION,
        requests: classes.into_iter().map(class_request).collect(),
        suite_digest: Digest::of(b"suite"),
        priority: world.random.random_range(0..10),
        depth: world.random.random_range(0..1000),
        asked_us: world.now as i64,
        is_follow_up: false,
        bundle: None,
        jobs: Vec::new(),
    };
    let offers: Vec<HostOffer> = (0..hosts).map(offer).collect();
    request.jobs = plan(&request, &benchmarks, &offers, 600.0).jobs;
    request
}

/// How long a host waits before it looks again: hundreds of hosts look less often.
fn poll(hosts: usize) -> Duration {
    Duration::from_secs(if hosts < 100 { 20 } else { 60 })
}

/// The settings of the agent of a host, at one of its starts.
pub fn settings(host: usize, starts: u32, hosts: usize) -> Settings {
    Settings {
        offer: offer(host),
        machine: format!("machine {host}"),
        incarnation: format!("{host}.{starts}"),
        dyno_version: "0".into(),
        lease: Lease {
            duration: Duration::from_micros(LEASE),
            renewal: Duration::from_micros(LEASE / 4),
        },
        poll: poll(hosts),
        beat: Duration::from_secs(60),
    }
}

/// Starts the agent of a host.
fn start(executor: &mut Executor, world: &Shared, host: usize, mutation: Option<Mutation>) {
    let starts = {
        let mut world = lock(world);
        let now = world.now;
        let state = &mut world.hosts[host];
        (state.is_up, state.started) = (true, now);
        state.starts += 1;
        state.starts
    };
    let by_wall = mutation == Some(Mutation::LeasesByWallClock);
    let clock = SimulatedClock { world: Arc::clone(world), host, by_wall };
    let lost = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    let objects = SimulatedObjects { world: Arc::clone(world), host, mutation, lost };
    let settings = settings(host, starts, lock(world).hosts.len());
    let shared = Arc::clone(world);
    executor.spawn(host, async move {
        let worker = SimulatedWorker {
            world: Arc::clone(&shared),
            host,
            clock: clock.clone(),
            objects: objects.clone(),
            leaves: None,
        };
        let report = |report| lock(&shared).log(|| format!("host {host}: {report:?}"));
        let refused = Agent::new(&objects, &clock, &worker, settings, &report).run(false).await;
        lock(&shared).log(|| format!("host {host} leaves: {refused:?}"));
    });
}

/// Spawns who asks, and who cancels some of it later, on hosts of their own, which may crash too.
fn spawn_requests(
    executor: &mut Executor,
    world: &Shared,
    (first, hosts, requests): (usize, usize, u64),
    mutation: Option<Mutation>,
) {
    for number in 0..requests {
        let host = first + number as usize;
        let clock = SimulatedClock { world: Arc::clone(world), host, by_wall: false };
        let objects =
            SimulatedObjects { world: Arc::clone(world), host, mutation, lost: Arc::default() };
        let (begins, dies, cancels) = {
            let mut world = lock(world);
            let begins = world.delay(60 * MINUTE);
            let dies = world.random.random_bool(0.2).then(|| begins + world.delay(2 * SECOND));
            (begins, dies, world.random.random_bool(0.15))
        };
        if let Some(dies) = dies {
            lock(world).at(dies, Event::Crash(host));
        }
        let shared = Arc::clone(world);
        executor.spawn(host, async move {
            Until::new(&shared, begins).await;
            let request = draw_request(&shared, number, hosts);
            while submit(&objects, &clock, &request).await.is_err() {}
            if cancels {
                let later = lock(&shared).delay(20 * MINUTE);
                Until::new(&shared, later).await;
                let job = JobName::new(&request.jobs[0]);
                while cancel(&objects, &clock, &job, "who asked", &number.to_string())
                    .await
                    .is_err()
                {}
            }
        });
    }
}

/// Runs the simulation of `seed`; what it came to, or what did not hold.
pub fn simulate(seed: u64, scale: Scale, mutation: Option<Mutation>) -> Result<Found, String> {
    let world: Shared = Arc::new(Mutex::new(World::new(seed)));
    let (hosts, requests) = {
        let mut world = lock(&world);
        world.has_fencing = mutation != Some(Mutation::NoFencing);
        world.calm_from = 3 * 60 * MINUTE;
        match scale {
            Scale::Small => (world.random.random_range(3..9), world.random.random_range(3..12)),
            Scale::Large => (200, 800),
        }
    };
    let mut executor = Executor::new(Arc::clone(&world));
    for _ in 0..hosts + requests as usize {
        let mut world = lock(&world);
        let state = HostState {
            is_up: true,
            paused_until: 0,
            rate: world.random.random_range(0.98..1.02),
            wall_offset_us: world.random.random_range(-600i64..600) * SECOND as i64,
            started: 0,
            starts: 0,
            cut_until: 0,
        };
        world.hosts.push(state);
    }
    for host in 0..hosts {
        start(&mut executor, &world, host, mutation);
    }
    spawn_requests(&mut executor, &world, (hosts, hosts, requests), mutation);
    let pauses = run(&mut executor, &world, hosts, mutation);
    drop(executor);
    let world = lock(&world);
    let asked = asked_jobs(&world);
    check(&world, &asked, &pauses)
}

/// The jobs of all requests that reached the store.
fn asked_jobs(world: &World) -> Vec<QueueJobId> {
    let requests = world.list("queue/requests/", 0);
    let jobs = |name: &str| {
        let (_, bytes) = world.read(name).expect("it is listed");
        serde_json::from_slice::<QueueRequest>(&bytes).expect("dyno wrote it").jobs
    };
    requests.iter().flat_map(|(name, _)| jobs(name)).map(|job| job.id).collect()
}

/// Lets the time go by: misfortunes until it is calm, and then as long as anything is open, for a
/// week at most. Returns when each host paused.
fn run(
    executor: &mut Executor,
    world: &Shared,
    hosts: usize,
    mutation: Option<Mutation>,
) -> BTreeMap<usize, Vec<(u64, u64)>> {
    let mut pauses: BTreeMap<usize, Vec<(u64, u64)>> = BTreeMap::new();
    let mut next_misfortune = MINUTE;
    let mut next_look = 0;
    loop {
        executor.run_ready();
        let (event, now) = {
            let mut world = lock(world);
            let event = world.next_event();
            (event, world.now)
        };
        match event {
            None => return pauses,
            Some(Event::Wake(waker)) => waker.wake(),
            Some(Event::Duplicate(write)) => {
                lock(world).write(&write, "again");
            }
            Some(Event::Jump { host, by_us }) => {
                lock(world).hosts[host].wall_offset_us += by_us;
            }
            Some(Event::Crash(host)) => {
                lock(world).log(|| format!("host {host} crashes"));
                executor.end_host(host);
                let mut world = lock(world);
                world.ledger.crashes += 1;
                world.hosts[host].is_up = false;
                let again = now + SECOND + world.delay(30 * MINUTE);
                world.at(again, Event::Start(host));
            }
            // Who asked and died does not come back.
            Some(Event::Start(host)) if host < hosts => start(executor, world, host, mutation),
            Some(Event::Start(_)) => {}
        }
        if now >= next_misfortune && !lock(world).is_calm() {
            let host = lock(world).random.random_range(0..hosts);
            draw_misfortune(world, host);
            let paused_until = lock(world).hosts[host].paused_until;
            if paused_until > now {
                pauses.entry(host).or_default().push((now, paused_until));
            }
            next_misfortune = now + lock(world).delay(20 * MINUTE) / hosts as u64 + SECOND;
        }
        if now >= next_look {
            next_look = now + MINUTE;
            let world = lock(world);
            let is_open = [path::JOBS, path::CLAIMS, path::OPEN]
                .iter()
                .any(|prefix| !world.list(prefix, 0).is_empty());
            let is_late = now > 7 * 24 * 60 * MINUTE;
            if world.is_calm() && !is_open || is_late {
                return pauses;
            }
        }
    }
}
