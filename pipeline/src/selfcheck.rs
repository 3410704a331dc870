//! `dyno selfcheck`: an artifact compared with itself, many times, to see whether false positives
//! come at the rate that is promised on this host in this container.
//!
//! Each comparison is a job like any other (both sides the same commit), so what is learnt is in
//! the store: reports from this host show it, and later comparisons borrow its noise.

use dyno_model::catalog::policy::Policy;
use dyno_model::record::RunRow;
use dyno_model::selfcheck::{SelfCheck, selfcheck};
use dyno_query::Session;

use crate::error::{Error, Kind, Result};
use crate::fault;
use crate::run::{Request, Surroundings, run, store_error};

/// α of a check. Not the policy's q: this asks whether p means what it says.
const ALPHA: f64 = 0.05;

/// Runs `comparisons` of the request, whose sides are the same, and says what this host has come
/// to with them and those before.
pub async fn check(
    request: &Request,
    comparisons: u32,
    around: &Surroundings,
) -> Result<SelfCheck> {
    let mut last = None;
    for number in 1..=comparisons {
        around.events.notice(format!("comparison {number} of {comparisons}"));
        let done = fault::around("selfcheck.comparison", run(request, around)).await?;
        last = around.store.run(&done.job).await.map_err(store_error)?;
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
    let run = last.ok_or_else(|| Error::infrastructure("the job is not in the store"))?;
    let session =
        Session::open(&around.store, request.policy.clone()).await.map_err(store_error)?;
    let mut found = of(&session, std::slice::from_ref(&run), &request.policy).await?;
    found.pop().ok_or_else(|| Error::infrastructure("the job is not in the store"))
}

/// What the store knows of the hosts of `runs`, as they were then; nothing of those never checked.
pub async fn of(session: &Session, runs: &[RunRow], policy: &Policy) -> Result<Vec<SelfCheck>> {
    let found = session.against_itself(runs).await.map_err(store_error)?;
    let checked = found.into_iter().filter(|found| !found.comparisons.is_empty());
    Ok(checked
        .map(|f| selfcheck(&f.host, f.fingerprint, &f.comparisons, ALPHA, policy.confidence))
        .collect())
}
