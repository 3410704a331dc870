//! Braces in a benchmark's words: `{name}` stands for a value if something is called so.
//!
//! Shells, awk and JSON have braces too, so all others are text: `${name}`, which is the shell's,
//! and names that nothing here is called, unless one is so near that it must be a slip. `{{name}}`
//! is the text `{name}`.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::reader::is_name;

/// A part of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Text(&'a str),
    /// The name of a value.
    Name(&'a str),
    /// The name of none, and nearly that of this one: what was written, and the other.
    Slip(&'a str, &'a str),
}

/// Divides `word` where something is called by one of `known`.
pub(super) fn parts<'a>(word: &'a str, known: &BTreeSet<&'a str>) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let (mut text, mut at) = (0, 0);
    while let Some(open) = word[at..].find('{').map(|open| at + open) {
        at = open + 1;
        let rest = &word[at..];
        if word[..open].ends_with('$') {
            // The shell's own: nothing in it is looked at but further braces inside of it.
            at += braced_name(rest).map_or(0, |name| name.len() + 1);
            continue;
        }
        let doubled = rest.strip_prefix('{').and_then(braced_name);
        let doubled = doubled.filter(|name| rest[name.len() + 2..].starts_with('}'));
        if let Some(name) =
            doubled.filter(|name| known.contains(name) || near(name, known).is_some())
        {
            // One of the two braces on each side.
            parts.push(Part::Text(&word[text..open]));
            parts.push(Part::Text(&word[at..at + name.len() + 2]));
            at += name.len() + 3;
            text = at;
            continue;
        }
        let Some(name) = braced_name(rest) else { continue };
        let part = match near(name, known) {
            _ if known.contains(name) => Part::Name(name),
            Some(other) => Part::Slip(name, other),
            None => continue,
        };
        parts.push(Part::Text(&word[text..open]));
        parts.push(part);
        at += name.len() + 1;
        text = at;
    }
    parts.push(Part::Text(&word[text..]));
    parts.retain(|part| *part != Part::Text(""));
    parts
}

/// The name at the start of `text`, if it ends with a brace.
fn braced_name(text: &str) -> Option<&str> {
    text.split_once('}').map(|(name, _)| name).filter(|name| is_name(name))
}

/// The one of `known` that `name` is a slip for: less than its whole length away from it.
fn near<'a>(name: &str, known: &BTreeSet<&'a str>) -> Option<&'a str> {
    let distance = |other: &str| strsim::damerau_levenshtein(name, other);
    let is_near = |(away, other): &(usize, &str)| {
        *away <= 1 + other.len() / 4 && *away < name.len().min(other.len())
    };
    known.iter().map(|other| (distance(other), *other)).filter(is_near).min().map(|near| near.1)
}

/// Puts `values` in the place of their names in `word`.
pub fn fill(word: &str, values: &BTreeMap<&str, &str>) -> String {
    let known = values.keys().copied().collect();
    let mut filled = String::with_capacity(word.len());
    for part in parts(word, &known) {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Name(name) => filled.push_str(values[name]),
            // Refused when the suite was read.
            Part::Slip(name, _) => filled.extend(["{", name, "}"]),
        }
    }
    filled
}

/// Fills the words of a command. A word that is nothing but the name of an empty value is left
/// out: an option that is not there.
pub fn fill_words(words: &[String], values: &BTreeMap<&str, &str>) -> Vec<String> {
    let known: BTreeSet<&str> = values.keys().copied().collect();
    let is_absent = |word: &&String| matches!(parts(word, &known).as_slice(), [Part::Name(name)] if values[name].is_empty());
    words.iter().filter(|word| !is_absent(word)).map(|word| fill(word, values)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_text_and_slips() {
        let values = BTreeMap::from([
            ("artifact", "/a"),
            ("suite", "/s"),
            ("opt", "2"),
            ("n", "7"),
            ("none", ""),
        ]);
        let known: BTreeSet<&str> = values.keys().copied().collect();
        for (word, filled) in [
            ("{artifact}/p-{opt}.wasm", "/a/p-2.wasm"),
            ("{opt}{opt}", "22"),
            ("{none}", ""),
            // Text of others.
            ("i=x; test ${i} = x; {artifact}/p", "i=x; test ${i} = x; /a/p"),
            ("${n} ${artifact} ${opt:-{opt}}", "${n} ${artifact} ${opt:-2}"),
            (
                "awk '{print}' '{ print $1 }' '{x}' '{i}'",
                "awk '{print}' '{ print $1 }' '{x}' '{i}'",
            ),
            ("{\"a\":{\"b\":{opt}}}", "{\"a\":{\"b\":2}}"),
            ("{ \"a\": {artifact} }", "{ \"a\": /a }"),
            ("{x{opt}y}", "{x2y}"),
            ("{{mustache}} {%raw%} {} {{}} }}{{", "{{mustache}} {%raw%} {} {{}} }}{{"),
            ("{Artifact} {art ifact} {artifact", "{Artifact} {art ifact} {artifact"),
            // The escape.
            ("{{opt}}", "{opt}"),
            ("{{opts}} {{artifct}}", "{opts} {artifct}"),
            ("{{{opt}}}", "{{opt}}"),
            ("{{opt}", "{2"),
            ("{ {opt} }", "{ 2 }"),
            ("é{opt}é", "é2é"),
        ] {
            assert_eq!(fill(word, &values), filled, "{word}");
            let slips = parts(word, &known).iter().any(|part| matches!(part, Part::Slip(..)));
            assert!(!slips, "{word}");
        }
        for (word, slip) in [
            ("{opts}", Part::Slip("opts", "opt")),
            ("{ \"a\": {artifct} }", Part::Slip("artifct", "artifact")),
            ("{{artefact}", Part::Slip("artefact", "artifact")),
            ("x{siute}", Part::Slip("siute", "suite")),
        ] {
            assert!(parts(word, &known).contains(&slip), "{word}: {:?}", parts(word, &known));
        }
        let words = ["cc", "{none}", "x{none}", "", "{opt}"].map(String::from);
        assert_eq!(fill_words(&words, &values), ["cc", "x", "", "2"]);
    }
}
