//! What a job bounds, and what rounds with a zero and failures come to on the way through a store.

use dyno_model::record::{Failure, Side};
use dyno_model::verdict::{self, Judged, Reason, Verdict};
use dyno_query::Filter;

use crate::TestStore;
use crate::changed;
use crate::common::{job, record, series};

fn failure(benchmark: &str) -> Failure {
    Failure {
        benchmark: Some(benchmark.into()),
        config: Some(String::new()),
        side: Some(Side::Candidate),
        step: "measure".into(),
        reason: "ended with exit code 3".into(),
        log_tail: String::new(),
    }
}

fn names(judged: &[Judged]) -> Vec<String> {
    let name = |j: &Judged| format!("{}/{}", j.comparison.key.benchmark, j.comparison.key.metric);
    judged.iter().map(name).collect()
}

#[tokio::test]
async fn a_job_bounds_rows_failures_and_the_family() {
    let narrow = changed("narrow", |r| {
        r.samples.retain(|s| s.benchmark == "sort" && s.metric == "wall");
        r.run.failures.clear();
        r.run.finished_us += 1;
    });
    let wide = changed("wide", |r| r.run.failures = vec![failure("zlib"), failure("json")]);
    let place = TestStore::with_records(&[wide, narrow]).await;
    let session = place.session().await;
    let all = session.compare("v1", "v2", &Filter::default()).await.unwrap();
    assert_eq!(names(&all.judged), ["json/wall", "sort/max-rss", "sort/wall"]);
    assert_eq!(all.runs.iter().map(|run| run.failures.len()).sum::<usize>(), 2);

    let filter = Filter { job: Some(job("narrow").hex()[..12].into()), ..Filter::default() };
    let bounded = session.compare("v1", "v2", &filter).await.unwrap();
    assert_eq!(names(&bounded.judged), ["sort/wall"]);
    assert_eq!((bounded.runs.len(), bounded.jobs.as_slice()), (2, &[2][..]), "they are pooled");
    assert!(bounded.runs.iter().all(|run| run.failures.is_empty()));
    let series = &bounded.judged[0].comparison;
    assert_eq!(series.q, series.p(), "it is alone in its family");
    let sql = bounded.sql_for(&series.key);
    let alone = format!("SELECT count(*) FILTER (WHERE p = q AND rounds = 6) AS n FROM ({sql})");
    assert!(place.ask(&alone).await.contains("| 1 |"), "{sql}: {}", place.ask(&sql).await);

    let unknown = Filter { job: Some("0123456789".into()), ..Filter::default() };
    assert!(session.compare("v1", "v2", &unknown).await.is_err());
}

#[tokio::test]
async fn a_case_that_also_worked_decides_nothing() {
    let failed = changed("failed", |r| r.run.failures = vec![failure("json")]);
    let place = TestStore::with_records(&[failed]).await;
    let session = place.session().await;
    let compared = session.compare("v1", "v2", &Filter::default()).await.unwrap();
    let flaky: Vec<bool> = compared.judged.iter().map(|j| j.comparison.is_flaky).collect();
    assert_eq!(flaky, [true, false, false]);
    let decides =
        "SELECT count(*) FILTER (WHERE decides) AS n FROM comparisons WHERE benchmark = 'json'";
    assert!(place.ask(decides).await.contains("| 0 |"));
}

#[tokio::test]
async fn rounds_with_a_zero_come_back_as_they_were_counted() {
    let zeros = changed("zeros", |r| {
        let rounds: Vec<(i64, i64)> = (0..6).map(|i| (0, 1000 * (i % 2))).collect();
        r.samples.extend(series("often", "wall", &rounds));
    });
    let place = TestStore::with_records(std::slice::from_ref(&zeros)).await;
    let session = place.session().await;
    let stored = session.summaries_between("v1", "v2", &Filter::default()).await.unwrap();
    let stored: Vec<_> = stored.into_iter().map(|s| s.summary).collect();
    assert_eq!(stored, verdict::summarise(&zeros.samples));
    assert!(stored.iter().any(|summary| summary.zeros.is_some() && summary.rounds == 3));
    let compared = session.compare("v1", "v2", &Filter::default()).await.unwrap();
    let often = compared.judged.iter().find(|j| j.comparison.key.benchmark == "often").unwrap();
    let reason = Reason::ZeroValue { rounds: 3, total: 6 };
    assert_eq!(often.verdict, Verdict::Inconclusive(reason));
    let sql = "SELECT zeros, effect IS NULL AS none, round(p, 9) AS p FROM comparisons WHERE benchmark = 'often'";
    assert!(place.ask(sql).await.contains("| 3     | true | 0.25 |"), "{}", place.ask(sql).await);
    // `paired` says the same.
    let sql = "SELECT e.zeros, round(e.p, 9) AS p FROM (SELECT paired(baseline, candidate) AS e FROM rounds \
               WHERE benchmark = 'often')";
    assert!(place.ask(sql).await.contains("0.25"), "{}", place.ask(sql).await);
}

/// A file has a column only where it says something, so that a dyno of before sees its own.
#[tokio::test]
async fn optional_columns_are_there_where_they_say_something() {
    let quiet = changed("quiet", |r| r.samples.iter_mut().for_each(|s| s.taint.clear()));
    for (record, expected) in [(quiet, 0), (record("disturbed"), 2)] {
        let place = TestStore::with_records(std::slice::from_ref(&record)).await;
        let file = std::fs::File::open(place.file("summaries", record.run.job.hex())).unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file);
        let schema = reader.unwrap().schema().clone();
        let optional = schema.fields().iter().filter(|field| {
            field.name().starts_with("zero_") || field.name().starts_with("disturbed_")
        });
        assert_eq!(optional.count(), expected);
        assert!(place.ask("SELECT count(zero_grew) AS n FROM summaries").await.contains("| 0 |"));
    }
}
