//! The objects of a real folder keep the rules, also beside others.

use dyno_model::queue::{Bundle, path};
use dyno_queue::bundle;
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

/// A bundle is created once under the digest of its bytes, and taken only where it has that digest.
#[tokio::test]
async fn a_bundle_is_what_its_digest_says() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().display().to_string()).await.unwrap();
    let clock = SystemClock::default();
    // Small, and larger than any other object of the queue.
    for bytes in [b"# v2 git bundle\n".to_vec(), vec![7; (4 << 20) + 9]] {
        let digest = bundle::put(&store, &clock, &bytes).await.unwrap();
        assert_eq!(bundle::put(&store, &clock, &bytes).await.unwrap(), digest);
        let asked = Bundle { digest, bytes: bytes.len() as u64, work_trees: Vec::new() };
        assert_eq!(bundle::take(&store, &asked).await.unwrap(), Ok(bytes.clone().into()));
        let name = path::bundle(&asked.digest);
        let file = folder.path().join(&name);
        let mut changed = bytes.clone();
        changed[8] ^= 1;
        for (what, content, why) in [
            ("changed", Some(changed), format!("{name} is damaged: its digest is ")),
            ("cut off", Some(bytes[..9].to_vec()), format!("{name} is damaged: it has 9 bytes")),
            ("gone", None, format!("{name} is not in the store")),
        ] {
            std::fs::remove_file(&file).unwrap();
            content.iter().for_each(|content| std::fs::write(&file, content).unwrap());
            let refused = bundle::take(&store, &asked).await.unwrap().unwrap_err();
            assert!(refused.contains(&why), "{what}: {refused}");
            // Nobody replaces what stands there; what is gone is created.
            let again = bundle::put(&store, &clock, &bytes).await;
            assert_eq!(again.is_err(), what != "gone", "{what}: {again:?}");
        }
        let vast = Bundle { bytes: 1 << 40, ..asked };
        let refused = bundle::take(&store, &vast).await.unwrap().unwrap_err();
        assert!(refused.contains("are the most"), "{refused}");
    }
}
