//! Calls of the kernel that several parts of the probe need, each with the checks of the C interface
//! done: users, pipes, waiting, clocks. Nothing here knows what a measured process is.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Becomes another user, in a child and where the probe may. The error is the step that failed.
pub fn become_user(uid: u32, gid: u32) -> Result<(), &'static str> {
    // SAFETY: plain system calls.
    unsafe {
        if libc::getuid() != 0 {
            return Ok(());
        }
        if libc::setgroups(0, std::ptr::null()) != 0 {
            return Err("setgroups");
        }
        if libc::setresgid(gid, gid, gid) != 0 {
            return Err("setresgid");
        }
        if libc::setresuid(uid, uid, uid) != 0 {
            return Err("setresuid");
        }
    }
    Ok(())
}

/// Waits for the end of `pid`, a child. Returns its status and what it used.
pub fn wait4(pid: libc::pid_t) -> (i32, libc::rusage) {
    let mut status = 0;
    let mut usage = zero_usage();
    loop {
        // SAFETY: both pointers are live.
        let answer = unsafe { libc::wait4(pid, &mut status, 0, &mut usage) };
        if answer == pid || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return (status, usage);
        }
    }
}

/// Resource use of nothing yet.
pub fn zero_usage() -> libc::rusage {
    // SAFETY: a struct of plain numbers, of which all-zero is one.
    unsafe { std::mem::zeroed() }
}

/// A regular file to read from: no link is followed, and nothing is waited for.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// A file that exists in memory alone.
pub fn memory_file() -> io::Result<File> {
    // SAFETY: a constant name; the descriptor is new and ours.
    unsafe {
        let fd = libc::memfd_create(c"dyno".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(File::from_raw_fd(fd)) }
    }
}

/// Both ends of a pipe, to read from and to write to.
pub fn pipe() -> io::Result<(File, File)> {
    let mut fds = [0; 2];
    // SAFETY: fills a live array of two; both descriptors are new and ours.
    unsafe {
        if libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1])))
    }
}

/// A time of `getrusage` in nanoseconds.
pub fn nanoseconds(time: libc::timeval) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000
}

/// The time by CLOCK_MONOTONIC_RAW, which no time daemon bends.
pub fn now_ns() -> u64 {
    // SAFETY: fills a live struct.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC_RAW, &mut time);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}
