//! What the wrapper saw of a build, as the units that are stored: who waited for whom.
//!
//! A unit names the files it was given (`--extern`), and a file's name tells the unit that wrote
//! it. What links waits for the ends of all libraries below, which are linked in; what only checks
//! waits for the ends of what it was given. A crate that reads `OUT_DIR` waits for the run of its
//! build script, and that for its compilation and for the runs that tell it something (`DEP_…`).
//!
//! The wrapper runs as the build's user: what it wrote is believed only as far as it fits what the
//! probe saw of the build as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dyno_model::record::{CompilationUnit, Need, Sample, UnitKind};
use dyno_probe::{Exit, WrapperUnit};

/// Nanoseconds by which the units' processor time may exceed that of the whole, which contains it:
/// the two are rounded differently.
const ROUNDING_NS: u64 = 20_000_000;

/// The units of the process that `exit` is of. `sample` says which process that is, as one of its
/// samples does.
///
/// # Errors
/// If they cannot be what the build did.
pub fn units(exit: &Exit, sample: &Sample) -> Result<Vec<CompilationUnit>, String> {
    let mut wrapper_units: Vec<&WrapperUnit> = exit.units.iter().collect();
    wrapper_units.sort_by_key(|unit| (unit.start_ns, unit.end_ns));
    check_times(exit, &wrapper_units)?;
    let needs = Needs::find(&wrapper_units);
    let ns = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    let unit = |(index, unit): (usize, &&WrapperUnit)| CompilationUnit {
        benchmark: sample.benchmark.clone(),
        config: sample.config.clone(),
        round: sample.round,
        side: sample.side,
        sequence: sample.sequence,
        unit: index as u32,
        name: unit.name.clone(),
        version: unit.version.clone(),
        kind: unit_kind(unit),
        start_ns: ns(unit.start_ns),
        metadata_ns: unit.metadata_ns.map(ns),
        codegen_ns: unit.codegen_ns.map(ns),
        link_ns: unit.link_ns.map(ns),
        end_ns: ns(unit.end_ns),
        user_ns: ns(unit.user_ns),
        system_ns: ns(unit.system_ns),
        max_rss_bytes: ns(unit.max_rss_bytes),
        threads: unit.threads,
        needs: needs.by_unit[index].clone(),
        taint: sample.taint.clone(),
    };
    Ok(wrapper_units.iter().enumerate().map(unit).collect())
}

fn check_times(exit: &Exit, units: &[&WrapperUnit]) -> Result<(), String> {
    if units.is_empty() {
        return Err("it compiled nothing".into());
    }
    let (mut user_ns, mut system_ns) = (0_u64, 0_u64);
    for unit in units {
        let times = [Some(unit.start_ns), unit.metadata_ns, Some(unit.end_ns), Some(exit.wall_ns)];
        if !times.into_iter().flatten().is_sorted() {
            return Err(format!("the unit {} does not lie in the build's time", unit.name));
        }
        user_ns = user_ns.saturating_add(unit.user_ns);
        system_ns = system_ns.saturating_add(unit.system_ns);
    }
    let (units, whole) = (user_ns.saturating_add(system_ns), exit.user_ns + exit.system_ns);
    if units > whole + whole / 50 + ROUNDING_NS {
        return Err(format!("its units took {units} ns of processor time, all of it {whole} ns"));
    }
    Ok(())
}

fn unit_kind(unit: &WrapperUnit) -> UnitKind {
    let has_type = |kind: &str| unit.crate_types.iter().any(|k| k == kind);
    if unit.crate_name.is_empty() {
        UnitKind::RunBuildScript
    } else if has_type("bin") && unit.crate_name.starts_with("build_script_") {
        UnitKind::BuildScript
    } else if has_type("bin") {
        UnitKind::Bin
    } else if has_type("proc-macro") {
        UnitKind::ProcMacro
    } else {
        UnitKind::Lib
    }
}

/// The needs of each unit, in the units' order.
struct Needs {
    by_unit: Vec<Vec<Need>>,
}

impl Needs {
    fn find(units: &[&WrapperUnit]) -> Self {
        let written: BTreeMap<String, usize> =
            units.iter().enumerate().map(|(i, unit)| (file_stem(unit), i)).collect();
        // Runs of build scripts by what they fill, their compilations by where they lie.
        let (mut runs, mut scripts) = (BTreeMap::new(), BTreeMap::new());
        for (i, unit) in units.iter().enumerate() {
            match unit_kind(unit) {
                UnitKind::RunBuildScript => drop(runs.insert(unit.script_out_dir.as_deref(), i)),
                UnitKind::BuildScript => drop(scripts.insert(unit.out_dir.as_str(), i)),
                _ => {}
            }
        }
        let externs_of = |unit: &WrapperUnit| -> Vec<(usize, bool)> {
            let extern_unit = |path: &String| {
                let path = Path::new(path);
                let unit = *written.get(path.file_stem()?.to_str()?)?;
                Some((unit, path.extension().is_none_or(|e| e != "rmeta")))
            };
            unit.externs.iter().filter_map(extern_unit).collect()
        };
        let externs: Vec<Vec<(usize, bool)>> = units.iter().map(|unit| externs_of(unit)).collect();
        let by_unit = units.iter().enumerate().map(|(i, unit)| {
            let mut needs: BTreeMap<usize, bool> = BTreeMap::new();
            let mut add = |unit: usize, end: bool| {
                if unit != i {
                    *needs.entry(unit).or_default() |= end;
                }
            };
            match unit_kind(unit) {
                UnitKind::RunBuildScript => {
                    if let Some(script) = scripts.get(unit.out_dir.as_str()) {
                        add(*script, true);
                    }
                    let setter = |name: &String| {
                        let matching_prefix = |(other, unit): (usize, &&WrapperUnit)| {
                            let begin = variable_prefix(unit.links.as_ref()?);
                            name.starts_with(&begin).then_some((begin.len(), other))
                        };
                        // `DEP_A_B_C` may be `B_C` of `a` or `C` of `a-b`: rather the longer name.
                        Some(units.iter().enumerate().filter_map(matching_prefix).max()?.1)
                    };
                    unit.dep_variables.iter().filter_map(setter).for_each(|other| add(other, true));
                }
                kind => {
                    // Cargo pipelines only what generates code for what generates code.
                    let generate =
                        |other: usize| unit.generates_code && units[other].generates_code;
                    externs[i].iter().for_each(|(unit, end)| add(*unit, *end || !generate(*unit)));
                    let run = unit.script_out_dir.as_deref().and_then(|dir| runs.get(&Some(dir)));
                    run.into_iter().for_each(|run| add(*run, true));
                    // A procedural macro (`.so`) is loaded, not linked in.
                    let whole =
                        unit.externs.iter().any(|extern_unit| extern_unit.ends_with(".rlib"));
                    if kind == UnitKind::BuildScript || kind == UnitKind::ProcMacro || whole {
                        libraries_below(i, &externs, units)
                            .into_iter()
                            .for_each(|unit| add(unit, true));
                    }
                }
            }
            let need = |(unit, end): (usize, bool)| Need { unit: unit as u32, end };
            needs.into_iter().map(need).collect()
        });
        Self { by_unit: by_unit.collect() }
    }
}

/// The libraries below a unit, which are linked into it. Procedural macros are linked into nothing.
fn libraries_below(
    unit: usize,
    externs: &[Vec<(usize, bool)>],
    units: &[&WrapperUnit],
) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut pending = vec![unit];
    while let Some(next) = pending.pop() {
        for (unit, _) in &externs[next] {
            if unit_kind(units[*unit]) == UnitKind::Lib && found.insert(*unit) {
                pending.push(*unit);
            }
        }
    }
    found
}

/// Prefix of the variables that a run which links `links` sets for others.
fn variable_prefix(links: &str) -> String {
    format!("DEP_{}_", links.to_uppercase().replace('-', "_"))
}

/// Stem of the names of the files that a unit writes.
fn file_stem(unit: &WrapperUnit) -> String {
    match unit_kind(unit) {
        UnitKind::Lib | UnitKind::ProcMacro => {
            format!("lib{}{}", unit.crate_name, unit.extra_filename)
        }
        _ => format!("{}{}", unit.crate_name, unit.extra_filename),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyno_model::record::Side;
    use dyno_probe::End;

    fn wrapper_unit(name: &str, kind: &str, times: [u64; 2], externs: &[&str]) -> WrapperUnit {
        WrapperUnit {
            name: name.into(),
            crate_name: name.into(),
            crate_types: vec![kind.into()],
            extra_filename: "-1".into(),
            externs: externs.iter().map(|file| format!("/t/{file}")).collect(),
            start_ns: times[0],
            end_ns: times[1],
            generates_code: true,
            ok: true,
            ..WrapperUnit::default()
        }
    }

    fn exit(units: Vec<WrapperUnit>) -> Exit {
        let exit = dyno_probe::Exit::without_effect();
        assert_eq!(exit.end, End::Code(0));
        Exit { wall_ns: 1000, user_ns: 500, units, ..exit }
    }

    fn sample() -> Sample {
        Sample {
            benchmark: "b".into(),
            config: String::new(),
            metric: "wall".into(),
            round: 1,
            side: Side::Candidate,
            sequence: 7,
            value: 1,
            taint: String::new(),
        }
    }

    #[test]
    fn who_waits_for_whom() {
        let script = WrapperUnit {
            out_dir: "/t/build/c-1".into(),
            ..wrapper_unit("build_script_build", "bin", [0, 9], &[])
        };
        let run = WrapperUnit {
            crate_name: String::new(),
            out_dir: "/t/build/c-1".into(),
            script_out_dir: Some("/t/build/c-2/out".into()),
            ..wrapper_unit("c", "", [10, 11], &[])
        };
        let c = WrapperUnit {
            script_out_dir: run.script_out_dir.clone(),
            ..wrapper_unit("c", "lib", [12, 20], &["liba-1.rmeta"])
        };
        let wrapper_units = vec![
            c,
            run,
            script,
            wrapper_unit("a", "lib", [1, 8], &[]),
            wrapper_unit("m", "proc-macro", [2, 7], &["liba-1.rlib"]),
            wrapper_unit("b", "lib", [21, 30], &["libc-1.rmeta", "libm-1.so", "libgone-1.rmeta"]),
            wrapper_unit("app", "bin", [31, 40], &["libb-1.rlib"]),
        ];
        let units = units(&exit(wrapper_units), &sample()).unwrap();
        let shown = |unit: &CompilationUnit| {
            let need = |need: &Need| format!("{}{}", need.unit, if need.end { "!" } else { "" });
            let needs: Vec<String> = unit.needs.iter().map(need).collect();
            format!("{} {} {}: {}", unit.unit, unit.name, unit.kind.name(), needs.join(" "))
        };
        let shown: Vec<String> = units.iter().map(shown).collect();
        insta::assert_snapshot!(shown.join("\n"));
        assert!(units.iter().all(|unit| (unit.round, unit.sequence) == (1, 7)));
    }

    /// Units of a check, which cargo does not pipeline.
    #[test]
    fn what_comes_to_metadata_alone_is_waited_for_to_its_end() {
        let checked = |name: &str, externs: &[&str]| WrapperUnit {
            generates_code: false,
            ..wrapper_unit(name, "lib", [0, 5], externs)
        };
        let built = wrapper_unit("b", "lib", [0, 5], &[]);
        let user = wrapper_unit("user", "lib", [6, 9], &["liba-1.rmeta", "libb-1.rmeta"]);
        let checker =
            WrapperUnit { start_ns: 7, end_ns: 9, ..checked("checker", &["libb-1.rmeta"]) };
        let units = units(&exit(vec![checked("a", &[]), built, user, checker]), &sample()).unwrap();
        let ends =
            |unit: &CompilationUnit| unit.needs.iter().map(|need| need.end).collect::<Vec<bool>>();
        let ends: Vec<Vec<bool>> = units.iter().map(ends).collect();
        assert_eq!(ends, [vec![], vec![], vec![true, false], vec![true]]);
    }

    #[test]
    fn a_build_script_waits_for_those_that_tell_it_something() {
        let run = |name: &str, times, links: Option<&str>, variables: &[&str]| WrapperUnit {
            crate_name: String::new(),
            out_dir: format!("/t/build/{name}-1"),
            links: links.map(String::from),
            dep_variables: variables.iter().map(ToString::to_string).collect(),
            ..wrapper_unit(name, "", times, &[])
        };
        let wrapper_units = vec![
            run("z-sys", [0, 5], Some("my-z"), &[]),
            run("other", [0, 6], Some("my"), &[]),
            run("user", [7, 9], Some("user"), &["DEP_MY_Z_ROOT", "DEP_USER_X"]),
        ];
        let units = units(&exit(wrapper_units), &sample()).unwrap();
        let needs: Vec<Vec<u32>> =
            units.iter().map(|u| u.needs.iter().map(|need| need.unit).collect()).collect();
        assert_eq!(needs, [vec![], vec![], vec![0]]);
    }

    #[test]
    fn what_cannot_be_is_not_believed() {
        let late = wrapper_unit("a", "lib", [1, 2000], &[]);
        let early = WrapperUnit { metadata_ns: Some(5), ..wrapper_unit("a", "lib", [10, 20], &[]) };
        let busy =
            WrapperUnit { user_ns: 1_000_000_000, ..wrapper_unit("a", "lib", [10, 20], &[]) };
        for invalid in [vec![], vec![late], vec![early], vec![busy]] {
            assert!(units(&exit(invalid), &sample()).is_err());
        }
    }
}
