//! The store and its SQL, on real Parquet files in temporary folders.

mod asking;
mod bad_files;
#[path = "../common/mod.rs"]
mod common;
mod noise;
mod paired;
mod trust;

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use common::{NOON_US, job, policy, record};
use dyno_model::record::{Record, Run};
use dyno_model::verdict;
use dyno_query::{Error, Filter, Published, Session, Store, write_table};
use tempfile::TempDir;

/// A store in a temporary folder.
struct Place {
    folder: TempDir,
    store: Store,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).await.unwrap();
        Self { folder, store }
    }

    async fn with(records: &[Record]) -> Self {
        let place = Self::new().await;
        for record in records {
            place.publish(record).await;
        }
        place
    }

    async fn publish(&self, record: &Record) -> Published {
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
    let mut out = Vec::new();
    write_table(&mut out, batches).unwrap();
    String::from_utf8(out).unwrap()
}

fn changed(name: &str, change: impl FnOnce(&mut Record)) -> Record {
    let mut record = record(name);
    change(&mut record);
    record
}

#[tokio::test]
async fn a_run_comes_back_exactly_and_is_published_once() {
    let place = Place::new().await;
    let record = record("one");
    assert!(!place.store.holds(&record.run.job).await.unwrap());
    assert!(matches!(place.publish(&record).await, Published::Written { attempt: 0, .. }));
    assert_eq!(place.publish(&record).await, Published::AlreadyHeld);
    assert!(place.store.holds(&record.run.job).await.unwrap());
    assert_eq!(place.store.run(&record.run.job).await.unwrap(), Some(record.run.clone()));
    assert_eq!(place.store.run(&job("other")).await.unwrap(), None);
    // Summaries too: what compare reads is what the model made.
    let stored = place.session().await.summaries_between("v1", "v2", &Filter::default()).await;
    let stored: Vec<_> = stored.unwrap().into_iter().map(|s| s.summary).collect();
    assert_eq!(stored, verdict::summarise(&record.samples));
    assert_eq!(place.store.problems(), []);
}

#[tokio::test]
async fn an_empty_store_answers_with_no_rows() {
    let place = Place::new().await;
    for from in ["samples", "summaries", "runs", "comparisons", "history", "noise", "rounds"] {
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
    let place = Place::with(&[changed("none", |r| r.samples.clear())]).await;
    let compared = place.session().await.compare("v1", "v2", &Filter::default()).await.unwrap();
    assert_eq!((compared.runs.len(), compared.judged.len(), compared.problems.len()), (1, 0, 0));
    assert!(place.ask("SELECT count(*) AS n FROM samples").await.contains("| 0 |"));
}

/// What a publisher that died leaves: nothing, samples, samples and summaries.
#[tokio::test]
async fn an_attempt_that_died_is_invisible_and_does_not_block_the_next() {
    for left in [&["samples"][..], &["samples", "summaries"]] {
        let place = Place::with(&[record("one")]).await;
        let name = job("one").to_string();
        for table in ["samples", "summaries", "runs"] {
            if !left.contains(&table) {
                fs::remove_file(place.file(table, &name)).unwrap();
            }
        }
        for from in ["samples", "summaries", "runs", "comparisons", "history", "noise", "rounds"] {
            let text = place.ask(&format!("SELECT count(*) AS n FROM {from}")).await;
            assert!(text.contains("| 0 |"), "{left:?} {from}: {text}");
        }
        assert!(!place.store.holds(&job("one")).await.unwrap());
        // The next attempt measured other values.
        let next = changed("one", |r| r.samples.iter_mut().for_each(|s| s.value *= 3));
        assert!(matches!(place.publish(&next).await, Published::Written { attempt: 1, .. }));
        let sums = |r: &Record| r.samples.iter().map(|s| s.value).sum::<i64>().to_string();
        let text = place.ask("SELECT sum(value) AS s, max(attempt) AS a FROM samples").await;
        assert!(text.contains(&sums(&next)), "{text}");
        assert_eq!(place.publish(&record("one")).await, Published::AlreadyHeld);
        assert_eq!(place.session().await.problems(), []);
    }
}

#[tokio::test]
async fn a_job_published_twice_counts_once() {
    let place = Place::with(&[record("one")]).await;
    let name = job("one").to_string();
    for table in ["samples", "summaries", "runs"] {
        let second = place.file(table, &format!("{name}.1"));
        fs::copy(place.file(table, &name), second).unwrap();
    }
    let text = place.ask("SELECT count(*) AS n FROM samples").await;
    assert!(text.contains("| 24 |"), "{text}");
    let problems = place.session().await.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().contains("published before"), "{}", problems[0]);
}

#[tokio::test]
async fn records_that_cannot_be_stored_leave_nothing() {
    let place = Place::new().await;
    type Change = fn(&mut Run);
    let cases: [(&str, Change); 5] = [
        ("architecture", |r| r.fingerprint.architecture = "../x86".into()),
        ("architecture", |r| r.fingerprint.architecture.clear()),
        ("finished", |r| r.finished_us = -1),
        ("finite", |r| r.measured_share = f64::NAN),
        ("finite", |r| r.baseline.build_s = Some(f64::INFINITY)),
    ];
    for (part, change) in cases {
        let error = place.store.publish(&changed("x", |r| change(&mut r.run))).await.unwrap_err();
        assert!(matches!(error, Error::Unstorable { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn places_that_cannot_be_used_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("store");
    let below = Store::open(below.to_str().unwrap()).await.unwrap_err();
    assert!(matches!(below, Error::Place { .. }), "{below:?}");
    for url in ["", "gopher://x/y", "file://elsewhere/x", "s3://"] {
        let error = Store::open(url).await.unwrap_err();
        assert!(matches!(error, Error::NoPlace { .. }), "{url}: {error:?}");
    }
    // A folder that stops being one: publishing names the file and the reason.
    let place = Place::new().await;
    fs::write(place.folder.path().join("samples"), "").unwrap();
    let error = place.store.publish(&record("x")).await.unwrap_err();
    assert!(matches!(error, Error::Place { .. }), "{error:?}");
    place.store.check_writable().await.unwrap();
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 1);
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
    let place =
        Place::with(&[record("november"), changed("december", |r| r.run.finished_us = december)])
            .await;
    let sql = "SELECT month, count(*) AS n FROM samples GROUP BY month ORDER BY month";
    insta::assert_snapshot!(place.ask(sql).await);
    let sql = "SELECT host, rounds FROM runs WHERE finished >= '2026-12-01'";
    assert_eq!(place.ask(sql).await.lines().count(), 5);
}

/// Prints the size of a typical record's files; a bound keeps it from growing unnoticed.
#[tokio::test]
async fn a_typical_record_is_small() {
    let place = Place::new().await;
    let record = common::large("size", 8, 20, 7);
    let samples = record.samples.len() as u64;
    let Published::Written { bytes, .. } = place.publish(&record).await else { panic!() };
    println!("{samples} samples in {bytes} bytes: {:.1} a sample", bytes as f64 / samples as f64);
    for table in ["samples", "summaries", "runs"] {
        let path = place.file(table, &job("size").to_string());
        println!("{table}: {} bytes", fs::metadata(path).unwrap().len());
    }
    assert!(bytes < 20 * samples, "{bytes}");
}
