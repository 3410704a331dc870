//! Builds of whole crate graphs: what bounded the time of each, and what pipelining is worth.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dyno_model::build_graph::{
    self, Analysis, Build, Gain, NoGain, Parts, PathStep, StartReason, UtilisationPoint,
};
use dyno_model::metric::MetricUnit;
use dyno_model::record::{CompilationUnit, Side, UnitKind};
use dyno_model::stats::scaling::Parameter;
use minijinja::Value;
use minijinja::value::Serde;
use serde::Serialize;

use super::section::{Html, Markdown, Section};
use super::{CommonAxes, NumberWithInterval, View};
use crate::comment::{folded, left_out, sentence};
use crate::escape::code;
use crate::terminal::Terminal;
use crate::{number, words};

mod timeline;

/// A measured build that the report shows, one a case, side and host.
#[derive(Debug, Clone, Copy)]
pub struct BuildShown<'a> {
    pub host: &'a str,
    pub build: &'a Build,
    /// The worth of pipelining to the case on this side; `None` where it was not asked for.
    pub gain: Option<&'a Result<Gain, NoGain>>,
    pub sql: &'a str,
}

/// The view has all units of so many builds, so that they can be drawn; of the others it has what
/// they come to.
const DRAWN_MAX: usize = 12;
/// Steps of a critical path and units that a view has; a longer path says what it leaves out.
const STEPS_MAX: usize = 200;
const UNITS_MAX: usize = 2_000;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BuildView {
    /// Unique in this view: `b1`, `b2`, …
    pub id: String,
    pub case: String,
    pub benchmark: String,
    pub config: String,
    pub host: String,
    pub side: &'static str,
    /// The whole build in a few sentences.
    pub text: String,
    /// The number of units.
    pub units: u32,
    pub jobs: u32,
    pub pipelining: bool,
    pub cores: u32,
    pub wall: String,
    pub wall_ns: i64,
    /// The parts of all units together.
    pub parts: PartsView,
    pub path: PathView,
    pub utilisation: String,
    pub utilisation_fraction: f64,
    /// The time for which a unit ran while one that it needs was still in code generation.
    pub overlap: String,
    pub overlap_ns: i64,
    /// The share of the time that pipelining saves.
    pub gain: Option<NumberWithInterval>,
    /// The reason why there is no gain, where it was asked for.
    pub no_gain: Option<String>,
    /// The units that are drawn; empty where nothing is.
    pub drawn: Vec<UnitView>,
    pub running: Vec<UtilisationPoint>,
    pub sql: String,
}

/// The times that the parts of units took together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartsView {
    /// `front end 3.1 s, code generation 1.8 s`: the parts that are not zero.
    pub text: String,
    pub ns: Parts,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PathView {
    pub parts: PartsView,
    pub waited: String,
    pub waited_ns: i64,
    pub length: String,
    pub length_ns: i64,
    pub steps: Vec<StepView>,
    /// Steps of no weight, left out here.
    pub left_out: usize,
}

/// A unit on the critical path.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepView {
    pub unit: u32,
    pub name: String,
    pub because: &'static str,
    pub waited: String,
    pub waited_ns: i64,
    pub front: String,
    pub codegen: String,
    pub link: String,
    pub other: String,
    pub parts_ns: Parts,
}

/// One unit, to be drawn. Moments are in ns from the start of the build.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnitView {
    pub unit: u32,
    /// `serde 1.0.2`, and what it is where it is no library.
    pub name: String,
    pub kind: &'static str,
    /// Everything known of the unit, in one sentence.
    pub text: String,
    pub start_ns: i64,
    pub parts_ns: Parts,
    /// Its place on the critical path, from 0.
    pub step: Option<usize>,
}

/// The views, the case with the most units first; of each case the baseline, then the candidate.
pub(super) fn builds(shown: &[BuildShown<'_>], common: &CommonAxes) -> Vec<BuildView> {
    let case = |s: &BuildShown<'_>| {
        let unit = &s.build.units()[0];
        (unit.benchmark.clone(), unit.config.clone(), s.host.to_string())
    };
    let mut most = BTreeMap::new();
    for s in shown {
        let units = most.entry(case(s)).or_insert(0);
        *units = s.build.units().len().max(*units);
    }
    let mut shown: Vec<&BuildShown<'_>> = shown.iter().collect();
    shown.sort_by_key(|s| {
        let case = case(s);
        (std::cmp::Reverse(most[&case]), case, s.build.units()[0].side)
    });
    shown.into_iter().enumerate().map(|(index, shown)| view(index, shown, common)).collect()
}

fn view(index: usize, shown: &BuildShown<'_>, common: &CommonAxes) -> BuildView {
    let build = shown.build;
    let first = &build.units()[0];
    let analysis = build_graph::analyse(build);
    let gain = shown.gain.and_then(|gain| gain.as_ref().ok());
    let path = path(build.units(), &analysis);
    let is_drawn = index < DRAWN_MAX && build.units().len() <= UNITS_MAX;
    BuildView {
        id: format!("b{}", index + 1),
        case: common.case(&first.benchmark, &first.config),
        benchmark: first.benchmark.clone(),
        config: first.config.clone(),
        host: shown.host.to_string(),
        side: Side::name(first.side),
        units: analysis.units,
        jobs: build.jobs(),
        pipelining: build.pipelining(),
        cores: build.cores(),
        wall: time(analysis.wall_ns),
        wall_ns: analysis.wall_ns,
        parts: parts(analysis.parts),
        text: sentences(shown, &analysis, &path),
        path,
        utilisation: number::percent_rounded(analysis.utilisation.mean, 0),
        utilisation_fraction: analysis.utilisation.mean,
        overlap: time(analysis.overlap_ns),
        overlap_ns: analysis.overlap_ns,
        gain: gain.map(saved_share),
        no_gain: shown.gain.and_then(|gain| gain.as_ref().err()).map(ToString::to_string),
        drawn: if is_drawn { drawn(build.units(), &analysis) } else { Vec::new() },
        running: if is_drawn { analysis.utilisation.series } else { Vec::new() },
        sql: shown.sql.to_string(),
    }
}

fn saved_share(gain: &Gain) -> NumberWithInterval {
    NumberWithInterval::percent(Parameter {
        estimate: gain.estimate,
        low: gain.low,
        high: gain.high,
    })
}

fn sentences(shown: &BuildShown<'_>, analysis: &Analysis, path: &PathView) -> String {
    let build = shown.build;
    let pipelining = match shown.gain {
        Some(Ok(gain)) => {
            let gain = saved_share(gain);
            format!(" Pipelining saves {} {} of the time.", gain.text, gain.interval)
        }
        Some(Err(why)) => format!(" What pipelining saves is not known: {why}."),
        None => String::new(),
    };
    format!(
        "{} in {} with {}, pipelining {}, cores {} busy. Critical path of {}: {}, waiting {}. A \
         unit ran beside code generation that it did not wait for during {}.{pipelining}",
        words::plural(analysis.units as usize, "unit"),
        time(analysis.wall_ns),
        words::plural(build.jobs() as usize, "job"),
        if build.pipelining() { "on" } else { "off" },
        number::percent_rounded(analysis.utilisation.mean, 0),
        words::plural(analysis.critical_path.steps.len(), "unit"),
        path.parts.text,
        path.waited,
        time(analysis.overlap_ns),
    )
}

fn time(ns: i64) -> String {
    number::quantity(ns as f64, MetricUnit::Nanoseconds, None)
}

fn parts(ns: Parts) -> PartsView {
    let cells = [
        ("front end", ns.front_ns),
        ("code generation", ns.codegen_ns),
        ("linking", ns.link_ns),
        ("other", ns.other_ns),
    ];
    let texts: Vec<String> = cells
        .iter()
        .filter(|(_, ns)| *ns > 0)
        .map(|(name, ns)| format!("{name} {}", time(*ns)))
        .collect();
    let text = if texts.is_empty() { "nothing".to_string() } else { texts.join(", ") };
    PartsView { text, ns }
}

fn path(units: &[CompilationUnit], analysis: &Analysis) -> PathView {
    let path = &analysis.critical_path;
    // The steps of most weight, in the order in which they ran.
    let weight = |step: &PathStep| step.parts.total_ns() + step.waited_ns;
    let mut places: Vec<usize> = (0..path.steps.len()).collect();
    places.sort_by_key(|&place| std::cmp::Reverse(weight(&path.steps[place])));
    places.truncate(STEPS_MAX);
    places.sort_unstable();
    PathView {
        parts: parts(path.parts),
        waited: time(path.waited_ns),
        waited_ns: path.waited_ns,
        length: time(path.length_ns()),
        length_ns: path.length_ns(),
        left_out: path.steps.len() - places.len(),
        steps: places.into_iter().map(|place| step(units, &path.steps[place])).collect(),
    }
}

fn step(units: &[CompilationUnit], step: &PathStep) -> StepView {
    let time_or_dash = |ns: i64| if ns == 0 { "–".to_string() } else { time(ns) };
    StepView {
        unit: step.unit,
        name: name(&units[step.unit as usize]),
        because: match step.because {
            StartReason::First => "the build began",
            StartReason::Needed => "it needed the one before",
            StartReason::Slot => "no job slot was free",
        },
        waited: time_or_dash(step.waited_ns),
        waited_ns: step.waited_ns,
        front: time_or_dash(step.parts.front_ns),
        codegen: time_or_dash(step.parts.codegen_ns),
        link: time_or_dash(step.parts.link_ns),
        other: time_or_dash(step.parts.other_ns),
        parts_ns: step.parts,
    }
}

/// `serde 1.0.2`, `serde_derive 1.0.2 (proc-macro)`.
fn name(unit: &CompilationUnit) -> String {
    let kind = match unit.kind {
        UnitKind::Lib => String::new(),
        kind => format!(" ({})", kind.name()),
    };
    let version = if unit.version.is_empty() { "" } else { &format!(" {}", unit.version) };
    format!("{}{version}{kind}", unit.name)
}

fn drawn(units: &[CompilationUnit], analysis: &Analysis) -> Vec<UnitView> {
    let steps: BTreeMap<u32, usize> =
        analysis.critical_path.steps.iter().enumerate().map(|(at, step)| (step.unit, at)).collect();
    let view = |unit: &CompilationUnit| {
        let ns = Parts::from_unit(unit);
        let step = steps.get(&unit.unit).copied();
        let on_path = if step.is_some() { "; on the critical path" } else { "" };
        let text = format!(
            "{}: from {} to {}, {}, {} threads at most{on_path}",
            name(unit),
            time(unit.start_ns),
            time(unit.end_ns),
            parts(ns).text,
            unit.threads,
        );
        UnitView {
            unit: unit.unit,
            name: name(unit),
            kind: unit.kind.name(),
            text,
            start_ns: unit.start_ns,
            parts_ns: ns,
            step,
        }
    };
    units.iter().map(view).collect()
}

/// The section of what bounded the builds: a paragraph each.
pub(super) const BUILDS: Section = Section {
    html: Some(Html {
        id: "builds",
        title: "What bounded the builds",
        template: include_str!("../../templates/builds.html"),
        data: |view| Value::from(Serde(timeline::drawings(view))),
    }),
    markdown: Some(Markdown { name: "builds", write: markdown }),
    text: Some(text),
};

const MARKDOWN_MAX: usize = 10;
const TEXT_MAX: usize = 4;

fn markdown(view: &View) -> String {
    if view.builds.is_empty() {
        return String::new();
    }
    let mut body = String::new();
    for build in view.builds.iter().take(MARKDOWN_MAX) {
        let host =
            if view.many_hosts { format!(" on {}", code(&build.host)) } else { String::new() };
        let (case, text) = (code(&build.case), sentence(&build.text));
        let _ = writeln!(body, "- {case}, {}{host}: {text}", build.side);
    }
    body.push_str(&left_out(view.builds.len(), MARKDOWN_MAX, "build"));
    folded(&format!("What bounded {}", words::plural(view.builds.len(), "build")), &body)
}

fn text(view: &View, terminal: Terminal) -> String {
    let mut out = String::new();
    for build in view.builds.iter().take(TEXT_MAX) {
        let host = if view.many_hosts { format!(" on {}", build.host) } else { String::new() };
        let text = format!("Build of {}, {}{host}: {}", build.case, build.side, build.text);
        let _ = write!(out, "\n{}", terminal.paragraph(&text));
    }
    if view.builds.len() > TEXT_MAX {
        let more = words::plural(view.builds.len() - TEXT_MAX, "more build");
        let _ = writeln!(out, "… and {more} in the report");
    }
    out
}
