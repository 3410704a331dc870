//! Whether a file is what its place says, and its rows.
//!
//! A file is believed only after its own metadata has been read: it must be Parquet, say that a
//! dyno of this schema version or an older one wrote it, for this table and the job its name
//! gives, and have the columns of the table.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use bytes::Bytes;
use dyno_model::record::SCHEMA_VERSION;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::metadata::ParquetMetaData;

use crate::encode::{JOB_KEY, SCHEMA_KEY, TABLE_KEY, VERSION_KEY};
use crate::layout::{Folder, Shard};
use crate::schema;

/// Why a file is set aside, as a person reads it.
pub type Fault = String;

/// Checks what the footer says against `folder` and the name's `shard`.
pub fn check_footer(
    metadata: &ParquetMetaData,
    folder: Folder,
    shard: &Shard,
) -> Result<(), Fault> {
    let file = metadata.file_metadata();
    let pairs = file.key_value_metadata();
    let value = |key: &str| {
        pairs?.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref())
    };
    let Some(version) = value(SCHEMA_KEY) else {
        return Err("a Parquet file that dyno did not write".into());
    };
    match version.parse::<u32>() {
        Ok(version) if version <= SCHEMA_VERSION => {}
        Ok(version) => {
            let writer = value(VERSION_KEY).unwrap_or("unknown");
            return Err(format!(
                "written by a newer dyno ({writer}, schema {version}; this one reads up to {SCHEMA_VERSION})"
            ));
        }
        Err(_) => return Err(format!("its schema version is `{}`", version.escape_debug())),
    }
    if value(TABLE_KEY) != Some(folder.name()) {
        let table = value(TABLE_KEY).unwrap_or("nothing");
        return Err(format!("holds `{}`, not {}", table.escape_debug(), folder.name()));
    }
    if value(JOB_KEY) != Some(shard.job.hex()) {
        return Err("holds another job than its name says".into());
    }
    let found =
        parquet_to_arrow_schema(file.schema_descr(), None).map_err(|e| parquet_fault(&e))?;
    let optional = schema::optional_columns(folder);
    for expected in schema::full_schema(folder).fields() {
        match found.field_with_name(expected.name()) {
            Ok(field) if field.data_type() == expected.data_type() => {}
            Ok(field) => {
                return Err(format!(
                    "column `{}` is {}, not {}",
                    expected.name(),
                    field.data_type(),
                    expected.data_type()
                ));
            }
            Err(_) if optional.index_of(expected.name()).is_ok() => {}
            Err(_) => return Err(format!("has no column `{}`", expected.name())),
        }
    }
    Ok(())
}

/// An error of the Parquet reader as a fault.
pub fn parquet_fault(error: &dyn std::error::Error) -> Fault {
    let text = error.to_string();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut cause = text.as_str();
    for wrapper in ["Arrow error: ", "Parquet argument error: ", "Parquet error: ", "External: "] {
        cause = cause.strip_prefix(wrapper).unwrap_or(cause);
    }
    format!("not a readable Parquet file ({cause})")
}

/// What to say of a file on which the Parquet reader panicked. Some bits, flipped, make it compute
/// lengths that overflow (seen with parquet 59 when flipping bits at random), so every reading of
/// a file's inside is caught.
pub const PANICKED: &str = "not a readable Parquet file (its lengths make no sense)";

/// All rows of a file, read to the last page.
pub(crate) fn read_rows(
    bytes: Bytes,
    folder: Folder,
    shard: &Shard,
) -> Result<Vec<RecordBatch>, Fault> {
    let read = AssertUnwindSafe(|| decode_rows(bytes, folder, shard));
    catch_unwind(read).unwrap_or_else(|_| Err(PANICKED.into()))
}

fn decode_rows(bytes: Bytes, folder: Folder, shard: &Shard) -> Result<Vec<RecordBatch>, Fault> {
    if bytes.is_empty() {
        return Err("an empty file".into());
    }
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| parquet_fault(&e))?;
    check_footer(builder.metadata(), folder, shard)?;
    let reader = builder.build().map_err(|e| parquet_fault(&e))?;
    reader.collect::<Result<_, _>>().map_err(|e| parquet_fault(&e))
}
