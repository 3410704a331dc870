//! The lines of a comment that address the bot.

use std::ops::Range;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// GitHub's Markdown, as far as it says what is no plain text.
const OPTIONS: Options = Options::ENABLE_TABLES
    .union(Options::ENABLE_STRIKETHROUGH)
    .union(Options::ENABLE_TASKLISTS)
    .union(Options::ENABLE_FOOTNOTES)
    .union(Options::ENABLE_GFM)
    .union(Options::ENABLE_MATH);

/// Lines of a paragraph beyond which no more are looked at.
const LINES_MAX: usize = 16;

/// The word for code.
pub(super) const CODE: &str = "code";

/// A line that begins with the account's name.
#[derive(Debug)]
pub(super) struct Line {
    /// The line, from the `@`.
    pub span: Range<usize>,
    /// What follows the name.
    pub rest: Range<usize>,
    /// What in it is no plain text, with a word for it.
    pub foreign: Vec<(Range<usize>, &'static str)>,
}

/// A part of a paragraph.
#[derive(Debug)]
enum Part {
    /// Text that stands in the comment as it is read.
    Plain,
    /// Emphasis around other parts: its marks are read as they were typed.
    Emphasis,
    /// The end of a line, with what makes it a hard one.
    LineEnd,
    Foreign(&'static str),
}

/// The parts of a paragraph, with their places.
type Parts = Vec<(Range<usize>, Part)>;

/// The lines of `body` that address the account `name`, in their order.
pub(super) fn lines(body: &str, name: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    // Most comments are about something else.
    if name.is_empty() || !has_name(body, name) {
        return lines;
    }
    let mut depth = 0_usize;
    let mut html = OpenElements::default();
    let mut block = String::new();
    let mut paragraph: Option<(Range<usize>, Parts)> = None;
    // A link and what is in it: one foreign part.
    let mut nested = 0_usize;
    for (event, range) in Parser::new_ext(body, OPTIONS).into_offset_iter() {
        if let Some((span, parts)) = &mut paragraph {
            match event {
                Event::End(TagEnd::Paragraph) => {
                    lines.extend(addressed(body, name, span, parts));
                    paragraph = None;
                }
                Event::InlineHtml(text) if nested == 0 => {
                    html.read(&text);
                    parts.push((range, Part::Foreign("HTML")));
                }
                event => {
                    if let Some(part) = part(body, &event, &range, &mut nested) {
                        let is_inside = html.is_any() && matches!(part, Part::Plain);
                        parts.push((range, if is_inside { Part::Foreign("HTML") } else { part }));
                    }
                }
            }
            continue;
        }
        match event {
            Event::Start(Tag::Paragraph) if depth == 0 && !html.is_any() => {
                paragraph = Some((range, Vec::new()));
            }
            Event::Start(_) => depth += 1,
            Event::End(TagEnd::HtmlBlock) => {
                html.read(&std::mem::take(&mut block));
                depth -= 1;
            }
            // The end of a paragraph that began at depth 0 inside HTML came with a start, too.
            Event::End(_) => depth -= 1,
            Event::Html(text) => block.push_str(&text),
            Event::InlineHtml(text) => html.read(&text),
            _ => {}
        }
    }
    lines
}

/// Whether `@name` stands anywhere in `body`, in letters of any size.
fn has_name(body: &str, name: &str) -> bool {
    let is_here = |(at, _): (usize, &str)| begins_with_name(&body[at..], name);
    body.match_indices('@').any(is_here)
}

/// Whether `text` begins with `@name`, as GitHub compares names.
fn begins_with_name(text: &str, name: &str) -> bool {
    let found = text.strip_prefix('@').and_then(|rest| rest.get(..name.len()));
    found.is_some_and(|found| found.eq_ignore_ascii_case(name))
}

/// What an event inside a paragraph is; `None` where it adds nothing.
fn part(body: &str, event: &Event<'_>, range: &Range<usize>, nested: &mut usize) -> Option<Part> {
    match event {
        Event::Start(Tag::Emphasis | Tag::Strong) if *nested == 0 => Some(Part::Emphasis),
        Event::End(TagEnd::Emphasis | TagEnd::Strong) if *nested == 0 => None,
        Event::Start(tag) => {
            *nested += 1;
            let word = match tag {
                Tag::Link { .. } => "a link",
                Tag::Image { .. } => "an image",
                Tag::Strikethrough => "struck out",
                _ => "markup",
            };
            (*nested == 1).then_some(Part::Foreign(word))
        }
        Event::End(_) => {
            *nested = nested.saturating_sub(1);
            None
        }
        _ if *nested > 0 => None,
        Event::Text(text) if **text == body[range.clone()] => Some(Part::Plain),
        Event::Text(_) => Some(Part::Foreign("a character reference")),
        Event::SoftBreak | Event::HardBreak => Some(Part::LineEnd),
        Event::Code(_) => Some(Part::Foreign(CODE)),
        Event::InlineMath(_) | Event::DisplayMath(_) => Some(Part::Foreign("a formula")),
        Event::FootnoteReference(_) => Some(Part::Foreign("a footnote")),
        _ => Some(Part::Foreign("markup")),
    }
}

/// The lines of a paragraph that begin with the name.
fn addressed(
    body: &str,
    name: &str,
    paragraph: &Range<usize>,
    parts: &[(Range<usize>, Part)],
) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut at = paragraph.start;
    for text in body[paragraph.clone()].split_inclusive(['\n', '\r']) {
        if lines.len() > LINES_MAX {
            break;
        }
        let start = at + (text.len() - text.trim_start_matches([' ', '\t']).len());
        let end = at + text.trim_end_matches([' ', '\t', '\n', '\r']).len();
        at += text.len();
        // Most lines go here: a long comment has many lines, and each may have many parts.
        if start >= end || !begins_with_name(&body[start..end], name) {
            continue;
        }
        let hard_end = parts.iter().find(|(range, part)| {
            matches!(part, Part::LineEnd) && (start..end).contains(&range.start)
        });
        let end = hard_end.map_or(end, |(range, _)| range.start);
        if start >= end || !begins_with_name(&body[start..end], name) {
            continue;
        }
        let after = start + 1 + name.len();
        let Some(rest) = after_name(&body[after..end]) else { continue };
        let overlaps = |range: &Range<usize>, to: usize| range.start < to && start < range.end;
        let is_plain = |at: usize| {
            parts.iter().any(|(range, part)| matches!(part, Part::Plain) && range.contains(&at))
        };
        let is_broken = parts.iter().any(|(range, part)| match part {
            Part::Plain | Part::LineEnd => false,
            Part::Emphasis => range.start <= start && start < range.end,
            Part::Foreign(_) => overlaps(range, after),
        });
        if is_broken || !is_plain(start) {
            continue;
        }
        let mut foreign: Vec<(Range<usize>, &'static str)> = Vec::new();
        for (range, part) in parts {
            if let Part::Foreign(word) = part
                && overlaps(range, end)
            {
                foreign.push((range.start.max(start)..range.end.min(end), word));
            }
        }
        // What no part covers is the mark that kept the next character from being read as markup.
        for (offset, _) in body[start..end].match_indices('\\') {
            let at = start + offset;
            if !parts
                .iter()
                .any(|(range, part)| !matches!(part, Part::Emphasis) && range.contains(&at))
            {
                foreign.push((at..at + 1, "an escape"));
            }
        }
        lines.push(Line { span: start..end, rest: after + rest..end, foreign });
    }
    lines
}

/// Where the command begins in what follows the name; `None` where the name goes on, or where it is
/// spoken of rather than to: `@NAME's`, `@NAME/team`, `@NAME-2`.
fn after_name(rest: &str) -> Option<usize> {
    let mut chars = rest.chars();
    match chars.next() {
        None | Some(' ' | '\t') => Some(0),
        Some(':' | ',') => matches!(chars.next(), None | Some(' ' | '\t')).then_some(1),
        // Whoever does not see it believes that the name ends here.
        Some(c) => (dyno_model::text::is_hidden(c) || c.is_whitespace()).then_some(0),
    }
}

/// The HTML elements that are open. Text in one is not the comment's plain text: it may be folded,
/// hidden or a quote.
#[derive(Debug, Default)]
struct OpenElements(Vec<String>);

impl OpenElements {
    fn is_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Follows the tags in `html`.
    fn read(&mut self, html: &str) {
        const VOID: [&str; 8] = ["br", "hr", "img", "input", "wbr", "col", "area", "source"];
        let mut rest = html;
        while let Some(at) = rest.find('<') {
            rest = &rest[at + 1..];
            if let Some(comment) = rest.strip_prefix("!--") {
                rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
                continue;
            }
            let closes = rest.starts_with('/');
            let tag = rest.strip_prefix('/').unwrap_or(rest);
            let length =
                tag.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'-').count();
            let name = tag[..length].to_ascii_lowercase();
            if name.is_empty() {
                continue;
            }
            let end = tag_end(&tag[length..]);
            let is_whole = tag[length..][..end].ends_with('/');
            rest = &tag[length + end..];
            if closes {
                if let Some(open) = self.0.iter().rposition(|open| *open == name) {
                    self.0.truncate(open);
                }
            } else if !is_whole && !VOID.contains(&name.as_str()) {
                self.0.push(name);
            }
        }
    }
}

/// Where the `>` of a tag stands in what follows its name.
fn tag_end(attributes: &str) -> usize {
    let mut quote = None;
    for (at, c) in attributes.char_indices() {
        match (quote, c) {
            (None, '>') => return at,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    attributes.len()
}
