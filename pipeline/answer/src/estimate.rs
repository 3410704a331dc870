//! How long a job will take, before it is begun.

use std::fmt;

use dyno_model::catalog::suite::{Case, Suite};
use dyno_model::plan::Job;
use dyno_model::record::phase;
use dyno_query::Session;

use dyno_base::text::duration;

use dyno_model::metric::CACHEGRIND;

/// What a job is expected to take, in seconds.
pub struct JobEstimate {
    /// Seconds in measured processes, with the least and with the most rounds.
    pub least_s: u64,
    pub most_s: u64,
    /// Cases of which only the suite says how long they take.
    guessed: usize,
    /// What the newest run of the suite on this host took before anything was measured, and
    /// what counting instructions took it.
    before_s: Option<u64>,
    counting_s: Option<u64>,
}

impl JobEstimate {
    /// Estimates by the latest wall time of each case on `host`, and by what the suite says of
    /// those that have none. Cases that nobody knows of count as the mean of the others; `None`
    /// where those are most.
    pub async fn for_job(job: &Job, suite: &Suite, host: &str, session: &Session) -> Option<Self> {
        let latest = session.latest_walls(&suite.name, host).await.ok()?;
        let measured_s = |case: &Case| {
            let key = (case.benchmark.clone(), case.config.to_string());
            latest.get(&key).map(|ns| ns / 1e9)
        };
        let typical_s =
            |case: &Case| Some(suite.benchmark(&case.benchmark)?.typical_ms? as f64 / 1e3);
        let measured: Vec<f64> = job.cases.iter().filter_map(measured_s).collect();
        let others = job.cases.iter().filter(|case| measured_s(case).is_none());
        let guessed: Vec<f64> = others.filter_map(typical_s).collect();
        let known = [&measured[..], &guessed[..]].concat();
        let unknown = job.cases.len() - known.len();
        if known.len() < unknown || known.is_empty() {
            return None;
        }
        let mean_s = known.iter().sum::<f64>() / known.len() as f64;
        let process_times = known.into_iter().chain(std::iter::repeat_n(mean_s, unknown));
        let (least_s, most_s): (Vec<f64>, Vec<f64>) =
            process_times.map(|process_s| job.inputs.budget.expected_s(process_s)).unzip();
        let [least_s, most_s] = [least_s, most_s].map(|each| each.iter().sum::<f64>());
        let whole_seconds = |seconds: f64| seconds.ceil() as u64;
        let phases = session.latest_phases(&suite.name, host);
        let before_s = phases.map(|phases| {
            let before = phases
                .iter()
                .filter(|(phase, _)| ![phase::MEASURE, phase::COUNT].contains(&phase.as_str()));
            before.map(|(_, seconds)| seconds).sum::<f64>()
        });
        let counting_s = phases.and_then(|phases| phases.get(phase::COUNT)).copied();
        let is_counting = job.inputs.metrics.iter().any(|name| name == CACHEGRIND);
        Some(Self {
            least_s: whole_seconds(least_s),
            most_s: whole_seconds(most_s),
            guessed: guessed.len(),
            before_s: before_s.map(whole_seconds),
            counting_s: counting_s
                .filter(|seconds| is_counting && *seconds > 0.0)
                .map(whole_seconds),
        })
    }

    /// What comes besides, in words.
    pub fn last_time(&self) -> Vec<String> {
        let sentence = |seconds: Option<u64>, what: &str| {
            Some(format!("{what} took {} last time", duration(seconds?)))
        };
        let besides = [
            sentence(self.before_s, "getting ready"),
            sentence(self.counting_s, "counting instructions"),
        ];
        besides.into_iter().flatten().collect()
    }
}

/// The time in measured processes.
impl fmt::Display for JobEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.least_s, self.most_s) {
            (least, most) if least == most => write!(f, "about {}", duration(least))?,
            (least, most) => write!(f, "{} to {}", duration(least), duration(most))?,
        }
        match self.guessed {
            0 => Ok(()),
            cases => write!(f, " (of {cases} case(s) never measured here, by the suite's guess)"),
        }
    }
}
