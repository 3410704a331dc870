//! Commits that travel as a bundle.

use super::*;

/// Runs git in the repository `origin` below `folder`; its answer.
async fn in_origin(folder: &Path, words: &[&str]) -> String {
    let mut git = git();
    git.arg("-C").arg(folder.join("origin")).args(words);
    let answer = run_git(git).await.unwrap();
    String::from_utf8_lossy(&answer.stdout).trim().to_string()
}

async fn bundle_of(folder: &Path, names: &[&str]) -> Vec<u8> {
    let mut commits = Vec::new();
    for name in names {
        commits.push(resolve_name(folder, "origin", name).await.0.unwrap());
    }
    bundle(&commits, u64::MAX, &folder.join("cache")).await.unwrap().unwrap()
}

/// Reads `bytes` as a bundle of `commits`, in a folder of its own.
async fn read_bundle(bytes: &[u8], commits: &[&str]) -> (tempfile::TempDir, Result<Vec<Resolved>>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle");
    fs::write(&file, bytes).unwrap();
    let commits: Vec<CommitId> = commits.iter().map(|commit| commit.parse().unwrap()).collect();
    let read = unbundle(&file, &folder.path().join("read.git"), &commits, &commits[1..]).await;
    (folder, read)
}

/// Whoever has the bundle has the files of its commits, and needs no repository for that.
#[tokio::test]
async fn a_bundle_is_enough_to_check_its_commits_out() {
    for format in ["sha1", "sha256"] {
        let (folder, first, second) = two_commits(format).await;
        let folder = folder.path();
        fs::write(folder.join("origin/file"), "not committed").unwrap();
        let tree = resolve_name(folder, "origin", ".").await.0.unwrap();
        assert!(tree.is_work_tree());
        let bytes = bundle_of(folder, &[&first, "."]).await;
        assert_eq!(bundle_of(folder, &[&first, "."]).await, bytes, "the same commits");
        fs::remove_dir_all(folder.join("origin")).unwrap();
        fs::remove_dir_all(folder.join("cache")).unwrap();
        let (read_in, read) = read_bundle(&bytes, &[&first, tree.commit.hex()]).await;
        let expected = [(first.as_str(), "one"), (".", "not committed")];
        for (resolved, (asked, text)) in read.unwrap().iter().zip(expected) {
            assert_eq!(resolved.asked, asked);
            let into = read_in.path().join(resolved.commit.hex());
            resolved.check_out(&into, &plain(), &Events::none()).await.unwrap();
            assert_eq!(fs::read_to_string(into.join("file")).unwrap(), text, "{format}");
        }
        // What came before the commits is not in it.
        let (_kept, read) = read_bundle(&bytes, &[&second]).await;
        assert_eq!(read.unwrap_err().message, format!("the bundle lacks the commit {second}"));
    }
}

/// A stranger may have written a bundle: what is wrong with it is its own fault.
#[tokio::test]
async fn a_bundle_that_is_none_fails_whoever_asks() {
    let (folder, first, second) = two_commits("sha1").await;
    let folder = folder.path();
    let good = bundle_of(folder, &[&first]).await;
    let half = good[..good.len() - 30].to_vec();
    let by_hand = |words: &'static [&'static str]| async move {
        let file = folder.join("by-hand");
        let words = [&["bundle", "create", "-q", file.to_str().unwrap()], words].concat();
        in_origin(folder, &words).await;
        fs::read(file).unwrap()
    };
    let needing = by_hand(&["main", "^main~1"]).await;
    // A commit without the tree that it names: what `pack` was given, behind the head of a bundle.
    let list = folder.join("list");
    fs::write(&list, format!("{first}\n")).unwrap();
    let mut pack = git();
    pack.arg("-C").arg(folder.join("origin")).args(["pack-objects", "-q", "--stdout"]);
    pack.stdin(fs::File::open(&list).unwrap());
    let pack = run_git(pack).await.unwrap().stdout;
    let head = format!("# v2 git bundle\n{first} refs/heads/x\n\n");
    let lacking = [head.as_bytes(), &pack].concat();
    // A pack of one tree, of 2^44 bytes as it says itself (gitformat-pack(5)).
    let huge = [
        head.as_bytes(),
        b"PACK\0\0\0\x02\0\0\0\x01\xa0\x80\x80\x80\x80\x80\x20\x78\x9c",
        &[0; 24],
    ];
    let huge = huge.concat();
    for (what, bytes, commit, why) in [
        ("nothing", &b""[..], &first, "the bundle cannot be read: git: "),
        ("no bundle", b"garbage", &first, "does not look like a v2 or v3 bundle file"),
        ("half of one", &half, &first, "the bundle cannot be read: git: "),
        ("another commit", &good, &second, "the bundle lacks the commit "),
        ("one that needs another", &needing, &second, "the bundle cannot be read: git: "),
        ("one without its tree", &lacking, &first, "the bundle cannot be read: git: "),
        ("one too large for memory", &huge, &first, "the bundle cannot be read: git: "),
        (
            "the words of a machine",
            b"# v2 git bundle\nPermission denied\n\n",
            &first,
            "Permission denied",
        ),
    ] {
        let (_kept, read) = read_bundle(bytes, &[commit]).await;
        let error = read.unwrap_err();
        assert_eq!(error.kind, Kind::Case, "{what}: {error}");
        assert!(error.message.contains(why), "{what}: {error}");
    }
}

/// What the suite asks for beside a commit is not in its bundle.
#[tokio::test]
async fn a_bundle_has_nothing_of_git_lfs() {
    let (folder, first, _) = two_commits("sha1").await;
    let bytes = bundle_of(folder.path(), &[&first]).await;
    let (read_in, read) = read_bundle(&bytes, &[&first]).await;
    let recipe = recipe(Checkout { lfs: true, ..Checkout::default() }, 1 << 20, 60);
    let into = read_in.path().join("tree");
    let error = read.unwrap()[0].check_out(&into, &recipe, &Events::none()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Case);
    assert!(error.message.contains("a bundle has no server of Git LFS"), "{error}");
}

#[tokio::test]
async fn what_others_can_fetch_needs_no_bundle() {
    let (folder, first, second) = two_commits("sha1").await;
    let folder = folder.path();
    let (mut daemon, url) = git_daemon(folder).await;
    let absent = "1".repeat(40);
    let commit = |id: &str, asked: &str| Resolved {
        asked: asked.into(),
        commit: id.parse().unwrap(),
        origin: Origin::Image(String::new()),
    };
    for (what, source, resolved, expected) in [
        ("a path", Source::Git("origin".into()), commit(&first, "main"), true),
        ("on the server", Source::Git(url.clone()), commit(&second, &second), false),
        ("older, on the server", Source::Git(url.clone()), commit(&first, &first), false),
        ("not on the server", Source::Git(url.clone()), commit(&absent, &absent), true),
        ("a branch of the server", Source::Git(url.clone()), commit(&first, "main"), false),
        (
            "a server that is away",
            Source::Git("git://127.0.0.1:1/none".into()),
            commit(&first, &first),
            false,
        ),
        ("a release", Source::Crate("x".into()), commit(&first, &first), false),
    ] {
        let found = is_out_of_reach(&source, folder, &resolved, &folder.join("cache")).await;
        assert_eq!(found.unwrap(), expected, "{what}");
    }
    daemon.kill().await.unwrap();
}
