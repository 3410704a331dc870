//! Debian's archive: from a suite and packages to pinned packages, and those to files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dyno_model::catalog::image::Package;
use futures::{StreamExt as _, TryStreamExt as _};
use pgp::composed::SignedPublicKey;

use super::release::{self, Release};
use super::resolve::{self, Index};
use super::unpack::{self, Member};
use super::{BuildError, Settings};
use dyno_base::error::{Error, Result, WithContext as _};
use dyno_base::event::{Events, Phase, ProgressUnit};
use dyno_base::http::{self, FetchError};

/// Downloads at a time.
const PARALLEL: usize = 4;
/// The largest index read, and the largest it may unpack to, in bytes.
const INDEX_MAX: u64 = 256 << 20;
const INDEX_TEXT_MAX: u64 = 1 << 30;

/// A suite under resolution: its verified index and where the rest of it is.
pub struct Suite<'a> {
    name: &'a str,
    mirror: String,
    client: reqwest::Client,
    release: Release,
}

impl<'a> Suite<'a> {
    /// Fetches and verifies the suite's signed index.
    pub async fn open(name: &'a str, settings: &Settings) -> Result<Self> {
        let mirror = settings.mirror()?;
        let client = http::client()?;
        let keys: Vec<SignedPublicKey> = release::keys(&settings.keys)?;
        let url = format!("{mirror}/dists/{name}/InRelease");
        let text = http::get(&client, &url, INDEX_MAX).await.map_err(|failure| match failure {
            FetchError::Gone(_) => Error::input(format!("the mirror has no suite {name} ({url})")),
            FetchError::Other(error) => error,
        })?;
        let accept = std::env::var(release::ACCEPT_EXPIRED).is_ok_and(|word| word == "yes");
        let release = release::verify(&text, name, &keys, chrono::Utc::now(), accept)?;
        Ok(Self { name, mirror, client, release })
    }

    /// `Date` of the signed index.
    pub fn date(&self) -> Option<String> {
        self.release.field("Date").map(str::to_string)
    }

    /// The closure of `wanted` for one architecture.
    pub async fn pin(
        &self,
        architecture: &str,
        wanted: &[String],
        settings: &Settings,
    ) -> Result<Vec<Package>> {
        let mut texts = Vec::new();
        for (address, digest, size) in self.release.indices(architecture)? {
            if size > INDEX_MAX {
                let message = format!("the package index of {} is {size} bytes", self.name);
                return Err(Error::infrastructure(message));
            }
            let url = format!("{}/dists/{}/{address}", self.mirror, self.name);
            let dest = settings.cache.join("indices").join(format!("{}.xz", digest.hex()));
            http::download(&self.client, &url, &digest, size, &dest, &|_| ()).await?;
            texts.push(run_blocking(move || read_xz(&dest)).await?);
        }
        let (architecture, wanted) = (architecture.to_string(), wanted.to_vec());
        let suite = self.name.to_string();
        run_blocking(move || {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let index = Index::parse(&architecture, &texts).map_err(Error::infrastructure)?;
            resolve::resolve(&index, &wanted).map_err(|problems| {
                Error::input(format!(
                    "the packages do not fit together in {suite} for {architecture}:\n  {}",
                    problems.join("\n  ")
                ))
                .hint("change `packages` in image.toml; naming a package there prefers it over other alternatives")
            })
        })
        .await
    }
}

fn read_xz(path: &Path) -> Result<String> {
    let mut text = String::new();
    let reading = || format!("reading {}", path.display());
    let file = std::fs::File::open(path).context(reading)?;
    let reader = liblzma::read::XzDecoder::new(file);
    io::Read::read_to_string(&mut io::Read::take(reader, INDEX_TEXT_MAX), &mut text)
        .context(reading)?;
    Ok(text)
}

/// Path of a package in the cache.
fn deb_path(cache: &Path, package: &Package) -> PathBuf {
    cache.join("debs").join(format!("{}.deb", package.sha256.hex()))
}

/// Downloads the packages that are not in the cache; afterwards each is there, verified.
pub async fn download(
    image: &str,
    packages: &[Package],
    settings: &Settings,
    events: &Events,
) -> Result<(), BuildError> {
    let client = http::client()?;
    let total = packages.iter().map(|package| package.size_bytes).sum();
    let downloaded_bytes: Vec<AtomicU64> = packages.iter().map(|_| AtomicU64::new(0)).collect();
    let (client, downloaded_bytes) = (&client, &downloaded_bytes);
    let download_package = async |number: usize| -> Result<(), BuildError> {
        let package = &packages[number];
        let progress = |bytes: u64| {
            downloaded_bytes[number].store(bytes, Ordering::Relaxed);
            let done = downloaded_bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum();
            events.progress(Phase::Image, done, total, ProgressUnit::Bytes);
        };
        let dest = deb_path(&settings.cache, package);
        let (sha256, size) = (&package.sha256, package.size_bytes);
        if http::has_content(&dest, sha256, size).await? {
            progress(size);
            return Ok(());
        }
        // Asked for only here: a machine with everything in its cache needs no mirror.
        let url = format!("{}/{}", settings.mirror()?, package.path);
        http::download(client, &url, sha256, size, &dest, &progress).await.map_err(|failure| {
            match failure {
                FetchError::Gone(_) => BuildError::Gone(
                    Error::infrastructure(format!(
                        "the mirror no longer has {} {} ({})",
                        package.name, package.version, package.path
                    ))
                    .hint(format!(
                        "pin the image anew: dyno image lock {image} (its image ID changes); or use a mirror that keeps old packages (--mirror)"
                    )),
                ),
                FetchError::Other(error) => BuildError::Other(error),
            }
        })
    };
    futures::stream::iter((0..packages.len()).map(download_package))
        .buffer_unordered(PARALLEL)
        .try_collect::<()>()
        .await
}

/// Unpacks downloaded packages into `spool`, on all cores; in the order of `packages`.
pub fn unpack(
    packages: &[Package],
    cache: &Path,
    spool: &Path,
    events: &Events,
) -> Result<Vec<(String, Vec<Member>)>> {
    // The largest first, so that no core is left alone with one at the end.
    let mut order: Vec<usize> = (0..packages.len()).collect();
    order.sort_by_key(|&number| std::cmp::Reverse(packages[number].size_bytes));
    let next = AtomicUsize::new(0);
    let unpack_packages = || -> Result<Vec<(usize, Vec<Member>)>> {
        let mut done = Vec::new();
        loop {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some(&number) = order.get(position) else { return Ok(done) };
            let package = &packages[number];
            let members =
                unpack::package(&deb_path(cache, package), &spool.join(number.to_string()))
                    .context(|| format!("unpacking {} {}", package.name, package.version))?;
            done.push((number, members));
            events.progress(
                Phase::Image,
                position as u64 + 1,
                order.len() as u64,
                ProgressUnit::Items,
            );
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let mut unpacked = std::thread::scope(|scope| -> Result<Vec<_>> {
        let started: Vec<_> = (0..workers).map(|_| scope.spawn(unpack_packages)).collect();
        let mut unpacked = Vec::new();
        for worker in started {
            unpacked
                .extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(unpacked)
    })?;
    unpacked.sort_by_key(|(number, _)| *number);
    Ok(unpacked.into_iter().map(|(n, members)| (packages[n].name.clone(), members)).collect())
}

/// Runs `work`, which computes or waits for the disk, on a thread where it does not hold up the
/// rest.
pub async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context(|| "working in the background".into())?
}
