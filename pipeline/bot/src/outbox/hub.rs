//! GitHub, as far as the outbox needs it.

use std::collections::BTreeSet;

use super::{Check, CheckState, Place, Say};

/// What GitHub shows of the kind that something to be said is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// All comments of the pull request.
    Comments(Vec<ShownComment>),
    /// The reactions to the comment: who, and what.
    Reactions(Vec<(Option<u64>, String)>),
    /// The checks of the head that the bot made.
    Checks(Vec<ShownCheck>),
    Labels(BTreeSet<String>),
}

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownComment {
    pub id: u64,
    /// The numeric id of its author; `None` for an account that is gone.
    pub author: Option<u64>,
    pub body: String,
}

/// A check that the bot made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownCheck {
    pub id: u64,
    pub name: String,
    /// What the bot gave as [`Check::request`].
    pub request: String,
    pub state: CheckState,
    pub title: String,
    pub summary: String,
}

/// One effect on GitHub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    CreateComment {
        body: String,
    },
    UpdateComment {
        id: u64,
        body: String,
    },
    RemoveComment {
        id: u64,
    },
    /// GitHub gives the same reaction of the same account once.
    CreateReaction {
        comment: u64,
        content: String,
    },
    CreateCheck(Check),
    UpdateCheck {
        id: u64,
        check: Check,
    },
    AddLabels(BTreeSet<String>),
    RemoveLabel(String),
}

impl Action {
    /// Whether doing it twice would be seen.
    pub const fn is_creation(&self) -> bool {
        matches!(self, Self::CreateComment { .. } | Self::CreateCheck(_))
    }

    /// Whether nothing is left to do once GitHub has confirmed it. (What it has confirmed need not
    /// show at once.)
    pub const fn is_last(&self) -> bool {
        !matches!(self, Self::RemoveComment { .. } | Self::AddLabels(_) | Self::RemoveLabel(_))
    }
}

/// Why GitHub did not do or say something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubTrouble {
    /// It answered, and will not: locked, forbidden, malformed.
    #[error("{0}")]
    Refused(String),
    /// It is not there, or not to be seen.
    #[error("{0}")]
    Gone(String),
    /// It did not answer, or not with a result. What was asked may have been done all the same.
    #[error("{0}")]
    Away(String),
    /// It wants to be left alone until then, in µs since 1970. What was asked was not done.
    #[error("a limit until {until_us}")]
    Limited { until_us: i64 },
}

/// GitHub.
pub trait Hub: Send + Sync {
    /// What it shows of the kind that `what` is of.
    fn look(
        &self,
        place: &Place,
        what: &Say,
    ) -> impl Future<Output = Result<Shown, HubTrouble>> + Send;

    /// Carries `action` out, once: what does not get an answer is not asked for again.
    fn act(
        &self,
        place: &Place,
        action: &Action,
    ) -> impl Future<Output = Result<(), HubTrouble>> + Send;
}
