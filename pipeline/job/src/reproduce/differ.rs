//! Where two files differ: the first byte, and for ELF files the sections, which say more: paths
//! stand in `.debug_str` and `.rodata`, a time mostly in one small place, another order of
//! functions everywhere.

use std::collections::BTreeMap;
use std::path::Path;

use object::{Object as _, ObjectSection as _};
use serde::Serialize;

use dyno_base::error::{Result, WithContext};

/// Sections named at most.
const SECTIONS_MAX: usize = 6;

/// How a rebuilt file differs from the recorded one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Offset of the first byte that differs; the shorter length where one file begins like the
    /// other.
    pub offset: u64,
    /// ELF sections that differ in size or content, or that only one file has; in the order of
    /// names, at most six. Empty for what is not ELF.
    pub sections: Vec<String>,
}

impl Difference {
    /// The difference of the files `a` and `b`; `None` if they are equal.
    pub fn between_files(a: &Path, b: &Path) -> Result<Option<Self>> {
        let read_file =
            |path: &Path| std::fs::read(path).context(|| format!("reading {}", path.display()));
        Ok(Self::between_bytes(&read_file(a)?, &read_file(b)?))
    }

    fn between_bytes(a: &[u8], b: &[u8]) -> Option<Self> {
        if a == b {
            return None;
        }
        let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        let (a, b) = (sections(a), sections(b));
        let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
        let mut differing: Vec<String> =
            names.filter(|name| a.get(*name) != b.get(*name)).cloned().collect();
        differing.sort();
        differing.truncate(SECTIONS_MAX);
        Some(Self { offset: same as u64, sections: differing })
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "from byte {}", self.offset)?;
        match self.sections.as_slice() {
            [] => Ok(()),
            names => write!(f, ", in {}", names.join(" ")),
        }
    }
}

/// The content of each section of an ELF file by name. What is no ELF file, or a broken one, has
/// none.
fn sections(bytes: &[u8]) -> BTreeMap<String, &[u8]> {
    let Ok(file) = object::File::parse(bytes) else { return BTreeMap::new() };
    let mut sections = BTreeMap::new();
    for section in file.sections() {
        if let (Ok(name), Ok(data)) = (section.name_bytes(), section.data()) {
            sections.insert(String::from_utf8_lossy(name).into_owned(), data);
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyno_engine::PROBE;

    fn section_offset(name: &str) -> usize {
        let file = object::File::parse(PROBE).unwrap();
        let section = file.section_by_name(name).unwrap();
        section.file_range().unwrap().0 as usize
    }

    #[test]
    fn first_byte_and_sections() {
        assert_eq!(Difference::between_bytes(PROBE, PROBE), None);
        let (text, data) = (section_offset(".text"), section_offset(".rodata"));
        let mut changed = PROBE.to_vec();
        changed[text + 16] ^= 1;
        let difference = Difference::between_bytes(PROBE, &changed).unwrap();
        assert_eq!(
            (difference.offset, difference.sections.as_slice()),
            (text as u64 + 16, &[".text".to_string()][..])
        );
        changed[data + 1] ^= 1;
        let difference = Difference::between_bytes(PROBE, &changed).unwrap();
        assert_eq!(
            difference.to_string(),
            format!(
                "from byte {}, in .rodata .text",
                text.min(data) + if text < data { 16 } else { 1 }
            )
        );

        let cases: [(&[u8], &[u8], u64); 3] =
            [(b"abc", b"abd", 2), (b"ab", b"abc", 2), (b"", b"x", 0)];
        for (a, b, offset) in cases {
            let difference = Difference::between_bytes(a, b).unwrap();
            assert_eq!((difference.offset, difference.sections.len()), (offset, 0));
        }
        // Cut in half it is no ELF file that could be read, and that is no error.
        assert!(Difference::between_bytes(PROBE, &PROBE[..PROBE.len() / 2]).is_some());
    }
}
