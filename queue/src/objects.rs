//! Objects with conditional writes, and what to do when a reply is lost.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Clock;

/// What tells one content of an object from the next, as the store says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub String);

/// An object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub version: Version,
    pub bytes: Vec<u8>,
}

/// The store did not answer, or not as one that has such objects. What was asked may have been done
/// all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(pub String);

/// A reply that is to come.
pub trait Reply<T>: Future<Output = Result<T, Trouble>> + Send {}

impl<T, F: Future<Output = Result<T, Trouble>> + Send> Reply<T> for F {}

/// Objects by name. Each operation is done at once or not at all.
pub trait Objects: Send + Sync {
    /// The names that begin with `prefix`, and their versions. It may lag behind.
    fn list(&self, prefix: &str) -> impl Reply<Vec<(String, Version)>>;

    /// The object as it is; `None` where there is none.
    fn read(&self, name: &str) -> impl Reply<Option<Object>>;

    /// Creates an object; `None` where there is one.
    fn create(&self, name: &str, bytes: &[u8]) -> impl Reply<Option<Version>>;

    /// Gives the object that has `old` other bytes; `None` where it has another version, or is gone.
    fn replace(&self, name: &str, bytes: &[u8], old: &Version) -> impl Reply<Option<Version>>;

    /// Removes the object, if there is one.
    fn remove(&self, name: &str) -> impl Reply<()>;
}

/// How often a write is tried whose reply does not come.
const TRIES: u32 = 5;

/// The first wait between two tries; each is twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Asks until a reply comes, [`TRIES`] times at most. (A macro, since a function would take an
/// asynchronous closure, whose lifetimes the compiler cannot follow through `Send` futures yet.)
macro_rules! retry {
    ($clock:expr, $ask:expr) => {{
        let mut wait = FIRST_WAIT;
        let mut tries = 1;
        loop {
            match $ask.await {
                Err(_) if tries < TRIES => $clock.sleep(wait).await,
                done => break done,
            }
            wait *= 2;
            tries += 1;
        }
    }};
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// The object has these bytes now, or had them.
    Ours(Version),
    /// It has others; `None` where there is no object.
    Theirs(Option<Object>),
}

/// Creates `name` with `bytes`, which nobody else would write. A lost reply is no failure: what is
/// there tells who wrote it.
pub async fn create(
    objects: &impl Objects,
    clock: &impl Clock,
    name: &str,
    bytes: &[u8],
) -> Result<Written, Trouble> {
    write(objects, clock, name, bytes, None).await
}

/// Replaces the `version` of `name` by `bytes`, which nobody else would write; see [`create`].
pub async fn replace(
    objects: &impl Objects,
    clock: &impl Clock,
    name: &str,
    bytes: &[u8],
    version: &Version,
) -> Result<Written, Trouble> {
    write(objects, clock, name, bytes, Some(version)).await
}

async fn write(
    objects: &impl Objects,
    clock: &impl Clock,
    name: &str,
    bytes: &[u8],
    version: Option<&Version>,
) -> Result<Written, Trouble> {
    retry!(clock, async {
        let written = match version {
            Some(version) => objects.replace(name, bytes, version).await?,
            None => objects.create(name, bytes).await?,
        };
        if let Some(version) = written {
            return Ok(Written::Ours(version));
        }
        Ok(match objects.read(name).await? {
            Some(object) if object.bytes == bytes => Written::Ours(object.version),
            // Refused for a reason that does not hold: a store in trouble.
            Some(object) if version == Some(&object.version) => {
                return Err(Trouble(format!(
                    "it refuses to replace {name} (412), and the version is the one it has"
                )));
            }
            None if version.is_none() => {
                return Err(Trouble(format!(
                    "it refuses to create {name} (412), and there is none"
                )));
            }
            found => Written::Theirs(found),
        })
    })
}

/// Removes `name`, trying again where no reply comes.
pub async fn remove(objects: &impl Objects, clock: &impl Clock, name: &str) -> Result<(), Trouble> {
    retry!(clock, objects.remove(name))
}

/// Reads the object `name`, trying again where no reply comes.
pub async fn read(
    objects: &impl Objects,
    clock: &impl Clock,
    name: &str,
) -> Result<Option<Object>, Trouble> {
    retry!(clock, objects.read(name))
}

/// An object's bytes: JSON and an end of line.
pub fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).expect("plain fields serialise");
    bytes.push(b'\n');
    bytes
}

/// Bytes beyond which an object of the queue is none: a foreign one may be of any size.
pub const BYTES_MAX: usize = 4 << 20;

/// What an object of the queue holds, or why it is not one of this dyno's.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    from_bytes_of(dyno_model::queue::QUEUE_VERSION, bytes)
}

/// What an object of the version `known` holds, or why it is not one.
pub fn from_bytes_of<T: DeserializeOwned>(known: u32, bytes: &[u8]) -> Result<T, String> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u64,
    }
    if bytes.len() > BYTES_MAX {
        return Err(format!("it has more than {BYTES_MAX} bytes"));
    }
    let Versioned { version } =
        serde_json::from_slice(bytes).map_err(|error| format!("it is damaged: {error}"))?;
    if version != u64::from(known) {
        return Err(format!("its version is {version}, and this dyno knows {known}"));
    }
    serde_json::from_slice(bytes).map_err(|error| format!("it is damaged: {error}"))
}
