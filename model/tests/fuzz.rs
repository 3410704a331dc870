//! Whatever comes in, nothing panics and every number that goes out is one: policies as no person
//! would write them, samples as no machine would give them, summaries as only a foreign file could
//! hold them.

use dyno_model::catalog::policy::{self, Policy};
use dyno_model::pool::pool;
use dyno_model::record::{DisturbedSides, Extent, Sample, Side, Summary, ZeroRounds};
use dyno_model::states::{PastStates, State, States};
use dyno_model::stats::Variance;
use dyno_model::verdict::{self, Input, Judged, Reason, Verdict};
use proptest::prelude::*;
use proptest::sample::{Index, select};

const POLICY: &str = include_str!("../../policies/default.toml");

fn default_policy() -> Policy {
    policy::parse("default", "policies/default.toml", POLICY, &[]).unwrap()
}

/// What a mutation may put somewhere: pieces of policies, and what breaks parsers.
const PIECES: &[&str] = &[
    "",
    "\"",
    "'",
    "[",
    "]",
    "[[",
    "\n",
    "=",
    ".",
    ",",
    "# ",
    "\u{feff}",
    "\0",
    "é",
    "\\u0041",
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e400",
    "9223372036854775808",
    "0x7fffffffffffffff",
    "1979-05-27",
    "true",
    "false",
    "\"otherwise\"",
    "\"> 1\"",
    "\"> \"",
    "\"!\"",
    "{ threads = \"> x\" }",
    "{ }",
    "[metric.wall]\n",
    "[metric.\"\"]\n",
    "[[metric.wall.where]]\n",
    "[[inform]]\n",
    "[inform]\n",
    "axis = { threads = [1, \"2\"] }\n",
    "benchmark = \"*\"\n",
    "host = 7\n",
    "q = 0.05\n",
    "smallest_effect = ",
    "decides = ",
    "history = -3\n",
    "history = nan\n",
    "conflicting_hosts = \"x\"\n",
];

/// A policy with some of its text replaced.
fn mutated() -> impl Strategy<Value = String> {
    let mutation = (any::<Index>(), 0usize..30, select(PIECES));
    proptest::collection::vec(mutation, 1..6).prop_map(|mutations| {
        let mut text: Vec<char> = POLICY.chars().collect();
        for (at, length, piece) in mutations {
            let start = at.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, piece.chars());
        }
        text.into_iter().collect()
    })
}

/// A sound policy has numbers that can be calculated with; an unsound one says what is wrong.
fn check_policy(text: &str) -> Result<(), TestCaseError> {
    match policy::parse("p", "policies/p.toml", text, &["backend".into()]) {
        Ok(policy) => {
            prop_assert!(policy.q > 0.0 && policy.q <= 0.5, "{policy:?}");
            prop_assert!(policy.confidence > 0.0 && policy.confidence < 1.0, "{policy:?}");
            prop_assert!(policy.history.is_finite() && policy.history >= 0.0, "{policy:?}");
            for (benchmark, config, host, metric) in
                [("b", "threads=4", "h", "wall"), ("", "", "", ""), ("é*", "a=b,c", "?", "user")]
            {
                let config = dyno_model::catalog::suite::Config::read(config);
                let rule = policy.rule(benchmark, &config, host, metric);
                prop_assert!((0.0..=1.0).contains(&rule.smallest_effect), "{policy:?}");
            }
        }
        Err(mistakes) => prop_assert!(!mistakes.to_string().is_empty()),
    }
    Ok(())
}

/// Numbers that people do not think of, among those they do.
fn value() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => 1i64..2_000_000_000,
        2 => select(vec![0, 1, -1, i64::MAX, i64::MIN, i64::MAX - 1, 1 << 53]),
        1 => any::<i64>(),
    ]
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => -0.1f64..0.1,
        2 => select(vec![
            0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN,
            f64::MIN_POSITIVE, 5e-324, 1e308, -1e308, 1e-308, 1.0, 709.0, -745.0,
        ]),
        1 => any::<f64>(),
    ]
}

fn name(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(names).prop_map(String::from)
}

fn metric() -> impl Strategy<Value = String> {
    name(&["wall", "max-rss", "instructions:cachegrind", "artifact-size", "unheard-of", ""])
}

fn config() -> impl Strategy<Value = String> {
    name(&["", "threads=1", "threads=4", "threads=,=,,", "threads=NaN", "é=ü"])
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let sample = (
        (name(&["a", "b", ""]), config(), metric()),
        // Few numbers of rounds, so that rounds repeat and one side is missing.
        prop_oneof![0u32..6, Just(u32::MAX)],
        select(Side::BOTH.to_vec()),
        value(),
        select(vec!["", "", "", "steal"]),
    );
    let sample = sample.prop_map(|((benchmark, config, metric), round, side, value, taint)| {
        Sample { benchmark, config, metric, round, side, sequence: 0, value, taint: taint.into() }
    });
    proptest::collection::vec(sample, 0..60)
}

fn extent() -> impl Strategy<Value = Option<Extent>> {
    let extent =
        (float(), value(), value()).prop_map(|(median, min, max)| Extent { median, min, max });
    proptest::option::weighted(0.8, extent)
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0u32..30, 1 => select(vec![u32::MAX, u32::MAX - 1, 1 << 31])]
}

fn states() -> impl Strategy<Value = States> {
    let state = (value(), count(), count()).prop_map(|(value, baseline, candidate)| State {
        value,
        baseline,
        candidate,
    });
    let states = (proptest::collection::vec(state, 0..6), count(), count());
    states.prop_map(|(states, rose, fell)| States { states, rose, fell })
}

fn summary() -> impl Strategy<Value = Summary> {
    let numbers = (
        count(),
        proptest::option::weighted(0.9, float()),
        proptest::option::weighted(0.9, float()),
        count(),
    );
    let names = (name(&["a", "b", ""]), config(), metric());
    let zeros =
        (count(), count(), count(), count()).prop_map(|(baseline, candidate, grew, shrank)| {
            ZeroRounds { baseline, candidate, grew, shrank }
        });
    let disturbed =
        (count(), count()).prop_map(|(baseline, candidate)| DisturbedSides { baseline, candidate });
    let optional = (
        proptest::option::weighted(0.2, zeros),
        proptest::option::weighted(0.2, disturbed),
        proptest::option::weighted(0.2, states()),
    );
    let all = (names, numbers, extent(), extent(), optional);
    all.prop_map(|(names, numbers, baseline, candidate, (zeros, disturbed, states))| {
        let (benchmark, config, metric) = names;
        let (rounds, mean_log_ratio, variance, tainted) = numbers;
        Summary {
            benchmark,
            config,
            metric,
            rounds,
            mean_log_ratio,
            variance,
            baseline,
            candidate,
            tainted,
            zeros,
            disturbed,
            states,
        }
    })
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let history = (float(), prop_oneof![float(), 0.0f64..40.0])
        .prop_map(|(value, df)| Variance { value, df });
    let past_states =
        (count(), count(), value(), value()).prop_map(|(runs, runs_with_states, low, high)| {
            PastStates { runs, runs_with_states, low, high }
        });
    let past = (proptest::option::of(history), proptest::option::weighted(0.3, past_states));
    let input = (name(&["h", "i"]), summary(), past);
    let input = input.prop_map(|(host, summary, (history, past_states))| Input {
        host,
        architecture: "x86_64".into(),
        summary,
        is_flaky: false,
        history,
        past_states,
    });
    proptest::collection::vec(input, 0..25)
}

/// From inputs to the conclusion and its text.
fn judged(inputs: &[Input], policy: &Policy) -> Vec<Judged> {
    let judged = verdict::judge(verdict::compare(inputs, policy), policy);
    let concluded = verdict::conclude(&judged, &verdict::Failing::default(), policy);
    assert!(!concluded.conclusion.name().is_empty());
    judged
}

fn is_number(value: f64) -> bool {
    value.is_finite()
}

/// A verdict needs an estimate; an estimate is made of numbers, and where there is none the reason
/// says why.
fn check(judged: &Judged, policy: &Policy) -> Result<(), TestCaseError> {
    let comparison = &judged.comparison;
    match (comparison.estimate, comparison.q) {
        (Some(estimate), Some(q)) => {
            prop_assert!((0.0..=1.0).contains(&q), "{judged:?}");
            prop_assert!(
                (0.0..=1.0).contains(&estimate.p) && estimate.p <= q + 1e-12,
                "{judged:?}"
            );
            prop_assert!(is_number(estimate.mean), "{judged:?}");
            prop_assert!(
                estimate.half_width >= 0.0 && is_number(estimate.half_width),
                "{judged:?}"
            );
            prop_assert!(!comparison.effect().is_some_and(f64::is_nan), "{judged:?}");
            let (low, high) = comparison.interval().unwrap();
            prop_assert!(low <= high, "{judged:?}");
            let detectable = comparison.detectable(policy);
            prop_assert!(detectable.is_some_and(|d| d >= 0.0), "{detectable:?} {judged:?}");
        }
        (None, None) => prop_assert!(
            matches!(&judged.verdict, Verdict::Inconclusive(reason)
                if !matches!(reason, Reason::TooWide { .. } | Reason::HostsDisagree { .. })),
            "{judged:?}"
        ),
        (None, Some(q)) => {
            let p = comparison.zeros.map(|zeros| zeros.p);
            prop_assert!(
                (0.0..=1.0).contains(&q) && p.is_some_and(|p| p <= q + 1e-12),
                "{judged:?}"
            );
        }
        _ => return Err(TestCaseError::fail(format!("an estimate without q: {judged:?}"))),
    }
    if let Some(noise) = comparison.noise {
        let parts = [Some(noise.run), noise.history, noise.peer_prior, Some(noise.used)];
        for part in parts.into_iter().flatten() {
            prop_assert!(is_number(part.value) && part.value >= 0.0, "{judged:?}");
            prop_assert!(is_number(part.df) && part.df > 0.0, "{judged:?}");
        }
    }
    if let Verdict::Inconclusive(reason) = &judged.verdict {
        prop_assert!(!reason.to_string().is_empty());
        if let Reason::TooWide { rounds } = reason {
            prop_assert!(*rounds > 0, "{judged:?}");
        }
    }
    Ok(())
}

/// `PROPTEST_CASES` asks for more.
fn cases() -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig { cases: asked.cases.max(2000), failure_persistence: None, ..asked }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn arbitrary_text_is_no_policy_and_no_panic(text in any::<String>()) {
        check_policy(&text)?;
    }

    #[test]
    fn broken_policies_are_explained(text in mutated()) {
        check_policy(&text)?;
    }

    #[test]
    fn arbitrary_samples_are_judged(samples in samples()) {
        let policy = default_policy();
        let summaries = verdict::summarise(&samples);
        for summary in &summaries {
            let numbers = [summary.mean_log_ratio, summary.variance];
            prop_assert!(numbers.into_iter().flatten().all(is_number), "{summary:?}");
        }
        let input = |summary: &Summary| Input {
            host: "h".into(),
            architecture: "x86_64".into(),
            summary: summary.clone(),
            is_flaky: false,
            history: None,
            past_states: None,
        };
        let inputs: Vec<Input> = summaries.iter().map(input).collect();
        let judged = judged(&inputs, &policy);
        prop_assert_eq!(judged.len(), summaries.len());
        for judged in &judged {
            check(judged, &policy)?;
        }
    }

    #[test]
    fn arbitrary_summaries_are_judged(inputs in inputs(), delta in select(vec![0.0, 0.01, 1.0])) {
        let mut policy = default_policy();
        for metric in policy.metrics.values_mut() {
            metric.smallest_effect = delta;
        }
        let judged = judged(&inputs, &policy);
        prop_assert_eq!(judged.len(), inputs.len());
        for judged in &judged {
            check(judged, &policy)?;
        }
        // What several jobs hold of one series is pooled first; that must be as safe.
        let parts: Vec<&Summary> = inputs.iter().map(|input| &input.summary).collect();
        if let (Some(pooled), Some(first)) = (pool(&parts), inputs.first()) {
            let input = Input { summary: pooled, ..first.clone() };
            for judged in &self::judged(&[input], &policy) {
                check(judged, &policy)?;
            }
        }
    }
}
