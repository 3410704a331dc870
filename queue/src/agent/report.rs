//! What an agent says of its jobs and of itself.

use dyno_model::id::QueueJobId;
use dyno_model::queue::{Ending, FailedAttempt};

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worked {
    /// The job has a result: this attempt's, or that of another which came first.
    Ended,
    /// It cannot be measured, by any host: a reason of the commit or of what was asked.
    Failed(String),
    /// The machine or the network failed.
    Trouble(String),
    /// The agent is to leave.
    Interrupted,
}

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    Taken {
        job: QueueJobId,
        what: String,
    },
    Ended {
        job: QueueJobId,
        ending: Ending,
    },
    /// Another attempt of the job counts.
    Superseded {
        job: QueueJobId,
        by: String,
    },
    Lost {
        job: QueueJobId,
    },
    Failed {
        job: QueueJobId,
        why: String,
        attempts: usize,
    },
    Released {
        job: QueueJobId,
    },
    /// An object that is not one of this dyno's, which is left alone.
    SetAside {
        name: String,
        why: String,
    },
    Trouble {
        why: String,
    },
    /// Nothing is to be done; why of some job.
    Idle {
        why: String,
    },
}

/// Why a job was tried often enough.
pub(super) fn attempts_text(failed: &[FailedAttempt]) -> String {
    let attempt = |attempt: &FailedAttempt| format!("on {}: {}", attempt.host, attempt.why);
    let attempts: Vec<String> = failed.iter().map(attempt).collect();
    format!("it was tried {} times; {}", failed.len(), attempts.join("; "))
}
