//! The embedded engine: libcontainer (youki's library) on the unpacked image, no daemon.
//!
//! libcontainer forks, which a program with threads must not do. So dyno starts itself again as
//! `dyno __container run NAME BUNDLE`, a small process with one thread that makes the container,
//! waits for it and removes its cgroups. Its standard streams are the probe's. It is in a session
//! of its own, so a Ctrl-C meant for dyno does not reach it; it ends when the probe does, and the
//! probe ends when its input does.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use dyno_model::catalog::host::format_cores;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::{CAPABILITIES, Engine, RLIMITS, SCOPE, Spec, Streams, container_owner};
use dyno_base::error::{Error, Result, WithContext};
use dyno_base::fault;
use dyno_host::nested::give_controllers;
use dyno_host::scope::MachineScope;

/// Where libcontainer keeps its state and dyno its bundles; gone with a reboot, as containers are.
const STATE: &str = "/run/dyno";

/// The cgroup of containers in which nothing is measured.
const UNMEASURED: &str = "dyno";

pub struct Embedded {
    program: PathBuf,
    scope: MachineScope,
    children: Mutex<HashMap<String, Child>>,
}

impl Embedded {
    /// Checks that this process may make containers.
    pub fn open(program: &Path, scope: &MachineScope) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::host("making containers without a daemon needs root")
                .hint("run dyno as root, or name a host with engine = \"docker\""));
        }
        let cgroups = ["/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/memory"];
        if !cgroups.iter().any(|path| Path::new(path).exists()) {
            return Err(Error::host("no cgroups are mounted at /sys/fs/cgroup"));
        }
        let top = Path::new("/sys/fs/cgroup");
        if top.join("cgroup.type").exists() {
            give_controllers(top, &["cpuset", "cpu", "memory", "pids"]).map_err(Error::host)?;
        }
        for folder in ["containers", "bundles"].map(|name| Path::new(STATE).join(name)) {
            fs::create_dir_all(&folder)
                .map_err(|e| Error::host(format!("cannot write {}: {e}", folder.display())))?;
        }
        let (program, scope) = (program.to_path_buf(), scope.clone());
        Ok(Self { program, scope, children: Mutex::default() })
    }

    /// Whether a container is this scope's to sweep. One without a whole configuration was never
    /// made, and is anybody's.
    fn is_ours(&self, name: &str) -> bool {
        let config = fs::read(bundle(name).join("config.json")).unwrap_or_default();
        let Ok(config) = serde_json::from_slice::<Value>(&config) else { return true };
        self.scope.has_container(config["annotations"][SCOPE].as_str())
    }
}

fn bundle(name: &str) -> PathBuf {
    Path::new(STATE).join("bundles").join(name)
}

#[async_trait]
impl Engine for Embedded {
    fn name(&self) -> String {
        format!("embedded libcontainer {}", env!("DYNO_LIBCONTAINER"))
    }

    fn build_user(&self) -> (u32, u32) {
        (1000, 1000)
    }

    async fn start(&self, name: &str, spec: &Spec, probe: &Path) -> Result<Streams> {
        let bundle = bundle(name);
        let doing = || format!("writing the container's bundle {}", bundle.display());
        let config = config(name, spec, probe, self.scope.cgroup());
        let config = serde_json::to_vec_pretty(&config).expect("plain JSON");
        let write = || {
            fs::create_dir_all(&bundle).and_then(|()| fs::write(bundle.join("config.json"), config))
        };
        fault::at("embedded.bundle", write).context(doing)?;
        let mut command = Command::new(&self.program);
        command.args([crate::CHILD, "run", name]).arg(&bundle).arg(self.scope.cgroup());
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let spawned = fault::at("embedded.spawn", || command.spawn());
        let mut child = spawned.context(|| "starting the container's parent".into())?;
        let streams = Streams {
            input: Box::pin(child.stdin.take().expect("piped")),
            output: Box::pin(child.stdout.take().expect("piped")),
            errors: Box::pin(child.stderr.take().expect("piped")),
        };
        self.children.lock().expect("no panic while held").insert(name.to_string(), child);
        Ok(streams)
    }

    async fn freeze(&self, name: &str, frozen: bool) -> Result<()> {
        let doing =
            || format!("{} the container {name}", if frozen { "freezing" } else { "thawing" });
        freeze(name, self.scope.cgroup(), frozen).context(doing)
    }

    async fn remove(&self, name: &str) -> Result<()> {
        // What is frozen cannot end; one that is gone needs no thawing.
        let _ = freeze(name, self.scope.cgroup(), false);
        let child = self.children.lock().expect("no panic while held").remove(name);
        let mut cleaned_up = false;
        if let Some(mut child) = child {
            // Its input is closed, so it is on its way out, unless a process inside is stuck.
            let ended = tokio::time::timeout(Duration::from_secs(10), child.wait()).await;
            cleaned_up = matches!(ended, Ok(Ok(status)) if status.success());
        }
        let bundle = bundle(name);
        if !cleaned_up && bundle.exists() {
            delete(&self.program, name, self.scope.cgroup()).await?;
        }
        match fs::remove_dir_all(&bundle) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).context(|| format!("removing {}", bundle.display()))
            }
            _ => Ok(()),
        }
    }

    async fn sweep(&self) -> Result<Vec<String>> {
        let mut swept = Vec::new();
        for folder in ["containers", "bundles"] {
            let folder = Path::new(STATE).join(folder);
            for entry in
                fs::read_dir(&folder).context(|| format!("reading {}", folder.display()))?
            {
                let name = entry.context(|| "reading a folder".into())?.file_name();
                let Some(name) = name.to_str() else { continue };
                let left = container_owner(name).is_some_and(|owner| !owner.is_alive());
                if left && self.is_ours(name) {
                    self.remove(name).await?;
                    swept.push(name.to_string());
                }
            }
        }
        swept.sort();
        swept.dedup();
        Ok(swept)
    }
}

/// Freezes or thaws the cgroup of a container (cgroup-v1/freezer-subsystem.rst, cgroup-v2.rst of the
/// kernel), and waits until it is so. `slice` is the cgroup of its scope.
fn freeze(name: &str, slice: &str, frozen: bool) -> std::io::Result<()> {
    const PATIENCE: u32 = 2000;
    let mount = Path::new("/sys/fs/cgroup");
    let v2 = mount.join("cgroup.controllers").exists();
    let top = if v2 { mount.to_path_buf() } else { mount.join("freezer") };
    let folder = [UNMEASURED, slice]
        .map(|parent| top.join(parent).join(name))
        .into_iter()
        .find(|folder| folder.exists())
        .ok_or(std::io::ErrorKind::NotFound)?;
    let (file, word) = match (v2, frozen) {
        (true, true) => ("cgroup.freeze", "1"),
        (true, false) => ("cgroup.freeze", "0"),
        (false, true) => ("freezer.state", "FROZEN"),
        (false, false) => ("freezer.state", "THAWED"),
    };
    fs::write(folder.join(file), word)?;
    let done = || -> std::io::Result<bool> {
        Ok(match v2 {
            true => fs::read_to_string(folder.join("cgroup.events"))?
                .lines()
                .any(|line| line.strip_prefix("frozen ") == Some(word)),
            false => fs::read_to_string(folder.join(file))?.trim() == word,
        })
    };
    for _ in 0..PATIENCE {
        if done()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Err(std::io::ErrorKind::TimedOut.into())
}

async fn delete(program: &Path, name: &str, slice: &str) -> Result<()> {
    let output = Command::new(program)
        .args([crate::CHILD, "delete", name, slice])
        .output()
        .await
        .context(|| format!("removing the container {name}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Err(Error::infrastructure(format!("removing the container {name}: {said}")))
}

/// What of the machine is hidden, as Docker hides it.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// The mount options of terminals.
const TERMINALS: [&str; 5] = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];

/// What of the machine may be read only.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The OCI runtime configuration (opencontainers/runtime-spec, config.md).
fn config(name: &str, spec: &Spec, probe: &Path, slice: &str) -> Value {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        // Programs may have terminals of their own, as under Docker.
        mount("/dev/pts", "devpts", &TERMINALS),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ];
    mounts.extend(spec.writable().map(|(target, options)| {
        mount(target, "tmpfs", &options.iter().map(String::as_str).collect::<Vec<_>>())
    }));
    // Not recursive: a read-only recursive bind leaves mounts below it writable.
    let bind = |source: &Path, target: &str, writable: bool| {
        let access = if writable { "rw" } else { "ro" };
        json!({"destination": target, "type": "bind", "source": source,
               "options": ["bind", access, "nosuid", "nodev", "private"]})
    };
    mounts.push(bind(probe, "/dyno/probe", false));
    if spec.network {
        for file in ["/etc/resolv.conf", "/etc/hosts"] {
            if let Ok(real) = fs::canonicalize(file) {
                mounts.push(bind(&real, file, false));
            }
        }
    }
    mounts.extend(spec.mounts.iter().map(|m| bind(&m.source, &m.target, m.writable)));
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    if Path::new("/proc/self/ns/cgroup").exists() {
        namespaces.push("cgroup");
    }
    if !spec.network {
        namespaces.push("network");
    }
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({"type": kind})).collect();
    let env: Vec<String> =
        super::base_env().iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "ociVersion": "1.0.2",
        "hostname": "dyno",
        "annotations": {SCOPE: slice},
        "root": {"path": spec.root.rootfs(), "readonly": true},
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/dyno/probe", spec.settings()],
            "env": env,
            "cwd": "/",
            "noNewPrivileges": true,
            "rlimits": RLIMITS.map(rlimit),
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
        },
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": format!("/{}/{name}", spec.cgroup.as_deref().unwrap_or(UNMEASURED)),
            "resources": {
                "memory": memory(spec.memory_bytes),
                "pids": {"limit": spec.pids},
                "cpu": {"cpus": format_cores(&spec.cpus)},
                "devices": [{"allow": false, "access": "rwm"}],
            },
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    })
}

fn rlimit((name, value): (&str, u64)) -> Value {
    json!({"type": format!("RLIMIT_{}", name.to_uppercase()), "soft": value, "hard": value})
}

/// Memory and swap together are bounded by the same number, where the kernel counts swap.
fn memory(bytes: u64) -> Value {
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let counts_swap = v2 || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists();
    if counts_swap { json!({"limit": bytes, "swap": bytes}) } else { json!({"limit": bytes}) }
}

/// The life of a container's parent: makes it, waits for it, removes its cgroups.
pub(crate) fn run_container(name: &str, bundle: &Path, slice: &str) -> Result<(), String> {
    use libcontainer::container::builder::ContainerBuilder;
    use libcontainer::syscall::syscall::SyscallType;
    use nix::sys::wait::waitpid;
    let error_chain =
        |error: libcontainer::error::LibcontainerError| dyno_base::error::chain(&error);
    let _ = nix::unistd::setsid();
    // Held while this process lives: whoever deletes the container waits for it.
    let alive = fs::File::open(bundle).map_err(|e| format!("{}: {e}", bundle.display()))?;
    let _ = alive.lock();
    // The init process is to be this process's own child, or an orphan of it: either way it is
    // waited for here, so that the cgroup is empty when it is removed.
    // SAFETY: a constant prctl.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    fault::before("embedded.make");
    let mut container = ContainerBuilder::new(name.to_string(), SyscallType::default())
        .with_root_path(Path::new(STATE).join("containers"))
        .map_err(error_chain)?
        .as_init(bundle)
        .with_systemd(false)
        .build()
        .map_err(error_chain)?;
    fault::after("embedded.make");
    let pid = container.pid();
    if let Some(pid) = pid {
        super::protect_from_oom(pid.as_raw().into());
    }
    let started = pid
        .map_or(Ok(()), |pid| loopback_up(pid.as_raw()))
        .and_then(|()| fault::at("embedded.enter", || container.start().map_err(error_chain)));
    if started.is_ok()
        && let Some(pid) = pid
    {
        close_streams();
        thaw_when_left_alone(name, slice, pid);
        let _ = waitpid(pid, None);
    }
    fault::at("embedded.delete", || container.delete(true).map_err(error_chain))?;
    started
}

/// Waits until the container has ended, or the dyno that asked for it has: a frozen probe would not
/// see that nobody speaks to it any more.
fn thaw_when_left_alone(name: &str, slice: &str, pid: nix::unistd::Pid) {
    use std::os::fd::AsRawFd;
    let open = |pid: i32| -> Option<fs::File> {
        use std::os::fd::FromRawFd;
        // SAFETY: the descriptor is new and ours.
        unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32;
            (fd >= 0).then(|| fs::File::from_raw_fd(fd))
        }
    };
    let dyno = nix::unistd::getppid();
    let (Some(container), Some(parent)) = (open(pid.as_raw()), open(dyno.as_raw())) else { return };
    let watch =
        |file: &fs::File| libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut watched = [watch(&container), watch(&parent)];
    // A parent that was gone before it was opened is another by now.
    while nix::unistd::getppid() == dyno {
        // SAFETY: passes a live array with its length.
        let woken = unsafe { libc::poll(watched.as_mut_ptr(), 2, -1) };
        if woken > 0 {
            break;
        }
    }
    if watched[0].revents == 0 {
        let _ = freeze(name, slice, false);
    }
}

/// Switches on the loopback of the container's network namespace, as Docker does; a namespace
/// begins with it off, and the container lacks the capability. On the host's network it is on.
fn loopback_up(pid: i32) -> Result<(), String> {
    use std::os::fd::AsRawFd;
    let loopback_error = |error: std::io::Error| format!("switching on the loopback: {error}");
    let open = |path: String| fs::File::open(path).map_err(loopback_error);
    let ours = open("/proc/self/ns/net".into())?;
    let theirs = open(format!("/proc/{pid}/ns/net"))?;
    // SAFETY: descriptors and the request are live; this process has one thread.
    unsafe {
        if libc::setns(theirs.as_raw_fd(), libc::CLONE_NEWNET) != 0 {
            return Err(loopback_error(std::io::Error::last_os_error()));
        }
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        (request.ifr_name[0], request.ifr_name[1]) = (b'l' as libc::c_char, b'o' as libc::c_char);
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let set = libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &request);
        let error = std::io::Error::last_os_error();
        libc::close(socket);
        if libc::setns(ours.as_raw_fd(), libc::CLONE_NEWNET) != 0 {
            return Err(loopback_error(std::io::Error::last_os_error()));
        }
        if set == 0 { Ok(()) } else { Err(loopback_error(error)) }
    }
}

/// Lets go of the probe's streams: only the probe itself may hold them, or whoever reads them
/// would wait for this process.
fn close_streams() {
    if let Ok(null) = fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        use std::os::fd::AsRawFd;
        for stream in 0..2 {
            // SAFETY: duplicates a live descriptor onto our own standard streams.
            unsafe { libc::dup2(null.as_raw_fd(), stream) };
        }
    }
}

pub(crate) fn delete_container(name: &str, slice: &str) -> Result<(), String> {
    const ATTEMPTS: u32 = 20;
    let state = Path::new(STATE).join("containers").join(name);
    let _ = freeze(name, slice, false);
    wait_for_parent(name);
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let done = match libcontainer::container::Container::load(state.clone()) {
            Ok(mut container) => {
                container.delete(true).map_err(|error| dyno_base::error::chain(&error))
            }
            // Killed before its state was whole: nothing runs yet.
            Err(_) => fs::remove_dir_all(&state).map_err(|e| format!("{}: {e}", state.display())),
        };
        match done {
            Ok(()) => return remove_cgroups(name, slice),
            // Its parent, or another dyno's sweep, was at it too.
            Err(_) if !state.exists() => return remove_cgroups(name, slice),
            Err(error) => last = error,
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(last)
}

/// Waits until the container's parent is gone, if it still goes: it ends when its dyno has. Were a
/// container deleted while it is being made, the other half would stay.
fn wait_for_parent(name: &str) {
    let Ok(bundle) = fs::File::open(bundle(name)) else { return };
    for _ in 0..100 {
        if bundle.try_lock().is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Removes the cgroups of a container whose parent was killed before it could; ends what is in them.
fn remove_cgroups(name: &str, slice: &str) -> Result<(), String> {
    const ATTEMPTS: u32 = 50;
    let mount = Path::new("/sys/fs/cgroup");
    let below = fs::read_dir(mount).into_iter().flatten().flatten().map(|entry| entry.path());
    let tops: Vec<PathBuf> = below.chain([mount.to_path_buf()]).collect();
    let parents = tops.iter().flat_map(|top| [UNMEASURED, slice].map(|parent| top.join(parent)));
    for folder in parents.map(|parent| parent.join(name)) {
        for attempt in 0.. {
            for pid in fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default().lines() {
                if let Ok(pid) = pid.parse::<i32>() {
                    // SAFETY: signals a process of a container that is being removed.
                    unsafe { libc::kill(pid, libc::SIGKILL) };
                }
            }
            match fs::remove_dir(&folder) {
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                    if attempt == ATTEMPTS {
                        return Err(format!("removing {}: {error}", folder.display()));
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                _ => break,
            }
        }
    }
    Ok(())
}
