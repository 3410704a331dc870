//! Rows that are not those a job was published with, and jobs that stand there twice.

use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::array::{UInt32Array, new_null_array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::DataType;
use dyno_model::record::Record;
use dyno_model::verdict::SeriesKey;
use dyno_query::Filter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::common::{NOON_US, graph, job, record};
use crate::rewriting::{change, change_run, replace, rows, with_column};
use crate::{FOLDERS, TestStore};

/// Another program sorts, encodes and compresses as it likes, and may add the parts of the path.
#[tokio::test]
async fn rows_that_another_program_wrote_again_are_believed() {
    let place = TestStore::with_records(&[graph("one")]).await;
    let name = job("one").to_string();
    let asked = [
        "SELECT * EXCLUDE (finished) FROM comparisons ORDER BY benchmark, config, metric",
        "SELECT side, threads, median_ns, sigma, verdict FROM scaling ORDER BY side, threads",
        "SELECT benchmark, config, side, round, wall_ns FROM builds ORDER BY 1, 2, 3, 4",
    ];
    let answers = async || {
        let session = place.session().await;
        let mut texts = Vec::new();
        for sql in asked {
            texts.push(crate::table(&session.sql(sql).await.unwrap()));
        }
        assert_eq!(session.problems(), []);
        texts
    };
    let before = answers().await;
    for table in ["samples", "summaries", "units"] {
        let path = place.file(table, &name);
        let batch = rows(&path);
        let count = batch.num_rows() as u32;
        // Units of a build stand in the order of their starts.
        let order: UInt32Array = match table {
            "units" => (0..count).collect(),
            _ => (0..count).rev().collect(),
        };
        let batch = take_record_batch(&batch, &order).unwrap();
        let month: ArrayRef = Arc::new(StringArray::from(vec!["2026-11"; batch.num_rows()]));
        let batch = with_column(&batch, "month", month);
        // To most writers every element of a list may be null.
        let list = DataType::new_list(DataType::Int32, true);
        let batch = ["needs_metadata", "needs_end"].into_iter().fold(batch, |batch, name| {
            match batch.column_by_name(name) {
                Some(column) => with_column(&batch, name, cast(column, &list).unwrap()),
                None => batch.clone(),
            }
        });
        let later = new_null_array(&DataType::Float64, batch.num_rows());
        let batch = with_column(&batch, "a_later_dynos", later);
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(7));
        replace(&path, &batch, properties);
        assert_eq!(answers().await, before, "{table}");
    }
}

type Forgery = (&'static str, fn(RecordBatch) -> RecordBatch);

fn floats(batch: &RecordBatch, value: f64) -> ArrayRef {
    Arc::new(Float64Array::from(vec![value; batch.num_rows()]))
}

/// What summaries were forged to say.
const FORGERIES: [Forgery; 5] = [
    ("another mean", |batch| with_column(&batch, "mean_log_ratio", floats(&batch, -0.3))),
    ("a variance below zero, without end of rounds", |batch| {
        let rounds = Arc::new(Int32Array::from(vec![i32::MAX; batch.num_rows()]));
        let batch = with_column(&batch, "variance", floats(&batch, -1.0));
        let batch = with_column(&batch, "mean_log_ratio", floats(&batch, -1.0));
        with_column(&batch, "rounds", rounds)
    }),
    ("a tiny variance", |batch| {
        let batch = with_column(&batch, "variance", floats(&batch, 1e-20));
        with_column(&batch, "mean_log_ratio", floats(&batch, 0.0))
    }),
    ("a series without samples", |batch| {
        let benchmarks = vec!["made-up"; batch.num_rows()];
        with_column(&batch, "benchmark", Arc::new(StringArray::from(benchmarks)))
    }),
    ("a series less", |batch| batch.slice(0, batch.num_rows() - 1)),
];

/// Both with a run row that has digests, and with one of a dyno that made none.
#[tokio::test]
async fn summaries_that_do_not_follow_are_set_aside() {
    for is_older in [false, true] {
        let place = TestStore::with_records(&[record("one")]).await;
        let name = job("one").to_string();
        if is_older {
            change_run(&place.file("runs", &name), |run| run.row_digests.clear());
        }
        let session = place.session().await;
        let compared = session.compare("v1", "v2", &Filter::default()).await.unwrap();
        assert_eq!((compared.judged.len(), session.problems()), (3, Vec::new()));
        let path = place.file("summaries", &name);
        let published = fs::read(&path).unwrap();
        for (what, forge) in FORGERIES {
            change(&path, forge);
            let session = place.session().await;
            let compared = session.compare("v1", "v2", &Filter::default()).await.unwrap();
            assert_eq!(compared.judged, [], "{what}, older: {is_older}");
            let [problem] = &session.problems()[..] else { panic!("{what}") };
            let fault = match is_older {
                true => "its summaries do not follow from its samples; set aside",
                false => "its rows are not those that its run row was published with; set aside",
            };
            assert!(problem.to_string().starts_with("summaries/"), "{what}: {problem}");
            assert!(problem.to_string().ends_with(fault), "{what}: {problem}");
            for from in ["summaries", "comparisons", "compare('v1', 'v2')", "history"] {
                let sql = format!("SELECT count(*) AS n FROM {from}");
                let answer = crate::table(&session.sql(&sql).await.unwrap());
                assert!(answer.contains("| 0 |"), "{what}, {from}: {answer}");
            }
            fs::write(&path, &published).unwrap();
        }
    }
}

/// A dyno of before may have had other rules for rounds with a zero: its summaries are no forgery.
#[tokio::test]
async fn other_rules_for_zeros_are_no_forgery() {
    let mut zero = record("one");
    zero.samples.iter_mut().filter(|s| s.benchmark == "json" && s.round == 1).for_each(|sample| {
        sample.value = 0;
    });
    let place = TestStore::with_records(&[zero]).await;
    change_run(&place.file("runs", job("one").hex()), |run| run.row_digests.clear());
    change(&place.file("summaries", job("one").hex()), |batch| {
        let rounds = batch.column_by_name("rounds").unwrap();
        let rounds = rounds.as_any().downcast_ref::<Int32Array>().unwrap();
        // The first series is json's.
        let values = rounds.iter().enumerate().map(|(row, n)| Some(n? - i32::from(row == 0)));
        with_column(&batch, "rounds", Arc::new(values.collect::<Int32Array>()))
    });
    let session = place.session().await;
    let compared = session.compare("v1", "v2", &Filter::default()).await.unwrap();
    assert_eq!((compared.judged.len(), session.problems()), (3, Vec::new()));
}

/// Verdicts of scaling and of builds, and explanations, come from samples and units.
#[tokio::test]
async fn samples_and_units_that_are_not_the_published_ones_are_set_aside() {
    let place = TestStore::with_records(&[graph("one")]).await;
    let name = job("one").to_string();
    for (table, column, asked) in [
        ("samples", "value", "scaling"),
        ("samples", "value", "pipelining"),
        ("units", "user_ns", "builds"),
    ] {
        let path = place.file(table, &name);
        let published = fs::read(&path).unwrap();
        change(&path, |batch| {
            let fast = Arc::new(Int64Array::from(vec![1000; batch.num_rows()]));
            with_column(&batch, column, fast)
        });
        let session = place.session().await;
        let sql = format!("SELECT count(*) AS n FROM {asked} WHERE side = 'candidate'");
        let sql = if asked == "pipelining" {
            "SELECT count(off_median_ns) AS n FROM pipelining".to_string()
        } else {
            sql
        };
        let answer = session.sql(&sql).await.map(|rows| crate::table(&rows));
        let answer = answer.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert!(answer.contains("| 0 |"), "{asked}: {answer}");
        let problems = session.problems();
        assert!(problems[0].path.starts_with(table), "{asked}: {problems:?}");
        fs::write(&path, published).unwrap();
    }
    // An explanation shows no samples rather than others.
    change(&place.file("samples", &name), |batch| {
        let fast = Arc::new(Int64Array::from(vec![1000; batch.num_rows()]));
        with_column(&batch, "value", fast)
    });
    let session = place.session().await;
    let compared = session.compare("rust-1.85", "rust-1.97", &Filter::default()).await.unwrap();
    let key: SeriesKey = compared.judged[0].comparison.key.clone();
    assert_eq!(session.evidence(&compared, &key).await.unwrap().samples, []);
    assert!(session.problems()[0].path.starts_with("samples"));
}

/// Units that were added to a job that had none are not its units.
#[tokio::test]
async fn a_file_that_its_run_row_does_not_know_is_set_aside() {
    let mut plain = graph("one");
    plain.units.clear();
    let place = TestStore::with_records(&[plain]).await;
    let other = TestStore::with_records(&[graph("one")]).await;
    let path = place.file("units", job("one").hex());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::copy(other.file("units", job("one").hex()), path).unwrap();
    let session = place.session().await;
    let builds = session.sql("SELECT count(*) AS n FROM builds").await.unwrap();
    assert!(crate::table(&builds).contains("| 0 |"));
    let [problem] = &session.problems()[..] else { panic!() };
    assert!(problem.what.contains("was published without such a file"), "{problem}");
}

/// Puts the files of `forged` beside those of a store, under another month, without touching any.
async fn add_beside(place: &TestStore, forged: &Record, month: &str) {
    let source = TestStore::with_records(std::slice::from_ref(forged)).await;
    let name = format!("{}.parquet", forged.run.job);
    for table in FOLDERS {
        let folder = source.folder.path().join(table).join("arch=x86_64");
        let Ok(months) = fs::read_dir(folder) else { continue };
        let from = months.flatten().next().unwrap().path().join(&name);
        let to = place.folder.path().join(table).join("arch=x86_64").join(month);
        fs::create_dir_all(&to).unwrap();
        fs::copy(from, to.join(&name)).unwrap();
    }
}

#[tokio::test]
async fn a_job_is_not_replaced_by_one_of_an_earlier_month() {
    let published = record("one");
    let mut forged = published.clone();
    forged.samples.iter_mut().for_each(|sample| sample.value = 1000 + sample.side as i64);
    // In a month in which it did not finish it is not even looked at.
    let place = TestStore::with_records(&[published.clone(), record("two")]).await;
    add_beside(&place, &forged, "month=2000-01").await;
    let session = place.session().await;
    let compared = session.compare("v1", "v2", &Filter::default()).await.unwrap();
    assert_eq!(compared.runs.len(), 2);
    let [problem] = &session.problems()[..] else { panic!("{:?}", session.problems()) };
    assert!(problem.path.starts_with("runs/arch=x86_64/month=2000-01/"), "{problem}");
    assert!(problem.what.contains("did not finish in the month"), "{problem}");

    // In the one that it says it finished in, neither is believed.
    forged.run.finished_us = NOON_US - 8_990 * 86_400_000_000;
    let place = TestStore::with_records(&[published, record("two")]).await;
    add_beside(&place, &forged, "month=2002-04").await;
    let session = place.session().await;
    let compared = session.compare("v1", "v2", &Filter::default()).await.unwrap();
    assert_eq!(compared.runs.iter().map(|run| &run.job).collect::<Vec<_>>(), [&job("two")]);
    let problems = session.problems();
    assert_eq!(problems.len(), 2, "{problems:?}");
    for (problem, months) in problems.iter().zip([["2002-04", "2026-11"], ["2026-11", "2002-04"]]) {
        assert!(problem.path.contains(months[0]), "{problem}");
        assert!(problem.what.contains("not alike: also as runs/"), "{problem}");
        assert!(problem.what.contains(months[1]), "{problem}");
    }
    // A third one would settle nothing.
    assert!(place.store.has_run(&job("one")).await.unwrap());
    assert!(place.store.run(&job("one")).await.unwrap().is_none());
}
