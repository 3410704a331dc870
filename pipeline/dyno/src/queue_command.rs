//! The queue's commands: asking, measuring what others asked, looking, cancelling.

use std::time::Duration;

use dyno_base::error::{Error, Result};
use dyno_base::event::Events;
use dyno_base::text::{ago, plain};
use dyno_build::catalog::Catalog;
use dyno_build::source;
use dyno_model::commit_name::{CommitName, Meaning, PREFIX_DIGITS_MIN};
use dyno_model::id::{QueueJobId, RequestId};
use dyno_model::queue::{
    BUNDLE_MAX_MIB, Ending, HostOffer, JobName, JobResult, PRIORITY_DEFAULT, PRIORITY_MAX,
    QueueRequest,
};
use dyno_model::record::Trust;
use dyno_model::request::Request;
use dyno_queue::Clock;
use dyno_queue::request::{Submitted, cancel, load, open_jobs_like, results, submit};
use dyno_queue::status::{Status, status};

use crate::asking::{Asking, Seen, Urgency, resolve_names};
use crate::environment::{Queue, queue_error};
use crate::options::{Global, Measuring, ROUNDS_MOST};
use crate::show::{print_as, write_stdout};

/// How often a request is looked at that is waited for.
const LOOK: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub struct RequestArguments {
    /// A suite of the catalog
    pub suite: String,
    /// The commit to compare with, named as for run
    #[arg(required_unless_present = "self_check")]
    pub baseline: Option<String>,
    /// The commit in question, named alike
    #[arg(required_unless_present = "self_check")]
    pub candidate: Option<String>,
    /// Compare this commit with itself
    #[arg(long = "self", value_name = "COMMIT", conflicts_with_all = ["baseline", "candidate"])]
    pub self_check: Option<String>,
    /// Who is to measure: a label, an architecture or the name of a host (again, or with commas, for
    /// more; each measures by itself) [default: the host of --host]
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    pub on: Vec<String>,
    /// 0 to 9; the highest is begun first
    #[arg(long, value_name = "N", default_value_t = PRIORITY_DEFAULT, value_parser = clap::value_parser!(u8).range(..=i64::from(PRIORITY_MAX)))]
    pub priority: u8,
    /// Measure again even if the store has this very job
    #[arg(long)]
    pub again: bool,
    /// The candidate is a stranger's
    #[arg(long)]
    pub untrusted: bool,
    /// The most MiB that a bundle of commits may have which hosts cannot fetch; with 0 none is made,
    /// since hosts have the path that the suite names
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(..=BUNDLE_MAX_MIB))]
    pub bundle_max: u64,
    /// Wait for the answer, print it, and end as compare does
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub measuring: Measuring,
}

#[derive(Debug, clap::Args)]
pub struct QueueArguments {
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
    /// Print it again whenever it changes
    #[arg(long, conflicts_with = "json")]
    pub follow: bool,
}

impl RequestArguments {
    /// The names on the command line, with what they meant when `request` was made.
    pub fn names(&self, request: &Request) -> [CommitName; 2] {
        let name = |written: &Option<String>, asked: &String| {
            let written = self.self_check.as_ref().or(written.as_ref()).unwrap_or(asked);
            match asked.parse() {
                Ok(commit) => CommitName::with_meaning(
                    written,
                    &self.suite,
                    Meaning { commit, subject: None },
                ),
                Err(_) => CommitName::from(asked),
            }
        };
        [name(&self.baseline, &request.baseline), name(&self.candidate, &request.candidate)]
    }
}

/// Whether a job was answered: measured, or held already.
pub const fn is_answered(result: &JobResult) -> bool {
    matches!(result.ending, Ending::Done { .. } | Ending::Held { .. })
}

impl Queue {
    /// Asks for what the arguments say; the notices of its plan are sent.
    pub async fn request(
        &self,
        arguments: &RequestArguments,
        global: &Global,
        events: &Events,
    ) -> Result<Submitted> {
        let request = self.build_request(arguments, global, events).await?;
        submit(&self.objects, &self.clock, &request).await.map_err(queue_error)
    }

    async fn build_request(
        &self,
        arguments: &RequestArguments,
        global: &Global,
        events: &Events,
    ) -> Result<QueueRequest> {
        let catalog = Catalog::open(global.catalog.as_deref())?;
        let suite = catalog.suite(&arguments.suite)?;
        let names = match &arguments.self_check {
            Some(commit) => [commit.clone(), commit.clone()],
            None => [&arguments.baseline, &arguments.candidate]
                .map(|name| name.clone().expect("clap asks for it")),
        };
        let named = resolve_names(&suite, names, global, events).await?;
        let [baseline, candidate] = named.names.clone();
        let names = [arguments.suite.clone(), baseline, candidate];
        let (request, _) = arguments.measuring.request(names, ROUNDS_MOST, global)?;
        let trust = if arguments.untrusted { Trust::Untrusted } else { Trust::Trusted };
        let again = arguments.again || arguments.self_check.is_some();
        let request = Request { trust, again, requester: requester(), ..request };
        let depth = match request.candidate.parse() {
            Ok(commit) => source::depth(&suite.suite.source, &suite.folder, &commit).await,
            Err(_) => None,
        };
        let seen = Seen::look(self).await?;
        let asking = Asking::new(self, &seen, &catalog, suite, request, &arguments.on, events);
        let mut asking = asking.await?;
        let urgency = Urgency { priority: arguments.priority, depth: depth.unwrap_or(0) };
        let mut request = asking.request(asking.classes.clone(), None, urgency);
        let before = load(&self.objects, &self.clock, &request.id()).await.map_err(queue_error)?;
        request.bundle = match before {
            // It was asked before, and its commits are where they were put then.
            Some(before) => before.bundle,
            None => {
                let (suite, most) = (&asking.suite, arguments.bundle_max);
                self.bundle(suite, &named, most, global, events).await?
            }
        };
        Ok(asking.planned(request, events))
    }

    /// Waits until every job of a request has ended; their results.
    ///
    /// # Errors
    /// Of the store, where it does not answer for minutes.
    pub async fn wait(&self, submitted: &Submitted, events: &Events) -> Result<Vec<JobResult>> {
        let mut ended = Vec::new();
        let mut open: Vec<QueueJobId> =
            submitted.request.jobs.iter().map(|job| job.id.clone()).collect();
        loop {
            let found = results(&self.objects, &self.clock, &open).await.map_err(queue_error)?;
            for result in found {
                events.notice(format!("job {}", result_text(&result)));
                open.retain(|job| *job != result.job);
                ended.push(result);
            }
            if open.is_empty() {
                return Ok(ended);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Prints the queue, once or whenever it changes.
    pub async fn show(&self, arguments: &QueueArguments) -> Result<()> {
        let mut shown = String::new();
        loop {
            let status = status(&self.objects, &self.clock).await.map_err(queue_error)?;
            let text = status_text(&status, self.clock.wall_us());
            if !arguments.follow {
                return print_as(arguments.json, &status, &text);
            }
            if text != shown {
                write_stdout(&text)?;
                shown = text;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Cancels a request, by its id, or a job, by its id or the first digits; a line for each.
    pub async fn cancel(&self, id: &str) -> Result<String> {
        let request = match id.parse::<RequestId>() {
            Ok(request) => load(&self.objects, &self.clock, &request).await.map_err(queue_error)?,
            Err(_) => None,
        };
        let jobs = match request {
            Some(request) => request.jobs.iter().map(JobName::new).collect(),
            None => open_jobs_like(&self.objects, id).await.map_err(queue_error)?,
        };
        if jobs.is_empty() || id.len() < PREFIX_DIGITS_MIN {
            return Err(Error::input(format!("no request and no open job has the id {id}")).hint(
                "dyno queue lists what is open; an id is its 32 digits, or the first 7 or more of a job's",
            ));
        }
        let mut text = String::new();
        for job in &jobs {
            let incarnation = format!("{}/{}", std::process::id(), self.clock.wall_us());
            let ended = cancel(&self.objects, &self.clock, job, &requester(), &incarnation).await;
            let (result, _) = ended.map_err(queue_error)?;
            text.push_str(&format!("{}\n", result_text(&result)));
        }
        Ok(text)
    }
}

/// Who asks: the user and the machine.
pub fn requester() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "somebody".into());
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", machine.trim())
}

/// How a job ended, in a line.
pub fn result_text(result: &JobResult) -> String {
    let (id, by) = (result.job.short(), plain(&result.by));
    match &result.ending {
        Ending::Done { run, .. } => format!("{id}: done by {by}, as run {}", run.short()),
        Ending::Held { run } => format!("{id}: the store held run {} already", run.short()),
        Ending::Failed { why } => format!("{id}: failed on {by}: {}", plain(why)),
        Ending::Cancelled => format!("{id}: cancelled by {by}"),
    }
}

fn status_text(status: &Status, now_us: i64) -> String {
    let ago = |us: i64| ago((now_us - us).max(0) as u64 / 1_000_000);
    let mut text = match status.jobs.len() {
        0 => "nothing is open\n".to_string(),
        1 => "1 job is open\n".to_string(),
        n => format!("{n} jobs are open\n"),
    };
    for job in &status.jobs {
        let id = job.id.short();
        let state = match job.claim.as_ref().and_then(|claim| Some((claim, claim.holder.as_ref()?)))
        {
            Some((claim, holder)) => {
                format!("{} has it, since {}", plain(&holder.host), ago(claim.since_us))
            }
            None => "waits".into(),
        };
        let asked = ago(job.asked_us);
        let (class, priority) = (plain(&job.class), job.priority);
        text.push_str(&format!(
            "  {id}  for {class}, priority {priority}, asked {asked}: {state}\n"
        ));
        for (host, why) in job.refusals.iter().filter(|_| job.claim.is_none()) {
            text.push_str(&format!("                not on {}: {}\n", plain(host), plain(why)));
        }
        for failed in job.claim.iter().flat_map(|claim| &claim.failed) {
            let (host, why) = (plain(&failed.host), plain(&failed.why));
            text.push_str(&format!("                failed on {host}: {why}\n"));
        }
    }
    text.push_str(if status.hosts.is_empty() { "no host was seen\n" } else { "hosts\n" });
    for host in &status.hosts {
        let HostOffer { name, architecture, cores, labels } = &host.offer;
        let labels = if labels.is_empty() { "no labels".into() } else { labels.join(", ") };
        let offer = format!("{name}  {architecture}, benchmark cores: {cores}, {labels}");
        let (version, seen) = (&host.dyno_version, ago(host.beat_us));
        let line = format!("{offer}; dyno {version}; seen {seen}: {}", host.activity);
        text.push_str(&format!("  {}\n", plain(&line)));
    }
    for (name, why) in &status.problems {
        text.push_str(&format!("left alone: {}: {}\n", plain(name), plain(why)));
    }
    text
}
