//! The store: one place, four folders, files that are only ever created.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use dyno_model::id::JobId;
use dyno_model::record::{Record, RunRow};
use dyno_model::verdict;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use url::Url;

use crate::create::{Created, Local, create};
use crate::encode;
use crate::error::{Error, Problem, Result};
use crate::files::{self, Fault};
use crate::layout::{self, Folder, Shard};
use crate::snapshot::StoredRun;

/// How many interrupted attempts of one job and month are stepped over before giving up.
const ATTEMPTS_MAX: u32 = 100;

/// What became of [`Store::publish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The files were written; `bytes` is their size together.
    Written { attempt: u32, bytes: u64 },
    /// The job has a run row already; nothing was written.
    AlreadyHeld,
}

/// A place with records in it. Cloning is cheap and shares the list of problems.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
    watch: Watch,
}

/// Called before (`false`) and after (`true`) each file that a record is written as, with its table.
pub type Watch = fn(table: &'static str, done: bool);

#[derive(Debug)]
struct Inner {
    url: String,
    objects: Arc<dyn ObjectStore>,
    /// Where the store is a folder.
    local: Option<Local>,
    problems: Mutex<BTreeMap<String, String>>,
    /// Run rows read before, by path and by what told this version of the file from another.
    runs: Mutex<BTreeMap<Path, (ObjectMeta, Arc<StoredRun>)>>,
}

impl Store {
    /// Opens the store at `url`: a path or `file:` URL (the folder is created if absent), or any
    /// URL that object_store knows (`s3://bucket/prefix`, set up by the `AWS_*` variables).
    ///
    /// # Errors
    /// [`Error::NoPlace`] if the URL makes no sense, [`Error::Place`] if the place cannot be made or
    /// listed.
    pub async fn open(url: &str) -> Result<Self> {
        let place = |why: String| Error::Place { url: url.to_string(), why };
        let no_place = |why: String| Error::NoPlace { url: url.escape_debug().to_string(), why };
        let (objects, local): (Arc<dyn ObjectStore>, _) = match local_path(url).map_err(no_place)? {
            Some(path) => {
                let shown = path.display();
                std::fs::create_dir_all(&path)
                    .map_err(|e| place(format!("cannot make the folder {shown}: {e}")))?;
                let open = |e: String| place(format!("cannot open the folder {shown}: {e}"));
                let files = LocalFileSystem::new_with_prefix(&path);
                let files = Arc::new(files.map_err(|e| open(e.to_string()))?);
                let local = Local::new(Arc::clone(&files), path.clone());
                (files, Some(local.map_err(|e| open(e.to_string()))?))
            }
            None => {
                let parsed = Url::parse(url).map_err(|e| no_place(format!("not a URL: {e}")))?;
                let settings = std::env::vars().filter(|(name, _)| name.starts_with("AWS_"));
                let (objects, prefix) = object_store::parse_url_opts(&parsed, settings)
                    .map_err(|e| no_place(e.to_string()))?;
                (Arc::new(PrefixStore::new(objects, prefix)), None)
            }
        };
        let (url, problems, runs) = (url.to_string(), Mutex::default(), Mutex::default());
        let inner = Arc::new(Inner { url, objects, local, problems, runs });
        let store = Self { inner, watch: |_, _| () };
        store.objects().list_with_delimiter(None).await.map_err(|e| store.failed("list", &e))?;
        Ok(store)
    }

    /// The same, with someone who watches it being written.
    pub fn watched(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }

    /// The URL the store was opened with.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// The same for every way of naming this store: the folder's full path, or the URL.
    pub fn place(&self) -> String {
        match &self.inner.local {
            Some(local) => local.folder().display().to_string(),
            None => self.url().to_string(),
        }
    }

    /// Proves that the store can be written, by creating a small object and removing it; asked
    /// before hours are spent on measuring what could not be kept.
    pub async fn check_writable(&self) -> Result<()> {
        // One name for all, so that a kill in here leaves nothing that the next one does not take.
        let path = Path::from("_writable");
        let put = self.objects().put(&path, Bytes::from_static(b"dyno").into()).await;
        put.map_err(|e| self.failed("write", &e))?;
        match self.objects().delete(&path).await {
            // Another dyno's removal came first.
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            done => done.map_err(|e| self.failed("write", &e)),
        }
    }

    /// Writes `record`: samples, then summaries, then units where it has any, then the run row, which
    /// is the commit point.
    ///
    /// Every file is created, never replaced. An attempt that died before its run row leaves files
    /// that nobody sees; the same record goes on with them, another one takes the next free name
    /// (`<job>.1.parquet`, …) for all of its own. If two publish one job at once, both succeed
    /// and readers take the first. Each file is on the disk before the next is begun.
    ///
    /// # Errors
    /// [`Error::Unstorable`] for a record whose architecture or times do not name a place, or with
    /// numbers that are not finite; [`Error::Place`] if the store cannot be read or written.
    pub async fn publish(&self, record: &Record) -> Result<Published> {
        let run = &record.run;
        let unstorable = |why: String| Error::Unstorable { job: run.job.to_string(), why };
        let arch = &run.fingerprint.architecture;
        if !layout::is_arch(arch) {
            let arch = arch.escape_debug();
            return Err(unstorable(format!("its architecture `{arch}` cannot name a folder")));
        }
        let month = layout::month(run.finished_us)
            .ok_or_else(|| unstorable(format!("it finished at {} µs", run.finished_us)))?;
        let provenance = serde_json::to_string(run).expect("plain fields serialise");
        if serde_json::from_str::<RunRow>(&provenance).ok().as_ref() != Some(run) {
            return Err(unstorable("a share or duration in its run is not a finite number".into()));
        }
        self.check_place()?;
        if self.holds(&run.job).await? {
            return Ok(Published::AlreadyHeld);
        }
        let summaries = verdict::summarise(&record.samples);
        for attempt in 0..ATTEMPTS_MAX {
            let (job, month, arch) = (run.job.clone(), month.clone(), arch.clone());
            let shard = Shard { job, month, attempt, arch };
            let mut batches = vec![
                (Folder::Samples, encode::samples(record, &shard)),
                (Folder::Summaries, encode::summaries(run, &summaries, &shard)),
            ];
            if !record.units.is_empty() {
                batches.push((Folder::Units, encode::units(record, &shard)));
            }
            batches.push((Folder::Runs, encode::run(run, &provenance, &shard)));
            // All bytes are made before any is written: what cannot be encoded leaves nothing.
            let mut all = Vec::new();
            for (folder, batch) in &batches {
                let bytes = encode::bytes(*folder, batch, run, &provenance);
                all.push((*folder, bytes.map_err(|e| unstorable(e.to_string()))?));
            }
            let size = all.iter().map(|(_, bytes)| bytes.len() as u64).sum();
            if self.create_all(&shard, all).await? {
                return Ok(Published::Written { attempt, bytes: size });
            }
        }
        Err(unstorable(format!("{ATTEMPTS_MAX} interrupted attempts of it are in the store")))
    }

    /// Creates the files in order; false if a name was taken.
    async fn create_all(&self, shard: &Shard, files: Vec<(Folder, Vec<u8>)>) -> Result<bool> {
        for (folder, bytes) in files {
            let (path, local) = (shard.path(folder), self.local());
            (self.watch)(folder.name(), false);
            let created = create(self.objects().as_ref(), local, &path, bytes.into()).await;
            (self.watch)(folder.name(), true);
            match created.map_err(|error| self.failed(&format!("write {path} in"), &error))? {
                Created::Ours => {}
                Created::Taken => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Whether a folder is still the one that was opened.
    pub(crate) fn check_place(&self) -> Result<()> {
        let checked = self.local().map_or(Ok(()), Local::check);
        checked.map_err(|why| Error::Place { url: self.url().to_string(), why })
    }

    /// Whether the store has a readable run row of `job`.
    pub async fn holds(&self, job: &JobId) -> Result<bool> {
        Ok(self.run(job).await?.is_some())
    }

    /// The run of `job`, exactly as it was published.
    pub async fn run(&self, job: &JobId) -> Result<Option<RunRow>> {
        let mut shards = self.list(Folder::Runs).await?;
        shards.retain(|(shard, _)| shard.job == *job);
        for (shard, meta) in shards {
            if let Some(stored) = self.stored_run(shard, meta).await? {
                return Ok(Some(stored.run.clone()));
            }
        }
        Ok(None)
    }

    /// Files that were set aside so far, by path.
    pub fn problems(&self) -> Vec<Problem> {
        let problems = lock(&self.inner.problems);
        problems
            .iter()
            .map(|(path, what)| Problem { path: path.clone(), what: what.clone() })
            .collect()
    }

    pub(crate) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.objects
    }

    pub(crate) fn local(&self) -> Option<&Local> {
        self.inner.local.as_ref()
    }

    pub(crate) fn set_aside(&self, path: &Path, fault: Fault) {
        tracing::warn!(%path, %fault, "set aside");
        lock(&self.inner.problems).insert(path.to_string(), fault);
    }

    /// The files of `folder` in the order in which attempts of one job count. Foreign names are
    /// set aside; names that begin with `_` or `.` belong to other tools and are passed over.
    pub(crate) async fn list(&self, folder: Folder) -> Result<Vec<(Shard, ObjectMeta)>> {
        let prefix = Path::from(folder.name());
        let listed = self.objects().list(Some(&prefix)).try_collect::<Vec<_>>().await;
        let mut files = Vec::new();
        for meta in listed.map_err(|e| self.failed("list", &e))? {
            match Shard::parse(folder, &meta.location) {
                Some(shard) => files.push((shard, meta)),
                None if meta.location.filename().is_some_and(|n| n.starts_with(['_', '.'])) => {}
                None => {
                    let expected = "arch=…/month=yyyy-mm/<job>.parquet";
                    self.set_aside(
                        &meta.location,
                        format!("not named {}/{expected}", folder.name()),
                    );
                }
            }
        }
        files.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(files)
    }

    /// The run row in a file; `None` (and a problem) if the file is not one.
    pub(crate) async fn stored_run(
        &self,
        shard: Shard,
        meta: ObjectMeta,
    ) -> Result<Option<Arc<StoredRun>>> {
        let path = meta.location.clone();
        let cached = lock(&self.inner.runs).get(&path).filter(|(m, _)| *m == meta).cloned();
        if let Some((_, run)) = cached {
            return Ok(Some(run));
        }
        let Some(bytes) = self.bytes(&path).await? else { return Ok(None) };
        let decoded = files::read(bytes, Folder::Runs, &shard)
            .and_then(|batches| StoredRun::decode(shard, &batches));
        match decoded {
            Ok(run) => {
                let run = Arc::new(run);
                lock(&self.inner.runs).insert(path, (meta, Arc::clone(&run)));
                Ok(Some(run))
            }
            Err(fault) => {
                self.set_aside(&path, fault);
                Ok(None)
            }
        }
    }

    /// The bytes of a file; `None` (and a problem) if this one file cannot be read.
    pub(crate) async fn bytes(&self, path: &Path) -> Result<Option<Bytes>> {
        let read = async { self.objects().get(path).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => {
                self.set_aside(path, format!("cannot be read: {}", reason(&error)));
                Ok(None)
            }
        }
    }

    pub(crate) fn failed(&self, doing: &str, error: &object_store::Error) -> Error {
        Error::Place {
            url: self.url().to_string(),
            why: format!("cannot {doing} it: {}", reason(error)),
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is replaced whole, so a panic elsewhere leaves it sound.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The innermost cause, which names the system's reason (`Permission denied …`), after the outer.
fn reason(error: &object_store::Error) -> String {
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
