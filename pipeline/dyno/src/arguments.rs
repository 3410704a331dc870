//! The command line: what can be asked for, as clap reads it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use dyno_base::error::{Error, Result};
use dyno_build::catalog::Catalog;
use dyno_model::budget::{Budget, ROUNDS_MAX};
use dyno_model::catalog::policy::Policy;
use dyno_model::catalog::suite::{Priority, Selection};
use dyno_model::record::Trust;
use dyno_model::request::{HostChoice, PolicyReference, REQUEST_VERSION, Request};

use crate::host_command::HostCommand;
use crate::prompt;
use crate::show::Color;

/// The requester, in requests of this program.
pub const REQUESTER: &str = "the command line";

/// What `demo` compares.
pub const DEMO: [&str; 3] = ["lua", "548.1.2", "551.1.0"];

/// What `demo` says first.
pub const DEMO_EXPLANATION: &str = "This is what dyno is for, on an example: are programs slower \
    in Lua 5.5.1 than in Lua 5.4.8? The crate lua-src calls the two 551.1.0 and 548.1.2. With all \
    downloads it takes up to 3 minutes, the next time about 1.";

/// Least rounds of a case: with fewer, its own variance says too little to stop on.
pub const ROUNDS_LEAST: u32 = 5;

/// Most rounds of a case where the command line names none.
pub const ROUNDS_MOST: u32 = 30;

/// Most rounds of the demo's cases: a demo is to take minutes.
pub const ROUNDS_DEMO: u32 = 15;

/// A dynamometer for compilers: builds two commits in a pinned container image, measures them
/// side by side, and says what got slower.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 regressed (with --fail-on-regression), \
2 wrong input, 3 this machine cannot, 4 network, disk or engine failed, 5 a commit or case failed, \
130 interrupted. More: docs/exit-codes.md"
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// The folder with suites/, images/, hosts/ and policies/ [default: the nearest above]
    #[arg(long, global = true, env = "DYNO_CATALOG", value_name = "FOLDER")]
    pub catalog: Option<PathBuf>,
    /// Where measurements are kept: a folder or a URL such as s3://bucket/prefix
    /// [default: dyno/store in the user's data folder]
    #[arg(long, global = true, env = "DYNO_STORE", value_name = "URL")]
    pub store: Option<String>,
    /// Where downloads, images and artifacts are kept [default: dyno in the user's cache folder]
    #[arg(long, global = true, env = "DYNO_CACHE", value_name = "FOLDER")]
    pub cache: Option<PathBuf>,
    /// Root of a Debian mirror [default: DYNO_DEBIAN_MIRROR, else this machine's apt sources]
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

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compare two releases of the Lua interpreter: the main job, from nothing
    Demo {
        #[command(flatten)]
        measuring: Measuring,
    },
    /// Build, measure and compare two commits
    Run {
        /// A suite of the catalog
        suite: String,
        /// The commit to compare with: a branch, a tag, a version or a full id
        baseline: String,
        /// The commit in question
        candidate: String,
        /// Print the plan and stop before building
        #[arg(long)]
        plan: bool,
        /// Measure again even if the store has this very job
        #[arg(long)]
        again: bool,
        /// The candidate is a stranger's: what it builds and measures is kept apart, and never
        /// stands for the same commit when that is trusted
        #[arg(long)]
        untrusted: bool,
        #[command(flatten)]
        measuring: Measuring,
    },
    /// Compare two commits that were measured already
    Compare(Compare),
    /// Compare a commit with itself, many times: do false positives come as rarely as promised?
    Selfcheck(Selfcheck),
    /// Build the image and the artifacts of a run again, from its row alone, and compare digests
    Reproduce {
        /// A job's id, or its first digits (7 or more)
        run: String,
        /// Keep the rebuilt files in this folder
        #[arg(long, value_name = "FOLDER")]
        keep: Option<PathBuf>,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask the store anything
    Sql {
        /// One statement [default: a prompt on a terminal, else statements from standard input]
        query: Option<String>,
        /// How rows are printed; parquet is for a file: dyno sql --output parquet … >
        /// answer.parquet
        #[arg(long, default_value = "table")]
        output: prompt::Format,
        /// A policy of the catalog, under which `comparisons` are judged
        #[arg(long, default_value = "default")]
        policy: String,
    },
    /// How quiet this machine is, and making it quieter
    Host {
        #[command(subcommand)]
        command: HostCommand,
    },
    /// Pin the crates of a suite
    Suite {
        #[command(subcommand)]
        command: SuiteCommand,
    },
    /// Pin, build and verify images
    Image {
        #[command(subcommand)]
        command: ImageCommand,
    },
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
    /// Folder for report.html, comment.md and report.json [default: dyno/reports/JOB in the user's
    /// data folder]
    #[arg(long, value_name = "FOLDER")]
    pub report: Option<PathBuf>,
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
}

#[derive(Debug, Subcommand)]
pub enum SuiteCommand {
    /// Pin what the crates of a suite depend on, and write locks/NAME.lock of each
    Lock {
        /// A suite of the catalog
        suite: String,
        /// Only these crates [default: all]
        crates: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Pin an image to what its suite or registry has now, and write image.lock
    Lock { name: String },
    /// Build an image from its lock
    Build {
        name: String,
        /// A Debian architecture [default: this machine's]
        #[arg(long)]
        arch: Option<String>,
        /// Write the archive for `docker load` too, and print its path
        #[arg(long)]
        archive: bool,
    },
    /// Build every architecture anew and compare with the lock
    Verify { name: String },
}

#[derive(Debug, Args)]
pub struct Compare {
    /// A commit id (7 digits or more), or what was asked for when it was measured
    pub baseline: String,
    pub candidate: String,
    /// Only this suite
    #[arg(long)]
    pub suite: Option<String>,
    /// Only this host
    #[arg(long)]
    pub host: Option<String>,
    /// Only what this job measured (its id), pooled with the same of others
    #[arg(long)]
    pub job: Option<String>,
    /// Say why one series has its verdict: BENCHMARK/METRIC, BENCHMARK[CONFIG]/METRIC, with
    /// @HOST where several measured it, or the id of its row in report.json (s3)
    #[arg(long, value_name = "SERIES", conflicts_with_all = ["report", "markdown", "fail_on_regression"])]
    pub explain: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Selfcheck {
    /// A suite of the catalog
    pub suite: String,
    pub commit: String,
    /// How many comparisons; what the store has of this host is counted with them
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub comparisons: u32,
    /// Rounds of each comparison
    #[arg(long, value_name = "N", default_value_t = ROUNDS_LEAST, value_parser = clap::value_parser!(u32).range(2..=i64::from(ROUNDS_MAX)))]
    pub rounds: u32,
    /// Compare what dyno reads of each process with what `time -v` and `perf stat` say of it
    /// instead; the exit code is 1 if they are more than 3 % apart
    #[arg(long, conflicts_with = "comparisons")]
    pub parity: bool,
    /// A host of the catalog
    #[arg(long, default_value = "local")]
    pub host: String,
    #[command(flatten)]
    pub choosing: SelectionArguments,
    /// A policy of the catalog
    #[arg(long, default_value = "default")]
    pub policy: String,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

impl Cli {
    /// Whether this is a conversation, which has its own answer to Ctrl-C.
    pub fn is_interactive(&self) -> bool {
        matches!(self.command, Command::Sql { query: None, .. }) && prompt::is_interactive()
    }
}
