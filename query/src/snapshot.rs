//! What a session sees: the run rows as they stood when it was opened, and which files count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::datasource::listing::PartitionedFile;
use dyno_model::id::JobId;
use dyno_store::{Fault, Folder, READS_AT_ONCE, Shard, Store, StoredRun, schema};
use futures::StreamExt;
use object_store::ObjectMeta;
use object_store::path::Path;
use tokio::sync::OnceCell;

use crate::error::Result;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is replaced whole, so a panic elsewhere leaves it intact.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The store as one session sees it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub store: Store,
    /// Run rows that count, ordered by job.
    pub runs: Vec<Arc<StoredRun>>,
    /// All run rows as the table `runs`, in the same order.
    pub rows: RecordBatch,
    /// Files of samples, summaries and units, as [`Folder`] counts them.
    listed: [OnceCell<Vec<(Shard, ObjectMeta)>>; 3],
    /// Files a query scanned, and files known to be bad.
    scanned: Mutex<BTreeMap<Path, (Folder, PartitionedFile)>>,
    bad: Mutex<BTreeSet<Path>>,
}

impl Snapshot {
    /// Reads every run row.
    pub(crate) async fn read(store: &Store) -> Result<Self> {
        let runs = store.run_rows().await?;
        let schema = schema::table_schema(Folder::Runs);
        let rows =
            concat_batches(&schema, runs.iter().map(|run| &run.columns)).expect("one schema");
        let (listed, scanned, bad) = (Default::default(), Mutex::default(), Mutex::default());
        Ok(Self { store: store.clone(), runs, rows, listed, scanned, bad })
    }

    /// The files of `folder` that count, each with the index of its run in `runs`: those whose run
    /// row has the same name. A run row without its file is a problem, but for units: many have
    /// none.
    pub(crate) async fn files(&self, folder: Folder) -> Result<Vec<(usize, ObjectMeta)>> {
        let cell = &self.listed[folder as usize];
        let listed = cell.get_or_try_init(|| self.store.list(folder)).await?;
        let found: BTreeMap<&Shard, &ObjectMeta> = listed.iter().map(|(s, m)| (s, m)).collect();
        let bad_files = lock(&self.bad).clone();
        let mut files = Vec::new();
        for (index, run) in self.runs.iter().enumerate() {
            match found.get(&run.shard) {
                Some(meta) if bad_files.contains(&meta.location) => {}
                Some(meta) => files.push((index, (*meta).clone())),
                None if folder == Folder::Units => {}
                None => {
                    let path = run.path(folder);
                    self.store.quarantine(&path, "missing, though its run row is there".into());
                }
            }
        }
        Ok(files)
    }

    /// Remembers a file that a query is about to scan.
    pub(crate) fn note_scanned(&self, folder: Folder, file: &PartitionedFile) {
        let path = file.object_meta.location.clone();
        lock(&self.scanned).insert(path, (folder, file.clone()));
    }

    /// The files scanned so far that are not known to be bad.
    pub(crate) fn scanned(&self) -> Vec<(Folder, PartitionedFile)> {
        lock(&self.scanned).values().cloned().collect()
    }

    /// Whether the rows of a file of `folder` are those that `run` was published with; else it is
    /// left out from now on.
    pub(crate) async fn has_published_rows(
        &self,
        folder: Folder,
        run: &StoredRun,
        meta: &ObjectMeta,
    ) -> bool {
        let checked = self.store.check_rows(folder, run, meta).await;
        checked.map_err(|fault| self.quarantine(&meta.location, fault)).is_ok()
    }

    /// Checks the rows of `jobs` in `folder`; the answer is false if a file was left out for it.
    pub(crate) async fn have_published_rows(
        &self,
        folder: Folder,
        jobs: &BTreeSet<JobId>,
    ) -> Result<bool> {
        let mut files = self.files(folder).await?;
        files.retain(|(index, _)| jobs.contains(&self.runs[*index].run.job));
        let checks = files.into_iter().map(|(index, meta)| async move {
            self.has_published_rows(folder, &self.runs[index], &meta).await
        });
        // All of them, so that each bad one is named and left out.
        let checked: Vec<bool> =
            futures::stream::iter(checks).buffered(READS_AT_ONCE).collect().await;
        Ok(checked.into_iter().all(|is_published| is_published))
    }

    /// Leaves the file of a job in `folder` out from now on.
    pub(crate) fn quarantine_of_job(&self, folder: Folder, job: &JobId, fault: &str) {
        // Run rows are ordered by job.
        if let Ok(index) = self.runs.binary_search_by(|row| row.run.job.cmp(job)) {
            self.quarantine(&self.runs[index].path(folder), fault.into());
        }
    }

    /// Leaves a file out from now on.
    pub(crate) fn quarantine(&self, path: &Path, fault: Fault) {
        lock(&self.scanned).remove(path);
        lock(&self.bad).insert(path.clone());
        self.store.quarantine(path, fault);
    }
}
