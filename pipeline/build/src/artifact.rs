//! Artifacts: what building one commit with one recipe in one image gave.
//!
//! Two containers, the first of which alone has the network: `fetch`, then `build`. The build
//! sees what was fetched read-only. Only the outputs the suite names are taken, only if they are
//! regular files that are reached without following a link, and only up to the suite's limit. The
//! cache is keyed by (source, image ID, recipe, trust) and each file in it is checked before it is
//! used.
//!
//! **Trust.** The same commit is built once as a trusted one and once as an untrusted one. What an
//! untrusted build gave has a place and an identity of its own, so it is never taken for the trusted
//! one and never lies in its way; an untrusted order may use what a trusted one gave. Everything
//! else that a build can write (its source, Cargo's home, its build folder, `/tmp`) is made for it
//! and thrown away.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dyno_base::scratch::{Scratch, discard};
use dyno_model::catalog::suite::Recipe;
use dyno_model::id::Digest;
use dyno_model::record::{Failure, Trust};
use dyno_model::step::Step;
use dyno_probe::{End, Settings, Spawn};
use serde::{Deserialize, Serialize};

use crate::outputs::{copy_bounded, copy_tree, open_beneath};
use dyno_base::atomic_file;
use dyno_base::digest::file_digest;
use dyno_base::disk::Watch;
use dyno_base::error::{DISK_FULL, Error, Kind, Result, While};
use dyno_base::event::{Event, Events, Phase};
use dyno_base::fault;
use dyno_engine::{Engines, Mount, Root, Spec, base_env};

/// An artifact in the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    pub digest: Digest,
    pub folder: PathBuf,
    /// Output name → (digest, size in bytes).
    pub files: BTreeMap<String, (Digest, u64)>,
    /// Seconds the build took; `None` when it came from the cache.
    pub build_s: Option<f64>,
}

impl Artifact {
    /// What is an image's own: nothing was built, and no file of it is anywhere else.
    pub fn of_image(id: &Digest) -> Self {
        Self { digest: id.clone(), folder: PathBuf::new(), files: BTreeMap::new(), build_s: None }
    }
}

/// What is built, from what, and how.
pub struct Order<'a> {
    /// For people: "wasmi_cli 0.46.0".
    pub what: String,
    /// What identifies the source: a commit, or the digest of a suite.
    pub source: String,
    pub recipe: &'a Recipe,
    pub root: Arc<dyn Root>,
    pub trust: Trust,
}

impl Order<'_> {
    /// The identity of what is built of this order in the class `trust`.
    fn key(&self, trust: Trust) -> Digest {
        let recipe = serde_json::to_vec(self.recipe).expect("plain fields serialise");
        let kind: &[u8] = match trust {
            Trust::Trusted => b"artifact 1",
            Trust::Untrusted => b"artifact 1 untrusted",
        };
        let image = self.root.id().hex();
        Digest::of_parts([kind, self.source.as_bytes(), image.as_bytes(), &recipe])
    }
}

/// Where and with what builds are done.
pub struct Workshop {
    pub engines: Arc<Engines>,
    pub cache: PathBuf,
    pub cpus: std::collections::BTreeSet<u32>,
    pub events: Events,
    /// Begin of the first fetch and end of the last: builds go on beside each other.
    fetching: Mutex<Option<(Instant, Instant)>>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    files: BTreeMap<String, (Digest, u64)>,
}

impl Workshop {
    pub fn new(
        engines: Arc<Engines>,
        cache: PathBuf,
        cpus: std::collections::BTreeSet<u32>,
        events: Events,
    ) -> Self {
        Self { engines, cache, cpus, events, fetching: Mutex::default() }
    }

    /// Seconds from the begin of the first fetch step to the end of the last.
    pub fn fetched_s(&self) -> f64 {
        let fetching = *self.fetching.lock().expect("no panic while held");
        fetching.map_or(0.0, |(begin, end)| (end - begin).as_secs_f64())
    }

    /// The artifact of `order`, from the cache or built. `lay_out` writes the source into the
    /// folder it is given; its error of the kind [`Kind::Case`] is the source's own. The inner
    /// error is the case's own: the source or the build did not work.
    pub async fn make(
        &self,
        order: &Order<'_>,
        lay_out: impl AsyncFnOnce(&Path) -> Result<()>,
    ) -> Result<Result<Artifact, Failure>> {
        let place = |trust: Trust| {
            let digest = order.key(trust);
            let folder = self.cache.join("artifacts").join(trust.name()).join(digest.hex());
            (digest, folder)
        };
        // What a trusted build gave is good enough for everyone.
        let may_use: &[Trust] = match order.trust {
            Trust::Trusted => &[Trust::Trusted],
            Trust::Untrusted => &[Trust::Trusted, Trust::Untrusted],
        };
        for class in may_use {
            let (digest, folder) = place(*class);
            if let Some(files) = cached(&self.cache, &self.events, &folder, *class == order.trust)?
            {
                self.events.end(Phase::Build, format!("{} from the cache", order.what));
                return Ok(Ok(Artifact { digest, folder, files, build_s: None }));
            }
        }
        let (digest, folder) = place(order.trust);
        let started = Instant::now();
        let scratch = Scratch::new(&self.cache)?;
        let source = scratch.folder("src")?;
        match fault::around("source.checkout", lay_out(&source)).await {
            Err(error) if error.kind == Kind::Case => {
                return Ok(Err(failure(Step::Source, error.message, String::new())));
            }
            laid_out => laid_out?,
        }
        let (cargo, build) = (scratch.folder("cargo")?, scratch.folder("build")?);
        cargo_configuration(&cargo)?;
        let user = self.engines.build_user();
        for folder in [&source, &cargo, &build] {
            give(folder, user)?;
        }
        let writable = vec![Mount::writable(&source, "/src"), Mount::writable(&cargo, "/cargo")];
        if let Some(fetch) = &order.recipe.fetch {
            let mut mounts = writable.clone();
            let mut env = build_env(order.recipe);
            lend_network(&mut mounts, &mut env);
            let begin = Instant::now();
            let step = self.step(order, Phase::Fetch, fetch, mounts, env);
            let fetched = fault::around("artifact.fetch", step).await?;
            {
                let mut fetching = self.fetching.lock().expect("no panic while held");
                let (first, _) = fetching.unwrap_or((begin, begin));
                *fetching = Some((first, Instant::now()));
            }
            if let Err(failure) = fetched {
                return Ok(Err(failure));
            }
        }
        let mounts = vec![
            Mount::writable(&source, "/src"),
            Mount::read_only(&cargo, "/cargo"),
            Mount::writable(&build, "/build"),
        ];
        let env = build_env(order.recipe);
        let step = self.step(order, Phase::Build, &order.recipe.build, mounts, env);
        if let Err(failure) = fault::around("artifact.build", step).await? {
            return Ok(Err(failure));
        }
        let files = match self.collect(order.recipe, &build, &scratch, &folder) {
            Ok(files) => files,
            Err(error) if error.kind == Kind::Case => {
                return Ok(Err(failure(Step::Build, error.message, String::new())));
            }
            Err(error) => return Err(error),
        };
        let build_s = started.elapsed().as_secs_f64();
        self.events.end(Phase::Build, format!("{} in {build_s:.0} s", order.what));
        Ok(Ok(Artifact { digest, folder, files, build_s: Some(build_s) }))
    }

    /// Runs one step in a container of its own. The inner error is the step's failure.
    async fn step(
        &self,
        order: &Order<'_>,
        phase: Phase,
        command: &[String],
        mounts: Vec<Mount>,
        env: BTreeMap<String, String>,
    ) -> Result<Result<(), Failure>> {
        let limits = order.recipe.limits;
        self.events.begin(phase, order.what.clone());
        let spec = Spec {
            root: Arc::clone(&order.root),
            mounts,
            network: phase == Phase::Fetch,
            cpus: self.cpus.clone(),
            cores_may_shrink: true,
            memory_bytes: limits.memory_bytes,
            pids: limits.pids,
            tmp_bytes: limits.memory_bytes / 2,
            user: self.engines.build_user(),
            cgroup: None,
            probe: Settings::default(),
        };
        let mut container = self.engines.start(&spec).await?;
        let (uid, gid) = spec.user;
        let run = Spawn {
            argv: command.to_vec(),
            env,
            cwd: "/src".into(),
            uid,
            gid,
            stdin: None,
            setup: None,
            sizes: BTreeMap::new(),
            units: false,
            time_ms: limits.time_s * 1000,
            output_bytes: limits.output_bytes,
            stream: true,
            count_instructions: false,
        };
        let folders = spec.mounts.iter().filter(|m| m.writable).map(|m| m.source.clone());
        let watch = Watch::new(folders.collect(), limits.disk_bytes);
        let line = |text: String| {
            let text = format!("{}: {}", order.what, text.trim());
            self.events.send(Event::Line { phase, text });
        };
        let ran = tokio::select! {
            ran = container.run(&run, line) => Ok(ran),
            too_much = watch.until_too_much() => Err(too_much),
        };
        container.remove().await?;
        let exit = match ran {
            Ok(exit) => exit?,
            Err(too_much) => match too_much.reason(phase.name(), limits.disk_bytes) {
                Some(reason) => return Ok(Err(failure(step_of(phase), reason, String::new()))),
                None => return Err(self.disk_full(order, phase)),
            },
        };
        if exit.end == End::Code(0) {
            return Ok(Ok(()));
        }
        if exit.stdout_tail.contains(DISK_FULL) && nearly_full(&self.cache) {
            return Err(self.disk_full(order, phase));
        }
        let reason = format!("{} {}", phase.name(), describe(&exit.end, limits.time_s));
        Ok(Err(failure(step_of(phase), reason, exit.stdout_tail)))
    }

    fn disk_full(&self, order: &Order<'_>, phase: Phase) -> Error {
        let doing = format!("{} of {} in {}", phase.name(), order.what, self.cache.display());
        Error::from_io(std::io::ErrorKind::StorageFull.into(), doing)
    }

    /// Takes the named outputs out of the build folder and puts them into the cache.
    fn collect(
        &self,
        recipe: &Recipe,
        build: &Path,
        scratch: &Scratch,
        folder: &Path,
    ) -> Result<BTreeMap<String, (Digest, u64)>> {
        let parent = folder.parent().expect("the artifact is in the cache");
        let doing = || format!("keeping the artifact in {}", parent.display());
        let new = scratch.path().join("kept");
        fault::before("artifact.take");
        fs::create_dir_all(parent).and_then(|()| fs::create_dir(&new)).while_(doing)?;
        fs::create_dir(new.join("files")).while_(doing)?;
        let mut files = BTreeMap::new();
        if let Some(sysroot) = &recipe.sysroot {
            let limit = recipe.limits.disk_bytes;
            files = take_sysroot(&build.join(sysroot), &new.join("files"), limit, &doing())?;
        }
        for (name, path) in &recipe.outputs {
            let file = open_beneath(build, path).map_err(|error| {
                Error::new(
                    Kind::Case,
                    format!("the output {name} ({path}) cannot be taken: {error}"),
                )
            })?;
            let dest = new.join("files").join(name);
            let kept = copy_bounded(file, &dest, recipe.limits.output_bytes);
            let kept = kept.map_err(|error| match error.kind() {
                std::io::ErrorKind::FileTooLarge => Error::new(
                    Kind::Case,
                    format!(
                        "the output {name} is larger than {} bytes",
                        recipe.limits.output_bytes
                    ),
                ),
                _ => Error::from_io(error, doing()),
            })?;
            files.insert(name.clone(), kept);
        }
        let manifest = serde_json::to_vec_pretty(&Manifest { files: files.clone() });
        fs::write(new.join("manifest.json"), manifest.expect("plain fields")).while_(doing)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).while_(doing)?;
        fault::after("artifact.take");
        place(&new, folder).while_(doing)?;
        Ok(files)
    }
}

/// The files of the artifact in `folder` of `cache`, if it is there and whole. A damaged one leaves its
/// place if it is the order's `own` class that is damaged: the new one would not get its name
/// while anything stands there, be it without a manifest.
fn cached(
    cache: &Path,
    events: &Events,
    folder: &Path,
    own: bool,
) -> Result<Option<BTreeMap<String, (Digest, u64)>>> {
    if !folder.exists() {
        return Ok(None);
    }
    let whole = |manifest: &Manifest| {
        manifest.files.iter().all(|(name, (digest, _))| {
            file_digest(&folder.join("files").join(name)).is_ok_and(|found| found == *digest)
        })
    };
    let text = fs::read(folder.join("manifest.json")).unwrap_or_default();
    match serde_json::from_slice::<Manifest>(&text) {
        Ok(manifest) if whole(&manifest) => Ok(Some(manifest.files)),
        _ if !own => Ok(None),
        _ => {
            events.notice(format!(
                "the cached artifact {} is damaged and is built again",
                folder.display()
            ));
            discard("artifact.discard", cache, folder)?;
            Ok(None)
        }
    }
}

/// Keeps a toolchain that was not built here: the sysroot that `lay_out` finds or puts into the
/// folder it is given. Known by `identity`, or by its files where there is none.
pub async fn keep_sysroot(
    cache: &Path,
    events: &Events,
    what: &str,
    identity: Option<&str>,
    lay_out: impl AsyncFnOnce(&Path) -> Result<PathBuf>,
) -> Result<Artifact> {
    let place_of = |identity: &str| {
        let digest = Digest::of_parts([b"sysroot 1".as_slice(), identity.as_bytes()]);
        let folder = cache.join("artifacts").join(Trust::Trusted.name()).join(digest.hex());
        (digest, folder)
    };
    if let Some((digest, folder)) = identity.map(place_of)
        && let Some(files) = cached(cache, events, &folder, true)?
    {
        events.end(Phase::Build, format!("{what} from the cache"));
        return Ok(Artifact { digest, folder, files, build_s: None });
    }
    let scratch = Scratch::new(cache)?;
    let sysroot = lay_out(&scratch.folder("sysroot")?).await?;
    let new = scratch.path().join("kept");
    let doing = || format!("keeping {what} in {}", cache.display());
    fault::before("artifact.take");
    fs::create_dir_all(new.join("files")).while_(doing)?;
    let files = take_sysroot(&sysroot, &new.join("files"), SYSROOT_MAX, what)
        .map_err(|error| Error { kind: Kind::Input, ..error })?;
    let manifest = serde_json::to_vec_pretty(&Manifest { files: files.clone() });
    let manifest = manifest.expect("plain fields");
    fs::write(new.join("manifest.json"), &manifest).while_(doing)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).while_(doing)?;
    fault::after("artifact.take");
    let of_files = Digest::of(&manifest);
    let (digest, folder) = place_of(identity.unwrap_or(of_files.hex()));
    fs::create_dir_all(folder.parent().expect("it is in the cache")).while_(doing)?;
    // Where its files name it, whatever stands there has not been looked at yet.
    if cached(cache, events, &folder, true)?.is_none() {
        place(&new, &folder).while_(doing)?;
    }
    Ok(Artifact { digest, folder, files, build_s: None })
}

fn place(new: &Path, folder: &Path) -> std::io::Result<()> {
    match fault::at("artifact.place", || atomic_file::place_folder(new, folder)) {
        // Another dyno may have built the same meanwhile; either is as good.
        Err(error) if !folder.join("manifest.json").exists() => Err(error),
        _ => Ok(()),
    }
}

/// The most that the files of a sysroot may take together.
const SYSROOT_MAX: u64 = 16 << 30;

/// Copies a sysroot, without its documentation.
fn take_sysroot(
    from: &Path,
    into: &Path,
    limit: u64,
    doing: &str,
) -> Result<BTreeMap<String, (Digest, u64)>> {
    let case = |what: String| Error::new(Kind::Case, what);
    let taken =
        copy_tree(from, into, &["share", "etc"], limit).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                case(format!("there is no sysroot at {}", from.display()))
            }
            std::io::ErrorKind::FileTooLarge => case("the sysroot is too large".into()),
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => {
                case(format!("the sysroot cannot be taken: {error}"))
            }
            _ => Error::from_io(error, doing.to_string()),
        })?;
    if !taken.contains_key("bin/rustc") {
        return Err(case(format!("{} is no sysroot: it has no bin/rustc", from.display())));
    }
    Ok(taken)
}

/// Whether less than 16 MiB are free there: a build that met a full disk of this machine did not
/// fail by itself. (A full `/tmp` of its container is its own doing.)
fn nearly_full(folder: &Path) -> bool {
    nix::sys::statvfs::statvfs(folder)
        .is_ok_and(|found| found.blocks_available() * found.fragment_size() <= 16 << 20)
}

/// The step that a phase of building is, when it fails.
fn step_of(phase: Phase) -> Step {
    if phase == Phase::Fetch { Step::Fetch } else { Step::Build }
}

fn failure(step: Step, reason: String, log_tail: String) -> Failure {
    Failure { benchmark: None, config: None, side: None, step, reason, log_tail }
}

/// How a process ended, as the end of a sentence.
pub fn describe(end: &End, time_s: u64) -> String {
    match end {
        End::Code(code) => format!("ended with exit code {code}"),
        End::Signal(9) => "was killed (signal 9), as happens when memory runs out".into(),
        End::Signal(25) => "wrote more than it may (signal 25)".into(),
        End::Signal(31) => "made a system call that only an attack makes (signal 31)".into(),
        End::Signal(signal) => format!("was ended by signal {signal}"),
        End::Timeout => format!("took longer than {time_s} s"),
        End::NotStarted(why) => format!("did not start: {why}"),
    }
}

pub fn build_env(recipe: &Recipe) -> BTreeMap<String, String> {
    let mut env = base_env();
    env.insert("CARGO_HOME".into(), "/cargo".into());
    env.insert("CARGO_TARGET_DIR".into(), "/build".into());
    env.insert("SOURCE_DATE_EPOCH".into(), "0".into());
    env.extend(recipe.env.clone());
    env
}

/// The host's certificates and proxies, for the one step that has the network.
fn lend_network(mounts: &mut Vec<Mount>, env: &mut BTreeMap<String, String>) {
    const INSIDE: &str = "/etc/ssl/certs/ca-certificates.crt";
    let usual = [INSIDE, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
    let bundle = std::env::var("SSL_CERT_FILE").ok().into_iter().chain(usual.map(String::from));
    if let Some(bundle) =
        bundle.filter_map(|file| fs::canonicalize(file).ok()).find(|f| f.is_file())
    {
        mounts.push(Mount::read_only(bundle, INSIDE));
        for name in ["SSL_CERT_FILE", "CARGO_HTTP_CAINFO", "GIT_SSL_CAINFO"] {
            env.insert(name.into(), INSIDE.into());
        }
    }
    for name in ["http_proxy", "https_proxy", "no_proxy", "all_proxy"] {
        for name in [name.to_string(), name.to_uppercase()] {
            if let Ok(value) = std::env::var(&name) {
                env.insert(name, value);
            }
        }
    }
}

/// Gives the build the host's own choice of registries and network, and nothing else of its Cargo
/// configuration: linkers and wrappers of the host have no meaning in an image.
fn cargo_configuration(cargo: &Path) -> Result<()> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let text = home.and_then(|home| {
        ["config.toml", "config"].iter().find_map(|name| fs::read_to_string(home.join(name)).ok())
    });
    let Some(Ok(table)) = text.map(|text| text.parse::<toml::Table>()) else { return Ok(()) };
    let wanted = ["source", "registries", "registry", "http", "net"];
    let mut kept: toml::Table =
        table.into_iter().filter(|(k, _)| wanted.contains(&k.as_str())).collect();
    forget_secrets(&mut kept);
    if kept.is_empty() {
        return Ok(());
    }
    let file = cargo.join("config.toml");
    fs::write(&file, kept.to_string()).while_(|| format!("writing {}", file.display()))
}

/// Takes out what logs in somewhere, at whatever depth: it is the host's, and a build is a stranger.
fn forget_secrets(table: &mut toml::Table) {
    const SECRETS: [&str; 6] = [
        "token",
        "secret-key",
        "secret-key-subject",
        "credential-provider",
        "global-credential-providers",
        "credential-process",
    ];
    let kept = std::mem::take(table).into_iter().filter(|(key, _)| !SECRETS.contains(&&**key));
    *table = kept.map(|(key, value)| (without_login(&key), forgotten(value))).collect();
}

fn forgotten(value: toml::Value) -> toml::Value {
    match value {
        toml::Value::Table(mut table) => {
            forget_secrets(&mut table);
            table.into()
        }
        toml::Value::Array(values) => {
            toml::Value::Array(values.into_iter().map(forgotten).collect())
        }
        toml::Value::String(text) => without_login(&text).into(),
        other => other,
    }
}

/// A URL without user and password (RFC 3986, 3.2.1), and a proxy without them that has no scheme.
/// Of SSH the user stays, who is part of the address and no secret.
fn without_login(text: &str) -> String {
    let (scheme, rest) = text.find("://").map_or(("", text), |at| text.split_at(at + 3));
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let Some((login, host)) = authority.rsplit_once('@') else { return text.into() };
    let user = match login.split_once(':') {
        _ if scheme.ends_with("ssh://") => login.split(':').next(),
        // What scp writes: the user of a machine.
        None if scheme.is_empty() => Some(login),
        _ => None,
    };
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    format!("{scheme}{user}{host}{path}")
}

/// Makes everything below `folder` the build user's, where this process may.
fn give(folder: &Path, (uid, gid): (u32, u32)) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let doing = || format!("giving {} to the build", folder.display());
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        std::os::unix::fs::lchown(&next, Some(uid), Some(gid)).while_(doing)?;
        for entry in fs::read_dir(&next).while_(doing)? {
            let entry = entry.while_(doing)?;
            if entry.file_type().while_(doing)?.is_dir() {
                folders.push(entry.path());
            } else {
                std::os::unix::fs::lchown(entry.path(), Some(uid), Some(gid)).while_(doing)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_damaged_toolchain_is_kept_anew() {
        let cache = tempfile::tempdir().unwrap();
        let keep = async |identity: Option<&str>| {
            let lay_out = async |into: &Path| {
                fs::create_dir(into.join("bin")).unwrap();
                fs::write(into.join("bin/rustc"), "a compiler").unwrap();
                Ok(into.to_path_buf())
            };
            keep_sysroot(cache.path(), &Events::none(), "it", identity, lay_out).await.unwrap()
        };
        type Damage = fn(&Path) -> std::io::Result<()>;
        let damages: [Damage; 4] = [
            |_| Ok(()),
            |at| fs::write(at.join("files/bin/rustc"), "another"),
            |at| fs::remove_file(at.join("manifest.json")),
            |at| fs::remove_dir_all(at.join("files")),
        ];
        for identity in [None, Some("nightly")] {
            let first = keep(identity).await;
            for damage in damages {
                damage(&first.folder).unwrap();
                assert_eq!(keep(identity).await, first);
                let files = cached(cache.path(), &Events::none(), &first.folder, true).unwrap();
                assert_eq!(files.as_ref(), Some(&first.files), "it is whole again");
            }
        }
    }

    #[test]
    fn no_secret_of_cargos_configuration_is_lent() {
        let text = "[registry]\ntoken = \"s3\"\nglobal-credential-providers = [\"x\"]\ndefault = \"a\"\n\
            [registries.a]\nindex = \"sparse+https://a.example/\"\ntoken = \"s3\"\nsecret-key = \"s3\"\n\
            credential-provider = [\"x\"]\n[http]\nmultiplexing = false\n";
        let mut table: toml::Table = text.parse().unwrap();
        forget_secrets(&mut table);
        let kept = "[registry]\ndefault = \"a\"\n\
            [registries.a]\nindex = \"sparse+https://a.example/\"\n[http]\nmultiplexing = false\n";
        assert_eq!(table, kept.parse().unwrap());
        for (lent, had) in [
            ("https://h.example/a@b", "https://h.example/a@b"),
            ("https://h.example/a", "https://u:s3@h.example/a"),
            ("https://h.example", "https://s3@h.example"),
            ("https://h.example?q", "https://u:s3@x@h.example?q"),
            ("sparse+https://h.example:8/", "sparse+https://u:s3@h.example:8/"),
            ("ssh://git@h.example/a", "ssh://git:s3@h.example/a"),
            ("git@h.example:a/b", "git@h.example:a/b"),
            ("socks5://h.example:1", "socks5://u:s3@h.example:1"),
            ("h.example:1", "u:s3@h.example:1"),
            ("a", "a"),
        ] {
            let text = |url: &str| {
                format!(
                    "http = {{ proxy = '{url}' }}\nregistries = {{ a = {{ index = '{url}' }} }}\n\
                     [source.'{url}']\nregistry = '{url}'\nlist = ['{url}']\n"
                )
            };
            let mut table: toml::Table = text(had).parse().unwrap();
            forget_secrets(&mut table);
            assert_eq!(table, text(lent).parse().unwrap(), "{had}");
        }
    }
}
