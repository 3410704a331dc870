//! Publishing a record: its files in order, the run row last.

use arrow::error::ArrowError;
use bytes::Bytes;
use dyno_model::id::JobId;
use dyno_model::record::{QueueAttempt, Record, RunRow, Summary};
use dyno_model::verdict;
use object_store::path::Path;

use crate::encode;
use crate::error::{Error, Result};
use crate::files;
use crate::layout::{self, Folder, Shard};
use crate::put::{PutOutcome, create};
use crate::row_digest::row_digest;
use crate::signature::SigningKey;
use crate::store::Store;

/// What became of the files of one attempt.
enum Created {
    All,
    /// A name belongs to other bytes.
    NameTaken,
    /// Another attempt of the job of the queue counts.
    Superseded,
}

/// How many interrupted attempts of one job and month are stepped over before giving up.
const ATTEMPTS_MAX: u32 = 100;

/// What became of [`Store::publish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The files were written; `bytes` is their size together.
    Written { attempt: u32, bytes: u64 },
    /// The job has a run row already; nothing was written.
    AlreadyPublished,
    /// Another attempt of the same job of the queue counts, or it was cancelled: there is no run row
    /// of this one.
    Superseded,
}

/// The files of a record, in order, and its run row with the digests of their rows; or why they
/// cannot be made. All bytes are made before any is written: what cannot be encoded leaves nothing.
fn encode_all(
    record: &Record,
    summaries: &[Summary],
    shard: &Shard,
    signer: Option<&SigningKey>,
) -> Result<(RunRow, Vec<(Folder, Bytes)>), String> {
    let mut batches = vec![
        (Folder::Samples, encode::samples(record, shard)),
        (Folder::Summaries, encode::summaries(&record.run, summaries, shard)),
    ];
    if !record.units.is_empty() {
        batches.push((Folder::Units, encode::units(record, shard)));
    }
    let digests = batches.iter().map(|(folder, batch)| {
        let digest = row_digest::<ArrowError>([Ok(batch.clone())]);
        Ok((folder.name().to_string(), digest.map_err(|e| e.to_string())?))
    });
    let row_digests = digests.collect::<Result<_, String>>()?;
    let run = RunRow { row_digests, ..record.run.clone() };
    let provenance = serde_json::to_string(&run).expect("plain fields serialise");
    batches.push((Folder::Runs, encode::run(&run, &provenance, shard)));
    let mut encoded = Vec::new();
    for (folder, batch) in &batches {
        let signer = signer.filter(|_| *folder == Folder::Runs);
        let signature = signer.map(|key| {
            let digest = row_digest::<ArrowError>([Ok(batch.clone())]);
            digest.map(|digest| key.sign(&digest)).map_err(|e| e.to_string())
        });
        let bytes = encode::file_bytes(*folder, batch, &run, &provenance, signature.transpose()?);
        let bytes: Bytes = bytes.map_err(|e| e.to_string())?.into();
        // What could not be read is not written.
        drop(files::open(bytes.clone(), *folder, shard, |s| s)?);
        encoded.push((*folder, bytes));
    }
    Ok((run, encoded))
}

impl Store {
    /// Writes `record`: samples, then summaries, then units where it has any, then the run row, which
    /// is the commit point.
    ///
    /// Every file is created, never replaced. An attempt that died before its run row leaves files
    /// that nobody sees; the same record goes on with them, another one takes the next free name
    /// (`<job>.1.parquet`, …) for all of its own. If two publish one job at once, both succeed;
    /// readers take the first if both are equal, and believe neither if they differ. Each file is
    /// on the disk before the next is begun. The run row gets a digest of the rows of each table,
    /// and is signed where the store has a key for that.
    ///
    /// # Errors
    /// [`Error::Unstorable`] for a record whose architecture or times do not name a place, or with
    /// numbers that are not finite; [`Error::Unavailable`] if the store cannot be read or written.
    pub async fn publish(&self, record: &Record) -> Result<PublishOutcome> {
        let run = &record.run;
        let unstorable = |why: String| Error::Unstorable { job: run.job.to_string(), why };
        let arch = &run.fingerprint.architecture;
        if !layout::is_arch(arch) {
            let arch = arch.escape_debug();
            return Err(unstorable(format!("its architecture `{arch}` cannot name a folder")));
        }
        let month = layout::month(run.finished_us)
            .ok_or_else(|| unstorable(format!("it finished at {} µs", run.finished_us)))?;
        let provenance = serde_json::to_string(run).expect("plain fields serialise");
        if serde_json::from_str::<RunRow>(&provenance).ok().as_ref() != Some(run) {
            return Err(unstorable("a share or duration in its run is not a finite number".into()));
        }
        self.check_place()?;
        if self.has_run(&run.job).await? {
            return Ok(PublishOutcome::AlreadyPublished);
        }
        let summaries = verdict::summarise(&record.samples);
        for attempt in 0..ATTEMPTS_MAX {
            let (job, month, arch) = (run.job.clone(), month.clone(), arch.clone());
            let shard = Shard { job, month, attempt, arch };
            let (run, encoded) =
                encode_all(record, &summaries, &shard, self.signer()).map_err(&unstorable)?;
            let size = encoded.iter().map(|(_, bytes)| bytes.len() as u64).sum();
            match self.create_all(&shard, &run, encoded).await? {
                Created::All => return Ok(PublishOutcome::Written { attempt, bytes: size }),
                Created::Superseded => return Ok(PublishOutcome::Superseded),
                Created::NameTaken => {}
            }
        }
        Err(unstorable(format!("{ATTEMPTS_MAX} interrupted attempts of it are in the store")))
    }

    /// Creates the files in order, the run row only if its attempt is the one that counts.
    async fn create_all(
        &self,
        shard: &Shard,
        run: &RunRow,
        files: Vec<(Folder, Bytes)>,
    ) -> Result<Created> {
        for (folder, bytes) in files {
            let (path, local) = (shard.path(folder), self.local());
            if let (Folder::Runs, Some(attempt)) = (folder, &run.queue)
                && !self.admit(attempt, &run.job, &path, &bytes).await?
            {
                return Ok(Created::Superseded);
            }
            self.notify_watch(folder, false);
            let outcome = create(self.objects().as_ref(), local, &path, bytes).await;
            self.notify_watch(folder, true);
            match outcome.map_err(|error| self.unavailable(&format!("write {path} in"), &error))? {
                PutOutcome::Written => {}
                PutOutcome::NameTaken => return Ok(Created::NameTaken),
            }
        }
        Ok(Created::All)
    }

    async fn admit(
        &self,
        attempt: &QueueAttempt,
        job: &JobId,
        path: &Path,
        row: &[u8],
    ) -> Result<bool> {
        let Some(gate) = self.gate() else {
            let why = "it was measured for a queue, which is not at hand".to_string();
            return Err(Error::Unstorable { job: job.to_string(), why });
        };
        let url = self.url().to_string();
        let admitted = gate.admit(attempt, job, path, row).await;
        admitted.map_err(|why| Error::Unavailable { url, why })
    }
}
