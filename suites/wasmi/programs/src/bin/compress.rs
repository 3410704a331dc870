//! DEFLATE with `miniz_oxide`: SIZE bytes, half text and half a table of binary records, are
//! compressed at a fast, the usual and the best level, decompressed, and compared.

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec;
use programs::{Digest, Random, arguments};

fn data(size: u32, mut random: Random) -> Vec<u8> {
    let mut text = String::new();
    while text.len() < (size / 2) as usize {
        let length = 5 + random.below(12);
        random.words(length, &mut text);
        text.push_str(".\n");
    }
    let mut data = text.into_bytes();
    let mut time_ns = 1_700_000_000_000_000_000u64;
    while data.len() < size as usize {
        time_ns += u64::from(random.below(100_000));
        data.extend_from_slice(&time_ns.to_le_bytes());
        data.extend_from_slice(&random.skewed(50).to_le_bytes());
        data.extend_from_slice(&(random.skewed(1 << 20) as f32).to_le_bytes());
    }
    data.truncate(size as usize);
    data
}

fn main() {
    let (size, random) = arguments();
    let data = data(size, random);
    eprintln!("data {} bytes {}", data.len(), Digest::of(&data));
    for level in [1, 6, 9] {
        let packed = compress_to_vec(&data, level);
        eprintln!("level {level} {} bytes {}", packed.len(), Digest::of(&packed));
        let unpacked = decompress_to_vec(&packed).expect("what was packed is valid");
        assert!(unpacked == data, "level {level} unpacks to something else");
    }
}
