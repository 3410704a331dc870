//! Files that appear whole or not at all, also when the power goes: the bytes are on the disk
//! before the name is, and the name is before anyone goes on.
//!
//! A file in the making stands beside its place, under a name that says whose it is; what a killed
//! dyno left so is removed by the next one that writes there.

use crate::process::ProcessIdentity;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Result, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Suffix of the names of files in the making.
const SUFFIX: &str = ".new";

/// A file in the making; gone when dropped before [`AtomicFile::commit`].
pub struct AtomicFile {
    file: Option<File>,
    temporary: PathBuf,
    path: PathBuf,
}

impl AtomicFile {
    /// Starts the file that will stand at `path`; its folder must be there.
    pub fn begin(path: &Path, mode: u32) -> Result<Self> {
        let (folder, name) = (parent_folder(path), path.file_name().unwrap_or_default());
        sweep(folder)?;
        // Two tasks of this process may be at the same file.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let owner = format!(
            "{}-{}",
            ProcessIdentity::this_process(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let temporary = folder.join(format!(".{}.{owner}{SUFFIX}", name.to_string_lossy()));
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(Self { file: Some(file), temporary, path: path.to_path_buf() })
    }

    pub fn file(&mut self) -> &mut File {
        self.file.as_mut().expect("there until it is committed")
    }

    /// Gives it its name, on the disk. The file stays open, and locked if it was.
    pub fn commit(mut self) -> Result<File> {
        self.file().sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        sync_folder(parent_folder(&self.path))?;
        Ok(self.file.take().expect("there until it is committed"))
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            drop(fs::remove_file(&self.temporary));
        }
    }
}

/// Puts `bytes` at `path`, in place of what may be there.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut file = AtomicFile::begin(path, mode)?;
    file.file().write_all(bytes)?;
    file.commit().map(drop)
}

/// Gives a whole folder its name: everything in its file system is on the disk before (for a tree
/// of thousands of files that is one wait instead of thousands), the name after.
pub fn place_folder(folder: &Path, path: &Path) -> Result<()> {
    let descriptor = File::open(folder)?;
    // SAFETY: a live descriptor.
    if unsafe { libc::syncfs(descriptor.as_raw_fd()) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    fs::rename(folder, path)?;
    sync_folder(parent_folder(path))
}

/// Removes what dynos that are gone had in the making in `folder`.
pub fn sweep(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| {
            let (_, owner) = name.strip_prefix('.')?.strip_suffix(SUFFIX)?.rsplit_once('.')?;
            ProcessIdentity::parse(owner)
        });
        if owner.is_some_and(|owner| !owner.is_alive()) {
            // Another dyno may be at it too.
            drop(fs::remove_file(entry.path()));
        }
    }
    Ok(())
}

/// A name is on the disk once its folder is.
pub fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)?.sync_all()
}

fn parent_folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_is_removed_and_what_the_living_make_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        let me = ProcessIdentity::this_process();
        let names = [
            (format!(".report.html.{me}-77{SUFFIX}"), true),
            (format!(".report.html.{}-1{SUFFIX}", std::process::id()), false),
            (format!(".other.{}-1{SUFFIX}", std::process::id()), false),
            (".report.html.x.new".to_string(), true),
            ("report.html.1-1.new".to_string(), true),
        ];
        for (name, _) in &names {
            fs::write(folder.path().join(name), "half").unwrap();
        }
        let file = AtomicFile::begin(&path, 0o644).unwrap();
        assert!(file.temporary.exists());
        drop(file);
        assert!(!path.exists());
        replace(&path, b"whole", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        for (name, stays) in names {
            assert_eq!(folder.path().join(&name).exists(), stays, "{name}");
        }
    }
}
