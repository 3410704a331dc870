//! What is asked once more where hosts contradict each other: pure, of a request and of its hosts.

use std::collections::BTreeSet;

use super::{BenchmarkEstimate, QueueJob, QueueRequest, plan};
use crate::request::{HostChoice, Request};

/// The follow-ups of `request` for the `hosts` that contradict each other: of each host what was
/// asked, measured anew, in one sitting. Their ids follow from what is asked, so whoever files one
/// files the same. A follow-up has none of its own: what is in dispute after it stays so.
pub fn follow_ups(request: &QueueRequest, hosts: &BTreeSet<String>) -> Vec<QueueRequest> {
    let Some(of_class) = request.requests.first().filter(|_| !request.is_follow_up) else {
        return Vec::new();
    };
    let cores = |job: &QueueJob| job.needs.cores;
    let threads = request.jobs.iter().map(cores).max().unwrap_or(1);
    let follow_up = |host: &String| {
        let host = HostChoice::Name(host.clone());
        let asked = QueueRequest {
            requests: vec![Request { host, again: true, ..of_class.clone() }],
            is_follow_up: true,
            jobs: Vec::new(),
            ..request.clone()
        };
        let whole = BenchmarkEstimate { threads, ..BenchmarkEstimate::default() };
        let jobs = plan(&asked, &[whole], &[], f64::INFINITY).jobs;
        QueueRequest { jobs, ..asked }
    };
    hosts.iter().map(follow_up).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::request;
    use super::super::{HostOffer, Needs};
    use super::*;

    fn follow_ups_of(request: &QueueRequest, hosts: &[&str]) -> Vec<QueueRequest> {
        follow_ups(request, &hosts.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_host_is_asked_once_whoever_files_it() {
        let mut asked = request(&["quiet", "x86_64"]);
        let whole = BenchmarkEstimate {
            name: "wide".into(),
            seconds: 1.0,
            threads: 4,
            history: Default::default(),
        };
        asked.jobs = plan(&asked, &[whole], &[], 1.0).jobs;
        let filed = follow_ups_of(&asked, &["one", "two"]);
        let hosts = filed.iter().map(|request| {
            let [job] = &request.jobs[..] else { panic!("one job each: {request:?}") };
            assert_eq!(job.of_request, request.id());
            assert_eq!(job.needs, Needs { cores: 4, ..Needs::LEAST });
            assert!(job.request.again && request.is_follow_up);
            assert_eq!((&job.request, job.order.priority), (&request.requests[0], 5));
            job.request.host.clone()
        });
        let named = ["one", "two"].map(|name| HostChoice::Name(name.into()));
        assert_eq!(hosts.collect::<Vec<_>>(), named);
        // Another who asked for the same of another class, at another time and more urgently.
        let mut other = request(&["x86_64"]);
        (other.asked_us, other.priority, other.requests[0].requester) = (99, 9, "bot".into());
        let ids = |filed: &[QueueRequest]| filed.iter().map(QueueRequest::id).collect::<Vec<_>>();
        assert_eq!(ids(&follow_ups_of(&other, &["one", "two"])), ids(&filed));
        // It is not what was asked first, nor what a person asks again.
        let mut by_hand = filed[0].clone();
        by_hand.is_follow_up = false;
        assert_ne!(by_hand.id(), filed[0].id());
        assert_ne!(filed[0].id(), filed[1].id());
        other.requests[0].candidate = "c".repeat(40);
        assert_ne!(follow_ups_of(&other, &["one"])[0].id(), filed[0].id());
    }

    #[test]
    fn a_follow_up_is_the_last() {
        let filed = follow_ups_of(&request(&["quiet"]), &["one", "two"]);
        assert_eq!(follow_ups_of(&filed[0], &["one", "two"]), []);
        assert_eq!(follow_ups_of(&request(&["quiet"]), &[]), []);
        // The host that is meant takes it, and no other.
        let offer = |name: &str| HostOffer {
            name: name.into(),
            architecture: "x86_64".into(),
            cores: 1,
            labels: vec!["quiet".into(), "one".into()],
        };
        let name = super::super::JobName::new(&filed[0].jobs[0]);
        assert_eq!(offer("one").refusal(&name), None);
        assert!(offer("two").refusal(&name).is_some());
    }
}
