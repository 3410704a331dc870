//! Dyno as its own child: the parent of an embedded container, or the guard of one of Docker's.
//! The binary asks here first, before any thread is started.

use std::path::Path;

use dyno_base::fault;

use crate::{GUARD, docker, embedded};

/// Carries out `run NAME BUNDLE`, `delete NAME` or `guard SOCKET OWNER`; returns the exit code.
pub fn main(arguments: &[String]) -> u8 {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    fault::act_on_parent();
    let done = match words.as_slice() {
        ["run", name, bundle] => embedded::run_container(name, Path::new(bundle)),
        ["delete", name] => embedded::delete_container(name),
        [GUARD, socket, owner] => docker::guard_main(socket, owner),
        _ => Err("dyno __container run NAME BUNDLE | delete NAME | guard SOCKET OWNER".into()),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("container: {error}");
            1
        }
    }
}
