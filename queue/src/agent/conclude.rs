//! How an attempt ends: the job with it, or the claim goes back.

use dyno_model::queue::{ATTEMPTS_MAX, Ending, FailedAttempt, JobName, JobResult};
use dyno_model::record::QueueAttempt;

use super::report::attempts_text;
use super::{Agent, Report, Worked, Worker};
use crate::claim::{HeldClaim, Renewal};
use crate::objects::Trouble;
use crate::result::{clear, end, find, settle};
use crate::{Clock, Objects};

impl<O: Objects, C: Clock, W: Worker> Agent<'_, O, C, W> {
    /// Ends a job or gives it back, by what became of the attempt; `None` where its claim was lost.
    pub(super) async fn conclude(
        &mut self,
        name: &JobName,
        attempt: &QueueAttempt,
        mut claim: HeldClaim,
        worked: Option<Worked>,
    ) -> Result<(), Trouble> {
        let (objects, clock, id) = (self.objects, self.clock, attempt.job.clone());
        match worked {
            None => match find(objects, clock, &id).await {
                Ok(Some(result)) => {
                    settle(objects, clock, &result).await?;
                    self.clear_ended(name, attempt, result).await
                }
                found => {
                    self.stopped.push(claim);
                    (self.report)(Report::Lost { job: id });
                    found.map(drop)
                }
            },
            Some(Worked::Ended) => {
                let Some(result) = find(objects, clock, &id).await? else {
                    return Err(Trouble(format!("job {id} has no result")));
                };
                // This attempt's run row is in its place; that of another may not be.
                if result.incarnation != attempt.incarnation {
                    settle(objects, clock, &result).await?;
                }
                self.clear_ended(name, attempt, result).await
            }
            Some(Worked::Failed(why)) => self.finish(name, attempt, Ending::Failed { why }).await,
            Some(Worked::Trouble(why)) => {
                let failed = FailedAttempt { host: attempt.by.clone(), why: why.clone() };
                let attempts = claim.failed().len() + 1;
                (self.report)(Report::Failed { job: id, why, attempts });
                if attempts < ATTEMPTS_MAX {
                    return claim.release(objects, clock, Some(failed)).await.map(drop);
                }
                let all: Vec<FailedAttempt> =
                    claim.failed().iter().cloned().chain([failed]).collect();
                let ending = Ending::Failed { why: attempts_text(&all) };
                self.finish(name, attempt, ending).await
            }
            Some(Worked::Interrupted) => {
                (self.report)(Report::Released { job: id });
                claim.release(objects, clock, None).await.map(drop)
            }
        }
    }

    /// Removes what is left of a job that has ended as `result` says.
    async fn clear_ended(
        &self,
        name: &JobName,
        attempt: &QueueAttempt,
        result: JobResult,
    ) -> Result<(), Trouble> {
        clear(self.objects, self.clock, name).await?;
        let job = attempt.job.clone();
        (self.report)(match result.incarnation == attempt.incarnation {
            true => Report::Ended { job, ending: result.ending },
            false => Report::Superseded { job, by: result.by },
        });
        Ok(())
    }

    /// Ends the job, unless another has.
    pub(super) async fn finish(
        &self,
        name: &JobName,
        attempt: &QueueAttempt,
        ending: Ending,
    ) -> Result<(), Trouble> {
        let (result, is_ours) = end(self.objects, self.clock, attempt, ending).await?;
        settle(self.objects, self.clock, &result).await?;
        clear(self.objects, self.clock, name).await?;
        let job = attempt.job.clone();
        (self.report)(match is_ours {
            true => Report::Ended { job, ending: result.ending },
            false => Report::Superseded { job, by: result.by },
        });
        Ok(())
    }

    /// Gives back the claims whose leases ended, where nobody took them meanwhile: the store was away,
    /// and this host is there. So it is no attempt that failed. A claim that another has stays as it
    /// is: to that one the attempt has vanished.
    pub(super) async fn give_back(&mut self) {
        for mut claim in std::mem::take(&mut self.stopped) {
            let mut released = claim.release(self.objects, self.clock, None).await;
            if released.is_err() {
                // Of an earlier renewal the reply was lost: its version is known now.
                released = claim.release(self.objects, self.clock, None).await;
            }
            if released == Ok(Renewal::Held) {
                (self.report)(Report::Released { job: claim.job });
            }
        }
    }
}
