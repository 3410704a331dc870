//! A job, from two names of commits to a record in the store: resolve, plan, build, measure, publish.
//! It knows no terminal, no GitHub and no queue.

mod build;
mod clock;
pub mod context;
mod crates;
pub mod definitions;
pub mod execute;
pub mod plan;
pub mod plan_text;
mod record;
pub mod reproduce;
mod resolve;
pub mod selfcheck;
mod spool;
