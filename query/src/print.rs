//! Rows as text: an aligned table, CSV, or one JSON object a line.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;

use crate::error::{Error, Result};

/// An aligned table for a terminal, with its header even if there is no row.
pub fn write_table(out: &mut dyn Write, batches: &[RecordBatch]) -> Result<()> {
    let options = FormatOptions::default().with_null("-");
    let table = pretty_format_batches_with_options(batches, &options).map_err(output)?;
    writeln!(out, "{table}").map_err(output)
}

/// CSV with a header; a null is an empty field.
pub fn write_csv(out: &mut dyn Write, batches: &[RecordBatch]) -> Result<()> {
    let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(out);
    batches.iter().try_for_each(|batch| writer.write(batch)).map_err(output)
}

/// One JSON object a row and line; a null is left out.
pub fn write_json(out: &mut dyn Write, batches: &[RecordBatch]) -> Result<()> {
    let mut writer = arrow::json::LineDelimitedWriter::new(out);
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    writer.write_batches(&batches).and_then(|()| writer.finish()).map_err(output)
}

fn output(error: impl std::fmt::Display) -> Error {
    Error::Output(error.to_string())
}
