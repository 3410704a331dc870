//! How cases scale with their number of threads.

use dyno_model::record::{Record, RunRow, Side};
use dyno_model::stats::scaling::Basis;
use dyno_query::Filter;

use crate::common::{graph, job};
use crate::{TestStore, table};

fn changed_record(name: &str, change: impl FnOnce(&mut Record)) -> Record {
    let mut record = graph(name);
    change(&mut record);
    record
}

#[tokio::test]
async fn what_is_said_of_scaling() {
    let place = TestStore::with_records(&[graph("one")]).await;
    let mut text = String::new();
    for sql in [
        "SELECT suite, host, architecture, benchmark, config, side, threads, rounds, median_ns, \
         instructions_metric, instructions FROM scaling ORDER BY side, threads",
        "SELECT side, threads, round(speedup, 3) AS speedup, round(speedup_low, 3) AS l, \
         round(speedup_high, 3) AS h, round(efficiency, 3) AS efficiency, \
         round(efficiency_low, 3) AS low, round(efficiency_high, 3) AS high \
         FROM scaling ORDER BY side, threads",
        "SELECT side, law, round(sigma, 3) AS sigma, round(sigma_low, 3) AS l, \
         round(sigma_high, 3) AS h, round(kappa, 4) AS kappa, round(kappa_low, 4) AS low, \
         round(kappa_high, 4) AS high, best_threads, best_threads_low, best_threads_high, \
         best_threads_limit, round(residual, 4) AS residual, no_fit \
         FROM scaling WHERE threads = 1 ORDER BY side",
        "SELECT DISTINCT threads_compared, round(effect, 3) AS effect, round(low, 3) AS low, \
         round(high, 3) AS high, smallest_effect, verdict, reason, policy \
         FROM compare_scaling('rust-1.85', 'rust-1.97')",
        "SELECT DISTINCT round(sigma_change, 3) AS sigma_change, round(sigma_change_low, 3) AS l, \
         round(sigma_change_high, 3) AS h, round(kappa_change, 4) AS kappa_change, \
         round(kappa_change_low, 4) AS low, round(kappa_change_high, 4) AS high FROM scaling",
    ] {
        text.push_str(&format!("{sql}\n{}\n", place.ask(sql).await));
    }
    insta::assert_snapshot!(text);
}

/// The table, the function, and what a report gets are the same.
#[tokio::test]
async fn sql_says_what_the_model_says() {
    let other = changed_record("other", |r| {
        r.run.host = "other".into();
        // Here both sides scale alike.
        for sample in r.samples.iter_mut().filter(|s| s.side == Side::Candidate) {
            if let Some((_, threads)) = sample.config.split_once("threads=") {
                let n: i64 = threads.parse().unwrap();
                let noise = i64::from(sample.round) * 900_000;
                sample.value = (100 + 10 * (n - 1)) * 10_000_000 / n + noise;
            }
        }
    });
    let place = TestStore::with_records(&[graph("one"), other]).await;
    let session = place.session().await;
    for host in [None, Some("local".to_string())] {
        let filter = Filter { host: host.clone(), ..Filter::default() };
        let compared = session.compare("rust-1.85", "rust-1.97", &filter).await.unwrap();
        let cases = session.scaling_cases(&compared).await.unwrap();
        assert_eq!(cases.len(), if host.is_none() { 2 } else { 1 });
        for case in &cases {
            assert_eq!((case.benchmark.as_str(), case.config.as_str()), ("leaf", "profile=check"));
            let rows = table(&session.sql(&compared.sql_for_scaling(case)).await.unwrap());
            assert_eq!(rows.lines().count(), 4 + 6, "{rows}");
            let fit = case.candidate.curve.as_ref().unwrap().universal.as_ref().unwrap();
            let point = case.candidate.points[2].speedup.unwrap();
            let difference = case.scaled.difference.as_ref().unwrap();
            let Basis::Law { sigma, .. } = difference.basis else { panic!("{difference:?}") };
            for number in [
                fit.sigma.estimate,
                fit.residual,
                point.estimate,
                point.low,
                difference.estimate.mean.exp_m1(),
                sigma.0,
                case.scaled.q.unwrap(),
            ] {
                assert!(rows.contains(&format!("| {number:?} ")), "{number}: {rows}");
            }
            assert!(rows.contains(case.scaled.verdict.name()), "{rows}");
        }
    }
    let rows = place.ask("SELECT * FROM scaling ORDER BY host, side, threads").await;
    let one =
        "SELECT * FROM compare_scaling('rust-1.85', 'rust-1.97') ORDER BY host, side, threads";
    assert_eq!(rows, place.ask(one).await);
    // A filter on the host does not change the family of q; asking about one host does.
    let families = "SELECT DISTINCT s.q = a.q AS same, s.q > f.q AS alone FROM scaling s \
                    JOIN scaling a ON s.host = a.host JOIN \
                    compare_scaling('rust-1.85', 'rust-1.97', 'rustc', 'local') f ON f.host = s.host \
                    WHERE s.host = 'local'";
    assert!(place.ask(families).await.contains("| true | "), "{}", place.ask(families).await);
}

/// Repetitions are pooled as those of comparisons are.
#[tokio::test]
async fn repetitions_are_one_curve() {
    let later_record = changed_record("two", |r| r.run.finished_us += 3_600_000_000);
    let place = TestStore::with_records(&[graph("one"), later_record]).await;
    let rounds = place.ask("SELECT DISTINCT rounds FROM scaling").await;
    assert!(rounds.contains("| 6      |"), "{rounds}");
    // One on another kernel is not.
    let changed = changed_record("three", |r| {
        r.run.finished_us += 7_200_000_000;
        r.run.fingerprint.kernel = "6.13.0".into();
    });
    place.publish(&changed).await;
    let rounds = place.ask("SELECT DISTINCT rounds FROM scaling").await;
    assert!(rounds.contains("| 3      |"), "{rounds}");
}

#[tokio::test]
async fn a_compiler_that_ignores_the_number_has_times_and_no_curve() {
    let ignores = changed_record("one", |r| r.run.ignores_threads = vec![Side::Baseline]);
    let place = TestStore::with_records(std::slice::from_ref(&ignores)).await;
    let stored = place.store.run(&job("one")).await.unwrap().unwrap();
    assert_eq!(stored.ignores_threads, ignores.run.ignores_threads);
    insta::assert_snapshot!(
        place
            .ask(
                "SELECT side, threads, median_ns, round(speedup, 2) AS speedup, law, no_fit, \
                 verdict, reason FROM scaling ORDER BY side, threads"
            )
            .await
    );
    // Rows of a dyno that did not look are of compilers that take it.
    let text = serde_json::to_string(&ignores.run).unwrap();
    let older = text.replace("\"ignores_threads\":[\"baseline\"],", "");
    assert_ne!(older, text);
    let read: RunRow = serde_json::from_str(&older).unwrap();
    assert_eq!(read, RunRow { ignores_threads: Vec::new(), ..ignores.run });
}

#[tokio::test]
async fn two_numbers_of_threads_have_no_law() {
    let two = changed_record("one", |r| r.samples.retain(|s| !s.config.ends_with("threads=4")));
    let place = TestStore::with_records(&[two]).await;
    let sql = "SELECT DISTINCT law, no_fit, round(effect, 2) AS effect, sigma_change, verdict FROM scaling";
    insta::assert_snapshot!(place.ask(sql).await);
}
