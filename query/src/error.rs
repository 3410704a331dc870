//! What can go wrong, in the kinds a caller tells apart.

use datafusion::error::DataFusionError;

use crate::sql_catalog::SQL_CATALOG;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store itself cannot be read.
    #[error(transparent)]
    Store(#[from] dyno_store::Error),
    /// No run compares the two; `stored` names what the store has instead, newest first.
    #[error("{}", no_comparison_message(.baseline, .candidate, .hint, .stored))]
    NoComparison { baseline: String, candidate: String, hint: String, stored: Vec<String> },
    /// What was asked could mean more than one thing.
    #[error("`{asked}` could mean: {}; say which", listed(.meanings))]
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

/// How many meanings an error lists.
const MEANINGS_MAX: usize = 8;

fn listed(meanings: &[String]) -> String {
    let more = meanings.len().saturating_sub(MEANINGS_MAX);
    let mut text = meanings[..meanings.len() - more].join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

fn no_comparison_message(baseline: &str, candidate: &str, hint: &str, stored: &[String]) -> String {
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
            DataFusionError::SQL(error, _) => {
                let text = error.to_string();
                let text = text.strip_prefix("sql parser error: ").unwrap_or(&text);
                format!("this cannot be read as SQL: {text}")
            }
            DataFusionError::NotImplemented(text) if text.contains("a single SQL statement") => {
                "give one statement at a time".into()
            }
            DataFusionError::NotImplemented(text) => format!("this is not possible here: {text}"),
            other => other.strip_backtrace(),
        };
        let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // What a function of dyno says of its arguments, out of DataFusion's words around it.
        let planning_message = line.split_once("coercion failed with: Error during planning: ");
        if let Some((own, _)) =
            planning_message.and_then(|(_, rest)| rest.split_once(". No function matches"))
        {
            line = own.to_string();
        }
        if line.starts_with("table '") && line.ends_with("not found") {
            line = line.replace("datafusion.public.", "");
            let tables: Vec<&str> =
                SQL_CATALOG.iter().filter(|d| d.kind.has_rows()).map(|d| d.usage).collect();
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

impl Error {
    /// Whether what was asked for is wrong, rather than the store or the way to it.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Store(error) => error.is_input(),
            Self::NoComparison { .. }
            | Self::Ambiguous { .. }
            | Self::ReadOnly { .. }
            | Self::Sql(_) => true,
            _ => false,
        }
    }
}
