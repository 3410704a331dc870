//! A suite's signed index: `InRelease` names the hash of every other index, and the archive's
//! keys sign it. Nothing is taken from the text but what a kept key has signed.
//!
//! Format: Debian wiki, "DebianRepository/Format"; signatures: RFC 9580, section 7.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use chrono::{DateTime, Utc};
use dyno_model::id::Digest;
use pgp::composed::{CleartextSignedMessage, Deserializable as _, SignedPublicKey};
use pgp::packet::{Signature, SignatureType};
use pgp::types::KeyDetails as _;

use dyno_base::error::{Error, Result, WithContext as _};

/// What a suite's signed index says.
#[derive(Debug)]
pub struct Release {
    fields: BTreeMap<String, String>,
    /// Path below `dists/<suite>/` → SHA-256 and size in bytes.
    files: BTreeMap<String, (Digest, u64)>,
}

/// The archive keys in `folder`: `.asc` (armoured) and `.gpg`/`.pgp` (binary).
pub fn keys(folder: &Path) -> Result<Vec<SignedPublicKey>> {
    let reading = || format!("reading the archive keys in {}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).context(reading)? {
        paths.push(entry.context(reading)?.path());
    }
    paths.sort();
    let mut keys = Vec::new();
    for path in paths {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        if !["asc", "gpg", "pgp"].contains(&extension) {
            continue;
        }
        let bytes = fs::read(&path).context(reading)?;
        let not_a_key = |error: pgp::errors::Error| {
            Error::input(format!("{} is not an OpenPGP key: {error}", path.display()))
        };
        let (found, _) = SignedPublicKey::from_reader_many(&bytes[..]).map_err(not_a_key)?;
        for key in found {
            keys.push(key.map_err(not_a_key)?);
        }
    }
    if keys.is_empty() {
        return Err(Error::input(format!("{} holds no archive key", folder.display()))
            .hint("put the archive's keys there, from Debian's package debian-archive-keyring"));
    }
    Ok(keys)
}

/// The variable by which a person says that a mirror's index may be older than it says it is good
/// for.
pub const ACCEPT_EXPIRED: &str = "DYNO_DEBIAN_EXPIRED";

/// Verifies `InRelease` and reads what was signed. `suite` must be the suite's name or codename.
pub fn verify(
    inrelease: &[u8],
    suite: &str,
    keys: &[SignedPublicKey],
    now: DateTime<Utc>,
    accept_expired: bool,
) -> Result<Release> {
    let untrusted = |why: String| {
        Error::infrastructure(format!("the index of {suite} is not to be trusted: {why}")).hint(
            "the mirror may be wrong; for a new Debian release its keys go to images/keys (package debian-archive-keyring)",
        )
    };
    let text = std::str::from_utf8(inrelease).map_err(|_| untrusted("it is not text".into()))?;
    let (message, _) = CleartextSignedMessage::from_string(text)
        .map_err(|error| untrusted(format!("it is not signed text ({error})")))?;
    let signed = message.signed_text();
    let is_signed_by_kept_key = |signature: &&Signature| {
        keys.iter().any(|key| signs(key, signature, signed.as_bytes(), now))
    };
    if message.signatures().iter().find(is_signed_by_kept_key).is_none() {
        let issuers: Vec<String> = message.signatures().iter().map(issuer).collect();
        return Err(untrusted(format!(
            "none of the {} kept keys has signed these bytes (signatures by {})",
            keys.len(),
            issuers.join(", ")
        )));
    }
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

fn issuer(signature: &Signature) -> String {
    let print = signature.issuer_fingerprint().first().map(|print| format!("{print:X}"));
    let id = || signature.issuer_key_id().first().map(|id| id.to_string());
    print.or_else(id).unwrap_or_else(|| "an unnamed key".into())
}

/// Whether `key` or a signing subkey of it made `signature` over `text`, and might.
fn signs(key: &SignedPublicKey, signature: &Signature, text: &[u8], now: DateTime<Utc>) -> bool {
    let is_over_text = matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary));
    let Some(made_s) = signature.created().map(|created| i64::from(created.as_secs())) else {
        return false;
    };
    // A clock a day off must not fail the build; a signature from next year must.
    let is_in_time = made_s <= now.timestamp() + 86_400
        && signature.signature_expiration_time().is_none_or(|span| {
            span.as_secs() == 0 || made_s + i64::from(span.as_secs()) > now.timestamp()
        });
    let primary = &key.primary_key;
    let revoked = key.details.revocation_signatures.iter().any(|r| r.verify_key(primary).is_ok());
    if !is_over_text || !is_in_time || revoked {
        return false;
    }
    let is_issued_by_key = |id: &Signature| {
        id.issuer_fingerprint().contains(&&primary.fingerprint())
            || id.issuer_key_id().contains(&&primary.legacy_key_id())
    };
    let certifications: Vec<&Signature> = key
        .details
        .users
        .iter()
        .flat_map(|user| {
            user.signatures.iter().filter(|s| {
                is_issued_by_key(s)
                    && s.is_certification()
                    && s.verify_certification(primary, pgp::types::Tag::UserId, &user.id).is_ok()
            })
        })
        .chain(key.details.direct_signatures.iter().filter(|s| s.verify_key(primary).is_ok()))
        .collect();
    let may_sign = |born: u32, bindings: &[&Signature]| {
        let newest = bindings.iter().max_by_key(|s| s.created().map(|t| t.as_secs()));
        let Some(newest) = newest else { return false };
        newest.key_flags().sign()
            && newest.key_expiration_time().is_none_or(|span| {
                span.as_secs() == 0 || i64::from(born) + i64::from(span.as_secs()) > made_s
            })
    };
    if may_sign(primary.created_at().as_secs(), &certifications)
        && signature.verify(primary, text).is_ok()
    {
        return true;
    }
    key.public_subkeys.iter().any(|subkey| {
        let is_bound = subkey.verify_bindings(primary).is_ok();
        let (revocations, bindings): (Vec<&Signature>, Vec<&Signature>) = subkey
            .signatures
            .iter()
            .partition(|s| s.typ() == Some(SignatureType::SubkeyRevocation));
        is_bound
            && revocations.is_empty()
            && may_sign(subkey.key.created_at().as_secs(), &bindings)
            && signature.verify(&subkey.key, text).is_ok()
    })
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
