//! Compilers that nobody has to build: the one of an image, a toolchain's archive, a sysroot.
//!
//! An archive is one of Rust's own (`rust-1.97.0-x86_64-unknown-linux-gnu.tar.xz`, whose components
//! are laid over each other), or any other tar whose `bin/rustc` stands at its top or one folder
//! below. What comes of it is kept like an artifact that was built, and verified like one.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use dyno_model::catalog::reader::suggest;
use dyno_model::id::Digest;

use dyno_base::error::{Error, Kind, Result};
use dyno_base::event::{Events, Phase};
use dyno_base::http;
use dyno_build::artifact::{Artifact, import_toolchain};

/// The largest archive, and the largest tree in one.
const ARCHIVE_MAX: u64 = 4 << 30;
const TREE_MAX: u64 = 32 << 30;

/// A compiler that is neither an image nor a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompilerReference {
    /// A URL or path, and the checksum of what must lie there.
    Archive {
        location: String,
        sha256: Digest,
    },
    Sysroot(PathBuf),
}

/// Reads `URL#sha256=…` and paths; `None` for any other name.
///
/// # Errors
/// A URL or an archive without a checksum.
pub fn parse_reference(text: &str) -> Result<Option<CompilerReference>> {
    if let Some((location, sha256)) = text.split_once("#sha256=") {
        let sha256 = sha256.parse().map_err(|error: dyno_model::id::NotAnId| {
            Error::input(format!("the checksum of {location}: {error}"))
        })?;
        return Ok(Some(CompilerReference::Archive { location: location.into(), sha256 }));
    }
    let is_archive = [".tar.xz", ".tar.gz", ".tgz", ".tar"].iter().any(|end| text.ends_with(end));
    if text.contains("://") || is_archive {
        return Err(Error::input(format!("{text:?} is not pinned"))
            .hint(format!("write its checksum behind it: {text}#sha256=<64 hexadecimal digits>")));
    }
    let is_path = text.starts_with(['/', '.', '~']);
    Ok(is_path.then(|| CompilerReference::Sysroot(PathBuf::from(text))))
}

/// Imports what `reference` means into the cache.
pub async fn import(
    reference: &CompilerReference,
    cache: &Path,
    events: &Events,
) -> Result<Artifact> {
    match reference {
        CompilerReference::Sysroot(path) => {
            let what = format!("the sysroot {}", path.display());
            events.begin(Phase::Source, format!("copying {what}"));
            let sysroot =
                path.canonicalize().map_err(|error| Error::input(format!("{what}: {error}")))?;
            import_toolchain(cache, events, &what, None, async |_| Ok(sysroot)).await
        }
        CompilerReference::Archive { location, sha256 } => {
            let what = format!("the archive {location}");
            let identity = sha256.hex().to_string();
            let lay_out = async |folder: &Path| {
                events.begin(Phase::Source, format!("bringing {what}"));
                let bytes = read_archive(location).await?;
                let found = Digest::of(&bytes);
                if found != *sha256 {
                    let (found, expected) = (found.hex(), sha256.hex());
                    return Err(Error::input(format!(
                        "{what} has the checksum {found} and not {expected}; nothing of it was used"
                    )));
                }
                unpack(&bytes, folder).map_err(|error| match error.kind() {
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                        Error::input(format!("{what}: {error}"))
                    }
                    _ => Error::from_io(error, format!("unpacking {what}")),
                })?;
                sysroot_in(folder).map_err(|why| Error::input(format!("{what}: {why}")))
            };
            import_toolchain(cache, events, &what, Some(&identity), lay_out).await
        }
    }
}

async fn read_archive(location: &str) -> Result<Vec<u8>> {
    let path = location.strip_prefix("file://").unwrap_or(location);
    if !path.contains("://") {
        return fs::read(path).map_err(|error| Error::input(format!("{path}: {error}")));
    }
    http::get(&http::client()?, location, ARCHIVE_MAX).await.map_err(Error::from)
}

/// Regular files, folders and links of an archive, none outside of `into`. (Where links lead is
/// looked at when the tree is taken.)
fn unpack(bytes: &[u8], into: &Path) -> io::Result<()> {
    let reader: Box<dyn Read> = match bytes {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            Box::new(liblzma::read::XzDecoder::new_multi_decoder(bytes))
        }
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        _ => Box::new(bytes),
    };
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut archive = tar::Archive::new(reader.take(TREE_MAX));
    let entries = archive.entries().map_err(|error| invalid(format!("no tar archive: {error}")))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| invalid(format!("no tar archive: {error}")))?;
        let path = entry.path()?.into_owned();
        let is_inside =
            path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !is_inside {
            return Err(invalid(format!("the member {} leads outside", path.display())));
        }
        let dest = into.join(&path);
        match entry.header().entry_type() {
            tar::EntryType::Regular => {
                // A link of the archive's own must not lead what follows elsewhere.
                refuse_link_above(into, &path)
                    .map_err(|()| invalid(format!("{} lies in a link", path.display())))?;
                fs::create_dir_all(dest.parent().unwrap_or(into))?;
                io::copy(&mut entry, &mut File::create(&dest)?)?;
            }
            tar::EntryType::Symlink => {
                refuse_link_above(into, &path)
                    .map_err(|()| invalid(format!("{} lies in a link", path.display())))?;
                let target = entry.link_name()?.unwrap_or_default().into_owned();
                fs::create_dir_all(dest.parent().unwrap_or(into))?;
                std::os::unix::fs::symlink(target, &dest)?;
            }
            tar::EntryType::Directory | tar::EntryType::XGlobalHeader => {}
            other => return Err(invalid(format!("{} is a {other:?}", path.display()))),
        }
    }
    Ok(())
}

fn refuse_link_above(top: &Path, path: &Path) -> Result<(), ()> {
    let mut current = top.to_path_buf();
    for part in path.components() {
        current.push(part);
        if fs::symlink_metadata(&current).is_ok_and(|found| found.is_symlink()) {
            return Err(());
        }
    }
    Ok(())
}

/// The sysroot in what an archive held.
fn sysroot_in(folder: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?;
    let tops: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let candidates = std::iter::once(folder.to_path_buf()).chain(tops);
    for top in candidates {
        if top.join("bin/rustc").is_file() {
            return Ok(top);
        }
        // The layout of Rust's installer: a tree for each component, and a list of them.
        let Ok(components) = fs::read_to_string(top.join("components")) else { continue };
        let merged = folder.join("dyno-sysroot");
        for component in components.lines().filter(|line| !line.contains(['/', '.'])) {
            merge_trees(&top.join(component), &merged)
                .map_err(|error| format!("{component}: {error}"))?;
        }
        if merged.join("bin/rustc").is_file() {
            return Ok(merged);
        }
    }
    Err("it holds no bin/rustc".into())
}

fn merge_trees(from: &Path, into: &Path) -> io::Result<()> {
    fs::create_dir_all(into)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let dest = into.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            merge_trees(&entry.path(), &dest)?;
        } else {
            fs::rename(entry.path(), &dest)?;
        }
    }
    Ok(())
}

/// The error for names that mean no compiler.
pub fn unknown_compilers(names: &[String], images: &[String]) -> Error {
    let listed = names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" and ");
    Error::new(Kind::Input, format!("there is no compiler {listed}"))
        .hint(compiler_hint(names, images, ""))
}

/// What a person who wrote `names` for compilers could mean; `others` are what they can be besides.
pub fn compiler_hint(names: &[String], images: &[String], others: &str) -> String {
    let near = |name: &String| {
        // `1.96.0` of `rust-1.96`.
        let is_of_version = |image: &&String| {
            let version = image.rsplit('-').next().unwrap_or_default();
            version.contains('.') && name.starts_with(&format!("{version}."))
        };
        suggest(name, images.iter().map(String::as_str)).or_else(|| {
            let image = images.iter().find(is_of_version)?;
            Some(format!("did you mean `{image}`?"))
        })
    };
    let mut hint: String = names.iter().filter_map(near).map(|near| format!("{near} ")).collect();
    hint.push_str(&format!(
        "expected an image ({}), the path of a sysroot (with a slash), URL#sha256=…{others}",
        images.join(", ")
    ));
    hint
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(members: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in members {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            match text.strip_prefix("->") {
                Some(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    tar.append_link(&mut header, path, target).unwrap();
                }
                None => {
                    header.set_size(text.len() as u64);
                    tar.append_data(&mut header, path, text.as_bytes()).unwrap();
                }
            }
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn the_image_that_was_meant_is_named() {
        let images = ["debian-gcc", "rust-1.96", "rust-1.97"].map(String::from);
        for (name, near) in [
            ("1.96", "did you mean `rust-1.96`? expected an image (debian-gcc, rust-1.96, "),
            ("1.97.0", "did you mean `rust-1.97`? "),
            ("rust-1.79", "did you mean `rust-1.97`? "),
            ("1.98.0", "expected an image ("),
            ("nightly", "expected an image ("),
        ] {
            let error = unknown_compilers(&[name.to_string()], &images);
            let hint = error.hint.unwrap_or_default();
            assert!(hint.starts_with(near), "{name}: {hint}");
        }
        let error = unknown_compilers(&["1.96", "1.97"].map(String::from), &images);
        assert_eq!(error.message, "there is no compiler \"1.96\" and \"1.97\"");
        let both = "did you mean `rust-1.96`? did you mean `rust-1.97`? expected";
        assert!(error.hint.unwrap_or_default().starts_with(both));
    }

    #[test]
    fn what_may_be_asked_for() {
        let sum = "0".repeat(64);
        let archive = parse_reference(&format!("https://h.example/r.tar.xz#sha256={sum}")).unwrap();
        let location = "https://h.example/r.tar.xz".to_string();
        assert_eq!(
            archive,
            Some(CompilerReference::Archive { location, sha256: sum.parse().unwrap() })
        );
        assert_eq!(
            parse_reference("/opt/rust").unwrap(),
            Some(CompilerReference::Sysroot("/opt/rust".into()))
        );
        assert_eq!(
            parse_reference("./stage1").unwrap(),
            Some(CompilerReference::Sysroot("./stage1".into()))
        );
        assert_eq!(parse_reference("rust-1.85").unwrap(), None);
        for wrong in ["https://h.example/r.tar.xz", "r.tar.gz", "r.tar.xz#sha256=12"] {
            assert!(parse_reference(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn archives_become_sysroots() {
        let folder = tempfile::tempdir().unwrap();
        let import_bytes = async |name: &str, bytes: &[u8], sum: Option<Digest>| {
            let file = folder.path().join(name);
            fs::write(&file, bytes).unwrap();
            let sha256 = sum.unwrap_or_else(|| Digest::of(bytes));
            let reference =
                CompilerReference::Archive { location: file.display().to_string(), sha256 };
            super::import(&reference, folder.path(), &Events::none()).await
        };
        let plain = tar(&[("r/bin/rustc", "one"), ("r/lib/x.so", "->../bin/rustc")]);
        let artifact = import_bytes("plain.tar", &plain, None).await.unwrap();
        assert_eq!(artifact.files.keys().collect::<Vec<_>>(), ["bin/rustc", "lib/x.so"]);
        assert_eq!(fs::read_to_string(artifact.folder.join("files/bin/rustc")).unwrap(), "one");
        let again = import_bytes("plain.tar", &plain, None).await.unwrap();
        assert_eq!(again, artifact);
        let installer = tar(&[
            ("r/components", "rustc\nrust-std-x\n"),
            ("r/rustc/bin/rustc", "two"),
            ("r/rust-std-x/lib/rustlib/x/lib/std.rlib", "std"),
            ("r/rustc/share/doc/x", "no"),
        ]);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gz, &installer).unwrap();
        let artifact = import_bytes("dist.tar.gz", &gz.finish().unwrap(), None).await.unwrap();
        let names: Vec<&String> = artifact.files.keys().collect();
        assert_eq!(names, ["bin/rustc", "lib/rustlib/x/lib/std.rlib"]);
        for (name, bytes, why) in [
            ("none.tar", tar(&[("r/README", "x")]), "no bin/rustc"),
            ("no.tar", b"not a tar at all, but long enough".repeat(40), "no tar archive"),
            ("in.tar", tar(&[("r/bin", "->/etc"), ("r/bin/rustc", "x")]), "lies in a link"),
            ("out.tar", tar(&[("bin/rustc", "x"), ("bin/p", "->/etc/passwd")]), "leads outside"),
        ] {
            let error = import_bytes(name, &bytes, None).await.unwrap_err();
            assert!(error.message.contains(why), "{name}: {error}");
        }
        let error = import_bytes("plain.tar", &plain, Some(Digest::of(b"x"))).await.unwrap_err();
        assert!(error.message.contains("has the checksum"), "{error}");
    }
}
