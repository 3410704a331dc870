//! `image.lock`: every package or manifest by its hash, and the image ID that must come of it.
//!
//! Its first line is a comment, its second the digest of every byte below; only dyno writes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::catalog::reader::{Located, Table, read};
use crate::id::Digest;
use crate::mistake::{Mistake, Mistakes};

/// Version of `image.lock` and of how trees become layers: raised when either changes, so that
/// an old lock is refused by name rather than by a digest that does not fit.
pub const LOCK_VERSION: u64 = 1;

/// `image.lock`: an image pinned to the byte, for each of its architectures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// [`Image::meaning`] of the `image.toml` it was made from.
    pub meaning: Digest,
    /// `Date` of the suite's signed index; `None` for a registry's image.
    pub released: Option<String>,
    /// Debian architecture → what is pinned for it.
    pub architectures: BTreeMap<String, Locked>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The image ID: SHA-256 of the image's configuration.
    pub id: Digest,
    pub pinned: Pinned,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pinned {
    /// Packages sorted by name.
    Packages(Vec<Package>),
    /// A registry's manifest for this architecture, and its size in bytes.
    Manifest { digest: Digest, size_bytes: u64 },
}

/// One binary package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// Path relative to the root of any mirror of the archive.
    pub path: String,
    pub size_bytes: u64,
    pub sha256: Digest,
}

const CHECKSUM_KEY: &str = "checksum = ";

impl Lock {
    /// The text of `image.lock` for the image `name`.
    pub fn write(&self, name: &str) -> String {
        let mut body = format!("version = {LOCK_VERSION}\nmeaning = \"{}\"\n", self.meaning);
        if let Some(released) = &self.released {
            writeln!(body, "released = {}", quote(released)).expect("a String takes all");
        }
        for (architecture, locked) in &self.architectures {
            write!(
                body,
                "\n[[architecture]]\nname = {}\nid = \"{}\"\n",
                quote(architecture),
                locked.id
            )
            .expect("a String takes all");
            match &locked.pinned {
                Pinned::Manifest { digest, size_bytes } => {
                    writeln!(body, "manifest = {{ digest = \"{digest}\", size = {size_bytes} }}")
                        .expect("a String takes all");
                }
                Pinned::Packages(packages) => {
                    body.push_str("packages = [\n");
                    for package in packages {
                        body.push_str(&package_line(package));
                    }
                    body.push_str("]\n");
                }
            }
        }
        let checksum = Digest::of(body.as_bytes());
        format!(
            "# Written by `dyno image lock {name}`; edits are refused.\n{CHECKSUM_KEY}\"{checksum}\"\n{body}"
        )
    }
}

fn package_line(package: &Package) -> String {
    let Package { name, version, path, size_bytes, sha256 } = package;
    format!(
        "  {{ name = {}, version = {}, path = {}, size = {size_bytes}, sha256 = \"{}\" }},\n",
        quote(name),
        quote(version),
        quote(path),
        sha256.hex()
    )
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_string()).to_string()
}

/// Reads `image.lock` of the image `name`, as [`Lock::write`] wrote it.
///
/// An edit is the only mistake reported when there is one: what else a hand left behind in a
/// file that no hand should touch does not help.
pub fn parse_lock(name: &str, file: &str, text: &str) -> Result<Lock, Mistakes> {
    if let Some(span) = edited(text) {
        let mistake = Mistake {
            span,
            message: "the lock was edited: its checksum is not that of the lines below it".into(),
            expected: "the file as `dyno image lock` wrote it".into(),
            hint: Some(format!(
                "restore it from version control, or pin anew: dyno image lock {name}"
            )),
        };
        return Err(Mistakes { file: file.into(), text: text.into(), list: vec![mistake] });
    }
    read(file, text, |table| {
        table.required_str("checksum");
        let version = table.optional_integer("version", 0..=u64::MAX >> 1);
        if version != Some(LOCK_VERSION) {
            table.note(
                table.span(),
                "the lock was written by another version of dyno",
                format!("version {LOCK_VERSION}"),
                Some(format!("pin anew: dyno image lock {name}")),
            );
        }
        let meaning = table.required_str("meaning");
        let meaning = digest(table, meaning);
        let released = table.optional_str("released").map(|released| released.value);
        let architectures = table.tables("architecture", |table| {
            let name = table.required_str("name")?.value;
            let id = table.required_str("id");
            let id = digest(table, id);
            let manifest = table.optional_table("manifest", |table| {
                let written = table.required_str("digest");
                let digest = digest(table, written);
                let size = table.optional_integer("size", 0..=1 << 30);
                Some(Pinned::Manifest { digest: digest?, size_bytes: size? })
            });
            let pinned =
                manifest.unwrap_or_else(|| Pinned::Packages(table.tables("packages", package)));
            Some((name, Locked { id: id?, pinned }))
        });
        let architectures = architectures.into_iter().collect();
        Some(Lock { meaning: meaning?, released, architectures })
    })
}

/// Where the checksum stands or should stand, if it is not that of the lines below it.
fn edited(text: &str) -> Option<Range<usize>> {
    let start = text.find('\n').map_or(text.len(), |comment| comment + 1);
    let (line, body) = text[start..].split_once('\n').unwrap_or((&text[start..], ""));
    let is_good = text.starts_with('#')
        && line == format!("{CHECKSUM_KEY}\"{}\"", Digest::of(body.as_bytes()));
    (!is_good).then_some(start..start + line.len())
}

fn digest(table: &Table<'_>, written: Option<Located<String>>) -> Option<Digest> {
    let Located { value, span } = written?;
    let digest = value.parse();
    if digest.is_err() {
        table.note(
            span,
            format!("\"{}\" is not a digest", value.escape_debug()),
            "sha256: and 64 hexadecimal digits",
            None,
        );
    }
    digest.ok()
}

fn package(table: &mut Table<'_>) -> Option<Package> {
    let name = table.required_str("name");
    let version = table.required_str("version");
    let path = table.required_str("path");
    let size = table.optional_integer("size", 0..=1 << 40);
    let sha256 = table.required_str("sha256");
    let sha256 = digest(table, sha256);
    let path = path?;
    if !is_archive_path(&path.value) {
        table.note(path.span, "`path` leaves the archive", "a path below the mirror's root", None);
        return None;
    }
    Some(Package {
        name: name?.value,
        version: version?.value,
        path: path.value,
        size_bytes: size?,
        sha256: sha256?,
    })
}

/// Whether `path` can be put behind a mirror's address and stay below it.
pub fn is_archive_path(path: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "+-._~:%".contains(c);
    path.split('/').all(|part| !matches!(part, "" | "." | "..") && part.chars().all(is_allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        let package = |name: &str| Package {
            name: name.into(),
            version: "1:2.0~rc1-1+b2".into(),
            path: format!("pool/main/{name}_2.0_amd64.deb"),
            size_bytes: 12,
            sha256: Digest::of(name.as_bytes()),
        };
        let manifest = Pinned::Manifest { digest: Digest::of(b"m"), size_bytes: 3 };
        let packages = Pinned::Packages(vec![package("bash"), package("dash")]);
        Lock {
            meaning: Digest::of(b"meaning"),
            released: Some("Sat, 12 Sep 2026 07:55:41 UTC".into()),
            architectures: BTreeMap::from([
                ("amd64".into(), Locked { id: Digest::of(b"1"), pinned: packages }),
                ("arm64".into(), Locked { id: Digest::of(b"2"), pinned: manifest }),
            ]),
        }
    }

    #[test]
    fn a_lock_reads_as_it_was_written() {
        let text = lock().write("i");
        assert_eq!(parse_lock("i", "images/i/image.lock", &text), Ok(lock()));
    }

    #[test]
    fn any_edit_of_a_lock_is_named() {
        let text = lock().write("i");
        for (from, to) in [
            ("size = 12", "size = 13"),
            ("bash_2.0", "bash_2.1"),
            ("version = 1\n", "version = 1\n# a comment\n"),
            ("checksum = \"sha256:", "checksum = \"sha256:0"),
            ("checksum", "# checksum"),
            ("# Written", "architecture = []\n# Written"),
            ("},\n]\n", "},\n]"),
        ] {
            let edited = text.replacen(from, to, 1);
            assert_ne!(edited, text, "{from}");
            let message = parse_lock("i", "images/i/image.lock", &edited).unwrap_err().to_string();
            assert!(message.contains("the lock was edited"), "{from}: {message}");
            assert!(message.contains("dyno image lock i"), "{from}: {message}");
        }
    }

    #[test]
    fn a_lock_of_another_version_or_with_a_foreign_path_is_refused() {
        let sealed =
            |body: &str| format!("# x\nchecksum = \"{}\"\n{body}", Digest::of(body.as_bytes()));
        let text = lock().write("i");
        let body = text.split_once("version").map(|(_, rest)| format!("version{rest}")).unwrap();
        let message = |body: &str| parse_lock("i", "l", &sealed(body)).unwrap_err().to_string();
        assert!(
            message(&body.replace("version = 1\n", "version = 9\n")).contains("another version")
        );
        assert!(message(&body.replace("pool/main/bash", "pool/../../bash")).contains("leaves"));
        assert!(message(&body.replace("pool/main/bash", "//example.org/bash")).contains("leaves"));
    }
}
