//! One event enum joins what works and whoever shows it (terminal, log). Working code never
//! prints.

use std::sync::Arc;

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

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Something begins: `what` is a sentence without full stop ("building wasmi_cli 0.46.0").
    Begin { phase: Phase, what: String },
    /// How far it is: `done` of `total` in `unit`s. `total` 0 means unknown.
    Progress { phase: Phase, done: u64, total: u64, unit: Unit },
    /// A line of output of a tool at work (a build), for those who want to see it.
    Line { phase: Phase, text: String },
    /// It ended well; `what` says what came of it ("image 3f2a… from cache").
    End { phase: Phase, what: String },
    /// Something the person should know, not tied to progress.
    Notice(String),
    /// Nothing more comes: the answer follows.
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Items,
    /// Processes measured.
    Processes,
}

/// Where events go. Cheap to clone, callable from any thread.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl Events {
    pub fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Events that nobody sees.
    pub fn none() -> Self {
        Self::new(|_| ())
    }

    pub fn send(&self, event: Event) {
        (self.0)(event);
    }

    pub fn begin(&self, phase: Phase, what: impl Into<String>) {
        self.send(Event::Begin { phase, what: what.into() });
    }

    pub fn progress(&self, phase: Phase, done: u64, total: u64, unit: Unit) {
        self.send(Event::Progress { phase, done, total, unit });
    }

    pub fn end(&self, phase: Phase, what: impl Into<String>) {
        self.send(Event::End { phase, what: what.into() });
    }

    pub fn notice(&self, text: impl Into<String>) {
        self.send(Event::Notice(text.into()));
    }
}
