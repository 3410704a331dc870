//! The tables `samples`, `summaries` and `units`: Parquet files of the jobs that count, as one
//! table.
//!
//! A scan (1) drops files by what the run rows know of them (job, commits, host, month …), which
//! costs no reading; (2) reads the footers of the others, setting bad files aside; (3) leaves the
//! rest to DataFusion's Parquet source, with page index and bloom filters.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::prelude::SessionContext;
use dyno_store::{Folder, PANICKED, READS_AT_ONCE, StoredRun, check_footer, parquet_fault, schema};
use futures::{FutureExt, StreamExt};
use object_store::ObjectMeta;

use crate::error::Error;
use crate::run_filter::{run_rows_matching, strip_qualifiers};
use crate::snapshot::Snapshot;

/// Where sessions register the store's objects.
pub(crate) const STORE_URL: &str = "dyno://store";

/// A table over the files of one folder.
#[derive(Debug)]
pub(crate) struct StoredTable {
    snapshot: Arc<Snapshot>,
    folder: Folder,
    schema: SchemaRef,
}

impl StoredTable {
    pub(crate) fn new(snapshot: Arc<Snapshot>, folder: Folder) -> Self {
        Self { snapshot, folder, schema: schema::table_schema(folder) }
    }

    /// The files that `filters` may leave rows of, by what their run rows say.
    async fn candidates(
        &self,
        state: &dyn Session,
        filters: &[Expr],
    ) -> Result<Vec<(usize, ObjectMeta)>> {
        let mut files = self.snapshot.files(self.folder).await?;
        // What a table and `runs` both name is the same for every row of a job's file, but for
        // `rounds`, which in `summaries` counts one series' usable rounds.
        let is_shared = |name: &str| name != "rounds" && self.schema.index_of(name).is_ok();
        let matching = run_rows_matching(state, &self.snapshot.rows, filters, is_shared)?;
        files.retain(|(index, _)| matching[*index]);
        Ok(files)
    }

    /// The files among `files` whose footers are as they should be, ready to scan.
    async fn readable_files(
        &self,
        state: &dyn Session,
        files: Vec<(usize, ObjectMeta)>,
    ) -> Vec<PartitionedFile> {
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let check = |(index, meta): (usize, ObjectMeta)| {
            let (cache, stored) = (Arc::clone(&cache), &self.snapshot.runs[index]);
            async move {
                let checked = if meta.size == 0 {
                    Err("an empty file".to_string())
                } else {
                    let objects = self.snapshot.store.objects();
                    let reader = DFParquetMetadata::new(objects.as_ref(), &meta)
                        .with_file_metadata_cache(Some(cache));
                    let checked = async {
                        let metadata = reader.fetch_metadata().await;
                        let metadata = metadata.map_err(|e| parquet_fault(&e))?;
                        check_footer(&metadata, self.folder, &stored.shard)
                    };
                    let caught = AssertUnwindSafe(checked).catch_unwind().await;
                    caught.unwrap_or_else(|_| Err(PANICKED.into()))
                };
                if let Err(fault) = checked {
                    self.snapshot.quarantine(&meta.location, fault);
                    return None;
                }
                let file = PartitionedFile::new_from_meta(meta)
                    .with_partition_values(partition_values(stored));
                self.snapshot.note_scanned(self.folder, &file);
                Some(file)
            }
        };
        let checked = futures::stream::iter(files.into_iter().map(check));
        checked.buffered(READS_AT_ONCE).filter_map(std::future::ready).collect().await
    }
}

#[async_trait]
impl TableProvider for StoredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Inexact: files and pages are dropped, rows are left to the filter above.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.candidates(state, filters).await?;
        let files = self.readable_files(state, files).await;
        if files.is_empty() {
            let schema = datafusion::common::project_schema(&self.schema, projection)?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let predicate = match conjunction(filters.to_vec()) {
            None => None,
            Some(filter) => {
                let columns = DFSchema::try_from(Arc::clone(&self.schema))?;
                Some(state.create_physical_expr(strip_qualifiers(filter)?, &columns)?)
            }
        };
        scan_files(state, &self.snapshot, self.folder, files, predicate, projection, limit)
    }
}

/// The values of [`schema::partitions`] in the files of a run.
fn partition_values(row: &StoredRun) -> Vec<ScalarValue> {
    let value =
        |array: &ArrayRef| ScalarValue::try_from_array(array, 0).expect("arrays of one element");
    schema::partition_values(&row.shard, &row.run).iter().map(value).collect()
}

/// The plan that reads `files` of `folder`.
fn scan_files(
    state: &dyn Session,
    snapshot: &Snapshot,
    folder: Folder,
    files: Vec<PartitionedFile>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let table = TableSchema::builder(schema::with_string_views(&schema::full_schema(folder)))
        .with_table_partition_cols(schema::partitions())
        .build();
    let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
    let reader = CachedParquetFileReaderFactory::new(Arc::clone(snapshot.store.objects()), cache);
    let mut source = ParquetSource::new(table)
        .with_table_parquet_options(state.default_table_options().parquet)
        .with_parquet_file_reader_factory(Arc::new(reader));
    if let Some(predicate) = predicate {
        source = source.with_predicate(predicate);
    }
    let partitions = state.config().target_partitions().max(1);
    let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(STORE_URL)?, Arc::new(source))
        .with_file_groups(FileGroup::new(files).split_files(partitions))
        .with_projection_indices(projection.cloned())?
        .with_limit(limit)
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

/// Runs a plan. If it fails although every footer was sound, the files it scanned are read to
/// their last page; where that finds bad ones, the plan runs once more without them.
pub(crate) async fn collect(
    context: &SessionContext,
    snapshot: &Snapshot,
    plan: LogicalPlan,
) -> crate::error::Result<Vec<RecordBatch>> {
    let execute = async |plan| {
        let answer = async { context.execute_logical_plan(plan).await?.collect().await };
        let caught = AssertUnwindSafe(answer).catch_unwind().await;
        let panic_error =
            || DataFusionError::Execution("a panic while carrying out the query".into());
        caught.unwrap_or_else(|_| Err(panic_error())).map_err(|e| Error::sql(&e))
    };
    match execute(plan.clone()).await {
        Ok(batches) => Ok(batches),
        Err(error) => match quarantine_corrupt_files(context, snapshot).await {
            true => execute(plan).await,
            false => Err(error),
        },
    }
}

/// Sets aside the scanned files that cannot be read whole; the answer is true if there was one.
/// Each is read as a query reads it, since a bad page index stops that and nothing else.
async fn quarantine_corrupt_files(context: &SessionContext, snapshot: &Snapshot) -> bool {
    let mut found = false;
    for (folder, file) in snapshot.scanned() {
        let path = file.object_meta.location.clone();
        let read = async || {
            let state = context.state();
            let plan = scan_files(&state, snapshot, folder, vec![file], None, None, None)?;
            datafusion::physical_plan::collect(plan, context.task_ctx()).await
        };
        let fault = match AssertUnwindSafe(read()).catch_unwind().await {
            Ok(Ok(_)) => continue,
            Ok(Err(error)) => parquet_fault(&error),
            Err(_) => PANICKED.into(),
        };
        snapshot.quarantine(&path, fault);
        found = true;
    }
    found
}
