//! Bounding what a build writes to this machine's disk. Its limits bound each file; how many there
//! are nothing in the kernel counts without a quota, so dyno looks.
//!
//! A look at the file system's own counts costs nothing and is taken four times a second; when it
//! has grown by as much as the build may still write, the build's files are counted. They are
//! counted without that too, since others may free what the build takes, but for a small part of
//! the time only. Files that have no name any more count as long as a process of the build holds
//! them.
//!
//! The last of the disk is nobody's: others on this machine need it. When it comes to that, the build
//! that holds most ends first, and is to blame if what it held, or what its end gave back, explains
//! how the disk filled up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use unnamed::bytes_without_name;

mod unnamed;

const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Files are counted this often at most where nothing seems to grow.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// The share of the time that counting may take: one part in so many.
const COUNT_SHARE: u32 = 20;

/// What a file takes at least: its inode and its name are not free either.
pub const FILE_BYTES: u64 = 4 << 10;

/// Paths of folders still to be looked into, in bytes together: they are a stranger's, and this is
/// dyno's own memory.
const PATHS_BYTES: usize = 64 << 20;

/// What is left to others, in bytes, on a disk that is large enough; else a fiftieth of it.
const SPARE_BYTES: u64 = 256 << 20;

/// The limit for which a build must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskLimit {
    /// Its folders hold more than they may.
    Folders,
    /// Its folders lie deeper than a path may be long: nobody can count what is in them.
    Depth,
    /// They are more than can be counted: the paths of those still to be looked into take more
    /// memory than dyno gives to that.
    Paths,
    /// The disk is nearly full, whoever filled it.
    Disk(DiskShare),
}

/// What one build has to do with a disk that is nearly full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskShare {
    /// What its files take.
    pub held_bytes: u64,
    /// How much more of the disk is in use than when it began.
    pub grown_bytes: u64,
}

impl DiskShare {
    /// The share of a build whose end gave back `freed_bytes`: that much it held, seen or not.
    pub fn with_freed(self, freed_bytes: u64) -> Self {
        Self { held_bytes: self.held_bytes.max(freed_bytes), ..self }
    }

    /// Whether the build filled the disk: it held at least a half of what was added to it.
    fn is_to_blame(self) -> bool {
        self.grown_bytes > 0 && self.held_bytes >= self.grown_bytes / 2
    }
}

/// Builds beside each other on one disk, each with the bytes that it held when it was last counted.
#[derive(Debug, Default)]
pub struct DiskSharers {
    held: Mutex<BTreeMap<u64, u64>>,
}

impl DiskSharers {
    /// Takes note of what a build holds. Whether none of the others holds more.
    fn is_largest(&self, build: u64, held_bytes: u64) -> bool {
        let mut held = self.held.lock().expect("no panic while held");
        held.insert(build, held_bytes);
        held.iter().map(|(other, bytes)| (bytes, other)).max() == Some((&held_bytes, &build))
    }

    fn add(&self) -> u64 {
        let mut held = self.held.lock().expect("no panic while held");
        let build = held.last_key_value().map_or(0, |(last, _)| last + 1);
        held.insert(build, 0);
        build
    }

    fn remove(&self, build: u64) {
        self.held.lock().expect("no panic while held").remove(&build);
    }

    /// Waits until the disk of `folder` has room again, or no build is left that could make some.
    pub async fn until_room(&self, folder: &Path) {
        let is_shared = || !self.held.lock().expect("no panic while held").is_empty();
        while is_shared() && DiskUsage::read(folder).is_some_and(|usage| usage.nearly_full) {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

impl DiskLimit {
    /// The sentence for `who` filled it, which may hold `limit_bytes`; `None` where that is
    /// nobody's fault.
    pub fn reason(self, who: &str, limit_bytes: u64) -> Option<String> {
        let limit = indicatif::HumanBytes(limit_bytes);
        match self {
            Self::Folders => Some(format!("{who} wrote more than {limit} to the disk")),
            Self::Depth => Some(format!("{who} made folders deeper than a path is long")),
            Self::Paths => Some(format!("{who} made more folders than can be counted")),
            Self::Disk(share) => share.is_to_blame().then(|| {
                let held = indicatif::HumanBytes(share.held_bytes);
                format!("{who} filled the disk of this machine: {held} were its own")
            }),
        }
    }
}

/// Folders on one disk, and what they may hold together.
pub struct DiskWatch {
    folders: Vec<PathBuf>,
    limit_bytes: u64,
    /// Bytes in use on the disk at the beginning.
    begin_bytes: u64,
    /// The builds beside this one, and its number among them.
    sharers: Option<(Arc<DiskSharers>, u64)>,
}

impl Drop for DiskWatch {
    fn drop(&mut self) {
        if let Some((sharers, build)) = &self.sharers {
            sharers.remove(*build);
        }
    }
}

/// What a file system has in use.
#[derive(Debug, Clone, Copy)]
struct DiskUsage {
    bytes: u64,
    files: u64,
    nearly_full: bool,
}

impl DiskUsage {
    fn read(folder: &Path) -> Option<Self> {
        let stat = nix::sys::statvfs::statvfs(folder).ok()?;
        let block = stat.fragment_size();
        let spare = (stat.blocks() * block / 50).min(SPARE_BYTES);
        Some(Self {
            bytes: (stat.blocks() - stat.blocks_free()) * block,
            files: stat.files() - stat.files_free(),
            nearly_full: stat.blocks_available() * block < spare
                || stat.files_available() < stat.files() / 100,
        })
    }

    /// Growth in bytes since `before`, at the least that files take.
    fn growth_since(self, before: Self) -> u64 {
        let files = self.files.saturating_sub(before.files).saturating_mul(FILE_BYTES);
        self.bytes.saturating_sub(before.bytes).max(files)
    }
}

impl DiskWatch {
    pub fn new(folders: Vec<PathBuf>, limit_bytes: u64) -> Self {
        let usage = folders.first().and_then(|folder| DiskUsage::read(folder));
        let begin_bytes = usage.map_or(0, |usage| usage.bytes);
        Self { folders, limit_bytes, begin_bytes, sharers: None }
    }

    /// A watch of a build with others beside it.
    pub fn beside(folders: Vec<PathBuf>, limit_bytes: u64, sharers: &Arc<DiskSharers>) -> Self {
        let mut watch = Self::new(folders, limit_bytes);
        watch.sharers = Some((Arc::clone(sharers), sharers.add()));
        watch
    }

    /// Bytes in use on the disk, by whomever.
    pub fn used_bytes(&self) -> u64 {
        let usage = self.folders.first().and_then(|folder| DiskUsage::read(folder));
        usage.map_or(0, |usage| usage.bytes)
    }

    /// Returns when a limit is reached, and never else.
    pub async fn until_exceeded(&self) -> DiskLimit {
        let Some(folder) = self.folders.first() else { return std::future::pending().await };
        let (mut before, mut left_bytes, mut count_due) = (None, 0, Instant::now());
        loop {
            let now = DiskUsage::read(folder);
            if let Some(full) = now.filter(|now| now.nearly_full) {
                // More than it may hold is the limit's business, and as good an answer here.
                let held_bytes = self.count().await.unwrap_or(self.limit_bytes);
                let grown_bytes = full.bytes.saturating_sub(self.begin_bytes);
                if self.is_largest(held_bytes) {
                    return DiskLimit::Disk(DiskShare { held_bytes, grown_bytes });
                }
                tokio::time::sleep(POLL_INTERVAL).await;
                continue;
            }
            let grown =
                now.zip(before).is_some_and(|(now, before)| now.growth_since(before) >= left_bytes);
            if grown || Instant::now() >= count_due {
                let started = Instant::now();
                match self.count().await {
                    Ok(bytes) => {
                        (before, left_bytes) = (now, self.limit_bytes - bytes);
                        self.is_largest(bytes);
                    }
                    Err(limit) => return limit,
                }
                count_due = Instant::now() + (started.elapsed() * COUNT_SHARE).max(COUNT_INTERVAL);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Takes note of what the build holds. Whether no other holds more.
    fn is_largest(&self, held_bytes: u64) -> bool {
        let sharers = self.sharers.as_ref();
        sharers.is_none_or(|(sharers, build)| sharers.is_largest(*build, held_bytes))
    }

    async fn count(&self) -> Result<u64, DiskLimit> {
        let (folders, limit) = (self.folders.clone(), self.limit_bytes);
        let counted = tokio::task::spawn_blocking(move || {
            let unnamed = bytes_without_name(&folders);
            let named = bytes_below(folders, limit, PATHS_BYTES)?;
            Some(named.saturating_add(unnamed))
                .filter(|sum| *sum <= limit)
                .ok_or(DiskLimit::Folders)
        });
        counted.await.expect("counting does not panic")
    }
}

/// Bytes that everything below `folders` takes, `limit` at most; `paths` bounds the bytes of the
/// paths that are remembered meanwhile. A build may change all of it while this looks: a link that
/// takes a folder's place leads this astray, but not for ever.
fn bytes_below(
    mut folders: Vec<PathBuf>,
    limit: u64,
    path_bytes_max: usize,
) -> Result<u64, DiskLimit> {
    use std::os::unix::fs::MetadataExt;
    let (mut sum, mut pending): (u64, usize) = (0, 0);
    while let Some(folder) = folders.pop() {
        pending = pending.saturating_sub(folder.as_os_str().len());
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.raw_os_error() == Some(libc::ENAMETOOLONG) => {
                return Err(DiskLimit::Depth);
            }
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            let Ok(found) = entry.metadata() else { continue };
            sum = sum.saturating_add((found.blocks() * 512).max(FILE_BYTES));
            if sum > limit {
                return Err(DiskLimit::Folders);
            }
            if found.is_dir() {
                let path = entry.path();
                pending += path.as_os_str().len();
                if pending > path_bytes_max {
                    return Err(DiskLimit::Paths);
                }
                folders.push(path);
            }
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_by_what_they_take() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::create_dir(path.join("inner")).unwrap();
        std::fs::write(path.join("inner/empty"), "").unwrap();
        std::fs::write(path.join("large"), vec![1; 1 << 20]).unwrap();
        std::fs::File::create(path.join("sparse")).unwrap().set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink("/", path.join("link")).unwrap();
        let sum = bytes_below(vec![path.to_path_buf()], u64::MAX, PATHS_BYTES).unwrap();
        assert!(((1 << 20) + 4 * FILE_BYTES..(1 << 20) + 16 * FILE_BYTES).contains(&sum), "{sum}");
        assert_eq!(
            bytes_below(vec![path.to_path_buf()], 5000, PATHS_BYTES),
            Err(DiskLimit::Folders)
        );
    }

    #[test]
    fn the_paths_that_are_remembered_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        // Beside each other they wait together; one in the other they do not.
        let (wide, deep) = (folder.path().join("wide"), folder.path().join("deep"));
        for number in 0..100 {
            std::fs::create_dir_all(wide.join(number.to_string())).unwrap();
        }
        std::fs::create_dir_all(deep.join("1/2/3/4/5/6/7/8/9")).unwrap();
        let paths = 2 * (folder.path().as_os_str().len() + 50);
        assert_eq!(bytes_below(vec![wide.clone()], u64::MAX, paths), Err(DiskLimit::Paths));
        assert!(bytes_below(vec![deep], u64::MAX, paths).is_ok());
        assert!(bytes_below(vec![wide], u64::MAX, PATHS_BYTES).is_ok());
    }
}
