//! The store: how records lie in it, how they are published, and how their run rows are found.
//!
//! A store is a place (a folder, a bucket) with Parquet files that are created once and never
//! changed. **The run row is the commit point.** A job is published as files of one name under
//! `samples/`, `summaries/`, `units/` where it has any and, last, `runs/`. What has no run row of
//! its own name does not exist for a reader, so a publisher may die at any moment
//! ([`Store::publish`]).
//!
//! Reading trusts nothing: a file that is corrupt, foreign or from a newer dyno is named, set
//! aside ([`Store::problems`]) and never stops the reading of the rest. `docs/store.md` tells the
//! layout.
//!
//! This crate needs no query engine: a host that measures publishes and looks up jobs with it
//! alone. SQL and comparisons are in `dyno-query`.

mod bounds;
mod check_rows;
mod definitions;
mod encode;
mod error;
mod files;
mod gate;
mod layout;
mod publish;
mod put;
mod remote;
mod row_digest;
mod runs;
pub mod schema;
mod signature;
mod store;
mod stored_run;
mod thrift;

pub use bounds::check_pages;
pub use definitions::DefinitionOutcome;
pub use encode::series;
pub use error::{Error, Fault, Problem, Result};
pub use files::{PANICKED, parquet_fault};
pub use gate::RunGate;
pub use layout::{Folder, Shard};
pub use publish::PublishOutcome;
pub use signature::{HostKeys, Signer, SigningKey};
pub use store::{PublishWatch, READS_AT_ONCE, Store};
pub use stored_run::{StoredRun, environment, environment_of};
