//! A build over time: its units as bars, packed into as few lanes as hold them apart, and below
//! them how many cores they kept busy.
//!
//! The parts of a unit are told apart by their filling (plain, thin stripes, thick stripes), and
//! the critical path by its outline and the lines from step to step. Stripes are a dashed line as
//! thick as the bar: a pattern would be an address inside the page, of which it has none.

use std::collections::BTreeMap;

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::super::View;
use super::{BuildView, UnitView};
use crate::drawing::{place, ticks, trimmed};
use crate::escape;

const LEFT: f64 = 40.0;
const TOP: f64 = 8.0;
const USE_HEIGHT: f64 = 64.0;
/// The labels of the time axis, between units and cores.
const AXIS_HEIGHT: f64 = 34.0;
const WIDTH_MIN: f64 = 1160.0;
const WIDTH_MAX: f64 = 2400.0;
/// A bar gets about so much on average, if the widest drawing lets it.
const BAR_WIDTH: f64 = 24.0;
/// Width of a character of a label: 11 px of a sans-serif.
const CHAR_WIDTH: f64 = 6.2;
const LABEL_PAD: f64 = 4.0;

#[derive(Serialize)]
pub(super) struct Timeline {
    width: String,
    height: String,
    left: f64,
    right: String,
    units_top: f64,
    units_bottom: String,
    bars: Vec<Bar>,
    /// Lines from step to step of the critical path.
    links: Vec<String>,
    /// Place and time.
    ticks: Vec<(String, String)>,
    use_top: String,
    use_bottom: String,
    cores: String,
    text: String,
}

#[derive(Serialize)]
struct Bar {
    x: String,
    y: String,
    width: String,
    height: String,
    middle: String,
    is_on_path: bool,
    parts: Vec<Part>,
    text: String,
    /// The place of the label, and the name where there is room for it.
    label: (String, String, String),
}

#[derive(Serialize)]
struct Part {
    class: &'static str,
    x: String,
    end: String,
    width: String,
}

/// Drawings by the id of the build, where it is to be drawn.
pub(super) fn drawings(view: &View) -> BTreeMap<&str, Timeline> {
    // The builds of a case share one scale of time, so that their lengths can be compared.
    let case = |build: &BuildView| (build.case.clone(), build.host.clone());
    let mut longest: BTreeMap<_, i64> = BTreeMap::new();
    for build in &view.builds {
        let wall = longest.entry(case(build)).or_default();
        *wall = build.wall_ns.max(*wall);
    }
    let drawn = view.builds.iter().filter(|build| !build.drawn.is_empty());
    drawn.map(|build| (build.id.as_str(), timeline(build, longest[&case(build)]))).collect()
}

/// The lane of each unit: the first that is free when it starts.
fn lanes(units: &[UnitView]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by_key(|&u| (units[u].start_ns, units[u].unit));
    let mut ends: Vec<i64> = Vec::new();
    let mut lanes = vec![0; units.len()];
    for unit in order {
        let (start, end) = span(&units[unit]);
        let lane = ends.iter().position(|free| *free <= start).unwrap_or(ends.len());
        match ends.get_mut(lane) {
            Some(free) => *free = end,
            None => ends.push(end),
        }
        lanes[unit] = lane;
    }
    lanes
}

fn span(unit: &UnitView) -> (i64, i64) {
    (unit.start_ns, unit.start_ns.saturating_add(unit.parts_ns.total_ns()))
}

/// The lanes, and the scale of time.
struct Frame {
    lanes: Vec<usize>,
    lane_height: f64,
    bar_height: f64,
    plot_width: f64,
    /// The time that the width stands for.
    span_ns: f64,
}

impl Frame {
    fn new(build: &BuildView, longest_ns: i64) -> Self {
        let lanes = lanes(&build.drawn);
        let count = lanes.iter().max().map_or(1, |lane| lane + 1);
        let (lane_height, bar_height) = match count {
            0..=12 => (24.0, 18.0),
            13..=40 => (17.0, 14.0),
            _ => (8.0, 6.0),
        };
        let wanted = build.drawn.len() as f64 * BAR_WIDTH / count as f64;
        Self {
            lanes,
            lane_height,
            bar_height,
            plot_width: wanted.clamp(WIDTH_MIN, WIDTH_MAX) - LEFT - 12.0,
            span_ns: longest_ns.max(1) as f64,
        }
    }

    fn x(&self, ns: f64) -> f64 {
        LEFT + (ns / self.span_ns).clamp(0.0, 1.0) * self.plot_width
    }

    fn y(&self, unit: usize) -> f64 {
        TOP + self.lanes[unit] as f64 * self.lane_height
    }

    fn bottom(&self) -> f64 {
        TOP + self.lanes.iter().max().map_or(0.0, |lane| *lane as f64 + 1.0) * self.lane_height
    }
}

fn timeline(build: &BuildView, longest_ns: i64) -> Timeline {
    let frame = Frame::new(build, longest_ns);
    let use_top = frame.bottom() + AXIS_HEIGHT;
    let use_bottom = use_top + USE_HEIGHT;
    let seconds = frame.span_ns / 1e9;
    let tick = |s: f64| (place(frame.x(s * 1e9)), format!("{} s", trimmed(s)));
    Timeline {
        width: place(LEFT + frame.plot_width + 12.0),
        height: place(use_bottom + 8.0),
        left: LEFT,
        right: place(LEFT + frame.plot_width),
        units_top: TOP,
        units_bottom: place(frame.bottom()),
        bars: (0..build.drawn.len()).map(|unit| bar(&build.drawn[unit], unit, &frame)).collect(),
        links: links(build, &frame),
        ticks: ticks(seconds).into_iter().map(tick).collect(),
        use_top: place(use_top),
        use_bottom: place(use_bottom),
        cores: cores(build, &frame, use_top, use_bottom),
        text: format!(
            "Timeline of the build of {}, {}: {} The tables beside it say the same.",
            build.case, build.side, build.text
        ),
    }
}

fn bar(unit: &UnitView, place_in_build: usize, frame: &Frame) -> Bar {
    let (start, end) = span(unit);
    let (x, y) = (frame.x(start as f64), frame.y(place_in_build));
    let width = (frame.x(end as f64) - x).max(0.8);
    let ns = unit.parts_ns;
    let mut from = start;
    let mut parts = Vec::new();
    for (class, ns) in [
        ("other", ns.other_ns),
        ("front", ns.front_ns),
        ("codegen", ns.codegen_ns),
        ("link", ns.link_ns),
    ] {
        if ns > 0 {
            let (left, right) = (frame.x(from as f64), frame.x((from + ns) as f64));
            parts.push(Part {
                class,
                x: place(left),
                end: place(right),
                width: place((right - left).max(0.1)),
            });
        }
        from = from.saturating_add(ns.max(0));
    }
    let name = escape::line(&unit.name);
    let fits =
        name.width() as f64 * CHAR_WIDTH + 2.0 * LABEL_PAD <= width && frame.bar_height > 10.0;
    let baseline = place(y + frame.bar_height / 2.0 + 4.0);
    Bar {
        x: place(x),
        y: place(y),
        width: place(width),
        height: place(frame.bar_height),
        middle: place(y + frame.bar_height / 2.0),
        is_on_path: unit.step.is_some(),
        parts,
        text: unit.text.clone(),
        label: (
            place(x + LABEL_PAD),
            baseline,
            if fits { unit.name.clone() } else { String::new() },
        ),
    }
}

/// Lines from each step of the critical path to the next, at the moment at which that one started.
fn links(build: &BuildView, frame: &Frame) -> Vec<String> {
    let mut steps: Vec<(usize, usize)> =
        build.drawn.iter().enumerate().filter_map(|(at, unit)| Some((unit.step?, at))).collect();
    steps.sort_unstable();
    let middle = |unit: usize| frame.y(unit) + frame.bar_height / 2.0;
    let link = |pair: &[(usize, usize)]| {
        let (before, after) = (pair[0].1, pair[1].1);
        let x = frame.x(build.drawn[after].start_ns as f64);
        format!("M{x:.1} {:.1}V{:.1}", middle(before), middle(after))
    };
    let is_between_lanes =
        |pair: &&[(usize, usize)]| frame.lanes[pair[0].1] != frame.lanes[pair[1].1];
    steps.windows(2).filter(is_between_lanes).map(link).collect()
}

/// The steps of the cores in use, as an area. What is too narrow to be seen becomes a mean with
/// what follows.
fn cores(build: &BuildView, frame: &Frame, top: f64, bottom: f64) -> String {
    const NARROW: f64 = 1.5;
    let y = |cores: f64| bottom - (cores / f64::from(build.cores)).clamp(0.0, 1.0) * (bottom - top);
    let end = frame.x(build.wall_ns as f64);
    let ends = build.running.iter().skip(1).map(|next| frame.x(next.from_ns as f64));
    let mut path = format!("M{:.1} {bottom:.1}", frame.x(0.0));
    let (mut from, mut area) = (frame.x(0.0), 0.0);
    let mut left = from;
    for (running, right) in build.running.iter().zip(ends.chain([end])) {
        area += running.cores * (right - left);
        left = right;
        if right - from >= NARROW || right >= end {
            let mean = area / (right - from).max(f64::MIN_POSITIVE);
            path.push_str(&format!("V{:.1}H{right:.1}", y(mean)));
            (from, area) = (right, 0.0);
        }
    }
    path + &format!("V{bottom:.1}Z")
}
