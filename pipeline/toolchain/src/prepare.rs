//! The preparation before anything is measured: what a compiler is and can, and the crates that
//! benchmarks depend on, built by it.
//!
//! Each side has a container of its own for this, on all cores and without a network. Cargo builds
//! each crate once for each kind of build that a case needs, so that all below it is there, and the
//! wrapper writes down the command line of the crate itself. That is what is measured later, with
//! nothing of it changed but where it writes. A crate that does not build fails its cases on this
//! side.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use dyno_model::catalog::suite::{Backend, Case, Crate, Limits, Suite, Workload};
use dyno_model::record::{Failure, Side};
use dyno_model::step::Step;
use dyno_probe::{COMMANDS, End, Exit, FLAGS, Settings, Spawn};

use super::commands::{
    backend_flag, bare_spawn, cargo_build, fill_cache, prepared_folder, required_build, with_limits,
};
use super::compiler_facts::{BuildKey, Compiler, CrateCompilation};
use super::sources::{Sources, VendoredCrate};
use super::{CRATES, PREPARED};
use dyno_base::error::{Error, Kind, Result};
use dyno_base::event::{Events, Phase, ProgressUnit};
use dyno_base::fault;
use dyno_build::builder::describe;
use dyno_engine::{Container, Engines, Mount, Root, Spec, base_env};

/// A limit says what one process of a benchmark may use, and cargo starts one on each core: what
/// each further one may.
const JOB_BYTES: u64 = 1 << 30;

/// A compiler with what it built of the crates' dependencies: a side that can be measured.
pub struct PreparedToolchain {
    /// Its folder on the host; `/prepared` in containers.
    pub folder: PathBuf,
    pub compiler: Compiler,
    pub compilations: BTreeMap<BuildKey, CrateCompilation>,
    /// Failures of cases that cannot be measured on this side.
    pub failures: Vec<Failure>,
    /// Cases that this compiler has no means for.
    pub unsupported: BTreeMap<String, Vec<Case>>,
    pub took_s: f64,
}

/// What is prepared, and with what.
pub struct Preparation<'a> {
    pub suite: &'a Suite,
    pub cases: &'a [Case],
    pub sources: &'a Sources,
    pub engines: Arc<Engines>,
    pub cpus: BTreeSet<u32>,
    pub events: &'a Events,
}

/// What one side is prepared from.
pub struct SideSpec<'a> {
    pub side: Side,
    pub root: Arc<dyn Root>,
    /// The compiler's sysroot on the host; `None` is the image's own.
    pub sysroot: Option<&'a Path>,
    /// An empty folder that is there for as long as is measured.
    pub folder: PathBuf,
}

impl Preparation<'_> {
    /// Prepares one side.
    pub async fn prepare_side(&self, side_spec: SideSpec<'_>) -> Result<PreparedToolchain> {
        let started = Instant::now();
        let limits = self.limits();
        let spec = self.spec(&side_spec, &limits);
        let mut engine_container = self.engines.start(&spec).await?;
        let mut container = PreparationContainer {
            engine_container: &mut engine_container,
            user: spec.user,
            limits,
            side_spec: &side_spec,
        };
        let prepared = self.build_dependencies(&mut container).await;
        engine_container.remove().await?;
        let mut toolchain = prepared?;
        toolchain.took_s = started.elapsed().as_secs_f64();
        self.events.end(
            Phase::Build,
            format!(
                "{}: {} prepared in {:.0} s",
                side_spec.side.name(),
                toolchain.compiler.version,
                toolchain.took_s
            ),
        );
        Ok(toolchain)
    }

    /// The largest limits of all benchmarks; a build of what they depend on may use it too.
    fn limits(&self) -> Limits {
        let mut limits = self.suite.benchmarks.iter().map(|b| b.limits);
        let first = limits.next().expect("a suite has benchmarks");
        limits.fold(first, |most, next| Limits {
            time_s: most.time_s.max(next.time_s),
            memory_bytes: most.memory_bytes.max(next.memory_bytes),
            pids: most.pids.max(next.pids),
            output_bytes: most.output_bytes.max(next.output_bytes),
            disk_bytes: 0,
        })
    }

    fn spec(&self, side_spec: &SideSpec<'_>, limits: &Limits) -> Spec {
        let mut mounts = vec![
            Mount::read_only(&self.sources.folder, CRATES),
            Mount::writable(&side_spec.folder, PREPARED),
        ];
        let other_jobs = self.cpus.len() as u64 - 1;
        mounts.extend(side_spec.sysroot.map(|sysroot| Mount::read_only(sysroot, "/artifact")));
        Spec {
            root: Arc::clone(&side_spec.root),
            mounts,
            network: false,
            cpus: self.cpus.clone(),
            cores_may_shrink: true,
            memory_bytes: limits.memory_bytes + 2 * limits.output_bytes + other_jobs * JOB_BYTES,
            pids: limits.pids + 1,
            tmp_bytes: limits.memory_bytes / 2,
            user: self.engines.build_user(),
            cgroup: None,
            probe: Settings::default(),
        }
    }

    /// The builds that are needed, with their cases; cases that this compiler cannot do, or whose
    /// crate is not there, go into `toolchain` with the reason.
    fn wanted_builds<'s>(
        &'s self,
        toolchain: &mut PreparedToolchain,
    ) -> BTreeMap<BuildKey, (&'s Crate, Vec<&'s Case>)> {
        let mut wanted: BTreeMap<BuildKey, (&Crate, Vec<&Case>)> = BTreeMap::new();
        for case in self.cases {
            let benchmark = self.suite.benchmark(&case.benchmark).expect("cases are of benchmarks");
            let (Workload::CrateCompilation(krate) | Workload::CrateGraphBuild(krate)) =
                &benchmark.work
            else {
                continue;
            };
            let config = case.compiler_config();
            if let Some(why) = toolchain.compiler.unsupported(&config) {
                toolchain.unsupported.entry(why).or_default().push(case.clone());
                continue;
            }
            match &self.sources.crates.get(&krate.name) {
                Some(Ok(vendored)) => {
                    let is_patched = config.scenario.is_patched();
                    let why = vendored.patch_failed.as_ref().filter(|_| is_patched);
                    if let Some(why) = why {
                        toolchain.failures.push(failure(
                            case,
                            None,
                            Step::Patch,
                            "the patch does not apply",
                            why,
                        ));
                        continue;
                    }
                    if let Workload::CrateCompilation(_) = benchmark.work {
                        let build = required_build(config.profile);
                        let key = (krate.name.clone(), build, config.backend);
                        wanted.entry(key).or_insert((krate, Vec::new())).1.push(case);
                    }
                }
                Some(Err((step, why))) => {
                    toolchain.failures.push(failure(case, None, step.clone(), why, ""));
                }
                None => {}
            }
        }
        wanted
    }

    async fn build_dependencies(
        &self,
        container: &mut PreparationContainer<'_>,
    ) -> Result<PreparedToolchain> {
        let side = container.side_spec.side;
        let compiler = container.inspect_compiler().await?;
        let folder = container.side_spec.folder.clone();
        let mut toolchain = PreparedToolchain {
            folder,
            compiler,
            compilations: BTreeMap::new(),
            failures: Vec::new(),
            unsupported: BTreeMap::new(),
            took_s: 0.0,
        };
        let wanted = self.wanted_builds(&mut toolchain);
        let total = wanted.len() as u64;
        let what = format!("{}: {total} builds with {}", side.name(), toolchain.compiler.version);
        self.events.begin(Phase::Build, what);
        for (done, (key, (krate, cases))) in wanted.into_iter().enumerate() {
            let Some(Ok(vendored)) = self.sources.crates.get(&krate.name) else { continue };
            let incremental = cases.iter().any(|case| case.compiler_config().scenario.has_cache());
            if let Some(benchmark) = cases.first().and_then(|c| self.suite.benchmark(&c.benchmark))
            {
                container.limits = benchmark.limits;
            }
            let built = container.build_crate(
                krate,
                vendored,
                &toolchain.compiler,
                &key,
                incremental,
                self.cpus.len(),
            );
            match fault::around("crates.prepare", built).await? {
                Ok(compilation) => drop(toolchain.compilations.insert(key, compilation)),
                Err((reason, log)) => {
                    let cases = cases.iter().enumerate();
                    // The log once: the cases of one build share it.
                    toolchain.failures.extend(cases.map(|(i, case)| {
                        let log = if i == 0 { log.as_str() } else { "" };
                        failure(case, Some(side), Step::Prepare, &reason, log)
                    }));
                }
            }
            self.events.progress(Phase::Build, done as u64 + 1, total, ProgressUnit::Items);
        }
        Ok(toolchain)
    }
}

fn failure(case: &Case, side: Option<Side>, step: Step, reason: &str, log: &str) -> Failure {
    Failure {
        benchmark: Some(case.benchmark.clone()),
        config: Some(case.config.to_string()),
        side,
        step,
        reason: reason.into(),
        log_tail: log.into(),
    }
}

/// The container in which one side is prepared.
struct PreparationContainer<'a> {
    engine_container: &'a mut Container,
    user: (u32, u32),
    limits: Limits,
    side_spec: &'a SideSpec<'a>,
}

/// Finds programs and what they can, a line `name=value` each.
const INSPECT_SCRIPT: &str = r#"
root=$1
find_it() { if [ -n "$root" ]; then echo "$root/bin/$1"; else command -v "$1" || true; fi; }
has() { [ -n "$1" ] && [ -x "$1" ]; }
rustc=$(find_it rustc)
has "$rustc" || { echo "no rustc in ${root:-the image}" >&2; exit 1; }
cargo=$(command -v cargo) || { echo "no cargo in the image" >&2; exit 1; }
echo "rustc=$rustc"
echo "cargo=$cargo"
for tool in rustdoc clippy-driver; do
    path=$(find_it $tool)
    if has "$path"; then echo "$tool=$path"; fi
done
echo "version=$("$rustc" --version)"
lib=$("$rustc" --print sysroot)/lib/rustlib
for file in "$lib"/*/codegen-backends/librustc_codegen_*; do
    if [ -e "$file" ]; then echo "backend=${file##*/librustc_codegen_}"; fi
done
mkdir /tmp/out
echo 'pub fn f() {}' > /tmp/f.rs
if RUSTC_BOOTSTRAP=1 "$rustc" --crate-type lib --emit=metadata --out-dir /tmp/out --error-format=json \
    --json=timings -Zunstable-options /tmp/f.rs 2> /dev/null; then echo timings=yes; fi
mkdir /tmp/t
echo 'mod x;' > /tmp/t/main.rs
mkfifo /tmp/t/x.rs
for threads in 8 1; do
    # It opens the module within its threads, and stands there until something is written.
    echo "threads=$(timeout 60 sh -ec '
        RUSTC_BOOTSTRAP=1 "$1" --crate-type lib --emit=metadata --out-dir /tmp/out "-Zthreads=$2" /tmp/t/main.rs 2> /dev/null &
        pid=$!
        exec 3> /tmp/t/x.rs
        set -- /proc/$pid/task/*
        echo $#
        exec 3>&-
        wait $pid' count "$rustc" $threads || true)"
done
"#;

impl PreparationContainer<'_> {
    async fn run(&mut self, spawn: Spawn) -> Result<Exit> {
        let spawn = with_limits(spawn, self.user, &self.limits);
        self.engine_container.run(&spawn, |_| ()).await
    }

    /// Facts of the compiler, as found in the container.
    async fn inspect_compiler(&mut self) -> Result<Compiler> {
        let root = if self.side_spec.sysroot.is_some() { "/artifact" } else { "" };
        let argv = ["sh", "-euc", INSPECT_SCRIPT, "look", root].map(String::from);
        let exit = self.run(bare_spawn(argv.into(), base_env())).await?;
        if exit.end != End::Code(0) {
            let stderr = exit.stderr_tail.trim();
            let how = describe(&exit.end, self.limits.time_s);
            return Err(Error::new(
                Kind::Case,
                format!(
                    "the {} is no compiler that works here: {stderr} (it {how})",
                    self.side_spec.side.name()
                ),
            ));
        }
        let mut threads = Vec::new();
        let mut compiler =
            Compiler { backends: BTreeSet::from([Backend::Llvm]), ..Compiler::default() };
        for (name, value) in exit.stdout_tail.lines().filter_map(|line| line.split_once('=')) {
            match name {
                "rustc" => compiler.rustc = value.into(),
                "cargo" => compiler.cargo = value.into(),
                "rustdoc" => compiler.rustdoc = value.into(),
                "clippy-driver" => compiler.clippy = Some(value.into()),
                "version" => compiler.version = value.into(),
                "timings" => compiler.timings = true,
                "threads" => threads.push(value.parse().unwrap_or(0)),
                "backend" => {
                    let name = value.split(['-', '.']).next().unwrap_or(value);
                    compiler.backends.extend(Backend::from_name(name));
                }
                _ => {}
            }
        }
        if let [with_eight, with_one] = threads[..] {
            compiler.threads_seen = (with_eight, with_one);
        }
        Ok(compiler)
    }

    /// Builds what one crate depends on and the crate itself. The inner error is a reason and a
    /// log.
    async fn build_crate(
        &mut self,
        krate: &Crate,
        vendored: &VendoredCrate,
        compiler: &Compiler,
        (_, build, backend): &BuildKey,
        incremental: bool,
        cores: usize,
    ) -> Result<Result<CrateCompilation, (String, String)>> {
        let folder = prepared_folder(&krate.name, *build, *backend);
        let mut spawn = cargo_build(krate, vendored, compiler, *build, cores as u32);
        spawn.env.insert("CARGO_TARGET_DIR".into(), format!("{folder}/target"));
        spawn.env.insert(COMMANDS.into(), "on".into());
        if *backend != Backend::Llvm {
            spawn.env.insert(FLAGS.into(), backend_flag(*backend));
        }
        let exit = self.run(spawn).await?;
        if exit.end != End::Code(0) {
            let reason = describe(&exit.end, self.limits.time_s);
            return Ok(Err((format!("cargo {reason}"), exit.stderr_tail)));
        }
        // The crate itself comes last; a binary's own library before it.
        let commands =
            exit.units.into_iter().filter(|unit| !unit.crate_name.starts_with("build_script_"));
        let Some(command) = commands.filter_map(|unit| unit.command).next_back() else {
            return Ok(Err((
                "cargo compiled nothing of the crate itself".into(),
                exit.stderr_tail,
            )));
        };
        let compilation = CrateCompilation { command, folder };
        if incremental {
            let exit = self.run(fill_cache(krate, vendored, &compilation, *backend)).await?;
            if exit.end != End::Code(0) {
                let reason = describe(&exit.end, self.limits.time_s);
                return Ok(Err((
                    format!("the compiler, with an incremental cache, {reason}"),
                    exit.stderr_tail,
                )));
            }
        }
        Ok(Ok(compilation))
    }
}
