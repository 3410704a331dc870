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
//! span inside a table is read depends on the parser; the JSON has the text as it was. Sentences
//! go through [`prose`]: character references cannot form markup (CommonMark 0.31, 2.5), and a word
//! of which GitHub would make a mention, a reference, a link or an emoji becomes a code span, which
//! copies as it is.

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
    // With its backtick no line begins with a command.
    if inner.trim().is_empty() { "–".to_string() } else { powerless(&format!("`{inner}`")) }
}

/// `text` as one line of Markdown prose that says just that. What GitHub would make a mention, a
/// reference, a link or an emoji of is a code span, and so is what stands between backticks.
pub fn prose(text: &str) -> String {
    prose_with_names(text, &[])
}

/// `text` as [`prose`], with each of `names` as a code span wherever it stands as a word. Of names that
/// begin alike the longer ones come first.
pub(crate) fn prose_with_names(text: &str, names: &[String]) -> String {
    let text = &*line(text);
    let mut out = String::with_capacity(text.len() + 16);
    // What a block could begin with (`-`, `+`, `1.`, spaces) only counts at the start.
    let number = text.bytes().take_while(u8::is_ascii_digit).count();
    let list = (number > 0 && text[number..].starts_with(['.', ')'])).then_some(number);
    let mut at = 0;
    let mut is_in_interval = false;
    let mut follows_code = false;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        // What follows a code span begins a word of its own.
        let before = text[..at].chars().next_back().filter(|_| !follows_code);
        let span = code_at(rest, before, names);
        follows_code = span.is_some();
        if let Some((inner, length)) = span {
            out.push_str(&code(inner));
            at += length;
            continue;
        }
        let after = rest[c.len_utf8()..].chars().next();
        let is_bracket_of_interval = match c {
            '[' => !is_in_interval && after.is_some_and(|c| c.is_ascii_digit() || "+−".contains(c)),
            ']' => is_in_interval && !after.is_some_and(|c| "([:".contains(c)),
            _ => false,
        };
        is_in_interval = (is_in_interval || is_bracket_of_interval) && c != ']';
        let is_escaped = at == 0 && !c.is_alphanumeric()
            || list == Some(at)
            || "<>&`*~[]\\|$^#@".contains(c) && !is_bracket_of_interval
            // Within a word it is no emphasis.
            || c == '_' && ![before, after].iter().all(|c| c.is_some_and(char::is_alphanumeric));
        match is_escaped {
            true => out.push_str(&format!("&#{};", c as u32)),
            false => out.push(c),
        }
        at += c.len_utf8();
    }
    out
}

/// What at the beginning of `rest` is to be a code span, and how many bytes it takes.
fn code_at<'t>(rest: &'t str, before: Option<char>, names: &[String]) -> Option<(&'t str, usize)> {
    if let Some(inside) = rest.strip_prefix('`') {
        // One that is not closed is text, and the next word begins behind it.
        let end = inside.find('`')?;
        return Some((&inside[..end], end + 2));
    }
    if before.is_some_and(|c| c.is_alphanumeric() || "_-".contains(c)) {
        return None;
    }
    let is_word = |name: &&String| {
        let after = rest.strip_prefix(name.as_str()).map(|after| after.chars().next());
        after.is_some_and(|next| !next.is_some_and(|c| c.is_alphanumeric() || "_-".contains(c)))
    };
    if let Some(name) = names.iter().find(is_word) {
        return Some((&rest[..name.len()], name.len()));
    }
    if before.is_some_and(|c| !c.is_whitespace() && !"([\"'`".contains(c)) {
        return has_power(rest).then(|| word_of(rest));
    }
    let word = word_of(rest);
    (!word.0.starts_with(['(', '[', '"', '\'']) && has_power_inside(word.0)).then_some(word)
}

/// The word at the beginning of `text`, without the punctuation at its end.
fn word_of(text: &str) -> (&str, usize) {
    let end = text.find(|c: char| c.is_whitespace() || c == '`').unwrap_or(text.len());
    let word = text[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '"', '\'']);
    (word, word.len())
}

/// Whether GitHub would make something of what `text` begins with: a mention, a reference, an emoji
/// or an address.
fn has_power(text: &str) -> bool {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some('@' | '#' | ':'), Some(next)) => next.is_alphanumeric() || next == '/',
        _ => text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("www.")),
    }
}

/// Whether that is so at any place of `word`, or a part of it is how GitHub lets a reference or a
/// commit be written: `GH-1`, or 7 to 40 hexadecimal digits.
fn has_power_inside(word: &str) -> bool {
    word.char_indices().any(|(at, _)| has_power(&word[at..]))
        || word.split(|c: char| !c.is_alphanumeric() && !"_-".contains(c)).any(is_reference)
}

/// Whether `part` of a word refers to an issue or a commit. Digits alone are a number.
fn is_reference(part: &str) -> bool {
    let is_commit = (7..=40).contains(&part.len())
        && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && part.bytes().any(|b| b.is_ascii_lowercase());
    let issue = part.get(..3).filter(|start| start.eq_ignore_ascii_case("gh-"));
    is_commit || issue.is_some() && part[3..].starts_with(|c: char| c.is_ascii_digit())
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

/// A link of a comment: `text` is ours, and `url` is one that a browser should follow, by `http:` or
/// `https:`. `None` for any other.
pub(crate) fn markdown_link(text: &str, url: &str) -> Option<String> {
    let scheme = link(url)?.split(':').next()?.to_ascii_lowercase();
    let target = |c: char| match c {
        '<' | '>' | '(' | ')' | '[' | ']' | '\\' | '`' | '*' | '_' | '|' | '"' | '\'' => {
            format!("%{:02X}", c as u32)
        }
        c => c.to_string(),
    };
    ["http", "https"]
        .contains(&scheme.as_str())
        .then(|| format!("[{text}]({})", url.chars().map(target).collect::<String>()))
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
        assert_eq!(code("::error::x"), "`::error::x`");
    }

    #[test]
    fn prose_is_only_prose() {
        for (text, expected) in [
            ("Improved: 7 of 8 (+4.2 %).", "Improved: 7 of 8 (+4.2 %)."),
            ("@a/b #12", "`@a/b` `#12`"),
            ("see http://x and www.x.", "see `http://x` and `www.x`."),
            ("wall of instructions:cachegrind: +1 %", "wall of `instructions:cachegrind`: +1 %"),
            ("do `dyno host tune --perf`, then", "do `dyno host tune --perf`, then"),
            ("one ` alone", "one &#96; alone"),
            ("`https://x", "&#96;`https://x`"),
            ("`a`:b: c", "`a``:b`: c"),
            ("x@a", "`x@a`"),
            ("see GH-1, gh-22 and (GH-3)", "see `GH-1`, `gh-22` and (`GH-3`)"),
            ("high-1 GH-x GH 1 x-gh", "high-1 GH-x GH 1 x-gh"),
            ("of 1a2b3c4, 1a2b3c4...5d6e7f8", "of `1a2b3c4`, `1a2b3c4...5d6e7f8`"),
            ("1234567 bytes, 1a2b3c effaced", "1234567 bytes, 1a2b3c `effaced`"),
            ("-@a", "`-@a`"),
            ("- a_b_\n", "&#45; a_b&#95;␊"),
            ("_a_ __b", "&#95;a&#95; &#95;&#95;b"),
            ("1. x", "1&#46; x"),
            ("<b>|", "&#60;b&#62;&#124;"),
            ("by [−4 %, +7 %], it's", "by [−4 %, +7 %], it's"),
            ("[1](x) [x](y) [2][3]", "&#91;1&#93;(x) &#91;x&#93;(y) [2&#93;[3]"),
        ] {
            assert_eq!(prose(text), expected);
        }
        let names = ["fib [n=2]", "fib", "wall"].map(String::from);
        let named = prose_with_names("wall of fib [n=2]; fibre, fib-x and fib (walls).", &names);
        assert_eq!(named, "`wall` of `fib [n=2]`; fibre, fib-x and `fib` (walls).");
    }

    #[test]
    fn only_addresses_of_the_web_become_links_of_a_comment() {
        for (url, expected) in [
            ("https://ci.example/1?a=b#x", Some("[t](https://ci.example/1?a=b#x)")),
            ("https://x/a_(b)", Some("[t](https://x/a%5F%28b%29)")),
            ("file:///x", None),
            ("x/report.html", None),
            ("javascript:alert(1)", None),
            ("https://x/ y", None),
        ] {
            assert_eq!(markdown_link("t", url).as_deref(), expected, "{url}");
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
