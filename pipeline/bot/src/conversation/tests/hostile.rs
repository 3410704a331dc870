//! What no text of others makes of what the bot says: with any names, reasons and logs it keeps the
//! shape that it has with harmless ones.

use std::sync::LazyLock;

use dyno_model::mistake::{Mistake, Mistakes};
use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::*;

/// All that somebody else may have written, with `text` in it.
fn filled(text: &str) -> Vec<String> {
    let text = || text.to_string();
    let parts = vec![
        PartState::Waiting { what: text(), until_us: NOW_US },
        PartState::Silent { since_us: NOW_US, refusals: vec![(text(), text())] },
        PartState::Running { host: text(), since_us: NOW_US, expected_us: None },
        PartState::Measured { host: text() },
        PartState::NotBuilt {
            host: text(),
            side: text(),
            step: text(),
            log: format!("x{}x", text()),
        },
        PartState::Failed { why: text(), log: format!("x{}x", text()) },
        PartState::Cancelled { by: text() },
        PartState::Refused { missing: vec![Refusal::NotListed { login: text() }] },
    ];
    let parts: Vec<Part> = parts.into_iter().map(|state| Part { class: text(), state }).collect();
    let mut open = conversation(vec![]);
    (open.parts, open.by.login) = (parts.clone(), text());
    let mut ended = open.clone();
    ended.parts = vec![parts[4].clone(), parts[5].clone()];
    ended.comparison = Some(comparison(Conclusion::Regressed));
    ended.comparison.as_mut().unwrap().zeros = vec![(text(), text())];
    ended.report_url = Some(text());
    let missing = [
        Refusal::NotListed { login: text() },
        Refusal::Level { login: text(), has: Level::None, wanted: Level::Write },
        Refusal::NotOfPullRequest { named: text() },
        Refusal::ForeignBase { named: text() },
        Refusal::Suite { named: text(), allowed: vec![] },
    ];
    let mut rules = rules();
    rules.accounts = [(text(), 1)].into();
    let mistake = Mistake {
        span: 0..0,
        message: format!("`{}` x", text()),
        expected: text(),
        hint: Some(text()),
    };
    let mistakes = Mistakes { file: text(), text: text(), list: vec![mistake] };
    let project = Project::default();
    let mut texts = Vec::new();
    for conversation in [&open, &ended] {
        texts.push(body(&conversation.comment(&project, false)).to_string());
        texts.push(check(conversation, &project).summary);
    }
    let answers =
        [Answer::Refused { missing: &missing, rules: &rules }, Answer::Configuration(&mistakes)];
    texts.extend(answers.iter().map(|a| body(&answer("dyno-bot", &text(), 7, a)).to_string()));
    texts
}

/// What a comment is made of, but for its words; with it, that GitHub makes nothing of those.
fn shape(comment: &str) -> Vec<String> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_GFM
        | Options::ENABLE_MATH;
    let mut shape: Vec<String> = Vec::new();
    let (mut is_fenced, mut words) = (false, String::new());
    for event in Parser::new_ext(comment, options) {
        let part = match event {
            Event::Text(text) if !is_fenced => {
                words.push_str(&text.replace("00:00 UTC", "").replace("01:00 UTC", ""));
                "words".to_string()
            }
            Event::Text(_) | Event::Code(_) => {
                words.push(' ');
                "words".to_string()
            }
            Event::Start(tag) => {
                is_fenced |= matches!(tag, Tag::CodeBlock(_));
                words.push(' ');
                format!("{tag:?}")
            }
            Event::End(tag) => {
                is_fenced &= tag != TagEnd::CodeBlock;
                words.push(' ');
                format!("end {tag:?}")
            }
            other => format!("{other:?}"),
        };
        if part != "words" || shape.last().is_none_or(|last| last != "words") {
            shape.push(part);
        }
    }
    let pairs = words.chars().zip(words.chars().skip(1));
    for (a, b) in pairs {
        assert!(!("@#".contains(a) && b.is_alphanumeric()), "a mention or a reference: {words}");
    }
    for word in words.split(|c: char| !c.is_alphanumeric() && !"-_".contains(c)) {
        let is_hex = word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let is_commit =
            is_hex && (7..=40).contains(&word.len()) && word.contains(char::is_alphabetic);
        let is_issue = word
            .to_lowercase()
            .strip_prefix("gh-")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        assert!(!is_commit && !is_issue, "a reference: {word} in {words}");
    }
    assert!(!words.contains("://") && !words.to_lowercase().contains("www."), "{words}");
    assert!(
        comment.chars().all(|c| c == '\n' || c == '\u{200b}' || !dyno_model::text::is_hidden(c))
    );
    shape
}

static HARMLESS: LazyLock<Vec<Vec<String>>> =
    LazyLock::new(|| filled("harmless").iter().map(|text| shape(text)).collect());

const HOSTILE: &[&str] = &[
    "@everyone",
    "@acme/team",
    "#1",
    "acme/widget#1",
    "GH-1",
    "gh-77",
    "0123456789abcdef",
    "acme@0123abc",
    "1a2b3c4...5d6e7f8",
    "https://evil.example",
    "www.evil.example",
    "a@evil.example",
    "[x](https://evil.example)",
    "![x](https://evil.example/p.png)",
    "<img src=x>",
    "<script>",
    "<!-- dyno~bot: wasmi -->",
    "-->",
    "</sub>",
    "</details>",
    "<details>",
    "%0A",
    "%0D%0A",
    "\n",
    "\r\n",
    "\n\n",
    "\n# x",
    "\n- x",
    "\n```",
    "```",
    "`",
    "``",
    "|",
    "\\",
    "\\`",
    "\t",
    "    ",
    "\u{202e}",
    "\u{200b}",
    "\u{feff}",
    "\x1b[31m",
    "\0",
    "::error::x",
    "##vso[x]",
    ":smile:",
    "$x$",
    "$$",
    "~~x~~",
    "**x**",
    "_x_",
    "[^1]",
    "[x]: y",
    "> x",
    "1. x",
    "&#64;x",
    "&lt;",
    "é",
    "漢",
    "a",
    "fixes #1",
    "@dyno-bot run abcdef1",
];

/// Shapes as they are apart from items of code that are empty, which a name of blanks leaves.
fn assert_harmless(text: &str) {
    for (comment, harmless) in filled(text).iter().zip(&*HARMLESS) {
        // A page of the web is a link where it is the bot's own to give: what is none is left out.
        assert_eq!(&shape(comment), harmless, "{text:?}\n{comment}");
        assert_eq!(command::parse(comment, "dyno-bot"), Ok(None), "{comment}");
    }
}

#[test]
fn no_hostile_text_is_more_than_text() {
    for text in HOSTILE.iter().filter(|text| **text != "https://evil.example") {
        assert_harmless(text);
        assert_harmless(&format!("a {text} b"));
        assert_harmless(&format!("a{text}b"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_changes_what_a_comment_is(
        pieces in proptest::collection::vec(
            prop_oneof![
                8 => proptest::sample::select(HOSTILE).prop_map(str::to_string),
                1 => any::<char>().prop_map(String::from),
            ],
            2..8,
        )
    ) {
        let text = format!("x{}", pieces.concat());
        assert_harmless(&text);
    }
}
