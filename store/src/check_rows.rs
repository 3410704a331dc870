//! Whether a file of the store is what its run row says: first its footer, which costs little, then
//! its rows, which have to be read for it.

use bytes::Bytes;
use object_store::{ObjectMeta, ObjectStoreExt};

use crate::bounds::{FILE_BYTES_MAX, TOO_LARGE};
use crate::error::Fault;
use crate::files::{self, parquet_fault};
use crate::layout::{Folder, Shard};
use crate::row_digest::{is_known, row_digest};
use crate::schema::with_string_views;
use crate::store::{Store, one_line};
use crate::stored_run::StoredRun;

/// How many of the last bytes of a file are read in the hope that its footer is in them.
const END_BYTES: u64 = 64 << 10;

impl Store {
    /// Checks the footer of a file of `folder`: whose it is, its columns, and whether it is of a size
    /// that can be read.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub async fn check_footer(
        &self,
        folder: Folder,
        shard: &Shard,
        meta: &ObjectMeta,
    ) -> Result<(), Fault> {
        if meta.size == 0 {
            return Err("an empty file".into());
        }
        let mut end = self.end_bytes(meta, END_BYTES).await?;
        let footer = files::footer_bytes(&end)? as u64;
        if footer > end.len() as u64 {
            end = self.end_bytes(meta, footer).await?;
        }
        files::caught(|| files::read_footer(&end, meta.size, folder, shard).map(drop))
    }

    /// The last bytes of a file; all, where it has no more.
    async fn end_bytes(&self, meta: &ObjectMeta, count: u64) -> Result<Bytes, Fault> {
        let range = meta.size.saturating_sub(count)..meta.size;
        let read = self.objects().get_range(&meta.location, range).await;
        read.map_err(|error| format!("cannot be read: {}", one_line(&error)))
    }

    /// Checks the rows of a file of `folder` against the digest of them in `run`, its run row. Rows
    /// of a dyno that made no digests pass, and so do those with a digest of a later version.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub async fn check_rows(
        &self,
        folder: Folder,
        run: &StoredRun,
        meta: &ObjectMeta,
    ) -> Result<(), Fault> {
        let digests = &run.run.row_digests;
        let expected = match digests.get(folder.name()) {
            Some(digest) if is_known(digest) => digest,
            None if !digests.is_empty() => {
                return Err("its run row was published without such a file".into());
            }
            _ => return Ok(()),
        };
        if self.has_sound_rows(meta) {
            return Ok(());
        }
        if meta.size > FILE_BYTES_MAX {
            return Err(format!("{TOO_LARGE}{} bytes, more than {FILE_BYTES_MAX}", meta.size));
        }
        let read = async { self.objects().get(&meta.location).await?.bytes().await };
        let bytes = read.await.map_err(|e| format!("cannot be read: {}", one_line(&e)))?;
        let shard = run.shard.clone();
        let digest = tokio::task::spawn_blocking(move || {
            files::caught(|| {
                let batches = files::open(bytes, folder, &shard, |s| with_string_views(&s))?;
                row_digest(batches).map_err(|e| parquet_fault(&e))
            })
        });
        if digest.await.unwrap_or_else(|_| Err(files::PANICKED.into()))? != *expected {
            return Err("its rows are not those that its run row was published with".into());
        }
        self.note_sound_rows(meta);
        Ok(())
    }
}
