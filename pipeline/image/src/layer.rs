//! A finished tree as bytes: on disk, as one normalised layer, as an image's configuration and
//! as the archive that `docker load` takes.
//!
//! Everything that could differ between two machines is fixed: the order (paths), the times
//! ([`TIME_S`]), the owners (those of the package), the headers (GNU tar), the JSON (fields in
//! the order of their structs). Hence the image ID, the SHA-256 of the configuration, which
//! holds the SHA-256 of the layer, is a function of the tree alone.
//!
//! Formats: OCI image specification v1.1 (configuration), Docker image specification v1.2
//! (`manifest.json`).

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use dyno_model::catalog::image::oci_architecture;
use dyno_model::id::Digest;
use filetime::FileTime;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::tree::{Contents, Entry, EntryKind, Tree};

/// Modification time of everything in an image, in seconds since 1970. Not 0, which some tools
/// take for "no time at all".
const TIME_S: i64 = 1;
const TIME: &str = "1970-01-01T00:00:01Z";

/// Digest and size of a layer's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// SHA-256 of the uncompressed tar (OCI's diff ID).
    pub diff_id: Digest,
    pub size_bytes: u64,
}

/// Puts the tree at `root` (made here), taking spooled files away from where they are. Owners
/// are set where dyno is root; elsewhere everything is its own user's.
pub fn write_tree(tree: &Tree, root: &Path) -> io::Result<Vec<Entry>> {
    let entries = tree.entries();
    fs::create_dir_all(root)?;
    for (entry, contents) in &entries {
        let path = root.join(&entry.path);
        match (&entry.kind, contents) {
            (EntryKind::Folder, _) => fs::create_dir(&path)?,
            (EntryKind::Symlink { target }, _) => std::os::unix::fs::symlink(target, &path)?,
            (EntryKind::Hardlink { target }, _) => fs::hard_link(root.join(target), &path)?,
            (EntryKind::File { .. }, Some(Contents::Spooled(blob))) => {
                fs::rename(&blob.path, &path)?
            }
            (EntryKind::File { .. }, Some(Contents::Written(text))) => fs::write(&path, text)?,
            (EntryKind::File { .. }, None) => unreachable!("a file has contents"),
        }
    }
    let sets_owners = nix::unistd::geteuid().is_root();
    let time = FileTime::from_unix_time(TIME_S, 0);
    // From the leaves up: making a child changes its folder's time.
    for (entry, _) in entries.iter().rev() {
        let path = root.join(&entry.path);
        if sets_owners && (entry.uid, entry.gid) != (0, 0) {
            let id = |id: u64| u32::try_from(id).map_err(io::Error::other);
            std::os::unix::fs::lchown(&path, Some(id(entry.uid)?), Some(id(entry.gid)?))?;
        }
        if matches!(entry.kind, EntryKind::Folder | EntryKind::File { .. }) {
            fs::set_permissions(&path, Permissions::from_mode(entry.mode))?;
        }
        filetime::set_symlink_file_times(&path, time, time)?;
    }
    fs::set_permissions(root, Permissions::from_mode(0o755))?;
    filetime::set_file_times(root, time, time)?;
    Ok(entries.into_iter().map(|(entry, _)| entry).collect())
}

/// Writes the layer of the tree at `root` to `out`.
pub fn write_layer(entries: &[Entry], root: &Path, out: impl Write) -> io::Result<Layer> {
    let writer = HashingWriter { out, hasher: Sha256::new(), size_bytes: 0 };
    let mut builder = tar::Builder::new(BufWriter::with_capacity(1 << 18, writer));
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.mode);
        header.set_uid(entry.uid);
        header.set_gid(entry.gid);
        header.set_mtime(TIME_S.unsigned_abs());
        header.set_size(0);
        match &entry.kind {
            EntryKind::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                builder.append_data(&mut header, format!("{}/", entry.path), io::empty())?;
            }
            EntryKind::Symlink { target } => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                builder.append_link(&mut header, &entry.path, target)?;
            }
            EntryKind::Hardlink { target } => {
                header.set_entry_type(tar::EntryType::Link);
                builder.append_link(&mut header, &entry.path, target)?;
            }
            EntryKind::File { size_bytes } => {
                header.set_size(*size_bytes);
                let file = File::open(root.join(&entry.path))?;
                if file.metadata()?.len() != *size_bytes {
                    return Err(io::Error::other(format!("/{} changed its size", entry.path)));
                }
                builder.append_data(&mut header, &entry.path, file)?;
            }
        }
    }
    let writer = builder.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(Layer { diff_id: Digest::finish(writer.hasher), size_bytes: writer.size_bytes })
}

struct HashingWriter<W> {
    out: W,
    hasher: Sha256,
    size_bytes: u64,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size_bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[derive(Serialize)]
struct Config<'a> {
    architecture: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    os: &'a str,
    created: &'a str,
    config: Process<'a>,
    rootfs: RootFs<'a>,
    history: [History<'a>; 1],
}

#[derive(Serialize)]
struct Process<'a> {
    #[serde(rename = "Env")]
    env: &'a [String],
    #[serde(rename = "WorkingDir")]
    working_dir: &'a str,
}

#[derive(Serialize)]
struct RootFs<'a> {
    r#type: &'a str,
    diff_ids: [&'a Digest; 1],
}

#[derive(Serialize)]
struct History<'a> {
    created: &'a str,
    created_by: &'a str,
}

/// The image's configuration; its SHA-256 is the image ID. `env` is `NAME=value`.
pub fn config(architecture: &str, layer: &Layer, env: &[String]) -> Result<String, String> {
    let (architecture, variant) = oci_architecture(architecture)
        .ok_or_else(|| format!("{architecture} is not an architecture"))?;
    let config = Config {
        architecture,
        variant,
        os: "linux",
        created: TIME,
        config: Process { env, working_dir: "/" },
        rootfs: RootFs { r#type: "layers", diff_ids: [&layer.diff_id] },
        history: [History { created: TIME, created_by: "dyno image build" }],
    };
    serde_json::to_string(&config).map_err(|error| error.to_string())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    config: String,
    repo_tags: [String; 1],
    layers: [String; 1],
}

/// The label under which `docker load` shows the image; the image is its ID.
pub fn label(id: &Digest) -> String {
    format!("dyno/image:{}", id.short())
}

/// Writes the archive for `docker load`. Fails if the tree at `root` is no longer the one that
/// gave `layer`.
pub fn write_archive(
    id: &Digest,
    config: &str,
    layer: &Layer,
    entries: &[Entry],
    root: &Path,
    out: &mut impl Write,
) -> io::Result<()> {
    let layer_path = format!("{}/layer.tar", layer.diff_id.hex());
    let manifest = [Manifest {
        config: format!("{}.json", id.hex()),
        repo_tags: [label(id)],
        layers: [layer_path.clone()],
    }];
    let manifest = serde_json::to_string(&manifest).map_err(io::Error::other)?;
    let header = |path: &str, size: u64, folder: bool| -> io::Result<tar::Header> {
        let mut header = tar::Header::new_gnu();
        header.set_path(path)?;
        header.set_mode(if folder { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(TIME_S.unsigned_abs());
        header.set_size(size);
        let kind = if folder { tar::EntryType::Directory } else { tar::EntryType::Regular };
        header.set_entry_type(kind);
        header.set_cksum();
        Ok(header)
    };
    let padding = |size: u64| vec![0; ((512 - size % 512) % 512) as usize];
    for (path, text) in
        [(format!("{}.json", id.hex()), config), ("manifest.json".into(), &manifest)]
    {
        out.write_all(header(&path, text.len() as u64, false)?.as_bytes())?;
        out.write_all(text.as_bytes())?;
        out.write_all(&padding(text.len() as u64))?;
    }
    out.write_all(header(&format!("{}/", layer.diff_id.hex()), 0, true)?.as_bytes())?;
    out.write_all(header(&layer_path, layer.size_bytes, false)?.as_bytes())?;
    let written = write_layer(entries, root, &mut *out)?;
    if written != *layer {
        return Err(io::Error::other("the unpacked tree was changed since it was built"));
    }
    out.write_all(&padding(layer.size_bytes))?;
    out.write_all(&[0; 1024])
}
