//! Requests: asking, completing what was half asked, cancelling.

use dyno_model::id::{QueueJobId, RequestId};
use dyno_model::queue::{Ending, JobName, JobResult, QueueJob, QueueRequest, path};
use dyno_model::record::QueueAttempt;

use crate::objects::{Trouble, Written, create, from_bytes, read, remove, to_bytes};
use crate::result::{clear, end, find, inspect, settle};
use crate::{Clock, Objects};

/// A request as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    pub id: RequestId,
    /// Whether it was asked for the first time.
    pub is_new: bool,
    /// What was asked the first time: its jobs are those that count.
    pub request: QueueRequest,
}

/// Asks for `request`. Asking for the same again is no error, and adds nothing.
///
/// It is written as open first, whole: should the one who asks die at any step, an agent goes on
/// with it.
pub async fn submit(
    objects: &impl Objects,
    clock: &impl Clock,
    request: &QueueRequest,
) -> Result<Submitted, Trouble> {
    let id = request.id();
    let open = path::open(&id);
    // Another may be asking the same at this moment: either's will do.
    create(objects, clock, &open, &to_bytes(request)).await?;
    let (request, is_new) = store_request(objects, clock, request).await?.map_err(Trouble)?;
    create_jobs(objects, clock, &request).await?;
    remove(objects, clock, &open).await?;
    Ok(Submitted { id, is_new, request })
}

/// Keeps `request`, unless it was asked before. The inner error says why what was kept is none.
async fn store_request(
    objects: &impl Objects,
    clock: &impl Clock,
    request: &QueueRequest,
) -> Result<Result<(QueueRequest, bool), String>, Trouble> {
    let name = path::request(&request.id());
    match create(objects, clock, &name, &to_bytes(request)).await? {
        Written::Ours(_) => Ok(Ok((request.clone(), true))),
        Written::Theirs(Some(object)) => {
            let found: Result<QueueRequest, String> = from_bytes(&object.bytes);
            Ok(found.map(|found| (found, false)).map_err(|why| format!("{name}: {why}")))
        }
        Written::Theirs(None) => Err(Trouble(format!("{name} was created, and is gone"))),
    }
}

/// Creates the jobs of a request that have neither ended nor are open.
async fn create_jobs(
    objects: &impl Objects,
    clock: &impl Clock,
    request: &QueueRequest,
) -> Result<(), Trouble> {
    for job in &request.jobs {
        // What stands there and is no result ends the job too, until somebody removes it.
        if inspect(objects, clock, &job.id).await?.is_none() {
            create(objects, clock, &JobName::new(job).path(), &to_bytes(job)).await?;
        }
    }
    Ok(())
}

/// Goes on with a request that stands as open under `name`. The inner error says why it is none.
pub(crate) async fn complete(
    objects: &impl Objects,
    clock: &impl Clock,
    name: &str,
) -> Result<Result<(), String>, Trouble> {
    let Some(object) = read(objects, clock, name).await? else { return Ok(Ok(())) };
    let request: QueueRequest = match from_bytes(&object.bytes) {
        Ok(request) => request,
        Err(why) => return Ok(Err(why)),
    };
    if path::open(&request.id()) != name {
        return Ok(Err("it is not the request that its name says".into()));
    }
    let request = match store_request(objects, clock, &request).await? {
        Ok((request, _)) => request,
        Err(why) => return Ok(Err(why)),
    };
    create_jobs(objects, clock, &request).await?;
    remove(objects, clock, name).await?;
    Ok(Ok(()))
}

/// Whether `job` is what its request asks for. The inner error says where they part.
pub(crate) async fn check(
    objects: &impl Objects,
    clock: &impl Clock,
    job: &QueueJob,
) -> Result<Result<(), String>, Trouble> {
    let name = path::request(&job.of_request);
    let Some(object) = read(objects, clock, &name).await? else {
        return Ok(Err(format!("its request {} is gone", job.of_request)));
    };
    let asked = from_bytes::<QueueRequest>(&object.bytes);
    Ok(asked.map_err(|why| format!("{name}: {why}")).and_then(|asked| job.check(&asked)))
}

/// The request `id`; `None` where nobody asked it.
///
/// # Errors
/// [`Trouble`] also where it is damaged, or of another version.
pub async fn load(
    objects: &impl Objects,
    clock: &impl Clock,
    id: &RequestId,
) -> Result<Option<QueueRequest>, Trouble> {
    let name = path::request(id);
    let object = read(objects, clock, &name).await?;
    let parsed = object.map(|object| from_bytes(&object.bytes));
    parsed.transpose().map_err(|why| Trouble(format!("{name}: {why}")))
}

/// Cancels the job, unless it has ended: what has not begun never begins, and what runs stops at its
/// next renewal. The answer is how it ended, and whether this call ended it.
pub async fn cancel(
    objects: &impl Objects,
    clock: &impl Clock,
    job: &JobName,
    by: &str,
    incarnation: &str,
) -> Result<(JobResult, bool), Trouble> {
    let attempt = QueueAttempt {
        job: job.id.clone(),
        by: by.to_string(),
        incarnation: incarnation.to_string(),
    };
    let (result, is_ours) = end(objects, clock, &attempt, Ending::Cancelled).await?;
    settle(objects, clock, &result).await?;
    clear(objects, clock, job).await?;
    Ok((result, is_ours))
}

/// The open job whose id begins with `prefix`; the answer lists all that do.
pub async fn open_jobs_like(objects: &impl Objects, prefix: &str) -> Result<Vec<JobName>, Trouble> {
    let listed = objects.list(path::JOBS).await?;
    let jobs = listed.iter().filter_map(|(name, _)| JobName::parse(name));
    Ok(jobs.filter(|job| job.id.hex().starts_with(prefix)).collect())
}

/// The results of those of `jobs` that have ended, each put in its place.
pub async fn results(
    objects: &impl Objects,
    clock: &impl Clock,
    jobs: &[QueueJobId],
) -> Result<Vec<JobResult>, Trouble> {
    let mut results = Vec::new();
    for job in jobs {
        if let Some(result) = find(objects, clock, job).await? {
            settle(objects, clock, &result).await?;
            results.push(result);
        }
    }
    Ok(results)
}
