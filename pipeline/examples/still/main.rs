//! How still does it hold? One fixed workload compared with itself by dyno, `hyperfine` and
//! `perf stat -r`, with and without a competing load on every core.
//!
//! Each comparison has the same number of processes under each tool. Where others take half of the
//! core that means more time for the other tools than for dyno, never less. What counts as calling
//! it different: for dyno a verdict (q = 0.05 against δ), for hyperfine Welch's t-test on its times,
//! as its own script `welch_ttest.py` does, for perf its means and their standard errors, both
//! at 5 % against zero. dyno's own test against zero is printed beside its verdicts.
//!
//! `cargo build && cargo run -p dyno --example still -- [COMPARISONS]`; needs hyperfine and perf.

#[path = "../live_check/catalog.rs"]
mod catalog;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use dyno_model::stats::{moments, t_quantile};
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
    of: u32,
    seconds: f64,
    more: String,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let comparisons: u32 = arguments.next().map_or(100, |n| n.parse().expect("a number"));
    let world = tempfile::tempdir().expect("a folder");
    catalog::make(world.path(), &[("dial-0".to_string(), UNITS)]);
    // Builds the workload; the other tools run the very same file.
    selfcheck(world.path(), "built", 1);
    let program = workload(world.path());
    println!(
        "{:<9} {:<9} {:>9} {:>8} {:>13} {:>8}",
        "load", "tool", "median", "CV", "differences", "time"
    );
    let mut rows = Vec::new();
    for load in ["none", "all cores"] {
        let competitors = if load == "none" { Vec::new() } else { occupy() };
        let measured = [
            dyno(world.path(), load, comparisons),
            hyperfine(&program, comparisons),
            perf(&program, comparisons),
        ];
        drop(competitors);
        for row in measured {
            println!(
                "{load:<9} {:<9} {:>6.2} ms {:>6.2} % {:>6} of {:<4} {:>5.0} s  {}",
                row.tool,
                median(&row.means_ms),
                median(&row.cvs) * 100.0,
                row.differences,
                row.of,
                row.seconds,
                row.more
            );
            rows.push(row);
        }
    }
    let [idle, _, _, loaded, hyperfine, _] = &rows[..] else { unreachable!("2 loads, 3 tools") };
    let ratio = median(&loaded.cvs) / median(&hyperfine.cvs);
    let falsely = idle.differences + loaded.differences;
    println!("CV under load: {ratio:.2} of hyperfine's; aim at most 0.5");
    println!("false verdicts of dyno: {falsely} of {}; aim 0", idle.of + loaded.of);
    ExitCode::from(u8::from(ratio > 0.5 || falsely > 0))
}

/// A process for each core that does nothing but keep it busy, until it is dropped.
struct Busy(Child);

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn occupy() -> Vec<Busy> {
    let cores = std::thread::available_parallelism().expect("cores").get();
    let busy = |core: usize| {
        let mut spin = Command::new("taskset");
        // One process, which a kill ends; bounded by itself, in case it is forgotten.
        let spinning = "ulimit -t 900; while :; do :; done";
        spin.args(["-c", &core.to_string(), "sh", "-c", spinning]);
        Busy(spin.spawn().expect("taskset"))
    };
    (0..cores).map(busy).collect()
}

fn answer(command: &mut Command) -> Vec<u8> {
    let output = command.stderr(Stdio::piped()).output();
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    output.stdout
}

/// `dyno` with a store of its own for each load.
fn of(world: &Path, store: &str) -> Command {
    let mut dyno = catalog::dyno(world);
    dyno.env("DYNO_STORE", world.join(store));
    dyno
}

/// Compares the workload with itself by dyno.
fn selfcheck(world: &Path, store: &str, comparisons: u32) -> Value {
    let (comparisons, rounds) = (comparisons.to_string(), RUNS.to_string());
    let mut dyno = of(world, store);
    dyno.args(["selfcheck", "dial", "dial-0", "--json", "--quiet"]);
    dyno.args(["--comparisons", &comparisons, "--rounds", &rounds]);
    serde_json::from_slice(&answer(&mut dyno)).expect("JSON")
}

fn query(world: &Path, store: &str, sql: &str) -> Vec<Value> {
    let answer = answer(of(world, store).args(["sql", "--output", "json", sql]));
    let rows = serde_json::Deserializer::from_slice(&answer).into_iter();
    rows.map(|row| row.expect("a row")).collect()
}

/// The file that dyno built, in its cache.
fn workload(world: &Path) -> PathBuf {
    let held = query(world, "built", "SELECT baseline_artifact AS artifact FROM runs");
    let artifact = held[0]["artifact"].as_str().expect("a digest");
    let told = std::env::var_os("DYNO_CACHE").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = told.unwrap_or_else(|| home.join(".cache/dyno"));
    let folder = cache.join("artifacts/trusted").join(artifact.trim_start_matches("sha256:"));
    let program = folder.join("files/dial");
    assert!(program.exists(), "{} is not there", program.display());
    program
}

fn dyno(world: &Path, store: &str, comparisons: u32) -> Row {
    let started = Instant::now();
    let found = selfcheck(world, store, comparisons);
    let seconds = started.elapsed().as_secs_f64();
    let sql = "SELECT job, side, avg(value) / 1e6 AS mean, stddev(value) / avg(value) AS cv \
               FROM samples WHERE metric = 'wall' AND taint = '' GROUP BY job, side";
    let rows = query(world, store, sql);
    let column = |name: &str| rows.iter().filter_map(|row| row[name].as_f64()).collect();
    let sql = "SELECT count(*) AS n FROM samples WHERE metric = 'wall' AND taint <> ''";
    let tainted = &query(world, store, sql)[0]["n"];
    let (rejected, checks) = (&found["rejected"], &found["checks"]);
    Row {
        tool: "dyno",
        means_ms: column("mean"),
        cvs: column("cv"),
        differences: found["false_verdicts"].as_u64().expect("a count") as u32,
        of: comparisons,
        seconds,
        more: format!("{rejected} of {checks} tests against 0 at 5 %; {tainted} samples tainted"),
    }
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
        answer(&mut hyperfine);
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
            answer(&mut perf);
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
    fn new(tool: &'static str, of: u32) -> Self {
        let none = Vec::new;
        let more = String::new();
        Self { tool, means_ms: none(), cvs: none(), differences: 0, of, seconds: 0.0, more }
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
