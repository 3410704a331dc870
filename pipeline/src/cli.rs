//! The command line. Each command is glue: open what it needs, call the deep modules, print.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use dyno_model::catalog::image::debian_architecture;
use dyno_model::catalog::suite::{Selection, Tier};
use dyno_model::record::Trust;
use dyno_model::sampling::{Budget, ROUNDS_MAX};
use dyno_model::verdict::Conclusion;
use dyno_query::{Filter, Session};
use dyno_reports::Terminal;
use dyno_store::Store;

use crate::catalog::Catalog;
use crate::crates::lock;
use crate::error::{Error, Kind, Result, While};
use crate::event::{Event, Events, Phase};
use crate::explain;
use crate::fault;
use crate::host::command::HostCommand;
use crate::image;
use crate::prompt;
use crate::report::{self, Answer};
use crate::reproduce::reproduce;
use crate::run::{self, Opened, Place, Request, Surroundings, query_error, store_error};
use crate::selfcheck;
use crate::show::{self, Detail, out};

/// What `demo` compares.
const DEMO: [&str; 3] = ["wasmi", "0.31.2", "0.46.0"];

/// Least rounds of a case: with fewer, its own variance says too little to stop on.
const ROUNDS_LEAST: u32 = 5;

/// Most rounds of a case where the command line names none.
const ROUNDS_MOST: u32 = 30;

/// Most rounds of the demo's cases: a demo is to take minutes.
const ROUNDS_DEMO: u32 = 10;

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
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// The folder with suites/, images/, hosts/ and policies/ [default: the nearest above]
    #[arg(long, global = true, env = "DYNO_CATALOG", value_name = "FOLDER")]
    catalog: Option<PathBuf>,
    /// Where measurements are kept: a folder or a URL such as s3://bucket/prefix
    /// [default: dyno/store in the user's data folder]
    #[arg(long, global = true, env = "DYNO_STORE", value_name = "URL")]
    store: Option<String>,
    /// Where downloads, images and artifacts are kept [default: dyno in the user's cache folder]
    #[arg(long, global = true, env = "DYNO_CACHE", value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Root of a Debian mirror [default: DYNO_DEBIAN_MIRROR, else this machine's apt sources]
    #[arg(long, global = true, value_name = "URL")]
    mirror: Option<String>,
    /// Show every line of every build
    #[arg(long, short, global = true)]
    verbose: bool,
    /// Show notices only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Whether the table has colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare two releases of a WebAssembly interpreter: the main job, from nothing
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
    Compare {
        /// A commit id (7 digits or more), or what was asked for when it was measured
        baseline: String,
        candidate: String,
        /// Only this suite
        #[arg(long)]
        suite: Option<String>,
        /// Only this host
        #[arg(long)]
        host: Option<String>,
        /// Say why one series has its verdict: BENCHMARK/METRIC, BENCHMARK[CONFIG]/METRIC, with
        /// @HOST where several measured it, or the id of its row in report.json (s3)
        #[arg(long, value_name = "SERIES", conflicts_with_all = ["report", "markdown", "fail_on_regression"])]
        explain: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Compare a commit with itself, many times: do false positives come as rarely as promised?
    Selfcheck {
        /// A suite of the catalog
        suite: String,
        commit: String,
        /// How many comparisons; what the store has of this host is counted with them
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        comparisons: u32,
        /// Rounds of each comparison
        #[arg(long, value_name = "N", default_value_t = ROUNDS_LEAST, value_parser = clap::value_parser!(u32).range(2..=i64::from(ROUNDS_MAX)))]
        rounds: u32,
        /// Compare what dyno reads of each process with what `time -v` and `perf stat` say of it
        /// instead; the exit code is 1 if they are more than 3 % apart
        #[arg(long, conflicts_with = "comparisons")]
        parity: bool,
        /// A host of the catalog
        #[arg(long, default_value = "local")]
        host: String,
        #[command(flatten)]
        choosing: Choosing,
        /// A policy of the catalog
        #[arg(long, default_value = "default")]
        policy: String,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
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
        /// How rows are printed; parquet is for a file: dyno sql --output parquet … > answer.parquet
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
struct Measuring {
    /// Most rounds of a case (each runs it once on each side) [default: 30; demo: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(ROUNDS_MAX)))]
    rounds: Option<u32>,
    /// Least rounds of a case; above that, rounds end when the interval is half of what the policy
    /// calls small [default: 5, or --rounds if that is less]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(ROUNDS_MAX)))]
    min_rounds: Option<u32>,
    /// Seconds of measured processes after which a case gets no more rounds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    budget: u64,
    /// A host of the catalog
    #[arg(long, default_value = "local")]
    host: String,
    #[command(flatten)]
    choosing: Choosing,
    /// Do not count instructions under Valgrind, which takes tens of times as long as the program
    #[arg(long)]
    no_counting: bool,
    #[command(flatten)]
    output: Output,
}

/// Which cases of a suite.
#[derive(Debug, Args)]
struct Choosing {
    /// Only these values of an axis (again for another axis): --only profile=check,debug
    #[arg(long, value_name = "AXIS=VALUE,…", value_parser = axis_values)]
    only: Vec<(String, Vec<String>)>,
    /// Only these benchmarks, with * and ? (again for more)
    #[arg(long, value_name = "NAME")]
    benchmark: Vec<String>,
    /// Only benchmarks of this tier
    #[arg(long)]
    tier: Option<TierArg>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TierArg {
    Primary,
    Secondary,
}

/// `axis=value,value`.
fn axis_values(text: &str) -> std::result::Result<(String, Vec<String>), String> {
    let (axis, values) = text.split_once('=').ok_or("expected AXIS=VALUE,VALUE…")?;
    let values: Vec<String> = values.split(',').map(String::from).collect();
    if axis.is_empty() || values.iter().any(String::is_empty) {
        return Err("expected AXIS=VALUE,VALUE…, none of them empty".into());
    }
    Ok((axis.into(), values))
}

impl Choosing {
    fn selection(&self) -> Selection {
        let mut selection = Selection {
            benchmarks: self.benchmark.clone(),
            tier: self.tier.map(|tier| match tier {
                TierArg::Primary => Tier::Primary,
                TierArg::Secondary => Tier::Secondary,
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
    fn budget(&self, most: u32) -> Result<Budget> {
        let rounds_max = self.rounds.unwrap_or_else(|| most.max(self.min_rounds.unwrap_or(0)));
        let rounds_min = self.min_rounds.unwrap_or(ROUNDS_LEAST.min(rounds_max));
        if rounds_min > rounds_max {
            return Err(Error::input(format!(
                "--min-rounds {rounds_min} is more than --rounds {rounds_max}"
            )));
        }
        Ok(Budget { rounds_min, rounds_max, seconds: self.budget })
    }

    fn request(
        &self,
        [suite, baseline, candidate]: [String; 3],
        most: u32,
        global: &Global,
    ) -> Result<Request> {
        Ok(Request {
            suite,
            baseline,
            candidate,
            host: self.host.clone(),
            budget: self.budget(most)?,
            selection: self.choosing.selection(),
            policy: Catalog::open(global.catalog.as_deref())?.policy(&self.output.policy)?,
            counting: true,
            valgrind: !self.no_counting,
            trust: Trust::Trusted,
            again: false,
            may_pin_again: false,
        })
    }
}

#[derive(Debug, Args)]
struct Output {
    /// A policy of the catalog
    #[arg(long, default_value = "default")]
    policy: String,
    /// Folder for report.html, comment.md and report.json [default: dyno/reports/JOB in the user's data folder]
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// Print the report as JSON instead of a table
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the pull request's comment instead of a table
    #[arg(long)]
    markdown: bool,
    /// Exit with 1 if something that decides regressed
    #[arg(long)]
    fail_on_regression: bool,
}

#[derive(Debug, Subcommand)]
enum SuiteCommand {
    /// Pin what the crates of a suite depend on, and write locks/NAME.lock of each
    Lock {
        /// A suite of the catalog
        suite: String,
        /// Only these crates [default: all]
        crates: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
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

impl Cli {
    /// Whether this is a conversation, which has its own answer to Ctrl-C.
    pub fn is_conversation(&self) -> bool {
        matches!(self.command, Command::Sql { query: None, .. }) && prompt::is_conversation()
    }
}

/// Carries out a command. Returns the exit code.
pub async fn main(cli: Cli, opened: Opened) -> Result<u8> {
    let detail = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => Detail::Quiet,
        (_, true) => Detail::Verbose,
        _ => Detail::Normal,
    };
    let events = show::events(detail);
    let done = command(&cli, &events, opened).await;
    events.send(Event::Finished);
    done
}

async fn command(cli: &Cli, events: &Events, opened: Opened) -> Result<u8> {
    let global = &cli.global;
    match &cli.command {
        Command::Demo { measuring } => {
            let request = measuring.request(DEMO.map(String::from), ROUNDS_DEMO, global)?;
            let request = Request { again: true, may_pin_again: true, ..request };
            measured(&request, measuring, global, events, opened).await
        }
        Command::Run { suite, baseline, candidate, plan, again, untrusted, measuring } => {
            let asked = [suite, baseline, candidate].map(String::clone);
            let request = measuring.request(asked, ROUNDS_MOST, global)?;
            let trust = if *untrusted { Trust::Untrusted } else { Trust::Trusted };
            let request = Request { again: *again, trust, ..request };
            if *plan {
                let around = surroundings(global, events, opened).await?;
                let (plan, text) = run::plan_only(&request, &around).await?;
                events.send(Event::Finished);
                print_as(measuring.output.json, &plan, &text)?;
                return Ok(0);
            }
            measured(&request, measuring, global, events, opened).await
        }
        Command::Compare { baseline, candidate, suite, host, explain, output } => {
            let catalog = Catalog::open(global.catalog.as_deref())?;
            let policy = catalog.policy(&output.policy)?;
            let store = open_store(global).await?;
            let filter = Filter { suite: suite.clone(), host: host.clone() };
            let answer = report::ask(&store, &policy, baseline, candidate, &filter, events).await?;
            if let Some(series) = explain {
                let explained = explain::explain(&answer, &policy, series).await?;
                events.send(Event::Finished);
                out(&match output.json {
                    true => dyno_reports::explain::json(&explained),
                    false => dyno_reports::explain::text(&explained, terminal(global)),
                })?;
                return Ok(0);
            }
            print(&answer, output, output.report.clone(), global, events)
        }
        Command::Selfcheck {
            suite,
            commit,
            comparisons,
            rounds,
            parity,
            host,
            choosing,
            policy,
            json,
        } => {
            let request = Request {
                suite: suite.clone(),
                baseline: commit.clone(),
                candidate: commit.clone(),
                host: host.clone(),
                budget: Budget { rounds_min: *rounds, rounds_max: *rounds, seconds: u64::MAX },
                selection: choosing.selection(),
                policy: Catalog::open(global.catalog.as_deref())?.policy(policy)?,
                // A count that repeats has no false positives to look for.
                counting: false,
                valgrind: false,
                trust: Trust::Trusted,
                again: true,
                may_pin_again: false,
            };
            let around = surroundings(global, events, opened).await?;
            if *parity {
                let parity = run::parity(&request, &around).await?;
                events.send(Event::Finished);
                print_as(*json, &parity, &format!("{parity}\n"))?;
                return Ok(u8::from(!parity.agrees()));
            }
            let checked = selfcheck::check(&request, *comparisons, &around).await?;
            events.send(Event::Finished);
            print_as(*json, &checked, &format!("{checked}\n"))?;
            Ok(0)
        }
        Command::Reproduce { run, keep, json } => {
            let place = place(global, events, opened).await?;
            let reproduced = reproduce(run, &place, keep.as_deref()).await?;
            events.send(Event::Finished);
            print_as(*json, &reproduced, &reproduced.text())?;
            Ok(reproduced.exit_code())
        }
        Command::Sql { query, output, policy } => {
            sql(query.as_deref(), *output, policy, global, events).await
        }
        Command::Host { command } => {
            command.run(global.catalog.as_deref(), global.verbose, events).await
        }
        Command::Suite { command: SuiteCommand::Lock { suite, crates } } => {
            let loaded = Catalog::open(global.catalog.as_deref())?.suite(suite)?;
            let told = lock::lock(&loaded, crates, &cache_folder(global)?, events).await?;
            events.send(Event::Finished);
            out(&told.iter().map(|line| format!("{line}\n")).collect::<String>())?;
            Ok(0)
        }
        Command::Image { command } => images(command, global, events).await,
    }
}

/// Measures, then asks the store for the answer: what is shown is what is stored.
async fn measured(
    request: &Request,
    measuring: &Measuring,
    global: &Global,
    events: &Events,
    opened: Opened,
) -> Result<u8> {
    let around = surroundings(global, events, opened).await?;
    let done = run::run(request, &around).await?;
    let run = around.store.run(&done.job).await.map_err(store_error)?;
    let run =
        run.ok_or_else(|| Error::infrastructure(format!("job {} is not in the store", done.job)))?;
    let filter = Filter { suite: Some(done.suite.clone()), host: Some(request.host.clone()) };
    let (baseline, candidate) = (run.baseline.commit.hex(), run.candidate.commit.hex());
    let answer =
        report::ask(&around.store, &request.policy, baseline, candidate, &filter, events).await?;
    if done.measured {
        let phases: Vec<String> =
            run.phases_s.iter().map(|(phase, seconds)| format!("{phase} {seconds:.1} s")).collect();
        let store = around.store.url();
        events.end(Phase::Publish, format!("job {} in {store} ({})", done.job, phases.join(", ")));
    }
    let folder = match &measuring.output.report {
        Some(folder) => folder.clone(),
        None => data_folder()?.join("reports").join(done.job.hex()),
    };
    let code = print(&answer, &measuring.output, Some(folder), global, events)?;
    Ok(if code == 0 && !run.failures.is_empty() { Kind::Case.exit_code() } else { code })
}

fn print(
    answer: &Answer,
    output: &Output,
    folder: Option<PathBuf>,
    global: &Global,
    events: &Events,
) -> Result<u8> {
    let page = folder.map(|folder| report::write(&answer.view, &folder)).transpose()?;
    if let Some(page) = &page {
        events.end(Phase::Report, page.display().to_string());
    }
    events.send(Event::Finished);
    let text = if output.json {
        dyno_reports::json(&answer.view)
    } else if output.markdown {
        dyno_reports::markdown(&answer.view)
    } else {
        let page = page.map(|page| page.display().to_string());
        dyno_reports::text(&answer.view, page.as_deref(), terminal(global))
    };
    out(&text)?;
    let regressed =
        matches!(answer.concluded.conclusion, Conclusion::Regressed | Conclusion::Mixed);
    Ok(u8::from(output.fail_on_regression && regressed))
}

async fn sql(
    query: Option<&str>,
    format: prompt::Format,
    policy: &str,
    global: &Global,
    events: &Events,
) -> Result<u8> {
    let catalog = Catalog::open(global.catalog.as_deref())?;
    let policy = catalog.policy(policy)?;
    let store = open_store(global).await?;
    let session = Session::open(&store, policy).await.map_err(query_error)?;
    let mut asker = prompt::Asker::new(session, format, events)?;
    match query {
        Some(query) => asker.one(query).await?,
        None if prompt::is_conversation() => {
            prompt::converse(&mut asker, &state_folder()?.join("sql_history")).await?;
        }
        None => asker.standard_input().await?,
    }
    Ok(0)
}

async fn images(command: &ImageCommand, global: &Global, events: &Events) -> Result<u8> {
    let catalog = Catalog::open(global.catalog.as_deref())?;
    let settings = image::Settings {
        mirror: global.mirror.clone(),
        cache: cache_folder(global)?,
        keys: catalog.keys(),
    };
    match command {
        ImageCommand::Lock { name } => {
            let lock = image::lock(&catalog.image(name)?, &settings, events).await?;
            events.send(Event::Finished);
            for (architecture, locked) in &lock.architectures {
                out(&format!("{architecture} {}\n", locked.id))?;
            }
        }
        ImageCommand::Build { name, arch, archive } => {
            let folder = catalog.image(name)?;
            let machine = debian_architecture(std::env::consts::ARCH).unwrap_or("unknown");
            let arch = arch.as_deref().unwrap_or(machine);
            let built = image::build(&folder, arch, &settings, events).await?;
            let place = if *archive { image::archive(&built).await? } else { built.rootfs };
            events.send(Event::Finished);
            out(&format!("{} {}\n", built.id, place.display()))?;
        }
        ImageCommand::Verify { name } => {
            let verified = image::verify(&catalog.image(name)?, &settings, events).await?;
            events.send(Event::Finished);
            let mut differs = Vec::new();
            for v in &verified {
                let equal = v.pinned == v.found;
                let word = if equal { "equal" } else { "DIFFERS" };
                out(&format!("{} pinned {} built {} {word}\n", v.architecture, v.pinned, v.found))?;
                if !equal {
                    differs.push(v.architecture.clone());
                }
            }
            if !differs.is_empty() {
                return Err(Error::new(
                    Kind::Case,
                    format!("{name} came out otherwise for {}", differs.join(", ")),
                ));
            }
        }
    }
    Ok(0)
}

async fn surroundings(global: &Global, events: &Events, opened: Opened) -> Result<Surroundings> {
    let catalog = Catalog::open(global.catalog.as_deref())?;
    Ok(Surroundings { catalog, place: place(global, events, opened).await? })
}

async fn place(global: &Global, events: &Events, opened: Opened) -> Result<Place> {
    Ok(Place {
        store: open_store(global).await?,
        cache: cache_folder(global)?,
        mirror: global.mirror.clone(),
        program: own_program()?,
        events: events.clone(),
        opened,
    })
}

fn own_program() -> Result<PathBuf> {
    std::env::current_exe().while_(|| "finding dyno's own program".into())
}

async fn open_store(global: &Global) -> Result<Store> {
    let url = match &global.store {
        Some(url) => url.clone(),
        None => data_folder()?.join("store").display().to_string(),
    };
    let store = Store::open(&url).await.map_err(store_error)?;
    Ok(store.with_watch(fault::watch))
}

fn cache_folder(global: &Global) -> Result<PathBuf> {
    let folder = match &global.cache {
        Some(folder) => folder.clone(),
        None => user_folder("XDG_CACHE_HOME", ".cache")?.join("dyno"),
    };
    std::fs::create_dir_all(&folder).while_(|| format!("making the cache {}", folder.display()))?;
    folder.canonicalize().while_(|| format!("finding the cache {}", folder.display()))
}

fn state_folder() -> Result<PathBuf> {
    Ok(user_folder("XDG_STATE_HOME", ".local/state")?.join("dyno"))
}

fn data_folder() -> Result<PathBuf> {
    Ok(user_folder("XDG_DATA_HOME", ".local/share")?.join("dyno"))
}

/// XDG Base Directory Specification: the variable if it holds an absolute path, else below HOME.
fn user_folder(variable: &str, below_home: &str) -> Result<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable)
        .or_else(|| Some(absolute("HOME")?.join(below_home)))
        .ok_or_else(|| Error::host(format!("neither {variable} nor HOME names a folder")))
}

fn terminal(global: &Global) -> Terminal {
    let is_terminal = std::io::stdout().is_terminal();
    let color = match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none(),
    };
    let width = terminal_width().filter(|_| is_terminal).unwrap_or(100);
    Terminal { width, color }
}

fn terminal_width() -> Option<usize> {
    // SAFETY: fills a live struct.
    unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        let asked = libc::ioctl(1, libc::TIOCGWINSZ, &mut size);
        (asked == 0 && size.ws_col > 0).then_some(size.ws_col.into())
    }
}

/// A value as JSON for a program, or its text for people.
fn print_as(json: bool, value: &impl serde::Serialize, text: &str) -> Result<()> {
    if !json {
        return out(text);
    }
    out(&format!("{}\n", serde_json::to_string_pretty(value).expect("plain fields serialise")))
}
