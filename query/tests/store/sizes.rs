//! Small files that stand for more than there is room for.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{DictionaryArray, Int32Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Int32Type;
use dyno_query::Filter;
use parquet::basic::Encoding;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::common::{graph, job};
use crate::rewriting::with_column;
use crate::rewriting::{change_footer, replace, rows};
use crate::{FOLDERS, TestStore};

/// The first row of a batch, many times.
fn repeated(batch: &RecordBatch, count: usize) -> RecordBatch {
    take_record_batch(batch, &UInt32Array::from(vec![0; count])).unwrap()
}

/// One long text in every row: 1.2 GB in a file of some kilobytes.
fn one_text_in_each_row(path: &Path, table: &str) {
    let batch = repeated(&rows(path), if table == "runs" { 1 } else { 20_000 });
    let keys = Int32Array::from(vec![0; batch.num_rows()]);
    let texts = StringArray::from(vec!["x".repeat(60_000)]);
    let texts = DictionaryArray::<Int32Type>::try_new(keys, Arc::new(texts)).unwrap();
    let properties = WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None);
    replace(path, &with_column(&batch, "host", Arc::new(texts)), properties);
}

/// Texts of which each is said to be the one before it.
fn texts_by_what_they_share(path: &Path, _: &str) {
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::PLAIN)
        .set_column_encoding("host".into(), Encoding::DELTA_BYTE_ARRAY);
    replace(path, &rows(path), properties);
}

fn group_with(
    group: RowGroupMetaData,
    change: impl Fn(
        parquet::file::metadata::ColumnChunkMetaDataBuilder,
    ) -> parquet::file::metadata::ColumnChunkMetaDataBuilder,
) -> RowGroupMetaData {
    let columns = group.columns().iter().cloned();
    let columns = columns.map(|column| change(column.into_builder()).build().unwrap()).collect();
    group.into_builder().set_column_metadata(columns).build().unwrap()
}

/// A footer of a hundred bytes that claims two billion row groups.
fn a_list_without_end(path: &Path, _: &str) {
    // version: 1; schema: a list of one structure with a name; rows: 1; row groups: 2^31 − 1.
    let footer = [
        &[0x15, 2][..],
        &[0x19, 0x1C, 0x48, 1, b'r', 0],
        &[0x16, 2],
        &[0x19, 0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0x07],
    ]
    .concat();
    let length = (footer.len() as u32).to_le_bytes();
    fs::write(path, [b"PAR1", &footer[..], &length, b"PAR1"].concat()).unwrap();
}

type Bomb = (&'static str, fn(&Path, &str), &'static str);

const BOMBS: [Bomb; 7] = [
    (
        "one text in each row",
        one_text_in_each_row,
        "too large to be read: 60000 bytes in a text of",
    ),
    (
        "shared texts",
        texts_by_what_they_share,
        "too large to be read: how long the texts of `host`",
    ),
    (
        "rows",
        |path, _| {
            change_footer(path, |group| {
                group.into_builder().set_num_rows(10_000_000).build().unwrap()
            });
        },
        "too large to be read: 10000000 rows, more than ",
    ),
    (
        "a column",
        |path, _| {
            change_footer(path, |group| {
                group_with(group, |column| column.set_total_uncompressed_size(1 << 40))
            });
        },
        "too large to be read: 1099511627776 bytes in a column, more than ",
    ),
    (
        "pages",
        |path, _| {
            change_footer(path, |group| {
                group_with(group, |column| column.set_total_uncompressed_size(1))
            });
        },
        "hold more than its footer says",
    ),
    (
        "an index outside of the file",
        |path, _| {
            change_footer(path, |group| {
                group_with(group, |column| {
                    column.set_bloom_filter_offset(Some(4)).set_bloom_filter_length(Some(i32::MAX))
                })
            });
        },
        "its sizes make no sense",
    ),
    ("row groups", a_list_without_end, "a list is longer than the bytes that hold it"),
];

/// Every one is named and set aside, whatever is asked, and nothing of its size is ever held.
#[tokio::test]
async fn what_is_too_large_is_set_aside_before_it_is_read() {
    let before = peak_memory_mib();
    let place = TestStore::with_records(&[graph("good"), graph("bad")]).await;
    for table in FOLDERS {
        let path = place.file(table, job("bad").hex());
        let published = fs::read(&path).unwrap();
        for (what, forge, fault) in BOMBS {
            if table == "runs" && what == "one text in each row" {
                // One row has room for a long text.
                continue;
            }
            forge(&path, table);
            let session = place.session().await;
            let sql = format!("SELECT count(*) AS n, max(length(host)) AS l FROM {table}");
            let answer = session.sql(&sql).await.unwrap_or_else(|e| panic!("{table} {what}: {e}"));
            let answer = crate::table(&answer);
            assert!(answer.contains("| 5 |"), "{table} {what}: {answer}");
            let compared = session.compare("rust-1.85", "rust-1.97", &Filter::default()).await;
            let compared = compared.unwrap();
            assert_eq!(compared.judged.len(), 8, "{table} {what}");
            let key = compared.judged[0].comparison.key.clone();
            let evidence = session.evidence(&compared, &key).await.unwrap();
            assert!(!evidence.samples.is_empty(), "{table} {what}");
            session.sql("SELECT * FROM builds").await.unwrap();
            let problems = session.problems();
            let [problem] = &problems[..] else { panic!("{table} {what}: {problems:?}") };
            assert!(problem.path.starts_with(table), "{table} {what}: {problem}");
            assert!(problem.what.contains(fault), "{table} {what}: {problem}");
            fs::write(&path, &published).unwrap();
        }
    }
    let grown = peak_memory_mib() - before;
    assert!(grown < 1024, "{grown} MiB");
}

/// The most memory this process has had resident (VmHWM).
fn peak_memory_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap() / 1024
}
