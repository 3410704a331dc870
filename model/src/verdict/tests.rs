use super::*;
use crate::catalog::policy;
use crate::catalog::policy::{Decides, Policy};
use crate::record::{Sample, Side, Summary};
use crate::states::PastStates;

pub(super) fn default_policy() -> Policy {
    policy::parse(
        "test",
        "policies/test.toml",
        "[metric.wall]\nsmallest_effect = 0.01\ndecides = true\n\
         [metric.max-rss]\nsmallest_effect = 0.01\n\
         [metric.'instructions:cachegrind']\nsmallest_effect = 0.002\ndecides = true\n",
        &[],
    )
    .unwrap()
}

/// `values` are (baseline, candidate) of each round.
pub(super) fn samples(benchmark: &str, metric: &str, values: &[(i64, i64)]) -> Vec<Sample> {
    let sample = |round: usize, side, value| Sample {
        benchmark: benchmark.into(),
        config: String::new(),
        metric: metric.into(),
        round: round as u32,
        side,
        sequence: 0,
        value,
        taint: String::new(),
    };
    let round_samples = |(round, (b, c)): (usize, &(i64, i64))| {
        [sample(round, Side::Baseline, *b), sample(round, Side::Candidate, *c)]
    };
    values.iter().enumerate().flat_map(round_samples).collect()
}

fn input(summary: Summary) -> Input {
    Input {
        host: "h".into(),
        architecture: "x86_64".into(),
        summary,
        is_flaky: false,
        history: None,
        past_states: None,
    }
}

fn verdicts(samples: &[Sample]) -> (Vec<Verdict>, Conclusion) {
    let inputs: Vec<Input> = summarise(samples).into_iter().map(input).collect();
    let policy = default_policy();
    let judged = judge(compare(&inputs, &policy), &policy);
    let conclusion = conclude(&judged, &Failing::default(), &policy).conclusion;
    (judged.into_iter().map(|j| j.verdict).collect(), conclusion)
}

#[test]
fn four_verdicts() {
    let slower = [(1000, 1100), (1001, 1102), (999, 1099), (1000, 1101)];
    let faster = slower.map(|(b, c)| (c, b));
    let unchanged = [(100_000, 100_010), (100_001, 99_999), (99_990, 100_000), (100_000, 99_995)];
    let noisy = [(1000, 1100), (1000, 900), (1000, 1050), (1000, 1000)];
    for (rounds, verdict, conclusion) in [
        (slower, "Regressed", Conclusion::Regressed),
        (faster, "Improved", Conclusion::Improved),
        (unchanged, "Unchanged", Conclusion::Unchanged),
        (noisy, "Inconclusive", Conclusion::Inconclusive),
    ] {
        let (got, overall) = verdicts(&samples("b", "wall", &rounds));
        assert_eq!((got[0].name(), overall), (verdict, conclusion));
    }
    let two_series = [samples("a", "wall", &slower), samples("b", "wall", &faster)].concat();
    assert_eq!(verdicts(&two_series).1, Conclusion::Mixed);
}

/// A metric that decides and was disturbed throughout decides all the same, whatever else of the case
/// would decide otherwise: nothing is known of it.
#[test]
fn what_was_disturbed_throughout_is_not_unchanged() {
    let mut policy = default_policy();
    policy.metrics.get_mut("max-rss").unwrap().decides = Decides::Otherwise;
    let mut wall = samples("b", "wall", &[(500, 600); 4]);
    wall.iter_mut().for_each(|sample| sample.taint = "contention".into());
    let rss = samples("b", "max-rss", &[(4096, 4096); 4]);
    let summaries = summarise(&[wall, rss].concat());
    let inputs: Vec<Input> = summaries.into_iter().map(input).collect();
    let judged = judge(compare(&inputs, &policy), &policy);
    let wall = judged.iter().find(|j| j.comparison.key.metric == "wall").unwrap();
    assert!(wall.comparison.decides, "{wall:?}");
    let conclusion = conclude(&judged, &Failing::default(), &policy).conclusion;
    assert_eq!(conclusion, Conclusion::Inconclusive);
}

/// Pairs that are alike do not make a series unchanged that has states far apart: one run in ten was
/// slow, and now perhaps four are. Enough rounds do, and more slow runs are a regression.
#[test]
fn what_has_states_is_unchanged_only_after_many_rounds() {
    let (fast, slow) = (100_000, 150_000);
    let pairs = |counts: [usize; 4]| -> Vec<(i64, i64)> {
        let kinds = [(fast, fast + 7), (slow, slow + 9), (fast, slow), (slow, fast)];
        let rounds = kinds.into_iter().zip(counts).flat_map(|(k, n)| std::iter::repeat_n(k, n));
        // A few hundredths of a per cent of noise.
        rounds.enumerate().map(|(i, (b, c))| (b + i as i64 % 3, c + i as i64 % 5)).collect()
    };
    let states = |high| Some(PastStates { runs: 9, runs_with_states: 2, low: fast, high });
    let (past, near) = (states(slow), states(fast + 500));
    let unknown = |rounds| Verdict::Inconclusive(Reason::SharesUnknown { rounds });
    // Rounds with both fast, both slow, the candidate alone slow, the baseline alone slow.
    for (counts, past_states, expected) in [
        ([5, 0, 0, 0], None, Verdict::Unchanged),
        ([5, 0, 0, 0], near, Verdict::Unchanged),
        ([5, 0, 0, 0], past, unknown(78)),
        ([3, 2, 0, 0], None, unknown(78)),
        ([60, 40, 0, 0], None, Verdict::Unchanged),
        ([100, 0, 0, 0], past, Verdict::Unchanged),
        ([54, 4, 36, 6], None, Verdict::Regressed),
        ([54, 4, 6, 36], None, Verdict::Improved),
    ] {
        let summary = summarise(&samples("b", "wall", &pairs(counts))).remove(0);
        let input = Input { past_states, ..input(summary) };
        let policy = default_policy();
        let verdict = judge(compare(&[input], &policy), &policy).remove(0).verdict;
        assert_eq!(verdict, expected, "{counts:?} {past_states:?}");
    }
    // Few rounds of other shares: too noisy yet, and so many more would settle it.
    let summary = summarise(&samples("b", "wall", &pairs([3, 0, 2, 0]))).remove(0);
    let policy = default_policy();
    let verdict = judge(compare(&[input(summary)], &policy), &policy).remove(0).verdict;
    let Verdict::Inconclusive(Reason::TooWide { rounds }) = verdict else { panic!("{verdict:?}") };
    assert!((10..200).contains(&rounds), "{rounds}");
}

#[test]
fn what_cannot_be_said_says_why() {
    let one_round = samples("b", "wall", &[(5, 6)]);
    assert_eq!(verdicts(&one_round).0, [Verdict::Inconclusive(Reason::TooFewRounds { rounds: 1 })]);
    let zero = samples("b", "wall", &[(0, 6), (0, 7)]);
    let reason = Reason::ZeroValue { rounds: 2, total: 2 };
    assert_eq!(verdicts(&zero).0, [Verdict::Inconclusive(reason)]);
    let mut unpaired = samples("b", "wall", &[(5, 6), (5, 6)]);
    unpaired.retain(|s| (s.round == 0) == (s.side == Side::Baseline));
    assert_eq!(verdicts(&unpaired).0, [Verdict::Inconclusive(Reason::NoCommonRound)]);
    let mut disturbed = samples("b", "wall", &[(5, 6), (5, 6)]);
    disturbed[0].taint = "steal".into();
    let reason = Reason::Disturbed { tainted: 1, rounds: 1 };
    assert_eq!(verdicts(&disturbed).0, [Verdict::Inconclusive(reason)]);
    // However many rounds were disturbed, those that were not speak; one alone does not.
    let mut many = samples("b", "wall", &[(500, 600); 30]);
    many.iter_mut().filter(|s| s.round < 29).for_each(|s| s.taint = "contention".into());
    let reason = Reason::Disturbed { tainted: 58, rounds: 1 };
    assert_eq!(verdicts(&many).0, [Verdict::Inconclusive(reason)]);
    many.iter_mut().filter(|s| s.round > 24).for_each(|s| s.taint.clear());
    assert_eq!(verdicts(&many).0, [Verdict::Regressed]);
    let mut one_sided = samples("b", "wall", &[(5, 6), (5, 6)]);
    one_sided[0].taint = "contention".into();
    one_sided.retain(|s| s.side == Side::Baseline);
    assert_eq!(
        verdicts(&one_sided).0,
        [Verdict::Inconclusive(Reason::MissingSide { side: "candidate" })]
    );
    assert_eq!(verdicts(&[]), (vec![], Conclusion::Inconclusive));
}

#[test]
fn a_round_that_came_again_is_one_round() {
    // What no disturbance moves is untainted each time: the last pair counts.
    let again =
        |value| Sample { sequence: 9, value, ..samples("b", "max-rss", &[(1, 1)])[0].clone() };
    let mut samples_of_all = samples("b", "max-rss", &[(100, 100), (100, 110)]);
    for (side, value) in [(Side::Baseline, 200), (Side::Candidate, 240)] {
        samples_of_all.push(Sample { side, ..again(value) });
    }
    let summary = &summarise(&samples_of_all)[0];
    assert_eq!((summary.rounds, summary.tainted), (2, 0));
    let mean = (1.2f64.ln() + 1.1f64.ln()) / 2.0;
    assert!((summary.mean_log_ratio.unwrap() - mean).abs() < 1e-12, "{summary:?}");
    assert_eq!(summary.baseline.unwrap().median, 150.0);
}

#[test]
fn a_counter_is_its_own_verdict_from_one_sample() {
    let count = |b, c| verdicts(&samples("b", "instructions:cachegrind", &[(b, c)])).0;
    assert_eq!(count(1_000_000, 1_010_000), [Verdict::Regressed]);
    assert_eq!(count(1_000_000, 1_000_100), [Verdict::Unchanged]);
}

#[test]
fn families_do_not_lend_each_other_discoveries() {
    // One borderline wall series: p is about 0.03, so q must be too, whatever else there is.
    let wall = [(1000, 1030), (1000, 1015), (1000, 1035), (1000, 1022)];
    let q_of_wall = |others: &[Vec<Sample>]| {
        let mut samples_of_all = samples("b", "wall", &wall);
        samples_of_all.extend(others.concat());
        let inputs: Vec<Input> = summarise(&samples_of_all).into_iter().map(input).collect();
        let compared = compare(&inputs, &default_policy());
        compared.iter().find(|c| c.key.metric == "wall").and_then(|c| c.q).unwrap()
    };
    let q_alone = q_of_wall(&[]);
    let counters: Vec<Vec<Sample>> = (0..9)
        .map(|i| samples(&format!("c{i}"), "instructions:cachegrind", &[(1000, 2000 * i)]))
        .collect();
    let more_series: Vec<Vec<Sample>> = (0..9)
        .map(|i| samples(&format!("r{i}"), "max-rss", &[(1000, 2000), (1000, 2001), (1000, 1999)]))
        .collect();
    assert_eq!(q_of_wall(&counters), q_alone);
    assert_eq!(q_of_wall(&more_series), q_alone);
    assert!(q_alone > 0.001 && q_alone < 0.2, "{q_alone}");
}

#[test]
fn a_metric_that_does_not_decide_is_judged_all_the_same() {
    let (verdicts, conclusion) =
        verdicts(&samples("b", "max-rss", &[(1000, 2000), (1000, 2001), (1000, 1999)]));
    assert_eq!(verdicts, [Verdict::Regressed]);
    assert_eq!(conclusion, Conclusion::Inconclusive);
}

#[test]
fn a_round_with_a_zero_on_one_side_is_counted() {
    let zero_value = |rounds, total| Verdict::Inconclusive(Reason::ZeroValue { rounds, total });
    let often = |rounds: usize| -> Vec<(i64, i64)> {
        (0..rounds).map(|round| (0, 1000 * (round as i64 % 2))).collect()
    };
    let all = |pair: (i64, i64), rounds| vec![pair; rounds];
    for (what, rounds, expected) in [
        ("half of six rounds", often(6), zero_value(3, 6)),
        // Six of six directions: p = 2/64.
        ("half of twelve", often(12), Verdict::Regressed),
        ("begins at zero, five rounds", all((0, 7), 5), zero_value(5, 5)),
        ("begins at zero, six", all((0, 7), 6), Verdict::Regressed),
        ("becomes zero", all((7, 0), 6), Verdict::Improved),
        ("either way", [all((7, 0), 6), all((0, 7), 6)].concat(), zero_value(12, 12)),
        ("against its ratios", [all((0, 7), 6), all((7, 6), 6)].concat(), zero_value(6, 12)),
        // What agrees might be within δ, and adds nothing.
        ("with its ratios", [all((0, 7), 2), all((700, 701), 9)].concat(), zero_value(2, 11)),
        ("zero all the time", all((0, 0), 6), Verdict::Unchanged),
    ] {
        assert_eq!(verdicts(&samples("b", "wall", &rounds)).0, [expected], "{what}");
    }
    // What is counted once is what it is.
    let counted = samples("b", "instructions:cachegrind", &[(0, 5)]);
    assert_eq!(verdicts(&counted).0, [Verdict::Regressed]);
}

#[test]
fn rounds_with_zeros_are_pooled_and_lend_no_noise() {
    let half: Vec<(i64, i64)> = (0..6).map(|round| (0, 1000 * (round % 2))).collect();
    let summary = summarise(&samples("b", "wall", &half)).remove(0);
    let still = summarise(&samples("b", "wall", &[(0, 0); 6])).remove(0);
    let moved = summarise(&samples("b", "wall", &[(9, 8), (8, 9), (9, 9)])).remove(0);
    let policy = default_policy();
    let verdict = |parts: &[&Summary]| {
        let compared = compare(&[input(crate::pool::pool(parts).unwrap())], &policy);
        assert_eq!(compared[0].noise, None);
        judge(compared, &policy).remove(0).verdict
    };
    assert_eq!(verdict(&[&summary, &summary, &still]), Verdict::Regressed);
    let reason = Reason::ZeroValue { rounds: 6, total: 15 };
    assert_eq!(verdict(&[&summary, &summary, &moved]), Verdict::Inconclusive(reason));
}

#[test]
fn disturbance_of_one_side_is_told_with_that_side() {
    let side = |taints: &dyn Fn(u32) -> [&'static str; 2]| {
        let mut samples = samples("b", "wall", &[(500, 500); 25]);
        for sample in &mut samples {
            sample.taint = taints(sample.round)[usize::from(sample.side == Side::Candidate)].into();
        }
        let inputs: Vec<Input> = summarise(&samples).into_iter().map(input).collect();
        compare(&inputs, &default_policy())[0].disturbed_side()
    };
    assert_eq!(side(&|_| ["", ""]), None);
    let candidate = |round| if round < 24 { ["pair", "contention"] } else { ["steal", "pair"] };
    assert_eq!(side(&candidate), Some(Side::Candidate));
    assert_eq!(side(&|_| ["contention", "contention"]), None);
}

#[test]
fn a_metric_that_one_side_lacks_does_not_decide() {
    let slower = samples("b", "wall", &[(1000, 1500), (1001, 1502), (999, 1499), (1000, 1501)]);
    let mut count = samples("b", "instructions:cachegrind", &[(1000, 1000)]);
    let policy = policy::parse(
        "p",
        "p.toml",
        "[metric.wall]\ndecides = \"otherwise\"\n\
         [metric.'instructions:cachegrind']\ndecides = true\n",
        &[],
    )
    .unwrap();
    let deciding = |samples: &[Sample]| -> Vec<String> {
        let inputs: Vec<Input> = summarise(samples).into_iter().map(input).collect();
        let compared = compare(&inputs, &policy).into_iter();
        compared.filter(|c| c.decides).map(|c| c.key.metric).collect()
    };
    let count_metric = "instructions:cachegrind";
    assert_eq!(deciding(&[slower.clone(), count.clone()].concat()), [count_metric]);
    count.retain(|s| s.side == Side::Baseline);
    assert_eq!(deciding(&[slower.clone(), count.clone()].concat()), ["wall"]);
    // The candidate has neither: nothing takes over.
    let mut one_sided = slower.clone();
    one_sided.retain(|s| s.side == Side::Baseline);
    assert_eq!(deciding(&[one_sided, count].concat()), [count_metric]);
    assert_eq!(deciding(&slower), ["wall"]);
}
