//! What an agent meets in a store that others write to: damaged objects, foreign ones, some from the
//! future, requests that were changed, hosts of the same name. None of it stops anything else.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dyno_model::budget::Budget;
use dyno_model::catalog::suite::Selection;
use dyno_model::id::{Digest, JobId};
use dyno_model::queue::{
    BenchmarkEstimate, Ending, HostEntry, HostOffer, JobName, QUEUE_VERSION, QueueJob,
    QueueRequest, path, plan,
};
use dyno_model::record::{QueueAttempt, SCHEMA_VERSION, Trust};
use dyno_model::request::{HostChoice, PolicyReference, REQUEST_VERSION, Request};
use dyno_queue::Clock;
use dyno_queue::agent::{Agent, Report, Settings, Worked, Worker};
use dyno_queue::claim::Lease;
use dyno_queue::objects::to_bytes;
use dyno_queue::request::submit;
use dyno_queue::result::{end, find};
use dyno_queue::status::status;
use dyno_queue::stored::StoredObjects;
use dyno_store::Store;

const POLL: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_secs(90);

/// A clock whose time passes only where somebody sleeps, and what happens each time.
#[derive(Clone, Default)]
struct HandClock {
    now: Arc<Mutex<Duration>>,
    on_sleep: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Clock for HandClock {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    fn wall_us(&self) -> i64 {
        1_800_000_000_000_000 + self.now().as_micros() as i64
    }

    async fn sleep(&self, duration: Duration) {
        // Who waits for a renewal no longer than its lease: the answer comes first.
        if duration > POLL && duration <= LEASE {
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        tokio::task::yield_now().await;
        *self.now.lock().unwrap() += duration;
        self.on_sleep.iter().for_each(|act| act());
    }
}

/// Measures nothing: each job comes to what the test says of its host.
struct FakeWorker {
    objects: StoredObjects,
    clock: HandClock,
    outcome: fn() -> Worked,
    jobs: Mutex<Vec<QueueJob>>,
}

impl Worker for FakeWorker {
    async fn work(&self, job: QueueJob, attempt: QueueAttempt) -> Worked {
        self.jobs.lock().unwrap().push(job);
        let outcome = (self.outcome)();
        if outcome == Worked::Ended {
            let run = JobId::from(Digest::of(b"run"));
            end(&self.objects, &self.clock, &attempt, Ending::Held { run }).await.unwrap();
        }
        outcome
    }

    async fn leave(&self) {
        std::future::pending().await
    }
}

/// A store in a folder of its own.
struct Place {
    folder: tempfile::TempDir,
    objects: StoredObjects,
    clock: HandClock,
}

fn offer(name: &str) -> HostOffer {
    let labels = vec!["quiet".into()];
    HostOffer { name: name.into(), architecture: "x86_64".into(), cores: 1, labels }
}

fn request(suite: &str, trust: Trust) -> QueueRequest {
    let request = Request {
        version: REQUEST_VERSION,
        requester: "a test".into(),
        suite: suite.into(),
        baseline: "a".repeat(40),
        candidate: "b".repeat(40),
        host: HostChoice::Class("quiet".into()),
        policy: PolicyReference { name: "default".into(), digest: Digest::of(b"") },
        selection: Selection::default(),
        budget: Budget { rounds_min: 5, rounds_max: 30, seconds: 60 },
        counting: true,
        cachegrind: true,
        trust,
        again: false,
    };
    let asked = QueueRequest {
        version: QUEUE_VERSION,
        requests: vec![request],
        suite_digest: Digest::of(b"suite"),
        priority: 5,
        depth: 0,
        asked_us: 1,
        is_follow_up: false,
        bundle: None,
        jobs: Vec::new(),
    };
    let all = BenchmarkEstimate {
        name: "fib".into(),
        seconds: 0.0,
        threads: 1,
        history: Default::default(),
    };
    let jobs = plan(&asked, &[all], &[offer("bench")], 100.0).jobs;
    QueueRequest { jobs, ..asked }
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).await.unwrap();
        let objects = StoredObjects::open(&store).await.unwrap();
        Self { folder, objects, clock: HandClock::default() }
    }

    async fn ask(&self, suite: &str) -> QueueRequest {
        let request = request(suite, Trust::Trusted);
        submit(&self.objects, &self.clock, &request).await.unwrap();
        request
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let file = self.file(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }

    /// Runs an agent until nothing is left for it: what it measured, and what it said.
    async fn agent(&self, name: &str, outcome: fn() -> Worked) -> (Vec<String>, Vec<Report>) {
        let (worked, reports, refused) = self.agent_on("this machine", name, outcome).await;
        assert_eq!(refused, None);
        (worked, reports)
    }

    async fn agent_on(
        &self,
        machine: &str,
        name: &str,
        outcome: fn() -> Worked,
    ) -> (Vec<String>, Vec<Report>, Option<String>) {
        let worker = FakeWorker {
            objects: self.objects.clone(),
            clock: self.clock.clone(),
            outcome,
            jobs: Mutex::default(),
        };
        let settings = Settings {
            offer: offer(name),
            machine: machine.into(),
            incarnation: format!("{name} at {:?}", self.clock.now()),
            dyno_version: "0.1.0".into(),
            lease: Lease { duration: LEASE, ..Lease::default() },
            poll: POLL,
            beat: Duration::from_secs(60),
        };
        let reports = Mutex::new(Vec::new());
        let report = |report| reports.lock().unwrap().push(report);
        let mut agent = Agent::new(&self.objects, &self.clock, &worker, settings, &report);
        let refused = agent.run(true).await.err().map(|refused| refused.to_string());
        drop(agent);
        let suites = worker.jobs.lock().unwrap().iter().map(|j| j.request.suite.clone()).collect();
        (suites, reports.into_inner().unwrap(), refused)
    }
}

fn ended() -> Worked {
    Worked::Ended
}

/// Whether one of `reports` names the object and says `why`.
fn names(reports: &[Report], name: &str, why: &str) -> bool {
    reports.iter().any(|report| {
        let text = match report {
            Report::SetAside { name, why } => format!("{name}: {why}"),
            Report::Trouble { why } => why.clone(),
            _ => return false,
        };
        text.contains(name) && text.contains(why)
    })
}

/// How an object is spoilt, and what is said of it then.
fn spoil(file: &Path, how: &str) {
    drop(std::fs::remove_file(file));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    match how {
        "it is damaged" => std::fs::write(file, b"\xff{]garbage").unwrap(),
        "its version is 99" => std::fs::write(file, b"{\"version\": 99, \"new\": []}").unwrap(),
        "it has more than" => std::fs::File::create(file).unwrap().set_len(5 << 20).unwrap(),
        _ => std::fs::create_dir(file).unwrap(),
    }
}

const FOLDER: &str = "is a folder";

#[tokio::test]
async fn one_bad_object_of_any_kind_is_named_and_stops_nothing_else() {
    for how in ["it is damaged", "its version is 99", "it has more than", FOLDER] {
        for kind in ["open", "request", "job", "claim", "result", "host"] {
            let what = format!("{kind}: {how}");
            let place = Place::new().await;
            let bad = place.ask("bad").await;
            place.ask("good").await;
            let job = &bad.jobs[0];
            let name = match kind {
                "open" => path::open(&bad.id()),
                "request" => path::request(&bad.id()),
                "job" => JobName::new(job).path(),
                "claim" => path::claim(&job.id),
                "result" => path::result(&job.id),
                _ => path::host("other"),
            };
            spoil(&place.file(&name), how);
            let (worked, reports) = place.agent("bench", ended).await;
            assert!(worked.contains(&"good".to_string()), "{what}: {reports:?}");
            // A folder in place of an object that is only listed is no object: nothing is there.
            let is_seen = how != FOLDER || ["request", "claim", "result"].contains(&kind);
            let is_left_to_person = ["request", "job", "claim", "result"].contains(&kind);
            assert_eq!(!worked.contains(&"bad".to_string()), is_left_to_person, "{what}");
            if kind != "host" && is_seen {
                assert!(names(&reports, &name, how), "{what}: {reports:?}");
            }
            let seen = status(&place.objects, &place.clock).await.unwrap();
            if kind == "claim" && is_seen && how != FOLDER || kind == "host" && how != FOLDER {
                let [(found, why)] = &seen.problems[..] else { panic!("{what}: {seen:?}") };
                assert_eq!(*found, name, "{what}");
                assert!(why.contains(how), "{what}: {why}");
            }
        }
    }
}

#[tokio::test]
async fn names_of_nobody_are_named() {
    let place = Place::new().await;
    for name in ["queue/jobs/x.json", "queue/open/x", "queue/claims/x.json", "queue/hosts/x"] {
        place.write(name, b"garbage");
    }
    place.ask("good").await;
    let (worked, reports) = place.agent("bench", ended).await;
    assert_eq!(worked, ["good"]);
    assert!(names(&reports, "queue/jobs/x.json", "not one of a job"), "{reports:?}");
    assert!(names(&reports, "queue/open/x", "it is damaged"), "{reports:?}");
    let seen = status(&place.objects, &place.clock).await.unwrap();
    assert_eq!(seen.problems.len(), 3, "{:?}", seen.problems);
}

/// The entry of this very host, damaged, is that of nobody who answers.
#[tokio::test]
async fn a_damaged_entry_of_its_own_is_watched_and_then_written_again() {
    for how in ["it is damaged", "its version is 99", "it has more than"] {
        let place = Place::new().await;
        place.ask("good").await;
        spoil(&place.file(&path::host("bench")), how);
        let (worked, _) = place.agent("bench", ended).await;
        assert_eq!(worked, ["good"], "{how}");
        assert_eq!(status(&place.objects, &place.clock).await.unwrap().problems, [], "{how}");
    }
}

/// What a stranger's commit is asked with is in the id: it cannot be made one of the target's own
/// by who changes the job, or the request too.
#[tokio::test]
async fn an_untrusted_request_is_not_run_as_trusted() {
    let untrusted = request("stranger", Trust::Untrusted);
    let trusted = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(text.contains("\"trust\":\"untrusted\""), "{text}");
        text.replace("\"trust\":\"untrusted\"", "\"trust\":\"trusted\"").into_bytes()
    };
    let job = JobName::new(&untrusted.jobs[0]).path();
    for (what, changed, why) in [
        ("nothing", vec![], None),
        ("the job", vec![job.clone()], Some("it asks for something else than its request")),
        (
            "job and request",
            vec![job.clone(), path::request(&untrusted.id())],
            Some("was changed: what is asked there is"),
        ),
    ] {
        let place = Place::new().await;
        submit(&place.objects, &place.clock, &untrusted).await.unwrap();
        place.ask("good").await;
        for name in &changed {
            let bytes = std::fs::read(place.file(name)).unwrap();
            place.write(name, &trusted(&bytes));
        }
        let (worked, reports) = place.agent("bench", ended).await;
        match why {
            None => assert_eq!(worked.len(), 2, "{what}"),
            Some(why) => {
                assert_eq!(worked, ["good"], "{what}");
                assert!(names(&reports, &job, why), "{what}: {reports:?}");
                let found = find(&place.objects, &place.clock, &untrusted.jobs[0].id).await;
                assert_eq!(found.unwrap(), None, "{what}");
            }
        }
    }
    // One that stands as open, and was changed before its jobs were made.
    let place = Place::new().await;
    let name = path::open(&untrusted.id());
    place.write(&name, &trusted(&to_bytes(&untrusted)));
    let (worked, reports) = place.agent("bench", ended).await;
    assert_eq!(worked, [""; 0]);
    assert!(names(&reports, &name, "not the request that its name says"), "{reports:?}");
}

fn entry(name: &str, machine: &str, schema: u32) -> HostEntry {
    HostEntry {
        version: QUEUE_VERSION,
        offer: offer(name),
        incarnation: "another".into(),
        machine: machine.into(),
        dyno_version: "0.0.9".into(),
        schema,
        beat: 7,
        beat_us: 1_799_999_999_000_000,
        activity: "measures job abc".into(),
    }
}

#[tokio::test]
async fn of_two_hosts_with_one_name_the_second_is_refused() {
    let mut place = Place::new().await;
    place.ask("good").await;
    let file = path::host("bench");
    place.write(&file, &to_bytes(&entry("bench", "far (1)", SCHEMA_VERSION)));
    // It answers while this one watches.
    let path = place.file(&file);
    let beats = Mutex::new(7);
    place.clock.on_sleep = Some(Arc::new(move || {
        let mut beats = beats.lock().unwrap();
        *beats += 1;
        let entry = HostEntry { beat: *beats, ..entry("bench", "far (1)", SCHEMA_VERSION) };
        std::fs::write(&path, to_bytes(&entry)).unwrap();
    }));
    let (worked, reports, refused) = place.agent_on("near (2)", "bench", ended).await;
    assert_eq!(worked, [""; 0]);
    assert!(
        reports
            .iter()
            .any(|r| matches!(r, Report::Idle { why } if why.contains("watching for 120 s"))),
        "{reports:?}"
    );
    let refused = refused.expect("the name is taken");
    for part in ["bench is at work already", "on the machine far (1)", "measures job abc"] {
        assert!(refused.contains(part), "{refused}");
    }
    // One that does not answer any more is no hindrance.
    place.clock.on_sleep = None;
    let (worked, _, refused) = place.agent_on("near (2)", "bench", ended).await;
    assert_eq!((worked, refused), (vec!["good".to_string()], None));
}

/// A mistake in the files of one host is that host's: others get the job, and the queue tells.
#[tokio::test]
async fn what_fails_on_one_host_is_offered_to_another() {
    for preferred in [None, Some("bench")] {
        let place = Place::new().await;
        let mut asked = request("good", Trust::Trusted);
        asked.jobs[0].preferred = preferred.map(String::from);
        submit(&place.objects, &place.clock, &asked).await.unwrap();
        let missing = || Worked::Trouble("there is no policy \"default\"".into());
        let place_hosts = [offer("bench"), offer("other")].map(|offer| offer.name);
        // The first leaves it after its first attempt, and still answers.
        let worker = place.agent(&place_hosts[0], missing);
        let limited = tokio::time::timeout(Duration::from_secs(20), worker).await;
        let (tried, reports) = limited.expect("it ends");
        assert_eq!(tried, ["good"], "{reports:?}");
        let seen = status(&place.objects, &place.clock).await.unwrap();
        let failed = &seen.jobs[0].claim.as_ref().unwrap().failed;
        assert_eq!(failed[0].host, "bench");
        assert_eq!(failed[0].why, "there is no policy \"default\"");
        let (worked, _) = place.agent(&place_hosts[1], ended).await;
        assert_eq!(worked, ["good"], "preferred: {preferred:?}");
        let result = find(&place.objects, &place.clock, &asked.jobs[0].id).await.unwrap().unwrap();
        assert_eq!(result.by, "other");
    }
}

/// Who knows only older layouts leaves a job alone, and says why where people look.
#[tokio::test]
async fn a_job_that_a_newer_dyno_planned_waits_and_the_queue_says_why() {
    let place = Place::new().await;
    let mut asked = request("new", Trust::Trusted);
    asked.jobs[0].needs.schema = SCHEMA_VERSION + 1;
    submit(&place.objects, &place.clock, &asked).await.unwrap();
    let (worked, reports) = place.agent("bench", ended).await;
    assert_eq!(worked, [""; 0]);
    let why = "a newer dyno planned it (layout 2, this one has 1)";
    assert!(
        reports.iter().any(|r| matches!(r, Report::Idle { why: said } if said.contains(why))),
        "{reports:?}"
    );
    let seen = status(&place.objects, &place.clock).await.unwrap();
    assert_eq!(seen.jobs[0].refusals, [("bench".to_string(), why.to_string())]);
    assert_eq!((seen.hosts[0].schema, seen.hosts[0].dyno_version.as_str()), (1, "0.1.0"));
    // A host that was brought up to date takes it.
    place.write(&path::host("new"), &to_bytes(&entry("new", "m", SCHEMA_VERSION + 1)));
    let seen = status(&place.objects, &place.clock).await.unwrap();
    assert_eq!(seen.jobs[0].refusals, []);
}
