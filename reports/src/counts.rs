//! Counts of verdicts and of failing cases.

use dyno_model::verdict::{Standing, Verdict};
use serde::Serialize;

/// Numbers of series with each verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    pub series: usize,
    pub regressed: usize,
    pub improved: usize,
    pub unchanged: usize,
    pub inconclusive: usize,
}

impl<'a> FromIterator<&'a Verdict> for Tally {
    fn from_iter<I: IntoIterator<Item = &'a Verdict>>(verdicts: I) -> Self {
        let mut tally = Self::default();
        for verdict in verdicts {
            tally.series += 1;
            *match verdict {
                Verdict::Regressed => &mut tally.regressed,
                Verdict::Improved => &mut tally.improved,
                Verdict::Unchanged => &mut tally.unchanged,
                Verdict::Inconclusive(_) => &mut tally.inconclusive,
            } += 1;
        }
        tally
    }
}

/// Numbers of cases that fail, each counted once a host. What concerns all cases is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FailingCases {
    pub newly_failing: usize,
    pub newly_passing: usize,
    pub on_both: usize,
    pub flaky: usize,
}

impl FailingCases {
    /// The number of cases with this standing.
    pub const fn count(self, standing: Standing) -> usize {
        match standing {
            Standing::NewlyFailing => self.newly_failing,
            Standing::NewlyPassing => self.newly_passing,
            Standing::FailingOnBoth => self.on_both,
            Standing::Flaky => self.flaky,
        }
    }
}

/// Everything a report counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub deciding: Tally,
    pub not_deciding: Tally,
    pub informing: Tally,
    pub failures: usize,
    pub failing: FailingCases,
    /// Verdicts on how cases scale.
    pub scalings: Tally,
}
