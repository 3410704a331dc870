//! Whether a count of instructions fits the time.
//!
//! Valgrind counts inside the program's own process: a program made for it can end up with any
//! number, by writing files of counts itself, or by doing less as soon as it notices Valgrind. The
//! probe's clocks cannot be talked to. So a count is held against two times: the user time of the
//! very process that was counted, and that of the rounds. What an instruction costs differs from
//! program to program, but hardly between two versions of one; where it does by half (other access
//! to memory, other instructions), a count says little of the time either.

/// What is known of one side of a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Instructions, as counted.
    pub instructions: u64,
    /// User time of the process that was counted, in nanoseconds.
    pub counting_ns: u64,
    /// Median user time of the rounds, in nanoseconds; `None` where there was none.
    pub rounds_ns: Option<u64>,
}

/// How many times as much an instruction may cost on one side as on the other.
const FACTOR_MAX: f64 = 1.4;

/// How long Valgrind itself may take to begin, in nanoseconds: of a short program it is most of the
/// time, whatever the program does.
const BEGIN_MAX_NS: f64 = 2e9;

/// Differences of user time below this say nothing, in nanoseconds: the kernel counts it in
/// ticks of up to 10 ms.
const TICKS_NS: f64 = 20e6;

/// Why the candidate's count does not fit the time, by what the baseline's costs; `None` if it does.
pub fn misfit(baseline: Pace, candidate: Pace) -> Option<String> {
    let counts = ratio(candidate.instructions as f64, baseline.instructions as f64)?;
    let while_counted = counting_misfit(baseline, candidate, counts);
    let in_rounds = || {
        let (before, after) = (baseline.rounds_ns? as f64, candidate.rounds_ns? as f64);
        let times = ratio(after, before)?;
        let is_near = (1.0 / FACTOR_MAX..=FACTOR_MAX).contains(&(times / counts));
        let is_misfit = !is_near && is_clear(before, after, counts);
        is_misfit.then_some(("of the rounds", times))
    };
    let (what, times) = while_counted.or_else(in_rounds)?;
    Some(format!(
        "they do not fit the time: {counts:.3} times as many as the baseline's, in {times:.3} times \
         as much user time {what}"
    ))
}

/// The ratio of the times under Valgrind, where no time that it may have taken to begin explains
/// how far it is from that of the counts.
fn counting_misfit(baseline: Pace, candidate: Pace, counts: f64) -> Option<(&'static str, f64)> {
    let (before, after) = (baseline.counting_ns as f64, candidate.counting_ns as f64);
    let cost = |begin: f64| Some(ratio(after - begin, before - begin)? / counts);
    // It rises or falls with what is taken off, so that the ends bound it.
    let most = BEGIN_MAX_NS.min(0.9999 * before.min(after));
    let (first, last) = (cost(0.0)?, cost(most)?);
    let is_explained = first.min(last) <= FACTOR_MAX && first.max(last) >= 1.0 / FACTOR_MAX;
    let is_misfit = !is_explained && is_clear(before, after, counts);
    is_misfit.then_some(("while it was counted", ratio(after, before)?))
}

/// Whether times are further apart than the kernel's ticks make them.
fn is_clear(before_ns: f64, after_ns: f64, counts: f64) -> bool {
    (after_ns - before_ns * counts).abs() > TICKS_NS
}

/// The ratio of two positive numbers.
fn ratio(above: f64, below: f64) -> Option<f64> {
    (above > 0.0 && below > 0.0).then(|| above / below)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn pace(instructions: u64, counting_ns: u64, rounds_ns: u64) -> Pace {
        Pace { instructions, counting_ns, rounds_ns: Some(rounds_ns) }
    }

    #[test]
    fn what_fits_and_what_does_not() {
        // Half a second to begin, and 20 ns an instruction.
        let valgrind = |instructions: u64| S / 2 + 20 * instructions;
        let native = |instructions: u64| instructions / 5;
        let honest = |n: u64| pace(n, valgrind(n), native(n));
        let base = honest(500_000_000);
        for (what, baseline, candidate, expected) in [
            ("the same", base, base, None),
            ("half as much again", base, honest(750_000_000), None),
            ("a tenth", base, honest(50_000_000), None),
            ("short programs", honest(1_000_000), honest(3_000_000), None),
            ("short programs, faster", honest(3_000_000), honest(1_000_000), None),
            (
                "each instruction a quarter dearer",
                base,
                Pace { rounds_ns: Some(125_000_000), ..base },
                None,
            ),
            // It does half as much again and takes that off its count.
            (
                "taken off",
                base,
                Pace { instructions: base.instructions, ..honest(750_000_000) },
                Some("while it was counted"),
            ),
            // It works, and goes on as another program.
            (
                "forgotten",
                base,
                Pace { instructions: 100_000, ..honest(750_000_000) },
                Some("while it was counted"),
            ),
            // Under Valgrind it answers from a table.
            (
                "noticed",
                base,
                Pace { rounds_ns: Some(native(750_000_000)), ..honest(100_000) },
                Some("of the rounds"),
            ),
            // The same, with a count of its own making.
            (
                "made up",
                base,
                pace(base.instructions, valgrind(100_000), native(750_000_000)),
                Some("while it was counted"),
            ),
            (
                "waits for memory",
                base,
                Pace { rounds_ns: Some(360_000_000), ..base },
                Some("of the rounds"),
            ),
            ("ticks", pace(1000, 4_000_000, 0), pace(1000, 16_000_000, 0), None),
            ("no rounds", base, Pace { rounds_ns: None, ..base }, None),
            ("nothing counted", base, pace(0, S, S), None),
        ] {
            let found = misfit(baseline, candidate);
            let is_right = match expected {
                None => found.is_none(),
                Some(text) => found.as_ref().is_some_and(|why| why.ends_with(text)),
            };
            assert!(is_right, "{what}: {found:?}");
        }
    }
}
