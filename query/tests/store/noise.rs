//! What past runs lend, and what they do not.

use dyno_model::budget::Budget;
use dyno_model::catalog::suite::{Case, Config};
use dyno_model::id::Digest;
use dyno_model::plan::{JobInputs, plan};
use dyno_model::record::{Record, RunRow, Trust};
use dyno_model::sampling::Target;
use dyno_model::states::PastStates;
use dyno_model::verdict::{Reason, Verdict, summarise};
use dyno_query::{Filter, Session};

use crate::common::{NOON_US, commit, policy, run, series};
use crate::{TestStore, table};

/// An hour, in µs.
const HOUR: i64 = 3_600_000_000;

/// A run of one series, `hours` after noon, with two commits of its own.
fn record_at(hours: i64, letters: [char; 2], change: impl Fn(&mut RunRow)) -> Record {
    let mut run = run(&format!("{hours} {letters:?}"));
    run.finished_us = NOON_US + hours * HOUR;
    for (built, letter) in [(&mut run.baseline, letters[0]), (&mut run.candidate, letters[1])] {
        built.commit = commit(letter);
        built.asked = letter.to_string();
        built.artifact = Some(Digest::of(&[letter as u8]));
    }
    change(&mut run);
    let d = 1000 + hours.abs() * 7;
    let rounds = [(10_000, 10_000 + d), (10_000, 10_000 - d), (10_000, 10_010), (10_000, 9_900)];
    Record { run, samples: series("sort", "wall", &rounds), units: Vec::new() }
}

#[tokio::test]
async fn a_change_of_the_machine_or_image_starts_afresh() {
    type Change = fn(&mut RunRow);
    let changes: [(&str, Change, bool); 10] = [
        ("nothing", |_| (), true),
        ("suite digest", |r| r.suite_digest = Digest::of(b"edited"), true),
        ("kernel", |r| r.fingerprint.kernel = "6.13.0".into(), false),
        ("microcode", |r| r.fingerprint.microcode = "0x2b".into(), false),
        ("governor", |r| r.fingerprint.governor = "powersave".into(), false),
        ("engine", |r| r.fingerprint.engine = "docker 27".into(), false),
        ("image", |r| r.image_id = Digest::of(b"another"), false),
        ("host", |r| r.host = "elsewhere".into(), false),
        ("suite", |r| r.suite = "another".into(), false),
        ("an untrusted candidate", |r| r.trust = Trust::Untrusted, false),
    ];
    for (what, change, lends) in changes {
        let place = TestStore::with_records(&[
            record_at(-1, ['c', 'd'], change),
            record_at(0, ['a', 'b'], |_| ()),
        ])
        .await;
        let session = Session::open(&place.store, policy()).await.unwrap();
        let filter = Filter { suite: Some("wasmi".into()), ..Filter::default() };
        let compared = session.compare("a", "b", &filter).await.unwrap();
        let noise = compared.judged[0].comparison.noise.unwrap();
        assert_eq!(noise.history.is_some(), lends, "{what}: {noise:?}");
        assert_eq!(noise.run.df, 3.0, "{what}");
    }
}

#[tokio::test]
async fn only_what_had_finished_before_lends() {
    let place = TestStore::with_records(&[
        record_at(-2, ['c', 'd'], |_| ()),
        record_at(0, ['a', 'b'], |_| ()),
        record_at(3, ['e', 'f'], |_| ()),
    ])
    .await;
    let session = Session::open(&place.store, policy()).await.unwrap();
    let history_df = async |baseline: &str, candidate: &str| {
        let compared = session.compare(baseline, candidate, &Filter::default()).await.unwrap();
        let history = compared.judged[0].comparison.noise.unwrap().history;
        (compared.history_runs.len(), history.map(|h| h.df))
    };
    assert_eq!(history_df("c", "d").await, (0, None));
    assert_eq!(history_df("a", "b").await, (1, Some(3.0)));
    // Two runs know 6 degrees of freedom; the policy's cap of 10 is not reached.
    assert_eq!(history_df("e", "f").await, (2, Some(6.0)));
}

#[tokio::test]
async fn the_view_and_the_verdicts_pool_alike() {
    let letters = [['c', 'd'], ['e', 'f'], ['0', '1']];
    let mut records: Vec<Record> = letters
        .iter()
        .zip(-4..)
        .map(|(letters, hours)| record_at(hours, *letters, |_| ()))
        .collect();
    let place = TestStore::with_records(&records).await;
    let sql = "SELECT variance, df, jobs FROM noise";
    let session = Session::open(&place.store, policy()).await.unwrap();
    let batches = session.sql(sql).await.unwrap();
    use arrow::array::AsArray;
    use arrow::datatypes::{Float64Type, Int64Type};
    let pooled = batches[0].column(0).as_primitive::<Float64Type>().value(0);
    assert_eq!(batches[0].column(1).as_primitive::<Int64Type>().value(0), 9, "{}", table(&batches));
    assert_eq!(batches[0].column(2).as_primitive::<Int64Type>().value(0), 3);
    records.push(record_at(0, ['a', 'b'], |_| ()));
    place.publish(records.last().unwrap()).await;
    let session = Session::open(&place.store, policy()).await.unwrap();
    let compared = session.compare("a", "b", &Filter::default()).await.unwrap();
    let history = compared.judged[0].comparison.noise.unwrap().history.unwrap();
    assert!((history.value / pooled - 1.0).abs() < 1e-12, "{history:?} {pooled}");
    // 3 of the run's own and 7 of the 9 that history has make the policy's 10.
    assert_eq!(history.df, 7.0);
    // The table of all comparisons says the same.
    let sql = "SELECT history_variance, history_df FROM comparisons WHERE baseline_asked = 'a'";
    let batches = session.sql(sql).await.unwrap();
    assert_eq!(batches[0].column(0).as_primitive::<Float64Type>().value(0), history.value);
    assert_eq!(batches[0].column(1).as_primitive::<Float64Type>().value(0), 7.0);
}

#[tokio::test]
async fn an_artifact_null_comparisons_is_found_by_environment() {
    let make_null = |r: &mut RunRow| r.candidate.artifact = r.baseline.artifact.clone();
    let place = TestStore::with_records(&[
        record_at(-3, ['c', 'c'], make_null),
        record_at(-2, ['c', 'c'], |r| {
            r.candidate.artifact = r.baseline.artifact.clone();
            r.fingerprint.kernel = "6.13.0".into();
        }),
        record_at(-1, ['d', 'd'], make_null),
        record_at(0, ['a', 'b'], |_| ()),
    ])
    .await;
    let session = Session::open(&place.store, policy()).await.unwrap();
    let runs = session.compare("a", "b", &Filter::default()).await.unwrap().runs;
    let null_comparisons = session.null_comparisons(&runs).await.unwrap();
    assert_eq!(null_comparisons.len(), 1);
    let (first, second) =
        (&null_comparisons[0].comparisons[0][0], &null_comparisons[0].comparisons[1][0]);
    assert_eq!(null_comparisons[0].comparisons.len(), 2);
    // Each is judged as it would have been then: the first without history.
    let has_history =
        |j: &dyno_model::verdict::Judged| j.comparison.noise.unwrap().history.is_some();
    assert_eq!((has_history(first), has_history(second)), (false, true));
}

/// The states of past runs come back with the comparison, and steer the sampling of a job to come;
/// those of a run come back as they were found in its samples.
#[tokio::test]
async fn states_of_past_runs_are_remembered() {
    let (fast, slow) = (1_000_000, 1_500_000);
    let alike = [(fast, fast + 100); 5];
    let mixed = [(fast, fast + 90), (slow, fast), (fast + 50, slow + 70), (fast, fast + 9)];
    let with_rounds = |hours, letters, rounds: &[(i64, i64)]| {
        let record = record_at(hours, letters, |_| ());
        Record { samples: series("sort", "wall", rounds), ..record }
    };
    let place = TestStore::with_records(&[
        with_rounds(-3, ['e', 'f'], &alike),
        with_rounds(-2, ['c', 'd'], &mixed),
        with_rounds(-1, ['f', 'a'], &alike),
        with_rounds(0, ['a', 'b'], &alike),
    ])
    .await;
    let session = place.session().await;
    let compare = async |baseline: &str, candidate: &str| {
        let compared = session.compare(baseline, candidate, &Filter::default()).await.unwrap();
        (compared.judged[0].clone(), compared.runs[0].clone())
    };
    let (judged, run) = compare("a", "b").await;
    let (low, high) = (fast, slow);
    let past = PastStates { runs: 3, runs_with_states: 1, low, high };
    assert_eq!(judged.comparison.past_states, Some(past));
    // The past run with states lends its noise too, so that the interval is wide.
    assert_eq!(judged.comparison.states, None);
    assert!(matches!(judged.verdict, Verdict::Inconclusive(Reason::TooWide { .. })), "{judged:?}");

    let shown = compare("c", "d").await.0.comparison;
    let expected = summarise(&series("sort", "wall", &mixed)).remove(0).states;
    assert!(expected.is_some() && shown.states == expected && shown.past_states.is_none());
    let sql = "SELECT state_values, state_baseline, state_candidate, state_rose, state_fell \
               FROM summaries WHERE state_rose IS NOT NULL";
    assert!(
        place.ask(sql).await.contains("| [1000000, 1500000] | [3, 1]         | [3, 1] "),
        "{}",
        place.ask(sql).await
    );
    let sql = "SELECT count(states) AS n FROM comparisons";
    assert!(place.ask(sql).await.contains("| 1 |"));

    // A job to come, on this machine and on another kernel.
    let target =
        |metric: &str| Target { metric: metric.into(), half_width: 0.01, past_states: None };
    let case = Case { benchmark: "sort".into(), config: Config::default() };
    for (fingerprint, expected) in [
        (run.fingerprint.digest(), vec![vec![Some(PastStates { runs: 4, ..past }), None]]),
        (Digest::of(b"another"), vec![vec![None, None]]),
    ] {
        let inputs = JobInputs {
            suite_digest: run.suite_digest.clone(),
            image_id: run.image_id.clone(),
            baseline: commit('b'),
            candidate: commit('c'),
            trust: Trust::Trusted,
            host: run.host.clone(),
            fingerprint,
            metrics: vec!["wall".into(), "max-rss".into()],
            budget: Budget { rounds_min: 5, rounds_max: 20, seconds: 60 },
            targets: Digest::of(b"t"),
            cases: None,
            repetition: 0,
        };
        let targets = vec![vec![target("wall"), target("max-rss")]];
        let planned = plan(vec![case.clone()], inputs, targets, 0.95, &|_| false);
        let past_states = session.past_states(&run.suite, &planned.jobs[0]).await.unwrap();
        assert_eq!(past_states, expected);
    }
}
