//! The store and its SQL, on real Parquet files in temporary folders.

mod asking;
mod bad_files;
mod builds;
#[path = "../common/mod.rs"]
mod common;
mod noise;
mod paired;
mod scaling;
mod trust;

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use common::{NOON_US, graph, job, policy, record};
use dyno_model::id::Digest;
use dyno_model::record::{Fingerprint, Record, RunRow, Side};
use dyno_model::verdict;
use dyno_query::{Error, Filter, KeptDefinition, Published, Session, Store, write_table};
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
    let place = Place::with(&[record("one"), record("two")]).await;
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
    let place = Place::with(&[native.clone(), arm("emulated", "laptop", qemu)]).await;
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
    let place = Place::with(std::slice::from_ref(&native)).await;
    let later = changed("later", |record| {
        *record = arm("later", "arm", qemu);
        record.run.started_us += 3_600_000_000;
        record.run.finished_us += 3_600_000_000;
    });
    place.publish(&later).await;
    let compared = place.session().await.compare("v1", "v2", &Filter::default()).await.unwrap();
    assert_eq!(compared.runs.iter().map(|run| &run.job).collect::<Vec<_>>(), [&later.run.job]);
    let borrowed = "SELECT count(history_variance) AS n FROM compare('v1', 'v2')";
    assert!(place.ask(borrowed).await.contains("| 0 |"));
    assert_ne!(native.run.fingerprint.digest(), later.run.fingerprint.digest());

    // Every table says which is which, though no file of samples does.
    for from in ["samples", "summaries", "runs", "history", "rounds"] {
        let sql = format!("SELECT DISTINCT job, emulated FROM {from} ORDER BY emulated");
        let told = place.ask(&sql).await;
        for (job, emulated) in [(&native.run.job, "false"), (&later.run.job, "true")] {
            let line = told.lines().find(|line| line.contains(job.hex())).unwrap();
            assert!(line.contains(emulated), "{from}: {told}");
        }
        let sql =
            format!("SELECT count(*) > 0 AS some FROM {from} WHERE emulated AND arch = 'aarch64'");
        assert!(place.ask(&sql).await.contains("| true |"), "{from}");
    }
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
async fn a_definition_is_kept_once_and_disturbs_no_query() {
    let place = Place::with(&[record("one")]).await;
    let (store, digest) = (&place.store, Digest::of(b"definition"));
    assert_eq!(store.definition(&digest).await.unwrap(), None);
    let name = format!("definitions/{}.tar.zst", digest.hex());
    let file = place.folder.path().join(&name);
    // Sound is what begins so: others may pack the same files otherwise.
    let keep = |packed: &'static str| {
        store.keep_definition(&digest, || packed.into(), |held| held.starts_with(b"sound"))
    };
    let replaced = KeptDefinition::Replaced { path: name.clone() };
    for (damage, packed, kept, held) in [
        (None, "sound 1", KeptDefinition::Written, "sound 1"),
        (None, "sound 2", KeptDefinition::Held, "sound 1"),
        (Some("sou"), "sound 3", replaced.clone(), "sound 3"),
        (Some(""), "sound 4", replaced, "sound 4"),
    ] {
        damage.iter().for_each(|damage| fs::write(&file, damage).unwrap());
        assert_eq!(keep(packed).await.unwrap(), kept, "{packed}");
        let (path, found) = store.definition(&digest).await.unwrap().unwrap();
        assert_eq!((path, found.as_ref()), (name.clone(), held.as_bytes()));
    }
    assert!(place.ask("SELECT count(*) AS n FROM runs").await.contains("| 1 |"));
    assert_eq!(place.store.problems(), []);
}

#[tokio::test]
async fn no_definition_is_kept_in_another_folder_than_the_one_opened() {
    let place = Place::new().await;
    let folder = place.folder.path();
    fs::rename(folder, folder.with_extension("away")).unwrap();
    fs::create_dir(folder).unwrap();
    let digest = Digest::of(b"definition");
    let kept = place.store.keep_definition(&digest, || b"packed".to_vec(), |_| true).await;
    let error = kept.unwrap_err().to_string();
    assert!(error.contains("is another folder than when it was opened"), "{error}");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    fs::remove_dir_all(folder.with_extension("away")).unwrap();
}

#[tokio::test]
async fn an_empty_store_answers_with_no_rows() {
    let place = Place::new().await;
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
    let place = Place::with(&[changed("none", |r| r.samples.clear())]).await;
    let compared = place.session().await.compare("v1", "v2", &Filter::default()).await.unwrap();
    assert_eq!((compared.runs.len(), compared.judged.len(), compared.problems.len()), (1, 0, 0));
    assert!(place.ask("SELECT count(*) AS n FROM samples").await.contains("| 0 |"));
}

/// What a publisher that died leaves: nothing, samples, summaries too, units too.
#[tokio::test]
async fn an_attempt_that_died_is_invisible_and_does_not_block_the_next() {
    for left in [&["samples"][..], &["samples", "summaries"], &["samples", "summaries", "units"]] {
        let place = Place::with(&[graph("one")]).await;
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
        assert!(!place.store.holds(&job("one")).await.unwrap());
        // The next attempt measured other values.
        let mut next = graph("one");
        next.samples.iter_mut().for_each(|s| s.value *= 3);
        next.units.iter_mut().for_each(|u| u.start_ns += 1);
        assert!(matches!(place.publish(&next).await, Published::Written { attempt: 1, .. }));
        let sums = |r: &Record| r.samples.iter().map(|s| s.value).sum::<i64>().to_string();
        let text = place.ask("SELECT sum(value) AS s, max(attempt) AS a FROM samples").await;
        assert!(text.contains(&sums(&next)), "{text}");
        let starts = next.units.iter().map(|u| u.start_ns).sum::<i64>().to_string();
        let text = place.ask("SELECT sum(start_ns) AS s, max(attempt) AS a FROM units").await;
        assert!(text.contains(&starts), "{text}");
        assert_eq!(place.publish(&graph("one")).await, Published::AlreadyHeld);
        assert_eq!(place.session().await.problems(), []);
    }
}

/// The same record, published again after a death, goes on with what is there.
#[tokio::test]
async fn the_same_record_goes_on_where_it_died() {
    for left in 1..FOLDERS.len() {
        let place = Place::with(&[graph("one")]).await;
        for table in &FOLDERS[left..] {
            fs::remove_file(place.file(table, job("one").hex())).unwrap();
        }
        let published = place.publish(&graph("one")).await;
        assert!(matches!(published, Published::Written { attempt: 0, .. }), "{left}");
        let text = place.ask("SELECT count(*) AS n, max(attempt) AS a FROM units").await;
        assert!(text.contains("| 60 | 0 |"), "{left}: {text}");
    }
}

#[tokio::test]
async fn a_job_published_twice_counts_once() {
    let place = Place::with(&[graph("one")]).await;
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
async fn records_that_cannot_be_stored_leave_nothing() {
    let place = Place::new().await;
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
