//! The store and its SQL, on real Parquet files in temporary folders.

mod asking;
mod bad_files;
mod bounded;
mod builds;
#[path = "../../../store/tests/common/mod.rs"]
#[allow(dead_code)]
mod common;
mod forged;
mod noise;
mod paired;
mod planning;
mod rewriting;
mod scaling;
mod sizes;
mod trust;

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use common::{NOON_US, graph, job, policy, record};
use dyno_model::id::Digest;
use dyno_model::record::{Record, Side};
use dyno_model::verdict;
use dyno_query::{Error, Filter, Session, write_table};
use dyno_store::{PublishOutcome, Store};
use tempfile::TempDir;

/// All that has rows of its own.
const TABLES: [&str; 12] = [
    "samples",
    "summaries",
    "units",
    "runs",
    "comparisons",
    "history",
    "noise",
    "rounds",
    "builds",
    "utilisation",
    "pipelining",
    "scaling",
];

/// The folders of a record's files, in the order in which they are written.
const FOLDERS: [&str; 4] = ["samples", "summaries", "units", "runs"];

/// A store in a temporary folder.
struct TestStore {
    folder: TempDir,
    store: Store,
}

impl TestStore {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).await.unwrap();
        Self { folder, store }
    }

    async fn with_records(records: &[Record]) -> Self {
        let place = Self::new().await;
        for record in records {
            place.publish(record).await;
        }
        place
    }

    async fn publish(&self, record: &Record) -> PublishOutcome {
        self.store.publish(record).await.unwrap()
    }

    fn file(&self, table: &str, name: &str) -> PathBuf {
        let month = Path::new(table).join("arch=x86_64/month=2026-11");
        self.folder.path().join(month).join(format!("{name}.parquet"))
    }

    /// A fresh look: another `Store`, so that nothing remembered hides what lies there.
    async fn session(&self) -> Session {
        let store = Store::open(self.folder.path().to_str().unwrap()).await.unwrap();
        Session::open(&store, policy()).await.unwrap()
    }

    async fn ask(&self, sql: &str) -> String {
        table(&self.session().await.sql(sql).await.unwrap())
    }

    async fn refused(&self, sql: &str) -> Error {
        self.session().await.sql(sql).await.unwrap_err()
    }
}

fn table(batches: &[RecordBatch]) -> String {
    let mut buffer = Vec::new();
    write_table(&mut buffer, batches).unwrap();
    String::from_utf8(buffer).unwrap()
}

fn changed(name: &str, change: impl FnOnce(&mut Record)) -> Record {
    let mut record = record(name);
    change(&mut record);
    record
}

/// The same comparison from a real machine and from an emulator, sure of opposite things.
#[tokio::test]
async fn emulated_and_native_are_never_one() {
    let arm = |name: &str, host: &str, emulator: Option<&str>| {
        changed(name, |record| {
            record.run.host = host.into();
            record.run.fingerprint.architecture = "aarch64".into();
            record.run.fingerprint.emulator = emulator.map(str::to_string);
            if emulator.is_some() {
                for sample in &mut record.samples {
                    // Twice as fast where the real one is slower.
                    sample.value = if sample.side == Side::Candidate { 500 } else { 1000 };
                    sample.value += i64::from(sample.round % 2);
                }
            }
        })
    };
    let native = arm("native", "arm", None);
    let qemu = Some("qemu-aarch64 version 7.2.22");
    let place = TestStore::with_records(&[native.clone(), arm("emulated", "laptop", qemu)]).await;
    // No conflict, though two hosts of one architecture would be one: each is its own.
    let compared = place.session().await.compare("v1", "v2", &Filter::default()).await.unwrap();
    let sort = |j: &&dyno_model::verdict::Judged| {
        j.comparison.key.benchmark == "sort" && j.comparison.key.metric == "wall"
    };
    let verdicts: Vec<String> = compared
        .judged
        .iter()
        .filter(sort)
        .map(|j| format!("{} {:?}", j.comparison.architecture, j.verdict))
        .collect();
    assert_eq!(verdicts, ["aarch64 Regressed", "aarch64 (emulated) Improved"]);

    // Of one host, an emulated run is not a repetition of a native one, nor its history.
    let place = TestStore::with_records(std::slice::from_ref(&native)).await;
    let later_record = changed("later", |record| {
        *record = arm("later", "arm", qemu);
        record.run.started_us += 3_600_000_000;
        record.run.finished_us += 3_600_000_000;
    });
    place.publish(&later_record).await;
    let compared = place.session().await.compare("v1", "v2", &Filter::default()).await.unwrap();
    assert_eq!(
        compared.runs.iter().map(|run| &run.job).collect::<Vec<_>>(),
        [&later_record.run.job]
    );
    let borrowed = "SELECT count(history_variance) AS n FROM compare('v1', 'v2')";
    assert!(place.ask(borrowed).await.contains("| 0 |"));
    assert_ne!(native.run.fingerprint.digest(), later_record.run.fingerprint.digest());

    // Every table says which is which, though no file of samples does.
    for from in ["samples", "summaries", "runs", "history", "rounds"] {
        let sql = format!("SELECT DISTINCT job, emulated FROM {from} ORDER BY emulated");
        let rows = place.ask(&sql).await;
        for (job, emulated) in [(&native.run.job, "false"), (&later_record.run.job, "true")] {
            let line = rows.lines().find(|line| line.contains(job.hex())).unwrap();
            assert!(line.contains(emulated), "{from}: {rows}");
        }
        let sql =
            format!("SELECT count(*) > 0 AS some FROM {from} WHERE emulated AND arch = 'aarch64'");
        assert!(place.ask(&sql).await.contains("| true |"), "{from}");
    }
}

#[tokio::test]
async fn summaries_come_back_as_the_model_made_them() {
    let record = record("one");
    let place = TestStore::with_records(std::slice::from_ref(&record)).await;
    let stored = place.session().await.summaries_between("v1", "v2", &Filter::default()).await;
    let stored: Vec<_> = stored.unwrap().into_iter().map(|s| s.summary).collect();
    assert_eq!(stored, verdict::summarise(&record.samples));
}

#[tokio::test]
async fn a_definition_disturbs_no_query() {
    let place = TestStore::with_records(&[record("one")]).await;
    let digest = Digest::of(b"definition");
    place.store.put_definition(&digest, || b"packed".to_vec(), |_| true).await.unwrap();
    assert!(place.ask("SELECT count(*) AS n FROM runs").await.contains("| 1 |"));
    assert_eq!(place.session().await.problems(), []);
}

#[tokio::test]
async fn an_empty_store_answers_with_no_rows() {
    let place = TestStore::new().await;
    for from in TABLES {
        let text = place.ask(&format!("SELECT count(*) AS n FROM {from}")).await;
        assert!(text.contains("| 0 |"), "{from}: {text}");
    }
    let error = place.session().await.compare("v1", "v2", &Filter::default()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the store has no comparison of `v1` with `v2` (`v1` is in none of its runs); \
         it has none at all yet"
    );
}

#[tokio::test]
async fn a_record_without_samples_is_a_run_without_series() {
    let place = TestStore::with_records(&[changed("none", |r| r.samples.clear())]).await;
    let compared = place.session().await.compare("v1", "v2", &Filter::default()).await.unwrap();
    assert_eq!((compared.runs.len(), compared.judged.len(), compared.problems.len()), (1, 0, 0));
    assert!(place.ask("SELECT count(*) AS n FROM samples").await.contains("| 0 |"));
}

/// What a publisher that died leaves: nothing, samples, summaries too, units too.
#[tokio::test]
async fn an_attempt_that_died_is_invisible_and_does_not_block_the_next() {
    for left in [&["samples"][..], &["samples", "summaries"], &["samples", "summaries", "units"]] {
        let place = TestStore::with_records(&[graph("one")]).await;
        let name = job("one").to_string();
        for table in FOLDERS {
            if !left.contains(&table) {
                fs::remove_file(place.file(table, &name)).unwrap();
            }
        }
        for from in TABLES {
            let text = place.ask(&format!("SELECT count(*) AS n FROM {from}")).await;
            assert!(text.contains("| 0 |"), "{left:?} {from}: {text}");
        }
        assert!(!place.store.has_run(&job("one")).await.unwrap());
        // The next attempt measured other values.
        let mut next = graph("one");
        next.samples.iter_mut().for_each(|s| s.value *= 3);
        next.units.iter_mut().for_each(|u| u.start_ns += 1);
        assert!(matches!(place.publish(&next).await, PublishOutcome::Written { attempt: 1, .. }));
        let sums = |r: &Record| r.samples.iter().map(|s| s.value).sum::<i64>().to_string();
        let text = place.ask("SELECT sum(value) AS s, max(attempt) AS a FROM samples").await;
        assert!(text.contains(&sums(&next)), "{text}");
        let starts = next.units.iter().map(|u| u.start_ns).sum::<i64>().to_string();
        let text = place.ask("SELECT sum(start_ns) AS s, max(attempt) AS a FROM units").await;
        assert!(text.contains(&starts), "{text}");
        // The comparison knows under which name its samples lie.
        let (session, filter) = (place.session().await, Filter::default());
        let compared = session.compare("rust-1.85", "rust-1.97", &filter).await.unwrap();
        let files = compared.sample_files;
        assert_eq!(files.len(), 1);
        assert!(
            place.file("samples", &format!("{name}.1")).ends_with(files[0].as_ref()),
            "{files:?}"
        );
        assert_eq!(place.publish(&graph("one")).await, PublishOutcome::AlreadyPublished);
        assert_eq!(place.session().await.problems(), []);
    }
}

/// The same record, published again after a death, goes on with what is there.
#[tokio::test]
async fn the_same_record_goes_on_where_it_died() {
    for left in 1..FOLDERS.len() {
        let place = TestStore::with_records(&[graph("one")]).await;
        for table in &FOLDERS[left..] {
            fs::remove_file(place.file(table, job("one").hex())).unwrap();
        }
        let published = place.publish(&graph("one")).await;
        assert!(matches!(published, PublishOutcome::Written { attempt: 0, .. }), "{left}");
        let text = place.ask("SELECT count(*) AS n, max(attempt) AS a FROM units").await;
        assert!(text.contains("| 60 | 0 |"), "{left}: {text}");
    }
}

#[tokio::test]
async fn a_job_published_twice_counts_once() {
    let place = TestStore::with_records(&[graph("one")]).await;
    let name = job("one").to_string();
    for table in FOLDERS {
        let second = place.file(table, &format!("{name}.1"));
        fs::copy(place.file(table, &name), second).unwrap();
    }
    for (table, rows) in [("samples", graph("one").samples.len()), ("units", 60)] {
        let text = place.ask(&format!("SELECT count(*) AS n FROM {table}")).await;
        assert!(text.contains(&format!("| {rows} |")), "{text}");
    }
    let problems = place.session().await.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().contains("published before"), "{}", problems[0]);
}

#[tokio::test]
async fn a_url_through_object_store_is_a_store_like_any_other() {
    let store = Store::open("memory:///some/prefix").await.unwrap();
    store.publish(&record("one")).await.unwrap();
    let session = Session::open(&store, policy()).await.unwrap();
    assert_eq!(session.compare("v1", "v2", &Filter::default()).await.unwrap().judged.len(), 3);
}

#[tokio::test]
async fn months_are_of_the_time_a_job_finished() {
    let december = NOON_US + 11 * 86_400_000_000;
    let place = TestStore::with_records(&[
        record("november"),
        changed("december", |r| r.run.finished_us = december),
    ])
    .await;
    let sql = "SELECT month, count(*) AS n FROM samples GROUP BY month ORDER BY month";
    insta::assert_snapshot!(place.ask(sql).await);
    let sql = "SELECT host, rounds FROM runs WHERE finished >= '2026-12-01'";
    assert_eq!(place.ask(sql).await.lines().count(), 5);
}
