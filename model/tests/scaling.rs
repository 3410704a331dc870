//! Scaling: curves that are known, so that what the fits and the verdicts promise can be counted.

use dyno_model::catalog::policy::{self, Policy};
use dyno_model::record::Side;
use dyno_model::stats::scaling::{
    Basis, Curve, Fit, Law, NoCurve, NoFit, Pairing, Parameter, Point, Speedup, Times, difference,
};
use dyno_model::verdict::{Reason, Verdict, judge_scaling};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

const CONFIDENCE: f64 = 0.95;

/// A curve with noise: ln T varies by `noise` at N = 1 and by `noise_max` at the largest N.
#[derive(Debug, Clone, Copy)]
struct Made {
    sigma: f64,
    kappa: f64,
    rounds: u32,
    noise: f64,
    noise_max: f64,
}

/// By Box & Muller 1958 (Ann. Math. Statist. 29(2)).
fn normal(random: &mut Pcg64Mcg) -> f64 {
    let (a, b): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

impl Made {
    fn time(&self, n: u32) -> f64 {
        let n = f64::from(n);
        1e12 * (1.0 + self.sigma * (n - 1.0) + self.kappa * n * (n - 1.0)) / n
    }

    fn times(&self, counts: &[u32], random: &mut Pcg64Mcg) -> Vec<Times> {
        let last = f64::from(*counts.last().unwrap()).ln();
        let times = |&threads: &u32| {
            let share = f64::from(threads).ln() / last;
            let noise = self.noise * (self.noise_max / self.noise).powf(share);
            let time = |random: &mut Pcg64Mcg| self.time(threads) * (noise * normal(random)).exp();
            let round = |round: u32| (round, time(random).round() as i64);
            Times { threads, rounds: (0..self.rounds).map(round).collect() }
        };
        counts.iter().map(times).collect()
    }
}

const POWERS: [u32; 5] = [1, 2, 4, 8, 16];

/// One process per round and no noise.
fn exact(counts: &[u32], time: impl Fn(u32) -> f64) -> Vec<Times> {
    let times = |threads: &u32| {
        let time = time(*threads).round() as i64;
        Times { threads: *threads, rounds: vec![(0, time), (1, time)] }
    };
    counts.iter().map(times).collect()
}

fn fitted(times: &[Times], law: Law) -> Result<Fit, NoFit> {
    Curve::from_times(times).unwrap().fit(law, CONFIDENCE)
}

#[track_caller]
fn near(got: f64, expected: f64, tolerance: f64, what: &impl std::fmt::Debug) {
    assert!((got - expected).abs() <= tolerance, "{got} is not {expected}: {what:?}");
}

#[test]
fn laws_are_recovered() {
    let many: Vec<u32> = (1..=24).collect();
    let far = [1, 2, 64, 4096, 65_536];
    for counts in [&POWERS[..], &[1, 2, 3], &[1, 96, 128], &many, &far] {
        for (sigma, kappa) in [
            (0.0, 0.0),
            (0.05, 0.0),
            (0.0, 1e-3),
            (0.05, 1e-3),
            (0.3, 0.02),
            (1e-5, 1e-8),
            (1.0, 0.0),
            (1.0, 0.3),
            (0.5, 5.0),
        ] {
            let made = Made { sigma, kappa, rounds: 2, noise: 0.0, noise_max: 0.0 };
            let what = (counts, sigma, kappa);
            let fit = fitted(&exact(counts, |n| made.time(n)), Law::Universal).unwrap();
            let n = f64::from(*counts.last().unwrap());
            near(fit.sigma.estimate, sigma, 1e-6, &what);
            // Beside a large κ, σ moves the times at large N by little, and the other way round.
            near(fit.kappa.estimate * n, kappa * n, 1e-6 * (1.0 + kappa * n), &what);
            near(fit.one_thread / made.time(1), 1.0, 1e-7, &what);
            near(fit.residual, 0.0, 1e-8, &what);
            near(fit.time(counts[1]) / made.time(counts[1]), 1.0, 1e-7, &what);
            if kappa == 0.0 {
                let amdahl = fitted(&exact(counts, |n| made.time(n)), Law::Amdahl).unwrap();
                near(amdahl.sigma.estimate, sigma, 1e-7, &what);
                assert_eq!((amdahl.kappa.high, amdahl.best), (0.0, None));
            }
        }
    }
}

/// By times that are exact: (what, T(N)/T(1) per N, law, what comes of it).
#[test]
fn shapes() {
    let shape = |ratios: &[f64]| {
        exact(&POWERS[..ratios.len()], |n| {
            1e9 * ratios[POWERS.iter().position(|p| *p == n).unwrap()]
        })
    };
    let fit = |ratios: &[f64]| fitted(&shape(ratios), Law::Universal);
    let best = |fit: &Fit| {
        let best = fit.best.unwrap();
        (best.threads, best.low, best.high, best.limit)
    };

    let perfect = fit(&[1.0, 0.5, 0.25, 0.125, 0.0625]).unwrap();
    assert_eq!((perfect.sigma.estimate, perfect.kappa.estimate), (0.0, 0.0));
    assert_eq!(best(&perfect), (32, 32, 32, 32), "more is better as far as it is known");

    let flat = fit(&[1.0; 5]).unwrap();
    near(flat.sigma.estimate, 1.0, 1e-9, &flat);
    near(flat.kappa.estimate, 0.0, 1e-9, &flat);

    // Four threads are best, as N* = √(0.95/0.06) = 3.98 says; 16 take longer than one.
    let peaks = fit(&[1.0, 0.585, 0.4675, 0.58875, 0.99]).unwrap();
    assert_eq!(best(&peaks).0, 4, "{peaks:?}");

    // Slightly better than any law: on both bounds, described to 1.5 %.
    let above = fit(&[1.0, 0.49, 0.245, 0.122, 0.061]).unwrap();
    assert_eq!((above.sigma.estimate, above.kappa.estimate), (0.0, 0.0));
    assert!(above.residual < 0.02 && above.lack_of_fit == Some(0.0), "{above:?}");

    // (what, times) that no law describes.
    for (what, ratios) in [
        ("twice as good as any law", [1.0, 0.25, 0.125, 0.0625, 0.03125]),
        ("up and down", [1.0, 0.5, 0.8, 0.3, 0.6]),
        ("a step", [1.0, 0.5, 0.5, 0.5, 0.0625]),
    ] {
        for law in [Law::Universal, Law::Amdahl] {
            let got = fitted(&shape(&ratios), law);
            assert!(matches!(got, Err(NoFit::Residual { p: 0.0, .. })), "{what}: {got:?}");
        }
    }
    assert_eq!(fit(&[1.0, 0.6]), Err(NoFit::TooFewCounts { counts: 2 }));
    let text = fit(&[1.0, 0.5, 0.8, 0.3, 0.6]).unwrap_err().to_string();
    assert_eq!(
        text,
        "no fit: the law misses the times by 49.8 %, more than noise and more than 7 %"
    );
}

#[test]
fn what_makes_no_curve() {
    let times = |threads: u32, values: &[i64]| Times {
        threads,
        rounds: values.iter().enumerate().map(|(i, v)| (i as u32, *v)).collect(),
    };
    let (one, two) = (times(1, &[100, 101]), times(2, &[50, 51]));
    for (input, expected, text) in [
        (vec![], NoCurve::NoSingleThread, "no time with one thread"),
        (vec![two.clone()], NoCurve::NoSingleThread, "no time with one thread"),
        (vec![times(1, &[]), two.clone()], NoCurve::NoSingleThread, "no time with one thread"),
        (vec![one.clone()], NoCurve::OneCount, "no time with more than one thread"),
        (
            vec![one.clone(), times(2, &[50])],
            NoCurve::TooFewRounds { threads: 2, rounds: 1 },
            "1 round with 2 threads: two are needed",
        ),
        (
            vec![one.clone(), times(2, &[50, 0])],
            NoCurve::NotPositive { threads: 2 },
            "a time with 2 threads is not positive",
        ),
        (
            vec![one.clone(), times(0, &[50, 51])],
            NoCurve::NotPositive { threads: 0 },
            "a time with 0 threads is not positive",
        ),
    ] {
        let got = Curve::from_times(&input).unwrap_err();
        assert_eq!((got.to_string().as_str(), &got), (text, &expected));
    }
    // Parts of one N are taken together, in any order.
    let parts = [two.clone(), times(1, &[100]), times(1, &[101])];
    assert_eq!(Curve::from_times(&parts), Curve::from_times(&[one, two]));
}

/// A number of threads at which no round has both sides was not measured on both.
#[test]
fn only_what_both_sides_have_counts() {
    let mut random = Pcg64Mcg::seed_from_u64(11);
    let made = Made { sigma: 0.1, kappa: 1e-3, rounds: 4, noise: 0.01, noise_max: 0.01 };
    let [baseline, candidate] = [0, 1].map(|_| made.times(&POWERS, &mut random));
    let differ = |a: &[Times], b: &[Times]| difference(a, b, Pairing::ByRound, 0.01, CONFIDENCE);
    let without: Vec<Times> = baseline.iter().filter(|t| t.threads != 4).cloned().collect();
    let expected = differ(&without, &candidate).unwrap();
    let mut disjoint = candidate.clone();
    disjoint[2].rounds.iter_mut().for_each(|round| round.0 += 100);
    assert_eq!(differ(&baseline, &disjoint), Ok(expected.clone()));
    assert_ne!(differ(&baseline, &candidate), Ok(expected));
    // A round with one side only is left out, wherever it stands.
    let mut longer = candidate.clone();
    longer.iter_mut().for_each(|t| t.rounds.insert(0, (77, 1)));
    longer.reverse();
    assert_eq!(differ(&baseline, &longer), differ(&baseline, &candidate));
}

/// How often of `repetitions` something holds must be what `share` says, but for chance: three
/// standard errors of a binomial share and the stated slack.
#[track_caller]
fn counted(hits: u32, repetitions: u32, share: (f64, f64), what: &impl std::fmt::Debug) {
    let (low, high) = share;
    let got = f64::from(hits) / f64::from(repetitions);
    let chance = |share: f64| 3.0 * (share * (1.0 - share) / f64::from(repetitions)).sqrt();
    let within = low - chance(low) <= got && got <= high + chance(high);
    assert!(within, "{got} is not in {low}..{high}: {what:?}");
}

/// Intervals of 95 % hold the truth in 95 of 100 curves: inside the bounds as they should. Where
/// the truth lies on a bound its own interval errs to the safe side, and that of the other
/// parameter holds it in 93 of 100 at least.
#[test]
fn coverage() {
    const REPETITIONS: u32 = 400;
    let mut random = Pcg64Mcg::seed_from_u64(20_261_121);
    for (sigma, kappa, rounds, noise, noise_max) in [
        (0.05, 1e-3, 3, 0.01, 0.01),
        (0.05, 1e-3, 10, 0.003, 0.03),
        (0.2, 1e-2, 5, 0.01, 0.01),
        (0.05, 0.0, 5, 0.01, 0.01),
        (0.0, 1e-3, 5, 0.01, 0.01),
        (0.0, 0.0, 5, 0.01, 0.01),
        (1.0, 0.0, 5, 0.01, 0.01),
        (1.0, 1e-2, 5, 0.01, 0.01),
    ] {
        let made = Made { sigma, kappa, rounds, noise, noise_max };
        let (mut of_sigma, mut of_kappa, mut of_best, mut of_speedup) = (0, 0, 0, 0);
        let mut refused = 0;
        let truth = (1..=32).min_by(|a, b| made.time(*a).total_cmp(&made.time(*b))).unwrap();
        for _ in 0..REPETITIONS {
            let curve = Curve::from_times(&made.times(&POWERS, &mut random)).unwrap();
            let last = curve.speedups(CONFIDENCE)[4];
            let (low, high) = last.interval();
            let speedup = made.time(1) / made.time(16);
            of_speedup += u32::from(low <= speedup && speedup <= high);
            let Ok(fit) = curve.fit(Law::Universal, CONFIDENCE) else {
                refused += 1;
                continue;
            };
            let holds = |p: &Parameter, truth: f64| u32::from(p.low <= truth && truth <= p.high);
            of_sigma += holds(&fit.sigma, sigma);
            of_kappa += holds(&fit.kappa, kappa);
            let best = fit.best.unwrap();
            of_best += u32::from(best.low <= truth && truth <= best.high);
        }
        assert_eq!(refused, 0, "{made:?}");
        let sigma_on_bound = sigma == 0.0 || sigma == 1.0;
        let share = |own: bool, other: bool| match (own, other) {
            (false, false) => (0.95, 0.95),
            (true, _) => (0.94, 1.0),
            (false, true) => (0.93, 0.95),
        };
        let count = |hits, share, name: &str| counted(hits, REPETITIONS, share, &(name, made));
        count(of_sigma, share(sigma_on_bound, kappa == 0.0), "σ");
        count(of_kappa, share(kappa == 0.0, sigma_on_bound), "κ");
        count(of_best, (0.95, 1.0), "best N");
        count(of_speedup, (0.95, 0.95), "S(16)");
    }
}

/// The difference at δ = 0 finds something in 5 of 100 where nothing differs, on the bounds and
/// beyond them too; and a drift that both sides share costs nothing where rounds are paired.
#[test]
fn false_positives() {
    const REPETITIONS: u32 = 400;
    let mut random = Pcg64Mcg::seed_from_u64(7);
    for (sigma, kappa, noise_max) in [
        (0.05, 1e-3, 0.01),
        (0.05, 0.0, 0.03),
        (0.0, 0.0, 0.01),
        (-0.005, 0.0, 0.01),
        (1.0, 0.0, 0.01),
    ] {
        let made = Made { sigma, kappa, rounds: 5, noise: 0.01, noise_max };
        let (mut found, mut paired, mut paired_width, mut apart_width) = (0, 0, 0.0, 0.0);
        for _ in 0..REPETITIONS {
            let drift: Vec<f64> = (0..5 * 5).map(|_| 0.05 * normal(&mut random)).collect();
            let [a, b] = [0, 1].map(|_| made.times(&POWERS, &mut random));
            let difference_of = |a: &[Times], b: &[Times], pairing| {
                difference(a, b, pairing, 0.0, CONFIDENCE).unwrap().estimate
            };
            found += u32::from(difference_of(&a, &b, Pairing::None).p < 0.05);
            let [a, b] = [a, b].map(|mut times: Vec<Times>| {
                let rounds = times.iter_mut().flat_map(|t| &mut t.rounds);
                rounds.zip(&drift).for_each(|(r, d)| r.1 = (r.1 as f64 * d.exp()).round() as i64);
                times
            });
            let by_round = difference_of(&a, &b, Pairing::ByRound);
            paired += u32::from(by_round.p < 0.05);
            paired_width += by_round.half_width;
            apart_width += difference_of(&a, &b, Pairing::None).half_width;
        }
        counted(found, REPETITIONS, (0.04, 0.06), &("apart", made));
        counted(paired, REPETITIONS, (0.04, 0.06), &("paired", made));
        assert!(paired_width < 0.6 * apart_width, "{paired_width} {apart_width} {made:?}");
    }
}

fn policy() -> Policy {
    let text = "[metric.wall]\nsmallest_effect = 0.01\ndecides = true\n";
    policy::parse("test", "policies/test.toml", text, &[]).unwrap()
}

/// Baseline σ = 0.05, κ = 0.001 with noise of 0.2 % against candidates, δ = 1 %.
#[test]
fn verdicts() {
    let mut random = Pcg64Mcg::seed_from_u64(3);
    let quiet = Made { sigma: 0.05, kappa: 1e-3, rounds: 5, noise: 0.002, noise_max: 0.002 };
    let baseline = quiet.times(&POWERS, &mut random);
    let slower = |mut times: Vec<Times>| {
        times.iter_mut().flat_map(|t| &mut t.rounds).for_each(|r| r.1 *= 2);
        times
    };
    // A step at four threads, which no law describes, and a worse one at sixteen.
    let step = |ratio: f64| {
        exact(&POWERS, |n| 1e12 / f64::from(n.min(2)) * if n == 16 { ratio } else { 1.0 })
    };
    let law = |basis: &Basis| matches!(basis, Basis::Law { .. });
    let measured = |basis: &Basis| matches!(basis, Basis::Measured { .. });
    type Row = (&'static str, Vec<Times>, Vec<Times>, fn(&Basis) -> bool, &'static str);
    let cases: Vec<Row> = vec![
        ("the same", baseline.clone(), quiet.times(&POWERS, &mut random), law, "Unchanged"),
        (
            "twice as slow everywhere",
            baseline.clone(),
            slower(quiet.times(&POWERS, &mut random)),
            law,
            "Unchanged",
        ),
        (
            "σ worse",
            baseline.clone(),
            Made { sigma: 0.06, ..quiet }.times(&POWERS, &mut random),
            law,
            "Regressed",
        ),
        (
            "κ worse",
            baseline.clone(),
            Made { kappa: 1.5e-3, ..quiet }.times(&POWERS, &mut random),
            law,
            "Regressed",
        ),
        (
            "κ better",
            baseline.clone(),
            Made { kappa: 5e-4, ..quiet }.times(&POWERS, &mut random),
            law,
            "Improved",
        ),
        (
            "noisy",
            baseline.clone(),
            Made { noise: 0.05, noise_max: 0.05, ..quiet }.times(&POWERS, &mut random),
            law,
            "Inconclusive",
        ),
        (
            "two numbers of threads in common",
            baseline.clone(),
            Made { sigma: 0.1, ..quiet }.times(&[1, 2, 32], &mut random),
            measured,
            "Regressed",
        ),
        ("no law, the same", step(0.1), step(0.1), measured, "Unchanged"),
        ("no law, worse", step(0.1), step(0.2), measured, "Regressed"),
    ];
    for (what, baseline, candidate, basis, expected) in cases {
        let d = difference(&baseline, &candidate, Pairing::ByRound, 0.01f64.ln_1p(), CONFIDENCE);
        let judged = judge_scaling(vec![d], &policy()).remove(0);
        let d = judged.difference.unwrap();
        assert_eq!(judged.verdict.name(), expected, "{what}: {d:?}");
        assert!(basis(&d.basis), "{what}: {d:?}");
        if let Verdict::Inconclusive(reason) = judged.verdict {
            assert!(matches!(reason, Reason::TooWide { rounds } if rounds > 5), "{reason}");
        }
    }
}

#[test]
fn no_curve_is_inconclusive_and_lends_nothing() {
    let worse = |sigma| Made { sigma, kappa: 0.0, rounds: 2, noise: 0.0, noise_max: 0.0 };
    let times_at = |sigma| exact(&POWERS, |n| worse(sigma).time(n));
    let differ = |a: &[Times], b: &[Times]| difference(a, b, Pairing::ByRound, 0.01, CONFIDENCE);
    let none = differ(&times_at(0.1), &times_at(0.1)[1..]);
    assert_eq!(none, Err((Side::Baseline, NoCurve::NoSingleThread)));
    let unpaired: Vec<Times> = times_at(0.1)
        .into_iter()
        .map(|t| Times { rounds: t.rounds.into_iter().map(|r| (r.0 + 1, r.1)).collect(), ..t })
        .collect();
    let one = NoCurve::TooFewRounds { threads: 1, rounds: 1 };
    assert_eq!(differ(&times_at(0.1), &unpaired), Err((Side::Baseline, one)));
    let judged = judge_scaling(vec![none, differ(&times_at(0.1), &times_at(0.2))], &policy());
    let verdicts: Vec<_> = judged.iter().map(|j| (j.q, j.verdict.name())).collect();
    assert_eq!(verdicts, [(None, "Inconclusive"), (Some(0.0), "Regressed")]);
    let Verdict::Inconclusive(reason) = &judged[0].verdict else { panic!() };
    assert_eq!(reason.to_string(), "no curve of the baseline: no time with one thread");
}

mod reference {
    //! Against SciPy: `reference/scaling.py` wrote the values.

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct All {
        curves: Vec<Case>,
        differences: Vec<Differ>,
    }

    type Table = Vec<(u32, Vec<i64>)>;

    #[derive(Debug, Deserialize)]
    struct Case {
        times: Table,
        law: [f64; 3],
        squares: f64,
        amdahl: [f64; 2],
        amdahl_squares: f64,
        speedups: Vec<(f64, f64)>,
        half_widths: Option<[f64; 2]>,
        lack_of_fit: Option<f64>,
    }

    #[derive(Debug, Deserialize)]
    struct Differ {
        baseline: Table,
        candidate: Table,
        delta: f64,
        mean: f64,
        paired: Interval,
        apart: Interval,
    }

    #[derive(Debug, Deserialize)]
    struct Interval {
        half_width: f64,
        p: f64,
    }

    fn all() -> All {
        serde_json::from_str(include_str!("reference/scaling.json")).unwrap()
    }

    fn times(table: &Table) -> Vec<Times> {
        let rounds =
            |values: &[i64]| values.iter().enumerate().map(|(i, v)| (i as u32, *v)).collect();
        table.iter().map(|(n, values)| Times { threads: *n, rounds: rounds(values) }).collect()
    }

    fn squares(curve: &Curve, fit: &Fit) -> f64 {
        let square = |p: &Point| f64::from(p.rounds) * (p.mean - fit.time(p.threads).ln()).powi(2);
        curve.points().iter().map(square).sum()
    }

    #[test]
    fn fits_and_intervals() {
        let all = all();
        assert!(all.curves.len() > 5);
        for case in &all.curves {
            let curve = Curve::from_times(&times(&case.times)).unwrap();
            let fit = curve.fit(Law::Universal, CONFIDENCE).unwrap();
            let [t, sigma, kappa] = case.law;
            near(fit.one_thread.ln(), t, 1e-7, case);
            near(fit.sigma.estimate, sigma, 1e-7, case);
            near(fit.kappa.estimate, kappa, 1e-8, case);
            near(squares(&curve, &fit), case.squares, 1e-13, case);
            // Amdahl's law is too far from some of these.
            if let Ok(amdahl) = curve.fit(Law::Amdahl, CONFIDENCE) {
                near(amdahl.one_thread.ln(), case.amdahl[0], 1e-7, case);
                near(amdahl.sigma.estimate, case.amdahl[1], 1e-7, case);
                near(squares(&curve, &amdahl), case.amdahl_squares, 1e-12, case);
            } else {
                assert!(case.amdahl_squares > 0.01, "{case:?}");
            }
            for (got, (low, high)) in curve.speedups(CONFIDENCE)[1..].iter().zip(&case.speedups) {
                near(got.mean - got.half_width, *low, 1e-8, case);
                near(got.mean + got.half_width, *high, 1e-8, case);
            }
            if let Some(half_widths) = case.half_widths {
                for (p, half) in [fit.sigma, fit.kappa].iter().zip(half_widths) {
                    near((p.high - p.low) / 2.0 / half, 1.0, 1e-6, case);
                    near((p.high + p.low) / 2.0, p.estimate, 1e-6 * half + 1e-8, case);
                }
                match (fit.lack_of_fit, case.lack_of_fit) {
                    (Some(got), Some(p)) => near(got, p, 1e-7, case),
                    (got, expected) => assert_eq!(got, expected),
                }
            }
        }
    }

    #[test]
    fn differences() {
        let all = all();
        assert!(!all.differences.is_empty());
        for case in &all.differences {
            for (pairing, expected) in
                [(Pairing::ByRound, &case.paired), (Pairing::None, &case.apart)]
            {
                let (b, c) = (times(&case.baseline), times(&case.candidate));
                let got = difference(&b, &c, pairing, case.delta, CONFIDENCE).unwrap().estimate;
                near(got.mean, case.mean, 1e-8, case);
                near(got.half_width / expected.half_width, 1.0, 1e-6, case);
                near(got.p, expected.p, 1e-6, case);
            }
        }
    }
}

fn any_times() -> impl Strategy<Value = Vec<Times>> {
    let time = prop_oneof![1i64..1_000, 1_000_000i64..1_000_000_000, Just(i64::MAX), Just(0)];
    let threads = prop_oneof![Just(1u32), 0u32..40, Just(u32::MAX)];
    let rounds = proptest::collection::vec((0u32..6, time), 0..6);
    let times = (threads, rounds).prop_map(|(threads, rounds)| Times { threads, rounds });
    proptest::collection::vec(times, 0..8)
}

/// Curves that can be fitted or not, with T(1).
fn curves() -> impl Strategy<Value = Vec<Times>> {
    let rounds = proptest::collection::vec(1_000i64..100_000_000, 2..5);
    proptest::collection::btree_map(2u32..200, rounds.clone(), 1..7).prop_flat_map(move |more| {
        rounds.clone().prop_map(move |one| {
            let times = |(threads, values): (u32, &Vec<i64>)| Times {
                threads,
                rounds: values.iter().enumerate().map(|(i, v)| (i as u32, *v)).collect(),
            };
            let all = std::iter::once((1, &one)).chain(more.iter().map(|(n, v)| (*n, v)));
            all.map(times).collect()
        })
    })
}

fn scaled(times: &[Times], by: i64) -> Vec<Times> {
    let rounds = |t: &Times| t.rounds.iter().map(|(round, time)| (*round, time * by)).collect();
    times.iter().map(|t| Times { threads: t.threads, rounds: rounds(t) }).collect()
}

proptest! {
    #[test]
    fn nothing_panics(a in any_times(), b in any_times()) {
        if let Ok(curve) = Curve::from_times(&a) {
            for law in [Law::Amdahl, Law::Universal] {
                if let Ok(fit) = curve.fit(law, CONFIDENCE) {
                    prop_assert!(fit.one_thread.is_finite() && fit.residual.is_finite(), "{fit:?}");
                }
            }
            prop_assert_eq!(curve.speedups(CONFIDENCE).len(), curve.points().len());
        }
        for pairing in [Pairing::ByRound, Pairing::None] {
            let d = difference(&a, &b, pairing, 0.01, CONFIDENCE);
            let judged = judge_scaling(vec![d], &policy()).remove(0);
            prop_assert_eq!(judged.q.is_some(), judged.difference.is_ok());
            if let Ok(d) = judged.difference {
                prop_assert!(d.estimate.mean.is_finite() && (0.0..=1.0).contains(&d.estimate.p), "{d:?}");
            }
        }
    }

    #[test]
    fn bounds_hold_and_one_thread_is_one(times in curves()) {
        let curve = Curve::from_times(&times).unwrap();
        let speedups: Vec<Speedup> = curve.speedups(CONFIDENCE);
        prop_assert_eq!((speedups[0].speedup(), speedups[0].interval()), (1.0, (1.0, 1.0)));
        prop_assert_eq!(speedups[0].efficiency(), 1.0);
        for law in [Law::Amdahl, Law::Universal] {
            let Ok(fit) = curve.fit(law, CONFIDENCE) else { continue };
            let (s, k) = (fit.sigma, fit.kappa);
            prop_assert!(0.0 <= s.low && s.low <= s.estimate, "{fit:?}");
            prop_assert!(s.estimate <= s.high && s.high <= 1.0, "{fit:?}");
            prop_assert!(0.0 <= k.low && k.low <= k.estimate && k.estimate <= k.high, "{fit:?}");
            if let Some(b) = fit.best {
                prop_assert!(1 <= b.low && b.low <= b.threads && b.threads <= b.high, "{b:?}");
                prop_assert!(b.high <= b.limit && b.limit == 2 * curve.threads_max(), "{b:?}");
            }
        }
    }

    /// No σ and κ beside those found describe the times better.
    #[test]
    fn least_squares_are_least(times in curves(), at in (0.0f64..=1.0, 0.0f64..1.0), near in 1e-6f64..0.1) {
        let curve = Curve::from_times(&times).unwrap();
        let Ok(fit) = curve.fit(Law::Universal, CONFIDENCE) else { return Ok(()) };
        let squares = |sigma: f64, kappa: f64| {
            let law = |n: u32| {
                let n = f64::from(n);
                (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0)).ln() - n.ln()
            };
            let weight = |p: &Point| f64::from(p.rounds);
            let all: f64 = curve.points().iter().map(weight).sum();
            let sum: f64 = curve.points().iter().map(|p| weight(p) * (p.mean - law(p.threads))).sum();
            let square = |p: &Point| weight(p) * (p.mean - law(p.threads) - sum / all).powi(2);
            curve.points().iter().map(square).sum::<f64>()
        };
        let (s, k) = (fit.sigma.estimate, fit.kappa.estimate);
        let least = squares(s, k);
        for (sigma, kappa) in [
            at,
            ((s + near).min(1.0), k),
            ((s - near).max(0.0), k),
            (s, k * (1.0 + near) + near * 1e-4),
            (s, (k * (1.0 - near) - near * 1e-4).max(0.0)),
            ((s + near).min(1.0), k * (1.0 - near)),
            ((s - near).max(0.0), k * (1.0 + near)),
        ] {
            prop_assert!(squares(sigma, kappa) >= least * (1.0 - 1e-9) - 1e-12, "{sigma} {kappa} {fit:?}");
        }
    }

    /// A machine that is `by` times slower scales the same.
    #[test]
    fn times_may_be_in_any_unit(times in curves(), other in curves(), by in 2i64..1000) {
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * (1.0 + a.abs());
        let fit_scaled = |by: i64| fitted(&scaled(&times, by), Law::Universal);
        match (fit_scaled(1), fit_scaled(by)) {
            (Ok(a), Ok(b)) => {
                prop_assert!(close(a.sigma.estimate, b.sigma.estimate), "{a:?} {b:?}");
                prop_assert!(close(a.sigma.high, b.sigma.high), "{a:?} {b:?}");
                prop_assert!(close(a.kappa.low, b.kappa.low), "{a:?} {b:?}");
                prop_assert!(close(a.one_thread.ln() + (by as f64).ln(), b.one_thread.ln()));
            }
            (a, b) => prop_assert_eq!(a.is_ok(), b.is_ok()),
        }
        let differ = |by| difference(&scaled(&times, by), &other, Pairing::None, 0.01, CONFIDENCE);
        match (differ(1), differ(by)) {
            (Ok(a), Ok(b)) => prop_assert!(close(a.estimate.mean, b.estimate.mean), "{a:?} {b:?}"),
            (a, b) => prop_assert_eq!(a.is_ok(), b.is_ok()),
        }
    }
}
