//! The store and its SQL, on real Parquet files in temporary folders.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use common::{NOON_US, commit, job, policy, record, run, series};
use dyno_model::record::{Record, Run};
use dyno_model::verdict;
use dyno_query::{
    Error, Filter, Problem, Published, Session, Store, write_csv, write_json, write_table,
};
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
async fn sql_shows_every_table() {
    let place = Place::with(&[record("one")]).await;
    let mut text = String::new();
    for sql in [
        "SELECT benchmark, metric, round, side, sequence, value, taint, unit, commit FROM samples \
         WHERE metric = 'wall' AND round < 2 ORDER BY benchmark, round, side",
        "SELECT benchmark, metric, rounds, mean_log_ratio, variance, baseline_median, tainted, \
         arch, month FROM summaries ORDER BY benchmark, metric",
        "SELECT suite, host, kernel, seed, rounds, outcome, failed, baseline_asked, started, \
         finished, measured_share, arch, month FROM runs",
        "SELECT benchmark, metric, effect, low, high, p, q, jobs, verdict, reason, decides, policy \
         FROM comparisons ORDER BY benchmark, metric",
        "SELECT benchmark, verdict FROM compare('v1', 'v2') WHERE decides ORDER BY benchmark",
        "SELECT benchmark, metric, side, commit, median, min, max FROM history \
         WHERE metric = 'wall' ORDER BY benchmark, side",
        "SELECT benchmark, metric, jobs, df, round(sd, 6) AS sd FROM noise \
         ORDER BY benchmark, metric",
        "SELECT table_name, table_type FROM information_schema.tables \
         WHERE table_schema = 'public' ORDER BY table_name",
    ] {
        text.push_str(&format!("{sql}\n{}\n", place.ask(sql).await));
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn answers_print_as_csv_and_json() {
    let place = Place::with(&[record("one")]).await;
    let session = place.session().await;
    let sql = "SELECT benchmark, rounds, reason FROM comparisons WHERE metric = 'wall' ORDER BY 1";
    let batches = session.sql(sql).await.unwrap();
    let (mut csv, mut json) = (Vec::new(), Vec::new());
    write_csv(&mut csv, &batches).unwrap();
    write_json(&mut json, &batches).unwrap();
    insta::assert_snapshot!(String::from_utf8(csv).unwrap());
    insta::assert_snapshot!(String::from_utf8(json).unwrap());
    // Columns are named even where there is no row.
    let none = session.sql("SELECT benchmark, round FROM samples WHERE false").await.unwrap();
    let mut csv = Vec::new();
    write_csv(&mut csv, &none).unwrap();
    assert_eq!(String::from_utf8(csv).unwrap(), "benchmark,round\n");
}

#[tokio::test]
async fn an_empty_store_answers_with_no_rows() {
    let place = Place::new().await;
    for from in ["samples", "summaries", "runs", "comparisons", "history", "noise"] {
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
        for from in ["samples", "summaries", "runs", "comparisons", "history", "noise"] {
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

/// Ways in which a file can be bad; each is put in the place of a sound one.
fn spoil(way: &str, place: &Place, table: &str) {
    let path = place.file(table, &job("bad").to_string());
    let bytes = fs::read(&path).unwrap();
    let put = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
    match way {
        "truncated" => put(&bytes[..bytes.len() / 2]),
        "garbage" => put(&[0xAB; 700]),
        "text" => put(b"not a table at all\n"),
        "empty" => put(b""),
        "no footer" => put(&bytes[..bytes.len() - 8]),
        "other table" => {
            let other = if table == "runs" { "samples" } else { "runs" };
            put(&fs::read(place.file(other, &job("good").to_string())).unwrap());
        }
        "other job" => put(&fs::read(place.file(table, &job("good").to_string())).unwrap()),
        "foreign" => put(&foreign_parquet(&[])),
        "newer" => put(&foreign_parquet(&[("dyno.schema", "2"), ("dyno.version", "7.0.0")])),
        "no columns" => put(&foreign_parquet(&[
            ("dyno.schema", "1"),
            ("dyno.table", table),
            ("dyno.job", &job("bad").to_string()),
        ])),
        "folder" => {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            fs::write(path.join("part-0.parquet"), bytes).unwrap();
        }
        "pages" => {
            // The footer stays sound; the pages before it do not.
            let mut bytes = bytes;
            let end = bytes.len();
            let footer = u32::from_le_bytes(bytes[end - 8..end - 4].try_into().unwrap()) as usize;
            bytes[4..end - 8 - footer].fill(0xFF);
            put(&bytes);
        }
        other => panic!("{other}"),
    }
}

/// A Parquet file of one column with key-value metadata.
fn foreign_parquet(pairs: &[(&str, &str)]) -> Vec<u8> {
    use arrow::array::{ArrayRef, Int32Array};
    use parquet::file::metadata::KeyValue;
    let column: ArrayRef = std::sync::Arc::new(Int32Array::from(vec![1, 2, 3]));
    let batch = RecordBatch::try_from_iter([("x", column)]).unwrap();
    let pairs = pairs.iter().map(|(k, v)| KeyValue::new(k.to_string(), v.to_string())).collect();
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_key_value_metadata(Some(pairs))
        .build();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[tokio::test]
async fn a_bad_file_is_named_and_the_rest_is_read() {
    let ways = [
        "truncated",
        "garbage",
        "text",
        "empty",
        "no footer",
        "other table",
        "other job",
        "foreign",
        "newer",
        "no columns",
        "folder",
        "pages",
    ];
    let mut said = Vec::new();
    for table_name in ["samples", "summaries", "runs"] {
        for way in ways {
            let place = Place::with(&[record("good"), record("bad")]).await;
            spoil(way, &place, table_name);
            let session = place.session().await;
            // Every column, so that every page is read.
            let rows = session.sql(&format!("SELECT * FROM {table_name}")).await;
            let rows = rows.unwrap_or_else(|e| panic!("{table_name} {way}: {e}"));
            let rows: usize = rows.iter().map(RecordBatch::num_rows).sum();
            let good = record("good");
            let expected = match table_name {
                "samples" => good.samples.len(),
                "summaries" => verdict::summarise(&good.samples).len(),
                _ => 1,
            };
            assert_eq!(rows, expected, "{table_name} {way}");
            let compared = session.compare("v1", "v2", &Filter::default()).await.unwrap();
            assert_eq!(compared.judged.len(), 3, "{table_name} {way}");
            let problems = session.problems();
            assert!(!problems.is_empty(), "{table_name} {way}");
            for Problem { path, what } in problems {
                let path = path.replace(job("bad").hex(), "<job>");
                said.push(format!("{way}: {path}: {what}"));
            }
        }
    }
    insta::assert_snapshot!(said.join("\n"));
}

/// Bits flipped anywhere never panic and never take the other job's rows along. `DYNO_FLIPS` sets
/// how many files are tried for each table.
#[tokio::test]
async fn flipped_bytes_do_no_harm() {
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let place = Place::with(&[record("good"), record("bad")]).await;
    for table_name in ["samples", "summaries", "runs"] {
        let path = place.file(table_name, &job("bad").to_string());
        let sound = fs::read(&path).unwrap();
        let times = std::env::var("DYNO_FLIPS").map_or(40, |times| times.parse().unwrap());
        for _ in 0..times {
            let mut bytes = sound.clone();
            for _ in 0..=next(3) {
                let at = next(bytes.len());
                bytes[at] ^= 1 << next(8);
            }
            fs::write(&path, &bytes).unwrap();
            let sql = format!("SELECT * FROM {table_name} WHERE job = '{}'", job("good"));
            let all = place.session().await.sql(&format!("SELECT * FROM {table_name}")).await;
            all.unwrap();
            let good = place.session().await.sql(&sql).await.unwrap();
            assert!(good.iter().map(RecordBatch::num_rows).sum::<usize>() > 0);
        }
        fs::write(&path, &sound).unwrap();
    }
}

#[tokio::test]
async fn what_would_change_the_store_is_refused() {
    let place = Place::with(&[record("one")]).await;
    for sql in [
        "DROP TABLE runs",
        "DROP VIEW history",
        "CREATE TABLE x AS SELECT 1",
        "CREATE VIEW x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '/etc'",
        "INSERT INTO runs VALUES (1)",
        "DELETE FROM samples",
        "UPDATE samples SET value = 0",
        "COPY samples TO '/tmp/x.parquet'",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "EXPLAIN ANALYZE INSERT INTO runs SELECT * FROM runs",
        "SELECT 1 AS x INTO y",
        "SET datafusion.execution.batch_size = 1",
        "PREPARE p AS SELECT 1",
        "BEGIN",
    ] {
        let error = place.refused(sql).await;
        assert!(matches!(error, Error::ReadOnly { .. }), "{sql}: {error:?}");
    }
    for sql in ["SELECT 1; DROP TABLE runs", "SELECT * FROM '/etc/passwd'", ""] {
        assert!(matches!(place.refused(sql).await, Error::Sql(_)), "{sql}");
    }
    for sql in ["SHOW TABLES", "DESCRIBE runs", "EXPLAIN SELECT 1", "VALUES (1)"] {
        place.ask(sql).await;
    }
}

#[tokio::test]
async fn mistakes_in_sql_are_one_line_with_a_hint() {
    let place = Place::with(&[record("one")]).await;
    let mut text = String::new();
    for sql in [
        "SELECT benchmrk FROM noise",
        "SELECT 1 FROM sample",
        "SELEC 1",
        "SELECT * FROM compare('v1')",
        "SELECT * FROM compare('v1', 2)",
        "SELECT * FROM compare('v1', 'v9')",
        "SELECT nosuch(1)",
        "SELECT 1 / 0",
    ] {
        let error = place.refused(sql).await.to_string();
        assert!(!error.contains('\n'), "{error}");
        text.push_str(&format!("{sql}\n  {error}\n"));
    }
    insta::assert_snapshot!(text);
}

/// Three pairs: a–b twice under other labels, a–c, and one whose commits share a prefix with b.
async fn several() -> Place {
    let side = |name: &str, asked: &str, commit: &str, at: i64| {
        changed(name, |r| {
            r.run.candidate.asked = asked.into();
            r.run.candidate.commit = commit.parse().unwrap();
            r.run.finished_us += at;
        })
    };
    let like_b = format!("{}{}", "b".repeat(10), "c".repeat(30));
    Place::with(&[
        side("ab", "main", commit('b').hex(), 0),
        side("ac", "main", commit('c').hex(), 1),
        side("like", "topic", &like_b, 2),
    ])
    .await
}

#[tokio::test]
async fn commits_are_found_by_id_prefix_or_what_was_asked() {
    let place = several().await;
    let session = place.session().await;
    for (asked, expected) in [
        (commit('b').to_string(), Ok('b')),
        ("bbbbbbbbbbb".into(), Ok('b')),
        ("CCCCCCC".into(), Ok('c')),
        ("topic".into(), Ok('t')),
        ("bbbbbbb".into(), Err("could mean")),
        ("main".into(), Err("could mean")),
        ("cccccc".into(), Err("too short")),
        ("nonsense".into(), Err("in none of its runs")),
        ("".into(), Err("no comparison")),
    ] {
        match (session.compare("aaaaaaa", &asked, &Filter::default()).await, expected) {
            (Ok(compared), Ok('t')) => assert!(compared.candidate.hex().ends_with('c')),
            (Ok(compared), Ok(letter)) => assert_eq!(compared.candidate, commit(letter)),
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{asked}: {error}");
            }
            (got, _) => panic!("{asked}: {got:?}"),
        }
    }
    let missing = session.compare("topic", "v1", &Filter::default()).await.unwrap_err();
    insta::assert_snapshot!(missing);
    let ambiguous = session.compare("v1", "main", &Filter::default()).await.unwrap_err();
    insta::assert_snapshot!(ambiguous);
}

#[tokio::test]
async fn jobs_of_one_host_are_pooled_if_alike_and_named_if_not() {
    let later = |name: &str, at: i64, kernel: &str| {
        changed(name, |r| {
            r.run.finished_us += at;
            r.run.fingerprint.kernel = kernel.into();
        })
    };
    let place = Place::with(&[
        later("old kernel", 0, "6.1.0"),
        later("first", 1, "6.12.0"),
        later("second", 2, "6.12.0"),
    ])
    .await;
    let compared = place.session().await.compare("v1", "v2", &Filter::default()).await.unwrap();
    let jobs: Vec<_> = compared.runs.iter().map(|run| run.job.clone()).collect();
    assert_eq!(jobs, [job("first"), job("second")]);
    assert_eq!(compared.left_out, [job("old kernel")]);
    assert_eq!(compared.jobs, [2, 2, 2]);
    // Two records' samples put end to end give the same verdicts.
    let mut both = record("x").samples;
    let again = both.clone().into_iter().map(|mut s| {
        s.round += 4;
        s
    });
    both.extend(again.collect::<Vec<_>>());
    let whole = Place::with(&[changed("whole", |r| r.samples = both)]).await;
    let whole = whole.session().await.compare("v1", "v2", &Filter::default()).await.unwrap();
    for (pooled, whole) in compared.judged.iter().zip(&whole.judged) {
        let (a, b) = (&pooled.comparison, &whole.comparison);
        assert_eq!((a.rounds, a.tainted, &pooled.verdict), (b.rounds, b.tainted, &whole.verdict));
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(near(a.effect().unwrap(), b.effect().unwrap()));
        assert!(near(a.interval().unwrap().1, b.interval().unwrap().1));
        assert!(near(a.q.unwrap(), b.q.unwrap()));
    }
}

#[tokio::test]
async fn hosts_and_suites_are_kept_apart() {
    let place = Place::with(&[
        record("x86"),
        changed("arm", |r| {
            r.run.host = "arm1".into();
            r.run.fingerprint.architecture = "aarch64".into();
            r.samples = series("sort", "wall", &[(100, 90), (101, 91), (99, 90)]);
        }),
    ])
    .await;
    let session = place.session().await;
    let hosts = |judged: &[verdict::Judged]| -> Vec<String> {
        judged.iter().map(|j| j.comparison.key.host.clone()).collect()
    };
    let both = session.compare("v1", "v2", &Filter::default()).await.unwrap();
    assert_eq!(hosts(&both.judged), ["local", "local", "arm1", "local"]);
    let arm = Filter { host: Some("arm1".into()), ..Filter::default() };
    let one = session.compare("v1", "v2", &arm).await.unwrap();
    assert_eq!(hosts(&one.judged), ["arm1"]);
    let nowhere = Filter { host: Some("arm2".into()), ..Filter::default() };
    assert!(matches!(
        session.compare("v1", "v2", &nowhere).await,
        Err(Error::NoComparison { stored, .. }) if stored.len() == 2
    ));
    place.publish(&changed("suite", |r| r.run.suite = "other".into())).await;
    let session = place.session().await;
    let error = session.compare("v1", "v2", &Filter::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "`v1 v2` could mean: suite other, suite wasmi; write more of it");
    let suite = Filter { suite: Some("other".into()), ..Filter::default() };
    assert_eq!(session.compare("v1", "v2", &suite).await.unwrap().judged.len(), 3);
    let text = place.ask("SELECT DISTINCT arch FROM samples WHERE month = '2026-11' ORDER BY arch");
    assert!(text.await.contains("aarch64"));
}

#[tokio::test]
async fn each_number_comes_out_of_its_sql() {
    use arrow::array::AsArray;
    use arrow::datatypes::Float64Type;
    let quote = changed("one", |r| {
        r.samples.iter_mut().for_each(|s| s.config = "name=it's".into());
        r.run.host = "o'host".into();
    });
    let place = Place::with(&[quote, changed("two", |r| r.run.host = "other".into())]).await;
    let session = place.session().await;
    for host in [None, Some("o'host".to_string())] {
        let filter = Filter { suite: None, host };
        let compared = session.compare("v1", "v2", &filter).await.unwrap();
        assert!(compared.judged.len() >= 3);
        for judged in &compared.judged {
            let rows = session.sql(&compared.sql_for(&judged.comparison.key)).await.unwrap();
            let rows: Vec<_> = rows.iter().filter(|batch| batch.num_rows() > 0).collect();
            assert_eq!(rows.iter().map(|b| b.num_rows()).sum::<usize>(), 1);
            let float = |name: &str| {
                rows[0].column_by_name(name).unwrap().as_primitive::<Float64Type>().value(0)
            };
            let comparison = &judged.comparison;
            assert_eq!(float("effect"), comparison.effect().unwrap());
            assert_eq!((float("low"), float("high")), comparison.interval().unwrap());
            assert_eq!(Some(float("q")), comparison.q);
            let verdict = rows[0].column_by_name("verdict").unwrap().as_string_view().value(0);
            assert_eq!(verdict, judged.verdict.name());
        }
    }
}

#[tokio::test]
async fn a_filter_does_not_change_over_what_q_is_adjusted() {
    let place = Place::with(&[record("one")]).await;
    let whole = place.ask("SELECT q FROM (SELECT * FROM comparisons ORDER BY 1) WHERE benchmark = 'sort' AND metric = 'wall'");
    let whole = whole.await;
    let sql = "SELECT q FROM comparisons WHERE benchmark = 'sort' AND metric = 'wall' \
               AND suite = 'wasmi' AND baseline_commit LIKE 'aaaa%'";
    assert_eq!(place.ask(sql).await, whole);
    let none = place.ask("SELECT q FROM comparisons WHERE suite = 'nosuch'").await;
    assert_eq!(none.lines().count(), 4, "{none}");
}

#[tokio::test]
async fn records_that_cannot_be_stored_leave_nothing() {
    let place = Place::new().await;
    let cases: [(&str, fn(&mut Run)); 5] = [
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
    for url in ["", "gopher://x/y", "file://elsewhere/x", "s3://", below.to_str().unwrap()] {
        let error = Store::open(url).await.unwrap_err();
        assert!(matches!(error, Error::Place { .. }), "{url}: {error:?}");
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
    assert_eq!(run("x").rounds, 4);
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
