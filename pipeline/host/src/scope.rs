//! Which dynos share a machine: those of one scope take turns at measuring, and sweep up after each
//! other. A machine has one scope; tests make more, so that they need not wait for each other.

use std::path::{Path, PathBuf};

use dyno_base::error::{Error, Result};

/// The name of the machine's own cgroup, at the top of each hierarchy: one that systemd takes for a
/// slice, so that engines which leave their cgroups to systemd can use it too.
pub const SLICE: &str = "dynobench.slice";

/// The lock and the cgroup that dynos on one machine share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineScope {
    /// The file that is locked by whoever measures.
    lock: PathBuf,
    /// The cgroup at the top of each hierarchy in which the measured containers are.
    cgroup: String,
}

impl MachineScope {
    /// A scope of its own. Dynos of other scopes neither wait for it nor touch what it left.
    ///
    /// # Errors
    /// A `cgroup` that is no name of a slice at the top.
    pub fn new(lock: PathBuf, cgroup: String) -> Result<Self> {
        // A dash would make it a slice within another one.
        let name = cgroup.strip_suffix(".slice").unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(Error::input(format!(
                "the cgroup {cgroup:?} is no name of a slice: letters, digits and _, then .slice"
            )));
        }
        Ok(Self { lock, cgroup })
    }

    /// Whether it is the machine's own. Only that one may take cores from everybody else: of two
    /// scopes with the same cores, one would have none.
    pub fn is_the_machines(&self) -> bool {
        *self == Self::default()
    }

    /// The file that is locked by whoever measures.
    pub fn lock(&self) -> &Path {
        &self.lock
    }

    /// The cgroup at the top of each hierarchy in which the measured containers are.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }
}

/// The machine's own scope, that of every dyno which is not told otherwise.
impl Default for MachineScope {
    fn default() -> Self {
        let shared = Path::new("/run/lock");
        let folder = if shared.is_dir() { shared.into() } else { std::env::temp_dir() };
        Self { lock: folder.join("dyno-measuring.lock"), cgroup: SLICE.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_a_slice_at_the_top() {
        let scope = |cgroup: &str| MachineScope::new("/l".into(), cgroup.into());
        assert_eq!(scope("dyno_2.slice").unwrap().cgroup(), "dyno_2.slice");
        for wrong in ["", ".slice", "dyno", "a-b.slice", "a/b.slice", "../x.slice"] {
            let error = scope(wrong).unwrap_err();
            assert!(error.message.contains("is no name of a slice"), "{wrong}: {error}");
        }
    }
}
