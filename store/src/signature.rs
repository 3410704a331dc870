//! Signatures of run rows: who measured, and that nobody has changed it since.
//!
//! What is signed is the digest of the run row, over all of its values. Among these is the provenance,
//! which has the digests of the job's samples, summaries and units ([`crate::row_digest`]). So one
//! signature holds all rows of the job. It stands in the metadata of the file, not in a column: files
//! of a store have one set of columns, signed or not.

use std::collections::BTreeMap;
use std::fmt;

use dyno_model::host_key::{KIND, PublicKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::error::Fault;

/// Where the signature stands in the metadata of a file of `runs`.
pub(crate) const SIGNATURE_KEY: &str = "dyno.signature";

/// What is signed begins so, so that no signature of this key for another purpose can stand for one
/// of a run row.
const PURPOSE: &str = "dyno run row ";

/// Host → the keys that its rows may be signed with.
pub type HostKeys = BTreeMap<String, Vec<PublicKey>>;

/// The private half of a host's key.
pub struct SigningKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// A key that nobody has had before.
    ///
    /// # Errors
    /// Why the system gives no random bytes.
    pub fn generate() -> Result<Self, String> {
        let mut seed = [0; 32];
        let filled = SystemRandom::new().fill(&mut seed);
        filled.map_err(|_| "the system gives no random bytes".to_string())?;
        Self::from_seed(seed)
    }

    fn from_seed(seed: [u8; 32]) -> Result<Self, String> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed);
        Ok(Self { seed, pair: pair.map_err(|_| "it is no key".to_string())? })
    }

    /// The key that [`SigningKey::to_text`] wrote.
    ///
    /// # Errors
    /// Why it is none; nothing of the text is repeated.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let expected = || format!("it is not {PRIVATE} and 64 hexadecimal digits");
        let mut seed = [0; 32];
        let digits = text.trim().strip_prefix(PRIVATE).ok_or_else(expected)?;
        hex::decode_to_slice(digits, &mut seed).map_err(|_| expected())?;
        Self::from_seed(seed)
    }

    /// The text to keep, which nobody else may read.
    pub fn to_text(&self) -> String {
        format!("{PRIVATE}{}\n", hex::encode(self.seed))
    }

    pub fn public_key(&self) -> PublicKey {
        let bytes = self.pair.public_key().as_ref().try_into();
        PublicKey::new(bytes.expect("public keys of ed25519 have 32 bytes"))
    }

    /// The signature of a run row whose rows have this digest, with the public key in front.
    pub(crate) fn sign(&self, row_digest: &str) -> String {
        let signature = self.pair.sign(message(row_digest).as_bytes());
        format!("{}:{}", self.public_key(), hex::encode(signature))
    }
}

/// What a text with a private key begins with.
const PRIVATE: &str = "ed25519-private:";

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the private half of {}", self.public_key())
    }
}

fn message(row_digest: &str) -> String {
    format!("{PURPOSE}{row_digest}")
}

/// The key that `signature` was made with, of a row with this digest.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn verify(signature: &str, row_digest: &str) -> Result<PublicKey, Fault> {
    let damaged = || "its signature is damaged".to_string();
    let (key, bytes) = signature.rsplit_once(':').ok_or_else(damaged)?;
    let key: PublicKey = key.parse().map_err(|_| match signature.starts_with(KIND) {
        true => damaged(),
        false => "its signature is of a kind that this dyno does not know".to_string(),
    })?;
    let bytes = hex::decode(bytes).map_err(|_| damaged())?;
    let verified = UnparsedPublicKey::new(&ED25519, key.bytes())
        .verify(message(row_digest).as_bytes(), &bytes);
    verified.map_err(|_| format!("it is not what {key} has signed"))?;
    Ok(key)
}

/// Who signed a run row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// Its host: the catalog has the key.
    Host(String),
    /// A key that the catalog knows nothing of, as it knows none of the row's host.
    Unknown(PublicKey),
}

impl Signer {
    /// The signer of a row of `host` that was signed with `key`.
    ///
    /// # Errors
    /// That the host has other keys.
    pub(crate) fn new(host: &str, key: PublicKey, keys: &HostKeys) -> Result<Self, Fault> {
        match keys.get(host).filter(|keys| !keys.is_empty()) {
            None => Ok(Self::Unknown(key)),
            Some(keys) if keys.contains(&key) => Ok(Self::Host(host.to_string())),
            Some(_) => Err(format!("it is signed with {key}, which is no key of the host {host}")),
        }
    }
}

/// The host's name, or the key.
impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Unknown(key) => key.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_digest_by_one_key() {
        let key = SigningKey::from_text(&SigningKey::generate().unwrap().to_text()).unwrap();
        let signature = key.sign("1:aa");
        assert_eq!(verify(&signature, "1:aa"), Ok(key.public_key()));
        assert_eq!(signature, key.sign("1:aa"), "the same bytes each time");
        let other = SigningKey::generate().unwrap();
        let (_, bytes) = signature.rsplit_once(':').unwrap();
        let by_other = format!("{}:{bytes}", other.public_key());
        for (signature, digest, why) in [
            (signature.clone(), "1:ab", "it is not what ed25519:"),
            (by_other, "1:aa", "it is not what ed25519:"),
            (signature[..signature.len() - 2].to_string(), "1:aa", "it is not what ed25519:"),
            (signature.replace("ed25519:", "ed25519:0"), "1:aa", "damaged"),
            (format!("{signature}x"), "1:aa", "damaged"),
            (String::new(), "1:aa", "damaged"),
            ("rsa:aa:bb".into(), "1:aa", "of a kind that this dyno does not know"),
        ] {
            let wrong = verify(&signature, digest).unwrap_err();
            assert!(wrong.contains(why), "{signature}: {wrong}");
        }
    }

    #[test]
    fn a_private_key_is_never_shown() {
        let key = SigningKey::generate().unwrap();
        let digits = hex::encode(key.seed);
        assert!(!format!("{key:?}").contains(&digits));
        let wrong = key.to_text().replace(PRIVATE, "");
        assert!(!SigningKey::from_text(&wrong).unwrap_err().contains(&digits));
    }
}
