//! The standard streams of a measured process: files in memory, so that nobody has to run beside it
//! to take what it writes. They are written at their end, whoever else writes to them; still a
//! program that opens its own stream by name (`> /dev/stdout`) empties it, as it would any file.
//! That is seen, and said where an answer is wrong.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt as _;

use dyno_probe::{OUTPUT_MAX, Stream};

use crate::sys::memory_file;

/// What a process wrote to its streams.
#[derive(Default)]
pub struct Outputs {
    pub stdout: Option<File>,
    pub stderr: Option<File>,
}

impl Outputs {
    /// Part of a stream, from `offset` on; nothing where there is none.
    pub fn part(&self, stream: Stream, offset: u64) -> Vec<u8> {
        let file = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        let (mut part, mut length) = (vec![0; OUTPUT_MAX], 0);
        while let Some(Ok(read @ 1..)) =
            file.as_ref().map(|file| file.read_at(&mut part[length..], offset + length as u64))
        {
            length += read;
        }
        part.truncate(length);
        part
    }
}

/// A file in memory for a stream, and what the process gets of it.
pub fn stream_file() -> io::Result<(File, File)> {
    let file = memory_file()?;
    // SAFETY: changes flags of a descriptor that is ours.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_APPEND) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let of_process = file.try_clone()?;
    Ok((file, of_process))
}

/// Watches whether streams are opened by name.
pub struct OpenWatch {
    /// An inotify of the files.
    events: File,
    /// Each stream with the number that inotify has for it.
    numbers: Vec<(i32, Stream)>,
}

impl OpenWatch {
    /// Begins to watch; `None` where the kernel does not let anybody.
    pub fn start(streams: [(&File, Stream); 2]) -> Option<Self> {
        // SAFETY: the descriptor is new and ours, the names live.
        unsafe {
            let fd = libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC);
            if fd < 0 {
                return None;
            }
            let events = File::from_raw_fd(fd);
            let number = |(file, stream): (&File, Stream)| {
                let name = format!("/proc/self/fd/{}\0", file.as_raw_fd());
                let number = libc::inotify_add_watch(fd, name.as_ptr().cast(), libc::IN_OPEN);
                (number >= 0).then_some((number, stream))
            };
            let numbers = streams.into_iter().filter_map(number).collect();
            Some(Self { events, numbers })
        }
    }

    /// The streams that were opened.
    pub fn opened(mut self) -> BTreeSet<Stream> {
        const HEAD: usize = size_of::<libc::inotify_event>();
        let mut opened = BTreeSet::new();
        let mut buffer = [0; 4 << 10];
        // Equal events that follow each other are one, and these have no names.
        while let Ok(length @ 1..) = self.events.read(&mut buffer) {
            for event in buffer[..length].chunks_exact(HEAD) {
                let number = event[..4].try_into().map_or(-1, i32::from_ne_bytes);
                let is_it = |(known, _): &&(i32, Stream)| *known == number;
                opened.extend(self.numbers.iter().find(is_it).map(|(_, stream)| *stream));
            }
        }
        opened
    }
}
