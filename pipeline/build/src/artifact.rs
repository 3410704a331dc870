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
use dyno_base::cache::mark_use;
use dyno_base::digest::file_digest;
use dyno_base::error::{Error, Kind, Result, WithContext};
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
    /// What of its source was not there because the suite does not ask for it, in words.
    pub left_out: Option<String>,
}

impl Artifact {
    /// What is an image's own: nothing was built, and no file of it is anywhere else.
    pub fn of_image(id: &Digest) -> Self {
        Self::new(id.clone(), PathBuf::new(), BTreeMap::new())
    }

    /// What is whole: of a cache, or not built here.
    fn new(digest: Digest, folder: PathBuf, files: BTreeMap<String, (Digest, u64)>) -> Self {
        Self { digest, folder, files, build_s: None, left_out: None }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) files: BTreeMap<String, (Digest, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<String>,
}

/// The manifest of the artifact in `folder` of `cache`, if it is there and whole. A damaged one leaves
/// its place if it is the request's own class (`is_own_class`) that is damaged: the new one would
/// not get its name while anything stands there, be it without a manifest.
pub(crate) fn cached_manifest(
    cache: &Path,
    events: &Events,
    folder: &Path,
    is_own_class: bool,
) -> Result<Option<Manifest>> {
    if !folder.exists() {
        return Ok(None);
    }
    let is_whole = |manifest: &Manifest| {
        manifest.files.iter().all(|(name, (digest, _))| {
            file_digest(&folder.join("files").join(name)).is_ok_and(|found| found == *digest)
        })
    };
    let text = fs::read(folder.join("manifest.json")).unwrap_or_default();
    match serde_json::from_slice::<Manifest>(&text) {
        Ok(manifest) if is_whole(&manifest) => {
            mark_use(folder);
            Ok(Some(manifest))
        }
        _ if !is_own_class => Ok(None),
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
    let location = |identity: &str| {
        let digest = Digest::of_parts([b"sysroot 1".as_slice(), identity.as_bytes()]);
        let folder = cache.join("artifacts").join(Trust::Trusted.name()).join(digest.hex());
        (digest, folder)
    };
    if let Some((digest, folder)) = identity.map(location)
        && let Some(manifest) = cached_manifest(cache, events, &folder, true)?
    {
        events.end(Phase::Build, format!("{what} from the cache"));
        return Ok(Artifact::new(digest, folder, manifest.files));
    }
    let scratch = Scratch::new(cache)?;
    let sysroot = lay_out(&scratch.folder("sysroot")?).await?;
    let staging = scratch.path().join("kept");
    let doing = || format!("keeping {what} in {}", cache.display());
    fault::before("artifact.take");
    fs::create_dir_all(staging.join("files")).context(doing)?;
    let files = take_sysroot(&sysroot, &staging.join("files"), SYSROOT_MAX, what)
        .map_err(|error| Error { kind: Kind::Input, ..error })?;
    let manifest = serde_json::to_vec_pretty(&Manifest { files: files.clone(), left_out: None });
    let manifest = manifest.expect("plain fields");
    fs::write(staging.join("manifest.json"), &manifest).context(doing)?;
    fs::set_permissions(&staging, fs::Permissions::from_mode(0o755)).context(doing)?;
    fault::after("artifact.take");
    let files_digest = Digest::of(&manifest);
    let (digest, folder) = location(identity.unwrap_or(files_digest.hex()));
    fs::create_dir_all(folder.parent().expect("it is in the cache")).context(doing)?;
    // Where its files name it, whatever stands there has not been looked at yet.
    if cached_manifest(cache, events, &folder, true)?.is_none() {
        place_artifact(&staging, &folder).context(doing)?;
    }
    Ok(Artifact::new(digest, folder, files))
}

pub(crate) fn place_artifact(staging: &Path, folder: &Path) -> std::io::Result<()> {
    match fault::at("artifact.place", || atomic_file::place_folder(staging, folder)) {
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
    let case_error = |what: String| Error::new(Kind::Case, what);
    let files =
        copy_tree(from, into, &["share", "etc"], limit).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                case_error(format!("there is no sysroot at {}", from.display()))
            }
            std::io::ErrorKind::FileTooLarge => case_error("the sysroot is too large".into()),
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => {
                case_error(format!("the sysroot cannot be taken: {error}"))
            }
            _ => Error::from_io(error, doing.to_string()),
        })?;
    if !files.contains_key("bin/rustc") {
        return Err(case_error(format!("{} is no sysroot: it has no bin/rustc", from.display())));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_damaged_toolchain_is_kept_anew() {
        let cache = tempfile::tempdir().unwrap();
        let import = async |identity: Option<&str>| {
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
            |folder| fs::write(folder.join("files/bin/rustc"), "another"),
            |folder| fs::remove_file(folder.join("manifest.json")),
            |folder| fs::remove_dir_all(folder.join("files")),
        ];
        for identity in [None, Some("nightly")] {
            let first = import(identity).await;
            for damage in damages {
                damage(&first.folder).unwrap();
                assert_eq!(import(identity).await, first);
                let manifest =
                    cached_manifest(cache.path(), &Events::none(), &first.folder, true).unwrap();
                let files = manifest.map(|manifest| manifest.files);
                assert_eq!(files.as_ref(), Some(&first.files), "it is whole again");
            }
        }
    }
}
