//! The store and how it is asked.
//!
//! A store is a place (a folder, a bucket) with Parquet files that are created once and never
//! changed. Two ideas carry everything here:
//!
//! - **The run row is the commit point.** A job is published as files of one name under
//!   `samples/`, `summaries/`, `units/` where it has any and, last, `runs/`. What has no run row of its own name does not
//!   exist for a reader, so a publisher may die at any moment ([`Store::publish`]).
//! - **One formula.** SQL, report and comment all get their statistics from `dyno_model`: the
//!   table `comparisons` and the function `compare(…)` are filled by running
//!   `model::verdict` over the summaries when a query scans them ([`Session`]), and so are
//!   `scaling`, `builds` and `pipelining` over samples and units.
//!
//! Reading trusts nothing: a file that is corrupt, foreign or from a newer dyno is named, set
//! aside ([`Store::problems`]) and never stops a query over the rest. `docs/store.md` tells the
//! layout, `docs/sql.md` the tables.

mod build_tables;
mod builds;
mod columns;
mod compare;
mod create;
mod definitions;
mod described;
mod encode;
mod error;
mod explain;
mod files;
mod functions;
mod judged;
mod layout;
mod noise;
mod path;
mod print;
mod scaling;
mod schema;
mod selfcheck;
mod session;
mod snapshot;
mod statements;
mod store;
mod table;

pub use arrow::array::RecordBatch;
pub use builds::{MeasuredBuild, Mode, Pipelining};
pub use compare::{Compared, Filter, StoredSummary};
pub use definitions::KeptDefinition;
pub use described::{Column, DESCRIBED, Described, Kind, Names};
pub use error::{Error, Problem, Result};
pub use explain::Evidence;
pub use print::{write_csv, write_expanded, write_json, write_parquet, write_table};
pub use selfcheck::AgainstItself;
pub use session::Session;
pub use statements::{Statements, statements};
pub use store::{Published, Store, Watch};
