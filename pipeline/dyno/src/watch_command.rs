//! `dyno watch`: asks for the new commits of branches, as files of the catalog say.
//!
//! What was asked is known from the requests in the store: their ids follow from what is asked. What
//! a pass learns is kept for the next one of this process only to ask the store less.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dyno_base::error::{Error, Result};
use dyno_base::event::Events;
use dyno_build::catalog::{Catalog, LoadedSuite};
use dyno_build::source;
use dyno_model::budget::Budget;
use dyno_model::catalog::policy::Policy;
use dyno_model::catalog::suite::{Selection, Source};
use dyno_model::catalog::watch::Watch;
use dyno_model::id::{CommitId, RequestId};
use dyno_model::queue::{Chain, JobName, QueueRequest, Step, class_word, due};
use dyno_model::record::Trust;
use dyno_model::request::{HostChoice, PolicyReference, REQUEST_VERSION, Request};
use dyno_model::text::plural;
use dyno_query::Filter;
use dyno_queue::request::{load, results, submit};

use crate::asking::{Asking, Seen, Urgency};
use crate::environment::{Queue, cache_folder, queue_error};
use crate::options::{Global, ROUNDS_LEAST};
use crate::show::report_error;

#[derive(Debug, clap::Args)]
pub struct WatchArguments {
    /// Watches of the catalog [default: all]
    pub names: Vec<String>,
    /// Look once and leave
    #[arg(long)]
    pub once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub poll: u64,
}

/// Seconds of measured processes after which a case gets no more rounds.
const BUDGET_S: u64 = 60;

/// Looks at the branches until it is interrupted, or once.
///
/// # Errors
/// With `--once`: all that could not be watched, after all else was.
pub async fn run(arguments: &WatchArguments, global: &Global, events: &Events) -> Result<()> {
    let catalog = Catalog::open(global.catalog.as_deref())?;
    let watches = catalog.watches(&arguments.names)?;
    if watches.is_empty() {
        let folder = catalog.watches_folder();
        return Err(Error::input(format!("there is no watch in {}", folder.display()))
            .hint("write watches/NAME.toml into the catalog: docs/queue.md has an example"));
    }
    let queue = Queue::open(global).await?;
    let mut watcher = Watcher {
        catalog,
        queue,
        global,
        events,
        newest: BTreeMap::new(),
        known_requests: BTreeSet::new(),
        undisputed_pairs: BTreeSet::new(),
        notices: BTreeSet::new(),
    };
    let mut known_troubles = BTreeSet::new();
    loop {
        let troubles = watcher.look(&watches).await;
        if arguments.once {
            return troubles.into_iter().reduce(joined).map_or(Ok(()), Err);
        }
        // One that lasts is told once.
        let is_new = |error: &&Error| !known_troubles.contains(&error.message);
        troubles.iter().filter(is_new).for_each(report_error);
        known_troubles = troubles.into_iter().map(|error| error.message).collect();
        tokio::time::sleep(Duration::from_secs(arguments.poll)).await;
    }
}

/// Both errors as one, of the first's kind.
fn joined(mut first: Error, second: Error) -> Error {
    first.message = format!("{}; {}", first.message, second.message);
    first.hint = first.hint.or(second.hint);
    first.mistakes.extend(second.mistakes);
    first
}

/// A pair of commits of a suite.
type Pair = (String, CommitId, CommitId);

/// What looks at branches, and what it has seen.
struct Watcher<'a> {
    catalog: Catalog,
    queue: Queue,
    global: &'a Global,
    events: &'a Events,
    /// Watch → its newest commit and the depth of that.
    newest: BTreeMap<String, (CommitId, u32)>,
    /// Requests that were seen in the store.
    known_requests: BTreeSet<RequestId>,
    /// Pairs whose hosts do not contradict each other, or were asked again.
    undisputed_pairs: BTreeSet<Pair>,
    /// Notices that were given.
    notices: BTreeSet<String>,
}

impl Watcher<'_> {
    /// Looks at every branch; what does not work is in the answer, and stops nothing else.
    async fn look(&mut self, watches: &[Watch]) -> Vec<Error> {
        let mut troubles = Vec::new();
        let mut seen = match Seen::look(&self.queue).await {
            Ok(seen) => seen,
            Err(error) => return vec![error],
        };
        for watch in watches {
            let about = |place: String, error: Error| Error {
                message: format!("watch {}{place}: {}", watch.name, error.message),
                ..error
            };
            match self.chain(watch).await {
                Err(error) => troubles.push(about(String::new(), error)),
                Ok(chain) => {
                    for suite in &watch.suites {
                        if let Err(error) = self.ask(watch, suite, &chain, &mut seen).await {
                            troubles.push(about(format!(", suite {suite}"), error));
                        }
                    }
                }
            }
        }
        troubles
    }

    fn notice_once(&mut self, notice: String) {
        if self.notices.insert(notice.clone()) {
            self.events.notice(notice);
        }
    }

    /// The branch as it is now.
    async fn chain(&mut self, watch: &Watch) -> Result<Chain> {
        let Watch { name, repository, branch, look_back, .. } = watch;
        let (folder, most) = (self.catalog.watches_folder(), Chain::length(*look_back));
        let cache = cache_folder(self.global)?;
        let chain =
            source::first_parents(repository, &folder, branch, most, &cache, self.events).await?;
        let Some(newest) = chain.commits.first().cloned() else { return Ok(chain) };
        if let Some((before, depth)) = self.newest.insert(name.clone(), (newest, chain.depth))
            && chain.has_lost(&before, depth)
        {
            self.notice_once(format!(
                "watch {name}: {branch} was rewritten: {} is not on it any more. What was asked of \
                 it stays asked",
                before.short()
            ));
        }
        if let Some(first) = chain.commits.last().filter(|_| chain.depth < *look_back) {
            self.notice_once(format!(
                "watch {name}: {} has no parent, and nothing to be compared with",
                first.short()
            ));
        }
        Ok(chain)
    }

    /// Asks for what is due of a suite, and does what follows on what was answered.
    async fn ask(
        &mut self,
        watch: &Watch,
        suite: &str,
        chain: &Chain,
        seen: &mut Seen,
    ) -> Result<()> {
        let policy = self.catalog.policy(&watch.policy)?;
        let suite = self.catalog.suite(suite)?;
        self.check_source(watch, &suite)?;
        let name = suite.suite.name.clone();
        let template = template(watch, &name, &policy);
        let (queue, catalog, events) = (&self.queue, &self.catalog, self.events);
        let mut asking =
            Asking::new(queue, seen, catalog, suite, template, &watch.classes, events).await?;
        let steps = chain.steps(watch.look_back);
        for class in asking.classes.clone() {
            let filed = self.ask_class(watch, &mut asking, &class, &steps, seen).await?;
            if filed > 0 {
                self.events.notice(format!(
                    "watch {}: {} of {name} asked of {}",
                    watch.name,
                    plural(filed, "comparison"),
                    class_word(&class)
                ));
            }
        }
        self.follow(watch, &asking, &policy, &steps).await
    }

    /// Says so where hosts would look elsewhere for the commits.
    fn check_source(&mut self, watch: &Watch, suite: &LoadedSuite) -> Result<()> {
        let elsewhere = match source::absolute(&suite.suite.source, &suite.folder)? {
            Source::Git(url) | Source::Compiler(Some(url)) => {
                let watched = Source::Git(watch.repository.clone());
                let watched = source::absolute(&watched, &self.catalog.watches_folder())?;
                (watched != Source::Git(url.clone())).then_some(url)
            }
            Source::Crate(_) | Source::Compiler(None) => {
                return Err(Error::input("what it compares comes from no git repository")
                    .hint("watch with suites whose [source] has `git`"));
            }
        };
        if let Some(url) = elsewhere {
            self.notice_once(format!(
                "watch {}: hosts take the commits of {} from {url}, and not from {}",
                watch.name, suite.suite.name, watch.repository
            ));
        }
        Ok(())
    }

    /// Asks a class for what is due; how many requests that were.
    async fn ask_class(
        &mut self,
        watch: &Watch,
        asking: &mut Asking,
        class: &HostChoice,
        steps: &[Step],
        seen: &mut Seen,
    ) -> Result<usize> {
        let measured = measured_by(asking, class);
        let is_of = |job: &&JobName| job.class == *class;
        let open = seen.open.iter().filter(is_of).count();
        let free = (watch.open_max as usize).saturating_sub(open);
        let mut is_asked = BTreeSet::new();
        // Where there is no room for older ancestors, nobody needs to know which were asked.
        for step in steps.iter().filter(|step| step.distance == 1 || free > 0) {
            let pair = (step.baseline.clone(), step.candidate.clone());
            let id = request_for(watch, asking, class, step).id();
            if measured.contains(&pair) || self.is_asked(&id).await? {
                is_asked.insert(pair);
            }
        }
        let is_asked =
            |step: &Step| is_asked.contains(&(step.baseline.clone(), step.candidate.clone()));
        let due = due(steps, is_asked, free);
        for step in &due {
            let request = asking.planned(request_for(watch, asking, class, step), self.events);
            let asked = submit(&self.queue.objects, &self.queue.clock, &request).await;
            let asked = asked.map_err(queue_error)?;
            seen.open.extend(asked.request.jobs.iter().map(JobName::new));
            self.known_requests.insert(asked.id);
        }
        Ok(due.len())
    }

    async fn is_asked(&mut self, id: &RequestId) -> Result<bool> {
        if self.known_requests.contains(id) {
            return Ok(true);
        }
        let name = dyno_model::queue::path::request(id);
        let found = dyno_queue::objects::read(&self.queue.objects, &self.queue.clock, &name).await;
        let is_there = found.map_err(queue_error)?.is_some();
        if is_there {
            self.known_requests.insert(id.clone());
        }
        Ok(is_there)
    }

    /// Where hosts contradict each other about what was asked, asks them again.
    async fn follow(
        &mut self,
        watch: &Watch,
        asking: &Asking,
        policy: &Policy,
        steps: &[Step],
    ) -> Result<()> {
        let suite = &asking.suite.suite.name;
        for step in steps {
            let pair = (suite.clone(), step.baseline.clone(), step.candidate.clone());
            if self.undisputed_pairs.contains(&pair) || !has_several_hosts(asking, step) {
                continue;
            }
            let Some(request) = self.answered(watch, asking, step).await? else { continue };
            let filter = Filter { suite: Some(suite.clone()), host: None, job: None };
            let (baseline, candidate) = (step.baseline.hex(), step.candidate.hex());
            // Of the answer only who contradicts whom is of interest here.
            let (store, nobody) = (&self.queue.store, Events::none());
            let answer =
                dyno_answer::ask(store, policy, baseline, candidate, &filter, &nobody).await?;
            self.queue.follow_up(&request, &answer.concluded.ask_again, self.events).await?;
            self.undisputed_pairs.insert(pair);
        }
        Ok(())
    }

    /// A request for `step`, where those of all classes that were asked have ended.
    async fn answered(
        &self,
        watch: &Watch,
        asking: &Asking,
        step: &Step,
    ) -> Result<Option<QueueRequest>> {
        let (objects, clock) = (&self.queue.objects, &self.queue.clock);
        let mut first = None;
        for class in &asking.classes {
            let id = request_for(watch, asking, class, step).id();
            let Some(request) = load(objects, clock, &id).await.map_err(queue_error)? else {
                continue;
            };
            let jobs: Vec<_> = request.jobs.iter().map(|job| job.id.clone()).collect();
            let ended = results(objects, clock, &jobs).await.map_err(queue_error)?;
            if ended.len() < jobs.len() {
                return Ok(None);
            }
            first = first.or(Some(request));
        }
        Ok(first)
    }
}

/// What a watch asks of a class for a step; not planned yet.
fn request_for(watch: &Watch, asking: &Asking, class: &HostChoice, step: &Step) -> QueueRequest {
    let priority = watch.priority.saturating_sub(u8::from(step.distance > 1));
    let urgency = Urgency { priority, depth: step.depth };
    let commits = [&step.baseline, &step.candidate].map(|commit| commit.hex().to_string());
    asking.request(vec![class.clone()], Some(commits), urgency)
}

/// What a watch asks for, without commits and a class.
fn template(watch: &Watch, suite: &str, policy: &Policy) -> Request {
    let rounds_max = watch.rounds;
    Request {
        version: REQUEST_VERSION,
        requester: format!("watch {}", watch.name),
        suite: suite.to_string(),
        baseline: String::new(),
        candidate: String::new(),
        host: HostChoice::Class(String::new()),
        policy: PolicyReference::from(policy),
        selection: Selection::default(),
        budget: Budget { rounds_min: ROUNDS_LEAST.min(rounds_max), rounds_max, seconds: BUDGET_S },
        counting: true,
        cachegrind: true,
        trust: Trust::Trusted,
        again: false,
    }
}

/// The pairs of which the store has a run of a host of the class, whatever the suite said then.
fn measured_by(asking: &Asking, class: &HostChoice) -> BTreeSet<(CommitId, CommitId)> {
    let is_of = |host: &str| match class {
        HostChoice::Name(name) => name == host,
        HostChoice::Class(_) => {
            asking.offers.iter().any(|offer| offer.name == host && offer.is_of(class))
        }
    };
    let runs = asking.runs.iter().map(|row| &row.run);
    let of_class = runs.filter(|run| run.trust.is_trusted() && is_of(&run.host));
    of_class.map(|run| (run.baseline.commit.clone(), run.candidate.commit.clone())).collect()
}

/// Whether several hosts of one architecture have measured the pair: only those contradict each
/// other.
fn has_several_hosts(asking: &Asking, step: &Step) -> bool {
    let is_of =
        |(from, to): (&CommitId, &CommitId)| *from == step.baseline && *to == step.candidate;
    let mut hosts: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for run in asking.runs.iter().map(|row| &row.run) {
        if is_of((&run.baseline.commit, &run.candidate.commit)) {
            hosts.entry(run.fingerprint.kind()).or_default().insert(&run.host);
        }
    }
    hosts.values().any(|hosts| hosts.len() > 1)
}
