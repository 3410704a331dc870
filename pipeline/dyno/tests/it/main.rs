//! Integration tests of `pipeline`, in one binary because each links everything.
//!
//! What a test needs of the machine and does not find makes it print `skipped: …` and return,
//! unless `DYNO_TEST_REQUIRE` (a comma list) names it: CI names everything and skips nothing. The
//! file that `DYNO_TEST_SKIPPED` names gets these lines too.
//!
//! Each test has its own store, cache, lock and cgroup (`World`), so that tests run beside each
//! other; those of the machine's own lock and cgroup take turns (`World::on_the_machine`).

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
mod sample;
mod source;
mod sql;
mod trouble;
mod trust;
mod world;

use std::io::Write as _;

/// Whether to go on without `what`; panics where CI has asked for it.
pub fn skip(what: &str, why: &str) {
    let required = std::env::var("DYNO_TEST_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|r| r == what), "{what} is required but missing: {why}");
    let line = format!("skipped: needs {what}: {why}");
    eprintln!("{line}");
    if let Some(file) = std::env::var_os("DYNO_TEST_SKIPPED") {
        let line = format!("{}: {line}\n", std::thread::current().name().unwrap_or("a test"));
        let mut options = std::fs::OpenOptions::new();
        let file = options.append(true).create(true).open(file);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("DYNO_TEST_SKIPPED");
    }
}
