//! Reports of records that were published as a further attempt.

use dyno_store::PublishOutcome;

use std::path::Path;

use dyno_answer::ask;
use dyno_base::event::Events;
use dyno_query::Filter;
use dyno_store::Store;

#[path = "../../../store/tests/common/mod.rs"]
#[allow(dead_code)]
mod common;

/// The run row of the first attempt never came, so the second one lies under another name.
#[tokio::test]
async fn a_report_links_the_samples_of_the_attempt_that_counts() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).await.unwrap();
    let mut record = common::record("one");
    common::publish_without_run_row(&store, &record).await;
    record.samples.iter_mut().for_each(|sample| sample.value *= 3);
    let published = store.publish(&record).await.unwrap();
    assert!(matches!(published, PublishOutcome::Written { attempt: 1, .. }), "{published:?}");

    let (policy, filter, events) = (common::policy(), Filter::default(), Events::none());
    let answer = ask(&store, &policy, "v1", "v2", &filter, &events).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&dyno_reports::json(&answer.view)).unwrap();
    let links = json["links"]["samples"].as_array().unwrap();
    assert_eq!(links.len(), 1);
    let link = links[0].as_str().unwrap();
    assert!(link.ends_with(&format!("/{}.1.parquet", record.run.job.hex())), "{link}");
    assert!(Path::new(link).is_file(), "{link}");
}
