//! Taking files that a stranger's build left: what lies there may be anything.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dyno_model::id::Digest;
use sha2::{Digest as _, Sha256};

/// Opens a regular file below `folder` without following any link, mount or `..`
/// (openat2(2)): what a stranger's build left there may be anything.
pub fn open_beneath(folder: &Path, path: &str) -> std::io::Result<File> {
    let invalid =
        |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidInput, what.to_string());
    let base = File::open(folder)?;
    let path = std::ffi::CString::new(path).map_err(|_| invalid("a NUL in its path"))?;
    // SAFETY: an all-zero open_how is valid.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK) as u64;
    how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_XDEV;
    // SAFETY: live pointers with their sizes; the descriptor is new and ours.
    let file = unsafe {
        let size = size_of::<libc::open_how>();
        let fd = libc::syscall(libc::SYS_openat2, base.as_raw_fd(), path.as_ptr(), &how, size);
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        File::from_raw_fd(fd as i32)
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(invalid("it is not a regular file")) }
}

/// Copies at most `limit` bytes; a file that is larger is an error (`FileTooLarge`).
pub fn copy_bounded(file: File, dest: &Path, limit: u64) -> std::io::Result<(Digest, u64)> {
    // A file may say that it is larger than any disk (a sparse one): then nothing of it is read.
    if file.metadata()?.len() > limit {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    let mut reader = file.take(limit + 1);
    let mut writer = File::create(dest)?;
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        writer.write_all(&buffer[..count])?;
        size += count as u64;
        if size > limit {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
    }
    writer.set_permissions(fs::Permissions::from_mode(0o755))?;
    writer.sync_all()?;
    Ok((Digest::finish(hasher), size))
}

/// The most files of a tree that are taken.
const TREE_FILES_MAX: usize = 20_000;

/// Copies a tree of files below `from`, which may be a stranger's, into `into`: regular files, and
/// links to such inside as the files that they lead to. Folders called in `excluded` at the top are
/// left out, and so are links to folders (inside, a folder stands in the tree by itself; what a
/// compiler's build links to outside is its own source) and to nowhere. Name below the folder →
/// (digest, size in bytes).
///
/// # Errors
/// `FileTooLarge` beyond `limit` bytes together, or too many files; `InvalidData` for a link to a
/// file outside, and for names that are not UTF-8.
pub fn copy_tree(
    from: &Path,
    into: &Path,
    excluded: &[&str],
    limit: u64,
) -> std::io::Result<BTreeMap<String, (Digest, u64)>> {
    let invalid = |what: String| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let top = from.canonicalize()?;
    let (mut copied_files, mut left_bytes) = (BTreeMap::new(), limit);
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        fs::create_dir_all(into.join(&folder))?;
        for entry in fs::read_dir(top.join(&folder))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| invalid(format!("{name:?} is not UTF-8")))?;
            let path = if folder.is_empty() { name.into() } else { format!("{folder}/{name}") };
            let kind = entry.file_type()?;
            let inside = if kind.is_dir() {
                if !(folder.is_empty() && excluded.contains(&name)) {
                    folders.push(path);
                }
                continue;
            } else if kind.is_symlink() {
                let Ok(target) = entry.path().canonicalize() else { continue };
                if target.is_dir() {
                    continue;
                }
                let target = target.strip_prefix(&top).ok().and_then(|target| target.to_str());
                target.ok_or_else(|| invalid(format!("the link {path} leads outside")))?.to_string()
            } else {
                path.clone()
            };
            let file = open_beneath(&top, &inside)?;
            let copied = copy_bounded(file, &into.join(&path), left_bytes)?;
            left_bytes -= copied.1;
            copied_files.insert(path, copied);
            if copied_files.len() > TREE_FILES_MAX {
                return Err(std::io::ErrorKind::FileTooLarge.into());
            }
        }
    }
    Ok(copied_files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_taken_with_links_as_files() {
        let folder = tempfile::tempdir().unwrap();
        let (from, into) = (folder.path().join("from"), folder.path().join("into"));
        fs::create_dir_all(from.join("lib/deep")).unwrap();
        fs::create_dir_all(from.join("share/doc")).unwrap();
        fs::write(from.join("lib/deep/a"), "abc").unwrap();
        fs::write(from.join("share/doc/b"), "b").unwrap();
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, from.join(name)).unwrap();
        };
        link("deep/a", "lib/a");
        link("lib", "lib64");
        // As rustc's own build leaves them.
        link("/usr", "lib/src");
        link("/gone/with/the/container", "lib/rustc-src");
        let files = copy_tree(&from, &into, &["share"], 100).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["lib/a", "lib/deep/a"]);
        assert_eq!(files["lib/a"], (Digest::of(b"abc"), 3));
        assert_eq!(fs::read_to_string(into.join("lib/a")).unwrap(), "abc");
        assert!(!into.join("share").exists());
        let error = copy_tree(&from, &folder.path().join("small"), &[], 4).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
        link("/etc/passwd", "secret");
        let error = copy_tree(&from, &folder.path().join("out"), &[], 100).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    }

    #[test]
    fn only_plain_files_inside_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("build");
        fs::create_dir_all(root.join("release")).unwrap();
        fs::write(root.join("release/good"), "x").unwrap();
        fs::write(folder.path().join("secret"), "x").unwrap();
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        };
        link("../../secret", "release/link");
        link("good", "release/inside");
        link("/etc", "etc");
        link("release", "folder");
        link("/proc/self/fd/0", "descriptor");
        link("itself", "itself");
        nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let odd = ["new\nline", "\u{1b}[31mred", "<b>|`@team`", "-rf", " ", "..."];
        for name in odd {
            fs::write(root.join(name), "x").unwrap();
        }
        // Cargo itself links its outputs twice: that is a plain file.
        fs::hard_link(root.join("release/good"), root.join("twice")).unwrap();
        for good in odd.into_iter().chain(["release/good", "twice", "./release/good"]) {
            assert!(open_beneath(&root, good).is_ok(), "{good:?}");
        }
        let inside = root.join("release/good");
        for bad in [
            "release/link",
            "release/inside",
            "folder/good",
            "etc/passwd",
            "descriptor",
            "itself",
            "../secret",
            "release/../../secret",
            "release/..",
            "/etc/passwd",
            inside.to_str().unwrap(),
            "fifo",
            "socket",
            "release",
            "none",
            "release/good/more",
            "a\0b",
            "",
        ] {
            assert!(open_beneath(&root, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn devices_and_other_mounts_are_not_taken() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        use nix::sys::stat::{Mode, SFlag, makedev, mknod};
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("null");
        mknod(&device, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 3)).unwrap();
        assert!(open_beneath(folder.path(), "null").is_err());
        // Of the whole machine: what is another file system is not beneath.
        assert!(open_beneath(Path::new("/"), "proc/version").is_err());
    }

    #[test]
    fn a_folder_that_is_swapped_while_files_are_taken_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("build"), folder.path().join("outside"));
        for side in [&root.join("a"), &outside] {
            fs::create_dir_all(side).unwrap();
        }
        fs::write(root.join("a/file"), "inside").unwrap();
        fs::write(outside.join("file"), "outside").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("b")).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    for (from, to) in [("a", "c"), ("b", "a"), ("a", "b"), ("c", "a")] {
                        fs::rename(root.join(from), root.join(to)).unwrap();
                    }
                }
            });
            let mut taken = 0;
            for _ in 0..20_000 {
                let Ok(mut file) = open_beneath(&root, "a/file") else { continue };
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                assert_eq!(text, "inside");
                taken += 1;
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(taken > 0);
        });
    }

    #[test]
    fn what_is_too_large_is_not_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let copy = |limit| copy_bounded(File::open(&from).unwrap(), &to, limit);
        fs::write(&from, "four").unwrap();
        assert_eq!(copy(4).unwrap().1, 4);
        assert_eq!(copy(3).unwrap_err().kind(), std::io::ErrorKind::FileTooLarge);
        // A tebibyte of nothing: found out without reading it.
        File::create(&from).unwrap().set_len(1 << 40).unwrap();
        fs::remove_file(&to).unwrap();
        assert_eq!(copy(1 << 30).unwrap_err().kind(), std::io::ErrorKind::FileTooLarge);
        assert!(!to.exists());
    }
}
