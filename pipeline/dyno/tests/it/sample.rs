//! How much of a table of cases is tried. By default a sample of it, another one each time, so that
//! all tests take minutes; `DYNO_TESTS=full` tries every case. Every test runs either way.
//!
//! The sample follows from a seed, which is printed: `DYNO_TESTS_SEED` with that number tries the
//! same cases again.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use rand::SeedableRng as _;
use rand::seq::index;
use rand_pcg::Pcg64;

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
pub fn sample<T>(what: &str, cases: Vec<T>, most: usize) -> Vec<T> {
    if full() || cases.len() <= most {
        return cases;
    }
    let seed = seed();
    eprintln!("{what}: {most} of {} cases, DYNO_TESTS_SEED={seed}", cases.len());
    let mut generator = Pcg64::seed_from_u64(seed);
    let tried: BTreeSet<usize> = index::sample(&mut generator, cases.len(), most).iter().collect();
    let places = cases.into_iter().enumerate().filter(|(place, _)| tried.contains(place));
    places.map(|(_, case)| case).collect()
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
