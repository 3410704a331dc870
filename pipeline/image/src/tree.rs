//! The tree of an image before it is on disk: members of packages or layers, merged.
//!
//! A member's parents are resolved through symbolic links already in the tree, as dpkg does on
//! a system whose `/bin` is a link to `usr/bin`; links are followed as a `chroot` would, so no
//! path ever leaves the root. Links at the top level are placed before anything else, so that
//! the order of packages does not matter for them.
//!
//! Pure: contents are names of spooled files.

use std::collections::BTreeMap;

use dyno_model::catalog::image::Image;
use serde::{Deserialize, Serialize};

use super::unpack::{Blob, Kind, Member};

/// Folders that containers need as mount points: the root is read-only.
const FOLDERS: [&str; 13] = [
    "proc",
    "sys",
    "dev",
    "tmp",
    "src",
    "build",
    "cargo",
    "inputs",
    "artifact",
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
    kind: NodeKind,
    mode: u32,
    uid: u64,
    gid: u64,
    /// Index of the source that placed it.
    source: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum NodeKind {
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
    /// Path relative to the root.
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
    /// A link to an earlier entry, relative to the root.
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
                tree.apply_whiteouts(members)?;
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
                    kind: NodeKind::File(Contents::Written(contents)),
                    mode,
                    uid: 0,
                    gid: 0,
                    source,
                },
            )
        };
        for link in &image.links {
            let kind = NodeKind::Symlink(link.target.clone());
            self.put(&link.path[1..], Node { kind, mode: 0o777, uid: 0, gid: 0, source })?;
        }
        for written in &image.files {
            let (path, node) = file(&written.path[1..], written.content.clone(), written.mode);
            self.put(&path, node)?;
        }
        let folders = FOLDERS.map(|path| (path, if path == "tmp" { 0o1777 } else { 0o755 }));
        for (path, mode) in folders {
            self.mount_point(path, Node { kind: NodeKind::Folder, mode, uid: 0, gid: 0, source })?;
        }
        for (path, mode) in FILES {
            let (path, node) = file(path, String::new(), mode);
            self.mount_point(&path, node)?;
        }
        Ok(())
    }

    /// The finished tree: entries, and for each file that is not a hard link its contents.
    pub fn entries(&self) -> Vec<(Entry, Option<&Contents>)> {
        let mut first: BTreeMap<&Blob, &str> = BTreeMap::new();
        let mut entries = Vec::with_capacity(self.nodes.len());
        for (path, node) in &self.nodes {
            let (kind, contents) = match &node.kind {
                NodeKind::Folder => (EntryKind::Folder, None),
                NodeKind::Symlink(target) => (EntryKind::Symlink { target: target.clone() }, None),
                NodeKind::File(Contents::Spooled(blob)) if first.contains_key(blob) => {
                    (EntryKind::Hardlink { target: first[blob].to_string() }, None)
                }
                NodeKind::File(contents @ Contents::Spooled(blob)) => {
                    first.insert(blob, path);
                    (EntryKind::File { size_bytes: blob.size_bytes }, Some(contents))
                }
                NodeKind::File(contents @ Contents::Written(text)) => {
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
        let kind = match &member.kind {
            Kind::Folder => NodeKind::Folder,
            Kind::File(blob) => NodeKind::File(Contents::Spooled(blob.clone())),
            Kind::Symlink(target) => NodeKind::Symlink(target.clone()),
            Kind::Hardlink(target) => {
                let target_place = self.resolve(target, source)?;
                match self.nodes.get(&target_place) {
                    Some(Node { kind: kind @ NodeKind::File(_), .. }) => kind.clone(),
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
        let node = Node { kind, mode: member.mode, uid: member.uid, gid: member.gid, source };
        let Some(present) = self.nodes.get(&place) else {
            self.nodes.insert(place, node);
            return Ok(());
        };
        match (&present.kind, &node.kind, overlap) {
            (NodeKind::Folder, NodeKind::Folder, Overlap::Refuse) => {}
            (NodeKind::Folder, NodeKind::Folder, Overlap::Replace) => {
                self.nodes.insert(place, node);
            }
            (_, _, Overlap::Replace) => self.replace(place, node),
            // As dpkg has it: a link to a folder stays where a package has the folder.
            (NodeKind::Symlink(_), NodeKind::Folder, _) => drop(self.folder(&member.path, source)?),
            (NodeKind::Folder, NodeKind::Symlink(_), _) => {}
            (NodeKind::Symlink(old), NodeKind::Symlink(new), _) if old == new => {}
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

    /// Makes sure that something of `node`'s kind is at `path`, for containers to mount over. A
    /// link of a package gives way, since a mount would follow it; one of image.toml may not.
    fn mount_point(&mut self, path: &str, node: Node) -> Result<(), String> {
        let place = self.resolve(path, node.source)?;
        let Some(present) = self.nodes.get(&place) else {
            self.nodes.insert(place, node);
            return Ok(());
        };
        match (&present.kind, &node.kind) {
            (NodeKind::Folder, NodeKind::Folder) | (NodeKind::File(_), NodeKind::File(_)) => Ok(()),
            (_, wanted) if present.source == node.source => {
                let kind = if *wanted == NodeKind::Folder { "folder" } else { "file" };
                Err(format!("/{path} must be a {kind}: containers mount there"))
            }
            _ => self.put(path, node),
        }
    }

    /// Places a node over whatever is there, but not over a folder.
    fn put(&mut self, path: &str, node: Node) -> Result<(), String> {
        let place = self.resolve(path, node.source)?;
        if matches!(self.nodes.get(&place), Some(Node { kind: NodeKind::Folder, .. })) {
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
        self.remove_below(place);
    }

    /// Removes all below `place`.
    fn remove_below(&mut self, place: &str) {
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
    fn apply_whiteouts(&mut self, members: &[Member]) -> Result<(), String> {
        for member in members.iter().filter(|m| is_whiteout(m, Overlap::Replace)) {
            let (folder, name) = member.path.rsplit_once('/').unwrap_or(("", &member.path));
            let name = name.strip_prefix(".wh.").unwrap_or(name);
            if name == ".wh..opq" {
                if folder.is_empty() {
                    self.nodes.clear();
                } else {
                    let place = self.resolve(folder, 0)?;
                    self.remove_below(&place);
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
        let mut folder = String::new();
        let mut links = 0;
        while let Some(part) = left.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    folder.truncate(folder.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = join(&folder, &part);
            match self.nodes.get(&next).map(|node| &node.kind) {
                Some(NodeKind::Folder) => folder = next,
                Some(NodeKind::File(_)) => {
                    return Err(format!(
                        "/{path} of {} leads through /{next}, which is a file",
                        self.name(source)
                    ));
                }
                Some(NodeKind::Symlink(target)) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(format!("/{path} goes through a loop of links"));
                    }
                    if target.starts_with('/') {
                        folder.clear();
                    }
                    left.extend(target.split('/').rev().map(str::to_string));
                }
                None => {
                    let node = Node { kind: NodeKind::Folder, mode: 0o755, uid: 0, gid: 0, source };
                    self.nodes.insert(next.clone(), node);
                    folder = next;
                }
            }
        }
        Ok(folder)
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_string() } else { format!("{folder}/{name}") }
}

fn is_whiteout(member: &Member, overlap: Overlap) -> bool {
    let name = member.path.rsplit('/').next().unwrap_or("");
    overlap == Overlap::Replace && name.starts_with(".wh.")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `path/` a folder, `path -> target` a link, `path => target` a hard link, else a file.
    fn members(lines: &str) -> Vec<Member> {
        let member = |(number, line): (usize, &str)| {
            let line = line.trim();
            let (path, kind) = if let Some((path, target)) = line.split_once(" -> ") {
                (path, Kind::Symlink(target.into()))
            } else if let Some((path, target)) = line.split_once(" => ") {
                (path, Kind::Hardlink(target.into()))
            } else if let Some(path) = line.strip_suffix('/') {
                (path, Kind::Folder)
            } else {
                let blob = Blob { path: format!("{line}#{number}").into(), size_bytes: 1 };
                (line, Kind::File(blob))
            };
            Member { path: path.into(), kind, mode: 0o755, uid: 0, gid: 0 }
        };
        lines.split(',').filter(|line| !line.trim().is_empty()).enumerate().map(member).collect()
    }

    fn print(tree: &Tree) -> String {
        let line = |(entry, _): (Entry, Option<&Contents>)| match entry.kind {
            EntryKind::Folder => format!("{}/", entry.path),
            EntryKind::File { .. } => entry.path,
            EntryKind::Symlink { target } => format!("{} -> {target}", entry.path),
            EntryKind::Hardlink { target } => format!("{} => {target}", entry.path),
        };
        tree.entries().into_iter().map(line).collect::<Vec<_>>().join(", ")
    }

    fn check(sources: &[&str], overlap: Overlap, expected: &str) {
        let all: Vec<(String, Vec<Member>)> =
            sources.iter().enumerate().map(|(n, s)| (format!("p{n}"), members(s))).collect();
        let found = match Tree::merge(&all, overlap) {
            Ok(tree) => print(&tree),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(found, expected, "{sources:?}");
    }

    #[test]
    fn packages_merge() {
        let refuse = |sources: &[&str], expected: &str| check(sources, Overlap::Refuse, expected);
        refuse(&["a/, a/x", "a/, a/y"], "a/, a/x, a/y");
        // Parents that no package has are made.
        refuse(&["a/b/x"], "a/, a/b/, a/b/x");
        // usr-merge, whichever package comes first, and also two links deep.
        let merged = "bin -> usr/bin, usr/, usr/bin/, usr/bin/ls, usr/bin/sh";
        refuse(&["bin -> usr/bin, usr/, usr/bin/", "bin/, bin/sh", "usr/bin/ls"], merged);
        refuse(&["bin/, bin/sh", "usr/bin/ls", "bin -> usr/bin"], merged);
        refuse(&["a -> b, b -> /c/d", "a/x"], "a -> b, b -> /c/d, c/, c/d/, c/d/x");
        // Links are followed as in a chroot: nothing leaves the root.
        refuse(&["a -> ../../../b", "a/x"], "a -> ../../../b, b/, b/x");
        refuse(&["a -> /", "a/x"], "a -> /, x");
        refuse(&["a -> b, b -> a", "a/x"], "error: /a goes through a loop of links");
        refuse(&["a", "a/x"], "error: /a of p1 leads through /a, which is a file");
        refuse(&["d/a", "d/a"], "error: /d/a is in two packages, p0 and p1");
        // Folders stay folders, links to folders stay links.
        refuse(&["d/a/, d/a/x", "d/a -> b"], "d/, d/a/, d/a/x");
        refuse(&["d/a -> b, d/b/", "d/a/"], "d/, d/a -> b, d/b/");
        // The first name of a file in the order of paths is the file.
        refuse(&["z, a => z"], "a, z => a");
        refuse(
            &["bin -> usr/bin, bin/z, usr/bin/a => bin/z"],
            "bin -> usr/bin, usr/, usr/bin/, usr/bin/a, usr/bin/z => usr/bin/a",
        );
        refuse(&["a => b"], "error: /a of p0 is a hard link to /b, which is no file");
    }

    #[test]
    fn layers_replace() {
        let replace = |sources: &[&str], expected: &str| check(sources, Overlap::Replace, expected);
        replace(&["a/, a/x, a/y", "a/.wh.x, b"], "a/, a/y, b");
        replace(&["a/, a/x, a/b/y", "a/, a/.wh..wh..opq, a/z"], "a/, a/z");
        replace(&["a/, a/x", ".wh.a, c"], "c");
        replace(&["a/, a/x", "a"], "a");
        replace(&["a -> b, b/", "a/, a/x"], "a/, a/x, b/");
        replace(&["a -> b, b/", "a/x"], "a -> b, b/, b/x");
        replace(&["a", ".wh..wh..opq, b"], "b");
        // A whiteout takes away from the layers below, not from its own.
        replace(&["x", ".wh.x, x"], "x");
    }

    #[test]
    fn every_image_has_the_mount_points() {
        let text = "architectures = [\"amd64\"]\nsuite = \"s\"\npackages = [\"aa\"]\n[[file]]\npath = \"/bin/x\"\ncontent = \"1\"\n[[link]]\npath = \"/bin/y\"\ntarget = \"x\"\n";
        let image = dyno_model::catalog::image::parse("i", "f", text).unwrap();
        let all =
            [("p".to_string(), members("bin -> usr/bin, etc/, etc/hosts -> /x, tmp -> x, bin/y"))];
        let mut tree = Tree::merge(&all, Overlap::Refuse).unwrap();
        tree.finish(&image).unwrap();
        insta::assert_snapshot!(print(&tree).replace(", ", "\n"));
        for wrong in [
            "[[file]]\npath = \"/proc\"\ncontent = \"\"",
            "[[link]]\npath = \"/etc/hosts\"\ntarget = \"x\"",
        ] {
            let image =
                dyno_model::catalog::image::parse("i", "f", &format!("{text}{wrong}")).unwrap();
            let mut tree = Tree::merge(&all, Overlap::Refuse).unwrap();
            assert!(tree.finish(&image).unwrap_err().contains("containers mount there"), "{wrong}");
        }
        for point in FOLDERS.into_iter().chain(FILES.map(|(path, _)| path)) {
            let node = &tree.nodes[point];
            assert!(matches!(node.kind, NodeKind::Folder | NodeKind::File(_)), "{point}");
        }
    }
}
