//! Digests of files on the disk.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use dyno_model::id::Digest;
use sha2::{Digest as _, Sha256};

/// SHA-256 of a file.
pub fn file_digest(path: &Path) -> std::io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::finish(hasher)),
            count => hasher.update(&buffer[..count]),
        }
    }
}
