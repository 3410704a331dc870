//! A suite's signed index: `InRelease` names the hash of every other index, and the archive's
//! keys sign it. Nothing is taken from the text but what a key of the catalog has signed.
//!
//! Format: Debian wiki, "DebianRepository/Format".

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use dyno_model::id::Digest;

use dyno_base::error::{Error, Result};

use super::signature::Keyring;

/// What a suite's signed index says.
#[derive(Debug)]
pub struct Release {
    fields: BTreeMap<String, String>,
    /// Path below `dists/<suite>/` → SHA-256 and size in bytes.
    files: BTreeMap<String, (Digest, u64)>,
}

/// The variable by which a person says that a mirror's index may be older than it says it is good
/// for.
pub const ACCEPT_EXPIRED: &str = "DYNO_DEBIAN_EXPIRED";

/// Verifies `InRelease` and reads what was signed. `suite` must be the suite's name or codename.
pub fn verify(
    inrelease: &[u8],
    suite: &str,
    keys: &Keyring,
    now: DateTime<Utc>,
    accept_expired: bool,
) -> Result<Release> {
    let untrusted = |why: String| {
        Error::infrastructure(format!("the index of {suite} is not to be trusted: {why}")).hint(
            "the mirror may be wrong; for a new Debian release its keys go to images/keys (package debian-archive-keyring)",
        )
    };
    let signed = keys.signed_text(inrelease, now, untrusted)?;
    let release = parse(&signed.replace("\r\n", "\n")).map_err(untrusted)?;
    if ![release.field("Suite"), release.field("Codename")].contains(&Some(suite)) {
        return Err(untrusted("it is the index of another suite".into()));
    }
    if let Some(until) = release.field("Valid-Until") {
        match DateTime::parse_from_rfc2822(&until.replace("UTC", "+0000")) {
            Ok(until) if until >= now || accept_expired => {}
            _ => {
                return Err(untrusted(format!("it was valid until {until}")).hint(format!(
                    "somebody may be holding newer packages back; for a mirror that is frozen on purpose set {ACCEPT_EXPIRED}=yes"
                )));
            }
        }
    }
    Ok(release)
}

fn parse(text: &str) -> Result<Release, String> {
    let mut release = Release { fields: BTreeMap::new(), files: BTreeMap::new() };
    let mut section = String::new();
    for line in text.lines() {
        if let Some(item) = line.strip_prefix(' ') {
            if section != "SHA256" {
                continue;
            }
            let mut words = item.split_whitespace();
            let parsed = (|| {
                let digest: Digest = words.next()?.parse().ok()?;
                let size: u64 = words.next()?.parse().ok()?;
                Some((words.next()?.to_string(), (digest, size)))
            })();
            let (path, entry) = parsed.ok_or_else(|| format!("the line \"{item}\" is broken"))?;
            release.files.insert(path, entry);
        } else if let Some((key, value)) = line.split_once(':') {
            section = key.to_string();
            release.fields.insert(section.clone(), value.trim().to_string());
        }
    }
    Ok(release)
}

impl Release {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    fn lists_word(&self, name: &str, word: &str) -> bool {
        self.field(name).is_some_and(|value| value.split_whitespace().any(|w| w == word))
    }

    /// The package indices of the main component that hold what `architecture` may install:
    /// address below `dists/<suite>/`, SHA-256, size in bytes.
    pub fn indices(&self, architecture: &str) -> Result<Vec<(String, Digest, u64)>> {
        if !self.lists_word("Architectures", architecture) {
            let known = self.field("Architectures").unwrap_or("none");
            return Err(Error::input(format!("the suite has no architecture {architecture}"))
                .hint(format!("it has {known}")));
        }
        let has_separate_all = self.lists_word("Architectures", "all")
            && self.field("No-Support-for-Architecture-all") != Some("Packages");
        let mut indices = Vec::new();
        for name in [architecture, "all"] {
            if name == "all" && !has_separate_all {
                continue;
            }
            let folder = format!("main/binary-{name}");
            let path = format!("{folder}/Packages.xz");
            let Some((digest, size)) = self.files.get(&path) else {
                return Err(Error::infrastructure(format!(
                    "the suite's index does not name {path}"
                )));
            };
            // By hash, since the plain name may be replaced between the two requests.
            let address = if self.field("Acquire-By-Hash") == Some("yes") {
                format!("{folder}/by-hash/SHA256/{}", digest.hex())
            } else {
                path
            };
            indices.push((address, digest.clone(), *size));
        }
        Ok(indices)
    }
}
