//! A store as it is opened: one place, its files by folder, and what was found wrong with them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use dyno_model::host_key::PublicKey;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use url::Url;

use crate::bounds::{FOOTER_BYTES_MAX, TOO_LARGE};
use crate::error::{Error, Fault, Problem, Result};
use crate::files;
use crate::gate::RunGate;
use crate::layout::{Folder, Shard};
use crate::put::LocalFolder;
use crate::remote::{Patience, Settings, remote_objects};
use crate::signature::{HostKeys, SigningKey};
use crate::stored_run::StoredRun;

/// How many files are read at once while a store is looked through.
pub const READS_AT_ONCE: usize = 16;

/// A place with records in it. Cloning is cheap and shares the list of problems.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
    watch: PublishWatch,
    gate: Option<Arc<dyn RunGate>>,
    signer: Option<Arc<SigningKey>>,
    keys: Arc<HostKeys>,
}

/// A function called before (`false`) and after (`true`) each file that a record is written as,
/// with its table.
pub type PublishWatch = fn(table: &'static str, done: bool);

#[derive(Debug)]
struct Inner {
    url: String,
    objects: Arc<dyn ObjectStore>,
    /// What sets up another client of the same, where the store is remote.
    remote: Option<(Url, Settings)>,
    /// Where the store is a folder.
    local: Option<LocalFolder>,
    problems: Mutex<BTreeMap<String, String>>,
    /// Run rows read before, by path and by what told this version of the file from another.
    runs: Mutex<BTreeMap<Path, (ObjectMeta, Arc<StoredRun>)>>,
    /// Files whose rows were found to be those of their run row, as they were then.
    sound_rows: Mutex<BTreeMap<Path, ObjectMeta>>,
}

impl Store {
    /// Opens the store at `url`: a path or `file:` URL (the folder is created if absent), or any
    /// URL that object_store knows (`s3://bucket/prefix`, set up by the `AWS_*` variables).
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] if the URL makes no sense, [`Error::Unavailable`] if the place cannot
    /// be made or listed.
    pub async fn open(url: &str) -> Result<Self> {
        if let Ok(Some(path)) = local_path(url) {
            let display = path.display();
            std::fs::create_dir_all(&path).map_err(|e| Error::Unavailable {
                url: url.to_string(),
                why: format!("cannot make the folder {display}: {e}"),
            })?;
        }
        Self::open_existing(url).await
    }

    /// Opens the store at `url` as [`Store::open`] does, for whoever only reads: a folder that is
    /// not there is no empty store, and is not made.
    ///
    /// # Errors
    /// [`Error::NoStore`] if there is none, and those of [`Store::open`].
    pub async fn open_existing(url: &str) -> Result<Self> {
        let settings = std::env::vars().filter(|(name, _)| name.starts_with("AWS_"));
        Self::open_with(url, settings.collect()).await
    }

    /// Opens the store at `url` as [`Store::open_existing`] does, set up by these `AWS_*` settings
    /// in place of the variables of this process.
    ///
    /// # Errors
    /// Those of [`Store::open_existing`].
    pub async fn open_with(url: &str, settings: Settings) -> Result<Self> {
        let unavailable = |why: String| Error::Unavailable { url: url.to_string(), why };
        let invalid = |why: String| Error::InvalidUrl { url: url.escape_debug().to_string(), why };
        let (objects, remote, local) = match local_path(url).map_err(invalid)? {
            Some(path) => {
                let display = path.display();
                if path.metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
                    return Err(Error::NoStore { url: url.to_string() });
                }
                let open =
                    |e: String| unavailable(format!("cannot open the folder {display}: {e}"));
                let files = LocalFileSystem::new_with_prefix(&path);
                let files = Arc::new(files.map_err(|e| open(e.to_string()))?);
                let local = LocalFolder::new(Arc::clone(&files), path.clone());
                let files: Arc<dyn ObjectStore> = files;
                (files, None, Some(local.map_err(|e| open(e.to_string()))?))
            }
            None => {
                let parsed = Url::parse(url).map_err(|e| invalid(format!("not a URL: {e}")))?;
                let objects = remote_objects(&parsed, &settings, Patience::Minutes);
                let objects = objects.map_err(|error| invalid(error.to_string()))?;
                (objects, Some((parsed, settings)), None)
            }
        };
        let (problems, runs, sound_rows) = Default::default();
        let inner =
            Inner { url: url.to_string(), objects, remote, local, problems, runs, sound_rows };
        let inner = Arc::new(inner);
        let (signer, keys) = (None, Arc::default());
        let store = Self { inner, watch: |_, _| (), gate: None, signer, keys };
        match store.local() {
            Some(local) => check_folder(local.folder())
                .map_err(|why| unavailable(format!("cannot list it: {why}")))?,
            None => {
                let listed = store.objects().list_with_delimiter(None).await;
                listed.map_err(|e| store.unavailable("list", &e))?;
            }
        }
        Ok(store)
    }

    /// This store, with someone who watches it being written.
    pub fn with_watch(self, watch: PublishWatch) -> Self {
        Self { watch, ..self }
    }

    /// This store, with what decides which attempt of a job of the queue counts.
    pub fn with_gate(self, gate: Arc<dyn RunGate>) -> Self {
        Self { gate: Some(gate), ..self }
    }

    /// This store, with the key that run rows are signed with.
    pub fn with_signer(self, signer: Option<SigningKey>) -> Self {
        Self { signer: signer.map(Arc::new), ..self }
    }

    /// This store, with the keys of hosts that run rows are checked against; to be said before
    /// anything is read, since rows that were read are kept.
    pub fn with_keys(self, keys: HostKeys) -> Self {
        Self { keys: Arc::new(keys), ..self }
    }

    /// The public half of the key that run rows are signed with.
    pub fn public_key(&self) -> Option<PublicKey> {
        self.signer().map(SigningKey::public_key)
    }

    pub(crate) fn signer(&self) -> Option<&SigningKey> {
        self.signer.as_deref()
    }

    pub(crate) fn gate(&self) -> Option<&dyn RunGate> {
        self.gate.as_deref()
    }

    /// The URL the store was opened with.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// One name for this store, however it was named: the folder's full path, or the URL.
    pub fn place(&self) -> String {
        match &self.inner.local {
            Some(local) => local.folder().display().to_string(),
            None => self.url().to_string(),
        }
    }

    /// The folder that the store is, where it is one.
    pub fn folder(&self) -> Option<&std::path::Path> {
        self.local().map(LocalFolder::folder)
    }

    /// Where the file at `path`, which is relative to the store, lies.
    pub fn locate(&self, path: &Path) -> String {
        format!("{}/{path}", self.url().trim_end_matches('/'))
    }

    /// Proves that the store can be written, by replacing a small object, creating it and removing
    /// it; asked before hours are spent on measuring what could not be kept.
    pub async fn check_writable(&self) -> Result<()> {
        // One name for all, so that a kill in here leaves nothing that the next one does not take.
        let path = Path::from("_writable");
        let put = async |mode: PutMode| {
            let options = PutOptions { mode, ..PutOptions::default() };
            self.objects().put_opts(&path, Bytes::from_static(b"dyno").into(), options).await
        };
        put(PutMode::Overwrite).await.map_err(|e| self.unavailable("write", &e))?;
        // In a folder, creating is linking: shares and some disks have no links.
        if self.local().is_some() {
            let _ = self.objects().delete(&path).await;
            match put(PutMode::Create).await {
                // Another dyno's check came first.
                Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(error) => {
                    let why = format!(
                        "files cannot be created there without replacing others, which takes hard links ({error}); use a folder of a disk that has them, or a bucket"
                    );
                    return Err(Error::InvalidUrl { url: self.url().to_string(), why });
                }
            }
        }
        match self.objects().delete(&path).await {
            // Another dyno's removal came first.
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            done => done.map_err(|e| self.unavailable("write", &e)),
        }
    }

    /// Fails if the store is a folder and no longer the one that was opened.
    pub(crate) fn check_place(&self) -> Result<()> {
        let checked = self.local().map_or(Ok(()), LocalFolder::check);
        checked.map_err(|why| Error::Unavailable { url: self.url().to_string(), why })
    }

    /// Tells who watches that a file of `folder` is begun (`false`) or done (`true`).
    pub(crate) fn notify_watch(&self, folder: Folder, done: bool) {
        (self.watch)(folder.name(), done);
    }

    /// Files that were set aside so far, by path.
    pub fn problems(&self) -> Vec<Problem> {
        let problems = lock(&self.inner.problems);
        problems
            .iter()
            .map(|(path, what)| Problem { path: path.clone(), what: what.clone() })
            .collect()
    }

    /// The files, by paths relative to the store.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.objects
    }

    /// The files, by a client that gives up within seconds: for who tries again by itself, and says
    /// why it waits.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] if no such client can be set up.
    pub fn prompt_objects(&self) -> Result<Arc<dyn ObjectStore>> {
        let Some((url, settings)) = &self.inner.remote else {
            return Ok(Arc::clone(self.objects()));
        };
        remote_objects(url, settings, Patience::Seconds).map_err(|error| Error::InvalidUrl {
            url: self.url().escape_debug().to_string(),
            why: error.to_string(),
        })
    }

    /// The folder, where the store is one.
    pub(crate) fn local(&self) -> Option<&LocalFolder> {
        self.inner.local.as_ref()
    }

    /// Remembers the file at `path` as a problem; what reads the rest goes on without it.
    pub fn quarantine(&self, path: &Path, fault: Fault) {
        tracing::warn!(%path, %fault, "set aside");
        lock(&self.inner.problems).insert(path.to_string(), fault);
    }

    /// Whether the rows of a file, as it is, were found to be those of its run row before.
    pub(crate) fn has_sound_rows(&self, meta: &ObjectMeta) -> bool {
        lock(&self.inner.sound_rows).get(&meta.location) == Some(meta)
    }

    /// Remembers that the rows of a file are those of its run row.
    pub(crate) fn note_sound_rows(&self, meta: &ObjectMeta) {
        lock(&self.inner.sound_rows).insert(meta.location.clone(), meta.clone());
    }

    /// The files of `folder` in the order in which attempts of one job count. Foreign names are
    /// set aside; names that begin with `_` or `.` belong to other tools and are passed over.
    pub async fn list(&self, folder: Folder) -> Result<Vec<(Shard, ObjectMeta)>> {
        let prefix = Path::from(folder.name());
        let mut files = Vec::new();
        for meta in self.list_below(&prefix).await? {
            match Shard::parse(folder, &meta.location) {
                Some(shard) => files.push((shard, meta)),
                None if meta.location.filename().is_some_and(|n| n.starts_with(['_', '.'])) => {}
                None => {
                    let expected = "arch=…/month=yyyy-mm/<job>.parquet";
                    self.quarantine(
                        &meta.location,
                        format!("not named {}/{expected}", folder.name()),
                    );
                }
            }
        }
        files.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(files)
    }

    /// All files below `prefix` that have a name a store can give. In a folder the others are set
    /// aside, as is what cannot be read: people put things there.
    async fn list_below(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        let Some(local) = self.local() else {
            let listed = self.objects().list(Some(prefix)).try_collect::<Vec<_>>().await;
            return listed.map_err(|e| self.unavailable("list", &e));
        };
        let unavailable = |why: String| Error::Unavailable { url: self.url().to_string(), why };
        check_folder(&local.folder().join(prefix.as_ref()))
            .map_err(|why| unavailable(format!("cannot list it: {why}")))?;
        let (objects, below) = (Arc::clone(self.objects()), prefix.clone());
        let (send, listed) = tokio::sync::oneshot::channel();
        // On the threads of tokio a listing ends at the first of these errors.
        std::thread::spawn(move || {
            let listed = objects.list(Some(&below)).collect::<Vec<_>>();
            drop(send.send(listed.now_or_never()));
        });
        let listed = listed.await.ok().flatten();
        let listed = listed.ok_or_else(|| unavailable("cannot list it to its end".into()))?;
        let (files, errors): (Vec<_>, Vec<_>) = listed.into_iter().partition(|item| item.is_ok());
        for error in errors.into_iter().filter_map(std::result::Result::err) {
            let fault = one_line(&error);
            tracing::warn!(%prefix, %fault, "set aside");
            // Its name is no path of a store, and stands in the error's text alone.
            let place = format!("{prefix}/: {}", fault.escape_debug());
            lock(&self.inner.problems).insert(place, "cannot be listed".into());
        }
        Ok(files.into_iter().filter_map(std::result::Result::ok).collect())
    }

    /// The run row in a file; `None` (and a problem) if the file is not one.
    pub(crate) async fn read_run_row(
        &self,
        shard: Shard,
        meta: ObjectMeta,
    ) -> Option<Arc<StoredRun>> {
        let path = meta.location.clone();
        let cached = lock(&self.inner.runs).get(&path).filter(|(m, _)| *m == meta).cloned();
        if let Some((_, row)) = cached {
            return Some(row);
        }
        if meta.size > FOOTER_BYTES_MAX {
            let size = meta.size;
            let fault = format!("{TOO_LARGE}{size} bytes, more than {FOOTER_BYTES_MAX}");
            self.quarantine(&path, fault);
            return None;
        }
        let bytes = self.bytes(&path).await?;
        let decoded = files::read_run(bytes, &shard).and_then(|(batches, signature)| {
            StoredRun::decode(shard, &batches, signature.as_deref(), &self.keys)
        });
        match decoded {
            Ok(row) => {
                let row = Arc::new(row);
                lock(&self.inner.runs).insert(path, (meta, Arc::clone(&row)));
                Some(row)
            }
            Err(fault) => {
                self.quarantine(&path, fault);
                None
            }
        }
    }

    /// The bytes of a file; `None` (and a problem) if this one file cannot be read.
    async fn bytes(&self, path: &Path) -> Option<Bytes> {
        let read = async { self.objects().get(path).await?.bytes().await };
        match read.await {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.quarantine(path, format!("cannot be read: {}", one_line(&error)));
                None
            }
        }
    }

    /// The error of `doing` something to the store.
    pub(crate) fn unavailable(&self, doing: &str, error: &object_store::Error) -> Error {
        Error::Unavailable {
            url: self.url().to_string(),
            why: format!("cannot {doing} it: {}", one_line(error)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is replaced whole, so a panic elsewhere leaves it sound.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether a folder can be listed; one that is not there is empty.
fn check_folder(folder: &std::path::Path) -> Result<(), String> {
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// An error with the system's reason (`Permission denied …`) on one line.
pub(crate) fn one_line(error: &object_store::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The folder meant by a plain path or `file:` URL; `None` for another scheme.
fn local_path(url: &str) -> Result<Option<std::path::PathBuf>, String> {
    if url.is_empty() {
        return Err(
            "empty; expected a folder, or a URL like file:///srv/dyno or s3://bucket/dyno".into()
        );
    }
    if url.starts_with("file:/") {
        let parsed = Url::parse(url).map_err(|e| format!("not a URL: {e}"))?;
        let path = parsed.to_file_path();
        return path
            .map(Some)
            .map_err(|()| "a file: URL names no other machine: write file:///path".into());
    }
    if let Some(relative) = url.strip_prefix("file:") {
        return Ok(Some(relative.into()));
    }
    Ok((!url.contains("://")).then(|| url.into()))
}

#[cfg(test)]
mod tests {
    use super::local_path;

    #[test]
    fn places() {
        for (url, expected) in [
            ("store", Ok(Some("store"))),
            ("/srv/x", Ok(Some("/srv/x"))),
            ("file:///srv/a%20b", Ok(Some("/srv/a b"))),
            ("file:store", Ok(Some("store"))),
            ("s3://bucket/dyno", Ok(None)),
        ] {
            assert_eq!(local_path(url), expected.map(|p| p.map(Into::into)), "{url}");
        }
        for wrong in ["", "file://elsewhere/x"] {
            assert!(local_path(wrong).is_err(), "{wrong}");
        }
    }
}
