//! What each command does: glue between its arguments, the job, the store's answer and the screen.

use std::path::PathBuf;

use dyno_answer::Answer;
use dyno_answer::error::{query_error, store_error};
use dyno_base::error::{Error, Kind, Result};
use dyno_base::event::{Event, Events, Phase};
use dyno_build::catalog::Catalog;
use dyno_image as image;
use dyno_job::context::{CleanupHandle, Context, Environment, JobRequest};
use dyno_job::reproduce::reproduce;
use dyno_job::{execute, plan, selfcheck};
use dyno_model::budget::Budget;
use dyno_model::catalog::image::debian_architecture;
use dyno_model::record::Trust;
use dyno_model::request::{HostChoice, PolicyReference, REQUEST_VERSION, Request};
use dyno_query::{Filter, Session};
use dyno_toolchain::lock;

use crate::arguments::{
    Cli, Command, Compare, DEMO, DEMO_EXPLANATION, Global, ImageCommand, Measuring, Output,
    REQUESTER, ROUNDS_DEMO, ROUNDS_MOST, Selfcheck, SuiteCommand,
};
use crate::environment::{
    cache_folder, data_folder, environment, machine_scope, open_store, state_folder,
};
use crate::prompt;
use crate::show::{self, Detail, print_as, terminal, write_stdout};

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
                let environment = self.environment().await?;
                let reproduced = reproduce(run, &environment, keep.as_deref()).await?;
                self.events.send(Event::Finished);
                print_as(*json, &reproduced, &reproduced.text())?;
                Ok(reproduced.exit_code())
            }
            Command::Sql { query, output, policy } => {
                sql(query.as_deref(), *output, policy, self.global, self.events).await
            }
            Command::Host { command } => {
                let (catalog, scope) = (self.global.catalog.as_deref(), machine_scope()?);
                command.run(catalog, self.global.verbose, &scope, self.events).await
            }
            Command::Suite { command: SuiteCommand::Lock { suite, crates } } => {
                let loaded = Catalog::open(self.global.catalog.as_deref())?.suite(suite)?;
                let cache = cache_folder(self.global)?;
                let lines = lock::lock(&loaded, crates, &cache, self.events).await?;
                self.events.send(Event::Finished);
                write_stdout(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
                Ok(0)
            }
            Command::Image { command } => images(command, self.global, self.events).await,
        }
    }

    async fn environment(&self) -> Result<Environment> {
        environment(self.global, self.events, self.cleanup.clone()).await
    }

    async fn context(&self) -> Result<Context> {
        let catalog = Catalog::open(self.global.catalog.as_deref())?;
        Ok(Context { catalog, environment: self.environment().await? })
    }

    async fn show_plan(&self, request: &JobRequest, measuring: &Measuring) -> Result<u8> {
        let (plan, text) = plan::plan_only(request, &self.context().await?).await?;
        self.events.send(Event::Finished);
        print_as(measuring.output.json, &plan, &text)?;
        Ok(0)
    }

    async fn compare(&self, arguments: &Compare) -> Result<u8> {
        let Compare { baseline, candidate, suite, host, job, explain, output } = arguments;
        let catalog = Catalog::open(self.global.catalog.as_deref())?;
        let policy = catalog.policy(&output.policy)?;
        let store = open_store(self.global).await?;
        let filter = Filter { suite: suite.clone(), host: host.clone(), job: job.clone() };
        let answer =
            dyno_answer::ask(&store, &policy, baseline, candidate, &filter, self.events).await?;
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
        print(&answer, output, output.report.clone(), self.global, self.events)
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
        let outcome = execute::run(request, &ctx).await?;
        let run = ctx.store.run(&outcome.job).await.map_err(store_error)?;
        let run = run.ok_or_else(|| {
            Error::infrastructure(format!("job {} is not in the store", outcome.job))
        })?;
        // The answer is of what was asked, whatever else the store has of these commits.
        let filter = Filter {
            suite: Some(outcome.suite.clone()),
            host: Some(request.host.clone()),
            job: Some(outcome.job.hex().to_string()),
        };
        let (baseline, candidate) = (run.baseline.commit.hex(), run.candidate.commit.hex());
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
            None => data_folder()?.join("reports").join(outcome.job.hex()),
        };
        print(&answer, &measuring.output, Some(folder), self.global, self.events)
    }
}

/// Prints and writes the answer; returns the exit code, which is the same for a job that was just
/// measured, one that the store held, and a comparison.
fn print(
    answer: &Answer,
    output: &Output,
    folder: Option<PathBuf>,
    global: &Global,
    events: &Events,
) -> Result<u8> {
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
    Ok(match (output.fail_on_regression && answer.concluded.gate_fails, answer.has_failures) {
        (true, _) => 1,
        (false, true) => Kind::Case.exit_code(),
        (false, false) => 0,
    })
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
                write_stdout(&format!("{architecture} {}\n", locked.id))?;
            }
        }
        ImageCommand::Build { name, arch, archive } => {
            let folder = catalog.image(name)?;
            let machine = debian_architecture(std::env::consts::ARCH).unwrap_or("unknown");
            let arch = arch.as_deref().unwrap_or(machine);
            let built = image::build(&folder, arch, &settings, events).await?;
            let place = if *archive { image::archive(&built).await? } else { built.rootfs };
            events.send(Event::Finished);
            write_stdout(&format!("{} {}\n", built.id, place.display()))?;
        }
        ImageCommand::Verify { name } => {
            let verified = image::verify(&catalog.image(name)?, &settings, events).await?;
            events.send(Event::Finished);
            let mut differs = Vec::new();
            for v in &verified {
                let equal = v.pinned == v.found;
                let word = if equal { "equal" } else { "DIFFERS" };
                write_stdout(&format!(
                    "{} pinned {} built {} {word}\n",
                    v.architecture, v.pinned, v.found
                ))?;
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
