//! An image as its folder in the catalog has it, and what of it is in a cache.

use std::fs;
use std::path::Path;

use dyno_base::cache::bytes_of;
use dyno_base::error::{Error, Result};
use dyno_model::catalog::image::{self as catalog, Image, Lock, Origin};
use dyno_model::id::Digest;
use serde::Serialize;

/// An image of the catalog, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CatalogEntry {
    /// `debian trixie`, or the registry's reference.
    pub origin: String,
    /// Debian names, as `image.toml` has them.
    pub architectures: Vec<ArchitectureEntry>,
    /// Why the image cannot be built as it is: no lock, or one of another `image.toml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_pinned: Option<String>,
}

/// One architecture of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchitectureEntry {
    pub name: String,
    /// The image ID that the lock pins; `None` where it pins none.
    pub id: Option<Digest>,
    /// Bytes on the disk; `None` where the image is not in the cache.
    pub cached_bytes: Option<u64>,
}

/// The image in `image_folder`, and what of it is in `cache`. Nothing is built or fetched.
///
/// # Errors
/// Mistakes in `image.toml`.
pub fn catalog_entry(image_folder: &Path, cache: &Path) -> Result<CatalogEntry> {
    let image = read_image(image_folder)?;
    let (lock, not_pinned) = match read_locked(image_folder) {
        Ok((_, lock)) => (Some(lock), None),
        Err(error) => (None, Some(error.to_string().lines().next().unwrap_or_default().into())),
    };
    let entry = |name: &String| {
        let locked = lock.as_ref().and_then(|lock| lock.architectures.get(name));
        let id = locked.map(|locked| locked.id.clone());
        let folder = id.as_ref().map(|id| cache.join("images").join(id.hex()));
        let cached_bytes = folder.filter(|folder| folder.is_dir()).map(|folder| bytes_of(&folder));
        ArchitectureEntry { name: name.clone(), id, cached_bytes }
    };
    Ok(CatalogEntry {
        architectures: image.architectures.iter().map(entry).collect(),
        origin: match &image.origin {
            Origin::Debian { suite, .. } => format!("debian {suite}"),
            Origin::Registry(reference) => format!("{}/{}", reference.host, reference.repository),
        },
        not_pinned,
    })
}

pub(crate) fn read_image(image_folder: &Path) -> Result<Image> {
    let name = image_folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let path = image_folder.join("image.toml");
    let text = fs::read_to_string(&path).map_err(|error| {
        Error::input(format!("there is no image {name}: {}: {error}", path.display()))
    })?;
    Ok(catalog::parse(&name, &path.display().to_string(), &text)?)
}

pub(crate) fn read_locked(image_folder: &Path) -> Result<(Image, Lock)> {
    let image = read_image(image_folder)?;
    let path = image_folder.join("image.lock");
    let pin = format!("dyno image lock {}", image.name);
    let text = fs::read_to_string(&path).map_err(|error| {
        Error::input(format!("the image {} is not pinned: {}: {error}", image.name, path.display()))
            .hint(format!("run: {pin}"))
    })?;
    let lock = catalog::parse_lock(&image.name, &path.display().to_string(), &text)?;
    if lock.meaning != image.meaning() {
        let toml = image_folder.join("image.toml");
        return Err(Error::input(format!(
            "{} says something else than when {} was made",
            toml.display(),
            path.display()
        ))
        .hint(format!("pin it anew: {pin}; or restore it")));
    }
    Ok((image, lock))
}
