//! What each command does: glue between its arguments, the job, the store's answer and the screen.

use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use dyno_answer::Answer;
use dyno_answer::error::{query_error, store_error};
use dyno_base::error::{Error, Kind, Result, WithContext as _};
use dyno_base::event::{Event, Events, Phase};
use dyno_build::catalog::Catalog;
use dyno_build::source;
use dyno_job::context::{CleanupHandle, Context, Environment, JobRequest};
use dyno_job::reproduce::reproduce;
use dyno_job::{execute, plan_text, selfcheck};
use dyno_model::budget::Budget;
use dyno_model::queue::Ending;
use dyno_model::record::{Built, Trust};
use dyno_model::request::{HostChoice, PolicyReference, REQUEST_VERSION, Request};
use dyno_model::text::plural;
use dyno_model::verdict::{Conclusion, Verdict};
use dyno_query::{Filter, Session};
use dyno_store::Store;
use dyno_toolchain::lock;

use crate::agent_command;
use crate::arguments::{
    BISECT_SKIP, Cli, Command, Compare, DEMO, DEMO_EXPLANATION, ROUNDS_DEMO, Selfcheck,
};
use crate::cache_command::CacheCommand;
use crate::environment::{
    Queue, cache_folder, cache_path, environment, machine_scope, open_existing_store, open_store,
    reports_folder, state_folder,
};
use crate::host_key;
use crate::options::{Global, Measuring, Output, REQUESTER, ROUNDS_MOST};
use crate::prompt;
use crate::queue_command::{RequestArguments, is_answered, result_text};
use crate::show::{self, Detail, print_as, terminal, write_stdout};
use crate::source_names::{self, Sources};
use crate::suite_command::{self, SuiteCommand};
use crate::watch_command;

/// Carries out a command; returns the exit code.
pub async fn main(cli: Cli, cleanup: CleanupHandle) -> Result<u8> {
    let is_demo = matches!(cli.command, Command::Demo { .. });
    let detail = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => Detail::Quiet,
        (_, true) => Detail::Verbose,
        _ if is_demo => Detail::Explanation,
        _ => Detail::Normal,
    };
    let events = show::events(detail);
    let call = Call { global: &cli.global, events: &events, cleanup };
    let code = call.carry_out(&cli.command).await;
    events.send(Event::Finished);
    code
}

/// One call of dyno: the arguments that every command has, and where its events go.
struct Call<'a> {
    global: &'a Global,
    events: &'a Events,
    cleanup: CleanupHandle,
}

impl Call<'_> {
    async fn carry_out(&self, command: &Command) -> Result<u8> {
        match command {
            Command::Demo { measuring } => {
                let demo = DEMO.map(String::from);
                let (request, policy) = measuring.request(demo, ROUNDS_DEMO, self.global)?;
                let mut request = JobRequest::new(Request { again: true, ..request }, policy)?;
                request.allow_relock = true;
                self.events.explain(DEMO_EXPLANATION, None);
                self.measure_and_answer(&request, measuring).await
            }
            Command::Run { suite, baseline, candidate, plan, again, untrusted, measuring } => {
                let names = [suite, baseline, candidate].map(String::clone);
                let (request, policy) = measuring.request(names, ROUNDS_MOST, self.global)?;
                let trust = if *untrusted { Trust::Untrusted } else { Trust::Trusted };
                let request = JobRequest::new(Request { again: *again, trust, ..request }, policy)?;
                if *plan {
                    return self.show_plan(&request, measuring).await;
                }
                self.measure_and_answer(&request, measuring).await
            }
            Command::Compare(arguments) => self.compare(arguments).await,
            Command::Selfcheck(arguments) => self.selfcheck(arguments).await,
            Command::Reproduce { run, keep, json } => {
                let environment = self.environment(open_existing_store(self.global).await?)?;
                let reproduced = reproduce(run, &environment, keep.as_deref()).await?;
                self.events.send(Event::Finished);
                print_as(*json, &reproduced, &reproduced.text())?;
                Ok(reproduced.exit_code())
            }
            Command::Sql { query, output, policy } => {
                sql(query.as_deref(), *output, policy, self.global, self.events).await
            }
            Command::Request(arguments) => self.request(arguments).await,
            Command::Agent(arguments) => {
                agent_command::run(arguments, self.global, self.events).await.map(|()| 0)
            }
            Command::Watch(arguments) => {
                watch_command::run(arguments, self.global, self.events).await.map(|()| 0)
            }
            Command::Bot { command } => command.run(self.global, self.events).await,
            Command::Queue(arguments) => {
                let queue = Queue::open_to_read(self.global).await?;
                self.events.send(Event::Finished);
                queue.show(arguments).await.map(|()| 0)
            }
            Command::Cancel { id } => self.cancel(id).await,
            Command::QueueJob { file } => {
                let context = self.context().await?;
                agent_command::run_job(file, context).await.map(|()| 0)
            }
            Command::Cache { json, command } => {
                let command = command.as_ref().unwrap_or(&CacheCommand::List);
                command.run(&cache_path(self.global)?, &reports_folder()?, *json)
            }
            Command::Store { command } => {
                command.run(&open_existing_store(self.global).await?).await
            }
            Command::Host { command } => {
                command.run(self.global, &machine_scope()?, self.events).await
            }
            Command::Suite { command } => self.suite(command).await,
            Command::Image { command } => command.run(self.global, self.events).await,
            Command::Completions { shell } => write_completions(*shell),
            Command::Man { folder } => write_manual(folder),
        }
    }

    async fn cancel(&self, id: &str) -> Result<u8> {
        let text = Queue::open(self.global).await?.cancel(id).await?;
        self.events.send(Event::Finished);
        write_stdout(&text)?;
        Ok(0)
    }

    async fn suite(&self, command: &SuiteCommand) -> Result<u8> {
        let catalog = Catalog::open(self.global.catalog.as_deref())?;
        match command {
            SuiteCommand::New { name } => suite_command::new(&catalog, name).await,
            SuiteCommand::List { json } => suite_command::list(&catalog, *json),
            SuiteCommand::Check { trying, times, json } => {
                suite_command::check(trying, *times, *json, &self.context().await?).await
            }
            SuiteCommand::Expect { trying, force } => {
                suite_command::expect(trying, *force, &self.context().await?).await
            }
            SuiteCommand::Lock { suite, crates } => {
                let cache = cache_folder(self.global)?;
                let lines = lock::lock(&catalog.suite(suite)?, crates, &cache, self.events).await?;
                self.events.send(Event::Finished);
                write_stdout(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
                Ok(0)
            }
        }
    }

    /// Asks for a comparison; with `--wait`, prints its answer as `compare` does.
    async fn request(&self, arguments: &RequestArguments) -> Result<u8> {
        let queue = Queue::open(self.global).await?;
        let submitted = queue.request(arguments, self.global, self.events).await?;
        let (id, jobs) = (&submitted.id, submitted.request.jobs.len());
        let (id, state) = (id.hex(), if submitted.is_new { "asked" } else { "asked before" });
        if !arguments.wait {
            self.events.send(Event::Finished);
            write_stdout(&format!("{id} {state}, {}\n", plural(jobs, "job")))?;
            return Ok(0);
        }
        self.events.notice(format!("request {id}: {state}; waiting for {}", plural(jobs, "job")));
        let results = queue.wait(&submitted, self.events).await?;
        if let Some(unanswered) = results.iter().find(|result| !is_answered(result)) {
            let kind = match unanswered.ending {
                Ending::Cancelled => Kind::Interrupted,
                _ => Kind::Case,
            };
            return Err(Error::new(kind, format!("job {}", result_text(unanswered))));
        }
        let catalog = Catalog::open(self.global.catalog.as_deref())?;
        let output = &arguments.measuring.output;
        let policy = catalog.policy(&output.policy)?;
        let request = &submitted.request.requests[0];
        let filter = Filter { suite: Some(arguments.suite.clone()), host: None, job: None };
        let [baseline, candidate] = arguments.names(request);
        let ask =
            || dyno_answer::ask(&queue.store, &policy, &baseline, &candidate, &filter, self.events);
        let mut answer = ask().await?;
        let disputing = &answer.concluded.ask_again;
        let follow_ups = queue.follow_up(&submitted.request, disputing, self.events).await?;
        if !follow_ups.is_empty() {
            for follow_up in &follow_ups {
                queue.wait(follow_up, self.events).await?;
            }
            answer = ask().await?;
        }
        print(answer, output, output.report.clone(), self.global, self.events)
    }

    fn environment(&self, store: Store) -> Result<Environment> {
        environment(store, self.global, self.events, self.cleanup.clone())
    }

    async fn context(&self) -> Result<Context> {
        let catalog = Catalog::open(self.global.catalog.as_deref())?;
        Ok(Context { catalog, environment: self.environment(open_store(self.global).await?)? })
    }

    async fn show_plan(&self, request: &JobRequest, measuring: &Measuring) -> Result<u8> {
        let (plan, text) = plan_text::plan_only(request, &self.context().await?).await?;
        self.events.send(Event::Finished);
        print_as(measuring.output.json, &plan, &text)?;
        Ok(0)
    }

    async fn compare(&self, arguments: &Compare) -> Result<u8> {
        let Compare { baseline, candidate, suite, host, job, explain, output } = arguments;
        let catalog = Catalog::open(self.global.catalog.as_deref())?;
        let policy = catalog.policy(&output.policy)?;
        let store = open_existing_store(self.global).await?;
        let filter = Filter { suite: suite.clone(), host: host.clone(), job: job.clone() };
        let session = dyno_answer::open(&store, &policy).await?;
        // What a work tree is today is written into the cache; other names are only looked up.
        let cache = match [baseline, candidate].iter().any(|name| *name == source::WORK_TREE) {
            true => cache_folder(self.global)?,
            false => cache_path(self.global)?,
        };
        let sources = Sources { catalog: &catalog, cache: &cache };
        let names = sources.names([baseline, candidate], &session, &filter).await;
        let asking = (&store, &policy);
        let answer = dyno_answer::ask_session(session, asking, names, &filter, self.events).await?;
        if let Some(notice) = source_names::notice(&answer.compared) {
            self.events.notice(notice);
        }
        if let Some(series) = explain {
            let explained =
                dyno_answer::explain::explain(&answer, &policy, series, self.events).await?;
            self.events.send(Event::Finished);
            write_stdout(&match output.json {
                true => dyno_reports::explain::json(&explained),
                false => dyno_reports::explain::text(&explained, terminal(self.global.color)),
            })?;
            return Ok(0);
        }
        print(answer, output, output.report.clone(), self.global, self.events)
    }

    async fn selfcheck(&self, arguments: &Selfcheck) -> Result<u8> {
        let Selfcheck { suite, commit, comparisons, rounds, parity, host, choosing, policy, json } =
            arguments;
        let policy = Catalog::open(self.global.catalog.as_deref())?.policy(policy)?;
        let request = Request {
            version: REQUEST_VERSION,
            requester: REQUESTER.into(),
            suite: suite.clone(),
            baseline: commit.clone(),
            candidate: commit.clone(),
            host: HostChoice::Name(host.clone()),
            budget: Budget { rounds_min: *rounds, rounds_max: *rounds, seconds: u64::MAX },
            selection: choosing.selection(),
            policy: PolicyReference::from(&policy),
            // A count that repeats has no false positives to look for.
            counting: false,
            cachegrind: false,
            trust: Trust::Trusted,
            again: true,
        };
        let request = JobRequest::new(request, policy)?;
        let ctx = self.context().await?;
        host_key::check(&ctx.catalog.host(host)?, &ctx.store)?;
        if *parity {
            let parity = execute::parity(&request, &ctx).await?;
            self.events.send(Event::Finished);
            print_as(*json, &parity, &format!("{parity}\n"))?;
            return Ok(u8::from(!parity.agrees()));
        }
        let run = selfcheck::run_comparisons(&request, *comparisons, &ctx).await?;
        let checked =
            dyno_answer::selfcheck::selfcheck_of(&ctx.store, &run, &request.policy).await?;
        self.events.send(Event::Finished);
        print_as(*json, &checked, &format!("{checked}\n"))?;
        Ok(0)
    }

    /// Measures, then asks the store for the answer: what is shown is what is stored.
    async fn measure_and_answer(&self, request: &JobRequest, measuring: &Measuring) -> Result<u8> {
        let ctx = self.context().await?;
        host_key::check(&ctx.catalog.host(&request.host)?, &ctx.store)?;
        let outcome = execute::run(request, &ctx).await?;
        let run = ctx.store.run(&outcome.job).await.map_err(store_error)?;
        let run = run.ok_or_else(|| {
            Error::infrastructure(format!("job {} is not in the store", outcome.job))
        })?;
        // The answer is of what was asked, whatever else the store has of these commits.
        let filter = Filter {
            suite: Some(run.suite.clone()),
            host: Some(request.host.clone()),
            job: Some(outcome.job.hex().to_string()),
        };
        let sources = Sources { catalog: &ctx.catalog, cache: &ctx.cache };
        let name =
            async |name, built: &Built| sources.name_of(name, &run.suite, &built.commit).await;
        let baseline = name(&request.baseline, &run.baseline).await;
        let candidate = name(&request.candidate, &run.candidate).await;
        let (store, policy) = (&ctx.store, &request.policy);
        let answer =
            dyno_answer::ask(store, policy, baseline, candidate, &filter, self.events).await?;
        if outcome.measured {
            let phases = run.phases_s.iter();
            let phases: Vec<String> =
                phases.map(|(phase, seconds)| format!("{phase} {seconds:.1} s")).collect();
            let (job, url, phases) = (&outcome.job, ctx.store.url(), phases.join(", "));
            self.events.end(Phase::Publish, format!("job {job} in {url} ({phases})"));
        }
        let folder = match &measuring.output.report {
            Some(folder) => folder.clone(),
            None => reports_folder()?.join(outcome.job.hex()),
        };
        print(answer, &measuring.output, Some(folder), self.global, self.events)
    }
}

/// Prints and writes the answer; returns the exit code, which is the same for a job that was just
/// measured, one that the store held, and a comparison.
fn print(
    mut answer: Answer,
    output: &Output,
    folder: Option<PathBuf>,
    global: &Global,
    events: &Events,
) -> Result<u8> {
    answer.view.links.report_url.clone_from(&output.report_url);
    answer.view.marker.clone_from(&output.marker);
    if let Some(notice) = source_names::same_commit(&answer.compared) {
        events.notice(notice);
    }
    let page = folder.map(|folder| dyno_answer::write(&answer.view, &folder)).transpose()?;
    if let Some(page) = &page {
        events.end(Phase::Report, page.display().to_string());
    }
    events.send(Event::Finished);
    let text = if output.json {
        dyno_reports::json(&answer.view)
    } else if output.markdown {
        dyno_reports::markdown(&answer.view)
    } else if output.matrix {
        dyno_reports::matrix(&answer.view, terminal(global.color))
    } else {
        let page = page.map(|page| page.display().to_string());
        dyno_reports::text(&answer.view, page.as_deref(), terminal(global.color))
    };
    write_stdout(&text)?;
    if output.bisect {
        return Ok(bisect_code(&answer));
    }
    Ok(match (output.fail_on_regression && answer.concluded.gate_fails, answer.has_failures) {
        (true, _) => 1,
        (false, true) => Kind::Case.exit_code(),
        (false, false) => 0,
    })
}

/// What `git bisect run` is told: 0 good, 1 bad, 125 that this commit cannot tell. What does not
/// build or work is not slow, so only a series that regressed makes a commit bad.
fn bisect_code(answer: &Answer) -> u8 {
    let has_regressed = || {
        let judged = &answer.compared.judged;
        judged.iter().any(|j| j.comparison.decides && j.verdict == Verdict::Regressed)
    };
    match answer.concluded.conclusion {
        Conclusion::Unchanged | Conclusion::Improved => 0,
        Conclusion::Regressed if has_regressed() => 1,
        _ => BISECT_SKIP,
    }
}

fn write_completions(shell: clap_complete::Shell) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dyno", &mut script);
    write_stdout(&script)?;
    Ok(0)
}

/// Writes a page for each command into `folder`.
fn write_manual(folder: &Path) -> Result<u8> {
    let doing = || format!("writing the manual into {}", folder.display());
    std::fs::create_dir_all(folder).context(doing)?;
    clap_mangen::generate_to(Cli::command(), folder).context(doing)?;
    Ok(0)
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
    let store = open_existing_store(global).await?;
    let session = Session::open(&store, policy).await.map_err(query_error)?;
    let mut shell = prompt::SqlShell::new(session, format, events)?;
    match query {
        Some(query) => shell.run_query(query).await?,
        None if prompt::is_interactive() => {
            prompt::run_prompt(&mut shell, &state_folder()?.join("sql_history")).await?;
        }
        None => shell.run_standard_input().await?,
    }
    Ok(0)
}
