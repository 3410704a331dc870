//! A new suite that works as it is, with a repository of its own to try it on.

use std::path::{Path, PathBuf};

use dyno_base::error::{Error, Result, WithContext};
use dyno_model::catalog::reader::is_name;

use crate::catalog::Catalog;
use crate::source::{OwnCommit, make_repository};

const SUITE: &str = include_str!("scaffold/suite.toml");
const COMMITS: [OwnCommit<'_>; 2] = [
    OwnCommit { tag: "v1", file: "primes.c", text: include_str!("scaffold/primes-1.c") },
    OwnCommit { tag: "v2", file: "primes.c", text: include_str!("scaffold/primes-2.c") },
];

/// The image whose compiler the example needs, where the catalog has it.
const IMAGE: &str = "debian-gcc";

/// How many primes there are below 1500000.
const ANSWER: &str = "114155\n";

/// Writes `suites/<name>` into the catalog; returns the folder.
///
/// # Errors
/// A name that cannot be one, and a suite that is there already.
pub async fn write_suite(catalog: &Catalog, name: &str) -> Result<PathBuf> {
    if !is_name(name) {
        return Err(Error::input(format!("\"{}\" cannot be a name", name.escape_debug())).hint(
            "expected small letters, digits, `.`, `_` and `-`, at most 64, starting with a letter or digit",
        ));
    }
    let folder = catalog.suite_folder(name);
    let doing = || format!("writing {}", folder.display());
    if folder.symlink_metadata().is_ok() {
        return Err(Error::input(format!("{} is there already", folder.display()))
            .hint("choose another name, or edit its suite.toml"));
    }
    let images = catalog.images();
    let image = images.iter().find(|image| *image == IMAGE).or(images.first());
    let image = image.map_or(IMAGE, String::as_str);
    let text = SUITE.replace("IMAGE", image).replace("NAME v1", &format!("{name} v1"));
    let example = folder.join("target/example");
    std::fs::create_dir_all(&example).context(doing)?;
    let write = |file: &str, text: &str| write_file(&folder, file, text);
    write("suite.toml", &text).and_then(|()| write("count.txt", ANSWER)).context(doing)?;
    make_repository(&example, &COMMITS).await.context(doing)?;
    Ok(folder)
}

fn write_file(folder: &Path, file: &str, text: &str) -> std::io::Result<()> {
    std::fs::write(folder.join(file), text)
}
