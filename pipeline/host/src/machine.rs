//! The machine as the files by which Linux shows and takes its settings, below `/proc` and `/sys`.
//! Reading gives three answers, because "not there" and "not for you" mean different things.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use dyno_model::catalog::host::parse_cores;

/// No file that says something of a machine is longer; `/proc/interrupts` of many cores is long.
const BYTES_MAX: u64 = 16 << 20;

/// What reading a file gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    Text(String),
    Absent,
    /// It is there, but cannot be read; why.
    Unreadable(String),
}

impl FileState {
    /// Its text without the space around it.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.trim()),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }
}

/// Where knobs are read and set; a path is absolute, as on the machine.
pub trait Machine {
    fn read(&self, path: &str) -> FileState;
    fn write(&self, path: &str, value: &str) -> io::Result<()>;
    /// Whether the file can be written by anyone: the kernel shows what it keeps to itself so.
    fn settable(&self, path: &str) -> bool;
    /// Whether setting can succeed at all.
    fn privileged(&self) -> bool;
    /// Whether it is the machine that this process runs on.
    fn is_this_machine(&self) -> bool {
        false
    }
}

/// This machine, or a folder that looks like one.
#[derive(Debug)]
pub struct Root(PathBuf);

impl Root {
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_path_buf())
    }

    /// The path on this machine that stands for `path` of the machine.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }
}

impl Machine for Root {
    fn read(&self, path: &str) -> FileState {
        let mut bytes = Vec::new();
        let read = fs::File::open(self.resolve(path))
            .and_then(|f| f.take(BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => FileState::Text(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileState::Absent,
                _ => FileState::Unreadable(error.to_string()),
            },
        }
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        // One write: the kernel takes each write as a whole value.
        let mut file = OpenOptions::new().write(true).truncate(true).open(self.resolve(path))?;
        file.write_all(format!("{value}\n").as_bytes())
    }

    fn settable(&self, path: &str) -> bool {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(self.resolve(path)).is_ok_and(|file| file.permissions().mode() & 0o222 != 0)
    }

    fn privileged(&self) -> bool {
        !self.is_this_machine() || nix::unistd::geteuid().is_root()
    }

    fn is_this_machine(&self) -> bool {
        self.0 == Path::new("/")
    }
}

/// The value that a file's text stands for: of `always [madvise] never`, `madvise`.
pub fn value(text: &str) -> &str {
    let chosen = text.split_once('[').and_then(|(_, rest)| Some(rest.split_once(']')?.0));
    chosen.unwrap_or(text).trim()
}

/// Whether two values of the file `path` mean the same: the kernel pads masks with zeros.
pub fn same(path: &str, a: &str, b: &str) -> bool {
    let (a, b) = (value(a), value(b));
    let cores = |text: &str| {
        if path.ends_with("_list") {
            parse_cores(text)
        } else if path.ends_with("mask") || path.ends_with("smp_affinity") {
            parse_mask(text)
        } else {
            None
        }
    };
    a == b || cores(a).is_some_and(|cores_a| Some(cores_a) == cores(b))
}

/// Reads a kernel mask of cores: hexadecimal, in groups of 8 digits parted by commas.
pub fn parse_mask(text: &str) -> Option<BTreeSet<u32>> {
    let digits: String = text.trim().split(',').collect();
    if digits.is_empty() || digits.len() > 1024 {
        return None;
    }
    let mut cores = BTreeSet::new();
    for (place, digit) in digits.chars().rev().enumerate() {
        let bits = digit.to_digit(16)?;
        cores.extend((0..4).filter(|bit| bits >> bit & 1 == 1).map(|bit| place as u32 * 4 + bit));
    }
    Some(cores)
}

/// Writes cores as a kernel mask.
pub fn format_mask(cores: &BTreeSet<u32>) -> String {
    let groups = cores.last().map_or(1, |last| last / 32 + 1);
    let group =
        |n: u32| (0..32).filter(|bit| cores.contains(&(n * 32 + bit))).map(|bit| 1u32 << bit).sum();
    let mut text = String::new();
    for n in (0..groups).rev() {
        let bits: u32 = group(n);
        text.push_str(&if text.is_empty() { format!("{bits:x}") } else { format!(",{bits:08x}") });
    }
    text
}

#[cfg(test)]
pub mod fake {
    //! A machine in memory that answers as the kernel does: a choice in brackets, a file that
    //! takes nothing, an interrupt that the kernel keeps, a power cut between two writes.

    use std::cell::{Cell, RefCell};
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[derive(Default)]
    pub struct FakeMachine {
        pub files: RefCell<BTreeMap<String, String>>,
        pub unreadable: BTreeSet<String>,
        pub read_only: BTreeSet<String>,
        /// Interrupts whose affinity the kernel manages; before Linux 6.12 only a write shows it.
        pub managed: BTreeSet<String>,
        pub managed_shown: BTreeSet<String>,
        pub unprivileged: bool,
        /// So many more writes, then the process dies.
        pub dies_after: Cell<Option<usize>>,
    }

    impl FakeMachine {
        /// A machine from lines `PATH TEXT`, `\n` standing for a new line in the text.
        pub fn new(parts: &[&str]) -> Self {
            let fake = Self::default();
            for line in parts.iter().flat_map(|part| part.lines()).filter(|l| !l.trim().is_empty())
            {
                let (path, text) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
                let text = format!("{}\n", text.trim().replace("\\n", "\n"));
                fake.files.borrow_mut().insert(path.into(), text);
            }
            fake
        }

        pub fn put(&self, path: &str, text: &str) {
            self.files.borrow_mut().insert(path.into(), format!("{text}\n"));
        }
    }

    impl Machine for FakeMachine {
        fn read(&self, path: &str) -> FileState {
            if self.unreadable.contains(path) {
                return FileState::Unreadable("Permission denied (os error 13)".into());
            }
            self.files.borrow().get(path).cloned().map_or(FileState::Absent, FileState::Text)
        }

        fn write(&self, path: &str, value: &str) -> io::Result<()> {
            if let Some(left) = self.dies_after.get() {
                assert!(left > 0, "killed");
                self.dies_after.set(Some(left - 1));
            }
            let mut files = self.files.borrow_mut();
            let text =
                files.get_mut(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            if self.read_only.contains(path) {
                return Err(io::Error::from_raw_os_error(libc::EROFS));
            }
            if self.managed.contains(path) {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            if text.contains('[') {
                let plain = text.replace(['[', ']'], "");
                if !plain.split_whitespace().any(|word| word == value) {
                    return Err(io::Error::from_raw_os_error(libc::EINVAL));
                }
                let chosen = |w: &str| if w == value { format!("[{w}]") } else { w.to_string() };
                *text = plain.split_whitespace().map(chosen).collect::<Vec<_>>().join(" ") + "\n";
            } else {
                *text = format!("{value}\n");
            }
            Ok(())
        }

        fn settable(&self, path: &str) -> bool {
            !self.managed_shown.contains(path)
        }

        fn privileged(&self) -> bool {
            !self.unprivileged
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_read_and_write_alike() {
        for (mask, cores) in
            [("3", "0-1"), ("fe", "1-7"), ("ff,00000000", "32-39"), ("1,80000001", "0,31-32")]
        {
            let cores = parse_cores(cores).unwrap();
            assert_eq!(parse_mask(mask), Some(cores.clone()), "{mask}");
            assert_eq!(format_mask(&cores), mask);
        }
        assert_eq!((parse_mask(""), parse_mask("xy")), (None, None));
        assert_eq!(format_mask(&BTreeSet::new()), "0");
    }

    #[test]
    fn values_are_compared_as_the_kernel_means_them() {
        for (path, a, b, equal) in [
            ("/x/enabled", "always [madvise] never\n", "madvise", true),
            ("/x/cpumask", "00000000,0000000f\n", "f", true),
            ("/proc/irq/1/smp_affinity_list", "0,1,2", "0-2\n", true),
            ("/proc/irq/1/smp_affinity_list", "0-1", "0-2", false),
            ("/x/no_turbo", "0", "00", false),
        ] {
            assert_eq!(same(path, a, b), equal, "{path} {a:?} {b:?}");
        }
    }
}
