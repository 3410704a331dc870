use super::*;
use crate::budget::Budget;
use crate::catalog::policy;
use crate::catalog::suite::Config;
use proptest::prelude::*;

const fn budget(rounds_min: u32, rounds_max: u32, seconds: u64) -> Budget {
    Budget { rounds_min, rounds_max, seconds }
}

fn wall(half_width: f64) -> Vec<Target> {
    vec![Target { metric: "wall".into(), half_width, past_states: None }]
}

/// Runs `sampler` on cases whose d goes up and down by about ±`noise`; all turns in order.
fn run(
    mut sampler: Sampler,
    noise: &[f64],
    round_ns: u64,
) -> (Vec<ScheduledRun>, Vec<(StopReason, u32)>) {
    let mut turns = Vec::new();
    while let Some(round) = sampler.next_round() {
        turns.extend(round);
        let ScheduledRun { case, round, .. } = round[0];
        // Golden steps: no two values are near each other, which would make states of them.
        let d = 1.7 * noise[case] * ((f64::from(round) * 0.618) % 1.0 * 2.0 - 1.0);
        let candidate = (1e9 * d.exp()) as i64;
        sampler.finish_round(case, round_ns, &[Some((1_000_000_000, candidate))]);
        assert!(turns.len() < 100_000, "it ends");
    }
    let closed = sampler.stop_reasons().map(|(closed, rounds)| (closed.unwrap(), rounds)).collect();
    (turns, closed)
}

proptest! {
    #[test]
    fn each_round_has_both_sides_next_to_each_other_and_abba(
        noise in proptest::collection::vec(0.0f64..0.2, 1..6),
        least in 1u32..6, more in 0u32..10, seed: u64
    ) {
        let targets = vec![wall(0.005); noise.len()];
        let sampler = Sampler::new(targets, budget(least, least + more, 1000), 0.95, seed);
        let (turns, closed) = run(sampler, &noise, 1);
        for pair in turns.chunks(2) {
            prop_assert_eq!((pair[0].case, pair[0].round), (pair[1].case, pair[1].round));
            prop_assert_eq!(pair[0].side, pair[1].side.other());
        }
        for (case, (_, rounds)) in closed.iter().enumerate() {
            prop_assert!((least..=least + more).contains(rounds));
            let firsts: Vec<Side> =
                turns.chunks(2).filter(|p| p[0].case == case).map(|p| p[0].side).collect();
            prop_assert_eq!(firsts.len(), *rounds as usize);
            for two in firsts.windows(2) {
                prop_assert_eq!(two[0], two[1].other(), "ABBA");
            }
        }
    }
}

#[test]
fn when_a_case_is_closed() {
    // (noise, targets, budget, ns a round) → why, rounds
    for (what, noise, targets, budget, round_ns, expected) in [
        ("precise", 0.001, wall(0.005), budget(3, 30, 60), 1, (StopReason::Precise, 3)),
        ("still", 0.0, wall(0.0), budget(3, 30, 60), 1, (StopReason::Precise, 3)),
        ("needs more", 0.01, wall(0.005), budget(3, 30, 60), 1, (StopReason::Precise, 19)),
        ("never precise", 0.5, wall(0.005), budget(3, 30, 60), 1, (StopReason::OutOfRounds, 30)),
        ("δ of zero", 0.5, wall(0.0), budget(3, 9, 60), 1, (StopReason::OutOfRounds, 9)),
        ("time", 0.5, wall(0.005), budget(3, 30, 60), 10_000_000_000, (StopReason::OutOfTime, 6)),
        (
            "least rounds first",
            0.5,
            wall(0.005),
            budget(9, 30, 1),
            1 << 40,
            (StopReason::OutOfTime, 9),
        ),
        ("nothing steers", 0.5, vec![], budget(3, 30, 60), 1, (StopReason::LeastRounds, 3)),
    ] {
        let sampler = Sampler::new(vec![targets], budget, 0.95, 7);
        assert_eq!(run(sampler, &[noise], round_ns).1, [expected], "{what}");
    }
}

#[test]
fn disturbed_rounds_come_again_within_bounds() {
    // Each round is disturbed until it was tried `tries` times; → why, rounds, disturbed.
    for (what, tries, budget, round_ns, expected) in [
        ("never", 1, budget(3, 30, 60), 1, (StopReason::Precise, 3, 0)),
        ("every other", 2, budget(3, 30, 60), 1, (StopReason::Precise, 3, 3)),
        ("always", u32::MAX, budget(3, 5, 60), 1, (StopReason::Noisy, 0, 5)),
        ("out of repetitions", 3, budget(4, 6, 60), 1, (StopReason::Noisy, 2, 6)),
        ("out of time", u32::MAX, budget(3, 30, 60), 20_000_000_000, (StopReason::Noisy, 0, 3)),
    ] {
        let mut sampler = Sampler::new(vec![wall(0.005)], budget, 0.95, 7);
        let (mut tried, mut seen) = (0, Vec::new());
        while let Some([turn, _]) = sampler.next_round() {
            tried += 1;
            seen.push((turn.round, turn.side));
            if tried < tries {
                sampler.repeat_round(0, round_ns);
            } else {
                tried = 0;
                sampler.finish_round(0, round_ns, &[Some((100, 100))]);
            }
        }
        let (closed, rounds) = sampler.stop_reasons().next().unwrap();
        let disturbed = sampler.disturbed_rounds().next().unwrap();
        assert_eq!((closed.unwrap(), rounds, disturbed), expected, "{what}");
        seen.dedup();
        let mut numbers: Vec<u32> = seen.iter().map(|(round, _)| *round).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), seen.len(), "{what}: the order of a round stays");
    }
}

#[test]
fn the_widest_come_first_and_the_failed_no_more() {
    let mut sampler = Sampler::new(vec![wall(0.005); 3], budget(2, 3, 60), 0.95, 1);
    let mut last_rounds = Vec::new();
    while let Some([turn, _]) = sampler.next_round() {
        if turn.round == 2 {
            last_rounds.push(turn.case);
        }
        if turn.case == 1 {
            sampler.fail(1);
            continue;
        }
        let far: f64 = [0.1, 0.0, 0.2][turn.case] * if turn.round == 0 { 1.0 } else { -1.0 };
        sampler.finish_round(turn.case, 1, &[Some((1 << 30, (2f64.powi(30) * far.exp()) as i64))]);
    }
    assert_eq!(last_rounds, [2, 0]);
    assert_eq!(sampler.progress(), (6, 6));
}

#[test]
fn a_side_that_is_missing_gets_the_least_rounds() {
    let mut sampler = Sampler::new(vec![wall(0.005)], budget(4, 30, 60), 0.95, 1);
    while sampler.next_round().is_some() {
        sampler.finish_round(0, 1, &[None]);
    }
    assert_eq!(sampler.stop_reasons().collect::<Vec<_>>(), [(Some(StopReason::LeastRounds), 4)]);
}

#[test]
fn a_zero_on_one_side_is_never_precise() {
    for pairs in [[(0, 0), (0, 1000)], [(0, 7), (0, 7)]] {
        let mut sampler = Sampler::new(vec![wall(0.005)], budget(3, 12, 60), 0.95, 1);
        while let Some([turn, _]) = sampler.next_round() {
            sampler.finish_round(0, 1, &[Some(pairs[turn.round as usize % 2])]);
        }
        let closed = sampler.stop_reasons().next();
        assert_eq!(closed, Some((Some(StopReason::OutOfRounds), 12)), "{pairs:?}");
    }
}

/// Five pairs alike are precise, unless the series has states far apart, in this run or before.
#[test]
fn what_has_states_is_not_precise_by_pairs_that_are_alike() {
    let fast = (1_000_000, 1_000_100);
    let slow = (1_500_000, 1_500_200);
    let past = |low, high| Some(PastStates { runs: 9, runs_with_states: 2, low, high });
    for (what, rounds, past_states, expected) in [
        ("one state", [fast; 5], None, (StopReason::Precise, 5)),
        ("two", [fast, fast, slow, fast, slow], None, (StopReason::OutOfRounds, 30)),
        ("two before", [fast; 5], past(1_000_000, 1_500_000), (StopReason::OutOfRounds, 30)),
        ("two within δ", [fast; 5], past(1_000_000, 1_005_000), (StopReason::Precise, 5)),
    ] {
        let target = Target { past_states, ..wall(0.005).remove(0) };
        let mut sampler = Sampler::new(vec![vec![target]], budget(5, 30, 60), 0.95, 1);
        while let Some([turn, _]) = sampler.next_round() {
            sampler.finish_round(0, 1, &[Some(rounds[turn.round as usize % 5])]);
        }
        let (closed, rounds) = sampler.stop_reasons().next().unwrap();
        assert_eq!((closed.unwrap(), rounds), expected, "{what}");
    }
}

#[test]
fn a_seed_gives_one_order_for_ever() {
    let sampler = Sampler::new(vec![wall(0.005); 3], budget(2, 2, 60), 0.95, 7);
    let order: Vec<String> = run(sampler, &[0.1; 3], 1)
        .0
        .iter()
        .map(|t| format!("{}{}", t.case, if t.side == Side::Baseline { 'A' } else { 'B' }))
        .collect();
    insta::assert_snapshot!(order.join(" "));
}

#[test]
fn each_round_has_its_own_layout_for_ever() {
    let padding = |case, round, side| ScheduledRun { case, round, side }.padding(7);
    let all: Vec<usize> = (0..6).map(|i| padding(i / 3, (i % 3) as u32, Side::Baseline)).collect();
    insta::assert_compact_debug_snapshot!(all);
    assert_eq!(padding(1, 2, Side::Baseline), padding(1, 2, Side::Candidate));
    let far: Vec<usize> = (0..1000).map(|round| padding(0, round, Side::Baseline)).collect();
    assert!(far.iter().all(|p| *p < 4096) && far.iter().any(|p| *p > 3900));
}

#[test]
fn what_steers() {
    let text = "[metric.wall]\nsmallest_effect = 0.01\ndecides = \"otherwise\"\n\
                [metric.'instructions:cachegrind']\ndecides = true\n\
                [[metric.max-rss.where]]\naxis = { threads = \"4\" }\ndecides = true\n";
    let policy = policy::parse("p", "p.toml", text, &[]).unwrap();
    let metrics = ["wall", "max-rss", "instructions:cachegrind"].map(String::from);
    let steering = |config: &str| -> Vec<String> {
        let case = Case { benchmark: "fib".into(), config: Config::read(config) };
        targets(&case, "h", &metrics, &policy).into_iter().map(|t| t.metric).collect()
    };
    assert_eq!(steering(""), ["wall"]);
    assert_eq!(steering("threads=4"), ["max-rss"]);
}

#[test]
fn what_is_left_follows_from_rounds_disturbance_and_budget() {
    const SECOND: u64 = 1_000_000_000;
    type Given = fn(&mut Sampler);
    let rows: [(&str, Budget, Given, (f64, f64)); 6] = [
        ("at first", budget(3, 10, 100), |_| {}, (3.0 * 2.0, 10.0 * 2.0)),
        ("what pays", budget(3, 10, 7), |_| {}, (6.0, 8.0)),
        ("the least is paid always", budget(5, 10, 7), |_| {}, (10.0, 10.0)),
        (
            "a round is what it took",
            budget(3, 10, 100),
            |sampler| sampler.finish_round(0, 4 * SECOND, &[Some((1, 2))]),
            (2.0 * 4.0, 9.0 * 4.0),
        ),
        (
            "half of them are disturbed",
            budget(3, 10, 1000),
            |sampler| {
                sampler.finish_round(0, SECOND, &[Some((1, 2))]);
                sampler.repeat_round(0, SECOND);
            },
            (2.0 * 2.0, 9.0 * 2.0),
        ),
        ("closed", budget(3, 10, 100), |sampler| sampler.fail(0), (0.0, 0.0)),
    ];
    for (what, budget, given, (least, most)) in rows {
        let mut sampler = Sampler::new(vec![wall(0.001)], budget, 0.95, 1);
        given(&mut sampler);
        let left = sampler.left_ns(&[2e9]);
        assert_eq!((left.0 / 1e9, left.1 / 1e9), (least, most), "{what}");
    }
}
