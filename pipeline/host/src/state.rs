//! The state file: what knobs were before dyno set them. It is on the disk before the first knob is
//! set, so that whatever happens after that can be undone; a reboot undoes it by itself.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use dyno_base::error::{Error, Result, WithContext};

/// Readers refuse other versions.
const VERSION: u32 = 1;

/// A state file is never longer.
const BYTES_MAX: u64 = 1 << 20;

/// One knob's file, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub knob: String,
    pub path: String,
    /// The value before dyno first set it.
    pub former: String,
    /// What dyno set, or was about to.
    pub set: String,
}

/// Everything that was set since `boot_id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    version: u32,
    /// Content of `/proc/sys/kernel/random/boot_id`; empty where there is none.
    pub boot_id: String,
    pub entries: Vec<Entry>,
}

impl State {
    pub fn new(boot_id: &str, entries: Vec<Entry>) -> Self {
        Self { version: VERSION, boot_id: boot_id.into(), entries }
    }
}

/// Where a state is kept.
pub struct StateFile(PathBuf);

impl StateFile {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What it holds; `None` if there is no such file.
    pub fn load(&self) -> Result<Option<State>> {
        let doing = || format!("reading the state file {}", self.0.display());
        let length = match fs::symlink_metadata(&self.0) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            found => found.context(doing)?.len(),
        };
        if length > BYTES_MAX {
            return Err(self.wrong(&format!("it is {length} bytes long")));
        }
        let bytes = fs::read(&self.0).context(doing)?;
        let state: State =
            serde_json::from_slice(&bytes).map_err(|error| self.wrong(&error.to_string()))?;
        if state.version != VERSION {
            return Err(self.wrong(&format!("its version is {}", state.version)));
        }
        for entry in &state.entries {
            // It is root who writes what stands here: nothing but a knob.
            if !is_knob(&entry.path) {
                return Err(self.wrong(&format!(
                    "\"{}\" is no file that dyno sets",
                    entry.path.escape_debug()
                )));
            }
            if [&entry.former, &entry.set].iter().any(|v| v.contains('\n') || v.len() > 4096) {
                return Err(self.wrong(&format!("a value for {} is not one line", entry.path)));
            }
        }
        Ok(Some(state))
    }

    fn wrong(&self, what: &str) -> Error {
        let at = self.0.display();
        Error::host(format!(
            "the state file {at} is damaged: {what}; expected what `dyno host tune` wrote; nothing was changed"
        ))
        .hint(format!("mend it by hand, or remove it: a reboot sets every knob in {at} back"))
    }

    /// Puts it on the disk, whole or not at all, also if the power goes now.
    pub fn save(&self, state: &State) -> Result<()> {
        let doing = || format!("writing the state file {}", self.0.display());
        let folder = self.folder();
        fs::create_dir_all(folder).context(doing)?;
        // Always the same name, so that a kill in here leaves nothing that the next one does not
        // take.
        let new = self.new_path();
        drop(fs::remove_file(&new));
        let mut options = OpenOptions::new();
        // Anyone may know what was set.
        let mut file =
            options.write(true).create_new(true).mode(0o644).open(&new).context(doing)?;
        let text = serde_json::to_string_pretty(state).expect("plain fields serialise");
        writeln!(file, "{text}").and_then(|()| file.sync_all()).context(doing)?;
        fs::rename(&new, &self.0).context(doing)?;
        self.sync_folder().context(doing)
    }

    pub fn remove(&self) -> Result<()> {
        drop(fs::remove_file(self.new_path()));
        let removed = fs::remove_file(&self.0).and_then(|()| self.sync_folder());
        removed.context(|| format!("removing the state file {}", self.0.display()))
    }

    /// What is being written, before it has its name.
    fn new_path(&self) -> PathBuf {
        let mut path = self.0.clone().into_os_string();
        path.push(".new");
        path.into()
    }

    fn folder(&self) -> &Path {
        self.0.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// A name is on the disk once its folder is.
    fn sync_folder(&self) -> std::io::Result<()> {
        fs::File::open(self.folder())?.sync_all()
    }
}

/// Files that `tune` may set, `*` standing for a number.
const KNOBS: [&str; 14] = [
    "/proc/irq/default_smp_affinity",
    "/proc/irq/*/smp_affinity_list",
    "/proc/sys/kernel/nmi_watchdog",
    "/proc/sys/kernel/perf_event_paranoid",
    "/proc/sys/kernel/timer_migration",
    "/sys/devices/system/cpu/cpu*/cpufreq/boost",
    "/sys/devices/system/cpu/cpu*/cpufreq/energy_performance_preference",
    "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    "/sys/devices/system/cpu/cpu*/online",
    "/sys/devices/system/cpu/cpu*/power/energy_perf_bias",
    "/sys/devices/system/cpu/cpufreq/boost",
    "/sys/devices/system/cpu/intel_pstate/no_turbo",
    "/sys/devices/virtual/workqueue/cpumask",
    "/sys/kernel/mm/transparent_hugepage/enabled",
];

pub fn is_knob(path: &str) -> bool {
    let matches = |pattern: &&str| match pattern.split_once('*') {
        None => path == *pattern,
        Some((before, after)) => {
            let number = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        }
    };
    KNOBS.iter().any(matches)
}
