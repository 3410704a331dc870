//! Trust classes in the store: old files without them, and answers that never mix them.

use std::fs;

use dyno_model::record::Trust;
use dyno_query::Filter;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

use crate::common::{job, record};
use crate::{TestStore, changed};

/// Takes the class out of the JSON in the run row of `name`, as a dyno wrote it that knew none. Its
/// columns are the same: those that came later are no columns of the files.
fn make_older(place: &TestStore, name: &str) {
    let path = place.file("runs", &job(name).to_string());
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap()).unwrap();
    let pairs = reader.metadata().file_metadata().key_value_metadata().cloned();
    let batch = reader.build().unwrap().next().unwrap().unwrap();
    let (mut columns, schema) = (batch.columns().to_vec(), batch.schema());
    for later in ["emulated", "trust"] {
        assert!(schema.index_of(later).is_err(), "{later} is in the files");
    }
    let column = schema.index_of("provenance").unwrap();
    let text = arrow::array::AsArray::as_string::<i32>(&columns[column]).value(0).to_string();
    let older = text.replace("\"trust\":\"trusted\",", "");
    assert_ne!(older, text);
    columns[column] = std::sync::Arc::new(arrow::array::StringArray::from(vec![older]));
    let batch = arrow::array::RecordBatch::try_new(schema, columns).unwrap();
    let properties = WriterProperties::builder().set_key_value_metadata(pairs).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    fs::write(&path, writer.into_inner().unwrap()).unwrap();
}

#[tokio::test]
async fn rows_from_before_there_were_classes_are_of_trusted_candidates() {
    let untrusted = changed("new", |r| r.run.trust = Trust::Untrusted);
    let place = TestStore::with_records(&[record("old"), untrusted]).await;
    make_older(&place, "old");
    for from in ["runs", "samples", "summaries", "history", "rounds"] {
        let query = format!("SELECT DISTINCT trust, job FROM {from} ORDER BY trust");
        let answer = place.ask(&query).await;
        let words: Vec<&str> = answer.split_whitespace().filter(|word| *word != "|").collect();
        let (old, new) = (job("old").to_string(), job("new").to_string());
        let expected = ["trusted", &old, "untrusted", &new];
        assert!(words.windows(4).any(|w| w == expected), "{from}: {answer}");
        let query = format!("SELECT count(*) = 0 AS none FROM {from} WHERE trust = 'neither'");
        assert!(place.ask(&query).await.contains("true"), "{from}");
    }
    assert_eq!(place.session().await.problems(), []);
}

#[tokio::test]
async fn an_untrusted_candidate_answers_only_where_nothing_trusted_does() {
    let record_of = |name: &str, at: i64, trust: Trust| {
        changed(name, |r| {
            r.run.trust = trust;
            r.run.finished_us += at;
        })
    };
    let trusted = || record_of("trusted", 0, Trust::Trusted);
    let untrusted = || record_of("untrusted", 9, Trust::Untrusted);
    for (records, counts, left) in [
        (vec![trusted(), untrusted()], "trusted", Some("untrusted")),
        (vec![untrusted()], "untrusted", None),
    ] {
        let place = TestStore::with_records(&records).await;
        let compared = place.session().await.compare("v1", "v2", &Filter::default()).await.unwrap();
        let jobs: Vec<_> = compared.runs.iter().map(|run| run.job.clone()).collect();
        assert_eq!(jobs, [job(counts)]);
        assert_eq!(compared.excluded_jobs, left.map(job).into_iter().collect::<Vec<_>>());
    }
}
