//! Which attempt of a job of a queue counts: somebody else's to say, and asked at the commit point.

use std::fmt;

use async_trait::async_trait;
use dyno_model::id::JobId;
use dyno_model::record::QueueAttempt;
use object_store::path::Path;

/// A judge of which attempt of a job of the queue counts.
#[async_trait]
pub trait RunGate: fmt::Debug + Send + Sync {
    /// Whether `attempt` is the one that counts, whose run row `row` is then created as `path`. It
    /// says the same of one attempt each time it is asked.
    ///
    /// # Errors
    /// Why that cannot be found out.
    async fn admit(
        &self,
        attempt: &QueueAttempt,
        run: &JobId,
        path: &Path,
        row: &[u8],
    ) -> Result<bool, String>;
}
