//! A few processes of every case of one commit, to see whether a suite can be measured.

use std::sync::Arc;

use dyno_model::record::Failure;
use dyno_model::suite_check::CaseTrial;

use crate::Bench;
use crate::pair::Pair;
use crate::prepared_case::PreparedCase;
use crate::rounds::check;
use dyno_base::error::Result;
use dyno_base::event::Phase;
use dyno_host::quiet::QuietHost;

/// What became of a case.
pub struct Trial {
    pub benchmark: String,
    pub case: CaseTrial,
    /// Failure of the first that failed, with the last lines that it printed.
    pub failure: Option<Failure>,
    /// What it printed where nothing was expected of it, if it was the same each time.
    pub answer: Option<Arc<[u8]>>,
}

impl Bench<'_> {
    /// Runs every case of the one side that is there `times` times, after one to warm up.
    pub async fn try_cases(&self, quiet: &mut QuietHost, times: u32) -> Result<Vec<Trial>> {
        let mut prepared = self.prepare()?;
        let new_trial = |prepared_case: &PreparedCase<'_>| Trial {
            benchmark: prepared_case.case.benchmark.clone(),
            case: CaseTrial {
                case: prepared_case.case.to_string(),
                wall_ns: Vec::new(),
                failures: Vec::new(),
                runs: 0,
                repeat: prepared_case.spawn.repeat,
                time_s: prepared_case.time_s,
            },
            failure: None,
            answer: None,
        };
        let mut trials: Vec<Trial> = prepared.iter().map(new_trial).collect();
        let what = format!("{} cases, {times} times each after one to warm up", prepared.len());
        self.events.begin(Phase::Measure, what);
        let verify = || quiet.verify();
        let mut pair = self.start_pair(quiet.parent(), &verify).await?;
        let tried = self.try_each(&mut pair, &mut prepared, &mut trials, times).await;
        pair.remove().await;
        tried?;
        for (prepared_case, trial) in prepared.iter().zip(&mut trials) {
            trial.answer = prepared_case.content().filter(|_| trial.failure.is_none());
        }
        self.events.end(Phase::Measure, format!("{} cases tried", trials.len()));
        Ok(trials)
    }

    async fn try_each(
        &self,
        pair: &mut Pair<'_>,
        prepared: &mut [PreparedCase<'_>],
        trials: &mut [Trial],
        times: u32,
    ) -> Result<()> {
        let total = prepared.len() as u64 * u64::from(times + 1);
        let mut done = 0;
        for round in 0..=times {
            for (prepared_case, trial) in prepared.iter_mut().zip(trials.iter_mut()) {
                done += 1;
                // What takes its whole time each time is known by now.
                if trial.case.runs > 0
                    && trial.case.failures.iter().any(|f| f.contains("limits.time_s"))
                {
                    continue;
                }
                let spawn = prepared_case.spawn_in_round(round, self.job.seed);
                let (side, place) = (prepared_case.side, prepared_case.place);
                let exit = pair.run(side, &spawn, place).await?.exit;
                check(pair, prepared_case, &exit).await;
                trial.case.runs += 1;
                if let (Some(stream), Ok(exit)) = (prepared_case.first_answer(), &exit) {
                    let content = pair.output(side, stream).await;
                    prepared_case.keep_answer(exit, stream, content.unwrap_or_default());
                }
                match (prepared_case.failed.take(), exit) {
                    (Some(failure), _) => {
                        trial.case.failures.push(failure.reason.clone());
                        trial.failure.get_or_insert(failure);
                    }
                    (None, Ok(exit)) if round > 0 => {
                        trial.case.wall_ns.push(exit.wall_ns.min(i64::MAX as u64) as i64);
                    }
                    (None, _) => {}
                }
                self.events.processes(done, total, None);
            }
        }
        Ok(())
    }
}
