//! A server that refuses, is silent, or answers so that nobody hears it, for minutes: agents go on,
//! say why they wait, and no job is lost or counts twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dyno_model::queue::{Ending, path};
use dyno_queue::Clock;
use dyno_queue::agent::Report;
use dyno_queue::objects::Objects;
use dyno_queue::request::{results, submit};
use dyno_queue::stored::StoredObjects;
use dyno_store::Store;

use crate::farm::{Host, QuickClock, request};
use crate::proxy::{Fault, Proxy, Seen};
use crate::server::{S3Server, URL};
use crate::{LOOPBACK, store};

/// How much faster than the machine's the clocks of the hosts run.
const SPEED: u32 = 10;

/// For how long things go wrong, by the hosts' clocks.
const OUTAGE: Duration = Duration::from_secs(180);

const JOBS: u64 = 4;

/// What a request that is begun while things go wrong comes to.
type Wrong = fn(&Seen<'_>, u64) -> Fault;

/// Runs two agents while `wrong` holds for minutes, from when both measure; they must have said
/// `why`.
async fn go_wrong(server: S3Server, wrong: Wrong, why: &str) {
    let clock = QuickClock::new(SPEED);
    let begun: Arc<Mutex<Option<Instant>>> = Arc::default();
    let since = Arc::clone(&begun);
    let mut number = 0;
    let proxy = Proxy::start(&server.address, move |seen| {
        let is_wrong = |since: Instant| since.elapsed() < OUTAGE / SPEED;
        number += 1;
        match since.lock().unwrap().is_some_and(is_wrong) {
            true => wrong(seen, number),
            false => Fault::None,
        }
    });
    let proxy = proxy.await;
    let mut impatient = server.settings(&proxy.address);
    impatient.push(("AWS_TIMEOUT".into(), "500ms".into()));
    let direct = store(&server, &server.address).await;
    let objects = StoredObjects::open(&direct).await.unwrap();
    let mut jobs = Vec::new();
    for number in 0..JOBS {
        let submitted = submit(&objects, &clock, &request(number, "quiet")).await.unwrap();
        jobs.extend(submitted.request.jobs.into_iter().map(|job| job.id));
    }
    let mut hosts = Vec::new();
    for name in ["one", "two"] {
        let store = Store::open_with(URL, impatient.clone()).await.unwrap();
        hosts.push(Arc::new(Host::new(name, store, clock, 20)));
    }
    let run = |host: &Arc<Host>| {
        let host = Arc::clone(host);
        tokio::spawn(async move { host.run(false, 10).await })
    };
    let running: Vec<_> = hosts.iter().map(run).collect();
    let measures = |host: &Arc<Host>| {
        host.said.lock().unwrap().iter().any(|report| matches!(report, Report::Taken { .. }))
    };
    wait_until("both measure", || hosts.iter().all(measures)).await;
    *begun.lock().unwrap() = Some(Instant::now());
    let until = Instant::now() + Duration::from_secs(120);
    let ended = loop {
        let ended = results(&objects, &clock, &jobs).await.unwrap();
        let is_over = begun.lock().unwrap().is_some_and(|at| at.elapsed() > OUTAGE / SPEED);
        let is_open = || async {
            let open = [path::JOBS, path::CLAIMS].map(|prefix| objects.list(prefix));
            futures::future::join_all(open).await.into_iter().any(|list| !list.unwrap().is_empty())
        };
        if ended.len() == jobs.len() && is_over && !is_open().await {
            break ended;
        }
        let said: Vec<_> = hosts.iter().map(|host| host.said.lock().unwrap().clone()).collect();
        assert!(Instant::now() < until, "{} of {} jobs ended: {said:#?}", ended.len(), jobs.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    hosts.iter().for_each(|host| host.leaves.store(true, Ordering::Relaxed));
    for agent in running {
        agent.await.unwrap();
    }
    for result in &ended {
        let Ending::Done { path, .. } = &result.ending else { panic!("{result:?}") };
        let rows = objects.list(&format!("runs/{}/", result.job)).await.unwrap();
        let rows: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(rows, [path], "the row that counts, once");
    }
    let troubles: String = hosts.iter().map(|host| host.troubles()).collect();
    assert!(why.is_empty() || troubles.contains(why), "no {why:?} in what they said: {troubles}");
    let most = OUTAGE.as_secs() as usize / 2;
    assert!(troubles.lines().count() < most, "they said it too often: {troubles}");
}

async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `go_wrong` on each server at once.
async fn go_wrong_everywhere(wrong: Wrong, why: &str) {
    let moto = S3Server::moto(LOOPBACK).map(|server| go_wrong(server, wrong, why));
    let s3s = S3Server::s3s().map(|server| go_wrong(server, wrong, why));
    let moto = async { futures::future::OptionFuture::from(moto).await };
    let s3s = async { futures::future::OptionFuture::from(s3s).await };
    tokio::join!(moto, s3s);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_overloaded_is_waited_for() {
    go_wrong_everywhere(|_, _| Fault::Status("503 Slow Down"), "503").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_each_condition_is_waited_for() {
    let wrong: Wrong = |seen, _| match seen.method == "PUT" && seen.head.contains("\r\nif-") {
        true => Fault::Status("412 Precondition Failed"),
        false => Fault::None,
    };
    go_wrong_everywhere(wrong, "(412)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_silent_is_waited_for() {
    go_wrong_everywhere(|_, _| Fault::Silence, "timed out").await;
}

/// Each second answer to a write is lost after it was done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_is_lost_is_no_failure() {
    let wrong: Wrong = |seen, number| match seen.method != "GET" && number % 2 == 0 {
        true => Fault::LostReply,
        false => Fault::None,
    };
    go_wrong_everywhere(wrong, "").await;
}

/// A host that is cut off for longer than its lease stops, and what it measured is not counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_cut_off_loses_its_job_to_another() {
    let Some(server) = S3Server::moto(LOOPBACK) else { return };
    let clock = QuickClock::new(SPEED);
    let is_cut = Arc::new(AtomicBool::new(false));
    let cut = Arc::clone(&is_cut);
    let proxy = Proxy::start(&server.address, move |_| match cut.load(Ordering::Relaxed) {
        true => Fault::Silence,
        false => Fault::None,
    });
    let proxy = proxy.await;
    let mut impatient = server.settings(&proxy.address);
    impatient.push(("AWS_TIMEOUT".into(), "500ms".into()));
    let direct = store(&server, &server.address).await;
    let objects = StoredObjects::open(&direct).await.unwrap();
    let submitted = submit(&objects, &clock, &request(1, "quiet")).await.unwrap();
    let job = submitted.request.jobs[0].id.clone();
    let far = Store::open_with(URL, impatient).await.unwrap();
    let far = Arc::new(Host::new("far", far, clock, 100_000));
    let near = Arc::new(Host::new("near", direct.clone(), clock, 20));
    let run = |host: &Arc<Host>| {
        let host = Arc::clone(host);
        tokio::spawn(async move { host.run(false, 60).await })
    };
    let has_said =
        |host: &Host, is_it: fn(&Report) -> bool| host.said.lock().unwrap().iter().any(is_it);
    let mut running = vec![run(&far)];
    wait_until("far measures", || has_said(&far, |r| matches!(r, Report::Taken { .. }))).await;
    running.push(run(&near));
    clock.sleep(Duration::from_secs(70)).await;
    is_cut.store(true, Ordering::Relaxed);
    let began = clock.now();
    wait_until("near measures", || has_said(&near, |r| matches!(r, Report::Taken { .. }))).await;
    let took = clock.now() - began;
    println!("from the cut to measuring elsewhere, with the defaults: {took:?}");
    assert!(took < Duration::from_secs(180), "it took {took:?}");
    wait_until("near is done", || has_said(&near, |r| matches!(r, Report::Ended { .. }))).await;
    is_cut.store(false, Ordering::Relaxed);
    let ended = results(&objects, &clock, &[job]).await.unwrap();
    assert_eq!(ended[0].by, "near");
    let claims = objects.list(path::CLAIMS).await.unwrap();
    assert_eq!(claims, [], "and it holds nothing when it is back");
    [&far, &near].iter().for_each(|host| host.leaves.store(true, Ordering::Relaxed));
    for agent in running {
        agent.await.unwrap();
    }
    assert!(far.troubles().contains("timed out"), "{}", far.troubles());
}
