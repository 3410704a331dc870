//! Releases of a crate as commits: a local bare repository in which each release is a commit,
//! tagged with its version, whose parent is the release published before it.
//!
//! The order is that of the registry's index, which only grows, and author and date are fixed; so
//! a release has the same commit id on every machine, and "ordered by first parent" means
//! "ordered by publication". The registry is the one that Cargo's own configuration names
//! (source replacement included); each archive is verified against the index's checksum.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use dyno_model::catalog::reader::suggest;
use dyno_model::id::{CommitId, Digest};
use futures::StreamExt;
use tame_index::index::{IndexConfig, SparseIndex};
use tame_index::{IndexKrate, IndexLocation, IndexUrl, IndexVersion, KrateName};

use super::command::{git, run_git, without_configuration};
use super::remote::{init_repository, remove_stale_locks};
use dyno_base::error::{Error, Result, WithContext, chain};
use dyno_base::event::{Events, Phase, ProgressUnit};
use dyno_base::fault;
use dyno_base::http;
use dyno_base::scratch::Scratch;

/// The largest archive taken, and the largest tree in one: registries allow far less.
const ARCHIVE_MAX: u64 = 64 << 20;
const TREE_MAX: u64 = 1 << 30;

/// The registry that Cargo's own configuration names.
pub struct Registry {
    index: SparseIndex,
    config: IndexConfig,
    client: reqwest::Client,
}

impl Registry {
    /// Reads the registry's configuration.
    pub async fn open() -> Result<Self> {
        let doing = || "reading the registry's configuration".to_string();
        let registry_error = |error: tame_index::Error| Error::infrastructure(chain(&error));
        // The version decides sparse or git where nothing is configured; this dyno's own is sparse.
        // It is named, or Cargo itself would be asked for its own: hosts need not have it.
        const VERSION: &str = concat!(env!("CARGO_PKG_RUST_VERSION"), ".0");
        let url = IndexUrl::crates_io(None, None, Some(VERSION))
            .map_err(registry_error)
            .context(doing)?;
        let mut location = IndexLocation::new(url);
        location.cargo_version = VERSION.parse().ok();
        let index = SparseIndex::new(location).map_err(registry_error).context(doing)?;
        let client = http::client()?;
        let config_url = format!("{}config.json", index.url());
        let config = http::get(&client, &config_url, 1 << 20);
        let config = config.await.map_err(Error::from).context(doing)?;
        let config: IndexConfig = serde_json::from_slice(&config).context(doing)?;
        Ok(Self { index, config, client })
    }

    /// The archive of one release, whose checksum is left to whoever asks.
    pub async fn archive(&self, name: &str, version: &str) -> Result<Vec<u8>> {
        let doing = || format!("downloading {name} {version}");
        let krate = KrateName::try_from(name)
            .map_err(|error| Error::input(format!("{name:?} cannot be a crate: {error}")))?;
        let url = self.config.download_url(krate, version);
        let archive = http::get(&self.client, &url, ARCHIVE_MAX).await;
        archive.map_err(Error::from).context(doing)
    }
}

pub struct Releases {
    name: String,
    repository: PathBuf,
    cache: PathBuf,
    /// Versions in the order of publication.
    versions: Vec<IndexVersion>,
    config: IndexConfig,
    client: reqwest::Client,
}

impl Releases {
    /// Reads the crate's index entry.
    pub async fn open(name: &str, cache: &Path, events: &Events) -> Result<Self> {
        let doing = || format!("reading the registry's index of {name}");
        let registry_error = |error: tame_index::Error| Error::infrastructure(chain(&error));
        let registry = Registry::open().await.context(doing)?;
        let krate = KrateName::try_from(name)
            .map_err(|error| Error::input(format!("{name:?} cannot be a crate: {error}")))?;
        let Registry { index, config, client } = registry;
        let entry = match http::get(&client, &index.crate_url(krate), ARCHIVE_MAX).await {
            Ok(entry) => entry,
            Err(http::FetchError::Gone(_)) => {
                return Err(Error::input(format!("the registry has no crate {name}")));
            }
            Err(http::FetchError::Other(error)) => return Err(error).context(doing),
        };
        let entry = IndexKrate::from_slice(&entry).map_err(registry_error).context(doing)?;
        let repository = cache.join("sources/crate").join(format!("{name}.git"));
        init_repository(&repository, "sha1", cache, events).await?;
        let (name, cache) = (name.into(), cache.to_path_buf());
        Ok(Self { name, repository, cache, versions: entry.versions, config, client })
    }

    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// The commit of the release `version`, making it and those before it where they are missing.
    pub async fn commit(&self, version: &str, events: &Events) -> Result<CommitId> {
        let version_text = version.strip_prefix('v').unwrap_or(version);
        let Some(last) = self.versions.iter().position(|v| v.version == version_text) else {
            return Err(self.unknown(version));
        };
        // One process at a time extends the chain.
        let _lock = http::open_locked(&self.repository.join("dyno.lock")).await?;
        remove_stale_locks(&self.repository).context(|| format!("extending {}", self.name))?;
        let have = self.tags().await?;
        let wanted = &self.versions[..=last];
        let first_missing = wanted.iter().position(|v| !have.contains_key(v.version.as_str()));
        let Some(first) = first_missing else { return Ok(have[version_text].clone()) };
        let mut parent =
            first.checked_sub(1).map(|before| have[wanted[before].version.as_str()].clone());
        let total = (wanted.len() - first) as u64;
        events.begin(
            Phase::Source,
            format!("downloading {total} releases of {} up to {version}", self.name),
        );
        let download = |version| fault::around("release.download", self.download(version));
        let downloads = wanted[first..].iter().map(download);
        // In order, a few at a time.
        let mut downloads = Box::pin(futures::stream::iter(downloads).buffered(8));
        let mut done = 0;
        let mut next = wanted[first..].iter();
        while let (Some(archive), Some(version)) = (downloads.next().await, next.next()) {
            let archive = archive?;
            let add = self.add(version, &archive, parent.as_ref());
            let commit = fault::around("release.commit", add).await?;
            parent = Some(commit);
            done += 1;
            events.progress(Phase::Source, done, total, ProgressUnit::Items);
        }
        events.end(Phase::Source, format!("{} {version}", self.name));
        parent.ok_or_else(|| self.unknown(version))
    }

    fn unknown(&self, version: &str) -> Error {
        let mut newest: Vec<&str> = self
            .versions
            .iter()
            .rev()
            .filter(|v| !v.is_yanked())
            .map(|v| v.version.as_str())
            .collect();
        let near = suggest(version.strip_prefix('v').unwrap_or(version), newest.iter().copied());
        let near = near.map(|near| format!("{near} ")).unwrap_or_default();
        newest.truncate(6);
        Error::input(format!("{} has no release {version:?}", self.name))
            .hint(format!("{near}its newest releases are {}", newest.join(", ")))
    }

    async fn tags(&self) -> Result<BTreeMap<String, CommitId>> {
        let mut git = git();
        git.arg("--git-dir").arg(&self.repository);
        git.args(["for-each-ref", "--format=%(objectname) %(refname:strip=2)", "refs/tags"]);
        let output = run_git(git).await?;
        let stdout_text = String::from_utf8_lossy(&output.stdout).into_owned();
        let tag = |line: &str| {
            let (id, name) = line.split_once(' ')?;
            Some((name.to_string(), id.parse().ok()?))
        };
        Ok(stdout_text.lines().filter_map(tag).collect())
    }

    async fn download(&self, version: &IndexVersion) -> Result<Vec<u8>> {
        let doing = || format!("downloading {} {}", self.name, version.version);
        let url = version.download_url(&self.config);
        let url =
            url.ok_or_else(|| Error::infrastructure("the index names no place")).context(doing)?;
        let archive = http::get(&self.client, &url, ARCHIVE_MAX).await;
        let archive = archive.map_err(Error::from).context(doing)?;
        let (found, expected) = (Digest::of(&archive), hex::encode(version.checksum()));
        if found.hex() != expected {
            return Err(Error::infrastructure(format!(
                "{} {} has the checksum {} but the index says {expected}",
                self.name,
                version.version,
                found.hex()
            ))
            .hint("the registry or something between gave other bytes; nothing of them was used"));
        }
        Ok(archive)
    }

    /// Makes the commit of one release and its tag.
    async fn add(
        &self,
        version: &IndexVersion,
        archive: &[u8],
        parent: Option<&CommitId>,
    ) -> Result<CommitId> {
        let doing = || format!("unpacking {} {}", self.name, version.version);
        let folder = Scratch::new(&self.cache).context(doing)?;
        let tree = folder.path().join("tree");
        unpack(archive, &format!("{}-{}", self.name, version.version), &tree).context(doing)?;
        let git_in_tree = || {
            let mut git = without_configuration(folder.path());
            git.arg("--git-dir").arg(&self.repository).arg("--work-tree").arg(&tree);
            git.env("GIT_INDEX_FILE", folder.path().join("index"));
            for who in ["AUTHOR", "COMMITTER"] {
                git.env(format!("GIT_{who}_NAME"), "dyno").env(format!("GIT_{who}_EMAIL"), "dyno");
                git.env(format!("GIT_{who}_DATE"), "2000-01-01T00:00:00Z");
            }
            git.args(["-c", "core.autocrlf=false", "-c", "core.fileMode=true"]);
            git
        };
        let mut add = git_in_tree();
        add.args(["add", "--all", "--force", "--", "."]);
        run_git(add).await.context(doing)?;
        let mut write = git_in_tree();
        write.arg("write-tree");
        let tree_id = stdout_text(run_git(write).await.context(doing)?);
        let mut commit = git_in_tree();
        commit.args(["commit-tree", &tree_id, "-m", &format!("{} {}", self.name, version.version)]);
        if let Some(parent) = parent {
            commit.args(["-p", parent.hex()]);
        }
        let id = stdout_text(run_git(commit).await.context(doing)?);
        let mut tag = git_in_tree();
        tag.args(["update-ref", "--", &format!("refs/tags/{}", version.version), &id]);
        run_git(tag).await.context(doing)?;
        id.parse().context(doing)
    }
}

fn stdout_text(output: std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

/// Unpacks a `.crate` (a gzipped tar whose members all stand below `top`) into `into`: regular
/// files and folders only, none outside, bounded.
pub fn unpack(archive: &[u8], top: &str, into: &Path) -> std::io::Result<()> {
    let invalid = |what: String| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let unzipped = flate2::read::GzDecoder::new(archive).take(TREE_MAX);
    let mut archive = tar::Archive::new(unzipped);
    fs::create_dir_all(into)?;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let is_plain = path.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        let inner = path.strip_prefix(top).ok().filter(|_| is_plain);
        let Some(inner) = inner else {
            return Err(invalid(format!("the member {} is not below {top}", path.display())));
        };
        // `.git` in an archive would be another repository to git.
        if inner.components().any(|c| c.as_os_str().eq_ignore_ascii_case(".git")) {
            continue;
        }
        match entry.header().entry_type() {
            tar::EntryType::Regular => {
                let dest = into.join(inner);
                fs::create_dir_all(dest.parent().unwrap_or(into))?;
                let mut file = fs::File::create(&dest)?;
                std::io::copy(&mut entry, &mut file)?;
                if entry.header().mode()? & 0o111 != 0 {
                    use std::os::unix::fs::PermissionsExt;
                    fs::set_permissions(&dest, fs::Permissions::from_mode(0o755))?;
                }
            }
            tar::EntryType::Directory | tar::EntryType::XGlobalHeader => {}
            other => return Err(invalid(format!("{} is a {other:?}", path.display()))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(members: &[(&str, tar::EntryType)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
            Vec::new(),
            flate2::Compression::fast(),
        ));
        for (path, kind) in members {
            let mut header = tar::Header::new_gnu();
            let name = path.as_bytes();
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
            header.set_entry_type(*kind);
            header.set_size(if *kind == tar::EntryType::Regular { 2 } else { 0 });
            header.set_mode(0o644);
            header.set_cksum();
            let body: &[u8] = if *kind == tar::EntryType::Regular { b"hi" } else { b"" };
            tar.append(&header, body).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn only_plain_files_below_the_top_are_unpacked() {
        use tar::EntryType::{Link, Regular, Symlink};
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("tree");
        let good = archive(&[("x-1/src/lib.rs", Regular), ("x-1/.git/config", Regular)]);
        unpack(&good, "x-1", &into).unwrap();
        assert_eq!(fs::read(into.join("src/lib.rs")).unwrap(), b"hi");
        assert!(!into.join(".git").exists());
        for (path, kind) in [
            ("x-1/../../evil", Regular),
            ("/etc/evil", Regular),
            ("y-1/file", Regular),
            ("x-1/link", Symlink),
            ("x-1/hard", Link),
        ] {
            assert!(unpack(&archive(&[(path, kind)]), "x-1", &into).is_err(), "{path}");
        }
        assert!(unpack(b"not gzip", "x-1", &into).is_err());
    }
}
