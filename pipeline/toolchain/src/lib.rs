//! Suites whose benchmarks are crates: a compiler is what is measured, at work on published code.
//!
//! [`sources`] vendors the crates and all they depend on, pinned by checksum: each is laid out
//! once. [`compiler`] finds the compilers that are compared: an image's own, an archive, a sysroot,
//! or what a recipe built. [`prepare`] lets each compiler build what the crates depend on, and
//! learns from cargo the command line of the crate itself. [`commands`] makes of that the processes
//! that are measured, and [`units`] makes of what the wrapper saw the units that are stored.
//!
//! Everything has the same path on both sides, since paths end up in what compilers write:
//!
//! | path | what | written by |
//! |---|---|---|
//! | `/crates/<digest>/{src,patched,vendor}` | a crate, the same with its patch, what it depends on | dyno, once |
//! | `/artifact` | the compiler, unless it is the image's own | dyno |
//! | `/prepared/<crate>/<build>` | `target` with the crates it depends on, `incr` | [`prepare`]; read-only while measuring |
//! | `/tmp` | a copy of the source, and what a measured process writes | each process; emptied after it |

pub mod commands;
pub mod compiler;
pub mod compiler_facts;
pub mod lock;
pub mod prepare;
pub mod sources;
pub mod units;

/// Where the folders stand in containers.
pub const CRATES: &str = "/crates";
pub const PREPARED: &str = "/prepared";
