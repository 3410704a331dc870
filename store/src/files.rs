//! Whether a file is what its place says, and its rows.
//!
//! A file is believed only after its own metadata has been read: it must be Parquet, say that a
//! dyno of this schema version or an older one wrote it, for this table and the job its name
//! gives, have the columns of the table, and be of a size that can be read ([`crate::bounds`]).

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use bytes::Bytes;
use dyno_model::record::SCHEMA_VERSION;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::metadata::{FooterTail, ParquetMetaData, ParquetMetaDataReader};

use crate::bounds::{FOOTER_BYTES_MAX, TOO_LARGE, check_pages, check_sizes, check_structure};
use crate::encode::{JOB_KEY, SCHEMA_KEY, TABLE_KEY, VERSION_KEY};
use crate::error::Fault;
use crate::layout::{Folder, Shard};
use crate::schema;
use crate::signature::SIGNATURE_KEY;

/// The bytes at the end of a file that say how long its footer is.
const TAIL_BYTES: usize = 8;

/// How many of the last bytes of a file its footer takes, with the eight that say so; `end` are as
/// many of them as there are at hand.
pub(crate) fn footer_bytes(end: &[u8]) -> Result<usize, Fault> {
    let Some(tail) = end.last_chunk::<TAIL_BYTES>() else {
        return Err("not a readable Parquet file (it ends too early)".into());
    };
    let tail = FooterTail::try_new(tail).map_err(|e| parquet_fault(&e))?;
    match tail.metadata_length() as u64 {
        _ if tail.is_encrypted_footer() => Err("an encrypted Parquet file".into()),
        length if length > FOOTER_BYTES_MAX => {
            Err(format!("{TOO_LARGE}{length} bytes of footer, more than {FOOTER_BYTES_MAX}"))
        }
        length => Ok(length as usize + TAIL_BYTES),
    }
}

/// What the footer says at the end of `end`, the last bytes of a file of `size` bytes, once it is
/// checked against `folder` and the name's `shard`.
pub(crate) fn read_footer(
    end: &[u8],
    size: u64,
    folder: Folder,
    shard: &Shard,
) -> Result<ParquetMetaData, Fault> {
    let length = footer_bytes(end)?;
    let footer = end.len().checked_sub(length).map(|start| &end[start..end.len() - TAIL_BYTES]);
    let footer = footer.ok_or("not a readable Parquet file (its footer is longer than it)")?;
    check_structure(footer)?;
    let metadata = ParquetMetaDataReader::decode_metadata(footer).map_err(|e| parquet_fault(&e))?;
    check_origin(&metadata, folder, shard)?;
    check_sizes(&metadata, folder, size)?;
    Ok(metadata)
}

/// What a file says of itself under `key`.
fn metadata_value<'m>(metadata: &'m ParquetMetaData, key: &str) -> Option<&'m str> {
    let pairs = metadata.file_metadata().key_value_metadata()?;
    pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref())
}

/// Checks whose a footer says that the file is, against `folder` and the name's `shard`.
fn check_origin(metadata: &ParquetMetaData, folder: Folder, shard: &Shard) -> Result<(), Fault> {
    let file = metadata.file_metadata();
    let value = |key: &str| metadata_value(metadata, key);
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
            Ok(field) if is_alike(field.data_type(), expected.data_type()) => {}
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

/// Whether a column of one type can stand for one of another: writers other than dyno say of the
/// elements of every list that they may be null.
fn is_alike(found: &DataType, expected: &DataType) -> bool {
    match (found, expected) {
        (DataType::List(found), DataType::List(expected)) => {
            found.data_type() == expected.data_type()
        }
        _ => found == expected,
    }
}

/// An error of the Parquet reader as a fault.
pub fn parquet_fault(error: &dyn std::error::Error) -> Fault {
    let text = error.to_string();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(place) = text.find(TOO_LARGE) {
        return text[place..].to_string();
    }
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

/// What reading a file's inside comes to, where a panic is a fault too.
pub(crate) fn caught<T>(read: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(PANICKED.into()))
}

/// All rows of a file of `runs`, read to the last page, and its signature.
pub(crate) fn read_run(
    bytes: Bytes,
    shard: &Shard,
) -> Result<(Vec<RecordBatch>, Option<String>), Fault> {
    caught(|| {
        let metadata = checked_footer(&bytes, Folder::Runs, shard)?;
        let signature = metadata_value(&metadata, SIGNATURE_KEY).map(String::from);
        let reader = open_checked(bytes, metadata, |schema| schema)?;
        let rows = reader.collect::<Result<_, _>>().map_err(|e| parquet_fault(&e))?;
        Ok((rows, signature))
    })
}

fn checked_footer(bytes: &Bytes, folder: Folder, shard: &Shard) -> Result<ParquetMetaData, Fault> {
    if bytes.is_empty() {
        return Err("an empty file".into());
    }
    read_footer(bytes, bytes.len() as u64, folder, shard)
}

/// The rows of a file, batch by batch, once its footer and the sizes of its pages are checked;
/// `schema` chooses as what its columns are read.
pub(crate) fn open(
    bytes: Bytes,
    folder: Folder,
    shard: &Shard,
    schema: impl FnOnce(SchemaRef) -> SchemaRef,
) -> Result<ParquetRecordBatchReader, Fault> {
    let metadata = checked_footer(&bytes, folder, shard)?;
    open_checked(bytes, metadata, schema)
}

fn open_checked(
    bytes: Bytes,
    metadata: ParquetMetaData,
    schema: impl FnOnce(SchemaRef) -> SchemaRef,
) -> Result<ParquetRecordBatchReader, Fault> {
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let (start, length) = column.byte_range();
        check_pages(&metadata, start, &bytes.slice(start as usize..(start + length) as usize))?;
    }
    // What a writer noted of types of its own is left out: columns are what the footer says.
    let columns = parquet_to_arrow_schema(metadata.file_metadata().schema_descr(), None);
    let columns: Schema = columns.map_err(|e| parquet_fault(&e))?;
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        .with_schema(schema(SchemaRef::new(columns)));
    let metadata = ArrowReaderMetadata::try_new(metadata.into(), options);
    let metadata = metadata.map_err(|e| parquet_fault(&e))?;
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata).build();
    reader.map_err(|e| parquet_fault(&e))
}
