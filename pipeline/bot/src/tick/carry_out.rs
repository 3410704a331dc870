//! What a command that was granted comes to.

use dyno_model::id::CommitId;
use dyno_model::queue::JobName;
use dyno_model::record::Trust;
use dyno_queue::request::cancel;
use dyno_queue::{Clock, Objects};

use super::{Asking, Bot, Hindrance};
use crate::ask::{self, Ask, Measurement};
use crate::command::Command;
use crate::configuration::Project;
use crate::conversation::answer::Answer;
use crate::conversation::{Comparisons, Outcome, Wanted};
use crate::github::{Pull, Transport};
use crate::permission::Grant;

/// What a command was granted on.
pub(super) struct Granted<'a> {
    pub grant: Grant,
    pub pull: Pull,
    pub project: &'a Project,
    /// The suites that may be asked for; the first is meant where none is named.
    pub suites: &'a [String],
    /// The commit that `base=` means.
    pub base: Option<CommitId>,
}

impl<T: Transport, C: Clock, O: Objects, A: Comparisons> Bot<'_, T, C, O, A> {
    pub(super) async fn carry_out(
        &self,
        asking: &Asking<'_>,
        command: Command,
        granted: Granted<'_>,
    ) -> Result<(), Hindrance> {
        match command {
            Command::Run(_) | Command::SelfCheck(_) => self.measure(asking, command, granted).await,
            Command::Cancel => {
                let number = self.cancel(asking).await?;
                self.answer(asking, Some(command), &Answer::Cancelled(number)).await
            }
            Command::Status => {
                let mut conversations = Vec::new();
                let status = self.status().await?;
                for ask in self.open_here(asking).await? {
                    let Some(measurement) = &ask.measurement else { continue };
                    let parts = self.parts(measurement, &status).await?;
                    conversations.extend(self.conversation(&ask, parts, None));
                }
                self.answer(asking, Some(command), &Answer::Status(&conversations)).await
            }
            Command::Unroll => {
                let missing = Answer::Missing(&Command::Unroll);
                self.answer(asking, Some(command), &missing).await
            }
            Command::Help => self.answer(asking, Some(command), &Answer::Help).await,
        }
    }

    /// Asks for a measurement. It is kept here first; the queue is asked when it is followed.
    async fn measure(
        &self,
        asking: &Asking<'_>,
        command: Command,
        granted: Granted<'_>,
    ) -> Result<(), Hindrance> {
        let Asking { rules, comment, author } = asking;
        let Granted { grant, pull, project, suites, base } = granted;
        if !project.ignore.is_empty() {
            let files = self.github.files(&comment.place).await?;
            if project.ignores(files.iter().map(String::as_str)) {
                return self.answer(asking, Some(command), &Answer::Ignored).await;
            }
        }
        let commit = grant.commit.as_ref();
        let named = commit.map_or(&pull.request.head, |granted| &granted.commit);
        let baseline = match base {
            Some(base) => Some(base),
            None => self.github.merge_base(&rules.name, &pull.base, named).await?,
        };
        let Some(baseline) = baseline else {
            let why = "The commit has nothing in common with the branch that it goes to.";
            return self.answer(asking, Some(command), &Answer::Unplanned(why)).await;
        };
        let scope = command.scope().cloned().unwrap_or_default();
        let first = suites.first().cloned().unwrap_or_default();
        let wanted = Wanted {
            requester: format!("{} in {}#{}", author.login, rules.name, comment.place.number),
            suite: scope.suite.unwrap_or(first),
            policy: scope.policy.unwrap_or_else(|| rules.policy.clone()),
            hosts: if scope.hosts.is_empty() { rules.hosts.clone() } else { scope.hosts },
            threads: scope.threads,
            only: scope.only,
            candidate: commit.map_or(&baseline, |granted| &granted.commit).clone(),
            trust: commit.map_or(Trust::Trusted, |granted| granted.trust),
            baseline: baseline.clone(),
        };
        let request = match self.comparisons.plan(&wanted).await? {
            Ok(request) => request,
            Err(why) => {
                return self.answer(asking, Some(command), &Answer::Unplanned(&why)).await;
            }
        };
        let measurement = Measurement {
            grant,
            request,
            baseline,
            head: pull.request.head,
            is_confirmed: false,
            missing: Vec::new(),
            cancelled_by: None,
            said: None,
            outcome: Outcome::Open,
        };
        let (place, by) = (comment.place.clone(), (*author).clone());
        let ask = Ask::new(place, comment.id, by, Some(command), Some(measurement));
        Ok(ask::keep(self.objects, self.clock, &ask, true).await?)
    }

    /// The requests of the pull request that are open.
    async fn open_here(&self, asking: &Asking<'_>) -> Result<Vec<Ask>, Hindrance> {
        let (open, _) = ask::open(self.objects, self.clock).await?;
        Ok(open.into_iter().filter(|ask| ask.place == asking.comment.place).collect())
    }

    /// Ends what is open in the pull request; how many requests that were.
    async fn cancel(&self, asking: &Asking<'_>) -> Result<usize, Hindrance> {
        let mut number = 0;
        for mut ask in self.open_here(asking).await? {
            let Some(measurement) = &mut ask.measurement else { continue };
            number += 1;
            measurement.cancelled_by = Some(asking.author.login.clone());
            self.end(measurement, &asking.author.login).await?;
            ask::keep(self.objects, self.clock, &ask, true).await?;
        }
        Ok(number)
    }

    /// Cancels the jobs of a request that have not ended.
    pub(super) async fn end(&self, measurement: &Measurement, by: &str) -> Result<(), Hindrance> {
        let incarnation = format!("{}/{}", self.configuration.name, self.clock.wall_us());
        for job in &measurement.request.jobs {
            let name = JobName::new(job);
            cancel(self.objects, self.clock, &name, by, &incarnation).await?;
        }
        Ok(())
    }
}
