//! The digest of a job's rows in one table, over their values: the same for whatever wrote the
//! file, with whatever encoding, and for rows in any order.
//!
//! Each row is hashed as its columns that have a value, in the order of their names: the name, the
//! kind of value, the value. The hashes are sorted and hashed once more. So a column that a later
//! dyno adds is in the digest as soon as it says something, a column without any value is as good as
//! none, and a dyno that does not know the column still comes to the same digest, since it takes the
//! columns from the file. Left out is what says where a file lies: `attempt`, and the parts of the
//! path, which other programs write into a file as columns, as they may who signed it.
//!
//! A digest begins with the version of this rule: `1:` and 64 hexadecimal digits. One of a version
//! that a reader does not know counts as none.

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use dyno_model::id::Digest;
use sha2::{Digest as _, Sha256};

use crate::schema;

/// What a digest of the rule above begins with.
const VERSION: &str = "1:";

/// Whether `digest` is of a version that this dyno can make.
pub(crate) fn is_known(digest: &str) -> bool {
    digest.starts_with(VERSION)
}

/// The digest of the rows in `batches`.
pub(crate) fn row_digest<E: From<ArrowError>>(
    batches: impl IntoIterator<Item = Result<RecordBatch, E>>,
) -> Result<String, E> {
    let mut rows = Vec::new();
    for batch in batches {
        hash_rows(&batch?, &mut rows)?;
    }
    rows.sort_unstable();
    let mut hasher = Sha256::new();
    rows.iter().for_each(|row| hasher.update(row));
    Ok(format!("{VERSION}{}", Digest::finish(hasher).hex()))
}

fn hash_rows(batch: &RecordBatch, rows: &mut Vec<[u8; 32]>) -> Result<(), ArrowError> {
    let schema = batch.schema();
    let partitions = schema::partitions();
    let says_place = |name: &str| {
        [schema::SIGNED_BY, "attempt"].contains(&name)
            || partitions.iter().any(|p| p.name() == name)
    };
    let mut columns: Vec<(&str, &ArrayRef)> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .zip(batch.columns())
        .filter(|(name, column)| !says_place(name) && column.null_count() < column.len())
        .collect();
    columns.sort_by_key(|(name, _)| *name);
    let columns = columns.iter().map(|(name, column)| Ok((*name, Values::new(column)?)));
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
    let mut row_bytes = Vec::new();
    for row in 0..batch.num_rows() {
        row_bytes.clear();
        for (name, values) in &columns {
            values.write(name, row, &mut row_bytes);
        }
        rows.push(Sha256::digest(&row_bytes).into());
    }
    Ok(())
}

/// The values of a column, in one of the kinds that writers do not tell apart.
enum Values {
    /// Integers of any width, truth values, times in microseconds.
    Integers(Int64Array),
    Floats(Float64Array),
    Texts(StringViewArray),
    /// Lists and whatever else there is, as they are shown.
    Shown(Vec<Option<String>>),
}

impl Values {
    fn new(column: &ArrayRef) -> Result<Self, ArrowError> {
        let as_kind = |kind: &DataType| cast(column, kind);
        Ok(match column.data_type() {
            kind if kind.is_integer() || *kind == DataType::Boolean => {
                Self::Integers(as_kind(&DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            DataType::Timestamp(_, zone) => {
                let time = as_kind(&DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
                let time = cast(&time, &DataType::Int64)?;
                Self::Integers(time.as_primitive::<Int64Type>().clone())
            }
            kind if kind.is_floating() => {
                Self::Floats(as_kind(&DataType::Float64)?.as_primitive::<Float64Type>().clone())
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                Self::Texts(as_kind(&DataType::Utf8View)?.as_string_view().clone())
            }
            _ => {
                let options = FormatOptions::default();
                let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
                let shown = |row| match column.is_valid(row) {
                    true => formatter.value(row).try_to_string().map(Some),
                    false => Ok(None),
                };
                Self::Shown((0..column.len()).map(shown).collect::<Result<_, _>>()?)
            }
        })
    }

    /// Appends the value of a row, unless there is none.
    fn write(&self, name: &str, row: usize, bytes: &mut Vec<u8>) {
        let mut field = |kind: u8, value: &[u8]| {
            for part in [name.as_bytes(), value] {
                bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
                bytes.extend_from_slice(part);
            }
            bytes.push(kind);
        };
        match self {
            Self::Integers(values) if values.is_valid(row) => {
                field(b'i', &values.value(row).to_le_bytes());
            }
            Self::Floats(values) if values.is_valid(row) => {
                let value = values.value(row);
                let value = if value.is_nan() { f64::NAN } else { value };
                field(b'f', &value.to_bits().to_le_bytes());
            }
            Self::Texts(values) if values.is_valid(row) => {
                field(b't', values.value(row).as_bytes());
            }
            Self::Shown(values) => {
                if let Some(text) = &values[row] {
                    field(b's', text.as_bytes());
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, StringArray};

    use super::*;

    type Named = (&'static str, ArrayRef);

    fn digest(batches: &[Vec<Named>]) -> String {
        let batches = batches.iter().map(|columns| RecordBatch::try_from_iter(columns.clone()));
        row_digest::<ArrowError>(batches).unwrap()
    }

    fn integers(values: &[Option<i64>]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    fn texts(values: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    #[test]
    fn a_digest_is_over_values_whoever_wrote_them() {
        let whole = vec![("a", integers(&[Some(1), Some(2)])), ("b", texts(&["x", "y"]))];
        let expected = digest(std::slice::from_ref(&whole));
        let views = cast(&whole[1].1, &DataType::Utf8View).unwrap();
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let same: [(&str, Vec<Vec<Named>>); 6] = [
            ("other order of columns", vec![vec![whole[1].clone(), whole[0].clone()]]),
            ("other types", vec![vec![("a", narrow), ("b", views)]]),
            (
                "other order of rows, in two batches",
                vec![
                    vec![("a", integers(&[Some(2)])), ("b", texts(&["y"]))],
                    vec![("a", integers(&[Some(1)])), ("b", texts(&["x"]))],
                ],
            ),
            (
                "a column without values",
                vec![[whole.clone(), vec![("later", integers(&[None, None]))]].concat()],
            ),
            (
                "another attempt",
                vec![[whole.clone(), vec![("attempt", integers(&[Some(1), Some(1)]))]].concat()],
            ),
            (
                "the parts of the path",
                vec![[whole.clone(), vec![("month", texts(&["2026-11", "2026-11"]))]].concat()],
            ),
        ];
        for (case, batches) in same {
            assert_eq!(digest(&batches), expected, "{case}");
        }
        let others: [(&str, Vec<Named>); 6] = [
            ("a value", vec![whole[0].clone(), ("b", texts(&["x", "z"]))]),
            ("values swapped", vec![whole[0].clone(), ("b", texts(&["y", "x"]))]),
            ("a value gone", vec![("a", integers(&[Some(1), None])), whole[1].clone()]),
            ("a name", vec![("c", whole[0].1.clone()), whole[1].clone()]),
            ("a kind", vec![("a", texts(&["1", "2"])), whole[1].clone()]),
            (
                "a column that says something",
                [whole.clone(), vec![("later", integers(&[None, Some(0)]))]].concat(),
            ),
        ];
        for (case, columns) in others {
            assert_ne!(digest(&[columns]), expected, "{case}");
        }
        let twice = digest(&[whole.clone(), whole]);
        assert_ne!(twice, expected, "rows that stand there twice");
    }

    /// What is stored must be found again by later dynos.
    #[test]
    fn the_rule_of_version_1_stays() {
        let columns = vec![
            ("benchmark", texts(&["sort"])),
            ("value", integers(&[Some(1000)])),
            ("variance", Arc::new(Float64Array::from(vec![0.25])) as ArrayRef),
        ];
        assert_eq!(
            digest(&[columns]),
            "1:627a3bc29f3fde642dc1c9179b2fb84219687e604af94f963301def641798304"
        );
    }
}
