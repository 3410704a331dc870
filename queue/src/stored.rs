//! The queue's objects in a dyno store: a bucket's own conditional writes, or a folder's with a lock.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dyno_model::id::JobId;
use dyno_model::record::QueueAttempt;
use dyno_store::{RunGate, Store};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion,
};

use crate::clock::SystemClock;
use crate::objects::{Object, Objects, Trouble, Version};

/// A folder has no conditional update: who replaces or removes has the lock of this file.
const LOCK: &str = "queue/.lock";

/// The objects of a store.
#[derive(Debug, Clone)]
pub struct StoredObjects {
    objects: Arc<dyn ObjectStore>,
    /// Where the store is one.
    folder: Option<PathBuf>,
}

impl StoredObjects {
    /// The objects of `store`, once it was seen to keep the rules: a second creation of one name and
    /// a replacement of an old version are refused.
    ///
    /// # Errors
    /// [`Trouble`] with what the store does wrong, or why it does not answer.
    pub async fn open(store: &Store) -> Result<Self, Trouble> {
        let opened = Self::new(store);
        opened.check().await?;
        Ok(opened)
    }

    /// The objects of `store`, untried: for who only reads.
    pub fn new(store: &Store) -> Self {
        let folder = store.folder().map(std::path::Path::to_path_buf);
        Self { objects: Arc::clone(store.objects()), folder }
    }

    /// The objects of `store`, untried, by a client that gives up within seconds: for an agent, which
    /// tries again and says why it waits.
    ///
    /// # Errors
    /// Why no such client can be set up.
    pub fn prompt(store: &Store) -> Result<Self, Trouble> {
        let objects = store.prompt_objects().map_err(|error| Trouble(error.to_string()))?;
        Ok(Self { objects, ..Self::new(store) })
    }

    /// Tries conditional writes, on an object of this process alone.
    async fn check(&self) -> Result<(), Trouble> {
        let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let nanoseconds = started.map_or(0, |since| since.as_nanos());
        let name = format!("queue/probes/{}-{nanoseconds}", std::process::id());
        let wrong = |what: &str| {
            Trouble(format!(
                "this store cannot carry a queue: {what}. It takes object storage with conditional \
                 writes (If-None-Match and If-Match), or a folder"
            ))
        };
        let first = self.create(&name, b"1").await?;
        let first = first.ok_or_else(|| wrong("a new object was there already"))?;
        let listed = self.list("queue/probes/").await;
        let again = self.create(&name, b"2").await;
        let second = self.replace(&name, b"3", &first).await;
        let stale = self.replace(&name, b"4", &first).await;
        self.remove(&name).await?;
        let (listed, again) = (listed?, again?);
        if again.is_some() {
            return Err(wrong("it creates an object that exists"));
        }
        if second?.is_none() {
            return Err(wrong("it does not replace the version that it gave"));
        }
        if stale?.is_some() {
            return Err(wrong("it replaces an object whose version is another"));
        }
        // Whether a claim changes is seen in lists.
        if listed.iter().any(|(listed, version)| *listed == name && *version != first) {
            return Err(wrong("its lists do not say the versions of objects (ETag)"));
        }
        Ok(())
    }

    /// Waits for the lock of a folder, on a thread that may wait; `None` for a bucket, which needs
    /// none. The lock ends with the file, also where its holder dies.
    async fn locked(&self) -> Result<Option<File>, Trouble> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let path = folder.join(LOCK);
        let failed = |error: std::io::Error| Trouble(format!("{}: {error}", path.display()));
        let waiting = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || {
                std::fs::create_dir_all(path.parent().expect("it is in a folder"))?;
                let file = File::options().create(true).append(true).open(path)?;
                file.lock().map(|()| file)
            })
        };
        let locked = waiting.await.map_err(|error| Trouble(error.to_string()))?;
        locked.map(Some).map_err(failed)
    }

    /// Fails where a folder stands in the place of an object: it can be neither read nor written, and
    /// would pass for an object that is there and is gone.
    fn check_place(&self, name: &str) -> Result<(), Trouble> {
        let Some(folder) = &self.folder else { return Ok(()) };
        match folder.join(name).is_dir() {
            true => Err(Trouble(format!("{name} is a folder, where a file belongs"))),
            false => Ok(()),
        }
    }

    async fn put(&self, name: &Path, bytes: &[u8], mode: PutMode) -> Result<Version, Error> {
        let options = PutOptions { mode, ..PutOptions::default() };
        let payload = Bytes::copy_from_slice(bytes).into();
        let put = self.objects.put_opts(name, payload, options).await?;
        match put.e_tag {
            Some(tag) => Ok(Version(tag)),
            None => Ok(version(&self.objects.head(name).await?)),
        }
    }
}

/// The judge of which attempt of a job of the queue in `store` counts: the job's result is created
/// by the first.
#[derive(Debug)]
pub struct ResultGate {
    store: Store,
}

impl ResultGate {
    /// `store`, with this judge.
    pub fn guard(store: Store) -> Store {
        let gate = Arc::new(Self { store: store.clone() });
        store.with_gate(gate)
    }
}

#[async_trait]
impl RunGate for ResultGate {
    async fn admit(
        &self,
        attempt: &QueueAttempt,
        run: &JobId,
        path: &Path,
        row: &[u8],
    ) -> Result<bool, String> {
        let objects = StoredObjects::new(&self.store);
        let ending = crate::result::done(run.clone(), path.to_string(), row);
        let ended = crate::result::end(&objects, &SystemClock::default(), attempt, ending).await;
        ended.map(|(_, is_ours)| is_ours).map_err(|trouble| trouble.to_string())
    }
}

fn version(meta: &ObjectMeta) -> Version {
    Version(meta.e_tag.clone().unwrap_or_default())
}

/// What the client says, and the cause at the bottom of it, which it leaves out.
pub(crate) fn trouble(error: Error) -> Trouble {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let (mut text, cause) = (error.to_string(), cause.to_string());
    if !text.contains(&cause) {
        text = format!("{text}: {cause}");
    }
    Trouble(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

impl Objects for StoredObjects {
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Version)>, Trouble> {
        let folder = Path::from(prefix.trim_end_matches('/'));
        let listed: Vec<ObjectMeta> =
            self.objects.list(Some(&folder)).try_collect().await.map_err(trouble)?;
        Ok(listed.iter().map(|meta| (meta.location.to_string(), version(meta))).collect())
    }

    async fn read(&self, name: &str) -> Result<Option<Object>, Trouble> {
        self.check_place(name)?;
        let found = match self.objects.get(&Path::from(name)).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(trouble)?,
        };
        let version = version(&found.meta);
        // Of a foreign object of any size, as much is read as shows that it is one.
        let most = crate::objects::BYTES_MAX as u64 + 1;
        let bytes = match found.meta.size > most {
            true => self.objects.get_range(&Path::from(name), 0..most).await,
            false => found.bytes().await,
        };
        let bytes = bytes.map_err(trouble)?.to_vec();
        Ok(Some(Object { version, bytes }))
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Option<Version>, Trouble> {
        self.check_place(name)?;
        let _lock = self.locked().await?;
        match self.put(&Path::from(name), bytes, PutMode::Create).await {
            Ok(version) => Ok(Some(version)),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(None),
            Err(error) => Err(trouble(error)),
        }
    }

    async fn replace(
        &self,
        name: &str,
        bytes: &[u8],
        version: &Version,
    ) -> Result<Option<Version>, Trouble> {
        let path = Path::from(name);
        let lock = self.locked().await?;
        let mode = match &lock {
            Some(_) => match self.objects.head(&path).await {
                Ok(meta) if self::version(&meta) == *version => PutMode::Overwrite,
                Ok(_) | Err(Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(trouble(error)),
            },
            None => {
                let e_tag = Some(version.0.clone());
                PutMode::Update(UpdateVersion { e_tag, version: None })
            }
        };
        match self.put(&path, bytes, mode).await {
            Ok(version) => Ok(Some(version)),
            Err(Error::Precondition { .. } | Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(trouble(error)),
        }
    }

    async fn remove(&self, name: &str) -> Result<(), Trouble> {
        let _lock = self.locked().await?;
        match self.objects.delete(&Path::from(name)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(trouble(error)),
        }
    }
}
