//! The columns that every table of judged pairs has.

use dyno_model::record::RunRow;
use dyno_model::verdict::Verdict;

use crate::columns::Columns;
use crate::pairs::Pair;

/// A pair with what every row of it says.
pub(crate) struct PairColumns {
    pub pair: Pair,
    pub baseline_asked: String,
    pub candidate_asked: String,
    pub finished_us: i64,
}

impl PairColumns {
    /// The columns of a pair with its runs that count, oldest first; `None` where there are none.
    pub(crate) fn new(pair: &Pair, runs: &[&RunRow]) -> Option<Self> {
        let newest = runs.last()?;
        Some(Self {
            pair: pair.clone(),
            baseline_asked: newest.baseline.asked.clone(),
            candidate_asked: newest.candidate.asked.clone(),
            finished_us: newest.finished_us,
        })
    }

    /// Adds the columns that say which pair a row is of; `pair` finds it.
    pub(crate) fn add<'a, R>(rows: &mut Columns<'a, R>, pair: impl Fn(&'a R) -> &'a Self) {
        rows.text("suite", |row| Some(&pair(row).pair.suite));
        rows.text("baseline_commit", |row| Some(pair(row).pair.baseline.to_string()));
        rows.text("candidate_commit", |row| Some(pair(row).pair.candidate.to_string()));
        rows.text("baseline_asked", |row| Some(&pair(row).baseline_asked));
        rows.text("candidate_asked", |row| Some(&pair(row).candidate_asked));
    }
}

/// Why a verdict is inconclusive; `None` for the others.
pub(crate) fn reason(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Inconclusive(reason) => Some(reason.to_string()),
        _ => None,
    }
}
