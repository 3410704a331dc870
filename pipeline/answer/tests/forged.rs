//! What a report says of files that are not believed.

use dyno_answer::ask;
use std::sync::{Arc, Mutex};

use dyno_base::event::{Event, Events};
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

/// Of a job that stands there twice, and not alike, there is no comparison; it is said why.
#[tokio::test]
async fn where_nothing_is_believed_it_is_said_why() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).await.unwrap();
    let mut record = common::record("one");
    let (path, published) = common::publish_without_run_row(&store, &record).await;
    record.samples.iter_mut().for_each(|sample| sample.value *= 3);
    store.publish(&record).await.unwrap();
    std::fs::write(&path, published).unwrap();

    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let notices = Arc::clone(&told);
    let events = Events::new(move |_, event| {
        if let Event::Notice(text) = event {
            notices.lock().unwrap().push(text);
        }
    });
    let (policy, filter) = (common::policy(), Filter::default());
    let asked = ask(&store, &policy, "v1", "v2", &filter, &events).await;
    let error = asked.err().unwrap().to_string();
    assert!(error.contains("the store has no comparison"), "{error}");
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|text| text.contains("not alike: also as runs/")), "{told:?}");
}
