//! The columns of the stored tables. Files say `Utf8`; tables read it as `Utf8View`, which
//! DataFusion groups and filters fastest, with the partition columns `arch` and `month` behind.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use dyno_model::record::RunRow;

use crate::layout::{Folder, Shard};

/// The type of times: microseconds, UTC.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Name, type, and whether it may be null.
type Column = (&'static str, DataType, bool);

/// A list, its elements named as Parquet wants it.
pub fn list(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", element, false)))
}

use DataType::{Boolean, Float64, Int32, Int64, UInt64, Utf8};

fn samples() -> Vec<Column> {
    vec![
        ("series", Int64, false),
        ("benchmark", Utf8, false),
        ("config", Utf8, false),
        ("metric", Utf8, false),
        ("unit", Utf8, true),
        ("round", Int32, false),
        ("side", Utf8, false),
        ("sequence", Int32, false),
        ("value", Int64, false),
        ("taint", Utf8, false),
        ("job", Utf8, false),
        ("attempt", Int32, false),
        ("suite", Utf8, false),
        ("host", Utf8, false),
        ("commit", Utf8, false),
        ("artifact", Utf8, true),
        ("finished", timestamp(), false),
    ]
}

fn summaries() -> Vec<Column> {
    vec![
        ("series", Int64, false),
        ("benchmark", Utf8, false),
        ("config", Utf8, false),
        ("metric", Utf8, false),
        ("unit", Utf8, true),
        ("better", Utf8, true),
        ("rounds", Int32, false),
        ("mean_log_ratio", Float64, true),
        ("variance", Float64, true),
        ("baseline_median", Float64, true),
        ("baseline_min", Int64, true),
        ("baseline_max", Int64, true),
        ("candidate_median", Float64, true),
        ("candidate_min", Int64, true),
        ("candidate_max", Int64, true),
        ("tainted", Int32, false),
        ("job", Utf8, false),
        ("attempt", Int32, false),
        ("suite", Utf8, false),
        ("host", Utf8, false),
        ("fingerprint", Utf8, false),
        ("engine", Utf8, false),
        ("baseline_commit", Utf8, false),
        ("candidate_commit", Utf8, false),
        ("finished", timestamp(), false),
    ]
}

/// Columns of `summaries` that a file has only where one of its rows says something there: a dyno
/// of before knew none of them.
fn optional_summaries() -> Vec<Column> {
    vec![
        ("zero_baseline", Int32, true),
        ("zero_candidate", Int32, true),
        ("zero_grew", Int32, true),
        ("zero_shrank", Int32, true),
        ("disturbed_baseline", Int32, true),
        ("disturbed_candidate", Int32, true),
        ("state_values", list(Int64), true),
        ("state_baseline", list(Int32), true),
        ("state_candidate", list(Int32), true),
        ("state_rose", Int32, true),
        ("state_fell", Int32, true),
    ]
}

fn units() -> Vec<Column> {
    vec![
        ("benchmark", Utf8, false),
        ("config", Utf8, false),
        ("round", Int32, false),
        ("side", Utf8, false),
        ("sequence", Int32, false),
        ("unit", Int32, false),
        ("name", Utf8, false),
        ("version", Utf8, false),
        ("kind", Utf8, false),
        ("start_ns", Int64, false),
        ("metadata_ns", Int64, true),
        ("codegen_ns", Int64, true),
        ("link_ns", Int64, true),
        ("end_ns", Int64, false),
        ("user_ns", Int64, false),
        ("system_ns", Int64, false),
        ("max_rss_bytes", Int64, false),
        ("threads", Int32, false),
        ("needs_metadata", list(Int32), false),
        ("needs_end", list(Int32), false),
        ("taint", Utf8, false),
        ("job", Utf8, false),
        ("attempt", Int32, false),
        ("suite", Utf8, false),
        ("host", Utf8, false),
        ("commit", Utf8, false),
        ("finished", timestamp(), false),
    ]
}

fn runs() -> Vec<Column> {
    vec![
        ("job", Utf8, false),
        ("attempt", Int32, false),
        ("dyno_version", Utf8, false),
        ("suite", Utf8, false),
        ("suite_digest", Utf8, false),
        ("target", Utf8, false),
        ("image", Utf8, false),
        ("image_id", Utf8, false),
        ("host", Utf8, false),
        ("fingerprint", Utf8, false),
        ("engine", Utf8, false),
        ("cpu", Utf8, false),
        ("microcode", Utf8, false),
        ("kernel", Utf8, false),
        ("governor", Utf8, false),
        ("cores", Int32, false),
        ("memory_bytes", Int64, false),
        ("virtualised", Boolean, false),
        ("cgroup", Utf8, false),
        ("benchmark_cores", Utf8, false),
        ("baseline_asked", Utf8, false),
        ("baseline_commit", Utf8, false),
        ("baseline_artifact", Utf8, true),
        ("candidate_asked", Utf8, false),
        ("candidate_commit", Utf8, false),
        ("candidate_artifact", Utf8, true),
        ("metrics", Utf8, false),
        ("rounds", Int32, false),
        ("seed", UInt64, false),
        ("outcome", Utf8, false),
        ("failed", Int32, false),
        ("failures", Utf8, false),
        ("notices", Utf8, false),
        ("started", timestamp(), false),
        ("finished", timestamp(), false),
        ("measured_share", Float64, false),
        ("provenance", Utf8, false),
    ]
}

fn schema(columns: Vec<Column>) -> SchemaRef {
    let field = |(name, kind, null)| Field::new(name, kind, null);
    Arc::new(Schema::new(columns.into_iter().map(field).collect::<Vec<_>>()))
}

/// The schema of the files in `folder`: what every file of it has.
pub fn file_schema(folder: Folder) -> SchemaRef {
    schema(columns(folder))
}

fn columns(folder: Folder) -> Vec<Column> {
    match folder {
        Folder::Samples => samples(),
        Folder::Summaries => summaries(),
        Folder::Units => units(),
        Folder::Runs => runs(),
    }
}

/// The columns that a file in `folder` may have besides, behind the others: one that it lacks is
/// null.
pub fn optional_columns(folder: Folder) -> SchemaRef {
    schema(match folder {
        Folder::Summaries => optional_summaries(),
        _ => Vec::new(),
    })
}

/// The schema of the files in `folder` with all that they may have.
pub fn full_schema(folder: Folder) -> SchemaRef {
    let mut fields = file_schema(folder).fields().to_vec();
    fields.extend(optional_columns(folder).fields().iter().cloned());
    Arc::new(Schema::new(fields))
}

/// The columns of `folder` as a scan gives them, before those of [`partitions`]: strings as views,
/// and lists of elements that may be null, as which most writers have them.
pub fn scan_schema(folder: Folder) -> SchemaRef {
    let views = with_string_views(&full_schema(folder));
    let nullable = |field: &Arc<Field>| match field.data_type() {
        DataType::List(element) => {
            let element = element.as_ref().clone().with_nullable(true);
            Arc::new(field.as_ref().clone().with_data_type(DataType::List(Arc::new(element))))
        }
        _ => Arc::clone(field),
    };
    Arc::new(Schema::new(views.fields().iter().map(nullable).collect::<Vec<_>>()))
}

/// `schema` with strings as views.
pub(crate) fn with_string_views(schema: &Schema) -> SchemaRef {
    let view = |field: &Arc<Field>| match field.data_type() {
        Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => Arc::clone(field),
    };
    Arc::new(Schema::new(schema.fields().iter().map(view).collect::<Vec<_>>()))
}

/// What is the same for every row of a file and stands in none of them: the parts of its path, and
/// what its run's provenance says. What a later dyno wants to tell of old runs too belongs here:
/// files of a store keep one set of columns, which other readers ask for.
pub fn partitions() -> Vec<Arc<Field>> {
    let columns = [("arch", Utf8), ("month", Utf8), ("emulated", Boolean), ("trust", Utf8)];
    columns.map(|(name, kind)| Arc::new(Field::new(name, kind, false))).to_vec()
}

/// The values of [`partitions`], in their order, as arrays of one element.
pub fn partition_values(shard: &Shard, run: &RunRow) -> [ArrayRef; 4] {
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let emulated = Arc::new(BooleanArray::from(vec![run.fingerprint.emulator.is_some()]));
    [text(&shard.arch), text(&shard.month), emulated, text(run.trust.name())]
}

/// The last column of the table `runs`: the host that signed the row, or the key, where the catalog
/// has none of the row's host.
pub const SIGNED_BY: &str = "signed_by";

/// The schema of the table over `folder`.
pub fn table_schema(folder: Folder) -> SchemaRef {
    let mut fields = scan_schema(folder).fields().to_vec();
    fields.extend(partitions());
    if folder == Folder::Runs {
        fields.push(Arc::new(Field::new(SIGNED_BY, DataType::Utf8View, true)));
    }
    Arc::new(Schema::new(fields))
}
