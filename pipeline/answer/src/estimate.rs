//! How long a job will take, before it is begun.

use dyno_model::catalog::suite::{Case, Suite};
use dyno_model::metric::CACHEGRIND;
use dyno_model::plan::{COUNTING_FACTORS, Job};
use dyno_model::record::phase;
use dyno_query::Session;

/// What a job is expected to take.
pub struct JobEstimate {
    /// What each case is expected to take, as the job's cases.
    pub cases: Vec<CaseSeconds>,
    /// Seconds that the newest run of the suite on this host took before anything was measured.
    pub before_s: Option<u64>,
    /// Whether counting was never timed here.
    pub counting_is_guess: bool,
}

/// What a case is expected to take, in seconds from the least to the most.
pub struct CaseSeconds {
    /// The time in measured processes, with the least and with the most rounds.
    pub rounds_s: (f64, f64),
    /// The time until its instructions are counted; `None` if they are not.
    pub counting_s: Option<(f64, f64)>,
    /// Whether it was never measured here.
    pub is_guess: bool,
}

impl JobEstimate {
    /// Estimates by the latest wall time of each case on `host`, and by what the suite says of
    /// those that have none. Cases that nobody knows of count as the mean of the others; `None`
    /// where those are most. Counting takes what it took the newest run that counted, for its wall
    /// time, or [`COUNTING_FACTORS`] times the wall time on `cores` cores.
    pub async fn for_job(
        job: &Job,
        suite: &Suite,
        cores: usize,
        session: &Session,
    ) -> Option<Self> {
        let host = &job.inputs.host;
        let latest = session.latest_walls(&suite.name, host).await.ok()?;
        let measured_s = |case: &Case| {
            let key = (case.benchmark.clone(), case.config.to_string());
            latest.get(&key).map(|ns| ns / 1e9)
        };
        let typical_s =
            |case: &Case| Some(suite.benchmark(&case.benchmark)?.typical_ms? as f64 / 1e3);
        let process_s: Vec<Option<f64>> =
            job.cases.iter().map(|case| measured_s(case).or_else(|| typical_s(case))).collect();
        let known: Vec<f64> = process_s.iter().flatten().copied().collect();
        if known.len() < job.cases.len() - known.len() || known.is_empty() {
            return None;
        }
        let mean_s = known.iter().sum::<f64>() / known.len() as f64;
        let factor = session.counting_factor(&suite.name, host).await.ok().flatten();
        let (least, most) = match factor {
            Some(factor) => (factor, factor),
            None => {
                let per_core = |factor: f64| factor / cores.max(1) as f64;
                (per_core(COUNTING_FACTORS.0), per_core(COUNTING_FACTORS.1))
            }
        };
        let wanted = job.inputs.metrics.iter().any(|name| name == CACHEGRIND);
        let is_counted =
            |case: &Case| wanted && !suite.metrics_of(case, &[CACHEGRIND.to_string()]).is_empty();
        let cases = job.cases.iter().zip(process_s).map(|(case, process_s)| {
            let process_s = process_s.unwrap_or(mean_s);
            CaseSeconds {
                rounds_s: job.inputs.budget.expected_s(process_s),
                counting_s: is_counted(case)
                    .then_some((2.0 * process_s * least, 2.0 * process_s * most)),
                is_guess: measured_s(case).is_none(),
            }
        });
        let before_s = session.latest_phases(&suite.name, host).map(|phases| {
            let before = phases
                .iter()
                .filter(|(phase, _)| ![phase::MEASURE, phase::COUNT].contains(&phase.as_str()));
            before.map(|(_, seconds)| seconds).sum::<f64>().ceil() as u64
        });
        Some(Self { cases: cases.collect(), before_s, counting_is_guess: factor.is_none() })
    }
}
