//! Benchmarks that are crates: a compiler compiles them, and its process, or the whole build, is
//! what is measured.
//!
//! One `[[crate]]` of a suite is one benchmark of the compiler's process on the crate itself, and
//! with `graph = true` a second one, `<name>.graph`: the whole build by cargo, whose units are
//! stored. Each kind has its own axes, since jobs and pipelining mean nothing to a single process.
//! The values of these axes are words that dyno knows how to bring about.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::config::{
    AxisValues, Backend, CompilerConfig, Config, Profile, compiler_axis, compiler_axis_names,
};
use super::fields::{limits, priority, suite_file, typical_ms};
use super::{Benchmark, Limits, Workload};
use crate::catalog::reader::{Located, Table, checked_name, one_of, suggest};
use crate::id::Digest;

/// A crate to compile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Crate {
    /// Name of the benchmark; the lock is `locks/<name>.lock` of the suite's folder.
    pub name: String,
    #[serde(rename = "from")]
    pub source: CrateSource,
    /// The binary that is compiled; `None` is the library.
    pub bin: Option<String>,
    /// `None` leaves the default ones on.
    pub features: Option<Vec<String>>,
    /// A file of the suite's folder: the change of the scenario `incr-patched`.
    pub patch: Option<String>,
}

/// Where the crate's source comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrateSource {
    /// A release of the registry that Cargo's configuration names.
    Release { name: String, version: String, sha256: Digest },
    /// A folder of the suite's own.
    Folder(String),
}

impl Crate {
    /// The file of the suite's folder that pins everything it depends on.
    pub fn lock(&self) -> String {
        format!("locks/{}.lock", self.name)
    }
}

/// What follows the name of the crate in the name of the benchmark of its whole graph.
pub const GRAPH: &str = ".graph";

/// A suite's crates may only lie on axes, at values, that dyno can bring about.
pub(super) fn check_axes(table: &Table<'_>, axes: &BTreeMap<String, Vec<String>>) {
    let span = table.span();
    for (name, values) in axes {
        let Some(axis) = compiler_axis(name) else {
            let names = compiler_axis_names(None);
            let hint = suggest(name, names.iter().copied());
            table.note(span.clone(), format!("crates have no axis `{name}`"), one_of(&names), hint);
            continue;
        };
        for value in values.iter().filter(|value| !axis.has_value(value)) {
            match axis.values {
                AxisValues::Numbers => {
                    let what = format!("`{name}` has the value \"{value}\"");
                    table.note(span.clone(), what, "a whole number from 1 to 1024", None);
                }
                AxisValues::Names(known) => {
                    let hint = suggest(value, known.iter().copied());
                    let what = format!("`{name}` has no value \"{value}\"");
                    table.note(span.clone(), what, one_of(known), hint);
                }
            }
        }
    }
}

/// A benchmark of a crate may compile for long and take what compilers take.
const LIMITS: Limits = Limits {
    time_s: 600,
    memory_bytes: 4 << 30,
    pids: 1024,
    output_bytes: 256 << 20,
    disk_bytes: 0,
};

/// The benchmarks of one `[[crate]]`.
pub(super) fn crate_benchmarks(
    table: &mut Table<'_>,
    names_seen: &mut BTreeSet<String>,
) -> Option<Vec<Benchmark>> {
    let krate = table.optional_str("crate");
    let path = table.optional_str("path");
    let version = table.optional_str("version");
    let sha256 = table.optional_str("sha256");
    let name = table.optional_str("name").or_else(|| krate.clone());
    let source = crate_source(table, krate, path, version, sha256);
    let priority = priority(table);
    let why = table.required_str("why").map(|why| why.value);
    let features = table.has("features").then(|| {
        table.strings("features").into_iter().map(|feature| feature.value).collect::<Vec<_>>()
    });
    let bin = table.optional_str("bin").map(|bin| bin.value);
    let graph = table.optional_bool("graph").unwrap_or(false);
    let patch = table.optional_str("patch").and_then(|path| suite_file(table, path));
    let limits = limits(table, LIMITS);
    let typical = ["typical_s", "typical_graph_s"].map(|key| typical_ms(table, key));
    if typical[1].is_some() && !graph {
        let what = "`typical_graph_s` is of a graph that is not measured".to_string();
        table.note(table.span(), what, "`graph = true` beside it", None);
    }
    let span = name.as_ref().map_or(table.span(), |name| name.span.clone());
    if name.is_none() && !table.is_broken() {
        table.note(table.span(), "`name` is missing in [[crate]]", "a name, or `crate`", None);
    }
    let name = name.and_then(|name| checked_name(table, name))?;
    let (what, source) = (why?, source?);
    let work = Crate { name: name.clone(), source, bin, features, patch };
    let graph = graph.then(|| Benchmark {
        name: format!("{name}{GRAPH}"),
        what: format!("{what} (the whole build)"),
        priority,
        work: Workload::CrateGraphBuild(work.clone()),
        limits,
        typical_ms: typical[1],
    });
    let work = Workload::CrateCompilation(work);
    let leaf = Benchmark { name, what, priority, work, limits, typical_ms: typical[0] };
    let benchmarks: Vec<Benchmark> = std::iter::once(leaf).chain(graph).collect();
    for benchmark in &benchmarks {
        if !names_seen.insert(benchmark.name.clone()) {
            let what = format!("benchmark `{}` stands twice", benchmark.name);
            table.note(span.clone(), what, "each name once", None);
        }
    }
    Some(benchmarks)
}

fn crate_source(
    table: &Table<'_>,
    krate: Option<Located<String>>,
    path: Option<Located<String>>,
    version: Option<Located<String>>,
    sha256: Option<Located<String>>,
) -> Option<CrateSource> {
    let note = |span, what: String, expected: &str| table.note(span, what, expected, None);
    match (krate, path) {
        (Some(krate), None) => {
            let (Some(version), Some(sha256)) = (version, sha256) else {
                note(
                    krate.span,
                    format!("`{}` is not pinned", krate.value.escape_debug()),
                    "`version` and `sha256` beside `crate`",
                );
                return None;
            };
            let is_valid = |text: &str, more: &str| {
                let is_allowed = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
                (1..=64).contains(&text.len()) && text.chars().all(is_allowed)
            };
            if !is_valid(&krate.value, "-_") {
                let what = format!("\"{}\" cannot be a crate's name", krate.value.escape_debug());
                note(krate.span, what, "letters, digits, `-` and `_`, at most 64");
                return None;
            }
            if !is_valid(&version.value, "-.+") || version.value.starts_with(['.', '-']) {
                let what = format!("\"{}\" is no version", version.value.escape_debug());
                note(version.span, what, "an exact version such as \"1.0.2\"");
                return None;
            }
            match sha256.value.parse() {
                Ok(digest) => Some(CrateSource::Release {
                    name: krate.value,
                    version: version.value,
                    sha256: digest,
                }),
                Err(error) => {
                    let what = format!("the checksum of `{}`: {error}", krate.value);
                    note(sha256.span, what, "64 hexadecimal digits");
                    None
                }
            }
        }
        (None, Some(path)) => suite_file(table, path).map(CrateSource::Folder),
        _ => {
            let what = "a crate comes from one place".to_string();
            note(
                table.span(),
                what,
                "either `crate = \"name\"` with version and sha256, or `path`",
            );
            None
        }
    }
}

/// Why a crate is not measured under a config, if it is not: the combination means nothing, or
/// this host is too small for it.
pub fn unsupported_reason(work: &Workload, config: &Config, cores: usize) -> Option<String> {
    let (krate, is_graph) = match work {
        Workload::Program(_) => return None,
        Workload::CrateCompilation(krate) => (krate, false),
        Workload::CrateGraphBuild(krate) => (krate, true),
    };
    let config = match CompilerConfig::try_from(config) {
        Ok(config) => config,
        Err(unknown) => return Some(unknown.to_string()),
    };
    for (axis, number) in [("threads", config.threads), ("jobs", config.jobs)] {
        if let Some(number) = number.filter(|n| *n as usize > cores) {
            let noun = if cores == 1 { "core" } else { "cores" };
            return Some(format!("{axis}={number}: the host has {cores} benchmark {noun}"));
        }
    }
    let (profile, name) = (config.profile, config.profile.name());
    if !profile.generates_code() && config.backend != Backend::Llvm {
        return Some(format!("profile={name} generates no code, with any backend"));
    }
    if profile.is_other_tool() {
        if is_graph {
            return Some(format!("profile={name} is of the crate itself, not of its graph"));
        }
        if config.scenario.is_incremental() {
            return Some(format!("profile={name} is not incremental"));
        }
        if profile == Profile::Doc && krate.bin.is_some() {
            return Some("profile=doc is of libraries".into());
        }
    }
    if config.scenario.is_patched() && krate.patch.is_none() {
        return Some("scenario=incr-patched: the crate has no patch".into());
    }
    None
}
