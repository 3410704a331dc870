//! Integration tests of `pipeline`, in one binary because each links everything.
//!
//! What a test needs of the machine and does not find makes it print `skipped: …` and return,
//! unless `DYNO_TEST_REQUIRE` (a comma list) names it: CI names everything and skips nothing. The
//! file that `DYNO_TEST_SKIPPED` names gets these lines too.
//!
//! Each test has its own store, cache, lock and cgroup (`World`), so that tests run beside each
//! other. Those of the machine's own lock and cores are in `tests/it_alone`.

mod agent;
mod attack;
mod attack_count;
mod attack_job;
mod attack_table;
mod bisect;
mod bot;
mod bundle;
mod cache;
mod ci;
mod cli;
mod crates;
mod emulation;
mod engine;
mod exit_codes;
mod explain;
mod faults;
mod host;
mod interrupt;
mod job;
mod listings;
mod lost;
mod names;
#[allow(dead_code)]
#[path = "../../../../queue/tests/s3/proxy.rs"]
mod proxy;
mod queue;
mod reproduce;
mod sample;
#[allow(dead_code)]
#[path = "../../../../queue/tests/s3/server.rs"]
mod server;
mod signing;
mod source;
mod sql;
mod store;
mod suite;
mod trouble;
mod trust;
mod units;
mod watch;
mod world;

pub use world::skip;
