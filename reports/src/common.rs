//! The axes with one value in the whole report: said once, above, and left out of the names of
//! cases.

use std::collections::{BTreeMap, BTreeSet};

use dyno_model::catalog::suite::Config;
use serde::Serialize;

use crate::words;

/// The axes that have one value wherever a case has them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CommonAxes {
    /// Axis and value.
    pub axes: BTreeMap<String, String>,
    /// All of it in one sentence; empty where there is none.
    pub text: String,
}

impl CommonAxes {
    /// The axes of cases given as benchmark and config. An axis that only some cases of a benchmark
    /// have tells those apart, and is not among them.
    pub(crate) fn new<'a>(cases: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let cases: BTreeSet<(&str, &str)> = cases.collect();
        let configs: Vec<(&str, Config)> =
            cases.iter().map(|(name, config)| (*name, Config::read(config))).collect();
        let mut values: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
        for (axis, value) in configs.iter().flat_map(|(_, config)| &config.0) {
            values.entry(axis).or_default().insert(value);
        }
        let has_axis = |axis: &String, benchmark: &str| {
            configs.iter().any(|(name, config)| *name == benchmark && config.0.contains_key(axis))
        };
        let is_whole = |axis: &String| {
            configs
                .iter()
                .all(|(name, config)| config.0.contains_key(axis) || !has_axis(axis, name))
        };
        let is_everywhere =
            |axis: &String| configs.iter().all(|(_, config)| config.0.contains_key(axis));
        let axes: BTreeMap<String, String> = values
            .into_iter()
            .filter(|(axis, values)| values.len() == 1 && is_whole(axis))
            .map(|(axis, values)| (axis.clone(), values.into_iter().next().cloned()))
            .filter_map(|(axis, value)| Some((axis, value?)))
            .collect();
        let text = match axes.is_empty() {
            true => String::new(),
            false => {
                let which = match axes.keys().all(is_everywhere) {
                    true => "All cases have",
                    false => "All cases with these axes have",
                };
                format!("{which} {}.", Config(axes.clone()))
            }
        };
        Self { axes, text }
    }

    /// The config without the common axes.
    pub(crate) fn rest(&self, config: &str) -> Config {
        let mut rest = Config::read(config);
        rest.0.retain(|axis, value| self.axes.get(axis) != Some(value));
        rest
    }

    /// The name of a case without the common axes: `fib`, or `fib [threads=2]`.
    pub(crate) fn case(&self, benchmark: &str, config: &str) -> String {
        match self.axes.is_empty() {
            true => words::case_name(benchmark, config),
            false => words::case_name(benchmark, &self.rest(config).to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_with_one_value_is_said_once() {
        let of = |cases: &[(&str, &str)]| {
            let common = CommonAxes::new(cases.iter().copied());
            let names = cases.iter().map(|(name, config)| common.case(name, config)).collect();
            (common.text, names)
        };
        let named = |text: &str, names: &[&str]| -> (String, Vec<String>) {
            (text.to_string(), names.iter().map(ToString::to_string).collect())
        };
        for (what, cases, expected) in [
            (
                "the axis that differs stays",
                vec![("a", "backend=llvm,scenario=full"), ("a", "backend=llvm,scenario=patched")],
                named(
                    "All cases have backend=llvm.",
                    &["a [scenario=full]", "a [scenario=patched]"],
                ),
            ),
            (
                "one case",
                vec![("a", "opt=size,x=1")],
                named("All cases have opt=size,x=1.", &["a"]),
            ),
            (
                "benchmarks with other axes",
                vec![("a", "x=1,y=1"), ("a", "x=1,y=2"), ("b", "jobs=4"), ("c", "")],
                named(
                    "All cases with these axes have jobs=4,x=1.",
                    &["a [y=1]", "a [y=2]", "b", "c"],
                ),
            ),
            (
                "an axis that tells two cases apart by being there",
                vec![("a", "x=1"), ("a", "")],
                named("", &["a [x=1]", "a"]),
            ),
            ("no axes", vec![("a", ""), ("b", "")], named("", &["a", "b"])),
        ] {
            assert_eq!(of(&cases), expected, "{what}");
        }
    }
}
