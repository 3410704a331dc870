//! Request − Inventory → Plan: an ordered, bounded, printable list of jobs.

use serde::Serialize;

use crate::catalog::suite::{Case, Suite};
use crate::id::{CommitId, Digest, JobId};
use crate::record::Side;
use rand::{Rng, SeedableRng};

/// What decides a job; equal inputs give the same id, so a job that is stored is not run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobInputs {
    pub suite_digest: Digest,
    pub image_id: Digest,
    pub baseline: CommitId,
    pub candidate: CommitId,
    pub host: String,
    pub fingerprint: Digest,
    pub rounds: u32,
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
}

/// What is still to do, in order.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Plan {
    pub jobs: Vec<Job>,
    /// Jobs the store already holds.
    pub held: Vec<JobId>,
}

/// The largest number of rounds a request may ask for.
pub const ROUNDS_MAX: u32 = 1000;

/// Plans a comparison: one job, unless `inventory` says it is held.
pub fn plan(suite: &Suite, inputs: JobInputs, inventory: &dyn Fn(&JobId) -> bool) -> Plan {
    let id = inputs.id();
    if inventory(&id) {
        return Plan { jobs: Vec::new(), held: vec![id] };
    }
    // The seed follows from the job, so that a job repeated by its inputs repeats its order too.
    let seed = u64::from_str_radix(&id.hex()[..16], 16).expect("an id is hexadecimal");
    Plan { jobs: vec![Job { id, inputs, seed, cases: suite.cases() }], held: Vec::new() }
}

/// One process to start: which case (index into the job's), which side, in which round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    pub case: usize,
    pub round: u32,
    pub side: Side,
}

/// The order of processes for `cases` cases and `rounds` rounds: rounds outermost, so that slow
/// drift spreads over all cases; cases in a new random order each round; within a round baseline
/// and candidate next to each other; ABBA over rounds with a random start for each case, so that
/// a linear drift within a pair cancels out over each two rounds.
pub fn turns(cases: usize, rounds: u32, seed: u64) -> Vec<Turn> {
    let mut random = rand_pcg::Pcg64::seed_from_u64(seed);
    let starts: Vec<Side> = (0..cases)
        .map(|_| if random.random_bool(0.5) { Side::Baseline } else { Side::Candidate })
        .collect();
    let mut turns = Vec::with_capacity(cases * rounds as usize * 2);
    let mut order: Vec<usize> = (0..cases).collect();
    for round in 0..rounds {
        // Fisher–Yates; written out because `rand` may change its shuffle between versions and a
        // stored seed must give the same order for ever.
        for i in (1..order.len()).rev() {
            order.swap(i, (random.random::<u64>() % (i as u64 + 1)) as usize);
        }
        for &case in &order {
            let first = if round % 2 == 0 { starts[case] } else { starts[case].other() };
            turns.push(Turn { case, round, side: first });
            turns.push(Turn { case, round, side: first.other() });
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_round_has_each_side_of_each_case_once_and_next_to_each_other(
            cases in 1usize..6, rounds in 1u32..8, seed: u64
        ) {
            let turns = turns(cases, rounds, seed);
            prop_assert_eq!(turns.len(), cases * rounds as usize * 2);
            for pair in turns.chunks(2) {
                prop_assert_eq!(pair[0].case, pair[1].case);
                prop_assert_eq!(pair[0].round, pair[1].round);
                prop_assert_eq!(pair[0].side, pair[1].side.other());
            }
            for case in 0..cases {
                let firsts: Vec<Side> =
                    turns.chunks(2).filter(|p| p[0].case == case).map(|p| p[0].side).collect();
                prop_assert_eq!(firsts.len(), rounds as usize);
                for two in firsts.windows(2) {
                    prop_assert_eq!(two[0], two[1].other(), "ABBA");
                }
            }
        }
    }

    #[test]
    fn a_seed_gives_one_order_for_ever() {
        let order: String = turns(3, 2, 7)
            .iter()
            .map(|t| format!("{}{}", t.case, if t.side == Side::Baseline { 'A' } else { 'B' }))
            .collect::<Vec<_>>()
            .join(" ");
        insta::assert_snapshot!(order);
    }
}
