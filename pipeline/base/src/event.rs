//! One event enum joins what works and whoever shows it (terminal, log). Working code never
//! prints.

use std::sync::Arc;

use dyno_model::id::JobId;

/// The phases of a run, in the order they are shown and timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    Image,
    Source,
    Plan,
    Fetch,
    Build,
    Measure,
    Publish,
    Query,
    Report,
}

impl Phase {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Source => "source",
            Self::Plan => "plan",
            Self::Fetch => "fetch",
            Self::Build => "build",
            Self::Measure => "measure",
            Self::Publish => "publish",
            Self::Query => "query",
            Self::Report => "report",
        }
    }
}

/// The stages of a comparison as a newcomer is told of them: what is done in each, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Source,
    Image,
    Build,
    Rounds,
    Count,
    Answer,
}

impl Stage {
    /// What is done, and why.
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Source => {
                "dyno gets both releases as source code, and builds them itself: two programs that \
                 were built by different compilers cannot be compared."
            }
            Self::Image => {
                "A container image is made of Debian packages that are pinned by their hashes. Both \
                 releases are built and run in it, so that the compiler and the C library are the \
                 same to the byte, today and in a year."
            }
            Self::Build => {
                "Each release is built in a container of its own, without network. What is built is \
                 kept: the next run finds it in the cache."
            }
            Self::Rounds => {
                "Each program runs on both releases, one right after the other, round by round and in \
                 random order: what disturbs this machine disturbs both. Rounds go on until the \
                 interval of the difference is narrow, or the rounds are used up."
            }
            Self::Count => {
                "Valgrind runs the programs once more and counts their instructions. That is slow, but \
                 a count repeats exactly, so that even small changes show."
            }
            Self::Answer => {
                "The samples are stored, and the verdicts are computed from the store, as they would \
                 be in a year."
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// What is done next and why, for newcomers alone; and about how many seconds it takes, from
    /// the least to the most, where anybody knows.
    Explanation { text: String, seconds: Option<(u64, u64)> },
    /// Something begins: `what` is a sentence without full stop ("building wasmi_cli 0.46.0").
    Begin { phase: Phase, what: String },
    /// How far it is: `done` of `total` in `unit`s. `total` 0 means unknown. `left` is how many seconds
    /// are left, from the least to the most, where that is known better than by the share that is
    /// done.
    Progress { phase: Phase, done: u64, total: u64, unit: ProgressUnit, left: Option<SecondsLeft> },
    /// A line of output of a tool at work (a build), for those who want to see it.
    Line { phase: Phase, text: String },
    /// It ended well; `what` says what came of it ("image 3f2a… from cache").
    End { phase: Phase, what: String },
    /// Something the person should know, not tied to progress.
    Notice(String),
    /// Nothing more comes: the answer follows.
    Finished,
}

/// How many seconds something goes on, from the least to the most.
pub type SecondsLeft = (u64, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressUnit {
    Bytes,
    Items,
    /// Processes measured.
    Processes,
}

/// What is given the events of each job.
type Sink = dyn Fn(Option<&JobId>, Event) + Send + Sync;

/// Where events go, and the job that they are of. Cheap to clone, callable from any thread.
#[derive(Clone)]
pub struct Events {
    sink: Arc<Sink>,
    job: Option<JobId>,
}

impl Events {
    /// Events for `sink`, which is given the job of each; `None` before a job is planned.
    pub fn new(sink: impl Fn(Option<&JobId>, Event) + Send + Sync + 'static) -> Self {
        Self { sink: Arc::new(sink), job: None }
    }

    /// Events that nobody sees.
    pub fn none() -> Self {
        Self::new(|_, _| ())
    }

    /// The same sink for events of `job`: several jobs may send to one.
    pub fn for_job(&self, job: &JobId) -> Self {
        Self { sink: Arc::clone(&self.sink), job: Some(job.clone()) }
    }

    pub fn send(&self, event: Event) {
        (self.sink)(self.job.as_ref(), event);
    }

    pub fn stage(&self, stage: Stage, seconds: Option<(u64, u64)>) {
        self.explain(stage.explanation(), seconds);
    }

    pub fn explain(&self, text: impl Into<String>, seconds: Option<(u64, u64)>) {
        self.send(Event::Explanation { text: text.into(), seconds });
    }

    pub fn begin(&self, phase: Phase, what: impl Into<String>) {
        self.send(Event::Begin { phase, what: what.into() });
    }

    pub fn progress(&self, phase: Phase, done: u64, total: u64, unit: ProgressUnit) {
        self.send(Event::Progress { phase, done, total, unit, left: None });
    }

    /// How many processes were measured, and how long the rest takes.
    pub fn processes(&self, done: u64, total: u64, left: Option<SecondsLeft>) {
        let (phase, unit) = (Phase::Measure, ProgressUnit::Processes);
        self.send(Event::Progress { phase, done, total, unit, left });
    }

    pub fn end(&self, phase: Phase, what: impl Into<String>) {
        self.send(Event::End { phase, what: what.into() });
    }

    pub fn notice(&self, text: impl Into<String>) {
        self.send(Event::Notice(text.into()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn an_event_names_its_job() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let events =
            Events::new(move |job, event| sink.lock().unwrap().push((job.cloned(), event)));
        let job: JobId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        events.notice("before");
        events.for_job(&job).notice("of the job");
        events.notice("after");
        let notice = |text: &str| Event::Notice(text.into());
        assert_eq!(
            *seen.lock().unwrap(),
            [(None, notice("before")), (Some(job), notice("of the job")), (None, notice("after"))]
        );
    }
}
