//! The processes that are measured: the compiler on one crate, or cargo on its whole graph.

use std::collections::BTreeMap;

use dyno_model::catalog::suite::{Backend, CompilerConfig, Crate, Limits, Profile};
use dyno_model::metric;
use dyno_probe::{
    FLAGS, PIPELINING, SizeQuery, SizedFiles, Spawn, TIMINGS, UNITS, UNITS_FILE, UnitCommand,
};

use super::compiler_facts::{Build, Compiler, CrateCompilation};
use super::sources::VendoredCrate;
use super::{CRATES, PREPARED};
use dyno_engine::base_env;

/// The probe in a container, which wraps compilers too.
const WRAPPER: &str = "/dyno/probe";

/// Name of the size of everything written, which is asked for in any case.
pub const WRITTEN: &str = "written";

/// Folders where a compiler writes, where its incremental cache is, and where cargo builds.
const OUT: &str = "/tmp/out";
const INCREMENTAL: &str = "/tmp/incr";
const TARGET: &str = "/tmp/target";

/// The build that must exist before a crate is compiled under `profile`.
pub const fn required_build(profile: Profile) -> Build {
    match profile {
        Profile::Check | Profile::Doc | Profile::Clippy => Build::Check,
        Profile::Opt => Build::Opt,
        Profile::Debug => Build::Debug,
    }
}

/// Path at which the source of a crate is compiled, the same whatever was changed in it.
fn source_path(krate: &Crate) -> String {
    format!("/tmp/src/{}", krate.name)
}

/// A command that puts the source there, and empty folders beside it.
pub fn setup_command(
    krate: &Crate,
    vendored: &VendoredCrate,
    patched: bool,
    more: &str,
) -> Vec<String> {
    let from = if patched { "patched" } else { "src" };
    let script = format!(
        "mkdir -p /tmp/src {OUT}\ncp -R {CRATES}/{}/{from} {}\n{more}",
        vendored.digest.hex(),
        source_path(krate)
    );
    ["sh", "-ec", &script].map(String::from).into()
}

/// The process of cargo on the crate, from what was vendored, with the wrapper between it and the
/// compiler.
pub fn cargo_build(
    krate: &Crate,
    vendored: &VendoredCrate,
    compiler: &Compiler,
    build: Build,
    jobs: u32,
) -> Spawn {
    let vendor = format!("{CRATES}/{}/vendor", vendored.digest.hex());
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
        cwd: source_path(krate),
        setup: Some(setup_command(krate, vendored, false, "")),
        units: true,
        ..bare_spawn(argv, env)
    }
}

/// The build of a whole graph under `config`. Whose it is and its limits are left to the caller.
/// Without an axis `jobs` it has as many as there are benchmark cores, as cargo would.
pub fn crate_graph_build(
    krate: &Crate,
    vendored: &VendoredCrate,
    compiler: &Compiler,
    config: &CompilerConfig,
    cores: usize,
) -> Spawn {
    let build = required_build(config.profile);
    let jobs = config.jobs.unwrap_or(cores as u32);
    let mut spawn = cargo_build(krate, vendored, compiler, build, jobs);
    spawn.env.insert("CARGO_TARGET_DIR".into(), TARGET.into());
    spawn.env.insert(PIPELINING.into(), if config.pipelining { "on" } else { "off" }.into());
    spawn.env.insert(TIMINGS.into(), if compiler.timings { "on" } else { "off" }.into());
    let flags = compiler_flags(config.threads, config.backend);
    spawn.env.insert(FLAGS.into(), flags.join(" "));
    let folder = format!("{TARGET}/{}", if build == Build::Opt { "release" } else { "debug" });
    spawn.sizes = size_queries((&folder, TARGET), SizedFiles::Archived, None);
    spawn.sizes.insert(WRITTEN.into(), SizeQuery { folder: TARGET.into(), files: SizedFiles::All });
    spawn
}

/// The option that makes the compiler generate code by `backend`.
pub fn backend_flag(backend: Backend) -> String {
    format!("-Zcodegen-backend={}", backend.name())
}

/// Options for a number of threads and a backend.
///
/// One thread is asked for too: it need not be what a compiler does by itself.
fn compiler_flags(threads: Option<u32>, backend: Backend) -> Vec<String> {
    let threads = threads.map(|n| format!("-Zthreads={n}"));
    let backend = (backend != Backend::Llvm).then(|| backend_flag(backend));
    threads.into_iter().chain(backend).collect()
}

/// The compiler's process on the crate itself under `config`.
pub fn crate_compilation(
    krate: &Crate,
    vendored: &VendoredCrate,
    compiler: &Compiler,
    compilation: &CrateCompilation,
    config: &CompilerConfig,
) -> Spawn {
    let CompilerConfig { profile, scenario, .. } = *config;
    let incremental = scenario.is_incremental().then_some(INCREMENTAL);
    let mut argv = match profile {
        Profile::Doc => rustdoc_arguments(&compiler.rustdoc, &compilation.command.argv),
        Profile::Clippy => {
            let driver = compiler.clippy.clone().unwrap_or_default();
            std::iter::once(driver)
                .chain(rustc_arguments(&compilation.command.argv, None))
                .collect()
        }
        Profile::Check | Profile::Debug | Profile::Opt => {
            rustc_arguments(&compilation.command.argv, incremental)
        }
    };
    argv.extend(compiler_flags(config.threads, config.backend));
    let more = if scenario.has_cache() {
        format!("cp -R {} {INCREMENTAL}", compilation.incremental())
    } else {
        String::new()
    };
    let mut sizes = size_queries((OUT, OUT), SizedFiles::Objects, incremental);
    sizes.insert(WRITTEN.into(), SizeQuery { folder: OUT.into(), files: SizedFiles::All });
    Spawn {
        cwd: source_path(krate),
        setup: Some(setup_command(krate, vendored, scenario.is_patched(), &more)),
        sizes,
        ..bare_spawn(argv, compiler_environment(&compilation.command, profile == Profile::Clippy))
    }
}

/// Sizes of the binary in the folder `linked` and of all that was written below `compiled`.
fn size_queries(
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
    let query = |(name, folder, files): (&str, &str, _)| {
        (name.to_string(), SizeQuery { folder: folder.into(), files })
    };
    let queries: BTreeMap<String, SizeQuery> =
        written.into_iter().chain(cache).map(query).collect();
    debug_assert!(queries.keys().all(|name| metric::measures_output(name)));
    queries
}

/// The command line that cargo gave, but for where it writes: to a folder of its own, and without
/// or with an incremental cache.
fn rustc_arguments(argv: &[String], incremental: Option<&str>) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = argv.iter().peekable();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--out-dir" => {
                rest.next();
                words.extend(["--out-dir".into(), OUT.into()]);
            }
            "-C" if rest.peek().is_some_and(|next| next.starts_with("incremental=")) => {
                rest.next();
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
fn rustdoc_arguments(rustdoc: &str, argv: &[String]) -> Vec<String> {
    let mut words = vec![rustdoc.to_string()];
    let mut rest = argv.iter().skip(1);
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--out-dir" => {
                rest.next();
                words.extend(["-o".into(), OUT.into()]);
            }
            "-C" => {
                if let Some(option) = rest.next()
                    && option.starts_with("metadata=")
                {
                    words.extend([word.clone(), option.clone()]);
                }
            }
            // Rustdoc knows nothing of linking.
            "-l" => {
                rest.next();
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

/// The environment that cargo gave the compiler, but for what ties it to that cargo.
fn compiler_environment(command: &UnitCommand, clippy: bool) -> BTreeMap<String, String> {
    const CARGOS_OWN: [&str; 5] =
        ["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS", "RUSTC_WRAPPER", "CARGO_TARGET_DIR"];
    let is_inherited =
        |name: &&String| !name.starts_with("DYNO_") && !CARGOS_OWN.contains(&name.as_str());
    let mut env: BTreeMap<String, String> = command
        .env
        .iter()
        .filter(|(name, _)| is_inherited(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // Threads and backends are unstable options.
    env.insert("RUSTC_BOOTSTRAP".into(), "1".into());
    if clippy {
        env.insert("CLIPPY_ARGS".into(), String::new());
    }
    env
}

/// The process that fills the incremental cache that `incr-unchanged` and `incr-patched` begin
/// with.
///
/// It is filled by the backend that will use it: to the compiler another's is none.
pub fn fill_cache(
    krate: &Crate,
    vendored: &VendoredCrate,
    compilation: &CrateCompilation,
    backend: Backend,
) -> Spawn {
    let mut argv = rustc_arguments(&compilation.command.argv, Some(&compilation.incremental()));
    argv.extend(compiler_flags(None, backend));
    Spawn {
        cwd: source_path(krate),
        setup: Some(setup_command(krate, vendored, false, "")),
        ..bare_spawn(argv, compiler_environment(&compilation.command, false))
    }
}

/// Folder in which the crates that one crate depends on are built.
pub fn prepared_folder(krate: &str, build: Build, backend: Backend) -> String {
    let backend = match backend {
        Backend::Llvm => String::new(),
        other => format!("-{}", other.name()),
    };
    format!("{PREPARED}/{krate}/{}{backend}", build.name())
}

/// A process in `/tmp` that nothing more is known of; [`with_limits`] says whose it is.
pub fn bare_spawn(argv: Vec<String>, env: BTreeMap<String, String>) -> Spawn {
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
        repeat: 1,
        count_instructions: false,
    }
}

/// The process `spawn` as a user and under limits.
pub fn with_limits(spawn: Spawn, (uid, gid): (u32, u32), limits: &Limits) -> Spawn {
    let (time_ms, output_bytes) = (limits.time_s * 1000, limits.output_bytes);
    Spawn { uid, gid, time_ms, output_bytes, ..spawn }
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
            rustc_arguments(&argv, None).join(" "),
            rustc_arguments(&argv, Some("/tmp/incr")).join(" "),
            rustdoc_arguments("/usr/bin/rustdoc", &argv).join(" "),
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
        let names: Vec<String> = compiler_environment(&command, false).into_keys().collect();
        assert_eq!(names, ["CARGO_PKG_NAME", "OUT_DIR", "RUSTC_BOOTSTRAP"]);
    }

    #[test]
    fn flags_of_an_axis() {
        let llvm = Backend::Llvm;
        assert!(compiler_flags(None, llvm).is_empty());
        assert_eq!(compiler_flags(Some(1), llvm), ["-Zthreads=1"]);
        let flags = compiler_flags(Some(4), Backend::Cranelift);
        assert_eq!(flags, ["-Zthreads=4", "-Zcodegen-backend=cranelift"]);
    }
}
