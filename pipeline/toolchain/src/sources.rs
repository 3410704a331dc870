//! The crates of a suite and what they depend on, each archive verified by its checksum, laid out
//! once in the cache under the digest of what it is made of.
//!
//! Of a crate's manifest only what a build of it needs is kept: a published one names dependencies
//! of its tests, which the lock would have to pin too, and its own profiles, which would be
//! measured in the place of cargo's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dyno_model::catalog::suite::{Crate, CrateSource, Workload};
use dyno_model::id::Digest;
use dyno_model::step::Step;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;

use dyno_base::atomic_file;
use dyno_base::cache::mark_use;
use dyno_base::digest::file_digest;
use dyno_base::error::{Error, Kind, Result, WithContext};
use dyno_base::event::{Events, Phase, ProgressUnit};
use dyno_base::fault;
use dyno_base::scratch::{Scratch, discard};
use dyno_build::catalog::LoadedSuite;
use dyno_build::source::git_apply;
use dyno_build::source::releases::{Registry, unpack};

/// Crates that were vendored.
#[derive(Debug, Default)]
pub struct Sources {
    /// Their folder on the host; `/crates` in containers.
    pub folder: PathBuf,
    /// The crates by name, or why one cannot be measured, with its step.
    pub crates: BTreeMap<String, Result<VendoredCrate, (Step, String)>>,
}

/// A crate laid out in the cache with all it depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendoredCrate {
    /// Digest of its folder.
    pub digest: Digest,
    /// Why there is no `patched`, where the suite has a patch.
    pub patch_failed: Option<String>,
}

/// A package of a `Cargo.lock`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
}

/// Vendors every crate that `loaded` has a benchmark of, if it is in `wanted`.
pub async fn vendor_crates(
    loaded: &LoadedSuite,
    wanted: &BTreeSet<String>,
    cache: &Path,
    events: &Events,
) -> Result<Sources> {
    let folder = cache.join("crates");
    fs::create_dir_all(&folder).context(|| format!("making {}", folder.display()))?;
    let registry = tokio::sync::OnceCell::new();
    let vendor = Vendor { loaded, folder: &folder, cache, events, registry: &registry };
    let mut sources = Sources { folder: folder.clone(), crates: BTreeMap::new() };
    for benchmark in &loaded.suite.benchmarks {
        let (Workload::CrateCompilation(krate) | Workload::CrateGraphBuild(krate)) =
            &benchmark.work
        else {
            continue;
        };
        if !wanted.contains(&benchmark.name) || sources.crates.contains_key(&krate.name) {
            continue;
        }
        let vendored = match vendor.vendor_crate(krate).await {
            Ok(vendored) => Ok(vendored),
            // What is wrong with one crate is no reason to measure no other.
            Err(error) if matches!(error.kind, Kind::Case | Kind::Input) => {
                events.notice(format!("{}: {error}", krate.name));
                Err((Step::Source, error.message))
            }
            Err(error) => return Err(error),
        };
        sources.crates.insert(krate.name.clone(), vendored);
    }
    Ok(sources)
}

struct Vendor<'a> {
    loaded: &'a LoadedSuite,
    folder: &'a Path,
    cache: &'a Path,
    events: &'a Events,
    registry: &'a tokio::sync::OnceCell<Registry>,
}

impl Vendor<'_> {
    /// Lays one crate out, if it is not there.
    async fn vendor_crate(&self, krate: &Crate) -> Result<VendoredCrate> {
        let lock_file = self.loaded.folder.join(krate.lock());
        let lock_text = self.loaded.file(&krate.lock()).map_err(|error| {
            let what = format!("the lock of {}: {error}", krate.name);
            let suite = &self.loaded.suite.name;
            Error::input(what).hint(format!("dyno suite lock {suite} {} writes it", krate.name))
        })?;
        let reading = || format!("reading {}", lock_file.display());
        let lock_text = std::str::from_utf8(lock_text)
            .map_err(|e| Error::input(format!("{}: {e}", reading())))?;
        let packages = parse_packages(lock_text).context(reading)?;
        let patch = krate.patch.as_ref().map(|path| self.loaded.file(path).map(<[u8]>::to_vec));
        let patch = patch
            .transpose()
            .map_err(|error| Error::input(format!("the patch of {}: {error}", krate.name)))?;
        let own_digest = match &krate.source {
            CrateSource::Release { sha256, .. } => sha256.clone(),
            CrateSource::Folder(path) => self.loaded.definition.part(path).digest(),
        };
        let parts: [&[u8]; 4] = [
            b"crate 2",
            own_digest.hex().as_bytes(),
            lock_text.as_bytes(),
            patch.as_deref().unwrap_or(&[]),
        ];
        let digest = Digest::of_parts(parts);
        let crate_folder = self.folder.join(digest.hex());
        let failure_file = crate_folder.join("patch-failed");
        let read_failure = || fs::read_to_string(&failure_file).ok();
        if crate_folder.exists() && !is_intact(&crate_folder) {
            self.events
                .notice(format!("{} in the cache is damaged and is laid out again", krate.name));
            discard("artifact.discard", self.cache, &crate_folder)?;
        }
        if !crate_folder.exists() {
            let scratch = Scratch::new(self.cache)?;
            let new = scratch.folder("crate")?;
            let laying = self.lay_out(krate, &packages, lock_text, patch.as_deref(), &new);
            fault::around("crates.lay-out", laying).await?;
            match fault::at("crates.place", || atomic_file::place_folder(&new, &crate_folder)) {
                // Another dyno may have laid out the same meanwhile.
                Err(error) if !crate_folder.exists() => {
                    return Err(error).context(|| format!("placing {}", crate_folder.display()));
                }
                _ => {}
            }
        }
        mark_use(&crate_folder);
        Ok(VendoredCrate { digest, patch_failed: read_failure() })
    }

    async fn lay_out(
        &self,
        krate: &Crate,
        packages: &[Package],
        lock: &str,
        patch: Option<&[u8]>,
        folder: &Path,
    ) -> Result<()> {
        let doing = || format!("laying out {}", krate.name);
        let source = folder.join("src");
        match &krate.source {
            CrateSource::Release { name, version, sha256 } => {
                let archive = self.archive(name, version, sha256).await?;
                unpack(&archive, &format!("{name}-{version}"), &source).context(doing)?;
            }
            CrateSource::Folder(path) => {
                self.loaded.definition.part(path).write(&source)?;
            }
        }
        let manifest = source.join("Cargo.toml");
        let text = fs::read_to_string(&manifest).context(doing)?;
        fs::write(&manifest, strip_manifest(&text).context(doing)?).context(doing)?;
        fs::write(source.join("Cargo.lock"), lock).context(doing)?;
        self.vendor_dependencies(krate, packages, &folder.join("vendor")).await?;
        if let Some(patch) = patch {
            let patched = folder.join("patched");
            copy_folder(&source, &patched).context(doing)?;
            if let Err(why) = git_apply(&patched, patch).await? {
                fs::write(folder.join("patch-failed"), why).context(doing)?;
                fs::remove_dir_all(&patched).context(doing)?;
            }
        }
        make_readable(folder).context(doing)?;
        let digest = content_digest(folder).context(doing)?;
        fs::write(folder.join(CONTENT_FILE), digest.hex()).context(doing)
    }

    /// Writes what the crate depends on, as cargo's "directory source" wants it.
    async fn vendor_dependencies(
        &self,
        krate: &Crate,
        packages: &[Package],
        folder: &Path,
    ) -> Result<()> {
        fs::create_dir_all(folder).context(|| format!("making {}", folder.display()))?;
        let total = packages.len() as u64;
        self.events.begin(Phase::Source, format!("{} and {total} crates below it", krate.name));
        let done = std::sync::atomic::AtomicU64::new(0);
        let vendor_package = async |package: &Package| -> Result<()> {
            let Package { name, version, checksum, .. } = package;
            let doing = || format!("laying out {name} {version}");
            let sha256 = checksum.as_deref().unwrap_or_default().parse().map_err(|_| {
                Error::input(format!("the lock of {} has no checksum of {name}", krate.name))
            })?;
            let archive = self.archive(name, version, &sha256).await?;
            let top = format!("{name}-{version}");
            let into = folder.join(&top);
            unpack(&archive, &top, &into).context(doing)?;
            let sums = serde_json::json!({ "files": {}, "package": sha256.hex() });
            fs::write(into.join(".cargo-checksum.json"), sums.to_string()).context(doing)?;
            let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            self.events.progress(Phase::Source, done, total, ProgressUnit::Items);
            Ok(())
        };
        let vendoring = packages.iter().map(vendor_package);
        futures::stream::iter(vendoring).buffer_unordered(8).try_collect::<Vec<()>>().await?;
        self.events.end(Phase::Source, format!("{} with {total} crates below it", krate.name));
        Ok(())
    }

    /// The archive of a release: from the cache, or downloaded and verified.
    async fn archive(&self, name: &str, version: &str, sha256: &Digest) -> Result<Vec<u8>> {
        let folder = self.cache.join("sources/archives");
        let file = folder.join(format!("{}.crate", sha256.hex()));
        if let Ok(bytes) = fs::read(&file)
            && Digest::of(&bytes) == *sha256
        {
            return Ok(bytes);
        }
        let registry = self.registry.get_or_try_init(Registry::open).await?;
        let bytes = registry.archive(name, version).await?;
        let found = Digest::of(&bytes);
        if found != *sha256 {
            let (found, expected) = (found.hex(), sha256.hex());
            return Err(Error::new(
                Kind::Case,
                format!("{name} {version} has the checksum {found} and not {expected}"),
            )
            .hint("nothing of it was used: see what the suite pins, and what the registry gave"));
        }
        let write_archive = || atomic_file::replace(&file, &bytes, 0o644);
        fs::create_dir_all(&folder)
            .and_then(|()| fault::at("crates.download", write_archive))
            .context(|| format!("keeping {}", file.display()))?;
        Ok(bytes)
    }
}

/// The packages of a lock that come from a registry. Others than the crate itself make it useless
/// here, since they are pinned by nothing.
fn parse_packages(lock: &str) -> Result<Vec<Package>> {
    let lock: Lock = toml::from_str(lock).map_err(|error| Error::input(error.to_string()))?;
    let own_packages = lock.package.iter().filter(|package| package.source.is_none()).count();
    let foreign: Vec<String> = lock
        .package
        .iter()
        .filter(|p| p.source.as_ref().is_some_and(|s| !s.starts_with("registry+")))
        .map(|p| format!("{} {}", p.name, p.version))
        .collect();
    if own_packages != 1 || !foreign.is_empty() {
        return Err(Error::input(format!(
            "a lock has one package of its own and others of a registry; this has {own_packages}, and {} elsewhere",
            if foreign.is_empty() { "none".into() } else { foreign.join(", ") }
        )));
    }
    let is_plain = |text: &str| {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        !text.is_empty()
            && text.len() <= 128
            && text.chars().all(is_allowed)
            && !text.starts_with('.')
    };
    let mut packages: Vec<Package> =
        lock.package.into_iter().filter(|package| package.source.is_some()).collect();
    if let Some(odd) = packages.iter().find(|p| !is_plain(&p.name) || !is_plain(&p.version)) {
        return Err(Error::input(format!("{:?} {:?} is no package", odd.name, odd.version)));
    }
    packages.sort();
    packages.dedup();
    Ok(packages)
}

/// A manifest without what a build of the library or a binary has no use for.
pub fn strip_manifest(manifest: &str) -> Result<String> {
    let mut table: toml::Table =
        manifest.parse().map_err(|error: toml::de::Error| Error::input(error.to_string()))?;
    for key in ["dev-dependencies", "bench", "test", "example", "profile", "badges"] {
        table.remove(key);
    }
    if let Some(toml::Value::Table(targets)) = table.get_mut("target") {
        for (_, target) in targets.iter_mut() {
            if let toml::Value::Table(target) = target {
                target.remove("dev-dependencies");
            }
        }
    }
    // What lies in the folders of the same names would be found again.
    if let Some(toml::Value::Table(package)) = table.get_mut("package") {
        for key in ["autobenches", "autotests", "autoexamples"] {
            package.insert(key.into(), false.into());
        }
    }
    // Its own workspace, wherever it lies.
    table.entry("workspace").or_insert_with(|| toml::Table::new().into());
    Ok(table.to_string())
}

/// The file beside what was laid out that holds its digest.
const CONTENT_FILE: &str = "content";

/// Digest of all files but [`CONTENT_FILE`], by name and content.
fn content_digest(folder: &Path) -> std::io::Result<Digest> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
            if entry?.is_dir() {
                folders.push(path);
            } else if path != folder.join(CONTENT_FILE) {
                let name = path.strip_prefix(folder).expect("it is below").to_path_buf();
                files.insert(name, file_digest(&path)?);
            }
        }
    }
    let parts = files.iter().map(|(name, digest)| format!("{} {}", digest.hex(), name.display()));
    Ok(Digest::of_parts(parts))
}

/// Whether a folder is as it was laid out. It is what is compiled: a damaged file would be taken
/// for a crate that does not build.
fn is_intact(folder: &Path) -> bool {
    let recorded = fs::read_to_string(folder.join(CONTENT_FILE)).ok();
    recorded
        .is_some_and(|recorded| content_digest(folder).is_ok_and(|found| found.hex() == recorded))
}

fn copy_folder(from: &Path, into: &Path) -> std::io::Result<()> {
    fs::create_dir_all(into)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, dest) = (entry.file_type()?, into.join(entry.file_name()));
        if kind.is_dir() {
            copy_folder(&entry.path(), &dest)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &dest)?;
        }
    }
    Ok(())
}

/// Lets every user read the folder: programs of containers run as various ones.
fn make_readable(folder: &Path) -> std::io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_readable(&entry.path())?;
        } else {
            let mode = entry.metadata()?.permissions().mode();
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode | 0o444))?;
        }
    }
    Ok(())
}

/// Makes a lock of a crate's folder as it is laid out: by cargo, in the version that old ones read.
pub async fn generate_lock(source: &Path) -> Result<String> {
    let mut cargo = tokio::process::Command::new("cargo");
    cargo.args(["generate-lockfile", "--manifest-path"]).arg(source.join("Cargo.toml"));
    // As old a compiler as is compared: newer releases of dependencies may not build with it.
    cargo.env("CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS", "fallback").current_dir(source);
    let output = cargo.output().await.map_err(|error| {
        Error::host(format!("starting cargo: {error}")).hint("install Rust's cargo")
    })?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_string();
        return Err(Error::new(Kind::Case, format!("cargo generate-lockfile: {stderr}")));
    }
    let text = fs::read_to_string(source.join("Cargo.lock"))
        .context(|| format!("reading the lock in {}", source.display()))?;
    // The fourth version differs in how URLs of git are written, of which there are none.
    Ok(text.replace("\nversion = 4\n", "\nversion = 3\n"))
}

/// Downloads a release for whoever is about to pin it; its checksum is that of what came.
pub async fn download_release(name: &str, version: &str, into: &Path) -> Result<Digest> {
    let doing = || format!("unpacking {name} {version}");
    let archive = Registry::open().await?.archive(name, version).await?;
    unpack(&archive, &format!("{name}-{version}"), into).context(doing)?;
    Ok(Digest::of(&archive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_keeps_what_builds() {
        let manifest = r#"
[package]
name = "x"
version = "1.0.0"
[dependencies.a]
version = "1"
[dev-dependencies.b]
version = "1"
[target."cfg(unix)".dependencies.c]
version = "1"
[target."cfg(unix)".dev-dependencies.d]
version = "1"
[profile.release]
lto = true
[[bench]]
name = "y"
"#;
        insta::assert_snapshot!(strip_manifest(manifest).unwrap());
        assert!(strip_manifest("[package").is_err());
    }

    #[test]
    fn what_was_laid_out_is_looked_at_again() {
        let folder = tempfile::tempdir().unwrap();
        let (from, vendored) = (folder.path().join("from"), folder.path().join("laid"));
        for path in ["target/gone.rs", "src/target/mod.rs", "src/lib.rs"] {
            fs::create_dir_all(from.join(path).parent().unwrap()).unwrap();
            fs::write(from.join(path), path).unwrap();
        }
        // A suite's own crate, without what cargo left; whatever is there already stays.
        dyno_build::definition::Definition::read(&from).unwrap().write(&vendored).unwrap();
        assert!(vendored.join("src/lib.rs").exists() && !vendored.join("target").exists());
        copy_folder(&from.join("src"), &vendored.join("src")).unwrap();
        assert!(vendored.join("src/target/mod.rs").exists() && !vendored.join("target").exists());
        assert!(!is_intact(&vendored));
        fs::write(vendored.join(CONTENT_FILE), content_digest(&vendored).unwrap().hex()).unwrap();
        assert!(is_intact(&vendored));
        fs::write(vendored.join("src/lib.rs"), "src/lib.r5").unwrap();
        assert!(!is_intact(&vendored));
        fs::write(vendored.join("src/lib.rs"), "src/lib.rs").unwrap();
        assert!(is_intact(&vendored));
        fs::remove_file(vendored.join("src/target/mod.rs")).unwrap();
        assert!(!is_intact(&vendored));
    }

    #[test]
    fn a_lock_pins_everything() {
        let lock = |more: &str| {
            format!("version = 3\n[[package]]\nname = \"own\"\nversion = \"1.0.0\"\n{more}")
        };
        let package = |name: &str, source: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\nsource = \"{source}\"\n")
        };
        let index = "registry+https://index.example/";
        let good = lock(&(package("b", index) + &package("a", index)));
        let names: Vec<String> =
            parse_packages(&good).unwrap().into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["a", "b"]);
        for invalid in [
            lock(&package("a", "git+https://example.org/a")),
            lock("[[package]]\nname = \"other\"\nversion = \"1.0.0\"\n"),
            lock(&package("../a", index)),
            "version = ".to_string(),
        ] {
            assert!(parse_packages(&invalid).is_err(), "{invalid}");
        }
    }
}
