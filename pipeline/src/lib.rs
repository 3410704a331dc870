//! Everything of dyno that touches the world: clock, environment, processes, container engines,
//! git, registries, files. The binary `dyno` is glue over it.

pub mod engine;
pub mod error;
pub mod event;
pub mod http;
pub mod image;
pub mod source;
pub mod artifact;
pub mod catalog;
pub mod host;
pub mod measure;
pub mod run;
