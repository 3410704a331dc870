use super::*;
use crate::catalog::policy;
use crate::record::{Extent, Failure, Side, Summary};
use crate::verdict::{Input, compare, judge};

const POLICY: &str = r#"
        [[inform]]
        benchmark = "stress"
        [[inform]]
        host = "laptop"
        [metric."instructions:cachegrind"]
        smallest_effect = 0.002
        decides = true
        [[metric."instructions:cachegrind".where]]
        axis = { threads = "> 1" }
        decides = false
        [metric.wall]
        smallest_effect = 0.01
        decides = "otherwise"
        [[metric.wall.where]]
        axis = { threads = "> 1" }
        decides = true
    "#;

const COUNT: &str = "instructions:cachegrind";

/// One series: (benchmark, config, metric, host, architecture, effect, noise).
type Series = (&'static str, &'static str, &'static str, &'static str, &'static str, f64, f64);

fn input((benchmark, config, metric, host, architecture, effect, noise): Series) -> Input {
    let once = metric == COUNT;
    let extent = |median: f64| Some(Extent { median, min: median as i64, max: median as i64 });
    Input {
        host: host.into(),
        architecture: architecture.into(),
        summary: Summary {
            benchmark: benchmark.into(),
            config: config.into(),
            metric: metric.into(),
            rounds: if once { 1 } else { 10 },
            mean_log_ratio: Some(f64::ln_1p(effect)),
            variance: (!once).then_some(noise * noise),
            baseline: extent(1e9),
            candidate: extent(1e9 * (1.0 + effect)),
            tainted: 0,
            zeros: None,
            disturbed: None,
            states: None,
        },
        is_flaky: false,
        history: None,
        past_states: None,
    }
}

#[test]
fn commits_without_a_common_case_say_which_each_has() {
    let series = ["fib", "sort"].map(|name| (name, "", "wall", "h", "x86_64", 0.0, 0.001));
    let policy = policy::parse("p", "p.toml", POLICY, &[]).unwrap();
    let mut inputs: Vec<Input> = series.into_iter().map(input).collect();
    for (index, input) in inputs.iter_mut().enumerate() {
        let gone =
            if index == 0 { &mut input.summary.candidate } else { &mut input.summary.baseline };
        (*gone, input.summary.rounds) = (None, 0);
        (input.summary.mean_log_ratio, input.summary.variance) = (None, None);
    }
    let concluded =
        conclude(&judge(compare(&inputs, &policy), &policy), &Failing::default(), &policy);
    assert_eq!(concluded.conclusion, Conclusion::Inconclusive);
    assert_eq!(
        concluded.reasons.last().unwrap().to_string(),
        "no case was measured on both sides: the baseline has fib; the candidate has sort"
    );
}

fn concluded(series: &[Series], policy: &str) -> Concluded {
    let policy = policy::parse("p", "p.toml", policy, &[]).unwrap();
    let inputs: Vec<Input> = series.iter().copied().map(input).collect();
    conclude(&judge(compare(&inputs, &policy), &policy), &Failing::default(), &policy)
}

/// Architectures of the scenarios, and the standard deviation of a quiet machine.
const X86: &str = "x86_64";
const ARM: &str = "aarch64";
const QUIET: f64 = 0.001;

/// Scenarios by name, with the series that were measured.
const SCENARIOS: &[(&str, &[Series])] = &[
    ("nothing was measured", &[]),
    ("nothing that decides was measured", &[("fib", "", "max-rss", "h", X86, 0.5, QUIET)]),
    (
        "instructions decide, wall agrees",
        &[("fib", "", COUNT, "h", X86, 0.05, 0.0), ("fib", "", "wall", "h", X86, 0.05, QUIET)],
    ),
    (
        "instructions decide, wall is against it",
        &[("fib", "", COUNT, "h", X86, 0.05, 0.0), ("fib", "", "wall", "h", X86, -0.05, QUIET)],
    ),
    (
        "wall surely contradicts instructions",
        &[("fib", "", COUNT, "h", X86, 0.0, 0.0), ("fib", "", "wall", "h", X86, 2.58, QUIET)],
    ),
    (
        "wall surely contradicts instructions, for the better",
        &[("fib", "", COUNT, "h", X86, 0.0, 0.0), ("fib", "", "wall", "h", X86, -0.5, QUIET)],
    ),
    (
        "wall says more of the same",
        &[("fib", "", COUNT, "h", X86, 0.01, 0.0), ("fib", "", "wall", "h", X86, 2.58, QUIET)],
    ),
    (
        "wall differs by less than five times its δ",
        &[("fib", "", COUNT, "h", X86, 0.0, 0.0), ("fib", "", "wall", "h", X86, 0.045, QUIET)],
    ),
    (
        "wall differs by far, and is not sure",
        &[("fib", "", COUNT, "h", X86, 0.0, 0.0), ("fib", "", "wall", "h", X86, 0.3, 0.5)],
    ),
    ("wall decides where nobody counted", &[("fib", "", "wall", "h", X86, 0.05, QUIET)]),
    (
        "wall decides with threads, instructions mislead",
        &[
            ("serde", "threads=4", COUNT, "h", X86, 0.08, 0.0),
            ("serde", "threads=4", "wall", "h", X86, -0.4, QUIET),
            ("serde", "threads=1", COUNT, "h", X86, 0.0001, 0.0),
            ("serde", "threads=1", "wall", "h", X86, 0.0, QUIET),
        ],
    ),
    (
        "all unchanged",
        &[("fib", "", COUNT, "h", X86, 0.0, 0.0), ("sort", "", COUNT, "h", X86, 0.001, 0.0)],
    ),
    (
        "one is not settled",
        &[("fib", "", "wall", "h", X86, 0.0, QUIET), ("sort", "", "wall", "h", X86, 0.0, 0.2)],
    ),
    (
        "two hosts of one architecture contradict each other",
        &[
            ("fib", "", "wall", "h1", X86, 0.05, QUIET),
            ("fib", "", "wall", "h2", X86, 0.0, QUIET),
            ("sort", "", "wall", "h1", X86, 0.0, QUIET),
            ("sort", "", "wall", "h2", X86, 0.0, QUIET),
        ],
    ),
    (
        "a second host that is not sure contradicts nobody",
        &[("fib", "", "wall", "h1", X86, 0.05, QUIET), ("fib", "", "wall", "h2", X86, 0.0, 0.5)],
    ),
    (
        "a conflict does not hide another regression",
        &[
            ("fib", "", "wall", "h1", X86, 0.05, QUIET),
            ("fib", "", "wall", "h2", X86, -0.05, QUIET),
            ("sort", "", "wall", "h1", X86, 0.05, QUIET),
            ("sort", "", "wall", "h2", X86, 0.05, QUIET),
        ],
    ),
    (
        "architectures differ",
        &[
            ("fib", "", "wall", "h1", X86, 0.05, QUIET),
            ("fib", "", "wall", "h3", ARM, -0.05, QUIET),
        ],
    ),
    (
        "slower on one architecture, the same on the other",
        &[("fib", "", "wall", "h1", X86, 0.05, QUIET), ("fib", "", "wall", "h3", ARM, 0.0, QUIET)],
    ),
    (
        "configs differ",
        &[
            ("fib", "opt=size", "wall", "h", X86, 0.05, QUIET),
            ("fib", "opt=speed", "wall", "h", X86, -0.05, QUIET),
        ],
    ),
    (
        "what only informs regressed",
        &[
            ("stress", "", "wall", "h", X86, 0.5, QUIET),
            ("fib", "", "wall", "laptop", X86, 0.5, QUIET),
            ("fib", "", "wall", "h", X86, 0.0, QUIET),
        ],
    ),
];

/// Checks for every scenario the conclusion, the reasons, whom to ask again.
#[test]
fn named_scenarios() {
    let mut text = String::new();
    for (name, series) in SCENARIOS {
        let Concluded { conclusion, reasons, ask_again, gate_fails } = concluded(series, POLICY);
        let gate = if gate_fails { "; the gate fails" } else { "" };
        text.push_str(&format!("{name}: {}{gate}\n", conclusion.name()));
        reasons.iter().for_each(|reason| text.push_str(&format!("  {reason}\n")));
        if !ask_again.is_empty() {
            text.push_str(&format!("  ask again: {ask_again:?}\n"));
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_works_on_one_side_only_is_not_unchanged() {
    let policy = policy::parse("p", "p.toml", POLICY, &[]).unwrap();
    let series = |effect| [input(("fib", "", COUNT, "h", "x86_64", effect, 0.0))];
    let failure = |benchmark: &str, side| Failure {
        benchmark: Some(benchmark.into()),
        config: Some("opt=speed".into()),
        side,
        step: "measure".into(),
        reason: String::new(),
        log_tail: String::new(),
    };
    let on_both_sides = failure("sort", None);
    let informing = failure("stress", Some(Side::Candidate));
    let [fails, passes] = [Side::Candidate, Side::Baseline].map(|s| failure("fib", Some(s)));
    for (effect, failures, expected) in [
        (0.0, vec![], "Unchanged"),
        (0.0, vec![&on_both_sides], "Unchanged"),
        (0.0, vec![&fails], "Regressed; newly failing: fib [opt=speed]"),
        (0.0, vec![&passes], "Inconclusive; newly passing: fib [opt=speed]"),
        (-0.1, vec![&fails], "Mixed; newly failing: fib [opt=speed]"),
        (0.1, vec![&fails], "Regressed; newly failing: fib [opt=speed]"),
        (0.0, vec![&informing], "Inconclusive; newly failing: stress [opt=speed]"),
    ] {
        let judged = judge(compare(&series(effect), &policy), &policy);
        let failing = Failing::new(failures.into_iter().map(|f| ("h", f)));
        let Concluded { conclusion, reasons, gate_fails, .. } =
            conclude(&judged, &failing, &policy);
        assert_eq!(gate_fails, expected.starts_with("Regressed") || expected.starts_with("Mixed"));
        let reason_texts = reasons[1..].iter().map(|r| format!("; {r}")).collect::<String>();
        assert_eq!(format!("{}{reason_texts}", conclusion.name()), expected);
    }
}

#[test]
fn conflicting_hosts_may_count() {
    let policy = format!("conflicting_hosts = \"count\"\n{POLICY}");
    let series = [
        ("fib", "", "wall", "h1", "x86_64", 0.05, 0.001),
        ("fib", "", "wall", "h2", "x86_64", 0.0, 0.001),
    ];
    let counted = concluded(&series, &policy);
    assert_eq!(counted.conclusion, Conclusion::Regressed);
    assert!(counted.ask_again.is_empty());
}

#[test]
fn conflicting_metrics_follow_the_policy() {
    let series =
        [("fib", "", COUNT, "h", X86, 0.0, 0.0), ("fib", "", "wall", "h", X86, 0.3, QUIET)];
    let no_agreement = POLICY.replace("otherwise\"\n", "otherwise\"\nmust_agree = false\n");
    for (what, policy, expected) in [
        ("default", POLICY.to_string(), (Conclusion::Mixed, true)),
        ("tell", format!("conflicting_metrics = \"tell\"\n{POLICY}"), (Conclusion::Mixed, false)),
        ("far", format!("conflict_multiple = 40\n{POLICY}"), (Conclusion::Unchanged, false)),
        ("need not agree", no_agreement, (Conclusion::Unchanged, false)),
    ] {
        let concluded = concluded(&series, &policy);
        assert_eq!((concluded.conclusion, concluded.gate_fails), expected, "{what}");
    }
}

#[test]
fn what_can_conflict_is_in_the_family() {
    let policy = policy::parse("p", "p.toml", POLICY, &[]).unwrap();
    let walls = ["a", "b", "c", "d"].map(|name| {
        let count = input((name, "", COUNT, "h", X86, 0.0, 0.0));
        [count, input((name, "", "wall", "h", X86, 0.02, 0.01))]
    });
    let compared = compare(&walls.concat(), &policy);
    let wall: Vec<_> = compared.iter().filter(|c| c.key.metric == "wall").collect();
    assert!(wall.iter().all(|c| c.is_companion && c.can_conclude() && !c.decides));
    // Four alike: q is p; one that informs is not among them.
    assert!(wall.iter().all(|c| c.q == c.p()));
    let mut more = walls.concat();
    more.extend([
        input(("e", "", COUNT, "h", X86, 0.0, 0.0)),
        input(("e", "", "wall", "h", X86, 0.0, 0.01)),
    ]);
    let diluted = compare(&more, &policy);
    assert!(diluted[1].q > compared[1].q);
}
