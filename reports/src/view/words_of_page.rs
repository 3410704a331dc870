//! The words of a report, a sentence each, on the page itself.

use super::section::{Html, Section, no_data};

/// The section of words; docs/GLOSSARY.md has them all.
pub(super) const WORDS: Section = Section {
    html: Some(Html {
        id: "words",
        title: "The words of this page",
        template: include_str!("../../templates/words.html"),
        data: no_data,
    }),
    markdown: None,
    text: None,
};
