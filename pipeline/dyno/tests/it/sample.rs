//! How much of a table of cases is tried. By default a sample of it, another one each time, so that
//! all tests take minutes; `DYNO_TESTS=full` tries every case. Every test runs either way.
//!
//! The sample follows from a seed, which is printed: `DYNO_TESTS_SEED` with that number tries the
//! same cases again.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// Whether every case is tried.
pub fn full() -> bool {
    std::env::var("DYNO_TESTS").is_ok_and(|wanted| wanted == "full")
}

/// The seed of this test process.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| match std::env::var("DYNO_TESTS_SEED") {
        Ok(text) => text.parse().expect("DYNO_TESTS_SEED is a number"),
        // Of a process: the keys that the standard library draws for its hash maps.
        Err(_) => RandomState::new().hash_one(0) >> 32,
    })
}

/// At most `most` of `cases` in their order, or all of them; `what` says whose cases they are.
///
/// Each case gets a number by its place (splitmix64 of the seed, Steele 2014), and the smallest
/// are tried.
pub fn sample<T>(what: &str, cases: Vec<T>, most: usize) -> Vec<T> {
    if full() || cases.len() <= most {
        return cases;
    }
    let seed = seed();
    eprintln!("{what}: {most} of {} cases, DYNO_TESTS_SEED={seed}", cases.len());
    let drawn = |place: usize| {
        let mut x = seed.wrapping_add((place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let mut numbers: Vec<u64> = (0..cases.len()).map(drawn).collect();
    let all = numbers.clone();
    numbers.sort_unstable();
    let tried = |place: usize| all[place] < numbers[most];
    cases.into_iter().enumerate().filter(|(place, _)| tried(*place)).map(|(_, case)| case).collect()
}

#[test]
fn a_sample_has_as_many_cases_as_it_may() {
    let cases = |count: usize| (0..count).collect::<Vec<usize>>();
    assert_eq!(sample("these", cases(3), 3), [0, 1, 2]);
    let tried = sample("these", cases(100), 7);
    assert_eq!(tried.len(), if full() { 100 } else { 7 });
    assert!(tried.is_sorted(), "{tried:?}");
    assert_eq!(tried, sample("these", cases(100), 7));
}
