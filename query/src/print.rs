//! Rows as text: an aligned table, one column a line, CSV, one JSON object a line; or as Parquet.
//!
//! Text has no columns within columns: a struct is shown as its fields, `estimate.effect` and so
//! on, a list as `[1, 2]`. JSON and Parquet keep them whole.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, make_array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_options;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::{Error, Result};

fn format_options() -> FormatOptions<'static> {
    FormatOptions::default().with_null("-")
}

/// An aligned table for a terminal, with its header even if there is no row.
pub fn write_table(out: &mut dyn Write, batches: &[RecordBatch]) -> Result<()> {
    let batches = flatten_batches(batches)?;
    let table = pretty_format_batches_with_options(&batches, &format_options()).map_err(output)?;
    writeln!(out, "{table}").map_err(output)
}

/// Each row as a block with one column a line, for rows wider than a terminal.
pub fn write_expanded(out: &mut dyn Write, batches: &[RecordBatch]) -> Result<()> {
    let mut number = 0;
    for batch in flatten_batches(batches)? {
        let schema = batch.schema();
        let width = schema.fields().iter().map(|f| f.name().chars().count()).max().unwrap_or(0);
        let options = format_options();
        let columns = batch.columns().iter().map(|array| ArrayFormatter::try_new(array, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(output)?;
        for row in 0..batch.num_rows() {
            number += 1;
            writeln!(out, "-[ row {number} ]-").map_err(output)?;
            for (field, column) in schema.fields().iter().zip(&columns) {
                let value = column.value(row).try_to_string().map_err(output)?;
                // A value of several lines stays in its column.
                let value = value.replace('\n', &format!("\n{:width$} | ", ""));
                writeln!(out, "{:width$} | {value}", field.name()).map_err(output)?;
            }
        }
    }
    Ok(())
}

/// CSV with a header; a null is an empty field.
pub fn write_csv(out: &mut dyn Write, batches: &[RecordBatch]) -> Result<()> {
    let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(out);
    flatten_batches(batches)?.iter().try_for_each(|batch| writer.write(batch)).map_err(output)
}

/// One JSON object a row and line; a null is left out.
pub fn write_json(out: &mut dyn Write, batches: &[RecordBatch]) -> Result<()> {
    let mut writer = arrow::json::LineDelimitedWriter::new(out);
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    writer.write_batches(&batches).and_then(|()| writer.finish()).map_err(output)
}

/// One Parquet file with the columns of the first batch, compressed with zstd.
pub fn write_parquet(out: &mut (dyn Write + Send), batches: &[RecordBatch]) -> Result<()> {
    let [first, ..] = batches else { return Ok(()) };
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(format!("dyno {}", env!("CARGO_PKG_VERSION")))
        .build();
    let mut writer = ArrowWriter::try_new(out, first.schema(), Some(properties)).map_err(output)?;
    batches.iter().try_for_each(|batch| writer.write(batch)).map_err(output)?;
    writer.close().map(drop).map_err(output)
}

/// The batches with structs taken apart and lists written out.
fn flatten_batches(batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
    let flatten_batch = |batch: &RecordBatch| {
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            flatten_column(field.name().clone(), Arc::clone(array), &mut columns)?;
        }
        let field =
            |(name, array): &(String, ArrayRef)| Field::new(name, array.data_type().clone(), true);
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        RecordBatch::try_new_with_options(Arc::new(schema), arrays, &rows).map_err(output)
    };
    batches.iter().map(flatten_batch).collect()
}

fn flatten_column(
    name: String,
    array: ArrayRef,
    columns: &mut Vec<(String, ArrayRef)>,
) -> Result<()> {
    let DataType::Struct(fields) = array.data_type() else {
        let array = if array.data_type().is_list() { lists_as_text(&array)? } else { array };
        columns.push((name, array));
        return Ok(());
    };
    let whole = array.as_struct();
    for (field, part) in fields.iter().zip(whole.columns()) {
        // What is null as a whole is null in its parts.
        let nulls = NullBuffer::union(whole.nulls(), part.nulls());
        let data = part.to_data().into_builder().nulls(nulls).build().map_err(output)?;
        flatten_column(format!("{name}.{}", field.name()), make_array(data), columns)?;
    }
    Ok(())
}

/// Lists as text, which CSV has no other form for.
fn lists_as_text(lists: &ArrayRef) -> Result<ArrayRef> {
    let options = format_options();
    let formatter = ArrayFormatter::try_new(lists, &options).map_err(output)?;
    let list_text = |row| match lists.is_valid(row) {
        true => formatter.value(row).try_to_string().map(Some),
        false => Ok(None),
    };
    let texts: Result<StringArray, _> = (0..lists.len()).map(list_text).collect();
    Ok(Arc::new(texts.map_err(output)?))
}

fn output(error: impl std::fmt::Display) -> Error {
    Error::Output(error.to_string())
}
