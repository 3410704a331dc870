//! Text to statements: what stands between semicolons, as SQL's own tokens tell them apart from
//! those in strings and comments.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

/// The stack that threads need which plan and carry out the longest statement, in bytes, whatever
/// the profile. DataFusion walks and drops expressions by recursion, one level a link of a chain.
/// Only what is used of it becomes memory.
pub const THREAD_STACK_BYTES: usize = 512 << 20;

/// The most words, operators and marks of a statement. Numbers, strings and the commas between them
/// do not count: a list may be as long as it likes. (A link of a chain takes 32 KiB of stack in the dev profile.)
const WORDS_MAX: usize = 6_000;

/// Whether [`THREAD_STACK_BYTES`] do for `sql`.
pub(crate) fn is_short_enough(sql: &str) -> bool {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap_or_default();
    let is_value = |token: &&Token| {
        matches!(
            token,
            Token::Whitespace(_)
                | Token::Comma
                | Token::Number(..)
                | Token::SingleQuotedString(_)
                | Token::SemiColon
        )
    };
    tokens.iter().filter(|token| !is_value(token)).count() <= WORDS_MAX
}

/// The parts of a text.
#[derive(Debug, PartialEq, Eq)]
pub struct SplitStatements<'a> {
    /// Statements that a semicolon ended, without it; none is empty.
    pub complete: Vec<&'a str>,
    /// What follows the last semicolon; empty if that is only blanks and comments.
    pub rest: &'a str,
}

/// Takes `text` apart. A string or comment that is not closed belongs to the rest.
pub fn split_statements(text: &str) -> SplitStatements<'_> {
    let mut tokens: Vec<TokenWithSpan> = Vec::new();
    let closed =
        Tokenizer::new(&GenericDialect {}, text).tokenize_with_location_into_buf(&mut tokens);
    let mut offsets = Offsets { text, line: 1, offset: 0 };
    let (mut complete, mut start, mut blank) = (Vec::new(), 0, true);
    for TokenWithSpan { token, span } in &tokens {
        match token {
            Token::SemiColon => {
                let end = offsets.offset_of(span.start);
                if !blank {
                    complete.push(text[start..end].trim());
                }
                (start, blank) = (end + 1, true);
            }
            Token::Whitespace(_) => {}
            _ => blank = false,
        }
    }
    let remainder = if blank && closed.is_ok() { "" } else { text[start..].trim() };
    SplitStatements { complete, rest: remainder }
}

/// Byte offsets of places that are asked for in their order.
struct Offsets<'a> {
    text: &'a str,
    line: u64,
    /// Where `line` begins.
    offset: usize,
}

impl Offsets<'_> {
    /// Lines and columns count from 1, columns in characters.
    fn offset_of(&mut self, place: Location) -> usize {
        while self.line < place.line {
            let rest = &self.text[self.offset..];
            self.offset += rest.find('\n').map_or(rest.len(), |end| end + 1);
            self.line += 1;
        }
        let line = &self.text[self.offset..];
        let column = place.column.saturating_sub(1) as usize;
        self.offset + line.char_indices().nth(column).map_or(line.len(), |(offset, _)| offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_end_statements_but_in_strings_and_comments() {
        for (text, whole, rest) in [
            ("", &[][..], ""),
            (" \n -- nothing\n/* nor here; */ ", &[], ""),
            (";;\n ; ", &[], ""),
            ("SELECT 1", &[], "SELECT 1"),
            ("SELECT 1;", &["SELECT 1"], ""),
            ("SELECT 1; SELECT\n2 ;\nSELECT 3", &["SELECT 1", "SELECT\n2"], "SELECT 3"),
            ("SELECT ';', \";\", $$;$$;", &["SELECT ';', \";\", $$;$$"], ""),
            ("SELECT 'it''s; ' -- ;\n, 2; x", &["SELECT 'it''s; ' -- ;\n, 2"], "x"),
            ("/* ; /* ; */ */ SELECT 1;", &["/* ; /* ; */ */ SELECT 1"], ""),
            (
                "SELECT 'größer µ;' ;\r\nSELECT 'é', 2;x",
                &["SELECT 'größer µ;'", "SELECT 'é', 2"],
                "x",
            ),
            ("SELECT 1; SELECT 'open; x", &["SELECT 1"], "SELECT 'open; x"),
            ("SELECT 1; /* open;", &["SELECT 1"], "/* open;"),
            ("SELECT \\ @ ` ; x", &[], "SELECT \\ @ ` ; x"),
        ] {
            assert_eq!(
                split_statements(text),
                SplitStatements { complete: whole.to_vec(), rest },
                "{text:?}"
            );
        }
    }
}
