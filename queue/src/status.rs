//! What waits, who measures what, and which hosts there are: read, and nothing written.

use dyno_model::id::QueueJobId;
use dyno_model::queue::{Claim, HostEntry, JobName, path};
use serde::Serialize;

use crate::claim;
use crate::objects::{Trouble, from_bytes, read};
use crate::{Clock, Objects};

/// The queue as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The jobs that have not ended, in the order in which they are begun.
    pub jobs: Vec<OpenJob>,
    pub hosts: Vec<HostEntry>,
    /// Objects that are not what they should be, with the reason.
    pub problems: Vec<(String, String)>,
}

/// A job that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenJob {
    pub id: QueueJobId,
    /// Who may take it.
    pub class: String,
    pub priority: u8,
    pub asked_us: i64,
    pub preferred: Option<String>,
    /// The hosts of its class and why they do not take it, where none does.
    pub refusals: Vec<(String, String)>,
    /// Who holds it, and what became of earlier attempts.
    pub claim: Option<Claim>,
}

/// Reads the queue. Of jobs only the names are read.
pub async fn status(objects: &impl Objects, clock: &impl Clock) -> Result<Status, Trouble> {
    let mut problems = Vec::new();
    let mut names = Vec::new();
    for (name, _) in objects.list(path::JOBS).await? {
        match JobName::parse(&name) {
            Some(job) => names.push(job),
            None => problems.push((name, "its name is not one of a job".to_string())),
        }
    }
    names.sort_by_cached_key(|job| (job.order.key(), job.id.clone()));
    let mut claims = std::collections::BTreeMap::new();
    for (name, _) in objects.list(path::CLAIMS).await? {
        let Some(id) = path::id::<QueueJobId>(&name, path::CLAIMS) else {
            problems.push((name, "its name is not one of a claim".to_string()));
            continue;
        };
        match claim::read(objects, clock, &id).await? {
            Some((Ok(claim), _)) => drop(claims.insert(id, claim)),
            Some((Err(why), _)) => problems.push((name, why)),
            None => {}
        }
    }
    let (hosts, wrong) = hosts(objects, clock).await?;
    problems.extend(wrong);
    let job = |name: JobName| OpenJob {
        refusals: refusals(&name, &hosts),
        claim: claims.remove(&name.id),
        class: dyno_model::queue::class_word(&name.class).to_string(),
        priority: name.order.priority,
        asked_us: name.order.asked_us,
        preferred: name.preferred,
        id: name.id,
    };
    let jobs = names.into_iter().map(job).collect();
    Ok(Status { jobs, hosts, problems })
}

/// The entries of hosts, and those that cannot be read.
pub async fn hosts(
    objects: &impl Objects,
    clock: &impl Clock,
) -> Result<(Vec<HostEntry>, Vec<(String, String)>), Trouble> {
    let (mut hosts, mut problems) = (Vec::new(), Vec::new());
    for (name, _) in objects.list(path::HOSTS).await? {
        let Some(object) = read(objects, clock, &name).await? else { continue };
        match from_bytes(&object.bytes) {
            Ok(entry) => hosts.push(entry),
            Err(why) => problems.push((name, why)),
        }
    }
    Ok((hosts, problems))
}

/// The hosts of the class of `job` and why they do not take it; nothing where one of them does.
fn refusals(job: &JobName, hosts: &[HostEntry]) -> Vec<(String, String)> {
    let of_class = hosts.iter().filter(|host| host.offer.is_of(&job.class));
    let refusals: Option<Vec<(String, String)>> = of_class
        .map(|host| Some((host.offer.name.clone(), host.offer.refusal_with(job, host.schema)?)))
        .collect();
    refusals.unwrap_or_default()
}
