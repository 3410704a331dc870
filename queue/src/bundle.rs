//! Bundles: commits that hosts cannot fetch, beside the requests that ask for them.
//!
//! An object is named by the digest of its bytes and created once, so whoever puts the same bundle
//! writes the same. Who takes one believes nothing but that digest, which is looked at before git
//! sees a byte.

use bytes::Bytes;
use dyno_model::id::Digest;
use dyno_model::queue::{BUNDLE_MAX_MIB, Bundle, path};
use dyno_store::Store;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt};

use crate::Clock;
use crate::objects::{Trouble, Written, create};
use crate::stored::{StoredObjects, trouble};

/// Keeps `bytes` in the store, where they are not there yet; their digest.
///
/// # Errors
/// [`Trouble`] also where other bytes stand under their name.
pub async fn put(store: &Store, clock: &impl Clock, bytes: &[u8]) -> Result<Digest, Trouble> {
    let digest = Digest::of(bytes);
    let name = path::bundle(&digest);
    match create(&StoredObjects::new(store), clock, &name, bytes).await? {
        Written::Ours(_) => {}
        // It may be too large to be read back as an object of the queue.
        Written::Theirs(_) => {
            let length = bytes.len() as u64;
            let held = Bundle { digest: digest.clone(), bytes: length, work_trees: Vec::new() };
            let found = take(store, &held).await?;
            found.map_err(|why| Trouble(format!("{why}: remove it, and ask again")))?;
        }
    }
    Ok(digest)
}

/// The bytes of `bundle`. The inner error says why there are none that it could mean.
pub async fn take(store: &Store, bundle: &Bundle) -> Result<Result<Bytes, String>, Trouble> {
    let name = path::bundle(&bundle.digest);
    let most = BUNDLE_MAX_MIB << 20;
    if bundle.bytes > most {
        let bytes = bundle.bytes;
        return Ok(Err(format!(
            "the bundle {name} is said to have {bytes} bytes, and {most} are the most"
        )));
    }
    let found = match store.objects().get(&Path::from(name.as_str())).await {
        Err(Error::NotFound { .. }) => {
            return Ok(Err(format!("the bundle {name} is not in the store")));
        }
        found => found.map_err(trouble)?,
    };
    let damaged = |why: String| Ok(Err(format!("the bundle {name} is damaged: {why}")));
    if found.meta.size != bundle.bytes {
        return damaged(format!("it has {} bytes, not {}", found.meta.size, bundle.bytes));
    }
    let bytes = found.bytes().await.map_err(trouble)?;
    match Digest::of(&bytes) {
        digest if digest == bundle.digest => Ok(Ok(bytes)),
        digest => damaged(format!("its digest is {digest}")),
    }
}
