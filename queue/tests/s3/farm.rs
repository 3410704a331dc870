//! Agents, and what they are asked for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dyno_model::budget::Budget;
use dyno_model::catalog::suite::Selection;
use dyno_model::id::Digest;
use dyno_model::queue::{
    BenchmarkEstimate, HostOffer, QUEUE_VERSION, QueueJob, QueueRequest, plan,
};
use dyno_model::record::{QueueAttempt, Trust};
use dyno_model::request::{HostChoice, PolicyReference, REQUEST_VERSION, Request};
use dyno_queue::agent::{Agent, Report, Settings, Worked, Worker};
use dyno_queue::claim::Lease;
use dyno_queue::clock::SystemClock;
use dyno_queue::result::{done, end, settle};
use dyno_queue::stored::StoredObjects;
use dyno_queue::{Clock, Trouble};
use dyno_store::Store;

/// A clock that runs so many times as fast as that of this machine.
#[derive(Debug, Clone, Copy)]
pub struct QuickClock {
    clock: SystemClock,
    speed: u32,
}

impl QuickClock {
    pub fn new(speed: u32) -> Self {
        Self { clock: SystemClock::default(), speed }
    }
}

impl Clock for QuickClock {
    fn now(&self) -> Duration {
        self.clock.now() * self.speed
    }

    fn wall_us(&self) -> i64 {
        self.clock.wall_us()
    }

    async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration / self.speed).await;
    }
}

pub fn offer(name: &str) -> HostOffer {
    HostOffer {
        name: name.into(),
        architecture: "x86_64".into(),
        cores: 1,
        labels: vec!["quiet".into()],
    }
}

/// A request for one job of the class, another one for each `number`.
pub fn request(number: u64, class: &str) -> QueueRequest {
    let asked = Request {
        version: REQUEST_VERSION,
        requester: "a test".into(),
        suite: "lua".into(),
        baseline: "a".repeat(40),
        candidate: format!("{number:040x}"),
        host: HostChoice::Class(class.into()),
        policy: PolicyReference { name: "default".into(), digest: Digest::of(b"") },
        selection: Selection::default(),
        budget: Budget { rounds_min: 5, rounds_max: 30, seconds: 60 },
        counting: true,
        cachegrind: true,
        trust: Trust::Trusted,
        again: false,
    };
    let benchmark = BenchmarkEstimate {
        name: "fib".into(),
        seconds: 60.0,
        threads: 1,
        history: BTreeMap::new(),
    };
    let mut request = QueueRequest {
        version: QUEUE_VERSION,
        requests: vec![asked],
        suite_digest: Digest::of(b"suite"),
        priority: (number % 10) as u8,
        depth: (number % 1000) as u32,
        asked_us: 1_800_000_000_000_000 + number as i64,
        is_follow_up: false,
        bundle: None,
        jobs: Vec::new(),
    };
    request.jobs = plan(&request, &[benchmark], &[offer("any")], 600.0).jobs;
    request
}

/// A host whose jobs take as long as `work` by its clock.
pub struct Host {
    pub name: &'static str,
    pub store: Store,
    pub clock: QuickClock,
    pub work: Duration,
    pub leaves: Arc<AtomicBool>,
    pub said: Arc<Mutex<Vec<Report>>>,
}

impl Host {
    pub fn new(name: &'static str, store: Store, clock: QuickClock, work: u64) -> Self {
        let (leaves, said) = Default::default();
        Self { name, store, clock, work: Duration::from_secs(work), leaves, said }
    }

    /// Runs the agent with the defaults of `dyno agent`, but for the pause between looks.
    pub async fn run(&self, once: bool, poll: u64) {
        let objects = StoredObjects::prompt(&self.store).unwrap();
        let settings = Settings {
            offer: offer(self.name),
            machine: self.name.into(),
            incarnation: format!("{}.1", self.name),
            dyno_version: "0".into(),
            lease: Lease::default(),
            poll: Duration::from_secs(poll),
            beat: Duration::from_secs(poll.max(60)),
        };
        let report = |report| self.said.lock().unwrap().push(report);
        let mut agent = Agent::new(&objects, &self.clock, self, settings, &report);
        agent.run(once).await.unwrap();
    }

    /// Why it says that it waited.
    pub fn troubles(&self) -> String {
        let said = self.said.lock().unwrap();
        let why = |report: &Report| match report {
            Report::Trouble { why } => Some(format!("{why}\n")),
            _ => None,
        };
        said.iter().filter_map(why).collect()
    }
}

impl Worker for Host {
    async fn work(&self, job: QueueJob, attempt: QueueAttempt) -> Worked {
        self.clock.sleep(self.work).await;
        let objects = StoredObjects::prompt(&self.store).unwrap();
        let run = Digest::of(attempt.incarnation.as_bytes()).into();
        let place = format!("runs/{}/{}", job.id, attempt.incarnation.replace('/', "-"));
        let ending = done(run, place, attempt.incarnation.as_bytes());
        // What publishes is patient.
        loop {
            let ended = end(&objects, &self.clock, &attempt, ending.clone()).await;
            let settled = match ended {
                Ok((result, true)) => settle(&objects, &self.clock, &result).await,
                Ok((_, false)) => Ok(()),
                Err(trouble) => Err(trouble),
            };
            match settled {
                Ok(()) => return Worked::Ended,
                Err(Trouble(_)) => self.clock.sleep(Duration::from_secs(5)).await,
            }
        }
    }

    async fn leave(&self) {
        while !self.leaves.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
