//! The world of the programs that measure a program with a dial: this project's images, hosts and
//! policies, and a suite with its own git repository.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Makes the catalog and the repository in `world`, with a commit for each tag that does so many
/// units of work.
pub fn make(world: &Path, commits: &[(String, u64)]) {
    // Cargo says where it runs this from; a target folder shared by two clones may hold the
    // other's.
    let manifest_folder = std::env::var_os("CARGO_MANIFEST_DIR");
    let manifest_folder =
        Path::new(manifest_folder.as_deref().unwrap_or(env!("CARGO_MANIFEST_DIR").as_ref()));
    let catalog = world.join("catalog");
    let suite = catalog.join("suites/dial");
    let target = suite.join("target");
    fs::create_dir_all(&target).expect("folders");
    for name in ["images", "hosts", "policies"] {
        let shared = manifest_folder.parent().expect("the repository").join(name);
        std::os::unix::fs::symlink(shared, catalog.join(name)).expect("a link");
    }
    let own_files = manifest_folder.join("src/dial");
    fs::copy(own_files.join("suite.toml"), suite.join("suite.toml")).expect("the suite");
    fs::write(suite.join("expected.txt"), "done\n").expect("the answer");
    fs::copy(own_files.join("dial.rs"), target.join("dial.rs")).expect("the program");
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(&target).args([
            "-c",
            "user.name=dyno",
            "-c",
            "user.email=dyno@localhost",
        ]);
        assert!(git.args(arguments).status().expect("git").success(), "git {arguments:?}");
    };
    git(&["init", "--quiet"]);
    for (tag, units) in commits {
        fs::write(target.join("units"), format!("{units}\n")).expect("the units");
        git(&["add", "."]);
        git(&["commit", "--quiet", "--allow-empty", "--message", &format!("{units} units")]);
        git(&["tag", tag]);
    }
}

/// `dyno` in this world; its program stands beside this one.
pub fn dyno(world: &Path) -> Command {
    let own_program = std::env::current_exe().expect("own path");
    let dyno = own_program.parent().expect("the target folder").join("dyno");
    let mut command = Command::new(dyno);
    command.env("DYNO_CATALOG", world.join("catalog")).env("DYNO_STORE", world.join("store"));
    command
}
