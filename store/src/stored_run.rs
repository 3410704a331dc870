//! A run row: where it lies, what it says, and its columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::error::ArrowError;
use dyno_model::id::Digest;
use dyno_model::record::RunRow;
use object_store::path::Path;

use crate::error::Fault;
use crate::files::parquet_fault;
use crate::layout::{Folder, Shard, month};
use crate::row_digest::row_digest;
use crate::schema;
use crate::signature::{HostKeys, Signer, verify};

/// One run row that was read.
#[derive(Debug)]
pub struct StoredRun {
    /// What the names of this record's files have in common. They follow from nothing else: a job
    /// that was published as a further attempt lies under another name than its first.
    pub shard: Shard,
    pub run: RunRow,
    /// Who signed it; `None` of a row without a signature.
    pub signer: Option<Signer>,
    /// The environment of the run, as [`environment`] gives it.
    pub environment: String,
    /// The row as the table `runs` shows it, with the columns of [`schema::partitions`] behind.
    pub columns: RecordBatch,
}

impl StoredRun {
    /// Path of this record's file in `folder`, relative to the store.
    pub fn path(&self, folder: Folder) -> Path {
        self.shard.path(folder)
    }

    /// Whether its host signed it, with a key that the catalog has for that host.
    pub const fn is_signed_by_host(&self) -> bool {
        matches!(self.signer, Some(Signer::Host(_)))
    }

    /// Decodes the rows of a checked file of `runs`.
    pub(crate) fn decode(
        shard: Shard,
        batches: &[RecordBatch],
        signature: Option<&str>,
        keys: &HostKeys,
    ) -> Result<Self, Fault> {
        let [batch] = batches else { return Err("holds no run row".into()) };
        if batch.num_rows() != 1 {
            return Err(format!("holds {} run rows, not one", batch.num_rows()));
        }
        let column = |name: &str| batch.column_by_name(name).ok_or(format!("has no `{name}`"));
        let provenance = column("provenance")?.as_string::<i32>().value(0);
        let run: RunRow = serde_json::from_str(provenance)
            .map_err(|e| format!("its provenance is not a run ({e})"))?;
        if run.job != shard.job {
            return Err("its run is another job's than its name says".into());
        }
        if month(run.finished_us).as_ref() != Some(&shard.month) {
            return Err("its run did not finish in the month that its name says".into());
        }
        if run.fingerprint.architecture != shard.arch {
            return Err("its run is of another architecture than its name says".into());
        }
        let signer = signature.map(|signature| {
            let digest = row_digest::<ArrowError>([Ok(batch.clone())]);
            let key = verify(signature, &digest.map_err(|e| parquet_fault(&e))?)?;
            Signer::new(&run.host, key, keys)
        });
        let signer = signer.transpose()?;
        let schema = schema::table_schema(Folder::Runs);
        let partitions = schema::partitions();
        let constants = schema::partition_values(&shard, &run);
        let signed_by: ArrayRef =
            Arc::new(StringArray::from(vec![signer.as_ref().map(ToString::to_string)]));
        let value = |name: &str, kind| -> Result<ArrayRef, Fault> {
            let array = match partitions.iter().position(|constant| constant.name() == name) {
                Some(place) => &constants[place],
                None if name == schema::SIGNED_BY => &signed_by,
                None => column(name)?,
            };
            cast(array, kind).map_err(|e| parquet_fault(&e))
        };
        let columns = schema.fields().iter().map(|f| value(f.name(), f.data_type()));
        let columns = RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_, _>>()?)
            .map_err(|e| parquet_fault(&e))?;
        let environment = environment(&run);
        Ok(Self { shard, run, signer, environment, columns })
    }
}

/// Fingerprint, image and host of a run in one text: where two runs agree in it, the noise of one
/// is the noise of the other.
pub fn environment(run: &RunRow) -> String {
    environment_of(&run.fingerprint.digest(), &run.image_id, &run.host)
}

/// [`environment`] of a run that is yet to come.
pub fn environment_of(fingerprint: &Digest, image: &Digest, host: &str) -> String {
    format!("{fingerprint} {image} {host}")
}
