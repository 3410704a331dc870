//! Artifacts: what building one commit with one recipe in one image gave.
//!
//! Two containers, the first of which alone has the network: `fetch`, then `build`. The build
//! sees what was fetched read-only. Only the outputs the suite names are taken, only if they are
//! regular files that are reached without following a link, and only up to the suite's limit. The
//! cache is keyed by (source, image ID, recipe, trust) and each file in it is checked before it is
//! used.
//!
//! **Trust.** The same commit is built once as a trusted one and once as an untrusted one. What an
//! untrusted build gave has a place and an identity of its own, so it is never taken for the
//! trusted one and never lies in its way; an untrusted request may use what a trusted one gave.
//! Everything else that a build can write (its source, Cargo's home, its build folder, `/tmp`) is
//! made for it and thrown away.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dyno_base::scratch::Scratch;
use dyno_model::catalog::suite::Recipe;
use dyno_model::id::{CommitId, Digest};
use dyno_model::record::{Failure, Trust};
use dyno_model::step::Step;
use dyno_probe::{End, Exit, Settings, Spawn};

use crate::outputs::{copy_bounded, open_beneath};
use dyno_base::disk::{DiskLimit, DiskSharers, DiskWatch};
use dyno_base::error::{DISK_FULL, Error, Kind, Result, WithContext};
use dyno_base::event::{Event, Events, Phase};
use dyno_base::fault;
use dyno_engine::{Engines, Mount, Root, Spec};

use crate::artifact::{Artifact, Manifest, cached_manifest, place_artifact, take_sysroot};
use crate::definition::Definition;
use crate::recipe_environment::{build_env, cargo_configuration, chown_recursive, grant_network};

/// A request to build: what, from what, and how.
pub struct BuildRequest<'a> {
    /// Name for people: "wasmi_cli 0.46.0".
    pub what: String,
    /// What identifies the source: a commit, or the digest of a suite.
    pub source: String,
    /// What `{commit}` stands for in the recipe's environment; none of what is made of a suite.
    pub commit: Option<CommitId>,
    /// The folder of the suite's own that the recipe names, if it names one.
    pub folder: Option<Definition>,
    pub recipe: &'a Recipe,
    pub root: Arc<dyn Root>,
    pub trust: Trust,
}

impl BuildRequest<'_> {
    /// The identity of what is built of this order in the class `trust`.
    fn key(&self, trust: Trust) -> Digest {
        let recipe = serde_json::to_vec(self.recipe).expect("plain fields serialise");
        let kind: &[u8] = match trust {
            Trust::Trusted => b"artifact 1",
            Trust::Untrusted => b"artifact 1 untrusted",
        };
        let image = self.root.id().hex();
        let folder = self.folder.as_ref().map(|folder| folder.digest().to_string());
        let parts = [kind, self.source.as_bytes(), image.as_bytes(), &recipe];
        Digest::of_parts(parts.into_iter().chain(folder.as_ref().map(String::as_bytes)))
    }
}

/// Engines, cache and cores with which builds are done.
pub struct Builder {
    pub engines: Arc<Engines>,
    pub cache: PathBuf,
    pub cpus: std::collections::BTreeSet<u32>,
    pub events: Events,
    /// Begin of the first fetch and end of the last: builds go on beside each other.
    fetching: Mutex<Option<(Instant, Instant)>>,
    /// What builds beside each other take of the disk.
    sharers: Arc<DiskSharers>,
}

/// Why a build gave nothing.
enum Unfinished {
    /// Its own failure.
    Failed(Failure),
    /// Its container was lost while it was in this step.
    Lost(Step, Error),
    /// The disk was full, and it had not filled it.
    DiskFull(Error),
}

impl From<Failure> for Unfinished {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// How often a build is begun at most.
const ATTEMPTS_MAX: u32 = 2;

impl Builder {
    pub fn new(
        engines: Arc<Engines>,
        cache: PathBuf,
        cpus: std::collections::BTreeSet<u32>,
        events: Events,
    ) -> Self {
        Self { engines, cache, cpus, events, fetching: Mutex::default(), sharers: Arc::default() }
    }

    /// Seconds from the begin of the first fetch step to the end of the last.
    pub fn fetched_s(&self) -> f64 {
        let fetching = *self.fetching.lock().expect("no panic while held");
        fetching.map_or(0.0, |(begin, end)| (end - begin).as_secs_f64())
    }

    /// The artifact of `request`, from the cache or built. `lay_out` writes the source into the
    /// folder it is given, and says what it left out; its error of the kind [`Kind::Case`] is the
    /// source's own. The inner error is the case's own: the source or the build did not work.
    pub async fn build_or_load(
        &self,
        request: &BuildRequest<'_>,
        lay_out: impl AsyncFn(&Path) -> Result<Option<String>>,
    ) -> Result<Result<Artifact, Failure>> {
        if let Some(artifact) = self.load(request)? {
            return Ok(Ok(artifact));
        }
        for attempt in 1.. {
            match self.build(request, &lay_out).await? {
                Ok(artifact) => return Ok(Ok(artifact)),
                Err(Unfinished::Failed(failure)) => return Ok(Err(failure)),
                Err(Unfinished::DiskFull(error)) if attempt == ATTEMPTS_MAX => return Err(error),
                Err(Unfinished::DiskFull(_)) => self.sharers.until_room(&self.cache).await,
                // Once may be the engine's doing.
                Err(Unfinished::Lost(step, error)) if attempt == ATTEMPTS_MAX => {
                    let reason = format!("its container was lost {attempt} times: {error}");
                    return Ok(Err(failure(step, reason, String::new())));
                }
                Err(Unfinished::Lost(_, error)) => {
                    self.events.notice(format!("{error}; {} is built again", request.what));
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Builds what is not in the cache.
    async fn build(
        &self,
        request: &BuildRequest<'_>,
        lay_out: &impl AsyncFn(&Path) -> Result<Option<String>>,
    ) -> Result<Result<Artifact, Unfinished>> {
        let (digest, folder) = self.location(request, request.trust);
        let started = Instant::now();
        let scratch = Scratch::new(&self.cache)?;
        let source = scratch.folder("src")?;
        let left_out = match fault::around("source.checkout", lay_out(&source)).await {
            Err(error) if error.kind == Kind::Case => {
                return Ok(Err(failure(Step::Source, error.message, String::new()).into()));
            }
            checked_out => checked_out?,
        };
        let beside = |unfinished| match (unfinished, &left_out) {
            (Unfinished::Failed(failure), Some(left_out)) => Unfinished::Failed(Failure {
                reason: format!("{}; {left_out}", failure.reason),
                ..failure
            }),
            (unfinished, _) => unfinished,
        };
        let (cargo, build) = (scratch.folder("cargo")?, scratch.folder("build")?);
        cargo_configuration(&cargo)?;
        let user = self.engines.build_user();
        for folder in [&source, &cargo, &build] {
            chown_recursive(folder, user)?;
        }
        let mut shared = Vec::new();
        if let Some(folder) = &request.folder {
            let folder_copy = scratch.folder("suite")?;
            folder.write(&folder_copy)?;
            shared.push(Mount::read_only(folder_copy, "/suite"));
        }
        if let Err(unfinished) = self.fetch(request, &shared, &source, &cargo).await? {
            return Ok(Err(beside(unfinished)));
        }
        let mut mounts = shared;
        mounts.push(Mount::writable(&source, "/src"));
        mounts.push(Mount::read_only(&cargo, "/cargo"));
        mounts.push(Mount::writable(&build, "/build"));
        let env = build_env(request.recipe, request.commit.as_ref());
        let step = self.step(request, Phase::Build, &request.recipe.build, mounts, env);
        if let Err(unfinished) = fault::around("artifact.build", step).await? {
            return Ok(Err(beside(unfinished)));
        }
        let files = match self.collect(request.recipe, &left_out, &build, &scratch, &folder) {
            Ok(files) => files,
            Err(error) if error.kind == Kind::Case => {
                let failure = failure(Step::Build, error.message, String::new());
                return Ok(Err(beside(failure.into())));
            }
            Err(error) => return Err(error),
        };
        let build_s = started.elapsed().as_secs_f64();
        self.events.end(Phase::Build, format!("{} in {build_s:.0} s", request.what));
        Ok(Ok(Artifact { digest, folder, files, build_s: Some(build_s), left_out }))
    }

    /// The digest and the folder in the cache of what the request gives in the class `trust`.
    fn location(&self, request: &BuildRequest<'_>, trust: Trust) -> (Digest, PathBuf) {
        let digest = request.key(trust);
        let folder = self.cache.join("artifacts").join(trust.name()).join(digest.hex());
        (digest, folder)
    }

    /// The artifact from the cache, if it is there and whole.
    fn load(&self, request: &BuildRequest<'_>) -> Result<Option<Artifact>> {
        // What a trusted build gave is good enough for everyone.
        let may_use: &[Trust] = match request.trust {
            Trust::Trusted => &[Trust::Trusted],
            Trust::Untrusted => &[Trust::Trusted, Trust::Untrusted],
        };
        for class in may_use {
            let (digest, folder) = self.location(request, *class);
            if let Some(Manifest { files, left_out }) =
                cached_manifest(&self.cache, &self.events, &folder, *class == request.trust)?
            {
                self.events.end(Phase::Build, format!("{} from the cache", request.what));
                return Ok(Some(Artifact { digest, folder, files, build_s: None, left_out }));
            }
        }
        Ok(None)
    }

    /// Runs the fetch step, the only one with the network, if the recipe has one.
    async fn fetch(
        &self,
        request: &BuildRequest<'_>,
        shared: &[Mount],
        source: &Path,
        cargo: &Path,
    ) -> Result<Result<(), Unfinished>> {
        let Some(fetch) = &request.recipe.fetch else { return Ok(Ok(())) };
        let mut mounts = shared.to_vec();
        mounts.push(Mount::writable(source, "/src"));
        mounts.push(Mount::writable(cargo, "/cargo"));
        let mut env = build_env(request.recipe, request.commit.as_ref());
        grant_network(&mut mounts, &mut env);
        let started = Instant::now();
        let step = self.step(request, Phase::Fetch, fetch, mounts, env);
        let fetched = fault::around("artifact.fetch", step).await?;
        {
            let mut fetching = self.fetching.lock().expect("no panic while held");
            let (first, _) = fetching.unwrap_or((started, started));
            *fetching = Some((first, Instant::now()));
        }
        Ok(fetched)
    }

    /// Runs one step in a container of its own. The inner error is why the build cannot go on.
    async fn step(
        &self,
        request: &BuildRequest<'_>,
        phase: Phase,
        command: &[String],
        mounts: Vec<Mount>,
        env: BTreeMap<String, String>,
    ) -> Result<Result<(), Unfinished>> {
        let limits = request.recipe.limits;
        self.events.begin(phase, request.what.clone());
        let spec = Spec {
            root: Arc::clone(&request.root),
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
        let spawn = Spawn {
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
            repeat: 1,
            count_instructions: false,
        };
        let folders = spec.mounts.iter().filter(|m| m.writable).map(|m| m.source.clone());
        let watch = DiskWatch::beside(folders.collect(), limits.disk_bytes, &self.sharers);
        let send_line = |text: String| {
            let text = format!("{}: {}", request.what, text.trim());
            self.events.send(Event::Line { phase, text });
        };
        let outcome = tokio::select! {
            outcome = container.run(&spawn, send_line) => Ok(outcome),
            limit_reached = watch.until_exceeded() => Err(limit_reached),
        };
        let used_bytes = watch.used_bytes();
        container.remove().await?;
        let freed_bytes = used_bytes.saturating_sub(watch.used_bytes());
        self.end_of_step(request, phase, outcome, freed_bytes)
    }

    /// What came of a step: its process's exit, or the limit of the disk that was reached, after which
    /// the end of the container gave back `freed_bytes`.
    fn end_of_step(
        &self,
        request: &BuildRequest<'_>,
        phase: Phase,
        outcome: Result<Result<Exit>, DiskLimit>,
        freed_bytes: u64,
    ) -> Result<Result<(), Unfinished>> {
        let limits = request.recipe.limits;
        let step = step_of(phase);
        let exit = match outcome {
            Ok(Ok(exit)) => exit,
            Ok(Err(error)) if error.kind == Kind::Infrastructure => {
                return Ok(Err(Unfinished::Lost(step, error)));
            }
            Ok(Err(error)) => return Err(error),
            Err(limit_reached) => {
                let limit_reached = match limit_reached {
                    DiskLimit::Disk(share) => DiskLimit::Disk(share.with_freed(freed_bytes)),
                    other => other,
                };
                return Ok(Err(match limit_reached.reason(phase.name(), limits.disk_bytes) {
                    Some(reason) => failure(step, reason, String::new()).into(),
                    None => Unfinished::DiskFull(self.disk_full(request, phase)),
                }));
            }
        };
        if exit.end == End::Code(0) {
            return Ok(Ok(()));
        }
        if exit.stdout_tail.contains(DISK_FULL) && nearly_full(&self.cache) {
            return Ok(Err(Unfinished::DiskFull(self.disk_full(request, phase))));
        }
        let reason = format!("{} {}", phase.name(), describe(&exit.end, limits.time_s));
        Ok(Err(failure(step, reason, exit.stdout_tail).into()))
    }

    fn disk_full(&self, request: &BuildRequest<'_>, phase: Phase) -> Error {
        let doing = format!("{} of {} in {}", phase.name(), request.what, self.cache.display());
        Error::from_io(std::io::ErrorKind::StorageFull.into(), doing)
    }

    /// Takes the named outputs out of the build folder and puts them into the cache.
    fn collect(
        &self,
        recipe: &Recipe,
        left_out: &Option<String>,
        build: &Path,
        scratch: &Scratch,
        folder: &Path,
    ) -> Result<BTreeMap<String, (Digest, u64)>> {
        let parent = folder.parent().expect("the artifact is in the cache");
        let doing = || format!("keeping the artifact in {}", parent.display());
        let staging = scratch.path().join("kept");
        fault::before("artifact.take");
        fs::create_dir_all(parent).and_then(|()| fs::create_dir(&staging)).context(doing)?;
        fs::create_dir(staging.join("files")).context(doing)?;
        let mut files = BTreeMap::new();
        if let Some(sysroot) = &recipe.sysroot {
            let limit = recipe.limits.disk_bytes;
            files = take_sysroot(&build.join(sysroot), &staging.join("files"), limit, &doing())?;
        }
        for (name, path) in &recipe.outputs {
            let file = open_beneath(build, path).map_err(|error| {
                Error::new(
                    Kind::Case,
                    format!("the output {name} ({path}) cannot be taken: {error}"),
                )
            })?;
            let dest = staging.join("files").join(name);
            let copied = copy_bounded(file, &dest, recipe.limits.output_bytes);
            let copied = copied.map_err(|error| match error.kind() {
                std::io::ErrorKind::FileTooLarge => Error::new(
                    Kind::Case,
                    format!(
                        "the output {name} is larger than {} bytes",
                        recipe.limits.output_bytes
                    ),
                ),
                _ => Error::from_io(error, doing()),
            })?;
            files.insert(name.clone(), copied);
        }
        let manifest = Manifest { files: files.clone(), left_out: left_out.clone() };
        let manifest = serde_json::to_vec_pretty(&manifest);
        fs::write(staging.join("manifest.json"), manifest.expect("plain fields")).context(doing)?;
        fs::set_permissions(&staging, fs::Permissions::from_mode(0o755)).context(doing)?;
        fault::after("artifact.take");
        place_artifact(&staging, folder).context(doing)?;
        Ok(files)
    }
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
        End::Signal(signal) => {
            let name = nix::sys::signal::Signal::try_from(*signal).map(|name| name.as_str());
            let name = name.unwrap_or("a real-time signal");
            match *signal {
                9 => {
                    format!(
                        "was killed ({name}, signal 9), as happens when memory runs out (limits.memory)"
                    )
                }
                25 => format!("wrote more than it may ({name}, signal 25; limits.output)"),
                31 => format!("made a system call that only an attack makes ({name}, signal 31)"),
                _ => format!("was ended by {name} (signal {signal})"),
            }
        }
        End::Timeout => format!("took longer than {time_s} s (limits.time_s)"),
        End::NotStarted(why) => format!("did not start: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_name_the_signal_and_the_limit() {
        for (end, text) in [
            (End::Code(3), "ended with exit code 3"),
            (End::Signal(11), "was ended by SIGSEGV (signal 11)"),
            (
                End::Signal(9),
                "was killed (SIGKILL, signal 9), as happens when memory runs out (limits.memory)",
            ),
            (End::Signal(25), "wrote more than it may (SIGXFSZ, signal 25; limits.output)"),
            (End::Signal(31), "made a system call that only an attack makes (SIGSYS, signal 31)"),
            (End::Signal(40), "was ended by a real-time signal (signal 40)"),
            (End::Timeout, "took longer than 60 s (limits.time_s)"),
        ] {
            assert_eq!(describe(&end, 60), text);
        }
    }
}
