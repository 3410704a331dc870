//! What a compiler is and can, and how crates are built by it.

use std::collections::BTreeSet;

use dyno_model::catalog::suite::Case;
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

/// What generates code, by its name on the axis `backend`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend(pub String);

impl Backend {
    pub fn is_llvm(&self) -> bool {
        self.0 == "llvm"
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
    pub backends: BTreeSet<String>,
    /// Whether it says when code generation and linking begin (`--json=timings`).
    pub timings: bool,
    /// How many threads it had under `-Zthreads=8` and under 1.
    pub threads_seen: (u32, u32),
}

impl Compiler {
    /// Whether it does what `-Zthreads` says. Some versions take the option and ignore it.
    pub fn obeys_threads(&self) -> bool {
        let (eight, one) = self.threads_seen;
        eight >= one + 4
    }

    /// Why it cannot do what a case asks for.
    pub(crate) fn unsupported(&self, case: &Case) -> Option<String> {
        let value = |axis: &str| case.config.0.get(axis).map(String::as_str);
        let backend = value("backend").filter(|backend| !self.backends.contains(*backend));
        let clippy = value("profile") == Some("clippy") && self.clippy.is_none();
        let rustdoc = value("profile") == Some("doc") && self.rustdoc.is_empty();
        backend
            .map(|backend| format!("backend={backend}: this toolchain has none"))
            .or_else(|| {
                clippy.then(|| "profile=clippy: this toolchain has no clippy-driver".into())
            })
            .or_else(|| rustdoc.then(|| "profile=doc: this toolchain has no rustdoc".into()))
    }
}

/// A crate whose dependencies are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Cargo's, for the crate itself.
    pub command: UnitCommand,
    /// Below `/prepared`.
    pub(crate) folder: String,
}

impl Leaf {
    /// The incremental cache of the unchanged source.
    pub fn incremental(&self) -> String {
        format!("{}/incr", self.folder)
    }
}

/// Crate, how it is built, and by what.
pub type Key = (String, Build, Backend);
