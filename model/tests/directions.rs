//! Who may look into whom is a Cargo fact; this test reads `cargo metadata` and fails on any
//! other arrow, and on the pure crates reaching for what would make them impure.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Crate → the crates of ours that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("dyno-model", &[]),
    ("dyno-query", &["dyno-model"]),
    ("dyno-reports", &["dyno-model"]),
    ("dyno-probe", &[]),
    ("dyno", &["dyno-model", "dyno-query", "dyno-reports", "dyno-probe"]),
];

/// What no pure crate may depend on, directly.
const IMPURE: &[&str] =
    &["tokio", "datafusion", "bollard", "reqwest", "object_store", "nix", "libc"];
const PURE: &[&str] = &["dyno-model", "dyno-reports"];

/// What the probe may depend on: little, for it stands beside what is measured.
const PROBE: &[&str] =
    &["hex", "libc", "object", "perf-event-open-sys", "seccompiler", "serde", "serde_json", "sha2"];

#[test]
fn dependencies_point_the_right_way() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let normal =
            package["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"].is_null());
        let names = normal.map(|d| d["name"].as_str().unwrap().to_string()).collect();
        found.insert(package["name"].as_str().unwrap().to_string(), names);
    }
    let ours: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(found.keys().map(String::as_str).collect::<BTreeSet<_>>(), ours);
    for (name, allowed) in ALLOWED {
        let arrows: BTreeSet<&str> =
            found[*name].iter().map(String::as_str).filter(|d| ours.contains(d)).collect();
        assert_eq!(arrows, allowed.iter().copied().collect(), "arrows of {name}");
    }
    for name in PURE {
        let impure: Vec<&String> =
            found[*name].iter().filter(|d| IMPURE.contains(&d.as_str())).collect();
        assert!(impure.is_empty(), "{name} depends on {impure:?}");
    }
    let probe: BTreeSet<&str> = found["dyno-probe"].iter().map(String::as_str).collect();
    assert_eq!(probe, PROBE.iter().copied().collect());
}
