//! Why a series has its verdict: as text, as data, and how a series is named.

use dyno_model::id::JobId;
use dyno_model::record::{Sample, Side};
use dyno_model::stats::{self, Variance};
use dyno_reports::explain::{self, Explanation, Pair, UnclearSeries, find};
use dyno_reports::{Terminal, View};

use crate::scenarios::{self, Scenario};

/// The explanation of `series` as whoever shows one asks for it.
pub fn explained(scenario: &Scenario, series: &str) -> Explanation {
    let view = scenario.view();
    let row = find(&view, series).unwrap();
    let run = scenario.runs.iter().find(|run| run.host == row.host).unwrap();
    let (_, all) = scenario.samples.iter().find(|(host, _)| *host == row.host).unwrap();
    let of_series = |s: &&Sample| {
        [&s.benchmark, &s.config, &s.metric] == [&row.benchmark, &row.config, &row.metric]
    };
    let samples: Vec<(JobId, Sample)> =
        all.iter().filter(of_series).map(|s| (run.job.clone(), s.clone())).collect();
    let queries = [
        ("the rounds", "SELECT *\nFROM samples".to_string()),
        ("the estimate and the verdict", "SELECT *\nFROM compare('a', 'b')".to_string()),
    ];
    let run_history = scenario.judged.iter().find_map(|j| j.comparison.noise?.history);
    let run_history = run_history.map(|lent| Variance { df: 24.0, ..lent });
    let input = explain::Input {
        view: &view,
        row,
        judged: &scenario.judged,
        policy: &scenario.policy,
        samples: &samples,
        past: run_history.map(|variance| (6, variance)),
        queries: &queries,
    };
    Explanation::new(&input).unwrap()
}

/// All numbers of an explanation, a line for each round and part; the row is that of its view.
fn facts(explained: &Explanation) -> String {
    let Explanation { version, title, row, rounds, noise, estimate, family, rule, queries } =
        explained;
    let mut lines = vec![format!("version {version}: {title}, {}", row.series)];
    lines.extend(rounds.iter().map(|pair| format!("{pair:?}")));
    lines.extend([format!("{noise:?}"), format!("{estimate:?}")]);
    lines.extend([format!("{family:?}"), format!("{rule:?}")]);
    lines.extend(queries.iter().map(|query| format!("{query:?}")));
    lines.join("\n")
}

fn text(explained: &Explanation) -> String {
    explain::text(explained, Terminal { width: 100, color: false })
}

#[test]
fn a_disturbed_series_with_history_and_peer_prior() {
    let explained = explained(&scenarios::hosts_conflict(), "json/wall@epyc-1");
    insta::assert_snapshot!("history.text", text(&explained));
    insta::assert_snapshot!("history.facts", facts(&explained));
    // What is shown is what was judged, and follows from the rounds that are shown.
    let d: Vec<f64> = explained.rounds.iter().filter_map(|pair| pair.d).collect();
    let estimate = explained.estimate.unwrap();
    let moments = stats::moments(&d).unwrap();
    assert!((moments.mean - estimate.mean).abs() < 1e-12);
    let noise = explained.noise.unwrap();
    assert!((moments.variance.unwrap() - noise.run.value).abs() < 1e-12);
    assert_eq!(noise.moderated.max(noise.floor), noise.used.value);
    let again = stats::estimate(
        estimate.rounds,
        estimate.mean,
        noise.used,
        estimate.delta,
        estimate.confidence,
    );
    assert_eq!(again.half_width, estimate.half_width);
    // p is also that of the prior's other shape, and of states that pairs may straddle.
    assert!(estimate.p >= again.p, "{estimate:?}");
    assert_eq!(estimate.quantile * estimate.standard_error, estimate.half_width);
}

#[test]
fn a_counted_series_and_one_that_only_informs() {
    let threads = scenarios::threads();
    for (name, series) in [
        ("counted.text", "serde[threads=4]/instructions:cachegrind"),
        ("decides.text", "serde[threads=4]/wall"),
        ("informs.text", "stress/wall"),
    ] {
        insta::assert_snapshot!(name, text(&explained(&threads, series)));
    }
}

#[test]
fn every_series_of_every_scenario_is_explained() {
    for scenario in scenarios::all() {
        for row in scenario.view().rows() {
            let explained = explained(&scenario, &row.series);
            assert_eq!(explained.row.id, row.id);
            // A zero on one side alone has no d, and counts.
            let counts = |p: &&Pair| p.d.is_some() || (row.zero.is_some() && !p.notes.is_empty());
            assert_eq!(explained.rounds.iter().filter(counts).count(), row.rounds as usize);
            assert_eq!(explained.rule.decides, row.decides);
            assert!((explained.rule.smallest_effect - row.delta_fraction).abs() < 1e-12);
            for width in [40, 80] {
                let terminal = Terminal { width, color: false };
                assert!(explain::text(&explained, terminal).contains("The SQL"));
            }
        }
    }
}

#[test]
fn a_round_without_its_pair_says_why() {
    let mut scenario = scenarios::hosts_conflict();
    for sample in scenario.samples[0].1.iter_mut().filter(|s| s.benchmark == "fib") {
        match (sample.round, sample.side) {
            (0, Side::Baseline) => sample.taint = "steal".to_string(),
            (1, Side::Candidate) => sample.value = 0,
            (2, Side::Candidate) => sample.benchmark = "gone".to_string(),
            _ => {}
        }
    }
    let explained = explained(&scenario, "fib/wall@epyc-1");
    let notes: Vec<String> = explained.rounds.iter().map(|pair| pair.notes.join("; ")).collect();
    assert_eq!(
        notes,
        [
            "baseline: steal",
            "a value is zero on one side only",
            "no sample of the candidate",
            "",
            ""
        ]
    );
    let text = text(&explained);
    for expected in [
        "left out: baseline: steal",
        "no ratio: a value is zero on one side only",
        "left out: no sample of the candidate",
        "Left out: 2 of 5 rounds: 1 disturbed each time, 1 with no sample of the candidate.",
        "(steal: the hypervisor gave its core to another machine)",
    ] {
        assert!(words(&text).contains(expected), "{expected}: {text}");
    }
}

/// The words of a text, whatever its lines.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A round that was disturbed and came again counts; what is left out are samples.
#[test]
fn a_round_that_came_again_is_not_left_out() {
    let mut scenario = scenarios::hosts_conflict();
    let (_, samples) = &mut scenario.samples[0];
    let is_first = |s: &&Sample| s.benchmark == "fib" && s.metric == "wall" && s.round == 0;
    let disturbed: Vec<Sample> = samples.iter().filter(is_first).cloned().collect();
    let tainted = |s: &Sample, taint: &str| Sample { taint: taint.into(), ..s.clone() };
    let before = [tainted(&disturbed[0], "contention,steal"), tainted(&disturbed[1], "pair")];
    samples.splice(0..0, before);
    let text = words(&text(&explained(&scenario, "fib/wall@epyc-1")));
    assert!(text.contains("measured again after "), "{text}");
    assert!(!text.contains("Left out: "), "{text}");
    for expected in [
        "Left out too: 2 disturbed samples of 1 round that came again undisturbed; the last counts.",
        "contention: other programs took its core; pair: the process beside it was disturbed; steal:",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn series_are_named_by_people() {
    let found = |view: &View, written: &str| match find(view, written) {
        Ok(row) => row.series.clone(),
        Err(unclear) => unclear.to_string(),
    };
    let conflict = scenarios::hosts_conflict().view();
    let threads = scenarios::threads().view();
    let id = conflict.regressed[0].id.clone();
    for (view, written, expected) in [
        (&conflict, "fib/wall@epyc-2", "fib/wall@epyc-2"),
        (&conflict, id.as_str(), "json/wall@epyc-1"),
        (&conflict, "fib/wall", "`fib/wall` could mean fib/wall@epyc-1, fib/wall@epyc-2"),
        (&threads, "stress/wall", "stress/wall@local"),
        (&threads, "serde [threads=4]/wall", "serde[threads=4]/wall@local"),
        (&threads, "serde[threads=4]/wall@local", "serde[threads=4]/wall@local"),
        (
            &threads,
            "serde/wall",
            "`serde/wall` could mean serde[threads=4]/wall@local, serde[threads=1]/wall@local",
        ),
        (
            &threads,
            "stres/wal",
            "there is no series `stres/wal`; the nearest are stress/wall@local, serde[threads=1]/wall@local, \
             serde[threads=4]/wall@local, serde[threads=1]/instructions:cachegrind@local, \
             serde[threads=4]/instructions:cachegrind@local",
        ),
    ] {
        assert_eq!(found(view, written), expected);
    }
    // A part of the config is enough where it fits one alone.
    let axes = scenarios::axes().view();
    for (written, expected) in [
        ("syn[threads=2]/wall", "syn[profile=check,scenario=full,threads=2]/wall@local"),
        (
            "serde [threads=4, profile=opt]/wall@local",
            "serde[profile=opt,scenario=full,threads=4]/wall@local",
        ),
        (
            "serde[threads=4]/wall",
            "`serde[threads=4]/wall` could mean serde[profile=opt,scenario=full,threads=4]/wall@local, \
             serde[profile=check,scenario=full,threads=4]/wall@local",
        ),
    ] {
        assert_eq!(found(&axes, written), expected);
    }
    assert!(found(&axes, "serde[threads=3]/wall").starts_with("there is no series"));
    let nothing = scenarios::no_series().view();
    assert_eq!(
        find(&nothing, "s1"),
        Err(UnclearSeries::Unknown { written: "s1".into(), nearest: vec![] })
    );
}
