//! Identities: digests, commits, jobs. All are lower-case hexadecimal and checked when made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What was written is not an identity of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{written}` is not {expected}")]
pub struct NotAnId {
    pub written: String,
    pub expected: &'static str,
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $valid:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The hexadecimal digits alone.
            pub fn hex(&self) -> &str {
                &self.0
            }

            /// The first twelve digits, for people.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let digits = text.strip_prefix($prefix).unwrap_or(text);
                let valid: fn(&str) -> bool = $valid;
                if valid(digits) {
                    Ok(Self(digits.to_string()))
                } else {
                    Err(NotAnId { written: text.escape_debug().to_string(), expected: $expected })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAnId;
            fn try_from(text: String) -> Result<Self, NotAnId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

hex_id!(
    /// A SHA-256 digest; written `sha256:…`.
    Digest, "sha256:", |d| is_hex(d, 64), "a SHA-256 digest (sha256: and 64 hexadecimal digits)"
);
hex_id!(
    /// A full object id of a target: 40 digits (SHA-1 repositories) or 64 (SHA-256).
    CommitId, "", |d| is_hex(d, 40) || is_hex(d, 64), "a full commit id (40 or 64 hexadecimal digits)"
);
hex_id!(
    /// The first 128 bits of the hash of a job's inputs: equal inputs are the same job.
    JobId, "", |d| is_hex(d, 32), "a job id (32 hexadecimal digits)"
);

hex_id!(
    /// The first 128 bits of the hash of what a request to the queue asks: asking twice is asking once.
    RequestId, "", |d| is_hex(d, 32), "a request id (32 hexadecimal digits)"
);
hex_id!(
    /// The first 128 bits of the hash of a part of a request, which one host measures.
    QueueJobId, "", |d| is_hex(d, 32), "the id of a job of the queue (32 hexadecimal digits)"
);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(bytes)))
    }

    /// The digest of a finished hasher.
    pub fn finish(hasher: Sha256) -> Self {
        Self(hex::encode(hasher.finalize()))
    }

    /// The digest of a sequence of parts, each preceded by its length, so that no two
    /// different sequences run together to the same bytes.
    pub fn of_parts<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            let part = part.as_ref();
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self::finish(hasher)
    }
}

macro_rules! short_digest {
    ($($name:ident),+) => {
        $(impl From<Digest> for $name {
            fn from(digest: Digest) -> Self {
                Self(digest.0[..32].to_string())
            }
        })+
    };
}

short_digest!(JobId, RequestId, QueueJobId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_checked_and_print_as_they_parse() {
        let digest = Digest::of(b"dyno");
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest.clone()));
        assert_eq!(digest.hex().parse::<Digest>(), Ok(digest));
        for wrong in ["", "sha256:", "main", "../x", &"A".repeat(64), "--upload-pack=x"] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
            assert!(wrong.parse::<CommitId>().is_err(), "{wrong}");
        }
        assert!("a".repeat(40).parse::<CommitId>().is_ok());
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(Digest::of_parts(["ab", "c"]), Digest::of_parts(["a", "bc"]));
        assert_ne!(Digest::of_parts([""; 0]), Digest::of_parts([""]));
    }
}
