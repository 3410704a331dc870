//! Benchmarks that are crates: a compiler compiles them, and its process, or the whole build, is
//! what is measured.
//!
//! One `[[crate]]` of a suite is one benchmark of the compiler's process on the crate itself, and
//! with `graph = true` a second one, `<name>.graph`: the whole build by cargo, whose units are
//! stored. Each kind has its own axes, since jobs and pipelining mean nothing to a single process.
//! The values of these axes are words that dyno knows how to bring about.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Benchmark, Config, Limits, Tier, Work, limits, suite_file, typical_ms};
use crate::catalog::reader::{At, Table, checked_name, one_of, suggest};
use crate::id::Digest;

/// A crate to compile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Crate {
    /// Of the benchmark; the lock is `locks/<name>.lock` of the suite's folder.
    pub name: String,
    pub from: From,
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
pub enum From {
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

/// The axes that a crate's own process has, and those that a build of its graph has, in the order
/// of names.
pub const LEAF_AXES: [&str; 4] = ["backend", "profile", "scenario", "threads"];
pub const GRAPH_AXES: [&str; 5] = ["backend", "jobs", "pipelining", "profile", "threads"];

/// The values that an axis of crates may have; of `threads` and `jobs`, whole numbers to 1024.
fn known_values(axis: &str) -> Option<&'static [&'static str]> {
    Some(match axis {
        "profile" => &["check", "debug", "opt", "doc", "clippy"],
        "scenario" => &["full", "incr-full", "incr-unchanged", "incr-patched"],
        "backend" => &["llvm", "cranelift", "gcc"],
        "pipelining" => &["on", "off"],
        "threads" | "jobs" => &[],
        _ => return None,
    })
}

/// A suite's crates may only lie on axes, at values, that dyno can bring about.
pub(super) fn check_axes(table: &Table<'_>, axes: &BTreeMap<String, Vec<String>>) {
    let span = table.span();
    for (axis, values) in axes {
        let Some(known) = known_values(axis) else {
            let names = GRAPH_AXES.iter().chain(&["scenario"]).copied().collect::<Vec<_>>();
            let hint = suggest(axis, names.iter().copied());
            table.note(span.clone(), format!("crates have no axis `{axis}`"), one_of(&names), hint);
            continue;
        };
        for value in values {
            let number = value.parse().is_ok_and(|n: u32| (1..=1024).contains(&n));
            if known.is_empty() && !number {
                let what = format!("`{axis}` has the value \"{value}\"");
                table.note(span.clone(), what, "a whole number from 1 to 1024", None);
            } else if !known.is_empty() && !known.contains(&value.as_str()) {
                let hint = suggest(value, known.iter().copied());
                let what = format!("`{axis}` has no value \"{value}\"");
                table.note(span.clone(), what, one_of(known), hint);
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
pub(super) fn read(table: &mut Table<'_>, seen: &mut BTreeSet<String>) -> Option<Vec<Benchmark>> {
    let krate = table.optional_str("crate");
    let path = table.optional_str("path");
    let version = table.optional_str("version");
    let sha256 = table.optional_str("sha256");
    let name = table.optional_str("name").or_else(|| krate.clone());
    let from = from(table, krate, path, version, sha256);
    let tiers = [("primary", Tier::Primary), ("secondary", Tier::Secondary)];
    let tier = table.optional_choice("tier", &tiers).unwrap_or(Tier::Primary);
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
    let (what, from) = (why?, from?);
    let work = Crate { name: name.clone(), from, bin, features, patch };
    let graph = graph.then(|| Benchmark {
        name: format!("{name}{GRAPH}"),
        what: format!("{what} (the whole build)"),
        tier,
        work: Work::Graph(work.clone()),
        limits,
        typical_ms: typical[1],
    });
    let work = Work::Crate(work);
    let leaf = Benchmark { name, what, tier, work, limits, typical_ms: typical[0] };
    let both: Vec<Benchmark> = std::iter::once(leaf).chain(graph).collect();
    for benchmark in &both {
        if !seen.insert(benchmark.name.clone()) {
            let what = format!("benchmark `{}` stands twice", benchmark.name);
            table.note(span.clone(), what, "each name once", None);
        }
    }
    Some(both)
}

fn from(
    table: &Table<'_>,
    krate: Option<At<String>>,
    path: Option<At<String>>,
    version: Option<At<String>>,
    sha256: Option<At<String>>,
) -> Option<From> {
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
            let ok = |text: &str, more: &str| {
                let plain = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
                (1..=64).contains(&text.len()) && text.chars().all(plain)
            };
            if !ok(&krate.value, "-_") {
                let what = format!("\"{}\" cannot be a crate's name", krate.value.escape_debug());
                note(krate.span, what, "letters, digits, `-` and `_`, at most 64");
                return None;
            }
            if !ok(&version.value, "-.+") || version.value.starts_with(['.', '-']) {
                let what = format!("\"{}\" is no version", version.value.escape_debug());
                note(version.span, what, "an exact version such as \"1.0.2\"");
                return None;
            }
            match sha256.value.parse() {
                Ok(digest) => Some(From::Release {
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
        (None, Some(path)) => suite_file(table, path).map(From::Folder),
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
pub fn why_not(work: &Work, config: &Config, cores: usize) -> Option<String> {
    let (krate, graph) = match work {
        Work::Program(_) => return None,
        Work::Crate(krate) => (krate, false),
        Work::Graph(krate) => (krate, true),
    };
    let value = |axis: &str| config.0.get(axis).map_or("", String::as_str);
    for axis in ["threads", "jobs"] {
        if value(axis).parse().is_ok_and(|n: usize| n > cores) {
            let noun = if cores == 1 { "core" } else { "cores" };
            let number = value(axis);
            return Some(format!("{axis}={number}: the host has {cores} benchmark {noun}"));
        }
    }
    let (profile, scenario) = (value("profile"), value("scenario"));
    let not_compiling = ["check", "doc", "clippy"].contains(&profile);
    if not_compiling && !["", "llvm"].contains(&value("backend")) {
        return Some(format!("profile={profile} generates no code, with any backend"));
    }
    if ["doc", "clippy"].contains(&profile) {
        if graph {
            return Some(format!("profile={profile} is of the crate itself, not of its graph"));
        }
        if !["", "full"].contains(&scenario) {
            return Some(format!("profile={profile} is not incremental"));
        }
        if profile == "doc" && krate.bin.is_some() {
            return Some("profile=doc is of libraries".into());
        }
    }
    if scenario == "incr-patched" && krate.patch.is_none() {
        return Some("scenario=incr-patched: the crate has no patch".into());
    }
    None
}
