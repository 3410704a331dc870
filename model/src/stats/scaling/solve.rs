//! Least squares on ln T for two parameters in a box.
//!
//! T₁ is a shift of ln T, so it is profiled out and σ and κ are left. For two parameters no crate
//! is worth its weight: `levenberg-marquardt` knows no bounds, those that do bring a linear-algebra
//! library for 2×2 matrices.

use super::Point;

/// Lowest and highest σ and κ; equal where one is fixed.
pub(super) type Bounds = [(f64, f64); 2];

pub(super) const NO_BOUNDS: Bounds = [(f64::NEG_INFINITY, f64::INFINITY); 2];

/// D(N), from (σ, κ).
pub(super) fn inflation([sigma, kappa]: [f64; 2], threads: u32) -> f64 {
    let n = f64::from(threads);
    1.0 + (sigma + kappa * n) * (n - 1.0)
}

/// The derivative of ln D(N) by σ and κ.
pub(super) fn gradient(theta: [f64; 2], threads: u32) -> [f64; 2] {
    let n = f64::from(threads);
    let d = inflation(theta, threads);
    [(n - 1.0) / d, n * (n - 1.0) / d]
}

/// A law at some (σ, κ) beside the times: residuals and Jacobian, both after the best T₁.
pub(super) struct Linearisation {
    pub(super) theta: [f64; 2],
    pub(super) ln_one_thread: f64,
    pub(super) residuals: Vec<f64>,
    /// ∂ ln T(N) / ∂(σ, κ), less their weighted mean.
    pub(super) jacobian: Vec<[f64; 2]>,
    /// Σ w r².
    pub(super) squares: f64,
}

pub(super) fn weight(point: &Point) -> f64 {
    f64::from(point.rounds)
}

fn weighted_mean(points: &[Point], values: impl Iterator<Item = f64>) -> f64 {
    let sum: f64 = points.iter().zip(values).map(|(p, value)| weight(p) * value).sum();
    sum / points.iter().map(weight).sum::<f64>()
}

impl Linearisation {
    /// `None` where D(N) is not positive at a measured N, which only bounds exclude.
    fn new(points: &[Point], theta: [f64; 2]) -> Option<Self> {
        let d: Vec<f64> = points.iter().map(|p| inflation(theta, p.threads)).collect();
        if d.iter().any(|d| d.is_nan() || *d <= 0.0 || *d == f64::INFINITY) {
            return None;
        }
        let law = |(p, d): (&Point, &f64)| p.mean - d.ln() + f64::from(p.threads).ln();
        let mut residuals: Vec<f64> = points.iter().zip(&d).map(law).collect();
        let ln_one_thread = weighted_mean(points, residuals.iter().copied());
        residuals.iter_mut().for_each(|r| *r -= ln_one_thread);
        let mut jacobian: Vec<[f64; 2]> =
            points.iter().map(|p| gradient(theta, p.threads)).collect();
        for i in [0, 1] {
            let mean = weighted_mean(points, jacobian.iter().map(|j| j[i]));
            jacobian.iter_mut().for_each(|j| j[i] -= mean);
        }
        let squares = points.iter().zip(&residuals).map(|(p, r)| weight(p) * r * r).sum();
        Some(Self { theta, ln_one_thread, residuals, jacobian, squares })
    }

    /// JᵀWJ and JᵀWr.
    pub(super) fn normal_equations(&self, points: &[Point]) -> ([[f64; 2]; 2], [f64; 2]) {
        let (mut h, mut g) = ([[0.0; 2]; 2], [0.0; 2]);
        for ((point, j), r) in points.iter().zip(&self.jacobian).zip(&self.residuals) {
            for a in [0, 1] {
                g[a] += weight(point) * j[a] * r;
                for b in [0, 1] {
                    h[a][b] += weight(point) * j[a] * j[b];
                }
            }
        }
        (h, g)
    }

    /// Which parameters are strictly inside their bounds.
    pub(super) fn free(&self, bounds: Bounds) -> [bool; 2] {
        [0, 1].map(|i: usize| bounds[i].0 < self.theta[i] && self.theta[i] < bounds[i].1)
    }
}

/// M⁻¹ over the parameters that are `free`; zero elsewhere, or where M is singular.
pub(super) fn inverse(m: [[f64; 2]; 2], free: [bool; 2]) -> [[f64; 2]; 2] {
    let inverse = |x: f64| if x > 0.0 { 1.0 / x } else { 0.0 };
    match free {
        [true, true] => {
            let det = m[0][0] * m[1][1] - m[0][1] * m[1][0];
            if det <= f64::EPSILON * m[0][0] * m[1][1] {
                return [[0.0; 2]; 2];
            }
            [[m[1][1] / det, -m[0][1] / det], [-m[1][0] / det, m[0][0] / det]]
        }
        [true, false] => [[inverse(m[0][0]), 0.0], [0.0, 0.0]],
        [false, true] => [[0.0, 0.0], [0.0, inverse(m[1][1])]],
        [false, false] => [[0.0; 2]; 2],
    }
}

pub(super) fn multiply(m: [[f64; 2]; 2], v: [f64; 2]) -> [f64; 2] {
    [0, 1].map(|i: usize| m[i][0] * v[0] + m[i][1] * v[1])
}

/// Least squares within bounds: Levenberg–Marquardt (Marquardt 1963, J. SIAM 11(2)) with its steps
/// projected onto the box, and a parameter on its bound held there while the slope points outwards
/// (Kelley 1999, *Iterative Methods for Optimization*, ch. 5). `start` must lie within.
pub(super) fn solve(points: &[Point], bounds: Bounds, start: [f64; 2]) -> Option<Linearisation> {
    const STEPS_MAX: u32 = 500;
    /// A step that moves ln T by less is none.
    const STEP_MIN: f64 = 1e-14;
    let weights: f64 = points.iter().map(weight).sum();
    let mut current = Linearisation::new(points, start)?;
    let mut damping = 1e-3;
    for _ in 0..STEPS_MAX {
        let (mut h, g) = current.normal_equations(points);
        let free = [0, 1].map(|i: usize| {
            let (low, high) = bounds[i];
            !(current.theta[i] <= low && g[i] <= 0.0 || current.theta[i] >= high && g[i] >= 0.0)
        });
        let scale = [h[0][0], h[1][1]];
        (0..2).for_each(|i| h[i][i] *= 1.0 + damping);
        let step = multiply(inverse(h, free), g);
        let theta =
            [0, 1].map(|i: usize| (current.theta[i] + step[i]).clamp(bounds[i].0, bounds[i].1));
        let shifts =
            (0..2).map(|i| (theta[i] - current.theta[i]).abs() * (scale[i] / weights).sqrt());
        if shifts.fold(0.0, f64::max) < STEP_MIN {
            break;
        }
        match Linearisation::new(points, theta).filter(|next| next.squares <= current.squares) {
            Some(next) => (current, damping) = (next, damping / 10.0),
            None => damping *= 10.0,
        }
    }
    Some(current)
}

/// Amdahl's σ by the last time alone.
pub(super) fn initial_theta(points: &[Point]) -> [f64; 2] {
    let (first, last) = (&points[0], &points[points.len() - 1]);
    let n = f64::from(last.threads);
    let d = (last.mean - first.mean).exp() * n;
    [((d - 1.0) / (n - 1.0)).clamp(0.0, 1.0), 0.0]
}
