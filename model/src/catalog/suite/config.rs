//! Configs: one value on each axis of a suite, and what the axes of compilers mean.
//!
//! A suite of programs has whatever axes it likes, whose values are words to put into commands. The
//! axes of crates are dyno's own: [`COMPILER_AXES`] lists them with their values, and
//! [`CompilerConfig`] is a config in which each was understood. An axis is added by a row there and
//! a field here.

use std::collections::BTreeMap;

use serde::Serialize;

/// One value on each axis; written `axis=value,axis=value` in the order of names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Config(pub BTreeMap<String, String>);

impl Config {
    /// Reads what [`Config`] writes. What has no `=` is left out: stored names are not trusted.
    pub fn read(text: &str) -> Self {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(axis, value)| (axis.to_string(), value.to_string())).collect())
    }
}

impl std::fmt::Display for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (axis, value)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{axis}={value}")?;
        }
        Ok(())
    }
}

/// Defines the values of an axis: an enum whose variants have the names that suites write.
macro_rules! axis_values {
    ($(#[$doc:meta])* $type:ident { $($(#[$value_doc:meta])* $value:ident = $name:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type {
            $($(#[$value_doc])* $value,)+
        }

        impl $type {
            pub const ALL: &'static [Self] = &[$(Self::$value),+];
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)+
                }
            }

            /// The value that suites call `name`.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }
        }
    };
}

axis_values!(
    /// What is made of a crate.
    Profile {
        Check = "check",
        Debug = "debug",
        Opt = "opt",
        Doc = "doc",
        Clippy = "clippy",
    }
);

impl Profile {
    /// Whether the compiler generates code.
    pub const fn generates_code(self) -> bool {
        matches!(self, Self::Debug | Self::Opt)
    }

    /// Whether another tool than the compiler itself does it, which knows no incremental cache.
    pub const fn is_other_tool(self) -> bool {
        matches!(self, Self::Doc | Self::Clippy)
    }
}

axis_values!(
    /// What was compiled before.
    Scenario {
        /// Nothing, and nothing is kept.
        Full = "full",
        /// Nothing; an incremental cache is written.
        IncrFull = "incr-full",
        /// The very same source.
        IncrUnchanged = "incr-unchanged",
        /// The source without the crate's patch.
        IncrPatched = "incr-patched",
    }
);

impl Scenario {
    pub const fn is_incremental(self) -> bool {
        !matches!(self, Self::Full)
    }

    /// Whether there is an incremental cache when the compiler starts.
    pub const fn has_cache(self) -> bool {
        matches!(self, Self::IncrUnchanged | Self::IncrPatched)
    }

    /// Whether the crate's patch was applied.
    pub const fn is_patched(self) -> bool {
        matches!(self, Self::IncrPatched)
    }
}

axis_values!(
    /// What generates code.
    Backend {
        Cranelift = "cranelift",
        Gcc = "gcc",
        Llvm = "llvm",
    }
);

/// Number of threads of the compiler, or of a program.
pub const THREADS: &str = "threads";

/// The largest number that an axis of numbers may have.
const NUMBER_MAX: u32 = 1024;

/// Which values an axis of crates may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AxisValues {
    Names(&'static [&'static str]),
    /// Whole numbers from 1 to 1024.
    Numbers,
}

/// An axis of crates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompilerAxis {
    pub name: &'static str,
    pub values: AxisValues,
    /// Whether it means something to the compiler's process on one crate.
    pub for_crate: bool,
    /// Whether it means something to cargo's build of a crate's whole graph.
    pub for_graph: bool,
}

/// What compiles: which axes mean something to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompilerWorkload {
    Crate,
    Graph,
}

const fn axis(
    name: &'static str,
    values: AxisValues,
    for_crate: bool,
    for_graph: bool,
) -> CompilerAxis {
    CompilerAxis { name, values, for_crate, for_graph }
}

/// The axes of crates, in the order of names. Suites of programs may have others; these a policy
/// may name whatever suites there are.
pub const COMPILER_AXES: [CompilerAxis; 6] = [
    axis("backend", AxisValues::Names(Backend::NAMES), true, true),
    axis("jobs", AxisValues::Numbers, false, true),
    axis("pipelining", AxisValues::Names(&["on", "off"]), false, true),
    axis("profile", AxisValues::Names(Profile::NAMES), true, true),
    axis("scenario", AxisValues::Names(Scenario::NAMES), true, false),
    axis(THREADS, AxisValues::Numbers, true, true),
];

/// The axis of crates called `name`.
pub fn compiler_axis(name: &str) -> Option<&'static CompilerAxis> {
    COMPILER_AXES.iter().find(|axis| axis.name == name)
}

/// Names of the axes that mean something to `workload`; of all axes of crates where it is `None`.
pub fn compiler_axis_names(workload: Option<CompilerWorkload>) -> Vec<&'static str> {
    let is_meant = |axis: &&CompilerAxis| match workload {
        None => true,
        Some(CompilerWorkload::Crate) => axis.for_crate,
        Some(CompilerWorkload::Graph) => axis.for_graph,
    };
    COMPILER_AXES.iter().filter(is_meant).map(|axis| axis.name).collect()
}

/// A value that an axis of crates does not have. A suite that was read has none; a stored config
/// may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{axis}={value} is not known")]
pub struct UnknownValue {
    pub axis: &'static str,
    pub value: String,
}

/// What a config asks of a compiler. An axis that it lacks has its default; axes that are none of
/// crates are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompilerConfig {
    pub profile: Profile,
    pub scenario: Scenario,
    pub backend: Backend,
    /// `None` leaves the number to the compiler.
    pub threads: Option<u32>,
    /// `None` leaves the number to cargo: as many as there are cores.
    pub jobs: Option<u32>,
    pub pipelining: bool,
}

impl Default for CompilerConfig {
    fn default() -> Self {
        Self {
            profile: Profile::Debug,
            scenario: Scenario::Full,
            backend: Backend::Llvm,
            threads: None,
            jobs: None,
            pipelining: true,
        }
    }
}

impl TryFrom<&Config> for CompilerConfig {
    type Error = UnknownValue;

    fn try_from(config: &Config) -> Result<Self, UnknownValue> {
        let default = Self::default();
        let switch =
            |name: &str| ["off", "on"].iter().position(|word| *word == name).map(|on| on == 1);
        let parse_number = |name: &str| name.parse().ok().filter(|n| (1..=NUMBER_MAX).contains(n));
        Ok(Self {
            profile: config.parsed("profile", Profile::from_name)?.unwrap_or(default.profile),
            scenario: config.parsed("scenario", Scenario::from_name)?.unwrap_or(default.scenario),
            backend: config.parsed("backend", Backend::from_name)?.unwrap_or(default.backend),
            threads: config.parsed(THREADS, parse_number)?,
            jobs: config.parsed("jobs", parse_number)?,
            pipelining: config.parsed("pipelining", switch)?.unwrap_or(default.pipelining),
        })
    }
}

impl Config {
    /// The value on `axis` by `parse`; `None` where the config lacks the axis.
    fn parsed<T>(
        &self,
        axis: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, UnknownValue> {
        let Some(value) = self.0.get(axis) else { return Ok(None) };
        let unknown_value = || UnknownValue { axis, value: value.clone() };
        parse(value).map(Some).ok_or_else(unknown_value)
    }
}

impl CompilerAxis {
    /// Whether the axis may have `value`.
    pub fn has_value(&self, value: &str) -> bool {
        match self.values {
            AxisValues::Names(names) => names.contains(&value),
            AxisValues::Numbers => value.parse().is_ok_and(|n: u32| (1..=NUMBER_MAX).contains(&n)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiler_configs() {
        let default = CompilerConfig::default();
        let all =
            "backend=cranelift,jobs=4,pipelining=off,profile=opt,scenario=incr-patched,threads=8";
        for (text, expected) in [
            ("", Ok(default)),
            ("level=3,profile=clippy", Ok(CompilerConfig { profile: Profile::Clippy, ..default })),
            (
                all,
                Ok(CompilerConfig {
                    profile: Profile::Opt,
                    scenario: Scenario::IncrPatched,
                    backend: Backend::Cranelift,
                    threads: Some(8),
                    jobs: Some(4),
                    pipelining: false,
                }),
            ),
            ("pipelining=maybe", Err("pipelining=maybe is not known")),
            ("threads=0", Err("threads=0 is not known")),
            ("profile=", Err("profile= is not known")),
        ] {
            let parsed = CompilerConfig::try_from(&Config::read(text));
            assert_eq!(parsed.map_err(|e| e.to_string()), expected.map_err(String::from), "{text}");
        }
    }

    /// Every value that a suite may write is understood, and nothing else.
    #[test]
    fn axes_and_their_values_agree() {
        for axis in COMPILER_AXES {
            let values: &[&str] = match axis.values {
                AxisValues::Names(names) => names,
                AxisValues::Numbers => &["1", "1024"],
            };
            for (value, is_known) in
                values.iter().map(|v| (*v, true)).chain([("1025", false), ("-", false)])
            {
                let parsed =
                    CompilerConfig::try_from(&Config::read(&format!("{}={value}", axis.name)));
                assert_eq!(
                    (parsed.is_ok(), axis.has_value(value)),
                    (is_known, is_known),
                    "{axis:?} {value}"
                );
            }
        }
        assert!(COMPILER_AXES.is_sorted_by_key(|axis| axis.name));
    }
}
