//! SQL, commits as people name them, and what is compared with what.

use arrow::array::{AsArray, RecordBatch};
use dyno_model::commit_name::{CommitName, Meaning};
use dyno_model::verdict;
use dyno_query::{
    CatalogEntry, ColumnDescription, EntryKind, Error, Filter, NamesFrom, SQL_CATALOG, write_csv,
    write_expanded, write_json, write_parquet, write_table,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use crate::common::{commit, graph, job, record, series};
use crate::{TABLES, TestStore, changed};

#[tokio::test]
async fn sql_shows_every_table() {
    let place = TestStore::with_records(&[record("one")]).await;
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

/// Every query of docs/sql.md runs and gives rows.
#[tokio::test]
async fn the_examples_of_the_docs_work() {
    let place = TestStore::with_records(&[record("one"), graph("two")]).await;
    let page = include_str!("../../../docs/sql.md");
    let examples: Vec<&str> =
        page.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 17);
    for sql in examples {
        let rows = place.session().await.sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert!(rows.iter().map(RecordBatch::num_rows).sum::<usize>() > 0, "{sql}");
    }
    // The columns that the pages name are those there are.
    let pages = [page, include_str!("../../../docs/store.md")].concat();
    for name in TABLES {
        let rows = place.session().await.sql(&format!("SELECT * FROM {name}")).await.unwrap();
        for field in rows[0].schema().fields() {
            let plain_name =
                field.name().trim_start_matches("baseline").trim_start_matches("candidate");
            let plain_name = plain_name.trim_end_matches("_median").trim_start_matches("off");
            assert!(pages.contains(plain_name), "{name}.{} is in no page", field.name());
        }
    }
}

/// What `\d` shows is what there is, with a page that names it.
#[tokio::test]
async fn everything_is_described() {
    let place = TestStore::with_records(&[record("one")]).await;
    let session = place.session().await;
    let sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'";
    let rows = session.sql(sql).await.unwrap();
    let names = rows.iter().flat_map(|b| b.column(0).as_string::<i32>().iter().flatten());
    let mut listed: Vec<&str> = names.collect();
    listed.sort_unstable();
    let stored = |d: &&CatalogEntry| matches!(d.kind, EntryKind::Table | EntryKind::View);
    let tables: Vec<&str> = SQL_CATALOG.iter().filter(stored).map(|d| d.name).collect();
    assert_eq!(listed, tables);
    let names = session.names().await;
    let page = include_str!("../../../docs/sql.md");
    let mut text = String::new();
    for CatalogEntry { name, usage, kind, what } in SQL_CATALOG {
        let columns = session.columns(name).await;
        assert_eq!(columns.is_none(), *kind == EntryKind::Function, "{name}");
        let is_known = names.tables.iter().any(|(table, _)| table == name);
        assert_eq!(is_known, kind.has_rows(), "{name}");
        assert!(is_known || names.functions.iter().any(|function| function == name), "{name}");
        assert!(page.contains(&format!("`{usage}`")), "{usage} is not in docs/sql.md");
        text.push_str(&format!("{usage} ({}): {what}\n", kind.name()));
        // The stored tables' columns stand in docs/store.md, which is compared with them.
        let is_shown = *name == "rounds" || *kind == EntryKind::Aggregate;
        for ColumnDescription { name, kind } in columns.filter(|_| is_shown).unwrap_or_default() {
            text.push_str(&format!("    {name} {kind}\n"));
        }
    }
    insta::assert_snapshot!(text);
    assert_eq!(session.columns("nowhere").await, None);
}

/// Structs, of which one is null, with nulls, an empty answer and none at all, in every form.
#[tokio::test]
async fn answers_print_in_every_form() {
    let place = TestStore::with_records(&[record("one")]).await;
    let session = place.session().await;
    let sql = "SELECT r.round, e.e, 'a\nb' AS text FROM \
                 (SELECT round FROM rounds WHERE benchmark = 'json' AND round < 2) r LEFT JOIN \
                 (SELECT round, struct(round + 1 AS next, struct(NULL::double AS none) AS inner) \
                  AS e FROM rounds WHERE benchmark = 'json' AND round = 1) e \
               ON e.round = r.round ORDER BY 1";
    let none = "SELECT round, struct(round AS x) AS e FROM rounds WHERE false";
    let mut text = String::new();
    for sql in [sql, none] {
        let batches = session.sql(sql).await.unwrap();
        for (form, write) in [
            ("table", write_table as fn(&mut dyn std::io::Write, &[RecordBatch]) -> _),
            ("expanded", write_expanded),
            ("csv", write_csv),
            ("json", write_json),
        ] {
            let mut buffer = Vec::new();
            write(&mut buffer, &batches).unwrap();
            text.push_str(&format!("{form}:\n{}", String::from_utf8(buffer).unwrap()));
        }
        let mut parquet = Vec::new();
        write_parquet(&mut parquet, &batches).unwrap();
        let read = ParquetRecordBatchReader::try_new(bytes::Bytes::from(parquet), 1024).unwrap();
        let read: Vec<RecordBatch> = read.map(Result::unwrap).collect();
        let rows = |batches: &[RecordBatch]| {
            let mut buffer = Vec::new();
            write_json(&mut buffer, batches).unwrap();
            buffer
        };
        assert_eq!(rows(&read), rows(&batches));
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn answers_print_as_csv_and_json() {
    let place = TestStore::with_records(&[record("one")]).await;
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
async fn what_would_change_the_store_is_refused() {
    let place = TestStore::with_records(&[record("one")]).await;
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
    let place = TestStore::with_records(&[record("one")]).await;
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
async fn several() -> TestStore {
    let side = |name: &str, asked: &str, commit: &str, at: i64| {
        changed(name, |r| {
            r.run.candidate.asked = asked.into();
            r.run.candidate.commit = commit.parse().unwrap();
            r.run.finished_us += at;
        })
    };
    let like_b = format!("{}{}", "b".repeat(10), "c".repeat(30));
    TestStore::with_records(&[
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
        // The newest of the two that were called so.
        ("main".into(), Ok('c')),
        ("cccccc".into(), Err("too short")),
        ("nonsense".into(), Err("in none of its runs")),
        ("".into(), Err("no comparison")),
    ] {
        match (session.compare("aaaaaaa", &*asked, &Filter::default()).await, expected) {
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
    let newest = session.compare("v1", "main", &Filter::default()).await.unwrap();
    assert_eq!(
        newest.other_pairs,
        ["2026-11-20 12:00 v1 … main is `aaaaaaaaaaaa bbbbbbbbbbbb --suite wasmi`"]
    );
    let ambiguous = session.compare("v1", "bbbbbbb", &Filter::default()).await.unwrap_err();
    insta::assert_snapshot!(ambiguous);
}

/// What a name means today counts where that was measured; one that counts from where a repository is
/// now counts in no other way.
#[tokio::test]
async fn a_name_means_what_it_means_today() {
    let place = several().await;
    let session = place.session().await;
    let meant = |name: &str, suite: &str, letter| {
        CommitName::with_meaning(name, suite, Meaning { commit: commit(letter), subject: None })
    };
    for (name, expected) in [
        (meant("main", "wasmi", 'b'), Ok(('b', NamesFrom::Source, "main", 1))),
        (meant("main", "wasmi", 'c'), Ok(('c', NamesFrom::Source, "main", 1))),
        // The newest of what was measured under it, and the name with its id.
        (meant("main", "wasmi", 'd'), Ok(('c', NamesFrom::StoreInstead, "main (cccccccccccc)", 1))),
        (meant("main", "another", 'b'), Ok(('c', NamesFrom::Store, "main", 1))),
        (meant("HEAD", "wasmi", 'b'), Ok(('b', NamesFrom::Source, "HEAD (bbbbbbbbbbbb)", 0))),
        (meant("HEAD", "wasmi", 'd'), Err("of `v1` with `HEAD (dddddddddddd)` (`HEAD` is in none")),
        (meant("HEAD", "another", 'b'), Err("`HEAD` is in none of its runs")),
    ] {
        match (session.compare("v1", &name, &Filter::default()).await, expected) {
            (Ok(compared), Ok((letter, from, label, others))) => {
                assert_eq!(compared.candidate, commit(letter), "{name:?}");
                assert_eq!((compared.names_from, &*compared.labels[1].text), (from, label));
                assert_eq!(compared.other_pairs.len(), others, "{name:?}");
            }
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{name:?}: {error}");
            }
            (got, _) => panic!("{name:?}: {got:?}"),
        }
    }
}

#[tokio::test]
async fn jobs_of_one_host_are_pooled_if_alike_and_named_if_not() {
    let later_record = |name: &str, at: i64, kernel: &str| {
        changed(name, |r| {
            r.run.finished_us += at;
            r.run.fingerprint.kernel = kernel.into();
        })
    };
    let place = TestStore::with_records(&[
        later_record("old kernel", 0, "6.1.0"),
        later_record("first", 1, "6.12.0"),
        later_record("second", 2, "6.12.0"),
    ])
    .await;
    let compared = place.session().await.compare("v1", "v2", &Filter::default()).await.unwrap();
    let jobs: Vec<_> = compared.runs.iter().map(|run| run.job.clone()).collect();
    assert_eq!(jobs, [job("first"), job("second")]);
    assert_eq!(compared.excluded_jobs, [job("old kernel")]);
    assert_eq!(compared.jobs, [2, 2, 2]);
    // Two records' samples put end to end give the same verdicts.
    let mut both_runs = record("x").samples;
    let second_run = both_runs.clone().into_iter().map(|mut s| {
        s.round += 4;
        s
    });
    both_runs.extend(second_run.collect::<Vec<_>>());
    let whole = TestStore::with_records(&[changed("whole", |r| r.samples = both_runs)]).await;
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
    let place = TestStore::with_records(&[
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
    let on_both = session.compare("v1", "v2", &Filter::default()).await.unwrap();
    assert_eq!(hosts(&on_both.judged), ["local", "local", "arm1", "local"]);
    let arm = Filter { host: Some("arm1".into()), ..Filter::default() };
    let on_one = session.compare("v1", "v2", &arm).await.unwrap();
    assert_eq!(hosts(&on_one.judged), ["arm1"]);
    let nowhere = Filter { host: Some("arm2".into()), ..Filter::default() };
    assert!(matches!(
        session.compare("v1", "v2", &nowhere).await,
        Err(Error::NoComparison { stored, .. }) if stored.len() == 2
    ));
    place.publish(&changed("suite", |r| r.run.suite = "other".into())).await;
    let session = place.session().await;
    let error = session.compare("v1", "v2", &Filter::default()).await.unwrap_err();
    insta::assert_snapshot!(error);
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
    let place =
        TestStore::with_records(&[quote, changed("two", |r| r.run.host = "other".into())]).await;
    let session = place.session().await;
    for host in [None, Some("o'host".to_string())] {
        let filter = Filter { host, ..Filter::default() };
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
    let place = TestStore::with_records(&[record("one")]).await;
    let whole = place.ask("SELECT q FROM (SELECT * FROM comparisons ORDER BY 1) WHERE benchmark = 'sort' AND metric = 'wall'");
    let whole = whole.await;
    let sql = "SELECT q FROM comparisons WHERE benchmark = 'sort' AND metric = 'wall' \
               AND suite = 'wasmi' AND baseline_commit LIKE 'aaaa%'";
    assert_eq!(place.ask(sql).await, whole);
    let none = place.ask("SELECT q FROM comparisons WHERE suite = 'nosuch'").await;
    assert_eq!(none.lines().count(), 4, "{none}");
}
