//! Hash maps, as interpreters and compilers use them: symbol tables, interning, grouping.
//! Integer keys with removals, string keys with growth, and a map of lists; SIZE operations on
//! each. The tables are the standard library's, the hasher is fixed, and nothing depends on the
//! order of iteration (which differs between machines with and without SIMD).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use programs::{Random, arguments};

/// Multiplies and rotates each word, as rustc's own hasher does.
#[derive(Default)]
struct Fixed(u64);

impl Hasher for Fixed {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0xf135_7aea_2e62_a9c5);
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}

type Map<K, V> = HashMap<K, V, BuildHasherDefault<Fixed>>;

/// A table of live values: updates, look-ups that often miss, and removals.
fn integers(size: u32, random: &mut Random) {
    let keys = size / 4 + 1;
    let mut map: Map<u64, u64> = Map::default();
    let (mut hits, mut misses, mut removed) = (0u32, 0u32, 0u32);
    for step in 0..u64::from(size) {
        let key = u64::from(random.skewed(keys)).wrapping_mul(0x9e37_79b9);
        match random.below(20) {
            0..12 => *map.entry(key).or_default() += step,
            12..17 if map.contains_key(&key) => hits += 1,
            12..17 => misses += 1,
            _ => removed += u32::from(map.remove(&key).is_some()),
        }
    }
    let sum = map.iter().fold(0u64, |sum, (key, value)| sum.wrapping_add(key ^ value));
    eprintln!(
        "integers {} left, {hits} hits, {misses} misses, {removed} removed, sum {sum:016x}",
        map.len()
    );
}

/// Interning: each distinct name gets the next number.
fn strings(size: u32, random: &mut Random) {
    let mut numbers: Map<String, u32> = Map::default();
    let mut name = String::new();
    let mut sum = 0u64;
    for step in 0..size {
        name.clear();
        name.push_str(random.word());
        name.push('_');
        name.push_str(random.word());
        if step % 3 == 0 {
            name.push(char::from(b'a' + random.below(26) as u8));
        }
        let next = numbers.len() as u32;
        let number = match numbers.get(&name) {
            Some(&number) => number,
            None => *numbers.entry(name.clone()).or_insert(next),
        };
        sum = sum.wrapping_mul(31).wrapping_add(number.into());
    }
    eprintln!("strings {} distinct, sum {sum:016x}", numbers.len());
}

/// Grouping: edges by their start, then two steps from each node.
fn groups(size: u32, random: &mut Random) {
    let nodes = size / 2 + 1;
    let mut edges: Map<u32, Vec<u32>> = Map::default();
    for _ in 0..size {
        let (from, to) = (random.skewed(nodes), random.below(nodes));
        edges.entry(from).or_default().push(to);
    }
    let longest = edges.values().map(Vec::len).max().unwrap_or(0);
    let (mut paths, mut sum) = (0u64, 0u64);
    for middles in edges.values() {
        for ends in middles.iter().filter_map(|middle| edges.get(middle)) {
            paths += ends.len() as u64;
            sum = sum.wrapping_add(ends.first().copied().unwrap_or(0).into());
        }
    }
    eprintln!("groups {} of at most {longest}, {paths} paths, sum {sum:016x}", edges.len());
}

fn main() {
    let (size, mut random) = arguments();
    integers(size, &mut random);
    strings(size, &mut random);
    groups(size, &mut random);
}
