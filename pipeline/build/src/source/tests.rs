use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use dyno_base::error::Kind;
use dyno_base::event::Event;
use dyno_model::catalog::suite::{Checkout, Limits, Recipe};
use tokio::process::Command;

use super::command::{git, run_git};
use super::remote::check_ref;
use super::*;

mod bundles;
mod history;
mod repositories;
mod trees;

/// The recipe of check-outs, with what they hold and may take.
fn recipe(checkout: Checkout, disk_bytes: u64, time_s: u64) -> Recipe {
    let limits = Limits { time_s, memory_bytes: 0, pids: 0, output_bytes: 0, disk_bytes };
    Recipe {
        fetch: None,
        build: Vec::new(),
        outputs: Default::default(),
        sysroot: None,
        folder: None,
        checkout,
        env: Default::default(),
        limits,
        typical_ms: None,
    }
}

/// The recipe of most check-outs.
fn plain() -> Recipe {
    recipe(Checkout::default(), 1 << 20, 60)
}

#[test]
fn names_that_could_be_options_or_expressions_are_refused() {
    for good in ["main", "v1.2.3", "feature/x", "0.31.2", "a@b"] {
        assert!(check_ref(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "-x",
        "--upload-pack=x",
        "a..b",
        "a^",
        "a~1",
        "HEAD:x",
        "a b",
        "a\n",
        "@",
        "@{1}",
        "x.lock",
        "/x",
        "x/",
        ".x",
    ] {
        assert!(check_ref(bad).is_err(), "{bad}");
    }
}

async fn commit_file(repository: &Path, text: &str) -> String {
    fs::write(repository.join("file"), text).unwrap();
    let git = |words: &[&str]| {
        let mut git = git();
        git.arg("-C").arg(repository).args(["-c", "user.name=t", "-c", "user.email=t@example.org"]);
        git.args(words);
        git
    };
    run_git(git(&["add", "."])).await.unwrap();
    run_git(git(&["commit", "-qm", text])).await.unwrap();
    let head = run_git(git(&["rev-parse", "HEAD"])).await.unwrap();
    String::from_utf8(head.stdout).unwrap().trim().to_string()
}

/// A commit of `repository` with this tree, written as `git mktree` reads it.
async fn commit_tree(repository: &Path, entries: &str) -> String {
    let file = repository.join("../entries");
    fs::write(&file, entries).unwrap();
    let git_in_repository = |words: &[&str]| {
        let mut git = git();
        git.arg("-C").arg(repository);
        git.args(["-c", "user.name=t", "-c", "user.email=t@example.org"]).args(words);
        git
    };
    let mut tree = git_in_repository(&["mktree"]);
    tree.stdin(fs::File::open(&file).unwrap());
    let text = |output: Output| String::from_utf8(output.stdout).unwrap().trim().to_string();
    let tree = text(run_git(tree).await.unwrap());
    let commit =
        text(run_git(git_in_repository(&["commit-tree", "-m", "x", &tree])).await.unwrap());
    run_git(git_in_repository(&["tag", &format!("of-{commit}"), &commit])).await.unwrap();
    commit
}

async fn id(repository: &Path, name: &str) -> String {
    let mut git = git();
    git.arg("-C").arg(repository).args(["rev-parse", name]);
    String::from_utf8(run_git(git).await.unwrap().stdout).unwrap().trim().to_string()
}

/// A commit with the file of `commit` under another name.
async fn entry(repository: &Path, name: &str, commit: &str) -> String {
    let blob = id(repository, &format!("{commit}:file")).await;
    commit_tree(repository, &format!("100644 blob {blob}\t{name}\n")).await
}

/// A commit of ten trees in each other, each of which has the next one ten times.
async fn nested(repository: &Path) -> String {
    let mut commit = "v1".to_string();
    for _ in 0..10 {
        let tree = id(repository, &format!("{commit}^{{tree}}")).await;
        let entry = |name| format!("040000 tree {tree}\t{name}\n");
        commit = commit_tree(repository, &(0..10).map(entry).collect::<String>()).await;
    }
    commit
}

#[tokio::test]
async fn branches_tags_and_ids_are_resolved_and_checked_out() {
    let folder = tempfile::tempdir().unwrap();
    let (origin, cache) = (folder.path().join("origin"), folder.path().join("cache"));
    let mut init = git();
    init.args(["init", "-q", "-b", "main"]).arg(&origin);
    run_git(init).await.unwrap();
    let first = commit_file(&origin, "one").await;
    let mut tag = git();
    tag.arg("-C").arg(&origin).args(["-c", "user.name=t", "-c", "user.email=t@example.org"]);
    tag.args(["tag", "-a", "-m", "x", "v1"]);
    run_git(tag).await.unwrap();
    let second = commit_file(&origin, "two").await;

    let source = Source::Git("origin".into());
    let resolve_names = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let (source, cache, folder) = (source.clone(), cache.clone(), folder.path().to_path_buf());
        async move { resolve(&source, &folder, &names, &cache, &Events::none()).await }
    };
    let resolved = resolve_names(&["main", "v1", &first]).await.unwrap();
    let ids: Vec<&str> = resolved.iter().map(|r| r.commit.hex()).collect();
    assert_eq!(ids, [second.as_str(), &first, &first]);
    let tree = folder.path().join("tree");
    resolved[1].check_out(&tree, &plain(), &Events::none()).await.unwrap();
    assert_eq!(fs::read_to_string(tree.join("file")).unwrap(), "one");

    // What is too much, or cannot be written anywhere, is the commit's own fault.
    let long = "x".repeat(300);
    let (endless, hidden) = (nested(&origin).await, entry(&origin, ".git", &first).await);
    let long = entry(&origin, &long, &first).await;
    for (commit, time_s, reason) in [
        (&endless, 60, "the check-out wrote more than 1.00 MiB to the disk"),
        (&first, 0, "the check-out took longer than 0 s"),
        (&long, 60, "git: error: unable to create file"),
        (&hidden, 60, "git: error: invalid path '.git'"),
    ] {
        let into = folder.path().join("refused");
        let resolved = resolve_names(&[commit]).await.unwrap().remove(0);
        let recipe = recipe(Checkout::default(), 1 << 20, time_s);
        let error = resolved.check_out(&into, &recipe, &Events::none()).await.unwrap_err();
        assert_eq!(error.kind, dyno_base::error::Kind::Case, "{error}");
        assert!(error.message.starts_with(reason), "{reason}: {error}");
        assert_eq!(fs::read_dir(&into).unwrap().count(), 0, "{reason}");
    }

    let error = resolve_names(&["nope", "--upload-pack=x", &"0".repeat(40)]).await.unwrap_err();
    assert_eq!(error.kind, dyno_base::error::Kind::Input);
    for part in ["\"nope\" is no commit", "\"--upload-pack=x\" is no commit", "has no commit 0000"]
    {
        assert!(error.message.contains(part), "{part}: {}", error.message);
    }
}

/// A repository `origin` with ids of `format`, of two commits, whose ids come after it. The folder goes
/// with the first.
async fn two_commits(format: &str) -> (tempfile::TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let origin = folder.path().join("origin");
    let mut init = git();
    init.args(["init", "-q", "-b", "main"]).arg(format!("--object-format={format}")).arg(&origin);
    run_git(init).await.unwrap();
    let first = commit_file(&origin, "one").await;
    let second = commit_file(&origin, "two").await;
    (folder, first, second)
}

/// Events, and the notices among those that were sent.
fn noticing() -> (Events, Arc<Mutex<Vec<String>>>) {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&notices);
    let events = Events::new(move |_, event| {
        if let Event::Notice(text) = event {
            sink.lock().unwrap().push(text);
        }
    });
    (events, notices)
}

/// What `name` means in the repository at `location`; and the notices.
async fn resolve_name(
    folder: &Path,
    location: &str,
    name: &str,
) -> (Result<Resolved>, Vec<String>) {
    let (events, notices) = noticing();
    let source = Source::Git(location.into());
    let names = [name.to_string()];
    let resolved = resolve(&source, folder, &names, &folder.join("cache"), &events).await;
    let notices = notices.lock().unwrap().clone();
    (resolved.map(|mut resolved| resolved.remove(0)), notices)
}

/// A repository on this machine is asked as git asks it, whatever the format of its ids.
#[tokio::test]
async fn names_mean_what_git_takes_them_for() {
    for format in ["sha1", "sha256"] {
        let (folder, first, second) = two_commits(format).await;
        let origin = folder.path().join("origin");
        let mut branch = git();
        branch.arg("-C").arg(&origin).args(["update-ref", "refs/remotes/up/main", &first]);
        run_git(branch).await.unwrap();
        let file_url = format!("file://{}", origin.display());
        for (name, expected) in [
            ("HEAD", &second),
            ("HEAD~1", &first),
            ("main^", &first),
            ("up/main", &first),
            (&first[..7], &first),
            ("main@{0}", &second),
            (":/one", &first),
            (&second, &second),
        ] {
            for location in ["origin", &file_url] {
                let (resolved, notices) = resolve_name(folder.path(), location, name).await;
                assert_eq!(resolved.unwrap().commit.hex(), expected, "{format} {name} {location}");
                assert_eq!(notices, [""; 0], "nothing is uncommitted");
            }
        }
        for bad in ["HEAD~7", "", "-x", "HEAD:file", "nope", "main\n"] {
            let error = resolve_name(folder.path(), "origin", bad).await.0.unwrap_err();
            assert_eq!(error.kind, dyno_base::error::Kind::Input, "{bad}: {error}");
        }
    }
}

/// Whoever only asks is told by a repository on this machine, by an address, and by what was brought
/// from one before; and fetches nothing.
#[tokio::test]
async fn a_name_has_a_meaning_without_being_brought() {
    let (folder, first, second) = two_commits("sha1").await;
    let cache = folder.path().join("cache");
    let ask = async |location: &str, name: &str| {
        let source = Source::Git(location.into());
        let meant = meaning(&source, folder.path(), name, &cache).await?;
        Some((meant.commit.to_string(), meant.subject))
    };
    let with_subject = |id: &String, subject: &str| Some((id.clone(), Some(subject.to_string())));
    for (name, expected) in [
        ("HEAD~1", with_subject(&first, "one")),
        ("main", with_subject(&second, "two")),
        (&first[..8], with_subject(&first, "one")),
        (&second, with_subject(&second, "two")),
        ("nope", None),
        ("--help", None),
    ] {
        assert_eq!(ask("origin", name).await, expected, "{name}");
    }
    assert!(ask("nowhere", "main").await.is_none());
    assert!(!cache.exists(), "nothing is fetched");
    // The work tree is what it was when it was measured.
    let measured = resolve_name(folder.path(), "origin", ".").await.0.unwrap();
    assert_eq!(ask("origin", ".").await.unwrap().0, measured.commit.hex());

    let (mut daemon, url) = git_daemon(folder.path()).await;
    assert_eq!(ask(&url, "main").await, Some((second.clone(), None)));
    assert_eq!(ask(&url, &second[..8]).await, None, "an address knows no part of an id");
    resolve_name(folder.path(), &url, "main").await.0.unwrap();
    for name in ["main", &second[..8], &second] {
        assert_eq!(ask(&url, name).await, with_subject(&second, "two"), "{name}");
    }
    assert_eq!(ask(&url, "HEAD~1").await, None);
    daemon.kill().await.unwrap();
    assert_eq!(ask(&url, "main").await, None);
    assert_eq!(ask(&url, &second).await, with_subject(&second, "two"), "as it was brought");
}

/// A work tree without changes is the commit that is checked out; whatever differs makes it another.
#[tokio::test]
async fn a_clean_work_tree_is_its_last_commit() {
    for format in ["sha1", "sha256"] {
        let (folder, first, second) = two_commits(format).await;
        let origin = folder.path().join("origin");
        let (resolved, notices) = resolve_name(folder.path(), "origin", ".").await;
        let resolved = resolved.unwrap();
        assert_eq!((resolved.commit.hex(), resolved.asked.as_str()), (second.as_str(), "."));
        let expected = format!("has no changes: . is its last commit, {}", &second[..12]);
        assert!(notices.len() == 1 && notices[0].ends_with(&expected), "{notices:?}");
        let by_id = resolve_name(folder.path(), "origin", &second).await.0.unwrap();
        assert_eq!(resolved.origin, by_id.origin, "it is found where the commit is");
        // What is ignored is no change. A file that git was told to overlook is.
        fs::write(origin.join(".git/info/exclude"), "*.o\n").unwrap();
        fs::write(origin.join("x.o"), "object").unwrap();
        let again = resolve_name(folder.path(), "origin", ".").await.0.unwrap();
        assert_eq!(again.commit.hex(), second);
        let mut overlook = git();
        overlook.arg("-C").arg(&origin).args(["update-index", "--assume-unchanged", "file"]);
        run_git(overlook).await.unwrap();
        fs::write(origin.join("file"), "three").unwrap();
        let changed = resolve_name(folder.path(), "origin", ".").await.0.unwrap();
        assert!(![first, second].contains(&changed.commit.hex().to_string()), "{changed:?}");
    }
}

/// What is not committed is a commit of its own; otherwise it is mentioned.
#[tokio::test]
async fn a_work_tree_is_measured_as_it_is() {
    for format in ["sha1", "sha256"] {
        let (folder, ..) = two_commits(format).await;
        let origin = folder.path().join("origin");
        // One file is changed, one is new, and one is ignored.
        for (file, text) in
            [("file", "three"), ("new", "new"), (".gitignore", "*.o\n"), ("x.o", "object")]
        {
            fs::write(origin.join(file), text).unwrap();
        }
        let notices = resolve_name(folder.path(), "origin", "HEAD").await.1;
        assert!(notices.len() == 1 && notices[0].contains("in no commit"), "{notices:?}");
        let status = async || {
            let mut status = git();
            status.arg("-C").arg(&origin).args(["status", "--porcelain"]);
            run_git(status).await.unwrap().stdout
        };
        let before = status().await;
        let resolve_tree = async || resolve_name(folder.path(), "origin", ".").await.0.unwrap();
        let measured = resolve_tree().await;
        assert_eq!(measured, resolve_tree().await, "the same files");
        assert_eq!(status().await, before, "the repository is left alone");
        let tree = folder.path().join("tree");
        measured.check_out(&tree, &plain(), &Events::none()).await.unwrap();
        let entries = fs::read_dir(&tree).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        files.sort_unstable();
        assert_eq!(files, [".gitignore", "file", "new"]);
        assert_eq!(fs::read_to_string(tree.join("file")).unwrap(), "three");
        fs::write(origin.join("new"), "newer").unwrap();
        assert_ne!(measured.commit, resolve_tree().await.commit);
    }
}

/// Serves the repositories below `folder`; the address of the one in `origin`.
async fn git_daemon(folder: &Path) -> (tokio::process::Child, String) {
    let mut place = git();
    place.arg("--exec-path");
    let programs = String::from_utf8(run_git(place).await.unwrap().stdout).unwrap();
    // The daemon itself, and not by `git daemon`, whose end it would outlive.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut daemon = Command::new(Path::new(programs.trim()).join("git-daemon"));
    daemon.args(["--listen=127.0.0.1", "--export-all", "--reuseaddr"]);
    daemon.arg(format!("--port={port}"));
    daemon.arg(format!("--base-path={}", folder.display())).kill_on_drop(true);
    daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let daemon = daemon.spawn().unwrap();
    for _ in 0..100 {
        match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
            Ok(_) => break,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
    (daemon, format!("git://127.0.0.1:{port}/origin"))
}

/// A remote says what its branches and tags are, and takes no expressions.
#[tokio::test]
async fn a_remote_is_asked_for_its_refs() {
    let (folder, first, second) = two_commits("sha1").await;
    let mut tag = git();
    tag.arg("-C").arg(folder.path().join("origin")).args(["tag", "v1", &first]);
    run_git(tag).await.unwrap();
    let (mut daemon, url) = git_daemon(folder.path()).await;
    for (name, expected) in [("main", &second), ("v1", &first), (first.as_str(), &first)] {
        let resolved = resolve_name(folder.path(), &url, name).await.0.unwrap();
        assert_eq!(resolved.commit.hex(), expected, "{name}");
    }
    for (name, message) in [
        (&first[..9], "has no branch or tag"),
        ("nope", "has no branch or tag \"nope\""),
        ("HEAD~1", "cannot be the name of a commit"),
        (".", "cannot be the name of a commit"),
        ("--upload-pack=x", "cannot be the name of a commit"),
    ] {
        let error = resolve_name(folder.path(), &url, name).await.0.unwrap_err();
        assert_eq!(error.kind, dyno_base::error::Kind::Input, "{name}");
        assert!(error.message.contains(message), "{name}: {error}");
    }
    daemon.kill().await.unwrap();
}

/// Addresses as forges show them are git's to reach, and paths are paths.
#[test]
fn addresses_and_paths() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("a:b/c")).unwrap();
    for (location, is_address) in [
        ("git@host:group/repo.git", true),
        ("host:repo", true),
        ("https://host/x:y", true),
        ("./a:b/c", false),
        ("a:b/c", true),
    ] {
        let url = git_url(location, folder.path()).unwrap();
        assert_eq!(url == location, is_address, "{location}: {url}");
        assert_eq!(local::folder_of(&url).is_some(), !is_address);
    }
}
