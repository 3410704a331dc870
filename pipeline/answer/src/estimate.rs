//! How long a job will take, before it is begun.

use std::collections::BTreeMap;

use dyno_model::catalog::suite::{Case, Suite};
use dyno_model::metric::CACHEGRIND;
use dyno_model::plan::{Job, usual_counting_factors};
use dyno_model::record::phase;
use dyno_query::{CaseKey, PastCounting, Session};

/// What a job is expected to take.
pub struct JobEstimate {
    /// What each case is expected to take, as the job's cases.
    pub cases: Vec<CaseSeconds>,
    /// Seconds that the newest run of the suite on this host took before anything was measured.
    pub before_s: Option<u64>,
    /// Seconds of counting for each second of a process that is counted, from the least to the most.
    pub counting_factors: (f64, f64),
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

/// What the store knows of past runs of a suite on a host.
#[derive(Default)]
struct Past {
    /// The wall time of a sample of each case, in ns.
    walls: BTreeMap<CaseKey, f64>,
    counting: Option<PastCounting>,
    before_s: Option<u64>,
}

impl JobEstimate {
    /// Estimates by the latest wall time of each case on the job's host, and by what the suite says of
    /// those that have none. Cases that nobody knows of count as the mean of the others; `None`
    /// where those are most. Counting takes what it took the newest run that counted, for its wall
    /// time, or what is usual on `cores` cores.
    pub async fn for_job(
        job: &Job,
        suite: &Suite,
        cores: usize,
        session: &Session,
    ) -> Option<Self> {
        let host = &job.inputs.host;
        let before_s = session.latest_phases(&suite.name, host).map(|phases| {
            let before = phases
                .iter()
                .filter(|(phase, _)| ![phase::MEASURE, phase::COUNT].contains(&phase.as_str()));
            before.map(|(_, seconds)| seconds).sum::<f64>().ceil() as u64
        });
        let past = Past {
            walls: session.latest_walls(&suite.name, host).await.ok()?,
            counting: session.newest_counting(&suite.name, host).await.ok().flatten(),
            before_s,
        };
        Self::by_past(job, suite, cores, &past)
    }

    fn by_past(job: &Job, suite: &Suite, cores: usize, past: &Past) -> Option<Self> {
        // A sample is the sum of `repeat` processes, of which one is counted.
        let repeat = |benchmark: &str| f64::from(suite.repeat_of(benchmark));
        let measured_s = |case: &Case| {
            let key = (case.benchmark.clone(), case.config.to_string());
            past.walls.get(&key).map(|ns| ns / 1e9)
        };
        let typical_s = |case: &Case| {
            let typical_ms = suite.benchmark(&case.benchmark)?.typical_ms?;
            Some(typical_ms as f64 / 1e3 * repeat(&case.benchmark))
        };
        let sample_s: Vec<Option<f64>> =
            job.cases.iter().map(|case| measured_s(case).or_else(|| typical_s(case))).collect();
        let known: Vec<f64> = sample_s.iter().flatten().copied().collect();
        if known.len() < job.cases.len() - known.len() || known.is_empty() {
            return None;
        }
        let mean_s = known.iter().sum::<f64>() / known.len() as f64;
        let factor = past.counting.as_ref().and_then(|counting| past_factor(counting, suite));
        let (least, most) =
            factor.map_or_else(|| usual_counting_factors(cores), |factor| (factor, factor));
        let wanted = job.inputs.metrics.iter().any(|name| name == CACHEGRIND);
        let cases = job.cases.iter().zip(sample_s).map(|(case, sample_s)| {
            let sample_s = sample_s.unwrap_or(mean_s);
            let counted_s = 2.0 * sample_s / repeat(&case.benchmark);
            CaseSeconds {
                rounds_s: job.inputs.budget.expected_s(sample_s),
                counting_s: (wanted && suite.counts_instructions_of(&case.benchmark))
                    .then_some((counted_s * least, counted_s * most)),
                is_guess: measured_s(case).is_none(),
            }
        });
        Some(Self {
            cases: cases.collect(),
            before_s: past.before_s,
            counting_factors: (least, most),
            counting_is_guess: factor.is_none(),
        })
    }
}

/// Seconds of counting for each second of the processes that were counted; `None` where none of them
/// has a time.
fn past_factor(counting: &PastCounting, suite: &Suite) -> Option<f64> {
    let counted =
        counting.walls.iter().filter(|((benchmark, _), _)| suite.counts_instructions_of(benchmark));
    let processes =
        counted.map(|((benchmark, _), ns)| ns / 1e9 / f64::from(suite.repeat_of(benchmark)));
    let counted_s: f64 = processes.sum();
    (counted_s > 0.0).then(|| counting.seconds / counted_s)
}

#[cfg(test)]
mod tests {
    use dyno_model::budget::Budget;
    use dyno_model::catalog::suite::{Selection, parse};
    use dyno_model::id::Digest;
    use dyno_model::plan::JobInputs;
    use dyno_model::record::Trust;

    use super::*;

    const SUITE: &str = r#"
        what = "tests"
        image = "debian-gcc"
        metrics = ["wall", "instructions:cachegrind"]
        [source]
        git = "../r"
        [build]
        command = ["make"]
        outputs = { p = "p" }
        [[benchmark]]
        name = "long"
        what = "a long one"
        command = ["{artifact}/p"]
        expected = { stdout_sha256 = "DIGEST" }
        [[benchmark]]
        name = "short"
        what = "a short one"
        typical_s = 0.01
        repeat = 100
        command = ["{artifact}/p"]
        expected = { stdout_sha256 = "DIGEST" }
        [[benchmark]]
        name = "uncounted"
        what = "one that Valgrind does not see"
        count_instructions = false
        command = ["{artifact}/p"]
        expected = { stdout_sha256 = "DIGEST" }
    "#;

    fn suite() -> Suite {
        parse("s", "suite.toml", &SUITE.replace("DIGEST", Digest::of(b"").hex())).unwrap()
    }

    /// A job of 2 to 4 rounds of all cases.
    fn job(suite: &Suite) -> Job {
        let commit = |digit: &str| digit.repeat(40).parse().unwrap();
        let inputs = JobInputs {
            suite_digest: Digest::of(b"s"),
            image_id: Digest::of(b"i"),
            baseline: commit("a"),
            candidate: commit("b"),
            trust: Trust::Trusted,
            host: "local".into(),
            fingerprint: Digest::of(b"f"),
            metrics: suite.metrics.clone(),
            budget: Budget { rounds_min: 2, rounds_max: 4, seconds: 1000 },
            targets: Digest::of(b"t"),
            cases: None,
            repetition: 0,
        };
        let cases = suite.select(&Selection::default(), 2).unwrap().cases;
        let targets = vec![vec![]; cases.len()];
        Job { id: inputs.id(), inputs, seed: 0, cases, targets, confidence: 0.95 }
    }

    fn key(benchmark: &str) -> CaseKey {
        (benchmark.to_string(), String::new())
    }

    /// Least and most of rounds and of counting, of each case.
    fn seconds(estimate: &JobEstimate) -> Vec<[(f64, f64); 2]> {
        let rounded = |(least, most): (f64, f64)| ((least * 1e6).round(), (most * 1e6).round());
        let rounded = |span| {
            let (least, most) = rounded(span);
            (least / 1e6, most / 1e6)
        };
        let cases = estimate.cases.iter();
        cases.map(|c| [rounded(c.rounds_s), rounded(c.counting_s.unwrap_or_default())]).collect()
    }

    /// A sample is the sum of all that is started in a row, and one of them is counted.
    #[test]
    fn repeated_processes_are_counted_once() {
        let suite = suite();
        let walls = [("long", 1e9), ("short", 1e9), ("uncounted", 1e9)];
        let walls: BTreeMap<CaseKey, f64> = walls.map(|(name, ns)| (key(name), ns)).into();
        let mut past = Past { walls, ..Past::default() };
        // A round is 2 s: the warm-up and 2 to 4 rounds. Two cores count in half the time.
        let rounds = (6.0, 10.0);
        let estimate = JobEstimate::by_past(&job(&suite), &suite, 2, &past).unwrap();
        assert!(estimate.counting_is_guess);
        assert_eq!(
            seconds(&estimate),
            [[rounds, (20.0, 50.0)], [rounds, (0.2, 0.5)], [rounds, (0.0, 0.0)]]
        );
        // What it took before: 10.1 s for two processes of 1 s and two of 0.01 s. The third was not
        // counted.
        let sides = |name: &str| [(key(name), 1e9), (key(name), 1e9)];
        let walls = [sides("long"), sides("short"), sides("uncounted")].concat();
        past.counting = Some(PastCounting { seconds: 10.1, walls });
        let estimate = JobEstimate::by_past(&job(&suite), &suite, 2, &past).unwrap();
        assert!(!estimate.counting_is_guess);
        assert_eq!(
            seconds(&estimate),
            [[rounds, (10.0, 10.0)], [rounds, (0.1, 0.1)], [rounds, (0.0, 0.0)]]
        );
        // Counting that has no time at all is no measure.
        past.counting = Some(PastCounting { seconds: 10.1, walls: Vec::new() });
        assert!(JobEstimate::by_past(&job(&suite), &suite, 2, &past).unwrap().counting_is_guess);
    }

    /// What the suite says is of one process.
    #[test]
    fn typical_times_are_of_one_process() {
        let suite = suite();
        let walls = BTreeMap::from([(key("long"), 3e9)]);
        let past = Past { walls, ..Past::default() };
        let estimate = JobEstimate::by_past(&job(&suite), &suite, 1, &past).unwrap();
        let is_guess: Vec<bool> = estimate.cases.iter().map(|case| case.is_guess).collect();
        assert_eq!(is_guess, [false, true, true]);
        // 100 processes of 10 ms; what nobody knows is as the mean of 3 s and 1 s.
        let rounds = seconds(&estimate).into_iter().map(|[rounds, _]| rounds);
        assert_eq!(rounds.collect::<Vec<_>>(), [(18.0, 30.0), (6.0, 10.0), (12.0, 20.0)]);
        let none = Past::default();
        assert!(JobEstimate::by_past(&job(&suite), &suite, 1, &none).is_none(), "1 of 3 is known");
    }
}
