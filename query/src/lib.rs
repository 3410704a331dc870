//! Asking a store: SQL over its tables, and comparisons judged by the model.
//!
//! **One formula.** SQL, report and comment all get their statistics from `dyno_model`: the table
//! `comparisons` and the function `compare(…)` are filled by running `model::verdict` over the
//! summaries when a query is carried out ([`Session`]), and so are `scaling`, `builds` and
//! `pipelining` over samples and units. Planning a query, as `EXPLAIN` does, computes none of it.
//!
//! The layers, from below: a snapshot of the run rows; the stored tables over it; a
//! `SummaryReader` that reads them and knows no policy; noise, scaling and builds, which are made
//! of what it reads; the judge, which has a policy; tables over what it says; and the session.
//!
//! The files themselves, publishing, and looking up single runs are in `dyno-store`. `docs/sql.md`
//! tells the tables.

mod bounded_reader;
mod build_tables;
mod builds;
mod columns;
mod compared;
mod computed;
mod critical_path;
mod error;
mod evidence;
mod functions;
mod judge;
mod judged_table;
mod noise;
mod null_comparisons;
mod pair_columns;
mod pairs;
mod print;
mod reader;
mod recompute;
mod run_filter;
mod scaling;
mod session;
mod snapshot;
mod spelling;
mod sql_catalog;
mod sql_text;
mod statements;
mod stored_table;
mod views;

pub use arrow::array::RecordBatch;
pub use builds::{MeasuredBuild, Mode, Pipelining};
pub use compared::PairComparison;
pub use error::{Error, Result};
pub use evidence::Evidence;
pub use null_comparisons::NullComparisons;
pub use pairs::{Filter, NamesFrom};
pub use print::{write_csv, write_expanded, write_json, write_parquet, write_table};
pub use reader::StoredSummary;
pub use session::{CaseKey, PastCounting, Session};
pub use spelling::spelling_notes;
pub use sql_catalog::{CatalogEntry, ColumnDescription, CompletionNames, EntryKind, SQL_CATALOG};
pub use statements::{SplitStatements, THREAD_STACK_BYTES, split_statements};
