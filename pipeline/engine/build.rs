//! Builds `probe` as a static, optimised program, whatever the profile of dyno itself, and hands
//! its path to `include_bytes!`. Static, because it runs inside images of any C library;
//! optimised, because it stands beside what is measured.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    let workspace = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap()).join("../..");
    for watched in
        ["probe/src", "probe/preload", "probe/build.rs", "probe/Cargo.toml", "Cargo.lock"]
    {
        println!("cargo::rerun-if-changed={}", workspace.join(watched).display());
    }
    // libcontainer does not say its own version; series measured under another one are others.
    let lock = fs::read_to_string(workspace.join("Cargo.lock")).expect("a lock file");
    let version = lock
        .split("[[package]]")
        .find_map(|package| {
            let rest = package.trim().strip_prefix("name = \"libcontainer\"\nversion = \"")?;
            rest.split('"').next()
        })
        .expect("libcontainer is locked");
    println!("cargo::rustc-env=DYNO_LIBCONTAINER={version}");
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let target = env::var("TARGET").unwrap();
    let target_dir = out.join("probe");
    let mut cargo = Command::new(env::var("CARGO").unwrap());
    cargo
        .current_dir(&workspace)
        .args([
            "build",
            "--package",
            "dyno-probe",
            "--bin",
            "probe",
            "--profile",
            "probe",
            "--locked",
        ])
        // Naming the target keeps the flags below away from procedural macros, which cannot be static.
        .args(["--target", &target, "--target-dir"])
        .arg(&target_dir)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Ctarget-feature=+crt-static\x1f-Crelocation-model=static",
        );
    // clippy and sccache set these for dyno's own build; the probe must be built, not checked.
    for variable in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CLIPPY_ARGS", "CARGO_TARGET_DIR"]
    {
        cargo.env_remove(variable);
    }
    let output = cargo.output().expect("cargo starts");
    assert!(
        output.status.success(),
        "building the static probe failed (it needs the C library's static archive, libc.a):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let probe = out.join("probe.bin");
    fs::copy(target_dir.join(target).join("probe/probe"), &probe).expect("the probe was built");
    println!("cargo::rustc-env=DYNO_PROBE={}", probe.display());
}
