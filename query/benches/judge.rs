//! Two commits with very many series: from Parquet to verdicts, in a store opened afresh each time.
//!
//! 60 000 series × 20 rounds × 2 sides are 2.4 million samples. A run before them lends its noise,
//! so that history is read too. Records are made, and peak memory is measured, in processes of
//! their own: making a record needs more memory than judging it.

#[path = "../../store/tests/common/mod.rs"]
#[allow(dead_code)]
mod common;

use std::path::Path;
use std::process::Command;

use criterion::{BenchmarkId, Criterion, Throughput};
use dyno_model::id::Digest;
use dyno_query::{Filter, Session};
use dyno_store::Store;
use tokio::runtime::Runtime;

const SERIES: &[usize] = &[15_000, 30_000, 60_000];
const ROUNDS: u32 = 20;
/// A case has this many series in `common::large`.
const METRICS: usize = 8;

/// What a process of this program is for; none for the benchmark itself.
const ROLE: &str = "DYNO_BENCH_ROLE";
const STORE: &str = "DYNO_BENCH_STORE";
const SIZE: &str = "DYNO_BENCH_SERIES";

fn main() {
    let role = std::env::var(ROLE).unwrap_or_default();
    let runtime = Runtime::new().expect("a runtime");
    match role.as_str() {
        "publish" => {
            runtime.block_on(publish(&variable(STORE), variable(SIZE).parse().expect("a number")))
        }
        "judge" => {
            runtime.block_on(judge(&variable(STORE), variable(SIZE).parse().expect("a number")));
            println!("{}", peak_memory_mib());
        }
        _ => benchmark(&runtime),
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set"))
}

/// This program in another role.
fn other(role: &str, store: &Path, series: usize) -> String {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .env(ROLE, role)
        .env(STORE, store)
        .env(SIZE, series.to_string())
        .output()
        .expect("started");
    assert!(output.status.success(), "{role}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_string()
}

async fn publish(url: &str, series: usize) {
    let store = Store::open(url).await.expect("a store");
    let mut past = common::large("past", series / METRICS, ROUNDS, 7);
    past.run.candidate.commit = past.run.baseline.commit.clone();
    past.run.baseline.commit = Digest::of(b"past").hex()[..40].parse().expect("a commit");
    (past.run.baseline.asked, past.run.candidate.asked) = ("v0".into(), "v1".into());
    past.run.finished_us -= 86_400_000_000;
    store.publish(&past).await.expect("published");
    drop(past);
    let record = common::large("compared", series / METRICS, ROUNDS, 11);
    assert_eq!(record.samples.len(), series * ROUNDS as usize * 2);
    store.publish(&record).await.expect("published");
}

async fn judge(url: &str, series: usize) {
    let store = Store::open(url).await.expect("a store");
    let session = Session::open(&store, common::policy()).await.expect("a session");
    let compared = session.compare("v1", "v2", &Filter::default()).await.expect("compared");
    assert_eq!(compared.judged.len(), series);
    assert!(compared.judged.iter().any(|j| j.comparison.noise.is_some_and(|n| n.used.df > 19.0)));
}

/// What summaries save: each series' estimate (without what history and peers add) from samples.
async fn estimate_from_samples(url: &str, series: usize) {
    let store = Store::open(url).await.expect("a store");
    let session = Session::open(&store, common::policy()).await.expect("a session");
    let sql = "SELECT series, paired(baseline, candidate, 0.01) FROM rounds \
               WHERE baseline_asked = 'v1' AND candidate_asked = 'v2' GROUP BY series";
    let rows: usize =
        session.sql(sql).await.expect("rows").iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(rows, series);
}

/// The most memory this process has had resident (VmHWM).
fn peak_memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") / 1024
}

fn benchmark(runtime: &Runtime) {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("from Parquet to verdicts");
    group.sample_size(10);
    let (mut peaks, mut stores) = (Vec::new(), Vec::new());
    for &series in SERIES {
        let folder = tempfile::tempdir().expect("a folder");
        other("publish", folder.path(), series);
        peaks.push((series, other("judge", folder.path(), series)));
        let url = folder.path().to_str().expect("UTF-8").to_string();
        group.throughput(Throughput::Elements(series as u64));
        group.bench_function(BenchmarkId::from_parameter(series), |bencher| {
            bencher.to_async(runtime).iter(|| judge(&url, series));
        });
        stores.push((series, folder));
    }
    let (series, store) = stores.last().expect("sizes");
    let url = store.path().to_str().expect("UTF-8").to_string();
    group.bench_function(BenchmarkId::new("estimates from samples by SQL", series), |bencher| {
        bencher.to_async(runtime).iter(|| estimate_from_samples(&url, *series));
    });
    group.finish();
    for (series, mib) in peaks {
        println!("{series} series: peak memory {mib} MiB");
    }
    criterion.final_summary();
}
