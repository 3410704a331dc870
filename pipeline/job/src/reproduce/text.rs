//! The answer of `dyno reproduce` as a table.

use std::fmt::Write as _;

use super::{Part, PartIdentity, Reproduction};

/// Digits shown of a digest; those of [`dyno_model::id::Digest::short`].
const DIGITS: usize = 12;

impl Reproduction {
    /// One line a part, and what it comes to.
    pub fn text(&self) -> String {
        let mut text = format!(
            "run {}: {} {} and {}, suite {}; recorded by dyno {}, rebuilt by dyno {}\n\n",
            self.job,
            self.target,
            self.baseline,
            self.candidate,
            self.suite,
            self.recorded_by,
            self.rebuilt_by
        );
        let names = self.parts.iter().map(|part| part.name.chars().count());
        let width = names.max().unwrap_or(0);
        let line = |owner: &str, name: &str, then: &str, now: &str, rest: &str| {
            let line =
                format!("{owner:<9}  {name:<width$}  {then:<DIGITS$}  {now:<DIGITS$}  {rest}");
            format!("{}\n", dyno_base::text::plain(line.trim_end()))
        };
        text += &line("", "", "recorded", "rebuilt", "");
        for part in &self.parts {
            let (then, now) = (short_id(part.recorded.as_ref()), short_id(part.rebuilt.as_ref()));
            text += &line(part.owner, &part.name, then, now, &describe_part(part));
        }
        let differ: Vec<String> = self
            .parts
            .iter()
            .filter(|part| !part.equal)
            .map(|part| format!("{}/{}", part.owner, part.name))
            .collect();
        let total = self.parts.len();
        match differ.len() {
            0 => writeln!(text, "\nReproduced: {total} of {total} parts are equal."),
            n => writeln!(
                text,
                "\nNot reproduced: {n} of {total} parts differ: {}.",
                dyno_base::text::plain(&differ.join(", "))
            ),
        }
        .expect("a String takes all");
        text
    }
}

fn short_id(identity: Option<&PartIdentity>) -> &str {
    let Some(identity) = identity else { return "-" };
    let digits = identity.id.trim_start_matches("sha256:");
    digits.get(..DIGITS).unwrap_or(digits)
}

/// How a part came out.
fn describe_part(part: &Part) -> String {
    let mut text = if part.equal { "equal" } else { "DIFFERS" }.to_string();
    if let Some(note) = &part.note {
        write!(text, ": {note}").expect("a String takes all");
    }
    if let Some(difference) = &part.difference {
        write!(text, " {difference}").expect("a String takes all");
    }
    let bytes = |found: &Option<PartIdentity>| found.as_ref().and_then(|found| found.bytes);
    if let (false, Some(then), Some(now)) =
        (part.equal, bytes(&part.recorded), bytes(&part.rebuilt))
    {
        match then == now {
            true => write!(text, "; {now} bytes both"),
            false => write!(text, "; {then} bytes then, {now} now"),
        }
        .expect("a String takes all");
    }
    text
}
