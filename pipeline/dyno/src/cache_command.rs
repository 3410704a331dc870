//! `dyno cache`: what the cache holds, and removing what was not used for long.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use dyno_base::cache::{self, CacheLock, Entry, KINDS, bytes_of};
use dyno_base::error::Result;
use dyno_base::scratch::sweep_scratch;
use dyno_base::text::{ago, columns};
use dyno_model::text::plural;
use indicatif::HumanBytes;
use serde::Serialize;

use crate::show::print_as;

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List what the cache holds: what for, how large, and when it was used last
    List,
    /// Remove what can be made or fetched again; records that wait to be published stay
    Prune(Prune),
}

#[derive(Debug, Args)]
pub struct Prune {
    /// What was not used for so long: 12h, 14d, 8w
    #[arg(long, value_name = "TIME", value_parser = seconds, required_unless_present = "all")]
    older_than: Option<u64>,
    /// All of it
    #[arg(long, conflicts_with = "older_than")]
    all: bool,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// The cache as it is printed.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    cache: &'a Path,
    bytes: u64,
    entries: &'a [Entry],
    /// Records that wait to be published.
    spooled: usize,
    /// The reports of runs, which are not in the cache.
    reports: ListedReports<'a>,
}

#[derive(Debug, Serialize)]
struct ListedReports<'a> {
    folder: &'a Path,
    count: usize,
    bytes: u64,
}

/// What pruning came to, as it is printed.
#[derive(Debug, Serialize)]
struct Pruned<'a> {
    dry_run: bool,
    bytes: u64,
    entries: &'a [Entry],
    spooled: usize,
}

/// Seconds of `90s`, `30m`, `12h`, `14d`, `8w`.
fn seconds(text: &str) -> std::result::Result<u64, String> {
    const UNITS: [(char, u64); 5] =
        [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 7 * 86_400)];
    let expected = || "expected a number and one of s, m, h, d, w: 14d".to_string();
    let unit = UNITS.iter().find_map(|(unit, s)| Some((text.strip_suffix(*unit)?, s)));
    let (number, unit_s) = unit.ok_or_else(expected)?;
    let number: u64 = number.parse().map_err(|_| expected())?;
    number.checked_mul(*unit_s).ok_or_else(|| "longer than time is".into())
}

impl CacheCommand {
    /// Carries it out on the folder `cache`; `reports` is where reports go.
    pub fn run(&self, cache: &Path, reports: &Path, json: bool) -> Result<u8> {
        let spooled = spooled_records(cache);
        let entries = cache::entries(cache)?;
        match self {
            Self::List => {
                let count = std::fs::read_dir(reports).into_iter().flatten().count();
                let reports = ListedReports { folder: reports, count, bytes: bytes_of(reports) };
                let bytes = entries.iter().map(|entry| entry.bytes).sum();
                let listed = Listed { cache, bytes, entries: &entries, spooled, reports };
                print_as(json, &listed, &list_text(&listed))?;
            }
            Self::Prune(prune) => prune.run(cache, entries, spooled, json)?,
        }
        Ok(0)
    }
}

impl Prune {
    fn run(&self, cache: &Path, mut entries: Vec<Entry>, spooled: usize, json: bool) -> Result<()> {
        let Self { older_than, all: _, dry_run } = self;
        if let Some(older_than_s) = older_than {
            let before_s = now_s().saturating_sub(*older_than_s);
            entries.retain(|entry| entry.used_s < before_s);
        }
        if !dry_run && cache.exists() {
            let lock = CacheLock::alone(cache)?;
            // What was used since it was listed stays.
            entries.retain(is_unused_since);
            cache::remove(cache, &entries, &lock)?;
            sweep_scratch(cache);
        }
        let bytes = entries.iter().map(|entry| entry.bytes).sum();
        let pruned = Pruned { dry_run: *dry_run, bytes, entries: &entries, spooled };
        print_as(json, &pruned, &prune_text(&pruned))
    }
}

fn is_unused_since(entry: &Entry) -> bool {
    let modified = std::fs::symlink_metadata(&entry.path).and_then(|found| found.modified());
    modified.is_ok_and(|time| seconds_since_epoch(time) <= entry.used_s)
}

/// How many records wait to be published.
fn spooled_records(cache: &Path) -> usize {
    std::fs::read_dir(cache.join("spool")).into_iter().flatten().flatten().count()
}

fn now_s() -> u64 {
    seconds_since_epoch(SystemTime::now())
}

fn seconds_since_epoch(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A line for each kind of which there is something.
fn kind_lines(entries: &[Entry]) -> String {
    let header = ["what", "number", "size", "last used", "for"].map(String::from).to_vec();
    let mut rows = vec![header];
    for kind in KINDS {
        let of_kind = || entries.iter().filter(|entry| entry.kind == kind.folder);
        let Some(used_s) = of_kind().map(|entry| entry.used_s).max() else { continue };
        let bytes: u64 = of_kind().map(|entry| entry.bytes).sum();
        rows.push(vec![
            kind.folder.into(),
            of_kind().count().to_string(),
            HumanBytes(bytes).to_string(),
            ago(now_s().saturating_sub(used_s)),
            kind.what.into(),
        ]);
    }
    columns(&rows, &[1, 2])
}

fn spool_text(spooled: usize) -> String {
    match spooled {
        0 => String::new(),
        1 => "spool: 1 record waits to be published by the next run; it is never removed\n".into(),
        several => format!(
            "spool: {several} records wait to be published by the next run; they are never removed\n"
        ),
    }
}

fn list_text(listed: &Listed<'_>) -> String {
    let Listed { cache, bytes, entries, spooled, reports } = listed;
    let mut text = format!("cache {}: {}\n", cache.display(), HumanBytes(*bytes));
    if !entries.is_empty() {
        text.push_str(&kind_lines(entries));
    }
    text.push_str(&spool_text(*spooled));
    if reports.count > 0 {
        text.push_str(&format!(
            "reports {}: {}, {}; not part of the cache, and yours to remove\n",
            reports.folder.display(),
            plural(reports.count, "report"),
            HumanBytes(reports.bytes)
        ));
    }
    text
}

fn prune_text(pruned: &Pruned<'_>) -> String {
    let Pruned { dry_run, bytes, entries, spooled } = pruned;
    let done = if *dry_run { "would be removed" } else { "removed" };
    let mut text = match entries {
        [] => format!("nothing {}\n", if *dry_run { "would be removed" } else { "was removed" }),
        entries => {
            format!("{}{} {done}\n", kind_lines(entries), HumanBytes(*bytes))
        }
    };
    text.push_str(&spool_text(*spooled));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, expected) in [
            ("14d", Some(14 * 86_400)),
            ("0s", Some(0)),
            ("2w", Some(14 * 86_400)),
            ("90m", Some(5400)),
            ("14", None),
            ("d", None),
            ("-1d", None),
            ("99999999999999999999d", None),
            ("9999999999999999999d", None),
        ] {
            assert_eq!(seconds(text).ok(), expected, "{text}");
        }
    }
}
