//! Names of files: `<table>/arch=<a>/month=<yyyy-mm>/<job>.parquet`, and `<job>.<n>.parquet` for
//! the n-th further attempt where an earlier one left the plain name taken.

use arrow::temporal_conversions::timestamp_us_to_datetime;
use dyno_model::id::JobId;
use object_store::path::Path;

/// A folder of the store, in the order in which a record's files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    Samples,
    Summaries,
    /// The units, of records that have some.
    Units,
    Runs,
}

impl Folder {
    /// Name of the folder and of the table over it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Summaries => "summaries",
            Self::Units => "units",
            Self::Runs => "runs",
        }
    }
}

/// What the files of one attempt have in common. Ordered so that of several attempts of one
/// job the first is the one that counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard {
    pub job: JobId,
    /// `yyyy-mm`, UTC, of when the job finished.
    pub month: String,
    pub attempt: u32,
    pub arch: String,
}

impl Shard {
    /// Path of the file in `folder`, relative to the store.
    pub fn path(&self, folder: Folder) -> Path {
        let Self { job, month, attempt, arch } = self;
        let name = match attempt {
            0 => format!("{job}.parquet"),
            n => format!("{job}.{n}.parquet"),
        };
        let [folder, arch, month] =
            [folder.name().to_string(), format!("arch={arch}"), format!("month={month}")];
        Path::from_iter([folder, arch, month, name])
    }

    /// The shard that `path` is a file of; `None` for a name that no publisher gives.
    pub fn parse(folder: Folder, path: &Path) -> Option<Self> {
        let parts: Vec<_> = path.parts().collect();
        let [top, arch, month, name] = parts.as_slice() else { return None };
        let arch = arch.as_ref().strip_prefix("arch=").filter(|a| is_arch(a))?.to_string();
        let month = month.as_ref().strip_prefix("month=").filter(|m| is_month(m))?.to_string();
        let stem = name.as_ref().strip_suffix(".parquet")?;
        let (job, attempt) = match stem.split_once('.') {
            None => (stem, 0),
            Some((job, n)) => (job, n.parse().ok().filter(|n| *n > 0)?),
        };
        let shard = Self { job: job.parse().ok()?, month, attempt, arch };
        // Written back, because `.01.` and the like parse but are nobody's name.
        (top.as_ref() == folder.name() && shard.path(folder) == *path).then_some(shard)
    }
}

/// Whether `text` can stand in a path as an architecture (`x86_64`, `aarch64` …).
pub(crate) fn is_arch(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_month(text: &str) -> bool {
    let is_numeric = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    text.len() == 7
        && text.split_once('-').is_some_and(|(y, m)| y.len() == 4 && is_numeric(y) && is_numeric(m))
}

/// `yyyy-mm` of a time in microseconds since 1970 (UTC); `None` outside the years 1970 to 9999.
pub(crate) fn month(time_us: i64) -> Option<String> {
    let text = timestamp_us_to_datetime(time_us)?.format("%Y-%m").to_string();
    (time_us >= 0 && is_month(&text)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_utc_and_bounded() {
        for (time_us, expected) in [
            (0, Some("1970-01")),
            (1_798_761_599_999_999, Some("2026-12")),
            (1_798_761_600_000_000, Some("2027-01")),
            (-1, None),
            (i64::MAX, None),
        ] {
            assert_eq!(month(time_us).as_deref(), expected, "{time_us}");
        }
    }

    #[test]
    fn paths_parse_to_what_made_them_and_nothing_else_does() {
        let job: JobId = "ab".repeat(16).parse().unwrap();
        for attempt in [0, 1, 12] {
            let (month, arch) = ("2026-11".into(), "x86_64".into());
            let shard = Shard { job: job.clone(), month, attempt, arch };
            assert_eq!(Shard::parse(Folder::Runs, &shard.path(Folder::Runs)), Some(shard));
        }
        for wrong in [
            "runs/x.parquet",
            "runs/arch=a/month=2026-11/x.parquet",
            &format!("runs/arch=a/month=2026-11/{job}.csv"),
            &format!("runs/arch=a/month=2026-11/{job}.0.parquet"),
            &format!("runs/arch=a/month=2026-11/{job}.01.parquet"),
            &format!("runs/arch=a/month=26-11/{job}.parquet"),
            &format!("runs/month=2026-11/arch=a/{job}.parquet"),
            &format!("samples/arch=a/month=2026-11/{job}.parquet"),
            &format!("runs/arch=a/month=2026-11/{job}.parquet/part-0.parquet"),
        ] {
            assert_eq!(Shard::parse(Folder::Runs, &Path::from(wrong)), None, "{wrong}");
        }
    }
}
