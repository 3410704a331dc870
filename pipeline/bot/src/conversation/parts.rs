//! What one class of hosts has made of a request, in words.

use dyno_model::text::plural;
use dyno_reports::escape::{code, fence, prose};

use crate::permission::Refusal;

/// Lines of a log that are shown, the last ones.
const LOG_LINES_MAX: usize = 30;
/// Bytes of them.
const LOG_BYTES_MAX: usize = 4000;

/// A class of hosts and what it has made of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// A label, an architecture, or the name of a host.
    pub class: String,
    pub state: PartState,
}

/// What a class of hosts has made of a request. Times are µs since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartState {
    /// Something must be there first, such as the archive of a compiler.
    Waiting {
        what: String,
        until_us: i64,
    },
    /// `place` jobs of its class come before it.
    Queued {
        place: usize,
        expected_us: Option<i64>,
    },
    /// No host of the class answers; or those that do, do not take it, and why.
    Silent {
        since_us: i64,
        refusals: Vec<(String, String)>,
    },
    Running {
        host: String,
        since_us: i64,
        expected_us: Option<i64>,
    },
    Measured {
        host: String,
    },
    /// A commit of the suite's target did not build there.
    NotBuilt {
        host: String,
        side: String,
        step: String,
        log: String,
    },
    Failed {
        why: String,
        log: String,
    },
    Cancelled {
        by: String,
    },
    /// When its job was to be taken, what it stood on had gone.
    Refused {
        missing: Vec<Refusal>,
    },
}

impl PartState {
    /// Whether nothing will follow by itself.
    pub const fn is_end(&self) -> bool {
        matches!(
            self,
            Self::Measured { .. }
                | Self::NotBuilt { .. }
                | Self::Failed { .. }
                | Self::Cancelled { .. }
                | Self::Refused { .. }
        )
    }

    pub const fn is_measured(&self) -> bool {
        matches!(self, Self::Measured { .. })
    }
}

impl Part {
    /// A line for the class, as a row of a list.
    pub(super) fn line(&self) -> String {
        format!("- {}: {}", code(&self.class), self.sentence())
    }

    fn sentence(&self) -> String {
        let expected = |expected_us: Option<i64>, what: &str| {
            expected_us.map_or(String::new(), |us| format!(", {what} about {}", time(us)))
        };
        match &self.state {
            PartState::Waiting { what, until_us } => {
                format!("waits for {}, until {} at most.", code(what), time(*until_us))
            }
            PartState::Queued { place: 0, expected_us } => {
                format!("queued, the next one{}.", expected(*expected_us, "to begin"))
            }
            PartState::Queued { place, expected_us } => {
                let before = plural(*place, "job");
                format!("queued, {before} before it{}.", expected(*expected_us, "to begin"))
            }
            PartState::Silent { since_us, refusals } if refusals.is_empty() => format!(
                "no host answers, since {}. The request stays asked; whoever looks after the hosts \
                 can start `dyno agent` on one.",
                time(*since_us)
            ),
            PartState::Silent { refusals, .. } => {
                let hosts: Vec<String> = refusals
                    .iter()
                    .take(8)
                    .map(|(host, why)| format!("{} ({})", code(host), prose(&bounded(why))))
                    .collect();
                format!("no host takes it: {}.", hosts.join(", "))
            }
            PartState::Running { host, since_us, expected_us } => format!(
                "running on {} since {}{}.",
                code(host),
                time(*since_us),
                expected(*expected_us, "to end")
            ),
            PartState::Measured { host } => format!("measured on {}.", code(host)),
            PartState::NotBuilt { host, side, step, .. } => format!(
                "the {} did not get through the step {} on {}, so there is nothing to compare.",
                prose(side),
                code(step),
                code(host)
            ),
            PartState::Failed { why, .. } => format!("failed: {}", prose(&bounded(why))),
            PartState::Cancelled { by } => format!("cancelled by {}.", code(by)),
            PartState::Refused { missing } => {
                let sentences: Vec<String> =
                    missing.iter().map(|refusal| prose(&refusal.sentence())).collect();
                format!("not taken: {}", sentences.join(" "))
            }
        }
    }

    /// The last lines of its log, where it failed with one.
    pub(super) fn log(&self) -> Option<String> {
        let (PartState::NotBuilt { log, .. } | PartState::Failed { log, .. }) = &self.state else {
            return None;
        };
        if log.trim().is_empty() {
            return None;
        }
        Some(format!("The last lines of {}:\n\n{}", code(&self.class), fence(&tail(log))))
    }
}

/// The last lines of a log, within both bounds.
fn tail(log: &str) -> String {
    let log = log.trim_end();
    let from = log.ceil_char_boundary(log.len().saturating_sub(LOG_BYTES_MAX));
    let lines: Vec<&str> = log[from..].lines().collect();
    let lines = &lines[lines.len().saturating_sub(LOG_LINES_MAX)..];
    lines.join("\n")
}

/// A reason of others, as long as a sentence may be.
fn bounded(text: &str) -> String {
    dyno_reports::escape::bounded(text, 400).into_owned()
}

/// A time of day in µs since 1970, to the minute: what is said again is to be the same again.
pub(super) fn time(us: i64) -> String {
    match chrono::DateTime::from_timestamp_micros(us) {
        Some(time) => time.format("%Y-%m-%d %H:%M UTC").to_string(),
        None => "an unknown time".to_string(),
    }
}
