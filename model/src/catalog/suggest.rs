//! "Did you mean", for names that there are not.

/// Fewest characters of a part of a name that stand for the whole.
const PART_CHARS_MIN: usize = 3;

/// How many names a hint lists.
const LISTED_MAX: usize = 20;

/// `did you mean …?`, if one of `names` is near enough to what was written, or is the only one that
/// what was written is a part of.
pub fn suggest<'n>(written: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let names: Vec<&str> = names.collect();
    let near = names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), *name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min();
    let with_part = || {
        let is_part = written.chars().count() >= PART_CHARS_MIN;
        let mut with_part = names.iter().filter(|name| is_part && name.contains(written));
        with_part.next().filter(|_| with_part.next().is_none()).copied()
    };
    let name = near.map(|(_, name)| name).or_else(with_part)?;
    Some(format!("did you mean `{name}`?"))
}

/// The hint to a name that there is not: the nearest of `names` where one is near, and what there is,
/// behind `place` (`suites/ has`).
pub fn suggest_of(written: &str, place: &str, names: &[String]) -> String {
    let near = suggest(written, names.iter().map(String::as_str));
    let more = names.len().saturating_sub(LISTED_MAX);
    let mut listed = names[..names.len() - more].join(", ");
    if more > 0 {
        listed.push_str(&format!(" and {more} more"));
    }
    let there = match names {
        [] => format!("{place} none"),
        _ => format!("{place}: {listed}"),
    };
    near.map_or_else(|| there.clone(), |near| format!("{near} {there}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_meant_or_the_only_one_with_that_part() {
        let names = ["debian-gcc", "debian-rust", "rust-1.96", "rust-1.97"].map(String::from);
        for (written, near) in [
            ("debain-rust", Some("debian-rust")),
            ("rust-1.69", Some("rust-1.96")),
            ("1.96", Some("rust-1.96")),
            ("gcc", Some("debian-gcc")),
            // Two have this part.
            ("debian", None),
            ("6", None),
            ("zig", None),
        ] {
            let hint = suggest_of(written, "images/ has", &names);
            let near = near.map(|name| format!("did you mean `{name}`? ")).unwrap_or_default();
            let expected =
                format!("{near}images/ has: debian-gcc, debian-rust, rust-1.96, rust-1.97");
            assert_eq!(hint, expected, "{written}");
        }
        assert_eq!(suggest_of("x", "the store has", &[]), "the store has none");
        let many: Vec<String> = (0..30).map(|n| format!("name-{n:02}")).collect();
        assert!(suggest_of("x", "there are", &many).ends_with("name-19 and 10 more"));
    }
}
