//! What is wrong in a file that a person wrote, where, what was expected, and a hint.
//!
//! Parsing is done twice over: the raw pass here checks shape and collects *all* mistakes with
//! their byte spans (the pattern of rust-analyzer's "a value and a list of errors"); the typed
//! structs of [`crate::catalog`] exist only when there were none. Whether a path exists or an
//! image builds is asked later, by whoever may touch the world.

use std::fmt;
use std::ops::Range;

/// One mistake in one file. `span` is in bytes of the file's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub span: Range<usize>,
    pub message: String,
    pub expected: String,
    pub hint: Option<String>,
}

/// All mistakes of one file, with its text, so that they can be shown in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// The file's path as the person would write it.
    pub file: String,
    pub text: String,
    /// Mistakes ordered by position; never empty.
    pub list: Vec<Mistake>,
}

impl Mistakes {
    /// Line and column, both from 1, columns in characters.
    pub fn position(&self, mistake: &Mistake) -> (usize, usize) {
        let start = mistake.span.start.min(self.text.len());
        let before = &self.text[..self.text.floor_char_boundary(start)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }
}

impl fmt::Display for Mistakes {
    /// One line a mistake, as compilers print them: `file:line:column: message; expected …; hint:
    /// …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.list.iter().enumerate() {
            let (line, column) = self.position(mistake);
            if index > 0 {
                writeln!(f)?;
            }
            write!(
                f,
                "{}:{line}:{column}: {}; expected {}",
                self.file, mistake.message, mistake.expected
            )?;
            if let Some(hint) = &mistake.hint {
                write!(f, "; hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
