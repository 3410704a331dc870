//! Keeping a comment within its size, in whole blocks.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// No comment is longer, in bytes: GitHub refuses more than 65 536 characters.
pub const BODY_BYTES_MAX: usize = 60_000;

/// `markdown` in at most `bytes_max` bytes. What does not fit is left out in whole blocks (a
/// paragraph, a table, a fence, an item of a list, a folded section) and `rest` says where it is.
pub fn fit(markdown: &str, bytes_max: usize, rest: &str) -> String {
    if markdown.len() <= bytes_max {
        return markdown.to_string();
    }
    let tail = format!("\n\n{rest}\n");
    let room = bytes_max.saturating_sub(tail.len());
    let mut kept = 0;
    for end in block_ends(markdown) {
        if markdown[..end].trim_end().len() <= room {
            kept = kept.max(end);
        }
    }
    format!("{}{tail}", markdown[..kept].trim_end())
}

/// Where a block ends with nothing left open around it.
fn block_ends(markdown: &str) -> Vec<usize> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_GFM | Options::ENABLE_STRIKETHROUGH;
    let mut ends = Vec::new();
    // Containers around the place, those that are no lists, and HTML elements that are folded.
    let (mut depth, mut others, mut folded) = (0_usize, 0_usize, 0_usize);
    for (event, range) in Parser::new_ext(markdown, options).into_offset_iter() {
        match event {
            Event::Start(tag) => {
                depth += 1;
                others += usize::from(!matches!(tag, Tag::List(_)));
                continue;
            }
            Event::End(tag) => {
                depth -= 1;
                others -= usize::from(!matches!(tag, TagEnd::List(_)));
            }
            Event::Html(html) | Event::InlineHtml(html) => {
                folded += html.matches("<details").count();
                folded = folded.saturating_sub(html.matches("</details>").count());
                continue;
            }
            Event::Rule => {}
            _ => continue,
        }
        // An item of a list that is in no other one ends with the list open, which ends with it.
        if others == 0 && depth <= 1 && folded == 0 {
            ends.push(range.end);
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_left_out_whole() {
        let text = "<!-- m -->\n### Title\n\nOne.\n\n| a |\n|---|\n| 1 |\n| 2 |\n\n```text\nx\n\ny\n```\n\n\
                    - one\n- two\n- three\n\n<details><summary>s</summary>\n\nin\n\n</details>\n\nlast\n";
        let mut seen = Vec::new();
        for bytes_max in (0..=text.len()).rev() {
            let fitted = fit(text, bytes_max, "Rest.");
            assert!(fitted.len() <= bytes_max.max("\n\nRest.\n".len()), "{fitted}");
            if seen.last() != Some(&fitted) {
                seen.push(fitted);
            }
        }
        insta::assert_snapshot!(seen.join("=====\n"));
    }
}
