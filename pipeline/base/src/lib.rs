//! What every crate of the pipeline stands on: errors with a kind, events, fault points, files that
//! appear whole, bounded disks, downloads, the identity of processes, work folders, digests.
//! It knows no engine, no store and no suite.

pub mod atomic_file;
pub mod cache;
pub mod digest;
pub mod disk;
pub mod error;
pub mod event;
pub mod fault;
pub mod http;
pub mod process;
pub mod scratch;
pub mod text;
