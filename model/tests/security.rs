//! docs/SECURITY.md names the test of each control: each must be there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Every Rust file of the workspace by its name without `.rs`, a `mod.rs` by its folder's, a `lib.rs` by its crate's: their
/// texts together.
fn sources(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if let Some(mut stem) = name.strip_suffix(".rs") {
            if stem == "mod" {
                stem = folder.file_name().unwrap().to_str().unwrap();
            }
            if stem == "lib" {
                stem = folder.parent().unwrap().file_name().unwrap().to_str().unwrap();
            }
            *found.entry(stem.to_string()).or_default() += &fs::read_to_string(&path).unwrap();
        }
    }
}

#[test]
fn every_test_that_is_named_is_there() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let page = fs::read_to_string(root.join("docs/SECURITY.md")).unwrap();
    let mut files = BTreeMap::new();
    sources(root, &mut files);
    let mut named = 0;
    let rows = page.lines().filter(|line| line.starts_with('|') && line.matches('|').count() == 4);
    for row in rows.filter(|row| !row.contains("---") && !row.ends_with("| test |")) {
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let tests: Vec<&str> = tests.split('`').filter(|part| part.contains("::")).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            let (file, name) = test.split_once("::").unwrap();
            let text = files.get(file).unwrap_or_else(|| panic!("no file {file}.rs: {test}"));
            let other = name.replacen("embedded_", "docker_", 1);
            for name in [name, &other] {
                assert!(text.contains(&format!("fn {name}(")), "no test {name} in {file}.rs");
            }
            named += 1;
        }
    }
    assert!(named > 30, "{named} tests are named");
}
