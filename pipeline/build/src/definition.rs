//! Definitions: folders of the catalog as they were when a run used them, small enough to be kept
//! in the store. A suite's folder, or `image.toml` with its `image.lock`, is named by the digest
//! of its files and packed as a tar under zstd; what comes out of the store is believed only if
//! its files have the digest that the run row names.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use dyno_model::catalog::suite::is_plain_path;
use dyno_model::id::Digest;

use dyno_base::error::{Error, Result, WithContext};

/// The most that one definition may hold, in bytes; a larger suite is not kept in the store.
pub const DEFINITION_MAX: u64 = 64 << 20;

/// The most links that one name may lead through, as under Linux (path_resolution(7)).
const LINKS_MAX: u32 = 40;

/// The files of a folder in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    files: Vec<File>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    /// Name relative to the folder.
    name: String,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Bytes {
        bytes: Vec<u8>,
        executable: bool,
    },
    /// A link, as it was written.
    Link(String),
}

impl Content {
    fn len(&self) -> usize {
        match self {
            Self::Bytes { bytes, .. } => bytes.len(),
            Self::Link(target) => target.len(),
        }
    }
}

impl Definition {
    /// Reads every file and link below `folder` but those in `target` folders.
    ///
    /// # Errors
    /// All links that lead out of it, and what is neither file nor link: another machine, a
    /// container and the store have it not.
    pub fn read(folder: &Path) -> Result<Self> {
        let definition = Self::read_files(folder, &list_files(folder)?)?;
        let wrong = definition.outward_links();
        if wrong.is_empty() {
            return Ok(definition);
        }
        Err(Error::input(format!("in {}: {}", folder.display(), wrong.join("; "))).hint(
            "what is measured is a copy of the folder: bring the file into it, or link to one of its files",
        ))
    }

    /// Reads the image in `folder`: what is built of it depends on nothing else there.
    pub fn read_image(folder: &Path) -> Result<Self> {
        let files = ["image.lock", "image.toml"]
            .map(|name| Ok(File { name: name.into(), content: read_content(&folder.join(name))? }));
        Ok(Self { files: files.into_iter().collect::<Result<_>>()? })
    }

    fn read_files(folder: &Path, paths: &[PathBuf]) -> Result<Self> {
        let read_file = |path: &PathBuf| {
            let doing = || format!("reading {}", path.display());
            let not_text = || Error::input(format!("{} is no UTF-8", path.display()));
            let name = path.strip_prefix(folder).unwrap_or(path).to_str().ok_or_else(not_text)?;
            let content = match path.is_symlink() {
                true => {
                    let target = fs::read_link(path).context(doing)?;
                    Content::Link(target.to_str().ok_or_else(not_text)?.to_string())
                }
                false => read_content(path)?,
            };
            Ok(File { name: name.to_string(), content })
        };
        Ok(Self { files: paths.iter().map(read_file).collect::<Result<_>>()? })
    }

    /// The part of the definition that lies in `folder`.
    pub fn part(&self, folder: &str) -> Self {
        let folder = self.resolve(folder).unwrap_or_else(|| folder.to_string());
        let below_folder = |file: &File| {
            let name = file.name.strip_prefix(&folder)?.strip_prefix('/')?.to_string();
            Some(File { name, ..file.clone() })
        };
        Self { files: self.files.iter().filter_map(below_folder).collect() }
    }

    /// The definition without the files of these names.
    pub fn without(&self, names: &BTreeSet<&str>) -> Self {
        let is_left = |file: &&File| !names.contains(file.name.as_str());
        Self { files: self.files.iter().filter(is_left).cloned().collect() }
    }

    /// The content of the file that `name` leads to, through links too.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        match &self.find(&self.resolve(name)?)?.content {
            Content::Bytes { bytes, .. } => Some(bytes),
            Content::Link(_) => None,
        }
    }

    fn find(&self, name: &str) -> Option<&File> {
        let place =
            self.files.binary_search_by(|file| path_order(&file.name).cmp(path_order(name)));
        place.ok().map(|place| &self.files[place])
    }

    /// The name that `name` leads to, through links, whether or not there is anything; `None` if
    /// that is outside, or nowhere.
    pub fn resolve(&self, name: &str) -> Option<String> {
        let mut pending: VecDeque<&str> = name.split('/').collect();
        let mut reached: Vec<&str> = Vec::new();
        let mut links = 0;
        while let Some(part) = pending.pop_front() {
            match part {
                "" | "." => continue,
                ".." => {
                    reached.pop()?;
                    continue;
                }
                part => reached.push(part),
            }
            let Some(File { content: Content::Link(target), .. }) = self.find(&reached.join("/"))
            else {
                continue;
            };
            links += 1;
            if target.starts_with('/') || links > LINKS_MAX {
                return None;
            }
            reached.pop();
            for part in target.split('/').rev() {
                pending.push_front(part);
            }
        }
        Some(reached.join("/"))
    }

    /// What is wrong with its links, a phrase each: those that lead out of the folder, and those
    /// into what is left out of it.
    fn outward_links(&self) -> Vec<String> {
        let wrong = |file: &File| {
            let Content::Link(target) = &file.content else { return None };
            let name = &file.name;
            match self.resolve(name) {
                None => Some(format!("{name} is a link out of the folder, to {target}")),
                Some(reached)
                    if self.find(&reached).is_none()
                        && reached.split('/').any(|part| part == "target") =>
                {
                    Some(format!("{name} is a link into a folder `target`, which is left out"))
                }
                Some(_) => None,
            }
        };
        self.files.iter().filter_map(wrong).collect()
    }

    /// Digest of every file: name and content, whether it may be executed, and where a link leads.
    /// Files without any of these have the digest that they had before it knew them.
    pub fn digest(&self) -> Digest {
        // No name begins with a NUL.
        let mark = |kind: &str, name: &str| format!("\0{kind}\0{name}").into_bytes();
        Digest::of_parts(self.files.iter().flat_map(|File { name, content }| match content {
            Content::Bytes { bytes, executable: false } => {
                [name.clone().into_bytes(), bytes.clone()]
            }
            Content::Bytes { bytes, executable: true } => [mark("executable", name), bytes.clone()],
            Content::Link(target) => [mark("link", name), target.clone().into_bytes()],
        }))
    }

    /// The digest by which runs knew it that were made before modes and links counted.
    fn former_digest(&self) -> Option<Digest> {
        let mut parts = Vec::new();
        for File { name, content } in &self.files {
            let Content::Bytes { bytes, .. } = content else { return None };
            parts.extend([name.as_bytes(), bytes.as_slice()]);
        }
        Some(Digest::of_parts(parts))
    }

    /// Whether it may be kept in the store.
    pub fn is_small(&self) -> bool {
        self.files.iter().map(|file| file.content.len() as u64).sum::<u64>() <= DEFINITION_MAX
    }

    /// Packs the definition as the store keeps it. Equal definitions pack alike, whoever owns their
    /// files.
    pub fn pack(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for File { name, content } in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_mtime(1);
            match content {
                Content::Bytes { bytes, executable } => {
                    header.set_size(bytes.len() as u64);
                    header.set_mode(if *executable { 0o755 } else { 0o644 });
                    tar.append_data(&mut header, name, bytes.as_slice()).expect("a Vec takes all");
                }
                Content::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    header.set_mode(0o777);
                    tar.append_link(&mut header, name, target).expect("a Vec takes all");
                }
            }
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
        let files = unpack_files(packed).map_err(|error| damaged_error(error.to_string()))?;
        let definition = Self { files };
        if let Some(wrong) = definition.outward_links().first() {
            return Err(damaged_error(wrong.clone()));
        }
        match definition.digest() {
            found if found == *expected => Ok(definition),
            _ if definition.former_digest().as_ref() == Some(expected) => Ok(definition),
            found => Err(damaged_error(format!("its files are {found}"))),
        }
    }

    /// Writes the files and links below `folder`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let write = |File { name, content }: &File| {
            let path = folder.join(name);
            let write_file = || -> std::io::Result<()> {
                fs::create_dir_all(path.parent().unwrap_or(folder))?;
                match content {
                    Content::Bytes { bytes, executable } => {
                        fs::write(&path, bytes)?;
                        let mode = if *executable { 0o755 } else { 0o644 };
                        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                    }
                    Content::Link(target) => std::os::unix::fs::symlink(target, &path),
                }
            };
            write_file().context(|| format!("writing {}", path.display()))
        };
        // Links come last: no file is written through one.
        let is_link = |file: &&File| matches!(file.content, Content::Link(_));
        self.files.iter().filter(|file| !is_link(file)).try_for_each(write)?;
        self.files.iter().filter(is_link).try_for_each(write)
    }
}

/// What the file at `path` holds.
fn read_content(path: &Path) -> Result<Content> {
    let doing = || format!("reading {}", path.display());
    let mode = fs::metadata(path).context(doing)?.permissions().mode();
    let bytes = fs::read(path).context(doing)?;
    Ok(Content::Bytes { bytes, executable: mode & 0o100 != 0 })
}

/// The files of a packed definition.
fn unpack_files(packed: &[u8]) -> std::io::Result<Vec<File>> {
    // Bounded before it is unpacked: a few bytes may stand for terabytes.
    let tar = zstd::Decoder::new(packed)?.take(2 * DEFINITION_MAX);
    let mut files = Vec::new();
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_symlink()) || !is_plain_path(&name) {
            return Err(std::io::Error::other(format!("{name:?} is no plain file")));
        }
        let content = match entry.link_name_bytes() {
            Some(target) if kind.is_symlink() => {
                Content::Link(String::from_utf8_lossy(&target).into_owned())
            }
            _ => {
                let executable = entry.header().mode()? & 0o100 != 0;
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                Content::Bytes { bytes, executable }
            }
        };
        files.push(File { name, content });
    }
    files.sort_by(|a, b| path_order(&a.name).cmp(path_order(&b.name)));
    Ok(files)
}

/// The order of names: that of paths, part by part.
fn path_order(name: &str) -> &Path {
    Path::new(name)
}

/// Every file and link below `folder` in the order of names; `target` folders, where Cargo builds,
/// are left out.
pub fn list_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).context(|| format!("reading {}", next.display()))? {
            let entry = entry.context(|| format!("reading {}", next.display()))?;
            let kind = entry.file_type().context(|| format!("reading {}", next.display()))?;
            if kind.is_dir() {
                if entry.file_name() != "target" {
                    folders.push(entry.path());
                }
            } else if kind.is_file() || kind.is_symlink() {
                files.push(entry.path());
            } else {
                let path = entry.path();
                return Err(Error::input(format!("{} is no file, link or folder", path.display())));
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

    fn linked(folder: &Path, links: &[(&str, &str)]) {
        for (name, target) in links {
            std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
        }
    }

    /// Stores hold the first: it is what it was before modes and links counted.
    #[test]
    fn content_modes_and_links_are_in_the_digest() {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        fs::set_permissions(path("program"), fs::Permissions::from_mode(0o644)).unwrap();
        let digest = || Definition::read(folder.path()).unwrap().digest();
        let plain = digest();
        let parts = ["a/b.txt", "b", "program", "#!/bin/sh\n", "suite.toml", "x = 1\n"];
        assert_eq!(plain, Digest::of_parts(parts));
        let mut seen = vec![plain.clone()];
        let mut note = |what: &str| {
            assert!(!seen.contains(&digest()), "{what}");
            seen.push(digest());
        };
        linked(folder.path(), &[("input", "program")]);
        note("a link");
        fs::remove_file(path("input")).unwrap();
        linked(folder.path(), &[("input", "a/b.txt")]);
        note("a link to another file");
        fs::remove_file(path("input")).unwrap();
        fs::write(path("input"), "a/b.txt").unwrap();
        note("a file of the same content as the link");
        fs::remove_file(path("input")).unwrap();
        fs::set_permissions(path("program"), fs::Permissions::from_mode(0o755)).unwrap();
        note("an executable");
        // What older runs named by another digest is still theirs.
        let definition = Definition::read(folder.path()).unwrap();
        assert_eq!(Definition::unpack(&definition.pack(), &plain, "d").unwrap(), definition);
    }

    #[test]
    fn links_inside_are_kept_and_links_outside_are_mistakes() {
        let outside = |links: &[(&str, &str)]| {
            let folder = folder();
            linked(folder.path(), links);
            Definition::read(folder.path()).map_err(|error| error.message)
        };
        let inside = [("a/up", "../program"), ("dir", "a"), ("chain", "dir/up"), ("gone", "a/no")];
        let definition = outside(&inside).unwrap();
        let into = tempfile::tempdir().unwrap();
        definition.write(into.path()).unwrap();
        assert_eq!(Definition::read(into.path()).unwrap(), definition);
        assert_eq!(definition.bytes("chain"), Some(&b"#!/bin/sh\n"[..]));
        assert_eq!((definition.bytes("gone"), definition.bytes("dir")), (None, None));
        assert_eq!(definition.part("dir"), definition.part("a"));
        let packed = definition.pack();
        assert_eq!(Definition::unpack(&packed, &definition.digest(), "d").unwrap(), definition);

        for (links, names) in [
            (&[("x", "/etc/passwd")][..], &["x is a link out"][..]),
            (&[("x", "../shared"), ("a/y", "../../z")], &["x is a link out", "a/y is a link out"]),
            // By its letters it stays inside, by the folder that it goes through it does not.
            (&[("a/root", ".."), ("y", "a/root/../z")], &["y is a link out"]),
            (&[("loop", "loop")], &["loop is a link out"]),
            (&[("built", "target/no")], &["built is a link into a folder `target`"]),
        ] {
            let error = outside(links).unwrap_err();
            for name in names {
                assert!(error.contains(name), "{name}: {error}");
            }
        }
        let fifo = folder();
        let made = std::process::Command::new("mkfifo").arg(fifo.path().join("pipe")).status();
        assert!(made.unwrap().success());
        let error = Definition::read(fifo.path()).unwrap_err();
        assert!(error.message.ends_with("pipe is no file, link or folder"), "{error}");
    }

    /// A store may be anybody's.
    #[test]
    fn nothing_is_written_through_a_link() {
        let file = |name: &str, content| File { name: name.into(), content };
        let bytes = || Content::Bytes { bytes: b"x".to_vec(), executable: false };
        let elsewhere = Content::Link("/tmp".into());
        let definition = Definition { files: vec![file("a", elsewhere), file("a/evil", bytes())] };
        let error = Definition::unpack(&definition.pack(), &definition.digest(), "d").unwrap_err();
        assert!(error.message.contains("a is a link out"), "{error}");
        let into = tempfile::tempdir().unwrap();
        assert!(definition.write(into.path()).is_err());
        assert!(into.path().join("a/evil").exists() && !into.path().join("a").is_symlink());
    }
}
