//! How large a file of the store may be, asked before anything is read of it.
//!
//! A few kilobytes of Parquet can stand for gigabytes: a footer that claims millions of row groups,
//! a page that claims two gigabytes, a dictionary with one long string that every row repeats. So
//! sizes are bounded in three steps: the footer's own structure before it is decoded
//! ([`check_structure`]), what it says before a page is read ([`check_sizes`]), and the headers of
//! the pages, with the strings of dictionaries, before one is decoded ([`check_pages`]).

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Type;
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use crate::error::Fault;
use crate::layout::Folder;
use crate::thrift::{Malformed, Thrift};

/// Bytes of a file.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a footer: a run's provenance stands in it, twice at most.
pub(crate) const FOOTER_BYTES_MAX: u64 = 64 << 20;
/// Columns of a file, and row groups.
const COLUMNS_MAX: u64 = 1024;
const ROW_GROUPS_MAX: u64 = 1 << 15;
/// Bytes of a column of a row group, and of all columns and groups, decompressed.
const COLUMN_BYTES_MAX: u64 = 256 << 20;
const UNCOMPRESSED_BYTES_MAX: u64 = 1 << 30;
/// Values of a column of a row group, of which lists have several a row.
const VALUES_MAX: u64 = 1 << 26;
/// Bytes of a column of texts, were each row as long as the longest in its dictionary.
const TEXT_BYTES_MAX: u64 = 1 << 30;

/// What such a fault begins with.
pub(crate) const TOO_LARGE: &str = "too large to be read: ";

/// Rows of a file.
pub(crate) const fn rows_max(folder: Folder) -> u64 {
    match folder {
        Folder::Samples | Folder::Units => 1 << 23,
        Folder::Summaries => 1 << 20,
        Folder::Runs => 1,
    }
}

fn too_large(what: String) -> Fault {
    format!("{TOO_LARGE}{what}")
}

/// A fault if `count` of `what` is more than `most`.
fn at_most(most: u64, count: u64, what: &str) -> Result<(), Fault> {
    match count <= most {
        true => Ok(()),
        false => Err(too_large(format!("{count} {what}, more than {most}"))),
    }
}

fn unreadable(place: &str, why: Malformed) -> Fault {
    format!("not a readable Parquet file ({place}: {why})")
}

/// Checks the structure of the bytes of a footer: every list in it is as long as it claims, and
/// there are no more columns and row groups than there can be.
pub(crate) fn check_structure(footer: &[u8]) -> Result<(), Fault> {
    const SCHEMA: i64 = 2;
    const ROW_GROUPS: i64 = 4;
    let (mut columns, mut groups) = (0, 0);
    let mut thrift = Thrift { rest: footer };
    let walked = thrift.fields(|thrift, field| {
        let count = match field.id {
            SCHEMA => &mut columns,
            ROW_GROUPS => &mut groups,
            _ => return thrift.skip(field),
        };
        let (length, element) = thrift.list(field)?;
        *count = length;
        (0..length).try_for_each(|_| thrift.skip_element(element))
    });
    walked.map_err(|why| unreadable("its footer", why))?;
    at_most(COLUMNS_MAX, columns, "columns")?;
    at_most(ROW_GROUPS_MAX, groups, "row groups")
}

/// Checks what the footer of a file of `folder` with `bytes` bytes says of sizes.
pub(crate) fn check_sizes(
    metadata: &ParquetMetaData,
    folder: Folder,
    bytes: u64,
) -> Result<(), Fault> {
    at_most(FILE_BYTES_MAX, bytes, "bytes")?;
    let senseless = || "not a readable Parquet file (its sizes make no sense)".to_string();
    let size = |value: i64| u64::try_from(value).map_err(|_| senseless());
    // A place in the file, of what is read without a header of its own.
    let is_inside = |start: Option<i64>, length: Option<i64>| {
        let start = size(start.unwrap_or(0))?;
        match start.checked_add(size(length.unwrap_or(0))?) {
            Some(end) if end <= bytes => Ok(()),
            _ => Err(senseless()),
        }
    };
    let (mut rows, mut uncompressed) = (0u64, 0u64);
    for group in metadata.row_groups() {
        rows = rows.saturating_add(size(group.num_rows())?);
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            is_inside(Some(start), Some(column.compressed_size()))?;
            size(column.data_page_offset())?;
            is_inside(column.column_index_offset(), column.column_index_length().map(i64::from))?;
            is_inside(column.offset_index_offset(), column.offset_index_length().map(i64::from))?;
            is_inside(column.bloom_filter_offset(), column.bloom_filter_length().map(i64::from))?;
            at_most(VALUES_MAX, size(column.num_values())?, "values in a column")?;
            let column_bytes = size(column.uncompressed_size())?;
            at_most(COLUMN_BYTES_MAX, column_bytes, "bytes in a column")?;
            uncompressed = uncompressed.saturating_add(column_bytes);
        }
    }
    if size(metadata.file_metadata().num_rows())? != rows {
        return Err(senseless());
    }
    at_most(rows_max(folder), rows, "rows")?;
    at_most(UNCOMPRESSED_BYTES_MAX, uncompressed, "bytes decompressed")
}

/// What the header of a page says.
#[derive(Default)]
struct PageHeader {
    kind: i64,
    uncompressed_bytes: i64,
    compressed_bytes: i64,
    values: i64,
    encoding: i64,
}

const DICTIONARY_PAGE: i64 = 2;
/// Each text is said by what it shares with the one before: pages of such are small for any length.
const DELTA_BYTE_ARRAY: i64 = 7;

impl PageHeader {
    /// The header at the front of `thrift`.
    fn read(thrift: &mut Thrift<'_>) -> Result<Self, Malformed> {
        let mut header = Self::default();
        thrift.fields(|thrift, field| {
            match field.id {
                1 => header.kind = thrift.integer(field)?,
                2 => header.uncompressed_bytes = thrift.integer(field)?,
                3 => header.compressed_bytes = thrift.integer(field)?,
                // Of data pages, dictionaries, and data pages of the second version.
                5 | 7 | 8 => {
                    let encoding_id = if field.id == 8 { 4 } else { 2 };
                    thrift.fields(|thrift, inner| {
                        match inner.id {
                            1 => header.values = thrift.integer(inner)?,
                            id if id == encoding_id => header.encoding = thrift.integer(inner)?,
                            _ => thrift.skip(inner)?,
                        }
                        Ok(())
                    })?;
                }
                _ => thrift.skip(field)?,
            }
            Ok(())
        })?;
        Ok(header)
    }
}

/// Checks the headers of the pages in `bytes`, which begin at `start` in the file, and the texts of
/// a dictionary among them. Bytes of no column are no pages.
///
/// # Errors
/// Pages that hold more than the footer says, and texts that would be too large were they written
/// out for each row.
pub fn check_pages(metadata: &ParquetMetaData, start: u64, bytes: &Bytes) -> Result<(), Fault> {
    let columns = metadata.row_groups().iter().flat_map(|group| group.columns());
    let holds = |column: &&ColumnChunkMetaData| {
        let (from, length) = column.byte_range();
        (from..from + length).contains(&start)
    };
    let Some(column) = columns.into_iter().find(holds) else { return Ok(()) };
    let name = column.column_path().string();
    let is_text = column.column_type() == Type::BYTE_ARRAY;
    let malformed = |why: Malformed| unreadable(&format!("a page of `{name}`"), why);
    let size = |value: i64| u64::try_from(value).map_err(|_| malformed("a size below zero"));
    let (mut uncompressed, mut values) = (0u64, 0u64);
    let mut thrift = Thrift { rest: bytes };
    while !thrift.rest.is_empty() {
        let is_first = start == column.byte_range().0 && thrift.rest.len() == bytes.len();
        let header = PageHeader::read(&mut thrift).map_err(malformed)?;
        let compressed = size(header.compressed_bytes)?;
        uncompressed = uncompressed.saturating_add(size(header.uncompressed_bytes)?);
        if uncompressed > column.uncompressed_size() as u64 {
            return Err(too_large(format!("the pages of `{name}` hold more than its footer says")));
        }
        if header.kind == DICTIONARY_PAGE {
            if !is_first {
                return Err(malformed("a dictionary that does not come first"));
            }
            if is_text {
                check_texts(metadata, column, start, bytes)?;
            }
        } else {
            values = values.saturating_add(size(header.values)?);
            if values > column.num_values() as u64 {
                return Err(malformed("more values than its footer says"));
            }
            if is_text && header.encoding == DELTA_BYTE_ARRAY {
                return Err(too_large(format!("how long the texts of `{name}` are is not known")));
            }
        }
        let skipped = usize::try_from(compressed).ok().and_then(|skip| thrift.rest.get(skip..));
        thrift.rest = skipped.ok_or_else(|| malformed("it ends too early"))?;
    }
    Ok(())
}

/// Checks the texts of the dictionary that `bytes` begin with.
fn check_texts(
    metadata: &ParquetMetaData,
    column: &ColumnChunkMetaData,
    start: u64,
    bytes: &Bytes,
) -> Result<(), Fault> {
    let rows = metadata.file_metadata().num_rows().max(column.num_values()).max(1) as u64;
    let source = Arc::new(FileRange { start, bytes: bytes.clone() });
    let pages = SerializedPageReader::new(source, column, rows as usize, None);
    let page = pages.and_then(|mut pages| pages.get_next_page());
    let name = column.column_path().string();
    let page = page.map_err(|error| format!("not a readable Parquet file ({name}: {error})"))?;
    let Some(Page::DictionaryPage { buf, .. }) = page else { return Ok(()) };
    let (mut rest, mut longest) = (&buf[..], 0);
    while let Some((length, texts)) = rest.split_first_chunk() {
        let length = u32::from_le_bytes(*length);
        longest = longest.max(length);
        rest = texts.get(length as usize..).unwrap_or_default();
    }
    let most = TEXT_BYTES_MAX / rows;
    at_most(most, longest.into(), &format!("bytes in a text of `{name}` in {rows} rows"))
}

/// A part of a file, at its place.
struct FileRange {
    start: u64,
    bytes: Bytes,
}

impl FileRange {
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let skip = start.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let skip = skip.filter(|skip| *skip <= self.bytes.len());
        skip.map(|skip| self.bytes.slice(skip..))
            .ok_or_else(|| ParquetError::EOF("a page outside of its column".into()))
    }
}

impl Length for FileRange {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for FileRange {
    type T = Cursor<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        self.from(start).map(Cursor::new)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        match length <= bytes.len() {
            true => Ok(bytes.slice(..length)),
            false => Err(ParquetError::EOF("a page outside of its column".into())),
        }
    }
}
