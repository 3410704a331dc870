//! The queue: many hosts that share a store's URL and nothing else (docs/queue.md).
//!
//! There is no server. Requests, jobs, claims and results are objects beside the measurements,
//! written by create-only and by compare-and-swap; what state a job is in follows from what exists.
//! Everything here runs over two traits, [`Objects`] and [`Clock`], so that `tests/simulation` can
//! run the very same code through years of bad luck from one seed.

pub mod agent;
pub mod bundle;
pub mod claim;
pub mod clock;
pub mod objects;
pub mod request;
pub mod result;
pub mod status;
pub mod stored;

pub use clock::Clock;
pub use objects::{Object, Objects, Trouble, Version};
