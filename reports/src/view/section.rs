//! What each output does with one section of a report.

use minijinja::Value;

use super::View;
use crate::terminal::Terminal;

/// One section in each output that has it. A section with nothing to show is empty there.
pub(crate) struct Section {
    pub html: Option<Html>,
    pub markdown: Option<Markdown>,
    /// Writes it for a terminal, with an empty line before it.
    pub text: Option<fn(&View, Terminal) -> String>,
}

/// A section of the page.
pub(crate) struct Html {
    /// Id of its heading, unique among the sections.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What stands below the heading: a template over `view`, which may use the macros of
    /// `report.html`.
    pub template: &'static str,
    /// What the template calls `data`: facts that the view does not have in this shape.
    pub data: fn(&View) -> Value,
}

/// A section of the comment.
pub(crate) struct Markdown {
    /// How the comment names it where it leaves it out for length.
    pub name: &'static str,
    pub write: fn(&View) -> String,
}

/// The `data` of a template that needs nothing but the view.
pub(crate) fn no_data(_: &View) -> Value {
    Value::UNDEFINED
}
