//! Making text from outside harmless where it lands.
//!
//! Two steps. First, for every output, what a person could not see is made visible: control
//! characters as their pictures (`␛`), and the characters that reorder, join or hide others
//! (Unicode's bidirectional controls, zero-width characters, tags; see Trojan Source, Boucher &
//! Anderson 2021) as `\u{202e}`. Then what the place itself would read as markup: HTML is left
//! to minijinja's auto-escape; Markdown is in this module.
//!
//! In Markdown, a name or a reason stands in a code span and a log in a fence. There GitHub reads
//! no mention, reference, link, emoji or tag, so only the span's own end has to be kept out.
//! Backtick and pipe are replaced by look-alikes instead of escaped, since how `\|` inside a code
//! span inside a table is read depends on the parser; the JSON has the text as it was. Names
//! within a sentence go through [`prose`]: character references cannot form markup (CommonMark
//! 0.31, 2.5), and a zero-width space after `@`, `#` and `:` keeps GitHub from making mentions,
//! references, links and emoji of the rendered text.

use std::borrow::Cow;

use dyno_model::text::{is_hidden, push_visible};

pub use dyno_model::text::line;

/// `text` with everything hidden made visible except line ends; tabs become four spaces.
pub fn lines(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c != '\n' && is_hidden(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.replace("\r\n", "\n").chars() {
        match c {
            '\n' => out.push('\n'),
            '\t' => out.push_str("    "),
            c => push_visible(&mut out, c),
        }
    }
    Cow::Owned(out)
}

/// `text` with everything hidden but line ends and tabs replaced by something visible that takes as
/// many bytes: for text that others point into by bytes.
pub fn in_place(text: &str) -> String {
    let visible_character = |c: char| match (c, c.len_utf8()) {
        ('\n' | '\t', _) => c,
        _ if !is_hidden(c) => c,
        (_, 1) => '?',
        (_, 2) => '\u{bf}',
        (_, 3) => '\u{fffd}',
        _ => '\u{10102}',
    };
    text.chars().map(visible_character).collect()
}

/// `text` cut to `chars_max` characters, with `…` for what was cut.
pub fn bounded(text: &str, chars_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars_max) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let shown_text: String = text.chars().take(chars_max.saturating_sub(1)).collect();
            Cow::Owned(shown_text + "…")
        }
    }
}

/// Longest name, ref or reason shown in Markdown, in characters.
const CODE_CHARS_MAX: usize = 200;

/// `text` as a Markdown code span that can stand in a sentence, a list or a table cell: one line,
/// never empty, at most 200 characters.
pub fn code(text: &str) -> String {
    let inner: String = bounded(&line(text), CODE_CHARS_MAX)
        .chars()
        .map(|c| match c {
            '`' => '\'',
            '|' => '¦',
            c => c,
        })
        .collect();
    if inner.trim().is_empty() { "–".to_string() } else { format!("`{}`", powerless(&inner)) }
}

/// `text` as one line of Markdown prose that says just that.
pub fn prose(text: &str) -> String {
    const APART: &str = "&#8203;";
    let text = line(text);
    let mut out = String::with_capacity(text.len() + 16);
    // What a block could begin with (`-`, `+`, `1.`, spaces) only counts at the start.
    let number = text.bytes().take_while(u8::is_ascii_digit).count();
    let list = (number > 0 && text[number..].starts_with(['.', ')'])).then_some(number);
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let before_word = chars.peek().is_some_and(|(_, next)| !next.is_whitespace());
        let after_www = c == '.'
            && at >= 3
            && text.get(at - 3..at).is_some_and(|w| w.eq_ignore_ascii_case("www"));
        match c {
            ':' if before_word => out.push_str(&format!(":{APART}")),
            '@' | '#' => out.push_str(&format!("&#{};{APART}", c as u32)),
            c if (at == 0 && !c.is_alphanumeric())
                || list == Some(at)
                || after_www
                || "<>&\"'`*_~[]\\!|$^{}".contains(c) =>
            {
                out.push_str(&format!("&#{};", c as u32));
            }
            c => out.push(c),
        }
    }
    out
}

/// `text` without what a CI service would obey if it stood in a log, as a comment does that is
/// printed there: `::error` and its like at the beginning of a line, `##[error` and `##vso[` at any
/// place. A zero-width space parts them, which nobody sees.
fn powerless(text: &str) -> String {
    const APART: char = '\u{200b}';
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let begins_command = line.trim_start().starts_with("::");
        let command_at = line.len() - line.trim_start().len();
        for (at, c) in line.char_indices() {
            out.push(c);
            let rest = &line[at..];
            let names_command = |name: &str| {
                rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
            };
            if begins_command && at == command_at
                || ["##[", "##vso["].into_iter().any(names_command)
            {
                out.push(APART);
            }
        }
    }
    out
}

/// `text` as a fenced block: the fence is longer than any run of backticks inside.
pub fn fence(text: &str) -> String {
    let text = powerless(&lines(text));
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}", text.trim_end_matches('\n'))
}

/// `place` as the target of a link, if it is one a browser should follow: a relative path, or
/// `file:`, `http:` or `https:`. Anything else (`javascript:`, `data:`, `s3:`) is `None`, and
/// shown as text.
pub fn link(place: &str) -> Option<&str> {
    if place.is_empty() || place.chars().any(|c| is_hidden(c) || c.is_whitespace()) {
        return None;
    }
    let before_path = place.split(['/', '?', '#']).next().unwrap_or(place);
    match before_path.split_once(':') {
        None if place.starts_with("//") => None,
        None => Some(place),
        Some((scheme, _)) => ["file", "http", "https"].contains(&scheme).then_some(place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_show() {
        for (text, expected) in [
            ("plain – δ", "plain – δ"),
            ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
            ("a\r\nb\tc\0", "a␍␊b␉c␀"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("user\u{202e}txt", "user\\u{202e}txt"),
        ] {
            assert_eq!(line(text), expected);
        }
        assert_eq!(lines("a\r\nb\tc\x08\nd"), "a\nb    c␈\nd");
    }

    #[test]
    fn what_is_pointed_into_keeps_its_bytes() {
        for (text, expected) in [
            ("a\tb\nc é", "a\tb\nc é"),
            ("\x1b[31m\r\0", "?[31m??"),
            ("\u{9b}31m", "¿31m"),
            ("x\u{202e}y\u{e0041}z", "x\u{fffd}y\u{10102}z"),
        ] {
            let shown = in_place(text);
            assert_eq!((shown.as_str(), shown.len()), (expected, text.len()));
        }
    }

    #[test]
    fn code_spans_and_fences_hold() {
        for (text, expected) in [
            ("fib", "`fib`"),
            ("a|b`c", "`a¦b'c`"),
            ("@team <b> [x](y)\n", "`@team <b> [x](y)␊`"),
            ("  ", "–"),
            ("", "–"),
        ] {
            assert_eq!(code(text), expected);
        }
        assert_eq!(fence("x\n````\n"), "`````text\nx\n````\n`````");
        assert_eq!(code(&"x".repeat(300)).chars().count(), 202);
        let log = "a::b\n  ::error file=a::b\n::add-mask::x\nx ##VSO[task] ##[error]\n## title";
        let apart = "a::b\n  :\u{200b}:error file=a::b\n:\u{200b}:add-mask::x\n\
                     x #\u{200b}#VSO[task] #\u{200b}#[error]\n## title";
        assert_eq!(fence(log), format!("```text\n{apart}\n```"));
        assert_eq!(code("x ##vso[y]"), "`x #\u{200b}#vso[y]`");
    }

    #[test]
    fn prose_is_only_prose() {
        for (text, expected) in [
            ("Improved: 7 of 8 (+4.2 %).", "Improved: 7 of 8 (+4.2 %)."),
            ("@a/b #12", "&#64;&#8203;a/b &#35;&#8203;12"),
            ("see http://x and www.x", "see http:&#8203;//x and www&#46;x"),
            ("- a_b_\n", "&#45; a&#95;b&#95;␊"),
            ("1. x", "1&#46; x"),
            ("<b>|", "&#60;b&#62;&#124;"),
        ] {
            assert_eq!(prose(text), expected);
        }
    }

    #[test]
    fn only_harmless_places_become_links() {
        for good in ["samples/a.parquet", "file:///tmp/a.parquet", "https://example.org/x", "/a:b"]
        {
            assert_eq!(link(good), Some(good));
        }
        for bad in ["javascript:alert(1)", "java\tscript:x", " data:x", "s3://b/k", "//host/x", ""]
        {
            assert_eq!(link(bad), None, "{bad}");
        }
    }
}
