//! Exclusive cores: a cgroup of dyno's own that keeps other programs off the benchmark cores while
//! something is measured. The container's own cpuset only says where it *may* run; it keeps
//! nobody else away.
//!
//! On cgroup v2 the cores become a partition of their own (`cpuset.cpus.partition`, see the
//! kernel's Documentation/admin-guide/cgroup-v2.rst), which takes them from everybody else. On v1
//! the cpuset is made exclusive where no other cpuset overlaps. Either may be refused, so the
//! cgroup has the highest weight in any case: who runs beside it on a core gets next to nothing.
//! The weight must be this parent's and stand at the top: that of a container counts only among
//! containers. What the kernel made of it is read back.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dyno_model::catalog::host::format_cores;

use super::knobs::core_names;
use super::nested;
use super::scope::MachineScope;
use dyno_base::fault;

/// Where cgroups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// The highest weight there is on v2, and on v1 (`cpu.shares`); others have 100, and 1024.
const WEIGHT: &str = "10000";
const SHARES: &str = "262144";

/// How well the cores are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isolation {
    /// A v2 partition: nobody else can run there.
    Partition,
    /// A v1 cpuset that no other cpuset overlaps, and the weight against those in none.
    Exclusive,
    /// The weight alone.
    Weight,
}

/// Holds the cores until it is dropped.
#[derive(Debug)]
pub struct ExclusiveCores {
    mount: PathBuf,
    /// The cgroup's name, at the top of each hierarchy.
    cgroup: String,
    kept: Isolation,
    cores: BTreeSet<u32>,
    /// Why it is not kept better, as the kernel says.
    refused: Option<String>,
}

impl ExclusiveCores {
    /// Takes `cores` for the cgroup of `scope`; from everybody else if it is the machine's own.
    ///
    /// # Errors
    /// Where dyno may not make cgroups here, in words.
    pub fn take(scope: &MachineScope, cores: &BTreeSet<u32>) -> Result<Self, String> {
        let mut held = Self {
            mount: MOUNT.into(),
            cgroup: scope.cgroup().into(),
            kept: Isolation::Weight,
            cores: cores.clone(),
            refused: None,
        };
        let is_v2 = held.is_v2();
        if is_v2 {
            held.weight_v2()?
        } else {
            held.weight_v1()?
        }
        if !scope.is_machine_wide() {
            held.refused = Some("this scope is not the machine's".into());
        } else if is_v2 {
            held.partition()?;
        } else {
            held.exclude();
        }
        Ok(held)
    }

    fn is_v2(&self) -> bool {
        self.mount.join("cgroup.controllers").exists()
    }

    /// The folder of the cgroup; of a v1 controller's hierarchy where one is named.
    fn folder(&self, controller: &str) -> PathBuf {
        let top = if self.is_v2() { self.mount.clone() } else { self.mount.join(controller) };
        top.join(&self.cgroup)
    }

    /// Makes the cgroup in the hierarchies of v1, with the highest weight on its cores.
    fn weight_v1(&self) -> Result<(), String> {
        let (cpuset, cpu) = (self.folder("cpuset"), self.folder("cpu"));
        for folder in [&cpuset, &cpu] {
            make(folder)?;
        }
        // A cpuset without memory nodes takes no process.
        let nodes = read(&self.mount.join("cpuset/cpuset.mems"))?;
        write(&cpuset.join("cpuset.mems"), &nodes)?;
        write(&cpuset.join("cpuset.cpus"), &format_cores(&self.cores))?;
        write(&cpu.join("cpu.shares"), SHARES)
    }

    /// Makes the cpuset exclusive if the kernel lets it.
    fn exclude(&mut self) {
        match write(&self.folder("cpuset").join("cpuset.cpu_exclusive"), "1") {
            Ok(()) => self.kept = Isolation::Exclusive,
            Err(_) => self.refused = Some("another cpuset has them too".into()),
        }
    }

    /// Makes the cgroup in the hierarchy of v2, with the highest weight on its cores.
    fn weight_v2(&self) -> Result<(), String> {
        let folder = self.folder("");
        // systemd leaves the cpuset controller off at the top until somebody wants it. They stay on
        // until the machine goes down: whoever came to use them meanwhile would lose what it has
        // set, without being told.
        nested::give_controllers(&self.mount, &["cpu", "cpuset"])?;
        make(&folder)?;
        write(&folder.join("cpuset.cpus"), &format_cores(&self.cores))?;
        write(&folder.join("cpu.weight"), WEIGHT)
    }

    /// Takes the cores from everybody else if the kernel lets it.
    fn partition(&mut self) -> Result<(), String> {
        let partition = self.folder("").join("cpuset.cpus.partition");
        // An isolated partition balances no load: on several cores, the threads of one program
        // would stay where they were born, all on one.
        let kind = if self.cores.len() == 1 { "isolated" } else { "root" };
        let taken = write(&partition, kind).and_then(|()| read(&partition));
        match taken {
            Ok(now) if now == kind => self.kept = Isolation::Partition,
            Ok(now) => {
                // An invalid partition would become valid when somebody else goes, half-way
                // through.
                write(&partition, "member")?;
                self.refused = Some(format!("the kernel says {now}"));
            }
            Err(error) => self.refused = Some(error),
        }
        Ok(())
    }

    /// The parent cgroup of containers that are to run on the cores.
    pub fn parent(&self) -> &str {
        &self.cgroup
    }

    /// How the cores are kept, for people.
    pub fn how(&self) -> String {
        let cores = core_names(&self.cores);
        let why = self.refused.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        match self.kept {
            Isolation::Partition => format!("{cores} kept from others by a partition"),
            Isolation::Exclusive => {
                format!("{cores} kept from others by an exclusive cpuset and weight")
            }
            Isolation::Weight => format!("{cores} kept from others by weight{why}"),
        }
    }

    /// Checks that it still holds.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub fn holds(&self) -> Result<(), String> {
        let holds = |path: PathBuf, wanted: &str| match read(&path)? {
            now if now == wanted => Ok(()),
            now => Err(format!("{} is {now} instead of {wanted}", path.display())),
        };
        let (cpuset, cpu) = (self.folder("cpuset"), self.folder("cpu"));
        if self.is_v2() {
            holds(cpu.join("cpu.weight"), WEIGHT)?;
        } else {
            holds(cpu.join("cpu.shares"), SHARES)?;
        }
        match self.kept {
            Isolation::Partition => {
                let kind = if self.cores.len() == 1 { "isolated" } else { "root" };
                holds(cpuset.join("cpuset.cpus.partition"), kind)?;
            }
            Isolation::Exclusive => holds(cpuset.join("cpuset.cpu_exclusive"), "1")?,
            Isolation::Weight => {}
        }
        holds(cpuset.join("cpuset.cpus"), &format_cores(&self.cores))
    }

    /// Checks that it still holds, and that a container is in it.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub fn verify(&self) -> Result<(), String> {
        self.holds()?;
        for folder in ["cpuset", "cpu"].map(|controller| self.folder(controller)) {
            if !has_processes(&folder) {
                return Err(format!("the container is not below {}", folder.display()));
            }
        }
        Ok(())
    }
}

impl Drop for ExclusiveCores {
    fn drop(&mut self) {
        fault::at("measure.cores-back", || give_back(&self.mount, &self.cgroup));
    }
}

/// Gives cores back that a dyno of `scope` which is gone has kept. Does nothing while one measures.
pub fn sweep(scope: &MachineScope) {
    if let Some(_lock) = super::MeasuringLock::try_take(scope) {
        give_back(Path::new(MOUNT), scope.cgroup());
    }
}

/// Removes the cgroup wherever it is; what still has a container in it stays, but is a partition no
/// more.
fn give_back(mount: &Path, cgroup: &str) {
    let _ = write(&mount.join(cgroup).join("cpuset.cpus.partition"), "member");
    let _ = write(&mount.join("cpuset").join(cgroup).join("cpuset.cpu_exclusive"), "0");
    let hierarchies = fs::read_dir(mount).into_iter().flatten().flatten().map(|entry| entry.path());
    // The engine takes a moment to remove the container's cgroups below: a second for all of them,
    // since one that is interrupted has the container still, and sweeps later.
    let mut attempts = 20;
    for slice in hierarchies.chain([mount.into()]).map(|top| top.join(cgroup)) {
        while let Err(error) = fs::remove_dir(&slice)
            && error.kind() == io::ErrorKind::ResourceBusy
            && attempts > 0
        {
            attempts -= 1;
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn has_processes(folder: &Path) -> bool {
    let here = fs::read_to_string(folder.join("cgroup.procs")).is_ok_and(|text| !text.is_empty());
    here || fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_type().is_ok_and(|t| t.is_dir()) && has_processes(&entry.path()))
}

fn make(folder: &Path) -> Result<(), String> {
    nested::make(folder).map_err(|error| format!("making {}: {error}", folder.display()))
}

fn read(path: &Path) -> Result<String, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_string()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn write(path: &Path, value: &str) -> Result<(), String> {
    nested::write(path, value)
        .map_err(|error| format!("writing {value} to {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::scope::SLICE;
    use super::*;

    /// The cgroup as the kernel shows it while it holds, in a folder like the mount of v2 or v1.
    fn held(mount: &Path, kept: Isolation) -> ExclusiveCores {
        let cores = BTreeSet::from([2, 3]);
        let held = ExclusiveCores {
            mount: mount.into(),
            cgroup: SLICE.into(),
            kept,
            cores,
            refused: None,
        };
        let v2 =
            [("cpu.weight", WEIGHT), ("cpuset.cpus.partition", "root"), ("cpuset.cpus", "2-3")];
        let v1 = [("cpu.shares", SHARES), ("cpuset.cpu_exclusive", "1"), ("cpuset.cpus", "2-3")];
        if kept == Isolation::Partition {
            fs::write(mount.join("cgroup.controllers"), "cpuset cpu").unwrap();
        }
        for (file, value) in if held.is_v2() { v2 } else { v1 } {
            let folder = held.folder(file.split('.').next().unwrap());
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(file), format!("{value}\n")).unwrap();
        }
        held
    }

    #[test]
    fn what_no_longer_holds_is_named() {
        for (kept, file, value, expected) in [
            (Isolation::Partition, "", "", ""),
            (Isolation::Partition, "cpu.weight", "100", "cpu.weight is 100 instead of 10000"),
            (
                Isolation::Partition,
                "cpuset.cpus.partition",
                "root invalid (Cpu list in cpuset.cpus not exclusive)",
                "not exclusive) instead of root",
            ),
            (Isolation::Partition, "cpuset.cpus", "2", "cpuset.cpus is 2 instead of 2-3"),
            (Isolation::Exclusive, "", "", ""),
            (Isolation::Exclusive, "cpuset.cpu_exclusive", "0", "cpu_exclusive is 0 instead of 1"),
            (Isolation::Weight, "cpuset.cpu_exclusive", "0", ""),
            (Isolation::Weight, "cpu.shares", "1024", "cpu.shares is 1024 instead of 262144"),
        ] {
            let mount = tempfile::tempdir().unwrap();
            let held = held(mount.path(), kept);
            if let Some((controller, _)) = file.split_once('.') {
                fs::write(held.folder(controller).join(file), value).unwrap();
            }
            let said = held.holds().err().unwrap_or_default();
            assert!(
                said.contains(expected) && expected.is_empty() == said.is_empty(),
                "{file}: {said}"
            );
            let nobody = held.verify().unwrap_err();
            assert!(!said.is_empty() || nobody.contains("is not below"), "{nobody}");
        }
    }
}
