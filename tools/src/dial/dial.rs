//! Work whose amount is known to the step: `units` is a file of the commit.

use std::hint::black_box;

fn main() {
    let units: u64 = include_str!("units").trim().parse().expect("a number");
    let mut x = black_box(1u64);
    for _ in 0..units {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        x ^= x >> 29;
    }
    black_box(x);
    println!("done");
}
