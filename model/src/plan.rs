//! Request − Inventory → Plan: an ordered, bounded, printable list of jobs.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use crate::budget::Budget;
use crate::catalog::policy::Policy;
use crate::catalog::suite::Case;
use crate::id::{CommitId, Digest, JobId};
use crate::record::Trust;
use crate::sampling::{Target, targets};
use crate::text::plural;

/// What decides a job; equal inputs give the same id, so a job that is stored is not run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobInputs {
    pub suite_digest: Digest,
    pub image_id: Digest,
    pub baseline: CommitId,
    pub candidate: CommitId,
    /// Trust in the candidate: what an untrusted one came to is no answer for a trusted one. Left
    /// out where trusted, so that jobs from before there were classes keep their ids.
    #[serde(skip_serializing_if = "Trust::is_trusted")]
    pub trust: Trust,
    pub host: String,
    pub fingerprint: Digest,
    pub metrics: Vec<String>,
    pub budget: Budget,
    /// Digest of what steers the sampling of each case: the policy's δ are in it, nothing else of
    /// the policy is, so that another q does not measure anew.
    pub targets: Digest,
    /// Digest of the cases, where not all of the suite are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cases: Option<Digest>,
    /// Which repetition of the same comparison this is, from 0.
    pub repetition: u32,
}

impl JobInputs {
    /// The job's id: a hash of every input.
    pub fn id(&self) -> JobId {
        Digest::of(&serde_json::to_vec(self).expect("plain fields serialise")).into()
    }
}

/// One interleaved pair on one host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    pub id: JobId,
    pub inputs: JobInputs,
    pub seed: u64,
    pub cases: Vec<Case>,
    /// What steers each case, as `cases`.
    pub targets: Vec<Vec<Target>>,
    /// Confidence of the intervals that sampling narrows.
    pub confidence: f64,
}

/// How many times as long as a program Valgrind takes to count its instructions, as far as was seen:
/// the usual least and most. What counting took here before is better.
const COUNTING_FACTORS: (f64, f64) = (20.0, 50.0);

/// Seconds that `cores` cores usually take to count instructions, for each second of the processes
/// that are counted: the least and the most.
pub fn usual_counting_factors(cores: usize) -> (f64, f64) {
    let (least, most) = COUNTING_FACTORS;
    let cores = cores.max(1) as f64;
    (least / cores, most / cores)
}

/// The most jobs that a plan has: more is a mistake of whoever asks.
pub const JOBS_MAX: usize = 10_000;

/// What is still to do, in order. No job stands in it twice.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Plan {
    pub jobs: Vec<Job>,
    /// Jobs the store already holds.
    pub held: Vec<JobId>,
}

/// A plan of more than [`JOBS_MAX`] jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a plan has at most {JOBS_MAX} jobs")]
pub struct PlanIsFull;

impl Plan {
    /// Puts the jobs of `other` behind those that are there, without those that are there already.
    pub fn append(&mut self, other: Self) -> Result<(), PlanIsFull> {
        let known_jobs: HashSet<JobId> = self.jobs.iter().map(|job| job.id.clone()).collect();
        let new = other.jobs.into_iter().filter(|job| !known_jobs.contains(&job.id));
        let new: Vec<Job> = new.collect();
        if self.jobs.len() + new.len() > JOBS_MAX {
            return Err(PlanIsFull);
        }
        self.jobs.extend(new);
        let held: Vec<JobId> =
            other.held.into_iter().filter(|held| !self.held.contains(held)).collect();
        self.held.extend(held);
        Ok(())
    }
}

/// A line for each job that is to do, and for each that is held.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Job { id, inputs, cases, .. } in &self.jobs {
            let (baseline, candidate) = (inputs.baseline.short(), inputs.candidate.short());
            let count = plural(cases.len(), "case");
            writeln!(f, "job {id}: {baseline} → {candidate} on {}, {count}", inputs.host)?;
        }
        for held in &self.held {
            writeln!(f, "job {held}: in the store already")?;
        }
        Ok(())
    }
}

/// What steers each of `cases` on `host` under `policy`, by the metrics that are measured of it,
/// and the digest that stands in a job's inputs.
pub fn steering(
    cases: &[Case],
    host: &str,
    metrics_of: impl Fn(&Case) -> Vec<String>,
    policy: &Policy,
) -> (Vec<Vec<Target>>, Digest) {
    let by_case: Vec<Vec<Target>> =
        cases.iter().map(|case| targets(case, host, &metrics_of(case), policy)).collect();
    let steers =
        serde_json::to_vec(&(&by_case, policy.confidence)).expect("plain fields serialise");
    let digest = Digest::of(&steers);
    (by_case, digest)
}

/// Plans a comparison: one job, unless `inventory` says it is held.
pub fn plan(
    cases: Vec<Case>,
    inputs: JobInputs,
    targets: Vec<Vec<Target>>,
    confidence: f64,
    inventory: &dyn Fn(&JobId) -> bool,
) -> Plan {
    let id = inputs.id();
    if inventory(&id) {
        return Plan { jobs: Vec::new(), held: vec![id] };
    }
    // The seed follows from the job, so that a job repeated by its inputs repeats its order too.
    let seed = u64::from_str_radix(&id.hex()[..16], 16).expect("an id is hexadecimal");
    Plan { jobs: vec![Job { id, inputs, seed, cases, targets, confidence }], held: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::suite::Config;

    fn plan_of(host: &str, is_held: bool) -> Plan {
        let commit = |digit: &str| digit.repeat(40).parse().unwrap();
        let inputs = JobInputs {
            suite_digest: Digest::of(b"s"),
            image_id: Digest::of(b"i"),
            baseline: commit("a"),
            candidate: commit("b"),
            trust: Trust::Trusted,
            host: host.into(),
            fingerprint: Digest::of(b"f"),
            metrics: vec!["wall".into()],
            budget: Budget { rounds_min: 1, rounds_max: 2, seconds: 3 },
            targets: Digest::of(b"t"),
            cases: None,
            repetition: 0,
        };
        let case = Case { benchmark: "fib".into(), config: Config::default() };
        plan(vec![case], inputs, vec![vec![]], 0.95, &|_| is_held)
    }

    #[test]
    fn plans_are_put_together_in_order_and_without_repetition() {
        let mut whole = Plan::default();
        for (host, is_held) in
            [("h2", false), ("h1", false), ("h2", false), ("h3", true), ("h3", true)]
        {
            whole.append(plan_of(host, is_held)).unwrap();
        }
        let hosts: Vec<&str> = whole.jobs.iter().map(|job| job.inputs.host.as_str()).collect();
        assert_eq!((hosts, whole.held.len()), (vec!["h2", "h1"], 1));
        let text = whole.to_string();
        let first = format!("job {}: aaaaaaaaaaaa → bbbbbbbbbbbb on h2, 1 case", whole.jobs[0].id);
        assert_eq!(text.lines().next(), Some(first.as_str()));
        assert!(text.ends_with(": in the store already\n") && text.lines().count() == 3, "{text}");
        let job = whole.jobs[0].clone();
        whole.jobs = vec![job; JOBS_MAX];
        assert_eq!(whole.append(plan_of("h4", false)), Err(PlanIsFull));
        assert_eq!(whole.append(plan_of("h2", false)), Ok(()));
    }
}
