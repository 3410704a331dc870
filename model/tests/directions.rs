//! The house as tests can hold it: who may look into whom, what each crate must never know, no
//! cycle between the files of a crate, no file or function that nobody can read at once. The first
//! two are Cargo facts, read from `cargo metadata`; the others are read from the sources as text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crate → the crates of ours that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("dyno-model", &[]),
    ("dyno-store", &["dyno-model"]),
    ("dyno-query", &["dyno-model", "dyno-store"]),
    ("dyno-queue", &["dyno-model", "dyno-store"]),
    ("dyno-reports", &["dyno-model"]),
    ("dyno-probe", &[]),
    ("dyno-base", &["dyno-model", "dyno-probe"]),
    ("dyno-host", &["dyno-base", "dyno-model", "dyno-probe"]),
    ("dyno-engine", &["dyno-base", "dyno-host", "dyno-model", "dyno-probe"]),
    ("dyno-github-twin", &[]),
    ("dyno-image", &["dyno-base", "dyno-model"]),
    ("dyno-build", &["dyno-base", "dyno-engine", "dyno-model", "dyno-probe"]),
    ("dyno-toolchain", &["dyno-base", "dyno-build", "dyno-engine", "dyno-model", "dyno-probe"]),
    (
        "dyno-measure",
        &[
            "dyno-base",
            "dyno-build",
            "dyno-engine",
            "dyno-host",
            "dyno-model",
            "dyno-probe",
            "dyno-toolchain",
        ],
    ),
    (
        "dyno-job",
        &[
            "dyno-base",
            "dyno-build",
            "dyno-engine",
            "dyno-host",
            "dyno-image",
            "dyno-measure",
            "dyno-model",
            "dyno-store",
            "dyno-toolchain",
        ],
    ),
    ("dyno-answer", &["dyno-base", "dyno-model", "dyno-query", "dyno-reports", "dyno-store"]),
    ("dyno-bot", &["dyno-model", "dyno-queue", "dyno-reports"]),
    (
        "dyno",
        &[
            "dyno-answer",
            "dyno-base",
            "dyno-bot",
            "dyno-build",
            "dyno-engine",
            "dyno-host",
            "dyno-image",
            "dyno-job",
            "dyno-model",
            "dyno-query",
            "dyno-queue",
            "dyno-reports",
            "dyno-store",
            "dyno-toolchain",
        ],
    ),
    ("dyno-tools", &["dyno-model", "dyno-query", "dyno-store"]),
];

/// Crate → what it must never know, as crates that it must not name.
const NEVER: &[(&str, &[&str])] = &[
    ("dyno-model", &["tokio", "datafusion", "bollard", "reqwest", "object_store", "nix", "libc"]),
    ("dyno-reports", &["tokio", "datafusion", "bollard", "reqwest", "object_store", "nix", "libc"]),
    ("dyno-store", &["datafusion", "minijinja", "bollard", "clap"]),
    ("dyno-query", &["bollard", "libcontainer", "minijinja", "clap"]),
    ("dyno-queue", &["datafusion", "minijinja", "bollard", "clap", "reqwest"]),
    ("dyno-base", &["bollard", "libcontainer", "object_store", "datafusion", "parquet", "clap"]),
    ("dyno-host", &["bollard", "libcontainer", "object_store", "datafusion", "reqwest"]),
    ("dyno-engine", &["object_store", "datafusion", "reqwest", "tame-index"]),
    ("dyno-github-twin", &["octocrab", "reqwest", "object_store", "datafusion"]),
    ("dyno-image", &["bollard", "libcontainer", "object_store", "datafusion"]),
    ("dyno-build", &["bollard", "libcontainer", "object_store", "datafusion"]),
    ("dyno-toolchain", &["bollard", "libcontainer", "object_store", "datafusion"]),
    ("dyno-measure", &["reqwest", "tame-index", "object_store", "datafusion", "bollard"]),
    ("dyno-job", &["datafusion", "clap", "indicatif", "bollard", "libcontainer"]),
    ("dyno-answer", &["bollard", "libcontainer", "clap", "indicatif"]),
    (
        "dyno-bot",
        &["arrow", "bollard", "clap", "datafusion", "libcontainer", "object_store", "parquet"],
    ),
];

/// What the probe may depend on: little, for it stands beside what is measured.
const PROBE: &[&str] =
    &["hex", "libc", "object", "perf-event-open-sys", "seccompiler", "serde", "serde_json", "sha2"];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Package → its folder and the names of its ordinary dependencies.
fn packages() -> BTreeMap<String, (PathBuf, BTreeSet<String>)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = |package: &serde_json::Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let names = dependencies.filter(|d| d["kind"].is_null());
        let names = names.map(|d| d["name"].as_str().unwrap().to_string()).collect();
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        let name = package["name"].as_str().unwrap().to_string();
        (name, (manifest.parent().unwrap().to_path_buf(), names))
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

#[test]
fn dependencies_point_the_right_way() {
    let found = packages();
    let ours: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(found.keys().map(String::as_str).collect::<BTreeSet<_>>(), ours);
    for (name, allowed) in ALLOWED {
        let names = found[*name].1.iter().map(String::as_str);
        let arrows: BTreeSet<&str> = names.filter(|d| ours.contains(d)).collect();
        assert_eq!(arrows, allowed.iter().copied().collect(), "arrows of {name}");
    }
    for (name, never) in NEVER {
        let known = never.iter().filter(|other| found[*name].1.contains(**other));
        let known: Vec<&&str> = known.collect();
        assert!(known.is_empty(), "{name} must never know {known:?}");
    }
    let probe: BTreeSet<&str> = found["dyno-probe"].1.iter().map(String::as_str).collect();
    assert_eq!(probe, PROBE.iter().copied().collect());
}

/// Crate → the features with which `cargo build`, asked with `words`, builds it.
fn built_features(words: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--prefix=none", "--format={p}|{f}"])
        .args(words)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut features: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        if let Some((package, names)) = line.trim_end_matches(" (*)").split_once('|') {
            let package = package.trim_end_matches(" (proc-macro)").to_string();
            features.entry(package).or_default().insert(names.to_string());
        }
    }
    features
}

/// A feature that only the tests switch on would have DataFusion built a second time.
#[test]
fn the_tests_build_what_the_demo_has_built() {
    let demo = built_features(&["-p", "dyno", "--edges=normal,build"]);
    let tests = built_features(&["--workspace", "--edges=normal,build,dev"]);
    assert!(demo.len() > 300, "{} crates", demo.len());
    for (package, features) in &demo {
        assert_eq!(features, &tests[package], "{package}");
    }
}

/// The Rust files below `folder`, with their text.
fn sources(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            files.insert(path, text);
        }
    }
    files
}

#[test]
fn files_and_functions_can_be_read_at_once() {
    let mut long = Vec::new();
    for (folder, _) in packages().values() {
        for (path, text) in sources(&folder.join("src")) {
            let lines: Vec<&str> = text.lines().collect();
            if lines.len() > FILE_LINES_MAX {
                long.push(format!("{}: {} lines", path.display(), lines.len()));
            }
            for (start, line) in lines.iter().enumerate() {
                let indent = &line[..line.len() - line.trim_start().len()];
                let modifiers = ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe"];
                let mut words = line.trim_start().split(' ');
                if words.find(|word| !modifiers.contains(word)) != Some("fn") {
                    continue;
                }
                if line.ends_with(';') || line.ends_with('}') {
                    continue;
                }
                let end = format!("{indent}}}");
                let length = lines[start..].iter().position(|l| l.trim_end() == end).unwrap_or(0);
                if length > FUNCTION_LINES_MAX {
                    long.push(format!("{}:{}: {length} lines", path.display(), start + 1));
                }
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// Names of modules from the crate's root to a file below its `src`.
fn module(src: &Path, file: &Path) -> Vec<String> {
    let path = file.strip_prefix(src).unwrap().with_extension("");
    let mut names: Vec<String> =
        path.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|name| name == "mod") || names == ["lib"] || names == ["main"] {
        names.pop();
    }
    names
}

/// The modules of a crate that `text` of the module `me` names by `crate::` or `super::`.
fn named_modules(
    text: &str,
    me: &[String],
    modules: &BTreeSet<Vec<String>>,
) -> BTreeSet<Vec<String>> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or("");
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut named = BTreeSet::new();
    for (start, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let before = code[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        for path in use_paths(&code[start..]) {
            let mut names = path.split("::").map(str::trim).peekable();
            let mut base: Vec<String> = Vec::new();
            if names.next() == Some("super") {
                base = me[..me.len().saturating_sub(1)].to_vec();
                while names.next_if_eq(&"super").is_some() {
                    base.pop();
                }
            }
            base.extend(names.map(str::to_string));
            while !modules.contains(&base) && base.pop().is_some() {}
            named.insert(base);
        }
    }
    named
}

/// The paths that `text` begins with: one, or as many as its braces spell out.
fn use_paths(text: &str) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let end = text.find(|c: char| !is_path(c)).unwrap_or(text.len());
    let (prefix, rest) = text.split_at(end);
    if !prefix.ends_with("::") || !rest.starts_with('{') {
        return vec![prefix.to_string()];
    }
    let (mut depth, mut item, mut paths) = (0, String::new(), Vec::new());
    for c in rest.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if (c == ',' && depth == 1) || depth == 0 {
            let inner = item.trim_start_matches('{').trim();
            paths.extend(use_paths(inner).into_iter().map(|path| format!("{prefix}{path}")));
            item.clear();
            if depth == 0 {
                break;
            }
        } else {
            item.push(c);
        }
    }
    paths
}

#[test]
fn no_file_of_a_crate_depends_on_one_that_depends_on_it() {
    let mut cycles = Vec::new();
    for (name, (folder, _)) in packages() {
        let src = folder.join("src");
        let files = sources(&src);
        let modules: BTreeSet<Vec<String>> = files.keys().map(|file| module(&src, file)).collect();
        let arrows: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = files
            .iter()
            .map(|(file, text)| {
                let me = module(&src, file);
                let mut named = named_modules(text, &me, &modules);
                // A module and its children may look into each other.
                named.retain(|other| !other.starts_with(&me) && !me.starts_with(other));
                (me, named)
            })
            .collect();
        for start in arrows.keys() {
            let (mut seen, mut ahead) = (BTreeSet::new(), vec![start]);
            while let Some(next) = ahead.pop() {
                for other in arrows.get(next).into_iter().flatten() {
                    if other == start {
                        cycles.push(format!(
                            "{name}: {} by way of {}",
                            start.join("::"),
                            next.join("::")
                        ));
                    }
                    if seen.insert(other) {
                        ahead.push(other);
                    }
                }
            }
        }
    }
    assert!(cycles.is_empty(), "{}", cycles.join("\n"));
}

#[test]
fn a_doc_comment_has_a_subject() {
    const WITHOUT_SUBJECT: &[&str] = &[
        "Of", "Or", "That", "Those", "As", "At", "Between", "Beyond", "By", "For", "From", "In",
        "On", "Over", "Relative", "Under", "With", "Without",
    ];
    let has_no_subject = |doc: &str| {
        let first = doc.split_whitespace().next().unwrap_or_default();
        WITHOUT_SUBJECT.contains(&first)
    };
    let mut found = Vec::new();
    for (folder, _) in packages().values() {
        for (path, text) in sources(&folder.join("src")) {
            let mut last_was_doc = false;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim_start();
                let doc = line.strip_prefix("//!").or_else(|| line.strip_prefix("///"));
                let is_doc = doc.is_some();
                if !last_was_doc && doc.is_some_and(has_no_subject) {
                    found.push(format!("{}:{}: {line}", path.display(), number + 1));
                }
                last_was_doc = is_doc;
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
