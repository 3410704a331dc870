//! The tree of an image before it is on disk: members of packages or layers, merged.
//!
//! A member's parents are resolved through symbolic links already in the tree, as dpkg does on
//! a system whose `/bin` is a link to `usr/bin`; links are followed as a `chroot` would, so no
//! path ever leaves the root. Links at the top level are placed before anything else, so that
//! the order of packages does not matter for them.
//!
//! Pure: contents are names of spooled files.

use std::collections::{BTreeMap, BTreeSet};

use dyno_model::catalog::image::Image;
use serde::{Deserialize, Serialize};

use super::unpack::{Blob, Kind, Member};

/// Folders that containers need as mount points: the root is read-only.
const FOLDERS: [&str; 15] = [
    "proc",
    "sys",
    "dev",
    "tmp",
    "src",
    "build",
    "cargo",
    "inputs",
    "artifact",
    "artifact/baseline",
    "artifact/candidate",
    "suite",
    "dyno",
    "etc",
    "etc/ssl/certs",
];

/// Files that containers need as mount points, with their permissions.
const FILES: [(&str, u32); 4] = [
    ("etc/resolv.conf", 0o644),
    ("etc/hosts", 0o644),
    ("etc/ssl/certs/ca-certificates.crt", 0o644),
    ("dyno/probe", 0o755),
];

/// Links followed in one path before it counts as a loop, as in Linux.
const LINKS_MAX: usize = 40;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    what: What,
    mode: u32,
    uid: u64,
    gid: u64,
    /// Index of the source that placed it.
    source: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Folder,
    /// Nodes of one blob are one file with several names.
    File(Contents),
    Symlink(String),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contents {
    Spooled(Blob),
    Written(String),
}

/// One entry of the finished tree, in the order of paths, parents first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative to the root.
    pub path: String,
    #[serde(flatten)]
    pub kind: EntryKind,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum EntryKind {
    Folder,
    File {
        size_bytes: u64,
    },
    Symlink {
        target: String,
    },
    /// To an earlier entry, relative to the root.
    Hardlink {
        target: String,
    },
}

/// What happens when two sources give the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Packages: folders are shared, anything else is a mistake of the archive.
    Refuse,
    /// Layers of a registry's image: the later wins, and whiteouts take away.
    Replace,
}

#[derive(Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
    sources: Vec<String>,
}

impl Tree {
    /// Merges packages or layers, each with its name for messages, in the order given.
    pub fn merge(all: &[(String, Vec<Member>)], overlap: Overlap) -> Result<Self, String> {
        let mut tree = Self::default();
        if overlap == Overlap::Refuse {
            for (source, members) in all {
                let source = tree.source(source);
                for member in members.iter().filter(|m| !m.path.contains('/')) {
                    if matches!(member.kind, Kind::Symlink(_)) {
                        tree.add(member, source, overlap)?;
                    }
                }
            }
            tree.sources.clear();
        }
        for (source, members) in all {
            let source = tree.source(source);
            if overlap == Overlap::Replace {
                tree.take_away(members)?;
            }
            for member in members.iter().filter(|m| !is_whiteout(m, overlap)) {
                tree.add(member, source, overlap)?;
            }
        }
        Ok(tree)
    }

    /// Adds what `image.toml` writes, then the mount points that are still missing.
    pub fn finish(&mut self, image: &Image) -> Result<(), String> {
        let source = self.source("image.toml");
        let file = |path: &str, contents: String, mode: u32| {
            (
                path.to_string(),
                Node {
                    what: What::File(Contents::Written(contents)),
                    mode,
                    uid: 0,
                    gid: 0,
                    source,
                },
            )
        };
        for link in &image.links {
            let what = What::Symlink(link.target.clone());
            self.put(&link.path[1..], Node { what, mode: 0o777, uid: 0, gid: 0, source })?;
        }
        for written in &image.files {
            let (path, node) = file(&written.path[1..], written.content.clone(), written.mode);
            self.put(&path, node)?;
        }
        for path in FOLDERS {
            let mode = if path == "tmp" { 0o1777 } else { 0o755 };
            let place = self.resolve(path, source)?;
            // A link in this place would lead a mount elsewhere.
            if !matches!(self.nodes.get(&place), Some(Node { what: What::Folder, .. })) {
                self.put(path, Node { what: What::Folder, mode, uid: 0, gid: 0, source })?;
            }
        }
        for (path, mode) in FILES {
            let place = self.resolve(path, source)?;
            if !matches!(self.nodes.get(&place), Some(Node { what: What::File(_), .. })) {
                let (path, node) = file(path, String::new(), mode);
                self.put(&path, node)?;
            }
        }
        Ok(())
    }

    /// The finished tree: entries, and for each file that is not a hard link its contents.
    pub fn entries(&self) -> Vec<(Entry, Option<&Contents>)> {
        let mut first: BTreeMap<&Blob, &str> = BTreeMap::new();
        let mut entries = Vec::with_capacity(self.nodes.len());
        for (path, node) in &self.nodes {
            let (kind, contents) = match &node.what {
                What::Folder => (EntryKind::Folder, None),
                What::Symlink(target) => (EntryKind::Symlink { target: target.clone() }, None),
                What::File(Contents::Spooled(blob)) if first.contains_key(blob) => {
                    (EntryKind::Hardlink { target: first[blob].to_string() }, None)
                }
                What::File(contents @ Contents::Spooled(blob)) => {
                    first.insert(blob, path);
                    (EntryKind::File { size_bytes: blob.size_bytes }, Some(contents))
                }
                What::File(contents @ Contents::Written(text)) => {
                    (EntryKind::File { size_bytes: text.len() as u64 }, Some(contents))
                }
            };
            let Node { mode, uid, gid, .. } = *node;
            entries.push((Entry { path: path.clone(), kind, mode, uid, gid }, contents));
        }
        entries
    }

    fn source(&mut self, name: &str) -> usize {
        self.sources.push(name.to_string());
        self.sources.len() - 1
    }

    fn name(&self, source: usize) -> &str {
        self.sources.get(source).map_or("a package", String::as_str)
    }

    fn add(&mut self, member: &Member, source: usize, overlap: Overlap) -> Result<(), String> {
        if member.path.is_empty() {
            return Ok(());
        }
        let place = self.resolve(&member.path, source)?;
        let what = match &member.kind {
            Kind::Folder => What::Folder,
            Kind::File(blob) => What::File(Contents::Spooled(blob.clone())),
            Kind::Symlink(target) => What::Symlink(target.clone()),
            Kind::Hardlink(target) => {
                let target_place = self.resolve(target, source)?;
                match self.nodes.get(&target_place) {
                    Some(Node { what: what @ What::File(_), .. }) => what.clone(),
                    _ => {
                        return Err(format!(
                            "/{} of {} is a hard link to /{target}, which is no file",
                            member.path,
                            self.name(source)
                        ));
                    }
                }
            }
        };
        let node = Node { what, mode: member.mode, uid: member.uid, gid: member.gid, source };
        let Some(present) = self.nodes.get(&place) else {
            self.nodes.insert(place, node);
            return Ok(());
        };
        match (&present.what, &node.what, overlap) {
            (What::Folder, What::Folder, Overlap::Refuse) => {}
            (What::Folder, What::Folder, Overlap::Replace) => {
                self.nodes.insert(place, node);
            }
            (_, _, Overlap::Replace) => self.replace(place, node),
            // As dpkg has it: a link to a folder stays where a package has the folder.
            (What::Symlink(_), What::Folder, _) => drop(self.folder(&member.path, source)?),
            (What::Folder, What::Symlink(_), _) => {}
            (What::Symlink(old), What::Symlink(new), _) if old == new => {}
            _ => {
                return Err(format!(
                    "/{place} is in two packages, {} and {}",
                    self.name(present.source),
                    self.name(source)
                ));
            }
        }
        Ok(())
    }

    /// Places a node over whatever is there, but not over a folder.
    fn put(&mut self, path: &str, node: Node) -> Result<(), String> {
        let place = self.resolve(path, node.source)?;
        if matches!(self.nodes.get(&place), Some(Node { what: What::Folder, .. })) {
            return Err(format!("/{path} is a folder of {}", self.name(self.nodes[&place].source)));
        }
        self.nodes.insert(place, node);
        Ok(())
    }

    fn replace(&mut self, place: String, node: Node) {
        self.remove(&place);
        self.nodes.insert(place, node);
    }

    fn remove(&mut self, place: &str) {
        self.nodes.remove(place);
        self.empty(place);
    }

    /// Removes all below `place`.
    fn empty(&mut self, place: &str) {
        let below = format!("{place}/");
        let gone: Vec<String> = self
            .nodes
            .range(below.clone()..)
            .map(|(path, _)| path.clone())
            .take_while(|path| path.starts_with(&below))
            .collect();
        for path in gone {
            self.nodes.remove(&path);
        }
    }

    /// Applies a layer's whiteouts (OCI image specification, "Whiteouts") to the layers below.
    fn take_away(&mut self, members: &[Member]) -> Result<(), String> {
        for member in members.iter().filter(|m| is_whiteout(m, Overlap::Replace)) {
            let (folder, name) = member.path.rsplit_once('/').unwrap_or(("", &member.path));
            let name = name.strip_prefix(".wh.").unwrap_or(name);
            if name == ".wh..opq" {
                if folder.is_empty() {
                    self.nodes.clear();
                } else {
                    let place = self.resolve(folder, 0)?;
                    self.empty(&place);
                }
            } else if !matches!(name, "" | "." | "..") {
                let path = if folder.is_empty() { name.into() } else { format!("{folder}/{name}") };
                let place = self.resolve(&path, 0)?;
                self.remove(&place);
            }
        }
        Ok(())
    }

    /// Where `path` stands: its parents resolved through links, and made where missing; its
    /// last part as it is.
    fn resolve(&mut self, path: &str, source: usize) -> Result<String, String> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.folder(parent, source)?;
        Ok(join(&parent, name))
    }

    /// The real folder that `path` leads to, made where missing.
    fn folder(&mut self, path: &str, source: usize) -> Result<String, String> {
        let mut left: Vec<String> = path.split('/').rev().map(str::to_string).collect();
        let mut here = String::new();
        let mut links = 0;
        while let Some(part) = left.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    here.truncate(here.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = join(&here, &part);
            match self.nodes.get(&next).map(|node| &node.what) {
                Some(What::Folder) => here = next,
                Some(What::File(_)) => {
                    return Err(format!(
                        "/{path} of {} leads through /{next}, which is a file",
                        self.name(source)
                    ));
                }
                Some(What::Symlink(target)) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(format!("/{path} goes through a loop of links"));
                    }
                    if target.starts_with('/') {
                        here.clear();
                    }
                    left.extend(target.split('/').rev().map(str::to_string));
                }
                None => {
                    let folder = Node { what: What::Folder, mode: 0o755, uid: 0, gid: 0, source };
                    self.nodes.insert(next.clone(), folder);
                    here = next;
                }
            }
        }
        Ok(here)
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_string() } else { format!("{folder}/{name}") }
}

fn is_whiteout(member: &Member, overlap: Overlap) -> bool {
    let name = member.path.rsplit('/').next().unwrap_or("");
    overlap == Overlap::Replace && name.starts_with(".wh.")
}

/// The paths of every mount point, for tests of whoever mounts there.
pub fn mount_points() -> BTreeSet<&'static str> {
    FOLDERS.into_iter().chain(FILES.map(|(path, _)| path)).collect()
}
