//! `dyno suite`: suites are listed, begun, tried, and given the answers that they expect.

use std::collections::BTreeMap;
use std::fs;

use dyno_base::atomic_file;
use dyno_base::error::{Error, Kind, Result, WithContext};
use dyno_base::event::Event;
use dyno_build::catalog::{Catalog, LoadedSuite};
use dyno_build::scaffold;
use dyno_job::context::{Context, JobRequest};
use dyno_job::execute;
use dyno_model::answer::difference;
use dyno_model::budget::Budget;
use dyno_model::catalog::suite::{ExpectedAnswer, Source, Workload};
use dyno_model::record::Trust;
use dyno_model::request::{HostChoice, PolicyReference, REQUEST_VERSION, Request};
use dyno_model::suite_check::{CheckedCase, check_case};
use serde::Serialize;

use crate::options::{REQUESTER, SelectionArguments};
use crate::show::{print_as, write_stdout};

#[derive(Debug, clap::Subcommand)]
pub enum SuiteCommand {
    /// Write a new suite into the catalog that works as it is, with an example to replace
    New {
        /// Its name: small letters, digits, `.`, `_` and `-`
        name: String,
    },
    /// List the suites of the catalog
    List {
        /// Print the list as JSON
        #[arg(long)]
        json: bool,
    },
    /// Build one commit, run every case a few times, and say what to change; the exit code is 5 if
    /// a case fails or is flaky
    Check {
        #[command(flatten)]
        trying: Trying,
        /// How often each case runs, after once to warm up
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        times: u32,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the files of `expected` from a commit that you trust, and show what changes
    Expect {
        #[command(flatten)]
        trying: Trying,
        /// Replace files that hold something else
        #[arg(long)]
        force: bool,
    },
    /// Pin what the crates of a suite depend on, and write locks/NAME.lock of each
    Lock {
        /// A suite of the catalog
        suite: String,
        /// Only these crates [default: all]
        crates: Vec<String>,
    },
}

/// What is tried of one commit.
#[derive(Debug, clap::Args)]
pub struct Trying {
    /// A suite of the catalog
    pub suite: String,
    /// The commit, named as for run
    pub commit: String,
    /// A host of the catalog
    #[arg(long, default_value = "local")]
    pub host: String,
    #[command(flatten)]
    pub choosing: SelectionArguments,
}

impl Trying {
    fn request(&self, catalog: &Catalog) -> Result<JobRequest> {
        let policy = catalog.policy("default")?;
        let request = Request {
            version: REQUEST_VERSION,
            requester: REQUESTER.into(),
            suite: self.suite.clone(),
            baseline: self.commit.clone(),
            candidate: self.commit.clone(),
            host: HostChoice::Name(self.host.clone()),
            budget: Budget { rounds_min: 1, rounds_max: 1, seconds: u64::MAX },
            selection: self.choosing.selection(),
            policy: PolicyReference::from(&policy),
            counting: false,
            cachegrind: false,
            trust: Trust::Trusted,
            again: true,
        };
        JobRequest::new(request, policy)
    }
}

/// A suite of the catalog in a list.
#[derive(Debug, Serialize)]
struct ListedSuite {
    name: String,
    what: String,
    image: String,
    source: String,
    benchmarks: usize,
    cases: usize,
    /// Why it cannot be read; the others are empty then.
    #[serde(skip_serializing_if = "Option::is_none")]
    mistake: Option<String>,
}

fn listed(name: String, loaded: Result<LoadedSuite>) -> ListedSuite {
    match loaded {
        Ok(LoadedSuite { suite, .. }) => ListedSuite {
            source: match &suite.source {
                Source::Git(location) => location.clone(),
                Source::Crate(name) => format!("crate {name}"),
                Source::Compiler(None) => "compilers".into(),
                Source::Compiler(Some(location)) => format!("compilers, {location}"),
            },
            benchmarks: suite.benchmarks.len(),
            cases: suite.cases().len(),
            name,
            what: suite.what,
            image: suite.image,
            mistake: None,
        },
        Err(error) => ListedSuite {
            name,
            what: String::new(),
            image: String::new(),
            source: String::new(),
            benchmarks: 0,
            cases: 0,
            mistake: Some(error.to_string().lines().next().unwrap_or_default().to_string()),
        },
    }
}

/// Lists the suites.
pub fn list(catalog: &Catalog, json: bool) -> Result<u8> {
    let suites: Vec<ListedSuite> = catalog
        .suites()
        .into_iter()
        .map(|name| listed(name.clone(), catalog.suite(&name)))
        .collect();
    let rows = suites.iter().map(|suite| match &suite.mistake {
        None => [
            suite.name.clone(),
            suite.cases.to_string(),
            suite.image.clone(),
            suite.source.clone(),
            suite.what.clone(),
        ],
        Some(mistake) => {
            let none = || "–".to_string();
            [suite.name.clone(), none(), none(), none(), format!("cannot be read: {mistake}")]
        }
    });
    let text = table(&["suite", "cases", "image", "source", "what"], rows);
    print_as(json, &suites, &text)?;
    Ok(0)
}

/// Writes a new suite.
pub async fn new(catalog: &Catalog, name: &str) -> Result<u8> {
    let folder = scaffold::write_suite(catalog, name).await?;
    write_stdout(&format!(
        "{}\n\nTry it:\n  dyno suite check {name} v1\n  dyno run {name} v1 v2\nThen put your own in its place: suite.toml says where.\n",
        folder.join("suite.toml").display()
    ))?;
    Ok(0)
}

/// Tries every case.
pub async fn check(trying: &Trying, times: u32, json: bool, ctx: &Context) -> Result<u8> {
    let request = trying.request(&ctx.catalog)?;
    let suite = ctx.catalog.suite(&trying.suite)?;
    let trials = execute::try_suite(suite, &request, times, ctx).await?;
    ctx.events.send(Event::Finished);
    let checked: Vec<CheckedCase> = trials.iter().map(|trial| check_case(&trial.case)).collect();
    let rows = checked.iter().map(|case| {
        let number = |value: Option<f64>, text: fn(f64) -> String| value.map_or("–".into(), text);
        [
            case.finding.name().to_string(),
            case.case.clone(),
            number(case.wall_s, |seconds| format!("{seconds:.4} s")),
            number(case.spread, |spread| format!("{:.1} %", spread * 100.0)),
            case.detail.clone(),
        ]
    });
    let mut text = table(&["", "case", "wall", "spread", "to change"], rows);
    for trial in &trials {
        let Some(failure) = trial.failure.as_ref().filter(|f| !f.log_tail.trim().is_empty()) else {
            continue;
        };
        text.push_str(&format!("\nlast lines of {}:\n", trial.case.case));
        let lines: Vec<&str> = failure.log_tail.lines().collect();
        for line in &lines[lines.len().saturating_sub(10)..] {
            text.push_str(&format!("  | {}\n", line.escape_debug()));
        }
    }
    print_as(json, &checked, &text)?;
    let is_broken = checked.iter().any(|case| case.finding.is_broken());
    Ok(if is_broken { Kind::Case.exit_code() } else { 0 })
}

/// What is to be written, and the case that said so.
struct Answer {
    case: String,
    bytes: std::sync::Arc<[u8]>,
}

/// Writes the files of `expected`.
pub async fn expect(trying: &Trying, force: bool, ctx: &Context) -> Result<u8> {
    let request = trying.request(&ctx.catalog)?;
    let mut suite = ctx.catalog.suite_without_answers(&trying.suite)?;
    let folder = suite.folder.clone();
    let files = take_files(&mut suite);
    if files.is_empty() {
        let what = format!("no benchmark of {} names a file of `expected`", trying.suite);
        return Err(Error::input(what).hint("expected = { stdout_file = \"NAME.txt\" }"));
    }
    let trials = execute::try_suite(suite, &request, 1, ctx).await?;
    ctx.events.send(Event::Finished);
    let mut answers: BTreeMap<&str, Answer> = BTreeMap::new();
    let mut wrong = Vec::new();
    for trial in &trials {
        let Some(file) = files.get(&trial.benchmark) else { continue };
        let case = &trial.case.case;
        match (&trial.failure, &trial.answer) {
            (Some(failure), _) => wrong.push(format!("{case}: {}", failure.reason)),
            (None, None) => wrong.push(format!("{case}: its answer is too long for a file")),
            (None, Some(bytes)) => match answers.get(file.as_str()) {
                Some(other) if other.bytes != *bytes => wrong.push(format!(
                    "{file}: {} and {case} answer differently, and have one file",
                    other.case
                )),
                Some(_) => {}
                None => {
                    let answer = Answer { case: case.clone(), bytes: bytes.clone() };
                    answers.insert(file, answer);
                }
            },
        }
    }
    if !wrong.is_empty() {
        return Err(Error::new(Kind::Case, format!("nothing was written: {}", wrong.join("; ")))
            .hint(
                "leave a case out by --benchmark and --only, or expect stdout_of = \"baseline\"",
            ));
    }
    write_answers(&folder, &answers, force)
}

/// The file of each benchmark that has one; nothing is expected of it any more.
fn take_files(suite: &mut LoadedSuite) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for benchmark in &mut suite.suite.benchmarks {
        let Workload::Program(program) = &mut benchmark.work else { continue };
        if let Some(file) = program.expected.file() {
            files.insert(benchmark.name.clone(), file.to_string());
            program.expected.answer = ExpectedAnswer::Baseline;
        }
    }
    files
}

fn write_answers(
    folder: &std::path::Path,
    answers: &BTreeMap<&str, Answer>,
    force: bool,
) -> Result<u8> {
    let mut refused = 0;
    for (file, answer) in answers {
        let path = folder.join(file);
        let bytes = &answer.bytes;
        let state = match fs::read(&path) {
            Ok(before) if before == **bytes => format!("as it was, {} bytes", bytes.len()),
            Ok(before) => {
                let how = difference(&before, bytes);
                if force {
                    format!("replaced: {how}")
                } else {
                    refused += 1;
                    format!("holds something else, left as it is: {how}")
                }
            }
            Err(_) => format!("written, {} bytes", bytes.len()),
        };
        if state.starts_with("written") || state.starts_with("replaced") {
            let doing = || format!("writing {}", path.display());
            fs::create_dir_all(path.parent().unwrap_or(folder)).context(doing)?;
            atomic_file::replace(&path, bytes, 0o644).context(doing)?;
        }
        write_stdout(&format!("{file} ({}): {state}\n", answer.case))?;
    }
    if refused > 0 {
        return Err(Error::new(Kind::Case, format!("{refused} files hold another answer"))
            .hint("if the commit is right and the file is wrong: --force"));
    }
    Ok(0)
}

/// Columns that line up.
fn table<const N: usize>(head: &[&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(String::from)).chain(rows).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}
