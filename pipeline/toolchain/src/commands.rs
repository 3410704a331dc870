//! The processes that are measured: the compiler on one crate, or cargo on its whole graph.

use std::collections::BTreeMap;

use dyno_model::catalog::suite::{Backend, CompilerConfig, Crate, Limits, Profile};
use dyno_model::metric;
use dyno_probe::{
    FLAGS, PIPELINING, SizeQuery, SizedFiles, Spawn, TIMINGS, UNITS, UNITS_FILE, UnitCommand,
};

use super::compiler_facts::{Build, Compiler, Leaf};
use super::sources::Laid;
use super::{CRATES, PREPARED};
use dyno_engine::base_env;

/// The probe in a container, which wraps compilers too.
const WRAPPER: &str = "/dyno/probe";

/// What a size is called that is of everything written, whether somebody asked for it or not.
pub const WRITTEN: &str = "written";

/// Where a compiler writes, where its incremental cache is, and where cargo builds.
const OUT: &str = "/tmp/out";
const INCREMENTAL: &str = "/tmp/incr";
const TARGET: &str = "/tmp/target";

/// What must have been built before a crate is compiled under `profile`.
pub const fn required_build(profile: Profile) -> Build {
    match profile {
        Profile::Check | Profile::Doc | Profile::Clippy => Build::Check,
        Profile::Opt => Build::Opt,
        Profile::Debug => Build::Debug,
    }
}

/// Where the source of a crate is compiled, the same whatever was changed in it.
fn source(krate: &Crate) -> String {
    format!("/tmp/src/{}", krate.name)
}

/// A command that puts the source there, and empty folders beside it.
pub fn set_up(krate: &Crate, laid: &Laid, patched: bool, more: &str) -> Vec<String> {
    let from = if patched { "patched" } else { "src" };
    let script = format!(
        "mkdir -p /tmp/src {OUT}\ncp -R {CRATES}/{}/{from} {}\n{more}",
        laid.digest.hex(),
        source(krate)
    );
    ["sh", "-ec", &script].map(String::from).into()
}

/// Cargo on the crate, from what was vendored, with the wrapper between it and the compiler.
pub fn cargo(krate: &Crate, laid: &Laid, compiler: &Compiler, build: Build, jobs: u32) -> Spawn {
    let vendor = format!("{CRATES}/{}/vendor", laid.digest.hex());
    let mut argv = vec![compiler.cargo.clone()];
    argv.push(if build == Build::Check { "check" } else { "build" }.into());
    match &krate.bin {
        Some(bin) => argv.extend(["--bin".into(), bin.clone()]),
        None => argv.push("--lib".into()),
    }
    if build == Build::Opt {
        argv.push("--release".into());
    }
    if let Some(features) = &krate.features {
        argv.extend(["--no-default-features".into(), format!("--features={}", features.join(","))]);
    }
    argv.extend(["--frozen".into(), format!("-j{jobs}")]);
    for setting in [
        "source.crates-io.replace-with=\"vendored\"".to_string(),
        format!("source.vendored.directory={vendor:?}"),
    ] {
        argv.extend(["--config".into(), setting]);
    }
    let mut env = base_env();
    for (name, value) in [
        ("CARGO_HOME", "/tmp/cargo"),
        ("CARGO_INCREMENTAL", "0"),
        ("CARGO_TERM_COLOR", "never"),
        ("RUSTC", compiler.rustc.as_str()),
        ("RUSTC_WRAPPER", WRAPPER),
        ("SOURCE_DATE_EPOCH", "0"),
        (UNITS, UNITS_FILE),
    ] {
        env.insert(name.into(), value.into());
    }
    Spawn {
        cwd: source(krate),
        setup: Some(set_up(krate, laid, false, "")),
        units: true,
        ..plain(argv, env)
    }
}

/// The build of a whole graph under `config`. Whose it is and its limits are left to the caller.
/// Without an axis `jobs` it has as many as there are benchmark cores, as cargo would.
pub fn graph(
    krate: &Crate,
    laid: &Laid,
    compiler: &Compiler,
    config: &CompilerConfig,
    cores: usize,
) -> Spawn {
    let build = required_build(config.profile);
    let jobs = config.jobs.unwrap_or(cores as u32);
    let mut run = cargo(krate, laid, compiler, build, jobs);
    run.env.insert("CARGO_TARGET_DIR".into(), TARGET.into());
    run.env.insert(PIPELINING.into(), if config.pipelining { "on" } else { "off" }.into());
    run.env.insert(TIMINGS.into(), if compiler.timings { "on" } else { "off" }.into());
    let flags = flags(config.threads, config.backend);
    run.env.insert(FLAGS.into(), flags.join(" "));
    let folder = format!("{TARGET}/{}", if build == Build::Opt { "release" } else { "debug" });
    run.sizes = sizes((&folder, TARGET), SizedFiles::Archived, None);
    run.sizes.insert(WRITTEN.into(), SizeQuery { folder: TARGET.into(), files: SizedFiles::All });
    run
}

/// The option that makes the compiler generate code by `backend`.
pub fn backend_flag(backend: Backend) -> String {
    format!("-Zcodegen-backend={}", backend.name())
}

/// Options of a number of threads and of a backend.
///
/// One thread is asked for too: it need not be what a compiler does by itself.
fn flags(threads: Option<u32>, backend: Backend) -> Vec<String> {
    let threads = threads.map(|n| format!("-Zthreads={n}"));
    let backend = (backend != Backend::Llvm).then(|| backend_flag(backend));
    threads.into_iter().chain(backend).collect()
}

/// The compiler's process on the crate itself under `config`.
pub fn leaf(
    krate: &Crate,
    laid: &Laid,
    compiler: &Compiler,
    leaf: &Leaf,
    config: &CompilerConfig,
) -> Spawn {
    let CompilerConfig { profile, scenario, .. } = *config;
    let incremental = scenario.is_incremental().then_some(INCREMENTAL);
    let mut argv = match profile {
        Profile::Doc => documenting(&compiler.rustdoc, &leaf.command.argv),
        Profile::Clippy => {
            let driver = compiler.clippy.clone().unwrap_or_default();
            std::iter::once(driver).chain(compiling(&leaf.command.argv, None)).collect()
        }
        Profile::Check | Profile::Debug | Profile::Opt => {
            compiling(&leaf.command.argv, incremental)
        }
    };
    argv.extend(flags(config.threads, config.backend));
    let more = if scenario.has_cache() {
        format!("cp -R {} {INCREMENTAL}", leaf.incremental())
    } else {
        String::new()
    };
    let mut sizes = sizes((OUT, OUT), SizedFiles::Objects, incremental);
    sizes.insert(WRITTEN.into(), SizeQuery { folder: OUT.into(), files: SizedFiles::All });
    Spawn {
        cwd: source(krate),
        setup: Some(set_up(krate, laid, scenario.is_patched(), &more)),
        sizes,
        ..plain(argv, environment(&leaf.command, profile == Profile::Clippy))
    }
}

/// Sizes of the binary in the folder `linked` and of all that was written below `compiled`.
fn sizes(
    (linked, compiled): (&str, &str),
    objects: SizedFiles,
    incremental: Option<&str>,
) -> BTreeMap<String, SizeQuery> {
    let suffix = |text: &str| SizedFiles::Suffix(text.into());
    let written = [
        ("binary-size", linked, SizedFiles::Executable),
        ("rlib-size", compiled, suffix(".rlib")),
        ("metadata-size", compiled, suffix(".rmeta")),
        ("object-size", compiled, objects),
    ];
    let cache = incremental.map(|cache| ("incremental-size", cache, SizedFiles::All));
    let sized = |(name, folder, files): (&str, &str, _)| {
        (name.to_string(), SizeQuery { folder: folder.into(), files })
    };
    let sizes: BTreeMap<String, SizeQuery> = written.into_iter().chain(cache).map(sized).collect();
    debug_assert!(sizes.keys().all(|name| metric::measures_output(name)));
    sizes
}

/// Cargo's own command line, but for where it writes: to a folder of its own, and without or with
/// an incremental cache.
fn compiling(argv: &[String], incremental: Option<&str>) -> Vec<String> {
    let mut words = Vec::new();
    let mut left = argv.iter().peekable();
    while let Some(word) = left.next() {
        match word.as_str() {
            "--out-dir" => {
                left.next();
                words.extend(["--out-dir".into(), OUT.into()]);
            }
            "-C" if left.peek().is_some_and(|next| next.starts_with("incremental=")) => {
                left.next();
            }
            _ => words.push(word.clone()),
        }
    }
    if let Some(folder) = incremental {
        words.extend(["-C".into(), format!("incremental={folder}")]);
    }
    words
}

/// The command line of rustdoc that cargo would give: what rustc was given, but for code generation
/// and messages to cargo.
fn documenting(rustdoc: &str, argv: &[String]) -> Vec<String> {
    let mut words = vec![rustdoc.to_string()];
    let mut left = argv.iter().skip(1);
    while let Some(word) = left.next() {
        match word.as_str() {
            "--out-dir" => {
                left.next();
                words.extend(["-o".into(), OUT.into()]);
            }
            "-C" => {
                if let Some(option) = left.next()
                    && option.starts_with("metadata=")
                {
                    words.extend([word.clone(), option.clone()]);
                }
            }
            // Rustdoc knows nothing of linking.
            "-l" => {
                left.next();
            }
            word if word.starts_with("-l") => {}
            word if word.starts_with("--emit=") || word.starts_with("--json=") => {}
            word if word.starts_with("--error-format=")
                || word.starts_with("--diagnostic-width") => {}
            _ => words.push(word.clone()),
        }
    }
    words
}

/// What cargo gave the compiler, but for what ties it to that cargo.
fn environment(command: &UnitCommand, clippy: bool) -> BTreeMap<String, String> {
    const CARGOS_OWN: [&str; 5] =
        ["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS", "RUSTC_WRAPPER", "CARGO_TARGET_DIR"];
    let kept = |name: &&String| !name.starts_with("DYNO_") && !CARGOS_OWN.contains(&name.as_str());
    let mut env: BTreeMap<String, String> = command
        .env
        .iter()
        .filter(|(name, _)| kept(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // Threads and backends are unstable options.
    env.insert("RUSTC_BOOTSTRAP".into(), "1".into());
    if clippy {
        env.insert("CLIPPY_ARGS".into(), String::new());
    }
    env
}

/// The compiler filling the incremental cache that `incr-unchanged` and `incr-patched` begin with.
///
/// By the backend that will use it: to the compiler another's is none.
pub fn fill_cache(krate: &Crate, laid: &Laid, leaf: &Leaf, backend: Backend) -> Spawn {
    let mut argv = compiling(&leaf.command.argv, Some(&leaf.incremental()));
    argv.extend(flags(None, backend));
    Spawn {
        cwd: source(krate),
        setup: Some(set_up(krate, laid, false, "")),
        ..plain(argv, environment(&leaf.command, false))
    }
}

/// Where the crates that one crate depends on are built.
pub fn prepared_folder(krate: &str, build: Build, backend: Backend) -> String {
    let backend = match backend {
        Backend::Llvm => String::new(),
        other => format!("-{}", other.name()),
    };
    format!("{PREPARED}/{krate}/{}{backend}", build.name())
}

/// A process in `/tmp` that nothing more is known of; [`bounded`] says whose it is.
pub fn plain(argv: Vec<String>, env: BTreeMap<String, String>) -> Spawn {
    Spawn {
        argv,
        env,
        cwd: "/tmp".into(),
        uid: 0,
        gid: 0,
        stdin: None,
        setup: None,
        sizes: BTreeMap::new(),
        units: false,
        time_ms: 0,
        output_bytes: 0,
        stream: false,
        count_instructions: false,
    }
}

/// Whose a process is, and what it may use.
pub fn bounded(run: Spawn, (uid, gid): (u32, u32), limits: &Limits) -> Spawn {
    let (time_ms, output_bytes) = (limits.time_s * 1000, limits.output_bytes);
    Spawn { uid, gid, time_ms, output_bytes, ..run }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "/usr/bin/rustc --crate-name syn --edition=2021 src/lib.rs --error-format=json \
        --json=diagnostic-rendered-ansi,artifacts --crate-type lib --emit=dep-info,metadata \
        -C embed-bitcode=no -l static=z -lm -C debuginfo=2 -C incremental=/x -C metadata=5a -C extra-filename=-5a \
        --out-dir /prepared/syn/check/target/debug/deps -L dependency=/prepared/syn/check/target/debug/deps \
        --extern a=/prepared/syn/check/target/debug/deps/liba-1.rmeta";

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn command_lines() {
        let argv = words(LINE);
        let shown = [
            compiling(&argv, None).join(" "),
            compiling(&argv, Some("/tmp/incr")).join(" "),
            documenting("/usr/bin/rustdoc", &argv).join(" "),
        ];
        insta::assert_snapshot!(shown.join("\n\n"));
    }

    #[test]
    fn what_ties_a_compiler_to_its_cargo_is_left_out() {
        let env = [
            ("CARGO_MAKEFLAGS", "-j"),
            ("CARGO_PKG_NAME", "a"),
            ("DYNO_UNITS", "x"),
            ("OUT_DIR", "/o"),
        ];
        let env = env.map(|(name, value)| (name.to_string(), value.to_string())).into();
        let command = UnitCommand { env, ..UnitCommand::default() };
        let kept: Vec<String> = environment(&command, false).into_keys().collect();
        assert_eq!(kept, ["CARGO_PKG_NAME", "OUT_DIR", "RUSTC_BOOTSTRAP"]);
    }

    #[test]
    fn flags_of_an_axis() {
        let llvm = Backend::Llvm;
        assert!(flags(None, llvm).is_empty());
        assert_eq!(flags(Some(1), llvm), ["-Zthreads=1"]);
        let both = flags(Some(4), Backend::Cranelift);
        assert_eq!(both, ["-Zthreads=4", "-Zcodegen-backend=cranelift"]);
    }
}
