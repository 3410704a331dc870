//! What becomes of the files of a check-out before a build sees them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

/// The time of all files of a check-out, 1980-01-01, so that none looks older than another. It is not
/// the commit's: what is built of equal trees should be equal, and a clock may have been wrong. It is
/// not 1970 either: a ZIP archive, such as a Python wheel, holds nothing before 1980.
const FILE_TIME: TimeSpec = TimeSpec::new(315_532_800, 0);

/// How each pointer of Git LFS begins, and how long one is at most (git-lfs-spec(5)).
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
const POINTER_MAX: u64 = 1024;

/// What a check-out left out, by path.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    pub(super) submodules: Vec<PathBuf>,
    pub(super) pointers: Vec<PathBuf>,
}

impl LeftOut {
    /// A clause for people; `None` if all is there.
    pub(super) fn in_words(mut self) -> Option<String> {
        let clause = |what: &str, paths: &mut Vec<PathBuf>| {
            const SHOWN: usize = 5;
            paths.sort_unstable();
            let names: Vec<String> = paths.iter().take(SHOWN).map(|path| name(path)).collect();
            let more = match paths.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            (!paths.is_empty()).then(|| format!("{what}: {}{more}", names.join(", ")))
        };
        let submodules = "submodules, which the suite does not ask for (`submodules = true`)";
        let pointers =
            "pointers of Git LFS, which the suite does not ask to resolve (`lfs = true`)";
        let clauses =
            [clause(submodules, &mut self.submodules), clause(pointers, &mut self.pointers)];
        let clauses: Vec<String> = clauses.into_iter().flatten().collect();
        (!clauses.is_empty()).then(|| format!("this commit has {}", clauses.join("; and ")))
    }
}

/// A path for people.
pub(super) fn name(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// Gives all that is in `folder` one time, and finds the pointers of Git LFS among it.
pub(super) fn settle(folder: &Path, pointers: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            if metadata.is_file() && metadata.len() <= POINTER_MAX && is_pointer(&path)? {
                pointers.push(path.strip_prefix(folder).unwrap_or(&path).to_path_buf());
            }
            let flags = UtimensatFlags::NoFollowSymlink;
            utimensat(None, &path, &FILE_TIME, &FILE_TIME, flags)?;
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(())
}

fn is_pointer(path: &Path) -> std::io::Result<bool> {
    let mut file = fs::OpenOptions::new();
    let file = file.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let mut begin = Vec::new();
    file.take(POINTER.len() as u64).read_to_end(&mut begin)?;
    Ok(begin == POINTER)
}

/// Makes the folder `path` below `top`, where it is missing, and follows no link on the way.
pub(super) fn make_folder(top: &Path, path: &Path) -> std::io::Result<()> {
    let mut folder = top.to_path_buf();
    for part in path.components() {
        let invalid = || std::io::Error::other(format!("{} is in the way", name(path)));
        let Component::Normal(part) = part else { return Err(invalid()) };
        folder.push(part);
        match fs::symlink_metadata(&folder) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(invalid()),
            Err(_) => fs::create_dir(&folder)?,
        }
    }
    Ok(())
}
