//! Units of builds, and what is said of the builds.

use std::collections::BTreeMap;
use std::sync::Mutex;

use arrow::array::RecordBatch;
use dyno_model::build_graph::{Build, analyse, gain, simulate};
use dyno_model::record::{CompilationUnit, Need, Record, Side};
use dyno_query::{Filter, MeasuredBuild, write_csv, write_json};
use dyno_store::Store;

use crate::common::{graph, job, policy, record};
use crate::{TestStore, table};

fn changed_record(name: &str, change: impl FnOnce(&mut Record)) -> Record {
    let mut record = graph(name);
    change(&mut record);
    record
}

/// The rows as CSV, without the header.
async fn sorted(place: &TestStore, sql: &str) -> Vec<String> {
    let mut csv = Vec::new();
    write_csv(&mut csv, &place.session().await.sql(sql).await.unwrap()).unwrap();
    let text = String::from_utf8(csv).unwrap();
    let mut lines: Vec<String> = text.lines().skip(1).map(str::to_string).collect();
    lines.sort_unstable();
    lines
}

async fn builds(place: &TestStore) -> Vec<MeasuredBuild> {
    let session = place.session().await;
    let compared = session.compare("rust-1.85", "rust-1.97", &Filter::default()).await.unwrap();
    session.builds(&compared).await.unwrap()
}

#[tokio::test]
async fn units_come_back_as_they_were() {
    let record = graph("one");
    let place = TestStore::with_records(std::slice::from_ref(&record)).await;
    let mut expected: BTreeMap<u32, Vec<CompilationUnit>> = BTreeMap::new();
    for unit in &record.units {
        expected.entry(unit.sequence).or_default().push(unit.clone());
    }
    let stored = builds(&place).await;
    assert_eq!(stored.len(), 12);
    for build in stored {
        let whole = build.build.unwrap();
        assert_eq!(whole.units(), expected[&build.sequence]);
        assert_eq!((whole.jobs(), whole.cores()), (2, 2));
        assert_eq!(whole.pipelining(), build.config.ends_with("=on"));
        assert_eq!((build.job, build.taint.as_str()), (job("one"), ""));
    }
    insta::assert_snapshot!(
        place
            .ask(
                "SELECT unit, name, kind, start_ns, metadata_ns, codegen_ns, link_ns, end_ns, \
                 needs_metadata, needs_end, left(commit, 4) AS commit, arch, month FROM units \
                 WHERE sequence = 1 ORDER BY unit"
            )
            .await
    );
    assert_eq!(place.session().await.problems(), []);
}

#[tokio::test]
async fn lists_print_in_every_form() {
    let place = TestStore::with_records(&[graph("one")]).await;
    let sql = "SELECT unit, needs_metadata, needs_end FROM units WHERE sequence = 0 AND unit < 3 \
               ORDER BY unit";
    let batches: Vec<RecordBatch> = place.session().await.sql(sql).await.unwrap();
    let (mut csv, mut json) = (Vec::new(), Vec::new());
    write_csv(&mut csv, &batches).unwrap();
    write_json(&mut json, &batches).unwrap();
    let text = [table(&batches), String::from_utf8(csv).unwrap(), String::from_utf8(json).unwrap()];
    insta::assert_snapshot!(text.join("\n"));
}

#[tokio::test]
async fn what_is_said_of_builds() {
    let place = TestStore::with_records(&[graph("one")]).await;
    let mut text = String::new();
    for sql in [
        "SELECT config, side, round, sequence, jobs, pipelining, cores, units, wall_ns, \
         critical_path_ns, critical_path FROM builds WHERE round = 0 ORDER BY sequence",
        "SELECT sequence, path_front_ns, path_codegen_ns, path_link_ns, path_other_ns, \
         path_waited_ns, round(utilisation, 4) AS utilisation, overlap_ns, broken \
         FROM builds WHERE round = 0 ORDER BY sequence",
        "SELECT sequence, predicted_ns, predicted_1_on_ns, predicted_1_off_ns, predicted_2_on_ns, \
         predicted_2_off_ns FROM builds WHERE round = 0 ORDER BY sequence",
        "SELECT from_ns, to_ns, units, cores FROM utilisation WHERE sequence = 0 ORDER BY from_ns",
        "SELECT suite, benchmark, config, side, on_builds, off_builds, on_median_ns, \
         off_median_ns, round(gain, 4) AS gain, round(gain_low, 4) AS low, \
         round(gain_high, 4) AS high, no_gain FROM pipelining ORDER BY side",
        "SELECT side, on_critical_path_ns, on_critical_path, round(on_front_share, 4) AS front, \
         round(on_codegen_share, 4) AS codegen, round(on_utilisation, 4) AS utilisation, \
         on_overlap_ns, on_units FROM pipelining ORDER BY side",
        "SELECT side, off_critical_path_ns, round(off_front_share, 4) AS front, \
         round(off_codegen_share, 4) AS codegen, off_overlap_ns FROM pipelining ORDER BY side",
    ] {
        text.push_str(&format!("{sql}\n{}\n", place.ask(sql).await));
    }
    insta::assert_snapshot!(text);
}

/// Numbers of SQL are those of the model, from the record itself.
#[tokio::test]
async fn sql_says_what_the_model_says() {
    let record = graph("one");
    let place = TestStore::with_records(std::slice::from_ref(&record)).await;
    let session = place.session().await;
    let compared = session.compare("rust-1.85", "rust-1.97", &Filter::default()).await.unwrap();
    let walls = |config: &str, side: Side| -> Vec<i64> {
        let is_of_side = |s: &&dyno_model::record::Sample| s.config == config && s.side == side;
        record.samples.iter().filter(is_of_side).map(|s| s.value).collect()
    };
    for case in session.pipelining(&compared).await.unwrap() {
        let [on, off] =
            ["on", "off"].map(|way| walls(&format!("jobs=2,pipelining={way}"), case.side));
        let expected = gain(&on, &off, policy().confidence).unwrap();
        assert_eq!(case.gain, Ok(expected));
        assert_eq!((case.config.as_str(), case.on.builds, case.off.builds), ("jobs=2", 3, 3));
        let mut sorted = on.clone();
        sorted.sort_unstable();
        assert_eq!(case.on.median_ns, Some(sorted[1] as f64));
        assert_eq!(case.on.typical.as_ref().unwrap().wall_ns, Some(sorted[1]));
        let printed = table(&session.sql(&case.sql()).await.unwrap());
        for number in [expected.estimate, expected.low, expected.high, sorted[1] as f64] {
            assert!(printed.contains(&format!("| {number:?} ")), "{number}: {printed}");
        }
    }
    for stored in session.builds(&compared).await.unwrap() {
        let units: Vec<CompilationUnit> =
            record.units.iter().filter(|u| u.sequence == stored.sequence).cloned().collect();
        let pipelining = stored.config.ends_with("=on");
        let build = Build::new(units, stored.wall_ns.unwrap(), 2, pipelining, 2).unwrap();
        let analysis = analyse(&build);
        let printed = table(&session.sql(&stored.sql()).await.unwrap());
        for number in [
            build.wall_ns(),
            analysis.critical_path.length_ns(),
            analysis.overlap_ns,
            simulate(&build, 2, pipelining).wall_ns(),
        ] {
            assert!(printed.contains(&format!("| {number} ")), "{number}: {printed}");
        }
        assert!(printed.contains(&format!("| {:?} ", analysis.utilisation.mean)), "{printed}");
        let rows =
            |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        let steps = session.sql(&stored.sql_for_utilisation()).await.unwrap();
        assert_eq!(rows(&steps), analysis.utilisation.series.len());
        assert_eq!(rows(&session.sql(&stored.sql_for_units()).await.unwrap()), 5);
    }
}

/// What a filter leaves is what it leaves of all.
#[tokio::test]
async fn filters_change_no_number() {
    let place = TestStore::with_records(&[
        graph("one"),
        changed_record("two", |r| r.run.host = "other".into()),
    ])
    .await;
    for (from, filter, rows) in [
        ("builds", "side = 'candidate'", 12),
        ("builds", "config LIKE '%on' AND round = 1", 4),
        ("builds", "host = 'other' AND sequence = 0", 1),
        ("builds", "month = '2026-11' AND benchmark <> 'app'", 0),
        ("builds", "suite = 'rustc' AND wall_ns > 0", 24),
        ("utilisation", "sequence = 0 AND host = 'local' AND from_ns = 0", 1),
        ("pipelining", "side = 'baseline' AND candidate_asked = 'rust-1.97'", 2),
        ("pipelining", "config = 'jobs=2' AND host = 'local'", 2),
        ("pipelining", "config LIKE '%on'", 0),
    ] {
        // Nothing goes down through a limit.
        let unfiltered = format!("(SELECT * FROM {from} LIMIT 100000)");
        let [filtered, of_all] =
            [from, &unfiltered].map(|of| format!("SELECT * FROM {of} WHERE {filter}"));
        let (filtered, of_all) = (sorted(&place, &filtered).await, sorted(&place, &of_all).await);
        assert_eq!(filtered, of_all, "{from} {filter}");
        assert_eq!(filtered.len(), rows, "{from} {filter}: {filtered:?}");
    }
}

/// Units of stores from before there were any, and of records that have none.
#[tokio::test]
async fn a_record_without_units_has_no_file_of_them() {
    let place = TestStore::with_records(&[record("one")]).await;
    assert!(!place.folder.path().join("units").exists());
    for from in ["units", "builds", "utilisation", "pipelining"] {
        assert!(place.ask(&format!("SELECT count(*) AS n FROM {from}")).await.contains("| 0 |"));
    }
    place.publish(&graph("two")).await;
    assert!(place.ask("SELECT count(DISTINCT job) AS n FROM units").await.contains("| 1 |"));
    assert!(place.ask("SELECT count(*) AS n FROM runs").await.contains("| 2 |"));
    assert_eq!(place.session().await.problems(), []);
    // A run whose units are gone is a run without.
    std::fs::remove_file(place.file("units", &job("two").to_string())).unwrap();
    assert!(place.ask("SELECT count(*) AS n FROM builds").await.contains("| 0 |"));
    assert_eq!(place.session().await.problems(), []);
}

#[tokio::test]
async fn files_are_written_in_one_order() {
    static SEEN: Mutex<Vec<(&str, bool)>> = Mutex::new(Vec::new());
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).await.unwrap();
    let store = store.with_watch(|table, done| SEEN.lock().unwrap().push((table, done)));
    store.publish(&graph("one")).await.unwrap();
    let expected = crate::FOLDERS.iter().flat_map(|table| [(*table, false), (*table, true)]);
    assert_eq!(*SEEN.lock().unwrap(), expected.collect::<Vec<_>>());
}

/// Rows that are no build are said to be none, and stand in the way of no other.
#[tokio::test]
async fn what_is_no_build_says_why() {
    type Change = fn(&mut Record);
    let cases: [(Change, &str); 8] = [
        (|r| r.units[1].needs = vec![Need { unit: 9, end: true }], "needs unit 9"),
        (|r| r.units[0].needs = vec![Need { unit: 1, end: true }], "waits for itself"),
        (|r| r.units[0].end_ns = -1, "out of order"),
        (|r| _ = r.units.remove(0), "missing or twice there"),
        (|r| r.samples.retain(|s| s.sequence != 0), "no sample of its wall time"),
        (|r| r.samples[0].value = 1, "out of order: end, wall"),
        (|r| r.run.fingerprint.benchmark_cores.clear(), "no number of jobs"),
        (
            |r| {
                r.samples[0].config = "pipelining=perhaps".into();
                r.units[..5].iter_mut().for_each(|u| u.config = "pipelining=perhaps".into());
            },
            "neither on nor off",
        ),
    ];
    for (change, why) in cases {
        let place = TestStore::with_records(&[changed_record("bad", change)]).await;
        if why == "no number of jobs" {
            // All builds name their jobs, but the cores are not known.
            let none = place.ask("SELECT count(broken) AS n FROM builds").await;
            assert!(none.contains("| 12 |"), "{none}");
            continue;
        }
        let rows = place
            .ask("SELECT sequence, broken, critical_path IS NULL AS none FROM builds WHERE broken IS NOT NULL")
            .await;
        assert!(rows.contains(why) && rows.contains("| true"), "{why}: {rows}");
        assert_eq!(rows.lines().count(), 5, "{rows}");
        place.ask("SELECT * FROM pipelining").await;
        place.ask("SELECT * FROM utilisation").await;
    }
}

/// Disturbed builds count for no gain, and the last of a round does.
#[tokio::test]
async fn a_gain_is_of_builds_that_nothing_disturbed() {
    let disturb = |r: &mut Record, sequence: u32| {
        for sample in r.samples.iter_mut().filter(|s| s.sequence == sequence) {
            sample.taint = "steal".into();
        }
        for unit in r.units.iter_mut().filter(|u| u.sequence == sequence) {
            unit.taint = "steal".into();
        }
    };
    let ask = "SELECT on_builds, off_builds, no_gain FROM pipelining WHERE side = 'baseline'";
    for (sequences, told) in [
        (&[0][..], "| 2         | 3          | -"),
        (&[0, 10], "| 1         | 3          | 1 round with pipelining on: two are needed"),
        (&[0, 10, 20], "| 0         | 3          | 0 rounds with pipelining on: two are needed"),
    ] {
        let place = TestStore::with_records(&[changed_record("one", |r| {
            sequences.iter().for_each(|s| disturb(r, *s))
        })])
        .await;
        let answer = place.ask(ask).await;
        assert!(answer.contains(told), "{answer}");
    }
    // Taken again under the same round.
    let second = changed_record("one", |r| {
        disturb(r, 0);
        let mut sample = r.samples[0].clone();
        (sample.sequence, sample.taint) = (100, String::new());
        let mut units: Vec<CompilationUnit> = r.units[..5].to_vec();
        for unit in &mut units {
            (unit.sequence, unit.taint) = (100, String::new());
        }
        r.samples.push(sample);
        r.units.extend(units);
    });
    let answer = TestStore::with_records(&[second]).await.ask(ask).await;
    assert!(answer.contains("| 3         | 3          | -"), "{answer}");
}
