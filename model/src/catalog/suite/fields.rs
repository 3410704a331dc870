//! Keys that several tables of a suite have.

use std::collections::BTreeMap;

use super::{Limits, Priority};
use crate::catalog::host::size;
use crate::catalog::reader::{Located, Table};

pub(super) fn env(table: &mut Table<'_>) -> BTreeMap<String, String> {
    table
        .optional_table("env", |table| {
            let pairs = table.named_str();
            Some(pairs.into_iter().map(|(k, v)| (k.value, v.value)).collect())
        })
        .unwrap_or_default()
}

pub(super) fn limits(table: &mut Table<'_>, default: Limits) -> Limits {
    table
        .optional_table("limits", |table| {
            Some(Limits {
                time_s: table.optional_integer("time_s", 1..=86_400).unwrap_or(default.time_s),
                memory_bytes: size(table, "memory").unwrap_or(default.memory_bytes),
                pids: table.optional_integer("pids", 8..=65_536).unwrap_or(default.pids),
                output_bytes: size(table, "output").unwrap_or(default.output_bytes),
                disk_bytes: match default.disk_bytes {
                    0 => 0,
                    default => size(table, "disk").unwrap_or(default),
                },
            })
        })
        .unwrap_or(default)
}

pub(super) fn typical_ms(table: &mut Table<'_>, key: &'static str) -> Option<u64> {
    Some((table.optional_number(key, 0.001..=86_400.0)? * 1000.0).round() as u64)
}

/// A relative path of plain parts.
pub fn is_plain_path(path: &str) -> bool {
    !path.is_empty()
        && !path.chars().any(char::is_control)
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

pub(super) fn suite_file(table: &Table<'_>, path: Located<String>) -> Option<String> {
    if is_plain_path(&path.value) {
        return Some(path.value);
    }
    table.note(
        path.span,
        format!("\"{}\" cannot be a file of the suite", path.value.escape_debug()),
        "a path below the suite's folder, without `..`",
        None,
    );
    None
}

/// How much a benchmark stands for real use (`tier`).
pub(super) fn priority(table: &mut Table<'_>) -> Priority {
    let choices = [("primary", Priority::Primary), ("secondary", Priority::Secondary)];
    table.optional_choice("tier", &choices).unwrap_or(Priority::Primary)
}
