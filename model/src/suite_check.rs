//! What is to be changed about the cases of a suite, by a few processes of each (`dyno suite check`).

use serde::Serialize;

use crate::stats::median;

/// A sample below this is mostly the start of a process and what the clock makes of it.
pub const SHORT_NS: i64 = 20_000_000;

/// A sample of this length is long enough.
pub const LENGTH_NS: i64 = 100_000_000;

/// A sample above this makes a comparison of thirty rounds last for ten minutes.
const LONG_NS: i64 = 10_000_000_000;

/// The share of its limit of time that a process may take: others' machines are slower.
const LIMIT_SHARE: f64 = 0.5;

/// The spread of wall times (the middle half, over the median) above which a case needs many rounds.
const NOISY_SPREAD: f64 = 0.05;

/// What a few processes of a case came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseTrial {
    /// Name of the case, as in reports.
    pub case: String,
    /// Wall times of those that were right, in nanoseconds; the first of all is left out.
    pub wall_ns: Vec<i64>,
    /// Why others failed, in their order.
    pub failures: Vec<String>,
    /// How many ran.
    pub runs: u32,
    pub repeat: u32,
    pub time_s: u64,
}

/// What is said of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    Fine,
    /// It always fails, or is always wrong.
    Failing,
    /// It fails at times.
    Flaky,
    TooShort,
    TooLong,
    Noisy,
}

impl Finding {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Failing => "failing",
            Self::Flaky => "flaky",
            Self::TooShort => "too short",
            Self::TooLong => "too long",
            Self::Noisy => "noisy",
        }
    }

    /// Whether a comparison says nothing of such a case.
    pub const fn is_broken(self) -> bool {
        matches!(self, Self::Failing | Self::Flaky)
    }
}

/// A case, what is said of it, and what to change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckedCase {
    pub case: String,
    pub finding: Finding,
    /// Median wall time of a sample, in seconds, if there was any.
    pub wall_s: Option<f64>,
    /// The middle half of the wall times over their median.
    pub spread: Option<f64>,
    pub detail: String,
}

/// How many processes in a row take long enough together, where `repeat` of them take `wall_ns`.
pub fn repeat_for(wall_ns: i64, repeat: u32) -> u64 {
    let of_one = wall_ns.max(1) as f64 / f64::from(repeat.max(1));
    (LENGTH_NS as f64 / of_one).ceil().min(10_000.0) as u64
}

/// Says what is to be changed about a case: first what is broken, then what makes it slow or
/// doubtful to measure.
pub fn check_case(trial: &CaseTrial) -> CheckedCase {
    let mut sorted = trial.wall_ns.clone();
    sorted.sort_unstable();
    let middle = median(&mut sorted).map(|wall_ns| wall_ns as i64).filter(|wall_ns| *wall_ns > 0);
    let spread = middle.filter(|_| sorted.len() >= 3).map(|middle| {
        let quarter = |share: usize| sorted[(sorted.len() - 1) * share / 4] as f64;
        (quarter(3) - quarter(1)) / middle as f64
    });
    let (finding, detail) = finding(trial, middle, spread);
    CheckedCase {
        case: trial.case.clone(),
        finding,
        wall_s: middle.map(|wall_ns| wall_ns as f64 / 1e9),
        spread,
        detail,
    }
}

fn finding(trial: &CaseTrial, middle: Option<i64>, spread: Option<f64>) -> (Finding, String) {
    let failed = trial.failures.len() as u32;
    if let Some(first) = trial.failures.first() {
        return match failed < trial.runs {
            true => (Finding::Flaky, format!("failed {failed} of {} times: {first}", trial.runs)),
            false => (Finding::Failing, first.clone()),
        };
    }
    let Some(wall_ns) = middle else { return (Finding::Fine, String::new()) };
    let seconds = wall_ns as f64 / 1e9;
    if wall_ns < SHORT_NS {
        let needed = repeat_for(wall_ns, trial.repeat);
        let length = LENGTH_NS / 1_000_000;
        return (
            Finding::TooShort,
            format!("give it {length} ms: more work, or repeat = {needed}"),
        );
    }
    if seconds > LIMIT_SHARE * trial.time_s as f64 {
        let limit = trial.time_s;
        return (
            Finding::TooLong,
            format!("more than half of limits.time_s = {limit}: raise it, or give it less work"),
        );
    }
    if wall_ns > LONG_NS {
        return (
            Finding::TooLong,
            format!("30 rounds of both sides take {:.0} min: give it less work", seconds),
        );
    }
    match spread {
        Some(spread) if spread > NOISY_SPREAD => (
            Finding::Noisy,
            "its times differ: more work evens them out, a quieter host helps (dyno host doctor)"
                .into(),
        ),
        _ => (Finding::Fine, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_says_what_to_change() {
        const MS: i64 = 1_000_000;
        let even = |ms: i64| vec![ms * MS, ms * MS + 1000, ms * MS - 1000, ms * MS];
        for (wall_ns, failures, expected, detail) in [
            (even(200), 0, Finding::Fine, ""),
            (even(2), 0, Finding::TooShort, "repeat = 50"),
            (even(11_000), 0, Finding::TooLong, "30 rounds of both sides take 11 min"),
            (even(31_000), 0, Finding::TooLong, "limits.time_s = 60"),
            (vec![200 * MS, 210 * MS, 240 * MS, 260 * MS], 0, Finding::Noisy, "dyno host doctor"),
            (even(200), 1, Finding::Flaky, "failed 1 of 5 times: a wrong answer"),
            (Vec::new(), 5, Finding::Failing, "a wrong answer"),
            (Vec::new(), 0, Finding::Fine, ""),
        ] {
            let failures = vec!["a wrong answer".to_string(); failures];
            let runs = if wall_ns.is_empty() { failures.len() as u32 } else { 5 };
            let trial =
                CaseTrial { case: "x".into(), wall_ns, failures, runs, repeat: 1, time_s: 60 };
            let checked = check_case(&trial);
            assert_eq!(checked.finding, expected, "{trial:?} {checked:?}");
            assert!(checked.detail.contains(detail), "{checked:?}");
            let is_broken = matches!(expected, Finding::Failing | Finding::Flaky);
            assert_eq!(checked.finding.is_broken(), is_broken);
        }
        assert_eq!(
            [repeat_for(1_200_000, 1), repeat_for(10_000_000, 50), repeat_for(1, 1)],
            [84, 500, 10_000]
        );
    }
}
