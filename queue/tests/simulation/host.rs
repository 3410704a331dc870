//! What a host has: its clocks, its way to the store, and what measures.

use std::sync::Arc;
use std::time::Duration;

use dyno_model::id::Digest;
use dyno_model::queue::{QueueJob, path};
use dyno_model::record::QueueAttempt;
use dyno_queue::agent::{Worked, Worker};
use dyno_queue::result::{done, end, settle};
use dyno_queue::{Clock, Object, Objects, Trouble, Version};
use rand::Rng;

use crate::executor::Until;
use crate::scenario::Mutation;
use crate::world::{Event, MINUTE, SECOND, Shared, Write, lock};

/// A host's clocks.
#[derive(Clone)]
pub struct SimulatedClock {
    pub world: Shared,
    pub host: usize,
    /// Whether leases go by the time of day, which is wrong.
    pub by_wall: bool,
}

impl Clock for SimulatedClock {
    fn now(&self) -> Duration {
        if self.by_wall {
            return Duration::from_micros(self.wall_us().max(0) as u64);
        }
        let world = lock(&self.world);
        let host = &world.hosts[self.host];
        Duration::from_micros(((world.now - host.started) as f64 * host.rate) as u64)
    }

    fn wall_us(&self) -> i64 {
        let world = lock(&self.world);
        1_800_000_000_000_000 + world.now as i64 + world.hosts[self.host].wall_offset_us
    }

    async fn sleep(&self, duration: Duration) {
        let rate = lock(&self.world).hosts[self.host].rate;
        Until::new(&self.world, (duration.as_micros() as f64 / rate) as u64).await;
    }
}

/// The store, over a bad network.
#[derive(Clone)]
pub struct SimulatedObjects {
    pub world: Shared,
    pub host: usize,
    pub mutation: Option<Mutation>,
    /// Objects of which the reply to their creation was lost.
    pub lost: Arc<std::sync::Mutex<std::collections::BTreeSet<String>>>,
}

/// What becomes of a request to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    LostOnTheWay,
    LostReply,
    DoneTwice,
}

impl SimulatedObjects {
    fn draw_fate(&self) -> Fate {
        let mut world = lock(&self.world);
        if world.hosts[self.host].cut_until > world.now {
            return Fate::LostOnTheWay;
        }
        if world.chance(0.02) {
            Fate::LostOnTheWay
        } else if world.chance(0.02) {
            Fate::LostReply
        } else if world.chance(0.02) {
            Fate::DoneTwice
        } else {
            Fate::Done
        }
    }

    async fn travel(&self) {
        let most = if lock(&self.world).chance(0.02) { 20 * SECOND } else { SECOND / 5 };
        let delay = lock(&self.world).delay(most) + 1000;
        Until::new(&self.world, delay).await;
    }

    /// Asks the store; `Err` where no reply comes.
    async fn ask<T>(&self, fate: Fate, ask: impl FnOnce() -> T) -> Result<T, Trouble> {
        self.travel().await;
        if fate == Fate::LostOnTheWay {
            Until::new(&self.world, 5 * SECOND).await;
            return Err(Trouble("no reply".into()));
        }
        let answer = ask();
        self.travel().await;
        match fate {
            Fate::LostReply => Err(Trouble("no reply".into())),
            _ => Ok(answer),
        }
    }

    async fn write(&self, write: Write) -> Result<Option<Version>, Trouble> {
        let fate = self.draw_fate();
        let write = match self.mutation {
            Some(Mutation::ClaimsCountAsAttempts) => counting_claims(write),
            _ => write,
        };
        let by = format!("host {}", self.host);
        let asked = self.ask(fate, || {
            let mut world = lock(&self.world);
            if fate == Fate::DoneTwice {
                let later = world.now + world.delay(30 * SECOND);
                world.at(later, Event::Duplicate(write.clone()));
            }
            world.write(&write, &by)
        });
        match asked.await {
            Err(_)
                if fate == Fate::LostReply
                    && self.mutation == Some(Mutation::LostReplyIsFailure) =>
            {
                self.lost.lock().expect("one thread").insert(write.name().to_string());
                Ok(None)
            }
            answer => Ok(answer?.map(|version| Version(version.to_string()))),
        }
    }
}

/// An object as if another than who wrote it had.
fn of_another(bytes: &[u8]) -> Vec<u8> {
    let mut value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    for place in ["/incarnation", "/holder/incarnation"] {
        if let Some(incarnation) = value.pointer_mut(place) {
            *incarnation = "another".into();
        }
    }
    serde_json::to_vec(&value).expect("it was read as JSON")
}

/// A claim that counts each one before it as an attempt.
fn counting_claims(write: Write) -> Write {
    use dyno_model::queue::{Claim, FailedAttempt};
    let Write::Replace { name, bytes, version } = write else { return write };
    let Ok(mut claim) = serde_json::from_slice::<Claim>(&bytes) else {
        return Write::Replace { name, bytes, version };
    };
    if claim.holder.as_ref().is_some_and(|holder| !holder.is_measuring) {
        claim.failed.push(FailedAttempt { host: "any".into(), why: "claimed".into() });
    }
    let bytes = serde_json::to_vec(&claim).expect("plain fields serialise");
    Write::Replace { name, bytes, version }
}

impl Objects for SimulatedObjects {
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Version)>, Trouble> {
        let fate = self.draw_fate();
        let listed = self.ask(fate, || {
            let mut world = lock(&self.world);
            let lag = if world.chance(0.1) { world.delay(20 * SECOND) } else { 0 };
            world.list(prefix, lag)
        });
        let version = |(name, version): (String, u64)| (name, Version(version.to_string()));
        Ok(listed.await?.into_iter().map(version).collect())
    }

    async fn read(&self, name: &str) -> Result<Option<Object>, Trouble> {
        let read = self.ask(self.draw_fate(), || lock(&self.world).read(name)).await?;
        let is_lost = self.lost.lock().expect("one thread").remove(name);
        Ok(read.map(|(version, bytes)| {
            let bytes = if is_lost { of_another(&bytes) } else { bytes };
            Object { version: Version(version.to_string()), bytes }
        }))
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Option<Version>, Trouble> {
        self.write(Write::Create { name: name.into(), bytes: bytes.into() }).await
    }

    async fn replace(
        &self,
        name: &str,
        bytes: &[u8],
        version: &Version,
    ) -> Result<Option<Version>, Trouble> {
        let version = version.0.parse().unwrap_or(0);
        self.write(Write::Replace { name: name.into(), bytes: bytes.into(), version }).await
    }

    async fn remove(&self, name: &str) -> Result<(), Trouble> {
        self.write(Write::Remove { name: name.into() }).await.map(drop)
    }
}

/// What measures: it takes its time, and mostly works.
pub struct SimulatedWorker {
    pub world: Shared,
    pub host: usize,
    pub clock: SimulatedClock,
    pub objects: SimulatedObjects,
    /// When the host is to leave, by the true time.
    pub leaves: Option<u64>,
}

impl SimulatedWorker {
    fn crash(&self) {
        let mut world = lock(&self.world);
        let now = world.now;
        world.at(now, Event::Crash(self.host));
    }
}

impl Worker for SimulatedWorker {
    async fn work(&self, job: QueueJob, attempt: QueueAttempt) -> Worked {
        let _noted = WorkNote::new(&self.world, self.host, &job);
        let (kind, takes) = {
            let mut world = lock(&self.world);
            // What a job is like follows from the job, on whatever host.
            let kind = u8::from_str_radix(&job.id.hex()[..2], 16).expect("hexadecimal");
            (kind, SECOND + world.delay(10 * MINUTE))
        };
        Until::new(&self.world, takes).await;
        match kind {
            // One that takes its host with it.
            0..8 => {
                self.crash();
                std::future::pending().await
            }
            8..16 => return Worked::Failed("the commit does not build".into()),
            16..24 => return Worked::Trouble("the engine is gone".into()),
            _ => {}
        }
        if lock(&self.world).chance(0.05) {
            return Worked::Trouble("the disk is full".into());
        }
        let run = Digest::of(attempt.incarnation.as_bytes()).into();
        let place = format!("runs/{}/{}", job.id, attempt.incarnation.replace('/', "-"));
        let ending = done(run, place, attempt.incarnation.as_bytes());
        let ended = end(&self.objects, &self.clock, &attempt, ending).await;
        // A death at this very moment leaves the run row to others.
        if lock(&self.world).chance(0.01) {
            self.crash();
            std::future::pending::<()>().await;
        }
        let settled = match ended {
            // Dying here is rare where it is left to luck, and leaves the row to others.
            Ok((_, true)) if lock(&self.world).chance(0.02) => {
                self.crash();
                std::future::pending().await
            }
            Ok((result, true)) => settle(&self.objects, &self.clock, &result).await,
            Ok((_, false)) => Ok(()),
            Err(trouble) => Err(trouble),
        };
        match settled {
            Ok(()) => Worked::Ended,
            Err(Trouble(why)) => Worked::Trouble(why),
        }
    }

    async fn leave(&self) {
        match self.leaves {
            Some(time) => {
                let delay = time.saturating_sub(lock(&self.world).now);
                Until::new(&self.world, delay).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// Notes in the ledger that a job is worked on, until it is dropped.
struct WorkNote {
    world: Shared,
    host: usize,
    claim: String,
}

impl WorkNote {
    fn new(world: &Shared, host: usize, job: &QueueJob) -> Self {
        let claim = path::claim(&job.id);
        let mut guard = lock(world);
        let now = guard.now;
        guard.ledger.begin_work(now, host, &job.id);
        Self { world: Arc::clone(world), host, claim }
    }
}

impl Drop for WorkNote {
    fn drop(&mut self) {
        // A panic of a check may hold the lock already.
        if let Ok(mut world) = self.world.try_lock() {
            let (now, host) = (world.now, self.host);
            world.ledger.end_work(now, host, &self.claim);
        }
    }
}

/// A stretch of bad luck for a host: a pause, a cut, a jump of its clock, or a crash.
pub fn draw_misfortune(world: &Shared, host: usize) {
    let mut world = lock(world);
    let now = world.now;
    let length = world.delay(20 * MINUTE);
    match world.random.random_range(0..4) {
        0 => world.hosts[host].paused_until = now + length,
        1 => world.hosts[host].cut_until = now + length,
        2 => {
            let by_us = world.random.random_range(-3600i64..3600) * SECOND as i64;
            world.at(now, Event::Jump { host, by_us });
        }
        _ => world.at(now, Event::Crash(host)),
    }
}
