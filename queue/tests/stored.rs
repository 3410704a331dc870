//! The objects of a real folder keep the rules, also beside others.

use dyno_queue::objects::{Objects, Written, create, replace};
use dyno_queue::stored::StoredObjects;
use dyno_queue::{Version, clock::SystemClock};
use dyno_store::Store;

async fn folder_objects(folder: &std::path::Path) -> StoredObjects {
    let store = Store::open(&folder.display().to_string()).await.unwrap();
    StoredObjects::open(&store).await.unwrap()
}

#[tokio::test]
async fn a_folder_has_conditional_writes() {
    let folder = tempfile::tempdir().unwrap();
    let objects = folder_objects(folder.path()).await;
    let (name, clock) = ("queue/claims/x.json", SystemClock::default());
    let Written::Ours(first) = create(&objects, &clock, name, b"1").await.unwrap() else {
        panic!("nobody else is here")
    };
    // The same bytes again are as good as ours; others are not.
    let again = create(&objects, &clock, name, b"1").await.unwrap();
    assert_eq!(again, Written::Ours(first.clone()));
    assert!(matches!(create(&objects, &clock, name, b"2").await.unwrap(), Written::Theirs(_)));
    let second = replace(&objects, &clock, name, b"3", &first).await.unwrap();
    assert!(matches!(second, Written::Ours(_)));
    let stale = replace(&objects, &clock, name, b"4", &first).await.unwrap();
    assert!(matches!(stale, Written::Theirs(Some(found)) if found.bytes == b"3"));
    let listed = objects.list("queue/claims/").await.unwrap();
    assert_eq!(listed.len(), 1);
    objects.remove(name).await.unwrap();
    objects.remove(name).await.unwrap();
    assert_eq!(objects.read(name).await.unwrap(), None);
    let gone = replace(&objects, &clock, name, b"5", &Version("1".into())).await.unwrap();
    assert_eq!(gone, Written::Theirs(None));
}

/// Of many that create one name, and that replace one version, one succeeds each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_one_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let objects = folder_objects(folder.path()).await;
    let mut former: Option<Version> = None;
    for turn in 0..20 {
        let tasks: Vec<_> = (0..8)
            .map(|who| {
                let (objects, former) = (objects.clone(), former.clone());
                tokio::spawn(async move {
                    let bytes = format!("{turn} {who}");
                    match former {
                        None => objects.create("queue/claims/x", bytes.as_bytes()).await,
                        Some(version) => {
                            objects.replace("queue/claims/x", bytes.as_bytes(), &version).await
                        }
                    }
                })
            })
            .collect();
        let mut written = Vec::new();
        for task in tasks {
            written.extend(task.await.unwrap().unwrap());
        }
        assert_eq!(written.len(), 1, "turn {turn}: {written:?}");
        former = written.pop();
    }
}
