//! A container to measure in that is started again when it is lost: an engine that was restarted, a
//! socket that went away for a while, a parent or probe that somebody killed.
//!
//! What was measured before stays, and the process that was lost is run again; whoever measures
//! must know, since it no longer stands next to the one before it. All of it is bounded, and by who
//! did it: a case that loses its container twice, in one round or in two, has done so itself and
//! fails; a side that loses many is measured no further. Neither ends the job, which a candidate
//! that knows to be slower could then do at will. Containers of both sides that are lost together are
//! the engine's or the machine's loss: too many of these do end it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dyno_probe::{Exit, Sandbox, Spawn, Stream};

use dyno_base::error::{Error, Kind, Result};
use dyno_base::event::Events;
use dyno_engine::{Container, Engines, Spec};
use dyno_model::answer::ANSWER_MAX;

/// How often a case on a side may lose its container.
const LOSSES_PER_CASE_MAX: u32 = 2;

/// How often a side may lose its container, by whatever cases.
const LOSSES_PER_SIDE_MAX: u32 = 8;

/// How long to wait before each attempt to start another: two minutes together, beside what the
/// attempts take.
const WAITS_S: [u64; 8] = [0, 1, 2, 4, 8, 16, 32, 60];

/// A container that is started again, with the same specification, when it is lost.
pub struct ReplaceableContainer<'a> {
    engines: Arc<Engines>,
    spec: Spec,
    verify: Verify<'a>,
    events: &'a Events,
    /// The container; `None` between the one that was lost and the next.
    container: Option<Container>,
    /// What held in the first container.
    sandbox: Sandbox,
    /// Place of a case in the job → how often it lost the container.
    losses: BTreeMap<usize, u32>,
    frozen: bool,
    /// Notices for readers of the results.
    notices: Vec<String>,
}

/// A check of the container just started, beside those that every container gets.
pub type Verify<'a> = &'a (dyn Fn() -> Result<()> + Sync);

/// Outcome of one process.
pub struct ProcessOutcome {
    /// Its exit, or why it never came to an end of its own.
    pub exit: Result<Exit, String>,
    /// Whether its container was lost and it ran again in another.
    pub retried: bool,
}

impl<'a> ReplaceableContainer<'a> {
    pub async fn start(
        engines: &Arc<Engines>,
        spec: Spec,
        verify: Verify<'a>,
        events: &'a Events,
    ) -> Result<Self> {
        let container = start(engines, &spec, verify).await?;
        let (engines, sandbox) = (Arc::clone(engines), container.sandbox().clone());
        let container = Some(container);
        Ok(Self {
            engines,
            spec,
            verify,
            events,
            container,
            sandbox,
            losses: BTreeMap::new(),
            frozen: false,
            notices: Vec::new(),
        })
    }

    /// What held in the container when it was started.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Runs one process, of the case that stands at `case` in the job.
    ///
    /// # Errors
    /// If the engine does not come back.
    pub async fn run(&mut self, spawn: &Spawn, case: usize) -> Result<ProcessOutcome> {
        let mut retried = false;
        loop {
            let lost_before: u32 = self.losses.values().sum();
            if lost_before >= LOSSES_PER_SIDE_MAX {
                let why = format!("not measured: its side lost its container {lost_before} times");
                return Ok(ProcessOutcome { exit: Err(why), retried });
            }
            let container = self.container.as_mut().expect("one runs, or the job is given up");
            let running = async {
                if self.frozen {
                    container.freeze(false).await?;
                    self.frozen = false;
                }
                container.run(spawn, |_| ()).await
            };
            match running.await {
                Ok(exit) => return Ok(ProcessOutcome { exit: Ok(exit), retried }),
                Err(error) => self.replace(error).await?,
            }
            retried = true;
            let losses = self.losses.entry(case).or_default();
            *losses += 1;
            if *losses >= LOSSES_PER_CASE_MAX {
                let why = format!("its container was lost {losses} times while it ran");
                return Ok(ProcessOutcome { exit: Err(why), retried });
            }
        }
    }

    /// What the last process wrote to `stream`, as far as anybody looks; `None` if the container is
    /// gone, which the next process finds out.
    pub async fn output(&mut self, stream: Stream) -> Option<Vec<u8>> {
        let container = self.container.as_mut().filter(|_| !self.frozen)?;
        container.output(stream, ANSWER_MAX).await.ok()
    }

    /// Takes back a loss that was not the doing of the case at `case`.
    pub fn forgive(&mut self, case: usize) {
        if let Some(losses) = self.losses.get_mut(&case) {
            *losses = losses.saturating_sub(1);
        }
    }

    /// Stops everything in it where it stands, until the next process. That it cannot be is worth a
    /// notice, once: nothing runs in there but a probe that sleeps.
    pub async fn freeze(&mut self) {
        let Some(container) = self.container.as_ref().filter(|_| !self.frozen) else { return };
        match container.freeze(true).await {
            Ok(()) => self.frozen = true,
            Err(error) => {
                let notice = format!("the side that is not measured could not be frozen: {error}");
                if !self.notices.contains(&notice) {
                    self.notices.push(notice);
                }
            }
        }
    }

    /// Thaws the container if it is frozen, and replaces it if it is gone: an engine that was
    /// restarted takes both sides' with it. Whether it was gone.
    pub async fn recover(&mut self) -> Result<bool> {
        let Some(container) = self.container.as_ref().filter(|_| self.frozen) else {
            return Ok(false);
        };
        match container.freeze(false).await {
            Ok(()) => {
                self.frozen = false;
                Ok(false)
            }
            Err(error) => self.replace(error).await.map(|()| true),
        }
    }

    /// Puts another container in the place of the one that was lost by `error`.
    async fn replace(&mut self, error: Error) -> Result<()> {
        if error.kind != Kind::Infrastructure {
            return Err(error);
        }
        self.frozen = false;
        self.events.notice(format!("{error}; starting another, what was measured is kept"));
        // Before the next is started, which is to have the cores for itself. If it cannot be
        // removed now, the next dyno sweeps it.
        if let Some(lost) = self.container.take() {
            let _ = lost.remove().await;
        }
        let mut last_error = None;
        for wait_s in WAITS_S {
            tokio::time::sleep(Duration::from_secs(wait_s)).await;
            match start(&self.engines, &self.spec, self.verify).await {
                Ok(started) => {
                    self.container = Some(started);
                    let notice = format!("{error}; the round was repeated in another container");
                    self.notices.push(notice);
                    return Ok(());
                }
                Err(other) if other.kind != Kind::Infrastructure => return Err(other),
                Err(other) => last_error = Some(other),
            }
        }
        let attempts = last_error.map(|last| format!("; no other could be started: {last}"));
        Err(Error::infrastructure(format!("{error}{}", attempts.unwrap_or_default()))
            .hint("bring the engine back and run the same command again"))
    }

    /// Ends it; returns what a reader of the results should know. What was measured is worth more
    /// than a container that cannot be removed: the next dyno sweeps that.
    pub async fn remove(self) -> Vec<String> {
        if let Some(container) = self.container
            && let Err(error) = container.remove().await
        {
            self.events.notice(format!("{error}; the next dyno tries again"));
        }
        self.notices
    }
}

async fn start(engines: &Arc<Engines>, spec: &Spec, verify: Verify<'_>) -> Result<Container> {
    let container = engines.start(spec).await?;
    match verify() {
        Ok(()) => Ok(container),
        Err(error) => {
            let _ = container.remove().await;
            Err(error)
        }
    }
}
