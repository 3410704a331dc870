//! Integration tests of `pipeline`, in one binary because each links everything.
//!
//! What a test needs of the machine and does not find makes it print `skipped: …` and return,
//! unless `DYNO_TEST_REQUIRE` (a comma list) names it: CI names everything and skips nothing.

mod attack;
mod attack_job;
mod attack_table;
mod cli;
mod crates;
mod emulation;
mod engine;
mod explain;
mod faults;
mod host;
mod interrupt;
mod job;
mod lost;
mod names;
mod quiet;
mod reproduce;
mod source;
mod sql;
mod trouble;
mod trust;
mod world;

/// Whether to go on without `what`; panics where CI has asked for it.
pub fn skip(what: &str, why: &str) {
    let required = std::env::var("DYNO_TEST_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|r| r == what), "{what} is required but missing: {why}");
    eprintln!("skipped: needs {what}: {why}");
}
