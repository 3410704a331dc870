//! What runs were built from: packed folders of the catalog, each kept once, under the digest of
//! the files in it, and shared by every run row that names it.

use bytes::Bytes;
use dyno_model::id::{Digest, JobId};
use dyno_model::record::Run;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::compare::{PREFIX_MIN, is_hex};
use crate::create::{Created, create};
use crate::error::{Error, Result};
use crate::layout::Folder;
use crate::store::Store;

fn path(digest: &Digest) -> Path {
    Path::from(format!("definitions/{}.tar.zst", digest.hex()))
}

impl Store {
    /// Keeps a packed definition under the digest of what is in it. Returns the bytes written: 0
    /// if the store has it already.
    pub async fn keep_definition(&self, digest: &Digest, packed: Vec<u8>) -> Result<u64> {
        let (path, size) = (path(digest), packed.len() as u64);
        if self.has_definition(digest).await? {
            return Ok(0);
        }
        match create(self.objects().as_ref(), self.local(), &path, packed.into()).await {
            Ok(Created::Ours) => Ok(size),
            Ok(Created::Taken) => Ok(0),
            Err(error) => Err(self.failed(&format!("write {path} in"), &error)),
        }
    }

    /// Whether the store has the definition.
    pub async fn has_definition(&self, digest: &Digest) -> Result<bool> {
        match self.objects().head(&path(digest)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed("read", &error)),
        }
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
    pub async fn find_run(&self, asked: &str) -> Result<Run> {
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
