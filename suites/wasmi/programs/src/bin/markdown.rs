//! Markdown to HTML with `pulldown-cmark`: a document of SIZE sections with headings, emphasis,
//! links, lists, tables, quotes and code. It has no reference links and no footnotes, for which
//! the crate would use a randomly seeded hash map.

use std::collections::BTreeMap;
use std::fmt::Write;

use programs::{Digest, Random, arguments};
use pulldown_cmark::{Event, Options, Parser, Tag, html};

fn inline(random: &mut Random, text: &mut String) {
    let word = random.word();
    let _ = match random.below(14) {
        0 => write!(text, "*{word}*"),
        1 => write!(text, "**{word} {}**", random.word()),
        2 => write!(text, "`{word} + {}`", random.below(100)),
        3 => write!(text, "[{word}](https://example.org/{word}?q={})", random.below(1000)),
        4 => write!(text, "~~{word}~~"),
        5 => write!(text, "{word} &amp; <b>{}</b> \\*", random.word()),
        _ => write!(text, "{word}"),
    };
}

fn paragraph(prefix: &str, random: &mut Random, text: &mut String) {
    for _ in 0..=random.below(4) {
        text.push_str(prefix);
        for _ in 0..6 + random.below(8) {
            inline(random, text);
            text.push(' ');
        }
        text.push_str("end.\n");
    }
    text.push('\n');
}

fn list(random: &mut Random, text: &mut String) {
    for item in 1..3 + random.below(5) {
        let mark = random.pick(&["-", "- [ ]", "- [x]"]);
        let _ = write!(text, "{mark} item {item} ");
        inline(random, text);
        text.push('\n');
        for inner in 1..=random.below(3) {
            let _ = write!(text, "   {inner}. ");
            inline(random, text);
            text.push('\n');
        }
    }
    text.push('\n');
}

fn table(random: &mut Random, text: &mut String) {
    text.push_str("| case | effect | verdict |\n|:-----|-------:|:-------:|\n");
    for _ in 0..2 + random.below(5) {
        let (word, effect) = (random.word(), random.below(1000));
        let _ = writeln!(text, "| {word} | {effect} % | **{}** |", random.word());
    }
    text.push('\n');
}

fn document(sections: u32, mut random: Random) -> String {
    let mut text = String::new();
    for section in 1..=sections {
        let depth = "#".repeat(1 + random.below(4) as usize);
        let _ = writeln!(text, "{depth} {section}. {}\n", random.word());
        paragraph("", &mut random, &mut text);
        match random.below(4) {
            0 => list(&mut random, &mut text),
            1 => table(&mut random, &mut text),
            2 => paragraph("> ", &mut random, &mut text),
            _ => {
                let _ = writeln!(text, "```rust\nlet x = {} < {section};\n```\n", random.word());
            }
        }
    }
    text
}

fn kind(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::Start(Tag::Heading { .. }) => "headings",
        Event::Start(Tag::Paragraph) => "paragraphs",
        Event::Start(Tag::BlockQuote(_)) => "quotes",
        Event::Start(Tag::CodeBlock(_)) | Event::Code(_) => "code",
        Event::Start(Tag::Item) => "items",
        Event::Start(Tag::TableCell) => "cells",
        Event::Start(Tag::Emphasis | Tag::Strong | Tag::Strikethrough) => "emphasis",
        Event::Start(Tag::Link { .. }) => "links",
        Event::InlineHtml(_) => "tags",
        Event::TaskListMarker(_) => "tasks",
        _ => return None,
    })
}

fn main() {
    let (size, random) = arguments();
    let text = document(size, random);
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut page = String::new();
    let events = Parser::new_ext(&text, options).inspect(|event| {
        if let Some(kind) = kind(event) {
            *counts.entry(kind).or_default() += 1;
        }
    });
    html::push_html(&mut page, events);
    eprintln!("source {} bytes {}", text.len(), Digest::of(text.as_bytes()));
    eprintln!("page {} bytes {}", page.len(), Digest::of(page.as_bytes()));
    for (kind, count) in counts {
        eprintln!("{kind} {count}");
    }
}
