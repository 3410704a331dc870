//! What can go wrong in a store, in the kinds a caller tells apart.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was given can be no store.
    #[error("`{url}` cannot be a store: {why}")]
    InvalidUrl { url: String, why: String },
    /// There is nothing at the place that was given.
    #[error("there is no store at {url}")]
    NoStore { url: String },
    /// The place cannot be opened, listed, read or written.
    #[error("store {url}: {why}")]
    Unavailable { url: String, why: String },
    /// A record that cannot be stored as it is; nothing was written.
    #[error("job {job} cannot be stored: {why}")]
    Unstorable { job: String, why: String },
    /// No run is called so.
    #[error("the store has no run `{}`: {why}", .asked.escape_debug())]
    NoRun { asked: String, why: String },
    /// What was asked for could mean more than one run.
    #[error("`{asked}` could mean: {}; say which", .meanings.join(", "))]
    AmbiguousRun { asked: String, meanings: Vec<String> },
}

/// Why a file is set aside, as a person reads it.
pub type Fault = String;

/// A file that was set aside: what reads the rest goes on without it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Path relative to the store.
    pub path: String,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; set aside", self.path, self.what)
    }
}

impl Error {
    /// Whether what was asked for is wrong, rather than the store or the way to it.
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            Self::InvalidUrl { .. }
                | Self::NoStore { .. }
                | Self::AmbiguousRun { .. }
                | Self::NoRun { .. }
        )
    }
}
