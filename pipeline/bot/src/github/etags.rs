//! Replies of GitHub's that are kept on the disk with their ETag: asking for one again costs nothing
//! of the hour's requests while it is the same.
//!
//! What cannot be read or written here is asked for anew: nothing depends on it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use dyno_model::id::Digest;
use serde::{Deserialize, Serialize};

/// How long a reply is kept that nobody has asked for.
const KEPT: Duration = Duration::from_secs(48 * 3600);

/// A folder of replies.
pub struct Etags {
    folder: PathBuf,
}

/// A reply.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    url: String,
    pub etag: String,
    /// The header `Link`.
    pub link: Option<String>,
    pub body: String,
}

impl Kept {
    pub const fn new(url: String, etag: String, link: Option<String>, body: String) -> Self {
        Self { url, etag, link, body }
    }
}

impl Etags {
    /// The replies in `folder`, which is made where it is not there; those that were not asked for
    /// during two days are removed.
    pub fn open(folder: PathBuf) -> Self {
        use std::os::unix::fs::DirBuilderExt;
        // What private repositories say is for nobody else.
        let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let modified = entry.metadata().and_then(|found| found.modified());
            let age = modified.ok().and_then(|then| SystemTime::now().duration_since(then).ok());
            if age.is_some_and(|age| age > KEPT) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Self { folder }
    }

    fn path(&self, url: &str) -> PathBuf {
        self.folder.join(format!("{}.json", &Digest::of(url.as_bytes()).hex()[..32]))
    }

    /// The reply to a `GET` of `url`.
    pub(super) fn find(&self, url: &str) -> Option<Kept> {
        let path = self.path(url);
        let kept: Kept = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        let file = std::fs::File::options().append(true).open(path);
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
        Some(kept).filter(|kept| kept.url == url)
    }

    pub(super) fn keep(&self, kept: &Kept) {
        let path = self.path(&kept.url);
        let whole = path.with_extension("new");
        let bytes = serde_json::to_vec(kept).expect("plain fields serialise");
        let _ = std::fs::write(&whole, bytes).and_then(|()| std::fs::rename(&whole, &path));
    }
}
