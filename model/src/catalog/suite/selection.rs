//! Cases: a suite's benchmarks under each of their configs, and which of them are wanted.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use super::config::{CompilerConfig, CompilerWorkload, Config, compiler_axis_names};
use super::{Benchmark, Priority, Suite, Workload, unsupported_reason};
use crate::catalog::reader::{one_of, suggest};

/// A benchmark under one config; knows no artifact, host or time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Case {
    pub benchmark: String,
    pub config: Config,
}

impl Case {
    /// What the case asks of a compiler.
    ///
    /// # Panics
    /// A case of a suite that was not read: reading refuses values that are not known.
    pub fn compiler_config(&self) -> CompilerConfig {
        CompilerConfig::try_from(&self.config).expect("values are checked when a suite is read")
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.config.0.is_empty() {
            write!(f, "{}", self.benchmark)
        } else {
            write!(f, "{} [{}]", self.benchmark, self.config)
        }
    }
}

impl Suite {
    /// Names of the axes that mean something to `work`.
    fn axes_of(&self, work: &Workload) -> Vec<&str> {
        let named_axes = match work {
            Workload::Program(_) => None,
            Workload::CrateCompilation(_) => {
                Some(compiler_axis_names(Some(CompilerWorkload::Crate)))
            }
            Workload::CrateGraphBuild(_) => {
                Some(compiler_axis_names(Some(CompilerWorkload::Graph)))
            }
        };
        let is_named =
            |axis: &&str| named_axes.as_ref().is_none_or(|named_axes| named_axes.contains(axis));
        self.axes.keys().map(String::as_str).filter(is_named).collect()
    }

    /// Every config of a benchmark: the product of its axes, in the order written.
    fn configs(&self, work: &Workload) -> Vec<Config> {
        let mut configs = vec![Config::default()];
        for (axis, values) in self.axes_of(work).into_iter().map(|axis| (axis, &self.axes[axis])) {
            configs = configs
                .iter()
                .flat_map(|config| {
                    values.iter().map(|value| {
                        let mut config = config.clone();
                        config.0.insert(axis.to_string(), value.clone());
                        config
                    })
                })
                .collect();
        }
        configs
    }

    /// Every case, benchmarks in the order written.
    pub fn cases(&self) -> Vec<Case> {
        let case = |benchmark: &Benchmark, config: &Config| Case {
            benchmark: benchmark.name.clone(),
            config: config.clone(),
        };
        self.benchmarks
            .iter()
            .flat_map(|benchmark| {
                let configs = self.configs(&benchmark.work);
                configs.iter().map(|config| case(benchmark, config)).collect::<Vec<_>>()
            })
            .collect()
    }

    /// The cases that `selection` asks for and a host with `cores` benchmark cores can measure, and
    /// what was left out: the reason with the number of cases.
    ///
    /// # Errors
    /// All that `selection` names and the suite does not have, a sentence each; or that nothing is
    /// left.
    pub fn select(&self, selection: &Selection, cores: usize) -> Result<Selected, Vec<String>> {
        let unknown_names = selection.unknown(self);
        if !unknown_names.is_empty() {
            return Err(unknown_names);
        }
        let mut selected = Selected::default();
        for case in self.cases() {
            let benchmark = self.benchmark(&case.benchmark).expect("cases are of benchmarks");
            if !selection.wants(benchmark, &case.config) {
                continue;
            }
            match unsupported_reason(&benchmark.work, &case.config, cores) {
                None => selected.cases.push(case),
                Some(why) => *selected.left_out.entry(why).or_default() += 1,
            }
        }
        if selected.cases.is_empty() {
            let why = match selected.left_out.first_key_value() {
                Some((why, _)) => format!("no case is left: {why}"),
                None => "no case of the suite is in the selection".into(),
            };
            return Err(vec![why]);
        }
        Ok(selected)
    }
}

/// Which cases of a suite are wanted; empty lists want all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// Axis → the values that are wanted. A benchmark without the axis is not left out by it.
    pub axes: BTreeMap<String, BTreeSet<String>>,
    /// Names, with `*` and `?`.
    pub benchmarks: Vec<String>,
    /// Benchmarks of this priority alone.
    #[serde(rename = "tier")]
    pub priority: Option<Priority>,
}

/// The cases that a selection has on a host, and those that it lost there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selected {
    pub cases: Vec<Case>,
    /// Why cases are not measured → how many.
    pub left_out: BTreeMap<String, usize>,
}

/// The mistake that `what` says, with the name that was meant, or all there are.
fn unknown_name(what: String, written: &str, names: &[&String]) -> String {
    match suggest(written, names.iter().map(|name| name.as_str())) {
        Some(hint) => format!("{what}: {hint}"),
        None => format!("{what}: expected {}", one_of(names)),
    }
}

impl Selection {
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    fn wants(&self, benchmark: &Benchmark, config: &Config) -> bool {
        let has_name = |glob: &String| WildMatch::new(glob).matches(&benchmark.name);
        let has_value = |(axis, values): (&String, &BTreeSet<String>)| {
            config.0.get(axis).is_none_or(|value| values.contains(value))
        };
        (self.benchmarks.is_empty() || self.benchmarks.iter().any(has_name))
            && self.priority.is_none_or(|priority| priority == benchmark.priority)
            && self.axes.iter().all(has_value)
    }

    /// What of it the suite does not have.
    fn unknown(&self, suite: &Suite) -> Vec<String> {
        let mut unknown = Vec::new();
        for (axis, values) in &self.axes {
            let Some(known) = suite.axes.get(axis) else {
                let names: Vec<&String> = suite.axes.keys().collect();
                unknown.push(match names.is_empty() {
                    true => format!("there is no axis `{axis}`: the suite has none"),
                    false => unknown_name(format!("there is no axis `{axis}`"), axis, &names),
                });
                continue;
            };
            for value in values.iter().filter(|value| !known.contains(value)) {
                let names: Vec<&String> = known.iter().collect();
                let what = format!("axis `{axis}` has no value \"{value}\"");
                unknown.push(unknown_name(what, value, &names));
            }
        }
        for glob in &self.benchmarks {
            if !suite.benchmarks.iter().any(|b| WildMatch::new(glob).matches(&b.name)) {
                let names: Vec<&String> = suite.benchmarks.iter().map(|b| &b.name).collect();
                unknown.push(unknown_name(
                    format!("no benchmark is called `{glob}`"),
                    glob,
                    &names,
                ));
            }
        }
        unknown
    }
}
