//! `dyno reproduce`: builds the image and the artifacts of a run again, from its row and the
//! definitions that the row names, and compares digests.
//!
//! Nothing that an earlier build made is used: image, inputs and artifacts come into being in an
//! empty folder of the cache, which is removed at the end. Downloads are shared with the cache,
//! since each is verified by its hash before use, and so are repositories, which git verifies.
//! Where the cache still has the recorded files, those that differ are compared byte by byte.

mod differ;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dyno_model::catalog::host::{self, Host};
use dyno_model::catalog::image::debian_architecture;
use dyno_model::catalog::reader::is_name;
use dyno_model::catalog::suite::Source;
use dyno_model::id::{Digest, JobId};
use dyno_model::record::{Built, BuiltFrom, Failure, Files, OwnImage, RunRow, Side, Trust};
use serde::Serialize;

pub use self::differ::Difference;
use crate::build::{Inputs, Sides, build_all};
use crate::context::{Cleanup, Environment, store_error};
use crate::resolve::ImageRoot;
use dyno_base::digest::file_digest;
use dyno_base::error::{Error, Kind, Result, WithContext};
use dyno_base::event::{Events, Phase};
use dyno_base::scratch::Scratch;
use dyno_build::artifact::Artifact;
use dyno_build::builder::Builder;
use dyno_build::catalog::Catalog;
use dyno_build::definition::Definition;
use dyno_build::source::{self, Origin, Resolved};
use dyno_engine::{Engines, Root};
use dyno_host::assign;
use dyno_image as image;
use dyno_toolchain::compiler;

/// What became of building a run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reproduction {
    pub job: JobId,
    pub suite: String,
    pub target: String,
    /// The baseline as the person wrote it when the run was made.
    pub baseline: String,
    pub candidate: String,
    pub recorded_by: String,
    pub rebuilt_by: String,
    /// Whether every part is equal.
    pub equal: bool,
    pub parts: Vec<Part>,
}

/// An image, a commit or a file, as it was recorded and as it was rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `image`, `baseline`, `candidate` or `inputs`.
    #[serde(rename = "of")]
    pub owner: &'static str,
    /// An output's name; of an image its name; `commit` for what a side's source came to.
    pub name: String,
    pub recorded: Option<PartIdentity>,
    pub rebuilt: Option<PartIdentity>,
    pub equal: bool,
    /// Where the two differ, if the recorded file is still in this machine's cache.
    pub difference: Option<Difference>,
    /// Why there is nothing to compare.
    pub note: Option<String>,
}

/// Identity of a part: of an image, a commit or a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartIdentity {
    /// A digest, or a commit's id.
    pub id: String,
    /// `None` for what has no size of its own.
    pub bytes: Option<u64>,
}

impl Part {
    fn new(
        owner: &'static str,
        name: &str,
        recorded: Option<PartIdentity>,
        rebuilt: Option<PartIdentity>,
    ) -> Self {
        let equal = recorded == rebuilt;
        let name = name.to_string();
        Self { owner, name, recorded, rebuilt, equal, difference: None, note: None }
    }
}

/// Builds the run that `asked` means (a job's id or its first digits) again.
///
/// Errors: no such run; one whose row or definitions do not say enough; another architecture; a
/// source that is gone; whatever keeps an image or a container from being made. A build that does
/// not work is no error: it is a part that differs, unless it did not work then either.
pub async fn reproduce(
    asked: &str,
    environment: &Environment,
    export_to: Option<&Path>,
) -> Result<Reproduction> {
    let run = environment.store.find_run(asked).await.map_err(store_error)?;
    let from = require_provenance(&run)?;
    let suite = load_definition(&run.suite_digest, "suite", environment).await?;
    let images = own_images(&run, &from)?;
    let definitions = image_definitions(&images, &from, environment).await?;

    let scratch = Scratch::new(&environment.cache)?;
    let fresh = scratch.folder("fresh")?;
    let catalog = write_catalog(&run, &suite, &definitions, &fresh)?;
    share_downloads(&environment.cache, &fresh)?;
    // As a host file that says nothing else: any engine will do, since neither an image nor an
    // artifact depends on it.
    let architecture = Some(run.fingerprint.architecture.clone());
    let host = Host { architecture, ..host::parse(&run.host, "", "")? };
    let cores = assign(&host)?;
    if let Some(emulator) = &cores.emulator {
        environment.events.notice(emulator.notice());
    }
    let architecture = debian_architecture(cores.architecture()).ok_or_else(|| {
        Error::host(format!("Debian has no architecture for {}", cores.architecture()))
    })?;
    let engines = Engines::open(&host, &fresh, &environment.program, &environment.scope).await?;
    let cleanup_state = Cleanup {
        engines: Arc::clone(&engines),
        cache: environment.cache.clone(),
        scope: environment.scope.clone(),
    };
    let _ = environment.cleanup.set(cleanup_state);
    engines.sweep().await?;

    let loaded = catalog.suite(&run.suite)?;
    let mut parts = Vec::new();
    let settings = image::Settings {
        mirror: environment.mirror.clone(),
        cache: fresh.clone(),
        keys: catalog.keys(),
    };
    let roots =
        rebuild_images(&images, &catalog, architecture, &settings, &environment.events, &mut parts)
            .await?;

    let resolved = resolve_again(&run, &from, &roots, &loaded.folder, environment).await?;
    for (side, built) in [(Side::Baseline, &run.baseline), (Side::Candidate, &run.candidate)] {
        let id = |id: String| Some(PartIdentity { id, bytes: None });
        let (recorded, rebuilt) =
            (id(built.commit.to_string()), id(resolved[&side].commit.to_string()));
        parts.push(Part::new(side.name(), "commit", recorded, rebuilt));
    }

    if parts.iter().all(|part| part.equal) {
        let (cpus, events) = (cores.all_cores(), environment.events.clone());
        let builder = Builder::new(engines, fresh.clone(), cpus, events);
        let (inputs, sides) = build_all(&builder, &loaded, &roots, &resolved, run.trust).await?;
        parts.extend(compare_files(&run, &from, &inputs, &sides, &environment.cache)?);
        if let Some(folder) = export_to {
            export(&inputs, &sides, folder)?;
        }
    } else {
        parts.extend(unbuilt_parts(&run, &from));
    }
    environment.events.end(Phase::Build, format!("{} parts compared", parts.len()));
    Ok(Reproduction::new(&run, parts))
}

impl Reproduction {
    fn new(run: &RunRow, parts: Vec<Part>) -> Self {
        Self {
            job: run.job.clone(),
            suite: run.suite.clone(),
            target: run.target.clone(),
            baseline: run.baseline.asked.clone(),
            candidate: run.candidate.asked.clone(),
            recorded_by: run.dyno_version.clone(),
            rebuilt_by: env!("CARGO_PKG_VERSION").into(),
            equal: parts.iter().all(|part| part.equal),
            parts,
        }
    }
}

/// The definition of each image, by its name.
async fn image_definitions(
    images: &BTreeMap<Side, OwnImage>,
    from: &BuiltFrom,
    environment: &Environment,
) -> Result<BTreeMap<String, Definition>> {
    let mut definitions = BTreeMap::new();
    for image in images.values() {
        let digest = image.digest.as_ref().unwrap_or(&from.image_digest);
        definitions
            .insert(image.name.clone(), load_definition(digest, "image", environment).await?);
    }
    Ok(definitions)
}

/// What the row says it was built from, or what it lacks.
fn require_provenance(run: &RunRow) -> Result<BuiltFrom> {
    run.built_from.clone().ok_or_else(|| {
        Error::input(format!(
            "the run {} cannot be built again from its row, which lacks where its commits came from, the definition of its image ({}) and the digests of its inputs: it was made by dyno {} before rows had them, or its suite was too large to keep",
            run.job, run.image, run.dyno_version
        ))
        .hint(format!(
            "with the catalog of that time, whose suite has the digest {}, measure it again: dyno run {} {} {} --again",
            run.suite_digest, run.suite, run.baseline.asked, run.candidate.asked
        ))
    })
}

async fn load_definition(
    digest: &Digest,
    what: &str,
    environment: &Environment,
) -> Result<Definition> {
    match environment.store.definition(digest).await.map_err(store_error)? {
        Some((path, packed)) => Definition::unpack(&packed, digest, &path),
        None => Err(Error::infrastructure(format!(
            "the store has no definition {digest} of the {what}, which the run row names"
        ))
        .hint("was the folder definitions/ left behind when the store was copied?")),
    }
}

/// The image of each side.
fn own_images(run: &RunRow, from: &BuiltFrom) -> Result<BTreeMap<Side, OwnImage>> {
    let own_image = |(side, built): (Side, &Built)| {
        let common = || OwnImage {
            name: run.image.clone(),
            id: run.image_id.clone(),
            digest: Some(from.image_digest.clone()),
        };
        let image = built.image.clone().unwrap_or_else(common);
        match image.digest {
            Some(_) => Ok((side, image)),
            None => Err(Error::input(format!(
                "the run {} does not name the definition of its image {}",
                run.job, image.name
            ))),
        }
    };
    [(Side::Baseline, &run.baseline), (Side::Candidate, &run.candidate)]
        .into_iter()
        .map(own_image)
        .collect()
}

/// Resolves both sides again: a release by its version, since a registry knows no commits; a commit
/// by itself, since names move; a compiler where it was.
async fn resolve_again(
    run: &RunRow,
    from: &BuiltFrom,
    roots: &BTreeMap<Side, Arc<dyn Root>>,
    folder: &Path,
    environment: &Environment,
) -> Result<BTreeMap<Side, Resolved>> {
    let mut resolved_sides = BTreeMap::new();
    for (side, built) in [(Side::Baseline, &run.baseline), (Side::Candidate, &run.candidate)] {
        let is_image = built.commit.hex() == built.artifact.as_ref().map_or("", Digest::hex);
        let is_compiler = matches!(from.source, Source::Compiler(_));
        let resolved = |commit: &Digest, origin: Origin| {
            let commit = commit.hex().parse().expect("a digest can be a commit's id");
            Resolved { asked: built.asked.clone(), commit, origin }
        };
        let found = match if is_compiler { compiler::parse_reference(&built.asked)? } else { None }
        {
            Some(reference) => {
                let artifact =
                    compiler::import(&reference, &environment.cache, &environment.events).await?;
                resolved(&artifact.digest.clone(), Origin::Imported(artifact))
            }
            None if is_compiler && is_image => {
                resolved(roots[&side].id(), Origin::Image(built.asked.clone()))
            }
            None => {
                let names = [from.source.lasting_name(&built.asked, &built.commit)];
                let found = source::resolve(
                    &from.source,
                    folder,
                    &names,
                    &environment.cache,
                    &environment.events,
                );
                found.await?.into_iter().next().ok_or_else(|| {
                    Error::input(format!("{} is not to be found again", built.asked))
                })?
            }
        };
        resolved_sides.insert(side, found);
    }
    Ok(resolved_sides)
}

/// The catalog of the run, as far as building needs it.
fn write_catalog(
    run: &RunRow,
    suite: &Definition,
    images: &BTreeMap<String, Definition>,
    fresh: &Path,
) -> Result<Catalog> {
    // Rows are not believed: these become folders.
    for name in std::iter::once(&run.suite).chain(images.keys()) {
        if !is_name(name) {
            let name = name.escape_debug();
            return Err(Error::input(format!("the run {} has \"{name}\" as a name", run.job)));
        }
    }
    let root = fresh.join("catalog");
    suite.write(&root.join("suites").join(&run.suite))?;
    for (name, image) in images {
        image.write(&root.join("images").join(name))?;
    }
    Catalog::open(Some(&root))
}

/// Lets `fresh` have what was downloaded before, all of it under its hash.
fn share_downloads(cache: &Path, fresh: &Path) -> Result<()> {
    for name in ["debs", "blobs"] {
        let (shared, link) = (cache.join(name), fresh.join(name));
        let doing = || format!("linking {} to {}", link.display(), shared.display());
        std::fs::create_dir_all(&shared).context(doing)?;
        std::os::unix::fs::symlink(&shared, &link).context(doing)?;
    }
    Ok(())
}

fn file_identity((digest, bytes): &(Digest, u64)) -> PartIdentity {
    PartIdentity { id: digest.to_string(), bytes: Some(*bytes) }
}

fn recorded_files<'a>(run: &'a RunRow, from: &'a BuiltFrom) -> [(&'static str, &'a Files); 3] {
    [
        (Side::Baseline.name(), &run.baseline.files),
        (Side::Candidate.name(), &run.candidate.files),
        ("inputs", &from.inputs),
    ]
}

/// Every file of the row beside what was built now.
fn compare_files(
    run: &RunRow,
    from: &BuiltFrom,
    inputs: &Inputs,
    sides: &Sides,
    cache: &Path,
) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (owner, recorded) in recorded_files(run, from) {
        let identity = match owner {
            "inputs" => None,
            side if side == Side::Baseline.name() => run.baseline.artifact.as_ref(),
            _ => run.candidate.artifact.as_ref(),
        };
        let built: Option<&Result<Artifact, Failure>> = match owner {
            "inputs" => inputs.as_ref(),
            side => sides.iter().find(|(s, _)| s.name() == side).map(|(_, built)| built),
        };
        let nothing = Files::new();
        let (rebuilt, failed) = match built {
            Some(Ok(artifact)) => (&artifact.files, None),
            Some(Err(failure)) => (&nothing, Some(failure)),
            None => (&nothing, None),
        };
        if let Some(failure) = failed {
            let note = match recorded.is_empty() {
                true => format!("does not work, as it did not then: {}", failure.reason),
                false => format!("does not work now: {}", failure.reason),
            };
            let mut part = Part::new(owner, failure.step.name(), None, None);
            (part.equal, part.note) = (recorded.is_empty(), Some(note));
            parts.push(part);
        }
        let mut names: Vec<&String> = recorded.keys().chain(rebuilt.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let (recorded_file, rebuilt_file) = (recorded.get(name), rebuilt.get(name));
            let mut part = Part::new(
                owner,
                name,
                recorded_file.map(file_identity),
                rebuilt_file.map(file_identity),
            );
            if let (false, Some(recorded_file), Some(_), Some(Ok(artifact))) =
                (part.equal, recorded_file, rebuilt_file, built)
            {
                part.difference = find_difference(name, recorded_file, identity, artifact, cache)?;
            }
            parts.push(part);
        }
    }
    Ok(parts)
}

/// The files of a run whose sources or images differ: nothing is built of them.
fn unbuilt_parts(run: &RunRow, from: &BuiltFrom) -> Vec<Part> {
    let mut parts = Vec::new();
    for (owner, files) in recorded_files(run, from) {
        let part = |(name, recorded): (&String, &_)| Part {
            note: Some("not built: what it is built from differs".into()),
            ..Part::new(owner, name, Some(file_identity(recorded)), None)
        };
        parts.extend(files.iter().map(part));
    }
    parts
}

/// Makes the image of each side anew, and compares its ID with the recorded one.
async fn rebuild_images(
    images: &BTreeMap<Side, OwnImage>,
    catalog: &Catalog,
    architecture: &str,
    settings: &image::Settings,
    events: &Events,
    parts: &mut Vec<Part>,
) -> Result<BTreeMap<Side, Arc<dyn Root>>> {
    let mut roots: BTreeMap<Side, Arc<dyn Root>> = BTreeMap::new();
    let id = |id: &Digest| Some(PartIdentity { id: id.to_string(), bytes: None });
    for (side, image) in images {
        let same = images.iter().find(|(other, known)| *other < side && *known == image);
        if let Some(root) = same.map(|(other, _)| Arc::clone(&roots[other])) {
            roots.insert(*side, root);
            continue;
        }
        let folder = catalog.image(&image.name)?;
        let rebuilt = image::rebuild(&folder, architecture, settings, events).await;
        let root: Arc<dyn Root> = Arc::new(ImageRoot(rebuilt.map_err(Error::from)?));
        parts.push(Part::new("image", &image.name, id(&image.id), id(root.id())));
        roots.insert(*side, root);
    }
    Ok(roots)
}

/// Where a file differs from the recorded one, if the cache still has that. It lies there under the
/// row's `identity` of its artifact, in either class, since an untrusted order may use what a
/// trusted one built; rows give the inputs none, which have the same as now.
fn find_difference(
    name: &str,
    (recorded, _): &(Digest, u64),
    identity: Option<&Digest>,
    artifact: &Artifact,
    cache: &Path,
) -> Result<Option<Difference>> {
    let identity = identity.unwrap_or(&artifact.digest);
    let recorded_path = |trust: Trust| {
        cache.join("artifacts").join(trust.name()).join(identity.hex()).join("files").join(name)
    };
    let mut recorded_paths = [Trust::Trusted, Trust::Untrusted].into_iter().map(recorded_path);
    let has_recorded_digest =
        |path: &PathBuf| file_digest(path).is_ok_and(|found| found == *recorded);
    match recorded_paths.find(has_recorded_digest) {
        Some(path) => Difference::between_files(&path, &artifact.folder.join("files").join(name)),
        None => Ok(None),
    }
}

/// Copies what was built to `folder/<baseline|candidate|inputs>/<output>`.
fn export(inputs: &Inputs, sides: &Sides, folder: &Path) -> Result<()> {
    let sides = sides.iter().map(|(side, made)| (side.name(), made));
    for (part, made) in sides.chain(inputs.iter().map(|made| ("inputs", made))) {
        let Ok(artifact) = made else { continue };
        let into = folder.join(part);
        let doing = || format!("writing the rebuilt files to {}", into.display());
        std::fs::create_dir_all(&into).context(doing)?;
        for name in artifact.files.keys() {
            let from = artifact.folder.join("files").join(name);
            std::fs::copy(from, into.join(name)).context(doing)?;
        }
    }
    Ok(())
}

impl Reproduction {
    /// 0 if everything is equal, else as of a case that does not work.
    pub fn exit_code(&self) -> u8 {
        if self.equal { 0 } else { Kind::Case.exit_code() }
    }
}
