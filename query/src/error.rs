//! What can go wrong, in the kinds a caller tells apart.

use std::fmt;

use datafusion::error::DataFusionError;

use crate::described::DESCRIBED;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was given can be no store.
    #[error("`{url}` cannot be a store: {why}")]
    NoPlace { url: String, why: String },
    /// The place cannot be opened, listed, read or written.
    #[error("store {url}: {why}")]
    Place { url: String, why: String },
    /// A record that cannot be stored as it is; nothing was written.
    #[error("job {job} cannot be stored: {why}")]
    Unstorable { job: String, why: String },
    /// No run compares the two; `stored` names what the store has instead, newest first.
    #[error("{}", no_comparison(.baseline, .candidate, .hint, .stored))]
    NoComparison { baseline: String, candidate: String, hint: String, stored: Vec<String> },
    /// No run is called so.
    #[error("the store has no run `{}`: {why}", .asked.escape_debug())]
    NoRun { asked: String, why: String },
    /// What was asked could mean more than one thing.
    #[error("`{asked}` could mean: {}; say which", .meanings.join(", "))]
    Ambiguous { asked: String, meanings: Vec<String> },
    /// The statement would change something.
    #[error("the store is asked, never changed, with SQL: {statement} is refused")]
    ReadOnly { statement: String },
    /// The SQL is wrong or could not be carried out. One line.
    #[error("{0}")]
    Sql(String),
    /// Formatting or writing rows failed.
    #[error("cannot write rows: {0}")]
    Output(String),
}

fn no_comparison(baseline: &str, candidate: &str, hint: &str, stored: &[String]) -> String {
    let mut text = format!("the store has no comparison of `{baseline}` with `{candidate}`");
    if !hint.is_empty() {
        text.push_str(&format!(" ({hint})"));
    }
    if stored.is_empty() {
        text.push_str("; it has none at all yet");
    } else {
        text.push_str(&format!("; it has {}", stored.join(", ")));
    }
    text
}

/// A file that was set aside: what reads the rest goes on without it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Relative to the store.
    pub path: String,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; set aside", self.path, self.what)
    }
}

impl Error {
    /// DataFusion's error as one readable line: its root, without the wrappers it came through.
    pub(crate) fn sql(error: &DataFusionError) -> Self {
        let root = error.find_root();
        if let DataFusionError::External(error) = root
            && let Some(own) = error.downcast_ref::<Self>()
        {
            return own.clone();
        }
        let text = match root {
            DataFusionError::SchemaError(error, _) => error.to_string(),
            DataFusionError::Plan(text) | DataFusionError::Execution(text) => text.clone(),
            DataFusionError::External(error) => error.to_string(),
            other => other.strip_backtrace(),
        };
        let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // What a function of dyno says of its arguments, out of DataFusion's words around it.
        let said = line.split_once("coercion failed with: Error during planning: ");
        if let Some((own, _)) = said.and_then(|(_, rest)| rest.split_once(". No function matches"))
        {
            line = own.to_string();
        }
        if line.starts_with("table '") && line.ends_with("not found") {
            line = line.replace("datafusion.public.", "");
            let tables: Vec<&str> =
                DESCRIBED.iter().filter(|d| d.kind.has_rows()).map(|d| d.usage).collect();
            line.push_str(&format!("; the tables are {}", tables.join(", ")));
        }
        Self::Sql(line)
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(error))
    }
}
