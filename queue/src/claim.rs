//! Claims: who measures a job, for as long as it renews its lease.
//!
//! The holder counts by its own clock from before each renewal; others count by theirs from when they
//! saw it. Nobody compares clocks. A claim that was taken from its holder is found out at its next
//! renewal; that is not what keeps a job from counting twice, the result is (`result.rs`).

use std::pin::pin;
use std::time::Duration;

use dyno_model::id::QueueJobId;
use dyno_model::queue::{Claim, FailedAttempt, Holder, QUEUE_VERSION, path};
use futures::future::{Either, select};

use crate::objects::{Object, Trouble, Version, Written, create, from_bytes, replace, to_bytes};
use crate::{Clock, Objects};

/// How long leases are, and how often they are renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub duration: Duration,
    pub renewal: Duration,
}

impl Default for Lease {
    fn default() -> Self {
        Self { duration: Duration::from_secs(60), renewal: Duration::from_secs(15) }
    }
}

/// A claim that this agent holds.
#[derive(Debug, Clone)]
pub struct HeldClaim {
    pub job: QueueJobId,
    claim: Claim,
    version: Version,
    lease: Lease,
    /// When the last renewal was begun that succeeded.
    renewed: Duration,
}

/// What a renewal found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    Held,
    /// Another has the claim, or the job has ended.
    Lost,
}

impl HeldClaim {
    /// Takes the claim of `job`: one that nobody has had, or the one that was seen as `former` and
    /// not renewed. `None` where another was faster.
    pub async fn take(
        objects: &impl Objects,
        clock: &impl Clock,
        job: &QueueJobId,
        holder: Holder,
        lease: Lease,
        former: Option<(Claim, Version)>,
    ) -> Result<Option<Self>, Trouble> {
        let renewed = clock.now();
        let (beat, mut failed) =
            former.as_ref().map_or((0, Vec::new()), |(c, _)| (c.beat + 1, c.failed.clone()));
        let vanished = former.as_ref().and_then(|(claim, _)| claim.holder.as_ref());
        if let Some(vanished) = vanished.filter(|holder| holder.is_measuring) {
            let why = "it vanished while it measured".to_string();
            failed.push(FailedAttempt { host: vanished.host.clone(), why });
        }
        let claim = Claim {
            version: QUEUE_VERSION,
            holder: Some(holder),
            beat,
            lease_ms: lease.duration.as_millis() as u64,
            since_us: clock.wall_us(),
            failed,
        };
        let (name, bytes) = (path::claim(job), to_bytes(&claim));
        let written = match &former {
            Some((_, version)) => replace(objects, clock, &name, &bytes, version).await?,
            None => create(objects, clock, &name, &bytes).await?,
        };
        Ok(match written {
            Written::Ours(version) => {
                Some(Self { job: job.clone(), claim, version, lease, renewed })
            }
            Written::Theirs(_) => None,
        })
    }

    /// Attempts that measured and failed before.
    pub fn failed(&self) -> &[FailedAttempt] {
        &self.claim.failed
    }

    /// How long the lease still stands for every observer.
    pub fn left(&self, clock: &impl Clock) -> Duration {
        self.lease.duration.saturating_sub(clock.now().saturating_sub(self.renewed))
    }

    /// Whether the lease may have run out for an observer.
    pub fn has_expired(&self, clock: &impl Clock) -> bool {
        self.left(clock).is_zero()
    }

    /// Renews the lease; `is_measuring` says what is done under it.
    ///
    /// # Errors
    /// [`Trouble`] where the store does not answer: the lease goes on until it expires.
    pub async fn renew(
        &mut self,
        objects: &impl Objects,
        clock: &impl Clock,
        is_measuring: bool,
    ) -> Result<Renewal, Trouble> {
        let holder = self.claim.holder.clone().map(|holder| Holder { is_measuring, ..holder });
        let next = Claim { holder, beat: self.claim.beat + 1, ..self.claim.clone() };
        self.swap(objects, clock, next).await
    }

    /// Renews the lease while measuring, and waits for the answer no longer than the lease stands: a
    /// store that is silent must not keep its holder from seeing it end.
    ///
    /// # Errors
    /// Those of [`Self::renew`].
    pub async fn renew_in_time(
        &mut self,
        objects: &impl Objects,
        clock: &impl Clock,
    ) -> Result<Renewal, Trouble> {
        let left = clock.sleep(self.left(clock));
        match select(pin!(self.renew(objects, clock, true)), pin!(left)).await {
            Either::Left((renewed, _)) => renewed,
            Either::Right(_) => {
                Err(Trouble("the lease ended before its renewal was answered".into()))
            }
        }
    }

    /// Gives the claim back, with the attempt that `failed`, if it was one.
    pub async fn release(
        &mut self,
        objects: &impl Objects,
        clock: &impl Clock,
        failed: Option<FailedAttempt>,
    ) -> Result<Renewal, Trouble> {
        let mut next = Claim { holder: None, beat: self.claim.beat + 1, ..self.claim.clone() };
        next.failed.extend(failed);
        self.swap(objects, clock, next).await
    }

    async fn swap(
        &mut self,
        objects: &impl Objects,
        clock: &impl Clock,
        next: Claim,
    ) -> Result<Renewal, Trouble> {
        let begun = clock.now();
        let (name, bytes) = (path::claim(&self.job), to_bytes(&next));
        match replace(objects, clock, &name, &bytes, &self.version).await? {
            Written::Ours(version) => {
                (self.claim, self.version, self.renewed) = (next, version, begun);
                Ok(Renewal::Held)
            }
            Written::Theirs(found) => {
                // An earlier renewal, of which no reply came, may have been done after all.
                match found.and_then(|object| self.earlier_renewal(object)) {
                    Some((claim, version)) => {
                        (self.claim, self.version) = (claim, version);
                        Err(Trouble("an earlier renewal came late".into()))
                    }
                    None => Ok(Renewal::Lost),
                }
            }
        }
    }

    /// The claim in `object`, where it is this holder's own and newer.
    fn earlier_renewal(&self, object: Object) -> Option<(Claim, Version)> {
        let claim: Claim = from_bytes(&object.bytes).ok()?;
        let incarnation = |claim: &Claim| claim.holder.as_ref().map(|h| h.incarnation.clone());
        let is_ours = incarnation(&claim).is_some()
            && incarnation(&claim) == incarnation(&self.claim)
            && claim.beat >= self.claim.beat;
        is_ours.then_some((claim, object.version))
    }
}

/// Reads a claim; `None` where there is none. One that is damaged is as one of nobody.
pub async fn read(
    objects: &impl Objects,
    clock: &impl Clock,
    job: &QueueJobId,
) -> Result<Option<(Result<Claim, String>, Version)>, Trouble> {
    let object = crate::objects::read(objects, clock, &path::claim(job)).await?;
    Ok(object.map(|object| (from_bytes(&object.bytes), object.version)))
}
