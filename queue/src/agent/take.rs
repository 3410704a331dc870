//! Taking a job: its claim first, and then whether it is what it says.

use dyno_model::queue::{Claim, Holder, JobName, QueueJob, path};

use super::{Agent, Worker};
use crate::claim::HeldClaim;
use crate::objects::{Trouble, Version, from_bytes, read};
use crate::result::{clear, inspect, settle};
use crate::{Clock, Objects};

impl<O: Objects, C: Clock, W: Worker> Agent<'_, O, C, W> {
    /// Takes `job` if nobody else is faster, and works on it; whether it was taken. One that the
    /// store makes trouble with is let be for a lease, so that it holds up no other.
    pub(super) async fn try_job(
        &mut self,
        job: &JobName,
        former: Option<(Claim, Version)>,
    ) -> Result<bool, Trouble> {
        let tried = self.take_job(job, former).await;
        if tried.is_err() {
            let until = self.clock.now() + self.settings.lease.duration;
            self.troubled.insert(job.id.clone(), until);
        }
        tried.map_err(|Trouble(why)| Trouble(format!("job {}: {why}", job.id.short())))
    }

    async fn take_job(
        &mut self,
        job: &JobName,
        former: Option<(Claim, Version)>,
    ) -> Result<bool, Trouble> {
        let holder = Holder {
            host: self.settings.offer.name.clone(),
            incarnation: self.settings.incarnation.clone(),
            is_measuring: false,
        };
        let (objects, clock, lease) = (self.objects, self.clock, self.settings.lease);
        let taking = HeldClaim::take(objects, clock, &job.id, holder, lease, former);
        let Some(mut claim) = taking.await? else { return Ok(false) };
        self.claims.remove(&job.id);
        // It may have ended since it was listed.
        match inspect(objects, clock, &job.id).await? {
            None => {}
            Some(Ok(result)) => {
                settle(objects, clock, &result).await?;
                clear(objects, clock, job).await?;
                return Ok(false);
            }
            Some(Err(why)) => {
                self.leave_alone(path::result(&job.id), why);
                self.leave_alone(job.path(), "its result cannot be read".into());
                claim.release(objects, clock, None).await?;
                return Ok(false);
            }
        }
        match self.read_job(job).await? {
            Ok(found) => {
                self.taken += 1;
                self.carry_out(job, found, claim).await?;
                Ok(true)
            }
            Err(why) => {
                self.leave_alone(job.path(), why);
                claim.release(objects, clock, None).await?;
                Ok(false)
            }
        }
    }

    /// The job that `name` names, as its request asks for it. The inner error says why it is none.
    async fn read_job(&self, name: &JobName) -> Result<Result<QueueJob, String>, Trouble> {
        let Some(object) = read(self.objects, self.clock, &name.path()).await? else {
            return Ok(Err("it is gone and has no result".into()));
        };
        let job: QueueJob = match from_bytes(&object.bytes) {
            Ok(job) => job,
            Err(why) => return Ok(Err(why)),
        };
        if JobName::new(&job) != *name {
            return Ok(Err("it is not what its name says".into()));
        }
        let checked = crate::request::check(self.objects, self.clock, &job).await?;
        Ok(checked.map(|()| job))
    }
}
