//! What runs were built from: packed folders of the catalog, each kept once, under the digest of
//! the files in it, and shared by every run row that names it.

use bytes::Bytes;
use dyno_model::id::{Digest, JobId};
use dyno_model::record::RunRow;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::compare::{PREFIX_MIN, is_hex};
use crate::create::{create, replace};
use crate::error::{Error, Result};
use crate::layout::Folder;
use crate::store::Store;

fn path(digest: &Digest) -> Path {
    Path::from(format!("definitions/{}.tar.zst", digest.hex()))
}

/// What became of [`Store::keep_definition`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptDefinition {
    Written,
    /// The store has a sound one already.
    Held,
    /// The one at `path` was damaged.
    Replaced {
        path: String,
    },
}

impl Store {
    /// Keeps a definition, which `pack` packs, under the digest of what is in it. One that is there
    /// already stays if it is `sound` and is replaced if not: a disk may have torn it, and another
    /// name would not be found.
    ///
    /// # Errors
    /// [`Error::Place`] if the store cannot be read or written.
    pub async fn keep_definition(
        &self,
        digest: &Digest,
        pack: impl FnOnce() -> Vec<u8>,
        sound: impl Fn(&[u8]) -> bool,
    ) -> Result<KeptDefinition> {
        self.check_place()?;
        let held = self.definition(digest).await?;
        let (path, damaged) = match held {
            Some((_, packed)) if sound(&packed) => return Ok(KeptDefinition::Held),
            held => (path(digest), held.is_some()),
        };
        let (objects, packed) = (self.objects().as_ref(), Bytes::from(pack()));
        let written = match damaged {
            true => replace(objects, self.local(), &path, packed).await,
            // Taken: another dyno came first, with the same files.
            false => create(objects, self.local(), &path, packed).await.map(|_| ()),
        };
        written.map_err(|error| self.failed(&format!("write {path} in"), &error))?;
        Ok(match damaged {
            true => KeptDefinition::Replaced { path: path.to_string() },
            false => KeptDefinition::Written,
        })
    }

    /// The packed definition, which is not checked here, and where it lies; `None` if the store
    /// has none of that digest.
    pub async fn definition(&self, digest: &Digest) -> Result<Option<(String, Bytes)>> {
        let path = path(digest);
        let read = async { self.objects().get(&path).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some((path.to_string(), bytes))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&format!("read {path} in"), &error)),
        }
    }

    /// The run that `asked` means: a job's id or the first digits of one (7 or more).
    ///
    /// # Errors
    /// [`Error::NoRun`], [`Error::Ambiguous`], and [`Error::Place`].
    pub async fn find_run(&self, asked: &str) -> Result<RunRow> {
        let no_run = |why: String| Error::NoRun { asked: asked.into(), why };
        if asked.len() < PREFIX_MIN || !is_hex(asked) {
            return Err(no_run(format!(
                "a run is named by its job's id, or the first {PREFIX_MIN} digits or more of it"
            )));
        }
        let wanted = asked.to_ascii_lowercase();
        let mut jobs: Vec<JobId> =
            self.list(Folder::Runs).await?.into_iter().map(|(shard, _)| shard.job).collect();
        jobs.sort();
        jobs.dedup();
        let stored = jobs.len();
        jobs.retain(|job| job.hex().starts_with(&wanted));
        match jobs.as_slice() {
            [] => Err(no_run(match stored {
                0 => "it has no run at all yet".into(),
                _ => format!("none of its {stored} runs begins so"),
            })),
            [job] => self.run(job).await?.ok_or_else(|| {
                let problems: Vec<String> =
                    self.problems().iter().map(ToString::to_string).collect();
                no_run(format!("its row cannot be read: {}", problems.join("; ")))
            }),
            several => Err(Error::Ambiguous {
                asked: asked.into(),
                meanings: several.iter().map(ToString::to_string).collect(),
            }),
        }
    }
}
