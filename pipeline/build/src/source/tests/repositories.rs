//! Servers that give only what they advertise, and repositories in the cache that are broken.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use super::*;

/// Serves the files below `folder` over HTTP, as a server without a git of its own does.
fn serve_files(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/");
            let file = fs::read(folder.join(path.trim_start_matches('/')));
            let (status, body) = match file {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)));
        }
    });
    format!("http://{address}/origin/.git")
}

/// Serves the repository below `folder` in the first version of git's protocol, which knows ids of
/// branches and tags only.
fn serve_version_0(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move |mut stream: TcpStream| {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&length).unwrap(), 16).unwrap();
        stream.read_exact(&mut vec![0; length - 4]).unwrap();
        let mut server = std::process::Command::new("git");
        server.arg("upload-pack").arg(folder.join("origin")).env_remove("GIT_PROTOCOL");
        let output = OwnedFd::from(stream.try_clone().unwrap());
        server.stdin(OwnedFd::from(stream)).stdout(output).stderr(Stdio::null());
        drop(server.status());
    };
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    format!("git://{address}/origin")
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_give_only_what_they_advertise() {
    let (folder, first, second) = two_commits("sha1").await;
    let origin = folder.path().join("origin");
    let mut update = git();
    update.arg("-C").arg(&origin).arg("update-server-info");
    run_git(update).await.unwrap();
    let urls = [serve_files(folder.path().into()), serve_version_0(folder.path().into())];
    for url in &urls {
        // The older commit is no branch's; what was fetched before it is there without its history.
        for (name, commit) in [("main", &second), (first.as_str(), &first)] {
            let resolved = resolve_name(folder.path(), url, name).await.0.unwrap();
            assert_eq!(resolved.commit.hex(), commit, "{url}");
            let tree = tempfile::tempdir().unwrap();
            resolved.check_out(tree.path(), &plain(), &Events::none()).await.unwrap();
            let text = if *commit == first { "one" } else { "two" };
            assert_eq!(fs::read_to_string(tree.path().join("file")).unwrap(), text, "{url}");
        }
        let absent = "1".repeat(40);
        let error = resolve_name(folder.path(), url, &absent).await.0.unwrap_err();
        assert_eq!(error.kind, Kind::Input, "{url}: {error}");
        assert!(error.message.contains("in its branches and tags"), "{url}: {error}");
        assert!(error.hint.unwrap().contains("clone it and give the path"), "{url}");
    }
}

/// The files of `folder` and below.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(files_below(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files.sort_unstable();
    files
}

/// Changes the bytes of each file below `folder` whose name ends in `end`.
fn spoil(folder: &Path, end: &str, change: fn(&mut Vec<u8>)) {
    let files = files_below(folder);
    let files: Vec<_> = files.iter().filter(|path| path.to_string_lossy().ends_with(end)).collect();
    assert!(!files.is_empty(), "{end} in {}", folder.display());
    for file in files {
        let mut bytes = fs::read(file).unwrap();
        change(&mut bytes);
        fs::remove_file(file).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

/// A repository in the cache that is broken, in whatever way, is made anew, which is said once.
#[tokio::test]
async fn a_broken_repository_is_made_anew() {
    type Damage = fn(&Path);
    let damages: [(&str, usize, Damage); 11] = [
        ("an empty HEAD", 1, |r| fs::write(r.join("HEAD"), "").unwrap()),
        ("no HEAD", 1, |r| fs::remove_file(r.join("HEAD")).unwrap()),
        ("no objects", 1, |r| {
            files_below(&r.join("objects")).iter().for_each(|file| fs::remove_file(file).unwrap());
        }),
        ("a truncated pack", 1, |r| spoil(r, ".pack", |pack| pack.truncate(pack.len() / 2))),
        ("a spoilt pack", 1, |r| {
            spoil(r, ".pack", |pack| {
                let middle = pack.len() / 2;
                pack[middle - 20..middle + 20].fill(0);
            });
        }),
        ("no index of a pack", 1, |r| {
            let files = files_below(&r.join("objects"));
            let index = files.iter().find(|file| file.extension().is_some_and(|e| e == "idx"));
            fs::remove_file(index.unwrap()).unwrap();
        }),
        ("an empty index", 1, |r| spoil(r, ".idx", Vec::clear)),
        ("empty objects", 1, |r| {
            unpack(r);
            spoil(&r.join("objects"), "", Vec::clear);
        }),
        ("a missing object", 1, |r| {
            unpack(r);
            // The last is made first: of a file, which the commit itself does not show.
            let blob = std::process::Command::new("git")
                .arg("--git-dir")
                .arg(r)
                .args(["rev-parse", "mine:file"])
                .output()
                .unwrap();
            let id = String::from_utf8(blob.stdout).unwrap();
            let (folder, rest) = id.trim().split_at(2);
            fs::remove_file(r.join("objects").join(folder).join(rest)).unwrap();
        }),
        ("packed-refs of another kind", 1, |r| fs::write(r.join("packed-refs"), "x\n").unwrap()),
        ("locks", 0, |r| {
            fs::write(r.join("shallow.lock"), "").unwrap();
            fs::write(r.join("packed-refs.lock"), "").unwrap();
        }),
    ];
    for (what, notices_wanted, damage) in damages {
        let (folder, first, second) = two_commits("sha1").await;
        let before = resolve_name(folder.path(), "origin", &first).await.0.unwrap();
        let Origin::Repository(repository) = &before.origin else { unreachable!() };
        for words in [&["update-ref", "refs/heads/mine", first.as_str()][..], &["repack", "-adq"]] {
            run_git(repository.git(words)).await.unwrap();
        }
        damage(&repository.folder);
        let (events, notices) = noticing();
        let source = Source::Git("origin".into());
        let cache = folder.path().join("cache");
        for (commit, text) in [(&first, "one"), (&second, "two")] {
            let names = [commit.clone()];
            let resolved = resolve(&source, folder.path(), &names, &cache, &events).await;
            let resolved = resolved.unwrap_or_else(|error| panic!("{what}: {error}"));
            let tree = tempfile::tempdir().unwrap();
            let checked_out = resolved[0].check_out(tree.path(), &plain(), &events).await;
            checked_out.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(fs::read_to_string(tree.path().join("file")).unwrap(), text, "{what}");
        }
        let notices = notices.lock().unwrap().clone();
        assert_eq!(notices.len(), notices_wanted, "{what}: {notices:?}");
        assert!(notices.iter().all(|notice| notice.contains("is made anew")), "{notices:?}");
    }
}

/// Writes the objects of the packs of `repository` as files of their own.
fn unpack(repository: &Path) {
    let packs = repository.join("objects/pack");
    let aside = repository.join("aside");
    fs::rename(&packs, &aside).unwrap();
    fs::create_dir(&packs).unwrap();
    for pack in files_below(&aside).iter().filter(|p| p.extension().is_some_and(|e| e == "pack")) {
        let mut unpacking = std::process::Command::new("git");
        unpacking.arg("--git-dir").arg(repository).args(["unpack-objects", "-q"]);
        assert!(unpacking.stdin(fs::File::open(pack).unwrap()).status().unwrap().success());
    }
    fs::remove_dir_all(aside).unwrap();
}

/// What a commit was taken from counts as used, though nothing is fetched: `dyno cache prune` goes
/// by that.
#[tokio::test]
async fn a_repository_that_has_the_commit_is_marked_as_used() {
    let (folder, _, second) = two_commits("sha1").await;
    let resolve = async || resolve_name(folder.path(), "origin", &second).await.0.unwrap();
    resolve().await;
    let repositories = fs::read_dir(folder.path().join("cache/sources/git")).unwrap();
    let repository = repositories.flatten().next().unwrap().path();
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    fs::File::open(&repository).unwrap().set_modified(long_ago).unwrap();
    resolve().await;
    assert_ne!(fs::metadata(&repository).unwrap().modified().unwrap(), long_ago);
}
