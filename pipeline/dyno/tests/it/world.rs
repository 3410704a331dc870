//! What the tests of whole jobs stand on, none of it from outside: the guest and an image of
//! nothing but it, a registry on loopback that has this image, a git repository with two commits,
//! a catalog, and a `dyno` that sees only these.
//!
//! A commit of the made-up target is two scripts for the guest: `build` makes the artifact (the
//! guest itself and the second script), and `program` is what the benchmark then runs.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dyno_host::scope::MachineScope;
use dyno_model::id::Digest;

/// How long one dyno may take before the test gives up on it, beside other tests.
const PATIENCE: Duration = Duration::from_secs(240);

/// The words of the job that most tests ask for.
pub const RUN: [&str; 6] = ["run", "made", "v1", "v2", "--rounds", "2"];

/// Whether to go on without `what`; panics where CI has asked for it.
pub fn skip(what: &str, why: &str) {
    let required = std::env::var("DYNO_TEST_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|r| r == what), "{what} is required but missing: {why}");
    let line = format!("skipped: needs {what}: {why}");
    eprintln!("{line}");
    if let Some(file) = std::env::var_os("DYNO_TEST_SKIPPED") {
        let line = format!("{}: {line}\n", std::thread::current().name().unwrap_or("a test"));
        let mut options = std::fs::OpenOptions::new();
        let file = options.append(true).create(true).open(file);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("DYNO_TEST_SKIPPED");
    }
}

/// Fails unless `told` ended with `code` and has all `parts` on standard error.
pub fn check(told: &Told, code: i32, parts: &[&str]) {
    assert_eq!(told.code, Some(code), "{told:?}");
    for part in parts {
        assert!(told.err.contains(part), "no {part:?} in {told:?}");
    }
}

/// The guest, compiled once a test process.
pub fn guest() -> &'static [u8] {
    static GUEST: OnceLock<Vec<u8>> = OnceLock::new();
    GUEST.get_or_init(|| compiled(&[]).expect("rustc compiles for this machine"))
}

/// The guest as a program for a machine that this one is not, if this machine's rustc has what it
/// needs for that (`rustup target add`).
pub fn foreign_guest() -> Option<&'static [u8]> {
    static GUEST: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    let target = format!("--target={}-unknown-linux-musl", foreign().0);
    GUEST.get_or_init(|| compiled(&[&target, "-Clinker=rust-lld"])).as_deref()
}

/// `uname -m` and OCI's and Debian's one name of an architecture that this machine is not.
pub fn foreign() -> (&'static str, &'static str) {
    if cfg!(target_arch = "x86_64") { ("aarch64", "arm64") } else { ("x86_64", "amd64") }
}

fn compiled(more: &[&str]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("guest");
    let built = Command::new("rustc")
        .args(["-O", "--edition=2024", "-Ctarget-feature=+crt-static", "-Cstrip=symbols", "-o"])
        .arg(&program)
        .args(more)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/guest.rs"))
        .output()
        .unwrap();
    built.status.success().then(|| fs::read(program).unwrap())
}

/// Serves files (path → body, made for the address `127.0.0.1:PORT` that this returns) over HTTP
/// on loopback until the process ends; blobs wait for as long as the flag is up.
pub fn serve(
    files: impl FnOnce(&str) -> HashMap<String, Vec<u8>>,
    stalled: Arc<AtomicBool>,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let files = files(&address);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (files, stalled) = (files.clone(), Arc::clone(&stalled));
            std::thread::spawn(move || {
                answer(stream, |path| {
                    let until = Instant::now() + PATIENCE;
                    while path.contains("/blobs/")
                        && stalled.load(Ordering::Relaxed)
                        && Instant::now() < until
                    {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    match files.get(path) {
                        Some(body) => ("200 OK", body.clone()),
                        None if path == "/v2/" => ("200 OK", b"{}".to_vec()),
                        None => ("404 Not Found", Vec::new()),
                    }
                })
            });
        }
    });
    address
}

/// Answers one HTTP request on `stream`: path → status and body.
pub fn answer(mut stream: impl Read + Write, reply: impl Fn(&str) -> (&'static str, Vec<u8>)) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (status, body) = reply(head.split(' ').nth(1).unwrap_or(""));
    let headers = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // Whoever asked may be gone.
    drop(stream.write_all(headers.as_bytes()).and_then(|()| stream.write_all(&body)));
}

/// A git that is nobody's in particular.
pub fn git(folder: &Path, words: &[&str]) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(["-c", "user.name=t", "-c", "user.email=t@example.org"]);
    git.args(["-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]);
    let output = git.args(words).output().unwrap();
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

/// A script that makes the usual artifact.
pub const BUILD: &str = "copy /guest /build/tool\ncopy /src/program /build/program\n";

const SUITE: &str = r#"what = "a made-up target"
image = "guest"
metrics = ["wall", "max-rss", "artifact-size"]
[source]
git = "../../target"
[build]
command = ["/guest", "script", "/src/build"]
outputs = { tool = "tool", program = "program" }
limits = { time_s = 30, memory = "256MiB", pids = 64, output = "64MiB" }
[[benchmark]]
name = "greet"
what = "says hello"
command = ["{artifact}/tool", "script", "{artifact}/program"]
expected = { stdout_file = "hello.txt" }
limits = { time_s = 20, memory = "256MiB", pids = 64, output = "1MiB" }
"#;

/// A catalog and everything it names, in a folder that goes with it.
pub struct World {
    folder: tempfile::TempDir,
    /// While it is up, the registry gives no blob.
    pub stalled: Arc<AtomicBool>,
    /// Whom its dynos take turns with: each other, or all of the machine.
    pub scope: MachineScope,
}

/// A scope that no other test has; `folder` gets its lock.
pub fn own_scope(folder: &Path) -> MachineScope {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let cgroup = format!("dynotest{}_{number}.slice", std::process::id());
    MachineScope::new(folder.join("measuring.lock"), cgroup).unwrap()
}

/// Tells `dyno` that it is of `scope`.
pub fn set_scope(dyno: &mut Command, scope: &MachineScope) {
    dyno.env("DYNO_MEASURING_LOCK", scope.lock()).env("DYNO_CGROUP", scope.cgroup());
}

/// Removes the cgroup of a test's own scope, if a dyno that was killed has left it.
pub fn forget_scope(scope: &MachineScope) {
    for top in hierarchies() {
        drop(fs::remove_dir(top.join(scope.cgroup())));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.scope != MachineScope::default() {
            forget_scope(&self.scope);
        }
    }
}

/// What a dyno came to.
#[derive(Debug)]
pub struct Told {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl World {
    /// A catalog with an image that is not pinned yet.
    pub fn bare() -> Self {
        let (_, other) = foreign();
        Self::of(guest(), if other == "arm64" { "amd64" } else { "arm64" }, &["guest"])
    }

    /// As [`World::new`], with hosts of an architecture that this machine may emulate.
    pub fn foreign(guest: &[u8]) -> Self {
        let (machine, debian) = foreign();
        let world = Self::of(guest, debian, &["guest"]);
        for host in ["hosts/local.toml", "hosts/docker.toml"] {
            world.edit(host, "engine", &format!("architecture = \"{machine}\"\nengine"));
        }
        world.ready()
    }

    /// A catalog whose image has the guest under each of these names.
    fn of(guest: &[u8], architecture: &str, names: &[&str]) -> Self {
        // Not /tmp, which may be a file system that containers cannot use as they use others.
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let stalled = Arc::new(AtomicBool::new(false));
        let scope = own_scope(folder.path());
        let world = Self { folder, stalled, scope };
        for name in ["suites/made", "images/keys", "images/guest", "hosts", "policies", "store"] {
            fs::create_dir_all(world.path().join(name)).unwrap();
        }
        let image = world.registry(guest, architecture, names);
        world.write("images/guest/image.toml", &image);
        world.write("suites/made/suite.toml", SUITE);
        world.write("suites/made/hello.txt", "hello");
        world.write(
            "hosts/local.toml",
            "engine = \"embedded\"\nload_max = 1000\ndisturbance_max = 1000\n",
        );
        world.write(
            "hosts/docker.toml",
            "engine = \"docker\"\nload_max = 1000\ndisturbance_max = 1000\n",
        );
        world.write(
            "policies/default.toml",
            "[metric.wall]\nsmallest_effect = 0.5\n[metric.artifact-size]\nsmallest_effect = 0.01\ndecides = true\n",
        );
        world
    }

    /// As [`World::bare`], the image pinned and in the cache, and a target with two equal commits
    /// tagged `v1` and `v2`.
    pub fn new() -> Self {
        Self::bare().ready()
    }

    /// As [`World::new`], with what passes for a Valgrind in the image.
    pub fn counting() -> Self {
        let (_, other) = foreign();
        let own = if other == "arm64" { "amd64" } else { "arm64" };
        Self::of(guest(), own, &["guest", "usr/bin/valgrind"]).ready()
    }

    fn ready(self) -> Self {
        let world = self;
        world.commit("v1", BUILD, "print hello\n");
        world.commit("v2", BUILD, "print hello\n");
        let locked = world.dyno(&["image", "lock", "guest"]);
        assert_eq!(locked.code, Some(0), "{locked:?}");
        world
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn cache(&self) -> PathBuf {
        self.path().join("cache")
    }

    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.path().join(file), text).unwrap();
    }

    /// Changes a file of the catalog; `from` must be there.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path().join(file)).unwrap();
        assert!(text.contains(from), "{file}: {from}");
        self.write(file, &text.replacen(from, to, 1));
    }

    /// A new commit of the target, tagged `tag` on the branch `main`; returns its id.
    pub fn commit(&self, tag: &str, build: &str, program: &str) -> String {
        let target = self.path().join("target");
        if !target.exists() {
            fs::create_dir(&target).unwrap();
            git(&target, &["init", "-q", "-b", "main"]);
        }
        fs::write(target.join("build"), build).unwrap();
        fs::write(target.join("program"), program).unwrap();
        git(&target, &["add", "."]);
        git(&target, &["commit", "-q", "--allow-empty", "-m", tag]);
        git(&target, &["tag", tag]);
        git(&target, &["rev-parse", "HEAD"])
    }

    /// Starts a registry that has the guest's image; returns the `image.toml` that names it.
    fn registry(&self, guest: &[u8], architecture: &str, names: &[&str]) -> String {
        let mut layer = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(guest.len() as u64);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        for path in names {
            layer.append_data(&mut header, path, guest).unwrap();
        }
        // An image of this world's own, which it may remove from Docker.
        let name = self.path().display().to_string();
        header.set_size(name.len() as u64);
        layer.append_data(&mut header, "world", name.as_bytes()).unwrap();
        let layer = layer.into_inner().unwrap();
        let config = serde_json::json!({"architecture": architecture, "os": "linux", "config": {}});
        let config = serde_json::to_vec(&config).unwrap();
        let described =
            |bytes: &[u8]| serde_json::json!({"digest": Digest::of(bytes), "size": bytes.len()});
        let manifest =
            serde_json::json!({"config": described(&config), "layers": [described(&layer)]});
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let id = Digest::of(&manifest);
        let blob = |bytes: &[u8]| format!("/v2/guest/blobs/{}", Digest::of(bytes));
        let files = HashMap::from([
            (format!("/v2/guest/manifests/{id}"), manifest),
            (blob(&config), config),
            (blob(&layer), layer),
        ]);
        let host = serve(|_| files, Arc::clone(&self.stalled));
        format!("architectures = [\"{architecture}\"]\nregistry = \"{host}/guest@{id}\"\n")
    }

    /// `dyno` with the environment of this world and no other.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut dyno = Command::new(env!("CARGO_BIN_EXE_dyno"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        dyno.args(words).current_dir(self.path()).env_clear().env("PATH", path);
        dyno.env("DYNO_CATALOG", self.path()).env("DYNO_CACHE", self.cache());
        dyno.env("DYNO_STORE", self.path().join("store"));
        dyno.env("HOME", self.path()).env("XDG_DATA_HOME", self.path().join("data"));
        set_scope(&mut dyno, &self.scope);
        dyno.stdin(Stdio::null());
        dyno
    }

    /// Runs `dyno` to its end.
    pub fn dyno(&self, words: &[&str]) -> Told {
        self.told(self.command(words))
    }

    /// Runs a command to its end, in bounded time; this world's folder reads `[world]` in what it says.
    pub fn told(&self, command: Command) -> Told {
        let output = assert_cmd::Command::from_std(command).timeout(PATIENCE).output().unwrap();
        self.redacted(output)
    }

    /// As [`World::told`], with the process id.
    pub fn told_with_id(&self, mut command: Command) -> (u32, Told) {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let id = child.id();
        let (ended, still) = channel::<()>();
        std::thread::spawn(move || {
            if still.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // SAFETY: a signal to a child that is being waited for.
                unsafe { libc::kill(id as i32, libc::SIGTERM) };
            }
        });
        let output = child.wait_with_output().unwrap();
        drop(ended);
        (id, self.redacted(output))
    }

    fn redacted(&self, output: Output) -> Told {
        let folder = self.path().display().to_string();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&folder, "[world]");
        Told { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Starts `dyno` and returns it as soon as it says `moment` on standard error.
    pub fn until(&self, words: &[&str], moment: &str) -> Running {
        Self::command_until(self.command(words), moment)
    }

    /// Starts `command`, which is one of dyno, and returns it as soon as it says `moment`.
    pub fn command_until(command: Command, moment: &str) -> Running {
        let mut running = Self::start(command);
        running.wait_for(moment);
        running
    }

    /// Starts `dyno` and returns it as soon as it holds at `fault` (`stop:…`); SIGCONT lets it go on.
    pub fn held(&self, words: &[&str], fault: &str) -> Running {
        let mut command = self.command(words);
        command.env(dyno_base::fault::VARIABLE, fault);
        let running = Self::start(command);
        let stat = format!("/proc/{}/stat", running.id());
        let until = Instant::now() + PATIENCE;
        let state = || fs::read_to_string(&stat).ok()?.rsplit_once(") ")?.1.chars().next();
        while state() != Some('T') {
            assert!(Instant::now() < until && state() != Some('Z'), "{fault} is never reached");
            std::thread::sleep(Duration::from_millis(10));
        }
        running
    }

    fn start(mut command: Command) -> Running {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (send, lines) = channel();
        let reader = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                drop(send.send(line));
            }
        });
        Running { child, lines, said: Vec::new() }
    }

    /// Removes this world's image from Docker or Podman.
    pub async fn forget(&self, docker: &bollard::Docker) {
        forget(docker, &self.image()).await;
    }

    /// The ID of this world's image.
    pub fn image(&self) -> String {
        let lock = fs::read_to_string(self.path().join("images/guest/image.lock")).unwrap();
        let id = lock.lines().find_map(|line| line.strip_prefix("id = \"")?.strip_suffix('"'));
        id.unwrap().to_string()
    }

    /// The names of what is in the cache's folder for work in progress.
    pub fn scratch(&self) -> Vec<String> {
        names(&self.cache().join("scratch"), "")
    }

    /// How many runs the store holds.
    pub fn runs(&self) -> String {
        if !self.path().join("store").exists() {
            return "0".into();
        }
        let told = self.dyno(&["sql", "--output", "csv", "SELECT count(*) AS n FROM runs"]);
        assert_eq!(told.code, Some(0), "{told:?}");
        told.out.trim().trim_start_matches("n\n").to_string()
    }
}

/// A dyno at work.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads on until dyno says `moment`.
    pub fn wait_for(&mut self, moment: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.said.last().is_some_and(|line| line.contains(moment)) {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(_) => panic!("dyno never said {moment:?}: {:#?}", self.said),
            }
        }
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: sends a signal to our own child, which was not waited for.
        assert_eq!(unsafe { libc::kill(self.id() as i32, signal) }, 0);
    }

    /// Waits for the end: exit code (`None` when killed) and everything it said.
    pub fn end(mut self) -> (Option<i32>, String) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "dyno does not end: {:#?}", self.said);
            std::thread::sleep(Duration::from_millis(10));
        };
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            self.said.push(line);
        }
        (status.code(), self.said.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The entries of `folder` that begin with `prefix`.
pub fn names(folder: &Path, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(prefix)).collect()
}

/// The tops of the machine's cgroups.
pub fn hierarchies() -> Vec<PathBuf> {
    let mount = Path::new("/sys/fs/cgroup");
    let below = fs::read_dir(mount).unwrap().flatten().map(|entry| entry.path());
    below.filter(|path| path.is_dir()).chain([mount.to_path_buf()]).collect()
}

/// The cgroups in which the embedded engine's containers are, of every scope.
pub fn parents() -> Vec<PathBuf> {
    let ours = |top: PathBuf| {
        let slices = names(&top, "dyno")
            .into_iter()
            .filter(|name| name == "dyno" || name.ends_with(".slice"));
        slices.map(|name| top.join(name)).collect::<Vec<_>>()
    };
    hierarchies().into_iter().flat_map(ours).collect()
}

/// What of the embedded engine's containers of process `id` runs or holds a cgroup.
pub fn alive(id: u32) -> Vec<String> {
    let mine = format!("dyno-{id}-");
    parents().iter().flat_map(|folder| names(folder, &mine)).collect()
}

/// Everything the embedded engine keeps about containers of process `id`.
pub fn left_by(id: u32) -> Vec<String> {
    let mine = format!("dyno-{id}-");
    let folders = ["/run/dyno/containers", "/run/dyno/bundles"];
    let mut left = alive(id);
    left.extend(folders.iter().flat_map(|folder| names(Path::new(folder), &mine)));
    left
}

/// The Docker or Podman of this machine, which `dyno` finds too; says so where there is none.
pub async fn docker() -> Option<bollard::Docker> {
    let docker = match bollard::Docker::connect_with_local_defaults() {
        Ok(docker) => docker.negotiate_version().await,
        Err(error) => Err(error),
    };
    docker.map_err(|error| skip("docker", &error.to_string())).ok()
}

/// Removes an image from Docker or Podman.
pub async fn forget(docker: &bollard::Docker, id: &str) {
    let options = None::<bollard::query_parameters::RemoveImageOptions>;
    docker.remove_image(id, options, None).await.unwrap();
}

/// The names of the containers that the dyno `id` has in Docker or Podman.
pub async fn in_docker(docker: &bollard::Docker, id: u32) -> Vec<String> {
    let options = bollard::query_parameters::ListContainersOptionsBuilder::default().all(true);
    let listed = docker.list_containers(Some(options.build())).await.unwrap();
    let names =
        listed.into_iter().filter_map(|container| container.labels?.remove("dyno.container"));
    names.filter(|name| name.starts_with(&format!("dyno-{id}-"))).collect()
}

/// Whether the embedded engine works here; says so where it does not.
pub fn embedded() -> bool {
    if !root() {
        skip("embedded", "only root makes containers without a daemon");
    }
    root()
}

pub fn root() -> bool {
    // SAFETY: cannot fail.
    unsafe { libc::geteuid() == 0 }
}
