//! A request: who asks to compare what, and how. A queue may keep it as JSON; it holds names, and
//! nothing that had to be found out.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::catalog::policy::Policy;
use crate::catalog::suite::Selection;
use crate::id::Digest;
use crate::record::Trust;

/// Version of [`Request`] as JSON. Who reads another refuses it.
pub const REQUEST_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`REQUEST_VERSION`].
    pub version: u32,
    /// The one who asks: a person, a watched branch, a bot. For people; nothing is decided by it.
    pub requester: String,
    pub suite: String,
    /// Names of commits, as a person wrote them.
    pub baseline: String,
    pub candidate: String,
    pub host: HostChoice,
    /// The policy whose δ steer the sampling.
    pub policy: PolicyReference,
    #[serde(default)]
    pub selection: Selection,
    pub budget: Budget,
    /// Whether metrics are measured that are counted once per case.
    pub counting: bool,
    /// Whether instructions are counted by Cachegrind, which takes tens of times as long as the
    /// program. Without `counting` they are not.
    pub cachegrind: bool,
    /// How far the candidate is trusted; the baseline always is.
    #[serde(default)]
    pub trust: Trust,
    /// Whether to measure even if the store holds the very same job already.
    #[serde(default)]
    pub again: bool,
}

/// Where to measure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostChoice {
    /// The host of the catalog called so.
    Name(String),
    /// Any host that has this label.
    Class(String),
}

impl fmt::Display for HostChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Class(label) => write!(f, "any host of the class {label}"),
        }
    }
}

/// A policy as it was when it was asked for: the name alone would mean whatever the file says when
/// the request is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyReference {
    pub name: String,
    /// [`Policy::digest`].
    pub digest: Digest,
}

impl From<&Policy> for PolicyReference {
    fn from(policy: &Policy) -> Self {
        Self { name: policy.name.clone(), digest: policy.digest() }
    }
}

/// Why JSON is not a request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("the request is not one: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("the request is of version {found}, and this dyno reads version {REQUEST_VERSION}")]
    OtherVersion { found: u64 },
}

impl Request {
    /// Reads a request, as serde writes it.
    pub fn from_json(text: &str) -> Result<Self, RequestError> {
        /// The version alone: what else another version has is not known here.
        #[derive(Deserialize)]
        struct Version {
            version: u64,
        }
        let found = serde_json::from_str::<Version>(text)?.version;
        match found == u64::from(REQUEST_VERSION) {
            true => Ok(serde_json::from_str(text)?),
            false => Err(RequestError::OtherVersion { found }),
        }
    }
}

/// `wasmi 0.46.0 → 0.47.0 on local`.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { suite, baseline, candidate, host, .. } = self;
        write!(f, "{suite} {baseline} → {candidate} on {host}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::policy;

    fn request() -> Request {
        let text = "[metric.wall]\ndecides = true\n";
        let policy = policy::parse("default", "p.toml", text, &[]).unwrap();
        Request {
            version: REQUEST_VERSION,
            requester: "a test".into(),
            suite: "wasmi".into(),
            baseline: "0.46.0".into(),
            candidate: "main".into(),
            host: HostChoice::Name("local".into()),
            policy: PolicyReference::from(&policy),
            selection: Selection { benchmarks: vec!["fib*".into()], ..Selection::default() },
            budget: Budget { rounds_min: 5, rounds_max: 30, seconds: 60 },
            counting: true,
            cachegrind: false,
            trust: Trust::Untrusted,
            again: false,
        }
    }

    #[test]
    fn a_request_reads_as_it_was_written() {
        let request = request();
        assert_eq!(request.to_string(), "wasmi 0.46.0 → main on local");
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(Request::from_json(&text).unwrap(), request);
        let classed = Request { host: HostChoice::Class("quiet".into()), ..request };
        let text = serde_json::to_string(&classed).unwrap();
        assert_eq!(Request::from_json(&text).unwrap(), classed);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let text = serde_json::to_string(&request()).unwrap();
        for (from, to, expected) in [
            ("\"version\":1", "\"version\":2", "the request is of version 2"),
            ("\"again\":false", "\"agian\":false", "unknown field `agian`"),
            ("\"benchmarks\"", "\"benchmark\"", "unknown field `benchmark`"),
            ("\"suite\"", "\"suit\"", "unknown field `suit`"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            let error = Request::from_json(&changed).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_policys_digest_is_that_of_what_it_says() {
        let digest =
            |name: &str, text: &str| policy::parse(name, "p.toml", text, &[]).unwrap().digest();
        let text = "[metric.wall]\ndecides = true\n";
        assert_eq!(digest("a", text), digest("b", &format!("# a comment\n{text}")));
        assert_ne!(digest("a", text), digest("a", &format!("q = 0.01\n{text}")));
    }
}
