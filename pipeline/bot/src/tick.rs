//! One pass of the bot, from what is due to what is new and back.
//!
//! Nothing is remembered between passes but what the store and GitHub show: each looks again. Comments
//! are taken one by one, and where they were read up to is kept only after what they ask is. What goes
//! wrong in one repository stops no other; a limit of GitHub's ends the pass, and says when to come
//! again.

mod carry_out;
mod facts;
mod follow;
mod parts;

use dyno_model::mistake::Mistakes;
use dyno_queue::{Clock, Objects, Trouble};

use crate::ask::{self, Ask};
use crate::command;
use crate::configuration::{Configuration, Project, Repository, RepositoryName, project};
use crate::conversation::Comparisons;
use crate::conversation::answer::{Answer, answer};
use crate::github::{Comment, GitHub, Transport};
use crate::outbox::{Entry, HubTrouble, Place, Say, deliver, say};
use crate::permission::{Account, Decision};

/// How far before its first pass the bot looks for commands, in µs.
const LOOK_BACK_US: i64 = 60_000_000;

/// The reaction to a command that is taken.
const SEEN: &str = "eyes";

/// The bot of one account.
pub struct Bot<'a, T, C, O, A> {
    pub configuration: &'a Configuration,
    pub github: &'a GitHub<T, C>,
    pub objects: &'a O,
    pub clock: &'a C,
    pub comparisons: &'a A,
}

/// What came of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pass {
    /// How many things GitHub shows now that it did not.
    pub said: usize,
    /// Commands that were taken.
    pub heard: usize,
    /// What did not work, and will be tried at the next pass.
    pub troubles: Vec<String>,
    /// When the next pass can do more, in µs since 1970, where one that comes earlier cannot.
    pub again_us: Option<i64>,
    /// Whether GitHub wants to be left alone until then.
    pub is_limited: bool,
}

/// Why something was left for the next pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Hindrance {
    #[error(transparent)]
    GitHub(#[from] HubTrouble),
    #[error("the store: {0}")]
    Store(#[from] Trouble),
}

impl Pass {
    fn trouble(&mut self, why: String) {
        if !self.troubles.contains(&why) {
            self.troubles.push(why);
        }
    }

    fn later(&mut self, until_us: i64) {
        self.again_us = Some(self.again_us.map_or(until_us, |known| known.min(until_us)));
    }

    /// Takes down what became of something about `what`.
    fn note(&mut self, what: &str, done: Result<(), Hindrance>) {
        match done {
            Ok(()) => {}
            Err(Hindrance::GitHub(HubTrouble::Limited { until_us })) => {
                self.is_limited = true;
                self.again_us = Some(until_us);
            }
            Err(hindrance) => self.trouble(format!("{what}: {hindrance}")),
        }
    }
}

impl<T: Transport, C: Clock, O: Objects, A: Comparisons> Bot<'_, T, C, O, A> {
    /// Makes one pass: over all repositories, or over one and what is open anywhere.
    pub async fn tick(&self, only: Option<&RepositoryName>) -> Pass {
        let mut pass = Pass::default();
        // What an earlier pass had to say and did not come to.
        self.deliver(&mut pass).await;
        let repositories = self.configuration.repositories.iter();
        for rules in repositories.filter(|rules| only.is_none_or(|only| *only == rules.name)) {
            if !pass.is_limited {
                let read = self.read(rules, &mut pass).await;
                pass.note(&rules.name.to_string(), read);
            }
        }
        // Who asked sees that it was seen, before anything that takes long.
        self.deliver(&mut pass).await;
        if !pass.is_limited {
            self.follow_all(&mut pass).await;
            self.deliver(&mut pass).await;
        }
        pass
    }

    /// Says what is due.
    async fn deliver(&self, pass: &mut Pass) {
        let own = self.configuration.account;
        match deliver(self.objects, self.clock, self.github, own).await {
            Ok(delivery) => {
                pass.said += delivery.said;
                for (name, why) in delivery.unsaid {
                    pass.trouble(format!("{name}: {why}"));
                }
                delivery.again_us.into_iter().for_each(|until_us| pass.later(until_us));
            }
            Err(trouble) => pass.trouble(Hindrance::from(trouble).to_string()),
        }
    }

    /// Reads what was written in a repository since the last pass.
    async fn read(&self, rules: &Repository, pass: &mut Pass) -> Result<(), Hindrance> {
        let (objects, clock, repository) = (self.objects, self.clock, &rules.name);
        let first_us = || clock.wall_us() - LOOK_BACK_US;
        let known = ask::since(objects, clock, repository).await?;
        let mut since_us = known.unwrap_or_else(first_us);
        loop {
            let (comments, has_more) = self.github.comments(repository, since_us).await?;
            for comment in &comments {
                pass.heard += usize::from(self.hear(rules, comment).await?);
            }
            let last_us = comments.iter().map(|comment| comment.changed_us).max();
            since_us = last_us.map_or(since_us, |last_us| last_us.max(since_us));
            // All that was asked until then is in the store.
            if known != Some(since_us) {
                ask::advance(objects, clock, repository, since_us).await?;
            }
            if !has_more {
                return Ok(());
            }
        }
    }

    /// Takes the command of a comment, if it has one that nobody took; whether it was.
    async fn hear(&self, rules: &Repository, comment: &Comment) -> Result<bool, Hindrance> {
        let parsed = command::parse(&comment.body, &self.configuration.name);
        let Some(author) = comment.author.as_ref().filter(|_| parsed != Ok(None)) else {
            return Ok(false);
        };
        let is_edited = comment.changed_us != comment.made_us;
        let is_own = author.id == self.configuration.account;
        if is_own || is_edited || !comment.is_of_pull {
            return Ok(false);
        }
        let place = &comment.place;
        if ask::is_known(self.objects, self.clock, place, comment.id).await? {
            return Ok(false);
        }
        let asking = Asking { rules, comment, author };
        let command = match parsed {
            Ok(Some(command)) => command,
            Ok(None) => return Ok(false),
            Err(misread) => {
                self.answer(&asking, None, &Answer::Misread(&misread)).await?;
                return Ok(true);
            }
        };
        let Some(pull) = self.github.pull(place).await? else { return Ok(false) };
        let project = match self.project(rules).await? {
            Ok(project) => project,
            Err(mistakes) => {
                let answer = Answer::Configuration(&mistakes);
                self.answer(&asking, Some(command), &answer).await?;
                return Ok(true);
            }
        };
        let suites = match project.suites.is_empty() {
            true => &rules.suites,
            false => &project.suites,
        };
        let (decision, base) = self.decide(&asking, &command, suites, &pull).await?;
        match decision {
            Decision::Ignore(_) => return Ok(false),
            Decision::Refuse(missing) => {
                let refused = Answer::Refused { missing: &missing, rules };
                self.answer(&asking, Some(command), &refused).await?;
            }
            Decision::Accept(grant) => {
                let what = Say::Reaction { comment: comment.id, content: SEEN.into() };
                self.say(place, what).await?;
                let granted = carry_out::Granted { grant, pull, project: &project, suites, base };
                self.carry_out(&asking, command, granted).await?;
            }
        }
        Ok(true)
    }

    /// Has something said at a place.
    async fn say(&self, place: &Place, what: Say) -> Result<(), Hindrance> {
        say(self.objects, self.clock, &Entry::new(place.clone(), what)).await?;
        Ok(())
    }

    /// Answers a command that measures nothing, and keeps that it was answered.
    async fn answer(
        &self,
        asking: &Asking<'_>,
        command: Option<command::Command>,
        what: &Answer<'_>,
    ) -> Result<(), Hindrance> {
        let (comment, by) = (asking.comment, asking.author.clone());
        let said = answer(&self.configuration.name, &by.login, comment.id, what);
        self.say(&comment.place, said).await?;
        let ask = Ask::new(comment.place.clone(), comment.id, by, command, None);
        Ok(ask::keep(self.objects, self.clock, &ask, false).await?)
    }

    /// What the repository's own file says, or its mistakes.
    async fn project(&self, rules: &Repository) -> Result<Result<Project, Mistakes>, Hindrance> {
        let text = self.github.project_text(&rules.name, None).await?;
        Ok(match text {
            Some(text) => project::parse(project::PATH, &text, rules),
            None => Ok(Project::default()),
        })
    }
}

/// A command's comment, by whom, and the rules of its repository.
struct Asking<'a> {
    rules: &'a Repository,
    comment: &'a Comment,
    author: &'a Account,
}
