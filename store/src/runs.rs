//! Finding run rows: of one job, of a job's first digits, and all of them.
//!
//! A job has one run row. Two that are equal, digests of their rows included, do no harm, and the
//! first counts. Of two that differ nobody knows which is true, so neither is believed: else who may
//! only add files to a store could replace what is in it. Where one of them is signed by its host,
//! that one is true.

use std::collections::BTreeMap;
use std::sync::Arc;

use dyno_model::commit_name::{PREFIX_DIGITS_MIN, is_hex};
use dyno_model::id::JobId;
use dyno_model::record::RunRow;
use futures::StreamExt;

use crate::error::{Error, Result};
use crate::layout::Folder;
use crate::store::{READS_AT_ONCE, Store};
use crate::stored_run::StoredRun;

impl Store {
    /// Whether the store has a readable run row of `job`. It may have several that differ, so that
    /// none is believed: yet another one would settle nothing.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store cannot be listed.
    pub async fn has_run(&self, job: &JobId) -> Result<bool> {
        Ok(!self.rows_of_job(job).await?.is_empty())
    }

    /// The run of `job`, exactly as it was published.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store cannot be listed.
    pub async fn run(&self, job: &JobId) -> Result<Option<RunRow>> {
        Ok(self.run_row(job).await?.map(|row| row.run.clone()))
    }

    /// The run row of `job` that counts: of several that can be read the first, if they are equal.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store cannot be listed.
    pub async fn run_row(&self, job: &JobId) -> Result<Option<Arc<StoredRun>>> {
        Ok(self.believed_row(self.rows_of_job(job).await?))
    }

    /// The run rows of `job` that can be read, in the order of their names.
    async fn rows_of_job(&self, job: &JobId) -> Result<Vec<Arc<StoredRun>>> {
        let mut rows = Vec::new();
        for (shard, meta) in self.list(Folder::Runs).await? {
            if shard.job == *job {
                rows.extend(self.read_run_row(shard, meta).await);
            }
        }
        Ok(rows)
    }

    /// The first of the run rows of one job, if all are equal; the others are set aside, and all
    /// where two differ.
    ///
    /// Those that their host signed are believed before all others, so that who may only add files
    /// takes no signed run away either.
    fn believed_row(&self, mut rows: Vec<Arc<StoredRun>>) -> Option<Arc<StoredRun>> {
        if rows.iter().any(|row| row.is_signed_by_host()) {
            let unsigned = rows.extract_if(.., |row| !row.is_signed_by_host());
            for row in unsigned {
                let fault = "another run row of the job is signed by its host, this one is not";
                self.quarantine(&row.path(Folder::Runs), fault.into());
            }
        }
        let first = rows.first()?;
        let path = |row: &StoredRun| row.path(Folder::Runs).to_string();
        if rows.iter().all(|row| row.run == first.run) {
            for row in &rows[1..] {
                let fault =
                    format!("the job was published before, as {}, which counts", path(first));
                self.quarantine(&row.path(Folder::Runs), fault);
            }
            return Some(Arc::clone(first));
        }
        for row in &rows {
            let others = rows.iter().filter(|other| other.shard != row.shard);
            let others: Vec<String> = others.map(|other| path(other)).collect();
            let fault = format!(
                "the job stands in the store more than once, and not alike: also as {}; none is \
                 believed until the wrong ones are removed, or the job is measured with --again",
                others.join(", ")
            );
            self.quarantine(&row.path(Folder::Runs), fault);
        }
        None
    }

    /// Every run row that counts, ordered by job.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store cannot be listed.
    pub async fn run_rows(&self) -> Result<Vec<Arc<StoredRun>>> {
        let files = self.list(Folder::Runs).await?;
        let reads = files.into_iter().map(|(shard, meta)| self.read_run_row(shard, meta));
        let reads = futures::stream::iter(reads).buffered(READS_AT_ONCE);
        let mut by_job: BTreeMap<JobId, Vec<Arc<StoredRun>>> = BTreeMap::new();
        for row in reads.collect::<Vec<_>>().await.into_iter().flatten() {
            by_job.entry(row.shard.job.clone()).or_default().push(row);
        }
        Ok(by_job.into_values().filter_map(|rows| self.believed_row(rows)).collect())
    }

    /// The run that `asked` means: a job's id or the first digits of one (7 or more).
    ///
    /// # Errors
    /// [`Error::NoRun`], [`Error::AmbiguousRun`], and [`Error::Unavailable`].
    pub async fn find_run(&self, asked: &str) -> Result<RunRow> {
        let no_run = |why: String| Error::NoRun { asked: asked.into(), why };
        if asked.len() < PREFIX_DIGITS_MIN || !is_hex(asked) {
            return Err(no_run(format!(
                "a run is named by its job's id, or the first {PREFIX_DIGITS_MIN} digits or more of it"
            )));
        }
        let wanted = asked.to_ascii_lowercase();
        let mut jobs: Vec<JobId> =
            self.list(Folder::Runs).await?.into_iter().map(|(shard, _)| shard.job).collect();
        jobs.sort();
        jobs.dedup();
        let stored = jobs.len();
        jobs.retain(|job| job.hex().starts_with(&wanted));
        match jobs.as_slice() {
            [] => Err(no_run(match stored {
                0 => "it has no run at all yet".into(),
                _ => format!("none of its {stored} runs begins so"),
            })),
            [job] => self.run(job).await?.ok_or_else(|| {
                let problems: Vec<String> =
                    self.problems().iter().map(ToString::to_string).collect();
                no_run(format!("its row cannot be read: {}", problems.join("; ")))
            }),
            several => Err(Error::AmbiguousRun {
                asked: asked.into(),
                meanings: several.iter().map(ToString::to_string).collect(),
            }),
        }
    }
}
