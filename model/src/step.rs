//! The steps of a job that can fail for a case or a side, each with what to change.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What did not work. It is stored as its name; a name that is not known here, from a store of
/// another dyno, is kept as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Step {
    /// The commit, or a crate to compile, could not be brought.
    Source,
    /// The recipe's command that has the network.
    Fetch,
    /// The recipe's command that builds, or its outputs.
    Build,
    /// What is made of the suite's own folder.
    Inputs,
    /// What a crate depends on was compiled before it, or a compiler was asked what it can do.
    Prepare,
    /// The crate's patch was applied.
    Patch,
    /// The process that is measured.
    Measure,
    /// What that process wrote.
    Output,
    Other(String),
}

impl Step {
    /// Every step that this dyno knows.
    pub const KNOWN: [Self; 8] = [
        Self::Source,
        Self::Fetch,
        Self::Build,
        Self::Inputs,
        Self::Prepare,
        Self::Patch,
        Self::Measure,
        Self::Output,
    ];

    pub fn name(&self) -> &str {
        match self {
            Self::Source => "source",
            Self::Fetch => "fetch",
            Self::Build => "build",
            Self::Inputs => "inputs",
            Self::Prepare => "prepare",
            Self::Patch => "patch",
            Self::Measure => "measure",
            Self::Output => "output",
            Self::Other(name) => name,
        }
    }

    /// One sentence that says what to change; `None` for a step that is not known here.
    pub const fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::Source => {
                "Name a commit that can be checked out; what it holds must stay within the limits \
                 of the suite's [build]."
            }
            Self::Fetch => {
                "Change `fetch` under [build] of the suite, or see why the network it needs is not \
                 there."
            }
            Self::Build => {
                "Mend the commit, or change `command`, `outputs` or `limits` under [build] of the \
                 suite, or the packages of its image."
            }
            Self::Inputs => "Change [inputs] of the suite, or the files in its folder.",
            Self::Prepare => {
                "Change the version, features or limits of the [[crate]], or leave its cases out \
                 with --only or --benchmark."
            }
            Self::Patch => "Make the patch of the [[crate]] anew, against the version it pins.",
            Self::Measure => {
                "Mend the program, or change `command` or `limits` of the benchmark in the suite."
            }
            Self::Output => {
                "Mend the program; where its new answer is right, write that under `expected` of \
                 the benchmark."
            }
            Self::Other(_) => return None,
        })
    }
}

impl From<String> for Step {
    fn from(name: String) -> Self {
        Self::KNOWN.into_iter().find(|step| step.name() == name).unwrap_or(Self::Other(name))
    }
}

impl From<&str> for Step {
    fn from(name: &str) -> Self {
        Self::from(name.to_string())
    }
}

impl FromStr for Step {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(Self::from(name))
    }
}

impl From<Step> for String {
    fn from(step: Step) -> Self {
        step.to_string()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_stored_by_name_and_unknown_ones_are_kept() {
        for name in [
            "source", "fetch", "build", "inputs", "prepare", "patch", "measure", "output", "rest",
            "",
        ] {
            let step: Step = serde_json::from_value(name.into()).unwrap();
            assert_eq!(serde_json::to_value(&step).unwrap(), name);
            let is_known = !matches!(step, Step::Other(_));
            assert_eq!(is_known, !["rest", ""].contains(&name), "{name}");
            assert_eq!(step.remedy().is_some(), is_known, "{name}");
        }
    }
}
