//! A pass over what is due. What cannot be said stops nothing else, and is named.

use dyno_queue::objects::{Written, create, from_bytes_of, read, remove, replace, to_bytes};
use dyno_queue::{Clock, Objects, Trouble, Version};

use super::hub::{Hub, HubTrouble};
use super::reconcile::{Step, reconcile};
use super::{DUE, Entry, OUTBOX_VERSION, SAID, Said};

/// Steps of one entry in one pass: a comment takes one, labels as many as there are.
const STEPS_MAX: usize = 12;

/// Refusals after which an entry is named and not asked for any more.
const REFUSALS_MAX: u32 = 5;

/// What came of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// How many entries GitHub shows now.
    pub said: usize,
    /// Entries that were not said, and why.
    pub unsaid: Vec<(String, String)>,
    /// When the next pass can say more, in µs since 1970, where one that comes earlier cannot.
    pub again_us: Option<i64>,
}

/// What came of an entry.
enum Outcome {
    Said,
    Unsaid(String),
    Later(i64),
    /// GitHub takes nothing until then.
    Limited(i64),
}

/// Says what is due, for the bot of account `own`.
///
/// # Errors
/// [`Trouble`] of the store with the list of what is due. Trouble with one entry is in the answer.
pub async fn deliver(
    objects: &impl Objects,
    clock: &impl Clock,
    hub: &impl Hub,
    own: u64,
) -> Result<Delivery, Trouble> {
    let mut delivery = Delivery::default();
    for (name, _) in objects.list(DUE).await? {
        match one(objects, clock, hub, own, &name).await {
            Ok(Outcome::Said) => delivery.said += 1,
            Ok(Outcome::Unsaid(why)) => delivery.unsaid.push((name, why)),
            Ok(Outcome::Later(until_us)) => {
                let earlier = delivery.again_us.map_or(until_us, |known| known.min(until_us));
                delivery.again_us = Some(earlier);
            }
            Ok(Outcome::Limited(until_us)) => {
                delivery.again_us = Some(until_us);
                break;
            }
            Err(trouble) => delivery.unsaid.push((name, trouble.to_string())),
        }
    }
    Ok(delivery)
}

/// Says the entry `name`.
async fn one(
    objects: &impl Objects,
    clock: &impl Clock,
    hub: &impl Hub,
    own: u64,
    name: &str,
) -> Result<Outcome, Trouble> {
    let Some(object) = read(objects, clock, name).await? else { return Ok(Outcome::Said) };
    let entry: Entry = match from_bytes_of(OUTBOX_VERSION, &object.bytes) {
        Ok(entry) => entry,
        Err(why) => return Ok(Outcome::Unsaid(why)),
    };
    let mut due = Due { objects, clock, name, version: object.version, entry };
    if name != format!("{DUE}{}.json", due.entry.key()) {
        return Ok(Outcome::Unsaid("it is not the entry that its name says".into()));
    }
    if let Some((REFUSALS_MAX.., why)) = &due.entry.refused {
        return Ok(Outcome::Unsaid(format!("given up: {why}")));
    }
    for _ in 0..STEPS_MAX {
        let shown = match hub.look(&due.entry.place, &due.entry.what).await {
            Ok(shown) => shown,
            Err(trouble) => return due.refused(trouble).await,
        };
        let now_us = clock.wall_us();
        let action = match reconcile(&due.entry, own, &shown, now_us) {
            Step::Done => return due.settle().await,
            Step::Wait { until_us } => return Ok(Outcome::Later(until_us)),
            Step::Act(action) => action,
        };
        if action.is_creation() {
            due.entry.tried_us = Some(now_us);
            due.store().await?;
        }
        match hub.act(&due.entry.place, &action).await {
            Ok(()) if action.is_last() => return due.settle().await,
            Ok(()) => {}
            Err(trouble) => {
                if action.is_creation() && !matches!(trouble, HubTrouble::Away(_)) {
                    // It was not done, so it may be asked for again at once.
                    due.entry.tried_us = None;
                    due.store().await?;
                }
                return due.refused(trouble).await;
            }
        }
    }
    Ok(Outcome::Unsaid(format!("not done after {STEPS_MAX} steps")))
}

/// A due entry that is being said.
struct Due<'a, O, C> {
    objects: &'a O,
    clock: &'a C,
    name: &'a str,
    version: Version,
    entry: Entry,
}

impl<O: Objects, C: Clock> Due<'_, O, C> {
    /// Keeps the entry as it is now.
    async fn store(&mut self) -> Result<(), Trouble> {
        let bytes = to_bytes(&self.entry);
        match replace(self.objects, self.clock, self.name, &bytes, &self.version).await? {
            Written::Ours(version) => {
                self.version = version;
                Ok(())
            }
            Written::Theirs(_) => {
                Err(Trouble(format!("{}: another process delivers it too", self.name)))
            }
        }
    }

    /// Keeps what GitHub said instead of doing it.
    async fn refused(&mut self, trouble: HubTrouble) -> Result<Outcome, Trouble> {
        match trouble {
            HubTrouble::Away(why) => Ok(Outcome::Unsaid(why)),
            HubTrouble::Limited { until_us } => Ok(Outcome::Limited(until_us)),
            HubTrouble::Refused(why) | HubTrouble::Gone(why) => {
                let times = self.entry.refused.as_ref().map_or(0, |(times, _)| *times) + 1;
                self.entry.refused = Some((times, why.clone()));
                self.store().await?;
                Ok(Outcome::Unsaid(why))
            }
        }
    }

    /// Remembers that GitHub shows the entry, and that it is no longer due.
    async fn settle(&self) -> Result<Outcome, Trouble> {
        let Self { objects, clock, name, entry, .. } = self;
        let said = format!("{SAID}{}.json", entry.key());
        let (digest, tried_us) = (entry.digest(), entry.tried_us);
        let bytes = to_bytes(&Said { version: OUTBOX_VERSION, digest, tried_us });
        let written = match read(*objects, *clock, &said).await? {
            Some(object) => replace(*objects, *clock, &said, &bytes, &object.version).await?,
            None => create(*objects, *clock, &said, &bytes).await?,
        };
        match written {
            Written::Ours(_) => {
                remove(*objects, *clock, name).await?;
                Ok(Outcome::Said)
            }
            Written::Theirs(_) => Err(Trouble(format!("{said}: another process delivers it too"))),
        }
    }
}
