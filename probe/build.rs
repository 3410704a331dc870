//! Builds `preload/random.rs`, which the probe carries inside: a shared library of its own, without
//! any C library.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=preload/random.rs");
    let library = Path::new(&env::var("OUT_DIR").unwrap()).join("random.so");
    // It needs no C library: for another machine, Rust's own linker does without that machine's.
    let linker: &[&str] = match env::var("TARGET") == env::var("HOST") {
        true => &["-Clink-arg=-nostdlib"],
        false => &["-Clinker=rust-lld", "-Clinker-flavor=ld.lld"],
    };
    let output = Command::new(env::var("RUSTC").unwrap())
        .args(["--edition=2024", "--crate-type=cdylib", "--crate-name=random"])
        .args(["-Cpanic=abort", "-Copt-level=2", "-Cstrip=symbols", "-Ctarget-feature=-crt-static"])
        .args(linker)
        .args(["--target", &env::var("TARGET").unwrap(), "preload/random.rs", "-o"])
        .arg(&library)
        .output()
        .expect("rustc starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "building preload/random.rs failed:\n{said}");
}
