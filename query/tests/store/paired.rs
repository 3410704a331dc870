//! The view `rounds` and the functions over it, against the model and against plain SQL.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use dyno_model::record::Record;
use dyno_model::stats::{self, Variance};
use dyno_model::verdict;

use crate::common::{commit, record, series};
use crate::{TestStore, changed};

/// The fields of the struct `column` in the only row of `batches`: a count, then numbers.
fn estimate(batches: &[RecordBatch], column: &str) -> (i64, Vec<Option<f64>>) {
    let batch = batches.iter().find(|batch| batch.num_rows() > 0).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    let row = batch.column_by_name(column).unwrap().as_struct();
    let number = |array: &arrow::array::ArrayRef| {
        let array = array.as_primitive::<Float64Type>();
        array.is_valid(0).then(|| array.value(0))
    };
    let count = row.column(0).as_primitive::<Int64Type>().value(0);
    (count, row.columns()[1..].iter().map(number).collect())
}

/// The same as the model has it, over d in ascending order.
fn modelled(mut d: Vec<f64>, smallest_effect: f64, confidence: f64) -> (i64, Vec<Option<f64>>) {
    d.sort_by(f64::total_cmp);
    let moments = stats::moments(&d).unwrap();
    let value = moments.variance.unwrap();
    let variance = Variance { value, df: d.len() as f64 - 1.0 };
    let delta = stats::log_effect(smallest_effect);
    let e = stats::estimate(moments.n, moments.mean, variance, delta, confidence);
    let (low, high) = ((e.mean - e.half_width).exp_m1(), (e.mean + e.half_width).exp_m1());
    let numbers = [e.mean.exp_m1(), low, high, e.p, value, 0.0];
    (d.len() as i64, numbers.map(Some).to_vec())
}

const PAIRS: [(i64, i64); 5] = [(100, 110), (101, 108), (99, 112), (100, 109), (103, 111)];

#[tokio::test]
async fn paired_is_what_the_model_says() {
    let d = || PAIRS.iter().map(|(b, c)| stats::log_ratio(*b, *c).unwrap()).collect::<Vec<_>>();
    let place =
        TestStore::with_records(&[changed("one", |r| r.samples = series("s", "wall", &PAIRS))])
            .await;
    let session = place.session().await;
    for (arguments, smallest_effect, confidence) in [
        ("", 0.0, 0.95),
        (", 0", 0.0, 0.95),
        (", 0.05", 0.05, 0.95),
        (", 0.05, 0.8", 0.05, 0.8),
        (", 1.0 / 50, 1 - 0.01", 0.02, 0.99),
    ] {
        let sql = format!("SELECT paired(baseline, candidate{arguments}) AS e FROM rounds");
        let answer = estimate(&session.sql(&sql).await.unwrap(), "e");
        assert_eq!(answer, modelled(d(), smallest_effect, confidence), "{arguments}");
    }
    // SciPy 1.x: d = numpy.log(numpy.divide(candidates, baselines)), scipy.stats.ttest_1samp(d, 0),
    // its confidence_interval(), d.var(ddof=1); effects by numpy.expm1.
    let sql = "SELECT paired(baseline, candidate) AS e FROM rounds";
    let (_, numbers) = estimate(&session.sql(sql).await.unwrap(), "e");
    let scipy = [
        0.09344773520727799,
        0.06414629914891122,
        0.123555990925469,
        0.0007980829144658019,
        0.0004785678970264151,
    ];
    for (number, expected) in numbers.iter().zip(scipy) {
        assert!((number.unwrap() - expected).abs() < 1e-9, "{numbers:?}");
    }
    // Plain SQL says the same of mean and variance.
    let sql = "SELECT abs(e.effect - (exp(mean) - 1)) < 1e-12 AND abs(e.variance - variance) < 1e-15 \
                      AND e.rounds = n AS same \
               FROM (SELECT paired(baseline, candidate) AS e, \
                            avg(ln(candidate::double / baseline)) AS mean, count(log_ratio) AS n, \
                            var_samp(log_ratio) AS variance FROM rounds)";
    assert!(place.ask(sql).await.contains("| true |"), "{}", place.ask(sql).await);
}

/// What stands for values that give no ratio, and groups too small for an answer.
#[tokio::test]
async fn every_end_has_its_answer() {
    let place = TestStore::new().await;
    let session = place.session().await;
    let none = [None; 5];
    let ends: [(&str, i64, [Option<f64>; 5]); 13] = [
        ("(1, 2) LIMIT 0", 0, none),
        ("(NULL, 2), (2, NULL)", 0, none),
        ("(-1, 5), (-2, -3)", 0, none),
        // One side alone is zero: no effect, and p is that of the directions.
        ("(0, 5), (5, 0), (-1, 5), (-2, -3)", 2, [None, None, None, Some(1.0), None]),
        ("(0,0), (0,0), (0,0), (0,1000), (0,1000)", 5, [None, None, None, Some(0.5), None]),
        ("(0,5), (0,5), (0,5), (0,5), (0,5), (0,5)", 6, [None, None, None, Some(0.03125), None]),
        ("('NaN'::double, 5), (5, 'inf'::double), ('-inf'::double, '-inf'::double)", 0, none),
        ("(1e-300, 1e300)", 0, none),
        ("(100, 150), (NULL, 3)", 1, [Some(0.5), None, None, None, None]),
        ("(100, 150), (0, 3), (NULL, 3)", 2, [None, None, None, Some(1.0), None]),
        ("(100, 100), (7, 7)", 2, [Some(0.0), Some(0.0), Some(0.0), Some(1.0), Some(0.0)]),
        // Equal ends that have no ratio did not change.
        ("(0, 0), (-3, -3)", 2, [Some(0.0), Some(0.0), Some(0.0), Some(1.0), Some(0.0)]),
        // A counter that is always twice as much: certain.
        ("(1, 2), (10, 20)", 2, [Some(1.0), Some(1.0), Some(1.0), Some(0.0), Some(0.0)]),
    ];
    for (rows, rounds, numbers) in ends {
        let sql = format!(
            "SELECT paired(b, c) AS e FROM (SELECT column1::double AS b, column2::double AS c \
             FROM (VALUES {rows}))"
        );
        let sql = sql.replace("LIMIT 0)", ") LIMIT 0");
        let (count, got) = estimate(&session.sql(&sql).await.unwrap(), "e");
        assert_eq!(count, rounds, "{rows}");
        for (got, expected) in got.iter().zip(numbers) {
            let near = got.zip(expected).is_some_and(|(a, b)| (a - b).abs() < 1e-12);
            assert!(near || *got == expected, "{rows}: {got:?} is not {expected:?}");
        }
    }
    let zeros = "SELECT e.zeros AS z FROM (SELECT paired(b, c) AS e FROM \
                 (VALUES (0.0, 1.0), (2.0, 2.0)) AS t(b, c))";
    assert!(place.ask(zeros).await.contains("| 1.0 |"));
    let ratios = "SELECT log_ratio(2, 2) AS a, log_ratio(0, 1) AS b, log_ratio(NULL, 1) AS c, \
                  round(log_ratio(1, exp(1)), 9) AS d";
    assert!(place.ask(ratios).await.contains("| 0.0 | - | - | 1.0 |"));
}

#[tokio::test]
async fn geometric_mean_is_what_the_model_says() {
    let place = TestStore::new().await;
    let session = place.session().await;
    let ask = async |arguments: &str, rows: &str| {
        let sql = format!(
            "SELECT geometric_mean({arguments}) AS g FROM (SELECT column1::double AS e, \
             column2::double AS v, column3 AS n FROM (VALUES {rows}))"
        );
        estimate(&session.sql(&sql).await.unwrap(), "g")
    };
    let parts = |df: Option<f64>| {
        [(0.1, 0.0004, 4), (0.2, 0.0009, 5)].map(|(effect, value, n): (f64, f64, u32)| {
            let df = df.unwrap_or(f64::from(n) - 1.0);
            (stats::log_effect(effect), Variance { value, df }, n)
        })
    };
    let modelled = |df, confidence| {
        let g = stats::geometric_mean(&parts(df), confidence).unwrap();
        let interval_end = |sign: f64| Some((g.mean + sign * g.half_width).exp_m1());
        (2, vec![interval_end(0.0), interval_end(-1.0), interval_end(1.0)])
    };
    // In another order than the model gets them.
    let rows = "(0.2, 0.0009, 5), (0.1, 0.0004, 4)";
    assert_eq!(ask("e, v, n", rows).await, modelled(None, 0.95));
    assert_eq!(ask("e, v, n, 30", rows).await, modelled(Some(30.0), 0.95));
    assert_eq!(ask("e, v, n, 30, 0.5", rows).await, modelled(Some(30.0), 0.5));
    let mean = modelled(None, 0.95).1[0];
    assert!((mean.unwrap() - ((1.1f64 * 1.2).sqrt() - 1.0)).abs() < 1e-12);
    assert_eq!(ask("e", rows).await, (2, vec![mean, None, None]));
    // One whose variance is not known: the mean stands, the interval does not.
    for unknown in ["(0.1, NULL, 4)", "(0.1, 0.0004, 1)", "(0.1, -1, 4)", "(0.1, 'NaN'::double, 4)"]
    {
        let got = ask("e, v, n", &format!("(0.2, 0.0009, 5), {unknown}")).await;
        assert_eq!(got, (2, vec![mean, None, None]), "{unknown}");
    }
    for (rows, count, effect) in [
        (
            "(NULL, 1, 2), (-1, 1, 2), (-3, 1, 2), ('NaN'::double, 1, 2), ('inf'::double, 1, 2)",
            0,
            None,
        ),
        ("(0, 0, 2), (NULL, NULL, NULL)", 1, Some(0.0)),
    ] {
        assert_eq!(ask("e, v, n", rows).await, (count, vec![effect; 3]), "{rows}");
    }
}

#[tokio::test]
async fn what_the_aggregates_cannot_take_is_one_line() {
    let place = TestStore::with_records(&[record("one")]).await;
    let mut text = String::new();
    for call in [
        "paired(baseline)",
        "paired(benchmark, candidate)",
        "paired(DISTINCT baseline, candidate)",
        "paired(baseline, candidate, -0.01)",
        "paired(baseline, candidate, 'NaN'::double)",
        "paired(baseline, candidate, round)",
        "paired(baseline, candidate, NULL)",
        "paired(baseline, candidate, 0.01, 95)",
        "geometric_mean(log_ratio, 1)",
        "geometric_mean(log_ratio, 1, 2, 3, 0)",
        "log_ratio(baseline)",
    ] {
        let error = place.refused(&format!("SELECT {call} FROM rounds")).await.to_string();
        assert!(!error.contains('\n'), "{error}");
        text.push_str(&format!("{call}\n  {error}\n"));
    }
    insta::assert_snapshot!(text);
}

/// The rounds of a job that has everything: tainted samples, some taken again, missing sides.
fn untidy() -> Record {
    changed("untidy", |r| {
        let mut samples = series("s", "wall", &[(100, 110), (100, 112), (100, 109), (0, 5)]);
        // Round 0: the baseline was disturbed and taken again. Round 1: and was not. Round 2 has
        // no candidate.
        samples[0].taint = "steal".into();
        let mut repeated = samples[0].clone();
        (repeated.taint, repeated.value, repeated.sequence) = (String::new(), 101, 9);
        samples[2].taint = "steal".into();
        samples.remove(5);
        samples.push(repeated);
        r.samples = samples;
    })
}

#[tokio::test]
async fn rounds_are_those_of_the_summaries() {
    let place = TestStore::with_records(&[untidy(), record("one")]).await;
    insta::assert_snapshot!(
        place
            .ask(
                "SELECT benchmark, metric, unit, round, baseline, candidate, \
                 round(log_ratio, 6) AS log_ratio, tainted, baseline_asked, arch, month \
                 FROM rounds WHERE benchmark = 's' ORDER BY round"
            )
            .await
    );
    // Every job and series, against what was stored with the job.
    let sql = "SELECT count(*) AS series, \
                      bool_and(s.rounds = e.n AND s.tainted = e.tainted \
                               AND coalesce(abs(s.mean_log_ratio - e.mean) < 1e-12, e.n = 0) \
                               AND coalesce(abs(s.variance - e.variance) < 1e-12, e.n < 2)) AS same \
               FROM summaries s JOIN (SELECT job, series, count(log_ratio) AS n, \
                      avg(log_ratio) AS mean, var_samp(log_ratio) AS variance, \
                      sum(tainted) AS tainted FROM rounds GROUP BY job, series) e \
               ON s.job = e.job AND s.series = e.series";
    let series_count = |record: &Record| verdict::summarise(&record.samples).len();
    let count = series_count(&untidy()) + series_count(&record("one"));
    assert!(place.ask(sql).await.contains(&format!("| {count}      | true |")));
}

/// However the rows are cut up and ordered, the digits are the same; windows slide.
#[tokio::test]
async fn answers_do_not_depend_on_partitions() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let jobs = names.map(|name| changed(name, |r| r.run.candidate.commit = commit('c')));
    let place = TestStore::with_records(&jobs).await;
    let whole = "SELECT paired(baseline, candidate) AS e FROM rounds WHERE benchmark = 'json'";
    let shuffled = "SELECT paired(baseline, candidate) AS e FROM \
                    (SELECT * FROM rounds WHERE benchmark = 'json' ORDER BY random())";
    let expected = place.ask(whole).await;
    assert!(expected.contains("24"), "{expected}");
    for _ in 0..5 {
        assert_eq!(place.ask(whole).await, expected);
        assert_eq!(place.ask(shuffled).await, expected);
    }
    // Each window of three is the aggregate of those three.
    let sql = "WITH r AS (SELECT round, baseline, candidate FROM rounds \
                          WHERE benchmark = 'json' AND job = (SELECT min(job) FROM runs)), \
                    w AS (SELECT round, paired(baseline, candidate) OVER \
                          (ORDER BY round ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS e FROM r), \
                    g AS (SELECT a.round, paired(b.baseline, b.candidate) AS e FROM r a \
                          JOIN r b ON b.round BETWEEN a.round - 2 AND a.round GROUP BY a.round) \
               SELECT count(*) AS n, bool_and(w.e.rounds = g.e.rounds AND w.e.effect = g.e.effect \
                      AND w.e.p IS NOT DISTINCT FROM g.e.p) AS same \
               FROM w JOIN g ON w.round = g.round";
    assert!(place.ask(sql).await.contains("| 4 | true |"), "{}", place.ask(sql).await);
}

/// Filters on what a job is choose files of `samples` before any is opened; filters on what only
/// its run row knows reach them as a filter on jobs while the query runs.
#[tokio::test]
async fn rounds_read_only_the_files_they_need() {
    let month_us = 31 * 86_400_000_000;
    let later_record = changed("later", |r| {
        r.run.finished_us += month_us;
        r.run.host = "other".into();
        r.run.fingerprint.architecture = "aarch64".into();
        r.run.candidate.asked = "v3".into();
    });
    let place = TestStore::with_records(&[record("one"), later_record]).await;
    let plan = async |filter: &str| {
        place.ask(&format!("EXPLAIN SELECT count(*) FROM rounds WHERE {filter}")).await
    };
    assert_eq!(plan("true").await.matches(".parquet").count(), 2);
    for filter in ["month = '2026-11'", "arch = 'x86_64'", "host = 'local'"] {
        let plan = plan(filter).await;
        assert!(plan.contains("month=2026-11") && !plan.contains("month=2026-12"), "{plan}");
    }
    let job = crate::common::job("one");
    assert!(!plan(&format!("job = '{job}'")).await.contains("month=2026-12"));
    let filtered = plan("candidate_asked = 'v3'").await;
    assert!(filtered.contains("DynamicFilter"), "{filtered}");
    let rows = place.ask("SELECT count(*) AS n FROM rounds WHERE candidate_asked = 'v3'").await;
    assert!(rows.contains("| 12 |"), "{rows}");
}
