//! Which job a host takes: pure, of names and of what was observed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{HostOffer, JobName, class_word};
use crate::id::QueueJobId;
use crate::record::SCHEMA_VERSION;
use crate::request::HostChoice;

/// The number of jobs that a host takes of which one is the oldest it may take, whatever its priority
/// and depth: so that what is always overtaken is begun too.
const OLDEST_EVERY: u64 = 8;

impl HostOffer {
    /// Whether it is of `class`: by its name, a label, or its architecture.
    pub fn is_of(&self, class: &HostChoice) -> bool {
        match class {
            HostChoice::Name(name) => *name == self.name,
            HostChoice::Class(class) => self.labels.contains(class) || *class == self.architecture,
        }
    }

    /// Why it may not take the job with this dyno; `None` where it may.
    pub fn refusal(&self, job: &JobName) -> Option<String> {
        self.refusal_with(job, SCHEMA_VERSION)
    }

    /// Why it may not take the job with a dyno that knows the stored layouts up to `schema`.
    pub fn refusal_with(&self, job: &JobName, schema: u32) -> Option<String> {
        let needs = &job.needs;
        if !self.is_of(&job.class) {
            return Some(format!("it is for {}", class_word(&job.class)));
        }
        if let Some(architecture) = needs.architecture.as_ref().filter(|a| **a != self.architecture)
        {
            return Some(format!("it needs {architecture}"));
        }
        if needs.cores > self.cores {
            return Some(format!("it needs {} benchmark cores", needs.cores));
        }
        if needs.schema > schema {
            let needed = needs.schema;
            return Some(format!(
                "a newer dyno planned it (layout {needed}, this one has {schema})"
            ));
        }
        None
    }
}

/// What an object was when it was first seen like this, by the observer's own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The version that the store gave.
    pub version: String,
    pub since: Duration,
}

/// What a host needs to know to choose.
#[derive(Debug)]
pub struct Chooser<'a> {
    pub offer: &'a HostOffer,
    /// The jobs that somebody has claimed.
    pub claimed: &'a BTreeSet<QueueJobId>,
    /// The hosts that were seen to answer lately.
    pub answering: &'a BTreeSet<String>,
    /// How many jobs this host has taken.
    pub taken: u64,
}

impl<'a> Chooser<'a> {
    /// The host that is to have the job first, where that is another and it answers.
    pub fn host_before<'j>(&self, job: &'j JobName) -> Option<&'j str> {
        let preferred = job.preferred.as_deref()?;
        let is_other = preferred != self.offer.name && self.answering.contains(preferred);
        is_other.then_some(preferred)
    }

    /// The jobs that the host may take, in the order in which it should try, without those that are
    /// claimed; and the claimed ones in the same order, also of those that another is to have first:
    /// it may have failed at them, which their claims say.
    pub fn order(&self, jobs: &'a [JobName]) -> (Vec<&'a JobName>, Vec<&'a JobName>) {
        let is_for_us = |job: &&JobName| self.offer.refusal(job).is_none();
        let mut ours: Vec<&JobName> = jobs.iter().filter(is_for_us).collect();
        let by_order = |job: &&JobName| (job.order.key(), job.id.clone());
        ours.sort_by_cached_key(by_order);
        let (claimed, mut free): (Vec<_>, Vec<_>) =
            ours.into_iter().partition(|job| self.claimed.contains(&job.id));
        free.retain(|job| self.host_before(job).is_none());
        if self.taken % OLDEST_EVERY == OLDEST_EVERY - 1 {
            let age = |(_, job): &(usize, &&JobName)| (job.order.asked_us, job.id.clone());
            if let Some((oldest, _)) = free.iter().enumerate().min_by_key(age) {
                free[..=oldest].rotate_right(1);
            }
        }
        (free, claimed)
    }
}

/// Brings `observed` up to what was listed at `now`: what changed, or is new, is seen since now.
pub fn observe<K: Ord + Clone>(
    observed: &mut BTreeMap<K, Observation>,
    listed: BTreeMap<K, String>,
    now: Duration,
) {
    observed.retain(|key, _| listed.contains_key(key));
    for (key, version) in listed {
        let is_same = observed.get(&key).is_some_and(|seen| seen.version == version);
        if !is_same {
            observed.insert(key, Observation { version, since: now });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Needs, Order};
    use super::*;

    fn job(n: u8, order: (u8, u32, i64)) -> JobName {
        JobName {
            id: format!("{n:032x}").parse().unwrap(),
            order: Order { priority: order.0, depth: order.1, asked_us: order.2 },
            class: HostChoice::Class("quiet".into()),
            needs: Needs::LEAST,
            preferred: None,
        }
    }

    fn offer() -> HostOffer {
        HostOffer {
            name: "bench".into(),
            architecture: "x86_64".into(),
            cores: 2,
            labels: vec!["quiet".into()],
        }
    }

    fn tried(jobs: &[JobName], claimed: &[u8], answering: &[&str], taken: u64) -> Vec<u8> {
        let id = |n: &u8| format!("{n:032x}").parse().unwrap();
        let chooser = Chooser {
            offer: &offer(),
            claimed: &claimed.iter().map(id).collect(),
            answering: &answering.iter().map(ToString::to_string).collect(),
            taken,
        };
        let (free, _) = chooser.order(jobs);
        free.iter().map(|job| u8::from_str_radix(job.id.hex(), 16).unwrap()).collect()
    }

    #[test]
    fn priority_then_depth_then_age_and_each_eighth_the_oldest() {
        let jobs = [
            job(1, (5, 10, 300)),
            job(2, (9, 1, 400)),
            job(3, (5, 9, 100)),
            job(4, (5, 10, 200)),
            job(5, (0, 10, 50)),
        ];
        assert_eq!(tried(&jobs, &[], &[], 0), [2, 4, 1, 3, 5]);
        assert_eq!(tried(&jobs, &[2, 4], &[], 0), [1, 3, 5]);
        assert_eq!(tried(&jobs, &[], &[], 7), [5, 2, 4, 1, 3]);
    }

    #[test]
    fn what_a_host_leaves_to_others() {
        let needs = |needs: Needs| JobName { needs, ..job(1, (5, 0, 0)) };
        let other = |class: HostChoice| JobName { class, ..job(1, (5, 0, 0)) };
        let preferred = |host: &str| JobName { preferred: Some(host.into()), ..job(1, (5, 0, 0)) };
        for (what, job, is_taken) in [
            ("its label", job(1, (5, 0, 0)), true),
            ("its name", other(HostChoice::Name("bench".into())), true),
            ("its architecture", other(HostChoice::Class("x86_64".into())), true),
            ("another label", other(HostChoice::Class("bench".into())), false),
            ("another name", other(HostChoice::Name("quiet".into())), false),
            ("two cores", needs(Needs { cores: 2, ..Needs::LEAST }), true),
            ("three cores", needs(Needs { cores: 3, ..Needs::LEAST }), false),
            ("arm", needs(Needs { architecture: Some("aarch64".into()), ..Needs::LEAST }), false),
            ("newer", needs(Needs { schema: SCHEMA_VERSION + 1, ..Needs::LEAST }), false),
            ("its history", preferred("bench"), true),
            ("history of one that answers", preferred("near"), false),
            ("history of one that does not", preferred("gone"), true),
        ] {
            assert_eq!(tried(&[job], &[], &["near"], 0).len() == 1, is_taken, "{what}");
        }
    }

    #[test]
    fn what_does_not_change_is_seen_since_it_last_did() {
        let mut observed = BTreeMap::new();
        let listed = |pairs: &[(u8, &str)]| {
            pairs.iter().map(|(key, version)| (*key, (*version).to_string())).collect()
        };
        observe(&mut observed, listed(&[(1, "a"), (2, "a")]), Duration::from_secs(1));
        observe(&mut observed, listed(&[(1, "a"), (2, "b"), (3, "a")]), Duration::from_secs(5));
        observe(&mut observed, listed(&[(1, "a"), (2, "b")]), Duration::from_secs(9));
        let since = |key: u8| observed.get(&key).map(|seen| seen.since.as_secs());
        assert_eq!([since(1), since(2), since(3)], [Some(1), Some(5), None]);
    }
}
