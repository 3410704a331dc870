//! What the queue costs: requests to the store, and time. The figures are printed, and those that
//! do not depend on the machine are held.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use dyno_model::queue::{Chooser, JobName, Observation, observe};
use dyno_queue::objects::Objects;
use dyno_queue::request::submit;
use dyno_queue::stored::StoredObjects;
use dyno_queue::{Clock, clock::SystemClock};
use futures::{StreamExt, TryStreamExt};

use crate::farm::{Host, QuickClock, offer, request};
use crate::proxy::{Counts, Fault, Proxy};
use crate::server::S3Server;
use crate::{LOOPBACK, store};

/// Dollars for one request: 0.005 for 1,000 writes or lists, 0.0004 for 1,000 reads; removals are
/// free.
fn dollars(counts: &Counts) -> f64 {
    let price = |kind: &str| match kind {
        "write" | "list" => 5e-6,
        "removal" => 0.0,
        _ => 4e-7,
    };
    counts.iter().map(|(kind, count)| price(kind) * *count as f64).sum()
}

/// A host that has nothing to do for an hour, and one that measures a job of ten minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_a_host() {
    let Some(server) = S3Server::moto(LOOPBACK) else { return };
    let proxy = Proxy::start(&server.address, |_| Fault::None).await;
    let through = store(&server, &proxy.address).await;
    let clock = QuickClock::new(120);
    let host = Host::new("one", through, clock, 600);
    proxy.take_counts();
    let hour = clock.sleep(Duration::from_secs(3600));
    tokio::select! { () = host.run(false, 60) => {}, () = hour => {} }
    let idle = proxy.take_counts();
    println!("an idle host and hour: {idle:?}, {:.6} dollars", dollars(&idle));
    println!("20 idle hosts, a month of 730 hours: {:.2} dollars", dollars(&idle) * 20.0 * 730.0);
    let of = |counts: &Counts, kind| counts.get(kind).copied().unwrap_or(0);
    assert!(of(&idle, "list") <= 130 && of(&idle, "write") <= 65, "{idle:?}");

    // Three thousand jobs for others: four lists a look, a third as often, and it still answers.
    let direct = StoredObjects::new(&store(&server, &server.address).await);
    create_jobs(&direct, 3000).await;
    proxy.take_counts();
    let half = clock.sleep(Duration::from_secs(1800));
    tokio::select! { () = host.run(false, 60) => {}, () = half => {} }
    let beside = proxy.take_counts();
    println!("half an hour beside 3,000 jobs for others: {beside:?}");
    assert!((20..=70).contains(&of(&beside, "list")), "{beside:?}");
    assert!(of(&beside, "write") >= 15, "{beside:?}");

    submit(&direct, &clock, &request(1, "quiet")).await.unwrap();
    // Slower, so that an answer of the server is soon beside the renewals.
    let clock = QuickClock::new(60);
    let host = Host { clock, ..host };
    proxy.take_counts();
    host.run(true, 60).await;
    let job = proxy.take_counts();
    println!("a job of ten minutes: {job:?}, {:.6} dollars", dollars(&job));
    let month = dollars(&job) * 6.0 * 20.0 * 730.0;
    println!("20 hosts that measure such jobs all the time, a month: {month:.2} dollars");
    assert_eq!(of(&job, "read of a job"), 1, "{job:?}");
    assert!(of(&job, "write") <= 65 && of(&job, "list") <= 40, "{job:?}");
}

/// Creates so many jobs for others, of which only the names are ever looked at.
async fn create_jobs(objects: &StoredObjects, count: u64) {
    let job = |number| JobName::new(&request(number, "spare").jobs[0]).path();
    create_all(objects, (1000..1000 + count).map(job)).await;
}

async fn create_all(objects: &StoredObjects, names: impl Iterator<Item = String>) {
    let create = |name: String| async move { drop(objects.create(&name, b"{}").await.unwrap()) };
    futures::stream::iter(names).for_each_concurrent(16, create).await;
}

fn names(count: u64) -> Vec<JobName> {
    (0..count)
        .map(|number| {
            let class = ["quiet", "fast", "spare"][number as usize % 3];
            JobName::new(&request(number, class).jobs[0])
        })
        .collect()
}

/// Lists and chooses among 100,000 jobs of which one is for this host and no other.
#[test]
#[ignore = "a figure: seconds, and as many as the machine gives"]
fn choosing_among_100_000_jobs_beside_1_000_hosts() {
    let paths: Vec<String> = names(100_000).iter().map(JobName::path).collect();
    let hosts: BTreeMap<String, String> =
        (0..1000).map(|n| (format!("queue/hosts/host-{n}.json"), format!("{n}"))).collect();
    let mut observed: BTreeMap<String, Observation> = BTreeMap::new();
    for look in 0..5 {
        let begun = Instant::now();
        let jobs: Vec<JobName> = paths.iter().filter_map(|path| JobName::parse(path)).collect();
        let claimed: BTreeSet<_> = jobs.iter().step_by(100).map(|job| job.id.clone()).collect();
        observe(&mut observed, hosts.clone(), Duration::from_secs(look));
        let offer = offer("one");
        let answering = (0..1000).map(|n| format!("host-{n}")).collect();
        let chooser =
            Chooser { offer: &offer, claimed: &claimed, answering: &answering, taken: look };
        let (free, held) = chooser.order(&jobs);
        let (free, held) = (free.len(), held.len());
        println!(
            "{free} free and {held} held jobs in order, of {}: {:?}",
            jobs.len(),
            begun.elapsed()
        );
        assert!(free > 30_000 && held > 300);
    }
}

/// A look at a bucket with 10,000 jobs, or as many as `QUEUE_JOBS` says, and 1,000 hosts, of which
/// one job is for this host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: minutes, most of them the server's"]
async fn requests_of_a_look_at_many_jobs() {
    let Some(server) = S3Server::moto(LOOPBACK) else { return };
    let jobs = std::env::var("QUEUE_JOBS").map_or(10_000, |text| text.parse().unwrap());
    let clock = SystemClock::default();
    let proxy = Proxy::start(&server.address, |_| Fault::None).await;
    let direct = store(&server, &server.address).await;
    let objects = StoredObjects::new(&direct);
    create_jobs(&objects, jobs).await;
    let host = |number| format!("queue/hosts/host-{number}.json");
    create_all(&objects, (0..1000).map(host)).await;
    submit(&objects, &clock, &request(1_000_000, "quiet")).await.unwrap();
    let bare = Instant::now();
    let prefix = object_store::path::Path::from("queue/jobs");
    let listed: Vec<_> = direct.objects().list(Some(&prefix)).try_collect().await.unwrap();
    println!("the bare listing of {} jobs: {:?}", listed.len(), bare.elapsed());
    let quick = QuickClock::new(60);
    let host = Host::new("one", store(&server, &proxy.address).await, quick, 1);
    proxy.take_counts();
    let begun = Instant::now();
    let look = host.run(true, 60);
    let taken = async {
        while host.said.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! { () = look => {}, () = taken => {} }
    let counts = proxy.take_counts();
    println!("a look that takes the one job for this host: {:?}, {counts:?}", begun.elapsed());
    let of = |kind| counts.get(kind).copied().unwrap_or(0);
    assert!(of("list") <= jobs / 1000 + 10, "{counts:?}");
    assert_eq!(of("read of a job"), 1, "{counts:?}");
}
