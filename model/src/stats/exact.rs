//! Tests without a distribution, as a cross-check of the t-test on few rounds.

/// Most rounds for which [`sign_flip`] goes through every assignment of signs (2¹⁵ of them).
pub const SIGN_FLIP_MAX: usize = 15;

/// p of |effect| ≤ δ (`delta`, log scale) by flipping signs, exactly: if baseline and candidate
/// differ by chance alone, each round's d − δ is as likely to have the other sign (Fisher 1935,
/// "The Design of Experiments", §21). As in [`super::estimate`], the p for the side the mean lies
/// on and that for the other are added; with δ = 0 that is the two-sided p, 2/2ⁿ at best.
/// `None` for no rounds, more than [`SIGN_FLIP_MAX`], or a value that is not finite.
pub fn sign_flip(d: &[f64], delta: f64) -> Option<f64> {
    if d.is_empty() || d.len() > SIGN_FLIP_MAX || d.iter().any(|d| !d.is_finite()) {
        return None;
    }
    let sign = if d.iter().sum::<f64>() < 0.0 { -1.0 } else { 1.0 };
    let p_beyond = |shift: f64| {
        let values: Vec<f64> = d.iter().map(|d| sign * d - shift).collect();
        share_at_least(&values)
    };
    Some((p_beyond(delta) + p_beyond(-delta)).min(1.0))
}

/// The share, among all assignments of signs to `values`, of those whose sum is at least the sum as
/// it stands. Sums that differ by rounding alone are ties, and ties count.
fn share_at_least(values: &[f64]) -> f64 {
    let tolerance = 1e-12 * values.iter().map(|v| v.abs()).sum::<f64>();
    let observed: f64 = values.iter().sum();
    let assignments = 1u32 << values.len();
    let at_least = (0..assignments).filter(|signs| {
        let signed = |(i, v): (usize, &f64)| if signs >> i & 1 == 1 { -v } else { *v };
        values.iter().enumerate().map(signed).sum::<f64>() >= observed - tolerance
    });
    at_least.count() as f64 / f64::from(assignments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_cases_by_hand() {
        for (d, delta, expected) in [
            // Two of eight assignments are as extreme: all as they are, or all flipped.
            (vec![0.1, 0.2, 0.3], 0.0, Some(0.25)),
            (vec![-0.1, -0.2, -0.3], 0.0, Some(0.25)),
            // A constant difference is no more certain than its number of rounds allows.
            (vec![0.5; 10], 0.0, Some(2.0 / 1024.0)),
            // Nothing changed: everything is as extreme.
            (vec![0.0, 0.0], 0.0, Some(1.0)),
            // Beyond δ one assignment of 4 (the other tail adds its own).
            (vec![0.3, 0.3], 0.1, Some(0.5)),
            (vec![], 0.0, None),
            (vec![0.1; 16], 0.0, None),
            (vec![f64::NAN], 0.0, None),
        ] {
            assert_eq!(sign_flip(&d, delta), expected, "{d:?}");
        }
    }
}
