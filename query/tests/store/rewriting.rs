//! Files of a store, rewritten: as another program would, or as somebody would who wants something
//! else to stand there.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema};
use bytes::Bytes;
use dyno_model::record::RunRow;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::metadata::{
    ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};

/// The rows of a file.
pub fn rows(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = Arc::clone(reader.schema());
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// Writes `batch` in the place of a file; of the old one only what says whose it is stays.
pub fn replace(path: &Path, batch: &RecordBatch, properties: WriterPropertiesBuilder) {
    let old = ParquetMetaDataReader::new().parse_and_finish(&File::open(path).unwrap()).unwrap();
    let pairs = old.file_metadata().key_value_metadata().cloned();
    let options = ArrowWriterOptions::new()
        .with_properties(properties.set_key_value_metadata(pairs).build())
        .with_skip_arrow_metadata(true);
    let writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options);
    let mut writer = writer.unwrap();
    writer.write(batch).unwrap();
    fs::write(path, writer.into_inner().unwrap()).unwrap();
}

/// Gives the rows of a file other values.
pub fn change(path: &Path, change: impl FnOnce(RecordBatch) -> RecordBatch) {
    replace(path, &change(rows(path)), WriterProperties::builder());
}

/// The batch with another column of that name, or one more.
pub fn with_column(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let mut fields: Vec<Field> =
        batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    let mut columns = batch.columns().to_vec();
    let field = Field::new(name, column.data_type().clone(), true);
    match batch.schema().index_of(name) {
        Ok(place) => (fields[place], columns[place]) = (field, column),
        Err(_) => {
            fields.push(field);
            columns.push(column);
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Changes what a run row says of its run.
pub fn change_run(path: &Path, change_run: impl FnOnce(&mut RunRow)) {
    change(path, |batch| {
        let text = batch.column_by_name("provenance").unwrap();
        let text = text.as_any().downcast_ref::<StringArray>().unwrap().value(0);
        let mut run: RunRow = serde_json::from_str(text).unwrap();
        change_run(&mut run);
        let text = serde_json::to_string(&run).unwrap();
        with_column(&batch, "provenance", Arc::new(StringArray::from(vec![text])))
    });
}

/// Gives a file another footer over the same pages.
pub fn change_footer(path: &Path, change: impl Fn(RowGroupMetaData) -> RowGroupMetaData) {
    let bytes: Bytes = fs::read(path).unwrap().into();
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
    let groups: Vec<RowGroupMetaData> =
        metadata.row_groups().iter().cloned().map(&change).collect();
    let rows = groups.iter().map(RowGroupMetaData::num_rows).sum();
    let old = metadata.file_metadata();
    let file = parquet::file::metadata::FileMetaData::new(
        old.version(),
        rows,
        old.created_by().map(str::to_string),
        old.key_value_metadata().cloned(),
        old.schema_descr_ptr(),
        old.column_orders().cloned(),
    );
    let end = bytes.len();
    let footer = u32::from_le_bytes(bytes[end - 8..end - 4].try_into().unwrap()) as usize;
    let mut forged = bytes[..end - 8 - footer].to_vec();
    let metadata = ParquetMetaData::new(file, groups);
    ParquetMetaDataWriter::new(&mut forged, &metadata).finish().unwrap();
    fs::write(path, forged).unwrap();
}
