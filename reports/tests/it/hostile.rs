//! Nothing that comes from outside can change what a report is: with any names, refs and log
//! lines, each output keeps the structure it has with harmless ones.

use std::sync::LazyLock;

use dyno_model::build_graph::Build;
use dyno_model::record::{Sample, Side};
use dyno_model::selfcheck::selfcheck;
use dyno_model::verdict::{ConclusionReason, NamedVerdict};
use dyno_reports::{
    Links, MARKDOWN_CHARS_MAX, Terminal, View, escape, explain, html, markdown, text,
};
use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, TagEnd};
use unicode_width::UnicodeWidthStr;

use crate::page::{Tag, tags};
use crate::scenarios::{self, Scenario};

const PIECES: &[&str] = &[
    "`",
    "```",
    "~~~",
    "|",
    "\\",
    "\\|",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    " ",
    "    ",
    "</details>",
    "</td></tr>",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!--",
    "-->",
    "<b",
    ">",
    "&",
    "&lt;",
    "&#64;",
    "\"",
    "'",
    "@team",
    "#12",
    "org/repo#1",
    "[x](javascript:x)",
    "![x](y)",
    "https://example.org",
    "www.example.org",
    "a@example.org",
    ":smile:",
    "$x$",
    "# ",
    "- ",
    "1. ",
    "> ",
    "---",
    "===",
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\u{9b}31m",
    "\0",
    "\x7f",
    "\u{202e}",
    "\u{200b}",
    "\u{feff}",
    "é",
    "漢字",
    "🦀",
    "a",
    "fib",
    "{{ view }}",
    "{% raw %}",
    "*",
    "_",
    "**x**",
    "--",
];

fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => proptest::sample::select(PIECES).prop_map(str::to_string),
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

/// Suites with and without axes, with `text` wherever text comes from outside.
fn views(name: &str, log: &str) -> [View; 2] {
    [filled(name, log), filled_axes(name, log)]
}

/// The scenario with axes: an axis of that name, and all that comes with axes.
fn filled_axes(name: &str, log: &str) -> View {
    let mut scenario: Scenario = scenarios::axes();
    let text = || name.to_string();
    // What a config is made of is not a matter of escaping.
    let axis = name.replace([',', '='], "");
    let config =
        |index: usize| format!("{axis}={axis}{}", if index.is_multiple_of(2) { "" } else { "z" });
    scenario.judged.truncate(8);
    for (index, judged) in scenario.judged.iter_mut().enumerate() {
        judged.comparison.key.benchmark = text();
        judged.comparison.key.config = config(index);
    }
    for failure in &mut scenario.runs[0].failures {
        failure.benchmark = failure.benchmark.as_ref().map(|b| format!("{b}{name}"));
        (failure.step, failure.reason, failure.log_tail) =
            (text().into(), text(), format!("x{log}x"));
    }
    let mut scalings = scenario.scalings();
    for case in &mut scalings {
        (case.benchmark, case.config, case.host) = (text(), config(0), text());
        for point in case.baseline.points.iter_mut().chain(&mut case.candidate.points) {
            point.instructions = [(text(), 1e9)].into();
        }
    }
    for built in &mut scenario.builds {
        let mut units = built.build.units().to_vec();
        for unit in &mut units {
            (unit.name, unit.version) = (text(), text());
            (unit.benchmark, unit.config) = (text(), text());
        }
        let (wall, jobs, cores) = (built.build.wall_ns(), built.build.jobs(), built.build.cores());
        built.build = Build::new(units, wall, jobs, true, cores).expect("it was one before");
        built.host = text();
    }
    let links = Links { sql: text(), ..Links::default() };
    scenario.view_of(links, &scalings, name, name)
}

/// The mixed scenario on two hosts with `text` wherever text comes from outside.
fn filled(name: &str, log: &str) -> View {
    filled_scenario(name, log).1
}

fn filled_scenario(name: &str, log: &str) -> (Scenario, View) {
    let mut scenario: Scenario = scenarios::mixed();
    let text = || name.to_string();
    let hosts = [text(), "other".to_string()];
    scenario.runs.push(scenarios::run(&hosts[1]));
    scenario.policy.name = text();
    for run in &mut scenario.runs {
        (run.dyno_version, run.suite, run.target, run.image) = (text(), text(), text(), text());
        (run.baseline.asked, run.candidate.asked) = (text(), text());
        run.baseline.files = [(text(), run.baseline.files["wasmi_cli"].clone())].into();
        (run.fingerprint.cpu, run.fingerprint.engine) = (text(), text());
        run.notices = vec![text().into()];
        run.phases_s = [(text(), 1.0)].into();
        run.metrics = vec![text()];
        for failure in &mut run.failures {
            failure.benchmark = Some(text());
            (failure.step, failure.reason, failure.log_tail) =
                (text().into(), text(), format!("x{log}x"));
        }
    }
    scenario.runs[0].host = text();
    for judged in &mut scenario.judged {
        let key = &mut judged.comparison.key;
        (key.benchmark, key.config, key.host) = (text(), text(), text());
    }
    let named = |name| NamedVerdict { name, verdict: "Regressed" };
    scenario.concluded.reasons = vec![
        ConclusionReason::HostsDisagree {
            case: text(),
            metric: text(),
            verdicts: vec![named(text())],
        },
        ConclusionReason::MetricsDisagree {
            case: text(),
            host: text(),
            decides: named(text()),
            beside: named(text()),
        },
    ];
    scenario.concluded.ask_again = [text()].into();
    // Rejected all of the time, so that it is remarked upon; the other host has none.
    let checks = vec![scenario.judged.clone(); 4];
    let fingerprint = scenario.runs[0].fingerprint.digest();
    scenario.selfchecks = vec![selfcheck(name, fingerprint, &checks, 1e-9, 0.5)];
    let samples = vec![text(), format!("javascript:{name}"), format!("samples/{name}")];
    let view = scenario.view_with(Links {
        samples,
        store: text(),
        command: text(),
        sql: text(),
        report_url: None,
    });
    (scenario, view)
}

/// The structure that a Markdown reader sees in `comment`, its words aside.
fn shape(comment: &str) -> Vec<String> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_GFM
        | Options::ENABLE_MATH;
    let mut shape: Vec<String> = Vec::new();
    let mut fenced = false;
    for event in Parser::new_ext(comment, options) {
        let part = match event {
            Event::Start(tag) => {
                fenced |= matches!(tag, pulldown_cmark::Tag::CodeBlock(_));
                format!("{tag:?}")
            }
            Event::End(tag) => {
                fenced &= tag != TagEnd::CodeBlock;
                format!("end {tag:?}")
            }
            Event::Text(text) if !fenced => {
                // GitHub's own reading comes after the Markdown: mentions, references, links,
                // emoji. A time of day is dyno's own.
                let text = text.replace("13:42:34 UTC", "");
                let mut pairs = text.chars().zip(text.chars().skip(1));
                assert!(!pairs.any(|(a, b)| "@#:".contains(a) && b.is_alphanumeric()), "{text}");
                assert!(!text.contains("://"), "{text}");
                "words".to_string()
            }
            Event::Text(_) | Event::Code(_) => "words".to_string(),
            Event::Html(html) | Event::InlineHtml(html) => {
                // The marker's name is made of harmless characters only.
                if html.starts_with("<!-- dyno report: ") {
                    "marker".to_string()
                } else {
                    html.to_string()
                }
            }
            other => format!("{other:?}"),
        };
        if part != "words" || shape.last().is_none_or(|last| last != "words") {
            shape.push(part);
        }
    }
    shape
}

/// The page's tags without the values of attributes; links aside, since not every place is one.
fn skeleton(page: &str) -> Vec<String> {
    let print = |(tag, attributes): &Tag| {
        let names: Vec<&str> = attributes.iter().map(|(name, _)| name.as_str()).collect();
        format!("{tag} {}", names.join(" "))
    };
    // Nor does every text have commas to break a line after.
    let is_kept = |(tag, _): &&Tag| !["a", "/a", "wbr"].contains(&tag.as_str());
    tags(page).iter().filter(is_kept).map(print).collect()
}

/// A shape of each of both views.
type Shapes = [Vec<String>; 2];

/// The shapes of the comments and the skeletons of the pages with harmless text.
static HARMLESS: LazyLock<(Shapes, Shapes)> = LazyLock::new(|| {
    let views = views("harmless", "harmless");
    (views.each_ref().map(|v| shape(&markdown(v))), views.each_ref().map(|v| skeleton(&html(v))))
});

fn is_calm(text: &str) -> bool {
    text.chars()
        .all(|c| c == '\n' || (!c.is_control() && escape::line(&c.to_string()) == c.to_string()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_changes_a_comment(name in hostile(), log in hostile()) {
        for (view, harmless) in views(&name, &log).iter().zip(&HARMLESS.0) {
            let comment = markdown(view);
            prop_assert_eq!(&shape(&comment), harmless, "{}", comment);
            prop_assert!(is_calm(&comment));
        }
    }

    #[test]
    fn no_text_changes_a_page(name in hostile(), log in hostile()) {
        for (view, harmless) in views(&name, &log).iter().zip(&HARMLESS.1) {
            let page = html(view);
            prop_assert_eq!(&skeleton(&page), harmless);
            prop_assert!(is_calm(&page));
            for (tag, attributes) in tags(&page) {
                for (name, value) in attributes {
                    prop_assert!(name != "href" || tag == "a" && escape::link(&value).is_some(), "{}", value);
                }
            }
        }
    }

    #[test]
    fn no_text_moves_the_terminal(name in hostile(), log in hostile(), width in 0usize..200) {
        for view in views(&name, &log) {
            let plain = text(&view, None, Terminal { width, color: false });
            prop_assert!(is_calm(&plain), "{}", plain);
            for line in plain.lines() {
                prop_assert!(line.width() <= width.max(40), "{} > {width}: {line}", line.width());
            }
            let mut coloured = text(&view, None, Terminal { width, color: true });
            for ours in ["0", "1", "2", "31", "32", "33"] {
                coloured = coloured.replace(&format!("\x1b[{ours}m"), "");
            }
            prop_assert_eq!(coloured, plain);
        }
    }

    #[test]
    fn text_that_is_pointed_into_keeps_its_bytes(text in hostile()) {
        let shown = escape::in_place(&text);
        prop_assert_eq!(shown.len(), text.len());
        prop_assert!(is_calm(&shown.replace('\t', " ")), "{}", shown);
        prop_assert_eq!(shown.match_indices('\n').count(), text.match_indices('\n').count());
    }

    #[test]
    fn no_text_gets_out_of_an_explanation(name in hostile(), taint in hostile()) {
        let (scenario, view) = filled_scenario(&name, "");
        let row = view.rows().next().unwrap();
        let sample = Sample {
            benchmark: name.clone(),
            config: name.clone(),
            metric: row.metric.clone(),
            round: 0,
            side: Side::Baseline,
            sequence: 0,
            value: 1,
            taint,
        };
        let input = explain::Input {
            view: &view,
            row,
            judged: &scenario.judged,
            policy: &scenario.policy,
            samples: &[(scenario.runs[0].job.clone(), sample)],
            past: None,
            queries: &[("anything", name)],
        };
        let explained = explain::Explanation::new(&input).unwrap();
        let plain = explain::text(&explained, Terminal { width: 80, color: false });
        prop_assert!(is_calm(&plain), "{}", plain);
    }
}

#[test]
fn a_comment_stays_below_its_limit() {
    let mut view = filled(&"n`|@".repeat(5_000), &"log ```\n".repeat(5_000));
    view.regressed = vec![view.regressed[0].clone(); 3_000];
    view.improved = vec![view.improved[0].clone(); 3_000];
    view.inconclusive = vec![view.inconclusive[0].clone(); 3_000];
    view.failures = vec![view.failures[0].clone(); 500];
    view.notices = vec![view.notices[0].clone(); 500];
    let comment = markdown(&view);
    assert!(comment.chars().count() <= MARKDOWN_CHARS_MAX, "{}", comment.chars().count());
    assert!(comment.contains("2,985 more regressions and 2,995 more improvements are left out"));
}
