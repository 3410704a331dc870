//! How still does it hold? One fixed workload compared with itself by dyno, `hyperfine` and
//! `perf stat -r`, with and without a competing load on every core.
//!
//! Each comparison has the same number of processes under each tool, and the time that each tool
//! took stands beside. (Where others take half of the core, the other tools' processes take longer
//! than dyno's.) What counts as calling it different: for dyno a verdict (q = 0.05 against δ), for
//! hyperfine Welch's t-test on its times, as its own script `welch_ttest.py` does, for perf its
//! means and their standard errors, both at 5 % against zero. dyno's own test against zero is
//! printed beside its verdicts, and every series behind a false verdict by name: those that decide
//! apart from those that are only shown.
//!
//! `cargo build && cargo run -p dyno-tools --bin still -- [COMPARISONS]`; needs hyperfine and perf,
//! and a machine on which nothing else runs. The table is Markdown, for docs/quiet-host.md.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use dyno_model::catalog::policy;
use dyno_model::stats::{moments, t_quantile};
use dyno_model::verdict::{Judged, Verdict};
use dyno_query::Session;
use dyno_store::Store;
use dyno_tools::dial;
use serde_json::Value;

/// Steps of the workload: some 25 ms.
const UNITS: u64 = 12_000_000;
/// Processes of each side in a comparison.
const RUNS: u32 = 10;

/// What one tool came to under one load.
struct Row {
    tool: &'static str,
    /// Mean and coefficient of variation of each comparison's times.
    means_ms: Vec<f64>,
    cvs: Vec<f64>,
    /// Comparisons that the tool, used as its users do, calls a difference.
    differences: u32,
    comparisons: u32,
    /// The series behind them; of dyno alone.
    claims: Vec<Claim>,
    seconds: f64,
    remark: String,
}

/// A change of a series that dyno claimed, and that is not there.
struct Claim {
    /// The number of the comparison, from 1.
    comparison: usize,
    decides: bool,
    what: String,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let comparisons: u32 = arguments.next().map_or(100, |n| n.parse().expect("a number"));
    let world = tempfile::tempdir().expect("a folder");
    dial::make(world.path(), &[("dial-0".to_string(), UNITS)]);
    // Builds the workload; the other tools run the very same file.
    selfcheck(world.path(), "built", 1);
    let program = workload(world.path());
    println!("{}\n", machine(world.path()));
    println!("| load | | median | CV | comparisons called different | time | |");
    println!("|---|---|---|---|---|---|---|");
    let mut rows = Vec::new();
    for load in ["none", "all cores"] {
        let mut competitors = if load == "none" { Vec::new() } else { occupy(comparisons) };
        for tool in ["dyno", "hyperfine", "perf"] {
            let row = match tool {
                "dyno" => dyno(world.path(), load, comparisons),
                "hyperfine" => hyperfine(&program, comparisons),
                _ => perf(&program, comparisons),
            };
            // Else its numbers would be those of another load.
            let still_run = competitors.iter_mut().all(BusyCore::is_running);
            assert!(still_run, "a competitor ended before {tool} was done");
            println!("{}", row.line(load));
            rows.push(row);
        }
    }
    let [idle, _, _, loaded, hyperfine, _] = &rows[..] else { unreachable!("2 loads, 3 tools") };
    let ratio = median(&loaded.cvs) / median(&hyperfine.cvs);
    let falsely = idle.differences + loaded.differences;
    let met_text = |met: bool| if met { "met" } else { "missed" };
    println!(
        "\nCV under load: {ratio:.2} of hyperfine's; aim at most 0.5: {}",
        met_text(ratio <= 0.5)
    );
    println!("false verdicts of dyno; aim none: {}", met_text(falsely == 0));
    idle.print_claims("no load");
    loaded.print_claims("all cores");
    ExitCode::from(u8::from(ratio > 0.5 || falsely > 0))
}

/// When and where this is measured, and how busy the machine was before.
fn machine(world: &Path) -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_string();
    let run = &query(world, "built", "SELECT * FROM runs")[0];
    let field = |name: &str| match &run[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let kind = if field("virtualised") == "true" { "virtual machine" } else { "bare metal" };
    format!(
        "{}: {}, {} cores, {kind}, kernel {}, cgroup {}, {}, benchmark core {}; load {load} before",
        chrono::Utc::now().format("%Y-%m-%d %H:%M UTC"),
        field("cpu"),
        field("cores"),
        field("kernel"),
        field("cgroup"),
        field("engine"),
        field("benchmark_cores"),
    )
}

/// A process for each core that does nothing but keep it busy, until it is dropped.
struct BusyCore(Child);

impl BusyCore {
    fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for BusyCore {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn occupy(comparisons: u32) -> Vec<BusyCore> {
    let cores = std::thread::available_parallelism().expect("cores").get();
    let start_busy = |core: usize| {
        let mut spin = Command::new("taskset");
        // One process, which a kill ends; bounded by itself, in case it is forgotten, but beyond
        // what all tools take together.
        let most_s = 600 + 60 * comparisons;
        let spinning = format!("ulimit -t {most_s}; while :; do :; done");
        spin.args(["-c", &core.to_string(), "sh", "-c", &spinning]);
        BusyCore(spin.spawn().expect("taskset"))
    };
    (0..cores).map(start_busy).collect()
}

fn run_for_output(command: &mut Command) -> Vec<u8> {
    let output = command.stderr(Stdio::piped()).output();
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {stderr}", output.status);
    output.stdout
}

/// `dyno` with a store of its own for each load.
fn dyno_with_store(world: &Path, store: &str) -> Command {
    let mut dyno = dial::dyno(world);
    dyno.env("DYNO_STORE", world.join(store));
    dyno
}

/// Compares the workload with itself by dyno.
fn selfcheck(world: &Path, store: &str, comparisons: u32) -> Value {
    let (comparisons, rounds) = (comparisons.to_string(), RUNS.to_string());
    let mut dyno = dyno_with_store(world, store);
    dyno.args(["selfcheck", "dial", "dial-0", "--benchmark", "dial", "--json", "--quiet"]);
    dyno.args(["--comparisons", &comparisons, "--rounds", &rounds]);
    serde_json::from_slice(&run_for_output(&mut dyno)).expect("JSON")
}

fn query(world: &Path, store: &str, sql: &str) -> Vec<Value> {
    let answer =
        run_for_output(dyno_with_store(world, store).args(["sql", "--output", "json", sql]));
    let rows = serde_json::Deserializer::from_slice(&answer).into_iter();
    rows.map(|row| row.expect("a row")).collect()
}

/// The file that dyno built, in its cache.
fn workload(world: &Path) -> PathBuf {
    let rows = query(world, "built", "SELECT baseline_artifact AS artifact FROM runs");
    let artifact = rows[0]["artifact"].as_str().expect("a digest");
    let from_environment = std::env::var_os("DYNO_CACHE").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = from_environment.unwrap_or_else(|| home.join(".cache/dyno"));
    let folder = cache.join("artifacts/trusted").join(artifact.trim_start_matches("sha256:"));
    let program = folder.join("files/dial");
    assert!(program.exists(), "{} is not there", program.display());
    program
}

fn dyno(world: &Path, store: &str, comparisons: u32) -> Row {
    let started = Instant::now();
    let check = selfcheck(world, store, comparisons);
    let seconds = started.elapsed().as_secs_f64();
    let sql = "SELECT job, side, avg(value) / 1e6 AS mean, stddev(value) / avg(value) AS cv \
               FROM samples WHERE metric = 'wall' AND taint = '' GROUP BY job, side";
    let rows = query(world, store, sql);
    let column = |name: &str| rows.iter().filter_map(|row| row[name].as_f64()).collect();
    let sql = "SELECT count(*) AS n FROM samples WHERE metric = 'wall' AND taint <> ''";
    let tainted = &query(world, store, sql)[0]["n"];
    let (rejected, checks) = (&check["rejected"], &check["checks"]);
    let claims = claims(world, store);
    let mut claiming: Vec<usize> = claims.iter().map(|claim| claim.comparison).collect();
    claiming.dedup();
    assert_eq!(check["false_verdicts"], claiming.len(), "each false verdict is named");
    Row {
        tool: "dyno",
        means_ms: column("mean"),
        cvs: column("cv"),
        differences: claiming.len() as u32,
        comparisons,
        claims,
        seconds,
        remark: format!("{rejected} of {checks} tests against 0 at 5 %; {tainted} samples tainted"),
    }
}

/// Every change that was claimed in the comparisons of a store, in their order: by the code that
/// judges a self-check, under the same policy.
fn claims(world: &Path, store: &str) -> Vec<Claim> {
    let job = &query(world, store, "SELECT job FROM runs LIMIT 1")[0]["job"];
    let job = job.as_str().expect("a job").parse().expect("its id");
    let file = world.join("catalog/policies/default.toml");
    let text = std::fs::read_to_string(&file).expect("the policy");
    let policy = policy::parse("default", "policies/default.toml", &text, &[]).expect("sound");
    let url = world.join(store).display().to_string();
    let judging = async {
        let store = Store::open(&url).await?;
        let run = store.run(&job).await?.expect("it is there");
        Session::open(&store, policy).await?.null_comparisons(&[run]).await
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let hosts = runtime.expect("threads").block_on(judging).expect("an answer");
    let numbered = hosts.iter().flat_map(|host| (1..).zip(&host.comparisons));
    numbered
        .flat_map(|(n, series)| series.iter().filter_map(move |judged| claim(n, judged)))
        .collect()
}

fn claim(comparison: usize, judged: &Judged) -> Option<Claim> {
    let verdict = match judged.verdict {
        Verdict::Regressed => "Regressed",
        Verdict::Improved => "Improved",
        _ => return None,
    };
    let comparison_found = &judged.comparison;
    let percent = |share: f64| format!("{:+.2} %", share * 100.0);
    let (low, high) = comparison_found.interval()?;
    let what = format!(
        "{} {} {verdict} {} ({} to {}), q = {:.4}",
        comparison_found.key.benchmark,
        comparison_found.key.metric,
        percent(comparison_found.effect()?),
        percent(low),
        percent(high),
        comparison_found.q?
    );
    Some(Claim { comparison, decides: comparison_found.decides, what })
}

fn hyperfine(program: &Path, comparisons: u32) -> Row {
    let started = Instant::now();
    let mut row = Row::new("hyperfine", comparisons);
    let export = tempfile::NamedTempFile::new().expect("a file");
    let runs = RUNS.to_string();
    for _ in 0..comparisons {
        let mut hyperfine = Command::new("hyperfine");
        hyperfine.args(["--shell=none", "--warmup", "1", "--runs", &runs, "--style", "none"]);
        hyperfine.arg("--export-json").arg(export.path()).args([program, program]);
        run_for_output(&mut hyperfine);
        let text = std::fs::read(export.path()).expect("its answer");
        let found: Value = serde_json::from_slice(&text).expect("JSON");
        let results = found["results"].as_array().expect("results");
        let times = |result: &Value| -> Vec<f64> {
            let times = result["times"].as_array().expect("times");
            times.iter().map(|time| time.as_f64().expect("seconds") * 1e3).collect()
        };
        let sides = [&results[0], &results[1]].map(|result| {
            let moments = moments(&times(result)).expect("times");
            (moments.mean, moments.variance.expect("more than one"))
        });
        row.take(sides, true);
    }
    row.seconds = started.elapsed().as_secs_f64();
    row
}

fn perf(program: &Path, comparisons: u32) -> Row {
    let started = Instant::now();
    let mut row = Row::new("perf stat", comparisons);
    let n = f64::from(RUNS);
    for _ in 0..comparisons {
        let sides = [(); 2].map(|()| {
            let mut perf = Command::new("perf");
            let report = tempfile::NamedTempFile::new().expect("a file");
            perf.args(["stat", "-r", &RUNS.to_string(), "-x", ";", "-e", "duration_time", "-o"]);
            perf.arg(report.path()).arg("--").arg(program);
            run_for_output(&mut perf);
            let text = std::fs::read_to_string(report.path()).expect("its report");
            // value;unit;event;standard error in per cent of the mean;…
            let line = text.lines().find(|line| line.contains("duration_time")).expect("a line");
            let fields: Vec<&str> = line.split(';').collect();
            let mean = fields[0].parse::<f64>().expect("a number") / 1e6;
            let error = fields[3].trim_end_matches('%').parse::<f64>().expect("a number") / 100.0;
            (mean, (error * mean).powi(2) * n)
        });
        row.take(sides, false);
    }
    row.seconds = started.elapsed().as_secs_f64();
    row
}

impl Row {
    fn new(tool: &'static str, comparisons: u32) -> Self {
        Self {
            tool,
            means_ms: Vec::new(),
            cvs: Vec::new(),
            differences: 0,
            comparisons,
            claims: Vec::new(),
            seconds: 0.0,
            remark: String::new(),
        }
    }

    fn line(&self, load: &str) -> String {
        format!(
            "| {load} | {} | {:.1} ms | {:.1} % | {} of {} | {:.0} s | {} |",
            self.tool,
            median(&self.means_ms),
            median(&self.cvs) * 100.0,
            self.differences,
            self.comparisons,
            self.seconds,
            self.remark
        )
    }

    /// Names the series behind each false verdict: those that decide, and those that are only
    /// shown.
    fn print_claims(&self, load: &str) {
        for (decides, kind) in [(true, "that decide"), (false, "that are only shown")] {
            let claims: Vec<&Claim> = self.claims.iter().filter(|c| c.decides == decides).collect();
            println!(
                "- {load}, {} comparisons: {} of series {kind}",
                self.comparisons,
                claims.len()
            );
            for claim in claims {
                println!("  - comparison {}: {}", claim.comparison, claim.what);
            }
        }
    }

    /// Takes a comparison's two sides as (mean, variance) of `RUNS` times each: a difference by
    /// Welch's test (Welch 1947), or where only means and errors are shown by ±1.96 of them.
    fn take(&mut self, sides: [(f64, f64); 2], welch: bool) {
        let n = f64::from(RUNS);
        for (mean, variance) in sides {
            self.means_ms.push(mean);
            self.cvs.push(variance.sqrt() / mean);
        }
        let [(mean_a, variance_a), (mean_b, variance_b)] = sides;
        let (a, b) = (variance_a / n, variance_b / n);
        let df = (a + b).powi(2) / (a * a + b * b) * (n - 1.0);
        let limit = if welch { t_quantile(0.95, df) } else { 1.96 };
        self.differences += u32::from((mean_a - mean_b).abs() > limit * (a + b).sqrt());
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
