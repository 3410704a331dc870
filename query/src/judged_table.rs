//! The tables `comparisons` and `scaling` and the functions of one pair beside them.
//!
//! Planning a scan only chooses the run rows that the query's filters leave; carrying it out reads
//! their summaries and has them judged ([`ComputedExec`]).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result as DfResult, ScalarValue};
use datafusion::datasource::TableType;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use dyno_model::commit_name::CommitName;
use dyno_store::StoredRun;
use futures::future::BoxFuture;

use crate::computed::ComputedExec;
use crate::error::Result;
use crate::judge::{Judge, PairTable};
use crate::pairs::{Filter, resolve};
use crate::run_filter::run_rows_matching;
use crate::spelling::with_old_columns;

/// Which pairs a [`JudgedTable`] shows.
#[derive(Debug)]
enum Selection {
    /// All that the query's filters leave: a table.
    AllPairs,
    /// One: a call of a function.
    OnePair { baseline: String, candidate: String, filter: Filter },
}

impl PairTable {
    pub(crate) const ALL: [Self; 2] = [Self::Comparisons, Self::Scaling];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Comparisons => "comparisons",
            Self::Scaling => "scaling",
        }
    }

    /// Name of the function that gives the rows of one pair.
    pub(crate) const fn function(self) -> &'static str {
        match self {
            Self::Comparisons => "compare",
            Self::Scaling => "compare_scaling",
        }
    }
}

/// Judged pairs as a table.
#[derive(Debug)]
pub(crate) struct JudgedTable {
    judge: Arc<Judge>,
    table: PairTable,
    selection: Selection,
    /// Whether columns stand here under their old names too.
    has_old_columns: bool,
    schema: SchemaRef,
}

impl JudgedTable {
    /// The table of all pairs.
    pub(crate) fn all_pairs(judge: Arc<Judge>, table: PairTable, has_old_columns: bool) -> Self {
        Self::new(judge, table, Selection::AllPairs, has_old_columns)
    }

    fn new(
        judge: Arc<Judge>,
        table: PairTable,
        selection: Selection,
        has_old_columns: bool,
    ) -> Self {
        let schema = judge.schema(table);
        let schema = match has_old_columns {
            true => with_old_columns(&RecordBatch::new_empty(schema)).schema(),
            false => schema,
        };
        Self { judge, table, selection, has_old_columns, schema }
    }
}

#[async_trait]
impl TableProvider for JudgedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let rows = self.judge.run_rows();
        let no_filter = Filter::default();
        let (filter, rows): (&Filter, Vec<Arc<StoredRun>>) = match &self.selection {
            Selection::AllPairs => {
                // Only what a whole family shares may choose: a filter on one host or benchmark
                // must not change over what q is adjusted.
                let is_shared =
                    |n: &str| ["suite", "baseline_commit", "candidate_commit"].contains(&n);
                let columns = &self.judge.reader.snapshot.rows;
                let matching = run_rows_matching(state, columns, filters, is_shared)?;
                let matching = rows.iter().zip(matching).filter(|(_, matches)| *matches);
                (&no_filter, matching.map(|(row, _)| Arc::clone(row)).collect())
            }
            Selection::OnePair { baseline, candidate, filter } => {
                let names = [baseline, candidate].map(CommitName::from);
                (filter, resolve(rows, [&names[0], &names[1]], filter)?.runs)
            }
        };
        let (judge, table, has_old_columns) =
            (Arc::clone(&self.judge), self.table, self.has_old_columns);
        let (rows, filter) = (Arc::new(rows), Arc::new(filter.clone()));
        let compute = move || -> BoxFuture<'static, Result<RecordBatch>> {
            let (judge, rows) = (Arc::clone(&judge), Arc::clone(&rows));
            let filter = Arc::clone(&filter);
            Box::pin(async move {
                let rows = judge.rows(table, &rows, &filter).await?;
                Ok(if has_old_columns { with_old_columns(&rows) } else { rows })
            })
        };
        let plan = ComputedExec::new(table.name(), &self.schema, projection, Arc::new(compute))?;
        Ok(Arc::new(plan))
    }
}

/// `compare('baseline', 'candidate' [, 'suite' [, 'host' [, 'job']]])`, or another function that says
/// something of one pair.
#[derive(Debug)]
pub(crate) struct CompareFunction {
    pub judge: Arc<Judge>,
    pub table: PairTable,
    pub has_old_columns: bool,
}

impl TableFunctionImpl for CompareFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        let usage = || {
            let name = self.table.function();
            DataFusionError::Plan(format!(
                "{name} takes two to five strings: \
                 {name}('baseline', 'candidate', 'suite', 'host', 'job')"
            ))
        };
        let string_literal = |expr: &Expr| match expr {
            Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => {
                Ok(text.clone())
            }
            _ => Err(usage()),
        };
        let texts: Vec<String> =
            args.exprs().iter().map(string_literal).collect::<DfResult<_>>()?;
        let (baseline, candidate, rest) = match texts.as_slice() {
            [baseline, candidate, rest @ ..] if rest.len() <= 3 => (baseline, candidate, rest),
            _ => return Err(usage()),
        };
        let [suite, host, job] = [0, 1, 2].map(|index| rest.get(index).cloned());
        let filter = Filter { suite, host, job };
        let (baseline, candidate) = (baseline.clone(), candidate.clone());
        let selection = Selection::OnePair { baseline, candidate, filter };
        let judge = Arc::clone(&self.judge);
        Ok(Arc::new(JudgedTable::new(judge, self.table, selection, self.has_old_columns)))
    }
}
