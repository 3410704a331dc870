//! What a process wrote: read where somebody asks for it, then removed.
//!
//! Both as the program's user, whose files they are (the probe has no right to them), in a process
//! of their own and in bounded time: the files are a stranger's, and what cannot be read in time is
//! not read. Removing has its own time, so that whatever came of reading, nothing stays.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use dyno_probe::clear::empty_folder;
use dyno_probe::{Spawn, UNITS_FILE, WrapperUnit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::leftover::is_init;
use crate::sys::{become_user, now_ns, pipe, wait4};
use crate::{counts, sizes, wrapper};

/// Where the program may write, and what it wrote must not meet the next.
const WRITABLE: [&str; 3] = ["/tmp", "/dev/shm", "/dev/mqueue"];

/// What was read of the files that a process left, before they were removed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Collected {
    /// Instructions, where they were counted; else why there are none.
    pub instructions: Option<Result<u64, String>>,
    pub sizes: BTreeMap<String, u64>,
    pub units: Vec<WrapperUnit>,
    /// What is still there, and why: the next process would find it.
    #[serde(skip)]
    pub residue: Option<String>,
}

/// More than this is not read: units with their commands.
const READ_MAX: u64 = 64 << 20;

/// How long reading may take, and how long removing. Both together are less than whoever asked
/// waits for an answer beyond the process's own time.
const READ_TIME: Duration = Duration::from_secs(15);
const REMOVE_TIME: Duration = Duration::from_secs(30);

/// Reads what `spawn` asks for of what the program wrote, and removes all of it.
pub fn collect_and_clean(spawn: &Spawn) -> Collected {
    if !is_init() {
        return Collected::default();
    }
    reset_devices();
    let has_entries = |folder: &&str| fs::read_dir(folder).is_ok_and(|mut e| e.next().is_some());
    if !WRITABLE.iter().any(has_entries) {
        return Collected::default();
    }
    let mut collected = Collected::default();
    if spawn.count_instructions || spawn.units || !spawn.sizes.is_empty() {
        let read = || Collected {
            instructions: spawn.count_instructions.then(counts::read),
            sizes: sizes::read(&spawn.sizes),
            units: if spawn.units { wrapper::read_units(UNITS_FILE) } else { Vec::new() },
            residue: None,
        };
        match as_user(spawn, READ_TIME, read) {
            Ok(read) => collected = read,
            Err(why) => collected.instructions = Some(Err(format!("its files: {why}"))),
        }
    }
    let remove = || {
        let failed = |folder: &&str| {
            let emptied = empty_folder(Path::new(folder));
            emptied.err().map(|error| format!("{folder}: {error}"))
        };
        WRITABLE.iter().filter(|folder| has_entries(folder)).find_map(failed)
    };
    let removed = as_user(spawn, REMOVE_TIME, remove);
    collected.residue =
        removed.unwrap_or_else(|why| Some(format!("nobody could empty /tmp: {why}")));
    collected
}

/// Does `work` in a process of the program's user, which has `time` for it.
fn as_user<T: Serialize + DeserializeOwned>(
    spawn: &Spawn,
    time: Duration,
    work: impl FnOnce() -> T,
) -> Result<T, String> {
    let (answer, report) = pipe().map_err(|error| format!("pipe: {error}"))?;
    // SAFETY: one thread, so the child may use the whole library; it ends by _exit.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(format!("fork: {}", io::Error::last_os_error()));
    }
    if pid == 0 {
        let is_done = become_user(spawn.uid, spawn.gid).is_ok()
            && serde_json::to_writer(io::BufWriter::new(report), &work()).is_ok();
        // SAFETY: does not return.
        unsafe { libc::_exit((!is_done).into()) };
    }
    drop(report);
    let text = read_until(answer, now_ns() + time.as_nanos() as u64);
    if text.is_none() {
        // SAFETY: a signal to our own child, which was not waited for.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    let (status, _) = wait4(pid);
    let text = text.ok_or_else(|| format!("it takes more than {} s", time.as_secs()))?;
    match serde_json::from_slice(&text) {
        Ok(answer) if status == 0 => Ok(answer),
        _ => Err("whoever was to do it ended badly".into()),
    }
}

/// Everything that comes out of a pipe until it is closed; `None` if that is later than the
/// deadline, or too much.
fn read_until(mut pipe: fs::File, deadline_ns: u64) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let left_ms = deadline_ns.saturating_sub(now_ns()) / 1_000_000;
        let mut watched = libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: passes one live structure.
        let woken = unsafe { libc::poll(&mut watched, 1, left_ms as libc::c_int) };
        if woken <= 0 || text.len() as u64 > READ_MAX {
            return None;
        }
        match pipe.read(&mut buffer).ok()? {
            0 => return Some(text),
            length => text.extend_from_slice(&buffer[..length]),
        }
    }
}

/// Sets the times of all devices to the same as before: whoever may write to one may touch it, and
/// would find the time in the next process.
pub fn reset_devices() {
    let is_device = |entry: &fs::DirEntry| {
        entry.file_type().is_ok_and(|kind| kind.is_char_device() || kind.is_block_device())
    };
    for entry in fs::read_dir("/dev").into_iter().flatten().flatten().filter(is_device) {
        let path = std::ffi::CString::new(entry.path().into_os_string().into_encoded_bytes());
        let Ok(path) = path else { continue };
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a live string and an array of two.
        unsafe {
            let times = [zero, zero];
            libc::utimensat(
                libc::AT_FDCWD,
                path.as_ptr(),
                times.as_ptr(),
                libc::AT_SYMLINK_NOFOLLOW,
            )
        };
    }
}
