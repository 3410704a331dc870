//! One file of the store: created once, and on the disk before the next one is begun. Records are
//! never replaced; a definition is where it is damaged, by what its name says.
//!
//! Trouble on the way to an object store may pass, so a file is tried a few times. An answer may
//! also get lost after the file was written; then, and when an attempt that died is made again with
//! the same record, the name is taken by the very same bytes, which is as good as having written
//! them. Only other bytes are someone else's.
//!
//! `LocalFileSystem` of object_store (0.13) links a file into its place without forcing it to the
//! disk; [`LocalFolder`] does that here, first the file, then the folders that lead to it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, Result};

/// How long to wait before each further attempt. (The clients of object_store repeat by themselves
/// what they know to be harmless; creating a file is not among it.)
const WAITS: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(1000), Duration::from_millis(4000)];

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PutOutcome {
    /// It is there with these bytes.
    Written,
    /// The name belongs to other bytes.
    NameTaken,
}

/// A store in a folder of this machine.
#[derive(Debug)]
pub(crate) struct LocalFolder {
    files: Arc<LocalFileSystem>,
    folder: PathBuf,
    /// Device and inode of the folder when it was opened.
    identity: (u64, u64),
}

impl LocalFolder {
    pub(crate) fn new(files: Arc<LocalFileSystem>, folder: PathBuf) -> std::io::Result<Self> {
        let folder = folder.canonicalize()?;
        let identity = identity(&folder)?;
        Ok(Self { files, folder, identity })
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Whether the folder is still the one that was opened: if it was unmounted meanwhile, files
    /// would be created below the bare mount point, where nobody looks for them.
    pub(crate) fn check(&self) -> Result<(), String> {
        let folder = self.folder.display();
        match identity(&self.folder) {
            Ok(found) if found == self.identity => Ok(()),
            Ok(_) => Err(format!(
                "{folder} is another folder than when it was opened; was it unmounted or moved?"
            )),
            Err(error) => Err(format!("{folder} is gone: {error}")),
        }
    }

    /// Forces a file and the names that lead to it to the disk.
    fn sync(&self, path: &Path) -> Result<()> {
        let file = self.files.path_to_filesystem(path)?;
        let is_inside = |folder: &&std::path::Path| folder.starts_with(&self.folder);
        for level in file.ancestors().take_while(is_inside) {
            let synced = File::open(level).and_then(|open| open.sync_all());
            synced.map_err(|error| generic(format!("{}: {error}", level.display())))?;
        }
        Ok(())
    }
}

fn identity(folder: &std::path::Path) -> std::io::Result<(u64, u64)> {
    fs::metadata(folder).map(|found| (found.dev(), found.ino()))
}

fn generic(text: String) -> Error {
    Error::Generic { store: "LocalFileSystem", source: text.into() }
}

/// Creates the file `path` with `bytes`, in bounded time.
pub(crate) async fn create(
    objects: &dyn ObjectStore,
    local: Option<&LocalFolder>,
    path: &Path,
    bytes: Bytes,
) -> Result<PutOutcome> {
    put(objects, local, path, bytes, PutMode::Create).await
}

/// Gives the file `path` other content, `bytes`; readers see the old or the new.
pub(crate) async fn replace(
    objects: &dyn ObjectStore,
    local: Option<&LocalFolder>,
    path: &Path,
    bytes: Bytes,
) -> Result<()> {
    put(objects, local, path, bytes, PutMode::Overwrite).await.map(|_| ())
}

async fn put(
    objects: &dyn ObjectStore,
    local: Option<&LocalFolder>,
    path: &Path,
    bytes: Bytes,
    mode: PutMode,
) -> Result<PutOutcome> {
    let mut waits = WAITS.iter();
    loop {
        match put_once(objects, local, path, bytes.clone(), mode.clone()).await {
            // On a disk of this machine nothing passes by waiting.
            Err(Error::Generic { store, source }) if local.is_none() => match waits.next() {
                Some(wait) => {
                    tracing::warn!(%path, %source, "trying again");
                    tokio::time::sleep(*wait).await;
                }
                None => return Err(Error::Generic { store, source }),
            },
            done => return done,
        }
    }
}

async fn put_once(
    objects: &dyn ObjectStore,
    local: Option<&LocalFolder>,
    path: &Path,
    bytes: Bytes,
    mode: PutMode,
) -> Result<PutOutcome> {
    let options = PutOptions { mode, ..PutOptions::default() };
    match objects.put_opts(path, bytes.clone().into(), options).await {
        Ok(_) => {}
        Err(Error::AlreadyExists { .. }) => {
            if objects.get(path).await?.bytes().await? != bytes {
                return Ok(PutOutcome::NameTaken);
            }
        }
        Err(error) => return Err(error),
    }
    if let Some(local) = local {
        local.sync(path)?;
    }
    Ok(PutOutcome::Written)
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use futures::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
        PutMultipartOptions, PutPayload, PutResult,
    };

    use super::*;

    /// A store that fails its first puts, before or after having done them.
    #[derive(Debug)]
    struct Flaky {
        inner: InMemory,
        failing: AtomicU32,
        writes: bool,
    }

    impl fmt::Display for Flaky {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("flaky")
        }
    }

    #[async_trait]
    impl ObjectStore for Flaky {
        async fn put_opts(&self, to: &Path, bytes: PutPayload, o: PutOptions) -> Result<PutResult> {
            let fails = self
                .failing
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if fails.is_err() {
                return self.inner.put_opts(to, bytes, o).await;
            }
            if self.writes {
                drop(self.inner.put_opts(to, bytes, o).await);
            }
            Err(Error::Generic { store: "flaky", source: "connection reset".into() })
        }
        async fn put_multipart_opts(
            &self,
            to: &Path,
            o: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.inner.put_multipart_opts(to, o).await
        }
        async fn get_opts(&self, from: &Path, o: GetOptions) -> Result<GetResult> {
            self.inner.get_opts(from, o).await
        }
        fn delete_stream(
            &self,
            paths: BoxStream<'static, Result<Path>>,
        ) -> BoxStream<'static, Result<Path>> {
            self.inner.delete_stream(paths)
        }
        fn list(&self, below: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.inner.list(below)
        }
        async fn list_with_delimiter(&self, below: Option<&Path>) -> Result<ListResult> {
            self.inner.list_with_delimiter(below).await
        }
        async fn copy_opts(&self, from: &Path, to: &Path, o: CopyOptions) -> Result<()> {
            self.inner.copy_opts(from, to, o).await
        }
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_and_only_other_bytes_are_someone_elses() {
        let path = Path::from("runs/x");
        for (failing, writes, there, expected) in [
            (0, false, None, Some(PutOutcome::Written)),
            (1, false, None, Some(PutOutcome::Written)),
            // The answer got lost, the file did not.
            (1, true, None, Some(PutOutcome::Written)),
            (0, false, Some("mine"), Some(PutOutcome::Written)),
            (0, false, Some("theirs"), Some(PutOutcome::NameTaken)),
            (1, false, Some("theirs"), Some(PutOutcome::NameTaken)),
        ] {
            let store = Flaky { inner: InMemory::new(), failing: AtomicU32::new(failing), writes };
            if let Some(there) = there {
                store.inner.put(&path, there.into()).await.unwrap();
            }
            let created = create(&store, None, &path, "mine".into()).await;
            let case = format!("{failing} {writes} {there:?}");
            assert_eq!(created.ok(), expected, "{case}");
            let stored = store.inner.get(&path).await.unwrap().bytes().await.unwrap();
            assert_eq!(stored, there.unwrap_or("mine"), "never replaced: {case}");
        }
    }

    #[tokio::test]
    async fn what_does_not_pass_ends() {
        let store =
            Flaky { inner: InMemory::new(), failing: AtomicU32::new(u32::MAX), writes: false };
        let error = create(&store, None, &Path::from("x"), "mine".into()).await.unwrap_err();
        assert!(error.to_string().contains("connection reset"), "{error}");
        let tried = u32::MAX - store.failing.load(Ordering::SeqCst);
        assert_eq!(tried as usize, 1 + WAITS.len());
    }
}
