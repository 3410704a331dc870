//! Which series a person means.

use std::fmt;

use crate::view::{Row, View};

/// Candidates that an error lists.
const LISTED_MAX: usize = 8;

/// A name that means no series, or more than one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnclearSeries {
    /// The nearest ones there are, best first.
    Unknown {
        written: String,
        nearest: Vec<String>,
    },
    Ambiguous {
        written: String,
        meanings: Vec<String>,
        more: usize,
    },
}

impl fmt::Display for UnclearSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { written, nearest } if nearest.is_empty() => {
                write!(f, "there is no series `{written}`: nothing was compared")
            }
            Self::Unknown { written, nearest } => {
                write!(f, "there is no series `{written}`; the nearest are {}", nearest.join(", "))
            }
            Self::Ambiguous { written, meanings, more } => {
                write!(f, "`{written}` could mean {}", meanings.join(", "))?;
                match more {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
        }
    }
}

impl std::error::Error for UnclearSeries {}

/// The row that `written` means: `BENCHMARK/METRIC`, `BENCHMARK[PART OF CONFIG]/METRIC`, either with
/// `@HOST`, or the id of a row (`s3`). A part that is left out may be anything, as long as one
/// series alone fits; a benchmark without config is preferred where there is one. Where nothing has
/// that name, it may be the beginning of one.
///
/// # Errors
/// [`UnclearSeries`], with the candidates.
pub fn find<'v>(view: &'v View, written: &str) -> Result<&'v Row, UnclearSeries> {
    let plain_name = without_spaces(written);
    if let Some(row) = view.rows().find(|row| row.id == plain_name) {
        return Ok(row);
    }
    let has_name = |row: &&Row| names(row).contains(&plain_name);
    let mut rows: Vec<&Row> = view.rows().filter(has_name).collect();
    if !plain_name.contains('[') && rows.iter().any(|row| row.config.is_empty()) {
        rows.retain(|row| row.config.is_empty());
    }
    if rows.is_empty() {
        rows = view.rows().filter(|row| has_part_of_config(row, &plain_name)).collect();
    }
    if rows.is_empty() && plain_name.contains('/') {
        let begins = |row: &&Row| names(row).iter().any(|name| name.starts_with(&plain_name));
        rows = view.rows().filter(begins).collect();
    }
    match rows.as_slice() {
        [row] => Ok(row),
        [] => Err(UnclearSeries::Unknown {
            written: written.to_string(),
            nearest: nearest(view, &plain_name),
        }),
        several => Err(UnclearSeries::Ambiguous {
            written: written.to_string(),
            meanings: several.iter().take(LISTED_MAX).map(|row| row.series.clone()).collect(),
            more: several.len().saturating_sub(LISTED_MAX),
        }),
    }
}

/// People write `fib [threads=2]`, as reports do.
fn without_spaces(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// All that may be written for a row, the whole name last.
fn names(row: &Row) -> [String; 4] {
    let [whole, host] = [&row.series, &row.host].map(|text| without_spaces(text));
    let without_host = whole[..whole.len() - host.len() - 1].to_string();
    let short = without_spaces(&format!("{}/{}", row.benchmark, row.metric));
    [short.clone(), format!("{short}@{host}"), without_host, whole]
}

/// Whether `written` is the name of `row` with a part of its config: `fib[threads=2]/wall` of
/// `fib[opt=size,threads=2]/wall`.
fn has_part_of_config(row: &Row, written: &str) -> bool {
    let [benchmark, config, metric, host] =
        [&row.benchmark, &row.config, &row.metric, &row.host].map(|text| without_spaces(text));
    let after_benchmark = written.strip_prefix(&*benchmark).and_then(|rest| rest.strip_prefix('['));
    let ends = [format!("]/{metric}@{host}"), format!("]/{metric}")];
    let part = after_benchmark.and_then(|rest| ends.iter().find_map(|end| rest.strip_suffix(end)));
    part.is_some_and(|part| part.split(',').all(|pair| config.split(',').any(|own| own == pair)))
}

fn nearest(view: &View, written: &str) -> Vec<String> {
    let mut by_distance: Vec<(usize, &str)> = view
        .rows()
        .map(|row| {
            let distance = |name: &String| strsim::damerau_levenshtein(written, name);
            (names(row).iter().map(distance).min().unwrap_or(usize::MAX), row.series.as_str())
        })
        .collect();
    by_distance.sort();
    by_distance.into_iter().take(LISTED_MAX).map(|(_, name)| name.to_string()).collect()
}
