//! What measuring one case may cost, in rounds and in time.

use serde::{Deserialize, Serialize};

/// The largest number of rounds a request may ask for.
pub const ROUNDS_MAX: u32 = 1000;

/// What one case may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Rounds that every case gets, whatever they show; at least 1.
    pub rounds_min: u32,
    /// Rounds after which a case is closed.
    pub rounds_max: u32,
    /// Seconds inside measured processes after which a case is closed, once it has its least
    /// rounds.
    pub seconds: u64,
}

impl Budget {
    /// The most seconds that a case can take inside measured processes, if one process may take
    /// `limit_s`: a warm-up and the rounds. A round that was begun is ended.
    pub fn worst_case_s(&self, limit_s: u64) -> u64 {
        let rounds = |n: u32| 2 * limit_s * u64::from(n);
        let least = rounds(self.rounds_min);
        let adaptive = rounds(self.rounds_max).min(self.seconds.saturating_add(rounds(1)));
        rounds(1) + least.max(adaptive)
    }

    /// Seconds that a case takes inside measured processes, if one of them takes `process_s`: a
    /// warm-up and the least rounds, and with as many as it may get.
    pub fn expected_s(&self, process_s: f64) -> (f64, f64) {
        let round_s = 2.0 * process_s;
        let least = f64::from(self.rounds_min);
        let paid = (self.seconds as f64 / round_s).ceil();
        let most = f64::from(self.rounds_max).min(paid).max(least);
        (round_s * (1.0 + least), round_s * (1.0 + most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn budget(rounds_min: u32, rounds_max: u32, seconds: u64) -> Budget {
        Budget { rounds_min, rounds_max, seconds }
    }

    #[test]
    fn what_a_case_may_cost() {
        // A warm-up of 20 s; then 50 s and the round that was begun, or all the least rounds.
        assert_eq!(budget(2, 30, 50).worst_case_s(10), 20 + 70);
        assert_eq!(budget(5, 30, 50).worst_case_s(10), 20 + 100);
        assert_eq!(budget(1, 2, 50).worst_case_s(10), 20 + 40);
        // 20 s a round: the least, as many as are paid, as many as there may be.
        assert_eq!(budget(2, 30, 30).expected_s(10.0), (60.0, 60.0));
        assert_eq!(budget(2, 30, 50).expected_s(10.0), (60.0, 80.0));
        assert_eq!(budget(2, 5, 5000).expected_s(10.0), (60.0, 120.0));
    }
}
