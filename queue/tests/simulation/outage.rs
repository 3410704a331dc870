//! A store that is away for longer than a lease, again and again: what hosts measured until then is
//! lost, and is held against nobody.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dyno_model::id::QueueJobId;
use dyno_model::queue::{Claim, Ending, JobResult, QueueJob, path};
use dyno_model::record::QueueAttempt;
use dyno_queue::agent::{Agent, Worked, Worker};
use dyno_queue::request::submit;
use dyno_queue::result::end;
use dyno_queue::{Clock, Trouble};

use crate::checks::LEASE;
use crate::executor::Executor;
use crate::host::{SimulatedClock, SimulatedObjects};
use crate::scenario::{draw_request, settings};
use crate::world::{Event, HostState, MINUTE, Shared, World, lock};

/// For how long the store is away each time, how long it is there in between, and how often.
const AWAY: u64 = 3 * LEASE;
const THERE: u64 = 10 * MINUTE;
const OUTAGES: u64 = 5;

/// How long a job takes: as long as none ends between two outages.
const WORK: Duration = Duration::from_secs(1200);

/// Measures a job that always works.
struct SteadyWorker {
    clock: SimulatedClock,
    objects: SimulatedObjects,
}

impl Worker for SteadyWorker {
    async fn work(&self, _: QueueJob, attempt: QueueAttempt) -> Worked {
        self.clock.sleep(WORK).await;
        let run = dyno_model::id::Digest::of(attempt.incarnation.as_bytes()).into();
        match end(&self.objects, &self.clock, &attempt, Ending::Held { run }).await {
            Ok(_) => Worked::Ended,
            Err(Trouble(why)) => Worked::Trouble(why),
        }
    }

    async fn leave(&self) {
        std::future::pending().await
    }
}

/// What becomes of one job where the store is away from the hosts for which `is_cut` says so: how it
/// ended, and the attempts that were held against its hosts.
fn outages(hosts: usize, is_cut: impl Fn(usize) -> bool) -> (Ending, Vec<String>) {
    let world: Shared = Arc::new(Mutex::new(World::new(7)));
    let mut executor = Executor::new(Arc::clone(&world));
    let job = ask(&mut executor, &world, hosts);
    for host in 0..hosts {
        let clock = SimulatedClock { world: Arc::clone(&world), host, by_wall: false };
        let objects = objects_of(&world, host);
        let (settings, shared) = (settings(host, 1, hosts), Arc::clone(&world));
        executor.spawn(host, async move {
            let worker = SteadyWorker { clock: clock.clone(), objects: objects.clone() };
            let report = |report| lock(&shared).log(|| format!("host {host}: {report:?}"));
            let _ = Agent::new(&objects, &clock, &worker, settings, &report).run(false).await;
        });
    }
    let mut outage = 0;
    loop {
        executor.run_ready();
        let event = lock(&world).next_event();
        match event {
            Some(Event::Wake(waker)) => waker.wake(),
            Some(_) => unreachable!("nothing else goes wrong"),
            None => panic!("no host goes on"),
        }
        let mut world = lock(&world);
        let now = world.now;
        assert!(now < 24 * 60 * MINUTE, "the job is never done");
        if outage < OUTAGES && now > (outage + 1) * THERE + outage * AWAY {
            outage += 1;
            (0..hosts)
                .filter(|host| is_cut(*host))
                .for_each(|h| world.hosts[h].cut_until = now + AWAY);
        }
        if let Some((_, bytes)) = world.read(&path::result(&job)) {
            let result: JobResult = serde_json::from_slice(&bytes).unwrap();
            let contents = &world.objects[&path::claim(&job)];
            let mut claims = contents.iter().filter_map(|content| content.object.as_ref());
            let (_, last) = claims.next_back().unwrap();
            let claim: Claim = serde_json::from_slice(last).unwrap();
            return (result.ending, claim.failed.into_iter().map(|failed| failed.why).collect());
        }
    }
}

fn objects_of(world: &Shared, host: usize) -> SimulatedObjects {
    let world = Arc::clone(world);
    SimulatedObjects { world, host, mutation: None, lost: Arc::default() }
}

/// Makes the hosts, and one more who asks for a job that any of them takes.
fn ask(executor: &mut Executor, world: &Shared, hosts: usize) -> QueueJobId {
    for _ in 0..=hosts {
        let state = HostState {
            is_up: true,
            paused_until: 0,
            rate: 1.0,
            wall_offset_us: 0,
            started: 0,
            starts: 1,
            cut_until: 0,
        };
        lock(world).hosts.push(state);
    }
    let mut request = draw_request(world, 1, 1);
    request.requests.truncate(1);
    request.requests[0].host = dyno_model::request::HostChoice::Class("quiet".into());
    let whole = dyno_model::queue::BenchmarkEstimate { name: "fib".into(), ..Default::default() };
    request.jobs = dyno_model::queue::plan(&request, &[whole], &[], 600.0).jobs;
    let job = request.jobs[0].id.clone();
    let clock = SimulatedClock { world: Arc::clone(world), host: hosts, by_wall: false };
    let objects = objects_of(world, hosts);
    executor.spawn(hosts, async move {
        submit(&objects, &clock, &request).await.expect("nothing is wrong yet");
    });
    job
}

#[test]
fn a_store_that_is_away_is_held_against_no_attempt() {
    for hosts in [1, 2, 5] {
        let (ending, failed) = outages(hosts, |_| true);
        assert!(matches!(ending, Ending::Held { .. }), "{hosts} hosts: {ending:?}");
        assert_eq!(failed, [""; 0], "{hosts} hosts");
    }
}

/// Of a host that is cut off alone others cannot tell whether it has died: its attempt counts.
#[test]
fn a_host_that_is_away_alone_has_tried() {
    let (ending, failed) = outages(2, |host| host == 0);
    assert!(matches!(ending, Ending::Held { .. }), "{ending:?}");
    assert!(
        failed.len() <= 1 && failed.iter().all(|why| why == "it vanished while it measured"),
        "{failed:?}"
    );
    let (_, other) = outages(2, |host| host == 1);
    assert_eq!(failed.len() + other.len(), 1, "either had it when it was cut off");
}
