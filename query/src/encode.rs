//! A record as Parquet: tables of columns, and the bytes of their files.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;
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

/// Keys of the files' key-value metadata.
pub(crate) const SCHEMA_KEY: &str = "dyno.schema";
pub(crate) const TABLE_KEY: &str = "dyno.table";
pub(crate) const JOB_KEY: &str = "dyno.job";
pub(crate) const VERSION_KEY: &str = "dyno.version";
pub(crate) const PROVENANCE_KEY: &str = "dyno.provenance";

/// The integer that stands for a series: the first 63 bits of a hash of (suite, benchmark,
/// config, metric, host, fingerprint). Grouping by it is twice as fast as by the names.
pub(crate) fn series(run: &RunRow, benchmark: &str, config: &str, metric: &str) -> i64 {
    let fingerprint = run.fingerprint.digest();
    let parts = [&run.suite, benchmark, config, metric, &run.host, fingerprint.hex()];
    let digest = Digest::of_parts(parts);
    let bits = u64::from_str_radix(&digest.hex()[..16], 16).expect("a digest is hexadecimal");
    (bits >> 1) as i64
}

/// Counts beyond i32 do not occur; were they to, the largest says more than a wrapped one.
fn small(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// The commit of each side, as [`Side`] counts them.
fn commits(run: &RunRow) -> [String; 2] {
    [run.baseline.commit.to_string(), run.candidate.commit.to_string()]
}

/// Columns by name; a name that the schema lacks is our bug.
struct Columns(Vec<(&'static str, ArrayRef)>);

impl Columns {
    fn text<'a>(&mut self, name: &'static str, values: impl Iterator<Item = &'a str>) {
        self.0.push((name, Arc::new(StringArray::from_iter_values(values))));
    }

    fn optional_text<S: AsRef<str>>(
        &mut self,
        name: &'static str,
        values: impl Iterator<Item = Option<S>>,
    ) {
        self.0.push((name, Arc::new(values.collect::<StringArray>())));
    }

    fn lists(&mut self, name: &'static str, values: impl Iterator<Item = Vec<u32>>) {
        let values: Vec<Vec<u32>> = values.collect();
        let all = values.iter().flatten().map(|value| small(*value));
        let items = Arc::new(Int32Array::from_iter_values(all));
        let lengths = OffsetBuffer::from_lengths(values.iter().map(Vec::len));
        let DataType::List(element) = schema::list() else { unreachable!("a list") };
        self.0.push((name, Arc::new(ListArray::new(element, lengths, items, None))));
    }

    fn small(&mut self, name: &'static str, values: impl Iterator<Item = u32>) {
        self.0.push((name, Arc::new(Int32Array::from_iter_values(values.map(small)))));
    }

    fn integer(&mut self, name: &'static str, values: impl Iterator<Item = Option<i64>>) {
        self.0.push((name, Arc::new(values.collect::<Int64Array>())));
    }

    fn float(&mut self, name: &'static str, values: impl Iterator<Item = Option<f64>>) {
        self.0.push((name, Arc::new(values.collect::<Float64Array>())));
    }

    fn time(&mut self, name: &'static str, time_us: i64, rows: usize) {
        let array = TimestampMicrosecondArray::from_value(time_us, rows).with_timezone("UTC");
        self.0.push((name, Arc::new(array)));
    }

    /// What every row of a job's files says of the job.
    fn job(&mut self, run: &RunRow, shard: &Shard, rows: usize) {
        let job = run.job.to_string();
        self.text("job", std::iter::repeat_n(job.as_str(), rows));
        self.small("attempt", std::iter::repeat_n(shard.attempt, rows));
        self.text("suite", std::iter::repeat_n(run.suite.as_str(), rows));
        self.text("host", std::iter::repeat_n(run.host.as_str(), rows));
        self.time("finished", run.finished_us, rows);
    }

    fn batch(self, folder: Folder) -> RecordBatch {
        let schema = schema::of_files(folder);
        let column = |name: &str| {
            let found = self.0.iter().find(|(have, _)| *have == name);
            Arc::clone(&found.unwrap_or_else(|| panic!("no column {name}")).1)
        };
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
    let all = || rows.iter();
    let mut columns = Columns(Vec::new());
    let keys = all().map(|s| Some(series(run, &s.benchmark, &s.config, &s.metric)));
    columns.integer("series", keys);
    columns.text("benchmark", all().map(|s| s.benchmark.as_str()));
    columns.text("config", all().map(|s| s.config.as_str()));
    columns.text("metric", all().map(|s| s.metric.as_str()));
    columns.optional_text("unit", all().map(|s| metric::find(&s.metric).map(|m| m.unit.name())));
    columns.small("round", all().map(|s| s.round));
    columns.text("side", all().map(|s| s.side.name()));
    columns.small("sequence", all().map(|s| s.sequence));
    columns.integer("value", all().map(|s| Some(s.value)));
    columns.text("taint", all().map(|s| s.taint.as_str()));
    columns.text("commit", all().map(|s| commits[s.side as usize].as_str()));
    columns.optional_text("artifact", all().map(|s| artifacts[s.side as usize].as_deref()));
    columns.job(run, shard, rows.len());
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
    let all = || rows.iter();
    let mut columns = Columns(Vec::new());
    columns.text("benchmark", all().map(|u| u.benchmark.as_str()));
    columns.text("config", all().map(|u| u.config.as_str()));
    columns.small("round", all().map(|u| u.round));
    columns.text("side", all().map(|u| u.side.name()));
    columns.small("sequence", all().map(|u| u.sequence));
    columns.small("unit", all().map(|u| u.unit));
    columns.text("name", all().map(|u| u.name.as_str()));
    columns.text("version", all().map(|u| u.version.as_str()));
    columns.text("kind", all().map(|u| u.kind.name()));
    columns.integer("start_ns", all().map(|u| Some(u.start_ns)));
    columns.integer("metadata_ns", all().map(|u| u.metadata_ns));
    columns.integer("codegen_ns", all().map(|u| u.codegen_ns));
    columns.integer("link_ns", all().map(|u| u.link_ns));
    columns.integer("end_ns", all().map(|u| Some(u.end_ns)));
    columns.integer("user_ns", all().map(|u| Some(u.user_ns)));
    columns.integer("system_ns", all().map(|u| Some(u.system_ns)));
    columns.integer("max_rss_bytes", all().map(|u| Some(u.max_rss_bytes)));
    columns.small("threads", all().map(|u| u.threads));
    let needs = |u: &CompilationUnit, end: bool| {
        u.needs.iter().filter(|need| need.end == end).map(|need| need.unit).collect()
    };
    columns.lists("needs_metadata", all().map(|u| needs(u, false)));
    columns.lists("needs_end", all().map(|u| needs(u, true)));
    columns.text("taint", all().map(|u| u.taint.as_str()));
    columns.text("commit", all().map(|u| commits[u.side as usize].as_str()));
    columns.job(run, shard, rows.len());
    columns.batch(Folder::Units)
}

/// One row a series, in the order of `summaries`.
pub(crate) fn summaries(run: &RunRow, summaries: &[Summary], shard: &Shard) -> RecordBatch {
    let all = || summaries.iter();
    let rows = summaries.len();
    let mut columns = Columns(Vec::new());
    let keys = all().map(|s| Some(series(run, &s.benchmark, &s.config, &s.metric)));
    columns.integer("series", keys);
    columns.text("benchmark", all().map(|s| s.benchmark.as_str()));
    columns.text("config", all().map(|s| s.config.as_str()));
    columns.text("metric", all().map(|s| s.metric.as_str()));
    let known = |s: &Summary| metric::find(&s.metric);
    columns.optional_text("unit", all().map(|s| known(s).map(|m| m.unit.name())));
    columns.optional_text("better", all().map(|s| known(s).map(|m| m.better.name())));
    columns.small("rounds", all().map(|s| s.rounds));
    columns.float("mean_log_ratio", all().map(|s| s.mean_log_ratio));
    columns.float("variance", all().map(|s| s.variance));
    columns.float("baseline_median", all().map(|s| s.baseline.map(|e| e.median)));
    columns.integer("baseline_min", all().map(|s| s.baseline.map(|e| e.min)));
    columns.integer("baseline_max", all().map(|s| s.baseline.map(|e| e.max)));
    columns.float("candidate_median", all().map(|s| s.candidate.map(|e| e.median)));
    columns.integer("candidate_min", all().map(|s| s.candidate.map(|e| e.min)));
    columns.integer("candidate_max", all().map(|s| s.candidate.map(|e| e.max)));
    columns.small("tainted", all().map(|s| s.tainted));
    let fingerprint = run.fingerprint.digest().to_string();
    columns.text("fingerprint", std::iter::repeat_n(fingerprint.as_str(), rows));
    columns.text("engine", std::iter::repeat_n(run.fingerprint.engine.as_str(), rows));
    let commits = commits(run);
    columns.text("baseline_commit", std::iter::repeat_n(commits[0].as_str(), rows));
    columns.text("candidate_commit", std::iter::repeat_n(commits[1].as_str(), rows));
    columns.job(run, shard, rows);
    columns.batch(Folder::Summaries)
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain fields serialise")
}

/// The one row of a job; `provenance` is the whole `Run` as JSON.
pub(crate) fn run(run: &RunRow, provenance: &str, shard: &Shard) -> RecordBatch {
    let machine = &run.fingerprint;
    let mut columns = Columns(Vec::new());
    let mut text = |name, value: &str| columns.text(name, std::iter::once(value));
    text("dyno_version", &run.dyno_version);
    text("suite_digest", &run.suite_digest.to_string());
    text("target", &run.target);
    text("image", &run.image);
    text("image_id", &run.image_id.to_string());
    text("fingerprint", &machine.digest().to_string());
    text("engine", &machine.engine);
    text("cpu", &machine.cpu);
    text("microcode", &machine.microcode);
    text("kernel", &machine.kernel);
    text("governor", &machine.governor);
    text("cgroup", &machine.cgroup);
    text("benchmark_cores", &machine.benchmark_cores);
    text("baseline_asked", &run.baseline.asked);
    text("baseline_commit", &run.baseline.commit.to_string());
    text("candidate_asked", &run.candidate.asked);
    text("candidate_commit", &run.candidate.commit.to_string());
    text("metrics", &json(&run.metrics));
    text("failures", &json(&run.failures));
    text("notices", &json(&run.notices));
    text("provenance", provenance);
    let outcome = match run.outcome {
        Outcome::Done => "done",
        Outcome::FailedCase => "failed-case",
    };
    text("outcome", outcome);
    let artifact = |built: &Built| std::iter::once(built.artifact.as_ref().map(Digest::to_string));
    columns.optional_text("baseline_artifact", artifact(&run.baseline));
    columns.optional_text("candidate_artifact", artifact(&run.candidate));
    columns.small("cores", std::iter::once(machine.cores));
    columns.small("rounds", std::iter::once(run.rounds));
    columns.small("failed", std::iter::once(run.failures.len() as u32));
    let memory_bytes = i64::try_from(machine.memory_bytes).unwrap_or(i64::MAX);
    columns.integer("memory_bytes", std::iter::once(Some(memory_bytes)));
    columns.float("measured_share", std::iter::once(Some(run.measured_share)));
    columns.0.push(("virtualised", Arc::new(BooleanArray::from(vec![machine.virtualised]))));
    columns.0.push(("seed", Arc::new(UInt64Array::from(vec![run.seed]))));
    columns.time("started", run.started_us, 1);
    columns.job(run, shard, 1);
    columns.batch(Folder::Runs)
}

/// The bytes of the file of `batch`.
///
/// zstd; dictionaries for strings; `BYTE_STREAM_SPLIT` for values and statistics, whose bytes
/// compress better side by side; page index; bloom filters on what is looked up by equality,
/// sized by the rows, since the default of a million distinct values is a megabyte.
pub(crate) fn bytes(
    folder: Folder,
    batch: &RecordBatch,
    run: &RunRow,
    provenance: &str,
) -> Result<Vec<u8>, ParquetError> {
    let metadata = [
        (SCHEMA_KEY, SCHEMA_VERSION.to_string()),
        (TABLE_KEY, folder.name().to_string()),
        (JOB_KEY, run.job.to_string()),
        (VERSION_KEY, run.dyno_version.clone()),
        (PROVENANCE_KEY, provenance.to_string()),
    ];
    let metadata = metadata.map(|(key, value)| KeyValue::new(key.to_string(), value)).to_vec();
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("dyno {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_key_value_metadata(Some(metadata));
    let split: &[&str] = match folder {
        Folder::Samples => &["value"],
        Folder::Summaries => &["mean_log_ratio", "variance", "baseline_median", "candidate_median"],
        Folder::Units | Folder::Runs => &[],
    };
    for column in split {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(*column), false)
            .set_column_encoding(ColumnPath::from(*column), Encoding::BYTE_STREAM_SPLIT);
    }
    // What rises from row to row, but for a few steps back.
    let rising: &[&str] = match folder {
        Folder::Samples => &["sequence"],
        Folder::Units => &["unit", "start_ns", "metadata_ns", "codegen_ns", "link_ns", "end_ns"],
        Folder::Summaries | Folder::Runs => &[],
    };
    for column in rising {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(*column), false)
            .set_column_encoding(ColumnPath::from(*column), Encoding::DELTA_BINARY_PACKED);
    }
    let (looked_up, sorted): (&[&str], &[&str]) = match folder {
        Folder::Samples => {
            (&["commit", "benchmark"], &["benchmark", "config", "metric", "round", "side"])
        }
        Folder::Summaries => (
            &["baseline_commit", "candidate_commit", "benchmark"],
            &["benchmark", "config", "metric"],
        ),
        Folder::Units => {
            (&["commit", "benchmark"], &["benchmark", "config", "side", "round", "sequence"])
        }
        Folder::Runs => (&["baseline_commit", "candidate_commit"], &[]),
    };
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
    let properties =
        properties.set_sorting_columns((!sorted.is_empty()).then(|| order.collect())).build();
    let options =
        ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options)?;
    writer.write(batch)?;
    writer.into_inner()
}
