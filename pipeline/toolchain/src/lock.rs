//! `dyno suite lock`: makes the locks of a suite's crates, for whoever adds or updates one.

use std::fs;

use dyno_model::catalog::reader::suggest_of;
use dyno_model::catalog::suite::{CrateSource, Workload};

use super::sources::{download_release, generate_lock, strip_manifest};
use dyno_base::atomic_file;
use dyno_base::error::{Error, Result, WithContext};
use dyno_base::event::{Events, Phase};
use dyno_base::scratch::Scratch;
use dyno_build::catalog::LoadedSuite;

/// Writes the lock of each crate of `loaded` that is named, or of all; a line each says what came
/// of it, with the checksum where the suite has another.
pub async fn lock(
    loaded: &LoadedSuite,
    names: &[String],
    cache: &std::path::Path,
    events: &Events,
) -> Result<Vec<String>> {
    let crates: Vec<_> = loaded
        .suite
        .benchmarks
        .iter()
        .filter_map(|benchmark| match &benchmark.work {
            Workload::CrateCompilation(krate) => Some(krate),
            _ => None,
        })
        .collect();
    for name in names {
        if !crates.iter().any(|krate| krate.name == *name) {
            let known: Vec<String> = crates.iter().map(|krate| krate.name.clone()).collect();
            return Err(Error::input(format!("the suite has no crate {name:?}"))
                .hint(suggest_of(name, "it has", &known)));
        }
    }
    let mut lines = Vec::new();
    for krate in crates.iter().filter(|k| names.is_empty() || names.contains(&k.name)) {
        let doing = || format!("locking {}", krate.name);
        events.begin(Phase::Source, doing());
        let scratch = Scratch::new(cache)?;
        let source = scratch.path().join("source");
        let mut note = String::new();
        match &krate.source {
            CrateSource::Release { name, version, sha256 } => {
                let found = download_release(name, version, &source).await.context(doing)?;
                if found != *sha256 {
                    note = format!("; sha256 = \"{}\" is not what the suite has", found.hex());
                }
            }
            CrateSource::Folder(path) => {
                let folder = loaded.folder.join(path);
                dyno_build::definition::Definition::read(&folder)?.write(&source)?;
            }
        }
        let manifest = source.join("Cargo.toml");
        let text = fs::read_to_string(&manifest).context(doing)?;
        fs::write(&manifest, strip_manifest(&text).context(doing)?).context(doing)?;
        // What the archive brings of its own would be kept to.
        let _ = fs::remove_file(source.join("Cargo.lock"));
        let lock = generate_lock(&source).await.context(doing)?;
        let file = loaded.folder.join(krate.lock());
        fs::create_dir_all(file.parent().expect("a lock lies in a folder")).context(doing)?;
        atomic_file::replace(&file, lock.as_bytes(), 0o644).context(doing)?;
        let packages = lock.matches("[[package]]").count() - 1;
        lines.push(format!("{}: {packages} packages in {}{note}", krate.name, krate.lock()));
        events.end(Phase::Source, format!("{} locked", krate.name));
    }
    Ok(lines)
}
