//! The queue over real S3 servers: they keep the rules, agents work through what goes wrong on the
//! way to them, and what it costs is counted.

mod farm;
mod faults;
mod figures;
mod policy;
mod proxy;
mod server;

use std::net::{IpAddr, Ipv4Addr};

use dyno_queue::objects::{Objects, Written, create, replace};
use dyno_queue::stored::StoredObjects;
use dyno_queue::{Version, clock::SystemClock};
use dyno_store::Store;

use proxy::{Fault, Proxy};
use server::{S3Server, URL};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The servers that are installed, with their names.
fn servers() -> Vec<(&'static str, S3Server)> {
    let both = [("moto", S3Server::moto(LOOPBACK)), ("s3s", S3Server::s3s())];
    both.into_iter().filter_map(|(name, server)| Some((name, server?))).collect()
}

/// The store on `server`, reached at `address`.
async fn store(server: &S3Server, address: &str) -> Store {
    Store::open_with(URL, server.settings(address)).await.unwrap()
}

#[tokio::test]
async fn a_bucket_has_conditional_writes() {
    for (server, s3) in servers() {
        let objects = StoredObjects::open(&store(&s3, &s3.address).await).await.unwrap();
        let (name, clock) = ("queue/claims/x.json", SystemClock::default());
        let Written::Ours(first) = create(&objects, &clock, name, b"1").await.unwrap() else {
            panic!("{server}: nobody else is here")
        };
        // The same bytes again are as good as ours; others are not.
        let again = create(&objects, &clock, name, b"1").await.unwrap();
        assert_eq!(again, Written::Ours(first.clone()), "{server}");
        let theirs = create(&objects, &clock, name, b"2").await.unwrap();
        assert!(matches!(theirs, Written::Theirs(Some(_))), "{server}: {theirs:?}");
        let second = replace(&objects, &clock, name, b"3", &first).await.unwrap();
        let Written::Ours(second) = second else { panic!("{server}: {second:?}") };
        let stale = replace(&objects, &clock, name, b"4", &first).await.unwrap();
        let is_third = |found: &dyno_queue::Object| found.bytes == b"3";
        assert!(matches!(stale, Written::Theirs(Some(found)) if is_third(&found)), "{server}");
        let listed = objects.list("queue/claims/").await.unwrap();
        assert_eq!(listed, [(name.to_string(), second)], "{server}");
        objects.remove(name).await.unwrap();
        objects.remove(name).await.unwrap();
        assert_eq!(objects.read(name).await.unwrap(), None, "{server}");
        let gone = replace(&objects, &clock, name, b"5", &Version("\"1\"".into())).await.unwrap();
        assert_eq!(gone, Written::Theirs(None), "{server}");
    }
}

/// Of 24 that create one name, and that replace one version, one succeeds each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_one_succeeds() {
    for (server, s3) in servers() {
        let objects = StoredObjects::open(&store(&s3, &s3.address).await).await.unwrap();
        let mut former: Option<Version> = None;
        for turn in 0..8 {
            let start = std::sync::Arc::new(tokio::sync::Barrier::new(24));
            let write = |who: usize| {
                let (objects, former, start) = (objects.clone(), former.clone(), start.clone());
                tokio::spawn(async move {
                    let bytes = format!("{turn} {who}");
                    start.wait().await;
                    match former {
                        None => objects.create("queue/claims/x", bytes.as_bytes()).await,
                        Some(version) => {
                            objects.replace("queue/claims/x", bytes.as_bytes(), &version).await
                        }
                    }
                })
            };
            let tasks: Vec<_> = (0..24).map(write).collect();
            let mut written = Vec::new();
            for task in tasks {
                written.extend(task.await.unwrap().unwrap());
            }
            assert_eq!(written.len(), 1, "{server}, turn {turn}: {written:?}");
            // Each fourth turn begins with a new name.
            former = written.pop();
            if turn % 4 == 3 {
                objects.remove("queue/claims/x").await.unwrap();
                former = None;
            }
        }
    }
}

/// A store that does not keep the rules is refused at once, with what is missing.
#[tokio::test]
async fn a_store_without_conditional_writes_is_refused() {
    for (server, s3) in servers() {
        for (header, what) in [
            ("if-none-match", "it creates an object that exists"),
            ("if-match", "it replaces an object whose version is another"),
        ] {
            let proxy = Proxy::start(&s3.address, move |_| Fault::Without(header)).await;
            let refused = StoredObjects::open(&store(&s3, &proxy.address).await).await.unwrap_err();
            let expected = format!("this store cannot carry a queue: {what}");
            assert!(refused.0.starts_with(&expected), "{server}: {refused}");
            let left = store(&s3, &s3.address).await;
            let left = StoredObjects::new(&left).list("queue/probes/").await.unwrap();
            assert_eq!(left, [], "{server}: what it was tried on is gone");
        }
    }
}
