//! Images: environments that are the same to the byte on every machine, without a registry of
//! images, a container engine, root, apt or dpkg to make them.
//!
//! The problem: what a compiler's benchmark sees (libc, linker, the system's rustc) must not
//! drift between hosts and months, and `docker build` gives a new image each time. The idea: a
//! Debian package is named by its SHA-256, and unpacking runs nothing, so a list of hashes and
//! a fixed way to lay files out decide every byte of the image. `image.lock` is that list.
//!
//! The path through here: [`lock`] reads the suite's signed index ([`release`]) and resolves
//! what is needed ([`resolve`]); [`build`] downloads by hash ([`debian`], or [`registry`] for
//! images pulled by digest), reads members without trusting their names ([`unpack`]), merges
//! them ([`tree`]), and writes the tree and its normalised layer ([`layer`]), whose hash gives
//! the image ID. [`verify`] does it again elsewhere and compares.
//!
//! On disk, below the cache folder:
//! ```text
//! debs/<sha256>.deb      packages; .part while on their way
//! blobs/<sha256>         layers of registries' images
//! indices/<sha256>.xz    package indices
//! images/<id>/           one image: image.json, tree.json, rootfs/, and image.tar once asked for
//! images/.making-*/      an image in the making; whoever holds images/.lock may remove it
//! ```
//! An image's folder appears by one rename when it is whole, so its being there is the marker.

mod catalog_entry;
mod debian;
mod layer;
mod mirror;
mod registry;
mod release;
mod resolve;
mod signature;
#[cfg(test)]
mod test_key;
#[cfg(test)]
#[path = "../../base/src/http/testing.rs"]
mod testing;
#[cfg(test)]
mod tests;
mod tree;
mod unpack;

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dyno_model::catalog::image::{Image, Lock, Locked, Origin, Package, Pinned};
use dyno_model::id::Digest;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use self::catalog_entry::{read_image, read_locked};
use self::debian::run_blocking;
use self::layer::Layer;
use self::registry::Pulled;
use self::tree::{Entry, Overlap, Tree};
use dyno_base::atomic_file;
use dyno_base::cache::mark_use;
use dyno_base::error::{Error, Result, WithContext as _};
use dyno_base::event::{Events, Phase};
use dyno_base::fault;
use dyno_base::scratch::discard;

pub use self::catalog_entry::{ArchitectureEntry, CatalogEntry, catalog_entry};

const ENV: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Settings of this machine, on which no image depends.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Root of a Debian mirror (`--mirror`); `None` means `DYNO_DEBIAN_MIRROR` or the
    /// machine's apt sources.
    pub mirror: Option<String>,
    /// Where downloads and built images are kept (`~/.cache/dyno`).
    pub cache: PathBuf,
    /// The folder of archive keys (`images/keys`).
    pub keys: PathBuf,
}

impl Settings {
    fn mirror(&self) -> Result<String> {
        let from_env = std::env::var("DYNO_DEBIAN_MIRROR").ok();
        mirror::find(self.mirror.as_deref(), from_env.as_deref(), Path::new("/etc/apt"))
    }
}

/// An image that is in the cache and whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// SHA-256 of the image's configuration: what Docker's classic store calls the image ID.
    pub id: Digest,
    /// The unpacked tree; to be used read-only.
    pub rootfs: PathBuf,
    folder: PathBuf,
}

/// Reason why an image could not be built.
#[derive(Debug)]
pub enum BuildError {
    /// The lock names a package that the mirror no longer has; only a new lock helps.
    Gone(Error),
    Other(Error),
}

impl From<Error> for BuildError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<BuildError> for Error {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Gone(error) | BuildError::Other(error) => error,
        }
    }
}

/// Pinned and rebuilt image of one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedImage {
    pub architecture: String,
    pub pinned: Digest,
    pub found: Digest,
}

/// Pins the image in `image_folder` (`images/<name>`) to what its suite or registry has now, builds
/// it for each architecture, and writes `image.lock`.
///
/// Errors: mistakes in `image.toml`; no mirror; an index that no key of the catalog signed; packages that
/// do not fit together.
pub async fn lock(image_folder: &Path, settings: &Settings, events: &Events) -> Result<Lock> {
    let image = read_image(image_folder)?;
    let mut pinned = BTreeMap::new();
    let mut released = None;
    match &image.origin {
        Origin::Debian { suite, packages } => {
            events.begin(Phase::Image, format!("reading the signed index of {suite}"));
            let suite = debian::Suite::open(suite, settings).await?;
            released = suite.date();
            for architecture in &image.architectures {
                let packages = suite.pin(architecture, packages, settings).await?;
                pinned.insert(architecture.clone(), Pinned::Packages(packages));
            }
        }
        Origin::Registry(reference) => {
            events.begin(Phase::Image, "asking the registry for the image");
            for architecture in &image.architectures {
                let (digest, size_bytes) = registry::pin(reference, architecture, settings).await?;
                pinned.insert(architecture.clone(), Pinned::Manifest { digest, size_bytes });
            }
        }
    }
    let mut architectures = BTreeMap::new();
    for (architecture, pinned) in pinned {
        let bench = Workbench::free(&settings.cache, events).await?;
        let unplaced = make_image(&image, &architecture, &pinned, settings, bench, events).await?;
        let id = unplaced.id.clone();
        unplaced.adopt(settings)?;
        architectures.insert(architecture, Locked { id, pinned });
    }
    let lock = Lock { meaning: image.meaning(), released, architectures };
    let path = image_folder.join("image.lock");
    let writing = || format!("writing {}", path.display());
    let text = lock.write(&image.name);
    let write = || atomic_file::replace(&path, text.as_bytes(), 0o644);
    fault::at("image.lock", write).context(writing)?;
    Ok(lock)
}

/// The image in `image_folder`, for one Debian architecture, as its lock pins it: from the cache at
/// once, or built into it.
///
/// Errors: no lock, or one edited or made from another `image.toml`; a package that is gone
/// ([`BuildError::Gone`]); bytes that are not those pinned.
pub async fn build(
    image_folder: &Path,
    architecture: &str,
    settings: &Settings,
    events: &Events,
) -> Result<Built, BuildError> {
    let (image, lock) = read_locked(image_folder)?;
    let locked = locked_image(&image, &lock, architecture)?;
    if let Some(built) = cached_image(&locked.id, settings) {
        return Ok(built);
    }
    let bench = Workbench::free(&settings.cache, events).await?;
    // Whoever was at the bench before may have made this very image.
    if let Some(built) = cached_image(&locked.id, settings) {
        return Ok(built);
    }
    let unplaced =
        make_image(&image, architecture, &locked.pinned, settings, bench, events).await?;
    if unplaced.id != locked.id {
        return Err(Error::infrastructure(format!(
            "the image {} for {architecture} came out as {} but is pinned as {}",
            image.name, unplaced.id, locked.id
        ))
        .hint(format!(
            "if this dyno is newer than the lock, pin anew: dyno image lock {}",
            image.name
        ))
        .into());
    }
    Ok(unplaced.adopt(settings)?)
}

fn locked_image<'a>(image: &Image, lock: &'a Lock, architecture: &str) -> Result<&'a Locked> {
    lock.architectures.get(architecture).ok_or_else(|| {
        let known: Vec<&str> = lock.architectures.keys().map(String::as_str).collect();
        Error::input(format!("the image {} is not made for {architecture}", image.name)).hint(
            format!(
                "it has {}; add the architecture to its image.toml and run: dyno image lock {}",
                known.join(", "),
                image.name
            ),
        )
    })
}

/// Makes the image in `image_folder` for one architecture, whatever comes of it: the caller
/// compares. With a cache that is not fresh an image of the same ID that stands there already is
/// kept.
pub async fn rebuild(
    image_folder: &Path,
    architecture: &str,
    settings: &Settings,
    events: &Events,
) -> Result<Built, BuildError> {
    let (image, lock) = read_locked(image_folder)?;
    let locked = locked_image(&image, &lock, architecture)?;
    let bench = Workbench::free(&settings.cache, events).await?;
    let unplaced =
        make_image(&image, architecture, &locked.pinned, settings, bench, events).await?;
    Ok(unplaced.adopt(settings)?)
}

/// Builds every architecture of the lock again in a fresh folder, keeping none of it.
pub async fn verify(
    image_folder: &Path,
    settings: &Settings,
    events: &Events,
) -> Result<Vec<VerifiedImage>, BuildError> {
    let (image, lock) = read_locked(image_folder)?;
    let mut verified = Vec::new();
    for (architecture, locked) in lock.architectures {
        let bench = Workbench::free(&settings.cache, events).await?;
        let found =
            make_image(&image, &architecture, &locked.pinned, settings, bench, events).await?.id;
        verified.push(VerifiedImage { architecture, pinned: locked.id, found });
    }
    Ok(verified)
}

/// The archive for `docker load`, written at the first call (its size is that of the tree).
pub async fn archive(built: &Built) -> Result<PathBuf> {
    let built = built.clone();
    run_blocking(move || {
        let path = built.folder.join("image.tar");
        if path.exists() {
            return Ok(path);
        }
        let writing = || format!("writing {}", path.display());
        let facts: ImageFacts = read_json(&built.folder.join("image.json"))?;
        let entries: Vec<Entry> = read_json(&built.folder.join("tree.json"))?;
        fault::before("image.archive");
        let mut file = atomic_file::AtomicFile::begin(&path, 0o644).context(writing)?;
        let mut writer = BufWriter::with_capacity(1 << 20, file.file());
        layer::write_archive(
            &built.id,
            &facts.config,
            &facts.layer,
            &entries,
            &built.rootfs,
            &mut writer,
        )
        .context(writing)
        .map_err(|error| {
            error.hint(format!("remove {} and build the image again", built.folder.display()))
        })?;
        writer.flush().context(writing)?;
        drop(writer);
        file.commit().context(writing)?;
        fault::after("image.archive");
        Ok(path)
    })
    .await
}

/// `image.json`.
#[derive(Serialize, Deserialize)]
struct ImageFacts {
    /// The configuration's very bytes: its SHA-256 is the image ID.
    config: String,
    layer: Layer,
}

/// The one place in a cache where an image is made: an empty folder, gone when dropped, and the
/// lock that makes it the only one.
struct Workbench {
    folder: TempDir,
    _lock: File,
}

/// A whole image, still on the bench.
struct UnplacedImage {
    id: Digest,
    bench: Workbench,
}

impl UnplacedImage {
    /// Moves the image to its place in the cache.
    fn adopt(self, settings: &Settings) -> Result<Built> {
        let target = settings.cache.join("images").join(self.id.hex());
        let placing = || format!("putting the image at {}", target.display());
        if cached_image(&self.id, settings).is_none() {
            // Only what someone took pieces out of stands there: no build leaves half an image.
            if target.exists() {
                discard("image.discard", &settings.cache, &target)?;
            }
            let folder = self.bench.folder.path();
            fault::at("image.place", || atomic_file::place_folder(folder, &target))
                .context(placing)?;
            drop(self.bench.folder.keep());
        }
        cached_image(&self.id, settings)
            .ok_or_else(|| Error::infrastructure(format!("{} is not whole", target.display())))
    }
}

fn cached_image(id: &Digest, settings: &Settings) -> Option<Built> {
    let folder = settings.cache.join("images").join(id.hex());
    let facts: ImageFacts = read_json(&folder.join("image.json")).ok()?;
    let rootfs = folder.join("rootfs");
    (Digest::of(facts.config.as_bytes()) == *id && rootfs.is_dir()).then(|| {
        mark_use(&folder);
        Built { id: id.clone(), rootfs, folder }
    })
}

/// Material of an image, all of it in the cache.
enum Material {
    Packages(Vec<Package>),
    Layers(Pulled),
}

/// Fetches what is pinned into the cache.
async fn fetch_material(
    image: &Image,
    architecture: &str,
    pinned: &Pinned,
    settings: &Settings,
    events: &Events,
) -> Result<Material, BuildError> {
    match (pinned, &image.origin) {
        (Pinned::Packages(packages), Origin::Debian { .. }) => {
            debian::download(&image.name, packages, settings, events).await?;
            Ok(Material::Packages(packages.clone()))
        }
        (Pinned::Manifest { digest, size_bytes }, Origin::Registry(reference)) => {
            let manifest = (digest, *size_bytes);
            let pulled =
                registry::pull(reference, architecture, manifest, settings, events).await?;
            Ok(Material::Layers(pulled))
        }
        _ => Err(Error::input("image.lock pins another kind of image than image.toml asks for")
            .hint(format!("pin it anew: dyno image lock {}", image.name))
            .into()),
    }
}

/// Builds an image on the bench from what is pinned.
async fn make_image(
    image: &Image,
    architecture: &str,
    pinned: &Pinned,
    settings: &Settings,
    bench: Workbench,
    events: &Events,
) -> Result<UnplacedImage, BuildError> {
    let started = Instant::now();
    let count = match pinned {
        Pinned::Packages(packages) => format!(", {} packages", packages.len()),
        Pinned::Manifest { .. } => String::new(),
    };
    events.begin(Phase::Image, format!("image {} for {architecture}{count}", image.name));
    let fetching = fetch_material(image, architecture, pinned, settings, events);
    let material = fault::around("image.download", fetching).await?;
    let (image, architecture) = (image.clone(), architecture.to_string());
    let (cache, sink) = (settings.cache.clone(), events.clone());
    let unplaced = run_blocking(move || {
        let id = fault::at("image.unpack", || {
            assemble(&image, &architecture, &material, &cache, bench.folder.path(), &sink)
        })?;
        Ok(UnplacedImage { id, bench })
    })
    .await?;
    let seconds = started.elapsed().as_secs_f64();
    events.end(Phase::Image, format!("image {} made in {seconds:.1} s", unplaced.id.short()));
    Ok(unplaced)
}

/// Unpacks, merges, lays out and hashes the material; `folder` then holds what an image's folder
/// holds.
fn assemble(
    image: &Image,
    architecture: &str,
    material: &Material,
    cache: &Path,
    folder: &Path,
    events: &Events,
) -> Result<Digest> {
    let spool = folder.join("spool");
    let mut env = vec![ENV.to_string()];
    let (members, overlap) = match material {
        Material::Packages(packages) => {
            (debian::unpack(packages, cache, &spool, events)?, Overlap::Refuse)
        }
        Material::Layers(pulled) => {
            env = pulled.env.clone().unwrap_or(env);
            (registry::unpack(&pulled.layers, &spool)?, Overlap::Replace)
        }
    };
    let mut tree = Tree::merge(&members, overlap).map_err(Error::input)?;
    tree.finish(image).map_err(Error::input)?;
    let writing = || format!("writing the image to {}", folder.display());
    let rootfs = folder.join("rootfs");
    let entries = layer::write_tree(&tree, &rootfs).context(writing)?;
    let layer = layer::write_layer(&entries, &rootfs, std::io::sink()).context(writing)?;
    let config = layer::config(architecture, &layer, &env).map_err(Error::input)?;
    let id = Digest::of(config.as_bytes());
    fs::remove_dir_all(&spool).context(writing)?;
    write_json(&folder.join("tree.json"), &entries)?;
    write_json(&folder.join("image.json"), &ImageFacts { config, layer })?;
    fs::set_permissions(folder, Permissions::from_mode(0o755)).context(writing)?;
    Ok(id)
}

impl Workbench {
    /// Waits until the bench is free, and clears away what a killed build left there.
    async fn free(cache: &Path, events: &Events) -> Result<Self> {
        let images = cache.join("images");
        let path = images.join(".lock");
        let making = || format!("making a folder in {}", images.display());
        fs::create_dir_all(&images).context(making)?;
        if File::create(&path).context(making)?.try_lock().is_err() {
            events.notice("waiting for another dyno that is making an image");
        }
        let lock = dyno_base::http::open_locked(&path).await?;
        for entry in fs::read_dir(&images).context(making)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(".making-") {
                // What cannot be removed now is no harm: it is never taken for an image.
                drop(fs::remove_dir_all(entry.path()));
            }
        }
        let folder =
            tempfile::Builder::new().prefix(".making-").tempdir_in(&images).context(making)?;
        Ok(Self { folder, _lock: lock })
    }
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let reading = || format!("reading {}", path.display());
    let text = fs::read(path).context(reading)?;
    serde_json::from_slice(&text).context(reading)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    fs::write(path, serde_json::to_vec(value).context(writing)?).context(writing)
}
