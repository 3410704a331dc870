//! What the programs share, so that each is its workload and nothing else: a size and a seed from
//! the command line, a random generator with words to write, and a digest to print.
//!
//! A program must print the same on every machine: no clock, no environment, no randomly seeded
//! hasher, and no `usize` in what is printed or hashed (wasm32 has 32 bits of it).

use std::fmt;

/// The program's size and the random generator of its seed, its two arguments; ends the program
/// with exit code 2 if they are not there.
pub fn arguments() -> (u32, Random) {
    let mut words = std::env::args().skip(1);
    let size = words.next().and_then(|text| text.parse().ok()).filter(|&size| size > 0);
    let seed = words.next().and_then(|text| text.parse().ok());
    size.zip(seed.map(Random::new)).unwrap_or_else(|| {
        eprintln!(
            "usage: PROGRAM SIZE SEED, where SIZE is a whole number from 1 to {} and SEED one from 0 to {}",
            u32::MAX,
            u64::MAX
        );
        std::process::exit(2)
    })
}

/// SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, off uniform by less than `end` / 2³².
    pub fn below(&mut self, end: u32) -> u32 {
        (((self.next_u64() >> 32) * u64::from(end)) >> 32) as u32
    }

    /// A number below `end`, the small ones far more often, as in most real data.
    pub fn skewed(&mut self, end: u32) -> u32 {
        let reach = self.below(end) + 1;
        self.below(reach)
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len() as u32) as usize]
    }

    /// A word of English, the short and common ones more often.
    pub fn word(&mut self) -> &'static str {
        WORDS[self.skewed(WORDS.len() as u32) as usize]
    }

    /// Appends `count` words with spaces between.
    pub fn words(&mut self, count: u32, text: &mut String) {
        for index in 0..count {
            if index > 0 {
                text.push(' ');
            }
            text.push_str(self.word());
        }
    }
}

#[rustfmt::skip]
const WORDS: [&str; 64] = [
    "the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be", "by",
    "on", "not", "are", "this", "from", "or", "each", "which", "one", "were", "time", "when",
    "there", "value", "block", "other", "more", "order", "first", "until", "never", "branch",
    "number", "memory", "figure", "machine", "measure", "program", "between", "compiler",
    "register", "constant", "variance", "baseline", "function", "optimise", "regressed",
    "candidate", "condition", "benchmark", "inlining", "threshold", "interpreter", "instruction",
    "dynamometer", "comparison", "statistical", "interleaving", "vectorisation", "specialisation",
];

/// FNV-1a with 64 bits (RFC 9923); printed as 16 hexadecimal digits.
#[derive(Clone, Copy)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        let mut digest = Self::default();
        digest.add(bytes);
        digest
    }

    pub fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of the reference `splitmix64.c` for seed 1234567.
    #[test]
    fn random_is_splitmix64() {
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        let expected =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(first, expected);
    }

    /// Vectors of the RFC.
    #[test]
    fn digest_is_fnv_1a() {
        for (text, expected) in
            [("", "cbf29ce484222325"), ("a", "af63dc4c8601ec8c"), ("foobar", "85944171f73967e8")]
        {
            assert_eq!(Digest::of(text.as_bytes()).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn numbers_stay_below_their_end() {
        let mut random = Random::new(1);
        for end in [1, 2, 7, 1000, u32::MAX] {
            for _ in 0..200 {
                assert!(random.below(end) < end);
                assert!(random.skewed(end) < end);
            }
        }
    }
}
