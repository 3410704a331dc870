//! Publishing and finding run rows, on real Parquet files in temporary folders.

#[path = "../common/mod.rs"]
#[allow(dead_code)]
mod common;
mod signatures;

use std::fs;
use std::path::{Path, PathBuf};

use common::{graph, job, record};
use dyno_model::id::Digest;
use dyno_model::record::{Fingerprint, Record, RunRow};
use dyno_store::{DefinitionOutcome, Error, Folder, PublishOutcome, Store};
use tempfile::TempDir;

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
    async fn reopened(&self) -> Store {
        Store::open(self.folder.path().to_str().unwrap()).await.unwrap()
    }
}

fn changed(name: &str, change: impl FnOnce(&mut Record)) -> Record {
    let mut record = record(name);
    change(&mut record);
    record
}

/// A record whose first attempt died before its run row lies under another name, and the run row
/// that is read says which.
#[tokio::test]
async fn a_further_attempt_knows_where_its_files_lie() {
    let place = TestStore::with_records(&[graph("one")]).await;
    fs::remove_file(place.file("runs", job("one").hex())).unwrap();
    assert!(place.store.run_row(&job("one")).await.unwrap().is_none());
    let mut next = graph("one");
    next.samples.iter_mut().for_each(|sample| sample.value *= 3);
    assert!(matches!(place.publish(&next).await, PublishOutcome::Written { attempt: 1, .. }));
    let store = place.reopened().await;
    let row = store.run_row(&job("one")).await.unwrap().unwrap();
    for folder in [Folder::Samples, Folder::Summaries, Folder::Units, Folder::Runs] {
        let file = store.locate(&row.path(folder));
        assert!(file.ends_with(&format!("/{}.1.parquet", job("one"))), "{file}");
        assert!(Path::new(&file).is_file(), "{file}");
    }
    let rows = store.run_rows().await.unwrap();
    assert_eq!(rows.iter().map(|row| &row.shard).collect::<Vec<_>>(), [&row.shard]);
}

/// Of two readable run rows of one job the first counts, and the other is named.
#[tokio::test]
async fn of_two_run_rows_of_one_job_the_first_counts() {
    let place = TestStore::with_records(&[record("one"), record("two")]).await;
    let second = place.file("runs", &format!("{}.1", job("one")));
    fs::copy(place.file("runs", job("one").hex()), second).unwrap();
    let store = place.reopened().await;
    let rows = store.run_rows().await.unwrap();
    let mut jobs = [job("one"), job("two")];
    jobs.sort();
    assert_eq!(rows.iter().map(|row| row.run.job.clone()).collect::<Vec<_>>(), jobs);
    assert!(rows.iter().all(|row| row.shard.attempt == 0));
    let problems = store.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().contains("published before"), "{}", problems[0]);
}

#[tokio::test]
async fn a_run_comes_back_exactly_and_is_published_once() {
    let place = TestStore::new().await;
    let record = record("one");
    assert!(!place.store.has_run(&record.run.job).await.unwrap());
    assert!(matches!(place.publish(&record).await, PublishOutcome::Written { attempt: 0, .. }));
    assert_eq!(place.publish(&record).await, PublishOutcome::AlreadyPublished);
    assert!(place.store.has_run(&record.run.job).await.unwrap());
    let run = place.store.run(&record.run.job).await.unwrap().unwrap();
    assert_eq!(run.row_digests.keys().collect::<Vec<_>>(), ["samples", "summaries"]);
    assert_eq!(RunRow { row_digests: Default::default(), ..run }, record.run);
    assert_eq!(place.store.run(&job("other")).await.unwrap(), None);
    assert_eq!(place.store.problems(), []);
}

/// Rows of a dyno that kept no definitions are read as before.
#[test]
fn a_run_without_what_it_was_built_from_is_read() {
    let mut run = record("one").run;
    run.built_from = None;
    let text = serde_json::to_string(&run).unwrap();
    let older = text.replace(",\"built_from\":null", "");
    assert_ne!(older, text);
    assert_eq!(serde_json::from_str::<RunRow>(&older).unwrap(), run);
}

#[tokio::test]
async fn a_run_is_found_by_its_first_digits() {
    let place = TestStore::with_records(&[record("one"), record("two")]).await;
    let ask = async |asked: &str| place.store.find_run(asked).await.map(|run| run.job);
    assert_eq!(ask(&job("one").hex()[..7].to_uppercase()).await, Ok(job("one")));
    for (asked, said) in [
        (&job("three").hex()[..7], "none of its 2 runs begins so"),
        (&job("one").hex()[..6], "the first 7 digits or more"),
        ("baseline", "the first 7 digits or more"),
    ] {
        let error = ask(asked).await.unwrap_err().to_string();
        assert!(error.contains(said), "{asked}: {error}");
    }
    let file = place.file("runs", &job("one").to_string());
    std::fs::write(file, "junk").unwrap();
    let store = Store::open(place.folder.path().to_str().unwrap()).await.unwrap();
    let error = store.find_run(job("one").hex()).await.unwrap_err().to_string();
    assert!(error.contains("its row cannot be read: runs/arch=x86_64"), "{error}");
}

/// Digests of native machines are what they were before there was an emulator to name.
#[test]
fn a_native_fingerprint_says_nothing_of_an_emulator() {
    let fingerprint = record("one").run.fingerprint;
    let text = serde_json::to_string(&fingerprint).unwrap();
    assert!(!text.contains("emulator"), "{text}");
    assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), fingerprint);
}

#[tokio::test]
async fn a_definition_is_stored_once_and_is_no_run() {
    let place = TestStore::with_records(&[record("one")]).await;
    let (store, digest) = (&place.store, Digest::of(b"definition"));
    assert_eq!(store.definition(&digest).await.unwrap(), None);
    let name = format!("definitions/{}.tar.zst", digest.hex());
    let file = place.folder.path().join(&name);
    // Intact is what begins so: others may pack the same files otherwise.
    let put = |packed: &'static str| {
        store.put_definition(&digest, || packed.into(), |stored| stored.starts_with(b"intact"))
    };
    let replaced = DefinitionOutcome::Replaced { path: name.clone() };
    for (damage, packed, outcome, stored) in [
        (None, "intact 1", DefinitionOutcome::Written, "intact 1"),
        (None, "intact 2", DefinitionOutcome::AlreadyStored, "intact 1"),
        (Some("int"), "intact 3", replaced.clone(), "intact 3"),
        (Some(""), "intact 4", replaced, "intact 4"),
    ] {
        damage.iter().for_each(|damage| fs::write(&file, damage).unwrap());
        assert_eq!(put(packed).await.unwrap(), outcome, "{packed}");
        let (path, found) = store.definition(&digest).await.unwrap().unwrap();
        assert_eq!((path, found.as_ref()), (name.clone(), stored.as_bytes()));
    }
    assert_eq!(store.run_rows().await.unwrap().len(), 1);
    assert_eq!(place.store.problems(), []);
}

#[tokio::test]
async fn no_definition_is_stored_in_another_folder_than_the_one_opened() {
    let place = TestStore::new().await;
    let folder = place.folder.path();
    fs::rename(folder, folder.with_extension("away")).unwrap();
    fs::create_dir(folder).unwrap();
    let digest = Digest::of(b"definition");
    let outcome = place.store.put_definition(&digest, || b"packed".to_vec(), |_| true).await;
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("is another folder than when it was opened"), "{error}");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    fs::remove_dir_all(folder.with_extension("away")).unwrap();
}

#[tokio::test]
async fn records_that_cannot_be_stored_leave_nothing() {
    let place = TestStore::new().await;
    type Change = fn(&mut RunRow);
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
    assert!(matches!(below, Error::Unavailable { .. }), "{below:?}");
    for url in ["", "gopher://x/y", "file://elsewhere/x", "s3://"] {
        let error = Store::open(url).await.unwrap_err();
        assert!(matches!(error, Error::InvalidUrl { .. }), "{url}: {error:?}");
    }
    // A folder that stops being one: publishing names the file and the reason.
    let place = TestStore::new().await;
    fs::write(place.folder.path().join("samples"), "").unwrap();
    let error = place.store.publish(&record("x")).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    place.store.check_writable().await.unwrap();
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 1);
}

/// Prints the size of a typical record's files; a bound keeps it from growing unnoticed.
#[tokio::test]
async fn a_typical_record_is_small() {
    let place = TestStore::new().await;
    let record = common::large("size", 8, 20, 7);
    let samples = record.samples.len() as u64;
    let PublishOutcome::Written { bytes, .. } = place.publish(&record).await else { panic!() };
    println!("{samples} samples in {bytes} bytes: {:.1} a sample", bytes as f64 / samples as f64);
    for table in ["samples", "summaries", "runs"] {
        let path = place.file(table, &job("size").to_string());
        println!("{table}: {} bytes", fs::metadata(path).unwrap().len());
    }
    assert!(bytes < 20 * samples, "{bytes}");
}

/// What people and programs leave in a folder is named and set aside, and the rest is read.
#[tokio::test]
async fn odd_names_in_a_folder_are_set_aside() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let place = TestStore::with_records(&[record("one"), record("two")]).await;
    let month = place.file("runs", "x").parent().unwrap().to_path_buf();
    let top = place.folder.path();
    let touch = |folder: &Path, name: &[u8]| fs::write(folder.join(OsStr::from_bytes(name)), "x");
    touch(&month, b"a\nb.parquet").unwrap();
    touch(&month, b"caf\xe9.parquet").unwrap();
    touch(&month, b"notes.txt").unwrap();
    touch(top, b"notes\x01.txt").unwrap();
    touch(top, b"caf\xe9").unwrap();
    symlink(".", top.join("runs/self")).unwrap();
    symlink("arch=x86_64", top.join("runs/latest")).unwrap();
    symlink("/nonexistent", month.join("y.parquet")).unwrap();
    let store = place.reopened().await;
    let rows = store.run_rows().await.unwrap();
    assert_eq!(rows.len(), 2);
    let problems: Vec<String> = store.problems().iter().map(ToString::to_string).collect();
    for part in ["b.parquet", "caf", "notes.txt", "runs/self", "runs/latest"] {
        let named = problems.iter().filter(|problem| problem.contains(part)).count();
        assert!(named > 0, "{part}: {problems:#?}");
    }
    assert!(problems.iter().all(|text| !text.contains(char::is_control)), "{problems:#?}");
    // Asked once more, each is named once all the same.
    store.run_rows().await.unwrap();
    assert_eq!(store.problems().len(), problems.len());

    // Samples on another disk, with a link in their place, are samples.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(top.join("samples"), elsewhere.path().join("samples")).unwrap();
    symlink(elsewhere.path().join("samples"), top.join("samples")).unwrap();
    let store = place.reopened().await;
    assert_eq!(store.list(Folder::Samples).await.unwrap().len(), 2);
    assert_eq!(store.problems(), []);
    // What is no folder at all is an error, not an empty store.
    fs::remove_dir_all(top.join("runs")).unwrap();
    fs::write(top.join("runs"), "x").unwrap();
    assert!(place.reopened().await.run_rows().await.is_err());
}
