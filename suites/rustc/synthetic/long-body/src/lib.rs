//! Stresses what works on one function at a time: type inference, borrow checking, drop
//! elaboration, the passes over MIR. A second thread finds little to do here.
//!
//! `x2` writes its statements twice, `x4` four times. Names of macros are hygienic: every copy has its own
//! variables, which are all alive, with destructors, until the function ends.

macro_rules! x2 {
    ($($statement:tt)*) => { $($statement)* $($statement)* };
}

macro_rules! x4 {
    ($($statement:tt)*) => { $($statement)* $($statement)* $($statement)* $($statement)* };
}

/// A function whose body is `$block`, 32 times.
macro_rules! long {
    ($name:ident($words:ident, $map:ident) { $($block:tt)* }) => {
        pub fn $name($words: &mut Vec<String>, $map: &mut BTreeMap<String, usize>) -> Option<usize> {
            x2! { x4! { x4! { $($block)* } } }
            Some($words.len() ^ $map.len())
        }
    };
}

use std::collections::BTreeMap;

long! { borrows(words, map) {
    let first = words.first()?;
    let (key, size) = (first.clone(), first.len());
    let slot = map.entry(key).or_insert(size);
    *slot += words.len();
    if *slot > 7 {
        let taken = words.pop()?;
        words.push(taken + "x");
    }
} }

long! { drops(words, map) {
    let copy: Vec<String> = words.iter().filter(|word| word.len() > 3).cloned().collect();
    let found = match copy.last() {
        Some(last) if map.contains_key(last) => Some(Box::new(last.clone())),
        Some(last) => return map.get(last).copied(),
        None => None,
    };
    words.extend(found.map(|text| *text));
} }

long! { numbers(words, map) {
    let total = map.values().copied().fold(0_usize, usize::wrapping_add);
    let mut state = (total as u64, words.len() as i32, 1.5);
    while state.1 > 0 {
        state = (state.0.rotate_left(7) ^ 0x55, state.1 - 1, state.2 * 0.5 + 1.0);
    }
    let label = if state.2 > 2.0 { "high" } else { "low" };
    map.insert(format!("{label}{}", state.0 % 10), state.1 as usize);
} }
