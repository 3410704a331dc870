//! Work folders in the cache: each has an owner, and none outlives it for long.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dyno_probe::clear::empty_folder;

use crate::error::{Result, WithContext};
use crate::fault;
use crate::process::ProcessIdentity;

/// A folder for one job's work, removed at the end however the job ends; what a killed dyno left
/// is removed by the next one.
pub struct Scratch {
    /// The folder, which is there until this is dropped.
    folder: Option<tempfile::TempDir>,
}

impl Scratch {
    pub fn new(cache: &Path) -> Result<Self> {
        let parent = cache.join("scratch");
        let doing = || format!("making a work folder in {}", parent.display());
        fs::create_dir_all(&parent).context(doing)?;
        let prefix = format!("{}-", ProcessIdentity::this_process());
        let make_folder = || tempfile::Builder::new().prefix(&prefix).tempdir_in(&parent);
        let folder = fault::at("scratch.make", make_folder).context(doing)?;
        Ok(Self { folder: Some(folder) })
    }

    /// The folder itself, which only this user may enter.
    pub fn path(&self) -> &Path {
        self.folder.as_ref().expect("there until it is dropped").path()
    }

    /// A new empty folder in it, open to the container's users (the parent is not).
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::create_dir(&path).context(|| format!("making {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))
            .context(|| format!("making {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What a container still writes into is removed by `clear_scratch`, or the next dyno.
        fault::at("scratch.remove", || {
            let _ = empty_folder(self.path());
            drop(self.folder.take());
        });
    }
}

/// Takes a damaged folder of the cache away: first its name, by one rename into a work folder, then
/// what is in it. A dyno killed in between leaves no half of it where a whole one is to stand.
pub fn discard(effect: &'static str, cache: &Path, folder: &Path) -> Result<()> {
    let scratch = Scratch::new(cache)?;
    let moved = fault::at(effect, || fs::rename(folder, scratch.path().join("discarded")));
    match moved {
        // Another dyno found the same damage.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        moved => moved.context(|| format!("removing {}", folder.display())),
    }
}

/// Removes work folders whose process is gone.
pub fn sweep_scratch(cache: &Path) {
    let is_gone = |owner: ProcessIdentity| !owner.is_alive();
    fault::at("sweep.scratch", || remove_folders_of(&cache.join("scratch"), is_gone));
}

/// Removes the work folders of this process that could not be removed while a container was
/// still writing into them: for whoever has ended all of them.
pub fn clear_scratch(cache: &Path) {
    remove_folders_of(&cache.join("scratch"), |owner| owner == ProcessIdentity::this_process());
}

fn remove_folders_of(parent: &Path, is_owner: impl Fn(ProcessIdentity) -> bool) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(ProcessIdentity::parse);
        if owner.is_some_and(&is_owner) {
            // Best effort: what cannot be removed now is tried again next time.
            let _ = empty_folder(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
