//! Whether false positives came at the rate that is promised, on the hosts of a comparison.

use dyno_base::error::{Error, Result};
use dyno_model::catalog::policy::Policy;
use dyno_model::record::RunRow;
use dyno_model::selfcheck::{SelfCheck, selfcheck};
use dyno_query::Session;
use dyno_store::Store;

use crate::error::query_error;

/// α of a check. Not the policy's q: this asks whether p means what it says.
const ALPHA: f64 = 0.05;

/// What the store knows of the hosts of `runs`, as they were then; nothing of those never checked.
pub async fn selfchecks(
    session: &Session,
    runs: &[RunRow],
    policy: &Policy,
) -> Result<Vec<SelfCheck>> {
    let found = session.null_comparisons(runs).await.map_err(query_error)?;
    let checked = found.into_iter().filter(|found| !found.comparisons.is_empty());
    Ok(checked
        .map(|f| selfcheck(&f.host, f.fingerprint, &f.comparisons, ALPHA, policy.confidence))
        .collect())
}

/// What the host of `run` has come to, with this run's comparisons and those before.
///
/// # Errors
/// Those of the store; none of its hosts was ever checked.
pub async fn selfcheck_of(store: &Store, run: &RunRow, policy: &Policy) -> Result<SelfCheck> {
    let session = Session::open(store, policy.clone()).await.map_err(query_error)?;
    let mut found = selfchecks(&session, std::slice::from_ref(run), policy).await?;
    found.pop().ok_or_else(|| Error::infrastructure("the job is not in the store"))
}
