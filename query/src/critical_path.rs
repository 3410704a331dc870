//! A critical path as a line of text.

use dyno_model::build_graph::{Build, CriticalPath, Parts, PathStep, StartReason};
use dyno_model::record::{CompilationUnit, UnitKind};

/// A path with more steps is shown by its first and last ones.
const STEPS_MAX: usize = 60;

/// `syn (front end 1.2 s) → serde_derive (front end 300 ms, code generation 1.1 s)`: what of each
/// unit the next one waited for. `⇢` instead of the arrow: it waited for the job slot only.
pub(crate) fn text(build: &Build, path: &CriticalPath) -> String {
    let mut text = String::new();
    let left_out = path.steps.len().saturating_sub(STEPS_MAX);
    for (index, step) in path.steps.iter().enumerate() {
        let half = STEPS_MAX / 2;
        if left_out > 0 && (half..half + left_out).contains(&index) {
            if index == half {
                text.push_str(&format!(" → … ({left_out} more)"));
            }
            continue;
        }
        if index > 0 {
            text.push_str(if step.because == StartReason::Slot { " ⇢ " } else { " → " });
        }
        text.push_str(&step_text(build.units(), step));
    }
    text
}

fn step_text(units: &[CompilationUnit], step: &PathStep) -> String {
    let Some(unit) = units.get(step.unit as usize) else { return String::new() };
    let what = match unit.kind {
        UnitKind::Lib => "",
        UnitKind::ProcMacro => " proc-macro",
        UnitKind::Bin => " bin",
        UnitKind::BuildScript => " build script",
        UnitKind::RunBuildScript => " build script's run",
        UnitKind::Doc => " doc",
    };
    let Parts { front_ns, codegen_ns, link_ns, other_ns } = step.parts;
    // What has no parts is its whole time.
    let other = if front_ns + codegen_ns + link_ns == 0 { "" } else { "other " };
    let parts = [
        ("front end ", front_ns),
        ("code generation ", codegen_ns),
        ("linking ", link_ns),
        (other, other_ns),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(_, ns)| *ns > 0)
        .map(|(name, ns)| format!("{name}{}", time(ns)))
        .collect();
    // A name comes from a package, so it is a stranger's.
    let name = unit.name.escape_debug();
    match parts.is_empty() {
        true => format!("{name}{what}"),
        false => format!("{name}{what} ({})", parts.join(", ")),
    }
}

fn time(ns: i64) -> String {
    let ns = ns as f64;
    match ns {
        _ if ns >= 0.9995e9 => format!("{:.1} s", ns / 1e9),
        _ if ns >= 0.9995e6 => format!("{:.0} ms", ns / 1e6),
        _ => format!("{:.0} µs", ns / 1e3),
    }
}
