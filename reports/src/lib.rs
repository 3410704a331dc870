//! Verdicts → a [`View`] → HTML, Markdown, a terminal's text, JSON.
//!
//! Three readers want the same comparison: a tired person who wants one sentence, a triager who
//! wants to know why a series was flagged and how to get its samples, and a program. So there is
//! one [`View`]: every sentence, number, unit and reason is made there, once, from the types of
//! `dyno-model`. The writers lay it out and escape it for where it lands, and nothing else; the
//! JSON of the view is itself an output, with a [`version`](View::version).
//!
//! Everything is a pure function: no files, clock, processes or queries. The SQL behind a number,
//! the places of the samples and the command that makes the report again come in with the
//! [`Input`], as texts to show. Who asks (a terminal, a bot, a site) is not known here.
//!
//! What comes from outside (names, refs, log lines) is kept raw in the view and escaped by each
//! writer ([`escape`] tells how), so that no text can become markup, a mention or a terminal
//! sequence.

mod commands;
mod comment;
mod common;
mod counts;
mod drawing;
pub mod escape;
pub mod explain;
mod html;
mod markdown;
mod number;
mod terminal;
mod text;
pub mod view;
mod words;

pub use html::html;
pub use markdown::{MARKDOWN_CHARS_MAX, markdown, marker};
pub use terminal::Terminal;
pub use text::text;
pub use view::{Input, Links, View, matrix};

/// The view as JSON, for programs: the same facts as the other outputs, names and log lines raw.
/// Numbers that are not finite are `null`. Ends with a newline.
pub fn json(view: &View) -> String {
    let mut text = serde_json::to_string_pretty(view).expect("a view is plain data");
    text.push('\n');
    text
}
