//! The command line: what can be asked for, as clap reads it.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use dyno_model::budget::ROUNDS_MAX;

use crate::agent_command::AgentArguments;
use crate::bot_command::BotCommand;
use crate::cache_command::CacheCommand;
use crate::host_command::HostCommand;
use crate::image_command::ImageCommand;
use crate::options::{Global, Measuring, Output, ROUNDS_LEAST, SelectionArguments};
use crate::prompt;
use crate::queue_command::{QueueArguments, RequestArguments};
use crate::store_command::StoreCommand;
use crate::suite_command::SuiteCommand;
use crate::watch_command::WatchArguments;

/// The exit code by which `git bisect run` is told to pass over a commit.
pub const BISECT_SKIP: u8 = 125;

/// What `demo` compares.
pub const DEMO: [&str; 3] = ["lua", "548.1.2", "551.1.0"];

/// What `demo` says first.
pub const DEMO_EXPLANATION: &str = "This is what dyno is for, on an example: are programs slower \
    in Lua 5.5.1 than in Lua 5.4.8? The crate lua-src calls the two 551.1.0 and 548.1.2. With all \
    downloads it takes up to 3 minutes, the next time about 1.";

/// Most rounds of the demo's cases: a demo is to take minutes.
pub const ROUNDS_DEMO: u32 = 15;

/// A dynamometer for compilers: builds two commits in a pinned container image, measures them
/// side by side, and says what got slower.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 regressed (with --fail-on-regression), \
2 wrong input, 3 this machine cannot, 4 network, disk or engine failed, 5 a commit or case failed, \
125 cannot say (with --bisect), 130 interrupted. More: docs/exit-codes.md"
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
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
        /// The commit to compare with: a branch, a tag, a version or an id; of a repository on this
        /// machine all that git knows (HEAD~1, origin/main), and . for the work tree
        baseline: String,
        /// The commit in question, named alike
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
    /// Ask the hosts that share the store to compare two commits
    Request(RequestArguments),
    /// Measure what was asked for of this host, by whoever shares the store
    Agent(AgentArguments),
    /// Ask for each new commit of the branches that watches/ of the catalog names
    Watch(WatchArguments),
    /// Answer comments of pull requests on GitHub
    Bot {
        #[command(subcommand)]
        command: BotCommand,
    },
    /// Show what was asked for and has not ended, and the hosts
    Queue(QueueArguments),
    /// Cancel a request, or one of its jobs
    Cancel {
        /// The id of a request, or of a job (its first 7 digits or more)
        id: String,
    },
    /// Measure one job for an agent
    #[command(name = "__job", hide = true)]
    QueueJob {
        /// The job, and the attempt that it is
        file: PathBuf,
    },
    /// List what the store holds
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// List what the cache holds, and remove what was not used for long
    Cache {
        /// Print it as JSON, every thing by itself
        #[arg(long, global = true)]
        json: bool,
        #[command(subcommand)]
        command: Option<CacheCommand>,
    },
    /// List hosts, say how quiet this machine is, and make it quieter
    Host {
        #[command(subcommand)]
        command: HostCommand,
    },
    /// Begin, list and try suites, and write what they expect
    Suite {
        #[command(subcommand)]
        command: SuiteCommand,
    },
    /// List, pin, build and verify images
    Image {
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// Print what a shell needs to complete dyno's commands: README.md
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages, one for each command
    Man {
        /// The folder they go to; made where it is not there
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct Compare {
    /// The commit to compare with, named as for run, or as it was when it was measured; of an id 7
    /// digits are enough
    pub baseline: String,
    /// The commit in question, named alike
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
    #[arg(long, value_name = "SERIES", conflicts_with_all = ["report", "markdown", "fail_on_regression", "bisect"])]
    pub explain: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Selfcheck {
    /// A suite of the catalog
    pub suite: String,
    /// The commit, named as for run
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

/// The command of a group that a word means which is no command by itself: `host doctor`.
fn command_elsewhere(error: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let is_unknown = error.kind() == ErrorKind::InvalidSubcommand;
    let Some(ContextValue::String(word)) =
        error.get(ContextKind::InvalidSubcommand).filter(|_| is_unknown)
    else {
        return None;
    };
    let command = Cli::command();
    let group = command.get_subcommands().find(|group| group.find_subcommand(word).is_some())?;
    Some(format!("{} {word}", group.get_name()))
}

impl Cli {
    /// Whether the command has its own answer to all signals.
    pub const fn handles_signals(&self) -> bool {
        matches!(self.command, Command::Agent(_))
    }

    /// The arguments of this process, or the end of it with what is wrong with them.
    pub fn of_process() -> Self {
        let cli = Self::try_parse().unwrap_or_else(|error| {
            if let Some(words) = command_elsewhere(&error) {
                drop(error.print());
                eprintln!("hint: did you mean `dyno {words}`?");
                std::process::exit(error.exit_code());
            }
            error.exit()
        });
        Self { global: cli.global.or_environment(), ..cli }
    }

    /// Whether the exit code is for `git bisect run`.
    pub fn is_bisecting(&self) -> bool {
        match &self.command {
            Command::Demo { measuring } | Command::Run { measuring, .. } => measuring.output.bisect,
            Command::Compare(compare) => compare.output.bisect,
            _ => false,
        }
    }

    /// Whether this is a conversation, which has its own answer to Ctrl-C.
    pub fn is_interactive(&self) -> bool {
        matches!(self.command, Command::Sql { query: None, .. }) && prompt::is_interactive()
    }
}
