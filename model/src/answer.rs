//! Where a wrong answer departs from the right one, in words.

use crate::id::Digest;
use crate::text::plural;

/// The most of an answer that is looked at, in bytes.
pub const ANSWER_MAX: usize = 16 << 20;

/// The most characters of each answer that are shown.
const SHOWN_MAX: usize = 60;

/// How many characters before the first difference are shown.
const SHOWN_BEFORE: usize = 20;

/// How `got`, which is another answer, departs from `expected`: the end of "a wrong answer: …".
pub fn difference(expected: &[u8], got: &[u8]) -> String {
    let sizes = format!("{} instead of {}", plural(got.len(), "byte"), expected.len());
    if got.is_empty() {
        return format!("nothing at all instead of {}", plural(expected.len(), "byte"));
    }
    if let Some(phrase) = difference_of_ends(expected, got) {
        return format!("{phrase} ({sizes})");
    }
    let same = expected.iter().zip(got).take_while(|(a, b)| a == b).count();
    let before = &got[..same];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + String::from_utf8_lossy(&before[line_start..]).chars().count();
    let [expected, got] = [expected, got].map(|answer| excerpt(answer, line_start, same));
    format!("line {line}, column {column}: expected {expected}, got {got} ({sizes})")
}

/// A difference that nobody sees: line feeds and blanks at an end.
fn difference_of_ends(expected: &[u8], got: &[u8]) -> Option<&'static str> {
    let without_cr =
        |text: &[u8]| -> Vec<u8> { text.iter().copied().filter(|byte| *byte != b'\r').collect() };
    let line_feeds = |text: &[u8]| text.iter().rev().take_while(|byte| **byte == b'\n').count();
    let without_end = |text: &[u8]| text[..text.len() - line_feeds(text)].to_vec();
    if without_end(expected) == without_end(got) {
        return Some(match line_feeds(got) > line_feeds(expected) {
            true => "right but for its end: a line feed too much",
            false => "right but for its end: no line feed where one is expected",
        });
    }
    if without_cr(expected) == without_cr(got) {
        return Some("right but for how its lines end: CR LF on one side, LF on the other");
    }
    (expected.trim_ascii_end() == got.trim_ascii_end()).then_some("right but for blanks at its end")
}

/// What stands around `place` in the line that starts at `line_start`, in quotes.
fn excerpt(text: &[u8], line_start: usize, place: usize) -> String {
    if place >= text.len() {
        return "the end".into();
    }
    let line_end = text[place..].iter().position(|byte| *byte == b'\n');
    let line_end = line_end.map_or(text.len(), |length| place + length);
    if line_end == place {
        return "the end of the line".into();
    }
    let before = String::from_utf8_lossy(&text[line_start..place]).into_owned();
    let skipped = before.chars().count().saturating_sub(SHOWN_BEFORE);
    let before: String = before.chars().skip(skipped).collect();
    let after = String::from_utf8_lossy(&text[place..line_end.min(place + 4 * SHOWN_MAX)]);
    let all = format!("{before}{after}");
    let shown: String = all.chars().take(SHOWN_MAX).collect();
    let cut = if all.chars().count() > SHOWN_MAX { "…" } else { "" };
    let skipped = if skipped > 0 { "…" } else { "" };
    format!("\"{skipped}{}{cut}\"", shown.escape_debug())
}

/// How `got` departs from an answer of which only the digest is known.
pub fn digest_difference(expected: &Digest, found: &str, got: &[u8]) -> String {
    let size = plural(got.len(), "byte");
    let sha = format!("{size} with the SHA-256 {found} instead of {}", expected.hex());
    let with_line_feed = [got, b"\n"].concat();
    let is_right = |text: &[u8]| Digest::of(text) == *expected;
    if got.strip_suffix(b"\n").is_some_and(is_right) {
        return format!("right but for its end: a line feed too much ({sha})");
    }
    if is_right(&with_line_feed) {
        return format!("right but for its end: no line feed where one is expected ({sha})");
    }
    sha
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_answers_depart() {
        let long = "x".repeat(100);
        for (expected, got, text) in [
            (
                "4203",
                "4203\n",
                "right but for its end: a line feed too much (5 bytes instead of 4)",
            ),
            (
                "4203\n",
                "4203",
                "right but for its end: no line feed where one is expected (4 bytes instead of 5)",
            ),
            (
                "a\nb\n",
                "a\r\nb\r\n",
                "right but for how its lines end: CR LF on one side, LF on the other (6 bytes instead of 4)",
            ),
            ("a\n", "a  \n", "right but for blanks at its end (4 bytes instead of 2)"),
            ("a", "", "nothing at all instead of 1 byte"),
            (
                "one\ntwo\n",
                "one\ntuo\n",
                "line 2, column 2: expected \"two\", got \"tuo\" (8 bytes instead of 8)",
            ),
            (
                "one\ntwo\n",
                "one\n",
                "line 2, column 1: expected \"two\", got the end (4 bytes instead of 8)",
            ),
            ("", "more", "line 1, column 1: expected the end, got \"more\" (4 bytes instead of 0)"),
            (
                "é1\nx",
                "é\nx",
                "line 1, column 2: expected \"é1\", got the end of the line (4 bytes instead of 5)",
            ),
        ] {
            assert_eq!(difference(expected.as_bytes(), got.as_bytes()), text);
        }
        let (expected, got) = (format!("{long}a{long}"), format!("{long}\u{1b}\0{long}"));
        let text = difference(expected.as_bytes(), got.as_bytes());
        let start = format!("line 1, column 101: expected \"…{}a", "x".repeat(20));
        assert!(text.starts_with(&start) && text.contains("x\\u{1b}\\0x"), "{text}");
        assert!(text.chars().count() < 250, "{text}");
        // Not UTF-8: said all the same.
        assert!(difference(b"\xff\xfe", b"\xff\xfd").starts_with("line 1, column 2"));

        let known = Digest::of(b"4203");
        assert!(
            digest_difference(&known, "f", b"4203\n").contains("a line feed too much (5 bytes")
        );
        assert!(digest_difference(&Digest::of(b"a\n"), "f", b"a").contains("no line feed where"));
        assert!(
            digest_difference(&known, "f", b"x").starts_with("1 byte with the SHA-256 f instead")
        );
    }
}
