//! What a compiler is and can, and how crates are built by it.

use std::collections::BTreeSet;

use dyno_model::catalog::suite::{Backend, CompilerConfig, Profile};
use dyno_probe::UnitCommand;

/// How a crate is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Build {
    Check,
    Debug,
    Opt,
}

impl Build {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Debug => "debug",
            Self::Opt => "opt",
        }
    }
}

/// What a compiler is and can, as found in its container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compiler {
    /// Programs, by their paths inside.
    pub rustc: String,
    pub rustdoc: String,
    pub cargo: String,
    pub clippy: Option<String>,
    /// `rustc 1.85.1 (4eb161250 2025-03-15)`.
    pub version: String,
    pub backends: BTreeSet<Backend>,
    /// Whether it says when code generation and linking begin (`--json=timings`).
    pub timings: bool,
    /// Numbers of threads it had under `-Zthreads=8` and under 1.
    pub threads_seen: (u32, u32),
}

impl Compiler {
    /// Whether the compiler does what `-Zthreads` says. Some versions take the option and ignore
    /// it.
    pub fn obeys_threads(&self) -> bool {
        let (with_eight, with_one) = self.threads_seen;
        with_eight >= with_one + 4
    }

    /// Why it cannot do what a case asks for.
    pub(crate) fn unsupported(&self, config: &CompilerConfig) -> Option<String> {
        if !self.backends.contains(&config.backend) {
            return Some(format!("backend={}: this toolchain has none", config.backend.name()));
        }
        match config.profile {
            Profile::Clippy if self.clippy.is_none() => {
                Some("profile=clippy: this toolchain has no clippy-driver".into())
            }
            Profile::Doc if self.rustdoc.is_empty() => {
                Some("profile=doc: this toolchain has no rustdoc".into())
            }
            _ => None,
        }
    }
}

/// The compilation of a crate whose dependencies are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrateCompilation {
    /// Cargo's command for the crate itself.
    pub command: UnitCommand,
    /// Its folder below `/prepared`.
    pub(crate) folder: String,
}

impl CrateCompilation {
    /// The incremental cache of the unchanged source.
    pub fn incremental(&self) -> String {
        format!("{}/incr", self.folder)
    }
}

/// Name of a crate, how it is built, and by which backend.
pub type BuildKey = (String, Build, Backend);
