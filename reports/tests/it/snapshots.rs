//! Markdown, terminal text and facts of every scenario, as files to read.

use dyno_reports::{Links, Terminal, View, html, markdown, matrix, text};

use crate::facts::facts;
use crate::scenarios;

#[test]
fn every_output_of_every_scenario() {
    for scenario in scenarios::all() {
        let view = scenario.view();
        let terminal = Terminal { width: 80, color: false };
        insta::assert_snapshot!(format!("{}.markdown", scenario.name), markdown(&view));
        insta::assert_snapshot!(
            format!("{}.text", scenario.name),
            text(&view, Some("report.html"), terminal)
        );
        insta::assert_snapshot!(format!("{}.facts", scenario.name), facts(&view));
    }
}

/// Where an effect is not what the medians beside it seem to say, each output says both, once.
#[test]
fn an_effect_far_from_the_medians_says_so() {
    let remark = "An effect is the mean over rounds";
    for scenario in scenarios::all() {
        let view = scenario.view();
        let is_apart = scenario.name == "medians_apart";
        let terminal = Terminal { width: 80, color: false };
        for output in [markdown(&view), text(&view, None, terminal), html(&view)] {
            assert_eq!(output.matches(remark).count(), usize::from(is_apart), "{output}");
        }
        let row = view.rows().find(|row| row.medians.is_some() && row.verdict == "Regressed");
        assert_eq!(row.is_some(), is_apart, "{}", scenario.name);
        let Some(row) = row else { continue };
        // 110 ms to 150 ms; the pairs say more.
        assert_eq!(row.medians.as_deref(), Some("+36 %"));
        assert!(row.effect.as_ref().unwrap().fraction > 0.6, "{row:?}");
        assert!(html(&view).contains("From median to median it is +36\u{a0}%"));
    }
}

/// The numbers of the table of cases and metrics are those of the report.
#[test]
fn the_table_of_cases_says_what_it_counts() {
    let mut scenario = scenarios::mixed();
    for name in ["tool", "library"] {
        let mut sizes =
            scenarios::series(&format!("artifact:{name}"), "artifact-size", 1, 1e6, 0.1, 0.0);
        scenario.samples[0].1.append(&mut sizes);
    }
    let failures = scenario.runs[0].failures.clone();
    let page = html(&scenario.failing(failures).view());
    // The seventh failed before it had a value, and files of the build are no case.
    assert!(page.contains("Every case in one table: 6 of 7 cases and 2 files of the build × "));
    assert!(page.contains("7 cases: 6 compared, 1 newly failing."));
    let page = html(&scenarios::regressed().view());
    assert!(page.contains("Every case in one table: 4 cases × "));
}

/// What stands in a conflict of metrics is in the table above, and not counted again below it.
#[test]
fn what_stands_in_the_table_is_not_counted_below() {
    let terminal = Terminal { width: 80, color: false };
    for scenario in scenarios::all() {
        let view = scenario.view();
        let text = text(&view, None, terminal);
        let Some(line) = text.lines().find(|line| line.contains(" inconclusive, ")) else {
            continue;
        };
        if line.starts_with(' ') || !line.contains("of metrics that do not gate") {
            continue;
        }
        let numbers: Vec<usize> =
            line.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        let below: usize = numbers.iter().take(3).sum();
        let above = view.changed(usize::MAX).rows.len();
        let counts = &view.counts;
        let total = counts.deciding.series + counts.not_deciding.series;
        assert_eq!(above + below, total, "{}: {line}", scenario.name);
    }
}

/// 504 cases: what is bounded, and how.
#[test]
fn a_large_suite_stays_readable() {
    let view = scenarios::rustc().view();
    let terminal = Terminal { width: 100, color: false };
    insta::assert_snapshot!("rustc.markdown", markdown(&view));
    insta::assert_snapshot!("rustc.text", text(&view, Some("report.html"), terminal));
}

/// A report that no command makes, as of a bot or a site, shows no command that is made of it.
#[test]
fn a_report_needs_no_command() {
    let links = |command: &str| Links { command: command.to_string(), ..Links::default() };
    let mut views = ["dyno compare a b", ""].map(|c| scenarios::mixed().view_with(links(c)));
    let outputs = views.each_mut().map(|view| {
        assert_eq!(view.rows().all(|row| row.explain.is_empty()), view.links.command.is_empty());
        // More than a terminal shows.
        view.regressed = vec![view.regressed[0].clone(); 60];
        html(view) + &text(view, None, Terminal { width: 80, color: false })
    });
    for shown in ["--explain", "--json", "Every round, and where", "This report again"] {
        assert_eq!([outputs[0].contains(shown), outputs[1].contains(shown)], [true, false]);
    }
}

#[test]
fn the_page_of_a_mixed_comparison() {
    let page = html(&scenarios::mixed().view());
    // Style and script are files of their own; what is reviewed here is the structure.
    let (head, rest) = page.split_once("<style>").expect("a style");
    let (_, rest) = rest.split_once("</style>").expect("its end");
    let (body, _) = rest.split_once("<script>").expect("a script");
    insta::assert_snapshot!("mixed.html", format!("{head}{body}"));
}

#[test]
fn a_terminal_of_any_width_and_colour() {
    let view = scenarios::mixed().view();
    let wide = text(&view, None, Terminal { width: 140, color: true });
    insta::assert_snapshot!("mixed.text-wide-colour", wide.replace('\x1b', "␛"));
    insta::assert_snapshot!(
        "mixed.text-narrow",
        text(&view, None, Terminal { width: 44, color: false })
    );
}

/// Every case beside time, instructions and memory.
#[test]
fn a_terminal_shows_every_case() {
    let shown = |view: &View| matrix(view, Terminal { width: Terminal::UNBOUNDED, color: false });
    insta::assert_snapshot!("mixed.matrix", shown(&scenarios::mixed().view()));
    insta::assert_snapshot!("axes.matrix", shown(&scenarios::axes().view()));
    // Where there is no room for the values, the headings stay.
    let narrow = Terminal { width: 80, color: false };
    insta::assert_snapshot!("mixed.matrix-narrow", matrix(&scenarios::mixed().view(), narrow));
}

#[test]
fn the_guide_shows_what_dyno_prints() {
    let terminal = Terminal { width: 80, color: false };
    let example = text(&scenarios::mixed().view(), Some("report.html"), terminal);
    let guide = include_str!("../../../docs/reading-a-report.md");
    assert!(guide.contains(example.trim_end()), "docs/reading-a-report.md should show:\n{example}");
}
