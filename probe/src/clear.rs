//! Removing everything below a folder that a stranger wrote: no depth, no mode and no name may
//! keep it there.
//!
//! A walk that goes down a level a call, or holds a descriptor a level, ends at some depth; a
//! folder without rights stops its owner too. So nothing is walked: what a folder holds is
//! removed or moved up to the top, one level at a time, until the top is empty. Every folder is
//! entered once and only two are open at a time. No link is followed. Nothing may still be
//! writing there.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Removes everything below `top`, and keeps `top` itself.
///
/// # Errors
/// What cannot be removed: its name and why. The rest is removed all the same.
pub fn empty_folder(top: &Path) -> io::Result<()> {
    let name = CString::new(top.as_os_str().as_bytes())?;
    let folder = open(libc::AT_FDCWD, &name)?;
    let mut depth_moved = 0;
    loop {
        let (mut left, mut gone) = (None, false);
        for entry in entries(&folder)? {
            match remove(&folder, &entry, &mut depth_moved) {
                Ok(()) => gone = true,
                Err(error) => left = Some((entry, error)),
            }
        }
        match left {
            // Moved up meanwhile, or made since: look again until a look finds nothing.
            _ if gone => {}
            None => return Ok(()),
            Some((entry, error)) => {
                let entry = OsStr::from_bytes(entry.to_bytes()).display().to_string();
                return Err(io::Error::new(error.kind(), format!("{entry}: {error}")));
            }
        }
    }
}

/// Removes one entry of `top`; what is in it moves up to `top`.
fn remove(top: &OwnedFd, entry: &CStr, moved: &mut u64) -> io::Result<()> {
    let error = match unlink(top, entry) {
        Ok(()) => return Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ENOTEMPTY) => error,
        Err(error) => return Err(error),
    };
    allow(top, entry);
    let folder = open(top.as_raw_fd(), entry)?;
    loop {
        let children = entries(&folder)?;
        if children.is_empty() {
            return unlink(top, entry).map_err(|_| error);
        }
        for inner in children {
            if unlink(&folder, &inner).is_err() {
                // To move a folder is to write its `..`.
                allow(&folder, &inner);
                move_up(&folder, &inner, top, moved)?;
            }
        }
    }
}

/// Removes a file, a link or an empty folder.
fn unlink(folder: &OwnedFd, name: &CStr) -> io::Result<()> {
    // SAFETY: a live descriptor and a NUL-terminated name.
    let unlink = |flags| check(unsafe { libc::unlinkat(folder.as_raw_fd(), name.as_ptr(), flags) });
    match unlink(0) {
        Err(error) if [Some(libc::EISDIR), Some(libc::EPERM)].contains(&error.raw_os_error()) => {
            unlink(libc::AT_REMOVEDIR)
        }
        other => other,
    }
}

/// Gives the owner of a folder every right to it; a failure shows in what comes next.
fn allow(folder: &OwnedFd, name: &CStr) {
    // SAFETY: as above. The entry was just found to be a folder, which chmod does not leave.
    let _ = check(unsafe { libc::fchmodat(folder.as_raw_fd(), name.as_ptr(), 0o700, 0) });
}

fn move_up(from: &OwnedFd, name: &CStr, top: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    loop {
        let new = CString::new(format!(".dyno-{moved}")).expect("no NUL");
        *moved += 1;
        // SAFETY: live descriptors and NUL-terminated names.
        let renamed = check(unsafe {
            libc::renameat2(
                from.as_raw_fd(),
                name.as_ptr(),
                top.as_raw_fd(),
                new.as_ptr(),
                libc::RENAME_NOREPLACE,
            )
        });
        match renamed {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other,
        }
    }
}

fn open(at: RawFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: a NUL-terminated name; the descriptor is new and ours.
    unsafe {
        let fd = libc::openat(at, name.as_ptr(), flags);
        check(fd.min(0))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The names in a folder, at most some thousands of them: who wants all looks again.
fn entries(folder: &OwnedFd) -> io::Result<Vec<CString>> {
    const ENTRIES_MAX: usize = 4096;
    // A description of its own: its place in the folder begins at the start.
    let reopened = open(folder.as_raw_fd(), c".")?;
    let mut names = Vec::new();
    // SAFETY: the stream owns the descriptor from fdopendir on, and is closed once; an entry is
    // read before the next call.
    unsafe {
        let stream = libc::fdopendir(reopened.as_raw_fd());
        if stream.is_null() {
            return Err(io::Error::last_os_error());
        }
        std::mem::forget(reopened);
        while names.len() < ENTRIES_MAX {
            let entry = libc::readdir(stream);
            if entry.is_null() {
                break;
            }
            let name = CStr::from_ptr((*entry).d_name.as_ptr());
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        libc::closedir(stream);
    }
    Ok(names)
}

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn no_depth_mode_name_or_number_stays() {
        let folder = std::env::temp_dir().join(format!("dyno-clear-{}", std::process::id()));
        let top = folder.join("top");
        fs::create_dir_all(top.join("a/b/c")).unwrap();
        fs::write(folder.join("outside"), "x").unwrap();
        fs::write(top.join("a/b/c/file"), "x").unwrap();
        std::os::unix::fs::symlink("../../outside", top.join("a/link")).unwrap();
        std::os::unix::fs::symlink("..", top.join("up")).unwrap();
        fs::create_dir_all(top.join(".dyno-0/.dyno-1")).unwrap();
        fs::write(top.join("new\nline \u{1b}[31m"), "x").unwrap();
        fs::create_dir(top.join("many")).unwrap();
        for number in 0..5_000 {
            fs::write(top.join(format!("many/{number}")), "").unwrap();
        }
        // Deeper than a path may be long, a process may hold descriptors, or a stack go.
        let (mut at, name) = (open(libc::AT_FDCWD, &c_path(&top)).unwrap(), c"deep");
        for _ in 0..2_000 {
            // SAFETY: a live descriptor and a NUL-terminated name.
            check(unsafe { libc::mkdirat(at.as_raw_fd(), name.as_ptr(), 0o755) }).unwrap();
            at = open(at.as_raw_fd(), name).unwrap();
        }
        for closed in ["a/b/c", "a/b", "a", "many"] {
            fs::set_permissions(top.join(closed), fs::Permissions::from_mode(0o0)).unwrap();
        }
        empty_folder(&top).unwrap();
        assert_eq!(fs::read_dir(&top).unwrap().count(), 0);
        assert_eq!(fs::read(folder.join("outside")).unwrap(), b"x");
        assert!(empty_folder(&folder.join("none")).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }

    fn c_path(path: &Path) -> CString {
        CString::new(path.as_os_str().as_bytes()).unwrap()
    }
}
