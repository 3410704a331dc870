//! The difference of two shares seen in pairs.

use super::t_quantile;

/// The difference between the share of pairs in which the second has a property and that in which
/// the first has it, with the half-width of its interval: in `rose` of `pairs` the second alone has
/// it, in `fell` the first alone.
///
/// It is the adjusted Wald interval of Agresti & Min 2005, "Simple improved confidence intervals for
/// comparing matched proportions", Statistics in Medicine 24(5): half a pair is added to each of the
/// four kinds, so that pairs that are all alike do not prove that shares are.
pub fn paired_shares(pairs: u32, rose: u32, fell: u32, confidence: f64) -> (f64, f64) {
    let pairs = f64::from(pairs) + 2.0;
    let [rose, fell] = [rose, fell].map(|count| f64::from(count) + 0.5);
    let difference = (rose - fell) / pairs;
    let variance = ((rose + fell) / pairs - difference * difference).max(0.0) / pairs;
    (difference, t_quantile(confidence, f64::INFINITY) * variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_by_hand() {
        for (pairs, rose, fell, difference, half_width) in [
            (5, 0, 0, 0.0, 1.959_964 / 7.0),
            (86, 16, 4, 12.0 / 88.0, 1.959_964 * 0.050_005),
            (86, 4, 16, -12.0 / 88.0, 1.959_964 * 0.050_005),
        ] {
            let (d, h) = paired_shares(pairs, rose, fell, 0.95);
            assert!((d - difference).abs() < 1e-6 && (h - half_width).abs() < 1e-5, "{d} ± {h}");
        }
    }
}
