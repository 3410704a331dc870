//! Work whose amount is known to the step: `units` is a file of the commit.

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::time::Duration;

fn main() {
    let units: u64 = include_str!("units").trim().parse().expect("a number");
    match std::env::args().nth(1).as_deref() {
        Some("sleep") => std::thread::sleep(Duration::from_nanos(2 * units)),
        // The keys of a hasher are random, and so is whether a run is slow.
        Some("two-state") if RandomState::new().hash_one(0) % 4 == 0 => work(units + units / 2),
        _ => work(units),
    }
    println!("done");
}

fn work(units: u64) {
    let mut x = black_box(1u64);
    for _ in 0..units {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        x ^= x >> 29;
    }
    black_box(x);
}
