//! Request − Inventory → Plan: an ordered, bounded, printable list of jobs.

use serde::Serialize;

use crate::budget::Budget;
use crate::catalog::policy::Policy;
use crate::catalog::suite::Case;
use crate::id::{CommitId, Digest, JobId};
use crate::record::Trust;
use crate::sampling::{Target, targets};

/// What decides a job; equal inputs give the same id, so a job that is stored is not run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobInputs {
    pub suite_digest: Digest,
    pub image_id: Digest,
    pub baseline: CommitId,
    pub candidate: CommitId,
    /// Of the candidate: what an untrusted one came to is no answer for a trusted one. Left out
    /// where trusted, so that jobs from before there were classes keep their ids.
    #[serde(skip_serializing_if = "Trust::is_trusted")]
    pub trust: Trust,
    pub host: String,
    pub fingerprint: Digest,
    pub metrics: Vec<String>,
    pub budget: Budget,
    /// Of what steers the sampling of each case: the policy's δ are in it, nothing else of the
    /// policy is, so that another q does not measure anew.
    pub targets: Digest,
    /// Of the cases, where not all of the suite are asked for.
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

/// What is still to do, in order.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Plan {
    pub jobs: Vec<Job>,
    /// Jobs the store already holds.
    pub held: Vec<JobId>,
}

/// What steers each of `cases` on `host` under `policy`, and the digest of it that stands in a job's
/// inputs.
pub fn steering(
    cases: &[Case],
    host: &str,
    metrics: &[String],
    policy: &Policy,
) -> (Vec<Vec<Target>>, Digest) {
    let of = |case: &Case| targets(case, host, metrics, policy);
    let all: Vec<Vec<Target>> = cases.iter().map(of).collect();
    let steers = serde_json::to_vec(&(&all, policy.confidence)).expect("plain fields serialise");
    (all, Digest::of(&steers))
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
