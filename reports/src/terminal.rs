//! A terminal, and the blocks that its text is made of: wrapped lines, commands and tables.

use crate::escape::line;

mod table;

pub(crate) use table::{Cases, Cells, Column, elide, table};

/// The terminal written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Columns; less than 40 counts as 40. Sentences are never wider than they are easy to read.
    pub width: usize,
    /// Whether to use ANSI colours.
    pub color: bool,
}

const WIDTH_MIN: usize = 40;
/// The widest that a sentence is.
const SENTENCE_WIDTH_MAX: usize = 100;

impl Terminal {
    /// The width of what is no terminal, where nothing is cut.
    pub const UNBOUNDED: usize = 1 << 16;

    /// The same terminal, at least as wide as the least width that is written for.
    pub(crate) fn at_least_narrow(self) -> Self {
        Self { width: self.width.max(WIDTH_MIN), ..self }
    }

    pub(crate) fn paint(self, style: &str, text: &str) -> String {
        if self.color { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// `text` in the colour of a verdict or conclusion.
    pub(crate) fn paint_verdict(self, verdict: &str, text: &str) -> String {
        match verdict {
            "Regressed" => self.paint("31", text),
            "Improved" => self.paint("32", text),
            "Mixed" | "Inconclusive" => self.paint("33", text),
            _ => text.to_string(),
        }
    }

    /// `text` on lines that fit, each ended.
    pub(crate) fn paragraph(self, text: &str) -> String {
        wrap(text, self.width, "").join("\n") + "\n"
    }

    /// A command on lines that a shell reads as one.
    pub(crate) fn command_lines(self, command: &str) -> String {
        wrap(command, self.width - 2, "  ").join(" \\\n") + "\n"
    }
}

/// `text` on lines of at most `width`, all but the first indented by `indent` more than it.
pub(crate) fn wrap(text: &str, width: usize, indent: &str) -> Vec<String> {
    let hanging = format!("{indent}  ");
    let width = width.min(SENTENCE_WIDTH_MAX);
    let options = textwrap::Options::new(width).initial_indent(indent).subsequent_indent(&hanging);
    // A number keeps its per cent sign.
    let text = line(text).replace(" %", "\u{a0}%");
    textwrap::wrap(&text, options).into_iter().map(|l| l.replace('\u{a0}', " ")).collect()
}
