//! What the findings come to: a table for people, the same as JSON, and one line to take away.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dyno_model::catalog::host::format_cores;
use serde::Serialize;

use super::CoreAssignment;
use super::finding::{Finding, Verdict};

/// The answer of `dyno host doctor`.
#[derive(Debug, Serialize)]
pub struct DoctorReport {
    pub host: String,
    pub benchmark_cores: String,
    pub housekeeping_cores: String,
    pub findings: Vec<Finding>,
    pub summary: Summary,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Knobs that this machine has.
    pub knobs: usize,
    pub bad: usize,
    pub unknown: usize,
    /// The bad findings that `dyno host tune` sets.
    pub tune_sets: usize,
    /// … and those that it sets with this option.
    pub tune_sets_with: BTreeMap<&'static str, usize>,
}

impl DoctorReport {
    pub fn new(host: &str, cores: &CoreAssignment, findings: Vec<Finding>) -> Self {
        let count = |verdict| findings.iter().filter(|f| f.verdict == verdict).count();
        let bad = || findings.iter().filter(|f| f.verdict == Verdict::Bad && f.dyno_can);
        let mut tune_sets_with = BTreeMap::new();
        for option in bad().filter_map(|f| f.option) {
            *tune_sets_with.entry(option).or_insert(0) += 1;
        }
        let summary = Summary {
            knobs: findings.len() - count(Verdict::NotHere),
            bad: count(Verdict::Bad),
            unknown: count(Verdict::Unknown),
            tune_sets: bad().filter(|f| f.option.is_none()).count(),
            tune_sets_with,
        };
        Self {
            host: host.into(),
            benchmark_cores: format_cores(&cores.benchmark),
            housekeeping_cores: format_cores(&cores.housekeeping),
            findings,
            summary,
        }
    }

    /// The table; with `all`, why each knob matters, else only of those that are not good.
    pub fn text(&self, all: bool) -> String {
        let mut text = format!(
            "host {}: benchmark cores {}, housekeeping cores {}\n\n",
            self.host, self.benchmark_cores, self.housekeeping_cores
        );
        let widest_of = |column: &dyn Fn(&Finding) -> &str| {
            self.findings.iter().map(|f| column(f).chars().count()).max().unwrap_or(0)
        };
        let (knob, wanted) = (widest_of(&|f| f.knob), widest_of(&|f| &f.wanted));
        let line = |verdict: &str, name: &str, want: &str, now: &str| {
            let line = format!("{verdict:<7}  {name:<knob$}  {want:<wanted$}  {now}");
            format!("{}\n", dyno_base::text::plain(line.trim_end()))
        };
        text += &line("", "knob", "wanted", "now");
        for finding in &self.findings {
            text += &line(finding.verdict.word(), finding.knob, &finding.wanted, &finding.now);
            if !(all || matches!(finding.verdict, Verdict::Bad | Verdict::Unknown)) {
                continue;
            }
            writeln!(text, "{:<11}why: {}", "", finding.why).expect("a string takes all");
            if let Some(command) = &finding.command {
                writeln!(text, "{:<11}set: {command}{}", "", how(finding))
                    .expect("a string takes all");
            }
        }
        format!("{text}\n{}\n", self.summary)
    }
}

/// Whether dyno does it, behind the command.
fn how(finding: &Finding) -> String {
    match (finding.dyno_can, finding.option) {
        (false, _) => String::new(),
        (true, None) => "  [dyno host tune]".into(),
        (true, Some(option)) => format!("  [dyno host tune {option}]"),
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.bad == 0 {
            write!(f, "none of {} could be quieter", self.knobs)?;
        } else {
            write!(f, "{} of {} could be quieter", self.bad, self.knobs)?;
            match self.tune_sets {
                0 => write!(f, "; `dyno host tune` sets none of them")?,
                some => write!(f, "; `dyno host tune` sets {some} of them")?,
            }
            for (option, count) in &self.tune_sets_with {
                write!(f, ", with {option} {count} more")?;
            }
        }
        if self.unknown > 0 {
            write!(f, "; {} cannot be read", self.unknown)?;
        }
        Ok(())
    }
}
