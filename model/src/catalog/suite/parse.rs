//! Reading `suites/<name>/suite.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::axes::axes;
use super::crates;
use super::fields::{env, is_plain_path, limits, priority, suite_file, typical_ms};
use super::placeholder::{Part, parts};
use super::{
    Benchmark, Checkout, Expected, ExpectedAnswer, Limits, Program, Recipe, Source, Stream, Suite,
    Workload,
};
use crate::catalog::reader::{Located, Table, checked_name, is_name, one_of, read, suggest};
use crate::metric;
use crate::mistake::Mistakes;

/// The most processes that make one sample.
const REPEAT_MAX: u64 = 10_000;

/// What benchmarks are read with.
struct Known<'a> {
    placeholders: BTreeSet<&'a str>,
    /// `artifact` and `inputs`, where they have files → the names of these.
    outputs: BTreeMap<&'static str, BTreeSet<String>>,
}

impl<'a> Known<'a> {
    fn new(
        build: Option<&Recipe>,
        inputs: Option<&Recipe>,
        axes: impl Iterator<Item = &'a String>,
    ) -> Self {
        let mut placeholders: BTreeSet<&str> = BTreeSet::from(["artifact", "seed", "suite"]);
        if inputs.is_some() {
            placeholders.insert("inputs");
        }
        placeholders.extend(axes.map(String::as_str));
        let with_files = [("artifact", build), ("inputs", inputs)];
        let names = |(folder, recipe): (&'static str, Option<&Recipe>)| {
            let recipe = recipe.filter(|recipe| recipe.sysroot.is_none())?;
            Some((folder, recipe.outputs.keys().cloned().collect()))
        };
        Self { placeholders, outputs: with_files.into_iter().filter_map(names).collect() }
    }
}

/// Reads `suites/<name>/suite.toml`.
pub fn parse(name: &str, file: &str, text: &str) -> Result<Suite, Mistakes> {
    read(file, text, |table| {
        let what = table.required_str("what").map(|w| w.value);
        let image = table.required_str("image").and_then(|image| checked_name(table, image));
        let (source, checkout) = source(table).unzip();
        let is_compiler = matches!(source, Some(Source::Compiler(_)));
        let mut build = match &source {
            Some(Source::Compiler(None)) => Some(None),
            Some(Source::Compiler(Some(_))) | None => {
                Some(table.optional_table("build", |table| build_recipe(table, is_compiler)))
            }
            _ => table.required_table("build", |table| build_recipe(table, false)).map(Some),
        };
        if let (Some(Some(recipe)), Some(checkout)) = (&mut build, checkout) {
            recipe.checkout = checkout;
        }
        let inputs = table.optional_table("inputs", |table| recipe(table, false));
        let (axes, named_values) =
            table.optional_table("axes", |table| Some(axes(table))).unwrap_or_default();
        let has = ["benchmark", "crate"].map(|kind| table.has(kind));
        let metrics = metrics(table, has[1]);
        let built = build.as_ref().and_then(Option::as_ref);
        let known = Known::new(built, inputs.as_ref(), axes.keys());
        let mut names_seen = BTreeSet::new();
        let mut benchmarks =
            table.tables("benchmark", |table| benchmark(table, &known, &mut names_seen));
        benchmarks.extend(
            table
                .tables("crate", |t| crates::crate_benchmarks(t, &mut names_seen))
                .into_iter()
                .flatten(),
        );
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
            named_values,
            metrics,
            benchmarks,
        })
    })
}

fn source(table: &mut Table<'_>) -> Option<(Source, Checkout)> {
    table.required_table("source", |table| {
        let git = table.optional_str("git");
        let krate = table.optional_str("crate");
        let compiler = table.optional_bool("compiler").unwrap_or(false);
        let checkout = Checkout {
            submodules: table.optional_bool("submodules").unwrap_or(false),
            lfs: table.optional_bool("lfs").unwrap_or(false),
        };
        if git.is_none() && checkout != Checkout::default() {
            let expected = "`submodules` and `lfs` beside `git` only";
            table.note(table.span(), "only a git repository has these", expected, None);
        }
        let source = match (git, krate) {
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
                let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
                let valid = !krate.value.is_empty()
                    && krate.value.len() <= 64
                    && krate.value.chars().all(is_allowed);
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
        };
        Some((source?, checkout))
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
    let is_plain =
        !text.is_empty() && !text.starts_with('-') && !text.chars().any(char::is_control);
    if scheme_ok && is_plain { Ok(()) } else { Err(EXPECTED) }
}

fn metrics(table: &mut Table<'_>, has_crates: bool) -> Vec<String> {
    let written = table.strings("metrics");
    if written.is_empty() {
        let is_measured = |name: &&str| has_crates || !metric::measures_output(name);
        return metric::names().into_iter().filter(is_measured).map(String::from).collect();
    }
    for Located { value, span } in &written {
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

/// Reads a recipe that builds a commit: unlike one of inputs, it may name a folder of the suite.
fn build_recipe(table: &mut Table<'_>, is_compiler: bool) -> Option<Recipe> {
    let folder = table.optional_str("folder").and_then(|path| suite_file(table, path));
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
    let typical_ms = typical_ms(table, "typical_s");
    let values_of =
        |list: Vec<Located<String>>| list.into_iter().map(|w| w.value).collect::<Vec<_>>();
    let fetch = Some(values_of(fetch)).filter(|fetch| !fetch.is_empty());
    let sysroot = sysroot.map(|path| path.value);
    let (build, outputs) = (values_of(build), outputs?);
    Some(Recipe {
        fetch,
        build,
        outputs,
        sysroot,
        folder: None,
        checkout: Checkout::default(),
        env,
        limits,
        typical_ms,
    })
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

fn benchmark(
    table: &mut Table<'_>,
    known: &Known<'_>,
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
        check_placeholders(table, &word.value, word.span.clone(), &known.placeholders);
        check_outputs(table, word, known);
    }
    let env = env(table);
    for value in env.values() {
        check_placeholders(table, value, table.span(), &known.placeholders);
    }
    let stdin = table.optional_str("stdin").and_then(|path| suite_file(table, path));
    let expected = table.required_table("expected", expected);
    let limits = limits(table, Limits::BENCHMARK);
    let priority = priority(table);
    let typical_ms = typical_ms(table, "typical_s");
    let count_instructions = table.optional_bool("count_instructions").unwrap_or(true);
    let repeat = table.optional_integer("repeat", 1..=REPEAT_MAX).unwrap_or(1) as u32;
    let command = command.into_iter().map(|w| w.value).collect();
    let expected = expected?;
    let program = Program { command, env, stdin, expected, count_instructions, repeat };
    let work = Workload::Program(program);
    Some(Benchmark { name: name?, what: what?, priority, work, limits, typical_ms })
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
    let baseline = [("baseline", ())];
    let sides = [
        (Stream::Stdout, table.optional_choice("stdout_of", &baseline)),
        (Stream::Stderr, table.optional_choice("stderr_of", &baseline)),
    ];
    let exit = table.optional_integer("exit", 0..=255).unwrap_or(0) as i32;
    let mut found = Vec::new();
    for (stream, digest) in digests {
        let Some(digest) = digest else { continue };
        let answer = digest.value.parse().map(ExpectedAnswer::Digest);
        if let Err(error) = &answer {
            table.note(digest.span, error.to_string(), "64 hexadecimal digits", None);
        }
        found.push(answer.ok().map(|answer| Expected { stream, answer, exit }));
    }
    for (stream, file) in files {
        let Some(file) = file else { continue };
        let answer = suite_file(table, file).map(ExpectedAnswer::File);
        found.push(answer.map(|answer| Expected { stream, answer, exit }));
    }
    for (stream, side) in sides {
        let Some(()) = side else { continue };
        found.push(Some(Expected { stream, answer: ExpectedAnswer::Baseline, exit }));
    }
    if found.len() != 1 {
        table.note(
            table.span(),
            "what is expected is one thing",
            "one of stdout_file, stderr_file, stdout_sha256, stderr_sha256, stdout_of, stderr_of",
            None,
        );
        return None;
    }
    found.remove(0)
}

fn check_placeholders(table: &Table<'_>, word: &str, span: Range<usize>, known: &BTreeSet<&str>) {
    for part in parts(word, &known.iter().copied().collect()) {
        let Part::Slip(name, other) = part else { continue };
        let names: Vec<String> = known.iter().map(|name| format!("{{{name}}}")).collect();
        table.note(
            span.clone(),
            format!("`{{{name}}}` stands for nothing here"),
            one_of(&names),
            Some(format!("did you mean `{other}`? For the text itself write `{{{{{name}}}}}`")),
        );
    }
}

/// Checks the names after `{artifact}/` and `{inputs}/`, which are those of outputs, as far as
/// they can be known.
fn check_outputs(table: &Table<'_>, word: &Located<String>, known: &Known<'_>) {
    let parts = parts(&word.value, &known.placeholders);
    for (place, part) in parts.iter().enumerate() {
        let Part::Name(folder) = part else { continue };
        let Some(names) = known.outputs.get(folder) else { continue };
        let Some(Part::Text(text)) = parts.get(place + 1) else { continue };
        let Some(rest) = text.strip_prefix('/') else { continue };
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let end = rest.find(|c| !is_of_name(c));
        // What follows may be part of it: another value, a shell's pattern or variable.
        let is_whole = match end {
            Some(end) => !rest[end..].starts_with(['{', '*', '?', '[', '$', '\\']),
            None => !matches!(parts.get(place + 2), Some(Part::Name(_))),
        };
        let name = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
        if is_whole && is_name(&name.to_ascii_lowercase()) && !names.contains(name) {
            table.note(
                word.span.clone(),
                format!("no output is called `{name}`"),
                one_of(&names.iter().collect::<Vec<_>>()),
                suggest(name, names.iter().map(String::as_str)),
            );
        }
    }
}

#[cfg(test)]
mod tests;
