//! ψ′, the derivative of the digamma function, and its inverse.

/// ψ′(x) for x > 0: recurrence up to 12, then the asymptotic series (Abramowitz & Stegun 6.4.6 and
/// 6.4.12; the method of Schneider 1978, AS 121). No kept crate of this workspace has it.
pub fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 12.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    let series =
        1.0 / 6.0 - y * (1.0 / 30.0 - y * (1.0 / 42.0 - y * (1.0 / 30.0 - y * (5.0 / 66.0))));
    sum + 1.0 / x + y / 2.0 + y / x * series
}

/// x with ψ′(x) = `value`; `None` where there is none (not positive) or it is beyond 10⁷.
///
/// ψ′ falls from ∞ to 0, between 1/x and 1/x + 1/x², so the root is bracketed and halved on a
/// logarithmic scale.
pub(super) fn trigamma_inverse(value: f64) -> Option<f64> {
    if value.is_nan() || value <= 1e-7 {
        return None;
    }
    let (mut low, mut high) =
        ((1.0 / (value + 1.0)).min(1.0 / value.sqrt()) / 2.0, 2.0 + 2.0 / value);
    for _ in 0..200 {
        let middle = (low * high).sqrt();
        if trigamma(middle) > value {
            low = middle
        } else {
            high = middle
        }
        if high / low < 1.0 + 1e-14 {
            break;
        }
    }
    Some((low * high).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trigamma_is_known_and_inverts() {
        // ψ′(1) = π²/6, ψ′(1/2) = π²/2 (Abramowitz & Stegun 6.4.2, 6.4.4).
        let pi2 = std::f64::consts::PI.powi(2);
        for (x, expected) in [(1.0, pi2 / 6.0), (0.5, pi2 / 2.0), (2.0, pi2 / 6.0 - 1.0)] {
            assert!((trigamma(x) / expected - 1.0).abs() < 1e-12, "{x}");
        }
        for x in [1e-3, 0.3, 1.0, 7.5, 400.0, 9e5] {
            let inverse = trigamma_inverse(trigamma(x)).unwrap();
            assert!((inverse / x - 1.0).abs() < 1e-6, "{x}: {inverse}");
        }
        for none in [0.0, -1.0, f64::NAN] {
            assert_eq!(trigamma_inverse(none), None);
        }
    }
}
