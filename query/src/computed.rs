//! Rows that Rust computes when a query is carried out, and not while it is planned: `EXPLAIN` of
//! them costs nothing.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_err, project_schema};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};

/// Computes all rows of a table.
pub(crate) type Compute =
    Arc<dyn Fn() -> BoxFuture<'static, crate::error::Result<RecordBatch>> + Send + Sync>;

/// The plan of a table whose rows are computed: one partition, all rows at once.
pub(crate) struct ComputedExec {
    table: &'static str,
    compute: Compute,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl ComputedExec {
    /// A plan that gives the `projection` of what `compute` computes, whose columns are `schema`.
    pub(crate) fn new(
        table: &'static str,
        schema: &SchemaRef,
        projection: Option<&Vec<usize>>,
        compute: Compute,
    ) -> Result<Self> {
        let projected = project_schema(schema, projection)?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(projected),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let properties = Arc::new(properties);
        Ok(Self { table, compute, projection: projection.cloned(), properties })
    }
}

impl fmt::Debug for ComputedExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComputedExec").field("table", &self.table).finish_non_exhaustive()
    }
}

impl DisplayAs for ComputedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ComputedExec: table={}", self.table)
    }
}

impl ExecutionPlan for ComputedExec {
    fn name(&self) -> &str {
        Self::static_name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("{} has one partition, not {partition}", self.table);
        }
        let rows_max = context.session_config().batch_size().max(1);
        let (compute, projection) = (Arc::clone(&self.compute), self.projection.clone());
        let batches = async move {
            let computed = compute().await?;
            let batch = match projection {
                Some(columns) => computed.project(&columns)?,
                None => computed,
            };
            Ok::<_, DataFusionError>(stream::iter(slices(batch, rows_max)).map(Ok))
        };
        let batches = stream::once(batches).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// `batch` in pieces of at most `rows_max` rows.
fn slices(batch: RecordBatch, rows_max: usize) -> impl Iterator<Item = RecordBatch> + Send {
    let rows = batch.num_rows();
    (0..rows).step_by(rows_max).map(move |from| batch.slice(from, rows_max.min(rows - from)))
}
