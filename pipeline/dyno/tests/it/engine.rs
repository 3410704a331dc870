//! One conformance test that every engine passes: what a container is asked to be, it is, seen
//! from inside; and nothing of it is left afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use dyno_base::error::Result;
use dyno_engine::{Container, Engines, Mount, Root, Spec, base_env, verify};
use dyno_model::catalog::host;
use dyno_model::id::Digest;
use dyno_probe::{End, Exit, Settings, Spawn};

use crate::skip;
use crate::world::{docker, forget, guest, in_docker, left_by, own_scope, root};

/// A root of nothing but mount points and the guest; once more as a program with the set-user-id
/// bit, and the disk of this machine as a device.
pub struct GuestRoot {
    folder: PathBuf,
    id: Digest,
}

impl GuestRoot {
    fn new(folder: &Path) -> Self {
        let rootfs = folder.join("rootfs");
        let points = "proc sys dev tmp dyno work etc/ssl/certs";
        for point in points.split(' ') {
            std::fs::create_dir_all(rootfs.join(point)).unwrap();
        }
        std::fs::set_permissions(rootfs.join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
        for file in ["dyno/probe", "etc/resolv.conf", "etc/hosts"] {
            std::fs::write(rootfs.join(file), "").unwrap();
        }
        std::fs::write(rootfs.join("guest"), guest()).unwrap();
        std::fs::set_permissions(rootfs.join("guest"), PermissionsExt::from_mode(0o755)).unwrap();
        // An image of this test's own, which it may remove from Docker.
        std::fs::write(rootfs.join("ground"), folder.display().to_string()).unwrap();
        std::fs::write(rootfs.join("suid"), guest()).unwrap();
        std::fs::set_permissions(rootfs.join("suid"), PermissionsExt::from_mode(0o6755)).unwrap();
        if root() {
            use nix::sys::stat::{Mode, SFlag, mknod, stat};
            let disk = stat("/var/tmp").unwrap().st_dev;
            let mode = Mode::from_bits_truncate(0o666);
            mknod(&rootfs.join("disk"), SFlag::S_IFBLK, mode, disk).unwrap();
            std::fs::set_permissions(rootfs.join("disk"), PermissionsExt::from_mode(0o666))
                .unwrap();
        }
        let mut layer = tar::Builder::new(Vec::new());
        layer.follow_symlinks(false);
        layer.append_dir_all(".", &rootfs).unwrap();
        let layer = layer.into_inner().unwrap();
        let config = serde_json::json!({
            "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let id = Digest::of(&config);
        let name = format!("{}.json", id.hex());
        let manifest =
            serde_json::json!([{"Config": name, "RepoTags": [], "Layers": ["layer.tar"]}]);
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let mut archive =
            tar::Builder::new(std::fs::File::create(folder.join("image.tar")).unwrap());
        for (path, bytes) in
            [("layer.tar", &layer), (name.as_str(), &config), ("manifest.json", &manifest)]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, bytes.as_slice()).unwrap();
        }
        archive.finish().unwrap();
        Self { folder: folder.to_path_buf(), id }
    }
}

#[async_trait]
impl Root for GuestRoot {
    fn id(&self) -> &Digest {
        &self.id
    }
    fn rootfs(&self) -> &Path {
        Box::leak(self.folder.join("rootfs").into_boxed_path())
    }
    async fn archive(&self) -> Result<PathBuf> {
        Ok(self.folder.join("image.tar"))
    }
}

/// A run of the guest.
pub fn run(words: &[&str]) -> Spawn {
    let mut argv = vec!["/guest".to_string()];
    argv.extend(words.iter().map(ToString::to_string));
    Spawn {
        argv,
        env: base_env(),
        cwd: "/".into(),
        uid: 1000,
        gid: 1000,
        stdin: None,
        setup: None,
        sizes: BTreeMap::new(),
        units: false,
        time_ms: 20_000,
        output_bytes: 1 << 20,
        stream: false,
        repeat: 1,
        count_instructions: false,
    }
}

pub async fn ask(container: &mut Container, words: &[&str]) -> Exit {
    container.run(&run(words), |_| ()).await.unwrap()
}

/// What the kernel counts of a process is there, whoever waits for its children; what it does not
/// count is named.
async fn counts(container: &mut Container) {
    let sandbox = container.sandbox().clone();
    let named: BTreeSet<&String> =
        sandbox.counted.iter().chain(sandbox.not_counted.keys()).collect();
    assert_eq!(named, BTreeSet::from([&"cpu-migrations".to_string(), &"task-clock".to_string()]));
    for words in [&["burn"][..], &["burn"], &["orphan", "burn"], &["uncount", "burn"]] {
        let exit = ask(container, words).await;
        assert_eq!(exit.end, End::Code(0), "{words:?}");
        let counted: BTreeSet<&String> = exit.counters.keys().collect();
        assert_eq!(counted, sandbox.counted.iter().collect(), "{words:?}");
        let clock = exit.counters["task-clock"];
        assert!(clock.value > 20_000_000 && !clock.scaled, "{words:?}: {clock:?}");
    }
    // What the kernel adds to no process's time is the container's all the same.
    let exit = ask(container, &["ignore", "burn"]).await;
    assert_eq!(exit.end, End::Code(0));
    // (An emulated processor takes that long to start a program.)
    let own = exit.user_ns + exit.system_ns;
    assert!(exit.container_ns >= own + 25_000_000, "{exit:?}");
    // Half a count is none.
    let copies = Spawn { output_bytes: 64 << 20, ..run(&["unreadable", "burn", "200"]) };
    let exit = container.run(&copies, |_| ()).await.unwrap();
    assert_eq!((exit.end, exit.counters), (End::Code(0), BTreeMap::new()));
}

/// How many different address layouts three processes have.
async fn layouts(container: &mut Container) -> usize {
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        seen.insert(ask(container, &["addresses"]).await.stdout_tail);
    }
    seen.len()
}

/// Where containers of one engine can be started; what they see of it is `/work`, which they may
/// write, and `/etc/ssl/certs/secret`, which they may read.
pub struct Ground {
    pub folder: tempfile::TempDir,
    pub engines: Arc<Engines>,
    pub spec: Spec,
    engine: String,
    /// The names of the containers that were started.
    started: Mutex<Vec<String>>,
}

impl Ground {
    /// Says so where there is no such engine.
    pub async fn open(engine: &str) -> Option<Self> {
        let host = host::parse("test", "test.toml", &format!("engine = \"{engine}\"\n")).unwrap();
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_dyno"));
        let scope = own_scope(folder.path());
        let opened = Engines::open(&host, &folder.path().join("cache"), program, &scope).await;
        let engines = opened.map_err(|error| skip(engine, &error.to_string())).ok()?;
        let work = folder.path().join("work");
        std::fs::create_dir(&work).unwrap();
        std::fs::set_permissions(&work, PermissionsExt::from_mode(0o777)).unwrap();
        let read = folder.path().join("read");
        std::fs::create_dir(&read).unwrap();
        std::fs::write(read.join("secret"), "12345").unwrap();
        let last = std::thread::available_parallelism().unwrap().get() as u32 - 1;
        let spec = Spec {
            root: Arc::new(GuestRoot::new(folder.path())),
            mounts: vec![
                Mount::writable(&work, "/work"),
                Mount::read_only(&read, "/etc/ssl/certs"),
            ],
            network: false,
            cpus: BTreeSet::from([last]),
            cores_may_shrink: false,
            memory_bytes: 128 << 20,
            pids: 32,
            tmp_bytes: 16 << 20,
            user: (1000, 1000),
            cgroup: None,
            probe: Settings {
                counters: BTreeSet::from(["task-clock".into(), "cpu-migrations".into()]),
                fixed_layout: false,
            },
        };
        Some(Self { folder, engines, spec, engine: engine.into(), started: Mutex::default() })
    }

    /// Starts a container.
    pub async fn start(&self, spec: &Spec) -> Container {
        let container = self.engines.start(spec).await.unwrap();
        self.started.lock().unwrap().push(container.name().to_string());
        container
    }

    /// Nothing of the containers is left.
    pub async fn close(self) {
        self.engines.remove_all().await.unwrap();
        let started = self.started.into_inner().unwrap();
        assert!(!started.is_empty());
        let id = std::process::id();
        let mut left = left_by(id);
        let docker = if self.engine == "docker" { docker().await } else { None };
        if let Some(docker) = &docker {
            left.extend(in_docker(docker, id).await);
        }
        // Other tests of this process have containers too.
        left.retain(|name| started.contains(name));
        assert_eq!(left, Vec::<String>::new());
        if let Some(docker) = &docker {
            forget(docker, &self.spec.root.id().to_string()).await;
        }
    }
}

/// What a program finds around it, whatever the engine.
const FOUND: &[(&[&str], &str)] = &[
    (&["show", "/etc/hosts"], "127.0.0.1 localhost dyno\n::1 localhost dyno"),
    (&["show", "/etc/resolv.conf"], "# no network"),
    (&["show", "/proc/sys/kernel/hostname"], "dyno"),
    (&["where", "/dev/fd"], "/proc/self/fd"),
    (&["where", "/dev/stdin"], "/proc/self/fd/0"),
    (&["where", "/dev/stdout"], "/proc/self/fd/1"),
    (&["where", "/dev/stderr"], "/proc/self/fd/2"),
    (&["where", "/proc/self/fd/0"], "/dev/null"),
    (&["where", "/proc/self/cwd"], "/"),
    (&["write", "/dev/null"], "written"),
    (&["write", "/dev/full"], "Some(28)"),
    (&["write", "/dev/shm/x"], "written"),
    (&["write", "/dev/tty"], "Some(6)"),
    (&["terminal"], "a terminal"),
    (&["status", "Umask"], "0022"),
    (&["status", "Groups"], ""),
    (&["status", "NoNewPrivs"], "1"),
];

async fn finds(ground: &Ground) {
    let mut container = ground.start(&ground.spec).await;
    let mut wrong = Vec::new();
    for (words, expected) in FOUND {
        let exit = ask(&mut container, words).await;
        let said = exit.stdout_tail.trim();
        if exit.end != End::Code(0) || said != *expected {
            wrong.push(format!("{words:?}: {:?}, {said:?} instead of {expected:?}", exit.end));
        }
    }
    container.remove().await.unwrap();
    assert!(wrong.is_empty(), "{}: {}", ground.engine, wrong.join("\n"));
}

async fn conforms(engine: &str) {
    let Some(ground) = Ground::open(engine).await else { return };
    let (engines, spec) = (Arc::clone(&ground.engines), ground.spec.clone());
    let work = ground.folder.path().join("work");
    finds(&ground).await;
    let last = *spec.cpus.first().unwrap();

    let mut container = ground.start(&spec).await;
    let sandbox = container.sandbox().clone();
    assert_eq!(sandbox.cpus, [last]);
    assert_eq!((sandbox.uid, sandbox.pid), (0, 1));
    let mut other = spec.clone();
    (other.memory_bytes, other.pids, other.cpus) = (1 << 30, 99, BTreeSet::from([7]));
    other.probe.fixed_layout = true;
    let wrong = verify(&other, &sandbox, engines.bounds_files());
    assert_eq!(wrong.len(), 4, "what does not hold is named: {wrong:?}");

    let said = |exit: &Exit| (exit.end.clone(), exit.stdout_tail.trim().to_string());
    let ok = |text: &str| (End::Code(0), text.to_string());
    let cases: &[(&[&str], &str)] = &[
        (&["print", "hello"], "hello"),
        (&["write", "/x"], "Some(30)"),
        (&["write", "/guest"], "Some(30)"),
        (&["write", "/dyno/probe"], "Some(30)"),
        (&["write", "/etc/ssl/certs/secret"], "Some(30)"),
        (&["read", "/etc/ssl/certs/secret"], "5 bytes"),
        (&["write", "/work/x"], "written"),
        (&["write", "/tmp/x"], "written"),
        // What one run left in /tmp the next does not find.
        (&["read", "/tmp/x"], "Some(2)"),
        // The probe is out of reach: another user, and not dumpable.
        (&["read", "/proc/1/environ"], "Some(13)"),
        // What counts it is not its to open, whatever the kernel would allow.
        (&["perf"], "Some(38)"),
        (&["connect", "127.0.0.1:9"], "Some(111)"),
        (&["connect", "192.0.2.1:80"], "Some(101)"),
    ];
    for (words, expected) in cases {
        assert_eq!(said(&ask(&mut container, words).await), ok(expected), "{words:?}");
    }
    assert_eq!(std::fs::read(work.join("x")).unwrap(), b"x");

    let environment = ask(&mut container, &["environment"]).await.stdout_tail;
    let names: Vec<&str> = environment.lines().filter_map(|l| Some(l.split_once('=')?.0)).collect();
    assert_eq!(names, ["HOME", "LANG", "PATH", "TZ"], "nothing of the host's environment");

    counts(&mut container).await;
    assert_eq!(layouts(&mut container).await, 3, "each process has its own address layout");

    // Limits bound, and the container lives on.
    assert_eq!(ask(&mut container, &["memory", "500"]).await.end, End::Signal(9));
    let many = ask(&mut container, &["processes", "100"]).await;
    let started: u32 = many.stdout_tail.trim().parse().unwrap();
    assert!((10..32).contains(&started), "{started}");
    assert_eq!(many.leftovers, started, "what is left behind is ended and counted");
    let flood = ask(&mut container, &["flood"]).await;
    assert_eq!((flood.end, flood.stdout_bytes), (End::Signal(25), 1 << 20));
    let endless = Spawn { time_ms: 200, ..run(&["spin"]) };
    assert_eq!(container.run(&endless, |_| ()).await.unwrap().end, End::Timeout);
    assert_eq!(said(&ask(&mut container, &["print", "still here"]).await), ok("still here"));

    // Kill: a container is removed while a process in it runs.
    let long = run(&["sleep", "60"]);
    let hanging = container.run(&long, |_| ());
    assert!(tokio::time::timeout(Duration::from_millis(300), hanging).await.is_err());
    let before = Instant::now();
    container.remove().await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(20));
    engines.remove_all().await.unwrap();

    let fixed = Settings { fixed_layout: true, ..spec.probe.clone() };
    let mut container = ground.start(&Spec { probe: fixed, ..spec.clone() }).await;
    assert_eq!(layouts(&mut container).await, 1, "one address layout for all");
    container.remove().await.unwrap();

    // The network is there when asked for, and only then.
    let online = ground.start(&Spec { network: true, ..spec.clone() }).await;
    assert!(!online.sandbox().interfaces.is_empty());
    online.remove().await.unwrap();
    ground.close().await;
}

#[tokio::test]
async fn embedded_conforms() {
    conforms("embedded").await;
}

#[tokio::test]
async fn docker_conforms() {
    conforms("docker").await;
}
