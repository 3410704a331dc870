//! What a package or a layer holds, read without running or trusting anything in it.
//!
//! File contents go to numbered files of a spool folder, everything else to a list: no name
//! from an archive touches the file system before [`super::tree`] has resolved it.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use tar::EntryType;

/// One member of an archive. `path` is relative, without `.`, `..` or empty parts; the root
/// itself is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub path: String,
    pub kind: Kind,
    /// Permission and sticky bits: setuid and setgid are gone.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Folder,
    File(Blob),
    /// The target as written.
    Symlink(String),
    /// The path of another member, in the form of [`Member::path`].
    Hardlink(String),
}

/// Contents in the spool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blob {
    pub path: PathBuf,
    pub size_bytes: u64,
}

/// Reads a Debian binary package (deb(5)): an `ar` archive whose last member is `data.tar`.
pub fn package(path: &Path, spool: &Path) -> io::Result<Vec<Member>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut magic = [0; 8];
    read_exact_or(&mut file, &mut magic, "shorter than any package")?;
    if &magic != b"!<arch>\n" {
        return Err(malformed("not a Debian package: no ar archive"));
    }
    let mut offset = 8;
    while offset < length {
        let mut header = [0; 60];
        read_exact_or(&mut file, &mut header, "cut short in a member's header")?;
        let header_text = |range: std::ops::Range<usize>| {
            std::str::from_utf8(&header[range]).map(str::trim).unwrap_or("")
        };
        let name = header_text(0..16).trim_end_matches('/').to_string();
        let size: u64 =
            header_text(48..58).parse().map_err(|_| malformed("an ar header gives no size"))?;
        offset += 60;
        if offset + size > length {
            return Err(malformed(&format!("cut short: {name} ends beyond the file")));
        }
        if let Some(compression) = name.strip_prefix("data.tar") {
            return match compression {
                "" => tar(file.take(size), spool),
                ".xz" => tar(liblzma::read::XzDecoder::new(file.take(size)), spool),
                ".zst" => tar(zstd::Decoder::new(file.take(size))?, spool),
                ".gz" => tar(flate2::read::GzDecoder::new(file.take(size)), spool),
                other => Err(malformed(&format!("data.tar{other} is not a known compression"))),
            };
        }
        offset += size + size % 2;
        file.seek(SeekFrom::Start(offset))?;
    }
    Err(malformed("no data.tar in it"))
}

/// Reads a tar archive to its end. `spool` is made, and must be this archive's alone.
pub fn tar(reader: impl Read, spool: &Path) -> io::Result<Vec<Member>> {
    std::fs::create_dir_all(spool)?;
    let mut archive = tar::Archive::new(reader);
    let mut members = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = inner_path(&entry.path_bytes())?;
        let header = entry.header();
        let (mode, uid, gid) = (header.mode()? & 0o1777, header.uid()?, header.gid()?);
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let blob = spool.join(members.len().to_string());
                let mut file = File::create_new(&blob)?;
                let wanted = entry.size();
                let size_bytes = io::copy(&mut entry, &mut file)?;
                if size_bytes != wanted {
                    return Err(malformed(&format!("cut short in {path}")));
                }
                Kind::File(Blob { path: blob, size_bytes })
            }
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = text(&target)?;
                if target.is_empty() || target.contains('\0') {
                    return Err(malformed(&format!("{path} links to nothing")));
                }
                Kind::Symlink(target)
            }
            EntryType::Link => {
                Kind::Hardlink(inner_path(&entry.link_name_bytes().unwrap_or_default())?)
            }
            // Comments for other readers (PAX globals) hold nothing for the tree.
            EntryType::XGlobalHeader => continue,
            other => {
                let message =
                    format!("{path} is a device or the like ({other:?}), which no image may hold");
                return Err(malformed(&message));
            }
        };
        if path.is_empty() && kind != Kind::Folder {
            return Err(malformed("the root is not a folder"));
        }
        members.push(Member { path, kind, mode, uid, gid });
    }
    // What follows the end mark is padding; a decoder checks its own end only when read so far.
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink())?;
    Ok(members)
}

fn inner_path(bytes: &[u8]) -> io::Result<String> {
    let text = text(bytes)?;
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(malformed(&format!("the path {text:?} leaves the root"))),
            part if part.contains('\0') => return Err(malformed(&format!("{text:?} is no path"))),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn text(bytes: &[u8]) -> io::Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| {
        malformed(&format!("the name {:?} is not UTF-8", String::from_utf8_lossy(bytes)))
    })
}

fn read_exact_or(file: &mut File, buffer: &mut [u8], message: &str) -> io::Result<()> {
    file.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => malformed(message),
        _ => error,
    })
}

fn malformed(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
