//! `dyno bot`: comments of pull requests ask, and comments answer. The passes are the crate `bot`'s;
//! here are its files, its store, and who plans and compares for it.

use std::fs::File;
use std::path::PathBuf;

use dyno_base::error::{Error, Kind, Result};
use dyno_base::event::{Event, Events};
use dyno_bot::configuration::{self, Configuration, Credential};
use dyno_bot::conversation::{Comparison, Comparisons, Wanted};
use dyno_bot::github::{Access, Etags, GitHub, Wire};
use dyno_bot::tick::{Bot, Pass};
use dyno_build::catalog::Catalog;
use dyno_model::budget::Budget;
use dyno_model::catalog::suite::Selection;
use dyno_model::queue::{PRIORITY_DEFAULT, QueueRequest};
use dyno_model::request::{HostChoice, PolicyReference, REQUEST_VERSION, Request};
use dyno_model::text::plural;
use dyno_query::Filter;
use dyno_queue::clock::SystemClock;
use dyno_queue::{Clock as _, Trouble};

use crate::asking::{Asking, Seen, Urgency};
use crate::environment::{Queue, lock_file, reports_folder, state_folder};
use crate::options::{Global, ROUNDS_LEAST, ROUNDS_MOST};
use crate::show::write_stdout;

#[derive(Debug, clap::Subcommand)]
pub enum BotCommand {
    /// Look once at what was asked, ask for it, say what has come of it, and end
    Poll(BotArguments),
}

#[derive(Debug, clap::Args)]
pub struct BotArguments {
    /// Who the bot is, where it answers, and who may ask: docs/bot.md
    #[arg(long, value_name = "FILE", default_value = "bot.toml")]
    pub config: PathBuf,
}

/// Seconds of measured processes after which a case gets no more rounds.
const BUDGET_S: u64 = 60;

impl BotCommand {
    pub async fn run(&self, global: &Global, events: &Events) -> Result<u8> {
        let Self::Poll(arguments) = self;
        let configuration = read_configuration(arguments)?;
        let catalog = Catalog::open(global.catalog.as_deref())?;
        check_names(&configuration, &catalog)?;
        let _alone = lock_account(&configuration)?;
        let github = github(&configuration)?;
        let global = Global {
            store: Some(configuration.store.clone()),
            catalog: global.catalog.clone(),
            cache: global.cache.clone(),
            mirror: global.mirror.clone(),
            ..*global
        };
        let queue = Queue::open(&global).await?;
        let answers =
            Answers { queue: &queue, catalog: &catalog, configuration: &configuration, events };
        let bot = Bot {
            configuration: &configuration,
            github: &github,
            objects: &queue.objects,
            clock: &queue.clock,
            comparisons: &answers,
        };
        let pass = bot.tick(None).await;
        events.send(Event::Finished);
        told(pass, queue.clock.wall_us())
    }
}

/// The answer of a pass, or what it could not do.
fn told(pass: Pass, now_us: i64) -> Result<u8> {
    let (heard, said) = (plural(pass.heard, "command"), plural(pass.said, "thing"));
    let mut text = format!("{heard} taken, {said} said\n");
    if let Some(again_us) = pass.again_us {
        let seconds = (again_us - now_us).max(0) / 1_000_000;
        let why = if pass.is_limited { "GitHub's limit ends" } else { "there is more to say" };
        text.push_str(&format!("come again in {seconds} s: {why}\n"));
    }
    write_stdout(&text)?;
    match pass.troubles.is_empty() {
        true => Ok(0),
        false => Err(Error::infrastructure(pass.troubles.join("; "))
            .hint("nothing is lost: the next pass goes on with it")),
    }
}

fn read_configuration(arguments: &BotArguments) -> Result<Configuration> {
    let file = arguments.config.display().to_string();
    let text = std::fs::read_to_string(&arguments.config).map_err(|error| {
        Error::input(format!("reading {file}: {error}"))
            .hint("docs/bot.md says what stands in it; --config names another")
    })?;
    Ok(configuration::parse(&file, &text)?)
}

/// Refuses names that the catalog does not have, all at once.
fn check_names(configuration: &Configuration, catalog: &Catalog) -> Result<()> {
    let mut wrong = Vec::new();
    for repository in &configuration.repositories {
        let mut check = |found: Result<()>| {
            if let Err(error) = found {
                wrong.push(format!("{}: {}", repository.name, error.message));
            }
        };
        check(catalog.policy(&repository.policy).map(drop));
        for suite in &repository.suites {
            check(catalog.suite(suite).map(drop));
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Error::input(wrong.join("; ")).hint("suites and policies are the catalog's")),
    }
}

/// Where this machine keeps what the bot of an account needs from pass to pass.
fn account_folder(configuration: &Configuration) -> Result<PathBuf> {
    Ok(state_folder()?.join("bot").join(configuration.account.to_string()))
}

/// Keeps another process from being the bot of this account on this machine, for as long as the file
/// is open.
fn lock_account(configuration: &Configuration) -> Result<File> {
    let account = configuration.account;
    let held = format!("a bot of the account {account} is at work on this machine");
    lock_file(&account_folder(configuration)?.join("lock"), &held)
}

/// GitHub, with what the bot shows it.
fn github(configuration: &Configuration) -> Result<GitHub<Wire, SystemClock>> {
    let (Credential::App { key: source, .. } | Credential::Token(source)) =
        &configuration.credential;
    let secret = source.load(|name| std::env::var(name).ok()).map_err(Error::input)?;
    let access = Access::new(&configuration.credential, secret).map_err(Error::input)?;
    let etags = Etags::open(account_folder(configuration)?.join("etags"));
    let wire = Wire::new().map_err(Error::host)?;
    let account = (access, configuration.account);
    GitHub::new(&configuration.api, account, etags, wire, SystemClock::default())
        .map_err(Error::input)
}

/// Who plans and compares: the catalog and the store.
struct Answers<'a> {
    queue: &'a Queue,
    catalog: &'a Catalog,
    configuration: &'a Configuration,
    events: &'a Events,
}

impl Comparisons for Answers<'_> {
    async fn plan(&self, wanted: &Wanted) -> Result<Result<QueueRequest, String>, Trouble> {
        by_kind(self.planned(wanted).await)
    }

    async fn compare(&self, request: &QueueRequest) -> Result<Option<Comparison>, Trouble> {
        // What cannot be compared, since nothing was measured, is no trouble of the store's.
        Ok(by_kind(self.compared(request).await)?.ok())
    }
}

/// What is wrong with what was asked apart from what is wrong with the machine.
fn by_kind<T>(done: Result<T>) -> Result<Result<T, String>, Trouble> {
    match done {
        Ok(done) => Ok(Ok(done)),
        Err(error) if [Kind::Input, Kind::Case].contains(&error.kind) => Ok(Err(error.to_string())),
        Err(error) => Err(Trouble(error.to_string())),
    }
}

impl Answers<'_> {
    async fn planned(&self, wanted: &Wanted) -> Result<QueueRequest> {
        let suite = self.catalog.suite(&wanted.suite)?;
        let policy = self.catalog.policy(&wanted.policy)?;
        let mut selection = Selection { benchmarks: wanted.only.clone(), ..Selection::default() };
        if !wanted.threads.is_empty() {
            let threads = wanted.threads.iter().map(u32::to_string).collect();
            selection.axes.insert("threads".into(), threads);
        }
        let (baseline, candidate) = (&wanted.baseline, &wanted.candidate);
        let template = Request {
            version: REQUEST_VERSION,
            requester: wanted.requester.clone(),
            suite: wanted.suite.clone(),
            baseline: baseline.hex().into(),
            candidate: candidate.hex().into(),
            host: HostChoice::Class(String::new()),
            policy: PolicyReference::from(&policy),
            selection,
            budget: Budget { rounds_min: ROUNDS_LEAST, rounds_max: ROUNDS_MOST, seconds: BUDGET_S },
            counting: true,
            cachegrind: true,
            trust: wanted.trust,
            // Comparing a commit with itself says something each time anew.
            again: baseline == candidate,
        };
        let seen = Seen::look(self.queue).await?;
        let (queue, catalog, events) = (self.queue, self.catalog, self.events);
        let asking = Asking::new(queue, &seen, catalog, suite, template, &wanted.hosts, events);
        let mut asking = asking.await?;
        let urgency = Urgency { priority: PRIORITY_DEFAULT, depth: 0 };
        let request = asking.request(asking.classes.clone(), None, urgency);
        Ok(asking.planned(request, events))
    }

    async fn compared(&self, request: &QueueRequest) -> Result<Comparison> {
        let asked = request.requests.first().ok_or_else(|| Error::input("nothing is asked"))?;
        let policy = self.catalog.policy(&asked.policy.name)?;
        let filter = Filter { suite: Some(asked.suite.clone()), host: None, job: None };
        let names = [asked.baseline.as_str(), asked.candidate.as_str()];
        let [baseline, candidate] = names;
        let store = &self.queue.store;
        let mut answer =
            dyno_answer::ask(store, &policy, baseline, candidate, &filter, self.events).await?;
        if let Some(url) = &self.configuration.report_url {
            let id = request.id().to_string();
            answer.view.links.report_url = Some(format!("{url}/{id}/report.html"));
            dyno_answer::write(&answer.view, &reports_folder()?.join(id))?;
        }
        let is_zero = |comparison: &&dyno_model::verdict::Comparison| {
            comparison.zeros.as_ref().is_some_and(|zeros| zeros.becomes_zero())
        };
        let comparisons = answer.compared.judged.iter().map(|judged| &judged.comparison);
        let zeros = comparisons
            .filter(is_zero)
            .map(|comparison| (comparison.key.benchmark.clone(), comparison.key.metric.clone()));
        Ok(Comparison {
            body: dyno_reports::markdown(&answer.view),
            conclusion: answer.concluded.conclusion,
            gate_fails: answer.concluded.gate_fails,
            has_failures: answer.has_failures,
            sentence: answer.view.sentence.clone(),
            zeros: zeros.collect(),
        })
    }
}
