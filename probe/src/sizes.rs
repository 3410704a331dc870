//! Sizes of what a process wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dyno_probe::{Sized, SizedFiles};

/// In bytes, by name; what has no file has no entry.
pub fn read(asked: &BTreeMap<String, Sized>) -> BTreeMap<String, u64> {
    let size = |(name, sized): (&String, &Sized)| Some((name.clone(), size(sized)?));
    asked.iter().filter_map(size).collect()
}

fn size(sized: &Sized) -> Option<u64> {
    let mut sum = None;
    let mut add = |bytes: u64| *sum.get_or_insert(0) += bytes;
    // Incremental caches link the same file into several folders.
    let mut seen = BTreeSet::new();
    let mut folders = vec![Path::new(&sized.folder).to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // Of the entry itself: no link is followed.
            let Ok(found) = entry.metadata() else { continue };
            let (path, name) = (entry.path(), entry.file_name());
            let executable = |found: &Metadata| found.mode() & 0o111 != 0;
            match &sized.of {
                SizedFiles::All if found.is_dir() => folders.push(path),
                SizedFiles::All if found.is_file() && seen.insert((found.dev(), found.ino())) => {
                    add(found.len());
                }
                SizedFiles::Suffix(suffix) if name.to_string_lossy().ends_with(suffix.as_str()) => {
                    add(found.len());
                }
                SizedFiles::Executable if found.is_file() && executable(&found) => add(found.len()),
                SizedFiles::Objects if found.is_file() => {
                    if let Some(bytes) = objects(&path) {
                        add(bytes);
                    }
                }
                _ => {}
            }
        }
    }
    sum
}

/// Sizes of the members of a Unix archive that are neither its tables nor Rust's metadata together;
/// `None` for what is no archive. (ar(5): 8 bytes of magic; each member has a header of 60 bytes
/// with its name in the first 16 and its size in decimal at 48, and is padded to an even length.)
fn objects(path: &Path) -> Option<u64> {
    let mut file = File::open(path).ok()?;
    let mut magic = [0; 8];
    file.read_exact(&mut magic).ok()?;
    if &magic != b"!<arch>\n" {
        return None;
    }
    let mut sum = 0;
    while let Some((name, size)) = member(&mut file).ok()? {
        let is_table = name.is_empty() || ["/", "/SYM64"].contains(&name.as_str());
        // GNU names end with a slash; long ones stand in a table, where an object's always does.
        if !is_table && name != "lib.rmeta" && name != "//" {
            sum += size;
        }
        file.seek(SeekFrom::Current(i64::try_from(size + size % 2).ok()?)).ok()?;
    }
    Some(sum)
}

fn member(file: &mut File) -> io::Result<Option<(String, u64)>> {
    let mut header = [0; 60];
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&header[range]).into_owned();
    let name = text(0..16).trim_end().to_string();
    let size = text(48..58).trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
    let table = name.starts_with('/');
    Ok(Some((if table { name } else { name.trim_end_matches('/').to_string() }, size)))
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let members: [(&str, &[u8]); 5] = [
            ("/", b"abc"),
            ("//", b"long"),
            ("lib.rmeta/", b"12345"),
            ("/0", b"object"),
            ("b.o/", b"x"),
        ];
        let rlib = archive(&members);
        write("libx.rlib", &rlib);
        write("libx.rmeta", b"meta");
        write("x", b"program");
        write("deep/er/cache", b"123");
        fs::set_permissions(folder.join("x"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("x", folder.join("link.rmeta.not")).unwrap();
        let size = |of| size(&Sized { folder: folder.display().to_string(), of });
        let suffix = |text: &str| size(SizedFiles::Suffix(text.into()));
        assert_eq!(size(SizedFiles::Objects), Some(7));
        assert_eq!(size(SizedFiles::Executable), Some(7));
        assert_eq!(suffix(".rmeta"), Some(4));
        assert_eq!(suffix(".rlib"), Some(rlib.len() as u64));
        assert_eq!(suffix(".so"), None);
        fs::hard_link(folder.join("deep/er/cache"), folder.join("deep/again")).unwrap();
        assert_eq!(size(SizedFiles::All), Some(rlib.len() as u64 + 4 + 7 + 3));
        fs::remove_dir_all(&folder).unwrap();
    }
}
