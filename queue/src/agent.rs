//! An agent: the loop of a host that takes jobs, keeps its claim while it measures, and ends them.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use dyno_model::id::QueueJobId;
use dyno_model::queue::{
    ATTEMPTS_MAX, Chooser, Ending, HostOffer, JobName, Observation, QueueJob, observe, path,
};
use dyno_model::record::QueueAttempt;
use futures::future::{Either, select};

use crate::claim::{self, HeldClaim, Lease, Renewal};
use crate::objects::{Trouble, Version, remove};
use crate::result::{find, inspect};
use crate::{Clock, Objects};

pub use host_entry::Refused;
use report::attempts_text;
pub use report::{Report, Worked};

mod conclude;
mod host_entry;
mod report;
mod take;

/// What an agent is.
#[derive(Debug, Clone)]
pub struct Settings {
    pub offer: HostOffer,
    /// What tells this machine from another that is called the same.
    pub machine: String,
    /// Tells this start of the agent from all others.
    pub incarnation: String,
    pub dyno_version: String,
    pub lease: Lease,
    /// How long to wait before looking for work again.
    pub poll: Duration,
    /// How often the host says that it answers.
    pub beat: Duration,
}

/// What measures a job.
pub trait Worker: Send + Sync {
    /// Measures `job` and publishes it as `attempt`. It is dropped where the claim is lost.
    fn work(&self, job: QueueJob, attempt: QueueAttempt) -> impl Future<Output = Worked> + Send;

    /// Completes when the agent is to leave.
    fn leave(&self) -> impl Future<Output = ()> + Send;
}

/// What a look at the queue came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// A job was taken.
    Worked,
    /// None is left for this host but those that others hold, `held` of them.
    Idle { held: usize },
}

/// An agent between two looks at the queue.
pub struct Agent<'a, O, C, W> {
    objects: &'a O,
    clock: &'a C,
    worker: &'a W,
    settings: Settings,
    report: &'a (dyn Fn(Report) + Send + Sync),
    claims: BTreeMap<QueueJobId, Observation>,
    hosts: BTreeMap<String, Observation>,
    entry: host_entry::OwnEntry,
    /// Names of objects that are left alone.
    set_aside: BTreeSet<String>,
    /// Jobs whose objects the store did not give or take, and until when they are let be.
    troubled: BTreeMap<QueueJobId, Duration>,
    /// Claims whose leases ended before the store said whether another has them.
    stopped: Vec<HeldClaim>,
    /// Why nothing was to be done, at the last look.
    idle_why: Option<String>,
    taken: u64,
    looks: u64,
    /// How many lists the last look at the jobs took.
    lists: u32,
}

/// The names that a store gives in one answer.
const NAMES_PER_LIST: usize = 1000;

/// An idle host pauses this often at most between two looks.
const LISTS_PER_LOOK_MAX: usize = 10;

/// After so many renewals a holder looks whether its job has ended.
const RENEWALS_PER_LOOK: u64 = 4;

/// The number of looks at the queue of which one also looks for claims on jobs that have ended.
const SWEEP_EVERY: u64 = 16;

impl<'a, O: Objects, C: Clock, W: Worker> Agent<'a, O, C, W> {
    pub fn new(
        objects: &'a O,
        clock: &'a C,
        worker: &'a W,
        settings: Settings,
        report: &'a (dyn Fn(Report) + Send + Sync),
    ) -> Self {
        Self {
            objects,
            clock,
            worker,
            settings,
            report,
            claims: BTreeMap::new(),
            hosts: BTreeMap::new(),
            entry: host_entry::OwnEntry::default(),
            set_aside: BTreeSet::new(),
            troubled: BTreeMap::new(),
            stopped: Vec::new(),
            idle_why: None,
            taken: 0,
            looks: 0,
            lists: 1,
        }
    }

    /// Works until the agent is to leave; with `once`, until nothing is left for this host. A claim
    /// of another is waited for as long as a lease: it may be that of a host that is gone.
    ///
    /// # Errors
    /// [`Refused`] where another host has this one's name.
    pub async fn run(&mut self, once: bool) -> Result<(), Refused> {
        self.register().await?;
        let mut idle_since = None;
        loop {
            let turn = self.turn().await;
            let now = self.clock.now();
            match &turn {
                Ok(Turn::Worked) => idle_since = None,
                Ok(Turn::Idle { held }) => {
                    let since = *idle_since.get_or_insert(now);
                    let patience = self.settings.lease.duration + self.settings.poll;
                    if once && (*held == 0 || now.saturating_sub(since) > patience) {
                        return Ok(());
                    }
                }
                Err(Trouble(why)) => (self.report)(Report::Trouble { why: why.clone() }),
            }
            let activity = match (&idle_since, &self.idle_why) {
                (None, _) => "looks for work".to_string(),
                (Some(_), None) => "waits for work".to_string(),
                (Some(_), Some(why)) => format!("waits for work ({why})"),
            };
            self.beat_if_due(&activity).await?;
            let (pauses, pause) = self.pauses(&turn);
            for _ in 0..pauses {
                let leaving = pin!(self.worker.leave());
                if let Either::Left(_) = select(leaving, pin!(self.clock.sleep(pause))).await {
                    return Ok(());
                }
                self.beat_if_due(&activity).await?;
            }
        }
    }

    /// How many pauses to make after a look, and of what length. A store gives names by the
    /// thousand, and each list costs: who listed many jobs and none for it looks again later.
    fn pauses(&self, turn: &Result<Turn, Trouble>) -> (u32, Duration) {
        match turn {
            Ok(Turn::Worked) => (1, Duration::ZERO),
            Ok(Turn::Idle { held: 0 }) => (self.lists, self.settings.poll),
            // Sooner than any lease: what it held is to be given back before others take it.
            Err(_) if !self.stopped.is_empty() => (1, self.settings.lease.renewal),
            _ => (1, self.settings.poll),
        }
    }

    /// Looks at the queue once, and works on the first job that it can get.
    async fn turn(&mut self) -> Result<Turn, Trouble> {
        self.open_jobs().await?;
        let jobs = self.list_jobs().await?;
        self.give_back().await;
        self.lists = (jobs.len() / NAMES_PER_LIST).clamp(1, LISTS_PER_LOOK_MAX) as u32;
        self.looks += 1;
        if self.looks.is_multiple_of(SWEEP_EVERY) {
            self.observe_claims().await?;
            self.sweep_claims(&jobs).await?;
        }
        let offer = self.settings.offer.clone();
        self.idle_why = None;
        if !jobs.iter().any(|job| offer.refusal(job).is_none()) {
            // A job of its own class says more than one that is for others.
            let of_class = jobs.iter().find(|job| offer.is_of(&job.class));
            let refused = of_class.or(jobs.first());
            self.idle_why = refused
                .and_then(|job| Some(format!("job {}: {}", job.id.short(), offer.refusal(job)?)));
            if let Some(why) = self.idle_why.clone() {
                (self.report)(Report::Idle { why });
            }
            return Ok(Turn::Idle { held: 0 });
        }
        let now = self.clock.now();
        self.troubled.retain(|_, until| *until > now);
        let jobs: Vec<JobName> =
            jobs.into_iter().filter(|job| !self.troubled.contains_key(&job.id)).collect();
        self.observe_claims().await?;
        let answering = self.answering(&jobs).await?;
        let claimed: BTreeSet<QueueJobId> = self.claims.keys().cloned().collect();
        let chooser =
            Chooser { offer: &offer, claimed: &claimed, answering: &answering, taken: self.taken };
        let (free, held) = chooser.order(&jobs);
        let mut place = 0;
        let mut stride = 1;
        while let Some(job) = free.get(place) {
            if self.try_job(job, None).await? {
                return Ok(Turn::Worked);
            }
            // Hosts that begin at the same moment part: each collision doubles the stride.
            place += self.spread(&job.id, stride);
            stride = (stride * 2).min(64);
        }
        for job in &held {
            let before = chooser.host_before(job);
            if let Some(former) = self.expired(job, before).await?
                && self.try_job(job, Some(former)).await?
            {
                return Ok(Turn::Worked);
            }
        }
        Ok(Turn::Idle { held: held.len() })
    }

    /// One to `stride`, another for each host and job.
    fn spread(&self, job: &QueueJobId, stride: usize) -> usize {
        use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
        let hash = BuildHasherDefault::<DefaultHasher>::default()
            .hash_one((&self.settings.incarnation, job.hex()));
        1 + (hash % stride as u64) as usize
    }

    /// Completes requests whose jobs may be missing.
    async fn open_jobs(&mut self) -> Result<(), Trouble> {
        for (name, _) in self.list(path::OPEN).await? {
            if self.set_aside.contains(&name) {
                continue;
            }
            if let Err(why) = crate::request::complete(self.objects, self.clock, &name).await? {
                self.leave_alone(name, why);
            }
        }
        Ok(())
    }

    fn leave_alone(&mut self, name: String, why: String) {
        if self.set_aside.insert(name.clone()) {
            (self.report)(Report::SetAside { name, why });
        }
    }

    /// Lists objects. Who gets no answer has not seen that what it knew is unchanged.
    async fn list(&mut self, prefix: &str) -> Result<Vec<(String, Version)>, Trouble> {
        let listed = self.objects.list(prefix).await;
        if listed.is_err() {
            self.claims.clear();
            self.hosts.clear();
        }
        listed
    }

    async fn list_jobs(&mut self) -> Result<Vec<JobName>, Trouble> {
        let mut jobs = Vec::new();
        for (name, _) in self.list(path::JOBS).await? {
            match JobName::parse(&name) {
                Some(_) if self.set_aside.contains(&name) => {}
                Some(job) => jobs.push(job),
                None => self.leave_alone(name, "its name is not one of a job".into()),
            }
        }
        Ok(jobs)
    }

    async fn observe_claims(&mut self) -> Result<(), Trouble> {
        let listed = self.list(path::CLAIMS).await?;
        let claim =
            |(name, version): (String, Version)| Some((path::id(&name, path::CLAIMS)?, version.0));
        let listed = listed.into_iter().filter_map(claim).collect();
        observe(&mut self.claims, listed, self.clock.now());
        Ok(())
    }

    /// Removes claims on jobs that are not open and have ended: who took one after it had ended, and
    /// died before seeing that, leaves such a claim.
    async fn sweep_claims(&mut self, jobs: &[JobName]) -> Result<(), Trouble> {
        let open: BTreeSet<&QueueJobId> = jobs.iter().map(|job| &job.id).collect();
        let (now, lease) = (self.clock.now(), self.settings.lease.duration);
        let is_old = |seen: &Observation| now.saturating_sub(seen.since) >= lease;
        let old = self.claims.iter().filter(|(id, seen)| !open.contains(id) && is_old(seen));
        let old: Vec<QueueJobId> = old.map(|(id, _)| id.clone()).collect();
        for id in old {
            if let Some(Ok(_)) = inspect(self.objects, self.clock, &id).await? {
                remove(self.objects, self.clock, &path::claim(&id)).await?;
            }
        }
        Ok(())
    }

    /// The names of hosts that said lately that they answer, where some job asks for that.
    async fn answering(&mut self, jobs: &[JobName]) -> Result<BTreeSet<String>, Trouble> {
        let own = &self.settings.offer.name;
        let is_asked = |job: &JobName| job.preferred.as_ref().is_some_and(|host| host != own);
        if !jobs.iter().any(is_asked) {
            return Ok(BTreeSet::new());
        }
        let listed = self.list(path::HOSTS).await?;
        let now = self.clock.now();
        let listed = listed.into_iter().map(|(name, version)| (name, version.0)).collect();
        observe(&mut self.hosts, listed, now);
        let silence = self.settings.beat * 3;
        let hosts = jobs.iter().filter_map(|job| job.preferred.clone());
        let answers = |host: &String| {
            let seen = self.hosts.get(&path::host(host));
            seen.is_some_and(|seen| now.saturating_sub(seen.since) < silence)
        };
        Ok(hosts.filter(answers).collect())
    }

    /// The claim of `job`, where it was seen unchanged for as long as its lease and this host is one
    /// that may go on with it: the host that comes `before` it has failed, if there is one.
    async fn expired(
        &mut self,
        job: &JobName,
        before: Option<&str>,
    ) -> Result<Option<(dyno_model::queue::Claim, Version)>, Trouble> {
        let Some(seen) = self.claims.get(&job.id).cloned() else { return Ok(None) };
        let unchanged = self.clock.now().saturating_sub(seen.since);
        if unchanged < self.settings.lease.duration {
            return Ok(None);
        }
        let Some((claim, version)) = claim::read(self.objects, self.clock, &job.id).await? else {
            self.claims.remove(&job.id);
            return Ok(None);
        };
        if version.0 != seen.version {
            // The list lagged behind.
            let since = self.clock.now();
            self.claims.insert(job.id.clone(), Observation { version: version.0, since });
            return Ok(None);
        }
        let claim = match claim {
            Ok(claim) => claim,
            Err(why) => {
                self.leave_alone(path::claim(&job.id), why);
                return Ok(None);
            }
        };
        let has_failed = |host: &str| claim.failed.iter().any(|attempt| attempt.host == host);
        if before.is_some_and(|host| !has_failed(host)) {
            return Ok(None);
        }
        let lease = Duration::from_millis(claim.lease_ms);
        // Where it failed before, it waits for another host first.
        let failed_here = has_failed(&self.settings.offer.name);
        let patience = if failed_here { lease * 4 } else { lease };
        Ok((unchanged >= patience).then_some((claim, version)))
    }

    async fn carry_out(
        &mut self,
        name: &JobName,
        job: QueueJob,
        mut claim: HeldClaim,
    ) -> Result<(), Trouble> {
        let (objects, clock) = (self.objects, self.clock);
        let id = job.id.clone();
        let attempt = QueueAttempt {
            job: id.clone(),
            by: self.settings.offer.name.clone(),
            incarnation: format!("{}/{}", self.settings.incarnation, self.taken),
        };
        if claim.failed().len() >= ATTEMPTS_MAX {
            let ending = Ending::Failed { why: attempts_text(claim.failed()) };
            return self.finish(name, &attempt, ending).await;
        }
        (self.report)(Report::Taken { job: id.clone(), what: job.request.to_string() });
        if claim.renew(objects, clock, true).await? == Renewal::Lost {
            (self.report)(Report::Lost { job: id });
            return Ok(());
        }
        let worker = self.worker;
        let worked = {
            let working = pin!(worker.work(job, attempt.clone()));
            let renewing = pin!(self.keep(&mut claim, &id));
            match select(working, renewing).await {
                Either::Left((worked, _)) => Some(worked),
                Either::Right(_) => None,
            }
        };
        self.conclude(name, &attempt, claim, worked).await
    }

    /// Renews `claim` again and again; returns when it is lost, or when the job has ended: who
    /// ended it may have died before it removed the claim.
    async fn keep(&mut self, claim: &mut HeldClaim, job: &QueueJobId) {
        let (objects, clock) = (self.objects, self.clock);
        for renewals in 1u64.. {
            clock.sleep(self.settings.lease.renewal).await;
            let looks = renewals.is_multiple_of(RENEWALS_PER_LOOK);
            if looks && matches!(find(objects, clock, job).await, Ok(Some(_))) {
                return;
            }
            match claim.renew_in_time(objects, clock).await {
                Ok(Renewal::Lost) => return,
                Ok(Renewal::Held) => {}
                Err(Trouble(why)) => {
                    (self.report)(Report::Trouble { why });
                    if claim.has_expired(clock) {
                        return;
                    }
                }
            }
            let activity = format!("measures job {}", job.short());
            if self.beat_if_due(&activity).await.is_err() {
                return;
            }
        }
    }
}
