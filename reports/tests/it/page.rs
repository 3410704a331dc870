//! The HTML's structure: every tag closed, every id unique and every reference to one met, nothing
//! fetched from anywhere, colours that can be read.

use std::collections::BTreeSet;

use dyno_model::id::Digest;
use dyno_reports::html;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::scenarios;

/// A tag: its name and its attributes, values unescaped. The page is well-formed XML by design.
pub type Tag = (String, Vec<(String, String)>);

/// The tags of a page in order; end tags as `/name`. Panics where a tag is not balanced.
pub fn tags(page: &str) -> Vec<Tag> {
    fn start(tag: &BytesStart<'_>) -> Tag {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let attributes = tag.attributes().map(|attribute| {
            let attribute = attribute.expect("an attribute with a quoted value, given once");
            let value = attribute.unescape_value().expect("known references").into_owned();
            (text(attribute.key.as_ref()), value)
        });
        (text(tag.name().as_ref()), attributes.collect())
    }
    let mut reader = Reader::from_str(page);
    reader.config_mut().check_end_names = true;
    let mut tags = Vec::new();
    let mut depth = 0;
    loop {
        match reader.read_event().unwrap_or_else(|e| panic!("{e} at {}", reader.buffer_position()))
        {
            Event::Start(tag) => {
                depth += 1;
                tags.push(start(&tag));
            }
            Event::Empty(tag) => tags.push(start(&tag)),
            Event::End(tag) => {
                depth -= 1;
                tags.push((format!("/{}", String::from_utf8_lossy(tag.name().as_ref())), vec![]));
            }
            Event::Comment(_) | Event::CData(_) | Event::PI(_) => {
                panic!("the page has none of these")
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0, "every tag is closed");
    tags
}

fn values<'a>(tags: &'a [Tag], name: &str) -> Vec<&'a str> {
    let attributes = tags.iter().flat_map(|(_, attributes)| attributes);
    attributes.filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
}

#[test]
fn pages_are_whole_and_fetch_nothing() {
    for scenario in scenarios::all() {
        let page = html(&scenario.view());
        let tags = tags(&page);
        let ids = values(&tags, "id");
        let unique: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), unique.len(), "{}: ids are unique", scenario.name);
        let references = ["aria-labelledby", "aria-describedby"].map(|name| values(&tags, name));
        for reference in references.concat() {
            assert!(unique.contains(reference), "{}: there is no #{reference}", scenario.name);
        }
        for (tag, attributes) in &tags {
            assert!(
                !["img", "link", "iframe", "object", "embed", "base", "form"]
                    .contains(&tag.as_str())
            );
            for (name, value) in attributes {
                assert!(
                    name != "src" && name != "srcset" && name != "style",
                    "{tag} {name}={value}"
                );
                assert!(!name.starts_with("on"), "{tag} {name}={value}");
                assert!(name != "href" || tag == "a", "{tag} {name}={value}");
                assert!(
                    tag == "a" || !value.contains("://") || name == "data-name",
                    "{tag} {name}={value}"
                );
            }
        }
        for outside in ["url(", "@import", "fetch(", "XMLHttpRequest", "innerHTML"] {
            assert!(!page.contains(outside), "{}: {outside}", scenario.name);
        }
        let tables = tags.iter().filter(|(tag, _)| tag == "table").count();
        let captions = tags.iter().filter(|(tag, _)| tag == "caption").count();
        assert_eq!(tables, captions, "every table has a caption");
    }
}

/// The scenario with axes: what is drawn is said as well.
#[test]
fn drawings_have_words_and_tables() {
    let view = scenarios::axes().view();
    let page = html(&view);
    let tags = tags(&page);
    let of_class = |class: &str| {
        let is_drawing = |(tag, attributes): &&Tag| {
            tag == "svg" && attributes.contains(&("class".to_string(), class.to_string()))
        };
        tags.iter().filter(is_drawing).filter(|(_, a)| a.iter().any(|(n, _)| n == "role")).count()
    };
    assert_eq!((of_class("curve"), of_class("timeline")), (4, 2));
    assert_eq!(tags.iter().filter(|(tag, _)| tag == "desc").count(), 6);
    for (id, table) in [("c1", "c1-points"), ("c1", "c1-laws"), ("b1", "b1-path")] {
        assert!(page.contains(&format!("id=\"{table}\"")), "{id} has {table}");
    }
    // Each unit of both builds is a bar with its sentence, and each step of the path a row.
    let sentences: Vec<&str> =
        view.builds.iter().flat_map(|b| &b.drawn).map(|unit| unit.text.as_str()).collect();
    assert_eq!(sentences.len(), 18);
    for text in sentences {
        let shown = text.replace(" %", "\u{a0}%");
        assert!(page.contains(&format!("<title>{shown}</title>")), "{text}");
    }
    let marked = page.matches("class=\"unit on-path\"").count();
    // The key has one more.
    assert_eq!(marked, 1 + view.builds.iter().map(|b| b.path.steps.len()).sum::<usize>());
}

/// Every case beside every metric, and what leads to each section; each word has its sentence.
#[test]
fn a_page_has_contents_a_matrix_and_words() {
    let view = scenarios::mixed().view();
    let page = html(&view);
    let tags = tags(&page);
    let ids: BTreeSet<&str> = values(&tags, "id").into_iter().collect();
    let places: Vec<&str> =
        values(&tags, "href").into_iter().filter_map(|href| href.strip_prefix('#')).collect();
    for place in &places {
        assert!(ids.contains(place), "there is no #{place}");
    }
    for section in ["newly-failing", "changed", "matrix", "open", "same", "others", "words"] {
        assert!(places.contains(&section), "nothing leads to #{section}");
    }
    for cell in [
        "<span class=\"n\">259.7 ms → 270.9 ms</span> <span class=\"n effect\"><span class=\"mark\">▲</span> +4.2\u{a0}%</span>",
        "<span class=\"n\">806,000,000 → 836,466,800</span>",
        "<span class=\"n\">8.578 MiB → 10.47 MiB</span>",
    ] {
        assert!(page.contains(cell), "{cell}");
    }
    let words = ["To gate", "Effect", "Interval", "δ", "q", "Unchanged", "Inconclusive", "Mixed"];
    for word in words {
        assert!(page.contains(&format!("<dt>{word}</dt>")), "{word}");
    }
}

/// No page, comment or text has words that only its authors know.
#[test]
fn a_reader_meets_no_words_of_the_trade_unexplained() {
    for scenario in scenarios::all() {
        let view = scenario.view();
        let page = html(&view);
        let (page, _) = page.split_once("<script>").expect("a script");
        let terminal = dyno_reports::Terminal { width: 100, color: false };
        let text = dyno_reports::text(&view, None, terminal);
        let output = [page, &text, &dyno_reports::markdown(&view)].concat();
        for word in
            ["deciding", "not decide", "cries wolf", "lend", "crowd", " told", "counts for less"]
        {
            let at = output.find(word);
            assert_eq!(at, None, "{}: {:?}", scenario.name, at.map(|at| output.get(at..at + 40)));
        }
    }
}

/// Two numbers of threads: a table, and a sentence why there is no fit.
#[test]
fn two_numbers_of_threads_are_a_table() {
    let page = html(&scenarios::threads().view());
    assert!(page.contains("id=\"c1-points\""));
    assert!(!page.contains("id=\"c1-laws\"") && !page.contains("class=\"curve\""));
    assert!(page.contains("The baseline has no fit: 2 numbers of threads, three are needed."));
}

/// Series of two architectures stand in tables of their own; those of one are not divided.
#[test]
fn each_architecture_has_tables_of_its_own() {
    let captions = |page: &str| {
        let begin = page.match_indices("-caption\">").map(|(at, found)| &page[at + found.len()..]);
        begin.map(|rest| rest.split('<').next().unwrap().to_string()).collect::<Vec<_>>()
    };
    let two = captions(&html(&scenarios::two_hosts().view()));
    for expected in [
        "Regressed: what is worse than before (x86_64)",
        "Improved: what is better than before (aarch64)",
    ] {
        assert!(two.iter().any(|caption| caption == expected), "{two:?}");
    }
    let one = captions(&html(&scenarios::mixed().view()));
    assert!(!one.is_empty() && one.iter().all(|caption| !caption.contains("x86_64")), "{one:?}");
}

/// 504 cases, 240 units: the page opens, and few of its rows do so at once.
#[test]
fn a_large_page_is_folded() {
    let page = html(&scenarios::rustc().view());
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    let tags = tags(&page);
    let mut folds = 0;
    let mut open_rows = 0;
    for (tag, attributes) in &tags {
        let is_open = attributes.iter().any(|(name, _)| name == "open");
        match tag.as_str() {
            "details" if !is_open => folds += 1,
            "/details" => folds = i32::max(folds - 1, 0),
            "tr" if folds == 0 => open_rows += 1,
            _ => {}
        }
    }
    assert!(open_rows < 600, "{open_rows} rows are not folded");
}

#[test]
fn the_policy_lets_only_the_pages_own_style_and_script_run() {
    let page = html(&scenarios::mixed().view());
    for element in ["style", "script"] {
        let (_, rest) = page.split_once(&format!("<{element}>")).expect("there is one");
        let (content, rest) = rest.split_once(&format!("</{element}>")).expect("it ends");
        assert!(!rest.contains(&format!("<{element}")), "there is only one");
        let hex = Digest::of(content.as_bytes()).hex().to_string();
        let tags = tags(&page);
        let policy =
            values(&tags, "content").into_iter().find(|c| c.contains("default-src 'none'"));
        let policy = policy.expect("a Content-Security-Policy");
        let (_, source) = policy.split_once(&format!("{element}-src 'sha256-")).expect("a hash");
        assert_eq!(base64_to_hex(source.split_once('\'').expect("its end").0), hex);
    }
}

fn base64_to_hex(text: &str) -> String {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| format!("{:06b}", DIGITS.find(c).expect("a digit of base 64")))
        .collect();
    bits.as_bytes()
        .chunks_exact(8)
        .map(|b| format!("{:02x}", u8::from_str_radix(std::str::from_utf8(b).unwrap(), 2).unwrap()))
        .collect()
}

/// WCAG 2.2, relative luminance and contrast ratio.
fn contrast(a: &str, b: &str) -> f64 {
    let luminance = |colour: &str| -> f64 {
        let channel = |at: usize| {
            let c =
                f64::from(u8::from_str_radix(&colour[at..at + 2], 16).expect("#rrggbb")) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn text_can_be_read_in_light_and_dark() {
    let css = include_str!("../../templates/report.css");
    let themes: Vec<&str> = css.split("--bg: #").skip(1).take(2).collect();
    assert_eq!(themes.len(), 2);
    for theme in themes {
        let theme = format!("--bg: #{theme}");
        let colour = |name: &str| {
            let (_, rest) = theme.split_once(&format!("--{name}: ")).expect("the colour is set");
            rest[..7].to_string()
        };
        for ground in ["bg", "panel"] {
            for ink in ["ink", "muted", "worse", "better", "open", "link"] {
                let ratio = contrast(&colour(ink), &colour(ground));
                assert!(ratio >= 4.5, "{ink} on {ground}: {ratio:.2}, AA asks for 4.5");
            }
        }
        // Names of units stand on their front ends, and on the stripes of code generation.
        let ratio = contrast(&colour("ink"), &colour("front"));
        assert!(ratio >= 4.5, "ink on front: {ratio:.2}");
        // What a drawing is made of: 3 to 1 (WCAG 1.4.11).
        for ink in ["ink", "muted", "worse", "better", "open"] {
            assert!(contrast(&colour(ink), &colour("band")) >= 3.0, "{ink} on band");
        }
        for ink in ["stripe", "muted", "link"] {
            assert!(contrast(&colour(ink), &colour("bg")) >= 3.0, "{ink} on bg");
        }
    }
}
