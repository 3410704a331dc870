//! What is to be said stands in the store before it is said, until GitHub shows it.
//!
//! A process can die at any moment, GitHub can be away, and a reply can be lost after the write. So
//! nothing is said from memory:
//!
//! 1. [`say`] creates `bot/due/<key>.json`, with all that is to be said. A newer text of the same
//!    key takes the place of an older one that is still due.
//! 2. [`deliver`] looks for each due entry at what GitHub shows and takes the one step that leads
//!    from there to what is due ([`reconcile`]): nothing, where it stands there already. A creation
//!    is marked as tried before it is asked for, and is asked for once more only when a lost one
//!    would have shown: a POST is never repeated blindly.
//! 3. What was said is remembered as `bot/said/<key>.json`, and the due entry is removed.
//!
//! What was said is found by its marker, and a marker counts only in a comment of the bot's own
//! account. One process of an account says and delivers at a time.

mod deliver;
mod hub;
mod reconcile;

use std::collections::BTreeSet;

use dyno_model::id::{CommitId, Digest};
use dyno_queue::objects::{Written, create, from_bytes_of, read, replace, to_bytes};
use dyno_queue::{Clock, Objects, Trouble};
use serde::{Deserialize, Serialize};

pub use deliver::{Delivery, deliver};
pub use hub::{Action, Hub, HubTrouble, Shown, ShownCheck, ShownComment};
pub use reconcile::{SETTLE_US, Step, reconcile};

use crate::configuration::RepositoryName;

/// Version of every object of the outbox. Who reads another leaves the object alone.
pub const OUTBOX_VERSION: u32 = 1;

/// Where due entries lie in the store.
const DUE: &str = "bot/due/";

/// Where it is remembered what was said.
const SAID: &str = "bot/said/";

/// A pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub repository: RepositoryName,
    pub number: u64,
}

/// Something to be said at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "say", deny_unknown_fields)]
pub enum Say {
    /// The one comment whose first line is `marker`.
    Comment {
        marker: String,
        /// All of it, the marker too.
        body: String,
        /// Whether it is said only where there is such a comment already.
        is_update: bool,
    },
    /// A reaction to a comment of somebody's.
    Reaction {
        comment: u64,
        content: String,
    },
    Check(Check),
    /// The labels in `managed` are on or off; others are not the bot's.
    Labels {
        on: BTreeSet<String>,
        managed: BTreeSet<String>,
    },
}

/// A check run, or the status of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub name: String,
    /// The head of the pull request, whatever was measured.
    pub head: CommitId,
    /// What tells this request from an earlier one of the same name.
    pub request: String,
    pub state: CheckState,
    pub title: String,
    pub summary: String,
}

/// How far a check has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    Queued,
    InProgress,
    /// It has ended and says neither yes nor no.
    Neutral,
    Success,
    Failure,
    Cancelled,
}

/// Something due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// [`OUTBOX_VERSION`].
    pub version: u32,
    pub place: Place,
    pub what: Say,
    /// When its creation was asked for last, in µs since 1970, by the bot's clock.
    pub tried_us: Option<i64>,
    /// How often GitHub refused it, and why it did last.
    pub refused: Option<(u32, String)>,
}

/// What was said last under a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    /// [`OUTBOX_VERSION`].
    version: u32,
    digest: Digest,
    /// [`Entry::tried_us`]: what was created need not show yet when there is more to say.
    tried_us: Option<i64>,
}

impl Entry {
    /// What is to be said, before anything was tried.
    pub const fn new(place: Place, what: Say) -> Self {
        Self { version: OUTBOX_VERSION, place, what, tried_us: None, refused: None }
    }

    /// What takes the place of what: two entries of one key are about the same comment, reaction,
    /// check or labels.
    fn key(&self) -> String {
        let Place { repository, number } = &self.place;
        let (repository, number) = (repository.to_string().to_lowercase(), number.to_string());
        let about: [&str; 3] = match &self.what {
            Say::Comment { marker, .. } => ["comment", marker, ""],
            Say::Reaction { comment, content } => ["reaction", &comment.to_string(), content],
            Say::Check(check) => ["check", &check.name, &check.request],
            Say::Labels { .. } => ["labels", "", ""],
        };
        let parts = [repository.as_str(), &number].into_iter().chain(about);
        Digest::of_parts(parts).hex()[..32].to_string()
    }

    fn digest(&self) -> Digest {
        Digest::of(&to_bytes(&self.what))
    }
}

/// Has `entry` said at the next [`deliver`], unless it was the last thing that was said under its key.
/// The answer is whether it is due.
pub async fn say(
    objects: &impl Objects,
    clock: &impl Clock,
    entry: &Entry,
) -> Result<bool, Trouble> {
    let key = entry.key();
    let name = format!("{DUE}{key}.json");
    let mut due = entry.clone();
    let written = match read(objects, clock, &name).await? {
        Some(object) => {
            if let Ok(older) = from_bytes_of::<Entry>(OUTBOX_VERSION, &object.bytes) {
                if older.what == due.what {
                    return Ok(true);
                }
                // A creation that was tried may show yet, whatever it is to say now.
                due.tried_us = older.tried_us;
            }
            replace(objects, clock, &name, &to_bytes(&due), &object.version).await?
        }
        None => {
            let said = said(objects, clock, &key).await?;
            if said.as_ref().is_some_and(|said| said.digest == entry.digest()) {
                return Ok(false);
            }
            due.tried_us = said.and_then(|said| said.tried_us);
            create(objects, clock, &name, &to_bytes(&due)).await?
        }
    };
    match written {
        Written::Ours(_) => Ok(true),
        Written::Theirs(_) => Err(Trouble(format!("{name}: another process says something too"))),
    }
}

/// The last thing that was said under `key`. What cannot be read is as if it were not there: then it
/// is looked for at GitHub.
async fn said(
    objects: &impl Objects,
    clock: &impl Clock,
    key: &str,
) -> Result<Option<Said>, Trouble> {
    let found = read(objects, clock, &format!("{SAID}{key}.json")).await?;
    Ok(found.and_then(|object| from_bytes_of(OUTBOX_VERSION, &object.bytes).ok()))
}
