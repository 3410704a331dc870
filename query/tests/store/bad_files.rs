//! Files that are not what their place says.

use std::fs;

use arrow::array::RecordBatch;
use dyno_model::verdict;
use dyno_query::Filter;
use dyno_store::Problem;

use crate::common::{graph, job};
use crate::{FOLDERS, TestStore};

/// Ways in which a file can be bad; each is put in the place of a sound one.
fn spoil(way: &str, place: &TestStore, table: &str) {
    let path = place.file(table, &job("bad").to_string());
    let bytes = fs::read(&path).unwrap();
    let put = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
    match way {
        "truncated" => put(&bytes[..bytes.len() / 2]),
        "garbage" => put(&[0xAB; 700]),
        "text" => put(b"not a table at all\n"),
        "empty" => put(b""),
        "no footer" => put(&bytes[..bytes.len() - 8]),
        "other table" => {
            let other = if table == "runs" { "samples" } else { "runs" };
            put(&fs::read(place.file(other, &job("good").to_string())).unwrap());
        }
        "other job" => put(&fs::read(place.file(table, &job("good").to_string())).unwrap()),
        "foreign" => put(&foreign_parquet(&[])),
        "newer" => put(&foreign_parquet(&[("dyno.schema", "2"), ("dyno.version", "7.0.0")])),
        "no columns" => put(&foreign_parquet(&[
            ("dyno.schema", "1"),
            ("dyno.table", table),
            ("dyno.job", &job("bad").to_string()),
        ])),
        "folder" => {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            fs::write(path.join("part-0.parquet"), bytes).unwrap();
        }
        "pages" => {
            // The footer stays sound; the pages before it do not.
            let mut bytes = bytes;
            let end = bytes.len();
            let footer = u32::from_le_bytes(bytes[end - 8..end - 4].try_into().unwrap()) as usize;
            bytes[4..end - 8 - footer].fill(0xFF);
            put(&bytes);
        }
        other => panic!("{other}"),
    }
}

/// A Parquet file of one column with key-value metadata.
fn foreign_parquet(pairs: &[(&str, &str)]) -> Vec<u8> {
    use arrow::array::{ArrayRef, Int32Array};
    use parquet::file::metadata::KeyValue;
    let column: ArrayRef = std::sync::Arc::new(Int32Array::from(vec![1, 2, 3]));
    let batch = RecordBatch::try_from_iter([("x", column)]).unwrap();
    let pairs = pairs.iter().map(|(k, v)| KeyValue::new(k.to_string(), v.to_string())).collect();
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_key_value_metadata(Some(pairs))
        .build();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[tokio::test]
async fn a_bad_file_is_named_and_the_rest_is_read() {
    let ways = [
        "truncated",
        "garbage",
        "text",
        "empty",
        "no footer",
        "other table",
        "other job",
        "foreign",
        "newer",
        "no columns",
        "folder",
        "pages",
    ];
    let mut problem_texts = Vec::new();
    for table_name in FOLDERS {
        for way in ways {
            let place = TestStore::with_records(&[graph("good"), graph("bad")]).await;
            spoil(way, &place, table_name);
            let session = place.session().await;
            // Every column, so that every page is read.
            let rows = session.sql(&format!("SELECT * FROM {table_name}")).await;
            let rows = rows.unwrap_or_else(|e| panic!("{table_name} {way}: {e}"));
            let rows: usize = rows.iter().map(RecordBatch::num_rows).sum();
            let good_graph = graph("good");
            let expected = match table_name {
                "samples" => good_graph.samples.len(),
                "units" => good_graph.units.len(),
                "summaries" => verdict::summarise(&good_graph.samples).len(),
                _ => 1,
            };
            assert_eq!(rows, expected, "{table_name} {way}");
            let compared =
                session.compare("rust-1.85", "rust-1.97", &Filter::default()).await.unwrap();
            assert_eq!(compared.judged.len(), 8, "{table_name} {way}");
            let problems = session.problems();
            assert!(!problems.is_empty(), "{table_name} {way}");
            for Problem { path, what } in problems {
                let path = path.replace(job("bad").hex(), "<job>");
                problem_texts.push(format!("{way}: {path}: {what}"));
            }
        }
    }
    insta::assert_snapshot!(problem_texts.join("\n"));
}

/// Bits flipped anywhere never panic and never take the other job's rows along. `DYNO_FLIPS` sets
/// how many files are tried for each table; else it is a dozen, or 40 under `DYNO_TESTS=full`.
#[tokio::test]
async fn flipped_bytes_do_no_harm() {
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let place = TestStore::with_records(&[graph("good"), graph("bad")]).await;
    for table_name in FOLDERS {
        let path = place.file(table_name, &job("bad").to_string());
        let original = fs::read(&path).unwrap();
        let full = std::env::var("DYNO_TESTS").is_ok_and(|wanted| wanted == "full");
        let usual = if full { 40 } else { 12 };
        let times = std::env::var("DYNO_FLIPS").map_or(usual, |times| times.parse().unwrap());
        for _ in 0..times {
            let mut bytes = original.clone();
            for _ in 0..=next(3) {
                let offset = next(bytes.len());
                bytes[offset] ^= 1 << next(8);
            }
            fs::write(&path, &bytes).unwrap();
            let sql = format!("SELECT * FROM {table_name} WHERE job = '{}'", job("good"));
            let all_rows = place.session().await.sql(&format!("SELECT * FROM {table_name}")).await;
            all_rows.unwrap();
            if table_name == "units" {
                place.session().await.sql("SELECT * FROM builds").await.unwrap();
            }
            let other_rows = place.session().await.sql(&sql).await.unwrap();
            assert!(other_rows.iter().map(RecordBatch::num_rows).sum::<usize>() > 0);
        }
        fs::write(&path, &original).unwrap();
    }
}
