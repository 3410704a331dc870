//! What is true when a decision is made. GitHub is asked for no more than the decision lacks.

use dyno_model::id::CommitId;
use dyno_queue::{Clock, Objects};

use super::{Asking, Bot, Hindrance};
use crate::ask::{self, Measurement};
use crate::command::{Command, Run};
use crate::configuration::{Level, Repository};
use crate::conversation::Comparisons;
use crate::github::{Pull, Transport};
use crate::outbox::Place;
use crate::permission::{Asked, Decision, Facts, Refusal, confirm, decide, lacks};

impl<T: Transport, C: Clock, O: Objects, A: Comparisons> Bot<'_, T, C, O, A> {
    /// What to do about a command, and the commit that its `base=` means.
    pub(super) async fn decide(
        &self,
        asking: &Asking<'_>,
        command: &Command,
        suites: &[String],
        pull: &Pull,
    ) -> Result<(Decision, Option<CommitId>), Hindrance> {
        let Asking { rules, comment, author } = asking;
        let (place, repository) = (&comment.place, &rules.name);
        let level = match command {
            Command::Help | Command::Status => Level::None,
            _ => self.github.level(repository, author).await?,
        };
        let base = match command {
            Command::Run(Run { base: Some(name), .. }) => {
                self.github.own_commit(repository, name, &pull.base).await?
            }
            _ => None,
        };
        let (open, _) = ask::open(self.objects, self.clock).await?;
        let mut facts = Facts {
            level,
            pull: pull.request.clone(),
            is_base_own: base.is_some(),
            open_in_pull: open.iter().filter(|ask| ask.place == *place).count() as u32,
            open_of_account: open.iter().filter(|ask| ask.by.id == author.id).count() as u32,
        };
        let asked = Asked {
            author: Some((*author).clone()),
            made_us: comment.made_us,
            changed_us: comment.changed_us,
            is_known: false,
            command: command.clone(),
        };
        let own = self.configuration.account;
        let of =
            |facts: &Facts| decide(own, rules, self.configuration.limits, suites, &asked, facts);
        let mut decision = of(&facts);
        let named = match command {
            Command::Run(run) => run.commit.as_str().parse::<CommitId>().ok(),
            _ => None,
        };
        if let Some(named) = named.filter(|_| lacks_commit(&decision)) {
            facts.pull.commits = self.github.commits(place, pull, &named).await?;
            decision = of(&facts);
        }
        if lacks_commit(&decision) {
            facts.pull.reviews = self.github.reviews(place, &listed(rules)).await?;
            decision = of(&facts);
        }
        Ok((decision, base))
    }

    /// What is missing for a grant now that a job of it was taken, and the head of the pull request.
    pub(super) async fn confirm(
        &self,
        rules: &Repository,
        place: &Place,
        measurement: &Measurement,
    ) -> Result<(Vec<Refusal>, Option<CommitId>), Hindrance> {
        let grant = &measurement.grant;
        let level = self.github.level(&rules.name, &grant.by).await?;
        let Some(pull) = self.github.pull(place).await? else {
            return Ok((lacks(rules, &grant.by, level), None));
        };
        let mut request = pull.request;
        let head = Some(request.head.clone());
        if grant.commit.as_ref().is_some_and(|granted| granted.is_reviewed) {
            request.reviews = self.github.reviews(place, &listed(rules)).await?;
        }
        let facts =
            Facts { level, pull: request, is_base_own: true, open_in_pull: 0, open_of_account: 0 };
        Ok(match confirm(rules, grant, &facts) {
            Decision::Refuse(missing) => (missing, head),
            Decision::Accept(_) | Decision::Ignore(_) => (Vec::new(), head),
        })
    }
}

/// The ids of the accounts whose word counts.
fn listed(rules: &Repository) -> Vec<u64> {
    rules.accounts.values().copied().collect()
}

/// Whether nobody's word is there for the commit, as far as is known.
fn lacks_commit(decision: &Decision) -> bool {
    let is_about_it = |refusal: &Refusal| {
        matches!(
            refusal,
            Refusal::NotOfPullRequest { .. }
                | Refusal::NotTheHead { .. }
                | Refusal::PushedSince { .. }
        )
    };
    matches!(decision, Decision::Refuse(missing) if missing.iter().any(is_about_it))
}
