//! Markdown, terminal text and JSON of every scenario, as files to read.

use dyno_reports::{Terminal, html, json, markdown, text};

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
        insta::assert_snapshot!(format!("{}.json", scenario.name), json(&view));
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

#[test]
fn the_guide_shows_what_dyno_prints() {
    let terminal = Terminal { width: 80, color: false };
    let example = text(&scenarios::mixed().view(), Some("report.html"), terminal);
    let guide = include_str!("../../../docs/reading-a-report.md");
    assert!(guide.contains(example.trim_end()), "docs/reading-a-report.md should show:\n{example}");
}
