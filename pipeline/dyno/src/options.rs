//! Options that several commands have, as clap reads them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dyno_base::error::{Error, Result};
use dyno_build::catalog::Catalog;
use dyno_model::budget::{Budget, ROUNDS_MAX};
use dyno_model::catalog::policy::Policy;
use dyno_model::catalog::suite::{Priority, Selection};
use dyno_model::record::Trust;
use dyno_model::request::{HostChoice, PolicyReference, REQUEST_VERSION, Request};

use crate::show::Color;

/// The requester, in requests of this program.
pub const REQUESTER: &str = "the command line";

/// Least rounds of a case: with fewer, its own variance says too little to stop on.
pub const ROUNDS_LEAST: u32 = 5;

/// Most rounds of a case where the command line names none.
pub const ROUNDS_MOST: u32 = 30;

#[derive(Debug, Args)]
pub struct Global {
    /// The folder with suites/, images/, hosts/ and policies/ [env: DYNO_CATALOG] [default: the nearest above]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub catalog: Option<PathBuf>,
    /// Where measurements are kept: a folder or a URL such as s3://bucket/prefix
    /// [env: DYNO_STORE] [default: dyno/store in the user's data folder]
    #[arg(long, global = true, value_name = "URL")]
    pub store: Option<String>,
    /// Where downloads, images and artifacts are kept [env: DYNO_CACHE] [default: dyno in the user's
    /// cache folder]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub cache: Option<PathBuf>,
    /// Root of a Debian mirror [env: DYNO_DEBIAN_MIRROR] [default: this machine's apt sources]
    #[arg(long, global = true, value_name = "URL")]
    pub mirror: Option<String>,
    /// Show every line of every build
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// Show notices only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Whether the table has colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

impl Global {
    /// Takes what is not on the command line from the environment. Clap would do so too, and show
    /// these options in each usage line as if they had to be given.
    pub fn or_environment(self) -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            catalog: self.catalog.or_else(|| variable("DYNO_CATALOG").map(PathBuf::from)),
            store: self
                .store
                .or_else(|| Some(variable("DYNO_STORE")?.to_string_lossy().into_owned())),
            cache: self.cache.or_else(|| variable("DYNO_CACHE").map(PathBuf::from)),
            ..self
        }
    }
}

#[derive(Debug, Args)]
pub struct Measuring {
    /// Most rounds of a case (each runs it once on each side) [default: 30; demo: 15]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(ROUNDS_MAX)))]
    pub rounds: Option<u32>,
    /// Least rounds of a case; above that, rounds end when the interval is half of what the policy
    /// calls small [default: 5, or --rounds if that is less]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(ROUNDS_MAX)))]
    pub min_rounds: Option<u32>,
    /// Seconds of measured processes after which a case gets no more rounds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub budget: u64,
    /// A host of the catalog
    #[arg(long, default_value = "local")]
    pub host: String,
    #[command(flatten)]
    pub choosing: SelectionArguments,
    /// Do not count instructions under Valgrind, which takes tens of times as long as the program
    #[arg(long)]
    pub no_counting: bool,
    #[command(flatten)]
    pub output: Output,
}

/// Which cases of a suite.
#[derive(Debug, Args)]
pub struct SelectionArguments {
    /// Only these values of an axis (again for another axis): --only profile=check,debug
    #[arg(long, value_name = "AXIS=VALUE,…", value_parser = axis_values)]
    pub only: Vec<(String, Vec<String>)>,
    /// Only these benchmarks, with * and ? (again for more)
    #[arg(long, value_name = "NAME")]
    pub benchmark: Vec<String>,
    /// Only benchmarks of this tier
    #[arg(long)]
    pub tier: Option<PriorityArgument>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum PriorityArgument {
    Primary,
    Secondary,
}

/// An address that stands in a comment as it is.
fn report_url(text: &str) -> std::result::Result<String, String> {
    let is_web = ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme));
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || "<>\"\\".contains(c);
    match is_web && !text.contains(is_bad) {
        true => Ok(text.into()),
        false => {
            Err("expected an address that begins with https:// or http://, without spaces".into())
        }
    }
}

/// `axis=value,value`.
pub fn axis_values(text: &str) -> std::result::Result<(String, Vec<String>), String> {
    let (axis, values) = text.split_once('=').ok_or("expected AXIS=VALUE,VALUE…")?;
    let values: Vec<String> = values.split(',').map(String::from).collect();
    if axis.is_empty() || values.iter().any(String::is_empty) {
        return Err("expected AXIS=VALUE,VALUE…, none of them empty".into());
    }
    Ok((axis.into(), values))
}

impl SelectionArguments {
    pub fn selection(&self) -> Selection {
        let mut selection = Selection {
            benchmarks: self.benchmark.clone(),
            priority: self.tier.map(|tier| match tier {
                PriorityArgument::Primary => Priority::Primary,
                PriorityArgument::Secondary => Priority::Secondary,
            }),
            ..Selection::default()
        };
        for (axis, values) in &self.only {
            selection.axes.entry(axis.clone()).or_default().extend(values.iter().cloned());
        }
        selection
    }
}

impl Measuring {
    pub fn budget(&self, most: u32) -> Result<Budget> {
        let rounds_max = self.rounds.unwrap_or_else(|| most.max(self.min_rounds.unwrap_or(0)));
        let rounds_min = self.min_rounds.unwrap_or(ROUNDS_LEAST.min(rounds_max));
        if rounds_min > rounds_max {
            return Err(Error::input(format!(
                "--min-rounds {rounds_min} is more than --rounds {rounds_max}"
            )));
        }
        Ok(Budget { rounds_min, rounds_max, seconds: self.budget })
    }

    /// The request that the arguments make, and the policy that it names.
    pub fn request(
        &self,
        [suite, baseline, candidate]: [String; 3],
        most: u32,
        global: &Global,
    ) -> Result<(Request, Policy)> {
        let policy = Catalog::open(global.catalog.as_deref())?.policy(&self.output.policy)?;
        let request = Request {
            version: REQUEST_VERSION,
            requester: REQUESTER.into(),
            suite,
            baseline,
            candidate,
            host: HostChoice::Name(self.host.clone()),
            policy: PolicyReference::from(&policy),
            selection: self.choosing.selection(),
            budget: self.budget(most)?,
            counting: true,
            cachegrind: !self.no_counting,
            trust: Trust::Trusted,
            again: false,
        };
        Ok((request, policy))
    }
}

#[derive(Debug, Args)]
pub struct Output {
    /// A policy of the catalog
    #[arg(long, default_value = "default")]
    pub policy: String,
    /// Folder for report.html, comment.md and report.json; compare and request write none without it
    /// [default: JOB in DYNO_REPORTS, else in dyno/reports of the user's data folder]
    #[arg(long, value_name = "FOLDER")]
    pub report: Option<PathBuf>,
    /// The address at which the page will be, for the comment to link to
    #[arg(long, value_name = "URL", value_parser = report_url)]
    pub report_url: Option<String>,
    /// The name in the comment's hidden first line, by which a bot finds it again: one comment for
    /// each name [default: suite, hosts and policy]
    #[arg(long, value_name = "TEXT")]
    pub marker: Option<String>,
    /// Print the report as JSON instead of a table
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
    /// Print the pull request's comment instead of a table
    #[arg(long)]
    pub markdown: bool,
    /// Print every case beside wall time, instructions and memory instead of what changed
    #[arg(long, conflicts_with_all = ["json", "markdown"])]
    pub matrix: bool,
    /// Exit with 1 if something that gates regressed
    #[arg(long)]
    pub fail_on_regression: bool,
    /// Exit as `git bisect run` wants it: 0 for Unchanged and Improved, 1 for Regressed, 125 for all
    /// else, such as what does not build
    #[arg(long, conflicts_with = "fail_on_regression")]
    pub bisect: bool,
}
