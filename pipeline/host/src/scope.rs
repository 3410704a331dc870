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
    pub fn is_machine_wide(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a container is this scope's to sweep that names `cgroup` as its scope's. One that
    /// names none is the machine's own.
    pub fn has_container(&self, cgroup: Option<&str>) -> bool {
        cgroup.unwrap_or(SLICE) == self.cgroup
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
    fn a_container_without_a_scope_is_the_machines() {
        let other = MachineScope::new("/l".into(), "dyno_2.slice".into()).unwrap();
        for (cgroup, machines, others) in
            [(None, true, false), (Some(SLICE), true, false), (Some("dyno_2.slice"), false, true)]
        {
            assert_eq!(MachineScope::default().has_container(cgroup), machines, "{cgroup:?}");
            assert_eq!(other.has_container(cgroup), others, "{cgroup:?}");
        }
    }

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
