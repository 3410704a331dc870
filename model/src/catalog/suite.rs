//! `suites/<name>/suite.toml`: a target's source, image and recipe, and the benchmarks on it.
//!
//! Commands are lists of words; nothing goes through a shell unless the suite names one. In a
//! benchmark's words and environment `{artifact}`, `{inputs}` and `{suite}` stand for folders
//! inside the container, and `{axis}` for the value of that axis.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use super::host::size;
use super::reader::{At, Table, checked_name, is_name, one_of, read, suggest};
use crate::id::Digest;
use crate::metric;
use crate::mistake::Mistakes;
pub use crates::{Crate, From, GRAPH, why_not};

mod crates;

/// Where a target's commits come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A git URL, or a path (relative to the suite's folder).
    Git(String),
    /// A crate: each release is a commit of a local repository, tagged with its version.
    Crate(String),
    /// A compiler: the one that an image carries, a toolchain archive, a sysroot, or one that is
    /// built from the git repository named here.
    Compiler(Option<String>),
}

/// Steps that turn a source into files: `fetch` alone has the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recipe {
    pub fetch: Option<Vec<String>>,
    pub build: Vec<String>,
    /// Output name → path below the build folder, in the order of names.
    pub outputs: BTreeMap<String, String>,
    /// Of a compiler: the folder below the build folder that is taken whole. Left out where there is
    /// none, so that artifacts of other suites keep their identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sysroot: Option<String>,
    /// A folder of the suite's own that the build sees beside the commit. Left out where there is
    /// none, for the same reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    pub env: BTreeMap<String, String>,
    pub limits: Limits,
    /// About how long the build takes, by whoever wrote the suite: what is built does not depend on
    /// it.
    #[serde(skip)]
    pub typical_s: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    pub time_s: u64,
    pub memory_bytes: u64,
    pub pids: u64,
    /// What one process may write to its standard streams or any one file, in bytes.
    pub output_bytes: u64,
    /// What all files that it writes may take of the host's disk, in bytes; a benchmark may write
    /// none there.
    pub disk_bytes: u64,
}

impl Limits {
    const BUILD: Self = Self {
        time_s: 3600,
        memory_bytes: 8 << 30,
        pids: 4096,
        output_bytes: 4 << 30,
        disk_bytes: 32 << 30,
    };
    const BENCHMARK: Self = Self {
        time_s: 60,
        memory_bytes: 2 << 30,
        pids: 256,
        output_bytes: 64 << 20,
        disk_bytes: 0,
    };
}

/// What a benchmark must print; a wrong answer is a failed case, not a fast one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expected {
    pub stream: Stream,
    pub answer: Answer,
}

/// The stream that carries the answer. Some runtimes chat on standard output; what runs in them
/// can then answer on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    Digest(Digest),
    /// A file of the suite's folder that the stream must equal.
    File(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Benchmark {
    pub name: String,
    pub what: String,
    pub tier: Tier,
    pub work: Work,
    pub limits: Limits,
    /// About how long one process takes, by whoever wrote the suite: for a plan on a host where it
    /// was never measured.
    pub typical_ms: Option<u64>,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// A program of the artifact's, or one that runs it.
    Program(Program),
    /// The compiler's process on a crate; what it depends on was compiled before.
    Crate(Crate),
    /// The build of a crate and of all that it depends on.
    Graph(Crate),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Program {
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// A file of the suite's folder given as standard input.
    pub stdin: Option<String>,
    pub expected: Expected,
    /// Whether Valgrind counts its instructions: a count misleads where a program waits for memory.
    pub count_instructions: bool,
}

/// How much a benchmark stands for real use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    Primary,
    Secondary,
}

impl Tier {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suite {
    pub name: String,
    pub what: String,
    pub image: String,
    pub source: Source,
    /// `None` for compilers that are not built.
    pub build: Option<Recipe>,
    /// How the benchmarks' inputs are made from the suite's own folder, if they need making.
    pub inputs: Option<Recipe>,
    /// Axis name → values, in the order written.
    pub axes: BTreeMap<String, Vec<String>>,
    pub metrics: Vec<String>,
    pub benchmarks: Vec<Benchmark>,
}

/// The usual axes. A suite may have others; these a policy may name whatever suites there are.
pub const AXES: [&str; 6] = ["backend", "jobs", "pipelining", "profile", "scenario", "threads"];

/// One value on each axis; written `axis=value,axis=value` in the order of names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Config(pub BTreeMap<String, String>);

impl Config {
    /// Reads what [`Config`] writes. What has no `=` is left out: stored names are not trusted.
    pub fn read(text: &str) -> Self {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(axis, value)| (axis.to_string(), value.to_string())).collect())
    }
}

impl std::fmt::Display for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (axis, value)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{axis}={value}")?;
        }
        Ok(())
    }
}

/// A benchmark under one config; knows no artifact, host or time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Case {
    pub benchmark: String,
    pub config: Config,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.config.0.is_empty() {
            write!(f, "{}", self.benchmark)
        } else {
            write!(f, "{} [{}]", self.benchmark, self.config)
        }
    }
}

impl Suite {
    /// The names of the axes that `work` has.
    fn axes_of<'a>(&'a self, work: &Work) -> Vec<&'a str> {
        let of = |known: &[&str]| -> Vec<&'a str> {
            let names = self.axes.keys().map(String::as_str);
            names.filter(|axis| known.contains(axis)).collect()
        };
        match work {
            Work::Program(_) => self.axes.keys().map(String::as_str).collect(),
            Work::Crate(_) => of(&crates::LEAF_AXES),
            Work::Graph(_) => of(&crates::GRAPH_AXES),
        }
    }

    /// Every config of a benchmark: the product of its axes, in the order written.
    fn configs(&self, work: &Work) -> Vec<Config> {
        let mut configs = vec![Config::default()];
        for (axis, values) in self.axes_of(work).into_iter().map(|axis| (axis, &self.axes[axis])) {
            configs = configs
                .iter()
                .flat_map(|config| {
                    values.iter().map(|value| {
                        let mut config = config.clone();
                        config.0.insert(axis.to_string(), value.clone());
                        config
                    })
                })
                .collect();
        }
        configs
    }

    /// Every case, benchmarks in the order written.
    pub fn cases(&self) -> Vec<Case> {
        let case = |benchmark: &Benchmark, config: &Config| Case {
            benchmark: benchmark.name.clone(),
            config: config.clone(),
        };
        self.benchmarks
            .iter()
            .flat_map(|benchmark| {
                let configs = self.configs(&benchmark.work);
                configs.iter().map(|config| case(benchmark, config)).collect::<Vec<_>>()
            })
            .collect()
    }

    /// The cases that `selection` asks for and a host with `cores` benchmark cores can measure, and
    /// what was left out: the reason with the number of cases.
    ///
    /// # Errors
    /// All that `selection` names and the suite does not have, a sentence each; or that nothing is
    /// left.
    pub fn select(&self, selection: &Selection, cores: usize) -> Result<Selected, Vec<String>> {
        let wrong = selection.unknown(self);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let mut selected = Selected::default();
        for case in self.cases() {
            let benchmark = self.benchmark(&case.benchmark).expect("cases are of benchmarks");
            if !selection.wants(benchmark, &case.config) {
                continue;
            }
            match why_not(&benchmark.work, &case.config, cores) {
                None => selected.cases.push(case),
                Some(why) => *selected.left_out.entry(why).or_default() += 1,
            }
        }
        if selected.cases.is_empty() {
            let why = match selected.left_out.first_key_value() {
                Some((why, _)) => format!("no case is left: {why}"),
                None => "no case of the suite is in the selection".into(),
            };
            return Err(vec![why]);
        }
        Ok(selected)
    }

    /// Those of `metrics` that are measured of `case`.
    pub fn metrics_of(&self, case: &Case, metrics: &[String]) -> Vec<String> {
        let is_counted = match self.benchmark(&case.benchmark).map(|b| &b.work) {
            Some(Work::Program(program)) => program.count_instructions,
            _ => true,
        };
        let measured = metrics.iter().filter(|name| is_counted || *name != metric::CACHEGRIND);
        measured.cloned().collect()
    }

    /// The benchmark called `name`.
    pub fn benchmark(&self, name: &str) -> Option<&Benchmark> {
        self.benchmarks.iter().find(|benchmark| benchmark.name == name)
    }
}

/// Which cases of a suite are wanted; empty lists want all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Selection {
    /// Axis → the values that are wanted. A benchmark without the axis is not left out by it.
    pub axes: BTreeMap<String, BTreeSet<String>>,
    /// Names, with `*` and `?`.
    pub benchmarks: Vec<String>,
    pub tier: Option<Tier>,
}

/// What a selection came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selected {
    pub cases: Vec<Case>,
    /// Why cases are not measured → how many.
    pub left_out: BTreeMap<String, usize>,
}

impl Selection {
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    fn wants(&self, benchmark: &Benchmark, config: &Config) -> bool {
        let is = |glob: &String| WildMatch::new(glob).matches(&benchmark.name);
        let at = |(axis, values): (&String, &BTreeSet<String>)| {
            config.0.get(axis).is_none_or(|value| values.contains(value))
        };
        (self.benchmarks.is_empty() || self.benchmarks.iter().any(is))
            && self.tier.is_none_or(|tier| tier == benchmark.tier)
            && self.axes.iter().all(at)
    }

    /// What of it the suite does not have.
    fn unknown(&self, suite: &Suite) -> Vec<String> {
        let mut unknown = Vec::new();
        for (axis, values) in &self.axes {
            let Some(known) = suite.axes.get(axis) else {
                let names: Vec<&String> = suite.axes.keys().collect();
                unknown.push(format!("there is no axis `{axis}`: expected {}", one_of(&names)));
                continue;
            };
            for value in values.iter().filter(|value| !known.contains(value)) {
                let expected = one_of(known);
                unknown
                    .push(format!("axis `{axis}` has no value \"{value}\": expected {expected}"));
            }
        }
        for glob in &self.benchmarks {
            if !suite.benchmarks.iter().any(|b| WildMatch::new(glob).matches(&b.name)) {
                let names: Vec<&String> = suite.benchmarks.iter().map(|b| &b.name).collect();
                unknown
                    .push(format!("no benchmark is called `{glob}`: expected {}", one_of(&names)));
            }
        }
        unknown
    }
}

/// Puts `values` in the place of `{name}` in `word`. Unknown names were refused when the suite
/// was read, so what is left stays as it is.
pub fn fill(word: &str, values: &BTreeMap<&str, &str>) -> String {
    let mut filled = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        let close = rest.find('}');
        match close.and_then(|close| Some((close, values.get(&rest[1..close])?))) {
            Some((close, value)) => {
                filled.push_str(value);
                rest = &rest[close + 1..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// Reads `suites/<name>/suite.toml`.
pub fn parse(name: &str, file: &str, text: &str) -> Result<Suite, Mistakes> {
    read(file, text, |table| {
        let what = table.required_str("what").map(|w| w.value);
        let image = table.required_str("image").and_then(|image| checked_name(table, image));
        let source = source(table);
        let is_compiler = matches!(source, Some(Source::Compiler(_)));
        let build = match &source {
            Some(Source::Compiler(None)) => Some(None),
            Some(Source::Compiler(Some(_))) | None => {
                Some(table.optional_table("build", |table| build_recipe(table, is_compiler)))
            }
            _ => table.required_table("build", |table| build_recipe(table, false)).map(Some),
        };
        let inputs = table.optional_table("inputs", |table| recipe(table, false));
        let axes = table.optional_table("axes", |table| Some(axes(table))).unwrap_or_default();
        let has = ["benchmark", "crate"].map(|kind| table.has(kind));
        let metrics = metrics(table, has[1]);
        let mut known: BTreeSet<&str> = BTreeSet::from(["artifact", "suite"]);
        if inputs.is_some() {
            known.insert("inputs");
        }
        known.extend(axes.keys().map(String::as_str));
        let mut seen = BTreeSet::new();
        let mut benchmarks = table.tables("benchmark", |table| benchmark(table, &known, &mut seen));
        benchmarks
            .extend(table.tables("crate", |t| crates::read(t, &mut seen)).into_iter().flatten());
        if has[1] {
            crates::check_axes(table, &axes);
            if !is_compiler && source.is_some() {
                let expected = "[source] with `compiler = true`";
                table.note(table.span(), "[[crate]] is compiled by a compiler", expected, None);
            }
        }
        if has == [false; 2] && !table.is_broken() {
            table.note(
                table.span(),
                "no benchmark",
                "at least one [[benchmark]] or [[crate]]",
                None,
            );
        }
        Some(Suite {
            name: name.to_string(),
            what: what?,
            image: image?,
            source: source?,
            build: build?,
            inputs,
            axes,
            metrics,
            benchmarks,
        })
    })
}

fn source(table: &mut Table<'_>) -> Option<Source> {
    table.required_table("source", |table| {
        let git = table.optional_str("git");
        let krate = table.optional_str("crate");
        let compiler = table.optional_bool("compiler").unwrap_or(false);
        match (git, krate) {
            (None, None) if compiler => Some(Source::Compiler(None)),
            (Some(git), None) => {
                if let Err(expected) = check_git_location(&git.value) {
                    table.note(
                        git.span,
                        format!("\"{}\" is not a source", git.value.escape_debug()),
                        expected,
                        None,
                    );
                    return None;
                }
                Some(match compiler {
                    true => Source::Compiler(Some(git.value)),
                    false => Source::Git(git.value),
                })
            }
            (None, Some(krate)) if !compiler => {
                let ok = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
                let valid = !krate.value.is_empty()
                    && krate.value.len() <= 64
                    && krate.value.chars().all(ok);
                if !valid || krate.value.starts_with(['-', '_']) {
                    table.note(
                        krate.span,
                        format!("\"{}\" cannot be a crate's name", krate.value.escape_debug()),
                        "letters, digits, `-` and `_`, at most 64",
                        None,
                    );
                    return None;
                }
                Some(Source::Crate(krate.value))
            }
            _ => {
                table.note(
                    table.span(),
                    "a source is one thing",
                    "either `git = \"url or path\"` or `crate = \"name\"`, or `compiler = true`",
                    None,
                );
                None
            }
        }
    })
}

/// Whether git may be given this URL or path: it must not look like an option, nor name a
/// transport that runs commands (`ext::`) or anything but https, http, ssh, git or file.
pub fn check_git_location(text: &str) -> Result<(), &'static str> {
    const EXPECTED: &str =
        "an https://, ssh:// or file:// URL, or a path, without control characters";
    let scheme_ok = match text.split_once("://") {
        Some((scheme, rest)) => {
            ["https", "http", "ssh", "git", "file"].contains(&scheme)
                && !rest.is_empty()
                && !rest.starts_with('-')
        }
        None => !text.contains("::"),
    };
    let plain = !text.is_empty() && !text.starts_with('-') && !text.chars().any(char::is_control);
    if scheme_ok && plain { Ok(()) } else { Err(EXPECTED) }
}

/// Reads a recipe that builds a commit: unlike one of inputs, it may name a folder of the suite.
fn build_recipe(table: &mut Table<'_>, is_compiler: bool) -> Option<Recipe> {
    let folder = table.optional_str("folder");
    if let Some(path) = &folder
        && !is_plain_path(&path.value)
    {
        table.note(
            path.span.clone(),
            format!("\"{}\" cannot be a folder of the suite", path.value.escape_debug()),
            "a path below the suite's folder, without `..`",
            None,
        );
    }
    let folder = folder.map(|path| path.value);
    Some(Recipe { folder, ..recipe(table, is_compiler)? })
}

fn recipe(table: &mut Table<'_>, is_compiler: bool) -> Option<Recipe> {
    let fetch = table.strings("fetch");
    let build = table.required_strings("command");
    let env = env(table);
    // Of a compiler a folder is taken, whose files nobody can list beforehand.
    let sysroot = if is_compiler { table.required_str("sysroot") } else { None };
    if let Some(path) = &sysroot
        && !is_plain_path(&path.value)
    {
        table.note(
            path.span.clone(),
            format!("\"{}\" cannot be a sysroot", path.value.escape_debug()),
            "a path below the build folder, without `..`",
            None,
        );
    }
    let outputs = if is_compiler { Some(BTreeMap::new()) } else { outputs(table) };
    let limits = limits(table, Limits::BUILD);
    let typical_s = typical_ms(table, "typical_s").map(|ms| ms.div_ceil(1000));
    let words = |list: Vec<At<String>>| list.into_iter().map(|w| w.value).collect::<Vec<_>>();
    let fetch = Some(words(fetch)).filter(|fetch| !fetch.is_empty());
    let sysroot = sysroot.map(|path| path.value);
    let (build, outputs) = (words(build), outputs?);
    Some(Recipe { fetch, build, outputs, sysroot, folder: None, env, limits, typical_s })
}

fn outputs(table: &mut Table<'_>) -> Option<BTreeMap<String, String>> {
    table.required_table("outputs", |table| {
        let span = table.span();
        let mut outputs = BTreeMap::new();
        for (name, path) in table.named_str() {
            if !is_plain_path(&path.value) {
                table.note(
                    path.span,
                    format!("\"{}\" cannot be an output", path.value.escape_debug()),
                    "a path below the build folder, without `..`",
                    None,
                );
            }
            if !is_name(&name.value) {
                table.note(
                    name.span,
                    format!("\"{}\" cannot be an output's name", name.value.escape_debug()),
                    "small letters, digits, `.`, `_` and `-`, at most 64",
                    None,
                );
            }
            outputs.insert(name.value, path.value);
        }
        if outputs.is_empty() {
            table.note(span, "no outputs", "at least one `name = \"path\"`", None);
        }
        Some(outputs)
    })
}

fn env(table: &mut Table<'_>) -> BTreeMap<String, String> {
    table
        .optional_table("env", |table| {
            let pairs = table.named_str();
            Some(pairs.into_iter().map(|(k, v)| (k.value, v.value)).collect())
        })
        .unwrap_or_default()
}

fn limits(table: &mut Table<'_>, default: Limits) -> Limits {
    table
        .optional_table("limits", |table| {
            Some(Limits {
                time_s: table.optional_integer("time_s", 1..=86_400).unwrap_or(default.time_s),
                memory_bytes: size(table, "memory").unwrap_or(default.memory_bytes),
                pids: table.optional_integer("pids", 8..=65_536).unwrap_or(default.pids),
                output_bytes: size(table, "output").unwrap_or(default.output_bytes),
                disk_bytes: match default.disk_bytes {
                    0 => 0,
                    default => size(table, "disk").unwrap_or(default),
                },
            })
        })
        .unwrap_or(default)
}

fn typical_ms(table: &mut Table<'_>, key: &'static str) -> Option<u64> {
    Some((table.optional_number(key, 0.001..=86_400.0)? * 1000.0).round() as u64)
}

/// A relative path of plain parts.
pub fn is_plain_path(path: &str) -> bool {
    !path.is_empty()
        && !path.chars().any(char::is_control)
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

fn axes(table: &mut Table<'_>) -> BTreeMap<String, Vec<String>> {
    let mut axes = BTreeMap::new();
    for (name, values) in table.named_strings(false) {
        let reserved = ["artifact", "inputs", "suite"].contains(&name.value.as_str());
        if reserved || !is_name(&name.value) {
            table.note(
                name.span.clone(),
                format!("\"{}\" cannot be an axis", name.value.escape_debug()),
                "a name of small letters, digits and `-` that is not artifact, inputs or suite",
                None,
            );
        }
        if values.is_empty() {
            table.note(
                name.span.clone(),
                format!("axis `{}` has no value", name.value),
                "at least one value",
                None,
            );
        }
        let mut distinct = Vec::new();
        for At { value, span } in values {
            let plain = !value.is_empty()
                && value.len() <= 64
                && !value.contains([',', '=', '/'])
                && !value.chars().any(char::is_control);
            if !plain {
                table.note(
                    span,
                    format!("\"{}\" cannot be an axis value", value.escape_debug()),
                    "1 to 64 characters without `,`, `=` and `/`",
                    None,
                );
            } else if distinct.contains(&value) {
                table.note(span, format!("\"{value}\" stands twice"), "each value once", None);
            } else {
                distinct.push(value);
            }
        }
        axes.insert(name.value, distinct);
    }
    axes
}

fn metrics(table: &mut Table<'_>, has_crates: bool) -> Vec<String> {
    let written = table.strings("metrics");
    if written.is_empty() {
        let measured = |name: &&str| has_crates || !metric::is_of_output(name);
        return metric::names().into_iter().filter(measured).map(String::from).collect();
    }
    for At { value, span } in &written {
        if metric::find(value).is_none() {
            table.note(
                span.clone(),
                format!("there is no metric `{}`", value.escape_debug()),
                one_of(&metric::names()),
                suggest(value, metric::names().into_iter()),
            );
        }
    }
    written.into_iter().map(|w| w.value).collect()
}

fn benchmark(
    table: &mut Table<'_>,
    known: &BTreeSet<&str>,
    seen: &mut BTreeSet<String>,
) -> Option<Benchmark> {
    let name_at = table.required_str("name");
    let name_span = name_at.as_ref().map_or(table.span(), |n| n.span.clone());
    let name = name_at.and_then(|name| checked_name(table, name));
    if let Some(name) = &name
        && !seen.insert(name.clone())
    {
        table.note(name_span, format!("benchmark `{name}` stands twice"), "each name once", None);
    }
    let what = table.required_str("what").map(|w| w.value);
    let command = table.required_strings("command");
    for word in &command {
        check_placeholders(table, &word.value, word.span.clone(), known);
    }
    let env = env(table);
    for value in env.values() {
        check_placeholders(table, value, table.span(), known);
    }
    let stdin = table.optional_str("stdin").and_then(|path| suite_file(table, path));
    let expected = table.required_table("expected", expected);
    let limits = limits(table, Limits::BENCHMARK);
    let tiers = [("primary", Tier::Primary), ("secondary", Tier::Secondary)];
    let tier = table.optional_choice("tier", &tiers).unwrap_or(Tier::Primary);
    let typical_ms = typical_ms(table, "typical_s");
    let count_instructions = table.optional_bool("count_instructions").unwrap_or(true);
    let command = command.into_iter().map(|w| w.value).collect();
    let expected = expected?;
    let work = Work::Program(Program { command, env, stdin, expected, count_instructions });
    Some(Benchmark { name: name?, what: what?, tier, work, limits, typical_ms })
}

fn expected(table: &mut Table<'_>) -> Option<Expected> {
    let digests = [
        (Stream::Stdout, table.optional_str("stdout_sha256")),
        (Stream::Stderr, table.optional_str("stderr_sha256")),
    ];
    let files = [
        (Stream::Stdout, table.optional_str("stdout_file")),
        (Stream::Stderr, table.optional_str("stderr_file")),
    ];
    let mut found = Vec::new();
    for (stream, digest) in digests {
        let Some(digest) = digest else { continue };
        let answer = digest.value.parse().map(Answer::Digest);
        if let Err(error) = &answer {
            table.note(digest.span, error.to_string(), "64 hexadecimal digits", None);
        }
        found.push(answer.ok().map(|answer| Expected { stream, answer }));
    }
    for (stream, file) in files {
        let Some(file) = file else { continue };
        let answer = suite_file(table, file).map(Answer::File);
        found.push(answer.map(|answer| Expected { stream, answer }));
    }
    if found.len() != 1 {
        table.note(
            table.span(),
            "what is expected is one thing",
            "one of stdout_file, stderr_file, stdout_sha256, stderr_sha256",
            None,
        );
        return None;
    }
    found.remove(0)
}

fn suite_file(table: &Table<'_>, path: At<String>) -> Option<String> {
    if is_plain_path(&path.value) {
        return Some(path.value);
    }
    table.note(
        path.span,
        format!("\"{}\" cannot be a file of the suite", path.value.escape_debug()),
        "a path below the suite's folder, without `..`",
        None,
    );
    None
}

fn check_placeholders(table: &Table<'_>, word: &str, span: Range<usize>, known: &BTreeSet<&str>) {
    let mut rest = word;
    while let Some(open) = rest.find('{') {
        rest = &rest[open + 1..];
        let Some(close) = rest.find('}') else { return };
        let name = &rest[..close];
        if is_name(name) && !known.contains(name) {
            let names: Vec<String> = known.iter().map(|name| format!("{{{name}}}")).collect();
            table.note(
                span.clone(),
                format!("`{{{name}}}` stands for nothing here"),
                one_of(&names),
                suggest(name, known.iter().copied()),
            );
        }
        rest = &rest[close + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
what = "a target"
image = "rust"
metrics = ["wall", "max-rss"]
[source]
crate = "wasmi_cli"
[build]
fetch = ["cargo", "fetch"]
command = ["cargo", "build"]
outputs = { engine = "release/engine" }
[axes]
level = ["3", "s"]
threads = ["1", "2"]
[[benchmark]]
name = "fib"
what = "recursion"
command = ["{artifact}/engine", "{suite}/fib-{level}.wasm"]
expected = { stdout_file = "fib.out" }
"#;

    #[test]
    fn a_suite_gives_the_product_of_its_axes() {
        let suite = parse("s", "suites/s/suite.toml", GOOD).unwrap();
        let cases: Vec<String> = suite.cases().iter().map(ToString::to_string).collect();
        assert_eq!(
            cases,
            [
                "fib [level=3,threads=1]",
                "fib [level=3,threads=2]",
                "fib [level=s,threads=1]",
                "fib [level=s,threads=2]"
            ]
        );
        let values = BTreeMap::from([("artifact", "/a"), ("suite", "/s"), ("level", "3")]);
        assert_eq!(fill("{suite}/fib-{level}.wasm{x}{", &values), "/s/fib-3.wasm{x}{");
    }

    const CRATES: &str = r#"
what = "compilers"
image = "rust"
[source]
compiler = true
[axes]
profile = ["check", "debug", "doc"]
scenario = ["full", "incr-patched"]
threads = ["1", "2"]
pipelining = ["on", "off"]
[[crate]]
crate = "syn"
version = "2.0.1"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
why = "parses"
graph = true
[[crate]]
name = "deep"
path = "synthetic/deep"
tier = "secondary"
why = "traits"
patch = "patches/deep.patch"
"#;

    #[test]
    fn a_crate_is_a_case_of_its_own_and_one_of_its_graph() {
        let suite = parse("s", "suites/s/suite.toml", CRATES).unwrap();
        let of = |name: &str| suite.cases().iter().filter(|c| c.benchmark == name).count();
        assert_eq!([of("syn"), of("syn.graph"), of("deep"), of("deep.graph")], [12, 12, 12, 0]);
        assert_eq!(suite.build, None);
        let told = "why = \"parses\"\ntypical_s = 1.5\ntypical_graph_s = 20";
        let timed = CRATES.replace("why = \"parses\"", told);
        let timed = parse("s", "suites/s/suite.toml", &timed).unwrap();
        let typical_ms = |name: &str| timed.benchmark(name).unwrap().typical_ms;
        assert_eq!(["syn", "syn.graph", "deep"].map(typical_ms), [Some(1500), Some(20_000), None]);
        let selection = |axes: &[(&str, &[&str])], benchmarks: &[&str], tier| Selection {
            axes: axes
                .iter()
                .map(|(a, v)| (a.to_string(), v.iter().map(ToString::to_string).collect()))
                .collect(),
            benchmarks: benchmarks.iter().map(ToString::to_string).collect(),
            tier,
        };
        let shown = |selection: &Selection, cores| match suite.select(selection, cores) {
            Ok(selected) => {
                let cases = selected.cases.iter().map(ToString::to_string);
                let left = selected.left_out.iter().map(|(why, n)| format!("{n} left out: {why}"));
                cases.chain(left).collect::<Vec<_>>().join("\n")
            }
            Err(wrong) => wrong.join("\n"),
        };
        let small = [("profile", &["check", "doc"][..])];
        insta::assert_snapshot!(shown(&selection(&small, &["d*"], None), 1));
        insta::assert_snapshot!(shown(&selection(&[], &["syn*"], Some(Tier::Primary)), 2));
        let wrong = selection(&[("thread", &["1"]), ("profile", &["opt"])], &["sny"], None);
        insta::assert_snapshot!(shown(&wrong, 2));
        let none = selection(&[("scenario", &["incr-patched"])], &["syn"], None);
        insta::assert_snapshot!(shown(&none, 2));
    }

    #[test]
    fn all_mistakes_of_crates_at_once() {
        let text = CRATES
            .replace("compiler = true", "crate = \"rustc\"")
            .replace(
                "[axes]",
                "[build]\ncommand = [\"x\"]\noutputs = { a = \"a\" }\n[axes]\nspeed = [\"1\"]",
            )
            .replace("\"2\"]", "\"many\"]")
            .replace("\"off\"", "\"of\"")
            .replace("version = \"2.0.1\"", "version = \"^2\"")
            .replace("name = \"deep\"", "name = \"syn\"")
            .replace("why = \"traits\"", "why = \"traits\"\ntypical_s = 0\ntypical_graph_s = 3")
            .replace("patches/deep", "../deep");
        insta::assert_snapshot!(parse("s", "suites/s/suite.toml", &text).unwrap_err());
    }

    #[test]
    fn all_mistakes_at_once() {
        let text = GOOD
            .replace("crate = \"wasmi_cli\"", "git = \"--upload-pack=evil\"")
            .replace("max-rss", "max-rs")
            .replace("release/engine", "../engine")
            .replace("{level}", "{levle}")
            .replace("what = \"recursion\"\n", "whta = \"recursion\"\n");
        insta::assert_snapshot!(parse("s", "suites/s/suite.toml", &text).unwrap_err());
    }

    #[test]
    fn a_syntax_error_does_not_hide_the_other_mistakes() {
        let text = "what = \"x\nimage = \"NO\"\n[source]\ngit = \"ext::sh -c x\"\n";
        insta::assert_snapshot!(parse("s", "suites/s/suite.toml", text).unwrap_err());
    }

    #[test]
    fn git_locations() {
        for good in ["https://example.org/x.git", "ssh://git@h/x", "../repo", "/srv/x", "file:///x"]
        {
            assert!(check_git_location(good).is_ok(), "{good}");
        }
        for bad in ["", "-x", "--upload-pack=x", "ext::sh", "https://-x", "ftp://x", "a\nb"] {
            assert!(check_git_location(bad).is_err(), "{bad}");
        }
    }
}
