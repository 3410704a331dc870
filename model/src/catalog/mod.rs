//! The files people write: suites, hosts, images, policies, watches.
//!
//! Each module has the typed form and `parse(file, text)`, which gives it or all mistakes at
//! once. Paths in them are relative to the file's own folder and are looked at by `pipeline`.

pub mod host;
pub mod image;
pub mod policy;
pub mod reader;
mod suggest;
pub mod suite;
pub mod watch;
