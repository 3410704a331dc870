//! What a report says of files that are not believed.

use dyno_answer::ask;
use dyno_base::event::Events;
use dyno_query::Filter;
use dyno_store::{Folder, Store};

#[path = "../../../store/tests/common/mod.rs"]
#[allow(dead_code)]
mod common;

/// A file of summaries of another record in the place of a job's: no series is judged by it, and
/// page, comment and terminal say so.
#[tokio::test]
async fn a_report_names_the_files_that_were_set_aside() {
    let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut files = Vec::new();
    for (place, times) in places.iter().zip([1, 2]) {
        let store = Store::open(place.path().to_str().unwrap()).await.unwrap();
        let mut record = common::record("one");
        record
            .samples
            .iter_mut()
            .for_each(|sample| sample.value *= 1 + sample.round as i64 * (times - 1));
        store.publish(&record).await.unwrap();
        let row = store.run_row(&record.run.job).await.unwrap().unwrap();
        files.push(store.locate(&row.path(Folder::Summaries)));
    }
    std::fs::copy(&files[1], &files[0]).unwrap();
    let store = Store::open(places[0].path().to_str().unwrap()).await.unwrap();
    let (policy, filter, events) = (common::policy(), Filter::default(), Events::none());
    let answer = ask(&store, &policy, "v1", "v2", &filter, &events).await.unwrap();
    assert_eq!(answer.compared.judged, []);
    let said = "its rows are not those that its run row was published with; set aside";
    for text in [
        dyno_reports::html(&answer.view),
        dyno_reports::markdown(&answer.view),
        dyno_reports::json(&answer.view),
    ] {
        assert!(text.contains(said), "{text}");
    }
}
