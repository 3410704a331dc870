//! Sizes of what a process wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dyno_probe::{SizeQuery, SizedFiles};
use object::elf::SHF_ALLOC;
use object::read::archive::ArchiveFile;
use object::{Object as _, ObjectSection as _, ReadCache, ReadRef, SectionFlags};

/// Sizes in bytes, by the names of `queries`; what has no file has no entry.
pub fn read(queries: &BTreeMap<String, SizeQuery>) -> BTreeMap<String, u64> {
    let size = |(name, query): (&String, &SizeQuery)| Some((name.clone(), size(query)?));
    queries.iter().filter_map(size).collect()
}

fn size(query: &SizeQuery) -> Option<u64> {
    let mut sum = None;
    let mut add = |bytes: u64| *sum.get_or_insert(0) += bytes;
    let is_deep =
        matches!(query.files, SizedFiles::All | SizedFiles::Suffix(_) | SizedFiles::Archived);
    // Cargo and incremental caches link the same file into several folders.
    let mut seen = BTreeSet::new();
    let mut folders = vec![Path::new(&query.folder).to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // Of the entry itself: no link is followed.
            let Ok(found) = entry.metadata() else { continue };
            let (path, name) = (entry.path(), entry.file_name());
            if found.is_dir() && is_deep {
                folders.push(path.clone());
            }
            if !found.is_file() || !seen.insert((found.dev(), found.ino())) {
                continue;
            }
            let bytes = match &query.files {
                SizedFiles::All => Some(found.len()),
                SizedFiles::Suffix(suffix) => {
                    name.to_string_lossy().ends_with(suffix.as_str()).then_some(found.len())
                }
                SizedFiles::Executable => (found.mode() & 0o111 != 0).then_some(found.len()),
                SizedFiles::Objects => archived_bytes(&path).or_else(|| linked_bytes(&path)),
                SizedFiles::Archived => archived_bytes(&path),
            };
            bytes.into_iter().for_each(&mut add);
        }
    }
    sum
}

/// [`loaded_bytes`] of all object files in a Unix archive; `None` for what is none.
fn archived_bytes(path: &Path) -> Option<u64> {
    let cache = ReadCache::new(File::open(path).ok()?);
    let archive = ArchiveFile::parse(&cache).ok()?;
    let members = archive.members().flatten().map(|member| member.file_range());
    Some(members.filter_map(|(offset, size)| loaded_bytes(cache.range(offset, size))).sum())
}

/// [`loaded_bytes`] of a program or library that was linked.
fn linked_bytes(path: &Path) -> Option<u64> {
    loaded_bytes(&ReadCache::new(File::open(path).ok()?))
}

/// What `size` calls text and data, in bytes: the sections that are loaded. `None` for what is no
/// ELF file: metadata, text, a damaged file.
fn loaded_bytes<'a>(file: impl ReadRef<'a>) -> Option<u64> {
    let file = object::File::parse(file).ok()?;
    let is_loaded =
        |flags| matches!(flags, SectionFlags::Elf { sh_flags, .. } if sh_flags.contains(SHF_ALLOC));
    // What is zero in memory at first (`bss`) has no range in the file.
    let bytes = file.sections().filter(|section| is_loaded(section.flags()));
    Some(bytes.filter_map(|section| Some(section.file_range()?.1)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::ObjectSegment as _;
    use std::os::unix::fs::PermissionsExt;

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, content) in members {
            let header = format!("{name:<16}{:<32}{:<10}`\n", 0, content.len());
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(content);
            bytes.extend(std::iter::repeat_n(b'\n', content.len() % 2));
        }
        bytes
    }

    #[test]
    fn sizes_by_kind() {
        let folder = std::env::temp_dir().join(format!("dyno-sizes-{}", std::process::id()));
        fs::create_dir_all(folder.join("deep/er")).unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
        write("libx.rlib", b"library");
        write("libx.rmeta", b"meta");
        write("x", b"program");
        write("deep/er/cache", b"123");
        fs::set_permissions(folder.join("x"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("x", folder.join("link.rmeta.not")).unwrap();
        let size = |files| size(&SizeQuery { folder: folder.display().to_string(), files });
        let suffix = |text: &str| size(SizedFiles::Suffix(text.into()));
        assert_eq!(size(SizedFiles::Objects), None);
        assert_eq!(size(SizedFiles::Executable), Some(7));
        assert_eq!(suffix(".rmeta"), Some(4));
        assert_eq!(suffix(".rlib"), Some(7));
        assert_eq!(suffix(".so"), None);
        fs::hard_link(folder.join("deep/er/cache"), folder.join("deep/again")).unwrap();
        write("deep/liby.rmeta", b"more");
        fs::hard_link(folder.join("deep/liby.rmeta"), folder.join("liby.rmeta")).unwrap();
        assert_eq!(suffix(".rmeta"), Some(4 + 4));
        assert_eq!(size(SizedFiles::All), Some(7 + 4 + 7 + 3 + 4));
        fs::remove_dir_all(&folder).unwrap();
    }

    /// What is loaded, by the table that the kernel loads from: it has all of those sections, and
    /// little else (its own head, and what lies between).
    #[test]
    fn object_code() {
        let program = std::env::current_exe().unwrap();
        let bytes = fs::read(&program).unwrap();
        let file = object::File::parse(&*bytes).unwrap();
        let by_kernel: u64 = file.segments().map(|segment| segment.file_range().1).sum();
        let found = linked_bytes(&program).unwrap();
        assert!(found <= by_kernel && found * 10 > by_kernel * 9, "{found} of {by_kernel}");
        assert!(found < bytes.len() as u64, "without the table of symbols: {found}");

        let folder = std::env::temp_dir().join(format!("dyno-objects-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("libx.rlib");
        let members: [(&str, &[u8]); 4] =
            [("/", b"abc"), ("lib.rmeta/", b"12345"), ("a.o/", &bytes), ("b.o/", &bytes)];
        let whole = archive(&members);
        fs::write(&path, &whole).unwrap();
        assert_eq!(archived_bytes(&path), Some(2 * found));
        // Cut within the second object: it has no table of sections.
        fs::write(&path, &whole[..whole.len() - bytes.len() / 2]).unwrap();
        assert_eq!(archived_bytes(&path), Some(found));
        fs::write(&path, archive(&members[..2])).unwrap();
        assert_eq!(archived_bytes(&path), Some(0));
        assert_eq!((archived_bytes(&program), linked_bytes(&path)), (None, None));
        fs::remove_dir_all(&folder).unwrap();
    }
}
