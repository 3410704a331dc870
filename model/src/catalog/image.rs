//! `images/<name>/image.toml`: what an environment holds. `image.lock` pins it to the byte.
//!
//! An image comes from packages of a Debian suite or from a registry, by digest. People write
//! the former file; dyno alone writes the latter, and its second line is the digest of every
//! byte below it, so that an edit by hand is found and named instead of being built. The lock
//! also holds the digest of what `image.toml` *means* ([`Image::meaning`]): comments and order
//! may change freely, anything else asks for a new lock.
//!
//! Nothing here knows a mirror or a network: paths in the lock are relative to whatever mirror
//! the machine uses.

mod lock;

use std::collections::BTreeSet;

use serde::Serialize;

use super::reader::{Located, Table, is_name, one_of, read, suggest};
use crate::id::Digest;
use crate::mistake::Mistakes;

pub use self::lock::{LOCK_VERSION, Lock, Locked, Package, Pinned, is_archive_path, parse_lock};

/// Debian's name, the OCI name and variant, and `uname -m` of each architecture.
const ARCHITECTURES: [(&str, &str, Option<&str>, &str); 8] = [
    ("amd64", "amd64", None, "x86_64"),
    ("arm64", "arm64", None, "aarch64"),
    ("armel", "arm", Some("v5"), "armv5tel"),
    ("armhf", "arm", Some("v7"), "armv7l"),
    ("i386", "386", None, "i686"),
    ("ppc64el", "ppc64le", None, "ppc64le"),
    ("riscv64", "riscv64", None, "riscv64"),
    ("s390x", "s390x", None, "s390x"),
];

/// Debian's name for what `uname -m` (or Rust's `std::env::consts::ARCH`) says.
pub fn debian_architecture(machine: &str) -> Option<&'static str> {
    let machine = match machine {
        "x86" => "i686",
        "powerpc64" => "ppc64le",
        other => other,
    };
    ARCHITECTURES.iter().find(|a| a.3 == machine).map(|a| a.0)
}

/// The OCI `architecture` and `variant` of a Debian architecture.
pub fn oci_architecture(debian: &str) -> Option<(&'static str, Option<&'static str>)> {
    ARCHITECTURES.iter().find(|a| a.0 == debian).map(|a| (a.1, a.2))
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    pub name: String,
    /// Debian names, sorted, at least one.
    pub architectures: Vec<String>,
    pub origin: Origin,
    /// Symbolic links added after everything else, by path.
    pub links: Vec<Link>,
    /// Files added after everything else, by path.
    pub files: Vec<File>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// `packages` (sorted) of a suite, with what they depend on.
    Debian {
        suite: String,
        packages: Vec<String>,
    },
    Registry(Reference),
}

/// `host/repository@sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reference {
    /// Name of the host, with the port if one was written.
    pub host: String,
    pub repository: String,
    /// Digest of a manifest or of an index of manifests.
    pub digest: Digest,
}

/// `path` is absolute and has no `.` or `..`; `target` is as `readlink` gives it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Link {
    pub path: String,
    pub target: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct File {
    pub path: String,
    pub content: String,
    /// Permission bits, at most 0o777.
    pub mode: u32,
}

impl Image {
    /// The digest of everything that decides what is in the image; not its name.
    pub fn meaning(&self) -> Digest {
        let meaning = (LOCK_VERSION, &self.architectures, &self.origin, &self.links, &self.files);
        Digest::of(&serde_json::to_vec(&meaning).expect("plain data is JSON"))
    }
}

/// Reads `images/<name>/image.toml`.
pub fn parse(name: &str, file: &str, text: &str) -> Result<Image, Mistakes> {
    read(file, text, |table| {
        let known_architectures: Vec<&str> = ARCHITECTURES.iter().map(|a| a.0).collect();
        let mut architectures = BTreeSet::new();
        for written in table.required_strings("architectures") {
            if known_architectures.contains(&written.value.as_str()) {
                architectures.insert(written.value);
            } else {
                let hint = debian_architecture(&written.value)
                    .map(|debian| format!("Debian calls it `{debian}`"))
                    .or_else(|| suggest(&written.value, known_architectures.iter().copied()));
                let message = format!("there is no architecture {:?}", written.value);
                table.note(written.span, message, one_of(&known_architectures), hint);
            }
        }
        let origin = origin(table);
        let mut used_paths = BTreeSet::new();
        let mut links = table.tables("link", |table| {
            let path = inside_path(table, &mut used_paths);
            let target = table.required_str("target")?;
            if target.value.is_empty() || target.value.contains(['\n', '\0']) {
                table.note(target.span, "`target` cannot be linked to", "a path", None);
            }
            Some(Link { path: path?, target: target.value })
        });
        let mut files = table.tables("file", |table| {
            let path = inside_path(table, &mut used_paths);
            let content = table.required_str("content");
            let mode = mode(table);
            Some(File { path: path?, content: content?.value, mode })
        });
        links.sort();
        files.sort();
        let architectures = architectures.into_iter().collect();
        Some(Image { name: name.to_string(), architectures, origin: origin?, links, files })
    })
}

fn origin(table: &mut Table<'_>) -> Option<Origin> {
    if !table.has("registry") {
        let suite = table.required_str("suite");
        let packages = table.required_strings("packages");
        let suite = suite.filter(|suite| {
            let message = format!("\"{}\" is not a suite", suite.value.escape_debug());
            let is_good = is_name(&suite.value);
            if !is_good {
                table.note(suite.span.clone(), message, "a suite's name, like \"trixie\"", None);
            }
            is_good
        });
        let mut names = BTreeSet::new();
        for package in packages {
            if is_package_name(&package.value) {
                names.insert(package.value);
            } else {
                table.note(
                    package.span,
                    format!("\"{}\" is not a package", package.value.escape_debug()),
                    "a package's name without version: small letters, digits, `+`, `-` and `.`",
                    None,
                );
            }
        }
        return Some(Origin::Debian { suite: suite?.value, packages: names.into_iter().collect() });
    }
    let written = table.optional_str("registry");
    for other in ["suite", "packages"] {
        if table.has(other) {
            table.note(
                table.span(),
                format!("`registry` and `{other}` are both written"),
                "either a registry's image or packages of a suite",
                None,
            );
        }
    }
    table.optional_str("suite");
    table.strings("packages");
    let Located { value, span } = written?;
    let reference = parse_reference(&value);
    if reference.is_none() {
        let untagged = (!value.contains('@'))
            .then(|| "a tag can move: ask the registry for the image's digest".to_string());
        table.note(
            span,
            format!("`registry` is \"{}\"", value.escape_debug()),
            "host/repository@sha256: and 64 hexadecimal digits",
            untagged,
        );
    }
    reference.map(Origin::Registry)
}

fn parse_reference(text: &str) -> Option<Reference> {
    let (place, digest) = text.split_once('@')?;
    let (host, repository) = place.split_once('/')?;
    let (domain, port) = host.split_once(':').map_or((host, None), |(d, p)| (d, Some(p)));
    let domain_ok = domain.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let repository_ok = repository.split('/').all(is_name);
    let is_good = domain_ok && !domain.is_empty() && !domain.starts_with(['-', '.']);
    (is_good && port_ok && repository_ok && digest.starts_with("sha256:")).then_some(())?;
    Some(Reference {
        host: host.to_string(),
        repository: repository.to_string(),
        digest: digest.parse().ok()?,
    })
}

/// Whether `name` can be a Debian package (Policy 5.6.1).
pub fn is_package_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    name.len() >= 2
        && name.chars().all(is_allowed)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// `path` of a `[[link]]` or `[[file]]`, which no other has taken.
fn inside_path(table: &mut Table<'_>, taken: &mut BTreeSet<String>) -> Option<String> {
    let Located { value, span } = table.required_str("path")?;
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\n', '\0']);
    if !value.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_plain)) {
        table.note(
            span,
            format!("`path` is \"{}\"", value.escape_debug()),
            "an absolute path inside the image, without `.`, `..` or a slash at its end",
            None,
        );
        return None;
    }
    if !taken.insert(value.clone()) {
        table.note(span, format!("{value} is written twice"), "one entry per path", None);
        return None;
    }
    Some(value)
}

fn mode(table: &mut Table<'_>) -> u32 {
    let Some(Located { value, span }) = table.optional_str("mode") else { return 0o644 };
    match u32::from_str_radix(&value, 8) {
        Ok(mode) if mode <= 0o777 && value.len() >= 3 => mode,
        _ => {
            table.note(
                span,
                format!("`mode` is \"{}\"", value.escape_debug()),
                "octal permissions from \"0000\" to \"0777\"",
                Some(
                    "nothing in an image may gain privilege: setuid and setgid are not kept".into(),
                ),
            );
            0o644
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = r#"
suite = "trixie"
architectures = ["arm64", "amd64"]
packages = ["dash", "bash"]
[[link]]
path = "/usr/bin/cc"
target = "gcc"
[[file]]
path = "/etc/passwd"
content = "root:x:0:0::/:/bin/sh\n"
"#;

    fn image(text: &str) -> Result<Image, Mistakes> {
        parse("i", "images/i/image.toml", text)
    }

    #[test]
    fn order_and_comments_do_not_change_the_meaning() {
        let meaning = image(DEBIAN).unwrap().meaning();
        for (same, from, to) in [
            (true, "\"arm64\", \"amd64\"", "\"amd64\", \"arm64\""),
            (true, "\"dash\", \"bash\"", "\"bash\", \"dash\", # a comment\n"),
            (false, "\"dash\", ", ""),
            (false, "trixie", "forky"),
            (false, "target = \"gcc\"", "target = \"clang\""),
            (false, "content = ", "mode = \"0600\"\ncontent = "),
        ] {
            let text = DEBIAN.replace(from, to);
            assert_ne!(text, DEBIAN);
            assert_eq!(image(&text).unwrap().meaning() == meaning, same, "{from} → {to}");
        }
    }

    #[test]
    fn all_mistakes_at_once() {
        let text = DEBIAN
            .replace("amd64", "x86_64")
            .replace("trixie", "../x")
            .replace("\"bash\"", "\"bash=5\"")
            .replace("/usr/bin/cc", "usr/../cc")
            .replace("content =", "mode = \"4755\"\ncontents =");
        insta::assert_snapshot!(image(&text).unwrap_err());
    }

    #[test]
    fn references_to_registries() {
        let digest = Digest::of(b"");
        for (good, host, repository) in [
            (format!("example.org/a/b@{digest}"), "example.org", "a/b"),
            (format!("127.0.0.1:5000/x@{digest}"), "127.0.0.1:5000", "x"),
        ] {
            let text = format!("architectures = [\"amd64\"]\nregistry = \"{good}\"");
            let Origin::Registry(reference) = image(&text).unwrap().origin else { panic!() };
            assert_eq!((&*reference.host, &*reference.repository), (host, repository));
            assert_eq!(reference.digest, digest);
        }
        for bad in [
            "example.org/a:latest".to_string(),
            format!("a@{digest}"),
            format!("example.org/../a@{digest}"),
            format!("user@example.org/a@{digest}"),
            format!("example.org:port/a@{digest}"),
            "example.org/a@sha256:12".to_string(),
        ] {
            let text = format!("architectures = [\"amd64\"]\nregistry = \"{bad}\"");
            assert!(image(&text).is_err(), "{bad}");
        }
    }
}
