//! Everything of dyno that touches the world: clock, environment, processes, container engines,
//! git, registries, files. The binary `dyno` is glue over it.

pub mod artifact;
pub mod catalog;
pub mod cli;
mod counters;
mod crates;
pub mod definition;
mod disk;
pub mod durable;
pub mod engine;
pub mod error;
pub mod event;
mod expected;
pub mod explain;
pub mod fault;
pub mod host;
pub mod http;
pub mod image;
mod lasting;
pub mod measure;
pub mod prompt;
pub mod report;
pub mod reproduce;
pub mod run;
mod selfcheck;
pub mod show;
pub mod source;
mod spool;
mod take;

/// Text from outside for a terminal: control characters are shown, not obeyed.
pub fn plain(text: &str) -> std::borrow::Cow<'_, str> {
    dyno_reports::escape::line(text)
}
