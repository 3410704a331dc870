//! The words of a report, made from plain values: names of cases and series, the sentence over
//! everything, why a conclusion or a verdict is what it is, what holds under the policy. One
//! place, so that every output says the same.

use dyno_model::verdict::SeriesKey;

use crate::number;

mod policy;
mod reasons;
mod sentence;
mod why;

pub(crate) use policy::{policy_sentences, procedure};
pub(crate) use reasons::reasons;
pub(crate) use sentence::{Facts, sentence};
pub(crate) use why::{why, why_scaling};

/// `fib`, or `fib [threads=2]`.
pub(crate) fn case_name(benchmark: &str, config: &str) -> String {
    if config.is_empty() { benchmark.to_string() } else { format!("{benchmark} [{config}]") }
}

/// `fib[threads=2]/wall@local`: the name of a series in one word.
pub(crate) fn series_name(key: &SeriesKey) -> String {
    let SeriesKey { benchmark, config, metric, host } = key;
    let config = if config.is_empty() { String::new() } else { format!("[{config}]") };
    format!("{benchmark}{config}/{metric}@{host}")
}

/// `1 round`, `3 rounds`; `noun` takes an s.
pub(crate) fn plural(number: usize, noun: &str) -> String {
    let s = if number == 1 || noun == "series" { "" } else { "s" };
    format!("{} {noun}{s}", number::count(number as u64))
}

/// `text` with its first letter in upper case.
pub(crate) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// The first of many names, and how many more there are.
pub(crate) fn first_names(names: &[String]) -> String {
    const LISTED_MAX: usize = 8;
    let listed: Vec<&str> = names.iter().take(LISTED_MAX).map(String::as_str).collect();
    let more = match names.len().saturating_sub(LISTED_MAX) {
        0 => String::new(),
        more => format!(", {} more", number::count(more as u64)),
    };
    listed.join(", ") + &more
}
