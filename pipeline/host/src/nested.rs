//! cgroup v2 inside a container. There the top of the hierarchy is a cgroup like any other: it has
//! processes or gives controllers to its children, not both (the rule of no internal processes,
//! `Documentation/admin-guide/cgroup-v2.rst`). So what runs at the top moves into a leaf, as other
//! runtimes within containers do it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The leaf that takes the processes of the top.
const LEAF: &str = "dyno-leaf";

/// Processes that start while others move are moved too, in so many attempts.
const ATTEMPTS_MAX: u32 = 10;

/// Gives `controllers` to the children of the cgroup at `top`.
///
/// # Errors
/// What is missing and what helps, in words.
pub fn give_controllers(top: &Path, controllers: &[&str]) -> Result<(), String> {
    let read = |file: &str| {
        let path = top.join(file);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let offered = read("cgroup.controllers")?;
    let has = |text: &str, name: &str| text.split_whitespace().any(|word| word == name);
    let missing: Vec<&str> =
        controllers.iter().copied().filter(|name| !has(&offered, name)).collect();
    if !missing.is_empty() {
        return Err(format!(
            "{} does not offer {}; start the container with --privileged or --cgroupns=host, or the unit with Delegate=yes",
            top.display(),
            missing.join(", ")
        ));
    }
    // The true top of the hierarchy has no type, and may have both.
    let is_inner = top.join("cgroup.type").exists();
    for name in controllers {
        for attempt in 0.. {
            if has(&read("cgroup.subtree_control")?, name) {
                break;
            }
            // Before any is given: with the first of those that threads may have, a top that has
            // processes would take no other kind any more.
            if is_inner && !read("cgroup.procs")?.is_empty() {
                move_to_leaf(top)?;
            }
            match write(&top.join("cgroup.subtree_control"), &format!("+{name}")) {
                Ok(()) => break,
                Err(error)
                    if error.kind() == io::ErrorKind::ResourceBusy && attempt < ATTEMPTS_MAX =>
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(explained(top, &error)),
            }
        }
    }
    Ok(())
}

/// Moves the processes of the cgroup at `top` into its leaf.
fn move_to_leaf(top: &Path) -> Result<(), String> {
    let leaf = top.join(LEAF);
    make(&leaf).map_err(|error| explained(top, &error))?;
    for id in fs::read_to_string(top.join("cgroup.procs")).unwrap_or_default().lines() {
        match write(&leaf.join("cgroup.procs"), id) {
            // It has ended meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(explained(top, &error)),
            Ok(()) => {}
        }
    }
    Ok(())
}

fn explained(top: &Path, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "it is mounted read-only; start the container with --privileged"
        }
        io::ErrorKind::ResourceBusy => {
            "processes that cannot be moved run at its top; start the container with --cgroupns=host"
        }
        _ => "start the container with --privileged",
    };
    format!("no cgroups can be made at {}: {error}: {what}", top.display())
}

/// Makes a cgroup, unless it is there.
pub(crate) fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Writes one value at once. No file is made: a cgroup's files are all there.
pub(crate) fn write(path: &Path, value: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    io::Write::write_all(&mut file, value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A hierarchy of cgroup v2 that is there until it is dropped.
    struct Hierarchy(tempfile::TempDir);

    impl Hierarchy {
        fn mount() -> Option<Self> {
            let folder = tempfile::tempdir().unwrap();
            let mut mount = Command::new("mount");
            mount.args(["-t", "cgroup2", "none"]).arg(folder.path());
            let is_mounted = mount.stderr(std::process::Stdio::null()).status().ok()?.success();
            is_mounted.then_some(Self(folder))
        }
    }

    impl Drop for Hierarchy {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.0.path()).status();
        }
    }

    /// The kernel's own answers, in a cgroup that holds a process, as a container's top does. Needs
    /// root, and a controller that no hierarchy of v1 has.
    #[test]
    fn what_runs_at_the_top_moves_into_a_leaf() {
        let Some(hierarchy) = Hierarchy::mount() else { return };
        let offered = fs::read_to_string(hierarchy.0.path().join("cgroup.controllers")).unwrap();
        // Those that threads may have too are given without asking for room.
        let is_of_processes = |name: &&str| ["memory", "io", "hugetlb", "rdma"].contains(name);
        let Some(controller) = offered.split_whitespace().find(is_of_processes) else { return };
        give_controllers(hierarchy.0.path(), &[controller]).unwrap();
        let top = hierarchy.0.path().join(format!("dyno-test-{}", std::process::id()));
        fs::create_dir(&top).unwrap();
        let mut inhabitant = Command::new("sleep").arg("60").spawn().unwrap();
        write(&top.join("cgroup.procs"), &inhabitant.id().to_string()).unwrap();
        let refusal = write(&top.join("cgroup.subtree_control"), &format!("+{controller}"));
        assert_eq!(refusal.unwrap_err().kind(), io::ErrorKind::ResourceBusy);

        let given = [give_controllers(&top, &[controller]), give_controllers(&top, &[controller])];
        let text = |file: &str| fs::read_to_string(top.join(file)).unwrap().trim().to_string();
        let seen =
            (text("cgroup.procs"), text("dyno-leaf/cgroup.procs"), text("cgroup.subtree_control"));
        let absent = give_controllers(&top, &["none-such"]).unwrap_err();
        inhabitant.kill().unwrap();
        inhabitant.wait().unwrap();
        fs::remove_dir(top.join(LEAF)).unwrap();
        fs::remove_dir(&top).unwrap();
        assert_eq!(given, [Ok(()), Ok(())]);
        assert_eq!(seen, (String::new(), inhabitant.id().to_string(), controller.to_string()));
        assert!(absent.contains("does not offer none-such; start the container with"), "{absent}");
    }

    #[test]
    fn what_cannot_be_written_says_what_helps() {
        let read_only = io::Error::from_raw_os_error(libc::EROFS);
        assert_eq!(
            explained(Path::new("/sys/fs/cgroup"), &read_only),
            "no cgroups can be made at /sys/fs/cgroup: Read-only file system (os error 30): it is mounted read-only; start the container with --privileged"
        );
    }
}
