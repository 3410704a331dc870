//! Records that were measured and are not published yet: `spool/` in the cache.
//!
//! A finished record is put on the disk here before it is published and removed afterwards, so
//! that a store which is full, read-only or away costs no measurement, and neither does a kill.
//! The next dyno with the same store publishes what it finds. Publishing is idempotent: a job that
//! the store holds is left as it is.
//!
//! Rounds are kept here too as soon as they are measured, for as long as instructions are counted.
//! The next run of the same job takes them up; one of another job publishes them as they are.
//!
//! A file is one line with the SHA-256 of the rest, then JSON. Whoever works on one has its lock.

use dyno_base::process::ProcessIdentity;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use dyno_measure::Measured;
use dyno_model::id::{Digest, JobId};
use dyno_model::record::Record;
use dyno_store::{PublishOutcome, Store};
use serde::{Deserialize, Serialize};

use dyno_base::atomic_file::{self, AtomicFile};

use crate::context::store_error;
use dyno_base::error::{Error, Result, WithContext};
use dyno_base::event::Events;
use dyno_base::fault;

/// Readers leave files of other versions alone.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Entry {
    version: u32,
    /// The store it was measured for: [`Store::place`].
    store: String,
    record: Record,
    /// What the rounds came to, of a record whose instructions were still to be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rounds: Option<Measured>,
}

/// Rounds that a dyno measured which was ended while it counted instructions.
pub struct KeptRounds {
    pub measured: Measured,
    path: PathBuf,
    _lock: File,
}

/// Which of the kept records are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The records that only a store is missing for.
    Whole,
    /// The records whose instructions are still to be counted.
    Rounds,
}

/// The folder, as one store's.
pub struct Spool<'a> {
    folder: PathBuf,
    store: &'a Store,
}

impl<'a> Spool<'a> {
    pub fn new(cache: &Path, store: &'a Store) -> Self {
        Self { folder: cache.join("spool"), store }
    }

    /// Publishes `record`, which is on the disk before; returns what the store said.
    ///
    /// # Errors
    /// If the store does not take it. The record is then kept, and the error says where.
    pub async fn publish(&self, record: &Record, events: &Events) -> Result<PublishOutcome> {
        let written = fault::at("spool.write", || self.spool_write(record, None));
        let spooled = match written {
            Ok(file) => Some(file),
            Err(error) => {
                // Worth a try all the same: it is the last one.
                events.notice(format!("the record cannot be kept beside the store: {error}"));
                None
            }
        };
        match self.store.publish(record).await {
            Ok(published) => {
                if let Some((path, _lock)) = spooled {
                    fault::at("spool.remove", || self.remove(&path))?;
                }
                Ok(published)
            }
            Err(error) => Err(match spooled {
                Some((path, _)) => kept_error(store_error(error), &path),
                None => store_error(error),
            }),
        }
    }

    /// Keeps the rounds of a job whose instructions are still to be counted, and `record`, which is
    /// what can be published of it if nobody counts them. The file is locked as long as it is held;
    /// the whole record of this process takes its place.
    pub fn keep_rounds(&self, record: &Record, rounds: Measured) -> Result<File> {
        let kept = fault::at("spool.rounds", || self.spool_write(record, Some(rounds)));
        kept.map(|(_, file)| file)
    }

    /// The rounds of `job` that an earlier dyno measured and did not count. Those of other jobs are
    /// published as they are.
    ///
    /// # Errors
    /// If the store does not take one of these.
    pub async fn take_rounds(&self, job: &JobId, events: &Events) -> Result<Option<KeptRounds>> {
        let mut taken = None;
        for path in self.files()? {
            let is_of_job = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&job.to_string()));
            if !is_of_job {
                self.publish_file(&path, Wanted::Rounds, events).await?;
                continue;
            }
            let Some(mut file) = File::open(&path).ok().and_then(|file| claim(&path, file)) else {
                continue;
            };
            let Ok(Entry { store, rounds: Some(measured), .. }) = read_entry(&mut file) else {
                continue;
            };
            if store == self.store.place() {
                taken = Some(KeptRounds { measured, path, _lock: file });
            }
        }
        Ok(taken)
    }

    /// Removes rounds that were taken up: what came of them is published.
    pub fn remove_rounds(&self, kept: &KeptRounds) -> Result<()> {
        self.remove(&kept.path)
    }

    fn spool_write(&self, record: &Record, rounds: Option<Measured>) -> Result<(PathBuf, File)> {
        let name = format!("{}.{}.json", record.run.job, ProcessIdentity::this_process());
        let path = self.folder.join(name);
        let store = self.store.place();
        let entry = Entry { version: VERSION, store, record: record.clone(), rounds };
        let text = serde_json::to_vec(&entry).expect("plain fields serialise");
        let write = || -> std::io::Result<File> {
            fs::create_dir_all(&self.folder)?;
            let mut new = AtomicFile::begin(&path, 0o644)?;
            new.file().lock()?;
            writeln!(new.file(), "{}", Digest::of(&text).hex())?;
            new.file().write_all(&text)?;
            new.commit()
        };
        let file = write().context(|| format!("writing {}", path.display()))?;
        Ok((path, file))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let removed = fs::remove_file(path).and_then(|()| atomic_file::sync_folder(&self.folder));
        removed.context(|| format!("removing the published record {}", path.display()))
    }

    /// Publishes what earlier dynos could not. A damaged file is named and set aside.
    ///
    /// # Errors
    /// If the store does not take one of them: it would not take the next one either.
    pub async fn publish_leftovers(&self, events: &Events) -> Result<()> {
        for path in self.files()? {
            let publishing = self.publish_file(&path, Wanted::Whole, events);
            fault::around("spool.publish", publishing).await?;
        }
        Ok(())
    }

    /// The files that may hold a record.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let doing = || format!("looking through {}", self.folder.display());
        if !self.folder.exists() {
            return Ok(Vec::new());
        }
        atomic_file::sweep(&self.folder).context(doing)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder).context(doing)? {
            let path = entry.context(doing)?.path();
            if path.extension().is_some_and(|ending| ending == "json") {
                files.push(path);
            }
        }
        Ok(files)
    }

    async fn publish_file(&self, path: &Path, wanted: Wanted, events: &Events) -> Result<()> {
        let shown = path.display();
        let Some(mut file) = File::open(path).ok().and_then(|file| claim(path, file)) else {
            return Ok(());
        };
        let record = match read_entry(&mut file) {
            Ok(entry) if entry.rounds.is_some() != (wanted == Wanted::Rounds) => return Ok(()),
            Ok(entry) if entry.store == self.store.place() => entry.record,
            Ok(entry) => {
                let store = entry.store.escape_debug();
                events.notice(format!(
                    "a record for the store {store} waits in {shown}: the next run with that store publishes it"
                ));
                return Ok(());
            }
            Err(why) => return self.set_aside(path, &why, events),
        };
        let job = record.run.job.clone();
        match self.store.publish(&record).await {
            Ok(published) => {
                if matches!(published, PublishOutcome::Written { .. }) {
                    events.notice(match wanted {
                        Wanted::Whole => format!(
                            "published job {job}, which an earlier dyno measured and could not publish"
                        ),
                        Wanted::Rounds => format!(
                            "published job {job} without its instructions: the dyno that measured it \
                             was ended while it counted them"
                        ),
                    });
                }
                self.remove(path)
            }
            Err(error @ dyno_store::Error::Unstorable { .. }) => {
                self.set_aside(path, &error.to_string(), events)
            }
            Err(error) => Err(kept_error(store_error(error), path)),
        }
    }

    fn set_aside(&self, path: &Path, why: &str, events: &Events) -> Result<()> {
        let aside = path.with_extension("json.bad");
        let (from, to) = (path.display(), aside.display());
        let rename =
            || fs::rename(path, &aside).and_then(|()| atomic_file::sync_folder(&self.folder));
        fault::at("spool.set-aside", rename).context(|| format!("setting {from} aside"))?;
        events.notice(format!(
            "the kept record {from} cannot be published: {why}; set aside as {to}"
        ));
        Ok(())
    }
}

/// The opened `file`, locked; `None` if another dyno is at it and alive, or has published and
/// removed it since it was opened, so that the lock is one on what has no name any more.
fn claim(path: &Path, file: File) -> Option<File> {
    file.try_lock().ok()?;
    let (ours, named) = (file.metadata().ok()?, fs::metadata(path).ok()?);
    ((ours.dev(), ours.ino()) == (named.dev(), named.ino())).then_some(file)
}

/// Reads the entry that a file holds, or says why it cannot be used.
fn read_entry(file: &mut File) -> Result<Entry, String> {
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|error| error.to_string())?;
    let (digest, rest) = text.split_once('\n').ok_or("it has no second line")?;
    if Digest::of(rest.as_bytes()).hex() != digest {
        return Err("its content is not what its first line says".into());
    }
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_str(rest).map_err(|error| error.to_string())?;
    if version != VERSION {
        return Err(format!("its version is {version}, and this dyno knows {VERSION}"));
    }
    serde_json::from_str(rest).map_err(|error| error.to_string())
}

/// The error of the store, with the place where the record is kept.
fn kept_error(error: Error, path: &Path) -> Error {
    let message = format!("{error}; what was measured is kept in {}", path.display());
    let hint = error.hint.unwrap_or_else(|| {
        "once the store can be written again, the same command publishes it and measures nothing anew".into()
    });
    Error::new(error.kind, message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_still_has_its_name_is_claimed() {
        type Change = fn(&Path) -> Option<File>;
        let cases: [(&str, Change, bool); 4] = [
            ("nobody is at it", |_| None, true),
            ("another is at it", |path| File::open(path).ok().filter(|f| f.lock().is_ok()), false),
            (
                "another published and removed it",
                |path| {
                    fs::remove_file(path).unwrap();
                    None
                },
                false,
            ),
            (
                "another removed it and the name came again",
                |path| {
                    fs::rename(path, path.with_extension("old")).unwrap();
                    fs::write(path, "other").unwrap();
                    None
                },
                false,
            ),
        ];
        for (what, change, claimed) in cases {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.json");
            fs::write(&path, "record").unwrap();
            let file = File::open(&path).unwrap();
            let _other = change(&path);
            assert_eq!(claim(&path, file).is_some(), claimed, "{what}");
        }
    }
}
