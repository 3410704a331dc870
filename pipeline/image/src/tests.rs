//! Images from made-up packages and layers, served on loopback.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};

use super::test_key::ArchiveKey;
use super::testing::{TestSite, serve};
use super::unpack::Kind;
use super::*;
use dyno_base::error::Kind as ErrorKind;

/// `path/` a folder, `path -> target` a link, `path => target` a hard link, `path = text` a file.
/// Setuid and an odd time are set on files, to be gone later.
pub(super) fn tar_of(lines: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for line in lines.split(',').map(str::trim) {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_mtime(1_700_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        if let Some((path, target)) = line.split_once(" -> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, path, target).unwrap();
        } else if let Some((path, target)) = line.split_once(" => ") {
            header.set_entry_type(tar::EntryType::Link);
            builder.append_link(&mut header, path, target).unwrap();
        } else if let Some((path, text)) = line.split_once(" = ") {
            header.set_mode(0o4755);
            header.set_size(text.len() as u64);
            // By hand, since the builder refuses the paths that are tested here.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, text.as_bytes()).unwrap();
        } else {
            header.set_entry_type(tar::EntryType::Directory);
            builder.append_data(&mut header, line, std::io::empty()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

pub(super) fn compressed(bytes: &[u8], with: &str) -> Vec<u8> {
    let mut out = Vec::new();
    match with {
        ".xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(&mut out, 1);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap();
        }
        ".gz" => {
            let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap();
        }
        ".zst" => out = zstd::encode_all(bytes, 1).unwrap(),
        _ => out = bytes.to_vec(),
    }
    out
}

fn deb(lines: &str, compression: &str) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    let data = compressed(&tar_of(lines), compression);
    let control = b"never read".to_vec();
    for (name, bytes) in [
        ("debian-binary".to_string(), b"2.0\n".to_vec()),
        ("control.tar.xz".to_string(), control),
        (format!("data.tar{compression}"), data),
    ] {
        writeln!(out, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100644, bytes.len())
            .unwrap();
        out.extend(&bytes);
        if bytes.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

/// A suite of two packages and its keys, and a folder with an image of them.
pub(super) struct World {
    folder: tempfile::TempDir,
    files: HashMap<String, Vec<u8>>,
}

impl World {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = ArchiveKey::random();
        let base = deb("./, ./bin -> usr/bin, ./usr/, ./usr/bin/, ./etc/, ./etc/a = 1", ".xz");
        let tool = deb("./, ./bin/, ./bin/tool = #!, ./bin/again => ./bin/tool", ".zst");
        let mut files = HashMap::new();
        let mut index = String::new();
        for (name, bytes, more) in [("base", base, ""), ("tool", tool, "Depends: base\n")] {
            let digest = Digest::of(&bytes);
            index += &format!(
                "Package: {name}\nVersion: 1.0\n{more}Filename: pool/{name}.deb\nSize: {}\nSHA256: {}\n\n",
                bytes.len(),
                digest.hex()
            );
            files.insert(format!("/pool/{name}.deb"), bytes);
        }
        let packages = compressed(index.as_bytes(), ".xz");
        let release = format!(
            "Suite: stable\nCodename: made\nDate: now\nArchitectures: amd64 arm64\nSHA256:\n {0} {1} main/binary-amd64/Packages.xz\n",
            Digest::of(&packages).hex(),
            packages.len()
        );
        files.insert("/dists/made/InRelease".into(), key.sign(&release).into_bytes());
        files.insert("/dists/made/main/binary-amd64/Packages.xz".into(), packages);
        fs::create_dir_all(folder.path().join("keys")).unwrap();
        fs::create_dir_all(folder.path().join("images/made")).unwrap();
        fs::write(folder.path().join("keys/a.asc"), key.armoured()).unwrap();
        let world = Self { folder, files };
        world.write_toml("");
        world
    }

    fn write_toml(&self, more: &str) {
        let text =
            format!("suite = \"made\"\narchitectures = [\"amd64\"]\npackages = [\"tool\"]\n{more}");
        fs::write(self.dir().join("image.toml"), text).unwrap();
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.folder.path().join("images/made")
    }

    /// Settings with a cache of that name and a mirror that serves the files as they are now.
    pub(super) fn settings(&self, cache: &str) -> Settings {
        let (address, _) = serve(TestSite { files: self.files.clone(), ..TestSite::default() });
        Settings {
            mirror: Some(address),
            cache: self.folder.path().join(cache),
            keys: self.folder.path().join("keys"),
        }
    }

    async fn lock(&self, cache: &str) -> Result<Lock> {
        lock(&self.dir(), &self.settings(cache), &Events::none()).await
    }

    pub(super) async fn build(&self, settings: &Settings) -> Result<Built, BuildError> {
        build(&self.dir(), "amd64", settings, &Events::none()).await
    }
}

pub(super) fn error_text(error: impl Into<Error>) -> String {
    let error: Error = error.into();
    let mistakes = error.mistakes.iter().map(ToString::to_string).collect::<String>();
    format!("{} {mistakes} {}", error.message, error.hint.unwrap_or_default())
}

#[tokio::test]
async fn the_same_packages_give_the_same_image_anywhere() {
    let world = World::new();
    let locked = world.lock("cache-1").await.unwrap();
    let id = &locked.architectures["amd64"].id;
    let settings = world.settings("cache-2");
    let built = world.build(&settings).await.unwrap();
    assert_eq!(built.id, *id);
    let read = |path: &str| fs::read_to_string(built.rootfs.join(path)).unwrap();
    assert_eq!(
        (read("usr/bin/tool"), read("bin/again"), read("etc/a")),
        ("#!".into(), "#!".into(), "1".into())
    );
    let tool = fs::metadata(built.rootfs.join("usr/bin/tool")).unwrap();
    assert_eq!(tool.permissions().mode() & 0o7777, 0o755, "setuid is gone");
    assert_eq!(std::os::unix::fs::MetadataExt::nlink(&tool), 2);
    assert!(!built.folder.join("spool").exists());

    // Once it is in the cache, neither mirror nor packages are asked for.
    fs::remove_dir_all(settings.cache.join("debs")).unwrap();
    let offline = Settings { mirror: Some("http://127.0.0.1:9".into()), ..settings.clone() };
    assert_eq!(world.build(&offline).await.unwrap(), built);
    let verified = verify(&world.dir(), &settings, &Events::none()).await.unwrap();
    assert!(verified.iter().all(|v| v.pinned == v.found) && verified.len() == 1);

    // The archive, from both caches, is the same, and the image is named by its content.
    let path = archive(&built).await.unwrap();
    let other = world.build(&world.settings("cache-1")).await.unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes, fs::read(archive(&other).await.unwrap()).unwrap());
    let mut files = HashMap::new();
    let mut archived = tar::Archive::new(&bytes[..]);
    for entry in archived.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), content);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let config = manifest[0]["Config"].as_str().unwrap();
    let layer = manifest[0]["Layers"][0].as_str().unwrap();
    assert_eq!(manifest[0]["RepoTags"][0], super::layer::label(id));
    assert_eq!(Digest::of(&files[config]), *id);
    let config: serde_json::Value = serde_json::from_slice(&files[config]).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], Digest::of(&files[layer]).to_string());
    let mut names = Vec::new();
    for entry in tar::Archive::new(&files[layer][..]).entries().unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 1);
        names.push(entry.path().unwrap().display().to_string());
    }
    assert!(names.is_sorted(), "{names:?}");
    assert!(
        ["bin", "usr/bin/tool", "dyno/probe", "proc/"]
            .iter()
            .all(|n| names.contains(&n.to_string())),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_changed_tree_is_not_archived() {
    let world = World::new();
    world.lock("cache").await.unwrap();
    let built = world.build(&world.settings("cache")).await.unwrap();
    fs::write(built.rootfs.join("etc/a"), "2").unwrap();
    let error = error_text(archive(&built).await.unwrap_err());
    assert!(error.contains("was changed since it was built"), "{error}");
    assert!(!built.folder.join("image.tar").exists());
}

#[tokio::test]
async fn half_an_image_is_never_taken_for_whole() {
    let world = World::new();
    let locked = world.lock("other").await.unwrap();
    let settings = world.settings("cache");
    // What `kill -9` leaves while downloading, while unpacking; and a place robbed by hand.
    let images = settings.cache.join("images");
    let place = images.join(locked.architectures["amd64"].id.hex());
    fs::create_dir_all(images.join(".making-x/rootfs/usr")).unwrap();
    fs::create_dir_all(place.join("rootfs")).unwrap();
    fs::create_dir_all(settings.cache.join("debs")).unwrap();
    for package in world.files.keys().filter(|path| path.ends_with(".deb")) {
        let name = Digest::of(&world.files[package]);
        fs::write(settings.cache.join(format!("debs/{}.deb", name.hex())), "half").unwrap();
    }
    let built = world.build(&settings).await.unwrap();
    assert!(built.rootfs.join("usr/bin/tool").exists());
    assert!(!images.join(".making-x").exists());
    let scratch = fs::read_dir(settings.cache.join("scratch")).unwrap();
    assert_eq!(scratch.count(), 0, "what stood there was taken away whole");
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let mut world = World::new();
    let unpinned = error_text(world.build(&world.settings("c")).await.unwrap_err());
    assert!(unpinned.contains("run: dyno image lock made"), "{unpinned}");
    world.lock("cache").await.unwrap();
    let lock_path = world.dir().join("image.lock");
    let text = fs::read_to_string(&lock_path).unwrap();

    fs::write(&lock_path, text.replace("pool/tool", "pool/evil")).unwrap();
    let edited = error_text(world.build(&world.settings("c")).await.unwrap_err());
    assert!(edited.contains("the lock was edited"), "{edited}");
    fs::write(&lock_path, &text).unwrap();

    world.write_toml("[[link]]\npath = \"/x\"\ntarget = \"y\"\n");
    let changed = world.build(&world.settings("c")).await.unwrap_err();
    assert!(matches!(&changed, BuildError::Other(e) if e.kind == ErrorKind::Input));
    assert!(error_text(changed).contains("says something else than when"));
    world.write_toml("# a comment changes nothing\n");

    let foreign = build(&world.dir(), "arm64", &world.settings("c"), &Events::none()).await;
    assert!(error_text(foreign.unwrap_err()).contains("is not made for arm64"));

    let tool = world.files.remove("/pool/tool.deb").unwrap();
    let gone = world.build(&world.settings("c")).await.unwrap_err();
    assert!(matches!(gone, BuildError::Gone(_)));
    let gone = error_text(gone);
    assert!(
        gone.contains("no longer has tool 1.0") && gone.contains("dyno image lock made"),
        "{gone}"
    );

    world.files.insert("/pool/tool.deb".into(), vec![0; tool.len()]);
    let forged = error_text(world.build(&world.settings("c")).await.unwrap_err());
    assert!(forged.contains("SHA-256 differs"), "{forged}");
}

#[tokio::test]
async fn an_index_that_no_kept_key_signed_is_refused() {
    let mut world = World::new();
    let path = "/dists/made/InRelease";
    let good = String::from_utf8(world.files[path].clone()).unwrap();
    let other = ArchiveKey::random();
    let release = "Suite: stable\nCodename: made\nArchitectures: amd64\nSHA256:\n";
    let good_key = fs::read(world.folder.path().join("keys/a.asc")).unwrap();
    for (text, expected) in [
        (good.replace("amd64/Packages", "arm64/Packages"), "none of the archive keys"),
        (good.replace("Codename: made", "Codename: evil"), "none of the archive keys"),
        (other.sign(release), "none of the archive keys"),
        (format!("{good}{}", other.sign(release)), "it is not signed text"),
        (format!("{}{good}", other.sign(release)), "it is not signed text"),
        (other.sign(&good), "it is not signed text"),
        (release.to_string(), "it is not signed text"),
        (format!("Suite: evil\n{good}"), "it is not signed text"),
        (
            good.split("-----BEGIN PGP SIGNATURE").next().unwrap().to_string(),
            "it is not signed text",
        ),
    ] {
        world.files.insert(path.into(), text.into_bytes());
        let error = error_text(world.lock("cache").await.unwrap_err());
        assert!(error.contains(expected), "{expected}: {error}");
    }
    // What stands below the signature is not read.
    world.files.insert(path.into(), format!("{good}\nCodename: evil\n").into_bytes());
    world.lock("another").await.unwrap();
    fs::write(world.folder.path().join("keys/a.asc"), other.armoured()).unwrap();
    for (text, expected) in [
        (release.replace("made", "forky"), "it is the index of another suite"),
        (format!("Valid-Until: Sat, 01 Jan 2000 00:00:00 UTC\n{release}"), "it was valid until"),
        (format!("{release} xyz 3 main/x\n"), "is broken"),
        (release.to_string(), "does not name main/binary-amd64"),
    ] {
        world.files.insert(path.into(), other.sign(&text).into_bytes());
        let error = error_text(world.lock("cache").await.unwrap_err());
        assert!(error.contains(expected), "{expected}: {error}");
    }
    // The index is good, but not what it names.
    fs::write(world.folder.path().join("keys/a.asc"), good_key).unwrap();
    world.files.insert(path.into(), good.into_bytes());
    let packages = "/dists/made/main/binary-amd64/Packages.xz";
    world.files.get_mut(packages).unwrap()[40] ^= 1;
    let error = error_text(world.lock("cache").await.unwrap_err());
    assert!(error.contains("SHA-256 differs"), "{error}");
    world.files.remove(path);
    assert!(
        error_text(world.lock("cache").await.unwrap_err()).contains("the mirror has no suite made")
    );
}

#[test]
fn packages_are_read_in_every_compression_and_refused_when_broken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.deb");
    let mut spool = 0;
    let mut read = |bytes: &[u8]| {
        spool += 1;
        fs::write(&path, bytes).unwrap();
        unpack::package(&path, &folder.path().join(spool.to_string()))
    };
    for compression in ["", ".gz", ".xz", ".zst"] {
        let good = deb("./, ./a/, ./a/b = text, ./c -> a/b, ./d => ./a/b", compression);
        let members = read(&good).unwrap();
        let paths: Vec<&str> = members.iter().map(|m| m.path.as_str()).collect();
        assert_eq!(paths, ["", "a", "a/b", "c", "d"], "{compression}");
        assert_eq!(members[2].mode, 0o755, "setuid is gone");
        assert_eq!(members[4].kind, Kind::Hardlink("a/b".into()));
        for length in (0..good.len()).step_by(7) {
            assert!(read(&good[..length]).is_err(), "{compression} cut at {length}");
        }
    }
    for (bytes, expected) in [
        (deb("../x = 1", ".xz"), "leaves the root"),
        (deb("a/../../x = 1", ""), "leaves the root"),
        (deb("a = 1, b => ../../x", ".gz"), "leaves the root"),
        (deb("a = 1", ".lz4"), "not a known compression"),
        (b"!<arch>\n".to_vec(), "no data.tar"),
        (b"PK\x03\x04 and more".to_vec(), "not a Debian package"),
    ] {
        let error = read(&bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
