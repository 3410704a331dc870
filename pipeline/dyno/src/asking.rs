//! The way from what somebody wants compared to a planned request, whoever asks: a person or a
//! watched branch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dyno_answer::error::store_error;
use dyno_base::error::{Error, Result};
use dyno_base::event::Events;
use dyno_build::catalog::{Catalog, LoadedSuite};
use dyno_build::source::{self, Resolved};
use dyno_job::definitions::store_definition;
use dyno_model::catalog::suite::Source;
use dyno_model::queue::{
    BenchmarkEstimate, Bundle, HostOffer, JobName, QUEUE_VERSION, QueueRequest, class_word,
    follow_ups, plan,
};
use dyno_model::request::{HostChoice, Request};
use dyno_queue::request::{Submitted, load, open_jobs_like, submit};
use dyno_queue::{Clock, bundle, status};
use dyno_store::StoredRun;
use indicatif::HumanBytes;

use crate::environment::{Queue, cache_folder, queue_error};
use crate::options::Global;

/// Seconds of a job beyond which its benchmarks are split.
const SITTING_S: f64 = 3600.0;

/// How soon a request is to be begun.
#[derive(Debug, Clone, Copy)]
pub struct Urgency {
    pub priority: u8,
    pub depth: u32,
}

/// What the store has, for all that is asked for after one look at it.
pub struct Seen {
    offers: Vec<HostOffer>,
    runs: Vec<Arc<StoredRun>>,
    /// The jobs that are open.
    pub open: Vec<JobName>,
}

impl Seen {
    /// Looks at hosts, runs and open jobs.
    pub async fn look(queue: &Queue) -> Result<Self> {
        let seen = status::hosts(&queue.objects, &queue.clock).await;
        let (seen, _) = seen.map_err(queue_error)?;
        Ok(Self {
            offers: seen.into_iter().map(|host| host.offer).collect(),
            runs: queue.store.run_rows().await.map_err(store_error)?,
            open: open_jobs_like(&queue.objects, "").await.map_err(queue_error)?,
        })
    }
}

/// What all requests for a suite have in common, and what their planning stands on.
pub struct Asking {
    pub suite: LoadedSuite,
    /// Its host is that of the command line, and stands where no class is named.
    template: Request,
    pub classes: Vec<HostChoice>,
    pub offers: Vec<HostOffer>,
    /// The runs of the suite that the store has.
    pub runs: Vec<Arc<StoredRun>>,
    estimates: Vec<BenchmarkEstimate>,
    asked_us: i64,
    /// Notices of plans that were given.
    notices: BTreeSet<String>,
}

impl Asking {
    /// Plans on what was `seen`, and keeps the suite in the store. `on` are the words for who is to
    /// measure.
    pub async fn new(
        queue: &Queue,
        seen: &Seen,
        catalog: &Catalog,
        suite: LoadedSuite,
        template: Request,
        on: &[String],
        events: &Events,
    ) -> Result<Self> {
        let offers = seen.offers.clone();
        let class = |word: &String| {
            let is_host = offers.iter().any(|offer| offer.name == *word) || catalog.has_host(word);
            if is_host { HostChoice::Name(word.clone()) } else { HostChoice::Class(word.clone()) }
        };
        let mut classes: Vec<HostChoice> = on.iter().map(class).collect();
        if classes.is_empty() {
            classes.push(template.host.clone());
        }
        classes.sort_unstable();
        classes.dedup();
        // Whoever measures takes the suite from the store, where its own catalog has another.
        let image = catalog.image(&suite.suite.image)?;
        store_definition(&suite, &image, None, &queue.store, events).await?;
        let is_of_suite = |row: &&Arc<StoredRun>| row.run.suite == suite.suite.name;
        let runs: Vec<Arc<StoredRun>> = seen.runs.iter().filter(is_of_suite).cloned().collect();
        let estimates = estimates(&runs, &suite, &template, &classes, &offers)?;
        let (asked_us, notices) = (queue.clock.wall_us(), BTreeSet::new());
        Ok(Self { suite, template, classes, offers, runs, estimates, asked_us, notices })
    }

    /// The request of these classes, of the template's commits or of `commits`; not planned yet.
    pub fn request(
        &self,
        classes: Vec<HostChoice>,
        commits: Option<[String; 2]>,
        Urgency { priority, depth }: Urgency,
    ) -> QueueRequest {
        let mut template = self.template.clone();
        if let Some(commits) = commits {
            [template.baseline, template.candidate] = commits;
        }
        let of_class = |host| Request { host, ..template.clone() };
        QueueRequest {
            version: QUEUE_VERSION,
            requests: classes.into_iter().map(of_class).collect(),
            suite_digest: self.suite.digest.clone(),
            priority,
            depth,
            asked_us: self.asked_us,
            is_follow_up: false,
            bundle: None,
            jobs: Vec::new(),
        }
    }

    /// `request` with the jobs that it is planned into; what a person should know of them is told.
    pub fn planned(&mut self, request: QueueRequest, events: &Events) -> QueueRequest {
        let planned = plan(&request, &self.estimates, &self.offers, SITTING_S);
        for notice in planned.notices {
            if self.notices.insert(notice.clone()) {
                events.notice(notice);
            }
        }
        QueueRequest { jobs: planned.jobs, ..request }
    }
}

impl Queue {
    /// Asks the `hosts` that contradict each other about `request` once more, each once, whoever
    /// sees that first; who takes no jobs from this store cannot be asked.
    pub async fn follow_up(
        &self,
        request: &QueueRequest,
        hosts: &BTreeSet<String>,
        events: &Events,
    ) -> Result<Vec<Submitted>> {
        if hosts.is_empty() || request.is_follow_up {
            return Ok(Vec::new());
        }
        let seen = status::hosts(&self.objects, &self.clock).await;
        let (seen, _) = seen.map_err(queue_error)?;
        let is_seen = |host: &&String| seen.iter().any(|entry| entry.offer.name == **host);
        let (hosts, absent): (Vec<&String>, Vec<&String>) = hosts.iter().partition(is_seen);
        for host in absent {
            events.notice(format!(
                "{host} contradicts another host and takes no jobs from this store: ask it again by \
                 hand"
            ));
        }
        let hosts: BTreeSet<String> = hosts.into_iter().cloned().collect();
        let mut filed = Vec::new();
        for follow_up in follow_ups(request, &hosts) {
            let id = follow_up.id();
            let before = load(&self.objects, &self.clock, &id).await.map_err(queue_error)?;
            filed.push(match before {
                Some(request) => Submitted { id, is_new: false, request },
                None => {
                    let asked = submit(&self.objects, &self.clock, &follow_up).await;
                    asked.map_err(queue_error)?
                }
            });
        }
        let is_new = filed.iter().any(|asked| asked.is_new);
        if is_new {
            let (hosts, about) = (hosts.into_iter().collect::<Vec<_>>(), &request.requests[0]);
            let Request { suite, baseline, candidate, .. } = about;
            events.notice(format!(
                "hosts contradict each other about {suite} {baseline} → {candidate}: {} are asked \
                 again",
                hosts.join(" and ")
            ));
        }
        Ok(filed)
    }
}

/// What is known of the selected benchmarks: by the newest run of the suite on a host of each
/// class.
fn estimates(
    runs: &[Arc<StoredRun>],
    suite: &LoadedSuite,
    request: &Request,
    classes: &[HostChoice],
    offers: &[HostOffer],
) -> Result<Vec<BenchmarkEstimate>> {
    let selected = suite.suite.select(&request.selection, usize::MAX);
    let selected = selected.map_err(|wrong| Error::input(wrong.join("; ")))?;
    let mut benchmarks: BTreeMap<&str, u32> = BTreeMap::new();
    for case in &selected.cases {
        let threads = case.compiler_config().threads.unwrap_or(1);
        let most = benchmarks.entry(&case.benchmark).or_default();
        *most = (*most).max(threads);
    }
    let mut runs: Vec<&Arc<StoredRun>> = runs.iter().collect();
    runs.sort_by_key(|row| std::cmp::Reverse(row.run.finished_us));
    let newest_of = |class: &HostChoice| {
        let is_of = |name: &str| offers.iter().any(|o| o.name == name && o.is_of(class));
        runs.iter().find(|row| is_of(&row.run.host))
    };
    let seconds = runs
        .first()
        .map_or(0.0, |row| row.run.phases_s.values().sum::<f64>() / benchmarks.len().max(1) as f64);
    let history: BTreeMap<String, String> = classes
        .iter()
        .filter_map(|class| {
            Some((class_word(class).to_string(), newest_of(class)?.run.host.clone()))
        })
        .collect();
    let estimate = |(name, threads): (&str, u32)| BenchmarkEstimate {
        name: name.to_string(),
        seconds,
        threads,
        history: history.clone(),
    };
    Ok(benchmarks.into_iter().map(estimate).collect())
}

/// Two commits as a request names them, and what was found of them here.
pub struct Named {
    /// Full ids; of a compiler, or of a crate, the names as they were given.
    pub names: [String; 2],
    /// The commits with full ids.
    commits: Vec<Resolved>,
}

/// What the two names mean.
pub async fn resolve_names(
    suite: &LoadedSuite,
    names: [String; 2],
    global: &Global,
    events: &Events,
) -> Result<Named> {
    if matches!(suite.suite.source, Source::Compiler(_)) {
        return Ok(Named { names, commits: Vec::new() });
    }
    let cache = cache_folder(global)?;
    let resolved =
        source::resolve(&suite.suite.source, &suite.folder, &names, &cache, events).await?;
    let [baseline, candidate] = &resolved[..] else {
        return Err(Error::infrastructure("two names, and not two commits"));
    };
    // Releases of a crate have names that stay; their ids are this machine's.
    if matches!(suite.suite.source, Source::Crate(_)) {
        return Ok(Named { names, commits: Vec::new() });
    }
    let names = [baseline, candidate].map(|resolved| resolved.commit.hex().to_string());
    Ok(Named { names, commits: resolved })
}

impl Queue {
    /// A bundle of the commits, put into the store, where hosts cannot fetch one of them and a bundle
    /// may have any bytes: `most_mib` at most.
    pub async fn bundle(
        &self,
        suite: &LoadedSuite,
        Named { commits, .. }: &Named,
        most_mib: u64,
        global: &Global,
        events: &Events,
    ) -> Result<Option<Bundle>> {
        let (source, cache) = (&suite.suite.source, cache_folder(global)?);
        let work_trees = || commits.iter().filter(|resolved| resolved.is_work_tree());
        if most_mib == 0 {
            return match work_trees().next() {
                Some(_) => Err(Error::input("`.` is in no repository: other hosts cannot get it")
                    .hint("leave out `--bundle-max 0`, or commit it where the suite's `[source]` takes commits from")),
                None => Ok(None),
            };
        }
        let mut out_of_reach = None;
        for resolved in commits {
            if source::is_out_of_reach(source, &suite.folder, resolved, &cache).await? {
                out_of_reach = Some(resolved);
                break;
            }
        }
        let Some(reason) = out_of_reach else { return Ok(None) };
        check_checkout(suite)?;
        let most = most_mib << 20;
        let bytes = source::bundle(commits, most, &cache).await?.map_err(|length| {
            let (size, most) = (HumanBytes(length), HumanBytes(most));
            Error::input(format!("a bundle of these commits has {size}, and {most} is the most"))
                .hint("push them to where the suite's `[source]` takes commits from, or allow more with --bundle-max MIB; where each host has that path, say --bundle-max 0")
        })?;
        let length = bytes.len() as u64;
        let digest = bundle::put(&self.store, &self.clock, &bytes).await.map_err(queue_error)?;
        events.notice(format!(
            "hosts cannot fetch {}: the commits travel in a bundle of {}",
            reason.commit.short(),
            HumanBytes(length)
        ));
        let mut work_trees: Vec<_> = work_trees().map(|resolved| resolved.commit.clone()).collect();
        work_trees.dedup();
        Ok(Some(Bundle { digest, bytes: length, work_trees }))
    }
}

/// Refuses a suite whose check-outs take more than a commit has.
fn check_checkout(suite: &LoadedSuite) -> Result<()> {
    let checkout = suite.suite.build.as_ref().map(|recipe| recipe.checkout).unwrap_or_default();
    let key = match (checkout.submodules, checkout.lfs) {
        (false, false) => return Ok(()),
        (true, _) => "submodules",
        (false, true) => "lfs",
    };
    Err(Error::input(format!(
        "hosts cannot fetch these commits, and the suite {} has `{key} = true`: a bundle has none of that",
        suite.suite.name
    ))
    .hint("give `[source]` an address that hosts reach; where each host has that path, say --bundle-max 0"))
}
