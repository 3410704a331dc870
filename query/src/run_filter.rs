//! Which run rows a query's filters leave, decided before any file is read.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;

/// Which run rows can pass `filters`, judged by those of the filters that speak only of columns of
/// `runs` that `shared` allows.
pub(crate) fn run_rows_matching(
    state: &dyn Session,
    rows: &RecordBatch,
    filters: &[Expr],
    shared: impl Fn(&str) -> bool,
) -> Result<Vec<bool>> {
    let schema = rows.schema();
    let is_decidable = |filter: &&Expr| {
        let columns = filter.column_refs();
        !filter.is_volatile()
            && !columns.is_empty()
            && columns.iter().all(|c| shared(c.name()) && schema.index_of(c.name()).is_ok())
    };
    let Some(filter) = conjunction(filters.iter().filter(is_decidable).cloned()) else {
        return Ok(vec![true; rows.num_rows()]);
    };
    let columns = DFSchema::try_from(Arc::clone(&schema))?;
    let filter = state.create_physical_expr(strip_qualifiers(filter)?, &columns)?;
    let matching = filter.evaluate(rows)?.into_array(rows.num_rows())?;
    Ok(matching.as_boolean().iter().map(|matches| matches == Some(true)).collect())
}

/// Takes the table's name off the columns of a filter: run rows have none.
pub(crate) fn strip_qualifiers(filter: Expr) -> Result<Expr> {
    let strip_qualifier = |expr| {
        Ok(match expr {
            Expr::Column(column) => {
                Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    };
    Ok(filter.transform(strip_qualifier)?.data)
}
