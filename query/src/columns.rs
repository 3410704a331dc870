//! Rows of any type as columns: one call a column, in the order in which they are shown.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Schema};

/// A batch that is being made of `rows`. Without a row it has the same columns.
pub(crate) struct Columns<'a, R> {
    rows: &'a [R],
    columns: Vec<(&'static str, ArrayRef)>,
}

impl<'a, R> Columns<'a, R> {
    pub(crate) const fn new(rows: &'a [R]) -> Self {
        Self { rows, columns: Vec::new() }
    }

    pub(crate) fn text<S: AsRef<str>>(
        &mut self,
        name: &'static str,
        value: impl Fn(&'a R) -> Option<S>,
    ) {
        let array: StringViewArray = self.rows.iter().map(value).collect();
        self.columns.push((name, Arc::new(array)));
    }

    pub(crate) fn float(&mut self, name: &'static str, value: impl Fn(&'a R) -> Option<f64>) {
        let array: Float64Array = self.rows.iter().map(value).collect();
        self.columns.push((name, Arc::new(array)));
    }

    pub(crate) fn integer(&mut self, name: &'static str, value: impl Fn(&'a R) -> Option<i64>) {
        let array: Int64Array = self.rows.iter().map(value).collect();
        self.columns.push((name, Arc::new(array)));
    }

    /// Counts beyond i32 do not occur; were they to, the largest says more than a wrapped one.
    pub(crate) fn u32(&mut self, name: &'static str, value: impl Fn(&'a R) -> Option<u32>) {
        let count = |row| value(row).map(|count| i32::try_from(count).unwrap_or(i32::MAX));
        let array: Int32Array = self.rows.iter().map(count).collect();
        self.columns.push((name, Arc::new(array)));
    }

    pub(crate) fn flag(&mut self, name: &'static str, value: impl Fn(&'a R) -> Option<bool>) {
        let array: BooleanArray = self.rows.iter().map(value).collect();
        self.columns.push((name, Arc::new(array)));
    }

    /// Microseconds since 1970, UTC.
    pub(crate) fn time(&mut self, name: &'static str, value: impl Fn(&'a R) -> i64) {
        let array = TimestampMicrosecondArray::from_iter_values(self.rows.iter().map(value));
        self.columns.push((name, Arc::new(array.with_timezone("UTC"))));
    }

    pub(crate) fn batch(self) -> RecordBatch {
        let field =
            |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
        let schema = Schema::new(self.columns.iter().map(field).collect::<Vec<_>>());
        let arrays = self.columns.into_iter().map(|(_, array)| array).collect();
        RecordBatch::try_new(Arc::new(schema), arrays).expect("columns of one length")
    }
}
