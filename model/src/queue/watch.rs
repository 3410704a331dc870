//! What a watched branch asks for: pure, of its commits and of what was asked before.

use crate::id::CommitId;

/// The first parents of a branch, as far as they were looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The newest commit, its first parent, the first parent of that, and so on.
    pub commits: Vec<CommitId>,
    /// Number of first-parent ancestors of the newest.
    pub depth: u32,
}

/// A comparison of a commit with one of its first-parent ancestors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub baseline: CommitId,
    pub candidate: CommitId,
    /// Number of first-parent ancestors of the candidate.
    pub depth: u32,
    /// 1 for the parent, 2 for the parent of that.
    pub distance: u32,
}

impl Chain {
    /// The number of commits that have to be known for [`Chain::steps`] of the newest `look_back`.
    pub const fn length(look_back: u32) -> u32 {
        // The farthest ancestor is a power of two, and not farther than `look_back`.
        look_back.saturating_mul(2)
    }

    /// Whether `commit`, which had `depth` first-parent ancestors, is not on the chain any more, as far
    /// as that can be seen.
    pub fn has_lost(&self, commit: &CommitId, depth: u32) -> bool {
        match self.depth.checked_sub(depth) {
            None => true,
            Some(age) => self.commits.get(age as usize).is_some_and(|found| found != commit),
        }
    }

    /// All that is ever asked for of the newest `look_back` commits, in the order in which it should
    /// be: each against its parent, newest first; then each against its 2nd, 4th, 8th … ancestor, not
    /// farther than `look_back`, newest first.
    pub fn steps(&self, look_back: u32) -> Vec<Step> {
        let reach = look_back as usize;
        let candidates = 0..reach.min(self.commits.len());
        let step = |place: usize, distance: usize| {
            Some(Step {
                baseline: self.commits.get(place + distance)?.clone(),
                candidate: self.commits[place].clone(),
                depth: self.depth.saturating_sub(place as u32),
                distance: distance as u32,
            })
        };
        let parents = candidates.clone().filter_map(|place| step(place, 1));
        let powers = || std::iter::successors(Some(2usize), |d| d.checked_mul(2));
        let ancestors = candidates.flat_map(|place| {
            powers().take_while(|d| *d <= reach).filter_map(move |distance| step(place, distance))
        });
        parents.chain(ancestors).collect()
    }
}

/// What of `steps` is to be asked for now, in their order: every parent that was not asked for, and
/// of older ancestors as many as there are `free` places beside those.
pub fn due(steps: &[Step], is_asked: impl Fn(&Step) -> bool, free: usize) -> Vec<&Step> {
    let (parents, ancestors): (Vec<&Step>, Vec<&Step>) =
        steps.iter().filter(|step| !is_asked(step)).partition(|step| step.distance == 1);
    let left = free.saturating_sub(parents.len());
    parents.into_iter().chain(ancestors.into_iter().take(left)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn chain(length: u32, depth: u32) -> Chain {
        let commit = |age: u32| format!("{:040x}", 10_000 - age).parse().unwrap();
        Chain { commits: (0..length).map(commit).collect(), depth }
    }

    /// Age of the candidate, and distance.
    fn places(steps: &[&Step], chain: &Chain) -> Vec<(usize, u32)> {
        let age = |commit: &CommitId| chain.commits.iter().position(|c| c == commit).unwrap();
        let place = |step: &&Step| {
            assert_eq!(age(&step.baseline) - age(&step.candidate), step.distance as usize);
            (age(&step.candidate), step.distance)
        };
        steps.iter().map(place).collect()
    }

    #[test]
    fn parents_newest_first_then_ancestors_as_there_is_room() {
        let chain = chain(6, 5);
        let steps = chain.steps(4);
        let all = [(0, 1), (1, 1), (2, 1), (3, 1), (0, 2), (0, 4), (1, 2), (1, 4), (2, 2), (3, 2)];
        assert_eq!(places(&steps.iter().collect::<Vec<_>>(), &chain), all);
        let depths: Vec<u32> = steps.iter().take(5).map(|step| step.depth).collect();
        assert_eq!(depths, [5, 4, 3, 2, 5]);
        for (asked, free, expected) in [
            (&[][..], 0, &all[..4]),
            (&[], 4, &all[..4]),
            (&[], 6, &all[..6]),
            (&[(1, 1)], 4, &[(0, 1), (2, 1), (3, 1), (0, 2)]),
            // A gap is filled, and what is new comes before it.
            (&[(1, 1), (2, 1)], 0, &[(0, 1), (3, 1)]),
            (&all[..5], 2, &[(0, 4), (1, 2)]),
            (&all, 9, &[]),
        ] {
            let asked: Vec<&Step> =
                steps.iter().filter(|step| asked.contains(&places(&[step], &chain)[0])).collect();
            let due = due(&steps, |step| asked.contains(&step), free);
            assert_eq!(places(&due, &chain), expected, "{asked:?} {free}");
        }
    }

    #[test]
    fn a_branch_of_one_commit_has_nothing_to_compare() {
        for length in [0, 1] {
            assert_eq!(chain(length, 0).steps(32), []);
        }
        assert_eq!(chain(2, 1).steps(32).len(), 1);
    }

    #[test]
    fn a_rewritten_branch_is_seen() {
        let before = chain(6, 9);
        for (commits, depth, is_lost) in [
            // The same, newer ones before it, so many that it is out of sight.
            (before.commits.clone(), 9, false),
            (chain(7, 9).commits[1..].iter().rev().cloned().collect(), 9, true),
            (before.commits[1..].to_vec(), 8, true),
            (chain(1, 0).commits, 500, false),
        ] {
            let now = Chain { commits, depth };
            assert_eq!(now.has_lost(&before.commits[0], 9), is_lost, "{now:?}");
        }
        let newer: Vec<CommitId> =
            [vec!["f".repeat(40).parse().unwrap()], before.commits.clone()].concat();
        let now = |depth| Chain { commits: newer.clone(), depth };
        assert!(!now(10).has_lost(&before.commits[0], 9));
        assert!(now(11).has_lost(&before.commits[0], 9));
    }

    proptest! {
        /// However commits come and places are free: nothing is asked twice, no ancestor before every
        /// parent, never more ancestors than places; in the end everything within reach was asked.
        #[test]
        fn in_the_end_all_is_asked_once(
            arrivals in prop::collection::vec((0u32..5, 0usize..4), 1..12),
            look_back in 1u32..12,
        ) {
            let mut asked: BTreeSet<(CommitId, CommitId)> = BTreeSet::new();
            let mut total = 1;
            let key = |step: &Step| (step.baseline.clone(), step.candidate.clone());
            let drained = std::iter::repeat_n((0, 3), 60);
            for (new, free) in arrivals.into_iter().chain(drained) {
                total += new;
                // The same commits as before, and newer ones.
                let commit = |n: u32| format!("{n:040x}").parse().unwrap();
                let all = (1..=total).rev().map(commit);
                let commits: Vec<CommitId> = all.take(Chain::length(look_back) as usize).collect();
                let steps = Chain { commits, depth: total - 1 }.steps(look_back);
                let due = due(&steps, |step| asked.contains(&key(step)), free);
                let (parents, ancestors): (Vec<&Step>, Vec<&Step>) =
                    due.iter().copied().partition(|step| step.distance == 1);
                prop_assert!(ancestors.is_empty() || parents.len() + ancestors.len() <= free);
                prop_assert!(due[..parents.len()] == parents[..], "a parent comes late");
                prop_assert!(parents.is_sorted_by_key(|step| u32::MAX - step.depth));
                for step in &due {
                    prop_assert!(step.distance.is_power_of_two() && step.distance <= look_back);
                    prop_assert!(asked.insert(key(step)), "asked twice: {step:?}");
                }
                let is_left = |step: &&Step| !asked.contains(&key(step));
                prop_assert!(steps.iter().filter(is_left).all(|step| step.distance > 1));
            }
            let newest: Vec<CommitId> =
                (1..=total).rev().map(|n| format!("{n:040x}").parse().unwrap()).collect();
            for step in (Chain { commits: newest, depth: total - 1 }).steps(look_back) {
                prop_assert!(asked.contains(&key(&step)), "never asked: {step:?}");
            }
        }
    }
}
