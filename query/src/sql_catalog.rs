//! What can be named in a query, with a word what each is.

use arrow::datatypes::DataType;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Table,
    View,
    /// Called in FROM; gives rows.
    TableFunction,
    Function,
    Aggregate,
}

impl Kind {
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
pub struct Described {
    pub name: &'static str,
    /// What is written in a query: the name, with its arguments if it has any.
    pub usage: &'static str,
    pub kind: Kind,
    pub what: &'static str,
}

const fn table(name: &'static str, kind: Kind, what: &'static str) -> Described {
    Described { name, usage: name, kind, what }
}

/// All of them; an error lists those that have rows in this order.
pub const DESCRIBED: &[Described] = &[
    table(
        "builds",
        Kind::View,
        "a measured build: critical path, use of the cores, predicted walls",
    ),
    table(
        "comparisons",
        Kind::View,
        "a series of a compared pair: effect, interval, p, q, verdict",
    ),
    table("history", Kind::View, "a series, job and side: median and extremes over time"),
    table("noise", Kind::View, "a series: variance of single rounds, pooled over its jobs"),
    table("pipelining", Kind::View, "a case and job: what pipelining is worth, with its interval"),
    table("rounds", Kind::View, "a series, job and round: both values and their log ratio"),
    table("runs", Kind::Table, "a job, with everything needed to repeat it"),
    table("samples", Kind::Table, "a sample, as measured"),
    table(
        "scaling",
        Kind::View,
        "a case, side and number of threads: speed-up, the laws, and whether it scales worse",
    ),
    table("summaries", Kind::Table, "a series and job: rounds, mean log ratio, variance, medians"),
    table(
        "units",
        Kind::Table,
        "a unit of a build: when its metadata were ready, what it waited for",
    ),
    table("utilisation", Kind::View, "a build and stretch of its time: units that ran, cores busy"),
    Described {
        name: "compare",
        usage: "compare('base', 'head' [, 'suite' [, 'host']])",
        kind: Kind::TableFunction,
        what: "comparisons of one pair",
    },
    Described {
        name: "compare_scaling",
        usage: "compare_scaling('base', 'head' [, 'suite' [, 'host']])",
        kind: Kind::TableFunction,
        what: "scaling of one pair",
    },
    Described {
        name: "log_ratio",
        usage: "log_ratio(baseline, candidate)",
        kind: Kind::Function,
        what: "ln(candidate / baseline) of one round; NULL where there is none",
    },
    Described {
        name: "paired",
        usage: "paired(baseline, candidate [, smallest_effect [, confidence]])",
        kind: Kind::Aggregate,
        what: "the effect over rounds, with interval, p and variance",
    },
    Described {
        name: "geometric_mean",
        usage: "geometric_mean(effect [, variance, rounds [, df [, confidence]]])",
        kind: Kind::Aggregate,
        what: "the effect over series, each weighing the same, with its interval",
    },
];

/// A column with its type as a person says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: String,
}

/// Everything that completion may offer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Tables and table functions, with their columns.
    pub tables: Vec<(String, Vec<String>)>,
    /// Every function there is, dyno's and DataFusion's.
    pub functions: Vec<String>,
}

/// A type by its name in SQL.
pub(crate) fn kind(kind: &DataType) -> String {
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
