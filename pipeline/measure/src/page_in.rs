//! Pages that a process had to fetch from a disk.
//!
//! After the warm-up what a program reads is in the page cache. A process that has to fetch it again
//! waits for the disk, and the kernel works for it: something pushed its pages out, and such a round
//! is disturbed, with a name of its own. Which processes fetch more than usual is asked of those
//! before them: the one of the same case and side that fetched least, the warm-up among them.
//!
//! An untrusted candidate may do it on purpose, so that all its rounds are disturbed and nothing is
//! ever sure. Its processes are therefore held against the one that fetched *most*: what it does
//! once may have come from outside, what it does again and again is its own, and counts.

use std::collections::BTreeMap;

use dyno_model::record::{Side, Trust};
use dyno_probe::Exit;

/// What a major fault fetches at least, in bytes.
const PAGE_BYTES: u64 = 4 << 10;

/// How many times as much as before is more than usual.
const FACTOR_MAX: u64 = 2;

/// What the processes of each case and side fetched so far.
pub struct PageIns {
    trust: Trust,
    /// The least and the most of one process, in bytes.
    seen: BTreeMap<(usize, Side), (u64, u64)>,
}

impl PageIns {
    /// None yet, of a candidate that is trusted so far.
    pub fn new(trust: Trust) -> Self {
        Self { trust, seen: BTreeMap::new() }
    }

    /// Takes note of a process of the case that stands at `case` in the job. Whether it had to fetch
    /// more than usual, which the first cannot.
    pub fn are_unusual(&mut self, case: usize, side: Side, exit: &Exit) -> bool {
        let fetched = exit.disk_read_bytes.max(exit.major_faults.saturating_mul(PAGE_BYTES));
        let (least, most) = self.seen.entry((case, side)).or_insert((fetched, fetched));
        let is_own_doing = side == Side::Candidate && !self.trust.is_trusted();
        let usual = if is_own_doing { *most } else { *least };
        (*least, *most) = (fetched.min(*least), fetched.max(*most));
        fetched > FACTOR_MAX * usual
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_out_is_seen_and_what_is_done_on_purpose_counts() {
        let unusual = |trust, side, fetched: &[u64]| -> Vec<bool> {
            let mut page_ins = PageIns::new(trust);
            let mut of = |disk_read_bytes| {
                let exit = Exit { disk_read_bytes, ..Exit::without_effect() };
                page_ins.are_unusual(0, side, &exit)
            };
            fetched.iter().map(|bytes| of(*bytes)).collect()
        };
        let (pushed_out, steady) = (&[9, 0, 0, 5, 0, 5], &[7, 7, 8, 7]);
        let seen = [false, false, false, true, false, true];
        for (trust, side) in [
            (Trust::Trusted, Side::Baseline),
            (Trust::Trusted, Side::Candidate),
            (Trust::Untrusted, Side::Baseline),
        ] {
            assert_eq!(unusual(trust, side, pushed_out), seen, "{trust:?} {side:?}");
            assert_eq!(unusual(trust, side, steady), [false; 4]);
        }
        // Once it may have come from outside.
        let own = |fetched| unusual(Trust::Untrusted, Side::Candidate, fetched);
        assert_eq!(own(&[0, 0, 5, 5, 5, 0, 5]), [false, false, true, false, false, false, false]);

        let mut page_ins = PageIns::new(Trust::Trusted);
        let faults = |major_faults| Exit { major_faults, ..Exit::without_effect() };
        assert!(!page_ins.are_unusual(0, Side::Baseline, &faults(0)));
        assert!(!page_ins.are_unusual(1, Side::Baseline, &faults(3)), "another case");
        assert!(page_ins.are_unusual(0, Side::Baseline, &faults(1)));
    }
}
