//! Stresses monomorphisation and code generation: little source, much code.
//!
//! The same algorithms are instantiated for twelve types. The front end sees each once; what
//! is behind it sees twelve.

pub trait Item: Copy + Ord + Default {
    fn number(self) -> u64;
    fn from_number(number: u64) -> Self;
}

macro_rules! items {
    ($($name:ident($inner:ty);)*) => {
        $(
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
            pub struct $name($inner);

            impl Item for $name {
                fn number(self) -> u64 {
                    self.0 as u64
                }

                fn from_number(number: u64) -> Self {
                    Self(number as $inner)
                }
            }
        )*

        pub fn all(seed: u64) -> u64 {
            0 $(^ exercise::<$name>(seed))*
        }
    };
}

items! {
    A(u8); B(u8); C(u16); D(u16); E(u32); F(u32); G(u64); H(u64);
    I(i8); J(i16); K(i32); L(i64);
}

fn numbers<T: Item>(seed: u64, count: usize) -> Vec<T> {
    let mut state = seed | 1;
    let mut out = Vec::with_capacity(count);
    for _ in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.push(T::from_number(state));
    }
    out
}

fn merge_sorted<T: Item>(left: &[T], right: &[T]) -> Vec<T> {
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::with_capacity(left.len() + right.len());
    while i < left.len() && j < right.len() {
        if left[i] <= right[j] {
            out.push(left[i]);
            i += 1;
        } else {
            out.push(right[j]);
            j += 1;
        }
    }
    out.extend_from_slice(&left[i..]);
    out.extend_from_slice(&right[j..]);
    out
}

fn merge_sort<T: Item>(items: &[T]) -> Vec<T> {
    if items.len() < 2 {
        return items.to_vec();
    }
    let (left, right) = items.split_at(items.len() / 2);
    merge_sorted(&merge_sort(left), &merge_sort(right))
}

fn sift_down<T: Item>(heap: &mut [T], mut at: usize) {
    loop {
        let mut child = 2 * at + 1;
        if child >= heap.len() {
            return;
        }
        if child + 1 < heap.len() && heap[child + 1] > heap[child] {
            child += 1;
        }
        if heap[at] >= heap[child] {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}

fn heap_sort<T: Item>(items: &mut [T]) {
    for at in (0..items.len() / 2).rev() {
        sift_down(items, at);
    }
    for end in (1..items.len()).rev() {
        items.swap(0, end);
        sift_down(&mut items[..end], 0);
    }
}

fn run_lengths<T: Item>(items: &[T]) -> Vec<(T, usize)> {
    let mut out: Vec<(T, usize)> = Vec::new();
    for &item in items {
        match out.last_mut() {
            Some((last, count)) if *last == item => *count += 1,
            _ => out.push((item, 1)),
        }
    }
    out
}

fn longest_rise<T: Item>(items: &[T]) -> usize {
    let mut tails: Vec<T> = Vec::new();
    for &item in items {
        let place = tails.partition_point(|&tail| tail < item);
        match tails.get_mut(place) {
            Some(tail) => *tail = item,
            None => tails.push(item),
        }
    }
    tails.len()
}

fn exercise<T: Item>(seed: u64) -> u64 {
    let items = numbers::<T>(seed, 100);
    let sorted = merge_sort(&items);
    let mut other = items.clone();
    heap_sort(&mut other);
    let same = other.iter().zip(&sorted).filter(|(a, b)| a == b).count() as u64;
    let runs = run_lengths(&sorted).into_iter().map(|(item, n)| item.number() ^ n as u64);
    runs.fold(same, u64::wrapping_add) ^ longest_rise(&items) as u64
}
