//! What is known of the variance of a series before it is measured: that of its peers.
//!
//! A prior of two shapes, with the same mean and variance of ln σ²:
//!
//! - *inverse χ²*, as in Smyth 2004: its posterior is one again, so that a moderated variance has
//!   Student's t. By it next to no series is much quieter than its peers.
//! - *log-normal*: ln σ² is normal. Where peers differ by orders of magnitude a quiet series is
//!   believed: the wider the prior is, the nearer is the test to Student's own. Its posterior is
//!   integrated numerically, and told by the variance and the degrees of freedom whose ln σ² has the
//!   same mean and variance.
//!
//! Neither is right everywhere: on sandmark-turing the first finds more at three rounds, on a
//! noisier machine the second (docs/decisions.md). A series is tested under both.

use statrs::function::gamma::digamma;

use super::Variance;
use super::gamma::{trigamma, trigamma_inverse};

/// A prior as good as certain: d₀ where the series differ by no more than chance.
pub(super) const PRIOR_DF_MAX: f64 = 1e6;

/// The prior of the variance of a series, fitted over its peers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeerPrior {
    /// The inverse χ² shape: s₀² with d₀ degrees of freedom.
    pub inverse_chi_squared: Variance,
    /// The log-normal shape: mean and variance of ln σ².
    log_mean: f64,
    log_variance: f64,
}

impl PeerPrior {
    /// The prior whose ln σ² has this mean, and the variance ψ′(`df`/2).
    pub fn new(log_mean: f64, df: f64) -> Self {
        let value = (log_mean + digamma(df / 2.0) - (df / 2.0).ln()).exp();
        let inverse_chi_squared = Variance { value, df };
        Self { inverse_chi_squared, log_mean, log_variance: trigamma(df / 2.0) }
    }

    /// The variance that the log-normal shape and the estimate `pooled` come to, by the trapezoidal
    /// rule around the mode: the density of θ = ln σ² is smooth and log-concave, so that few steps
    /// are exact to many digits.
    pub(super) fn log_normal_posterior(&self, pooled: Variance) -> Variance {
        const STEPS: i32 = 20;
        const REACH: f64 = 9.0;
        let half = pooled.df / 2.0;
        let misfit = |theta: f64| half * pooled.value * (-theta).exp();
        let slope = |theta: f64| (self.log_mean - theta) / self.log_variance - half + misfit(theta);
        let curvature = |theta: f64| self.log_variance.recip() + misfit(theta);
        // The slope falls and is convex: from where it is positive, Newton's steps do not pass its
        // root. An estimate of zero says no more than that ln σ² is low.
        let mut mode = match pooled.value > 0.0 {
            true => self.log_mean.min(pooled.value.ln()),
            false => self.log_mean - half * self.log_variance,
        };
        for _ in 0..100 {
            let step = slope(mode) / curvature(mode);
            mode += step.clamp(-1.0, 1.0);
            if step.abs() < 1e-9 {
                break;
            }
        }
        let width = curvature(mode).sqrt().recip();
        let log_density = |theta: f64| {
            let distance = theta - self.log_mean;
            -distance * distance / (2.0 * self.log_variance) - half * theta - misfit(theta)
        };
        let top = log_density(mode);
        let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
        for step in -STEPS..=STEPS {
            let distance = f64::from(step) * width * REACH / f64::from(STEPS);
            let density = (log_density(mode + distance) - top).exp();
            sum += density;
            first += density * distance;
            second += density * distance * distance;
        }
        let (first, second) = (first / sum, second / sum);
        let half = trigamma_inverse(second - first * first).unwrap_or(PRIOR_DF_MAX / 2.0);
        Variance { value: (mode + first + digamma(half) - half.ln()).exp(), df: 2.0 * half }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_prior_leaves_an_estimate_alone_and_a_narrow_one_takes_its_place() {
        let pooled = Variance { value: 4e-6, df: 3.0 };
        let wide = PeerPrior::new(0.0, 1e-3).log_normal_posterior(pooled);
        assert!((wide.value / pooled.value - 1.0).abs() < 1e-2, "{wide:?}");
        assert!((wide.df / pooled.df - 1.0).abs() < 1e-2, "{wide:?}");
        let narrow = PeerPrior::new(4e-5f64.ln(), 1e6).log_normal_posterior(pooled);
        assert!((narrow.value / 4e-5 - 1.0).abs() < 1e-3 && narrow.df > 1e5, "{narrow:?}");
        let zero = PeerPrior::new(4e-5f64.ln(), 4.0);
        let zero = zero.log_normal_posterior(Variance { value: 0.0, df: 3.0 });
        assert!(zero.value > 0.0 && zero.value < 4e-5 && zero.df > 3.0, "{zero:?}");
    }

    /// The mean and the variance of ln σ² by Riemann's sum over a wide and fine grid.
    #[test]
    fn the_posterior_is_that_of_its_density() {
        for (df_prior, value, df) in [(1.5, 1e-6, 2.0), (4.0, 3e-4, 2.0), (0.8, 1e-2, 9.0)] {
            let log_mean = 1e-5f64.ln();
            let spread = trigamma(df_prior / 2.0);
            let density = |theta: f64| {
                let distance = theta - log_mean;
                (-distance * distance / (2.0 * spread)
                    - df / 2.0 * (theta + value * (-theta).exp() - f64::ln(value) - 1.0))
                    .exp()
            };
            let grid = (-40_000..20_000).map(|i| f64::from(i) * 1e-3);
            let sum = |f: &dyn Fn(f64) -> f64| grid.clone().map(|x| f(x) * density(x)).sum::<f64>();
            let total = sum(&|_| 1.0);
            let mean = sum(&|x| x) / total;
            let variance = sum(&|x| (x - mean).powi(2)) / total;
            let prior = PeerPrior::new(log_mean, df_prior);
            let found = prior.log_normal_posterior(Variance { value, df });
            let half = found.df / 2.0;
            assert!((trigamma(half) / variance - 1.0).abs() < 1e-3, "{found:?} {variance}");
            let found_mean = found.value.ln() - digamma(half) + half.ln();
            assert!((found_mean - mean).abs() < 1e-3, "{found:?} {mean}");
        }
    }
}
