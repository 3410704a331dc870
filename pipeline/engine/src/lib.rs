//! Containers: one small trait, two real engines behind it.
//!
//! An [`Engine`] starts a container whose process 1 is dyno's probe, attached by its standard
//! streams, and removes it. Everything else is the same for both and stands here: [`Engines`]
//! remembers what is alive, [`Container`] speaks the probe's protocol, and [`verify`] compares
//! what holds inside with what was asked for. An engine that drops a limit with only a warning is
//! found out before anything runs.
//!
//! A container ends when its standard input does, because the probe does; so a dyno that is
//! killed leaves nothing running, and [`Engine::sweep`] removes what it left on disk.

pub mod child;
mod docker;
mod embedded;
mod verify;

use dyno_base::process::ProcessIdentity;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dyno_host::scope::MachineScope;
use dyno_model::catalog::host::{EngineChoice, Host};
use dyno_model::id::Digest;
use dyno_probe::{
    Capacity, Exit, IN_MEMORY, LINE_MAX, OUTPUT_MAX, Reply, Request, Sandbox, Settings, Spawn,
    Stream, UNITS_MAX,
};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use dyno_base::atomic_file;
use dyno_base::error::{Error, Result, WithContext};
use dyno_base::fault;

pub use verify::verify;

/// The first argument of a dyno that is such a child.
pub const CHILD: &str = "__container";

/// The word after [`CHILD`] that makes it a guard.
pub(crate) const GUARD: &str = "guard";

/// The label, or annotation, of a container that says which scope it is of, by the name of that
/// one's cgroup.
pub(crate) const SCOPE: &str = "dyno.scope";

/// The probe, built by `build.rs`.
pub const PROBE: &[u8] = include_bytes!(env!("DYNO_PROBE"));

/// The only capabilities a container has: the probe becomes another user for each process it
/// starts, and ends processes of that user.
pub const CAPABILITIES: [&str; 3] = ["CAP_SETUID", "CAP_SETGID", "CAP_KILL"];

/// Open files of a process, and processes of a user, the same under every engine whatever the
/// host's defaults are, and below what an engine without the right to raise limits was itself
/// given. (The container's own number of processes is bounded by its cgroup.) No message queues,
/// which would outlive the process; no priority over others.
pub const RLIMITS: [(&str, u64); 5] =
    [("nofile", 16_384), ("nproc", 16_384), ("msgqueue", 0), ("nice", 0), ("rtprio", 0)];

/// A folder or file of the host inside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub source: PathBuf,
    pub target: String,
    pub writable: bool,
}

impl Mount {
    pub fn read_only(source: impl Into<PathBuf>, target: &str) -> Self {
        Self { source: source.into(), target: target.into(), writable: false }
    }

    pub fn writable(source: impl Into<PathBuf>, target: &str) -> Self {
        Self { source: source.into(), target: target.into(), writable: true }
    }
}

/// What a container is started from, in the form each engine takes.
#[async_trait]
pub trait Root: Send + Sync {
    fn id(&self) -> &Digest;
    /// The unpacked tree.
    fn rootfs(&self) -> &Path;
    /// An archive for `docker load`, made on demand.
    async fn archive(&self) -> Result<PathBuf>;
}

/// A container to start. Everything but the mounts is a limit that is read back.
#[derive(Clone)]
pub struct Spec {
    pub root: Arc<dyn Root>,
    pub mounts: Vec<Mount>,
    /// Whether it may use the network (the fetch step alone).
    pub network: bool,
    pub cpus: BTreeSet<u32>,
    /// Whether some of these cores are enough: a build's work is the same on fewer.
    pub cores_may_shrink: bool,
    pub memory_bytes: u64,
    pub pids: u64,
    /// Size of `/tmp`, in bytes; it counts towards the memory.
    pub tmp_bytes: u64,
    /// User and group that programs run as.
    pub user: (u32, u32),
    /// The cgroup at the top of the machine's that the container's own is to be in; `None` leaves
    /// it to the engine.
    pub cgroup: Option<String>,
    /// What the probe is told when it starts.
    pub probe: Settings,
}

impl Spec {
    /// The probe's argument.
    fn settings(&self) -> String {
        serde_json::to_string(&self.probe).expect("settings serialise")
    }

    /// Size of `/dev/shm`, in bytes.
    fn shm_bytes(&self) -> u64 {
        (self.tmp_bytes / 4).min(64 << 20)
    }

    /// What the file systems in memory that programs may write can hold: `/tmp` and `/dev/shm`.
    /// Both full of data or of empty files, they leave memory for what must go on.
    fn in_memory(&self) -> [(&'static str, Capacity); 2] {
        // An empty file takes about 1 KiB of the kernel's memory.
        let room = |bytes: u64| Capacity { bytes, files: bytes / (4 << 10) };
        let [tmp, shm] = IN_MEMORY;
        [(tmp, room(self.tmp_bytes)), (shm, room(self.shm_bytes()))]
    }

    /// Their mount options.
    fn writable(&self) -> [(&'static str, Vec<String>); 2] {
        self.in_memory().map(|(target, room)| {
            let exec = if target == "/tmp" { "exec" } else { "noexec" };
            let bounds = [format!("size={}", room.bytes), format!("nr_inodes={}", room.files)];
            let options = ["nosuid", "nodev", "mode=1777", exec].map(String::from);
            (target, options.into_iter().chain(bounds).collect())
        })
    }
}

/// A started container's standard streams.
pub struct Streams {
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    pub output: Pin<Box<dyn AsyncRead + Send>>,
    pub errors: Pin<Box<dyn AsyncRead + Send>>,
}

#[async_trait]
pub trait Engine: Send + Sync {
    /// Kind and version, part of the host's fingerprint.
    fn name(&self) -> String;
    /// User and group that builds run as, so that dyno can read and remove what they leave.
    fn build_user(&self) -> (u32, u32);
    /// Whether it can bound the number of files in a file system in memory.
    fn bounds_files(&self) -> bool {
        true
    }
    /// Starts a container called `name` with `probe` as its process 1.
    async fn start(&self, name: &str, spec: &Spec, probe: &Path) -> Result<Streams>;
    /// Stops every process of the container where it stands, or lets them go on.
    async fn freeze(&self, name: &str, frozen: bool) -> Result<()>;
    /// Ends and removes the container, frozen or not; one that is gone already is no error.
    async fn remove(&self, name: &str) -> Result<()>;
    /// Removes containers of its scope whose dyno is gone; returns their names.
    async fn sweep(&self) -> Result<Vec<String>>;
}

/// The engine in use and the containers of this process that are alive.
pub struct Engines {
    engine: Box<dyn Engine>,
    probe: PathBuf,
    /// What every program without a network finds, whatever the engine writes there.
    offline: Vec<Mount>,
    owner: ProcessIdentity,
    live: Mutex<BTreeSet<String>>,
}

impl Engines {
    /// The engine that `host` asks for; `cache` gets a copy of the probe to mount. `program` is
    /// dyno itself, which the embedded engine starts again for each container.
    pub async fn open(
        host: &Host,
        cache: &Path,
        program: &Path,
        scope: &MachineScope,
    ) -> Result<Arc<Self>> {
        let embedded =
            || embedded::Embedded::open(program, scope).map(|e| Box::new(e) as Box<dyn Engine>);
        let engine = match host.engine {
            EngineChoice::Embedded => embedded()?,
            EngineChoice::Docker => docker::open(host.socket.as_deref(), program, scope).await?,
            EngineChoice::Auto => match embedded() {
                Ok(engine) => engine,
                Err(no_embedded) => {
                    docker::open(host.socket.as_deref(), program, scope).await.map_err(|no_docker| {
                        Error::host(format!(
                            "no way to make containers here: embedded: {no_embedded}; docker: {no_docker}"
                        ))
                        .hint("run dyno as root, or start Docker or Podman and set DOCKER_HOST if its socket is not in the usual place")
                    })?
                }
            },
        };
        Ok(Arc::new(Self {
            engine,
            probe: place_probe(cache)?,
            offline: place_offline(cache)?,
            owner: ProcessIdentity::this_process(),
            live: Mutex::default(),
        }))
    }

    pub fn name(&self) -> String {
        self.engine.name()
    }

    pub fn build_user(&self) -> (u32, u32) {
        self.engine.build_user()
    }

    /// See [`Engine::bounds_files`].
    pub fn bounds_files(&self) -> bool {
        self.engine.bounds_files()
    }

    pub async fn sweep(&self) -> Result<Vec<String>> {
        fault::around("sweep.containers", self.engine.sweep()).await
    }

    /// Starts a container and checks from inside that it is what was asked for.
    pub async fn start(self: &Arc<Self>, spec: &Spec) -> Result<Container> {
        fault::around("container.start", self.start_verified(spec)).await
    }

    async fn start_verified(self: &Arc<Self>, spec: &Spec) -> Result<Container> {
        // One count for the process, which may have opened several engines.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dyno-{}-{number}", self.owner);
        self.live.lock().expect("no panic while held").insert(name.clone());
        let mut spec = spec.clone();
        if !spec.network {
            // An image that has no such file gets none.
            let rootfs = spec.root.rootfs().to_path_buf();
            let has = |mount: &&Mount| rootfs.join(mount.target.trim_start_matches('/')).is_file();
            spec.mounts.extend(self.offline.iter().filter(has).cloned());
        }
        let spec = &spec;
        let streams = match self.engine.start(&name, spec, &self.probe).await {
            Ok(streams) => streams,
            Err(error) => {
                // Why it did not start says more than that it cannot be removed.
                let _ = self.remove(&name).await;
                return Err(error);
            }
        };
        let mut container = Container::new(Arc::clone(self), name, streams);
        match container.inspect(spec.user).await.and_then(|sandbox| {
            let wrong = verify(spec, &sandbox, self.bounds_files());
            if wrong.is_empty() {
                Ok(sandbox)
            } else {
                Err(unkept_limits_error(&self.name(), &wrong))
            }
        }) {
            Ok(sandbox) => {
                container.sandbox = Some(sandbox);
                Ok(container)
            }
            Err(error) => {
                let _ = container.remove().await;
                Err(error)
            }
        }
    }

    async fn remove(&self, name: &str) -> Result<()> {
        fault::around("container.remove", self.engine.remove(name)).await?;
        self.live.lock().expect("no panic while held").remove(name);
        Ok(())
    }

    /// Removes every container of this process: what an interrupt calls.
    pub async fn remove_all(&self) -> Result<()> {
        let names = self.live.lock().expect("no panic while held").clone();
        for name in names {
            self.remove(&name).await?;
        }
        Ok(())
    }
}

fn unkept_limits_error(engine: &str, wrong: &[String]) -> Error {
    Error::host(format!("the engine ({engine}) does not keep what was asked for: {}", wrong.join("; ")))
        .hint("limits that are not kept make measurements worthless: mend the engine or the host's cgroups, or name another engine in hosts/<name>.toml")
}

/// A running container, spoken to through its probe.
pub struct Container {
    engines: Arc<Engines>,
    name: String,
    input: Pin<Box<dyn AsyncWrite + Send>>,
    output: BufReader<Pin<Box<dyn AsyncRead + Send>>>,
    errors: Arc<Mutex<Vec<u8>>>,
    sandbox: Option<Sandbox>,
}

impl Container {
    fn new(engines: Arc<Engines>, name: String, streams: Streams) -> Self {
        let errors = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(keep_tail(streams.errors, Arc::clone(&errors)));
        let output = BufReader::with_capacity(64 << 10, streams.output);
        Self { engines, name, input: streams.input, output, errors, sandbox: None }
    }

    /// Its name under the engine.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What held when it was started.
    pub fn sandbox(&self) -> &Sandbox {
        self.sandbox.as_ref().expect("set before the container is handed out")
    }

    async fn inspect(&mut self, (uid, gid): (u32, u32)) -> Result<Sandbox> {
        self.send(&Request::Inspect { uid, gid }).await?;
        match self.receive(Duration::from_secs(60)).await? {
            Reply::Sandbox(sandbox) => Ok(sandbox),
            other => Err(self.protocol_error(&format!("{other:?}"))),
        }
    }

    /// Stops everything in it where it stands (`true`), or lets it go on.
    pub async fn freeze(&self, frozen: bool) -> Result<()> {
        let freezing = self.engines.engine.freeze(&self.name, frozen);
        fault::around(if frozen { "container.freeze" } else { "container.thaw" }, freezing).await
    }

    /// Runs one process; `line` gets its output as it comes, if the run asks for that.
    pub async fn run(&mut self, run: &Spawn, line: impl FnMut(String)) -> Result<Exit> {
        fault::around("container.run", self.run_process(run, line)).await
    }

    async fn run_process(&mut self, run: &Spawn, mut line: impl FnMut(String)) -> Result<Exit> {
        self.send(&Request::Spawn(run.clone())).await?;
        // The probe ends the process in time; this only notices a probe that does not answer.
        let patience = Duration::from_millis(run.time_ms) + Duration::from_secs(60);
        let patience = if run.setup.is_some() { patience * 2 } else { patience };
        let mut units = Vec::new();
        loop {
            match self.receive(patience).await? {
                Reply::Line(text) => line(text),
                Reply::Unit(unit) if units.len() < UNITS_MAX => units.push(*unit),
                Reply::Exit(exit) => return Ok(Exit { units, ..exit }),
                other => return Err(self.protocol_error(&format!("{other:?}"))),
            }
        }
    }

    /// What the last process wrote to `stream`, at most `most` bytes of it.
    pub async fn output(&mut self, stream: Stream, most: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let offset = bytes.len() as u64;
            self.send(&Request::Output { stream, offset }).await?;
            let part = match self.receive(Duration::from_secs(60)).await? {
                Reply::Output(part) => part,
                other => return Err(self.protocol_error(&format!("{other:?}"))),
            };
            let is_last = part.len() < OUTPUT_MAX;
            bytes.extend(part);
            if is_last || bytes.len() >= most {
                bytes.truncate(most);
                return Ok(bytes);
            }
        }
    }

    async fn send(&mut self, request: &Request) -> Result<()> {
        let mut line = serde_json::to_vec(request).expect("requests serialise");
        line.push(b'\n');
        let sent = async {
            self.input.write_all(&line).await?;
            self.input.flush().await
        };
        match sent.await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.lost_error(&error.to_string()).await),
        }
    }

    async fn receive(&mut self, patience: Duration) -> Result<Reply> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.output).take(LINE_MAX as u64);
        let read = tokio::time::timeout(patience, bounded.read_until(b'\n', &mut line)).await;
        match read {
            Err(_) => Err(self.lost_error("no answer in time").await),
            Ok(Err(error)) => Err(self.lost_error(&error.to_string()).await),
            Ok(Ok(0)) => Err(self.lost_error("it ended").await),
            Ok(Ok(_)) => serde_json::from_slice(&line).map_err(|error| {
                self.protocol_error(&format!("{error} in {:?}", String::from_utf8_lossy(&line)))
            }),
        }
    }

    /// The container is gone in the middle of things: an engine that vanished, memory that ran out.
    async fn lost_error(&self, why: &str) -> Error {
        // What it said last may still be on its way.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let errors = self.errors.lock().expect("no panic while held");
        let said = String::from_utf8_lossy(&errors).trim().to_string();
        let said = if said.is_empty() { String::new() } else { format!("; it said: {said}") };
        Error::infrastructure(format!("lost the container {}: {why}{said}", self.name))
    }

    fn protocol_error(&self, what: &str) -> Error {
        Error::infrastructure(format!("the probe in {} answered out of turn: {what}", self.name))
    }

    /// Ends and removes the container.
    pub async fn remove(self) -> Result<()> {
        let Self { engines, name, input, .. } = self;
        drop(input);
        engines.remove(&name).await
    }
}

async fn keep_tail(mut from: Pin<Box<dyn AsyncRead + Send>>, tail: Arc<Mutex<Vec<u8>>>) {
    const KEEP: usize = 4 << 10;
    let mut buffer = [0; 1024];
    while let Ok(count) = from.read(&mut buffer).await
        && count > 0
    {
        let mut tail = tail.lock().expect("no panic while held");
        tail.extend_from_slice(&buffer[..count]);
        let excess = tail.len().saturating_sub(KEEP);
        tail.drain(..excess);
    }
}

/// Sees to it that this process does not end when memory runs out (proc(5)). By the old file: what
/// is set by the new one every program in the container could set again for itself. Best effort:
/// where it cannot be had, a program that takes all memory may take the container with it.
fn protect_from_oom(pid: i64) {
    let _ = std::fs::write(format!("/proc/{pid}/oom_adj"), "-17");
}

/// Writes the probe where engines can mount it from, named by its content.
fn place_probe(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("probe");
    let path = folder.join(Digest::of(PROBE).short());
    if std::fs::metadata(&path).is_ok_and(|found| found.len() == PROBE.len() as u64) {
        return Ok(path);
    }
    let doing = || format!("writing the probe to {}", folder.display());
    std::fs::create_dir_all(&folder).context(doing)?;
    fault::at("probe.place", || atomic_file::replace(&path, PROBE, 0o755)).context(doing)?;
    Ok(path)
}

/// Writes the files that name hosts where there is no network, for engines to mount.
fn place_offline(cache: &Path) -> Result<Vec<Mount>> {
    const FILES: [(&str, &str); 2] = [
        ("/etc/hosts", "127.0.0.1 localhost dyno\n::1 localhost dyno\n"),
        ("/etc/resolv.conf", "# no network\n"),
    ];
    let folder = cache.join("probe");
    let place = |(target, text): (&str, &str)| {
        let path = folder.join(Digest::of(text.as_bytes()).short());
        if std::fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
            let doing = || format!("writing {}", path.display());
            atomic_file::replace(&path, text.as_bytes(), 0o644).context(doing)?;
        }
        Ok(Mount::read_only(path, target))
    };
    FILES.into_iter().map(place).collect()
}

/// The process that a container of this name belongs to.
fn container_owner(name: &str) -> Option<ProcessIdentity> {
    ProcessIdentity::parse(name.strip_prefix("dyno-")?)
}

/// The environment inside: nothing of the host's.
pub fn base_env() -> BTreeMap<String, String> {
    [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/tmp"), ("LANG", "C.UTF-8"), ("TZ", "UTC")]
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .into()
}
