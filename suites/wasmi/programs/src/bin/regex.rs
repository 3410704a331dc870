//! Searching SIZE lines of a server's log with the `regex` crate: literals, alternations, classes
//! with repetition, captures and replacement. The patterns take the crate through its prefilters,
//! its lazy DFA and its capture engines.

use std::fmt::Write;

use programs::{Digest, Random, arguments};
use regex::{Captures, Regex};

/// Name and pattern; ASCII only, as the crate is built without its Unicode tables.
const PATTERNS: [(&str, &str); 6] = [
    ("address", r"(?-u)\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b"),
    (
        "request",
        r#""(GET|POST|PUT|DELETE) (/[a-z0-9/_-]*)(?:\?([^ "]*))? HTTP/[0-9.]+" ([45][0-9]{2})"#,
    ),
    ("mail", r"[a-z0-9._]+@[a-z0-9-]+(?:\.[a-z]{2,6})+"),
    ("duration", r"took=([0-9]+)(ms|us)"),
    ("trouble", r"(?i-u)timeout|refused|reset by peer|out of memory"),
    ("id", r"(?-u)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}\b"),
];

fn log(lines: u32, mut random: Random) -> String {
    let mut text = String::new();
    for _ in 0..lines {
        let mut byte = || random.below(256);
        let _ = write!(text, "{}.{}.{}.{} - ", byte(), byte(), byte(), byte());
        let method = random.pick(&["GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD"]);
        let _ = write!(text, "\"{method} /{}/{}", random.word(), random.word());
        if random.below(3) == 0 {
            let _ = write!(text, "?{}={}", random.word(), random.below(10_000));
        }
        let status = random.pick(&["200", "200", "204", "301", "404", "500", "503"]);
        let _ = write!(text, " HTTP/1.1\" {status} took={}", random.below(5000));
        text.push_str(random.pick(&["ms", "us", "s"]));
        let id = random.next_u64();
        let _ = write!(text, " {:08x}-{:04x}-{:04x} ", id >> 32, (id >> 16) & 0xffff, id & 0xffff);
        match random.below(12) {
            0 => text.push_str("Connection RESET by peer"),
            1 => text.push_str("upstream timeout"),
            2 => {
                let _ = write!(
                    text,
                    "from {}.{}@{}.example.org",
                    random.word(),
                    random.below(99),
                    random.word()
                );
            }
            _ => random.words(6, &mut text),
        }
        text.push('\n');
    }
    text
}

/// Matches and the digest of every group's place and text.
fn search(pattern: &Regex, text: &str) -> (u32, Digest) {
    let (mut matches, mut digest) = (0, Digest::default());
    for captures in pattern.captures_iter(text) {
        matches += 1;
        for group in captures.iter().flatten() {
            digest.add(&(group.start() as u32).to_le_bytes());
            digest.add(group.as_str().as_bytes());
        }
    }
    (matches, digest)
}

fn main() {
    let (size, random) = arguments();
    let text = log(size, random);
    eprintln!("log {} bytes {}", text.len(), Digest::of(text.as_bytes()));
    let compile = |pattern| Regex::new(pattern).expect("every pattern is valid");
    for (name, pattern) in PATTERNS {
        let (matches, digest) = search(&compile(pattern), &text);
        eprintln!("{name} {matches} {digest}");
    }
    let duration = compile(r"took=([0-9]+)(ms|us|s)");
    let plain = duration.replace_all(&text, |captures: &Captures| {
        let scale = match &captures[2] {
            "us" => 1,
            "ms" => 1_000,
            _ => 1_000_000u64,
        };
        let value: u64 = captures[1].parse().expect("the group is digits");
        format!("took={}us", value * scale)
    });
    eprintln!("replaced {} bytes {}", plain.len(), Digest::of(plain.as_bytes()));
}
