//! From samples to scaling cases: grouping, what is left out, verdicts; and on real curves.

use std::collections::BTreeSet;

use dyno_model::catalog::policy::{self, Policy};
use dyno_model::record::Side;
use dyno_model::stats::scaling::{NoCurve, NoFit};
use dyno_model::verdict::{ScalingCase, ScalingSample, scaling_cases};

fn policy() -> Policy {
    let text = "[metric.wall]\nsmallest_effect = 0.01\ndecides = true\n\
                [[metric.wall.where]]\nbenchmark = 'loose'\naxis.threads = '> 4'\nsmallest_effect = 0.5\n";
    policy::parse("test", "policies/test.toml", text, &[]).unwrap()
}

/// Without noise but for a nanosecond between rounds, so that a variance is there.
#[derive(Debug, Clone, Copy)]
struct Made {
    job: &'static str,
    host: &'static str,
    benchmark: &'static str,
    side: Side,
    sigma: f64,
}

const BASELINE: Made =
    Made { job: "j1", host: "h", benchmark: "b", side: Side::Baseline, sigma: 0.05 };
const CANDIDATE: Made = Made { side: Side::Candidate, ..BASELINE };
const CONFIGS: [(u32, &str); 4] = [
    (1, "profile=check,threads=1"),
    (2, "profile=check,threads=2"),
    (4, "profile=check,threads=4"),
    (8, "profile=check,threads=8"),
];

impl Made {
    fn samples(self) -> Vec<ScalingSample<'static>> {
        let Self { job, host, benchmark, side, sigma } = self;
        let sample = |n: u32, config, round: u32| {
            let ratio = (1.0 + sigma * f64::from(n - 1)) / f64::from(n);
            ScalingSample {
                job,
                host,
                architecture: "x86_64",
                benchmark,
                config,
                metric: "wall",
                round,
                side,
                value: (1e9 * ratio) as i64 + i64::from(round),
                is_tainted: false,
            }
        };
        let rounds = |(n, config)| (0..3).map(move |round| sample(n, config, round));
        CONFIGS.into_iter().flat_map(rounds).collect()
    }
}

fn cases(all: &[Vec<ScalingSample>]) -> Vec<ScalingCase> {
    scaling_cases(all.concat(), &BTreeSet::new(), &policy())
}

fn verdicts(cases: &[ScalingCase]) -> Vec<String> {
    let line = |c: &ScalingCase| format!("{} {} {}", c.host, c.benchmark, c.scaled.verdict.name());
    cases.iter().map(line).collect()
}

#[test]
fn samples_become_cases() {
    let worse = Made { sigma: 0.08, ..CANDIDATE };
    let other = |made: Made, host, benchmark| Made { host, benchmark, ..made }.samples();
    let cases = cases(&[
        BASELINE.samples(),
        worse.samples(),
        other(BASELINE, "h", "a"),
        other(CANDIDATE, "h", "a"),
        other(BASELINE, "g", "b"),
        other(Made { sigma: 0.02, ..CANDIDATE }, "g", "b"),
        // δ is that of the largest number of threads.
        other(BASELINE, "h", "loose"),
        other(worse, "h", "loose"),
    ]);
    let expected = ["g b Improved", "h a Unchanged", "h b Regressed", "h loose Unchanged"];
    assert_eq!(verdicts(&cases), expected);
    let case = &cases[2];
    assert_eq!((case.config.as_str(), case.architecture.as_str()), ("profile=check", "x86_64"));
    for (side, sigma) in [(&case.baseline, 0.05), (&case.candidate, 0.08)] {
        let threads: Vec<_> = side.points.iter().map(|p| (p.threads, p.rounds)).collect();
        assert_eq!(threads, [(1, 3), (2, 3), (4, 3), (8, 3)]);
        let fits = side.curve.as_ref().unwrap();
        for fit in [&fits.amdahl, &fits.universal] {
            let found = fit.as_ref().unwrap().sigma;
            assert!((found.estimate - sigma).abs() < 1e-6, "{found:?}");
        }
        let last = &side.points[3];
        let (speedup, efficiency) = (last.speedup.unwrap(), last.efficiency.unwrap());
        let truth = 8.0 / (1.0 + 7.0 * sigma);
        assert!((speedup.estimate - truth).abs() < 1e-6, "{speedup:?}");
        assert!(speedup.low < truth && truth < speedup.high, "{speedup:?}");
        assert!((efficiency.estimate - truth / 8.0).abs() < 1e-6, "{efficiency:?}");
        assert_eq!(last.time_ns, (1e9 / truth).floor() + 1.0);
    }
    assert_eq!(case.scaled.difference.as_ref().unwrap().threads, 8);
    let json = serde_json::to_value(case).unwrap();
    assert_eq!(json["baseline"]["curve"]["amdahl"]["Ok"]["kappa"]["estimate"], 0.0);
}

#[test]
fn rounds_of_several_jobs_stay_apart() {
    // The second job's machine was twice as slow: pairs of one job agree, others would not.
    let again = |made: Made| {
        let mut samples = Made { job: "j2", ..made }.samples();
        samples.iter_mut().for_each(|s| s.value *= 2);
        samples
    };
    let all = [BASELINE.samples(), CANDIDATE.samples(), again(BASELINE), again(CANDIDATE)];
    let one = cases(&all).remove(0);
    assert_eq!(one.baseline.points[0].rounds, 6);
    assert_eq!(one.scaled.verdict.name(), "Unchanged");
    let difference = one.scaled.difference.unwrap();
    assert_eq!((difference.estimate.mean, difference.estimate.half_width), (0.0, 0.0));
    // A job of one side only adds to that side's times and to no pair.
    let one = cases(&[all[0].clone(), all[1].clone(), all[2].clone()]).remove(0);
    assert_eq!((one.baseline.points[0].rounds, one.candidate.points[0].rounds), (6, 3));
    assert_eq!(one.scaled.difference.unwrap().estimate.rounds, 3);
}

#[test]
fn what_is_left_out() {
    let mut samples = [BASELINE.samples(), CANDIDATE.samples()].concat();
    let expected = scaling_cases(samples.clone(), &BTreeSet::new(), &policy());
    let first = samples[0];
    let extra = [
        ScalingSample { config: "profile=check", ..first },
        ScalingSample { config: "profile=check,threads=many", ..first },
        ScalingSample { config: "", ..first },
        ScalingSample { metric: "max-rss", ..first },
    ];
    samples.extend(extra);
    // A disturbed round comes again under its number; what was disturbed is counted and left out.
    samples.insert(0, ScalingSample { value: 1, is_tainted: true, ..first });
    samples.insert(0, ScalingSample { value: 7, ..first });
    let mut got = scaling_cases(samples, &BTreeSet::new(), &policy());
    assert_eq!(got[0].baseline.tainted, 1);
    got[0].baseline.tainted = 0;
    assert_eq!(got, expected);
    assert_eq!(scaling_cases([], &BTreeSet::new(), &policy()), []);
    // One number of threads on both sides is nothing that scales.
    let alone = [BASELINE.samples(), CANDIDATE.samples()].concat();
    let alone = alone.into_iter().filter(|sample| sample.config.ends_with('1'));
    assert_eq!(scaling_cases(alone, &BTreeSet::new(), &policy()), []);
}

#[test]
fn instructions_stand_beside_and_decide_nothing() {
    let mut samples = [BASELINE.samples(), CANDIDATE.samples()].concat();
    let sample = |side, metric, value| ScalingSample { side, metric, value, ..samples[0] };
    let counted = [
        sample(Side::Baseline, "instructions", 100),
        sample(Side::Candidate, "instructions", 900),
        sample(Side::Candidate, "instructions:cachegrind", 5),
    ];
    samples.extend(counted);
    let case = scaling_cases(samples, &BTreeSet::new(), &policy()).remove(0);
    assert_eq!(case.scaled.verdict.name(), "Unchanged");
    let beside: Vec<_> = case.candidate.points[0].instructions.iter().collect();
    let expected = [("instructions", 900.0), ("instructions:cachegrind", 5.0)];
    assert_eq!(
        beside,
        expected.map(|(name, value)| (name.to_string(), value)).each_ref().map(|(a, b)| (a, b))
    );
    assert!(case.candidate.points[1].instructions.is_empty());
}

/// Why there is no curve: (what happens to the samples, side, reason in words).
#[test]
fn no_curve_says_why() {
    let all = [BASELINE.samples(), CANDIDATE.samples()].concat();
    let ignored = BTreeSet::from([("j1".to_string(), Side::Candidate)]);
    let none = BTreeSet::new();
    type Kept = fn(&ScalingSample) -> bool;
    let rows: [(&BTreeSet<_>, Kept, Side, &str); 4] = [
        (&ignored, |_| true, Side::Candidate, "the compiler takes -Zthreads and ignores it"),
        (&none, |s| s.side == Side::Candidate, Side::Baseline, "no time with one thread"),
        (
            &none,
            |s| s.side == Side::Candidate || s.config.ends_with('1'),
            Side::Baseline,
            "no time with more than one thread",
        ),
        (
            &none,
            |s| s.round == 0 || !s.config.ends_with('4'),
            Side::Baseline,
            "1 round with 4 threads: two are needed",
        ),
    ];
    for (ignored, kept, side, reason) in rows {
        let samples: Vec<_> = all.iter().copied().filter(kept).collect();
        let case = scaling_cases(samples, ignored, &policy()).remove(0);
        let expected = format!("no curve of the {}: {reason}", side.name());
        let dyno_model::verdict::Verdict::Inconclusive(why) = &case.scaled.verdict else {
            panic!("{case:?}")
        };
        assert_eq!(why.to_string(), expected);
        let shown = if side == Side::Baseline { &case.baseline } else { &case.candidate };
        assert_eq!(shown.no_curve.as_ref().unwrap().to_string(), reason);
        assert_eq!(shown.curve, None);
        assert!(shown.points.iter().all(|p| p.speedup.is_none() && p.efficiency.is_none()));
    }
    // Its times are shown all the same, and the other side has its curve.
    let case = scaling_cases(all, &ignored, &policy()).remove(0);
    assert_eq!(
        (case.candidate.points.len(), case.candidate.no_curve),
        (4, Some(NoCurve::ThreadsIgnored))
    );
    assert!(case.baseline.curve.is_some() && case.baseline.no_curve.is_none());
}

#[test]
fn two_numbers_of_threads_have_a_verdict_without_a_fit() {
    let few = |made: Made| -> Vec<ScalingSample> {
        made.samples().into_iter().filter(|s| s.config < "profile=check,threads=4").collect()
    };
    let case = cases(&[few(BASELINE), few(Made { sigma: 0.1, ..CANDIDATE })]).remove(0);
    assert_eq!(case.scaled.verdict.name(), "Regressed");
    let fits = case.baseline.curve.unwrap();
    assert_eq!(fits.universal, Err(NoFit::TooFewCounts { counts: 2 }));
}
