//! Two commits compared in a store of 200 jobs: cold (a new store and session each time, so that
//! every run row is read) and warm (in a session that has read them).

#[path = "../../store/tests/common/mod.rs"]
#[allow(dead_code)]
mod common;

use criterion::{Criterion, criterion_group, criterion_main};
use dyno_model::id::Digest;
use dyno_query::{Filter, Session};
use dyno_store::Store;

const JOBS: usize = 200;

fn compare(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let url = folder.path().to_str().expect("UTF-8").to_string();
    let session = runtime.block_on(async {
        let store = Store::open(&url).await.expect("a store");
        for index in 0..JOBS {
            let mut record = common::large(&format!("job {index}"), 8, 20, index as u64 + 1);
            let digest = Digest::of(&index.to_le_bytes());
            record.run.candidate.commit = digest.hex()[..40].parse().expect("a commit");
            record.run.candidate.asked = format!("candidate-{index}");
            record.run.finished_us += index as i64 * 3_600_000_000;
            store.publish(&record).await.expect("published");
        }
        Session::open(&store, common::policy()).await.expect("a session")
    });
    let mut group = criterion.benchmark_group("compare in 200 jobs");
    group.sample_size(10);
    let filter = Filter::default();
    group.bench_function("warm", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let compared = session.compare("v1", "candidate-100", &filter).await.expect("compared");
            assert_eq!(compared.judged.len(), 64);
        });
    });
    group.bench_function("cold", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let store = Store::open(&url).await.expect("a store");
            let session = Session::open(&store, common::policy()).await.expect("a session");
            let compared = session.compare("v1", "candidate-100", &filter).await.expect("compared");
            assert_eq!(compared.judged.len(), 64);
        });
    });
    group.bench_function("comparisons, all pairs", |bencher| {
        let sql = "SELECT verdict, count(*) FROM comparisons GROUP BY verdict";
        bencher.to_async(&runtime).iter(async || session.sql(sql).await.expect("rows"));
    });
    group.bench_function("history of one series from samples", |bencher| {
        let sql = "SELECT commit, median(value) FROM samples \
                   WHERE benchmark = 'benchmark-3' AND metric = 'wall' GROUP BY commit";
        bencher.to_async(&runtime).iter(async || session.sql(sql).await.expect("rows"));
    });
    group.finish();
}

criterion_group!(benches, compare);
criterion_main!(benches);
