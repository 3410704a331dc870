//! What a session sees: the run rows as they stood when it was opened, and which files count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use datafusion::datasource::listing::PartitionedFile;
use dyno_model::id::JobId;
use dyno_model::record::RunRow;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::path::Path;
use tokio::sync::OnceCell;

use crate::error::Result;
use crate::files::{self, Fault};
use crate::layout::{Folder, Shard};
use crate::noise;
use crate::schema;
use crate::store::{Store, lock};

/// How many files are read at once while a store is looked through.
pub(crate) const READS_AT_ONCE: usize = 16;

/// One run row: where it lies, what it says, and its columns as the table `runs` shows them.
#[derive(Debug)]
pub(crate) struct StoredRun {
    pub shard: Shard,
    pub run: RunRow,
    /// What must be equal for its noise to be another run's.
    pub environment: String,
    row: RecordBatch,
}

impl StoredRun {
    /// The run in the rows of a checked file of `runs`.
    pub(crate) fn decode(shard: Shard, batches: &[RecordBatch]) -> Result<Self, Fault> {
        let [batch] = batches else { return Err("holds no run row".into()) };
        if batch.num_rows() != 1 {
            return Err(format!("holds {} run rows, not one", batch.num_rows()));
        }
        let column = |name: &str| batch.column_by_name(name).ok_or(format!("has no `{name}`"));
        let provenance = column("provenance")?.as_string::<i32>().value(0);
        let run: RunRow = serde_json::from_str(provenance)
            .map_err(|e| format!("its provenance is not a run ({e})"))?;
        if run.job != shard.job {
            return Err("its run is another job's than its name says".into());
        }
        let schema = schema::of_table(Folder::Runs);
        let partitions = schema::partitions();
        let constants = schema::partition_values(&shard, &run);
        let value = |name: &str, kind| -> Result<ArrayRef, Fault> {
            let array = match partitions.iter().position(|constant| constant.name() == name) {
                Some(place) => constants[place].to_array().map_err(|e| files::fault(&e))?,
                None => Arc::clone(column(name)?),
            };
            cast(&array, kind).map_err(|e| files::fault(&e))
        };
        let columns = schema.fields().iter().map(|f| value(f.name(), f.data_type()));
        let row = RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_, _>>()?)
            .map_err(|e| files::fault(&e))?;
        let environment = noise::environment(&run);
        Ok(Self { shard, run, environment, row })
    }
}

/// The store as one session sees it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub store: Store,
    /// Ordered by job; of several attempts with a readable run row, the first.
    pub runs: Vec<Arc<StoredRun>>,
    /// All run rows as the table `runs`, in the same order.
    pub rows: RecordBatch,
    /// Of samples, summaries and units, as [`Folder`] counts them.
    listed: [OnceCell<Vec<(Shard, ObjectMeta)>>; 3],
    /// Files a query scanned, and files known to be bad.
    scanned: Mutex<BTreeMap<Path, (Folder, PartitionedFile)>>,
    bad: Mutex<BTreeSet<Path>>,
}

impl Snapshot {
    /// Reads every run row.
    pub(crate) async fn take(store: &Store) -> Result<Self> {
        let files = store.list(Folder::Runs).await?;
        let read = files.into_iter().map(|(shard, meta)| store.stored_run(shard, meta));
        let read = futures::stream::iter(read).buffered(READS_AT_ONCE);
        let mut runs: BTreeMap<JobId, Arc<StoredRun>> = BTreeMap::new();
        for run in read.try_collect::<Vec<_>>().await?.into_iter().flatten() {
            match runs.get(&run.shard.job) {
                Some(first) => {
                    let first = first.shard.path(Folder::Runs);
                    let fault = format!("the job was published before, as {first}, which counts");
                    store.set_aside(&run.shard.path(Folder::Runs), fault);
                }
                None => {
                    runs.insert(run.shard.job.clone(), run);
                }
            }
        }
        let runs: Vec<_> = runs.into_values().collect();
        let schema = schema::of_table(Folder::Runs);
        let rows = concat_batches(&schema, runs.iter().map(|r| &r.row)).expect("one schema");
        let (listed, scanned, bad) = (Default::default(), Mutex::default(), Mutex::default());
        Ok(Self { store: store.clone(), runs, rows, listed, scanned, bad })
    }

    /// The files of `folder` that count, each with the index of its run in `runs`: those whose run
    /// row has the same name. A run row without its file is a problem, but for units: many have none.
    pub(crate) async fn files(&self, folder: Folder) -> Result<Vec<(usize, ObjectMeta)>> {
        let cell = &self.listed[folder as usize];
        let listed = cell.get_or_try_init(|| self.store.list(folder)).await?;
        let found: BTreeMap<&Shard, &ObjectMeta> = listed.iter().map(|(s, m)| (s, m)).collect();
        let bad = lock(&self.bad).clone();
        let mut files = Vec::new();
        for (index, run) in self.runs.iter().enumerate() {
            match found.get(&run.shard) {
                Some(meta) if bad.contains(&meta.location) => {}
                Some(meta) => files.push((index, (*meta).clone())),
                None if folder == Folder::Units => {}
                None => {
                    let path = run.shard.path(folder);
                    self.store.set_aside(&path, "missing, though its run row is there".into());
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

    /// Leaves a file out from now on.
    pub(crate) fn set_aside(&self, path: &Path, fault: Fault) {
        lock(&self.scanned).remove(path);
        lock(&self.bad).insert(path.clone());
        self.store.set_aside(path, fault);
    }
}
