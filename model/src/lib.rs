//! The pure core of dyno: the words of the design as types, the files people write,
//! plans, statistics and verdicts.
//!
//! Nothing here opens a file, reads a clock, spawns a process or waits: everything is a
//! function of its arguments, so everything can be tested by a table. What is random takes
//! a seed.

pub mod answer;
pub mod budget;
pub mod build_graph;
pub mod catalog;
pub mod commit_name;
pub mod host_key;
pub mod id;
pub mod metric;
pub mod mistake;
pub mod notice;
pub mod plan;
pub mod pool;
pub mod queue;
pub mod record;
pub mod request;
pub mod sampling;
pub mod selfcheck;
pub mod states;
pub mod stats;
pub mod step;
pub mod suite_check;
pub mod taint;
pub mod text;
pub mod verdict;
