//! Speed-up against threads: measured points with their intervals, the law as a line, and the
//! ideal.
//!
//! The sides are told apart by the shape of their points and the dashes of their lines, colour
//! aside; what the drawing shows stands in a table beside it too.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::{NumberWithInterval, View};
use super::{CurveView, ScalingView};
use crate::drawing::{path, place, ticks, trimmed};
use crate::words::plural;

/// The size of the drawing, in its own units.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 448.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 256.0;
/// Points of the two sides stand beside each other.
const APART: f64 = 4.0;
const POINTS_MIN: usize = 3;

#[derive(Serialize)]
pub(super) struct Curve {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    /// Place and number of threads.
    across: Vec<(String, u32)>,
    /// Place and speed-up.
    up: Vec<(String, String)>,
    ideal: String,
    sides: Vec<Side>,
    text: String,
}

#[derive(Serialize)]
struct Side {
    name: &'static str,
    /// The place of its key.
    key: f64,
    line: String,
    is_law: bool,
    points: Vec<Point>,
}

#[derive(Serialize)]
struct Point {
    x: String,
    y: String,
    low: String,
    high: String,
    text: String,
}

/// Drawings by the id of the case; none where no side has three speed-ups: two points are a table.
pub(super) fn drawings(view: &View) -> BTreeMap<&str, Curve> {
    view.scalings.iter().filter_map(|s| Some((s.id.as_str(), curve(s)?))).collect()
}

/// The scale from threads and speed-ups to places.
#[derive(Clone, Copy)]
struct Scale {
    threads_max: f64,
    speedup_max: f64,
}

impl Scale {
    fn x(self, threads: f64) -> f64 {
        // One thread stands a little off the axis, so that its points can be told apart.
        let share = (threads - 0.5) / (self.threads_max - 0.25);
        LEFT + share * (RIGHT - LEFT)
    }

    fn y(self, speedup: f64) -> f64 {
        BOTTOM - (speedup / self.speedup_max).clamp(0.0, 1.0) * (BOTTOM - TOP)
    }
}

fn speedups(curve: &CurveView) -> impl Iterator<Item = (u32, &NumberWithInterval)> {
    curve.points.iter().filter_map(|p| Some((p.threads, p.speedup.as_ref()?)))
}

fn curve(scaling: &ScalingView) -> Option<Curve> {
    let curves = [&scaling.baseline, &scaling.candidate];
    if curves.iter().all(|c| speedups(c).count() < POINTS_MIN) {
        return None;
    }
    let threads_max = curves.iter().flat_map(|c| speedups(c)).map(|(n, _)| n).max()?;
    let reached = curves.iter().flat_map(|c| {
        let law = c.law.iter().flat_map(|law| law.speedups.iter().copied());
        speedups(c).map(|(_, s)| s.high).chain(law).collect::<Vec<_>>()
    });
    let most = reached.filter(|s| s.is_finite()).fold(2.0, f64::max);
    // Room for the ideal, but not so much that the measured ones are pressed onto the axis.
    let speedup_max = (1.1 * most).min(f64::from(threads_max).max(most));
    let scale = Scale { threads_max: f64::from(threads_max), speedup_max };
    let speedup_ticks = ticks(speedup_max).into_iter().map(|s| (place(scale.y(s)), trimmed(s)));
    let ideal_end = speedup_max.min(scale.threads_max);
    let sides = curves.into_iter().zip([-APART, APART]).zip([LEFT, LEFT + 120.0]);
    Some(Curve {
        width: WIDTH,
        height: HEIGHT,
        left: LEFT,
        right: RIGHT,
        top: TOP,
        bottom: BOTTOM,
        across: across(curves, scale),
        up: speedup_ticks.collect(),
        ideal: path([1.0, ideal_end].into_iter().map(|s| (scale.x(s), scale.y(s)))),
        sides: sides.map(|((curve, apart), key)| side(curve, apart, key, scale)).collect(),
        text: text(scaling),
    })
}

/// The measured numbers of threads, without those whose labels would run into each other.
fn across(curves: [&CurveView; 2], scale: Scale) -> Vec<(String, u32)> {
    const LABEL_WIDTH: f64 = 22.0;
    let threads_measured = curves.into_iter().flat_map(speedups).map(|(threads, _)| threads);
    let mut labelled: Vec<u32> = Vec::new();
    for threads in threads_measured.collect::<std::collections::BTreeSet<_>>().into_iter().rev() {
        let x = scale.x(f64::from(threads));
        if labelled.last().is_none_or(|last| scale.x(f64::from(*last)) - x >= LABEL_WIDTH) {
            labelled.push(threads);
        }
    }
    labelled.into_iter().rev().map(|n| (place(scale.x(f64::from(n))), n)).collect()
}

fn side(curve: &CurveView, apart: f64, key: f64, scale: Scale) -> Side {
    let points = speedups(curve).map(|(threads, value)| Point {
        x: place(scale.x(f64::from(threads)) + apart),
        y: place(scale.y(value.estimate)),
        low: place(scale.y(value.low)),
        high: place(scale.y(value.high)),
        text: format!(
            "{}, {}: speed-up {} {}",
            curve.side,
            plural(threads as usize, "thread"),
            value.text,
            value.interval
        ),
    });
    let line = match &curve.law {
        Some(law) => {
            let point_of = |(index, s): (usize, &f64)| (scale.x(index as f64 + 1.0), scale.y(*s));
            path(law.speedups.iter().enumerate().map(point_of))
        }
        None => path(speedups(curve).map(|(n, s)| (scale.x(f64::from(n)), scale.y(s.estimate)))),
    };
    Side { name: curve.side, key, line, is_law: curve.law.is_some(), points: points.collect() }
}

fn text(scaling: &ScalingView) -> String {
    let side = |curve: &CurveView| {
        let threads_last = curve.points.last().map_or(1, |point| point.threads);
        let law = curve.law.as_ref().map_or("no fit".to_string(), |law| {
            format!("σ = {}, κ = {}", law.sigma.text, law.kappa.text)
        });
        let (side, last) = (curve.side, curve.last_speedup());
        format!(
            "the {side} reaches {last} with {} ({law})",
            plural(threads_last as usize, "thread")
        )
    };
    format!(
        "Speed-up of {} against threads: {}; {}. The table below has every point.",
        scaling.case,
        side(&scaling.baseline),
        side(&scaling.candidate)
    )
}
