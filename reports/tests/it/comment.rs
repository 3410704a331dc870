//! The comment on a pull request: how long it is, what stands first, what copies as it is, and which
//! comments are told apart.

use dyno_model::record::{Sample, Side};
use dyno_reports::{Terminal, View, html, json, markdown, marker, text};

use crate::scenarios::{self, Scenario, failure};

/// A hundred cases, five notices and two failures that are no news; `changed` cases change.
fn hundred_cases(changed: usize) -> Scenario {
    let config = |index: usize| format!("backend=llvm,level={},threads=1", index % 4);
    let samples = (0..100).flat_map(|index| {
        let effect = if index < changed { 0.04 } else { 0.0 };
        let named = move |sample: Sample| Sample { config: config(index), ..sample };
        let name = format!("benchmark-{:02}", index / 4);
        scenarios::benches(&[(name.as_str(), 50.0 + index as f64, effect, 0.003)])
            .into_iter()
            .map(named)
            .collect::<Vec<_>>()
    });
    let mut scenario = scenarios::one_host("hundred", samples.collect());
    scenario.runs[0].notices = (0..5)
        .map(|n| {
            format!("not measured: counter {n}: the kernel does not allow it (level {n})").into()
        })
        .collect();
    let failed = |side| {
        let failed = failure(Some("toomuch"), Some(side), "output", "wrote too much", "x\nx\nx");
        dyno_model::record::Failure { config: Some(config(0)), ..failed }
    };
    scenario.failing(Side::BOTH.map(failed).into())
}

#[test]
fn a_comment_without_surprises_is_short() {
    for (what, scenario, bytes_max) in [
        ("a hundred cases, nothing changed", hundred_cases(0), 2048),
        ("a hundred cases, three changed", hundred_cases(3), 2560),
        ("two cases", scenarios::unchanged(), 1024),
        ("one of four worse", scenarios::regressed(), 2048),
        ("three of four better", scenarios::improved(), 2048),
    ] {
        let comment = markdown(&scenario.view());
        let bytes = comment.len();
        assert!(bytes <= bytes_max, "{what}: {bytes} bytes\n{comment}");
    }
}

#[test]
fn what_matters_comes_first() {
    let places = |view: &View, parts: &[&str]| {
        let comment = markdown(view);
        let place =
            |part: &&str| comment.find(*part).unwrap_or_else(|| panic!("{part}: {comment}"));
        let places: Vec<usize> = parts.iter().map(place).collect();
        assert!(places.is_sorted(), "{parts:?}: {comment}");
    };
    places(
        &scenarios::mixed().view(),
        &[
            "### Mixed: ",
            "**Next**: Mend what newly fails, `zlib`: the error is below.",
            "**Newly failing**: `zlib`, step `output`",
            "\n```text\nline 1: expected 6f0c1a2e",
            "| ▲ Regressed | `json` | `instructions:cachegrind` | **+3.78 %** | exact | 806,000,000 → 836,466,800 | \
             `wall` ▲ +4.2 % (259.7 ms → 270.9 ms) |",
            "- 7 cases: 6 compared, 1 newly failing. 6 series that gate: 2 regressed, 2 improved, \
             1 inconclusive, 1 unchanged.",
            "<details><summary>Changed too, in metrics that do not gate: 1 series</summary>",
            "1 notice",
            "Policy `default`: gates: ",
        ],
    );
    // What is no news is folded, and both sides that fail alike are one.
    let comment = markdown(&hundred_cases(0).view());
    let known = "<details><summary>Failing on both sides, as before: 1 case</summary>\n\n\
                 - `toomuch [level=0]`, step `output`: `wrote too much`\n\n</details>";
    assert!(comment.contains(known), "{comment}");
}

#[test]
fn names_copy_as_they_are() {
    for scenario in scenarios::all() {
        let mut view = scenario.view();
        view.notices.push("let the kernel count: `dyno host tune --perf`".into());
        view.notices.rotate_right(1);
        let comment = markdown(&view);
        for bad in ["&#8203;", "\u{200b}", "&#96;", "&#91;", "&#95;"] {
            assert!(!comment.contains(bad), "{}: {bad} in {comment}", scenario.name);
        }
        assert!(comment.contains(": let the kernel count: `dyno host tune --perf`"), "{comment}");
    }
}

#[test]
fn comments_of_other_hosts_and_policies_are_others() {
    let mut view = scenarios::two_hosts().view();
    assert_eq!(marker(&view), "<!-- dyno report: wasmi arm64_1 local default -->");
    view.runs.pop();
    assert_eq!(marker(&view), "<!-- dyno report: wasmi local default -->");
    view.policy.name = "strict--> x".to_string();
    assert_eq!(marker(&view), "<!-- dyno report: wasmi local strict____x -->");
    view.marker = Some("nightly --> <b>".to_string());
    assert_eq!(marker(&view), "<!-- dyno report: nightly______b_ -->");
    assert!(markdown(&view).starts_with("<!-- dyno report: nightly______b_ -->\n"));
}

#[test]
fn a_comment_links_to_the_report() {
    let comment_at = |url: &str| {
        let mut view = scenarios::regressed().view();
        view.links.report_url = Some(url.to_string());
        markdown(&view)
    };
    let comment = comment_at("https://ci.example/7/report.html#top");
    for link in [
        " · [Full report](https://ci.example/7/report.html)\n",
        "[1 notice](https://ci.example/7/report.html#notices)",
        "[what the verdicts mean](https://ci.example/7/report.html#policy)",
    ] {
        assert!(comment.contains(link), "{link}: {comment}");
    }
    for nowhere in ["javascript:alert(1)", "report.html", "https://x/ [y](z)"] {
        assert!(!comment_at(nowhere).contains("]("), "{nowhere}");
    }
}

#[test]
fn an_axis_with_one_value_is_said_once_in_every_output() {
    let view = hundred_cases(3).view();
    let whole = Terminal { width: Terminal::UNBOUNDED, color: false };
    let page = html(&view);
    let (page, _) = page.split_once("<script>").expect("a script");
    for (name, output) in
        [("text", text(&view, None, whole)), ("markdown", markdown(&view)), ("html", page.into())]
    {
        let text = output.replace("<wbr/>", "");
        assert_eq!(text.matches("All cases have backend=llvm,threads=1.").count(), 1, "{name}");
        assert!(text.contains("benchmark-00 [level=0]"), "{name}: {text}");
        // The name for `--explain` is whole.
        assert!(!text.contains("benchmark-00 [backend=llvm"), "{name}");
    }
    // A program has the whole config.
    assert!(json(&view).contains("\"config\": \"backend=llvm,level=0,threads=1\""));
}

#[test]
fn a_table_that_is_not_for_a_terminal_is_not_cut() {
    let mut samples = scenarios::benches(&[("fib", 131.0, 0.124, 0.002)]);
    let long = format!("a={},b=1", "x".repeat(300));
    samples.extend(samples.clone().into_iter().map(|s| Sample { config: long.clone(), ..s }));
    let view = scenarios::one_host("long", samples).view();
    let shown = |width| text(&view, None, Terminal { width, color: false });
    assert!(shown(Terminal::UNBOUNDED).contains(&long));
    assert!(!shown(100).contains(&long));
}

#[test]
fn headlines_say_what_failed() {
    let both = |step: [&str; 2]| {
        let [baseline, candidate] = step.map(|step| step.to_string());
        let failed = [(Side::Baseline, baseline), (Side::Candidate, candidate)]
            .map(|(side, step)| failure(None, Some(side), &step, "exit code 1", ""));
        scenarios::one_host("both", Vec::new()).failing(failed.into())
    };
    let of_case = |side| failure(Some("fib"), Some(side), "output", "a wrong answer", "");
    let wrong = scenarios::one_host("wrong", Vec::new()).failing(Side::BOTH.map(of_case).into());
    for (scenario, headline, next) in [
        (
            both(["build", "build"]),
            "Inconclusive: neither side built, so there is nothing to compare.",
            "Mend the step build first",
        ),
        (
            both(["fetch", "build"]),
            "Inconclusive: neither side could be measured: the step `fetch` of the baseline failed, \
             and the step `build` of the candidate, so there is nothing to compare.",
            "Mend the step",
        ),
        (
            wrong,
            "Inconclusive: no case works on both sides, so there is nothing to compare; 1 case \
             failing on both sides.",
            "Mend the cases that fail",
        ),
    ] {
        let view = scenario.view();
        assert_eq!(view.sentence, headline);
        assert!(view.next_step.starts_with(next), "{}", view.next_step);
    }
    let remark = "The step build failed for all cases (both sides).".to_string();
    assert!(both(["build", "build"]).view().remarks.contains(&remark));
}

/// The size of an artifact has a series, and is no case.
#[test]
fn cases_add_up() {
    let mut samples = scenarios::benches(&[("fib", 131.0, 0.124, 0.002)]);
    samples.extend(scenarios::series("artifact:fib", "artifact-size", 1, 1e6, 0.0, 0.0));
    samples.extend(scenarios::series("idle", "max-rss", 5, 1e6, 0.0, 0.001));
    samples.extend(scenarios::series("gone", "wall", 5, 1e6, 0.0, 0.001));
    samples.retain(|s| s.benchmark != "gone" || s.side == Side::Baseline);
    let of_case = |name, side| failure(Some(name), Some(side), "output", "a wrong answer", "");
    let failures = vec![of_case("json", Side::Candidate), of_case("regex", Side::Baseline)];
    let view = scenarios::one_host("cases", samples).failing(failures).view();
    assert_eq!(
        view.cases,
        "5 cases: 1 compared, 1 measured on one side only, 1 without a metric that gates, 1 newly \
         failing, 1 newly passing. 2 series that gate: 1 regressed, 1 inconclusive."
    );
}

#[test]
fn every_conclusion_says_what_to_do() {
    for scenario in scenarios::all() {
        let view = scenario.view();
        assert_eq!(view.next_step.is_empty(), view.runs.is_empty(), "{}", scenario.name);
    }
}
