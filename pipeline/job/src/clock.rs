//! Seconds spent in each phase of a job.

use std::collections::BTreeMap;
use std::time::Instant;

/// Seconds spent in each phase.
#[derive(Clone)]
pub struct PhaseClock {
    pub phases_s: BTreeMap<String, f64>,
}

impl PhaseClock {
    pub fn new() -> Self {
        Self { phases_s: BTreeMap::new() }
    }

    /// Adds `seconds` to `phase`.
    pub fn add(&mut self, phase: &str, seconds: f64) {
        *self.phases_s.entry(phase.to_string()).or_default() += seconds;
    }

    /// Does `work` and adds its time to `phase`.
    pub async fn time<T>(&mut self, phase: &str, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let value = work.await;
        self.add(phase, started.elapsed().as_secs_f64());
        value
    }
}
