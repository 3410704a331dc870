//! Does dyno err as often as it says? An artifact compared with itself has no effect, so whatever
//! is found there is false, and must be found at its nominal rate.
//!
//! One *check* is one series of one such comparison: its p against an effect of zero is at or
//! below α with the probability α. (Against δ it would hardly ever be: that test asks for more.)
//! The rate of many checks has an interval; what is nominal must lie in it. The checks of one
//! process's metrics (wall, user …) are not independent, so the interval is somewhat too narrow.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::Digest;
use crate::metric::{self, Sampling};
use crate::stats;
use crate::verdict::{Comparison, Judged, Verdict};

/// What comparing artifacts with themselves came to on one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelfCheck {
    pub host: String,
    /// Fingerprint of the machine as it was: another kernel or engine is another host to check.
    pub fingerprint: Digest,
    /// Comparisons of an artifact with itself.
    pub comparisons: u32,
    /// Series tested in them.
    pub checks: u64,
    /// Series that could not be tested, since too few of their rounds were undisturbed.
    #[serde(default)]
    pub disturbed: u64,
    /// Checks with p ≤ α.
    pub rejected: u64,
    /// α: the share of checks that is nominally rejected.
    pub expected: f64,
    /// Interval of the share rejected ([`stats::share_interval`]).
    pub low: f64,
    pub high: f64,
    /// Comparisons in which any series was called Regressed or Improved.
    pub false_verdicts: u32,
}

/// How the rate of false positives compares with what is nominal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rate {
    /// Nothing was checked.
    Unknown,
    Nominal,
    /// More false positives than promised: do not trust this host's p.
    More,
    /// Fewer: verdicts hold, and some effects are missed that could be found.
    Less,
}

impl SelfCheck {
    pub fn rate(&self) -> Rate {
        match () {
            () if self.checks == 0 => Rate::Unknown,
            () if self.expected < self.low => Rate::More,
            () if self.expected > self.high => Rate::Less,
            () => Rate::Nominal,
        }
    }
}

/// Counts the false positives of `comparisons`, each an artifact compared with itself, at the level
/// `alpha`; the interval of their rate has `confidence`.
///
/// Metrics that are counted once are no tests. Nor is a series that is one and the same number on
/// both sides in every round: nothing could reject it, and many such would hide others that are
/// rejected too often.
pub fn selfcheck(
    host: &str,
    fingerprint: Digest,
    comparisons: &[Vec<Judged>],
    alpha: f64,
    confidence: f64,
) -> SelfCheck {
    let p: Vec<f64> =
        comparisons.iter().flatten().filter_map(|judged| p_of_zero(&judged.comparison)).collect();
    let checks = p.len() as u64;
    let is_disturbed = |j: &&Judged| j.comparison.tainted > 0 && j.comparison.estimate.is_none();
    let disturbed = comparisons.iter().flatten().filter(is_disturbed).count() as u64;
    let rejected = p.iter().filter(|p| **p <= alpha).count() as u64;
    let (low, high) = stats::share_interval(rejected, checks, confidence);
    let is_changed = |j: &Judged| matches!(j.verdict, Verdict::Regressed | Verdict::Improved);
    let false_verdicts = comparisons.iter().filter(|all| all.iter().any(is_changed)).count() as u32;
    SelfCheck {
        host: host.to_string(),
        fingerprint,
        comparisons: comparisons.len() as u32,
        checks,
        disturbed,
        rejected,
        expected: alpha,
        low,
        high,
        false_verdicts,
    }
}

/// p of a series against an effect of zero; `None` for what is no test.
fn p_of_zero(comparison: &Comparison) -> Option<f64> {
    let sampled =
        metric::find(&comparison.key.metric).is_some_and(|m| m.sampling == Sampling::Rounds);
    let constant = match (comparison.baseline, comparison.candidate) {
        (Some(b), Some(c)) => (b.min, b.max) == (c.min, c.max) && b.min == b.max,
        _ => false,
    };
    if !sampled || constant {
        return None;
    }
    let (estimate, noise) = (comparison.estimate?, comparison.noise?);
    // The confidence only sets the width of an interval that nobody reads here.
    Some(stats::estimate(estimate.rounds, estimate.mean, noise.used, 0.0, 0.5).p)
}

/// One sentence, without its full stop.
impl fmt::Display for SelfCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comparison_text = match self.rate() {
            Rate::Unknown => {
                return match self.disturbed {
                    0 => f.write_str(
                        "nothing was checked: no metric that is sampled in rounds varied",
                    ),
                    series => write!(
                        f,
                        "nothing was checked: {series} series have too few undisturbed rounds"
                    ),
                };
            }
            Rate::Nominal => "no sign of too many false positives",
            Rate::More => "too many false positives",
            Rate::Less => "fewer false positives than expected",
        };
        let percent = |share: f64| format!("{:.1}", share * 100.0);
        let nominal = percent(self.expected);
        write!(
            f,
            "{comparison_text}: {} of {} checks ({} %, interval {} to {} %), where {} % is expected",
            self.rejected,
            self.checks,
            percent(self.rejected as f64 / self.checks as f64),
            percent(self.low),
            percent(self.high),
            nominal.strip_suffix(".0").unwrap_or(&nominal),
        )?;
        match self.false_verdicts {
            0 => write!(f, "; no change was claimed in any of {}", self.comparisons)?,
            some => write!(f, "; a change was claimed in {some} of {}", self.comparisons)?,
        }
        f.write_str(" comparisons of a commit with itself that the store has of this machine")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::policy;
    use crate::record::{Extent, Summary};
    use crate::verdict::{Input, compare, judge};

    /// A comparison of series given as (metric, d̄, s): ten rounds, medians around a million.
    fn compared(series: &[(&str, f64, f64)]) -> Vec<Judged> {
        let text = "[metric.wall]\nsmallest_effect = 0.01\ndecides = true\n";
        let policy = policy::parse("p", "p.toml", text, &[]).unwrap();
        let input = |(index, (metric, mean, sd)): (usize, &(&str, f64, f64))| {
            let spread = i64::from(*sd > 0.0);
            let extent = Extent { median: 1e6, min: 1_000_000 - spread, max: 1_000_000 + spread };
            Input {
                host: "h".into(),
                architecture: "x86_64".into(),
                summary: Summary {
                    benchmark: format!("b{index}"),
                    config: String::new(),
                    metric: metric.to_string(),
                    rounds: 10,
                    mean_log_ratio: Some(*mean),
                    variance: Some(sd * sd),
                    baseline: Some(extent),
                    candidate: Some(extent),
                    tainted: 0,
                    zeros: None,
                    disturbed: None,
                    states: None,
                },
                is_flaky: false,
                history: None,
                past_states: None,
            }
        };
        let inputs: Vec<Input> = series.iter().enumerate().map(input).collect();
        judge(compare(&inputs, &policy), &policy)
    }

    fn checked(comparisons: &[Vec<Judged>]) -> SelfCheck {
        selfcheck("h", Digest::of(b"f"), comparisons, 0.05, 0.95)
    }

    #[test]
    fn counts_false_positives_and_false_verdicts() {
        // Three standard errors from zero: rejected, but within δ and so no verdict.
        let quiet = ("wall", 0.000_095, 0.000_1);
        let still = ("wall", 0.0, 0.000_1);
        let constant = ("max-rss", 0.0, 0.0);
        let counted = ("artifact-size", 0.5, 0.0);
        let exaggerated = ("wall", 0.5, 0.000_1);
        for (what, comparisons, expected) in [
            ("nothing", vec![], (0, 0, 0, 0)),
            ("one is rejected", vec![vec![quiet, still]], (1, 2, 1, 0)),
            ("what cannot be is left out", vec![vec![still, constant]], (1, 1, 0, 0)),
            ("counted values are verdicts, not checks", vec![vec![still, counted]], (1, 1, 0, 1)),
            ("of several", vec![vec![exaggerated], vec![still], vec![still]], (3, 3, 1, 1)),
        ] {
            let comparisons: Vec<_> = comparisons.iter().map(|c| compared(c)).collect();
            let SelfCheck { comparisons, checks, rejected, false_verdicts, .. } =
                checked(&comparisons);
            assert_eq!((comparisons, checks, rejected, false_verdicts), expected, "{what}");
        }
    }

    #[test]
    fn says_whether_the_rate_is_nominal() {
        let sentence = |rejected: u64, checks: u64| {
            let (low, high) = stats::share_interval(rejected, checks, 0.95);
            let empty = checked(&[]);
            SelfCheck { comparisons: 20, checks, rejected, low, high, ..empty }.to_string()
        };
        insta::assert_snapshot!(
            [
                sentence(7, 200),
                sentence(30, 200),
                sentence(1, 200),
                sentence(0, 0),
                SelfCheck { disturbed: 3, ..checked(&[]) }.to_string()
            ]
            .join("\n"),
            @r"
        no sign of too many false positives: 7 of 200 checks (3.5 %, interval 1.4 to 7.1 %), where 5 % is expected; no change was claimed in any of 20 comparisons of a commit with itself that the store has of this machine
        too many false positives: 30 of 200 checks (15.0 %, interval 10.4 to 20.7 %), where 5 % is expected; no change was claimed in any of 20 comparisons of a commit with itself that the store has of this machine
        fewer false positives than expected: 1 of 200 checks (0.5 %, interval 0.0 to 2.8 %), where 5 % is expected; no change was claimed in any of 20 comparisons of a commit with itself that the store has of this machine
        nothing was checked: no metric that is sampled in rounds varied
        nothing was checked: 3 series have too few undisturbed rounds
        "
        );
    }
}
