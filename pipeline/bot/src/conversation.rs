//! What the bot says about a request: one comment, one check, and labels, from one state.
//!
//! A [`Conversation`] is everything that is known of a request at a moment. What is said of it is a
//! pure function of that, so looking again says the same again, and the outbox has nothing to do.
//! The verdict itself is written by others ([`Comparisons`]); here it gets its place: first, with
//! what is missing from it beside it.
//!
//! Words of others (names, logs, reasons) go through `dyno_reports::escape`, so that GitHub reads
//! no mention, reference, link or markup in them. [`fit`] keeps a comment within its size.

pub mod answer;
mod fit;
mod parts;
mod said;
#[cfg(test)]
mod tests;

use dyno_model::id::{CommitId, Digest};
use dyno_model::queue::QueueRequest;
use dyno_model::record::Trust;
use dyno_model::verdict::Conclusion;
use dyno_queue::objects::Reply;
use serde::{Deserialize, Serialize};

pub use fit::{BODY_BYTES_MAX, fit};
pub use parts::{Part, PartState};

use crate::command::{Command, Scope};
use crate::configuration::Project;
use crate::permission::Account;

/// What is to be asked of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Who asks, and where, for people.
    pub requester: String,
    pub suite: String,
    pub policy: String,
    /// Labels, architectures or names of hosts.
    pub hosts: Vec<String>,
    /// Empty for those of the suite.
    pub threads: Vec<u32>,
    /// Names of benchmarks; empty for all.
    pub only: Vec<String>,
    pub baseline: CommitId,
    pub candidate: CommitId,
    pub trust: Trust,
}

/// Who plans and compares: the catalog, and the store's answer to a request.
pub trait Comparisons: Send + Sync {
    /// The request for what is wanted, planned into jobs; the inner error says what of it cannot be
    /// asked.
    fn plan(&self, wanted: &Wanted) -> impl Reply<Result<QueueRequest, String>>;

    /// The comparison that `request` asks for, as far as it was measured; `None` where nothing was.
    fn compare(&self, request: &QueueRequest) -> impl Reply<Option<Comparison>>;
}

/// A comparison, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The comment that `dyno_reports::markdown` makes of it.
    pub body: String,
    pub conclusion: Conclusion,
    /// Whether `--fail-on-regression` would fail.
    pub gate_fails: bool,
    /// Whether a commit or a case does not work.
    pub has_failures: bool,
    /// The conclusion in a sentence.
    pub sentence: String,
    /// Series whose metric is 0 on the candidate alone: benchmark and metric.
    pub zeros: Vec<(String, String)>,
}

/// What a comment, a check and a request are about: of one subject there is one of each in a pull
/// request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The name of the bot's account: two bots in one pull request keep apart.
    pub bot: String,
    pub suite: String,
    pub policy: String,
    /// Whether the baseline is compared with itself.
    pub is_self: bool,
    /// What else the command narrows or names: hosts, threads, benchmarks.
    pub scope: Scope,
}

impl Subject {
    /// `dyno: wasmi`, `dyno: wasmi (strict, self, 0123abcd)`: the name of its check.
    pub fn check_name(&self) -> String {
        let mut words = Vec::new();
        if self.policy != "default" {
            words.push(self.policy.clone());
        }
        if self.is_self {
            words.push("self".into());
        }
        let Scope { hosts, threads, only, .. } = &self.scope;
        if !(hosts.is_empty() && threads.is_empty() && only.is_empty()) {
            let threads: Vec<String> = threads.iter().map(u32::to_string).collect();
            let parts = [hosts.join(","), threads.join(","), only.join(",")];
            words.push(Digest::of_parts(parts).hex()[..8].to_string());
        }
        let narrowed =
            if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
        format!("{}: {}{narrowed}", self.bot, self.suite)
    }

    /// The hidden first line of its comment.
    pub fn marker(&self) -> String {
        // Two signs in a row could end a comment of HTML; `~` stands in no name.
        format!("<!-- {} -->", self.check_name().replace('-', "~"))
    }
}

/// A request and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    pub subject: Subject,
    /// Tells this request from an earlier one about the same.
    pub request: String,
    pub by: Account,
    pub command: Command,
    /// The commit that is measured; `None` where the baseline is compared with itself.
    pub commit: Option<CommitId>,
    pub baseline: CommitId,
    pub trust: Trust,
    /// The head of the pull request now.
    pub head: CommitId,
    /// One for each class of hosts; never empty.
    pub parts: Vec<Part>,
    pub comparison: Option<Comparison>,
    /// The page of the report, where there is one.
    pub report_url: Option<String>,
}

/// How far a request has come, over all of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Waiting,
    Queued,
    Running,
    /// Something was measured, and something is open.
    Partial,
    /// Everything has ended, and there is a comparison.
    Verdict,
    /// Everything has ended without one.
    Failed,
    Cancelled,
    /// No host of a class answers, and nothing else is going on.
    Silent,
}

impl Stage {
    /// Whether nothing will follow by itself.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Verdict | Self::Failed | Self::Cancelled)
    }
}

impl Conversation {
    pub fn stage(&self) -> Stage {
        let has = |is: fn(&PartState) -> bool| self.parts.iter().any(|part| is(&part.state));
        let is_open = has(|state| !state.is_end());
        match () {
            () if is_open && self.comparison.is_some() => Stage::Partial,
            () if has(|state| matches!(state, PartState::Running { .. })) => Stage::Running,
            () if has(|state| matches!(state, PartState::Queued { .. })) => Stage::Queued,
            () if has(|state| matches!(state, PartState::Waiting { .. })) => Stage::Waiting,
            () if has(|state| matches!(state, PartState::Silent { .. })) => Stage::Silent,
            () if self.comparison.is_some() => Stage::Verdict,
            () if self
                .parts
                .iter()
                .all(|part| matches!(part.state, PartState::Cancelled { .. })) =>
            {
                Stage::Cancelled
            }
            () => Stage::Failed,
        }
    }

    /// The comparison, if it is all that was asked for.
    fn verdict(&self) -> Option<&Comparison> {
        self.comparison.as_ref().filter(|_| self.stage() == Stage::Verdict)
    }

    /// What has become of it.
    pub fn outcome(&self) -> Outcome {
        match self.verdict() {
            Some(comparison) => Outcome::Verdict(comparison.conclusion),
            None if self.stage().is_end() => Outcome::Nothing,
            None => Outcome::Open,
        }
    }

    /// Whether it says what somebody must read, also where the bot is to be silent while nothing
    /// changes.
    fn is_loud(&self) -> bool {
        match self.verdict() {
            Some(comparison) => {
                comparison.conclusion != Conclusion::Unchanged
                    || comparison.has_failures
                    || self.parts.iter().any(|part| !part.state.is_measured())
            }
            None => matches!(self.stage(), Stage::Failed | Stage::Cancelled | Stage::Silent),
        }
    }
}

/// What has become of a request, as labels say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Open,
    Verdict(Conclusion),
    /// It has ended without a verdict.
    Nothing,
}

/// The labels that requests of one pull request put on and take off.
pub fn labels(project: &Project, outcomes: &[Outcome]) -> crate::outbox::Say {
    let texts = project.labels.all().chain(project.waiting_label.as_deref());
    let managed = texts.map(str::to_string).collect();
    let of_one = |outcome: &Outcome| match outcome {
        Outcome::Verdict(conclusion) => project.labels.of(*conclusion).map(str::to_string),
        Outcome::Nothing => None,
        Outcome::Open => project.waiting_label.clone(),
    };
    crate::outbox::Say::Labels { on: outcomes.iter().filter_map(of_one).collect(), managed }
}
