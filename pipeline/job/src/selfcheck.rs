//! `dyno selfcheck`: an artifact compared with itself, many times, to see whether false positives
//! come at the rate that is promised on this host in this container.
//!
//! Each comparison is a job like any other (both sides the same commit), so what is learnt is in
//! the store: reports from this host show it, and later comparisons borrow its noise.

use dyno_model::record::RunRow;

use crate::context::{Context, JobRequest, store_error};
use crate::execute::run;
use dyno_base::error::{Error, Kind, Result};
use dyno_base::fault;

/// Runs `comparisons` of the request, whose sides are the same; returns the last run row.
///
/// # Errors
/// A comparison that cannot be made, or a case that does not work: there is nothing to check then.
pub async fn run_comparisons(
    request: &JobRequest,
    comparisons: u32,
    ctx: &Context,
) -> Result<RunRow> {
    let mut last = None;
    for number in 1..=comparisons {
        ctx.events.notice(format!("comparison {number} of {comparisons}"));
        let outcome = fault::around("selfcheck.comparison", run(request, ctx)).await?;
        last = ctx.store.run(&outcome.job).await.map_err(store_error)?;
        if let Some(failure) = last.iter().flat_map(|run| &run.failures).next() {
            return Err(Error::new(
                Kind::Case,
                format!(
                    "{} failed ({}): there is nothing to check",
                    failure.benchmark.as_deref().unwrap_or("every case"),
                    failure.reason
                ),
            ));
        }
    }
    last.ok_or_else(|| Error::infrastructure("the job is not in the store"))
}
