//! A GitHub, a store in memory, one clock for both, and a bot that can die at any effect.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use dyno_bot::configuration::{self, Configuration};
use dyno_bot::conversation::{Comparison, Comparisons, Wanted};
use dyno_bot::github::{Access, Answer, Call, Etags, GitHub, Method, Transport, Wire};
use dyno_bot::tick::{Bot, Pass};
use dyno_github_twin::{Pull, Request, Twin};
use dyno_model::budget::Budget;
use dyno_model::catalog::suite::Selection;
use dyno_model::id::Digest;
use dyno_model::queue::{
    BenchmarkEstimate, Claim, Ending, Holder, JobName, QUEUE_VERSION, QueueRequest, path, plan,
};
use dyno_model::record::QueueAttempt;
use dyno_model::request::{HostChoice, PolicyReference, REQUEST_VERSION, Request as Asked};
use dyno_model::verdict::Conclusion;
use dyno_queue::objects::to_bytes;
use dyno_queue::request::open_jobs_like;
use dyno_queue::result::{clear, end};
use dyno_queue::{Clock, Object, Objects, Trouble, Version};
use secrecy::SecretString;

/// 2026-11-28 00:00 UTC.
const START_S: i64 = 1_795_824_000;

/// The time of the bot and of its GitHub.
#[derive(Clone)]
pub struct TwinClock {
    twin: Arc<Twin>,
    us: Arc<Mutex<i64>>,
}

impl TwinClock {
    pub fn advance(&self, duration: Duration) {
        let mut us = self.us.lock().unwrap();
        *us += duration.as_micros() as i64;
        self.twin.set_clock(*us / 1_000_000);
    }
}

impl Clock for TwinClock {
    fn now(&self) -> Duration {
        Duration::from_micros(*self.us.lock().unwrap() as u64)
    }

    fn wall_us(&self) -> i64 {
        *self.us.lock().unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}

/// Effects until the process dies; `None` for one that does not.
#[derive(Clone, Default)]
pub struct Fuse {
    left: Arc<Mutex<Option<u32>>>,
    dead: Arc<tokio::sync::Notify>,
}

impl Fuse {
    /// A moment before or after an effect: it can be the last one.
    async fn moment(&self) {
        let is_last = match &mut *self.left.lock().unwrap() {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        };
        if is_last {
            self.dead.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// A store in memory.
#[derive(Default)]
pub struct Memory {
    objects: Mutex<BTreeMap<String, (u64, Vec<u8>)>>,
    fuse: Fuse,
}

impl Memory {
    fn held(&self) -> MutexGuard<'_, BTreeMap<String, (u64, Vec<u8>)>> {
        self.objects.lock().unwrap()
    }

    /// The names that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.held().keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    fn put(&self, name: &str, bytes: &[u8], old: Option<&Version>) -> Option<Version> {
        let mut objects = self.held();
        let found = objects.get(name).map(|(version, _)| Version(version.to_string()));
        if found.as_ref() != old {
            return None;
        }
        let version = objects.values().map(|(version, _)| *version).max().unwrap_or(0) + 1;
        objects.insert(name.into(), (version, bytes.to_vec()));
        Some(Version(version.to_string()))
    }
}

impl Objects for Memory {
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Version)>, Trouble> {
        let objects = self.held();
        let named = objects.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(named.map(|(name, (v, _))| (name.clone(), Version(v.to_string()))).collect())
    }

    async fn read(&self, name: &str) -> Result<Option<Object>, Trouble> {
        let found = self.held().get(name).cloned();
        Ok(found.map(|(v, bytes)| Object { version: Version(v.to_string()), bytes }))
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Option<Version>, Trouble> {
        self.fuse.moment().await;
        let made = self.put(name, bytes, None);
        self.fuse.moment().await;
        Ok(made)
    }

    async fn replace(
        &self,
        name: &str,
        bytes: &[u8],
        old: &Version,
    ) -> Result<Option<Version>, Trouble> {
        self.fuse.moment().await;
        let made = self.put(name, bytes, Some(old));
        self.fuse.moment().await;
        Ok(made)
    }

    async fn remove(&self, name: &str) -> Result<(), Trouble> {
        self.fuse.moment().await;
        self.held().remove(name);
        self.fuse.moment().await;
        Ok(())
    }
}

/// The transport of the binary, in a process that can die.
struct Mortal<'a> {
    wire: &'a Wire,
    fuse: Fuse,
}

impl Transport for Mortal<'_> {
    async fn send(&self, call: Call) -> Result<Answer, String> {
        if call.method == Method::Get {
            return self.wire.send(call).await;
        }
        self.fuse.moment().await;
        let answer = self.wire.send(call).await;
        self.fuse.moment().await;
        answer
    }
}

/// Who plans, and compares what was measured.
pub struct Made {
    clock: TwinClock,
    pub conclusion: Mutex<Conclusion>,
    pub wanted: Mutex<Vec<Wanted>>,
}

impl Comparisons for Made {
    async fn plan(&self, wanted: &Wanted) -> Result<Result<QueueRequest, String>, Trouble> {
        if wanted.only.iter().any(|name| name == "nothing") {
            return Ok(Err("no benchmark is called \"nothing\"".into()));
        }
        self.wanted.lock().unwrap().push(wanted.clone());
        let request = |host: &String| Asked {
            version: REQUEST_VERSION,
            requester: wanted.requester.clone(),
            suite: wanted.suite.clone(),
            baseline: wanted.baseline.hex().into(),
            candidate: wanted.candidate.hex().into(),
            host: HostChoice::Class(host.clone()),
            policy: PolicyReference {
                name: wanted.policy.clone(),
                digest: Digest::of(wanted.policy.as_bytes()),
            },
            selection: Selection::default(),
            budget: Budget { rounds_min: 2, rounds_max: 2, seconds: 60 },
            counting: false,
            cachegrind: false,
            trust: wanted.trust,
            again: wanted.baseline == wanted.candidate,
        };
        let request = QueueRequest {
            version: QUEUE_VERSION,
            requests: wanted.hosts.iter().map(request).collect(),
            suite_digest: Digest::of(b"suite"),
            priority: 5,
            depth: 0,
            asked_us: self.clock.wall_us(),
            is_follow_up: false,
            bundle: None,
            jobs: Vec::new(),
        };
        let benchmark = BenchmarkEstimate { name: "fib".into(), threads: 1, ..Default::default() };
        let jobs = plan(&request, &[benchmark], &[], 3600.0).jobs;
        Ok(Ok(QueueRequest { jobs, ..request }))
    }

    async fn compare(&self, request: &QueueRequest) -> Result<Option<Comparison>, Trouble> {
        let conclusion = *self.conclusion.lock().unwrap();
        let sentence = format!("{}: 1 of 2 series.", conclusion.name());
        let asked = &request.requests[0];
        let table = "| case | effect |\n|---|---|\n| `fib` | +3 % |\n";
        Ok(Some(Comparison {
            body: format!("<!-- dyno report: {} -->\n### {sentence}\n\n{table}", asked.suite),
            conclusion,
            gate_fails: conclusion == Conclusion::Regressed,
            has_failures: false,
            sentence,
            zeros: Vec::new(),
        }))
    }
}

/// All of it.
pub struct World {
    pub twin: Arc<Twin>,
    pub clock: TwinClock,
    pub objects: Memory,
    pub made: Made,
    pub configuration: Configuration,
    secret: SecretString,
    etags: tempfile::TempDir,
    /// Made in the test's runtime, once: reading the machine's certificates takes a while.
    wire: OnceLock<Wire>,
}

impl World {
    /// A bot that is an App, in `acme/widget`, where alice may ask.
    pub fn new() -> Self {
        let twin = Twin::start();
        twin.set_clock(START_S);
        let app = twin.app("dyno", 42);
        let repositories = ["acme/widget", "acme/other"];
        twin.account("alice", 1001);
        twin.account("mallory", 666);
        for name in repositories {
            twin.repository(name).permission("alice", "write");
        }
        let rights = [
            ("issues", "write"),
            ("pull_requests", "write"),
            ("checks", "write"),
            ("contents", "read"),
        ];
        twin.install(&app, &repositories, &rights);
        let credential = "app = { id = 42, key_environment = \"KEY\" }";
        Self::of(twin, 100_000_042, credential, SecretString::from(app.key))
    }

    /// A bot that is an account with a token.
    pub fn with_token() -> Self {
        let twin = Twin::start();
        twin.set_clock(START_S);
        let token = twin.bot("dyno", 9000);
        twin.account("alice", 1001);
        for name in ["acme/widget", "acme/other"] {
            twin.repository(name).permission("alice", "write").permission("dyno", "write");
        }
        let credential = "token = { environment = \"TOKEN\" }";
        Self::of(twin, 9000, credential, SecretString::from(token))
    }

    fn of(twin: Twin, account: u64, credential: &str, secret: SecretString) -> Self {
        let repository = |name: &str| {
            format!(
                "[[repository]]\nname = \"{name}\"\nsuites = [\"wasmi\", \"rustc\"]\n\
                 hosts = [\"x86_64\"]\naccounts = {{ alice = 1001 }}\n"
            )
        };
        let text = format!(
            "name = \"dyno\"\naccount = {account}\napi = \"{}\"\nstore = \"store\"\n{credential}\n{}{}",
            twin.url(),
            repository("acme/widget"),
            repository("acme/other")
        );
        let configuration = configuration::parse("bot.toml", &text).unwrap();
        let twin = Arc::new(twin);
        let us = Arc::new(Mutex::new(START_S * 1_000_000));
        let clock = TwinClock { twin: twin.clone(), us };
        let conclusion = Mutex::new(Conclusion::Regressed);
        let made = Made { clock: clock.clone(), conclusion, wanted: Mutex::default() };
        let etags = tempfile::tempdir().unwrap();
        let objects = Memory::default();
        let wire = OnceLock::new();
        Self { twin, clock, objects, made, configuration, secret, etags, wire }
    }

    /// A pull request of alice's from a branch of the repository.
    pub fn pull(&self) -> Pull {
        self.twin.repository("acme/widget").pull("alice", "Faster parser")
    }

    /// One process that makes one pass; `None` where it has died.
    pub async fn pass(&self) -> Option<Pass> {
        let access = Access::new(&self.configuration.credential, self.secret.clone()).unwrap();
        let own = (access, self.configuration.account);
        let fuse = self.objects.fuse.clone();
        let wire = self.wire.get_or_init(|| Wire::new().unwrap());
        let transport = Mortal { wire, fuse: fuse.clone() };
        let etags = Etags::open(self.etags.path().into());
        let api = &self.configuration.api;
        let github = GitHub::new(api, own, etags, transport, self.clock.clone()).unwrap();
        let bot = Bot {
            configuration: &self.configuration,
            github: &github,
            objects: &self.objects,
            clock: &self.clock,
            comparisons: &self.made,
        };
        tokio::select! {
            pass = bot.tick(None) => Some(pass),
            () = fuse.dead.notified() => None,
        }
    }

    /// A pass a minute later, in which nothing goes wrong.
    pub async fn tick(&self) -> Pass {
        self.clock.advance(Duration::from_secs(60));
        let pass = self.pass().await.expect("nothing kills it");
        assert_eq!(pass.troubles, [] as [String; 0]);
        pass
    }

    /// Lets the next process live for so many moments; `None` for all.
    pub fn fuse(&self, moments: Option<u32>) {
        *self.objects.fuse.left.lock().unwrap() = moments;
    }

    /// Has a host take what is open.
    pub async fn take(&self) {
        for job in open_jobs_like(&self.objects, "").await.unwrap() {
            let host = "epyc".to_string();
            let holder = Holder { host, incarnation: "1".into(), is_measuring: true };
            let claim = Claim {
                version: QUEUE_VERSION,
                holder: Some(holder),
                beat: 1,
                lease_ms: 60_000,
                since_us: self.clock.wall_us(),
                failed: Vec::new(),
            };
            let (name, bytes) = (path::claim(&job.id), to_bytes(&claim));
            self.objects.create(&name, &bytes).await.unwrap();
        }
    }

    /// Has the host measure what is open, or end it with `ending`.
    pub async fn measure(&self, ending: Option<Ending>) {
        for job in open_jobs_like(&self.objects, "").await.unwrap() {
            let (id, by) = (job.id.clone(), "epyc".to_string());
            let attempt = QueueAttempt { job: id, by, incarnation: "1".into() };
            let held = Ending::Held { run: "c".repeat(32).parse().unwrap() };
            let ending = ending.clone().unwrap_or(held);
            end(&self.objects, &self.clock, &attempt, ending).await.unwrap();
            clear(&self.objects, &self.clock, &job).await.unwrap();
        }
    }

    /// The jobs that are open.
    pub async fn open_jobs(&self) -> Vec<JobName> {
        open_jobs_like(&self.objects, "").await.unwrap()
    }

    /// What stands in the pull request; ids of commits are left out.
    pub fn shown(&self, pull: &Pull) -> String {
        let head = self.twin.head(pull);
        let base = self.twin.repository(&pull.repository).tip("main");
        let mut text = self.twin.conversation(pull);
        for (commit, word) in [(&head, "HEAD"), (&base, "BASE")] {
            text = text.replace(commit.as_str(), word).replace(&commit[..12], word);
            text = text.replace(&commit[..7], &format!("{}…", &word[..3]));
        }
        let comments = text
            .split("issuecomment-")
            .map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()).to_string());
        comments.collect::<Vec<_>>().join("issuecomment-")
    }

    /// The comments of the bot in a pull request.
    pub fn own_comments(&self, pull: &Pull) -> usize {
        let text = self.twin.conversation(pull);
        text.lines().filter(|line| *line == "dyno[bot]:" || *line == "dyno:").count()
    }

    /// The requests to GitHub since this was asked last, but for those that every pass makes.
    pub fn requests(&self) -> Vec<Request> {
        let is_of_pass = |request: &Request| {
            request.path.contains("/issues/comments?")
                || request.path.ends_with("/installation")
                || request.path.ends_with("/access_tokens")
        };
        self.twin.take_requests().into_iter().filter(|request| !is_of_pass(request)).collect()
    }
}
