//! What runs were built from: packed folders of the catalog, each kept once, under the digest of
//! the files in it, and shared by every run row that names it.

use bytes::Bytes;
use dyno_model::id::Digest;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::error::Result;
use crate::put::{create, replace};
use crate::store::Store;

fn path(digest: &Digest) -> Path {
    Path::from(format!("definitions/{}.tar.zst", digest.hex()))
}

/// What became of [`Store::put_definition`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefinitionOutcome {
    Written,
    /// The store has an intact one already.
    AlreadyStored,
    /// The one at `path` was damaged.
    Replaced {
        path: String,
    },
}

impl Store {
    /// Stores a definition, which `pack` packs, under the digest of what is in it. One that is
    /// there already stays if `is_intact` says so and is replaced if not: a disk may have torn it,
    /// and another name would not be found.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] if the store cannot be read or written.
    pub async fn put_definition(
        &self,
        digest: &Digest,
        pack: impl FnOnce() -> Vec<u8>,
        is_intact: impl Fn(&[u8]) -> bool,
    ) -> Result<DefinitionOutcome> {
        self.check_place()?;
        let stored = self.definition(digest).await?;
        let (path, damaged) = match stored {
            Some((_, packed)) if is_intact(&packed) => return Ok(DefinitionOutcome::AlreadyStored),
            stored => (path(digest), stored.is_some()),
        };
        let (objects, packed) = (self.objects().as_ref(), Bytes::from(pack()));
        let written = match damaged {
            true => replace(objects, self.local(), &path, packed).await,
            // Taken: another dyno came first, with the same files.
            false => create(objects, self.local(), &path, packed).await.map(|_| ()),
        };
        written.map_err(|error| self.unavailable(&format!("write {path} in"), &error))?;
        Ok(match damaged {
            true => DefinitionOutcome::Replaced { path: path.to_string() },
            false => DefinitionOutcome::Written,
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
            Err(error) => Err(self.unavailable(&format!("read {path} in"), &error)),
        }
    }
}
