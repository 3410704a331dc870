//! What can be named in a query, with a word what each is.

use arrow::datatypes::DataType;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    Table,
    View,
    /// A function called in FROM, which gives rows.
    TableFunction,
    Function,
    Aggregate,
}

impl EntryKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::View => "view",
            Self::TableFunction => "table function",
            Self::Function => "function",
            Self::Aggregate => "aggregate",
        }
    }

    /// Whether it stands in FROM.
    pub const fn has_rows(self) -> bool {
        matches!(self, Self::Table | Self::View | Self::TableFunction)
    }
}

/// One of dyno's own tables or functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogEntry {
    pub name: &'static str,
    /// What is written in a query: the name, with its arguments if it has any.
    pub usage: &'static str,
    pub kind: EntryKind,
    pub what: &'static str,
}

const fn table(name: &'static str, kind: EntryKind, what: &'static str) -> CatalogEntry {
    CatalogEntry { name, usage: name, kind, what }
}

/// Everything that dyno adds to SQL; an error lists those that have rows in this order.
pub const SQL_CATALOG: &[CatalogEntry] = &[
    table(
        "builds",
        EntryKind::View,
        "a measured build: critical path, use of the cores, predicted walls",
    ),
    table(
        "comparisons",
        EntryKind::View,
        "a series of a compared pair: effect, interval, p, q, verdict",
    ),
    table("history", EntryKind::View, "a series, job and side: median and extremes over time"),
    table("noise", EntryKind::View, "a series: variance of single rounds, pooled over its jobs"),
    table(
        "pipelining",
        EntryKind::View,
        "a case and job: what pipelining is worth, with its interval",
    ),
    table("rounds", EntryKind::View, "a series, job and round: both values and their log ratio"),
    table("runs", EntryKind::Table, "a job, with everything needed to repeat it"),
    table("samples", EntryKind::Table, "a sample, as measured"),
    table(
        "scaling",
        EntryKind::View,
        "a case, side and number of threads: speed-up, the laws, and whether it scales worse",
    ),
    table(
        "summaries",
        EntryKind::Table,
        "a series and job: rounds, mean log ratio, variance, medians",
    ),
    table(
        "units",
        EntryKind::Table,
        "a unit of a build: when its metadata were ready, what it waited for",
    ),
    table(
        "utilisation",
        EntryKind::View,
        "a build and stretch of its time: units that ran, cores busy",
    ),
    CatalogEntry {
        name: "compare",
        usage: "compare('baseline', 'candidate' [, 'suite' [, 'host' [, 'job']]])",
        kind: EntryKind::TableFunction,
        what: "comparisons of one pair",
    },
    CatalogEntry {
        name: "compare_scaling",
        usage: "compare_scaling('baseline', 'candidate' [, 'suite' [, 'host' [, 'job']]])",
        kind: EntryKind::TableFunction,
        what: "scaling of one pair",
    },
    CatalogEntry {
        name: "log_ratio",
        usage: "log_ratio(baseline, candidate)",
        kind: EntryKind::Function,
        what: "ln(candidate / baseline) of one round; NULL where there is none",
    },
    CatalogEntry {
        name: "paired",
        usage: "paired(baseline, candidate [, smallest_effect [, confidence]])",
        kind: EntryKind::Aggregate,
        what: "the effect over rounds, with interval, p and variance",
    },
    CatalogEntry {
        name: "geometric_mean",
        usage: "geometric_mean(effect [, variance, rounds [, df [, confidence]]])",
        kind: EntryKind::Aggregate,
        what: "the effect over series, each weighing the same, with its interval",
    },
];

/// A column with its type as a person says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDescription {
    pub name: String,
    pub kind: String,
}

/// Everything that completion may offer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompletionNames {
    /// Tables and table functions, with their columns.
    pub tables: Vec<(String, Vec<String>)>,
    /// Every function there is, dyno's and DataFusion's.
    pub functions: Vec<String>,
}

/// A type by its name in SQL.
pub(crate) fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => "text".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Int32 => "integer".into(),
        DataType::Int64 => "bigint".into(),
        DataType::UInt64 => "bigint unsigned".into(),
        DataType::Float64 => "double".into(),
        DataType::Timestamp(_, Some(zone)) => format!("timestamp ({zone})"),
        other => other.to_string(),
    }
}
