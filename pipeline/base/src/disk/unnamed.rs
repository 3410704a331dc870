//! Files that take place on a disk without a name: removed, and still held by a process.
//!
//! Whoever walks through folders does not see them. They are found with their holders: the processes
//! which have the folders mounted, as a build in a container has, their descriptors and their
//! mappings (proc(5)). Where this user may not look at those of another, nothing is found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::FILE_BYTES;

/// Bytes that files without a name take on the disks of `folders`, held by processes that have one
/// of these mounted in a mount namespace of their own.
pub fn bytes_without_name(folders: &[PathBuf]) -> u64 {
    let device = |folder: &PathBuf| Some(fs::metadata(folder).ok()?.dev());
    let devices: BTreeSet<u64> = folders.iter().filter_map(device).collect();
    let namespace = |process: &Path| Some(fs::metadata(process.join("ns/mnt")).ok()?.ino());
    let own = namespace(Path::new("/proc/self"));
    // Namespace → whether a folder is mounted there: processes share them.
    let mut known: BTreeMap<u64, bool> = own.map(|own| (own, false)).into_iter().collect();
    let (mut seen, mut sum) = (BTreeSet::new(), 0_u64);
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.map(|entry| entry.path()) {
        let Some(namespace) = namespace(&process) else { continue };
        if !*known.entry(namespace).or_insert_with(|| has_mounted(&process, folders)) {
            continue;
        }
        let held = ["fd", "map_files"].map(|kind| fs::read_dir(process.join(kind)));
        for entry in held.into_iter().flatten().flatten().flatten() {
            // Of what the link leads to.
            let Ok(found) = fs::metadata(entry.path()) else { continue };
            let is_counted = found.nlink() == 0 && devices.contains(&found.dev());
            if is_counted && seen.insert((found.dev(), found.ino())) {
                sum = sum.saturating_add((found.blocks() * 512).max(FILE_BYTES));
            }
        }
    }
    sum
}

/// Whether one of `folders` is mounted for a process. A mount is known by where it lies on its disk,
/// which may be mounted elsewhere itself: the last two names of a work folder are its own.
fn has_mounted(process: &Path, folders: &[PathBuf]) -> bool {
    let Ok(mounts) = fs::read_to_string(process.join("mountinfo")) else { return false };
    let end_of = |folder: &PathBuf| -> Option<PathBuf> {
        Some(Path::new(folder.parent()?.file_name()?).join(folder.file_name()?))
    };
    let ends: Vec<PathBuf> = folders.iter().filter_map(end_of).collect();
    let root = |line: &str| line.split(' ').nth(3).map(PathBuf::from);
    mounts.lines().filter_map(root).any(|root| ends.iter().any(|end| root.ends_with(end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_removed_file_counts_while_somebody_inside_holds_it() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let [build, inside] = ["build", "inside"].map(|name| folder.path().join(name));
        for folder in [&build, &inside] {
            fs::create_dir(folder).unwrap();
        }
        let script = r#"mount --bind "$0" "$1" && exec 3>"$1/file" && rm "$1/file" &&
            head -c 3000000 /dev/zero >&3 && sync && echo held && exec sleep 20"#;
        let mut holder = Command::new("unshare");
        holder.args(["-m", "sh", "-c", script]).args([&build, &inside]);
        let mut holder = holder.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 4];
        let begun = std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said);
        let held = || bytes_without_name(std::slice::from_ref(&build));
        if begun.is_ok() {
            assert!((3_000_000..6_000_000).contains(&held()), "{}", held());
            assert_eq!(bytes_without_name(&[folder.path().join("other")]), 0);
        } else {
            eprintln!("skipped: needs root: nobody else can mount");
        }
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert_eq!(held(), 0);
    }
}
