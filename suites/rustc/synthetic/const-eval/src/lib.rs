//! Stresses the interpreter of constants: everything of note is computed by the compiler.
//!
//! Each constant stays below the number of steps from which on the compiler warns.

const LIMIT: usize = 6_000;

const fn sieve() -> [bool; LIMIT] {
    let mut composite = [false; LIMIT];
    let mut n = 2;
    while n * n < LIMIT {
        let mut multiple = n * n;
        while !composite[n] && multiple < LIMIT {
            composite[multiple] = true;
            multiple += n;
        }
        n += 1;
    }
    composite
}

const fn count_primes(composite: &[bool; LIMIT]) -> usize {
    let (mut n, mut count) = (2, 0);
    while n < LIMIT {
        count += !composite[n] as usize;
        n += 1;
    }
    count
}

static COMPOSITE: [bool; LIMIT] = sieve();
pub const PRIMES: usize = count_primes(&sieve());

pub fn is_prime(n: usize) -> bool {
    n >= 2 && !COMPOSITE[n]
}

/// Tables of the cyclic redundancy check for eight bytes at a time.
const fn crc_tables(polynomial: u32) -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { polynomial ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = tables[0][(before & 0xff) as usize] ^ (before >> 8);
            byte += 1;
        }
        table += 1;
    }
    tables
}

pub static CRC32: [[u32; 256]; 8] = crc_tables(0xedb8_8320);
pub static CRC32C: [[u32; 256]; 8] = crc_tables(0x82f6_3b78);

/// In how many ways queens can be put in the rows below, given what the ones above hold.
const fn queens(size: u32, columns: u32, falling: u32, rising: u32) -> u32 {
    let all = (1 << size) - 1;
    if columns == all {
        return 1;
    }
    let mut free = all & !(columns | falling | rising);
    let mut ways = 0;
    while free != 0 {
        let place = free & free.wrapping_neg();
        free ^= place;
        ways += queens(size, columns | place, (falling | place) << 1, (rising | place) >> 1);
    }
    ways
}

pub const QUEENS: [u32; 3] = [queens(5, 0, 0, 0), queens(6, 0, 0, 0), queens(7, 0, 0, 0)];

/// The hash FNV-1a of a text.
pub const fn hash(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let (mut hash, mut at) = (0xcbf2_9ce4_8422_2325, 0);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

macro_rules! hashes {
    ($($name:ident)*) => { $(pub const $name: u64 = hash(concat!(include_str!("lib.rs"), stringify!($name)));)* };
}

hashes! { A B C D E F G H }
