//! What the wrapper saw of a build, as the units that are stored: who waited for whom.
//!
//! A unit names the files it was given (`--extern`), and a file's name tells the unit that wrote it.
//! What links waits for the ends of all libraries below, which are linked in; what only checks waits
//! for the ends of what it was given. A crate that reads
//! `OUT_DIR` waits for the run of its build script, and that for its compilation and for the runs that
//! tell it something (`DEP_…`).
//!
//! The wrapper runs as the build's user: what it wrote is believed only as far as it fits what the
//! probe saw of the build as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dyno_model::record::{CompilationUnit, Need, Sample, UnitKind};
use dyno_probe::{Exit, WrapperUnit as Seen};

/// By how much the units' processor time may exceed that of the whole, which contains it: the two are
/// rounded differently.
const ROUNDING_NS: u64 = 20_000_000;

/// The units of the process that `exit` is of. `like` says which process that is, as one of its
/// samples does.
///
/// # Errors
/// If they cannot be what the build did.
pub fn units(exit: &Exit, like: &Sample) -> Result<Vec<CompilationUnit>, String> {
    let mut seen: Vec<&Seen> = exit.units.iter().collect();
    seen.sort_by_key(|unit| (unit.start_ns, unit.end_ns));
    check(exit, &seen)?;
    let needs = Needs::of(&seen);
    let ns = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    let unit = |(index, unit): (usize, &&Seen)| CompilationUnit {
        benchmark: like.benchmark.clone(),
        config: like.config.clone(),
        round: like.round,
        side: like.side,
        sequence: like.sequence,
        unit: index as u32,
        name: unit.name.clone(),
        version: unit.version.clone(),
        kind: kind(unit),
        start_ns: ns(unit.start_ns),
        metadata_ns: unit.metadata_ns.map(ns),
        codegen_ns: unit.codegen_ns.map(ns),
        link_ns: unit.link_ns.map(ns),
        end_ns: ns(unit.end_ns),
        user_ns: ns(unit.user_ns),
        system_ns: ns(unit.system_ns),
        max_rss_bytes: ns(unit.max_rss_bytes),
        threads: unit.threads,
        needs: needs.all[index].clone(),
        taint: like.taint.clone(),
    };
    Ok(seen.iter().enumerate().map(unit).collect())
}

fn check(exit: &Exit, seen: &[&Seen]) -> Result<(), String> {
    if seen.is_empty() {
        return Err("it compiled nothing".into());
    }
    let (mut user_ns, mut system_ns) = (0_u64, 0_u64);
    for unit in seen {
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

fn kind(unit: &Seen) -> UnitKind {
    let is = |kind: &str| unit.crate_types.iter().any(|k| k == kind);
    if unit.crate_name.is_empty() {
        UnitKind::RunBuildScript
    } else if is("bin") && unit.crate_name.starts_with("build_script_") {
        UnitKind::BuildScript
    } else if is("bin") {
        UnitKind::Bin
    } else if is("proc-macro") {
        UnitKind::ProcMacro
    } else {
        UnitKind::Lib
    }
}

/// What each unit waits for.
struct Needs {
    all: Vec<Vec<Need>>,
}

impl Needs {
    fn of(seen: &[&Seen]) -> Self {
        let written: BTreeMap<String, usize> =
            seen.iter().enumerate().map(|(i, unit)| (stem(unit), i)).collect();
        // Runs of build scripts by what they fill, their compilations by where they lie.
        let (mut runs, mut scripts) = (BTreeMap::new(), BTreeMap::new());
        for (i, unit) in seen.iter().enumerate() {
            match kind(unit) {
                UnitKind::RunBuildScript => drop(runs.insert(unit.script_out_dir.as_deref(), i)),
                UnitKind::BuildScript => drop(scripts.insert(unit.out_dir.as_str(), i)),
                _ => {}
            }
        }
        let given = |unit: &Seen| -> Vec<(usize, bool)> {
            let file = |path: &String| {
                let path = Path::new(path);
                let unit = *written.get(path.file_stem()?.to_str()?)?;
                Some((unit, path.extension().is_none_or(|e| e != "rmeta")))
            };
            unit.externs.iter().filter_map(file).collect()
        };
        let given: Vec<Vec<(usize, bool)>> = seen.iter().map(|unit| given(unit)).collect();
        let all = seen.iter().enumerate().map(|(i, unit)| {
            let mut needs: BTreeMap<usize, bool> = BTreeMap::new();
            let mut add = |unit: usize, end: bool| {
                if unit != i {
                    *needs.entry(unit).or_default() |= end;
                }
            };
            match kind(unit) {
                UnitKind::RunBuildScript => {
                    if let Some(script) = scripts.get(unit.out_dir.as_str()) {
                        add(*script, true);
                    }
                    let teller = |name: &String| {
                        let tells = |(other, seen): (usize, &&Seen)| {
                            let begin = told_by(seen.links.as_ref()?);
                            name.starts_with(&begin).then_some((begin.len(), other))
                        };
                        // `DEP_A_B_C` may be `B_C` of `a` or `C` of `a-b`: rather the longer name.
                        Some(seen.iter().enumerate().filter_map(tells).max()?.1)
                    };
                    unit.dep_variables.iter().filter_map(teller).for_each(|other| add(other, true));
                }
                kind => {
                    // Cargo pipelines only what generates code for what generates code.
                    let generate = |other: usize| unit.generates_code && seen[other].generates_code;
                    given[i].iter().for_each(|(unit, end)| add(*unit, *end || !generate(*unit)));
                    let run = unit.script_out_dir.as_deref().and_then(|dir| runs.get(&Some(dir)));
                    run.into_iter().for_each(|run| add(*run, true));
                    // A procedural macro (`.so`) is loaded, not linked in.
                    let whole = unit.externs.iter().any(|file| file.ends_with(".rlib"));
                    if kind == UnitKind::BuildScript || kind == UnitKind::ProcMacro || whole {
                        below(i, &given, seen).into_iter().for_each(|unit| add(unit, true));
                    }
                }
            }
            let need = |(unit, end): (usize, bool)| Need { unit: unit as u32, end };
            needs.into_iter().map(need).collect()
        });
        Self { all: all.collect() }
    }
}

/// All libraries below a unit: what is linked into it. Procedural macros are linked into nothing.
fn below(unit: usize, given: &[Vec<(usize, bool)>], seen: &[&Seen]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut left = vec![unit];
    while let Some(next) = left.pop() {
        for (unit, _) in &given[next] {
            if kind(seen[*unit]) == UnitKind::Lib && found.insert(*unit) {
                left.push(*unit);
            }
        }
    }
    found
}

/// What the variables begin with that a run which links `links` sets for others.
fn told_by(links: &str) -> String {
    format!("DEP_{}_", links.to_uppercase().replace('-', "_"))
}

/// What the names of its files begin with.
fn stem(unit: &Seen) -> String {
    match kind(unit) {
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

    fn seen(name: &str, kind: &str, times: [u64; 2], externs: &[&str]) -> Seen {
        Seen {
            name: name.into(),
            crate_name: name.into(),
            crate_types: vec![kind.into()],
            extra_filename: "-1".into(),
            externs: externs.iter().map(|file| format!("/t/{file}")).collect(),
            start_ns: times[0],
            end_ns: times[1],
            generates_code: true,
            ok: true,
            ..Seen::default()
        }
    }

    fn exit(units: Vec<Seen>) -> Exit {
        let exit = dyno_probe::Exit::without_effect();
        assert_eq!(exit.end, End::Code(0));
        Exit { wall_ns: 1000, user_ns: 500, units, ..exit }
    }

    fn like() -> Sample {
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
        let script = Seen {
            out_dir: "/t/build/c-1".into(),
            ..seen("build_script_build", "bin", [0, 9], &[])
        };
        let run = Seen {
            crate_name: String::new(),
            out_dir: "/t/build/c-1".into(),
            script_out_dir: Some("/t/build/c-2/out".into()),
            ..seen("c", "", [10, 11], &[])
        };
        let c = Seen {
            script_out_dir: run.script_out_dir.clone(),
            ..seen("c", "lib", [12, 20], &["liba-1.rmeta"])
        };
        let all = vec![
            c,
            run,
            script,
            seen("a", "lib", [1, 8], &[]),
            seen("m", "proc-macro", [2, 7], &["liba-1.rlib"]),
            seen("b", "lib", [21, 30], &["libc-1.rmeta", "libm-1.so", "libgone-1.rmeta"]),
            seen("app", "bin", [31, 40], &["libb-1.rlib"]),
        ];
        let units = units(&exit(all), &like()).unwrap();
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
        let checked = |name: &str, externs: &[&str]| Seen {
            generates_code: false,
            ..seen(name, "lib", [0, 5], externs)
        };
        let built = seen("b", "lib", [0, 5], &[]);
        let user = seen("user", "lib", [6, 9], &["liba-1.rmeta", "libb-1.rmeta"]);
        let checker = Seen { start_ns: 7, end_ns: 9, ..checked("checker", &["libb-1.rmeta"]) };
        let units = units(&exit(vec![checked("a", &[]), built, user, checker]), &like()).unwrap();
        let ends =
            |unit: &CompilationUnit| unit.needs.iter().map(|need| need.end).collect::<Vec<bool>>();
        let ends: Vec<Vec<bool>> = units.iter().map(ends).collect();
        assert_eq!(ends, [vec![], vec![], vec![true, false], vec![true]]);
    }

    #[test]
    fn a_build_script_waits_for_those_that_tell_it_something() {
        let run = |name: &str, times, links: Option<&str>, told: &[&str]| Seen {
            crate_name: String::new(),
            out_dir: format!("/t/build/{name}-1"),
            links: links.map(String::from),
            dep_variables: told.iter().map(ToString::to_string).collect(),
            ..seen(name, "", times, &[])
        };
        let all = vec![
            run("z-sys", [0, 5], Some("my-z"), &[]),
            run("other", [0, 6], Some("my"), &[]),
            run("user", [7, 9], Some("user"), &["DEP_MY_Z_ROOT", "DEP_USER_X"]),
        ];
        let units = units(&exit(all), &like()).unwrap();
        let needs: Vec<Vec<u32>> =
            units.iter().map(|u| u.needs.iter().map(|need| need.unit).collect()).collect();
        assert_eq!(needs, [vec![], vec![], vec![0]]);
    }

    #[test]
    fn what_cannot_be_is_not_believed() {
        let late = seen("a", "lib", [1, 2000], &[]);
        let early = Seen { metadata_ns: Some(5), ..seen("a", "lib", [10, 20], &[]) };
        let busy = Seen { user_ns: 1_000_000_000, ..seen("a", "lib", [10, 20], &[]) };
        for wrong in [vec![], vec![late], vec![early], vec![busy]] {
            assert!(units(&exit(wrong), &like()).is_err());
        }
    }
}
