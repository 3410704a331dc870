//! The docker engine: Docker Engine or Podman over its API, through bollard.
//!
//! The image is loaded once from dyno's own archive, whose image ID is known beforehand, and is
//! used by that ID: what the engine calls it is checked, never trusted. The container removes
//! itself when the probe ends; labels say whose it is, for the sweep.

use dyno_base::process::ProcessIdentity;
use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountType, ResourcesUlimits,
    SystemInfoCgroupDriverEnum,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, ImportImageOptions,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
};
use dyno_host::scope::MachineScope;
use dyno_model::catalog::host::format_cores;
use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::{CAPABILITIES, Engine, RLIMITS, Root, SCOPE, Spec, Streams, container_owner};
use dyno_base::error::{Error, Result, WithContext};
use dyno_base::fault;

/// What to do where images are known by other IDs than those of their configurations.
const CLASSIC_STORE: &str = "write \"features\": {\"containerd-snapshotter\": false} into /etc/docker/daemon.json and restart Docker (new installations of Docker 29 have it on), or run dyno as root, which needs no Docker: engine = \"embedded\" in the host's file";

/// The label that says whose container it is: see [`ProcessIdentity`].
const LABEL: &str = "dyno.container";

/// What an engine of Podman's is called.
const PODMAN: &str = "podman";

mod negotiate;

struct DockerEngine {
    docker: Docker,
    name: String,
    build_user: (u32, u32),
    /// Whether the engine leaves its cgroups to systemd, which wants a slice's name for a parent;
    /// else a path.
    by_systemd: bool,
    socket: String,
    /// Dyno's own program, which the guard is.
    program: PathBuf,
    /// The guard, which is there from the first container that was frozen on.
    guard: Mutex<Option<Guard>>,
    scope: MachineScope,
}

/// A process that outlives a dyno that is killed, and thaws what that left frozen: a probe that is
/// frozen does not see that its input has ended. It waits for the end of its own input.
struct Guard(std::process::Child);

impl Guard {
    fn start(program: &Path, socket: &str) -> std::io::Result<Self> {
        let mut guard = std::process::Command::new(program);
        guard.args([
            crate::CHILD,
            crate::GUARD,
            socket,
            &ProcessIdentity::this_process().to_string(),
        ]);
        // Of a group of its own: a Ctrl-C is not meant for it.
        guard.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        guard.spawn().map(Self)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The life of a guard: `guard SOCKET OWNER`.
pub fn guard_main(socket: &str, owner: &str) -> std::result::Result<(), String> {
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    thaw(socket, owner)
}

/// Thaws the containers of `owner`.
fn thaw(socket: &str, owner: &str) -> std::result::Result<(), String> {
    let error_chain = |error: bollard::errors::Error| dyno_base::error::chain(&error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let docker = negotiate::connect(socket, 60).await.map_err(|error| error.message)?;
        let filters = HashMap::from([("label", vec![LABEL])]);
        let options = ListContainersOptionsBuilder::default().filters(&filters).build();
        for container in docker.list_containers(Some(options)).await.map_err(error_chain)? {
            let name = container.labels.and_then(|labels| labels.get(LABEL).cloned());
            if let Some(name) = name.filter(|name| name.starts_with(&format!("dyno-{owner}-"))) {
                let _ = docker.unpause_container(&name).await;
            }
        }
        Ok(())
    })
}

/// Connects to `socket`, else to `DOCKER_HOST`, else to the usual sockets.
/// `program` is dyno itself.
pub async fn open(
    socket: Option<&str>,
    program: &Path,
    scope: &MachineScope,
) -> Result<Box<dyn Engine>> {
    let candidates = match socket.map(str::to_string).or_else(|| std::env::var("DOCKER_HOST").ok())
    {
        Some(named) => vec![named],
        None => default_sockets(),
    };
    let mut tried = Vec::new();
    for candidate in &candidates {
        match connect(candidate, program, scope).await {
            Ok(engine) => return Ok(Box::new(engine)),
            // An engine that answers but will not do is worth saying so; a missing one is not.
            Err(error) if error.hint.is_some() => return Err(error),
            Err(error) => tried.push(error.message),
        }
    }
    Err(Error::host(format!("no container engine answers: {}", tried.join("; ")))
        .hint("start Docker or Podman, or set DOCKER_HOST to its socket"))
}

fn default_sockets() -> Vec<String> {
    let mut sockets = vec!["/var/run/docker.sock".to_string(), "/run/podman/podman.sock".into()];
    if let Ok(runtime) = std::env::var("XDG_RUNTIME_DIR") {
        sockets.push(format!("{runtime}/docker.sock"));
        sockets.push(format!("{runtime}/podman/podman.sock"));
    }
    sockets
}

async fn connect(address: &str, program: &Path, scope: &MachineScope) -> Result<DockerEngine> {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    if path.contains("://") {
        return Err(Error::host(format!("{address}: only local sockets are supported")).hint(
            "dyno mounts folders of this machine: set DOCKER_HOST to unix:///path/to/socket",
        ));
    }
    let failed = |error: bollard::errors::Error| {
        Error::host(format!("{path}: {}", dyno_base::error::chain(&error)))
    };
    let docker = negotiate::connect(path, 600).await?;
    let version = docker.version().await.map_err(failed)?;
    let kind =
        version.components.iter().flatten().any(|component| component.name.starts_with("Podman"));
    let kind = if kind { PODMAN } else { "docker" };
    let info = docker.info().await.map_err(failed)?;
    let mut store = info.driver_status.iter().flatten().flatten();
    if store.any(|word| word.starts_with("io.containerd.snapshotter")) {
        return Err(Error::host(format!(
            "{path}: the engine keeps images in the containerd image store, which gives them other IDs than their own"
        ))
        .hint(CLASSIC_STORE));
    }
    let by_systemd = info.cgroup_driver == Some(SystemInfoCgroupDriverEnum::SYSTEMD);
    let rootless = info.security_options.iter().flatten().any(|o| o.contains("rootless"));
    let me = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let build_user = match (rootless, me.0) {
        // There, root inside is this user outside.
        (true, _) => (0, 0),
        (false, 0) => (1000, 1000),
        (false, _) => me,
    };
    let name = format!("{kind} {}", version.version.unwrap_or_default());
    let (socket, program, guard) = (path.to_string(), program.to_path_buf(), Mutex::default());
    let scope = scope.clone();
    Ok(DockerEngine { docker, name, build_user, by_systemd, socket, program, guard, scope })
}

impl DockerEngine {
    /// The image's reference in this engine, loading it if it is not there.
    async fn ensure_image(&self, root: &dyn Root) -> Result<String> {
        let wanted = root.id().to_string();
        if self.docker.inspect_image(&wanted).await.is_ok() {
            return Ok(wanted);
        }
        let archive = root.archive().await?;
        let doing = || format!("loading the image {wanted} into {}", self.name);
        let file = tokio::fs::File::open(&archive).await.context(doing)?;
        let stream = tokio_util::io::ReaderStream::with_capacity(file, 1 << 20);
        let mut answers =
            Box::pin(self.docker.import_image_stream(ImportImageOptions::default(), stream, None));
        fault::before("docker.load");
        while let Some(answer) = answers.next().await {
            answer.context(doing)?;
        }
        fault::after("docker.load");
        if self.docker.inspect_image(&wanted).await.is_ok() {
            return Ok(wanted);
        }
        Err(Error::host(format!("{} gave the image another ID than {wanted}", self.name))
            .hint(CLASSIC_STORE))
    }

    fn is_podman(&self) -> bool {
        self.name.starts_with(PODMAN)
    }

    /// What may be written; and under Podman, which adds writable folders to a read-only root,
    /// those closed. Podman has a `/dev/shm` of its own and does not know how to bound the number
    /// of files: there the container's memory does.
    fn tmpfs(&self, spec: &Spec) -> HashMap<String, String> {
        let podman = self.is_podman();
        let mut tmpfs = HashMap::new();
        for (folder, mut options) in spec.writable() {
            if podman && folder != "/tmp" {
                continue;
            }
            options.retain(|option| !podman || !option.starts_with("nr_inodes"));
            tmpfs.insert(folder.to_string(), format!("rw,{}", options.join(",")));
        }
        if podman {
            for folder in ["/run", "/var/tmp"] {
                tmpfs.insert(folder.into(), "ro,nosuid,nodev,noexec,mode=755,size=64k".into());
            }
        }
        tmpfs
    }

    /// See [`super::protect_from_oom`]; only if the engine's process ids are this machine's.
    async fn spare(&self, name: &str) {
        let found = self.docker.inspect_container(name, None).await.ok();
        let Some(pid) = found.and_then(|found| found.state?.pid) else { return };
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if command.starts_with(b"/dyno/probe\0") {
            super::protect_from_oom(pid);
        }
    }

    fn body(&self, name: &str, image: String, spec: &Spec, probe: &Path) -> ContainerCreateBody {
        let bind = |source: &Path, target: &str, writable: bool| Mount {
            target: Some(target.to_string()),
            source: Some(source.display().to_string()),
            typ: Some(MountType::BIND),
            read_only: Some(!writable),
            bind_options: Some(MountBindOptions {
                propagation: Some(MountBindOptionsPropagationEnum::PRIVATE),
                // A read-only recursive bind leaves mounts below it writable.
                non_recursive: Some(true),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut mounts = vec![bind(probe, "/dyno/probe", false)];
        mounts.extend(spec.mounts.iter().map(|m| bind(&m.source, &m.target, m.writable)));
        let env = super::base_env().iter().map(|(name, value)| format!("{name}={value}")).collect();
        ContainerCreateBody {
            image: Some(image),
            hostname: Some("dyno".into()),
            user: Some("0:0".into()),
            entrypoint: Some(vec!["/dyno/probe".into()]),
            cmd: Some(vec![spec.settings()]),
            env: Some(env),
            working_dir: Some("/".into()),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            // The probe's input ends with this connection, and the container with it.
            stdin_once: Some(true),
            tty: Some(false),
            labels: Some(HashMap::from(
                [(LABEL, name), (SCOPE, self.scope.cgroup())]
                    .map(|(label, value)| (label.to_string(), value.to_string())),
            )),
            host_config: Some(HostConfig {
                mounts: Some(mounts),
                memory: Some(spec.memory_bytes as i64),
                memory_swap: Some(spec.memory_bytes as i64),
                pids_limit: Some(spec.pids as i64),
                ulimits: Some(RLIMITS.map(rlimit).into()),
                cgroup_parent: spec.cgroup.as_ref().map(|slice| match self.by_systemd {
                    true => slice.to_string(),
                    false => format!("/{slice}"),
                }),
                cpuset_cpus: Some(format_cores(&spec.cpus)),
                network_mode: Some(if spec.network { "bridge" } else { "none" }.into()),
                readonly_rootfs: Some(true),
                tmpfs: Some(self.tmpfs(spec)),
                shm_size: Some(spec.shm_bytes() as i64),
                cap_drop: Some(vec!["ALL".into()]),
                cap_add: Some(CAPABILITIES.map(String::from).into()),
                // The probe installs its own filter, the same under every engine.
                security_opt: Some(vec!["no-new-privileges".into(), "seccomp=unconfined".into()]),
                cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
                ipc_mode: Some("private".into()),
                log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
                auto_remove: Some(true),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

#[async_trait]
impl Engine for DockerEngine {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn build_user(&self) -> (u32, u32) {
        self.build_user
    }

    fn bounds_files(&self) -> bool {
        !self.is_podman()
    }

    async fn start(&self, name: &str, spec: &Spec, probe: &Path) -> Result<Streams> {
        let image = self.ensure_image(spec.root.as_ref()).await?;
        let body = self.body(name, image, spec, probe);
        let doing = || format!("starting the container {name} with {}", self.name);
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let create = self.docker.create_container(Some(options), body);
        fault::around("docker.create", create).await.context(doing)?;
        let options = AttachContainerOptionsBuilder::default()
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .stream(true)
            .build();
        let attach = self.docker.attach_container(name, Some(options));
        let attached = fault::around("docker.attach", attach).await.context(doing)?;
        let start = self.docker.start_container(name, None::<StartContainerOptions>);
        fault::around("docker.start", start).await.context(doing)?;
        if nix::unistd::geteuid().is_root() {
            self.spare(name).await;
        }
        Ok(demultiplex(attached))
    }

    async fn freeze(&self, name: &str, frozen: bool) -> Result<()> {
        if frozen {
            let mut guard = self.guard.lock().expect("no panic while held");
            if guard.is_none() {
                let started = Guard::start(&self.program, &self.socket);
                *guard = Some(started.context(|| "starting what thaws containers".into())?);
            }
        }
        let done = match frozen {
            true => self.docker.pause_container(name).await,
            false => self.docker.unpause_container(name).await,
        };
        done.context(|| {
            format!("{} the container {name}", if frozen { "freezing" } else { "thawing" })
        })
    }

    async fn remove(&self, name: &str) -> Result<()> {
        // What is frozen cannot end; of any other this is an error that says nothing.
        let _ = self.docker.unpause_container(name).await;
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let mut last = None;
        // "Removal in progress" (409) is the engine doing it already: wait until it is gone.
        for _ in 0..50 {
            match self.docker.remove_container(name, Some(options.clone())).await {
                Err(bollard::errors::Error::DockerResponseServerError {
                    status_code: 404, ..
                }) => {
                    return Ok(());
                }
                Ok(()) => {}
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        match last {
            None => Ok(()),
            Some(error) => Err(error).context(|| format!("removing the container {name}")),
        }
    }

    async fn sweep(&self) -> Result<Vec<String>> {
        let filters = HashMap::from([("label", vec![LABEL])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let doing = || format!("listing the containers of {}", self.name);
        let listed = self.docker.list_containers(Some(options)).await.context(doing)?;
        let mut swept = Vec::new();
        for container in listed {
            let mut labels = container.labels.unwrap_or_default();
            let is_ours = self.scope.has_container(labels.get(SCOPE).map(String::as_str));
            let Some(name) = labels.remove(LABEL).filter(|_| is_ours) else { continue };
            if container_owner(&name).is_some_and(|owner| !owner.is_alive()) {
                self.remove(&name).await?;
                swept.push(name);
            }
        }
        Ok(swept)
    }
}

fn rlimit((name, value): (&str, u64)) -> ResourcesUlimits {
    ResourcesUlimits {
        name: Some(name.to_string()),
        soft: Some(value as i64),
        hard: Some(value as i64),
    }
}

/// Splits the engine's one stream into the probe's two.
fn demultiplex(attached: AttachContainerResults) -> Streams {
    let (mut output, output_end) = tokio::io::duplex(256 << 10);
    let (mut errors, errors_end) = tokio::io::duplex(16 << 10);
    let mut stream = attached.output;
    tokio::spawn(async move {
        while let Some(Ok(chunk)) = stream.next().await {
            let written = match chunk {
                LogOutput::StdErr { message } => errors.write_all(&message).await,
                LogOutput::StdOut { message } | LogOutput::Console { message } => {
                    output.write_all(&message).await
                }
                LogOutput::StdIn { .. } => Ok(()),
            };
            // Whoever reads is gone: so is the need to read on.
            if written.is_err() {
                return;
            }
        }
    });
    Streams { input: attached.input, output: Box::pin(output_end), errors: Box::pin(errors_end) }
}
