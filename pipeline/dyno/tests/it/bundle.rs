//! Commits that only the requester has: they travel as a bundle in the store, or are refused.

use std::fs;
use std::path::{Path, PathBuf};

use dyno_model::id::Digest;

use crate::agent::catalog_beside;
use crate::world::{BUILD, Told, World, check, embedded, git, names};

/// Asks for a comparison with `v1`; what dyno says.
fn ask(world: &World, candidate: &str, more: &[&str]) -> Told {
    let words = [&["request", "made", "v1", candidate, "--rounds", "2"], more].concat();
    world.dyno(&words)
}

fn asked(told: &Told, parts: &[&str]) {
    assert_eq!(told.code, Some(0), "{told:?}");
    let text = format!("{}{}", told.out, told.err);
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {told:?}");
    }
}

/// An agent of another machine: of another catalog, with a cache of its own.
fn agent_far_away(world: &World, catalog: &Path) -> Told {
    let mut agent = world.command(&["agent", "--once", "--poll", "1", "--lease", "4"]);
    agent.env("DYNO_CATALOG", catalog).env("DYNO_CACHE", world.path().join("cache-far-away"));
    world.told(agent)
}

fn bundles(world: &World) -> Vec<PathBuf> {
    let folder = world.path().join("store/queue/bundles");
    names(&folder, "").iter().map(|name| folder.join(name)).collect()
}

/// The repository is where no host can reach it, and in the end nowhere.
#[test]
fn what_only_the_requester_has_is_measured_by_others() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let catalog = catalog_beside(&world);
    asked(&ask(&world, "v2", &[]), &["the commits travel in a bundle of", " asked, 1 job"]);
    let second = git(&world.path().join("target"), &["rev-parse", "v2"]);
    // Asking twice is asking once, also for the bundle.
    let again = ask(&world, &second, &[]);
    asked(&again, &[" asked before, 1 job"]);
    assert!(!again.err.contains("bundle"), "{again:?}");
    assert_eq!(bundles(&world).len(), 1);
    world.write("target/program", "print hello\n\n");
    asked(
        &ask(&world, ".", &["--untrusted"]),
        &["is measured as it is, as commit", " asked, 1 job"],
    );
    assert_eq!(bundles(&world).len(), 2);
    let tree = world.dyno(&["run", "made", "v1", ".", "--plan", "--json"]);
    let tree: serde_json::Value = serde_json::from_str(&tree.out).unwrap();
    let tree = tree["jobs"][0]["inputs"]["candidate"].as_str().unwrap().to_string();

    fs::rename(world.path().join("target"), world.path().join("hidden")).unwrap();
    let agent = agent_far_away(&world, &catalog);
    asked(&agent, &[": done"]);
    assert_eq!(agent.err.matches(": done").count(), 2, "{agent:?}");
    let listed = world.dyno(&["store", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    let run = |n: usize| {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_string();
        let run = &listed[n];
        (text(&run["candidate"]["asked"]), text(&run["candidate"]["commit"]), text(&run["trust"]))
    };
    let mut runs = [run(0), run(1)];
    runs.sort();
    let expected = [
        (".".to_string(), tree, "untrusted".to_string()),
        (second.clone(), second, "trusted".to_string()),
    ];
    assert_eq!(runs, expected, "a work tree is marked");
    assert_eq!(names(&world.path().join("cache-far-away/scratch"), ""), [""; 0]);
}

/// What is too large, or more than a bundle has, is refused before anything is asked.
#[test]
fn what_cannot_travel_is_refused_at_once() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let noise: String =
        (0..40_000).map(|n: u32| Digest::of(&n.to_le_bytes()).hex().to_string()).collect();
    fs::write(world.path().join("target/noise"), noise).unwrap();
    world.commit("v3", BUILD, "print hello\n");
    check(
        &ask(&world, "v3", &["--bundle-max", "1"]),
        2,
        &["a bundle of these commits has 1.", "MiB, and 1.00 MiB is the most", "--bundle-max MIB"],
    );
    check(
        &ask(&world, ".", &["--bundle-max", "0"]),
        2,
        &["`.` is in no repository: other hosts cannot get it", "leave out `--bundle-max 0`"],
    );
    check(&ask(&world, "v2", &["--bundle-max", "1025"]), 2, &["1025 is not in 0..=1024"]);
    let suite = "suites/made/suite.toml";
    for key in ["submodules", "lfs"] {
        world.edit(
            suite,
            "git = \"../../target\"\n",
            &format!("git = \"../../target\"\n{key} = true\n"),
        );
        let why = format!("the suite made has `{key} = true`: a bundle has none of that");
        check(&ask(&world, "v2", &[]), 2, &[&why, "--bundle-max 0"]);
        world.edit(suite, &format!("{key} = true\n"), "");
    }
    assert_eq!(bundles(&world), [""; 0].map(PathBuf::from));
    asked(&world.dyno(&["queue"]), &["nothing is open"]);
    // A path that each host has needs none.
    let on_path = ask(&world, "v3", &["--bundle-max", "0"]);
    asked(&on_path, &[" asked, 1 job"]);
    assert!(!on_path.err.contains("bundle") && bundles(&world).is_empty(), "{on_path:?}");
    asked(&world.dyno(&["agent", "--once", "--poll", "1", "--lease", "4"]), &[": done"]);
}

/// A bundle that is damaged, gone, or of other commits fails the request that names it, once and for
/// all hosts; the queue goes on.
#[test]
fn a_bad_bundle_fails_its_request_alone() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let catalog = catalog_beside(&world);
    let bundle_of = |tag: &str| {
        world.commit(tag, BUILD, &format!("print hello\n# {tag}\n"));
        let before = bundles(&world);
        asked(&ask(&world, tag, &["--priority", "9"]), &[" asked, 1 job"]);
        let new = bundles(&world).into_iter().find(|bundle| !before.contains(bundle));
        new.unwrap()
    };
    let (damaged, gone, other, good) =
        (bundle_of("v3"), bundle_of("v4"), bundle_of("v5"), bundle_of("v6"));
    let mut bytes = fs::read(&damaged).unwrap();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    fs::remove_file(gone).unwrap();
    // A request that names the bundle of another, and says so everywhere.
    let said = |bundle: &Path| {
        let digest = bundle.file_stem().unwrap().to_str().unwrap().to_string();
        (digest, format!("\"bytes\":{}", fs::metadata(bundle).unwrap().len()))
    };
    let ((from, from_bytes), (to, to_bytes)) = (said(&other), said(&good));
    for folder in ["requests", "jobs"].map(|name| world.path().join("store/queue").join(name)) {
        for name in names(&folder, "") {
            let text = fs::read_to_string(folder.join(&name)).unwrap();
            if text.contains(&from) {
                let text = text.replace(&from, &to).replace(&from_bytes, &to_bytes);
                fs::write(folder.join(&name), text).unwrap();
            }
        }
    }
    fs::remove_dir_all(world.path().join("target")).unwrap();
    let agent = agent_far_away(&world, &catalog);
    asked(
        &agent,
        &[
            ".bundle is damaged: its digest is ",
            ".bundle is not in the store",
            ": failed: the bundle lacks the commit ",
            ": done",
        ],
    );
    assert_eq!(agent.err.matches(": failed: the bundle ").count(), 3, "{agent:?}");
    assert!(!agent.err.contains("attempt 1 failed"), "not tried again: {agent:?}");
    asked(&world.dyno(&["queue"]), &["nothing is open"]);
    assert_eq!(world.runs(), "1");
}
