//! Which commit a name means: refs and ids of a git repository, and releases of a crate from a
//! registry on loopback that Cargo's own configuration names.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dyno_model::id::Digest;

use crate::world::{BUILD, Told, World, check, embedded, git, serve};

#[test]
fn names_of_commits() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let target = world.path().join("target");
    let first = git(&target, &["rev-parse", "v1"]);
    let second = git(&target, &["rev-parse", "v2"]);
    git(&target, &["tag", "-a", "-m", "x", "annotated", "v1"]);
    git(&target, &["branch", "feature/x", "v1"]);
    // Names that are several things, or look like something else.
    git(&target, &["branch", "both", "v2"]);
    git(&target, &["tag", "both", "v1"]);
    git(&target, &["branch", "deadbeef", "v2"]);
    let plan = |name: &str| world.dyno(&["run", "made", "--plan", "--json", "--", name, "v2"]);
    for (name, commit) in [
        ("v1", &first),
        ("main", &second),
        ("HEAD", &second),
        ("refs/heads/feature/x", &first),
        ("annotated", &first),
        ("feature/x", &first),
        (first.as_str(), &first),
        ("both", &first),
        ("deadbeef", &second),
        (&first[..9], &first),
        ("HEAD~1", &first),
        ("@", &second),
        ("main^{commit}", &second),
    ] {
        let told = plan(name);
        assert_eq!(told.code, Some(0), "{name}: {told:?}");
        let planned: serde_json::Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!(planned["jobs"][0]["inputs"]["baseline"], **commit, "{name}");
    }
    let absent = "1".repeat(40);
    for (name, parts) in [
        ("nope", &["\"nope\" is no commit of [world]/target", "`git rev-parse`"][..]),
        ("mian", &["\"mian\" is no commit of", "did you mean `main`? Or give what"]),
        ("feature", &["did you mean `feature/x`?"]),
        (&absent, &["has no commit 1111", "that was pushed"]),
        ("--upload-pack=touch x", &["is no commit of"]),
        ("--output=/tmp/x", &["is no commit of"]),
        ("HEAD~100", &["is no commit of"]),
        ("v1..v2", &["is no commit of"]),
        ("v1:build", &["is no commit of"]),
        ("*", &["is no commit of"]),
        ("", &["is no commit of"]),
        ("\u{1b}[2J", &["is no commit of", "\\u{1b}[2J"]),
    ] {
        let told = plan(name);
        assert_eq!(told.code, Some(2), "{name}: {told:?}");
        for part in parts {
            assert!(told.err.contains(part), "{name}: no {part:?} in {}", told.err);
        }
    }
    let told = world.dyno(&["run", "made", "nope", "neither"]);
    assert!(told.err.contains("\"nope\"") && told.err.contains("\"neither\""), "both: {told:?}");
    world.edit("suites/made/suite.toml", "../../target", "../../hosts");
    let told = plan("v1");
    check(&told, 2, &["there is no git repository in [world]/hosts", "`git status` works in"]);
    world.edit("suites/made/suite.toml", "../../hosts", "../../gone");
    let told = plan("v1");
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(told.err.contains("no repository at"), "{told:?}");
}

/// A commit names filters; which programs those are, this machine's configuration of git would say.
#[test]
fn no_filter_of_this_machine_runs_for_a_commit() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let (target, canary) = (world.path().join("target"), world.path().join("canary"));
    let filter = format!("touch {}; cat", canary.display());
    world.write(
        ".gitconfig",
        &format!("[filter \"evil\"]\nsmudge = \"{filter}\"\nclean = \"{filter}\"\n"),
    );
    world.write("target/.gitattributes", "* filter=evil\n");
    world.commit("filtered", BUILD, "print hello\n");
    let told = world.dyno(&["run", "made", "v1", "filtered", "--rounds", "1"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(!canary.exists());
    // Who obeys that configuration runs it.
    let mut plain = std::process::Command::new("git");
    plain.args(["clone", "--quiet"]).arg(&target).arg(world.path().join("clone"));
    plain.env("HOME", world.path()).env_remove("GIT_CONFIG_GLOBAL").env_remove("XDG_CONFIG_HOME");
    assert!(plain.status().unwrap().success());
    assert!(canary.exists());
}

/// A `.crate`: a gzipped tar with the two scripts of a target.
fn archive(version: &str, program: &str) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    for (name, text) in [("build", BUILD), ("program", program)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        let path = format!("made-up-{version}/{name}");
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// Points Cargo's configuration at a sparse registry with two releases of `made-up`, whose second
/// archive is `served`.
fn with_registry(world: &World, served: Vec<u8>) {
    registry(world, &archive("0.2.0", "print hello\n\n"), served);
}

/// Makes the target of `world` a crate with the releases 0.1.0 and 0.2.0, the latter being `program`.
pub fn with_releases(world: &World, program: &str) {
    world.edit("suites/made/suite.toml", "git = \"../../target\"", "crate = \"made-up\"");
    let second = archive("0.2.0", program);
    registry(world, &second, second.clone());
}

fn registry(world: &World, second: &[u8], served: Vec<u8>) {
    let files = |address: &str| {
        let line = |version: &str, archive: &[u8]| {
            let checksum = Digest::of(archive);
            let entry = serde_json::json!({"name": "made-up", "vers": version, "deps": [],
                "cksum": checksum.hex(), "features": {}, "yanked": false});
            format!("{entry}\n")
        };
        let index = line("0.1.0", &archive("0.1.0", "print hello\n")) + &line("0.2.0", second);
        let config =
            serde_json::json!({"dl": format!("http://{address}/dl/{{crate}}-{{version}}")});
        HashMap::from([
            ("/config.json".to_string(), config.to_string().into_bytes()),
            ("/ma/de/made-up".to_string(), index.into_bytes()),
            ("/dl/made-up-0.1.0".to_string(), archive("0.1.0", "print hello\n")),
            ("/dl/made-up-0.2.0".to_string(), served),
        ])
    };
    let address = serve(files, Arc::new(AtomicBool::new(false)));
    std::fs::create_dir_all(world.path().join(".cargo")).unwrap();
    let text = format!(
        "[source.crates-io]\nreplace-with = \"here\"\n[source.here]\nregistry = \"sparse+http://{address}/\"\n"
    );
    world.write(".cargo/config.toml", &text);
}

fn dyno(world: &World, words: &[&str]) -> Told {
    let mut command = world.command(words);
    // Nothing but git: dyno itself reads what Cargo is told, and needs no Cargo.
    command.env("CARGO_HOME", world.path().join(".cargo")).env("PATH", "/usr/bin:/bin");
    world.told(command)
}

#[test]
fn releases_of_a_crate() {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.edit("suites/made/suite.toml", "git = \"../../target\"", "crate = \"made-up\"");
    // A registry that gives other bytes than its index says.
    with_registry(&world, archive("0.2.0", "print evil\n"));
    let told = dyno(&world, &["run", "made", "0.1.0", "0.2.0"]);
    assert_eq!(told.code, Some(4), "{told:?}");
    for part in ["made-up 0.2.0 has the checksum", "but the index says", "nothing of them was used"]
    {
        assert!(told.err.contains(part), "{told:?}");
    }
    // Mended, in the cache that saw the wrong bytes and in one of another machine.
    with_registry(&world, archive("0.2.0", "print hello\n\n"));
    let mut commits = Vec::new();
    for (cache, asked) in [("cache", ["0.1.0", "0.2.0"]), ("other", ["v0.1.0", "v0.2.0"])] {
        let told = dyno(
            &world,
            &["--cache", cache, "run", "made", "--plan", "--json", asked[0], asked[1]],
        );
        assert_eq!(told.code, Some(0), "{told:?}");
        let plan: serde_json::Value = serde_json::from_str(&told.out).unwrap();
        let inputs = &plan["jobs"][0]["inputs"];
        commits.push((inputs["baseline"].clone(), inputs["candidate"].clone()));
    }
    assert_eq!(commits[0], commits[1], "a release has one commit id on every machine");
    assert_ne!(commits[0].0, commits[0].1);
    let told = dyno(&world, &["run", "made", "0.1.0", "0.2.0", "--rounds", "1"]);
    assert_eq!(told.code, Some(0), "{told:?}");

    let told = dyno(&world, &["run", "made", "0.1.0", "9.9.9"]);
    assert_eq!(told.code, Some(2), "{told:?}");
    for part in ["made-up has no release \"9.9.9\"", "its newest releases are 0.2.0, 0.1.0"] {
        assert!(told.err.contains(part), "{told:?}");
    }
    let told = dyno(&world, &["run", "made", "0.1.0", "0.2"]);
    check(&told, 2, &["did you mean `0.2.0`? its newest releases are 0.2.0, 0.1.0"]);
    world.edit("suites/made/suite.toml", "crate = \"made-up\"", "crate = \"made-down\"");
    let told = dyno(&world, &["run", "made", "0.1.0", "0.2.0"]);
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(told.err.contains("the registry has no crate made-down"), "{told:?}");
}
