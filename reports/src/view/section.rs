//! What each output does with one section of a report.

use minijinja::Value;

use super::View;
use crate::terminal::Terminal;

/// One section in each output that has it. A section with nothing to show is empty there.
pub(crate) struct Section {
    pub html: Option<Html>,
    pub markdown: Option<Markdown>,
    /// The writer for a terminal; the text begins with an empty line.
    pub text: Option<fn(&View, Terminal) -> String>,
}

/// A section of the page.
pub(crate) struct Html {
    /// Id of its heading, unique among the sections.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// A template over `view` for what stands below the heading, which may use the macros of
    /// `report.html`.
    pub template: &'static str,
    /// The value that the template calls `data`: facts that the view does not have in this shape.
    pub data: fn(&View) -> Value,
}

/// A section of the comment.
pub(crate) struct Markdown {
    /// The name by which the comment says that it leaves the section out for length.
    pub name: &'static str,
    pub write: fn(&View) -> String,
}

/// The `data` of a template that needs nothing but the view.
pub(crate) fn no_data(_: &View) -> Value {
    Value::UNDEFINED
}
