//! What a job is built from, kept in the store: its run row alone is then enough to build it again.

use std::path::Path;

use dyno_base::error::Result;
use dyno_base::event::Events;
use dyno_build::catalog::LoadedSuite;
use dyno_build::definition::{DEFINITION_MAX, Definition};
use dyno_build::source;
use dyno_model::id::Digest;
use dyno_model::record::{BuiltFrom, Files};
use dyno_store::{DefinitionOutcome, Store};

use crate::context::store_error;

/// Puts what a job is built from into the store, where the store does not have it yet, so that its
/// run row alone is enough to build it again. `inputs` are those that were made. `None` if the
/// suite is too much to keep.
pub async fn store_definition(
    suite: &LoadedSuite,
    image_folder: &Path,
    inputs: Option<Files>,
    store: &Store,
    events: &Events,
) -> Result<Option<BuiltFrom>> {
    let Some(image_digest) = store_image_definition(image_folder, store, events).await? else {
        return Ok(None);
    };
    let owner = format!("the suite {}", suite.suite.name);
    if !store_if_small(&owner, &suite.digest, &suite.definition, store, events).await? {
        return Ok(None);
    }
    let source = source::absolute(&suite.suite.source, &suite.folder)?;
    Ok(Some(BuiltFrom { source, image_digest, inputs: inputs.unwrap_or_default() }))
}

/// Puts the definition of an image into the store; returns its digest.
pub async fn store_image_definition(
    folder: &Path,
    store: &Store,
    events: &Events,
) -> Result<Option<Digest>> {
    let image = Definition::read_image(folder)?;
    let digest = image.digest();
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let owner = format!("the image {name}");
    Ok(store_if_small(&owner, &digest, &image, store, events).await?.then_some(digest))
}

/// Stores the definition of `owner`; false if it is too much to keep.
async fn store_if_small(
    owner: &str,
    digest: &Digest,
    definition: &Definition,
    store: &Store,
    events: &Events,
) -> Result<bool> {
    if !definition.is_small() {
        events.notice(format!(
                "the folder of {owner} holds more than {} MiB and is not kept in the store: the job cannot be built again from its run row alone",
                DEFINITION_MAX >> 20
            ));
        return Ok(false);
    }
    let is_readable = |packed: &[u8]| Definition::unpack(packed, digest, "").is_ok();
    let put = store.put_definition(digest, || definition.pack(), is_readable).await;
    if let DefinitionOutcome::Replaced { path } = put.map_err(store_error)? {
        events.notice(format!("{path} in the store was damaged: written again"));
    }
    Ok(true)
}
