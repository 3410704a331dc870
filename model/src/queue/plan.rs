//! The planner: from a request to jobs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Needs, Order, QUEUE_VERSION, QueueJob, QueueRequest, class_word};
use crate::catalog::suite::Selection;
use crate::id::{Digest, QueueJobId, RequestId};
use crate::record::SCHEMA_VERSION;
use crate::request::{HostChoice, Request};

/// What a host offers, as its file and its machine say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostOffer {
    pub name: String,
    /// The architecture, as `uname -m` says.
    pub architecture: String,
    /// The number of its benchmark cores.
    pub cores: u32,
    pub labels: Vec<String>,
}

/// What is known of a benchmark before it is planned.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BenchmarkEstimate {
    pub name: String,
    /// Seconds that all its cases are expected to take; 0 where nobody knows.
    pub seconds: f64,
    /// The largest number of threads of its cases.
    pub threads: u32,
    /// Class, as a word → the host that has its history there.
    pub history: BTreeMap<String, String>,
}

/// The jobs of a request, and what a person should know of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub jobs: Vec<QueueJob>,
    pub notices: Vec<String>,
}

/// Plans the jobs of `request`: for each of its classes by itself, so that none holds up another, of
/// the `benchmarks` that it selects.
///
/// A benchmark goes with others of the same preferred host, up to `sitting_s` seconds together; of
/// those without estimates all stay together. `hosts` are those that were seen: a class of which
/// none was, or none with enough cores, gets its jobs all the same, and a notice.
pub fn plan(
    request: &QueueRequest,
    benchmarks: &[BenchmarkEstimate],
    hosts: &[HostOffer],
    sitting_s: f64,
) -> Planned {
    let id = request.id();
    let mut planned = Planned { jobs: Vec::new(), notices: Vec::new() };
    for class_request in &request.requests {
        let class = &class_request.host;
        let of_class: Vec<&HostOffer> = hosts.iter().filter(|host| host.is_of(class)).collect();
        let mut architectures: Vec<&str> =
            of_class.iter().map(|host| host.architecture.as_str()).collect();
        architectures.sort_unstable();
        architectures.dedup();
        let architecture = match architectures[..] {
            [architecture] => Some(architecture.to_string()),
            _ => None,
        };
        let mut parts: BTreeMap<Option<&str>, Vec<Sitting<'_>>> = BTreeMap::new();
        for benchmark in benchmarks {
            let preferred = benchmark.history.get(class_word(class)).map(String::as_str);
            let preferred = preferred.filter(|name| of_class.iter().any(|h| h.name == **name));
            let sittings = parts.entry(preferred).or_default();
            match sittings.last_mut() {
                Some(last) if last.seconds + benchmark.seconds <= sitting_s => last.add(benchmark),
                _ => sittings.push(Sitting::new(benchmark)),
            }
        }
        let is_whole = parts.values().map(Vec::len).sum::<usize>() <= 1;
        let sittings = parts
            .into_iter()
            .flat_map(|(preferred, sittings)| sittings.into_iter().map(move |s| (preferred, s)));
        for (preferred, sitting) in sittings {
            let needs = Needs {
                architecture: architecture.clone(),
                cores: sitting.threads.max(1),
                schema: SCHEMA_VERSION,
            };
            if !of_class.iter().any(|host| host.cores >= needs.cores) {
                let (class, cores) = (class_word(class), needs.cores);
                let most = of_class.iter().map(|host| host.cores).max();
                let notice = match most {
                    None => format!("no host of the class {class} was seen: its jobs wait for one"),
                    Some(most) => format!(
                        "no host of the class {class} has {cores} benchmark cores (the most is \
                         {most}): a job waits for one"
                    ),
                };
                if !planned.notices.contains(&notice) {
                    planned.notices.push(notice);
                }
            }
            planned.jobs.push(job(
                &id,
                request,
                class_request,
                &sitting,
                is_whole,
                needs,
                preferred,
            ));
        }
    }
    planned
}

/// Benchmarks that are measured one after the other.
struct Sitting<'a> {
    benchmarks: Vec<&'a str>,
    seconds: f64,
    threads: u32,
}

impl<'a> Sitting<'a> {
    fn new(benchmark: &'a BenchmarkEstimate) -> Self {
        let mut sitting = Self { benchmarks: Vec::new(), seconds: 0.0, threads: 1 };
        sitting.add(benchmark);
        sitting
    }

    fn add(&mut self, benchmark: &'a BenchmarkEstimate) {
        self.benchmarks.push(&benchmark.name);
        self.seconds += benchmark.seconds;
        self.threads = self.threads.max(benchmark.threads);
    }
}

/// The job of one sitting. One that is all of its class asks for what was selected, as it was
/// written; its id does not depend on who has the history.
fn job(
    id: &RequestId,
    request: &QueueRequest,
    class_request: &Request,
    sitting: &Sitting<'_>,
    is_whole: bool,
    needs: Needs,
    preferred: Option<&str>,
) -> QueueJob {
    let selection = match is_whole {
        true => class_request.selection.clone(),
        false => Selection {
            benchmarks: sitting.benchmarks.iter().map(ToString::to_string).collect(),
            ..class_request.selection.clone()
        },
    };
    let part = if is_whole { String::new() } else { sitting.benchmarks.join("\n") };
    QueueJob {
        version: QUEUE_VERSION,
        id: job_id(id, &class_request.host, &part),
        of_request: id.clone(),
        request: Request { selection, ..class_request.clone() },
        suite_digest: request.suite_digest.clone(),
        bundle: request.bundle.clone(),
        order: Order {
            priority: request.priority,
            depth: request.depth,
            asked_us: request.asked_us.max(0),
        },
        needs,
        preferred: preferred.map(String::from),
    }
}

fn job_id(request: &RequestId, class: &HostChoice, part: &str) -> QueueJobId {
    let class = serde_json::to_string(class).expect("plain fields serialise");
    QueueJobId::from(Digest::of_parts([request.hex(), &class, part]))
}

impl QueueJob {
    /// Checks that the job is a part of `asked`, and asks for nothing else: all ids are hashes of
    /// what is asked, so that what was changed in either is seen. Whether the candidate is trusted
    /// is part of it.
    ///
    /// # Errors
    /// Where they part.
    pub fn check(&self, asked: &QueueRequest) -> Result<(), String> {
        let id = asked.id();
        if id != self.of_request {
            let name = &self.of_request;
            return Err(format!("its request {name} was changed: what is asked there is {id}"));
        }
        let mut requests = asked.requests.iter();
        let Some(whole) = requests.find(|request| request.host == self.request.host) else {
            return Err("its request asks nothing of this class".into());
        };
        let benchmarks = self.request.selection.benchmarks.clone();
        let selection = Selection { benchmarks, ..whole.selection.clone() };
        let is_whole = selection == whole.selection;
        if self.request != (Request { selection, ..whole.clone() })
            || self.suite_digest != asked.suite_digest
            || self.bundle != asked.bundle
        {
            return Err("it asks for something else than its request".into());
        }
        let part = match is_whole {
            true => String::new(),
            false => self.request.selection.benchmarks.join("\n"),
        };
        if self.id != job_id(&id, &whole.host, &part) {
            return Err("its id is not that of what it asks".into());
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::queue::Bundle;
    use crate::record::Trust;
    use crate::request::{PolicyReference, REQUEST_VERSION};

    pub fn request(classes: &[&str]) -> QueueRequest {
        let class_request = |class: &&str| Request {
            version: REQUEST_VERSION,
            requester: "a test".into(),
            suite: "lua".into(),
            baseline: "a".repeat(40),
            candidate: "b".repeat(40),
            host: HostChoice::Class((*class).into()),
            policy: PolicyReference { name: "default".into(), digest: Digest::of(b"") },
            selection: Selection::default(),
            budget: Budget { rounds_min: 5, rounds_max: 30, seconds: 60 },
            counting: true,
            cachegrind: true,
            trust: Trust::Trusted,
            again: false,
        };
        QueueRequest {
            version: QUEUE_VERSION,
            requests: classes.iter().map(class_request).collect(),
            suite_digest: Digest::of(b"suite"),
            priority: 5,
            depth: 7,
            asked_us: 1,
            is_follow_up: false,
            bundle: None,
            jobs: Vec::new(),
        }
    }

    fn bundle() -> Bundle {
        let work_trees = vec!["c".repeat(40).parse().unwrap()];
        Bundle { digest: Digest::of(b"bundle"), bytes: 6, work_trees }
    }

    fn host(name: &str, architecture: &str, cores: u32) -> HostOffer {
        let labels = vec!["quiet".into()];
        HostOffer { name: name.into(), architecture: architecture.into(), cores, labels }
    }

    fn benchmark(name: &str, seconds: f64, history: &[(&str, &str)]) -> BenchmarkEstimate {
        let history = history.iter().map(|(c, h)| ((*c).into(), (*h).into())).collect();
        BenchmarkEstimate { name: name.into(), seconds, threads: 1, history }
    }

    /// (Class, benchmarks, preferred host) of each job.
    fn summary(planned: &Planned) -> Vec<(String, String, String)> {
        let job = |job: &QueueJob| {
            (
                class_word(&job.request.host).to_string(),
                job.request.selection.benchmarks.join(" "),
                job.preferred.clone().unwrap_or_default(),
            )
        };
        planned.jobs.iter().map(job).collect()
    }

    #[test]
    fn a_request_is_what_is_asked_and_not_who_asks() {
        let first = request(&["quiet", "aarch64"]);
        let mut again = request(&["aarch64", "quiet"]);
        again.requests[0].requester = "another".into();
        (again.priority, again.depth, again.asked_us) = (9, 0, 99);
        assert_eq!(again.id(), first.id());
        assert_ne!(request(&["quiet"]).id(), first.id());
        let mut other_suite = first.clone();
        other_suite.suite_digest = Digest::of(b"other");
        assert_ne!(other_suite.id(), first.id());
        // How the commits travel is not what is asked; and without a bundle nothing is said of one.
        let mut carried = first.clone();
        carried.bundle = Some(bundle());
        assert_eq!(carried.id(), first.id());
        let text = |request: &QueueRequest| serde_json::to_string(request).unwrap();
        assert!(!text(&first).contains("bundle") && text(&carried).contains("bundle"));
        assert_eq!(serde_json::from_str::<QueueRequest>(&text(&first)).unwrap(), first);
        assert_eq!(serde_json::from_str::<QueueRequest>(&text(&carried)).unwrap(), carried);
        // One that asks for measuring again is another each time.
        let anew = |asked_us| {
            let mut request = first.clone();
            request.requests.iter_mut().for_each(|r| r.again = true);
            request.asked_us = asked_us;
            request.id()
        };
        assert_ne!(anew(1), anew(2));
    }

    #[test]
    fn a_job_is_what_its_request_asks_or_is_seen_to_be_changed() {
        let mut asked = request(&["quiet", "aarch64"]);
        asked.requests.iter_mut().for_each(|request| request.trust = Trust::Untrusted);
        asked.bundle = Some(bundle());
        let benchmarks = [benchmark("fib", 60.0, &[]), benchmark("sort", 60.0, &[])];
        let jobs = plan(&asked, &benchmarks, &[host("a", "x86_64", 1)], 100.0).jobs;
        assert_eq!(jobs.len(), 4);
        jobs.iter().for_each(|job| assert_eq!(job.check(&asked), Ok(())));
        let whole = plan(&asked, &benchmarks, &[], 1000.0).jobs;
        whole.iter().for_each(|job| assert_eq!(job.check(&asked), Ok(())));
        type Change = fn(&mut QueueJob, &mut QueueRequest);
        let changes: [(&str, Change, &str); 7] = [
            ("trust of the job", |job, _| job.request.trust = Trust::Trusted, "something else"),
            (
                "trust of the request",
                |job, asked| {
                    asked.requests.iter_mut().for_each(|r| r.trust = Trust::Trusted);
                    job.request.trust = Trust::Trusted;
                },
                "was changed",
            ),
            ("suite", |job, _| job.suite_digest = Digest::of(b"other"), "something else"),
            ("bundle", |job, _| job.bundle = None, "something else"),
            ("commit", |job, _| job.request.candidate = "c".repeat(40), "something else"),
            (
                "selection",
                |job, _| job.request.selection.benchmarks = vec!["scan".into()],
                "its id is not",
            ),
            (
                "class",
                |job, _| job.request.host = HostChoice::Class("loud".into()),
                "nothing of this class",
            ),
        ];
        for (what, change, why) in changes {
            let (mut job, mut asked) = (jobs[0].clone(), asked.clone());
            change(&mut job, &mut asked);
            let found = job.check(&asked).unwrap_err();
            assert!(found.contains(why), "{what}: {found}");
        }
    }

    #[test]
    fn each_class_is_planned_by_itself() {
        let hosts = [host("a", "x86_64", 1), host("b", "x86_64", 4), host("c", "aarch64", 1)];
        let benchmarks = [
            benchmark("fib", 40.0, &[("quiet", "a"), ("aarch64", "c")]),
            benchmark("sort", 40.0, &[("quiet", "b")]),
            benchmark("scan", 40.0, &[("quiet", "a")]),
            benchmark("gone", 10.0, &[("quiet", "left-long-ago")]),
        ];
        let planned = plan(&request(&["quiet", "aarch64"]), &benchmarks, &hosts, 100.0);
        let job = |class: &str, benchmarks: &str, preferred: &str| {
            (class.to_string(), benchmarks.to_string(), preferred.to_string())
        };
        assert_eq!(
            summary(&planned),
            [
                job("quiet", "gone", ""),
                job("quiet", "fib scan", "a"),
                job("quiet", "sort", "b"),
                job("aarch64", "sort scan gone", ""),
                job("aarch64", "fib", "c"),
            ]
        );
        assert_eq!(planned.notices, [""; 0]);
        let architectures: Vec<Option<&str>> =
            planned.jobs.iter().map(|job| job.needs.architecture.as_deref()).collect();
        assert_eq!(architectures, [None, None, None, Some("aarch64"), Some("aarch64")]);
        let ids: std::collections::BTreeSet<_> = planned.jobs.iter().map(|job| &job.id).collect();
        assert_eq!(ids.len(), 5);
    }

    #[test]
    fn a_suite_too_long_for_one_sitting_is_split() {
        let hosts = [host("a", "x86_64", 1)];
        for (seconds, expected) in [
            ([0.0, 0.0, 0.0], &[""][..]),
            ([30.0, 30.0, 30.0], &[""]),
            ([60.0, 30.0, 30.0], &["one two", "three"]),
            ([300.0, 30.0, 30.0], &["one", "two three"]),
        ] {
            let names = ["one", "two", "three"];
            let benchmarks: Vec<BenchmarkEstimate> =
                names.iter().zip(seconds).map(|(name, s)| benchmark(name, s, &[])).collect();
            let planned = plan(&request(&["quiet"]), &benchmarks, &hosts, 100.0);
            let parts: Vec<String> = summary(&planned).into_iter().map(|job| job.1).collect();
            assert_eq!(parts, expected, "{seconds:?}");
        }
    }

    #[test]
    fn what_no_host_can_measure_is_said() {
        let threads = BenchmarkEstimate { threads: 8, ..benchmark("wide", 1.0, &[]) };
        let hosts = [host("a", "x86_64", 4)];
        for (class, notice) in [
            (
                "quiet",
                "no host of the class quiet has 8 benchmark cores (the most is 4): a job waits for one",
            ),
            ("arm", "no host of the class arm was seen: its jobs wait for one"),
        ] {
            let planned = plan(&request(&[class]), std::slice::from_ref(&threads), &hosts, 100.0);
            assert_eq!((planned.jobs.len(), &planned.notices[..]), (1, &[notice.to_string()][..]));
        }
    }
}
