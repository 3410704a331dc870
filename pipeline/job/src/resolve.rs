//! What the two names of a request mean, and the image that each side lives in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use dyno_base::error::{Error, Kind, Result};
use dyno_base::event::{Phase, Stage};
use dyno_build::catalog::LoadedSuite;
use dyno_build::source::{self, Origin, Resolved};
use dyno_engine::Root;
use dyno_image::{self as image, BuildError};
use dyno_model::catalog::image::debian_architecture;
use dyno_model::catalog::suite::Source;
use dyno_model::id::Digest;
use dyno_model::record::Side;
use dyno_toolchain::compiler;

use crate::clock::PhaseClock;
use crate::context::{Context, JobRequest};

/// What both names mean, and the image that each side lives in.
pub struct ResolvedSides {
    pub images: BTreeMap<Side, (PathBuf, String)>,
    pub roots: BTreeMap<Side, Arc<dyn Root>>,
    pub resolved: BTreeMap<Side, Resolved>,
}

/// Finds what is asked for. Of most suites both sides are commits, in the suite's image; a compiler
/// may be an image itself, and lives in it then.
pub async fn resolve_sides(
    suite: &LoadedSuite,
    machine: &str,
    request: &JobRequest,
    ctx: &Context,
    clock: &mut PhaseClock,
) -> Result<ResolvedSides> {
    let names = [(Side::Baseline, &request.baseline), (Side::Candidate, &request.candidate)];
    let is_compiler = matches!(suite.suite.source, Source::Compiler(_));
    let known_images = ctx.catalog.images();
    let image_of = |name: &str| {
        let name = name.strip_prefix("image:").unwrap_or(name);
        (is_compiler && known_images.iter().any(|known| known == name)).then(|| name.to_string())
    };
    // Names first: they are the cheapest to be wrong.
    let others = names.iter().filter(|(_, name)| image_of(name).is_none());
    let others = others.map(|(side, name)| (*side, (*name).clone())).collect();
    let mut resolved = resolve_others(request, suite, others, &known_images, ctx, clock).await?;
    ctx.events.stage(Stage::Image, None);
    let (mut images, mut roots) = (BTreeMap::new(), BTreeMap::new());
    let mut built_images: BTreeMap<String, Arc<ImageRoot>> = BTreeMap::new();
    for (side, name) in names {
        let own = image_of(name);
        let image = own.clone().unwrap_or_else(|| suite.suite.image.clone());
        let folder = ctx.catalog.image(&image)?;
        let built = match built_images.get(&image) {
            Some(built) => Arc::clone(built),
            None => {
                let building = ensure_image(&folder, machine, request, ctx);
                let built = Arc::new(ImageRoot(clock.time("image", building).await?));
                built_images.insert(image.clone(), Arc::clone(&built));
                built
            }
        };
        if let Some(own) = own {
            let commit = built.id().hex().parse().expect("a digest can be a commit's id");
            let origin = Origin::Image(own);
            resolved.insert(side, Resolved { asked: name.clone(), commit, origin });
        }
        images.insert(side, (folder, image));
        roots.insert(side, built as Arc<dyn Root>);
    }
    Ok(ResolvedSides { images, roots, resolved })
}

/// Finds what is no image: compilers that are imported, and commits.
async fn resolve_others(
    request: &JobRequest,
    suite: &LoadedSuite,
    others: Vec<(Side, String)>,
    known_images: &[String],
    ctx: &Context,
    clock: &mut PhaseClock,
) -> Result<BTreeMap<Side, Resolved>> {
    let source = &suite.suite.source;
    let is_compiler = matches!(source, Source::Compiler(_));
    let mut resolved = BTreeMap::new();
    let (mut sides, mut commits) = (Vec::new(), Vec::new());
    for (side, name) in others {
        match find_here(&name, is_compiler, request, ctx).await? {
            Some(found) => drop(resolved.insert(side, found)),
            None => {
                sides.push(side);
                commits.push(name);
            }
        }
    }
    if commits.is_empty() {
        return Ok(resolved);
    }
    if *source == Source::Compiler(None) {
        return Err(compiler::unknown_compilers(&commits, known_images));
    }
    ctx.events.stage(Stage::Source, None);
    let resolving = source::resolve(source, &suite.folder, &commits, &ctx.cache, &ctx.events);
    // What is no commit may be meant for an image.
    let found = clock.time("source", resolving).await.map_err(|error| {
        if !is_compiler || error.kind != Kind::Input {
            return error;
        }
        let others = ", a branch, tag or commit";
        let meant = compiler::compiler_hint(&commits, known_images, others);
        let hint = error.hint.iter().map(String::as_str).chain([meant.as_str()]);
        let hint = hint.collect::<Vec<_>>().join("; ");
        error.hint(hint)
    })?;
    resolved.extend(sides.into_iter().zip(found));
    Ok(resolved)
}

/// What `name` means without asking where the suite takes commits from: a commit of a bundle, or a
/// compiler that is imported.
async fn find_here(
    name: &str,
    is_compiler: bool,
    request: &JobRequest,
    ctx: &Context,
) -> Result<Option<Resolved>> {
    let bundled = request.bundled.iter().find(|bundled| bundled.commit.hex() == name);
    match bundled {
        None if is_compiler => import_compiler(name, ctx).await,
        bundled => Ok(bundled.cloned()),
    }
}

/// Imports the compiler that `name` refers to; `None` for an image or a commit.
async fn import_compiler(name: &str, ctx: &Context) -> Result<Option<Resolved>> {
    let Some(reference) = compiler::parse_reference(name)? else { return Ok(None) };
    let artifact = compiler::import(&reference, &ctx.cache, &ctx.events).await?;
    let commit = artifact.digest.hex().parse().expect("a digest can be a commit's id");
    Ok(Some(Resolved { asked: name.to_string(), commit, origin: Origin::Imported(artifact) }))
}

/// The id of the image, or one that stands for both where each side has its own.
pub fn combined_image_id(roots: &BTreeMap<Side, Arc<dyn Root>>) -> Digest {
    let [baseline, candidate] = Side::BOTH.map(|side| roots[&side].id());
    match baseline == candidate {
        true => baseline.clone(),
        false => Digest::of_parts([baseline.hex(), candidate.hex()]),
    }
}

/// An image as engines see it.
pub struct ImageRoot(pub image::Built);

#[async_trait]
impl Root for ImageRoot {
    fn id(&self) -> &Digest {
        &self.0.id
    }
    fn rootfs(&self) -> &Path {
        &self.0.rootfs
    }
    async fn archive(&self) -> Result<PathBuf> {
        image::archive(&self.0).await
    }
}

/// Two values, or all that is wrong with either.
pub fn zip_errors<A, B>(a: Result<A>, b: Result<B>) -> Result<(A, B)> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(mut a), Err(b)) if a.kind == b.kind => {
            a.message = format!("{}; {}", a.message, b.message);
            a.hint = a.hint.or(b.hint);
            a.mistakes.extend(b.mistakes);
            Err(a)
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

async fn ensure_image(
    folder: &Path,
    machine: &str,
    request: &JobRequest,
    ctx: &Context,
) -> Result<image::Built> {
    let settings = image::Settings {
        mirror: ctx.mirror.clone(),
        cache: ctx.cache.clone(),
        keys: ctx.catalog.keys(),
    };
    let architecture = debian_architecture(machine)
        .ok_or_else(|| Error::host(format!("Debian has no architecture for {machine}")))?;
    let built = match image::build(folder, architecture, &settings, &ctx.events).await {
        Err(BuildError::Gone(error)) if request.allow_relock => {
            ctx.events.notice(format!(
                "{error}; pinning the image anew from the suite as it is today, and writing {}",
                folder.join("image.lock").display()
            ));
            image::lock(folder, &settings, &ctx.events).await?;
            image::build(folder, architecture, &settings, &ctx.events).await
        }
        other => other,
    };
    let built = built.map_err(Error::from)?;
    ctx.events.end(Phase::Image, format!("image {}", built.id));
    Ok(built)
}
