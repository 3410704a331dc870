//! The one step at which a job ends: its result is created, by whoever comes first.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dyno_model::id::{JobId, QueueJobId};
use dyno_model::queue::{Ending, JobName, JobResult, QUEUE_VERSION, path};
use dyno_model::record::QueueAttempt;

use crate::objects::{Trouble, Written, create, from_bytes, read, remove, to_bytes};
use crate::{Clock, Objects};

/// The ending of a job whose run row is `row`, to lie at `path`.
pub fn done(run: JobId, path: String, row: &[u8]) -> Ending {
    Ending::Done { run, path, row: STANDARD.encode(row) }
}

/// Ends the job with `ending`, unless it has ended: of all that try, one succeeds. The answer is the
/// result that counts, and whether it is this one.
pub async fn end(
    objects: &impl Objects,
    clock: &impl Clock,
    attempt: &QueueAttempt,
    ending: Ending,
) -> Result<(JobResult, bool), Trouble> {
    let result = JobResult {
        version: QUEUE_VERSION,
        job: attempt.job.clone(),
        by: attempt.by.clone(),
        incarnation: attempt.incarnation.clone(),
        ended_us: clock.wall_us(),
        ending,
    };
    match create(objects, clock, &path::result(&attempt.job), &to_bytes(&result)).await? {
        Written::Ours(_) => Ok((result, true)),
        Written::Theirs(Some(object)) => {
            let found: JobResult = from_bytes(&object.bytes).map_err(damaged)?;
            // An attempt that is made again, with the same run, is the same attempt.
            let is_ours = found.incarnation == result.incarnation && found.ending == result.ending;
            Ok((found, is_ours))
        }
        Written::Theirs(None) => Err(Trouble("the result was created, and is gone".into())),
    }
}

fn damaged(why: String) -> Trouble {
    Trouble(format!("the result cannot be read: {why}"))
}

/// The result of a job; `None` while it has none.
///
/// # Errors
/// [`Trouble`] also where what is there is none.
pub async fn find(
    objects: &impl Objects,
    clock: &impl Clock,
    job: &QueueJobId,
) -> Result<Option<JobResult>, Trouble> {
    inspect(objects, clock, job).await?.transpose().map_err(damaged)
}

/// What stands where the result of a job belongs: a result, or why it is none.
pub async fn inspect(
    objects: &impl Objects,
    clock: &impl Clock,
    job: &QueueJobId,
) -> Result<Option<Result<JobResult, String>>, Trouble> {
    let object = read(objects, clock, &path::result(job)).await?;
    let result = |bytes: &[u8]| -> Result<JobResult, String> {
        let result: JobResult = from_bytes(bytes)?;
        match result.job == *job {
            true => Ok(result),
            false => Err(format!("it is the result of job {}", result.job)),
        }
    };
    Ok(object.map(|object| result(&object.bytes)))
}

/// Puts what a result stands for in its place: its run row, which its host may not have come to
/// write. Whoever sees a result may do this, any number of times.
pub async fn settle(
    objects: &impl Objects,
    clock: &impl Clock,
    result: &JobResult,
) -> Result<(), Trouble> {
    let Ending::Done { path, row, .. } = &result.ending else { return Ok(()) };
    let row = STANDARD.decode(row).map_err(|error| damaged(error.to_string()))?;
    if !path.starts_with("runs/") {
        return Err(damaged(format!("{path} is no place of a run row")));
    }
    match create(objects, clock, path, &row).await? {
        Written::Ours(_) => Ok(()),
        Written::Theirs(_) => Err(Trouble(format!("{path} holds another run row"))),
    }
}

/// Removes the names under which a job that has a result was open and claimed.
pub async fn clear(
    objects: &impl Objects,
    clock: &impl Clock,
    job: &JobName,
) -> Result<(), Trouble> {
    // In this order: while the job is open, whoever claims it finds the result.
    remove(objects, clock, &job.path()).await?;
    remove(objects, clock, &path::claim(&job.id)).await
}
