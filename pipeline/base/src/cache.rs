//! The cache as a whole: who is at it, when what is in it was used last, and taking away what nobody
//! needs. What is in there can be made again, but for what the spool holds.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use crate::error::{Error, Result, WithContext};
use crate::scratch::Scratch;

/// The file by whose lock dynos at work keep whoever prunes away.
const LOCK: &str = "cache.lock";

/// A kind of thing in the cache.
#[derive(Debug)]
pub struct Kind {
    /// The folder whose entries are things of this kind.
    pub folder: &'static str,
    pub what: &'static str,
}

/// The kinds that may be removed, because dyno makes or fetches them again.
pub const KINDS: &[Kind] = &[
    Kind { folder: "images", what: "images in which targets are built and run" },
    Kind { folder: "artifacts/trusted", what: "what was built of commits, and imported compilers" },
    Kind { folder: "artifacts/untrusted", what: "what was built of strangers' commits" },
    Kind { folder: "debs", what: "Debian packages that images are made of" },
    Kind { folder: "indices", what: "lists of Debian packages" },
    Kind { folder: "blobs", what: "layers of images from registries" },
    Kind { folder: "crates", what: "crates that compilers compile, with what they need" },
    Kind { folder: "sources/git", what: "commits of targets' repositories" },
    Kind { folder: "sources/crate", what: "releases of targets that are crates" },
    Kind { folder: "sources/archives", what: "archives of crates" },
    Kind { folder: "probe", what: "dyno's own program in containers" },
];

/// A thing in the cache.
#[derive(Debug, Serialize)]
pub struct Entry {
    pub kind: &'static str,
    pub path: PathBuf,
    pub bytes: u64,
    /// Seconds since 1970-01-01 UTC.
    pub used_s: u64,
}

/// A share in the cache, or all of it: released by the kernel when the process ends.
#[derive(Debug)]
pub struct CacheLock {
    _file: File,
}

impl CacheLock {
    /// Takes part in using the cache, once nobody prunes it. `None` where the lock cannot be made: who
    /// may not write in the cache cannot prune it either.
    pub fn share(cache: &Path) -> Option<Self> {
        let file = open_lock(cache)?;
        file.lock_shared().ok()?;
        Some(Self { _file: file })
    }

    /// Has the cache alone.
    ///
    /// # Errors
    /// If a dyno is at work in it, or the lock cannot be made.
    pub fn alone(cache: &Path) -> Result<Self> {
        let file = open_lock(cache).ok_or_else(|| {
            Error::infrastructure(format!("cannot lock {}", cache.join(LOCK).display()))
        })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(_) => {
                Err(Error::infrastructure("another dyno uses the cache: nothing was removed")
                    .hint("prune when it is done; `dyno cache prune --dry-run` works meanwhile"))
            }
        }
    }
}

fn open_lock(cache: &Path) -> Option<File> {
    let path = cache.join(LOCK);
    let make = || File::options().write(true).create(true).truncate(false).open(&path);
    File::open(&path).or_else(|_| make()).ok()
}

/// Notes that a thing in the cache is used now. Best effort: it is for pruning alone.
pub fn mark_use(path: &Path) {
    let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

/// What the cache holds of every kind, in the order of [`KINDS`] and names. What has a hidden name is
/// work in progress.
pub fn entries(cache: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for kind in KINDS {
        let folder = cache.join(kind.folder);
        let doing = || format!("looking through {}", folder.display());
        let mut paths = Vec::new();
        match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            listed => {
                for entry in listed.context(doing)? {
                    paths.push(entry.context(doing)?.path());
                }
            }
        }
        paths.retain(|path| !is_hidden(path));
        paths.sort();
        for path in paths {
            let Ok(found) = fs::symlink_metadata(&path) else { continue };
            let bytes = bytes_of(&path);
            let used_s = found.mtime().max(0) as u64;
            entries.push(Entry { kind: kind.folder, path, bytes, used_s });
        }
    }
    Ok(entries)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Bytes that a file, or all below a folder, takes on the disk.
pub fn bytes_of(path: &Path) -> u64 {
    let (mut bytes, mut pending) = (0, VecDeque::from([path.to_path_buf()]));
    while let Some(path) = pending.pop_front() {
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        bytes += found.blocks() * 512;
        if found.is_dir() {
            pending.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.path()));
        }
    }
    bytes
}

/// Removes things from the cache: first the name of each, by one rename into a work folder, so that
/// one who is killed in between leaves no half of anything under its name.
pub fn remove(cache: &Path, entries: &[Entry], _lock: &CacheLock) -> Result<()> {
    let scratch = Scratch::new(cache)?;
    for (number, entry) in entries.iter().enumerate() {
        let place = scratch.path().join(number.to_string());
        match fs::rename(&entry.path, &place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            moved => moved.context(|| format!("removing {}", entry.path.display()))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_prunes_waits_for_those_at_work() {
        let cache = tempfile::tempdir().unwrap();
        let shares = [CacheLock::share(cache.path()), CacheLock::share(cache.path())];
        assert!(shares.iter().all(Option::is_some));
        let refused = CacheLock::alone(cache.path()).unwrap_err();
        assert!(refused.message.contains("another dyno uses the cache"), "{refused}");
        drop(shares);
        assert!(CacheLock::alone(cache.path()).is_ok());
    }

    #[test]
    fn what_is_listed_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path();
        for file in
            ["images/a/rootfs/x", "images/.making-b/x", "debs/c.deb", "spool/d.json", "unknown/e"]
        {
            let path = cache.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![1; 10_000]).unwrap();
        }
        let long_ago = SystemTime::now() - Duration::from_secs(1000);
        File::open(cache.join("images/a")).unwrap().set_modified(long_ago).unwrap();
        let listed = entries(cache).unwrap();
        let names: Vec<_> =
            listed.iter().map(|e| (e.kind, e.path.strip_prefix(cache).unwrap())).collect();
        assert_eq!(names, [("images", Path::new("images/a")), ("debs", Path::new("debs/c.deb"))]);
        assert!(listed[0].bytes >= 10_000 && listed[0].used_s + 900 < listed[1].used_s);
        mark_use(&cache.join("images/a"));
        assert!(entries(cache).unwrap()[0].used_s + 900 > listed[1].used_s);
        remove(cache, &listed, &CacheLock::alone(cache).unwrap()).unwrap();
        assert!(entries(cache).unwrap().is_empty());
        for kept in ["images/.making-b/x", "spool/d.json", "unknown/e"] {
            assert!(cache.join(kept).exists(), "{kept}");
        }
    }
}
