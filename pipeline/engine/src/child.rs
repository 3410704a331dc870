//! Dyno as its own child: the parent of an embedded container, or the guard of one of Docker's.
//! The binary asks here first, before any thread is started.

use std::path::Path;

use dyno_base::fault;

use crate::{GUARD, docker, embedded};

/// Carries out `run NAME BUNDLE SLICE`, `delete NAME SLICE` or `guard SOCKET OWNER`; returns the exit
/// code. `SLICE` is the cgroup of the container's scope.
pub fn main(arguments: &[String]) -> u8 {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    fault::act_on_parent();
    let done = match words.as_slice() {
        ["run", name, bundle, slice] => embedded::run_container(name, Path::new(bundle), slice),
        ["delete", name, slice] => embedded::delete_container(name, slice),
        [GUARD, socket, owner] => docker::guard_main(socket, owner),
        _ => Err("dyno __container run NAME BUNDLE SLICE | delete NAME SLICE | guard SOCKET OWNER"
            .into()),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("container: {error}");
            1
        }
    }
}
