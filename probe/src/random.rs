//! The same randomness each time for programs whose instructions are counted: `preload/random.rs`,
//! where a dynamic program finds it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use dyno_probe::Spawn;

/// Built by `build.rs`.
const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/random.so"));

/// Where programs may write; it goes with all else that the run left there.
const LIBRARY_PATH: &str = "/tmp/.dyno-random.so";

/// Puts, in the child and as the program's user, the library where [`environment`] says.
pub fn place_library() -> io::Result<()> {
    write(LIBRARY_PATH)
}

fn write(path: &str) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o700).open(path)?.write_all(LIBRARY)
}

/// Environment of a process: with the library, before what the request wants loaded itself, where
/// instructions are counted.
pub fn environment(spawn: &Spawn) -> BTreeMap<String, String> {
    let mut env = spawn.env.clone();
    if spawn.count_instructions {
        preload(&mut env, LIBRARY_PATH);
    }
    env
}

fn preload(env: &mut BTreeMap<String, String>, library: &str) {
    let wanted = env.get("LD_PRELOAD").map(|wanted| format!(":{wanted}")).unwrap_or_default();
    env.insert("LD_PRELOAD".into(), format!("{library}{wanted}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tests::{run, spec};
    use dyno_probe::End;
    use std::process::Command;

    /// Says what randomness it gets, each way it can ask the C library.
    const PROGRAM: &str = r#"
        use std::hash::{BuildHasher, RandomState};
        use std::ffi::{c_int, c_long};
        unsafe extern "C" {
            fn getentropy(to: *mut u8, len: usize) -> c_int;
            fn syscall(number: c_long, ...) -> c_long;
        }
        fn main() {
            println!("{}", RandomState::new().hash_one(1));
            let number = if cfg!(target_arch = "x86_64") { 318 } else { 278 };
            let mut bytes = [0_u8; 16];
            for _ in 0..2 {
                assert_eq!(unsafe { syscall(number, bytes.as_mut_ptr(), 8_usize, 0) }, 8);
                assert_eq!(unsafe { getentropy(bytes[8..].as_mut_ptr(), 8) }, 0);
                println!("{bytes:?}");
            }
            // Every other call is the kernel's, its errors too.
            let (id, close) = if cfg!(target_arch = "x86_64") { (39, 3) } else { (172, 57) };
            assert_eq!(unsafe { syscall(id) } as u32, std::process::id());
            let gone = unsafe { syscall(close, 9999) };
            let error = std::io::Error::last_os_error().raw_os_error();
            assert_eq!((gone, error), (-1, Some(9)));
        }"#;

    #[test]
    fn a_dynamic_program_gets_the_same_each_time() {
        let folder = std::env::temp_dir().join(format!("dyno-random-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name).display().to_string();
        std::fs::write(path("program.rs"), PROGRAM).unwrap();
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition=2024", "-O", "-o", &path("program"), &path("program.rs")]);
        let built = rustc.status().unwrap();
        assert!(built.success());
        write(&path("random.so")).unwrap();
        let output_of = |library: Option<String>| {
            let mut spec = spec(&[&path("program")]);
            if let Some(library) = library {
                preload(&mut spec.env, &library);
            }
            let exit = run(&spec, &mut || (), &mut |_| ());
            assert_eq!((&exit.end, &*exit.stderr_tail), (&End::Code(0), ""));
            exit.stdout_tail
        };
        assert_ne!(output_of(None), output_of(None));
        let fixed = output_of(Some(path("random.so")));
        assert_eq!(fixed, output_of(Some(path("random.so"))));
        let lines: Vec<&str> = fixed.lines().collect();
        assert_ne!(lines[1], lines[2], "it goes on from call to call");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_a_run_wants_loaded_is_loaded_too() {
        let mut counted = spec(&["true"]);
        assert_eq!(environment(&counted), counted.env);
        counted.env.insert("LD_PRELOAD".into(), "/lib/x.so".into());
        counted.count_instructions = true;
        assert_eq!(environment(&counted)["LD_PRELOAD"], "/tmp/.dyno-random.so:/lib/x.so");
    }
}
