//! Counts of instructions, as Valgrind leaves them: a file in `/tmp` for each process that it ran.
//!
//! The program may write there too, so a file is believed only if it is one that Valgrind could have
//! written, and only as far as sums go. Two things Valgrind does not say itself. A process that
//! replaces itself (`exec`) begins again at nothing: what was counted before is lost. It opens a
//! log of its own then, under the same process id, and that is what is watched. A child that was
//! forked opens its log once for that already, and for its first program again.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::path::Path;

use crate::sys::open_regular;

/// The folder of all files that Valgrind writes, private to the container and emptied after each
/// process.
const FOLDER: &str = "/tmp";

/// How the files with counts are called, before the process id.
pub const COUNTS: &str = ".dyno-cachegrind.";

/// How the logs are called, before the process id.
pub const LOGS: &str = ".dyno-valgrind.";

/// The line with the count is the last one; this much of the end of a file has it.
const END_BYTES: u64 = 4 << 10;

/// The options that make Valgrind write counts and logs where they are looked for.
pub fn options() -> [String; 2] {
    [
        format!("--cachegrind-out-file={FOLDER}/{COUNTS}%p"),
        // What it says itself must not stand in the program's answer.
        format!("--log-file={FOLDER}/{LOGS}%p"),
    ]
}

/// Sum of the `summary:` lines of Valgrind's files, or why there is none to believe.
pub fn read() -> Result<u64, String> {
    read_below(Path::new(FOLDER))
}

fn read_below(folder: &Path) -> Result<u64, String> {
    let mut sum: Option<u64> = None;
    for entry in fs::read_dir(folder).map_err(|error| error.to_string())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(process) = name.strip_prefix(COUNTS) else { continue };
        let is_process = !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit());
        let count = if is_process { read_count(&entry.path()) } else { None };
        let count = count.ok_or_else(|| format!("it left a false file of counts ({name})"))?;
        let added = sum.unwrap_or(0).checked_add(count);
        sum = Some(added.ok_or("its counts are more than there can be")?);
    }
    sum.ok_or_else(|| "it wrote no counts".into())
}

/// The count in a regular file of Valgrind's.
fn read_count(path: &Path) -> Option<u64> {
    let mut file = open_regular(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES))).ok()?;
    let mut end = Vec::new();
    file.take(END_BYTES).read_to_end(&mut end).ok()?;
    let end = String::from_utf8_lossy(&end);
    let total = end.lines().rev().find_map(|line| line.strip_prefix("summary: "))?;
    total.trim().parse().ok()
}

/// Watches which processes begin under Valgrind.
pub struct BeginWatch {
    /// An inotify of the folder.
    events: File,
    /// Name of a log → how often it was opened.
    opened: BTreeMap<String, u32>,
    /// Whether the kernel could not keep all that happened.
    has_gaps: bool,
}

impl BeginWatch {
    /// Begins to watch.
    pub fn start() -> Result<Self, String> {
        Self::start_below(FOLDER)
    }

    fn start_below(folder: &str) -> Result<Self, String> {
        let failed = || format!("who begins cannot be seen: {}", std::io::Error::last_os_error());
        let folder = std::ffi::CString::new(folder).map_err(|error| error.to_string())?;
        // SAFETY: the descriptor is new and ours, the name lives.
        unsafe {
            let fd = libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC);
            if fd < 0 {
                return Err(failed());
            }
            let events = File::from_raw_fd(fd);
            if libc::inotify_add_watch(fd, folder.as_ptr(), libc::IN_OPEN) < 0 {
                return Err(failed());
            }
            Ok(Self { events, opened: BTreeMap::new(), has_gaps: false })
        }
    }

    /// The descriptor that can be read when something has happened.
    pub fn descriptor(&self) -> RawFd {
        self.events.as_raw_fd()
    }

    /// Takes note of what has happened (inotify(7)).
    pub fn read(&mut self) {
        const HEAD: usize = size_of::<libc::inotify_event>();
        let mut buffer = [0; 16 << 10];
        while let Ok(length @ 1..) = self.events.read(&mut buffer) {
            let mut rest = &buffer[..length];
            while rest.len() >= HEAD {
                let word = |at: usize| rest[at..at + 4].try_into().map_or(0, u32::from_ne_bytes);
                let (mask, name_bytes) = (word(4), word(12) as usize);
                let (event, after) = rest.split_at((HEAD + name_bytes).min(rest.len()));
                self.has_gaps |= mask & libc::IN_Q_OVERFLOW != 0;
                let name = String::from_utf8_lossy(&event[HEAD..]);
                let name = name.trim_end_matches('\0');
                if name.starts_with(LOGS) {
                    *self.opened.entry(name.to_string()).or_default() += 1;
                }
                rest = after;
            }
        }
    }

    /// Why the counts are not whole, if they are not; `first` is the process that was started.
    pub fn loss(mut self, first: libc::pid_t) -> Option<String> {
        self.read();
        let first = format!("{LOGS}{first}");
        let usual = |name: &String| if *name == first { 1 } else { 2 };
        if self.opened.iter().any(|(name, count)| *count > usual(name)) {
            return Some(
                "it goes on as another program (exec), and what was counted before is lost".into(),
            );
        }
        self.has_gaps.then(|| "it opened so many files that nobody saw who began".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_processes_are_summed() {
        let folder = std::env::temp_dir().join(format!("dyno-counts-{}", std::process::id()));
        let path = |name: &str| folder.join(name);
        let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
        let sum = |prepare: &dyn Fn()| {
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            write("other", "summary: 5\n");
            prepare();
            read_below(&folder)
        };
        let two = || {
            write(".dyno-cachegrind.7", "fn=x\n1 2\nsummary: 40\n");
            write(".dyno-cachegrind.8", &format!("{}\nsummary: 2\n", "x".repeat(10_000)));
        };
        let fifo = || {
            let path =
                std::ffi::CString::new(path(".dyno-cachegrind.9").to_str().unwrap()).unwrap();
            // SAFETY: a live string.
            assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o666) }, 0);
        };
        let link = |to: &str| std::os::unix::fs::symlink(to, path(".dyno-cachegrind.9")).unwrap();
        let huge = format!("summary: {}\n", u64::MAX - 1);
        let false_file = Err("it left a false file of counts (.dyno-cachegrind.9)".to_string());
        assert_eq!(sum(&|| ()), Err("it wrote no counts".into()));
        assert_eq!(sum(&two), Ok(42));
        // What would take something away, by going beyond what there is.
        let wrap = || (two(), write(".dyno-cachegrind.9", &huge)).1;
        assert_eq!(sum(&wrap), Err("its counts are more than there can be".into()));
        let named = || (two(), write(".dyno-cachegrind.forged", "summary: 1\n")).1;
        assert!(sum(&named).unwrap_err().contains("forged"));
        assert_eq!(sum(&|| write(".dyno-cachegrind.9", "summary: -1\n")), false_file);
        // None of these is waited for, followed or read to its end.
        assert_eq!(sum(&fifo), false_file);
        assert_eq!(sum(&|| link("/dev/zero")), false_file);
        assert_eq!(sum(&|| (two(), link(".dyno-cachegrind.7")).1), false_file);
        assert_eq!(sum(&|| fs::create_dir(path(".dyno-cachegrind.9")).unwrap()), false_file);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn who_begins_twice_is_seen() {
        let folder = std::env::temp_dir().join(format!("dyno-begin-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let loss = |names: &[&str]| {
            let watch = BeginWatch::start_below(folder.to_str().unwrap()).unwrap();
            for name in names {
                fs::write(folder.join(format!(".dyno-valgrind.{name}")), "x").unwrap();
            }
            watch.loss(7)
        };
        assert_eq!(loss(&["7", "8", "9", "8"]), None, "children begin, and begin a program");
        for twice in [&["7", "8", "7"][..], &["7", "8", "9", "8", "9", "8"]] {
            assert!(loss(twice).is_some_and(|why| why.contains("(exec)")), "{twice:?}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
