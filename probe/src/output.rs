//! What a process writes to its standard streams: sent on line by line, or read from a file at the
//! end; the last of it is kept to show a person.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use dyno_probe::TAIL_MAX;
use sha2::{Digest, Sha256};

/// The last [`TAIL_MAX`] bytes of a stream.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() > 2 * TAIL_MAX {
            self.0.drain(..self.0.len() - TAIL_MAX);
        }
    }

    fn text(&self) -> String {
        let start = self.0.len().saturating_sub(TAIL_MAX);
        String::from_utf8_lossy(&self.0[start..]).into_owned()
    }
}

/// Splits a stream into lines and keeps the last of it.
#[derive(Default)]
pub struct Lines {
    partial: Vec<u8>,
    tail: Tail,
    bytes: u64,
}

impl Lines {
    /// The longest line sent on; the rest of a longer one follows as further lines.
    const LINE_MAX: usize = 4096;

    pub fn read(&mut self, from: &mut File, line: &mut dyn FnMut(&str)) {
        let mut buffer = [0; 16 << 10];
        let count = from.read(&mut buffer).unwrap_or(0);
        self.push(&buffer[..count], line);
    }

    fn push(&mut self, bytes: &[u8], line: &mut dyn FnMut(&str)) {
        self.bytes += bytes.len() as u64;
        self.tail.push(bytes);
        for byte in bytes {
            if *byte == b'\n' || self.partial.len() >= Self::LINE_MAX {
                line(&String::from_utf8_lossy(&self.partial));
                self.partial.clear();
            }
            if *byte != b'\n' {
                self.partial.push(*byte);
            }
        }
    }

    pub fn finish(&mut self, from: &mut File, stream: bool, line: &mut dyn FnMut(&str)) {
        if !stream {
            return;
        }
        let mut rest = Vec::new();
        // Everything that held the other end has been ended, so this comes to an end; the pipe
        // holds 64 KiB at most.
        let _ = from.take(1 << 20).read_to_end(&mut rest);
        self.push(&rest, line);
        if !self.partial.is_empty() {
            line(&String::from_utf8_lossy(&self.partial));
        }
    }

    /// How many bytes came.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn tail(&self) -> String {
        self.tail.text()
    }
}

/// Length, SHA-256 in hexadecimal, and tail of a file.
pub fn digest(file: &mut File) -> (u64, String, String) {
    let mut hasher = Sha256::new();
    let mut tail = Tail::default();
    let mut bytes = 0;
    let mut buffer = [0; 64 << 10];
    let _ = file.seek(SeekFrom::Start(0));
    while let Ok(count) = file.read(&mut buffer)
        && count > 0
    {
        hasher.update(&buffer[..count]);
        bytes += count as u64;
        tail.push(&buffer[..count]);
    }
    (bytes, hex::encode(hasher.finalize()), tail.text())
}
