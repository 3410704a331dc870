//! The units of systemd in `hosts/systemd/`: systemd takes them, and dyno takes their commands.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::world::{World, skip};

/// Where the units say that dyno is.
const PROGRAM: &str = "/usr/local/bin/dyno";

/// Name and text of each unit.
fn units() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hosts/systemd");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_string();
    let mut units: Vec<_> =
        entries.map(|path| (name(&path), fs::read_to_string(path).unwrap())).collect();
    units.sort();
    units
}

#[test]
fn systemd_takes_every_unit() {
    let has_systemd = Command::new("systemd-analyze").arg("--version").output();
    if !has_systemd.is_ok_and(|output| output.status.success()) {
        return skip("systemd", "there is no systemd-analyze");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify");
    for (name, text) in units() {
        assert_eq!(text.contains(PROGRAM), name.ends_with(".service"), "{name}");
        let file = folder.path().join(&name);
        fs::write(&file, text.replace(PROGRAM, env!("CARGO_BIN_EXE_dyno"))).unwrap();
        verify.arg(file);
    }
    let verified = verify.output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    // It says of a key that it does not know, and goes on.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("dyno-")).collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn every_command_of_an_agent_is_one_and_ends_in_time() {
    let world = World::bare();
    let mut agents = 0;
    for (name, text) in units().iter().filter(|(name, _)| name.starts_with("dyno-agent")) {
        for line in text.lines().filter_map(|line| line.strip_prefix("ExecStart=")) {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(words[0], PROGRAM, "{name}");
            let words: Vec<&str> =
                words[1..].iter().map(|w| if *w == "${DYNO_HOST}" { "local" } else { w }).collect();
            let agent = world.until(&words, "local takes jobs from");
            agent.signal(libc::SIGTERM);
            // `end` gives up long before the five minutes of TimeoutStopSec.
            assert_eq!(agent.end().0, Some(0), "{name}");
            assert!(text.contains("TimeoutStopSec=5min") && text.contains("KillMode=mixed"));
            agents += 1;
        }
    }
    assert_eq!(agents, 2);
}
