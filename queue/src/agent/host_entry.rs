//! The entry of a host: that it is there, what it offers, and what it does.

use std::time::Duration;

use dyno_model::queue::{HostEntry, QUEUE_VERSION, path};
use dyno_model::record::SCHEMA_VERSION;

use super::{Agent, Report, Worker};
use crate::objects::{
    Object, Trouble, Version, Written, create, from_bytes, read, replace, to_bytes,
};
use crate::{Clock, Objects};

/// Another host has the name of this one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a host called {name} is at work already, on the machine {machine}: {activity}")]
pub struct Refused {
    pub name: String,
    pub machine: String,
    pub activity: String,
    /// When it last said so, in µs since 1970, by its clock.
    pub beat_us: i64,
}

/// The entry as this agent wrote it last.
#[derive(Default)]
pub(super) struct OwnEntry {
    written: Option<(Version, Duration)>,
    beat: u64,
}

impl<O: Objects, C: Clock, W: Worker> Agent<'_, O, C, W> {
    /// Says that this host is there, once no other of its name is. An entry of another machine is
    /// watched for as long as a living host would need to change it.
    pub(super) async fn register(&mut self) -> Result<(), Refused> {
        let name = path::host(&self.settings.offer.name);
        let mut former = None;
        let seen = loop {
            match read(self.objects, self.clock, &name).await {
                Ok(seen) => break seen,
                Err(Trouble(why)) => {
                    (self.report)(Report::Trouble { why });
                    self.clock.sleep(self.settings.poll).await;
                }
            }
        };
        if let Some(object) = seen {
            let entry: Option<HostEntry> = from_bytes(&object.bytes).ok();
            self.entry.beat = entry.as_ref().map_or(0, |entry| entry.beat);
            // What cannot be read may be that of a newer dyno, on whatever machine.
            let is_foreign = entry.is_none_or(|entry| entry.machine != self.settings.machine);
            former = Some(object.version.clone());
            if is_foreign {
                let watched = self.settings.beat * 2;
                (self.report)(Report::Idle {
                    why: format!(
                        "another machine is or was called {}: watching for {} s whether it still is",
                        self.settings.offer.name,
                        watched.as_secs()
                    ),
                });
                self.clock.sleep(watched).await;
                if let Ok(Some(now)) = read(self.objects, self.clock, &name).await {
                    self.refuse_if_changed(&object.version, &now)?;
                }
            }
        }
        self.write("begins", former).await
    }

    fn refuse_if_changed(&self, before: &Version, now: &Object) -> Result<(), Refused> {
        if now.version == *before {
            return Ok(());
        }
        let name = self.settings.offer.name.clone();
        let entry: Option<HostEntry> = from_bytes(&now.bytes).ok();
        let unknown = || ("an unknown one".to_string(), "its entry cannot be read".to_string(), 0);
        let (machine, activity, beat_us) =
            entry.map_or_else(unknown, |entry| (entry.machine, entry.activity, entry.beat_us));
        Err(Refused { name, machine, activity, beat_us })
    }

    /// Says again that this host is there, where that is due.
    ///
    /// # Errors
    /// [`Refused`] where another has taken its name. A store that does not answer is no reason to
    /// stop.
    pub(super) async fn beat_if_due(&mut self, activity: &str) -> Result<(), Refused> {
        let now = self.clock.now();
        let due = |(_, at): &(Version, Duration)| now.saturating_sub(*at) >= self.settings.beat;
        match self.entry.written.clone() {
            Some(written) if !due(&written) => Ok(()),
            written => self.write(activity, written.map(|(version, _)| version)).await,
        }
    }

    async fn write(&mut self, activity: &str, former: Option<Version>) -> Result<(), Refused> {
        let entry = HostEntry {
            version: QUEUE_VERSION,
            offer: self.settings.offer.clone(),
            incarnation: self.settings.incarnation.clone(),
            machine: self.settings.machine.clone(),
            dyno_version: self.settings.dyno_version.clone(),
            schema: SCHEMA_VERSION,
            beat: self.entry.beat + 1,
            beat_us: self.clock.wall_us(),
            activity: activity.to_string(),
        };
        let (name, bytes) = (path::host(&self.settings.offer.name), to_bytes(&entry));
        let written = match &former {
            Some(version) => replace(self.objects, self.clock, &name, &bytes, version).await,
            None => create(self.objects, self.clock, &name, &bytes).await,
        };
        match written {
            Ok(Written::Ours(version)) => {
                self.entry.written = Some((version, self.clock.now()));
                self.entry.beat += 1;
                Ok(())
            }
            Ok(Written::Theirs(Some(object))) => {
                let found: Option<HostEntry> = from_bytes(&object.bytes).ok();
                let is_ours = found.as_ref().is_some_and(|found| {
                    found.incarnation == self.settings.incarnation && found.beat > self.entry.beat
                });
                if is_ours || found.is_none() {
                    // A beat whose reply was lost came after all; or bytes of nobody.
                    self.entry.beat = found.map_or(self.entry.beat, |found| found.beat);
                    self.entry.written = Some((object.version, self.clock.now()));
                    return Ok(());
                }
                self.refuse_if_changed(&Version(String::new()), &object)
            }
            Ok(Written::Theirs(None)) => {
                self.entry.written = None;
                Ok(())
            }
            Err(Trouble(why)) => {
                (self.report)(Report::Trouble { why });
                Ok(())
            }
        }
    }
}
