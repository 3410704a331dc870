//! `hosts/<name>.toml`: a machine as declared.

use std::collections::BTreeSet;

use serde::Serialize;

use super::reader::{Located, Table, read};
use crate::host_key::PublicKey;
use crate::mistake::Mistakes;
use crate::taint::SHARE_MAX;

/// Which cores are whose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Cores {
    /// The choice is dyno's: the last core for benchmarks, the others for housekeeping.
    Auto,
    Explicit(BTreeSet<u32>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// `embedded` where dyno may make containers itself, else `docker` where a socket answers.
    Auto,
    Embedded,
    Docker,
}

impl EngineChoice {
    /// The choice as a host's file has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Embedded => "embedded",
            Self::Docker => "docker",
        }
    }
}

/// [`Host::load_max`] where the file does not say: one core's worth of other programs.
pub const LOAD_MAX: f64 = 1.0;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Host {
    pub name: String,
    /// Architecture as `uname -m` says; `None` means whatever the machine is.
    pub architecture: Option<String>,
    pub benchmark_cores: Cores,
    pub housekeeping_cores: Cores,
    /// Memory a measured container may use, in bytes.
    pub memory_bytes: u64,
    pub engine: EngineChoice,
    /// Socket of the Docker or Podman engine; `None` means `DOCKER_HOST` or the usual places.
    pub socket: Option<String>,
    /// Whether address layout is left random, another in each process.
    pub aslr: bool,
    /// How many cores other programs may keep busy when measuring begins.
    pub load_max: f64,
    /// The share of a process's wall time that others may take on its cores before it is tainted.
    pub disturbance_max: f64,
    pub labels: Vec<String>,
    /// The public half of the key that its run rows are signed with; `None` where they are not.
    pub public_key: Option<PublicKey>,
    /// Keys that it had: rows signed with them count too.
    pub former_public_keys: Vec<PublicKey>,
}

/// Reads `hosts/<name>.toml`.
pub fn parse(name: &str, file: &str, text: &str) -> Result<Host, Mistakes> {
    read(file, text, |table| {
        let architecture =
            table.optional_str("architecture").map(|a| a.value).filter(|a| a != "native");
        let benchmark_cores = cores(table, "benchmark_cores");
        let housekeeping_cores = cores(table, "housekeeping_cores");
        let memory_bytes = size(table, "memory").unwrap_or(4 << 30);
        let engine = table
            .optional_choice(
                "engine",
                &[
                    (EngineChoice::Auto.name(), EngineChoice::Auto),
                    (EngineChoice::Embedded.name(), EngineChoice::Embedded),
                    (EngineChoice::Docker.name(), EngineChoice::Docker),
                ],
            )
            .unwrap_or(EngineChoice::Auto);
        let socket = table.optional_str("socket").map(|s| s.value);
        let aslr = table.optional_bool("aslr").unwrap_or(true);
        let load_max = table.optional_number("load_max", 0.0..=4096.0).unwrap_or(LOAD_MAX);
        let disturbance_max =
            table.optional_number("disturbance_max", 0.0..=1000.0).unwrap_or(SHARE_MAX);
        let labels = table.strings("labels").into_iter().map(|l| l.value).collect();
        let public_key = table.optional_str("public_key");
        let public_key = public_key.and_then(|text| key(table, "public_key", text));
        let former = table.strings("former_public_keys").into_iter();
        let former_public_keys =
            former.filter_map(|text| key(table, "former_public_keys", text)).collect();
        Some(Host {
            name: name.to_string(),
            architecture,
            benchmark_cores,
            housekeeping_cores,
            memory_bytes,
            engine,
            socket,
            aslr,
            load_max,
            disturbance_max,
            labels,
            public_key,
            former_public_keys,
        })
    })
}

fn key(
    table: &mut Table<'_>,
    name: &'static str,
    Located { value, span }: Located<String>,
) -> Option<PublicKey> {
    let key = value.parse().ok();
    if key.is_none() {
        table.note(
            span,
            format!("`{name}` is \"{}\"", value.escape_debug()),
            "\"ed25519:\" and 64 hexadecimal digits, as `dyno host key` prints it",
            None,
        );
    }
    key
}

fn cores(table: &mut Table<'_>, key: &'static str) -> Cores {
    let Some(Located { value, span }) = table.optional_str(key) else { return Cores::Auto };
    if value == "auto" {
        return Cores::Auto;
    }
    match parse_cores(&value) {
        Some(cores) => Cores::Explicit(cores),
        None => {
            table.note(
                span,
                format!("`{key}` is \"{}\"", value.escape_debug()),
                "\"auto\" or a list of cores like \"2-3,6\"",
                None,
            );
            Cores::Auto
        }
    }
}

/// Reads a kernel core list (`2-3,6`), cores below 4096.
pub fn parse_cores(text: &str) -> Option<BTreeSet<u32>> {
    let mut cores = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        if first > last || last >= 4096 {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

/// Writes cores as the kernel does (`2-3,6`).
pub fn format_cores(cores: &BTreeSet<u32>) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &core in cores {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => parts.push((core, core)),
        }
    }
    let text = |(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    parts.iter().map(text).collect::<Vec<_>>().join(",")
}

/// A size under `key`: a whole number with `KiB`, `MiB` or `GiB`.
pub(super) fn size(table: &mut Table<'_>, key: &'static str) -> Option<u64> {
    let Located { value, span } = table.optional_str(key)?;
    let size = parse_size(&value);
    if size.is_none() {
        table.note(
            span,
            format!("`{key}` is \"{}\"", value.escape_debug()),
            "a size like \"512MiB\" or \"4GiB\", at least 1MiB",
            None,
        );
    }
    size
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, shift) = [("KiB", 10), ("MiB", 20), ("GiB", 30)]
        .iter()
        .find_map(|(suffix, shift)| Some((text.strip_suffix(suffix)?, *shift)))?;
    let bytes = number.trim().parse::<u64>().ok()?.checked_mul(1 << shift)?;
    (bytes >= 1 << 20).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists_read_and_write_alike() {
        for text in ["0", "2-3,6", "1,3,5-7"] {
            assert_eq!(format_cores(&parse_cores(text).unwrap()), text);
        }
        for wrong in ["", "a", "3-2", "1,,2", "-1", "5000"] {
            assert_eq!(parse_cores(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn all_mistakes_at_once() {
        let text = "architecture = 5\nbenchmark_core = \"1\"\nengine = \"doker\"\nmemory = \"4 gigs\"\npublic_key = \"ed25519:12\"\n";
        let mistakes = parse("h", "hosts/h.toml", text).unwrap_err();
        insta::assert_snapshot!(mistakes, @r#"
        hosts/h.toml:1:16: `architecture` is an integer; expected a string
        hosts/h.toml:2:1: `benchmark_core` is not known in the file; expected one of architecture, aslr, benchmark_cores, disturbance_max, engine, former_public_keys, housekeeping_cores, labels, load_max, memory, public_key, socket; hint: did you mean `benchmark_cores`?
        hosts/h.toml:3:10: `engine` is "doker"; expected one of auto, docker, embedded; hint: did you mean `docker`?
        hosts/h.toml:4:10: `memory` is "4 gigs"; expected a size like "512MiB" or "4GiB", at least 1MiB
        hosts/h.toml:5:14: `public_key` is "ed25519:12"; expected "ed25519:" and 64 hexadecimal digits, as `dyno host key` prints it
        "#);
    }
}
