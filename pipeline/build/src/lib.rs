//! The way from what people name to artifacts: the catalog, sources (git and releases), the outputs
//! of a build, and the cache of artifacts. It knows no rounds, no store and no verdict.

pub mod artifact;
pub mod builder;
pub mod catalog;
pub mod definition;
pub mod outputs;
pub mod recipe_environment;
pub mod scaffold;
pub mod source;
