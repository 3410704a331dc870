//! Definitions: folders of the catalog as they were when a run used them, small enough to be kept
//! in the store. A suite's folder, or `image.toml` with its `image.lock`, is named by the digest
//! of its files and packed as a tar under zstd; what comes out of the store is believed only if
//! its files have the digest that the run row names.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use dyno_model::catalog::suite::is_plain_path;
use dyno_model::id::Digest;

use dyno_base::error::{Error, Result, WithContext};

/// The most that one definition may hold, in bytes; a larger suite is not kept in the store.
pub const DEFINITION_MAX: u64 = 64 << 20;

/// The files of a folder in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    files: Vec<File>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    /// Name relative to the folder.
    name: String,
    bytes: Vec<u8>,
    executable: bool,
}

impl Definition {
    /// Reads every regular file below `folder` but those in `target` folders.
    pub fn read(folder: &Path) -> Result<Self> {
        Self::read_files(folder, &list_files(folder)?)
    }

    /// Reads the image in `folder`: what is built of it depends on nothing else there.
    pub fn read_image(folder: &Path) -> Result<Self> {
        Self::read_files(folder, &["image.lock", "image.toml"].map(|name| folder.join(name)))
    }

    fn read_files(folder: &Path, paths: &[impl AsRef<Path>]) -> Result<Self> {
        let read_file = |path: &Path| {
            let doing = || format!("reading {}", path.display());
            let name = path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned();
            let mode = fs::metadata(path).context(doing)?.permissions().mode();
            Ok(File { name, bytes: fs::read(path).context(doing)?, executable: mode & 0o100 != 0 })
        };
        let files = paths.iter().map(|path| read_file(path.as_ref()));
        Ok(Self { files: files.collect::<Result<_>>()? })
    }

    /// The part of the definition that lies in `folder`.
    pub fn part(&self, folder: &str) -> Self {
        let below_folder = |file: &File| {
            let name = file.name.strip_prefix(folder)?.strip_prefix('/')?.to_string();
            Some(File { name, ..file.clone() })
        };
        Self { files: self.files.iter().filter_map(below_folder).collect() }
    }

    /// The definition without the files of these names.
    pub fn without(&self, names: &BTreeSet<&str>) -> Self {
        let is_left = |file: &&File| !names.contains(file.name.as_str());
        Self { files: self.files.iter().filter(is_left).cloned().collect() }
    }

    /// Digest of every file, by name and content.
    pub fn digest(&self) -> Digest {
        Digest::of_parts(self.files.iter().flat_map(|f| [f.name.as_bytes(), f.bytes.as_slice()]))
    }

    /// Whether it may be kept in the store.
    pub fn is_small(&self) -> bool {
        self.files.iter().map(|file| file.bytes.len() as u64).sum::<u64>() <= DEFINITION_MAX
    }

    /// Packs the definition as the store keeps it. Equal definitions pack alike, whoever owns their
    /// files.
    pub fn pack(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for File { name, bytes, executable } in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(if *executable { 0o755 } else { 0o644 });
            header.set_mtime(1);
            tar.append_data(&mut header, name, bytes.as_slice()).expect("a Vec takes all");
        }
        let tar = tar.into_inner().expect("a Vec takes all");
        zstd::encode_all(tar.as_slice(), 10).expect("a Vec takes all")
    }

    /// Unpacks what [`Definition::pack`] packed, if it is `expected`; `place` names it in errors.
    pub fn unpack(packed: &[u8], expected: &Digest, place: &str) -> Result<Self> {
        let damaged_error = |why: String| {
            Error::infrastructure(format!("{place} is damaged: {why}"))
                .hint("the next run that is built from the same files writes it again")
        };
        let read_files = || -> std::io::Result<Vec<File>> {
            // Bounded before it is unpacked: a few bytes may stand for terabytes.
            let tar = zstd::Decoder::new(packed)?.take(2 * DEFINITION_MAX);
            let mut files = Vec::new();
            for entry in tar::Archive::new(tar).entries()? {
                let mut entry = entry?;
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                if !entry.header().entry_type().is_file() || !is_plain_path(&name) {
                    return Err(std::io::Error::other(format!("{name:?} is no plain file")));
                }
                let executable = entry.header().mode()? & 0o100 != 0;
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                files.push(File { name, bytes, executable });
            }
            Ok(files)
        };
        let definition =
            Self { files: read_files().map_err(|error| damaged_error(error.to_string()))? };
        match definition.digest() {
            found if found == *expected => Ok(definition),
            found => Err(damaged_error(format!("its files are {found}"))),
        }
    }

    /// Writes the files below `folder`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        for File { name, bytes, executable } in &self.files {
            let path = folder.join(name);
            let write_file = || -> std::io::Result<()> {
                fs::create_dir_all(path.parent().unwrap_or(folder))?;
                fs::write(&path, bytes)?;
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            };
            write_file().context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

/// Every regular file below `folder` in the order of names; `target` folders, where Cargo builds,
/// are left out.
pub fn list_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).context(|| format!("reading {}", next.display()))? {
            let entry = entry.context(|| format!("reading {}", next.display()))?;
            let kind = entry.file_type().context(|| format!("reading {}", next.display()))?;
            if kind.is_dir() && entry.file_name() != "target" {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("suite.toml", "x = 1\n"), ("a/b.txt", "b"), ("target/no", "no")] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let program = folder.path().join("program");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    #[test]
    fn comes_back_as_it_was_and_only_so() {
        let definition = Definition::read(folder().path()).unwrap();
        let (packed, digest) = (definition.pack(), definition.digest());
        assert_eq!(Definition::unpack(&packed, &digest, "here").unwrap(), definition);
        let into = tempfile::tempdir().unwrap();
        definition.write(into.path()).unwrap();
        assert_eq!(Definition::read(into.path()).unwrap(), definition);
        assert!(!into.path().join("target").exists());

        let part = definition.part("a");
        let names: Vec<&str> = part.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["b.txt"]);
        assert_eq!(definition.part("progra").files, []);
        let names = |part: Definition| -> Vec<String> {
            part.files.into_iter().map(|file| file.name).collect()
        };
        assert_eq!(
            names(definition.without(&BTreeSet::from(["suite.toml", "gone"]))),
            ["a/b.txt", "program"]
        );

        let other = Digest::of(b"other");
        let mut torn = packed.clone();
        torn.truncate(packed.len() / 2);
        for (bytes, expected) in [(&packed, &other), (&torn, &digest), (&Vec::new(), &digest)] {
            let error = Definition::unpack(bytes, expected, "definitions/x").unwrap_err();
            assert!(error.message.starts_with("definitions/x is damaged"), "{error}");
            assert!(error.hint.is_some());
        }
    }

    #[test]
    fn names_that_lead_outside_are_refused() {
        for name in ["../x", "/x", "a/../../x"] {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(0);
            header.set_mode(0o644);
            header.set_cksum();
            tar.append(&header, std::io::empty()).unwrap();
            let packed = zstd::encode_all(tar.into_inner().unwrap().as_slice(), 1).unwrap();
            let digest = Digest::of_parts([name, ""]);
            let error = Definition::unpack(&packed, &digest, "d").unwrap_err();
            assert!(error.message.contains("is no plain file"), "{name}: {error}");
        }
    }
}
