//! Stresses the check that matches are exhaustive and their translation to decision trees.
//!
//! An instruction set of 160 operations is decoded from ranges and printed; costs are looked up
//! by pairs and triples of operations and modes.

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Plain,
    Traced { depth: u8 },
    Limited { fuel: u16, strict: bool },
}

macro_rules! operations {
    ($($name:ident $code:literal)*) => {
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub enum Operation {
            $($name { left: u8, right: u8 },)*
            Unknown(u32),
        }

        use Operation::*;

        pub fn decode(word: u32) -> Operation {
            let (left, right) = (word as u8, (word >> 8) as u8);
            match word >> 16 {
                $(code if (code & !3) == $code * 4 => $name { left, right },)*
                _ => Unknown(word),
            }
        }

        pub fn name(operation: Operation) -> &'static str {
            match operation {
                $($name { left: 0, right: 0 } => concat!(stringify!($name), " of nothing"),
                $name { left: 0..=15, right: 0..=15 } => concat!(stringify!($name), ", short"),
                $name { .. } => stringify!($name),)*
                Unknown(0) => "zero",
                Unknown(_) => "unknown",
            }
        }

        pub fn cost(operation: Operation, mode: Mode) -> u32 {
            match (operation, mode) {
                $(($name { left, right: 1..=127 }, Mode::Plain) => $code + left as u32,
                ($name { right, .. }, Mode::Traced { depth: 0 | 1 | 4..=9 }) => $code ^ right as u32,
                ($name { left: 7, .. }, Mode::Limited { strict: true, fuel }) => $code + fuel as u32,)*
                (Unknown(word), Mode::Limited { fuel: 0, .. }) => word,
                (_, Mode::Traced { depth }) => depth as u32,
                (_, Mode::Plain | Mode::Limited { .. }) => 1,
            }
        }

        /// Whether the second operation may directly follow the first. Arms that leave one operation
        /// open are weighed against every arm for the other.
        pub fn follows(first: Operation, second: Operation, mode: Mode) -> bool {
            match (first, second, mode) {
                $(($name { left: 0, .. }, $name { right: 0, .. }, _) => false,
                ($name { left: 1..=9, .. }, Unknown(1..=99), Mode::Plain) => true,
                (Unknown(99..), $name { right: 200.., .. }, Mode::Traced { depth: 1.. }) => true,
                ($name { left, .. }, $name { right, .. }, _) => left < right,)*
                (Unknown(first), Unknown(second), _) => first == second,
                $((_, $name { right: 128..=255, .. }, Mode::Traced { depth: 0..=99 }) => true,
                ($name { left: 100.., .. }, _, Mode::Limited { fuel: 0..=999, .. }) => false,)*
                (_, _, Mode::Limited { strict, .. }) => !strict,
                (_, _, Mode::Plain | Mode::Traced { .. }) => true,
            }
        }
    };
}

operations! {
    A0 0 A1 1 A2 2 A3 3 A4 4 A5 5 A6 6 A7 7 A8 8 A9 9
    B0 10 B1 11 B2 12 B3 13 B4 14 B5 15 B6 16 B7 17 B8 18 B9 19
    C0 20 C1 21 C2 22 C3 23 C4 24 C5 25 C6 26 C7 27 C8 28 C9 29
    D0 30 D1 31 D2 32 D3 33 D4 34 D5 35 D6 36 D7 37 D8 38 D9 39
    E0 40 E1 41 E2 42 E3 43 E4 44 E5 45 E6 46 E7 47 E8 48 E9 49
    F0 50 F1 51 F2 52 F3 53 F4 54 F5 55 F6 56 F7 57 F8 58 F9 59
    G0 60 G1 61 G2 62 G3 63 G4 64 G5 65 G6 66 G7 67 G8 68 G9 69
    H0 70 H1 71 H2 72 H3 73 H4 74 H5 75 H6 76 H7 77 H8 78 H9 79
    I0 80 I1 81 I2 82 I3 83 I4 84 I5 85 I6 86 I7 87 I8 88 I9 89
    J0 90 J1 91 J2 92 J3 93 J4 94 J5 95 J6 96 J7 97 J8 98 J9 99
    K0 100 K1 101 K2 102 K3 103 K4 104 K5 105 K6 106 K7 107 K8 108 K9 109
    L0 110 L1 111 L2 112 L3 113 L4 114 L5 115 L6 116 L7 117 L8 118 L9 119
    M0 120 M1 121 M2 122 M3 123 M4 124 M5 125 M6 126 M7 127 M8 128 M9 129
    N0 130 N1 131 N2 132 N3 133 N4 134 N5 135 N6 136 N7 137 N8 138 N9 139
    O0 140 O1 141 O2 142 O3 143 O4 144 O5 145 O6 146 O7 147 O8 148 O9 149
    P0 150 P1 151 P2 152 P3 153 P4 154 P5 155 P6 156 P7 157 P8 158 P9 159
}
