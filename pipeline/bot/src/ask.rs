//! What was asked of the bot, as the store keeps it.
//!
//! ```text
//! bot/open/<place>/<comment>.json    a request whose answer is not there yet
//! bot/asked/<place>/<comment>.json   a command that was answered
//! bot/since/<repository>.json        up to where the comments of a repository were read
//! ```
//!
//! An entry is the point from which a command counts as seen. That of a request is written before the
//! queue is asked: whoever dies in between asks the same at the next look.

use dyno_model::id::CommitId;
use dyno_model::queue::QueueRequest;
use dyno_queue::objects::{Written, create, from_bytes_of, read, remove, replace, to_bytes};
use dyno_queue::{Clock, Objects, Trouble};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::configuration::RepositoryName;
use crate::conversation::{Outcome, Subject};
use crate::outbox::Place;
use crate::permission::{Account, Grant, Refusal};

/// Version of every object of this module. Who reads another leaves the object alone.
const ASK_VERSION: u32 = 1;

/// Where requests lie that are not answered yet.
const OPEN: &str = "bot/open/";

/// Where commands lie that were answered.
const ASKED: &str = "bot/asked/";

/// A command that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    version: u32,
    pub place: Place,
    pub comment: u64,
    pub by: Account,
    /// `None` for what was not understood.
    pub command: Option<Command>,
    /// `None` for a command that measures nothing.
    pub measurement: Option<Measurement>,
}

/// What a command has measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    pub grant: Grant,
    pub request: QueueRequest,
    pub baseline: CommitId,
    /// The head of the pull request when something was said last.
    pub head: CommitId,
    /// Whether the grant was asked for once more, when the first job was taken.
    pub is_confirmed: bool,
    /// What was missing then.
    pub missing: Vec<Refusal>,
    /// Who has ended it.
    pub cancelled_by: Option<String>,
    /// What has become of it, as it was said last; `None` where nothing was said yet.
    pub said: Option<String>,
    pub outcome: Outcome,
}

impl Ask {
    pub const fn new(
        place: Place,
        comment: u64,
        by: Account,
        command: Option<Command>,
        measurement: Option<Measurement>,
    ) -> Self {
        Self { version: ASK_VERSION, place, comment, by, command, measurement }
    }

    /// What its comment and its check are about, for the bot called `bot`.
    pub fn subject(&self, bot: &str) -> Option<Subject> {
        let asked = self.measurement.as_ref()?.request.requests.first()?;
        Some(Subject {
            bot: bot.to_string(),
            suite: asked.suite.clone(),
            policy: asked.policy.name.clone(),
            is_self: matches!(self.command, Some(Command::SelfCheck(_))),
            scope: self.command.as_ref().and_then(Command::scope).cloned().unwrap_or_default(),
        })
    }

    fn name(&self, folder: &str) -> String {
        format!("{folder}{}{}.json", place_name(&self.place), self.comment)
    }
}

/// GitHub tells no large letters from small ones.
fn repository_name(repository: &RepositoryName) -> String {
    repository.to_string().to_lowercase()
}

fn place_name(place: &Place) -> String {
    format!("{}/{}/", repository_name(&place.repository), place.number)
}

/// Whether the command in a comment was taken.
pub async fn is_known(
    objects: &impl Objects,
    clock: &impl Clock,
    place: &Place,
    comment: u64,
) -> Result<bool, Trouble> {
    for folder in [OPEN, ASKED] {
        let name = format!("{folder}{}{comment}.json", place_name(place));
        if read(objects, clock, &name).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Keeps an ask as it is now: as open, or as answered.
pub async fn keep(
    objects: &impl Objects,
    clock: &impl Clock,
    ask: &Ask,
    is_open: bool,
) -> Result<(), Trouble> {
    let folder = if is_open { OPEN } else { ASKED };
    put(objects, clock, &ask.name(folder), ask).await?;
    if !is_open {
        remove(objects, clock, &ask.name(OPEN)).await?;
    }
    Ok(())
}

/// The requests that are open, the earliest comment first, and the objects that are none.
pub async fn open(
    objects: &impl Objects,
    clock: &impl Clock,
) -> Result<(Vec<Ask>, Vec<String>), Trouble> {
    all(objects, clock, OPEN).await
}

/// The commands of a pull request that were answered.
pub async fn asked(
    objects: &impl Objects,
    clock: &impl Clock,
    place: &Place,
) -> Result<Vec<Ask>, Trouble> {
    Ok(all(objects, clock, &format!("{ASKED}{}", place_name(place))).await?.0)
}

async fn all(
    objects: &impl Objects,
    clock: &impl Clock,
    prefix: &str,
) -> Result<(Vec<Ask>, Vec<String>), Trouble> {
    let (mut asks, mut odd) = (Vec::new(), Vec::new());
    for (name, _) in objects.list(prefix).await? {
        match load::<Ask>(objects, clock, &name).await? {
            Some(Ok(ask)) if name.ends_with(&ask.name("")) => asks.push(ask),
            Some(Ok(_)) => odd.push(format!("{name}: it is not the one that its name says")),
            Some(Err(why)) => odd.push(format!("{name}: {why}")),
            None => {}
        }
    }
    asks.sort_by_key(|ask| ask.comment);
    Ok((asks, odd))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    version: u32,
    since_us: i64,
}

fn since_name(repository: &RepositoryName) -> String {
    format!("bot/since/{}.json", repository_name(repository))
}

/// Up to where the comments of `repository` were read; `None` where they never were.
pub async fn since(
    objects: &impl Objects,
    clock: &impl Clock,
    repository: &RepositoryName,
) -> Result<Option<i64>, Trouble> {
    let name = since_name(repository);
    let found = load::<Since>(objects, clock, &name).await?.transpose();
    Ok(found.map_err(|why| Trouble(format!("{name}: {why}")))?.map(|since| since.since_us))
}

/// Keeps up to where the comments of `repository` were read.
pub async fn advance(
    objects: &impl Objects,
    clock: &impl Clock,
    repository: &RepositoryName,
    since_us: i64,
) -> Result<(), Trouble> {
    let since = Since { version: ASK_VERSION, since_us };
    put(objects, clock, &since_name(repository), &since).await
}

async fn load<T: DeserializeOwned>(
    objects: &impl Objects,
    clock: &impl Clock,
    name: &str,
) -> Result<Option<Result<T, String>>, Trouble> {
    let object = read(objects, clock, name).await?;
    Ok(object.map(|object| from_bytes_of(ASK_VERSION, &object.bytes)))
}

/// Writes an object, whatever is there: one process of an account writes at a time.
async fn put(
    objects: &impl Objects,
    clock: &impl Clock,
    name: &str,
    value: &(impl Serialize + Sync),
) -> Result<(), Trouble> {
    let bytes = to_bytes(value);
    let written = match read(objects, clock, name).await? {
        Some(object) if object.bytes == bytes => return Ok(()),
        Some(object) => replace(objects, clock, name, &bytes, &object.version).await?,
        None => create(objects, clock, name, &bytes).await?,
    };
    match written {
        Written::Ours(_) => Ok(()),
        Written::Theirs(_) => Err(Trouble(format!("{name}: another process writes it too"))),
    }
}
