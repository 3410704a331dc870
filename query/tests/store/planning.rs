//! Planning computes nothing; old names in SQL.

use std::collections::BTreeMap;
use std::fs;

use dyno_query::{CaseKey, spelling_notes};

use crate::common::{NOON_US, graph, job, large, record};
use crate::{TestStore, changed};

/// Files that cannot be read are met by whoever carries a query out, and by nobody who plans it.
#[tokio::test]
async fn explaining_what_is_judged_or_analysed_reads_no_file() {
    for (table, file) in [
        ("comparisons", "summaries"),
        ("compare('rust-1.85', 'rust-1.97')", "summaries"),
        ("scaling", "samples"),
        ("compare_scaling('rust-1.85', 'rust-1.97')", "samples"),
        ("builds", "units"),
        ("utilisation", "units"),
        ("pipelining", "units"),
    ] {
        let place = TestStore::with_records(&[graph("one")]).await;
        fs::write(place.file(file, job("one").hex()), "no Parquet").unwrap();
        let session = place.session().await;
        let explain = format!("EXPLAIN SELECT * FROM {table} WHERE host = 'local'");
        let plan = crate::table(&session.sql(&explain).await.unwrap());
        assert!(plan.contains("ComputedExec"), "{table}: {plan}");
        assert_eq!(session.problems(), [], "{table} was read while planning");
        session.sql(&format!("SELECT * FROM {table}")).await.unwrap();
        let problems = session.problems();
        assert_eq!(problems.len(), 1, "{table}: {problems:?}");
        assert!(problems[0].path.starts_with(file), "{table}: {problems:?}");
    }
}

/// Two commits that were never compared are a mistake of the query, which is seen in its plan.
#[tokio::test]
async fn explaining_says_which_comparison_is_missing() {
    let place = TestStore::with_records(&[record("one")]).await;
    let plan = place.ask("EXPLAIN SELECT * FROM compare('v1', 'v9')").await;
    assert!(plan.contains("the store has no comparison of `v1` with `v9`"), "{plan}");
}

/// Columns that are called otherwise now give the same numbers under both names, with a note.
#[tokio::test]
async fn old_names_of_columns_go_on_working() {
    let place = TestStore::with_records(&[large("one", 8, 20, 7)]).await;
    for from in ["comparisons", "compare('v1', 'v2')"] {
        for (new, old) in [("peer_prior_variance", "crowd_variance"), ("peer_prior_df", "crowd_df")]
        {
            let with_new = format!("SELECT benchmark, {new} AS x FROM {from} ORDER BY 1, metric");
            let with_old = with_new.replace(new, old);
            let answer = place.ask(&with_new).await;
            assert!(answer.contains("0."), "{answer}");
            assert_eq!(place.ask(&with_old).await, answer, "{from}");
            assert_eq!(spelling_notes(&with_new), [""; 0]);
            let note =
                format!("the column `{old}` is now called `{new}`; the old name still works");
            assert_eq!(spelling_notes(&with_old), [note]);
        }
        // In a subquery, under both names at once.
        let joined = format!(
            "SELECT count(*) AS n FROM (SELECT crowd_df FROM {from}) o \
             JOIN (SELECT peer_prior_df FROM {from}) n ON o.crowd_df = n.peer_prior_df"
        );
        assert!(!place.ask(&joined).await.contains("| 0 |"), "{from}");
        // Whoever asks for everything sees the new names alone.
        let all_columns = place.ask(&format!("SELECT * FROM {from} LIMIT 1")).await;
        assert!(
            all_columns.contains("peer_prior_df") && !all_columns.contains("crowd"),
            "{all_columns}"
        );
    }
}

/// The arguments of `compare` stand in their places; what they are called is baseline and
/// candidate.
#[tokio::test]
async fn a_comparison_is_asked_for_by_baseline_and_candidate() {
    let place = TestStore::with_records(&[record("one")]).await;
    let error = place.refused("SELECT * FROM compare('v1')").await.to_string();
    assert!(error.contains("compare('baseline', 'candidate', 'suite', 'host', 'job')"), "{error}");
}

/// What counting took is known of each run that counted, however busy the machine was, and also where
/// a newer one did not count.
#[tokio::test]
async fn a_disturbed_run_says_how_long_things_take() {
    let counted = changed("counted", |record| {
        record.run.phases_s = [("measure".to_string(), 2.0), ("count".to_string(), 30.0)].into();
        record.run.finished_us = NOON_US + 1;
        // Every round was disturbed, so that no series has a value.
        record.samples.iter_mut().for_each(|sample| sample.taint = "contention".into());
    });
    let key = |benchmark: &str| (benchmark.to_string(), String::new());
    let place = TestStore::with_records(std::slice::from_ref(&counted)).await;
    let walls = place.session().await.latest_walls("wasmi", "local").await.unwrap();
    let round = |ns: f64| ns.round();
    let of = |walls: &BTreeMap<CaseKey, f64>, name: &str| walls.get(&key(name)).copied().map(round);
    assert!([1000.0, 1101.0].map(Some).contains(&of(&walls, "sort")), "{walls:?}");

    // A newer run that did not count, of clean rounds: its times are newer.
    let newer = changed("newer", |record| {
        record.run.phases_s = [("measure".to_string(), 2.0)].into();
        record.run.finished_us = NOON_US + 2;
    });
    place.publish(&newer).await;
    let session = place.session().await;
    let counting =
        session.newest_counting("wasmi", "local").await.unwrap().expect("it was counted");
    assert_eq!(counting.seconds, 30.0);
    let mut walls = counting.walls.clone();
    walls.sort_by(|a, b| a.partial_cmp(b).unwrap());
    let walls: Vec<(&str, f64)> =
        walls.iter().map(|((name, _), ns)| (name.as_str(), round(*ns))).collect();
    let expected = [("json", 1000.0), ("json", 1013.0), ("sort", 1000.0), ("sort", 1101.0)];
    assert_eq!(walls, expected, "of each side");
    assert_eq!(session.newest_counting("wasmi", "elsewhere").await.unwrap(), None);
    assert_eq!(session.newest_counting("another", "local").await.unwrap(), None);
}
