//! The containers of the two sides: each has its own, with its own image and artifact under the
//! same paths, and the one that is not measured is frozen.

use std::collections::BTreeMap;

use dyno_model::record::Side;
use dyno_probe::{Sandbox, Spawn, Stream};

use crate::replaceable::{ProcessOutcome, ReplaceableContainer};
use dyno_base::error::{Error, Result};

/// A container for each side, of which one runs.
pub struct Pair<'a> {
    sides: BTreeMap<Side, ReplaceableContainer<'a>>,
    /// The side whose container is not frozen, once one has run.
    awake: Option<Side>,
    /// How often both were lost together.
    losses: u32,
}

/// How often both containers may be lost together before the job is given up.
const LOSSES_MAX: u32 = 4;

impl<'a> Pair<'a> {
    pub fn new(sides: BTreeMap<Side, ReplaceableContainer<'a>>) -> Self {
        Self { sides, awake: None, losses: 0 }
    }

    /// What held in one of them when it was started: they are asked for the same.
    pub fn sandbox(&self) -> Sandbox {
        self.sides.values().next().expect("at least one side is measured").sandbox().clone()
    }

    /// Runs one process on one side, of the case that stands at `case` in the job.
    ///
    /// # Errors
    /// Those of [`ReplaceableContainer::run`], and if both containers are lost too often.
    pub async fn run(&mut self, side: Side, spawn: &Spawn, case: usize) -> Result<ProcessOutcome> {
        if self.awake != Some(side) {
            for (_, other) in self.sides.iter_mut().filter(|(other, _)| **other != side) {
                other.freeze().await;
            }
            self.awake = Some(side);
        }
        let container = self.sides.get_mut(&side).expect("a side that is measured has a container");
        let outcome = container.run(spawn, case).await?;
        if outcome.retried {
            // The round is lost already: what else was lost with it shall not cost another.
            let mut is_other_lost = false;
            for other in self.sides.values_mut() {
                is_other_lost |= other.recover().await?;
            }
            self.awake = None;
            if is_other_lost {
                // Nothing in one container reaches the other: this was not the case's doing.
                self.sides.get_mut(&side).expect("as above").forgive(case);
                self.losses += 1;
            }
            if self.losses > LOSSES_MAX {
                let what = format!("both containers were lost {} times", self.losses);
                return Err(Error::infrastructure(what)
                    .hint("see what ends them, and run the same command again"));
            }
        }
        Ok(outcome)
    }

    /// What the last process on `side` wrote to `stream`; see [`ReplaceableContainer::output`].
    pub async fn output(&mut self, side: Side, stream: Stream) -> Option<Vec<u8>> {
        self.sides.get_mut(&side)?.output(stream).await
    }

    /// Ends both; returns what a reader of the results should know.
    pub async fn remove(self) -> Vec<String> {
        let mut notices = Vec::new();
        for side in self.sides.into_values() {
            for notice in side.remove().await {
                if !notices.contains(&notice) {
                    notices.push(notice);
                }
            }
        }
        notices
    }
}
