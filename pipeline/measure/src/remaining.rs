//! How long a job still takes, by what its own processes took so far.

use std::time::Instant;

use dyno_base::event::SecondsLeft;
use dyno_model::sampling::Sampler;

/// Seconds of counting for each second of a process that is counted, from the least to the most.
pub type CountingFactors = (f64, f64);

/// What the processes of a job took so far.
pub(crate) struct Remaining {
    started: Instant,
    /// The time inside processes, in nanoseconds.
    inside_ns: u64,
    /// The warm-up of each case: how many of its processes ended, and the nanoseconds of all.
    warm_ups: Vec<(u32, u64)>,
    /// How many processes of one sample are counted for each case: one of those in a row; none where
    /// nothing is counted.
    counted_shares: Vec<f64>,
    counting_factors: CountingFactors,
}

impl Remaining {
    pub(crate) fn new(counted_shares: Vec<f64>, counting_factors: CountingFactors) -> Self {
        Self {
            started: Instant::now(),
            inside_ns: 0,
            warm_ups: vec![(0, 0); counted_shares.len()],
            counted_shares,
            counting_factors,
        }
    }

    /// A process of the warm-up of `case` ended.
    pub(crate) fn warm_up(&mut self, case: usize, ns: u64) {
        let (processes, sum_ns) = &mut self.warm_ups[case];
        (*processes, *sum_ns) = (*processes + 1, sum_ns.saturating_add(ns));
        self.inside_ns = self.inside_ns.saturating_add(ns);
    }

    /// A process of `case` failed: it gets no rounds and is not counted.
    pub(crate) fn fail(&mut self, case: usize) {
        self.counted_shares[case] = 0.0;
        self.warm_ups[case].0 = self.warm_ups[case].0.max(2);
    }

    /// A round is over, with `ns` inside its processes.
    pub(crate) fn round(&mut self, ns: u64) {
        self.inside_ns = self.inside_ns.saturating_add(ns);
    }

    /// Seconds until everything is measured and counted; `None` before the first process ended.
    pub(crate) fn left(&self, sampler: &Sampler) -> Option<SecondsLeft> {
        self.left_after(self.started.elapsed().as_nanos() as f64, sampler)
    }

    /// The same, `elapsed_ns` after the beginning: dyno's own work between processes goes on being
    /// the share of the time that it was so far.
    fn left_after(&self, elapsed_ns: f64, sampler: &Sampler) -> Option<SecondsLeft> {
        let (ended, sum_ns) = self
            .warm_ups
            .iter()
            .fold((0, 0u64), |(ended, sum_ns), one| (ended + one.0, sum_ns.saturating_add(one.1)));
        if ended == 0 || self.inside_ns == 0 {
            return None;
        }
        let mean_ns = sum_ns as f64 / f64::from(ended);
        // Both processes of a round of each case.
        let round_ns: Vec<f64> = self
            .warm_ups
            .iter()
            .map(|(ended, ns)| match ended {
                0 => 2.0 * mean_ns,
                ended => 2.0 * *ns as f64 / f64::from(*ended),
            })
            .collect();
        let warming_ns: f64 =
            self.warm_ups.iter().map(|(ended, _)| f64::from(2u32.saturating_sub(*ended))).sum();
        let warming_ns = warming_ns * mean_ns;
        let (least, most) = sampler.left_ns(&round_ns);
        let counted_ns: f64 =
            round_ns.iter().zip(&self.counted_shares).map(|(ns, share)| ns * share).sum();
        let overhead = (elapsed_ns / self.inside_ns as f64).max(1.0);
        let seconds = |ns: f64, factor: f64| {
            (((warming_ns + ns) * overhead + counted_ns * factor) / 1e9).round() as u64
        };
        let (least_factor, most_factor) = self.counting_factors;
        Some((seconds(least, least_factor), seconds(most, most_factor)))
    }
}

#[cfg(test)]
mod tests {
    use dyno_model::budget::Budget;
    use dyno_model::sampling::Target;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_is_left_follows_from_what_was_seen() {
        let budget = Budget { rounds_min: 2, rounds_max: 4, seconds: 1000 };
        let wall = Target { metric: "wall".into(), half_width: 0.01, past_states: None };
        let mut sampler = Sampler::new(vec![vec![wall]; 2], budget, 0.95, 1);
        // One process in five of the first case is counted, of the second none.
        let mut remaining = Remaining::new(vec![0.2, 0.0], (10.0, 20.0));
        assert_eq!(remaining.left_after(0.0, &sampler), None);
        // Of the first case one process is warm: all others are taken to be as long. The rest of the
        // warm-up is 3 s, a round 2 s, counting 0.4 s × 10 or × 20.
        remaining.warm_up(0, SECOND);
        let left = remaining.left_after(1e9, &sampler);
        assert_eq!(left, Some((3 + 2 * 2 * 2 + 4, 3 + 2 * 4 * 2 + 8)));
        remaining.warm_up(0, SECOND);
        remaining.warm_up(1, 3 * SECOND);
        remaining.warm_up(1, 3 * SECOND);
        // Rounds are 2 s and 6 s.
        let left = remaining.left_after(8e9, &sampler);
        assert_eq!(left, Some((2 * 8 + 4, 4 * 8 + 8)));
        // The first case takes 4 s a round now, and a tenth of the time goes by between processes.
        sampler.finish_round(0, 4 * SECOND, &[Some((1, 2))]);
        remaining.round(4 * SECOND);
        let left = remaining.left_after(13.2e9, &sampler);
        let with_overhead = |s: f64, counting_s: f64| (1.1 * s + counting_s).round() as u64;
        let expected = (with_overhead(4.0 + 12.0, 4.0), with_overhead(12.0 + 24.0, 8.0));
        assert_eq!(left, Some(expected));
        // What failed takes no more time.
        sampler.fail(0);
        remaining.fail(0);
        let left = remaining.left_after(13.2e9, &sampler);
        assert_eq!(left, Some((with_overhead(12.0, 0.0), with_overhead(24.0, 0.0))));
    }
}
