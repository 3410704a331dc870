//! The interval of an effect as a bar.

use serde::{Deserialize, Serialize};

use crate::view::View;

/// The part of a row that its bar is drawn from.
#[derive(Deserialize)]
pub(super) struct BarRow {
    effect: Option<BarEffect>,
    delta: String,
    delta_fraction: f64,
}

#[derive(Deserialize)]
struct BarEffect {
    text: String,
    interval: String,
    fraction: f64,
    // Not finite numbers arrive as they are: minijinja has them.
    low: f64,
    high: f64,
}

/// Places on a bar 160 wide, in the same units.
#[derive(Serialize)]
pub(super) struct Bar {
    band: String,
    band_width: String,
    low: String,
    width: String,
    mid: String,
    words: String,
}

const BAR_WIDTH: f64 = 160.0;

/// One scale for all bars of a report: the effect in units of its δ, symmetric, and compressed
/// by asinh so that ±δ stays visible beside an effect a hundred times that.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    /// asinh of the largest effect drawn, in units of δ.
    reach: f64,
}

/// Stands for δ where a policy has δ = 0.
const DELTA_MIN: f64 = 1e-4;

fn compressed(fraction: f64, delta: f64) -> f64 {
    (fraction / delta.max(DELTA_MIN)).clamp(-1e6, 1e6).asinh()
}

impl Scale {
    pub(super) fn for_view(view: &View) -> Self {
        let far = view.rows().filter_map(|row| {
            let effect = row.effect.as_ref()?;
            let ends = [effect.low, effect.high].map(|e| compressed(e, row.delta_fraction).abs());
            Some(ends[0].max(ends[1]))
        });
        Self { reach: far.fold(compressed(2.0, 1.0), f64::max) * 1.05 }
    }

    fn place(self, fraction: f64, delta: f64) -> f64 {
        (compressed(fraction, delta) / self.reach).clamp(-1.0, 1.0).mul_add(0.5, 0.5) * BAR_WIDTH
    }

    pub(super) fn bar(self, row: &BarRow) -> Option<Bar> {
        let effect = row.effect.as_ref().filter(|e| e.fraction.is_finite())?;
        let delta = row.delta_fraction;
        let [band, band_end, low, high, mid] =
            [-delta, delta, effect.low, effect.high, effect.fraction].map(|f| self.place(f, delta));
        let place = |x: f64| format!("{x:.1}");
        Some(Bar {
            band: place(band),
            band_width: place(band_end - band),
            low: place(low),
            width: place((high - low).max(1.0)),
            mid: place(mid),
            words: format!("{} {}, against {}", effect.text, effect.interval, row.delta),
        })
    }
}
