//! The cache of artifacts: each file in it is checked before it is used, and a damaged one leaves
//! its place.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dyno_base::scratch::{Scratch, discard};
use dyno_model::id::Digest;
use dyno_model::record::Trust;
use serde::{Deserialize, Serialize};

use crate::outputs::copy_tree;
use dyno_base::atomic_file;
use dyno_base::digest::file_digest;
use dyno_base::error::{Error, Kind, Result, While};
use dyno_base::event::{Events, Phase};
use dyno_base::fault;

/// An artifact in the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    pub digest: Digest,
    pub folder: PathBuf,
    /// Output name → (digest, size in bytes).
    pub files: BTreeMap<String, (Digest, u64)>,
    /// Seconds the build took; `None` when it came from the cache.
    pub build_s: Option<f64>,
}

impl Artifact {
    /// What is an image's own: nothing was built, and no file of it is anywhere else.
    pub fn of_image(id: &Digest) -> Self {
        Self { digest: id.clone(), folder: PathBuf::new(), files: BTreeMap::new(), build_s: None }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) files: BTreeMap<String, (Digest, u64)>,
}

/// The files of the artifact in `folder` of `cache`, if it is there and whole. A damaged one leaves its
/// place if it is the order's `own` class that is damaged: the new one would not get its name
/// while anything stands there, be it without a manifest.
pub(crate) fn cached(
    cache: &Path,
    events: &Events,
    folder: &Path,
    own: bool,
) -> Result<Option<BTreeMap<String, (Digest, u64)>>> {
    if !folder.exists() {
        return Ok(None);
    }
    let whole = |manifest: &Manifest| {
        manifest.files.iter().all(|(name, (digest, _))| {
            file_digest(&folder.join("files").join(name)).is_ok_and(|found| found == *digest)
        })
    };
    let text = fs::read(folder.join("manifest.json")).unwrap_or_default();
    match serde_json::from_slice::<Manifest>(&text) {
        Ok(manifest) if whole(&manifest) => Ok(Some(manifest.files)),
        _ if !own => Ok(None),
        _ => {
            events.notice(format!(
                "the cached artifact {} is damaged and is built again",
                folder.display()
            ));
            discard("artifact.discard", cache, folder)?;
            Ok(None)
        }
    }
}

/// Keeps a toolchain that was not built here: the sysroot that `lay_out` finds or puts into the
/// folder it is given. Known by `identity`, or by its files where there is none.
pub async fn import_toolchain(
    cache: &Path,
    events: &Events,
    what: &str,
    identity: Option<&str>,
    lay_out: impl AsyncFnOnce(&Path) -> Result<PathBuf>,
) -> Result<Artifact> {
    let place_of = |identity: &str| {
        let digest = Digest::of_parts([b"sysroot 1".as_slice(), identity.as_bytes()]);
        let folder = cache.join("artifacts").join(Trust::Trusted.name()).join(digest.hex());
        (digest, folder)
    };
    if let Some((digest, folder)) = identity.map(place_of)
        && let Some(files) = cached(cache, events, &folder, true)?
    {
        events.end(Phase::Build, format!("{what} from the cache"));
        return Ok(Artifact { digest, folder, files, build_s: None });
    }
    let scratch = Scratch::new(cache)?;
    let sysroot = lay_out(&scratch.folder("sysroot")?).await?;
    let new = scratch.path().join("kept");
    let doing = || format!("keeping {what} in {}", cache.display());
    fault::before("artifact.take");
    fs::create_dir_all(new.join("files")).while_(doing)?;
    let files = take_sysroot(&sysroot, &new.join("files"), SYSROOT_MAX, what)
        .map_err(|error| Error { kind: Kind::Input, ..error })?;
    let manifest = serde_json::to_vec_pretty(&Manifest { files: files.clone() });
    let manifest = manifest.expect("plain fields");
    fs::write(new.join("manifest.json"), &manifest).while_(doing)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).while_(doing)?;
    fault::after("artifact.take");
    let of_files = Digest::of(&manifest);
    let (digest, folder) = place_of(identity.unwrap_or(of_files.hex()));
    fs::create_dir_all(folder.parent().expect("it is in the cache")).while_(doing)?;
    // Where its files name it, whatever stands there has not been looked at yet.
    if cached(cache, events, &folder, true)?.is_none() {
        place(&new, &folder).while_(doing)?;
    }
    Ok(Artifact { digest, folder, files, build_s: None })
}

pub(crate) fn place(new: &Path, folder: &Path) -> std::io::Result<()> {
    match fault::at("artifact.place", || atomic_file::place_folder(new, folder)) {
        // Another dyno may have built the same meanwhile; either is as good.
        Err(error) if !folder.join("manifest.json").exists() => Err(error),
        _ => Ok(()),
    }
}

/// The most that the files of a sysroot may take together.
const SYSROOT_MAX: u64 = 16 << 30;

/// Copies a sysroot, without its documentation.
pub(crate) fn take_sysroot(
    from: &Path,
    into: &Path,
    limit: u64,
    doing: &str,
) -> Result<BTreeMap<String, (Digest, u64)>> {
    let case = |what: String| Error::new(Kind::Case, what);
    let taken =
        copy_tree(from, into, &["share", "etc"], limit).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                case(format!("there is no sysroot at {}", from.display()))
            }
            std::io::ErrorKind::FileTooLarge => case("the sysroot is too large".into()),
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => {
                case(format!("the sysroot cannot be taken: {error}"))
            }
            _ => Error::from_io(error, doing.to_string()),
        })?;
    if !taken.contains_key("bin/rustc") {
        return Err(case(format!("{} is no sysroot: it has no bin/rustc", from.display())));
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_damaged_toolchain_is_kept_anew() {
        let cache = tempfile::tempdir().unwrap();
        let keep = async |identity: Option<&str>| {
            let lay_out = async |into: &Path| {
                fs::create_dir(into.join("bin")).unwrap();
                fs::write(into.join("bin/rustc"), "a compiler").unwrap();
                Ok(into.to_path_buf())
            };
            import_toolchain(cache.path(), &Events::none(), "it", identity, lay_out).await.unwrap()
        };
        type Damage = fn(&Path) -> std::io::Result<()>;
        let damages: [Damage; 4] = [
            |_| Ok(()),
            |at| fs::write(at.join("files/bin/rustc"), "another"),
            |at| fs::remove_file(at.join("manifest.json")),
            |at| fs::remove_dir_all(at.join("files")),
        ];
        for identity in [None, Some("nightly")] {
            let first = keep(identity).await;
            for damage in damages {
                damage(&first.folder).unwrap();
                assert_eq!(keep(identity).await, first);
                let files = cached(cache.path(), &Events::none(), &first.folder, true).unwrap();
                assert_eq!(files.as_ref(), Some(&first.files), "it is whole again");
            }
        }
    }
}
