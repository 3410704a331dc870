//! Instructions by Cachegrind: once per case and side, since a count does not depend on time; for the
//! same reason all cores count at once.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use dyno_probe::{Run, Settings};

use super::{Bench, Measured, Prepared};
use crate::engine::Spec;
use crate::error::Result;
use crate::event::{Phase, Unit};
use crate::lasting::Lasting;

/// The metric that comes of it.
pub const METRIC: &str = "instructions:cachegrind";

/// How much longer a case may take while its instructions are counted (Cachegrind was seen to
/// take 10 to 40 times as long).
const COUNTING_FACTOR: u64 = 100;

impl Bench<'_> {
    /// Counts instructions of every case that still works, one container a core.
    pub(super) async fn count(
        &self,
        artifacts: &Path,
        prepared: &mut [Prepared<'_>],
        measured: &mut Measured,
    ) -> Result<()> {
        let started = Instant::now();
        let alive: Vec<usize> =
            (0..prepared.len()).filter(|&i| prepared[i].failed.is_none()).collect();
        let total = alive.len() as u64;
        self.events.begin(Phase::Measure, format!("counting instructions, {total} process(es)"));
        let runs: Vec<(usize, Run)> = alive
            .into_iter()
            .map(|i| {
                let mut run = prepared[i].run.clone();
                run.count_instructions = true;
                run.time_ms *= COUNTING_FACTOR;
                (i, run)
            })
            .collect();
        let queue = Mutex::new(runs.into_iter());
        let exits = Mutex::new(Vec::new());
        let worker = async |core: u32| -> Result<Vec<String>> {
            let probe = Settings { fixed_layout: true, ..Settings::default() };
            let spec = Spec { probe, ..self.spec(artifacts, BTreeSet::from([core])) };
            let mut container =
                Lasting::start(&self.engines, spec, &|| Ok(()), &self.events).await?;
            let ran = async {
                loop {
                    let next = queue.lock().expect("no panic while held").next();
                    let Some((i, run)) = next else { return Ok(()) };
                    let exit = container.run(&run).await?.exit;
                    let done = {
                        let mut exits = exits.lock().expect("no panic while held");
                        exits.push((i, exit));
                        exits.len() as u64
                    };
                    self.events.progress(Phase::Measure, done, total, Unit::Processes);
                }
            };
            let ran: Result<()> = ran.await;
            let notices = container.remove().await;
            ran.map(|()| notices)
        };
        // All of them to their end, whatever becomes of one: each removes its own container.
        let workers = self.all_cores.iter().map(|core| worker(*core));
        for notices in futures::future::join_all(workers).await {
            measured.notices.extend(notices?);
        }
        for (i, exit) in exits.into_inner().expect("no panic while held") {
            let ready = &mut prepared[i];
            // A program may find out where it runs, and do less there: the answer counts here too.
            let why = match exit {
                Err(why) => why,
                Ok(exit) => {
                    match (ready.wrong(&exit, ready.time_s * COUNTING_FACTOR), exit.instructions) {
                        (None, Some(count)) => {
                            measured.samples.push(ready.sample(METRIC, count, 0, 0));
                            continue;
                        }
                        (None, None) => "under Valgrind it wrote no counts".into(),
                        (Some(("output", reason)), _) => format!("under Valgrind it gave {reason}"),
                        (Some((_, reason)), _) => format!("under Valgrind it {reason}"),
                    }
                }
            };
            measured.notices.push(format!(
                "the instructions of {} ({}) were not counted: {why}",
                ready.case,
                ready.side.name(),
            ));
        }
        measured.counting_s = started.elapsed().as_secs_f64();
        self.events
            .end(Phase::Measure, format!("instructions counted in {:.0} s", measured.counting_s));
        Ok(())
    }
}
