//! Notices of how long samples are: what is too short to measure, and what is a sum.

use dyno_model::catalog::suite::Case;
use dyno_model::record::Side;
use dyno_model::stats::median;
use dyno_model::suite_check::{LENGTH_NS, SHORT_NS, repeat_for};

use crate::Measured;
use crate::prepared_case::PreparedCase;

/// How many cases a notice names.
const NAMED_MAX: usize = 4;

/// What a reader should know of the lengths of what was measured, once for all cases.
pub(crate) fn notices(prepared: &[PreparedCase<'_>], measured: &Measured) -> Vec<String> {
    let programs = || prepared.iter().filter(|prepared_case| prepared_case.is_program());
    let mut short: Vec<(&Case, i64, u32)> = Vec::new();
    for prepared_case in programs() {
        let (case, repeat) = (prepared_case.case, prepared_case.spawn.repeat);
        let wall_ns = median(&mut measured.wall_ns(prepared_case)).map(|wall_ns| wall_ns as i64);
        let Some(wall_ns) = wall_ns else { continue };
        match short.last_mut() {
            Some((last, shorter_ns, _)) if *last == case => {
                *shorter_ns = wall_ns.min(*shorter_ns);
            }
            _ => short.push((case, wall_ns, repeat)),
        }
    }
    short.retain(|(_, wall_ns, _)| (1..SHORT_NS).contains(wall_ns));
    short.sort_by_key(|(_, wall_ns, _)| *wall_ns);
    let first_side = programs().next().map_or(Side::Baseline, |prepared_case| prepared_case.side);
    let sums: Vec<String> = programs()
        .filter(|p| p.side == first_side && p.spawn.repeat > 1 && p.worked > 0)
        .map(|p| format!("{} (repeat = {})", p.case, p.spawn.repeat))
        .collect();
    let sums = (!sums.is_empty()).then(|| {
        format!(
            "each sample is the sum of several processes in a row, max-rss their largest: {}",
            named(&sums)
        )
    });
    short_notice(&short).into_iter().chain(sums).collect()
}

fn short_notice(short: &[(&Case, i64, u32)]) -> Option<String> {
    let phrase = |(case, wall_ns, repeat): &(&Case, i64, u32)| {
        let needed = repeat_for(*wall_ns, *repeat);
        format!("{case} ({:.1} ms; repeat = {needed})", *wall_ns as f64 / 1e6)
    };
    let phrases: Vec<String> = short.iter().map(phrase).collect();
    let noun = if short.len() == 1 { "case takes" } else { "cases take" };
    (!short.is_empty()).then(|| {
        format!(
            "{} {noun} less than {} ms a sample, much of which is starting a process: give them {} ms, by more work, or by `repeat` in their [[benchmark]], which starts them several times in a row: {}",
            short.len(),
            SHORT_NS / 1_000_000,
            LENGTH_NS / 1_000_000,
            named(&phrases),
        )
    })
}

fn named(phrases: &[String]) -> String {
    let shown = phrases[..phrases.len().min(NAMED_MAX)].join(", ");
    match phrases.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use dyno_model::catalog::suite::Config;

    use super::*;

    #[test]
    fn what_is_short_is_said_once_with_what_would_do() {
        let cases: Vec<Case> = (0..6)
            .map(|n| Case { benchmark: format!("b{n}"), config: Config::default() })
            .collect();
        let short: Vec<_> = cases.iter().map(|case| (case, 1_200_000, 1)).collect();
        let notice = short_notice(&short).unwrap();
        assert!(notice.starts_with("6 cases take less than 20 ms a sample"), "{notice}");
        assert!(notice.ends_with("b3 (1.2 ms; repeat = 84) and 2 more"), "{notice}");
        let one = short_notice(&[(&cases[0], 10_000_000, 50)]).unwrap();
        assert!(one.starts_with("1 case takes") && one.ends_with("b0 (10.0 ms; repeat = 500)"));
        assert_eq!(short_notice(&[]), None);
    }
}
