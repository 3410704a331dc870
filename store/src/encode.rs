//! A record as Parquet: tables of columns, and the bytes of their files.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, Float64Array, Int32Array, Int64Array,
    ListBuilder, PrimitiveBuilder, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow::datatypes::{DataType, FieldRef, Int32Type, Int64Type, Schema};
use dyno_model::id::Digest;
use dyno_model::metric;
use dyno_model::record::{
    Built, CompilationUnit, Outcome, Record, RunRow, SCHEMA_VERSION, Sample, Side, Summary,
};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use crate::layout::{Folder, Shard};
use crate::schema;
use crate::signature::SIGNATURE_KEY;

/// Keys of the files' key-value metadata.
pub(crate) const SCHEMA_KEY: &str = "dyno.schema";
pub(crate) const TABLE_KEY: &str = "dyno.table";
pub(crate) const JOB_KEY: &str = "dyno.job";
pub(crate) const VERSION_KEY: &str = "dyno.version";
pub(crate) const PROVENANCE_KEY: &str = "dyno.provenance";

/// The integer that stands for a series: the first 63 bits of a hash of (suite, benchmark,
/// config, metric, host, fingerprint). Grouping by it is twice as fast as by the names.
pub fn series(
    (suite, host, fingerprint): (&str, &str, &Digest),
    benchmark: &str,
    config: &str,
    metric: &str,
) -> i64 {
    let parts = [suite, benchmark, config, metric, host, fingerprint.hex()];
    let digest = Digest::of_parts(parts);
    let bits = u64::from_str_radix(&digest.hex()[..16], 16).expect("a digest is hexadecimal");
    (bits >> 1) as i64
}

/// Counts beyond i32 do not occur; were they to, the largest says more than a wrapped one.
fn int32(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// The commit of each side, as [`Side`] counts them.
fn commits(run: &RunRow) -> [String; 2] {
    [run.baseline.commit.to_string(), run.candidate.commit.to_string()]
}

/// The columns of `rows` by name; a name that the schema lacks is our bug.
struct Columns<'a, R> {
    rows: &'a [R],
    columns: Vec<(&'static str, ArrayRef)>,
}

impl<'a, R> Columns<'a, R> {
    fn new(rows: &'a [R]) -> Self {
        Self { rows, columns: Vec::new() }
    }

    fn push(&mut self, name: &'static str, array: impl Array + 'static) {
        self.columns.push((name, Arc::new(array)));
    }

    fn text<S: AsRef<str>>(&mut self, name: &'static str, value: impl Fn(&'a R) -> S) {
        self.push(name, StringArray::from_iter_values(self.rows.iter().map(value)));
    }

    fn optional_text<S: AsRef<str>>(
        &mut self,
        name: &'static str,
        value: impl Fn(&'a R) -> Option<S>,
    ) {
        self.push(name, self.rows.iter().map(value).collect::<StringArray>());
    }

    fn lists<T: ArrowPrimitiveType>(
        &mut self,
        name: &'static str,
        value: impl Fn(&'a R) -> Option<Vec<T::Native>>,
    ) {
        let DataType::List(element) = schema::list(T::DATA_TYPE) else { unreachable!("a list") };
        let mut lists = ListBuilder::new(PrimitiveBuilder::<T>::new()).with_field(element);
        for list in self.rows.iter().map(value) {
            lists.append_option(list.map(|list| list.into_iter().map(Some)));
        }
        self.push(name, lists.finish());
    }

    fn u32(&mut self, name: &'static str, value: impl Fn(&'a R) -> u32) {
        let values = self.rows.iter().map(|row| int32(value(row)));
        self.push(name, Int32Array::from_iter_values(values));
    }

    fn optional_u32(&mut self, name: &'static str, value: impl Fn(&'a R) -> Option<u32>) {
        let values = self.rows.iter().map(|row| value(row).map(int32));
        self.push(name, values.collect::<Int32Array>());
    }

    fn integer(&mut self, name: &'static str, value: impl Fn(&'a R) -> Option<i64>) {
        self.push(name, self.rows.iter().map(value).collect::<Int64Array>());
    }

    fn float(&mut self, name: &'static str, value: impl Fn(&'a R) -> Option<f64>) {
        self.push(name, self.rows.iter().map(value).collect::<Float64Array>());
    }

    fn time(&mut self, name: &'static str, time_us: i64) {
        let array = TimestampMicrosecondArray::from_value(time_us, self.rows.len());
        self.push(name, array.with_timezone("UTC"));
    }

    /// The columns that say of which job a row is, the same in all of a job's files.
    fn job(&mut self, run: &RunRow, shard: &Shard) {
        let job = run.job.to_string();
        self.text("job", |_| &job);
        self.u32("attempt", |_| shard.attempt);
        self.text("suite", |_| &run.suite);
        self.text("host", |_| &run.host);
        self.time("finished", run.finished_us);
    }

    fn batch(self, folder: Folder) -> RecordBatch {
        let column = |name: &str| {
            let column_found = self.columns.iter().find(|(have, _)| *have == name);
            Arc::clone(&column_found.unwrap_or_else(|| panic!("no column {name}")).1)
        };
        // An optional column that says nothing is left out.
        let says_something = |field: &&FieldRef| {
            let array = column(field.name());
            array.null_count() < array.len()
        };
        let mut fields = schema::file_schema(folder).fields().to_vec();
        let optional = schema::optional_columns(folder);
        fields.extend(optional.fields().iter().filter(says_something).cloned());
        let schema = Arc::new(Schema::new(fields));
        let columns = schema.fields().iter().map(|field| column(field.name())).collect();
        RecordBatch::try_new(Arc::clone(&schema), columns).expect("columns are as the schema says")
    }
}

/// One row a sample, sorted by (benchmark, config, metric, round, side, sequence).
pub(crate) fn samples(record: &Record, shard: &Shard) -> RecordBatch {
    let run = &record.run;
    let mut rows: Vec<&Sample> = record.samples.iter().collect();
    rows.sort_by(|a, b| {
        let key = |s: &Sample| (s.round, s.side, s.sequence);
        let names = a.benchmark.cmp(&b.benchmark).then_with(|| a.config.cmp(&b.config));
        names.then_with(|| a.metric.cmp(&b.metric)).then_with(|| key(a).cmp(&key(b)))
    });
    let built = |side: Side| match side {
        Side::Baseline => &run.baseline,
        Side::Candidate => &run.candidate,
    };
    let commits = commits(run);
    let artifacts = Side::BOTH.map(|side| built(side).artifact.as_ref().map(Digest::to_string));
    let mut columns = Columns::new(&rows);
    let fingerprint = run.fingerprint.digest();
    let place = (run.suite.as_str(), run.host.as_str(), &fingerprint);
    columns.integer("series", |s| Some(series(place, &s.benchmark, &s.config, &s.metric)));
    columns.text("benchmark", |s| s.benchmark.as_str());
    columns.text("config", |s| s.config.as_str());
    columns.text("metric", |s| s.metric.as_str());
    columns.optional_text("unit", |s| metric::find(&s.metric).map(|m| m.unit.name()));
    columns.u32("round", |s| s.round);
    columns.text("side", |s| s.side.name());
    columns.u32("sequence", |s| s.sequence);
    columns.integer("value", |s| Some(s.value));
    columns.text("taint", |s| s.taint.as_str());
    columns.text("commit", |s| commits[s.side as usize].as_str());
    columns.optional_text("artifact", |s| artifacts[s.side as usize].as_deref());
    columns.job(run, shard);
    columns.batch(Folder::Samples)
}

/// One row a unit, sorted by (benchmark, config, side, round, sequence, unit).
pub(crate) fn units(record: &Record, shard: &Shard) -> RecordBatch {
    let run = &record.run;
    let mut rows: Vec<&CompilationUnit> = record.units.iter().collect();
    rows.sort_by(|a, b| {
        let key = |u: &CompilationUnit| (u.side, u.round, u.sequence, u.unit);
        let names = a.benchmark.cmp(&b.benchmark).then_with(|| a.config.cmp(&b.config));
        names.then_with(|| key(a).cmp(&key(b)))
    });
    let commits = commits(run);
    let mut columns = Columns::new(&rows);
    columns.text("benchmark", |u| u.benchmark.as_str());
    columns.text("config", |u| u.config.as_str());
    columns.u32("round", |u| u.round);
    columns.text("side", |u| u.side.name());
    columns.u32("sequence", |u| u.sequence);
    columns.u32("unit", |u| u.unit);
    columns.text("name", |u| u.name.as_str());
    columns.text("version", |u| u.version.as_str());
    columns.text("kind", |u| u.kind.name());
    columns.integer("start_ns", |u| Some(u.start_ns));
    columns.integer("metadata_ns", |u| u.metadata_ns);
    columns.integer("codegen_ns", |u| u.codegen_ns);
    columns.integer("link_ns", |u| u.link_ns);
    columns.integer("end_ns", |u| Some(u.end_ns));
    columns.integer("user_ns", |u| Some(u.user_ns));
    columns.integer("system_ns", |u| Some(u.system_ns));
    columns.integer("max_rss_bytes", |u| Some(u.max_rss_bytes));
    columns.u32("threads", |u| u.threads);
    let needs = |u: &CompilationUnit, end: bool| {
        Some(u.needs.iter().filter(|need| need.end == end).map(|need| int32(need.unit)).collect())
    };
    columns.lists::<Int32Type>("needs_metadata", |u| needs(u, false));
    columns.lists::<Int32Type>("needs_end", |u| needs(u, true));
    columns.text("taint", |u| u.taint.as_str());
    columns.text("commit", |u| commits[u.side as usize].as_str());
    columns.job(run, shard);
    columns.batch(Folder::Units)
}

/// One row a series, in the order of `summaries`.
pub(crate) fn summaries(run: &RunRow, summaries: &[Summary], shard: &Shard) -> RecordBatch {
    let mut columns = Columns::new(summaries);
    let fingerprint = run.fingerprint.digest();
    let place = (run.suite.as_str(), run.host.as_str(), &fingerprint);
    columns.integer("series", |s| Some(series(place, &s.benchmark, &s.config, &s.metric)));
    columns.text("benchmark", |s| s.benchmark.as_str());
    columns.text("config", |s| s.config.as_str());
    columns.text("metric", |s| s.metric.as_str());
    let metric_of = |s: &Summary| metric::find(&s.metric);
    columns.optional_text("unit", |s| metric_of(s).map(|m| m.unit.name()));
    columns.optional_text("better", |s| metric_of(s).map(|m| m.better.name()));
    columns.u32("rounds", |s| s.rounds);
    columns.float("mean_log_ratio", |s| s.mean_log_ratio);
    columns.float("variance", |s| s.variance);
    columns.float("baseline_median", |s| s.baseline.map(|e| e.median));
    columns.integer("baseline_min", |s| s.baseline.map(|e| e.min));
    columns.integer("baseline_max", |s| s.baseline.map(|e| e.max));
    columns.float("candidate_median", |s| s.candidate.map(|e| e.median));
    columns.integer("candidate_min", |s| s.candidate.map(|e| e.min));
    columns.integer("candidate_max", |s| s.candidate.map(|e| e.max));
    columns.u32("tainted", |s| s.tainted);
    columns.optional_u32("zero_baseline", |s| s.zeros.map(|zeros| zeros.baseline));
    columns.optional_u32("zero_candidate", |s| s.zeros.map(|zeros| zeros.candidate));
    columns.optional_u32("zero_grew", |s| s.zeros.map(|zeros| zeros.grew));
    columns.optional_u32("zero_shrank", |s| s.zeros.map(|zeros| zeros.shrank));
    columns.optional_u32("disturbed_baseline", |s| s.disturbed.map(|sides| sides.baseline));
    columns.optional_u32("disturbed_candidate", |s| s.disturbed.map(|sides| sides.candidate));
    let states = |s: &Summary| s.states.clone();
    columns.lists::<Int64Type>("state_values", |s| {
        Some(states(s)?.states.iter().map(|state| state.value).collect())
    });
    columns.lists::<Int32Type>("state_baseline", |s| {
        Some(states(s)?.states.iter().map(|state| int32(state.baseline)).collect())
    });
    columns.lists::<Int32Type>("state_candidate", |s| {
        Some(states(s)?.states.iter().map(|state| int32(state.candidate)).collect())
    });
    columns.optional_u32("state_rose", |s| states(s).map(|states| states.rose));
    columns.optional_u32("state_fell", |s| states(s).map(|states| states.fell));
    let fingerprint = fingerprint.to_string();
    columns.text("fingerprint", |_| fingerprint.as_str());
    columns.text("engine", |_| run.fingerprint.engine.as_str());
    let commits = commits(run);
    columns.text("baseline_commit", |_| commits[0].as_str());
    columns.text("candidate_commit", |_| commits[1].as_str());
    columns.job(run, shard);
    columns.batch(Folder::Summaries)
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain fields serialise")
}

/// The one row of a job; `provenance` is the whole `RunRow` as JSON.
pub(crate) fn run(run: &RunRow, provenance: &str, shard: &Shard) -> RecordBatch {
    let machine = &run.fingerprint;
    let outcome = match run.outcome {
        Outcome::Done => "done",
        Outcome::FailedCase => "failed-case",
    };
    let rows = [run];
    let mut columns = Columns::new(&rows);
    columns.text("dyno_version", |run| &run.dyno_version);
    columns.text("suite_digest", |run| run.suite_digest.to_string());
    columns.text("target", |run| &run.target);
    columns.text("image", |run| &run.image);
    columns.text("image_id", |run| run.image_id.to_string());
    columns.text("fingerprint", |_| machine.digest().to_string());
    columns.text("engine", |_| &machine.engine);
    columns.text("cpu", |_| &machine.cpu);
    columns.text("microcode", |_| &machine.microcode);
    columns.text("kernel", |_| &machine.kernel);
    columns.text("governor", |_| &machine.governor);
    columns.text("cgroup", |_| &machine.cgroup);
    columns.text("benchmark_cores", |_| &machine.benchmark_cores);
    columns.text("baseline_asked", |run| &run.baseline.asked);
    columns.text("baseline_commit", |run| run.baseline.commit.to_string());
    columns.text("candidate_asked", |run| &run.candidate.asked);
    columns.text("candidate_commit", |run| run.candidate.commit.to_string());
    columns.text("metrics", |run| json(&run.metrics));
    columns.text("failures", |run| json(&run.failures));
    columns.text("notices", |run| json(&run.notices));
    columns.text("provenance", |_| provenance);
    columns.text("outcome", |_| outcome);
    let artifact = |built: &Built| built.artifact.as_ref().map(Digest::to_string);
    columns.optional_text("baseline_artifact", |run| artifact(&run.baseline));
    columns.optional_text("candidate_artifact", |run| artifact(&run.candidate));
    columns.u32("cores", |_| machine.cores);
    columns.u32("rounds", |run| run.rounds);
    columns.u32("failed", |run| run.failures.len() as u32);
    let memory_bytes = i64::try_from(machine.memory_bytes).unwrap_or(i64::MAX);
    columns.integer("memory_bytes", |_| Some(memory_bytes));
    columns.float("measured_share", |run| Some(run.measured_share));
    columns.push("virtualised", BooleanArray::from(vec![machine.virtualised]));
    columns.push("seed", UInt64Array::from(vec![run.seed]));
    columns.time("started", run.started_us);
    columns.job(run, shard);
    columns.batch(Folder::Runs)
}

/// How the columns of a file are encoded and found.
struct FileTraits {
    /// Values and statistics: their bytes compress better side by side (`BYTE_STREAM_SPLIT`).
    split: &'static [&'static str],
    /// What rises from row to row, but for a few steps back (`DELTA_BINARY_PACKED`).
    rising: &'static [&'static str],
    /// What is looked up by equality (bloom filter).
    looked_up: &'static [&'static str],
    /// What the rows are sorted by.
    sorted: &'static [&'static str],
}

const fn file_traits(folder: Folder) -> FileTraits {
    match folder {
        Folder::Samples => FileTraits {
            split: &["value"],
            rising: &["sequence"],
            looked_up: &["commit", "benchmark"],
            sorted: &["benchmark", "config", "metric", "round", "side"],
        },
        Folder::Summaries => FileTraits {
            split: &["mean_log_ratio", "variance", "baseline_median", "candidate_median"],
            rising: &[],
            looked_up: &["baseline_commit", "candidate_commit", "benchmark"],
            sorted: &["benchmark", "config", "metric"],
        },
        Folder::Units => FileTraits {
            split: &[],
            rising: &["unit", "start_ns", "metadata_ns", "codegen_ns", "link_ns", "end_ns"],
            looked_up: &["commit", "benchmark"],
            sorted: &["benchmark", "config", "side", "round", "sequence"],
        },
        Folder::Runs => FileTraits {
            split: &[],
            rising: &[],
            looked_up: &["baseline_commit", "candidate_commit"],
            sorted: &[],
        },
    }
}

/// The bytes of the file of `batch`, with what says whose it is.
pub(crate) fn file_bytes(
    folder: Folder,
    batch: &RecordBatch,
    run: &RunRow,
    provenance: &str,
    signature: Option<String>,
) -> Result<Vec<u8>, ParquetError> {
    let metadata = [
        (SCHEMA_KEY, SCHEMA_VERSION.to_string()),
        (TABLE_KEY, folder.name().to_string()),
        (JOB_KEY, run.job.to_string()),
        (VERSION_KEY, run.dyno_version.clone()),
        (PROVENANCE_KEY, provenance.to_string()),
    ];
    let signature = signature.map(|signature| (SIGNATURE_KEY, signature));
    let metadata = metadata.into_iter().chain(signature);
    let metadata = metadata.map(|(key, value)| KeyValue::new(key.to_string(), value)).collect();
    let options = ArrowWriterOptions::new()
        .with_properties(writer_properties(folder, batch, metadata)?)
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options)?;
    writer.write(batch)?;
    writer.into_inner()
}

/// zstd; dictionaries for strings; the encodings of [`FileTraits`]; page index; bloom filters
/// sized by the rows, since the default of a million distinct values is a megabyte.
fn writer_properties(
    folder: Folder,
    batch: &RecordBatch,
    metadata: Vec<KeyValue>,
) -> Result<WriterProperties, ParquetError> {
    let FileTraits { split, rising, looked_up, sorted } = file_traits(folder);
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("dyno {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_key_value_metadata(Some(metadata));
    let split = split.iter().map(|column| (*column, Encoding::BYTE_STREAM_SPLIT));
    let rising = rising.iter().map(|column| (*column, Encoding::DELTA_BINARY_PACKED));
    for (column, encoding) in split.chain(rising) {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(column), false)
            .set_column_encoding(ColumnPath::from(column), encoding);
    }
    let distinct = batch.num_rows().clamp(1, 1024) as u64;
    for column in looked_up {
        let column = ColumnPath::from(*column);
        properties = properties
            .set_column_bloom_filter_enabled(column.clone(), true)
            .set_column_bloom_filter_max_ndv(column, distinct);
    }
    let place = |name: &&str| batch.schema().index_of(name).expect("a column of the schema");
    let order = sorted.iter().map(place).map(|index| SortingColumn {
        column_idx: index as i32,
        descending: false,
        nulls_first: false,
    });
    let order = (!sorted.is_empty()).then(|| order.collect());
    Ok(properties.set_sorting_columns(order).build())
}
